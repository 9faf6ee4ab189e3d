"""The task of every executor: compute one chunk of a store, and write it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qifscan import files
from qifscan.dynamics.catalogue import model_named
from qifscan.dynamics.observables import named as observables_named
from qifscan.dynamics.status import Status
from qifscan.engine import backend
from qifscan.engine.chunk_work import run_chunk
from qifscan.files import Where
from qifscan.place import located
from qifscan.runs import extension
from qifscan.store import store, writer
from qifscan.store.store import Store

Named = tuple[str, tuple[str, ...]]
"""A model and observables, as a scan names them."""


@dataclass(frozen=True)
class Outcome:
    """What a worker returns of a chunk: how many points it has, how many carry each flag, how long it took,
    and on which device."""

    points: int
    flags: dict[str, int]
    seconds: float
    device: str


def compute_chunk(path: str, chunk: int, extend: str | None = None, named: Named | None = None) -> Outcome:
    """Run one chunk of the store at `path`, but for what the store at `extend` has of it, and write it: the
    task of every executor. `named` are model and observables of the scan, which the caller has named; a
    user's own are imported here."""
    if named is not None:
        model, names = named
        observables_named(model_named(model), names)
    begin = time.perf_counter()
    opened = _opened(path)
    if extend is None:
        result = run_chunk(opened.chunks, chunk)
    else:
        result = extension.compute(opened.chunks, chunk, _opened(extend))
    writer.write(opened, chunk, result)
    flags = {str(f.name): int(np.count_nonzero(result.status & int(f))) for f in Status}
    return Outcome(len(result.status), flags, time.perf_counter() - begin, backend.device())


def _opened(text: str) -> Store:
    path = located("path", text)
    return _loaded(path, files.identity(path))


@lru_cache(maxsize=8)
def _loaded(path: Where, identity: tuple[int, int]) -> Store:
    """Return the store, read once per process and run, if this process gives the bits of its points."""
    opened = store.load(path)
    store.check_options(opened, backend.options())
    return opened
