"""Branches of cycles whose period diverges: the saddles there, and where the homoclinic orbit is.

A cycle near a homoclinic orbit of a saddle spends -ln|p - p_hom|/lambda + const beside it, lambda the size of
the saddle's leading eigenvalue, the one nearest to the imaginary axis. So p = p_hom + c exp(-lambda T) along
the branch. From the last cycle the orbit itself is solved for, see `projection`; the two differ by what the
fit is off.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, section 6.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.limit_cycles import steps
from qifscan.limit_cycles.homoclinic_columns import nothing, told
from qifscan.limit_cycles.steps import Extent
from qifscan.periodic_orbits.delayed_multipliers import problem_of
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.saddles import nowhere
from qifscan.periodic_orbits.saddles import saddles as saddles_beside
from qifscan.roots.zeros import halved
from qifscan.theory import equilibria

if TYPE_CHECKING:
    import xarray as xr

DIVERGING = 1e-2
"""Change of the parameter, in its unit, while the period doubles, up to which the period diverges."""

_ROUNDING = 1e-11
"""Change of the parameter, in its unit, that Newton's method leaves open."""

_GROWTH, _CLEAR = 4.0, 30.0
"""Factor between changes of the parameter from one cycle of a fit to the next, and the least of them, in
roundings."""

_ALIKE = 1e-4
"""Distance, in ranges of a cycle, up to which two equilibria are one."""

_SAME = 0.02
"""Share by which lambda of two fits may differ: beside a saddle-node on the cycle the parameter approaches
its limit with a power of the period, and lambda falls."""


def divergence(
    model: Model,
    along: str,
    flat: Mapping[str, Array],
    table: Mapping[str, Any],
    branches: Mapping[str, Any],
    limits: Extent,
) -> dict[str, Any]:
    """Return whether the period of each branch diverges at its end, the saddles that there are then, where
    the homoclinic orbit is, and what tells that."""
    count = len(branches["cut"])
    diverges = np.zeros(count, dtype=bool)
    saddles, distance = np.full(count, -1), np.full(count, np.nan)
    rates = np.full(count, np.nan)
    orbits = nothing(model, count)
    long = np.isin(branches["cut"], (steps.BY_PERIOD, steps.BY_STANDSTILL))
    for k in np.flatnonzero(long).tolist():
        rows = np.flatnonzero(table["number"] == k)
        period, value = table["period"][rows], table["value"][rows]
        half = np.flatnonzero(period < 0.5 * period[-1])[-1:]
        moved = np.abs(value[half] - value[-1])
        diverges[k] = bool((moved < DIVERGING * limits.unit).all()) and len(half) > 0
        if diverges[k]:
            here = {name: float(values[branches["slice"][k]]) for name, values in flat.items()}
            last = branches["ends"][k]
            rest = _saddles(model, here | {along: float(value[-1])}, last.u[0])
            saddles[k] = len(rest)
            distance[k] = _nearest(last.u[0], rest)
            fit = fitted(period, value, _ROUNDING * limits.unit) if len(rest) else (math.nan,) * 3
            rates[k] = fit[2]
            for name, values in _orbit(model, along, here, last, fit).items():
                orbits[name][k] = values[0]
    found = {"period_diverges": diverges, "saddle_count": saddles, "saddle_distance": distance}
    return found | {"homoclinic_rate": rates} | orbits


def _orbit(
    model: Model, along: str, here: Mapping[str, float], last: Orbits, fit: tuple[float, float, float]
) -> dict[str, Any]:
    """Return what is told of the homoclinic orbit by a branch's last cycle and the fit. With a delay the
    unstable subspace has the past in it: there is the fit alone."""
    problem = problem_of(model, {name: np.array([x]) for name, x in here.items()}, (along,))
    own = nowhere(last) if model.delay else saddles_beside(problem, last)
    return told(problem, last, own, np.array(fit[:1]), np.array(fit[1:2]))


