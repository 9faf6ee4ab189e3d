"""Diagrams of PyCoBi: its table of a continuation, in memory or as CSV. No pickle is loaded."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, counted, show, unknown
from qifscan.interop.foreign import TYPES, ColumnNames, Diagram, dataset_of, lines_of, refuse
from qifscan.place import local

if TYPE_CHECKING:
    import xarray as xr


def read_pycobi(
    table: Any,
    *,
    kind: str | None = None,
    model: str | None = None,
    names: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return a bifurcation diagram of PyCoBi: its table of a continuation, or the path of a CSV file of it.

    Parameters
    ----------
    table
        A pandas DataFrame whose columns are pairs, as `ODESystem.get_summary` returns it, or what its
        `to_csv` wrote. A pickle is not loaded: loading one executes code that is in it.
    kind
        "equilibria", "LP" or "HB" (curves of folds or Hopf points; to be given where more than one parameter
        varies) or "cycles"; by default cycles if a variable has a minimum and a maximum, else equilibria.
    model, names
        As for `read_auto`; of a name with a path, "p/qif/eta", the last part is used.

    Returns
    -------
    xarray.Dataset
        In the form of `read_auto`: `type` from `bifurcation`, `stable` from `stability`, `period`, the
        parameters, the state (of cycles its `_min` and `_max`), and from `eigenvalues` those or the
        multipliers. `label` is the index of the table.

    Raises
    ------
    ScanError
        For what can't be read.

    Notes
    -----
    PyCoBi 1.1, `ODESystem.get_summary`.

    Examples
    --------
    >>> import pandas as pd
    >>> import qifscan as qs
    >>> rows = {("eta", 0): [-6.0, -5.2], ("r", 0): [0.1, 0.2]}
    >>> rows[("bifurcation", "")] = ["EP", "LP"]
    >>> found = qs.read_pycobi(pd.DataFrame(rows), model="qif")
    >>> found["type"].values.tolist(), found["eta"].attrs["units"]
    ([9, 2], '1')
    """
    chosen = None if model is None else model_of(model)
    where, table = _table_of(table)
    return dataset_of(_of_table(where, table, kind, names, chosen), chosen, f"PyCoBi, {Path(where).name}")


Column = tuple[str, str]
"""Name of a column, and which of several numbers it has: "" for one."""


@dataclass(frozen=True)
class _Table:
    """Columns, their cells as text or numbers, the index, and the line of each row in its file."""

    columns: tuple[Column, ...]
    cells: list[list[Any]]
    index: list[Any]
    lines: list[int] | None

    def place(self, where: str, row: int) -> str:
        """Return where a row is."""
        return f"{where}, row {row + 1}" if self.lines is None else f"{where}, line {self.lines[row]}"


def _table_of(table: Any) -> tuple[str, _Table]:
    """Return the cells of a DataFrame or of a CSV file, and what to call it."""
    if isinstance(table, (str, Path)):
        return str(table), _of_csv(local("table", table))
    if not all(hasattr(table, name) for name in ("columns", "iloc", "index")):
        found, expected = show(table), "a pandas DataFrame or the path of a CSV file"
        raise ScanError([Fault("table", found, expected)])
    columns = tuple(_column(name) for name in table.columns)
    cells = [list(row) for row in zip(*(table.iloc[:, i].tolist() for i in range(len(columns))), strict=True)]
    return "table", _Table(columns, cells, table.index.tolist(), None)


def _column(name: Any) -> Column:
    name, *sub = name if isinstance(name, tuple) else (name,)
    return str(name).rsplit("/", 1)[-1], str(sub[0]) if sub else ""


def _of_csv(path: Path) -> _Table:
    """Return the table in a CSV file: two rows of names, that of the index if it has one, data."""
    _refuse_pickle(path)
    reader = csv.reader(lines_of(path))
    rows = [(reader.line_num, row) for row in reader if row]
    if len(rows) < 2 or not all(re.fullmatch(r"\d*", cell) for cell in rows[1][1]):
        expected = "two rows of names, as to_csv of PyCoBi's table writes them"
        raise ScanError([Fault(f"{path}, line 2", "no second row of names", expected)])
    columns = tuple(_column(pair) for pair in zip(rows[0][1][1:], rows[1][1][1:], strict=False))
    named = len(rows) > 2 and not any(rows[2][1][1:])
    data = rows[3:] if named else rows[2:]
    for line, row in data:
        if len(row) != len(columns) + 1:
            hint = "the file ends within a row" if line == rows[-1][0] else ""
            refuse(str(path), line, counted(len(row), "cell"), str(len(columns) + 1), hint)
    return _Table(
        columns, [row[1:] for _, row in data], [row[0] for _, row in data], [line for line, _ in data]
    )


def _refuse_pickle(path: Path) -> None:
    """Raise `ScanError` for a pickle, by its name or by its first byte."""
    pickled = path.suffix.lower() in (".pkl", ".pickle", ".p")
    if not pickled and path.is_file():
        with path.open("rb") as file:
            pickled = file.read(1) == b"\x80"
    if pickled:
        hint = "where it was written, load it and save table.to_csv(...)"
        found = "a pickle, which is not loaded: loading one executes code that is in it"
        raise ScanError([Fault(str(path), found, "a CSV file or a DataFrame", hint)])


