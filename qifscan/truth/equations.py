"""The equations of all models, written from the papers that the models name; drives; and what a point is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Values = dict[str, Any]


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


def _joined(y: Any, p: Values, current: Any, stages: int) -> Any:
    """Return the slopes of two populations whose synapses have one or two stages: s, or x and then s."""
    size = 2 + stages
    sent = {"e": y[2], "i": y[size + 2]}
    slopes: list[Any] = []
    for place, a, outer in ((0, "e", current), (size, "i", 0.0)):
        r, v, *own = y[place : place + size]
        tau, lag = p[f"tau_{a}"], p[f"tau_s{a}"]
        slopes.append((p[f"delta_{a}"] / (math.pi * tau) + p[f"r_{a}_ou_mean"] + 2.0 * r * v) / tau)
        excitation, inhibition = p[f"J_{a}e"] + p["eps"], p[f"J_{a}i"]
        push = p[f"eta_{a}"] + outer + p[f"v_{a}_ou_mean"]
        push = push + tau * excitation * sent["e"] + tau * inhibition * sent["i"]
        slopes.append((v**2 + push - (math.pi * tau * r) ** 2) / tau)
        slopes += [(before - stage) / lag for stage, before in zip(own, [*own[1:], r], strict=True)]
    return tuple(slopes)


def _pair_synapse(y: Any, p: Values, current: Any, past: Any) -> Any:
    return _joined(y, p, current, 1)


def _pair_alpha(y: Any, p: Values, current: Any, past: Any) -> Any:
    return _joined(y, p, current, 2)


def _pair_couplings(y: Any, p: Values, current: Any, past: Any) -> Any:
    slopes: list[Any] = []
    for place, a, outer in ((0, "e", current), (4, "i", 0.0)):
        r, v, *own = y[place : place + 4]
        tau = p[f"tau_{a}"]
        slopes.append((p[f"delta_{a}"] / (math.pi * tau) + p[f"r_{a}_ou_mean"] + 2.0 * r * v) / tau)
        push = p[f"eta_{a}"] + outer + p[f"v_{a}_ou_mean"] + tau * p[f"J_{a}e"] * own[0]
        slopes.append((v**2 + push + tau * p[f"J_{a}i"] * own[1] - (math.pi * tau * r) ** 2) / tau)
        slopes += [(y[4 * k] - own[k]) / p[f"tau_s{a}{b}"] for k, b in enumerate("ei")]
    return tuple(slopes)


def _bimodal(y: Any, p: Values, current: Any, past: Any) -> Any:
    slopes: list[Any] = []
    mean = p["share"] * y[0] + (1.0 - p["share"]) * y[2]
    for a, r, v in (("1", y[0], y[1]), ("2", y[2], y[3])):
        tau = p[f"tau_{a}"]
        slopes.append((p[f"delta_{a}"] / (math.pi * tau) + p["r_1_ou_mean"] + 2.0 * r * v) / tau)
        push = p[f"eta_{a}"] + current + p["v_1_ou_mean"] + tau * p["J"] * mean
        slopes.append((v**2 + push - (math.pi * tau * r) ** 2) / tau)
    return tuple(slopes)


def _cauchy(y: Any, p: Values, current: Any, past: Any) -> Any:
    return _plain(y, {**p, "delta": p["delta"] + p["gamma"]}, current, past)


def _conductance(y: Any, p: Values, current: Any, past: Any) -> Any:
    r, v, s, x = y
    opened = p["g"] * p["tau"] * s
    dr = _rate(y, p) - (opened + p["g_gap"]) * r / p["tau"]
    return dr, _potential(y, p, current, opened * (p["e_s"] - v)), (x - s) / p["tau_d"], (r - x) / p["tau_d"]


def _izhikevich(y: Any, p: Values, current: Any, past: Any) -> Any:
    r, v, w, s = y
    opened = p["g"] * s
    dr = _rate(y, p) - (p["a"] + opened) * r / p["tau"]
    dv = _potential(y, p, current, opened * (p["e_s"] - v) - w - p["a"] * v)
    return dr, dv, (p["b"] * v - w) / p["tau_w"] + p["jump"] * r, r - s / p["tau_s"]


def _cumulants(y: Any, p: Values, current: Any, past: Any) -> Any:
    # In pairs of real numbers, as the imaginary part of y is that of tangents.
    def times(one: Any, other: Any) -> Any:
        return one[0] * other[0] - one[1] * other[1], one[0] * other[1] + one[1] * other[0]

    first, second, third = (math.pi * p["tau"] * y[0], -y[1]), (y[2], y[3]), (y[4], y[5])
    push = p["eta"] + current + p["v_ou_mean"] + p["J"] * p["tau"] * y[0]
    width = p["delta"] + math.pi * p["tau"] * p["r_ou_mean"]
    square, with_second, with_third = (times(first, other) for other in (first, second, third))
    of_second = times(second, second)
    slopes = (
        (width - square[1] + second[1]) / math.pi / p["tau"],
        push - square[0] + second[0],
        2.0 * p["sigma"] ** 2 - 4.0 * (with_second[1] - third[1]),
        4.0 * (with_second[0] - third[0]),
        -3.0 * (2.0 * with_third[1] + of_second[1]),
        3.0 * (2.0 * with_third[0] + of_second[0]),
    )
    return tuple(slope / p["tau"] for slope in slopes)


def _memory(y: Any, p: Values, current: Any, past: Any) -> Any:
    released = {"1": y[0] * y[2] * y[3], "2": y[4] * y[6] * y[7]}
    slopes: list[Any] = []
    for a, other, place, outer in (("1", "2", 0, current), ("2", "1", 4, 0.0), ("i", "", 8, 0.0)):
        r, v = y[place : place + 2]
        tau = p[f"tau_{a}"]
        if a == "i":
            coupling = p["J_ie"] * (y[0] + y[4]) + p["J_ii"] * r
        else:
            coupling = p["J_same"] * released[a] + p["J_other"] * released[other] + p["J_ei"] * y[8]
        slopes.append((p[f"delta_{a}"] / (math.pi * tau) + p[f"r_{a}_ou_mean"] + 2.0 * r * v) / tau)
        push = p[f"eta_{a}"] + outer + p[f"v_{a}_ou_mean"] + tau * coupling
        slopes.append((v**2 + push - (math.pi * tau * r) ** 2) / tau)
        if a != "i":
            u, x = y[place + 2 : place + 4]
            slopes.append((p["U"] - u) / p["tau_f"] + p["U"] * (1.0 - u) * r)
            slopes.append((1.0 - x) / p["tau_d"] - u * x * r)
    return tuple(slopes)


@dataclass(frozen=True)
class Equations:
    """A model as the truth has it: `slopes(y, parameters, drive, past rate)`; further parameters with the
    range that they are drawn from; of each rate its place, and the parameter tau of it; and places of two
    variables that are one process, as an alpha function and its slope."""

    variables: tuple[str, ...]
    slopes: Callable[[Any, Values, Any, Any], Any]
    further: dict[str, tuple[float, float]] = field(default_factory=dict)
    rates: tuple[tuple[int, str], ...] = ((0, "tau"),)
    pairs: tuple[tuple[int, int], ...] = ()


_ADAPTING = {"alpha": (0.0, 2.0), "tau_a": (1.0, 1000.0)}
_JOINED = {"tau_se": (0.5, 20.0), "tau_si": (0.5, 20.0), "eps": (0.0, 20.0)}
MODELS = {
    "qif": Equations(("r", "v"), _plain),
    "qif_adaptation_alpha": Equations(("r", "v", "a", "b"), _adaptation_alpha, _ADAPTING, pairs=((2, 3),)),
    "qif_adaptation_exponential": Equations(("r", "v", "a"), _adaptation_exponential, _ADAPTING),
    "qif_depression_alpha": Equations(("r", "v", "a", "b"), _depression_alpha, _ADAPTING, pairs=((2, 3),)),
    "qif_depression_exponential": Equations(("r", "v", "a"), _depression_exponential, _ADAPTING),
    "qif_plasticity": Equations(
        ("r", "v", "u", "x"),
        _plasticity,
        {"U": (0.05, 1.0), "tau_f": (10.0, 1500.0), "tau_d": (10.0, 500.0)},
    ),
    "qif_synapse": Equations(("r", "v", "s"), _synapse, {"tau_d": (0.5, 20.0)}),
    "qif_gap": Equations(("r", "v"), _gap, {"g": (0.0, 5.0)}),
    "qif_pair": Equations(("r_e", "v_e", "r_i", "v_i"), _pair, {}, ((0, "tau_e"), (2, "tau_i"))),
    "qif_pair_synapse": Equations(
        ("r_e", "v_e", "s_e", "r_i", "v_i", "s_i"),
        _pair_synapse,
        _JOINED,
        ((0, "tau_e"), (3, "tau_i")),
    ),
    "qif_pair_alpha": Equations(
        ("r_e", "v_e", "s_e", "x_e", "r_i", "v_i", "s_i", "x_i"),
        _pair_alpha,
        _JOINED,
        ((0, "tau_e"), (4, "tau_i")),
    ),
    "qif_pair_couplings": Equations(
        ("r_e", "v_e", "s_ee", "s_ei", "r_i", "v_i", "s_ie", "s_ii"),
        _pair_couplings,
        {f"tau_s{a}{b}": (0.5, 20.0) for a in "ei" for b in "ei"},
        ((0, "tau_e"), (4, "tau_i")),
    ),
    "qif_bimodal": Equations(
        ("r_1", "v_1", "r_2", "v_2"), _bimodal, {"share": (0.05, 0.95)}, ((0, "tau_1"), (2, "tau_2"))
    ),
    "qif_cauchy": Equations(("r", "v"), _cauchy, {"gamma": (0.0, 5.0)}),
    "qif_conductance": Equations(
        ("r", "v", "s", "x"),
        _conductance,
        {"g": (0.0, 20.0), "e_s": (-10.0, 10.0), "g_gap": (0.0, 5.0), "tau_d": (0.5, 20.0)},
    ),
    "qif_izhikevich": Equations(
        ("r", "v", "w", "s"),
        _izhikevich,
        {
            **{"a": (-1.0, 2.0), "g": (0.0, 10.0), "e_s": (-10.0, 10.0), "b": (-1.0, 1.0)},
            **{"jump": (0.0, 1.0), "tau_w": (5.0, 500.0), "tau_s": (0.5, 20.0)},
        },
    ),
    "qif_cumulants": Equations(
        ("r", "v", "a", "b", "e", "f"), _cumulants, {"sigma": (0.0, 0.5)}, pairs=((2, 3), (4, 5))
    ),
    "qif_memory": Equations(
        ("r_1", "v_1", "u_1", "x_1", "r_2", "v_2", "u_2", "x_2", "r_i", "v_i"),
        _memory,
        {
            **{"J_same": (0.0, 60.0), "J_other": (0.0, 20.0), "J_ei": (-30.0, 0.0), "J_ie": (0.0, 30.0)},
            **{"J_ii": (-30.0, 0.0), "U": (0.05, 1.0), "tau_f": (10.0, 1500.0), "tau_d": (10.0, 500.0)},
        },
        ((0, "tau_1"), (4, "tau_2"), (8, "tau_i")),
    ),
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
    amplitude = float(p["drive_amplitude"])
    if kind == "constant":
        return amplitude
    if kind == "pulse":
        return amplitude if p["drive_start"] <= t < p["drive_start"] + p["drive_length"] else 0.0
    if kind == "ramp":
        return amplitude * float(min(max((t - p["drive_start"]) / p["drive_length"], 0.0), 1.0))
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


def folds(p: Values) -> tuple[float, float] | None:
    """Return the rates at the first and last fold of the plain model: zeros of the derivative of eta(r).

    None where there are none, and for several populations."""
    if "J" not in p or "tau" not in p:
        return None
    tau, width = p["tau"], p["delta"] + math.pi * p["tau"] * p["r_ou_mean"]
    # eta = (pi tau r)^2 - J tau r - (width / (2 pi tau r))^2, times r^3 after the derivative.
    square = 2.0 * (width / (2.0 * math.pi * tau)) ** 2
    found = np.roots([2.0 * (math.pi * tau) ** 2, -p["J"] * tau, 0.0, 0.0, square])
    real = np.sort(found.real[(np.abs(found.imag) < 1e-9 * np.abs(found)) & (found.real > 0.0)])
    return (float(real[0]), float(real[-1])) if len(real) > 1 else None
