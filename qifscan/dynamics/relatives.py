"""Relatives of the plain model: adaptation, depression, plasticity, synapses, gap junctions, a delay."""

from __future__ import annotations

from collections.abc import Mapping

from qifscan.arrays import Number
from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, POSITIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.dynamics.population import (
    POPULATION,
    R,
    V,
    neuron_constants,
    qif_constants,
    qif_field,
    relative,
    resting_potential,
    squares_of_population,
)

ADAPTATION = Variable("a", "1", "adaptation", group="a")
ADAPTATION_CURRENT = Variable("b", "1", "tau_a times the rate of change of the adaptation", group="a")
ADAPTING = (
    Parameter("alpha", 1.0, "1", "strength of the adaptation", NON_NEGATIVE),
    Parameter("tau_a", 10.0, "ms", "time constant of the adaptation", POSITIVE),
)
GAST = "Gast, Schmidt, Knosche, Neural Comput. 32, 1615 (2020)"


def _adapting_constants(p: Mapping[str, Number]) -> Constants:
    return {"alpha": p["alpha"], "rate_a": 1.0 / p["tau_a"]}


def _alpha_kernel(r: Number, a: Number, b: Number, c: Constants) -> tuple[Number, Number]:
    return b * c["rate_a"], c["alpha"] * r - (2.0 * b + a) * c["rate_a"]


def _exponential_kernel(r: Number, a: Number, c: Constants) -> tuple[Number]:
    return (c["alpha"] * r - a * c["rate_a"],)


def _adapted(r: Number, p: Mapping[str, Number]) -> Number:
    return p["alpha"] * p["tau_a"] * r


def _adaptation_alpha(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, a, b = state
    return c["coupling"] * r - a, _alpha_kernel(r, a, b, c)


def _adaptation_exponential(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, a = state
    return c["coupling"] * r - a, _exponential_kernel(r, a, c)


def _depression_alpha(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, a, b = state
    return c["coupling"] * r * (1.0 - a), _alpha_kernel(r, a, b, c)


def _depression_exponential(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, a = state
    return c["coupling"] * r * (1.0 - a), _exponential_kernel(r, a, c)


def _plasticity(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, u, x = state
    du = (c["U"] - u) * c["rate_f"] + c["U"] * (1.0 - u) * r
    dx = (1.0 - x) * c["rate_d"] - u * x * r
    return c["coupling"] * u * x * r, (du, dx)


def _plasticity_rest(r: Number, p: Mapping[str, Number]) -> tuple[Number, Number]:
    u = p["U"] * (1.0 + p["tau_f"] * r) / (1.0 + p["U"] * p["tau_f"] * r)
    return u, 1.0 / (1.0 + p["tau_d"] * u * r)


def _synapse(state: State, c: Constants) -> tuple[Number, tuple[Number, ...]]:
    r, _, s = state
    return c["coupling"] * s, ((r - s) * c["rate_d"],)


def _gap_field(state: State, inputs: State, c: Constants) -> State:
    r, _ = state
    dr, dv = qif_field(state, inputs, c)
    return dr - c["g"] * r * c["rate"], dv


RELATIVES = (
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
        constants=lambda p: qif_constants(p) | {"g": p["g"]},
        field=_gap_field,
        squares=squares_of_population,
        rest=lambda r, p: (r, resting_potential(r, p) + 0.5 * p["g"]),
        driven="v",
        meaning="tau r' = delta/(pi tau) + 2 r v - g r, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2",
        reference="Montbrio, Pazo, Phys. Rev. Lett. 125, 248101 (2020)",
    ),
)
"""The plain model with something more: adaptation, depression, plasticity, a synapse, gap junctions."""


def _delay_constants(p: Mapping[str, Number]) -> Constants:
    coupling = p["J"] * p["tau"]
    at_once = p["delay"] == 0.0
    return neuron_constants(p) | {"coupling": coupling * at_once, "past": coupling * (1.0 - at_once)}


DELAY = Model(
    name="qif_delay",
    variables=(R, V),
    parameters=(*POPULATION, Parameter("delay", 1.0, "ms", "delay of the coupling", NON_NEGATIVE)),
    constants=_delay_constants,
    field=qif_field,
    squares=squares_of_population,
    rest=lambda r, p: (r, resting_potential(r, p)),
    driven="v",
    delay="delay",
    plain=True,
    meaning="tau v' = v^2 + eta + I + J tau r(t - delay) - (pi tau r)^2, tau r' = delta/(pi tau) + 2 r v",
    reference="Pazo, Montbrio, Phys. Rev. Lett. 116, 238101 (2016)",
)
