"""Two populations: excitatory and inhibitory, coupled at once or through synapses; or halves of one.

At rest a synapse passes on the rate itself, whatever its kinetics: the equilibria of all pairs are those of
`qif_pair`, with other eigenvalues. They are a graph over the excitatory rate with eta_i, whose equation then
tells the inhibitory rate, and over the inhibitory rate with eta_e.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from qifscan.arrays import Number
from qifscan.dynamics.domain import FRACTION, NONZERO, POSITIVE, REAL, Domain
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.dynamics.population import neuron_constants, population, resting_potential

Each = TypeVar("Each")

NAMES = {"e": "excitatory", "i": "inhibitory"}

Strength = Callable[[Mapping[str, Number], str, str], Number]
"""`strength(parameters, a, b)`: of the coupling to population a from b."""

Synapse = Callable[[Number, tuple[Number, ...], Number], tuple[Number, ...]]
"""`synapse(r, own variables, rate)`: the derivatives of these; the first of them is what is passed on."""


def _plain_strength(p: Mapping[str, Number], a: str, b: str) -> Number:
    return p[f"J_{a}{b}"]


def _shared_strength(p: Mapping[str, Number], a: str, b: str) -> Number:
    """Excitation from the pair's own kind, as strong on both populations, adds to that within the pair."""
    return p[f"J_{a}e"] + p["eps"] if b == "e" else p[f"J_{a}i"]


def _constants(
    p: Mapping[str, Number], strength: Strength, lags: tuple[str, ...] = (), ends: str = "ei"
) -> Constants:
    couplings = {f"J_{a}{b}": p[f"tau_{a}"] * strength(p, a, b) for a in ends for b in ends}
    rates = {f"rate_s{lag}": 1.0 / p[f"tau_s{lag}"] for lag in lags}
    neurons = [neuron_constants(p, f"_{a}") for a in ends]
    return neurons[0] | neurons[1] | couplings | rates


def _field(synapse: Synapse | None) -> Callable[[State, State, Constants], State]:
    """Return the field of a pair whose populations have r, v and the variables of their synapses."""

    def field(state: State, inputs: State, c: Constants) -> State:
        half = len(state) // 2
        slopes: list[Number] = []
        sent = 2 if synapse else 0
        for k, of in enumerate("ei"):
            r, v, *own = state[half * k : half * (k + 1)]
            input_r, input_v = inputs[half * k : half * k + 2]
            coupling = c[f"J_{of}e"] * state[sent] + c[f"J_{of}i"] * state[half + sent]
            slopes.append((c[f"source_{of}"] + 2.0 * r * v + input_r) * c[f"rate_{of}"])
            push = v * v + c[f"eta_{of}"] + input_v + coupling
            slopes.append((push - c[f"pull_{of}"] * r * r) * c[f"rate_{of}"])
            slopes += synapse(r, tuple(own), c[f"rate_s{of}"]) if synapse else ()
        return tuple(slopes)

    return field


def _field_of_couplings(state: State, inputs: State, c: Constants) -> State:
    """Return the field of a pair with a synaptic variable for each coupling, kept with who it goes to."""
    rates = {"e": state[0], "i": state[4]}
    slopes: list[Number] = []
    for k, of in enumerate("ei"):
        r, v, s_e, s_i = state[4 * k : 4 * k + 4]
        input_r, input_v = inputs[4 * k : 4 * k + 2]
        slopes.append((c[f"source_{of}"] + 2.0 * r * v + input_r) * c[f"rate_{of}"])
        push = v * v + c[f"eta_{of}"] + input_v + c[f"J_{of}e"] * s_e + c[f"J_{of}i"] * s_i
        slopes.append((push - c[f"pull_{of}"] * r * r) * c[f"rate_{of}"])
        slopes += [(rates[b] - s) * c[f"rate_s{of}{b}"] for b, s in (("e", s_e), ("i", s_i))]
    return tuple(slopes)


