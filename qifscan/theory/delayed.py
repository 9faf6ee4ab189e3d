"""Equilibria with a delay: how many eigenvalues are to the right, where they are, and where they cross.

In a model of r and v whose r acts on v after a delay D as well, the eigenvalues l of an equilibrium are the
roots of

    (l - a)^2 + c = b exp(-l D),

infinitely many. For D = 0 they are a +- sqrt(b - c). As D grows, roots cross the imaginary axis at l = i w
alone, where both sides are of one size: w^2 solves a quadratic equation. At the larger w^2 they cross to the
right, at the smaller to the left, first where the phases agree, and again after every 2 pi/w. So the number
of roots to the right of the axis is known exactly; and, as l + s solves an equation of the same form, that
to the right of any vertical line too.

K. L. Cooke, P. van den Driessche, Funkcial. Ekvac. 29, 77 (1986).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.taylor import STATE, Gradient, coefficient, square_root
from qifscan.roots.zeros import halved

if TYPE_CHECKING:
    from qifscan.arrays import Array, Values
    from qifscan.dynamics.model import Model

MODES = 6
"""Eigenvalues of an equilibrium that are computed, the rightmost ones: those that a trajectory shows last."""

_EPS = float(np.finfo(np.float64).eps)
_ROUNDS, _HALVINGS, _NEWTON_STEPS, _DOUBLINGS = 3, 20, 12, 60
_APART = 1e-10
"""Relative distance to both sides of a root at which the roots to the right are counted, to be sure of it."""


@dataclass(frozen=True)
class Terms:
    """a (1/ms), c and b (1/ms^2) and D (ms) of (l - a)^2 + c = b exp(-l D): arrays, or series in log r."""

    a: Any
    c: Any
    b: Any
    delay: Any

    def beside(self) -> Terms:
        """Return them with one more dimension, for several roots of each equilibrium."""
        return Terms(*(np.asarray(x)[..., None] for x in (self.a, self.c, self.b, self.delay)))

    def chosen(self, which: Any) -> Terms:
        """Return those of some equilibria."""
        return Terms(self.a[which], self.c[which], self.b[which], self.delay[which])

    def shifted(self, s: Any) -> Terms:
        """Return the terms of the equation that l - s solves."""
        return Terms(self.a - s, self.c, self.b * np.exp(-s * self.delay), self.delay)

    def value(self, root: Any) -> tuple[Any, Any]:
        """Return (l - a)^2 + c - b exp(-l D) and its derivative by l."""
        past = self.b * np.exp(-root * self.delay)
        return (root - self.a) ** 2 + self.c - past, 2.0 * (root - self.a) + self.delay * past

    def squares(self) -> tuple[Any, Any]:
        """Return the larger and the smaller w^2 at which both sides are of one size at l = i w."""
        root = square_root(self.b * self.b - 4.0 * (self.a * self.a * self.c))
        middle = self.c - self.a * self.a
        return middle + root, middle - root

    def phase(self, square: Any) -> tuple[Any, Any, Any]:
        """Return w, and the sine and the cosine of the phase w D at which i w is a root."""
        w = square_root(square)
        return w, 2.0 * (self.a * w) / self.b, (self.a * self.a + self.c - square) / self.b


def terms(model: Model, state: Sequence[Any], parameters: Values) -> Terms:
    """Return the terms at states at rest; arrays, or series in log r."""
    moved = tuple(
        Gradient(STATE, (y, *(1.0 if i == j else 0 for j in range(3)))) for i, y in enumerate(state)
    )
    constants = model.constants(parameters)
    slopes = model.field(moved, (0.0, Gradient(STATE, (0.0, 0, 0, 1.0))), constants)
    (rr, rv, _), (vr, vv, push) = ([coefficient(y, 1 + j, STATE) for j in range(3)] for y in slopes)
    a = 0.5 * (rr + vv)
    return Terms(a, rr * vv - rv * vr - a * a, rv * (push * constants["past"]), parameters[model.delay])


def at_states(model: Model, state: Array, parameters: Values) -> Terms:
    """Return the terms at states `(points, 2)` at rest, `(points,)` each."""
    found = terms(model, tuple(state.T), parameters)
    like = 0.0 * state[:, 0]
    return Terms(*(np.asarray(x) + like for x in (found.a, found.c, found.b, found.delay)))


# How many roots are to the right


def crossed(of: Terms) -> Array:
    """Return how many pairs of roots have crossed the axis to the right, less those to the left, until D."""
    with np.errstate(all="ignore"):
        right, left = (_crossings(of, square) for square in of.squares())
        found: Array = right - left
    return found


def _crossings(of: Terms, square: Any) -> Any:
    """Return how often roots cross the axis at +-i w until the delay is D, from w^2; never without a w."""
    w, sine, cosine = of.phase(square)
    turn = (w * of.delay - np.mod(np.arctan2(sine, cosine), 2.0 * math.pi)) / (2.0 * math.pi)
    return np.where((w > 0.0) & (turn >= 0.0), np.floor(turn) + 1.0, 0.0)


def unstable(of: Terms) -> Array:
    """Return the number of roots with a positive real part, NaN where there is no equilibrium."""
    with np.errstate(all="ignore"):
        spread = np.sqrt((of.b - of.c).astype(complex)).real
        found: Array = ((of.a + spread > 0.0) * 1.0 + (of.a - spread > 0.0)) + 2.0 * crossed(of)
        return np.where(np.isfinite(of.a + of.b + of.c), found, np.nan)


# Where the rightmost ones are


def rightmost(of: Terms, count: int = MODES) -> tuple[Array, Array]:
    """Return the rightmost roots, real and imaginary parts ascending, `(points, count)`; NaN before them
    where there are fewer.

    The real part of the k-th root is where the number of roots to its right falls below k: halving an
    interval finds it, and Newton's method the root itself. It is taken if the numbers to both sides say so.
    """
    there = np.flatnonzero(np.isfinite(of.a + of.b + of.c))
    found = np.full((*of.a.shape, count), complex(np.nan, np.nan))
    with np.errstate(all="ignore"):
        ranks: Array = np.arange(1.0, count + 1.0)
        low, high = _bracket(of.chosen(there).beside(), ranks)
        row, place = np.nonzero(np.isfinite(low))
        low, high, k, point = low[row, place], high[row, place], ranks[place], there[row]
        here = of.chosen(point)
        for _ in range(_ROUNDS):
            low, high = halved(partial(_has_right, here, k), low, high, _HALVINGS)
            root, sure = _refined(here, k, 0.5 * (low + high))
            found[point[sure], place[sure]] = root[sure]
            left = ~sure
            if not left.any():
                break
            here, k, low, high = here.chosen(left), k[left], low[left], high[left]
            point, place = point[left], place[left]
    found = found[..., ::-1]
    return found.real.copy(), found.imag.copy()


def _has_right(of: Terms, k: Array, line: Array) -> Any:
    """Tell where k roots lie to the right of a line."""
    return unstable(of.shifted(line)) >= k


def _bracket(of: Terms, k: Array) -> tuple[Array, Array]:
    """Return a line that k roots lie to the right of, NaN if there is none, and one that none does."""
    size = np.sqrt(np.abs(of.b) + np.abs(of.c))
    # |l - a|^2 <= |b| + |c| to the right of the axis.
    high = np.maximum(0.0, of.a + size) * (1.0 + 1e-6) + 1e-6 * size + 0.0 * k
    low, step = np.full(high.shape, np.nan), np.abs(of.a) + size
    for power in range(_DOUBLINGS):
        left = np.flatnonzero(np.isnan(low).any(axis=1))
        if not len(left):
            break
        line = high[left] - step[left] * 2.0**power
        right = np.isnan(low[left]) & (unstable(of.chosen(left).shifted(line)) >= k)
        low[left] = np.where(right, line, low[left])
    return low, high


def _refined(of: Terms, k: Array, line: Array) -> tuple[Any, Any]:
    """Return the roots next to a line, and whether each is the k-th one from the right."""
    there = of.shifted(line)
    # At the root both sides have one size; beside it the radicand may be just below 0.
    spread = np.sqrt(np.maximum(0.0, there.b * there.b - 4.0 * there.a * there.a * there.c))
    squares = [there.c - there.a * there.a + sign * spread for sign in (1.0, -1.0)]
    starts = np.stack([line + 1j * np.sqrt(np.maximum(0.0, x)) for x in (0.0 * line, *squares)])
    start = np.argmin([np.abs(of.value(z)[0]) for z in starts], axis=0)
    root = np.take_along_axis(starts, start[None], axis=0)[0]
    arrived = np.zeros(root.shape, dtype=bool)
    for _ in range(_NEWTON_STEPS):
        value, slope = of.value(root)
        # One that has arrived stays, however long the others take.
        step = np.where(arrived, 0.0, np.nan_to_num(value / slope))
        root = root - step
        arrived |= np.abs(step) <= 2.0 * _EPS * np.abs(root)
        if arrived.all():
            break
    near = _APART * (np.abs(root) + np.abs(of.a) + np.sqrt(np.abs(of.b) + np.abs(of.c)))
    left, right = (unstable(of.shifted(root.real + sign * near)) for sign in (-1.0, 1.0))
    # The first of a pair, from the right, is the one with positive imaginary part: so they ascend.
    turned = np.where(k - right == 1.0, np.abs(root.imag), -np.abs(root.imag))
    return root.real + 1j * turned, (left >= k) & (right < k)


def modes(model: Model, state: Array, parameters: Values) -> tuple[Array, Array, Array]:
    """Return the rightmost eigenvalues at states `(points, 2)`, ascending, and how many are unstable."""
    of = at_states(model, state, parameters)
    return *rightmost(of), unstable(of)
