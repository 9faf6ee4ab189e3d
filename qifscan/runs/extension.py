"""Extend a scan: which of its points an older store has, and a chunk of it computed from those and the rest.

A point is named by the values of all its parameters and its replicate, not by where it stands: axis values
may be added anywhere and reordered, axes zipped or taken apart, a fixed parameter may become an axis. Values
that are equal but for rounding are one, the older (`matching`). What else determines the numbers (model,
drive, protocol, seed, ...) must be the same. The older store is only read, and only its finished chunks are
used.

Over a longer window points go on from their checkpoints, which a store has unless its run was asked not to
keep them; traces are run from the start. A sweep is extended by whole lines: along other axes, not along
the one that is swept, and not by a longer window, as every point starts where the one before it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qifscan.dynamics.noise import point_keys
from qifscan.engine.chunks import Chunks
from qifscan.engine.measured import CHECKPOINT, Measured, diagnostics, merged
from qifscan.engine.points import Begun, Points
from qifscan.errors import StoreError, show
from qifscan.scan.axes import Axis
from qifscan.scan.matching import adopted, values_of
from qifscan.scan.scan import Scan
from qifscan.store import chunk_files
from qifscan.store.store import Store
from qifscan.store.values import read_points, read_traces

Array = np.ndarray[Any, Any]
Indices = tuple[Array, ...]
Part = tuple[Array, Measured]
"""Some rows of a chunk, and what came of their points."""
Run = Callable[[Chunks, int, Array, Begun | None], Measured]
"""Runs these rows of a chunk, from the start or from where they are: `chunk_work.run_chunk`."""

OF_POINTS = {"title", "axes", "dimensions", "fixed", "replicates", "traces"}
"""Parts of a scan's definition that tell which points it has; the rest tells what happens at each."""

OWN = {"initial", "window"}
"""Parts of a protocol of which the first is a parameter of the points, and the second may grow."""


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


def check(older: Store, scan: Scan, checkpoint: int) -> None:
    """Raise `StoreError`, naming what differs, if the store has nothing for a run of this scan."""
    scan = adopted(scan, older.scan)
    theirs, ours = _settings(older.scan), _settings(scan)
    if scan.protocol.window_steps < older.scan.protocol.window_steps:
        theirs["protocol.window"], ours["protocol.window"] = older.scan.protocol.window, scan.protocol.window
    differing = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    told = [f"{name} ({show(theirs.get(name))} there, {show(ours.get(name))} here)" for name in differing]
    there, here = values_of(older.scan), values_of(scan)
    apart = [n for n in {**there, **here} if not np.isin(here.get(n, ()), there.get(n, ())).any()]
    told += [f"{n} ({_listed(there.get(n))} there, {_listed(here.get(n))} here)" for n in apart]
    if told:
        raise StoreError(f"{older.path}: has no point of this scan; they differ in {', '.join(told)}")
    longer = _is_longer(scan, older.scan)
    if (longer or checkpoint) and not older.chunks.checkpoint:
        use = "a longer window can go on from" if longer else "a run with a checkpoint can take over"
        raise StoreError(
            f"{older.path}: has no checkpoint, and so nothing that {use}; run without extending it"
        )


def _settings(scan: Scan) -> dict[str, Any]:
    """Return what must be the same in two scans for a point of both to have the same numbers."""
    data = scan.definition()
    drive, protocol = data.pop("drive") or {"kind": None}, data.pop("protocol")
    numbers = set() if scan.drive is None else {p.name for p in scan.drive.numbers}
    settings = {name: value for name, value in data.items() if name not in OF_POINTS}
    settings |= {f"drive.{name}": value for name, value in drive.items() if name not in numbers}
    settings |= {f"protocol.{name}": value for name, value in protocol.items() if name not in OWN}
    if scan.protocol.sweep is not None:
        swept = scan.axes[scan.protocol.sweep]
        # A point depends on every one before it in its line; along a sweep values come in their order.
        values = swept.definition() if swept.zipped else sorted(swept.labels.tolist())
        settings[f"the values of {swept.name}, which is swept,"] = values
    # Without noise anywhere it is not compiled in, and the last bits are those of another program.
    return settings | {"the variables with noise": list(scan.noisy)}


def _listed(values: Array | None) -> str:
    return show(values[0] if values is not None and len(values) == 1 else values)


