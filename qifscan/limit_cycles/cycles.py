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
from qifscan.periodic_orbits.delayed_multipliers import problem_of
from qifscan.phases import phased, tell
from qifscan.scan.labels import Values, complete, labelled

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


_BLOCK = 128
"""Points whose trajectories run together; an eighth of them with a delay, of which the past is remembered."""


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

    u' = f(u), u(T) = u(0), by Gauss collocation of order 8 on adapted meshes. Trajectories begin with r
    between 0.1 and 10 sqrt(delta)/(pi tau) and the rest of the state as if at rest there; where one repeats,
    the cycle is refined. Of a model without `rest` they begin where Newton's method of `equilibria` does. A
    cycle that attracts none of them is not found: no cycle is no proof that there is none, look at `outcome`.

    Parameters
    ----------
    model
        Name of the model.
    starts
        Trajectories at each set of parameters.
    transient
        ms before a trajectory is looked at, by default 200 tau and 10 of the longest other time constant.
    window
        ms in which it must repeat, by default as long as the transient.
    **parameters
        Parameters of the model, each a number, a sequence or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        Along the dimensions of the parameters, `count`; along `start`, the `outcome` of each trajectory;
        along `cycle`, the period ascending, NaN beyond `count`:

        - `period` (ms), `frequency` (1/ms), and `_min`, `_max`, `_mean` and `_start` (a state on the cycle)
          of every variable;
        - `multiplier_real`, `multiplier_imag` (along `multiplier`, by descending modulus), and `exponent`,
          the log of the modulus over the period (1/ms): a number also where the multiplier is too small for
          one. Exponents add up to the mean of the divergence;
        - `stable`, `unstable_multipliers`, and `multiplier_error`, |mu - 1| of the multiplier of the flow;
          with a delay the twelve largest are there, NaN where they can't be told from rounding;
        - `resolved`, `residual`, `mesh_error`, `intervals` (of the mesh), `converged`.

    Raises
    ------
    ScanError
        For a wrong definition.

    Notes
    -----
    Ascher, Mattheij, Russell, Numerical Solution of Boundary Value Problems for ODEs (1995). With a delay the
    order is 5: Engelborghs, Luzyanina, in 't Hout, Roose, SIAM J. Sci. Comput. 22, 1593 (2001).

    Examples
    --------
    >>> import qifscan as qs
    >>> adapting = {"delta": 2.0, "J": 21.2132, "alpha": 1.0}
    >>> found = qs.cycles("qif_adaptation_alpha", **adapting, eta=-2.0, starts=1)
    >>> found["period"].values.round(2)
    array([47.46])
    """
    chosen = model_of(model, delayed=True, restless=True)
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
    block = _BLOCK // 8 if model.delay else _BLOCK
    for first in range(0, count, block):
        tell("simulating, points", first, count)
        some = np.arange(first, min(count, first + block))
        ends, orbits = found_cycles(
            problem_of(model, {name: values[some] for name, values in flat.items()}),
            starts,
            transient,
            window,
        )
        outcomes.append(ends)
        for group, now in orbits:
            problem = problem_of(model, {name: values[some[group]] for name, values in flat.items()})
            whose.append(some[group])
            tables.append(steps.measured(problem, now))
    if not tables:
        return np.concatenate(outcomes), np.empty(0, dtype=np.intp), no_rows(model)
    table = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    who = np.concatenate(whose)
    order = np.lexsort((table["period"], who))
    return np.concatenate(outcomes), who[order], {name: values[order] for name, values in table.items()}
