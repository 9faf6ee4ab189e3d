"""What a store knows of itself, beside its arrays: a second copy of its metadata, and a row for each chunk.

The rows tell, per array of a chunk, a digest of its values and the size of its file. A digest belongs to one
scan, one chunk and one array: a chunk that is copied over another is found. The copy lies in a group of its
own, as xarray replaces the attributes of the root when it writes into a store.
"""

from __future__ import annotations

import errno
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan import files
from qifscan.errors import StoreError
from qifscan.files import METADATA, MOST_TEXT, Where
from qifscan.objects import ObjectPath

Array = np.ndarray[Any, Any]

RECORD = "qifscan-record"
"""The group: no axis has such a name, as that of a variable has no hyphen."""

SCHEMA = 2
"""Version of the layout; a store of another one is refused."""

COUNTS = 2
"""Words before the arrays' own: points taken over from an older store, above them (from bit 32 on) what was
computed with which options; and points continued from an older store."""


def words(arrays: int) -> int:
    """Return the words in a row for so many arrays; the last is the digest of the others."""
    return COUNTS + 2 * arrays + 1


def of_options(options: str) -> int:
    """Return 32 bits that tell options from others; 0 stands for those of a chunk that does not say."""
    return digest(options.encode()) % (2**32 - 1) + 1


def digest(*parts: bytes | Array) -> int:
    """Return 64 bits that differ where any of the parts does."""
    made = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return int.from_bytes(made.digest(), "little")


@dataclass(frozen=True)
class Row:
    """What is known of a chunk: points that were taken over and continued, the options that it was computed
    with (0: it does not say), and of each array the digest of its values and the size of its file."""

    taken: int
    continued: int
    options: int
    digests: list[int]
    sizes: list[int]


def bytes_of(row: Row) -> bytes:
    """Return the bytes of the file of a row."""
    pairs = [word for pair in zip(row.digests, row.sizes, strict=True) for word in pair]
    data = np.array([row.taken | row.options << 32, row.continued, *pairs], dtype="<u8").tobytes()
    return data + digest(data).to_bytes(8, "little")


def row_of(data: bytes | None, arrays: int) -> Row | None:
    """Return the row in the bytes of its file; None where there are none, or they are damaged."""
    found = _words_of(data, arrays)
    if found is None:
        return None
    first, continued, *pairs = found
    return Row(first % 2**32, continued, first >> 32, pairs[::2], pairs[1::2])


def sizes_of(data: bytes | None, arrays: int) -> tuple[int, ...] | None:
    """Return the sizes alone of what `row_of` does: of thousands of chunks nothing else is wanted."""
    found = _words_of(data, arrays)
    return None if found is None else found[COUNTS + 1 :: 2]


def _words_of(data: bytes | None, arrays: int) -> tuple[int, ...] | None:
    if data is None or len(data) != 8 * words(arrays):
        return None
    *found, told = struct.unpack(f"<{words(arrays)}Q", data)
    return tuple(found) if digest(data[:-8]) == told else None


def read_json(path: Where) -> Any:
    """Return the data of a JSON file; raise `ValueError` where there is none that can be read."""
    try:
        return _parsed(files.read(path, MOST_TEXT))
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is nested too deeply"
        raise ValueError(f"{path.name} can't be read ({reason})") from None


