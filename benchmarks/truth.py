"""Is a number silently wrong? Random points of every model, every observable, beside another solver.

Points: tau in [0.1, 20] ms and delta in [0.01, 10], both logarithmic, J in [-30, 60], eta in [-50, 50],
random starts, drives (none, constant, pulse, sine, ramp, sampled), windows of 1 to 10^5 steps, with and
without a transient, both precisions, automatic and fixed steps. A run is at most 500 time constants long,
but of a tau of 10 ms or more.

The truth shares nothing with the kernel: here are the equations of all models, written from the papers that
the models name, their drives, the method of Dormand and Prince of order 8(5,3) (Hairer, Norsett, Wanner,
Solving Ordinary Differential Equations I, 1993, II.10; coefficients from SciPy) with a step for every
trajectory, that ends at every edge of a drive; integrals by Gauss's rule on the dense output of a step,
extremes at the zeros of its derivative, crossings by bisection, exponents by tangents. Relative tolerance of
a step: 1e-10.

A number is wrong if it is further than the tolerance of the scan from the truth (`Verdict`); silently, if
`status` has no flag but `computed` and `not_settled`. A point is wrongly flagged if it has another and every
number is within the tolerance. With noise, means over replicates are compared with those of a Heun
code of its own, at a fifth of the step: z-tests, of which a right program fails one in 10,000 runs.

Prints every failing point as a line of Python, then a table, and writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.integrate import DOP853

import qifscan as qs

Array = np.ndarray[Any, Any]
Values = dict[str, Any]

RTOL = 1e-10
MOST_STEPS = 30_000
"""Steps of the truth after which a point counts as not solved."""

# --- the models, from their equations ---------------------------------------------------------------------


def _rate(y: Any, p: Values) -> Any:
    return (p["delta"] / (math.pi * p["tau"]) + 2.0 * y[0] * y[1] + p["r_ou_mean"]) / p["tau"]


def _potential(y: Any, p: Values, current: Any, coupling: Any) -> Any:
    square = (math.pi * p["tau"] * y[0]) ** 2
    return (y[1] ** 2 + p["eta"] + current + p["v_ou_mean"] + coupling - square) / p["tau"]


def _plain(y: Any, p: Values, current: Any, past: Any) -> Any:
    return _rate(y, p), _potential(y, p, current, p["J"] * p["tau"] * y[0])


def _delay(y: Any, p: Values, current: Any, past: Any) -> Any:
    return _rate(y, p), _potential(y, p, current, p["J"] * p["tau"] * past)


def _gap(y: Any, p: Values, current: Any, past: Any) -> Any:
    dr, dv = _plain(y, p, current, past)
    return dr - p["g"] * y[0] / p["tau"], dv


def _alpha(y: Any, p: Values) -> Any:
    return y[3] / p["tau_a"], p["alpha"] * y[0] - (2.0 * y[3] + y[2]) / p["tau_a"]


def _adaptation_alpha(y: Any, p: Values, current: Any, past: Any) -> Any:
    coupling = p["J"] * p["tau"] * y[0] - y[2]
    return (_rate(y, p), _potential(y, p, current, coupling), *_alpha(y, p))


def _depression_alpha(y: Any, p: Values, current: Any, past: Any) -> Any:
    coupling = p["J"] * p["tau"] * y[0] * (1.0 - y[2])
    return (_rate(y, p), _potential(y, p, current, coupling), *_alpha(y, p))


def _adaptation_exponential(y: Any, p: Values, current: Any, past: Any) -> Any:
    coupling = p["J"] * p["tau"] * y[0] - y[2]
    return _rate(y, p), _potential(y, p, current, coupling), p["alpha"] * y[0] - y[2] / p["tau_a"]


def _depression_exponential(y: Any, p: Values, current: Any, past: Any) -> Any:
    coupling = p["J"] * p["tau"] * y[0] * (1.0 - y[2])
    return _rate(y, p), _potential(y, p, current, coupling), p["alpha"] * y[0] - y[2] / p["tau_a"]


def _plasticity(y: Any, p: Values, current: Any, past: Any) -> Any:
    r, _, u, x = y
    du = (p["U"] - u) / p["tau_f"] + p["U"] * (1.0 - u) * r
    dx = (1.0 - x) / p["tau_d"] - u * x * r
    return _rate(y, p), _potential(y, p, current, p["J"] * p["tau"] * u * x * r), du, dx


def _synapse(y: Any, p: Values, current: Any, past: Any) -> Any:
    return (
        _rate(y, p),
        _potential(y, p, current, p["J"] * p["tau"] * y[2]),
        (y[0] - y[2]) / p["tau_d"],
    )


def _pair(y: Any, p: Values, current: Any, past: Any) -> Any:
    slopes = []
    for a, (r, v), outer in (("e", (y[0], y[1]), current), ("i", (y[2], y[3]), 0.0)):
        tau = p[f"tau_{a}"]
        source = p[f"delta_{a}"] / (math.pi * tau) + p[f"r_{a}_ou_mean"]
        slopes.append((source + 2.0 * r * v) / tau)
        coupling = tau * (p[f"J_{a}e"] * y[0] + p[f"J_{a}i"] * y[2])
        push = p[f"eta_{a}"] + outer + p[f"v_{a}_ou_mean"] + coupling
        slopes.append((v**2 + push - (math.pi * tau * r) ** 2) / tau)
    return tuple(slopes)


@dataclass(frozen=True)
class Equations:
    """A model as the truth has it: `slopes(y, parameters, drive, past rate)`; further parameters with the
    range that they are drawn from; of each rate its place, and the parameter tau of it."""

    variables: tuple[str, ...]
    slopes: Callable[[Any, Values, Any, Any], Any]
    further: dict[str, tuple[float, float]] = field(default_factory=dict)
    rates: tuple[tuple[int, str], ...] = ((0, "tau"),)


_ADAPTING = {"alpha": (0.0, 2.0), "tau_a": (1.0, 1000.0)}
MODELS = {
    "qif": Equations(("r", "v"), _plain),
    "qif_adaptation_alpha": Equations(("r", "v", "a", "b"), _adaptation_alpha, _ADAPTING),
    "qif_adaptation_exponential": Equations(("r", "v", "a"), _adaptation_exponential, _ADAPTING),
    "qif_depression_alpha": Equations(("r", "v", "a", "b"), _depression_alpha, _ADAPTING),
    "qif_depression_exponential": Equations(("r", "v", "a"), _depression_exponential, _ADAPTING),
    "qif_plasticity": Equations(
        ("r", "v", "u", "x"),
        _plasticity,
        {"U": (0.05, 1.0), "tau_f": (10.0, 1500.0), "tau_d": (10.0, 500.0)},
    ),
    "qif_synapse": Equations(("r", "v", "s"), _synapse, {"tau_d": (0.5, 20.0)}),
    "qif_gap": Equations(("r", "v"), _gap, {"g": (0.0, 5.0)}),
    "qif_pair": Equations(("r_e", "v_e", "r_i", "v_i"), _pair, {}, ((0, "tau_e"), (2, "tau_i"))),
    "qif_delay": Equations(("r", "v"), _delay, {"delay": (0.5, 20.0)}),
}

# --- the drives -------------------------------------------------------------------------------------------


def edges_of(drive: Values | None, p: Values) -> list[float]:
    """Return the times at which the input of a point has an edge or a kink."""
    kind = None if drive is None else drive["kind"]
    if drive is None or kind in ("constant", "sine"):
        return []
    start = p["drive_start"]
    if kind == "sampled":
        return [start + k * p["drive_interval"] for k in range(len(drive["values"]))]
    return [start, start + p["drive_length"]]


def input_at(drive: Values | None, p: Values, t: float) -> float:
    """Return the input of a point at a time, without a sine."""
    kind = None if drive is None else drive["kind"]
    if drive is None or kind == "sine":
        return 0.0
    amplitude = p["drive_amplitude"]
    if kind == "constant":
        return amplitude
    if kind == "pulse":
        return amplitude if p["drive_start"] <= t < p["drive_start"] + p["drive_length"] else 0.0
    if kind == "ramp":
        return amplitude * min(max((t - p["drive_start"]) / p["drive_length"], 0.0), 1.0)
    values = drive["values"]
    knots = p["drive_start"] + p["drive_interval"] * np.arange(len(values))
    return amplitude * float(np.interp(t, knots, values))


@dataclass(frozen=True)
class Point:
    """A point for the truth: its parameters, start, drive, and times in ms of window and end."""

    parameters: Values
    start: tuple[float, ...]
    drive: Values | None
    begin: float
    end: float
    thresholds: tuple[float, float] | None = None
    tangents: bool = False


def pieces_of(point: Point) -> tuple[Array, Array, Array]:
    """Return the ends of the pieces between edges, and the input in each: its value at t = 0, its slope."""
    delay = point.parameters.get("delay", 0.0)
    edges = edges_of(point.drive, point.parameters)
    later = [e + k * delay for k in range(1, 9) for e in (0.0, *edges) if delay > 0.0]
    inner = {t for t in (*edges, *later, point.begin) if 1e-12 < t < point.end - 1e-12}
    ends = [*sorted(inner), point.end]
    levels, slopes, left = [], [], 0.0
    for right in ends:
        first, last = left + 0.25 * (right - left), left + 0.75 * (right - left)
        a, b = (input_at(point.drive, point.parameters, t) for t in (first, last))
        slope = (b - a) / (last - first)
        slopes.append(slope)
        levels.append(a - slope * first)
        left = right
    return np.array(ends), np.array(levels), np.array(slopes)


# --- the solver -------------------------------------------------------------------------------------------

STAGES = DOP853.n_stages
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
NODES, WEIGHTS = np.append(0.5 * (NODES + 1.0), 1.0), np.append(0.5 * WEIGHTS, 0.0)


def _basis(x: Array) -> Array:
    """Return the weights of the seven terms of the dense output at places x of a step, `(places, 7)`."""
    columns, product = [], np.ones_like(x)
    for i in range(7):
        product = product * (x if i % 2 == 0 else 1.0 - x)
        columns.append(product)
    return np.stack(columns, axis=-1)


AT_NODES = _basis(NODES)
_CHEBYSHEV = 0.5 - 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) / 8)
TO_POWERS = np.linalg.solve(np.vander(_CHEBYSHEV, 8, increasing=True), _basis(_CHEBYSHEV))
"""Turns the terms of the dense output into coefficients of the powers of x."""

HISTORY = 4096


@dataclass
class Truth:
    """What is known of points, `(points,)` each by observable; NaN for those that were not solved."""

    values: dict[str, Array]
    ambiguous: Array
    """Whether a rate comes so near a threshold that counts are not defined to the tolerance."""
    rises: list[list[float]]
    """Times at which the rate rose through the upper threshold in the window."""
    changes: list[list[float]]
    """Times at which the level changed, either way."""

    def part(self, first: int, last: int) -> Truth:
        """Return what is known of some of the points."""
        values = {name: x[first:last] for name, x in self.values.items()}
        rest = (x[first:last] for x in (self.ambiguous, self.rises, self.changes, self.steps))
        return Truth(values, *rest)

    steps: Array


class Batch:
    """Trajectories of one model, each with its own step."""

    def __init__(self, model: str, points: list[Point], rtol: float = RTOL, tolerance: float = 1e-3) -> None:
        self.model, self.points, self.rtol = MODELS[model], points, rtol
        self.n, count = len(self.model.variables), len(points)
        self.delayed = model == "qif_delay"
        names = sorted({k for q in points for k in q.parameters})
        self.p = {k: np.array([q.parameters.get(k, 1.0) for q in points], dtype=float) for k in names}
        if self.delayed:
            # Without a delay the past is the present.
            self.none = self.p["delay"] == 0.0
        self.tangents = points[0].tangents
        self.y = np.array([q.start for q in points], dtype=float).T.copy()
        self.t = np.zeros(count)
        self.begin, self.end = (np.array([getattr(q, k) for q in points]) for k in ("begin", "end"))
        pieces = [pieces_of(q) for q in points]
        longest = max(len(ends) for ends, _, _ in pieces)
        pad = [[np.pad(x, (0, longest - len(x)), mode="edge") for x in piece] for piece in pieces]
        self.ends, self.levels, self.slopes = (np.array(x) for x in zip(*pad, strict=True))
        self.piece = np.zeros(count, dtype=int)
        sine = [q.drive is not None and q.drive["kind"] == "sine" for q in points]
        self.amplitude = np.where(sine, self.p.get("drive_amplitude", 0.0), 0.0)
        self.period = np.where(sine, self.p.get("drive_period", 1.0), np.inf)
        self.phase = np.where(sine, self.p.get("drive_phase", 0.0), 0.0)
        last = [max([0.0, *edges_of(q.drive, q.parameters)]) for q in points]
        self.constant_from = np.where(sine, np.inf, np.maximum(last, self.begin))
        self.which = np.arange(count)
        self.trials = np.zeros(count, dtype=int)
        self.lost = np.zeros(count, dtype=bool)
        if self.tangents:
            frame = np.repeat(np.eye(self.n)[:, :, None], count, axis=2)
            self.y = np.concatenate([self.y, frame.reshape(-1, count)])
        if self.delayed:
            self.past_t = np.full((HISTORY, count), -np.inf)
            self.past_h = np.ones((HISTORY, count))
            self.past_c = np.zeros((HISTORY, 8, count))
            self.past_c[:, 0] = self.y[0]
            self.filled = np.zeros(count, dtype=int)
        self._open(count, tolerance)

    def _open(self, count: int, tolerance: float) -> None:
        shape = (self.n, count)
        self.first = np.full(shape, np.nan)
        self.sum, self.squares, self.size = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.low, self.high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.final = np.full(shape, np.nan)
        self.growth = np.zeros(shape)
        levels = [q.thresholds or (np.nan, np.nan) for q in self.points]
        factors = 1.0 + 2.0 * tolerance * np.array([-1.0, 0.0, 1.0])
        self.down, self.up = (factors[:, None] * np.array(x) for x in zip(*levels, strict=True))
        self.level = np.zeros((3, count), dtype=int)
        self.events: list[list[list[tuple[float, int]]]] = [[[] for _ in range(count)] for _ in range(3)]
        self.level_at_start = self.level.copy()

    # Lanes are those that are not at the end yet; `which` names their points.

    def _slope(self, t: Array, y: Array) -> Array:
        drive = self._level + self._ramp * t
        if self._sine:
            drive = drive + self._amplitude * np.sin(
                2.0 * np.pi * np.fmod(t / self._period, 1.0) + self._phase
            )
        past = self._past(t, y) if self.delayed else None
        if not self.tangents:
            return np.stack(self.model.slopes(y, self._p, drive, past))
        n, lanes = self.n, y.shape[1]
        state, frame = y[:n], y[n:].reshape(n, n, lanes)
        moved = state[:, None] + 1e-30j * frame
        slopes = np.stack(
            [np.broadcast_to(s, (n, lanes)) for s in self.model.slopes(moved, self._p, drive, None)]
        )
        return np.concatenate([slopes.real[:, 0], slopes.imag.reshape(n * n, lanes) * 1e30])

    def _past(self, t: Array, y: Array) -> Array:
        """Return the rate one delay ago, from the dense output of the steps that are remembered."""
        which, ago = self.which, t - self._p["delay"]
        row = self._row.copy()
        while True:
            onward = (row + 1 < self.filled[which]) & (self.past_t[(row + 1) % HISTORY, which] <= ago)
            if not onward.any():
                break
            row = row + onward
        at = row % HISTORY
        x = (ago - self.past_t[at, which]) / self.past_h[at, which]
        x = np.where(np.isfinite(x), x, 0.0)
        c = self.past_c[at, :, which]
        rate = c[:, 7]
        for k in range(6, -1, -1):
            rate = rate * x + c[:, k]
        rate = np.where(ago <= 0.0, self._start_rate, rate)
        return np.where(self.none[which], y[0], rate)

    def _chosen(self) -> None:
        """Gather what the lanes read, where lanes have ended or a piece has."""
        w = self.which
        self._p = {k: x[w] for k, x in self.p.items()}
        self._period, self._phase, self._amplitude = self.period[w], self.phase[w], self.amplitude[w]
        self._sine = bool(self._amplitude.any())
        if self.delayed:
            self._start_rate = np.array([self.points[k].start[0] for k in w])
        self._pieces()

    def _pieces(self) -> None:
        w, k = self.which, self.piece[self.which]
        self._level, self._ramp, self._stop = self.levels[w, k], self.slopes[w, k], self.ends[w, k]

    def _scale(self, y: Array) -> Array:
        """Return what the error of each component is relative to, times the tolerance."""
        size = np.abs(y[: self.n]) + 1e-5
        for place, tau in self.model.rates:
            unit = math.pi * self._p[tau]
            whole = np.abs(y[place + 1]) + unit * np.abs(y[place]) + 1e-5
            size[place] = np.abs(y[place]) + 1e-3 * whole / unit
            size[place + 1] = whole
        if self.tangents:
            frame = y[self.n :].reshape(self.n, self.n, -1)
            norm = np.sqrt((frame**2).sum(axis=0)) * 10.0
            units = size / size.max(axis=0)
            size = np.concatenate(
                [size, (norm[None] * np.maximum(units, 0.1)[:, None]).reshape(self.n**2, -1)]
            )
        return self.rtol * size

    def run(self) -> Truth:
        """Run all points to their ends and return what was measured in their windows."""
        y = self.y
        self._chosen()
        self._row = np.zeros(len(self.which), dtype=int)
        slope = self._slope(self.t, y)
        h = (1e-3 / self.rtol * self._scale(y) / (np.abs(slope) + 1e-300)).min(axis=0)
        h = np.clip(h, 1e-9, 1.0)
        with np.errstate(all="ignore"):
            self._opened(np.flatnonzero(self.begin == 0.0))
            while len(self.which):
                y, slope, h = self._step(y, slope, h)
        return self._measured()

    def _opened(self, places: Array) -> None:
        """Begin the windows of these points, whose states are in `y`."""
        if not len(places):
            return
        position = np.searchsorted(self.which, places)
        state = self.y[: self.n, position]
        self.first[:, places] = state
        self.low[:, places], self.high[:, places] = state, state
        begun = state[0] > np.sqrt(self.down[:, places] * self.up[:, places])
        self.level[:, places] = begun
        self.level_at_start[:, places] = begun

    def _step(self, y: Array, slope: Array, h: Array) -> tuple[Array, Array, Array]:
        which = self.which
        t = self.t[which]
        rest = self._stop - t
        limit = np.minimum(rest, 0.5 * self._period)
        if self.delayed:
            limit = np.where(self.none[which], limit, np.minimum(limit, self._p["delay"]))
        cut = h >= limit
        step = np.minimum(h, limit)
        K = np.empty((STAGES + 4, *y.shape))
        K[0] = slope
        for s in range(1, STAGES):
            ahead = y + step * np.tensordot(DOP853.A[s, :s], K[:s], 1)
            K[s] = self._slope(t + DOP853.C[s] * step, ahead)
        new = y + step * np.tensordot(DOP853.B, K[:STAGES], 1)
        K[STAGES] = self._slope(t + step, new)
        scale = np.maximum(self._scale(y), self._scale(new))
        high, low = (np.tensordot(E, K[: STAGES + 1], 1) / scale for E in (DOP853.E5, DOP853.E3))
        high, low = (high**2).sum(axis=0), (low**2).sum(axis=0)
        error = step * high / np.sqrt((high + 0.01 * low) * len(y))
        error = np.where(high == 0.0, 0.0, error)
        good = error <= 1.0
        factor = np.where(error == 0.0, 6.0, np.clip(0.9 * error ** (-1.0 / 8.0), 0.2, 6.0))
        factor = np.where(np.isfinite(factor), factor, 0.2)
        # A step that was cut at an edge says little about the next one's length.
        following = np.where(good & cut, np.maximum(h, step * factor), step * factor)
        self.trials[which] += 1
        inside = good & (t >= self.begin[which] - 1e-12)
        if inside.any() or self.delayed:
            self._folded(t, step, y, new, K, inside, good)
        arrived = good & (step >= rest)
        t = np.where(good, np.where(arrived, self._stop, t + step), t)
        self.t[which] = t
        y = np.where(good, new, y)
        slope = np.where(good, K[STAGES], slope)
        if self.tangents:
            y = self._orthonormal(y, good, inside)
        return self._onward(t, y, slope, following, arrived)

    def _onward(
        self, t: Array, y: Array, slope: Array, h: Array, arrived: Array
    ) -> tuple[Array, Array, Array]:
        """Go to the next piece where one has ended, and drop the points that are at the end."""
        which = self.which
        failed = (
            (h < 1e-14 * np.maximum(t, 1e-3))
            | (self.trials[which] > MOST_STEPS)
            | ~np.isfinite(y).all(axis=0)
        )
        ended = arrived & (t >= self.end[which])
        self.piece[which] += arrived & ~ended
        self.y = y
        self._opened(which[arrived & (t == self.begin[which])])
        still = self._at_rest(t, y, slope) if not (arrived | failed).all() else np.zeros_like(ended)
        gone = ended | failed | still
        if gone.any():
            self._held(which[still], t[still], y[: self.n, still])
            self.final[:, which[gone]] = np.where(failed[gone], np.nan, y[: self.n, gone])
            self.lost[which[failed]] = True
            kept = ~gone
            self.which, y, h = which[kept], y[:, kept], h[kept]
            slope, arrived = slope[:, kept], arrived[kept]
            self._row = self._row[kept]
            self._chosen()
        elif arrived.any():
            self._pieces()
        if self.delayed and len(self.which):
            self._advanced()
        if (arrived.any() or self.tangents) and len(self.which):
            slope = self._slope(self.t[self.which], y)
        return y, slope, h

    def _at_rest(self, t: Array, y: Array, slope: Array) -> Array:
        """Return which have stopped to the last digit under an input that stays: nothing comes any more."""
        if self.tangents or self.delayed:
            return np.zeros(len(t), dtype=bool)
        size = self._scale(y) / self.rtol
        drift = np.abs(slope) * np.minimum(self.end[self.which] - t, 1e3) / size
        return (drift.max(axis=0) < 1e-12) & (t >= self.constant_from[self.which])

    def _held(self, places: Array, t: Array, y: Array) -> None:
        left = self.end[places] - t
        apart = y - self.first[:, places]
        self.sum[:, places] += left * apart
        self.squares[:, places] += left * apart**2
        self.size[:, places] += left * y**2

    def _advanced(self) -> None:
        """Move each lane's place in its remembered steps up to one delay ago."""
        which = self.which
        ago = self.t[which] - self._p["delay"]
        while True:
            onward = (self._row + 1 < self.filled[which]) & (
                self.past_t[(self._row + 1) % HISTORY, which] <= ago
            )
            if not onward.any():
                break
            self._row = self._row + onward
        if (self.filled[which] - self._row >= HISTORY).any():
            raise RuntimeError("a delay holds more steps than are remembered")

    def _orthonormal(self, y: Array, good: Array, inside: Array) -> Array:
        n = self.n
        frame = np.moveaxis(y[n:].reshape(n, n, -1), -1, 0)
        frame = np.where(np.isfinite(frame), frame, 0.0)
        q, r = np.linalg.qr(frame)
        stretch = np.abs(np.diagonal(r, axis1=1, axis2=2)).T
        self.growth[:, self.which] += np.where(inside, np.log(np.where(stretch > 0.0, stretch, 1.0)), 0.0)
        turned = np.moveaxis(q, 0, -1).reshape(n * n, -1)
        return np.concatenate([y[:n], np.where(good, turned, y[n:])])

    def _folded(
        self, t: Array, step: Array, y: Array, new: Array, K: Array, inside: Array, good: Array
    ) -> None:
        for s, (row, c) in enumerate(zip(DOP853.A_EXTRA, DOP853.C_EXTRA, strict=True), start=STAGES + 1):
            K[s] = self._slope(t + c * step, y + step * np.tensordot(row[:s], K[:s], 1))
        n = self.n
        delta, K = new[:n] - y[:n], K[:, :n]
        terms = np.empty((7, n, y.shape[1]))
        terms[0] = delta
        terms[1] = step * K[0] - delta
        terms[2] = 2.0 * delta - step * (K[STAGES] + K[0])
        terms[3:] = step * np.tensordot(DOP853.D, K, 1)
        if self.delayed:
            self._remember(t, step, y, terms, good)
        lanes = np.flatnonzero(inside)
        if not len(lanes):
            return
        places, terms, start = self.which[lanes], terms[:, :, lanes], y[:n, lanes]
        h, t = step[lanes], t[lanes]
        values = np.tensordot(AT_NODES, terms, 1) + start
        apart = values - self.first[:, places]
        self.sum[:, places] += h * np.tensordot(WEIGHTS, apart, 1)
        self.squares[:, places] += h * np.tensordot(WEIGHTS, apart**2, 1)
        self.size[:, places] += h * np.tensordot(WEIGHTS, values**2, 1)
        self._extreme(places, terms, start, values, 1.0, self.high)
        self._extreme(places, terms, start, values, -1.0, self.low)
        self._levels(places, t, h, terms, start, values)

    def _extreme(
        self, places: Array, terms: Array, start: Array, values: Array, sign: float, kept: Array
    ) -> None:
        """Keep the highest value of a step, or the lowest: at a zero of the derivative of its polynomial."""
        own = np.concatenate([start[None], values]) * sign
        top = own.argmax(axis=0)
        best = np.take_along_axis(own, top[None], axis=0)[0]
        x = np.append(0.0, NODES)
        # A peak can stand between the nodes beside one that is below what was found before.
        swing = 0.3 * (own.max(axis=0) - own.min(axis=0))
        who = np.nonzero((top > 0) & (top < len(x) - 1) & (best + swing > kept[:, places] * sign))
        if len(who[0]):
            powers = sign * np.tensordot(TO_POWERS, terms[:, who[0], who[1]], 1)
            powers[0] += sign * start[who]
            peak = top[who]
            low, high = x[peak - 1], x[peak + 1]
            derivative = powers[1:] * np.arange(1, 8)[:, None]
            for _ in range(40):
                middle = 0.5 * (low + high)
                rising = _horner(derivative, middle) > 0.0
                low, high = np.where(rising, middle, low), np.where(rising, high, middle)
            best[who] = np.maximum(best[who], _horner(powers, 0.5 * (low + high)))
        better = best > kept[:, places] * sign
        kept[:, places] = np.where(better, best * sign, kept[:, places])

    def _levels(self, places: Array, t: Array, h: Array, terms: Array, start: Array, values: Array) -> None:
        rate = values[:, 0]
        lowest, highest = rate.min(axis=0), rate.max(axis=0)
        for kind in range(3):
            level = self.level[kind, places]
            down, up = self.down[kind, places], self.up[kind, places]
            for k in np.flatnonzero(np.where(level == 1, lowest <= down, highest >= up)):
                powers = TO_POWERS @ terms[:, 0, k]
                powers[0] += start[0, k]
                now, before = int(level[k]), 0.0
                for x, value in zip(NODES, rate[:, k], strict=True):
                    after = 1 if value >= up[k] else 0 if value <= down[k] else now
                    if after != now:
                        where = _bisected(powers, before, x, up[k] if after else down[k], after == 1)
                        self.events[kind][places[k]].append((t[k] + where * h[k], after))
                        now = after
                    before = x
                self.level[kind, places[k]] = now

    def _remember(self, t: Array, step: Array, y: Array, terms: Array, good: Array) -> None:
        lanes = np.flatnonzero(good)
        places = self.which[lanes]
        powers = np.tensordot(TO_POWERS, terms[:, 0, lanes], 1)
        powers[0] += y[0, lanes]
        row = self.filled[places] % HISTORY
        self.past_t[row, places], self.past_h[row, places] = t[lanes], step[lanes]
        self.past_c[row, :, places] = powers.T
        self.filled[places] += 1

    def _measured(self) -> Truth:
        length = self.end - self.begin
        mean = self.sum / length
        std = np.sqrt(np.maximum(self.squares / length - mean**2, 0.0))
        values: dict[str, Array] = {}
        for k, name in enumerate(self.model.variables):
            values |= {
                f"{name}_mean": self.first[k] + mean[k],
                f"{name}_std": std[k],
                f"{name}_min": self.low[k],
                f"{name}_max": self.high[k],
                f"{name}_final": self.final[k],
                f"{name} size": np.sqrt(self.size[k] / length),
            }
        if self.tangents:
            ordered = np.sort(self.growth, axis=0)[::-1] / length
            values |= {f"lyapunov_{k + 1}": ordered[k] for k in range(self.n)}
        stays = [
            [
                _stays(self.events[k][i], self.level_at_start[k, i], self.begin[i], self.end[i])
                for i in range(len(length))
            ]
            for k in range(3)
        ]
        defined = np.isfinite(self.up[1])
        for name in stays[0][0]:
            values[name] = np.where(defined, [s[name] for s in stays[1]], np.nan)
        ambiguous = np.array(
            [
                defined[i]
                and len({len(self.events[k][i]) * 2 + int(self.level_at_start[k, i]) for k in range(3)}) > 1
                for i in range(len(length))
            ]
        )
        rises = [[t for t, after in events if after == 1] for events in self.events[1]]
        values = {k: np.where(self.lost, np.nan, x) for k, x in values.items()}
        changes = [[t for t, _ in events] for events in self.events[1]]
        return Truth(values, ambiguous, rises, changes, self.trials)


