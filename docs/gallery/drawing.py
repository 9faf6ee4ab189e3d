"""What the figures of the gallery have in common."""

import itertools

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.path import Path

INK, BLUE, RED, GREEN, GOLD, GREY = (
    "#1b1b1b",
    "#2a6fbb",
    "#c8352b",
    "#2e8b57",
    "#d99a1c",
    "#8a8a8a",
)

mpl.rcParams.update(
    {
        "font.size": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "legend.frameon": False,
        "legend.fontsize": 8.0,
        "lines.linewidth": 1.4,
        "figure.constrained_layout.use": True,
    }
)


def canvas(rows=1, columns=1, size=(7.2, 3.2), **options):
    """Return a figure and its panels."""
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns, **options)


def letters(panels):
    """Number panels with letters, at the left above each."""
    for letter, axes in zip("abcdefgh", np.ravel(panels), strict=False):
        title = axes.get_title(loc="left")
        axes.set_title("")
        axes.set_title(f"$\\bf{{{letter}}}$  {title}", loc="left")


def runs(flags):
    """Yield the slices over which flags do not change, each with one more point so that lines join."""
    flags = np.asarray(flags)
    ends = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1), len(flags)]
    for start, stop in itertools.pairwise(ends):
        if stop > start:
            yield slice(start, min(stop + 1, len(flags))), bool(flags[start])


def draw_branch(axes, branch, x, y, factor=1.0, colour=INK, label=None):
    """Draw equilibria in order, solid where they are stable, with their folds and Hopf points."""
    for number in np.unique(branch["piece"].values):
        piece = branch.isel(point=branch["piece"].values == number)
        for part, stable in runs(piece["stable"].values):
            axes.plot(
                piece[x].values[part],
                factor * piece[y].values[part],
                "-" if stable else "--",
                color=colour,
                label=label if stable else None,
            )
            label = None if stable else label
    marks(axes, branch, x, y, factor)


def marks(axes, points, x, y, factor=1.0):
    """Mark folds, Hopf points, and points of codimension two."""
    shown = {
        2: ("o", BLUE, "LP"),
        3: ("s", RED, "HB"),
        -22: ("D", GOLD, "CP"),
        -21: ("*", GREEN, "BT"),
        -32: ("^", RED, "GH"),
    }
    for code, (marker, colour, name) in shown.items():
        here = points.isel(point=points["type"].values == code)
        if here.sizes["point"]:
            axes.plot(
                here[x].values,
                factor * here[y].values,
                marker,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=0.7,
                markersize=9 if marker == "*" else 6.5,
                linestyle="",
                label=name,
                zorder=5,
            )


def draw_cycles(axes, table, x, low, high, factor=1.0, colour=GREEN):
    """Draw least and greatest values of cycles, solid where they are stable."""
    for number in np.unique(table["branch"].values):
        piece = table.isel(point=table["branch"].values == number)
        for part, stable in runs(piece["stable"].values):
            for name in (low, high):
                axes.plot(
                    piece[x].values[part],
                    factor * piece[name].values[part],
                    "-" if stable else ":",
                    color=colour,
                    linewidth=1.2,
                )


def legend_once(axes, **options):
    """Write a legend with each name once that is seen in the panel."""
    handles, names = axes.get_legend_handles_labels()
    # Matplotlib updates the limits only when it is asked for them.
    _ = axes.viewLim
    seen = {}
    for handle, name in zip(handles, names, strict=True):
        if name not in seen and is_seen(axes, handle):
            seen[name] = handle
    if seen:
        axes.legend(seen.values(), seen.keys(), **options)


def is_seen(axes, drawn):
    """Tell whether a line or marker is seen within the limits of its panel."""
    if not hasattr(drawn, "get_xydata"):
        return True
    # In pixels, in which a logarithmic axis is straight.
    points = drawn.get_transform().transform(np.asarray(drawn.get_xydata(), float))
    points = points[np.isfinite(points).all(axis=1)]
    panel = axes.bbox.padded(1.0)
    if drawn.get_linestyle() == "None" or len(points) == 1:
        return any(panel.contains(x, y) for x, y in points)
    if not len(points):
        return False
    return bool(Path(points).intersects_bbox(panel, filled=False))
