"""Every zero of the conditions along the equilibria of slices, with a count that is a proof.

The zeros of a condition (see `conditions`) are isolated with proof (`isolation`), and placed to the last
digits. Walls are no special case: where a parameter or a state ceases to be valid is read off at each root.

To place a zero both equations of a point, that of the path and the condition, are evaluated with bounds on
their rounding errors. Where these move the point by more than `NEGLIGIBLE`, it is found again in whole
numbers from the interval that holds it, to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array
from qifscan.roots.algebra import Polynomial, Ratio, Ring, Tied
from qifscan.roots.isolation import Roots, isolated, narrowed, narrowed_near, table
from qifscan.roots.taylor import PARAMETER, RATE, Taylor, coefficient
from qifscan.roots.whole import Bracket, roots_between, sharpened, square_root
from qifscan.roots.zeros import Nodes, part, walled
from qifscan.theory.conditions import FOLD, REST, Exact, Kind, OnSlices, vanishing, walls
from qifscan.theory.normal_forms import states
from qifscan.theory.rate_curve import PER_DECADE, SPAN, Path, coefficients, graph_value, rate_unit

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Index, Range
    from qifscan.dynamics.model import Model


@dataclass(frozen=True)
class CountedZeros:
    """Zeros of a condition: slice, rate, the parameter that the path solves for and that of the graph (NaN
    where there is none, or it is given); by slice, whether the count is proven.
    """

    who: Index
    r: Array
    value: Array
    graph: Array
    certified: Any


def span(model: Model, slices: Mapping[str, Array], rates: Range | None) -> tuple[Array, float]:
    """Return the lowest rate of every slice, and by what factor the highest is higher."""
    count = len(next(iter(slices.values())))
    if rates is not None:
        return np.full(count, float(rates[0])), float(rates[1]) / float(rates[0])
    return SPAN[0] * rate_unit(model, slices), SPAN[1] / SPAN[0]


def zeros_along(path: Path, kind: Kind, slices: Mapping[str, Array], rates: Range | None) -> CountedZeros:
    """Return the zeros of a condition on a path, whichever root of its equation p is."""
    of, roots, x = _isolated(path, kind, slices, rates)
    every = np.ones(len(of.unit), dtype=bool)
    if not len(x):
        nothing = np.empty(0)
        return CountedZeros(np.empty(0, dtype=np.intp), nothing, nothing, nothing, every)
    places = placed(of, roots, x)
    every[roots.who[places.there & ~places.known]] = False
    # At a wall the state is not valid, and is not to be.
    there = places.there & places.known
    if kind.special:
        here = part(slices, roots.who)
        there &= _valid(path, places.r, places.p, here)
        if path.tied == 2:
            there &= ~_is_of_division(path, kind, places.r, places.p, here)
    return CountedZeros(roots.who[there], places.r[there], places.p[there], places.graph[there], every)


def _valid(path: Path, r: Array, value: Array, here: Mapping[str, Array]) -> Any:
    """Tell the roots at which the parameter and every state variable are in their domains."""
    model = path.model
    given = {**here, model.graph: 0.0 * r}
    valid = np.isfinite(r)
    if path.degree or path.folded:
        row = next(p for p in model.parameters if p.name == path.along)
        valid &= np.isfinite(value) & np.asarray(row.domain.holds(value))
        given[path.along] = value
    state = model.at_rest(r, given)
    for variable_, x in zip(model.variables, state, strict=True):
        valid &= np.isfinite(x) & np.asarray(variable_.domain.holds(x))
    return valid


def _is_of_division(path: Path, kind: Kind, r: Array, p: Array, here: Mapping[str, Array]) -> Any:
    """Tell the roots at which the other p of the path's equation is 0, where the model has divided by p.

    Such a factor of the condition is 0 there for neither p, and nothing else tells it from one that is.
    """
    first, second, third = (coefficients(term, 0, r)[0] for term in path.tie_at(r, here))
    # Of a polynomial in p - 1: its value at p = 0, over its last term, is the product of both p.
    other = (first - second + third) / (third * p)
    (f, f_r, f_p), (g, g_r, g_p) = _both(path, kind, r, p, here)
    step = (g * f_p - f * g_p) / (f_r * g_p - f_p * g_r)
    return (np.abs(other / p) < _DIVIDED) & ~(np.abs(step) < _ARRIVED)


def walls_along(
    path: Path, kind: Kind, slices: Mapping[str, Array], rates: Range | None
) -> tuple[Index, Array, Any]:
    """Return the slice and the rate of every zero of a wall, and of which slices their count is proven."""
    if not path.degree:
        found = zeros_along(path, kind, slices, rates)
        return found.who, found.r, found.certified
    of, roots, x = _isolated(path, kind, slices, rates)
    return roots.who, x * of.unit[roots.who], np.ones(len(of.unit), dtype=bool)


def _isolated(
    path: Path, kind: Kind, slices: Mapping[str, Array], rates: Range | None
) -> tuple[OnSlices, Roots, Array]:
    """Return the roots of a condition, and where they are as the expanded polynomial has it, in units."""
    low, factor = span(path.model, slices, rates)
    count = len(low)
    # In units of the middle of its range, powers of the rate neither over- nor underflow.
    unit = low * math.sqrt(factor)
    of = OnSlices(path, kind, slices, unit)
    top = of.condition.numerator
    if len(top.c) <= 1:
        nothing = np.empty(0)
        return of, Roots(np.empty(0, dtype=np.intp), nothing, nothing, nothing.astype(bool), {}), nothing
    powers = unit[:, None] ** np.arange(len(top.c))
    kept = ~np.array(vanishing(path, kind))
    c, errors = (table(terms, count) * powers * kept for terms in (top.c, top.errors))
    roots = isolated(c, errors, low / unit, factor, of.near, of.exactly)
    x = np.where(roots.exact, roots.low, np.nan)
    rough = ~roots.exact
    ends = roots.who[rough], roots.low[rough], roots.high[rough]
    x[rough] = narrowed_near(of.near, *ends) if path.degree else narrowed(c[ends[0]], *ends[1:])
    return of, roots, x


_BY_WALL = 1e-9
"""How far from a wall its function is looked at, as a share of the rate."""


def nodes_of(path: Path, parameters: Mapping[str, Array], rates: tuple[float, float] | None) -> Nodes:
    """Return the grid of every slice, cut where states cease to be valid.

    `rates` (1/ms) is the range that is looked at, by default `SPAN` in the units of each slice.
    """
    slices = len(next(iter(parameters.values())))
    low, high = SPAN if rates is None else rates
    count = 1 + max(2, math.ceil(PER_DECADE * math.log10(high / low)))
    grid = np.geomspace(low, high, count)
    unit = np.ones(slices) if rates is not None else rate_unit(path.model, parameters)
    nodes = Nodes(unit[:, None] * grid, np.ones((slices, count - 1), dtype=bool), rates)
    certified = np.ones(slices, dtype=bool)
    none = np.empty(0, dtype=np.intp), np.empty(0)
    for kind, _ in walls(path):
        wall = kind.along(path)
        who, at, proven = walls_along(path, kind, parameters, rates)
        if path.tied == 2:
            who, at = _of_this_root(wall, parameters, who, at)
        nodes = walled(nodes, wall, parameters, positive=False, at=(who, at))
        certified &= proven
    # A function changes its sign at its poles as well, which are among the other walls.
    for kind, positive in walls(path):
        if positive:
            nodes = walled(nodes, kind.along(path), parameters, positive=True, at=none)
    return replace(nodes, certified=certified)


def _of_this_root(
    wall: Function, parameters: Mapping[str, Array], who: Index, at: Array
) -> tuple[Index, Array]:
    """Return the walls that the path comes upon, without those of the other root of its equation."""
    here = part(parameters, who)
    before, after = (wall(at * factor, here, 0)[0] for factor in (1.0 - _BY_WALL, 1.0 + _BY_WALL))
    crossed = ~((before > 0.0) & (after > 0.0)) & ~((before < 0.0) & (after < 0.0))
    return who[crossed], at[crossed]


def counted_rates(path: Path, one: Mapping[str, Array], low: float, high: float) -> Array:
    """Return the rates at rest of a point in a range, from roots that are isolated in whole numbers."""
    unit = math.sqrt(low) * math.sqrt(high)
    exact = Exact.of(path, REST, one, 0, unit)
    brackets = sorted(roots_between(exact.polynomial, low / unit, high / unit))
    r = np.array([float(Fraction(first) * exact.unit) for first, _ in brackets])
    state = states(path.model, r, one)
    valid = [v.domain.holds(y) for v, y in zip(path.model.variables, state.T, strict=True)]
    found: Array = r[np.all(valid, axis=0)] if len(r) else r
    return found


NEGLIGIBLE = 1e-12
"""Relative error of a place up to which the last digits are left to floating point."""

_NEWTON_STEPS = 4
_FAR = 1e-3
"""Relative step of Newton's method beyond which it is not a correction of rounding."""

