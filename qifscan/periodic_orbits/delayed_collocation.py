"""Cycles with a delay by Gauss collocation: the equations of Newton's method, which the past ties together.

On each of N intervals a cycle is a polynomial of degree 4, as without a delay (see `collocation`), and r a
delay ago is read off these polynomials. The unknowns are the mesh points and that r at the Gauss points; the
stages of an interval are eliminated within it. What is left is sparse: a point depends on the one before, and
on the interval of one delay ago. As polynomials are right to order 5 between mesh points, so is all the rest.

K. Engelborghs, T. Luzyanina, K. in 't Hout, D. Roose, SIAM J. Sci. Comput. 22, 1593 (2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.delayed_problem import CyclePast, ProblemWithPast
from qifscan.periodic_orbits.elimination import solve
from qifscan.periodic_orbits.gauss import END, MATRIX, STAGES
from qifscan.periodic_orbits.orbits import Orbits, spread

if TYPE_CHECKING:
    from qifscan.periodic_orbits.collocation import Border


@dataclass(frozen=True)
class Entries:
    """The equations of one cycle, y = sum of A_k y(k periods before): rows, columns and values of the A_k,
    and k of each. y are the mesh points without the last, each followed by the past at the Gauss points."""

    row: Index
    column: Index
    value: Array
    periods: Index
    size: int

    def matrix(self, power: Any, kept: Any = None) -> Any:
        """Return the sum of `power(k)` A_k, over those with a `kept(k)`."""
        from scipy.sparse import csc_array

        which = slice(None) if kept is None else kept(self.periods)
        value = self.value[which] * power(self.periods[which])
        return csc_array((value, (self.row[which], self.column[which])), shape=(self.size, self.size))


@dataclass(frozen=True)
class Reading:
    """How the past of c variables at the stages, each the first of so many parts of the state, changes.

    `weights` `(orbits, N, 4, c, c, 5)`: by the nodes of those of the interval that it is read from; `shift`
    `(orbits, N, 4, c, k)`: by the scalars, as it is read at other places.
    """

    weights: Array
    shift: Array

    @property
    def count(self) -> int:
        """Of how many variables it is."""
        return int(self.weights.shape[3])


@dataclass(frozen=True)
class DelayedLinear:
    """The equations linearised at cycles.

    `stages` `(orbits, N, 4, n, n + 4 c + k + 1)`: changes of the stages by those of (left mesh point, past at
    the stages, scalars, 1); `transfer` `(orbits, N, n, ...)`: of the right mesh point. The past is that of c
    variables, see `Reading`. `gap`: u(1) - R u(0); `turn`: R and the derivatives of R u(0) by the scalars, if
    R is not 1; `residual`: the largest error of an equation, relative to the variable's size.
    """

    past: CyclePast
    stages: Array
    transfer: Array
    reading: Reading
    gap: Array
    turn: tuple[Array, Array] | None
    residual: Array

    @property
    def groups(self) -> Array:
        """Return identities: there are no groups of intervals in which directions could grow too much."""
        count, size = self.gap.shape
        return np.tile(np.eye(size), (count, 1, 1, 1))

    @property
    def block(self) -> int:
        """Unknowns of an interval."""
        return int(self.gap.shape[1]) + STAGES * self.reading.count

    @cached_property
    def read(self) -> Array:
        """The changes of the past by those of what the stages depend on, in the interval that it is read
        from: `(orbits, N, 4 c, n + 4 c + k + 1)`."""
        orbit = np.arange(len(self.gap))[:, None, None]
        count = self.reading.count
        size = self.gap.shape[1] // count
        own = slice(0, None, size)
        rates = self.stages[orbit, self.past.interval][..., own, :]
        weights = self.reading.weights
        shape = *rates.shape[:3], STAGES * count, rates.shape[-1]
        inner = np.moveaxis(weights[..., 1:], -1, -2).reshape(*weights.shape[:4], -1)
        found: Array = inner @ rates.reshape(shape)
        found[..., : size * count : size] += weights[..., 0]
        return found.reshape(*found.shape[:2], -1, found.shape[-1])

    @cached_property
    def begins(self) -> Array:
        """The changes of the mesh points without the last by those of the interval before each, around the
        cycle: `(orbits, N, n, n + 4 c + k + 1)`."""
        found = np.roll(self.transfer, 1, axis=1)
        if self.turn is None:
            found[:, 0, :, -1] += self.gap
            return found
        matrix, by = self.turn
        found[:, 0, :, -1 - by.shape[2] : -1] -= by
        found[:, 0, :, -1] += self.gap
        found[:, 0] = np.linalg.solve(matrix, found[:, 0])
        return found

    def entries(self, orbit: int) -> Entries:
        """Return the equations of one cycle."""
        intervals, size, wide = self.transfer.shape[1], self.gap.shape[1], self.block
        each, own = np.arange(intervals)[:, None, None], np.arange(wide)
        shape = (intervals, size, wide)
        after = np.broadcast_to(each * wide + own[:size, None], shape)
        before = np.broadcast_to((each - 1) % intervals * wide + own, shape)
        around = np.broadcast_to(each == 0, shape)
        shape = (intervals, wide - size, wide)
        here = np.broadcast_to(each * wide + own[size:, None], shape)
        count = self.reading.count
        from_, periods = (
            np.broadcast_to(np.repeat(x[orbit], count, axis=1)[..., None], shape)
            for x in (self.past.interval, self.past.periods)
        )
        pairs = ((after, here), (before, from_ * wide + own), (around, periods))
        row, column, ago = (np.concatenate([part.ravel() for part in pair]).astype(np.intp) for pair in pairs)
        parts = self.begins[orbit, ..., :wide], self.read[orbit, ..., :wide]
        value = np.concatenate([part.ravel() for part in parts])
        return Entries(row, column, value, ago, intervals * wide)

    def solved(self, border: Border, orbits: Orbits) -> tuple[Orbits, Orbits]:
        """Return the change that fulfils the equations and the border, and the direction in which all of
        them stay but the last condition, which rises by 1."""
        count, intervals, size = self.transfer.shape[:3]
        k = border.scalars.shape[1]
        found = np.stack([self._solution(orbit, border) for orbit in range(count)])
        scalars = found[:, intervals * self.block :]
        ones = np.zeros((count, 1, 2))
        ones[..., 0] = 1.0
        rest = np.concatenate((scalars, ones), axis=1)
        y = found[:, : intervals * self.block].reshape(count, intervals, self.block, 2)
        wide = np.concatenate((y, np.broadcast_to(rest[:, None], (count, intervals, k + 1, 2))), axis=2)
        stages = self.stages.reshape(count, intervals, STAGES * size, -1) @ wide
        stages = stages.reshape(count, intervals, STAGES, size, 2)
        last = y[:, :1, :size] - self.gap[:, None, :, None] * ones[:, None]
        if self.turn is not None:
            matrix, by = self.turn
            last = (matrix @ y[:, 0, :size] + by @ scalars - self.gap[..., None] * ones)[:, None]
        u = np.concatenate((y[:, :, :size], last), axis=1)
        change, direction = (
            Orbits(orbits.s, u[..., i].copy(), stages[..., i].copy(), scalars[..., i]) for i in range(2)
        )
        return change, direction

    def _solution(self, orbit: int, border: Border) -> Array:
        """Return the changes of y and of the scalars of one cycle, and the direction: `(size + k, 2)`."""
        from scipy.sparse import block_array, csc_array, eye_array
        from scipy.sparse.linalg import splu

        intervals, size, wide = self.transfer.shape[1], self.gap.shape[1], self.block
        k = border.scalars.shape[1]
        by_rest = np.zeros((intervals, wide, k + 1))
        by_rest[:, :size] = self.begins[orbit, ..., wide:]
        by_rest[:, size:] = self.read[orbit, ..., wide:]
        by_rest[:, size:, :-1] += self.reading.shift[orbit].reshape(intervals, -1, k)
        rows, scalars = np.zeros((k, intervals, wide)), border.scalars[orbit]
        rows[..., :size] = border.states[orbit, :, :-1]
        last = border.states[orbit, :, -1]
        if self.turn is None:
            rows[:, 0, :size] += last
        else:
            matrix, by = (x[orbit] for x in self.turn)
            rows[:, 0, :size] += last @ matrix
            scalars = scalars + last @ by
        right = np.zeros((intervals * wide + k, 2))
        right[:-k, 0] = by_rest[..., -1].ravel()
        right[-k:, 0] = border.right[orbit] + last @ self.gap[orbit]
        right[-1, 1] = 1.0
        entries = self.entries(orbit)
        square = eye_array(entries.size, format="csc") - entries.matrix(np.ones_like)
        beside = csc_array(-by_rest[..., :-1].reshape(-1, k))
        whole = block_array(
            [[square, beside], [csc_array(rows.reshape(k, -1)), csc_array(scalars)]],
            format="csc",
        )
        if not (np.isfinite(whole.data).all() and np.isfinite(right).all()):
            return np.full_like(right, np.nan)
        try:
            found: Array = splu(whole).solve(right)
        except RuntimeError:
            # The matrix is singular.
            return np.full_like(right, np.nan)
        return found


def delayed_linear(problem: ProblemWithPast, orbits: Orbits) -> DelayedLinear:
    """Return the equations linearised at cycles."""
    past = problem.past(orbits, orbits.gauss_times)
    f, jacobian, by_past, by = problem.with_past(
        orbits.gauss_times, orbits.stages, past.value, orbits.scalars
    )
    shift = moved(problem, orbits, past.slope[..., None], orbits.scalars.shape[1])
    reading = Reading(past.weights[..., None, None, :], shift)
    return linear_with_past(problem, orbits, past, (f, jacobian, by_past[..., None], by), reading)


def linear_with_past(
    system: Any, orbits: Orbits, past: CyclePast, derivatives: tuple[Array, ...], reading: Reading
) -> DelayedLinear:
    """Return the equations linearised at orbits from their rates of change at the stages, the Jacobians of
    these, and their derivatives by the past `(..., n, c)` and by the parameters."""
    count, intervals, stages, size = orbits.stages.shape
    k, many = orbits.scalars.shape[1], reading.count
    f, jacobian, by_past, by = derivatives
    wide = size + stages * many
    time = (orbits.steps * orbits.period[:, None])[..., None, None]
    summed = MATRIX @ f
    right = np.zeros((count, intervals, stages, size, wide + k + 1))
    right[..., :size] = np.eye(size)
    spread_out = np.moveaxis(by_past, 2, 3)[:, :, None]
    inner = time[..., None, None] * MATRIX[:, None, :, None] * spread_out
    right[..., size:wide] = inner.reshape(*inner.shape[:4], -1)
    right[..., wide] = orbits.steps[..., None, None] * summed
    if k > 1:
        varied = MATRIX @ by.reshape(count, intervals, stages, -1)
        right[..., wide + 1 : -1] = (time * varied).reshape(by.shape)
    wrong = orbits.stages - orbits.u[:, :-1, None] - time * summed
    right[..., -1] = -wrong
    within = np.einsum("jl,oilab->oijalb", MATRIX, jacobian) * -time[..., None, None]
    matrix = within.reshape(count, intervals, stages * size, stages * size) + np.eye(stages * size)
    found = solve(matrix, right.reshape(count, intervals, stages * size, -1)).reshape(right.shape)
    transfer = np.einsum("j,oijac->oiac", END[1:], found)
    transfer[..., :size] += END[0] * np.eye(size)
    jump = END[0] * orbits.u[:, :-1] + END[1:] @ orbits.stages - orbits.u[:, 1:]
    transfer[..., -1] += jump
    turn, begin = system.turn(orbits.scalars), orbits.u[:, 0]
    if turn is not None:
        turn = turn[0], np.einsum("bijk,bj->bik", turn[1], begin)
        begin = (turn[0] @ begin[..., None])[..., 0]
    gap = orbits.u[:, -1] - begin
    worst = np.maximum(np.abs(wrong).max(axis=(1, 2)), np.abs(jump).max(axis=1))
    residual = (np.maximum(worst, np.abs(gap)) / system.scales(orbits.u)).max(axis=1)
    return DelayedLinear(past, found, transfer, reading, gap, turn, residual)


def moved(problem: ProblemWithPast, orbits: Orbits, slope: Array, scalars: int) -> Array:
    """Return the changes by the scalars of what has such slopes by scaled time, `(orbits, N, 4, c)`, as it is
    read at other places: at s - D/T."""
    found = np.zeros((*slope.shape, scalars))
    period = spread(orbits.period, slope.ndim)
    found[..., 0] = slope * spread(problem.delays(orbits.scalars), slope.ndim) / period**2
    if problem.model.delay in problem.along:
        found[..., 1 + problem.along.index(problem.model.delay)] = -slope / period
    return found
