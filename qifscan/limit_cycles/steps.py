"""One step along branches of cycles, and what is measured of the cycles on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.collocation import Border, Corrected, corrected, linear_of
from qifscan.periodic_orbits.floquet import quick, resolved
from qifscan.periodic_orbits.gauss import WEIGHTS
from qifscan.periodic_orbits.orbits import Orbits, extremes, inner, means, mesh_error, quadratic_means
from qifscan.periodic_orbits.problem import OrbitProblem, Problem, WithMemory
from qifscan.theory.codes import POINT

CUTS = (
    "points",
    "within",
    "longest_period",
    "hopf_point",
    "closed",
    "unresolved",
    "standstill",
    "period_doubling",
    "branch_point",
)
BY_POINTS, BY_RANGE, BY_PERIOD, BY_HOPF, BY_RETURN, BY_FAILURE, BY_STANDSTILL = range(7)
BY_DOUBLING, BY_BRANCH_POINT = range(7, len(CUTS))

ACCURATE, RESOLVED = 1e-6, 1e-3
"""Error of the flow's own multiplier above which the mesh is made finer, and stability is not told."""

FINE = 1e-6
"""Estimated error of an orbit, relative to the sizes of its variables, above which the mesh is made finer."""


FAR, MOST = 0.5, 6
"""Size of a Newton step on a branch beyond which a shorter step along it is tried, and the most of them."""


@dataclass(frozen=True)
class Extent:
    """What ends a branch: the range of the parameter, the number of its points, the longest period
    `(branches,)`.

    `unit` is the size of the parameter, in which its changes are measured.
    """

    low: float
    high: float
    most: int
    unit: float

    @property
    def units(self) -> Array:
        """The sizes of the parameters."""
        return np.array([self.unit])


@dataclass(frozen=True)
class Step:
    """A step: from which orbits along which bent tangents, to which with what tangents there, and whose it
    is."""

    system: OrbitProblem
    before: Orbits
    tangent: Orbits
    bend: Orbits
    new: Orbits
    after: Orbits
    who: Index

    def chosen(self, which: Any) -> Step:
        """Return some of the steps."""
        return Step(
            self.system.chosen(which),
            self.before.chosen(which),
            self.tangent.chosen(which),
            self.bend.chosen(which),
            self.new.chosen(which),
            self.after.chosen(which),
            self.who[which],
        )


@dataclass(frozen=True)
class Crossing:
    """Test functions that change their sign on a step: from which orbits, along which bent tangents,
    how far."""

    code: int
    number: Index
    order: Index
    before: Orbits
    tangent: Orbits
    bend: Orbits
    step: Array


@dataclass(frozen=True)
class Met:
    """Bifurcations on branches: of which kind, on which branches, the cycles there and where they go."""

    code: int
    number: Index
    problem: Any
    orbits: Orbits
    tangent: Orbits

    def chosen(self, which: Any) -> Met:
        """Return some of them."""
        parts = (self.problem, self.orbits, self.tangent)
        return Met(self.code, self.number[which], *(part.chosen(which) for part in parts))


def summary(system: OrbitProblem, orbits: Orbits) -> Array:
    """Return numbers that don't depend on where an orbit begins: mean and mean square root of the states,
    period, parameters. Highest states at mesh points would depend on the mesh."""
    states = orbits.stages[..., : system.size]
    mean, square = (
        (orbits.steps[..., None] * (WEIGHTS @ values)).sum(axis=1) for values in (states, states**2)
    )
    return np.concatenate((mean, np.sqrt(square), orbits.scalars[:, : 1 + system.free]), axis=1)


def summary_sizes(step: Step, units: Array) -> Array:
    """Return the sizes of these numbers at the ends of steps."""
    new, system = step.new, step.system
    own = system.scales(new.u)[:, : system.size]
    return np.concatenate((own, own, units_of(new, units)[:, : 1 + system.free]), axis=1)


