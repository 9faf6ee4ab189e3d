"""What is remembered for a delay: the rate at past steps, and its value a delay ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax.numpy as jnp

    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")


Tree = Any


def past_at_start(program: Program, state: Any) -> Tree:
    """Return the first variable and its slope at each remembered step: until the start it did not change."""
    if not program.history:
        return {}
    rate = jnp.broadcast_to(state[0], (program.history, *state[0].shape))
    return {"past": {"rate": rate, "slope": jnp.zeros_like(rate), "start": state[0]}}


def remembered(past: Tree, n: Any, rate: Any, slope: Any) -> Tree:
    """Return the past with the rate and its slope at step n."""
    row = n & (past["rate"].shape[0] - 1)
    return past | {"rate": past["rate"].at[row].set(rate), "slope": past["slope"].at[row].set(slope)}


def past_rate(block: Tree, past: Tree, n: Any, dt: Any, fraction: float) -> Any:
    """Return the rate a delay before a fraction of step n: by Hermite's cubic between steps, of order 4.

    A start away from rest leaves a kink in the rate at t = 0, which comes back after a delay: where that is
    no whole number of steps, the one step across it is of order 2, and its estimate tells.
    """
    place = fraction - block["lag"]
    whole = jnp.floor(place)
    w = (place - whole).astype(past["start"].dtype)
    before = n + whole.astype(jnp.int32)
    mask = past["rate"].shape[0] - 1

    def at(name: str, row: Any) -> Any:
        return jnp.take_along_axis(past[name], (row & mask)[None], axis=0)[0]

    first, last = at("rate", before), at("rate", before + 1)
    step = dt.astype(w.dtype)
    slope_first, slope_last = step * at("slope", before), step * at("slope", before + 1)
    rise = last - first
    bend = (1.0 - w) * (slope_first - rise) - w * (slope_last - rise)
    return jnp.where(before < 0, past["start"], first + w * (rise + (1.0 - w) * bend))


def range_of_past(block: Tree, pace: Tree, moving: Tree) -> Any:
    """Return the lowest and the highest rate at the steps of the last delay."""
    rates = moving["past"]["rate"]
    last = pace["end"] - 1
    rows = jnp.arange(rates.shape[0], dtype=jnp.int32)
    age = (last - rows) & (rates.shape[0] - 1)
    recent = age[:, None] <= jnp.ceil(block["lag"]).astype(jnp.int32)
    low = jnp.min(jnp.where(recent, rates, jnp.inf), axis=0)
    return jnp.stack([low, jnp.max(jnp.where(recent, rates, -jnp.inf), axis=0)])
