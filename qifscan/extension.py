"""Extend a scan: which of its points an older store has, and a chunk of it computed from those and the rest.

A point is named by the values of all its parameters and its replicate, not by where it stands: axis values
may be added anywhere and reordered, axes zipped or taken apart, a fixed parameter may become an axis. What
else determines the numbers (model, drive, protocol, seed, ...) must be the same. The older store is only
read, and only its finished chunks are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan import store
from qifscan.axes import Axis
from qifscan.chunks import Chunks
from qifscan.drive import DRIVES
from qifscan.errors import StoreError, show
from qifscan.noise import point_keys
from qifscan.points import Measured, diagnostics
from qifscan.scan import Scan
from qifscan.store import Store

Array = np.ndarray[Any, Any]
Indices = tuple[Array, ...]

OF_POINTS = {"title", "axes", "dimensions", "fixed", "replicates", "traces"}
"""Parts of a scan's definition that tell which points it has; the rest tells what happens at each."""


def located(scan: Scan, columns: Mapping[str, Array], replicate: Array) -> tuple[Indices, Array]:
    """Return the index of points along every dimension of a scan, and whether the scan has them.

    `columns` holds every parameter of the points, as `Scan.columns` gives them. Where the scan does not have
    a point its indices mean nothing.
    """
    first = scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes))
    swept = {name for axis in scan.axes.values() for name in axis.columns}
    has = np.full(len(replicate), first.keys() == columns.keys()) & (replicate < scan.replicates)
    if not np.any(has):
        return tuple(np.zeros_like(replicate) for _ in scan.sizes), has
    for name in first.keys() - swept:
        has &= columns[name] == first[name]
    indices = []
    for axis in scan.axes.values():
        index, found = _along(axis, columns)
        indices.append(index)
        has &= found
    return (*indices, *([replicate] if scan.replicates > 1 else [])), has


def _along(axis: Axis, columns: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return where on an axis the values of points are, and whether they are on it."""

    def keys(values: Mapping[str, Array]) -> Array:
        named = {name: values[name] for name in axis.columns}
        return point_keys(0, named, np.zeros(len(next(iter(named.values()))), dtype=int))

    of_axis = keys(axis.columns)
    order = np.argsort(of_axis)
    place = np.searchsorted(of_axis, keys(columns), sorter=order)
    index = order[np.minimum(place, len(order) - 1)]
    # A hash only says where to look.
    return index, np.all([column[index] == columns[name] for name, column in axis.columns.items()], axis=0)


@dataclass(frozen=True)
class Older:
    """A store that is extended, and which chunks of it are finished, `(chunks,)`."""

    store: Store
    finished: Array

    @classmethod
    def of(cls, opened: Store) -> Older:
        """Return what can be used of a store."""
        finished = np.zeros(len(opened.chunks), dtype=bool)
        finished[list(store.finished(opened))] = True
        return cls(opened, finished)


def check(older: Store, scan: Scan) -> None:
    """Raise `StoreError`, naming what differs, if a scan can't have a point that the store has."""
    theirs, ours = _settings(older.scan), _settings(scan)
    differing = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    told = [f"{name} ({show(theirs.get(name))} there, {show(ours.get(name))} here)" for name in differing]
    there, here = _values(older.scan), _values(scan)
    apart = [n for n in {**there, **here} if not np.isin(here.get(n, ()), there.get(n, ())).any()]
    told += [f"{n} ({_listed(there.get(n))} there, {_listed(here.get(n))} here)" for n in apart]
    if told:
        raise StoreError(f"{older.path}: has no point of this scan; they differ in {', '.join(told)}")


def _settings(scan: Scan) -> dict[str, Any]:
    """Return what must be the same in two scans for a point of both to have the same numbers."""
    data = scan.definition()
    drive, protocol = data.pop("drive") or {"kind": None}, data.pop("protocol")
    numbers = {p.name for p in DRIVES[drive["kind"]].numbers} if drive["kind"] else set()
    settings = {name: value for name, value in data.items() if name not in OF_POINTS}
    settings |= {f"drive.{name}": value for name, value in drive.items() if name not in numbers}
    settings |= {f"protocol.{name}": value for name, value in protocol.items() if name != "initial"}
    # Without noise anywhere it is not compiled in, and the last bits are those of another program.
    return settings | {"the variables with noise": list(scan.noisy)}


def _values(scan: Scan) -> dict[str, Array]:
    """Return the values that each parameter has anywhere in a scan."""
    swept = {name: column for axis in scan.axes.values() for name, column in axis.columns.items()}
    return scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes)) | swept


