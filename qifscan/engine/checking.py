"""Check that the parts of a model's definition belong together: names, units, rest, inputs, derivatives."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_named
from qifscan.dynamics.noise import ou_parameters
from qifscan.dynamics.observables import RESERVED
from qifscan.engine import backend
from qifscan.errors import Fault, ScanError, one_of, show
from qifscan.lazy import LazyModule
from qifscan.theory import newton
from qifscan.theory.rate_curve import at_once, graph_value, jacobian, rate_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jax
    import jax.numpy as jnp
    from numpy.typing import ArrayLike

    from qifscan.arrays import Array, Values
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")


SAMPLES = 32
"""States and parameters at which equations are compared."""

POWERS = {"1": 0.0, "rad": 0.0, "ms": 1.0, "1/ms": -1.0}
"""Units by their power of time, besides ms^<power>."""

TAKEN = RESERVED | {"lyapunov", "point"}


def check_model(model: Model | str) -> None:
    """Check that the parts of a model's definition belong together.

    Compared at random parameters in their domains and at random states: the field under a change of the unit
    of time with what the units say; the field at `rest` with 0; its derivatives by automatic differentiation
    with differences; a constant input with the parameters that are to do the same; the graph parameter with
    an addition to its equation; the field in JAX with that in NumPy; `squares` with `units`.

    Parameters
    ----------
    model
        A `Model`, or the name of one ("package.module:variable" for one of your own).

    Raises
    ------
    ScanError
        With one line for everything that is wrong.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.check_model("qif_gap")
    """
    model = model if isinstance(model, Model) else model_named(model)
    faults = list(_of_names(model))
    # The equations are not to be tried with parts that are missing.
    if not faults:
        with np.errstate(all="ignore"):
            faults = [fault for check in CHECKS for fault in check(model)]
    if faults:
        raise ScanError(Fault(f"{model.name}.{f.where}", f.found, f.expected, f.hint) for f in faults)


def _of_names(model: Model) -> Iterator[Fault]:
    names = [*model.variable_names, *(p.name for p in model.parameters)]
    derived = {p.name for v in model.variables for p in ou_parameters(v)}
    derived |= {f"{v}_{end}" for v in model.variable_names for end in ("initial", "trace")}
    taken = TAKEN | derived | {"down_threshold", "up_threshold"}
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            yield Fault(name, "a name that is no identifier", "letters, digits and _")
        if names.count(name) > 1 or name in taken or name.startswith("drive_"):
            yield Fault(name, "a name that something else has", "a name of its own")
    known = {p.name: p for p in model.parameters}
    yield from (
        Fault(p.name, "no default", "one, in its domain")
        for p in known.values()
        if p.default is None or not p.domain.holds(p.default)
    )
    if not model.rates or not model.variables[0].rate:
        yield Fault("variables", "no rate in the first place", "the rate of a population first (rate=True)")
    for rate in model.rates:
        own = ("tau", "delta") if model.rest is None else ("tau", "delta", "eta")
        missing = [n for n in own if f"{n}{rate.population}" not in known]
        if missing:
            yield Fault(rate.name, f"no {', '.join(missing)} of its population", ", ".join(own))
    yield from (
        Fault(part, show(name), one_of(model.variable_names), "name a variable")
        for part, name in (("driven", model.driven), ("target", model.stimulated))
        if name not in model.variable_names
    )
    if model.rest is not None and model.graph not in known:
        yield Fault("graph", show(model.graph), one_of(list(known)), "name a parameter")
    if model.stimulated in model.variable_names and model.stimulated not in model.input_names:
        yield Fault("target", f"{model.stimulated}, which has no input_unit", "a variable with an input")
    units = [(row.name, row.unit) for row in model.variables]
    units += [(row.name, row.unit) for row in model.parameters]
    for name, unit in units:
        if _power(unit) is None:
            yield Fault(name, f"the unit {show(unit)}", "1, rad, ms, 1/ms or ms^<power>")


def _power(unit: str) -> float | None:
    """Return the power of time of a unit, None of one that is not known."""
    found = re.fullmatch(r"ms\^(-?\d+(\.\d+)?)", unit)
    return POWERS.get(unit) if found is None else float(found[1])


def _parameters(model: Model, rng: np.random.Generator) -> dict[str, Array]:
    """Return random parameters around the defaults, in their domains, `(samples,)` each."""
    found = {}
    for p in model.parameters:
        default = 0.0 if p.default is None else p.default
        values = default * rng.uniform(0.7, 1.4, SAMPLES) + (
            rng.uniform(0.0, 0.2, SAMPLES) if not default else 0.0
        )
        found[p.name] = np.where(p.domain.holds(values), values, default)
    return found


def _at_random(model: Model) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """Return random parameters and states, `(samples,)` each."""
    rng = np.random.default_rng(0)
    parameters = _parameters(model, rng)
    signed = [v.domain.holds(-1.0) for v in model.variables]
    return parameters, tuple(rng.uniform(-1.0 if s else 0.1, 1.0, SAMPLES) for s in signed)


def _slopes(model: Model, state: Sequence[Array], inputs: Values, p: Values) -> tuple[Array, ...]:
    given = tuple(inputs.get(name, 0.0) for name in model.variable_names)
    slopes: tuple[Array, ...] = cast("Any", model.field)(tuple(state), given, model.constants(p))
    return slopes


def _apart(found: ArrayLike, expected: ArrayLike, size: ArrayLike) -> float:
    """Return the largest difference relative to a size, NaN as infinite."""
    ratio = np.abs(np.asarray(found) - np.asarray(expected)) / size
    return float(np.max(np.where(np.isfinite(ratio), ratio, np.inf)))


def _sizes(model: Model, state: Sequence[Array], p: Values) -> list[Array]:
    """Return the size of the terms of each equation: of the slope, and of the derivatives times the state."""
    entries = jacobian(model, state, p)
    slopes = _slopes(model, state, {}, p)
    terms = [sum(np.abs(d * y) for d, y in zip(row, state, strict=True)) for row in entries]
    return [np.abs(s) + t + 1e-12 for s, t in zip(slopes, terms, strict=True)]


def _of_units(model: Model) -> Iterator[Fault]:
    """With times in another unit every quantity changes by the power of time in its unit."""
    p, state = _at_random(model)
    longer = 3.0
    scaled = {row.name: p[row.name] * longer ** (_power(row.unit) or 0.0) for row in model.parameters}
    factors = [longer ** (_power(v.unit) or 0.0) for v in model.variables]
    there = _slopes(model, tuple(y * f for y, f in zip(state, factors, strict=True)), {}, scaled)
    sizes = _sizes(model, state, p)
    for v, slope, here, factor, size in zip(
        model.variables, there, _slopes(model, state, {}, p), factors, sizes, strict=True
    ):
        if _apart(slope * longer / factor, here, size) > 1e-9:
            found = f"an equation of other units than {v.unit} per ms"
            yield Fault(v.name, found, "terms of one unit", "look at its units and those of its parameters")


def _of_rest(model: Model) -> Iterator[Fault]:
    """At `rest` every slope is 0, once the graph parameter is what the field says."""
    if model.rest is None:
        yield from _of_newton(model)
        return
    p, _ = _at_random(model)
    rates = rate_unit(model, p) * 10.0 ** np.random.default_rng(1).uniform(-1.5, 1.5, SAMPLES)
    state = tuple(np.broadcast_to(y, rates.shape) for y in model.at_rest(rates, p))
    if _apart(state[0], rates, 1.0) > 0.0:
        yield Fault("rest", "a first variable that is not the rate it was given", "that rate")
    held = {**at_once(model, p), model.graph: graph_value(model, rates, p)}
    valid = np.all([v.domain.holds(y) for v, y in zip(model.variables, state, strict=True)], axis=0)
    if not np.any(valid):
        yield Fault("rest", "no state in the domains of its variables", "states at some rates")
        return
    slopes, sizes = _slopes(model, state, {}, held), _sizes(model, state, held)
    for v, slope, size in zip(model.variables, slopes, sizes, strict=True):
        if _apart((np.asarray(slope) + 0.0 * rates)[valid], 0.0, (size + 0.0 * rates)[valid]) > 1e-9:
            yield Fault("rest", f"a state at which {v.name} moves", "slopes of 0")


def _of_newton(model: Model) -> Iterator[Fault]:
    """Newton's method finds a state at rest at the defaults."""
    defaults = {p.name: np.array([float(p.default or 0.0)]) for p in model.parameters}
    found = newton.equilibria(model, defaults)
    if not np.isfinite(found.states).any():
        hint = "set `bounds` of its variables, or other defaults"
        yield Fault("rest", "no equilibrium at the defaults by Newton's method", "at least one", hint)