def _field_of_halves(state: State, inputs: State, c: Constants) -> State:
    """Return the field of two halves of one population, which have their inputs in common."""
    r_1, v_1, r_2, v_2 = state
    input_r, input_v = inputs[:2]
    slopes = []
    for of, r, v in (("1", r_1, v_1), ("2", r_2, v_2)):
        coupling = c[f"J_{of}1"] * r_1 + c[f"J_{of}2"] * r_2
        slopes.append((c[f"source_{of}"] + 2.0 * r * v + input_r) * c[f"rate_{of}"])
        slopes.append(
            (v * v + c[f"eta_{of}"] + input_v + coupling - c[f"pull_{of}"] * r * r) * c[f"rate_{of}"]
        )
    return tuple(slopes)


def _first_order(r: Number, own: tuple[Number, ...], rate: Number) -> tuple[Number, ...]:
    (s,) = own
    return ((r - s) * rate,)


def _second_order(r: Number, own: tuple[Number, ...], rate: Number) -> tuple[Number, ...]:
    s, x = own
    return (x - s) * rate, (r - x) * rate


def _squares(ends: str) -> Callable[[State, Constants], tuple[Number, ...]]:
    def squares(state: State, c: Constants) -> tuple[Number, ...]:
        half = len(state) // 2
        found: list[Number] = []
        for k, of in enumerate(ends):
            r, v, *own = state[half * k : half * (k + 1)]
            found += (c[f"pull_{of}"] * r * r, v * v, *(y * y for y in own))
        return tuple(found)

    return squares


Held = Callable[[Number, Number], tuple[tuple[Number, ...], tuple[Number, ...]]]
"""`held(first rate, second rate)`: the synaptic variables at rest of the first population, of the second."""


def _holding(stages: int) -> Held:
    return lambda one, two: ((one,) * stages, (two,) * stages)


def _rest(
    first: str, other: str, strength: Strength, held: Held
) -> Callable[[Number, Mapping[str, Number]], State]:
    """Return the state at which one population rests at rate r: its input tells the rate of the other."""

    def rest(r: Number, p: Mapping[str, Number]) -> State:
        tau = p[f"tau_{first}"]
        v = resting_potential(r, p, f"_{first}")
        missing = (math.pi * tau * r) ** 2 - v * v - p[f"eta_{first}"] - strength(p, first, first) * tau * r
        theirs = missing / (strength(p, first, other) * tau)
        own, others = held(r, theirs)
        return r, v, *own, theirs, resting_potential(theirs, p, f"_{other}"), *others

    return rest


def _of_population(of: str, eta: float, tau: float, name: str = "") -> tuple[Parameter, ...]:
    name = name or NAMES[of]
    return (
        Parameter(f"tau_{of}", tau, "ms", f"membrane time constant of the {name} population", POSITIVE),
        Parameter(f"eta_{of}", eta, "1", f"centre of the excitabilities of the {name} population"),
        Parameter(f"delta_{of}", 1.0, "1", f"half-width of those of the {name} population", POSITIVE),
    )


def _couplings(ee: float, ei: float, ie: float, ii: float) -> tuple[Parameter, ...]:
    return (
        Parameter("J_ee", ee, "1", "strength of the coupling of excitatory to excitatory"),
        Parameter("J_ei", ei, "1", "strength of the coupling to excitatory from inhibitory", NONZERO),
        Parameter("J_ie", ie, "1", "strength of the coupling to inhibitory from excitatory"),
        Parameter("J_ii", ii, "1", "strength of the coupling of inhibitory to inhibitory"),
    )


_NONZERO: Mapping[str, Domain] = {"J_ei": REAL, "J_ie": NONZERO}
"""Couplings that tell the other rate, of a pair as a graph over the inhibitory one."""


