"""Periodic orbits as boundary value problems: Gauss collocation on adapted meshes, many orbits at once.

On the scaled time s = t/T in [0, 1] an orbit is a polynomial of degree 4 on each of N intervals, which
fulfils u' = T f(u) at the 4 Gauss points of each: its values at the mesh points are right to order 8.
Newton's method is condensed: the stages of an interval are eliminated within it, then every second mesh point
by a QR decomposition, log2 N times. Both are stacks of small systems over intervals and orbits, and nothing
grows where directions do. What is left of it, A x(0) + B x(1) = 0, holds the monodromy matrix.

U. Ascher, R. Mattheij, R. Russell, Numerical Solution of Boundary Value Problems for ODEs, SIAM 1995, ch. 5,
7, 9; C. de Boor, A Practical Guide to Splines, Springer 2001, ch. XII (the mesh).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.limit_cycles.gauss import END, ERROR, MATRIX, NODES, POINTS, STAGES, TOP, WEIGHTS, lagrange
from qifscan.theory.taylor import STATE, Gradient, coefficient

INTERVALS = 64
"""Intervals of an orbit unless asked for otherwise; always a power of two."""

SMALL_STEP = 1e-6
"""Relative size of a Newton step after which its square is rounding."""

MOST_STEPS = 10


@dataclass(frozen=True)
class Problem:
    """Whose orbits: a model, its parameters `(orbits,)` each, and which one may vary.

    With a `drive` (amplitude and phase, `(orbits,)` each) the input is amplitude sin(2 pi turns s + phase),
    added to the equation of the model's `driven` variable; `turns` are the periods of the drive in one of the
    orbit.
    """

    model: Model
    parameters: Mapping[str, Array]
    along: str | None = None
    drive: tuple[Array, Array, Array] | None = None

    def chosen(self, which: Any) -> Problem:
        """Return the problem of some of the orbits."""
        parameters = {name: values[which] for name, values in self.parameters.items()}
        drive = None if self.drive is None else tuple(values[which] for values in self.drive)
        return replace(self, parameters=parameters, drive=drive)

    def scales(self, u: Array) -> Array:
        """Return the size of each variable on orbits `(orbits, n)`: largest of all of its unit."""
        size = np.abs(u).max(axis=1)
        units = [variable.unit for variable in self.model.variables]
        same = np.array([[a == b for b in units] for a in units])
        found: Array = np.where(same, size[:, None, :], 0.0).max(axis=2)
        return found

    def inputs(self, s: Array) -> list[Any]:
        """Return the input of every variable at scaled times `(orbits, ...)`."""
        found: list[Any] = [0.0] * len(self.model.variables)
        if self.drive is not None:
            amplitude, phase, turns = (spread(values, s.ndim) for values in self.drive)
            found[self.model.variable_names.index(self.model.driven)] = amplitude * np.sin(
                2.0 * math.pi * turns * s + phase
            )
        return found

    def slopes(self, s: Array, u: Array, value: Array) -> Array:
        """Return the rates of change at states `(orbits, ..., n)`, in the state's units per ms."""
        given = {name: spread(values, s.ndim) for name, values in self.parameters.items()}
        if self.along is not None:
            given[self.along] = spread(value, s.ndim)
        state = tuple(np.moveaxis(u, -1, 0))
        slopes = self.model.field(state, tuple(self.inputs(s)), self.model.constants(given))
        return np.stack([slope + 0.0 * state[0] for slope in slopes], axis=-1)

    def derivatives(self, s: Array, u: Array, value: Array) -> tuple[Array, Array, Array]:
        """Return the rates of change, their Jacobians `(..., n, n)`, their derivatives by the parameter."""
        size = u.shape[-1]
        given: dict[str, Any] = {name: spread(values, s.ndim) for name, values in self.parameters.items()}
        if self.along is not None:
            given[self.along] = Gradient(STATE, (spread(value, s.ndim), *(0 for _ in range(size)), 1.0))
        state = tuple(
            Gradient(STATE, (u[..., i], *(1.0 if i == j else 0 for j in range(size)), 0)) for i in range(size)
        )
        slopes = self.model.field(state, tuple(self.inputs(s)), self.model.constants(given))
        found = np.empty((*u.shape, size + 2))
        for i, slope in enumerate(slopes):
            for j in range(size + 2):
                found[..., i, j] = coefficient(slope, j, STATE)
        return found[..., 0], found[..., 1:-1], found[..., -1]


