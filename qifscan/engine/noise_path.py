"""The path of the noise: what it starts from, its next value, and what lies between two on a finer grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.noise import INITIAL_STEP, of_step, step_pair
from qifscan.engine.carries import Ends, Noise
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.typing import ArrayLike

    from qifscan.engine.carries import Block, Moving, Pace
    from qifscan.engine.program import Program

    Key = tuple[jax.Array, jax.Array]
    Pairs = tuple[jax.Array, jax.Array] | jax.Array
    Values = dict[str, jax.Array]
    Halving = tuple[Values, Values, jax.Array, jax.Array]
    """The ends of an interval of the path, the draw in its middle, and the steps left to its end."""
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


AVERAGE_NODE = 2**24 - 1
"""Stream of the draws that the mean of the noise over a step takes; no draw within a step reaches it."""


def averages_of(
    program: Program, block: Block, n: jax.Array, now: Mapping[str, Noise], later: Mapping[str, Noise]
) -> Values:
    """Return the mean of every noise over step n, given its values at both ends, where steps take it."""
    if not program.averaged:
        return {}
    c, averages = block.constants, {}
    for name, draw in _draws(program, block.key, n, AVERAGE_NODE).items():
        mean = c[f"{name}_mean"]
        ends = (now[name].now - mean) + (later[name].now - mean)
        averages[name] = mean + c[f"{name}_average_weight"] * ends + c[f"{name}_average_spread"] * draw
    return averages


def drawn_pairs(program: Program, key: Key, step: ArrayLike, node: ArrayLike = 0) -> Pairs:
    """Return the normals of this step, and of the one that it shares them with, of every noisy variable.

    A variable's stream is its place in the model; `node` counts the draws that fill in the path within a
    step, from 1. All of them at once: one loop, compiled once.
    """
    names = program.model.variable_names
    streams = np.array([[i] for i, name in enumerate(names) if name in program.noisy], dtype=np.uint32)
    return step_pair(key, step, (jnp.uint32(node) << 8) + streams, jnp.dtype(program.precision))


def _of_step(program: Program, pairs: Pairs, step: ArrayLike) -> Values:
    """Return a standard normal for every noisy variable."""
    names = [name for name in program.model.variable_names if name in program.noisy]
    return dict(zip(names, of_step(pairs, step), strict=True))


def _draws(program: Program, key: Key, step: ArrayLike, node: ArrayLike = 0) -> Values:
    return _of_step(program, drawn_pairs(program, key, step, node), step)


def initial_noise(program: Program, block: Block) -> tuple[dict[str, Noise], Pairs | None]:
    """Return the noise at the start, and the pairs that its steps draw, where they draw any."""
    if not program.noisy:
        return {}, None
    c, pairs = block.constants, drawn_pairs(program, block.key, INITIAL_STEP)
    noise = {}
    for name, draw in _of_step(program, pairs, INITIAL_STEP).items():
        start = c[f"{name}_mean"] + c[f"{name}_std"] * draw
        noise[name] = Noise(start, start, start) if program.bridged else Noise(None, None, start)
    # Placeholders: step 0 draws others.
    return noise, None if program.bridged else pairs


def _after(name: str, c: Mapping[str, jax.Array], value: jax.Array, draw: jax.Array) -> jax.Array:
    """Return the noise one step of its grid later."""
    mean = c[f"{name}_mean"]
    return mean + (value - mean) * c[f"{name}_decay"] + c[f"{name}_gain"] * draw


def next_noise(
    program: Program, block: Block, pace: Pace, n: jax.Array, moving: Moving
) -> tuple[dict[str, Noise], Pairs | None]:
    """Return the noise after step n, and the pairs that its draw came from, where there are any."""
    c, key, noise = block.constants, block.key, moving.noise
    if not program.noisy:
        return noise, None
    if not program.bridged:
        pairs = lax.cond(n & 1 == 0, lambda: drawn_pairs(program, key, n), lambda: moving.pairs)
        draws = _of_step(program, pairs, n)
        later = {name: _after(name, c, noise[name].now, draw) for name, draw in draws.items()}
        return {name: Noise(None, None, now) for name, now in later.items()}, pairs
    cell = n >> pace.depth
    within = n - (cell << pace.depth)
    known = {name: _ends_of(each) for name, each in noise.items()}

    def entered() -> dict[str, Ends]:
        return {
            name: Ends(known[name].end, _after(name, c, known[name].end, draw))
            for name, draw in _draws(program, key, cell).items()
        }

    ends = lax.cond(within == 0, entered, lambda: known)
    between = _between(program, block, pace, cell, within + 1, ends)
    return {name: Noise(each.begin, each.end, between[name]) for name, each in ends.items()}, None


def _ends_of(noise: Noise) -> Ends:
    assert noise.begin is not None
    assert noise.end is not None
    return Ends(noise.begin, noise.end)


def _between(
    program: Program,
    block: Block,
    pace: Pace,
    cell: jax.Array,
    offset: jax.Array,
    ends: Mapping[str, Ends],
) -> Values:
    """Return the noise at an offset into a step of its grid: the interval is halved until it begins there."""
    c, bridge = block.constants, block.bridge

    def halve(depth: jax.Array, carry: Halving) -> Halving:
        low, high, node, left = carry
        half = jnp.int32(1) << (pace.depth - 1 - depth)
        upper = left >= half
        draws = _draws(program, block.key, cell, node)
        lows, highs = {}, {}
        for name, draw in draws.items():
            mean = c[f"{name}_mean"]
            middle = (
                mean
                + bridge[f"{name}_weight"][depth] * (low[name] + high[name] - 2.0 * mean)
                + bridge[f"{name}_spread"][depth] * draw
            )
            lows[name] = jnp.where(upper, middle, low[name])
            highs[name] = jnp.where(upper, high[name], middle)
        return lows, highs, 2 * node + upper, jnp.where(upper, left - half, left)

    last = offset == (jnp.int32(1) << pace.depth)
    low, high = {name: each.begin for name, each in ends.items()}, {n: each.end for n, each in ends.items()}
    found, _, _, _ = lax.fori_loop(0, pace.depth, halve, (low, high, jnp.int32(1), offset))
    return {name: jnp.where(last, ends[name].end, found[name]) for name in ends}
