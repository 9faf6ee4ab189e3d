"""The theory that a store carries: a group of its own in it, beside the arrays of the scan.

The scan's own arrays and attributes are not touched, and none of what reads them looks at the group.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.dynamics.models import model_named
from qifscan.engine import backend
from qifscan.errors import StoreError, short
from qifscan.files import METADATA, Where
from qifscan.lazy import LazyModule
from qifscan.place import located
from qifscan.store import drafts, layout, store
from qifscan.store.packing import Array, Packing

if TYPE_CHECKING:
    import xarray as xr
    import zarr

    from qifscan.scan.scan import Scan
    from qifscan.store import places
    from qifscan.theory.of_scan import Atlas
else:
    places = LazyModule("qifscan.store.places")
    xr = LazyModule("xarray")
    zarr = LazyModule("zarr")

THEORY = "theory"
"""The group of a store that holds the theory of its scan."""

OF_POINT = "_of_point"
"""After the name of a parameter in which special points differ: in a tree of groups a variable of the name
alone would be hidden by the scan's own coordinate."""

DIGESTS = "digests"
"""The attribute with a digest of every array of the theory."""

THEORY_CHUNK = 1 << 22
"""Bytes of a chunk of an array of theory."""


def write_theory(path: Where, found: Atlas) -> None:
    """Write the theory of a scan as the group `theory` of a store, in place of an older one.

    Without a store at `path` one is made that has nothing else. Every dataset is a group with coordinates of
    its own. It is built beside the store and renamed, so that the group is either whole or not there.
    """
    path = located("path", path)
    check_target(path, found.scan)
    _write(path, found)


def add_theory(opened: store.Store, found: Atlas) -> None:
    """Write the theory of a store's own scan into it, as `write_theory` does."""
    # Without reading the scan back, which takes two seconds for an axis of a million values.
    _write(opened.path, found)


