"""Run a scan: for each chunk that is not finished, compute it, write it, report; with any executor."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import store
from qifscan.chunks import Chunks, memory, plan, run_points
from qifscan.cluster import Executor, executor
from qifscan.errors import RunError, RunInterrupted, StoreError, check_count, counted
from qifscan.kernel import batch_shape
from qifscan.observables import Status
from qifscan.scan import Scan
from qifscan.store import Store

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger(__name__)

MOST_FAILURES = 5
"""Chunks that may fail before a run gives up: one bad worker is survived, a bad scan ends early."""

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Outcome:
    """What a worker returns of a chunk: how many points it has, how many carry each flag, and how long."""

    points: int
    flags: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Progress:
    """How far a run is: chunks and points finished (those of earlier runs included) and flags of this run."""

    chunks: int
    all_chunks: int
    points: int
    all_points: int
    computed: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at the speed so far; None before the first chunk of this run."""
        if not self.computed:
            return None
        return self.seconds * (self.all_points - self.points) / self.computed

    def __str__(self) -> str:
        return f"{self.chunks} of {self.all_chunks} chunks, {self.points:,} of {self.all_points:,} points"


def compute_chunk(path: str, chunk: int) -> Outcome:
    """Run one chunk of the store at `path` and write it: the task of every executor."""
    begin = time.perf_counter()
    opened = _opened(path)
    result = opened.chunks.compute(chunk)
    store.write(opened, chunk, result)
    flags = {str(f.name): int(np.count_nonzero(result.status & int(f))) for f in Status}
    return Outcome(len(result.status), flags, time.perf_counter() - begin)


def _opened(path: str) -> Store:
    return _loaded(path, store.identity(path))


@lru_cache(maxsize=8)
def _loaded(path: str, identity: tuple[int, int]) -> Store:
    """Return the store, read once per process and run."""
    return store.load(Path(path))


def run(
    scan: Scan,
    path: AnyPath,
    *,
    client: Any = "auto",
    workers: int | None = None,
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | str | None = "auto",
) -> xr.Dataset:
    """Run a scan into a store; what is already there stays, and only the rest is computed.

    Parameters
    ----------
    scan
        What to run.
    path
        The store: a directory that does not exist yet, or the store of the same scan.
    client
        Who computes: `"auto"` (the active Dask client, else this machine's cores), `"threads"`,
        `"serial"`, a `distributed.Client`, or the address of a scheduler. Dask workers must see `path`.
    workers
        Threads, where they are used; by default this machine's cores.
    chunk_points
        Points wanted in a chunk of a new store; by default about a second's work, at most 65536.
    progress
        `"auto"` (a bar in a terminal, nothing in a pipe), None, or a function that is called with a
        `Progress` at the start and after every chunk.

    Returns
    -------
    xarray.Dataset
        The finished dataset, lazily, as `open_scan` gives it.

    Raises
    ------
    ScanError
        If the scan can't fit on the disk, or into this machine's memory where it runs here.
    StoreError
        If `path` is the store of another scan, no store, damaged, or can't be written.
    RunError
        If chunks could not be computed or written; the others are kept, and a rerun does the rest.
    RunInterrupted
        On Ctrl-C, after the chunks that were running have ended.
    """
    execute(scan, path, client=client, workers=workers, chunk_points=chunk_points, progress=progress)
    return store.open_scan(path)


def execute(
    scan: Scan, path: AnyPath, *, client: Any, workers: int | None, chunk_points: int | None, progress: Any
) -> None:
    """Do what `run` does, and open nothing afterwards: xarray with dask takes a second to load."""
    path = Path(path).absolute()
    chosen = executor(client, workers)
    opened = _prepared(scan, path, chosen, chunk_points)
    done = store.finished(opened)
    pending = [chunk for chunk in range(len(opened.chunks)) if chunk not in done]
    if pending:
        store.begin_run(opened, f"run of {len(pending)} chunks on {chosen.name}")
        with _reporter(progress) as report:
            _run_pending(opened, chosen, pending, report)


