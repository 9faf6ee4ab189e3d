"""A Dask cluster as an executor. The only user of dask.distributed.

A chunk that fails is tried at other workers, one that is lost with its worker is computed again, and one that
waits at a worker that does not go on is given to another. A run that has to wait says for what.
"""

from __future__ import annotations

import ast
import inspect
import logging
import math
import os
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from qifscan.engine import backend
from qifscan.errors import Fault, RunError, ScanError, check_count, near, show
from qifscan.lazy import LazyModule
from qifscan.machine import usable_cores

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")

Work = Callable[[Any, int], Any]

WINDOW = 512
"""Tasks that the Dask scheduler holds at a time, or two for each thread if there are more of those: it keeps
workers busy, and is soon forgotten."""

RECOUNTED = 10.0
"""Seconds after which the threads of a cluster are counted again: workers come and go."""

KILLED_RETRIES = 2
"""Times that a chunk is tried again by itself after a worker died with it: the chunk may be innocent."""


ATTEMPTS = 3
"""Workers at which a chunk that fails is tried."""

MOST_TRIES = 30
"""Times that a chunk is tried: a worker at which everything fails at once is idle, and takes it back from the
others, where it is only preferred to run."""

MOST_BLAMED = 2
"""Chunks that fail at a worker and are computed by another before the worker gets no more."""

PATIENCE = 20.0
"""Seconds without a chunk after which a run looks for what it waits for, and says so."""

logger = logging.getLogger("qifscan")


