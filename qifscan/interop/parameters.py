"""Models of The Virtual Brain and of PyRates as scans: their names, units and conventions in ours.

A row says which model of ours has the equations of one of theirs, and what its parameters are there. Both are
read by name: neither program is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.errors import Fault, Names, ScanError, is_number, near, show
from qifscan.scan.protocol import Protocol
from qifscan.scan.scan import Scan

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class TheirModel:
    """A model of another program: its parameters with defaults, and ours from them.

    `parameters` and `state` turn numbers of theirs into ours; `state` gets the parameters too. `noisy` names
    the variables whose equations get noise there, with the time constants of ours that these are divided by.
    Time constants, and the parameters `above`, are above 0.
    """

    model: str
    defaults: Numbers
    variables: tuple[str, ...]
    parameters: Callable[[Numbers], dict[str, float]]
    state: Callable[[Numbers, Numbers], dict[str, float]]
    noisy: tuple[tuple[str, str, str], ...] = (("r", "r", "tau"), ("V", "v", "tau"))
    above: tuple[str, ...] = ()


def _over(value: float, strength: float) -> float:
    """Return what, times a strength, is a value: NaN where nothing is."""
    if strength:
        return value / strength
    return math.nan if value else 0.0


def _neurons(p: Numbers) -> dict[str, float]:
    return {"tau": p["tau"], "delta": p["Delta"], "eta": p["eta"] + p["I"], "J": p["J"]}


def _adapting(p: Numbers) -> dict[str, float]:
    """Their A' = B/tau_A, B' = (alpha r - 2 B - A)/tau_A: alpha is divided by tau_A, ours is not."""
    return _neurons(p) | {"alpha": p["alpha"] / p["tau_A"], "tau_a": p["tau_A"]}


def _coombes(p: Numbers) -> dict[str, float]:
    """Their g = kappa pi s, with the lag (1 + l/alpha)^2, and no time constant tau: it is 1."""
    synapse = {"g": p["k"] * math.pi, "e_s": p["v_syn"], "tau_d": 1.0 / p["alpha"], "g_gap": 0.0}
    return {"tau": 1.0, "delta": p["Delta"], "eta": p["eta"], **synapse}


def _dumont(p: Numbers) -> dict[str, float]:
    """Their s_ab holds J_ab, and that of inhibition is subtracted; one tau_s for all."""
    found = {f"tau_s{a}{b}": p["tau_s"] for a in "ei" for b in "ei"}
    for a in "ei":
        found |= {f"tau_{a}": p[f"tau_{a}"], f"delta_{a}": p[f"Delta_{a}"]}
        found |= {f"eta_{a}": p[f"eta_{a}"] + p[f"I_{a}"]}
        found |= {f"J_{a}e": p[f"J_{a}e"], f"J_{a}i": -p[f"J_{a}i"]}
    return found


def _dumont_state(y: Numbers, p: Numbers) -> dict[str, float]:
    found = {f"{name}_{a}": y[f"{name.upper() if name == 'v' else name}_{a}"] for a in "ei" for name in "rv"}
    for a in "ei":
        for b in "ei":
            found[f"s_{a}{b}"] = _over(y[f"s_{a}{b}"], p[f"J_{a}{b}"])
    return found


_PLAIN = {"tau": 1.0, "I": 0.0, "Delta": 1.0, "J": 15.0, "eta": -5.0}
_SLOW = _PLAIN | {"tau_A": 10.0, "Delta": 2.0, "J": 21.2132}

TVB: dict[str, TheirModel] = {
    "MontbrioPazoRoxin": TheirModel(
        "qif", _PLAIN, ("r", "V"), _neurons, lambda y, p: {"r": y["r"], "v": y["V"]}
    ),
    "GastSchmidtKnosche_SF": TheirModel(
        "qif_adaptation_alpha",
        _SLOW | {"alpha": 10.0, "eta": 1.0},
        ("r", "V", "A", "B"),
        _adapting,
        lambda y, p: {"r": y["r"], "v": y["V"], "a": y["A"], "b": y["B"]},
    ),
    "GastSchmidtKnosche_SD": TheirModel(
        "qif_depression_alpha",
        _SLOW | {"alpha": 0.5, "eta": -6.0},
        ("r", "V", "A", "B"),
        _adapting,
        lambda y, p: {"r": y["r"], "v": y["V"], "a": y["A"], "b": y["B"]},
    ),
    "CoombesByrne": TheirModel(
        "qif_conductance",
        {"Delta": 0.5, "alpha": 0.95, "v_syn": -10.0, "k": 1.0, "eta": 20.0},
        ("r", "V", "g", "q"),
        _coombes,
        lambda y, p: {
            **{"r": y["r"], "v": y["V"], "s": _over(y["g"], p["k"] * math.pi)},
            **{"x": _over(y["g"] + y["q"], p["k"] * math.pi)},
        },
        above=("alpha",),
    ),
    "DumontGutkin": TheirModel(
        "qif_pair_couplings",
        {
            f"{name}_{a}": x
            for name, x in (("I", 0.0), ("Delta", 1.0), ("eta", -5.0), ("tau", 10.0))
            for a in "ei"
        }
        | {"tau_s": 1.0, "J_ee": 0.0, "J_ei": 10.0, "J_ie": 0.0, "J_ii": 15.0},
        ("r_e", "V_e", "s_ee", "s_ei", "r_i", "V_i", "s_ie", "s_ii"),
        _dumont,
        _dumont_state,
        tuple((f"{t}_{a}", f"{o}_{a}", f"tau_{a}") for a in "ei" for t, o in (("r", "r"), ("V", "v"))),
    ),
}
"""Models of The Virtual Brain 2.10, of one node."""

_BETWEEN_NODES = {"cr", "cv", "Gamma"}
"""Parameters of theirs that act on the input from other nodes alone."""


def _qif(p: Numbers) -> dict[str, float]:
    return {"tau": p["tau"], "delta": p["Delta"], "eta": p["eta"] + p["I_ext"], "J": p["weight"]}


_PYRATES = {"Delta": 1.0, "tau": 1.0, "eta": -5.0, "I_ext": 0.0, "weight": 15.0}


def _same(*names: tuple[str, str]) -> Callable[[Numbers, Numbers], dict[str, float]]:
    return lambda y, p: {"r": y["r"], "v": y["v"]} | {own: y[theirs] for own, theirs in names}


def _conduct(p: Numbers) -> dict[str, float]:
    """Their g tau s, s' = weight r - s/tau_s, is g s of ours; and there is no recovery, nor a threshold."""
    synapse = {"g": p["g"] * p["tau"] * p["weight"], "e_s": p["e_r"], "tau_s": p["tau_s"]}
    without = {"a": 0.0, "b": 0.0, "jump": 0.0}
    return {"tau": p["tau"], "delta": p["Delta"], "eta": p["eta"] + p["I_ext"], **synapse, **without}