def _horner(powers: Array, x: Any) -> Any:
    total = powers[-1] + 0.0 * x
    for c in powers[-2::-1]:
        total = total * x + c
    return total


def _bisected(powers: Array, low: float, high: float, value: float, rising: bool) -> float:
    for _ in range(45):
        middle = 0.5 * (low + high)
        beyond = (float(_horner(powers, middle)) >= value) == rising
        low, high = (low, middle) if beyond else (middle, high)
    return high


def _stays(events: list[tuple[float, int]], level: int, begin: float, end: float) -> dict[str, float]:
    """Return what is measured of levels, from the times at which a point changed its own."""
    times = [begin, *(t for t, _ in events), end]
    levels = [int(level), *(after for _, after in events)]
    stays = list(zip(levels, np.diff(times), strict=True))
    found = {
        "up_fraction": sum(d for up, d in stays if up) / (end - begin),
        "switch_count": float(len(events)),
    }
    for up, name in ((1, "up"), (0, "down")):
        whole = [d for own, d in stays[1:-1] if own == up]
        found |= {
            f"{name}_exits": float(sum(after != up for _, after in events)),
            f"{name}_residence_count": float(len(whole)),
            f"{name}_residence_sum": float(sum(whole)),
            f"{name}_residence_squares": float(sum(d * d for d in whole)),
        }
    return found


