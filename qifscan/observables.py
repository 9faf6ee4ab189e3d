"""What is measured along a trajectory, each a fold over the steps of the window, and how a point ends.

A fold has two carries. The *segment* is updated at every step in the precision of the state; every
`SEGMENT` steps it is closed into the *total*, which is kept in float64: so a mean over 10^8 float32
steps loses nothing, at the price of float32 arithmetic, and memory does not grow with the window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule
from qifscan.models import POSITIVE, Model, Parameter, Variable

if TYPE_CHECKING:
    import jax.numpy as jnp
    from jax import lax
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")

SEGMENT = 128
"""Steps between two closings: few enough that a float32 sum of deviations keeps its digits, many enough
that the float64 arithmetic at a closing costs under 2 % of the steps."""

SAMPLE_STEPS = 4
"""Steps that are averaged into one sample of a spectrum: the step resolves the fastest cycle by tens of
steps, so its period has several samples."""

SPECTRUM_SAMPLES = 4096
"""Most samples in one segment of a spectrum: 8 MB of working memory for a block of points."""


class Status(IntFlag):
    """How a point ended; flags can hold together, and 0 means that it has not been run."""

    computed = 1
    diverged = 2
    rate_negative = 4


STATUS_MEANINGS = {
    Status.computed: "the point was run to the end of its window",
    Status.diverged: "the state left the range of finite numbers; every observable is NaN",
    Status.rate_negative: "the rate was below 0 at some step, in the transient or the window",
}


@dataclass(frozen=True)
class Window:
    """What a fold may know of the window when it is compiled or finalised: its length and its step."""

    steps: int
    dt: float


@dataclass(frozen=True)
class Fold:
    """A measurement in pieces.

    `init(state, constants, window)` gives the total at the start of the window; `open(total, state)` the
    segment; `update(segment, state, step)` the segment after a step (`step` counts from the start of the
    window); `close(total, segment, stop, window)` the total with the segment in it, after `stop` steps.
    """

    init: Callable[[Any, Mapping[str, Any], Window], Any]
    open: Callable[[Any, Any], Any]
    update: Callable[[Any, Any, Any], Any]
    close: Callable[[Any, Any, Any, Window], Any]


@dataclass(frozen=True)
class Observable:
    """One number per point: `finalize(total, window)` of the fold named `fold`."""

    name: str
    unit: str
    meaning: str
    fold: str
    finalize: Callable[[Any, Window], Any]


def _moments(index: int, order: int) -> Fold:
    """Sum (and sum of squares) of a variable's deviation from its value at the start of the window."""

    def init(state: Any, c: Mapping[str, Any], window: Window) -> Any:
        start = state[index].astype(jnp.float64)
        return (start, *(jnp.zeros_like(start) for _ in range(order)))

    def open_segment(total: Any, state: Any) -> Any:
        return (state[index], *(jnp.zeros_like(state[index]) for _ in range(order)))

    def update(segment: Any, state: Any, step: Any) -> Any:
        deviation = state[index] - segment[0]
        return (
            segment[0],
            *(s + deviation**power for power, s in enumerate(segment[1:], start=1)),
        )

    def close(total: Any, segment: Any, stop: Any, window: Window) -> Any:
        count = (stop - 1) % SEGMENT + 1
        shift = segment[0].astype(jnp.float64) - total[0]
        sums = [s.astype(jnp.float64) for s in segment[1:]]
        closed = [total[0], total[1] + sums[0] + count * shift]
        if order == 2:
            closed.append(total[2] + sums[1] + 2.0 * shift * sums[0] + count * shift * shift)
        return tuple(closed)

    return Fold(init, open_segment, update, close)


def _mean(total: Any, window: Window) -> Any:
    return total[0] + total[1] / window.steps


def _std(total: Any, window: Window) -> Any:
    deviation = total[1] / window.steps
    return jnp.sqrt(jnp.maximum(total[2] / window.steps - deviation * deviation, 0.0))


def _extreme(index: int, which: str) -> Fold:
    def update(segment: Any, state: Any, step: Any) -> Any:
        return getattr(jnp, which)(segment, state[index])

    def init(state: Any, c: Mapping[str, Any], window: Window) -> Any:
        return jnp.full_like(state[index], jnp.inf if which == "minimum" else -jnp.inf)

    return Fold(init, lambda total, state: total, update, lambda total, segment, stop, window: segment)