def _of_graph(model: Model) -> Iterator[Fault]:
    """The graph parameter is added to the equation of `driven`, and enters no other."""
    if model.rest is None:
        return
    p, state = _at_random(model)
    moved = [_slopes(model, state, {}, p | {model.graph: p[model.graph] + step}) for step in (1.0, 2.0)]
    here, sizes = _slopes(model, state, {}, p), _sizes(model, state, p)
    for i, v in enumerate(model.variables):
        once, twice = (np.asarray(slopes[i] - here[i]) for slopes in moved)
        size = sizes[i] + np.abs(once)
        if v.name != model.driven and _apart(once, 0.0, size) > 1e-12:
            yield Fault(v.name, f"an equation with {model.graph}", f"it in that of {model.driven} alone")
        if v.name == model.driven and (_apart(twice, 2.0 * once, size) > 1e-9 or not np.all(once != 0.0)):
            yield Fault(v.name, f"an equation without {model.graph} as a term", "one with it as a term")


def _of_inputs(model: Model) -> Iterator[Fault]:
    """A constant input does what `absorbed` says."""
    p, state = _at_random(model)
    for v in model.variables:
        if v.input_unit is None:
            continue
        if v.absorbed is None and model.rest is None:
            continue
        if v.absorbed is None:
            yield Fault(v.name, "an input without `absorbed`", "the parameters that do the same")
            continue
        by_input = _slopes(model, state, {v.name: 0.3}, p)
        by_parameters = _slopes(model, state, {}, p | v.absorbed(p, 0.1, 0.2))
        for other, a, b, size in zip(
            model.variables, by_input, by_parameters, _sizes(model, state, p), strict=True
        ):
            if _apart(a, b, size + np.abs(a)) > 1e-9:
                yield Fault(
                    v.name, f"`absorbed` that changes {other.name}' otherwise than an input", "the same"
                )
        if (
            _apart(by_input[0], _slopes(model, state, {}, p)[0], 1.0) == 0.0
            and v.name == model.variable_names[0]
        ):
            yield Fault(v.name, "an input_unit, and no input in its equation", "`inputs` in the field")


