"""`QIF`, populations stepped by hand: a pure step on a tuple of states, and a thin object around it.

The names are those of the reference class (BrainPy 2.3.0, `rates.QIF`): `x` is the mean membrane potential v,
`y` the population rate r, and `x_ou_*` is noise on v, `y_ou_*` on r.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import attrgetter, index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from qifscan import __version__, backend, theory
from qifscan.errors import Fault, QifscanError, ScanError, StoreError, check_count, counted, show, unknown
from qifscan.initial import NAMED_STATES
from qifscan.integrate import INTEGRATORS, System
from qifscan.lazy import LazyModule
from qifscan.models import MODELS, POSITIVE, REAL, Domain, Parameter
from qifscan.noise import (
    INITIAL_STEP,
    normal_pair,
    ou_constants,
    ou_parameters,
    point_keys,
    split_key,
    threefry2x32,
)
from qifscan.observables import Status
from qifscan.place import local

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import xarray as xr
    from jax import lax
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")
    xr = LazyModule("xarray")

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Constants = dict[str, Any]

MODEL = MODELS["qif"]
R, V = MODEL.variables

PARAMETERS: dict[str, Parameter] = {p.name: p for p in MODEL.parameters} | {
    f"{letter}{p.name.removeprefix(variable.name)}": p
    for letter, variable in (("x", V), ("y", R))
    for p in ou_parameters(variable)
}
"""The parameters by the names of the reference class; each holds its name in the model."""

MOVING = ("x", "y", "x_ou", "y_ou")
"""The variables that a step moves."""

MODES = ("single", "batch", "training")
PRECISIONS = ("float64", "float32")
TOLERANCE = 1e-3
"""Estimated relative error above which a state is flagged: that of a scan."""

UNIFORM_HIGH = 0.05
"""Upper end of the default initial states, the reference's Uniform(0, 0.05)."""

REGISTERED = "registered "
"""Before the names of registered variables in a file."""

FORMAT = {"format": "qifscan.QIF", "version": 1}


# The functional core


class State(NamedTuple):
    """The state of populations, of which all arrays have one shape: what a step takes and returns.

    `x` (v, 1), `y` (r, 1/ms); `x_ou`, `y_ou`, the noise on each, in the unit of its input; `step`, the number
    of steps taken, an uint32; `key`, two words of 32 bits that name the stream of each population's noise.
    """

    x: Any
    y: Any
    x_ou: Any
    y_ou: Any
    step: Any
    key: tuple[Any, Any]


def prepare(
    parameters: Mapping[str, Any], *, dt: float = 0.1, method: str = "exp_auto", precision: str = "float64"
) -> Constants:
    """Return what a step reads: a dict of arrays, computed once and outside the loop over time.

    `parameters` holds tau, eta, delta, J, x_ou_mean ... (numbers or arrays; the defaults of `QIF` for what is
    left out); values that JAX traces are fine, so the result can be differentiated. `dt` is in ms, `method`
    the one that `step` gets. Raises `ScanError` for unknown names; values are not checked here.
    """
    faults = [unknown("parameters", name, PARAMETERS) for name in parameters if name not in PARAMETERS]
    faults += [unknown("method", method, INTEGRATORS)] if method not in INTEGRATORS else []
    if faults:
        raise ScanError(faults)
    given = {p.name: parameters.get(name, p.default) for name, p in PARAMETERS.items()}
    traced = any(isinstance(value, jax.core.Tracer) for value in given.values())
    if traced:
        _check_bits(precision)
    columns = {
        name: _Traced(value) if isinstance(value, jax.core.Tracer) else np.asarray(value, dtype=np.float64)
        for name, value in given.items()
    }
    highest = _Traced(_traced_highest_rate(columns)) if traced else _highest_rate(*_at_rest(columns))
    constants = MODEL.constants(columns) | ou_constants(MODEL, columns, dt) | {"dt": np.asarray(dt)}
    integrator: Any = INTEGRATORS[method]
    constants |= integrator.prepare(columns, highest, np.asarray(dt))
    return {name: _bare(value).astype(precision) for name, value in constants.items()}


def step(constants: Constants, state: State, x: Any = 0.0, y: Any = 0.0, *, method: str) -> State:
    """Return the state one step later: pure, for JAX's `jit`, `vmap`, `grad` and `lax.scan`.

    `tau y' = delta/(pi tau) + 2 x y + z_y + I_y`, `tau x' = x^2 + eta + J tau y - (pi tau y)^2 + z_x + I_x`
    (Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12); z is Ornstein-Uhlenbeck noise,
    z' = (mean - z)/ou_tau + sigma xi, drawn by its exact step and linear in time within it.

    `constants` are those of `prepare` for the same method; `x` (1) and `y` (1/ms) the inputs I_x and I_y,
    constant during the step. float64 needs JAX's 64 bits:

    >>> import jax, numpy as np, qifscan as qs
    >>> from qifscan import population
    >>> pop = qs.QIF(1, x_initializer=0.0, y_initializer=0.0, method="rk4", dt=0.01)
    >>> def final_rate(J, steps=100):
    ...     constants = population.prepare(pop.parameters | {"J": J}, dt=pop.dt, method=pop.method)
    ...     def one(state, _):
    ...         state = population.step(constants, state, method=pop.method)
    ...         return state, state.y
    ...     state, rates = jax.lax.scan(one, pop.state, length=steps)
    ...     return rates[-1, 0]
    >>> with jax.enable_x64(True):
    ...     rate, slope = jax.value_and_grad(final_rate)(15.0)
    ...     print(f"r(1 ms) = {rate:.8f}, dr/dJ = {slope:.6f}")
    r(1 ms) = 0.08957495, dr/dJ = 0.001200
    """
    return _advanced(constants, state, x, y, method)[0]


def _check_bits(dtype: Any) -> None:
    """Raise `ScanError` if JAX would take float64 for float32 without a word."""
    if np.dtype(dtype) == np.float64 and jnp.result_type(float) != np.float64:
        hint = 'call it within jax.enable_x64(True), or prepare it with precision="float32"'
        raise ScanError([Fault("precision", "JAX with 32 bits", "64 bits for float64", hint)])


def _integrated(method: str, system: System, state: Any, inputs: Any, dt: Any) -> tuple[Any, Any]:
    """Return the next (r, v), and the estimate of this step's error as a squared relative size."""
    return INTEGRATORS[method].step(system, state, inputs, dt)


