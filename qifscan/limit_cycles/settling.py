"""Simulation of many trajectories until they repeat: what collocation starts from.

The method of Dormand and Prince, order 5(4), each trajectory with its own step; between steps the trajectory
is Hermite's cubic.

J. Dormand, P. Prince, J. Comput. Appl. Math. 6, 19 (1980); E. Hairer, S. Norsett, G. Wanner, Solving Ordinary
Differential Equations I, Springer 1993, section II.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.problem import Problem
from qifscan.phases import tell
from qifscan.roots.zeros import halved

PERIODIC, AT_REST, NOT_PERIODIC, DIVERGED = range(4)

TOLERANCE = 1e-6
"""Relative error of a step: what collocation starts from need not be better."""

_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
NODES_IN_STEP = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

_DENSE = (
    -12715105075 / 11282082432,
    0.0,
    87487479700 / 32700410799,
    -10690763975 / 1880347072,
    701980252875 / 199316789632,
    -1453857185 / 822651844,
    69997945 / 29380423,
)

_RETURNS = 96
"""Returns to a section that are compared; the longest period that is found has half of them."""

MOST_RETURNS = _RETURNS // 2

_CLOSE = (1e-4, 1e-3, 1e-2)
"""Relative distances at which two returns are the same, tried in this order."""

FLAT = 1e-4
"""Relative size of an oscillation below which a trajectory is at rest."""


@dataclass(frozen=True)
class Trajectories:
    """Recorded steps: `t` `(steps, trajectories)`, states and slopes `(steps, trajectories, n)`.

    A trajectory that has ended rests at its last time.
    """

    t: Array
    y: Array
    slope: Array

    def at(self, which: int, times: Array) -> Array:
        """Return the states of a trajectory at some times, `(times, n)`."""
        t, y, slope = self.t[:, which], self.y[:, which], self.slope[:, which]
        k = np.clip(np.searchsorted(t, times, side="right") - 1, 0, len(t) - 2)
        h = np.where(t[k + 1] > t[k], t[k + 1] - t[k], 1.0)
        return hermite((times - t[k]) / h, h, (y[k], y[k + 1]), (slope[k], slope[k + 1]))


def hermite(x: Array, h: Array, y: Sequence[Array], slope: Sequence[Array]) -> Array:
    """Return Hermite's cubic on intervals of length h at places x in [0, 1]: `(intervals, n)`."""
    # SciPy's `CubicHermiteSpline` is made for all intervals of one curve; here a few of many are wanted.
    x, h = x[:, None], h[:, None]
    low, high = (1.0 - x) ** 2, x * x
    first: Array = low * ((1.0 + 2.0 * x) * y[0] + x * h * slope[0])
    return first + high * ((3.0 - 2.0 * x) * y[1] - (1.0 - x) * h * slope[1])


def simulated(
    problem: Problem, start: Array, begin: Array, end: Array, scale: Array, *, record: bool
) -> tuple[Array, Trajectories | None]:
    """Return the states `(trajectories, n)` at the times `end`, NaN where one diverges, and the steps.

    `scale` are the sizes `(trajectories, n)` that errors are relative to. With a drive, its period is 1 in
    the problem's scaled time, and `turns` are per ms.
    """
    now = Now(begin.copy(), start.copy(), np.empty_like(start), np.empty_like(begin))
    left = np.flatnonzero(end > begin)
    now.slope[:] = _flow(problem)(now.t, now.y)
    now.h[:] = 0.01 * (scale / (np.abs(now.slope) + 1e-300)).min(axis=1)
    steps = [(now.t.copy(), now.y.copy(), now.slope.copy())]
    while len(left):
        flow, going = _flow(problem.chosen(left)), left
        # The constants of those that are left are made anew only when some have ended.
        while len(going) == len(left) > 0:
            tell("simulating, trajectories", len(begin) - len(left), len(begin))
            going, _ = stepped(flow, now, left, end, scale)
            if record:
                steps.append((now.t.copy(), now.y.copy(), now.slope.copy()))
        left = going
    kept = Trajectories(*(np.stack(column) for column in zip(*steps, strict=True))) if record else None
    return now.y, kept


@dataclass(frozen=True)
class Now:
    """Where trajectories are: time, state, slope, and the length of the next step."""

    t: Array
    y: Array
    slope: Array
    h: Array


Flow = Callable[[Array, Array], Array]


def _flow(problem: Problem) -> Flow:
    """Return the rates of change as a function of times `(trajectories,)` and states `(trajectories, n)`."""
    constants = problem.model.constants(problem.parameters)

    def flow(t: Array, y: Array) -> Array:
        slopes: Any = problem.model.field(tuple(y.T), tuple(problem.inputs(t)), constants)
        return np.stack(slopes, axis=1)

    return flow


