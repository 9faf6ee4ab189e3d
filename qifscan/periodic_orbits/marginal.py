"""Cycles with a multiplier on the unit circle, as boundary value problems with its direction as an unknown.

With a direction v beside the cycle u, on scaled time s in [0, 1]:

fold (LPC)              v' = T (f_u v + b f), v(1) = v(0): b T is the change of the period; with a drive b = 0
period doubling (PD)    v' = T f_u v,         v(1) = -v(0)
torus (NS)              q' = T f_u q,         q(1) = c q(0) - (1 - c^2) w(0)
                        w' = T f_u w,         w(1) = q(0) + c w(0)

A pair e^(+-i theta) of multipliers has c = cos theta and the eigenvector v = q + i w sin theta. In real terms
nothing special happens where the pair meets at 1 or -1, c = 1 or -1: there w is a generalised eigenvector.

The size of v, what of q is in w, and the multiple of u' in v are fixed by linear conditions against a guess.
At a fold of cycles this problem is regular, where that of the cycle alone is not.

W. Govaerts, Yu. Kuznetsov, A. Dhooge, SIAM J. Sci. Comput. 27, 231 (2005); E. Doedel et al., AUTO-07P (2007).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import Problem, phase_row

SHIFT = 1e-4
"""Share of a direction over which derivatives of the Jacobian are differences: exact for quadratic fields.
They serve Newton's method alone: what it converges to does not depend on them."""


@dataclass(frozen=True)
class Marginal:
    """Cycles of a problem with one multiplier on the unit circle: `kind` "LPC", "PD" or "NS".

    States are u, then v, or q and w; scalars those of the cycle, then b or c.
    """

    problem: Problem
    kind: str

    @property
    def free(self) -> int:
        """Number of parameters that vary."""
        return self.problem.free

    @property
    def size(self) -> int:
        """Number of the variables of the cycle."""
        return len(self.problem.model.variables)

    @property
    def copies(self) -> int:
        """How many real directions there are."""
        return 2 if self.kind == "NS" else 1

    @property
    def has_extra(self) -> bool:
        """Whether there is a number besides those of the cycle: b or c."""
        return self.kind == "NS" or (self.kind == "LPC" and self.problem.drive is None)

    def chosen(self, which: Any) -> Marginal:
        """Return the problem of some of the cycles."""
        return replace(self, problem=self.problem.chosen(which))

    def cycles(self, orbits: Orbits) -> Orbits:
        """Return the cycles without the directions."""
        own = slice(0, self.size)
        known = orbits.scalars.shape[1] - self.has_extra
        return Orbits(orbits.s, orbits.u[..., own], orbits.stages[..., own], orbits.scalars[:, :known])

    def scales(self, u: Array) -> Array:
        """Return the size of each variable and of each part of the direction on orbits."""
        own = self.problem.scales(u[..., : self.size])
        parts = u[..., self.size :].reshape(*u.shape[:2], self.copies, self.size)
        along = self.problem.scales(np.abs(parts).max(axis=2))
        # A direction is about as large as the variables are; none of its parts counts for more than that.
        along = np.maximum(along, 1e-2 * own)
        return np.concatenate((own, *[along] * self.copies), axis=1)

    def slopes(self, s: Array, u: Array, scalars: Array) -> Array:
        """Return f and the rates of change of the directions."""
        return self.derivatives(s, u, scalars)[0]

    def derivatives(self, s: Array, u: Array, scalars: Array) -> tuple[Array, Array, Array]:
        """Return the rates of change, their Jacobians, and their derivatives by the parameters and b."""
        n, problem = self.size, self.problem
        own = scalars[:, : scalars.shape[1] - self.has_extra]
        state = u[..., :n]
        f, jacobian, by = problem.derivatives(s, state, own)
        extra = self.kind == "LPC" and self.has_extra
        b = (1.0 if extra else 0.0) * scalars[:, -1].reshape(-1, *(1,) * (u.ndim - 1))
        rates = np.empty_like(u)
        whole = np.zeros((*u.shape, u.shape[-1]))
        by_all = np.zeros((*u.shape, scalars.shape[1] - 1))
        rates[..., :n], whole[..., :n, :n], by_all[..., :n, : by.shape[-1]] = f, jacobian, by
        for k in range(self.copies):
            part = slice((k + 1) * n, (k + 2) * n)
            v = u[..., part]
            _, above, by_above = problem.derivatives(s, state + SHIFT * v, own)
            _, below, by_below = problem.derivatives(s, state - SHIFT * v, own)
            rates[..., part] = (jacobian @ v[..., None])[..., 0] + b * f
            whole[..., part, part] = jacobian
            whole[..., part, :n] = (above - below) / (2.0 * SHIFT)
            by_all[..., part, : by.shape[-1]] = (by_above - by_below) / (2.0 * SHIFT)
            if extra:
                whole[..., part, :n] += b[..., None] * jacobian
                by_all[..., part, : by.shape[-1]] += b[..., None] * by
                by_all[..., part, -1] = f
        return rates, whole, by_all

    def turn(self, scalars: Array) -> tuple[Array, Array] | None:
        """Return what takes the states at the end to those at the beginning, and its derivatives."""
        if self.kind == "LPC":
            return None
        n, count = self.size, len(scalars)
        wide = n * (1 + self.copies)
        matrix, slope = np.tile(np.eye(wide), (count, 1, 1)), np.zeros((count, wide, wide, scalars.shape[1]))
        if self.kind == "PD":
            matrix[:, n:, n:] *= -1.0
            return matrix, slope
        c = scalars[:, -1, None, None]
        q, w, eye = slice(n, 2 * n), slice(2 * n, None), np.eye(n)
        matrix[:, q, q] = matrix[:, w, w] = c * eye
        matrix[:, w, q] = eye
        matrix[:, q, w] = (c**2 - 1.0) * eye
        slope[:, q, q, -1] = slope[:, w, w, -1] = eye
        slope[:, q, w, -1] = 2.0 * c * eye
        return matrix, slope

    def pinned(self, guess: Orbits) -> tuple[Array, Array]:
        """Return the conditions on the cycle, and on the directions: their size, phase, and part along u'."""
        n, cycles = self.size, self.cycles(guess)
        own, own_scalars = self.problem.pinned(cycles)
        count, _, points, _ = own.shape
        scales = self.problem.scales(cycles.u)
        weights = guess.weights[..., None] / scales[:, None] ** 2
        parts = [guess.u[..., (k + 1) * n : (k + 2) * n] for k in range(self.copies)]
        rows = [parts]
        if self.kind == "NS":
            # How q and w change as v is turned, over sin theta.
            square = (1.0 - guess.scalars[:, -1] ** 2)[:, None, None]
            rows.append([-square * parts[1], parts[0]])
        along = [[weights * part for part in row] for row in rows]
        if self.kind == "LPC" and self.problem.drive is None:
            along.append([phase_row(self.problem, cycles, scales)])
        found = np.zeros((count, own.shape[1] + len(along), points, n * (1 + self.copies)))
        scalars = np.zeros((count, found.shape[1], guess.scalars.shape[1]))
        found[:, : own.shape[1], :, :n] = own
        scalars[:, : own.shape[1], : own_scalars.shape[2]] = own_scalars
        for k, row in enumerate(along, own.shape[1]):
            found[:, k, :, n:] = np.concatenate(row, axis=-1)
        if self.kind == "LPC" and self.has_extra:
            scalars[:, own.shape[1], -1] = guess.scalars[:, -1]
        return found, scalars
