"""The theory of a scan: every equilibrium on the scan's axes, and every special point along them.

The dimensions are those axes of the scan that hold parameters of its model. Noise is taken at the mean that
the scan fixes for it, and a constant drive at its amplitude; other drives are left out. What is too much to
hold, and what theory does not know, is left out too, and said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.model import Model
from qifscan.dynamics.models import FAMILY
from qifscan.errors import Fault, ScanError, counted, one_of
from qifscan.lazy import LazyModule
from qifscan.scan.axes import Axis
from qifscan.scan.effective import effective, known_axes
from qifscan.scan.scan import Scan
from qifscan.theory import equilibria, special_points
from qifscan.theory.rate_curve import degree_in

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

Array = np.ndarray[Any, Any]

EQUILIBRIA = "equilibria"

_ALONG = "along_"
"""Before the names of dimensions while theory is computed: its parameters may differ from the labels there by
what the inputs add to them."""


@dataclass(frozen=True)
class Limits:
    """The most points of the grid, slices with special points along a parameter, and slices along two."""

    points: int
    slices: int
    planes: int


AFTER_A_RUN = Limits(1 << 16, 1 << 9, 1)
"""What costs less than a second after a run."""

BY_ITSELF = Limits(1 << 18, 1 << 16, 64)
"""What fits into a few hundred MB of memory."""


@dataclass(frozen=True)
class Atlas:
    """The theory of a scan: its datasets by name, and one line for everything that is left out."""

    scan: Scan
    datasets: dict[str, xr.Dataset]
    left_out: tuple[str, ...]

    @property
    def attributes(self) -> dict[str, Any]:
        """What the group of the datasets tells of itself."""
        model = self.scan.mean_field
        return {
            "title": f"theory of {self.scan.title or f'a scan of {model.name}'}",
            "references": model.reference,
            "qifscan_scan": self.scan.to_json(),
            "left_out": "; ".join(self.left_out),
        }


def atlas(scan: Scan, limits: Limits = BY_ITSELF) -> Atlas:
    """Return the theory of a scan, within limits.

    `equilibria` is as `qifscan.equilibria` gives it. Along every parameter that has an axis of its own, and
    along the model's graph parameter together with each of the others, the special points of every slice are
    as `qifscan.special_points` gives them: `along_eta`, `along_eta_J`. They are not cut off at the ends of
    the axis. Raises nothing: what can't be computed is left out, and said.
    """
    model = scan.mean_field
    axes = known_axes(scan)
    left_out = [_not_known(scan, name) for name in scan.sizes if name not in axes]
    if model.rest is None:
        return Atlas(scan, {}, (f"all: {model.name} is no graph over the rate", *left_out))
    if scan.drive is not None and not scan.drive.steady:
        left_out.append(f"the drive: theory is that without the {scan.drive.kind}")
    datasets = {}
    for name, size, most, make in _parts(scan, model, axes, limits):
        if size > most:
            left_out.append(
                f"{name}: {size:,} {'points' if name == EQUILIBRIA else 'slices'}, more than {most:,}"
            )
            continue
        try:
            datasets[name] = make()
        except (ArithmeticError, ValueError) as error:  # of a scan that ran, or of a user's model
            left_out.append(f"{name}: {str(error).splitlines()[0]}")
    return Atlas(scan, datasets, tuple(left_out))


def after_a_run(scan: Scan) -> Atlas:
    """Return the theory that a run adds to its store."""
    return atlas(scan, AFTER_A_RUN)


def check(scan: Scan) -> None:
    """Raise `ScanError` where a scan has no theory, or none that depends on its axes."""
    model = scan.mean_field
    if model.rest is None:
        hint = "qs.equilibria looks for its equilibria"
        raise ScanError([Fault("model", f'"{scan.model}", no graph over the rate', one_of(FAMILY), hint)])
    if not known_axes(scan):
        names = [parameter.name for parameter in model.parameters]
        found = f"axes of {', '.join(scan.axes)}" if scan.axes else "no axes"
        raise ScanError([Fault("axes", found, f"at least one of {', '.join(names)}")])


def _not_known(scan: Scan, name: str) -> str:
    """Return why theory does not depend on a dimension of the scan."""
    if name == "replicate":
        return "replicate: theory is the same for all"
    inputs = (
        ("_ou_mean", "drive_amplitude") if scan.drive is not None and scan.drive.steady else ("_ou_mean",)
    )
    moving = [column for column in scan.axes[name].columns if column.endswith(inputs)]
    values = {column: scan.fixed.get(column, scan.parameters[column].default or 0.0) for column in moving}
    at = ", ".join(f"{column} = {value:g}" for column, value in values.items())
    return f"{name}: no parameter of the model{f'; theory is that at {at}' if at else ''}"


Part = tuple[str, int, int, Any]


def _parts(scan: Scan, model: Model, axes: Mapping[str, Axis], limits: Limits) -> Iterator[Part]:
    """Return what there is to compute: its name, its size, the most that it may have, and the function."""
    whole = math.prod(len(axis) for axis in axes.values())
    # The roots of a characteristic equation with a delay take sixteen times as long as eigenvalues.
    points = limits.points // 16 if model.delay else limits.points
    yield EQUILIBRIA, whole, points, lambda: _equilibria(scan, model, axes)
    able = [n for n in axes if n == model.graph or degree_in(model, n) in (1, 2)] if axes else []
    able = [name for name in able if not axes[name].zipped]
    for name in able:
        yield (
            f"{_ALONG}{name}",
            whole // len(axes[name]),
            limits.slices,
            lambda name=name: _special_points(scan, model, axes, (name,)),
        )
    for name in able if model.graph in able else []:
        if name != model.graph:
            yield (
                f"{_ALONG}{model.graph}_{name}",
                whole // len(axes[name]) // len(axes[model.graph]),
                limits.planes,
                lambda name=name: _special_points(scan, model, axes, (model.graph, name)),
            )


def _parameters(scan: Scan, axes: Mapping[str, Axis]) -> dict[str, Any]:
    """Return the scan's parameters along its axes, as arrays with dimensions of other names."""
    given: dict[str, Any] = {name: scan.fixed.get(name, row.default) for name, row in scan.parameters.items()}
    given = {name: value for name, value in given.items() if value is not None}
    for axis in axes.values():
        given |= {
            name: xr.DataArray(values, dims=_ALONG + axis.name) for name, values in axis.columns.items()
        }
    return given


