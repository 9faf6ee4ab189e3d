"""Floquet multipliers of cycles with a delay: the largest eigenvalues of what a period does to the past.

x(s + 1) = mu x(s) solves the linearised equations: with y as in `Entries`, y = sum of A_k mu^-k y. Arnoldi's
method finds the largest mu of the map of the last periods to the next: (1 - A_0) y = A_1 y(1 period before) +
..., in which 1 - A_0 is but a step in time after another. All but a few multipliers are tiny.

K. Engelborghs, T. Luzyanina, D. Roose, ACM Trans. Math. Softw. 28, 1 (2002); Y. Saad, Numerical Methods for
Large Eigenvalue Problems, SIAM 2011, ch. 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.dynamics.model import Model
from qifscan.periodic_orbits.delayed_collocation import DelayedLinear, Entries, delayed_linear
from qifscan.periodic_orbits.delayed_problem import ProblemWithPast
from qifscan.periodic_orbits.orbits import Orbits, spread
from qifscan.periodic_orbits.problem import Problem

MULTIPLIERS = 12
"""Multipliers of a cycle with a delay that are computed, the largest ones."""

_STEPS, _MOST_STEPS = 40, 320
"""Steps of Arnoldi's method at first, and at most."""

_CLOSE, _ROUNDING = 1e-9, 1e-11
"""Residual of an eigenvector that has converged, and size of a multiplier that is but rounding: relative to
the largest one, or to 1."""

_MINOR = 0.1
"""Size of a multiplier that need not be known."""

_MOST_PERIODS = 64
"""Most periods within a delay: of more the multipliers are not told."""


