"""The files of a store over HTTP, read-only, as a reader of zarr asks for them.

A name is held against the arrays and chunks that the store has: what is opened is made of the store's own
names and of numbers. A chunk that is not finished is answered with 404, which readers of zarr take for its
fill value.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from qifscan import record
from qifscan.errors import QifscanError
from qifscan.files import METADATA
from qifscan.service.problems import ProblemError
from qifscan.store import chunk_files, store

if TYPE_CHECKING:
    from qifscan.service.stores import NamedStore
    from qifscan.store.store import Store

PIECE = 1 << 20
"""Bytes of a large file that are read and sent at a time."""

FOR_EVER = "private, max-age=31536000, immutable"
"""A finished chunk of a scan never changes: the fingerprint in its address says which numbers it has."""

ASK_AGAIN = "private, no-cache"
"""A reader may keep it, and asks whether it is still the same: metadata change, chunks can be repaired."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class StoreFiles:
    """What there is in a store: the metadata of every array and group by name, and the store itself where its
    scan can be read."""

    path: Path
    nodes: dict[str, Any]
    root: bytes | None
    """The metadata of the root where those on disk lack the copy of all others, as in stores of old."""

    opened: Store | None

    @classmethod
    def of(cls, found: NamedStore) -> StoreFiles:
        """Read the layout of a store."""
        path = found.path.resolve()
        try:
            own = record.read_json(path / METADATA)
        except ValueError as error:
            raise ProblemError(404, f"the store can't be read: {error}") from None
        nodes, root = (own.get("consolidated_metadata") or {}).get("metadata"), None
        if not isinstance(nodes, dict):
            try:
                nodes = dict(record.nodes(path))
            except OSError as error:
                raise ProblemError(404, f"the store can't be read: {error.strerror}") from None
            root = json.dumps(record.root_of(nodes, own.get("attributes", {}))).encode()
        try:
            opened = store.load(path)
        except QifscanError:
            # Theory alone, or a model that nobody has imported: its files are served, whatever it is.
            opened = None
        return cls(path, nodes, root, opened)

    def place(self, name: str) -> tuple[Path, bool]:
        """Return the file of a name, and whether it is of a finished chunk; raise `KeyError` for other names.

        `zarr.json`, `<array>/zarr.json`, `<array>/c/0/1`.
        """
        parts = name.split("/")
        if parts[-1] == METADATA:
            node = "/".join(parts[:-1])
            if node and node not in self.nodes:
                raise KeyError(name)
            return self._inside(self._known(node) / METADATA), False
        at = next(i for i in range(len(parts) + 1) if i == len(parts) or self._is_array(parts[:i]))
        if parts[at : at + 1] != ["c"]:
            raise KeyError(name)
        array = "/".join(parts[:at])
        place = _place(self.nodes[array], parts[at + 1 :])
        finished = self._finished(array, place)
        if finished is False:
            raise KeyError(name)
        return self._inside(self._known(array).joinpath("c", *map(str, place))), finished is True

    def _is_array(self, parts: list[str]) -> bool:
        node = self.nodes.get("/".join(parts))
        return isinstance(node, dict) and node.get("node_type") == "array"

    def _known(self, name: str) -> Path:
        """Return the folder of an array or group, made of the store's own copy of its name."""
        own = next((node for node in self.nodes if node == name), "")
        return self.path.joinpath(*own.split("/")) if own else self.path

    def _inside(self, path: Path) -> Path:
        """Return a path if nothing on the way to it is a link; raise `KeyError` if something is."""
        if path.resolve() != path:
            raise KeyError(path.name)
        return path

    def _finished(self, array: str, place: tuple[int, ...]) -> bool | None:
        """Whether the chunk that a file is of is finished; None of what is no chunk of the scan."""
        if self.opened is None:
            return None
        files = _arrays(self.opened)
        if array not in files:
            return None
        if self.opened.packed:
            # A packed file holds many chunks, and only finished stores are packed.
            return True
        chunks, depth = self.opened.chunks, files[array]
        chunk = chunks.grid + place[0] if depth is None else chunks.at(place[:depth])
        return chunk_files.is_finished(self.opened, chunk)


def _arrays(opened: Store) -> dict[str, int | None]:
    """Return the arrays of a scan with the number of dimensions that tell the chunk; None for traces."""
    depth = len(opened.chunks.counts)
    grid: dict[str, int | None] = dict.fromkeys(opened.chunks.grid_names, depth)
    return grid | dict.fromkeys(opened.chunks.trace_names)


