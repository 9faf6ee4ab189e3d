"""How far a run is, told in a terminal and to a caller."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from qifscan import notebook
from qifscan.dynamics.status import Status


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

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at the speed so far; None before the first chunk of this run."""
        if not self.computed:
            return None
        return self.seconds * (self.all_points - self.points) / self.computed

    def __str__(self) -> str:
        return f"{self.chunks} of {self.all_chunks} chunks, {self.points:,} of {self.all_points:,} points"


@contextmanager
def reporter(progress: Callable[[Progress], None] | str | None) -> Iterator[Callable[[Progress], None]]:
    """Return what hears how far a run is: the caller's own, a line in a notebook, a bar in a terminal."""
    if callable(progress):
        yield progress
    elif progress == "auto" and notebook.in_a_notebook():
        with notebook.line() as write:
            write("compiling")
            yield lambda state: write(_in_words(state))
    elif progress == "auto" and _in_a_terminal():
        with _bar() as report:
            yield report
    else:
        yield lambda state: None


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


def _in_a_terminal() -> bool:
    """Whether standard error is a terminal: there may be none, or something in its place."""
    asked = getattr(sys.stderr, "isatty", None)
    try:
        return asked is not None and bool(asked())
    except ValueError:
        return False


def _bar() -> AbstractContextManager[Callable[[Progress], None]]:
    """Return a progress bar on standard error, which is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    bar = RichProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} points"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )

    @contextmanager
    def shown() -> Iterator[Callable[[Progress], None]]:
        with bar:
            task = bar.add_task("scan", note="")

            def report(state: Progress) -> None:
                note = ", ".join(_flagged(state))
                bar.update(task, completed=state.points, total=state.all_points, note=note)

            yield report

    return shown()
