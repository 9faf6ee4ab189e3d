"""The equilibrium before and after a pulse."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.drive import Pulse
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.errors import Fault, ScanError, show
from qifscan.lazy import LazyModule
from qifscan.results.finished import flags, opened, origin_of, settled_points
from qifscan.scan.scan import Scan
from qifscan.theory.rest import Rest

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


Array = np.ndarray[Any, Any]

SWITCHES = {-1: "unknown", 0: "stayed", 1: "switched"}


def pulse_response(data: xr.Dataset | str | os.PathLike[str]) -> xr.Dataset:
    """Return at which points of a scan a pulse has switched the population from one equilibrium to another.

    A longer or stronger pulse may well not switch what a shorter or weaker one does: the state turns
    around the upper equilibrium of the pulse, and what counts is in which basin the pulse leaves it. So this
    is a map, and there is no threshold.

    Parameters
    ----------
    data
        A dataset of a scan without noise, driven by a `Pulse` and started at a named state; or the path of
        its store.

    Returns
    -------
    xarray.Dataset
        With the dimensions of the scan, CF flags: `start_on` and `end_on`, the equilibrium before and after
        the pulse, from the lowest rate (none: not settled), and `switched` (stayed, switched; unknown where
        the point is not run, not settled, or its pulse is not over when the run ends).

    Raises
    ------
    ScanError
        If the scan has no pulse, a sweep, or other initial states.

    Examples
    --------
    >>> import qifscan as qs
    >>> scan = qs.Scan(
    ...     axes={"drive_amplitude": [0.5, 5.0]},
    ...     fixed={"eta": -5.0, "J": 15.0},
    ...     drive=qs.Pulse(amplitude=1.0, start=5.0, length=10.0),
    ...     protocol=qs.Protocol(transient=60.0, window=10.0),
    ... )
    >>> qs.pulse_response(qs.run(scan, "pulsed.zarr", client="serial"))["switched"].values
    array([0, 1], dtype=int8)
    """
    dataset, scan = opened(data)
    faults = []
    if not isinstance(scan.drive, Pulse):
        found = "no drive" if scan.drive is None else f"the drive {show(scan.drive.kind)}"
        faults.append(Fault("data", f"a scan with {found}", "one with a pulse"))
    if scan.protocol.sweep is not None:
        faults.append(Fault("data", "a scan with a sweep", "one whose points start at a named state"))
    at, ran = settled_points(dataset)
    columns = _columns(dataset, scan, at)
    if "initial" not in columns:
        faults.append(Fault("data", "initial states as numbers", "named ones, at which the population rests"))
    if faults:
        raise ScanError(faults)
    start = _start_on(scan, columns).reshape(at.shape)
    protocol = scan.protocol
    end = protocol.base * (protocol.transient_steps + protocol.window_steps)
    over = (columns["drive_start"] + columns["drive_length"] <= end).reshape(at.shape)
    known = ran.values & (at.values >= 0) & (start >= 0) & over
    switched = np.where(known, start != at.values, -1)
    equilibria = {k: dataset["settled_on"].attrs[k] for k in ("flag_values", "flag_meanings")}
    variables = {
        "start_on": (start, {"long_name": "equilibrium before the pulse"} | equilibria),
        "end_on": (at.values, {"long_name": "equilibrium after the pulse"} | equilibria),
        "switched": (
            switched,
            {"long_name": "whether the pulse has switched the population"} | flags(SWITCHES),
        ),
    }
    result = xr.Dataset(
        {name: (at.dims, values.astype(np.int8), told) for name, (values, told) in variables.items()},
        at.coords,
    )
    return result.assign_attrs(origin_of(dataset))


def _start_on(scan: Scan, columns: Mapping[str, Array]) -> Array:
    """Return which of the equilibria without the drive a named state is, -1 where there is none."""
    rates = Rest.of(scan.mean_field, columns).rates
    place = np.full(len(rates), -1)
    for name in np.unique(columns["initial"]):
        rate = NAMED_STATES[str(name)](rates)
        there = (columns["initial"] == name) & np.isfinite(rate)
        place[there] = np.argmax(rates[there] == rate[there, None], axis=1)
    return place


def _columns(dataset: xr.Dataset, scan: Scan, like: xr.DataArray) -> dict[str, Array]:
    """Return every parameter at each point of a dataset, in C order, from its coordinates and its scan."""
    first = scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes))
    varied = {name: axis.name for axis in scan.axes.values() for name in axis.columns}
    lost = [name for name in varied if name not in dataset.coords]
    if lost:
        hint = "select with drop=False, so that the dataset tells where it was taken"
        raise ScanError(
            [
                Fault("data", f"no coordinate {name}", f"that of the axis {varied[name]}", hint)
                for name in lost
            ]
        )
    columns = {}
    for name, value in first.items():
        given = dataset.coords[name] if name in dataset.coords else xr.DataArray(value[0])
        # A store gives texts in a type of their own.
        whole = given.broadcast_like(like).transpose(*like.dims).values.ravel()
        columns[name] = np.array(whole.tolist()) if value.dtype.kind == "U" else whole
    return columns
