"""What every request passes before it is answered: host, origin, token, rate, size; headers of the answer.

An ASGI application around another, with no state but the rates: `Safety(app, hosts=LOOPBACK)`.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qifscan.service.problems import ProblemError, problem

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of a server that only this machine can reach."""

ADDRESSES = "addresses"
"""Stands in `hosts` for every address that is written in numbers. DNS rebinding needs a name."""

OPEN = re.compile(r"/|/favicon\.ico|/page/[^/]+|/explore/[^/]+|/explore/[^/]+/(page/[^/]+)?")
"""Paths that need no token, as a browser loads them before the page can read it: the pages, and what they are
made of. Nothing of a scan is in them."""

CONTENT_POLICY = {
    "default-src": "'self'",
    # A picture that is saved from a canvas is a blob: or data: URL.
    "img-src": "'self' data: blob:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}
"""What a page of ours may load (Content-Security-Policy): nothing from elsewhere, no inline script or style.
An answer that has a policy of its own keeps it."""


@dataclass(frozen=True)
class Quotas:
    """What one client may ask for."""

    body: int = 4 << 20
    """Bytes of a request's body: an axis of 200,000 values that are written out."""

    body_seconds: float = 30.0
    """Time for a body to arrive."""

    reads: float = 1000.0
    """Requests a second from one address that only read: a map has hundreds of chunks, all wanted at once."""

    writes: float = 50.0
    """Requests a second from one address that compute or change something."""

    burst: float = 4.0
    """Seconds of either that may come at once."""


@dataclass
class Rates:
    """The requests of each address: a bucket that fills with time, and each request takes one out of it."""

    quotas: Quotas
    buckets: dict[tuple[str, bool], tuple[float, float]] = field(default_factory=dict)

    MOST_ADDRESSES = 10_000

    def check(self, address: str, reads: bool, now: float) -> None:
        """Take a request into account; raise `ProblemError` if there are too many."""
        rate = self.quotas.reads if reads else self.quotas.writes
        full = rate * self.quotas.burst
        left, before = self.buckets.get((address, reads), (full, now))
        left = min(full, left + rate * (now - before))
        if len(self.buckets) >= self.MOST_ADDRESSES:
            self.buckets.clear()
        self.buckets[address, reads] = max(left - 1.0, 0.0), now
        if left < 1.0:
            found = f"more than {rate:g} requests a second from {address}"
            raise ProblemError(429, f"{found}; wait a second", headers={"retry-after": "1"})


class Safety:
    """Answer a request only if it may be, and add the headers that keep a page to itself.

    Parameters
    ----------
    app
        The application that answers.
    hosts
        Names that the server is reached by. A request for another one is refused with 421: a page elsewhere
        can make its own name point here (DNS rebinding), and would be of the same origin then.
    origins
        Origins beside the server's own whose pages may read from here, such as "https://example.org"; for
        them there is CORS.
    token
        What a request must carry, `Authorization: Bearer <token>`; None if everybody who reaches the server
        may use it.
    frames
        Sources whose pages may show a page of ours in a frame, as `frame-ancestors` names them.
    quotas
        How much one client may ask for.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str] = LOOPBACK,
        origins: Iterable[str] = (),
        token: str | None = None,
        frames: Iterable[str] = (),
        quotas: Quotas | None = None,
    ) -> None:
        self.app, self.token, self.quotas = app, token, quotas or Quotas()
        self.hosts = frozenset(host.lower() for host in hosts)
        self.origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self.rates = Rates(self.quotas)
        policy = CONTENT_POLICY | {"frame-ancestors": " ".join(("'self'", *frames))}
        self.policy = "; ".join(f"{name} {sources}" for name, sources in policy.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        sender = self._with_headers(send, origin if origin in self.origins else "")
        try:
            self._check(scope, headers, origin)
            if scope["method"] == "OPTIONS" and origin in self.origins:
                await Response(status_code=204)(scope, receive, sender)
                return
            receive = await self._received(headers, receive)
        except ProblemError as error:
            await problem(error)(scope, receive, sender)
            return
        await self.app(scope, receive, sender)

    def _check(self, scope: Scope, headers: Headers, origin: str) -> None:
        host = headers.get("host", "").lower()
        if not self._is_ours(_without_port(host)):
            raise ProblemError(
                421, f'found the host "{host}", expected one of {", ".join(sorted(self.hosts))}'
            )
        reads = scope["method"] in {"GET", "HEAD", "OPTIONS"}
        address = (scope.get("client") or ("unknown", 0))[0]
        self.rates.check(address, reads, time.monotonic())
        if origin and origin not in self.origins and origin.partition("://")[2] != host:
            raise ProblemError(403, f"pages of {origin} may not ask here; the server was not started with it")
        # A page elsewhere can ask for a picture or a script without saying where it is.
        elsewhere = headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
        if elsewhere and not origin and headers.get("sec-fetch-mode") != "navigate":
            raise ProblemError(403, "pages of other origins may not load anything from here")
        preflight = scope["method"] == "OPTIONS" and origin in self.origins
        if self.token is not None and not preflight and not (reads and OPEN.fullmatch(scope["path"])):
            self._check_token(headers)

    def _is_ours(self, host: str) -> bool:
        if host in self.hosts:
            return True
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return ADDRESSES in self.hosts

    def _check_token(self, headers: Headers) -> None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), (self.token or "").encode())
        if scheme.lower() != "bearer" or not same:
            found = "another token" if given else "no token"
            raise ProblemError(
                401,
                f"found {found}, expected the header Authorization: Bearer with that of the server",
                headers={"www-authenticate": "Bearer"},
            )

    async def _received(self, headers: Headers, receive: Receive) -> Receive:
        """Return what gives the body again, after it has arrived whole and is not too large."""
        told = headers.get("content-length", "0")
        if told == "0" and "transfer-encoding" not in headers:
            return receive
        most = self.quotas.body
        refusal = ProblemError(
            413, f"found a body of more than {most:,} bytes, expected at most so many", limit=most
        )
        if not told.isdigit() or int(told) > most:
            raise refusal
        body = b""
        try:
            async with asyncio.timeout(self.quotas.body_seconds):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise refusal
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise ProblemError(408, f"the body took more than {self.quotas.body_seconds:g} s") from None
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return first.pop() if first else await receive()

        return again

    def _with_headers(self, send: Send, origin: str) -> Send:
        """Return what sends an answer with the headers of safety; `origin` is one that CORS is for."""

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", self.policy)
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cross-origin-resource-policy"] = "cross-origin" if origin else "same-origin"
                headers["cross-origin-opener-policy"] = "same-origin"
                if origin:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-allow-methods"] = "GET, HEAD, POST, DELETE"
                    headers["access-control-allow-headers"] = (
                        "authorization, content-type, prefer, range, if-none-match, last-event-id"
                    )
                    headers["access-control-expose-headers"] = "location, etag, content-range"
                    headers.add_vary_header("origin")
            await send(message)

        return sender


def _without_port(host: str) -> str:
    """Return the name in a `Host` header: the address of IPv6 is in brackets."""
    head, bracket, _ = host.partition("]")
    return head + bracket if bracket else host.partition(":")[0]
