"""What is known of a store whose model can't be imported here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.errors import StoreError, short
from qifscan.files import Where
from qifscan.lazy import LazyModule
from qifscan.store.chunk_files import place_within

if TYPE_CHECKING:
    import zarr
    import zarr.codecs

    from qifscan.store import places
else:
    places = LazyModule("qifscan.store.places")
    zarr = LazyModule("zarr")


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Known:
    """What is known of a store without the functions of its model: `finished` of `chunks` chunks, points in
    those of the grid that are finished, and the status of every point."""

    finished: int
    chunks: int
    points: int
    status: Array


def without_model(path: Where) -> Known:
    """Return how far a store is whose model nobody has imported, from its arrays and their record alone.

    Raises `StoreError` for a store of an earlier version, which has no record.
    """
    names, _ = record.listed(path)
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


def _array_of(path: Where, name: str) -> Any:
    try:
        return zarr.open_array(places.readable(path), path=name, mode="r", zarr_format=3)
    except (KeyError, ValueError, TypeError, FileNotFoundError, RecursionError) as error:
        raise StoreError(f"{path}: {name} can't be read ({short(error)}); the store is damaged") from None


def _recorded_places(
    path: Where, array: Any, rows: str, names: list[str]
) -> tuple[list[tuple[int, ...]], int]:
    """Return the places of chunks whose files are those of their row, and how many places there are."""
    counts = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    within = {n: (0,) if n.endswith("_trace") else place_within(n) for n in names}
    wanted = [(path / n / "c", len(counts), within[n]) for n in names]
    sizes = files.all_places(wanted)
    done = []
    for here in sorted(files.places(path / record.RECORD / rows / "c", len(counts), (0,))):
        (data,) = files.read_all([path.joinpath(record.RECORD, rows, "c", *map(str, here), "0")])
        row = record.row_of(data, len(names))
        found = [each.get(here) for each in sizes]
        if row is not None and found == row.sizes:
            done.append(here)
    return done, int(np.prod(counts, dtype=np.int64))
