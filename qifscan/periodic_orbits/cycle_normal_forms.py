"""What decides at a period doubling or a torus bifurcation of cycles: the coefficient of its normal form.

Beside a cycle u with the critical direction v, v(1) = -v(0) or e^(i theta) v(0), on its centre manifold
xi' = c xi^3, or xi' = d xi |xi|^2 but for what turns xi. With A, B, C the derivatives of the field f along u

period doubling (PD)    h' = T (A h + B(v, v) - 2 a f),   h(1) = h(0)
                        k' = T (A k + C(v, v, v) + 3 B(v, h) - 6 a A v - 6 c v),   k(1) = -k(0)
torus (NS)              g' = T (A g + B(v, v)),   g(1) = e^(2 i theta) g(0)
                        h' = T (A h + B(v, v*) - a f),   h(1) = h(0)
                        k' = T (A k + C(v, v, v*) + 2 B(v, h) + B(v*, g) - 2 a A v - 2 d v),
                        k(1) = e^(i theta) k(0)

a, c and d are what these linear problems have solutions with; with a drive a = 0. Below 0 what branches off
is stable, where everything else is: the doubled cycles, the torus.

Yu. Kuznetsov, W. Govaerts, E. Doedel, A. Dhooge, SIAM J. Numer. Anal. 43, 1407 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.periodic_orbits.collocation import Border, linearised
from qifscan.periodic_orbits.delayed_marginal import DelayedMarginal
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import phase_row
from qifscan.theory.normal_forms import multilinear


@dataclass(frozen=True)
class Response:
    """Linear problems h' = T (A h + g + columns x), h(1) = R h(0), with unknown numbers x and as many `rows`
    of conditions at the mesh points: A, g and the columns are given at the stages of orbits."""

    jacobian: Array
    forcing: Array
    columns: Array
    rows: Array
    back: Array | None = None

    @property
    def size(self) -> int:
        """Number of variables."""
        return int(self.forcing.shape[-1])

    @property
    def free(self) -> int:
        """Number of unknown numbers."""
        return int(self.columns.shape[-1])

    def chosen(self, which: Any) -> Response:
        """Return some of them."""
        back = None if self.back is None else self.back[which]
        return Response(
            self.jacobian[which], self.forcing[which], self.columns[which], self.rows[which], back
        )

    def scales(self, u: Array) -> Array:
        """Return 1: a linear problem needs no sizes."""
        return np.ones((len(u), u.shape[2]))

    def slopes(self, s: Array, u: Array, scalars: Array) -> Array:
        """Return the rates of change at the stages."""
        return self.derivatives(s, u, scalars)[0]

    def derivatives(self, s: Array, u: Array, scalars: Array) -> tuple[Array, Array, Array]:
        """Return the rates of change at the stages, A, and the columns."""
        extra = self.columns @ scalars[:, None, None, 1:, None]
        f = (self.jacobian @ u[..., None])[..., 0] + self.forcing + extra[..., 0]
        return f, self.jacobian, self.columns

    def turn(self, scalars: Array) -> tuple[Array, Array] | None:
        """Return R, which depends on nothing."""
        return None if self.back is None else (self.back, np.zeros((*self.back.shape, scalars.shape[1])))

    def pinned(self, guess: Orbits) -> tuple[Array, Array]:
        """Return the conditions: that the period stays, and the rows."""
        states = np.concatenate((0.0 * guess.u[:, None], self.rows), axis=1)
        scalars = np.zeros((len(states), states.shape[1], states.shape[1]))
        scalars[:, 0, 0] = 1.0
        return states, scalars

    def solved(self, like: Orbits) -> tuple[Orbits, Array]:
        """Return h on the meshes of orbits, and the numbers `(orbits, k)`."""
        count, points = like.s.shape
        scalars = np.zeros((count, 1 + self.free))
        scalars[:, 0] = like.period
        zero = Orbits(like.s, np.zeros((count, points, self.size)), np.zeros(self.forcing.shape), scalars)
        states, fixed = self.pinned(zero)
        border = Border(states, fixed, np.zeros(fixed.shape[:2]))
        found, _ = linearised(self, zero).solved(border, zero)
        return found, found.scalars[:, 1:]


@dataclass(frozen=True)
class Along:
    """The field along cycles: f and A at the stages, and the condition that nothing is shifted in time."""

    system: Marginal
    cycles: Orbits
    f: Array
    jacobian: Array

    @classmethod
    def of(cls, system: Marginal, orbits: Orbits) -> Along:
        """Return it of cycles with their directions."""
        cycles = system.cycles(orbits)
        f, jacobian, _ = system.problem.derivatives(cycles.gauss_times, cycles.stages, cycles.scalars)
        return cls(system, cycles, f, jacobian)

    def form(self, *directions: Any) -> Any:
        """Return B or C of directions at the stages."""
        problem, stages = self.system.problem, self.cycles.stages
        many, n = int(np.prod(stages.shape[1:3])), stages.shape[3]
        given = dict(problem.parameters)
        given |= {name: self.cycles.scalars[:, k] for k, name in enumerate(problem.along, 1)}
        flat = {name: np.repeat(values, many) for name, values in given.items()}
        rows = [x.reshape(-1, n) for x in directions]
        return multilinear(problem.model, stages.reshape(-1, n), flat, *rows).reshape(stages.shape)

    def periodic(self, forcing: Array) -> tuple[Array, Array]:
        """Return h' = T (A h + forcing + b f) with h(1) = h(0) at the stages, and b: 0 with a drive."""
        problem, (count, points, n) = self.system.problem, self.cycles.u.shape
        if problem.drive is not None:
            none = np.empty((*forcing.shape, 0)), np.empty((count, 0, points, n))
            return Response(self.jacobian, forcing, *none).solved(self.cycles)[0].stages, np.zeros(count)
        row = phase_row(problem, self.cycles, problem.scales(self.cycles.u))[:, None]
        h, b = Response(self.jacobian, forcing, self.f[..., None], row).solved(self.cycles)
        return h.stages, b[:, 0]


