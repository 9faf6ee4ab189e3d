"""Basins of attraction and tipping: which attractor the points of a finished scan go to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.lazy import LazyModule
from qifscan.results.finished import (
    check_share,
    equilibria_of,
    opened,
    origin_of,
    settled_points,
    start_dims,
    told_of,
)
from qifscan.scan.axes import locate

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


def basins(
    data: xr.Dataset | str | os.PathLike[str],
    over: Sequence[str] | None = None,
    *,
    confidence: float | None = None,
) -> xr.Dataset:
    """Return which share of the initial states goes to which equilibrium.

    Parameters
    ----------
    data
        A dataset of a scan without noise whose initial states are axes, such as `r_initial` and `v_initial`,
        or the path of its store.
    over
        Dimensions of the initial states; by default those with an axis of an initial state, and `replicate`.
    confidence
        For initial states that were drawn at random, e.g. 0.95: adds `fraction_low` and `fraction_high`, the
        interval of Wilson (J. Am. Stat. Assoc. 22, 209, 1927). The shares of a grid have no such error:
        theirs is the cells that the border of the basin goes through.

    Returns
    -------
    xarray.Dataset
        `fraction` along `equilibrium`, which counts as in `qifscan.equilibria` from the lowest rate (with a
        single one it is 0); `unsettled_fraction`, of starts that are at no stable equilibrium in the end;
        together they are 1. `starts`, how many have been run; `not_run`, how many have not.

    Raises
    ------
    ScanError
        If there is no such dimension, or no point of the scan can come to rest.

    Examples
    --------
    >>> import qifscan as qs
    >>> starts = {"r_initial": [0.05, 1.5], "v_initial": [-2.0, 0.0]}
    >>> protocol = qs.Protocol(transient=60.0, window=10.0)
    >>> scan = qs.Scan(axes=starts, fixed={"eta": -5.0, "J": 15.0}, protocol=protocol)
    >>> found = qs.run(scan, "starts.zarr", client="serial")
    >>> qs.basins(found)["fraction"].values
    array([0.75, 0.  , 0.25])
    """
    dataset, scan = opened(data)
    dims = start_dims(dataset, scan, over)
    if confidence is not None:
        check_share("confidence", confidence)
    at, ran = settled_points(dataset)
    starts = ran.sum(dims)
    places = equilibria_of(dataset)
    share = (at == places).sum(dims) / starts.where(starts > 0)
    unsettled = (ran & (at < 0)).sum(dims) / starts.where(starts > 0)
    result = xr.Dataset(
        {
            "fraction": told_of(share, "share of the initial states that go to the equilibrium", "1"),
            "unsettled_fraction": told_of(
                unsettled, "share that is at no stable equilibrium in the end", "1"
            ),
            "starts": told_of(starts, "initial states that have been run", "1"),
            "not_run": told_of((~ran).sum(dims), "initial states that have not been run", "1"),
        }
    )
    if confidence is not None:
        low, high = _wilson(share, starts, confidence)
        result["fraction_low"] = told_of(low, "lower end of the confidence interval of the share", "1")
        result["fraction_high"] = told_of(high, "upper end of the confidence interval of the share", "1")
    return result.transpose(..., "equilibrium").assign_attrs(
        origin_of(dataset, over=", ".join(dims), confidence=confidence)
    )


def _wilson(share: xr.DataArray, count: xr.DataArray, confidence: float) -> tuple[xr.DataArray, xr.DataArray]:
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    scale = 1.0 + z * z / count
    half = z * np.sqrt(share * (1.0 - share) / count + z * z / (4.0 * count * count)) / scale
    middle = (share + z * z / (2.0 * count)) / scale
    return middle - half, middle + half


def tipping(
    data: xr.Dataset | str | os.PathLike[str],
    over: Sequence[str] | None = None,
    **change: tuple[float, float],
) -> xr.Dataset:
    """Return how likely a sudden change of a parameter tips the population from one basin into another.

    P(i -> j) = |B_i(before) and B_j(after)| / |B_i(before)|, B_i the initial states that go to equilibrium
    i: the change meets a state anywhere in the basin of i, as after a perturbation, not at rest.
    Source: Kaszas, Feudel, Tel, Sci. Rep. 9, 8654 (2019).

    Parameters
    ----------
    data
        As in `basins`, with the changed parameter on an axis.
    over
        Dimensions of the initial states, as in `basins`.
    **change
        The dimension and its values before and after, e.g. `eta=(-5.0, -4.0)`: values on the axis.

    Returns
    -------
    xarray.Dataset
        `probability` along `equilibrium` (before) and `equilibrium_after`, NaN where nothing goes to the
        first; `unsettled` along `equilibrium`, the share that is at no stable equilibrium after the change;
        `starts` along `equilibrium`, the number of initial states in its basin.

    Raises
    ------
    ScanError
        If not one dimension with two of its values is named, or as in `basins`.

    Examples
    --------
    >>> import qifscan as qs
    >>> axes = {"eta": [-5.0, -2.0], "r_initial": [0.05, 1.5], "v_initial": [-2.0, 0.0]}
    >>> protocol = qs.Protocol(transient=60.0, window=10.0)
    >>> scan = qs.Scan(axes=axes, fixed={"J": 15.0}, protocol=protocol)
    >>> found = qs.run(scan, "tipped.zarr", client="serial")
    >>> qs.tipping(found, eta=(-5.0, -2.0))["probability"].values
    array([[ 1.,  0.,  0.],
           [nan, nan, nan],
           [ 1.,  0.,  0.]])
    """
    dataset, scan = opened(data)
    dims = start_dims(dataset, scan, over)
    faults = [
        unknown("change", name, [str(d) for d in dataset.dims if d not in dims], "dimension")
        for name in change
        if name not in dataset.dims or name in dims
    ]
    faults += [
        Fault(f"change.{n}", show(x), "two values on the axis, before and after")
        for n, x in change.items()
        if n in dataset.dims and np.shape(x) != (2,)
    ]
    at_values = [] if faults else _places(dataset, change, faults)
    if len(change) != 1:
        faults.append(Fault("change", f"{len(change)} dimensions", "one, with its values before and after"))
    if faults:
        raise ScanError(faults)
    (name, values), *_ = change.items()
    at, ran = settled_points(dataset)
    before, after = (at.isel({name: place}, drop=True) for place in at_values)
    first, second = (ran.isel({name: place}, drop=True) for place in at_values)
    ran = first & second
    places = equilibria_of(dataset)
    there = ran & (before == places)
    count = there.sum(dims)
    later = places.rename(equilibrium="equilibrium_after")
    some = count.where(count > 0)
    result = xr.Dataset(
        {
            "probability": told_of(
                (there & (after == later)).sum(dims) / some, "probability of the tipping", "1"
            ),
            "unsettled": told_of((there & (after < 0)).sum(dims) / some, "share that does not settle", "1"),
            "starts": told_of(count, "initial states in the basin before the change", "1"),
        }
    )
    result = result.transpose(..., "equilibrium", "equilibrium_after")
    return result.assign_attrs(origin_of(dataset, change=f"{name}: {show(values[0])} to {show(values[1])}"))


def _places(dataset: xr.Dataset, change: Mapping[str, Any], faults: list[Fault]) -> list[int]:
    """Return where the values of a change are along its dimension; faults are added to the list."""
    labels = {name: dataset[name].values for name in change}
    named = [{name: value} for name, values in change.items() for value in np.asarray(values).tolist()]
    return [place for point in named for place in locate("change", point, labels, faults).values()]
