"""How far a run is, shown in a terminal and reported to a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from qifscan import notebook
from qifscan.dynamics.status import Status
from qifscan.phases import in_a_terminal


@dataclass(frozen=True)
class Progress:
    """How far a run is: chunks and points finished (those of earlier runs included) and flags of this run."""

    chunks: int
    all_chunks: int
    points: int
    all_points: int
    computed: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    pace: float | None = None
    """Points per second of late; None where it is not known."""

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at the speed of late; None before the first chunk of this run."""
        if not self.computed:
            return None
        return (self.all_points - self.points) / (self.pace or self.computed / max(self.seconds, 1e-9))

    def __str__(self) -> str:
        return f"{self.chunks} of {self.all_chunks} chunks, {self.points:,} of {self.all_points:,} points"


class Report:
    """Hears how far a run is: `report(state)` after every chunk, and before and after them `report.phase`."""

    def __init__(self, on_state: Callable[[Progress], None], on_phase: Callable[[str], None]) -> None:
        self._on_state, self._on_phase = on_state, on_phase
        self.now = "preparing"

    def phase(self, text: str) -> None:
        """Tell what is done while no chunk is computed."""
        self.now = text
        self._on_phase(text)

    def __call__(self, state: Progress) -> None:
        """Tell how far the run is."""
        self.now = str(state)
        self._on_state(state)


@contextmanager
def reporter(progress: Callable[[Progress], None] | str | None) -> Iterator[Report]:
    """Return what hears how far a run is: the caller's own, a line in a notebook, a bar in a terminal."""
    if callable(progress):
        yield Report(progress, _nothing)
    elif progress == "auto" and notebook.in_a_notebook():
        with notebook.line() as write:
            line = _RunLine(write)
            yield Report(line.on_state, line.on_phase)
            line.on_phase("")
    elif progress == "auto" and in_a_terminal():
        with _bar() as report:
            yield report
    else:
        yield Report(_nothing, _nothing)


def _nothing(told: object) -> None:
    """Tell nobody."""


class _RunLine:
    """A line of a notebook: how far the run is, and what is done beside."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._state = write, ""

    def on_state(self, state: Progress) -> None:
        self._state = _in_words(state)
        self._write(self._state)

    def on_phase(self, text: str) -> None:
        self._write(", ".join(part for part in (self._state, text) if part))


def _in_words(state: Progress) -> str:
    """Return how far a run is as a line: with the time that is left, in the end with the time it took."""
    parts = [str(state), *_flagged(state)]
    if state.chunks == state.all_chunks:
        parts.append(f"{state.seconds:.1f} s")
    elif state.remaining is not None:
        parts.append(f"{state.remaining:.0f} s left")
    return ", ".join(parts)


def _flagged(state: Progress) -> list[str]:
    """Return how many points of this run carry each flag."""
    return [f"{n:,} {name}" for name, n in state.flags.items() if n and name != Status.computed.name]


def _bar() -> AbstractContextManager[Report]:
    """Return a progress bar on standard error, which is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    bar = RichProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[points]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )

    @contextmanager
    def shown() -> Iterator[Report]:
        with bar:
            task = bar.add_task("preparing", total=None, note="", points="")

            def on_state(state: Progress) -> None:
                done, whole = state.points, state.all_points
                told: dict[str, Any] = {
                    "note": ", ".join(_flagged(state)),
                    "points": f"{done:,} of {whole:,} points",
                }
                bar.update(task, description="scan", completed=done, total=whole, **told)

            def on_phase(text: str) -> None:
                bar.update(task, description=text)

            yield Report(on_state, on_phase)

    return shown()
