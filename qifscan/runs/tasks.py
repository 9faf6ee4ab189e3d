"""The chunks of a run that a Dask cluster has: handed out, waited for, tried again.

A chunk that fails is tried at other workers, one that is lost with its worker is computed again, and one that
waits at a worker that does not go on is given to another. A worker that would compute other numbers than
those of the store gets none. A run that has to wait says for what.
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

from qifscan.errors import RunError, StoreError
from qifscan.lazy import LazyModule
from qifscan.runs import events

if TYPE_CHECKING:
    import dask.base as dask_base
    import distributed
else:
    dask_base = LazyModule("dask.base")
    distributed = LazyModule("distributed")

Work = Callable[[Any, int], Any]

WINDOW = 512
"""Tasks that the Dask scheduler holds at a time, or two for each thread if there are more of those: it keeps
workers busy, and is soon forgotten."""

RECOUNTED = 10.0
"""Seconds after which workers and threads of a cluster are looked at again: workers come and go."""

KILLED_RETRIES = 1
"""Times that a chunk is tried again after workers died with it: by itself, when all others are done. What
waited at a worker behind one that killed it is innocent, and Dask can't tell the two."""

ATTEMPTS = 3
"""Workers at which a chunk that fails is tried."""

MOST_TRIES = 30
"""Times that a chunk is tried: a worker at which everything fails at once is idle, and takes it back from the
others, where it is only preferred to run."""

MOST_GIVEN = 6
"""Times that a chunk is taken from a worker that does not go on: it may be what stops them."""

MOST_BLAMED = 2
"""Chunks that fail at a worker and are computed by another before the worker gets no more."""

PATIENCE = 20.0
"""Seconds without a chunk after which a run looks for what it waits for, and says so."""

ANSWERED = 10.0
"""Seconds that a scheduler which is busy may take to answer."""

LOST = 600.0
"""Seconds for which a scheduler may be out of reach before a run ends."""

HUNG = 1800.0
"""Seconds that a chunk may run without an end, or `HUNG_TIMES` as long as any before it if that is more."""

HUNG_TIMES = 20.0

UNHURRIED = 0.5
"""Seconds that a worker which takes no chunks keeps each: those who compute them must not be slower."""

logger = logging.getLogger("qifscan")


class FailedAt(RuntimeError):
    """What a chunk raised at a worker: `worker` is its address, `error` what was raised, and `refused`
    whether the worker took no chunk at all."""

    def __init__(self, worker: str, error: BaseException, refused: bool = False) -> None:
        super().__init__(worker, error, refused)
        self.worker, self.error, self.refused = worker, error, refused

    def __str__(self) -> str:
        return f"at {self.worker}: {self.error}"


@dataclass(frozen=True)
class Done:
    """What a chunk gave at a worker, and the seconds that it took there."""

    worker: str
    result: Any
    seconds: float