def _listed(values: Array | None) -> str:
    return show(values[0] if values is not None and len(values) == 1 else values)


def compute(chunks: Chunks, chunk: int, older: Older) -> Measured:
    """Return a chunk of a scan: what the older store has of it is read there, and only the rest is run."""
    indices = chunks.indices(chunk)
    traced = chunks.is_trace(chunk)
    rows, has = _trace_rows(chunks, indices, older) if traced else _grid_indices(chunks, indices, older)
    parts = []
    if has.any():
        kept = tuple(row[has] for row in rows)
        parts.append(_read_traces(older.store, kept) if traced else _read(chunks.scan, older.store, kept))
    if not has.all():
        parts.append(chunks.compute(chunk, np.flatnonzero(~has)))
    return parts[0] if len(parts) == 1 else _merged(has, *parts)


def _grid_indices(chunks: Chunks, indices: Indices, older: Older) -> tuple[Indices, Array]:
    """Return the indices of points in the older store, and whether it has finished them."""
    scan, theirs = chunks.scan, older.store.chunks
    replicate = indices[-1] if scan.replicates > 1 else np.zeros_like(indices[0])
    found, has = located(theirs.scan, scan.columns(indices[: len(scan.axes)] or (replicate,)), replicate)
    place = [np.where(has, index, 0) // length for index, length in zip(found, theirs.shape, strict=True)]
    chunk = np.ravel_multi_index(place, theirs.counts) if place else np.zeros_like(replicate)
    return found, has & older.finished[chunk]


def _trace_rows(chunks: Chunks, indices: Indices, older: Older) -> tuple[Indices, Array]:
    """Return the traces of points in the older store, and whether it has finished them."""
    theirs = older.store.chunks
    found, has = _grid_indices(chunks, indices, older)
    if not theirs.traces or theirs.trace_schedule.every != chunks.trace_schedule.every:
        return (np.zeros(len(has), dtype=int),), np.zeros_like(has)
    row_of = {index: row for row, index in enumerate(theirs.scan.trace_indices)}
    places = zip(*(index.tolist() for index in found), strict=True) if found else [()] * len(has)
    rows = np.array([row_of.get(place, -1) for place in places])
    batch = theirs.grid + np.maximum(rows, 0) // theirs.trace_batch
    return (rows,), has & (rows >= 0) & older.finished[batch]


def _read(scan: Scan, older: Store, indices: Indices) -> Measured:
    read = store.read_points(older, dict(zip(older.scan.sizes, indices, strict=True)))
    count = len(read["status"])
    # Whether a point has come to rest is not told in a scan of which every point has noise.
    variables = {n: np.full(count, row.fill, row.dtype) for n, row in diagnostics(scan).items()}
    variables |= {name: read[name] for name in (*scan.observables, *variables) if name in read}
    return Measured(variables, read["status"], None)


def _read_traces(older: Store, rows: Indices) -> Measured:
    record, status = store.read_traces(older, *rows)
    return Measured({}, status, record)


def _merged(has: Array, there: Measured, new: Measured) -> Measured:
    """Return points of which some were there and the others are new."""

    def both(old: Array, others: Array) -> Array:
        values = np.empty((len(has), *old.shape[1:]), old.dtype)
        values[has], values[~has] = old, others
        return values

    variables = {name: both(values, new.variables[name]) for name, values in there.variables.items()}
    record = both(there.record, new.record) if there.record is not None and new.record is not None else None
    return Measured(variables, both(there.status, new.status), record)
