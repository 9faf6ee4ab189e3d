"""What decides at a fold or a Hopf point: the coefficients of its normal form, for many points at once.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, sections 5.4 and 8.7.
Critical vectors are normalised by <q, q> = <p, q> = 1, with <a, b> = sum of conj(a_i) b_i. States are taken
in the units of the model; so only the signs, and where a coefficient is 0, do not depend on units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.taylor import Taylor, characteristic, coefficient, determinant, without
from qifscan.theory.rate_curve import at_once, frequency_squared, jacobian

if TYPE_CHECKING:
    from qifscan.arrays import Array, Values
    from qifscan.dynamics.model import Model

Vectors = np.ndarray[Any, Any]
"""`(points, n)`, real or complex."""

_SMALL = 4
"""Size of matrices up to which determinants are expanded, entry by entry."""

DIRECTIONS = (11, 12, 13)
"""Levels of the directions that derivatives are taken in."""


def multilinear(model: Model, state: Vectors, parameters: Values, *directions: Vectors) -> Vectors:
    """Return the derivative of the field by the state in one, two or three directions: A u, B(u, v), C(u,
    v, w).
    """
    levels = DIRECTIONS[: len(directions)]
    moved: list[Any] = list(state.T)
    for level, direction in zip(levels, directions, strict=True):
        moved = [Taylor(level, (value, step)) for value, step in zip(moved, direction.T, strict=True)]
    slopes = list(model.field(tuple(moved), (0.0,) * len(moved), model.constants(parameters)))
    for level in reversed(levels):
        slopes = [coefficient(slope, 1, level) for slope in slopes]
    found = np.zeros(state.shape, dtype=np.result_type(*directions))
    for i, slope in enumerate(slopes):
        found[:, i] = slope
    return found


def matrices(model: Model, state: Vectors, parameters: Values) -> Array:
    """Return the Jacobian at every state, `(points, n, n)`, in 1/ms."""
    entries = jacobian(model, tuple(state.T), parameters)
    found = np.zeros((*state.shape, state.shape[1]))
    for i, row in enumerate(entries):
        for j, entry in enumerate(row):
            found[:, i, j] = entry
    return found


@dataclass(frozen=True)
class Linearised:
    """M(l) = l - A - B exp(-l D), singular at the eigenvalues l; A, B `(points, n, n)`, B with a delay."""

    now: Array
    past: Array | None
    delay: Array

    @classmethod
    def of(cls, model: Model, state: Vectors, parameters: Values) -> Linearised:
        """Return it at every state, with A and B in 1/ms and D in ms."""
        now = matrices(model, state, parameters)
        if not model.delay:
            return cls(now, None, np.zeros(len(state)))
        constants = model.constants(parameters)
        inputs = [
            Taylor(DIRECTIONS[0], (0.0, 1.0)) if n == model.driven else 0.0 for n in model.variable_names
        ]
        past = np.zeros_like(now)
        for i, slope in enumerate(model.field(tuple(state.T), tuple(inputs), constants)):
            past[:, i, 0] = coefficient(slope, 1, DIRECTIONS[0]) * constants["past"]
        return cls(now, past, np.broadcast_to(parameters[model.delay], len(state)))

    def at(self, root: Any) -> Vectors:
        """Return M at one number for all points, or at one for each."""
        turned = np.asarray(root)[..., None, None] * np.eye(self.now.shape[-1]) - self.now
        return turned if self.past is None else turned - self._faded(root) * self.past

    def critical(self, root: Any) -> tuple[Vectors, Vectors]:
        """Return q and p of eigenvalues, M q = 0 and M^H p = 0, with <q, q> = <p, M' q> = 1."""
        q, p = null_vectors(self.at(root))
        if self.past is None:
            return q, p
        slope = np.eye(self.now.shape[-1]) + self.delay[:, None, None] * self._faded(root) * self.past
        return q, p / np.conj(_inner(p, (slope * q[:, None, :]).sum(axis=2)))[:, None]

    def _faded(self, root: Any) -> Any:
        return np.exp(-np.asarray(root) * self.delay)[:, None, None]


