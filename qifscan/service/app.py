"""The application: every route of the server, in the form of OGC API - Processes, behind `Safety`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from qifscan.errors import QifscanError, StoreError
from qifscan.service.problems import ProblemError, problem
from qifscan.service.safety import LOOPBACK, Quotas, Safety

Lookup = Callable[[str], Path]
"""Gives the path of a store by its name; raises `KeyError` where there is none of that name."""

Pages = Callable[[Lookup], Sequence[BaseRoute]]
"""Gives the routes of the pages that show stores; the one at `/` is for browsers."""


def create_app(
    folder: Path,
    *,
    pages: Pages | None = None,
    hosts: Iterable[str] = LOOPBACK,
    origins: Iterable[str] = (),
    token: str | None = None,
    quotas: Quotas | None = None,
) -> Safety:
    """Return the server of a folder of stores, an ASGI application.

    Parameters
    ----------
    folder
        Where the stores are, and where new ones are made.
    pages
        What gives the routes of the explorer; without it there is no page.
    hosts, origins, token, quotas
        As in `Safety`.
    """

    def lookup(name: str) -> Path:
        """Return the store of a name; names are compared, never joined to a path."""
        return {path.stem: path for path in folder.glob("*.zarr")}[name]

    shown = list(pages(lookup)) if pages else []
    routes = [Route("/", _landing), *shown]
    handlers = {ProblemError: _problem, QifscanError: _fault, HTTPException: _http, Exception: _bug}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    return Safety(app, hosts=hosts, origins=origins, token=token, quotas=quotas)


async def _landing(request: Request) -> Response:
    return JSONResponse({"title": "qifscan", "links": []})


async def _problem(request: Request, error: ProblemError) -> Response:
    return problem(error)


async def _fault(request: Request, error: QifscanError) -> Response:
    status = 404 if isinstance(error, StoreError) else 422
    lines = str(error).splitlines()
    return problem(ProblemError(status, lines[0] if lines else "", errors=lines))


async def _http(request: Request, error: HTTPException) -> Response:
    return problem(ProblemError(error.status_code, str(error.detail), headers=error.headers))


async def _bug(request: Request, error: Exception) -> Response:
    # What went wrong is in the server's log, and nothing of it goes out.
    return problem(ProblemError(500, "the server has the reason in its log"))