@dataclass
class Tasks:
    """The chunks of a run that a cluster has, and what is known of its workers."""

    client: Any
    work: Work
    argument: Any
    admit: Callable[[], str] | None = None
    """Asked at a worker before its first chunk: why it can't take any, empty if it can."""
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
    refused: set[str] = field(default_factory=set)
    """Workers that take no chunks."""
    killed: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was lost with its worker."""
    suspects: list[int] = field(default_factory=list)
    """Chunks that are tried again by themselves."""
    given: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was taken from a worker that did not go on."""
    lost: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was lost on the way, with the scheduler or a result."""
    workers: dict[str, int] = field(default_factory=dict)
    """Threads of each worker, when they were last looked at."""
    looked: float = -math.inf
    running: dict[str, float] = field(default_factory=dict)
    """When each key was first seen to run at a worker."""
    longest: float = 0.0
    """Seconds of the longest chunk so far."""
    hung: dict[str, int] = field(default_factory=dict)
    """Threads of a worker that hang in chunks which nobody waits for any more."""
    reached: float = field(default_factory=time.monotonic)
    """When the scheduler last answered."""
    annotations: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    """Of the scheduler, which a client that is closed does not know any more."""

    def __post_init__(self) -> None:
        self.address = str(self.client.scheduler.address)

    @property
    def most(self) -> int:
        """Tasks that the scheduler is to hold."""
        if time.monotonic() - self.looked > RECOUNTED:
            self._look()
        return max(WINDOW, 2 * sum(self.workers.values()))

    def span(self, name: str) -> None:
        """Show what follows under a name in the pages of Dask."""
        with distributed.span("qifscan", name):
            # Of one span for all chunks: each call makes another.
            self.annotations = {"span": dask_base.get_annotations()["span"]}

    def submit(self, chunk: int, avoided: Sequence[str] = ()) -> None:
        """Hand a chunk to a worker, not to those to avoid as long as there are others."""
        shunned = {*avoided, *self.failed_at.get(chunk, ()), *self._bad()}
        where = self._others(shunned) if shunned else []
        # Where the others leave meanwhile, any worker does.
        places = {"workers": where, "allow_other_workers": True} if where else {}
        key = (self.run, chunk, next(self.attempts))
        try:
            with dask_base.annotate(**self.annotations):
                future = self.client.submit(
                    _at_worker, self.work, self.argument, chunk, self.admit, key=key, pure=False, **places
                )
        except Exception as error:  # noqa: BLE001 - Dask raises it where the client is closed
            raise self._gone(f"{type(error).__name__}: {error}") from None
        self.pending[str(future.key)] = (future, chunk)
        future.add_done_callback(self.done.put)

    def next_outcome(self) -> tuple[int, Any]:
        """Return a chunk that is done, and what came of it: `Done`, or the error."""
        while True:
            future = self._patiently(lambda seconds: self.done.get(timeout=seconds), Empty)
            if isinstance(future, _Ended):
                return future.chunk, future.error
            # One that was given to another worker meanwhile is no longer waited for.
            key = str(future.key)
            self.running.pop(key, None)
            if key in self.pending:
                _, chunk = self.pending.pop(key)
                outcome = _outcome(future, self.result)
                if isinstance(outcome, Done):
                    self._note(outcome)
                return chunk, outcome

    def result(self, future: Any) -> Any:
        """Return the result of a future that is done; if its worker has left since, it is computed again."""
        return self._patiently(lambda seconds: future.result(timeout=seconds), TimeoutError)

    def is_tried_again(self, chunk: int, outcome: Any) -> bool:
        """Tell whether a chunk goes to another worker, and note where it failed or was lost."""
        if isinstance(outcome, FailedAt) and outcome.refused:
            self._refuse(outcome)
            return bool(self._others(self.refused, anew=True))
        if isinstance(outcome, FailedAt):
            failed = self.failed_at.setdefault(chunk, [])
            failed.append(outcome.worker)
            there = {*failed}
            events.note("failed", chunk=chunk, worker=outcome.worker, error=_in_a_line(outcome.error))
            if len(failed) <= self._retries():
                return True
            elsewhere = self._others(there | self.refused, anew=True)
            return len(there) < ATTEMPTS and len(failed) < MOST_TRIES and bool(elsewhere)
        if isinstance(outcome, _Lost):
            self.lost[chunk] = self.lost.get(chunk, 0) + 1
            return self.lost[chunk] < MOST_TRIES
        return False

    def is_suspected(self, chunk: int, outcome: Any) -> bool:
        """Tell whether a chunk is put aside, as workers died with it and it may be innocent."""
        if not isinstance(outcome, RunError) or self.killed.get(chunk, 0) >= KILLED_RETRIES:
            return False
        self.killed[chunk] = self.killed.get(chunk, 0) + 1
        self.suspects.append(chunk)
        events.note("killed", chunk=chunk, error=str(outcome))
        return True

    def blame_where_it_failed(self, chunk: int) -> None:
        """Count a chunk that is computed against the workers at which it failed before."""
        for worker in self.failed_at.pop(chunk, ()):
            self.blamed[worker] = self.blamed.get(worker, 0) + 1
            if self.blamed[worker] == MOST_BLAMED:
                logger.warning("%s is left out: chunks fail there that others compute", worker)
                events.note("left out", worker=worker, reason="chunks fail there that others compute")

    def cancel(self) -> None:
        """Take back what is out."""
        with suppress(Exception):
            futures = [future for future, _ in self.pending.values()]
            self.client.cancel(futures)

    def _retries(self) -> int:
        """Times that a chunk is tried again wherever it failed: Dask's own option, as the user set it."""
        asked = dask_base.get_annotations().get("retries", 0)
        return asked if isinstance(asked, int) else 0

    def _note(self, outcome: Done) -> None:
        self.longest, self.reached = max(self.longest, outcome.seconds), time.monotonic()

    def _refuse(self, outcome: FailedAt) -> None:
        if outcome.worker not in self.refused:
            self.refused.add(outcome.worker)
            reason = _in_a_line(outcome.error)
            logger.warning("%s is left out: %s", outcome.worker, reason)
            events.note("left out", worker=outcome.worker, reason=reason)

    def _bad(self) -> set[str]:
        return self.refused | {worker for worker, n in self.blamed.items() if n >= MOST_BLAMED}

    def _others(self, avoided: set[str], anew: bool = False) -> list[str]:
        if anew:
            self._look()
        return [worker for worker in self.workers if worker not in avoided]

    def _look(self) -> None:
        """Look at the workers; those that were known stay, where the scheduler does not answer."""
        found = self._asked(lambda scheduler: scheduler.ncores, workers=None)
        self.looked = time.monotonic()
        if found is not None:
            for worker in found.keys() - self.workers.keys():
                events.note("worker", worker=worker, threads=found[worker])
            for worker in self.workers.keys() - found.keys():
                events.note("worker left", worker=worker)
            self.workers = dict(found)

    def _asked(self, question: Callable[[Any], Any], **options: Any) -> Any:
        """Return what the scheduler answers; None if it does not, for which nothing waits without end."""
        if self.client.status != "running":
            return None
        try:
            answer = self.client.sync(question(self.client.scheduler), callback_timeout=ANSWERED, **options)
        except (OSError, TimeoutError, RuntimeError):
            return None
        self.reached = time.monotonic()
        return answer

    def _patiently(self, ask: Callable[[float], Any], nothing: type[Exception]) -> Any:
        """Return what is asked for; where that takes long, say what is waited for, and do without it."""
        begin, told = time.monotonic(), ""
        while True:
            try:
                return ask(PATIENCE)
            except nothing:
                pass
            stuck = self._stuck()
            away = self._unreachable()
            reason = away or ", ".join(f"{name} {why}" for name, why in [*stuck.items()][:3])
            if reason and reason != told:
                told = reason
                seconds = time.monotonic() - begin
                logger.warning("nothing came for %.0f s: %s; Ctrl-C ends the run", seconds, reason)
                events.note("waiting", reason=reason)
            if self.client.status == "closed" or time.monotonic() - self.reached > LOST:
                raise self._gone(away)
            if stuck:
                self._give_to_others(stuck)
            self._end_what_hangs()

    def _gone(self, reason: str) -> RunError:
        reason = _in_a_line(reason) or f"no answer for {time.monotonic() - self.reached:.0f} s"
        return RunError(f"the scheduler {self.address} is gone ({reason}); what is written stays")

    def _unreachable(self) -> str:
        """Return in words why no worker can be reached; nothing, if one can."""
        address = self.address
        if self.client.status != "running":
            return f"the scheduler {address} can't be reached ({self.client.status})"
        self._look()
        if time.monotonic() - self.reached > max(PATIENCE, ANSWERED):
            return f"the scheduler {address} does not answer"
        if not self.workers:
            return f"the scheduler {address} has no workers; start some (dask worker {address})"
        return ""

    def _stuck(self) -> dict[str, str]:
        """Return the workers that do not go on, with the reason, as far as the scheduler knows."""
        found = self._asked(lambda scheduler: scheduler.identity, n_workers=-1)
        workers = found["workers"] if found else {}
        paused = [name for name, w in workers.items() if w.get("status") == "paused"]
        silent = [name for name, w in workers.items() if time.time() - w.get("last_seen", 0.0) > PATIENCE]
        hang = [name for name, n in self.hung.items() if n >= self.workers.get(name, math.inf)]
        return (
            dict.fromkeys(silent, "does not answer")
            | dict.fromkeys(paused, "is paused, over its limit of memory")
            | dict.fromkeys(hang, "hangs in a chunk")
        )

    def _give_to_others(self, stuck: Mapping[str, str]) -> None:
        """Submit again what waits at such workers, if there are others.

        Dask takes back what waits at a paused worker only while that has more than one task a thread, and
        of a silent one only after minutes. A chunk that both compute in the end is written twice with the
        same bits.
        """
        if not self._others({*stuck}):
            if all(why == "hangs in a chunk" for why in stuck.values()):
                raise RunError(f"every worker hangs in a chunk ({', '.join(stuck)}); start them anew")
            return
        found = self._asked(lambda scheduler: scheduler.processing, workers=[*stuck]) or {}
        held = {str(key) for keys in found.values() for key in keys}
        for key in held & self.pending.keys():
            future, chunk = self.pending.pop(key)
            future.cancel()
            self.given[chunk] = self.given.get(chunk, 0) + 1
            if self.given[chunk] < MOST_GIVEN:
                self.submit(chunk, avoided=[*stuck])
            else:
                # Dask counts the workers that died with a task, and each of these was a new one.
                reason = f"{self.given[chunk]} workers did not go on that had it"
                self.done.put(_Ended(chunk, RunError(reason)))

    def _end_what_hangs(self) -> None:
        """Take chunks that run much longer than any before them for failed where they run."""
        if not self.pending:
            return
        # Only workers know which of their chunks they run, and which wait behind it.
        stacks = self._asked(lambda scheduler: scheduler.call_stack, keys=None) or {}
        now = time.monotonic()
        where = {str(key): worker for worker, tasks in stacks.items() for key in tasks or ()}
        self.running = {key: self.running.get(key, now) for key in where if key in self.pending}
        most = max(HUNG, HUNG_TIMES * self.longest)
        for key, since in [*self.running.items()]:
            if now - since > most:
                future, chunk = self.pending.pop(key)
                del self.running[key]
                self.hung[where[key]] = self.hung.get(where[key], 0) + 1
                future.cancel()
                error = TimeoutError(f"no end after {now - since:.0f} s, others took {self.longest:.0f} s")
                self.done.put(_Ended(chunk, FailedAt(where[key], error)))


