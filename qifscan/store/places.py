"""What zarr reads and writes through: a local folder as it is, an object store and a zip by our own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest

from qifscan import files, record
from qifscan.files import Where
from qifscan.objects import ObjectPath
from qifscan.place import located

_alone = threading.RLock()


@contextmanager
def one_by_one() -> Iterator[None]:
    """Let zarr do one thing after the other: it would start a thread for each, and where there is no memory
    for another one, Python 3.11 waits for it without end. On a disk nothing is gained by many."""
    # Two threads that set and put back the same option could leave it set.
    with _alone, zarr.config.set({"async.concurrency": 1}):
        yield


def readable(path: Where) -> Any:
    """Return what `zarr` and xarray read the store at `path` through."""
    return str(path) if isinstance(path, Path) else PlaceStore(path, read_only=True)


def writable(path: Where) -> Any:
    """Return what `zarr` writes into the store at `path` through; that of a zip is read-only."""
    return str(path) if isinstance(path, Path) else PlaceStore(path)


class PlaceStore(Store):  # type: ignore[misc]  # zarr has no types here
    """The files at a place. It travels to a worker as its URL: who may read there, each process knows for
    itself."""

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, place: Where, read_only: bool = False) -> None:
        super().__init__(read_only=read_only or not isinstance(place, ObjectPath))
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlaceStore) and (self.place, self.read_only) == (
            other.place,
            other.read_only,
        )

    def __repr__(self) -> str:
        return f"PlaceStore({self.place})"

    def __reduce__(self) -> Any:
        return _at, (str(self.place), self.read_only)

    def with_read_only(self, read_only: bool = False) -> PlaceStore:
        """Return the same store, read-only or not."""
        return PlaceStore(self.place, read_only)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return what is there or a part of it, None where nothing is."""
        begin, end = _part(byte_range)
        place = self.place.joinpath(key)
        try:
            if isinstance(place, ObjectPath):
                data = await place.fetched(begin, end)
            else:
                data = await asyncio.to_thread(place.read_bytes, begin, end)  # type: ignore[call-arg]
        except FileNotFoundError:
            return None
        return prototype.buffer.from_bytes(data)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Return parts of files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether a file is there."""
        return bool(await asyncio.to_thread(self.place.joinpath(key).is_file))

    async def set(self, key: str, value: Any) -> None:
        """Write a file."""
        place = self._written(key)
        await place.stored(value.to_bytes())

    async def delete(self, key: str) -> None:
        """Remove a file."""
        await asyncio.to_thread(self._written(key).unlink, True)

    def _written(self, key: str) -> ObjectPath:
        self._check_writable()
        place = self.place.joinpath(key)
        if not isinstance(place, ObjectPath):
            raise files.read_only(place)
        return place

    async def list(self) -> AsyncIterator[str]:
        """Yield the name of every file."""
        async for name in self.list_prefix(""):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the name of every file that begins so."""
        for name in await asyncio.to_thread(_below, self.place):
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names that come next below a folder, if they are folders: files are asked for by name."""
        for name in await asyncio.to_thread(record.names_in, self.place, prefix.strip("/")):
            yield name


def _at(text: str, read_only: bool) -> PlaceStore:
    return PlaceStore(located("store", text), read_only)


def _below(place: Where) -> list[str]:
    return [] if isinstance(place, Path) else list(place.sizes())


def _part(byte_range: Any) -> tuple[int, int | None]:
    """Return where a part of a file begins and ends, as a slice has it."""
    if byte_range is None:
        return 0, None
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, SuffixByteRequest):
        return -byte_range.suffix, None
    return byte_range.offset, None