def _with_other_graph(
    model: Model, strength: Strength, held: Held, ends: str = "ei", nonzero: Mapping[str, Domain] = _NONZERO
) -> Model:
    """Return a pair that is also known as a graph over the second rate, with the first eta."""
    half = len(model.variables) // 2
    first, second = ends[0], ends[1]

    def swapped(values: tuple[Each, ...]) -> tuple[Each, ...]:
        return (*values[half:], *values[:half])

    other = replace(
        model,
        variables=swapped(model.variables),
        parameters=tuple(replace(p, domain=nonzero.get(p.name, p.domain)) for p in model.parameters),
        field=lambda state, inputs, c: swapped(model.field(swapped(state), swapped(inputs), c)),
        squares=lambda state, c: swapped(model.squares(swapped(state), c)),
        rest=_rest(second, first, strength, held),
        driven=f"v_{first}",
        target=model.stimulated,
        graph=f"eta_{first}",
    )
    return replace(model, others=(other,))


PAIR = Model(
    name="qif_pair",
    variables=(*population("_e", NAMES["e"]), *population("_i", NAMES["i"])),
    parameters=(
        *_of_population("e", 5.0, 1.0),
        *_of_population("i", -5.0, 1.0),
        *_couplings(10.0, -10.0, 15.0, 0.0),
    ),
    constants=lambda p: _constants(p, _plain_strength),
    field=_field(None),
    squares=_squares("ei"),
    rest=_rest("e", "i", _plain_strength, _holding(0)),
    driven="v_i",
    target="v_e",
    meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I_a "
    "+ tau_a (J_ae r_e + J_ai r_i) - (pi tau_a r_a)^2, a = e, i",
    reference="Segneri, Bi, Olmi, Torcini, Front. Comput. Neurosci. 14, 47 (2020)",
    graph="eta_i",
)

SELF = "(J_ae + eps) s_e + J_ai s_i"


def _with_synapses(
    name: str, synapse: Synapse, own: Mapping[str, str], kinetics: str, reference: str
) -> Model:
    """Return a pair with synapses whose kinetics need some variables of each population, with meanings."""
    variables: list[Variable] = []
    for of, named in NAMES.items():
        variables += population(f"_{of}", named)
        variables += (
            Variable(f"{y}_{of}", "1/ms", f"{meaning} of the {named} population")
            for y, meaning in own.items()
        )
    return Model(
        name=name,
        variables=tuple(variables),
        parameters=(
            *_of_population("e", -5.0, 8.0),
            *_of_population("i", -5.0, 8.0),
            *_couplings(5.0, -13.0, 13.0, -5.0),
            Parameter(
                "tau_se", 1.0, "ms", "time constant of the synapses from the excitatory population", POSITIVE
            ),
            Parameter(
                "tau_si", 5.0, "ms", "time constant of the synapses from the inhibitory population", POSITIVE
            ),
            Parameter(
                "eps", 0.0, "1", "strength of the excitation from like pairs, added to J_ee and to J_ie"
            ),
        ),
        constants=lambda p: _constants(p, _shared_strength, ("e", "i")),
        field=_field(synapse),
        squares=_squares("ei"),
        rest=_rest("e", "i", _shared_strength, _holding(len(own))),
        driven="v_i",
        target="v_e",
        meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I_a "
        f"+ tau_a ({SELF}) - (pi tau_a r_a)^2, {kinetics}, a = e, i",
        reference=reference,
        graph="eta_i",
    )


PAIR_SYNAPSE = _with_synapses(
    "qif_pair_synapse",
    _first_order,
    {"s": "synaptic activation by the spikes"},
    "tau_sa s_a' = r_a - s_a",
    "Dumont, Gutkin, PLoS Comput. Biol. 15, e1007019 (2019): synapses of first order; "
    "parameters and eps of the public AUTO project RosaDelic/LargeScaleBrainModelAnalysis",
)

PAIR_ALPHA = _with_synapses(
    "qif_pair_alpha",
    _second_order,
    {"s": "synaptic activation by the spikes", "x": "first stage of the synapses from the spikes"},
    "tau_sa s_a' = x_a - s_a, tau_sa x_a' = r_a - x_a",
    "Clusella, Koksal-Ersoz, Garcia-Ojalvo, Ruffini, Biol. Cybern. 117, 5 (2023): synapses of second order",
)


def _of_coupling(a: str, b: str) -> Variable:
    return Variable(
        f"s_{a}{b}", "1/ms", f"synaptic activation of the {NAMES[a]} by the {NAMES[b]} population"
    )


