"""Whether a worker may compute chunks of a store: it sees that store, and computes the bits that are in it.

The bits are compared themselves: a few steps of some points, in the program of the scan, which is compiled
for it and needed next. Whatever makes a difference (instruction set, options of XLA, versions, device) makes
one there, after some thousand operations; the names of those things say why.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from qifscan import __version__, record
from qifscan.dynamics.models import model_named
from qifscan.dynamics.observables import named as observables_named
from qifscan.engine import backend
from qifscan.engine.chunks import Chunks
from qifscan.engine.points import Points, Start
from qifscan.engine.schedule import batch_shape
from qifscan.errors import QifscanError, short
from qifscan.files import Where
from qifscan.place import located
from qifscan.store import store
from qifscan.store.store import Store

POINTS = 256
STEPS = 32
"""Points and base steps of a sample: a million operations, of which each may round in another way."""

ORIGIN = "qifscan_origin"
"""The attribute that tells what the chunks of a store were computed by."""

OTHERS = "qifscan_other_origins"
"""The attribute with what else computed some of its chunks, as was allowed: by the number that is in the
record of such a chunk."""

Named = tuple[str, tuple[str, ...]]
"""A model and observables, as a scan names them."""

OF_BITS = ("jax", "jaxlib", "numpy")
"""Packages that compute numbers."""


@dataclass(frozen=True)
class Origin:
    """What computes chunks: device, versions, options of XLA, and the digest of a sample of its numbers."""

    device: str
    versions: tuple[tuple[str, str], ...]
    options: str
    sample: str

    @classmethod
    def here(cls, chunks: Chunks) -> Origin:
        """Return what this process is."""
        versions = tuple((name, version(name)) for name in OF_BITS)
        return cls(backend.device(), versions, backend.options(), sample(chunks))

    @classmethod
    def of(cls, opened: Store) -> Origin | None:
        """Return what the chunks of a store were computed by; None where it does not say."""
        found: Any = store.attributes_of(opened).get(ORIGIN)
        with suppress(TypeError, KeyError, ValueError):
            versions = tuple((str(n), str(v)) for n, v in dict(found["versions"]).items())
            return cls(str(found["device"]), versions, str(found["options"]), str(found["sample"]))
        return None

    def attributes(self) -> dict[str, Any]:
        """Return it as an attribute."""
        own = {"device": self.device, "versions": dict(self.versions), "options": self.options}
        return {**own, "sample": self.sample}

    @property
    def number(self) -> int:
        """Return 32 bits that stand for it in the record of a chunk."""
        return record.of_options(repr((self.device, self.versions, self.options, self.sample)))

    def differences(self, other: Origin) -> str:
        """Return in words what differs there, empty if that has the same numbers."""
        if self.sample == other.sample:
            return ""
        theirs = dict(other.versions)
        pairs = [("device", self.device, other.device)]
        pairs += [(name, found, theirs.get(name, "none")) for name, found in self.versions]
        pairs += [("options of XLA", self.options or "none", other.options or "none")]
        told = [f"{name} {there}, not {here}" for name, here, there in pairs if here != there]
        return ", ".join(told) or "the same versions, options and kind of processor: memory may be faulty"


def sample(chunks: Chunks) -> str:
    """Return the digest of a few steps of a few points of a scan, in the program that runs its chunks."""
    points = Points.of(chunks.scan, chunks.sample(POINTS))
    # At rest nothing moves, whatever is rounded how: they start away from there, in units of their own.
    units = points.rest.model.units(points.rest.parameters)
    drawn = np.random.default_rng(0).uniform(0.2, 1.0, (len(units), len(points.replicate)))
    away = np.stack([values / unit for values, unit in zip(drawn, units, strict=True)], axis=1)
    start = Start(away.astype(chunks.scan.precision), np.zeros(len(away), dtype=bool))
    points = replace(points, start=start)
    schedule = chunks.schedule.limited(min(STEPS, chunks.schedule.steps))
    result = points.run(points.steps(), schedule, batch_shape(chunks.batch))
    parts = [result.final, *(result.observables[name] for name in sorted(result.observables))]
    return f"{record.digest(*parts):016x}"


def import_named(named: Named) -> None:
    """Import what the caller has named of a scan, its model and its observables, if they are a user's own."""
    model, names = named
    observables_named(model_named(model), names)


def origin_of(path: str, named: Named) -> Origin:
    """Return what this process is to the store at a path: the question to the first worker."""
    import_named(named)
    return Origin.here(store.load(located("path", path)).chunks)


@dataclass(frozen=True)
class Admission:
    """What a worker must have to compute chunks of the store at `path`. Called at a worker, it returns why
    that can't be, empty if it can."""

    path: str
    scan: str
    created: str
    origin: Origin | None
    allow_mixed: bool
    named: Named
    version: str = __version__

    @classmethod
    def of(cls, opened: Store, origin: Origin | None, allow_mixed: bool, named: Named) -> Admission:
        """Return the terms of a store."""
        created = str(store.origin(opened).get("created"))
        return cls(str(opened.path), opened.scan.fingerprint, created, origin, allow_mixed, named)

    def __call__(self) -> str:
        """Return why this process may not compute chunks of the store, empty if it may."""
        try:
            return self._refusal()
        except QifscanError as error:
            return str(error).splitlines()[0]

    def _refusal(self) -> str:
        if self.version != __version__:
            return f"it has qifscan {__version__}, the run {self.version}"
        import_named(self.named)
        opened = store.load(located("path", self.path))
        if (opened.scan.fingerprint, str(store.origin(opened).get("created"))) != (self.scan, self.created):
            return f"it sees another store at {self.path}"
        if reason := _unwritable(opened.path):
            return f"it can't write to {self.path} ({reason})"
        if self.allow_mixed:
            return ""
        store.check_options(opened, backend.options())
        if self.origin is None:
            return ""
        differing = self.origin.differences(Origin.here(opened.chunks))
        return f"it computes other last bits than those in the store: {differing}" if differing else ""


def _unwritable(path: Where) -> str:
    """Return why nothing can be written to a store, empty if it can or that is not known."""
    if not isinstance(path, Path):
        return ""
    probe = path / f"{platform.node()}-{os.getpid()}.{uuid.uuid4().hex}.partial"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return error.strerror or short(error)
    return ""


def others_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else computed some chunks of a store."""
    found = attributes.get(OTHERS)
    return dict(found) if isinstance(found, Mapping) else {}
