"""Is a number silently wrong? Random points of every model, every observable, beside another solver.

Points: tau in [0.1, 20] ms and delta in [0.01, 10], both logarithmic, J in [-30, 60], eta in [-50, 50],
random starts, drives (none, constant, pulse, sine, ramp, sampled), windows of 1 to 10^5 steps (300 where
exponents are asked for), with and without a transient, both precisions, automatic and fixed steps. A run is
at most 500 time constants long, but of a tau of 10 ms or more.

The truth shares nothing with the kernel: here are the equations of all models, written from the papers that
the models name, their drives, the method of Dormand and Prince of order 8(5,3) (Hairer, Norsett, Wanner,
Solving Ordinary Differential Equations I, 1993, II.10; coefficients from SciPy) with a step for every
trajectory, that ends at every edge of a drive; integrals by Gauss's rule on the dense output of a step,
extremes at the zeros of its derivative, crossings by bisection, exponents by tangents. Relative tolerance of
a step: 1e-10.

A number is wrong if it is further than the tolerance of the scan from the truth (`Verdict`); silently, if
`status` has no flag but `computed` and `not_settled`. A point is wrongly flagged if it has another and every
number is within the tolerance, of what is counted in steps without a step of grace; undecided if it has and
the truth has no right value for something that was asked, as for the frequency of what has no period. With
noise, means over replicates are compared with those of a Heun code of its own, at a fifth of the step:
z-tests, of which a right program fails one in 10,000 runs.

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
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import qifscan as qs
from qifscan.truth.adaptive import Truth, solved
from qifscan.truth.deviations import Questions, confirmed, deviations, frequency_deviations, periods
from qifscan.truth.equations import MODELS, Point, folds

Array = np.ndarray[Any, Any]
Values = dict[str, Any]

# --- the random points ------------------------------------------------------------------------------------

DRIVES = (None, "pulse", "sine", "sampled", "ramp", "constant")
SAMPLES = 8
TOGETHER = 20
"""Scans whose points are solved in one batch."""

WITH_EXPONENTS = 300
"""Most steps in windows with exponents: violent points take 2^14 steps for each, with tangents, and are
compared at finer ones."""

DELAYED = 20_000
"""Most steps in windows with a delay."""

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

    @property
    def compared(self) -> Questions:
        """What the truth is compared in."""
        start, end = self.transient * self.base, (self.transient + self.window) * self.base
        return Questions(self.model, self.columns, tuple(self.observables), start, end)

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
        count = len(next(iter(self.columns.values())))
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
    rng = np.random.default_rng([seed, number, zlib.crc32(model.encode())])
    asked = ("levels", "levels", "exponents", "levels", "frequency")[number % 5]
    if model == "qif_delay" and asked == "exponents":
        asked = "levels"
    precision = ("float32", "float64")[(number // 2) % 2]
    dt = "auto" if number % 3 else float(rng.choice([0.002, 0.01, 0.02]))
    base = 0.05 if dt == "auto" else dt
    most = longest
    if asked == "exponents":
        most = min(most, WITH_EXPONENTS)
    if model == "qif_delay":
        most = min(most, DELAYED)
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
    equations, known = MODELS[model], qs.models()[model]
    names = {p.name for p in known.parameters}
    shortest = min(max(0.1, total / LONGEST), 10.0)
    columns: Values = {}
    for place, tau in equations.rates:
        of = tau.removeprefix("tau")
        columns[tau] = _log(rng, shortest, 20.0, count)
        columns[f"delta{of}"] = _log(rng, 0.01, 10.0, count)
        columns[f"eta{of}"] = rng.uniform(-50.0, 50.0, count)
        rate, potential = equations.variables[place : place + 2]
        columns[f"{rate}_initial"] = _log(rng, 1e-3, 3.0, count) / columns[tau]
        columns[f"{potential}_initial"] = rng.uniform(-10.0, 10.0, count)
        if number % 4 == 1 and rate in known.input_names:
            unit = columns[f"delta{of}"] / (math.pi * columns[tau])
            columns[f"{rate}_ou_mean"] = unit * rng.uniform(-0.9, 2.0, count)
            columns[f"{potential}_ou_mean"] = rng.uniform(-5.0, 5.0, count)
    if "J_ee" in names:
        columns |= {f"J_e{b}": rng.uniform(*r, count) for b, r in (("e", (0, 60)), ("i", (-30, -1)))}
        columns |= {f"J_i{b}": rng.uniform(*r, count) for b, r in (("e", (0, 60)), ("i", (-30, 0)))}
    if "J" in names:
        columns["J"] = rng.uniform(-30.0, 60.0, count)
    for name, (low, high) in equations.further.items():
        columns[name] = _log(rng, low, high, count) if low > 0.0 else rng.uniform(low, high, count)
    slow = {"a": (0.0, 10.0), "b": (-1.0, 1.0), "u": (0.1, 0.9), "x": (0.1, 1.0), "s": (0.0, 2.0)}
    if "depression" in model:
        slow["a"] = (0.0, 1.0)
    if model == "qif_cumulants":
        slow = dict.fromkeys("abef", (-0.02, 0.02))
    slow["w"] = (-1.0, 1.0)
    for name in equations.variables:
        if name[0] in slow:
            columns[f"{name}_initial"] = rng.uniform(*slow[name[0]], count)
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
    that is more, its quadratic mean over the window, of v that of |pi tau r + i v|, of two that are one
    process that of both. A standard deviation: to itself and a hundredth of that. Exponents: to the
    largest of them and 1/tau. The fraction of time up and the times of stays are known to a step for
    every switch, and counts where no stay is shorter than a step; where a rate comes within two
    tolerances of a threshold they are not compared.
    """

    points: int = 0
    numbers: int = 0
    unsolved: int = 0
    undecided: int = 0
    silent: list[Values] = field(default_factory=list)
    flagged: int = 0
    wrongly_flagged: list[Values] = field(default_factory=list)
    worst: float = 0.0
    seconds: float = 0.0


