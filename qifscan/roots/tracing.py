"""Curves F(x, y) = 0 in a strip-wise plane, followed by their own length, many arcs at once.

The plane is cut into strips by levels of y on which all zeros of F are known, with proof where that can be
had. From every zero one arc goes up and one goes down, each to where it leaves its strip. An arc that begins
at A and ends at B has to be the one that begins at B and ends at A: where it is not, some step has passed
from one curve to another, and the arcs of that strip are followed again in smaller steps. Curves that cross
no level begin at points given apart.

E. L. Allgower and K. Georg, Introduction to Numerical Continuation Methods, SIAM 2003, chapters 2 and 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Index = np.ndarray[Any, np.dtype[np.intp]]

AT_LEVEL, AT_SIDE, AT_WALL, CLOSED, LOST = range(5)
"""What ends an arc: a level, an end of the range of x, the end of what is valid, its own start, nothing that
was resolved."""

_COSINE = 0.96
"""Cosine of the angle between the tangents at both ends of a step below which the step is halved."""

_BENT = 0.2
"""How far Newton's method may move a prediction, in steps."""

_SMALLEST, _FIRST = 1e-10, 0.25
"""Step below which an arc is given up, or has reached a wall; and the first one, in longest steps."""

_AHEAD = 1e-8
"""How far before a wall an arc is given up."""

_CROSSING = 1e-6
"""Step below which two curves that seem to cross do."""

_MARGIN = 0.01
"""How far a cubic may be from the curve, in steps."""

_MOST_STEPS, _NEWTON_STEPS, _AGAIN = 20_000, 8, 3
_EPS = float(np.finfo(np.float64).eps)
_SAME = 1e-6


