"""A scan cut into aligned chunks, each of them one whole chunk of every array of the store."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from qifscan.engine.measured import CHECKPOINT, diagnostics
from qifscan.engine.schedule import BLOCK, Schedule, batch_shape
from qifscan.errors import check_count

if TYPE_CHECKING:
    from qifscan.arrays import Indices
    from qifscan.scan.scan import Scan


@dataclass(frozen=True)
class Grain:
    """How large chunks are on a kind of device, where nobody asked for a number of points."""

    steps: float
    """Point-steps in a chunk: about a second, so that scheduling and writing (10 ms) do not show and an
    interrupted run loses little."""
    chunks: int
    """A small scan is cut into so many, if `least` allows: for its progress, and so that workers end
    together."""
    least: int
    """Points in a chunk, if there are so many: fewer leave too much of the device idle."""
    lines: int
    """Lines of a sweep in a chunk, if there are so many."""
    most: int
    """Points in a chunk, between what a file costs and memory; more, where chunks are `MANY`."""


GRAINS = {
    # In 128 lines a line takes 0.6 times as long as in 64 and 1.4 times as long as in 256 (measured), which
    # a second core makes up for. 65536 points are 256 KiB for each observable.
    "cpu": Grain(steps=4e8, chunks=16, least=BLOCK, lines=128, most=2**16),
    # On an H200 2^18 points run at 0.7 to 0.8 of the speed of 2^20, 2^16 at a third (benchmarks/device.py):
    # a million points of 10,000 steps took 22.5 s in the chunks of a processor, 9 to 10 s in these.
    "gpu": Grain(steps=4e9, chunks=4, least=2**16, lines=2**12, most=2**18),
}

MANY = 512
"""A scan of more chunks is cut into larger ones, as each is a dozen files."""

LARGER = 4
"""How many times as large at most: for the memory, and for what an interrupted run loses."""

VAST = 2**17
"""A scan of more of these is cut into chunks of up to twice as many points: that is for a thousand workers,
and Dask's scheduler hands out some 400 chunks a second."""

TRACE_BYTES = 2**26
"""Recorded states of one batch of traces."""


def grain_of(device: str) -> Grain:
    """Return how large chunks are on a device, named as by `backend.device`."""
    return GRAINS["cpu" if device.startswith("cpu") else "gpu"]


