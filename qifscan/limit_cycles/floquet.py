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
from qifscan.limit_cycles.collocation import Orbits, Problem, condensed, remeshed

_ROUNDS = 2
"""Times around the orbit: the first tells the directions of the multipliers apart, the last measures."""

_APART = 1e-8
"""Angle below which a direction is one for itself."""

_SLOW, _MOST_CUTS = 2.0, 6
"""Change of a direction in an interval that its polynomial follows: to 1e-5 of it; and how often intervals
are halved at most for that."""

_GROUP = 8
"""Intervals whose transfer matrices are multiplied before the product is orthogonalised."""


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


def multipliers(transfer: Array) -> Floquet:
    """Return the Floquet multipliers from the transfer matrices of the intervals, `(orbits, N, n, n)`.

    The transfer matrices are multiplied as Q R, twice around: then the directions are told apart by the size
    of their multipliers. Those that are belong each to a diagonal element of R, whose logarithm is added up
    around the orbit, so that no product over- or underflows; those that are not, with moduli that are alike,
    to a diagonal block.
    """
    size, matrices = transfer.shape[-1], transfer
    while matrices.shape[1] * _GROUP > transfer.shape[1]:
        matrices = matrices[:, 1::2] @ matrices[:, 0::2]
    good: Any = np.isfinite(matrices).all(axis=(1, 2, 3))
    matrices = np.where(good[:, None, None, None], matrices, np.eye(size))
    last = np.broadcast_to(np.eye(size), (len(matrices), size, size))
    for _ in range(_ROUNDS):
        first, steps = last, []
        for k in range(matrices.shape[1]):
            last, r = np.linalg.qr(matrices[:, k] @ last)
            steps.append(r)
    turn = first.swapaxes(-1, -2) @ last
    mu, log = _of_blocks(turn, np.stack(steps, axis=1))
    mu[~good], log[~good] = complex(np.nan, np.nan), np.nan
    order = np.argsort(-log, axis=1, kind="stable")
    return Floquet(np.take_along_axis(mu, order, axis=1), np.take_along_axis(log, order, axis=1))


def resolved(problem: Problem, orbits: Orbits, found: Floquet) -> Floquet:
    """Return the multipliers again where the mesh is too coarse for the fastest directions.

    There the mesh is cut until no eigenvalue of the Jacobian changes a direction by more than a factor of
    exp(`_SLOW`) within an interval. A Gauss method is right in slow directions on any mesh that is good for
    the orbit; one that is to shrink to exp(-20) of itself in an interval keeps a seventh.
    """
    mu, log = found.mu.copy(), found.log.copy()
    pieces = _pieces(problem, orbits)
    for count in np.unique(pieces[pieces > 1]).tolist():
        some = np.flatnonzero(pieces == count)
        finer = multipliers(_cut_transfer(problem.chosen(some), orbits.chosen(some), count))
        mu[some], log[some] = finer.mu, finer.log
    return Floquet(mu, log)


def _pieces(problem: Problem, orbits: Orbits) -> Index:
    """Return into how many pieces the intervals of each orbit are to be cut, a power of two."""
    _, jacobian, _ = problem.derivatives(orbits.gauss_times, orbits.stages, orbits.value)
    finite: Any = np.isfinite(jacobian).all(axis=(1, 2, 3, 4))
    rates = np.abs(np.linalg.eigvals(np.where(finite[:, None, None, None, None], jacobian, 0.0)))
    change = (rates.max(axis=(2, 3)) * orbits.steps).max(axis=1) * np.abs(orbits.period)
    wanted = np.ceil(np.log2(np.maximum(change / _SLOW, 1.0)))
    return np.asarray(2 ** np.where(finite, np.minimum(wanted, _MOST_CUTS), 0), dtype=np.intp)


def _cut_transfer(problem: Problem, orbits: Orbits, pieces: int) -> Array:
    """Return the transfer matrices of so many pieces of each interval, `(orbits, N pieces, n, n)`.

    Within an interval the polynomial is right to order 5 alone, at the mesh points to order 8. So the states
    of the pieces are those of an initial value problem from the mesh point, by a step of Newton's method.
    """
    count, intervals, _, size = orbits.stages.shape
    inside = orbits.s[:, :-1, None] + orbits.steps[:, :, None] * (np.arange(pieces) / pieces)
    mesh = np.concatenate((inside.reshape(count, -1), orbits.s[:, -1:]), axis=1)
    fine = remeshed(orbits, mesh)
    stages, transfer, _ = condensed(problem, fine)
    change = np.zeros((count, intervals, pieces, size))
    by_piece = transfer.reshape(count, intervals, pieces, size, size + 3)
    for k in range(1, pieces):
        before, here = change[:, :, k - 1], by_piece[:, :, k - 1]
        change[:, :, k] = np.einsum("bimn,bin->bim", here[..., :size], before) + here[..., -1]
    left = change.reshape(count, -1, size)
    fine.u[:, :-1] += left
    fine.stages[:] += np.einsum("bijnk,bik->bijn", stages[..., :size], left) + stages[..., -1]
    return condensed(problem, fine)[1][..., :size]


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
    product, scale = turn, np.zeros(len(turn))
    for k in reversed(range(steps.shape[1])):
        product = product @ steps[:, k]
        size = np.abs(product).max(axis=(1, 2))
        size = np.where((size > 0.0) & np.isfinite(size), size, 1.0)
        product, scale = product / size[:, None, None], scale + np.log(size)
    value: Any = np.full(product.shape[:2], complex(np.nan, np.nan))
    finite = np.isfinite(product).all(axis=(1, 2))
    value[finite] = np.linalg.eigvals(product[finite])
    return value, scale
