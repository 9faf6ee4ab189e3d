"""What the page has to know of a scan before it asks for anything: axes, variables, model, progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.status import STATUS_MEANINGS, Status
from qifscan.explorer.place import EXACT, TILE, TIMES
from qifscan.plots.colours import is_geometric

if TYPE_CHECKING:
    from qifscan.dynamics.model import Parameter
    from qifscan.explorer.source import Source

Array = np.ndarray[Any, Any]

_USUAL = ("r_mean", "r_final", "r_max")
"""Variables to begin with, in this order."""


def about(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is constant about a scan, and how far its run is."""
    scan, model = source.scan, source.model
    stored = source.variables
    variables = [_variable(name, attributes) for name, attributes in stored.items()]
    if model.rest is not None:
        variables += [
            {"name": name, "short": short, "meaning": meaning, "unit": unit, "exact": True}
            for name, (short, meaning, unit) in EXACT.items()
        ]
    names = [v["name"] for v in variables]
    # Two axes of numbers make a map; the longer ones are those that one wants to see.
    axes = [_axis(source, name, size) for name, size in scan.sizes.items()]
    able = sorted((a for a in axes if not a["text"]), key=lambda a: -min(a["size"], TILE))[:2]
    plane = [a["name"] for a in axes if a in able]
    return {
        "title": scan.title or f"{model.name}, {scan.fingerprint[:12]}",
        "fingerprint": scan.fingerprint,
        "stored": source.store is not None,
        "model": {
            "name": scan.model,
            "meaning": ", ".join(part for part in (model.frame, model.meaning) if part),
            "reference": model.reference,
            "graph": model.graph if model.rest is not None else None,
            "variables": [{"name": v.name, "unit": v.unit, "meaning": v.meaning} for v in model.variables],
            "rate": model.rates[0].name,
        },
        "axes": axes,
        "plane": plane,
        "fixed": [_parameter(source, p) for p in scan.parameters.values() if _is_free(source, p)],
        "variables": variables,
        "variable": next((n for n in (*_USUAL, *names) if n in names), None),
        "flags": [{"name": f.name, "mask": int(f), "meaning": STATUS_MEANINGS[f]} for f in Status],
        "tile": TILE,
        "times": TIMES,
        "protocol": scan.protocol.in_words,
        "drive": None if scan.drive is None else scan.drive.model_dump(mode="json"),
        "noisy": list(scan.noisy),
        "start": "scan" if scan.protocol.sweep is None else "rest",
    } | progress(source, asked)


def progress(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many chunks of the run are finished."""
    return {"done": source.done, "chunks": 0 if source.store is None else len(source.store.chunks)}


def _is_free(source: Source, parameter: Parameter) -> bool:
    scan = source.scan
    swept = {column for axis in scan.axes.values() for column in axis.columns}
    return parameter.name not in swept and scan.fixed.get(parameter.name, parameter.default) is not None


def _parameter(source: Source, parameter: Parameter) -> dict[str, Any]:
    value = float(source.scan.fixed.get(parameter.name, parameter.default or 0.0))
    holds = parameter.domain.holds
    if not holds(-1.0) and value > 0.0:
        low, high = 0.1 * value, 4.0 * value
        high = high if holds(high) else 1.0
    else:
        reach = max(10.0, 2.0 * abs(value))
        low, high = (value - reach if holds(-1.0) else 0.0), value + (reach if holds(-1.0) else 5.0)
        high = high if holds(high) else 1.0
    return {
        "name": parameter.name,
        "unit": parameter.unit,
        "meaning": parameter.meaning,
        "value": value,
        "range": [low, high],
        "of_model": parameter.name in {p.name for p in source.model.parameters},
    }


def _axis(source: Source, name: str, size: int) -> dict[str, Any]:
    axis = source.scan.axes.get(name)
    labels = np.arange(size) if axis is None else axis.labels
    text = labels.dtype.kind not in "iuf"
    known = source.scan.parameters.get(name)
    told = {
        "name": name,
        "size": size,
        "text": text,
        "labels": labels.tolist(),
        "scale": _scale(labels, axis),
    }
    told["unit"] = "1" if known is None else known.unit
    told["meaning"] = "" if known is None else known.meaning
    if axis is not None and axis.zipped:
        told["columns"] = {n: column.tolist() for n, column in axis.columns.items()}
    return told


def _scale(labels: Array, axis: Any) -> str:
    """Return how an axis is drawn: "linear", "log", or by its "index" where its values are not even."""
    if labels.dtype.kind not in "iuf" or (axis is not None and axis.zipped) or len(labels) < 2:
        return "index"
    if is_geometric(labels):
        return "log"
    steps = np.diff(labels.astype(np.float64))
    return "linear" if steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-6, atol=0.0) else "index"


def _variable(name: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "meaning": str(attributes.get("long_name", name)),
        "unit": str(attributes.get("units", "1")),
        "exact": False,
    }
    if "flag_meanings" in attributes:
        kind = "masks" if "flag_masks" in attributes else "values"
        values = np.asarray(attributes[f"flag_{kind}"]).tolist()
        told[kind] = dict(zip(map(str, values), str(attributes["flag_meanings"]).split(), strict=True))
    return told
