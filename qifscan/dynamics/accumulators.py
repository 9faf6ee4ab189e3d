"""What is accumulated over the steps of the window, from which observables are made.

An accumulator has two carries. The *segment* is updated at every step in the precision of the state; every
`SEGMENT` steps it is closed into the *total*, which is kept in float64: so a mean over 10^8 float32
steps is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar

from qifscan.arrays import Exact, Flags, Lanes, Powers, Rows, Segments
from qifscan.dynamics import rhythm
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax

    from qifscan.dynamics.model import Model

    State = tuple[jax.Array, ...]
    Constants = Mapping[str, jax.Array]
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

    steps: jax.Array
    dt: jax.Array
    lengths: int
    sample_steps: jax.Array
    corners: tuple[tuple[jax.Array, jax.Array], ...] = ()


@dataclass(frozen=True)
class Instant:
    """What is known of a point between two steps: its state and the derivative of that in time, per ms."""

    state: State
    slope: State


Total = TypeVar("Total")
Segment = TypeVar("Segment")


@dataclass(frozen=True)
class Accumulator(Generic[Total, Segment]):
    """A measurement in pieces.

    `init(instant, constants, window)` gives the total at the start of the window; `open(total, state)` the
    segment; `update(segment, was, state, step, window)` the segment after a step from one state to the next
    (`step` counts from the start of the window); `close(total, segment, instant, stop, window)` the total
    with the segment in it, after `stop` steps. What is needed only between segments is no part of them: a
    step costs what it carries.
    """

    init: Callable[[Instant, Constants, Window], Total]
    open: Callable[[Total, State], Segment]
    update: Callable[[Segment, State, State, jax.Array, Window], Segment]
    close: Callable[[Total, Segment, Instant, jax.Array, Window], Total]
    types: tuple[str, ...] | None
    """Types of the numbers of a point's total, `"scan"` for the precision of the scan; None: they depend on
    the length of the window."""
    holds: str | None = None
    """Name of another accumulator whose total is the beginning of this one's: it needs not run beside it."""


Measuring: TypeAlias = Accumulator[Any, Any]
"""An accumulator of a table: its total and its segment are its own affair."""


def _whole_total(total: Total, state: State) -> Total:
    return total


def _whole_segment(total: Total, segment: Total, at: Instant, stop: jax.Array, window: Window) -> Total:
    return segment


def held_apart(values: Total) -> Total:
    """Return the values as XLA may not see through them: it rounds them alike whatever is made of them."""
    barrier: Callable[[Total], Total] = lax.optimization_barrier
    return barrier(values)


class Moments(NamedTuple):
    """Of a variable, `(lanes,)` each in float64: its value at the start of the window and the derivative
    there, its deviation from that value at the end and the derivative there, and the sums over the steps of
    the deviation and, where that is asked for, of its square."""

    start: Exact
    first: Exact
    moved: Exact
    last: Exact
    sum: Exact
    squares: Exact | None = None


Sums = tuple[Lanes, ...]
"""The value of a variable where a segment began, and the sums of its deviation from that and of its square,
`(lanes,)` each in the precision of the state."""


