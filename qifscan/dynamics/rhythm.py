"""The frequency of the highest peak of a power spectrum, over a window of any length, in bounded memory.

Samples of a few steps each fill segments; their periodograms are averaged (Welch, IEEE Trans. Audio
Electroacoust. 15, 70 (1967)). A full segment is thinned into the next one, which is `THINNING` times as long,
and so on: each holds the rhythms of its own octaves. Beside them the whole window is one segment of at most
`ROWS` rows, however long it is, for what has few cycles in it. There the period is the lag at which the
window is most like itself (the difference function of de Cheveigne and Kawahara, J. Acoust. Soc. Am. 111,
1917 (2002)), which harmonics do not shift as they shift a peak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")

SEGMENT_SAMPLES = 1024
"""Samples in a segment of every length: 2 MB of working memory each for a block of points."""

THINNING = 8
"""How much longer each segment is than the one before."""

ROWS = 2048
"""Most rows of the whole window."""

SAMPLE_STEPS = 4
"""Most steps that are averaged into one sample: a step resolves the fastest cycle by tens of steps, so its
period has several samples. With dt = "auto" it is a base step, or so many of its steps."""

LEAST_CYCLES = 2.9
"""Cycles that the window must hold. With fewer a trend is as likely."""

TREND_CYCLES = 1.5
"""What is slower in the window is a trend, and no cycle."""

CYCLES_IN_SEGMENT = 30.0
"""Below so many cycles in a segment a longer one is read: the peak is off by 0.016 cycles at most."""

SAME_HEIGHT = 0.8
"""A peak of a longer segment is taken for that of a shorter one from this part of its height on: it is
narrower. That of noise is lower in a longer segment, and is read where it was averaged most."""

COMPARED_CYCLES = 64.0
"""Below so many cycles in the window the period is the lag at which it is most like itself."""

MOST_DIFFERENCE = 0.1
"""Largest difference from itself, in units of that of unlike values, of what counts as periodic."""

MULTIPLES = 4
"""The peak may be a harmonic of the period, up to this one."""


def segment_lengths(samples: int) -> int:
    """Return how many lengths of segments a window of so many samples holds."""
    count, length = 0, SEGMENT_SAMPLES
    while length <= samples:
        count, length = count + 1, length * THINNING
    return count


def rows_of(steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the steps in a row of the whole window, and the whole rows that there are."""
    each = (steps + ROWS - 1) // ROWS
    each = jnp.maximum(each, 1)
    return each, steps // each


