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


def failed(opened: Store, failures: dict[int, BaseException], ended: RunError | None = None) -> RunError:
    """Return the error that says which chunks failed, what is left, and how to go on; `ended` is what ended
    the run, if not they did."""
    total = len(opened.chunks)
    left = f"{total - len(chunk_files.finished(opened))} of {total} chunks are missing"
    if not failures:
        return RunError(f"{opened.path}: {ended}; {left}; the same command goes on from there")
    chunk, error = next(iter(failures.items()))
    where = ""
    if isinstance(error, FailedAt):
        where, error = f" at {error.worker}", error.error
    if isinstance(error, StoreError):
        return RunError(f"{error}{f' ({where.strip()})' if where else ''}")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = "the same command tries the rest again"
    if isinstance(error, OSError):
        reason = f"{error.strerror or error}"
        advice = ADVICE.get(error.errno or 0, advice)
    else:
        reason = f"{type(error).__name__}: {reason}"
    which = f"chunk {chunk}"
    if len(failures) > 1:
        which = f"chunk {chunk}{_too(failures)}"
    left = f"{ended}; {left}" if ended is not None else left
    return RunError(f"{opened.path}: {which} failed{where} ({reason}); {left}; {advice}")


def _too(failures: dict[int, BaseException]) -> str:
    return f" (and {', '.join(map(str, [*failures][1:]))})"
