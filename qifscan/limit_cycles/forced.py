"""Responses to a sine: fixed points and cycles of the stroboscopic map, with their multipliers.

The stroboscopic map takes the state to the one a period of the drive later. A fixed point of its k-th iterate
is an orbit of k periods of the drive: a boundary value problem whose period is known, without a condition on
the phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.drive import Sine
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, check_count, check_time, show
from qifscan.lazy import LazyModule
from qifscan.limit_cycles import delayed_settling, settling
from qifscan.limit_cycles.cycle_columns import columns_of, grid, multiplier_count
from qifscan.limit_cycles.found import (
    Group,
    Method,
    different,
    durations,
    of_lap,
    refined,
    shortened,
    sizes,
    starting,
)
from qifscan.limit_cycles.steps import FINE, at_value, stability
from qifscan.periodic_orbits.collocation import INTERVALS, linear_of
from qifscan.periodic_orbits.delayed_multipliers import DelayedProblem, problem_of
from qifscan.periodic_orbits.orbits import (
    Orbits,
    adapted,
    extremes,
    from_function,
    joined,
    means,
    mesh_error,
    remeshed,
)
from qifscan.periodic_orbits.problem import Problem
from qifscan.phases import phased
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import equilibria
from qifscan.theory.codes import POINT

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

OUTCOMES = ("response", "not_periodic", "diverged", "not_converged", "no_equilibrium")
RESPONSE, NOT_PERIODIC, DIVERGED, NOT_CONVERGED, NO_EQUILIBRIUM = range(len(OUTCOMES))

_CLOSE = (1e-5, 1e-3)
"""Relative distances at which two stroboscopic states are the same, tried in this order."""

_FINEST = 1024
_RAMP = 8
"""Steps in which the amplitude grows from 0, where a response is followed from an equilibrium."""

_BLOCK = 128


@phased("forced_cycles")
def forced_cycles(
    model: str = "qif",
    drive: Sine | None = None,
    *,
    starts: int = 4,
    most_periods: int = 8,
    transient: float | None = None,
    **parameters: Values,
) -> xr.Dataset:
    """Return the periodic responses to I(t) = amplitude sin(2 pi t/period + phase), stable and unstable ones.

    u(0) = u(k period) for the k periods of the drive in one of the response. There are two kinds of starts:
    trajectories with r between 0.1 and 10 sqrt(delta)/(pi tau) and the rest of the state as if at rest there,
    which are looked at for k up to `most_periods`; and every equilibrium without the drive, from which the
    response of one period is followed as the amplitude grows. Of a model without `rest` the equilibria are
    those that Newton's method of `equilibria` finds, and trajectories begin where that does. What neither
    kind leads to is not found.

    Parameters
    ----------
    model
        Name of the model.
    drive
        A `Sine`. Its numbers `drive_amplitude`, `drive_period` (ms) and `drive_phase` (rad) can be given
        among the parameters.
    starts
        Trajectories at each set of parameters.
    most_periods
        The most periods of the drive in one of a response.
    transient
        ms before a trajectory is looked at, by default 200 tau and 10 of the longest other time constant,
        rounded up to whole periods.
    **parameters
        Parameters of the model and of the drive, each a number, a sequence or a DataArray; they broadcast by
        dimension.

    Returns
    -------
    xarray.Dataset
        Along the dimensions of the parameters, `count`; along `start`, the `outcome` of each, trajectories
        first; along `cycle`, NaN beyond `count`:

        - `drive_periods` (k), `period` (ms), `frequency` (1/ms), and `_min`, `_max`, `_mean` and `_start` (at
          t = 0) of every variable;
        - `multiplier_real`, `multiplier_imag` (along `multiplier`, by descending modulus; none of them is
          that of a flow), and `exponent`, the log of the modulus over the period (1/ms). The product of the
          multipliers is exp of the integral of the trace of the Jacobian (Liouville);
        - `stable`, `unstable_multipliers`, `residual`, `mesh_error`, `intervals` (of the mesh), `converged`.

    Raises
    ------
    ScanError
        For a wrong definition.

    Notes
    -----
    Guckenheimer, Holmes, Nonlinear Oscillations, Dynamical Systems, and Bifurcations of Vector Fields (1983),
    section 1.5.

    Examples
    --------
    >>> import qifscan as qs
    >>> sine = qs.Sine(amplitude=0.5, period=7.0)
    >>> found = qs.forced_cycles(eta=1.0, J=15.0, drive=sine, starts=1)
    >>> found["stable"].values
    array([ True])
    """
    chosen = model_of(model, delayed=True, restless=True)
    if not isinstance(drive, Sine):
        hint = "e.g. drive=qs.Sine(amplitude=1.0, period=50.0)"
        raise ScanError([Fault("drive", show(drive), "a Sine", hint)])
    for name, count in (("starts", starts), ("most_periods", most_periods)):
        check_count(name, count)
    check_time("transient", transient)
    asked = _Asked(starts, most_periods, transient)
    whole = replace(chosen, parameters=(*chosen.parameters, *drive.parameters()))
    given = complete(parameters, whole.parameters)
    arrays = labelled(given)
    shape = next(iter(arrays.values())).shape
    flat = {name: array.values.ravel() for name, array in arrays.items()}
    with np.errstate(all="ignore"):
        found = [
            _responses(chosen, {name: values[first : first + _BLOCK] for name, values in flat.items()}, asked)
            for first in range(0, len(flat["drive_period"]), _BLOCK)
        ]
    wide = max(ends.shape[1] for ends, _, _ in found)
    pad = [((0, 0), (0, wide - ends.shape[1])) for ends, _, _ in found]
    outcome = np.concatenate(
        [np.pad(f[0], p, constant_values=NO_EQUILIBRIUM) for f, p in zip(found, pad, strict=True)]
    )
    who = np.concatenate([k * _BLOCK + points for k, (_, points, _) in enumerate(found)])
    tables = [table for _, _, table in found]
    table = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    columns = columns_of(chosen, table) | {"drive_periods": table["turns"].astype(np.intp)}
    return grid(whole, given, shape, outcome, who, columns, OUTCOMES)


@dataclass(frozen=True)
class _Asked:
    """How many trajectories per point, how many periods of the drive at most, how long they settle (ms)."""

    starts: int
    most: int
    transient: float | None


def _is_coarse(problem: Problem, orbits: Orbits) -> Any:
    return mesh_error(orbits, problem.scales(orbits.u)) > FINE


FORCED = Method(_is_coarse, _FINEST)


def _problem(model: Model, flat: Mapping[str, Array], turns: Array) -> Problem:
    """Return the problem of orbits with so many periods of the drive each."""
    own = {p.name: flat[p.name] for p in model.parameters}
    drive = flat["drive_amplitude"], flat["drive_phase"], turns
    return replace(problem_of(model, own), drive=drive, fixed=True)


def _responses(model: Model, flat: Mapping[str, Array], asked: _Asked) -> tuple[Index, Index, dict[str, Any]]:
    """Return the outcome of every start, the point of every response, and the responses' numbers."""
    count = len(flat["drive_period"])
    points = np.repeat(np.arange(count), asked.starts)
    several = {name: values[points] for name, values in flat.items()}
    outcome, turns, groups = _settled(model, several, asked)
    unstable = _from_equilibria(model, flat)
    rest = np.full((count, unstable.most), NOT_CONVERGED)
    rest[unstable.point[unstable.found], unstable.rank[unstable.found]] = RESPONSE
    rest[~unstable.there] = NO_EQUILIBRIUM
    every = {name: np.concatenate((several[name], flat[name][unstable.point])) for name in flat}
    all_points = np.concatenate((points, unstable.point))
    turns = np.concatenate((turns, np.ones(len(unstable.point))))
    groups = groups + [(len(points) + which, orbits) for which, orbits in unstable.groups]
    problem = _problem(model, every, turns)
    groups = different(problem, all_points, groups, None)
    table = _measured(problem, turns, groups)
    who = np.concatenate([all_points[which] for which, _ in groups] or [np.empty(0, dtype=np.intp)])
    order = np.lexsort((table["mean"][:, 0], table["turns"], who))
    ends = np.concatenate((outcome.reshape(count, -1), rest), axis=1)
    return ends, who[order], {name: values[order] for name, values in table.items()}


