"""How a figure looks, as far as a caller chooses it: where it is drawn, its colours, range and title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, check_flag, is_number, near
from qifscan.errors import show as show_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

DPI = 150


@dataclass(frozen=True)
class Style:
    """What a caller chooses of a figure; see `qifscan.show`. It is checked when it is made."""

    ax: Axes | None = None
    cmap: str | Colormap | None = None
    vmin: float | None = None
    vmax: float | None = None
    log: bool = False
    figsize: tuple[float, float] | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        check_flag("log", self.log)
        faults = [*self._range_faults(), *self._size_faults(), *self._colour_faults()]
        if self.ax is not None and not hasattr(self.ax, "pcolormesh"):
            faults.append(Fault("ax", show_value(self.ax), "axes of matplotlib, such as plt.subplots()[1]"))
        if self.title is not None and not isinstance(self.title, str):
            faults.append(Fault("title", show_value(self.title), "a text"))
        if faults:
            raise ScanError(faults)

    def _range_faults(self) -> list[Fault]:
        ends = {"vmin": self.vmin, "vmax": self.vmax}
        faults = [
            Fault(name, show_value(x), "a number")
            for name, x in ends.items()
            if x is not None and not is_number(x)
        ]
        if faults:
            return faults
        if self.vmin is not None and self.vmax is not None and not self.vmin < self.vmax:
            return [Fault("vmin", f"{self.vmin:g}", f"less than vmax, {self.vmax:g}")]
        low = [name for name, x in ends.items() if self.log and x is not None and x <= 0]
        return [Fault(name, f"{ends[name]:g}", "more than 0 with log=True") for name in low]

    def _size_faults(self) -> list[Fault]:
        if self.figsize is None:
            return []
        if self.ax is not None:
            return [
                Fault("figsize", show_value(self.figsize), "none", "`ax` is in a figure that has its size")
            ]
        size = np.asarray(self.figsize, dtype=object).ravel()
        good = len(size) == 2 and all(is_number(x) and 0.0 < x <= 200.0 for x in size)
        return [] if good else [Fault("figsize", show_value(self.figsize), "width and height in inches")]

    def _colour_faults(self) -> list[Fault]:
        if self.cmap is None or hasattr(self.cmap, "with_extremes"):
            return []
        import matplotlib as mpl

        if isinstance(self.cmap, str) and self.cmap in mpl.colormaps:
            return []
        hint = near(str(self.cmap), mpl.colormaps)
        return [Fault("cmap", show_value(self.cmap), 'one of matplotlib.colormaps, e.g. "cividis"', hint)]

    @property
    def has_range(self) -> bool:
        """Whether the colours or heights are chosen."""
        return self.log or self.vmin is not None or self.vmax is not None

    def colours(self, usual: str) -> Any:
        """Return the map of colours, a usual one unless another is chosen."""
        import matplotlib as mpl

        chosen = usual if self.cmap is None else self.cmap
        return mpl.colormaps[chosen] if isinstance(chosen, str) else chosen

    def canvas(self, rows: int, columns: int, size: tuple[float, float], **sharing: Any) -> tuple[Any, Any]:
        """Return the figure and its panels `(rows, columns)`: a new one, or that of the caller's axes."""
        if self.ax is not None:
            if rows * columns > 1:
                hint = "draw one observable, and select a value of the other dimensions"
                raise ScanError([Fault("ax", f"{rows * columns} panels to draw", "one", hint)])
            return self.ax.figure, np.array([[self.ax]])
        from qifscan.plots.picture import Picture

        figure = Picture(figsize=self.figsize or size, layout="constrained", dpi=DPI)
        return figure, figure.subplots(rows, columns, squeeze=False, **sharing)

    def head(self, figure: Any, text: str) -> None:
        """Write the chosen heading, or this one, over a figure or the caller's axes."""
        told = text if self.title is None else self.title
        if self.ax is not None:
            self.ax.set_title(told, fontsize="medium")
        else:
            figure.suptitle(told, fontsize="medium")

    def limit(self, panels: Sequence[Axes]) -> None:
        """Give panels whose heights are values the chosen range and scale."""
        for axes in panels:
            if self.log:
                _check_above_0(axes)
                axes.set_yscale("log")
            axes.set_ylim(self.vmin, self.vmax)
            if self.log:
                log_ticks(axes.yaxis, *map(float, axes.get_ylim()))

    def check_no_colours(self, what: str) -> None:
        """Raise `ScanError` where a map of colours is chosen and values have none."""
        if self.cmap is not None:
            hint = "it is for maps"
            raise ScanError([Fault("cmap", show_value(self.cmap), f"none for {what}", hint)])


def _check_above_0(axes: Axes) -> None:
    heights = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines]
    if heights and not (np.concatenate([x.ravel() for x in heights]) > 0.0).any():
        found = f"no value of {axes.get_ylabel()} above 0"
        raise ScanError([Fault("log", found, "some", "leave log out")])


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Put the ticks of a logarithmic axis between two values at few numbers, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    decades = float(np.log10(high / low))
    # Within less than a decade there may be no power of ten, and matplotlib writes 6 x 10^-1 at every other.
    few = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])
    axis.set_major_locator(
        few if decades < 0.8 else LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.0 else (1.0,))
    )
    plain = all(1e-4 <= end < 1e5 for end in (low, high))
    if plain or decades < 2.0:
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}"))
    axis.set_minor_formatter(NullFormatter())
