"""A store as a dataset."""

from __future__ import annotations

import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.engine.measured import CHECKPOINT
from qifscan.errors import StoreError, UnknownModel, short
from qifscan.files import Where
from qifscan.lazy import LazyModule
from qifscan.place import located
from qifscan.store.chunk_files import finished, places_of
from qifscan.store.layout import coordinates_of, fixed_coordinates, variables_of
from qifscan.store.store import Store, attributes_of, load

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.store import places
else:
    places = LazyModule("qifscan.store.places")
    xr = LazyModule("xarray")


Array = np.ndarray[Any, Any]

MOST_LABELS = 10**8
"""Values of an axis that somebody has added to a store: xarray reads those of an axis at once."""


def open_scan(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open the store of a scan as a lazy dataset, also while the scan is running.

    Parameters
    ----------
    path
        The store: a folder, an object store's `s3://...`, or a packed one.

    Returns
    -------
    xarray.Dataset
        One variable for every observable and `status`, with the dimensions of the scan in its order, and
        `replicate` last; units and long names in the attributes. Where `status` is 0 the point has not been
        run yet, and its observables are NaN. The variables are dask arrays, one block per chunk of the store.
        The attributes hold the resolved scan (`qifscan_scan`, JSON), its fingerprint, versions and history.

    Raises
    ------
    StoreError
        If there is no store of qifscan at `path`, or it is damaged.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> made = qs.run(scan, "opened.zarr", client="serial")
    >>> qs.open_scan("opened.zarr")["r_mean"].dims
    ('eta',)
    """
    return read(located("path", path), chunks={})


def read(path: Where, chunks: Any = None) -> xr.Dataset:
    """Return the dataset of a store; with `chunks=None` lazy too, but without dask."""
    try:
        store = load(path)
    except UnknownModel:
        return _without_model(path, chunks)
    _check_shapes(store)
    dataset = _dataset(path, _at_this_moment(store), chunks)
    grid = [name for name in store.chunks.grid_names if name != CHECKPOINT]
    order = [*grid, *store.chunks.trace_names]
    missing = [name for name in order if name not in dataset]
    if missing:
        raise StoreError(f"{path}: has no array {missing[0]}; the store is damaged")
    # Columns of a zipped axis are no index, and xarray takes them for data unless told. What a user has
    # added stays a variable.
    own = [name for name, *_ in coordinates_of(store.chunks) if name in dataset.data_vars]
    added = [name for name in dataset.data_vars if name not in {*order, *own}]
    ordered: xr.Dataset = dataset.set_coords(own)[[*order, *added]]
    ordered = ordered.assign_attrs(attributes_of(store)).assign_coords(fixed_coordinates(store.scan))
    # xarray keeps it through every step, and knows it of a finished store alone.
    ordered.encoding["source"] = str(path)
    return ordered


def _check_shapes(store: Store) -> None:
    """Raise `StoreError` for what xarray would read before it could be seen to be no part of the store: a
    pipe, a link to elsewhere, an axis of another length than the scan has."""
    own = variables_of(store.chunks)
    # What lies in the folders of the scan's own chunks is looked at one by one.
    chunks = {os.path.join(name, "c") for name in own} | {os.path.join(record.RECORD, "points", "c")}
    found = next(files.odd(store.path, chunks), None)
    if found is not None:
        raise StoreError(f"{store.path}: {found[0]} is {found[1]}, which no store has; remove it")
    shapes = {name: variable.shape for name, variable in own.items()}
    shapes |= {name: values.shape for name, _, values, _ in coordinates_of(store.chunks)}
    names = record.names_in(store.path, "")
    with record.reading(store.path):
        nodes = record.nodes_of(store.path, names)
    for name, node in zip(names, nodes, strict=True):
        shape = node.get("shape") if isinstance(node, dict) else None
        if name in shapes and shape is not None and shape != list(shapes[name]):
            raise StoreError(f"{store.path}: {name} has another shape than the scan; qifscan verify mends it")
        if isinstance(shape, list) and len(shape) == 1 and name not in shapes and shape[0] > MOST_LABELS:
            raise StoreError(
                f"{store.path}: {name[:80]!r} has {shape[0]:,} values, which is no part of a scan"
            )


def _dataset(path: Where, through: Any, chunks: Any) -> xr.Dataset:
    """Return what xarray makes of a store."""
    with warnings.catch_warnings():
        # A killed writer's leftovers beside the arrays are no concern of the reader.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized")
        try:
            with places.one_by_one() if isinstance(path, Path) else nullcontext():
                made: xr.Dataset = xr.open_zarr(through, consolidated=False, zarr_format=3, chunks=chunks)
        except Exception as error:  # noqa: BLE001 - of damaged metadata zarr and xarray may raise anything
            raise StoreError(f"{path}: can't be read ({short(error)}); qifscan verify finds why") from None
    return made


def _without_model(path: Where, chunks: Any) -> xr.Dataset:
    """Return the dataset of a store whose model nobody has imported: opening a store runs no code of it."""
    attributes, (names, coordinates) = record.attributes(path), record.listed(path)
    dataset = _dataset(path, places.readable(path), chunks)
    own = [name for name in coordinates if name in dataset.data_vars]
    order = [name for name in names if name in dataset.data_vars and name not in own]
    added = [name for name in dataset.data_vars if name not in {*order, *own}]
    ordered: xr.Dataset = dataset.set_coords(own)[[*order, *added]]
    return ordered.assign_attrs(attributes)


def _at_this_moment(store: Store) -> Any:
    """Return what xarray is to read: the store, of an unfinished one its finished chunks alone."""
    done, chunks = finished(store), store.chunks
    if len(done) == len(chunks):
        return places.readable(store.path)
    from zarr.storage import LocalStore

    from qifscan.store.snapshot import Snapshot

    shown: dict[str, set[str]] = {name: set() for name in (*chunks.grid_names, *chunks.trace_names)}
    for chunk in done:
        for name, place in places_of(store, chunk).items():
            # In a scan without axes a chunk's file is `c` itself.
            shown[name].add("/".join(map(str, place)))
    hidden = {name: frozenset(found) for name, found in shown.items()}
    path = store.path
    through = LocalStore(path, read_only=True) if isinstance(path, Path) else places.readable(path)
    return Snapshot(through, hidden)
