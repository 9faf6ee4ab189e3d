"""The client in Python: send a scan to a server, watch it, and open or fetch what it made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan import files, record
from qifscan.engine.measured import CHECKPOINT
from qifscan.errors import RunError, RunInterrupted, StoreError, UnknownModel
from qifscan.files import METADATA
from qifscan.lazy import LazyModule
from qifscan.place import AnyPath, local
from qifscan.runs.progress import Progress, reporter
from qifscan.scan.scan import Scan, check_is_scan
from qifscan.service.transport import ServiceError, Transport, part_of_path
from qifscan.store import drafts
from qifscan.store.layout import fixed_coordinates
from qifscan.store.theory_group import as_computed

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

PATIENCE = 120.0
"""Seconds for which `wait` tries to reach a server that is gone: it may be started again, and goes on."""

PAUSE = 1.0
"""Seconds between two tries."""

READERS = 8
"""Files that `fetch` reads at once."""

ENDED = ("successful", "failed", "dismissed")


class Client:
    """A server that `qifscan serve` has started.

    Parameters
    ----------
    url
        Its address, as `qifscan serve` prints it: `http://127.0.0.1:8000`.
    token
        The text in its token file, where it has one.

    Raises
    ------
    ScanError
        If that is no address. Every method raises `QifscanError` if the server can't be reached or refuses.

    Examples
    --------
    >>> import qifscan as qs
    >>> client = qs.Client("http://127.0.0.1:8000")  # doctest: +SKIP
    >>> job = client.submit(qs.Scan(axes={"eta": [-6.0, -4.0]})).wait()  # doctest: +SKIP
    >>> job.open()["r_mean"].dims  # doctest: +SKIP
    ('eta',)
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._transport = Transport(url, token)

    def __repr__(self) -> str:
        return f"Client({self._transport.url})"

    def submit(self, scan: Scan) -> RemoteJob:
        """Send a scan, and return its job: the one there is already, if this scan was sent before.

        A job that was stopped or has failed goes on from what is finished.
        """
        check_is_scan(scan)
        told = self._transport.json(
            "POST", "/processes/scan/execution", {"inputs": {"scan": scan.definition()}}
        )
        if told.get("jobID") != scan.fingerprint:
            raise ServiceError(
                f"{self._transport.url}: takes this scan for another one ({str(told.get('jobID'))[:12]}, not "
                f"{scan.fingerprint[:12]}); client and server need the same version of qifscan"
            )
        return RemoteJob(self._transport, told)

    def jobs(self) -> list[RemoteJob]:
        """Return the jobs of the server, the latest first."""
        found: list[RemoteJob] = []
        while True:
            page = self._transport.json("GET", f"/jobs?limit=1000&offset={len(found)}")
            found += [RemoteJob(self._transport, told) for told in page["jobs"]]
            if not page["jobs"] or len(found) >= page["numberMatched"]:
                return found

    def job(self, scan: Scan | str) -> RemoteJob:
        """Return the job of a scan, or of an id."""
        name = scan.fingerprint if isinstance(scan, Scan) else str(scan)
        return RemoteJob(self._transport, self._transport.json("GET", f"/jobs/{part_of_path(name)}"))


