"""The dataset on disk: create it, write a chunk, tell what is finished, open it. The only user of zarr.

A chunk of the scan is one whole chunk of every array, written by one task; `status` is written last, so its
chunk is the record that the rest is there. Status 0 means "not run" and is the fill value, never a result.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import platform
import re
import shutil
import threading
import uuid
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from qifscan import __version__, backend, record
from qifscan.catalogue import model_named
from qifscan.chunks import Chunks
from qifscan.errors import StoreError, UnknownModel, short
from qifscan.initial import NAMED_STATES
from qifscan.lazy import LazyModule
from qifscan.matching import adopted
from qifscan.observables import STATUS_MEANINGS, Status, observables
from qifscan.place import local
from qifscan.points import CHECKPOINT, Measured, diagnostics
from qifscan.scan import Scan

if TYPE_CHECKING:
    import asyncio

    import xarray as xr
    import zarr
    import zarr.codecs
else:
    asyncio = LazyModule("asyncio")
    xr = LazyModule("xarray")
    zarr = LazyModule("zarr")


logger = logging.getLogger(__name__)

OPTIONS = "qifscan_options"
"""The attribute that says which options of XLA the numbers of a store depend on."""

STALE_SECONDS = 600
"""Age at which a `.partial` file, left by a killed writer, is swept away."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Store:
    """An existing store: its path, the scan that it belongs to, and how that is cut."""

    path: Path
    chunks: Chunks
    recorded: bool = True
    """Whether it has a record of its chunks; stores of earlier versions have none."""

    @property
    def scan(self) -> Scan:
        """The scan that the store belongs to."""
        return self.chunks.scan


@dataclass(frozen=True)
class Draft:
    """A new store that is not yet at its path: where it lies, and what folders were made to hold it."""

    store: Store
    partial: Path
    folders: tuple[Path, ...]

    def place(self) -> Store:
        """Move the store to its path."""
        try:
            self.partial.rename(self.store.path)
        except OSError as error:
            self.remove()
            raise _unwritten(self.store.path, error) from error
        return self.store

    def remove(self) -> None:
        """Take back everything that was written for the store."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


@dataclass(frozen=True)
class _Variable:
    """An array of the dataset, as it is created."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    fill: Any
    attributes: dict[str, Any]


def create(path: Path, chunks: Chunks, device: str) -> Store:
    """Create the store of a scan: every array, coordinate and attribute, and no result.

    `device` is what will compute it, as `backend.device` gives it.
    """
    return draft(path, chunks, device).place()


def draft(path: Path, chunks: Chunks, device: str) -> Draft:
    """Build the store of a scan beside `path`, to be renamed: a store is either whole or not there."""
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise StoreError(f"{path}: can't be written ({blocked} is a file); nothing was written")
    folders = tuple(folder for folder in path.parents if not folder.exists())
    if path.parent.exists():
        sweep_beside(path)
    made = Draft(Store(path, chunks), beside(path), folders)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_template(made.partial, chunks, device)
    except BaseException as error:
        made.remove()
        if isinstance(error, OSError):
            raise _unwritten(path, error) from error
        raise
    return made


