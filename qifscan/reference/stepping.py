"""A pure step of a population on a tuple of states: for loops, gradients and compilation of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.integrators import INTEGRATORS, Flow, Integrator
from qifscan.dynamics.model import N, Parameter
from qifscan.dynamics.models import MODELS
from qifscan.dynamics.noise import (
    INITIAL_STEP,
    normal_pair,
    ou_constants,
    ou_parameters,
    point_keys,
    split_key,
    threefry2x32,
)
from qifscan.errors import Fault, ScanError, unknown
from qifscan.lazy import LazyModule
from qifscan.theory import plain

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.typing import ArrayLike, DTypeLike

    from qifscan.arrays import Column as Array
    from qifscan.arrays import Words
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


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

UNIFORM_HIGH = 0.05
"""Upper end of the default initial states, the reference's Uniform(0, 0.05)."""


# The functional core


class State(NamedTuple):
    """The state of populations, of which all arrays have one shape: what a step takes and returns.

    `x` (v, 1), `y` (r, 1/ms); `x_ou`, `y_ou`, the noise on each, in the unit of its input; `step`, the number
    of steps taken, an uint32; `key`, two words of 32 bits that name the stream of each population's noise.
    """

    x: jax.Array
    y: jax.Array
    x_ou: jax.Array
    y_ou: jax.Array
    step: jax.Array
    key: tuple[jax.Array, jax.Array]


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
        check_bits(precision)
    columns: dict[str, Any] = {
        name: _Traced(value) if isinstance(value, jax.core.Tracer) else np.asarray(value, dtype=np.float64)
        for name, value in given.items()
    }
    highest: Any = _Traced(_traced_highest_rate(columns)) if traced else _highest_rate(*_at_rest(columns))
    constants = MODEL.constants(columns) | ou_constants(MODEL, columns, dt) | {"dt": np.asarray(dt)}
    constants |= INTEGRATORS[method].prepare(columns, highest, np.asarray(dt))
    return {name: _bare(value).astype(precision) for name, value in constants.items()}


def step(constants: Constants, state: State, x: ArrayLike = 0.0, y: ArrayLike = 0.0, *, method: str) -> State:
    """Return the state one step later: pure, for JAX's `jit`, `vmap`, `grad` and `lax.scan`.

    `tau y' = delta/(pi tau) + 2 x y + z_y + I_y`, `tau x' = x^2 + eta + J tau y - (pi tau y)^2 + z_x + I_x`
    (Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12); z is Ornstein-Uhlenbeck noise,
    z' = (mean - z)/ou_tau + sigma xi, drawn by its exact step and linear in time within it.

    `constants` are those of `prepare` for the same method; `x` (1) and `y` (1/ms) the inputs I_x and I_y,
    constant during the step. float64 needs JAX's 64 bits:

    >>> import jax, numpy as np, qifscan as qs
    >>> from qifscan.reference import stepping
    >>> pop = qs.QIF(1, x_initializer=0.0, y_initializer=0.0, method="rk4", dt=0.01)
    >>> def final_rate(J, steps=100):
    ...     constants = stepping.prepare(pop.parameters | {"J": J}, dt=pop.dt, method=pop.method)
    ...     def one(state, _):
    ...         state = stepping.step(constants, state, method=pop.method)
    ...         return state, state.y
    ...     state, rates = jax.lax.scan(one, pop.state, length=steps)
    ...     return rates[-1, 0]
    >>> with jax.enable_x64(True):
    ...     rate, slope = jax.value_and_grad(final_rate)(15.0)
    ...     print(f"r(1 ms) = {rate:.8f}, dr/dJ = {slope:.6f}")
    r(1 ms) = 0.08957495, dr/dJ = 0.001200
    """
    return _advanced(constants, state, x, y, INTEGRATORS[method])[0]


def check_bits(dtype: DTypeLike) -> None:
    """Raise `ScanError` if JAX would take float64 for float32 without a word."""
    if np.dtype(dtype) == np.float64 and jnp.result_type(float) != np.float64:
        hint = 'call it within jax.enable_x64(True), or prepare it with precision="float32"'
        raise ScanError([Fault("precision", "JAX with 32 bits", "64 bits for float64", hint)])