PYRATES: dict[str, TheirModel] = {
    "qif": TheirModel("qif", _PYRATES, ("r", "v"), _qif, _same(), ()),
    "qif_sfa": TheirModel(
        "qif_adaptation_alpha",
        _PYRATES | {"alpha": 0.5, "tau_a": 10.0},
        ("r", "v", "a", "x"),
        lambda p: _qif(p) | {"alpha": p["alpha"], "tau_a": p["tau_a"]},
        _same(("a", "a"), ("b", "x")),
        (),
    ),
    "qif_gap": TheirModel(
        "qif_gap", _PYRATES | {"g": 0.0}, ("r", "v"), lambda p: _qif(p) | {"g": p["g"]}, _same(), ()
    ),
    "qif_conduct": TheirModel(
        "qif_izhikevich",
        _PYRATES | {"g": 5.0, "e_r": 1.0, "tau_s": 2.0, "weight": 1.0},
        ("r", "v", "s"),
        _conduct,
        lambda y, p: {"r": y["r"], "v": y["v"], "w": 0.0, "s": _over(y["s"], p["weight"])},
        (),
    ),
}
"""Circuit templates of PyRates 1.2: model_templates.neural_mass_models.qif.<name>."""


def from_tvb(
    model: Any,
    *,
    initial: Mapping[str, float] | None = None,
    nsig: float | tuple[float, float] | None = None,
    noise_amp: float | None = None,
    noise_tau: float = 0.1,
    **parameters: float,
) -> Scan:
    """Return the scan of one point that is a node of The Virtual Brain.

    White noise dX = ... + (2 nsig)^(1/2) dW on r and V becomes an Ornstein-Uhlenbeck input with the time
    constant `noise_tau` and as much power at slow frequencies, sigma = tau (2 nsig)^(1/2)/noise_tau: the same
    for what is much slower than `noise_tau`. Axes, protocol and observables are set by `scan.replace(...)`;
    `scan.fixed` are the parameters.

    Parameters
    ----------
    model
        An instance of a model of TVB, whose parameters are read off, or its name, with its defaults:
        MontbrioPazoRoxin (qif), GastSchmidtKnosche_SF and _SD (qif_adaptation_alpha, qif_depression_alpha),
        CoombesByrne (qif_conductance), DumontGutkin (qif_pair_couplings).
    initial
        The state by TVB's names.
    nsig
        Strength of TVB's noise, for r and V: one number or two.
    noise_amp
        Strength of the noise in TVB's and vbi's examples: nsig = (noise_amp, 2 noise_amp).
    noise_tau
        Time constant of our noise, ms.
    **parameters
        Numbers by TVB's names in place of those of the model. I is added to eta; alpha of adaptation is alpha
        tau_a there; inhibition is subtracted there, and s_ab holds J_ab.

    Returns
    -------
    Scan
        A scan without axes, of the model of ours.

    Raises
    ------
    ScanError
        For a model that has no row, for parameters of several nodes, and for an initial state of synapses
        that is not 0 though their strength is: ours hold spikes, which the strength multiplies.

    Notes
    -----
    tvb-library 2.10, tvb/simulator/models/infinite_theta.py.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.from_tvb("MontbrioPazoRoxin", J=14.5).fixed["J"]
    14.5
    """
    name, given = _read(model, TVB)
    row = _row(name, TVB)
    values = _values(row, given | parameters, _BETWEEN_NODES)
    fixed = row.parameters(values) | _noise(row, row.parameters(values), nsig, noise_amp, noise_tau)
    return _scan(row, fixed, values, initial)


