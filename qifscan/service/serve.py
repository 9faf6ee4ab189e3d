"""Run the server of a folder: its address, its token, its lock, and its end."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from qifscan.errors import Fault, QifscanError, ScanError
from qifscan.service.app import Pages, create_app
from qifscan.service.bounds import Bounds
from qifscan.service.safety import ADDRESSES, LOOPBACK

LOCK = ".qifscan-serve.lock"
"""The file in the folder that one server holds at a time."""

LEAST_TOKEN = 16
"""Characters of a token; a shorter one could be guessed."""

ENDING_SECONDS = 5
"""Time that answers have to end when the server is stopped."""

MOST_CONNECTIONS = 1000
"""Requests that are open at once; more are answered with 503."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and by which names it may be asked."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    """Further names that it is reached by, through a proxy or a tunnel."""

    @property
    def only_here(self) -> bool:
        """Whether nothing but this machine reaches it."""
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback and not self.names
        return self.host == "localhost" and not self.names

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names in `Host` that are ours."""
        if self.only_here:
            return LOOPBACK
        return (*LOOPBACK, ADDRESSES, socket.gethostname(), socket.getfqdn(), *self.names)

    @contextmanager
    def listening(self) -> Iterator[socket.socket]:
        """Give the socket; raise `QifscanError` if it can't be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # With the protocol named asyncio sends at once; without, a second answer waits 40 ms for the first.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        with listener:
            if os.name != "nt":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, self.port))
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise QifscanError(
                    f"--host {self.host} --port {self.port}: can't listen there ({reason}); give another "
                    "port, or 0 for any that is free"
                ) from None
            yield listener


def serve(
    folder: Path,
    address: Address,
    *,
    token_file: Path | None = None,
    origins: Sequence[str] = (),
    scheduler: str | None = None,
    bounds: Bounds,
    pages: Pages | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a folder of stores until Ctrl-C.

    Parameters
    ----------
    folder
        Where the stores are.
    address
        Where to listen. Beyond this machine, `token_file` must be given.
    token_file
        The file with the token that each request must carry; it is made if it is not there.
    origins, scheduler, bounds, pages
        As in `create_app`.
    say
        Prints a line.

    Raises
    ------
    QifscanError
        If the folder or the address can't be had, or there is no token where one is needed.
    """
    _check_folder(folder)
    if token_file is None and not address.only_here:
        expected = "--token-file beside an address or a name beyond this machine"
        hint = "a new token is written into the file if it is not there"
        raise ScanError([Fault("--token-file", "nothing", expected, hint)])
    token = None if token_file is None else token_of(token_file)
    app = create_app(
        folder.absolute(),
        pages=pages,
        hosts=address.hosts,
        origins=origins,
        token=token,
        bounds=bounds,
        scheduler=scheduler,
    )
    with _locked(folder), address.listening() as listener:
        told = f"; the token is in {token_file}" if token_file else ""
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"http://{host}:{listener.getsockname()[1]}"
        line = f"serving {folder} at {url}{told} (Ctrl-C ends it)"
        server = _Server(configuration(app, address), lambda: say(line), app.jobs.end_streams)
        with suppress(KeyboardInterrupt):
            server.run([listener])
    say("stopped; what was running goes on when the folder is served again")


def configuration(app: Callable[..., object], address: Address) -> uvicorn.Config:
    """Return how the server runs."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a proxy says of the client is heard only where there is one.
        proxy_headers=bool(address.names),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )


class _Server(uvicorn.Server):
    """A server that says when it listens, and ends its streams of events when it is stopped."""

    def __init__(
        self, config: uvicorn.Config, listening: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._listening, self._ending = listening, ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at a signal: streams of events would never end by themselves."""
        self._ending()
        super().handle_exit(sig, frame)


def _check_folder(folder: Path) -> None:
    """Make the folder of the stores if there is none; raise `ScanError` if it can't be one."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise ScanError([Fault(str(folder), f"no folder {folder.parent}", "one to make it in")]) from None
    except FileExistsError:
        raise ScanError([Fault(str(folder), "a file", "the folder of the stores")]) from None
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise ScanError([Fault(str(folder), found, "the folder of the stores")]) from None
    if not os.access(folder, os.W_OK):
        raise ScanError([Fault(str(folder), "no right to write", "a folder that new stores can be made in")])


def token_of(path: Path) -> str:
    """Return the token in a file; a new one is written into a file that only this user can read.

    Raises `QifscanError` for a token that is too short, and for a file that others can read.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise QifscanError(f"--token-file {path}: can't be written ({error.strerror or error})") from None
    try:
        if os.name != "nt" and os.stat(path).st_mode & 0o077:
            raise QifscanError(f"--token-file {path}: others can read or write it; chmod 600 {path}")
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise QifscanError(f"--token-file {path}: can't be read ({error})") from None
    if len(token) < LEAST_TOKEN or len(token.split()) != 1:
        expected = f"one word of at least {LEAST_TOKEN} characters"
        raise ScanError(
            [Fault(f"--token-file {path}", f"{len(token)} characters", expected, "remove the file")]
        )
    return token


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder: two servers would both run what is waiting. The lock ends with the process."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        file = open(folder / LOCK, "w")  # noqa: SIM115
    except OSError as error:
        # What the rights of a folder promise is not always so: not of /proc, and not on a full disk.
        found = f"no file that can be made in it ({error.strerror or error})"
        expected = "a folder that new stores can be made in"
        raise ScanError([Fault(str(folder), found, expected)]) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise QifscanError(f"{folder}: another server serves it; stop that one first") from None
        yield
