"""The task of every executor: compute one chunk of a store, and write it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qifscan import files
from qifscan.dynamics.status import Status
from qifscan.engine import backend
from qifscan.engine.chunk_work import run_chunk
from qifscan.files import Where
from qifscan.place import located
from qifscan.runs import extension
from qifscan.runs.admission import Named, Origin, import_named
from qifscan.store import store, writer
from qifscan.store.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a worker returns of a chunk: how many points it has, how many carry each flag, how long it took,
    on which device, and what computed it if its last bits are not those of the store."""

    points: int
    flags: dict[str, int]
    seconds: float
    device: str
    other: Origin | None = None


def compute_chunk(
    path: str, chunk: int, extend: str | None = None, named: Named | None = None, mixed: bool = False
) -> Outcome:
    """Run one chunk of the store at `path`, but for what the store at `extend` has of it, and write it: the
    task of every executor.

    `named` are model and observables of the scan, which the caller has named; a user's own are imported
    here. `mixed` says that this process may compute other last bits than those of the store: then the chunk
    says so.
    """
    if named is not None:
        import_named(named)
    begin = time.perf_counter()
    opened = _opened(path, mixed)
    if extend is None:
        result = run_chunk(opened.chunks, chunk)
    else:
        result = extension.compute(opened.chunks, chunk, _opened(extend, mixed), run_chunk)
    other = _other_origin(opened.path, files.identity(opened.path)) if mixed else None
    writer.write(opened, chunk, result, **({} if other is None else {"origin": other.number}))
    flags = {str(f.name): int(np.count_nonzero(result.status & int(f))) for f in Status}
    return Outcome(len(result.status), flags, time.perf_counter() - begin, backend.device(), other)


def _opened(text: str, mixed: bool) -> Store:
    path = located("path", text)
    return _loaded(path, files.identity(path), mixed)


@lru_cache(maxsize=8)
def _loaded(path: Where, identity: tuple[int, int], mixed: bool) -> Store:
    """Return the store, read once per process and run, if this process gives the bits of its points."""
    opened = store.load(path)
    if not mixed:
        store.check_options(opened, backend.options())
    return opened


@lru_cache(maxsize=8)
def _other_origin(path: Where, identity: tuple[int, int]) -> Origin | None:
    """Return what this process is, if it computes other bits than those of the store."""
    opened = store.load(path)
    own, here = Origin.of(opened), Origin.here(opened.chunks)
    return here if own is not None and own.differences(here) else None
