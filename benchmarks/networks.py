"""Networks of spiking neurons beside the mean fields of all models that have a network of their own.

Each population has N quadratic integrate-and-fire neurons, tau V_j' = V_j^2 - c V_j + eta_j + I, whose eta_j
are the balanced quantiles of benchmarks/network.py; what c and I hold besides is the model's: currents from
synapses, adaptation, conductances, noise of each neuron. Over a step of h these are held and the flow is
exact: with W = V - c/2 it is W' = W^2 + k^2, a Moebius map, which passes through infinity where a neuron
spikes. What the spikes of a step do to others and to slow variables, they do at the start of the next one.

The mean field starts where the network does, V_j = v_0 + pi tau r_0 tan(...), a Lorentzian of its own, and
both get a step of current. Errors are r.m.s. over time of the rate in bins, relative to the range of the
mean field's. Prints a table; writes a record.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from network import BALANCE
from scipy.integrate import solve_ivp

import qifscan as qs

Array = np.ndarray[Any, Any]
Values = dict[str, float]

BIN = 0.5
STEP = 0.005


@dataclass
class Step:
    """What a network's rule is given in a step, and what it answers: of each population the spikes before
    (per neuron), time since the start of the step in ms; `kick` (in V), `current` and `open` (c) of each.
    """

    h: float
    rates: dict[str, float]
    slow: dict[str, float]
    kick: dict[str, float] = field(default_factory=dict)
    current: dict[str, float] = field(default_factory=dict)
    opened: dict[str, float] = field(default_factory=dict)


Rule = Callable[[Step, Values, dict[str, float]], None]
"""`rule(step, parameters, mean potentials)` moves the slow variables and sets what neurons get."""


@dataclass(frozen=True)
class Network:
    """A model's network: endings of its populations, the rule, parameters, and noise of each neuron."""

    populations: tuple[str, ...]
    rule: Rule
    given: Values
    start: Values
    push: float
    noise: Callable[[Any, Values, float, int], Array] | None = None


def follow(x: float, target: float, rate: float, h: float) -> float:
    """Return a variable that decays to a target, after a step."""
    return target + (x - target) * math.exp(-rate * h)


def plain(step: Step, p: Values, v: Values) -> None:
    step.kick[""] = p["J"] * step.rates[""] * step.h


def adaptation(step: Step, p: Values, v: Values) -> None:
    plain(step, p, v)
    a, b = step.slow["a"], step.slow["b"]
    # The alpha kernel twice as a chain: a is driven by y = a + b, y' = alpha r - y/tau_a.
    y = follow(a + b, p["alpha"] * p["tau_a"] * step.rates[""], 1.0 / p["tau_a"], step.h)
    a = follow(a, 0.5 * (step.slow["a"] + step.slow["b"] + y), 1.0 / p["tau_a"], step.h)
    step.slow |= {"a": a, "b": y - a}
    step.current[""] = -a


def conductance(step: Step, p: Values, v: Values) -> None:
    x = follow(step.slow["x"], step.rates[""], 1.0 / p["tau_d"], step.h)
    s = follow(step.slow["s"], 0.5 * (step.slow["x"] + x), 1.0 / p["tau_d"], step.h)
    step.slow |= {"x": x, "s": s}
    g = p["g"] * p["tau"] * s
    step.opened[""] = g + p["g_gap"]
    step.current[""] = g * p["e_s"] + p["g_gap"] * v[""]


def izhikevich(step: Step, p: Values, v: Values) -> None:
    s = follow(step.slow["s"], p["tau_s"] * step.rates[""], 1.0 / p["tau_s"], step.h)
    aim = p["b"] * v[""] + p["jump"] * p["tau_w"] * step.rates[""]
    step.slow |= {"s": s, "w": follow(step.slow["w"], aim, 1.0 / p["tau_w"], step.h)}
    step.opened[""] = p["a"] + p["g"] * s
    step.current[""] = p["g"] * s * p["e_s"] - step.slow["w"]


