"""Folds and Hopf points as solutions of larger systems, so that curves of them can be followed step by step.

Of a model y' = F(y; p, q) with the Jacobian A a fold is a solution of F = 0, A v = 0, v . v = 1. At a Hopf
point A^2 v = -omega^2 v for all v of a plane; of these one is at right angles to a fixed direction c: F = 0,
A v = W w, A w = -k W v, c . v = 0, v . v = 1, with a fixed W of the size of omega, and k = (omega/W)^2. Where
k is below 0 two real eigenvalues add up to 0, which is no bifurcation; at a Bogdanov-Takens point in between
the system is regular.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, section 10.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qifscan.roots.taylor import STATE, Gradient, Taylor, coefficient
from qifscan.roots.zeros import part
from qifscan.theory.arclength import DIFFERENCE, Continuation
from qifscan.theory.normal_forms import DIRECTIONS, lyapunov_coefficient, matrices, multilinear

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Mask, Range
    from qifscan.dynamics.model import Model

LEAST = 1e-6
"""Share of the largest size of a variable up to which another one is taken to rest at 0."""

_FLOOR = 0.1
"""Size of k, which is 1 where a curve begins, below which it counts as of that size."""


@dataclass(frozen=True, eq=False)
class Critical(Continuation):
    """The larger system of curves, each from a start of its own: x = (y, v, p, q) of folds, of Hopf points
    x = (y, v, w, k, p, q).

    `first` is p, with its range `between`; `along` is q. `slices` and `size` are those of the starts. `unit`:
    the sizes of variables that v and w are relative to. `across` and `pace` are c and W, of Hopf points.
    """

    first: str
    between: Range
    unit: Array
    across: Array | None = None
    pace: Array | None = None

    @property
    def count(self) -> int:
        """Number of variables of the model."""
        return len(self.model.variables)

    @cached_property
    def own(self) -> Array:
        """1 for the state and the parameters, 0 for v, which has no sign, and what goes with it."""
        n = self.count
        more = n if self.pace is None else 2 * n + 1
        return np.concatenate([np.ones(n), np.zeros(more), np.ones(2)])

    @property
    def most(self) -> int:
        """Steps of a curve at most, in each direction: more are taken where v turns fast beside c, and then
        another start with another c gets further.
        """
        return 1000

    @property
    def bounds(self) -> list[tuple[int, Range]]:
        """The ranges of both parameters, each with its column of x."""
        return [(-1, self.within), (-2, self.between)]

    def given(self, who: Index, x: Array) -> dict[str, Array]:
        """Return all parameters at points."""
        return part(self.slices, who) | {self.first: x[:, -2], self.along: x[:, -1]}

    def vectors(self, who: Index, x: Array) -> list[Array]:
        """Return v, or v and w, in the units of the variables."""
        n = self.count
        return [x[:, k * n : (k + 1) * n] * self.unit[who] for k in range(1, 2 if self.pace is None else 3)]

    def at(self, who: Index, x: Array) -> tuple[Array, Array]:
        """Return the equations `(points, m)` and their derivatives `(points, m, m + 1)`."""
        n, (points, width) = self.count, x.shape
        y, unit, given = x[:, :n], self.unit[who], self.given(who, x)
        value, slope = np.zeros((points, width - 1)), np.zeros((points, width - 1, width))
        for k, vector in enumerate(self.vectors(who, x), 1):
            f, a, turned, bent = _turned(self.model, y, vector, given)
            value[:, :n], slope[:, :n, :n] = f, a
            rows = slice(k * n, (k + 1) * n)
            value[:, rows], slope[:, rows, :n] = turned, bent
            slope[:, rows, rows] = a * unit[:, None, :]
        for column, (_, within) in zip((-1, -2), self.bounds, strict=True):
            slope[:, : value.shape[1], column] = self._by_parameter(who, x, column, within)
        v = x[:, n : 2 * n]
        value[:, -1] = (v * v).sum(axis=1) - 1.0
        slope[:, -1, n : 2 * n] = 2.0 * v
        if self.pace is not None:
            self._turning(who, x, value, slope)
        return value, slope

    def _turning(self, who: Index, x: Array, value: Array, slope: Array) -> None:
        """Take W w from A v, add k W v to A w, and put in c . v, of Hopf points."""
        assert self.pace is not None
        assert self.across is not None
        n, scale = self.count, self.pace[who, None] * self.unit[who]
        v, w, k = x[:, n : 2 * n], x[:, 2 * n : 3 * n], x[:, 3 * n, None]
        value[:, n : 2 * n] -= scale * w
        value[:, 2 * n : 3 * n] += scale * k * v
        rows = np.arange(n)
        slope[:, n + rows, 2 * n + rows] -= scale
        slope[:, 2 * n + rows, n + rows] += scale * k
        slope[:, 2 * n : 3 * n, 3 * n] = scale * v
        value[:, -2] = (self.across[who] * v).sum(axis=1)
        slope[:, -2, n : 2 * n] = self.across[who]

    def _by_parameter(self, who: Index, x: Array, column: int, within: Range) -> Array:
        """Return the derivatives of F, A v and A w by a parameter; those of the other equations are 0."""
        p, n = x[:, column], self.count
        size = np.abs(p) if within[0] > 0.0 else np.maximum(np.abs(p), 0.1 * (within[1] - within[0]))
        change = np.zeros_like(x)
        change[:, column] = DIFFERENCE * size
        found = np.zeros((len(x), x.shape[1] - 1))
        for sign in (1.0, -1.0):
            given = self.given(who, x + sign * change)
            for k, vector in enumerate(self.vectors(who, x), 1):
                f, turned = _directed(self.model, x[:, :n], vector, given)
                found[:, k * n : (k + 1) * n] += sign * turned
            found[:, :n] += sign * f
        return found / (2.0 * change[:, column, None])

    def weights(self, who: Index, x: Array) -> Array:
        """Return the factors that make changes of x relative, `(points, m + 1)`."""
        n, found = self.count, np.ones(x.shape)
        found[:, :n] = super().weights(who, np.concatenate([x[:, :n], x[:, -1:]], axis=1))[:, :-1]
        if self.pace is not None:
            found[:, 3 * n] = 1.0 / (np.abs(x[:, 3 * n]) + _FLOOR)
        for column, (low, high) in self.bounds:
            found[:, column] = 4.0 / (high - low)
            if low > 0.0:
                found[:, column] = np.maximum(found[:, column], 1.0 / np.abs(x[:, column]))
        return found

    def inside(self, x: Array) -> Mask:
        """Tell which states and first parameters are in their domains."""
        n = self.count
        row = next(p for p in self.model.parameters if p.name == self.first)
        states = super().inside(np.concatenate([x[:, :n], x[:, -1:]], axis=1))
        return np.asarray(states & row.domain.holds(x[:, -2]) & np.isfinite(x).all(axis=1))

    def far(self, who: Index, x: Array) -> Mask:
        """Tell which states have gone far beyond those at the starts."""
        return super().far(who, np.concatenate([x[:, : self.count], x[:, -1:]], axis=1))


def _turned(
    model: Model, y: Array, vector: Array, given: Mapping[str, Array]
) -> tuple[Array, Array, Array, Array]:
    """Return F, A, A v, and the derivatives of A v by the state."""
    count, size = y.shape
    moved = tuple(
        Taylor(
            DIRECTIONS[0], (Gradient(STATE, (y[:, i], *(1.0 if i == j else 0 for j in range(size)))), step)
        )
        for i, step in enumerate(vector.T)
    )
    slopes = model.field(moved, (0.0,) * size, model.constants(given))
    f, turned = np.zeros((count, size)), np.zeros((count, size))
    a, bent = np.zeros((count, size, size)), np.zeros((count, size, size))
    for i, slope in enumerate(slopes):
        for k, value, by_state in ((0, f, a), (1, turned, bent)):
            entry = coefficient(slope, k, DIRECTIONS[0])
            value[:, i] = coefficient(entry, 0, STATE)
            for j in range(size):
                by_state[:, i, j] = coefficient(entry, 1 + j, STATE)
    return f, a, turned, bent


def _directed(model: Model, y: Array, vector: Array, given: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return F and A v."""
    size = y.shape[1]
    moved = tuple(Taylor(DIRECTIONS[0], pair) for pair in zip(y.T, vector.T, strict=True))
    found = np.zeros((2, *y.shape))
    for i, slope in enumerate(model.field(moved, (0.0,) * size, model.constants(given))):
        for k in range(2):
            found[k, :, i] = coefficient(slope, k, DIRECTIONS[0])
    return found[0], found[1]


