"""The input current I(t), added to the equation of v: what it can be, and its value within a step.

A kind of drive is a class: its numbers, which are parameters named `drive_<number>` and can be axes of a
scan, and what the engine asks of it. `DRIVES` lists them by the names that files have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from qifscan.definition import Definition, Finite, ordered, raise_if_any
from qifscan.dynamics.domain import NON_NEGATIVE, POSITIVE
from qifscan.dynamics.model import Parameter
from qifscan.errors import Fault, one_of, show, unknown

if TYPE_CHECKING:
    from types import ModuleType

    import jax

    from qifscan.arrays import Array, Column, Columns, Mask

    Traced = Mapping[str, jax.Array]
    Samples = tuple[Array, Array]


class DriveBase(Definition):
    """What every drive shares: it is frozen data, its numbers are parameters, and a point asks it the rest.

    `current(time, step, fraction, c)` is I at `time + fraction * step`, or its mean over that step: float64,
    times in ms, the numbers `c["drive_<number>"]` `(lanes,)` each; of JAX in the compiled loop, and as well
    of NumPy. Beside them there are `drive_samples` and their integral, `drive_integrals`, `(samples,)`.

    `steady`: I is one number for all time, which theory adds to the input. `rests`: I can be constant by
    the end of a run.
    """

    kind: str
    numbers: ClassVar[tuple[Parameter, ...]] = ()
    steady: ClassVar[bool] = False
    rests: ClassVar[bool] = True

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the drive's numbers as parameters named `drive_<number>`, with its values as defaults."""
        return tuple(
            Parameter(f"drive_{p.name}", getattr(self, p.name), p.unit, f"drive: {p.meaning}", p.domain)
            for p in self.numbers
        )

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return I within a step, for a block of points."""
        raise NotImplementedError

    @staticmethod
    def step_constants(c: Columns, dt: Array) -> dict[str, Column]:
        """Return what steps of these lengths (ms) read beside the numbers of the drive, one per point."""
        return {}

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return the time in which I changes, ms: a step is to be a small fraction of it."""
        raise NotImplementedError

    @classmethod
    def telling(cls, c: Columns) -> Array:
        """Return the longest step (ms) that tells what longer ones miss: an eighth of that time."""
        return cls.duration(c) / 8.0

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Whether steps of dt (ms) see all that the drive does: Simpson's rule is off by 1e-6 of the input
        at 25 steps in a period, and by 3e-4 of a line at a kink that stands 16 steps from the next."""
        raise NotImplementedError

    @staticmethod
    def jumps(c: Traced) -> tuple[jax.Array, ...]:
        """Return the times (ms) at which I jumps, one per point each, in order: there v has a corner."""
        return ()

    def samples(self) -> Samples:
        """Return what is interpolated, with its integral; of most drives some that are not read."""
        return with_integral((0.0, 0.0))

    def extremes(self, c: Columns) -> tuple[Array, Array]:
        """Return the lowest and the highest input that there can be with these numbers, one per point."""
        amplitude = c["drive_amplitude"]
        return np.minimum(0.0 * amplitude, amplitude), np.maximum(0.0 * amplitude, amplitude)

    def final_input(self, c: Columns, end: float) -> Array:
        """Return the input at the end of a run if it is constant by then, else NaN; one per point."""
        raise NotImplementedError


_AMPLITUDE = Parameter("amplitude", None, "1", "amplitude of the input current")
_START = Parameter("start", None, "ms", "time at which the input begins, from the start of the run")


class Constant(DriveBase):
    """I(t) = amplitude: the same as adding the amplitude to eta.

    The amplitude has no unit, as eta; as an axis of a scan it is `drive_amplitude`. Raises `ScanError` for a
    number outside its domain.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.simulate(eta=-5.0, t_end=5.0, drive=qs.Constant(amplitude=2.0)).attrs["model"]
    'qif'
    """

    kind: Literal["constant"] = "constant"
    amplitude: Finite
    numbers: ClassVar = (_AMPLITUDE,)
    steady: ClassVar = True

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return the amplitude."""
        amplitude: jax.Array = c["drive_amplitude"]
        return amplitude

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return infinity: it never changes."""
        return np.asarray(np.inf)

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Return True."""
        return np.ones(np.shape(dt), dtype=bool)

    def extremes(self, c: Columns) -> tuple[Array, Array]:
        """Return the amplitude twice."""
        return c["drive_amplitude"], c["drive_amplitude"]

    def final_input(self, c: Columns, end: float) -> Array:
        """Return the amplitude."""
        return c["drive_amplitude"]