@dataclass(frozen=True)
class DaskClient:
    """The workers of a Dask cluster, through a client that the user made."""

    client: Any
    local: bool = False

    @property
    def workers(self) -> int:
        """Threads of all workers."""
        return max(1, int(sum(self.client.nthreads().values())))

    @property
    def name(self) -> str:
        """The executor in words."""
        return f"{self.workers} threads of the Dask cluster {self.client.scheduler.address}"

    def device(self) -> str:
        """Return the device of one of the workers; raise `RunError` if it can't tell."""
        return self._asked(backend.device, "device")

    def options(self) -> str:
        """Return the options of one of the workers; raise `RunError` if it can't tell."""
        return self._asked(backend.options, "options")

    def _asked(self, question: Callable[[], str], what: str) -> str:
        ((_, found),) = self.outcomes(_answer, question, [0])
        if isinstance(found, FailedAt):
            found = found.error
        if isinstance(found, BaseException):
            reason = " ".join(f"{type(found).__name__}: {found}".split())[:200]
            raise RunError(f"{self.client.scheduler.address}: a worker can't tell its {what} ({reason})")
        return str(found)

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work on the cluster, a window of chunks at a time.

        A chunk that fails is tried at other workers, and a worker at which chunks fail that others compute
        gets no more of them.
        """
        tasks = _Tasks(self.client, work, argument)
        queue = list(reversed(chunks))
        try:
            while queue or tasks.pending:
                while queue and len(tasks.pending) < tasks.most:
                    tasks.submit(queue.pop())
                chunk, outcome = tasks.next_outcome()
                if isinstance(outcome, tuple):
                    tasks.blame_where_it_failed(chunk)
                    yield chunk, outcome[0]
                elif tasks.is_tried_again(chunk, outcome):
                    tasks.submit(chunk)
                else:
                    yield chunk, outcome
        finally:
            tasks.cancel()


@dataclass
class _Tasks:
    """The chunks of a run that a cluster has, and what is known of its workers."""

    client: Any
    work: Work
    argument: Any
    run: str = field(default_factory=lambda: f"qifscan-{uuid.uuid4().hex[:8]}")
    """A name of this run, for the keys: Dask would hand an earlier run's result for a known key."""
    attempts: count[int] = field(default_factory=count)
    pending: dict[str, tuple[Any, int]] = field(default_factory=dict)
    """Future and chunk of each key that is out."""
    done: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    failed_at: dict[int, list[str]] = field(default_factory=dict)
    """Workers at which a chunk failed, once for every time."""
    blamed: dict[str, int] = field(default_factory=dict)
    """Chunks that failed at a worker, and that another computed."""
    killed: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was lost with its worker."""
    counted: tuple[float, int] = (-math.inf, 0)
    """When the threads of the workers were counted, and how many there were."""

    @property
    def most(self) -> int:
        """Tasks that the scheduler is to hold."""
        when, threads = self.counted
        if time.monotonic() - when > RECOUNTED:
            threads = sum(self.client.nthreads().values())
            self.counted = time.monotonic(), threads
        return max(WINDOW, 2 * threads)

    def submit(self, chunk: int, avoided: Sequence[str] = ()) -> None:
        """Hand a chunk to a worker, not to those to avoid as long as there are others."""
        bad = (worker for worker, n in self.blamed.items() if n >= MOST_BLAMED)
        shunned = {*avoided, *self.failed_at.get(chunk, ()), *bad}
        where = self._others(shunned) if shunned else []
        # Where the others leave meanwhile, any worker does.
        places = {"workers": where, "allow_other_workers": True} if where else {}
        key = (self.run, chunk, next(self.attempts))
        future = self.client.submit(
            _at_worker, self.work, self.argument, chunk, key=key, pure=False, **places
        )
        self.pending[str(future.key)] = (future, chunk)
        future.add_done_callback(self.done.put)

    def next_outcome(self) -> tuple[int, Any]:
        """Return a chunk that is done, and what came of it."""
        while True:
            future = self._patiently(lambda seconds: self.done.get(timeout=seconds), Empty)
            # One that was given to another worker meanwhile is no longer waited for.
            if str(future.key) in self.pending:
                _, chunk = self.pending.pop(str(future.key))
                return chunk, _outcome(future, self.result)

    def result(self, future: Any) -> Any:
        """Return the result of a future that is done; if its worker has left since, it is computed again."""
        return self._patiently(lambda seconds: future.result(timeout=seconds), TimeoutError)

    def is_tried_again(self, chunk: int, outcome: Any) -> bool:
        """Tell whether a chunk goes to another worker, and note where it failed or was lost."""
        if isinstance(outcome, FailedAt):
            failed = self.failed_at.setdefault(chunk, [])
            failed.append(outcome.worker)
            there = {*failed}
            return len(there) < ATTEMPTS and len(failed) < MOST_TRIES and bool(self._others(there))
        if not isinstance(outcome, RunError) or self.killed.get(chunk, 0) >= KILLED_RETRIES:
            return False
        self.killed[chunk] = self.killed.get(chunk, 0) + 1
        return True

    def blame_where_it_failed(self, chunk: int) -> None:
        """Count a chunk that is computed against the workers at which it failed before."""
        for worker in self.failed_at.pop(chunk, ()):
            self.blamed[worker] = self.blamed.get(worker, 0) + 1
            if self.blamed[worker] == MOST_BLAMED:
                logger.warning("%s is left out: chunks fail there that others compute", worker)

    def cancel(self) -> None:
        """Take back what is out."""
        with suppress(Exception):
            self.client.cancel([future for future, _ in self.pending.values()])

    def _others(self, avoided: set[str]) -> list[str]:
        return [worker for worker in self.client.nthreads() if worker not in avoided]

    def _patiently(self, ask: Callable[[float], Any], nothing: type[Exception]) -> Any:
        """Return what is asked for; where that takes long, say what is waited for, and do without it."""
        begin, told = time.monotonic(), ""
        while True:
            try:
                return ask(PATIENCE)
            except nothing:
                pass
            stuck = self._stuck()
            reason = self._unreachable() or ", ".join(f"{name} {why}" for name, why in [*stuck.items()][:3])
            if reason and reason != told:
                told = reason
                seconds = time.monotonic() - begin
                logger.warning("nothing came for %.0f s: %s; Ctrl-C ends the run", seconds, reason)
            if stuck:
                self._give_to_others(stuck)

    def _unreachable(self) -> str:
        """Return in words why no worker can be reached; nothing, if one can."""
        address = self.client.scheduler.address if self.client.scheduler else "the cluster"
        if self.client.status != "running":
            return f"the scheduler {address} can't be reached ({self.client.status})"
        if not self.client.scheduler_info(n_workers=-1)["workers"]:
            return f"the scheduler {address} has no workers; start some (dask worker {address})"
        return ""

    def _stuck(self) -> dict[str, str]:
        """Return the workers that do not go on, with the reason, as far as the scheduler knows."""
        if self.client.status != "running":
            return {}
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        paused = [name for name, w in workers.items() if w.get("status") == "paused"]
        silent = [name for name, w in workers.items() if time.time() - w.get("last_seen", 0.0) > PATIENCE]
        return dict.fromkeys(silent, "does not answer") | dict.fromkeys(
            paused, "is paused, over its limit of memory"
        )

    def _give_to_others(self, stuck: Mapping[str, str]) -> None:
        """Submit again what waits at such workers, if there are others.

        Dask takes back what waits at a paused worker only while that has more than one task a thread, and
        of a silent one only after minutes. A chunk that both compute in the end is written twice with the
        same bits.
        """
        if not self._others({*stuck}):
            return
        held = {str(key) for keys in self.client.processing([*stuck]).values() for key in keys}
        for key in held & self.pending.keys():
            future, chunk = self.pending.pop(key)
            future.cancel()
            self.submit(chunk, avoided=[*stuck])


def _answer(question: Callable[[], str], _: int) -> str:
    """A question to a worker, as the work of one chunk."""
    return question()


class FailedAt(RuntimeError):
    """What a chunk raised at a worker: `worker` is its address, `error` what was raised."""

    def __init__(self, worker: str, error: BaseException) -> None:
        super().__init__(worker, error)
        self.worker, self.error = worker, error

    def __str__(self) -> str:
        return f"at {self.worker}: {self.error}"


def _at_worker(work: Work, argument: Any, chunk: int) -> tuple[Any] | FailedAt:
    """Run a chunk at a worker: whatever it raises is returned, for Dask not to try it again."""
    try:
        return (work(argument, chunk),)
    except BaseException as error:  # noqa: BLE001 - also SystemExit, which would end the worker
        address = distributed.get_worker().address
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an exception of the user's may not travel
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return FailedAt(address, error)


def _outcome(future: Any, result: Callable[[Any], Any]) -> Any:
    """Return what came of a future that is done; what was lost on the way is a `RunError`."""
    try:
        if future.status == "finished":
            return result(future)
        if future.status == "error":
            error = future.exception()
            lost = isinstance(error, (distributed.KilledWorker, OSError))
            return RunError(f"a worker was lost ({type(error).__name__})") if lost else error
    except Exception as error:  # noqa: BLE001 - a worker left with the result
        return RunError(f"a worker left with it ({type(error).__name__})")
    return RunError(f"Dask has {future.status} it")


def blocking(client: Any) -> Any:
    """Return a client whose calls wait for their results; raise `ScanError` for another."""
    if client.asynchronous:
        hint = "make it with asynchronous=False, or give the address of its scheduler"
        raise ScanError([Fault("client", "an asynchronous client", "one that is not", hint)])
    if client.status != "running":
        raise ScanError([Fault("client", f"one that is {client.status}", "one that is connected")])
    return client


def in_a_task() -> bool:
    """Tell whether this thread runs a task of a Dask worker."""
    if "distributed" not in sys.modules:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def connected(address: str) -> Any:
    """Return a client of the scheduler at an address; raise `ScanError` if none answers."""
    try:
        return distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        fault = Fault("client", show(address), "the address of a running scheduler", str(error)[:120])
        raise ScanError([fault]) from None


def active_client() -> Any | None:
    """Return the active Dask client; if distributed was never imported, there is none."""
    if "distributed" not in sys.modules:
        return None
    try:
        active = distributed.get_client()
    except ValueError:
        return None
    # One whose cluster could not start stays the active one, and would be waited for without end.
    return None if active.scheduler is None else active


def local_cluster(workers: int | None = None, **options: Any) -> Any:
    """Start a Dask cluster of single-threaded processes on this machine and return its client.

    Parameters
    ----------
    workers
        Number of processes; by default the cores of this machine. On a GPU give 1: each process takes
        most of the memory of the device for itself.
    **options
        Further options of `distributed.LocalCluster`.

    Returns
    -------
    distributed.Client
        A client on loopback only; use it in a `with` statement, which also ends the cluster.

    Raises
    ------
    ScanError
        If `workers` is not a count, an option is not one of Dask's, or a script calls this outside of
        `if __name__ == "__main__":`, as the processes import the script.
    """
    if workers is not None:
        check_count("workers", workers)
    if options.get("processes", True):
        _check_main_guard()
    # XLA would start a pool of a thread a core in each of the processes.
    environment = {"PJRT_NPROC": "1"}
    # Without an address distributed wants port 8787, and warns where another cluster has it.
    page = options.pop("dashboard_address", None)
    scheduler = {"dashboard": page is not None} | options.pop("scheduler_kwargs", {})
    chosen = {
        "n_workers": workers or usable_cores(),
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": page or "127.0.0.1:0",
        "scheduler_kwargs": scheduler,
        "env": environment | options.pop("env", {}),
    }
    _check_options(options)
    # A client that starts its cluster itself also ends it.
    return distributed.Client(**(chosen | options))


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise `ScanError` for an option that nothing of Dask takes: a worker would fail by it without end."""
    takers = (distributed.Client, distributed.LocalCluster, distributed.Nanny, distributed.Worker)
    known = {name for taker in takers for name in inspect.signature(taker.__init__).parameters}
    faults = [
        Fault(
            "local_cluster", f"an option {show(name)}", "one of distributed.LocalCluster", near(name, known)
        )
        for name in options
        if name not in known
    ]
    if faults:
        raise ScanError(faults)


def _check_main_guard() -> None:
    """Raise `ScanError` where a script would be run again by the processes that it is about to start."""
    frame: Any = sys._getframe()
    while frame is not None:
        is_main = frame.f_globals.get("__name__") in ("__main__", "__mp_main__")
        if (
            is_main
            and frame.f_code.co_name == "<module>"
            and _is_bare(frame.f_code.co_filename, frame.f_lineno)
        ):
            file = os.path.basename(frame.f_code.co_filename)
            found = f"line {frame.f_lineno} of {file}, which every process runs"
            expected = 'a call under if __name__ == "__main__":'
            raise ScanError([Fault("local_cluster", found, expected)])
        frame = frame.f_back


def _is_bare(file: str, line: int) -> bool:
    """Whether a line of a script is run whenever the script is imported: it is in no `if`."""
    try:
        statements = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        # Given by -c or in a notebook: there is nothing that a process could import.
        return False
    here = [s for s in ast.walk(ast.Module(statements, [])) if isinstance(s, ast.If)]
    return not any(s.lineno <= line <= (s.end_lineno or s.lineno) for s in here)
