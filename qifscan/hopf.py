"""Curves of Hopf points in the plane of eta and a second parameter q.

The Hurwitz determinant H does not depend on eta, so a Hopf curve is a curve H(r, q) = 0: for every rate of a
grid all q of a range are found as all zeros along the other axis are, and neighbours are joined. Two
that meet between two rates are joined with each other: there the curve turns. Where the two eigenvalues that
add up to 0 cease to be imaginary the curve ends, at a Bogdanov-Takens point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from qifscan.graph import (
    UNSURE,
    Array,
    Index,
    Nodes,
    Values,
    coefficients,
    frequency_squared,
    hurwitz,
    jacobian,
    paths,
    series,
    walled,
    zeros,
)
from qifscan.jets import characteristic
from qifscan.models import FRACTION, POSITIVE, Model
from qifscan.normal_forms import lyapunov_coefficient, states
from qifscan.pieces import hopf_zeros

PER_DECADE = 48
"""Rates of the grid while the rate grows tenfold."""

CELLS = 96
"""Cells of the second parameter's range."""

BT, GH = -21, -32
CUT_BY_RATES, CUT_BY_RANGE, CUT_AT_BT, CLOSED = 0, 1, 3, 4

_STEPS = 80
_NEWTON_STEPS = 12
_HALVINGS = 8
_SPACING = 0.05
"""Largest distance of neighbours on a curve: of log r, and of the parameter as a share of its range."""

_EPS = float(np.finfo(np.float64).eps)