@dataclass(frozen=True)
class _Ended:
    """A chunk that is no longer waited for, and why."""

    chunk: int
    error: Exception


class _Lost(RunError):
    """A chunk that was lost on the way, which says nothing about it."""


_admitted: set[Any] = set()
"""Those who asked this process, as a worker, whether it takes chunks, and heard that it does. A reason not to
may pass, as a disk that is not mounted yet: then it is asked again."""


def _at_worker(work: Work, argument: Any, chunk: int, admit: Callable[[], str] | None) -> Done | FailedAt:
    """Run a chunk at a worker: whatever it raises is returned, for Dask not to try it again."""
    begin, address = time.perf_counter(), distributed.get_worker().address
    try:
        if admit is not None and admit not in _admitted:
            if reason := admit():
                time.sleep(UNHURRIED)
                return FailedAt(address, StoreError(reason), refused=True)
            _admitted.add(admit)
        return Done(address, work(argument, chunk), time.perf_counter() - begin)
    except BaseException as error:  # noqa: BLE001 - also SystemExit, which would end the worker
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an exception of the user's may not travel
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return FailedAt(address, error)


def _in_a_line(error: Any) -> str:
    return " ".join(str(error).split())[:400]


def _outcome(future: Any, result: Callable[[Any], Any]) -> Any:
    """Return what came of a future that is done; what was lost on the way is a `RunError`."""
    try:
        if future.status == "finished":
            return result(future)
        if future.status == "error":
            error = future.exception()
            lost = isinstance(error, (distributed.KilledWorker, OSError))
            return RunError(f"a worker was lost ({type(error).__name__})") if lost else error
    except RunError:
        raise
    except Exception as error:  # noqa: BLE001 - a worker left with the result
        return _Lost(f"a worker left with it ({type(error).__name__})")
    return _Lost(f"Dask has {future.status} it")