def compute(chunks: Chunks, chunk: int, older: Store, run: Run) -> Measured:
    """Return a chunk of a scan: what the older store has of it is read there, and only the rest is run."""
    indices = chunks.indices(chunk)
    if _is_longer(chunks.scan, older.scan):
        parts = [] if chunks.is_trace(chunk) else _continued(chunks, chunk, indices, older, run)
    elif chunks.is_trace(chunk):
        parts = _traces(chunks, indices, older)
    else:
        parts = _taken(chunks, indices, older)
    count = sum(len(rows) for rows, _ in parts)
    done = [rows for rows, _ in parts]
    missing = np.setdiff1d(np.arange(len(indices[0])), np.concatenate(done) if done else [])
    if len(missing):
        parts.append((missing, run(chunks, chunk, missing, None)))
    whole = parts[0][1] if len(parts) == 1 else merged(len(indices[0]), parts)
    longer = _is_longer(chunks.scan, older.scan)
    return replace(whole, taken=0 if longer else count, continued=count if longer else 0)


def _is_longer(scan: Scan, older: Scan) -> bool:
    return scan.protocol.window_steps > older.protocol.window_steps


def _grid_indices(chunks: Chunks, indices: Indices, older: Store) -> tuple[Indices, Array]:
    """Return the indices of points in the older store, and whether it has finished them."""
    scan, theirs = chunks.scan, older.chunks
    replicate = indices[-1] if scan.replicates > 1 else np.zeros_like(indices[0])
    found, has = located(theirs.scan, scan.columns(indices[: len(scan.axes)] or (replicate,)), replicate)
    place = [np.where(has, index, 0) // length for index, length in zip(found, theirs.shape, strict=True)]
    chunk = np.ravel_multi_index(place, theirs.counts) if place else np.zeros_like(replicate)
    return found, has & _finished(older, chunk, has)


def _finished(older: Store, chunk: Array, has: Array) -> Array:
    """Whether the chunk that holds a point is finished, of the points that the store has."""
    finished = [one for one in np.unique(chunk[has]).tolist() if chunk_files.is_finished(older, one)]
    return np.isin(chunk, finished)


def _taken(chunks: Chunks, indices: Indices, older: Store) -> list[Part]:
    """Return what the older store has of points over the same window."""
    found, has = _grid_indices(chunks, indices, older)
    if not has.any():
        return []
    read = read_points(older, _place(older, found, has))
    count = len(read["status"])
    # Whether a point has come to rest is not told in a scan of which every point has noise.
    variables = {n: np.full(count, row.fill, row.dtype) for n, row in diagnostics(chunks.scan).items()}
    names = (*chunks.scan.measures, *variables, *([CHECKPOINT] if chunks.checkpoint else []))
    variables |= {name: read[name] for name in names if name in read}
    return [(np.flatnonzero(has), Measured(variables, read["status"], None))]


def _continued(chunks: Chunks, chunk: int, indices: Indices, older: Store, run: Run) -> list[Part]:
    """Go on with points that the older store has over a shorter window, from their checkpoints there."""
    found, has = _grid_indices(chunks, indices, older)
    if not has.any():
        return []
    scan, rows = chunks.scan, np.flatnonzero(has)
    read = read_points(older, _place(older, found, has))
    redos = read["redo_count"]
    halvings = Points.of(scan, tuple(index[has] for index in indices)).steps().halvings + redos
    # A longer run may not be halved as often, so that its steps can be counted: then it begins anew.
    dt = (scan.protocol.base * 0.5**halvings).astype(np.float32)
    same = (halvings <= scan.protocol.most_halvings) & (dt == read["dt"])
    # An empty checkpoint is that of a point that was run again until two runs agreed.
    same &= read[CHECKPOINT].any(axis=1)
    parts = []
    # Refined points bridge the path of noise, which needs a second compiled program.
    for chosen in (same & (redos == 0), same & (redos > 0)):
        if chosen.any():
            begun = Begun(older.scan.protocol.window_steps, redos[chosen], read[CHECKPOINT][chosen])
            parts.append((rows[chosen], run(chunks, chunk, rows[chosen], begun)))
    return parts


def _traces(chunks: Chunks, indices: Indices, older: Store) -> list[Part]:
    """Return what the older store has of a batch of traces."""
    theirs = older.chunks
    if not theirs.traces or theirs.trace_schedule.every != chunks.trace_schedule.every:
        return []
    found, has = _grid_indices(chunks, indices, older)
    row_of = {index: row for row, index in enumerate(theirs.scan.trace_indices)}
    places = zip(*(index.tolist() for index in found), strict=True) if found else [()] * len(has)
    rows = np.array([row_of.get(place, -1) for place in places])
    has &= rows >= 0
    has &= _finished(older, theirs.grid + rows // theirs.trace_batch, has)
    if not has.any():
        return []
    record, status = read_traces(older, rows[has])
    return [(np.flatnonzero(has), Measured({}, status, record))]


def _place(older: Store, found: Indices, has: Array) -> dict[str, Array]:
    return {name: index[has] for name, index in zip(older.scan.sizes, found, strict=True)}
