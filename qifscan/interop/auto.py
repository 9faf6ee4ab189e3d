"""Diagrams of AUTO-07p: its b. files (fort.7), with the spectra in its d. files (fort.9)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, counted, one_of, show, unknown
from qifscan.interop.foreign import TYPES, ColumnNames, Diagram, dataset_of, lines_of, refuse

if TYPE_CHECKING:
    import xarray as xr

KIND_OF_IPS = {0: "equilibria", 1: "equilibria", 2: "cycles"}
"""What AUTO's problem types are; of the others there is nothing of ours to be compared with."""

LONGEST_NUMBER = 64
"""Characters of a number that Fortran prints; patterns take a long time with one of thousands."""

_OTHER = "other"
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[EDQ]([+-]?\d+)|([+-]\d+)|[ED])?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)(\(.*\))?", re.IGNORECASE)


def read_auto(
    path: str | Path,
    diagnostics: str | Path | None = None,
    *,
    kind: str | None = None,
    model: str | None = None,
    names: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return a bifurcation diagram of AUTO-07p: a b. file (fort.7), with all runs that were appended to it.

    Parameters
    ----------
    path
        The b. file.
    diagnostics
        The d. file (fort.9) of the same runs, for eigenvalues and Floquet multipliers.
    kind
        What is wanted of a file that holds more: "equilibria" (IPS = 0, 1; the form of `branch`), "LP" or
        "HB" (curves of folds or Hopf points, ISW = 2; that of `curve`) or "cycles" (IPS = 2; that of
        `cycle_branches`).
    model
        One of the family, of which U(1), U(2), ... are then the variables in order; it gives units and
        meanings.
    names
        Other names for columns, such as `{"PAR(1)": "eta"}`.

    Returns
    -------
    xarray.Dataset
        Along `point`, in the order of the file:

        - `piece` (of cycles `branch`), `type` (AUTO's codes; 0 for a regular point), `label` (AUTO's LAB, 0
          if none);
        - the columns under their own names: the parameters, `l2_norm`, the state, of cycles its `_max`,
          `_min` and `_mean` (INTEGRAL), and `period`;
        - at Hopf points `omega`, `frequency` and `period`, from PERIOD or else their eigenvalues;
        - `stable`, the sign of AUTO's point number; with IPS = 0 and along curves AUTO does not tell;
        - with `diagnostics` `eigenvalue_real`, `eigenvalue_imag` (ascending), `kind`, `unstable_dimensions`;
          of cycles `multiplier_real`, `multiplier_imag` (by descending modulus), `unstable_multipliers` and
          `resolved` (AUTO does not call them inaccurate).

        Along `pieces` (`branches`): `row_size` and `branch_number` (BR). A number that Fortran printed as
        asterisks is NaN; the attribute `left_out` counts branches of another kind.

    Raises
    ------
    ScanError
        With file and line, for what can't be read.

    Notes
    -----
    Doedel, Oldeman, AUTO-07p: Continuation and Bifurcation Software for Ordinary Differential Equations
    (2012).

    Examples
    --------
    >>> from pathlib import Path
    >>> import qifscan as qs
    >>> lines = ["0  NDIM= 2  IPS = 1", "0  ISW = 1"]
    >>> lines += ["0  PT  TY  LAB  PAR(1)  L2-NORM  U(1)  U(2)"]
    >>> lines += ["1  1 9 1  -6.0 1.6 0.1 -1.6", "1  2 2 2  -5.2 0.8 0.2 -0.8"]
    >>> written = Path("b.short").write_text("\\n".join(lines))
    >>> qs.read_auto("b.short", names={"PAR(1)": "eta"}, model="qif")["r"].values
    array([0.1, 0.2])
    """
    chosen = None if model is None else model_of(model)
    where = str(path)
    runs = _runs_of(where, lines_of(path))
    if diagnostics is not None:
        _put_diagnostics(where, runs, str(diagnostics), lines_of(diagnostics))
    kept, wanted = _of_kind(where, runs, kind)
    called = ColumnNames.of(where, [column for run in kept for column in run.columns], chosen, names)
    diagram = _together(kept, wanted, len(runs) - len(kept), called)
    return dataset_of(diagram, chosen, f"AUTO-07p, {Path(path).name}")


_Row = tuple[int, int, int, int, list[float]]
"""BR, PT, TY, LAB and the columns of one point."""


@dataclass
class _Run:
    """Rows of one branch as they stand in the file, and what its header says."""

    ips: int
    isw: int
    curve: int
    columns: tuple[str, ...]
    number: int
    codes: list[int] = field(default_factory=list)
    points: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    spectra: dict[int, _Spectrum] = field(default_factory=dict)

    def add(self, line: int, row: _Row) -> None:
        """Add a row of the file."""
        _, point, code, label, numbers = row
        self.lines.append(line)
        self.points.append(point)
        self.codes.append(code)
        self.labels.append(label)
        self.rows.append(numbers)

    @property
    def kind(self) -> str:
        """What the branch holds."""
        found = KIND_OF_IPS.get(self.ips, _OTHER)
        if abs(self.isw) < 2:
            return found
        curves = {2: "LP", 3: "HB"} if found == "equilibria" else {}
        return curves.get(self.curve or self._tens(), _OTHER)

    def _tens(self) -> int:
        """Return what the labels tell of the kind of curve: it is the first of their two digits."""
        return next((abs(code) // 10 for code in self.codes if abs(code) >= 10), 0)


@dataclass
class _Spectrum:
    """Eigenvalues or multipliers of one point, how many of them AUTO counts as stable, and whether it trusts
    them."""

    values: list[complex] = field(default_factory=list)
    stable: int | None = None
    accurate: bool = True


def _runs_of(where: str, lines: Sequence[str]) -> list[_Run]:
    """Return the branches of a b. file."""
    header: dict[str, int] = {}
    columns: tuple[str, ...] = ()
    runs: list[_Run] = []
    begins = True
    for number, line in enumerate(lines, 1):
        tokens = line.split()
        if not tokens:
            continue
        if tokens[0] == "0":
            header, columns = _of_header(line, tokens, header, columns)
            begins = True
            continue
        if not columns or "IPS" not in header:
            expected = (
                "a header of AUTO before it: lines that begin with 0, with IPS and the names of the columns"
            )
            hint = "AUTO's b. file (fort.7) is read here, its d. file (fort.9) as `diagnostics`"
            refuse(where, number, show(line.strip()), expected, hint)
        row = _row(where, number, tokens, columns, last=number == len(lines))
        if begins or _is_first(row, runs[-1]):
            runs.append(
                _Run(header["IPS"], header.get("ISW", 1), header.get("type", 0), columns, abs(row[0]))
            )
        begins = False
        run = runs[-1]
        run.add(number, row)
    if not runs:
        raise ScanError([Fault(where, "no point", "a header of AUTO and rows of numbers", "AUTO wrote none")])
    return runs


def _of_header(
    line: str, tokens: Sequence[str], header: dict[str, int], columns: tuple[str, ...]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return what is known of a run after one more line of its header."""
    if len(tokens) == 5 and all(_number(token) is not None for token in tokens):
        # A run begins with the limits of the diagram; its further branches only repeat the headings.
        return {}, ()
    if tokens[1:4] == ["PT", "TY", "LAB"]:
        return header, tuple(re.split(r"\s{2,}", line.split("LAB", 1)[1].strip()))
    # Where AUTO changed a value, a second one is what the user gave.
    found = {key: int(value) for key, value in re.findall(r"\b(IPS|ISW|type)\s*[=:]\s*(-?\d+)", line)}
    return found | header, columns


def _is_first(row: _Row, run: _Run) -> bool:
    """Tell the first point of a branch without a header; after 9999 the numbers of points begin anew."""
    return abs(row[1]) == 1 and abs(run.points[-1]) < 9997


def _row(where: str, line: int, tokens: Sequence[str], columns: Sequence[str], *, last: bool) -> _Row:
    """Return branch, point, type and label of a row, and its numbers."""
    if len(tokens) != 4 + len(columns):
        expected = f"BR, PT, TY, LAB and {counted(len(columns), 'column')}: {', '.join(columns)}"
        hint = "the file ends within a row; delete it" if last else ""
        refuse(where, line, counted(len(tokens), "number"), expected, hint)
    counts = []
    for name, token in zip(("BR", "PT", "TY", "LAB"), tokens, strict=False):
        if not re.fullmatch(r"[+-]?\d+", token):
            refuse(where, line, f"{show(token)} as {name}", "an integer")
        counts.append(int(token))
    values = []
    for name, token in zip(columns, tokens[4:], strict=True):
        value = _number(token)
        if value is None:
            refuse(where, line, f"{show(token)} as {name}", "a number as Fortran prints it")
        values.append(value)
    return counts[0], counts[1], counts[2], counts[3], values


def _number(token: str) -> float | None:
    """Return a number that Fortran printed: 1.0D-3, 1.234-101 (three digits leave no room for the E), NaN;
    asterisks, which stand for one that does not fit, are NaN; None if it is not a number."""
    if set(token) == {"*"}:
        return float("nan")
    if _NOT_FINITE.fullmatch(token):
        return float(token.split("(")[0])
    if len(token) > LONGEST_NUMBER:
        return None
    parts = _NUMBER.fullmatch(token)
    return float(f"{parts[1]}e{parts[2] or parts[3] or 0}") if parts else None


# AUTO's diagnostics

_ONE = re.compile(
    r"\s*-?\d+\s+-?\d+\s+(?:Eigenvalue|Multiplier)\s*(\d+):?\s+(\S+)\s+(\S+)(?:\s+Abs\. Val\.\s+\S+)?\s*"
)
_COUNTED = re.compile(r"(?:Eigenvalues|Multipliers)\s*:\s+Stable:\s*(-?\d+)")


def _put_diagnostics(where: str, runs: Sequence[_Run], diagnostics: str, lines: Sequence[str]) -> None:
    """Put the spectra of a d. file to the points that they belong to; both files have them in one order."""
    places = ((run, k) for run in runs for k in range(len(run.points)))
    for line, branch, point, spectrum in _spectra(diagnostics, lines):
        if not spectrum.values:
            continue
        for run, k in places:
            if (run.number, abs(run.points[k])) == (branch, point):
                run.spectra[k] = spectrum
                break
        else:
            expected = f"the points of {where}, in their order"
            found = f"point {point} of branch {branch}"
            refuse(diagnostics, line, found, expected, "give the d. file of the same runs")


def _spectra(where: str, lines: Sequence[str]) -> Iterator[tuple[int, int, int, _Spectrum]]:
    """Yield line, branch, number and spectrum of every point: the last one printed before its row."""
    now, is_row, any_row = _Spectrum(), False, False
    for number, line in enumerate(lines, 1):
        tokens = line.split()
        if tokens[:4] == ["BR", "PT", "TY", "LAB"]:
            is_row = True
        elif is_row and tokens:
            if len(tokens) < 2 or not all(re.fullmatch(r"-?\d+", token) for token in tokens[:2]):
                refuse(where, number, show(line.strip()), "a row that begins with BR and PT")
            yield number, abs(int(tokens[0])), abs(int(tokens[1])), now
            now, is_row, any_row = _Spectrum(), False, True
        elif "Multiplier inaccurate" in line:
            now.accurate = False
        elif stable := _COUNTED.search(line):
            now.stable = int(stable[1])
        elif "Eigenvalue " in line or "Multiplier " in line:
            _add_value(where, number, line, now)
    if not any_row:
        found = "no row below a heading BR PT TY LAB"
        raise ScanError([Fault(where, found, "AUTO's d. file (fort.9)", "AUTO prints them with IID > 0")])


def _add_value(where: str, number: int, line: str, now: _Spectrum) -> None:
    parts = _ONE.fullmatch(line)
    real, imag = (_number(token) for token in parts.groups()[1:]) if parts else (None, None)
    if parts is None or real is None or imag is None:
        refuse(
            where,
            number,
            show(line.strip()),
            "BR, PT, Eigenvalue or Multiplier, its position and two numbers",
        )
        return
    if int(parts[1]) == 1:
        now.values.clear()
    if int(parts[1]) != len(now.values) + 1:
        refuse(
            where,
            number,
            f"number {parts[1]}",
            f"number {len(now.values) + 1}",
            "lines before it are missing",
        )
    now.values.append(complex(real, imag))


# From runs to one diagram


def _of_kind(where: str, runs: Sequence[_Run], kind: str | None) -> tuple[list[_Run], str]:
    """Return the branches of one kind, and which it is."""
    there = [name for name in TYPES if any(run.kind == name for run in runs)]
    if kind is not None and kind not in TYPES:
        raise ScanError([unknown("kind", kind, TYPES)])
    if not there:
        found = f"IPS = {runs[0].ips}, ISW = {runs[0].isw}"
        expected = "IPS = 0, 1 (equilibria; with ISW = 2 curves of LP or HB) or IPS = 2 (cycles)"
        raise ScanError([Fault(f"{where}, line {runs[0].lines[0]}", found, expected)])
    if kind is None and len(there) > 1:
        raise ScanError(
            [Fault("kind", f"{' and '.join(there)} in {where}", "one of them", f'give kind="{there[0]}"')]
        )
    wanted = kind or there[0]
    if wanted not in there:
        raise ScanError([Fault("kind", f"no {wanted} in {where}", one_of(there))])
    return [run for run in runs if run.kind == wanted], wanted


def _together(runs: Sequence[_Run], kind: str, left_out: int, names: ColumnNames) -> Diagram:
    """Return the points of all branches; a column that a branch does not have is NaN there."""
    size = [len(run.points) for run in runs]
    piece = np.repeat(np.arange(len(runs)), size)
    columns: dict[str, Array] = {}
    for k, run in enumerate(runs):
        rows = np.array(run.rows)
        for column, values in zip(run.columns, rows.T, strict=True):
            whole = columns.setdefault(names.of_column(column), np.full(len(piece), np.nan))
            whole[piece == k] = values
    told = kind in ("equilibria", "cycles") and all(run.ips != 0 for run in runs)
    points = np.concatenate([run.points for run in runs])
    found = Diagram(
        kind,
        piece,
        np.array([run.number for run in runs]),
        np.concatenate([_types(run) for run in runs]),
        np.concatenate([run.labels for run in runs]),
        columns,
        points < 0 if told else None,
        left_out=left_out,
    )
    offsets = np.cumsum([0, *size])
    spectra = {int(offsets[i]) + k: s for i, run in enumerate(runs) for k, s in run.spectra.items()}
    return _with_spectra(found, spectra) if spectra else found


def _types(run: _Run) -> Index:
    """Return the codes of one branch without the digit that tells on what kind of curve a point is."""
    known = TYPES[run.kind].values()
    found = []
    for code, line in zip(run.codes, run.lines, strict=True):
        base = code if code == -32 else int(np.sign(code)) * (abs(code) % 10)
        base = {4: 0, -1: -21, -2: -22, -3: -23}.get(base, base)
        if base not in known:
            refuse("TY", line, str(code), f"a code that AUTO has for {run.kind}")
        found.append(base)
    return np.array(found, dtype=np.intp)


def _with_spectra(diagram: Diagram, spectra: Mapping[int, _Spectrum]) -> Diagram:
    count, most = len(diagram.piece), max(len(spectrum.values) for spectrum in spectra.values())
    values = np.full((count, most), complex(np.nan, np.nan))
    unstable, resolved = np.full(count, -1), np.zeros(count, dtype=bool)
    for k, spectrum in spectra.items():
        values[k, : len(spectrum.values)] = spectrum.values
        unstable[k] = -1 if spectrum.stable is None else len(spectrum.values) - spectrum.stable
        resolved[k] = spectrum.accurate and spectrum.stable is not None
    return replace(diagram, multiple=values, unstable=unstable, resolved=resolved)
