"""An answer as bytes: four bytes with the length of a JSON header, the header, and the arrays behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_ALIGNED = 8


def packed(answer: Mapping[str, Any]) -> bytes:
    """Return an answer as bytes: its arrays as they are, all else as JSON, NaN and infinity as null.

    The header lists each array by name, type (`float32`, `float64`, `uint8`, `int32`), shape and offset from
    the end of the header; header and arrays begin at multiples of 8 bytes.
    """
    arrays = {name: np.ascontiguousarray(x) for name, x in answer.items() if isinstance(x, np.ndarray)}
    rest = {name: value for name, value in answer.items() if name not in arrays}
    listed, blocks, offset = [], [], 0
    for name, values in arrays.items():
        values = values.astype("u1") if values.dtype == bool else values
        raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        listed.append({"name": name, "type": values.dtype.name, "shape": values.shape, "offset": offset})
        raw += b"\0" * (-len(raw) % _ALIGNED)
        blocks.append(raw)
        offset += len(raw)
    header = json.dumps(plain(rest | {"arrays": listed}), allow_nan=False).encode()
    header += b" " * (-(len(header) + 4) % _ALIGNED)
    return b"".join([len(header).to_bytes(4, "little"), header, *blocks])


def unpacked(data: bytes) -> dict[str, Any]:
    """Return the answer that `packed` made bytes of."""
    length = int.from_bytes(data[:4], "little")
    answer: dict[str, Any] = json.loads(data[4 : 4 + length])
    for told in answer.pop("arrays"):
        count = math.prod(told["shape"])
        values = np.frombuffer(data, told["type"], count, 4 + length + told["offset"])
        answer[told["name"]] = values.reshape(told["shape"])
    return answer


def plain(value: Any) -> Any:
    """Return what JSON can hold: numbers of NumPy as those of Python, what is no finite number as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