@dataclass(frozen=True)
class DelayedProblem(ProblemWithPast):
    """A model with a delay: its cycles are solved for, and have multipliers, in a way of their own."""

    def linear(self, orbits: Orbits) -> DelayedLinear:
        """Return the equations linearised at cycles."""
        return delayed_linear(self, orbits)

    def stability(self, orbits: Orbits, linear: DelayedLinear) -> tuple[Any, Array, Array]:
        """Return the largest multipliers `(orbits, 12)`, by descending modulus, the logarithms of their
        moduli, and the error of the flow's own.

        Those that are too small to be told from rounding are 0; all are NaN if they were not found.
        """
        count = len(orbits.period)
        mu = np.full((count, MULTIPLIERS), complex(np.nan, np.nan))
        drift = np.full(count, np.inf)
        scales, flow = self.scales(orbits.u), _flow(self, orbits, linear)
        for orbit in range(count):
            entries = linear.entries(orbit)
            size = np.append(scales[orbit], np.full(linear.block - scales.shape[1], scales[orbit, 0]))
            size = np.tile(size, entries.size // len(size))
            finite = np.isfinite(entries.value).all() and bool((size > 0.0).all())
            if finite and entries.periods.max() <= _MOST_PERIODS:
                mu[orbit], drift[orbit] = _multipliers(entries, size, flow[orbit].ravel() / size)
        with np.errstate(invalid="ignore", divide="ignore"):
            nearest = np.abs(mu - 1.0).min(axis=1)
            error = np.where(np.isfinite(nearest), np.minimum(drift, nearest), np.inf)
            # Others could be outside of the circle as well.
            error = np.where((np.abs(mu) > 1.0).sum(axis=1) > MULTIPLIERS - 2, np.inf, error)
            return mu, np.log(np.abs(mu)), error


def problem_of(model: Model, parameters: Mapping[str, Array], along: tuple[str, ...] = ()) -> Problem:
    """Return the problem of the cycles of a model, with a delay or without one."""
    return (DelayedProblem if model.delay else Problem)(model, parameters, along)


def critical_direction(problem: DelayedProblem, orbits: Orbits, mu: Any) -> tuple[Any, Any]:
    """Return the directions of multipliers next to some numbers `(orbits,)`, by inverse iteration: at the
    mesh points and at the stages, of size 1 relative to the variables."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import splu

    linear = delayed_linear(problem, orbits)
    (count, intervals, size), wide = linear.transfer.shape[:3], linear.block
    y = np.empty((count, intervals, wide), dtype=mu.dtype)
    for orbit in range(count):
        entries = linear.entries(orbit)
        # Beside the multiplier, where the matrix would be singular.
        near = mu[orbit] * (1.0 + 1e-9)
        solver = splu(eye_array(entries.size, format="csc") - entries.matrix(lambda k, near=near: near**-k))
        found = np.random.default_rng(0).standard_normal(entries.size).astype(mu.dtype)
        for _ in range(3):
            found = solver.solve(found)
            found = found / np.linalg.norm(found)
        y[orbit] = found.reshape(intervals, wide)
    stages = (linear.stages[..., :wide] @ y[:, :, None, :, None])[..., 0]
    u = np.concatenate((y[..., :size], mu[:, None, None] * y[:, :1, :size]), axis=1)
    square = (orbits.weights[..., None] * np.abs(u / problem.scales(orbits.u)[:, None]) ** 2).sum(axis=(1, 2))
    return u / spread(np.sqrt(square), 3), stages / spread(np.sqrt(square), 4)


def _flow(problem: DelayedProblem, orbits: Orbits, linear: DelayedLinear) -> Array:
    """Return the direction of the flow as the equations have it: `(orbits, N, n + 4)`."""
    mesh, inner = problem.velocity(orbits), linear.past
    stages, *_ = problem.with_past(orbits.gauss_times, orbits.stages, inner.value, orbits.scalars)
    rates = np.concatenate((mesh[:, :-1, None], stages), axis=2)[..., 0]
    orbit = np.arange(len(mesh))[:, None, None]
    past = (inner.weights * rates[orbit, inner.interval]).sum(axis=-1)
    return np.concatenate((mesh[:, :-1], past), axis=2)


def _multipliers(entries: Entries, size: Array, own: Array) -> tuple[Any, float]:
    """Return the multipliers of one cycle, and by how much its flow's direction is not mapped onto itself."""
    try:
        step, periods = _map(entries, size)
        mu = _largest(step, periods * entries.size)
    except (RuntimeError, np.linalg.LinAlgError):
        # A matrix is singular, or its eigenvalues are not found: neither is seen where a cycle was found.
        return np.full(MULTIPLIERS, complex(np.nan, np.nan)), np.inf
    image = step(np.tile(own, periods))[: entries.size]
    return mu, float(np.linalg.norm(image - own) / np.linalg.norm(own))


def _map(entries: Entries, size: Array) -> tuple[Callable[[Array], Array], int]:
    """Return what takes the last periods, the last one first, to the next and them, each relative to sizes;
    and how many periods these are."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import splu

    periods, wide = max(1, int(entries.periods.max())), entries.size
    own = eye_array(wide, format="csc") - entries.matrix(np.ones_like, lambda k: k == 0)
    # The order of time is the order of the rows: nothing is filled in.
    solver = splu(own, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    earlier = [
        (k, entries.matrix(np.ones_like, lambda ago, k=k: ago == k))
        for k in range(1, periods + 1)
        if (entries.periods == k).any()
    ]

    def step(x: Array) -> Array:
        right = sum(a @ (x[(k - 1) * wide : k * wide] * size) for k, a in earlier)
        return np.concatenate((solver.solve(right) / size, x[: (periods - 1) * wide]))

    return step, periods


def _largest(step: Callable[[Array], Array], size: int) -> Any:
    """Return the largest eigenvalues of a map of vectors, by Arnoldi's method."""
    most = min(_MOST_STEPS, size)
    basis, matrix = np.zeros((most + 1, size)), np.zeros((most + 1, most))
    start = step(np.random.default_rng(0).standard_normal(size))
    basis[0] = start / np.linalg.norm(start)
    done = 0
    for wanted in sorted({min(most, _STEPS * 2**k) for k in range(8)}):
        ended = False
        for k in range(done, wanted):
            w = step(basis[k])
            # Twice: once leaves what rounding makes of vectors that are almost in the space.
            for _ in range(2):
                share = basis[: k + 1] @ w
                w = w - share @ basis[: k + 1]
                matrix[: k + 1, k] += share
            matrix[k + 1, k] = np.linalg.norm(w)
            done = k + 1
            if ended := not matrix[k + 1, k] > _ROUNDING * np.abs(matrix[: k + 1, : k + 1]).max():
                break
            basis[k + 1] = w / matrix[k + 1, k]
        found, sure = _of_hessenberg(matrix[:done, :done], 0.0 if ended else matrix[done, done - 1])
        if sure.all() or ended:
            break
    if (~sure & ~(np.abs(found) < _MINOR)).any():
        return np.full(MULTIPLIERS, complex(np.nan, np.nan))
    # Half of a pair, whose other half is beyond the last one, would be no multiplier of a real equation.
    whole = (found[:, None] == found.conj()).any(axis=1)
    return np.where(sure & whole, found, 0.0)


def _of_hessenberg(matrix: Array, rest: float) -> tuple[Any, Any]:
    """Return the largest eigenvalues, 0 where there are fewer or they are rounding, and which are sure."""
    value, vectors = np.linalg.eig(matrix)
    order = np.argsort(-np.abs(value), kind="stable")[:MULTIPLIERS]
    found, sure = np.zeros(MULTIPLIERS, dtype=complex), np.ones(MULTIPLIERS, dtype=bool)
    unit = max(1.0, float(np.abs(value).max()))
    small = np.abs(value[order]) < _ROUNDING * unit
    found[: len(order)] = np.where(small, 0.0, value[order])
    sure[: len(order)] = small | (np.abs(rest * vectors[-1, order]) < _CLOSE * unit)
    return found, sure
