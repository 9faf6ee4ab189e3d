"""Executors: this thread, threads of this process, a Dask cluster. The only user of dask.distributed.

An executor runs `work(argument, chunk)` for each chunk and yields `(chunk, outcome)` as they finish, where
the outcome is what the work returned or the exception that it raised. Leaving the generator early cancels
what has not started and waits for what has.
"""

from __future__ import annotations

import ast
import inspect
import logging
import os
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from qifscan.engine import backend
from qifscan.errors import Fault, RunError, ScanError, check_count, near, show
from qifscan.lazy import LazyModule
from qifscan.machine import usable_cores, usual_workers

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")

Work = Callable[[Any, int], Any]

WINDOW = 512
"""Tasks that the Dask scheduler holds at a time: it keeps workers busy, and is soon forgotten."""

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


class Executor(Protocol):
    """What runs the chunks of a scan."""

    @property
    def workers(self) -> int:
        """How many chunks run at once."""

    @property
    def name(self) -> str:
        """The executor in words."""

    @property
    def local(self) -> bool:
        """Whether the chunks run in this process."""

    def device(self) -> str:
        """Return the device that runs the chunks, as `backend.device` names it."""

    def options(self) -> str:
        """Return the options of XLA that the chunks run with, as `backend.options` names them."""

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work for each chunk; yield each with its result or exception as it finishes."""


@dataclass(frozen=True)
class Serial:
    """One chunk after the other, in this thread."""

    workers: int = 1
    name: str = "this thread"
    local: bool = True

    def device(self) -> str:
        """Return the device of this process."""
        return backend.device()

    def options(self) -> str:
        """Return the options of this process."""
        return backend.options()

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work for each chunk in order."""
        for chunk in chunks:
            yield chunk, _attempt(work, argument, chunk)


@dataclass(frozen=True)
class Threads:
    """This process, by default one thread a core, two on a GPU: XLA releases the interpreter's lock while a
    chunk runs."""

    workers: int
    local: bool = True

    @property
    def name(self) -> str:
        """The executor in words."""
        return f"{self.workers} threads of this process"

    def device(self) -> str:
        """Return the device of this process."""
        return backend.device()

    def options(self) -> str:
        """Return the options of this process."""
        return backend.options()

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work in threads, with a few chunks waiting at any time."""
        pending: dict[Future[Any], int] = {}
        queue = iter(chunks)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="qifscan")
        try:
            while True:
                # One chunk more than there are threads, so that none waits for the driver.
                while len(pending) <= self.workers and (chunk := next(queue, None)) is not None:
                    pending[pool.submit(_attempt, work, argument, chunk)] = chunk
                if not pending:
                    return
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(work: Work, argument: Any, chunk: int) -> Any:
    try:
        return work(argument, chunk)
    except Exception as error:  # noqa: BLE001 - it is handed to the driver, which decides
        return error


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
        future = self.client.submit(question, pure=False)
        done: SimpleQueue[Any] = SimpleQueue()
        future.add_done_callback(done.put)
        found = _outcome(self._next(done), self._result)
        if isinstance(found, BaseException):
            reason = " ".join(f"{type(found).__name__}: {found}".split())[:200]
            raise RunError(f"{self.client.scheduler.address}: a worker can't tell its {what} ({reason})")
        return str(found)

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work on the cluster, a window of chunks at a time.

        A chunk that fails is tried at other workers, and a worker at which chunks fail that others compute
        gets no more of them.
        """
        queue, killed = list(reversed(chunks)), dict[int, int]()
        failed_at, blamed = dict[int, list[str]](), dict[str, int]()
        # The key holds a name of this run: Dask would hand an earlier run's result for a known key.
        run, attempts = f"qifscan-{uuid.uuid4().hex[:8]}", count()
        done: SimpleQueue[Any] = SimpleQueue()
        pending: dict[str, tuple[Any, int]] = {}

        def submit(chunk: int) -> None:
            key = (run, chunk, next(attempts))
            avoided = {*failed_at.get(chunk, ()), *(w for w, n in blamed.items() if n >= MOST_BLAMED)}
            where = self._others(avoided) if avoided else []
            # Where the others leave meanwhile, any worker does.
            places = {"workers": where, "allow_other_workers": True} if where else {}
            future = self.client.submit(_at_worker, work, argument, chunk, key=key, pure=False, **places)
            pending[str(future.key)] = (future, chunk)
            future.add_done_callback(done.put)

        try:
            while queue or pending:
                while queue and len(pending) < WINDOW:
                    submit(queue.pop())
                future = self._next(done)
                _, chunk = pending.pop(str(future.key))
                outcome = _outcome(future, self._result)
                if isinstance(outcome, tuple):
                    _blame(failed_at.pop(chunk, ()), blamed)
                    yield chunk, outcome[0]
                elif self._is_tried_again(outcome, chunk, failed_at, killed):
                    submit(chunk)
                else:
                    yield chunk, outcome
        finally:
            with suppress(Exception):
                self.client.cancel([future for future, _ in pending.values()])

    def _is_tried_again(
        self, outcome: Any, chunk: int, failed_at: dict[int, list[str]], killed: dict[int, int]
    ) -> bool:
        """Tell whether a chunk goes to another worker, and note where it failed or was lost."""
        if isinstance(outcome, FailedAt):
            failed = failed_at.setdefault(chunk, [])
            failed.append(outcome.worker)
            there = {*failed}
            return len(there) < ATTEMPTS and len(failed) < MOST_TRIES and bool(self._others(there))
        if not isinstance(outcome, _LOST) or killed.get(chunk, 0) >= KILLED_RETRIES:
            return False
        killed[chunk] = killed.get(chunk, 0) + 1
        return True

    def _others(self, avoided: set[str]) -> list[str]:
        return [worker for worker in self.client.nthreads() if worker not in avoided]

    def _next(self, done: SimpleQueue[Any]) -> Any:
        """Return the next future that is done."""
        return self._patiently(lambda seconds: done.get(timeout=seconds), Empty)

    def _result(self, future: Any) -> Any:
        """Return the result of a future that is done; if its worker has left since, it is computed again."""
        return self._patiently(lambda seconds: future.result(timeout=seconds), TimeoutError)

    def _patiently(self, ask: Callable[[float], Any], nothing: type[Exception]) -> Any:
        """Return what is asked for; say what is waited for, where that takes long."""
        begin, told = time.monotonic(), ""
        while True:
            try:
                return ask(PATIENCE)
            except nothing:
                pass
            reason = self._waits_for()
            if reason and reason != told:
                told = reason
                seconds = time.monotonic() - begin
                logger.warning("nothing came for %.0f s: %s; Ctrl-C ends the run", seconds, reason)

    def _waits_for(self) -> str:
        """Return in words why no chunk comes back, as far as the scheduler knows."""
        address = self.client.scheduler.address if self.client.scheduler else "the cluster"
        if self.client.status != "running":
            return f"the scheduler {address} can't be reached ({self.client.status})"
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            return f"the scheduler {address} has no workers; start some (dask worker {address})"
        paused = [name for name, w in workers.items() if w.get("status") == "paused"]
        silent = [name for name, w in workers.items() if time.time() - w.get("last_seen", 0.0) > PATIENCE]
        found = [f"{name} is paused, over its limit of memory" for name in paused]
        found += [f"{name} does not answer" for name in silent]
        return ", ".join(found[:3])