def _of_derivatives(model: Model) -> Iterator[Fault]:
    """The Jacobian by automatic differentiation is that by central differences."""
    p, state = _at_random(model)
    entries, sizes, step = jacobian(model, state, p), _sizes(model, state, p), 1e-5
    for j, other in enumerate(model.variables):
        ends = [
            _slopes(model, tuple(y + (sign * step if i == j else 0.0) for i, y in enumerate(state)), {}, p)
            for sign in (1.0, -1.0)
        ]
        for i, v in enumerate(model.variables):
            found = (np.asarray(ends[0][i]) - np.asarray(ends[1][i])) / (2.0 * step)
            if _apart(entries[i][j], found, sizes[i] + np.abs(found)) > 1e-6:
                yield Fault(
                    v.name, f"another derivative by {other.name} than its differences", "a smooth field"
                )


def _of_jax(model: Model) -> Iterator[Fault]:
    """In JAX, in float32, the field gives the numbers of NumPy, in float32."""
    backend.prepare()
    p, state = _at_random(model)
    constants: Any = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), model.constants(p))
    moved = tuple(jnp.asarray(y, jnp.float32) for y in state)
    slopes: Any = model.field(moved, tuple(jnp.zeros_like(y) for y in moved), constants)
    expected, sizes = _slopes(model, state, {}, p), _sizes(model, state, p)
    for v, found, value, size in zip(model.variables, slopes, expected, sizes, strict=True):
        if found.dtype != jnp.float32 or _apart(found, value, size) > 1e-4:
            yield Fault(
                v.name, "other numbers in JAX's float32 than in NumPy", "operators alone in the field"
            )


def _of_sizes(model: Model) -> Iterator[Fault]:
    """`squares` are the squares of the variables in the units of their groups."""
    p, state = _at_random(model)
    squares: Any = model.squares(state, model.constants(p))
    units = model.units(p)
    if len(squares) != len(model.variables):
        yield Fault("squares", f"{len(squares)} squares", f"{len(model.variables)}, one for each variable")
        return
    for v, square, unit, y in zip(model.variables, squares, units, state, strict=True):
        if _apart(square, (unit * y) ** 2, (unit * y) ** 2) > 1e-12:
            expected = f"({'pi tau ' if v.rate else ''}{v.name})^2"
            yield Fault("squares", f"another number for {v.name}", expected)


CHECKS: tuple[Callable[[Model], Iterator[Fault]], ...] = (
    _of_units,
    _of_rest,
    _of_graph,
    _of_inputs,
    _of_derivatives,
    _of_jax,
    _of_sizes,
)
"""What is compared, once the names are right."""