def halves(step: Step, p: Values, v: Values) -> None:
    mean = p["share"] * step.rates["_1"] + (1.0 - p["share"]) * step.rates["_2"]
    step.kick |= {"_1": p["J"] * mean * step.h, "_2": p["J"] * mean * step.h}


def pair(step: Step, p: Values, v: Values) -> None:
    for a in "ei":
        step.kick[f"_{a}"] = step.h * sum(p[f"J_{a}{b}"] * step.rates[f"_{b}"] for b in "ei")


def synapses(stages: int) -> Rule:
    def rule(step: Step, p: Values, v: Values) -> None:
        for a in "ei":
            source = step.rates[f"_{a}"]
            for name in ("x", "s")[2 - stages :]:
                before = step.slow[f"{name}_{a}"]
                step.slow[f"{name}_{a}"] = follow(before, source, 1.0 / p[f"tau_s{a}"], step.h)
                source = 0.5 * (before + step.slow[f"{name}_{a}"])
        for a in "ei":
            excited = (p[f"J_{a}e"] + p["eps"]) * step.slow["s_e"]
            step.current[f"_{a}"] = p[f"tau_{a}"] * (excited + p[f"J_{a}i"] * step.slow["s_i"])

    return rule


def couplings(step: Step, p: Values, v: Values) -> None:
    for a in "ei":
        for b in "ei":
            step.slow[f"s_{a}{b}"] = follow(
                step.slow[f"s_{a}{b}"], step.rates[f"_{b}"], 1.0 / p[f"tau_s{a}{b}"], step.h
            )
        inputs = (p[f"J_{a}{b}"] * step.slow[f"s_{a}{b}"] for b in "ei")
        step.current[f"_{a}"] = p[f"tau_{a}"] * sum(inputs)


def memory(step: Step, p: Values, v: Values) -> None:
    sent = {}
    for a in "12":
        u, x, r = step.slow[f"u_{a}"], step.slow[f"x_{a}"], step.rates[f"_{a}"]
        sent[a] = u * x * r
        step.slow[f"u_{a}"] = u + step.h * ((p["U"] - u) / p["tau_f"] + p["U"] * (1.0 - u) * r)
        step.slow[f"x_{a}"] = x + step.h * ((1.0 - x) / p["tau_d"] - sent[a])
    inhibited = p["J_ei"] * step.rates["_i"]
    for a, b in ("12", "21"):
        step.kick[f"_{a}"] = step.h * (p["J_same"] * sent[a] + p["J_other"] * sent[b] + inhibited)
    excited = p["J_ie"] * (step.rates["_1"] + step.rates["_2"])
    step.kick["_i"] = step.h * (excited + p["J_ii"] * step.rates["_i"])


def cauchy(rng: Any, p: Values, h: float, count: int) -> Array:
    found: Array = p["gamma"] * h / p["tau"] * rng.standard_cauchy(count)
    return found


def gaussian(rng: Any, p: Values, h: float, count: int) -> Array:
    found: Array = p["sigma"] * math.sqrt(2.0 * h / p["tau"]) * rng.standard_normal(count)
    return found