def solved(model: str, points: list[Point], rtol: float = RTOL, lanes: int = 512) -> Truth:
    """Return the truth of points of a model, with and without tangents."""
    order: list[int] = []
    parts = []
    for tangents in (False, True):
        chosen = [i for i, q in enumerate(points) if q.tangents == tangents]
        for k in range(0, len(chosen), lanes):
            order += chosen[k : k + lanes]
            parts.append(Batch(model, [points[i] for i in chosen[k : k + lanes]], rtol).run())
    back = np.argsort(order)
    names = list(dict.fromkeys(name for part in parts for name in part.values))
    none = [np.full(len(part.steps), np.nan) for part in parts]
    values = {
        name: np.concatenate([part.values.get(name, e) for part, e in zip(parts, none, strict=True)])[back]
        for name in names
    }
    rises, changes = ([r for part in parts for r in getattr(part, k)] for k in ("rises", "changes"))
    return Truth(
        values,
        np.concatenate([part.ambiguous for part in parts])[back],
        [rises[i] for i in back],
        [changes[i] for i in back],
        np.concatenate([part.steps for part in parts])[back],
    )


# --- the random points ------------------------------------------------------------------------------------

DRIVES = (None, "pulse", "sine", "sampled", "ramp", "constant")
SAMPLES = 8
TOGETHER = 20
"""Scans whose points are solved in one batch."""

