"""The application: every route of the server, in the form of OGC API - Processes, behind `Safety`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from qifscan.dynamics.imported import imported
from qifscan.errors import QifscanError, StoreError
from qifscan.service import front
from qifscan.service.bounds import Bounds
from qifscan.service.files import Files
from qifscan.service.jobs import Jobs
from qifscan.service.problems import ProblemError, problem
from qifscan.service.routes import Routes
from qifscan.service.safety import LOOPBACK, Quotas, Safety
from qifscan.service.stores import Stores

Lookup = Callable[[str], Path]
"""Gives the path of a store by its name; raises `KeyError` where there is none of that name."""

Pages = Callable[[Lookup], Sequence[BaseRoute]]
"""Gives the routes of the pages that show a store, below `/explore/`."""


def create_app(
    folder: Path,
    *,
    pages: Pages | None = None,
    hosts: Iterable[str] = LOOPBACK,
    origins: Iterable[str] = (),
    token: str | None = None,
    quotas: Quotas | None = None,
    bounds: Bounds | None = None,
    scheduler: str | None = None,
) -> Server:
    """Return the server of a folder of stores, an ASGI application.

    Parameters
    ----------
    folder
        Where the stores are, and where new ones are made.
    pages
        What gives the routes of the explorer, from a function that gives the path of a store by name; without
        it there is the list of scans alone.
    hosts, origins, token, quotas
        As in `Safety`.
    bounds
        What the server takes on.
    scheduler
        Address of a Dask scheduler whose workers compute the jobs; by default this machine's cores do.
    """
    bounds = bounds or Bounds()
    for place in bounds.own:
        imported("own", place)
    stores = Stores(folder)
    jobs = Jobs(stores, bounds, scheduler)

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        jobs.read()
        jobs.start()
        try:
            yield
        finally:
            await jobs.close()

    shown = list(pages(stores.path)) if pages else []
    here = Routes(stores, Files(), jobs, bounds, guarded=token is not None)
    routes = [*here.table(), *front.routes(), *shown]
    handlers = {ProblemError: _problem, QifscanError: _fault, HTTPException: _http, Exception: _bug}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=running)  # type: ignore[arg-type]
    return Server(app, jobs, hosts=hosts, origins=origins, token=token, quotas=quotas)


class Server(Safety):
    """The application, with its jobs."""

    def __init__(self, app: Starlette, jobs: Jobs, **options: Any) -> None:
        super().__init__(app, **options)
        self.jobs = jobs


async def _problem(request: Request, error: ProblemError) -> Response:
    return problem(error)


async def _fault(request: Request, error: QifscanError) -> Response:
    lines = str(error).splitlines() or [type(error).__name__]
    more = "" if len(lines) == 1 else f" (and {len(lines) - 1} more)"
    status = 404 if isinstance(error, StoreError) else 422
    return problem(ProblemError(status, f"{lines[0]}{more}", errors=lines))


async def _http(request: Request, error: HTTPException) -> Response:
    found = f"{request.method} {request.url.path[:80]}: {str(error.detail).lower()}"
    return problem(ProblemError(error.status_code, found, headers=error.headers))


async def _bug(request: Request, error: Exception) -> Response:
    # What went wrong is in the server's log, and nothing of it goes out.
    return problem(ProblemError(500, "the server has the reason in its log"))
