"""Curves of equilibria followed step by step, by pseudo-arclength: of models that are no graph over the rate.

A point is x = (y, p), the state and the parameter, with F(y, p) = 0. Lengths are relative: of a variable that
must be above 0 the change of its logarithm counts, of others their change relative to their size, of the
parameter that relative to itself, if it is above 0, or to a quarter of its range. A step goes along the
tangent, and comes back to the curve at right angles to it (H. B. Keller, 1977). Its length follows from the
angle by which the tangent turned. Many curves go at once; what comes of one depends on no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, POSITIVE
from qifscan.roots.zeros import part
from qifscan.theory.newton import eliminated
from qifscan.theory.rate_curve import slopes_and_derivatives

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Mask, Range
    from qifscan.dynamics.model import Model

_FIRST, _LEAST, _LONGEST = 0.02, 1e-7, 0.25
"""Lengths of the first step of a curve, of the one at which it is given up, and of the longest one."""

_TURN = 0.15
"""Angle by which the tangent should turn in a step, rad."""

_SHARP = 0.45
"""Angle beyond which a step is taken again at a third of its length: it may lead to another curve."""

_CAREFUL = 1e-3
"""Length of a step up to which it may go where the curve crosses another: a longer one may change to one that
only comes near."""

_CORRECTIONS = 10
_SMALL = 1e-8
"""Relative size of a step of Newton's method after which one more would change the last digits at most."""

_FAR = 1e6
"""How many times larger than at any start a variable may become."""

_SIGNED_FLOOR, _POSITIVE_FLOOR = 0.1, 1e-7
"""Sizes below which a variable counts as 0, as shares of what it is at most at the starts."""

DIFFERENCE = 6e-6
"""Relative change of the parameter in a difference: with central ones the error is of the order 1e-11."""

SAME = 1e-6
"""Relative distance up to which two points are one."""


@dataclass(frozen=True, eq=False)
class Arc:
    """A part of a curve of one slice: points `(points, n + 1)`, unit tangents at them, and what cuts it off
    at its start and its end; `type`: codes of the points.
    """

    who: int
    x: Array
    tangent: Array
    type: Index
    cuts: tuple[str, str]

    def turned(self) -> Arc:
        """Return it from its end to its start."""
        return Arc(self.who, self.x[::-1], -self.tangent[::-1], self.type[::-1], self.cuts[::-1])

    def with_points(self, at: Array, x: Array, tangent: Array, of_type: Any) -> Arc:
        """Return it with more points, at places `(more,)`: 2.5 is between the points 2 and 3."""
        order = np.argsort(np.concatenate([np.arange(len(self.x)), at]), kind="stable")
        return replace(
            self,
            x=np.concatenate([self.x, x])[order],
            tangent=np.concatenate([self.tangent, tangent])[order],
            type=np.concatenate([self.type, np.broadcast_to(of_type, len(x))])[order],
        )