def beside(path: Path) -> Path:
    """Return a new name beside a store for what is to be moved there, with the machine and process in it."""
    return path.with_name(f"{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def sweep_beside(path: Path) -> None:
    """Remove what killed processes have left beside a store: those of this machine, or old ones."""
    pattern = re.compile(re.escape(path.name) + r"\.(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{8}\.partial")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is None or entry.is_symlink() or not entry.is_dir():
            continue
        known = found[1] == _machine()
        old = entry.stat().st_mtime < datetime.now(UTC).timestamp() - STALE_SECONDS
        if (known and not psutil.pid_exists(int(found[2]))) or (old and not known):
            shutil.rmtree(entry.path, ignore_errors=True)


def _unwritten(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: can't be written ({error.strerror or error}); nothing was written")


def load(path: Path) -> Store:
    """Return the store at `path`; raise `StoreError` if it is not one, or not readable."""
    try:
        return _loaded(path, record.attributes(path))
    except UnknownModel:
        raise
    except StoreError as error:
        kept = record.read(path)
        if kept is None:
            raise
        again = _loaded(path, kept["attributes"])
        logger.warning("%s; read from their second copy; qifscan verify --repair puts them back", error)
        return again


def _loaded(path: Path, attributes: Mapping[str, Any]) -> Store:
    scan = Scan.from_attributes(path, attributes)
    try:
        checkpoint = int(attributes.get("qifscan_checkpoint", 0))
        chunks = Chunks(scan, tuple(attributes["qifscan_chunk_shape"]), checkpoint)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: how it is cut can't be read from its attributes ({short(error)}); the store is damaged"
        ) from None
    return Store(path, chunks, bool(attributes.get("qifscan_record")))


def exists(path: Path) -> bool:
    """Whether anything is at `path`."""
    return path.exists()


def check_scan(store: Store, scan: Scan) -> None:
    """Raise `StoreError`, naming both scans and what differs, if the store belongs to another scan."""
    if scan.fingerprint == store.scan.fingerprint:
        return
    # A value that differs by rounding is the same, and the store keeps its own.
    scan = adopted(scan, store.scan)
    if scan.fingerprint == store.scan.fingerprint:
        return
    theirs, ours = store.scan.definition(), scan.definition()
    differing = [key for key in ours if key != "title" and ours[key] != theirs.get(key)]
    name = f'"{store.scan.title}" ' if store.scan.title else ""
    raise StoreError(
        f"{store.path}: belongs to another scan, {name}{store.scan.fingerprint[:12]}, "
        f"not {scan.fingerprint[:12]}; "
        f"they differ in {', '.join(differing)}; give another path, or remove the store"
    )


def _write_template(path: Path, chunks: Chunks, device: str) -> None:
    group = zarr.create_group(store=str(path), zarr_format=3)
    for name, variable in _variables(chunks).items():
        group.create_array(
            name=name,
            shape=variable.shape,
            chunks=variable.chunks,
            dtype=variable.dtype,
            fill_value=variable.fill,
            dimension_names=variable.dims,
            attributes=variable.attributes,
            compressors=codecs(name),
        )
    for name, dim, values, attributes in _coordinates(chunks):
        text = values.dtype.kind in "US"
        coordinate = group.create_array(
            name=name,
            shape=values.shape,
            chunks=(max(len(values), 1),),
            dtype="string" if text else values.dtype,
            dimension_names=(dim,),
            attributes=attributes,
        )
        coordinate[:] = values.astype(object) if text else values
    for name, counts, arrays in _rows(chunks):
        length = record.words(len(arrays))
        group.create_array(
            name=name,
            shape=(*counts, length),
            chunks=(*(1 for _ in counts), length),
            dtype="uint64",
            dimension_names=(*(f"chunk_{i}" for i in range(len(counts))), "word"),
            compressors=None,
        )
    attributes = _template_attributes(chunks) | provenance(device)
    record.write(path, attributes)
    record.seal(path, attributes)


def _rows(chunks: Chunks) -> Iterator[tuple[str, tuple[int, ...], list[str]]]:
    """Return the arrays that hold the rows of chunks: name, number of rows, and of which arrays."""
    yield f"{record.RECORD}/points", chunks.counts, _grid_names(chunks)
    if chunks.traces:
        yield f"{record.RECORD}/traces", (len(chunks) - chunks.grid,), _trace_names(chunks)


def _row_path(store: Store, chunk: int) -> Path:
    name = "traces" if store.chunks.is_trace(chunk) else "points"
    return store.path.joinpath(record.RECORD, name, "c", *map(str, store.chunks.position(chunk)), "0")


def row(store: Store, chunk: int) -> record.Row | None:
    """Return what is recorded of a chunk."""
    names = _trace_names(store.chunks) if store.chunks.is_trace(chunk) else _grid_names(store.chunks)
    return record.read_row(_row_path(store, chunk), len(names))


def digest_of(store: Store, chunk: int, name: str, values: Array) -> int:
    """Return the digest of an array of a chunk."""
    return record.digest(f"{store.scan.fingerprint} {name} {chunk}".encode(), values)


def _files(store: Store, chunk: int) -> dict[str, Path]:
    """Return the file of each array of a chunk."""
    position = store.chunks.position(chunk)
    if store.chunks.is_trace(chunk):
        places = dict.fromkeys(_trace_names(store.chunks), (*position, 0)) | {"trace_status": position}
    else:
        places = {name: (*position, *_within(name)) for name in _grid_names(store.chunks)}
    return {n: store.path.joinpath(n, "c", *map(str, place)) for n, place in places.items()}


def codecs(name: str) -> list[Any]:
    """Return how the chunks of an array are packed."""
    # The checksum is what finds a flipped bit, which zstd by itself does not.
    checksum = zarr.codecs.Crc32cCodec()
    if name == CHECKPOINT:
        return [checksum]  # it consists of low bits, which don't get smaller
    # Shuffled zstd is the smallest of those measured on rate maps (1.7 times).
    return [zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"), checksum]


def _variables(chunks: Chunks) -> dict[str, _Variable]:
    scan = chunks.scan
    dims, shape = tuple(scan.sizes), tuple(scan.sizes.values())
    rows = observables(model_named(scan.model))
    variables = {
        name: _Variable(
            dims, shape, chunks.shape, scan.precision, np.nan, _attrs(rows[name].unit, rows[name].meaning)
        )
        for name in scan.observables
    }
    variables |= {
        row.name: _Variable(dims, shape, chunks.shape, row.dtype, row.fill, row.attributes)
        for row in diagnostics(scan).values()
    }
    if chunks.checkpoint:
        size, told = chunks.checkpoint, {"long_name": "state of the run, for a longer window to go on from"}
        variables[CHECKPOINT] = _Variable(
            (*dims, "byte"), (*shape, size), (*chunks.shape, size), "uint8", 0, told
        )
    variables["status"] = _Variable(dims, shape, chunks.shape, "uint8", 0, _status_attributes("point"))
    return variables | (_trace_variables(chunks) if chunks.traces else {})


def _trace_variables(chunks: Chunks) -> dict[str, _Variable]:
    rows, count, batch = chunks.trace_schedule.rows, chunks.traces, chunks.trace_batch
    variables = {
        f"{v.name}_trace": _Variable(
            ("trace", "time"),
            (count, rows),
            (batch, rows),
            chunks.scan.precision,
            np.nan,
            _attrs(v.unit, v.meaning),
        )
        for v in model_named(chunks.scan.model).variables
    }
    status = _Variable(("trace",), (count,), (batch,), "uint8", 0, _status_attributes("trace"))
    return variables | {"trace_status": status}


def _attrs(unit: str, meaning: str) -> dict[str, Any]:
    return {"units": unit, "long_name": meaning}


def _status_attributes(subject: str) -> dict[str, Any]:
    return {
        "long_name": f"how the {subject} ended; 0: not run",
        "flag_masks": [int(flag) for flag in Status],
        "flag_meanings": " ".join(str(flag.name) for flag in Status),
        "comment": "; ".join(f"{flag.name}: {meaning}" for flag, meaning in STATUS_MEANINGS.items()),
    }


def _coordinates(chunks: Chunks) -> Iterator[tuple[str, str, Array, dict[str, Any]]]:
    scan = chunks.scan
    for axis in scan.axes.values():
        if axis.zipped:
            yield axis.name, axis.name, axis.labels, {"long_name": "number of the parameter set"}
        for name, column in axis.columns.items():
            yield name, axis.name, column, parameter_attributes(scan, name)
    if scan.replicates > 1:
        yield "replicate", "replicate", np.arange(scan.replicates), {"long_name": "number of the replicate"}
    if chunks.traces:
        yield from _trace_coordinates(chunks)


def _trace_coordinates(chunks: Chunks) -> Iterator[tuple[str, str, Array, dict[str, Any]]]:
    scan, every = chunks.scan, chunks.scan.traces.every if chunks.scan.traces else 1
    times = np.arange(chunks.trace_schedule.rows) * every * scan.protocol.base
    yield "time", "time", times, _attrs("ms", "time from the start of the run")
    indices = [np.array(column) for column in zip(*scan.trace_indices, strict=True)]
    for (dim, _), index in zip(scan.sizes.items(), indices, strict=True):
        values = scan.axes[dim].labels if dim in scan.axes else np.arange(scan.replicates)
        yield f"trace_{dim}", "trace", values[index], {"long_name": f"{dim} of the trace"}


def parameter_attributes(scan: Scan, name: str) -> dict[str, Any]:
    """Return the attributes of the coordinate of a parameter."""
    if name == "initial":
        return {"long_name": "initial state", "comment": f"one of {', '.join(NAMED_STATES)}"}
    if name == "direction":
        return {"long_name": f"direction of the sweep along {scan.protocol.sweep}"}
    parameter = scan.parameters[name]
    return _attrs(parameter.unit, parameter.meaning)


def _template_attributes(chunks: Chunks) -> dict[str, Any]:
    scan = chunks.scan
    model = model_named(scan.model)
    created = now()
    return {
        "Conventions": "CF-1.11",
        "title": scan.title or f"scan of {scan.model}",
        "source": f"qifscan {__version__}: {model.meaning}",
        "references": model.reference,
        "created": created,
        "history": f"{created} created by qifscan {__version__}",
        "qifscan_schema": record.SCHEMA,
        "qifscan_record": 1,
        "qifscan_variables": [*_grid_names(chunks), *_trace_names(chunks)],
        "qifscan_coordinates": [name for name, *_ in _coordinates(chunks)],
        "qifscan_scan": scan.to_json(),
        "qifscan_fingerprint": scan.fingerprint,
        "qifscan_chunk_shape": list(chunks.shape),
        "qifscan_checkpoint": chunks.checkpoint,
        "dtype": scan.precision,
    }


def provenance(device: str) -> dict[str, str]:
    """Return the versions that numbers of this device come from, with the device."""
    packages = ("jax", "jaxlib", "numpy", "xarray", "zarr", "dask")
    versions = {f"{name}_version": version(name) for name in packages}
    return {
        "qifscan_version": __version__,
        "python_version": platform.python_version(),
        **versions,
        "device": device,
    }


def now() -> str:
    """Return the time as it stands in attributes."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def origin(store: Store) -> dict[str, Any]:
    """Return the attributes that tell where a store was begun."""
    return attributes_of(store)


def read_points(store: Store, place: Mapping[str, Array]) -> dict[str, Array]:
    """Return every variable of the grid at the points of these indices, `(points, ...)` each."""
    chunks, indices = store.chunks, tuple(place[dim] for dim in store.scan.sizes)

    def chosen(array: Any) -> Array:
        if not indices:
            return np.asarray(array[()])[None]
        where = [i // length for i, length in zip(indices, chunks.shape, strict=True)]
        chunk = np.ravel_multi_index(where, chunks.counts)
        values = np.empty((len(chunk), *array.shape[len(indices) :]), array.dtype)
        for one in np.unique(chunk).tolist():
            here, region = chunk == one, chunks.region(one)
            within = tuple(i[here] - part.start for i, part in zip(indices, region, strict=True))
            values[here] = array[region][within]
        return values

    return _selected(store, _grid_names(store.chunks), chosen)


def read_traces(store: Store, rows: Array) -> tuple[Array, Array]:
    """Return the record `(rows, times, variables)` and the status of these traces."""
    read = _selected(store, _trace_names(store.chunks), lambda array: array.oindex[rows])
    status = read.pop("trace_status")
    return np.stack(list(read.values()), axis=-1), status


def _selected(store: Store, names: Iterable[str], chosen: Callable[[Any], Array]) -> dict[str, Array]:
    arrays = _arrays(store)
    try:
        return {name: chosen(arrays[name]) for name in names}
    except Exception as error:  # noqa: BLE001 - a codec may raise anything on damaged bytes
        reason = f"a chunk can't be read ({short(error)})"
        raise StoreError(f"{store.path}: {reason}; qifscan verify finds and repairs it") from None


def read_chunks(store: Store, chunks: Iterable[int], names: Iterable[str]) -> Iterator[dict[str, Array]]:
    """Return these variables of each of these chunks of the grid."""
    arrays = _arrays(store)
    for chunk in chunks:
        region = store.chunks.region(chunk)
        yield {name: arrays[name][region] for name in names}


def status(store: Store) -> Array:
    """Return the status of every point; chunks that can't be read count as not run."""
    values = np.zeros(tuple(store.scan.sizes.values()), dtype=np.uint8)
    try:
        array = _arrays(store)["status"]
    except StoreError:
        return values
    for chunk in finished(store):
        if not store.chunks.is_trace(chunk):
            region = store.chunks.region(chunk)
            with suppress(Exception):
                values[region] = array[region]
    return values


def begin_run(store: Store, event: str, options: str) -> None:
    """Sweep away what killed writers have left half-written, and add a line to the history; a store without
    a finished chunk takes the options of XLA that these will be computed with."""
    refuse_links(store)
    try:
        _sweep(store)
        sweep_beside(store.path)
        told = attributes_of(store)
        first = {} if finished(store) else {OPTIONS: options}
        change_attributes(store, {"history": f"{told.get('history', '')}\n{now()} {event}"} | first)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{store.path}: can't be written ({reason}); nothing in it was changed") from error


def refuse_links(store: Store) -> None:
    """Raise `StoreError` if there is a link in a store: what is written there would be written elsewhere."""
    link = next(record.links(store.path), None)
    if link is not None:
        raise StoreError(
            f"{store.path}: {link} is a link, and what is written there goes elsewhere; remove it"
        )


@contextmanager
def template(store: Store) -> Iterator[Path]:
    """Give a folder with everything of a store that follows from its scan, for as long as it is needed."""
    made = beside(store.path)
    try:
        _write_template(made, store.chunks, "")
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def coordinates(store: Store) -> dict[str, Array]:
    """Return the values of every coordinate, as they follow from the scan."""
    return {name: values for name, _, values, _ in _coordinates(store.chunks)}


def incomplete(store: Store) -> set[int]:
    """Return the chunks that have been finished, and of which files are missing or have another size."""
    chunks, done = store.chunks, finished(store)
    begun = {chunks.at(place) for place in _positions(store, "status", len(chunks.counts))}
    if chunks.traces:
        begun |= {chunks.grid + i for (i,) in _positions(store, "trace_status", 1)}
    rows = {c for c in range(len(chunks)) if store.recorded and c not in done and row(store, c) is not None}
    return (begun | rows) - done


def kept(store: Store) -> dict[str, Any] | None:
    """Return the second copy of the metadata of a store, None if there is none that is its own."""
    found = record.read(store.path) if store.recorded else None
    own = found is not None and found["attributes"].get("qifscan_fingerprint") == store.scan.fingerprint
    return found if own else None


def attributes_of(store: Store) -> dict[str, Any]:
    """Return the attributes of a store; those that it was made with where they are lost."""
    copy = kept(store)
    made = {} if copy is None else copy["attributes"]
    own: dict[str, Any] = {}
    with suppress(ValueError, KeyError, TypeError):
        own = dict(record.read_json(store.path / record.METADATA)["attributes"])
    return made | own | {name: value for name, value in made.items() if name.startswith("qifscan_")}


def change_attributes(store: Store, changes: Mapping[str, Any], anew: bool = False) -> None:
    """Change attributes of a store, and bring the copies of its metadata up to date; `anew` where the second
    copy itself is damaged."""
    attributes = attributes_of(store) | dict(changes)
    if store.recorded and (anew or kept(store) is not None):
        record.write(store.path, attributes)
    record.seal(store.path, attributes)


def extended(store: Store) -> tuple[int, int]:
    """Return how many points of the finished chunks were taken over from an older store, and continued."""
    rows = [row(store, chunk) for chunk in sorted(finished(store)) if not store.chunks.is_trace(chunk)]
    return sum(each.taken for each in rows if each), sum(each.continued for each in rows if each)


def options_of(store: Store) -> str | None:
    """Return the options of XLA that the chunks of a store are computed with; None where it does not say."""
    found = attributes_of(store).get(OPTIONS)
    return None if found == backend.UNKNOWN else found


def check_options(store: Store, here: str) -> None:
    """Raise `StoreError` if a store has chunks that were computed with other options than those here."""
    there = options_of(store)
    if there is None or there == here or here == backend.UNKNOWN:
        return
    raise StoreError(
        f"{store.path}: was computed with other options of XLA than this process has, and the last bits "
        f"would differ; {backend.how_to_have(there)}"
    )


def with_other_options(store: Store, chunk: int, here: str) -> bool:
    """Whether a chunk says that it was computed with other options than these."""
    known = row(store, chunk) if store.recorded and here != backend.UNKNOWN else None
    return known is not None and known.options not in (0, record.of_options(here))


def identity(path: str | Path) -> tuple[int, int]:
    """Return what tells this store from any other that has been, or will be, at the same path.

    The inode alone does not: a file system gives it again to the next folder that is made there.
    """
    metadata = os.stat(path)
    with suppress(FileNotFoundError):
        metadata = os.stat(os.path.join(path, "zarr.json"))
    return metadata.st_ino, metadata.st_mtime_ns


def _arrays(store: Store) -> Mapping[str, Any]:
    names = (*_grid_names(store.chunks), *_trace_names(store.chunks))
    return _opened_arrays(str(store.path), identity(store.path), names)


def _grid_names(chunks: Chunks) -> list[str]:
    """Return the arrays of a chunk of the grid, the one that is written last at the end."""
    checkpoint = [CHECKPOINT] if chunks.checkpoint else []
    return [*checkpoint, *chunks.scan.observables, *diagnostics(chunks.scan), "status"]


def _trace_names(chunks: Chunks) -> list[str]:
    """Return the arrays of a batch of traces, the one that is written last at the end."""
    if not chunks.traces:
        return []
    return [*(f"{v.name}_trace" for v in model_named(chunks.scan.model).variables), "trace_status"]


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


def write(store: Store, chunk: int, result: Measured) -> None:
    """Write the results of a chunk, its status last."""
    arrays, chunks, region = _arrays(store), store.chunks, store.chunks.region(chunk)
    shape = tuple(s.stop - s.start for s in region)
    if chunks.is_trace(chunk):
        assert result.record is not None
        traced = model_named(store.scan.model).variables
        values = {f"{v.name}_trace": result.record[..., i] for i, v in enumerate(traced)}
        values["trace_status"] = result.status
    else:
        values = {name: v.reshape(shape + v.shape[1:]) for name, v in result.variables.items()}
        values["status"] = result.status.reshape(shape)

    async def written() -> None:
        for name, each in values.items():
            await arrays[name].async_array.setitem(region, each)
        if store.recorded:
            files = _files(store, chunk)
            digests = [digest_of(store, chunk, n, values[n].astype(arrays[n].dtype)) for n in files]
            sizes = [file.stat().st_size for file in files.values()]
            here = backend.options()
            made = 0 if here == backend.UNKNOWN else record.of_options(here)
            row = record.Row(result.taken, result.continued, made, digests, sizes)
            record.write_row(_row_path(store, chunk), row)

    _in_this_thread(written())


def _in_this_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run what is asynchronous to its end in this thread of a worker.

    zarr hands every array to a thread of its own, and that to others for packing and for the file, which
    takes the cores from the chunks that are running: 23 ms for a chunk where this takes 16 to 21.
    """
    if threading.current_thread() is threading.main_thread() or _has_loop():
        # In the main thread Ctrl-C would leave a file half written; and a thread has one loop, in a notebook
        # that of the notebook.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(_in_this_thread, work).result()
        return
    with closing(asyncio.new_event_loop()) as loop:
        loop.set_default_executor(_AtOnce(1))
        loop.run_until_complete(work)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _AtOnce(ThreadPoolExecutor):
    """An executor that runs what it is given in the thread that gives it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function, and return what came of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)
        return future


def finished(store: Store) -> set[int]:
    """Return the chunks that are on disk with everything that belongs to them.

    A status chunk says that its chunk was finished; one whose files have since been lost or emptied is not
    counted, so that a rerun computes it again.
    """
    chunks = store.chunks
    depth = len(chunks.counts)
    places = [_positions(store, name, depth + len(_within(name))) for name in _grid_names(chunks)]
    found = {chunks.at(place) for place in set.intersection(*({p[:depth] for p in each} for each in places))}
    if chunks.traces:
        *traces, status_name = _trace_names(chunks)
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
        return [os.stat(file).st_size for file in _files(store, chunk).values()] == known.sizes
    except OSError:
        return False


def is_finished(store: Store, chunk: int) -> bool:
    """Whether a chunk is on disk with everything that belongs to it."""
    there = all(_has_content(file) for file in _files(store, chunk).values())
    return there and (not store.recorded or _as_recorded(store, chunk))


def _within(name: str) -> tuple[int, ...]:
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


def _sweep(store: Store) -> None:
    oldest = datetime.now(UTC).timestamp() - STALE_SECONDS
    for leftover in store.path.rglob("*.partial"):
        with suppress(OSError):
            if leftover.stat().st_mtime < oldest:
                leftover.unlink()


def damaged(store: Store, chunks: set[int]) -> dict[int, str]:
    """Read every array of these chunks; return those that can't be read, with the reason."""
    arrays = _arrays(store)
    faults = {}
    for chunk in sorted(chunks):
        trace = store.chunks.is_trace(chunk)
        names = _trace_names(store.chunks) if trace else _grid_names(store.chunks)
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
    files = _files(store, chunk)
    for file in (*files.values(), _row_path(store, chunk)):
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
    for file in (files[name], _row_path(store, chunk)):
        file.unlink(missing_ok=True)


def open_scan(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open the store of a scan as a lazy dataset, also while the scan is running.

    Parameters
    ----------
    path
        The store.

    Returns
    -------
    xarray.Dataset
        One variable for every observable and `status`, with the dimensions of the scan in its order, and
        `replicate` last; units and long names in the attributes. Where `status` is 0 the point has not been
        run yet, and its observables are NaN. The variables are dask arrays, one block per chunk of the store.
        The attributes hold the resolved scan (`qifscan_scan`, JSON), its fingerprint, versions and history.

    Raises
    ------
    StoreError
        If there is no store of qifscan at `path`, or it is damaged.
    """
    return read(local("path", path), chunks={})


def read(path: Path, chunks: Any = None) -> xr.Dataset:
    """Return the dataset of a store; with `chunks=None` lazy too, but without dask."""
    try:
        store = load(path)
    except UnknownModel:
        return _without_model(path, chunks)
    with warnings.catch_warnings():
        # A killed writer's leftovers beside the arrays are no concern of the reader.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        dataset = xr.open_zarr(_at_this_moment(store), consolidated=False, zarr_format=3, chunks=chunks)
    grid = [name for name in _grid_names(store.chunks) if name != CHECKPOINT]
    order = [*grid, *_trace_names(store.chunks)]
    missing = [name for name in order if name not in dataset]
    if missing:
        raise StoreError(f"{path}: has no array {missing[0]}; the store is damaged")
    # Columns of a zipped axis are no index, and xarray takes them for data unless told. What a user has
    # added stays a variable.
    own = [name for name, *_ in _coordinates(store.chunks) if name in dataset.data_vars]
    added = [name for name in dataset.data_vars if name not in {*order, *own}]
    ordered: xr.Dataset = dataset.set_coords(own)[[*order, *added]]
    return ordered.assign_attrs(attributes_of(store)).assign_coords(fixed_coordinates(store.scan))


def _without_model(path: Path, chunks: Any) -> xr.Dataset:
    """Return the dataset of a store whose model nobody has imported: opening a store runs no code of it."""
    attributes, (names, coordinates) = record.attributes(path), _listed(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        dataset = xr.open_zarr(str(path), consolidated=False, zarr_format=3, chunks=chunks)
    own = [name for name in coordinates if name in dataset.data_vars]
    order = [name for name in names if name in dataset.data_vars and name not in own]
    added = [name for name in dataset.data_vars if name not in {*order, *own}]
    ordered: xr.Dataset = dataset.set_coords(own)[[*order, *added]]
    return ordered.assign_attrs(attributes)


def _listed(path: Path) -> tuple[list[str], list[str]]:
    """Return the variables and the coordinates of the scan of a store, as its record lists them."""
    found = record.read(path)
    attributes = {} if found is None else found["attributes"]
    return attributes.get("qifscan_variables", []), attributes.get("qifscan_coordinates", [])


@dataclass(frozen=True)
class Known:
    """What is known of a store without the functions of its model: `finished` of `chunks` chunks, points in
    those of the grid that are finished, and the status of every point."""

    finished: int
    chunks: int
    points: int
    status: Array


def without_model(path: Path) -> Known:
    """Return how far a store is whose model nobody has imported, from its arrays and their record alone.

    Raises `StoreError` for a store of an earlier version, which has no record.
    """
    names, _ = _listed(path)
    if "status" not in names:
        raise StoreError(f"{path}: has no record of its chunks; import its model first")
    last = names.index("status") + 1
    array = _array_of(path, "status")
    status = np.zeros(array.shape, dtype=np.uint8)
    done, places = _recorded_places(path, array, "points", names[:last])
    points = 0
    for place in done:
        region = tuple(
            slice(i * c, min((i + 1) * c, n))
            for i, c, n in zip(place, array.chunks, array.shape, strict=True)
        )
        points += int(np.prod([part.stop - part.start for part in region], dtype=np.int64))
        with suppress(Exception):
            status[region] = array[region]
    if names[last:]:
        traced, more = _recorded_places(path, _array_of(path, "trace_status"), "traces", names[last:])
        done, places = [*done, *traced], places + more
    return Known(len(done), places, points, status)


def _array_of(path: Path, name: str) -> Any:
    try:
        return zarr.open_array(str(path / name), mode="r")
    except (KeyError, ValueError, TypeError, FileNotFoundError) as error:
        raise StoreError(f"{path}: {name} can't be read ({short(error)}); the store is damaged") from None


def _recorded_places(
    path: Path, array: Any, rows: str, names: list[str]
) -> tuple[list[tuple[int, ...]], int]:
    """Return the places of chunks whose files are those of their row, and how many places there are."""
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    done = []
    for place in np.ndindex(*counts):
        row = record.read_row(path.joinpath(record.RECORD, rows, "c", *map(str, place), "0"), len(names))
        within = {n: (0,) if n.endswith("_trace") else _within(n) for n in names}
        files = [path.joinpath(n, "c", *map(str, (*place, *within[n]))) for n in names]
        with suppress(OSError):
            if row is not None and [file.stat().st_size for file in files] == row.sizes:
                done.append(place)
    return done, int(np.prod(counts, dtype=np.int64))


def _at_this_moment(store: Store) -> Any:
    """Return what xarray is to read: the store, of an unfinished one its finished chunks alone."""
    done, chunks = finished(store), store.chunks
    if len(done) == len(chunks):
        return str(store.path)
    from zarr.storage import LocalStore

    from qifscan.snapshot import Snapshot

    shown: dict[str, set[str]] = {name: set() for name in (*_grid_names(chunks), *_trace_names(chunks))}
    for chunk in done:
        for name, file in _files(store, chunk).items():
            shown[name].add(file.relative_to(store.path / name / "c").as_posix())
    # Of a scan without axes a chunk's file is `c` itself.
    hidden = {name: frozenset(places) for name, places in shown.items()}
    return Snapshot(LocalStore(store.path, read_only=True), hidden)


def fixed_coordinates(scan: Scan) -> dict[str, Any]:
    """Return what a scan fixes as scalar coordinates: two datasets that differ in it can be put together."""
    first = scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes))
    swept = {name for axis in scan.axes.values() for name in axis.columns}
    return {
        name: ((), column[0], parameter_attributes(scan, name))
        for name, column in first.items()
        if name not in swept
    }


def disk_is_full(error: BaseException) -> bool:
    """Whether an error means that no further chunk can be written either."""
    hopeless = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
    return isinstance(error, OSError) and error.errno in hopeless
