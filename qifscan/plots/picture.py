"""The figure that a notebook shows as an image."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure

_DPI = 96


class Picture(Figure):
    """A figure that is an image as the last line of a cell, whether or not `%matplotlib inline` was given.

    That command teaches IPython how to show any figure; without it a cell would show the figure's size in
    words. Where both hold IPython asks what it was taught, so none is shown twice.
    """

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=_DPI)
        return buffer.getvalue()
