"""Floquet multipliers of periodic orbits: the eigenvalues of what an orbit's intervals do to its neighbours.

Beside a multiplier of 1, that of the flow, others can be as small as exp(-1000). So the transfer matrices of
the intervals are never multiplied out, and the mesh is cut where a direction is too fast for it.

T. Fairgrieve, A. Jepson, SIAM J. Numer. Anal. 28, 1446 (1991).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.elimination import transfers
from qifscan.periodic_orbits.orbits import Orbits, remeshed, spread
from qifscan.periodic_orbits.problem import OrbitProblem

_ROUNDS = 2
"""Times around the orbit: the first tells the directions of the multipliers apart, the last measures."""

_APART = 1e-8
"""Angle below which a direction is one for itself."""

_SLOW, _MOST_CUTS = 2.0, 6
"""Change of a direction in an interval that its polynomial follows: to 1e-5 of it; and how often intervals
are halved at most for that."""

_GROUP = 8
"""Intervals whose transfer matrices are multiplied before the product is orthogonalised."""


_TAME = 1e6
"""Largest entry of a monodromy matrix whose eigenvalues near 1 are right to 1e-9 or so as they are."""


@dataclass(frozen=True)
class Floquet:
    """Floquet multipliers `(orbits, n)` by descending modulus: `mu`, complex, and `log`, of their moduli.

    A multiplier can be too small or too large for a number; its logarithm can't.
    """

    mu: Any
    log: Array

    def chosen(self, which: Any) -> Floquet:
        """Return those of some of the orbits."""
        return Floquet(self.mu[which], self.log[which])


def multipliers(transfer: Array, group: int = _GROUP, given: Index | None = None) -> Floquet:
    """Return the Floquet multipliers from the transfer matrices of the intervals, `(orbits, N, n, n)`.

    `given` tells of how many intervals each orbit has matrices; those after them must be 1, and leave no bit
    in what is found.

    The transfer matrices are multiplied as Q R, twice around: then the directions are told apart by the size
    of their multipliers. Those that are belong each to a diagonal element of R, whose logarithm is added up
    around the orbit, so that no product over- or underflows; those that are not, with moduli that are alike,
    to a diagonal block.
    """
    size, matrices = transfer.shape[-1], transfer
    while matrices.shape[1] * group > transfer.shape[1]:
        matrices = matrices[:, 1::2] @ matrices[:, 0::2]
    good: Any = np.isfinite(matrices).all(axis=(1, 2, 3))
    matrices = np.where(good[:, None, None, None], matrices, np.eye(size))
    last = np.broadcast_to(np.eye(size), (len(matrices), size, size))
    groups = np.full(len(matrices), matrices.shape[1]) if given is None else -(-given // group)
    for _ in range(_ROUNDS):
        first, steps = last, []
        for k in range(matrices.shape[1]):
            turned, r = np.linalg.qr(matrices[:, k] @ last)
            own = (k < groups)[:, None, None]
            last, r = np.where(own, turned, last), np.where(own, r, np.eye(size))
            steps.append(r)
    turn = first.swapaxes(-1, -2) @ last
    mu, log = _of_blocks(turn, np.stack(steps, axis=1))
    mu[~good], log[~good] = complex(np.nan, np.nan), np.nan
    order = np.argsort(-log, axis=1, kind="stable")
    return Floquet(np.take_along_axis(mu, order, axis=1), np.take_along_axis(log, order, axis=1))


def quick(groups: Array) -> Any:
    """Return the multipliers from the transfer matrices of a few groups of intervals, `(orbits, G, n, n)`.

    Those much smaller than the largest are but rounding.
    """
    product = multiplied(groups)
    size = np.abs(product).max(axis=(1, 2))
    plain = size < _TAME
    mu = np.full(product.shape[:2], complex(np.nan, np.nan))
    mu[plain] = np.linalg.eigvals(product[plain])
    if not plain.all():
        mu[~plain] = multipliers(groups[~plain], 4).mu
    return mu


def multiplied(matrices: Array) -> Array:
    """Return the product of matrices, `(orbits, G, n, n)`, the first one rightmost."""
    while matrices.shape[1] > 1:
        odd = matrices[:, 2 * (matrices.shape[1] // 2) :]
        pairs = matrices[:, 1::2] @ matrices[:, 0 : 2 * (matrices.shape[1] // 2) : 2]
        matrices = np.concatenate((pairs, odd), axis=1)
    return matrices[:, 0]


def resolved(system: OrbitProblem, orbits: Orbits, transfer: Array) -> Floquet:
    """Return the multipliers from the transfer matrices of intervals, cut where they are too long for that.

    There intervals are cut until no eigenvalue of the Jacobian changes a direction by more than a factor of
    exp(`_SLOW`) within one. A Gauss method is right in slow directions on any mesh that is good for the
    orbit; one that is to shrink to exp(-20) of itself in an interval keeps a seventh.
    """
    count, intervals, size = transfer.shape[:3]
    pieces = _pieces(system, orbits)
    most = -(-int(pieces.sum(axis=1).max()) // _GROUP) * _GROUP
    if most == intervals:
        return multipliers(transfer)
    whole = np.tile(np.eye(size), (count, most, 1, 1))
    first = np.cumsum(pieces, axis=1) - pieces
    for parts in np.unique(pieces).tolist():
        who, which = np.nonzero(pieces == parts)
        fine = transfer[who, which][:, None]
        if parts > 1:
            fine = _cut_transfer(system.chosen(who), _alone(orbits, who, which), parts)
        whole[who[:, None], first[who, which][:, None] + np.arange(parts)] = fine
    return multipliers(whole, given=pieces.sum(axis=1))


def _alone(orbits: Orbits, who: Index, which: Index) -> Orbits:
    """Return some intervals of orbits, each as an orbit that does not close."""
    both = np.stack((which, which + 1), axis=1)
    s, u = orbits.s[who[:, None], both], orbits.u[who[:, None], both]
    return Orbits(s, u, orbits.stages[who, which][:, None], orbits.scalars[who])


def _pieces(system: OrbitProblem, orbits: Orbits) -> Index:
    """Return into how many pieces each interval is to be cut, a power of two: `(orbits, N)`."""
    _, jacobian, _ = system.derivatives(orbits.gauss_times, orbits.stages, orbits.scalars)
    time = spread(np.abs(orbits.period), 3) * orbits.steps[..., None]
    # Eigenvalues are at most the largest sum of a row; few intervals need more than that.
    scales = system.scales(orbits.u) + 1e-300
    ratio = scales[:, None] / scales[..., None]
    relative = jacobian * ratio[:, None, None]
    bound = np.abs(relative).sum(axis=-1).max(axis=-1) * time
    finite: Any = np.isfinite(relative).all(axis=(1, 2, 3, 4))
    bound = np.where(finite[:, None, None] & np.isfinite(bound), bound, 0.0)
    doubtful = bound > _SLOW
    bound[doubtful] = _radius(relative[doubtful]) * np.broadcast_to(time, bound.shape)[doubtful]
    wanted = np.ceil(np.log2(np.maximum(bound.max(axis=2) / _SLOW, 1.0)))
    return np.asarray(2 ** np.minimum(wanted, _MOST_CUTS), dtype=np.intp)


def _radius(matrices: Array) -> Array:
    """Return the largest moduli of eigenvalues, to a few percent: those of 64th powers, by their norms."""
    size = np.sqrt(np.einsum("nij,nij->n", matrices, matrices))
    power = matrices / size[:, None, None]
    for _ in range(6):
        power = power @ power
    found: Array = size * np.einsum("nij,nij->n", power, power) ** (0.5 / 64)
    return found


def _cut_transfer(system: OrbitProblem, alone: Orbits, pieces: int) -> Array:
    """Return the transfer matrices of so many pieces of intervals, `(intervals, pieces, n, n)`.

    Within an interval the polynomial is right to order 5 alone, but its error is at a right angle to what is
    smooth, as the Gauss points are; and of each multiplier the error of first order is a mean of it over the
    interval.
    """
    mesh = alone.s[:, :1] + alone.steps * (np.arange(pieces + 1) / pieces)
    fine = remeshed(alone, mesh)
    _, jacobian, _ = system.derivatives(fine.gauss_times, fine.stages, fine.scalars)
    return transfers(jacobian, fine.steps * fine.period[:, None])


def _of_blocks(turn: Array, steps: Array) -> tuple[Any, Array]:
    """Return the eigenvalues of turn R_N ... R_1 and the logarithms of their moduli, block by block.

    A block ends where later directions no longer turn into those up to there.
    """
    count, size = turn.shape[:2]
    mu, log = np.empty((count, size), dtype=complex), np.empty((count, size))
    ends = np.ones((count, size + 1), dtype=bool)
    for k in range(1, size):
        ends[:, k] = np.abs(turn[:, k:, :k]).max(axis=(1, 2)) < _APART
    for begin in range(size):
        for end in range(begin + 1, size + 1):
            is_one = ends[:, begin] & ends[:, end] & ~ends[:, begin + 1 : end].any(axis=1)
            if is_one.any():
                own = slice(begin, end)
                value, scale = _of_product(turn[is_one, own, own], steps[is_one][:, :, own, own])
                with np.errstate(divide="ignore", over="ignore", under="ignore"):
                    log[is_one, own] = np.log(np.abs(value)) + scale[:, None]
                    mu[is_one, own] = value * np.exp(scale)[:, None]
    return mu, log


def _of_product(turn: Array, steps: Array) -> tuple[Any, Array]:
    """Return the eigenvalues of turn R_N ... R_1 but for a factor, and the logarithm of that factor."""
    product, scale = _of_size_one(turn, np.zeros(len(turn)))
    for k in reversed(range(steps.shape[1])):
        product, scale = _of_size_one(product @ steps[:, k], scale)
    value: Any = np.full(product.shape[:2], complex(np.nan, np.nan))
    finite = np.isfinite(product).all(axis=(1, 2))
    value[finite] = np.linalg.eigvals(product[finite])
    return value, scale


def _of_size_one(product: Array, scale: Array) -> tuple[Array, Array]:
    size = np.abs(product).max(axis=(1, 2))
    size = np.where((size > 0.0) & np.isfinite(size), size, 1.0)
    return product / size[:, None, None], scale + np.log(size)
