"""The files of a chunk: where they are, whether they are finished, damaged, or to be thrown away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.dynamics.status import Status
from qifscan.engine.measured import CHECKPOINT
from qifscan.errors import StoreError
from qifscan.files import Place, Where, identity
from qifscan.lazy import LazyModule
from qifscan.objects import ObjectPath
from qifscan.store.packing import Packing

if TYPE_CHECKING:
    import zarr

    from qifscan.store import places
    from qifscan.store.store import Store
else:
    places = LazyModule("qifscan.store.places")
    zarr = LazyModule("zarr")


Array = np.ndarray[Any, Any]

MOST_ASKED = 256
"""Chunks that a server is asked for one by one, where its listing does not have them."""

ROWS_AT_ONCE = 4096
"""Rows of chunks that are read, and then looked at."""


def row_name(store: Store, chunk: int) -> str:
    """Return the name below the store of the file that holds the row of a chunk."""
    name = "traces" if store.chunks.is_trace(chunk) else "points"
    return "/".join((record.RECORD, name, "c", *map(str, store.chunks.position(chunk)), "0"))


def row_path(store: Store, chunk: int) -> Where:
    """Return the file that holds the row of a chunk."""
    return store.path / row_name(store, chunk)


def row(store: Store, chunk: int) -> record.Row | None:
    """Return what is recorded of a chunk."""
    (found,) = rows(store, [chunk])
    return found


def rows(store: Store, chunks: Sequence[int]) -> list[record.Row | None]:
    """Return what is recorded of each of these chunks."""
    kinds = {False: len(store.chunks.grid_names), True: len(store.chunks.trace_names)}
    if store.packed:
        found: list[bytes | None] = [_packed_row(store, chunk) for chunk in chunks]
    else:
        found = files.read_all([row_path(store, chunk) for chunk in chunks])
    counts = [kinds[store.chunks.is_trace(chunk)] for chunk in chunks]
    return [record.row_of(data, n) for data, n in zip(found, counts, strict=True)]


def _packed_row(store: Store, chunk: int) -> bytes | None:
    name = "traces" if store.chunks.is_trace(chunk) else "points"
    with suppress(Exception):
        array = _opened_rows(store.path, identity(store.path), f"{record.RECORD}/{name}")
        return np.ascontiguousarray(array[store.chunks.position(chunk)], dtype="<u8").tobytes()
    return None


@lru_cache(maxsize=8)
def _opened_rows(path: Where, identity: tuple[int, int], name: str) -> Any:
    return zarr.open_array(places.readable(path), path=name, mode="r")


def digest_of(store: Store, chunk: int, name: str, values: Array) -> int:
    """Return the digest of an array of a chunk."""
    return record.digest(f"{store.fingerprint} {name} {chunk}".encode(), values)


def places_of(store: Store, chunk: int) -> dict[str, Place]:
    """Return the place of a chunk in each array that it is one of."""
    position = store.chunks.position(chunk)
    if store.chunks.is_trace(chunk):
        return dict.fromkeys(store.chunks.trace_names, (*position, 0)) | {"trace_status": position}
    return {name: (*position, *place_within(name)) for name in store.chunks.grid_names}


def names_of(store: Store, chunk: int) -> dict[str, str]:
    """Return the name below the store of the file of each array of a chunk."""
    return {name: "/".join((name, "c", *map(str, at))) for name, at in places_of(store, chunk).items()}


def files_of(store: Store, chunk: int) -> dict[str, Where]:
    """Return the file of each array of a chunk."""
    return {name: store.path / file for name, file in names_of(store, chunk).items()}


def endings(store: Store, done: Iterable[int]) -> dict[int, int]:
    """Return how many points have each status, of these finished chunks; others have not run."""
    counts = np.zeros(256, dtype=np.int64)
    grid = [chunk for chunk in done if not store.chunks.is_trace(chunk)]
    for first in range(0, len(grid), ROWS_AT_ONCE):
        values = [each.ravel() for each in _statuses(store, grid[first : first + ROWS_AT_ONCE])]
        counts += np.bincount(np.concatenate(values or [np.zeros(0, np.uint8)]), minlength=256)
    # Python's integers: a scan may have more points than NumPy's can count.
    found = {value: int(count) for value, count in enumerate(counts) if count}
    found[0] = found.get(0, 0) + store.scan.size - sum(found.values())
    return {value: count for value, count in found.items() if count}


def _statuses(store: Store, chunks: Sequence[int]) -> Iterator[Array]:
    """Yield the status of each of these chunks; of one that can't be read nothing."""
    try:
        array = arrays_of(store)["status"]
    except StoreError:
        return
    packing = Packing.of(array)
    if store.packed or packing is None:
        data: list[bytes | None] = [None] * len(chunks)
    else:
        places = store.chunks.positions(chunks)
        data = files.read_below(store.path / "status" / "c", ["/".join(map(str, at)) for at in places])
    # Where no chunk sticks out of the grid, all of it are points.
    whole = not any(size % part for size, part in zip(array.shape, array.chunks, strict=True))
    for chunk, packed in zip(chunks, data, strict=True):
        values = None if packed is None or packing is None else packing.unpacked(packed)
        if values is not None and whole:
            yield values
            continue
        region = store.chunks.region(chunk)
        if values is None:
            try:
                values = array[region]
            except Exception:  # noqa: BLE001 - a codec may raise anything on damaged bytes
                continue
        yield values[tuple(slice(part.stop - part.start) for part in region)]


