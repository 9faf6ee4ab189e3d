"""What happens in a run, as lines of JSON in a file beside its store: for those who watch, and for later.

A line has the time, the run, and the name of the event; the rest depends on that. A log that can't be written
is done without: it is no part of a store.
"""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qifscan.files import Where

MOST_READ = 4 * 2**20
"""Bytes at the end of a log that are read."""


def log_of(store: Where) -> Path | None:
    """Return the log of a store: a file beside it; None of one in an object store, where no file grows."""
    if not isinstance(store, Path):
        return None
    return store.with_name(f"{store.name}.jsonl")


@dataclass
class Log:
    """The log that a run writes."""

    path: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def write(self, event: str, **facts: Any) -> None:
        """Add a line."""
        line = json.dumps({"time": round(time.time(), 3), "run": self.run, "event": event, **facts})
        # One write of one line: two runs may write to the same log.
        with suppress(OSError):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, f"{line}\n".encode())
            finally:
                os.close(handle)


_current: ContextVar[Log | None] = ContextVar("log", default=None)


def note(event: str, **facts: Any) -> None:
    """Add a line to the log of the run that this is called in, if there is one."""
    log = _current.get()
    if log is not None:
        log.write(event, **facts)


@contextmanager
def logged(store: Where, **facts: Any) -> Iterator[None]:
    """Log what happens inside: first these facts, in the end how it ended."""
    path = log_of(store)
    if path is None:
        yield
        return
    log = Log(path)
    token = _current.set(log)
    log.write("begun", host=platform.node(), process=os.getpid(), **facts)
    how: dict[str, Any] = {"how": "finished"}
    try:
        yield
    except BaseException as error:
        how = {"how": type(error).__name__, "error": str(error)}
        raise
    finally:
        log.write("ended", **how)
        _current.reset(token)


def read(store: Where) -> list[dict[str, Any]]:
    """Return the events of the last run that a log tells of, empty where there is none that can be read."""
    path = log_of(store)
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_READ))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        # A line may be cut, and whoever can write beside the store may have written it.
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("time"), (int, float)):
                found.append(event)
    last = next((event.get("run") for event in reversed(found)), None)
    return [event for event in found if event.get("run") == last]
