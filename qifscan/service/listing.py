"""Which jobs are listed: what a query asks for, as OGC API - Processes has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qifscan.service.problems import ProblemError

if TYPE_CHECKING:
    from qifscan.service.jobs import Job


def chosen(jobs: Iterable[Job], asked: Mapping[str, str]) -> list[Job]:
    """Return the jobs that a query asks for, in their order.

    `type`, `processID`, `status`: one name, or several with commas; `datetime`: a time of creation or an
    interval `first/last`, where `..` is open; `minDuration`, `maxDuration`: seconds. Raises `ProblemError`
    for what can't be read.
    """
    wanted = {name: asked[name].split(",") for name in ("type", "processID", "status") if name in asked}
    first, last = _interval(asked["datetime"]) if "datetime" in asked else (None, None)
    shortest, longest = (_seconds(asked, name) for name in ("minDuration", "maxDuration"))
    found = []
    for job in jobs:
        told = {"type": "process", "processID": job.process, "status": job.status}
        created, took = _time(job.created), duration(job)
        if all(told[name] in names for name, names in wanted.items()) and not (
            (first is not None and (created is None or created < first))
            or (last is not None and (created is None or created > last))
            or (shortest is not None and took < shortest)
            or (longest is not None and took > longest)
        ):
            found.append(job)
    return found


def duration(job: Job) -> float:
    """Return the seconds that a job has run for."""
    started, finished = _time(job.started), _time(job.finished)
    return ((finished or datetime.now(UTC)) - started).total_seconds() if started else 0.0


def whole(asked: Mapping[str, str], name: str, usual: int, most: int) -> int:
    """Return a whole number of a query, at most so much; raise `ProblemError` for anything else."""
    given = asked.get(name, str(usual))
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise ProblemError(400, f'{name}: found "{given[:40]}", expected a whole number')
    return min(int(given), most)


def _seconds(asked: Mapping[str, str], name: str) -> int | None:
    return whole(asked, name, 0, 10**9) if name in asked else None


def _interval(given: str) -> tuple[datetime | None, datetime | None]:
    ends = given.split("/") if "/" in given else [given, given]
    times = [None if end in ("", "..") else _time(end) for end in ends]
    unread = any(time is None and end not in ("", "..") for time, end in zip(times, ends, strict=True))
    if len(ends) != 2 or unread or times == [None, None]:
        raise ProblemError(
            400, f'datetime: found "{given[:60]}", expected 2026-01-31T12:00:00Z or first/last'
        )
    return times[0], times[1]


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
