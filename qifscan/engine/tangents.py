"""Directions that are carried along a trajectory, for its Lyapunov exponents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax.numpy as jnp

    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")


Tree = Any


def frame_at_start(program: Program, state: Any) -> Tree:
    """Return one direction along each variable, and how they grew in no step, if anything asks for that."""
    if not program.tangents:
        return {}
    zero, one, count = jnp.zeros_like(state[0]), jnp.ones_like(state[0]), len(state)
    frame = tuple(tuple(one if i == k else zero for i in range(count)) for k in range(count))
    return {"frame": frame, "growth": (zero,) * count}


def orthonormal(frame: Any) -> tuple[Any, Any]:
    """Return a frame made orthonormal by Gram-Schmidt, and the logarithms of its directions' lengths."""
    found: list[Any] = []
    growth = []
    for direction in frame:
        rest = direction
        for unit in found:
            along = sum(a * b for a, b in zip(rest, unit, strict=True))
            rest = tuple(a - along * b for a, b in zip(rest, unit, strict=True))
        length = jnp.sqrt(sum(a * a for a in rest))
        found.append(tuple(a / length for a in rest))
        growth.append(jnp.log(length))
    return tuple(found), tuple(growth)


def with_growth(moving: Tree) -> Any:
    """Return what the accumulators see: the state, and the growth of the frame where there is one."""
    return moving["state"] + moving.get("growth", ())