def _write(path: Where, found: Atlas) -> None:
    try:
        if isinstance(path, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with files.building(drafts.beside(path)) as partial:
            _build(partial, found)
            if _has_scan(path):
                if isinstance(path, Path):
                    files.remove(path / THEORY)
                else:
                    # Its metadata go first: without them there is no group, even if removing the rest fails.
                    files.remove(path / THEORY / METADATA)
                    files.remove(path / THEORY)
                files.put(partial / THEORY, path / THEORY)
                record.seal(path, record.read_json(path / METADATA)["attributes"])
            else:
                told = {"title": found.attributes["title"], "created": layout.now()}
                record.seal(partial, {**told, **layout.provenance(backend.processor())})
                files.remove(path)
                files.put(partial, path)
    except OSError as error:
        raise StoreError(f"{path}: its theory can't be written ({error.strerror or error})") from error


def _build(partial: Path, found: Atlas) -> None:
    """Write the group of theory below a folder. It is made in memory, as zarr starts a thread for a file."""
    made: dict[str, Any] = {}
    values: dict[str, Array] = {}
    through = zarr.storage.MemoryStore(made)
    with places.one_by_one():
        # Only what is new is written: the group's parent keeps its attributes.
        group = zarr.create_group(store=through, zarr_format=3).create_group(
            THEORY, attributes=found.attributes
        )
        for name, dataset in found.datasets.items():
            written = _write_dataset(group.create_group(name), dataset, partial / THEORY / name)
            values |= {f"{name}/{array}": own for array, own in written.items()}
        digests = {
            name: _digest(name, json.loads(made[f"{THEORY}/{name}/{METADATA}"].to_bytes()), values[name])
            for name in sorted(values)
        }
        group.attrs.update({DIGESTS: digests})
    for name, data in made.items():
        files.write(partial / name, data.to_bytes())


def _digest(name: str, node: Any, values: Array) -> str:
    """Return the digest of an array of theory, with its metadata."""
    values = np.array(values.tolist(), dtype=str) if values.dtype.kind in "OTU" else values
    return f"{record.digest(name.encode(), json.dumps(node, sort_keys=True).encode(), values):016x}"


def theory_faults(path: Where, deep: bool = False) -> list[str]:
    """Return what is wrong with the theory of a finished store: with `deep` it is read through."""
    if not carries_theory(path):
        return ["is not there"]
    group, found = path / THEORY, []
    try:
        digests = record.read_json(group / METADATA)["attributes"].get(DIGESTS)
    except (ValueError, KeyError, TypeError):
        return ["its zarr.json can't be read"]
    arrays = {name: node for name, node in record.nodes(group) if node.get("node_type") == "array"}
    if digests is not None:
        found = [f"{name} is missing" for name in digests if name not in arrays]
        there = [name for name in digests if name in arrays]
        wanted = [(group / name / "c", len(arrays[name]["shape"]), ()) for name in there]
        for name, chunks in zip(there, files.all_places(wanted), strict=True):
            lacks = _lacks(group / name, chunks, arrays[name])
            found += [f"a chunk of {name} is missing"] if lacks else []
    for name in arrays if deep and not found else ():
        try:
            stored = zarr.open_array(places.readable(group), path=name, mode="r", zarr_format=3)
            found_now = _digest(name, arrays[name], np.asarray(stored[...]))
            same = digests is None or digests.get(name) == found_now
        except Exception as error:  # noqa: BLE001 - a codec may raise anything on damaged bytes
            found.append(f"{name} can't be read ({short(error)})")
            continue
        found += [] if same else [f"{name} has other values than were written there"]
    return found


def _lacks(array: Where, found: Mapping[tuple[int, ...], int], node: Any) -> bool:
    """Whether a chunk of an array of theory is missing or empty, where these are there."""
    lengths = node["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [-(-n // c) for n, c in zip(node["shape"], lengths, strict=True)]
    missing = (place for place in np.ndindex(*counts) if place not in found)
    # Ask for each by name, as a server's listing may lag behind.
    return any(not files.has_content(array.joinpath("c", *map(str, place))) for place in missing)


def check_target(path: Where, scan: Scan) -> Scan:
    """Return the scan whose theory is to be written to `path`; raise `StoreError` if none can be.

    `path` is a place where nothing is, the store of the scan, whose values may differ by rounding, or one
    with nothing but theory.
    """
    if not path.exists() or is_theory_alone(path):
        return scan
    opened = store.load(path)
    store.check_scan(opened, scan)
    store.check_writable(opened)
    return opened.scan


def carries_theory(path: Where) -> bool:
    """Whether a store has the group of theory."""
    return (path / THEORY / METADATA).is_file()


def is_theory_alone(path: Where) -> bool:
    """Whether a store has theory and no scan."""
    return carries_theory(path) and not _has_scan(path)


def _has_scan(path: Where) -> bool:
    return (path / "status" / METADATA).is_file() or (path / "status").exists()


def _write_dataset(group: Any, dataset: xr.Dataset, folder: Path) -> dict[str, Array]:
    """Write a dataset as xarray would, but without loading dask for it; return what was written.

    What zarr needs no hand in is packed and written below `folder`, in a tenth of the time.
    """
    renamed = {name: f"{name}{OF_POINT}" for name in _varied(dataset)}
    dataset = dataset.rename(renamed)
    written: dict[str, Array] = {}
    for name, variable in dataset.variables.items():
        row = variable.nbytes // max(1, variable.shape[0] if variable.ndim else 1)
        rows = max(1, THEORY_CHUNK // max(1, row))
        array = group.create_array(
            name=str(name),
            shape=variable.shape,
            chunks=tuple(max(1, min(n, rows) if i == 0 else n) for i, n in enumerate(variable.shape)),
            dtype=variable.dtype,
            dimension_names=tuple(map(str, variable.dims)),
            attributes={
                key: getattr(value, "tolist", lambda v=value: v)() for key, value in variable.attrs.items()
            },
            compressors=layout.codecs(str(name)),
            # So that a chunk that was lost can be told from one that is empty.
            config={"write_empty_chunks": True},
        )
        written[str(name)] = variable.values
        packing = Packing.of(array)
        if packing is None:
            array[...] = variable.values
        else:
            _write_packed(packing, variable.values, folder / str(name))
    others = [str(name) for name in dataset.coords if name not in dataset.dims]
    group.attrs.update({**dataset.attrs, **({"coordinates": " ".join(others)} if others else {})})
    return written


def _write_packed(packing: Packing, values: Array, folder: Path) -> None:
    """Write every chunk of an array; those of theory are cut along its first dimension alone."""
    if not values.ndim:
        files.write(folder / "c", packing.packed(values))
        return
    rest = "/0" * (values.ndim - 1)
    for k, begin in enumerate(range(0, len(values), packing.shape[0])):
        files.write(folder / f"c/{k}{rest}", packing.packed(values[begin : begin + packing.shape[0]]))


def _varied(dataset: xr.Dataset) -> list[str]:
    """Return the parameters that the points of a dataset differ in."""
    names = {parameter.name for parameter in model_named(dataset.attrs["model"]).parameters}
    return [str(name) for name in dataset.data_vars if name in names]


def open_theory(path: str | os.PathLike[str]) -> xr.DataTree:
    """Open the theory that a store carries, lazily.

    A finished run writes it, and `qifscan bifurcate`. Where it is more than the end of a run can afford, or
    something of it is not known, less is there: the attribute `left_out` says what, and why.

    Parameters
    ----------
    path
        The store of a scan, or one that `qifscan bifurcate` has made.

    Returns
    -------
    xarray.DataTree
        `equilibria`, as `qifscan.equilibria` gives it, on those axes of the scan that hold parameters of its
        model; `along_eta` and so on, the special points of every slice along an axis, and `along_eta_J` those
        along two, as `qifscan.special_points` gives them. The attributes hold the resolved scan
        (`qifscan_scan`, JSON).

    Raises
    ------
    StoreError
        If there is no store at `path`, or it carries no theory.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> made = qs.run(scan, "beside.zarr", client="serial")
    >>> sorted(qs.open_theory("beside.zarr").children)
    ['along_eta', 'equilibria']
    """
    place = located("path", path)
    with record.reading(place):
        carried = carries_theory(place)
        there = carried or place.exists()
    if not there:
        raise StoreError(f"{place}: not found; expected a store that qifscan run or bifurcate has made")
    if not carried:
        raise StoreError(f"{place}: carries no theory; a run writes it when it ends, or qifscan bifurcate")
    damage = theory_faults(place)
    if damage:
        cure = (
            "qifscan bifurcate writes it again" if is_theory_alone(place) else "run the scan again to mend it"
        )
        raise StoreError(f"{place}: its theory is damaged ({damage[0]}); {cure}")
    try:
        tree = xr.open_datatree(
            places.readable(place),
            engine="zarr",
            group=THEORY,
            consolidated=False,
            zarr_format=3,
            chunks=None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{place}: its theory can't be read ({short(error)})") from None
    return tree.map_over_datasets(as_computed)


def as_computed(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset of theory with the names that it was computed with."""
    names = {str(name): str(name).removesuffix(OF_POINT) for name in dataset.data_vars}
    return dataset.rename({old: new for old, new in names.items() if new != old})
