"""What is accumulated over the window: the totals at its start, and its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qifscan.dynamics.accumulators import Instant, Window

if TYPE_CHECKING:
    from qifscan.dynamics.accumulators import Constants
    from qifscan.engine.carries import Pace, Totals
    from qifscan.engine.program import Program


def window_of(program: Program, pace: Pace) -> Window:
    """Return the window in steps of the block."""
    return Window(pace.end - pace.transient, pace.dt, program.lengths, pace.sample_steps)


def empty_totals(program: Program, constants: Constants, pace: Pace, at: Instant) -> Totals:
    """Return the totals of the accumulators at the start of the window."""
    window = window_of(program, pace)
    return {name: f.init(at, constants, window) for name, f in program.accumulators.items()}
