"""Which values a parameter may have, and how that is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Domain:
    """The values that a parameter may have, as a test, of an array too, and as words for an error."""

    holds: Callable[[Any], Any]
    words: str

    def __repr__(self) -> str:
        return f"<{self.words}>"


REAL = Domain(lambda x: x == x, "a finite number")
POSITIVE = Domain(lambda x: x > 0, "a number above 0")
NON_NEGATIVE = Domain(lambda x: x >= 0, "a number not below 0")
NONZERO = Domain(lambda x: x != 0, "a number other than 0")
FRACTION = Domain(lambda x: (x > 0) & (x <= 1), "a number above 0, at most 1")
