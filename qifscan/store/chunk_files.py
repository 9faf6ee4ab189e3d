"""The files of a chunk: where they are, whether they are finished, damaged, or to be thrown away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import record
from qifscan.dynamics.status import Status
from qifscan.engine.measured import CHECKPOINT, grid_names, trace_names
from qifscan.errors import StoreError
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
    import zarr.codecs

    from qifscan.store.store import Store
else:
    zarr = LazyModule("zarr")


Array = np.ndarray[Any, Any]


def row_path(store: Store, chunk: int) -> Path:
    """Return the file that holds the row of a chunk."""
    name = "traces" if store.chunks.is_trace(chunk) else "points"
    return store.path.joinpath(record.RECORD, name, "c", *map(str, store.chunks.position(chunk)), "0")


def row(store: Store, chunk: int) -> record.Row | None:
    """Return what is recorded of a chunk."""
    names = trace_names(store.chunks) if store.chunks.is_trace(chunk) else grid_names(store.chunks)
    return record.read_row(row_path(store, chunk), len(names))


def digest_of(store: Store, chunk: int, name: str, values: Array) -> int:
    """Return the digest of an array of a chunk."""
    return record.digest(f"{store.scan.fingerprint} {name} {chunk}".encode(), values)


def files_of(store: Store, chunk: int) -> dict[str, Path]:
    """Return the file of each array of a chunk."""
    position = store.chunks.position(chunk)
    if store.chunks.is_trace(chunk):
        places = dict.fromkeys(trace_names(store.chunks), (*position, 0)) | {"trace_status": position}
    else:
        places = {name: (*position, *place_within(name)) for name in grid_names(store.chunks)}
    return {n: store.path.joinpath(n, "c", *map(str, place)) for n, place in places.items()}


def status(store: Store) -> Array:
    """Return the status of every point; chunks that can't be read count as not run."""
    values = np.zeros(tuple(store.scan.sizes.values()), dtype=np.uint8)
    try:
        array = arrays_of(store)["status"]
    except StoreError:
        return values
    for chunk in finished(store):
        if not store.chunks.is_trace(chunk):
            region = store.chunks.region(chunk)
            with suppress(Exception):
                values[region] = array[region]
    return values


def incomplete(store: Store) -> set[int]:
    """Return the chunks that have been finished, and of which files are missing or have another size."""
    chunks, done = store.chunks, finished(store)
    begun = {chunks.at(place) for place in _positions(store, "status", len(chunks.counts))}
    if chunks.traces:
        begun |= {chunks.grid + i for (i,) in _positions(store, "trace_status", 1)}
    rows = {c for c in range(len(chunks)) if store.recorded and c not in done and row(store, c) is not None}
    return (begun | rows) - done


def extended(store: Store) -> tuple[int, int]:
    """Return how many points of the finished chunks were taken over from an older store, and continued."""
    rows = [row(store, chunk) for chunk in sorted(finished(store)) if not store.chunks.is_trace(chunk)]
    return sum(each.taken for each in rows if each), sum(each.continued for each in rows if each)


def identity(path: str | Path) -> tuple[int, int]:
    """Return what tells this store from any other that has been, or will be, at the same path.

    The inode alone does not: a file system gives it again to the next folder that is made there.
    """
    metadata = os.stat(path)
    with suppress(FileNotFoundError):
        metadata = os.stat(os.path.join(path, "zarr.json"))
    return metadata.st_ino, metadata.st_mtime_ns


def arrays_of(store: Store) -> Mapping[str, Any]:
    """Return the arrays of a store by name, open."""
    names = (*grid_names(store.chunks), *trace_names(store.chunks))
    return _opened_arrays(str(store.path), identity(store.path), names)


