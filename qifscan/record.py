"""What a store knows of itself, beside its arrays: a second copy of its metadata, and a row for each chunk.

The rows tell, per array of a chunk, a digest of its values and the size of its file. A digest belongs to one
scan, one chunk and one array: a chunk that is copied over another is found. The copy lies in a group of its
own, as xarray replaces the attributes of the root when it writes into a store.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qifscan.errors import StoreError

Array = np.ndarray[Any, Any]

RECORD = "qifscan-record"
"""The group: no axis has such a name, as that of a variable has no hyphen."""

METADATA = "zarr.json"
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


def write_row(path: Path, row: Row) -> None:
    """Write the row of a chunk."""
    pairs = [word for pair in zip(row.digests, row.sizes, strict=True) for word in pair]
    data = np.array([row.taken | row.options << 32, row.continued, *pairs], dtype="<u8").tobytes()
    write_whole(path, data + digest(data).to_bytes(8, "little"))


def read_row(path: str | Path, arrays: int) -> Row | None:
    """Return the row of a chunk; None where there is no such row, or it is damaged."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    if len(data) != 8 * words(arrays) or digest(data[:-8]) != int.from_bytes(data[-8:], "little"):
        return None
    first, continued, *pairs = np.frombuffer(data[:-8], dtype="<u8").tolist()
    return Row(first % 2**32, continued, first >> 32, pairs[::2], pairs[1::2])


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the data of a JSON file; raise `ValueError` where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError) as error:
        raise ValueError(f"{path.name} can't be read ({getattr(error, 'strerror', None) or error})") from None


def nodes(path: Path, under: str = "") -> Iterator[tuple[str, Any]]:
    """Return name and metadata of every array and group in a group, those of groups in it after them."""
    for entry in sorted(os.scandir(path / under), key=lambda entry: entry.name):
        if entry.is_symlink() or not entry.is_dir():
            continue
        name = f"{under}/{entry.name}" if under else entry.name
        try:
            metadata = read_json(path / name / METADATA)
        except ValueError:
            continue
        yield name, metadata
        if isinstance(metadata, dict) and metadata.get("node_type") == "group":
            yield from nodes(path, name)


def seal(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of the root: attributes, and a copy of all others for those who can't list."""
    write_whole(path / METADATA, json.dumps(root(path, attributes)).encode())


def root(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of the root of a store."""
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(nodes(path))}
    head = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return {**head, "consolidated_metadata": consolidated}


def write(path: Path, attributes: Mapping[str, Any]) -> None:
    """Keep a second copy of a store's attributes and of the metadata of its arrays."""
    own = {name: node for name, node in nodes(path) if name.split("/")[0] not in {RECORD, "theory"}}
    own |= {name: node for name, node in nodes(path) if name.startswith(f"{RECORD}/")}
    kept = {"attributes": dict(attributes), "nodes": own}
    head = {"zarr_format": 3, "node_type": "group"}
    data = {**head, "attributes": {**kept, "digest": _of_json(kept)}}
    write_whole(path / RECORD / METADATA, json.dumps(data).encode())


def attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of the store at `path`; raise `StoreError` if there is none that can be read."""
    metadata = path / METADATA
    if not path.exists():
        raise StoreError(f"{path}: not found; expected a store that qifscan run has made")
    if not metadata.is_file():
        raise StoreError(f"{path}: found no zarr.json, expected a store that qifscan run has made")
    try:
        found = dict(json.loads(metadata.read_text(encoding="utf-8"))["attributes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: zarr.json can't be read ({error}); the store is damaged") from None
    if "qifscan_schema" not in found:
        raise StoreError(f"{path}: has no scan in its attributes, expected a store that qifscan run has made")
    if found["qifscan_schema"] != SCHEMA:
        version = found["qifscan_schema"]
        raise StoreError(f"{path}: has layout version {version}, this qifscan reads version {SCHEMA}")
    return found


def read(path: Path) -> dict[str, Any] | None:
    """Return the second copy; None if there is none, or it is damaged."""
    try:
        kept = dict(read_json(path / RECORD / METADATA)["attributes"])
        told = kept.pop("digest")
    except (ValueError, KeyError, TypeError):
        return None
    return kept if told == _of_json(kept) else None


def _of_json(data: Any) -> str:
    return f"{digest(json.dumps(data, sort_keys=True).encode()):016x}"


def links(path: Path) -> Iterator[str]:
    """Return every link in a store: what is written through one is written elsewhere."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(folder, name)):
                yield os.path.relpath(os.path.join(folder, name), path)
