"""Curves of Hopf points in the plane of eta and a second parameter q.

The Hurwitz determinant H does not depend on eta, so a Hopf curve is a part of a curve H(r, q) = 0, on which
the two eigenvalues that add up to 0 are imaginary. At `CELLS` + 1 values of q every zero is known, with proof;
`tracing` follows the curves from there by their own length. They end where those two eigenvalues cease to be
imaginary, at Bogdanov-Takens points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from qifscan import tracing
from qifscan.certain import zeros_along
from qifscan.graph import (
    PARAMETER,
    RATE,
    UNSURE,
    Array,
    Index,
    Nodes,
    Values,
    at_once,
    coefficients,
    frequency_squared,
    hurwitz,
    jacobian,
    paths,
    series,
    walled,
    zeros,
)
from qifscan.jets import Taylor, characteristic, coefficient
from qifscan.models import FRACTION, POSITIVE, Model
from qifscan.normal_forms import lyapunov_coefficient, matrices, states
from qifscan.pieces import hopf_zeros

PER_DECADE = 48
"""Points of a curve, and lines of constant rate, while the rate grows tenfold."""

CELLS = 96
"""Cells of the second parameter's range."""

BT, GH = -21, -32
CUT_BY_RATES, CUT_BY_RANGE, CUT_BY_WALL, CUT_AT_BT, CLOSED, UNRESOLVED = range(6)

_CUTS = {
    tracing.AT_SIDE: CUT_BY_RATES,
    tracing.AT_LEVEL: CUT_BY_RANGE,
    tracing.AT_WALL: CUT_BY_WALL,
    tracing.CLOSED: CLOSED,
    tracing.LOST: UNRESOLVED,
}

_HEIGHT = 4.0
"""Height of the second parameter's range on the chart, whose other axis is log r."""

_SPACING = 0.05
"""Longest step on the chart."""

_NEXT_TO_WALL = 1e-9
"""Share of the range by which a level keeps away from the end of it at which the parameter has no meaning."""

_ON = 0.1
"""Distance of a point from a chord that it belongs to, in lengths of the chord."""

_ROUNDED = 1e-11
"""Relative step of Newton's method that can be rounding."""

_STEPS = 60
_NEWTON_STEPS = 12
_HALVINGS, _ROUGH = 14, 4
_NEXT_TO_BT = 1e-4
"""Where along its chord l1 is looked at next to a Bogdanov-Takens point."""

_IS_ZERO = 1e-6
_EPS = float(np.finfo(np.float64).eps)

Range = tuple[float, float]


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