ONE = {"r": 0.1, "v": -1.0}
PAIR = {"r_e": 0.03, "v_e": -0.5, "r_i": 0.02, "v_i": -0.7}
NETWORKS: dict[str, Network] = {
    "qif": Network(("",), plain, {"J": 10.0, "eta": -3.0}, ONE, 3.0),
    "qif_adaptation_alpha": Network(
        ("",), adaptation, {"eta": 0.0, "alpha": 0.5}, ONE | {"a": 0.5, "b": 0.0}, 2.0
    ),
    "qif_cauchy": Network(("",), plain, {"J": 10.0, "eta": -3.0, "gamma": 0.5}, ONE, 3.0, cauchy),
    "qif_cumulants": Network(
        ("",),
        plain,
        {"J": 6.0, "eta": 0.0, "sigma": 0.5},
        ONE | dict.fromkeys("abef", 0.0),
        2.0,
        gaussian,
    ),
    "qif_conductance": Network(("",), conductance, {"eta": 0.0, "g": 3.0}, ONE | {"s": 0.1, "x": 0.1}, 3.0),
    "qif_izhikevich": Network(
        ("",), izhikevich, {"eta": 0.5, "delta": 0.5, "b": 0.0}, ONE | {"w": 0.1, "s": 0.1}, 1.0
    ),
    "qif_bimodal": Network(
        ("_1", "_2"), halves, {"J": 8.0}, {"r_1": 0.1, "v_1": -1.0, "r_2": 0.3, "v_2": 0.0}, 2.0
    ),
    "qif_pair": Network(
        ("_e", "_i"),
        pair,
        {"J_ee": 4.0, "J_ei": -6.0, "J_ie": 8.0, "eta_e": 1.0},
        PAIR | {"r_e": 0.3, "r_i": 0.2},
        2.0,
    ),
    "qif_pair_synapse": Network(("_e", "_i"), synapses(1), {}, PAIR | {"s_e": 0.02, "s_i": 0.02}, 10.0),
    "qif_pair_alpha": Network(
        ("_e", "_i"),
        synapses(2),
        {},
        PAIR | {"s_e": 0.02, "s_i": 0.02, "x_e": 0.02, "x_i": 0.02},
        8.0,
    ),
    "qif_pair_couplings": Network(
        ("_e", "_i"),
        couplings,
        {"J_ee": 3.0, "J_ie": 8.0},
        PAIR | dict.fromkeys(("s_ee", "s_ei", "s_ie", "s_ii"), 0.02),
        12.0,
    ),
    "qif_memory": Network(
        ("_1", "_2", "_i"),
        memory,
        {"eta_1": 4.0, "eta_2": 2.0, "tau_1": 5.0, "tau_2": 5.0, "tau_i": 4.0, "tau_f": 50.0, "tau_d": 20.0}
        | {"J_same": 22.0, "delta_1": 1.0, "delta_2": 1.0, "delta_i": 1.0},
        {f"{n}_{a}": x for a in "12" for n, x in (("r", 0.05), ("v", -0.5), ("u", 0.3), ("x", 0.9))}
        | {"r_i": 0.05, "v_i": -0.3},
        4.0,
    ),
}


def parameters_of(name: str) -> Values:
    model = qs.models()[name]
    return {p.name: float(p.default or 0.0) for p in model.parameters} | NETWORKS[name].given


