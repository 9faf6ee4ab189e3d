"""What is remembered for a delay: the rate at past steps, and its value a delay ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qifscan.engine.carries import Past
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.dynamics.accumulators import State
    from qifscan.engine.carries import Block, Pace
    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")


def past_at_start(program: Program, state: State) -> Past | None:
    """Return the first variable and its slope at each remembered step: until the start it did not change."""
    if not program.history:
        return None
    rate = jnp.broadcast_to(state[0], (program.history, *state[0].shape))
    return Past(rate, jnp.zeros_like(rate), state[0])


def remembered(past: Past, n: jax.Array, rate: jax.Array, slope: jax.Array) -> Past:
    """Return the past with the rate and its slope at step n."""
    row = n & (past.rate.shape[0] - 1)
    return Past(past.rate.at[row].set(rate), past.slope.at[row].set(slope), past.start)


def past_rate(block: Block, past: Past, n: jax.Array, dt: jax.Array, fraction: float) -> jax.Array:
    """Return the rate a delay before a fraction of step n: by Hermite's cubic between steps, of order 4.

    A start away from rest leaves a kink in the rate at t = 0, which comes back after a delay: where that is
    no whole number of steps, the one step across it is of order 2, and its estimate tells.
    """
    assert block.lag is not None
    place = fraction - block.lag
    whole = jnp.floor(place)
    w = (place - whole).astype(past.start.dtype)
    before = n + whole.astype(jnp.int32)
    mask = past.rate.shape[0] - 1

    def at(rows: jax.Array, row: jax.Array) -> jax.Array:
        return jnp.take_along_axis(rows, (row & mask)[None], axis=0)[0]

    first, last = at(past.rate, before), at(past.rate, before + 1)
    step = dt.astype(w.dtype)
    slope_first, slope_last = step * at(past.slope, before), step * at(past.slope, before + 1)
    rise = last - first
    bend = (1.0 - w) * (slope_first - rise) - w * (slope_last - rise)
    return jnp.where(before < 0, past.start, first + w * (rise + (1.0 - w) * bend))


def range_of_past(block: Block, pace: Pace, past: Past) -> jax.Array:
    """Return the lowest and the highest rate at the steps of the last delay, `(2, lanes)`."""
    assert block.lag is not None
    rates = past.rate
    last = pace.end - 1
    rows = jnp.arange(rates.shape[0], dtype=jnp.int32)
    age = (last - rows) & (rates.shape[0] - 1)
    recent = age[:, None] <= jnp.ceil(block.lag).astype(jnp.int32)
    low = jnp.min(jnp.where(recent, rates, jnp.inf), axis=0)
    return jnp.stack([low, jnp.max(jnp.where(recent, rates, -jnp.inf), axis=0)])
