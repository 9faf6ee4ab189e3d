"""The direction of a multiplier on the unit circle at a cycle: what curves of bifurcations begin with."""

from __future__ import annotations

from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.steps import stability, tangents
from qifscan.periodic_orbits.collocation import Linear, linear_of, linearised
from qifscan.periodic_orbits.delayed_multipliers import DelayedProblem, critical_direction
from qifscan.periodic_orbits.floquet import multiplied
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import Problem


def with_direction(problem: Problem, orbits: Orbits, kind: str, before: Orbits) -> Orbits:
    """Return cycles at a bifurcation with the direction of its multiplier, as an orbit of `Marginal`.

    `before` are directions in which the branch goes.
    """
    if kind == "LPC":
        along = tangents(problem, orbits, before, np.ones(orbits.scalars.shape[1] - 1))
        u, stages, extra = along.u, along.stages, along.scalars[:, :1] / orbits.period[:, None]
    elif isinstance(problem, DelayedProblem):
        u, stages, extra = _with_past(problem, orbits, kind)
    else:
        u, stages, extra = _eigenvector(linearised(problem, orbits), kind)
    size = _size(problem, orbits, u)
    if kind == "LPC":
        extra = extra / size[:, None]
    scalars = orbits.scalars
    if Marginal(problem, kind).has_extra:
        scalars = np.concatenate((scalars, extra), axis=1)
    u, stages = u / size[:, None, None], stages / size[:, None, None, None]
    return Orbits(
        orbits.s,
        np.concatenate((orbits.u, u), axis=-1),
        np.concatenate((orbits.stages, stages), axis=-1),
        scalars,
    )


def _size(problem: Problem, orbits: Orbits, u: Array) -> Array:
    """Return the mean size of directions, relative to that of the variables."""
    n = orbits.u.shape[2]
    scales = problem.scales(orbits.u)
    parts = u.reshape(*u.shape[:2], -1, n) / scales[:, None, None]
    found: Array = np.sqrt((orbits.weights[..., None, None] * parts**2).sum(axis=(1, 2, 3)))
    return found


def _eigenvector(linear: Linear, kind: str) -> tuple[Array, Array, Array]:
    """Return the direction of the multiplier nearest to -1, or both of a pair nearest to the circle: at the
    mesh points, at the stages, and the cosine of the pair's angle."""
    mu, vectors = np.linalg.eig(multiplied(linear.groups))
    pick = np.abs(mu + 1.0).argmin(axis=1) if kind == "PD" else _pair(mu)
    row = np.arange(len(mu))
    # In order in memory: else the products below are summed in another order where there is one orbit alone.
    x: Any = np.ascontiguousarray(vectors[row, :, pick])
    x = x.real.astype(complex) if kind == "PD" else x
    n, states = x.shape[1], linear.states
    points = [x]
    for k in range(states.shape[1]):
        points.append((states[:, k] @ points[-1][..., None])[..., 0])
    whole = np.stack(points, axis=1)
    stages = (linear.stages[..., :n] @ whole[:, :-1, None, :, None])[..., 0]
    cosine = np.cos(np.angle(mu[row, pick]))[:, None]
    if kind == "PD":
        return whole.real, stages.real, cosine
    return _parts(whole, stages, cosine)


def _pair(mu: Any) -> Index:
    """Return which multipliers are those of a pair nearest to the circle, above the real axis."""
    upper = np.where(mu.imag > 1e-9, np.abs(np.abs(mu) - 1.0), np.inf)
    found: Index = upper.argmin(axis=1)
    return found


def _with_past(problem: DelayedProblem, orbits: Orbits, kind: str) -> tuple[Array, Array, Array]:
    """Return the same of cycles with a delay."""
    row = np.arange(len(orbits.period))
    if kind == "PD":
        u, stages = critical_direction(problem, orbits, np.full(len(row), -1.0))
        return u, stages, np.zeros((len(row), 1))
    mu = stability(problem, orbits, linear_of(problem, orbits)).mu
    own = mu[row, _pair(mu)]
    return _parts(*critical_direction(problem, orbits, own), np.cos(np.angle(own))[:, None])


def _parts(whole: Any, stages: Any, cosine: Array) -> tuple[Array, Array, Array]:
    """Return q and w of complex directions q + i w sin theta, and the cosine."""
    sine = np.sqrt(1.0 - cosine**2)
    both = np.concatenate((whole.real, whole.imag / sine[..., None]), axis=-1)
    return both, np.concatenate((stages.real, stages.imag / sine[..., None, None]), axis=-1), cosine
