"""Every equilibrium of points of a model that is a graph over the rate, and whether their number is proven.

Between its folds, whose number is proven, eta(r) is monotone: a piece holds one equilibrium if eta lies
between its values at the ends, and none otherwise. Where rounding can't tell these apart, the roots of
eta(r) - eta are counted in whole numbers. Beside a wall, where another rate goes to 0, the rate of the first
population has no digits left for it: there the whole state is found by Newton's method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from qifscan.certain import span
from qifscan.conditions import Exact
from qifscan.digits import rounding_of_graph
from qifscan.graph import Array, Index, Path, coefficients, part, paths, series, walled_variables
from qifscan.models import Model
from qifscan.newton import arrived
from qifscan.normal_forms import residual, states
from qifscan.pieces import Pieces, nodes_of, pieces, roots
from qifscan.whole import roots_between

_LOST = 1e3
"""By how much a relative error of the rate may grow in another variable."""

_NEAR = 1e-9
"""Relative distance within which Newton's method must find an equilibrium beside a wall."""

_AT_REST = 1e-9
_SURE = 4.0


@dataclass(frozen=True)
class Resting:
    """Equilibria of points by ascending rate, NaN where there are fewer: states `(points, most, n)`, and of
    which points their number is proven.
    """

    states: Array
    certified: Any


def resting(model: Model, slices: Mapping[str, Array], whose: Index, eta: Array) -> Resting:
    """Return every equilibrium of points: their slice, and the value of the graph's parameter."""
    path = paths(model, model.graph)[0]
    nodes = nodes_of(path, slices, None)
    of = pieces(path, slices, nodes)
    r, _ = roots(path, slices, of, whose, eta)
    given = part(slices, whose) | {model.graph: eta}
    found = _ascending(at_equilibrium(model, r, given))
    certified = (nodes.certified & of.certified)[whose]
    open_ = np.flatnonzero(certified & _open(path, slices, of, whose, eta))
    return Resting(_with_counted(path, found, given, open_), certified & np.isfinite(eta))


def at_equilibrium(model: Model, r: Array, given: Mapping[str, Array]) -> Array:
    """Return the states at rates of equilibria, `(points, most, n)`, NaN where there is none after all."""
    most = r.shape[1]
    wide = {name: np.repeat(values, most) for name, values in given.items()}
    flat = r.ravel()
    state = states(model, flat, wide)
    rows = np.flatnonzero(~(growth(model, flat, wide) < _LOST) & np.isfinite(flat))
    if len(rows):
        here, start = part(wide, rows), state[rows]
        end, there = arrived(model, start, here)
        there &= np.abs(end[:, 0] / start[:, 0] - 1.0) < _NEAR
        kept = residual(model, start, here) < _AT_REST
        state[rows] = np.where(there[:, None], end, np.where(kept[:, None], start, np.nan))
    return state.reshape(*r.shape, -1)


def growth(model: Model, r: Array, given: Mapping[str, Array]) -> Array:
    """Return by what factor a relative error of the rate is larger in variables that have a wall."""
    found = np.zeros(len(r))
    for index in walled_variables(model):
        value, slope = coefficients(model.at_rest(series(r, 1), given)[index], 1, r)
        found = np.maximum(found, np.abs(slope / value))
    return found


def _ascending(found: Array) -> Array:
    order = np.argsort(found[..., 0], axis=1, kind="stable")
    return np.take_along_axis(found, order[..., None], axis=1)


def _open(path: Path, slices: Mapping[str, Array], of: Pieces, whose: Index, eta: Array) -> Any:
    """Tell the points whose eta is as near to an end of a piece as rounding."""
    open_ = np.zeros(len(whose), dtype=bool)
    ends = ((of.low, of.value_low, of.wall_low), (of.high, of.value_high, of.wall_high))
    for rates, values, walls in ends:
        for k in range(rates.shape[1]):
            error = _SURE * rounding_of_graph(path, rates[:, k], slices)
            error = np.where(walls[:, k], 0.0, error)
            open_ |= np.abs(eta - values[whose, k]) <= error[whose]
    return open_


def _with_counted(path: Path, found: Array, given: Mapping[str, Array], which: Index) -> Array:
    """Return the states with those of some points counted in whole numbers."""
    model = path.model
    low, factor = span(model, given, None)
    counted = [
        counted_rates(path, part(given, slice(k, k + 1)), float(low[k]), float(low[k] * factor))
        for k in which
    ]
    most = max([found.shape[1], *(len(rates) for rates in counted)])
    found = np.pad(found, ((0, 0), (0, most - found.shape[1]), (0, 0)), constant_values=np.nan)
    for k, rates in zip(which, counted, strict=True):
        r = np.full((1, most), np.nan)
        r[0, : len(rates)] = rates
        found[k] = at_equilibrium(model, r, part(given, slice(k, k + 1)))[0]
    return found


def counted_rates(path: Path, one: Mapping[str, Array], low: float, high: float) -> Array:
    """Return the rates at rest of a point in a range, from roots that are isolated in whole numbers."""
    unit = math.sqrt(low) * math.sqrt(high)
    exact = Exact.of(path, "rest", one, 0, unit)
    brackets = sorted(roots_between(exact.polynomial, low / unit, high / unit))
    r = np.array([float(Fraction(first) * exact.unit) for first, _ in brackets])
    state = states(path.model, r, one)
    valid = [v.domain.holds(y) for v, y in zip(path.model.variables, state.T, strict=True)]
    found: Array = r[np.all(valid, axis=0)] if len(r) else r
    return found
