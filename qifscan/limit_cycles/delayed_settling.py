"""Simulation of many trajectories with a delay until they repeat.

The steps are those of `settling`; r a delay ago is read off the steps that are remembered, and before t = 0
it is constant. No step is longer than the delay, if that is not very short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.settling import NODES_IN_STEP, Now, Trajectories, stepped
from qifscan.periodic_orbits.delayed_multipliers import DelayedProblem
from qifscan.phases import tell

_TRIMMED = 4096
"""Steps after which those are forgotten that no delay reaches back to."""

_SHORT = 5e-5
"""Share of the time that trajectories run up to which a delay D is very short: then r(t - D) is r - D r'."""


class _Memory:
    """Steps of trajectories, `(steps, trajectories)` each: times, rates, their slopes, and what a step adds
    to Hermite's cubic; and of each trajectory the place one delay before."""

    def __init__(self, now: Now, delay: Array) -> None:
        """Begin with a constant past."""
        count = len(delay)
        self.delay, self.place, self.size = delay, np.zeros(count, dtype=np.intp), 2
        self.t, self.r, self.slope, self.bulge = (np.empty((2 * _TRIMMED, count)) for _ in range(4))
        self.t[0], self.t[1] = now.t - np.maximum(delay, 1.0), now.t
        self.r[:2] = now.y[:, 0]
        self.slope[:2], self.bulge[:2] = 0.0, 0.0
        # What comes next begins with another slope.
        self.add(now, np.arange(count), np.zeros(count))

    def add(self, now: Now, which: Index, bulge: Array) -> None:
        """Remember where trajectories are now, and what the last step adds to Hermite's cubic of some."""
        if self.size == len(self.t):
            self._grow()
        last = self.size
        self.t[last], self.r[last], self.slope[last] = now.t, now.y[:, 0], now.slope[:, 0]
        self.bulge[last] = 0.0
        self.bulge[last, which] = bulge
        self.size += 1

    def _grow(self) -> None:
        """Forget what is older than every delay, or make room."""
        old = int(self.place.min())
        for name in ("t", "r", "slope", "bulge"):
            kept = getattr(self, name)[old : self.size]
            room = np.empty((max(2 * _TRIMMED, len(kept) + _TRIMMED), kept.shape[1]))
            room[: len(kept)] = kept
            setattr(self, name, room)
        self.size -= old
        self.place -= old

    def past(self, which: Index, t: Array) -> Array:
        """Return the rates of some trajectories one delay before times `(times, trajectories)`, none of which
        is later than the last step; and go on to the place of the first of them."""
        ago = t - self.delay[which]
        k = np.broadcast_to(self.place[which], ago.shape)
        while True:
            later = (self.t[k + 1, which] <= ago) & (k < self.size - 2)
            if not later.any():
                break
            k = k + later
        self.place[which] = k[0]
        begin, h = self.t[k, which], self.t[k + 1, which] - self.t[k, which]
        x = np.clip((ago - begin) / np.where(h > 0.0, h, 1.0), 0.0, 1.0)
        low, high = (1.0 - x) ** 2, x * x
        first = low * ((1.0 + 2.0 * x) * self.r[k, which] + x * h * self.slope[k, which])
        last = (3.0 - 2.0 * x) * self.r[k + 1, which] - (1.0 - x) * h * self.slope[k + 1, which]
        found: Array = first + high * (last + low * self.bulge[k + 1, which])
        return found


def settled(
    problem: DelayedProblem, start: Array, lengths: tuple[Array, Array], scale: Array
) -> tuple[Array, Trajectories]:
    """Return the states `(trajectories, n)` after a first time, NaN where one diverges, and the steps of a
    second one after it.

    `scale` are the sizes `(trajectories, n)` that errors are relative to.
    """
    zero = np.zeros(len(start))
    delay = problem.parameters[problem.model.delay] + zero
    now = Now(zero.copy(), start.copy(), np.empty_like(start), np.empty_like(zero))
    memory = _Memory(Now(now.t, now.y, np.zeros_like(start), now.h), delay)
    short = delay < _SHORT * lengths[0]
    now.slope[:] = _rates(problem, short)(now.y[:, 0], now.t, now.y)
    memory.slope[memory.size - 1] = now.slope[:, 0]
    now.h[:] = 0.01 * (scale / (np.abs(now.slope) + 1e-300)).min(axis=1)
    _run(problem, memory, now, short, lengths[0], scale, None)
    first = now.y.copy()
    lost = np.isnan(first).any(axis=1)
    steps = [(now.t.copy(), now.y.copy(), now.slope.copy())]
    _run(
        problem,
        memory,
        now,
        short,
        np.where(lost, now.t, now.t + lengths[1]),
        np.maximum(np.abs(first), scale),
        steps,
    )
    return first, Trajectories(*(np.stack(column) for column in zip(*steps, strict=True)))


def _run(
    problem: DelayedProblem,
    memory: _Memory,
    now: Now,
    short: Any,
    end: Array,
    scale: Array,
    steps: list[tuple[Array, Array, Array]] | None,
) -> None:
    """Take trajectories to their ends, and keep the steps if asked for."""
    left = np.flatnonzero(end > now.t)
    inside = np.array(NODES_IN_STEP)[:, None]
    while len(left):
        rates, going = _rates(problem.chosen(left), short[left]), left
        longest = np.where(short[left], np.inf, memory.delay[left])
        while len(going) == len(left) > 0:
            tell("simulating, trajectories", len(end) - len(left), len(end))
            now.h[left] = np.minimum(now.h[left], longest)
            step = np.minimum(now.h[left], (end - now.t)[left])
            # None of the stages of a step needs more than what was before it.
            past = memory.past(left, now.t[left] + inside * step)
            flow = partial(_next, rates, iter(past[1:]))
            going, bulge = stepped(flow, now, left, end, scale)
            memory.add(now, left, bulge[:, 0])
            if steps is not None:
                steps.append((now.t.copy(), now.y.copy(), now.slope.copy()))
        left = going


_Rates = Callable[[Array, Array, Array], Array]


def _next(rates: _Rates, past: Iterator[Array], t: Array, y: Array) -> Array:
    """Return the rates of change at the next stage of a step."""
    return rates(next(past), t, y)


def _rates(problem: DelayedProblem, short: Any) -> _Rates:
    """Return the rates of change of trajectories as a function of the rates a delay ago, times and states."""
    constants = problem.model.constants(problem.parameters)
    delay = problem.parameters[problem.model.delay]

    def rates(past: Array, t: Array, y: Array) -> Array:
        inputs = problem.inputs(t)
        if short.any():
            slope: Any = problem.model.field(tuple(y.T), tuple(inputs), constants)[0]
            past = np.where(short, y[:, 0] - delay * slope, past)
        inputs[problem.driven] = inputs[problem.driven] + constants["past"] * past
        slopes: Any = problem.model.field(tuple(y.T), tuple(inputs), constants)
        return np.stack(slopes, axis=1)

    return rates
