"""A store: created, loaded, held against a scan; its attributes. Chunks are written in `writer`.

A chunk of the scan is one whole chunk of every array, written by one task; `status` is written last, so its
chunk is the record that the rest is there. Status 0 means "not run" and is the fill value, never a result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qifscan import files, record
from qifscan.engine import backend
from qifscan.engine.chunks import Chunks
from qifscan.engine.measured import CHECKPOINT
from qifscan.errors import StoreError, UnknownModel, short
from qifscan.files import METADATA, Where
from qifscan.scan.matching import adopted
from qifscan.scan.scan import Scan
from qifscan.store.chunk_files import row
from qifscan.store.drafts import Draft, beside, built, clear_beside, clear_inside
from qifscan.store.layout import coordinates_of, now, write_template
from qifscan.store.shards import is_packed

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]


PACKED = "qifscan_packed"
"""The attribute of a store that is packed."""

OPTIONS = "qifscan_options"
"""The attribute that says which options of XLA the numbers of a store depend on."""


FOLDERS = (f"{record.RECORD}/points", f"{record.RECORD}/traces", CHECKPOINT)
"""Arrays that have a folder for each chunk."""


@dataclass(frozen=True)
class Store:
    """An existing store: its path, the scan that it belongs to, and how that is cut."""

    path: Where
    chunks: Chunks
    recorded: bool = True
    """Whether it has a record of its chunks; stores of earlier versions have none."""
    packed: bool = False
    """Whether it is packed: whole, in few files, and only read."""

    @property
    def scan(self) -> Scan:
        """The scan that the store belongs to."""
        return self.chunks.scan

    @cached_property
    def fingerprint(self) -> str:
        """That of the scan: with long axes it takes milliseconds, and each array of a chunk wants it."""
        return self.scan.fingerprint


def draft(path: Where, chunks: Chunks, device: str) -> Draft:
    """Build the store of a scan: it is not yet at `path`."""
    return built(path, lambda folder: write_template(folder, chunks, device))


def create(path: Where, chunks: Chunks, device: str) -> Store:
    """Create the store of a scan: every array, coordinate and attribute, and no result.

    `device` is what will compute it, as `backend.device` gives it.
    """
    draft(path, chunks, device).place()
    return Store(path, chunks)


def load(path: Where) -> Store:
    """Return the store at `path`; raise `StoreError` if it is not one, or not readable."""
    try:
        return _loaded(path, record.attributes(path))
    except UnknownModel:
        raise
    except StoreError as error:
        kept = record.read(path)
        if kept is None:
            raise
        again = _loaded(path, kept["attributes"] | _if_packed(path))
        logger.warning("%s; read from their second copy; qifscan verify --repair puts them back", error)
        return again


def _if_packed(path: Where) -> dict[str, Any]:
    with suppress(ValueError, KeyError, TypeError):
        return {PACKED: 1} if is_packed(record.read_json(path / "status" / METADATA)) else {}
    return {}


def _loaded(path: Where, attributes: Mapping[str, Any]) -> Store:
    scan = Scan.from_attributes(path, attributes)
    try:
        checkpoint = int(attributes.get("qifscan_checkpoint", 0))
        chunks = Chunks(scan, tuple(attributes["qifscan_chunk_shape"]), checkpoint)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path}: how it is cut can't be read from its attributes ({short(error)}); the store is damaged"
        ) from None
    return Store(path, chunks, bool(attributes.get("qifscan_record")), bool(attributes.get(PACKED)))


def check_scan(store: Store, scan: Scan) -> None:
    """Raise `StoreError`, naming both scans and what differs, if the store belongs to another scan."""
    if scan.fingerprint == store.fingerprint:
        return
    # A value that differs by rounding is the same, and the store keeps its own.
    scan = adopted(scan, store.scan)
    if scan.fingerprint == store.fingerprint:
        return
    theirs, ours = store.scan.definition(), scan.definition()
    differing = [key for key in ours if key != "title" and ours[key] != theirs.get(key)]
    name = f'"{store.scan.title}" ' if store.scan.title else ""
    raise StoreError(
        f"{store.path}: belongs to another scan, {name}{store.fingerprint[:12]}, "
        f"not {scan.fingerprint[:12]}; "
        f"they differ in {', '.join(differing)}; give another path, or remove the store"
    )


def origin(store: Store) -> dict[str, Any]:
    """Return the attributes that tell where a store was begun."""
    return attributes_of(store)


def begin_run(store: Store, event: str, options: str | None) -> None:
    """Sweep away what killed writers have left half-written, and add a line to the history; with `options`,
    for a store without a finished chunk, those of XLA that its chunks will be computed with.

    A store that was there has been looked through before, as `check_writable` does.
    """
    if store.packed:
        raise _is_packed(store)
    try:
        # What is half-written of a row or a checkpoint lies there, and not in the folder of its chunk.
        clear_inside(store.path, [f"{name}/c" for name in FOLDERS])
        clear_beside(store.path)
        told = attributes_of(store)
        first = {} if options is None else {OPTIONS: options}
        change_attributes(store, {"history": f"{told.get('history', '')}\n{now()} {event}"} | first)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{store.path}: can't be written ({reason}); nothing in it was changed") from error


def check_writable(store: Store) -> None:
    """Raise `StoreError` for a store that is packed, or has a link in it: what is written there would be
    written elsewhere."""
    if store.packed:
        raise _is_packed(store)
    found = next(odd_in(store), None)
    if found is not None:
        name, kind = found
        told = ", and what is written there goes elsewhere" if kind == "a link" else ", which no store has"
        raise StoreError(f"{store.path}: {name} is {kind}{told}; remove it")


def _is_packed(store: Store) -> StoreError:
    return StoreError(f"{store.path}: is packed, and only read; qifscan unpack makes a store to write to")


def odd_in(store: Store) -> Iterator[tuple[str, str]]:
    """Return what is in a store that no store has, and what it is. Folders of which each chunk has one are
    not looked into: what lies there is read by its name, whatever else is there."""
    depth = len(store.chunks.counts)
    return files.odd(store.path, levels={f"{name}/c": max(0, depth - 1) for name in FOLDERS})


@contextmanager
def template(store: Store) -> Iterator[Path]:
    """Give a folder with everything of a store that follows from its scan, for as long as it is needed."""
    with files.building(beside(store.path)) as made:
        write_template(made, store.chunks, "")
        yield made


def coordinates(store: Store) -> dict[str, Array]:
    """Return the values of every coordinate, as they follow from the scan."""
    return {name: values for name, _, values, _ in coordinates_of(store.chunks)}


def kept(store: Store) -> dict[str, Any] | None:
    """Return the second copy of the metadata of a store, None if there is none that is its own."""
    found = record.read(store.path) if store.recorded else None
    own = found is not None and found["attributes"].get("qifscan_fingerprint") == store.fingerprint
    return found if own else None


def attributes_of(store: Store) -> dict[str, Any]:
    """Return the attributes of a store; those that it was made with where they are lost."""
    copy = kept(store)
    made = {} if copy is None else copy["attributes"]
    own: dict[str, Any] = {}
    with suppress(ValueError, KeyError, TypeError):
        own = dict(record.read_json(store.path / METADATA)["attributes"])
    return made | own | {name: value for name, value in made.items() if name.startswith("qifscan_")}


def change_attributes(store: Store, changes: Mapping[str, Any], anew: bool = False) -> None:
    """Change attributes of a store, and bring the copies of its metadata up to date; `anew` where the second
    copy itself is damaged."""
    attributes = attributes_of(store) | dict(changes)
    record.seal(store.path, attributes, copied=store.recorded and (anew or kept(store) is not None))


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
