"""Parameters as labelled arrays: numbers, sequences and DataArrays made float64, checked and broadcast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qifscan.errors import AS_MS, Fault, ScanError, is_time, near, one_of, show
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.dynamics.model import Parameter
else:
    xr = LazyModule("xarray")

Values: TypeAlias = "float | Sequence[float] | np.ndarray[Any, Any] | xr.DataArray"


def labelled(parameters: Mapping[str, Values]) -> dict[str, xr.DataArray]:
    """Return parameters as float64 DataArrays of one shape, dimensions in the order of appearance.

    A number has no dimension; a sequence given for `p` gets the dimension `p` with itself as coordinate;
    a DataArray keeps its own. Raises `ScanError` with a line for every value that is not a finite number,
    and if two arrays disagree about the coordinate of a dimension.
    """
    faults: list[Fault] = []
    arrays = _arrays(parameters, faults)
    _raise_if_any(faults)
    return _together(arrays)


def complete(
    given: Mapping[str, Values], declared: Iterable[Parameter], *, may_be_none: bool = False
) -> dict[str, xr.DataArray]:
    """Return the declared parameters as float64 DataArrays, each with its own dimensions, defaults filled in.

    Raises `ScanError` with a line for every unknown name, missing value, value outside its domain, and array
    without values, unless there may be none.
    """
    known = {parameter.name: parameter for parameter in declared}
    names = list(known)
    faults = [
        Fault(n, "an unknown parameter", one_of(names), near(n, names)) for n in given if n not in known
    ]
    chosen = {name: value for name, value in given.items() if name in known}
    for name, parameter in known.items():
        if name not in given and parameter.default is None:
            faults.append(Fault(name, "nothing", "a value", f"give the {parameter.meaning}"))
        elif name not in given:
            chosen[name] = parameter.default  # type: ignore[assignment]
    arrays = _arrays(chosen, faults)
    empty = [name for name, array in arrays.items() if not array.size and not may_be_none]
    faults += [Fault(name, "no values", "at least one") for name in empty]
    for name, array in arrays.items():
        holds = np.asarray(known[name].domain.holds(array.values))
        if not holds.all():
            faults.append(Fault(name, _some(array.values[~holds]), known[name].domain.words))
    faults += _misnamed(arrays)
    _raise_if_any(faults)
    return arrays


def _raise_if_any(faults: Sequence[Fault]) -> None:
    if faults:
        raise ScanError(faults)


def _arrays(parameters: Mapping[str, Values], faults: list[Fault]) -> dict[str, xr.DataArray]:
    """Return what can be converted, each with its own dimensions; add a fault for what can't."""
    found = {name: _array(name, value, faults) for name, value in parameters.items()}
    return {name: array for name, array in found.items() if array is not None}


def _array(name: str, value: Values, faults: list[Fault]) -> xr.DataArray | None:
    try:
        data = np.asarray(value)
    except ValueError:
        faults.append(Fault(name, "a ragged sequence", "a number or a sequence of numbers"))
        return None
    if np.ma.is_masked(value):
        faults.append(Fault(name, "a masked array with values that are not there", "finite numbers"))
        return None
    if data.dtype.kind not in "iuf":
        hint = AS_MS if is_time(data) else ""
        faults.append(Fault(name, _told(value, data), "real numbers", hint))
        return None
    data = data.astype(np.float64)
    if not np.isfinite(data).all():
        faults.append(Fault(name, _some(data[~np.isfinite(data)]), "finite numbers"))
        return None
    if isinstance(value, xr.DataArray):
        return _relabelled(name, value, data, faults)
    if data.ndim > 1:
        hint = "give an xarray.DataArray with named dimensions"
        faults.append(Fault(name, f"an array of shape {data.shape}", "a number or one dimension", hint))
        return None
    dims = (name,) * data.ndim
    return xr.DataArray(data, dims=dims, coords=dict.fromkeys(dims, data), name=name)


def _told(value: Any, data: np.ndarray[Any, Any]) -> str:
    """Return values that are no numbers: as they are, or of an array with a type of its own that too."""
    if hasattr(value, "dtype") and data.ndim:
        return f"{show(data)} of type {data.dtype}"
    return show(value)


def _relabelled(
    name: str, value: xr.DataArray, data: np.ndarray[Any, Any], faults: list[Fault]
) -> xr.DataArray:
    array = xr.DataArray(data, dims=value.dims, coords=value.coords, name=name)
    if array.dims != (name,):
        return array
    if name in array.coords and not np.array_equal(array.coords[name].values, data):
        found = "values that differ from the coordinate of that name"
        faults.append(Fault(name, found, "one meaning for one name", "rename the dimension"))
    return array.assign_coords({name: data})


def _misnamed(arrays: Mapping[str, xr.DataArray]) -> list[Fault]:
    """Find dimensions that are named like a parameter but do not hold its values."""
    faults = []
    for owner, array in arrays.items():
        for dim in map(str, array.dims):
            if dim in arrays and arrays[dim].dims != (dim,):
                found = f'other values than those along the dimension "{dim}" of {owner}'
                faults.append(Fault(dim, found, "the same", f"give {dim} along it, or rename the dimension"))
    return faults


def _together(arrays: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    try:
        # Not left to xr.broadcast, which takes the union of two coordinates and fills with NaN.
        aligned = xr.align(*arrays.values(), join="exact")
    except ValueError as error:
        found = " ".join(str(error).split())
        hint = "give both the same coordinate, or other names"
        raise ScanError([Fault(", ".join(arrays), found, "one coordinate per dimension", hint)]) from None
    return dict(zip(arrays, xr.broadcast(*aligned), strict=True))


def _some(values: np.ndarray[Any, Any]) -> str:
    more = f" and {values.size - 1} more" if values.size > 1 else ""
    return f"{values.flat[0]:g}{more}"