def extended(store: Store) -> tuple[int, int]:
    """Return how many points of the finished chunks were taken over from an older store, and continued."""
    grid = [chunk for chunk in sorted(finished(store)) if not store.chunks.is_trace(chunk)]
    found = [each for each in rows(store, grid) if each is not None]
    return sum(each.taken for each in found), sum(each.continued for each in found)


def arrays_of(store: Store) -> Mapping[str, Any]:
    """Return the arrays of a store by name, open."""
    names = (*store.chunks.grid_names, *store.chunks.trace_names)
    return _opened_arrays(store.path, identity(store.path), names, store.packed)


@lru_cache(maxsize=8)
def _opened_arrays(
    path: Where, identity: tuple[int, int], names: tuple[str, ...], packed: bool
) -> Mapping[str, Any]:
    """Return the arrays of a store, opened once per process and run."""
    through = places.readable(path) if packed else places.writable(path)
    try:
        # One by one: what is wrong with the root's metadata is no concern of its arrays.
        arrays = {
            name: zarr.open_array(through, path=name, mode="r" if packed else "r+", zarr_format=3)
            for name in names
        }
    except (KeyError, ValueError, TypeError, FileNotFoundError, RecursionError) as error:
        reason = str(error).strip("'\"")
        raise StoreError(f"{path}: its arrays can't be read ({reason}); the store is damaged") from None
    # An all-NaN chunk is a result like any other; without this it would not be written, and a chunk
    # that was lost could not be told from it.
    return {name: array.with_config({"write_empty_chunks": True}) for name, array in arrays.items()}


def packings_of(store: Store) -> Mapping[str, Packing | None]:
    """Return how each array of a store packs its chunks, None where zarr has to do it."""
    names = (*store.chunks.grid_names, *store.chunks.trace_names)
    return _packings(store.path, identity(store.path), names)


@lru_cache(maxsize=8)
def _packings(path: Where, identity: tuple[int, int], names: tuple[str, ...]) -> Mapping[str, Packing | None]:
    arrays = _opened_arrays(path, identity, names, False)
    return {name: Packing.of(array) for name, array in arrays.items()}


def finished(store: Store) -> set[int]:
    """Return the chunks that are there with everything that belongs to them.

    A status chunk says that its chunk was finished; one whose files have since been lost or emptied is not
    counted, so that a rerun computes it again.
    """
    return look(store)[0]


Seen = tuple[set[int], set[int]]
"""Chunks that are finished, and those that have been and of which something is missing."""


def look(store: Store) -> Seen:
    """Return the chunks that are finished, and those that have been and of which something is missing."""
    with record.reading(store.path):
        return _look_at_packed(store) if store.packed else _look_at_chunks(store)


def _look_at_chunks(store: Store) -> Seen:
    grid, traces = store.chunks.grid_names, store.chunks.trace_names
    depth = len(store.chunks.counts)
    wanted: list[tuple[Where, int, Place]] = [
        *((store.path / name / "c", depth, place_within(name)) for name in grid),
        *((store.path / name / "c", 1, () if name == "trace_status" else (0,)) for name in traces),
    ]
    if store.recorded and isinstance(store.path, ObjectPath):
        wanted.append((store.path / record.RECORD / "points" / "c", depth, (0,)))
        wanted.append((store.path / record.RECORD / "traces" / "c", 1, (0,)))
    found = files.all_places(wanted)
    kept = found[len(grid) + len(traces) :]
    done, begun = _of_kind(store, grid, store.chunks.counts, found[: len(grid)], kept[:1])
    if traces:
        offset, batches = store.chunks.grid, (len(store.chunks) - store.chunks.grid,)
        ended, tried = _of_kind(store, traces, batches, found[len(grid) : len(grid) + len(traces)], kept[1:])
        done, begun = done | {offset + i for i in ended}, begun | {offset + i for i in tried}
    if isinstance(store.path, ObjectPath):
        done |= _not_listed(store, done)
    return done, begun - done


