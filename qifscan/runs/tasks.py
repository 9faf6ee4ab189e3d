"""The chunks of a run that a Dask cluster has: handed out, waited for, tried again.

A chunk that fails is tried at other workers, one that is lost with its worker is computed again, and one that
waits at a worker that does not go on is given to another. A run that has to wait says for what.
"""

from __future__ import annotations

import logging
import math
import pickle
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from qifscan.errors import RunError
from qifscan.lazy import LazyModule

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


@dataclass
class Tasks:
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