class RemoteJob:
    """A scan that was sent to a server, as it was when it was last heard of; `refresh` asks again."""

    def __init__(self, transport: Transport, told: dict[str, Any]) -> None:
        self._transport, self._told = transport, told

    def __repr__(self) -> str:
        return f"RemoteJob({self.id[:12]}, {self.status}, {self.message})"

    @property
    def id(self) -> str:
        """Its name: the fingerprint of the scan."""
        return str(self._told["jobID"])

    @property
    def status(self) -> str:
        """One of accepted, running, successful, failed, dismissed."""
        return str(self._told["status"])

    @property
    def message(self) -> str:
        """How far it is, or why it has failed."""
        return str(self._told.get("message", ""))

    @property
    def title(self) -> str:
        """The title of the scan."""
        return str(self._told.get("title", ""))

    @property
    def progress(self) -> Progress | None:
        """How far it is; None before that is known."""
        return _progress(self._told)

    def refresh(self) -> RemoteJob:
        """Ask the server how far it is."""
        self._told = self._transport.json("GET", f"/jobs/{part_of_path(self.id)}")
        return self

    def cancel(self) -> RemoteJob:
        """Stop it between chunks; what is finished stays, and sending the scan again goes on from there."""
        self._told = self._transport.json("DELETE", f"/jobs/{part_of_path(self.id)}")
        return self

    def wait(self, progress: Callable[[Progress], None] | str | None = "auto") -> RemoteJob:
        """Wait for its end.

        Parameters
        ----------
        progress
            As in `run`: `"auto"`, None, or a function that is called with a `Progress`.

        Raises
        ------
        RunError
            If it has failed or was stopped; the text says why.
        RunInterrupted
            On Ctrl-C; the job itself goes on.
        """
        try:
            with reporter(progress) as report:
                for told in self._heard():
                    self._told = told
                    if (state := self.progress) is not None:
                        report(state)
        except KeyboardInterrupt:
            goes_on = f"job {self.id[:12]} goes on there; its cancel() stops it"
            raise RunInterrupted(f"{self._transport.url}: {goes_on}") from None
        if self.status != "successful":
            raise RunError(f"{self._transport.url}: job {self.id[:12]} {self.status}: {self.message}")
        return self

    def _heard(self) -> Iterator[dict[str, Any]]:
        """Yield its status at every change, to its end; a connection that breaks off is made again."""
        last, heard = "", time.monotonic()
        while self.status not in ENDED or not last:
            try:
                for name, told in self._transport.events(f"/jobs/{part_of_path(self.id)}/events", last):
                    last, heard = name, time.monotonic()
                    yield told
                if last and self.status in ENDED:
                    return
            except ServiceError as error:
                if error.status not in (0, 429, 503) or time.monotonic() - heard > PATIENCE:
                    raise
            time.sleep(PAUSE)

    @property
    def _store(self) -> str:
        """The path of its store on the server."""
        return f"/stores/{part_of_path(self.id)}"

    def _served(self) -> Any:
        from qifscan.service.remote import ServedStore

        return ServedStore(self._transport, self._store)

    def open(self) -> xr.Dataset:
        """Open its dataset on the server, lazily, as `open_scan` does; also while it is running.

        Where `status` is 0 a point has not been run yet, and its observables are NaN. It is the dataset as it
        is now: what is finished later is there when it is opened again.
        """
        served = self._served()
        root = served.read(METADATA)
        if root is None:
            raise StoreError(f"{self._transport.url}: job {self.id[:12]} has no store yet ({self.status})")
        finished = self._transport.json("GET", f"/jobs/{part_of_path(self.id)}/finished")
        now = served if finished["complete"] else _at_this_moment(served, json.loads(root), finished)
        dataset = xr.open_zarr(now, consolidated=True, zarr_format=3, chunks={})
        told = dataset.attrs
        own = [name for name in told.get("qifscan_coordinates", []) if name in dataset.data_vars]
        order = [n for n in told.get("qifscan_variables", []) if n in dataset.data_vars and n != CHECKPOINT]
        added = [name for name in dataset.data_vars if name not in {*order, *own}]
        ordered: xr.Dataset = dataset.set_coords(own)[[*order, *added]]
        with suppress(UnknownModel):
            scan = Scan.from_attributes(Path(self._transport.url), told)
            ordered = ordered.assign_coords(fixed_coordinates(scan))
        return ordered

    def open_theory(self) -> xr.DataTree:
        """Open the theory that its store carries, as `open_theory` does."""
        tree = xr.open_datatree(
            self._served(), engine="zarr", group="theory", consolidated=True, zarr_format=3, chunks=None
        )
        return tree.map_over_datasets(as_computed)

    def fetch(self, path: AnyPath) -> Path:
        """Copy its store to this machine, file by file, and return the path: `replay`, `verify` and a further
        `run` take it as one that was made here. The bytes are those of the server.

        Raises `StoreError` if something is at `path` already, or a file did not arrive whole.
        """
        path = local("path", path)
        if path.exists():
            raise StoreError(f"{path}: is there already; give another path, or remove it")
        served, partial = self._served(), drafts.beside_folder(path)
        root = served.read(METADATA)
        if root is None:
            raise StoreError(f"{self._transport.url}: job {self.id[:12]} has no store yet ({self.status})")
        nodes = json.loads(root)["consolidated_metadata"]["metadata"]
        try:
            with ThreadPoolExecutor(READERS) as pool:
                for copied in (_of_nodes(nodes), _of_chunks(nodes)):
                    list(pool.map(lambda name: _copy(served, name, partial), copied))
            files.write(partial / METADATA, root)
            files.put(partial, path)
        except OSError as error:
            raise StoreError(f"{path}: can't be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return path


def _at_this_moment(served: Any, root: dict[str, Any], finished: dict[str, Any]) -> Any:
    """Return a store with the chunks alone that were finished at one moment: values and `status` are read one
    after the other.
    """
    from qifscan.store.snapshot import Snapshot

    names, nodes = root["attributes"]["qifscan_variables"], root["consolidated_metadata"]["metadata"]
    last = names.index("status") + 1
    shown = {}
    for kind, those in (("grid", names[:last]), ("traces", names[last:])):
        for name in those:
            size = len(nodes[name]["shape"])
            places = [(*place, *(0,) * (size - len(place))) for place in finished[kind]]
            shown[name] = frozenset("/".join(map(str, place)) for place in places)
    return Snapshot(served, shown)


def _of_nodes(nodes: dict[str, Any]) -> Iterator[str]:
    for name in nodes:
        yield f"{name}/{METADATA}"


def _of_chunks(nodes: dict[str, Any]) -> Iterator[str]:
    """Return the file of every chunk; the rows of the record last, as they say that the others are whole."""
    arrays = [name for name, node in nodes.items() if node["node_type"] == "array"]
    for name in sorted(arrays, key=lambda name: name.startswith(record.RECORD)):
        node = nodes[name]
        lengths = node["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [max(1, -(-n // c)) for n, c in zip(node["shape"], lengths, strict=True)]
        for place in product(*map(range, counts)):
            yield "/".join([name, "c", *map(str, place)])


def _copy(served: Any, name: str, folder: Path) -> None:
    """Copy a file, if it is there."""
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in name.split("/")):
        raise StoreError(f"{served}: names a file {name!r}, which is no part of a store")
    data = served.read(name)
    if data is not None:
        files.write(folder / name, data)


def _progress(told: dict[str, Any]) -> Progress | None:
    if "chunks" not in told or "points" not in told:
        return None
    (chunks, every), (points, all_points) = told["chunks"], told["points"]
    return Progress(
        chunks,
        every,
        points,
        all_points,
        told.get("computed", 0),
        told.get("flags", {}),
        told.get("seconds", 0.0),
    )