def _settled(model: Model, flat: Mapping[str, Array], asked: _Asked) -> tuple[Index, Array, list[Group]]:
    """Return the outcome of trajectories, the periods of the drive in their responses, and these."""
    period = flat["drive_period"]
    moving = _problem(model, flat, 1.0 / period)
    scale = sizes(moving)
    laps = np.maximum(1.0, np.ceil(durations(moving, asked.transient) / period))
    if isinstance(moving, DelayedProblem):
        states, runs = _with_past(moving, laps, asked)
    else:
        states, runs = _strobed(moving, laps, asked)
    turns = _periods_of(states, scale, asked.most)
    lost: Any = np.isnan(states[-1]).any(axis=1)
    outcome = np.where(lost, DIVERGED, np.where(turns == 0, NOT_PERIODIC, RESPONSE))
    ways = np.flatnonzero(outcome == RESPONSE)
    turns = np.maximum(turns, 1.0)
    last = np.where(lost[:, None], 1.0, states[-1])
    kept, begin = runs(last, np.where(outcome == RESPONSE, turns * period, 0.0))

    def guess(which: Index, intervals: int) -> Orbits:
        sizes_, end = np.maximum(scale, np.abs(last)), turns * period
        laps = [(k, float(begin[k]), float(end[k]), sizes_[k]) for k in which.tolist()]
        return joined([of_lap(kept, *lap, intervals) for lap in laps])

    groups, _ = refined(_problem(model, flat, turns), ways, guess, FORCED)
    groups, times = shortened(_problem(model, flat, turns), groups, FORCED)
    found = np.concatenate([which for which, _ in groups] or [ways[:0]])
    outcome[np.setdiff1d(ways, found)] = NOT_CONVERGED
    return outcome, turns / times, groups