_KNOWN = ("bifurcation", "bifurcation_index", "stability", "eigenvalues", "lyapunov_exponents", "time")


def _of_table(
    where: str, table: _Table, kind: str | None, names: Mapping[str, str] | None, model: Model | None
) -> Diagram:
    """Return the diagram in a table."""
    if ("bifurcation", "") not in table.columns:
        known = dict.fromkeys(name for name, _ in table.columns)
        expected = 'a column "bifurcation", as PyCoBi has it'
        raise ScanError([Fault(where, f"the columns {', '.join(known)}", expected)])
    if not table.cells:
        raise ScanError([Fault(where, "no row", "at least one")])
    called = ColumnNames.of(where, [name for name, _ in table.columns], model, names)
    numbers = {
        column: _floats(where, table, i) for i, column in enumerate(table.columns) if column[0] not in _KNOWN
    }
    columns = _named(where, numbers, called)
    wanted = kind or _guessed(numbers)
    if wanted not in TYPES:
        raise ScanError([unknown("kind", wanted, TYPES)])
    count = len(table.cells)
    return Diagram(
        wanted,
        np.zeros(count, dtype=np.intp),
        np.zeros(1, dtype=np.intp),
        _codes(where, table, wanted),
        np.array([int(k) if re.fullmatch(r"\d+", str(k)) else 0 for k in table.index]),
        columns,
        _stability(where, table) if wanted in ("equilibria", "cycles") else None,
        _multiple(where, table),
    )


def _floats(where: str, table: _Table, i: int) -> Array:
    return np.array([_cell(where, table, i, k, float) for k in range(len(table.cells))])


def _cell(where: str, table: _Table, i: int, k: int, read: Callable[[Any], Any]) -> Any:
    cell = table.cells[k][i]
    if cell == "" or cell is None:
        return float("nan")
    try:
        return read(cell)
    except (ValueError, TypeError):
        kind = "a complex number" if read is complex else "a number"
        raise ScanError(
            [Fault(table.place(where, k), f"{show(cell)} as {table.columns[i][0]}", kind)]
        ) from None


def _named(where: str, numbers: Mapping[Column, Array], called: ColumnNames) -> dict[str, Array]:
    """Return the columns by the names of ours; a variable with two numbers has a minimum and a maximum."""
    found = {}
    for (name, sub), values in numbers.items():
        if sub not in ("", "0", "1"):
            expected = "one number, or a minimum and a maximum"
            raise ScanError(
                [Fault(f"{where}, {name}", "a time series", expected, "read it with reduce_limit_cycle")]
            )
        of_cycle = (name, "1") in numbers
        end = ("_min", "_max")[int(sub)] if of_cycle else ""
        found[called.of_column(name) + end] = values
    return found


def _guessed(numbers: Mapping[Column, Array]) -> str:
    """Return what a table holds: see `read_pycobi`."""
    if any(sub == "1" for _, sub in numbers):
        return "cycles"
    free = [name for (name, sub), values in numbers.items() if sub == "" and _varies(name, values)]
    if len(free) > 1:
        hint = 'give kind="LP" or kind="HB"; or "equilibria"'
        raise ScanError(
            [Fault("kind", f"{' and '.join(free)}, which vary", "what the curve is one of", hint)]
        )
    return "equilibria"


def _varies(name: str, values: Array) -> bool:
    return name not in _TIMES and len(np.unique(values[np.isfinite(values)])) > 1


_TIMES = ("period", "PAR(11)", "PAR(14)")


def _codes(where: str, table: _Table, kind: str) -> Index:
    known = TYPES[kind]
    other = {"RG": 0, "LP": known.get("LPC", known.get("LP", 0)), "No Label": 0}
    codes = known | other
    i = table.columns.index(("bifurcation", ""))
    names = [str(row[i]) for row in table.cells]
    wrong = [k for k, name in enumerate(names) if name not in codes]
    if wrong:
        raise ScanError([unknown(table.place(where, wrong[0]), names[wrong[0]], codes, "bifurcation")])
    return np.array([codes[name] for name in names], dtype=np.intp)


def _stability(where: str, table: _Table) -> Any:
    """Return which points are stable, None if the table does not tell."""
    if ("stability", "") not in table.columns:
        return None
    i = table.columns.index(("stability", ""))
    told = {"True": True, "False": False, "1": True, "0": False}
    texts = [str(row[i]) for row in table.cells]
    wrong = [k for k, text in enumerate(texts) if text not in told]
    if wrong:
        found = f"{show(texts[wrong[0]])} as stability"
        raise ScanError([Fault(table.place(where, wrong[0]), found, "True or False")])
    return np.array([told[text] for text in texts])


def _multiple(where: str, table: _Table) -> Any:
    """Return the eigenvalues or multipliers, `(points, n)`, None if there are none."""
    which = [i for i, (name, _) in enumerate(table.columns) if name == "eigenvalues"]
    if not which:
        return None
    count = len(table.cells)
    return np.array(
        [[_cell(where, table, i, k, complex) for i in which] for k in range(count)], dtype=complex
    )
