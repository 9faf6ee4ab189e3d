"""What can be wrong with a request: one line each, with where, what was found, and what to do."""

from __future__ import annotations

import datetime
import difflib
import json
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from qifscan.printed import printable

LONGEST_LIST = 110
"""Characters of known names in a line, which is not to be longer than 200. With a near name fewer do."""


class QifscanError(Exception):
    """A request that can't be met as it stands; its text is meant for the user, one line a fault.

    Examples
    --------
    >>> import qifscan as qs
    >>> try:
    ...     qs.Protocol(window=-1.0)
    ... except qs.QifscanError as error:
    ...     print(error)
    window: found -1.0, expected a number above 0
    """


class Names(str):
    """An expectation of one of several names: the text may show a few of them, `known` has all."""

    known: tuple[str, ...]

    def __new__(cls, text: str, known: Iterable[str]) -> Self:
        """Make the text, with all names beside it."""
        made = super().__new__(cls, text)
        made.known = tuple(known)
        return made

    def __reduce__(self) -> Any:
        return Names, (str(self), self.known)


@dataclass(frozen=True)
class Fault:
    """One mistake: where it is, what was found, what was expected, and what to do about it."""

    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: found {self.found}, expected {self.expected}"
        line = f"{line}; {self.hint}" if self.hint else line
        # A name that the user gave may hold a line break.
        return printable(" ".join(line.splitlines()))

    @property
    def known(self) -> tuple[str, ...]:
        """Every name that was expected, also where the text shows a few; empty where no name was."""
        return getattr(self.expected, "known", ())


class ScanError(QifscanError, ValueError):
    """A definition that is wrong; `faults` holds every mistake, the text has one line for each.

    Where a line leaves names out, `faults[0].known` has all of them, and `qifscan names` prints them.

    Examples
    --------
    >>> import qifscan as qs
    >>> try:
    ...     qs.Scan(axes={"etta": [1.0]})
    ... except qs.ScanError as error:
    ...     print(error.faults[0].hint)
    did you mean "eta"?
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> Any:
        # Pickle makes an exception again from its text, which would be taken for a list of faults.
        return type(self), (self.faults,)


class UnknownName(ScanError, KeyError):
    """A name that is looked up in a table, and is not there."""

    # That of a KeyError is its text in quotation marks.
    __str__ = BaseException.__str__


class ModelNotImported(ScanError):
    """A store names a model of the user's own that nobody has imported: what a store names is not run."""


class StoreError(QifscanError):
    """A store that is not there, not ours, damaged, of another scan, or can't be written.

    Examples
    --------
    >>> import qifscan as qs
    >>> try:
    ...     qs.open_scan("not_there.zarr")
    ... except qs.StoreError as error:
    ...     print(error)
    not_there.zarr: not found; expected a store that qifscan run has made
    """


class UnknownModel(StoreError):
    """A store of a model whose code nobody has imported."""


class RunError(QifscanError):
    """A run that ended before every chunk was written; what was written stays."""


class RunInterrupted(RunError, KeyboardInterrupt):
    """A run, or another call that takes long, that was stopped by Ctrl-C; what was written stays."""

    def _render_traceback_(self) -> list[str]:
        # A notebook shows this in place of a screen of code: who stopped it knows where.
        return [str(self)]


def short(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant, whatever its case, or None."""
    folded = {other.casefold(): other for other in known}
    matches = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest of `known`, or nothing if none is near."""
    meant = nearest(name, known)
    return "" if meant is None else f'did you mean "{meant}"?'


def one_of(known: Iterable[str], first: str | None = None) -> Names:
    """Return the known names as the text of an expectation; with a `first`, it and a few others."""
    known = [str(name) for name in known]
    names = sorted(known, key=lambda name: name != first)
    room = LONGEST_LIST if first is None else LONGEST_LIST // 3
    shown = [name for i, name in enumerate(names) if len(", ".join(names[: i + 1])) <= room] or names[:1]
    more = f", ... ({len(names)} in all: qifscan names)" if len(shown) < len(names) else ""
    return Names(f"one of {', '.join(shown)}{more}", known)


def unknown(where: str, name: Any, known: Iterable[str], kind: str = "") -> Fault:
    """Return the fault of a name that is not known: of which kind, what is known, and the nearest."""
    known = list(known)
    found = f"unknown {kind} {show(name)}" if kind else show(name)
    meant = nearest(str(name), known)
    return Fault(where, found, one_of(known, meant), near(str(name), known))


AS_MS = 'times are numbers of ms: divide by np.timedelta64(1, "ms")'
"""What to do with a duration of NumPy or Python: taken as its integer it would be a count of nanoseconds."""


def is_time(value: Any) -> bool:
    """Whether a value, or an array of values, is a duration or a date, and so not a number."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind in ("m", "M") or isinstance(value, (datetime.timedelta, datetime.date))


def show(value: Any) -> str:
    """Return a value as a short text on one line."""
    if is_time(value) and getattr(value, "ndim", 1) == 0:
        # `item` turns a duration in nanoseconds into an integer.
        is_count = isinstance(value.item(), int)
        return str(getattr(value, "values", value)) if is_count else repr(value.item())
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None:
        return "nothing"
    try:
        is_data = isinstance(value, (str, int, list, tuple, dict))
        text = json.dumps(value, default=repr, ensure_ascii=False) if is_data else repr(value)
    except (TypeError, ValueError):
        is_int = isinstance(value, int)
        text = "an integer of too many digits" if is_int else f"a value of type {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def without(value: Any, lack: str) -> str:
    """Return what was found in place of a dataset: the value; or of a dataset, what it lacks."""
    return f"a {type(value).__name__} {lack}" if hasattr(value, "dims") else show(value)


def check_count(where: str, count: Any, least: int = 1) -> None:
    """Raise `ScanError` unless this is an integer of at least so much."""
    is_integer = hasattr(count, "__index__") and not isinstance(count, bool) and not is_time(count)
    if not is_integer or count < least:
        raise ScanError([Fault(where, show(count), f"an integer of at least {least}")])


def check_flag(where: str, value: Any) -> None:
    """Raise `ScanError` unless this is True or False: "no" would be taken for True."""
    if not isinstance(value, bool):
        raise ScanError([Fault(where, show(value), "True or False")])


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, of Python or NumPy, and not a truth value."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool) and not is_time(value)
    return is_real and math.isfinite(value)


def is_range(value: Any, *, finite: bool = True) -> bool:
    """Whether these are two numbers, the first below the second; with `finite=False` also infinite ones."""
    if not isinstance(value, (tuple, list)) and getattr(value, "shape", ()) != (2,):
        return False
    ends = [0.0 if not finite and end in (-math.inf, math.inf) else end for end in value]
    return len(ends) == 2 and all(map(is_number, ends)) and bool(value[0] < value[1])


def check_time(where: str, value: Any) -> None:
    """Raise `ScanError` unless this is None or a time above 0."""
    if value is not None and not (is_number(value) and value > 0):
        raise ScanError(
            [Fault(where, show(value), "a number of ms above 0", AS_MS if is_time(value) else "")]
        )


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return a count and its noun, in the singular or the plural."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