_POLE = 16
"""Rounding errors of the last term of the path's equation up to which it counts as 0."""

_BESIDE = 2.0**-44
"""Relative distance from a root in floating point within which the exact one is looked for first."""

_ASIDE = 1e-13
"""Relative distance from its interval within which a root is still that one."""

_ARRIVED = 1e-6
"""Relative step of Newton's method below which a point is one of the condition."""

_DIVIDED = 1e-9
"""Relative size of the other p up to which it counts as 0."""

_OUTSIDE = Fraction(1, 1 << 48)
"""By how much of itself an end of an interval is moved out, where rounding has moved it in."""

_DIGITS = (110, 220, 440, 880, 1760)
"""Binary digits of the rate that are tried until they tell p."""

_SAME, _NOTHING = 2.0**-51, 1e-300

_EPS = float(np.finfo(np.float64).eps)

Values = Mapping[str, Array]


@dataclass(frozen=True)
class Places:
    """Rates of roots; p, what the path solves for (NaN along the graph); the graph's parameter (NaN where it
    is given); which of them are known, and which are points at all: at a pole p is infinite.
    """

    r: Array
    p: Array
    graph: Array
    known: Any
    there: Any


def placed(of: OnSlices, roots: Roots, x: Array) -> Places:
    """Return the places of roots that are guessed at rates x, in the units of their slices."""
    path, who = of.path, roots.who
    here = part(of.slices, who)
    r = x * of.unit[who]
    p = _start(path, r, of.tied(r, who), here)
    there = ~_at_pole(path, r, here) if path.degree else np.ones(len(r), dtype=bool)
    lost = ~(_error_of_tie(path, of.kind, r, p, here) < _FAR) if path.degree else ~there
    r, p, error = _by_newton(path, of.kind, r, p, here)
    moved = r / of.unit[who]
    lost |= (moved < roots.low * (1.0 - _ASIDE)) | (moved > roots.high * (1.0 + _ASIDE))
    graph, rounding = _graph(of, r, p, here)
    size = np.maximum(error, rounding)
    known = there.copy()
    # Not "size > NEGLIGIBLE": a NaN is open too.
    for j in np.flatnonzero(there & (~(size < NEGLIGIBLE) | roots.exact | lost)):
        exact = of.exact(int(who[j]))
        ends = roots.brackets.get(int(j)) or _bracket(exact, roots.low[j], roots.high[j], float(r[j]))
        found = _exactly(exact, ends) if ends else None
        known[j] = found is not None
        if found is not None:
            r[j], p[j], graph[j] = found
    return Places(r, p, graph, known, there)


