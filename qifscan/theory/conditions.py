"""What is 0 at special points along a path, as fractions of polynomials in the rate.

Along a path (see `rate_curve.Path`) one parameter p follows from the rate. A condition there, say the Hurwitz
determinant, becomes a fraction of polynomials in r when `algebra.Ratio` goes through the model's own
functions. If p is a root of a quadratic equation, as delta is, it becomes a + b p, whose norm has the zeros
of both roots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.algebra import Polynomial, Ratio, Ring, Tied
from qifscan.roots.isolation import table
from qifscan.roots.taylor import PARAMETER, Taylor, characteristic, coefficient, is_zero
from qifscan.roots.whole import Whole, primitive, squarefree
from qifscan.roots.zeros import part
from qifscan.theory.rate_curve import Path, at_once, distances, graph_value, hurwitz, jacobian

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Index, Values
    from qifscan.dynamics.model import Model


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of condition; two are the same if they are one object.

    `zero(condition, given)`: what is 0, in the ring of a condition, with all parameters there.
    `along(path)`: the same in floating point, as a function of the rate.
    `equation(path, eta, order, rate, given)`: the same where p is free, as a series, and which of its
    coefficients is 0; eta is the graph's parameter as a series, of which the path's equation is coefficient
    `order`, and which goes `beyond` that.
    `special` kinds hold at equilibria that are valid, a `wall` where the path ceases to be.
    """

    name: str
    zero: Callable[[Condition, dict[str, Any]], Any]
    along: Callable[[Path], Function]
    equation: Callable[[Path, Any, int, Any, dict[str, Any]], tuple[Any, int]] | None = None
    beyond: int = 0
    special: bool = False
    wall: bool = False


@dataclass(frozen=True, eq=False)
class Condition:
    """A condition on a path, in the ring of its numbers; what p is there, and what the graph's parameter."""

    path: Path
    kind: Kind
    given: dict[str, Any]
    ring: Ring

    @cached_property
    def terms(self) -> list[Ratio]:
        """The graph's parameter as a polynomial in p; its coefficients are ratios."""
        path, one = self.path, self.ring.constant(1)
        moved = {**self.given, path.model.graph: self.ring.constant(0)}
        if path.degree:
            moved[path.along] = Taylor(PARAMETER, (self.ring.constant(0), one, *(0,) * (path.degree - 1)))
        value = graph_value(path.model, self.ring.variable(), moved)
        return [_ratio(coefficient(value, k, PARAMETER), self.ring) for k in range(path.degree + 1)]

    @cached_property
    def tie(self) -> list[Ratio]:
        """The polynomial in p that is 0 on the path."""
        if self.path.folded:
            return [term.derivative() for term in self.terms]
        return [self.terms[0] - self.given[self.path.model.graph], *self.terms[1:]]

    @cached_property
    def p(self) -> Any:
        """What the path solves for, as a ratio, or tied to itself."""
        return _solved(self.tie)

    @cached_property
    def zero(self) -> Any:
        """What is 0 at the points asked for."""
        found = self.by_rounding
        if isinstance(found, Tied) and _is_untied(self.path, self.kind):
            return Tied(found.a, self.ring.constant(0), found.m)
        return found

    @cached_property
    def by_rounding(self) -> Any:
        """The same, with a term in p also where that cancels up to rounding."""
        given = {**self.given, self.path.model.graph: self.ring.constant(0)}
        if self.path.degree:
            given[self.path.along] = self.p
        return self.kind.zero(self, given)

    @property
    def numerator(self) -> Polynomial:
        """The polynomial whose roots are the points', whichever root of its equation p is."""
        zero: Ratio = self.zero.norm() if isinstance(self.zero, Tied) else self.zero
        # Where something was divided by 0 there is no point, but it can well be a wall.
        return zero.numerator if self.kind.wall else zero.top

    @property
    def on_graph(self) -> bool:
        """Tell whether the graph's parameter is unknown at the points: not given, and finite."""
        return (self.path.folded or not self.path.degree) and self.kind.special

    def tied(self, r: Any) -> Any:
        """Return p at rates where this is 0; infinite where the condition does not depend on it."""
        if not isinstance(self.p, Tied):
            return self.p.at(r)
        if not isinstance(self.zero, Tied) or self.zero.b.top.is_zero:
            return None
        return self.zero.tied(r)


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


