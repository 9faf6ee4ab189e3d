"""Axes of a scan: reading them from what the user gave, and finding points on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.definition import show
from qifscan.errors import Fault, near, one_of
from qifscan.models import Parameter
from qifscan.theory import NAMED_STATES

Column = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Axis:
    """A dimension of a scan: one column of values per parameter, all of one length.

    An axis of one parameter has that parameter's name; a zipped axis has a name of its own and changes
    several parameters together.
    """

    name: str
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def zipped(self) -> bool:
        """Whether the axis has a name of its own."""
        return self.name not in self.columns

    @property
    def labels(self) -> Column:
        """The values of the dimension's coordinate: the parameter's, or 0, 1, 2, ... if zipped."""
        return np.arange(len(self)) if self.zipped else self.columns[self.name]

    def definition(self) -> Any:
        """Return the axis as JSON data."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        return columns if self.zipped else columns[self.name]


_SPACES: dict[str, Callable[..., Column]] = {"linspace": np.linspace, "geomspace": np.geomspace}


def _column(where: str, given: Any, parameter: Parameter | None, faults: list[Fault]) -> Column:
    """Return the values of an axis as an array; faults are added to the list."""
    if isinstance(given, Mapping):
        given = _spaced(where, given, faults)
    values = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(values, (str, int, float)) or not isinstance(values, Iterable):
        expected = "a list of values, { linspace = [first, last, count] } or { geomspace = [...] }"
        faults.append(Fault(where, show(values), expected, "a single value belongs into fixed"))
        return np.empty(0)
    values = list(values)
    if parameter is None:
        return _names(where, values, faults)
    return read_numbers(where, values, parameter, faults)


def _spaced(where: str, given: Mapping[str, Any], faults: list[Fault]) -> Any:
    if len(given) == 1:
        ((kind, arguments),) = given.items()
        if kind in _SPACES:
            try:
                first, last, count = arguments
                return _SPACES[kind](float(first), float(last), int(count))
            except (TypeError, ValueError):
                faults.append(Fault(f"{where}.{kind}", show(arguments), "[first, last, count]"))
                return np.array([0.0])
        if kind == "values":
            return given["values"]
    faults.append(Fault(where, show(dict(given)), "a list, or one of linspace, geomspace, values"))
    return np.array([0.0])


def _names(where: str, values: list[Any], faults: list[Fault]) -> Column:
    unknown = [value for value in values if value not in NAMED_STATES]
    faults += [
        Fault(where, show(value), one_of(NAMED_STATES), near(str(value), list(NAMED_STATES)))
        for value in unknown
    ]
    if not values:
        faults.append(Fault(where, "no values", "at least one", "name a state"))
    return np.array(values if not unknown else ["rest"], dtype=str)


