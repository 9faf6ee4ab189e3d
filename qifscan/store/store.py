"""The dataset on disk: create it, write a chunk, tell what is finished, open it. The only user of zarr.

A chunk of the scan is one whole chunk of every array, written by one task; `status` is written last, so its
chunk is the record that the rest is there. Status 0 means "not run" and is the fill value, never a result.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from qifscan import record
from qifscan.engine import backend
from qifscan.engine.chunks import Chunks
from qifscan.errors import StoreError, UnknownModel, short
from qifscan.scan.matching import adopted
from qifscan.scan.scan import Scan
from qifscan.store.chunk_files import finished, row
from qifscan.store.layout import coordinates_of, now, write_template

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


OPTIONS = "qifscan_options"
"""The attribute that says which options of XLA the numbers of a store depend on."""

STALE_SECONDS = 600
"""Age at which a `.partial` file, left by a killed writer, is swept away."""


@dataclass(frozen=True)
class Store:
    """An existing store: its path, the scan that it belongs to, and how that is cut."""

    path: Path
    chunks: Chunks
    recorded: bool = True
    """Whether it has a record of its chunks; stores of earlier versions have none."""

    @property
    def scan(self) -> Scan:
        """The scan that the store belongs to."""
        return self.chunks.scan


@dataclass(frozen=True)
class Draft:
    """A new store that is not yet at its path: where it lies, and what folders were made to hold it."""

    store: Store
    partial: Path
    folders: tuple[Path, ...]

    def place(self) -> Store:
        """Move the store to its path."""
        try:
            self.partial.rename(self.store.path)
        except OSError as error:
            self.remove()
            raise _unwritten(self.store.path, error) from error
        return self.store

    def remove(self) -> None:
        """Take back everything that was written for the store."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


def create(path: Path, chunks: Chunks, device: str) -> Store:
    """Create the store of a scan: every array, coordinate and attribute, and no result.

    `device` is what will compute it, as `backend.device` gives it.
    """
    return draft(path, chunks, device).place()


def draft(path: Path, chunks: Chunks, device: str) -> Draft:
    """Build the store of a scan beside `path`, to be renamed: a store is either whole or not there."""
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise StoreError(f"{path}: can't be written ({blocked} is a file); nothing was written")
    folders = tuple(folder for folder in path.parents if not folder.exists())
    if path.parent.exists():
        clear_beside(path)
    made = Draft(Store(path, chunks), beside(path), folders)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_template(made.partial, chunks, device)
    except BaseException as error:
        made.remove()
        if isinstance(error, OSError):
            raise _unwritten(path, error) from error
        raise
    return made


