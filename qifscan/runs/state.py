"""How far a run is, from what is on disk."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.engine.chunks import Chunks
from qifscan.errors import UnknownModel
from qifscan.place import AnyPath, located
from qifscan.runs.progress import Progress
from qifscan.store import chunk_files, store, unknown_model
from qifscan.store.store import Store


def beginning(chunks: Chunks, pending: list[int]) -> Progress:
    """Return how far a run is before its first chunk; these are not finished."""
    waiting = sum(chunks.points(chunk) for chunk in pending if not chunks.is_trace(chunk))
    size = chunks.scan.size
    return Progress(len(chunks) - len(pending), len(chunks), size - waiting, size)


def state_of(path: AnyPath) -> tuple[Progress, dict[str, int]]:
    """Return how far the run of a store is, and how many points ended in which way, from what is on disk.

    "ok" is computed and nothing else; a point with several flags counts under each.
    """
    place = located("path", path)
    try:
        opened = store.load(place)
    except UnknownModel:
        known = unknown_model.without_model(place)
        state = Progress(known.finished, known.chunks, known.points, known.status.size)
        values, counts = np.unique(known.status, return_counts=True)
        return state, _ended(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return state_with(opened, chunk_files.finished(opened))


def state_with(opened: Store, done: set[int]) -> tuple[Progress, dict[str, int]]:
    """Return what `state_of` does of a store with these chunks."""
    pending = [chunk for chunk in range(len(opened.chunks)) if chunk not in done]
    return beginning(opened.chunks, pending), _ended(chunk_files.endings(opened, done))


def _ended(counts: Mapping[int, int]) -> dict[str, int]:
    """Return how many points ended in which way, from how many have which status."""
    ended = dict.fromkeys(["ok", *(str(f.name) for f in Status if f is not Status.computed), "not run"], 0)
    for value, count in counts.items():
        names = [str(f.name) for f in Status if value & f and f is not Status.computed]
        for name in names or ["ok" if value else "not run"]:
            ended[name] += count
    return ended
