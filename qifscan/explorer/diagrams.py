"""The exact diagram of a slice with the simulated values on it, and curves over the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import qifscan
from qifscan.errors import Fault, ScanError, is_range, show, unknown
from qifscan.explorer.place import Place, check_dims
from qifscan.plots.table import MARKS
from qifscan.theory.rate_curve import degree_in

if TYPE_CHECKING:
    from qifscan.explorer.source import Source
    from qifscan.scan.axes import Axis

Array = np.ndarray[Any, Any]

_FINE = 401
"""Values of an axis at which equilibria are drawn where they are on no branch."""

_SLICES = 257
"""Slices at which special points are drawn where they are on no curve."""

_SHOWN = ("mean", "min", "max", "final", "std")

WORDS = {
    "LP": "fold (saddle-node): two equilibria meet and are gone beyond it",
    "HB": "Hopf point: a pair of eigenvalues crosses the imaginary axis, a cycle is born",
    "CP": "cusp: two curves of folds meet, bistability ends",
    "BT": "Bogdanov-Takens: a curve of Hopf points ends on one of folds",
    "GH": "generalised Hopf: the Hopf point changes between soft and hard",
}

_NUMBERS = ("omega", "frequency", "period", "l1", "fold_coefficient", "residual")


def diagram(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return every equilibrium along an axis through a place, and the simulated values there.

    `along` is a dimension of the scan or a parameter of the model; `range` the ends, by default those of the
    axis; `variable` the one whose simulated values are sent, by default that of the rate.
    """
    place, along = Place.of(source, asked), str(asked.get("along"))
    axis = source.scan.axes.get(along)
    ends = _ends(axis, asked.get("range"))
    answer = {"along": along, "range": list(ends)}
    answer |= _simulated(source, place, along, str(asked.get("variable") or ""))
    parameter = next((p for p in source.model.parameters if p.name == along), None)
    if axis is not None and axis.zipped:
        return answer | _at_points(source, place, axis, axis.labels.astype(float), dict(axis.columns))
    if parameter is None:
        labels = None if axis is None or axis.labels.dtype.kind not in "iuf" else axis.labels.astype(float)
        return answer | _at_points(source, place, axis, labels, {along: labels})
    try:
        return answer | _branch(source, place, along, ends)
    except ScanError:
        fine = (
            np.geomspace(*ends, _FINE)
            if ends[0] > 0 and ends[1] > 50 * ends[0]
            else np.linspace(*ends, _FINE)
        )
        return answer | _at_points(source, place, axis, fine, {along: fine})


def _ends(axis: Axis | None, asked: Any) -> tuple[float, float]:
    if asked is not None:
        if not is_range(asked):
            raise ScanError([Fault("range", show(asked), "two ascending numbers")])
        return float(asked[0]), float(asked[1])
    if axis is None or axis.labels.dtype.kind not in "iuf":
        return 0.0, 1.0
    low, high = float(axis.labels.min()), float(axis.labels.max())
    return (low, high) if low < high else (low - 1.0, high + 1.0)


def _branch(source: Source, place: Place, along: str, ends: tuple[float, float]) -> dict[str, Any]:
    """Return the branch in order, with its special points."""
    given, shifts = _shifted(source, place, along)
    shift = shifts[along]
    found = qifscan.branch(source.scan.model, along, within=(ends[0] + shift, ends[1] + shift), **given)
    names = source.model.variable_names
    types = found["type"].values
    answer: dict[str, Any] = {
        "method": "branch",
        "across": found[along].values - shift,
        "states": np.stack([found[name].values for name in names]),
        "piece": found["piece"].values.astype(np.int32),
        "stable": found["stable"].values.astype(np.uint8),
        "marginal": (types != 0).astype(np.uint8),
        "special": _special(source, found, (along,), shifts),
    }
    return answer