@dataclass(frozen=True, eq=False)
class Continuation:
    """F(y, p) = 0 of slices: a model, the parameter that varies and its range, the other parameters
    `(slices,)`, and the largest size of every variable at the starts, `(slices, n)`.
    """

    model: Model
    along: str
    within: Range
    slices: Mapping[str, Array]
    size: Array

    def given(self, who: Index, x: Array) -> dict[str, Array]:
        """Return all parameters at points."""
        return part(self.slices, who) | {self.along: x[:, -1]}

    def at(self, who: Index, x: Array) -> tuple[Array, Array]:
        """Return F `(points, n)` and its derivatives `(points, n, n + 1)`."""
        nothing, state = (0.0,) * (x.shape[1] - 1), tuple(x[:, :-1].T)
        slopes, entries = slopes_and_derivatives(self.model, state, self.given(who, x), nothing)
        count, size = x.shape
        value, slope = np.zeros((count, size - 1)), np.zeros((count, size - 1, size))
        for i, row in enumerate(entries):
            value[:, i] = slopes[i]
            for j, entry in enumerate(row):
                slope[:, i, j] = entry
        # What multiplies the change of p decides on no zero: differences do, and constants need no rules.
        change = np.zeros_like(x)
        change[:, -1] = DIFFERENCE * self._step_of_parameter(x[:, -1])
        both = [self._field(who, x + sign * change) for sign in (1.0, -1.0)]
        slope[:, :, -1] = (both[0] - both[1]) / (2.0 * change[:, -1:])
        return value, slope

    def _step_of_parameter(self, p: Array) -> Array:
        return (
            np.abs(p) if self.is_positive else np.maximum(np.abs(p), 0.1 * (self.within[1] - self.within[0]))
        )

    def _field(self, who: Index, x: Array) -> Array:
        constants = self.model.constants(self.given(who, x))
        slopes: Any = self.model.field(tuple(x[:, :-1].T), (0.0,) * (x.shape[1] - 1), constants)
        return np.stack([slope + 0.0 * x[:, 0] for slope in slopes], axis=1)

    @property
    def bounds(self) -> list[tuple[int, Range]]:
        """The ranges beyond which curves are not followed, each with its column of x."""
        return [(-1, self.within)]

    @property
    def most(self) -> int:
        """Steps of a curve at most, in each direction."""
        return 3000

    @cached_property
    def own(self) -> Array:
        """1 for the columns of x by which points are told apart, else 0: `(n + 1,)`."""
        return np.ones(len(self.model.variables) + 1)

    @cached_property
    def is_positive(self) -> bool:
        """Whether the parameter is above 0 in all of its range, and its logarithm counts."""
        return self.within[0] > 0.0

    @cached_property
    def _positive(self) -> Mask:
        domains = (POSITIVE, NON_NEGATIVE, FRACTION)
        return np.array([v.domain in domains for v in self.model.variables])

    def weights(self, who: Index, x: Array) -> Array:
        """Return the factors that make changes of x relative, `(points, n + 1)`."""
        floor = self.size[who] * np.where(self._positive, _POSITIVE_FLOOR, _SIGNED_FLOOR)
        found = np.empty_like(x)
        found[:, :-1] = 1.0 / (np.abs(x[:, :-1]) + floor)
        low, high = self.within
        found[:, -1] = 4.0 / (high - low)
        if self.is_positive:
            found[:, -1] = np.maximum(found[:, -1], 1.0 / np.abs(x[:, -1]))
        return found

    def inside(self, x: Array) -> Mask:
        """Tell which states are in the domains of their variables."""
        holds = [
            np.asarray(v.domain.holds(y)) for v, y in zip(self.model.variables, x[:, :-1].T, strict=True)
        ]
        return np.asarray(np.all(holds, axis=0) & np.isfinite(x).all(axis=1))

    def far(self, who: Index, x: Array) -> Mask:
        """Tell which states have gone far beyond those at the starts."""
        return np.asarray((np.abs(x[:, :-1]) > _FAR * self.size[who]).any(axis=1))

    def corrected(self, who: Index, start: Array, border: Array, level: Array) -> tuple[Array, Mask]:
        """Return the points of curves with border . x = level that starts lead to, and which arrive."""
        found, there, going = start.copy(), np.zeros(len(start), dtype=bool), np.arange(len(start))
        for _ in range(_CORRECTIONS):
            if not len(going):
                break
            x, normal = found[going], border[going]
            value, slope = self.at(who[going], x)
            right = np.concatenate([-value, level[going, None] - _dot(normal, x)[:, None]], axis=1)
            step = eliminated(_bordered(slope, normal), right)
            found[going] = x + step
            size = np.abs(step * self.weights(who[going], x)).max(axis=1)
            there[going] = size < _SMALL
            going = going[(size >= _SMALL) & (size < 1e3)]
        return found, there

    def tangents(self, who: Index, x: Array, towards: Array) -> tuple[Array, Array]:
        """Return unit tangents, `towards . tangent` above 0, and the determinants of the derivatives of F
        with the tangent below them, rows and columns scaled: where curves cross it changes its sign.
        """
        slope, w = self.at(who, x)[1], self.weights(who, x)
        right = np.zeros(x.shape)
        right[:, -1] = 1.0
        found = eliminated(_bordered(slope, towards), right) * w
        found /= np.linalg.norm(found, axis=1)[:, None]
        scaled = slope / w[:, None, :]
        scaled = _bordered(scaled / np.linalg.norm(scaled, axis=2, keepdims=True), found)
        fine = np.isfinite(scaled).all(axis=(1, 2))
        sense = np.full(len(x), np.nan)
        sense[fine] = np.linalg.det(scaled[fine])
        return found / w, sense

    def matched(self, who: Index, x: Array, other: Array) -> Mask:
        """Tell which pairs of points are one."""
        return np.asarray((np.abs(x - other) * self.weights(who, x) * self.own).max(axis=1) < SAME)