Range = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A Hopf curve in order: rate, second parameter, mark (0, or the code of a special point), what ends
    it.
    """

    r: Array
    value: Array
    mark: Index
    cuts: tuple[int, int]


@dataclass(frozen=True)
class _Plane:
    """The plane of the rate and of the second parameter at one set of the others, `(1,)` each."""

    model: Model
    name: str
    one: Mapping[str, Array]
    low: float
    high: float
    logarithmic: bool

    def value(self, t: Any) -> Any:
        """Return the parameter from what is scanned in its place: t in [1, 2], or in [low, high] itself."""
        return t if self.logarithmic else (t - 1.0) * (self.high - self.low) + self.low

    def inverse(self, value: Array) -> Array:
        """Return t."""
        return value if self.logarithmic else 1.0 + (value - self.low) / (self.high - self.low)

    def determinant(self, t: Array, columns: Values, order: int) -> list[Any]:
        """Return the Hurwitz determinant at rates `columns["r"]` as a series in log t."""
        given = {**self.one, self.model.graph: 0.0, self.name: self.value(series(t, order))}
        state = self.model.at_rest(columns["r"] + 0.0 * t, given)
        return coefficients(hurwitz(characteristic(jacobian(self.model, state, given))), order, t)

    def of_state(self, index: int) -> Callable[[Array, Values, int], list[Any]]:
        """Return a state variable at rest as such a function."""

        def function(t: Array, columns: Values, order: int) -> list[Any]:
            given = {**self.one, self.model.graph: 0.0, self.name: self.value(series(t, order))}
            return coefficients(self.model.at_rest(columns["r"] + 0.0 * t, given)[index], order, t)

        return function

    def omega_squared(self, r: Array, value: Array) -> Array:
        """Return omega^2 at Hopf points and neutral saddles."""
        given = completed(self.model, self.one, self.name, r, value)
        c = characteristic(jacobian(self.model, self.model.at_rest(r, given), given))
        found: Array = frequency_squared([coefficients(term, 0, r)[0] for term in c])
        return found

    def l1(self, r: Array, value: Array) -> Array:
        """Return the first Lyapunov coefficient at Hopf points."""
        given = completed(self.model, self.one, self.name, r, value)
        omega = np.sqrt(self.omega_squared(r, value))
        return lyapunov_coefficient(self.model, states(self.model, r, given), given, omega)

    def is_sure(self, r: Array, t: Array) -> Any:
        """Tell the zeros of the determinant that are more than its rounding; see `graph.hopf_zeros`."""
        _, by_r, by_t = self.gradient(r, t)
        given = {key: values[0] + 0.0 * r for key, values in self.one.items()} | {self.name: self.value(t)}
        error = paths(self.model, self.model.graph)[0].hopf_error(r, given)
        return error < UNSURE * np.hypot(by_r, by_t)

    def gradient(self, r: Array, t: Array) -> tuple[Array, Array, Array]:
        """Return the Hurwitz determinant, and its derivatives in log r and in log t."""
        value, by_t = self.determinant(t, {"r": r}, 1)
        given = {key: values[0] + 0.0 * r for key, values in self.one.items()} | {self.name: self.value(t)}
        by_r = paths(self.model, self.model.graph)[0].hopf(r, given, 1)[1]
        return value, by_r, by_t

    def corrected(self, r: Array, value: Array) -> tuple[Array, Array]:
        """Return the points of the curve H = 0 next to guesses, by Newton's method along its gradient."""
        t = self.inverse(value)
        for _ in range(_NEWTON_STEPS):
            size, by_r, by_t = self.gradient(r, t)
            step = size / (by_r * by_r + by_t * by_t)
            in_r, in_t = (np.clip(np.nan_to_num(step * slope), -0.1, 0.1) for slope in (by_r, by_t))
            r, t = r * np.exp(-in_r), t * np.exp(-in_t)
            if max(np.abs(in_r).max(initial=0.0), np.abs(in_t).max(initial=0.0)) < 4.0 * _EPS:
                break
        return r, np.asarray(self.value(t))

    def crossing(self, test: Callable[[Array, Array], Array], ends: Sequence[Array]) -> tuple[Array, Array]:
        """Return where on the curve, between two of its points each (r, q, r, q), a test changes its sign.

        By the method of false position, with the weight of an end that stays halved (Illinois), and
        at times the middle.
        """
        low, high = (ends[0], ends[1]), (ends[2], ends[3])
        if not len(low[0]):
            return low
        low_test, high_test = test(*low), test(*high)
        found = low
        for k in range(_STEPS):
            share = np.where(k % 4 == 3, 0.5, low_test / (low_test - high_test))
            found = self.corrected(*(a + share * (b - a) for a, b in zip(low, high, strict=True)))
            here = test(*found)
            same = (here > 0.0) == (low_test > 0.0)
            low_test, high_test = np.where(same, here, 0.5 * low_test), np.where(same, 0.5 * high_test, here)
            low = np.where(same, found[0], low[0]), np.where(same, found[1], low[1])
            high = np.where(same, high[0], found[0]), np.where(same, high[1], found[1])
            if np.all(np.abs(high[0] - low[0]) <= 8.0 * _EPS * low[0]) or np.all(here == 0.0):
                break
        return found

    def refined(self, r: Array, value: Array, closed: bool) -> tuple[Array, Array]:
        """Return a curve with points between those that are far from each other."""
        if closed:
            r, value = np.append(r, r[0]), np.append(value, value[0])
        for _ in range(_HALVINGS):
            far = np.hypot(np.diff(np.log(r)), np.diff(self.inverse(value))) > _SPACING
            if not far.any():
                break
            at = np.flatnonzero(far)
            between = self.corrected(np.sqrt(r[at] * r[at + 1]), 0.5 * (value[at] + value[at + 1]))
            r, value = np.insert(r, at + 1, between[0]), np.insert(value, at + 1, between[1])
        return (r[:-1], value[:-1]) if closed else (r, value)


def default_range(model: Model, name: str) -> Range:
    """Return the range of a parameter: a factor of 100 to both sides of its default if it must be above 0,
    (0, 1] for a fraction, else up to 10 times the size of the default, or 10."""
    row = next(p for p in model.parameters if p.name == name)
    default = row.default or 0.0
    if row.domain is POSITIVE:
        return default / 100.0, default * 100.0
    if row.domain is FRACTION:
        return 1e-3, 1.0
    most = 10.0 * max(1.0, abs(default))
    return (-most if row.domain.holds(-1.0) else 0.0), most


def completed(model: Model, one: Mapping[str, Array], name: str, r: Array, value: Array) -> dict[str, Array]:
    """Return all parameters of equilibria of given rate and value of a second parameter."""
    given = {key: values[0] + 0.0 * r for key, values in one.items()} | {name: value + 0.0 * r}
    path = paths(model, model.graph)[0]
    return given | {model.graph: path.partial(r, given, 0, 0)[0]}