def beside(path: Path) -> Path:
    """Return a new name beside a store for what is to be moved there, with the machine and process in it."""
    return path.with_name(f"{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def clear_beside(path: Path) -> None:
    """Remove what killed processes have left beside a store: those of this machine, or old ones."""
    pattern = re.compile(re.escape(path.name) + r"\.(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{8}\.partial")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is None or entry.is_symlink() or not entry.is_dir():
            continue
        known = found[1] == _machine()
        old = entry.stat().st_mtime < datetime.now(UTC).timestamp() - STALE_SECONDS
        if (known and not psutil.pid_exists(int(found[2]))) or (old and not known):
            shutil.rmtree(entry.path, ignore_errors=True)


def _unwritten(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: can't be written ({error.strerror or error}); nothing was written")


def load(path: Path) -> Store:
    """Return the store at `path`; raise `StoreError` if it is not one, or not readable."""
    try:
        return _loaded(path, record.attributes(path))
    except UnknownModel:
        raise
    except StoreError as error:
        kept = record.read(path)
        if kept is None:
            raise
        again = _loaded(path, kept["attributes"])
        logger.warning("%s; read from their second copy; qifscan verify --repair puts them back", error)
        return again


def _loaded(path: Path, attributes: Mapping[str, Any]) -> Store:
    scan = Scan.from_attributes(path, attributes)
    try:
        checkpoint = int(attributes.get("qifscan_checkpoint", 0))
        chunks = Chunks(scan, tuple(attributes["qifscan_chunk_shape"]), checkpoint)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: how it is cut can't be read from its attributes ({short(error)}); the store is damaged"
        ) from None
    return Store(path, chunks, bool(attributes.get("qifscan_record")))


def exists(path: Path) -> bool:
    """Whether anything is at `path`."""
    return path.exists()


def check_scan(store: Store, scan: Scan) -> None:
    """Raise `StoreError`, naming both scans and what differs, if the store belongs to another scan."""
    if scan.fingerprint == store.scan.fingerprint:
        return
    # A value that differs by rounding is the same, and the store keeps its own.
    scan = adopted(scan, store.scan)
    if scan.fingerprint == store.scan.fingerprint:
        return
    theirs, ours = store.scan.definition(), scan.definition()
    differing = [key for key in ours if key != "title" and ours[key] != theirs.get(key)]
    name = f'"{store.scan.title}" ' if store.scan.title else ""
    raise StoreError(
        f"{store.path}: belongs to another scan, {name}{store.scan.fingerprint[:12]}, "
        f"not {scan.fingerprint[:12]}; "
        f"they differ in {', '.join(differing)}; give another path, or remove the store"
    )


def origin(store: Store) -> dict[str, Any]:
    """Return the attributes that tell where a store was begun."""
    return attributes_of(store)


def begin_run(store: Store, event: str, options: str) -> None:
    """Sweep away what killed writers have left half-written, and add a line to the history; a store without
    a finished chunk takes the options of XLA that these will be computed with."""
    refuse_links(store)
    try:
        _clear(store)
        clear_beside(store.path)
        told = attributes_of(store)
        first = {} if finished(store) else {OPTIONS: options}
        change_attributes(store, {"history": f"{told.get('history', '')}\n{now()} {event}"} | first)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{store.path}: can't be written ({reason}); nothing in it was changed") from error


def refuse_links(store: Store) -> None:
    """Raise `StoreError` if there is a link in a store: what is written there would be written elsewhere."""
    link = next(record.links(store.path), None)
    if link is not None:
        raise StoreError(
            f"{store.path}: {link} is a link, and what is written there goes elsewhere; remove it"
        )


@contextmanager
def template(store: Store) -> Iterator[Path]:
    """Give a folder with everything of a store that follows from its scan, for as long as it is needed."""
    made = beside(store.path)
    try:
        write_template(made, store.chunks, "")
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def coordinates(store: Store) -> dict[str, Array]:
    """Return the values of every coordinate, as they follow from the scan."""
    return {name: values for name, _, values, _ in coordinates_of(store.chunks)}


def kept(store: Store) -> dict[str, Any] | None:
    """Return the second copy of the metadata of a store, None if there is none that is its own."""
    found = record.read(store.path) if store.recorded else None
    own = found is not None and found["attributes"].get("qifscan_fingerprint") == store.scan.fingerprint
    return found if own else None


def attributes_of(store: Store) -> dict[str, Any]:
    """Return the attributes of a store; those that it was made with where they are lost."""
    copy = kept(store)
    made = {} if copy is None else copy["attributes"]
    own: dict[str, Any] = {}
    with suppress(ValueError, KeyError, TypeError):
        own = dict(record.read_json(store.path / record.METADATA)["attributes"])
    return made | own | {name: value for name, value in made.items() if name.startswith("qifscan_")}


def change_attributes(store: Store, changes: Mapping[str, Any], anew: bool = False) -> None:
    """Change attributes of a store, and bring the copies of its metadata up to date; `anew` where the second
    copy itself is damaged."""
    attributes = attributes_of(store) | dict(changes)
    if store.recorded and (anew or kept(store) is not None):
        record.write(store.path, attributes)
    record.seal(store.path, attributes)


def options_of(store: Store) -> str | None:
    """Return the options of XLA that the chunks of a store are computed with; None where it does not say."""
    found = attributes_of(store).get(OPTIONS)
    return None if found == backend.UNKNOWN else found


def check_options(store: Store, here: str) -> None:
    """Raise `StoreError` if a store has chunks that were computed with other options than those here."""
    there = options_of(store)
    if there is None or there == here or here == backend.UNKNOWN:
        return
    raise StoreError(
        f"{store.path}: was computed with other options of XLA than this process has, and the last bits "
        f"would differ; {backend.how_to_have(there)}"
    )


def with_other_options(store: Store, chunk: int, here: str) -> bool:
    """Whether a chunk says that it was computed with other options than these."""
    known = row(store, chunk) if store.recorded and here != backend.UNKNOWN else None
    return known is not None and known.options not in (0, record.of_options(here))


def _clear(store: Store) -> None:
    oldest = datetime.now(UTC).timestamp() - STALE_SECONDS
    for leftover in store.path.rglob("*.partial"):
        with suppress(OSError):
            if leftover.stat().st_mtime < oldest:
                leftover.unlink()