def _bordered(slope: Array, border: Array) -> Array:
    return np.concatenate([slope, border[:, None, :]], axis=1)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=1))


# Following


def follow(of: Continuation, who: Index, starts: Array) -> list[Arc]:
    """Return the curves through equilibria `(starts, n + 1)` of slices, to both of their ends."""
    towards = np.zeros_like(starts)
    towards[:, -1] = 1.0
    tangent, sense = of.tangents(who, starts, towards)
    count = len(starts)
    begin = (np.tile(starts, (2, 1)), np.concatenate([tangent, -tangent]))
    ways = _ways(of, np.tile(who, 2), begin, np.concatenate([sense, -sense]))
    arcs = []
    for k in range(count):
        forth, back = ways[k], ways[count + k].turned()
        if forth.cuts[1] == "closed":
            arcs.append(replace(forth, cuts=("closed", "closed")))
            continue
        x, t = (np.concatenate([a[:-1], b]) for a, b in ((back.x, forth.x), (back.tangent, forth.tangent)))
        # From the end of the range on one of the two ways has no length.
        apart = np.append(True, ~of.matched(np.full(len(x) - 1, forth.who), x[1:], x[:-1]))
        x, t = x[apart], t[apart]
        arcs.append(Arc(forth.who, x, t, np.zeros(len(x), dtype=np.intp), (back.cuts[0], forth.cuts[1])))
    return arcs


def _ways(of: Continuation, who: Index, begin: tuple[Array, Array], sense: Array) -> list[Arc]:
    """Return the curves from points on, each in the direction of its tangent."""
    x, t, sense = begin[0].copy(), begin[1].copy(), sense.copy()
    passed: list[list[tuple[Array, Array]]] = [[pair] for pair in zip(*begin, strict=True)]
    ends = np.full(len(x), "not_resolved", dtype=object)
    going = np.flatnonzero(np.isfinite(t).all(axis=1))
    h = np.full(len(x), _FIRST)
    for _ in range(of.most):
        if not len(going):
            break
        now = (x[going], t[going], begin[0][going], begin[1][going])
        new, tangent, turned, turn, good, end = _step(of, who[going], now, h[going])
        good &= (turned * sense[going] > 0.0) | (h[going] < _CAREFUL)
        done = going[good]
        x[done], t[done], sense[done] = new[good], tangent[good], turned[good]
        for k, a, b in zip(done, new[good], tangent[good], strict=True):
            passed[k].append((a, b))
        factor = np.where(good, np.clip(_TURN / (turn + 1e-3), 0.5, 2.0), 1.0 / 3.0)
        h[going] = np.minimum(h[going] * factor, _LONGEST)
        ended = (good & (end != "")) | (h[going] < _LEAST)
        ends[going[ended]] = np.where(end[ended] == "", "not_resolved", end[ended])
        going = going[~ended]
    return [
        Arc(
            int(who[k]),
            np.stack([a for a, _ in way]),
            np.stack([b for _, b in way]),
            np.zeros(len(way), dtype=np.intp),
            ("start", str(ends[k])),
        )
        for k, way in enumerate(passed)
    ]


def _step(
    of: Continuation, who: Index, now: tuple[Array, Array, Array, Array], h: Array
) -> tuple[Array, Array, Array, Array, Mask, Any]:
    """Return where a step leads, the tangents there with their sense, by how much they turned, whether it is
    good, and why the curve ends there if it does, else an empty word.

    `now`: the points and tangents, and those at the starts of the curves.
    """
    x, t, *begin = now
    w = of.weights(who, x)
    normal = w * w * t
    start = x + h[:, None] * t
    new, good = of.corrected(who, start, normal, _dot(normal, start))
    end = np.full(len(x), "", dtype=object)
    _back_to_range(of, who, x, new, good, end)
    _back_to_start(of, who, x, new, good, end, *begin)
    inside = of.inside(new)
    new = np.where(inside[:, None], new, x)
    tangent, sense = of.tangents(who, new, normal)
    turn = np.arccos(np.clip(_dot(w * t, of.weights(who, new) * tangent), -1.0, 1.0))
    length = np.linalg.norm(w * (new - x), axis=1)
    end[~inside] = "no_equilibrium"
    end[inside & (end == "") & of.far(who, new)] = "rates"
    return new, tangent, sense, turn, good & inside & (turn < _SHARP) & (length < 2.0 * h), end