class Pulse(DriveBase):
    """I(t) = amplitude for start <= t < start + length, else 0.

    The amplitude has no unit, as eta; start and length (not below 0) are ms, from the start of the run. As
    axes of a scan they are `drive_amplitude`, `drive_start`, `drive_length`. Raises `ScanError` for a number
    outside its domain.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Pulse(amplitude=3.0, start=20.0, length=60.0)
    Pulse(amplitude=3.0, start=20.0, length=60.0)
    >>> print(qs.Pulse(amplitude=3.0, length=60.0).parameters()[2])
    drive_length = 60 (ms): drive: duration of the pulse, a number not below 0
    """

    kind: Literal["pulse"] = "pulse"
    amplitude: Finite
    start: Finite = 0.0
    length: Annotated[Finite, Field(ge=0)]
    numbers: ClassVar = (
        _AMPLITUDE,
        _START,
        Parameter("length", None, "ms", "duration of the pulse", NON_NEGATIVE),
    )

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return the mean over the step."""
        # Whatever the fraction: an edge inside a step, or at its end, then costs no order of convergence,
        # where the value at the stages would shift the pulse by half a step.
        xp = _functions(time)
        begin = xp.maximum(time, c["drive_start"])
        end = xp.minimum(time + step, c["drive_start"] + c["drive_length"])
        mean: jax.Array = c["drive_amplitude"] * xp.maximum(end - begin, 0.0) / step
        return mean

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return the length."""
        return _length(c)

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Whether both edges are between two steps."""
        edges = (c["drive_start"] / dt, (c["drive_start"] + c["drive_length"]) / dt)
        at = [np.abs(edge - np.rint(edge)) < 1e-6 for edge in edges]
        both: Mask = (at[0] & at[1]) | (c["drive_length"] == 0.0)
        return both

    @staticmethod
    def jumps(c: Traced) -> tuple[jax.Array, ...]:
        """Return begin and end."""
        return c["drive_start"], c["drive_start"] + c["drive_length"]

    def final_input(self, c: Columns, end: float) -> Array:
        """Return the amplitude where the run ends within the pulse, or with it."""
        begun = end - c["drive_start"]
        return np.where((begun > 0.0) & (begun <= c["drive_length"]), c["drive_amplitude"], 0.0)


SINE_FROM, SAMPLES_FROM = 0.25, 1.0
"""Steps, in periods of a sine and in intervals of samples, from which on the mean over a step is its input.

Values at three places of such a step would be those of another, slower input.
"""


class Sine(DriveBase):
    """I(t) = amplitude sin(2 pi t / period + phase).

    The amplitude has no unit, as eta; the period (above 0) is ms, the phase rad at the start of the run. As
    axes of a scan they are `drive_amplitude`, `drive_period`, `drive_phase`. Raises `ScanError` for a number
    outside its domain.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Sine(amplitude=1.0, period=25.0)
    Sine(amplitude=1.0, period=25.0)
    """

    kind: Literal["sine"] = "sine"
    amplitude: Finite
    period: Annotated[Finite, Field(gt=0)]
    phase: Finite = 0.0
    numbers: ClassVar = (
        _AMPLITUDE,
        Parameter("period", None, "ms", "period of the sine", POSITIVE),
        Parameter("phase", None, "rad", "phase of the sine at t = 0"),
    )
    rests: ClassVar = False

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return the sine at the fraction, or half-way, with what makes it the mean over a step."""
        xp = _functions(time)
        place = xp.where(c["drive_averaged"], 0.5, fraction)
        turns = (time + place * step) / c["drive_period"]
        angle = 2.0 * xp.pi * (turns - xp.floor(turns)) + c["drive_phase"]
        value: jax.Array = c["drive_amplitude"] * (xp.sin(angle) * c["drive_damping"])
        return value

    @staticmethod
    def step_constants(c: Columns, dt: Array) -> dict[str, Column]:
        """Return whether the mean over a step stands for the input, and its factor on the value half-way."""
        length = np.broadcast_to(dt / c["drive_period"], np.shape(c["drive_period"]))
        averaged = length > SINE_FROM
        return {"drive_averaged": averaged, "drive_damping": np.where(averaged, np.sinc(length), 1.0)}

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return the period."""
        return c["drive_period"]

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Whether there are 25 steps in a period."""
        return np.asarray(25.0 * dt <= c["drive_period"])

    def extremes(self, c: Columns) -> tuple[Array, Array]:
        """Return the amplitude with both signs."""
        amplitude = c["drive_amplitude"]
        return np.minimum(-amplitude, amplitude), np.maximum(-amplitude, amplitude)

    def final_input(self, c: Columns, end: float) -> Array:
        """Return 0 where there is no amplitude."""
        return np.where(c["drive_amplitude"] == 0.0, 0.0, np.nan)


