"""Equilibria of any model by Newton's method from many starts: those that a start leads to, and no others.

For models that are no graph over the rate. Starts fill a box evenly (an additive recurrence, M. Roberts, The
unreasonable effectiveness of quasirandom sequences, 2018), derivatives are exact, and every start of every
point goes its own way: what comes of one depends on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, POSITIVE
from qifscan.roots.zeros import part
from qifscan.theory.rate_curve import at_once, slopes_and_derivatives

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Range
    from qifscan.dynamics.model import Model, Variable

STARTS = 128
"""Starts of a point, unless asked for otherwise."""

SAME = 1e-6
"""Relative distance up to which two ends are one equilibrium: nearer pairs can't be told apart next to a
fold, where roots are known to half of the digits."""

METHOD = "Newton's method from many starts: equilibria that none of them leads to are missed"

_RATES = (-3.0, 2.0)
"""Powers of 10 between which rates start, in sqrt(delta)/(pi tau); other variables above 0 in their scale."""

_SIGNED = math.asinh(30.0)
"""Variables of either sign start between -30 and 30 of their scale, half of them within 2.6 of it."""

_STEPS = 30
"""Steps of a start; of those that arrive at all nearly all do so in half as many."""

_LONG = 200
"""Steps of a start beside a wall: far from the root of a square each halves the distance."""

_SETTLED = 1e-12
"""Relative step of all variables after which one more would change nothing."""

_SHRINK = 0.1
"""What is left of a variable that must be above 0 when a step would take it out."""

_TINY = 1e-13
_ACCURATE = 1e-9
_BLOCK = 1 << 15
_MOST = 12

_CACHED = 1 << 16
"""Entries of the matrices that are eliminated together: half a megabyte."""


@dataclass(frozen=True)
class Searched:
    """Equilibria of points, by ascending rate, NaN where there are fewer: states `(points, most, n)`, how
    many starts led to each `(points, most)`, and the share of starts that led to any `(points,)`.
    """

    states: Array
    reached: Index
    share: Array


def equilibria(
    model: Model,
    parameters: Mapping[str, Array],
    starts: int = STARTS,
    within: Mapping[str, Range] | None = None,
) -> Searched:
    """Return the equilibria that starts lead to, at parameters `(points,)` each.

    `parameters` may hold constant inputs, as `<variable>_input`. `within`: ranges of variables to start in.
    """
    count = len(next(iter(parameters.values())))
    found = []
    step = max(1, _BLOCK // starts)
    with np.errstate(all="ignore"):
        for first in range(0, count, step):
            here = part(parameters, slice(first, first + step))
            found.append(_together(model, here, *_ends(model, here, starts, within)))
    most = max((f.states.shape[1] for f in found), default=1)
    return Searched(
        np.concatenate([_wide(f.states, most, np.nan) for f in found]),
        np.concatenate([_wide(f.reached, most, 0) for f in found]),
        np.concatenate([f.share for f in found]),
    )


def _wide(values: Any, most: int, fill: float) -> Any:
    more = [(0, 0), (0, most - values.shape[1])] + [(0, 0)] * (values.ndim - 2)
    return np.pad(values, more, constant_values=fill)


def _even(starts: int, size: int) -> Array:
    """Return places that fill the unit cube evenly, `(starts, size)`."""
    # The root of x^(size + 1) = x + 1: of all slopes the hardest to approximate.
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (size + 1))
    slopes = ratio ** -np.arange(1.0, size + 1.0)
    return np.asarray(np.mod(0.5 + np.arange(1, starts + 1)[:, None] * slopes, 1.0))


def _begins(variable: Variable, p: Mapping[str, Array], place: Array, within: Mapping[str, Range]) -> Array:
    """Return where a variable starts, `(points, starts)`."""
    like = np.zeros((len(next(iter(p.values()))), 1))
    bounds = within.get(variable.name, variable.bounds)
    if bounds is None and variable.domain is FRACTION:
        bounds = (0.0, 1.0)
    if bounds is not None:
        return np.asarray(bounds[0] + (bounds[1] - bounds[0]) * place + like)
    low, high = _RATES
    if variable.rate:
        of = variable.population
        like = np.log10(np.sqrt(p[f"delta{of}"]) / (math.pi * p[f"tau{of}"]))[:, None]
    if variable.rate or variable.domain in (POSITIVE, NON_NEGATIVE):
        return np.asarray(10.0 ** (like + low + (high - low) * place))
    return np.asarray(np.sinh(_SIGNED * (2.0 * place - 1.0)) + like)


def begins(
    model: Model, p: Mapping[str, Array], starts: int, within: Mapping[str, Range] | None = None
) -> Array:
    """Return where so many starts begin, `(points, starts, n)`."""
    places = _even(starts, len(model.variables))
    each = [_begins(v, p, u, within or {}) for v, u in zip(model.variables, places.T, strict=True)]
    shape = np.broadcast_shapes(*(y.shape for y in each))
    return np.stack([np.broadcast_to(y, shape) for y in each], axis=-1)


def _ends(
    model: Model, p: Mapping[str, Array], starts: int, within: Mapping[str, Range] | None
) -> tuple[Array, Any]:
    """Return where the starts end, `(points, starts, n)`, and which of them at an equilibrium."""
    state = begins(model, p, starts, within)
    shape = state.shape
    state = state.reshape(-1, shape[2])
    given = {name: np.repeat(values, shape[1]) for name, values in p.items()}
    positive = np.array([v.domain in (POSITIVE, FRACTION) for v in model.variables])
    going, there = np.arange(len(state)), np.zeros(len(state), dtype=bool)
    for _ in range(_STEPS):
        here = part(given, going)
        step, error = _step(model, state[going], here)
        y = state[going]
        moved = y + step
        moved = np.where(positive & (moved <= 0.0), _SHRINK * y, moved)
        small = np.abs(step) <= _TINY * np.abs(y) + 1e-300
        near = np.abs(step) <= SAME * (np.abs(y) + _floor(y))
        state[going] = moved
        there[going] = near.all(axis=1) & (error < _ACCURATE)
        further = ~small.all(axis=1) & np.isfinite(moved).all(axis=1)
        going = going[further]
        if not len(going):
            break
    holds = [np.asarray(v.domain.holds(y)) for v, y in zip(model.variables, state.T, strict=True)]
    there &= np.all(holds, axis=0) & np.isfinite(state).all(axis=1)
    return state.reshape(shape), there.reshape(shape[:2])


def arrived(model: Model, start: Array, p: Mapping[str, Array]) -> tuple[Array, Any]:
    """Return where starts `(points, n)` lead to, and which of them arrive."""
    positive = np.array([v.domain in (POSITIVE, FRACTION) for v in model.variables])
    state, there, going = start.copy(), np.zeros(len(start), dtype=bool), np.arange(len(start))
    for _ in range(_LONG):
        step, _ = _step(model, state[going], part(p, going))
        y = state[going]
        moved = y + step
        state[going] = np.where(positive & (moved <= 0.0), _SHRINK * y, moved)
        small = (np.abs(step) <= _SETTLED * np.abs(y)).all(axis=1)
        there[going] = small
        going = going[~small & np.isfinite(moved).all(axis=1)]
        if not len(going):
            break
    return state, there


def _floor(y: Array) -> Array:
    """Return a size below which a variable counts as 0: beside the others it is rounding."""
    found: Array = 1e-6 * np.abs(y).max(axis=-1, keepdims=True)
    return found


def _step(model: Model, state: Array, p: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the step of Newton's method, and the largest rate of change relative to its terms."""
    inputs = tuple(p.get(f"{name}_input", 0.0) for name in model.variable_names)
    slopes, entries = slopes_and_derivatives(model, tuple(state.T), at_once(model, p), inputs)
    size = state.shape[1]
    matrix, right = np.zeros((len(state), size, size)), np.zeros((len(state), size))
    for i in range(size):
        right[:, i] = slopes[i]
        for j in range(size):
            matrix[:, i, j] = entries[i][j]
    terms = (np.abs(matrix) * np.abs(state)[:, None, :]).sum(axis=2)
    error = np.max(np.abs(right) / np.where(terms == 0.0, 1.0, terms), axis=1)
    return eliminated(matrix, -right), error