def _final(index: int) -> Fold:
    def init(state: Any, c: Mapping[str, Any], window: Window) -> Any:
        return state[index]

    def update(segment: Any, state: Any, step: Any) -> Any:
        return state[index]

    return Fold(init, lambda total, state: state[index], update, lambda total, segment, stop, window: segment)


def _levels(index: int) -> Fold:
    """Steps spent up and switches between up and down.

    A population becomes up when its rate reaches the upper threshold, down when it falls to the lower
    one, and keeps its level between them. It begins up if its rate is above their geometric mean.
    """

    def init(state: Any, c: Mapping[str, Any], window: Window) -> Any:
        down, up = c["down_threshold"], c["up_threshold"]
        middle = jnp.sqrt(down * up)
        zero = jnp.zeros(state[index].shape, jnp.int32)
        return (down, up), (state[index] > middle).astype(jnp.int32), zero, zero

    def update(segment: Any, state: Any, step: Any) -> Any:
        (down, up), level, steps_up, switches = segment
        rate = state[index]
        now = jnp.where(rate >= up, 1, jnp.where(rate <= down, 0, level))
        return (down, up), now, steps_up + now, switches + (now ^ level)

    return Fold(init, lambda total, state: total, update, lambda total, segment, stop, window: segment)


def _level_defined(total: Any) -> Any:
    return jnp.isfinite(total[0][0]) & jnp.isfinite(total[0][1])


def _up_fraction(total: Any, window: Window) -> Any:
    # Two integers would be divided in float32.
    return jnp.where(_level_defined(total), total[2].astype(jnp.float64) / window.steps, jnp.nan)


def _switch_count(total: Any, window: Window) -> Any:
    return jnp.where(_level_defined(total), total[3].astype(jnp.float64), jnp.nan)


