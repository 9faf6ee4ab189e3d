"""Populations whose synapses are conductances: they open the membrane, so that the rate falls as v rises.

With a conductance G = g tau s, tau r' gets -G r and tau v' gets G (e_s - v). At rest every variable is a
function of the rate, and eta enters v' alone: equilibria are a graph over the rate.
"""

from __future__ import annotations

from collections.abc import Mapping

from qifscan.arrays import Number
from qifscan.dynamics.domain import NON_NEGATIVE, POSITIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.dynamics.population import (
    NEURONS,
    R,
    V,
    neuron_constants,
    resting_potential,
    squares_of_population,
)

REVERSAL = "reversal potential of the synapses"


def _izhikevich_constants(p: Mapping[str, Number]) -> Constants:
    own = {"a": p["a"], "g": p["g"], "e_s": p["e_s"], "b": p["b"], "jump": p["jump"]}
    return neuron_constants(p) | own | {"rate_w": 1.0 / p["tau_w"], "rate_s": 1.0 / p["tau_s"]}


def _izhikevich_field(state: State, inputs: State, c: Constants) -> State:
    r, v, w, s = state
    input_r, input_v, _, _ = inputs
    conductance = c["g"] * s
    dr = (c["source"] + (2.0 * v - c["a"] - conductance) * r + input_r) * c["rate"]
    push = v * (v - c["a"]) + c["eta"] + conductance * (c["e_s"] - v) - w
    dv = (push - c["pull"] * r * r + input_v) * c["rate"]
    return dr, dv, (c["b"] * v - w) * c["rate_w"] + c["jump"] * r, r - s * c["rate_s"]


def _izhikevich_rest(r: Number, p: Mapping[str, Number]) -> State:
    s = p["tau_s"] * r
    v = resting_potential(r, p) + 0.5 * (p["a"] + p["g"] * s)
    return r, v, p["b"] * v + p["jump"] * p["tau_w"] * r, s


IZHIKEVICH = Model(
    name="qif_izhikevich",
    variables=(R, V, Variable("w", "1", "recovery"), Variable("s", "1", "synaptic activation")),
    parameters=(
        *NEURONS,
        Parameter("a", 0.6, "1", "threshold potential, from rest"),
        Parameter("g", 1.2, "1", "strength of the synapses", NON_NEGATIVE),
        Parameter("e_s", 1.0, "1", REVERSAL),
        Parameter("b", -0.1, "1", "coupling of the recovery to the potential"),
        Parameter("jump", 0.2, "1", "rise of the recovery at each spike"),
        Parameter("tau_w", 50.0, "ms", "time constant of the recovery", POSITIVE),
        Parameter("tau_s", 2.0, "ms", "decay time of the synapses", POSITIVE),
    ),
    constants=_izhikevich_constants,
    field=_izhikevich_field,
    squares=squares_of_population,
    rest=_izhikevich_rest,
    driven="v",
    meaning="tau r' = delta/(pi tau) + (2 v - a - g s) r, "
    "tau v' = v^2 - a v + eta + I + g s (e_s - v) - w - (pi tau r)^2, "
    "tau_w w' = b v - w + jump tau_w r, tau_s s' = tau_s r - s",
    reference="Chen, Campbell, J. Comput. Neurosci. 50, 445 (2022): Izhikevich neurons",
)


def _conductance_constants(p: Mapping[str, Number]) -> Constants:
    own = {"g": p["g"] * p["tau"], "e_s": p["e_s"], "gap": p["g_gap"], "rate_d": 1.0 / p["tau_d"]}
    return neuron_constants(p) | own


def _conductance_field(state: State, inputs: State, c: Constants) -> State:
    r, v, s, x = state
    input_r, input_v, _, _ = inputs
    conductance = c["g"] * s
    dr = (c["source"] + (2.0 * v - conductance - c["gap"]) * r + input_r) * c["rate"]
    push = v * v + c["eta"] + conductance * (c["e_s"] - v)
    dv = (push - c["pull"] * r * r + input_v) * c["rate"]
    return dr, dv, (x - s) * c["rate_d"], (r - x) * c["rate_d"]


def _conductance_rest(r: Number, p: Mapping[str, Number]) -> State:
    return r, resting_potential(r, p) + 0.5 * (p["g"] * p["tau"] * r + p["g_gap"]), r, r


CONDUCTANCE = Model(
    name="qif_conductance",
    variables=(
        R,
        V,
        Variable("s", "1/ms", "synaptic activation"),
        Variable("x", "1/ms", "first stage of the synapses"),
    ),
    parameters=(
        *NEURONS,
        Parameter("g", 5.0, "1", "conductance of the synapses", NON_NEGATIVE),
        Parameter("e_s", 5.0, "1", REVERSAL),
        Parameter("g_gap", 0.0, "1", "strength of the gap junctions", NON_NEGATIVE),
        Parameter("tau_d", 2.0, "ms", "time constant of the synapses, an alpha function", POSITIVE),
    ),
    constants=_conductance_constants,
    field=_conductance_field,
    squares=squares_of_population,
    rest=_conductance_rest,
    driven="v",
    meaning="tau r' = delta/(pi tau) + (2 v - g tau s - g_gap) r, "
    "tau v' = v^2 + eta + I + g tau s (e_s - v) - (pi tau r)^2, tau_d s' = x - s, tau_d x' = r - x",
    reference="Coombes, Byrne, in: Nonlinear Dynamics in Computational Neuroscience, Springer (2019); "
    "Byrne, O'Dea, Forrester, Ross, Coombes, J. Neurophysiol. 123, 726 (2020)",
)
