"""Requests to a server of scans, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from qifscan.errors import Fault, QifscanError, ScanError, show

TIMEOUT = 60.0
"""Seconds without a byte after which a server is given up."""


class ServiceError(QifscanError):
    """What a server refused, or that it can't be reached; `status` is that of HTTP, 0 where there is none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.status)


@dataclass(frozen=True)
class Answer:
    """An answer of a server."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Transport:
    """Connections to one server, one for each thread.

    Redirections are not followed, so that a token goes to no other server.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        bare = not (parts.query or parts.fragment or parts.username)
        try:
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and bare and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            expected = "http://HOST:PORT, as qifscan serve prints it"
            raise ScanError([Fault("url", show(url), expected, "the token is an argument of its own")])
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise ScanError([Fault("token", "another value", "the text in the token file of the server")])
        self.url = url.rstrip("/")
        self.token = token and token.strip()
        self._here = threading.local()

    def __getstate__(self) -> tuple[str, str | None]:
        return self.url, self.token

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transport) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash(self.__getstate__())

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=TIMEOUT)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return dict(headers) | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a request, whatever its status; raise `ServiceError` if there is none."""
        data = None if body is None else json.dumps(body).encode()
        sent = self._headers({"Content-Type": "application/json"} if body is not None else {}) | dict(
            headers or {}
        )
        for last in (False, True):
            kept = getattr(self._here, "connection", None)
            connection = kept or self._connection()
            self._here.connection = None
            try:
                connection.request(method, f"{urlsplit(self.url).path}{path}", data, sent)
                response = connection.getresponse()
                answer = Answer(response.status, dict(response.getheaders()), response.read())
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # One that was kept may have been closed by the server in the meantime.
                if kept is None or last:
                    raise self._unreachable(error) from None
                continue
            self._here.connection = connection
            return answer
        raise AssertionError

    def _unreachable(self, error: Exception) -> ServiceError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ServiceError(f"{self.url}: can't be reached ({reason})")

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the data in the answer; raise `ServiceError` if it was refused.

        A server that has too many requests says when to come again, and is asked again then.
        """
        for pause in (1.0, 2.0, 4.0, 8.0, 0.0):
            answer = self.ask(method, path, body)
            if answer.status != 429 or not pause:
                break
            time.sleep(pause)
        if answer.status >= 300:
            raise self.refused(answer)
        try:
            return json.loads(answer.data)
        except ValueError:
            raise ServiceError(
                f"{self.url}: what answers there is no server of qifscan", answer.status
            ) from None

    def refused(self, answer: Answer) -> ServiceError:
        """Return the error that says why a request was refused, one line for every mistake."""
        told: Any = None
        with suppress(ValueError):
            told = json.loads(answer.data)
        if not isinstance(told, dict) or "detail" not in told:
            return ServiceError(
                f"{self.url}: answered with {answer.status}, no server of qifscan", answer.status
            )
        lines = [str(line) for line in told.get("errors") or [told["detail"]]]
        return ServiceError("\n".join(f"{self.url}: {line}" for line in lines), answer.status)

    def events(self, path: str, last: str) -> Iterator[tuple[str, Any]]:
        """Yield the id and the data of each event of a stream; raise `ServiceError` if it breaks off."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        connection = self._connection()
        try:
            connection.request("GET", f"{urlsplit(self.url).path}{path}", headers=self._headers(headers))
            response = connection.getresponse()
            if response.status == 204:
                return
            if response.status != 200:
                raise self.refused(Answer(response.status, {}, response.read()))
            told: dict[str, str] = {}
            for line in response:
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name:
                    told[name] = value
                elif "data" in told:
                    yield told.get("id", ""), json.loads(told["data"])
                    told = {}
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()


def part_of_path(name: str) -> str:
    """Return a name as it stands in the path of an address."""
    return quote(name, safe="")
