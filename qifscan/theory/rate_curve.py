"""Equilibria of the family as graphs over the rate: all of them, their folds and their Hopf points.

In every model of the family one parameter, here called eta, enters one equation additively, and at rest every
variable is a function of the rate r. So each r > 0 is an equilibrium at exactly one eta(r), and what other
programs follow step by step is an explicit curve: equilibria are roots of eta(r) = eta, folds are zeros of
eta'(r), Hopf points zeros of a Hurwitz determinant along it. Each is a smooth function of the one number log
r. Here zeros are found on cells of a grid, of what is no polynomial; where two of them could hide in one
cell, the cell is cut at the zeros of the derivative first, and those are found in the same way.

Other parameters can vary instead of eta, at a fixed eta, if eta(r) is a polynomial in them of degree 1 or 2.

Everything is float64, + - * / and square roots on arrays: nothing is compiled, and no element looks at
another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, POSITIVE, Domain
from qifscan.roots.taylor import (
    GRAPH,
    PARAMETER,
    RATE,
    STATE,
    Gradient,
    Taylor,
    add,
    characteristic,
    characteristic_sizes,
    coefficient,
    determinant,
    is_zero,
    multiply,
    permanent,
    square_root,
    subtract,
)

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Range, Values
    from qifscan.dynamics.model import Model

_EPS = float(np.finfo(np.float64).eps)


SPAN = (1e-6, 1e6)
"""Rates that are looked at, in units of sqrt(delta)/(pi tau): below, eta is under -1e11 delta, above it,
over.
"""

PER_DECADE = 12
"""Cells of the grid: a rate grows by a fifth in one."""

_ROUNDINGS = 64
"""Rounding errors that add up in a Hurwitz determinant of order 3, about."""

UNSURE = 1e-3
"""Relative error of a rate beyond which a zero is but rounding."""


def at_once(model: Model, parameters: Values) -> dict[str, Any]:
    """Return the parameters with a delay of 0: at rest the past is the present."""
    return {**parameters, model.delay: 0.0} if model.delay else dict(parameters)


def graph_value(model: Model, r: Any, parameters: Values) -> Any:
    """Return the value of the model's `graph` parameter at which r is a rate at rest.

    That parameter enters the equation of `driven` alone, as k eta: eta = -(the rest of the equation)/k.
    """
    given = {**at_once(model, parameters), model.graph: Taylor(GRAPH, (0.0, 1.0))}
    slopes = model.field(model.at_rest(r, given), (0.0,) * len(model.variables), model.constants(given))
    slope = slopes[model.variable_names.index(model.driven)]
    return -(coefficient(slope, 0, GRAPH) / coefficient(slope, 1, GRAPH))


def jacobian(model: Model, state: Sequence[Any], parameters: Values) -> list[list[Any]]:
    """Return the derivatives of the field by the state, 0 where there is no dependence."""
    return slopes_and_derivatives(model, state, parameters, (0.0,) * len(state))[1]


def slopes_and_derivatives(
    model: Model, state: Sequence[Any], parameters: Values, inputs: Sequence[Any]
) -> tuple[list[Any], list[list[Any]]]:
    """Return the field under inputs, and its derivatives by the state, 0 where there is no dependence."""
    size = len(state)
    moved = tuple(
        Gradient(STATE, (value, *(1.0 if i == j else 0 for j in range(size))))
        for i, value in enumerate(state)
    )
    slopes = model.field(moved, tuple(inputs), model.constants(parameters))
    derivatives = [[coefficient(slope, 1 + j, STATE) for j in range(size)] for slope in slopes]
    return [coefficient(slope, 0, STATE) for slope in slopes], derivatives


def hurwitz(c: Sequence[Any], minus: Callable[[Any, Any], Any] = subtract) -> Any:
    """Return what is 0 where two eigenvalues add up to 0, from the characteristic polynomial's c_1 ... c_n.

    The Hurwitz determinant of order n - 1; with `add` for minus the sum of its terms' sizes.
    """
    if len(c) == 2:
        return c[0]
    if len(c) == 3:
        return minus(c[0] * c[1], c[2])
    if len(c) > 4:
        row = (0,) * len(c) + (1, *c) + (0,) * len(c)
        order = range(1, len(c))
        whole = [[row[len(c) + 2 * j - i] for j in order] for i in order]
        return determinant(whole) if minus is subtract else permanent(whole)
    return minus(minus(c[0] * c[1], c[2]) * c[2], c[0] * c[0] * c[3])


def frequency_squared(c: Sequence[Any]) -> Any:
    """Return -l^2 of the two eigenvalues +-l that add up to 0, of 4 at most: positive if imaginary."""
    return c[2] / c[0] if len(c) == 4 else c[1]


@dataclass(frozen=True)
class Path:
    """How parameters go along with the rate so that every rate is one of an equilibrium.

    With `along` the model's graph parameter and nothing else, it is eta(r). With another parameter p it is
    p(r) at fixed eta; eta is a polynomial of `degree` in p, and for degree 2 `sign` tells which root. With
    `folded`, eta and p both vary, along the folds: p(r) from d eta/dr = 0.
    """

    model: Model
    along: str
    degree: int = 0
    sign: float = 1.0
    folded: bool = False

    @cached_property
    def tied(self) -> int:
        """Degree in p of the equation that ties it to the rate: along folds it can be less than eta's."""
        if not self.folded or not self.degree:
            return self.degree
        r = np.geomspace(0.01, 1.0, 5) * math.sqrt(2.0)
        given = {p.name: np.float64((p.default or 0.0) + 0.3) for p in self.model.parameters}
        last = coefficients(self._condition(r, given, 0)[self.degree], 0, r)[0]
        return self.degree if np.any(last != 0.0) else self.degree - 1

    def place(self, r: Array, parameters: Values, order: int) -> tuple[Taylor, dict[str, Any]]:
        """Return the rate as a series in its logarithm, and all parameters as series in it."""
        rate = series(r, order)
        if not self.degree:
            given = {**parameters, self.model.graph: 0.0}
            return rate, {**given, self.model.graph: graph_value(self.model, rate, given)}
        shift = self._shift(r, parameters, order)
        found = {**parameters, self.along: shift + 1.0}
        if self.folded:
            found[self.model.graph] = _horner(self._polynomial(r, parameters, order), shift)
        return rate, found

    def last_term(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return the coefficient of the highest power in the equation of p; where it is 0, p is infinite."""
        return coefficients(self._condition(r, parameters, order)[self.tied], order, r)

    def partial(self, r: Array, parameters: Values, times: int, order: int) -> list[Any]:
        """Return how eta(r) changes with log r while the other parameters rest: its derivative of so many
        times.
        """
        terms = self._polynomial(r, parameters, order + times)
        for _ in range(times):
            terms = [_slope(term) for term in terms]
        found = _horner(terms, self._shift(r, parameters, order)) if self.degree else terms[0]
        return coefficients(found, order, r)

    def fold(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return d eta/d log r, which is 0 at folds; on the path of folds the second derivative: cusps."""
        return self.partial(r, parameters, 2 if self.folded else 1, order)

    def polynomial_at(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return c_1 ... c_n of the characteristic polynomial at the equilibrium, as series."""
        state, given = self.equilibrium(r, parameters, order)
        return characteristic(jacobian(self.model, state, given))

    def equilibrium(self, r: Array, parameters: Values, order: int) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the state and all parameters as series; but the graph's, which no derivative depends on."""
        rate, given = self.place(r, parameters, order) if self.degree else (series(r, order), parameters)
        given = {self.model.graph: 0.0, **given}
        return self.model.at_rest(rate, given), given

    def hopf(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return the Hurwitz determinant, 0 at Hopf points and neutral saddles; on folds c_(n-1): BT
        points.
        """
        c = self.polynomial_at(r, parameters, order)
        return coefficients(c[-2] if self.folded else hurwitz(c), order, r)

    def hopf_error(self, r: Array, parameters: Values) -> Array:
        """Return the rounding error that the function of `hopf` can have: a multiple of its terms' sizes."""
        rate, given = self.place(r, parameters, 0) if self.degree else (series(r, 0), parameters)
        given = {self.model.graph: 0.0, **given}
        entries = jacobian(self.model, self.model.at_rest(rate, given), given)
        sizes = characteristic_sizes([[_size(entry, r) for entry in row] for row in entries])
        found: Array = _ROUNDINGS * _EPS * (sizes[-2] if self.folded else hurwitz(sizes, add))
        return found

    @property
    def domain(self) -> Domain:
        """The values that the parameter may have."""
        return next(p.domain for p in self.model.parameters if p.name == self.along)

    def double(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return what is 0 where the two roots of the equation of p are one."""
        return coefficients(_discriminant(self._condition(r, parameters, order)), order, r)

    def of_parameter(self, test: Callable[[Any], Any]) -> Function:
        """Return a function of the parameter as one of the rate."""
        return lambda r, p, k: coefficients(test(self.place(r, p, k)[1][self.along]), k, r)

    def of_variable(self, index: int, test: Callable[[Any], Any]) -> Function:
        """Return a function of a state variable at rest as one of the rate."""

        def function(r: Array, p: Values, k: int) -> list[Any]:
            rate, given = self.place(r, p, k) if self.degree else (series(r, k), p)
            return coefficients(test(self.model.at_rest(rate, given)[index]), k, r)

        return function

    def _polynomial(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return eta as a polynomial in p - 1; its coefficients are series in log r."""
        given = {**parameters, self.model.graph: 0.0}
        if self.degree:
            given[self.along] = Taylor(PARAMETER, (1.0, 1.0, *(0,) * (self.degree - 1)))
        value = graph_value(self.model, series(r, order), given)
        return [coefficient(value, k, PARAMETER) for k in range(self.degree + 1)]

    def _condition(self, r: Array, parameters: Values, order: int) -> list[Any]:
        """Return the polynomial in p - 1 that must be 0."""
        if self.folded:
            return [_slope(term) for term in self._polynomial(r, parameters, order + 1)]
        first, *rest = self._polynomial(r, parameters, order)
        return [first - parameters[self.model.graph], *rest]

    def tie_at(self, r: Array, parameters: Values) -> list[Any]:
        """Return the coefficients of the path's equation, a polynomial in p - 1."""
        return self._condition(r, parameters, 0)

    def _shift(self, r: Array, parameters: Values, order: int) -> Any:
        """Return p - 1 along the path."""
        terms = self._condition(r, parameters, order)
        if self.tied == 1:
            return -(terms[0] / terms[1])
        root = square_root(_discriminant(terms))
        found = (self.sign * root - terms[1]) / (2.0 * terms[2])
        # A step of Newton's method restores the digits lost where the square root nearly cancels.
        return found - _horner(terms, found) / add(multiply(2.0 * terms[2], found), terms[1])


def paths(model: Model, along: str, *, folded: bool = False) -> list[Path]:
    """Return the paths along which a parameter varies, one or two; none if this parameter can't be solved
    for.
    """
    if along == model.graph:
        return [Path(model, along)]
    degree = degree_in(model, along)
    if degree not in (1, 2):
        return []
    first = Path(model, along, degree, 1.0, folded)
    return [first, replace(first, sign=-1.0)] if first.tied == 2 else [first]


def degree_in(model: Model, name: str) -> int:
    """Return the degree of eta(r) as a polynomial in a parameter, -1 if it isn't one of degree 0, 1 or 2."""
    r = np.geomspace(0.01, 1.0, 5) * math.sqrt(2.0)
    given: dict[str, Any] = {p.name: np.float64((p.default or 0.0) + 0.3) for p in model.parameters}
    given[name] = Taylor(PARAMETER, (1.0, 1.0, 0, 0, 0))
    with np.errstate(all="ignore"):
        value = graph_value(model, r, given)
        sizes = [float(np.max(np.abs(coefficient(value, k, PARAMETER)))) for k in range(5)]
    if not np.all(np.isfinite(sizes)):
        return -1
    # Terms that cancel leave their rounding; a coefficient that is there is of the size of the others.
    degree = max((k for k, size in enumerate(sizes) if size > 1e-10 * max(sizes[1:], default=0.0)), default=0)
    return 0 if max(sizes[1:]) <= 1e-12 * sizes[0] else degree if degree <= 2 else -1


def series(r: Array, order: int) -> Taylor:
    """Return a rate as a series in the change of its logarithm."""
    return Taylor(RATE, [r / math.factorial(k) for k in range(order + 1)])


def coefficients(number: Any, order: int, like: Array) -> list[Any]:
    """Return the series of a number as arrays that broadcast to the shape of the rates."""
    return [np.asarray(coefficient(number, k, RATE), dtype=np.float64) + 0.0 * like for k in range(order + 1)]


def _size(entry: Any, like: Array) -> Any:
    return 0 if is_zero(entry) else np.abs(coefficients(entry, 0, like)[0])


def _slope(term: Any) -> Any:
    return term.slope() if isinstance(term, Taylor) else 0.0


def _cut(term: Any, order: int) -> Any:
    return Taylor(RATE, term.parts[: order + 1]) if isinstance(term, Taylor) else term


def _horner(terms: Sequence[Any], x: Any) -> Any:
    order = len(x.parts) - 1
    found: Any = 0
    for term in reversed(terms):
        found = add(multiply(found, x), _cut(term, order))
    return found


def _discriminant(terms: Sequence[Any]) -> Any:
    return terms[1] * terms[1] - 4.0 * (terms[2] * terms[0])


def walled_variables(model: Model) -> list[int]:
    """Return the positions of variables but the first that must be above 0, or within a range, at rest."""
    return [i for i, variable in enumerate(model.variables) if i and distances(variable.domain)]


def distances(domain: Domain) -> list[Callable[[Any], Any]]:
    """Return functions that are above 0 inside a domain."""
    if domain is FRACTION:
        return [lambda x: x, lambda x: 1.0 - x]
    return [lambda x: x] if domain in (POSITIVE, NON_NEGATIVE) else []


def rate_unit(model: Model, parameters: Mapping[str, Array]) -> Array:
    """Return sqrt(delta)/(pi tau) in 1/ms, of the first population; defaults for what is solved for.

    A model may have one delta or tau for several populations, or none.
    """
    of = model.variable_names[0].removeprefix("r")
    known = {p.name: p.default for p in model.parameters if p.default is not None} | dict(parameters)
    delta, tau = (np.asarray(known.get(f"{n}{of}", known.get(n, 1.0))) for n in ("delta", "tau"))
    like = next(iter(parameters.values()))
    unit: Array = np.sqrt(delta) / (math.pi * tau) + 0.0 * like
    return unit


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
