"""Where branches of cycles begin: Hopf points, cycles that simulation finds, and bifurcations on branches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.limit_cycles import steps
from qifscan.limit_cycles.doubled import twice
from qifscan.limit_cycles.found import found_cycles
from qifscan.limit_cycles.hopf_points import hopf_modes, hopf_points
from qifscan.limit_cycles.steps import Extent, Met
from qifscan.limit_cycles.switched import switched
from qifscan.periodic_orbits import collocation
from qifscan.periodic_orbits.collocation import INTERVALS
from qifscan.periodic_orbits.delayed_multipliers import problem_of
from qifscan.periodic_orbits.orbits import Orbits, from_function
from qifscan.periodic_orbits.problem import Problem
from qifscan.roots.zeros import part
from qifscan.theory.codes import BPC, PD

_BLOCK = 128

BEGINNINGS = ("hopf_point", "simulation", "period_doubling", "branch_point")
AT_HOPF, BY_SIMULATION, AT_DOUBLING, AT_BRANCH_POINT = range(len(BEGINNINGS))


@dataclass(frozen=True)
class Starts:
    """Where branches begin: slice of each, orbits, directions, the row of the Hopf point if it is one, of
    how many of the laps there first were a cycle is one by now: 1, 2, 4; at what they begin, and at how many
    branch points one has turned off on the way there."""

    who: Index
    problem: Problem
    orbits: Orbits
    tangent: Orbits
    hopf: dict[str, Any] | None
    laps: int = 1
    beginning: int = BY_SIMULATION
    switches: int = 0

    def chosen(self, which: Any) -> Starts:
        """Return some of them."""
        hopf = None if self.hopf is None else {name: values[which] for name, values in self.hopf.items()}
        orbits, tangent = self.orbits.chosen(which), self.tangent.chosen(which)
        problem = self.problem.chosen(which)
        return replace(self, who=self.who[which], problem=problem, orbits=orbits, tangent=tangent, hopf=hopf)


def branch_starts(model: Model, along: str, flat: Mapping[str, Array], limits: Extent) -> list[Starts]:
    """Return the Hopf points in the range, with the directions in which their cycles grow."""
    who, state, given, omega = hopf_points(model, along, flat, (limits.low, limits.high))
    inside = (given[along] >= limits.low) & (given[along] <= limits.high)
    who, state, given, omega = who[inside], state[inside], part(given, inside), omega[inside]
    found = []
    for first in range(0, len(who), _BLOCK):
        some = slice(first, first + _BLOCK)
        found.append(_of_hopf(model, along, who[some], state[some], part(given, some), omega[some]))
    return found


def _of_hopf(
    model: Model, along: str, who: Index, state: Array, given: dict[str, Array], omega: Array
) -> Starts:
    q, real, imag = hopf_modes(model, state, given, omega)
    mesh = np.tile(np.linspace(0.0, 1.0, INTERVALS + 1), (len(state), 1))
    period = 2.0 * math.pi / omega
    scalars = np.stack((period, given[along]), axis=1)
    rest = from_function(mesh, lambda s: state[:, None] + 0.0 * s[..., None], scalars)
    turning = from_function(
        mesh, lambda s: (q[:, None] * np.exp(2j * math.pi * s)[..., None]).real, 0.0 * scalars
    )
    mu = np.exp((real + 1j * imag) * period[:, None])
    nearest = np.argsort(np.abs(np.abs(imag) - omega[:, None]) + np.abs(real), axis=1)
    row = np.arange(len(state))
    # The pair on the axis gives the multiplier 1 twice: that of the flow, and that of the cycle's size.
    for k in range(2):
        mu[row, nearest[:, k]] = 1.0
    rest_mu = np.sort(np.abs(mu), axis=1)
    mu = np.take_along_axis(mu, np.argsort(-np.abs(mu), axis=1, kind="stable"), axis=1)
    zero = np.zeros(len(state))
    hopf = {"value": given[along], "period": period, "low": state, "high": state, "mean": state}
    hopf["first"] = state
    exponents = np.take_along_axis(real, np.argsort(-real, axis=1, kind="stable"), axis=1)
    hopf |= {"multipliers": mu, "exponents": exponents}
    hopf |= {"trivial_error": zero, "quality": zero, "residual": zero, "mesh_error": zero}
    hopf |= {"intervals": zero.astype(np.intp), "unstable": (rest_mu > 1.0).sum(axis=1)}
    return Starts(who, problem_of(model, given, (along,)), rest, turning, hopf, beginning=AT_HOPF)


def simulated_starts(
    model: Model, along: str, flat: Mapping[str, Array], at: float, starts: int, limits: Extent
) -> list[Starts]:
    """Return the cycles that simulation finds at a value of the parameter, in both directions of it."""
    count = len(next(iter(flat.values())))
    found = []
    for first in range(0, count, _BLOCK):
        some = np.arange(first, min(count, first + _BLOCK))
        given = {name: values[some] for name, values in flat.items()} | {along: np.full(len(some), at)}
        _, groups = found_cycles(problem_of(model, given), starts, None, None)
        for group, cycles in groups:
            problem = problem_of(model, part(given, group), (along,))
            scalars = np.stack((cycles.period, np.full(len(group), at)), axis=1)
            orbits = cycles.with_scalars(scalars)
            border = steps.conditions(problem, orbits, None, np.empty(0))
            _, tangent = collocation.linear_of(problem, orbits).solved(border, orbits)
            for sign in (1.0, -1.0):
                way = tangent.times(np.full(len(group), sign))
                found.append(Starts(some[group], problem, orbits, way, None))
    return found


def doubled_starts(start: Starts, kept: list[Met], seen: list[Array]) -> list[Starts]:
    """Return the beginnings of doubled cycles at the period doublings on branches, each once: `seen` are
    those so far."""
    found = []
    for met in [one for one in kept if one.code == PD]:
        new = _new(start, met, seen)
        if len(new):
            orbits, along = (both.chosen(new) for both in twice(met))
            whose, problem = start.who[met.number[new]], met.problem.chosen(new)
            laps = 2 * start.laps
            found.append(Starts(whose, problem, orbits, along, None, laps, AT_DOUBLING, start.switches))
    return found


def switched_starts(start: Starts, kept: list[Met], seen: list[Array], units: Array) -> list[Starts]:
    """Return the beginnings of the other branches at the branch points on branches, each once: `seen` are
    those so far, `units` the size of the parameter."""
    found = []
    for met in [one for one in kept if one.code == BPC]:
        new = _new(start, met, seen)
        if len(new):
            own = met.chosen(new)
            which, orbits, along = switched(own, units)
            whose, problem = start.who[own.number[which]], own.problem.chosen(which)
            turns = start.switches + 1
            found.append(Starts(whose, problem, orbits, along, None, start.laps, AT_BRANCH_POINT, turns))
    return found


def _new(start: Starts, met: Met, seen: list[Array]) -> Index:
    """Return which bifurcations on branches are none of those `seen` so far, and note them there."""
    numbers = np.column_stack((start.who[met.number], met.orbits.scalars))
    new = []
    for k, one in enumerate(numbers):
        if all((np.abs(one - other) > 1e-6 * (1.0 + np.abs(other))).any() for other in seen):
            seen.append(one)
            new.append(k)
    return np.array(new, dtype=np.intp)
