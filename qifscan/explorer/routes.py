"""The explorer on HTTP: the page, and the answers as bytes. Names come from the URL, paths never."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from qifscan.errors import Fault, QifscanError, ScanError, StoreError, short, show
from qifscan.explorer.answers import ANSWERS, answer
from qifscan.explorer.source import open_source
from qifscan.explorer.wire import packed
from qifscan.files import Where
from qifscan.page_files import TYPES, page_files

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Where]
Chosen = Callable[[str, Mapping[str, Any]], None]

AT_ONCE = 3
"""Answers that are computed at a time, beside curves over the map; of those that wait, the ones that nobody
waits for are dropped."""

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

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(lookup: Lookup, chosen: Chosen | None = None) -> list[BaseRoute]:
    """Return the routes under `/explore/{name}/`.

    `lookup` gives the store or TOML file of a name, and raises `KeyError` or `StoreError` for others. The
    page itself is the same for every name, and has nothing of a scan in it.
    `chosen` is called with the name and the request of every point that is clicked on.
    """
    pages = _Pages(lookup, chosen)
    return [
        Route("/explore/{name}", pages.without_slash),
        Route("/explore/{name}/", pages.page),
        Route("/explore/{name}/page/{file}", pages.part),
        Route("/explore/{name}/{answer}", pages.answered),
    ]


class _Pages:
    """The page and its answers, for the names that are known."""

    def __init__(self, lookup: Lookup, chosen: Chosen | None) -> None:
        self._lookup, self._chosen = lookup, chosen
        # Before any thread reads a store: if two import dask at once, one finds it half imported.
        importlib.import_module("dask.array")
        # Curves of a model without a graph take up to half a minute: one at a time, which holds up no other.
        self._turns, self._curves = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(1)
        # Python waits for these threads when it ends; one that is killed within XLA aborts the process.
        self._threads = ThreadPoolExecutor(AT_ONCE + 1, "qifscan answer")

    async def without_slash(self, request: Request) -> Response:
        return RedirectResponse(f"{request.path_params['name']}/")

    async def page(self, request: Request) -> Response:
        body = page_files("qifscan.explorer")["index.html"]
        if self._chosen is None:
            # Part of a service: a new scan can be submitted there.
            body = body.replace(b"<body>", b"<body data-service>")
        return Response(body, headers=_HEADERS, media_type=TYPES[".html"])

    async def part(self, request: Request) -> Response:
        return _file(request.path_params["file"])

    async def answered(self, request: Request) -> Response:
        name, what = request.path_params["name"], request.path_params["answer"]
        if what not in ANSWERS:
            return _refused(404, "no such answer")
        async with self._curves if what == "curves" else self._turns:
            if await request.is_disconnected():
                return Response(status_code=499)
            try:
                path = self._lookup(name)
            except (KeyError, QifscanError) as error:
                return _refused(404, str(error.args[0]) if error.args else f"{name}: is not there")
            try:
                asked = _asked(request.query_params.get("ask", "{}"))
                loop = asyncio.get_running_loop()
                body = await loop.run_in_executor(self._threads, _body, path, what, asked)
            except ScanError as error:
                return _refused(422, str(error))
            except StoreError as error:
                return _refused(404, str(error))
            except Exception as error:
                logger.exception("%s of %s", what, name)
                return _refused(500, f"{what}: {type(error).__name__}: {short(error)}")
        if what == "point" and self._chosen is not None and asked.get("chosen"):
            self._chosen(name, asked)
        return Response(body, headers=_HEADERS, media_type="application/octet-stream")


def _file(name: str) -> Response:
    files = page_files("qifscan.explorer")
    if name not in files:
        return _refused(404, "no such file")
    return Response(files[name], headers=_HEADERS, media_type=TYPES[Path(name).suffix])


def _refused(code: int, detail: str) -> Response:
    body = {"title": "refused" if code < 500 else "failed", "status": code, "detail": detail}
    return JSONResponse(body, code, _HEADERS, "application/problem+json")


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


def _body(path: Where, what: str, asked: Mapping[str, Any]) -> bytes:
    return packed(answer(open_source(path), what, asked))