def nodes(path: Where, under: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """Return name and metadata of every array and group in a group, those of groups in it after them."""
    names = [f"{under}/{name}" if under else name for name in names_in(path, under)]
    for name, metadata in zip(names, nodes_of(path, names), strict=True):
        if metadata is None:
            continue
        yield name, metadata
        if isinstance(metadata, dict) and metadata.get("node_type") == "group" and depth < files.DEEPEST:
            yield from nodes(path, name, depth + 1)


def nodes_of(path: Where, names: Sequence[str]) -> list[Any]:
    """Return the metadata of these arrays and groups, None for those that have none that can be read; raise
    `OSError` where it is the disk or the server that fails: what is there may not be taken for missing."""
    return files.each(_node, [path / name / METADATA for name in names])


def names_in(path: Where, under: str) -> list[str]:
    """Return the names of folders in a group of a store.

    The listing of a server may lag behind what was written: it is asked for, and the copy in the root too.
    """
    found = {*files.folders(path / under if under else path)}
    if isinstance(path, ObjectPath):
        start = f"{under}/" if under else ""
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            copy = read_json(path / METADATA)["consolidated_metadata"]["metadata"]
            found |= {name[len(start) :].partition("/")[0] for name in copy if name.startswith(start)}
    return sorted(found - {""})


NO_FILE = frozenset(
    getattr(errno, name) for name in ("ENOENT", "ENOTDIR", "EISDIR", "EINVAL", "EFBIG", "EACCES", "ELOOP")
)
"""Errors of what is no file, or none that may be read, whenever one asks: all others may pass."""


def _node(file: Where) -> Any:
    try:
        return _parsed(files.read(file, MOST_TEXT))
    except (ValueError, RecursionError):
        return None
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        raise


def _parsed(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"))


def seal(path: Where, attributes: Mapping[str, Any], copied: bool = False) -> None:
    """Write the metadata of the root: attributes, and a copy of all others for those who can't list. With
    `copied` the second copy of a store's attributes and of the metadata of its arrays is written before it.
    """
    # Read once: each is a file, or a question to a server.
    found = dict(nodes(path))
    if copied:
        found[RECORD] = _second_copy(found, attributes)
        files.write(path / RECORD / METADATA, json.dumps(found[RECORD]).encode())
    files.write(path / METADATA, json.dumps(root_of(found, attributes)).encode())


def _second_copy(nodes: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: node for name, node in nodes.items() if name.split("/")[0] not in {RECORD, "theory"}}
    own |= {name: node for name, node in nodes.items() if name.startswith(f"{RECORD}/")}
    kept = {"attributes": dict(attributes), "nodes": own}
    head = {"zarr_format": 3, "node_type": "group"}
    return {**head, "attributes": {**kept, "digest": _of_json(kept)}}


def root_of(nodes: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a root with these arrays and groups."""
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(nodes)}
    head = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return {**head, "consolidated_metadata": consolidated}


@contextmanager
def reading(path: Where) -> Iterator[None]:
    """Turn an error of the file system or of a server into a `StoreError`, which says where it was."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: can't be read ({error.strerror or error})") from None


def attributes(path: Where) -> dict[str, Any]:
    """Return the attributes of the store at `path`; raise `StoreError` if there is none that can be read."""
    there = "expected a store that qifscan run has made"
    try:
        with reading(path):
            if not (path / METADATA).is_file():
                missing = f"found no {METADATA}," if path.exists() else "not found;"
                raise StoreError(f"{path}: {missing} {there}")
        found = dict(read_json(path / METADATA)["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if METADATA in str(error) else f"{METADATA} can't be read ({error})"
        raise StoreError(f"{path}: {reason}; the store is damaged") from None
    if "qifscan_schema" not in found:
        raise StoreError(f"{path}: has no scan in its attributes, {there}")
    if found["qifscan_schema"] != SCHEMA:
        version = found["qifscan_schema"]
        raise StoreError(f"{path}: has layout version {version}, this qifscan reads version {SCHEMA}")
    return found


def read(path: Where) -> dict[str, Any] | None:
    """Return the second copy; None if there is none, or it is damaged."""
    try:
        kept = dict(read_json(path / RECORD / METADATA)["attributes"])
        told = kept.pop("digest")
        return kept if told == _of_json(kept) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def listed(path: Where) -> tuple[list[str], list[str]]:
    """Return the variables and the coordinates of the scan of a store, as its record lists them."""
    found = read(path)
    attributes = {} if found is None else found["attributes"]
    return attributes.get("qifscan_variables", []), attributes.get("qifscan_coordinates", [])


def _of_json(data: Any) -> str:
    return f"{digest(json.dumps(data, sort_keys=True).encode()):016x}"
