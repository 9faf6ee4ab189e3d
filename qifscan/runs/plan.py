"""What a scan will take, before it runs: chunks, compilations, disk, memory, time."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qifscan.dynamics.observables import needed_accumulators
from qifscan.engine import backend
from qifscan.engine.batch import memory_bytes, room
from qifscan.engine.carries import Noise
from qifscan.engine.chunk_work import SEARCHED, first_points, sample_of_turns
from qifscan.engine.chunks import Chunks, grain_of
from qifscan.engine.compiler import nothing, seconds_of_compiling
from qifscan.engine.measured import diagnostics
from qifscan.engine.points import Points, run_points
from qifscan.engine.program import Program
from qifscan.engine.schedule import Schedule, batch_shape, narrowed
from qifscan.errors import Fault, ScanError, check_count, check_flag, counted
from qifscan.files import Where
from qifscan.machine import available_memory, resident_memory, usual_workers
from qifscan.phases import phased, tell
from qifscan.place import AnyPath, located
from qifscan.printed import Printed, format_bytes, format_seconds
from qifscan.scan.checks import check_precision
from qifscan.scan.scan import Scan, check_is_scan


@dataclass(frozen=True, repr=False)
class Plan(Printed):
    """What a scan will take. It prints as a table.

    Times and memory are measured on a probe: points spread over the scan, as many as a batch has. Without the
    probe they are None.

    Parameters
    ----------
    chunks
        How the scan is cut; `len` is their number.
    workers
        Threads or processes that will run it.
    bytes_on_disk
        Size of the store before compression.
    compilations
        Programs to compile.
    seconds
        Time of the run, without compilation, the start of workers, and the theory that is added in the end.
    memory
        The most bytes that this process holds while it runs.
    mean_steps
        Mean number of steps in a base step, before anything is run again.
    again
        Whether `seconds` has in it what is run again at a finer step; it has not where the probe would take
        too long for that.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.plan(qs.Scan(axes={"eta": [-6.0, -5.0]}), probe=False)
    >>> len(found.chunks)
    1
    >>> found.steps_in_words
    '4,000 of 0.05 ms each or finer, as the point needs'
    """

    chunks: Chunks
    workers: int
    bytes_on_disk: int
    compilations: int
    seconds: float | None = None
    memory: int | None = None
    mean_steps: float | None = None
    again: bool = False

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
    def least_memory(self) -> int:
        """Bytes that a run takes at least, as far as that is known before anything is compiled."""
        return least_memory(self.chunks, self.workers)

    @property
    def padding(self) -> float:
        """Share of the lanes that compute nothing new."""
        blocks, lanes = batch_shape(self.chunks.batch)
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
            without = "theory" if self.again else "theory and points that are run again"
            told = "under 1 s" if short else f"about {format_seconds(self.seconds)}"
            yield "time", f"{told} on {workers}, without {without}"

    def check(self, directory: AnyPath | Where) -> None:
        """Raise `ScanError` if the scan can't fit on the disk of `directory` or into memory."""
        faults, place = [], located("directory", directory).absolute()
        # How much room a bucket has nobody tells.
        folders = (place, *place.parents) if isinstance(place, Path) else ()
        existing = next((folder for folder in folders if folder.exists()), None)
        free = math.inf if existing is None else shutil.disk_usage(existing).free
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


