"""The chunks of a run that a Dask cluster has: handed out, waited for, tried again.

A chunk that fails is tried at other workers, one that is lost with its worker is computed again, and one that
waits at a worker that does not go on is given to another. One that has no end is tried again by itself when
all others are done, and a worker that hangs in such chunks alone is ended, for another to come. A worker that
would compute other numbers than those of the store gets none. A run that has to wait says for what.
"""

from __future__ import annotations

import logging
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
from qifscan.runs import events, workers
from qifscan.runs.workers import Workers

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

PORTIONS = 8
"""Parts of the window of which one is handed out at a time: each hand-out has its own cost, and so few chunks
less leave all workers busy."""

KILLED_RETRIES = 1
"""Times that a chunk is tried again after workers died with it, or it had no end: by itself, when all others
are done. What waited at a worker behind one that killed it is innocent, and Dask can't tell the two."""

ATTEMPTS = 3
"""Workers at which a chunk that fails is tried."""

MOST_TRIES = 30
"""Times that a chunk is tried: a worker at which everything fails at once is idle, and takes it back from the
others, where it is only preferred to run."""

MOST_GIVEN = 6
"""Times that a chunk is taken from a worker that does not go on: it may be what stops them."""

HUNG = 1800.0
"""Seconds that a chunk may run without an end, or `HUNG_TIMES` as long as any before it if that is more."""

HUNG_TIMES = 20.0

HUNG_FIRST = 18000.0
"""Seconds that a chunk may run where none has ended yet: all of a scan may take long."""

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


