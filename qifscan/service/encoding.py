"""A dataset as JSON and back, every bit: the answers that are given at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


def encoded(dataset: xr.Dataset) -> dict[str, Any]:
    """Return a dataset as JSON data: `attrs`, `coords` and `data_vars`, each with `dims`, `dtype`, `attrs`
    and `data` (nested lists).

    NaN is null, and an infinity the text "inf" or "-inf", as JSON has neither.
    """
    return {
        "attrs": _plain(dataset.attrs),
        "coords": {str(name): _variable(array.variable) for name, array in dataset.coords.items()},
        "data_vars": {str(name): _variable(array.variable) for name, array in dataset.data_vars.items()},
    }


def decoded(data: Mapping[str, Any]) -> xr.Dataset:
    """Return the dataset that `encoded` was given."""
    coords = {name: _array(told) for name, told in data["coords"].items()}
    variables = {name: _array(told) for name, told in data["data_vars"].items()}
    return xr.Dataset(variables, coords, data["attrs"])


def _variable(variable: xr.Variable) -> dict[str, Any]:
    values = np.asarray(variable.values)
    told = {"dims": [str(dim) for dim in variable.dims], "attrs": _plain(variable.attrs)}
    if values.dtype.kind in "OU":
        return {**told, "dtype": "str", "data": values.astype(str).tolist()}
    return {**told, "dtype": values.dtype.name, "data": _plain(values.tolist())}


def _array(told: Mapping[str, Any]) -> tuple[list[str], Any, dict[str, Any]]:
    return told["dims"], np.array(told["data"], dtype=told["dtype"]), told["attrs"]


def _plain(value: Any) -> Any:
    """Return data that JSON can hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
