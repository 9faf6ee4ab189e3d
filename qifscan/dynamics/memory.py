"""Two excitatory populations that share an inhibitory one: items that are kept in facilitated synapses."""

from __future__ import annotations

from collections.abc import Mapping

from qifscan.arrays import Number
from qifscan.dynamics.domain import FRACTION, POSITIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.dynamics.population import neuron_constants, population

NAMES = {"1": "first excitatory", "2": "second excitatory", "i": "inhibitory"}


def _constants(p: Mapping[str, Number]) -> Constants:
    neurons = neuron_constants(p, "_1") | neuron_constants(p, "_2") | neuron_constants(p, "_i")
    taus = {f"tau_{a}": p[f"tau_{a}"] for a in NAMES}
    couplings = {name: p[name] for name in ("J_same", "J_other", "J_ei", "J_ie", "J_ii", "U")}
    return neurons | taus | couplings | {"rate_f": 1.0 / p["tau_f"], "rate_d": 1.0 / p["tau_d"]}


def _field(state: State, inputs: State, c: Constants) -> State:
    r_i, v_i = state[8:]
    sent = [state[k] * state[k + 2] * state[k + 3] for k in (0, 4)]
    slopes: list[Number] = []
    for k, of in enumerate("12"):
        r, v, u, x = state[4 * k : 4 * k + 4]
        coupling = c["J_same"] * sent[k] + c["J_other"] * sent[1 - k] + c["J_ei"] * r_i
        slopes += _of_population(r, v, coupling, inputs[4 * k : 4 * k + 2], c, of)
        slopes.append((c["U"] - u) * c["rate_f"] + c["U"] * (1.0 - u) * r)
        slopes.append((1.0 - x) * c["rate_d"] - sent[k])
    coupling = c["J_ie"] * (state[0] + state[4]) + c["J_ii"] * r_i
    return (*slopes, *_of_population(r_i, v_i, coupling, inputs[8:], c, "i"))


def _of_population(
    r: Number, v: Number, coupling: Number, inputs: State, c: Constants, of: str
) -> tuple[Number, Number]:
    dr = (c[f"source_{of}"] + 2.0 * r * v + inputs[0]) * c[f"rate_{of}"]
    push = v * v + c[f"eta_{of}"] + inputs[1] + c[f"tau_{of}"] * coupling
    return dr, (push - c[f"pull_{of}"] * r * r) * c[f"rate_{of}"]


def _squares(state: State, c: Constants) -> State:
    pulls = {0: "pull_1", 4: "pull_2", 8: "pull_i"}
    return tuple(c[pulls[k]] * (y * y) if k in pulls else y * y for k, y in enumerate(state))


def _variables() -> tuple[Variable, ...]:
    found: list[Variable] = []
    for a in "12":
        released, left = (
            Variable(f"{name}_{a}", "1", f"{what} of the {NAMES[a]} population", domain=FRACTION)
            for name, what in (("u", "release probability"), ("x", "fraction of available resources"))
        )
        found += (*population(f"_{a}", NAMES[a]), released, left)
    return (*found, *population("_i", NAMES["i"]))


def _neurons(of: str, tau: float) -> tuple[Parameter, ...]:
    return (
        Parameter(f"tau_{of}", tau, "ms", f"membrane time constant of the {NAMES[of]} population", POSITIVE),
        Parameter(f"eta_{of}", 1.2, "1", f"centre of the excitabilities of the {NAMES[of]} population"),
        Parameter(f"delta_{of}", 0.1, "1", f"half-width of those of the {NAMES[of]} population", POSITIVE),
    )


MEMORY = Model(
    name="qif_memory",
    variables=_variables(),
    parameters=(
        *_neurons("1", 15.0),
        *_neurons("2", 15.0),
        *_neurons("i", 10.0),
        Parameter("J_same", 25.7, "1", "strength of the coupling within an excitatory population"),
        Parameter("J_other", 3.0, "1", "strength of the coupling between the excitatory populations"),
        Parameter("J_ei", -4.1, "1", "strength of the coupling to excitatory from inhibitory"),
        Parameter("J_ie", 18.4, "1", "strength of the coupling to inhibitory from excitatory"),
        Parameter("J_ii", -3.7, "1", "strength of the coupling of inhibitory to inhibitory"),
        Parameter("U", 0.2, "1", "release probability after long silence", FRACTION),
        Parameter("tau_f", 1500.0, "ms", "time constant of facilitation", POSITIVE),
        Parameter("tau_d", 200.0, "ms", "time constant of depression", POSITIVE),
    ),
    constants=_constants,
    field=_field,
    squares=_squares,
    rest=None,
    driven="v_1",
    graph="eta_1",
    meaning="tau_a r_a' = delta_a/(pi tau_a) + 2 r_a v_a, tau_a v_a' = v_a^2 + eta_a + I_a + tau_a K_a "
    "- (pi tau_a r_a)^2, K_a = J_same u_a x_a r_a + J_other u_b x_b r_b + J_ei r_i, "
    "u_a' = (U - u_a)/tau_f + U (1 - u_a) r_a, x_a' = (1 - x_a)/tau_d - u_a x_a r_a of a, b = 1, 2; "
    "K_i = J_ie (r_1 + r_2) + J_ii r_i",
    reference="Taher, Torcini, Olmi, PLoS Comput. Biol. 16, e1008533 (2020): two items",
)
