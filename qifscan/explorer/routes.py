"""The explorer on HTTP: the page, and the answers as bytes. Names come from the URL, paths never."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan.errors import Fault, QifscanError, ScanError, StoreError, short, show
from qifscan.explorer.answers import ANSWERS, answer
from qifscan.explorer.source import open_source
from qifscan.explorer.wire import packed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Path]
Chosen = Callable[[str, Mapping[str, Any]], None]

AT_ONCE = 3
"""Answers that are computed at a time; of those that wait, the ones that nobody waits for are dropped."""

LONGEST = 8192
"""Characters of a request."""

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",
    )
)
"""What the page may load: itself; pictures also from memory. Notebooks on this machine may frame it."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def page_files() -> dict[str, bytes]:
    """Return the files of the page by name."""
    folder = files("qifscan.explorer").joinpath("page")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if Path(entry.name).suffix in TYPES}


def routes(lookup: Lookup, chosen: Chosen | None = None) -> list[BaseRoute]:
    """Return the routes under `/explore/{name}/`.

    `lookup` gives the store or TOML file of a name, and raises `StoreError` or `ScanError` for others.
    `chosen` is called with the name and the labels of every point that is clicked on.
    """
    from anyio import Semaphore, to_thread
    from starlette.responses import JSONResponse, RedirectResponse, Response
    from starlette.routing import Route

    turns: list[Semaphore] = []

    async def page(request: Request) -> Response:
        return file_of(request, "index.html")

    async def part(request: Request) -> Response:
        return file_of(request, request.path_params["file"])

    def file_of(request: Request, name: str) -> Response:
        try:
            lookup(request.path_params["name"])
        except QifscanError as error:
            return refused(error, 404)
        if name not in page_files():
            return JSONResponse({"title": "not found", "detail": "no such file"}, 404, _HEADERS)
        return Response(page_files()[name], headers=_HEADERS, media_type=TYPES[Path(name).suffix])

    async def folder(request: Request) -> Response:
        return RedirectResponse(f"{request.path_params['name']}/")

    def refused(error: Exception, code: int) -> Response:
        body = {"title": "refused" if code < 500 else "failed", "status": code, "detail": str(error)}
        return JSONResponse(body, code, _HEADERS, "application/problem+json")

    async def answered(request: Request) -> Response:
        name, what = request.path_params["name"], request.path_params["answer"]
        if what not in ANSWERS:
            return JSONResponse({"title": "not found", "detail": "no such answer"}, 404, _HEADERS)
        turns[:] = turns or [Semaphore(AT_ONCE)]
        async with turns[0]:
            if await request.is_disconnected():
                return Response(status_code=499)
            try:
                asked = _asked(request.query_params.get("ask", "{}"))
                path = lookup(name)
                body = await to_thread.run_sync(_body, path, what, asked)
            except ScanError as error:
                return refused(error, 422)
            except StoreError as error:
                return refused(error, 404)
            except Exception as error:
                logger.exception("%s of %s", what, name)
                return refused(RuntimeError(f"{what}: {type(error).__name__}: {short(error)}"), 500)
        if what == "point" and chosen is not None and asked.get("chosen"):
            chosen(name, {key: asked.get(key) for key in ("index", "changed")})
        return Response(body, headers=_HEADERS, media_type="application/octet-stream")

    return [
        Route("/explore/{name}", folder),
        Route("/explore/{name}/", page),
        Route("/explore/{name}/page/{file}", part),
        Route("/explore/{name}/{answer}", answered),
    ]


def _asked(text: str) -> dict[str, Any]:
    if len(text) > LONGEST:
        raise ScanError([Fault("ask", f"{len(text):,} characters", f"at most {LONGEST:,}")])
    try:
        asked = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError) as error:
        raise ScanError([Fault("ask", short(error), "a JSON object")]) from None
    if not isinstance(asked, dict):
        raise ScanError([Fault("ask", show(asked), "a JSON object")])
    return asked


def _body(path: Path, what: str, asked: Mapping[str, Any]) -> bytes:
    return packed(answer(open_source(path), what, asked))

