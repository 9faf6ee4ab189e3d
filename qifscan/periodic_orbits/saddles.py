"""Saddles beside cycles of a long period, and such cycles made longer or shorter where they rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.orbits import Orbits, evaluated, from_function, inverted, joined
from qifscan.periodic_orbits.problem import Problem

_ALIKE = 0.02
"""Least share of the saddle's leading eigenvalue in the one on the other side: with less it is about to meet
a node, and directions grow by more than collocation follows in the time that the orbit takes."""

_AT_REST = 30.0
"""Period of a cycle, in the saddle's slowest time constant, above which its slowest point is rounding."""

_NEWTON, _BESIDE = 12, 0.05
"""Most steps to the saddle from the slowest point of a cycle, and how far it may be from that, relative."""


@dataclass(frozen=True)
class Saddles:
    """The equilibria beside cycles: states, whether there are such, the leading eigenvalue's size, and the
    sum and the difference of the real parts of the leading unstable and the leading stable eigenvalue."""

    state: Array
    there: Any
    rate: Array
    quantity: Array
    spread: Array

    def chosen(self, which: Any) -> Saddles:
        """Return some of them."""
        return Saddles(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def nowhere(orbits: Orbits) -> Saddles:
    """Return that there is none beside orbits."""
    count, _, size = orbits.u.shape
    gap = np.full(count, np.nan)
    return Saddles(np.full((count, size), np.nan), np.zeros(count, dtype=bool), gap, gap, gap)


def swing(problem: Any, orbits: Orbits) -> Array:
    """Return the largest range of a variable, relative."""
    found: Array = (np.ptp(orbits.u, axis=1) / problem.scales(orbits.u)).max(axis=1)
    return found


def slowest(problem: Problem, orbits: Orbits) -> Index:
    """Return the mesh point of each orbit at which it moves least."""
    speed = problem.slopes(orbits.s, orbits.u, orbits.scalars) / problem.scales(orbits.u)[:, None]
    found: Index = np.abs(speed).max(axis=2)[:, :-1].argmin(axis=1)
    return found


def saddles(problem: Problem, orbits: Orbits) -> Saddles:
    """Return the saddle beside each orbit, by Newton's method from its slowest point."""
    row = np.arange(len(orbits.s))
    begin = orbits.u[row, slowest(problem, orbits)]
    state, zero = begin[:, None].copy(), np.zeros((len(row), 1))
    change, jacobian = np.zeros_like(state), np.zeros((*state.shape, state.shape[-1]))
    for _ in range(_NEWTON):
        f, jacobian, _ = problem.derivatives(zero, state, orbits.scalars)
        change = _solved(jacobian, f)
        state = state - change
    mu = np.linalg.eigvals(np.where(np.isfinite(jacobian), jacobian, 0.0))[:, 0].real
    scales = problem.scales(orbits.u)
    far = (np.abs(state[:, 0] - begin) / scales).max(axis=1)
    step = (np.abs(change[:, 0]) / scales).max(axis=1)
    up = np.where(mu > 0.0, mu, np.inf).min(axis=1)
    down = np.where(mu < 0.0, mu, -np.inf).max(axis=1)
    rate = np.minimum(up, -down)
    there: Any = (far < _BESIDE) & (step < 1e-9) & np.isfinite(up + down)
    there &= rate > _ALIKE * np.maximum(up, -down)
    rate = np.where(there, rate, np.nan)
    return Saddles(state[:, 0], there, rate, np.where(there, up + down, np.nan), up - down)


def _solved(matrix: Array, right: Array) -> Array:
    """Return solutions of small systems, of a singular one what least squares gives."""
    found = np.full(right.shape, np.nan)
    for where in np.ndindex(*right.shape[:-1]):
        if np.isfinite(matrix[where]).all() and np.isfinite(right[where]).all():
            found[where] = np.linalg.lstsq(matrix[where], right[where], rcond=None)[0]
    return found


def lengthened(problem: Problem, orbits: Orbits, own: Saddles, period: Array) -> Orbits:
    """Return orbits of other periods: the time at the slowest point is made longer or shorter, on its way in
    and out in proportion to how long these take, and they begin there."""
    share = 0.5 * (1.0 + own.quantity / own.spread)
    which = slowest(problem, orbits)
    # A cycle that rests for longer is at the saddle but for rounding, and nowhere slowest.
    long = own.rate * orbits.period > _AT_REST
    which = np.where(long, _middles(problem, orbits, own, share), which)
    several = zip(range(len(which)), which.tolist(), period.tolist(), share.tolist(), strict=True)
    return joined([_of_period(orbits.chosen([k]), *rest) for k, *rest in several])


def _middles(problem: Problem, orbits: Orbits, own: Saddles, share: Array) -> Index:
    """Return the mesh point of each orbit at which it should be nearest to its saddle, by when it is farthest
    from it."""
    scales = problem.scales(orbits.u)[:, None]
    far = (np.abs(orbits.u - own.state[:, None]) / scales).max(axis=2).argmax(axis=1)
    at = (orbits.s[np.arange(len(far)), far] - (1.0 - share)) % 1.0
    found: Index = np.abs(orbits.s[:, :-1] - at[:, None]).argmin(axis=1)
    return found


def _of_period(orbit: Orbits, at: int, period: float, share: float) -> Orbits:
    own, begin = float(orbit.period[0]), float(orbit.s[0, at])
    out, back = (1.0 - share) * (period - own), share * (period - own)
    # Times since the slowest point, and with what there is of rest after and before it.
    since = np.append(np.sort((orbit.s[0, :-1] - begin) % 1.0), 1.0) * own
    kept = since[(since > -out) & (since < own + back)]
    times = np.unique(np.concatenate(([0.0], kept + out, [period]))) / period
    # Half the mesh points of an even mesh for a rest, as many as before elsewhere.
    rest = np.diff(times) > np.diff(since).max() / period
    total = np.append(0.0, np.cumsum(np.where(rest, 0.5 * len(since) * np.diff(times), 1.0)))
    mesh = inverted(times[None], total[None] / total[-1], orbit.stages.shape[1])

    def states(s: Array) -> Array:
        inside = np.clip(s * period - out, 0.0, own) / own
        return evaluated(orbit, np.where(inside >= 1.0, begin, (begin + inside) % 1.0))

    scalars = orbit.scalars.copy()
    scalars[:, 0] = period
    return from_function(mesh, states, scalars)