def curves(
    model: Model, name: str, one: Mapping[str, Array], rates: Range, within: Range | None, points: int = 0
) -> list[Line]:
    """Return the Hopf curves of one slice within ranges of the rate (1/ms) and of the second parameter.

    `points`: how many while the rate grows tenfold, `PER_DECADE` if that is more.
    """
    low, high = within or default_range(model, name)
    row = next(p for p in model.parameters if p.name == name)
    plane = _Plane(model, name, one, low, high, row.domain is POSITIVE and low > 0.0)
    count = 2 + math.ceil(max(PER_DECADE, points) * math.log10(rates[1] / rates[0]))
    columns = {"r": np.geomspace(*rates, count)}
    first = np.geomspace(low, high, CELLS + 1) if plane.logarithmic else np.geomspace(1.0, 2.0, CELLS + 1)
    nodes = Nodes(np.tile(first, (count, 1)), np.ones((count, CELLS), dtype=bool))
    for index, variable in enumerate(model.variables[1:], 1):
        if variable.domain is POSITIVE:
            nodes = walled(nodes, plane.of_state(index), columns, positive=True)
    column, t = zeros(plane.determinant, columns, nodes)
    sure = plane.is_sure(columns["r"][column], t)
    column, t = column[sure], t[sure]
    r, value = columns["r"][column], np.asarray(plane.value(t))
    chains = _chains(column, value / (high - low))
    found = []
    for chain, closed in _to_the_borders(plane, columns["r"], column, (r, value), chains):
        line = plane.refined(*chain, closed)
        found += _imaginary_parts(plane, *line, plane.omega_squared(*line) > 0.0, closed, rates)
    return found


Chain = tuple[tuple[Array, Array], bool]
"""Rates and values of the second parameter in order along a curve, and whether it is closed."""


def _to_the_borders(
    plane: _Plane,
    grid: Array,
    column: Index,
    points: tuple[Array, Array],
    chains: Sequence[tuple[Index, bool]],
) -> list[Chain]:
    """Return the curves with their ends at the borders of the second parameter's range.

    A curve along which the rate hardly changes leaves the range between two rates of the grid, or lies
    between them as a whole. On a border it is found as every Hopf point at that value is.
    """
    r, value = _on_borders(plane, (float(grid[0]), float(grid[-1])))
    gaps = np.searchsorted(grid, r)
    free = np.ones(len(gaps), dtype=bool)
    found: list[Chain] = []
    for chain, closed in chains:
        line_r, line_value = (values[chain] for values in points)
        for back in () if closed else (1, -1):
            ends = column[chain[::back][:2]]
            able = np.flatnonzero(free & np.isin(gaps, _gaps_beyond(ends)))
            if len(able):
                near = able[np.argmin(np.abs(value[able] - line_value[::back][0]))]
                free[near] = False
                at = 0 if back > 0 else len(line_r)
                line_r = np.insert(line_r, at, r[near])
                line_value = np.insert(line_value, at, value[near])
        found.append(((line_r, line_value), closed))
    for gap in np.unique(gaps[free]).tolist():
        pair = np.flatnonzero(free & (gaps == gap))
        if len(pair) == 2:
            found.append(((r[pair], value[pair]), False))
    return found


def _gaps_beyond(ends: Index) -> list[int]:
    """Return the gaps of the grid that a curve can go on in: outward, from its last rate and the one before.

    Gap k lies below rate k. A curve that turns at its last rate, or has only one, can go on to both sides.
    """
    last, before = int(ends[0]), int(ends[-1])
    return [last + 1] if last > before else [last] if last < before else [last, last + 1]


def _on_borders(plane: _Plane, rates: Range) -> tuple[Array, Array]:
    """Return the points of the curve H = 0 at the two ends of the second parameter's range."""
    model = plane.model
    row = next(p for p in model.parameters if p.name == plane.name)
    path = paths(model, model.graph)[0]
    r, value = [], []
    for bound in (plane.low, plane.high):
        if row.domain.holds(bound):
            given = {key: np.asarray(values) for key, values in plane.one.items()}
            given |= {plane.name: np.full(1, bound)}
            r.append(hopf_zeros(path, given, rates)[1])
            value.append(np.full(len(r[-1]), bound))
    return np.concatenate([*r, []]), np.concatenate([*value, []])


