"""Directions that are carried along a trajectory, for its Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.dynamics.accumulators import State
    from qifscan.engine.carries import Frame, Moving
    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")


def frame_at_start(program: Program, state: State) -> tuple[Frame, State] | tuple[None, None]:
    """Return one direction along each variable, and how they grew in no step, if anything asks for that."""
    if not program.tangents:
        return None, None
    zero, one, count = jnp.zeros_like(state[0]), jnp.ones_like(state[0]), len(state)
    frame = tuple(tuple(one if i == k else zero for i in range(count)) for k in range(count))
    return frame, (zero,) * count


def orthonormal(frame: Sequence[State]) -> tuple[Frame, State]:
    """Return a frame made orthonormal by Gram-Schmidt, and the logarithms of its directions' lengths."""
    found: list[State] = []
    growth = []
    for direction in frame:
        rest = direction
        for unit in found:
            along = _product(rest, unit)
            rest = tuple(a - along * b for a, b in zip(rest, unit, strict=True))
        length = jnp.sqrt(_product(rest, rest))
        found.append(tuple(a / length for a in rest))
        growth.append(jnp.log(length))
    return tuple(found), tuple(growth)


def _product(a: State, b: State) -> jax.Array:
    return cast("jax.Array", sum(x * y for x, y in zip(a, b, strict=True)))


def with_growth(moving: Moving) -> State:
    """Return what the accumulators see: the state, and the growth of the frame where there is one."""
    return moving.state + (moving.growth or ())
