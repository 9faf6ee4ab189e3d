"""Axes of a scan: reading them from what the user gave, and finding points on them."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.definition import number, plain
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.model import Parameter
from qifscan.errors import AS_MS, Fault, counted, is_time, near, nearest, one_of, show, unknown
from qifscan.printed import span

logger = logging.getLogger(__name__)


Column = np.ndarray[Any, Any]

DIRECTIONS = ("up", "down")
"""The ways along the axis of a sweep: to higher values and to lower ones."""

NAMES: Mapping[str, Iterable[str]] = {"initial": NAMED_STATES, "direction": DIRECTIONS}
"""Axes whose values are names, and the names."""


@dataclass(frozen=True, eq=False)
class Axis:
    """A dimension of a scan: one column of values per parameter, all of one length.

    An axis of one parameter has that parameter's name; a zipped axis has a name of its own and changes
    several parameters together.
    """

    name: str
    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        for column in self.columns.values():
            column.flags.writeable = False

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

    @property
    def given(self) -> Any:
        """What one gives a scan for the axis: values, or those of each parameter if zipped."""
        return dict(self.columns) if self.zipped else self.columns[self.name]

    def __repr__(self) -> str:
        told = "; ".join(f"{name}: {span(column.tolist())}" for name, column in self.columns.items())
        return f"Axis({self.name}, {told})" if self.zipped else f"Axis({told})"

    def definition(self) -> Any:
        """Return the axis as JSON data."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        return columns if self.zipped else columns[self.name]


_SPACES: dict[str, Callable[..., Column]] = {"linspace": np.linspace, "geomspace": np.geomspace}

MOST_SPACED = 1_000_000
"""Values of a linspace: beyond any scan, and a slip of the keyboard must not fill the memory."""

_A_COLUMN = "a list of values, { linspace = [first, last, count] } or { geomspace = [...] }"


def read_number(where: str, given: Any, parameter: Parameter, faults: list[Fault]) -> float:
    """Return a number that lies in the parameter's domain; faults are added to the list."""
    return float(_numbers(where, [given], parameter, faults)[0])


