"""Write a chunk: every array of it, and its status last."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from qifscan import files, record
from qifscan.engine import backend
from qifscan.lazy import LazyModule
from qifscan.store.chunk_files import arrays_of, digest_of, files_of, row_path

if TYPE_CHECKING:
    import asyncio

    from qifscan.engine.measured import Measured
    from qifscan.store.store import Store
else:
    asyncio = LazyModule("asyncio")


def write(store: Store, chunk: int, result: Measured, origin: int | None = None) -> None:
    """Write the results of a chunk, its status last; `origin` stands for what computed it, if that is not
    what computes the store."""
    arrays, chunks, region = arrays_of(store), store.chunks, store.chunks.region(chunk)
    shape = tuple(s.stop - s.start for s in region)
    if chunks.is_trace(chunk):
        assert result.record is not None
        traced = store.scan.mean_field.variables
        values = {f"{v.name}_trace": result.record[..., i] for i, v in enumerate(traced)}
        values["trace_status"] = result.status
    else:
        values = {name: v.reshape(shape + v.shape[1:]) for name, v in result.variables.items()}
        values["status"] = result.status.reshape(shape)

    async def written() -> None:
        for name, each in values.items():
            await arrays[name].async_array.setitem(region, each)
        if store.recorded:
            mine = files_of(store, chunk)
            digests = [digest_of(store, chunk, n, values[n].astype(arrays[n].dtype)) for n in mine]
            here = backend.options()
            made = origin or (0 if here == backend.UNKNOWN else record.of_options(here))
            row = record.Row(result.taken, result.continued, made, digests, files.sizes(list(mine.values())))
            record.write_row(row_path(store, chunk), row)

    _in_this_thread(written())


def _in_this_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run what is asynchronous to its end in this thread of a worker.

    zarr hands every array to a thread of its own, and that to others for packing and for the file, which
    takes the cores from the chunks that are running: 23 ms for a chunk where this takes 16 to 21.
    """
    if threading.current_thread() is threading.main_thread() or _has_loop():
        # In the main thread Ctrl-C would leave a file half written; and a thread has one loop, in a notebook
        # that of the notebook.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(_in_this_thread, work).result()
        return
    with closing(asyncio.new_event_loop()) as loop:
        loop.set_default_executor(_AtOnce(1))
        loop.run_until_complete(work)


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _AtOnce(ThreadPoolExecutor):
    """An executor that runs what it is given in the thread that gives it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function, and return what came of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)
        return future


def disk_is_full(error: BaseException) -> bool:
    """Whether an error means that no further chunk can be written either."""
    hopeless = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
    return isinstance(error, OSError) and error.errno in hopeless