_Runs = Callable[[Array, Array], tuple[settling.Trajectories, Array]]
"""Runs from states for times: the trajectories, and when each begins."""


def _strobed(moving: Problem, laps: Array, asked: _Asked) -> tuple[Array, _Runs]:
    """Return the states of trajectories after each of the last periods of the drive, NaN where one diverges,
    and what goes on from the last of them."""
    scale, zero = sizes(moving), np.zeros(len(laps))
    assert moving.drive is not None
    period = 1.0 / moving.drive[2]
    y, _ = settling.simulated(
        moving, starting(moving, asked.starts), zero, laps * period, scale, record=False
    )
    strobe = [y]
    for _ in range(2 * asked.most):
        gone: Any = np.isnan(strobe[-1]).any(axis=1)
        y = np.where(gone[:, None], 1.0, strobe[-1])
        y, _ = settling.simulated(moving, y, zero, np.where(gone, 0.0, period), scale, record=False)
        strobe.append(np.where(gone[:, None], np.nan, y))

    def runs(states: Array, lengths: Array) -> tuple[settling.Trajectories, Array]:
        _, kept = settling.simulated(moving, states, zero, lengths, scale, record=True)
        assert kept is not None
        return kept, zero

    return np.stack(strobe), runs


def _with_past(moving: DelayedProblem, laps: Array, asked: _Asked) -> tuple[Array, _Runs]:
    """Return the same with a delay: a last lap is read off the trajectory that has led to the last state."""
    assert moving.drive is not None
    period, count = 1.0 / moving.drive[2], 2 * asked.most
    lengths = laps * period, count * period
    _, kept = delayed_settling.settled(moving, starting(moving, asked.starts), lengths, sizes(moving))
    end = kept.t[-1]
    back = np.arange(count, -1, -1.0)[:, None] * period
    states = np.stack([kept.at(k, (end - back)[:, k]) for k in range(len(laps))], axis=1)
    states[-1] = kept.y[-1]
    return states, lambda _, lengths: (kept, end - lengths)