def _prepared(scan: Scan, path: Path, chosen: Executor, chunk_points: int | None) -> Store:
    """Return the store of the scan at `path`: the one that is there, or a new one."""
    if store.exists(path):
        opened = store.load(path)
        store.check_scan(opened, scan)
        _warn_of_other_device(opened)
        return opened
    estimate = plan(scan, workers=chosen.workers, chunk_points=chunk_points, probe=False)
    if chosen.local:
        # What is compiled for it is what the run compiles first.
        estimate = replace(estimate, memory=memory(estimate.chunks, estimate.workers))
    estimate.check(path)
    return store.create(path, estimate.chunks)


def _warn_of_other_device(opened: Store) -> None:
    begun, here = store.origin(opened), store.provenance()
    differing = [
        f"{k} {begun.get(k)} -> {here[k]}" for k in ("device", "jax_version") if begun.get(k) != here[k]
    ]
    if differing:
        logger.warning(
            "%s was begun elsewhere (%s): new points may differ from it in the last bits",
            opened.path,
            ", ".join(differing),
        )


def _run_pending(opened: Store, chosen: Executor, pending: list[int], report: Any) -> None:
    chunks = opened.chunks
    state = _start(chunks, pending)
    report(state)
    failures: dict[int, BaseException] = {}
    begin = time.perf_counter()
    outcomes = chosen.outcomes(compute_chunk, str(opened.path), pending)
    try:
        for chunk, outcome in outcomes:
            if isinstance(outcome, BaseException):
                failures[chunk] = outcome
                logger.info("chunk %d failed: %r", chunk, outcome)
                if store.disk_is_full(outcome) or len(failures) >= MOST_FAILURES:
                    break
                continue
            state = _after(state, outcome, chunks.is_trace(chunk), time.perf_counter() - begin)
            report(state)
    except KeyboardInterrupt:
        outcomes.close()
        left = len(chunks) - len(store.finished(opened))
        raise RunInterrupted(
            f"{opened.path}: stopped with {left} of {len(chunks)} chunks left; "
            "the same command goes on from there"
        ) from None
    finally:
        outcomes.close()
    if failures:
        raise _failed(opened, failures)


def _start(chunks: Chunks, pending: list[int]) -> Progress:
    waiting = sum(chunks.points(chunk) for chunk in pending if not chunks.is_trace(chunk))
    size = chunks.scan.size
    return Progress(len(chunks) - len(pending), len(chunks), size - waiting, size)


def _after(state: Progress, outcome: Outcome, trace: bool, seconds: float) -> Progress:
    points = 0 if trace else outcome.points
    flags = {k: state.flags.get(k, 0) + (0 if trace else n) for k, n in outcome.flags.items()}
    return replace(
        state,
        chunks=state.chunks + 1,
        points=state.points + points,
        computed=state.computed + points,
        flags=flags,
        seconds=seconds,
    )


def _failed(opened: Store, failures: dict[int, BaseException]) -> RunError:
    """Return the error that says what failed, what is left, and how to go on."""
    chunk, error = next(iter(failures.items()))
    if isinstance(error, StoreError):
        return RunError(str(error))
    total = len(opened.chunks)
    left = total - len(store.finished(opened))
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}"
        advice = "make room or give write access, then run the same command: it does the rest"
    else:
        reason = f"{type(error).__name__}: {reason}"
        advice = "the same command tries the rest again"
    return RunError(
        f"{opened.path}: chunk {chunk} failed ({reason}); {left} of {total} chunks are missing; {advice}"
    )


@contextmanager
def _reporter(progress: Callable[[Progress], None] | str | None) -> Iterator[Callable[[Progress], None]]:
    if callable(progress):
        yield progress
    elif progress == "auto":
        with _bar() as report:
            yield report
    else:
        yield lambda state: None


