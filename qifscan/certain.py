"""Every zero of the conditions along the equilibria of slices, with a count that is a proof.

Along a path (see `graph.Path`) one parameter p follows from the rate. A condition there, say the Hurwitz
determinant, becomes a fraction of polynomials in r when `algebra.Ratio` goes through the model's own
functions. If p is a root of a quadratic equation, as delta is, it becomes a + b p, whose norm has the zeros
of both roots. The zeros are isolated with proof (`isolation`). Newton's method on the model's own functions
then removes what the rounding of the expanded polynomial has displaced.

Walls are no special case: where a parameter or a state ceases to be valid is read off at each root.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from qifscan.algebra import Polynomial, Ratio, Ring, Tied
from qifscan.graph import (
    PARAMETER,
    RATE,
    SPAN,
    Array,
    Function,
    Index,
    Path,
    at_once,
    coefficients,
    graph_value,
    hurwitz,
    jacobian,
    part,
    rate_unit,
    series,
)
from qifscan.isolation import Exactly, Near, isolated, narrowed, narrowed_near, table
from qifscan.jets import Taylor, characteristic, coefficient, is_zero
from qifscan.models import Model

_MOST_TERMS = 44
"""Terms of a polynomial beyond which whole numbers take seconds a slice: Hopf points of the pair, along other
parameters than its graph's."""

_NEWTON_STEPS = 4
_FAR = 1e-3
"""Relative step of Newton's method beyond which it is not a correction of rounding."""

_ARRIVED, _SETTLED = 1e-9, 1e-2
"""Last relative steps of the rate and of p at a point that Newton's method has found. At a wall the digits of
the rate that fix p can be beyond the last, so p is known to fewer."""

_NEGLIGIBLE = 1e-11
"""Relative error of p up to which the last digits are left to floating point."""

_ROUNDINGS, _REFINEMENTS = 16, 12
_SAME_RATE = 1e-6

_LOOKED, _LOOKS = (1e-14, 1e6), 401
"""Range of a parameter, and how many values of it are looked at, where the rate alone does not tell it."""

_EPS = float(np.finfo(np.float64).eps)

Range = tuple[float, float]


@dataclass(frozen=True)
class Found:
    """Zeros of a condition: slice, rate, and the parameter that the path solves for (NaN if it is the
    graph's); by slice, whether the count is proven. `unsettled`: slices that are to be searched otherwise.
    """

    who: Index
    r: Array
    value: Array
    certified: Any
    unsettled: Index


def span(model: Model, slices: Mapping[str, Array], rates: Range | None) -> tuple[Array, float]:
    """Return the lowest rate of every slice, and by what factor the highest is higher."""
    count = len(next(iter(slices.values())))
    if rates is not None:
        return np.full(count, float(rates[0])), float(rates[1]) / float(rates[0])
    return SPAN[0] * rate_unit(model, slices), SPAN[1] / SPAN[0]


