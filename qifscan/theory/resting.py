"""Every equilibrium of points of a model that is a graph over the rate, and whether their number is proven.

Folds and walls come from `certain`, with a proven count; walls along other parameters than the graph's from
the grid of rates. Between its folds eta(r) is monotone: a piece holds one equilibrium if eta lies between its
values at the ends, and none otherwise. Where rounding can't tell these apart, the roots of
eta(r) - eta are counted in whole numbers. Beside a wall, where another rate goes to 0, the rate of the first
population has no digits left for it: there the whole state is found by Newton's method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index, Values
from qifscan.dynamics.model import Model
from qifscan.roots.zeros import Nodes, blocks, part, ranks, solve
from qifscan.theory.certain import counted_rates, nodes_of, rounding_of_graph, span, zeros_along
from qifscan.theory.conditions import FOLD
from qifscan.theory.newton import arrived
from qifscan.theory.normal_forms import residual, states
from qifscan.theory.rate_curve import Path, coefficients, paths, series, walled_variables

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


@dataclass(frozen=True)
class Pieces:
    """The monotone pieces of eta(r) of every slice, ascending, `(slices, pieces)`, NaN where there are fewer.

    Rates at both ends, eta there, and eta again where the end is a fold, NaN where it isn't; whether the end
    is a wall; by slice, whether the number of folds is proven.
    """

    low: Array
    high: Array
    value_low: Array
    value_high: Array
    fold_low: Array
    fold_high: Array
    wall_low: Any
    wall_high: Any
    certified: Any


def pieces(path: Path, parameters: Mapping[str, Array], nodes: Nodes) -> Pieces:
    """Return the monotone pieces of eta(r), between folds and where equilibria cease to be valid."""
    certain = zeros_along(path, FOLD, parameters, nodes.range)
    who, at = certain.who, certain.r
    padded = np.pad(nodes.valid, ((0, 0), (1, 1)))
    starts, ends = np.argwhere(padded[:, 1:] & ~padded[:, :-1]), np.argwhere(~padded[:, 1:] & padded[:, :-1])
    last = np.fmax.reduce(nodes.rates, axis=1)
    sides = []
    for edges in (starts, ends):
        whose = np.concatenate((edges[:, 0], who))
        rates = np.concatenate((nodes.rates[edges[:, 0], edges[:, 1]], at))
        order = np.lexsort((rates, whose))
        whose, rates, folded = whose[order], rates[order], order >= len(edges)
        value = path.partial(rates, part(parameters, whose), 0, 0)[0]
        wall = ~folded & (rates != nodes.rates[whose, 0]) & (rates != last[whose])
        sides.append((whose, rates, value, np.where(folded, value, np.nan), 1.0 * wall))
    owner = sides[0][0]
    shape = (len(nodes.rates), max(1, int(np.bincount(owner, minlength=1).max())))
    rank = ranks(owner)
    columns = [_padded(values, owner, rank, shape) for _, *side in sides for values in side]
    low, value_low, fold_low, wall_low, high, value_high, fold_high, wall_high = columns
    walls = wall_low == 1.0, wall_high == 1.0
    return Pieces(low, high, value_low, value_high, fold_low, fold_high, *walls, certain.certified)


def _padded(values: Array, who: Index, rank: Index, shape: tuple[int, int]) -> Array:
    found = np.full(shape, np.nan)
    found[who, rank] = values
    return found


def roots(
    path: Path, parameters: Mapping[str, Array], of: Pieces, slices: Index, eta: Array
) -> tuple[Array, Index]:
    """Return the rates at which eta(r) = eta for points of slices, `(points, most)`, and the piece of each.

    They ascend; where there are fewer the rest is NaN, and the piece -1. Beside a wall, beyond eta at the end
    of its piece, the rate is that of the end, whether or not there is an equilibrium.
    """

    def distance(r: Array, given: Values, order: int) -> list[Any]:
        value, *rest = path.partial(r, given, 0, order)
        return [value - given[""], *rest]

    count = of.low.shape[1]
    found = np.full((len(slices), count), np.nan)
    for block in blocks(len(slices), count):
        whose, target = slices[block], eta[block]
        below, above = (values[whose] > target[:, None] for values in (of.value_low, of.value_high))
        point, k = np.nonzero((below != above) & np.isfinite(of.low[whose]))
        here = part(parameters, whose[point]) | {"": target[point]}
        ends = of.low[whose[point], k], of.high[whose[point], k]
        found[block.start + point, k] = solve(distance, here, *ends, above[point, k])
        # Beyond the value at a wall the rate is the wall's, up to rounding.
        rising = (of.value_high > of.value_low)[whose]
        for walls, rates, upwards in ((of.wall_low, of.low, rising), (of.wall_high, of.high, ~rising)):
            beyond = np.where(upwards, below & above, ~below & ~above)
            point, k = np.nonzero(walls[whose] & beyond)
            found[block.start + point, k] = rates[whose[point], k]
    order = np.argsort(np.isnan(found), axis=1, kind="stable")
    found = np.take_along_axis(found, order, axis=1)
    return found, np.where(np.isnan(found), -1, order)