# In floating point


def _by_newton(path: Path, kind: Kind, r: Array, p: Array, here: Values) -> tuple[Array, Array, Array]:
    """Return the zeros as the model's own functions have them, and the relative errors that are left."""
    if path.degree:
        r, p = _corrected(path, kind, r, p, here)
        f, g = _both(path, kind, r, p, here)
        f_error, g_error = _roundings(path, kind, r, p, here)
        # The residuals count too, as not every guess converges.
        f_error, g_error = f_error + np.abs(f[0]), g_error + np.abs(g[0])
        whole = f[1] * g[2] - f[2] * g[1]
        in_r = (np.abs(g[2]) * f_error + np.abs(f[2]) * g_error) / np.abs(whole)
        in_p = (np.abs(g[1]) * f_error + np.abs(f[1]) * g_error) / np.abs(whole * p)
        return r, p, np.maximum(in_r, in_p)
    r = _corrected_rate(path, kind, r, here)
    value, slope = _alone(path, kind, r, here)
    (error,) = _roundings(path, kind, r, p, here)
    return r, p, (error + np.abs(value)) / np.abs(slope)


def _corrected(path: Path, kind: Kind, r: Array, p: Array, here: Values) -> tuple[Array, Array]:
    """Return where tie and condition are both 0, next to guesses."""
    x, p = r.copy(), p.copy()
    going = np.isfinite(p)
    for _ in range(_NEWTON_STEPS):
        (f, f_r, f_p), (g, g_r, g_p) = _both(path, kind, x, p, here)
        whole = f_r * g_p - f_p * g_r
        in_r, in_p = (g * f_p - f * g_p) / whole, (f * g_r - g * f_r) / whole
        fine = going & np.isfinite(in_r) & np.isfinite(in_p) & (np.abs(in_r) < _FAR)
        in_p = np.clip(in_p, -0.5 * np.abs(p), 0.5 * np.abs(p))
        x, p = np.where(fine, x * np.exp(in_r), x), np.where(fine, p + in_p, p)
        going = fine & (np.maximum(np.abs(in_r), np.abs(in_p / p)) > 2.0 * _EPS)
        if not going.any():
            break
    return x, p