class Hung(FailedAt):
    """A chunk that had no end at a worker."""


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
    bound: dict[str, list[str]] = field(default_factory=dict)
    """The workers that a key was handed to, where others were to be avoided."""
    done: SimpleQueue[Any] = field(default_factory=SimpleQueue)
    failed_at: dict[int, list[str]] = field(default_factory=dict)
    """Workers at which a chunk failed, once for every time."""
    killed: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was lost with its worker."""
    suspects: list[int] = field(default_factory=list)
    """Chunks that are tried again by themselves."""
    given: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was taken from a worker that did not go on."""
    lost: dict[int, int] = field(default_factory=dict)
    """Times that a chunk was lost on the way, with the scheduler or a result."""
    held: set[str] = field(default_factory=set)
    """Keys that were at a worker at the last look, where they may still wait behind another."""
    running: dict[str, float] = field(default_factory=dict)
    """When each key was first seen to run at a worker."""
    tended: float = field(default_factory=time.monotonic)
    """When chunks that hang were last looked for."""
    longest: float = 0.0
    """Seconds of the longest chunk so far."""
    annotations: dict[str, Any] = field(default_factory=dict)
    workers: Workers = field(init=False)

    def __post_init__(self) -> None:
        self.workers = Workers(self.client)

    @property
    def most(self) -> int:
        """Tasks that the scheduler is to hold."""
        return max(WINDOW, 2 * self.workers.all_threads())

    def span(self, name: str) -> None:
        """Show what follows under a name in the pages of Dask."""
        with distributed.span("qifscan", name):
            # Of one span for all chunks: each call makes another.
            self.annotations = {"span": dask_base.get_annotations()["span"]}

    @property
    def wanted(self) -> int:
        """Chunks that are to be handed out now: none, or many at a time, which costs little more than one."""
        room = self.most - len(self.pending)
        return room if room >= self.most // PORTIONS or not self.pending else 0

    def submit(self, *chunks: int, avoided: Sequence[str] = ()) -> None:
        """Hand chunks to workers, not to those to avoid as long as there are others."""
        failed = [worker for chunk in chunks for worker in self.failed_at.get(chunk, ())]
        shunned = {*avoided, *failed, *self.workers.shunned()}
        where = self.workers.others(shunned) if shunned else []
        # Where the others leave meanwhile, any worker does.
        places = {"workers": where, "allow_other_workers": True} if where else {}
        keys = [(self.run, chunk, next(self.attempts)) for chunk in chunks]
        given = [[each] * len(chunks) for each in (self.work, self.argument, self.admit)]
        try:
            with dask_base.annotate(**self.annotations):
                futures = self.client.map(_at_worker, *given, chunks, key=keys, pure=False, **places)
        except Exception as error:  # noqa: BLE001 - Dask raises it where the client is closed
            raise self.workers.gone(f"{type(error).__name__}: {error}") from None
        for future, chunk in zip(futures, chunks, strict=True):
            self.pending[str(future.key)] = (future, chunk)
            if where:
                self.bound[str(future.key)] = where
            future.add_done_callback(self.done.put)

    def next_outcome(self) -> tuple[int, Any]:
        """Return a chunk that is done, and what came of it: `Done`, or the error."""
        while True:
            if time.monotonic() - self.tended > workers.PATIENCE:
                self._end_what_hangs(self.workers.stuck())
            future = self._patiently(lambda seconds: self.done.get(timeout=seconds), Empty)
            if isinstance(future, _Ended):
                return future.chunk, future.error
            # One that was given to another worker meanwhile is no longer waited for.
            key = str(future.key)
            self.running.pop(key, None)
            self.bound.pop(key, None)
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
            self.workers.refuse(outcome.worker, _in_a_line(outcome.error))
            return bool(self.workers.others(self.workers.refused, anew=True))
        if isinstance(outcome, FailedAt) and not isinstance(outcome, Hung):
            failed = self.failed_at.setdefault(chunk, [])
            failed.append(outcome.worker)
            there = {*failed}
            events.note("failed", chunk=chunk, worker=outcome.worker, error=_in_a_line(outcome.error))
            if len(failed) <= self._retries():
                return True
            elsewhere = self.workers.others(there | self.workers.refused, anew=True)
            return len(there) < ATTEMPTS and len(failed) < MOST_TRIES and bool(elsewhere)
        if isinstance(outcome, _Lost):
            self.lost[chunk] = self.lost.get(chunk, 0) + 1
            return self.lost[chunk] < MOST_TRIES
        return False

    def is_suspected(self, chunk: int, outcome: Any) -> bool:
        """Tell whether a chunk is put aside: workers died with it and it may be innocent, or it had no end,
        which another worker would hang in as well while innocent chunks wait."""
        if not isinstance(outcome, (RunError, Hung)) or self.killed.get(chunk, 0) >= KILLED_RETRIES:
            return False
        self.killed[chunk] = self.killed.get(chunk, 0) + 1
        self.suspects.append(chunk)
        events.note("hung" if isinstance(outcome, Hung) else "killed", chunk=chunk, error=str(outcome))
        return True

    def blame_where_it_failed(self, chunk: int) -> None:
        """Count a chunk that is computed against the workers at which it failed before."""
        for worker in self.failed_at.pop(chunk, ()):
            self.workers.blame(worker)

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
        self.longest, self.workers.reached = max(self.longest, outcome.seconds), time.monotonic()

    def _patiently(self, ask: Callable[[float], Any], nothing: type[Exception]) -> Any:
        """Return what is asked for; where that takes long, say what is waited for, and do without it."""
        begin, told = time.monotonic(), ""
        while True:
            try:
                return ask(workers.PATIENCE)
            except nothing:
                pass
            stuck = self.workers.stuck()
            away = self.workers.unreachable()
            reason = away or ", ".join(f"{name} {why}" for name, why in [*stuck.items()][:3])
            if reason and reason != told:
                told = reason
                seconds = time.monotonic() - begin
                logger.warning("nothing came for %.0f s: %s; Ctrl-C ends the run", seconds, reason)
                events.note("waiting", reason=reason)
            self.workers.check(away)
            if stuck:
                self._give_to_others(stuck)
            self._unbind()
            self._end_what_hangs(stuck)

    def _give_to_others(self, stuck: Mapping[str, str]) -> None:
        """Submit again what waits at such workers, if there are others.

        Dask takes back what waits at a paused worker only while that has more than one task a thread, and
        of a silent one only after minutes. A chunk that both compute in the end is written twice with the
        same bits.
        """
        if not self.workers.others({*stuck}):
            return
        held = self.workers.holding() or {}
        for key in [key for key, worker in held.items() if worker in stuck and key in self.pending]:
            future, chunk = self.pending.pop(key)
            future.cancel()
            self.given[chunk] = self.given.get(chunk, 0) + 1
            if self.given[chunk] < MOST_GIVEN:
                self.submit(chunk, avoided=[*stuck])
            else:
                # Dask counts the workers that died with a task, and each of these was a new one.
                reason = f"{self.given[chunk]} workers did not go on that had it"
                self.done.put(_Ended(chunk, RunError(reason)))

    def _unbind(self) -> None:
        """Submit again what was handed to workers that have all left: where none was there for a moment, Dask
        waits for those for ever, even if any other would do."""
        there, held = self.workers.threads.keys(), self.workers.holding() or {}
        for key, where in [*self.bound.items()]:
            if key not in self.pending:
                del self.bound[key]
            elif there and key not in held and there.isdisjoint(where):
                del self.bound[key]
                future, chunk = self.pending.pop(key)
                future.cancel()
                self.submit(chunk)

    def _end_what_hangs(self, stuck: Mapping[str, str]) -> None:
        """Take chunks that run much longer than any before them for hung; and end workers that do nothing
        else any more, as far as they are not stuck in another way."""
        self.tended = now = time.monotonic()
        where = self._seen_running(stuck)
        if where is None:
            return
        self.running = {key: self.running.get(key, now) for key in where if key in self.pending}
        most = max(HUNG, HUNG_TIMES * self.longest) if self.longest else HUNG_FIRST
        for key, since in [*self.running.items()]:
            if now - since > most:
                future, chunk = self.pending.pop(key)
                del self.running[key]
                self.workers.hung.setdefault(where[key], []).append(chunk)
                future.cancel()
                error = TimeoutError(f"no end after {now - since:.0f} s, others took {self.longest:.0f} s")
                self.done.put(_Ended(chunk, Hung(where[key], error)))
        for worker in self.workers.that_hang_still():
            self._give_to_others({worker: workers.HANGS})
            self.workers.end(worker)

    def _seen_running(self, stuck: Mapping[str, str]) -> dict[str, str] | None:
        """Return the workers of the keys that run, of those that were at a worker at the last look too; None
        if nobody answers."""
        held = self.workers.holding()
        if held is None:
            return None
        at = [key for key, worker in held.items() if worker not in stuck]
        before, self.held = self.held, {key for key in at if key in self.pending}
        long = [self.pending[key][0].key for key in self.held if key in before]
        return self.workers.running(long) if long else {}


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


def _at_worker(work: Work, argument: Any, admit: Callable[[], str] | None, chunk: int) -> Done | FailedAt:
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