def _numbers(where: str, values: list[Any], parameter: Parameter, faults: list[Fault]) -> Column:
    """Return numbers that lie in the parameter's domain as float64; faults are added to the list."""
    if all(type(value) is float for value in values):
        # The usual case, as arrays: a long axis is read in no time.
        column = np.array(values)
        if np.isfinite(column).all() and np.all(parameter.domain.holds(column)):
            return column + 0.0
    numbers = [number(value) for value in values]
    wrong = [i for i, x in enumerate(numbers) if x is None or not parameter.domain.holds(x)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        expected = "a finite number" if numbers[wrong[0]] is None else parameter.domain.words
        hint = AS_MS if is_time(values[wrong[0]]) else ""
        faults.append(Fault(where, f"{show(values[wrong[0]])}{more}", expected, hint))
        return np.zeros(len(values))
    # -0.0 is 0.0: the same point.
    return np.array(numbers, dtype=np.float64) + 0.0


def _names(where: str, values: list[Any], known: Iterable[str], faults: list[Fault]) -> Column:
    wrong = [value for value in values if not isinstance(value, str) or value not in known]
    faults += [unknown(where, value, known) for value in wrong]
    return np.array(["rest"] * len(values) if wrong else values, dtype=str)


def _column(
    where: str, given: Any, parameter: Parameter | None, faults: list[Fault], names: str = "initial"
) -> Column | None:
    """Return the values of an axis, names where there is no parameter; faults go to the list."""
    known = len(faults)
    if isinstance(given, Mapping):
        given = _spaced(where, given, faults)
    if len(faults) > known:
        return None
    values = plain(given)
    if hasattr(values, "tolist") and not is_time(values):
        values = values.tolist()
    if isinstance(values, (str, bytes, Set)) or not isinstance(values, Iterable):
        place = "fixed" if parameter is not None else "protocol"
        faults.append(Fault(where, show(values), _A_COLUMN, f"a single value belongs in {place}"))
        return None
    values = list(values)
    if not values:
        faults.append(Fault(where, "no values", "at least one", "give values, or take the axis out"))
        return None
    if isinstance(values[0], (list, tuple)):
        faults.append(Fault(where, show(values), "a list of values", "nested lists are no axis"))
        return None
    if parameter is None:
        return _names(where, values, NAMES[names], faults)
    return _numbers(where, values, parameter, faults)


def _spaced(where: str, given: Mapping[str, Any], faults: list[Fault]) -> Any:
    kind, arguments = next(iter(given.items()), ("", None))
    if len(given) == 1 and kind == "values":
        return arguments
    if len(given) != 1 or kind not in _SPACES:
        meant = near(str(kind), _SPACES) or "parameters that change together need an axis of another name"
        faults.append(Fault(where, show(given), _A_COLUMN, meant))
        return None
    where, expected = f"{where}.{kind}", "[first, last, count]"
    parts = list(arguments) if isinstance(arguments, (list, tuple, np.ndarray)) else []
    ends = [x for x in map(number, parts[:2]) if x is not None]
    count = plain(parts[2]) if len(parts) == 3 else None
    if len(ends) < 2 or isinstance(count, bool) or not isinstance(count, int):
        faults.append(Fault(where, show(arguments), expected, "two finite numbers and an integer"))
    elif not 1 <= count <= MOST_SPACED:
        faults.append(Fault(where, f"a count of {show(count)}", f"1 to {MOST_SPACED:,}"))
    elif kind == "geomspace" and not (min(ends) > 0 or max(ends) < 0):
        faults.append(Fault(where, show(arguments), expected, "first and last on one side of 0"))
    else:
        with np.errstate(all="ignore"):
            return _SPACES[kind](*ends, count)
    return None


LEAST_COUNT = 10
"""A third of three values that looks like the count of a linspace is at least this."""


def _tell_if_spaced(where: str, given: Any) -> None:
    """Log what was understood of three values such as (-10, 5, 100), which may be meant as a linspace."""
    if not isinstance(given, (list, tuple)) or len(given) != 3:
        return
    first, last, count = map(plain, given)
    if isinstance(count, bool) or not isinstance(count, int) or count < LEAST_COUNT:
        return
    evenly = math.isclose(last - first, count - last, rel_tol=1e-9)
    geometric = math.isclose(last * last, first * count, rel_tol=1e-9)
    if not evenly and not geometric:
        told = f"{first:g}, {last:g} and {count}"
        meant = f'{{"linspace": [{first:g}, {last:g}, {count}]}}'
        logger.warning(
            "%s: three values, %s; for %d values from %g to %g give %s",
            where,
            told,
            count,
            first,
            last,
            meant,
        )


def repeated(rows: Sequence[Any]) -> Any | None:
    """Return the first row that occurs twice, or None."""
    seen: set[Any] = set()
    for row in rows:
        if row in seen:
            return row
        seen.add(row)
    return None


def unknown_parameter(where: str, name: str, known: Sequence[str]) -> Fault:
    """Return the fault of a parameter that is not known, with the one that was meant."""
    if not isinstance(name, str):
        return Fault(where, show(name), "the name of a parameter")
    # BrainPy's rates.QIF calls r and v by the letters y and x.
    renamed = {"x": "v", "y": "r"}.get(name[:1], "") + name[1:]
    if name[1:].startswith("_ou_") and renamed in known:
        return Fault(where, f"unknown parameter {show(name)}", renamed, f'did you mean "{renamed}"?')
    if name.startswith("drive_"):
        driven = [other for other in known if other.startswith("drive_")]
        if not driven:
            return Fault(where, f"unknown parameter {show(name)}", "a drive that has it", "give a drive")
        meant = nearest(name.removeprefix("drive_"), [other.removeprefix("drive_") for other in driven])
        hint = f'did you mean "drive_{meant}"?' if meant else ""
        return Fault(where, f"unknown parameter {show(name)}", one_of(driven), hint)
    return unknown(where, name, known, "parameter")


def read_axis(name: str, entry: Any, known: Mapping[str, Parameter], faults: list[Fault]) -> Axis | None:
    """Return an axis from what the user gave for it; faults are added to the list."""
    where, before = f"axes.{name}", len(faults)
    if name == "replicate":
        faults.append(Fault(where, "an axis", "another name", "give replicates = N instead"))
    elif name in known or name in NAMES:
        column = _column(where, entry, known.get(name), faults, name)
        axis = None if column is None else Axis(name, {name: column})
        if axis is not None and len(faults) == before:
            faults += _repetition(where, axis)
            _tell_if_spaced(where, entry)
        return axis
    elif isinstance(entry, Mapping) and not set(entry) & {*_SPACES, "values"}:
        return read_zipped(where, name, entry, known, faults)
    else:
        faults.append(unknown_parameter(where, name, [*known, "initial"]))
    return None


def read_zipped(
    where: str, name: str, entry: Mapping[str, Any], known: Mapping[str, Parameter], faults: list[Fault]
) -> Axis | None:
    """Return an axis of parameters that change together; faults are added to the list."""
    columns: dict[str, Column] = {}
    before = len(faults)
    if not entry:
        faults.append(Fault(where, "no parameters", "the parameters that change along it"))
    for key, values in entry.items():
        if key in known or key == "initial":
            column = _column(f"{where}.{key}", values, known.get(key), faults)
            columns |= {} if column is None else {key: column}
        else:
            faults.append(unknown_parameter(f"{where}.{key}", key, [*known, "initial"]))
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{counted(length, 'value')} of {key}" for key, length in lengths.items())
        faults.append(Fault(where, found, "one length for all"))
    axis = Axis(name, columns) if columns else None
    if axis is not None and len(faults) == before:
        faults += _repetition(where, axis)
    return axis


def _repetition(where: str, axis: Axis) -> list[Fault]:
    if any(len(np.unique(column)) == len(column) for column in axis.columns.values()):
        return []
    again = repeated(list(zip(*(column.tolist() for column in axis.columns.values()), strict=True)))
    if again is None:
        return []
    shown = show(dict(zip(axis.columns, again, strict=True)) if axis.zipped else again[0])
    return [Fault(where, f"{shown} twice", "each value once", "for repetition give replicates = N")]


def labels_of(axes: Mapping[str, Axis], replicates: int) -> dict[str, Column]:
    """Return the labels of every dimension, `replicate` last if there are several."""
    labels = {axis.name: axis.labels for axis in axes.values()}
    return labels | ({"replicate": np.arange(replicates)} if replicates > 1 else {})


def locate(
    where: str,
    point: Mapping[str, Any],
    labels: Mapping[str, Column],
    faults: list[Fault],
    nearest: bool = False,
) -> dict[str, int]:
    """Return the index along each dimension that the point names; faults are added to the list."""
    for name in point:
        if name not in labels and labels:
            hint = near(name, labels) or "leave out what is no axis; a zipped axis is named by its index"
            faults.append(Fault(f"{where}.{name}", f"unknown dimension {show(name)}", one_of(labels), hint))
        elif name not in labels:
            hint = "leave out what is no axis"
            faults.append(Fault(f"{where}.{name}", f"unknown dimension {show(name)}", "no dimension", hint))
    named = [name for name in labels if name in point]
    return {name: _index(f"{where}.{name}", labels[name], point[name], faults, nearest) for name in named}


def _index(where: str, values: Column, value: Any, faults: list[Fault], nearest: bool) -> int:
    """Return where a value is on an axis: equal but for rounding, or the nearest one between its ends."""
    if values.dtype.kind in "US":
        if value in (names := values.tolist()):
            return int(names.index(value))
        faults.append(unknown(where, value, names))
        return 0
    wanted = number(value)
    if wanted is None:
        faults.append(Fault(where, show(value), "a number that is on the axis"))
        return 0
    with np.errstate(over="ignore"):
        closest = int(np.argmin(np.abs(values - wanted)))
    if nearest and values.min() <= wanted <= values.max():
        return closest
    # A linspace over 0 may hold 1e-17 there: rounding on the scale of the axis.
    if not math.isclose(values[closest], wanted, rel_tol=1e-9, abs_tol=1e-14 * np.abs(values).max()):
        ends = f"a number from {show(values.min())} to {show(values.max())}"
        expected, hint = (
            ends if nearest else "a value of that axis",
            f"the nearest is {show(values[closest])}",
        )
        faults.append(Fault(where, show(value), expected, hint))
    return closest


def find(
    where: str,
    point: Mapping[str, Any],
    labels: Mapping[str, Column],
    faults: list[Fault],
    nearest: bool = False,
) -> list[tuple[int, ...]]:
    """Return the indices of the points at these labels, in the order of the dataset."""
    known = len(faults)
    at = locate(where, point, labels, faults, nearest)
    if len(faults) > known:
        return []
    chosen = [[at[name]] if name in at else range(len(values)) for name, values in labels.items()]
    return list(itertools.product(*chosen))