def spread(values: Array, ndim: int) -> Array:
    """Return one number per orbit so that it broadcasts with `ndim` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - 1))


@dataclass(frozen=True)
class Orbits:
    """Orbits, or directions in their space.

    `s` mesh `(orbits, N + 1)`, `u` states there `(orbits, N + 1, n)`, `stages` those at the Gauss points
    `(orbits, N, 4, n)`, `period` in ms and `value` of the parameter that varies `(orbits,)`.
    """

    s: Array
    u: Array
    stages: Array
    period: Array
    value: Array

    def chosen(self, which: Any) -> Orbits:
        """Return some of them."""
        return Orbits(self.s[which], self.u[which], self.stages[which], self.period[which], self.value[which])

    def moved(self, step: Array, along: Orbits) -> Orbits:
        """Return the orbits a step further in a direction."""
        return Orbits(
            self.s,
            self.u + spread(step, 3) * along.u,
            self.stages + spread(step, 4) * along.stages,
            self.period + step * along.period,
            self.value + step * along.value,
        )

    def put(self, which: Any, others: Orbits) -> None:
        """Replace some of them."""
        for name in ("s", "u", "stages", "period", "value"):
            getattr(self, name)[which] = getattr(others, name)

    def copy(self) -> Orbits:
        """Return a copy."""
        return Orbits(self.s.copy(), self.u.copy(), self.stages.copy(), self.period.copy(), self.value.copy())

    @property
    def steps(self) -> Array:
        """Lengths of the intervals."""
        return np.diff(self.s, axis=1)

    @property
    def gauss_times(self) -> Array:
        """The scaled times of the stages, `(orbits, N, 4)`."""
        found: Array = self.s[:, :-1, None] + self.steps[:, :, None] * POINTS
        return found

    @property
    def weights(self) -> Array:
        """Weights of the mesh points in a mean over the period; they sum to 1."""
        h = 0.5 * self.steps
        return np.pad(h, ((0, 0), (0, 1))) + np.pad(h, ((0, 0), (1, 0)))


def joined(several: Sequence[Orbits]) -> Orbits:
    """Return the orbits of all."""
    return Orbits(
        *(
            np.concatenate([getattr(orbits, name) for orbits in several])
            for name in ("s", "u", "stages", "period", "value")
        )
    )


def from_function(mesh: Array, states: Any, period: Array, value: Array) -> Orbits:
    """Return orbits; a function of scaled times `(orbits, places)` gives their states, `(..., n)`."""
    count, points = mesh.shape
    empty = Orbits(mesh, np.empty((count, points, 0)), np.empty(0), period, value)
    times = empty.gauss_times
    stages = states(times.reshape(count, -1))
    return Orbits(mesh, states(mesh), stages.reshape(*times.shape, -1), period.copy(), value.copy())


def evaluated(orbits: Orbits, s: Array) -> Array:
    """Return the states at scaled times in [0, 1], `(orbits, places, n)`."""
    count, places = s.shape
    last = orbits.s.shape[1] - 2
    # One search for all orbits: the k-th lies in [2 k, 2 k + 1].
    shift = 2.0 * np.arange(count)[:, None]
    found = np.searchsorted((orbits.s + shift).ravel(), (s + shift).ravel(), side="right").reshape(s.shape)
    interval = np.clip(found - 1 - np.arange(count)[:, None] * (last + 2), 0, last)
    row = np.arange(count)[:, None]
    inside = (s - orbits.s[row, interval]) / orbits.steps[row, interval]
    basis = lagrange(NODES, inside.ravel()).reshape(count, places, STAGES + 1)
    nodes = np.concatenate((orbits.u[row, interval][:, :, None], orbits.stages[row, interval]), axis=2)
    result: Array = (basis[..., None] * nodes).sum(axis=2)
    return result


def monitor(orbits: Orbits, scales: Array) -> Array:
    """Return the fifth derivative's size to the power 1/5 on each interval, `(orbits, N)`.

    It is estimated from the jumps of the fourth, which is constant on an interval.
    """
    h = orbits.steps
    nodes = np.concatenate((orbits.u[:, :-1, None], orbits.stages), axis=2)
    fourth = np.einsum("k,bikn->bin", TOP, nodes) / (h[:, :, None] ** STAGES * scales[:, None])
    middle = 0.5 * (h + np.roll(h, -1, axis=1))
    jump = np.abs(np.roll(fourth, -1, axis=1) - fourth).max(axis=2) / middle
    size = 0.5 * (jump + np.roll(jump, 1, axis=1))
    found: Array = size ** (1.0 / (STAGES + 1))
    return found


def mesh_error(orbits: Orbits, scales: Array) -> Array:
    """Return an estimate of the largest error of the polynomials, relative to the sizes of the variables."""
    found: Array = ERROR * ((orbits.steps * monitor(orbits, scales)) ** (STAGES + 1)).max(axis=1)
    return found


def adapted(orbits: Orbits, scales: Array, intervals: int) -> Array:
    """Return meshes of so many intervals on which the error is the same everywhere."""
    density = monitor(orbits, scales)
    mean = (density * orbits.steps).sum(axis=1, keepdims=True)
    # A floor under the density: no interval is longer than two of a uniform mesh. Where a state rests near a
    # saddle it is the multipliers that need the mesh.
    density = density + mean + 1e-300
    total = np.cumsum(density * orbits.steps, axis=1)
    total = np.pad(total / total[:, -1:], ((0, 0), (1, 0)))
    return inverted(orbits.s, total, intervals)


def inverted(s: Array, total: Array, intervals: int) -> Array:
    """Return where increasing functions, given on meshes and from 0 to 1, are k/N."""
    wanted = np.linspace(0.0, 1.0, intervals + 1)
    found = np.stack([np.interp(wanted, t, x) for t, x in zip(total, s, strict=True)])
    found[:, 0], found[:, -1] = 0.0, 1.0
    return found


def remeshed(orbits: Orbits, mesh: Array) -> Orbits:
    """Return the same orbits on other meshes."""
    return from_function(mesh, lambda s: evaluated(orbits, s), orbits.period, orbits.value)


@dataclass(frozen=True)
class Border:
    """Two linear conditions besides the equations: rows of mesh points `(orbits, 2, N + 1, n)`, of the period
    and the parameter `(orbits, 2, 2)`, and what they are to give for the next change `(orbits, 2)`."""

    states: Array
    scalars: Array
    right: Array

    @classmethod
    def fixed(cls, orbits: Orbits) -> Border:
        """Return the conditions that neither the period nor the parameter changes."""
        count, points, size = orbits.u.shape
        scalars = np.tile(np.eye(2), (count, 1, 1))
        return cls(np.zeros((count, 2, points, size)), scalars, np.zeros((count, 2)))


@dataclass(frozen=True)
class Linear:
    """The equations linearised at orbits, condensed to x(0), x(1), the period and the parameter.

    `stages`: changes of the stages by those of (left mesh point, period, parameter, 1); `transfer`: the same
    of the right mesh point; `points`: changes of all mesh points by those of (x(0), x(1), period, parameter,
    1); `ends`: A, B and the rest of A x(0) + B x(1) + ... = 0; `gap`: u(1) - u(0); `residual`: the largest
    error of an equation, relative to the variable's size.
    """

    stages: Array
    transfer: Array
    points: Array
    ends: Array
    gap: Array
    residual: Array

    @property
    def states(self) -> Array:
        """The transfer matrices of states, `(orbits, N, n, n)`."""
        return self.transfer[..., : self.gap.shape[1]]

    def chosen(self, which: Any) -> Linear:
        """Return those of some of the orbits."""
        return Linear(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def solved(self, border: Border, orbits: Orbits, *, homogeneous: bool = False) -> Orbits:
        """Return the change that fulfils the equations and the border; homogeneous: the direction."""
        size = self.gap.shape[1]
        count, wide = len(self.gap), 2 * size + 2
        matrix, right = np.zeros((count, wide, wide)), np.zeros((count, wide))
        points = self.points.copy() if homogeneous else self.points
        ends = self.ends
        if homogeneous:
            points[..., -1] = 0.0
        matrix[:, :size], right[:, :size] = ends[..., :-1], -ends[..., -1]
        matrix[:, size : 2 * size, : 2 * size] = np.concatenate((-np.eye(size), np.eye(size)), axis=1)
        right[:, size : 2 * size] = -self.gap
        if homogeneous:
            right[:, : 2 * size] = 0.0
        rows = np.einsum("brin,binz->brz", border.states, points)
        matrix[:, 2 * size :] = rows[..., :-1]
        matrix[:, 2 * size :, 2 * size :] += border.scalars
        right[:, 2 * size :] = border.right - rows[..., -1]
        z = solve(matrix, right[..., None])[..., 0]
        return self._expanded(z, points, orbits, 0.0 if homogeneous else 1.0)

    def _expanded(self, z: Array, points: Array, orbits: Orbits, one: float) -> Orbits:
        size = self.gap.shape[1]
        whole = np.concatenate((z, np.full((len(z), 1), 1.0)), axis=1)
        x = np.einsum("binz,bz->bin", points, whole)
        rest = np.concatenate((z[:, -2:], np.full((len(z), 1), one)), axis=1)
        stages = np.einsum("bijnk,bik->bijn", self.stages[..., :size], x[:, :-1])
        stages += np.einsum("bijnk,bk->bijn", self.stages[..., size:], rest)
        return Orbits(orbits.s, x, stages, z[:, -2], z[:, -1])


def solve(matrix: Array, right: Array) -> Any:
    """Return the solutions of stacked linear systems, NaN where one is singular or not finite."""
    try:
        found: Any = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        shape = matrix.shape[:-2]
        found = np.full(right.shape, np.nan)
        for where in np.ndindex(*shape):
            try:
                found[where] = np.linalg.solve(matrix[where], right[where])
            except np.linalg.LinAlgError:
                found[where] = np.nan
    return found


def linearised(problem: Problem, orbits: Orbits) -> Linear:
    """Return the equations linearised at orbits, condensed."""
    found, transfer, wrong = condensed(problem, orbits)
    jump = END[0] * orbits.u[:, :-1] + np.einsum("j,bijn->bin", END[1:], orbits.stages) - orbits.u[:, 1:]
    points, ends = _reduced(transfer)
    scales = problem.scales(orbits.u)
    worst = np.maximum(
        np.abs(wrong / scales[:, None, None]).max(axis=(1, 2, 3)),
        np.abs(jump / scales[:, None]).max(axis=(1, 2)),
    )
    gap = orbits.u[:, -1] - orbits.u[:, 0]
    residual = np.maximum(worst, np.abs(gap / scales).max(axis=1))
    return Linear(found, transfer, points, ends, gap, residual)


def condensed(problem: Problem, orbits: Orbits) -> tuple[Array, Array, Array]:
    """Return `stages` and `transfer` of the linearised equations, and by how much the stages fail theirs."""
    count, intervals, stages, size = orbits.stages.shape
    f, jacobian, by_value = problem.derivatives(orbits.gauss_times, orbits.stages, orbits.value)
    h = orbits.steps
    time = h * orbits.period[:, None]
    blocks = (MATRIX[:, None, :, None] * jacobian.swapaxes(2, 3)[:, :, None]) * -time[
        :, :, None, None, None, None
    ]
    matrix = blocks.reshape(count, intervals, stages * size, stages * size)
    diagonal = np.arange(stages * size)
    matrix[:, :, diagonal, diagonal] += 1.0
    summed = np.einsum("jk,bikn->bijn", MATRIX, f)
    right = np.empty((count, intervals, stages, size, size + 3))
    right[..., :size] = np.eye(size)
    right[..., size] = h[:, :, None, None] * summed
    right[..., size + 1] = time[:, :, None, None] * np.einsum("jk,bikn->bijn", MATRIX, by_value)
    wrong = orbits.stages - orbits.u[:, :-1, None] - time[:, :, None, None] * summed
    right[..., size + 2] = -wrong
    found = solve(matrix, right.reshape(count, intervals, stages * size, size + 3)).reshape(right.shape)
    transfer = np.einsum("j,bijnk->bink", END[1:], found)
    transfer[..., :size] += END[0] * np.eye(size)
    jump = END[0] * orbits.u[:, :-1] + np.einsum("j,bijn->bin", END[1:], orbits.stages) - orbits.u[:, 1:]
    transfer[..., -1] += jump
    return found, transfer, wrong


def _reduced(transfer: Array) -> tuple[Array, Array]:
    """Return all mesh points by the two ends, and the equation between the ends, by cyclic reduction."""
    count, intervals, size, _ = transfer.shape
    left, rest = transfer[..., :size], transfer[..., size:]
    right = np.broadcast_to(-np.eye(size), left.shape)
    levels = []
    while left.shape[1] > 1:
        columns = np.concatenate((right[:, 0::2], left[:, 1::2]), axis=2)
        q, r = np.linalg.qr(columns, mode="complete")
        others = np.zeros((*columns.shape[:2], 2 * size, 2 * size + 3))
        others[:, :, :size, :size] = left[:, 0::2]
        others[:, :, size:, size : 2 * size] = right[:, 1::2]
        others[:, :, :size, 2 * size :] = rest[:, 0::2]
        others[:, :, size:, 2 * size :] = rest[:, 1::2]
        turned = q.swapaxes(-1, -2) @ others
        levels.append(-solve(r[:, :, :size], turned[:, :, :size]))
        turned = turned[:, :, size:]
        left, right, rest = turned[..., :size], turned[..., size : 2 * size], turned[..., 2 * size :]
    points = np.zeros((count, intervals + 1, size, 2 * size + 3))
    points[:, 0, :, :size] = points[:, -1, :, size : 2 * size] = np.eye(size)
    stride = intervals
    for level in reversed(levels):
        half = stride // 2
        lower, upper = points[:, 0:-1:stride], points[:, stride::stride]
        found = level[..., :size] @ lower + level[..., size : 2 * size] @ upper
        found[..., 2 * size :] += level[..., 2 * size :]
        points[:, half::stride] = found
        stride = half
    return points, np.concatenate((left[:, 0], right[:, 0], rest[:, 0]), axis=-1)


def corrected(
    problem: Problem, guess: Orbits, border: Any, most: int = MOST_STEPS
) -> tuple[Orbits, Any, Index]:
    """Return the orbits near a guess, whether Newton's method converged, and in how many steps.

    `border(which, orbits)` gives the conditions besides the equations for some of the orbits as they are.
    """
    found = guess.copy()
    count = len(guess.period)
    converged, taken = np.zeros(count, dtype=bool), np.zeros(count, dtype=np.intp)
    left = np.arange(count)
    for _ in range(most):
        here, whose = found.chosen(left), problem.chosen(left)
        change = linearised(whose, here).solved(border(left, here), here)
        scales = whose.scales(here.u)
        size = np.abs(change.stages / scales[:, None, None]).max(axis=(1, 2, 3))
        size = np.maximum(size, np.abs(change.period / here.period))
        found.put(left, here.moved(np.ones(len(left)), change))
        taken[left] += 1
        converged[left] = size < SMALL_STEP
        # Beyond all proportion Newton's method won't come back.
        left = left[(size >= SMALL_STEP) & (size < 10.0) & (found.period[left] > 0.0)]
        if not len(left):
            break
    return found, converged, taken


def inner(a: Orbits, b: Orbits, scales: Array, period: Array, unit: Array) -> Array:
    """Return the scalar product of directions, of relative changes: mean over the states, and two numbers."""
    states = np.einsum("bi,bin,bin,bn->b", a.weights, a.u, b.u, 1.0 / scales**2)
    found: Array = states + a.period * b.period / period**2 + a.value * b.value / unit**2
    return found


def phase_row(problem: Problem, guess: Orbits, scales: Array) -> Array:
    """Return the row of the condition that the orbit is not shifted in time against a guess."""
    slopes = problem.slopes(guess.s, guess.u, guess.value) / scales[:, None]
    size = np.sqrt(np.einsum("bi,bin->b", guess.weights, slopes**2))
    return guess.weights[..., None] * slopes / (scales[:, None] * spread(size, 3))


def extremes(orbits: Orbits) -> tuple[Array, Array]:
    """Return the lowest and the highest value of every variable on the orbits, `(orbits, n)` each."""
    fine = np.linspace(0.0, 1.0, 9)[:-1]
    basis = lagrange(NODES, fine)
    nodes = np.concatenate((orbits.u[:, :-1, None], orbits.stages), axis=2)
    values = np.einsum("pk,bikn->bipn", basis, nodes)
    count, intervals, per, size = values.shape
    flat = values.reshape(count, intervals * per, size)
    times = (orbits.s[:, :-1, None] + orbits.steps[:, :, None] * fine).reshape(count, intervals * per)
    found = []
    for pick, best in ((np.argmin, np.min), (np.argmax, np.max)):
        column = []
        at = pick(flat, axis=1)
        for k in range(size):
            index, row = at[:, k], np.arange(count)
            width = orbits.steps[row, index // per] / per
            centre = times[row, index]
            for _ in range(3):
                places = centre[:, None] + width[:, None] * np.linspace(-1.0, 1.0, 9)
                near = evaluated(orbits, places % 1.0)[..., k]
                centre = places[row, pick(near, axis=1)]
                width = width / 4.0
            column.append(best(near, axis=1))
        found.append(np.stack(column, axis=1))
    return found[0], found[1]


def means(orbits: Orbits) -> Array:
    """Return the mean of every variable over the period, `(orbits, n)`."""
    found: Array = np.einsum("bi,j,bijn->bn", orbits.steps, WEIGHTS, orbits.stages)
    return found