def lorentzian(count: int, centre: float, width: float, a: float = BALANCE) -> Array:
    """Return quantiles, the outermost moved out as in benchmarks/network.py."""
    half = (np.arange(count // 2) + a) / count
    one = np.tan(math.pi * (0.5 - half))
    both: Array = centre + width * np.concatenate([-one, one[::-1]])
    return both


def mixed(values: Array) -> Array:
    """Return the values in the order of a golden-ratio sequence: phases have nothing to do with eta."""
    order = np.argsort(np.modf(np.arange(len(values)) * 0.6180339887498949)[0])
    found: Array = values[np.argsort(order)]
    return found


def flow(V: Array, eta: Array, h: float) -> tuple[Array, Array]:
    """Return V' = V^2 + eta after h, exactly, and who passed through infinity (at most once in h)."""
    k = np.sqrt(np.abs(eta))
    x = k * h
    with np.errstate(all="ignore"):
        b = np.where(eta > 0.0, k / np.tan(x), k / np.tanh(x))
    b = np.where(x < 1e-8, 1.0 / h, b)
    spiked = b < V
    # A neuron of the far tail turns faster than h: it spikes the whole number of half turns as well.
    whole = np.where(eta > 0.0, np.floor(x / math.pi), 0.0)
    return (b * V + eta) / (b - V), whole + spiked


def network_rates(name: str, count: int, t_end: float, seed: int = 0) -> Array:
    """Return the rate of the first population in bins, 1/ms."""
    made, p, rng = NETWORKS[name], parameters_of(name), np.random.default_rng(seed)
    V, eta, spikes = {}, {}, dict.fromkeys(made.populations, 0.0)
    for of in made.populations:
        eta[of] = lorentzian(count, p[f"eta{of}"], p[f"delta{of}"])
        width = math.pi * p[f"tau{of}"] * made.start[f"r{of}"]
        V[of] = mixed(lorentzian(count, made.start[f"v{of}"], width, 0.5))
        spikes[of] = made.start[f"r{of}"] * STEP
    slow = {key: x for key, x in made.start.items() if key[0] not in "rv"}
    steps, per_bin = round(t_end / STEP), round(BIN / STEP)
    counted, means = np.zeros(steps), dict.fromkeys(made.populations, 0.0)
    for step in range(steps):
        rates = {of: n / STEP for of, n in spikes.items()}
        if step % 10 == 0:
            means = {of: _mean(V[of]) for of in made.populations}
        now = Step(STEP, rates, slow)
        made.rule(now, p, means)
        for k, of in enumerate(made.populations):
            push = made.push if (k == 0 or name == "qif_bimodal") and step * STEP >= 0.25 * t_end else 0.0
            shift = 0.5 * now.opened.get(of, 0.0)
            h = STEP / p[f"tau{of}"]
            kick = now.kick.get(of, 0.0)
            noise = made.noise(rng, p, STEP, count) if made.noise else 0.0
            current = eta[of] + push + now.current.get(of, 0.0) - shift * shift
            W, fired = flow(V[of] + kick + noise - shift, current, h)
            V[of] = W + shift
            spikes[of] = float(fired.sum()) / count
        counted[step] = spikes[made.populations[0]]
    found: Array = counted[: steps // per_bin * per_bin].reshape(-1, per_bin).sum(axis=1) / BIN
    return found


def _mean(V: Array) -> float:
    """Return the mean potential by the order parameter, which exists where the mean of V does not."""
    z = ((1.0 + 1j * V) / (1.0 - 1j * V)).mean()
    return float(((1.0 - z.conjugate()) / (1.0 + z.conjugate())).imag)


def field_rates(name: str, t_end: float) -> Array:
    """Return the rate of the mean field in the same bins."""
    made, p, model = NETWORKS[name], parameters_of(name), qs.models()[name]
    constants = model.constants(p)
    edges = np.arange(round(t_end / BIN) + 1) * BIN

    def part(t0: float, t1: float, y: Sequence[float], push: float) -> Any:
        inputs = tuple(push if v == model.stimulated else 0.0 for v in model.variable_names)

        def slopes(t: float, z: Any) -> list[Any]:
            return [*model.field(tuple(z[:-1]), inputs, constants), z[0]]

        times = edges[(edges >= t0 - 1e-9) & (edges <= t1 + 1e-9)]
        return solve_ivp(slopes, (t0, t1), y, "DOP853", times, rtol=1e-8, atol=1e-10)

    start = [made.start[v] for v in model.variable_names]
    first = part(0.0, 0.25 * t_end, [*start, 0.0], 0.0)
    second = part(0.25 * t_end, t_end, first.y[:, -1], made.push)
    total: Array = np.concatenate([first.y[-1], second.y[-1][1:]])
    return np.diff(total) / BIN


def error(name: str, count: int, t_end: float = 40.0, seed: int = 0) -> float:
    """Return the r.m.s. error of the network's rate, relative to the range of the mean field's."""
    wanted = field_rates(name, t_end)
    found = network_rates(name, count, t_end, seed)[: len(wanted)]
    return float(np.sqrt(np.mean((found - wanted) ** 2)) / np.ptp(wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 4000, 16000])
    parser.add_argument("--model", nargs="*", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--output", type=Path, default=Path("networks.json"))
    options = parser.parse_args()
    print(f"{'model':24}" + "".join(f"{f'N = {n:,}':>14}" for n in options.sizes) + f"{'time':>10}")
    record = {}
    for name in options.model:
        begin = time.process_time()
        record[name] = [error(name, n) for n in options.sizes]
        told = "".join(f"{x:14.2%}" for x in record[name])
        print(f"{name:24}{told}{time.process_time() - begin:8.0f} s", flush=True)
    options.output.write_text(json.dumps({"sizes": options.sizes, "errors": record}, indent=1))


if __name__ == "__main__":
    main()
