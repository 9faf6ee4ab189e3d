"""Bifurcation diagrams that other programs made, as datasets of the form of `branch`, `curve` and
`cycle_branches`.

What both have means the same and has the same name, so that one figure draws both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.errors import Fault, ScanError, unknown
from qifscan.lazy import LazyModule
from qifscan.place import local
from qifscan.theory import codes
from qifscan.theory.spectrum import KINDS, counted_modes, kinds
from qifscan.theory.tables import Attributes, flags

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

TYPES: dict[str, dict[str, int]] = {
    "equilibria": codes.READ_OF_EQUILIBRIA,
    "LP": codes.READ_OF_EQUILIBRIA,
    "HB": codes.READ_OF_EQUILIBRIA,
    "cycles": codes.READ_OF_CYCLES,
}
"""Codes of `type` by what a diagram holds; a regular point is 0 whether it has a label or not.

"LP" and "HB" are curves of folds and of Hopf points in two parameters.
"""


@dataclass(frozen=True)
class Diagram:
    """Points, `(points,)` each, piece after piece, and the number of each piece, `(pieces,)`.

    `multiple`: eigenvalues, of cycles multipliers, `(points, n)`; `unstable`: how many of these are outside
    of the unit circle. `left_out`: branches of another kind. None is what the program does not tell.
    """

    kind: str
    piece: Index
    numbers: Index
    type: Index
    label: Index
    columns: dict[str, Array]
    stable: Any = None
    multiple: Any = None
    unstable: Any = None
    resolved: Any = None
    left_out: int = 0


# Files


def lines_of(path: str | Path) -> list[str]:
    """Return the lines of a text file."""
    try:
        return local("path", path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ScanError([Fault(str(path), "binary data", "text")]) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ScanError([Fault(str(path), reason, "a file that can be read")]) from None


def refuse(where: str, line: int, found: str, expected: str, hint: str = "") -> NoReturn:
    """Raise `ScanError` about a line of a file."""
    raise ScanError([Fault(f"{where}, line {line}", found, expected, hint)])


# ColumnNames


@dataclass(frozen=True)
class ColumnNames:
    """ColumnNames of columns: what the user calls them, and the variables of a model."""

    given: Mapping[str, str]
    variables: tuple[str, ...]

    @classmethod
    def of(
        cls, where: str, columns: Iterable[str], model: Model | None, names: Mapping[str, str] | None
    ) -> ColumnNames:
        """Return the names; raise `ScanError` for one of a column that is not there."""
        known = dict.fromkeys(name for column in columns for name in (column, _split(column)[0]))
        given = dict(names or {})
        faults = [unknown(f"names of {where}", name, known, "column") for name in given if name not in known]
        if faults:
            raise ScanError(faults)
        return cls(given, model.variable_names if model else ())

    def of_column(self, column: str) -> str:
        """Return the name of a variable of the dataset."""
        if column in self.given:
            return self.given[column]
        base, kind = _split(column)
        place = re.fullmatch(r"U\((\d+)\)", base)
        if base in self.given:
            base = self.given[base]
        elif place and int(place[1]) <= len(self.variables):
            base = self.variables[int(place[1]) - 1]
        return f"{base}_{kind}" if kind else base


_KINDS_OF_COLUMN = {"MAX": "max", "MIN": "min", "INTEGRAL": "mean", "L2-NORM": "l2_norm"}
_COLUMN = re.compile(rf"({'|'.join(_KINDS_OF_COLUMN)})(?: (.+)|(\(\d+\)))")


def _split(column: str) -> tuple[str, str]:
    """Return what a column is about, and which number of it: "MAX U(1)", and "MAX(1)" as older versions have
    it."""
    parts = _COLUMN.fullmatch(column)
    if parts:
        return parts[2] or f"U{parts[3]}", _KINDS_OF_COLUMN[parts[1]]
    return {"L2-NORM": ("l2_norm", ""), "PERIOD": ("period", "")}.get(column, (column, ""))


# Datasets

Column = tuple[tuple[str, ...], Any, Attributes]


def dataset_of(diagram: Diagram, model: Model | None, reference: str) -> xr.Dataset:
    """Return the dataset of a diagram, in the form that our own of this kind have."""
    cycles = diagram.kind == "cycles"
    own, piece = ("branches", "branch") if cycles else ("pieces", "piece")
    types = TYPES[diagram.kind]
    code = _words("type of the point, codes of AUTO") | flags(types)
    found: dict[str, Column] = {
        piece: (("point",), diagram.piece, _words("connected part that the point is on")),
        "type": (("point",), diagram.type.astype(np.int8), code),
        "label": (("point",), diagram.label, _words("label of the other program, 0: none", "1")),
    }
    for name, values in _with_times(diagram).items():
        found[name] = (("point",), values, _said(name, model))
    if diagram.stable is not None:
        found["stable"] = (("point",), diagram.stable, _words("the other program calls it stable"))
    if diagram.multiple is not None:
        found |= _multipliers(diagram) if cycles else _eigenvalues(diagram)
    size = np.bincount(diagram.piece, minlength=len(diagram.numbers))
    converged = diagram.type != codes.MX
    found["converged"] = (("point",), converged, _words("by the criterion of the other program"))
    if cycles:
        index = _words("index of the slice, in C order") | {"instance_dimension": "slices"}
        found["slice"] = ((own,), np.zeros(len(diagram.numbers), dtype=np.intp), index)
        found["branch_count"] = ((), len(diagram.numbers), _words("number of branches of the slice", "1"))
    found["row_size"] = ((own,), size, _words("number of points", "1") | {"sample_dimension": "point"})
    found["branch_number"] = ((own,), diagram.numbers, _words("number in the other program", "1"))
    attributes = {"reference": reference, "left_out": diagram.left_out}
    attributes |= {"model": model.name} if model else {}
    attributes |= {"curve": diagram.kind} if diagram.kind in ("LP", "HB") else {}
    data = {n: (dims, values, {**said, "reference": reference}) for n, (dims, values, said) in found.items()}
    return xr.Dataset(data, attrs=attributes)


def _words(long_name: str, units: str | None = None) -> Attributes:
    return {"long_name": long_name} if units is None else {"long_name": long_name, "units": units}


def _with_times(diagram: Diagram) -> dict[str, Array]:
    """Return the columns with the frequency of cycles, and of Hopf points, which alone have one at rest."""
    nothing = np.full(len(diagram.piece), np.nan)
    period = diagram.columns.get("period", nothing.copy())
    if diagram.kind == "cycles":
        return diagram.columns | {"frequency": 1.0 / period}
    turning = (diagram.type == codes.HB) | (diagram.kind == "HB")
    omega = np.divide(2.0 * np.pi, period, out=nothing, where=turning & (period > 0.0))
    if diagram.multiple is not None:
        omega = np.where(turning & np.isnan(omega), _of_pair(diagram.multiple), omega)
    times = {"omega": omega, "frequency": omega / (2.0 * np.pi), "period": 2.0 * np.pi / omega}
    return {name: values for name, values in diagram.columns.items() if name != "period"} | times


def _of_pair(values: Any) -> Array:
    """Return the angular frequency of the pair that is nearest to the imaginary axis, NaN without one."""
    away = np.where(values.imag > 0.0, np.abs(values.real), np.inf)
    nearest = np.nan_to_num(away, nan=np.inf).argmin(axis=1)
    found: Array = values.imag[np.arange(len(values)), nearest]
    return np.where(found > 0.0, found, np.nan)


_OF_COLUMNS = {
    "omega": ("angular frequency at the Hopf point", "rad/ms"),
    "period": ("period", "ms"),
    "frequency": ("frequency", "1/ms"),
    "l2_norm": ("norm of the state", "1"),
}
_OF_ENDS = {"max": "highest", "min": "lowest", "mean": "mean", "l2_norm": "root mean square"}


def _said(name: str, model: Model | None) -> Attributes:
    """Return what a column means: of a model its variables and parameters, with their units."""
    if name in _OF_COLUMNS:
        return _words(*_OF_COLUMNS[name])
    rows = {} if model is None else {row.name: (row.meaning, row.unit) for row in model.variables}
    rows |= {} if model is None else {row.name: (row.meaning, row.unit) for row in model.parameters}
    if name in rows:
        return _words(*rows[name])
    for end, text in _OF_ENDS.items():
        base = name.removesuffix(f"_{end}")
        if base != name and base in rows:
            return _words(f"{rows[base][0]}, {text} value on the cycle", rows[base][1])
    return _words(f"{name} of the other program")


def _eigenvalues(diagram: Diagram) -> dict[str, Column]:
    """Return the variables that follow from eigenvalues, as `branch` has them."""
    values = np.sort(diagram.multiple, axis=1)
    kind, unstable, _ = kinds(counted_modes(values.real, values.imag))
    wide, imaginary = ("point", "eigenvalue"), "imaginary part of the eigenvalue, angular frequency"
    found: dict[str, Column] = {
        "eigenvalue_real": (wide, values.real.copy(), _words("real part of the eigenvalue", "1/ms")),
        "eigenvalue_imag": (wide, values.imag.copy(), _words(imaginary, "1/ms")),
    }
    if diagram.kind != "equilibria":
        return found
    count = _words("eigenvalues with a positive real part, -1: not told", "1")
    return found | {
        "kind": (("point",), kind, _words("kind of the equilibrium") | flags(KINDS)),
        "unstable_dimensions": (("point",), unstable, count),
    }


def _multipliers(diagram: Diagram) -> dict[str, Column]:
    """Return the variables that follow from Floquet multipliers, as `cycle_branches` has them."""
    order = np.argsort(-np.abs(diagram.multiple), axis=1, kind="stable")
    values = np.take_along_axis(diagram.multiple, order, axis=1)
    wide = ("point", "multiplier")
    found: dict[str, Column] = {
        "multiplier_real": (wide, values.real.copy(), _words("real part of the Floquet multiplier", "1")),
        "multiplier_imag": (
            wide,
            values.imag.copy(),
            _words("imaginary part of the Floquet multiplier", "1"),
        ),
    }
    if diagram.unstable is not None:
        count = _words("multipliers outside of the unit circle, -1: not told", "1")
        found["unstable_multipliers"] = (("point",), diagram.unstable, count)
        said = _words("the other program does not call the multipliers inaccurate")
        found["resolved"] = (("point",), diagram.resolved, said)
    return found
