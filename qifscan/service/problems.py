"""What goes wrong over HTTP: one JSON object in the form of RFC 9457, `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/"
"""Before the names of those problems that OGC API - Processes names itself."""

TITLES = {
    400: "Bad request",
    401: "A token is required",
    403: "Not from here",
    404: "Not found",
    405: "Not with this method",
    408: "Too slow",
    409: "Not in this state",
    413: "Too large",
    421: "Another host",
    422: "Not a valid request",
    429: "Too many requests",
    500: "A fault of the server",
    503: "Busy",
}


class ProblemError(Exception):
    """A request that is answered with a problem: its status, one line, and what else is known."""

    def __init__(
        self,
        status: int,
        detail: str,
        kind: str = "about:blank",
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.headers, self.more = dict(headers or {}), more


def problem(error: ProblemError) -> JSONResponse:
    """Return the response that tells a problem."""
    content = {
        "type": error.kind,
        "title": TITLES.get(error.status, "A problem"),
        "status": error.status,
        "detail": error.detail,
        **error.more,
    }
    headers = {"cache-control": "no-store"} | error.headers
    return JSONResponse(content, error.status, headers, media_type="application/problem+json")
