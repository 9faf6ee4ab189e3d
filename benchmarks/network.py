"""A finite network of quadratic integrate-and-fire neurons beside its mean field: the error against its size.

The two experiments of Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), Fig. 2: a current I = 3 for 30
time units, and I = 3 sin(pi t / 50), at eta = -5, J = 15, delta = tau = 1, from the lower equilibrium.
Between spikes `V_j' = V_j^2 + eta_j + I(t)`; a neuron that reaches infinity returns from minus infinity,
and at that instant every V rises by J/N. This is the limit tau_s -> 0, V_peak = -V_reset -> infinity of the
paper: what parts the network from the mean field is then N alone.

A step of the network is half of its kick, `V += h I / 2 + J n / 2N`, the exact flow of `V' = V^2 + eta_j`,
and the other half; n is the number of spikes of that very step. The flow is the Moebius map
`V -> (b V + eta_j) / (b - V)` with `b = k cot(k h)`, `k^2 = eta_j`. It passes through infinity where V > b,
so there is no peak and no refractory time.

Three samplings of the Lorentzian of eta. "paper": its quantiles at j / (N + 1). "balanced": the same with the
outermost moved further out. Neurons far out in the tails fire at sqrt(eta_j) / pi, or rest at -sqrt(-eta_j).
A mean of square roots over the quantiles (j + a) / N, j = 0, 1, ..., is wrong by
`zeta(1/2, a) sqrt(delta / (pi N))`: in the rate this is -0.26 / sqrt(N) for the paper's, a = 1, before J
amplifies it, and nothing where Hurwitz's zeta is 0. "random": independent draws. The phases of random ones
are random too, the others' a golden-ratio sequence.

The rate is counted in bins of 0.02, as in the paper. Rate and mean potential also come from the Kuramoto
order parameter `Z = <(1 + i V) / (1 - i V)>` by the paper's map `pi r + i v = (1 - Z*) / (1 + Z*)`, which
needs no bins, and whose average exists where that of V does not; beside it the mean of the |V| < 100, the
paper's V_peak. Errors are r.m.s. over time. Prints a table, writes a JSON record and a figure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import qifscan as qs

ETA, DELTA, J = -5.0, 1.0, 15.0
BIN = 0.02
STEP = 0.002
PEAK = 100.0

BALANCE = 0.30272182859836994
"""The a at which Hurwitz's zeta(1/2, a) is 0."""

FIT_FROM = 1000
"""Below, an error is no power of N: a network can be half a period behind, or fall to the lower state."""

SHOWN = 10_000
"""Neurons of the networks of which the figure shows the course."""

COLOURS = {"paper": "#d1495b", "balanced": "C0", "random": "0.45"}
LABELS = {"paper": "paper's quantiles", "balanced": "balanced quantiles", "random": "random"}
SAMPLINGS = ("paper", "balanced", "random")
MEASURES = {
    "r, spikes": "rate from spikes in bins of 0.02",
    "r, Z": "rate from the order parameter",
    "v, Z": "mean potential from the order parameter",
    "v, |V| < 100": "mean of the potentials below 100",
}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Experiment:
    """An input, for the mean field and as a function of time for the network, from t = 0."""

    drive: Any
    current: Callable[[float], float]
    t_end: float


EXPERIMENTS = {
    "step": Experiment(qs.Pulse(amplitude=3.0, length=30.0), lambda t: 3.0 * (t < 30.0), 40.0),
    "sine": Experiment(qs.Sine(amplitude=3.0, period=100.0), lambda t: 3.0 * np.sin(np.pi * t / 50.0), 100.0),
}


@dataclass(frozen=True)
class Case:
    """One experiment with networks of one size: how eta is drawn, the step h, and how many of them."""

    experiment: str
    sampling: str
    N: int
    h: float
    seeds: int


@dataclass(frozen=True)
class Course:
    """What is measured over time: the rate in every bin, the rest at the edges of the bins; and spikes."""

    counted: Array
    rate: Array
    v: Array
    v_below_peak: Array
    spikes: Array
    """Rows of time and neuron, of the neurons that were watched."""


def lower_node() -> dict[str, float]:
    found = qs.equilibria(eta=ETA, J=J, delta=DELTA).isel(equilibrium=0)
    return {"r": float(found["r"]), "v": float(found["v"])}


