"""Cycles that simulation finds, refined by collocation: of a model, or of its response to a sine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles import delayed_settling, settling, steps
from qifscan.limit_cycles.continuation import FINEST
from qifscan.limit_cycles.cycle_columns import OUTCOMES, multiplier_count
from qifscan.limit_cycles.steps import ACCURATE, FINE, own_error, stability
from qifscan.periodic_orbits.collocation import INTERVALS, linear_of
from qifscan.periodic_orbits.delayed_multipliers import DelayedProblem
from qifscan.periodic_orbits.orbits import (
    Orbits,
    adapted,
    evaluated,
    from_function,
    joined,
    means,
    mesh_error,
    remeshed,
)
from qifscan.periodic_orbits.problem import Problem
from qifscan.phases import tell
from qifscan.theory import newton
from qifscan.theory.normal_forms import states
from qifscan.theory.rate_curve import rate_unit

if TYPE_CHECKING:
    from qifscan.dynamics.model import Model

SAME = 1e-5


Group = tuple[Index, Orbits]
"""Numbers of candidates, and their cycles on meshes of one size."""


def found_cycles(
    problem: Problem, starts: int, transient: float | None, window: float | None
) -> tuple[Index, list[Group]]:
    """Return the outcome of every start, and the cycles with their points, by the size of their meshes."""
    count = len(next(iter(problem.parameters.values())))
    points = np.repeat(np.arange(count), starts)
    several = problem.chosen(points)
    begin = starting(several, starts)
    lengths = durations(several, transient), durations(several, window if window else transient)
    settled, kept = _settled(several, begin, lengths)
    scale = np.maximum(np.abs(settled), sizes(several))
    lost: Any = np.isnan(settled).any(axis=1)
    ends = [settling.repeats(kept, k, scale[k]) for k in range(len(points))]
    outcome = np.array([end[0] for end in ends])
    outcome[lost] = settling.DIVERGED
    ways = np.flatnonzero(outcome == settling.PERIODIC)
    laps = {k: ends[k][1:] for k in ways.tolist()}

    def guess(which: Index, intervals: int) -> Orbits:
        return joined([of_lap(kept, k, *laps[k], scale[k], intervals) for k in which.tolist()])

    groups, _ = refined(several, ways, guess, AUTONOMOUS)
    groups, _ = shortened(several, groups, AUTONOMOUS)
    found = np.concatenate([which for which, _ in groups] or [ways[:0]])
    outcome[np.setdiff1d(ways, found)] = len(OUTCOMES) - 1
    kept_groups = different(several, points, groups, outcome)
    outcome = outcome.reshape(count, starts)
    return outcome, [(points[which], orbits) for which, orbits in kept_groups]


def _settled(
    several: Problem, begin: Array, lengths: tuple[Array, Array]
) -> tuple[Array, settling.Trajectories]:
    """Return the states of trajectories after a first time, NaN where one diverges, and their steps in a
    second one after it."""
    scale, zero = sizes(several), np.zeros(len(begin))
    if isinstance(several, DelayedProblem):
        return delayed_settling.settled(several, begin, lengths, scale)
    settled, _ = settling.simulated(several, begin, zero, lengths[0], scale, record=False)
    lost: Any = np.isnan(settled).any(axis=1)
    second = np.where(lost, 0.0, lengths[1])
    scale = np.maximum(np.abs(settled), scale)
    _, kept = settling.simulated(
        several, np.where(lost[:, None], begin, settled), zero, second, scale, record=True
    )
    assert kept is not None
    return settled, kept


def starting(problem: Problem, starts: int) -> Array:
    """Return the states that trajectories begin with `(points, n)`: as if at rest, at low to high rates.

    Of a model that is no graph over the rate: where Newton's method starts.
    """
    model, unit = problem.model, rate_unit(problem.model, problem.parameters)
    count = len(unit) // starts
    if model.rest is None:
        once = problem.chosen(slice(0, None, starts)).parameters
        return newton.begins(model, once, starts).reshape(len(unit), -1)
    factor = np.geomspace(0.1, 10.0, starts) if starts > 1 else np.array([1.0])
    state = states(model, unit * np.tile(factor, count), problem.parameters)
    for i, variable in enumerate(model.variables):
        if not variable.domain.holds(-1.0):
            state[:, i] = np.maximum(np.abs(state[:, i]), 1e-3 * unit)
    found: Array = np.clip(np.nan_to_num(state), -1e3, 1e3)
    return found


def sizes(problem: Problem) -> Array:
    """Return the natural size of each variable: of a rate its unit, else 1."""
    unit = rate_unit(problem.model, problem.parameters)
    units = [variable.unit for variable in problem.model.variables]
    return np.stack([unit if name == "1/ms" else np.ones_like(unit) for name in units], axis=1)


def durations(problem: Problem, asked: float | None) -> Array:
    """Return how long a trajectory runs until it has settled, in ms."""
    rows = [p.name for p in problem.model.parameters if p.unit == "ms"]
    membranes = {"tau"} | {f"tau{rate.population}" for rate in problem.model.rates}
    own = [problem.parameters[name] for name in rows if name in membranes]
    other = [problem.parameters[name] for name in rows if name not in membranes]
    found: Array = 10.0 * np.max(other, axis=0) if other else 0.0 * next(iter(problem.parameters.values()))
    if own:
        found = 200.0 * np.max(own, axis=0) + found
    return found if asked is None else np.full_like(found, asked)


@dataclass(frozen=True)
class Method:
    """Which orbits need a finer mesh, and the finest one."""

    is_coarse: Callable[[Problem, Orbits], Any]
    finest: int


def _is_coarse(problem: Problem, orbits: Orbits) -> Any:
    error = own_error(problem, orbits)
    sure = stability(problem, orbits, linear_of(problem, orbits), quickly=True).error
    return (error > FINE) | (sure > ACCURATE)


AUTONOMOUS = Method(_is_coarse, FINEST)


def refined(
    problem: Problem, left: Index, guess: Callable[[Index, int], Orbits], method: Method
) -> tuple[list[Group], Index]:
    """Return the cycles near guesses, by the size of their meshes, and which were not found."""
    found = []
    intervals = INTERVALS
    while len(left):
        tell(f"refining cycles on {intervals} intervals, left", len(left))
        begin, whose = guess(left, intervals), problem.chosen(left)
        now = steps.at_value(whose, begin)
        for _ in range(2):
            orbits, good = now.orbits, now.good
            orbits.put(~good, begin.chosen(~good))
            mesh = adapted(orbits, whose.scales(orbits.u), intervals)
            now = steps.at_value(whose, remeshed(orbits, mesh))
        orbits, good = now.orbits, now.good
        done = good & ((intervals >= method.finest) | ~method.is_coarse(whose, orbits))
        found.append((left[done], orbits.chosen(done)))
        left, intervals = left[~done], 2 * intervals
        if intervals > method.finest:
            break
    return [group for group in found if len(group[0])], left


def shortened(problem: Problem, groups: list[Group], method: Method) -> tuple[list[Group], Array]:
    """Return cycles with their least periods, and by what the period of each candidate was divided.

    Trajectories that have not quite settled can be found to repeat after several periods first.
    """
    found = []
    times = np.ones(len(next(iter(problem.parameters.values()))))
    for which, orbits in groups:
        turns = np.ones(len(which)) if problem.drive is None else problem.drive[2][which]
        laps = _laps(orbits, problem.chosen(which).scales(orbits.u), turns, problem.drive is not None)
        times[which] = laps
        found.append((which[laps == 1], orbits.chosen(laps == 1)))
        again = {k: orbits.chosen(np.array([i])) for i, k in enumerate(which.tolist()) if laps[i] > 1}
        if again:
            found += _of_one_lap(problem, again, times, method)
    return [group for group in found if len(group[0])], times


def _laps(orbits: Orbits, scales: Array, turns: Array, forced: bool) -> Index:
    """Return how often each orbit repeats itself; a response takes whole periods of the drive each time."""
    laps = np.ones(len(turns), dtype=np.intp)
    for k in range(2, settling.MOST_RETURNS + 1):
        some = np.flatnonzero(turns % k == 0) if forced else np.arange(len(turns))
        here = orbits.chosen(some)
        # A mesh over many laps resolves each only coarsely.
        close = SAME + np.minimum(10.0 * mesh_error(here, scales[some]), 1e-3)
        apart = np.abs(evaluated(here, (here.s + 1.0 / k) % 1.0) - here.u)
        same = (apart / scales[some][:, None]).max(axis=(1, 2)) < close
        # A constant orbit repeats with any period.
        moving = (np.ptp(here.u, axis=1) / scales[some]).max(axis=1) > settling.FLAT
        laps[some[same & (moving | forced)]] = k
    return laps


def _of_one_lap(problem: Problem, orbits: Mapping[int, Orbits], times: Array, method: Method) -> list[Group]:
    def guess(which: Index, intervals: int) -> Orbits:
        return joined([one(k, intervals) for k in which.tolist()])

    def one(k: int, intervals: int) -> Orbits:
        whole, laps = orbits[k], times[k]
        mesh = np.linspace(0.0, 1.0, intervals + 1)[None]
        lap = from_function(mesh, lambda s: evaluated(whole, s / laps), whole.scalars / laps)
        scales = problem.chosen(np.array([k])).scales(lap.u)
        return remeshed(lap, adapted(lap, scales, intervals))

    if problem.drive is not None:
        amplitude, phase, turns = problem.drive
        problem = replace(problem, drive=(amplitude, phase, turns / times))
    groups, _ = refined(problem, np.array(list(orbits)), guess, method)
    return groups


def of_lap(
    kept: settling.Trajectories, which: int, begin: float, length: float, scale: Array, intervals: int
) -> Orbits:
    """Return a lap of a trajectory as an orbit."""
    mesh = settling.even_mesh(kept, which, begin, length, scale, intervals)[None]
    found = from_function(mesh, lambda s: kept.at(which, begin + s[0] * length)[None], np.array([[length]]))
    # A trajectory closes only nearly; the guess must be periodic.
    found.u[:, -1] = found.u[:, 0]
    return found


def different(problem: Problem, points: Index, groups: list[Group], outcome: Index | None) -> list[Group]:
    """Return each cycle of a point once; given `outcome`, equilibria are marked there and left out."""
    seen: dict[int, list[Array]] = {}
    found = []
    for which, orbits in groups:
        scales = problem.chosen(which).scales(orbits.u)
        summary = np.concatenate((means(orbits), orbits.period[:, None]), axis=1)
        size = np.concatenate((scales, orbits.period[:, None]), axis=1)
        flat = (np.ptp(orbits.u, axis=1) / scales).max(axis=1) < settling.FLAT
        if outcome is None:
            flat[:] = False
        else:
            outcome[which[flat]] = settling.AT_REST
        new = []
        for k in np.flatnonzero(~flat).tolist():
            known = seen.setdefault(int(points[which[k]]), [])
            if all((np.abs(summary[k] - other) / size[k]).max() > SAME for other in known):
                known.append(summary[k])
                new.append(k)
        found.append((which[new], orbits.chosen(new)))
    return [group for group in found if len(group[0])]


def no_rows(model: Model) -> dict[str, Any]:
    """Return the rows of no cycle."""
    size = len(model.variables)
    one = ("value", "period", "trivial_error", "quality", "residual", "mesh_error", "number", "order")
    found: dict[str, Any] = {name: np.empty(0) for name in one}
    found |= {name: np.empty((0, size)) for name in ("low", "high", "mean", "first")}
    found |= {name: np.empty(0, dtype=np.intp) for name in ("intervals", "unstable", "type", "number")}
    several = multiplier_count(model)
    return found | {"multipliers": np.empty((0, several), dtype=complex), "exponents": np.empty((0, several))}
