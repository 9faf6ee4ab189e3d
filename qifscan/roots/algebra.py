"""Rational functions of the rate with error bounds, so that roots can be counted and not just looked for.

The functions of a model are written with operators alone. So they also accept fractions of polynomials in r,
and return a condition (a fold, a Hopf point) as such a fraction: its zeros are the roots of the numerator.
A coefficient is an array over slices, with a bound on its rounding error beside it.
With `Fraction` for coefficients the same code is exact, for the slices in which rounding leaves a count open.

A second unknown p, which a quadratic equation ties to r, is carried as a + b p: see `Tied`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from qifscan.roots.taylor import add, is_zero, multiply, subtract

Coefficients = tuple[Any, ...]

_EPS = float(np.finfo(np.float64).eps)

_LEAF = 2.0
"""Error of what the model makes of its parameters alone, in units of the last digit."""


class Polynomial:
    """c_0 + c_1 r + ..., with bounds on the rounding errors of the coefficients, in units of 2^-52.

    The integer 0 stands for a term that is not there.
    """

    __slots__ = ("c", "errors")
    __array_ufunc__ = None

    def __init__(self, c: Sequence[Any], errors: Sequence[Any]) -> None:
        end = len(c)
        while end and is_zero(c[end - 1]):
            end -= 1
        self.c, self.errors = tuple(c[:end]), tuple(errors[:end])

    @property
    def is_zero(self) -> bool:
        """Tell the polynomial without terms."""
        return not self.c

    @property
    def lowest(self) -> int:
        """The lowest power that there is."""
        return next(k for k, c in enumerate(self.c) if not is_zero(c))

    def plus(self, other: Polynomial, sign: int = 1) -> Polynomial:
        """Return the sum, or the difference with sign -1."""
        size = max(len(self.c), len(other.c))
        a, b = (x.c + (0,) * (size - len(x.c)) for x in (self, other))
        s, t = (x.errors + (0,) * (size - len(x.errors)) for x in (self, other))
        joined = add if sign > 0 else subtract
        c, errors = list(map(joined, a, b)), list(map(add, s, t))
        if not all(map(is_zero, errors)):
            errors = [e if is_zero(x) else add(e, abs(x)) for x, e in zip(c, errors, strict=True)]
        return Polynomial(c, errors)

    def times(self, other: Polynomial) -> Polynomial:
        """Return the product."""
        if self.is_zero or other.is_zero:
            return Polynomial((), ())
        c = _convolved(self.c, other.c)
        if all(map(is_zero, self.errors)) and all(map(is_zero, other.errors)):
            return Polynomial(c, (0,) * len(c))
        a, b = (tuple(0 if is_zero(x) else abs(x) for x in p.c) for p in (self, other))
        # a (b's error + the rounding of the product) + a's error (b + b's error)
        first = _convolved(a, tuple(map(add, other.errors, b)))
        second = _convolved(
            self.errors, tuple(add(y, multiply(e, _EPS)) for y, e in zip(b, other.errors, strict=True))
        )
        return Polynomial(c, list(map(add, first, second)))

    def scaled(self, factor: Any) -> Polynomial:
        """Return a multiple."""
        return self.times(Polynomial((factor,), (0 if isinstance(factor, (int, Fraction)) else abs(factor),)))

    def shifted(self, power: int) -> Polynomial:
        """Return the product with a power of r."""
        return Polynomial((0,) * power + self.c, (0,) * power + self.errors) if power else self

    def derivative(self) -> Polynomial:
        """Return the derivative by r."""
        return Polynomial(
            *([multiply(x, k) for k, x in enumerate(part)][1:] for part in (self.c, self.errors))
        )


def _convolved(a: Coefficients, b: Coefficients) -> list[Any]:
    found: list[Any] = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        if is_zero(x):
            continue
        for j, y in enumerate(b):
            found[i + j] = add(found[i + j], multiply(x, y))
    return found


@dataclass(frozen=True, eq=False)
class Ring:
    """What the ratios of one computation share.

    `exact`: coefficients are fractions. With `start` and `width`, arrays over cells, polynomials are in t,
    where r = start + width t; otherwise in r. Near a zero of one of its factors a product loses all digits
    when it is expanded around r = 0, and keeps them when it is expanded there.
    `divisors`: the polynomials that something was divided by.
    """

    exact: bool = False
    start: Any = None
    width: Any = None
    divisors: list[Polynomial] = field(default_factory=list)

    @cached_property
    def one(self) -> Polynomial:
        """Return 1."""
        return Polynomial((Fraction(1) if self.exact else 1.0,), (0,))

    @property
    def local(self) -> bool:
        """Tell whether polynomials are in t."""
        return self.start is not None

    @cached_property
    def rate(self) -> Polynomial:
        """Return r."""
        if self.local:
            return Polynomial((self.start, self.width), (0, 0))
        return self.one.shifted(1)

    def product(self, a: Polynomial, b: Polynomial) -> Polynomial:
        """Return the product, the same object if one of the two is 1."""
        if a is self.one or b is self.one:
            return b if a is self.one else a
        return a.times(b)

    def raised(self, top: Polynomial, power: int) -> Polynomial:
        """Return the product with a power of r."""
        if not self.local:
            return top.shifted(power)
        for _ in range(power):
            top = top.times(self.rate)
        return top

    def slope(self, top: Polynomial) -> Polynomial:
        """Return the derivative by r."""
        found = top.derivative()
        return found.scaled(1.0 / self.width) if self.local else found

    def divisor(self, top: Polynomial) -> Polynomial | None:
        """Return the divisor that a polynomial is equal to, if there is one."""
        return next((d for d in self.divisors if d is top or _equal(d, top)), None)

    def constant(self, value: Any) -> Ratio:
        """Return a number as a ratio; what is the number 0, and no array, has no terms."""
        if isinstance(value, (int, float)) and value == 0:
            return Ratio(Polynomial((), ()), self)
        value = Fraction(value) if self.exact else value
        value = float(value) if isinstance(value, int) else value
        scale = Polynomial((value,), (0 if self.exact else _LEAF * abs(value),))
        return Ratio(self.one, self, scale=scale)

    def variable(self) -> Ratio:
        """Return r as a ratio."""
        return Ratio(self.one, self, 1)


class _Operand:
    """The operators of both kinds of numbers, by sum, product and inverse of two of one kind."""

    __slots__ = ()
    __array_ufunc__ = None

    def _lifted(self, other: Any) -> Any:
        raise NotImplementedError

    def _plus(self, other: Any) -> Any:
        raise NotImplementedError

    def _times(self, other: Any) -> Any:
        raise NotImplementedError

    def __neg__(self) -> Any:
        raise NotImplementedError

    def inverse(self) -> Any:
        """Return 1 / this."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Any:
        b = self._lifted(other)
        return NotImplemented if b is None else self._plus(b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        b = self._lifted(other)
        return NotImplemented if b is None else self._plus(-b)

    def __rsub__(self, other: Any) -> Any:
        return (-self) + other

    def __mul__(self, other: Any) -> Any:
        b = self._lifted(other)
        return NotImplemented if b is None else self._times(b)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        b = self._lifted(other)
        return NotImplemented if b is None else self._times(b.inverse())

    def __rtruediv__(self, other: Any) -> Any:
        return self.inverse() * other

    def __pow__(self, times: int) -> Any:
        if type(times) is not int or times < 0:
            raise TypeError("only powers that are whole numbers are polynomials")
        found = self._lifted(1)
        for _ in range(times):
            found = found * self
        return found


class Ratio(_Operand):
    """A constant, times a power of r, times a polynomial, times powers of other polynomials.

    Numbers and arrays over slices are constants beside it. The other polynomials are the divisors of the
    ring, each with its power, of either sign: what was divided by stays a factor, so that it cancels where it
    is multiplied with again. A common factor that is left has its zeros where something was divided by 0,
    and no state is valid.
    """

    __slots__ = ("factors", "power", "ring", "scale", "top")

    def __init__(
        self,
        top: Polynomial,
        ring: Ring,
        power: int = 0,
        factors: dict[Polynomial, int] | None = None,
        scale: Polynomial | None = None,
    ) -> None:
        if not ring.local and not top.is_zero and top.lowest:
            low = top.lowest
            top, power = Polynomial(top.c[low:], top.errors[low:]), power + low
        self.top, self.power, self.ring = top, power, ring
        self.factors = {f: times for f, times in (factors or {}).items() if times}
        self.scale = ring.one if scale is None else scale

    def _lifted(self, other: Any) -> Ratio | None:
        """Return an operand as a ratio; None if it is of a kind that carries ratios itself."""
        if isinstance(other, Ratio):
            return other
        if hasattr(other, "parts") or isinstance(other, Tied):
            return None
        return self.ring.constant(other)

    def _with(
        self, top: Polynomial, power: int, factors: dict[Polynomial, int], scale: Polynomial | None = None
    ) -> Ratio:
        return Ratio(top, self.ring, power, factors, scale)

    def _factored(self) -> Ratio:
        """Return this with the polynomial as a factor, if something was divided by it."""
        divisor = self.ring.divisor(self.top)
        if divisor is None:
            return self
        factors = _added(self.factors, {divisor: 1})
        return self._with(self.ring.one, self.power, factors, self.scale)

    def _over(self, power: int, factors: dict[Polynomial, int]) -> Polynomial:
        """Return what is left of this without powers of r and of factors, none of them higher than here."""
        product = self.ring.product
        top = product(self.ring.raised(self.top, self.power - power), self.scale)
        for factor in {**self.factors, **factors}:
            for _ in range(self.factors.get(factor, 0) - factors.get(factor, 0)):
                top = product(top, factor)
        return top

    @property
    def numerator(self) -> Polynomial:
        """The polynomial with the factors that stand above the line; a power of r is left out."""
        return self._over(self.power, {f: min(times, 0) for f, times in self.factors.items()})

    def _plus(self, b: Ratio) -> Ratio:
        if b.top.is_zero:
            return self
        if self.top.is_zero:
            return b
        a, b = self._factored(), b._factored()
        every = {**a.factors, **b.factors}
        shared = {f: min(a.factors.get(f, 0), b.factors.get(f, 0)) for f in every}
        power = min(a.power, b.power)
        return self._with(a._over(power, shared).plus(b._over(power, shared)), power, shared)

    def __neg__(self) -> Ratio:
        scale = Polynomial([-c for c in self.scale.c], self.scale.errors)
        return self._with(self.top, self.power, self.factors, scale)

    def _times(self, b: Ratio) -> Ratio:
        if self.top.is_zero or b.top.is_zero:
            return self.ring.constant(0)
        a, b, product = self._factored(), b._factored(), self.ring.product
        scale = product(a.scale, b.scale)
        return self._with(product(a.top, b.top), a.power + b.power, _added(a.factors, b.factors), scale)

    def inverse(self) -> Ratio:
        """Return 1 / this."""
        ring = self.ring
        scale = self.scale
        factors = {f: -times for f, times in self.factors.items()}
        if len(self.top.c) == 1 and not ring.local:
            scale = ring.product(scale, self.top)
        elif self.top is not ring.one:
            divisor = ring.divisor(self.top)
            if divisor is None:
                divisor = self.top
                ring.divisors.append(divisor)
            factors = _added(factors, {divisor: -1})
        # An exact 0 stays a factor: a quotient by it must not be used.
        if ring.exact and scale.c[0] == 0:
            return self._with(ring.one, -self.power, _added(factors, {scale: -1}))
        return self._with(ring.one, -self.power, factors, _inverse(scale))

    def derivative(self) -> Ratio:
        """Return the derivative by r."""
        ring, factors = self.ring, list(self.factors)
        top = ring.raised(ring.slope(self.top), 1).plus(self.top.scaled(self.power))
        for factor in factors:
            top = top.times(factor)
        for factor in factors:
            term = self.top.scaled(self.factors[factor]).times(ring.raised(ring.slope(factor), 1))
            for other in factors:
                term = term if other is factor else term.times(other)
            top = top.plus(term)
        lower = {f: times - 1 for f, times in self.factors.items()}
        return self._with(top, self.power - 1, lower, self.scale)

    def at(self, r: Any) -> Any:
        """Return the value at rates."""
        found = self.scale.c[0] * horner(self.top.c, r) * r**self.power
        for factor, times in self.factors.items():
            found = found * horner(factor.c, r) ** times
        return found


def _equal(a: Polynomial, b: Polynomial) -> bool:
    """Tell whether two polynomials have the same coefficients, to the last bit."""
    pairs = zip(a.c, b.c, strict=False)
    return len(a.c) == len(b.c) and all(x is y or bool(np.all(x == y)) for x, y in pairs)


def _added(a: dict[Polynomial, int], b: dict[Polynomial, int]) -> dict[Polynomial, int]:
    """Return the powers of a product."""
    return {f: a.get(f, 0) + b.get(f, 0) for f in {**a, **b}}


def _inverse(scale: Polynomial) -> Polynomial:
    """Return 1 over a constant."""
    inverse = 1 / scale.c[0]
    if isinstance(inverse, Fraction):
        return Polynomial((inverse,), (0,))
    error = 0 if is_zero(scale.errors[0]) else scale.errors[0] * inverse * inverse
    return Polynomial((inverse,), (add(error, abs(inverse)),))


class Tied(_Operand):
    """a + b p, where p is a root of m_0 + m_1 p + m_2 p^2 = 0 and all five are ratios."""

    __slots__ = ("a", "b", "m")

    def __init__(self, a: Ratio, b: Ratio, m: tuple[Ratio, Ratio, Ratio]) -> None:
        self.a, self.b, self.m = a, b, m

    def _lifted(self, other: Any) -> Tied | None:
        if isinstance(other, Tied):
            return other
        if hasattr(other, "parts"):
            return None
        ratio = other if isinstance(other, Ratio) else self.a.ring.constant(other)
        return Tied(ratio, self.a.ring.constant(0), self.m)

    def __neg__(self) -> Tied:
        return Tied(-self.a, -self.b, self.m)

    def _plus(self, o: Tied) -> Tied:
        return Tied(self.a + o.a, self.b + o.b, self.m)

    def _times(self, o: Tied) -> Tied:
        square = self.b * o.b
        if square.top.is_zero:
            return Tied(self.a * o.a, self.a * o.b + self.b * o.a, self.m)
        m0, m1, m2 = self.m
        share = square / m2
        return Tied(self.a * o.a - share * m0, self.a * o.b + self.b * o.a - share * m1, self.m)

    def inverse(self) -> Tied:
        """Return 1 / this: the conjugate over the norm."""
        m0, m1, m2 = self.m
        if self.b.top.is_zero:
            return Tied(self.a.inverse(), self.b, self.m)
        other = self.a - self.b * m1 / m2
        norm = (self.a * other + self.b * self.b * m0 / m2).inverse()
        return Tied(other * norm, -self.b * norm, self.m)

    def norm(self) -> Any:
        """Return what is 0 where this is, for one of the two p."""
        if self.b.top.is_zero:
            return self.a
        m0, m1, m2 = self.m
        return self.a * self.a * m2 - self.a * self.b * m1 + self.b * self.b * m0

    def tied(self, r: Any) -> Any:
        """Return p at rates where this is 0."""
        return -self.a.at(r) / self.b.at(r)


def horner(c: Coefficients, r: Any) -> Any:
    """Return the value of a polynomial."""
    found: Any = 0 * r
    for term in reversed(c):
        found = found * r + term
    return found