@dataclass(frozen=True)
class Plane:
    """What is followed: `gradient(x, y)` returns F and its derivatives by x and by y, each an array;
    `valid(x, y)` tells where there are points at all. x is in `sides`; both axes have the same unit."""

    gradient: Callable[[Array, Array], tuple[Array, Array, Array]]
    valid: Callable[[Array, Array], Any]
    sides: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A curve in order, what ends it on both sides, and whether its arcs agree from both of their ends."""

    x: Array
    y: Array
    ends: tuple[int, int]
    agreed: bool

    @property
    def closed(self) -> bool:
        """Tell whether the curve is closed; its first point is not repeated."""
        return self.ends[0] == CLOSED


@dataclass
class _Arcs:
    """Arcs on their way, each in a strip [low, high] of y, along a unit tangent.

    `turn`: 1 where that is the gradient turned to the left, else -1; it stays along a curve that does not
    cross another. `way`: the points of each after the first; `end` -1 while it goes on.
    """

    x: Array
    y: Array
    low: Array
    high: Array
    along_x: Array
    along_y: Array
    turn: Array
    step: Array
    longest: float
    end: Index
    way: list[list[tuple[float, float]]] = field(default_factory=list)


def corrected(plane: Plane, x: Array, y: Array) -> tuple[Array, Array, Any]:
    """Return the points of the curve next to guesses, along the gradient, and which of them arrived."""
    x, y = x.copy(), y.copy()
    size = np.full(len(x), np.inf)
    for _ in range(_NEWTON_STEPS):
        value, by_x, by_y = plane.gradient(x, y)
        norm = np.hypot(by_x, by_y)
        move = value / norm
        by = np.abs(move)
        # What is but rounding stops getting smaller.
        better = np.isfinite(by) & (by < np.minimum(0.5 * size, 1.0))
        x = np.where(better, x - move * by_x / norm, x)
        y = np.where(better, y - move * by_y / norm, y)
        size = np.where(np.isfinite(by), np.minimum(size, by), size)
        if not (better & (by > 4.0 * _EPS * (1.0 + np.abs(x) + np.abs(y)))).any():
            break
    return x, y, size < 1e-7


def _on_line(plane: Plane, x: Array, y: Array, *, fixed_y: bool) -> tuple[Array, Any]:
    """Return the other coordinate of points on lines of constant y, or of constant x, next to guesses."""
    start = x if fixed_y else y
    moved, size = start.copy(), np.full(len(x), np.inf)
    for _ in range(2 * _NEWTON_STEPS):
        value, by_x, by_y = plane.gradient(moved, y) if fixed_y else plane.gradient(x, moved)
        step = value / (by_x if fixed_y else by_y)
        by = np.abs(step)
        better = np.isfinite(by) & (by < np.minimum(0.5 * size, 1.0))
        moved = np.where(better, moved - step, moved)
        size = np.where(np.isfinite(by), np.minimum(size, by), size)
        if not (better & (by > 4.0 * _EPS * (1.0 + np.abs(moved)))).any():
            break
    return moved, size < 1e-7


def _directions(plane: Plane, x: Array, y: Array) -> tuple[Array, Array]:
    _, by_x, by_y = plane.gradient(x, y)
    norm = np.hypot(by_x, by_y)
    return -by_y / norm, by_x / norm


def _begun(plane: Plane, x: Array, y: Array, low: Array, high: Array, toward: Array, longest: float) -> _Arcs:
    """Return arcs that begin at points: up where `toward` is above 0, else down; within a strip (0) along the
    tangent."""
    along_x, along_y = _directions(plane, x, y)
    turn = np.where(toward * along_y < 0.0, -1.0, 1.0)
    count = len(x)
    return _Arcs(
        x.copy(),
        y.copy(),
        low,
        high,
        along_x * turn,
        along_y * turn,
        turn,
        np.full(count, _FIRST * longest),
        longest,
        np.full(count, -1),
        [[] for _ in range(count)],
    )


def _follow(plane: Plane, arcs: _Arcs, *, closing: bool = False) -> None:
    """Follow arcs to their ends; with `closing` an arc that comes back to its start is closed."""
    start = arcs.x.copy(), arcs.y.copy()
    gone = np.zeros(len(arcs.x))
    for _ in range(_MOST_STEPS):
        left = np.flatnonzero(arcs.end < 0)
        if not len(left):
            return
        _advance(plane, arcs, left, start, gone, closing)
    arcs.end[arcs.end < 0] = LOST


def _advance(
    plane: Plane, arcs: _Arcs, left: Index, start: tuple[Array, Array], gone: Array, closing: bool
) -> None:
    """Try a step of the arcs that are left."""
    x, y, step = arcs.x[left], arcs.y[left], arcs.step[left]
    along_x, along_y = arcs.along_x[left], arcs.along_y[left]
    guess_x, guess_y = x + step * along_x, y + step * along_y
    new_x, new_y, good = corrected(plane, guess_x, guess_y)
    turned_x, turned_y = _directions(plane, new_x, new_y)
    cosine = turned_x * along_x + turned_y * along_y
    turn = np.where(cosine < 0.0, -1.0, 1.0)
    off = np.hypot(new_x - guess_x, new_y - guess_y)
    smooth = good & (np.abs(cosine) > _COSINE) & (off < _BENT * step)
    # A step over a crossing of two curves; a longer one may pass between two that only come close.
    smooth &= (turn == arcs.turn[left]) | (step < _CROSSING)
    leaving = (new_y > arcs.high[left]) | (new_y < arcs.low[left])
    leaving |= (new_x > plane.sides[1]) | (new_x < plane.sides[0])
    valid = smooth & (leaving | plane.valid(new_x, new_y))
    landed, astray = _landings(plane, arcs, left, (x, y), (new_x, new_y), valid)
    slopes = along_y, np.where(cosine < 0.0, -turned_y, turned_y)
    astray |= _pokes_out(arcs, left, y, new_y, slopes, step)
    done = valid & ~astray & (landed.end < 0)
    failed = ~done & (landed.end < 0)
    arcs.step[left[failed]] *= 0.5
    tiny = failed & (arcs.step[left] < _SMALLEST)
    ahead = plane.valid(x + _AHEAD * along_x, y + _AHEAD * along_y)
    arcs.end[left[tiny]] = np.where(ahead[tiny], LOST, AT_WALL)
    for k in np.flatnonzero(landed.end >= 0):
        arcs.way[left[k]].append((float(landed.x[k]), float(landed.y[k])))
    there = left[landed.end >= 0]
    arcs.end[there] = landed.end[landed.end >= 0]
    arcs.x[there], arcs.y[there] = landed.x[landed.end >= 0], landed.y[landed.end >= 0]
    if closing:
        arcs.end[left[done & _passed(start, left, (x, y), (new_x, new_y), gone[left], step)]] = CLOSED
        done &= arcs.end[left] != CLOSED
    which = left[done]
    arcs.x[which], arcs.y[which] = new_x[done], new_y[done]
    arcs.turn[which] = turn[done]
    arcs.along_x[which], arcs.along_y[which] = (turn * turned_x)[done], (turn * turned_y)[done]
    gone[which] += step[done]
    easy = done & (np.abs(cosine) > 1.0 - 0.25 * (1.0 - _COSINE)) & (off < 0.5 * _BENT * step)
    arcs.step[left[easy]] = np.minimum(1.6 * arcs.step[left[easy]], arcs.longest)
    for k, a, b in zip(which.tolist(), new_x[done].tolist(), new_y[done].tolist(), strict=True):
        arcs.way[k].append((a, b))


def _towards(old: Any, new: Any, which: Index, *, by_y: bool) -> Array:
    """Return the change of the coordinate that a border fixes."""
    k = 1 if by_y else 0
    change: Array = new[k][which] - old[k][which]
    return change


def _goes_out(
    plane: Plane, arcs: _Arcs, who: Index, place: tuple[Array, Array], outward: Array, *, by_y: bool
) -> Any:
    """Tell the points of a border at which a curve that goes on as an arc does leaves, and does not enter."""
    along_x, along_y = _directions(plane, *place)
    turn = np.where(along_x * arcs.along_x[who] + along_y * arcs.along_y[who] < 0.0, -1.0, 1.0)
    return turn * (along_y if by_y else along_x) * outward > 0.0


def _pokes_out(
    arcs: _Arcs, left: Index, old: Array, new: Array, slopes: tuple[Array, Array], step: Array
) -> Any:
    """Tell the steps within which the curve may leave its strip and come back.

    As a cubic through both ends has it, which is no closer to the curve than a share of the step.
    """
    found = np.zeros(len(left), dtype=bool)
    turning = np.flatnonzero(slopes[0] * slopes[1] < 0.0)
    if len(turning):
        s = np.linspace(0.0, 1.0, 17)[1:-1]
        a, b, step = old[turning, None], new[turning, None], step[turning, None]
        by_a, by_b = step * slopes[0][turning, None], step * slopes[1][turning, None]
        y = a + s**2 * (3.0 - 2.0 * s) * (b - a) + s * (1.0 - s) * ((1.0 - s) * by_a - s * by_b)
        low, high = arcs.low[left[turning], None], arcs.high[left[turning], None]
        inside = (new[turning] >= low[:, 0]) & (new[turning] <= high[:, 0])
        near = np.minimum(_MARGIN, step) * step
        found[turning] = inside & ((y > high - near) | (y < low + near)).any(axis=1)
    return found


def _passed(start: tuple[Array, Array], left: Index, old: Any, new: Any, gone: Array, step: Array) -> Any:
    """Tell which steps pass the start of their arc, beyond its neighbourhood."""
    way_x, way_y = new[0] - old[0], new[1] - old[1]
    to_x, to_y = start[0][left] - old[0], start[1][left] - old[1]
    length = np.hypot(way_x, way_y)
    share = (to_x * way_x + to_y * way_y) / length**2
    apart = np.abs(to_x * way_y - to_y * way_x) / length
    return (gone > 2.0 * step) & (share >= 0.0) & (share < 1.0) & (apart < 0.1 * step)


@dataclass(frozen=True)
class _Landings:
    """Where steps leave their strips or the range of x, and what they come upon, -1 where they don't."""

    x: Array
    y: Array
    end: Index