def drift(system: OrbitProblem, orbits: Orbits, groups: Array) -> Array:
    """Return by how much the monodromy matrix fails to map the flow's direction onto itself, relative."""
    f = system.slopes(orbits.s[:, :1], orbits.u[:, :1], orbits.scalars)[:, 0]
    image = f[..., None]
    for k in range(groups.shape[1]):
        image = groups[:, k] @ image
    scales = system.scales(orbits.u)
    apart = np.linalg.norm((image[..., 0] - f) / scales, axis=1)
    found: Array = apart / np.linalg.norm(f / scales, axis=1)
    return np.where(np.isfinite(found), found, np.inf)


def quality(system: OrbitProblem, orbits: Orbits, groups: Array, mu: Any) -> Array:
    """Return the error of the flow's own multiplier, 1.

    The smaller one of two measures: at a fold of cycles a second multiplier is 1, and both are off by the
    square root of an error; beside a very large multiplier the drift is that many times an error.
    """
    return np.minimum(drift(system, orbits, groups), others(mu)[1])


@dataclass(frozen=True)
class Stability:
    """Multipliers by descending modulus, the logarithms of their moduli, and the error of the flow's own."""

    mu: Any
    log: Array
    error: Array


def stability(system: OrbitProblem, orbits: Orbits, linear: Any, *, quickly: bool = False) -> Stability:
    """Return the multipliers of orbits; `quickly`: those that are much smaller than the largest may be but
    rounding."""
    if isinstance(system, WithMemory):
        return Stability(*system.stability(orbits, linear))
    if quickly:
        mu = quick(linear.groups)
        log = np.log(np.abs(mu))
    else:
        floquet = resolved(system, orbits, linear.states)
        mu, log = floquet.mu, floquet.log
    return Stability(mu, log, quality(system, orbits, linear.groups, mu))


def others(mu: Any) -> tuple[Any, Array]:
    """Return the multipliers without the one nearest to 1, and how far from 1 that is."""
    distance = np.abs(mu - 1.0)
    own = np.nanargmin(np.where(np.isnan(distance), np.inf, distance), axis=1)
    rest = mu[np.arange(mu.shape[1]) != own[:, None]].reshape(len(mu), mu.shape[1] - 1)
    return rest, distance[np.arange(len(mu)), own]


def doubling(rest: Any) -> Array:
    """Return the product of 1 + mu over the other multipliers, 0 at a period doubling."""
    found: Array = np.prod(1.0 + rest, axis=1).real
    return found


def torus(rest: Any, alike: float = np.inf) -> Array:
    """Return the product of 1 - mu_i mu_j over pairs of the other multipliers, 0 at a torus bifurcation.

    Over pairs alone whose moduli differ by less than a factor: at one they are the same.
    """
    found = np.ones(len(rest), dtype=complex)
    for i in range(rest.shape[1]):
        for j in range(i):
            one, two = np.abs(rest[:, i]), np.abs(rest[:, j])
            far = np.maximum(one, two) > alike * np.minimum(one, two)
            found = found * np.where(far, 1.0, 1.0 - rest[:, i] * rest[:, j])
    return found.real


def measured(problem: Problem, orbits: Orbits) -> dict[str, Any]:
    """Return the numbers of orbits, one row each."""
    linear = linear_of(problem, orbits)
    low, high = extremes(orbits)
    found = stability(problem, orbits, linear)
    mu = found.mu
    rest, error = others(mu)
    sure = found.error
    if problem.drive is not None:
        # With a drive no multiplier is that of a flow.
        rest, error, sure = mu, 0.0 * error, 0.0 * sure
    return {
        "value": orbits.value,
        "period": orbits.period,
        "low": low,
        "high": high,
        "mean": means(orbits),
        "first": orbits.u[:, 0],
        "multipliers": mu,
        "exponents": found.log / orbits.period[:, None],
        "trivial_error": error,
        "quality": sure,
        "residual": linear.residual,
        "mesh_error": mesh_error(orbits, problem.scales(orbits.u)),
        "intervals": np.full(len(mu), orbits.stages.shape[1]),
        "unstable": (np.abs(rest) > 1.0).sum(axis=1),
        "type": np.full(len(mu), POINT),
    }


