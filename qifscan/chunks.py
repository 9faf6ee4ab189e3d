"""A scan cut into aligned chunks: how many, how large on disk and in memory, how long, before it runs."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from qifscan import backend, kernel, sweep
from qifscan.catalogue import model_named
from qifscan.errors import Fault, ScanError, check_count, check_flag, counted
from qifscan.kernel import BLOCK, NOISE_SIDES, Schedule
from qifscan.machine import available_memory, resident_memory, usual_workers
from qifscan.observables import needed_folds, needs_tangents
from qifscan.place import AnyPath, local
from qifscan.points import Begun, Measured, Points, diagnostics, run_points
from qifscan.printed import Printed
from qifscan.scan import Scan, check_is_scan, check_precision


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
    """Points in a chunk: between the file system's cost per file and memory."""


GRAINS = {
    # In 128 lines a line takes 0.6 times as long as in 64 and 1.4 times as long as in 256 (measured), which
    # a second core makes up for. 65536 points are 256 KiB for each observable.
    "cpu": Grain(steps=4e8, chunks=16, least=BLOCK, lines=128, most=2**16),
    # On an H200 2^18 points run at 0.7 to 0.8 of the speed of 2^20, 2^16 at a third (benchmarks/device.py):
    # a million points of 10,000 steps took 22.5 s in the chunks of a processor, 9 to 10 s in these.
    "gpu": Grain(steps=4e9, chunks=4, least=2**16, lines=2**12, most=2**18),
}

TRACE_BYTES = 2**26
"""Recorded states of one batch of traces."""

