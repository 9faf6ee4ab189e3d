"""`QIF`, populations stepped by hand: a pure step on a tuple of states, and a thin object around it.

The names are those of the reference class (BrainPy 2.3.0, `rates.QIF`): `x` is the mean membrane potential v,
`y` the population rate r, and `x_ou_*` is noise on v, `y_ou_*` on r.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter, index
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from qifscan.arrays import Column as Array
from qifscan.dynamics.domain import POSITIVE, REAL
from qifscan.dynamics.integrators import INTEGRATORS, Integrator
from qifscan.dynamics.model import N
from qifscan.dynamics.noise import INITIAL_STEP
from qifscan.dynamics.status import Status
from qifscan.engine import backend
from qifscan.errors import Fault, QifscanError, ScanError, check_count, counted, show, unknown
from qifscan.lazy import LazyModule
from qifscan.reference.arguments import (
    Given,
    check_choice,
    check_step,
    checked_array,
    checked_drive,
    checked_size,
    collected,
    shared_arguments,
)
from qifscan.reference.attributes import Setting, StateVariable
from qifscan.reference.dataset import as_dataset
from qifscan.reference.delays import MOVING
from qifscan.reference.named import LIVING, checked_name
from qifscan.reference.npz import Saved
from qifscan.reference.stepping import (
    MODEL,
    PARAMETERS,
    Constants,
    State,
    Stepped,
    Walk,
    loop_of,
    padded,
    prepare,
    room,
    split,
    stationary,
    stream_keys,
    uniform_states,
)

if TYPE_CHECKING:
    import jax
    import xarray as xr
    from jax import lax
else:
    jax = LazyModule("jax")
    lax = LazyModule("jax.lax")
    xr = LazyModule("xarray")

Shape = tuple[int, ...]


Input = ArrayLike | None
MODES = ("single", "batch", "training")
PRECISIONS = ("float64", "float32")
TOLERANCE = 1e-3
"""Estimated relative error above which a state is flagged: that of a scan."""


class QIF(Saved):
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

    Examples
    --------
    >>> import qifscan as qs
    >>> pop = qs.QIF(2, method="rk4", dt=0.05, x_initializer=-1.0, y_initializer=0.1)
    >>> pop.update(x=[0.0, 5.0])
    >>> pop.x.round(4)
    array([-1.1217, -0.8836])
    """

    tau, eta, delta, J = Setting(), Setting(), Setting(), Setting()
    x_ou_mean, x_ou_sigma, x_ou_tau = Setting(), Setting(), Setting()
    y_ou_mean, y_ou_sigma, y_ou_tau = Setting(), Setting(), Setting()
    x = StateVariable("Mean membrane potential v.")
    y = StateVariable("Population rate r, 1/ms.")
    x_ou = StateVariable("Noise on x.")
    y_ou = StateVariable("Noise on y, 1/ms.")
    input = StateVariable("Input to x in the next step; 0 after it.")
    input_y = StateVariable("Input to y in the next step, 1/ms; 0 after it.")

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
        tau: Given = 1.0,
        eta: Given = -5.0,
        delta: Given = 1.0,
        J: Given = 15.0,
        x_ou_mean: Given = 0.0,
        x_ou_sigma: Given = 0.0,
        x_ou_tau: Given = 5.0,
        y_ou_mean: Given = 0.0,
        y_ou_sigma: Given = 0.0,
        y_ou_tau: Given = 5.0,
        x_initializer: Given | None = None,
        y_initializer: Given | None = None,
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
        with collected(faults):
            self._size = checked_size(size)
        self._keep_size = bool(keep_size)
        with collected(faults):
            self._name = checked_name(name, type(self).__name__)
        self._check_settings(method, mode, dt, seed, precision, trainable, faults)
        shape = self.varshape if hasattr(self, "_size") else None
        self._parameters = self._checked_parameters(given, shape, faults)
        if faults:
            raise ScanError(faults)
        self._initializers = (x_initializer, y_initializer)
        self._delays = {}
        self._registered_vars = {}
        self._registered_nodes = {}
        self._constants: Constants | None = None
        self._arrays = {}
        self.reset_state(None if mode == "single" else 1)
        LIVING[self._name] = self

    def __repr__(self) -> str:
        return f"QIF(name={self.name!r}, size={self.size}, method={self.method!r}, mode={self.mode!r})"

    def _check_settings(
        self,
        method: str,
        mode: str,
        dt: float,
        seed: int,
        precision: str,
        trainable: Sequence[str],
        faults: list[Fault],
    ) -> None:
        with collected(faults):
            check_choice("method", method, list(INTEGRATORS))
        with collected(faults):
            check_choice("mode", mode, MODES)
        with collected(faults):
            check_choice("precision", precision, PRECISIONS)
        with collected(faults):
            if np.ndim(dt):
                raise ScanError([Fault("dt", show(dt), "one number")])
            dt = float(checked_array("dt", dt, POSITIVE, ()))
        with collected(faults):
            check_count("seed", seed, 0)
        names = (trainable,) if isinstance(trainable, str) else tuple(trainable)
        faults += [unknown("trainable", other, PARAMETERS) for other in names if other not in PARAMETERS]
        if names and mode != "training":
            faults.append(Fault("trainable", show(names), "nothing", 'set mode="training"'))
        self._method, self._mode, self._precision, self._trainable = method, mode, precision, names
        self._dt, self._seed = dt, seed if faults else index(seed)

    def _set_parameters(self, given: Mapping[str, object]) -> None:
        faults: list[Fault] = []
        checked = self._checked_parameters(given, self.varshape, faults)
        if faults:
            raise ScanError(faults)
        self._parameters, self._constants = checked, None

    @property
    def _integrator(self) -> Integrator:
        return INTEGRATORS[self._method]

    def _prepared(self) -> Constants:
        if self._constants is None:
            self._constants = prepare(
                self._parameters, dt=self.dt, method=self.method, precision=self.precision
            )
        return self._constants

    # What it is

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

    # Where it is

    @property
    def state(self) -> State:
        """The state as `stepping.step` takes it, a copy; one that it returned can be assigned."""
        x, y, x_ou, y_ou = (self._arrays[name].copy() for name in MOVING)
        # NumPy's, which JAX accepts.
        given: Any = (x, y, x_ou, y_ou, np.uint32(self._steps), self._key)
        return State(*given)

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
        return np.asarray(self._integrator.relative_error(largest))

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
        key = split(stream_keys(self.seed, batch_size or 1, *self.varshape), shape)
        faults: list[Fault] = []
        start: dict[str, Array] = {}
        for name, given, drawn in zip("xy", self._initializers, uniform_states(key), strict=True):
            with collected(faults):
                value = drawn if given is None else given
                start[name] = checked_array(f"{name}_initializer", value, REAL, shape)
        if faults:
            raise ScanError(faults)
        # At once, also where a function that JAX traces makes a population.
        with backend.settings(), jax.ensure_compile_time_eval():
            noise = stationary(self._prepared(), key)
        first: Any = (start["x"], start["y"], *noise, np.uint32(0), key)
        self._take(State(*first))
        self.clear_input()
        self._estimate = np.zeros(shape, dtype=self.precision)
        self._negative = np.zeros(shape, dtype=bool)
        self.reset_local_delays()

    def clear_input(self) -> None:
        """Set the inputs to 0; a step does so by itself."""
        for name in ("input", "input_y"):
            self._arrays[name] = np.zeros(self.x.shape, dtype=self.precision)

    # How it moves

    def dx(self, x: N, t: object, y: N, x_ext: N | float = 0.0) -> N:
        """Return x' = (x^2 + eta + x_ext + J tau y - (pi tau y)^2)/tau, 1/ms; `t` has no effect."""
        return cast("N", MODEL.field((y, x), (0.0, x_ext), MODEL.constants(self._parameters))[1])

    def dy(self, y: N, t: object, x: N, y_ext: N | float = 0.0) -> N:
        """Return y' = (delta/(pi tau) + 2 x y + y_ext)/tau, 1/ms^2; `t` has no effect."""
        return cast("N", MODEL.field((y, x), (y_ext, 0.0), MODEL.constants(self._parameters))[0])

    def update(self, *arguments: object, x: Given | None = None, y: Given | None = None) -> None:
        """Take one step, with `x` added to `input`, and `y` (1/ms) to `input_y`, for this step alone.

        The inputs are 0 afterwards: nothing accumulates, and the noise is no part of them. A number or an
        array that broadcasts to the shape of the variables. Raises `ScanError` if it does not.

        `update(x, y)`, or as in the reference `update(tdi, x)`: a mapping or an object with `t`, `dt` and
        `i`, of which `dt`, if it is there, must be that of this object; the others have no effect.
        """
        first = arguments[0] if arguments else None
        shared = shared_arguments(first)
        if shared:
            check_step(shared, self.dt)
        given = arguments[1:] if shared else arguments
        if len(given) > 2:
            raise ScanError([Fault("update", counted(len(given), "input"), "x and y")])
        twice = [name for name, value in (("x", x), ("y", y))[: len(given)] if value is not None]
        if twice:
            raise ScanError([Fault(name, "it twice, by place and by name", "one of them") for name in twice])
        inputs = zip("xy", (*given, *(x, y)[len(given) :]), strict=True)
        added = (checked_array(n, 0.0 if v is None else v, REAL, self.x.shape) for n, v in inputs)
        self._advance(1, 1, tuple(value[None].astype(self.precision) for value in added))

    def __call__(self, *arguments: object, x: Given | None = None, y: Given | None = None) -> None:
        """Do what `update` does."""
        self.update(*arguments, x=x, y=y)

    def run(self, steps: int, inputs: Input = None, *, inputs_y: Input = None, every: int = 1) -> xr.Dataset:
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
            checked_drive(self, name, values, steps)
            for name, values in (("inputs", inputs), ("inputs_y", inputs_y))
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
        return as_dataset(self, times, np.concatenate([first, after]))

    def _advance(self, rows: int, every: int, drives: tuple[Array, ...]) -> Array:
        """Take rows times `every` steps; return (r, v) after each row, `(rows, 2, *shape)`."""
        record = np.zeros((room(rows), 2, *self.x.shape), dtype=self.precision)
        if rows == 0:
            return record[:0]
        if self._steps + rows * every >= INITIAL_STEP:
            raise QifscanError(f"{self.name}: more than 2^32 - 2 steps; reset it")
        constants = self._prepared()
        packed = np.stack(np.broadcast_arrays(*constants.values()))
        now: Any = (self._estimate, self._negative, (self.input, self.input_y), self.state)
        last = tuple(np.int64(len(drive) - 1) for drive in drives)
        given = tuple(padded(drive) for drive in drives)
        whole: Any = (
            packed,
            given,
            np.int64(every),
            last,
            Stepped(*now),
            record,
            np.int64(0),
            np.int64(rows),
        )
        carry = Walk(*whole)
        with backend.settings():
            done = lax.while_loop(*loop_of(self._integrator, tuple(constants)), carry)
            self._take(done.moving.state)
            self._estimate, self._negative = np.array(done.moving.estimate), np.array(done.moving.negative)
            self.clear_input()
            return np.asarray(done.record)[:rows]

    def _advance_with_delays(self, steps: int, every: int, drives: tuple[Array, ...]) -> Array:
        rows = []
        for n in range(steps):
            now = self._advance(1, 1, tuple(drive[min(n, len(drive) - 1)][None] for drive in drives))
            self.update_local_delays()
            rows += [now] if (n + 1) % every == 0 else []
        return np.concatenate(rows) if rows else np.zeros((0, 2, *self.x.shape), dtype=self.precision)

    # Not built

    def online_init(self) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("online_init")

    def online_fit(self, target: object, fit_record: object) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("online_fit")

    def offline_init(self) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("offline_init")

    def offline_fit(self, target: object, fit_record: object) -> None:
        """Raise `QifscanError`: not built."""
        raise _not_built("offline_fit")


def _not_built(name: str) -> QifscanError:
    return QifscanError(
        f"QIF.{name} is not built; instead, take jax.grad through qifscan.reference.stepping.step (its "
        "docstring has an example), or run the parameters as axes of a qifscan.Scan"
    )
