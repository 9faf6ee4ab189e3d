"""Homoclinic orbits of saddles as boundary value problems on an interval, by projection at its ends.

u' = f(u, p) on [0, T] with T fixed and p free. At the saddle x(p), with left eigenvectors w of the Jacobian,

    w . (u(0) - x) = 0 for eigenvalues with a negative real part: u begins in the unstable subspace,
    w . (u(T) - x) = 0 for those with a positive one: it ends in the stable subspace,

n conditions in all; one more is that where it moves fastest u stays in a plane across it. The equations are
those of cycles, see `collocation`.

The manifolds of the saddle bend away from their subspaces, by the square of the distance d at an end. With
d = sum of c_i v_i in right eigenvectors they are, to second order, where

    w_k . (u - x) = sum over i, j of c_i c_j w_k . B(v_i, v_j)/2 / (l_i + l_j - l_k),

B the second derivatives of f. The linearised equations turn that into how far p is off, some d^3.

W.-J. Beyn, IMA J. Numer. Anal. 10, 379 (1990); A. Champneys, Yu. Kuznetsov, B. Sandstede, Int. J. Bifurcation
Chaos 6, 867 (1996); B. Sandstede, SIAM J. Numer. Anal. 34, 516 (1997), the order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.collocation import condensed, filled
from qifscan.periodic_orbits.elimination import grouped, solve
from qifscan.periodic_orbits.orbits import Orbits, adapted, remeshed, spread
from qifscan.periodic_orbits.problem import Problem
from qifscan.periodic_orbits.saddles import Saddles, lengthened, swing
from qifscan.theory.normal_forms import multilinear

_LENGTH = 28.0
"""T in the time constant of the saddle's leading eigenvalue: then d is some 1e-6, and d^3 rounding."""

_MOST, _SMALL, _ROUNDING = 20, 1e-14, 1e-8
"""Most steps of Newton's method; the relative size of the next step, foretold from the last two, that need
not be taken, and below which a step no smaller than the one before is rounding. Eigenvectors are those at
each p, but as if they did not change with p; as that counts at the distance d alone, steps shrink by some d
each."""

_FINEST, _SETTLED = 512, 1e-11
"""Most intervals, and the relative change of p from one mesh to the next that needs no finer one."""

_NEAR = 0.05
"""How far an end may be from the saddle, in sizes of the variables."""


@dataclass(frozen=True)
class Saddle:
    """A saddle: its state and how that moves with p, eigenvalues, right eigenvectors as columns and left ones
    as rows, and real bases of those of negative and of positive real parts, as rows."""

    state: Array
    moves: Array
    mu: Any
    right: Any
    left: Any
    inward: Array
    outward: Array


@dataclass(frozen=True)
class Section:
    """The plane across an orbit where it moves fastest, and which group of intervals begins there."""

    group: int
    across: Array
    value: float

    @classmethod
    def of(cls, problem: Problem, orbit: Orbits) -> Section:
        """Return that of an orbit."""
        intervals = orbit.stages.shape[1]
        stride = intervals // grouped(np.zeros((1, intervals, 1, 1))).shape[1]
        scales = problem.scales(orbit.u)
        slopes = (problem.velocity(orbit) / spread(scales, 3))[0, :-1:stride]
        group = int(np.abs(slopes).max(axis=1).argmax())
        across = slopes[group] / scales[0]
        return cls(group, across, float(across @ orbit.u[0, group * stride]))


@dataclass(frozen=True)
class Homoclinic:
    """An orbit from the saddle to itself; p, and how far it is off by the ends, the mesh and rounding.

    By the ends is an estimate with its sign, which is not taken off p.
    """

    orbit: Orbits
    value: float
    rest: Saddle
    by_ends: float
    by_mesh: float
    by_rounding: float

    @property
    def error(self) -> float:
        """The sum of the errors."""
        return abs(self.by_ends) + self.by_mesh + self.by_rounding


