"""What is accumulated over the window: the totals at its start, and its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qifscan.dynamics.accumulators import Instant, Window
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.dynamics.accumulators import Constants
    from qifscan.engine.carries import Pace, Totals
    from qifscan.engine.program import Program
else:
    jnp = LazyModule("jax.numpy")


def window_of(program: Program, pace: Pace) -> Window:
    """Return the window in steps of the block."""
    return Window(pace.end - pace.transient, pace.dt, program.lengths, pace.sample_steps)


def with_corners(window: Window, program: Program, constants: Constants, pace: Pace) -> Window:
    """Return the window with the corners that the jumps of the drive make."""
    jumps = program.drive.jumps(constants) if program.drive else ()
    corners: list[tuple[jax.Array, jax.Array]] = []
    earlier: jax.Array | float = -jnp.inf
    for time in jumps:
        corner = time / pace.dt - pace.transient
        place = jnp.floor(corner)
        # Three steps without another corner lead to it, and it is not at a step itself.
        seen = (corner > place) & (corner - earlier >= 3.0)
        part = jnp.where(seen, corner - place, jnp.nan).astype(program.precision)
        corners.append((jnp.clip(place, -1.0, window.steps).astype(jnp.int32), part))
        earlier = corner
    return replace(window, corners=tuple(corners))


def empty_totals(program: Program, constants: Constants, pace: Pace, at: Instant) -> Totals:
    """Return the totals of the accumulators at the start of the window."""
    window = window_of(program, pace)
    return {name: f.init(at, constants, window) for name, f in program.accumulators.items()}