def read_numbers(where: str, values: list[Any], parameter: Parameter, faults: list[Fault]) -> Column:
    """Return numbers that lie in the parameter's domain as float64; faults are added to the list."""
    if not values:
        faults.append(Fault(where, "no values", "at least one", "give values, or take the axis out"))
        return np.empty(0)
    wrong = [v for v in values if not _is_finite(v) or not parameter.domain.holds(v)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        faults.append(Fault(where, f"{show(wrong[0])}{more}", parameter.domain.words))
        return np.zeros(len(values))
    return np.array(values, dtype=np.float64) + 0.0


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def repeated(rows: Sequence[Any]) -> Any | None:
    """Return the first row that occurs twice, or None."""
    seen: set[Any] = set()
    for row in rows:
        if row in seen:
            return row
        seen.add(row)
    return None


def unknown_parameter(where: str, name: str, known: list[str]) -> Fault:
    """Return the fault of a parameter that is not known, with its near name."""
    if name.startswith("drive_"):
        hint = "a drive_ parameter needs a drive that has that number"
        return Fault(where, f'unknown parameter "{name}"', one_of(known), near(name, known) or hint)
    return Fault(where, f'unknown parameter "{name}"', one_of(known), near(name, known))


def read_axis(name: str, entry: Any, known: Mapping[str, Parameter], faults: list[Fault]) -> Axis:
    """Return an axis from what the user gave for it; faults are added to the list."""
    where = f"axes.{name}" if name != "point" else "points"
    if name == "replicate":
        faults.append(Fault(where, "an axis", "another name", "give replicates = N instead"))
        return Axis(name, {name: np.arange(1)})
    if name in known or name == "initial":
        columns = {name: _column(where, entry, known.get(name), faults)}
    elif isinstance(entry, Mapping) and not set(entry) & {*_SPACES, "values"}:
        columns = _zipped(where, entry, known, faults)
    else:
        faults.append(unknown_parameter(where, name, [*known, "initial"]))
        return Axis(name, {name: np.arange(1)})
    again = repeated(list(zip(*(c.tolist() for c in columns.values()), strict=False)))
    if again is not None and not any(fault.where.startswith(where) for fault in faults):
        shown = show(again[0] if name in columns else dict(zip(columns, again, strict=True)))
        faults.append(Fault(where, f"{shown} twice", "each value once", "for repetition give replicates = N"))
    return Axis(name, columns)


def _zipped(
    where: str, entry: Mapping[str, Any], known: Mapping[str, Parameter], faults: list[Fault]
) -> dict[str, Column]:
    columns = {}
    for name, values in entry.items():
        if name in known or name == "initial":
            columns[name] = _column(f"{where}.{name}", values, known.get(name), faults)
        else:
            faults.append(unknown_parameter(f"{where}.{name}", name, [*known, "initial"]))
    lengths = {name: len(column) for name, column in columns.items()}
    if not entry:
        faults.append(Fault(where, "no parameters", "the parameters that change along it"))
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        faults.append(Fault(where, f"axes of unequal length ({found})", "one length for all"))
    return columns or {"none": np.arange(1)}


def labels_of(axes: Mapping[str, Axis], replicates: int) -> dict[str, Column]:
    """Return the labels of every dimension, `replicate` last if there are several."""
    labels = {axis.name: axis.labels for axis in axes.values()}
    return labels | ({"replicate": np.arange(replicates)} if replicates > 1 else {})


def find(
    where: str, point: Mapping[str, Any], labels: Mapping[str, Column], faults: list[Fault]
) -> list[tuple[int, ...]]:
    """Return the indices of the points at these labels, in the order of the dataset."""
    for name in set(point) - set(labels):
        hint = near(name, list(labels)) or "a parameter that is no axis has one value at all points"
        faults.append(Fault(f"{where}.{name}", f'unknown dimension "{name}"', one_of(labels), hint))
    chosen = []
    for name, values in labels.items():
        if name not in point:
            chosen.append(np.arange(len(values)))
            continue
        match = _match(values, point[name])
        if match is None:
            hint = f"the nearest is {show(_nearest(values, point[name]))}"
            faults.append(Fault(f"{where}.{name}", show(point[name]), "a value of that axis", hint))
        else:
            chosen.append(np.array([match]))
    if len(chosen) < len(labels):
        return []
    grids = np.meshgrid(*chosen, indexing="ij") if chosen else []
    return [tuple(map(int, index)) for index in zip(*(grid.ravel() for grid in grids), strict=True)]


def _match(values: Column, value: Any) -> int | None:
    if values.dtype.kind in "US":
        found = np.flatnonzero(values == value)
    elif isinstance(value, (int, float, np.number)):
        found = np.flatnonzero(np.isclose(values, float(value), rtol=1e-9, atol=1e-12))
    else:
        return None
    return int(found[0]) if len(found) else None


def _nearest(values: Column, value: Any) -> Any:
    if values.dtype.kind in "US" or not isinstance(value, (int, float, np.number)):
        return values[0].item()
    return values[np.argmin(np.abs(values - float(value)))].item()
