"""What a dataset of this package is of: its model, the one value of each parameter, its flags in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.models import stored_model
from qifscan.dynamics.noise import ou_parameters
from qifscan.errors import Fault, ScanError, counted, without
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.scan.axes import locate
from qifscan.scan.scan import Scan

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")

OURS = "one of qifscan: of run, open_scan, open_theory, simulate, or of its theory"

NOT_RUN = "not_run"
"""The word of a status of 0, which has no flag."""


def scan_of(dataset: xr.Dataset) -> Scan | None:
    """Return the scan that a dataset is of, None if it is of none."""
    told = dataset.attrs.get("qifscan_scan")
    return None if told is None else Scan.from_json(told)


def model_of_dataset(dataset: xr.Dataset) -> Model:
    """Return the model that a dataset is of; raise `ScanError` for one that names none."""
    scan = scan_of(dataset)
    name = dataset.attrs.get("model") if scan is None else scan.model
    if not isinstance(name, str):
        raise ScanError([Fault("data", without(dataset, "that names no model"), OURS)])
    return stored_model(name)


def point_of(dataset: xr.Dataset, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a model and its noise: those given, and of the others the one value that a dataset
    has.

    A parameter that the dataset does not tell is left out, and has its default. A constant drive is there as
    the mean of the noise on its variable, which does the same; of another drive nothing is there. Raises
    `ScanError` for a parameter that has several values in the dataset and is not given.
    """
    model, scan = model_of_dataset(dataset), scan_of(dataset)
    rows = [*model.parameters, *(row for v in model.variables for row in ou_parameters(v))]
    names = [row.name for row in rows]
    drive = None if scan is None else scan.drive
    if drive is None or not drive.steady:
        return _completed(dataset, given, names)
    found = _completed(dataset, {p.name: p.default for p in drive.parameters()} | dict(given), names)
    if "drive_amplitude" not in given and "drive_amplitude" in dataset.coords:
        found |= _completed(dataset, {}, ["drive_amplitude"])
    mean = f"{model.stimulated}_ou_mean"
    return found | {mean: found.get(mean, 0.0) + found.pop("drive_amplitude")}


def drive_left_out(dataset: xr.Dataset) -> str:
    """Return what is left out of a dataset's point: the kind of a drive that is not constant, or nothing."""
    scan = scan_of(dataset)
    drive = None if scan is None else scan.drive
    return "" if drive is None or drive.steady else drive.kind