def _advanced(
    c: Constants, state: State, x: ArrayLike, y: ArrayLike, integrator: Integrator
) -> tuple[State, jax.Array]:
    """Return the state one step later and the estimate of the step's error."""
    check_bits(c["dt"].dtype)
    dtype = jnp.result_type(state.x)
    x, y = jnp.asarray(x).astype(dtype), jnp.asarray(y).astype(dtype)
    draw_y, draw_x = normal_pair(state.key, state.step, 0, dtype)
    x_ou, y_ou = _noise_after(c, V.name, state.x_ou, draw_x), _noise_after(c, R.name, state.y_ou, draw_y)

    def inputs(fraction: float) -> tuple[jax.Array, jax.Array]:
        return _between(state.y_ou, y_ou, fraction) + y, _between(state.x_ou, x_ou, fraction) + x

    system = Flow(MODEL, c, MODEL.variable_names)
    (rate, potential), estimate = integrator.step(system, (state.y, state.x), inputs, c["dt"])
    return State(potential, rate, x_ou, y_ou, state.step + np.uint32(1), state.key), estimate


def _noise_after(c: Constants, name: str, z: jax.Array, draw: jax.Array) -> jax.Array:
    mean = c[f"{name}_mean"]
    later: jax.Array = mean + (z - mean) * c[f"{name}_decay"] + c[f"{name}_gain"] * draw
    return later


def _between(now: jax.Array, later: jax.Array, fraction: float) -> jax.Array:
    if fraction in (0.0, 1.0):
        return later if fraction else now
    return (1.0 - fraction) * now + fraction * later


def stationary(c: Constants, key: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the noise on x and on y at step 0, drawn from its stationary law."""
    shape, count, dtype = key[0].shape, key[0].size, c["dt"].dtype
    high, low = (jnp.asarray(np.pad(word.ravel(), (0, room(count) - count))) for word in key)
    draws = normal_pair((high, low), np.uint32(INITIAL_STEP), 0, dtype)
    draw_y, draw_x = (np.asarray(draw)[:count].reshape(shape) for draw in draws)
    x_ou = c[f"{V.name}_mean"] + c[f"{V.name}_std"] * draw_x
    return x_ou, c[f"{R.name}_mean"] + c[f"{R.name}_std"] * draw_y


def room(count: int) -> int:
    """Return a length for so many rows, at most an eighth too long: JAX compiles for a few lengths alone."""
    unit = max(8, 1 << max(count.bit_length() - 4, 0))
    return -(-count // unit) * unit


def stream_keys(seed: int, batch: int, *shape: int) -> Words:
    """Return the 64-bit keys of the noise: of the same population and batch element whatever the sizes."""
    count = math.prod(shape)
    population = np.tile(np.arange(count, dtype=np.float64), batch)
    return point_keys(seed, {"population": population}, np.repeat(np.arange(batch), count))


def split(words: Words, shape: Shape) -> tuple[Array, Array]:
    """Return 64-bit words as two of 32 bits, in a shape."""
    high, low = split_key(words)
    return high.reshape(shape), low.reshape(shape)


def uniform_states(key: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return x and y, uniform in (0, 0.05), from the generator of the noise at a counter of their own."""
    counter = (np.full_like(key[0], INITIAL_STEP), np.full_like(key[0], 1))
    x, y = (UNIFORM_HIGH * (bits + 0.5) * 2.0**-32 for bits in threefry2x32(key, counter))
    return x, y


def _at_rest(columns: Mapping[str, N]) -> tuple[N, ...]:
    """Return eta, J, delta and tau of the model with the mean of its noise."""
    delta = columns["delta"] + math.pi * columns["tau"] * columns[f"{R.name}_ou_mean"]
    return columns["eta"] + columns[f"{V.name}_ou_mean"], columns["J"], delta, columns["tau"]


def _highest_rate(*at_rest: Array) -> Array:
    """Return the highest rate at rest; an integrator may be exact there."""
    return NAMED_STATES["up"](plain.roots(*at_rest))


def _traced_highest_rate(columns: Mapping[str, Any]) -> jax.Array:
    """Return it for traced parameters, as a constant: any rate serves, only not equally well."""
    values = jnp.broadcast_arrays(*(lax.stop_gradient(jnp.asarray(_bare(x))) for x in _at_rest(columns)))
    dtype = values[0].dtype
    # As words of 32 bits: on the thread of the callback, JAX takes every float64 for a float32.
    words = [lax.bitcast_convert_type(value, jnp.uint32) for value in values]

    def called(*words: Array) -> Array:
        return _highest_rate(*(np.asarray(word).view(dtype) for word in words)).astype(dtype).view(np.uint32)

    result = jax.ShapeDtypeStruct(words[0].shape, jnp.uint32)  # type: ignore[no-untyped-call]
    found = jax.pure_callback(called, result, *words, vmap_method="expand_dims")
    return lax.bitcast_convert_type(found, dtype)


class _Traced(NDArrayOperatorsMixin):
    """A value that JAX traces, in a formula written for NumPy, whose functions it hands to JAX.

    The kernel computes its constants once, by NumPy in float64; so one formula serves both.
    """

    def __init__(self, value: jax.Array) -> None:
        self.value = value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **options: object) -> _Traced:
        return _Traced(getattr(jnp, ufunc.__name__)(*(_bare(x) for x in inputs)))

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> _Traced:
        return _Traced(getattr(jnp, function.__name__)(*(_bare(x) for x in inputs)))

    @property
    def real(self) -> _Traced:
        return _Traced(self.value.real)

    @property
    def imag(self) -> _Traced:
        return _Traced(self.value.imag)