def run(case: Case) -> Any:
    """Return the dataset of a case, in memory."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return qs.run(case.scan(), Path(folder) / "case.zarr", checkpoint=False, progress=None).load()


def judge(case: Case, points: list[Point], truth: Truth, verdict: Verdict) -> None:
    """Compare a case with the truth."""
    data = run(case)
    found = {name: data[name].values for name in (*case.observables, "dt")}
    off = deviations(case.compared, truth, found)
    if case.asked == "frequency":
        off |= frequency_deviations(case.compared, periods(case.model, points, truth), truth, found)
    names = np.array(list(off))
    status = data["status"].values.astype(int)
    flags = status & ~UNFLAGGED
    # Under a mean input a rate may be negative: then that flag is right, and tells no error.
    flags[_below_zero(case.model, truth)] &= ~int(qs.Status.rate_negative)
    flagged = flags != 0
    table, highest = _with_highest(off)
    unsolved = highest < 0.0
    verdict.points += len(status)
    verdict.numbers += int(np.isfinite(table).sum())
    verdict.unsolved += int(unsolved.sum())
    verdict.flagged += int(flagged.sum())
    silent = (highest > 1.0) & ~flagged
    kept = confirmed(case.compared, points, truth, np.flatnonzero(silent))
    for i in np.flatnonzero(silent):
        if i not in kept:
            verdict.unsolved += 1
            continue
        bad = [str(n) for n in names[table[:, i] > 1.0]]
        worst = str(names[np.nanargmax(np.where(np.isnan(table[:, i]), -1.0, table[:, i]))])
        verdict.worst = max(verdict.worst, float(min(highest[i], 1e9)))
        verdict.silent.append(_finding(case, i, worst, bad, truth, data, status[i], highest[i]))
    # Of a flag the truth asks more: what is known to a step alone is not known to the tolerance, and where it
    # has no right value for something, as for the frequency of what has no period, the flag may be of that.
    _, strictly = _with_highest(deviations(case.compared, truth, found, steps=0.0))
    within = flagged & (highest <= 1.0) & (strictly <= 1.0) & ~unsolved
    undecided = within & np.isnan(table).any(axis=0)
    verdict.undecided += int(undecided.sum())
    for i in np.flatnonzero(within & ~undecided):
        verdict.wrongly_flagged.append(_finding(case, i, "", [], truth, data, status[i], highest[i]))


def _below_zero(model: str, truth: Truth) -> Array:
    rates = [MODELS[model].variables[place] for place, _ in MODELS[model].rates]
    found: Array = np.any([truth.values[f"{rate}_min"] < 0.0 for rate in rates], axis=0)
    return found


def _with_highest(off: dict[str, Array]) -> tuple[Array, Array]:
    """Return deviations `(observables, points)` and the highest of each point, -1 where there is none."""
    table = np.stack(list(off.values()))
    return table, np.max(np.where(np.isnan(table), -1.0, table), axis=0)


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
    {"v_ou_sigma": 1.0, "v_ou_tau": 5.0, "r_ou_sigma": 0.02, "r_ou_tau": 2.0},
)


@dataclass
class _Noise:
    """Replicates of an Ornstein-Uhlenbeck process, stationary from the start, on a grid of one step."""

    value: Array
    decay: float
    gain: float
    rng: Any

    @classmethod
    def of(cls, p: Values, variable: str, step: float, rng: Any, count: int) -> _Noise:
        """Return the noise on a variable; without it there is none to draw."""
        sigma, tau = p.get(f"{variable}_ou_sigma", 0.0), p.get(f"{variable}_ou_tau", 1.0)
        decay, deviation = math.exp(-step / tau), sigma * math.sqrt(tau / 2.0)
        value = deviation * rng.standard_normal(count)
        return cls(value, decay, deviation * math.sqrt(1.0 - decay**2), rng)

    def advance(self) -> None:
        """Go on by a step."""
        self.value = self.value * self.decay + self.gain * self.rng.standard_normal(len(self.value))


def heun(
    model: str, p: Values, start: tuple[float, ...], begin: float, end: float, step: float, rng: Any
) -> dict[str, Array]:
    """Return mean and std in the window of replicates under noise, by Heun's steps and exact noise.

    A rate one delay ago is taken between two steps, on a line; before the start it is the first one.
    """
    equations, count, inputs = MODELS[model], REPLICATES, qs.models()[model].input_names
    noises = {name: _Noise.of(p, name, step, rng, count) for name in inputs}
    y = np.repeat(np.array(start)[:, None], count, axis=1)
    sums, rates = np.zeros((2, *y.shape)), [y[0]]
    lag = p.get("delay", 0.0) / step

    def slopes(at: Array, k: int) -> Array:
        within = p | {f"{name}_ou_mean": each.value for name, each in noises.items()}
        whole = math.floor(k - lag)
        ago = [rates[max(whole + i, 0)] for i in (0, 1)] if lag else [at[0], at[0]]
        past = ago[0] + (k - lag - whole) * (ago[1] - ago[0])
        return np.stack(np.broadcast_arrays(*equations.slopes(at, within, 0.0, past)))

    for k in range(round(end / step)):
        first = slopes(y, k)
        for each in noises.values():
            each.advance()
        if lag:
            rates.append(y[0] + step * first[0])
        new = y + 0.5 * step * (first + slopes(y + step * first, k + 1))
        if lag:
            rates[-1] = new[0]
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
    for model in models:
        for k, noisy in enumerate(NOISY):
            found += _noisy(model, noisy, np.random.default_rng([seed, k]))
    return found


def _noisy(model: str, noisy: Values, rng: Any) -> list[Values]:
    equations, row = MODELS[model], qs.models()[model]
    p = {each.name: each.default for each in row.parameters}
    # Without strong bursts, for which Heun's steps have to be very short.
    p |= {k: x for k, x in {"tau": 1.0, "eta": -4.6, "delta": 1.0, "J": 10.0, "J_ie": 5.0}.items() if k in p}
    p |= {name: low + 0.3 * (high - low) for name, (low, high) in equations.further.items()}
    # Of several populations each has the noise, on its own r and v.
    own = {f"{v}_{k[2:]}": x for v in row.input_names for k, x in noisy.items() if v[0] == k[0]}
    begin = {"r": 0.1, "v": -2.0}
    start = tuple(begin.get(v[0], 0.0 if model == "qif_cumulants" else 0.3) for v in equations.variables)
    names = [f"{v}_{kind}" for v in row.input_names for kind in ("mean", "std")]
    scan = qs.Scan(
        model=model,
        fixed=p | own | dict(zip((f"{v}_initial" for v in equations.variables), start, strict=True)),
        protocol=qs.Protocol(transient=20.0, window=40.0),
        observables=names,
        replicates=REPLICATES,
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = qs.run(scan, Path(folder) / "noise.zarr", checkpoint=False, progress=None).load()
    step = min(float(data["dt"].values.min()), *(x for k, x in noisy.items() if k.endswith("_tau"))) / 5.0
    step = 20.0 / math.ceil(20.0 / step)
    exact = heun(model, p | own, start, 20.0, 60.0, step, rng)
    flagged = int(((data["status"].values.astype(int) & ~UNFLAGGED) != 0).sum())
    found = []
    for name in names:
        ours, theirs = data[name].values.astype(float), exact[name]
        spread = math.sqrt((ours.var() + theirs.var()) / REPLICATES)
        beyond = max(abs(ours.mean() - theirs.mean()) - 1e-3 * abs(theirs.mean()), 0.0)
        tested = {"model": model, **noisy, "observable": name, "found": ours.mean(), "right": theirs.mean()}
        found.append(tested | {"p": 2.0 * stats.norm.sf(beyond / spread), "flagged": flagged})
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
    heads = (
        "points",
        "numbers",
        "not solved",
        "silent",
        "flagged",
        "wrongly",
        "undecided",
        "worst",
        "seconds",
    )
    yield f"{'model':<28}" + "".join(f"{head:>12}" for head in heads)
    for name, v in verdicts.items():
        counts = (
            v.points,
            v.numbers,
            v.unsolved,
            len(v.silent),
            v.flagged,
            len(v.wrongly_flagged),
            v.undecided,
        )
        yield f"{name:<28}" + "".join(f"{n:>12,}" for n in counts) + f"{v.worst:>12.3g}{v.seconds:>12.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5000, help="points of all models together")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--model", action="append", choices=MODELS, help="this model alone; can be repeated")
    parser.add_argument("--longest", type=int, default=100_000, help="most steps in a window")
    parser.add_argument("--together", type=int, default=25, help="points of one scan: few are more various")
    parser.add_argument("--without-noise", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("truth.json"))
    options = parser.parse_args()
    models = options.model or list(MODELS)
    each = -(-options.points // len(models))
    verdicts = {m: fuzz(m, each, options.seed, options.longest, options.together) for m in models}
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
