"""The input current I(t), added to the equation of v: what it can be, and its value within a step.

The numbers of a drive are parameters named `drive_<number>` and can be axes of a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from qifscan.definition import Definition, Finite, ordered
from qifscan.dynamics.domain import NON_NEGATIVE, POSITIVE
from qifscan.dynamics.model import Parameter
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax.numpy as jnp
    from jax import lax
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


class DriveBase(Definition):
    """What every drive shares: it is frozen data, and its numbers are parameters."""

    numbers: ClassVar[tuple[Parameter, ...]] = ()

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the drive's numbers as parameters named `drive_<number>`, with its values as defaults."""
        return tuple(
            Parameter(f"drive_{p.name}", getattr(self, p.name), p.unit, f"drive: {p.meaning}", p.domain)
            for p in self.numbers
        )


_AMPLITUDE = Parameter("amplitude", None, "1", "amplitude of the input current")
_START = Parameter("start", None, "ms", "time at which the input begins, from the start of the run")


class Constant(DriveBase):
    """I(t) = amplitude: the same as adding the amplitude to eta."""

    kind: Literal["constant"] = "constant"
    amplitude: Finite
    numbers: ClassVar = (_AMPLITUDE,)


class Pulse(DriveBase):
    """I(t) = amplitude for start <= t < start + length, else 0."""

    kind: Literal["pulse"] = "pulse"
    amplitude: Finite
    start: Finite = 0.0
    length: Annotated[Finite, Field(ge=0)]
    numbers: ClassVar = (
        _AMPLITUDE,
        _START,
        Parameter("length", None, "ms", "duration of the pulse", NON_NEGATIVE),
    )


class Sine(DriveBase):
    """I(t) = amplitude sin(2 pi t / period + phase)."""

    kind: Literal["sine"] = "sine"
    amplitude: Finite
    period: Annotated[Finite, Field(gt=0)]
    phase: Finite = 0.0
    numbers: ClassVar = (
        _AMPLITUDE,
        Parameter("period", None, "ms", "period of the sine", POSITIVE),
        Parameter("phase", None, "rad", "phase of the sine at t = 0"),
    )


class Ramp(DriveBase):
    """I(t) rises linearly from 0 at start to amplitude at start + length, and stays there."""

    kind: Literal["ramp"] = "ramp"
    amplitude: Finite
    start: Finite = 0.0
    length: Annotated[Finite, Field(gt=0)]
    numbers: ClassVar = (
        _AMPLITUDE,
        _START,
        Parameter("length", None, "ms", "duration of the rise", POSITIVE),
    )


class Sampled(DriveBase):
    """I(t) = amplitude times the linear interpolation of values at start + k interval; its ends are held."""

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


Drive = Annotated[Constant | Pulse | Sine | Ramp | Sampled, Field(discriminator="kind")]
DRIVES: dict[str, type[DriveBase]] = {
    "constant": Constant,
    "pulse": Pulse,
    "sine": Sine,
    "ramp": Ramp,
    "sampled": Sampled,
}


def _constant(time: Any, step: Any, fraction: float, c: Mapping[str, Any]) -> Any:
    return c["drive_amplitude"]


def _pulse(time: Any, step: Any, fraction: float, c: Mapping[str, Any]) -> Any:
    # The mean over the step, whatever the fraction: an edge inside a step, or at its end, then costs
    # no order of convergence, where the value at the stages would shift the pulse by half a step.
    begin = jnp.maximum(time, c["drive_start"])
    end = jnp.minimum(time + step, c["drive_start"] + c["drive_length"])
    return c["drive_amplitude"] * jnp.maximum(end - begin, 0.0) / step


SINE_FROM, SAMPLES_FROM = 0.25, 1.0
"""Steps, in periods of a sine and in intervals of samples, from which on the mean over a step is its input.

Values at three places of such a step would be those of another, slower input.
"""


def _sine(time: Any, step: Any, fraction: float, c: Mapping[str, Any]) -> Any:
    place = jnp.where(c["drive_averaged"], 0.5, fraction)
    turns = (time + place * step) / c["drive_period"]
    return c["drive_amplitude"] * (jnp.sin(_angle(turns, c)) * c["drive_damping"])


def _angle(turns: Any, c: Mapping[str, Any]) -> Any:
    return 2.0 * jnp.pi * (turns - jnp.floor(turns)) + c["drive_phase"]


def _ramp(time: Any, step: Any, fraction: float, c: Mapping[str, Any]) -> Any:
    risen = (time + fraction * step - c["drive_start"]) / c["drive_length"]
    return c["drive_amplitude"] * jnp.clip(risen, 0.0, 1.0)


def _sampled(time: Any, step: Any, fraction: float, c: Mapping[str, Any]) -> Any:
    value, _ = _between_samples((time + fraction * step - c["drive_start"]) / c["drive_interval"], c)
    averaged = c["drive_averaged"]

    def mean() -> Any:
        length = step / c["drive_interval"]
        begin = (time - c["drive_start"]) / c["drive_interval"]
        return (_between_samples(begin + length, c)[1] - _between_samples(begin, c)[1]) / length

    return c["drive_amplitude"] * jnp.where(averaged, mean(), value)


