"""The parts of a model: variables, parameters with unit, default and domain, and what goes with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from qifscan.arrays import Number
from qifscan.dynamics.domain import REAL, Domain
from qifscan.printed import Printed, value

State = tuple[Number, ...]
Constants = dict[str, Number]
N = TypeVar("N", bound=Number)


@dataclass(frozen=True)
class Parameter:
    """A number that a scan can fix or make an axis.

    Parameters
    ----------
    name
        As files and calls write it.
    default
        Its value where none is given; None if there has to be one.
    unit
        Its unit, "1" if it has none.
    meaning
        In words, for tables and datasets.
    domain
        The values that it can have: `REAL`, `POSITIVE`, `NON_NEGATIVE`, `NONZERO` or `FRACTION`.

    Examples
    --------
    >>> from qifscan.models import POSITIVE, Parameter
    >>> Parameter("tau_w", 50.0, "ms", "time constant of the recovery", POSITIVE)
    tau_w = 50 (ms): time constant of the recovery, a number above 0
    """

    name: str
    default: float | None
    unit: str
    meaning: str
    domain: Domain = REAL

    def __repr__(self) -> str:
        given = "" if self.default is None else f" = {value(self.default)}"
        return f"{self.name}{given} ({self.unit}): {self.meaning}, {self.domain.words}"


@dataclass(frozen=True)
class Variable:
    """A variable of the state of a model.

    Parameters
    ----------
    name, unit, meaning
        As of a `Parameter`.
    input_unit
        Unit of what noise or a drive adds to its equation; None if nothing can be added.
    domain
        Where it can be at rest.
    rate
        Whether it is the firing rate of a population: then it is named r or r_<population>, and that
        population has the parameters tau, delta and eta with the same ending.
    group
        Errors are relative to the size of all variables of one group, by default of the variable alone.
    absorbed
        `absorbed(parameters, mean, more)` returns parameters that do what a constant input `mean + more`
        does.
    bounds
        Of a model without `rest`: where Newton's method starts.

    Examples
    --------
    >>> from qifscan.models import Variable
    >>> Variable("w", "1", "recovery")
    w (1): recovery
    """

    name: str
    unit: str
    meaning: str
    input_unit: str | None = None
    domain: Domain = REAL
    rate: bool = False
    group: str = ""
    absorbed: Callable[[Mapping[str, Number], Number, Number], dict[str, Number]] | None = None
    bounds: tuple[float, float] | None = None

    def __repr__(self) -> str:
        return f"{self.name} ({self.unit}): {self.meaning}"

    @property
    def population(self) -> str:
        """The ending of the names of its population's parameters, of the variable of a rate."""
        return self.name.removeprefix("r")


