"""The kernel in a process of its own, where this one's JAX has started without the options that it needs.

A thread has a child of its own, which ends with it or with this process. What goes to it and comes back are
pickles of this package's own making, through a pipe that nobody else holds.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from qifscan.engine.backend import isolated
from qifscan.errors import RunError

SERVE = "from qifscan.engine import batch; batch.serve()"

_LENGTH = struct.Struct("<Q")
_of_thread = threading.local()


class ChildEnded(RunError):
    """A child ended before it answered: killed, or out of memory. The next request gets another."""


class Child:
    """A process that answers one request after the other."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE],
            env=isolated({**os.environ, **environment}),
            cwd=sys.prefix,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for this process: a chunk that is running is finished.
            start_new_session=True,
        )
        # The child finds a user's own models where this process finds them.
        self.ask([os.path.abspath(folder) for folder in sys.path])

    def ask(self, request: object) -> Any:
        """Return the answer; what was raised there is raised here."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            _write(to, request)
            answer = _read(back)
        except (OSError, EOFError):
            code = self._process.wait()
            raise ChildEnded(f"the process of the kernel ended with code {code}") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __del__(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            # A pipe to a child that has ended can't be flushed.
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


def ask(request: object, environment: Mapping[str, str]) -> Any:
    """Return the answer of this thread's child, started in this environment if there is none."""
    if not hasattr(_of_thread, "child"):
        _of_thread.child = Child(environment)
    try:
        return _of_thread.child.ask(request)
    except ChildEnded:
        del _of_thread.child
        raise


def serve(answer: Callable[[Any], object]) -> None:
    """Answer requests from standard input until it is closed: the main loop of a child."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever else is printed must not get between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Behind what was found already: a file of the user's may have the name of one that is imported.
    sys.path += [folder for folder in _read(requests) if folder not in sys.path]
    _write(answers, None)
    while True:
        try:
            request = _read(requests)
        except EOFError:
            return
        try:
            _write(answers, answer(request))
        except Exception as error:  # noqa: BLE001 - the asking process says what went wrong
            _write(answers, error)


def _write(pipe: IO[bytes], value: object) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> Any:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    data = pipe.read(count)
    if len(data) < count:
        raise EOFError
    return data
