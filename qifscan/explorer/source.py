"""What the explorer has opened: a store, or a scan that has none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files
from qifscan.dynamics.model import Model
from qifscan.errors import Fault, ScanError, StoreError, show, unknown
from qifscan.files import Where
from qifscan.place import with_ending
from qifscan.scan.effective import effective
from qifscan.scan.scan import Scan
from qifscan.store import chunk_files, reader, store
from qifscan.store.store import Store

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, Any]

TILE = 512
"""Pixels of a tile along a side."""

TIMES = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
"""Lengths of a trajectory in ms: each is a program of its own, which is compiled once."""

EXACT = {
    "exact:count": ("equilibria", "number of equilibria", "1"),
    "exact:stable": ("stable equilibria", "number of stable equilibria", "1"),
    "exact:lowest": ("lowest stable rate", "rate of the lowest stable equilibrium", "1/ms"),
    "exact:highest": ("highest stable rate", "rate of the highest stable equilibrium", "1/ms"),
    "exact:leading": (
        "largest Re λ",
        "largest real part of an eigenvalue of the highest stable equilibrium",
        "1/ms",
    ),
    "exact:ringing": (
        "ringing frequency",
        "frequency at which the highest stable equilibrium rings",
        "1/ms",
    ),
}
"""Variables that need no run: in short, their meaning, their unit."""


@dataclass(frozen=True, eq=False)
class Source:
    """A scan, and its store where there is one."""

    path: Where
    scan: Scan
    store: Store | None = None

    @cached_property
    def model(self) -> Model:
        """The model of the scan."""
        return self.scan.mean_field

    @property
    def done(self) -> int:
        """How many chunks are finished."""
        if self.store is None:
            return 0
        # Looking for the files of a thousand chunks takes longer than a click may.
        if "_whole" in self.__dict__:
            return self._whole
        count = len(chunk_files.finished(self.store))
        return self._whole if count == len(self.store.chunks) else count

    @cached_property
    def _whole(self) -> int:
        return 0 if self.store is None else len(self.store.chunks)

    def dataset(self) -> xr.Dataset:
        """Return the dataset of the store, lazily, with what is finished at this moment."""
        if self.store is None:
            hint = "run the scan; the exact theory needs no run"
            raise ScanError([Fault("variable", "no store", "one of the exact theory", hint)])
        return _dataset(self, self.done)

    def values(self, name: str, place: Mapping[str, Any]) -> xr.DataArray:
        """Return a variable at these indices, in the order of the scan's dimensions.

        What is not too large is read once, so that the next click finds it in memory.
        """
        array = self.dataset()[name]
        # Of a single point one chunk is read, which takes less than a large variable.
        if array.nbytes <= _SMALL:
            array = _small_in_memory(self, self.done, name)
        elif array.nbytes <= _KEPT and not set(array.dims) <= set(place):
            array = _in_memory(self, self.done, name)
        return array.isel({dim: i for dim, i in place.items() if dim in array.dims})


_KEPT, _SMALL = 1 << 26, 1 << 22
"""Bytes of a variable that is kept in memory as a whole: where many of its points are asked for, or one."""


@lru_cache(maxsize=8)
def _dataset(source: Source, done: int) -> xr.Dataset:
    assert source.store is not None
    return reader.read(source.store.path)


@lru_cache(maxsize=64)
def _small_in_memory(source: Source, done: int, name: str) -> xr.DataArray:
    return _loaded(source, done, name)


@lru_cache(maxsize=8)
def _in_memory(source: Source, done: int, name: str) -> xr.DataArray:
    return _loaded(source, done, name)


def _loaded(source: Source, done: int, name: str) -> xr.DataArray:
    array = _dataset(source, done)[name]
    return array.drop_vars(list(array.coords)).compute()


def open_source(path: Where) -> Source:
    """Open a store, or the TOML file of a scan with the store of its name in this folder.

    Raises `StoreError` or `ScanError` in one line a mistake.
    """
    if not isinstance(path, Path) or path.suffix.lower() != ".toml":
        return _of_store(path, _identity(path))
    scan = Scan.from_toml(path)
    own = with_ending(Path(path.name), ".zarr", (".toml",))
    for place in (own, path.with_name(own.name)):
        if place.is_dir():
            found = _of_store(place, _identity(place))
            if found.scan.fingerprint == scan.fingerprint:
                return found
    return Source(path, scan)


def _identity(path: Where) -> tuple[int, int]:
    try:
        return files.identity(path)
    except OSError as error:
        raise StoreError(
            f"{path}: {(error.strerror or str(error)).lower()}; give a store or a scan"
        ) from None


@lru_cache(maxsize=8)
def _of_store(path: Where, identity: tuple[int, int]) -> Source:
    opened = store.load(path)
    return Source(path, opened.scan, opened)


@dataclass(frozen=True)
class Place:
    """A point of a scan: its index along every dimension, and parameters that differ from the scan's."""

    index: Mapping[str, int]
    changed: Mapping[str, float]

    @classmethod
    def of(cls, source: Source, asked: Mapping[str, Any]) -> Place:
        """Read the place from a request; raise `ScanError` for what the scan has not."""
        index, changed = asked.get("index") or {}, asked.get("changed") or {}
        if not isinstance(index, Mapping) or not isinstance(changed, Mapping):
            raise ScanError([Fault("index, changed", show([index, changed]), "an object each")])
        sizes, known = source.scan.sizes, source.scan.parameters
        faults = [unknown("index", name, sizes, "dimension") for name in index if name not in sizes]
        faults += [unknown("changed", name, known, "parameter") for name in changed if name not in known]
        swept = {column for axis in source.scan.axes.values() for column in axis.columns}
        for name, value in changed.items():
            if name in swept:
                faults.append(Fault(f"changed.{name}", "an axis of the scan", "a fixed parameter"))
            elif name in known:
                faults += _number_faults(f"changed.{name}", value, known[name])
        for name, i in index.items():
            whole = isinstance(i, int) and not isinstance(i, bool)
            if name in sizes and not (whole and 0 <= i < sizes[name]):
                faults.append(Fault(f"index.{name}", show(i), f"0 to {sizes[name] - 1}"))
        if faults:
            raise ScanError(faults)
        return cls({name: int(index.get(name, 0)) for name in sizes}, dict(changed))

    def parameters(self, source: Source) -> dict[str, Any]:
        """Return every parameter there as a number, and `initial` as a name."""
        scan = source.scan
        indices = tuple(np.array([i]) for i in self.index.values()) or (np.zeros(1, dtype=int),)
        found = {name: column[0].item() for name, column in scan.columns(indices).items()}
        return found | dict(self.changed)

    def theory(self, source: Source, **arrays: Array) -> dict[str, Any]:
        """Return the parameters of the model that do what all of them and the mean inputs do.

        `arrays` take the place of single parameters.
        """
        return theory_of(source, self.parameters(source) | arrays)

    def labels(self, source: Source) -> dict[str, Any]:
        """Return the value on every axis, as `replay` takes it."""
        axes = source.scan.axes
        return {n: axes[n].labels[i].item() if n in axes else i for n, i in self.index.items()}


