"""Every zero of the conditions along the equilibria of slices, with a count that is a proof.

The zeros of a condition (see `conditions`) are isolated with proof (`isolation`), and placed to the last
digits (`digits`). Walls are no special case: where a parameter or a state ceases to be valid is read off at
each root.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.theory.conditions import OnSlices, vanishing
from qifscan.theory.digits import placed
from qifscan.theory.isolation import Roots, isolated, narrowed, narrowed_near, table
from qifscan.theory.rate_curve import PER_DECADE, SPAN, Path, rate_unit
from qifscan.theory.zeros import Nodes, part, walled

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Index
    from qifscan.dynamics.model import Model

Range = tuple[float, float]


@dataclass(frozen=True)
class CountedZeros:
    """Zeros of a condition: slice, rate, the parameter that the path solves for and that of the graph (NaN
    where there is none, or it is given); by slice, whether the count is proven.
    """

    who: Index
    r: Array
    value: Array
    graph: Array
    certified: Any


def span(model: Model, slices: Mapping[str, Array], rates: Range | None) -> tuple[Array, float]:
    """Return the lowest rate of every slice, and by what factor the highest is higher."""
    count = len(next(iter(slices.values())))
    if rates is not None:
        return np.full(count, float(rates[0])), float(rates[1]) / float(rates[0])
    return SPAN[0] * rate_unit(model, slices), SPAN[1] / SPAN[0]


def zeros_along(path: Path, kind: str, slices: Mapping[str, Array], rates: Range | None) -> CountedZeros:
    """Return the zeros of a condition on a path, whichever root of its equation p is."""
    of, roots, x = _isolated(path, kind, slices, rates)
    every = np.ones(len(of.unit), dtype=bool)
    if not len(x):
        nothing = np.empty(0)
        return CountedZeros(np.empty(0, dtype=np.intp), nothing, nothing, nothing, every)
    places = placed(of, roots, x)
    every[roots.who[places.there & ~places.known]] = False
    # At a wall the state is not valid, and is not to be.
    there = places.there & places.known
    if kind in ("fold", "hopf"):
        there &= _valid(path, places.r, places.p, part(slices, roots.who))
    return CountedZeros(roots.who[there], places.r[there], places.p[there], places.graph[there], every)


def _valid(path: Path, r: Array, value: Array, here: Mapping[str, Array]) -> Any:
    """Tell the roots at which the parameter and every state variable are in their domains."""
    model = path.model
    given = {**here, model.graph: 0.0 * r}
    valid = np.isfinite(r)
    if path.degree or path.folded:
        row = next(p for p in model.parameters if p.name == path.along)
        valid &= np.isfinite(value) & np.asarray(row.domain.holds(value))
        given[path.along] = value
    state = model.at_rest(r, given)
    for variable_, x in zip(model.variables, state, strict=True):
        valid &= np.isfinite(x) & np.asarray(variable_.domain.holds(x))
    return valid


def walls_along(
    path: Path, kind: str, slices: Mapping[str, Array], rates: Range | None
) -> tuple[Index, Array, Any]:
    """Return the slice and the rate of every zero of a wall, and of which slices their count is proven."""
    if not path.degree:
        found = zeros_along(path, kind, slices, rates)
        return found.who, found.r, found.certified
    of, roots, x = _isolated(path, kind, slices, rates)
    return roots.who, x * of.unit[roots.who], np.ones(len(of.unit), dtype=bool)


def _isolated(
    path: Path, kind: str, slices: Mapping[str, Array], rates: Range | None
) -> tuple[OnSlices, Roots, Array]:
    """Return the roots of a condition, and where they are as the expanded polynomial has it, in units."""
    low, factor = span(path.model, slices, rates)
    count = len(low)
    # In units of the middle of its range, powers of the rate neither over- nor underflow.
    unit = low * math.sqrt(factor)
    of = OnSlices(path, kind, slices, unit)
    top = of.condition.numerator
    if len(top.c) <= 1:
        nothing = np.empty(0)
        return of, Roots(np.empty(0, dtype=np.intp), nothing, nothing, nothing.astype(bool), {}), nothing
    powers = unit[:, None] ** np.arange(len(top.c))
    kept = ~np.array(vanishing(path, kind))
    c, errors = (table(terms, count) * powers * kept for terms in (top.c, top.errors))
    roots = isolated(c, errors, low / unit, factor, of.near, of.exactly)
    x = np.where(roots.exact, roots.low, np.nan)
    rough = ~roots.exact
    ends = roots.who[rough], roots.low[rough], roots.high[rough]
    x[rough] = narrowed_near(of.near, *ends) if path.degree else narrowed(c[ends[0]], *ends[1:])
    return of, roots, x


_BESIDE = 1e-9
"""How far from a wall its function is looked at, as a share of the rate."""


def nodes_of(path: Path, parameters: Mapping[str, Array], rates: tuple[float, float] | None) -> Nodes:
    """Return the grid of every slice, cut where states cease to be valid.

    `rates` (1/ms) is the range that is looked at, by default `SPAN` in the units of each slice.
    """
    slices = len(next(iter(parameters.values())))
    low, high = SPAN if rates is None else rates
    count = 1 + max(2, math.ceil(PER_DECADE * math.log10(high / low)))
    grid = np.geomspace(low, high, count)
    unit = np.ones(slices) if rates is not None else rate_unit(path.model, parameters)
    nodes = Nodes(unit[:, None] * grid, np.ones((slices, count - 1), dtype=bool), rates)
    certified = np.ones(slices, dtype=bool)
    none = np.empty(0, dtype=np.intp), np.empty(0)
    for kind, wall, _ in path.walls():
        who, at, proven = walls_along(path, kind, parameters, rates)
        if path.tied == 2:
            who, at = _of_this_root(wall, parameters, who, at)
        nodes = walled(nodes, wall, parameters, positive=False, at=(who, at))
        certified &= proven
    # A function changes its sign at its poles as well, which are among the other walls.
    for _, wall, positive in path.walls():
        if positive:
            nodes = walled(nodes, wall, parameters, positive=True, at=none)
    return replace(nodes, certified=certified)


def _of_this_root(
    wall: Function, parameters: Mapping[str, Array], who: Index, at: Array
) -> tuple[Index, Array]:
    """Return the walls that the path comes upon, without those of the other root of its equation."""
    here = part(parameters, who)
    before, after = (wall(at * factor, here, 0)[0] for factor in (1.0 - _BESIDE, 1.0 + _BESIDE))
    crossed = ~((before > 0.0) & (after > 0.0)) & ~((before < 0.0) & (after < 0.0))
    return who[crossed], at[crossed]
