"""What a store has on disk: its arrays with dimensions, types and attributes, as a scan determines them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import __version__, record
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.status import STATUS_MEANINGS, Status
from qifscan.engine.measured import CHECKPOINT, diagnostics
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import zarr
    import zarr.codecs

    from qifscan.engine.chunks import Chunks
    from qifscan.scan.scan import Scan
else:
    zarr = LazyModule("zarr")


Array = np.ndarray[Any, Any]


TRACE_ROWS = f"{record.RECORD}/traces"
"""The array with the rows of batches of traces."""


@dataclass(frozen=True)
class _StoredArray:
    """An array of the dataset, as it is created."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    fill: Any
    attributes: dict[str, Any]


def write_template(path: Path, chunks: Chunks, device: str) -> None:
    """Write everything of a store but its chunks."""
    group = zarr.create_group(store=str(path), zarr_format=3)
    for name, variable in variables_of(chunks).items():
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
    for name, dim, values, attributes in coordinates_of(chunks):
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
    for name, counts, arrays in rows_of(chunks):
        length = record.words(len(arrays))
        # Dimensions of one name would have to be of one length for xarray to open the group.
        prefix = "trace_" if name == TRACE_ROWS else ""
        group.create_array(
            name=name,
            shape=(*counts, length),
            chunks=(*(1 for _ in counts), length),
            dtype="uint64",
            dimension_names=(*(f"{prefix}chunk_{i}" for i in range(len(counts))), f"{prefix}word"),
            compressors=None,
        )
    attributes = template_attributes(chunks) | provenance(device)
    record.seal(path, attributes, copied=True)


def rows_of(chunks: Chunks) -> Iterator[tuple[str, tuple[int, ...], tuple[str, ...]]]:
    """Return the arrays that hold the rows of chunks: name, number of rows, and of which arrays."""
    yield f"{record.RECORD}/points", chunks.counts, chunks.grid_names
    if chunks.traces:
        yield TRACE_ROWS, (len(chunks) - chunks.grid,), chunks.trace_names


def codecs(name: str) -> list[Any]:
    """Return how the chunks of an array are packed."""
    # The checksum is what finds a flipped bit, which zstd by itself does not.
    checksum = zarr.codecs.Crc32cCodec()
    if name == CHECKPOINT:
        return [checksum]  # it consists of low bits, which don't get smaller
    # Shuffled zstd is the smallest of those measured on rate maps (1.7 times).
    return [zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"), checksum]


def variables_of(chunks: Chunks) -> dict[str, _StoredArray]:
    """Return every array of a scan's dataset, by name."""
    scan = chunks.scan
    dims, shape = tuple(scan.sizes), tuple(scan.sizes.values())
    variables = {
        name: _StoredArray(
            dims,
            shape,
            chunks.shape,
            scan.precision,
            np.nan,
            meaning_attributes(row.unit, row.meaning),
        )
        for name, row in scan.measures.items()
    }
    variables |= {
        row.name: _StoredArray(dims, shape, chunks.shape, row.dtype, row.fill, row.attributes)
        for row in diagnostics(scan).values()
    }
    if chunks.checkpoint:
        size, told = chunks.checkpoint, {"long_name": "state of the run, for a longer window to go on from"}
        variables[CHECKPOINT] = _StoredArray(
            (*dims, "byte"), (*shape, size), (*chunks.shape, size), "uint8", 0, told
        )
    variables["status"] = _StoredArray(dims, shape, chunks.shape, "uint8", 0, _status_attributes("point"))
    return variables | (_trace_variables(chunks) if chunks.traces else {})


def _trace_variables(chunks: Chunks) -> dict[str, _StoredArray]:
    rows, count, batch = chunks.trace_schedule.rows, chunks.traces, chunks.trace_batch
    variables = {
        f"{v.name}_trace": _StoredArray(
            ("trace", "time"),
            (count, rows),
            (batch, rows),
            chunks.scan.precision,
            np.nan,
            meaning_attributes(v.unit, v.meaning),
        )
        for v in chunks.scan.mean_field.variables
    }
    status = _StoredArray(("trace",), (count,), (batch,), "uint8", 0, _status_attributes("trace"))
    return variables | {"trace_status": status}


def meaning_attributes(unit: str, meaning: str) -> dict[str, Any]:
    """Return the attributes that say what a variable is."""
    return {"units": unit, "long_name": meaning}


def _status_attributes(subject: str) -> dict[str, Any]:
    return {
        "long_name": f"how the {subject} ended; 0: not run",
        "flag_masks": [int(flag) for flag in Status],
        "flag_meanings": " ".join(str(flag.name) for flag in Status),
        "comment": "; ".join(f"{flag.name}: {meaning}" for flag, meaning in STATUS_MEANINGS.items()),
    }


def coordinates_of(chunks: Chunks) -> Iterator[tuple[str, str, Array, dict[str, Any]]]:
    """Yield each coordinate: name, dimension, values, attributes."""
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
    yield "time", "time", times, meaning_attributes("ms", "time from the start of the run")
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
    return meaning_attributes(parameter.unit, parameter.meaning)


def template_attributes(chunks: Chunks) -> dict[str, Any]:
    """Return the attributes of the dataset, as they are before the first run."""
    scan = chunks.scan
    model = scan.mean_field
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
        "qifscan_variables": [*chunks.grid_names, *chunks.trace_names],
        "qifscan_coordinates": [name for name, *_ in coordinates_of(chunks)],
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


def fixed_coordinates(scan: Scan) -> dict[str, Any]:
    """Return what a scan fixes as scalar coordinates: two datasets that differ in it can be put together."""
    first = scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes))
    swept = {name for axis in scan.axes.values() for name in axis.columns}
    return {
        name: ((), column[0], parameter_attributes(scan, name))
        for name, column in first.items()
        if name not in swept
    }