def _landings(
    plane: Plane, arcs: _Arcs, left: Index, old: Any, new: Any, valid: Any
) -> tuple[_Landings, Any]:
    """Return where steps leave, and which of them leave where no border was found: these are too long."""
    low, high = arcs.low[left], arcs.high[left]
    level = np.where(new[1] > high, high, np.where(new[1] < low, low, np.nan))
    side = np.where(new[0] > plane.sides[1], plane.sides[1], np.nan)
    side = np.where(new[0] < plane.sides[0], plane.sides[0], side)
    shares = [
        np.nan_to_num((border - a) / (b - a), nan=np.inf, posinf=np.inf)
        for border, a, b in ((level, old[1], new[1]), (side, old[0], new[0]))
    ]
    end, astray = np.full(len(left), -1), np.zeros(len(left), dtype=bool)
    x, y = np.full(len(left), np.nan), np.full(len(left), np.nan)
    for code, share, border in ((AT_LEVEL, shares[0], level), (AT_SIDE, shares[1], side)):
        which = np.flatnonzero(valid & np.isfinite(border) & (share <= np.minimum(*shares)))
        if not len(which):
            continue
        by_y = code == AT_LEVEL
        share_ = np.clip(share[which], 0.0, 1.0)
        guess = [a[which] + share_ * (b[which] - a[which]) for a, b in zip(old, new, strict=True)]
        guess[1 if by_y else 0] = border[which]
        other, good = _on_line(plane, guess[0], guess[1], fixed_y=by_y)
        # From a level an arc that seems to leave through its own start has come back in a step too long.
        near = good & (share[which] > 0.0)
        place = (other, border[which]) if by_y else (border[which], other)
        near &= plane.valid(*place)
        near &= _goes_out(plane, arcs, left[which], place, _towards(old, new, which, by_y=by_y), by_y=by_y)
        near &= np.abs(other - guess[0 if by_y else 1]) <= 0.5 * arcs.step[left[which]]
        x[which], y[which] = place
        end[which] = np.where(near, code, -1)
        astray[which] = ~near
    return _Landings(x, y, end), astray