def _error_of_tie(path: Path, kind: Kind, r: Array, p: Array, here: Values) -> Array:
    """Return by how much of itself rounding of the rate moves p, as the tie has it."""
    _, by_r, by_p = _both(path, kind, r, p, here)[0]
    found: Array = _POLE * _EPS * np.abs(by_r) / np.abs(p * by_p)
    return found


def _corrected_rate(path: Path, kind: Kind, r: Array, here: Values) -> Array:
    x = r.copy()
    going = np.arange(len(r))
    for _ in range(_NEWTON_STEPS):
        if not len(going):
            break
        value, slope = _alone(path, kind, x[going], part(here, going))
        step = -value / slope
        fine = np.isfinite(step) & (np.abs(step) < _FAR)
        x[going[fine]] *= np.exp(step[fine])
        going = going[fine & (np.abs(step) > 2.0 * _EPS)]
    return x


def _alone(path: Path, kind: Kind, r: Array, here: Values) -> list[Array]:
    """Return the condition along the graph, and its derivative by log r."""
    return kind.along(path)(r, here, 1)


def _start(path: Path, r: Array, value: Array, here: Values) -> Array:
    """Return the parameter where the tie gives it: of two roots the one next to what is known of it."""
    if not path.degree:
        return value
    signs = (1.0, -1.0) if path.tied == 2 else (1.0,)
    either = [
        coefficients(replace(path, sign=sign).place(r, here, 0)[1][path.along], 0, r)[0] for sign in signs
    ]
    found: Array = either[0]
    if len(either) == 2:
        near = np.where(np.abs(either[0] - value) <= np.abs(either[1] - value), *either)
        # Where the condition does not depend on p, the equation's roots are p and -p.
        found = np.where(np.isinf(value), np.maximum(*either), near)
    return found


def _at_pole(path: Path, r: Array, here: Values) -> Any:
    """Tell the rates at which the last term of the tie is 0: p is infinite there, and they are no points."""
    last = path.last_term(r, here, 1)
    return np.abs(last[0]) <= _POLE * _EPS * np.abs(last[1])


def along_folds(path: Path, r: Array, p: Array, here: Values) -> tuple[Array, Array, Array]:
    """Return d eta/d log r with its derivatives by log r and by p, on a path of folds."""
    return _both(path, FOLD, r, p, here)[0]


def _both(path: Path, kind: Kind, r: Array, p: Array, here: Values) -> list[tuple[Array, Array, Array]]:
    """Return the tie and the condition at (r, p): value, derivative by log r, derivative by p."""
    parts = []
    for number, k in _equations(path, kind, r, Taylor(PARAMETER, (p, 1.0 + 0.0 * p)), here, 1):
        value, slope, by_p = (_part(number, *which) for which in ((k, 0), (k + 1, 0), (k, 1)))
        parts.append((value + 0.0 * r, (k + 1) * slope + 0.0 * r, by_p + 0.0 * r))
    return parts


def _equations(path: Path, kind: Kind, r: Any, p: Any, here: Values, more: int) -> list[tuple[Any, int]]:
    """Return the tie, if the path has a parameter, and the condition, as series in log r of the rate and
    which of their coefficients is 0; `more` coefficients follow that one.
    """
    model = path.model
    first = (1 if path.folded else 0) if path.degree else 0
    order = first + kind.beyond + more
    given: dict[str, Any] = {**here, model.graph: 0.0}
    if path.degree:
        given[path.along] = p
    eta = graph_value(model, _series(r, order), given)
    found = []
    if path.degree:
        found.append((eta if path.folded else eta - here[model.graph], first))
    assert kind.equation is not None, f"{kind.name} is no condition of a point"
    found.append(kind.equation(path, eta, first, _series(r, more), given))
    return found


