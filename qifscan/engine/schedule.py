"""How far points run, in steps of which length, and side by side in blocks of which size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qifscan.arrays import Counts, Index
    from qifscan.scan.protocol import Protocol


LANES = 64
"""A block has a multiple of this many lanes: four whole vectors of the widest kind, so that every lane takes
the same path through the vectorised, interleaved loop in any block, and none that of the rest."""

BLOCK = 256
"""Lanes of the widest block: its state, parameters and accumulators stay in the first-level cache, and XLA's
dispatch of a step is paid for 256 points at once. Measured: 128 to 2048 differ by a third, 8192 is half as
fast."""

STATE_BYTES = 2048
"""Bytes that the states of a block may take. XLA compiles a loop that moves up to a mebibyte in another way
than a larger one, with other last bits, and the width of a block is that of the batch. With this the loops of
all blocks move half of that at most, or there is but one width. What a delay remembers is not counted: with
one of about 10 ms loops of narrow and of wide blocks are on different sides, and a test holds that their bits
are the same. Measured: in float64 64 lanes are as fast as 256 or faster; in float32 128 are, and 64 are up to
a tenth slower."""


@dataclass(frozen=True)
class Schedule:
    """Base steps before the window and in it, the base step in ms, base steps in a sample of a spectrum;
    and with `every` the state after each `every`-th base step is recorded. With `keep` the runs can be gone
    on from; with `behind` they go on from runs of so many base steps in the window. It `stands_for` a run of
    so many times the steps: what is measured on a part has to be run as the whole is."""

    transient: int
    window: int
    base: float
    sample_steps: int
    every: int | None = None
    keep: bool = False
    behind: int | None = None
    stands_for: int = 1

    @classmethod
    def of(cls, protocol: Protocol, every: int | None = None) -> Schedule:
        """Return the schedule of a protocol."""
        return cls(
            protocol.transient_steps, protocol.window_steps, protocol.base, protocol.sample_steps, every
        )

    @property
    def steps(self) -> int:
        """Base steps of the whole run."""
        return self.transient + self.window

    @property
    def rows(self) -> int:
        """States in a record: the initial one and every kept one."""
        return 1 + (self.steps // self.every if self.every else 0)

    def limited(self, steps: int) -> Schedule:
        """Return the schedule cut off after so many base steps, to measure the program's speed."""
        transient = min(self.transient, steps)
        return replace(self, transient=transient, window=min(self.window, steps - transient))

    def shortened(self, part: int) -> Schedule:
        """Return the schedule with such a part of the steps before the window and in it."""
        return replace(
            self, transient=self.transient // part, window=max(self.window // part, 1), stands_for=part
        )


@dataclass(frozen=True)
class Steps:
    """The steps of each point, `(points,)` each: how often the base step is halved for the state, and how
    often for the grid on which the path of the noise is drawn."""

    halvings: Counts
    noise_halvings: Counts

    def take(self, rows: Index) -> Steps:
        """Return those of some points."""
        return Steps(self.halvings[rows], self.noise_halvings[rows])

    def halved(self, rows: Index) -> Steps:
        """Return them with the step of some points halved, and the grid of the noise as it was."""
        halvings = self.halvings.copy()
        halvings[rows] += 1
        return Steps(halvings, self.noise_halvings)


def batch_shape(points: int) -> tuple[int, int]:
    """Return (blocks, lanes) that hold so many points of one step, where a block may be as wide as any."""
    if points <= BLOCK:
        return 1, max(-(-points // LANES), 1) * LANES
    return -(-points // BLOCK), BLOCK


def narrowed(shape: tuple[int, int], numbers: int, precision: str) -> tuple[int, int]:
    """Return (blocks, lanes) for as many points, in blocks as wide as states of so many numbers may be."""
    most = STATE_BYTES // (numbers * np.dtype(precision).itemsize) // LANES * LANES
    lanes = min(shape[1], max(most, LANES))
    return -(-shape[0] * shape[1] // lanes), lanes