def _shifted(source: Source, place: Place, *along: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the parameters of theory without those that vary, and what the inputs add to each of these.

    Raises `ScanError` where what an input does depends on a parameter that varies.
    """
    given = place.parameters(source)
    theory = place.theory(source)
    others = {name: value for name, value in theory.items() if name not in along}
    shifts = {name: float(theory[name] - given[name]) for name in along}
    moved = place.theory(source, **{name: np.asarray(given[name] + 1.0) for name in along})
    steady = all(np.isclose(moved[n] - given[n] - 1.0, shifts[n], rtol=0.0, atol=1e-9) for n in along)
    if not steady or any(moved[name] != value for name, value in others.items()):
        hint = "set the mean of the noise to 0"
        raise ScanError(
            [Fault(", ".join(along), "a mean input that depends on it", "one that does not", hint)]
        )
    return others, shifts


def _special(
    source: Source, found: Any, along: tuple[str, ...], shifts: Mapping[str, float]
) -> list[dict[str, Any]]:
    codes = found["type"]
    meanings = dict(
        zip(codes.attrs["flag_values"].tolist(), codes.attrs["flag_meanings"].split(), strict=True)
    )
    criticality = {1: "supercritical", 2: "subcritical"}
    rows = []
    for i in np.flatnonzero(codes.values != 0):
        name = meanings[int(codes.values[i])]
        if name not in MARKS:
            continue
        rows.append(
            {
                "type": name,
                "meaning": WORDS.get(name, name),
                "at": {n: float(found[n].values[i]) - shifts.get(n, 0.0) for n in along},
                "state": [float(found[n].values[i]) for n in source.model.variable_names],
                "numbers": {n: float(found[n].values[i]) for n in _NUMBERS if n in found},
                "criticality": criticality.get(int(found["criticality"].values[i])) if name == "HB" else None,
                "converged": bool(found["converged"].values[i]),
            }
        )
    return rows


def _at_points(
    source: Source, place: Place, axis: Axis | None, at: Array | None, columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the equilibria at values of an axis, as points."""
    if at is None:
        return {"method": "none", "special": []}
    import xarray as xr

    own = {n: np.asarray(v, dtype=float) for n, v in columns.items() if n in source.scan.parameters}
    arrays = place.theory(source, **own)
    size = len(at)
    given: dict[str, Any] = {
        n: xr.DataArray(np.broadcast_to(v, (size,)).astype(float), dims="along") for n, v in arrays.items()
    }
    found = qifscan.equilibria(source.scan.model, **given).transpose("equilibrium", "along", ...)
    names = source.model.variable_names
    there = np.isfinite(found[names[0]].values)
    across = np.broadcast_to(at, there.shape)
    return {
        "method": "points",
        "across": across[there].astype(np.float64),
        "states": np.stack([found[name].values[there] for name in names]),
        "stable": found["stable"].values[there].astype(np.uint8),
        "special": [],
    }


def _simulated(source: Source, place: Place, along: str, variable: str) -> dict[str, Any]:
    """Return the simulated values along an axis: those of every named start or direction, one beside the
    other, `(series, values)`."""
    if source.store is None or along not in source.scan.sizes or place.changed:
        return {"simulated": []}
    known = source.variables
    rate = source.model.rates[0].name
    own = variable.split("_")[0] if variable in known else rate
    own = own if own in source.model.variable_names else rate
    names = [n for n in (f"{own}_{kind}" for kind in _SHOWN) if n in known]
    apart = next((d for d in ("initial", "direction") if d in source.scan.sizes and d != along), None)
    others = {n: i for n, i in place.index.items() if n not in (along, apart)}
    axes = source.scan.axes
    labels = axes[along].labels if along in axes else np.arange(source.scan.sizes[along])
    at = labels if labels.dtype.kind in "iuf" else np.arange(len(labels))
    answer: dict[str, Any] = {"of": own, "labels": at.astype(np.float64)}
    order = (apart, along) if apart else (along,)
    for name in (*names, "status"):
        values = source.values(name, others).transpose(*order).values.reshape(-1, len(labels))
        short = "status" if name == "status" else name.removeprefix(f"{own}_")
        answer[f"simulated_{short}"] = values.astype(np.uint8 if name == "status" else np.float32)
    answer["simulated"] = [short for short in _SHOWN if f"simulated_{short}" in answer]
    answer["series"] = source.scan.axes[apart].labels.tolist() if apart else [""]
    return answer


# Over the map


def curves(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curves of folds or Hopf points over the plane of two axes.

    `kind` "LP" or "HB"; `x` and `y` the dimensions of the map. Where there is no such curve in these two
    parameters, the special points of many slices are returned as points.
    """
    x, y = check_dims(source, asked)
    kind = asked.get("kind", "LP")
    if kind not in ("LP", "HB"):
        raise ScanError([unknown("kind", kind, ("LP", "HB"))])
    place, model = Place.of(source, asked), source.model
    names = [parameter.name for parameter in model.parameters]
    answer: dict[str, Any] = {"kind": kind, "x": x, "y": y, "method": "none", "special": []}
    if x not in names or y not in names:
        return answer
    try:
        if model.rest is None or model.graph in (x, y):
            return answer | _curve(source, place, str(kind), str(x), str(y))
        return answer | _points_of_slices(source, place, str(kind), str(x), str(y))
    except ScanError as error:
        return answer | {"why": str(error).splitlines()[0]}


def _curve(source: Source, place: Place, kind: str, x: str, y: str) -> dict[str, Any]:
    model = source.model
    along, through = (y, x) if model.rest is not None and y == model.graph else (x, y)
    given, shifts = _shifted(source, place, along, through)
    first, second = (_moved(source, name, shifts) for name in (along, through))
    # Without a graph curves are followed, and not far beyond the map.
    between = first if model.rest is None else None
    found = qifscan.curve(source.scan.model, kind, along, through, between=between, within=second, **given)
    moved = {name: found[name].values - shifts[name] for name in (along, through)}
    return {
        "method": "curve" if model.rest is not None else "followed",
        "across": moved[x],
        "up": moved[y],
        "piece": found["piece"].values.astype(np.int32),
        "special": [
            row for row in _special(source, found, (x, y), shifts) if row["type"] in ("CP", "BT", "GH")
        ],
    }


def _moved(source: Source, name: str, shifts: Mapping[str, float]) -> tuple[float, float]:
    """Return the ends of an axis as theory has them: what the inputs add is in the parameter."""
    low, high = _ends(source.scan.axes[name], None)
    return low + shifts[name], high + shifts[name]


def _points_of_slices(source: Source, place: Place, kind: str, x: str, y: str) -> dict[str, Any]:
    model = source.model
    along = next((n for n in (x, y) if degree_in(model, n) in (1, 2)), None)
    if along is None:
        return {}
    other = y if along == x else x
    given, shifts = _shifted(source, place, along, other)
    values = np.linspace(*_moved(source, other, shifts), _SLICES)
    slices: dict[str, Any] = {**given, other: values}
    within = _moved(source, along, shifts)
    found = qifscan.special_points(source.scan.model, along, within=within, **slices)
    codes = dict(
        zip(found["type"].attrs["flag_meanings"].split(), found["type"].attrs["flag_values"], strict=True)
    )
    here = found["type"].values == codes[kind]
    at = {
        along: found[along].values[here] - shifts[along],
        other: values[found["slice"].values[here]] - shifts[other],
    }
    return {"method": "points", "across": at[x], "up": at[y]}
