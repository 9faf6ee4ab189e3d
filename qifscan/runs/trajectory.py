"""Whole trajectories: of any parameters (`simulate`), or of a point of a store (`replay`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.drive import DriveBase
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_named
from qifscan.dynamics.status import Status
from qifscan.engine import backend, chunk_work
from qifscan.engine.measured import Measured
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape
from qifscan.errors import Fault, ScanError, StoreError, check_count, show
from qifscan.lazy import LazyModule
from qifscan.place import located
from qifscan.scan.checks import check_precision
from qifscan.scan.labels import labelled
from qifscan.scan.protocol import Protocol
from qifscan.scan.scan import Scan
from qifscan.store import layout, store
from qifscan.store.store import Store
from qifscan.store.values import read_points

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


def simulate(
    model: str = "qif",
    *,
    t_end: float,
    dt: float | str = "auto",
    every: int = 1,
    initial: str | dict[str, float] = "rest",
    drive: DriveBase | None = None,
    integrator: str = "auto",
    replicates: int = 1,
    seed: int = 0,
    noise: str = "independent",
    precision: str = "float64",
    **parameters: Any,
) -> xr.Dataset:
    """Simulate trajectories without a scan.

    Of the plain model, `tau r' = delta/(pi tau) + 2 r v + z_r`,
    `tau v' = v^2 + eta + I(t) + J tau r - (pi tau r)^2 + z_v` (Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028
    (2015), eq. 12), z the Ornstein-Uhlenbeck noise; `qifscan.models()` has the equations of all.

    Parameters
    ----------
    model
        Name of the model, or "package.module:variable" for one of your own.
    t_end, dt
        Length of the run and of a step, ms; with `dt="auto"` each trajectory has the step that it needs.
    every
        Keep every so many steps (of 0.05 ms with `dt="auto"`).
    initial
        "rest", "down", "up", or a number for every variable, as in `Protocol`.
    drive
        The input current, or None.
    integrator
        "riccati", "rk4", "heun", "euler", "exp_auto", or "auto": the first of these that the model has.
    replicates
        Trajectories of each point, with noise of their own: the last dimension before `time`, if several.
    seed
        Seed of the noise; a point has the same path here as in a scan of that seed, and so has its replicate.
    noise
        "independent": every point has a path of its own. "common": those of one replicate share it.
    precision
        "float64" or "float32".
    **parameters
        Parameters of the model (`tau`, `eta`, `delta`, `J`), the noise's `v_ou_sigma` ..., the drive's
        `drive_<number>`, initial values `r_initial`, `v_initial`: numbers, 1-D arrays (each a dimension of
        its own) or DataArrays; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        Every variable of the model, such as `r` (1/ms) and `v`, with the dimensions of the parameters,
        `replicate` and `time` (ms), and `status`: without noise `under_resolved` is a trajectory that at any
        time that is kept is further from one of a finer step than the tolerance.

    Raises
    ------
    ScanError
        If anything in the request is wrong; one line for every mistake.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.simulate(eta=[-6.0, -4.0], t_end=20.0)
    >>> dict(found["r"].sizes)
    {'eta': 2, 'time': 401}
    >>> found["r"].isel(time=-1).values.round(4)
    array([0.0713, 0.0983])
    """
    check_count("every", every)
    values = labelled(parameters)
    template = next(iter(values.values())) if values else xr.DataArray(0.0)
    points = {name: value.values.ravel() for name, value in values.items()}
    check_count("replicates", replicates)
    if replicates > 1 and "replicate" in template.dims:
        raise ScanError([Fault("replicates", show(replicates), "1", "a parameter has a dimension replicate")])
    with _faults_at_arguments():
        rate = model_named(model).rates[0].name
        protocol = Protocol(transient=0.0, window=t_end, dt=dt, initial=initial, integrator=integrator)
        scan = Scan(
            model=model,
            drive=drive,
            protocol=protocol,
            points=_distinct(points, template.size),
            fixed={name: float(column[0]) for name, column in points.items() if template.size == 1},
            replicates=replicates,
            seed=seed,
            noise=noise,
            precision=precision,
            observables=[f"{rate}_final"],
        )
        check_precision(scan)
    points = {name: np.repeat(column, replicates) for name, column in points.items()}
    if replicates > 1:
        template = template.expand_dims(replicate=np.arange(replicates), axis=-1)
    columns = _all_columns(scan, points, template.size)
    chosen = replace(Points.at(scan, columns, np.arange(template.size) % replicates), told=True)
    protocol = scan.protocol
    result = run_points(chosen, Schedule.of(protocol, every), batch_shape(template.size))
    made = _dataset(scan.mean_field, result, template, protocol, every, scan)
    return _with_fixed(made, scan, columns)


def _with_fixed(dataset: xr.Dataset, scan: Scan, columns: Mapping[str, Any]) -> xr.Dataset:
    """Return a dataset with what is one number at every point as scalar coordinates, as a scan has it."""
    fixed = {
        name: ((), column[0], layout.parameter_attributes(scan, name))
        for name, column in columns.items()
        if name not in dataset.coords and (column == column[0]).all()
    }
    return dataset.assign_coords(fixed)


@contextmanager
def _faults_at_arguments() -> Iterator[None]:
    """Place each mistake at the argument that holds it, not at the part of a scan that it became."""
    try:
        yield
    except ScanError as error:
        places = [re.sub(r"^(fixed|points|protocol)\.", "", fault.where) for fault in error.faults]
        raise ScanError(
            replace(fault, where="t_end" if place == "window" else place)
            for fault, place in zip(error.faults, places, strict=True)
        ) from None


def _distinct(points: dict[str, Any], size: int) -> dict[str, Any] | None:
    """Return the points as columns of a scan, each once: a scan refuses what is asked for twice."""
    if size == 1 or not points:
        return None
    rows = np.unique(np.stack(list(points.values()), axis=1), axis=0)
    return dict(zip(points, rows.T, strict=True))


def _all_columns(scan: Scan, points: dict[str, Any], size: int) -> dict[str, Any]:
    every = {
        name: np.repeat(column[:1], size) for name, column in scan.columns((np.zeros(1, dtype=int),)).items()
    }
    return every | {name: np.ascontiguousarray(column) for name, column in points.items()}


def _dataset(
    model: Model, result: Measured, template: Any, protocol: Protocol, every: int, scan: Scan
) -> xr.Dataset:
    assert result.record is not None
    times = np.arange(result.record.shape[1]) * every * protocol.base
    dims, shape = template.dims, template.shape
    variables = {
        v.name: (
            (*dims, "time"),
            result.record[..., i].reshape(*shape, -1),
            {"units": v.unit, "long_name": v.meaning},
        )
        for i, v in enumerate(model.variables)
    }
    status = (
        dims,
        result.status.reshape(shape),
        {"flag_masks": [int(f) for f in Status], "flag_meanings": " ".join(str(f.name) for f in Status)},
    )
    time = ("time", times, {"units": "ms", "long_name": "time from the start of the run"})
    attributes = {"model": model.name, "reference": model.reference, "protocol": protocol.model_dump_json()}
    return xr.Dataset(
        {**variables, "status": status}, coords={**template.coords, "time": time}, attrs=attributes
    )


def replay(
    path: str | os.PathLike[str], *, every: int = 1, method: str | None = None, **labels: Any
) -> xr.Dataset:
    """Run one point of a stored scan again, keep its whole trajectory, and compare it with what was stored.

    Parameters
    ----------
    path
        The store.
    every
        Keep every so many steps.
    method
        None: values of the axes. "nearest": the point nearest to the given numbers, between the ends of the
        axes.
    **labels
        The value on every axis of the scan (and `replicate`), e.g. `eta=-5.0, J=15.0`.

    Returns
    -------
    xarray.Dataset
        Every variable of the model, such as `r` and `v`, over `time` (ms from the start of the run), the
        observables and `status` of the point, and in the attributes `checked`: "equal bit for bit" or "not
        run yet".

    Raises
    ------
    ScanError
        If the labels don't name exactly one point of the scan.
    StoreError
        If the store can't be read, or if an observable differs in any bit from the stored one.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> made = qs.run(scan, "replayed.zarr", client="serial")
    >>> qs.replay("replayed.zarr", eta=-4.0).attrs["checked"]
    'equal bit for bit'
    """
    check_count("every", every)
    opened = store.load(located("path", path))
    scan = opened.scan
    chosen = scan.select(method=method, **labels)
    if len(chosen) != 1:
        missing = ", ".join(name for name in scan.sizes if name not in labels)
        raise ScanError([Fault("point", f"{len(chosen)} points", "one point", f"give a value for {missing}")])
    index = tuple(np.array([i]) for i in chosen[0])
    protocol = scan.protocol
    chosen_point = chunk_work.started(scan, index or (np.zeros(1, dtype=int),))
    result = run_points(chosen_point, Schedule.of(protocol, every), batch_shape(1))
    dataset = _dataset(scan.mean_field, result, _point_template(scan, chosen[0]), protocol, every, scan)
    dataset = dataset.assign({name: value[0] for name, value in result.variables.items()})
    index_of = tuple(np.array([i]) for i in chosen[0]) or (np.zeros(1, dtype=int),)
    dataset = _with_fixed(dataset, scan, scan.columns(index_of[: len(scan.axes)] or index_of))
    return dataset.assign_attrs(checked=_compare(opened, index, result), fingerprint=scan.fingerprint)


def _point_template(scan: Scan, place: tuple[int, ...]) -> Any:
    coords: dict[str, Any] = {}
    for name, i in zip(scan.sizes, place, strict=True):
        columns = scan.axes[name].columns if name in scan.axes else {name: np.arange(scan.replicates)}
        coords |= {key: column[i] for key, column in columns.items()}
    return xr.DataArray(0.0, coords=coords).expand_dims("point").isel(point=0)


def _compare(opened: Store, index: tuple[Any, ...], result: Measured) -> str:
    """Return how the stored point compares; raise `StoreError` if it was run and differs."""
    stored = read_points(opened, dict(zip(opened.scan.sizes, index, strict=False)))
    if stored["status"][0] == 0:
        return "not run yet"
    for name, again in {**result.variables, "status": result.status}.items():
        if again.tobytes() != stored[name].tobytes():
            store.check_options(opened, backend.options())
            raise StoreError(
                f"{opened.path}: {name} of this point is stored as {stored[name][0]!r}, computed again as "
                f"{again[0]!r}; the store is damaged, or was made on another processor or version of jax"
            )
    return "equal bit for bit"