def _place(node: dict[str, Any], parts: list[str]) -> tuple[int, ...]:
    """Return the place of a chunk in its array; raise `KeyError` if the array has none there."""
    shape, lengths = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
    if len(parts) != len(shape) or not all(_NUMBER.fullmatch(part) for part in parts):
        raise KeyError("/".join(parts))
    place = tuple(map(int, parts))
    if any(i >= max(1, -(-n // c)) for i, n, c in zip(place, shape, lengths, strict=True)):
        raise KeyError("/".join(parts))
    return place


@dataclass
class Files:
    """Answers requests for files of stores; what was read of the layout of a few stores is kept."""

    _layouts: OrderedDict[tuple[Path, tuple[int, int]], StoreFiles] = field(default_factory=OrderedDict)

    MOST = 16

    def layout(self, found: NamedStore) -> StoreFiles:
        """Return the layout of a store, read again when its metadata have changed."""
        key = (found.path, found.identity)
        known = self._layouts.get(key)
        if known is None:
            known = self._layouts[key] = StoreFiles.of(found)
            while len(self._layouts) > self.MOST:
                self._layouts.popitem(last=False)
        return known

    def answer(self, found: NamedStore, name: str, headers: Headers, by_fingerprint: bool) -> Response:
        """Return the response with a file of a store, or the part of it that is asked for."""
        layout = self.layout(found)
        try:
            path, finished = layout.place(name)
            if path == layout.path / METADATA and layout.root is not None:
                told = f'"{found.identity[1]:x}-{len(layout.root):x}"'
                return _response(layout.root, told, "application/json", ASK_AGAIN, headers)
            file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except (KeyError, OSError):
            raise ProblemError(404, f"{name}: the store has no such file, or not yet") from None
        kept = FOR_EVER if finished and by_fingerprint else ASK_AGAIN
        kind = "application/json" if path.name == METADATA else "application/octet-stream"
        try:
            known = os.fstat(file)
            etag = f'"{known.st_mtime_ns:x}-{known.st_size:x}"'
            if known.st_size > PIECE:
                owned, file = file, -1
                return _streamed(owned, known.st_size, etag, kind, kept, headers)
            return _response(os.read(file, known.st_size), etag, kind, kept, headers)
        finally:
            if file >= 0:
                os.close(file)


def _response(data: bytes, etag: str, kind: str, kept: str, headers: Headers) -> Response:
    told = {"etag": etag, "cache-control": kept, "accept-ranges": "bytes"}
    if _unchanged(headers, etag):
        return Response(None, 304, told)
    part = _part(headers, len(data), etag)
    if part is None:
        return Response(data, 200, told, kind)
    first, end = part
    told["content-range"] = f"bytes {first}-{end - 1}/{len(data)}"
    return Response(data[first:end], 206, told, kind)


def _streamed(file: int, size: int, etag: str, kind: str, kept: str, headers: Headers) -> Response:
    """Return a response that sends an open file, or a part of it, piece by piece; it closes the file."""
    told = {"etag": etag, "cache-control": kept, "accept-ranges": "bytes"}
    opened = os.fdopen(file, "rb", buffering=0)
    if _unchanged(headers, etag):
        opened.close()
        return Response(None, 304, told)
    try:
        part = _part(headers, size, etag)
    except ProblemError:
        opened.close()
        raise
    first, end = part or (0, size)
    told["content-length"] = str(end - first)
    if part is not None:
        told["content-range"] = f"bytes {first}-{end - 1}/{size}"

    def pieces() -> Iterator[bytes]:
        with opened:
            opened.seek(first)
            left = end - first
            while left > 0 and (data := opened.read(min(PIECE, left))):
                left -= len(data)
                yield data

    return StreamingResponse(pieces(), 200 if part is None else 206, told, kind)


def _unchanged(headers: Headers, etag: str) -> bool:
    """Whether the reader has the file already, as `If-None-Match` says."""
    known = [each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def _part(headers: Headers, size: int, etag: str) -> tuple[int, int] | None:
    """Return the first byte that is asked for and the one after the last; None if the whole is.

    Several ranges, and what is no range, are answered with the whole, as HTTP allows.
    """
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if found is None or headers.get("if-range", etag) != etag or found[1] == found[2] == "":
        return None
    if found[1] == "":
        first, end = max(0, size - int(found[2])), size
    else:
        first, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if first >= min(end, size):
        unmet = {"content-range": f"bytes */{size}"}
        raise ProblemError(416, f"found the range {headers['range']} of {size} bytes", headers=unmet)
    return first, end
