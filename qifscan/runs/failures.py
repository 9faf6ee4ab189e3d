"""What a run says of the chunks that failed: which, where and why, what is left, and what to do."""

from __future__ import annotations

import errno

from qifscan.errors import RunError, StoreError
from qifscan.runs.tasks import FailedAt
from qifscan.store import chunk_files
from qifscan.store.store import Store

MOST_FAILURES = 5
"""Chunks that may fail before a run gives up: one bad worker is survived, a bad scan ends early."""

_ROOM = "make room, then run the same command: it does the rest"
_ACCESS = "give write access, then run the same command: it does the rest"

ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _ACCESS,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.ENOENT: "the store was moved or deleted, or its path is not there for the worker; put it back, or "
    "give a path that every worker sees",
    errno.ENOTEMPTY: "another run writes to the same path; let it end, then run the same command",
    errno.EEXIST: "another run writes to the same path; let it end, then run the same command",
}
"""What to do about an error of the file system."""


def failed(opened: Store, failures: dict[int, BaseException]) -> RunError:
    """Return the error that says what failed, what is left, and how to go on."""
    chunk, error = next(iter(failures.items()))
    where = ""
    if isinstance(error, FailedAt):
        where, error = f" at {error.worker}", error.error
    if isinstance(error, StoreError):
        return RunError(f"{error}{f' ({where.strip()})' if where else ''}")
    total = len(opened.chunks)
    left = total - len(chunk_files.finished(opened))
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}"
        advice = ADVICE.get(error.errno or 0, "the same command tries the rest again")
    else:
        reason = f"{type(error).__name__}: {reason}"
        advice = "the same command tries the rest again"
    return RunError(
        f"{opened.path}: chunk {chunk} failed{where} ({reason}); {left} of {total} chunks are missing; "
        f"{advice}"
    )
