"""A Dask cluster as an executor: the client that runs the chunks."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan.engine import backend
from qifscan.errors import Fault, RunError, ScanError, show
from qifscan.lazy import LazyModule
from qifscan.runs.tasks import Done, FailedAt, Tasks, Work

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")

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
        return str(self.asked(backend.device, "device"))

    def options(self) -> str:
        """Return the options of one of the workers; raise `RunError` if it can't tell."""
        return str(self.asked(backend.options, "options"))

    def asked(self, question: Callable[[], Any], what: str) -> Any:
        """Return what one of the workers answers; raise `RunError` if it can't."""
        ((_, found),) = self.outcomes(_answer, question, [0])
        if isinstance(found, FailedAt):
            found = found.error
        if isinstance(found, BaseException):
            reason = " ".join(f"{type(found).__name__}: {found}".split())[:200]
            raise RunError(f"{self.client.scheduler.address}: a worker can't tell its {what} ({reason})")
        return found

    def outcomes(
        self, work: Work, argument: Any, chunks: Sequence[int], admit: Callable[[], str] | None = None
    ) -> Generator[tuple[int, Any]]:
        """Run the work on the cluster, a window of chunks at a time.

        A chunk that fails is tried at other workers, and a worker at which chunks fail that others compute
        gets no more of them; nor one that `admit` gives a reason against, where it is asked.
        """
        tasks = Tasks(self.client, work, argument, admit)
        tasks.span(str(argument))
        queue = list(reversed(chunks))
        try:
            while queue or tasks.pending or tasks.suspects:
                if queue and tasks.wanted:
                    tasks.submit(*(queue.pop() for _ in range(min(tasks.wanted, len(queue)))))
                if not tasks.pending:
                    tasks.submit(tasks.suspects.pop())
                chunk, outcome = tasks.next_outcome()
                if isinstance(outcome, Done):
                    tasks.blame_where_it_failed(chunk)
                    yield chunk, outcome.result
                elif tasks.is_tried_again(chunk, outcome):
                    tasks.submit(chunk)
                elif not tasks.is_suspected(chunk, outcome):
                    yield chunk, outcome
        finally:
            tasks.cancel()


def _answer(question: Callable[[], Any], _: int) -> Any:
    """A question to a worker, as the work of one chunk."""
    return question()


ANSWERS_IN = 10.0
"""Seconds in which the loop of a client does a thing of no work, however busy the machine is."""


def blocking(client: Any) -> Any:
    """Return a client whose calls wait for their results; raise `ScanError` for another, or for one whose
    loop is not running here: its calls would never return."""
    if client.asynchronous:
        hint = "make it with asynchronous=False, or give the address of its scheduler"
        raise ScanError([Fault("client", "an asynchronous client", "one that is not", hint)])
    if client.status != "running":
        raise ScanError([Fault("client", f"one that is {client.status}", "one that is connected")])
    answered = threading.Event()
    client.loop.add_callback(answered.set)
    # After a fork the child lacks the thread of a client made before.
    if not answered.wait(ANSWERS_IN):
        hint = "make one here, or give the address of its scheduler"
        raise ScanError([Fault("client", "one whose event loop can't run here", "one of this process", hint)])
    return client


def awaited(client: Any, workers: int | None) -> Any:
    """Return a client when its cluster has so many workers; say what is waited for."""
    told = False
    while workers is not None and len(client.nthreads()) < workers:
        if not told:
            there = len(client.nthreads())
            logger.warning("waiting for %d workers, %d are there; Ctrl-C ends the run", workers, there)
            told = True
        try:
            client.wait_for_workers(workers, timeout=ANSWERS_IN)
        except TimeoutError:
            blocking(client)
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


@dataclass(frozen=True)
class Certificates:
    """What proves who is who to a scheduler at `tls://...`: files of the authority, of the own certificate,
    and of its key."""

    ca: Path
    cert: Path
    key: Path

    def security(self) -> Any:
        """Return it as Dask takes it; raise `ScanError` for a file that is not there."""
        files = {"tls-ca": self.ca, "tls-cert": self.cert, "tls-key": self.key}
        faults = [
            Fault(name, f"no file {show(str(file))}", "a PEM file")
            for name, file in files.items()
            if not file.is_file()
        ]
        if faults:
            raise ScanError(faults)
        mine = {"tls_client_cert": str(self.cert), "tls_client_key": str(self.key)}
        return distributed.Security(tls_ca_file=str(self.ca), require_encryption=True, **mine)


def connected(address: str, certificates: Certificates | None = None) -> Any:
    """Return a client of the scheduler at an address; raise `ScanError` if none answers."""
    security = None if certificates is None else certificates.security()
    try:
        return distributed.Client(address, set_as_default=False, security=security)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        fault = Fault("client", show(address), "the address of a running scheduler", str(error)[:120])
        raise ScanError([fault]) from None


def given_client(client: str, scheduler: str | None, tls: tuple[Path | None, ...]) -> Any:
    """Return who computes, of the command's options: a client of the scheduler, with certificates where they
    are given; raise `ScanError` for options that do not go together."""
    if scheduler is None:
        if any(tls):
            raise ScanError([Fault("--tls-ca", "no --scheduler", "the address of one, tls://host:8786")])
        return client
    if not any(tls):
        return scheduler
    if not all(tls) or not scheduler.startswith("tls://"):
        found = f"{sum(map(bool, tls))} of three, for {show(scheduler)}"
        expected = "--tls-ca, --tls-cert and --tls-key, for a scheduler at tls://"
        raise ScanError([Fault("--tls-ca, --tls-cert, --tls-key", found, expected)])
    return connected(scheduler, Certificates(*[file for file in tls if file]))


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
