"""Maps: a variable over two dimensions of a scan, cut into tiles at several resolutions.

At level k a pixel stands for 2^k x 2^k points. Its value is that of one of them, the middle one, never a
mean; its flags are those of all of them, so that a flagged point is seen from however far one looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import qifscan
from qifscan.dynamics.status import Status
from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.explorer.place import EXACT, TILE, Place, check_dims, theory_of

if TYPE_CHECKING:
    from qifscan.explorer.source import Source

Array = np.ndarray[Any, Any]

_LEAST = 64
_SAMPLE = 64
"""Points along a side from which the range of an exact variable is read."""

FLAGGED = int(Status.diverged | Status.rate_negative | Status.under_resolved | Status.not_settled)


@dataclass(frozen=True, eq=False)
class MapPlane:
    """A variable over two dimensions: `part(rows, columns)` gives values at these points.

    `flags` are those of every point and then of blocks of 2, 4, 8, ... points a side, as far as anybody has
    asked; empty where a variable has no flags. `told` is its range and how many points carry each flag.
    """

    shape: tuple[int, int]
    part: Callable[[Array, Array], Array]
    flags: list[Array]
    told: Mapping[str, Any]

    @property
    def levels(self) -> int:
        """How many resolutions there are: at the last one a map has `_LEAST` pixels along its longer side."""
        return max(0, math.ceil(math.log2(max(self.shape) / _LEAST))) + 1

    def tile(self, level: int, row: int, column: int) -> dict[str, Any]:
        """Return the values and flags of a tile, `(rows, columns)` each."""
        rows, columns = (self._chosen(n, level, i) for n, i in zip(self.shape, (row, column), strict=True))
        values = self.part(rows, columns).astype(np.float32)
        answer: dict[str, Any] = {"values": values, "first": [row * TILE, column * TILE], "level": level}
        if self.flags:
            answer["flags"] = self._flags(level)[
                row * TILE : row * TILE + len(rows), column * TILE : column * TILE + len(columns)
            ]
        return answer

    def _chosen(self, size: int, level: int, tile: int) -> Array:
        step = 1 << level
        pixels = -(-size // step)
        first, last = tile * TILE, min((tile + 1) * TILE, pixels)
        return np.minimum(np.arange(first, last) * step + step // 2, size - 1)

    def _flags(self, level: int) -> Array:
        while len(self.flags) <= level:
            self.flags.append(_halved(self.flags[-1]))
        return self.flags[level]


def _halved(flags: Array) -> Array:
    """Return the flags of blocks of 2 x 2 points: those of all of them."""
    whole = np.pad(flags, [(0, n % 2) for n in flags.shape])
    return np.asarray(whole[::2, ::2] | whole[1::2, ::2] | whole[::2, 1::2] | whole[1::2, 1::2])


def plane_of(source: Source, asked: Mapping[str, Any]) -> MapPlane:
    """Return the map that is asked for: `variable`, `x`, `y`, `index`, `changed`, `mean` over replicates."""
    x, y = check_dims(source, asked)
    place, variable = Place.of(source, asked), asked.get("variable")
    if variable in EXACT:
        return _exact(source, place, str(variable), x, y)
    names = source.variables
    if variable not in names:
        raise ScanError([unknown("variable", variable, [*names, *EXACT], "variable")])
    mean = bool(asked.get("mean")) and "replicate" in source.scan.sizes and "replicate" not in (x, y)
    others = tuple(
        (n, i) for n, i in place.index.items() if n not in (x, y) and not (mean and n == "replicate")
    )
    key = (str(variable), x, y, others, mean)
    return _read(source, source.done, key)


Key = tuple[str, "str | None", "str | None", tuple[tuple[str, int], ...], bool]


@lru_cache(maxsize=12)
def _read(source: Source, done: int, key: Key) -> MapPlane:
    """Return a map of what was simulated; read once for so many finished chunks."""
    variable, x, y, others, mean = key
    order = [name for name in (y, x) if name]
    status = source.values("status", dict(others))
    values = source.values(variable, dict(others))
    if mean:
        status = status.reduce(np.bitwise_or.reduce, "replicate")
        values = values.mean("replicate")
    flags = np.asarray(status.transpose(*order).values, dtype=np.uint8)
    found = np.asarray(values.transpose(*order).values)
    shape = _shape(source, x, y)
    flat, flags = found.reshape(shape).astype(np.float32, copy=False), flags.reshape(shape)
    told = _range(flat, None if variable == "status" else flags)
    return MapPlane(shape, lambda rows, columns: np.asarray(flat[np.ix_(rows, columns)]), [flags], told)


def _shape(source: Source, x: str | None, y: str | None) -> tuple[int, int]:
    sizes = source.scan.sizes
    return (sizes[y] if y else 1), (sizes[x] if x else 1)


def _range(values: Array, flags: Array | None) -> dict[str, Any]:
    """Return the range of what can be trusted, its middle part, and how many points carry each flag."""
    sure = np.isfinite(values)
    counts = {}
    if flags is not None:
        trusted = sure & ((flags & FLAGGED) == 0)
        sure = trusted if trusted.any() else sure
        counts = {str(f.name): int(np.count_nonzero(flags & int(f))) for f in Status}
        counts["not_run"] = int(np.count_nonzero(flags == 0))
    some = values[sure]
    if not len(some):
        return {"low": None, "high": None, "counts": counts}
    middle = np.percentile(some[:: max(1, len(some) // 100_000)], [1.0, 99.0])
    return {"low": some.min(), "high": some.max(), "percent": middle, "counts": counts}


# The exact theory as a map


def _exact(source: Source, place: Place, name: str, x: str | None, y: str | None) -> MapPlane:
    if source.model.rest is None:
        raise ScanError([Fault("variable", show(name), "one of the store", "its theory is not exact")])
    shape = _shape(source, x, y)

    def part(rows: Array, columns: Array) -> Array:
        return exact_values(source, place, name, [(y, rows), (x, columns)])

    sample = [np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(int)) for n in shape]
    return MapPlane(shape, part, [], _range(part(sample[0], sample[1]), None))


def exact_values(source: Source, place: Place, name: str, along: Sequence[tuple[str | None, Array]]) -> Array:
    """Return an exact variable at these indices of two dimensions, `(len of the first, of the second)`."""
    given = place.parameters(source)
    shape = tuple(len(indices) for _, indices in along)
    for axis, (dim, indices) in enumerate(along):
        if dim in source.scan.axes:
            for column, values in source.scan.axes[dim].columns.items():
                if column in source.scan.parameters:
                    whole = np.expand_dims(values[indices], 1 - axis)
                    given[column] = np.ascontiguousarray(np.broadcast_to(whole, shape)).ravel()
    size = math.prod(shape)
    arrays = {n: np.broadcast_to(v, (size,)) for n, v in theory_of(source, given).items()}
    import xarray as xr

    columns: dict[str, Any] = {
        n: xr.DataArray(np.array(v, dtype=np.float64), dims="pixel") for n, v in arrays.items()
    }
    return _of_equilibria(qifscan.equilibria(source.scan.model, **columns), name).reshape(shape)


def _of_equilibria(found: Any, name: str) -> Array:
    stable = found["stable"].values.astype(bool)
    if name == "exact:count":
        return np.asarray(found["count"].values, dtype=np.float32)
    if name == "exact:stable":
        return np.asarray(stable.sum(axis=1), dtype=np.float32)
    first = next(str(n) for n in found.data_vars)
    rates = np.where(stable, found[first].values, np.nan)
    some = np.isfinite(rates).any(axis=1)
    if name == "exact:lowest":
        return np.asarray(np.fmin.reduce(rates, axis=1))
    highest = np.where(some, np.nanargmax(np.where(np.isfinite(rates), rates, -np.inf), axis=1), 0)
    if name == "exact:highest":
        return np.asarray(np.fmax.reduce(rates, axis=1))
    rows = np.arange(len(highest))
    real = np.asarray(found["eigenvalue_real"].values)[rows, highest]
    imag = np.asarray(found["eigenvalue_imag"].values)[rows, highest]
    lead = np.nanargmax(np.where(np.isfinite(real), real, -np.inf), axis=1)
    picked = real[rows, lead] if name == "exact:leading" else np.abs(imag[rows, lead]) / (2.0 * np.pi)
    return np.asarray(np.where(some, picked, np.nan))
