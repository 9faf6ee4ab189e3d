"""Executors: this thread, threads of this process, a Dask cluster.

An executor runs `work(argument, chunk)` for each chunk and yields `(chunk, outcome)` as they finish, where
the outcome is what the work returned or the exception that it raised. Leaving the generator early cancels
what has not started and waits for what has.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

from qifscan.engine import backend
from qifscan.errors import Fault, ScanError, check_count, show
from qifscan.machine import usual_workers
from qifscan.runs import cluster
from qifscan.runs.cluster import DaskClient
from qifscan.runs.tasks import Work


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

    def asked(self, question: Callable[[], Any], what: str) -> Any:
        """Return what one of those who compute answers; `what` is asked for, in words."""

    def outcomes(
        self, work: Work, argument: Any, chunks: Sequence[int], admit: Callable[[], str] | None = None
    ) -> Generator[tuple[int, Any]]:
        """Run the work for each chunk; yield each with its result or exception as it finishes.

        Workers elsewhere call `admit` before their first chunk: why they can't take any, empty if they can.
        """


class _Here:
    """What runs chunks in this process."""

    local = True

    def device(self) -> str:
        """Return the device of this process."""
        return backend.device()

    def options(self) -> str:
        """Return the options of this process."""
        return backend.options()

    def asked(self, question: Callable[[], Any], what: str) -> Any:
        """Return what this process answers."""
        return question()


@dataclass(frozen=True)
class Serial(_Here):
    """One chunk after the other, in this thread."""

    workers: int = 1
    name: str = "this thread"

    def outcomes(
        self, work: Work, argument: Any, chunks: Sequence[int], admit: Callable[[], str] | None = None
    ) -> Generator[tuple[int, Any]]:
        """Run the work for each chunk in order."""
        for chunk in chunks:
            yield chunk, _attempt(work, argument, chunk)


@dataclass(frozen=True)
class Threads(_Here):
    """This process, by default one thread a core, two on a GPU: XLA releases the interpreter's lock while a
    chunk runs."""

    workers: int

    @property
    def name(self) -> str:
        """The executor in words."""
        return f"{self.workers} threads of this process"

    def outcomes(
        self, work: Work, argument: Any, chunks: Sequence[int], admit: Callable[[], str] | None = None
    ) -> Generator[tuple[int, Any]]:
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


def executor(client: Any, workers: int | None) -> Executor:
    """Return the executor for what the user gave as `client`.

    `"auto"`: the active Dask client if there is one, else threads; `"threads"`; `"serial"`; a
    `distributed.Client`; or a scheduler's address. `workers` are threads, or the workers of a cluster that
    are waited for.
    """
    if workers is not None:
        check_count("workers", workers)
    backend.check_not_forked()
    if cluster.in_a_task():
        # Chunks of its own would wait for the slot that this task holds.
        if client not in ("auto", "serial", "threads"):
            expected = '"auto", "threads" or "serial"'
            raise ScanError([Fault("client", f"{show(client)} inside a Dask task", expected)])
        return Serial() if client == "serial" else Threads(workers or 1)
    if client == "serial":
        return Serial()
    active = cluster.active_client() if client == "auto" else None
    if active is not None:
        return DaskClient(cluster.awaited(cluster.blocking(active), workers))
    if client in ("threads", "auto"):
        return Threads(workers or usual_workers(backend.device()))
    if isinstance(client, str) and "://" in client:
        return DaskClient(cluster.awaited(cluster.connected(client), workers))
    if hasattr(client, "submit") and hasattr(client, "scheduler"):
        return DaskClient(cluster.awaited(cluster.blocking(client), workers))
    expected = '"auto", "threads", "serial", a distributed.Client, or an address such as "tcp://host:8786"'
    raise ScanError([Fault("client", show(client), expected)])