LONGEST = 500.0
"""Longest run in time constants of the population, of those below 10 ms: a strong rhythm takes 10^4 steps of
the truth for it."""


@dataclass(frozen=True)
class Case:
    """Points that one scan runs: its parts but the points, these `(points,)` each, and what else is known."""

    model: str
    precision: str
    dt: Any
    transient: int
    window: int
    drive: Values | None
    columns: dict[str, Array]
    asked: str

    @property
    def base(self) -> float:
        """The base step in ms."""
        return 0.05 if self.dt == "auto" else float(self.dt)

    @property
    def observables(self) -> list[str]:
        """Names of what is compared."""
        names = MODELS[self.model].variables
        found = [f"{v}_{kind}" for v in names for kind in ("mean", "std", "min", "max", "final")]
        if self.asked == "exponents":
            return found + [f"lyapunov_{k + 1}" for k in range(len(names))]
        if self.asked == "frequency":
            return [*found, *(f"{v}_frequency" for v in names)]
        stays = [
            f"{s}_{k}"
            for s in ("up", "down")
            for k in ("exits", *(f"residence_{x}" for x in ("count", "sum", "squares")))
        ]
        return [*found, "up_fraction", "switch_count", *stays]

    def scan(self, rows: Any = slice(None), names: list[str] | None = None) -> qs.Scan:
        """Return the scan of some of the points."""
        return qs.Scan(**self.arguments(rows, names))

    def arguments(self, rows: Any, names: list[str] | None) -> Values:
        """Return what `Scan` is made of."""
        kinds = {
            "pulse": qs.Pulse,
            "sine": qs.Sine,
            "sampled": qs.Sampled,
            "ramp": qs.Ramp,
            "constant": qs.Constant,
        }
        points = {k: x[rows].tolist() for k, x in self.columns.items()}
        drive = None
        if self.drive is not None:
            numbers = {k.removeprefix("drive_"): x[0] for k, x in points.items() if k.startswith("drive_")}
            drive = kinds[self.drive["kind"]](
                **numbers, **{k: x for k, x in self.drive.items() if k != "kind"}
            )
        return {
            "model": self.model,
            "drive": drive,
            "points": points,
            "protocol": qs.Protocol(
                transient=self.transient * self.base, window=self.window * self.base, dt=self.dt
            ),
            "observables": names or self.observables,
            "precision": self.precision,
        }

    def line(self, row: int, names: list[str]) -> str:
        """Return a line of Python that makes the scan of one point."""
        asked = self.arguments([row], names)
        # The drive's numbers stand in the drive, of one point.
        points = {k: x[0] for k, x in asked["points"].items() if not k.startswith("drive_")}
        drive = asked["drive"]
        told = ""
        if drive is not None:
            values = ", ".join(f"{k}={x!r}" for k, x in drive.model_dump().items() if k != "kind")
            told = f"drive=qs.{type(drive).__name__}({values}), "
        start, end = self.transient * self.base, self.window * self.base
        return (
            f"qs.Scan(model={self.model!r}, {told}protocol=qs.Protocol(transient={start!r}, window={end!r}, "
            f"dt={self.dt!r}), points={[points]!r}, observables={names!r}, precision={self.precision!r})"
        )

    def points(self) -> list[Point]:
        """Return the points for the truth."""
        count = len(self.columns["J" if self.model != "qif_pair" else "J_ee"])
        found = []
        for i in range(count):
            p = {k: float(x[i]) for k, x in self.columns.items()}
            names = MODELS[self.model].variables
            means = {f"{v}_ou_mean": 0.0 for v in names if v[0] in "rv"}
            levels = (p["down_threshold"], p["up_threshold"]) if "up_threshold" in p else folds(means | p)
            start, end = self.transient * self.base, (self.transient + self.window) * self.base
            found.append(
                Point(
                    means | p,
                    tuple(p[f"{v}_initial"] for v in names),
                    self.drive,
                    start,
                    end,
                    levels,
                    self.asked == "exponents",
                )
            )
        return found


