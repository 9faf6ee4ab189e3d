"""A run while it goes: what is finished and what failed, told to those who listen and to the log."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qifscan.runs import events
from qifscan.runs.admission import OTHERS, others_of
from qifscan.runs.failures import MOST_FAILURES
from qifscan.runs.progress import Progress
from qifscan.store import store, writer
from qifscan.store.store import Store

if TYPE_CHECKING:
    from qifscan.runs.task import Outcome

logger = logging.getLogger("qifscan.runs.driver")

OFTEN = 1.0
"""Seconds between two lines of progress in the log; or a hundredth of the time so far if that is more, but at
most `SELDOM`."""

SELDOM = 30.0

MOMENTS = 256
"""Parts of the time so far of which one moment is kept at most: of a million chunks not each."""


@dataclass
class Running:
    """The chunks of a run that are done, and what is known of them."""

    opened: Store
    device: str
    state: Progress
    failures: dict[int, BaseException] = field(default_factory=dict)
    begin: float = field(default_factory=time.perf_counter)
    devices: set[str] = field(default_factory=set)
    others: set[int] = field(default_factory=set)
    logged: float = 0.0
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque([(0.0, 0)]))
    """Seconds and points at moments of the last half of the time, from which the time left is estimated."""

    def counted(self, chunk: int, outcome: Outcome) -> Progress:
        """Count a chunk that is computed; return how far the run is."""
        seconds = time.perf_counter() - self.begin
        self._look_at(outcome)
        state = _after(self.state, outcome, self.opened.chunks.is_trace(chunk), seconds)
        if len(self.recent) < 2 or seconds - self.recent[-1][0] >= seconds / MOMENTS:
            self.recent.append((seconds, state.computed))
        # The first chunks wait for a compiler; what is left goes as the last half of the time went.
        while len(self.recent) > 2 and self.recent[1][0] < 0.5 * seconds:
            self.recent.popleft()
        since, before = self.recent[0]
        pace = (state.computed - before) / (seconds - since) if seconds > since else None
        self.state = replace(state, pace=pace or state.pace)
        over = state.chunks == state.all_chunks
        if over or seconds - self.logged >= min(max(OFTEN, 0.01 * seconds), SELDOM):
            self.logged = seconds
            self._log()
        return self.state

    def is_over(self, chunk: int, error: Any) -> bool:
        """Count a chunk that failed; tell whether the run gives up."""
        self.failures[chunk] = error
        logger.info("chunk %d failed: %r", chunk, error)
        events.note("given up", chunk=chunk, error=str(error)[:400])
        return writer.disk_is_full(getattr(error, "error", error)) or len(self.failures) >= MOST_FAILURES

    def _log(self) -> None:
        state = self.state
        pace = None if state.pace is None else round(state.pace, 3)
        events.note("progress", chunks=state.chunks, points=state.points, pace=pace)

    def _look_at(self, outcome: Outcome) -> None:
        """Say once where chunks have other last bits than those of the store."""
        other, path = outcome.other, self.opened.path
        if other is not None and other.number not in self.others:
            self.others.add(other.number)
            known = others_of(store.attributes_of(self.opened))
            change = {OTHERS: known | {f"{other.number:08x}": other.attributes()}}
            store.change_attributes(self.opened, change)
            logger.warning("%s: some chunks have other last bits, from %s", path, other.device)
            events.note("mixed", **other.attributes())
        if outcome.device not in {self.device, *self.devices}:
            self.devices.add(outcome.device)
            logger.warning(
                "%s: some workers compute on another device (%s, not %s): their points may differ in "
                "the last bits",
                path,
                outcome.device,
                self.device,
            )


def _after(state: Progress, outcome: Outcome, trace: bool, seconds: float) -> Progress:
    """Return how far a run is after one more chunk, so many seconds after its begin."""
    points = 0 if trace else outcome.points
    flags = {k: state.flags.get(k, 0) + (0 if trace else n) for k, n in outcome.flags.items()}
    return replace(
        state,
        chunks=state.chunks + 1,
        points=state.points + points,
        computed=state.computed + points,
        flags=flags,
        seconds=seconds,
    )
