"""A store of zarr on a server, read-only: what `zarr` and xarray read through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import RangeByteRequest, Store, SuffixByteRequest

from qifscan.service.transport import Transport


class ServedStore(Store):  # type: ignore[misc]  # zarr has no types here
    """The files below an address of a server. A file that is not there is a chunk that was not run yet;
    anything else that goes wrong raises, so that a broken connection is not taken for one."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, transport: Transport, path: str) -> None:
        super().__init__(read_only=True)
        self.transport, self.path = transport, path

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, ServedStore) and self.transport == other.transport
        return same and self.path == getattr(other, "path", None)

    def __repr__(self) -> str:
        return f"ServedStore({self.transport.url}{self.path})"

    def with_read_only(self, read_only: bool = False) -> ServedStore:
        """Return the store; it can't be one that is written to."""
        if not read_only:
            raise ValueError("the stores of a server are read-only")
        return self

    def read(self, key: str, byte_range: Any = None) -> bytes | None:
        """Return the bytes of a file or a part of it; None where there is none."""
        headers = {} if byte_range is None else {"Range": _range(byte_range)}
        answer = self.transport.ask("GET", f"{self.path}/{key}", headers=headers)
        if answer.status == 404:
            return None
        if answer.status not in (200, 206):
            raise self.transport.refused(answer)
        return answer.data

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return what is there, None of a chunk that is not run yet."""
        data = await asyncio.to_thread(self.read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]) -> list[Any]:
        """Return parts of files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether a file is there."""
        answer = await asyncio.to_thread(self.transport.ask, "HEAD", f"{self.path}/{key}")
        return answer.status == 200

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write."""
        raise ValueError("the stores of a server are read-only")

    async def delete(self, key: str) -> None:
        """Refuse to delete."""
        raise ValueError("the stores of a server are read-only")

    async def list(self) -> AsyncIterator[str]:
        """Refuse: the metadata of the root name every array."""
        raise NotImplementedError("a server lists no files")
        yield ""

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse, as `list`."""
        raise NotImplementedError("a server lists no files")
        yield ""

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse, as `list`."""
        raise NotImplementedError("a server lists no files")
        yield ""


def _range(part: Any) -> str:
    if isinstance(part, RangeByteRequest):
        return f"bytes={part.start}-{part.end - 1}"
    if isinstance(part, SuffixByteRequest):
        return f"bytes=-{part.suffix}"
    return f"bytes={part.offset}-"