@lru_cache(maxsize=8)
def _opened_arrays(path: str, identity: tuple[int, int], names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the arrays of a store, opened once per process and run."""
    try:
        # One by one: what is wrong with the root's metadata is no concern of its arrays.
        arrays = {name: zarr.open_array(os.path.join(path, name), mode="r+") for name in names}
    except (KeyError, ValueError, TypeError, FileNotFoundError) as error:
        reason = str(error).strip("'\"")
        raise StoreError(f"{path}: its arrays can't be read ({reason}); the store is damaged") from None
    # An all-NaN chunk is a result like any other; without this it would not be written, and a chunk
    # that was lost could not be told from it.
    return {name: array.with_config({"write_empty_chunks": True}) for name, array in arrays.items()}


def finished(store: Store) -> set[int]:
    """Return the chunks that are on disk with everything that belongs to them.

    A status chunk says that its chunk was finished; one whose files have since been lost or emptied is not
    counted, so that a rerun computes it again.
    """
    chunks = store.chunks
    depth = len(chunks.counts)
    places = [_positions(store, name, depth + len(place_within(name))) for name in grid_names(chunks)]
    found = {chunks.at(place) for place in set.intersection(*({p[:depth] for p in each} for each in places))}
    if chunks.traces:
        *traces, status_name = trace_names(chunks)
        traced = {(i, 0) for (i,) in _positions(store, status_name, 1)}
        traced = set.intersection(traced, *(_positions(store, name, 2) for name in traces))
        found |= {chunks.grid + i for i, _ in traced}
    return {chunk for chunk in found if _as_recorded(store, chunk)} if store.recorded else found


def _as_recorded(store: Store, chunk: int) -> bool:
    """Whether the files of a chunk are as large as they were when they were written."""
    known = row(store, chunk)
    if known is None:
        return False
    try:
        return [os.stat(file).st_size for file in files_of(store, chunk).values()] == known.sizes
    except OSError:
        return False


def is_finished(store: Store, chunk: int) -> bool:
    """Whether a chunk is on disk with everything that belongs to it."""
    there = all(_has_content(file) for file in files_of(store, chunk).values())
    return there and (not store.recorded or _as_recorded(store, chunk))


def place_within(name: str) -> tuple[int, ...]:
    """Return the place along the dimensions that an array has beside those of the scan."""
    return (0,) if name == CHECKPOINT else ()


def _positions(store: Store, name: str, dimensions: int) -> set[tuple[int, ...]]:
    """Return the places of an array's chunks that are on disk and not empty."""
    root = store.path / name / "c"
    if dimensions == 0:
        return {()} if _has_content(root) else set()
    found: set[tuple[int, ...]] = set()
    _walk(str(root), (), dimensions, found)
    return found


def _walk(folder: str, place: tuple[int, ...], depth: int, found: set[tuple[int, ...]]) -> None:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        # Anything but a number is a killed writer's `.partial` file, and a link is no part of a store.
        if not entry.name.isdigit() or entry.is_symlink():
            continue
        here = (*place, int(entry.name))
        if depth > 1:
            _walk(entry.path, here, depth - 1, found)
        elif entry.is_file() and entry.stat().st_size > 0:
            found.add(here)


def _has_content(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size > 0


def damaged(store: Store, chunks: set[int]) -> dict[int, str]:
    """Read every array of these chunks; return those that can't be read, with the reason."""
    arrays = arrays_of(store)
    faults = {}
    for chunk in sorted(chunks):
        trace = store.chunks.is_trace(chunk)
        names = trace_names(store.chunks) if trace else grid_names(store.chunks)
        known = row(store, chunk) if store.recorded else None
        for i, name in enumerate(names):
            try:
                values = arrays[name][store.chunks.region(chunk)]
            except Exception as error:  # noqa: BLE001 - a codec may raise anything on damaged bytes
                faults[chunk] = f"{name} can't be read: {str(error).splitlines()[0]}"
                break
            if known is not None and known.digests[i] != digest_of(store, chunk, name, values):
                faults[chunk] = f"{name} has other values than were written there"
                break
            if name.endswith("status") and not np.all(values & int(Status.computed)):
                faults[chunk] = f"{name} says that points are not run"
    return faults


def discard(store: Store, chunk: int) -> None:
    """Take back a chunk's status, so that the next run computes it again."""
    name = "trace_status" if store.chunks.is_trace(chunk) else "status"
    files = files_of(store, chunk)
    for file in (*files.values(), row_path(store, chunk)):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
    for file in (files[name], row_path(store, chunk)):
        file.unlink(missing_ok=True)
