"""The grid of rates of slices, and the monotone pieces of their graphs with the roots on them.

Folds and walls come from `certain`, with a proven count; walls along other parameters than the graph's from
the grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.theory.certain import zeros_along
from qifscan.theory.zeros import Nodes, blocks, part, ranks, solve

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Values
    from qifscan.theory.rate_curve import Path


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
    certain = zeros_along(path, "fold", parameters, nodes.range)
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
