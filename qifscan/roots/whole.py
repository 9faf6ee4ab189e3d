"""Roots of a polynomial with whole coefficients: counted by Descartes' rule, without any rounding."""

from __future__ import annotations

import math
from fractions import Fraction

_MERSENNE = (61, 521, 1279, 2203, 4423, 9689, 19937, 44497, 86243, 216091)
"""Powers of 2 that are one more than a prime."""

_DIGITS = 54
"""Binary digits of a root."""

Whole = list[int]
"""Coefficients, the lowest power first."""

Bracket = tuple[Fraction, Fraction]
"""Two numbers that end in binary, with one root between them; equal if they are the root."""


def primitive(c: list[Fraction]) -> Whole:
    """Return whole coefficients without a common factor, or a last one that is 0."""
    while c and c[-1] == 0:
        c = c[:-1]
    if not c:
        return []
    common = math.lcm(*(x.denominator for x in c))
    return _reduced([x.numerator * (common // x.denominator) for x in c])


def _reduced(c: Whole) -> Whole:
    divisor = math.gcd(*c)
    return [x // divisor for x in c]


def roots_between(c: Whole, low: float, high: float) -> list[Bracket]:
    """Return the distinct roots in [low, high), each between two numbers that agree to its digits."""
    c = squarefree(c)
    size = max(_places(low), _places(high))
    start, end = (int(Fraction(x) * (1 << size)) for x in (low, high))
    found = []
    waiting = [(start, end - start, size, _on_unit(c, start, end - start, size))]
    while waiting:
        a, width, size, q = waiting.pop()
        if q[0] == 0:
            found.append((Fraction(a, 1 << size), Fraction(a, 1 << size)))
            q = q[1:]
        changes = _changes(_shifted(q[::-1]))
        if changes == 1:
            ends = Fraction(a, 1 << size), Fraction(a + width, 1 << size)
            found.append(sharpened(c, *ends, _DIGITS) or ends)
        elif changes:
            half = [x << (len(q) - 1 - k) for k, x in enumerate(q)]
            waiting.append((2 * a, width, size + 1, half))
            waiting.append((2 * a + width, width, size + 1, _shifted(half)))
    return found


def _places(x: float) -> int:
    """Return the number of binary digits after the point."""
    return Fraction(x).denominator.bit_length() - 1


def _on_unit(c: Whole, start: int, width: int, size: int) -> Whole:
    """Return the polynomial in t at (start + width t)/2^size, times a constant."""
    degree = len(c) - 1
    terms = _shifted([x << (size * (degree - k)) for k, x in enumerate(c)], start)
    factor = 1
    for k in range(degree + 1):
        terms[k] *= factor
        factor *= width
    return terms


def _shifted(c: Whole, by: int = 1) -> Whole:
    """Return the polynomial at t + by."""
    found = list(c)
    for k in range(len(c) - 1):
        for j in range(len(c) - 2, k - 1, -1):
            found[j] += found[j + 1] if by == 1 else by * found[j + 1]
    return found


def _changes(c: Whole) -> int:
    signs = [x > 0 for x in c if x]
    return sum(x != y for x, y in zip(signs[1:], signs[:-1], strict=True))


def sharpened(c: Whole, low: Fraction, high: Fraction, digits: int) -> Bracket | None:
    """Return the only root inside of an interval to so many binary digits; None if signs do not tell one."""
    if low == high:
        return low, high
    size = max(x.denominator.bit_length() - 1 for x in (low, high))
    a, b = (int(x * (1 << size)) for x in (low, high))
    first, last = _sign(c, a, size), _sign(c, b, size)
    # Another root may be an end.
    first = first or -last
    if first == (last or -first):
        return None
    # Halves are of equal width, so that all numbers stay whole ones.
    width = b - a
    while (width << digits) > a:
        a, size = 2 * a, size + 1
        sign = _sign(c, a + width, size)
        if sign == 0:
            return Fraction(a + width, 1 << size), Fraction(a + width, 1 << size)
        a += width if sign == first else 0
    return Fraction(a, 1 << size), Fraction(a + width, 1 << size)


def square_root(x: Fraction, digits: int) -> Fraction:
    """Return the square root to so many binary digits, of a number that is not below 0."""
    size = digits + max(0, (x.denominator.bit_length() - x.numerator.bit_length()) // 2 + 1)
    return Fraction(math.isqrt((x.numerator << (2 * size)) // x.denominator), 1 << size)


def _sign(c: Whole, a: int, size: int) -> int:
    """Return the sign at a/2^size."""
    value, shift = 0, 0
    for term in reversed(c):
        value = value * a + (term << shift)
        shift += size
    return (value > 0) - (value < 0)


def squarefree(c: Whole) -> Whole:
    """Return the polynomial with each of its roots once.

    Modulo a prime the greatest common divisor with the derivative has at least the degree that it has in
    whole numbers. So a constant there proves that there is none; else a larger prime has its coefficients.
    """
    slope = [k * x for k, x in enumerate(c)][1:]
    for power in _MERSENNE:
        prime = (1 << power) - 1
        shared = _common(c, slope, prime)
        if len(shared) == 1:
            return c
        lead = c[-1] * pow(shared[-1], -1, prime)
        whole = [x * lead % prime for x in shared]
        divisor = _reduced([x - prime if 2 * x > prime else x for x in whole])
        quotient = _quotient(c, divisor)
        if quotient and _quotient(slope, divisor):
            return quotient
    raise ArithmeticError("coefficients beyond all measure")


def _common(a: Whole, b: Whole, prime: int) -> Whole:
    """Return the greatest common divisor modulo a prime."""
    a, b = ([x % prime for x in c] for c in (a, b))
    while a and a[-1] == 0:
        a.pop()
    while True:
        while b and b[-1] == 0:
            b.pop()
        if not b:
            return a
        inverse = pow(b[-1], -1, prime)
        while len(a) >= len(b):
            factor, shift = a[-1] * inverse % prime, len(a) - len(b)
            for k, x in enumerate(b):
                a[shift + k] = (a[shift + k] - factor * x) % prime
            a.pop()
            while a and a[-1] == 0:
                a.pop()
        a, b = b, a


def _quotient(a: Whole, b: Whole) -> Whole:
    """Return a / b, or nothing if that leaves a remainder."""
    rest, found = list(a), [0] * (len(a) - len(b) + 1)
    for k in range(len(found) - 1, -1, -1):
        found[k], remainder = divmod(rest[k + len(b) - 1], b[-1])
        if remainder:
            return []
        for j, x in enumerate(b):
            rest[k + j] -= found[k] * x
    return [] if any(rest) else found
