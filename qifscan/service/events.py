"""Streams of events (server-sent events): how far a job is, or all jobs are.

The id of an event of a job is the number of its finished chunks; a reader that comes back with it as
`Last-Event-ID` gets what it has not seen. The last event has the state behind the number: who comes back with
that is answered with 204, and a browser asks no more.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from qifscan.service.jobs import Job, Jobs

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, so that nobody in between closes the connection."""

RETRY = 2000
"""Milliseconds after which a browser asks again."""

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

Describe = Callable[["Job"], dict[str, Any]]
"""Gives the status of a job as JSON data."""


def of_job(jobs: Jobs, job: Job, describe: Describe, last: str) -> Response:
    """Return the stream of one job: an event for every change, to its end."""
    if job.ended and last == _id(job):
        return Response(status_code=204, headers=_HEADERS)

    async def events() -> AsyncIterator[str]:
        sent = last
        yield f"retry: {RETRY}\n\n"
        while True:
            current = jobs.get(job.id)
            if _id(current) != sent:
                sent = _id(current)
                yield _event(sent, "status", describe(current))
            if current.ended or jobs.closing:
                return
            if not await jobs.changed(HEARTBEAT):
                yield ": still there\n\n"

    return StreamingResponse(events(), headers=_HEADERS, media_type="text/event-stream")


def of_all(jobs: Jobs, describe: Describe) -> Response:
    """Return the stream of all jobs: each as it is now, then each that changes."""

    async def events() -> AsyncIterator[str]:
        sent: dict[str, tuple[str, str]] = {}
        yield f"retry: {RETRY}\n\n"
        while not jobs.closing:
            for job in list(jobs.known.values()):
                state = (_id(job), job.message)
                if sent.get(job.id) != state:
                    sent[job.id] = state
                    yield _event("", "job", describe(job))
            if not await jobs.changed(HEARTBEAT):
                yield ": still there\n\n"

    return StreamingResponse(events(), headers=_HEADERS, media_type="text/event-stream")


def _id(job: Job) -> str:
    chunks = job.progress.chunks if job.progress else 0
    # While it runs the number alone; waiting is before any number.
    return f"{chunks}" if job.status == "running" else f"{chunks} {job.status}"


def _event(name: str, kind: str, data: dict[str, Any]) -> str:
    head = f"id: {name}\n" if name else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"