def stepped(flow: Flow, now: Now, left: Index, end: Array, scale: Array) -> tuple[Index, Array]:
    """Try one step of the trajectories that are left, in place; return which are left then, and what a step
    adds to Hermite's cubic in x^2 (1 - x)^2, to make it right to order 4.

    `end` are the times at which they end, `scale` the sizes that errors are relative to.
    """
    t, y, rest = now.t[left], now.y[left], (end - now.t)[left]
    step = np.minimum(now.h[left], rest)
    k = [now.slope[left]]
    for c, row in zip(NODES_IN_STEP[1:], _A[1:], strict=True):
        moved = y + step[:, None] * sum(a * b for a, b in zip(row, k, strict=True) if a)
        k.append(flow(t + c * step, moved))
    error = step[:, None] * sum(e * b for e, b in zip(_ERROR, k, strict=True) if e)
    size = np.abs(error / (scale[left] + np.abs(moved))).max(axis=1) / TOLERANCE
    size = np.where(np.isfinite(size), size, np.inf)
    good = size <= 1.0
    now.t[left] = np.where(good, np.where(step >= rest, end[left], t + step), t)
    now.y[left] = np.where(good[:, None], moved, y)
    now.slope[left] = np.where(good[:, None], k[-1], k[0])
    # A step that was cut to the end is the last, or is tried again: no other needs its own length back.
    now.h[left] = step * np.clip(0.9 * np.maximum(size, 1e-10) ** -0.2, 0.2, 5.0)
    lost = left[now.h[left] < 1e-13 * np.maximum(1.0, np.abs(t))]
    now.y[lost], now.t[lost] = np.nan, end[lost]
    bulge = step[:, None] * sum(d * b for d, b in zip(_DENSE, k, strict=True) if d)
    return left[now.t[left] < end[left]], np.where(good[:, None], bulge, 0.0)


def repeats(kept: Trajectories, which: int, scale: Array) -> tuple[int, float, float]:
    """Return how a trajectory ends, and if it is periodic the start and the length of its last period.

    The section is where the first variable rises through the middle of its range; a period is the least
    number of returns after which the trajectory is where it was.
    """
    t, y = kept.t[:, which], kept.y[:, which]
    if not np.isfinite(y).all():
        return DIVERGED, np.nan, np.nan
    half = y[t >= 0.5 * (t[0] + t[-1])]
    if (np.ptp(half, axis=0) / scale).max() < FLAT:
        return AT_REST, np.nan, np.nan
    r = y[:, 0]
    level = 0.5 * (half[:, 0].min() + half[:, 0].max())
    at = np.flatnonzero((r[:-1] < level) & (r[1:] >= level))[-_RETURNS - 1 :]
    times = _crossings(kept, which, at, level)
    points = kept.at(which, times) if len(times) else np.empty((0, y.shape[1]))
    for close in _CLOSE:
        for k in range(1, (len(times) - 1) // 2 + 1):
            twice = np.abs(points[-1 - np.array([0, k])] - points[-1 - np.array([k, 2 * k])]) / scale
            if twice.max() < close:
                return PERIODIC, times[-1 - k], times[-1] - times[-1 - k]
    return NOT_PERIODIC, np.nan, np.nan


def _crossings(kept: Trajectories, which: int, at: Index, level: float) -> Array:
    """Return when the first variable crosses a level within some steps, by bisection of the cubics."""
    low, high = kept.t[at, which], kept.t[at + 1, which]
    y, slope, h = kept.y[:, which, :1], kept.slope[:, which, :1], high - low

    def below(x: Array) -> Any:
        return hermite(x, h, (y[at], y[at + 1]), (slope[at], slope[at + 1]))[:, 0] < level

    _, x = halved(below, np.zeros(len(at)), np.ones(len(at)), 50)
    found: Array = low + h * x
    return found


def even_mesh(kept: Trajectories, which: int, begin: float, length: float, scale: Any, count: int) -> Array:
    """Return a mesh in scaled time on which the states change by the same amount from point to point."""
    fine = np.linspace(0.0, 1.0, 32 * count + 1)
    y = kept.at(which, begin + fine * length)
    change = np.sqrt(((np.diff(y, axis=0) / scale) ** 2).sum(axis=1))
    bend = np.sqrt((np.diff(y, n=2, axis=0, append=y[1:2]) ** 2 / scale**2).sum(axis=1))
    # The bends count as well: the mesh is to be fine where the states turn, not only where they run.
    density = change / change.sum() + bend / bend.sum() + 1.0 / len(change)
    total = np.append(0.0, np.cumsum(density))
    found: Array = np.interp(np.linspace(0.0, 1.0, count + 1), total / total[-1], fine)
    return found
