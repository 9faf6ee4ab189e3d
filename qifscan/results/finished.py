"""Finished scans, opened for the functions that read them: their points, flags and states at rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.definition import number
from qifscan.dynamics.status import Status
from qifscan.errors import Fault, ScanError, show, unknown, without
from qifscan.lazy import LazyModule
from qifscan.place import located
from qifscan.scan.scan import Scan
from qifscan.store.reader import read

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


DOUBTFUL = int(Status.diverged | Status.under_resolved | Status.not_settled)


def opened(data: xr.Dataset | str | os.PathLike[str]) -> tuple[xr.Dataset, Scan]:
    """Return a dataset of `run` or `open_scan`, or that of a store, and its scan.

    A status that a step of xarray made float, such as `where`, is taken back to integers, NaN to "not run".
    Raises `ScanError` for a dataset that is not of a scan, has no status, or whose points are averages.
    """
    dataset: Any = read(located("data", data)) if isinstance(data, (str, os.PathLike)) else data
    if not isinstance(dataset, xr.Dataset) or "qifscan_scan" not in dataset.attrs:
        expected = "a dataset of qifscan.run or qifscan.open_scan, with its attributes"
        raise ScanError([Fault("data", without(dataset, "without a scan"), expected)])
    scan = Scan.from_json(dataset.attrs["qifscan_scan"])
    if "status" not in dataset.data_vars:
        hint = 'select several variables with it: dataset[["r_mean", "status"]]'
        raise ScanError([Fault("data", "no status", "a dataset with its status", hint)])
    if dataset.status.dtype.kind in "iu":
        return dataset, scan
    return in_integers(dataset, scan), scan


def check_share(where: str, value: Any) -> None:
    """Raise `ScanError` unless this is a number between 0 and 1, neither included."""
    share = number(value)
    if share is None or not 0.0 < share < 1.0:
        raise ScanError([Fault(where, show(value), "a number between 0 and 1")])


def in_integers(dataset: xr.Dataset, scan: Scan) -> xr.Dataset:
    """Return a dataset with its flags as integers; raise `ScanError` where points are no longer those that
    were run."""
    hint = "give the points themselves, and average what comes of them"
    lost = [name for name in scan.sizes if not _has_axis(dataset, scan, name)]
    if lost:
        found = f"a mean over {lost[0]}, or another dimension of that name"
        raise ScanError([Fault("data", found, "points that were run", hint)])
    between = [name for name in scan.sizes if not _is_on_axis(dataset, scan, name)]
    status = dataset["status"].fillna(0)
    if between or not bool((status == np.round(status)).all()):
        found = f"values of {between[0]} that were not run" if between else "a status that is a mean"
        raise ScanError([Fault("data", found, "points that were run", hint)])
    flags = {"status": status.astype(np.uint8)}
    if "settled_on" in dataset:
        flags["settled_on"] = dataset["settled_on"].fillna(-1).astype(np.int8)
    told = {name: values.assign_attrs(dataset[name].attrs) for name, values in flags.items()}
    return dataset.assign(told)


def _has_axis(dataset: xr.Dataset, scan: Scan, name: str) -> bool:
    names = {name, *(scan.axes[name].columns if name in scan.axes else ())}
    return bool(names & {*map(str, dataset.dims), *map(str, dataset.coords)})


def _is_on_axis(dataset: xr.Dataset, scan: Scan, name: str) -> bool:
    """Whether the values of a coordinate are those of the scan's axis."""
    if name not in dataset.coords:
        return True
    labels = scan.axes[name].labels if name in scan.axes else np.arange(scan.replicates)
    return bool(np.isin(dataset[name].values.tolist(), labels.tolist()).all())


def names_of(where: str, given: Any) -> list[str]:
    """Return the names of dimensions that are given as a name or several."""
    if isinstance(given, str):
        return [given]
    names = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(name, str) for name in names):
        raise ScanError([Fault(where, show(given), "a name of a dimension, or a list of them")])
    return names


def settled_points(dataset: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the stable equilibrium that each point is at in the end, -1 for none; and which were run."""
    if "settled_on" not in dataset:
        hint = "it is there without noise, and with an input that ends constant"
        raise ScanError([Fault("data", "no settled_on", "a scan whose points can come to rest", hint)])
    chosen = dataset[["settled_on", "status"]].compute()
    ran = chosen["status"] > 0
    return chosen["settled_on"].where((chosen["status"] & DOUBTFUL) == 0, -1).where(ran, -1), ran


def equilibria_of(dataset: xr.Dataset) -> xr.DataArray:
    """Return the equilibria that points can settle on, as a coordinate."""
    told = dataset["settled_on"].attrs
    names = dict(zip(np.asarray(told["flag_values"]).tolist(), told["flag_meanings"].split(), strict=True))
    places = [value for value in names if value >= 0]
    attributes = {"long_name": f"equilibrium: {', '.join(f'{k} {names[k]}' for k in places)}"}
    attributes |= flags({place: names[place] for place in places})
    return xr.DataArray(places, dims="equilibrium", coords={"equilibrium": places}).assign_coords(
        equilibrium=("equilibrium", places, attributes)
    )


def start_dims(dataset: xr.Dataset, scan: Scan, over: Sequence[str] | None) -> list[str]:
    """Return the dimensions along which initial states lie."""
    known = [str(dim) for dim in dataset.dims]
    if over is not None:
        names = names_of("over", over)
        faults = [unknown("over", name, known, "dimension") for name in names if name not in known]
    else:
        starts = [axis.name for axis in scan.axes.values() if any(_is_start(name) for name in axis.columns)]
        names = [name for name in (*starts, "replicate") if name in known]
        hint = "make r_initial and v_initial axes, or name the dimensions"
        faults = [] if names else [Fault("over", "no dimension of initial states", "at least one", hint)]
    if faults:
        raise ScanError(faults)
    return names


def _is_start(name: str) -> bool:
    return name == "initial" or name.endswith("_initial")


def flags(meanings: Mapping[int, str]) -> dict[str, Any]:
    """Return the attributes of a CF flag variable."""
    return {
        "flag_values": np.array(list(meanings), dtype=np.int8),
        "flag_meanings": " ".join(meanings.values()),
    }


def told_of(values: xr.DataArray, long_name: str, units: str | None = None) -> xr.DataArray:
    """Return values with their meaning and unit as attributes."""
    values.attrs = {"long_name": long_name} | ({} if units is None else {"units": units})
    return values


def origin_of(dataset: xr.Dataset, **details: Any) -> dict[str, Any]:
    """Return the attributes that tell what a result was made of."""
    told: Iterable[tuple[str, Any]] = (
        ("title", dataset.attrs.get("title")),
        ("references", dataset.attrs.get("references")),
        ("fingerprint", dataset.attrs.get("qifscan_fingerprint")),
        *details.items(),
    )
    return {name: value for name, value in told if value is not None}
