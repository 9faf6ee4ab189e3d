"""Every positive root of many polynomials, counted with proof: Descartes' rule of signs, and bisection.

A polynomial on [a, b] is a sum of Bernstein coefficients times functions that are positive there. The number
of changes of sign among them is never less than the number of roots inside, and equal if it is 0 or 1
(Descartes' rule for this basis; Lane and Riesenfeld, BIT 21, 112 (1981)). So cells with 0 or 1 are settled,
and others are halved. Cells are geometric, so one matrix serves all cells of a width. A sign counts only
where the coefficient exceeds its rounding error; cells that rounding leaves open are settled in whole
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.roots.taylor import is_zero
from qifscan.roots.whole import Bracket, Whole, roots_between

WIDEST = 8.0
"""Ratio of the ends of a cell before any is cut."""

LEVELS = 2
"""Times that a cell is halved before what is left of cells is expanded around each."""

NEAR_LEVELS = 27
"""Times that a cell is halved after that: to 4e-9 of its rate."""

_MOST_CELLS = 96
"""Open cells of a slice beyond which rounding rules it: it is settled in whole numbers at once."""

_ROUNDINGS = 16
"""Rounding errors that add up when powers of the rate are put together as Bernstein coefficients."""

_BLOCK = 1 << 14
_CELLS = 1 << 13
_EPS = float(np.finfo(np.float64).eps)
_NEARER = (1e-3, 1e-6, 1e-10, 0.0)
"""Distances, relative to the rate, at which a root is looked for again after each expansion."""

_STEPS = 100


@dataclass(frozen=True)
class Roots:
    """Roots by slice: an interval that holds no other; of those that were settled exactly also the narrow
    one, by position.
    """

    who: Index
    low: Array
    high: Array
    exact: Any
    brackets: dict[int, Bracket]


Exactly = Callable[[int], Whole]
"""The polynomial of a slice in whole numbers."""


Near = Callable[[Index, Array, Array], tuple[Array, Array]]
"""The polynomials of slices on cells, from a rate and of a width, in t from 0 to 1, and their errors."""


def isolated(c: Array, errors: Array, low: Array, span: float, near: Near, exactly: Exactly) -> Roots:
    """Return every root of polynomials `(slices, degree + 1)` in [low, span low) of each, low above 0.

    `errors`: those of the coefficients, in units of the last digit of 1. A double root is one root.
    """
    settled: list[tuple[Any, ...]] = [_nothing()]
    left: list[tuple[Any, ...]] = [_nothing()]
    with np.errstate(all="ignore"):
        for start in range(0, len(c), _BLOCK):
            block = slice(start, start + _BLOCK)
            one, opened = _in_floats(c[block], errors[block], low[block], span)
            settled += [(who + start, a, b) for who, a, b in one]
            left += [(who + start, a, b) for who, a, b in opened]
        one, left = _expanded_near(left, near)
        settled += one
    more = _in_whole_numbers(left, exactly)
    ends = np.array([ends for _, ends in more], dtype=float).reshape(-1, 2)
    rows = np.array([k for k, _ in more], dtype=np.intp), ends[:, 0], ends[:, 1]
    who, a, b = (np.concatenate([*(part[k] for part in settled), rows[k]]) for k in range(3))
    exact = np.arange(len(who)) >= len(who) - len(more)
    order = np.lexsort((a, who))
    brackets = {int(k): more[order[k] - len(who)][1] for k in np.flatnonzero(exact[order])}
    return Roots(who[order], a[order], b[order], exact[order], brackets)


def _nothing() -> tuple[Index, Array, Array]:
    return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)


def _in_floats(c: Array, errors: Array, low: Array, span: float) -> tuple[list[Any], list[Any]]:
    """Return the cells with one root each, and those that rounding leaves open: slice, ends."""
    degree = c.shape[1] - 1
    count = max(1, math.ceil(math.log(span) / math.log(WIDEST)))
    powers = np.arange(degree + 1)
    settled, opened = [], []
    who = np.repeat(np.arange(len(c)), count)
    a = (low[:, None] * span ** (np.arange(count) / count)).ravel()
    for level in range(LEVELS + 1):
        if not len(who):
            break
        ratio = span ** (1.0 / count / 2.0**level)
        matrix = _bernstein(degree, ratio)
        scale = a[:, None] ** powers
        terms = c[who] * scale
        value = terms @ matrix
        error = _EPS * ((_ROUNDINGS * np.abs(terms) + errors[who] * scale) @ matrix)
        changes, sure = _changes(value, error)
        one = sure & (changes == 1)
        settled.append((who[one], a[one], a[one] * ratio))
        further = ~(sure & (changes <= 1))
        who, a = who[further], a[further]
        if level == LEVELS:
            opened.append((who, a, a * ratio))
        who, a = np.concatenate((who, who)), np.concatenate((a, a * math.sqrt(ratio)))
    return settled, opened


def _expanded_near(cells: list[Any], near: Near) -> tuple[list[Any], list[Any]]:
    """Return the cells with one root each, and those that rounding leaves open, from expansions in each."""
    who, a, b = (np.concatenate([part[k] for part in cells]) for k in range(3))
    settled, opened = [], []
    for level in range(NEAR_LEVELS + 1):
        if not len(who):
            break
        many = np.bincount(who)[who] > _MOST_CELLS
        opened.append((who[many], a[many], b[many]))
        who, a, b = who[~many], a[~many], b[~many]
        if not len(who):
            break
        parts = [
            _changes_near(*near(*(x[start : start + _CELLS] for x in (who, a, b - a))))
            for start in range(0, len(who), _CELLS)
        ]
        changes, sure = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        one = sure & (changes == 1)
        settled.append((who[one], a[one], b[one]))
        further = ~(sure & (changes <= 1))
        who, a, b = who[further], a[further], b[further]
        if level == NEAR_LEVELS:
            opened.append((who, a, b))
        middle = np.sqrt(a * b)
        who, a, b = np.concatenate((who, who)), np.concatenate((a, middle)), np.concatenate((middle, b))
    return settled, opened


def _changes_near(terms: Array, errors: Array) -> tuple[Any, Any]:
    matrix = _bernstein_from_zero(terms.shape[1] - 1)
    return _changes(terms @ matrix, _EPS * ((_ROUNDINGS * np.abs(terms) + errors) @ matrix))


@cache
def _bernstein_from_zero(degree: int) -> Array:
    """Return the Bernstein coefficients on [0, 1] of each power of t, `(degree + 1, degree + 1)`."""
    found = np.zeros((degree + 1, degree + 1))
    for power in range(degree + 1):
        for j in range(power, degree + 1):
            found[power, j] = math.comb(j, power) / math.comb(degree, power)
    return found


@lru_cache(maxsize=256)
def _bernstein(degree: int, ratio: float) -> Array:
    """Return the Bernstein coefficients on [1, ratio] of each power of r, `(degree + 1, degree + 1)`."""
    found = np.zeros((degree + 1, degree + 1))
    for power in range(degree + 1):
        for j in range(degree + 1):
            found[power, j] = sum(
                math.comb(j, i) / math.comb(degree, i) * math.comb(power, i) * (ratio - 1.0) ** i
                for i in range(min(j, power) + 1)
            )
    return found


def _changes(value: Array, error: Array) -> tuple[Any, Any]:
    """Return the number of changes of sign, and whether it is sure.

    A coefficient of unknown sign does no harm between two that are known and of different signs.
    """
    known = np.abs(value) > error
    sign = np.where(known, np.sign(value), 0.0)
    last = sign[:, 0]
    changes = np.zeros(len(value), dtype=np.int64)
    sure = known[:, 0] & known[:, -1] & np.isfinite(value).all(axis=1) & np.isfinite(error).all(axis=1)
    gap = np.zeros(len(value), dtype=np.int64)
    for k in range(1, value.shape[1]):
        here = sign[:, k]
        there = here != 0.0
        turned = there & (here != last)
        changes += turned
        sure &= ~there | (gap == 0) | (turned & (gap == 1))
        gap = np.where(there, 0, gap + 1)
        last = np.where(there, here, last)
    return changes, sure


def _in_whole_numbers(cells: list[Any], exactly: Exactly) -> list[tuple[int, Bracket]]:
    """Return the roots in cells that were left open."""
    found: list[tuple[int, Bracket]] = []
    by_slice: dict[int, list[tuple[float, float]]] = {}
    for who, a, b in cells:
        for k, x, y in zip(who.tolist(), a.tolist(), b.tolist(), strict=True):
            by_slice.setdefault(k, []).append((x, y))
    for k, intervals in by_slice.items():
        whole = exactly(k)
        if not whole:
            continue
        for x, y in _merged(intervals):
            found += [(k, root) for root in roots_between(whole, x, y)]
    return found


def _merged(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return intervals with those that touch made one, so that a root on their border counts once."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(intervals):
        if found and x <= found[-1][1] * (1.0 + 1e-12):
            found[-1] = (found[-1][0], max(y, found[-1][1]))
        else:
            found.append((x, y))
    return found


def narrowed(c: Array, low: Array, high: Array) -> Array:
    """Return the only root of each polynomial between two rates, by Newton's method kept in its bracket."""
    # SciPy's `elementwise.find_root` finds the same numbers in one and a half times the time.
    x = 0.5 * (low + high)
    rising: Any = _values(c, high)[0] > 0.0
    going = np.flatnonzero(high > low)
    found = x.copy()
    low, high = low[going].copy(), high[going].copy()
    x, c, rising = x[going], c[going], rising[going]
    for _ in range(_STEPS):
        if not len(going):
            break
        value, slope = _values(c, x)
        up = (value > 0.0) != rising
        low, high = np.where(up, x, low), np.where(up, high, x)
        new = x - value / slope
        good = (new > low) & (new < high)
        new = np.where(value == 0.0, x, np.where(good, new, 0.5 * (low + high)))
        found[going] = new
        further = (np.abs(new - x) > 2.0 * _EPS * x) & (high - low > 2.0 * _EPS * high)
        going, rising = going[further], rising[further]
        x, low, high, c = new[further], low[further], high[further], c[further]
    return found