def _advanced(c: Constants, state: State, x: Any, y: Any, method: str) -> tuple[State, Any]:
    """Return the state one step later and the estimate of the step's error."""
    _check_bits(c["dt"].dtype)
    dtype = jnp.result_type(state.x)
    x, y = jnp.asarray(x).astype(dtype), jnp.asarray(y).astype(dtype)
    draw_y, draw_x = normal_pair(state.key, state.step, 0, dtype)
    x_ou, y_ou = _noise_after(c, V.name, state.x_ou, draw_x), _noise_after(c, R.name, state.y_ou, draw_y)

    def inputs(fraction: float) -> tuple[Any, Any]:
        return _between(state.y_ou, y_ou, fraction) + y, _between(state.x_ou, x_ou, fraction) + x

    system = System(MODEL, c, MODEL.variable_names)
    (rate, potential), estimate = _integrated(method, system, (state.y, state.x), inputs, c["dt"])
    return State(potential, rate, x_ou, y_ou, state.step + np.uint32(1), state.key), estimate


def _noise_after(c: Constants, name: str, z: Any, draw: Any) -> Any:
    mean = c[f"{name}_mean"]
    return mean + (z - mean) * c[f"{name}_decay"] + c[f"{name}_gain"] * draw


def _between(now: Any, later: Any, fraction: float) -> Any:
    if fraction in (0.0, 1.0):
        return later if fraction else now
    return (1.0 - fraction) * now + fraction * later


def _stationary(c: Constants, key: tuple[Any, Any]) -> tuple[Array, Array]:
    """Return the noise on x and on y at step 0, drawn from its stationary law."""
    shape, count, dtype = key[0].shape, key[0].size, c["dt"].dtype
    high, low = (np.pad(word.ravel(), (0, _room(count) - count)) for word in key)
    draws = normal_pair((high, low), np.uint32(INITIAL_STEP), 0, dtype)
    draw_y, draw_x = (np.asarray(draw)[:count].reshape(shape) for draw in draws)
    x_ou = c[f"{V.name}_mean"] + c[f"{V.name}_std"] * draw_x
    return x_ou, c[f"{R.name}_mean"] + c[f"{R.name}_std"] * draw_y