class Ramp(DriveBase):
    """I(t) rises linearly from 0 at start to amplitude at start + length, and stays there.

    The amplitude has no unit, as eta; start and length (above 0) are ms, from the start of the run. As axes
    of a scan they are `drive_amplitude`, `drive_start`, `drive_length`. Raises `ScanError` for a number
    outside its domain.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Ramp(amplitude=4.0, length=200.0).replace(start=50.0)
    Ramp(amplitude=4.0, start=50.0, length=200.0)
    """

    kind: Literal["ramp"] = "ramp"
    amplitude: Finite
    start: Finite = 0.0
    length: Annotated[Finite, Field(gt=0)]
    numbers: ClassVar = (
        _AMPLITUDE,
        _START,
        Parameter("length", None, "ms", "duration of the rise", POSITIVE),
    )

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return the value of the line."""
        risen = (time + fraction * step - c["drive_start"]) / c["drive_length"]
        value: jax.Array = c["drive_amplitude"] * _functions(time).clip(risen, 0.0, 1.0)
        return value

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return the length."""
        return _length(c)

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Whether there are 16 steps in the rise."""
        return np.asarray(16.0 * dt <= c["drive_length"])

    def final_input(self, c: Columns, end: float) -> Array:
        """Return 0 before the rise and the amplitude after it."""
        return _held(c, end, c["drive_length"], (0.0, 1.0))


class Sampled(DriveBase):
    """I(t) = amplitude times the linear interpolation of values at start + k interval; its ends are held.

    The values and the amplitude have no unit; start and interval (above 0) are ms, from the start of the run.
    As axes of a scan the numbers are `drive_amplitude`, `drive_start`, `drive_interval`. Raises `ScanError`
    for a number outside its domain.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Sampled(values=[0.0, 1.0, 0.0], interval=10.0)
    Sampled(values=(0.0, 1.0, 0.0), interval=10.0)
    """

    kind: Literal["sampled"] = "sampled"
    values: Annotated[tuple[Finite, ...], BeforeValidator(ordered), Field(min_length=2)]
    interval: Annotated[Finite, Field(gt=0)]
    amplitude: Finite = 1.0
    start: Finite = 0.0
    numbers: ClassVar = (
        Parameter("amplitude", None, "1", "factor on the sampled values"),
        _START,
        Parameter("interval", None, "ms", "time between two samples", POSITIVE),
    )

    @staticmethod
    def current(time: jax.Array, step: jax.Array, fraction: float, c: Traced) -> jax.Array:
        """Return the interpolation at the fraction, or its mean over the step."""
        value, _ = _between_samples((time + fraction * step - c["drive_start"]) / c["drive_interval"], c)
        averaged = c["drive_averaged"]

        def mean() -> jax.Array:
            length = step / c["drive_interval"]
            begin = (time - c["drive_start"]) / c["drive_interval"]
            return (_between_samples(begin + length, c)[1] - _between_samples(begin, c)[1]) / length

        chosen: jax.Array = c["drive_amplitude"] * _functions(time).where(averaged, mean(), value)
        return chosen

    @staticmethod
    def step_constants(c: Columns, dt: Array) -> dict[str, Column]:
        """Return whether the mean over the step stands for the input."""
        length = np.broadcast_to(dt / c["drive_interval"], np.shape(c["drive_interval"]))
        return {"drive_averaged": length > SAMPLES_FROM}

    @staticmethod
    def duration(c: Columns) -> Array:
        """Return 25 intervals: steps are to be one."""
        return np.asarray(25.0 * c["drive_interval"])

    @classmethod
    def telling(cls, c: Columns) -> Array:
        """Return an eighth of an interval: what corners between longer steps do may be as much for half of
        them, by chance."""
        return np.asarray(c["drive_interval"] / 8.0)

    @staticmethod
    def seen(c: Columns, dt: Array) -> Mask:
        """Whether there are 16 steps in an interval."""
        return np.asarray(16.0 * dt <= c["drive_interval"])

    def samples(self) -> Samples:
        """Return the values, with their integral."""
        return with_integral(self.values)

    def extremes(self, c: Columns) -> tuple[Array, Array]:
        """Return the amplitude times the lowest and the highest value."""
        ends = c["drive_amplitude"] * min(self.values), c["drive_amplitude"] * max(self.values)
        return np.minimum(*ends), np.maximum(*ends)

    def final_input(self, c: Columns, end: float) -> Array:
        """Return the first value before the samples and the last one after them."""
        length = c["drive_interval"] * (len(self.values) - 1)
        return _held(c, end, length, (self.values[0], self.values[-1]))


def _functions(of: jax.Array) -> ModuleType:
    """Return the module with the functions of an array: `numpy`, or `jax.numpy` in the compiled loop."""
    functions: ModuleType = of.__array_namespace__()
    return functions


def _length(c: Columns) -> Array:
    # A pulse shorter than a step is there with its mean over the step; one of no length is not there.
    return np.where(c["drive_length"] > 0.0, c["drive_length"], np.inf)


def _held(c: Columns, end: float, length: Array, ends: tuple[float, float]) -> Array:
    """Return the input at the end of a run, of a drive that changes for a length and is held at both ends."""
    begun = end - c["drive_start"]
    held = np.where(begun <= 0.0, ends[0], np.where(begun >= length, ends[1], np.nan))
    return np.asarray(c["drive_amplitude"] * held)


def _between_samples(position: jax.Array, c: Traced) -> tuple[jax.Array, jax.Array]:
    """Return the interpolation at a position in intervals, and its integral from the first sample on."""
    xp = _functions(position)
    values, whole = c["drive_samples"], c["drive_integrals"]
    last = values.shape[0] - 1.0
    inside = xp.clip(position, 0.0, last)
    left = xp.minimum(inside.astype(xp.int32), values.shape[0] - 2)
    weight = inside - left
    value = values[left] * (1.0 - weight) + values[left + 1] * weight
    within = weight * values[left] + 0.5 * weight * weight * (values[left + 1] - values[left])
    outside = xp.minimum(position, 0.0) * values[0] + xp.maximum(position - last, 0.0) * values[-1]
    return value, whole[left] + within + outside


def with_integral(samples: Sequence[float]) -> Samples:
    """Return samples and, in intervals, the integral of their interpolation from the first one on."""
    values = np.array(samples)
    return values, np.append(0.0, np.cumsum(0.5 * (values[1:] + values[:-1])))


DRIVES: dict[str, type[DriveBase]] = {
    "constant": Constant,
    "pulse": Pulse,
    "sine": Sine,
    "ramp": Ramp,
    "sampled": Sampled,
}
"""The kinds of drives by the names that files have."""


def _drive(given: object) -> object:
    """Return the drive that a table of a file tells, by its `kind`; raise `Faults` for what is no drive."""
    if isinstance(given, Mapping):
        numbers = dict(given)
        if "kind" not in numbers:
            raise_if_any([Fault("drive.kind", "nothing", one_of(DRIVES), "add it")])
        kind = numbers.pop("kind")
        if not isinstance(kind, str) or kind not in DRIVES:
            raise_if_any([unknown("drive.kind", kind, DRIVES)])
        return DRIVES[kind](**numbers)
    if isinstance(given, DriveBase):
        return given
    meant = DRIVES[given].__name__ if isinstance(given, str) and given in DRIVES else ""
    hint = f"give qifscan.{meant}(...)" if meant else ""
    if not isinstance(given, str) and hasattr(given, "__len__"):
        hint = "give qifscan.Sampled(values=..., interval=...)"
    kinds = ", ".join(kind.__name__ for kind in DRIVES.values())
    raise_if_any([Fault("drive", show(given), f"one of qifscan.{kinds} (in a file a table)", hint)])
    return None


Drive = Annotated[SerializeAsAny[DriveBase], BeforeValidator(_drive)]
"""A drive as a field of a definition."""