def zeros_along(path: Path, kind: str, slices: Mapping[str, Array], rates: Range | None) -> Found:
    """Return the zeros of a condition on a path, whichever root of its equation p is.

    "fold": d eta/dr = 0, on the path of folds its derivative (cusps). "hopf": the Hurwitz determinant, on the
    path of folds c_(n-1) (Bogdanov-Takens points). Along the graph also the name of a variable, which is 0.
    """
    low, factor = span(path.model, slices, rates)
    count = len(low)
    shape = _condition(path, kind, dict(slices), Ring())
    top, vanishing = _numerator(shape), _vanishing(path, kind)
    every = np.ones(count, dtype=bool)
    if len(top.c) <= 1:
        nothing = np.empty(0, dtype=np.intp)
        return Found(nothing, np.empty(0), np.empty(0), every, nothing)
    # In units of the middle of its range, powers of the rate neither over- nor underflow.
    unit = low * math.sqrt(factor)
    powers = unit[:, None] ** np.arange(len(top.c))
    c, errors = (table(terms, count) * powers * ~np.array(vanishing) for terms in (top.c, top.errors))
    near, exactly = _expansions(path, kind, slices, unit)
    roots = isolated(c, errors, low / unit, factor, near, exactly if len(top.c) <= _MOST_TERMS else None)
    who = roots.who
    x = np.where(roots.exact, roots.low, np.nan)
    rough = ~roots.exact
    ends = who[rough], roots.low[rough], roots.high[rough]
    x[rough] = narrowed_near(near, *ends) if path.degree else narrowed(c[ends[0]], *ends[1:])
    r = x * unit[who]
    value = _tied(shape, r, who)
    here = part(slices, who)
    r, value, known = _polished(path, kind, r, value, here)
    every[who[~known]] = False
    # At a wall the state is not valid, and is not to be.
    kept = _valid(path, r, value, here) if kind in ("fold", "hopf") else np.isfinite(r)
    every[roots.unsettled] = False
    return Found(who[kept], r[kept], value[kept], every, roots.unsettled)


def _expansions(path: Path, kind: str, slices: Mapping[str, Array], unit: Array) -> tuple[Near, Exactly]:
    """Return the polynomials of slices expanded in cells, and with exact coefficients; rates are in units."""

    def near(who: Index, x: Array, width: Array) -> tuple[Array, Array]:
        ring = Ring(start=x * unit[who], width=width * unit[who])
        here = _numerator(_condition(path, kind, part(slices, who), ring))
        return table(here.c, len(who)), table(here.errors, len(who))

    def exactly(k: int) -> list[Fraction]:
        ring, by = Ring(exact=True), Fraction(float(unit[k]))
        one = {name: ring.constant(float(values[k])) for name, values in slices.items()}
        terms = _numerator(_condition(path, kind, one, ring)).c
        return [Fraction(0) if is_zero(term) else term * by**power for power, term in enumerate(terms)]

    return near, exactly


@cache
def _vanishing(path: Path, kind: str) -> tuple[bool, ...]:
    """Tell the coefficients that are 0 whatever the parameters are, though their terms are not.

    In floating point such a coefficient is a remainder of rounding, which would dominate at the lowest or the
    highest rates.
    """
    ring = Ring(exact=True)
    found = []
    for seed in (3, 5):
        names = [p.name for p in path.model.parameters]
        given = {name: ring.constant(seed * (2 * k + 7) ** 2 / 4.0) for k, name in enumerate(names)}
        found.append([c == 0 for c in _numerator(_condition(path, kind, given, ring)).c])
    return tuple(a and b for a, b in zip(*found, strict=True))


def _condition(path: Path, kind: str, given: dict[str, Any], ring: Ring) -> Any:
    """Return what is 0 at the points asked for, as a ratio, or tied to the parameter."""
    model = path.model
    r: Any = ring.variable()
    graph = model.graph
    nothing: Any = ring.constant(0)
    if not path.degree:
        if kind == "fold":
            return _ratio(graph_value(model, r, {**given, graph: nothing}), ring).derivative()
        if kind != "hopf":
            return model.at_rest(r, {**given, graph: nothing})[model.variable_names.index(kind)]
        return _turning(model, r, {**given, graph: nothing}, folded=False)
    terms = _terms(path, r, given, ring)
    slopes = [term.derivative() for term in terms]
    tie = slopes if path.folded else [terms[0] - given[graph], *terms[1:]]
    what = [slope.derivative() for slope in slopes] if path.folded else slopes
    p = _solved(tie)
    if kind == "fold":
        found: Any = what[-1]
        for term in what[-2::-1]:
            found = found * p + term
        return found
    return _turning(model, r, {**given, graph: nothing, path.along: p}, folded=path.folded)


