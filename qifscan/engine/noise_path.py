"""The path of the noise: what it starts from, its next value, and what lies between two on a finer grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.noise import INITIAL_STEP, of_step, step_pair
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax.numpy as jnp
    from jax import lax

    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


Tree = Any


AVERAGE_NODE = 2**24 - 1
"""Stream of the draws that the mean of the noise over a step takes; no draw within a step reaches it."""


def averages_of(program: Program, block: Tree, n: Any, now: Tree, later: Tree) -> Tree:
    """Return the mean of every noise over step n, given its values at both ends, where steps take it."""
    if not program.averaged:
        return {}
    c, averages = block["constants"], {}
    for name, draw in _draws(program, block["key"], n, AVERAGE_NODE).items():
        mean = c[f"{name}_mean"]
        ends = (now[name]["now"] - mean) + (later[name]["now"] - mean)
        averages[name] = mean + c[f"{name}_average_weight"] * ends + c[f"{name}_average_spread"] * draw
    return averages


def drawn_pairs(program: Program, key: Any, step: Any, node: Any = 0) -> Any:
    """Return the normals of this step, and of the one that it shares them with, of every noisy variable.

    A variable's stream is its place in the model; `node` counts the draws that fill in the path within a
    step, from 1. All of them at once: one loop, compiled once.
    """
    names = program.model.variable_names
    streams = np.array([[i] for i, name in enumerate(names) if name in program.noisy], dtype=np.uint32)
    return step_pair(key, step, (jnp.uint32(node) << 8) + streams, jnp.dtype(program.precision))


def _of_step(program: Program, pairs: Any, step: Any) -> dict[str, Any]:
    """Return a standard normal for every noisy variable."""
    names = [name for name in program.model.variable_names if name in program.noisy]
    return dict(zip(names, of_step(pairs, step), strict=True))


def _draws(program: Program, key: Any, step: Any, node: Any = 0) -> dict[str, Any]:
    return _of_step(program, drawn_pairs(program, key, step, node), step)


def initial_noise(program: Program, block: Tree) -> Tree:
    """Return the noise at the start, and the pairs that its steps draw, where they draw any."""
    if not program.noisy:
        return {"noise": {}}
    c, pairs = block["constants"], drawn_pairs(program, block["key"], INITIAL_STEP)
    noise = {}
    for name, draw in _of_step(program, pairs, INITIAL_STEP).items():
        start = c[f"{name}_mean"] + c[f"{name}_std"] * draw
        noise[name] = {"now": start} | ({"begin": start, "end": start} if program.bridged else {})
    # Only to have their place: step 0 draws others.
    return {"noise": noise} | ({} if program.bridged else {"pairs": pairs})


def _after(name: str, c: Tree, value: Any, draw: Any) -> Any:
    """Return the noise one step of its grid later."""
    mean = c[f"{name}_mean"]
    return mean + (value - mean) * c[f"{name}_decay"] + c[f"{name}_gain"] * draw


def next_noise(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Tree:
    """Return the noise after step n, and the pairs that its draw came from, where there are any."""
    c, key, noise = block["constants"], block["key"], moving["noise"]
    if not program.noisy:
        return {"noise": noise}
    if not program.bridged:
        pairs = lax.cond(n & 1 == 0, lambda: drawn_pairs(program, key, n), lambda: moving["pairs"])
        draws = _of_step(program, pairs, n)
        later = {name: {"now": _after(name, c, noise[name]["now"], draw)} for name, draw in draws.items()}
        return {"noise": later, "pairs": pairs}
    cell = n >> pace["depth"]
    within = n - (cell << pace["depth"])

    def entered() -> Tree:
        return {
            name: {"begin": noise[name]["end"], "end": _after(name, c, noise[name]["end"], draw)}
            for name, draw in _draws(program, key, cell).items()
        }

    def inside() -> Tree:
        return {name: {side: noise[name][side] for side in ("begin", "end")} for name in noise}

    ends = lax.cond(within == 0, entered, inside)
    between = _between(program, block, pace, cell, within + 1, ends)
    return {"noise": {name: ends[name] | {"now": between[name]} for name in ends}}


def _between(program: Program, block: Tree, pace: Tree, cell: Any, offset: Any, ends: Tree) -> Tree:
    """Return the noise at an offset into a step of its grid: the interval is halved until it begins there."""
    c, bridge = block["constants"], block["bridge"]

    def halve(depth: Any, carry: Tree) -> Tree:
        low, high, node, left = carry
        half = jnp.int32(1) << (pace["depth"] - 1 - depth)
        upper = left >= half
        draws = _draws(program, block["key"], cell, node)
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

    last = offset == (jnp.int32(1) << pace["depth"])
    low, high = ({name: ends[name][side] for name in ends} for side in ("begin", "end"))
    found, _, _, _ = lax.fori_loop(0, pace["depth"], halve, (low, high, jnp.int32(1), offset))
    return {name: jnp.where(last, ends[name]["end"], found[name]) for name in ends}