def turning(model: Model, r: Any, given: Mapping[str, Any], *, folded: bool) -> Any:
    """Return what is 0 where two eigenvalues add up to 0, or on folds where two are 0."""
    given = at_once(model, given)
    c = characteristic(jacobian(model, model.at_rest(r, given), given))
    return c[-2] if folded else hurwitz(c)


def _fold(of: Condition, given: dict[str, Any]) -> Any:
    slopes = [term.derivative() for term in (of.tie if of.path.folded else of.terms)]
    found: Any = slopes[-1]
    for slope in slopes[-2::-1]:
        found = found * of.p + slope
    return found


FOLD = Kind(
    "fold",
    _fold,
    lambda path: path.fold,
    lambda path, eta, order, rate, given: (eta, order + 1),
    beyond=1,
    special=True,
)
"""d eta/dr = 0; on the path of folds its derivative: cusps."""

HOPF = Kind(
    "hopf",
    lambda of, given: turning(of.path.model, of.ring.variable(), given, folded=of.path.folded),
    lambda path: path.hopf,
    lambda path, eta, order, rate, given: (turning(path.model, rate, given, folded=path.folded), 0),
    special=True,
)
"""The Hurwitz determinant is 0; on the path of folds c_(n-1): Bogdanov-Takens points."""


def _rest(path: Path) -> Function:
    def function(r: Array, parameters: Values, order: int) -> list[Any]:
        value, *slopes = path.partial(r, parameters, 0, order)
        return [value - parameters[path.model.graph], *slopes]

    return function


REST = Kind("rest", lambda of, given: of.terms[0] - of.given[of.path.model.graph], _rest)
"""Along the graph: an equilibrium of one value of its parameter."""


def _double(of: Condition, given: dict[str, Any]) -> Any:
    first, second, third = of.tie
    return second * second - 4 * first * third


POLE = Kind("pole", lambda of, given: of.tie[of.path.tied], lambda path: path.last_term, wall=True)
"""p is infinite."""

DOUBLE = Kind("double", _double, lambda path: path.double, wall=True)
"""The two roots of the equation of p are one, and beyond there is none."""


def _end_of_parameter(name: str, test: Callable[[Any], Any]) -> Kind:
    return Kind(name, lambda of, given: test(of.p), lambda path: path.of_parameter(test), wall=True)


def _end_of_variable(name: str, index: int, test: Callable[[Any], Any]) -> Kind:
    return Kind(
        name,
        lambda of, given: test(of.path.model.at_rest(of.ring.variable(), given)[index]),
        lambda path: path.of_variable(index, test),
        lambda path, eta, order, rate, given: (test(path.model.at_rest(rate, given)[index]), 0),
        wall=True,
    )


@cache
def walls(path: Path) -> tuple[tuple[Kind, bool], ...]:
    """Return the conditions that end what is valid on a path, and whether what is 0 there must be above 0:
    ends of the domains of its parameter and of the variables are."""
    found: list[tuple[Kind, bool]] = []
    if path.tied == 2:
        found.append((DOUBLE, True))
    if path.tied:
        found.append((POLE, False))
    if path.degree:
        found += [(_end_of_parameter(path.along, test), True) for test in distances(path.domain)]
    for index, variable in enumerate(path.model.variables[1:], 1):
        found += [(_end_of_variable(variable.name, index, test), True) for test in distances(variable.domain)]
    return tuple(found)


@cache
def vanishing(path: Path, kind: Kind) -> tuple[bool, ...]:
    """Tell the coefficients that are 0 whatever the parameters are, though their terms are not.

    In floating point such a coefficient is a remainder of rounding, which would dominate at the lowest or the
    highest rates.
    """
    found = [[c == 0 for c in some.numerator.c] for some in _examples(path, kind)]
    return tuple(a and b for a, b in zip(*found, strict=True))