def _terms(path: Path, r: Any, given: dict[str, Any], ring: Ring) -> list[Ratio]:
    """Return eta as a polynomial in p; its coefficients are ratios."""
    moved = {**given, path.model.graph: ring.constant(0)}
    one = ring.constant(1)
    moved[path.along] = Taylor(PARAMETER, (ring.constant(0), one, *(0,) * (path.degree - 1)))
    value = graph_value(path.model, r, moved)
    return [_ratio(coefficient(value, k, PARAMETER), ring) for k in range(path.degree + 1)]


def _ratio(x: Any, ring: Ring) -> Ratio:
    return x if isinstance(x, Ratio) else ring.constant(x)


def _solved(tie: Sequence[Ratio]) -> Any:
    """Return the parameter at which a polynomial in it is 0."""
    tie = list(tie)
    while len(tie) > 1 and tie[-1].top.is_zero:
        tie.pop()
    if len(tie) == 2:
        return -(tie[0] / tie[1])
    ring = tie[0].ring
    return Tied(ring.constant(0), ring.constant(1), (tie[0], tie[1], tie[2]))


def _turning(model: Model, r: Any, given: dict[str, Any], *, folded: bool) -> Any:
    given = at_once(model, given)
    c = characteristic(jacobian(model, model.at_rest(r, given), given))
    return c[-2] if folded else hurwitz(c)


def _numerator(condition: Any) -> Any:
    if isinstance(condition, Tied):
        return condition.norm().top
    return condition.top


def _tied(condition: Any, r: Array, who: Index) -> Array:
    """Return the parameter at roots, NaN where the rate alone is solved for."""
    if not isinstance(condition, Tied):
        return np.full(len(r), np.nan)
    if condition.b.top.is_zero:
        return np.full(len(r), np.inf)
    tied: Array = _of_slices(condition, who).tied(r)
    return tied


def _of_slices(tied: Tied, who: Index) -> Tied:
    """Return an expression with a slice of its own for every root."""

    def chosen(x: Any) -> Any:
        return x[who] if isinstance(x, np.ndarray) and x.ndim else x

    def polynomial(p: Polynomial) -> Polynomial:
        return Polynomial([chosen(c) for c in p.c], [chosen(s) for s in p.errors])

    def ratio(x: Ratio) -> Ratio:
        below = {polynomial(f): times for f, times in x.below.items()}
        return Ratio(polynomial(x.top), x.ring, x.power, below)

    return Tied(ratio(tied.a), ratio(tied.b), tied.m)


# The last digits


def _polished(
    path: Path, kind: str, r: Array, value: Array, here: Mapping[str, Array]
) -> tuple[Array, Array, Any]:
    """Return the zeros as the model's own functions have them, and which are known: others are at a wall."""
    known = np.ones(len(r), dtype=bool)
    if not path.degree and not path.folded:
        return _polished_rate(path, kind, r, here), value, known
    value = _start(path, r, value, here)
    x, p, _ = _corrected(path, kind, r, value, here)
    lost = ~(_error_of_tie(path, kind, r, value, here) < _FAR)
    which = np.flatnonzero(lost & ~_at_pole(path, r, here))
    p[lost] = np.nan
    x[which], p[which], known[which] = _from_condition(path, kind, r[which], part(here, which))
    # Where the last digit of the rate moves the parameter, both are found again from exact residuals.
    for k in np.flatnonzero((_error_of_tie(path, kind, x, p, here) > _NEGLIGIBLE) & np.isfinite(p)):
        x[k], p[k] = _refined(path, kind, x[k], p[k], part(here, slice(k, k + 1)))
    return x, p, known


def _error_of_tie(path: Path, kind: str, r: Array, p: Array, here: Mapping[str, Array]) -> Array:
    """Return by how much of itself rounding of the rate moves p, as the tie has it."""
    _, by_r, by_p = _both(path, kind, r, p, here)[0]
    found: Array = _ROUNDINGS * _EPS * np.abs(by_r) / np.abs(p * by_p)
    return found