def _blame(workers: Sequence[str], blamed: dict[str, int]) -> None:
    """Count a chunk against the workers at which it failed before another computed it."""
    for worker in workers:
        blamed[worker] = blamed.get(worker, 0) + 1
        if blamed[worker] == MOST_BLAMED:
            logger.warning("%s is left out: chunks fail there that others compute", worker)


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


_LOST = (RunError,)


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


def executor(client: Any, workers: int | None) -> Executor:
    """Return the executor for what the user gave as `client`.

    `"auto"`: the active Dask client if there is one, else threads; `"threads"`; `"serial"`; a
    `distributed.Client`; or a scheduler's address.
    """
    if workers is not None:
        check_count("workers", workers)
    backend.check_not_forked()
    if _in_a_task():
        # Chunks of its own would wait for the slot that this task holds.
        if client not in ("auto", "serial", "threads"):
            expected = '"auto", "threads" or "serial"'
            raise ScanError([Fault("client", f"{show(client)} inside a Dask task", expected)])
        return Serial() if client == "serial" else Threads(workers or 1)
    if client == "serial":
        return Serial()
    active = _active_client() if client == "auto" else None
    if active is not None:
        return DaskClient(_blocking(active))
    if client in ("threads", "auto"):
        return Threads(workers or usual_workers(backend.device()))
    if isinstance(client, str) and "://" in client:
        return DaskClient(_connected(client))
    if hasattr(client, "submit") and hasattr(client, "scheduler"):
        return DaskClient(_blocking(client))
    expected = '"auto", "threads", "serial", a distributed.Client, or an address such as "tcp://host:8786"'
    raise ScanError([Fault("client", show(client), expected)])


def _blocking(client: Any) -> Any:
    """Return a client whose calls wait for their results; raise `ScanError` for another."""
    if client.asynchronous:
        hint = "make it with asynchronous=False, or give the address of its scheduler"
        raise ScanError([Fault("client", "an asynchronous client", "one that is not", hint)])
    if client.status != "running":
        raise ScanError([Fault("client", f"one that is {client.status}", "one that is connected")])
    return client


def _in_a_task() -> bool:
    """Whether this thread runs a task of a Dask worker."""
    if "distributed" not in sys.modules:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def _connected(address: str) -> Any:
    try:
        return distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        fault = Fault("client", show(address), "the address of a running scheduler", str(error)[:120])
        raise ScanError([fault]) from None


def _active_client() -> Any | None:
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