def _back_to_range(of: Continuation, who: Index, x: Array, new: Array, good: Mask, end: Any) -> None:
    """Put points beyond a range on its end."""
    for column, (low, high) in of.bounds:
        beyond = (new[:, column] < low) | (new[:, column] > high)
        out = np.flatnonzero(good & beyond & (end == ""))
        if not len(out):
            continue
        bound = np.where(new[out, column] < low, low, high)
        share = (bound - x[out, column]) / (new[out, column] - x[out, column])
        border = np.zeros((len(out), x.shape[1]))
        border[:, column] = 1.0
        start = x[out] + share[:, None] * (new[out] - x[out])
        new[out], good[out] = of.corrected(who[out], start, border, bound)
        new[out, column] = bound
        end[out] = "within"


def _back_to_start(
    of: Continuation, who: Index, x: Array, new: Array, good: Mask, end: Any, first: Array, direction: Array
) -> None:
    """Put points that are past the start of their curve on it: the curve is closed."""
    w = of.weights(who, first) * of.own
    normal = w * w * direction
    before, after = _dot(normal, x - first), _dot(normal, new - first)
    near = np.linalg.norm(w * (new - first), axis=1) < 2.0 * _LONGEST
    past = np.flatnonzero(good & (end == "") & (before < -1e-9) & (after >= 0.0) & near)
    if not len(past):
        return
    share = before[past] / (before[past] - after[past])
    start = x[past] + share[:, None] * (new[past] - x[past])
    level = _dot(normal[past], first[past])
    again, there = of.corrected(who[past], start, normal[past], level)
    there &= of.matched(who[past], first[past], again)
    closed = past[there]
    new[closed], end[closed] = first[closed], "closed"


def filled(of: Continuation, arcs: list[Arc], longest: float) -> list[Arc]:
    """Return the curves with points so near that none is further than `longest` from the next one."""
    places, starts, borders, who, number = [], [], [], [], []
    for k, arc in enumerate(arcs):
        chord = np.diff(arc.x, axis=0)
        w = of.weights(np.full(len(chord), arc.who), 0.5 * (arc.x[1:] + arc.x[:-1]))
        length = np.linalg.norm(w * chord, axis=1)
        parts = np.maximum(1, np.ceil(length / longest).astype(int))
        row = np.repeat(np.arange(len(parts)), parts - 1)
        first = np.cumsum(parts - 1) - (parts - 1)
        share = (np.arange(len(row)) - first[row] + 1.0) / parts[row]
        places.append(row + share)
        starts.append(_between(arc, length, row, share))
        borders.append((w * w * chord)[row])
        who.append(np.full(len(row), arc.who))
        number.append(np.full(len(row), k))
    at, start, border, whose, of_arc = map(np.concatenate, (places, starts, borders, who, number))
    x, there = of.corrected(whose, start, border, _dot(border, start))
    there &= of.inside(x)
    tangent, _ = of.tangents(whose, x, border)
    found = []
    for k, arc in enumerate(arcs):
        here = (of_arc == k) & there
        found.append(arc.with_points(at[here], x[here], tangent[here], 0))
    return found


def _between(arc: Arc, length: Array, row: Index, share: Array) -> Array:
    """Return where a cubic through neighbours with their tangents is between them."""
    a, b = arc.x[row], arc.x[row + 1]
    s, size = share[:, None], length[row, None]
    up, down = arc.tangent[row] * size, arc.tangent[row + 1] * size
    bend = s * (1.0 - s) * ((1.0 - s) * (up - (b - a)) - s * (down - (b - a)))
    return np.asarray(a + s * (b - a) + bend)