def _moments(index: int, order: int, holds: str | None = None) -> Accumulator[Moments, Sums]:
    """Sum (and sum of squares) of a variable's deviation from its value at the start of the window.

    The total also holds the start, the deviation at the end, and the derivatives at both: `_mean_deviation`
    needs them to integrate what still moves.
    """

    def init(at: Instant, c: Constants, window: Window) -> Moments:
        start, slope = (y[index].astype(jnp.float64) for y in (at.state, at.slope))
        return Moments(start, slope, *(jnp.zeros_like(start) for _ in range(2 + order)))

    def open_segment(total: Moments, state: State) -> Sums:
        return (state[index], *(jnp.zeros_like(state[index]) for _ in range(order)))

    def update(segment: Sums, was: State, state: State, step: jax.Array, window: Window) -> Sums:
        opened, *sums = segment
        # What is used twice is a pass of its own over the block: the square has its own difference.
        deviations = (state[index] - opened, opened - state[index])
        return (opened, *(s + y**n for n, (s, y) in enumerate(zip(sums, deviations, strict=False), start=1)))

    def close(total: Moments, segment: Sums, at: Instant, stop: jax.Array, window: Window) -> Moments:
        # In each segment the deviation is from another value.
        opened, *sums = (s.astype(jnp.float64) for s in segment)
        end, slope = (y[index].astype(jnp.float64) for y in (at.state, at.slope))
        count = (stop - 1) % SEGMENT + 1
        shift = opened - total.start
        # Held apart, so that the sum is rounded alike with and without the squares.
        moved = held_apart(count * shift)
        moved_now, added = end - total.start, total.sum + sums[0] + moved
        if total.squares is None:
            return Moments(total.start, total.first, moved_now, slope, added)
        squares = total.squares + sums[1] + 2.0 * shift * sums[0] + count * (shift * shift)
        return Moments(total.start, total.first, moved_now, slope, added, squares)

    return Accumulator(init, open_segment, update, close, ("float64",) * (4 + order), holds)


class Extreme(NamedTuple):
    """Of a variable or its negative, `(lanes,)` each in the precision of the state: its highest value so far,
    its rise in the last step, and, where it has kinks, the second difference before that."""

    highest: Lanes
    rise: Lanes
    bend: Lanes | None = None


def _extreme(index: int, sign: float, kinks: bool) -> Accumulator[Extreme, Extreme]:
    """Highest value of a variable, or of its negative: of a parabola where it lies between three steps.

    The values at the steps alone are too low at a peak by up to an eighth of the square of the angle that
    the state turns in a step: most of a per cent at the steps that the integrators can take.

    Three steps across a kink are no parabola. At the edge of a pulse v has a kink (`kinks`): its second
    difference is far above that of a step before. Nor are they where that of a low r would end below 0.
    What v is at the kink itself the parabola of the three steps before it tells.
    """

    def init(at: Instant, c: Constants, window: Window) -> Extreme:
        start = sign * at.state[index]
        # The first step has none before it: no parabola, and no bend before the second.
        none = jnp.full_like(start, jnp.nan)
        return Extreme(start, none, none if kinks else None)

    def update(segment: Extreme, was: State, state: State, step: jax.Array, window: Window) -> Extreme:
        highest, before, bend_before = segment
        last, now = sign * was[index], sign * state[index]
        fall = last - now
        bend = before + fall
        limit = 4.0 * jnp.abs(last if bend_before is None else bend_before)
        turned = (before > 0) & (fall >= 0) & (bend <= limit)
        # Where it did not turn, the quotient may be NaN, and is not taken.
        reached = jnp.where(turned, last + (before - fall) ** 2 / (8.0 * bend), now)
        # A NaN state makes every observable NaN in the end: it need not be kept here.
        highest = jnp.where(reached > highest, reached, highest)
        if bend_before is not None:
            for place, part in window.corners:
                corner = last + part * (before - 0.5 * (1.0 + part) * bend_before)
                highest = jnp.where((step == place) & (corner > highest), corner, highest)
        return Extreme(highest, now - last, bend if kinks else None)

    return Accumulator(init, _whole_total, update, _whole_segment, ("scan",) * (3 if kinks else 2))