def _room(count: int) -> int:
    """Return a length for so many rows, at most an eighth too long: JAX compiles for a few lengths alone."""
    unit = max(8, 1 << max(count.bit_length() - 4, 0))
    return -(-count // unit) * unit


def _stream_keys(seed: int, batch: int, *shape: int) -> Any:
    """Return the 64-bit keys of the noise: of the same population and batch element whatever the sizes."""
    count = math.prod(shape)
    population = np.tile(np.arange(count, dtype=np.float64), batch)
    return point_keys(seed, {"population": population}, np.repeat(np.arange(batch), count))


def _split(words: Any, shape: Shape) -> tuple[Any, Any]:
    high, low = split_key(words)
    return high.reshape(shape), low.reshape(shape)


def _uniform_states(key: tuple[Any, Any]) -> tuple[Array, Array]:
    """Return x and y, uniform in (0, 0.05), from the generator of the noise at a counter of their own."""
    counter = (np.full_like(key[0], INITIAL_STEP), np.full_like(key[0], 1))
    x, y = (UNIFORM_HIGH * (bits + 0.5) * 2.0**-32 for bits in threefry2x32(key, counter))
    return x, y


def _at_rest(columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return eta, J, delta and tau of the model with the mean of its noise."""
    delta = columns["delta"] + math.pi * columns["tau"] * columns[f"{R.name}_ou_mean"]
    return columns["eta"] + columns[f"{V.name}_ou_mean"], columns["J"], delta, columns["tau"]


def _highest_rate(*at_rest: Any) -> Array:
    """Return the highest rate at rest; an integrator may be exact there."""
    return NAMED_STATES["up"](theory.roots(*at_rest))


def _traced_highest_rate(columns: Mapping[str, Any]) -> Any:
    """Return it for traced parameters, as a constant: any rate serves, only not equally well."""
    values = jnp.broadcast_arrays(*(lax.stop_gradient(jnp.asarray(_bare(x))) for x in _at_rest(columns)))
    dtype = values[0].dtype
    # As words of 32 bits: on the thread of the callback, JAX takes every float64 for a float32.
    words = [lax.bitcast_convert_type(value, jnp.uint32) for value in values]

    def called(*words: Any) -> Array:
        return _highest_rate(*(np.asarray(word).view(dtype) for word in words)).astype(dtype).view(np.uint32)

    result = jax.ShapeDtypeStruct(words[0].shape, jnp.uint32)  # type: ignore[no-untyped-call]
    found = jax.pure_callback(called, result, *words, vmap_method="expand_dims")
    return lax.bitcast_convert_type(found, dtype)


class _Traced(NDArrayOperatorsMixin):
    """A value that JAX traces, in a formula written for NumPy, whose functions it hands to JAX.

    The kernel computes its constants once, by NumPy in float64; so one formula serves both.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> _Traced:
        return _Traced(getattr(jnp, ufunc.__name__)(*(_bare(x) for x in inputs)))

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> _Traced:
        return _Traced(getattr(jnp, function.__name__)(*(_bare(x) for x in inputs)))

    @property
    def real(self) -> _Traced:
        return _Traced(self.value.real)

    @property
    def imag(self) -> _Traced:
        return _Traced(self.value.imag)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, _Traced) else value


# The loop over time of the object


@cache
def _loop(method: str, names: tuple[str, ...]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the condition and the body of the one loop that steps an object.

    They are the same two functions whenever asked, so that JAX compiles them once; nor does what they
    compile to depend on the number of steps, so that `run` has the bits of `update`. The constants are
    packed into one array, in the order of `names`: JAX takes 30 us for each that it is handed.
    """

    def unfinished(carry: Any) -> Any:
        return carry["row"] < carry["rows"]

    def record(carry: Any) -> Any:
        row, every = carry["row"], carry["every"]
        constants = dict(zip(names, carry["constants"], strict=True))

        def one(k: Any, moving: Any) -> Any:
            x, y = (
                moving["pending"][i] + drive[jnp.minimum(row * every + k, carry["last"][i])]
                for i, drive in enumerate(carry["drive"])
            )
            state, estimate = _advanced(constants, moving["state"], x, y, method)
            return {
                "state": state,
                "pending": tuple(jnp.zeros_like(z) for z in moving["pending"]),
                "estimate": jnp.maximum(estimate, moving["estimate"]),
                "negative": moving["negative"] | (state.y < 0),
            }

        moving = lax.fori_loop(0, every, one, carry["moving"])
        kept = carry["record"].at[row].set(jnp.stack([moving["state"].y, moving["state"].x]))
        return carry | {"row": row + 1, "moving": moving, "record": kept}

    return unfinished, record


def _padded(drive: Array) -> Array:
    """Return inputs with room for more rows."""
    return np.pad(drive, [(0, _room(len(drive)) - len(drive)), *((0, 0),) * (drive.ndim - 1)])


# What a user gives


@contextmanager
def _collected(faults: list[Fault]) -> Iterator[None]:
    try:
        yield
    except ScanError as error:
        faults += error.faults


def _checked(name: str, given: Any, domain: Domain, shape: Shape | None, hint: str = "") -> Array:
    """Return a value as a float64 array of a shape (None: whatever it has)."""
    if callable(given):
        return np.zeros(()) if shape is None else _checked(name, given(shape), domain, shape, hint)
    if isinstance(given, jax.core.Tracer):
        hint = "trace qifscan.population.prepare and step instead"
        raise ScanError([Fault(name, "a value that JAX traces", "numbers", hint)])
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        words = "a number, an array of numbers, or a function of the shape"
        raise ScanError([Fault(name, show(given), words)])
    array = array.astype(np.float64)
    wrong = np.argwhere(~(np.isfinite(array) & domain.holds(array)))
    if len(wrong):
        place = f" at {tuple(wrong[0].tolist())}" if array.ndim else ""
        raise ScanError([Fault(name, f"{array[tuple(wrong[0])]}{place}", domain.words)])
    try:
        whole: Array = np.array(array if shape is None else np.broadcast_to(array, shape))
        return whole
    except ValueError:
        fault = Fault(name, f"an array of shape {array.shape}", f"one that broadcasts to {shape}", hint)
        raise ScanError([fault]) from None


def _checked_size(size: Any) -> Shape:
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if not sizes:
        raise ScanError([Fault("size", show(size), "a number of populations, or a tuple of them")])
    for count in sizes:
        check_count("size", count)
    return tuple(index(count) for count in sizes)


def _check_choice(where: str, given: Any, known: Sequence[str]) -> None:
    if not (isinstance(given, str) and given in known):
        raise ScanError([unknown(where, given, known)])


_living: WeakValueDictionary[str, QIF] = WeakValueDictionary()


def _checked_name(name: Any, kind: str) -> str:
    """Return a name that no other living population has; the first free one of its kind for None."""
    if name is None:
        number = 0
        while f"{kind}{number}" in _living:
            number += 1
        return f"{kind}{number}"
    if not (isinstance(name, str) and name.isidentifier()):
        raise ScanError([Fault("name", show(name), "a name of letters, digits and _")])
    if name in _living:
        raise ScanError([Fault("name", f"{show(name)}, which another population has", "one of its own")])
    return name


class _Delay:
    """The last values of a variable: a ring of `length` + 1 rows."""

    def __init__(self, target: str, length: int, initial: Any) -> None:
        self.target, self.length, self.initial = target, length, initial
        self.rows, self.head = np.zeros((1,)), 0

    def reset(self, identifier: str, value: Array) -> None:
        """Begin again: the value now, and the initial data before it, zeros if there are none."""
        shape = (self.length, *value.shape)
        initial = 0.0 if self.initial is None else self.initial
        before = _checked(f"the initial data of delay {show(identifier)}", initial, REAL, shape)
        self.rows, self.head = np.concatenate([value[None], before.astype(value.dtype)]), 0

    def push(self, value: Array) -> None:
        """Append the value of now."""
        self.head = (self.head - 1) % len(self.rows)
        self.rows[self.head] = value

    @property
    def ordered(self) -> Array:
        """The rows, the newest first."""
        rows: Array = np.roll(self.rows, -self.head, axis=0)
        return rows

    def at(self, steps: Array, places: tuple[Any, ...]) -> Array:
        """Return the values so many pushes ago, at these places of the variable if any are given."""
        rows = (self.head + steps) % len(self.rows)
        if places or rows.ndim == 0:
            return np.array(self.rows[(rows, *places)])
        full = np.broadcast_to(rows, self.rows.shape[1:])
        return np.array(np.take_along_axis(self.rows, full[None], axis=0)[0])


def _checked_delay(steps: Any, shape: Shape) -> Array:
    counts = np.asarray(steps(shape) if callable(steps) else steps)
    if counts.dtype.kind not in "iu" or np.any(counts < 0):
        raise ScanError(
            [Fault("delay_step", show(counts), "a number of steps, 0 or more, or an array of them")]
        )
    return counts.astype(np.int64)


# The object


class _Setting:
    """A parameter of a population: a read-only array; what is assigned is checked and broadcast."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        parameter = PARAMETERS[name]
        self.__doc__ = f"{parameter.meaning[:1].upper()}{parameter.meaning[1:]}, {parameter.unit}."

    def __get__(self, instance: QIF | None, owner: type) -> Any:
        return self if instance is None else instance._parameters[self.name]

    def __set__(self, instance: QIF, value: Any) -> None:
        instance._set_parameters({**instance._parameters, self.name: value})


class _Variable:
    """A variable of a population: the array of now, which may be changed; what is assigned is broadcast."""

    def __init__(self, meaning: str) -> None:
        self.__doc__ = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: QIF | None, owner: type) -> Any:
        return self if instance is None else instance._arrays[self.name]

    def __set__(self, instance: QIF, value: Any) -> None:
        now = instance._arrays[self.name]
        if value is not now:
            instance._arrays[self.name] = _checked(self.name, value, REAL, now.shape).astype(now.dtype)


class QIF:
    """Uncoupled populations of quadratic integrate-and-fire neurons, stepped by hand.

    `tau y' = delta/(pi tau) + 2 x y + z_y + I_y`, `tau x' = x^2 + eta + J tau y - (pi tau y)^2 + z_x + I_x`;
    x is the mean membrane potential v (1), y the population rate r (1/ms), I the input. z is
    Ornstein-Uhlenbeck noise: z' = (ou_mean - z)/ou_tau + ou_sigma xi, of standard deviation
    ou_sigma sqrt(ou_tau/2), from its stationary law on and exact at any step.
    Source: Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12; the class `rates.QIF` of
    BrainPy 2.3.0, whose numbers the method "exp_auto" gives step for step.

    The default method and step are those of that class, and too coarse for many states (at J = 15 already
    for the upper one at eta = -5): `status` says so. "riccati" and "rk4" resolve it at the same step, and
    the upper states up to eta = 0 at 0.05 ms.

    Parameters
    ----------
    size, keep_size
        Number of populations, or a tuple; the variables are flat, `(number,)`, unless `keep_size` is set.
        `varshape` is their shape, `(batch, *varshape)` with a batch.
    tau, eta, delta, J
        Time constant (ms, above 0), centre and half-width (above 0) of the excitabilities, coupling: each a
        number, an array that broadcasts to `varshape`, or a function of that shape.
    x_ou_mean, x_ou_sigma, x_ou_tau, y_ou_mean, y_ou_sigma, y_ou_tau
        The noise on x (1; 1/ms^0.5; ms) and on y (1/ms; 1/ms^1.5; ms), likewise.
    x_initializer, y_initializer
        Initial states of x and of y: a number, an array that broadcasts to the shape of the state, a function
        of it, or None: uniform in (0, 0.05), the reference's default for both, `Uniform(max_val=0.05)`, drawn
        from the seed. A reset draws the same again.
    method
        "exp_auto", "riccati", "rk4", "heun" or "euler"; each of them with noise as without. "riccati" is
        of second order in what is added to y.
    name
        Unlike that of any living population; None takes the first of QIF0, QIF1, ... that is free.
        Nothing depends on it.
    mode
        "single"; "batch": independent copies along a first axis, 1 until `reset_state(batch_size)`, each
        with noise and initial states of its own; "training": likewise, with `trainable` parameters.
    dt
        Length of a step, ms.
    seed
        Names the noise and the initial states: the same for the same seed, whatever was made or run
        before. A population's noise depends on the seed, its index and its place in the batch alone, so
        two objects of one seed have the same noise.
    precision
        "float64" or "float32".
    trainable
        Names of the parameters that `train_vars` returns; needs `mode="training"`.

    Raises
    ------
    ScanError
        One line for every mistake.
    """

    tau, eta, delta, J = _Setting(), _Setting(), _Setting(), _Setting()
    x_ou_mean, x_ou_sigma, x_ou_tau = _Setting(), _Setting(), _Setting()
    y_ou_mean, y_ou_sigma, y_ou_tau = _Setting(), _Setting(), _Setting()
    x = _Variable("Mean membrane potential v.")
    y = _Variable("Population rate r, 1/ms.")
    x_ou = _Variable("Noise on x.")
    y_ou = _Variable("Noise on y, 1/ms.")
    input = _Variable("Input to x in the next step; 0 after it.")
    input_y = _Variable("Input to y in the next step, 1/ms; 0 after it.")

    size = property(attrgetter("_size"), doc="The size as a tuple.")
    keep_size = property(attrgetter("_keep_size"), doc="Whether the variables have the shape `size`.")
    name = property(attrgetter("_name"), doc="Name of the object.")
    mode = property(attrgetter("_mode"), doc='"single", "batch" or "training".')
    method = property(attrgetter("_method"), doc="Name of the integrator.")
    dt = property(attrgetter("_dt"), doc="Length of a step, ms.")
    seed = property(attrgetter("_seed"), doc="Seed of the noise and of the default initial states.")
    precision = property(attrgetter("_precision"), doc='"float64" or "float32".')

    def __init__(
        self,
        size: int | Sequence[int],
        keep_size: bool = False,
        tau: Any = 1.0,
        eta: Any = -5.0,
        delta: Any = 1.0,
        J: Any = 15.0,
        x_ou_mean: Any = 0.0,
        x_ou_sigma: Any = 0.0,
        x_ou_tau: Any = 5.0,
        y_ou_mean: Any = 0.0,
        y_ou_sigma: Any = 0.0,
        y_ou_tau: Any = 5.0,
        x_initializer: Any = None,
        y_initializer: Any = None,
        method: str = "exp_auto",
        name: str | None = None,
        mode: str = "single",
        *,
        dt: float = 0.1,
        seed: int = 0,
        precision: str = "float64",
        trainable: Sequence[str] = (),
    ) -> None:
        given = {key: value for key, value in locals().items() if key in PARAMETERS}
        faults: list[Fault] = []
        with _collected(faults):
            self._size = _checked_size(size)
        self._keep_size = bool(keep_size)
        with _collected(faults):
            self._name = _checked_name(name, type(self).__name__)
        self._check_settings(method, mode, dt, seed, precision, trainable, faults)
        shape = self.varshape if hasattr(self, "_size") else None
        self._parameters = self._checked_parameters(given, shape, faults)
        if faults:
            raise ScanError(faults)
        self._initializers = (x_initializer, y_initializer)
        self._delays: dict[str, _Delay] = {}
        self._registered_vars: dict[str, Array] = {}
        self._registered_nodes: dict[str, QIF] = {}
        self._constants: Constants | None = None
        self._arrays: dict[str, Array] = {}
        self.reset_state(None if mode == "single" else 1)
        _living[self._name] = self

    def __repr__(self) -> str:
        return f"QIF(name={self.name!r}, size={self.size}, method={self.method!r}, mode={self.mode!r})"

    def _check_settings(
        self,
        method: Any,
        mode: Any,
        dt: Any,
        seed: Any,
        precision: Any,
        trainable: Any,
        faults: list[Fault],
    ) -> None:
        with _collected(faults):
            _check_choice("method", method, list(INTEGRATORS))
        with _collected(faults):
            _check_choice("mode", mode, MODES)
        with _collected(faults):
            _check_choice("precision", precision, PRECISIONS)
        with _collected(faults):
            if np.ndim(dt):
                raise ScanError([Fault("dt", show(dt), "one number")])
            dt = float(_checked("dt", dt, POSITIVE, ()))
        with _collected(faults):
            check_count("seed", seed, 0)
        names = (trainable,) if isinstance(trainable, str) else tuple(trainable)
        faults += [unknown("trainable", other, PARAMETERS) for other in names if other not in PARAMETERS]
        if names and mode != "training":
            faults.append(Fault("trainable", show(names), "nothing", 'set mode="training"'))
        self._method, self._mode, self._precision, self._trainable = method, mode, precision, names
        self._dt, self._seed = dt, seed if faults else index(seed)

    def _checked_parameters(
        self, given: Mapping[str, Any], shape: Shape | None, faults: list[Fault]
    ) -> dict[str, Array]:
        checked = {}
        for name, value in given.items():
            hint = ""
            if not self.keep_size and len(getattr(self, "_size", ())) > 1:
                hint = "set keep_size=True for parameters of the shape of size"
            with _collected(faults):
                checked[name] = _checked(name, value, PARAMETERS[name].domain, shape, hint)
                checked[name].flags.writeable = False
        return checked

    def _set_parameters(self, given: Mapping[str, Any]) -> None:
        faults: list[Fault] = []
        checked = self._checked_parameters(given, self.varshape, faults)
        if faults:
            raise ScanError(faults)
        self._parameters, self._constants = checked, None

    def _prepared(self) -> Constants:
        if self._constants is None:
            self._constants = prepare(
                self._parameters, dt=self.dt, method=self.method, precision=self.precision
            )
        return self._constants

    # What it is

    @property
    def num(self) -> int:
        """Number of populations."""
        return math.prod(self.size)

    @property
    def varshape(self) -> Shape:
        """Shape of the variables without a batch."""
        return tuple(self.size) if self.keep_size else (self.num,)

    def get_batch_shape(self, batch_size: int | None = None) -> Shape:
        """Return the shape of the variables with a batch of this size (None: without)."""
        return self.varshape if batch_size is None else (batch_size, *self.varshape)

    @property
    def batch_size(self) -> int | None:
        """Number of copies, None without a batch."""
        shape = self.x.shape
        return int(shape[0]) if len(shape) > len(self.varshape) else None

    @property
    def parameters(self) -> dict[str, Array]:
        """The parameters by name, arrays of shape `varshape`, as `prepare` takes them."""
        return dict(self._parameters)

    @property
    def steps(self) -> int:
        """Number of steps since the last reset."""
        return self._steps

    @property
    def time(self) -> float:
        """Time since the last reset, ms."""
        return self._steps * float(self.dt)

    def unique_name(self, name: str | None = None, type_: str | None = None) -> str:
        """Return a name, if no living population has it; for None the first free one of the type."""
        return _checked_name(name, type(self).__name__ if type_ is None else type_)

    def nodes(self, method: str = "absolute", level: int = -1, include_self: bool = True) -> dict[str, QIF]:
        """Return this object by its name ("absolute") or by "" ("relative"), and what was registered as its
        parts, by their names or by those they were registered under; with `level=0` this object alone."""
        _check_choice("method", method, ("absolute", "relative"))
        absolute = method == "absolute"
        found: dict[str, QIF] = {self.name if absolute else "": self} if include_self else {}
        parts = {} if level == 0 else self._registered_nodes
        return found | {node.name if absolute else key: node for key, node in parts.items()}

    def vars(self, method: str = "absolute", level: int = -1, include_self: bool = True) -> dict[str, Array]:
        """Return the arrays of now by name, "QIF0.x" ("absolute") or "x" ("relative")."""
        return self._named(self._arrays | self._registered_vars, method, include_self)

    def train_vars(
        self, method: str = "absolute", level: int = -1, include_self: bool = True
    ) -> dict[str, Array]:
        """Return the `trainable` parameters by name, "QIF0.J" ("absolute") or "J" ("relative").

        Gradients with respect to them come from `jax.grad` through `qifscan.population.step`, see there;
        what was learned is assigned: `pop.J = ...`.
        """
        chosen = {name: self._parameters[name] for name in self._trainable}
        return self._named(chosen, method, include_self)

    def _named(self, arrays: Mapping[str, Array], method: str, include_self: bool) -> dict[str, Array]:
        prefixes = self.nodes(method, level=0, include_self=include_self)
        return {
            f"{prefix}.{key}" if prefix else key: value
            for prefix in prefixes
            for key, value in arrays.items()
        }

    # Where it is

    @property
    def state(self) -> State:
        """The state as `qifscan.population.step` takes it, a copy; one that it returned can be assigned."""
        x, y, x_ou, y_ou = (self._arrays[name].copy() for name in MOVING)
        return State(x, y, x_ou, y_ou, np.uint32(self._steps), self._key)

    @state.setter
    def state(self, state: State) -> None:
        shape = self.x.shape
        for name in MOVING:
            if np.shape(getattr(state, name)) != shape:
                found = f"an array of shape {np.shape(getattr(state, name))}"
                raise ScanError([Fault(f"state.{name}", found, f"one of shape {shape}")])
        self._take(state)

    def _take(self, state: State) -> None:
        # Copies: what JAX returns is read-only, and an array that was handed out must not change.
        for name in MOVING:
            self._arrays[name] = np.array(getattr(state, name), dtype=self.precision)
        self._steps = int(state.step)
        self._key = (np.array(state.key[0]), np.array(state.key[1]))

    @property
    def error_estimate(self) -> Array:
        """The largest estimated relative error of each population since the last reset, from the step."""
        largest = np.sqrt(self._estimate.astype(np.float64))
        return np.asarray(INTEGRATORS[self.method].relative_error(largest))

    @property
    def status(self) -> Array:
        """How far to trust each population, flags of `qifscan.Status`; 0 before the first step.

        `under_resolved` where `error_estimate` is above 1e-3: take a shorter step or another method.
        `rate_negative` where the rate was below 0 after any step, `diverged` where the state is not finite.
        """
        flags = np.full(self.x.shape, int(Status.computed), dtype=np.uint8)
        flags[~(np.isfinite(self.x) & np.isfinite(self.y))] |= int(Status.diverged)
        flags[self._negative] |= int(Status.rate_negative)
        flags[~(self.error_estimate <= TOLERANCE)] |= int(Status.under_resolved)
        return flags if self._steps else np.zeros_like(flags)

    def reset(self, batch_size: int | None = None) -> None:
        """Do the same as `reset_state`."""
        self.reset_state(batch_size)

    def reset_state(self, batch_size: int | None = None) -> None:
        """Return to step 0: initial states, noise, inputs and delays as at the start, so that a run repeats.

        With `batch_size` the variables get a first axis of that length, with independent noise (and, by
        default, initial states) along it; None keeps the batch in the modes "batch" and "training", and
        has none in "single". Raises `ScanError` if an initializer does not fit.
        """
        if batch_size is None and self.mode != "single":
            batch_size = self.batch_size
        if batch_size is not None:
            check_count("batch_size", batch_size)
        shape = self.get_batch_shape(batch_size)
        key = _split(_stream_keys(self.seed, batch_size or 1, *self.varshape), shape)
        faults: list[Fault] = []
        start: dict[str, Array] = {}
        for name, given, drawn in zip("xy", self._initializers, _uniform_states(key), strict=True):
            with _collected(faults):
                value = drawn if given is None else given
                start[name] = _checked(f"{name}_initializer", value, REAL, shape)
        if faults:
            raise ScanError(faults)
        # At once, also where a function that JAX traces makes a population.
        with backend.settings(), jax.ensure_compile_time_eval():
            noise = _stationary(self._prepared(), key)
        self._take(State(start["x"], start["y"], *noise, np.uint32(0), key))
        self.clear_input()
        self._estimate = np.zeros(shape, dtype=self.precision)
        self._negative = np.zeros(shape, dtype=bool)
        self.reset_local_delays()

    def clear_input(self) -> None:
        """Set the inputs to 0; a step does so by itself."""
        for name in ("input", "input_y"):
            self._arrays[name] = np.zeros(self.x.shape, dtype=self.precision)

    # How it moves

    def dx(self, x: Any, t: Any, y: Any, x_ext: Any = 0.0) -> Any:
        """Return x' = (x^2 + eta + x_ext + J tau y - (pi tau y)^2)/tau, 1/ms; `t` has no effect."""
        return MODEL.field((y, x), (0.0, x_ext), MODEL.constants(self._parameters))[1]

    def dy(self, y: Any, t: Any, x: Any, y_ext: Any = 0.0) -> Any:
        """Return y' = (delta/(pi tau) + 2 x y + y_ext)/tau, 1/ms^2; `t` has no effect."""
        return MODEL.field((y, x), (y_ext, 0.0), MODEL.constants(self._parameters))[0]

    def update(self, *arguments: Any, x: Any = None, y: Any = None) -> None:
        """Take one step, with `x` added to `input`, and `y` (1/ms) to `input_y`, for this step alone.

        The inputs are 0 afterwards: nothing accumulates, and the noise is no part of them. A number or an
        array that broadcasts to the shape of the variables. Raises `ScanError` if it does not.

        `update(x, y)`, or as in the reference `update(tdi, x)`: a mapping or an object with `t`, `dt` and
        `i`, of which `dt`, if it is there, must be that of this object; the others have no effect.
        """
        first = arguments[0] if arguments else None
        shared = _shared(first)
        if shared:
            _check_step(shared, self.dt)
        given = arguments[1:] if shared else arguments
        if len(given) > 2:
            raise ScanError([Fault("update", counted(len(given), "input"), "x and y")])
        twice = [name for name, value in (("x", x), ("y", y))[: len(given)] if value is not None]
        if twice:
            raise ScanError([Fault(name, "it twice, by place and by name", "one of them") for name in twice])
        x, y = (*given, *(x, y)[len(given) :])
        added = (_checked(n, 0.0 if v is None else v, REAL, self.x.shape) for n, v in (("x", x), ("y", y)))
        self._advance(1, 1, tuple(value[None].astype(self.precision) for value in added))

    def __call__(self, *arguments: Any, x: Any = None, y: Any = None) -> None:
        """Do what `update` does."""
        self.update(*arguments, x=x, y=y)

    def run(self, steps: int, inputs: Any = None, *, inputs_y: Any = None, every: int = 1) -> xr.Dataset:
        """Take many steps, the same as so many calls of `update` bit for bit, and return what happened.

        `inputs` and `inputs_y` (1/ms) are numbers, or arrays with time first: `(steps,)` for all
        populations alike, `(steps, *shape)` for each. If delays are registered they are updated after
        every step.

        Returns
        -------
        xarray.Dataset
            `r` (1/ms) and `v` over (`batch`), `population` (`population_0`, ... if `keep_size`) and `time`
            (ms since the last reset): now and after every `every` steps; `status` and `error_estimate`,
            since the last reset; parameters that vary as coordinates, the others as attributes.

        Raises
        ------
        ScanError
            If an argument is wrong; the population is where it was.
        """
        check_count("steps", steps)
        check_count("every", every)
        drives = tuple(
            self._drive(name, values, steps) for name, values in (("inputs", inputs), ("inputs_y", inputs_y))
        )
        times = (self._steps + every * np.arange(steps // every + 1)) * float(self.dt)
        first = np.stack([self.y, self.x])[None]
        if self._delays:
            after = self._advance_with_delays(steps, every, drives)
        else:
            whole = steps - steps % every
            after = self._advance(whole // every, every, drives)
            rest = tuple(drive[whole:] if len(drive) > 1 else drive for drive in drives)
            if steps > whole:
                self._advance(1, steps - whole, rest)
        return self._dataset(times, np.concatenate([first, after]))

    def _drive(self, name: str, values: Any, steps: int) -> Array:
        """Return inputs with time first, `(steps or 1, ...)`, which broadcast to the variables."""
        shape = self.x.shape
        expected = f"a number, or time first: ({steps},) or {(steps, *shape)}"
        if callable(values):
            raise ScanError([Fault(name, show(values), expected)])
        value = _checked(name, 0.0 if values is None else values, REAL, None)
        if value.ndim == 0:
            return np.full((1, *shape), value, dtype=self.precision)
        if value.ndim == 1:
            value = value.reshape(-1, *(1,) * len(shape))
        if len(value) not in (1, steps):
            raise ScanError([Fault(name, counted(len(value), "row"), f"{steps}, one for every step")])
        fits = value.ndim == len(shape) + 1
        if not fits or any(n not in (1, m) for n, m in zip(value.shape[1:], shape, strict=True)):
            raise ScanError([Fault(name, f"an array of shape {value.shape}", expected)])
        return value.astype(self.precision)

    def _advance(self, rows: int, every: int, drives: tuple[Array, ...]) -> Array:
        """Take rows times `every` steps; return (r, v) after each row, `(rows, 2, *shape)`."""
        record = np.zeros((_room(rows), 2, *self.x.shape), dtype=self.precision)
        if rows == 0:
            return record[:0]
        if self._steps + rows * every >= INITIAL_STEP:
            raise QifscanError(f"{self.name}: more than 2^32 - 2 steps; reset it")
        constants = self._prepared()
        carry = {
            "row": np.int64(0),
            "rows": np.int64(rows),
            "every": np.int64(every),
            "last": tuple(np.int64(len(drive) - 1) for drive in drives),
            "constants": np.stack(np.broadcast_arrays(*constants.values())),
            "drive": tuple(_padded(drive) for drive in drives),
            "moving": {
                "state": self.state,
                "pending": (self.input, self.input_y),
                "estimate": self._estimate,
                "negative": self._negative,
            },
            "record": record,
        }
        with backend.settings():
            done: Any = lax.while_loop(*_loop(self.method, tuple(constants)), carry)
            moving = done["moving"]
            self._take(moving["state"])
            self._estimate, self._negative = np.array(moving["estimate"]), np.array(moving["negative"])
            self.clear_input()
            return np.asarray(done["record"])[:rows]

    def _advance_with_delays(self, steps: int, every: int, drives: tuple[Array, ...]) -> Array:
        rows = []
        for n in range(steps):
            now = self._advance(1, 1, tuple(drive[min(n, len(drive) - 1)][None] for drive in drives))
            self.update_local_delays()
            rows += [now] if (n + 1) % every == 0 else []
        return np.concatenate(rows) if rows else np.zeros((0, 2, *self.x.shape), dtype=self.precision)

    def _dataset(self, times: Array, record: Array) -> xr.Dataset:
        axes = [f"population_{i}" for i in range(len(self.varshape))] if self.keep_size else ["population"]
        dims = (["batch"] if self.batch_size else []) + axes
        varying = {k: v for k, v in self._parameters.items() if np.any(v != v.flat[0])}
        told = {k: (axes, v, {"units": PARAMETERS[k].unit}) for k, v in varying.items()}
        time = ("time", times, {"units": "ms", "long_name": "time since the last reset"})
        variables: dict[str, Any] = {
            v.name: (
                [*dims, "time"],
                np.moveaxis(record[:, i], 0, -1),
                {"units": v.unit, "long_name": v.meaning},
            )
            for i, v in enumerate(MODEL.variables)
        }
        flags = {
            "flag_masks": [int(f) for f in Status],
            "flag_meanings": " ".join(str(f.name) for f in Status),
        }
        error = {"units": "1", "long_name": "estimated relative error of the state from the size of the step"}
        variables |= {
            "status": (dims, self.status, flags),
            "error_estimate": (dims, self.error_estimate, error),
        }
        attributes: dict[str, Any] = {
            k: float(v.flat[0]) for k, v in self._parameters.items() if k not in varying
        }
        attributes |= {"model": MODEL.name, "reference": MODEL.reference, "qifscan": __version__}
        attributes |= {"method": self.method, "dt": self.dt, "seed": self.seed}
        return xr.Dataset(variables, coords={**told, "time": time}, attrs=attributes)

    # Delays

    @property
    def global_delay_data(self) -> dict[str, tuple[Array, Array]]:
        """The delays of this object by identifier: the last values, newest first, and the value of now."""
        return {key: (delay.ordered, self._arrays[delay.target]) for key, delay in self._delays.items()}

    def register_delay(
        self, identifier: str, delay_step: Any, delay_target: Any, initial_delay_data: Any = None
    ) -> Any:
        """Keep the last values of a variable; return `delay_step`.

        `delay_step` is the longest delay in steps, an array of them, a function of the shape of the
        variables, or None for no delay. `delay_target` is a variable of this object or its name ("x", "y",
        "x_ou", "y_ou"). `initial_delay_data` are the values before the start, a number, an array that
        broadcasts to `(steps, *shape)` with the delay of one step first, or a function of that shape; zeros
        for None. A longer delay of a known identifier begins it anew.

        Raises `ScanError` if a delay is no number of steps, the target not of this object, or the
        identifier already that of another variable.
        """
        if not isinstance(identifier, str):
            raise ScanError([Fault("identifier", show(identifier), "a name")])
        target = self._target_name(delay_target)
        known = self._delays.get(identifier)
        if known is not None and known.target != target:
            found = f"{show(identifier)}, the delay of {known.target}"
            raise ScanError([Fault("identifier", found, f"another for {target}")])
        steps = np.zeros(1, dtype=int)
        if delay_step is not None:
            steps = _checked_delay(delay_step, self.x.shape)
            delay_step = steps if callable(delay_step) else delay_step
        if known is None or known.length < np.max(steps):
            delay = _Delay(target, int(np.max(steps)), initial_delay_data)
            delay.reset(identifier, self._arrays[target])
            self._delays[identifier] = delay
        return delay_step

    def _target_name(self, target: Any) -> str:
        for name in MOVING:
            if target is self._arrays[name] or (isinstance(target, str) and target == name):
                return name
        raise ScanError([Fault("delay_target", show(target), f"one of {', '.join(MOVING)} of this object")])

    def get_delay_data(self, identifier: str, delay_step: Any, *indices: Any) -> Array:
        """Return the value of a delay `delay_step` updates ago: 0 is the last one, None the variable now.

        An array of steps that broadcasts to the shape of the variable gives each population its own delay;
        with `indices` into the variable, its entries belong to those. Raises `ScanError` for an unknown
        identifier, and for more steps than were registered.
        """
        if identifier not in self._delays:
            raise ScanError([unknown("identifier", identifier, self._delays)])
        delay = self._delays[identifier]
        if delay_step is None:
            return np.array(self._arrays[delay.target][indices])
        steps = _checked_delay(delay_step, self.x.shape)
        if np.any(steps > delay.length):
            expected = f"at most {counted(delay.length, 'step')}, as registered for {show(identifier)}"
            raise ScanError([Fault("delay_step", str(np.max(steps)), expected)])
        return delay.at(steps, indices)

    def update_local_delays(self, nodes: QIF | Sequence[QIF] | Mapping[str, QIF] | None = None) -> None:
        """Append the values of now to every delay of this object, or of others; call it after `update`."""
        for node in self._nodes_of(nodes):
            for delay in node._delays.values():
                delay.push(node._arrays[delay.target])

    def reset_local_delays(self, nodes: QIF | Sequence[QIF] | Mapping[str, QIF] | None = None) -> None:
        """Begin every delay of this object, or of others, again: the value of now and the initial data."""
        for node in self._nodes_of(nodes):
            for identifier, delay in node._delays.items():
                delay.reset(identifier, node._arrays[delay.target])

    def _nodes_of(self, nodes: Any) -> list[QIF]:
        nodes = self if nodes is None else nodes
        listed = (
            list(nodes.values() if isinstance(nodes, Mapping) else nodes) if np.iterable(nodes) else [nodes]
        )
        if not all(isinstance(node, QIF) for node in listed):
            raise ScanError([Fault("nodes", show(nodes), "populations: one, a list, or a dict of them")])
        return listed

    # What is registered beside

    def register_implicit_vars(self, *variables: Any, **named: Any) -> None:
        """Keep further arrays under names, in mappings or by keyword: `vars` returns them.

        No step moves them. Raises `ScanError` for a name of this object or a value that is no array.
        """
        for name, value in _by_name(variables, named, "register_implicit_vars").items():
            if name in self._arrays:
                raise ScanError([Fault(name, "a variable of this object", "another name")])
            self._registered_vars[name] = np.asarray(value)

    def register_implicit_nodes(self, *nodes: Any, **named: Any) -> None:
        """Keep other populations as parts of this one, in mappings or by keyword: `nodes` returns them.

        A step of this object does not step them. Raises `ScanError` for what is no population.
        """
        found = _by_name(nodes, named, "register_implicit_nodes")
        self._nodes_of(found)
        self._registered_nodes.update(found)

    # On disk

    def save_states(self, filename: str | os.PathLike[str]) -> None:
        """Write everything that a run continues from, bit for bit: states, noise, step, inputs, delays,
        parameters, settings and registered variables, to an `.npz` file, which is either whole or not there.

        Raises `StoreError` if it can't be written.
        """
        settings = {"method": self.method, "dt": self.dt, "seed": self.seed, "precision": self.precision}
        delays = [[key, delay.target] for key, delay in self._delays.items()]
        about = FORMAT | {"settings": settings, "delays": delays, "qifscan": __version__}
        arrays = {"about": np.array(json.dumps(about)), "step": np.array(self._steps)}
        arrays |= {f"parameter {name}": value for name, value in self._parameters.items()}
        arrays |= {f"variable {name}": value for name, value in self._arrays.items()}
        arrays |= {f"delay {i}": delay.ordered for i, delay in enumerate(self._delays.values())}
        arrays |= {f"{REGISTERED}{name}": value for name, value in self._registered_vars.items()}
        arrays |= {"key": np.stack(self._key), "estimate": self._estimate, "negative": self._negative}
        _write(_npz(filename), arrays)

    def load_states(self, filename: str | os.PathLike[str]) -> None:
        """Take over everything that `save_states` wrote, from an object of any name and of the same shape.

        That is method, dt, seed, precision, parameters and registered variables too; the initializers, which
        a later reset uses, registered nodes and the mode stay those of this object. Raises `StoreError`, and
        changes nothing, if the file is not there, damaged, or of populations of another shape.
        """
        path = _npz(filename)
        arrays = _read(path)
        try:
            about = json.loads(str(arrays["about"]))
            if {key: about[key] for key in FORMAT} != FORMAT:
                raise ValueError(f"version {about['version']} of {about['format']}")
            fields = self._loaded(about, arrays)
        except (KeyError, TypeError, ValueError) as error:
            what = " ".join(str(error).split())
            raise StoreError(f"{path}: not a saved state of this version of QIF ({what})") from None
        self.__dict__.update(fields)

    def _loaded(self, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Return the fields of an object that continues from a file."""
        shape = arrays["variable x"].shape
        if shape[len(shape) - len(self.varshape) :] != self.varshape or len(shape) > len(self.varshape) + 1:
            raise ValueError(f"its variables have shape {shape}, those of {self.name} {self.varshape}")
        _check_choice("method", about["settings"]["method"], list(INTEGRATORS))
        faults: list[Fault] = []
        given = {name: arrays[f"parameter {name}"] for name in PARAMETERS}
        parameters = self._checked_parameters(given, self.varshape, faults)
        if faults:
            raise ScanError(faults)
        delays = {}
        for i, (identifier, target) in enumerate(about["delays"]):
            rows = arrays[f"delay {i}"]
            known = self._delays.get(identifier)
            delays[identifier] = _Delay(target, len(rows) - 1, known.initial if known else None)
            delays[identifier].rows = rows
        return {
            **{f"_{name}": about["settings"][name] for name in ("method", "dt", "seed", "precision")},
            "_parameters": parameters,
            "_constants": None,
            "_arrays": {name: arrays[f"variable {name}"] for name in self._arrays},
            "_steps": int(arrays["step"]),
            "_key": tuple(arrays["key"]),
            "_estimate": arrays["estimate"],
            "_negative": arrays["negative"],
            "_delays": delays,
            "_registered_vars": self._registered_vars
            | {n.removeprefix(REGISTERED): x for n, x in arrays.items() if n.startswith(REGISTERED)},
        }

    # Not built

    def online_init(self) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("online_init")

    def online_fit(self, target: Any, fit_record: Any) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("online_fit")

    def offline_init(self) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("offline_init")

    def offline_fit(self, target: Any, fit_record: Any) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("offline_fit")


def _not_built(name: str) -> QifscanError:
    return QifscanError(
        f"QIF.{name} is not built; instead, take jax.grad through qifscan.population.step (its docstring has "
        "an example), or run the parameters as axes of a qifscan.Scan"
    )


def _by_name(mappings: Sequence[Any], named: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what was given in mappings and by keyword."""
    for given in mappings:
        if not isinstance(given, Mapping):
            raise ScanError([Fault(where, show(given), "mappings, or name=value")])
    return {str(k): v for given in (*mappings, named) for k, v in given.items()}


def _shared(first: Any) -> dict[str, Any]:
    """Return what the reference shares with every update, t, dt and i; empty for anything else."""
    names = ("t", "dt", "i")
    if isinstance(first, Mapping):
        return {name: first[name] for name in names if name in first}
    return {name: getattr(first, name) for name in names if hasattr(first, name)}


def _check_step(shared: Mapping[str, Any], dt: float) -> None:
    """Raise `ScanError` unless a step that the reference shares is that of the object."""
    given = shared.get("dt")
    if given is not None and not np.isclose(float(given), dt, rtol=1e-9, atol=0.0):
        hint = "the step is an argument of QIF"
        raise ScanError([Fault("tdi.dt", show(given), f"{dt:g}, the step of the population", hint)])


def _npz(filename: str | os.PathLike[str]) -> Path:
    path = local("filename", filename)
    if path.suffix != ".npz":
        raise StoreError(f"{path}: states are kept in files that end with .npz; rename it")
    return path


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays to a file beside `path`, then rename it."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: can't be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Array]:
    """Return the arrays of a file, whole: their checksums are verified."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        what = re.sub(r"\s+", " ", str(error.strerror if isinstance(error, OSError) else error))
        raise StoreError(f"{path}: can't be read as saved states ({what})") from None
