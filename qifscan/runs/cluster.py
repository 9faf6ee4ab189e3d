"""A Dask cluster as an executor: the client that runs the chunks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qifscan.engine import backend
from qifscan.errors import Fault, RunError, ScanError, show
from qifscan.lazy import LazyModule
from qifscan.runs.tasks import Done, FailedAt, Tasks, Work

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")


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
            while queue or tasks.pending:
                while queue and len(tasks.pending) < tasks.most:
                    tasks.submit(queue.pop())
                chunk, outcome = tasks.next_outcome()
                if isinstance(outcome, Done):
                    tasks.blame_where_it_failed(chunk)
                    yield chunk, outcome.result
                elif tasks.is_tried_again(chunk, outcome):
                    tasks.submit(chunk)
                else:
                    yield chunk, outcome
        finally:
            tasks.cancel()


def _answer(question: Callable[[], Any], _: int) -> Any:
    """A question to a worker, as the work of one chunk."""
    return question()


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
