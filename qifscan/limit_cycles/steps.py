"""One step along branches of cycles, and what is measured of the cycles on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.collocation import (
    Border,
    Linear,
    Orbits,
    Problem,
    corrected,
    extremes,
    inner,
    linearised,
    means,
    mesh_error,
    phase_row,
    solve,
)
from qifscan.limit_cycles.floquet import Floquet, multipliers, resolved

POINT, HB, LPC, PD, TR, EP, UNRESOLVED = 0, 3, 5, 7, 8, 9, 31
"""AUTO's codes: ordinary, Hopf point, fold of cycles, period doubling, torus, end; and one of our own."""

CUTS = ("points", "within", "longest_period", "hopf_point", "closed", "unresolved", "standstill")
BY_POINTS, BY_RANGE, BY_PERIOD, BY_HOPF, BY_RETURN, BY_FAILURE, BY_STANDSTILL = range(len(CUTS))

ACCURATE, RESOLVED = 1e-6, 1e-3
"""Error of the flow's own multiplier above which the mesh is made finer, and stability is not told."""

FINE = 1e-6
"""Estimated error of an orbit, relative to the sizes of its variables, above which the mesh is made finer."""


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


@dataclass
class Branches:
    """Branches on their way: the last orbit, its tangent, the next step, and how they ended (-1: not yet).

    `longest` period of each; `number` of the branch; `tests` functions at the last orbit; `still`, for how
    many steps the parameter has not changed; `first`, what tells the orbit it began with; `ends`, the last
    orbits of those that have ended, by number.
    """

    problem: Problem
    now: Orbits
    tangent: Orbits
    step: Array
    longest: Array
    cut: Index
    count: Index
    number: Index
    tests: Array
    still: Index
    first: Array
    ends: dict[int, Array]
    rows: list[dict[str, Any]] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)


@dataclass(frozen=True)
class Crossing:
    """Test functions that change their sign on a step: from which orbits, along which tangents, how far."""

    code: int
    number: Index
    order: Index
    before: Orbits
    tangent: Orbits
    step: Array


def drift(problem: Problem, orbits: Orbits, linear: Linear) -> Array:
    """Return by how much the monodromy matrix fails to map the flow's direction onto itself, relative."""
    f = problem.slopes(orbits.s[:, :1], orbits.u[:, :1], orbits.value)[:, 0]
    size = f.shape[1]
    image = -solve(
        linear.ends[..., size : 2 * size], np.einsum("bij,bj->bi", linear.ends[..., :size], f)[..., None]
    )
    scales = problem.scales(orbits.u)
    apart = np.linalg.norm((image[..., 0] - f) / scales, axis=1)
    found: Array = apart / np.linalg.norm(f / scales, axis=1)
    return np.where(np.isfinite(found), found, np.inf)


def quality(problem: Problem, orbits: Orbits, linear: Linear, mu: Any) -> Array:
    """Return the error of the flow's own multiplier, 1.

    The smaller one of two measures: at a fold of cycles a second multiplier is 1, and both are off by the
    square root of an error; beside a very large multiplier the drift is that many times an error.
    """
    return np.minimum(drift(problem, orbits, linear), others(mu)[1])


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


def torus(rest: Any) -> Array:
    """Return the product of 1 - mu_i mu_j over pairs of the other multipliers, 0 at a torus bifurcation."""
    found = np.ones(len(rest), dtype=complex)
    for i in range(rest.shape[1]):
        for j in range(i):
            found = found * (1.0 - rest[:, i] * rest[:, j])
    return found.real


def measured(
    problem: Problem, orbits: Orbits, linear: Linear, floquet: Floquet | None = None
) -> dict[str, Any]:
    """Return the numbers of orbits, one row each."""
    low, high = extremes(orbits)
    found = resolved(problem, orbits, floquet or multipliers(linear.states))
    mu = found.mu
    rest, error = others(mu)
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
        "quality": quality(problem, orbits, linear, mu),
        "residual": linear.residual,
        "mesh_error": mesh_error(orbits, problem.scales(orbits.u)),
        "intervals": np.full(len(mu), orbits.stages.shape[1]),
        "unstable": (np.abs(rest) > 1.0).sum(axis=1),
        "type": np.full(len(mu), POINT),
    }


def tangents(problem: Problem, orbits: Orbits, linear: Linear, before: Orbits, unit: float) -> Orbits:
    """Return the tangents of the branches at orbits, in the direction of those before."""
    scales = problem.scales(orbits.u)
    border = _border(problem, orbits, before, scales, unit)
    found = linear.solved(Border(*border, np.tile([0.0, 1.0], (len(scales), 1))), orbits, homogeneous=True)
    size = np.sqrt(inner(found, found, scales, orbits.period, np.full(len(scales), unit)))
    zero = Orbits(orbits.s, *(np.zeros_like(a) for a in (found.u, found.stages, size, size)))
    return zero.moved(1.0 / size, found)


def _border(
    problem: Problem, guess: Orbits, tangent: Orbits, scales: Array, unit: float
) -> tuple[Array, Array]:
    """Return the rows of the phase condition and of the arclength."""
    across = tangent.weights[..., None] * tangent.u / scales[:, None] ** 2
    states = np.stack((phase_row(problem, guess, scales), across), axis=1)
    scalars = np.zeros((len(scales), 2, 2))
    scalars[:, 1, 0] = tangent.period / guess.period**2
    scalars[:, 1, 1] = tangent.value / unit**2
    return states, scalars


def stepped(
    problem: Problem, now: Orbits, tangent: Orbits, step: Array, unit: float
) -> tuple[Orbits, Any, Index]:
    """Return the orbits a step further, whether Newton's method converged, and in how many of its steps."""
    guess = now.moved(step, tangent)
    scales = problem.scales(guess.u)
    states, scalars = _border(problem, guess, tangent, scales, unit)

    def border(which: Any, here: Orbits) -> Border:
        away = here.u - guess.u[which]
        right = -np.einsum("brin,bin->br", states[which], away)
        numbers = np.stack((here.period - guess.period[which], here.value - guess.value[which]), axis=1)
        right -= np.einsum("brk,bk->br", scalars[which], numbers)
        return Border(states[which], scalars[which], right)

    return corrected(problem, guess, border)


def at_value(problem: Problem, guess: Orbits) -> tuple[Orbits, Any, Index]:
    """Return the orbits near a guess at its parameters, whether Newton's method converged, and its steps."""
    scales = problem.scales(guess.u)
    row = phase_row(problem, guess, scales)

    def border(which: Any, here: Orbits) -> Border:
        found = Border.fixed(here)
        found.states[:, 0] = row[which]
        found.scalars[:, 0] = 0.0
        found.right[:, 0] = -np.einsum("bin,bin->b", row[which], here.u - guess.u[which])
        return found

    return corrected(problem, guess, border)


def renewed(problem: Problem, orbits: Orbits, tangent: Orbits, unit: float) -> Orbits:
    """Return tangents anew after a change of the mesh, which moves the mean that fixes the phase."""
    return tangents(problem, orbits, linearised(problem, orbits), tangent, unit)
