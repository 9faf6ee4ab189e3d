"""How things print: lines of a label and a text, in a terminal and as a table of a notebook."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

LABEL = 13
"""Characters of a label, if none is longer."""

FEW = 6
"""Values that are all printed; of more, the first, the last and their number."""


class Printed:
    """Mixin of what prints as lines of a label and a text: `rows` gives them.

    A notebook shows them as a table, and everything else, `print` included, as text.
    """

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines, each a label and a text."""
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self.rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self.rows())


def as_text(rows: Iterable[tuple[str, str]]) -> str:
    """Return lines of a label and a text, the texts under each other."""
    rows = list(rows)
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join(f"{label:<{max(width, LABEL)}} {printable(text)}".rstrip() for label, text in rows)


def as_html(rows: Iterable[tuple[str, str]]) -> str:
    """Return the lines as a table of HTML; what a user named is escaped."""
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(label)}</th>'
        f'<td style="text-align:left">{html.escape(printable(text))}</td></tr>'
        for label, text in rows
    )
    return f"<table>{cells}</table>"


def span(given: Sequence[Any]) -> str:
    """Return the values of an axis as a person would say them: all if they are few, else count and range."""
    count = len(given)
    if count <= FEW:
        return ", ".join(map(value, given))
    if isinstance(given[0], str):
        return f"{count:,} names, {given[0]} to {given[-1]}"
    low, high = min(given), max(given)
    if low == high:
        return f"{count:,} values, all {value(low)}"
    if {given[0], given[-1]} != {low, high}:
        return f"{count:,} values between {value(low)} and {value(high)}"
    return f"{count:,} values, {value(given[0])} to {value(given[-1])}{_spacing(given)}"


def _spacing(given: Sequence[float]) -> str:
    steps = [b - a for a, b in pairwise(given)]
    if _all_close(steps):
        return f", {abs(steps[0]):.6g} apart"
    if min(given) > 0.0 and _all_close([math.log(b / a) for a, b in pairwise(given)]):
        return ", evenly spaced in the logarithm"
    return ""


def _all_close(steps: Sequence[float]) -> bool:
    mean = sum(steps) / len(steps)
    return all(math.isclose(step, mean, rel_tol=1e-6) for step in steps)


def value(given: Any) -> str:
    """Return a number with the digits that matter to a reader, or a name as it stands."""
    return f"{given:.6g}" if isinstance(given, float) else str(given)


def printable(text: str) -> str:
    """Return a text with its control characters written out: a file's title must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_bytes(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