def units_of(orbits: Orbits, units: Array) -> Array:
    """Return the sizes of the period and of the parameters `(orbits, k)`; `units` are those of the latter."""
    return np.concatenate((orbits.period[:, None], np.tile(units, (len(orbits.period), 1))), axis=1)


def conditions(system: OrbitProblem, guess: Orbits, tangent: Orbits | None, units: Array) -> Border:
    """Return the conditions of a step along a tangent; without one, that the last parameters don't change."""
    states, scalars = system.pinned(guess)
    (count, points, size), k = guess.u.shape, guess.scalars.shape[1]
    if tangent is not None:
        scales = system.scales(guess.u)
        across = tangent.weights[..., None] * tangent.u / scales[:, None] ** 2
        states = np.concatenate((states, across[:, None]), axis=1)
        scalars = np.concatenate((scalars, (tangent.scalars / units_of(guess, units) ** 2)[:, None]), axis=1)
    missing = k - states.shape[1]
    states = np.concatenate((states, np.zeros((count, missing, points, size))), axis=1)
    fixed = np.eye(k)[system.free + 1 - missing : system.free + 1]
    scalars = np.concatenate((scalars, np.tile(fixed, (count, 1, 1))), axis=1)
    return Border(states, scalars, np.zeros((count, k)))


def unit_length(system: OrbitProblem, direction: Orbits, orbits: Orbits, units: Array) -> Orbits:
    """Return directions at orbits with the length 1."""
    scales = system.scales(orbits.u)
    return direction.times(inner(direction, direction, scales, units_of(orbits, units)) ** -0.5)


def forward(orbits: Orbits, which: int) -> Orbits:
    """Return the directions in which one of the scalars alone grows."""
    scalars = np.zeros_like(orbits.scalars)
    scalars[:, which] = 1.0
    return Orbits(orbits.s, 0.0 * orbits.u, 0.0 * orbits.stages, scalars)


def tangents(system: OrbitProblem, orbits: Orbits, before: Orbits, units: Array) -> Orbits:
    """Return the tangents of the branches at orbits, in the direction of those before."""
    border = conditions(system, orbits, before, units)
    _, found = linear_of(system, orbits).solved(border, orbits)
    return unit_length(system, found, orbits, units)


def stepped(
    system: OrbitProblem,
    now: Orbits,
    tangent: Orbits,
    step: Array,
    units: Array,
    start: Orbits | None = None,
    bend: Orbits | None = None,
) -> Corrected:
    """Return the orbits a step further; `direction` is their tangent, but for the last step of Newton's.

    Newton's method begins at the tangent's end, moved by the second order of a `bend`, or at `start`.
    """
    guess = now.moved(step, tangent)
    if bend is not None:
        guess = guess.moved(0.5 * step**2, bend)
    border = conditions(system, guess, tangent, units)
    found = corrected(system, guess, border, start=start, far=FAR, most=MOST)
    return replace(found, direction=unit_length(system, found.direction, found.orbits, units))


def own_error(system: OrbitProblem, orbits: Orbits) -> Array:
    """Return the estimated error of orbits relative to the sizes of their variables.

    Where the past counts, relative to their quadratic means: states at mesh points are no better than those
    between them, and between high spikes much smaller ones go on.
    """
    if isinstance(system, WithMemory):
        return mesh_error(orbits, quadratic_means(orbits) + 1e-300)
    return mesh_error(orbits, system.scales(orbits.u))


def at_value(system: OrbitProblem, guess: Orbits) -> Corrected:
    """Return the orbits near a guess at its parameters."""
    return corrected(system, guess, conditions(system, guess, None, np.empty(0)))