def _at_pole(path: Path, r: Array, here: Mapping[str, Array]) -> Any:
    """Tell the rates at which the last term of the tie is 0: p is infinite there, and they are no points."""
    last = path.last_term(r, here, 1)
    return np.abs(last[0]) <= _ROUNDINGS * _EPS * np.abs(last[1])


def _refined(path: Path, kind: str, r: float, p: float, one: Mapping[str, Array]) -> tuple[float, float]:
    """Return a point whose parameter hangs on digits of the rate beyond the last, from exact residuals."""
    ring = Ring(exact=True)
    given = {name: ring.constant(float(values[0])) for name, values in one.items()}
    exact_r, exact_p = Fraction(float(r)), Fraction(float(p))
    for _ in range(_REFINEMENTS):
        now = np.array([float(exact_r)]), np.array([float(exact_p)])
        (_, f_r, f_p), (_, g_r, g_p) = (map(float, np.ravel(x)) for x in _both(path, kind, *now, one))
        f, g = (float(x) for x in _residuals(path, kind, exact_r, exact_p, given, ring))
        whole = f_r * g_p - f_p * g_r
        in_r, in_p = (g * f_p - f * g_p) / whole, (f * g_r - g * f_r) / whole
        if not abs(in_r) < _FAR or not abs(in_p) < 0.5 * abs(float(exact_p)):
            break
        exact_r, exact_p = exact_r * (1 + Fraction(in_r)), exact_p + Fraction(in_p)
        if abs(in_p) < _EPS * abs(float(exact_p)):
            break
    return float(exact_r), float(exact_p)


def _residuals(
    path: Path, kind: str, r: Fraction, p: Fraction, given: dict[str, Any], ring: Ring
) -> tuple[Fraction, Fraction]:
    """Return the tie and the condition at a rate and a parameter, in the units of `_both`."""
    terms = _terms(path, ring.variable(), given, ring)
    # By log r, and divided by the factorial, as the coefficients of a series are.
    rate = ring.variable()
    orders = [terms]
    for k in (1, 2):
        orders.append([rate * term.derivative() * Fraction(1, k) for term in orders[-1]])
    values = [sum((term.at(r) * p**k for k, term in enumerate(order)), Fraction(0)) for order in orders]
    first = 1 if path.folded else 0
    tie = values[first] - (0 if path.folded else given[path.model.graph].top.c[0])
    if kind == "fold":
        return tie, values[first + 1]
    fixed = {**given, path.model.graph: ring.constant(0), path.along: ring.constant(p)}
    return tie, _turning(path.model, ring.constant(r), fixed, folded=path.folded).at(r)


def _corrected(
    path: Path, kind: str, r: Array, p: Array, here: Mapping[str, Array], steps: int = _NEWTON_STEPS
) -> tuple[Array, Array, Any]:
    """Return where tie and condition are both 0 next to guesses, and which of them arrived."""
    x, p = r.copy(), p.copy()
    going, arrived = np.isfinite(p), np.zeros(len(r), dtype=bool)
    for _ in range(steps):
        (f, f_r, f_p), (g, g_r, g_p) = _both(path, kind, x, p, here)
        whole = f_r * g_p - f_p * g_r
        in_r, in_p = (g * f_p - f * g_p) / whole, (f * g_r - g * f_r) / whole
        share = np.abs(in_p / p)
        fine = going & np.isfinite(in_r) & np.isfinite(in_p) & (np.abs(in_r) < _FAR)
        in_p = np.clip(in_p, -0.5 * np.abs(p), 0.5 * np.abs(p))
        x, p = np.where(fine, x * np.exp(in_r), x), np.where(fine, p + in_p, p)
        arrived = np.where(fine, (np.abs(in_r) < _ARRIVED) & (share < _SETTLED), arrived)
        going = fine & (np.maximum(np.abs(in_r), share) > 2.0 * _EPS)
        if not going.any():
            break
    return x, p, arrived


