"""Run a scan: for each chunk that is not finished, compute it, write it, report; with any executor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qifscan.errors import Fault, RunError, RunInterrupted, ScanError, StoreError, check_flag, short, show
from qifscan.files import Where
from qifscan.place import AnyPath, located
from qifscan.runs import events, extension
from qifscan.runs.admission import ORIGIN, Admission, Named, Origin, origin_of
from qifscan.runs.executors import Executor, executor
from qifscan.runs.failures import failed
from qifscan.runs.order import Region, in_order, region_of
from qifscan.runs.plan import Plan, least_memory, memory, planned
from qifscan.runs.progress import Progress, Report, reporter
from qifscan.runs.running import Running
from qifscan.runs.state import beginning
from qifscan.runs.task import compute_chunk
from qifscan.scan.matching import adopted
from qifscan.scan.scan import Scan, check_is_scan
from qifscan.store import chunk_files, drafts, integrity, layout, reader, store
from qifscan.store.drafts import Draft
from qifscan.store.store import Store
from qifscan.store.theory_group import add_theory
from qifscan.theory.of_scan import Atlas, after_a_run

if TYPE_CHECKING:
    import xarray as xr


logger = logging.getLogger(__name__)

Outcomes = Callable[[str, list[int]], Generator[tuple[int, Any]]]
"""Runs chunks of the store at a path, and yields what came of each."""


def run(
    scan: Scan,
    path: AnyPath,
    *,
    extend: AnyPath | None = None,
    checkpoint: bool = True,
    client: Any = "auto",
    workers: int | None = None,
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | str | None = "auto",
    first: Mapping[str, tuple[float, float]] | None = None,
    allow_mixed: bool = False,
) -> xr.Dataset:
    """Run a scan into a store; what is already there stays, and only the rest is computed.

    Parameters
    ----------
    scan
        What to run.
    path
        The store, a folder or an object store's `s3://...`: what does not exist yet, or the store of the
        same scan.
    extend
        The store of another scan, finished or not, that has some of the same points: added axis values or
        replicates, another order, a parameter that became an axis. What it has of a point is taken over and
        the result is that of the scan run at once, bit for bit; the store itself is only read. All that
        determines a point's numbers must be the same: model, drive, protocol, seed, noise, observables,
        precision. The window may be longer, if the store has a checkpoint: its points go on from there.
    checkpoint
        Keep what a longer window can go on from: state, noise and sums of each point, about a hundred bytes.
        Not kept with a frequency, as the segments of a spectrum depend on the window, nor in a store that
        extends one without it.
    client
        Who computes: `"auto"` (the active Dask client, else threads of this process), `"threads"`,
        `"serial"`, a `distributed.Client`, or the address of a scheduler. Dask workers must see the paths.
    workers
        Threads, where they are used; by default this machine's cores, on a GPU two. With a cluster: begin
        when it has so many workers.
    chunk_points
        Points wanted in a chunk of a new store; by default about a second's work of the device, at most
        65536 on a processor and 262144 on a GPU, but of a sweep at least 128 and 4096 lines; up to four times
        that in a scan of more than 512 such chunks, eight times in one of more than half a million.
    progress
        `"auto"` (a bar in a terminal, nothing in a pipe), None, or a function that is called with a
        `Progress` at the start and after every chunk.
    first
        A region that is computed before the rest, as `{"eta": (-6.0, -4.0)}`: of each dimension the lowest
        and the highest value. The numbers are the same.
    allow_mixed
        Also take chunks from workers, or go on in a process, whose last bits are not those of the store, as
        those of another instruction set, device or version of JAX: refused otherwise. Such a chunk says so
        in its record, and the store in an attribute.

    Returns
    -------
    xarray.Dataset
        The finished dataset, lazily, as `open_scan` gives it.

    Raises
    ------
    ScanError
        If the scan can't fit on the disk, or into this machine's memory where it runs here.
    StoreError
        If `path` is the store of another scan, no store, damaged, or can't be written; or `extend` has no
        point of the scan.
    RunError
        If chunks could not be computed or written; the others are kept, and a rerun does the rest.
    RunInterrupted
        On Ctrl-C, after the chunks that were running have ended.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> found = qs.run(scan, "two_points.zarr", client="serial")
    >>> found["r_mean"].values.round(4)
    array([0.0713, 0.0983], dtype=float32)
    >>> found["status"].values
    array([1, 1], dtype=uint8)
    """
    execute(
        scan,
        path,
        extend=extend,
        checkpoint=checkpoint,
        client=client,
        workers=workers,
        chunk_points=chunk_points,
        progress=progress,
        first=first,
        allow_mixed=allow_mixed,
    )
    return reader.open_scan(path)


def execute(
    scan: Scan,
    path: AnyPath,
    *,
    extend: AnyPath | None,
    checkpoint: bool,
    client: Any,
    workers: int | None,
    chunk_points: int | None,
    progress: Any,
    first: Any = None,
    allow_mixed: bool = False,
) -> None:
    """Do what `run` does, and open nothing afterwards: xarray with dask takes a second to load."""
    check_is_scan(scan, path)
    _check_arguments(progress, checkpoint, allow_mixed)
    region = region_of(scan, first)
    place = located("path", path).absolute()
    chosen = executor(client, workers)
    found = _found(scan, place)
    older = None if extend is None else _to_extend(located("extend", extend).absolute(), place, scan, found)
    if older is not None:
        checkpoint = checkpoint and older.chunks.checkpoint > 0
        scan = adopted(scan, older.scan)
    left: list[int] | None = None
    if found is not None:
        # Equal but for rounding: the values of the store are kept.
        scan, left = _mended(found)
        if not left:
            return
    device, options = chosen.device(), chosen.options()
    if found is not None and not allow_mixed and not _is_new(found, left):
        store.check_options(found, options)
    if older is not None and not allow_mixed and chunk_files.finished(older):
        store.check_options(older, options)
    if older is not None:
        _warn_of_other_device(older, device)
    asked = _Wanted(chosen, device, options, region, allow_mixed, left)
    with reporter(progress) as report, _one_line_if_stopped(place, report):
        begun: Store | Plan = found or planned(scan, chosen.workers, chunk_points, checkpoint, device)
        if isinstance(begun, Plan):
            _check_size(begun, place, chosen.local)
        _computed(scan, place, begun, older, asked, report)


@dataclass(frozen=True)
class _Wanted:
    """Who computes, on which device and with which options of XLA, what first, whether last bits may differ,
    and which chunks are left of a store that was there."""

    chosen: Executor
    device: str
    options: str
    region: Region
    allow_mixed: bool
    left: list[int] | None


def _computed(
    scan: Scan, path: Where, begun: Store | Plan, older: Store | None, asked: _Wanted, report: Report
) -> None:
    """Make the store that is planned, or take the one that is there, and compute what it lacks."""
    chosen, compiling = asked.chosen, threading.Event()
    report.phase("compiling")
    # One core compiles the kernel without Python: meanwhile this thread makes the store, then the theory.
    with ThreadPoolExecutor(1) as aside:
        try:
            if isinstance(begun, Plan):
                draft = aside.submit(_once, compiling, store.draft, path, begun.chunks, asked.device)
            theory = aside.submit(_once, compiling, after_a_run, scan)
            if isinstance(begun, Plan):
                begun = _created(path, begun, draft, chosen.local, compiling.set)
        finally:
            compiling.set()
        opened, new = begun, _is_new(begun, asked.left)
        left = list(range(len(opened.chunks))) if asked.left is None else asked.left
        pending = in_order(opened.chunks, left, asked.region)
        extending = f", extending {older.path} ({older.scan.fingerprint[:12]})" if older else ""
        told = f"run of {len(pending)} chunks on {chosen.name}{extending}"
        store.begin_run(opened, told, asked.options if new else None)
        named = (scan.model, scan.observables)
        extend = str(older.path) if older else None
        work = partial(compute_chunk, extend=extend, named=named, mixed=asked.allow_mixed)
        try:
            with events.logged(path, told=told, chunks=len(pending), device=asked.device):
                report.phase("compiling")
                origin = _origin(opened, new, asked, named)
                admit = Admission.of(opened, origin, asked.allow_mixed, named)
                _run_pending(opened, asked, partial(chosen.outcomes, work, admit=admit), pending, report)
        finally:
            if older is not None:
                _tell_extended(opened, older)
        report.phase("adding the theory")
        _add_theory(opened, theory.result())


def _origin(opened: Store, new: bool, asked: _Wanted, named: Named) -> Origin | None:
    """Return what computes the chunks of a store, where that is known; of a new one it is what does.

    Raises `StoreError` where this process would compute other bits.
    """
    known = Origin.of(opened)
    if known is None and new:
        known = asked.chosen.asked(partial(origin_of, str(opened.path), named), "sample of numbers")
        store.change_attributes(opened, {ORIGIN: known.attributes()})
    elif known is None:
        _warn_of_other_device(opened, asked.device)
    elif asked.chosen.local and not asked.allow_mixed:
        differing = known.differences(Origin.here(opened.chunks))
        if differing:
            raise StoreError(
                f"{opened.path}: was begun with other last bits than this process computes ({differing}); "
                "allow_mixed=True (--allow-mixed) goes on, and each chunk says what computed it"
            )
    return known


@contextmanager
def _one_line_if_stopped(path: Where, report: Report) -> Iterator[None]:
    """Turn Ctrl-C, where no chunk is computed, into the error that one there raises."""
    try:
        yield
    except RunInterrupted:
        raise
    except KeyboardInterrupt:
        raise RunInterrupted(
            f"{path}: stopped while {report.now}; the same command goes on from there"
        ) from None


def _is_new(opened: Store, left: list[int] | None) -> bool:
    """Tell whether no chunk of a store is finished; `left` are those that are not, None of one just made."""
    return left is None or len(left) == len(opened.chunks)


def _mended(found: Store) -> tuple[Scan, list[int]]:
    """Put right what follows from the scan, such as a coordinate or the theory of a finished store; return
    the scan, and the chunks that are not finished."""
    seen = chunk_files.look(found)
    lines = integrity.mend(found, after_a_run, seen=seen)
    for line in lines:
        logger.warning("%s: %s; mended, or computed again", found.path, line)
    # What is missing of chunks changes none of the others.
    more = any(not line.startswith("chunk") for line in lines)
    return found.scan, _without(found, chunk_files.finished(found) if more else seen[0])


def _tell_extended(opened: Store, older: Store) -> None:
    """Store how many of the points that are there the older store had."""
    if not opened.recorded:
        return
    taken, continued = chunk_files.extended(opened)
    done = beginning(opened.chunks, _pending(opened)).points
    told = f"{taken} points taken over, {continued} continued, {done - taken - continued} new"
    told = f"{told}; from {older.path} ({older.scan.fingerprint[:12]})"
    store.change_attributes(opened, {"extended": told})
    logger.info("%s: %s", opened.path, told)


def _once(begun: threading.Event, work: Callable[..., Any], *arguments: Any) -> Any:
    begun.wait()
    return work(*arguments)


def _pending(opened: Store) -> list[int]:
    """Return the chunks of a store that are not finished."""
    return _without(opened, chunk_files.finished(opened))


def _without(opened: Store, done: set[int]) -> list[int]:
    return [chunk for chunk in range(len(opened.chunks)) if chunk not in done]


def _add_theory(opened: Store, found: Atlas) -> None:
    """Write the theory of a finished scan into its store; the scan is finished whatever becomes of it."""
    try:
        add_theory(opened, found)
    except StoreError as error:
        logger.warning("%s", error)
    except (ValueError, KeyError, OSError) as error:
        # The metadata were damaged meanwhile.
        logger.warning("%s: the theory can't be added (%s); verify --repair does", opened.path, short(error))


def _to_extend(extend: Where, path: Where, scan: Scan, found: Store | None) -> Store:
    """Return the store that is extended; raise `StoreError` if it has nothing for the run."""
    if extend.resolve() == path.resolve():
        raise StoreError(f"{path}: can't be the store that is extended and the new one; give another path")
    older = store.load(extend)
    extension.check(older, scan, 0 if found is None else found.chunks.checkpoint)
    return older


def _found(scan: Scan, path: Where) -> Store | None:
    """Return the store of the scan at `path`, if there is one."""
    if not drafts.exists(path):
        return None
    opened = store.load(path)
    store.check_scan(opened, scan)
    return opened


def _check_size(estimate: Plan, path: Where, local: bool) -> None:
    """Raise `ScanError` for what can be seen to be too large before anything is compiled."""
    estimate.check(path)
    if local and estimate.chunks.traces:
        replace(estimate, memory=least_memory(estimate.chunks, estimate.workers)).check(path)


def _created(
    path: Where, estimate: Plan, draft: Future[Draft], local: bool, compiling: Callable[[], None]
) -> Store:
    """Return the new store that is planned, if memory is enough; `compiling` is called when its draft may
    begin."""
    try:
        if local:
            # What is compiled for it is what the run compiles first.
            estimate = replace(estimate, memory=memory(estimate.chunks, estimate.workers, compiling))
            estimate.check(path)
        compiling()
        draft.result().place()
        return Store(path, estimate.chunks)
    except BaseException:
        compiling()
        if draft.exception() is None:
            draft.result().remove()
        raise


def _warn_of_other_device(opened: Store, device: str) -> None:
    begun, here = store.origin(opened), layout.provenance(device)
    differing = [
        f"{k} {begun.get(k)} -> {here[k]}" for k in ("device", "jax_version") if begun.get(k) != here[k]
    ]
    if differing:
        logger.warning(
            "%s was begun elsewhere (%s): new points may differ from it in the last bits",
            opened.path,
            ", ".join(differing),
        )


def _run_pending(
    opened: Store, asked: _Wanted, outcomes_of: Outcomes, pending: list[int], report: Report
) -> None:
    run = Running(opened, asked.device, beginning(opened.chunks, pending))
    report(run.state)
    outcomes = outcomes_of(str(opened.path), pending)
    ended: RunError | None = None
    try:
        for chunk, outcome in outcomes:
            if isinstance(outcome, BaseException):
                if run.is_over(chunk, outcome):
                    break
                continue
            report(run.counted(chunk, outcome))
    except KeyboardInterrupt:
        outcomes.close()
        left = len(opened.chunks) - len(chunk_files.finished(opened))
        raise RunInterrupted(
            f"{opened.path}: stopped with {left} of {len(opened.chunks)} chunks left; "
            "the same command goes on from there"
        ) from None
    except RunError as error:
        ended = error
    finally:
        outcomes.close()
    if run.failures or ended is not None:
        raise failed(opened, run.failures, ended)


def _check_arguments(progress: Any, checkpoint: Any, allow_mixed: Any) -> None:
    check_flag("checkpoint", checkpoint)
    check_flag("allow_mixed", allow_mixed)
    if not (progress is None or callable(progress) or progress == "auto"):
        expected = '"auto", None, or a function that takes a Progress'
        raise ScanError([Fault("progress", show(progress), expected)])
