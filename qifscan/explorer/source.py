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
from qifscan.errors import Fault, ScanError, StoreError
from qifscan.files import Where
from qifscan.place import with_ending
from qifscan.scan.scan import Scan
from qifscan.store import chunk_files, reader, store
from qifscan.store.store import Store

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, Any]


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

    @property
    def variables(self) -> dict[str, dict[str, Any]]:
        """The variables of the store that can be maps, with their attributes."""
        if self.store is None:
            return {}
        dims = set(self.scan.sizes)
        found = {str(n): a for n, a in self.dataset().data_vars.items() if set(map(str, a.dims)) == dims}
        return {name: dict(a.attrs) for name, a in found.items() if a.dtype.kind in "fiub"}

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
