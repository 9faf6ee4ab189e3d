"""How far a call is that takes seconds: a line in a notebook or a terminal, and one line on Ctrl-C.

The call names itself by `@phased`; what it calls says by `tell` what is done and how far it is. Without such
a call above it, in a thread, or where nobody looks, `tell` does nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from qifscan import notebook
from qifscan.errors import RunInterrupted

P = ParamSpec("P")
R = TypeVar("R")

QUIET = 0.5
"""Seconds for which a call says nothing: most end before."""

OFTEN = 0.1
"""Seconds between two changes of a line."""


class Phases:
    """What a call is at, and the line that tells it."""

    def __init__(self, name: str) -> None:
        self.name, self.phase = name, "starting"
        self._begin = self._last = time.perf_counter()
        self._stack = ExitStack()
        self._write: Callable[[str], None] | None = None

    def tell(self, phase: str, done: int | None = None, whole: int | None = None) -> None:
        """Take down what is done now, how much of it is finished, and show it now and then."""
        count = "" if done is None else f" {done:,}" if whole is None else f" {done:,} of {whole:,}"
        self.phase = f"{phase}{count}"
        now = time.perf_counter()
        if now - self._begin < QUIET or now - self._last < OFTEN:
            return
        self._last = now
        if self._write is None:
            self._write = self._opened()
        self._write(f"{self.name}: {self.phase}, {now - self._begin:.0f} s")

    def _opened(self) -> Callable[[str], None]:
        if notebook.in_a_notebook():
            return self._stack.enter_context(notebook.line())
        return _on_terminal if in_a_terminal() else _nowhere

    def end(self) -> None:
        """Leave the time that it took in a notebook, and nothing in a terminal."""
        if self._write is _on_terminal:
            _on_terminal("")
        elif self._write is not None:
            self._write(f"{self.name}: {time.perf_counter() - self._begin:.1f} s")
        self._stack.close()


_current: ContextVar[Phases | None] = ContextVar("phases", default=None)


def tell(phase: str, done: int | None = None, whole: int | None = None) -> None:
    """Say what the call above is doing now, and how much of it is finished."""
    current = _current.get()
    if current is not None:
        current.tell(phase, done, whole)


def phased(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function tell its phases under a name, and end with one line on Ctrl-C."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def watched(*arguments: P.args, **options: P.kwargs) -> R:
            if _current.get() is not None or threading.current_thread() is not threading.main_thread():
                return function(*arguments, **options)
            phases = Phases(name)
            token = _current.set(phases)
            try:
                return function(*arguments, **options)
            except RunInterrupted:
                raise
            except KeyboardInterrupt:
                raise RunInterrupted(f"{name}: stopped while {phases.phase}") from None
            finally:
                _current.reset(token)
                phases.end()

        return watched

    return decorated


def in_a_terminal() -> bool:
    """Whether standard error is a terminal: there may be none, or something in its place."""
    asked = getattr(sys.stderr, "isatty", None)
    try:
        return asked is not None and bool(asked())
    except ValueError:
        return False


def _on_terminal(text: str) -> None:
    """Replace the last line of the terminal."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def _nowhere(text: Any) -> None:
    """Write nothing."""