def null_vectors(matrix: Vectors) -> tuple[Vectors, Vectors]:
    """Return q and p of singular matrices, M q = 0 and M^H p = 0, with <q, q> = <p, q> = 1.

    The adjugate of such a matrix is a multiple of q p^H; the largest of its columns and of its rows are
    taken. The first component of q is real and not negative. Of larger matrices they are the singular vectors
    of the smallest singular value.
    """
    size = matrix.shape[-1]
    if size > _SMALL:
        return _normalised(*_singular_vectors(matrix))
    rows = [[matrix[:, i, j] for j in range(size)] for i in range(size)]
    adjugate = np.empty_like(matrix)
    for i in range(size):
        for j in range(size):
            adjugate[:, i, j] = (-1.0) ** (i + j) * determinant(without(rows, j, i))
    return _normalised(_largest(adjugate.transpose(0, 2, 1)), _largest(adjugate).conj())


def _singular_vectors(matrix: Vectors) -> tuple[Vectors, Vectors]:
    fine = np.isfinite(matrix).all(axis=(1, 2))
    q, p = (np.full(matrix.shape[:2], np.nan, dtype=matrix.dtype) for _ in range(2))
    left, _, right = np.linalg.svd(matrix[fine])
    q[fine], p[fine] = right[:, -1].conj(), left[:, :, -1]
    return q, p


def _normalised(q: Vectors, p: Vectors) -> tuple[Vectors, Vectors]:
    q = q * np.conj(np.sign(q[:, :1])) if np.iscomplexobj(q) else q * np.sign(q[:, :1])
    q = q / np.linalg.norm(q, axis=1)[:, None]
    return q, p / np.conj(_inner(p, q))[:, None]


def _largest(rows: Vectors) -> Vectors:
    sizes = np.linalg.norm(rows, axis=2)
    chosen = np.argmax(sizes, axis=1)
    found: Vectors = rows[np.arange(len(rows)), chosen] / sizes[np.arange(len(rows)), chosen, None]
    return found


def _inner(a: Vectors, b: Vectors) -> Any:
    return (a.conj() * b).sum(axis=1)


def fold_coefficient(model: Model, state: Vectors, parameters: Values) -> Array:
    """Return a = <p, B(q, q)>/2 of w' = a w^2 + ... at folds, with q_1 > 0; it is 0 at a cusp."""
    q, p = Linearised.of(model, state, parameters).critical(0.0)
    found: Array = 0.5 * _inner(p, multilinear(model, state, parameters, q, q))
    return found


def lyapunov_coefficient(model: Model, state: Vectors, parameters: Values, omega: Array) -> Array:
    """Return the first Lyapunov coefficient at Hopf points of angular frequency omega (1/ms).

    l1 = Re<p, C(q, q, q*) + 2 B(q, h11) + B(q*, h20)>/(2 omega) with M(i omega) q = 0, M(i omega)^H p = 0,
    h11 = M(0)^-1 B(q, q*), h20 = M(2 i omega)^-1 B(q, q); M(l) = l - A, and with a delay as in `Linearised`:
    what is delayed is linear, so B and C are those of the present. Negative: supercritical, a stable cycle is
    born on the centre manifold; positive: subcritical, an unstable one.
    Source: Kuznetsov 2004, eq. 5.62; with a delay Diekmann, van Gils, Verduyn Lunel, Walther, Delay Equations
    (1995), ch. X.
    """
    linear = Linearised.of(model, state, parameters)
    q, p = linear.critical(1j * omega)
    conj = q.conj()
    h11 = _solved(linear.at(0.0).astype(complex), multilinear(model, state, parameters, q, conj))
    h20 = _solved(linear.at(2j * omega), multilinear(model, state, parameters, q, q))
    total = multilinear(model, state, parameters, q, q, conj)
    total = total + 2.0 * multilinear(model, state, parameters, q, h11)
    total = total + multilinear(model, state, parameters, conj, h20)
    found: Array = _inner(p, total).real / (2.0 * omega)
    return found


