"""The process of one job: what it is to do comes as a line of JSON, and how far it is goes out as lines.

It ends between chunks when its standard input is closed: the server does so to stop it, and the operating
system when the server has been killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from qifscan.dynamics.imported import imported
from qifscan.errors import QifscanError, RunInterrupted, ScanError
from qifscan.runs.driver import execute
from qifscan.runs.progress import Progress
from qifscan.runs.verification import verify
from qifscan.scan.scan import Scan
from qifscan.store.theory_group import write_theory
from qifscan.theory.of_scan import atlas, check, summary

INTERRUPTED = 130

Tell = Callable[[dict[str, Any]], None]
"""Sends a line to the server."""


def main() -> int:
    """Do the job that standard input names; return the exit code."""
    # What a model or a library prints must not come between the lines for the server.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    # A shell starts what it puts into the background with this signal ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_watch, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        tell({"result": WORK[asked["process"]](asked, tell)})
    except (KeyboardInterrupt, RunInterrupted):
        return INTERRUPTED
    except QifscanError as error:
        tell({"error": str(error).splitlines(), "status": 422 if isinstance(error, ScanError) else 500})
        return 1
    except BrokenPipeError:
        return INTERRUPTED
    return 0


def _watch(stdin: IO[bytes]) -> None:
    """Interrupt the main thread, once, when standard input ends."""
    while stdin.read(1):
        pass
    if hasattr(signal, "pthread_kill"):
        # Sent to the thread itself, it also wakes it where it waits for a chunk.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        signal.raise_signal(signal.SIGINT)


def _import_own(asked: dict[str, Any]) -> None:
    """Import the models and observables that the server was started with, so that a scan may name them."""
    for place in asked["own"]:
        imported("own", place)


def _scan_of(asked: dict[str, Any]) -> Scan:
    _import_own(asked)
    return Scan.from_json(json.dumps(asked["scan"]))


def _run(asked: dict[str, Any], tell: Tell) -> list[str]:
    def report(state: Progress) -> None:
        tell({"progress": asdict(state)})

    execute(
        _scan_of(asked),
        Path(asked["path"]),
        extend=None,
        checkpoint=True,
        client=asked["client"],
        workers=None,
        chunk_points=None,
        progress=report,
    )
    return []


def _bifurcate(asked: dict[str, Any], tell: Tell) -> list[str]:
    scan = _scan_of(asked)
    check(scan)
    found = atlas(scan)
    write_theory(Path(asked["path"]), found)
    return list(summary(found))


def _verify(asked: dict[str, Any], tell: Tell) -> list[str]:
    _import_own(asked)
    verdict = verify(Path(asked["path"]), points=asked["points"])
    return ["sound" if verdict.sound else "not sound", *str(verdict).splitlines()]


WORK: dict[str, Callable[[dict[str, Any], Tell], list[str]]] = {
    "scan": _run,
    "bifurcate": _bifurcate,
    "verify": _verify,
}
"""What each process does; it returns what the job has to say when it has ended."""


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Taking jax apart would take half a second.
    os._exit(code)