def _bare(value: object) -> Any:
    return value.value if isinstance(value, _Traced) else value


# The loop over time of the object


class Stepped(NamedTuple):
    """What a step of the object moves, arrays of one shape: the largest estimate of a step, a squared
    relative size; whether a rate was below 0; the inputs to x and to y that are added in the next step; the
    state."""

    estimate: jax.Array
    negative: jax.Array
    pending: tuple[jax.Array, ...]
    state: State


class Walk(NamedTuple):
    """What the loop over time carries: the constants of a step, `(constants, *shape)`, or as many numbers;
    the inputs to x and to y, time first; the steps from one row of the record to the next; the last row of
    each input; what moves; the record of y and x, `(rows, 2, *shape)`; its next row, and how many there
    are."""

    constants: jax.Array
    drive: tuple[jax.Array, ...]
    every: jax.Array
    last: tuple[jax.Array, ...]
    moving: Stepped
    record: jax.Array
    row: jax.Array
    rows: jax.Array


@cache
def loop_of(
    integrator: Integrator, names: tuple[str, ...]
) -> tuple[Callable[[Walk], jax.Array], Callable[[Walk], Walk]]:
    """Return the condition and the body of the one loop that steps an object.

    They are the same two functions whenever asked, so that JAX compiles them once; nor does what they
    compile to depend on the number of steps, so that `run` has the bits of `update`. The constants are
    packed into one array, in the order of `names`: JAX takes 30 us for each that it is handed.
    """

    def unfinished(carry: Walk) -> jax.Array:
        return carry.row < carry.rows

    def record(carry: Walk) -> Walk:
        row, every = carry.row, carry.every
        constants = dict(zip(names, carry.constants, strict=True))

        def one(k: jax.Array, moving: Stepped) -> Stepped:
            x, y = (
                moving.pending[i] + drive[jnp.minimum(row * every + k, carry.last[i])]
                for i, drive in enumerate(carry.drive)
            )
            state, estimate = _advanced(constants, moving.state, x, y, integrator)
            pending = tuple(jnp.zeros_like(z) for z in moving.pending)
            largest = jnp.maximum(estimate, moving.estimate)
            return Stepped(largest, moving.negative | (state.y < 0), pending, state)

        moving = lax.fori_loop(0, every, one, carry.moving)
        kept = carry.record.at[row].set(jnp.stack([moving.state.y, moving.state.x]))
        return carry._replace(row=row + 1, moving=moving, record=kept)

    return unfinished, record


def padded(drive: Array) -> Array:
    """Return inputs with room for more rows."""
    return np.pad(drive, [(0, room(len(drive)) - len(drive)), *((0, 0),) * (drive.ndim - 1)])
