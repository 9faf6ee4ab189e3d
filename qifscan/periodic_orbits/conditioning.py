"""How far the multipliers of a bifurcation may be off: what errors of an orbit do to them.

An error at one place of an orbit changes the multipliers by as much times the size of the spectral projector
there, onto the directions of the bifurcation. Beside a canard that is 1e8, as these and the others are almost
the same. An error of rounding also grows on the way around, as directions do.

L. Trefethen, M. Embree, Spectra and Pseudospectra, Princeton 2005, section 52 (condition numbers).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.periodic_orbits.floquet import multiplied
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits

_PIECES = 32
"""The most pieces of an orbit between which is looked."""

_SHARE, _ORDER = 0.8, 1.6
"""Error of multipliers, of condition 1, on a mesh with an error of 1 between its points, and its power: mesh
points are right to order 8, what is between them to order 5."""

_ROUNDING, _GROWN, _DRIVEN = 1e-15, 5e-18, {"LPC": 1e-13, "PD": 3e-16, "NS": 3e-16}
"""Error of multipliers, of condition 1, by rounding: that which does not grow, and that where directions grow
by 1, without a drive and with one.

With these numbers, and the share above, errors are told that are at least by how much multipliers by DOP853
differ, from starts as they are told, on curves of folds and period doublings beside canards and elsewhere.
They are up to 1000 times as large. Of torus bifurcations none that was so steep turned up.
"""


def errors(system: Marginal, orbits: Orbits, groups: Array, mesh_error: Array) -> tuple[Array, Array]:
    """Return by how much the multipliers of the bifurcation may be off, by the mesh and by rounding;
    `groups` are the transfer matrices of states."""
    problem, cycles = system.problem, system.cycles(orbits)
    scales = problem.scales(cycles.u)
    pieces, each = _pieces(groups / scales[:, None, :, None] * scales[:, None, None, :])
    stride = each * (orbits.stages.shape[1] // groups.shape[1])
    own = _directions(system, orbits, stride) / scales[:, None, :, None]
    sizes = _condition(own, _block(system, orbits), _critical(system, orbits), pieces)
    mean = _mean(sizes, cycles.s[:, ::stride])
    by_mesh = _SHARE * mean * mesh_error**_ORDER
    grown = _GROWN if problem.drive is None else _DRIVEN[system.kind]
    by_rounding = mean * (_ROUNDING + grown * _growth(pieces))
    by_mesh, by_rounding = (np.where(np.isfinite(x), x, np.inf) for x in (by_mesh, by_rounding))
    return by_mesh, by_rounding


def _mean(values: Array, at: Array) -> Array:
    """Return the mean over the period of values at some scaled times."""
    found: Array = (0.5 * (values[:, 1:] + values[:, :-1]) * np.diff(at, axis=1)).sum(axis=1)
    return found


def _pieces(groups: Array) -> tuple[Array, int]:
    """Return the transfer matrices of at most so many pieces, and of how many groups each is."""
    count, many, size, _ = groups.shape
    each = next(k for k in range(-(-many // _PIECES), many + 1) if many % k == 0)
    pieces = multiplied(groups.reshape(-1, each, size, size))
    return pieces.reshape(count, -1, size, size), each


def _growth(pieces: Array) -> Array:
    """Return how much a direction grows at most between two places."""
    product = pieces[:, :0]
    found = np.ones(len(pieces))
    for k in range(pieces.shape[1]):
        # From the beginning of every piece up to here.
        product = np.concatenate((pieces[:, k, None] @ product, pieces[:, k, None]), axis=1)
        found = np.maximum(found, np.abs(product).max(axis=(1, 2, 3)))
    return found


def _directions(system: Marginal, orbits: Orbits, stride: int) -> Array:
    """Return the k directions of the bifurcation at the beginnings of pieces and at the end, `(orbits, K + 1,
    n, k)`: without a drive that of the flow is one at a fold."""
    n, cycles = system.size, system.cycles(orbits)
    found = [orbits.u[:, ::stride, (k + 1) * n : (k + 2) * n] for k in range(system.copies)]
    if system.kind == "LPC" and system.has_extra:
        found.append(system.problem.slopes(cycles.s[:, ::stride], cycles.u[:, ::stride], cycles.scalars))
    return np.stack(found, axis=-1)


def _block(system: Marginal, orbits: Orbits) -> Array:
    """Return what the monodromy matrix does to these directions, at a fold less 1: `(orbits, k, k)`."""
    last, one = orbits.scalars[:, -1], np.ones(len(orbits.period))
    if system.kind == "NS":
        rows = [[last, one], [last**2 - 1.0, last]]
    elif system.has_extra:
        # v(1) = v(0) + b T f + what the monodromy matrix makes of v(0) else.
        rows = [[0.0 * one, 0.0 * one], [-last * orbits.period, 0.0 * one]]
    else:
        rows = [[one]]
    return np.moveaxis(np.array(rows), 2, 0)


def _critical(system: Marginal, orbits: Orbits) -> Any:
    """Return the polynomial of the monodromy matrix that is 0 in these directions: x^2 - 2 c x + 1, x + 1 or
    x - 1."""
    if system.kind == "NS" or system.has_extra:
        cosine = orbits.scalars[:, -1, None, None] if system.kind == "NS" else 1.0
        return lambda matrix, one: matrix @ matrix - 2.0 * cosine * matrix + one
    sign = 1.0 if system.kind == "PD" else -1.0
    return lambda matrix, one: matrix + sign * one


def _condition(directions: Array, block: Array, critical: Any, pieces: Array) -> Array:
    """Return how much larger errors of multipliers are than those of a piece's matrix.

    That of their mean is at most the size of the spectral projector, that of their product this times the
    size of the block.
    """
    count, many, size, _ = pieces.shape
    matrix = critical(multiplied(pieces), np.eye(size))
    fine: Any = np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(directions).all(axis=(1, 2, 3))
    left = np.linalg.svd(np.where(fine[:, None, None], matrix, np.eye(size)))[0]
    dual = left[:, :, size - directions.shape[3] :]
    found = np.zeros((count, many + 1))
    for k in range(many, -1, -1):
        own, r = np.linalg.qr(directions[:, k])
        # What of the left directions belongs to the right ones: both bases may be of any length.
        matched = dual @ _inverse(own.swapaxes(1, 2) @ dual)
        inside = r @ block @ _inverse(r)
        found[:, k] = _size(matched) * np.maximum(1.0, _size(inside))
        if k:
            dual = pieces[:, k - 1].swapaxes(1, 2) @ dual
            dual = dual / np.abs(dual).max(axis=(1, 2), keepdims=True)
    return np.where(fine[:, None], found, np.inf)


def _size(matrix: Array) -> Array:
    found: Array = np.sqrt((matrix**2).sum(axis=(1, 2)))
    return found


def _inverse(matrix: Array) -> Any:
    """Return the inverses of small matrices, infinite where there is none."""
    singular = ~(np.abs(np.linalg.det(matrix)) > 0.0)
    found: Any = np.linalg.inv(np.where(singular[:, None, None], np.eye(matrix.shape[-1]), matrix))
    found[singular] = np.inf
    return found
