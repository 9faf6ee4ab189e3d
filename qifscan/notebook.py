"""The output of a cell in a notebook: a line below it that changes while something runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def in_a_notebook() -> bool:
    """Tell whether a cell's output can be changed while it runs: whether a kernel of IPython's runs this."""
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def line() -> Iterator[Callable[[str], None]]:
    """Return what writes a line below a cell and then replaces it; it stays as it was last."""
    from IPython.display import display

    handle = display(_Line(""), display_id=True)
    last = ""

    def write(text: str) -> None:
        nonlocal last
        if text != last:
            handle.update(_Line(text))
            last = text

    yield write


class _Line:
    """A line as IPython displays it: as it is, without the quotes of a string."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text
