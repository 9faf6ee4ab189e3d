"""Which attractor the points of a finished scan go to: hysteresis, basins, tipping, response to pulses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.axes import locate, number
from qifscan.catalogue import model_named
from qifscan.drive import Pulse
from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.initial import NAMED_STATES
from qifscan.lazy import LazyModule
from qifscan.observables import Status
from qifscan.place import local
from qifscan.rest import Rest
from qifscan.scan import Scan
from qifscan.store import read

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

Array = np.ndarray[Any, Any]

APART = 0.01
"""Relative distance of two runs that are at different states: at one of them each is within the tolerance,
1e-3 by default."""

DOUBTFUL = int(Status.diverged | Status.under_resolved | Status.not_settled)

LOOPS = {-1: "unknown", 0: "none", 1: "closed", 2: "open", 3: "several"}
SWITCHES = {-1: "unknown", 0: "stayed", 1: "switched"}


def opened(data: xr.Dataset | str | os.PathLike[str]) -> tuple[xr.Dataset, Scan]:
    """Return a dataset of `run` or `open_scan`, or that of a store, and its scan.

    A status that a step of xarray made float, such as `where`, is taken back to integers, NaN to "not run".
    Raises `ScanError` for a dataset that is not of a scan, has no status, or whose points are averages.
    """
    dataset: Any = read(local("data", data)) if isinstance(data, (str, os.PathLike)) else data
    if not isinstance(dataset, xr.Dataset) or "qifscan_scan" not in dataset.attrs:
        expected = "a dataset of qifscan.run or qifscan.open_scan, with its attributes"
        raise ScanError([Fault("data", f"a {type(dataset).__name__} without a scan", expected)])
    scan = Scan.from_json(dataset.attrs["qifscan_scan"])
    if "status" not in dataset.data_vars:
        hint = 'select several variables with it: dataset[["r_mean", "status"]]'
        raise ScanError([Fault("data", "no status", "a dataset with its status", hint)])
    if dataset.status.dtype.kind in "iu":
        return dataset, scan
    return _in_integers(dataset, scan), scan


def _in_integers(dataset: xr.Dataset, scan: Scan) -> xr.Dataset:
    """Return a dataset with its flags as integers; raise `ScanError` where points are no longer those that
    were run."""
    hint = "give the points themselves, and average what comes of them"
    lost = [name for name in scan.sizes if not _has_axis(dataset, scan, name)]
    if lost:
        found = f"a mean over {lost[0]}, or another dimension of that name"
        raise ScanError([Fault("data", found, "points that were run", hint)])
    between = [name for name in scan.sizes if not _is_on_axis(dataset, scan, name)]
    status = dataset["status"].fillna(0)
    if between or not bool((status == np.round(status)).all()):
        found = f"values of {between[0]} that were not run" if between else "a status that is a mean"
        raise ScanError([Fault("data", found, "points that were run", hint)])
    flags = {"status": status.astype(np.uint8)}
    if "settled_on" in dataset:
        flags["settled_on"] = dataset["settled_on"].fillna(-1).astype(np.int8)
    told = {name: values.assign_attrs(dataset[name].attrs) for name, values in flags.items()}
    return dataset.assign(told)


def _has_axis(dataset: xr.Dataset, scan: Scan, name: str) -> bool:
    names = {name, *(scan.axes[name].columns if name in scan.axes else ())}
    return bool(names & {*map(str, dataset.dims), *map(str, dataset.coords)})


def _is_on_axis(dataset: xr.Dataset, scan: Scan, name: str) -> bool:
    """Whether the values of a coordinate are those of the scan's axis."""
    if name not in dataset.coords:
        return True
    labels = scan.axes[name].labels if name in scan.axes else np.arange(scan.replicates)
    return bool(np.isin(dataset[name].values.tolist(), labels.tolist()).all())


def check_share(where: str, value: Any) -> None:
    """Raise `ScanError` unless this is a number between 0 and 1, neither included."""
    share = number(value)
    if share is None or not 0.0 < share < 1.0:
        raise ScanError([Fault(where, show(value), "a number between 0 and 1")])


