"""Mean-field models: state variables, parameters with unit, default and domain, vector field, rest.

A model is a row of `MODELS`, not a subclass. Its functions are written with operators alone, so the same
ones serve NumPy, JAX and automatic differentiation.

The relatives of the plain model add to it what the population does to itself: its v' has another coupling K,
tau v' = v^2 + eta + I + K - (pi tau r)^2, and slow variables that r drives. In all of them eta enters v'
alone, additively, and every other variable at rest is a function of r: their equilibria are a graph over r.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, NONZERO, POSITIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.printed import Printed


def neuron_constants(p: Mapping[str, Any], of: str = "") -> Constants:
    """Return what the equations of r and v of a population read, apart from its coupling."""
    tau = p[f"tau{of}"]
    return {
        f"rate{of}": 1.0 / tau,
        f"source{of}": p[f"delta{of}"] / (math.pi * tau),
        f"eta{of}": p[f"eta{of}"],
        f"pull{of}": (math.pi * tau) ** 2,
    }


def _qif_constants(p: Mapping[str, Any]) -> Constants:
    return neuron_constants(p) | {"coupling": p["J"] * p["tau"]}


def _qif_field(state: State, inputs: State, c: Constants) -> State:
    r, v = state
    input_r, input_v = inputs
    dr = (c["source"] + 2.0 * r * v + input_r) * c["rate"]
    dv = (v * v + c["eta"] + input_v + (c["coupling"] - c["pull"] * r) * r) * c["rate"]
    return dr, dv


def squares_of_population(state: State, c: Constants) -> tuple[Any, ...]:
    """Return those of W = pi tau r + i v, in which the model is a complex Riccati equation; and of others."""
    r, v, *slow = state
    # Not (pull r) r, which the field has: what is used twice, XLA computes in a pass of its own.
    return c["pull"] * (r * r), v * v, *(y * y for y in slow)


def _potential(r: Any, p: Mapping[str, Any], of: str = "") -> Any:
    """Return the v at which r' = 0."""
    return -p[f"delta{of}"] / (2.0 * math.pi * p[f"tau{of}"] * r)


def population(of: str = "", named: str = "") -> tuple[Variable, Variable]:
    """Return the rate and the mean potential of a population, with the same ending as its parameters."""
    eta, delta, tau = f"eta{of}", f"delta{of}", f"tau{of}"

    def wider(p: Mapping[str, Any], mean: Any, more: Any) -> dict[str, Any]:
        return {delta: p[delta] + math.pi * p[tau] * (mean + more)}

    def shifted(p: Mapping[str, Any], mean: Any, more: Any) -> dict[str, Any]:
        return {eta: p[eta] + mean + more}

    rate = f"firing rate of the {named} population" if named else "population firing rate"
    potential = f"mean membrane potential{f' of the {named} population' if named else ''}"
    group = f"W{of}"
    return (
        Variable(f"r{of}", "1/ms", rate, "1/ms", POSITIVE, rate=True, group=group, absorbed=wider),
        Variable(f"v{of}", "1", potential, "1", group=group, absorbed=shifted),
    )


R, V = population()

NEURONS = (
    Parameter("tau", 1.0, "ms", "membrane time constant", POSITIVE),
    Parameter("eta", -5.0, "1", "centre of the Lorentzian of excitabilities"),
    Parameter("delta", 1.0, "1", "half-width of the Lorentzian of excitabilities", POSITIVE),
)
POPULATION = (*NEURONS, Parameter("J", 15.0, "1", "strength of the recurrent coupling"))

QIF = Model(
    name="qif",
    variables=(R, V),
    parameters=POPULATION,
    constants=_qif_constants,
    field=_qif_field,
    squares=squares_of_population,
    rest=lambda r, p: (r, _potential(r, p)),
    driven="v",
    plain=True,
    meaning="tau r' = delta/(pi tau) + 2 r v + z_r, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2 + z_v",
    reference="Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12",
)

Recurrent = Callable[[State, Constants], tuple[Any, tuple[Any, ...]]]