def homoclinic(problem: Problem, cycle: Orbits, own: Saddles, length: float = _LENGTH) -> Homoclinic | None:
    """Return the homoclinic orbit near one cycle that rests long beside a saddle, None: there is none.

    It is solved for on a mesh as fine as that of the cycle, then on ones twice as fine until p changes no
    more, or there are `_FINEST` intervals. By the mesh p is off by less than its last change.
    """
    if not own.there[0]:
        return None
    guess = lengthened(problem, cycle, own, length / own.rate)
    intervals = min(guess.stages.shape[1], _FINEST // 2)
    found = _corrected(problem, _on_mesh(problem, guess, intervals), own.state[0])
    if found is None or swing(problem, found.orbit)[0] < 0.5 * swing(problem, cycle)[0]:
        # At rest at the saddle all conditions hold.
        return None
    by_mesh = np.inf
    while by_mesh > _SETTLED * abs(found.value) and 2 * intervals <= _FINEST:
        intervals *= 2
        finer = _corrected(problem, _on_mesh(problem, found.orbit, intervals), found.rest.state)
        if finer is None:
            return None
        by_mesh = abs(finer.value - found.value)
        found = replace(finer, by_mesh=by_mesh)
    return found


def _on_mesh(problem: Problem, orbit: Orbits, intervals: int) -> Orbits:
    """Return an orbit on an adapted mesh."""
    return remeshed(orbit, adapted(orbit, problem.scales(orbit.u), intervals))


def _corrected(problem: Problem, guess: Orbits, near: Array) -> Homoclinic | None:
    """Return the orbit near a guess, by Newton's method; None where it does not converge."""
    orbit, before, plane = guess.copy(), np.inf, Section.of(problem, guess)
    scales = problem.scales(guess.u)
    for step in range(_MOST):
        rest = _rest(problem, orbit.scalars, near)
        if rest is None:
            return None
        near = rest.state
        equations = Projected.at(problem, orbit, rest, plane)
        change = equations.solved(orbit)
        size = float((np.abs(change.u).max(axis=1) / scales).max())
        if not size < 1.0:
            return None
        orbit = orbit.moved(np.ones(1), change)
        foretold = size * min(1.0, size / before) if step else size
        if foretold < _SMALL or (size < _ROUNDING and size > 0.5 * before):
            apart = np.abs(orbit.u[0, [0, -1]] - rest.state) / scales[0]
            errors = equations.errors(problem, orbit, rest, scales[0])
            found = Homoclinic(orbit, float(orbit.value[0]), rest, errors[0], 0.0, errors[1])
            return found if apart.max() < _NEAR else None
        before = size
    return None


def _rest(problem: Problem, scalars: Array, near: Array) -> Saddle | None:
    """Return the saddle near a state, None if there is none."""
    state = near[None, None].copy()
    for _ in range(3):
        f, jacobian, by_parameters = problem.derivatives(np.zeros((1, 1)), state, scalars)
        state = state - solve(jacobian, f[..., None])[..., 0]
    matrix = jacobian[0, 0]
    if not (np.isfinite(matrix).all() and np.isfinite(state).all()):
        return None
    mu, right = np.linalg.eig(matrix)
    left = solve(right, np.eye(len(mu)))
    if not np.isfinite(left).all():
        return None
    moves = -solve(matrix, by_parameters[0, 0, :, :1])[:, 0]
    inward, outward = (_real(left[some]) for some in (mu.real < 0.0, mu.real > 0.0))
    if len(inward) + len(outward) < len(mu) or not (len(inward) and len(outward)):
        return None
    return Saddle(state[0, 0], moves, mu, right, left, inward, outward)


def _real(rows: Any) -> Array:
    """Return an orthonormal basis of the real space of some rows, with which their conjugates are."""
    found: Array = np.linalg.svd(np.concatenate((rows.real, rows.imag)))[2][: len(rows)]
    return found


@dataclass(frozen=True)
class Projected:
    """The equations linearised at an orbit, of the beginnings of groups of intervals, of the end and of p,
    and what makes the rest of the orbit of these; `first` is the row of the first condition at the ends."""

    matrix: Array
    right: Array
    stages: Array
    partial: Array
    first: int

    @classmethod
    def at(cls, problem: Problem, orbit: Orbits, rest: Saddle, plane: Section) -> Projected:
        """Return those at an orbit."""
        stages, transfer, _, _ = condensed(problem, orbit)
        partial = grouped(transfer)
        ends, n = partial[0, :, -1], orbit.u.shape[2]
        groups = len(ends)
        first = groups * n
        matrix, right = np.zeros((first + n + 1, first + n + 1)), np.zeros(first + n + 1)
        for g in range(groups):
            own, after = (slice(k * n, (k + 1) * n) for k in (g, g + 1))
            matrix[own, own], matrix[own, after] = ends[g, :, :n], -np.eye(n)
            matrix[own, -1], right[own] = ends[g, :, n + 1], -ends[g, :, -1]
        row = first
        for at, rows in ((0, rest.inward), (groups, rest.outward)):
            own, place = slice(row, row + len(rows)), slice(at * n, (at + 1) * n)
            matrix[own, place], matrix[own, -1] = rows, -rows @ rest.moves
            right[own] = -rows @ (orbit.u[0, -1 if at else 0] - rest.state)
            row += len(rows)
        matrix[-1, plane.group * n : (plane.group + 1) * n] = plane.across
        right[-1] = plane.value - plane.across @ orbit.u[0, plane.group * orbit.stages.shape[1] // groups]
        return cls(matrix, right, stages, partial, first)

    def solved(self, orbit: Orbits) -> Orbits:
        """Return the change that fulfils them."""
        z, n = solve(self.matrix, self.right), orbit.u.shape[2]
        scalars = np.zeros((1, orbit.scalars.shape[1] + 1, 1))
        scalars[0, 1, 0], scalars[0, -1, 0] = z[-1], 1.0
        u, stages = filled(self.stages, self.partial, z[:-1].reshape(1, -1, n, 1), scalars)
        return Orbits(orbit.s, u[..., 0], stages[..., 0], scalars[:, :-1, 0])

    def errors(self, problem: Problem, orbit: Orbits, rest: Saddle, scales: Array) -> tuple[float, float]:
        """Return how far p is off by what the ends leave out, and at most by the rounding of equations."""
        one = np.zeros(len(self.right))
        one[-1] = 1.0
        # How much p changes with the right side of each equation.
        each, up, n = solve(self.matrix.T, one), rest.mu.real > 0.0, len(scales)
        begin, end = (orbit.u[0, k] - rest.state for k in (0, -1))
        bent = rest.inward @ _bent(problem, orbit, rest, begin, up)
        bent = np.append(bent, rest.outward @ _bent(problem, orbit, rest, end, ~up))
        by_ends = each[self.first : self.first + n] @ bent
        rounding = np.finfo(float).eps * (np.abs(each[:-1]).reshape(-1, n) @ scales).sum()
        return float(by_ends), float(rounding)


def _bent(problem: Problem, orbit: Orbits, rest: Saddle, away: Array, own: Index) -> Array:
    """Return what the manifold of some eigenvalues, at a distance in its subspace, has beside that, to second
    order, in the directions of the others."""
    n, mu = len(away), rest.mu
    c = np.where(own, rest.left @ away, 0.0)
    i, j = np.divmod(np.arange(n * n), n)
    given = {name: np.repeat(values, n * n) for name, values in problem.parameters.items()}
    given |= {name: np.repeat(orbit.scalars[:, m], n * n) for m, name in enumerate(problem.along, 1)}
    state = np.tile(rest.state, (n * n, 1))
    second = 0.5 * multilinear(problem.model, state, given, rest.right.T[i], rest.right.T[j])
    used = (own[i] & own[j])[:, None] & ~own
    apart = np.where(used, (mu[i] + mu[j])[:, None] - mu, 1.0)
    share = np.where(used, second @ rest.left.T * (c[i] * c[j])[:, None] / apart, 0.0)
    found: Array = (rest.right @ share.sum(axis=0)).real
    return found
