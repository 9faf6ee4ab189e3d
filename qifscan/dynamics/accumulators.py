"""What is accumulated over the steps of the window, from which observables are made.

An accumulator has two carries. The *segment* is updated at every step in the precision of the state; every
`SEGMENT` steps it is closed into the *total*, which is kept in float64: so a mean over 10^8 float32
steps is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qifscan.dynamics import rhythm
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax.numpy as jnp
    from jax import lax

    from qifscan.dynamics.model import Model
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


SEGMENT = 128
"""Steps between two closings: few enough that a float32 sum of deviations keeps its digits, many enough
that the float64 arithmetic at a closing costs under 2 % of the steps."""


@dataclass(frozen=True)
class Window:
    """What an accumulator may know of the window: its steps and their length in ms; how many lengths of
    segments a spectrum has, and the steps in one sample. Only the lengths are known before the program
    runs.

    `corners` are where the slope of v jumps, `(points,)` each: the step in the window, and the part of that
    step before it, NaN where no parabola leads to it."""

    steps: Any
    dt: Any
    lengths: int
    sample_steps: Any
    corners: tuple[tuple[Any, Any], ...] = ()


@dataclass(frozen=True)
class Instant:
    """What is known of a point between two steps: its state and the derivative of that in time, per ms."""

    state: Any
    slope: Any


@dataclass(frozen=True)
class Accumulator:
    """A measurement in pieces.

    `init(instant, constants, window)` gives the total at the start of the window; `open(total, state)` the
    segment; `update(segment, was, state, step, window)` the segment after a step from one state to the next
    (`step` counts from the start of the window); `close(total, segment, instant, stop, window)` the total
    with the segment in it, after `stop` steps. What is needed only between segments is no part of them: a
    step costs what it carries.
    """

    init: Callable[[Instant, Mapping[str, Any], Window], Any]
    open: Callable[[Any, Any], Any]
    update: Callable[[Any, Any, Any, Any, Window], Any]
    close: Callable[[Any, Any, Instant, Any, Window], Any]
    types: tuple[str, ...] | None
    """Types of the numbers of a point's total, `"scan"` for the precision of the scan; None: they depend on
    the length of the window."""
    holds: str | None = None
    """Name of another accumulator whose total is the beginning of this one's: it needs not run beside it."""


def _whole_total(total: Any, state: Any) -> Any:
    return total