# Where curves begin


def of_folds(plain: Critical, x: Array) -> tuple[Critical, Array]:
    """Return the system of curves from folds (y, p, q), one from each, and where they begin."""
    found = replace(plain, unit=_units(plain, x))
    v = np.linalg.svd(_relative(found, np.arange(len(x)), x))[2][:, -1]
    return found, np.concatenate([x[:, :-2], v, x[:, -2:]], axis=1)


def of_hopf_points(plain: Critical, x: Array) -> tuple[Critical, Array]:
    """Return the same from Hopf points: c is the longer axis of the ellipse of v and w, v the shorter one."""
    found = replace(plain, unit=_units(plain, x))
    values, vectors = np.linalg.eig(_relative(found, np.arange(len(x)), x))
    # Of the pair that is nearest to the axis the one above it.
    off = np.where(values.imag > 0.0, np.abs(values.real) / np.abs(values), np.inf)
    rows, chosen = np.arange(len(x)), np.argmin(off, axis=1)
    omega, q = values[rows, chosen].imag, vectors[rows, :, chosen]
    square = (q * q).sum(axis=1)
    q = q * np.sqrt(np.conj(square) / np.where(square == 0.0, 1.0, np.abs(square)))[:, None]
    # Now the real part is the longer axis. With v = -Im q it is A v = -omega Re q.
    length = np.linalg.norm(q.imag, axis=1)[:, None]
    c = q.real / np.linalg.norm(q.real, axis=1)[:, None]
    one = np.ones((len(x), 1))
    whole = [x[:, :-2], -q.imag / length, -q.real / length, one, x[:, -2:]]
    return replace(found, across=c, pace=omega), np.concatenate(whole, axis=1)