def names_of(where: str, given: Any) -> list[str]:
    """Return the names of dimensions that are given as a name or several."""
    if isinstance(given, str):
        return [given]
    names = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(name, str) for name in names):
        raise ScanError([Fault(where, show(given), "a name of a dimension, or a list of them")])
    return names


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
    """
    dataset, scan = opened(data)
    own = [name for name in scan.observables if name in dataset.data_vars]
    name, swept = observable or next(iter(own), scan.observables[0]), scan.protocol.sweep
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
    found["difference"] = _told(up - down, f"{name} of the run up minus that of the run down", unit)
    found["bistable"] = _told(two & sound, "the two directions are at different states")
    found["area"] = _told(area, f"area of the loop of {name} over {swept}")
    found["doubtful_count"] = _told(
        doubtful.sum((swept, "direction")), "points that diverged, are under-resolved or did not settle", "1"
    )
    return found.assign_attrs(_origin(dataset, observable=name, apart=apart))


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
    """
    dataset, scan = opened(data)
    dims = _start_dims(dataset, scan, over)
    if confidence is not None:
        check_share("confidence", confidence)
    at, ran = _settled(dataset)
    starts = ran.sum(dims)
    places = _equilibria(dataset)
    share = (at == places).sum(dims) / starts.where(starts > 0)
    unsettled = (ran & (at < 0)).sum(dims) / starts.where(starts > 0)
    result = xr.Dataset(
        {
            "fraction": _told(share, "share of the initial states that go to the equilibrium", "1"),
            "unsettled_fraction": _told(unsettled, "share that is at no stable equilibrium in the end", "1"),
            "starts": _told(starts, "initial states that have been run", "1"),
            "not_run": _told((~ran).sum(dims), "initial states that have not been run", "1"),
        }
    )
    if confidence is not None:
        low, high = _wilson(share, starts, confidence)
        result["fraction_low"] = _told(low, "lower end of the confidence interval of the share", "1")
        result["fraction_high"] = _told(high, "upper end of the confidence interval of the share", "1")
    return result.transpose(..., "equilibrium").assign_attrs(
        _origin(dataset, over=", ".join(dims), confidence=confidence)
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
    """
    dataset, scan = opened(data)
    dims = _start_dims(dataset, scan, over)
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
    at, ran = _settled(dataset)
    before, after = (at.isel({name: place}, drop=True) for place in at_values)
    first, second = (ran.isel({name: place}, drop=True) for place in at_values)
    ran = first & second
    places = _equilibria(dataset)
    there = ran & (before == places)
    count = there.sum(dims)
    later = places.rename(equilibrium="equilibrium_after")
    some = count.where(count > 0)
    result = xr.Dataset(
        {
            "probability": _told(
                (there & (after == later)).sum(dims) / some, "probability of the tipping", "1"
            ),
            "unsettled": _told((there & (after < 0)).sum(dims) / some, "share that does not settle", "1"),
            "starts": _told(count, "initial states in the basin before the change", "1"),
        }
    )
    result = result.transpose(..., "equilibrium", "equilibrium_after")
    return result.assign_attrs(_origin(dataset, change=f"{name}: {show(values[0])} to {show(values[1])}"))


def _places(dataset: xr.Dataset, change: Mapping[str, Any], faults: list[Fault]) -> list[int]:
    """Return where the values of a change are along its dimension; faults are added to the list."""
    labels = {name: dataset[name].values for name in change}
    named = [{name: value} for name, values in change.items() for value in np.asarray(values).tolist()]
    return [place for point in named for place in locate("change", point, labels, faults).values()]


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
    """
    dataset, scan = opened(data)
    faults = []
    if not isinstance(scan.drive, Pulse):
        found = "no drive" if scan.drive is None else f"the drive {show(scan.drive.kind)}"
        faults.append(Fault("data", f"a scan with {found}", "one with a pulse"))
    if scan.protocol.sweep is not None:
        faults.append(Fault("data", "a scan with a sweep", "one whose points start at a named state"))
    at, ran = _settled(dataset)
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
    return result.assign_attrs(_origin(dataset))


def _start_on(scan: Scan, columns: Mapping[str, Array]) -> Array:
    """Return which of the equilibria without the drive a named state is, -1 where there is none."""
    rates = Rest.of(model_named(scan.model), columns).rates
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


def _settled(dataset: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the stable equilibrium that each point is at in the end, -1 for none; and which were run."""
    if "settled_on" not in dataset:
        hint = "it is there without noise, and with an input that ends constant"
        raise ScanError([Fault("data", "no settled_on", "a scan whose points can come to rest", hint)])
    chosen = dataset[["settled_on", "status"]].compute()
    ran = chosen["status"] > 0
    return chosen["settled_on"].where((chosen["status"] & DOUBTFUL) == 0, -1).where(ran, -1), ran


def _equilibria(dataset: xr.Dataset) -> xr.DataArray:
    """Return the equilibria that points can settle on, as a coordinate."""
    told = dataset["settled_on"].attrs
    names = dict(zip(np.asarray(told["flag_values"]).tolist(), told["flag_meanings"].split(), strict=True))
    places = [value for value in names if value >= 0]
    attributes = {"long_name": f"equilibrium: {', '.join(f'{k} {names[k]}' for k in places)}"}
    return xr.DataArray(places, dims="equilibrium", coords={"equilibrium": places}).assign_coords(
        equilibrium=("equilibrium", places, attributes)
    )


def _start_dims(dataset: xr.Dataset, scan: Scan, over: Sequence[str] | None) -> list[str]:
    """Return the dimensions along which initial states lie."""
    known = [str(dim) for dim in dataset.dims]
    if over is not None:
        names = names_of("over", over)
        faults = [unknown("over", name, known, "dimension") for name in names if name not in known]
    else:
        starts = [axis.name for axis in scan.axes.values() if any(_is_start(name) for name in axis.columns)]
        names = [name for name in (*starts, "replicate") if name in known]
        hint = "make r_initial and v_initial axes, or name the dimensions"
        faults = [] if names else [Fault("over", "no dimension of initial states", "at least one", hint)]
    if faults:
        raise ScanError(faults)
    return names


def _is_start(name: str) -> bool:
    return name == "initial" or name.endswith("_initial")


def flags(meanings: Mapping[int, str]) -> dict[str, Any]:
    """Return the attributes of a CF flag variable."""
    return {
        "flag_values": np.array(list(meanings), dtype=np.int8),
        "flag_meanings": " ".join(meanings.values()),
    }


def _told(values: xr.DataArray, long_name: str, units: str | None = None) -> xr.DataArray:
    values.attrs = {"long_name": long_name} | ({} if units is None else {"units": units})
    return values


def _origin(dataset: xr.Dataset, **details: Any) -> dict[str, Any]:
    """Return the attributes that tell what a result was made of."""
    told: Iterable[tuple[str, Any]] = (
        ("title", dataset.attrs.get("title")),
        ("references", dataset.attrs.get("references")),
        ("fingerprint", dataset.attrs.get("qifscan_fingerprint")),
        *details.items(),
    )
    return {name: value for name, value in told if value is not None}
