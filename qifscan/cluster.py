"""Executors: this thread, threads of this process, a Dask cluster. The only user of dask.distributed.

An executor runs `work(argument, chunk)` for each chunk and yields `(chunk, outcome)` as they finish, where
the outcome is what the work returned or the exception that it raised. Leaving the generator early cancels
what has not started and waits for what has.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from qifscan import backend
from qifscan.chunks import usable_cores, usual_workers
from qifscan.errors import Fault, RunError, ScanError, check_count, show
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")

Work = Callable[[Any, int], Any]

WINDOW = 512
"""Tasks that the Dask scheduler holds at a time: it keeps workers busy, and is soon forgotten."""

KILLED_RETRIES = 2
"""Times that a chunk is tried again by itself after a worker died with it: the chunk may be innocent."""


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
        future = self.client.submit(backend.device, pure=False)
        distributed.wait([future])
        found = _outcome(future)
        if isinstance(found, BaseException):
            reason = " ".join(f"{type(found).__name__}: {found}".split())[:200]
            raise RunError(f"{self.client.scheduler.address}: a worker can't tell its device ({reason})")
        return str(found)

    def outcomes(self, work: Work, argument: Any, chunks: Sequence[int]) -> Generator[tuple[int, Any]]:
        """Run the work on the cluster, a window of chunks at a time."""
        queue, killed = list(reversed(chunks)), dict[int, int]()
        # The key holds a name of this run: Dask would hand an earlier run's result for a known key.
        run = f"qifscan-{uuid.uuid4().hex[:8]}"
        tasks = distributed.as_completed(loop=self.client.loop, with_results=False, raise_errors=False)
        pending: dict[str, tuple[Any, int]] = {}

        def submit(chunk: int) -> None:
            attempt = killed.get(chunk, 0)
            future = self.client.submit(work, argument, chunk, key=(run, chunk, attempt), pure=False)
            pending[str(future.key)] = (future, chunk)
            tasks.add(future)

        try:
            while queue or pending:
                while queue and len(pending) < WINDOW:
                    submit(queue.pop())
                future = next(tasks)
                _, chunk = pending.pop(str(future.key))
                outcome = _outcome(future)
                if isinstance(outcome, distributed.KilledWorker) and killed.get(chunk, 0) < KILLED_RETRIES:
                    killed[chunk] = killed.get(chunk, 0) + 1
                    submit(chunk)
                    continue
                yield chunk, outcome
        finally:
            self.client.cancel([future for future, _ in pending.values()])


def _outcome(future: Any) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "cancelled":
        return RuntimeError("Dask cancelled the chunk")
    return future.exception()


def executor(client: Any, workers: int | None) -> Executor:
    """Return the executor for what the user gave as `client`.

    `"auto"`: the active Dask client if there is one, else threads; `"threads"`; `"serial"`; a
    `distributed.Client`; or a scheduler's address.
    """
    if workers is not None:
        check_count("workers", workers)
    if client == "serial":
        return Serial()
    active = _active_client() if client == "auto" else None
    if active is not None:
        return DaskClient(active)
    if client in ("threads", "auto"):
        return Threads(workers or usual_workers(backend.device()))
    if isinstance(client, str) and "://" in client:
        return DaskClient(_connected(client))
    if hasattr(client, "submit") and hasattr(client, "scheduler"):
        return DaskClient(client)
    expected = '"auto", "threads", "serial", a distributed.Client, or an address such as "tcp://host:8786"'
    raise ScanError([Fault("client", show(client), expected)])


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
    """
    # XLA would start a pool of a thread a core in each of the processes.
    environment = {"PJRT_NPROC": "1"}
    # Without an address distributed wants port 8787, and warns where another cluster has it.
    page = options.pop("dashboard_address", None)
    scheduler = {"dashboard": page is not None} | options.pop("scheduler_kwargs", {})
    # A client that starts its cluster itself also ends it.
    return distributed.Client(
        n_workers=workers or usable_cores(),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=page or "127.0.0.1:0",
        scheduler_kwargs=scheduler,
        env=environment | options.pop("env", {}),
        **options,
    )