@dataclass(frozen=True)
class _Levels:
    """Zeros of the determinant at values of the second parameter: the number of the value, and the rate."""

    value: Array
    number: Index
    r: Array
    certified: bool = False


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

    def is_sure(self, r: Array, value: Array) -> Any:
        """Tell the zeros of the determinant that are more than its rounding; see `pieces.hopf_zeros`."""
        _, by_r, by_value = self.gradient(r, value)
        given = {key: values[0] + 0.0 * r for key, values in self.one.items()} | {self.name: value}
        error = paths(self.model, self.model.graph)[0].hopf_error(r, given)
        return error < UNSURE * np.hypot(by_r, by_value * self.scale(value))

    def scale(self, value: Array) -> Array:
        """Return the unit in which changes of the second parameter are measured: its own size, or its range."""
        return value if self.logarithmic else np.full(len(value), self.high - self.low)

    def gradient(self, r: Array, value: Array) -> tuple[Array, Array, Array]:
        """Return the Hurwitz determinant, and its derivatives in log r and in the second parameter."""
        moved = Taylor(PARAMETER, (value, np.ones(len(value))))
        given = at_once(self.model, {**self.one, self.model.graph: 0.0, self.name: moved})
        state = self.model.at_rest(series(r, 1), given)
        found = hurwitz(characteristic(jacobian(self.model, state, given)))
        parts = ((0, 0), (1, 0), (0, 1))
        return tuple(coefficient(coefficient(found, j, PARAMETER), k, RATE) + 0.0 * r for k, j in parts)  # type: ignore[return-value]

    def corrected(
        self, r: Array, value: Array, *, relative: bool = False, steps: int = _NEWTON_STEPS
    ) -> tuple[Array, Array]:
        """Return the points of the curve H = 0 next to guesses, by Newton's method along its gradient.

        With `relative` the parameter is measured by its own size, which settles the last digits of small
        ones.
        """
        last = np.inf
        for _ in range(steps):
            size, by_r, by_value = self.gradient(r, value)
            unit = np.abs(value) if relative else self.scale(value)
            step = size / (by_r**2 + (by_value * unit) ** 2)
            in_r, in_value = (np.clip(np.nan_to_num(step * x), -0.1, 0.1) for x in (by_r, by_value * unit))
            r, value = r * np.exp(-in_r), value - in_value * unit
            largest = max(np.abs(in_r).max(initial=0.0), np.abs(in_value).max(initial=0.0))
            # Rounding ceases to get smaller.
            if largest < 4.0 * _EPS or (largest < _ROUNDED and largest > 0.25 * last):
                break
            last = largest
        return r, value

    def height(self, value: Array) -> Array:
        """Return the coordinate of the second parameter on the chart: its range is `_HEIGHT` high."""
        if self.logarithmic:
            return _HEIGHT * np.log(value / self.low) / math.log(self.high / self.low)
        return _HEIGHT * (value - self.low) / (self.high - self.low)

    def at_height(self, y: Array) -> Array:
        """Return the second parameter there."""
        if self.logarithmic:
            return self.low * np.exp(y / _HEIGHT * math.log(self.high / self.low))
        return self.low + y / _HEIGHT * (self.high - self.low)

    def in_chart(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Return the Hurwitz determinant and its derivatives in the coordinates of the chart."""
        value = self.at_height(y)
        found, by_r, by_value = self.gradient(np.exp(x), value)
        by_height = value * math.log(self.high / self.low) if self.logarithmic else self.high - self.low
        return found, by_r, by_value * by_height / _HEIGHT

    def is_valid(self, x: Array, y: Array) -> Any:
        """Tell the points of the chart at which the parameter and every variable are in their domains."""
        r, value = np.exp(x), self.at_height(y)
        row = next(p for p in self.model.parameters if p.name == self.name)
        found = np.asarray(row.domain.holds(value)) & np.isfinite(r)
        state = self.model.at_rest(r, {**self.one, self.model.graph: 0.0, self.name: value})
        for variable, size in zip(self.model.variables, state, strict=True):
            found = found & np.isfinite(size) & np.asarray(variable.domain.holds(size))
        return found

    def levels(self, rates: Range) -> _Levels:
        """Return all zeros of the determinant at `CELLS` + 1 values of the second parameter."""
        row = next(p for p in self.model.parameters if p.name == self.name)
        y = np.linspace(0.0, _HEIGHT, CELLS + 1)
        value = self.at_height(y)
        value[0], value[-1] = self.low, self.high
        for k, inward in ((0, 1.0), (-1, -1.0)):
            # At the end of a domain, as where no rate is fed back, curves touch and zeros can be double.
            if not row.domain.holds(value[k] - inward * _NEXT_TO_WALL * (self.high - self.low)):
                value[k] += inward * _NEXT_TO_WALL * (self.high - self.low)
        given = {key: np.full(len(value), values[0]) for key, values in self.one.items()} | {self.name: value}
        path = paths(self.model, self.model.graph)[0]
        found = zeros_along(path, "hopf", given, rates)
        if len(found.unsettled):
            return _Levels(value, *hopf_zeros(path, given, rates), False)
        return _Levels(value, found.who, found.r, bool(found.certified.all()))

    def on_columns(self, rates: Array) -> tuple[Array, Array]:
        """Return points of the curve H = 0 at given rates, as a grid of the second parameter shows them."""
        low = self.low if self.logarithmic else 1.0
        high = self.high if self.logarithmic else 2.0
        grid = (np.geomspace if self.logarithmic else np.linspace)(low, high, CELLS + 1)
        columns = {"r": rates}
        nodes = Nodes(np.tile(grid, (len(rates), 1)), np.ones((len(rates), CELLS), dtype=bool))
        for index, variable in enumerate(self.model.variables[1:], 1):
            if variable.domain is POSITIVE:
                nodes = walled(nodes, self.of_state(index), columns, positive=True)
        column, t = zeros(self.determinant, columns, nodes)
        r, value = rates[column], np.asarray(self.value(t))
        sure = self.is_sure(r, value)
        return r[sure], value[sure]

    def bautin(self, r: Array, value: Array) -> Array:
        """Return a function that is 0 where l1 is, and finite where that is infinite.

        Those are Bogdanov-Takens points, where omega is 0, and points at which the determinant is 0 besides.
        """
        given = completed(self.model, self.one, self.name, r, value)
        state = states(self.model, r, given)
        omega = np.sqrt(self.omega_squared(r, value))
        matrix = matrices(self.model, state, given) / omega[:, None, None]
        whole = np.linalg.det(matrix)
        return self.l1(r, value) * omega * whole / (1.0 + np.abs(whole))

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
            found = self.corrected(*(a + share * (b - a) for a, b in zip(low, high, strict=True)), steps=4)
            here = test(*found)
            same = (here > 0.0) == (low_test > 0.0)
            low_test, high_test = np.where(same, here, 0.5 * low_test), np.where(same, 0.5 * high_test, here)
            low = np.where(same, found[0], low[0]), np.where(same, found[1], low[1])
            high = np.where(same, high[0], found[0]), np.where(same, high[1], found[1])
            if np.all(np.abs(high[0] - low[0]) <= 64.0 * _EPS * low[0]) or np.all(here == 0.0):
                break
        return found


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
    low, high = within or default_range(model, name)
    row = next(p for p in model.parameters if p.name == name)
    plane = _Plane(model, name, one, low, high, row.domain is POSITIVE and low > 0.0)
    longest = min(_SPACING, math.log(10.0) / max(PER_DECADE, points))
    found: list[Line] = []
    for curve in _determinant_curves(plane, rates, longest, turns):
        found += [_with_bautin(plane, line) for line in _hopf_parts(plane, *curve, turns)]
    return found


def _determinant_curves(
    plane: _Plane, rates: Range, longest: float, turns: tuple[Array, Array] | None
) -> list[tuple[Array, Array, tuple[int, int], bool]]:
    """Return the curves H = 0: rates, second parameters, what cuts them off, whether they are certified."""
    levels = plane.levels(rates)
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
    plane: _Plane,
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
        # Opened where it is none of Hopf points.
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
    plane: _Plane, r: Array, value: Array, turns: tuple[Array, Array], *, closed: bool
) -> tuple[Array, Array]:
    """Return a curve with a point of its own between any two Bogdanov-Takens points of one of its chords.

    Between two such points the curve is one of Hopf points, or ceases to be one, for less than a chord.
    """
    x, y = np.log(r), plane.height(value)
    if closed:
        x, y = np.append(x, x[0]), np.append(y, y[0])
    start, step = np.column_stack((x, y))[:-1], np.column_stack((np.diff(x), np.diff(y)))
    length = np.maximum((step**2).sum(axis=1), 1e-300)
    on: dict[int, list[tuple[float, int]]] = {}
    places = np.column_stack((np.log(turns[0]), plane.height(turns[1])))
    for number, place in enumerate(places):
        share = ((place - start) * step).sum(axis=1) / length
        off = np.hypot(*(place - start - np.clip(share, 0.0, 1.0)[:, None] * step).T)
        if len(off) and off.min() < _ON * math.sqrt(length[off.argmin()]):
            on.setdefault(int(off.argmin()), []).append((float(share[off.argmin()]), number))
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


def _with_bautin(plane: _Plane, line: Line) -> Line:
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


def _sign_changes_of_l1(plane: _Plane, line: Line) -> tuple[Array, Array, Index]:
    """Return where l1 changes its sign along a Hopf curve, and on which chord.

    Chords are halved until l1 in the middle is where the chord's ends let expect it.
    """
    r, value, chord = line.r, line.value, np.arange(len(line.r))
    if line.cuts[0] == CLOSED:
        r, value, chord = np.append(r, r[0]), np.append(value, value[0]), np.append(chord, len(r))
    for end, inner in ((0, 1), (-1, -2)):
        if line.mark[end] == BT:
            r, value = r.copy(), value.copy()
            next_to = [a[[end]] + _NEXT_TO_BT * (a[[inner]] - a[[end]]) for a in (r, value)]
            r[[end]], value[[end]] = plane.corrected(*next_to)
    test = plane.bautin(r, value)
    low, high = (r[:-1], value[:-1], test[:-1]), (r[1:], value[1:], test[1:])
    chord, bent, rough = chord[:-1], np.full(len(chord) - 1, np.inf), np.zeros(len(chord) - 1)
    changes: list[tuple[Array, ...]] = []
    owners: list[Index] = []
    for _ in range(_HALVINGS):
        middle = plane.corrected(np.sqrt(low[0] * high[0]), 0.5 * (low[1] + high[1]))
        here = plane.bautin(*middle)
        # A curve that turns between the ends of a chord can lead the middle to another one.
        settled = _is_settled(low[2], here, high[2]) | ~np.isfinite(here)
        bend = np.abs(here - 0.5 * (low[2] + high[2]))
        rough = np.where(bend > 0.5 * bent, rough + 1, 0)
        for a, b, f, g in ((low, middle, low[2], here), (middle, high, here, high[2])):
            change = settled & (f * g < 0.0) & (rough < 2)
            changes.append((a[0][change], a[1][change], b[0][change], b[1][change]))
            owners.append(chord[change])
        # A bend that does not get smaller is rounding.
        left = ~settled & (rough < _ROUGH)
        if not left.any():
            break
        halves = (middle[0], middle[1], here)
        low, high = (
            tuple(np.concatenate((a[left], b[left])) for a, b in zip(low, halves, strict=True)),
            tuple(np.concatenate((a[left], b[left])) for a, b in zip(halves, high, strict=True)),
        )
        chord, bent, rough = (np.concatenate((a[left], a[left])) for a in (chord, bend, rough))
    ends = [np.concatenate(parts) for parts in zip(*changes, strict=True)]
    found = plane.crossing(plane.bautin, ends)
    owner = np.concatenate(owners)
    near = np.abs(plane.l1(*ends[:2])) + np.abs(plane.l1(*ends[2:]))
    # Where another eigenvalue is 0, l1 changes its sign through infinity.
    zero = np.abs(plane.l1(*found)) < _IS_ZERO * near
    return found[0][zero], found[1][zero], owner[zero]


def _is_settled(low: Array, middle: Array, high: Array) -> Any:
    """Tell the chords on which a test function has the sign changes that its three values show."""
    bend = np.abs(middle - 0.5 * (low + high))
    same = (low > 0.0) == (high > 0.0)
    least = np.minimum(np.abs(low), np.abs(high))
    return np.where(same, bend < 0.25 * least, bend < 0.1 * np.abs(high - low)) | ~np.isfinite(low + high)
