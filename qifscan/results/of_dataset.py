"""What a dataset of this package is of: its model, the one value of each parameter, its flags in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.catalogue import stored_model
from qifscan.dynamics.noise import ou_parameters
from qifscan.errors import Fault, ScanError, counted
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
        raise ScanError([Fault("data", f"a {type(dataset).__name__} that names no model", OURS)])
    return stored_model(name)


def point_of(dataset: xr.Dataset, given: Mapping[str, Any], *, noise: bool = True) -> dict[str, Any]:
    """Return the parameters of a model: those given, and of the others the one value that a dataset has.

    With `noise` those of the noise too. A parameter that the dataset does not tell is left out, and has its
    default. Raises `ScanError` for one that has several values in the dataset and is not given.
    """
    model = model_of_dataset(dataset)
    rows = [*model.parameters, *(row for v in model.variables for row in ou_parameters(v) if noise)]
    found, faults = dict(given), []
    for name in (row.name for row in rows if row.name not in given and row.name in dataset.coords):
        values = np.unique(dataset.coords[name].values)
        if len(values) == 1:
            found[name] = float(values[0])
        else:
            expected, hint = "one value", f"give it, e.g. {name}={values[len(values) // 2]:.4g}"
            faults.append(Fault(name, f"{counted(len(values), 'value')} in the dataset", expected, hint))
    if faults:
        raise ScanError(faults)
    return found


def selected(dataset: xr.Dataset, labels: Mapping[str, Any], method: str | None) -> xr.Dataset:
    """Return a dataset at these values of its dimensions, which may differ from them by rounding; with
    `method="nearest"` at the nearest ones between the ends."""
    faults: list[Fault] = []
    if method not in (None, "nearest"):
        faults.append(Fault("method", show_value(method), 'None or "nearest"'))
    known = {str(dim): _labels(dataset, str(dim)) for dim in dataset.dims}
    at = locate("select", labels, known, faults, nearest=method == "nearest")
    if faults:
        raise ScanError(faults)
    return dataset.isel(at)


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
