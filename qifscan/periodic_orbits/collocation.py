"""Periodic orbits as boundary value problems: Gauss collocation on adapted meshes, many orbits at once.

On the scaled time s = t/T in [0, 1] an orbit is a polynomial of degree 4 on each of N intervals, which
fulfils u' = T f(u) at the 4 Gauss points of each: its values at the mesh points are right to order 8.
Newton's method is condensed, in stacks of small systems: the stages of an interval are eliminated within it,
the mesh points within short groups of intervals, then every second beginning of a group by a QR decomposition
until few are left. These and the scalars are one small system for each orbit. Nothing grows where directions
do: groups are too short for it, and the rest is elimination with pivots.

U. Ascher, R. Mattheij, R. Russell, Numerical Solution of Boundary Value Problems for ODEs, SIAM 1995, ch. 5,
7, 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.elimination import eliminated, grouped, halved, solve, to_ends
from qifscan.periodic_orbits.gauss import END, MATRIX, STAGES
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import OrbitProblem, WithMemory

INTERVALS = 64
"""Intervals of an orbit unless asked for otherwise; always a power of two, or one and a half of that."""

SMALL_STEP, SMALL_NEXT = 1e-6, 1e-11
"""Relative size of a Newton step after which its square is rounding, and of the next one, foretold from the
last two, that need not be taken."""

MOST_STEPS = 10


@dataclass(frozen=True)
class Border:
    """Linear conditions besides the equations, as many as scalars.

    Rows of mesh points `(orbits, k, N + 1, n)`, of the scalars `(orbits, k, k)`, and what they are to give
    for the next change `(orbits, k)`.
    """

    states: Array
    scalars: Array
    right: Array

    @classmethod
    def fixed(cls, orbits: Orbits) -> Border:
        """Return the conditions that no scalar changes."""
        (count, points, size), k = orbits.u.shape, orbits.scalars.shape[1]
        scalars = np.tile(np.eye(k), (count, 1, 1))
        return cls(np.zeros((count, k, points, size)), scalars, np.zeros((count, k)))

    def seen_from(self, guess: Orbits, here: Orbits, which: Any) -> Border:
        """Return the conditions that what they give at a guess is what they give at orbits on their way."""
        states, scalars = self.states[which], self.scalars[which]
        away = (here.u - guess.u[which]).reshape(len(here.u), -1, 1)
        right = -(states.reshape(*states.shape[:2], -1) @ away)[..., 0]
        right -= (scalars @ (here.scalars - guess.scalars[which])[..., None])[..., 0]
        return Border(states, scalars, right)


@dataclass(frozen=True)
class Linear:
    """The equations linearised at orbits, condensed.

    `stages` `(orbits, N, 4, n, c)`: changes of the stages by those of (left mesh point, scalars, 1);
    `transfer` `(orbits, N, n, c)`: of the right mesh point; `partial` `(orbits, G, L + 1, n, c)`: of the mesh
    points of a group by those of (its first one, scalars, 1). `levels`: of every second beginning of a group
    by those of (the one before, the one after, scalars, 1), again and again; `blocks`: the equations of those
    that are left, by the same. `gap`: u(1) - R u(0); `turn`: R and its derivatives; `residual`: the largest
    error of an equation, relative to the variable's size.
    """

    stages: Array
    transfer: Array
    partial: Array
    levels: tuple[Array, ...]
    blocks: Array
    gap: Array
    turn: tuple[Array, Array] | None
    residual: Array

    @property
    def states(self) -> Array:
        """The transfer matrices of states, `(orbits, N, n, n)`."""
        return self.transfer[..., : self.gap.shape[1]]

    @property
    def groups(self) -> Array:
        """The transfer matrices of the groups, `(orbits, G, n, n)`."""
        return self.partial[:, :, -1, :, : self.gap.shape[1]]

    def solved(self, border: Border, orbits: Orbits) -> tuple[Orbits, Orbits]:
        """Return the change that fulfils the equations and the border, and the direction in which all of
        them stay but the last condition, which rises by 1."""
        rows, fixed = self._lowered(*self._of_groups(border))
        z = solve(*self._matrix(rows, fixed, border.right, orbits))
        change, direction = self._whole(z, np.array([1.0, 0.0]), orbits)
        return change, direction

    def critical(self, border: Border, orbits: Orbits) -> Orbits:
        """Return the direction in which all equations and the border stay, where there is one."""
        rows, fixed = self._lowered(*self._of_groups(border))
        matrix, _ = self._matrix(rows, fixed, border.right, orbits)
        (direction,) = self._whole(np.linalg.svd(matrix)[2][:, -1, :, None], np.zeros(1), orbits)
        return direction

    def _whole(self, z: Array, ones: Array, orbits: Orbits) -> list[Orbits]:
        """Return changes from those of the beginnings that are left and of the scalars, and of 1."""
        count, _, _, size, _ = self.partial.shape
        blocks, several = self.blocks.shape[1], len(ones)
        scalars = z[:, blocks * size :]
        rest = np.concatenate((scalars, np.broadcast_to(ones, (count, 1, several))), axis=1)
        begin = self._raised(z[:, : blocks * size].reshape(count, blocks, size, several), rest, orbits)
        x, stages = filled(self.stages, self.partial, begin, rest)
        return [
            Orbits(orbits.s, x[..., i].copy(), stages[..., i].copy(), scalars[..., i]) for i in range(several)
        ]

    def _of_groups(self, border: Border) -> tuple[Array, Array]:
        """Return the border by the beginnings of the groups and the end `(orbits, G + 1, k, n)`, and by
        (scalars, 1) `(orbits, k, k + 1)`."""
        count, groups, length, size, _ = self.partial.shape
        k = border.scalars.shape[1]
        inside = border.states[:, :, :-1].reshape(count, k, groups, -1).swapaxes(1, 2)
        found = inside @ self.partial[:, :, :-1].reshape(count, groups, (length - 1) * size, -1)
        rows = np.concatenate((found[..., :size], border.states[:, None, :, -1]), axis=1)
        fixed = found[..., size:].sum(axis=1)
        fixed[..., :-1] += border.scalars
        return rows, fixed

    def _lowered(self, rows: Array, fixed: Array) -> tuple[Array, Array]:
        """Return the border by what is left of the beginnings."""
        size = self.gap.shape[1]
        for level in self.levels:
            through = rows[:, 1::2] @ level
            kept = rows[:, 0::2].copy()
            kept[:, :-1] += through[..., :size]
            kept[:, 1:] += through[..., size : 2 * size]
            rows, fixed = kept, fixed + through[..., 2 * size :].sum(axis=1)
        return rows, fixed

    def _raised(self, left: Array, rest: Array, orbits: Orbits) -> Array:
        """Return the changes of all beginnings of groups and of the end from those that are left."""
        last = left[:, :1] if self.turn is None else (self.turn[0] @ left[:, 0])[:, None]
        if self.turn is not None:
            last = last + np.einsum("bijk,bj,bkr->bir", self.turn[1], orbits.u[:, 0], rest[:, :-1])[:, None]
        found = np.concatenate((left, last - self.gap[:, None, :, None] * rest[:, None, -1:]), axis=1)
        for level in reversed(self.levels):
            middle = level @ _with(np.concatenate((found[:, :-1], found[:, 1:]), axis=2), rest)
            both = np.empty((len(found), 2 * found.shape[1] - 1, *found.shape[2:]))
            both[:, 0::2], both[:, 1::2] = found, middle
            found = both
        return found

    def _matrix(self, rows: Array, fixed: Array, wanted: Array, orbits: Orbits) -> tuple[Array, Array]:
        """Return the equations of the beginnings that are left and of the scalars, and both right sides.

        The end is x(1) = R x(0) - gap + R' u(0).
        """
        count, blocks, size, _ = self.blocks.shape
        k, wide = rows.shape[2], blocks * size
        matrix, right = np.zeros((count, wide + k, wide + k)), np.zeros((count, wide + k, 2))
        for g in range(blocks):
            own = slice(g * size, (g + 1) * size)
            matrix[:, own, own] = self.blocks[:, g, :, :size]
            if g + 1 < blocks:
                matrix[:, own, (g + 1) * size : (g + 2) * size] = self.blocks[:, g, :, size : 2 * size]
        matrix[:, :wide, wide:] = self.blocks[..., 2 * size : -1].reshape(count, wide, k)
        right[:, :wide, 0] = -self.blocks[..., -1].reshape(count, wide)
        matrix[:, wide:, :wide] = rows[:, :-1].swapaxes(1, 2).reshape(count, k, wide)
        matrix[:, wide:, wide:] = fixed[..., :-1]
        right[:, wide:, 0] = wanted - fixed[..., -1]
        right[:, -1, 1] = 1.0
        # What multiplies the end: in the equations of the last block, and in the border.
        ends = np.concatenate((self.blocks[:, -1, :, size : 2 * size], rows[:, -1]), axis=1)
        where = np.r_[wide - size : wide + k]
        matrix[:, where, :size] += ends if self.turn is None else ends @ self.turn[0]
        right[:, where, 0] += (ends @ self.gap[..., None])[..., 0]
        if self.turn is not None:
            matrix[:, where, wide:] += ends @ np.einsum("bijk,bj->bik", self.turn[1], orbits.u[:, 0])
        return matrix, right


def _with(states: Array, rest: Array) -> Array:
    """Return changes of states `(orbits, places, n, r)` with those of (scalars, 1) below each."""
    wide = np.broadcast_to(rest[:, None], (*states.shape[:2], *rest.shape[1:]))
    return np.concatenate((states, wide), axis=2)


def filled(stages: Array, partial: Array, begin: Array, rest: Array) -> tuple[Array, Array]:
    """Return the changes of mesh points `(orbits, N + 1, n, r)` and stages `(orbits, N, 4, n, r)` from those
    of the beginnings of groups and the end, and of (scalars, 1); `stages` and `partial` as in `Linear`."""
    count, groups, _, size, _ = partial.shape
    inside = _with(begin[:, :-1], rest)
    inner = partial[:, :, :-1].reshape(count, groups, -1, inside.shape[2]) @ inside
    x = np.concatenate((inner.reshape(count, -1, size, rest.shape[2]), begin[:, -1:]), axis=1)
    flat = stages.reshape(count, x.shape[1] - 1, STAGES * size, -1) @ _with(x[:, :-1], rest)
    return x, flat.reshape(count, x.shape[1] - 1, STAGES, size, rest.shape[2])


def linear_of(system: OrbitProblem, orbits: Orbits) -> Any:
    """Return the equations linearised at orbits, in the way of the system if it has one."""
    return system.linear(orbits) if isinstance(system, WithMemory) else linearised(system, orbits)


def linearised(system: OrbitProblem, orbits: Orbits) -> Linear:
    """Return the equations linearised at orbits, condensed."""
    found, transfer, wrong, jump = condensed(system, orbits)
    scales = system.scales(orbits.u)
    turn = system.turn(orbits.scalars)
    begin = orbits.u[:, 0] if turn is None else (turn[0] @ orbits.u[:, 0, :, None])[..., 0]
    gap = orbits.u[:, -1] - begin
    residual = np.maximum(wrong, np.abs(jump).max(axis=1))
    residual = (np.maximum(residual, np.abs(gap)) / scales).max(axis=1)
    partial = grouped(transfer)
    return Linear(found, transfer, partial, *halved(partial[:, :, -1]), gap, turn, residual)


def condensed(system: OrbitProblem, orbits: Orbits) -> tuple[Array, Array, Array, Array]:
    """Return `stages` and `transfer` of the linearised equations, and by how much the stages, at most, and
    the right mesh points fail theirs: `(orbits, n)` and `(orbits, N, n)`."""
    count, intervals, stages, size = orbits.stages.shape
    k = orbits.scalars.shape[1]
    f, jacobian, by_parameters = system.derivatives(orbits.gauss_times, orbits.stages, orbits.scalars)
    h = orbits.steps[..., None, None]
    time = h * orbits.period[:, None, None, None]
    summed = MATRIX @ f
    right = np.empty((count, intervals, stages, size, k + 1))
    right[..., 0] = h * summed
    if k > 1:
        varied = MATRIX @ by_parameters.reshape(count, intervals, stages, -1)
        right[..., 1:k] = (time * varied).reshape(by_parameters.shape)
    wrong = orbits.stages - orbits.u[:, :-1, None] - time * summed
    right[..., -1] = -wrong
    found = eliminated(
        jacobian.reshape(-1, stages, size, size),
        time.ravel(),
        right.reshape(-1, stages, size, k + 1),
        system.size,
    ).reshape(count, intervals, stages, size, -1)
    transfer = to_ends(found)
    jump = END[0] * orbits.u[:, :-1] + END[1:] @ orbits.stages - orbits.u[:, 1:]
    transfer[..., -1] += jump
    return found, transfer, np.abs(wrong).max(axis=(1, 2)), jump


@dataclass(frozen=True)
class Corrected:
    """What Newton's method gave: the orbits, whether it converged, in how many steps, and how long the first
    one was; the direction of the last condition and the transfer matrices of the groups one step before."""

    orbits: Orbits
    good: Any
    taken: Index
    first: Array
    direction: Orbits
    groups: Array


def corrected(
    system: OrbitProblem,
    guess: Orbits,
    border: Border,
    *,
    start: Orbits | None = None,
    far: float = 10.0,
    most: int = MOST_STEPS,
) -> Corrected:
    """Return the orbits near a guess, at which the conditions of a border give what they give there.

    Newton's method begins at the guess, or at `start`. Beyond a step of size `far` it won't come back; nor is
    it to go on where its steps don't shrink.
    """
    orbits = (start or guess).copy()
    count = len(guess.scalars)
    good, taken = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.intp)
    left, sizes = np.arange(count), np.full(count, np.nan)
    first = np.full(count, np.nan)
    direction, groups = guess.copy(), np.empty(0)
    for step in range(most):
        here, whose = orbits.chosen(left), system.chosen(left)
        linear = linear_of(whose, here)
        change, along = linear.solved(border.seen_from(guess, here, left), here)
        scales = whose.scales(here.u)
        size = (np.abs(change.stages).max(axis=(1, 2)) / scales).max(axis=1)
        size = np.maximum(size, np.abs(change.period / here.period))
        orbits.put(left, here.moved(np.ones(len(left)), change))
        if not step:
            first, groups = size, np.empty((count, *linear.groups.shape[1:]))
        direction.put(left, along)
        groups[left] = linear.groups
        taken[left] += 1
        foretold = size * (size / sizes[left]) ** 2
        good[left] = (size < SMALL_STEP) | ((foretold < SMALL_NEXT) & (size < 1e-3))
        goes_on = ~good[left] & (size < far) & (orbits.period[left] > 0.0)
        if far < 1.0:
            goes_on &= ~(size > 0.5 * sizes[left])
        sizes[left] = size
        left = left[goes_on]
        if not len(left):
            break
    return Corrected(orbits, good, taken, first, direction, groups)
