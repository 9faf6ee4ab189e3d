"""The truth about points without noise, from another solver: it shares nothing with the kernel.

The equations of all models and their drives are those of `equations`; here is the method of Dormand and
Prince of order 8(5,3) (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993, II.10;
coefficients from SciPy) with a step for every trajectory, that ends at every edge of a drive; integrals by
Gauss's rule on the dense output of a step, extremes at the zeros of its derivative, crossings by bisection,
exponents by tangents. Relative tolerance of a step: 1e-10.

A rate, its mean, its extremes are compared relative to the right value. Another variable: to the right value
or, if that is more, its quadratic mean over the window, of v that of |pi tau r + i v|, of two that are one
process that of both. A standard deviation: to itself and a hundredth of that. Exponents: to the largest of
them and 1/tau. The fraction of time up and the times of stays are known to a step for every switch, and
counts where no stay is shorter than a step; where a rate comes within two tolerances of a threshold they are
not compared. Frequencies: to a multiple of that of a rate that repeats itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import DOP853

from qifscan.truth.dense_output import AT_NODES, NODES, STAGES, TO_POWERS, WEIGHTS, bisected, horner
from qifscan.truth.equations import MODELS, Point, edges_of, pieces_of

Array = np.ndarray[Any, Any]


RTOL = 1e-10
MOST_STEPS = 30_000
"""Steps of the truth after which a point counts as not solved."""

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
        chosen = slice(first, last)
        lists = self.rises[chosen], self.changes[chosen]
        return Truth(values, self.ambiguous[chosen], *lists, self.steps[chosen])

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
        resting: Array = (drift.max(axis=0) < 1e-12) & (t >= self.constant_from[self.which])
        return resting

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
        # A delay that holds more steps than are remembered has no truth.
        self.trials[which[self.filled[which] - self._row >= HISTORY]] = MOST_STEPS + 1

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
                rising = horner(derivative, middle) > 0.0
                low, high = np.where(rising, middle, low), np.where(rising, high, middle)
            best[who] = np.maximum(best[who], horner(powers, 0.5 * (low + high)))
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
                        where = bisected(powers, before, x, up[k] if after else down[k], after == 1)
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
