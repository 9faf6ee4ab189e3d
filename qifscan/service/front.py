"""The front page: the list of scans and a form that sends one, plain modules of JavaScript in `page`."""

from __future__ import annotations

from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qifscan.page_files import TYPES, page_files
from qifscan.service.problems import ProblemError


def wants_page(request: Request) -> bool:
    """Whether it is a browser that asks."""
    return "text/html" in request.headers.get("accept", "")


def page(name: str) -> Response:
    """Return a file of the page; raise `ProblemError` if it has none of that name."""
    files = page_files("qifscan.service")
    if name not in files:
        raise ProblemError(404, "the page has no such file")
    told = {"cache-control": "no-cache", "vary": "accept"}
    return Response(files[name], headers=told, media_type=TYPES[PurePath(name).suffix])


async def _part(request: Request) -> Response:
    return page(request.path_params["file"])


async def _icon(request: Request) -> Response:
    return page("icon.svg")


def routes() -> list[Route]:
    """Return the routes of what the page is made of."""
    return [Route("/page/{file}", _part), Route("/favicon.ico", _icon)]
