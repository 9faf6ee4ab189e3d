"""Populations of which every neuron has noise of its own, as mean fields.

Cauchy noise of width gamma is exactly a wider Lorentzian, delta + gamma. Gaussian noise is not: the mean
field has infinitely many pseudo-cumulants W_1 = pi tau r - i v, W_2, W_3, ..., of which a model keeps some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from qifscan.arrays import Number
from qifscan.dynamics.domain import NON_NEGATIVE
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable
from qifscan.dynamics.population import POPULATION, QIF, R, V, qif_constants, resting_potential


def _wider(p: Mapping[str, Number]) -> dict[str, Number]:
    return {**p, "delta": p["delta"] + p["gamma"]}


def _cauchy_rest(r: Number, p: Mapping[str, Number]) -> State:
    return r, resting_potential(r, _wider(p))


CAUCHY = replace(
    QIF,
    name="qif_cauchy",
    parameters=(
        *POPULATION,
        Parameter("gamma", 0.0, "1", "half-width of the Cauchy noise of every neuron", NON_NEGATIVE),
    ),
    constants=lambda p: qif_constants(_wider(p)),
    rest=_cauchy_rest,
    plain=False,
    meaning="tau r' = (delta + gamma)/(pi tau) + 2 r v, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2",
    reference="Clusella, Montbrio, Phys. Rev. E 109, 014229 (2024); exact",
)


def _cumulant_constants(p: Mapping[str, Number]) -> Constants:
    return qif_constants(p) | {"per_rate": 1.0 / (math.pi * p["tau"]), "noise": 2.0 * p["sigma"] ** 2}


def _cumulant_field(state: State, inputs: State, c: Constants) -> State:
    """W_m' = (delta - i I) [m = 1] + 2 sigma^2 [m = 2] + i m (W_1 W_m + ... + W_m W_1 - m W_(m+1)).

    W_4 = 0. The derivatives are with respect to t/tau.
    """
    r, v, a, b, e, f = state
    input_r, input_v = inputs[:2]
    u = r / c["per_rate"]
    dr = (c["source"] + 2.0 * r * v + b * c["per_rate"] + input_r) * c["rate"]
    dv = (v * v + a + c["eta"] + input_v + (c["coupling"] - c["pull"] * r) * r) * c["rate"]
    # W_1 W_2 - W_3 and 2 W_1 W_3 + W_2^2, with W_1 = u - i v, W_2 = a + i b, W_3 = e + i f.
    real, imag = u * a + v * b - e, u * b - v * a - f
    second = c["noise"] - 4.0 * imag, 4.0 * real
    real, imag = 2.0 * (u * e + v * f) + a * a - b * b, 2.0 * (u * f - v * e) + 2.0 * a * b
    third = -3.0 * imag, 3.0 * real
    return (dr, dv, *(x * c["rate"] for x in (*second, *third)))


def _cumulant_squares(state: State, c: Constants) -> State:
    r, v, *others = state
    return c["pull"] * (r * r), v * v, *(y * y for y in others)


CUMULANTS = Model(
    name="qif_cumulants",
    variables=(
        R,
        V,
        Variable("a", "1", "real part of the second pseudo-cumulant", group="W2", bounds=(-0.5, 0.5)),
        Variable("b", "1", "imaginary part of the second pseudo-cumulant", group="W2", bounds=(-0.5, 0.5)),
        Variable("e", "1", "real part of the third pseudo-cumulant", group="W3", bounds=(-0.5, 0.5)),
        Variable("f", "1", "imaginary part of the third pseudo-cumulant", group="W3", bounds=(-0.5, 0.5)),
    ),
    parameters=(
        *POPULATION,
        Parameter("sigma", 0.1, "1", "strength of the white noise of every neuron", NON_NEGATIVE),
    ),
    constants=_cumulant_constants,
    field=_cumulant_field,
    squares=_cumulant_squares,
    rest=None,
    driven="v",
    meaning="W1 = pi tau r - i v, W2 = a + i b, W3 = e + i f, "
    "tau W1' = delta - i (eta + I + J tau r) + i (W1^2 - W2), "
    "tau W2' = 2 sigma^2 + 4 i (W1 W2 - W3), tau W3' = 3 i (2 W1 W3 + W2^2); "
    "every neuron has tau V' = V^2 + ... + (2 tau)^(1/2) sigma xi, and W4 = 0 is an approximation",
    reference="Goldobin, di Volo, Torcini, Phys. Rev. Lett. 127, 038301 (2021), with three pseudo-cumulants",
)