def eliminated(matrix: Array, right: Array) -> Array:
    """Return the solutions of small systems, not finite where one is singular.

    By elimination with pivots, and not by LAPACK, which ends with the first singular one.
    """
    some = max(64, _CACHED // right.shape[1] ** 2)
    found = np.empty(right.shape)
    for begin in range(0, len(right), some):
        part = slice(begin, begin + some)
        found[part] = _eliminated(matrix[part], right[part])
    return found


def _eliminated(matrix: Array, right: Array) -> Array:
    """Do so for as many as the cache holds, one entry of all systems after the other."""
    count, size = right.shape
    whole = np.empty((size, size + 1, count))
    whole[:, :size], whole[:, size] = np.moveaxis(matrix, 0, -1), right.T
    for k in range(size):
        pivot = k + np.argmax(np.abs(whole[k:, k]), axis=0)
        moved = np.flatnonzero(pivot != k)
        if len(moved):
            other = pivot[moved]
            swapped = whole[other, :, moved]
            whole[other, :, moved] = whole[k][:, moved].T
            whole[k][:, moved] = swapped.T
        factors = whole[k + 1 :, k] / whole[k, k]
        whole[k + 1 :, k + 1 :] -= factors[:, None] * whole[k, k + 1 :]
    found = np.zeros((count, size))
    for k in range(size - 1, -1, -1):
        known = np.multiply(whole[k, k + 1 : size].T, found[:, k + 1 :], order="C").sum(axis=1)
        found[:, k] = (whole[k, size] - known) / whole[k, k]
    return found


def _together(model: Model, p: Mapping[str, Array], ends: Array, there: Any) -> Searched:
    """Return the distinct ends of every point."""
    units = np.stack([np.broadcast_to(u, len(ends)) for u in model.units(p)], axis=-1)
    left, rows = there.copy(), np.arange(len(ends))
    states, reached = [], []
    for _ in range(_MOST):
        if not left.any():
            break
        first = ends[rows, np.argmax(left, axis=1)]
        same = left & (_apart(model, units, ends, first) <= SAME)
        any_left = left.any(axis=1)
        states.append(np.where(any_left[:, None], first, np.nan))
        reached.append(np.where(any_left, same.sum(axis=1), 0))
        left &= ~same
    if not states:
        states, reached = [np.full(ends[:, 0].shape, np.nan)], [np.zeros(len(ends), dtype=np.intp)]
    found, counts = np.stack(states, axis=1), np.stack(reached, axis=1)
    order = np.argsort(found[..., 0], axis=1, kind="stable")
    found = np.take_along_axis(found, order[..., None], axis=1)
    return Searched(found, np.take_along_axis(counts, order, axis=1), there.mean(axis=1))


def _apart(model: Model, units: Array, ends: Array, first: Array) -> Array:
    """Return the largest distance of ends from a state, relative to it, of any group of variables."""
    scaled, origin = ends * units[:, None], (first * units)[:, None]
    floor = _floor(origin)[..., 0]
    worst = np.zeros(ends.shape[:2])
    for group in map(list, model.groups):
        distance = np.linalg.norm((scaled - origin)[..., group], axis=-1)
        size = np.maximum(np.linalg.norm(origin[..., group], axis=-1), floor)
        worst = np.maximum(worst, np.where(distance == 0.0, 0.0, distance / size))
    return worst
