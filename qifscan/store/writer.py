"""Write a chunk: every array of it, and its status last."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.engine import backend
from qifscan.store.chunk_files import arrays_of, digest_of, names_of, packings_of, row_name

if TYPE_CHECKING:
    from types import FrameType

    from qifscan.engine.measured import Measured
    from qifscan.store.store import Store

Array = np.ndarray[Any, Any]


def write(store: Store, chunk: int, result: Measured, origin: int | None = None) -> None:
    """Write the results of a chunk, its status last; `origin` stands for what computed it, if that is not
    what computes the store."""
    values = _values(store, chunk, result)
    with uninterrupted():
        sizes = _written(store, chunk, values)
        if store.recorded:
            digests = [digest_of(store, chunk, name, each) for name, each in values.items()]
            here = backend.options()
            made = origin or (0 if here == backend.UNKNOWN else record.of_options(here))
            row = record.Row(result.taken, result.continued, made, digests, sizes)
            files.write_below(store.path, {row_name(store, chunk): record.bytes_of(row)})


def _values(store: Store, chunk: int, result: Measured) -> dict[str, Array]:
    """Return the values of each array of a chunk, in the order and of the types of the store."""
    arrays, region = arrays_of(store), store.chunks.region(chunk)
    shape = tuple(s.stop - s.start for s in region)
    if store.chunks.is_trace(chunk):
        assert result.record is not None
        traced = store.scan.mean_field.variables
        values = {f"{v.name}_trace": result.record[..., i] for i, v in enumerate(traced)}
        values["trace_status"] = result.status
    else:
        values = {name: v.reshape(shape + v.shape[1:]) for name, v in result.variables.items()}
        values["status"] = result.status.reshape(shape)
    return {name: values[name].astype(arrays[name].dtype) for name in names_of(store, chunk)}


def _written(store: Store, chunk: int, values: dict[str, Array]) -> list[int]:
    """Write the arrays of a chunk; return the bytes of the file of each."""
    mine, packings = names_of(store, chunk), packings_of(store)
    packed = {name: how.packed(values[name]) for name in mine if (how := packings[name]) is not None}
    if len(packed) < len(mine):
        # A store with another packing than ours: zarr knows it.
        for name, each in values.items():
            arrays_of(store)[name][store.chunks.region(chunk)] = each
        return files.sizes([store.path / file for file in mine.values()])
    *_, status = mine
    files.write_below(store.path, {mine[name]: data for name, data in packed.items() if name != status})
    files.write_below(store.path, {mine[status]: packed[status]})
    return [len(data) for data in packed.values()]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until what is inside is done; a second one comes at once."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    interrupt, came = before, []

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if len(came) > 1:
            interrupt(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if len(came) == 1:
            interrupt(*came[0])


def disk_is_full(error: BaseException) -> bool:
    """Whether an error means that no further chunk can be written either."""
    hopeless = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
    return isinstance(error, OSError) and error.errno in hopeless