def chunk_shape(
    sizes: tuple[int, ...], steps: int, points: int | None = None, grain: Grain = GRAINS["cpu"]
) -> tuple[int, ...]:
    """Return the shape of a chunk for dimensions of these sizes, whoever runs it.

    Whole rows of the last dimensions, and of the next dimension as many as come near the wanted number of
    points with the least padding of the batch.
    """
    total = math.prod(sizes)
    usual = min(grain.steps / steps, total / grain.chunks, grain.most)
    larger = min(max(total / usual / MANY, 1.0), LARGER) * min(max(total / usual / LARGER / VAST, 1.0), 2.0)
    wanted = points or max(grain.least, usual * larger)
    shape: list[int] = []
    inner = 1
    for size in reversed(sizes):
        most = max(1, min(size, int(wanted // inner)))
        length = size if most == size else _least_padding(size, inner, most)
        shape.insert(0, length)
        inner *= length
        if length < size:
            wanted = inner
    return tuple(shape)


def _least_padding(size: int, inner: int, most: int) -> int:
    def lanes(length: int) -> int:
        blocks, width = batch_shape(inner * length)
        return -(-size // length) * blocks * width

    return min(range(most, max(most // 2, 1) - 1, -1), key=lanes)


@dataclass(frozen=True)
class Chunks:
    """The chunks of a scan: a grid of them over the dimensions, then batches of traces.

    A chunk is named by an integer: 0, 1, ... in C order over the grid, and the batches of traces after.
    `checkpoint` is the number of bytes that each point keeps for a longer window to go on from, 0 for none.
    """

    scan: Scan
    shape: tuple[int, ...]
    checkpoint: int = 0

    def __post_init__(self) -> None:
        sizes = tuple(self.scan.sizes.values())
        if len(self.shape) != len(sizes) or any(
            c not in range(1, n + 1) for c, n in zip(self.shape, sizes, strict=False)
        ):
            raise ValueError(f"chunks of shape {self.shape} do not fit the dimensions {sizes}")

    @classmethod
    def of(cls, scan: Scan, points: int | None = None, grain: Grain = GRAINS["cpu"]) -> Chunks:
        """Cut a scan; `points` is the number of points wanted in a chunk, by default as the grain says."""
        if points is not None:
            check_count("chunk_points", points)
        steps = scan.protocol.transient_steps + scan.protocol.window_steps
        if scan.protocol.sweep is None:
            return cls(scan, chunk_shape(tuple(scan.sizes.values()), steps, points, grain))
        # A line of a sweep is cut as a point of so many times the steps.
        line, place = scan.line, list(scan.sizes).index(scan.protocol.sweep)
        others = tuple(size for name, size in scan.sizes.items() if name != scan.protocol.sweep)
        wanted = None if points is None else max(points // line, 1)
        shape = chunk_shape(others, steps * line, wanted, replace(grain, least=grain.lines))
        return cls(scan, (*shape[:place], line, *shape[place:]))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along every dimension."""
        return tuple(-(-n // c) for n, c in zip(self.scan.sizes.values(), self.shape, strict=True))

    @cached_property
    def grid(self) -> int:
        """Number of chunks of the grid."""
        return math.prod(self.counts)

    @cached_property
    def batch(self) -> int:
        """Number of points of a chunk that are run together: all, or of a sweep one of each line."""
        return math.prod(self.shape) // self.scan.line

    @cached_property
    def traces(self) -> int:
        """Number of points that keep their trajectory."""
        return len(self.scan.trace_indices)

    @cached_property
    def schedule(self) -> Schedule:
        """Where the time loop of a chunk of the grid stops."""
        return replace(Schedule.of(self.scan.protocol), keep=self.checkpoint > 0)

    @cached_property
    def trace_schedule(self) -> Schedule:
        """Where the time loop of a batch of traces stops."""
        every = self.scan.traces.every if self.scan.traces else None
        return Schedule.of(self.scan.protocol, every)

    @cached_property
    def trace_rows(self) -> int:
        """Times in a trace: the start and every kept step."""
        # Computed without listing the steps: a plan must work for scans too large to run.
        protocol, every = self.scan.protocol, self.scan.traces.every if self.scan.traces else 1
        return 1 + (protocol.transient_steps + protocol.window_steps) // every

    @cached_property
    def trace_bytes(self) -> int:
        """Bytes of one trace, all variables together."""
        return self.trace_rows * len(self.scan.mean_field.variables) * np.dtype(self.scan.precision).itemsize

    @cached_property
    def grid_names(self) -> tuple[str, ...]:
        """Names of the arrays of a chunk of the grid, the one that is written last at the end."""
        checkpoint = [CHECKPOINT] if self.checkpoint else []
        return (*checkpoint, *self.scan.measures, *diagnostics(self.scan), "status")

    @cached_property
    def trace_names(self) -> tuple[str, ...]:
        """Names of the arrays of a batch of traces, the one that is written last at the end."""
        if not self.traces:
            return ()
        return (*(f"{v.name}_trace" for v in self.scan.mean_field.variables), "trace_status")

    @cached_property
    def trace_batch(self) -> int:
        """Number of traces in one batch."""
        return max(1, min(self.traces, BLOCK, TRACE_BYTES // self.trace_bytes))

    def __len__(self) -> int:
        return self.grid + (-(-self.traces // self.trace_batch) if self.traces else 0)

    def is_trace(self, chunk: int) -> bool:
        """Whether a chunk is a batch of traces."""
        return chunk >= self.grid

    def position(self, chunk: int) -> tuple[int, ...]:
        """Return the place of a chunk in its grid (for a batch of traces: along `trace`)."""
        if self.is_trace(chunk):
            return (chunk - self.grid,)
        return tuple(int(i) for i in np.unravel_index(chunk, self.counts)) if self.counts else ()

    def positions(self, chunks: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the place of each of these chunks of the grid."""
        if not self.counts:
            return [()] * len(chunks)
        places = np.unravel_index(np.array(chunks, dtype=np.int64), self.counts)
        return list(zip(*(each.tolist() for each in places), strict=True))

    def at(self, position: tuple[int, ...]) -> int:
        """Return the chunk at a place in the grid."""
        return int(np.ravel_multi_index(position, self.counts)) if self.counts else 0

    def region(self, chunk: int) -> tuple[slice, ...]:
        """Return where a chunk lies in the arrays of the dataset: whole chunks of the store."""
        if self.is_trace(chunk):
            start = (chunk - self.grid) * self.trace_batch
            return (slice(start, min(start + self.trace_batch, self.traces)),)
        return tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(self.position(chunk), self.shape, self.scan.sizes.values(), strict=True)
        )

    def indices(self, chunk: int) -> Indices:
        """Return the index of each point of a chunk along every dimension, `(points,)` each, in C order."""
        region = self.region(chunk)
        if not self.scan.sizes:
            return (np.zeros(1, dtype=int),)
        if self.is_trace(chunk):
            chosen = self.scan.trace_indices[region[0]]
            return tuple(np.array(column) for column in zip(*chosen, strict=True))
        grids = np.meshgrid(*(np.arange(s.start, s.stop) for s in region), indexing="ij")
        return tuple(grid.ravel() for grid in grids)

    def points(self, chunk: int) -> int:
        """Return the number of points of a chunk."""
        return math.prod(s.stop - s.start for s in self.region(chunk))

    def sample(self, count: int) -> Indices:
        """Return the indices of so many points spread evenly over the scan, or of all if there are fewer."""
        size, lengths = self.scan.size, list(self.scan.sizes.values())
        count = min(count, size)
        # Python's integers: NumPy's can't count 10^20 points.
        chosen = [i * (size - 1) // max(count - 1, 1) for i in range(count)]
        if not lengths:
            return (np.zeros(1, dtype=int),)
        columns = []
        for length in reversed(lengths):
            columns.append(np.array([place % length for place in chosen], dtype=np.int64))
            chosen = [place // length for place in chosen]
        return tuple(reversed(columns))