def relative(
    name: str,
    slow: tuple[Variable, ...],
    parameters: tuple[Parameter, ...],
    constants: Callable[[Mapping[str, Any]], Constants],
    recurrent: Recurrent,
    slow_rest: Callable[[Any, Mapping[str, Any]], tuple[Any, ...]],
    meaning: str,
    reference: str,
) -> Model:
    """Return the model with tau v' = v^2 + eta + I + K - (pi tau r)^2.

    `recurrent(state, constants)` returns K and the derivatives of the slow variables, `slow_rest` the values
    of these at rest at a rate.
    """

    def field(state: State, inputs: State, c: Constants) -> State:
        r, v = state[:2]
        input_r, input_v = inputs[:2]
        coupling, slopes = recurrent(state, c)
        dr = (c["source"] + 2.0 * r * v + input_r) * c["rate"]
        dv = (v * v + c["eta"] + input_v + coupling - c["pull"] * r * r) * c["rate"]
        return (dr, dv, *slopes)

    return Model(
        name=name,
        variables=(R, V, *slow),
        parameters=(*POPULATION, *parameters),
        constants=lambda p: _qif_constants(p) | constants(p),
        field=field,
        squares=squares_of_population,
        rest=lambda r, p: (r, _potential(r, p), *slow_rest(r, p)),
        driven="v",
        meaning=meaning,
        reference=reference,
        frame="tau r' = delta/(pi tau) + 2 r v, tau v' = v^2 + eta + I + K - (pi tau r)^2",
    )


ADAPTATION = Variable("a", "1", "adaptation", group="a")
ADAPTATION_CURRENT = Variable("b", "1", "tau_a times the rate of change of the adaptation", group="a")
ADAPTING = (
    Parameter("alpha", 1.0, "1", "strength of the adaptation", NON_NEGATIVE),
    Parameter("tau_a", 10.0, "ms", "time constant of the adaptation", POSITIVE),
)
GAST = "Gast, Schmidt, Knosche, Neural Comput. 32, 1615 (2020)"


def _adapting_constants(p: Mapping[str, Any]) -> Constants:
    return {"alpha": p["alpha"], "rate_a": 1.0 / p["tau_a"]}


def _alpha_kernel(r: Any, a: Any, b: Any, c: Constants) -> tuple[Any, Any]:
    return b * c["rate_a"], c["alpha"] * r - (2.0 * b + a) * c["rate_a"]


def _exponential_kernel(r: Any, a: Any, c: Constants) -> tuple[Any]:
    return (c["alpha"] * r - a * c["rate_a"],)


def _adapted(r: Any, p: Mapping[str, Any]) -> Any:
    return p["alpha"] * p["tau_a"] * r