def run_of(dataset: xr.Dataset, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `simulate` takes for a point of a dataset: what is given, then what the dataset has, its
    drive and its initial state too. Raises `ScanError` as `point_of`."""
    scan = scan_of(dataset)
    if scan is None:
        return point_of(dataset, given)
    names = [*scan.parameters, "initial"]
    if "initial" in given:
        names = [name for name in names if not name.endswith("_initial")]
    elif any(name.endswith("_initial") for name in given):
        names.remove("initial")
    return _completed(dataset, {"drive": scan.drive} | dict(given), names)


def _completed(dataset: xr.Dataset, given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    found, faults = dict(given), []
    for name in (n for n in names if n not in given and n in dataset.coords):
        values = np.unique(np.array(dataset.coords[name].values.tolist()))
        if len(values) == 1:
            found[name] = values[0].item()
        else:
            middle = show_value(values[len(values) // 2])
            there = f"{counted(len(values), 'value')} in the dataset"
            faults.append(Fault(name, there, "one value", f"give it, e.g. {name}={middle}"))
    if faults:
        raise ScanError(faults)
    return found


def selected(dataset: xr.Dataset, labels: Mapping[str, Any], method: str | None) -> xr.Dataset:
    """Return a dataset at these values of its dimensions, which may differ from them by rounding; with
    `method="nearest"` at the nearest ones between the ends.

    Of special points, and of branches of cycles with their points, those of the slices that are left stay; of
    curves, and branches of equilibria, the points of the piece.
    """
    faults: list[Fault] = []
    if method not in (None, "nearest"):
        faults.append(Fault("method", show_value(method), 'None or "nearest"'))
    known = {str(dim): _labels(dataset, str(dim)) for dim in dataset.dims}
    at = locate("select", labels, known, faults, nearest=method == "nearest")
    if faults:
        raise ScanError(faults)
    # An array has rows of no other variable.
    columns = getattr(dataset, "data_vars", ())
    if "slice" in columns and len(dataset["slice"].dims) == 1:
        return _with_rows(dataset, at)
    return _of_piece(dataset, at) if "piece" in columns and "pieces" in at else dataset.isel(at)


def _of_piece(dataset: xr.Dataset, at: Mapping[str, int]) -> xr.Dataset:
    """Return a dataset at indices, one of them a piece, with the points of that: it is the first one now."""
    left = np.array([at["pieces"]])
    points = _left(dataset["piece"], left, at)
    found = dataset.isel({dim: index for dim, index in at.items() if dim != "point"}).isel(point=points)
    found = found.assign(piece=_anew(dataset["piece"][points], left))
    if "duplicate_of" in found:
        found = found.assign(duplicate_of=found["duplicate_of"].copy(data=-1))
    return found.isel(point=0) if "point" in at and len(points) else found


def _with_rows(dataset: xr.Dataset, at: Mapping[str, int]) -> xr.Dataset:
    """Return a dataset at indices, with the rows that belong to what is left, counted anew."""
    rows = str(dataset["slice"].dims[0])
    counts = dataset["branch_count" if rows == "branches" else "row_size"]
    of_slices = {dim: index for dim, index in at.items() if dim in counts.dims}
    whole = counts.copy(data=np.arange(counts.size).reshape(counts.shape))
    slices = whole.isel(of_slices).values.ravel()
    left = _left(dataset["slice"], slices, at)
    found = dataset.isel({**of_slices, rows: left}).assign(slice=_anew(dataset["slice"][left], slices))
    if rows == "branches":
        points = _left(dataset["branch"], left, at)
        found = found.isel(point=points).assign(branch=_anew(dataset["branch"][points], left))
        # Diagrams of other programs don't tell it.
        if "duplicate_of" in found:
            found = found.assign(duplicate_of=_anew(found["duplicate_of"], left))
    # A dimension at which an index is asked for goes, as it does with `isel`, if its row is left.
    return found.isel({dim: 0 for dim in (rows, "point") if dim in at and found.sizes[dim]})


def _left(numbers: xr.DataArray, left: Any, at: Mapping[str, int]) -> Any:
    """Return the rows that belong to what is left, of these the one that is asked for."""
    (rows,) = numbers.dims
    there = np.isin(numbers.values, left)
    there &= np.arange(numbers.size) == at[str(rows)] if str(rows) in at else True
    return np.flatnonzero(there)


def _anew(numbers: xr.DataArray, left: Any) -> xr.DataArray:
    """Return the places of numbers in what is left, -1 of one that is not."""
    places = {number: place for place, number in enumerate(left.tolist())}
    return numbers.copy(data=np.array([places.get(n, -1) for n in numbers.values.tolist()], dtype=int))


def _labels(dataset: xr.Dataset, dim: str) -> np.ndarray[Any, Any]:
    if dim not in dataset.coords:
        return np.arange(dataset.sizes[dim])
    values = dataset.coords[dim].values
    return np.array(values.tolist()) if values.dtype.kind in "OT" else values


def decoded(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with every flag as its words, and the numbers of the others as they are."""
    words = {
        str(name): (array.dims, words_of(array), _without_flags(array))
        for name, array in dataset.variables.items()
        if "flag_meanings" in array.attrs
    }
    if not words:
        raise ScanError([Fault("data", "no flags", "variables with flag_meanings, such as status")])
    coords = {name: value for name, value in words.items() if name in dataset.coords}
    data = {name: value for name, value in words.items() if name not in dataset.coords}
    return dataset.assign(data).assign_coords(coords)


def _without_flags(array: Any) -> dict[str, Any]:
    return {key: value for key, value in array.attrs.items() if not key.startswith("flag_")}


def words_of(array: Any) -> np.ndarray[Any, Any]:
    """Return the words of a CF flag variable: of a number its meaning, of bits the meanings of all that are
    set; "" where there is no value, as for NaN, and the number itself where it has no meaning."""
    numbers = np.asarray(array.values)
    names = array.attrs["flag_meanings"].split()
    codes, place = np.unique(numbers, return_inverse=True)
    if "flag_masks" in array.attrs:
        masks = [int(mask) for mask in np.asarray(array.attrs["flag_masks"]).tolist()]
        told = [_of_masks(code, masks, names) for code in codes.tolist()]
    else:
        values = np.asarray(array.attrs["flag_values"]).tolist()
        known = dict(zip(values, names, strict=True))
        told = [known.get(code, _plain(code)) for code in codes.tolist()]
    return np.array(told, dtype=str)[place].reshape(numbers.shape)


def _of_masks(code: float, masks: list[int], names: list[str]) -> str:
    if code != code:
        return ""
    if not code:
        return NOT_RUN
    return ", ".join(name for mask, name in zip(masks, names, strict=True) if int(code) & mask)


def _plain(code: float) -> str:
    return "" if code != code else f"{code:g}"
