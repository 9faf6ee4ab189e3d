"""Curves of Hopf points in the plane of eta and a second parameter q.

The Hurwitz determinant H does not depend on eta, so a Hopf curve is a part of a curve H(r, q) = 0, on which
the two eigenvalues that add up to 0 are imaginary. At `CELLS` + 1 values of q every zero is known, with
proof; `tracing` follows the curves from there by their own length. A Hopf curve ends where those two
eigenvalues cease to be imaginary, at a Bogdanov-Takens point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.domain import POSITIVE
from qifscan.roots import tracing
from qifscan.theory.certain import zeros_along
from qifscan.theory.codes import BT, GH
from qifscan.theory.conditions import FOLD, HOPF, Kind
from qifscan.theory.hopf_plane import CELLS, HEIGHT, RatePlane
from qifscan.theory.rate_curve import default_range, paths
from qifscan.theory.spectrum import spectrum_of

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Range
    from qifscan.dynamics.model import Model

PER_DECADE = 48
"""Points of a curve, and lines of constant rate, while the rate grows tenfold."""

CUT_BY_RATES, CUT_BY_RANGE, CUT_BY_WALL, CUT_AT_BT, CLOSED, UNRESOLVED = range(6)

_CUTS = {
    tracing.AT_SIDE: CUT_BY_RATES,
    tracing.AT_LEVEL: CUT_BY_RANGE,
    tracing.AT_WALL: CUT_BY_WALL,
    tracing.CLOSED: CLOSED,
    tracing.LOST: UNRESOLVED,
}

_NEXT_TO_WALL = 1e-9
"""Share of the range by which a level keeps away from the end of it at which the parameter has no meaning."""

_SPACING = 0.05
"""Longest step on the chart."""

_ON = 0.1
"""Distance of a point from a chord that it belongs to, in lengths of the chord."""

_HALVINGS, _ROUGH = 14, 4
_NEXT_TO_BT = np.geomspace(1e-4, 0.4, 13)
"""Where along its chord l1 is looked at next to a Bogdanov-Takens point: there it has a pole, and what falls
by powers of ten along a chord would be taken for rounding where chords are halved."""

_IS_ZERO = 1e-6
"""Share of l1 at both ends of a chord up to which it counts as 0 between them."""


@dataclass(frozen=True)
class Levels:
    """Zeros of the determinant at values of the second parameter: the number of the value, and the rate."""

    value: Array
    number: Index
    r: Array
    certified: bool = False


def _levels(plane: RatePlane, rates: Range, kind: Kind = HOPF) -> Levels:
    """Return all zeros of the determinant, or all folds, at values of the second parameter."""
    row = next(p for p in plane.model.parameters if p.name == plane.name)
    y = np.linspace(0.0, HEIGHT, CELLS + 1)
    value = plane.at_height(y)
    value[0], value[-1] = plane.low, plane.high
    for k, inward in ((0, 1.0), (-1, -1.0)):
        # At the end of a domain, as where no rate is fed back, curves touch and zeros can be double.
        if not row.domain.holds(value[k] - inward * _NEXT_TO_WALL * (plane.high - plane.low)):
            value[k] += inward * _NEXT_TO_WALL * (plane.high - plane.low)
    given = {key: np.full(len(value), values[0]) for key, values in plane.one.items()} | {plane.name: value}
    path = paths(plane.model, plane.model.graph)[0]
    if kind is HOPF and spectrum_of(plane.model).unproven:
        return Levels(value, *spectrum_of(plane.model).turning(path, given, rates))
    found = zeros_along(path, kind, given, rates)
    return Levels(value, found.who, found.r, bool(found.certified.all()))


@dataclass(frozen=True)
class Line:
    """A Hopf curve in order: rate, second parameter, mark (0, or the code of a special point), what ends it,
    and whether it has every Hopf point that is proven to be at one of the values looked at.
    """

    r: Array
    value: Array
    mark: Index
    cuts: tuple[int, int]
    certified: bool = False


def curves(
    model: Model,
    name: str,
    one: Mapping[str, Array],
    rates: Range,
    within: Range | None,
    points: int = 0,
    turns: tuple[Array, Array] | None = None,
) -> list[Line]:
    """Return the Hopf curves of one slice within ranges of the rate (1/ms) and of the second parameter.

    `points`: how many while the rate grows tenfold, `PER_DECADE` if that is more. `turns`: rates and second
    parameters of the Bogdanov-Takens points of the slice, if they are known.
    """
    plane = _plane(model, name, one, within)
    longest = min(_SPACING, math.log(10.0) / max(PER_DECADE, points))
    found: list[Line] = []
    for curve in _determinant_curves(plane, rates, longest, turns):
        found += [_with_bautin(plane, line) for line in _hopf_parts(plane, *curve, turns)]
    return found


def has_every_fold(
    model: Model,
    name: str,
    one: Mapping[str, Array],
    rates: Range,
    within: Range | None,
    lines: Sequence[tuple[Array, Array]],
) -> bool:
    """Tell whether every fold that is proven to be at one of the levels lies on one of the lines."""
    plane = _plane(model, name, one, within)
    levels = _levels(plane, rates, FOLD)
    on = [
        tracing.Curve(np.log(r), plane.height(value), (tracing.AT_LEVEL, tracing.AT_LEVEL), agreed=True)
        for r, value in lines
    ]
    places = zip(np.log(levels.r), plane.height(levels.value)[levels.number], strict=True)
    return levels.certified and all(any(tracing.is_next_to(line, x, y) for line in on) for x, y in places)


def _plane(model: Model, name: str, one: Mapping[str, Array], within: Range | None) -> RatePlane:
    low, high = within or default_range(model, name)
    row = next(p for p in model.parameters if p.name == name)
    return RatePlane(model, name, one, low, high, row.domain is POSITIVE and low > 0.0)


def _determinant_curves(
    plane: RatePlane, rates: Range, longest: float, turns: tuple[Array, Array] | None
) -> list[tuple[Array, Array, tuple[int, int], bool]]:
    """Return the curves H = 0: rates, second parameters, what cuts them off, whether they are certified."""
    levels = _levels(plane, rates)
    chart = tracing.Plane(plane.in_chart, plane.is_valid, (math.log(rates[0]), math.log(rates[1])))
    # Curves between two levels are met on lines of constant rate, and at the points known anyway.
    r, value = plane.on_columns(
        np.geomspace(*rates, 2 + math.ceil(PER_DECADE * math.log10(rates[1] / rates[0])))
    )
    if turns is not None:
        inside = (
            (turns[1] > plane.low) & (turns[1] < plane.high) & (turns[0] > rates[0]) & (turns[0] < rates[1])
        )
        r, value = (np.concatenate((a, b[inside])) for a, b in zip((r, value), turns, strict=True))
    heights = plane.height(levels.value)
    found = []
    for curve in tracing.traced(
        chart, heights, np.log(levels.r), levels.number, (np.log(r), plane.height(value)), longest
    ):
        line = plane.corrected(np.exp(curve.x), np.asarray(plane.at_height(curve.y)), relative=True)
        cuts = tuple(_CUTS[end] for end in curve.ends)
        found.append((*line, (cuts[0], cuts[1]), curve.agreed and levels.certified))
    return found


def _hopf_parts(
    plane: RatePlane,
    r: Array,
    value: Array,
    cuts: tuple[int, int],
    certified: bool,
    turns: tuple[Array, Array] | None,
) -> list[Line]:
    """Return the parts of a curve H = 0 on which it is one of Hopf points."""
    if turns is not None:
        r, value = _with_points_between(plane, r, value, turns, closed=cuts[0] == CLOSED)
    imaginary = plane.omega_squared(r, value) > 0.0
    if imaginary.all():
        return [Line(r, value, np.zeros(len(r), dtype=np.intp), cuts, certified)]
    if cuts[0] == CLOSED:
        # A closed curve is cut open where the eigenvalues are real.
        first = int(np.flatnonzero(~imaginary)[0])
        r, value, imaginary = (np.append(np.roll(a, -first), a[first]) for a in (r, value, imaginary))
    edges = np.flatnonzero(imaginary[1:] != imaginary[:-1])
    between = [a[edges + k] for k in (0, 1) for a in (r, value)]
    r_bt, value_bt = plane.crossing(plane.omega_squared, between)
    found = []
    padded = np.pad(imaginary, 1).astype(int)
    for start, end in zip(
        np.flatnonzero(np.diff(padded) > 0), np.flatnonzero(np.diff(padded) < 0), strict=True
    ):
        before, after = np.flatnonzero(edges == start - 1), np.flatnonzero(edges == end - 1)
        rs = np.concatenate((r_bt[before], r[start:end], r_bt[after]))
        values = np.concatenate((value_bt[before], value[start:end], value_bt[after]))
        mark = np.zeros(len(rs), dtype=np.intp)
        mark[: len(before)], mark[len(rs) - len(after) :] = BT, BT
        ends = CUT_AT_BT if len(before) else cuts[0], CUT_AT_BT if len(after) else cuts[1]
        found.append(Line(rs, values, mark, ends, certified))
    return found


def _with_points_between(
    plane: RatePlane, r: Array, value: Array, turns: tuple[Array, Array], *, closed: bool
) -> tuple[Array, Array]:
    """Return a curve with a point of its own between any two Bogdanov-Takens points of one of its chords.

    Between two such points the curve is one of Hopf points, or ceases to be one, for less than a chord.
    """
    x, y = np.log(r), plane.height(value)
    on: dict[int, list[tuple[float, int]]] = {}
    places = zip(np.log(turns[0]), plane.height(turns[1]), strict=True)
    for number, place in enumerate(places if len(x) > 1 else ()):
        off, length, share = tracing.from_chords(x, y, *place, closed=closed)
        chord = int(off.argmin())
        if off[chord] < _ON * length[chord]:
            on.setdefault(chord, []).append((float(share[chord]), number))
    new_r, new_value, at = [], [], []
    for chord, members in sorted(on.items()):
        order = [number for _, number in sorted(members)]
        for a, b in pairwise(order):
            new_r.append(math.sqrt(turns[0][a] * turns[0][b]))
            new_value.append(0.5 * (turns[1][a] + turns[1][b]))
            at.append(chord + 1)
    if not at:
        return r, value
    added = plane.corrected(np.array(new_r), np.array(new_value))
    return np.insert(r, at, added[0]), np.insert(value, at, added[1])


# Generalised Hopf points


def _with_bautin(plane: RatePlane, line: Line) -> Line:
    """Return a Hopf curve with the points at which l1 changes its sign in their places."""
    if len(line.r) < 2:
        return line
    r, value, chord = _sign_changes_of_l1(plane, line)
    # Two on one chord: in their order along it.
    away = np.hypot(np.log(r / line.r[chord]), plane.height(value) - plane.height(line.value[chord]))
    order = np.lexsort((away, chord))
    r, value, at = r[order], value[order], chord[order] + 1
    return replace(
        line,
        r=np.insert(line.r, at, r),
        value=np.insert(line.value, at, value),
        mark=np.insert(line.mark, at, GH),
    )


def _sign_changes_of_l1(plane: RatePlane, line: Line) -> tuple[Array, Array, Index]:
    """Return where l1 changes its sign along a Hopf curve, and on which chord.

    Chords are halved until l1 in the middle is where the chord's ends let expect it.
    """
    r, value, owner = _inside(plane, line)
    test = plane.bautin(r, value)
    ends = _Chords(r[:-1], value[:-1], test[:-1]), _Chords(r[1:], value[1:], test[1:])
    bent, rough = np.full(len(r) - 1, np.inf), np.zeros(len(r) - 1)
    changes: list[tuple[Array, ...]] = []
    for _ in range(_HALVINGS):
        low, high = ends
        middle = _between(plane, low, high)
        bend = np.abs(middle.test - 0.5 * (low.test + high.test))
        # A bend that does not get smaller is rounding.
        rough = np.where(bend > 0.5 * bent, rough + 1, 0)
        settled = _is_settled(low.test, middle.test, high.test)
        for a, b in ((low, middle), (middle, high)):
            change = settled & (a.test * b.test < 0.0) & (rough < _ROUGH // 2)
            changes.append((a.r[change], a.value[change], b.r[change], b.value[change], owner[change]))
        left = ~settled & (rough < _ROUGH)
        if not left.any():
            break
        ends = low.joined(middle, left), middle.joined(high, left)
        owner, bent, rough = (np.concatenate((a[left], a[left])) for a in (owner, bend, rough))
    *between, owners = (np.concatenate(parts) for parts in zip(*changes, strict=True))
    found = plane.crossing(plane.bautin, between)
    size = np.abs(plane.l1(*between[:2])) + np.abs(plane.l1(*between[2:]))
    # Where another eigenvalue is 0, l1 changes its sign through infinity.
    zero = np.abs(plane.l1(*found)) < _IS_ZERO * size
    return found[0][zero], found[1][zero], owners[zero].astype(np.intp)


@dataclass(frozen=True)
class _Chords:
    """The starts or the ends of chords of a Hopf curve, with the test function for l1 = 0 there."""

    r: Array
    value: Array
    test: Array

    def joined(self, other: _Chords, which: Any) -> _Chords:
        """Return some of both, one behind the other."""
        pairs = ((self.r, other.r), (self.value, other.value), (self.test, other.test))
        return _Chords(*(np.concatenate((a[which], b[which])) for a, b in pairs))


def _inside(plane: RatePlane, line: Line) -> tuple[Array, Array, Index]:
    """Return a Hopf curve with points next to its Bogdanov-Takens points instead of those, and the chord of
    the curve that each of its own is on."""
    r, value, owner = line.r, line.value, np.arange(len(line.r) - 1)
    for end, inner in ((0, 1), (-1, -2)):
        if line.mark[end] == BT:
            near = [a[end] + _NEXT_TO_BT * (a[inner] - a[end]) for a in (line.r, line.value)]
            more = np.full(len(_NEXT_TO_BT) - 1, owner[end])
            added = plane.corrected(*near)
            if end == 0:
                r, value = (np.concatenate((new, a[1:])) for new, a in zip(added, (r, value), strict=True))
                owner = np.concatenate((more, owner))
            else:
                r, value = (
                    np.concatenate((a[:-1], new[::-1])) for new, a in zip(added, (r, value), strict=True)
                )
                owner = np.concatenate((owner, more))
    if line.cuts[0] == CLOSED:
        r, value, owner = np.append(r, r[0]), np.append(value, value[0]), np.append(owner, len(line.r) - 1)
    return r, value, owner


def _between(plane: RatePlane, low: _Chords, high: _Chords) -> _Chords:
    r, value = plane.corrected(np.sqrt(low.r * high.r), 0.5 * (low.value + high.value))
    return _Chords(r, value, plane.bautin(r, value))


def _is_settled(low: Array, middle: Array, high: Array) -> Any:
    """Tell the chords on which a test function has the sign changes that its three values show."""
    bend = np.abs(middle - 0.5 * (low + high))
    same = (low > 0.0) == (high > 0.0)
    least = np.minimum(np.abs(low), np.abs(high))
    smooth = np.where(same, bend < 0.25 * least, bend < 0.1 * np.abs(high - low))
    return smooth | ~np.isfinite(low + middle + high)
