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
from qifscan.limit_cycles.delayed_problem import CyclePast, ProblemWithPast
from qifscan.limit_cycles.elimination import solve
from qifscan.limit_cycles.gauss import END, MATRIX, STAGES
from qifscan.limit_cycles.orbits import Orbits

if TYPE_CHECKING:
    from qifscan.limit_cycles.collocation import Border


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
class DelayedLinear:
    """The equations linearised at cycles.

    `stages` `(orbits, N, 4, n, n + 4 + k + 1)`: changes of the stages by those of (left mesh point, past at
    the stages, scalars, 1); `transfer` `(orbits, N, n, ...)`: of the right mesh point. `shift`: of the past
    by the scalars, as it is read at other places, `(orbits, N, 4, k)`. `gap`: u(1) - u(0); `residual`: the
    largest error of an equation, relative to the variable's size.
    """

    past: CyclePast
    stages: Array
    transfer: Array
    shift: Array
    gap: Array
    residual: Array

    @property
    def groups(self) -> Array:
        """Return identities: there are no groups of intervals in which directions could grow too much."""
        count, size = self.gap.shape
        return np.tile(np.eye(size), (count, 1, 1, 1))

    @property
    def block(self) -> int:
        """Unknowns of an interval."""
        return int(self.gap.shape[1]) + STAGES

    @cached_property
    def read(self) -> Array:
        """The changes of the past by those of what the stages depend on, in the interval that it is read
        from: `(orbits, N, 4, n + 4 + k + 1)`."""
        orbit = np.arange(len(self.gap))[:, None, None]
        rates = self.stages[orbit, self.past.interval, :, 0]
        found: Array = (self.past.weights[..., None, 1:] @ rates)[..., 0, :]
        found[..., 0] += self.past.weights[..., 0]
        return found

    def entries(self, orbit: int) -> Entries:
        """Return the equations of one cycle."""
        intervals, size, wide = self.transfer.shape[1], self.gap.shape[1], self.block
        each, own = np.arange(intervals)[:, None, None], np.arange(wide)
        shape = (intervals, size, wide)
        after = np.broadcast_to((each + 1) % intervals * wide + own[:size, None], shape)
        before = np.broadcast_to(each * wide + own, shape)
        around = np.broadcast_to(each == intervals - 1, shape)
        shape = (intervals, STAGES, wide)
        here = np.broadcast_to(each * wide + own[size:, None], shape)
        from_ = self.past.interval[orbit][..., None] * wide + own
        periods = np.broadcast_to(self.past.periods[orbit][..., None], shape)
        pairs = ((after, here), (before, from_), (around, periods))
        row, column, ago = (np.concatenate([part.ravel() for part in pair]).astype(np.intp) for pair in pairs)
        parts = self.transfer[orbit, ..., :wide], self.read[orbit, ..., :wide]
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
        by_rest[:, :size] = np.roll(self.transfer[orbit, ..., wide:], 1, axis=0)
        by_rest[0, :size, -1] += self.gap[orbit]
        by_rest[:, size:] = self.read[orbit, ..., wide:]
        by_rest[:, size:, :-1] += self.shift[orbit]
        rows = np.zeros((k, intervals, wide))
        rows[..., :size] = border.states[orbit, :, :-1]
        last = border.states[orbit, :, -1]
        rows[:, 0, :size] += last
        right = np.zeros((intervals * wide + k, 2))
        right[:-k, 0] = by_rest[..., -1].ravel()
        right[-k:, 0] = border.right[orbit] + last @ self.gap[orbit]
        right[-1, 1] = 1.0
        entries = self.entries(orbit)
        square = eye_array(entries.size, format="csc") - entries.matrix(np.ones_like)
        beside = csc_array(-by_rest[..., :-1].reshape(-1, k))
        whole = block_array(
            [[square, beside], [csc_array(rows.reshape(k, -1)), csc_array(border.scalars[orbit])]],
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
    count, intervals, stages, size = orbits.stages.shape
    k = orbits.scalars.shape[1]
    past = problem.past(orbits, orbits.gauss_times)
    f, jacobian, by_past, by = problem.with_past(
        orbits.gauss_times, orbits.stages, past.value, orbits.scalars
    )
    time = (orbits.steps * orbits.period[:, None])[..., None, None]
    summed = MATRIX @ f
    right = np.zeros((count, intervals, stages, size, size + stages + k + 1))
    right[..., :size] = np.eye(size)
    right[..., size : size + stages] = (
        time[..., None] * MATRIX[:, None] * np.moveaxis(by_past, 2, 3)[:, :, None]
    )
    right[..., size + stages] = orbits.steps[..., None, None] * summed
    if k > 1:
        varied = MATRIX @ by.reshape(count, intervals, stages, -1)
        right[..., size + stages + 1 : -1] = (time * varied).reshape(by.shape)
    wrong = orbits.stages - orbits.u[:, :-1, None] - time * summed
    right[..., -1] = -wrong
    within = np.einsum("jl,oilab->oijalb", MATRIX, jacobian) * -time[..., None, None]
    matrix = within.reshape(count, intervals, stages * size, stages * size) + np.eye(stages * size)
    found = solve(matrix, right.reshape(count, intervals, stages * size, -1)).reshape(right.shape)
    transfer = np.einsum("j,oijac->oiac", END[1:], found)
    transfer[..., :size] += END[0] * np.eye(size)
    jump = END[0] * orbits.u[:, :-1] + END[1:] @ orbits.stages - orbits.u[:, 1:]
    transfer[..., -1] += jump
    gap = orbits.u[:, -1] - orbits.u[:, 0]
    worst = np.maximum(np.abs(wrong).max(axis=(1, 2)), np.abs(jump).max(axis=1))
    residual = (np.maximum(worst, np.abs(gap)) / problem.scales(orbits.u)).max(axis=1)
    return DelayedLinear(past, found, transfer, _shift(problem, orbits, past), gap, residual)


def _shift(problem: ProblemWithPast, orbits: Orbits, past: CyclePast) -> Array:
    """Return the change of the past by the scalars as it is read at other places: at s - D/T."""
    found = np.zeros((*past.slope.shape, orbits.scalars.shape[1]))
    period = orbits.period[:, None, None]
    found[..., 0] = past.slope * problem.delays(orbits.scalars)[:, None, None] / period**2
    if problem.model.delay in problem.along:
        found[..., 1 + problem.along.index(problem.model.delay)] = -past.slope / period
    return found