# Putting arcs together


@dataclass(frozen=True)
class _Nodes:
    """Points of the levels: x, and which level; the arcs of node k are 2 k (down) and 2 k + 1 (up)."""

    x: Array
    level: Index


def traced(
    plane: Plane, levels: Array, x: Array, level: Index, apart: tuple[Array, Array], longest: float
) -> list[Curve]:
    """Return the curves through all points (x, levels[level]) and through those given apart.

    `longest`: the longest step.
    """
    order = np.lexsort((x, level))
    nodes = _Nodes(x[order], level[order])
    found = _Joined(plane, levels, nodes, longest)
    found.run()
    curves = found.curves()
    return curves + _loops(plane, levels, curves, apart, longest)


class _Joined:
    """The arcs between points of levels, and how they hang together."""

    def __init__(self, plane: Plane, levels: Array, nodes: _Nodes, longest: float) -> None:
        self.plane, self.levels, self.nodes, self.longest = plane, levels, nodes, longest
        count = 2 * len(nodes.x)
        self.way: list[list[tuple[float, float]]] = [[] for _ in range(count)]
        self.end = np.full(count, LOST)
        self.partner = np.full(count, -1)
        inner = np.empty(count, dtype=bool)
        inner[::2], inner[1::2] = nodes.level > 0, nodes.level < len(levels) - 1
        self.there = inner

    def run(self) -> None:
        """Follow every arc, and again in smaller steps where two ends disagree."""
        which, longest = np.flatnonzero(self.there), self.longest
        for _ in range(_AGAIN):
            if not len(which):
                return
            self._follow(which, longest)
            strips = np.unique(self._strip(self._disagreeing()))
            # Whatever is in a strip with a wrong step is suspect.
            which = np.flatnonzero(self.there & np.isin(self._strip(np.arange(len(self.end))), strips))
            longest *= 0.2

    def _strip(self, arcs: Index) -> Index:
        found: Index = self.nodes.level[arcs // 2] - (arcs % 2 == 0)
        return found

    def _follow(self, which: Index, longest: float) -> None:
        node, up = which // 2, which % 2 == 1
        strip = self._strip(which)
        y = self.levels[self.nodes.level[node]]
        bounds = self.levels[strip], self.levels[strip + 1]
        toward = np.where(up, 1.0, -1.0)
        arcs = _begun(self.plane, self.nodes.x[node], y, *bounds, toward, longest)
        _follow(self.plane, arcs)
        self.end[which] = arcs.end
        self.partner[which] = -1
        for k, arc in enumerate(which.tolist()):
            self.way[arc] = arcs.way[k]
            if arcs.end[k] == AT_LEVEL:
                self.partner[arc] = self._met(arcs.x[k], int(strip[k]), at_top=arcs.y[k] == bounds[1][k])

    def _met(self, x: float, strip: int, *, at_top: bool) -> int:
        """Return the arc that begins where another has ended, -1 if no point of the level is there."""
        level = strip + 1 if at_top else strip
        of_level = slice(*np.searchsorted(self.nodes.level, [level, level + 1]))
        apart = np.abs(self.nodes.x[of_level] - x)
        if not len(apart) or not apart.min() < _SAME:
            return -1
        return 2 * (int(of_level.start) + int(apart.argmin())) + int(not at_top)

    def _disagreeing(self) -> Index:
        """Return the arcs whose end is not the start of one that ends at theirs."""
        arcs = np.flatnonzero(self.there)
        met = self.partner[arcs]
        back = np.where(met >= 0, self.partner[np.maximum(met, 0)], -1)
        wrong = np.where(self.end[arcs] == AT_LEVEL, back != arcs, self.end[arcs] == LOST)
        found: Index = arcs[wrong]
        return found

    def curves(self) -> list[Curve]:
        """Return the connected parts."""
        bad = np.zeros(len(self.end), dtype=bool)
        bad[self._disagreeing()] = True
        self.partner[bad] = -1
        seen = np.zeros(len(self.nodes.x), dtype=bool)
        # First those beyond which nothing follows: what is left is closed.
        order = [*np.flatnonzero(self.partner < 0).tolist(), *range(len(self.end))]
        return [self._walk(arc, seen, bad) for arc in order if not seen[arc // 2]]

    def _walk(self, last: int, seen: Any, bad: Any) -> Curve:
        """Return the curve that has `last` as its first arc, walked backwards."""
        points: list[tuple[float, float]] = [*reversed(self.way[last])]
        first_end = self._end_of(last)
        agreed = not bad[last]
        arc = last
        while True:
            node = arc // 2
            seen[node] = True
            points.append((float(self.nodes.x[node]), float(self.levels[self.nodes.level[node]])))
            arc = arc ^ 1
            agreed &= not bad[arc]
            met = int(self.partner[arc])
            if met < 0:
                points += self.way[arc]
                ends = first_end, self._end_of(arc)
                break
            if seen[met // 2]:
                points += self.way[arc][:-1]
                # Walked around: what was taken as the first arc is the last one.
                points = points[len(self.way[last]) :]
                ends = CLOSED, CLOSED
                break
            points += self.way[arc][:-1]
            arc = met
        line = np.array(points)
        return Curve(line[:, 0], line[:, 1], ends, bool(agreed))

    def _end_of(self, arc: int) -> int:
        if not self.there[arc]:
            return AT_LEVEL
        return LOST if self.end[arc] == AT_LEVEL else int(self.end[arc])


def _loops(
    plane: Plane, levels: Array, curves: list[Curve], apart: tuple[Array, Array], longest: float
) -> list[Curve]:
    """Return the curves that cross no level, through points that are on none of the others."""
    found: list[Curve] = []
    for x, y in zip(*apart, strict=True):
        if any(is_next_to(curve, x, y) for curve in (*curves, *found)):
            continue
        curve = _around(plane, levels, float(x), float(y), longest)
        # Whatever crosses a level goes through a point that is known, and so is among the others.
        if AT_LEVEL not in curve.ends:
            found.append(curve)
    return found


def _around(plane: Plane, levels: Array, x: float, y: float, longest: float) -> Curve:
    """Return the curve through a point, to both sides until it closes or leaves its strip."""
    k = int(np.clip(np.searchsorted(levels, y) - 1, 0, len(levels) - 2))
    sides = []
    for turn in (1.0, -1.0):
        place = np.array([x]), np.array([y])
        arcs = _begun(plane, *place, levels[k : k + 1], levels[k + 1 : k + 2], np.zeros(1), longest)
        for values in (arcs.along_x, arcs.along_y, arcs.turn):
            values *= turn
        _follow(plane, arcs, closing=True)
        if arcs.end[0] == CLOSED:
            line = np.array([(x, y), *arcs.way[0]])
            return Curve(line[:, 0], line[:, 1], (CLOSED, CLOSED), agreed=True)
        sides.append(arcs)
    line = np.array([*reversed(sides[0].way[0]), (x, y), *sides[1].way[0]])
    ends = int(sides[0].end[0]), int(sides[1].end[0])
    return Curve(line[:, 0], line[:, 1], ends, LOST not in ends)


def is_next_to(curve: Curve, x: float, y: float) -> bool:
    """Tell whether a point of some curve is on this one: no further from a chord than that bends."""
    if len(curve.x) < 2:
        return bool(np.hypot(curve.x[0] - x, curve.y[0] - y) < _SAME)
    off, length, _ = from_chords(curve.x, curve.y, x, y, closed=curve.closed)
    return bool(np.any(off < 0.05 * length + 1e-9))


def from_chords(
    along_x: Array, along_y: Array, x: float, y: float, *, closed: bool
) -> tuple[Array, Array, Array]:
    """Return how far a point is from each chord of a curve, how long that is, and at which share of it."""
    at = np.column_stack((along_x, along_y))
    if closed:
        at = np.vstack((at, at[:1]))
    start, step = at[:-1], np.diff(at, axis=0)
    square = np.maximum((step**2).sum(axis=1), 1e-300)
    to = np.array([x, y]) - start
    share = (to * step).sum(axis=1) / square
    off = np.hypot(*(to - np.clip(share, 0.0, 1.0)[:, None] * step).T)
    return off, np.sqrt(square), share