def _saddles(model: Model, here: Mapping[str, float], cycle: Array) -> Array:
    """Return the states of the saddles and saddle-foci, `(saddles, n)`; of a model that is no graph over the
    rate those that are found, also from within the range of a cycle.
    """
    found = [_unstable(model, equilibria.on_graph(model, here, distances=False))]
    if model.rest is None:
        ends = zip(cycle.min(axis=0).tolist(), cycle.max(axis=0).tolist(), strict=True)
        within = dict(zip(model.variable_names, ends, strict=True))
        more = _unstable(model, equilibria.on_graph(model, here, distances=False, within=within))
        apart = np.abs(more[:, None] - found[0]) / np.ptp(cycle, axis=0)
        found.append(more[(apart.max(axis=2) > _ALIKE).all(axis=1)])
    return np.concatenate(found)


def _unstable(model: Model, found: xr.Dataset) -> Array:
    """Return the states of saddles and saddle-foci among equilibria."""
    rest = np.stack([found[name].values for name in model.variable_names], axis=-1)
    unstable = found["unstable_dimensions"].values
    # With a delay there are infinitely many directions, and never all of them are unstable.
    most = np.inf if model.delay else len(model.variables)
    saddles: Array = rest[(unstable > 0) & (unstable < most)]
    return saddles


def _nearest(u: Array, rest: Array) -> float:
    """Return how near an orbit comes to one of some states, relative to the range of each variable."""
    if not len(rest):
        return math.nan
    apart = (u[:, None] - rest[None]) / np.ptp(u, axis=0)
    return float(np.sqrt((apart**2).sum(axis=2)).min())


def fitted(period: Array, value: Array, rounding: float) -> tuple[float, float, float]:
    """Return p_hom, its error and lambda from p = p_hom + c exp(-lambda T) through the last cycles of a
    branch; NaN where their parameters do not approach a limit like that.

    The error is by how much p_hom changes if the last of the cycles is left out, and rounding.
    """
    last = _told_apart(period, value, rounding)
    if len(last) < 4:
        return math.nan, math.nan, math.nan
    (limit, rate), (before, other) = (_through(period[some], value[some]) for some in (last[1:], last[:-1]))
    if not abs(rate - other) < _SAME * rate:
        return math.nan, math.nan, math.nan
    return limit, abs(limit - before) + rounding, rate


def _told_apart(period: Array, value: Array, rounding: float) -> Index:
    """Return the last four cycles, their periods ascending, between which the parameter changes less and
    less, and by more than rounding; fewer if there are none such."""
    found, least = [len(value) - 1], _CLEAR * rounding
    while len(found) < 4:
        now = found[-1]
        far = np.abs(value[:now] - value[now]) >= least
        if not far.any():
            break
        found.append(int(np.flatnonzero(far)[-1]))
        least = _GROWTH * abs(value[found[-1]] - value[now])
    last = np.array(found[::-1], dtype=np.intp)
    ascending = bool((np.diff(period[last]) > 0.0).all())
    one_way = len(set(np.sign(np.diff(value[last])).tolist())) == 1
    return last if ascending and one_way else last[:0]


def _through(period: Array, value: Array) -> tuple[float, float]:
    """Return p_hom and lambda of the curve through three cycles, NaN if there is none.

    (p_1 - p_2)/(p_2 - p_3) = (exp(lambda a) - 1)/(1 - exp(-lambda b)) rises with lambda, from a/b on, where a
    and b are the differences of the periods.
    """
    (a, b), (first, second) = np.diff(period), np.diff(value)
    ratio = first / second

    def below(x: Array) -> Any:
        rate = np.exp(x)
        return np.expm1(rate * a) < -ratio * np.expm1(-rate * b)

    low, high = np.log([1e-9 / b]), np.log([600.0 / max(a, b)])
    if not (below(low) & ~below(high)).all():
        return math.nan, math.nan
    rate = float(np.exp(halved(below, low, high, 60)[0][0]))
    return float(value[-1] + second / math.expm1(rate * b)), rate