def _bar() -> AbstractContextManager[Callable[[Progress], None]]:
    """Return a progress bar on standard error: one that moves in a terminal, nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    bar = RichProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} points"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )

    @contextmanager
    def shown() -> Iterator[Callable[[Progress], None]]:
        with bar:
            task = bar.add_task("scan", note="")

            def report(state: Progress) -> None:
                flagged = {k: n for k, n in state.flags.items() if n and k != Status.computed.name}
                note = ", ".join(f"{n:,} {name}" for name, n in flagged.items())
                bar.update(task, completed=state.points, total=state.all_points, note=note)

            yield report

    return shown()


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. `faults` has one line for each thing that is wrong."""

    path: Path
    chunks: int
    finished: int
    recomputed: int
    faults: tuple[str, ...]
    repaired: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong in what is there."""
        return not self.faults

    def __str__(self) -> str:
        lines = [
            f"chunks        {self.finished} of {self.chunks} finished, each read and its checksum tested",
            f"recomputed    {counted(self.recomputed, 'point')}, compared bit for bit with the store",
            *(f"fault         {fault}" for fault in self.faults),
        ]
        if self.repaired:
            taken = counted(self.repaired, "damaged chunk")
            lines.append(f"repair        {taken} taken back; run the scan again")
        lines.append(f"verdict       {'sound' if self.sound else counted(len(self.faults), 'fault')}")
        return "\n".join(lines)


def verify(path: AnyPath, *, points: int = 256, repair: bool = False) -> Verdict:
    """Check a store: read every finished chunk, and compute a random sample of its points again.

    Parameters
    ----------
    path
        The store.
    points
        Points to compute again, spread at random (by a fixed seed) over the finished chunks.
    repair
        Take back the chunks that can't be read, so that the next run computes them again.

    Returns
    -------
    Verdict
        The counts and one line for every fault; `print` shows them.

    Raises
    ------
    ScanError
        If `points` is not a count.
    StoreError
        If there is no store of qifscan at `path`.
    """
    check_count("points", points, least=0)
    opened = store.load(Path(path))
    done = store.finished(opened)
    damaged = store.damaged(opened, done)
    faults = [f"chunk {chunk}: {reason}" for chunk, reason in damaged.items()]
    grid = sorted(chunk for chunk in done - set(damaged) if not opened.chunks.is_trace(chunk))
    recomputed, differing = _recompute(opened, grid, points)
    if repair:
        for chunk in damaged:
            store.discard(opened, chunk)
    repaired = len(damaged) if repair else 0
    return Verdict(opened.path, len(opened.chunks), len(done), recomputed, (*faults, *differing), repaired)


def _recompute(opened: Store, grid: list[int], points: int) -> tuple[int, list[str]]:
    """Compute a random sample of stored points again; return how many, and what differs."""
    if not grid or not points:
        return 0, []
    scan, chunks = opened.scan, opened.chunks
    rng = np.random.default_rng(0)
    drawn = [(chunk, int(rng.integers(chunks.points(chunk)))) for chunk in rng.choice(grid, points)]
    sample = sorted({tuple(int(column[i]) for column in chunks.indices(int(c))) for c, i in drawn})
    indices = tuple(np.array(column) for column in zip(*sample, strict=True))
    again = run_points(scan, indices, chunks.schedule, batch_shape(len(sample)), recorded=False)
    place = dict(zip(scan.sizes, indices, strict=False))
    stored = store.read_points(opened, place)
    faults = []
    for name, values in {**again.observables, "status": again.status}.items():
        same = values.view(np.uint8).reshape(len(values), -1) == stored[name].view(np.uint8).reshape(
            len(values), -1
        )
        for row in np.flatnonzero(~same.all(axis=1))[:3]:
            labels = ", ".join(f"{dim}={_label(scan, dim, index[row])}" for dim, index in place.items())
            faults.append(f"{name} at {labels}: stored {stored[name][row]!r}, computed {values[row]!r}")
    return len(sample), faults


def _label(scan: Scan, dim: str, index: int) -> Any:
    return scan.axes[dim].labels[index] if dim in scan.axes else index


def state_of(path: AnyPath) -> tuple[Progress, dict[str, int]]:
    """Return how far the run of a store is, and how many points ended in which way, from what is on disk.

    "ok" is computed and nothing else; a point with several flags counts under each.
    """
    opened = store.load(Path(path))
    done = store.finished(opened)
    pending = [chunk for chunk in range(len(opened.chunks)) if chunk not in done]
    values, counts = np.unique(store.status(opened), return_counts=True)
    ended = dict.fromkeys(["ok", *(str(f.name) for f in Status if f is not Status.computed), "not run"], 0)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        names = [str(f.name) for f in Status if value & f and f is not Status.computed]
        for name in names or ["ok" if value else "not run"]:
            ended[name] += count
    return _start(opened.chunks, pending), ended