@phased("plan")
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
        processor and 262144 on a GPU, but of a sweep at least 128 and 4096 lines; up to four times that in a
        scan of more than 512 such chunks, eight times in one of more than half a million.
    checkpoint
        Whether the run keeps what a longer window goes on from.
    probe
        Compile the scan's programs and run a part of a batch, for the time and the memory (one to five
        seconds). Without it those two are None, and jax is not loaded but to look for a GPU.

    Returns
    -------
    Plan
        Points, chunks, compilations, bytes on disk before compression, memory in bytes, seconds.

    Raises
    ------
    ScanError
        If `workers` or `chunk_points` is below 1.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.plan(qs.Scan(axes={"eta": [-6.0, -5.0]}), probe=False)
    >>> found.bytes_on_disk
    226
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
    tell("compiling")
    sample = _Sample.of(chunks)
    # Of the chunks that a GPU is given it runs one at a time.
    seconds, again = _probe(chunks, sample)
    seconds /= workers if device.startswith("cpu") else 1
    most, steps = _memory(chunks, workers, sample.points), _mean_steps(chunks, sample)
    return replace(made, seconds=seconds, again=again, memory=most, mean_steps=steps)


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
    model, kinds = scan.mean_field, []
    if model.delay:
        return 0
    for part in Program.of(scan).parts:
        accumulators = needed_accumulators(model, part.observables).values()
        if any(a.types is None for a in accumulators):
            return 0
        size = len(model.variables)
        kinds += ["int32"] + ["scan"] * (size + 1 + len(Noise._fields) * len(scan.noisy))
        kinds += ["scan"] * (size * size + size if part.tangents else 0)
        kinds += [kind for a in accumulators for kind in a.types or ()]
    return sum(np.dtype(scan.precision if kind == "scan" else kind).itemsize for kind in kinds)


def _bytes_on_disk(chunks: Chunks) -> int:
    scan = chunks.scan
    item = np.dtype(scan.precision).itemsize
    beside = chunks.checkpoint + sum(np.dtype(row.dtype).itemsize for row in diagnostics(scan).values())
    grid = scan.size * (1 + item * len(scan.observables) + beside)
    return grid + chunks.traces * (1 + chunks.trace_bytes)


SAMPLE = 4096
"""Points whose steps tell the mean number of steps of a point."""


@dataclass(frozen=True)
class _Sample:
    """Points spread over a scan, as many as in a batch, and the seconds that it takes to make so many."""

    points: Points
    seconds: float

    @classmethod
    def of(cls, chunks: Chunks) -> _Sample:
        """Return that of a scan; where equilibria are searched for, few points stand for all."""
        whole, begin = min(chunks.batch, chunks.scan.size), time.perf_counter()
        count = whole if chunks.scan.mean_field.rest is not None else min(whole, SEARCHED)
        points = Points.of(chunks.scan, chunks.sample(count))
        seconds = (time.perf_counter() - begin) * whole / count
        return cls(points.take(np.resize(np.arange(count), whole)), seconds)


def _mean_steps(chunks: Chunks, sample: _Sample) -> float:
    """Return the mean number of steps in a base step, before anything is run again."""
    more = chunks.scan.mean_field.rest is not None
    points = Points.of(chunks.scan, chunks.sample(SAMPLE)) if more else sample.points
    return float(np.mean(2.0 ** points.steps().halvings))


WHOLE = 1.5
"""Seconds that a batch may take for the probe to run it whole, as a run does: also what is run again."""

LONG = 2.0
"""Seconds that a batch may take with what is run again for the probe to run that whole."""

SURE = 0.5
"""Seconds of a batch above which they are not taken again, to be sure."""

PARTS = 8
"""Parts of the steps of which one is run before the whole batch, and a quarter of one before that."""

TURNS = 6
"""Turns of a sweep that are timed: one of them the first, which starts from rest."""

WRITTEN = 0.02
"""Seconds that it takes to prepare and to write a chunk."""


def _probe(chunks: Chunks, sample: _Sample) -> tuple[float, bool]:
    """Return the seconds that the whole scan would take on one worker, and whether points that are run again
    are in it: from as many points as in a batch, spread over the scan, and a part of their steps; or where
    that takes little time from all of their steps, of a sweep in a few turns of its lines."""
    scan, schedule, shape = chunks.scan, chunks.schedule, batch_shape(chunks.batch)
    points = sample.points
    share = (scan.size + chunks.traces) / len(points.replicate)
    steps = points.steps()

    def timed(count: int) -> float:
        begin = time.perf_counter()
        points.run(steps, schedule.limited(count), shape)
        return time.perf_counter() - begin

    tell("compiling")
    timed(1)
    tell("timing a part of the scan")
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
    swept = scan.protocol.sweep is not None
    again = batch <= (WHOLE / TURNS if swept else WHOLE)
    if again:
        tell("timing a part of the scan, with what is run again")
        if swept:
            # Programs of what is run again are compiled in the first run, which is not timed.
            batch = min(_seconds_of_a_turn(chunks) for _ in "12")
        else:
            batch = sample.seconds + _seconds_of_a_batch(points, schedule, shape)
    return batch * share + WRITTEN * len(chunks), again


