"""The workers of a Dask cluster as a run knows them: which are there, which get no chunks, and why."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qifscan.errors import RunError
from qifscan.lazy import LazyModule
from qifscan.runs import events

if TYPE_CHECKING:
    import distributed
else:
    distributed = LazyModule("distributed")

RECOUNTED = 10.0
"""Seconds after which workers and threads of a cluster are looked at again: workers come and go."""

MOST_BLAMED = 2
"""Chunks that fail at a worker and are computed by another before the worker gets no more."""

PATIENCE = 20.0
"""Seconds without a chunk after which a run looks for what it waits for, and says so; and between two looks
for chunks that hang while others are done."""

BEATS = 5
"""Heartbeats of a worker that fail to come before it counts as silent: of many workers each beats seldom."""

ANSWERED = 10.0
"""Seconds that a scheduler which is busy may take to answer."""

LOST = 600.0
"""Seconds for which a scheduler may be out of reach before a run ends; or for which no worker comes where all
were ended, as they hung."""

ENDED_IN = 60.0
"""Seconds that a worker may take to end, and another to start in its place."""

HANGS = "hangs in a chunk"

logger = logging.getLogger("qifscan")


@dataclass
class Workers:
    """The workers behind a client."""

    client: Any
    threads: dict[str, int] = field(default_factory=dict)
    """Threads of each worker, when they were last looked at."""
    looked: float = -math.inf
    reached: float = field(default_factory=time.monotonic)
    """When the scheduler last answered."""
    refused: set[str] = field(default_factory=set)
    """Workers that take no chunks."""
    blamed: dict[str, int] = field(default_factory=dict)
    """Chunks that failed at a worker, and that another computed."""
    beats: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of each worker the scheduler's time of its last heartbeat, and when this was first seen here: clocks of
    two machines differ."""
    hung: dict[str, list[int]] = field(default_factory=dict)
    """Chunks in which a worker hangs, one of its threads in each, and which nobody waits for any more."""
    ended: dict[str, float] = field(default_factory=dict)
    """When workers that hung were ended."""
    address: str = ""
    """Of the scheduler, which a client that is closed does not know any more."""

    def __post_init__(self) -> None:
        self.address = str(self.client.scheduler.address)

    def all_threads(self) -> int:
        """Return the threads of all workers, as they were a few seconds ago."""
        if time.monotonic() - self.looked > RECOUNTED:
            self.look()
        return sum(self.threads.values())

    def look(self) -> None:
        """Look at the workers; those that were known stay, where the scheduler does not answer."""
        found = self.asked(lambda scheduler: scheduler.ncores, workers=None)
        self.looked = time.monotonic()
        if found is not None:
            for worker in found.keys() - self.threads.keys():
                events.note("worker", worker=worker, threads=found[worker])
            for worker in self.threads.keys() - found.keys():
                events.note("worker left", worker=worker)
                self.hung.pop(worker, None)
            self.threads = dict(found)

    def asked(self, question: Callable[[Any], Any], **options: Any) -> Any:
        """Return what the scheduler answers; None if it does not, for which nothing waits without end."""
        if self.client.status != "running":
            return None
        try:
            answer = self.client.sync(question(self.client.scheduler), callback_timeout=ANSWERED, **options)
        except (OSError, TimeoutError, RuntimeError, KeyError):
            # A key is not known any more where what it stands for was done meanwhile.
            return None
        self.reached = time.monotonic()
        return answer

    def refuse(self, worker: str, reason: str) -> None:
        """Give a worker no chunks; say why, once."""
        if worker not in self.refused:
            self.refused.add(worker)
            logger.warning("%s is left out: %s", worker, reason)
            events.note("left out", worker=worker, reason=reason)

    def blame(self, worker: str) -> None:
        """Count a chunk that failed at a worker, and that another computed."""
        self.blamed[worker] = self.blamed.get(worker, 0) + 1
        if self.blamed[worker] == MOST_BLAMED:
            reason = "chunks fail there that others compute"
            logger.warning("%s is left out: %s", worker, reason)
            events.note("left out", worker=worker, reason=reason)

    def shunned(self) -> set[str]:
        """Return the workers that are to get no chunks as long as there are others."""
        blamed = {worker for worker, n in self.blamed.items() if n >= MOST_BLAMED}
        return self.refused | blamed | {*self.hanging()}

    def others(self, avoided: set[str], anew: bool = False) -> list[str]:
        """Return the workers but for those to avoid; `anew` looks at them before."""
        if anew:
            self.look()
        return [worker for worker in self.threads if worker not in avoided]

    def unreachable(self) -> str:
        """Return in words why no worker can be reached; nothing, if one can."""
        address = self.address
        if self.client.status != "running":
            return f"the scheduler {address} can't be reached ({self.client.status})"
        self.look()
        if time.monotonic() - self.reached > max(PATIENCE, ANSWERED):
            return f"the scheduler {address} does not answer"
        if not self.threads:
            return f"the scheduler {address} has no workers; start some (dask worker {address})"
        return ""

    def check(self, reason: str) -> None:
        """Raise `RunError` if nothing is left to wait for: the scheduler is gone, for the reason given or for
        long, or all workers hung and were ended, and nobody starts others."""
        now = time.monotonic()
        if self.client.status == "closed" or now - self.reached > LOST:
            raise self.gone(reason)
        if self.ended and not self.others({*self.hanging()}) and now - max(self.ended.values()) > LOST:
            raise RunError(f"every worker hung in a chunk ({', '.join(self.ended)}), and none came since")

    def gone(self, reason: str) -> RunError:
        """Return the error that says so of the scheduler."""
        reason = " ".join(reason.split())[:400] or f"no answer for {time.monotonic() - self.reached:.0f} s"
        return RunError(f"the scheduler {self.address} is gone ({reason}); what is written stays")

    def stuck(self) -> dict[str, str]:
        """Return the workers that do not go on, with the reason, as far as the scheduler knows."""
        found = self.asked(lambda scheduler: scheduler.identity, n_workers=-1)
        known = found["workers"] if found else {}
        paused = [name for name, w in known.items() if w.get("status") == "paused"]
        return (
            dict.fromkeys(self._silent(known), "does not answer")
            | dict.fromkeys(paused, "is paused, over its limit of memory")
            | dict.fromkeys(self.hanging(), HANGS)
        )

    def _silent(self, known: Mapping[str, Any]) -> list[str]:
        """Return the workers of which no heartbeat came for long: long before another's, or none new."""
        now = time.monotonic()
        seen = {name: float(w.get("last_seen", 0.0)) for name, w in known.items()}
        before, newest = self.beats, max(seen.values(), default=0.0)
        self.beats = {
            name: before[name] if name in before and before[name][0] == beat else (beat, now)
            for name, beat in seen.items()
        }
        quiet = max(PATIENCE, BEATS * distributed.scheduler.heartbeat_interval(len(known)))
        return [
            name for name, (beat, since) in self.beats.items() if newest - beat > quiet or now - since > quiet
        ]

    def hanging(self) -> list[str]:
        """Return the workers of which every thread hangs."""
        return [name for name, chunks in self.hung.items() if len(chunks) >= self.threads.get(name, math.inf)]

    def holding(self) -> dict[str, str] | None:
        """Return the worker of each key that is at one, where it may run or wait behind another; None if the
        scheduler does not answer."""
        # Of all: where it is asked for one that has just left, it raises.
        found = self.asked(lambda scheduler: scheduler.processing, workers=None)
        return found and {str(key): worker for worker, keys in found.items() for key in keys}

    def running(self, keys: list[Any]) -> dict[str, str] | None:
        """Return the worker of each of these keys that runs, as only workers know which wait behind it; None
        if one does not answer."""
        found = self.asked(lambda scheduler: scheduler.call_stack, keys=keys)
        return found and {str(key): worker for worker, tasks in found.items() for key in tasks or ()}

    def end(self, worker: str) -> None:
        """End a worker that hangs: its nanny starts another, or whoever started it does."""
        self.ended[worker] = time.monotonic()
        which = ", ".join(map(str, self.hung[worker]))
        logger.warning("%s hangs in chunk %s, and is ended for another to come in its place", worker, which)
        events.note("worker ended", worker=worker, reason=f"hangs in chunk {which}")
        about = {"wait_for_workers": False, "on_error": "return", "stimulus_id": "qifscan-hangs"}

        async def end() -> None:
            with suppress(Exception):
                # The client's own way is for workers with a nanny alone.
                await self.client.scheduler.restart_workers(workers=[worker], **about)

        self.client.loop.add_callback(end)

    def that_hang_still(self) -> list[str]:
        """Return the workers that hang, and were not ended, or long ago."""
        now = time.monotonic()
        return [name for name in self.hanging() if now - self.ended.get(name, -math.inf) > ENDED_IN]