def _for_each(one: Number, two: Number) -> tuple[tuple[Number, ...], tuple[Number, ...]]:
    return (one, two), (one, two)


PAIR_COUPLINGS = Model(
    name="qif_pair_couplings",
    variables=(
        *population("_e", NAMES["e"]),
        *(_of_coupling("e", b) for b in "ei"),
        *population("_i", NAMES["i"]),
        *(_of_coupling("i", b) for b in "ei"),
    ),
    parameters=(
        *_of_population("e", -5.0, 10.0),
        *_of_population("i", -5.0, 10.0),
        *_couplings(0.0, -10.0, 0.0, -15.0),
        *(
            Parameter(
                f"tau_s{a}{b}",
                1.0,
                "ms",
                f"time constant of the synapses to {NAMES[a]} from {NAMES[b]}",
                POSITIVE,
            )
            for a in "ei"
            for b in "ei"
        ),
    ),
    constants=lambda p: _constants(p, _plain_strength, ("ee", "ei", "ie", "ii")),
    field=_field_of_couplings,
    squares=_squares("ei"),
    rest=_rest("e", "i", _plain_strength, _for_each),
    driven="v_i",
    target="v_e",
    meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I_a "
    "+ tau_a (J_ae s_ae + J_ai s_ai) - (pi tau_a r_a)^2, tau_sab s_ab' = r_b - s_ab, a, b = e, i",
    reference="Dumont, Gutkin, PLoS Comput. Biol. 15, e1007019 (2019); with defaults of The Virtual Brain",
    graph="eta_i",
)


def _share(p: Mapping[str, Number], a: str, b: str) -> Number:
    """Every neuron has its input from all of them."""
    return p["J"] * (p["share"] if b == "1" else 1.0 - p["share"])


def _halves() -> tuple[Variable, ...]:
    """Return the variables of the two halves; the inputs of the first reach the second as well."""

    def wider(p: Mapping[str, Number], mean: Number, more: Number) -> dict[str, Number]:
        return {f"delta_{a}": p[f"delta_{a}"] + math.pi * p[f"tau_{a}"] * (mean + more) for a in "12"}

    def shifted(p: Mapping[str, Number], mean: Number, more: Number) -> dict[str, Number]:
        return {f"eta_{a}": p[f"eta_{a}"] + mean + more for a in "12"}

    first = [replace(v, absorbed=f) for v, f in zip(population("_1", "first"), (wider, shifted), strict=True)]
    second = [replace(v, input_unit=None, absorbed=None) for v in population("_2", "second")]
    return (*first, *second)


BIMODAL = Model(
    name="qif_bimodal",
    variables=_halves(),
    parameters=(
        *_of_population("1", -5.0, 1.0, "first"),
        *_of_population("2", 1.0, 1.0, "second"),
        Parameter("share", 0.5, "1", "share of the neurons that are of the first population", FRACTION),
        Parameter("J", 15.0, "1", "strength of the recurrent coupling", NONZERO),
    ),
    constants=lambda p: _constants(p, _share, ends="12"),
    field=_field_of_halves,
    squares=_squares("12"),
    rest=_rest("1", "2", _share, _holding(0)),
    driven="v_2",
    target="v_1",
    meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I "
    "+ tau_a J (share r_1 + (1 - share) r_2) - (pi tau_a r_a)^2, a = 1, 2",
    reference="Pyragas, Pyragas, Phys. Lett. A 416, 127677 (2021): two Lorentzians; here coupled by spikes",
    graph="eta_2",
)

PAIRS = (
    _with_other_graph(PAIR, _plain_strength, _holding(0)),
    _with_other_graph(PAIR_SYNAPSE, _shared_strength, _holding(1)),
    _with_other_graph(PAIR_ALPHA, _shared_strength, _holding(2)),
    _with_other_graph(PAIR_COUPLINGS, _plain_strength, lambda one, two: ((two, one), (two, one))),
    _with_other_graph(BIMODAL, _share, _holding(0), "12", {}),
)
"""The pairs, each as a graph over either rate."""
