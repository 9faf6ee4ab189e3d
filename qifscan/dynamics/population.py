"""What models are made of: a population of QIF neurons, its parameters, the plain model; and `relative`.

The relatives of the plain model add to it what the population does to itself: its v' has another coupling K,
tau v' = v^2 + eta + I + K - (pi tau r)^2, and slow variables that r drives. In all of them eta enters v'
alone, additively, and every other variable at rest is a function of r: their equilibria are a graph over r.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from qifscan.arrays import Number
from qifscan.dynamics.domain import POSITIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable


def neuron_constants(p: Mapping[str, Number], of: str = "") -> Constants:
    """Return what the equations of r and v of a population read, apart from its coupling."""
    tau = p[f"tau{of}"]
    return {
        f"rate{of}": 1.0 / tau,
        f"source{of}": p[f"delta{of}"] / (math.pi * tau),
        f"eta{of}": p[f"eta{of}"],
        f"pull{of}": (math.pi * tau) ** 2,
    }


def qif_constants(p: Mapping[str, Number]) -> Constants:
    """Return what the equations of the plain model read."""
    return neuron_constants(p) | {"coupling": p["J"] * p["tau"]}


def qif_field(state: State, inputs: State, c: Constants) -> State:
    """Return the derivatives of the plain model."""
    r, v = state
    input_r, input_v = inputs
    dr = (c["source"] + 2.0 * r * v + input_r) * c["rate"]
    dv = (v * v + c["eta"] + input_v + (c["coupling"] - c["pull"] * r) * r) * c["rate"]
    return dr, dv


def squares_of_population(state: State, c: Constants) -> tuple[Number, ...]:
    """Return those of W = pi tau r + i v, in which the model is a complex Riccati equation; and of others."""
    r, v, *slow = state
    # Not (pull r) r as in the field: XLA computes a value that is used twice in a pass of its own.
    return c["pull"] * (r * r), v * v, *(y * y for y in slow)


def resting_potential(r: Number, p: Mapping[str, Number], of: str = "") -> Number:
    """Return the v at which r' = 0."""
    return -p[f"delta{of}"] / (2.0 * math.pi * p[f"tau{of}"] * r)


def population(of: str = "", named: str = "") -> tuple[Variable, Variable]:
    """Return the rate and the mean potential of a population, with the same ending as its parameters."""
    eta, delta, tau = f"eta{of}", f"delta{of}", f"tau{of}"

    def wider(p: Mapping[str, Number], mean: Number, more: Number) -> dict[str, Number]:
        return {delta: p[delta] + math.pi * p[tau] * (mean + more)}

    def shifted(p: Mapping[str, Number], mean: Number, more: Number) -> dict[str, Number]:
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
    constants=qif_constants,
    field=qif_field,
    squares=squares_of_population,
    rest=lambda r, p: (r, resting_potential(r, p)),
    driven="v",
    plain=True,
    meaning="tau r' = delta/(pi tau) + 2 r v + z_r, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2 + z_v",
    reference="Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12",
)

Recurrent = Callable[[State, Constants], tuple[Number, tuple[Number, ...]]]


def relative(
    name: str,
    slow: tuple[Variable, ...],
    parameters: tuple[Parameter, ...],
    constants: Callable[[Mapping[str, Number]], Constants],
    recurrent: Recurrent,
    slow_rest: Callable[[Number, Mapping[str, Number]], tuple[Number, ...]],
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
        constants=lambda p: qif_constants(p) | constants(p),
        field=field,
        squares=squares_of_population,
        rest=lambda r, p: (r, resting_potential(r, p), *slow_rest(r, p)),
        driven="v",
        meaning=meaning,
        reference=reference,
        frame="tau r' = delta/(pi tau) + 2 r v, tau v' = v^2 + eta + I + K - (pi tau r)^2",
    )
