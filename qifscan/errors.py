"""What can be wrong with a request: one line each, with where, what was found, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class QifscanError(Exception):
    """A request that can't be met as it stands; its text is meant for the user, one line a fault."""


@dataclass(frozen=True)
class Fault:
    """One mistake: where it is, what was found, what was expected, and what to do about it."""

    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: found {self.found}, expected {self.expected}"
        return f"{line}; {self.hint}" if self.hint else line


class ScanError(QifscanError, ValueError):
    """A definition that is wrong; `faults` holds every mistake, the text has one line for each."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class StoreError(QifscanError):
    """A store that is not there, not ours, damaged, of another scan, or can't be written."""


class RunError(QifscanError):
    """A run that ended before every chunk was written; what was written stays."""


class RunInterrupted(RunError, KeyboardInterrupt):
    """A run that was stopped by Ctrl-C; what was written stays."""


def near(name: str, known: Sequence[str]) -> str:
    """Return a hint that names the nearest of `known`, or nothing if none is near."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'did you mean "{matches[0]}"?' if matches else ""


def one_of(known: Iterable[str]) -> str:
    """Return the known names as the text of an expectation."""
    return "one of " + ", ".join(known)