def _highest_rate(index: int) -> Accumulator[Extreme, Extreme]:
    """Highest rate, by a parabola of 1/r through three steps where it lies between them.

    In a burst the rate is a Lorentzian of time, and 1/r a parabola, however high the peak. Through p, q, s
    at equal times its lowest point is 1/q - (1/p - 1/s)^2 / (8 (1/p + 1/s - 2/q)). Over a common denominator
    the reciprocal of that takes one division, and nothing in it cancels.

    Where r goes through 0, 1/r jumps, and its second difference is far above its value: no parabola.
    """

    def init(at: Instant, c: Constants, window: Window) -> Extreme:
        # The first step has none before it: no parabola goes through it.
        return Extreme(at.state[index], jnp.full_like(at.state[index], jnp.nan))

    def update(segment: Extreme, was: State, state: State, step: jax.Array, window: Window) -> Extreme:
        (highest, rise, _), q, s = segment, was[index], state[index]
        p, fall = q - rise, q - s
        bend = p * fall + s * rise
        # Its bound has the sign of p s: with one of them below 0 no bend is between 0 and that.
        bound = (p + p) * (s + s)
        turned = (_lower(_lower(rise, fall), bend) >= 0.0) & (bend <= bound)
        whole = (bound + bound) * bend
        # The part taken off is at most half of the whole. Where both underflow, q has been counted before.
        peak = q * (whole / (whole - ((rise - fall) * q) ** 2))
        reached = jnp.where(turned, peak, s)
        # A NaN state makes every observable NaN in the end: it need not be kept here.
        return Extreme(jnp.where(reached > highest, reached, highest), s - q)

    return Accumulator(init, _whole_total, update, _whole_segment, ("scan",) * 2)