@cache
def _is_untied(path: Path, kind: Kind) -> bool:
    """Tell whether the condition does not depend on p on the path, though its terms do: they cancel.

    As along a parameter that is added to another one, whose square alone enters.
    """
    several = [some.by_rounding for some in _examples(path, kind)]
    return all(isinstance(x, Tied) and all(c == 0 for c in x.b.top.c) for x in several)


def _examples(path: Path, kind: Kind) -> list[Condition]:
    """Return the condition in fractions at two sets of parameters with nothing in common."""
    found = []
    for seed in (3, 5):
        ring = Ring(exact=True)
        names = [p.name for p in path.model.parameters]
        given = {name: ring.constant(seed * (2 * k + 7) ** 2 / 4.0) for k, name in enumerate(names)}
        found.append(Condition(path, kind, given, ring))
    return found


@dataclass(frozen=True, eq=False)
class Exact:
    """A condition in a slice in whole numbers; `unit` is that of its rates."""

    condition: Condition
    unit: Fraction

    @classmethod
    def of(cls, path: Path, kind: Kind, slices: Mapping[str, Array], k: int, unit: float) -> Exact:
        """Return the condition in a slice."""
        ring = Ring(exact=True)
        given = {name: ring.constant(float(values[k])) for name, values in slices.items()}
        return cls(Condition(path, kind, given, ring), Fraction(float(unit)))

    @cached_property
    def polynomial(self) -> Whole:
        """The numerator as a polynomial in the rate, in its unit, with each root once."""
        terms = self.condition.numerator.c
        scaled = [
            Fraction(0) if is_zero(term) else term * self.unit**power for power, term in enumerate(terms)
        ]
        whole = primitive(scaled)
        return squarefree(whole) if whole else whole


@dataclass(frozen=True, eq=False)
class OnSlices:
    """A condition on a path in many slices, in floating point and in whole numbers."""

    path: Path
    kind: Kind
    slices: Mapping[str, Array]
    unit: Array

    @cached_property
    def condition(self) -> Condition:
        """The condition in floating point, expanded around r = 0."""
        return Condition(self.path, self.kind, dict(self.slices), Ring())

    def near(self, who: Index, x: Array, width: Array) -> tuple[Array, Array]:
        """Return the polynomials of slices on cells, in t from 0 to 1, and their errors."""
        ring = Ring(start=x * self.unit[who], width=width * self.unit[who])
        here = Condition(self.path, self.kind, part(self.slices, who), ring).numerator
        return table(here.c, len(who)), table(here.errors, len(who))

    @cached_property
    def _exact(self) -> dict[int, Exact]:
        return {}

    def exact(self, k: int) -> Exact:
        """Return the condition in a slice in whole numbers; the last one is kept."""
        if k not in self._exact:
            self._exact.clear()
            self._exact[k] = Exact.of(self.path, self.kind, self.slices, k, self.unit[k])
        return self._exact[k]

    def exactly(self, k: int) -> Whole:
        """Return the polynomial of a slice in whole numbers."""
        return self.exact(k).polynomial

    def tied(self, r: Array, who: Index) -> Array:
        """Return p at roots, as rounding of the expanded polynomials leaves it."""
        if not self.path.degree or not isinstance(self.condition.p, Tied):
            return np.full(len(r), np.nan)
        zero = self.condition.zero
        if not isinstance(zero, Tied) or zero.b.top.is_zero:
            return np.full(len(r), np.inf)
        found: Array = _of_slices(zero, who).tied(r)
        return found


def _of_slices(tied: Tied, who: Index) -> Tied:
    """Return an expression with a slice of its own for every root."""

    def chosen(x: Any) -> Any:
        return x[who] if isinstance(x, np.ndarray) and x.ndim else x

    def polynomial(p: Polynomial) -> Polynomial:
        return Polynomial([chosen(c) for c in p.c], [chosen(s) for s in p.errors])

    def ratio(x: Ratio) -> Ratio:
        factors = {polynomial(f): times for f, times in x.factors.items()}
        return Ratio(polynomial(x.top), x.ring, x.power, factors, polynomial(x.scale))

    return Tied(ratio(tied.a), ratio(tied.b), tied.m)
