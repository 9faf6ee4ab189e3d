"""Shards: many chunks of an array in one file, byte for byte as they are in their own, then an index.

This is the codec `sharding_indexed` of zarr: where each chunk begins and its bytes, as pairs of 64 bits, and
a checksum over them. Nothing is unpacked on the way there or back, so no bit can change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.files import Place
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import google_crc32c
else:
    google_crc32c = LazyModule("google_crc32c")

MOST_CHUNKS = 1024
"""Chunks in a shard: a reader of one of them reads the index of all first, 16 KiB."""

MOST_BYTES = 1 << 26
"""Bytes of the values in a shard: one is in memory while it is made."""

MISSING = 2**64 - 1
"""In an index: there is no such chunk."""

_CODEC = "sharding_indexed"
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CHECKSUM = {"name": "crc32c"}


def counts_of(node: Mapping[str, Any]) -> Place:
    """Return how many files an array has along each dimension."""
    lengths = node["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-n // c) for n, c in zip(node["shape"], lengths, strict=True))


def fold_of(node: Mapping[str, Any]) -> Place:
    """Return how many chunks along each dimension of an array come into a shard: whole rows of the last."""
    lengths = node["chunk_grid"]["configuration"]["chunk_shape"]
    size = math.prod(lengths) * _itemsize(node["data_type"])
    left = max(1, min(MOST_CHUNKS, MOST_BYTES // max(1, size)))
    fold: list[int] = []
    for count in reversed(counts_of(node)):
        fold.insert(0, max(1, min(count, left)))
        left //= fold[0]
    return tuple(fold)


def _itemsize(data_type: Any) -> int:
    try:
        return np.dtype(data_type).itemsize or 8
    except TypeError:
        return 8


def is_packed(node: Mapping[str, Any]) -> bool:
    """Whether an array is in shards."""
    return bool(node["codecs"]) and node["codecs"][0].get("name") == _CODEC


def packed_node(node: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an array in shards; of one with a single file, and of a group, its own."""
    if node["node_type"] != "array" or is_packed(node) or math.prod(counts_of(node)) < 2:
        return node
    lengths = node["chunk_grid"]["configuration"]["chunk_shape"]
    inner = {"chunk_shape": list(lengths), "codecs": node["codecs"]}
    index = {"index_codecs": [_BYTES, _CHECKSUM], "index_location": "end"}
    shape = [n * c for n, c in zip(fold_of(node), lengths, strict=True)]
    return node | {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "codecs": [{"name": _CODEC, "configuration": inner | index}],
    }


def unpacked_node(node: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an array in shards as it was with a file for each chunk."""
    if node["node_type"] != "array" or not is_packed(node):
        return node
    inner = node["codecs"][0]["configuration"]
    grid = {"name": "regular", "configuration": {"chunk_shape": inner["chunk_shape"]}}
    return node | {"chunk_grid": grid, "codecs": inner["codecs"]}


def within(shard: Place, fold: Place) -> Iterator[Place]:
    """Return the places of the chunks of a shard, in the order of its index."""
    for inner in np.ndindex(*fold):
        yield tuple(s * n + i for s, n, i in zip(shard, fold, inner, strict=True))


def joined(chunks: list[bytes | None]) -> bytes:
    """Return the shard of these chunks, in the order of its index."""
    index, at = [], 0
    for chunk in chunks:
        index += [MISSING, MISSING] if chunk is None else [at, len(chunk)]
        at += 0 if chunk is None else len(chunk)
    told = np.array(index, dtype="<u8").tobytes()
    checksum = google_crc32c.value(told).to_bytes(4, "little")
    return b"".join([*(chunk for chunk in chunks if chunk is not None), told, checksum])


def parted(shard: bytes, count: int) -> list[bytes | None]:
    """Return the chunks of a shard; raise `ValueError` if it can't be one of so many."""
    begin = len(shard) - 16 * count - 4
    told = shard[begin:-4]
    if begin < 0 or google_crc32c.value(told) != int.from_bytes(shard[-4:], "little"):
        raise ValueError("its index is damaged")
    chunks: list[bytes | None] = []
    for at, size in np.frombuffer(told, dtype="<u8").reshape(count, 2).tolist():
        if at == size == MISSING:
            chunks.append(None)
        elif at + size > begin:
            raise ValueError("its index is damaged")
        else:
            chunks.append(shard[at : at + size])
    return chunks