def spectrum_samples(window: Window) -> int:
    """Return how many samples one segment of the spectrum has: whole fold segments, at most 4096."""
    available = window.steps // SAMPLE_STEPS
    unit = SEGMENT // SAMPLE_STEPS
    segments = -(-available // SPECTRUM_SAMPLES)
    return available // max(segments, 1) // unit * unit


def _spectrum(index: int, rate_index: int) -> Fold:
    """Periodogram averaged over non-overlapping segments with a Hann window (Welch 1967).

    With it the lowest and highest rate, which tell motion from rounding: v may be 0 at rest, the rate is not.
    """

    def init(state: Any, c: Mapping[str, Any], window: Window) -> Any:
        samples = spectrum_samples(window)
        shape = state[index].shape
        buffer = jnp.zeros((samples, *shape), state[index].dtype)
        range_of_rate = (state[rate_index], state[rate_index])
        return buffer, state[index], range_of_rate, jnp.zeros((samples // 2 + 1, *shape), jnp.float64)

    def open_segment(total: Any, state: Any) -> Any:
        return total[:3]

    def update(segment: Any, state: Any, step: Any) -> Any:
        buffer, start, (lowest, highest) = segment
        rate = state[rate_index]
        row = (step // SAMPLE_STEPS) % buffer.shape[0]
        # The first of a sample's steps replaces what the last segment left there.
        kept = jnp.where(step % SAMPLE_STEPS == 0, 0.0, buffer[row])
        buffer = buffer.at[row].set(kept + (state[index] - start))
        return buffer, start, (jnp.minimum(lowest, rate), jnp.maximum(highest, rate))

    def close(total: Any, segment: Any, stop: Any, window: Window) -> Any:
        buffer, power = segment[0], total[3]
        full = stop % (buffer.shape[0] * SAMPLE_STEPS) == 0
        return *segment, power + lax.cond(full, _periodogram, lambda b: jnp.zeros_like(power), buffer)

    return Fold(init, open_segment, update, close)


def _sum_rows(values: Any) -> Any:
    """Return the sum over the first axis, added in one order: XLA's own order changes with the lanes."""
    while values.shape[0] > 1:
        half = values.shape[0] // 2
        odd = values[2 * half :]
        values = jnp.concatenate([values[:half] + values[half : 2 * half], odd])
    return values[0]


def _periodogram(buffer: Any) -> Any:
    samples = buffer.astype(jnp.float64)
    taper = jnp.sin(jnp.pi * (jnp.arange(samples.shape[0]) + 0.5) / samples.shape[0]) ** 2
    centred = (samples - _sum_rows(samples) / samples.shape[0]) * taper[:, None]
    return jnp.abs(jnp.fft.rfft(centred, axis=0)) ** 2


def _frequency(total: Any, window: Window) -> Any:
    """Return the frequency of the highest peak, by a parabola through the logarithm of three bins."""
    buffer, _, (lowest, highest), power = total
    bins = power[1:-1]
    # A peak lies above both neighbours; the first bin is a trend, not a cycle.
    peak = jnp.argmax(bins[1:-1], axis=0) + 1
    left, middle, right = (jnp.take_along_axis(bins, (peak + k)[None], axis=0)[0] for k in (-1, 0, 1))
    curvature = jnp.log(left) - 2.0 * jnp.log(middle) + jnp.log(right)
    offset = 0.5 * (jnp.log(left) - jnp.log(right)) / curvature
    cycles = peak + 1 + offset
    # Float32 rounding moves the rate of a point at rest by 1e-5 of it at most (measured).
    moving = highest - lowest > 1e-4 * highest
    # Below two periods in a segment the peak leans on its image at the negative frequency.
    found = moving & (middle > left) & (middle > right) & (cycles >= 2.0)
    return jnp.where(found, cycles / (buffer.shape[0] * SAMPLE_STEPS * window.dt), jnp.nan)


def folds(model: Model) -> dict[str, Fold]:
    """Return every fold of a model by name."""
    table: dict[str, Fold] = {}
    rate_index = model.variable_names.index("r")
    for index, name in enumerate(model.variable_names):
        table |= {
            f"{name} sum": _moments(index, 1),
            f"{name} squares": _moments(index, 2),
            f"{name} minimum": _extreme(index, "minimum"),
            f"{name} maximum": _extreme(index, "maximum"),
            f"{name} final": _final(index),
            f"{name} spectrum": _spectrum(index, rate_index),
        }
    table["r levels"] = _levels(rate_index)
    return table


def _of_variable(variable: Variable) -> tuple[Observable, ...]:
    name, unit, meaning = variable.name, variable.unit, variable.meaning
    return (
        Observable(f"{name}_mean", unit, f"{meaning}, mean over the window", f"{name} sum", _mean),
        Observable(
            f"{name}_std", unit, f"{meaning}, standard deviation over the window", f"{name} squares", _std
        ),
        Observable(
            f"{name}_min", unit, f"{meaning}, lowest in the window", f"{name} minimum", lambda total, w: total
        ),
        Observable(
            f"{name}_max",
            unit,
            f"{meaning}, highest in the window",
            f"{name} maximum",
            lambda total, w: total,
        ),
        Observable(
            f"{name}_final",
            unit,
            f"{meaning}, at the end of the window",
            f"{name} final",
            lambda total, w: total,
        ),
        Observable(
            f"{name}_frequency",
            "1/ms",
            f"{meaning}, frequency of the highest peak of its power spectrum in the window",
            f"{name} spectrum",
            _frequency,
        ),
    )


def observables(model: Model) -> dict[str, Observable]:
    """Return every observable of a model by name."""
    rows = [row for variable in model.variables for row in _of_variable(variable)]
    rows += [
        Observable("up_fraction", "1", "fraction of the window spent up", "r levels", _up_fraction),
        Observable(
            "switch_count", "1", "switches between up and down in the window", "r levels", _switch_count
        ),
    ]
    return {row.name: row for row in rows}


THRESHOLDS = (
    Parameter("down_threshold", None, "1/ms", "rate at which an up population counts as down", POSITIVE),
    Parameter("up_threshold", None, "1/ms", "rate at which a down population counts as up", POSITIVE),
)
"""By default the rates of the point's two folds: at any eta the lower branch lies below the one and the
upper branch above the other. Without a fold the levels are not defined, and the observables are NaN."""