def theory_of(source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's parameters that do what the given ones, mean noise and a constant drive do."""
    names = [parameter.name for parameter in source.model.parameters]
    found = effective(source.scan, given)
    left = [name for name in found if name not in names and np.any(np.asarray(found[name]) != 0.0)]
    if left:
        hint = "no parameter of the model does what that input does"
        raise ScanError([Fault(left[0], "a constant input", "0 for exact theory", hint)])
    return {name: found[name] for name in names}


def _number_faults(where: str, value: Any, parameter: Any) -> list[Fault]:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        return [Fault(where, show(value), "a finite number")]
    if not parameter.domain.holds(value):
        return [Fault(where, show(value), parameter.domain.words)]
    return []


def variables_of(source: Source) -> dict[str, dict[str, Any]]:
    """Return the variables of a store that can be maps, with their attributes."""
    if source.store is None:
        return {}
    dims = set(source.scan.sizes)
    found = {str(n): a for n, a in source.dataset().data_vars.items() if set(map(str, a.dims)) == dims}
    return {name: dict(a.attrs) for name, a in found.items() if a.dtype.kind in "fiub"}


def check_dims(source: Source, asked: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the dimensions across and up; raise `ScanError` for what the scan has not."""
    sizes = source.scan.sizes
    x, y = asked.get("x"), asked.get("y")
    faults = [unknown(n, d, sizes, "dimension") for n, d in (("x", x), ("y", y)) if d and d not in sizes]
    if x and x == y:
        faults.append(Fault("x, y", f'"{x}" twice', "two dimensions"))
    if faults:
        raise ScanError(faults)
    return x or None, y or None