def _whole_segment(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
    return segment


def held_apart(values: Any) -> Any:
    """Return the values as XLA may not see through them: it rounds them alike whatever is made of them."""
    barrier: Callable[[Any], Any] = lax.optimization_barrier
    return barrier(values)


def _moments(index: int, order: int, holds: str | None = None) -> Accumulator:
    """Sum (and sum of squares) of a variable's deviation from its value at the start of the window.

    The total also holds the start, the deviation at the end, and the derivatives at both: `_mean_deviation`
    needs them to integrate what still moves.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        start, slope = (y[index].astype(jnp.float64) for y in (at.state, at.slope))
        return (start, slope, *(jnp.zeros_like(start) for _ in range(2 + order)))

    def open_segment(total: Any, state: Any) -> Any:
        return (state[index], *(jnp.zeros_like(state[index]) for _ in range(order)))

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        opened, *sums = segment
        # What is used twice is a pass of its own over the block: the square has its own difference.
        deviations = (state[index] - opened, opened - state[index])
        return (opened, *(s + y**n for n, (s, y) in enumerate(zip(sums, deviations, strict=False), start=1)))

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        # From segment to segment the deviation is from another value.
        opened, *sums = (s.astype(jnp.float64) for s in segment)
        end, slope = (y[index].astype(jnp.float64) for y in (at.state, at.slope))
        count = (stop - 1) % SEGMENT + 1
        shift = opened - total[0]
        # Held apart, so that the sum is rounded alike with and without the squares.
        moved = held_apart(count * shift)
        closed = [*total[:2], end - total[0], slope, total[4] + sums[0] + moved]
        if order == 2:
            closed.append(total[5] + sums[1] + 2.0 * shift * sums[0] + count * (shift * shift))
        return tuple(closed)

    return Accumulator(init, open_segment, update, close, ("float64",) * (4 + order), holds)


def _extreme(index: int, sign: float, kinks: bool) -> Accumulator:
    """Highest value of a variable, or of its negative: of a parabola where it lies between three steps.

    The values at the steps alone are too low at a peak by up to an eighth of the square of the angle that
    the state turns in a step: most of a per cent at the steps that the integrators can take.

    Three steps across a kink are no parabola. At the edge of a pulse v has a kink (`kinks`): its second
    difference is far above that of a step before. Nor are they where that of a low r would end below 0.
    What v is at the kink itself the parabola of the three steps before it tells.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        start = sign * at.state[index]
        # No step is before the first: no parabola goes through it, and no bend is known until the second.
        none = jnp.full_like(start, jnp.nan)
        return start, *((none,) * (2 if kinks else 1))

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        highest, before, *bend_before = segment
        last, now = sign * was[index], sign * state[index]
        fall = last - now
        bend = before + fall
        limit = 4.0 * jnp.abs(bend_before[0] if kinks else last)
        turned = (before > 0) & (fall >= 0) & (bend <= limit)
        # Where it did not turn the quotient may be no number, and is not taken.
        reached = jnp.where(turned, last + (before - fall) ** 2 / (8.0 * bend), now)
        # A state that is no number makes every observable NaN in the end: there is nothing to keep here.
        highest = jnp.where(reached > highest, reached, highest)
        for place, part in window.corners if kinks else ():
            corner = last + part * (before - 0.5 * (1.0 + part) * bend_before[0])
            highest = jnp.where((step == place) & (corner > highest), corner, highest)
        return highest, now - last, *([bend] if kinks else [])

    return Accumulator(init, _whole_total, update, _whole_segment, ("scan",) * (3 if kinks else 2))


def _highest_rate(index: int) -> Accumulator:
    """Highest rate, by a parabola of 1/r through three steps where it lies between them.

    In a burst the rate is a Lorentzian of time, and 1/r a parabola, however high the peak. Through p, q, s
    at equal times its lowest point is 1/q - (1/p - 1/s)^2 / (8 (1/p + 1/s - 2/q)). Over a common denominator
    the reciprocal of that takes one division, and nothing in it cancels.

    Where r goes through 0, 1/r jumps, and its second difference is far above its value: no parabola.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        # No step is before the first: no parabola goes through it.
        return at.state[index], jnp.full_like(at.state[index], jnp.nan)

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        (highest, rise), q, s = segment, was[index], state[index]
        p, fall = q - rise, q - s
        bend = p * fall + s * rise
        # Its bound has the sign of p s: with one of them below 0 no bend is between 0 and that.
        bound = (p + p) * (s + s)
        turned = (_lower(_lower(rise, fall), bend) >= 0.0) & (bend <= bound)
        whole = (bound + bound) * bend
        # The part taken off is at most half of the whole. Where both underflow, q has been counted before.
        peak = q * (whole / (whole - ((rise - fall) * q) ** 2))
        reached = jnp.where(turned, peak, s)
        # A state that is no number makes every observable NaN in the end: there is nothing to keep here.
        return jnp.where(reached > highest, reached, highest), s - q

    return Accumulator(init, _whole_total, update, _whole_segment, ("scan",) * 2)


def _lower(a: Any, b: Any) -> Any:
    """Return the lower of two, the second where one is no number: one operation instead of XLA's five."""
    return jnp.where(a < b, a, b)


def _final(index: int) -> Accumulator:
    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        return at.state[index]

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        return segment

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        return at.state[index]

    return Accumulator(init, lambda total, state: (), update, close, ("scan",))


def _levels(index: int) -> Accumulator:
    """Steps spent up and switches between up and down.

    A population becomes up when its rate reaches the upper threshold, down when it falls to the lower
    one, and keeps its level between them. It begins up if its rate is above their geometric mean.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        state = at.state
        down, up = c["down_threshold"], c["up_threshold"]
        middle = jnp.sqrt(down * up)
        zero = jnp.zeros(state[index].shape, jnp.int32)
        return (down, up), (state[index] > middle).astype(jnp.int32), zero, zero

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        (down, up), level, steps_up, switches = segment
        rate = state[index]
        now = jnp.where(rate >= up, 1, jnp.where(rate <= down, 0, level))
        return (down, up), now, steps_up + now, switches + (now ^ level)

    return Accumulator(
        init, _whole_total, update, _whole_segment, ("scan", "scan", "int32", "int32", "int32")
    )


def _residences(index: int) -> Accumulator:
    """Sum and squares of the steps of each completed stay, up and down; one is that began in the window."""

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        state = at.state
        down, up = c["down_threshold"], c["up_threshold"]
        level = (state[index] > jnp.sqrt(down * up)).astype(jnp.int32)
        zero = jnp.zeros(state[index].shape, jnp.int32)
        sums = tuple(jnp.zeros(state[index].shape, jnp.float64) for _ in range(4))
        return (down, up), level, zero, zero - 1, sums

    def open_segment(total: Any, state: Any) -> Any:
        return (*total[:4], tuple(jnp.zeros_like(state[index]) for _ in range(4)))

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        (down, up), level, switches, entered, (up_sum, up_squares, down_sum, down_squares) = segment
        rate = state[index]
        now = jnp.where(rate >= up, 1, jnp.where(rate <= down, 0, level))
        left = now ^ level
        steps = jnp.where((left > 0) & (entered >= 0), step + 1 - entered, 0).astype(rate.dtype)
        of_up, of_down = jnp.where(level > 0, steps, 0.0), jnp.where(level > 0, 0.0, steps)
        sums = (
            up_sum + of_up,
            up_squares + of_up * of_up,
            down_sum + of_down,
            down_squares + of_down * of_down,
        )
        return (down, up), now, switches + left, jnp.where(left > 0, step + 1, entered), sums

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        sums = tuple(t + s.astype(jnp.float64) for t, s in zip(total[4], segment[4], strict=True))
        return (*segment[:4], sums)

    types = ("scan", "scan", "int32", "int32", "int32", *("float64",) * 4)
    return Accumulator(init, open_segment, update, close, types)


def _exponents(first: int, count: int) -> Accumulator:
    """Sums of the logarithms by which the directions of a frame grew, in the order of the frame.

    What the accumulators see after the state is that growth in the last step, from `first` on.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        state = at.state
        return tuple(jnp.zeros(state[0].shape, jnp.float64) for _ in range(count))

    def open_segment(total: Any, state: Any) -> Any:
        return tuple(jnp.zeros_like(state[0]) for _ in range(count))

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        return tuple(s + growth for s, growth in zip(segment, state[first:], strict=True))

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        return tuple(t + s for t, s in zip(total, segment, strict=True))

    return Accumulator(init, open_segment, update, close, ("float64",) * count)


def _spectrum(index: int, rate_index: int) -> Accumulator:
    """What the frequency of a variable is read off (`rhythm`), and with it the lowest and highest rate.

    They tell motion from rounding: v may be 0 at rest, the rate is not.
    """

    def init(at: Instant, c: Mapping[str, Any], window: Window) -> Any:
        segments, whole, powers = rhythm.empty(at.state[index], window.lengths)
        rate = at.state[rate_index]
        return (segments, whole, at.state[index], (rate, rate)), powers

    def open_segment(total: Any, state: Any) -> Any:
        return total[0]

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        segments, whole, start, (lowest, highest) = segment
        value, rate = state[index] - start, state[rate_index]
        segments = rhythm.added(segments, *rhythm.segment_place(step, window.sample_steps), value)
        whole = rhythm.added(whole, *rhythm.row_place(step, window.steps), value)
        return segments, whole, start, (jnp.minimum(lowest, rate), jnp.maximum(highest, rate))

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        segments, powers = rhythm.passed_on(segment[0], total[1], stop, window.sample_steps)
        return (segments, *segment[1:]), powers

    return Accumulator(init, open_segment, update, close, None)


def accumulators(model: Model) -> dict[str, Accumulator]:
    """Return every accumulator of a model by name."""
    table: dict[str, Accumulator] = {}
    rate = model.rates[0].name
    rate_index = model.variable_names.index(rate)
    for index, variable in enumerate(model.variables):
        name, is_rate = variable.name, variable.rate
        table |= {
            f"{name} sum": _moments(index, 1),
            f"{name} squares": _moments(index, 2, holds=f"{name} sum"),
            f"{name} minimum": _extreme(index, -1.0, kinks=not is_rate),
            f"{name} maximum": _highest_rate(index) if is_rate else _extreme(index, 1.0, kinks=True),
            f"{name} final": _final(index),
            f"{name} spectrum": _spectrum(index, rate_index),
        }
    table[f"{rate} levels"] = _levels(rate_index)
    table[f"{rate} residences"] = _residences(rate_index)
    table["exponents"] = _exponents(len(model.variables), len(model.variables))
    return table