def _seconds_of_a_turn(chunks: Chunks) -> float:
    """Return the seconds of a turn of a sweep: each point starts from the end of one before it, as in a run,
    from which other steps may follow than from rest."""
    turns = np.unique(np.linspace(0, chunks.scan.line - 1, TURNS).astype(int)).tolist()
    begin = time.perf_counter()
    for _ in sample_of_turns(chunks, turns):
        pass
    return (time.perf_counter() - begin) / len(turns)


def _seconds_of_a_batch(points: Points, schedule: Schedule, shape: tuple[int, int]) -> float:
    """Return the seconds of a batch with all that is run again in it; where that takes long, from parts of
    its steps: some of it goes with the steps, and some does not."""

    def timed(part: int) -> float:
        return _seconds_of(points, schedule.shortened(part), shape)

    parts, fewer = PARTS, timed(4 * PARTS)
    if fewer * 4 > LONG:
        parts, few, fewer = 4 * PARTS, fewer, timed(16 * PARTS)
    else:
        few = timed(PARTS)
        if few * PARTS <= LONG:
            whole = timed(1)
            return whole if whole > SURE else min(whole, timed(1))
    of_steps = max(few - fewer, 0.0) * 4 / 3
    return few + of_steps * (parts - 1)


def _seconds_of(points: Points, schedule: Schedule, shape: tuple[int, int]) -> float:
    """Return the seconds that points take with what is run again, without compiling."""
    begin, compiling = time.perf_counter(), seconds_of_compiling()
    run_points(points, schedule, shape)
    return time.perf_counter() - begin - (seconds_of_compiling() - compiling)


def memory(chunks: Chunks, workers: int, compiling: Callable[[], None] = nothing) -> int:
    """Return the bytes of this process with jax loaded, and of one running batch per worker.

    `compiling` is called when nothing but compilation is left to do, which leaves Python to other threads.
    """
    return _memory(chunks, workers, first_points(chunks), compiling)


def _memory(chunks: Chunks, workers: int, points: Points, compiling: Callable[[], None] = nothing) -> int:
    bytes_of_batch = _batch_bytes(chunks, points, compiling)
    return resident_memory() + workers * 2 * max(bytes_of_batch, _trace_bytes(chunks))


def least_memory(chunks: Chunks, workers: int) -> int:
    """Return the bytes that a run takes at least, without compiling anything: what its traces take."""
    return resident_memory() + workers * 2 * _trace_bytes(chunks)


def _trace_bytes(chunks: Chunks) -> int:
    if not chunks.traces:
        return 0
    scan, row = chunks.scan, chunks.trace_bytes // chunks.trace_rows
    shape = batch_shape(chunks.trace_batch)
    blocks, lanes = narrowed(shape, len(scan.mean_field.variables), scan.precision)
    # The record exists on the device, with more room, on the host, and once more while it is turned round.
    return blocks * lanes * row * (room(chunks.trace_rows, blocks) + 2 * chunks.trace_rows)


def _batch_bytes(chunks: Chunks, points: Points, compiling: Callable[[], None]) -> int:
    schedule = chunks.schedule
    steps, shape = points.steps(), batch_shape(chunks.batch)
    program = points.program(steps, schedule)
    inputs = points.inputs(program, steps)
    return memory_bytes(program, inputs, steps, schedule, chunks.scan.drive, shape, compiling)
