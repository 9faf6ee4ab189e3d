"""The bytes of a chunk of an array: packed as zarr packs them, and unpacked, without the way through zarr.

That way is made for chunks of many megabytes: of a chunk of no size it takes half a millisecond for each
array, and as long to read one, where this takes a fortieth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import google_crc32c
    import numcodecs.blosc
else:
    google_crc32c = LazyModule("google_crc32c")
    numcodecs = LazyModule("numcodecs")

Array = np.ndarray[Any, Any]

SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
"""What blosc does before it compresses, by the number that it knows it by."""


@dataclass(frozen=True)
class Packing:
    """How the chunks of an array are packed: little-endian values in C order, by blosc or as they are, then
    their checksum."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    blosc: Any
    """A compressor of numcodecs; None for values as they are."""

    @classmethod
    def of(cls, array: Any) -> Packing | None:
        """Return how an array of zarr packs its chunks; None where that is in no such way."""
        codecs = [codec.to_dict() for codec in array.metadata.codecs]
        names = tuple(codec["name"] for codec in codecs)
        if array.shards is not None or names not in {("bytes", "crc32c"), ("bytes", "blosc", "crc32c")}:
            return None
        if codecs[0].get("configuration", {}).get("endian", "little") != "little":
            return None
        blosc = None
        if len(codecs) == 3:
            told = dict(codecs[1]["configuration"])
            try:
                blosc = numcodecs.blosc.Blosc(**told | {"shuffle": SHUFFLES.index(told["shuffle"])})
            except TypeError:
                # An earlier numcodecs has no `typesize`, and its bytes are others.
                return None
        return cls(array.chunks, array.dtype.newbyteorder("<"), array.fill_value, blosc)

    def packed(self, values: Array) -> bytes:
        """Return the bytes of a chunk; of one at the end of a dimension the rest is the fill value."""
        whole = np.ascontiguousarray(values, self.dtype)
        if whole.shape != self.shape:
            whole = np.full(self.shape, self.fill, self.dtype)
            whole[tuple(slice(n) for n in values.shape)] = values
        body = whole.tobytes() if self.blosc is None else bytes(self.blosc.encode(whole))
        return body + _functions()[0](body).to_bytes(4, "little")

    def unpacked(self, data: bytes) -> Array | None:
        """Return a whole chunk from its bytes; None where they are damaged."""
        checksum, decompress = _functions()
        body, told = data[:-4], int.from_bytes(data[-4:], "little")
        with suppress(Exception):
            if checksum(body) == told:
                values = body if self.blosc is None else decompress(body)
                return np.frombuffer(values, self.dtype).reshape(self.shape)
        return None


@lru_cache(maxsize=1)
def _functions() -> tuple[Callable[[bytes], int], Callable[[bytes], bytes]]:
    """Return the checksum, and what unpacks: asked for once, as they are called for thousands of chunks."""
    return google_crc32c.value, numcodecs.blosc.decompress