def _adaptation_alpha(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, a, b = state
    return c["coupling"] * r - a, _alpha_kernel(r, a, b, c)


def _adaptation_exponential(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, a = state
    return c["coupling"] * r - a, _exponential_kernel(r, a, c)


def _depression_alpha(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, a, b = state
    return c["coupling"] * r * (1.0 - a), _alpha_kernel(r, a, b, c)


def _depression_exponential(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, a = state
    return c["coupling"] * r * (1.0 - a), _exponential_kernel(r, a, c)


def _plasticity(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, u, x = state
    du = (c["U"] - u) * c["rate_f"] + c["U"] * (1.0 - u) * r
    dx = (1.0 - x) * c["rate_d"] - u * x * r
    return c["coupling"] * u * x * r, (du, dx)


def _plasticity_rest(r: Any, p: Mapping[str, Any]) -> tuple[Any, Any]:
    u = p["U"] * (1.0 + p["tau_f"] * r) / (1.0 + p["U"] * p["tau_f"] * r)
    return u, 1.0 / (1.0 + p["tau_d"] * u * r)


def _synapse(state: State, c: Constants) -> tuple[Any, tuple[Any, ...]]:
    r, _, s = state
    return c["coupling"] * s, ((r - s) * c["rate_d"],)


def _gap_field(state: State, inputs: State, c: Constants) -> State:
    r, _ = state
    dr, dv = _qif_field(state, inputs, c)
    return dr - c["g"] * r * c["rate"], dv


def _pair_constants(p: Mapping[str, Any]) -> Constants:
    couplings = {f"J_{a}{b}": p[f"tau_{a}"] * p[f"J_{a}{b}"] for a in "ei" for b in "ei"}
    return neuron_constants(p, "_e") | neuron_constants(p, "_i") | couplings


def _pair_field(state: State, inputs: State, c: Constants) -> State:
    slopes = []
    for k, of in enumerate("ei"):
        (r, v), (input_r, input_v) = state[2 * k : 2 * k + 2], inputs[2 * k : 2 * k + 2]
        coupling = c[f"J_{of}e"] * state[0] + c[f"J_{of}i"] * state[2]
        slopes.append((c[f"source_{of}"] + 2.0 * r * v + input_r) * c[f"rate_{of}"])
        push = v * v + c[f"eta_{of}"] + input_v + coupling
        slopes.append((push - c[f"pull_{of}"] * r * r) * c[f"rate_{of}"])
    return tuple(slopes)


def _pair_squares(state: State, c: Constants) -> tuple[Any, ...]:
    r_e, v_e, r_i, v_i = state
    return c["pull_e"] * r_e * r_e, v_e * v_e, c["pull_i"] * r_i * r_i, v_i * v_i


def _pair_rest(r: Any, p: Mapping[str, Any]) -> State:
    """Return the state at which the excitatory population rests at rate r: it tells the inhibitory rate."""
    v = _potential(r, p, "_e")
    missing = (math.pi * p["tau_e"] * r) ** 2 - v * v - p["eta_e"] - p["J_ee"] * p["tau_e"] * r
    r_i = missing / (p["J_ei"] * p["tau_e"])
    return r, v, r_i, _potential(r_i, p, "_i")


def _of_population(of: str, name: str, eta: float) -> tuple[Parameter, ...]:
    return (
        Parameter(f"tau_{of}", 1.0, "ms", f"membrane time constant of the {name} population", POSITIVE),
        Parameter(f"eta_{of}", eta, "1", f"centre of the excitabilities of the {name} population"),
        Parameter(f"delta_{of}", 1.0, "1", f"half-width of those of the {name} population", POSITIVE),
    )


FAMILY: dict[str, Model] = {
    model.name: model
    for model in (
        QIF,
        relative(
            "qif_adaptation_alpha",
            (ADAPTATION, ADAPTATION_CURRENT),
            ADAPTING,
            _adapting_constants,
            _adaptation_alpha,
            lambda r, p: (_adapted(r, p), 0.0 * r),
            "K = J tau r - a, a' = b/tau_a, b' = alpha r - (2 b + a)/tau_a",
            f"{GAST}, spike-frequency adaptation with an alpha kernel",
        ),
        relative(
            "qif_adaptation_exponential",
            (ADAPTATION,),
            ADAPTING,
            _adapting_constants,
            _adaptation_exponential,
            lambda r, p: (_adapted(r, p),),
            "K = J tau r - a, a' = alpha r - a/tau_a",
            f"{GAST}, spike-frequency adaptation with an exponential kernel",
        ),
        relative(
            "qif_depression_alpha",
            (ADAPTATION, ADAPTATION_CURRENT),
            ADAPTING,
            _adapting_constants,
            _depression_alpha,
            lambda r, p: (_adapted(r, p), 0.0 * r),
            "K = J tau r (1 - a), a' = b/tau_a, b' = alpha r - (2 b + a)/tau_a",
            f"{GAST}, synaptic depression with an alpha kernel",
        ),
        relative(
            "qif_depression_exponential",
            (ADAPTATION,),
            ADAPTING,
            _adapting_constants,
            _depression_exponential,
            lambda r, p: (_adapted(r, p),),
            "K = J tau r (1 - a), a' = alpha r - a/tau_a",
            f"{GAST}, synaptic depression with an exponential kernel",
        ),
        relative(
            "qif_plasticity",
            (
                Variable("u", "1", "release probability"),
                Variable("x", "1", "fraction of resources that is available"),
            ),
            (
                Parameter("U", 0.2, "1", "release probability after long silence", FRACTION),
                Parameter("tau_f", 1500.0, "ms", "time constant of facilitation", POSITIVE),
                Parameter("tau_d", 200.0, "ms", "time constant of depression", POSITIVE),
            ),
            lambda p: {"U": p["U"], "rate_f": 1.0 / p["tau_f"], "rate_d": 1.0 / p["tau_d"]},
            _plasticity,
            _plasticity_rest,
            "K = J tau u x r, u' = (U - u)/tau_f + U (1 - u) r, x' = (1 - x)/tau_d - u x r",
            "Taher, Torcini, Olmi, PLoS Comput. Biol. 16, e1008533 (2020); "
            "short-term plasticity of Tsodyks, Pawelzik, Markram, Neural Comput. 10, 821 (1998)",
        ),
        relative(
            "qif_synapse",
            (Variable("s", "1/ms", "synaptic activation"),),
            (Parameter("tau_d", 5.0, "ms", "decay time of the synapses", POSITIVE),),
            lambda p: {"rate_d": 1.0 / p["tau_d"]},
            _synapse,
            lambda r, p: (r,),
            "K = J tau s, tau_d s' = r - s",
            "Devalle, Roxin, Montbrio, PLoS Comput. Biol. 13, e1005881 (2017)",
        ),
        Model(
            name="qif_gap",
            variables=(R, V),
            parameters=(
                *POPULATION,
                Parameter("g", 0.0, "1", "strength of the gap junctions", NON_NEGATIVE),
            ),
            constants=lambda p: _qif_constants(p) | {"g": p["g"]},
            field=_gap_field,
            squares=squares_of_population,
            rest=lambda r, p: (r, _potential(r, p) + 0.5 * p["g"]),
            driven="v",
            meaning="tau r' = delta/(pi tau) + 2 r v - g r, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2",
            reference="Montbrio, Pazo, Phys. Rev. Lett. 125, 248101 (2020)",
        ),
        Model(
            name="qif_pair",
            variables=(
                *population("_e", "excitatory"),
                *population("_i", "inhibitory"),
            ),
            parameters=(
                *_of_population("e", "excitatory", 5.0),
                *_of_population("i", "inhibitory", -5.0),
                Parameter("J_ee", 10.0, "1", "strength of the coupling of excitatory to excitatory"),
                Parameter(
                    "J_ei", -10.0, "1", "strength of the coupling to excitatory from inhibitory", NONZERO
                ),
                Parameter("J_ie", 15.0, "1", "strength of the coupling to inhibitory from excitatory"),
                Parameter("J_ii", 0.0, "1", "strength of the coupling of inhibitory to inhibitory"),
            ),
            constants=_pair_constants,
            field=_pair_field,
            squares=_pair_squares,
            rest=_pair_rest,
            driven="v_i",
            target="v_e",
            meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I_a "
            "+ tau_a (J_ae r_e + J_ai r_i) - (pi tau_a r_a)^2, a = e, i",
            reference="Segneri, Bi, Olmi, Torcini, Front. Comput. Neurosci. 14, 47 (2020)",
            graph="eta_i",
        ),
    )
}
"""The models whose equilibria are known exactly, by name."""


def _delay_constants(p: Mapping[str, Any]) -> Constants:
    coupling = p["J"] * p["tau"]
    at_once = p["delay"] == 0.0
    return neuron_constants(p) | {"coupling": coupling * at_once, "past": coupling * (1.0 - at_once)}


DELAY = Model(
    name="qif_delay",
    variables=(R, V),
    parameters=(*POPULATION, Parameter("delay", 1.0, "ms", "delay of the coupling", NON_NEGATIVE)),
    constants=_delay_constants,
    field=_qif_field,
    squares=squares_of_population,
    rest=lambda r, p: (r, _potential(r, p)),
    driven="v",
    delay="delay",
    plain=True,
    meaning="tau v' = v^2 + eta + I + J tau r(t - delay) - (pi tau r)^2, tau r' = delta/(pi tau) + 2 r v",
    reference="Pazo, Montbrio, Phys. Rev. Lett. 116, 238101 (2016)",
)

MODELS: dict[str, Model] = FAMILY | {DELAY.name: DELAY}
"""The models that can be simulated, by name."""


class Models(Printed, dict[str, Model]):
    """Models by name. It prints as a list of them with their equations."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines that it prints as."""
        yield from ((name, model.meaning) for name, model in self.items())
        frames = dict.fromkeys(model.frame for model in self.values() if model.frame)
        yield from (("with K", frame) for frame in frames)


def models() -> Models:
    """Return the models of the package by name.

    It prints as a list of them; each, such as `qifscan.models()["qif_pair"]`, as its equations, variables and
    parameters with units, defaults and domains.
    """
    return Models(MODELS)
