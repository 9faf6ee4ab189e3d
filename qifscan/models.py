"""Mean-field models: state variables, parameters with unit, default and domain, vector field.

A model is a row of `MODELS`, not a subclass. Its field is written with operators alone, so the same
function serves NumPy, JAX and automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

State = tuple[Any, ...]
Constants = dict[str, Any]


@dataclass(frozen=True)
class Domain:
    """The values that a parameter may have, as a test and as words for an error."""

    holds: Callable[[Any], Any]
    words: str


REAL = Domain(lambda x: x == x, "a finite number")
POSITIVE = Domain(lambda x: x > 0, "a number above 0")
NON_NEGATIVE = Domain(lambda x: x >= 0, "a number not below 0")


@dataclass(frozen=True)
class Parameter:
    """A number that a scan can fix or make an axis."""

    name: str
    default: float | None
    unit: str
    meaning: str
    domain: Domain = REAL


@dataclass(frozen=True)
class Variable:
    """A state variable; `input_unit` is the unit of what is added to its equation."""

    name: str
    unit: str
    meaning: str
    input_unit: str


@dataclass(frozen=True)
class Model:
    """A mean field `y' = field(y, inputs, constants)`.

    `constants` turns the parameters (float64, one array per name) into what the field reads, once per
    point and outside the time loop. `field` takes the state and one additive input per variable, both
    as tuples in the order of `variables`, and returns the derivatives likewise. `squares` add up to the
    squared size of a state, or of a difference of two, by which errors are relative. The drive is added to
    the input of the variable `driven`.
    """

    name: str
    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    constants: Callable[[Mapping[str, Any]], Constants]
    field: Callable[[State, State, Constants], State]
    squares: Callable[[State, Constants], tuple[Any, ...]]
    driven: str
    meaning: str
    reference: str

    @property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the state variables, in the order of the state."""
        return tuple(variable.name for variable in self.variables)


def _qif_constants(p: Mapping[str, Any]) -> Constants:
    return {
        "rate": 1.0 / p["tau"],
        "source": p["delta"] / (math.pi * p["tau"]),
        "eta": p["eta"],
        "coupling": p["J"] * p["tau"],
        "pull": (math.pi * p["tau"]) ** 2,
    }


def _qif_field(state: State, inputs: State, c: Constants) -> State:
    r, v = state
    input_r, input_v = inputs
    dr = (c["source"] + 2.0 * r * v + input_r) * c["rate"]
    dv = (v * v + c["eta"] + input_v + (c["coupling"] - c["pull"] * r) * r) * c["rate"]
    return dr, dv


def _qif_squares(state: State, c: Constants) -> tuple[Any, ...]:
    """Return those of W = pi tau r + i v, in which the model is a complex Riccati equation."""
    r, v = state
    return c["pull"] * r * r, v * v


QIF = Model(
    name="qif",
    variables=(
        Variable("r", "1/ms", "population firing rate", "1/ms"),
        Variable("v", "1", "mean membrane potential", "1"),
    ),
    parameters=(
        Parameter("tau", 1.0, "ms", "membrane time constant", POSITIVE),
        Parameter("eta", -5.0, "1", "centre of the Lorentzian of excitabilities"),
        Parameter("delta", 1.0, "1", "half-width of the Lorentzian of excitabilities", POSITIVE),
        Parameter("J", 15.0, "1", "strength of the recurrent coupling"),
    ),
    constants=_qif_constants,
    field=_qif_field,
    squares=_qif_squares,
    driven="v",
    meaning="tau r' = delta/(pi tau) + 2 r v + z_r, tau v' = v^2 + eta + I + J tau r - (pi tau r)^2 + z_v",
    reference="Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12",
)

MODELS: dict[str, Model] = {model.name: model for model in (QIF,)}