@dataclass(frozen=True, eq=False, repr=False)
class Model(Printed):
    """A mean field `y' = field(y, inputs, constants)`.

    Two models are the same only if they are one object.

    Parameters
    ----------
    name
        As scans name it.
    variables, parameters
        Rows of `Variable` and `Parameter`, in the order of the state.
    constants
        `constants(parameters)` turns the parameters (float64, one array per name) into what the field reads,
        once per point and outside the time loop.
    field
        `field(state, inputs, constants)` takes the state and one additive input per variable, both as tuples
        in the order of `variables`, and returns the derivatives (per ms) likewise.
    squares
        `squares(state, constants)` gives the squared size of each variable, of a state or of the difference
        of two; the sum over a group is the scale of relative errors.
    rest
        `rest(r, parameters)` is the unique state with rate r that satisfies every equilibrium equation but
        that of `driven`. A value outside the domain of its variable means that there is no equilibrium of
        that rate. None: equilibria are those that Newton's method finds from many starts.
    driven, graph
        The parameter `graph` enters the equation of the variable `driven` alone, additively: so its value at
        which r is an equilibrium follows from the field. Without `rest` it means nothing.
    meaning, reference
        The equations in words or formulas, and the paper that they are from.
    target
        The variable to whose equation the drive is added, by default `driven`.
    delay
        Name of a parameter D in ms: the input `past` r(t - D) is added to `driven`, where `past` is a
        constant, r the first variable, constant before t = 0, and `driven` the second and last.
    others
        The same equations as graphs over other rates: with another first variable, order of variables,
        `rest`, `driven` and `graph`.
    frame
        The equations in which those of `meaning` stand, if `meaning` is not all of them.
    plain
        The equations are those of "qif", with J tau r as it is or a `delay` ago: then the equilibria are
        roots of one polynomial, and integrators made for these equations can step them. It is for rows of
        this package; of a model in a user's file it is not read.

    Examples
    --------
    >>> from qifscan.models import MODELS
    >>> MODELS["qif"].field((0.1, -1.0), (0.0, 0.0), MODELS["qif"].constants(
    ...     {"tau": 1.0, "eta": -5.0, "delta": 1.0, "J": 15.0}
    ... ))[1]
    -2.59869...
    """

    name: str
    variables: tuple[Variable, ...]
    parameters: tuple[Parameter, ...]
    constants: Callable[[Mapping[str, Number]], Constants]
    field: Callable[[State, State, Constants], State]
    squares: Callable[[State, Constants], tuple[Number, ...]]
    rest: Callable[[Number, Mapping[str, Number]], State] | None
    driven: str
    meaning: str
    reference: str
    graph: str = "eta"
    target: str = ""
    delay: str = ""
    others: tuple[Model, ...] = ()
    frame: str = ""
    """The equations in which those of `meaning` stand, if `meaning` is not all of them."""
    plain: bool = False

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines that it prints as."""
        yield "model", self.name
        yield "equations", ", ".join(part for part in (self.frame, self.meaning) if part)
        yield from (("variable", repr(variable)) for variable in self.variables)
        yield from (("parameter", repr(parameter)) for parameter in self.parameters)
        equations = " and ".join(self.reached)
        yield "input", f"the drive is added to the equation{'s' * (' ' in equations)} of {equations}"
        yield "reference", self.reference

    @property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the state variables, in the order of the state."""
        return tuple(variable.name for variable in self.variables)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the variables whose equations have an input: noise, or a drive."""
        return tuple(variable.name for variable in self.variables if variable.input_unit is not None)

    @property
    def stimulated(self) -> str:
        """Name of the variable whose equation the drive is added to."""
        return self.target or self.driven

    @property
    def reached(self) -> tuple[str, ...]:
        """Names of the variables whose equations have the drive: populations may have it in common."""
        names, own = self.variable_names, self.stimulated
        state = tuple(0.1 + 0.07 * k for k in range(len(names)))
        try:
            given = {p.name: 1.0 if p.default is None else p.default for p in self.parameters}
            constants = self.constants(given)
            still, driven = (
                self.field(state, tuple(size * (name == own) for name in names), constants)
                for size in (0.0, 1.0)
            )
            found = tuple(name for name, a, b in zip(names, still, driven, strict=True) if a != b)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            # A model of a user's own that has a mistake is printed all the same.
            found = ()
        return found or (own,)

    @property
    def rates(self) -> tuple[Variable, ...]:
        """The firing rates of the populations."""
        return tuple(variable for variable in self.variables if variable.rate)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Positions of the variables of each group, in the order of their first ones."""
        groups: dict[str, list[int]] = {}
        for index, variable in enumerate(self.variables):
            groups.setdefault(variable.group or variable.name, []).append(index)
        return tuple(map(tuple, groups.values()))

    def at_rest(self, r: N, parameters: Mapping[str, N]) -> tuple[N, ...]:
        """Return the state at rest of a rate, of a model that tells it."""
        assert self.rest is not None, f"{self.name} is no graph over the rate"
        return cast("tuple[N, ...]", self.rest(r, parameters))

    def units(self, parameters: Mapping[str, N]) -> tuple[N | float, ...]:
        """Return the factor that takes each variable to the unit of its group: pi tau of a rate, else 1."""
        return tuple(math.pi * parameters[f"tau{v.population}"] if v.rate else 1.0 for v in self.variables)

    def with_inputs(self, parameters: Mapping[str, N], more: Mapping[str, N] | None = None) -> dict[str, N]:
        """Return the model's parameters that do what the means of the noise, and `more` input, do.

        What no parameter does is there as an input, `<variable>_input`.
        """
        found = {parameter.name: parameters[parameter.name] for parameter in self.parameters}
        for name in self.input_names:
            variable = next(v for v in self.variables if v.name == name)
            mean, extra = parameters[f"{name}_ou_mean"], (more or {}).get(name, 0.0)
            if variable.absorbed is not None:
                found |= cast("dict[str, N]", variable.absorbed(found, mean, extra))
            else:
                found[f"{name}_input"] = mean + extra
        return found


def absorbing(model: Model, parameters: Mapping[str, N], names: Container[str]) -> dict[str, N]:
    """Return parameters in which the means of the inputs of these variables are absorbed, and then 0."""
    found = dict(parameters)
    for variable in model.variables:
        if variable.name in names and variable.absorbed is not None:
            mean = f"{variable.name}_ou_mean"
            absorbed = variable.absorbed(found, found[mean], 0.0)
            found |= cast("dict[str, N]", absorbed) | {mean: 0.0 * found[mean]}
    return found
