"""Stable limit cycles at sets of parameters, from many starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_of
from qifscan.errors import check_count, check_time
from qifscan.lazy import LazyModule
from qifscan.limit_cycles import steps
from qifscan.limit_cycles.cycle_columns import columns_of, grid
from qifscan.limit_cycles.found import found_cycles, no_rows
from qifscan.limit_cycles.problem import Problem
from qifscan.phases import phased, tell
from qifscan.scan.labels import Values, complete, labelled

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


_BLOCK = 128


# Cycles by simulation


@phased("cycles")
def cycles(
    model: str = "qif_adaptation_alpha",
    *,
    starts: int = 4,
    transient: float | None = None,
    window: float | None = None,
    **parameters: Values,
) -> xr.Dataset:
    """Return the stable limit cycles that simulation finds at each set of parameters, refined by collocation.

    u' = f(u), u(T) = u(0), by Gauss collocation of order 8 at mesh points. Each of `starts` trajectories per
    point begins with r between 0.1 and 10 sqrt(delta)/(pi tau) and the rest of the state as if at rest there,
    runs for `transient` ms (by default 200 tau and 10 of the longest other time constant) and for a `window`
    (by default as long), and where it repeats the cycle is refined. A cycle that attracts none of them is not
    found.

    Parameters: those of the model; they broadcast by dimension. Along `start`: `outcome` of each trajectory.
    Along `cycle`, the period ascending, NaN beyond `count`: `period` (ms), `frequency`, `_min`, `_max`,
    `_mean` and `_start` (a state on the cycle) of every variable; `multiplier_real`, `multiplier_imag` (along
    `multiplier`, by descending modulus), `exponent` (log of the modulus over the period, 1/ms: a number also
    where the multiplier is too small for one; they add up to the mean of the divergence), `multiplier_error`
    (|mu - 1| of the flow's own), `stable`, `unstable_multipliers`, `resolved`, `residual`, `mesh_error`,
    `converged`. No cycle found is not proof that there is none: look at `outcome`.
    Raises `ScanError` for a wrong definition.
    Source: Ascher, Mattheij, Russell, Numerical Solution of Boundary Value Problems for ODEs (1995).

    Examples
    --------
    >>> import qifscan as qs
    >>> adapting = {"model": "qif_adaptation_alpha", "delta": 2.0, "J": 21.2132, "alpha": 1.0}
    >>> found = qs.cycles(**adapting, eta=-2.0, starts=1)
    >>> found["period"].values.round(2)
    array([47.46])
    """
    chosen = model_of(model)
    check_count("starts", starts)
    check_time("transient", transient)
    check_time("window", window)
    given = complete(parameters, chosen.parameters)
    whole = labelled(given)
    shape = next(iter(whole.values())).shape
    flat = {name: array.values.ravel() for name, array in whole.items()}
    with np.errstate(all="ignore"):
        outcome, who, table = simulated_cycles(chosen, flat, starts, transient, window)
    return grid(chosen, given, shape, outcome, who, columns_of(chosen, table))


def simulated_cycles(
    model: Model, flat: Mapping[str, Array], starts: int, transient: float | None, window: float | None
) -> tuple[Index, Index, dict[str, Any]]:
    """Return the outcome of every start, `(points, starts)`, and of each cycle its point and its numbers."""
    count = len(next(iter(flat.values())))
    outcomes, whose, tables = [], [], []
    for first in range(0, count, _BLOCK):
        tell("simulating, points", first, count)
        some = np.arange(first, min(count, first + _BLOCK))
        ends, orbits = found_cycles(
            Problem(model, {name: values[some] for name, values in flat.items()}), starts, transient, window
        )
        outcomes.append(ends)
        for group, now in orbits:
            problem = Problem(model, {name: values[some[group]] for name, values in flat.items()})
            whose.append(some[group])
            tables.append(steps.measured(problem, now))
    if not tables:
        return np.concatenate(outcomes), np.empty(0, dtype=np.intp), no_rows(model)
    table = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    who = np.concatenate(whose)
    order = np.lexsort((table["period"], who))
    return np.concatenate(outcomes), who[order], {name: values[order] for name, values in table.items()}
