"""The scan of a dataset as it is now, after ordinary steps of xarray: what its coordinates say goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.scan.axes import Axis
from qifscan.scan.scan import Scan

if TYPE_CHECKING:
    import xarray as xr


def described(dataset: xr.Dataset, scan: Scan) -> tuple[Scan, tuple[str, ...]]:
    """Return the scan with the axes and fixed values that the dataset has, and what is no longer known.

    A dimension has the parameters whose coordinates lie along it alone. A parameter on a scalar coordinate is
    fixed there. Axes are in the order of the scan, whatever steps came between. What was an axis of the scan
    and has no coordinate left, or lies along several dimensions, is not known.
    """
    names = [*scan.parameters, "initial", "direction"]
    axes: dict[str, Axis] = {}
    order = list(scan.axes)
    for dim in sorted(map(str, dataset.dims), key=lambda d: order.index(d) if d in order else len(order)):
        if dim == "replicate":
            continue
        own = {
            n: dataset.coords[n].values
            for n in names
            if n in dataset.coords and dataset.coords[n].dims == (dim,)
        }
        label = dataset.coords[dim].values if dim in dataset.coords else np.arange(dataset.sizes[dim])
        axes[dim] = Axis(dim, {n: _plain(x) for n, x in (own or {dim: label}).items()})
    scalars = {
        n: dataset.coords[n].item() for n in names if n in dataset.coords and not dataset.coords[n].dims
    }
    fixed = {**scan.fixed, **{n: x for n, x in scalars.items() if not isinstance(x, str)}}
    moved = {name for axis in scan.axes.values() for name in axis.columns}
    moved |= {n for n in names if n in dataset.coords and dataset.coords[n].ndim > 1}
    had = {name for axis in axes.values() for name in axis.columns} | set(scalars)
    count = int(dataset.sizes.get("replicate", 1))
    return scan.model_copy(update={"axes": axes, "fixed": fixed, "replicates": count}), tuple(
        sorted(moved - had)
    )


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return labels as an axis has them: a store gives texts in a type of their own."""
    return np.array(values.tolist()) if values.dtype.kind in "OT" else np.array(values)