def empty(value: jax.Array, lengths: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return no segments of any length, the whole window, and no power, for a variable of this value.

    What is thinned from the longest segment goes to one that is not read.
    """
    segments = jnp.zeros((lengths + 1, SEGMENT_SAMPLES, *value.shape), value.dtype)
    whole = jnp.zeros((ROWS + 1, *value.shape), value.dtype)
    powers = jnp.zeros((lengths, SEGMENT_SAMPLES // 2 + 1, *value.shape), jnp.float64)
    return segments, whole, powers


def added(
    rows: jax.Array, place: jax.Array | tuple[int, jax.Array], first: jax.Array, value: jax.Array
) -> jax.Array:
    """Return rows with a value added to one; the first value of a row replaces what it held."""
    return rows.at[place].set(jnp.where(first, 0.0, rows[place]) + value)


def segment_place(step: jax.Array, sample_steps: jax.Array) -> tuple[tuple[int, jax.Array], jax.Array]:
    """Return the place of a step's sample in the segments, and whether the step is its first."""
    return (0, (step // sample_steps) % SEGMENT_SAMPLES), step % sample_steps == 0


def row_place(step: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the row of a step in the whole window, and whether the step is its first; steps that fill no
    whole row are kept apart."""
    each, count = rows_of(steps)
    return jnp.where(step // each < count, step // each, ROWS), step % each == 0


def passed_on(
    segments: jax.Array, powers: jax.Array, stop: jax.Array, sample_steps: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return segments and powers after so many steps: what is full is measured, and thinned into the next."""
    samples, lengths = stop // sample_steps, powers.shape[0]
    whole = stop % sample_steps == 0
    full = [whole & (samples % (SEGMENT_SAMPLES * THINNING**k) == 0) for k in range(lengths)]

    def measure(k: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        segments, powers = carry
        own = segments[k]
        place = samples // (SEGMENT_SAMPLES * THINNING ** k.astype(samples.dtype)) - 1
        row = place % THINNING * (SEGMENT_SAMPLES // THINNING)
        segments = lax.dynamic_update_slice(
            segments, _thinned(own)[None], (k + 1, row.astype(k.dtype), *(0 * k,) * (own.ndim - 1))
        )
        power = powers[k] + _periodogram(own.astype(jnp.float64), SEGMENT_SAMPLES)
        return segments, powers.at[k].set(power)

    # A loop that takes no turn leaves what it carries in place; a condition would copy it.
    turns = sum(f.astype(jnp.int32) for f in full)
    return lax.fori_loop(0, turns, measure, (segments, powers)) if lengths else (segments, powers)


def _thinned(rows: jax.Array) -> jax.Array:
    """Return the means of every few rows, added in one order."""
    of_group = rows.reshape(rows.shape[0] // THINNING, THINNING, *rows.shape[1:])
    total = of_group[:, 0]
    for i in range(1, THINNING):
        total = total + of_group[:, i]
    return total / THINNING


def _total(rows: jax.Array) -> jax.Array:
    """Return the sum over the first axis, row by row: XLA's own order changes with the lanes, and it adds
    anew for every row that the sum is taken off."""
    total: jax.Array = lax.fori_loop(
        0, rows.shape[0], lambda i, so_far: so_far + rows[i], jnp.zeros_like(rows[0])
    )
    return total


def _periodogram(rows: jax.Array, count: jax.Array | int) -> jax.Array:
    """Return the power of the first `count` rows under Hann's taper; 1/16 of a sine's squared amplitude."""
    index = jnp.arange(rows.shape[0])[:, None]
    there = index < count
    taper = jnp.where(there, jnp.sin(jnp.pi * (index + 0.5) / count) ** 2, 0.0)
    centred = (rows - _total(jnp.where(there, rows, 0.0)) / count) * taper
    return jnp.abs(jnp.fft.rfft(centred, axis=0) / count) ** 2


def _peak(power: jax.Array, bins: float, at: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return place and height of a parabola through three logarithms, for rows of a mean over their time."""
    left, middle, right = (jnp.log(jnp.take_along_axis(power, (at + k)[None], axis=0)[0]) for k in (-1, 0, 1))
    offset = 0.5 * (left - right) / (left - 2.0 * middle + right)
    place = at + offset
    # Averaging over a row damps high frequencies.
    return place, jnp.exp(middle - 0.25 * (left - right) * offset) / jnp.sinc(place / bins) ** 2


def _of_segments(power: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Return place and height of the highest peak of segments, NaN and 0 where there is none."""
    index = jnp.arange(1, power.shape[0] - 1)[:, None]
    inner = power[1:-1]
    peak = (inner > power[:-2]) & (inner > power[2:]) & (index >= CYCLES_IN_SEGMENT) & (index <= most)
    at = jnp.argmax(jnp.where(peak, inner, -1.0), axis=0)
    found = jnp.take_along_axis(peak, at[None], axis=0)[0]
    place, height = _peak(power, float(SEGMENT_SAMPLES), at + 1)
    return place, jnp.where(found & jnp.isfinite(height), height, 0.0)


def _of_whole(power: jax.Array, least: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return place and height of the highest power of the whole window from a place on.

    The place is NaN where that is no peak: what moves most is then slower than the window can tell.
    """
    index = jnp.arange(power.shape[0])[:, None]
    inside = (index >= jnp.maximum(least, 1.0)) & (index <= ROWS // 4)
    at = jnp.argmax(jnp.where(inside, power, -1.0), axis=0)
    left, middle, right = (jnp.take_along_axis(power, (at + k)[None], axis=0)[0] for k in (-1, 0, 1))
    place, height = _peak(power, float(ROWS), at)
    peak = (middle > left) & (middle > right) & jnp.isfinite(height)
    return jnp.where(peak, place, jnp.nan), jnp.where(peak, height, middle)


def frequency(
    whole: jax.Array, powers: jax.Array, steps: jax.Array, dt: jax.Array, sample_steps: jax.Array
) -> jax.Array:
    """Return the frequency of the highest peak, NaN where there is none."""
    best, height = jnp.full(whole.shape[1:], jnp.nan), jnp.zeros(whole.shape[1:])
    length = SEGMENT_SAMPLES * sample_steps
    for k in range(powers.shape[0]):
        count = jnp.maximum(steps // length, 1) * sample_steps**2
        place, found = _of_segments(powers[k] / count, SEGMENT_SAMPLES // (2 if k == 0 else 4))
        taken = (found > 0.0) & (found >= SAME_HEIGHT * height)
        best = jnp.where(taken, place / (length * dt), best)
        height = jnp.where(taken, jnp.maximum(found, height), height)
        length = length * THINNING
    each, count = rows_of(steps)
    rows = whole[:ROWS].astype(jnp.float64) / each
    per_bin = count / ROWS
    place, found = _of_whole(_periodogram(rows, count), TREND_CYCLES / per_bin)
    cycles = _compared(rows, count, place * per_bin)
    best = jnp.where(found >= SAME_HEIGHT * height, cycles / (count * each * dt), best)
    return jnp.where(best * steps * dt >= LEAST_CYCLES, best, jnp.nan)


def _compared(rows: jax.Array, count: jax.Array, cycles: jax.Array) -> jax.Array:
    """Return the cycles in the first `count` rows: of the lag at which they are most like themselves, where
    there is one near a multiple of the period that the peak has; else what the peak has."""
    difference = _difference(rows, count)
    period = count / cycles
    lag, least, multiple = jnp.zeros_like(period), jnp.full(period.shape, jnp.inf), jnp.ones_like(period)
    for k in range(1, MULTIPLES + 1):
        place, value = _lowest(difference, k * period, 0.3 * period, 0.67 * count)
        # Take a longer lag only if the gain in similarity is larger than chance.
        better = value < 0.5 * least
        lag, least = jnp.where(better, place, lag), jnp.where(better, value, least)
        multiple = jnp.where(better, 1.0 * k, multiple)
    # The lag of many periods is known as well as that of one: divided by their number it is more exact.
    turns = jnp.maximum(jnp.floor(0.5 * count / lag), 1.0)
    far, value = _lowest(difference, turns * lag, turns + 2.0, 0.67 * count)
    far = jnp.where(value < jnp.maximum(4.0 * least, 0.25 * MOST_DIFFERENCE), far / turns, lag)
    periodic = (least < MOST_DIFFERENCE) & (cycles < COMPARED_CYCLES)
    return jnp.where(periodic, multiple * count / far, cycles)


def _difference(rows: jax.Array, count: jax.Array) -> jax.Array:
    """Return the mean squared difference of rows a lag apart, `(lags, lanes)`, in units of that of unlike
    ones: twice the variance."""
    lags = jnp.arange(ROWS)
    there = (lags < count)[:, None]
    centred = jnp.where(there, rows - _total(jnp.where(there, rows, 0.0)) / count, 0.0)
    spectrum = jnp.fft.rfft(centred, n=2 * ROWS, axis=0)
    alike = jnp.fft.irfft(jnp.abs(spectrum) ** 2, n=2 * ROWS, axis=0)[:ROWS]
    before = _running(centred * centred)
    before = jnp.concatenate([jnp.zeros_like(before[:1]), before])
    total = before[-1]
    left = jnp.maximum(count - lags, 0)
    squares = before[left] + total - before[:ROWS] - 2.0 * alike
    return squares / jnp.maximum(left, 1)[:, None] / (2.0 * total / count)


def _running(values: jax.Array) -> jax.Array:
    """Return the running sums along the first axis, row by row: XLA's own go over all rows for each."""

    def further(total: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = total + row
        return total, total

    return lax.scan(further, jnp.zeros_like(values[0]), values)[1]


def _lowest(
    values: jax.Array, around: jax.Array, within: jax.Array, most: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return place and value of the lowest of the values near a place, by a parabola; infinite: none."""
    lags = jnp.arange(values.shape[0])[:, None]
    inside = (jnp.abs(lags - around) <= within) & (lags >= 1) & (lags <= most)
    at = jnp.argmin(jnp.where(inside, values, jnp.inf), axis=0)
    there = jnp.take_along_axis(inside, at[None], axis=0)[0]
    at = jnp.clip(at, 1, values.shape[0] - 2)
    left, middle, right = (jnp.take_along_axis(values, (at + k)[None], axis=0)[0] for k in (-1, 0, 1))
    bend = left - 2.0 * middle + right
    offset = jnp.where((left >= middle) & (right >= middle) & (bend > 0.0), 0.5 * (left - right) / bend, 0.0)
    turned = there & (left >= middle) & (right >= middle)
    return at + offset, jnp.where(turned, jnp.maximum(middle, 1e-12), jnp.inf)
