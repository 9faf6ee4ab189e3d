"""One value that a person means is one value: a scan gets those of an older one that equal its own but for
rounding.

The grids of `linspace(-10, 0, 101)` and `linspace(-10, 0, 301)` have 101 values in common, 28 of which differ
in the last bit. The noise of a point is named by the bits of its values, so the older ones are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.scan.axes import Axis
from qifscan.scan.protocol import Traces

if TYPE_CHECKING:
    from qifscan.scan.scan import Scan

Array = np.ndarray[Any, Any]

RELATIVE, OF_SCALE = 1e-13, 1e-14
"""How far two values are that are equal but for rounding: relative to the value, and to the largest value of
its parameter, as a linspace over 0 may hold 1e-16 there. Both are some fifty times what `linspace` and
`geomspace` are off by."""


def snapped(values: Array, older: Array) -> Array:
    """Return values, each replaced by the nearest of `older` that is equal to it but for rounding.

    Of two values that would become one, only those stay close that are equal to it in every bit.
    """
    if not len(older) or values.dtype.kind != "f" or older.dtype.kind != "f":
        return values
    known, (values, place) = np.unique(older), np.unique(values, return_inverse=True)
    right = np.clip(np.searchsorted(known, values), 1, max(len(known) - 1, 1))
    near = known[np.minimum(right, len(known) - 1)], known[right - 1]
    nearest = np.where(np.abs(near[0] - values) < np.abs(near[1] - values), *near)
    scale = max(np.abs(known).max(), np.abs(values).max(initial=0.0))
    same = np.abs(nearest - values) <= RELATIVE * np.abs(values) + OF_SCALE * scale
    found: Array = np.where(same, nearest, values)
    several, count = np.unique(found, return_counts=True)
    return np.where(np.isin(found, several[count > 1]), values, found)[place]


def values_of(scan: Scan) -> dict[str, Array]:
    """Return the values that each parameter has anywhere in a scan."""
    swept = {name: column for axis in scan.axes.values() for name, column in axis.columns.items()}
    return scan.columns(tuple(np.zeros(1, dtype=int) for _ in scan.axes)) | swept


def adopted(scan: Scan, older: Scan) -> Scan:
    """Return a scan with the values of an older one where both are equal but for rounding."""
    known = values_of(older)

    def one(name: str, value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return float(snapped(np.array([value]), known.get(name, np.zeros(0)))[0])

    axes = {name: _axis(axis, known) for name, axis in scan.axes.items()}
    changes: dict[str, Any] = {"axes": axes, "fixed": {n: one(n, x) for n, x in scan.fixed.items()}}
    initial = scan.protocol.initial
    if isinstance(initial, dict):
        start = {name: one(f"{name}_initial", x) for name, x in initial.items()}
        changes["protocol"] = scan.protocol.model_copy(update={"initial": start})
    if scan.drive is not None:
        numbers = {p.name: one(p.name, p.default) for p in scan.drive.parameters()}
        own = {name.removeprefix("drive_"): value for name, value in numbers.items()}
        changes["drive"] = scan.drive.model_copy(update={n: x for n, x in own.items() if x is not None})
    if scan.traces is not None:
        points = [_renamed(point, scan.axes, axes) for point in scan.traces.points]
        changes["traces"] = Traces(points=points, every=scan.traces.every)
    return scan.model_copy(update=changes)


def _axis(axis: Axis, known: Mapping[str, Array]) -> Axis:
    return Axis(
        axis.name,
        {name: snapped(column, known.get(name, column[:0])) for name, column in axis.columns.items()},
    )


def _renamed(
    point: Mapping[str, Any], before: Mapping[str, Axis], after: Mapping[str, Axis]
) -> dict[str, Any]:
    """Return the labels of a point on the axes as they are now."""
    found = {}
    for name, label in point.items():
        place = before[name].labels.tolist().index(label) if name in before else None
        found[name] = label if place is None else after[name].labels[place].item()
    return found