def _series(r: Any, order: int) -> Taylor:
    """Return the rate as a series in the change of its logarithm."""
    return Taylor(RATE, [r if k < 2 else r * (1.0 / math.factorial(k)) for k in range(order + 1)])


def _part(number: Any, k: int, j: int) -> Any:
    return coefficient(coefficient(number, j, PARAMETER), k, RATE)


def _roundings(path: Path, kind: Kind, r: Array, p: Array, here: Values) -> list[Array]:
    """Return bounds on the rounding errors of the tie and the condition at (r, p)."""
    ring = Ring()
    number, parameter = (Ratio(ring.one, ring, scale=Polynomial((x,), (0,))) for x in (r, p))
    equations = _equations(path, kind, number, parameter, here, 0)
    return [_EPS * _error(_part(value, k, 0), ring) + 0.0 * r for value, k in equations]


def _error(number: Any, ring: Ring) -> Any:
    """Return the error of a constant, in units of the last digit of 1."""
    if not isinstance(number, Ratio) or number.top.is_zero:
        return 0.0
    return ring.product(number.scale, number.top).errors[0]


def _graph(of: OnSlices, r: Array, p: Array, here: Values) -> tuple[Array, Array]:
    """Return the parameter of the graph, and its rounding error relative to it, or to 1 if it is below."""
    path, model = of.path, of.path.model
    if not of.condition.on_graph:
        return np.full(len(r), np.nan), np.zeros(len(r))
    given: dict[str, Any] = {**here, model.graph: 0.0} | ({path.along: p} if path.degree else {})
    value = np.asarray(graph_value(model, r, given)) + 0.0 * r
    return value, rounding_of_graph(path, r, given) / np.maximum(np.abs(value), 1.0)


def rounding_of_graph(path: Path, r: Array, given: Mapping[str, Any]) -> Array:
    """Return a bound on the rounding error of the graph's parameter at rates."""
    ring = Ring()
    number = Ratio(ring.one, ring, scale=Polynomial((r,), (0,)))
    found: Array = (
        _EPS * _error(graph_value(path.model, number, {**given, path.model.graph: 0.0}), ring) + 0.0 * r
    )
    return found


# In whole numbers


def _exactly(exact: Exact, ends: Bracket) -> tuple[float, float, float] | None:
    """Return the rate, p and the graph's parameter at the only root between two rates, in its unit; None if
    they can't be told.
    """
    for digits in _DIGITS:
        found = sharpened(exact.polynomial, *ends, digits)
        if found is None:
            return None
        ends = found
        one, other = (_at(exact, end * exact.unit, digits) for end in ends)
        if _agree(one, other):
            return one
    return None


def _bracket(exact: Exact, low: float, high: float, r: float) -> Bracket | None:
    """Return the narrowest interval around a guess, within the given one, whose ends have other signs."""
    first, last, guess = Fraction(low), Fraction(high), r / float(exact.unit)
    near = Fraction(guess * (1.0 - _BESIDE)), Fraction(guess * (1.0 + _BESIDE))
    wide = first * (1 - _OUTSIDE), last * (1 + _OUTSIDE)
    for a, b in ((max(near[0], first), min(near[1], last)), (first, last), wide):
        if a < b and sharpened(exact.polynomial, a, b, 0):
            return a, b
    return None


def _at(exact: Exact, r: Fraction, digits: int) -> tuple[float, float, float] | None:
    """Return the rate, p and the graph's parameter at a rate, rounded."""
    condition = exact.condition
    path = condition.path
    p = graph = None
    try:
        if path.degree:
            p = condition.tied(r)
            p = _larger_root(condition.p, r, digits) if p is None else p
        if condition.on_graph:
            graph = sum((term.at(r) * (p or 0) ** k for k, term in enumerate(condition.terms)), Fraction(0))
        return float(r), math.nan if p is None else float(p), math.nan if graph is None else float(graph)
    except (ZeroDivisionError, OverflowError):
        return None


def _larger_root(p: Tied, r: Fraction, digits: int) -> Fraction | None:
    """Return the larger p that its equation has, None if there is none."""
    c, b, a = (m.at(r) for m in p.m)
    inside = b * b - 4 * a * c
    return None if inside < 0 else (square_root(inside, 2 * digits) / abs(2 * a)) - b / (2 * a)


def _agree(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return False
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if not math.isnan(a) or not math.isnan(b)]
    return all(math.isclose(a, b, rel_tol=_SAME, abs_tol=_NOTHING) for a, b in pairs)