def _not_listed(store: Store, done: set[int]) -> set[int]:
    """Return the chunks that are there though the listing of the server has not all of them yet; they are
    asked for by name, where they are few."""
    missing = [chunk for chunk in range(len(store.chunks)) if chunk not in done]
    if not store.recorded or len(missing) > MOST_ASKED:
        return set()
    ended = files.each(files.has_content, [row_path(store, chunk) for chunk in missing])
    there = [chunk for chunk, has in zip(missing, ended, strict=True) if has]
    return {c for c in there if all(files.each(files.has_content, list(files_of(store, c).values())))}


def _of_kind(
    store: Store,
    names: Sequence[str],
    counts: tuple[int, ...],
    found: Sequence[dict[Place, int]],
    kept: Sequence[dict[Place, int]],
) -> tuple[set[int], set[int]]:
    """Return which chunks of one kind are finished, and which have been begun, from the places of the files
    of each array and of the rows; counted from the first of the kind."""
    depth = len(counts)
    there: set[Place] = set.intersection(*({*each} for each in found))
    begun = {*found[[name.endswith("status") for name in names].index(True)]}
    whole = 8 * record.words(len(names))
    for rows in kept:
        # An object is whole or not there: no row is read, which would be a request for each chunk.
        known = {place for place, size in rows.items() if size == whole}
        begun, there = begun | known, there & known
    if store.recorded and isinstance(store.path, Path):
        rows_of = store.path / record.RECORD / ("points" if names[-1] == "status" else "traces") / "c"
        there = _as_recorded(rows_of, found, there)
        left = {*files.numbered_folders(str(rows_of), depth)} - there if depth else set()
        begun |= {place for place in left if files.has_content(rows_of.joinpath(*map(str, place), "0"))}
    return _numbers(there, counts), _numbers(begun, counts)


def _as_recorded(rows: Path, sizes: Sequence[dict[Place, int]], there: set[Place]) -> set[Place]:
    """Return the places of those chunks whose files are as large as they were when they were written."""
    candidates = list(there)
    data = files.read_below(rows, ["/".join(map(str, (*place, 0))) for place in candidates])
    there_now = zip(*(map(each.__getitem__, candidates) for each in sizes), strict=True)
    return {
        place
        for place, now, row in zip(candidates, there_now, data, strict=True)
        if now == record.sizes_of(row, len(sizes))
    }


def _numbers(places: set[Place], counts: tuple[int, ...]) -> set[int]:
    """Return the numbers of chunks at these places; what lies outside is no chunk."""
    if not counts:
        return {0} if places else set()
    inside = [place for place in places if all(i < n for i, n in zip(place, counts, strict=True))]
    if not inside:
        return set()
    return set(np.ravel_multi_index(tuple(np.array(inside).T), counts).tolist())


def _look_at_packed(store: Store) -> Seen:
    """Return the chunks of which every shard is there, and the others: what is packed was whole."""
    whole = set(range(len(store.chunks)))
    for name, array in arrays_of(store).items():
        folded = [s // c for s, c in zip(array.shards or array.chunks, array.chunks, strict=True)]
        there = files.places(store.path / name / "c", len(folded))
        if name in store.chunks.trace_names:
            chunks = range(store.chunks.grid, len(store.chunks))
        else:
            chunks = range(store.chunks.grid)
        for chunk in chunks:
            place = (*store.chunks.position(chunk), *([0] * len(folded)))[: len(folded)]
            if tuple(i // n for i, n in zip(place, folded, strict=True)) not in there:
                whole.discard(chunk)
    return whole, set(range(len(store.chunks))) - whole


def is_finished(store: Store, chunk: int) -> bool:
    """Whether a chunk is there with everything that belongs to it."""
    if store.packed:
        return chunk in finished(store)
    mine = list(files_of(store, chunk).values())
    if not all(files.has_content(file) for file in mine):
        return False
    known = row(store, chunk) if store.recorded else None
    return not store.recorded or (known is not None and known.sizes == files.sizes(mine))


def place_within(name: str) -> tuple[int, ...]:
    """Return the place along the dimensions that an array has beside those of the scan."""
    return (0,) if name == CHECKPOINT else ()


def damaged(store: Store, chunks: set[int]) -> dict[int, str]:
    """Read every array of these chunks; return those that can't be read, with the reason."""
    arrays = arrays_of(store)
    faults = {}
    for chunk in sorted(chunks):
        trace = store.chunks.is_trace(chunk)
        names = store.chunks.trace_names if trace else store.chunks.grid_names
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
    if store.packed:
        raise files.read_only(store.path)
    mine = files_of(store, chunk)
    for file in (*mine.values(), row_path(store, chunk)):
        if isinstance(file, Path) and file.is_dir() and not file.is_symlink():
            files.remove(file)
    for file in (mine[name], row_path(store, chunk)):
        files.remove(file)