def folds(p: Values) -> tuple[float, float] | None:
    """Return the rates at the first and last fold of the plain model: zeros of the derivative of eta(r)."""
    if "J" not in p:
        return None
    tau, width = p["tau"], p["delta"] + math.pi * p["tau"] * p["r_ou_mean"]
    # eta = (pi tau r)^2 - J tau r - (width / (2 pi tau r))^2, times r^3 after the derivative.
    square = 2.0 * (width / (2.0 * math.pi * tau)) ** 2
    found = np.roots([2.0 * (math.pi * tau) ** 2, -p["J"] * tau, 0.0, 0.0, square])
    real = np.sort(found.real[(np.abs(found.imag) < 1e-9 * np.abs(found)) & (found.real > 0.0)])
    return (float(real[0]), float(real[-1])) if len(real) > 1 else None


def _log(rng: Any, low: float, high: Any, count: int) -> Array:
    return np.exp(rng.uniform(np.log(low), np.log(np.maximum(high, low * 1.0001)), count))


def _drive_columns(rng: Any, kind: str | None, total: float, base: float, count: int) -> Values:
    """Return the numbers of a drive: from far below a step to the whole run."""
    if kind is None:
        return {}
    found = {"drive_amplitude": rng.uniform(-30.0, 60.0, count)}
    if kind in ("pulse", "ramp", "sampled"):
        found["drive_start"] = rng.uniform(0.0, 0.6 * total, count)
    if kind in ("pulse", "ramp"):
        found["drive_length"] = _log(rng, 0.1 * base, 0.5 * total, count)
    if kind == "sampled":
        found["drive_interval"] = _log(rng, 0.2 * base, total / SAMPLES, count)
    if kind == "sine":
        found["drive_amplitude"] = rng.uniform(0.0, 20.0, count)
        found["drive_period"] = _log(rng, max(0.3 * base, total / 1000.0), 2.0 * total, count)
        found["drive_phase"] = rng.uniform(0.0, 6.28, count)
    return found


