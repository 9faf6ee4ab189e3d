"""Derivatives by arithmetic: truncated Taylor series, and values with their gradient.

Both carry NumPy arrays through functions that are written with operators alone, to all digits and without
compiling. The integer 0 as a coefficient means "no dependence": what would multiply it is not computed, so a
sparse Jacobian costs what its entries cost. Coefficients may be series themselves, of a lower `level`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

RATE, PARAMETER, STATE, GRAPH = range(1, 5)
"""Levels of what derivatives are taken by; a number of a lower level is a constant for those above it."""


def is_zero(a: Any) -> bool:
    """Tell the zero that is one by structure from one that a computation gave."""
    return type(a) is int and a == 0


def add(a: Any, b: Any) -> Any:
    """Return a + b."""
    if is_zero(a):
        return b
    return a if is_zero(b) else a + b


def subtract(a: Any, b: Any) -> Any:
    """Return a - b."""
    if is_zero(b):
        return a
    return -b if is_zero(a) else a - b


def multiply(a: Any, b: Any) -> Any:
    """Return a b."""
    return 0 if is_zero(a) or is_zero(b) else a * b


def divide(a: Any, b: Any) -> Any:
    """Return a / b."""
    return 0 if is_zero(a) else a / b


def square_root(a: Any) -> Any:
    """Return the square root of an array or of a series."""
    return a.sqrt() if isinstance(a, Taylor) else np.sqrt(a)


def sine_and_cosine(a: Any) -> tuple[Any, Any]:
    """Return the sine and the cosine of an array or of a series."""
    return a.sine_and_cosine() if isinstance(a, Taylor) else (np.sin(a), np.cos(a))


class _Number:
    """What both kinds share; a number of a lower level is a constant to one of a higher level."""

    __slots__ = ("level", "parts")
    # NumPy's arrays leave the operation to this class instead of doing it for each of their elements.
    __array_ufunc__ = None

    def __init__(self, level: int, parts: Sequence[Any]) -> None:
        self.level = level
        self.parts = tuple(parts)

    def _new(self, parts: Sequence[Any]) -> Any:
        return type(self)(self.level, parts)

    def _beside(self, other: Any) -> int:
        """Return 0 for an operand of the same level, 1 for a constant, -1 for one of a higher level."""
        if not isinstance(other, _Number) or other.level < self.level:
            return 1
        return 0 if other.level == self.level else -1

    def _lifted(self, constant: Any) -> Any:
        return self._new((constant, *(0 for _ in self.parts[1:])))

    def __neg__(self) -> Any:
        return self._new([a if is_zero(a) else -a for a in self.parts])

    def __add__(self, other: Any) -> Any:
        side = self._beside(other)
        if side < 0:
            return other + self
        if side:
            return self._new((add(self.parts[0], other), *self.parts[1:]))
        return self._new([add(a, b) for a, b in zip(self.parts, other.parts, strict=True)])

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        side = self._beside(other)
        if side < 0:
            return other._lifted(self) - other
        if side:
            return self._new((subtract(self.parts[0], other), *self.parts[1:]))
        return self._new([subtract(a, b) for a, b in zip(self.parts, other.parts, strict=True)])

    def __rsub__(self, other: Any) -> Any:
        return self._lifted(other) - self

    def __mul__(self, other: Any) -> Any:
        side = self._beside(other)
        if side < 0:
            return other * self
        return self._new([multiply(a, other) for a in self.parts]) if side else self._product(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        side = self._beside(other)
        if side < 0:
            return other._lifted(self) / other
        return self._new([divide(a, other) for a in self.parts]) if side else self._quotient(other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._lifted(other) / self

    def __pow__(self, power: int) -> Any:
        found: Any = 1.0
        for _ in range(power):
            found = self * found
        return found

    def _product(self, other: Any) -> Any:
        raise NotImplementedError

    def _quotient(self, other: Any) -> Any:
        raise NotImplementedError


class Taylor(_Number):
    """A series a0 + a1 s + a2 s^2 + ..., cut off; `parts` are its coefficients."""

    __slots__ = ()

    def _product(self, other: Any) -> Any:
        a, b = self.parts, other.parts
        return self._new([_convolved(a, b, 0, k) for k in range(len(a))])

    def _quotient(self, other: Any) -> Any:
        a, b = self.parts, other.parts
        found: list[Any] = []
        for k in range(len(a)):
            rest = subtract(a[k], _convolved(b[1:], found, 0, k - 1)) if k else a[0]
            found.append(divide(rest, b[0]))
        return self._new(found)

    def sqrt(self) -> Taylor:
        """Return the square root, of a series that does not begin with 0."""
        found = [square_root(self.parts[0])]
        for k in range(1, len(self.parts)):
            rest = subtract(self.parts[k], _convolved(found, found, 1, k - 1))
            found.append(divide(rest, 2.0 * found[0]))
        return Taylor(self.level, found)

    def sine_and_cosine(self) -> tuple[Taylor, Taylor]:
        """Return the sine and the cosine: s' = a' c and c' = -a' s, term by term."""
        first, second = sine_and_cosine(self.parts[0])
        sines, cosines = [first], [second]
        steps = self.slope().parts
        for k in range(1, len(self.parts)):
            rising, falling = (_convolved(steps, terms, 0, k - 1) for terms in (cosines, sines))
            sines.append(multiply(rising, 1.0 / k))
            cosines.append(multiply(falling, -1.0 / k))
        return Taylor(self.level, sines), Taylor(self.level, cosines)

    def slope(self) -> Taylor:
        """Return the derivative, one term shorter."""
        return Taylor(self.level, [multiply(a, float(k)) for k, a in enumerate(self.parts)][1:])


class Gradient(_Number):
    """A value with its partial derivatives: `parts` are the value, then the derivatives."""

    __slots__ = ()

    def _product(self, other: Any) -> Any:
        (a, *da), (b, *db) = self.parts, other.parts
        slopes = [add(multiply(x, b), multiply(a, y)) for x, y in zip(da, db, strict=True)]
        return self._new((multiply(a, b), *slopes))

    def _quotient(self, other: Any) -> Any:
        (a, *da), (b, *db) = self.parts, other.parts
        value = divide(a, b)
        slopes = [divide(subtract(x, multiply(value, y)), b) for x, y in zip(da, db, strict=True)]
        return self._new((value, *slopes))


def _convolved(a: Sequence[Any], b: Sequence[Any], first: int, last: int) -> Any:
    """Return the sum of a_j b_k over j + k = first + last with first <= j <= last."""
    found: Any = 0
    for j in range(first, last + 1):
        found = add(found, multiply(a[j], b[first + last - j]))
    return found


def coefficient(number: Any, k: int, level: int) -> Any:
    """Return the k-th part of a number of that level; a constant has but its value."""
    if isinstance(number, _Number) and number.level == level:
        return number.parts[k]
    return number if k == 0 else 0


def determinant(matrix: Sequence[Sequence[Any]]) -> Any:
    """Return the determinant of a small matrix of numbers, by expansion along its emptiest row."""
    return _expanded(matrix, subtract)


def permanent(matrix: Sequence[Sequence[Any]]) -> Any:
    """Return the sum of the terms of the determinant without their signs."""
    return _expanded(matrix, add)


def _expanded(matrix: Sequence[Sequence[Any]], odd: Callable[[Any, Any], Any]) -> Any:
    if not matrix:
        return 1.0
    if len(matrix) == 1:
        return matrix[0][0]
    row = max(range(len(matrix)), key=lambda i: sum(map(is_zero, matrix[i])))
    found: Any = 0
    for column, entry in enumerate(matrix[row]):
        if is_zero(entry):
            continue
        term = multiply(entry, _expanded(without(matrix, row, column), odd))
        found = odd(found, term) if (row + column) % 2 else add(found, term)
    return found


def without(matrix: Sequence[Sequence[Any]], row: int, column: int) -> list[list[Any]]:
    """Return a matrix without a row and a column."""
    return [[a for j, a in enumerate(line) if j != column] for i, line in enumerate(matrix) if i != row]


def characteristic(matrix: Sequence[Sequence[Any]]) -> list[Any]:
    """Return c_1, ..., c_n of det(l - A) = l^n + c_1 l^(n-1) + ... + c_n: sums of principal minors."""
    found = _principal(matrix, determinant)
    return [c if order % 2 == 0 or is_zero(c) else -c for order, c in enumerate(found, 1)]


def characteristic_sizes(matrix: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the sums of the sizes of all terms of c_1, ..., c_n, from the sizes of the entries.

    The rounding errors of the coefficients are some multiples of these.
    """
    return _principal(matrix, permanent)


def _principal(matrix: Sequence[Sequence[Any]], minor: Callable[[Sequence[Sequence[Any]]], Any]) -> list[Any]:
    """Return the sums of all principal minors of each order."""
    found = []
    for order in range(1, len(matrix) + 1):
        total: Any = 0
        for chosen in combinations(range(len(matrix)), order):
            total = add(total, minor([[matrix[i][j] for j in chosen] for i in chosen]))
        found.append(total)
    return found
