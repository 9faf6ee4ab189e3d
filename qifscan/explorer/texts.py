"""What is looked at, as a script or a file: the view in Python, and a new scan of a part of the map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, is_range, one_of, show
from qifscan.explorer.place import EXACT, Place, check_dims
from qifscan.plots.colours import is_geometric

if TYPE_CHECKING:
    from qifscan.explorer.source import Source
    from qifscan.scan.axes import Axis
    from qifscan.scan.scan import Scan

Array = np.ndarray[Any, Any]

FACTORS = (1, 2, 4, 8)
"""How many points a refined axis has in place of one."""

_MOST = 1 << 14
"""Values of a refined axis: a slip must not fill the memory."""


def script(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is looked at as a script: the map, the point with its equilibria, and its run."""
    place = Place.of(source, asked)
    x, y = check_dims(source, asked)
    variable = str(asked.get("variable") or "")
    model = source.scan.model
    lines = ["import qifscan as qs", ""]
    if source.store is not None:
        lines.append(f"dataset = qs.open_scan({str(source.store.path)!r})")
        if variable and variable not in EXACT:
            others = {n: i for n, i in place.index.items() if n not in (x, y)}
            chosen = f".isel({_called(others)})" if others else ""
            lines.append(f"values = dataset[{variable!r}]{chosen}")
        if not place.changed:
            lines.append(f"run = qs.replay({str(source.store.path)!r}, {_called(place.labels(source))})")
    theory = place.theory(source)
    lines += ["", f"point = dict(model={model!r}, {_called(theory)})", "print(qs.equilibria(**point))"]
    if asked.get("along") in theory:
        lines.append(f"point.pop({asked['along']!r})")
        lines.append(f"qs.show(qs.branch(along={asked['along']!r}, **point))")
    return {"text": "\n".join(lines) + "\n"}


def _called(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def toml(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scan as a file, with the parameters that were changed."""
    return {"text": _changed(source.scan, Place.of(source, asked)).to_toml()}


def _changed(scan: Scan, place: Place) -> Scan:
    return scan.replace(fixed=scan.fixed | dict(place.changed)) if place.changed else scan


def refine(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a new scan of a part of the map: as a file, as Python, and how many points it has.

    `within`: [low, high] by dimension; `factor`: how many values there are in place of one. The values that
    the scan has stay, so that `--extend` takes over what was computed.
    """
    place, scan = Place.of(source, asked), source.scan
    factor, within = asked.get("factor", 2), asked.get("within")
    if factor not in FACTORS or isinstance(factor, bool):
        raise ScanError([Fault("factor", show(factor), one_of(map(str, FACTORS)))])
    if not isinstance(within, Mapping) or not within:
        raise ScanError([Fault("within", show(within), "a range by dimension")])
    axes: dict[str, Any] = {name: axis.given for name, axis in scan.axes.items()}
    for name, ends in within.items():
        axes[name] = _refined(name, scan.axes.get(name), ends, int(factor))
    made = _changed(scan, place).replace(
        title=f"{scan.title or 'A scan'}, refined",
        axes={n: x for n, x in axes.items() if n != "point"},
        traces=None,
    )
    store = "refined.zarr"
    old = "" if source.store is None or place.changed else str(source.store.path)
    extend = f", extend={old!r}" if old else ""
    python = f"scan = qs.Scan.from_toml('refined.toml')\ndataset = qs.run(scan, {store!r}{extend})"
    return {
        "toml": made.to_toml(),
        "python": f"import qifscan as qs\n\n{python}\n",
        "command": "qifscan run refined.toml" + (f" --extend {old}" if old else ""),
        "points": made.size,
        "sizes": made.sizes,
    }


def _refined(name: str, axis: Axis | None, ends: Any, factor: int) -> Array:
    where = f"within.{name}"
    if axis is None or axis.zipped or axis.labels.dtype.kind not in "iuf":
        raise ScanError([Fault(where, "no axis of numbers", "one that can be refined")])
    if not is_range(ends):
        raise ScanError([Fault(where, show(ends), "two ascending numbers")])
    labels = np.sort(axis.labels.astype(np.float64))
    kept = labels[(labels >= ends[0]) & (labels <= ends[1])]
    if len(kept) < 2:
        hint = "draw a larger box"
        raise ScanError([Fault(where, f"{len(kept)} values of the scan", "at least two", hint)])
    if (len(kept) - 1) * factor + 1 > _MOST:
        raise ScanError([Fault(where, f"{len(kept):,} values {factor}-fold", f"at most {_MOST:,}")])
    if factor == 1:
        return np.asarray(kept)
    scaled = np.log(kept) if is_geometric(labels) else kept
    at = np.arange((len(kept) - 1) * factor + 1) / factor
    between = np.interp(at, np.arange(len(kept)), scaled)
    values = np.array(np.exp(between) if is_geometric(labels) else between)
    # What was run keeps its bits, so that it is found again.
    values[::factor] = kept
    return values