def _lower(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the lower of two, the second where one is NaN: one operation instead of XLA's five."""
    return jnp.where(a < b, a, b)


def _final(index: int) -> Accumulator[jax.Array, tuple[()]]:
    def init(at: Instant, c: Constants, window: Window) -> jax.Array:
        return at.state[index]

    def update(segment: tuple[()], was: State, state: State, step: jax.Array, window: Window) -> tuple[()]:
        return segment

    def close(
        total: jax.Array, segment: tuple[()], at: Instant, stop: jax.Array, window: Window
    ) -> jax.Array:
        return at.state[index]

    return Accumulator(init, lambda total, state: (), update, close, ("scan",))


class Stays(NamedTuple):
    """`(lanes,)` each: the lower and the upper threshold, in the precision of the state; whether the rate is
    up (1 or 0), the steps that ended up, and the switches."""

    thresholds: tuple[Lanes, Lanes]
    level: Flags
    steps_up: Flags
    switches: Flags


def _levels(index: int) -> Accumulator[Stays, Stays]:
    """Steps spent up and switches between up and down.

    A population becomes up when its rate reaches the upper threshold, down when it falls to the lower
    one, and keeps its level between them. It begins up if its rate is above their geometric mean.
    """

    def init(at: Instant, c: Constants, window: Window) -> Stays:
        state = at.state
        down, up = c["down_threshold"], c["up_threshold"]
        middle = jnp.sqrt(down * up)
        zero = jnp.zeros(state[index].shape, jnp.int32)
        return Stays((down, up), (state[index] > middle).astype(jnp.int32), zero, zero)

    def update(segment: Stays, was: State, state: State, step: jax.Array, window: Window) -> Stays:
        (down, up), level, steps_up, switches = segment
        rate = state[index]
        now = jnp.where(rate >= up, 1, jnp.where(rate <= down, 0, level))
        return Stays((down, up), now, steps_up + now, switches + (now ^ level))

    return Accumulator(
        init, _whole_total, update, _whole_segment, ("scan", "scan", "int32", "int32", "int32")
    )


class Residences(NamedTuple):
    """`(lanes,)` each: the thresholds; whether the rate is up, the switches, and the step that followed the
    last one, -1 before the first; the sums of the steps of each completed stay and of their squares, up and
    down, in float64 in a total."""

    thresholds: tuple[Lanes, Lanes]
    level: Flags
    switches: Flags
    entered: Flags
    sums: tuple[Lanes | Exact, ...]


def _residences(index: int) -> Accumulator[Residences, Residences]:
    """Sum and squares of the steps of each completed stay, up and down; one is that began in the window."""

    def init(at: Instant, c: Constants, window: Window) -> Residences:
        state = at.state
        down, up = c["down_threshold"], c["up_threshold"]
        level = (state[index] > jnp.sqrt(down * up)).astype(jnp.int32)
        zero = jnp.zeros(state[index].shape, jnp.int32)
        sums = tuple(jnp.zeros(state[index].shape, jnp.float64) for _ in range(4))
        return Residences((down, up), level, zero, zero - 1, sums)

    def open_segment(total: Residences, state: State) -> Residences:
        return total._replace(sums=tuple(jnp.zeros_like(state[index]) for _ in range(4)))

    def update(segment: Residences, was: State, state: State, step: jax.Array, window: Window) -> Residences:
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
        return Residences((down, up), now, switches + left, jnp.where(left > 0, step + 1, entered), sums)

    def close(
        total: Residences, segment: Residences, at: Instant, stop: jax.Array, window: Window
    ) -> Residences:
        sums = tuple(t + s.astype(jnp.float64) for t, s in zip(total.sums, segment.sums, strict=True))
        return segment._replace(sums=sums)

    types = ("scan", "scan", "int32", "int32", "int32", *("float64",) * 4)
    return Accumulator(init, open_segment, update, close, types)


Growth = tuple["Exact | Lanes", ...]
"""The logarithms by which the directions of a frame grew, `(lanes,)` each."""


def _exponents(first: int, count: int) -> Accumulator[Growth, Growth]:
    """Sums of the logarithms by which the directions of a frame grew, in the order of the frame.

    What the accumulators see after the state is that growth in the last step, from `first` on.
    """

    def init(at: Instant, c: Constants, window: Window) -> Growth:
        state = at.state
        return tuple(jnp.zeros(state[0].shape, jnp.float64) for _ in range(count))

    def open_segment(total: Growth, state: State) -> Growth:
        return tuple(jnp.zeros_like(state[0]) for _ in range(count))

    def update(segment: Growth, was: State, state: State, step: jax.Array, window: Window) -> Growth:
        return tuple(s + growth for s, growth in zip(segment, state[first:], strict=True))

    def close(total: Growth, segment: Growth, at: Instant, stop: jax.Array, window: Window) -> Growth:
        return tuple(t + s for t, s in zip(total, segment, strict=True))

    return Accumulator(init, open_segment, update, close, ("float64",) * count)


class Sampling(NamedTuple):
    """Of a variable, in the precision of the state: its deviation from its start in segments of every length,
    `(lengths + 1, samples, lanes)`, and over the whole window, `(rows, lanes)`; that start, and the lowest
    and the highest rate, `(lanes,)` each."""

    segments: Segments
    whole: Rows
    start: Lanes
    lowest: Lanes
    highest: Lanes


class Periodograms(NamedTuple):
    """What has been sampled, and the sums of the periodograms of full segments, `(lengths, bins, lanes)` in
    float64."""

    sampled: Sampling
    powers: Powers


def _spectrum(index: int, rate_index: int) -> Accumulator[Periodograms, Sampling]:
    """What the frequency of a variable is read off (`rhythm`), and with it the lowest and highest rate.

    They tell motion from rounding: v may be 0 at rest, the rate is not.
    """

    def init(at: Instant, c: Constants, window: Window) -> Periodograms:
        segments, whole, powers = rhythm.empty(at.state[index], window.lengths)
        rate = at.state[rate_index]
        return Periodograms(Sampling(segments, whole, at.state[index], rate, rate), powers)

    def open_segment(total: Periodograms, state: State) -> Sampling:
        return total.sampled

    def update(segment: Sampling, was: State, state: State, step: jax.Array, window: Window) -> Sampling:
        value, rate = state[index] - segment.start, state[rate_index]
        segments = rhythm.added(segment.segments, *rhythm.segment_place(step, window.sample_steps), value)
        whole = rhythm.added(segment.whole, *rhythm.row_place(step, window.steps), value)
        lowest, highest = jnp.minimum(segment.lowest, rate), jnp.maximum(segment.highest, rate)
        return Sampling(segments, whole, segment.start, lowest, highest)

    def close(
        total: Periodograms, segment: Sampling, at: Instant, stop: jax.Array, window: Window
    ) -> Periodograms:
        segments, powers = rhythm.passed_on(segment.segments, total.powers, stop, window.sample_steps)
        return Periodograms(segment._replace(segments=segments), powers)

    return Accumulator(init, open_segment, update, close, None)


def accumulators(model: Model) -> dict[str, Measuring]:
    """Return every accumulator of a model by name."""
    table: dict[str, Measuring] = {}
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
