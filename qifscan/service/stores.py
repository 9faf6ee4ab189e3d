"""The stores in a server's folder, by name and by fingerprint, and how far each is."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qifscan import record
from qifscan.errors import QifscanError, StoreError, UnknownModel
from qifscan.files import METADATA, identity
from qifscan.runs.progress import Progress
from qifscan.service.jobs import ENDING
from qifscan.store import chunk_files, store, unknown_model

FRESH = 1.0
"""Seconds for which what was found of a store that is growing is given again."""

FRESH_WHOLE = 60.0
"""The same of one that is whole: it stays so, unless somebody repairs it."""


class NoSuchStore(StoreError, KeyError):
    """There is no store of this name in the folder."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class NamedStore:
    """What the attributes of a store say of it."""

    path: Path
    identity: tuple[int, int]
    attributes: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its scan; empty where it has theory and no scan."""
        return str(self.attributes.get("qifscan_fingerprint", ""))


@dataclass
class Stores:
    """The stores in a folder. What was read of one is kept for as long as it is the same."""

    folder: Path
    _found: dict[str, NamedStore] = field(default_factory=dict)
    _states: dict[Path, tuple[float, tuple[int, int], Progress]] = field(default_factory=dict)

    def all(self) -> dict[str, NamedStore]:
        """Return every store by its name, which is that of its folder without `.zarr`."""
        entries = (entry for entry in os.scandir(self.folder) if entry.name.endswith(ENDING))
        names = sorted(entry.name.removesuffix(ENDING) for entry in entries)
        found = {name: made for name in names if (made := self._of(name)) is not None}
        self._found = found
        return found

    def _of(self, name: str) -> NamedStore | None:
        path = self.folder / f"{name}{ENDING}"
        try:
            now = identity(path)
            known = self._found.get(name)
            if known is not None and known.identity == now:
                return known
            attributes = record.read_json(path / METADATA)["attributes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return NamedStore(path, now, attributes) if isinstance(attributes, dict) else None

    def get(self, name: str) -> NamedStore:
        """Return the store of a name, or of a fingerprint; raise `NoSuchStore` if there is none.

        What is asked for is compared with what is there, and is never a part of a path.
        """
        # Those that are known already without a look at the folder: a map has hundreds of chunks.
        for look in (False, True):
            there = self.all() if look else self._found
            own = name if name in there else next((n for n, f in there.items() if f.fingerprint == name), "")
            found = self._of(own) if name and own else None
            if found is not None and (own == name or found.fingerprint == name):
                return found
        raise NoSuchStore(f'there is no store "{name[:80]}"')

    def path(self, name: str) -> Path:
        """Return the path of a store by its name or fingerprint; raise `NoSuchStore` if there is none."""
        return self.get(name).path

    def progress(self, found: NamedStore) -> Progress:
        """Return how far a store is, from what is on disk; raise `QifscanError` if that can't be read."""
        now, known = time.monotonic(), self._states.get(found.path)
        if known is not None and known[1] == found.identity:
            complete = known[2].chunks == known[2].all_chunks
            if now - known[0] < (FRESH_WHOLE if complete else FRESH):
                return known[2]
        state = _progress(found.path)
        self._states[found.path] = (now, found.identity, state)
        return state

    def finished_places(self, found: NamedStore) -> dict[str, Any]:
        """Return whether every chunk is finished, and if not, the places of those that are."""
        state = self.progress(found)
        if state.chunks == state.all_chunks:
            return {"complete": True}
        opened = store.load(found.path)
        done, chunks = sorted(chunk_files.finished(opened)), opened.chunks
        places: dict[str, list[tuple[int, ...]]] = {"grid": [], "traces": []}
        for chunk in done:
            places["traces" if chunks.is_trace(chunk) else "grid"].append(chunks.position(chunk))
        return {"complete": False, **places}

    def finished(self, found: NamedStore) -> bool:
        """Whether every chunk of a store is there; not, where it can't be read."""
        try:
            state = self.progress(found)
        except QifscanError:
            return False
        return state.chunks == state.all_chunks


def _progress(path: Path) -> Progress:
    try:
        opened = store.load(path)
    except UnknownModel:
        known = unknown_model.without_model(path)
        return Progress(known.finished, known.chunks, known.points, known.status.size)
    done, chunks = chunk_files.finished(opened), opened.chunks
    points = sum(chunks.points(chunk) for chunk in done if not chunks.is_trace(chunk))
    return Progress(len(done), len(chunks), points, chunks.scan.size)