def _solved(matrix: Vectors, right: Vectors) -> Vectors:
    """Return the solutions of small linear systems, NaN where one is singular, by Cramer's rule.

    Of larger ones by singular values.
    """
    size = matrix.shape[-1]
    if size > _SMALL:
        fine = np.isfinite(matrix).all(axis=(1, 2)) & np.isfinite(right).all(axis=1)
        solved = np.full_like(right, np.nan)
        left, sizes, turned = np.linalg.svd(matrix[fine])
        along = (left.conj() * right[fine, :, None]).sum(axis=1) / sizes
        solved[fine] = (turned.conj() * along[:, :, None]).sum(axis=1)
        return solved
    columns = [[matrix[:, i, j] for j in range(size)] for i in range(size)]
    whole = determinant(columns)
    found = np.empty_like(right)
    for k in range(size):
        changed = [[right[:, i] if j == k else columns[i][j] for j in range(size)] for i in range(size)]
        found[:, k] = determinant(changed) / whole
    return found


def residual(model: Model, state: Vectors, parameters: Values, least: float = 0.0) -> Array:
    """Return the largest rate of change at states that should rest, over the sum of its terms' sizes.

    A variable below `least` of the largest one counts as of that size: where 0 is found up to rounding.
    """
    parameters = at_once(model, parameters)
    slopes: Any = model.field(tuple(state.T), (0.0,) * state.shape[1], model.constants(parameters))
    sizes = np.maximum(np.abs(state), least * np.abs(state).max(axis=1, initial=0.0)[:, None])
    size = (np.abs(matrices(model, state, parameters)) * sizes[:, None, :]).sum(axis=2)
    # A variable that rests at 0 has terms of size 0, and a rate of change of 0.
    found = [np.abs(slope) / np.where(size[:, i] == 0.0, 1.0, size[:, i]) for i, slope in enumerate(slopes)]
    worst: Array = np.max(np.stack([ratio + 0.0 * state[:, 0] for ratio in found]), axis=0)
    return worst


def eigenvalues(a: Array) -> tuple[Array, Array]:
    """Return the real and imaginary parts of the eigenvalues of `(..., n, n)` matrices; NaN for NaN."""
    flat = a.reshape(-1, *a.shape[-2:])
    found = np.full(flat.shape[:-1], complex(np.nan, np.nan))
    finite = np.isfinite(flat).all(axis=(1, 2))
    values = _of_two(flat[finite]) if a.shape[-1] == 2 else np.linalg.eigvals(flat[finite])
    found[finite] = np.sort(values, axis=-1)
    found = found.reshape(a.shape[:-1])
    return found.real.copy(), found.imag.copy()


def _of_two(a: Array) -> Vectors:
    half = 0.5 * (a[:, 0, 0] + a[:, 1, 1])
    apart = 0.5 * (a[:, 0, 0] - a[:, 1, 1])
    root = np.sqrt((apart * apart + a[:, 0, 1] * a[:, 1, 0]).astype(complex))
    return np.stack((half - root, half + root), axis=1)


def squared_frequency(model: Model, state: Vectors, parameters: Values) -> Array:
    """Return -l^2 of the two eigenvalues +-l that add up to 0, at states where there are such two."""
    if state.shape[1] > _SMALL:
        return _product_of_opposite(matrices(model, state, parameters))
    c = characteristic(jacobian(model, tuple(state.T), parameters))
    return np.asarray(frequency_squared(c)) + 0.0 * state[:, 0]


def _product_of_opposite(matrix: Vectors) -> Array:
    """Return the product of those two eigenvalues whose sum is nearest to 0, relative to their size."""
    fine = np.isfinite(matrix).all(axis=(1, 2))
    found = np.full(len(matrix), np.nan)
    roots = np.linalg.eigvals(matrix[fine]).astype(complex)
    first, second = np.triu_indices(matrix.shape[-1], 1)
    a, b = roots[:, first], roots[:, second]
    nearest = np.argmin(np.abs(a + b) / (np.abs(a) + np.abs(b)), axis=1)[:, None]
    found[fine] = np.take_along_axis((a * b).real, nearest, axis=1)[:, 0]
    return found


def states(model: Model, r: Any, parameters: Values) -> Vectors:
    """Return the states at rest at these rates, `(points, n)`."""
    columns: Sequence[Any] = model.at_rest(r, parameters)
    return np.stack([np.asarray(column) + 0.0 * r for column in columns], axis=-1)