def _between_samples(position: Any, c: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the interpolation at a position in intervals, and its integral from the first sample on."""
    values, whole = c["drive_samples"]
    last = values.shape[0] - 1.0
    inside = jnp.clip(position, 0.0, last)
    left = jnp.minimum(inside.astype(jnp.int32), values.shape[0] - 2)
    weight = inside - left
    value = values[left] * (1.0 - weight) + values[left + 1] * weight
    within = weight * values[left] + 0.5 * weight * weight * (values[left + 1] - values[left])
    outside = jnp.minimum(position, 0.0) * values[0] + jnp.maximum(position - last, 0.0) * values[-1]
    return value, whole[left] + within + outside


def samples_of(drive: DriveBase | None) -> tuple[Any, Any]:
    """Return the samples of a drive with their integral; of any other drive, some that are not read."""
    return with_integral(drive.values if isinstance(drive, Sampled) else (0.0, 0.0))


def with_integral(samples: Sequence[float]) -> tuple[Any, Any]:
    """Return samples and, in intervals, the integral of their interpolation from the first one on."""
    values = np.array(samples)
    return values, np.append(0.0, np.cumsum(0.5 * (values[1:] + values[:-1])))


def step_constants(kind: str | None, c: Mapping[str, Any], dt: Any) -> dict[str, Any]:
    """Return what steps of these lengths (ms) read of a drive beside its numbers, one per point.

    Of a sine and of samples: whether the mean over the step stands for the input; of a sine the factor of
    that on its value half-way.
    """
    if kind == "sine":
        length = np.broadcast_to(dt / c["drive_period"], np.shape(c["drive_period"]))
        averaged = length > SINE_FROM
        return {"drive_averaged": averaged, "drive_damping": np.where(averaged, np.sinc(length), 1.0)}
    if kind == "sampled":
        length = np.broadcast_to(dt / c["drive_interval"], np.shape(c["drive_interval"]))
        return {"drive_averaged": length > SAMPLES_FROM}
    return {}


def _period(c: Mapping[str, Any]) -> Any:
    return c["drive_period"]


def _length(c: Mapping[str, Any]) -> Any:
    # A pulse shorter than a step is there with its mean over the step; one of no length is not there.
    return np.where(c["drive_length"] > 0.0, c["drive_length"], np.inf)


TIMES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "constant": lambda c: np.inf,
    "pulse": _length,
    "sine": _period,
    "ramp": _length,
    "sampled": lambda c: 25.0 * c["drive_interval"],
}
"""Time in which I changes, ms, by kind of drive: a step is to be a small fraction of it."""


def _edges_between_steps(c: Mapping[str, Any], dt: Any) -> Any:
    edges = (c["drive_start"] / dt, (c["drive_start"] + c["drive_length"]) / dt)
    at = [np.abs(edge - np.rint(edge)) < 1e-6 for edge in edges]
    return (at[0] & at[1]) | (c["drive_length"] == 0.0)


SEEN: dict[str, Callable[[Mapping[str, Any], Any], Any]] = {
    "constant": lambda c, dt: np.ones(np.shape(dt), dtype=bool),
    "pulse": _edges_between_steps,
    "sine": lambda c, dt: 25.0 * dt <= c["drive_period"],
    "ramp": lambda c, dt: 16.0 * dt <= c["drive_length"],
    "sampled": lambda c, dt: 16.0 * dt <= c["drive_interval"],
}
"""Whether steps of dt (ms) see all that a drive does, by its kind: Simpson's rule is off by 1e-6 of the input
at 25 steps in a period, and by 3e-4 of a line at a kink that stands 16 steps from the next."""


JUMPS: dict[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
    "constant": lambda c: (),
    "pulse": lambda c: (c["drive_start"], c["drive_start"] + c["drive_length"]),
    "sine": lambda c: (),
    "ramp": lambda c: (),
    "sampled": lambda c: (),
}
"""Times (ms) at which I jumps, by kind of drive, one per point each, in order: there v has a corner."""


def extremes(drive: DriveBase | None, c: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the lowest and the highest input that a drive can give with these numbers, one per point."""
    if drive is None:
        return 0.0, 0.0
    amplitude = c["drive_amplitude"]
    if isinstance(drive, Sampled):
        ends = amplitude * min(drive.values), amplitude * max(drive.values)
    elif isinstance(drive, Constant):
        return amplitude, amplitude
    else:
        ends = (-amplitude if isinstance(drive, Sine) else 0.0 * amplitude), amplitude
    return np.minimum(*ends), np.maximum(*ends)


def final_input(drive: DriveBase | None, c: Mapping[str, Any], end: float) -> Any:
    """Return the input at the end of a run if it is constant by then, else NaN; one per point."""
    if drive is None:
        return 0.0
    amplitude = c["drive_amplitude"]
    if isinstance(drive, Constant):
        return amplitude
    if isinstance(drive, Sine):
        return np.where(amplitude == 0.0, 0.0, np.nan)
    begun = end - c["drive_start"]
    if isinstance(drive, Pulse):
        return np.where((begun > 0.0) & (begun <= c["drive_length"]), amplitude, 0.0)
    if isinstance(drive, Sampled):
        length, ends = c["drive_interval"] * (len(drive.values) - 1), (drive.values[0], drive.values[-1])
    else:
        length, ends = c["drive_length"], (0.0, 1.0)
    return amplitude * np.where(begun <= 0.0, ends[0], np.where(begun >= length, ends[1], np.nan))


VALUES: dict[str, Callable[[Any, Any, float, Mapping[str, Any]], Any]] = {
    "constant": _constant,
    "pulse": _pulse,
    "sine": _sine,
    "ramp": _ramp,
    "sampled": _sampled,
}
"""I at `time + fraction * step` by kind of drive: float64, time and step in ms, constants per point."""