def drawn_case(model: str, number: int, seed: int, count: int, longest: int = 100_000) -> Case:
    """Return the case of this number of a model."""
    rng = np.random.default_rng([seed, number, sorted(MODELS).index(model)])
    asked = ("levels", "levels", "exponents", "levels", "frequency")[number % 5]
    if model == "qif_delay" and asked == "exponents":
        asked = "levels"
    precision = ("float32", "float64")[(number // 2) % 2]
    dt = "auto" if number % 3 else float(rng.choice([0.002, 0.01, 0.02]))
    base = 0.05 if dt == "auto" else dt
    most = min(longest, 20_000) if asked == "exponents" or model == "qif_delay" else longest
    window = round(float(np.exp(rng.uniform(0.0, np.log(most)))))
    if asked == "frequency":
        window = max(window, min(4096, longest))
    if number == 0:
        window = int(rng.integers(1, 4))
    transient = 0 if rng.random() < 0.5 else round(float(np.exp(rng.uniform(0.0, np.log(most)))))
    total = (window + transient) * base
    kind = DRIVES[number % len(DRIVES)]
    drive = None if kind is None else {"kind": kind}
    if kind == "sampled":
        drive = {"kind": kind, "values": rng.uniform(-1.0, 1.0, SAMPLES).round(3).tolist()}
    equations = MODELS[model]
    shortest = min(max(0.1, total / LONGEST), 10.0)
    columns: Values = {}
    for k, (_, tau) in enumerate(equations.rates):
        of = tau.removeprefix("tau")
        columns[tau] = _log(rng, shortest, 20.0, count)
        columns[f"delta{of}"] = _log(rng, 0.01, 10.0, count)
        columns[f"eta{of}"] = rng.uniform(-50.0, 50.0, count)
        rate, potential = equations.variables[2 * k], equations.variables[2 * k + 1]
        columns[f"{rate}_initial"] = _log(rng, 1e-3, 3.0, count) / columns[tau]
        columns[f"{potential}_initial"] = rng.uniform(-10.0, 10.0, count)
        if number % 4 == 1:
            unit = columns[f"delta{of}"] / (math.pi * columns[tau])
            columns[f"{rate}_ou_mean"] = unit * rng.uniform(-0.9, 2.0, count)
            columns[f"{potential}_ou_mean"] = rng.uniform(-5.0, 5.0, count)
    if model == "qif_pair":
        columns |= {f"J_e{b}": rng.uniform(*r, count) for b, r in (("e", (0, 60)), ("i", (-30, -1)))}
        columns |= {f"J_i{b}": rng.uniform(*r, count) for b, r in (("e", (0, 60)), ("i", (-30, 0)))}
    else:
        columns["J"] = rng.uniform(-30.0, 60.0, count)
    for name, (low, high) in equations.further.items():
        columns[name] = _log(rng, low, high, count) if low > 0.0 else rng.uniform(low, high, count)
    slow = {"a": (0.0, 10.0), "b": (-1.0, 1.0), "u": (0.1, 0.9), "x": (0.1, 1.0), "s": (0.0, 2.0)}
    if "depression" in model:
        slow["a"] = (0.0, 1.0)
    for name in equations.variables:
        if name in slow:
            columns[f"{name}_initial"] = rng.uniform(*slow[name], count)
    if asked == "levels" and not (model == "qif" and number % 2):
        columns["up_threshold"] = _log(rng, 0.05, 2.0, count) / columns[equations.rates[0][1]]
        columns["down_threshold"] = columns["up_threshold"] * rng.uniform(0.2, 0.95, count)
    columns |= _drive_columns(rng, kind, total, base, count)
    return Case(model, precision, dt, transient, window, drive, columns, asked)


# --- what is wrong ----------------------------------------------------------------------------------------

UNFLAGGED = int(qs.Status.computed | qs.Status.not_settled)


@dataclass
class Verdict:
    """What became of points: how many, how many numbers, and of which points something is wrong.

    A rate, its mean, its extremes: relative to the right value. Another variable: to the right value or, if
    that is more, its quadratic mean over the window, of v that of |pi tau r + i v|. A standard deviation: to
    itself and a hundredth of that. Exponents: to the largest of them and 1/tau. The fraction of time up and
    the times of stays are known to a step for every switch, and counts where no stay is shorter than a
    step; where a rate comes within two tolerances of a threshold they are not compared.
    """

    points: int = 0
    numbers: int = 0
    unsolved: int = 0
    silent: list[Values] = field(default_factory=list)
    flagged: int = 0
    wrongly_flagged: list[Values] = field(default_factory=list)
    worst: float = 0.0
    seconds: float = 0.0


def sizes(case: Case, truth: Truth) -> dict[str, Array]:
    """Return what the error of each observable is relative to."""
    v, names, found = truth.values, MODELS[case.model].variables, {}
    whole = {}
    for place, tau in MODELS[case.model].rates:
        unit = math.pi * case.columns[tau]
        both = np.hypot(unit * v[f"{names[place]} size"], v[f"{names[place + 1]} size"])
        whole[names[place]], whole[names[place + 1]] = np.zeros_like(both), both
    for name in names:
        size = whole.get(name, v[f"{name} size"])
        for kind in ("mean", "min", "max", "final"):
            found[f"{name}_{kind}"] = np.maximum(np.abs(v[f"{name}_{kind}"]), size)
        found[f"{name}_std"] = v[f"{name}_std"] + 0.01 * np.maximum(v[f"{name} size"], size)
    return found


def deviations(case: Case, truth: Truth, data: Any, tolerance: float = 1e-3) -> dict[str, Array]:
    """Return how far each observable is from the truth in units of what is allowed; NaN: not compared."""
    values, relative = truth.values, sizes(case, truth)
    dt, window = data["dt"].values.astype(float), case.window * case.base
    switches = values["switch_count"]
    short = _shortest_stay(truth, case) < dt
    found = {}
    for name in case.observables:
        if name.endswith("_frequency"):
            continue
        right, ours = values[name], data[name].values.astype(float)
        if name in relative:
            allowed = tolerance * relative[name] + 1e-12
        elif name.startswith("lyapunov"):
            tau = case.columns[MODELS[case.model].rates[0][1]]
            allowed = tolerance * np.maximum(
                np.abs(values[f"lyapunov_{len(MODELS[case.model].variables)}"]), 1.0 / tau
            )
        elif name == "up_fraction":
            allowed = tolerance + (switches + 1.0) * dt / window
        elif name.endswith("_sum"):
            allowed = tolerance * right + 2.0 * dt * (switches + 1.0)
        elif name.endswith("_squares"):
            allowed = 2.0 * tolerance * right + 4.0 * dt * (
                values[name.replace("squares", "sum")] + dt * switches
            )
        else:
            allowed = np.where(short, np.nan, 0.5)
        undefined = np.isnan(right) & ~np.isnan(values[f"{MODELS[case.model].variables[0]}_final"])
        apart = np.abs(ours - right)
        with np.errstate(all="ignore"):
            off = np.where(apart == 0.0, 0.0 * allowed, apart / allowed)
        off = np.where(np.isnan(ours) & ~np.isnan(allowed), np.inf, off)
        off = np.where(undefined, np.where(np.isnan(ours), 0.0, np.inf), off)
        if name not in relative and not name.startswith("lyapunov"):
            off = np.where(truth.ambiguous, np.nan, off)
        found[name] = np.where(np.isnan(values[f"{MODELS[case.model].variables[0]}_final"]), np.nan, off)
    return found


def _shortest_stay(truth: Truth, case: Case) -> Array:
    """Return the shortest time between two changes of the level, or between one and an end of the window."""
    begin, end = case.transient * case.base, (case.transient + case.window) * case.base
    found = [float(np.diff([begin, *times, end]).min()) if times else np.inf for times in truth.changes]
    return np.array(found)


def periods(case: Case, points: list[Point], truth: Truth) -> Array:
    """Return the period of the rate where it repeats itself to 1e-3 in the whole window, else NaN."""
    mean = truth.values[f"{MODELS[case.model].variables[0]}_mean"]
    solvable = np.isfinite(mean)
    again = [
        Point(q.parameters, q.start, q.drive, q.begin, q.end, (0.999 * m, 1.001 * m) if ok else None)
        for q, m, ok in zip(points, mean, solvable, strict=True)
    ]
    rises = solved(case.model, again).rises
    found = np.full(len(points), np.nan)
    for i, times in enumerate(rises):
        for k in range(1, (len(times) - 1) // 3 + 1):
            lengths = np.array(times[k:]) - np.array(times[:-k])
            if np.ptp(lengths) < 1e-3 * lengths.mean():
                found[i] = lengths.mean()
                break
    return found


def frequency_deviations(case: Case, period: Array, truth: Truth, data: Any) -> dict[str, Array]:
    """Return how far each frequency is from a multiple of 1/period, in units of what is allowed."""
    cycles = case.window * case.base / period
    allowed = np.where(cycles >= 20.0, 1e-3, 1e-2)
    names = MODELS[case.model].variables
    first = names[0]
    swing = truth.values[f"{first}_std"] / truth.values[f"{first}_mean"]
    compared = (cycles >= 3.0) & (swing > 1e-3)
    found = {}
    for name in names:
        # Of what has no period nothing is compared.
        multiple = data[f"{name}_frequency"].values.astype(float) * period
        near = np.maximum(np.round(multiple), 1.0)
        off = np.where(np.isnan(multiple), np.inf, np.abs(multiple / near - 1.0) / allowed)
        moving = truth.values[f"{name}_std"] > 1e-3 * truth.values[f"{name} size"]
        found[f"{name}_frequency"] = np.where(compared & moving, off, np.nan)
    return found


def run(case: Case) -> Any:
    """Return the dataset of a case, in memory."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return qs.run(case.scan(), Path(folder) / "case.zarr", checkpoint=False, progress=None).load()


def judge(case: Case, points: list[Point], truth: Truth, verdict: Verdict) -> None:
    """Compare a case with the truth."""
    data = run(case)
    off = deviations(case, truth, data)
    if case.asked == "frequency":
        off |= frequency_deviations(case, periods(case, points, truth), truth, data)
    table = np.stack(list(off.values()))
    names = np.array(list(off))
    status = data["status"].values.astype(int)
    flagged = (status & ~UNFLAGGED) != 0
    highest = np.nanmax(np.where(np.isnan(table), -1.0, table), axis=0)
    unsolved = highest < 0.0
    verdict.points += len(status)
    verdict.numbers += int(np.isfinite(table).sum())
    verdict.unsolved += int(unsolved.sum())
    verdict.flagged += int(flagged.sum())
    silent = (highest > 1.0) & ~flagged
    confirmed = _confirmed(case, points, truth, np.flatnonzero(silent))
    for i in np.flatnonzero(silent):
        if i not in confirmed:
            verdict.unsolved += 1
            continue
        bad = [str(n) for n in names[table[:, i] > 1.0]]
        worst = str(names[np.nanargmax(np.where(np.isnan(table[:, i]), -1.0, table[:, i]))])
        verdict.worst = max(verdict.worst, float(min(highest[i], 1e9)))
        verdict.silent.append(_finding(case, i, worst, bad, truth, data, status[i], highest[i]))
    for i in np.flatnonzero(flagged & (highest <= 1.0) & ~unsolved):
        verdict.wrongly_flagged.append(_finding(case, i, "", [], truth, data, status[i], highest[i]))


def _confirmed(case: Case, points: list[Point], truth: Truth, rows: Array) -> set[int]:
    """Return those whose truth is the same at a hundred times the tolerance: chaos has none at the end."""
    if not len(rows):
        return set()
    other, relative = solved(case.model, [points[i] for i in rows], 100.0 * RTOL), sizes(case, truth)
    same = np.ones(len(rows), dtype=bool)
    for name, size in relative.items():
        same &= np.abs(other.values[name] - truth.values[name][rows]) < 1e-4 * size[rows] + 1e-12
    return set(rows[same].tolist())


def _finding(
    case: Case, row: int, worst: str, bad: list[str], truth: Truth, data: Any, status: int, off: float
) -> Values:
    asked = bad or case.observables[:1]
    right = float(truth.values[worst][row]) if worst in truth.values else None
    return {
        "scan": case.line(row, asked),
        "observable": worst,
        "found": float(data[worst].values[row]) if worst else None,
        "right": right,
        "off": float(off),
        "all": bad,
        "status": str(qs.Status(int(status))),
        "dt": float(data["dt"].values[row]),
        "error_estimate": float(data["error_estimate"].values[row]),
    }


# --- noise ------------------------------------------------------------------------------------------------

REPLICATES = 400
NOISY = (
    {"v_ou_sigma": 1.0, "v_ou_tau": 5.0},
    {"v_ou_sigma": 4.0, "v_ou_tau": 0.5},
    {"v_ou_sigma": 40.0, "v_ou_tau": 0.02},
)


def heun(
    model: str, p: Values, start: tuple[float, ...], begin: float, end: float, step: float, rng: Any
) -> dict[str, Array]:
    """Return mean and std in the window of replicates under noise on v, by Heun's steps and exact noise."""
    equations, count = MODELS[model], REPLICATES
    sigma, ou_tau = p["v_ou_sigma"], p["v_ou_tau"]
    decay, deviation = math.exp(-step / ou_tau), sigma * math.sqrt(ou_tau / 2.0)
    gain = deviation * math.sqrt(1.0 - decay**2)
    z = deviation * rng.standard_normal(count)
    y = np.repeat(np.array(start)[:, None], count, axis=1)
    sums = np.zeros((2, *y.shape))
    for k in range(round(end / step)):
        after = z * decay + gain * rng.standard_normal(count)
        first = np.stack(equations.slopes(y, p, z, y[0]))
        last = np.stack(equations.slopes(y + step * first, p, after, y[0]))
        new, z = y + 0.5 * step * (first + last), after
        if k >= round(begin / step):
            sums += 0.5 * step * np.stack([y + new, y**2 + new**2])
        y = new
    mean, square = sums / (end - begin)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    named = zip(equations.variables, mean, std, strict=True)
    return {k: x for v, m, s in named for k, x in ((f"{v}_mean", m), (f"{v}_std", s))}


def noise(models: list[str], seed: int) -> list[Values]:
    """Compare means over replicates with Heun's; return the findings of every test."""
    found = []
    for model in (m for m in models if m not in ("qif_pair", "qif_delay")):
        for k, noisy in enumerate(NOISY):
            found += _noisy(model, noisy, np.random.default_rng([seed, k]))
    return found


def _noisy(model: str, noisy: Values, rng: Any) -> list[Values]:
    further = {name: low + 0.3 * (high - low) for name, (low, high) in MODELS[model].further.items()}
    p = {"tau": 1.0, "eta": -4.6, "delta": 1.0, "J": 10.0, **further, **noisy}
    start = (0.1, -2.0, 0.3, 0.3)[: len(MODELS[model].variables)]
    names = [f"{v}_{kind}" for v in ("r", "v") for kind in ("mean", "std")]
    scan = qs.Scan(
        model=model,
        fixed=p | dict(zip((f"{v}_initial" for v in MODELS[model].variables), start, strict=True)),
        protocol=qs.Protocol(transient=20.0, window=40.0),
        observables=names,
        replicates=REPLICATES,
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = qs.run(scan, Path(folder) / "noise.zarr", checkpoint=False, progress=None).load()
    step = min(float(data["dt"].values.min()), noisy["v_ou_tau"]) / 5.0
    step = 20.0 / math.ceil(20.0 / step)
    exact = heun(model, {"r_ou_mean": 0.0, "v_ou_mean": 0.0} | p, start, 20.0, 60.0, step, rng)
    flagged = int(((data["status"].values.astype(int) & ~UNFLAGGED) != 0).sum())
    found = []
    for name in names:
        ours, theirs = data[name].values.astype(float), exact[name]
        spread = math.sqrt((ours.var() + theirs.var()) / REPLICATES)
        beyond = max(abs(ours.mean() - theirs.mean()) - 1e-3 * abs(theirs.mean()), 0.0)
        row = {"model": model, **noisy, "observable": name, "found": ours.mean(), "right": theirs.mean()}
        found.append(row | {"p": 2.0 * stats.norm.sf(beyond / spread), "flagged": flagged})
    return found


# --- the command ------------------------------------------------------------------------------------------


def fuzz(model: str, count: int, seed: int, longest: int = 100_000, size: int = 25) -> Verdict:
    """Compare random points of a model; prints each failing one."""
    verdict, begin = Verdict(), time.perf_counter()
    cases = [
        drawn_case(model, k, seed, min(size, count - k * size), longest) for k in range(-(-count // size))
    ]
    for first in range(0, len(cases), TOGETHER):
        some = cases[first : first + TOGETHER]
        points = [case.points() for case in some]
        truth, place, before = solved(model, [q for own in points for q in own]), 0, len(verdict.silent)
        for case, own in zip(some, points, strict=True):
            judge(case, own, truth.part(place, place + len(own)), verdict)
            place += len(own)
        for row in verdict.silent[before:]:
            told = f"{row['observable']} {row['found']:.6g}, right {row['right']}, {row['status']}"
            print(f"  {row['scan']}\n    {told}, dt {row['dt']:.3g}, also {row['all']}", flush=True)
        done = f"{model}: {verdict.points} of {count} points, {len(verdict.silent)} silently wrong"
        print(f"{done}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    verdict.seconds = time.perf_counter() - begin
    return verdict


def shown(verdicts: dict[str, Verdict]) -> Iterator[str]:
    """Return the lines of the table."""
    heads = ("points", "numbers", "not solved", "silent", "flagged", "wrongly", "worst", "seconds")
    yield f"{'model':<28}" + "".join(f"{head:>12}" for head in heads)
    for name, v in verdicts.items():
        counts = (v.points, v.numbers, v.unsolved, len(v.silent), v.flagged, len(v.wrongly_flagged))
        yield f"{name:<28}" + "".join(f"{n:>12,}" for n in counts) + f"{v.worst:>12.3g}{v.seconds:>12.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5000, help="points of all models together")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--model", action="append", choices=MODELS, help="this model alone; can be repeated")
    parser.add_argument("--longest", type=int, default=100_000, help="most steps in a window")
    parser.add_argument("--without-noise", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("truth.json"))
    options = parser.parse_args()
    models = options.model or list(MODELS)
    each = -(-options.points // len(models))
    verdicts = {m: fuzz(m, each, options.seed, options.longest) for m in models}
    print(*shown(verdicts), sep="\n")
    tests = [] if options.without_noise else noise(models, options.seed)
    least = 1e-4 / max(len(tests), 1)
    failed = [row for row in tests if row["p"] < least and not row["flagged"]]
    print(f"noise: {len(tests)} tests, {len(failed)} with p below {least:.2g}")
    for row in failed:
        print("  ", row)
    record = {name: vars(v) for name, v in verdicts.items()} | {"noise": tests}
    options.output.write_text(json.dumps(record, indent=2))
    points = sum(v.points for v in verdicts.values())
    wrong = sum(len(v.silent) for v in verdicts.values())
    wrongly = sum(len(v.wrongly_flagged) for v in verdicts.values())
    print(f"{wrong} of {points:,} points silently wrong, {wrongly / max(points, 1):.2%} wrongly flagged")
    sys.exit(bool(wrong or failed or wrongly > 0.02 * points))


if __name__ == "__main__":
    main()