def coefficient(system: Any, orbits: Orbits) -> Array:
    """Return the real part of the coefficient that decides, in 1/ms for directions of size 1, NaN where none
    does: at folds, cycles of which nothing is asked, where a pair is no longer one, and with a delay."""
    kind = system.kind if isinstance(system, Marginal) else ""
    if kind not in ("PD", "NS") or isinstance(system, DelayedMarginal):
        return np.full(len(orbits.period), np.nan)
    along = Along.of(system, orbits)
    return _of_doubling(along, orbits) if kind == "PD" else _of_torus(along, orbits)


def angle(orbits: Orbits) -> Array:
    """Return the angles of pairs of multipliers, whose cosine is the last scalar."""
    found: Array = np.arccos(np.clip(orbits.scalars[:, -1], -1.0, 1.0))
    return found


def _of_doubling(along: Along, orbits: Orbits) -> Array:
    n = along.system.size
    v, points = orbits.stages[..., n:], orbits.u[..., n:]
    h, b = along.periodic(along.form(v, v))
    change = (along.jacobian @ v[..., None])[..., 0]
    forcing = along.form(v, v, v) + 3.0 * along.form(v, h) + 3.0 * b[:, None, None, None] * change
    row = (orbits.weights[..., None] * points)[:, None]
    back = np.tile(-np.eye(n), (len(points), 1, 1))
    _, found = Response(along.jacobian, forcing, v[..., None], row, back).solved(along.cycles)
    return -found[:, 0] / 6.0


def _of_torus(along: Along, orbits: Orbits) -> Array:
    n, theta = along.system.size, angle(orbits)
    sine = 1j * np.sin(theta)[:, None, None]
    v: Any = orbits.stages[..., n : 2 * n] + sine[..., None] * orbits.stages[..., 2 * n :]
    points: Any = orbits.u[..., n : 2 * n] + sine * orbits.u[..., 2 * n :]
    none = np.empty((*v.shape[:3], 2 * n, 0)), np.empty((len(theta), 0, points.shape[1], 2 * n))
    twice = _doubled(along.jacobian)
    second = Response(twice, _real(along.form(v, v)), *none, _rotation(2.0 * theta, n))
    g = _complex(second.solved(along.cycles)[0].stages)
    h, b = along.periodic(along.form(v, v.conj()).real)
    change = (along.jacobian @ v[..., None])[..., 0]
    forcing = along.form(v, v, v.conj()) + 2.0 * along.form(v, h) + along.form(v.conj(), g)
    forcing = forcing + 2.0 * b[:, None, None, None] * change
    weights = orbits.weights[..., None]
    rows = np.stack([weights * _real(part * points) for part in (1.0, 1j)], axis=1)
    columns = np.stack([_real(part * v) for part in (1.0, 1j)], axis=-1)
    third = Response(twice, _real(forcing), columns, rows, _rotation(theta, n))
    # For q and w of size 1 v has another one.
    scales = along.system.problem.scales(along.cycles.u)
    square = (orbits.weights[..., None] * np.abs(points / scales[:, None]) ** 2).sum(axis=(1, 2))
    found = -third.solved(along.cycles)[1][:, 0] / (2.0 * square)
    return np.where(np.abs(orbits.scalars[:, -1]) < 1.0, found, np.nan)


def _real(values: Any) -> Array:
    """Return the real parts beside the imaginary ones."""
    return np.concatenate((values.real, values.imag), axis=-1)


def _complex(values: Array) -> Any:
    half = values.shape[-1] // 2
    return values[..., :half] + 1j * values[..., half:]


def _doubled(matrix: Array) -> Array:
    """Return matrices for real and imaginary parts."""
    n = matrix.shape[-1]
    found = np.zeros((*matrix.shape[:-2], 2 * n, 2 * n))
    found[..., :n, :n] = found[..., n:, n:] = matrix
    return found


def _rotation(theta: Array, n: int) -> Array:
    """Return what multiplies n complex numbers by e^(i theta), for their real and imaginary parts."""
    c, s = np.cos(theta)[:, None, None] * np.eye(n), np.sin(theta)[:, None, None] * np.eye(n)
    return np.concatenate((np.concatenate((c, -s), axis=2), np.concatenate((s, c), axis=2)), axis=1)
