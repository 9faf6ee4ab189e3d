"""The explorer on this machine: a server on loopback, for the command and for notebooks."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import webbrowser
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qifscan.errors import Fault, ScanError, StoreError, without
from qifscan.explorer.answers import warm
from qifscan.explorer.place import Place
from qifscan.explorer.source import Source, open_source
from qifscan.files import Where
from qifscan.place import located

if TYPE_CHECKING:
    import uvicorn
    import xarray as xr

    from qifscan.service.safety import Safety

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
NOTEBOOKS = ("http://localhost:*", "http://127.0.0.1:*")
"""Whose pages may show the explorer in a frame."""

KEPT = 100
"""Points that were clicked on and are remembered."""

_PATIENCE = 20.0
"""Seconds in which a server must be there."""


class Explorer:
    """A page on a store, served on this machine until it is closed.

    In a notebook it shows itself; `selected` are the points that were clicked on there, the last one last,
    as `replay` and `Dataset.sel` take them.
    """

    def __init__(self, path: Where, port: int = 0, height: int = 860) -> None:
        self._source = open_source(path)
        self._path, self._height = path, height
        self._name = _name_of(path)
        self._selected: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._socket = _bound(port)
        self._port: int = self._socket.getsockname()[1]
        self._server = _server(self._application())
        self._thread: threading.Thread | None = None
        self._closed, self._ended = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self._port}/explore/{quote(self._name)}/"

    @property
    def selected(self) -> list[dict[str, Any]]:
        """The points that were clicked on: the value on every axis, and parameters that were changed."""
        return list(self._selected)

    def _application(self) -> Safety:
        from starlette.applications import Starlette
        from starlette.responses import RedirectResponse
        from starlette.routing import Route

        from qifscan.explorer.routes import routes
        from qifscan.service.safety import Safety

        async def home(request: Any) -> RedirectResponse:
            return RedirectResponse(f"/explore/{quote(self._name)}/")

        app = Starlette(routes=[Route("/", home), *routes(self._lookup, self._chosen)])
        return Safety(app, frames=NOTEBOOKS)

    def _lookup(self, name: str) -> Where:
        if name != self._name:
            raise StoreError(f"{name}: is not open here; {self._name} is")
        return self._path

    def _chosen(self, name: str, asked: Mapping[str, Any]) -> None:
        source: Source = open_source(self._path)
        place = Place.of(source, asked)
        self._selected.append(place.labels(source) | dict(place.changed))

    def start(self) -> Explorer:
        """Serve in a thread, and compile in another what a first click needs."""
        self._thread = threading.Thread(target=self._serve, name="qifscan explorer", daemon=True)
        self._thread.start()
        self._warm()
        until = time.monotonic() + _PATIENCE
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def open(self) -> None:
        """Open the page in the browser of this machine."""
        threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()

    def wait(self) -> None:
        """Return when the server has ended, or on Ctrl-C, which ends it."""
        with suppress(KeyboardInterrupt):
            # Not Thread.join: when Ctrl-C interrupts it, the thread counts as ended from then on.
            while not self._ended.wait(0.5):
                pass
        self.close()

    def _warm(self) -> None:
        # No daemon: a process that ends while XLA compiles would be aborted.
        goes_on = lambda: not self._closed.is_set()  # noqa: E731
        threading.Thread(target=warm, args=(self._source, goes_on), name="qifscan warming").start()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()

    def close(self) -> None:
        """End the server."""
        self._closed.set()
        self._server.should_exit = True
        if self._thread is not None:
            self._ended.wait(_PATIENCE)
            self._thread.join(1.0)
        self._socket.close()

    def __enter__(self) -> Explorer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"qifscan explorer of {self._path.name} at {self.url}"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url}" width="100%" height="{self._height}" style="border:1px solid #ddd;'
            f'border-radius:6px" title="{self!r}"></iframe>'
        )


def explore(data: xr.Dataset | str | os.PathLike[str], *, port: int = 0, height: int = 860) -> Explorer:
    """Open the explorer on a store, a scan's TOML file, or a dataset that was opened from a store.

    Parameters
    ----------
    data
        The store or the TOML file, or a dataset of `run` or `open_scan`, which knows its store.
    port
        Port of the server, on this machine alone; by default a free one.
    height
        Pixels of the frame in a notebook.

    Returns
    -------
    Explorer
        Shows itself in a notebook; `url` is its address, `selected` are the points that were clicked on,
        `open` opens the browser on it, `close` ends it.

    Raises
    ------
    ScanError, StoreError
        If there is no such store or scan, or the extra `serve` is not installed.

    Examples
    --------
    >>> import qifscan as qs
    >>> explorer = qs.explore("scan.zarr")  # doctest: +SKIP
    >>> explorer.selected  # doctest: +SKIP
    [{'eta': -5.0, 'J': 15.0}]
    >>> explorer.close()  # doctest: +SKIP
    """
    check_installed()
    return Explorer(_path_of(data), port, height).start()


def _path_of(data: Any) -> Where:
    if isinstance(data, (str, os.PathLike)):
        return located("data", data)
    source = getattr(data, "encoding", {}).get("source") or getattr(data, "attrs", {}).get("qifscan_path")
    if not source:
        hint = "give the path of the store"
        raise ScanError([Fault("data", without(data, "that does not know its store"), "a store", hint)])
    return located("data", source)


def check_installed() -> None:
    """Raise `ScanError` where the extra that serves the page is not installed."""
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        hint = "pip install 'qifscan[serve]'"
        raise ScanError([Fault("explore", f"no {error.name}", "the extra `serve`", hint)]) from None
    del starlette, uvicorn


def _name_of(path: Where) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in path.name).strip(".") or "scan"


def _bound(port: int) -> socket.socket:
    # With the protocol named asyncio sends at once; without, a second answer waits 40 ms for the first.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        reason = (error.strerror or str(error)).lower()
        raise ScanError([Fault("port", f"{port}: {reason}", "a free port", "leave it out")]) from None
    return made


def _server(application: Any) -> uvicorn.Server:
    import uvicorn

    settings = uvicorn.Config(
        application, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    return uvicorn.Server(settings)