Indices = tuple[np.ndarray[Any, Any], ...]


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
    wanted = points or max(grain.least, min(grain.steps / steps, total / grain.chunks, grain.most))
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
        blocks, width = kernel.batch_shape(inner * length)
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
        # Not from `trace_schedule`, which lists the steps: a plan must stand what no memory would.
        protocol, every = self.scan.protocol, self.scan.traces.every if self.scan.traces else 1
        return 1 + (protocol.transient_steps + protocol.window_steps) // every

    @cached_property
    def trace_bytes(self) -> int:
        """Bytes of one trace, all variables together."""
        return (
            self.trace_rows
            * len(model_named(self.scan.model).variables)
            * np.dtype(self.scan.precision).itemsize
        )

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

    def first(self, trace: bool = False) -> Points:
        """Return the points of the first chunk, or of the first batch of traces."""
        return Points.of(self.scan, self.indices(self.grid if trace else 0))

    def sample(self, count: int) -> Indices:
        """Return the indices of so many points spread evenly over the scan, or of all if there are fewer."""
        size, lengths = self.scan.size, list(self.scan.sizes.values())
        count = min(count, size)
        # Integers of Python: of 10^20 points none of NumPy's counts them.
        chosen = [i * (size - 1) // max(count - 1, 1) for i in range(count)]
        if not lengths:
            return (np.zeros(1, dtype=int),)
        columns = []
        for length in reversed(lengths):
            columns.append(np.array([place % length for place in chosen], dtype=np.int64))
            chosen = [place // length for place in chosen]
        return tuple(reversed(columns))

    def compute(
        self, chunk: int, rows: np.ndarray[Any, Any] | None = None, begun: Begun | None = None
    ) -> Measured:
        """Run a chunk, or only these of its points, from the start or from where they are.

        Every chunk of a kind is padded to one shape, so that it compiles once.
        """
        trace = self.is_trace(chunk)
        shape = kernel.batch_shape(self.trace_batch if trace else self.batch)
        schedule = self.trace_schedule if trace else self.schedule
        indices = self.indices(chunk)
        chosen = indices if rows is None else tuple(index[rows] for index in indices)
        if self.scan.protocol.sweep is None:
            return run_points(Points.of(self.scan, chosen), schedule, shape, begun)
        if trace:
            return run_points(sweep.started(self.scan, chosen), schedule, shape)
        return sweep.run_lines(self.scan, chosen, schedule, shape)


@dataclass(frozen=True, repr=False)
class Plan(Printed):
    """What a scan will take. It prints as a table.

    `bytes_on_disk` is before compression; `memory` is the most that this process holds while it runs;
    `seconds` is scaled from one probed batch, `mean_steps` is the mean number of steps in a base step. They
    are None where the plan was made without the probe, and know nothing of points that will be run again.
    """

    chunks: Chunks
    workers: int
    bytes_on_disk: int
    compilations: int
    seconds: float | None = None
    memory: int | None = None
    mean_steps: float | None = None

    @property
    def points(self) -> int:
        """Points, replicates included."""
        return self.chunks.scan.size

    @property
    def steps(self) -> int:
        """Base steps of every point."""
        protocol = self.chunks.scan.protocol
        return protocol.transient_steps + protocol.window_steps

    @property
    def steps_in_words(self) -> str:
        """Steps of a point and their length."""
        base = self.chunks.scan.protocol.base
        if self.chunks.scan.protocol.dt != "auto":
            return f"{self.steps:,} of {base:g} ms each"
        if self.mean_steps is None:
            return f"{self.steps:,} of {base:g} ms each or finer, as the point needs"
        return f"{self.steps * self.mean_steps:,.0f} on average, of {base / self.mean_steps:.2g} ms"

    @property
    def padding(self) -> float:
        """Share of the lanes that compute nothing new."""
        blocks, lanes = kernel.batch_shape(self.chunks.batch)
        return 1.0 - self.points / (self.chunks.grid * blocks * lanes * self.chunks.scan.line)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines of the table."""
        scan = self.chunks.scan
        sizes = " x ".join(f"{name} {size}" for name, size in scan.sizes.items())
        shape = " x ".join(map(str, self.chunks.shape)) or "1"
        yield "scan", f"{scan.title or scan.model} ({scan.fingerprint[:12]})"
        yield "points", f"{self.points:,} ({sizes or 'one point'})"
        yield "steps", f"{self.steps_in_words}, {scan.protocol.integrator}, {scan.precision}"
        yield "chunks", f"{self.chunks.grid:,} of {shape} points, {self.padding:.1%} padding"
        if self.chunks.traces:
            batches = counted(len(self.chunks) - self.chunks.grid, "batch", "batches")
            yield "traces", f"{self.chunks.traces:,} in {batches}, {self.chunks.trace_rows:,} times each"
        yield "compilations", f"{self.compilations} per process{'' if self.compilations == 1 else ' at most'}"
        yield "on disk", f"{format_bytes(self.bytes_on_disk)} before compression"
        workers = counted(self.workers, "worker")
        if self.memory is not None:
            yield "memory", f"{format_bytes(self.memory)} at most, {workers} in one process"
        if self.seconds is not None:
            short = self.seconds < 1.0
            yield "time", f"{'under 1 s' if short else 'about ' + format_seconds(self.seconds)} on {workers}"

    def check(self, directory: AnyPath) -> None:
        """Raise `ScanError` if the scan can't fit on the disk of `directory` or into memory."""
        faults, directory = [], local("directory", directory)
        existing = next(p for p in (directory.absolute(), *directory.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if self.bytes_on_disk > free:
            found = f"{format_bytes(self.bytes_on_disk)} to write"
            expected = f"at most the {format_bytes(free)} that are free on the disk of {existing}"
            hint = "take fewer points, observables or traces, no checkpoint, or another disk"
            faults.append(Fault("plan", found, expected, hint))
        available = available_memory()
        if self.memory is not None and self.memory > available:
            found = f"{format_bytes(self.memory)} of memory"
            expected = f"at most the {format_bytes(available)} that are available"
            hint = "take fewer workers, or smaller chunks (chunk_points)"
            if self.chunks.traces:
                hint = "take fewer workers, or fewer times of a trace (traces.every)"
            faults.append(Fault("plan", found, expected, hint))
        if faults:
            raise ScanError(faults)


def plan(
    scan: Scan,
    *,
    workers: int | None = None,
    chunk_points: int | None = None,
    checkpoint: bool = True,
    probe: bool = True,
) -> Plan:
    """Return what a scan will take, before it runs.

    Parameters
    ----------
    scan
        The scan.
    workers
        Threads or processes that will run it; by default the cores of this machine, on a GPU two.
    chunk_points
        Points wanted in a chunk; by default about a second's work of the device, at most 65536 on a
        processor and 262144 on a GPU, but of a sweep at least 128 and 4096 lines.
    checkpoint
        Whether the run keeps what a longer window goes on from.
    probe
        Compile the scan's program and run a part of its first batch, for the time and the memory (about
        a second). Without it those two are None, and jax is not loaded but to look for a GPU.

    Returns
    -------
    Plan
        Points, chunks, compilations, bytes on disk before compression, memory in bytes, seconds.

    Raises
    ------
    ScanError
        If `workers` or `chunk_points` is below 1.
    """
    check_is_scan(scan)
    check_flag("checkpoint", checkpoint)
    check_flag("probe", probe)
    if workers is not None:
        check_count("workers", workers)
    device = backend.device()
    made = planned(scan, workers or usual_workers(device), chunk_points, checkpoint, device)
    if not probe:
        return made
    chunks, workers = made.chunks, made.workers
    # Of the chunks that a GPU is given it runs one at a time.
    seconds = _probe(chunks) / (workers if device.startswith("cpu") else 1)
    return replace(made, seconds=seconds, memory=memory(chunks, workers), mean_steps=_mean_steps(chunks))


def planned(scan: Scan, workers: int, chunk_points: int | None, checkpoint: bool, device: str) -> Plan:
    """Return what a scan will take of workers with this device, as far as no kernel has to run for it."""
    check_precision(scan)
    chunks = Chunks.of(scan, chunk_points, grain_of(device))
    if checkpoint:
        chunks = replace(chunks, checkpoint=checkpoint_bytes(scan))
    return Plan(chunks, min(workers, len(chunks)), _bytes_on_disk(chunks), _compilations(chunks))


def _compilations(chunks: Chunks) -> int:
    """Return how many programs a process may compile: of the grid and of traces, each once more where a
    finer step has to fill in a path of noise that was drawn already."""
    scan = chunks.scan
    finer = bool(scan.noisy) and scan.protocol.dt == "auto" and scan.noise == "independent"
    return (1 + (chunks.traces > 0)) * (1 + finer)


def checkpoint_bytes(scan: Scan) -> int:
    """Return the size of the checkpoint of a point; 0 in a sweep, with a frequency, as the segments of a
    spectrum depend on the window, and with a delay, where it would be the history."""
    if scan.protocol.sweep is not None:
        return 0  # over a longer window the next point would start elsewhere
    model, kinds = model_named(scan.model), []
    if model.delay:
        return 0
    for part in kernel.Program.of(scan).parts:
        folds = needed_folds(model, part.observables).values()
        if any(fold.types is None for fold in folds):
            return 0
        size = len(model.variables)
        kinds += ["int32"] + ["scan"] * (size + 1 + len(NOISE_SIDES) * len(scan.noisy))
        kinds += ["scan"] * (size * size + size if needs_tangents(part.observables) else 0)
        kinds += [kind for fold in folds for kind in fold.types or ()]
    return sum(np.dtype(scan.precision if kind == "scan" else kind).itemsize for kind in kinds)


def _bytes_on_disk(chunks: Chunks) -> int:
    scan = chunks.scan
    item = np.dtype(scan.precision).itemsize
    beside = chunks.checkpoint + sum(np.dtype(row.dtype).itemsize for row in diagnostics(scan).values())
    grid = scan.size * (1 + item * len(scan.observables) + beside)
    return grid + chunks.traces * (1 + chunks.trace_bytes)


SAMPLE = 4096
"""Points whose steps tell the mean number of steps of a point."""


def _mean_steps(chunks: Chunks) -> float:
    """Return the mean number of steps in a base step, before anything is run again."""
    halvings = Points.of(chunks.scan, chunks.sample(SAMPLE)).steps().halvings
    return float(np.mean(2.0**halvings))


def _probe(chunks: Chunks) -> float:
    """Return the seconds that the whole scan would take on one worker, from a part of its first batch."""
    points, schedule = chunks.first(), chunks.schedule
    steps, shape = points.steps(), kernel.batch_shape(chunks.batch)

    def timed(count: int) -> float:
        begin = time.perf_counter()
        points.run(steps, schedule.limited(count), shape)
        return time.perf_counter() - begin

    timed(1)  # it compiles
    # What a batch takes beside its steps: much of the time of a few steps, little of that of a whole run.
    around = timed(1)
    tried = min(64, schedule.steps)
    for _ in range(8):
        taken = timed(tried) - around
        # 0.2 s tell the speed to some per cent.
        if tried == schedule.steps or taken > 0.2:
            break
        tried = min(tried * 8, schedule.steps)
    batch = around + max(taken, 0.0) * schedule.steps / tried
    work = float(np.sum(2.0**steps.halvings))
    return batch * _mean_steps(chunks) * (chunks.scan.size + chunks.traces) / work


def memory(chunks: Chunks, workers: int, compiling: Callable[[], None] = kernel.nothing) -> int:
    """Return the bytes of this process with jax loaded, and of one running batch per worker.

    `compiling` is called when nothing but compilation is left to do, which leaves Python to other threads.
    """
    return resident_memory() + workers * 2 * max(_batch_bytes(chunks, compiling), _trace_bytes(chunks))


def least_memory(chunks: Chunks, workers: int) -> int:
    """Return the bytes that a run takes at least, without compiling anything: what its traces take."""
    return resident_memory() + workers * 2 * _trace_bytes(chunks)


def _trace_bytes(chunks: Chunks) -> int:
    if not chunks.traces:
        return 0
    width = math.prod(kernel.batch_shape(chunks.trace_batch))
    # The record exists on the device, on the host, and once more while it is turned round.
    return 3 * width * chunks.trace_bytes


def _batch_bytes(chunks: Chunks, compiling: Callable[[], None]) -> int:
    points, schedule = chunks.first(), chunks.schedule
    steps, shape = points.steps(), kernel.batch_shape(chunks.batch)
    program = points.program(steps, schedule)
    inputs = points.inputs(program, steps)
    return kernel.memory_bytes(program, inputs, steps, schedule, chunks.scan.drive, shape, compiling)


def format_bytes(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