def population(sampling: str, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return eta and V of every neuron in the stationary state of the lower equilibrium.

    Neurons with `u = eta_j + J r < 0` rest at -sqrt(-u); the phases of the others rotate uniformly.
    """
    index, rng = np.arange(count), np.random.default_rng(seed)
    if sampling == "random":
        quantiles, phases = rng.random(count), rng.random(count)
    else:
        end = BALANCE if sampling == "balanced" else 1.0
        quantiles = (index + end) / (count - 1 + 2 * end)
        phases = (index + 1) * (np.sqrt(5.0) - 1) / 2 % 1
    eta = ETA + DELTA * np.tan(np.pi * (quantiles - 0.5))
    u = eta + J * lower_node()["r"]
    k = np.sqrt(np.abs(u))
    return eta, np.where(u < 0, -k, k * np.tan(np.pi * (phases - 0.5)))


def flow(eta: Array, step: float) -> Array:
    """Return b of the exact flow `V -> (b V + eta) / (b - V)` over a step; one spike in it at most."""
    k = np.sqrt(np.abs(eta))
    if np.max(k[eta > 0], initial=0.0) * step >= np.pi:
        raise ValueError(
            f"step {step:g} is longer than an interval of the fastest neuron, {np.pi / k.max():g}"
        )
    tangent = np.where(eta > 0, np.tan(k * step), np.tanh(k * step))
    return np.divide(k, tangent, out=np.full_like(k, 1 / step), where=tangent != 0)


def settled(gap: Array, base: float, kick: float) -> int:
    """Return the smallest n for which n neurons are nearer to infinity than `base + n kick`; kick >= 0."""
    before, n = -1, 0
    while n != before:
        before, n = n, int(np.count_nonzero(gap < base + n * kick))
    return n


def order_parameter(V: Array) -> complex:
    """Return `pi r + i v` of a population whose potentials are a Lorentzian."""
    V = np.clip(V, -1e100, 1e100)
    q = 1 / (1 + V * V)
    conjugate = complex(np.mean(2 * q - 1), -2 * np.mean(V * q))
    return (1 - conjugate) / (1 + conjugate)


def run_network(
    eta: Array, V: Array, experiment: Experiment, step: float = STEP, watched: Array | None = None
) -> Course:
    """Simulate the network from t = 0; `watched` are the neurons whose spikes are kept."""
    b = flow(eta, step)
    product, twice, gap = b * b + eta, 2 * b, b - V
    kick, per_bin, bins = J / (2 * len(eta)), round(BIN / step), round(experiment.t_end / BIN)
    counts, moments, below, spikes = np.zeros(bins), [order_parameter(V)], [mean_below_peak(V)], []
    with np.errstate(divide="ignore"):  # a gap of exactly 0 is at infinity, and goes on from there
        for i in range(bins * per_bin):
            base = 0.5 * step * experiment.current((i + 0.5) * step)
            n = settled(gap, base, kick)
            gap -= base + n * kick
            if watched is not None:
                fired = watched[gap[watched] < 0]
                spikes.append(np.column_stack([np.full(len(fired), (i + 0.5) * step), fired]))
            np.divide(product, gap, out=gap)
            np.subtract(twice, gap, out=gap)
            gap -= base + n * kick
            counts[i // per_bin] += n
            if (i + 1) % per_bin == 0:
                V = b - gap
                moments.append(order_parameter(V))
                below.append(mean_below_peak(V))
    moment = np.array(moments)
    rows = np.concatenate(spikes) if spikes else np.empty((0, 2))
    return Course(counts / (len(eta) * BIN), moment.real / np.pi, moment.imag, np.array(below), rows)


def mean_below_peak(V: Array) -> float:
    return float(np.mean(V[np.abs(V) < PEAK]))


def mean_field(experiment: Experiment) -> Course:
    """Return the mean field at the edges of the bins, and its rate averaged over every bin (Simpson)."""
    found = qs.simulate(
        t_end=experiment.t_end,
        dt=BIN / 2,
        drive=experiment.drive,
        initial=lower_node(),
        eta=ETA,
        J=J,
        delta=DELTA,
    )
    r, v = (found[name].values.ravel() for name in ("r", "v"))
    averaged = (r[:-1:2] + 4 * r[1::2] + r[2::2]) / 6
    return Course(averaged, r[::2], v[::2], v[::2], np.empty((0, 2)))


def errors(found: Course, exact: Course) -> dict[str, float]:
    """Return the r.m.s. over time of every measure."""
    pairs = zip(
        (found.counted, found.rate, found.v, found.v_below_peak),
        (exact.counted, exact.rate, exact.v, exact.v_below_peak),
        strict=True,
    )
    return {name: float(np.sqrt(np.mean((a - b) ** 2))) for name, (a, b) in zip(MEASURES, pairs, strict=True)}


def fitted(sizes: Any, error: Any) -> dict[str, float]:
    """Return the exponent of `error = factor N^exponent` and its standard error; least squares of logs."""
    x, y = np.log(sizes), np.log(error)
    slope, offset = np.polyfit(x, y, 1)
    left = y - slope * x - offset
    spread = np.sqrt(np.sum(left**2) / max(len(x) - 2, 1) / np.sum((x - x.mean()) ** 2))
    return {"exponent": float(slope), "standard error": float(spread), "factor": float(np.exp(offset))}


def measured(case: Case, exact: Course) -> dict[str, Any]:
    """Run the networks of a case; return its row of the table: the errors of every seed, and their r.m.s."""
    begin = time.perf_counter()
    each = [
        errors(
            run_network(*population(case.sampling, case.N, seed), EXPERIMENTS[case.experiment], case.h), exact
        )
        for seed in range(case.seeds)
    ]
    error = {key: float(np.sqrt(np.mean([e[key] ** 2 for e in each]))) for key in MEASURES}
    seconds = (time.perf_counter() - begin) / case.seeds
    print(f"{case.experiment:<5} {case.sampling:<9} {case.N:>9,} {case.h:>6g}", end="")
    print("".join(f" {error[key]:>12.5f}" for key in MEASURES), f"{seconds:>8.2f} s", flush=True)
    return {**asdict(case), "error": error, "each": each, "seconds": seconds}


def cases(largest: int, seeds: int) -> list[Case]:
    """Return half decades of N for the step, decades of quantiles for the sine, and one at half of h."""
    sizes = [size for size in (round(10 ** (k / 2)) for k in range(4, 15)) if size <= largest]
    repeats = {"paper": 1, "balanced": 1, "random": seeds}
    found = [Case("step", s, N, STEP, repeats[s]) for s in SAMPLINGS for N in sizes]
    found += [Case("sine", s, N, STEP, 1) for s in ("paper", "balanced") for N in sizes[::2]]
    return [*found, Case("step", "balanced", sizes[-1], STEP / 2, 1)]


def run(largest: int, seeds: int) -> dict[str, Any]:
    print(f"{'':<5} {'sampling':<9} {'N':>9} {'h':>6}" + "".join(f" {key:>12}" for key in MEASURES))
    exact = {name: mean_field(experiment) for name, experiment in EXPERIMENTS.items()}
    rows = [measured(case, exact[case.experiment]) for case in cases(largest, seeds)]
    constants = {"eta": ETA, "delta": DELTA, "J": J, "bin": BIN, "measures": MEASURES}
    return {**constants, "rows": rows, "fits": fits([row for row in rows if row["h"] == STEP])}


def fits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    print(f"\nexponents of N, least squares over N >= {FIT_FROM:,}")
    for name, sampling in dict.fromkeys((r["experiment"], r["sampling"]) for r in rows):
        mine = [
            r for r in rows if (r["experiment"], r["sampling"]) == (name, sampling) and r["N"] >= FIT_FROM
        ]
        sizes = [row["N"] for row in mine]
        fit = {key: fitted(sizes, [row["error"][key] for row in mine]) for key in MEASURES}
        print(f"{name:<5} {sampling:<9} {'':>16}", end="")
        print("".join(f" {f['exponent']:>5.2f} ({f['standard error']:.2f})" for f in fit.values()))
        found.append({"experiment": name, "sampling": sampling, "fit": fit})
    return found


def draw(record: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(13, 7), layout="constrained", dpi=140)
    left, right = figure.subfigures(1, 2, width_ratios=[2.4, 1])
    ratios = [2.4, 1.7, 1.7, 0.8]
    panels = left.subplots(4, 2, sharex="col", sharey="row", gridspec_kw={"height_ratios": ratios})
    for column, (name, experiment) in zip(panels.T, EXPERIMENTS.items(), strict=True):
        draw_course(column, name, experiment)
    below = right.subplots(2, 1, sharex=True, sharey=True)
    draw_errors(below[0], record, "r, spikes")
    draw_errors(below[1], record, "r, Z")
    below[1].set_xlabel(r"$N$")
    for letter, axes in zip("abcdefghij", [*panels.T.ravel(), *below], strict=True):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize="medium")
    left.align_ylabels()
    figure.savefig(path)


def draw_course(panels: Any, name: str, experiment: Experiment) -> None:
    """Draw rate, mean potential, raster and input of a network over the mean field."""
    edges = np.arange(round(experiment.t_end / BIN) + 1) * BIN
    exact = mean_field(experiment)
    watched = np.sort(np.random.default_rng(0).choice(SHOWN, 300, replace=False))
    mine = run_network(*population("balanced", SHOWN), experiment, watched=watched)
    colour = COLOURS["balanced"]
    panels[0].plot(edges[:-1] + BIN / 2, mine.counted, color=colour, lw=1.1, label=f"network, N = {SHOWN:,}")
    panels[0].plot(edges, exact.rate, color="k", lw=0.8, label="mean field")
    panels[1].plot(edges, mine.v, color=colour, lw=2.6, alpha=0.6)
    panels[1].plot(edges, exact.v, color="k", lw=0.8)
    rank = np.searchsorted(watched, mine.spikes[:, 1])
    panels[2].plot(mine.spikes[:, 0], rank, ",", color="k", rasterized=True)
    panels[3].plot(edges, [experiment.current(t) for t in edges], color="k", lw=1.2)
    panels[0].set_title(
        {"step": "a step of current", "sine": "a sinusoidal current"}[name], fontsize="medium"
    )
    panels[0].set(xlim=(0, experiment.t_end), ylim=(0, 3.6))
    panels[1].set(ylim=(-3.3, 3.3))
    panels[2].set(ylim=(0, 300))
    panels[3].set(xlabel=r"time ($\tau$)", ylim=(-4, 4), yticks=[-3, 0, 3])
    if name == "step":
        for axes, label in zip(panels, (r"$r$", r"$v$", r"neuron, by $\eta_j$", r"$I$"), strict=True):
            axes.set_ylabel(label)
        panels[0].legend(loc="lower right", fontsize="small", ncols=2)
        draw_detail(
            panels[0],
            edges,
            {"balanced": mine, "paper": run_network(*population("paper", SHOWN), experiment)},
        )
        panels[0].child_axes[0].plot(edges, exact.rate, color="k", lw=0.8)


def draw_detail(axes: Any, edges: Array, found: dict[str, Course]) -> None:
    """Draw a few periods of the ringing large, where the paper's sampling falls behind."""
    inset = axes.inset_axes((0.38, 0.53, 0.6, 0.44))
    for sampling, course in found.items():
        inset.plot(edges, course.rate, color=COLOURS[sampling], lw=2.4, alpha=0.75, label=LABELS[sampling])
    inset.set(xlim=(8, 12), ylim=(0.95, 2.3), xticks=[8, 9, 10, 11, 12], yticks=[1, 1.5, 2])
    inset.tick_params(labelsize="x-small")
    inset.legend(fontsize="x-small", loc="upper right", ncols=2, handlelength=1.0, columnspacing=1.0)


def draw_errors(axes: Any, record: dict[str, Any], measure: str) -> None:
    """Draw the error of the step experiment against N with the fitted powers."""
    fit = {f["sampling"]: f["fit"][measure] for f in record["fits"] if f["experiment"] == "step"}
    rows = [row for row in record["rows"] if row["experiment"] == "step" and row["h"] == STEP]
    for sampling in ("random", "paper", "balanced"):
        mine = [row for row in rows if row["sampling"] == sampling]
        colour, line = COLOURS[sampling], fit[sampling]
        sizes = np.array([row["N"] for row in mine])
        if sampling == "random":
            each = [[e[measure] for e in row["each"]] for row in mine]
            axes.plot(sizes, each, ".", color="0.75", ms=4, mew=0)
        label = rf"{LABELS[sampling]}, $N^{{\,{line['exponent']:.2f}}}$"
        axes.plot(sizes, [row["error"][measure] for row in mine], "o", color=colour, ms=4.5, label=label)
        inside = sizes[sizes >= FIT_FROM]
        axes.plot(inside, line["factor"] * inside ** line["exponent"], color=colour, lw=1.2)
    axes.set(xscale="log", yscale="log", ylabel=r"r.m.s. error of $r$", ylim=(2e-4, 2.0))
    axes.set_title(MEASURES[measure], fontsize="medium")
    axes.grid(alpha=0.25)
    axes.legend(fontsize="small", loc="lower left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--largest", type=int, default=100_000, help="neurons of the largest network, >= 10,000"
    )
    parser.add_argument("--seeds", type=int, default=16, help="random networks of every size")
    parser.add_argument("--output", type=Path, default=Path("network.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/network.png"))
    options = parser.parse_args()
    if options.largest < 10_000:
        parser.error("--largest: an exponent needs sizes up to 10,000 at least")
    record = run(options.largest, options.seeds)
    options.output.write_text(json.dumps(record, indent=2))
    draw(record, options.figure)


if __name__ == "__main__":
    main()
