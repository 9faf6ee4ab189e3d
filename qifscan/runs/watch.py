"""How a run stands, in lines: from its store and from the log beside it, on any machine that sees them."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any

import psutil

from qifscan.errors import UnknownModel, counted
from qifscan.files import Where
from qifscan.printed import format_seconds
from qifscan.runs import events
from qifscan.runs.progress import Progress
from qifscan.runs.state import state_of, state_with
from qifscan.store import chunk_files
from qifscan.store.integrity import faults
from qifscan.store.store import load, origin

WAIT = 3.0
"""Seconds between two looks."""

SHOWN = 3
"""Failures, or workers, that are named."""


def lines(store: Where) -> Iterator[str]:
    """Yield how far the run of a store is, how its points ended, how the run goes, and what is wrong."""
    found, unknown = events.read(store.absolute()), ""
    try:
        opened = load(store)
        seen = chunk_files.look(opened)
        progress, ended = state_with(opened, seen[0])
    except UnknownModel as error:
        unknown = str(error)
        progress, ended = state_of(str(store))
    counts = ", ".join(f"{count:,} {name}" for name, count in ended.items() if count)
    yield f"dataset       {store}"
    yield f"finished      {progress}"
    yield f"points        {counts}"
    left = progress.chunks < progress.all_chunks
    found = found if left else []
    running = is_running(found)
    yield from _of_the_run(found, progress, running)
    if unknown:
        yield f"not checked   {unknown}"
    else:
        if extended := origin(opened).get("extended"):
            yield f"extended      {extended}"
        # While a chunk is written, some of its files are there.
        for line in () if running else faults(opened, seen=seen):
            yield f"fault         {line}"
    if left and not running:
        yield "to go on      qifscan run again: it does the rest"


def goes_on(store: Where) -> bool:
    """Whether a run of the store may be going on."""
    return is_running(events.read(store.absolute())) is not False


def is_running(found: list[dict[str, Any]]) -> bool | None:
    """Whether the run of a log is going on; None where that can't be known from this machine."""
    if not found or found[-1].get("event") == "ended":
        return False
    begun = next((event for event in found if event.get("event") == "begun"), {})
    process = begun.get("process")
    if begun.get("host") != platform.node() or not isinstance(process, int):
        return None
    return bool(psutil.pid_exists(process))


def _of_the_run(found: list[dict[str, Any]], progress: Progress, running: bool | None) -> Iterator[str]:
    """Yield what a log tells of the last run, which has not finished."""
    if not found:
        return
    begun, last = found[0], found[-1]
    of = {name: [e for e in found if e.get("event") == name] for name in {str(e.get("event")) for e in found}}
    where = f"process {begun.get('process')} on {begun.get('host')}"
    heard = f"last heard of {format_seconds(max(0.0, time.time() - float(last['time'])))} ago"
    if running:
        yield f"running       {where}, {heard}"
    elif running is None:
        yield f"running       perhaps: {where}, {heard}"
    elif last.get("event") == "ended":
        error = str(last.get("error", "")).splitlines()
        yield f"ended         {last.get('how')}{f': {error[0]}' if error else ''}"
    else:
        yield f"ended         without a word: {where} is gone, {heard}"
    if running is not False:
        yield from _of_speed(of.get("progress", []), progress)
        yield from _of_workers(of)
        waiting = of.get("waiting", [])
        if waiting and waiting[-1]["time"] > max((e["time"] for e in of.get("progress", [])), default=0.0):
            yield f"waiting       {waiting[-1].get('reason')}"
    for name, told in (("failed", "given up"), ("tried again", "failed")):
        which = of.get(told, [])
        if which:
            shown = "; ".join(f"chunk {e.get('chunk')}: {e.get('error')}" for e in which[-SHOWN:])
            yield f"{name:<14}{counted(len(which), 'time')}: {shown}"


def _of_speed(told: list[dict[str, Any]], progress: Progress) -> Iterator[str]:
    pace = told[-1].get("pace") if told else None
    if isinstance(pace, (int, float)) and pace > 0:
        left = (progress.all_points - progress.points) / pace
        yield f"rate          {pace:,.3g} points a second, {format_seconds(left)} left"


def _of_workers(of: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    here: dict[str, float] = {str(e.get("worker")): e["time"] for e in of.get("worker", [])}
    gone: dict[str, float] = {str(e.get("worker")): e["time"] for e in of.get("worker left", [])}
    there = [name for name, since in here.items() if gone.get(name, 0.0) < since]
    if here:
        yield f"workers       {len(there)} now, {len(here)} seen"
    for event in of.get("left out", [])[-SHOWN:]:
        yield f"left out      {event.get('worker')}: {event.get('reason')}"