def _from_condition(path: Path, kind: str, r: Array, here: Mapping[str, Array]) -> tuple[Array, Array, Any]:
    """Return points whose parameter the tie loses in rounding, next to a wall: there the condition has it.

    At the rate, which is known, the condition is looked at over the whole range of p; each of its changes of
    sign begins Newton's method for both equations, and the end at the same rate that satisfies the tie is it.
    """
    grid = np.geomspace(*_LOOKED, _LOOKS)
    wide = {name: np.repeat(values, _LOOKS) for name, values in here.items()}
    value = _both(path, kind, np.repeat(r, _LOOKS), np.tile(grid, len(r)), wide)[1][0].reshape(len(r), _LOOKS)
    who, k = np.nonzero((value[:, 1:] > 0.0) != (value[:, :-1] > 0.0))
    start = np.sqrt(grid[k] * grid[k + 1])
    mine = part(here, who)
    x, p, arrived = _corrected(path, kind, r[who], start, mine, steps=40)
    apart = np.abs(x / r[who] - 1.0)
    good = arrived & (apart < _SAME_RATE) & np.isfinite(p)
    best_x, best_p = r.copy(), np.full(len(r), np.nan)
    order = np.lexsort((apart, who))
    for index in order[good[order]][::-1]:
        best_x[who[index]], best_p[who[index]] = x[index], p[index]
    return best_x, best_p, np.isfinite(best_p)


def _polished_rate(path: Path, kind: str, r: Array, here: Mapping[str, Array]) -> Array:
    functions: dict[str, Function] = {"fold": path.fold, "hopf": path.hopf}
    functions |= {name: wall for name, wall, _ in path.walls() if name}
    function = functions[kind]
    x = r.copy()
    going = np.arange(len(r))
    for _ in range(_NEWTON_STEPS):
        if not len(going):
            break
        value, slope = function(x[going], part(here, going), 1)
        step = -value / slope
        fine = np.isfinite(step) & (np.abs(step) < _FAR)
        x[going[fine]] *= np.exp(step[fine])
        going = going[fine & (np.abs(step) > 2.0 * _EPS)]
    return x


def _start(path: Path, r: Array, value: Array, here: Mapping[str, Array]) -> Array:
    """Return the parameter where the tie gives it: of two roots the one next to what is known of it."""
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


def along_folds(path: Path, r: Array, p: Array, here: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Return d eta/d log r with its derivatives by log r and by p, on a path of folds."""
    found: tuple[Array, Array, Array] = _both(path, "fold", r, p, here)[0]
    return found


def _both(path: Path, kind: str, r: Array, p: Array, here: Mapping[str, Array]) -> tuple[Any, Any]:
    """Return the tie and the condition at (r, p): value, derivative by log r, derivative by p."""
    model = path.model
    rate = series(r, 3)
    given: dict[str, Any] = {**here, model.graph: 0.0, path.along: Taylor(PARAMETER, (p, 1.0 + 0.0 * p))}
    eta = graph_value(model, rate, given)
    of_eta = [[_part(eta, k, j, r) for j in (0, 1)] for k in range(4)]
    k = 1 if path.folded else 0
    target = 0.0 if path.folded else here[model.graph]
    tie = (of_eta[k][0] - target, (k + 1) * of_eta[k + 1][0], of_eta[k][1])
    if kind == "fold":
        k += 1
        return tie, (of_eta[k][0], (k + 1) * of_eta[k + 1][0], of_eta[k][1])
    given = at_once(model, given)
    rate = series(r, 1)
    c = characteristic(jacobian(model, model.at_rest(rate, given), given))
    what = c[-2] if path.folded else hurwitz(c)
    return tie, (_part(what, 0, 0, r), _part(what, 1, 0, r), _part(what, 0, 1, r))


def _part(number: Any, k: int, j: int, like: Array) -> Array:
    inner = coefficient(number, j, PARAMETER)
    return np.asarray(coefficient(inner, k, RATE), dtype=np.float64) + 0.0 * like


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