def _imaginary_parts(
    plane: _Plane, r: Array, value: Array, imaginary: Any, closed: bool, rates: Range
) -> list[Line]:
    """Return the parts of a curve H = 0 on which it is one of Hopf points."""
    if imaginary.all():
        cuts = (CLOSED, CLOSED) if closed else (_cut(r[0], rates), _cut(r[-1], rates))
        return [Line(r, value, np.zeros(len(r), dtype=np.intp), cuts)]
    if closed:
        # Opened where it is none of Hopf points.
        first = int(np.flatnonzero(~imaginary)[0])
        r, value, imaginary = (np.roll(a, -first) for a in (r, value, imaginary))
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
        cuts = (
            CUT_AT_BT if len(before) else _cut(rs[0], rates),
            CUT_AT_BT if len(after) else _cut(rs[-1], rates),
        )
        found.append(Line(rs, values, mark, cuts))
    return found


def _cut(r: float, rates: Range) -> int:
    return CUT_BY_RATES if min(abs(r / rates[0] - 1.0), abs(r / rates[1] - 1.0)) < 1e-9 else CUT_BY_RANGE


def sign_changes_of_l1(model: Model, name: str, one: Mapping[str, Array], line: Line) -> tuple[Array, Array]:
    """Return the rates and the second parameter where l1 changes its sign along a Hopf curve."""
    plane = _Plane(model, name, one, 0.0, 1.0, False)
    index = _changes(plane, line)
    between = [a[index + k] for k in (0, 1) for a in (line.r, line.value)]
    return plane.crossing(plane.l1, between)


def _changes(plane: _Plane, line: Line) -> Index:
    inner = line.mark == 0
    l1 = plane.l1(line.r, line.value)
    return np.flatnonzero(inner[1:] & inner[:-1] & ((l1[1:] > 0.0) != (l1[:-1] > 0.0)))


def with_bautin(model: Model, name: str, one: Mapping[str, Array], line: Line) -> Line:
    """Return a Hopf curve with the points at which l1 changes its sign in their places."""
    index = _changes(_Plane(model, name, one, 0.0, 1.0, False), line)
    r, value = sign_changes_of_l1(model, name, one, line)
    at = index + 1
    return Line(
        np.insert(line.r, at, r), np.insert(line.value, at, value), np.insert(line.mark, at, GH), line.cuts
    )


# Joining the zeros of neighbouring columns


def _chains(column: Index, value: Array) -> list[tuple[Index, bool]]:
    """Return the points in order along each curve, and whether it is closed; columns and values ascend."""
    neighbours: list[list[int]] = [[] for _ in column]
    members = [np.flatnonzero(column == k).tolist() for k in range(int(column.max(initial=-1)) + 1)]
    for left, right in pairwise(members):
        for a, b in _joints(left, right, value):
            neighbours[a].append(b)
            neighbours[b].append(a)
    ends = [i for i, others in enumerate(neighbours) if len(others) < 2]
    seen: set[int] = set()
    found = []
    for start in [*ends, *range(len(column))]:
        if start not in seen:
            chain = _walk(start, neighbours, seen)
            closed = len(chain) > 2 and start in neighbours[chain[-1]]
            found.append((np.array(chain, dtype=np.intp), closed))
    return found


def _walk(start: int, neighbours: Sequence[Sequence[int]], seen: set[int]) -> list[int]:
    chain: list[int] = []
    here: int | None = start
    while here is not None:
        chain.append(here)
        seen.add(here)
        here = next((other for other in neighbours[here] if other not in seen), None)
    return chain


def _joints(left: list[int], right: list[int], value: Array) -> list[tuple[int, int]]:
    """Return which points of two neighbouring columns are joined, also two of one column where a curve turns.

    The order is kept, and the sum of the distances is the least; those of the longer column that are left
    over meet each other if nothing is between them.
    """
    short, long = (left, right) if len(left) <= len(right) else (right, left)
    best = min(
        combinations(range(len(long)), len(short)),
        key=lambda kept: sum(abs(value[long[k]] - value[i]) for k, i in zip(kept, short, strict=True)),
    )
    found = [(i, long[k]) for k, i in zip(best, short, strict=True)]
    over = [k for k in range(len(long)) if k not in best]
    while len(over) > 1:
        if over[1] == over[0] + 1:
            found.append((long[over[0]], long[over[1]]))
            over = over[2:]
        else:
            over = over[1:]
    return found