def from_pyrates(template: str, *, initial: Mapping[str, float] | None = None, **parameters: float) -> Scan:
    """Return the scan of one point that is a circuit of PyRates with one population.

    Parameters
    ----------
    template
        Name of the circuit, also with its path before it: "qif", "qif_sfa" (qif_adaptation_alpha), "qif_gap"
        or "qif_conduct" (qif_izhikevich without recovery).
    initial
        The state by PyRates' names, with or without their path; x of adaptation is b.
    **parameters
        Numbers by PyRates' names in place of its defaults; what stands before the last "/" of a name does not
        count, so one name may be given once. `weight`, that of the edge, is J; I_ext is added to eta.

    Returns
    -------
    Scan
        A scan without axes, of the model of ours.

    Raises
    ------
    ScanError
        For a circuit that has no row, and for an initial state as `from_tvb` does.

    Notes
    -----
    PyRates 1.2, model_templates/neural_mass_models/qif.yaml.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.from_pyrates("qif", eta=-5.0).fixed["eta"]
    -5.0
    """
    name = template.rpartition(".")[2] if isinstance(template, str) else template
    row = _row(name, PYRATES)
    values = _values(row, _without_paths("parameters", parameters), set())
    if isinstance(initial, Mapping):
        initial = _without_paths("initial", initial)
    return _scan(row, row.parameters(values), values, initial)


