"""Where the run up and the run down part, and between which values each jumps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, unknown
from qifscan.lazy import LazyModule
from qifscan.results.finished import DOUBTFUL, check_share, flags, opened, origin_of, told_of

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


Array = np.ndarray[Any, Any]


APART = 0.01
"""Relative distance of two runs that are at different states: at one of them each is within the tolerance,
1e-3 by default."""

LOOPS = {-1: "unknown", 0: "none", 1: "closed", 2: "open", 3: "several"}


def hysteresis(
    data: xr.Dataset | str | os.PathLike[str], observable: str | None = None, *, apart: float = APART
) -> xr.Dataset:
    """Return where the two directions of a sweep part, and where each jumps.

    Along each line the run to higher values of the swept parameter is compared with the run to lower ones.
    They differ where each has stayed on a branch of its own. The run up leaves its branch between the last
    value at which they differ and the next one at which they do not, the run down between the first and the
    one before it. Only values count at which both are sound: just beyond a fold a run may still be on its way
    when its point ends (then it is flagged "not settled"), and the interval is the wider, so that without
    noise the fold lies in it.

    Parameters
    ----------
    data
        A dataset of a scan with `protocol.sweep`, or the path of its store.
    observable
        What is compared; by default the first one of the scan.
    apart
        Difference, relative to the larger of the two, from which on they are two states.

    Returns
    -------
    xarray.Dataset
        Without `direction`: `difference` (up minus down, in the unit of the observable) and `bistable`
        (whether they are apart and both sound). Without the swept dimension too: `loop` (a CF flag: none,
        closed, open where no sound point lies beyond it, several loops, unknown where a point is not there,
        or where they are apart only at points that are not sound); `width`, the
        distance between the middles of the two intervals in the unit of the parameter; `area`, the integral
        of |up - down| over the parameter (trapezoidal rule); `doubtful_count`, the points of the line in both
        directions whose status says that they diverged, are under-resolved or did not settle. Along
        `direction` and `bound` ("lower", "upper"): `jump`, the interval in which the run leaves its branch,
        NaN if there is none or it lies beyond the axis; of several loops the outermost. Along a zipped axis
        its index stands for the parameter.

    Raises
    ------
    ScanError
        If the scan has no sweep, the dataset lacks one of the directions, or there is no such observable.

    Examples
    --------
    >>> import qifscan as qs
    >>> protocol = qs.Protocol(transient=60.0, window=10.0, sweep="eta")
    >>> axes = {"eta": [-8.0, -6.0, -4.0, -2.0]}
    >>> scan = qs.Scan(axes=axes, fixed={"J": 15.0}, protocol=protocol)
    >>> found = qs.hysteresis(qs.run(scan, "swept.zarr", client="serial"))
    >>> found["jump"].sel(direction="up").values
    array([-4., -2.])
    """
    dataset, scan = opened(data)
    own = [name for name in scan.measures if name in dataset.data_vars]
    name, swept = observable or next(iter(own or scan.measures)), scan.protocol.sweep
    able = [str(each) for each in dataset.data_vars]
    check_share("apart", apart)
    faults = [] if name in able else [unknown("observable", name, own or able)]
    if swept is None:
        faults.append(Fault("data", "a scan without a sweep", "one with protocol.sweep"))
    elif {swept, "direction"} - set(dataset.dims) or set(dataset["direction"].values) != {"up", "down"}:
        given = f"dimensions {', '.join(map(str, dataset.dims))}"
        hint = "give it as it was run; what is selected or renamed along these can be no loop"
        faults.append(Fault("data", given, f"{swept}, and direction with up and down", hint))
    elif not dataset.sizes[swept]:
        faults.append(Fault("data", f"no values of {swept}", "at least one"))
    if faults or swept is None:
        raise ScanError(faults)
    chosen = dataset[[name, "status"]].sortby(swept).compute()
    up, down = (chosen[name].sel(direction=way, drop=True).astype(np.float64) for way in ("up", "down"))
    larger = np.maximum(abs(up), abs(down))
    two = abs(up - down) > apart * larger
    there = (up - down).notnull().all(swept)
    doubtful = (chosen["status"] & DOUBTFUL) > 0
    sound = ~doubtful.any("direction")
    lost = ~there | ((two & ~sound).any(swept) & ~(two & sound).any(swept))
    found = _loops(two & sound, ~two & sound, lost, chosen[swept])
    unit = chosen[name].attrs.get("units", "1")
    area = abs(up - down).integrate(swept)
    found["difference"] = told_of(up - down, f"{name} of the run up minus that of the run down", unit)
    found["bistable"] = told_of(two & sound, "the two directions are at different states")
    found["area"] = told_of(area, f"area of the loop of {name} over {swept}")
    found["doubtful_count"] = told_of(
        doubtful.sum((swept, "direction")), "points that diverged, are under-resolved or did not settle", "1"
    )
    return found.assign_attrs(origin_of(dataset, observable=name, apart=apart))


def _loops(two: xr.DataArray, one: xr.DataArray, lost: xr.DataArray, values: xr.DataArray) -> xr.Dataset:
    """Return loop, jump and width from where the directions are at two states, at one, or not known."""
    swept, x = str(values.name), values.values.astype(np.float64)
    two = two.transpose(..., swept)
    apart, same = two.values, one.transpose(*two.dims).values
    last, place = len(x) - 1, np.arange(len(x))
    first, end = apart.argmax(axis=-1), last - apart[..., ::-1].argmax(axis=-1)
    before, after = same & (place < first[..., None]), same & (place > end[..., None])
    # What is not known is as what came before it.
    known = np.maximum.accumulate(np.where(apart | same, place, 0), axis=-1)
    starts = (np.diff(np.take_along_axis(apart, known, -1).astype(np.int8), axis=-1, prepend=0) == 1).sum(-1)
    up, down = after.any(axis=-1), before.any(axis=-1)
    loop = np.where(starts > 1, 3, np.where((starts > 0) & ~(up & down), 2, starts))
    loop = np.where(lost.transpose(*two.dims[:-1]).values, -1, loop)
    bounds = np.stack(
        [
            _bounds(x, end, after.argmax(axis=-1), up & (loop > 0)),
            _bounds(x, last - before[..., ::-1].argmax(axis=-1), first, down & (loop > 0)),
        ],
        axis=-2,
    )
    dims = two.dims[:-1]
    coords = {k: c for k, c in two.coords.items() if swept not in c.dims}
    unit = {k: values.attrs[k] for k in ("units",) if k in values.attrs}
    middles = bounds.mean(axis=-1)
    meaning = f"values of {swept} between which the run leaves its branch"
    return xr.Dataset(
        {
            "loop": (dims, loop.astype(np.int8), {"long_name": "loop of hysteresis"} | flags(LOOPS)),
            "jump": ((*dims, "direction", "bound"), bounds, {"long_name": meaning} | unit),
            "width": (dims, middles[..., 0] - middles[..., 1], {"long_name": "width of the loop"} | unit),
        },
        {**coords, "direction": ["up", "down"], "bound": ["lower", "upper"]},
    )


def _bounds(x: Array, lower: Array, upper: Array, chosen: Array) -> Array:
    return np.where(chosen[..., None], np.stack([x[lower], x[upper]], axis=-1), np.nan)