def narrowed_near(near: Near, who: Index, low: Array, high: Array) -> Array:
    """Return the only root of each slice's polynomial between two rates, from expansions ever nearer to it.

    Where a factor is nearly 0 the expansion around r = 0 has no digits left, and so no place of the root.
    """
    a, b = low.copy(), high.copy()
    x = 0.5 * (a + b)
    for share in _NEARER:
        terms, _ = near(who, a, b - a)
        zero, one = np.zeros(len(a)), np.ones(len(a))
        inside = (terms[:, 0] > 0.0) != (terms.sum(axis=1) > 0.0)
        x = np.where(inside, a + (b - a) * narrowed(terms, zero, one), x)
        a, b = np.maximum(low, x * (1.0 - share)), np.minimum(high, x * (1.0 + share))
    return x


def _values(c: Array, x: Array) -> tuple[Array, Array]:
    value, slope = np.zeros_like(x), np.zeros_like(x)
    for k in range(c.shape[1] - 1, -1, -1):
        slope = slope * x + value
        value = value * x + c[:, k]
    return value, slope


def table(c: tuple[Any, ...], slices: int) -> Array:
    """Return coefficients, structural zeros among them, as an array `(slices, degree + 1)`."""
    found = np.zeros((slices, len(c)))
    for k, term in enumerate(c):
        if not is_zero(term):
            found[:, k] = term
    return found