def _units(of: Critical, x: Array) -> Array:
    """Return the sizes of variables; of those that rest at 0 as large as makes what they do to the others as
    strong as what the others do to them.
    """
    size = np.abs(matrices(of.model, x[:, : of.count], of.given(np.arange(len(x)), x)))
    size[:, np.arange(of.count), np.arange(of.count)] = 0.0
    rests = of.size <= LEAST * of.size.max(axis=1, keepdims=True)
    known, unit = ~rests, of.unit
    for _ in range(of.count):
        there = (size * np.where(known, unit, 0.0)[:, None, :]).sum(axis=2)
        back = (size * np.where(known, 1.0 / unit, 0.0)[:, :, None]).sum(axis=1)
        fits = rests & (there > 0.0) & (back > 0.0)
        unit = np.where(fits, np.sqrt(there / np.where(fits, back, 1.0)), unit)
        known = known | fits
    return unit


def _relative(of: Critical, who: Index, x: Array) -> Array:
    """Return the Jacobians for relative changes of the variables, at states with both parameters."""
    unit = of.unit[who]
    matrix = matrices(of.model, x[:, : of.count], of.given(who, x))
    return np.asarray(matrix * unit[:, None, :] / unit[:, :, None])


def fold_tests(of: Critical, who: Index, x: Array, like: Array | None = None) -> tuple[Array, Array]:
    """Return what is 0 at cusps and at Bogdanov-Takens points, l . B(v, v) and l . v `(points, 2)`, and l,
    the left null vector of A of length 1, in the direction of others if they are given.
    """
    n, unit = of.count, of.unit[who]
    a = _relative(of, who, x)
    fine = np.isfinite(a).all(axis=(1, 2))
    left = np.full((len(x), n), np.nan)
    left[fine] = np.linalg.svd(a[fine])[0][:, :, -1]
    if like is not None:
        left = left * np.sign((left * like).sum(axis=1))[:, None]
    (vector,) = of.vectors(who, x)
    bend = multilinear(of.model, x[:, :n], of.given(who, x), vector, vector) / unit
    return np.stack([(left * bend).sum(axis=1), (left * x[:, n : 2 * n]).sum(axis=1)], axis=1), left


def hopf_tests(of: Critical, who: Index, x: Array) -> Array:
    """Return what is 0 at Bogdanov-Takens points, k, and where the first Lyapunov coefficient is 0, `(points,
    2)`: finite where that is infinite, at Bogdanov-Takens points and where another eigenvalue is 0.
    """
    n, given = of.count, of.given(who, x)
    k = x[:, 3 * n]
    assert of.pace is not None
    omega = of.pace[who] * np.sqrt(k)
    whole = np.linalg.det(_relative(of, who, x) / omega[:, None, None])
    l1 = lyapunov_coefficient(of.model, x[:, :n], given, omega)
    return np.stack([k, l1 * omega * whole / (1.0 + np.abs(whole))], axis=1)