def _without_paths(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers by their names without paths."""
    short = [str(key).rpartition("/")[2] for key in given]
    twice = [name for k, name in enumerate(short) if name in short[:k]]
    if twice:
        hint = "paths don't count: the circuit has one population"
        raise ScanError([Fault(f"{where}.{name}", "two values", "one", hint) for name in twice])
    return dict(zip(short, given.values(), strict=True))


def _unknown(where: str, name: Any, known: Iterable[str], kind: str = "") -> Fault:
    """Return the fault of a name that is not known, with all of those that are: no command lists them."""
    names = tuple(known)
    found = f"unknown {kind} {show(name)}" if kind else show(name)
    return Fault(where, found, Names(f"one of {', '.join(names)}", names), near(str(name), names))


def _read(model: Any, rows: Mapping[str, TheirModel]) -> tuple[str, dict[str, Any]]:
    """Return the name of a model and the parameters of an instance."""
    if isinstance(model, str):
        return model, {}
    name = type(model).__name__
    if name not in rows:
        raise ScanError([_unknown("model", name, rows)])
    known = rows[name].defaults
    return name, {key: getattr(model, key) for key in known if hasattr(model, key)}


def _row(name: Any, rows: Mapping[str, TheirModel]) -> TheirModel:
    if not isinstance(name, str) or name not in rows:
        raise ScanError([_unknown("model", name, rows)])
    return rows[name]


def _number(where: str, value: Any, hint: str = "") -> float | Fault:
    """Return a number, also one that an array holds alone, or what is wrong with it."""
    array = np.asarray(value, dtype=object).ravel()
    if len(array) == 1:
        alone = array[0].item() if hasattr(array[0], "item") else array[0]
        if is_number(alone):
            return float(alone)
        hint = ""
    return Fault(where, show(value), "one number", hint)


def _values(row: TheirModel, given: Mapping[str, Any], ignored: set[str]) -> dict[str, float]:
    """Return every parameter of theirs as a number."""
    faults = [
        _unknown("parameters", n, row.defaults, "parameter")
        for n in given
        if n not in {*row.defaults, *ignored}
    ]
    found = dict(row.defaults)
    for key, value in given.items():
        where = f"parameters.{key}"
        number = _number(where, value, "make several nodes an axis: scan.replace(axes=...)")
        if not isinstance(number, float):
            faults.append(number)
        elif (key.startswith("tau") or key in row.above) and not number > 0.0:
            faults.append(Fault(where, show(number), "a number above 0"))
        elif key in found:
            found[key] = number
    if faults:
        raise ScanError(faults)
    return found


def _noise(
    row: TheirModel, ours: Mapping[str, float], nsig: Any, noise_amp: Any, noise_tau: float
) -> dict[str, float]:
    """Return sigma and tau of the inputs with as much power at frequency 0 as the white noise."""
    if nsig is not None and noise_amp is not None:
        raise ScanError([Fault("nsig, noise_amp", "both", "one of them")])
    if nsig is None and noise_amp is None:
        return {}
    if not is_number(noise_tau) or not noise_tau > 0.0:
        raise ScanError([Fault("noise_tau", show(noise_tau), "a number above 0")])
    where, given, most = ("nsig", nsig, 2) if noise_amp is None else ("noise_amp", noise_amp, 1)
    strengths = np.asarray(given, dtype=object).ravel().tolist()
    if not (1 <= len(strengths) <= most and all(is_number(x) and x >= 0.0 for x in strengths)):
        expected = "one number or two, 0 or above" if most == 2 else "a number, 0 or above"
        raise ScanError([Fault(where, show(given), expected)])
    on_r = float(strengths[0])
    on_v = 2.0 * on_r if where == "noise_amp" else float(strengths[-1])
    found = {}
    for theirs, own, tau in row.noisy:
        strength = on_r if theirs[0] == "r" else on_v
        if strength:
            found[f"{own}_ou_sigma"] = ours[tau] * math.sqrt(2.0 * strength) / noise_tau
            found[f"{own}_ou_tau"] = noise_tau
    return found


def _scan(
    row: TheirModel, fixed: Mapping[str, float], values: Numbers, initial: Mapping[str, float] | None
) -> Scan:
    if initial is None:
        return Scan(model=row.model, fixed=dict(fixed))
    if not isinstance(initial, Mapping):
        raise ScanError([Fault("initial", show(initial), "a number for each variable, by name")])
    faults = [_unknown("initial", n, row.variables, "variable") for n in initial if n not in row.variables]
    faults += [
        Fault("initial", f"no {n}", "a number for each variable") for n in row.variables if n not in initial
    ]
    if faults:
        raise ScanError(faults)
    read = {key: _number(f"initial.{key}", x) for key, x in initial.items()}
    begin = {key: x for key, x in read.items() if isinstance(x, float)}
    if len(begin) < len(read):
        raise ScanError([x for x in read.values() if isinstance(x, Fault)])
    state = row.state(begin, values)
    hint = "ours hold spikes, which the strength multiplies"
    lost = [name for name, value in state.items() if math.isnan(value)]
    if lost:
        what = f"synapses of strength 0 that are active ({', '.join(lost)} of ours)"
        raise ScanError([Fault("initial", what, "0 there", hint)])
    return Scan(model=row.model, fixed=dict(fixed), protocol=Protocol(initial=state))
