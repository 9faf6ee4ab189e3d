"""The values in a store of points, traces and chunks that one asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import StoreError, short
from qifscan.store.chunk_files import arrays_of

if TYPE_CHECKING:
    from qifscan.store.store import Store

Array = np.ndarray[Any, Any]


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

    return _selected(store, store.chunks.grid_names, chosen)


def read_traces(store: Store, rows: Array) -> tuple[Array, Array]:
    """Return the record `(rows, times, variables)` and the status of these traces."""
    read = _selected(store, store.chunks.trace_names, lambda array: array.oindex[rows])
    status = read.pop("trace_status")
    return np.stack(list(read.values()), axis=-1), status


def _selected(store: Store, names: Iterable[str], chosen: Callable[[Any], Array]) -> dict[str, Array]:
    arrays = arrays_of(store)
    try:
        return {name: chosen(arrays[name]) for name in names}
    except Exception as error:  # noqa: BLE001 - a codec may raise anything on damaged bytes
        reason = f"a chunk can't be read ({short(error)})"
        raise StoreError(f"{store.path}: {reason}; qifscan verify finds and repairs it") from None


def read_chunks(store: Store, chunks: Iterable[int], names: Iterable[str]) -> Iterator[dict[str, Array]]:
    """Return these variables of each of these chunks of the grid."""
    arrays = arrays_of(store)
    for chunk in chunks:
        region = store.chunks.region(chunk)
        yield {name: arrays[name][region] for name in names}
