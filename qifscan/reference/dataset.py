"""What a run of a population gives, as a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import __version__
from qifscan.arrays import Column as Array
from qifscan.dynamics.status import Status
from qifscan.lazy import LazyModule
from qifscan.reference.stepping import MODEL, PARAMETERS

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.reference.population import QIF
else:
    xr = LazyModule("xarray")


def as_dataset(population: QIF, times: Array, record: Array) -> xr.Dataset:
    """Return a record, `(rows, 2, *shape)`, as a dataset with the status of now."""
    axes = (
        [f"population_{i}" for i in range(len(population.varshape))]
        if population.keep_size
        else ["population"]
    )
    dims = (["batch"] if population.batch_size else []) + axes
    varying = {k: v for k, v in population.parameters.items() if np.any(v != v.flat[0])}
    told = {k: (axes, v, {"units": PARAMETERS[k].unit}) for k, v in varying.items()}
    time = ("time", times, {"units": "ms", "long_name": "time since the last reset"})
    variables: dict[str, Any] = {
        v.name: (
            [*dims, "time"],
            np.moveaxis(record[:, i], 0, -1),
            {"units": v.unit, "long_name": v.meaning},
        )
        for i, v in enumerate(MODEL.variables)
    }
    flags = {
        "flag_masks": [int(f) for f in Status],
        "flag_meanings": " ".join(str(f.name) for f in Status),
    }
    error = {"units": "1", "long_name": "estimated relative error of the state from the size of the step"}
    variables |= {
        "status": (dims, population.status, flags),
        "error_estimate": (dims, population.error_estimate, error),
    }
    attributes: dict[str, Any] = {
        k: float(v.flat[0]) for k, v in population.parameters.items() if k not in varying
    }
    attributes |= {"model": MODEL.name, "reference": MODEL.reference, "qifscan": __version__}
    attributes |= {"method": population.method, "dt": population.dt, "seed": population.seed}
    return xr.Dataset(variables, coords={**told, "time": time}, attrs=attributes)
