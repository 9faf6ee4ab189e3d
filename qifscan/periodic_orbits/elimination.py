"""Elimination of the stages of intervals, of mesh points within groups, and of every second group."""

from __future__ import annotations

from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.periodic_orbits.gauss import END, MATRIX

_GROUP, _FEW = 4, 16
"""Intervals in a group: along a canard a direction can grow tenfold in each. And of how many blocks it is
quicker to solve for all at once than to halve them."""

_CACHED = 65_536
"""Entries of the matrices of stages that are built and solved together: half a megabyte."""


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


def transfers(jacobian: Array, time: Array) -> Array:
    """Return the transfer matrices `(orbits, N, n, n)` of intervals so many ms long, from the Jacobians at
    their Gauss points."""
    count, intervals, stages, size, _ = jacobian.shape
    flat = jacobian.reshape(-1, stages, size, size)
    found = eliminated(flat, time.ravel(), np.empty((len(flat), stages, size, 0)), size)
    return to_ends(found.reshape(count, intervals, stages, size, -1))


def to_ends(stages: Array) -> Array:
    """Return the changes of the right mesh points from those of the stages `(orbits, N, 4, n, c)`."""
    count, intervals, places, size, wide = stages.shape
    found: Array = (END[1:] @ stages.reshape(count, intervals, places, -1)).reshape(
        count, intervals, size, wide
    )
    found[..., np.arange(size), np.arange(size)] += END[0]
    return found


def eliminated(jacobian: Array, time: Array, rest: Array, own: int) -> Array:
    """Return the changes of the stages of intervals by those of (left mesh point, scalars, 1).

    `jacobian` `(intervals, 4, n, n)`, `time` the lengths of the intervals in ms, `rest` the right sides of
    (scalars, 1). So many at a time that their matrices stay in the cache. Of the n variables the first `own`
    do without the others, which are directions at their orbit, as many in each, with the same Jacobian.
    """
    count, stages, size, wide = rest.shape
    found = np.empty((count, stages, size, size + wide))
    some = max(16, _CACHED // (stages * own) ** 2)
    right = np.empty((min(some, count), stages, size, own + wide))
    right[..., :own] = np.eye(size, own)
    for begin in range(0, count, some):
        part = slice(begin, begin + some)
        length = time[part, None, None, None]
        sides, matrices = right[: len(length)], _matrices(jacobian[part, :, :own, :own] * -length)
        sides[..., own:] = rest[part]
        if own == size:
            found[part] = solve(matrices, sides.reshape(len(length), stages * size, -1)).reshape(sides.shape)
        else:
            _with_directions(matrices, jacobian[part, :, own:, :own] * length, sides, found[part])
    return found


def _matrices(jacobian: Array) -> Array:
    """Return the matrices of the stages of intervals, from the Jacobians times their lengths, negative."""
    count, stages, size, _ = jacobian.shape
    flat = jacobian.swapaxes(1, 2).reshape(count, size, stages * size)
    found = np.empty((count, stages, size, stages * size))
    for j, row in enumerate(np.repeat(MATRIX, size, axis=1)):
        np.multiply(flat, row, out=found[:, j])
    square = found.reshape(count, stages * size, stages * size)
    diagonal = np.arange(stages * size)
    square[:, diagonal, diagonal] += 1.0
    return square


def _with_directions(matrices: Array, coupling: Array, right: Array, found: Array) -> None:
    """Write the changes of the stages of orbits with directions: with the same `matrices` for both, and the
    lengths of the intervals times what directions get from the orbit, `(intervals, 4, d, n)`.

    What a direction gets from its own left mesh point is what the orbit gets from its.
    """
    count, stages, size, _ = right.shape
    own = coupling.shape[3]

    def solved(sides: Array) -> Array:
        flat: Array = solve(matrices, sides.reshape(count, stages * own, -1))
        return flat.reshape(count, stages, own, -1)

    first = solved(right[:, :, :own])
    found[:, :, :, own:size] = 0.0
    found[:, :, :own, :own], found[:, :, :own, size:] = first[..., :own], first[..., own:]
    for begin in range(own, size, own):
        part = slice(begin, begin + own)
        through = (coupling[:, :, begin - own : begin] @ first).reshape(count, stages, -1)
        also = solved(right[:, :, part] + (MATRIX @ through).reshape(first.shape))
        found[:, :, part, :own], found[:, :, part, size:] = also[..., :own], also[..., own:]
        found[:, :, part, part] = first[..., :own]


def grouped(transfer: Array) -> Array:
    """Return the changes of the mesh points of groups by those of their first ones and of the rest."""
    count, intervals, size, wide = transfer.shape
    groups = max(1, intervals // _GROUP)
    steps = transfer.reshape(count, groups, -1, size, wide)
    partial = np.zeros((count, groups, steps.shape[2] + 1, size, wide))
    partial[:, :, 0, :, :size] = np.eye(size)
    for k in range(steps.shape[2]):
        partial[:, :, k + 1] = steps[:, :, k, :, :size] @ partial[:, :, k]
        partial[:, :, k + 1, :, size:] += steps[:, :, k, :, size:]
    return partial


def halved(ends: Array) -> tuple[tuple[Array, ...], Array]:
    """Return `levels` and `blocks` from the changes of the ends of groups, by cyclic reduction."""
    size = ends.shape[2]
    right = np.broadcast_to(-np.eye(size), ends[..., :size].shape)
    blocks = np.concatenate((ends[..., :size], right, ends[..., size:]), axis=-1)
    levels = []
    while blocks.shape[1] > _FEW:
        first, second = blocks[:, 0::2], blocks[:, 1::2]
        own = slice(size, 2 * size)
        q, r = np.linalg.qr(np.concatenate((first[..., own], second[..., :size]), axis=2), mode="complete")
        others = np.zeros((*first.shape[:2], 2 * size, blocks.shape[3]))
        others[:, :, :size, :size], others[:, :, size:, own] = first[..., :size], second[..., own]
        others[..., :size, 2 * size :], others[..., size:, 2 * size :] = (
            first[..., 2 * size :],
            second[..., 2 * size :],
        )
        turned = q.swapaxes(-1, -2) @ others
        levels.append(-solve(r[:, :, :size], turned[:, :, :size]))
        blocks = turned[:, :, size:]
    return tuple(levels), blocks
