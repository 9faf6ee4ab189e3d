"""Cycles with a delay and a multiplier on the unit circle: the direction has a past of its own.

With x = D/T the delay on scaled time, A and B the derivatives of f by the state and by r a delay ago:

fold (LPC)              v' = T (A v + B (v_r(s - x) + b x r'(s - x)) + b f): with the period T the place of
                        the past moves, too
period doubling, torus  v' = T (A v + B v_r(s - x))

A direction is its own past, but for its multiplier: v(s - k) = M^-k v(s), where M is what takes v(0) to v(1),
1, -1, or of the two parts of a pair a rotation, as often as s - x wraps around.

K. Engelborghs, D. Roose, T. Luzyanina, J. Comput. Appl. Math. 125, 265 (2000); R. Szalai, G. Stepan,
S. J. Hogan, SIAM J. Sci. Comput. 28, 1301 (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.delayed_collocation import DelayedLinear, Reading, linear_with_past, moved
from qifscan.periodic_orbits.delayed_multipliers import DelayedProblem
from qifscan.periodic_orbits.delayed_problem import CyclePast, node_weights
from qifscan.periodic_orbits.marginal import SHIFT, Marginal
from qifscan.periodic_orbits.orbits import Orbits, remeshed, spread
from qifscan.periodic_orbits.problem import Problem


@dataclass(frozen=True)
class DelayedMarginal(Marginal):
    """Cycles with a delay and one multiplier on the unit circle."""

    problem: DelayedProblem

    def linear(self, orbits: Orbits) -> DelayedLinear:
        """Return the equations linearised at cycles and their directions."""
        past = self.problem.past(self.cycles(orbits), orbits.gauss_times)
        values, reading = self._past(orbits, past)
        derivatives = self._with_past(orbits, values)
        return linear_with_past(self, orbits, past, derivatives, reading)

    def stability(self, orbits: Orbits, linear: DelayedLinear) -> tuple[Any, Array, Array]:
        """Return what the problem tells of the multipliers of the cycles."""
        cycles = self.cycles(orbits)
        return self.problem.stability(cycles, self.problem.linear(cycles))

    def _past(self, orbits: Orbits, past: CyclePast) -> tuple[Array, Reading]:
        """Return r and the first variables of the directions one delay before the stages `(orbits, N, 4, c)`,
        with what is added as the period changes; and how all of these change."""
        n, k = self.size, orbits.scalars.shape[1]
        orbit = np.arange(len(orbits.s))[:, None, None]
        nodes = orbits.nodes[..., ::n][orbit, past.interval]
        turn, by_cosine = self._turned(orbits, past.periods)
        plain = (past.weights[..., None, :] @ nodes)[..., 0, :]
        steep = (turn @ (past.steep[..., None, :] @ nodes)[..., 0, :, None])[..., 0]
        values = (turn @ plain[..., None])[..., 0]
        weights = turn[..., None] * past.weights[..., None, None, :]
        shift = np.zeros((*values.shape, k))
        if self.kind == "NS":
            shift[..., -1] = (by_cosine @ plain[..., None])[..., 0]
        if self.kind == "LPC" and self.has_extra:
            own = orbits.steps[orbit, past.interval]
            bend = (node_weights(past.inside, own, 2) * nodes[..., 0]).sum(axis=-1)
            delay, b = self.problem.delays(orbits.scalars), orbits.scalars[:, -1]
            x = spread(delay / orbits.period, 3)
            share = spread(b, 3) * x
            values[..., 1] += share * past.slope
            weights[..., 1, 0, :] += share[..., None] * past.steep
            # By x at a fixed place, and by the place.
            steep[..., 1] += share * bend - spread(b, 3) * past.slope
            shift[..., 1, -1] += x * past.slope
        shift += moved(self.problem, self.cycles(orbits), steep, k)
        return values, Reading(weights, shift)

    def _turned(self, orbits: Orbits, periods: Index) -> tuple[Array, Array]:
        """Return what takes the first variables of the cycle and its directions to those so many periods
        before `(..., c, c)`, and its derivative by c of a pair."""
        count = 1 + self.copies
        turn = np.zeros((*periods.shape, count, count))
        slope = np.zeros_like(turn)
        turn[..., 0, 0] = 1.0
        if self.kind != "NS":
            turn[..., 1, 1] = (-1.0) ** periods if self.kind == "PD" else 1.0
            return turn, slope
        c = spread(orbits.scalars[:, -1], periods.ndim)
        cosine, sine, by_cosine, by_sine = _multiples(c, periods)
        rest = 1.0 - c**2
        turn[..., 1, 1] = turn[..., 2, 2] = cosine
        turn[..., 1, 2], turn[..., 2, 1] = rest * sine, -sine
        slope[..., 1, 1] = slope[..., 2, 2] = by_cosine
        slope[..., 1, 2], slope[..., 2, 1] = rest * by_sine - 2.0 * c * sine, -by_sine
        return turn, slope

    def _with_past(self, orbits: Orbits, past: Array) -> tuple[Array, ...]:
        """Return the rates of change of cycles and directions at the stages, their Jacobians, and their
        derivatives by the past `(..., c)` and by the scalars but the period."""
        n, problem, s, u = self.size, self.problem, orbits.gauss_times, orbits.stages
        own = self.cycles(orbits).scalars
        state, ago = u[..., :n], past[..., 0]
        f, jacobian, by_past, by = problem.with_past(s, state, ago, own)
        extra = self.kind == "LPC" and self.has_extra
        b = spread((1.0 if extra else 0.0) * orbits.scalars[:, -1], u.ndim)
        rates, whole = np.empty_like(u), np.zeros((*u.shape, u.shape[-1]))
        passed = np.zeros((*u.shape, 1 + self.copies))
        varied = np.zeros((*u.shape, orbits.scalars.shape[1] - 1))
        rates[..., :n], whole[..., :n, :n], passed[..., :n, 0] = f, jacobian, by_past
        varied[..., :n, : by.shape[-1]] = by
        for k in range(1, 1 + self.copies):
            part = slice(k * n, (k + 1) * n)
            v, v_ago = u[..., part], past[..., k]
            above, below = (
                problem.with_past(s, state + share * v, ago + share * v_ago, own) for share in (SHIFT, -SHIFT)
            )
            bent = [(one - other) / (2.0 * SHIFT) for one, other in zip(above, below, strict=True)]
            rates[..., part] = (jacobian @ v[..., None])[..., 0] + by_past * v_ago[..., None] + b * f
            whole[..., part, part], passed[..., part, k] = jacobian, by_past
            whole[..., part, :n] = bent[1] + b[..., None] * jacobian
            passed[..., part, 0] = bent[2] + b * by_past
            varied[..., part, : by.shape[-1]] = bent[3] + b[..., None] * by
            if extra:
                varied[..., part, -1] = f
        return rates, whole, passed, varied


def marginal_of(problem: Problem, kind: str) -> Marginal:
    """Return the problem of a bifurcation of the cycles of a problem, with a delay or without one."""
    return DelayedMarginal(problem, kind) if isinstance(problem, DelayedProblem) else Marginal(problem, kind)


def on_finer_mesh(system: DelayedMarginal, orbits: Orbits) -> Any:
    """Return the multipliers of the same cycles on meshes twice as fine: they are off by as much as those on
    the mesh of a cycle are, where a bifurcation has those that it is to have."""
    cycles = system.cycles(orbits)
    mesh = np.empty((len(cycles.s), 2 * cycles.s.shape[1] - 1))
    mesh[:, ::2], mesh[:, 1::2] = cycles.s, 0.5 * (cycles.s[:, 1:] + cycles.s[:, :-1])
    fine = remeshed(cycles, mesh)
    return system.problem.stability(fine, system.problem.linear(fine))[0]


def _multiples(c: Array, periods: Index) -> tuple[Array, Array, Array, Array]:
    """Return cos(k theta) and sin(k theta)/sin(theta) for c = cos theta, and their derivatives by c: the
    polynomials of Chebyshev, which have values beyond 1 and -1 as well."""
    shape = np.broadcast_shapes(c.shape, periods.shape)
    found = np.zeros((4, *shape))
    # T_k, U_(k-1) and their derivatives at k and k - 1.
    now, before = (np.zeros((4, *shape)) for _ in range(2))
    now[0], before[0], before[1] = 1.0, c, -1.0
    before[2] = 1.0
    for k in range(int(periods.max(initial=0)) + 1):
        here = np.broadcast_to(periods == k, shape)
        found[:, here] = now[:, here]
        later = 2.0 * c * now - before
        later[2:] += 2.0 * now[:2]
        now, before = later, now
    return found[0], found[1], found[2], found[3]