def _equilibria(scan: Scan, model: Model, axes: Mapping[str, Axis]) -> xr.Dataset:
    found = equilibria.equilibria(scan.model, **effective(scan, _parameters(scan, axes)))
    return _labelled(scan, model, axes, found)


def _special_points(scan: Scan, model: Model, axes: Mapping[str, Axis], along: tuple[str, ...]) -> xr.Dataset:
    given = _parameters(scan, {name: axis for name, axis in axes.items() if name not in along})
    own = dict.fromkeys(along, 1.0)
    slices = effective(scan, given | own)
    added = {name: slices.pop(name) - own[name] for name in along}
    varied = along[0] if len(along) == 1 else along
    found = special_points.special_points(scan.model, varied, **slices)
    for name, more in added.items():
        # The parameter that is solved for came out with the inputs in it: take them off.
        whole = xr.DataArray(more).broadcast_like(found["row_size"]).transpose(*found["row_size"].dims)
        values = found[name] - whole.values.ravel()[found["slice"].values]
        found[name] = values.assign_attrs(found[name].attrs)
    return _labelled(scan, model, {n: axis for n, axis in axes.items() if n not in along}, found)


def _labelled(scan: Scan, model: Model, axes: Mapping[str, Axis], found: xr.Dataset) -> xr.Dataset:
    """Return a dataset under the names and the values that the axes have in the scan."""
    names = [p.name for p in model.parameters if p.name in found.coords]
    told = {name: found.coords[name].attrs for name in names}
    bare = found.drop_vars(names).rename(
        {_ALONG + name: name for name in axes if _ALONG + name in found.dims}
    )
    bare = bare.transpose(*[name for name in axes if name in bare.dims], ...)
    coords: dict[str, Any] = {}
    for axis in axes.values():
        coords |= {axis.name: (axis.name, axis.labels, {"long_name": "number of the parameter set"})}
        coords |= {n: (axis.name, values, told.get(n, {})) for n, values in axis.columns.items()}
    fixed = [name for name in names if name not in coords]
    given = _parameters(scan, {})
    coords |= {name: ((), given[name], told[name]) for name in fixed}
    return bare.assign_coords(coords)


# What it says in short


def summary(found: Atlas) -> list[str]:
    """Return a few lines: how many equilibria, where they are stable, and how many special points."""
    lines = [f"model         {found.scan.model}"]
    for name, dataset in found.datasets.items():
        lines += _of_equilibria(dataset) if name == EQUILIBRIA else [_of_points(found.scan, name, dataset)]
    return lines + [f"left out      {line}" for line in found.left_out]


def _of_equilibria(dataset: xr.Dataset) -> list[str]:
    dims = " x ".join(f"{d} {n}" for d, n in dataset["count"].sizes.items())
    stable = dataset["stable"].sum("equilibrium")
    lines = [f"equilibria    {counted(dataset['count'].size, 'point')} ({dims})"]
    words = {0: "none", 1: "one", 2: "two (bistable)"}
    for count in np.unique(stable.values).tolist():
        there = stable == count
        told = words.get(count, str(count))
        lines.append(f"stable        {told} at {int(there.sum()):,}: {_ranges(there)}")
    bare = int((dataset["count"] == 0).sum())
    return lines + ([f"without       any equilibrium: {counted(bare, 'point')}"] if bare else [])


def _ranges(there: xr.DataArray) -> str:
    """Return the least and the greatest value of every axis at which something is."""
    told = []
    for dim in there.dims:
        some = there[dim].values[there.any([d for d in there.dims if d != dim]).values]
        told.append(f"{dim} {some.min():.4g} to {some.max():.4g}")
    return ", ".join(told)


def _of_points(scan: Scan, name: str, dataset: xr.Dataset) -> str:
    """Return how many points of each type there are between the ends of the axes."""
    along = [p for p in known_axes(scan) if p in dataset.data_vars]
    inside = np.ones(dataset.sizes["point"], dtype=bool)
    for parameter in along:
        labels, values = scan.axes[parameter].labels, dataset[parameter].values
        inside &= (values >= labels.min()) & (values <= labels.max())
    words = dataset["type"].attrs
    names = dict(zip(np.asarray(words["flag_values"]).tolist(), words["flag_meanings"].split(), strict=True))
    types, counts = np.unique(dataset["type"].values[inside], return_counts=True)
    told = [f"{count:,} {names[code]}" for code, count in zip(types.tolist(), counts.tolist(), strict=True)]
    told = [text for text in told if not text.endswith("NSA")]
    bare = int((dataset["status"] > 0).sum())
    more = f"; {counted(bare, 'slice')} without an equilibrium" if bare else ""
    slices = counted(dataset["row_size"].size, "slice")
    return (
        f"{'along ' + ', '.join(along):13} {slices}: {', '.join(told) or 'no special point'} in range{more}"
    )