def _periods_of(states: Array, scale: Array, most: int) -> Array:
    """Return after how many periods of the drive trajectories are where they were, 0 if after none."""
    turns = np.zeros(states.shape[1])
    size = np.maximum(scale, np.abs(states).max(axis=0))
    for close in _CLOSE:
        for k in range(1, most + 1):
            apart = np.abs(states[[-1, -1 - k]] - states[[-1 - k, -1 - 2 * k]]) / size
            turns[(turns == 0) & (apart.max(axis=(0, 2)) < close)] = k
    return turns


@dataclass(frozen=True)
class _Followed:
    """Equilibria: point and rank of each, which led to a response, the responses; where there are any."""

    point: Index
    rank: Index
    found: Any
    groups: list[Group]
    there: Any
    most: int


def _from_equilibria(model: Model, flat: Mapping[str, Array]) -> _Followed:
    """Return the responses that equilibria become as the amplitude of the drive grows from 0."""
    given = {p.name: xr.DataArray(flat[p.name], dims="place") for p in model.parameters}
    rest = equilibria.on_graph(model, given, distances=False)
    states = np.stack([rest[name].values for name in model.variable_names], axis=-1)
    there = np.isfinite(states[..., 0])
    point, rank = np.nonzero(there)
    here = {name: values[point] for name, values in flat.items()}
    one = np.ones(len(point))
    state, period = states[point, rank], here["drive_period"]
    mesh = np.tile(np.linspace(0.0, 1.0, INTERVALS + 1), (len(point), 1))
    orbits = from_function(mesh, lambda s: state[:, None] + 0.0 * s[..., None], period[:, None])
    good = np.ones(len(point), dtype=bool)
    for k in range(1, _RAMP + 1):
        part = {**here, "drive_amplitude": here["drive_amplitude"] * (k / _RAMP)}
        problem = _problem(model, part, one)
        new = at_value(problem, orbits)
        good &= new.good
        orbits.put(good, new.orbits.chosen(good))
        orbits = remeshed(orbits, adapted(orbits, problem.scales(orbits.u), INTERVALS))

    def guess(which: Index, intervals: int) -> Orbits:
        some = orbits.chosen(which)
        mesh = adapted(some, np.abs(some.u).max(axis=1), intervals)
        return remeshed(some, mesh)

    groups, failed = refined(_problem(model, here, one), np.flatnonzero(good), guess, FORCED)
    good[failed] = False
    return _Followed(point, rank, good, groups, there, there.shape[1])


def _measured(problem: Problem, turns: Array, groups: list[Group]) -> dict[str, Any]:
    """Return the numbers of responses, one row each."""
    rows = [_no_responses(problem.model)]
    for which, orbits in groups:
        whose = problem.chosen(which)
        linear = linear_of(whose, orbits)
        floquet = stability(whose, orbits, linear)
        unknown = np.isnan(floquet.mu).all(axis=1)
        low, high = extremes(orbits)
        rows.append(
            {
                "turns": turns[which],
                "period": orbits.period,
                "low": low,
                "high": high,
                "mean": means(orbits),
                "first": orbits.u[:, 0],
                "multipliers": floquet.mu,
                "exponents": floquet.log / orbits.period[:, None],
                "residual": linear.residual,
                "mesh_error": mesh_error(orbits, whose.scales(orbits.u)),
                "intervals": np.full(len(which), orbits.stages.shape[1]),
                "unstable": np.where(unknown, -1, (np.abs(floquet.mu) > 1.0).sum(axis=1)),
                "type": np.full(len(which), POINT),
            }
        )
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _no_responses(model: Model) -> dict[str, Any]:
    size, several = len(model.variables), multiplier_count(model)
    found: dict[str, Any] = {name: np.empty(0) for name in ("turns", "period", "residual", "mesh_error")}
    found |= {name: np.empty((0, size)) for name in ("low", "high", "mean", "first")}
    found |= {name: np.empty(0, dtype=np.intp) for name in ("intervals", "unstable", "type")}
    return found | {"multipliers": np.empty((0, several), dtype=complex), "exponents": np.empty((0, several))}
