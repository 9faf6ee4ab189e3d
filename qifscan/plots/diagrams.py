"""Branches, cycles and bifurcations as the field draws them: solid stable, dashed unstable, points marked.

Every dataset of theory is read as one table of points; what is drawn depends on the plane alone. Over a
parameter stand equilibria by their state and cycles by their least and greatest one; in a plane of two
parameters only bifurcations are. A marker is hollow where its point is not converged or not resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from qifscan.definition import number
from qifscan.errors import Fault, ScanError, one_of, unknown
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.plots.table import (
    CYCLE_COLOUR,
    EIGENVALUES,
    FOLD_COLOUR,
    HOPF_COLOUR,
    MARKS,
    OF_CYCLES,
    ON_GRID,
    Array,
    Mark,
    Table,
    label,
    read,
    unit_of,
    value_of,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qifscan.arrays import Range
    from qifscan.plots.style import Style
else:
    xr = LazyModule("xarray")


def ink() -> str:
    """Return the colour of text in the style that is set, black on white by default: equilibria have it."""
    import matplotlib as mpl

    return str(mpl.rcParams["text.color"])


def paper() -> str:
    """Return the colour of the panels in the style that is set."""
    import matplotlib as mpl

    return str(mpl.rcParams["axes.facecolor"])


LINES = {
    "LP": ("-", FOLD_COLOUR, "folds (exact)"),
    "HB": ("-", HOPF_COLOUR, "Hopf points (exact)"),
    "LPC": ("-", MARKS["LPC"].colour, "folds of cycles"),
    "PD": ("-", MARKS["PD"].colour, "period doublings"),
    "NS": ("-", MARKS["TR"].colour, "torus bifurcations"),
    "homoclinic": ("-", MARKS["BT"].colour, "homoclinic orbits"),
    "period": ("-", CYCLE_COLOUR, "cycles of one period"),
}
"""Style, colour and name of curves in two parameters, by what they are made of."""

MARGINAL = frozenset({"BP", "LP", "HB", "CP", "BT", "GH", "LPC", "PD", "TR"})
"""Types whose points are stable by no test: what lies on one side of them tells the stability there."""

_ASIDE = 0.6
"""What is shown beside the special points of a branch that goes far beyond, as a share of their range."""


_ON_A_LINE = 5
"""Values of parameters on a line of the heading: more would reach under the legend beside the panels."""

_BELOW = 36.0
"""Points from a panel to a legend below it: its axis has ticks and a label there."""


# Drawing


def draw(axes: Axes, points: Table, x: str, y: str) -> None:
    """Draw a table over a parameter: equilibria by a state, cycles by its extremes, or a period."""
    across = points.columns[x]
    name = "cycle" if points.of_cycles else "equilibrium"
    colour = CYCLE_COLOUR if points.of_cycles else ink()
    if y in EIGENVALUES:
        axes.axhline(0.0, color="0.7", linewidth=0.8, zorder=0.5)
    for up in points.heights(y):
        if points.kind in ON_GRID:
            _dots(axes, across, up, points, colour, name)
        elif points.kind in ("branch", "cycle_branches"):
            for number in np.unique(points.line):
                _line(axes, across, up, points, points.line == number, colour, name)
        elif points.kind == "curve":
            _curve(axes, across, up, points)
        if y not in EIGENVALUES:
            _marks(axes, across, up, points, MARKS)
    if y in EIGENVALUES:
        _marks(axes, across, _critical(points, y), points, MARKS)


def _critical(points: Table, name: str) -> Array:
    """Return a part of the eigenvalue that is nearest to the imaginary axis, at every point."""
    real, part = (np.stack(points.heights(n)) for n in (EIGENVALUES[0], name))
    nearest = np.nanargmin(np.where(np.isfinite(real), np.abs(real), np.inf), axis=0)
    found: Array = np.take_along_axis(part, nearest[None], axis=0)[0]
    return found


def _line(axes: Axes, x: Array, y: Array, points: Table, here: Array, colour: str, name: str) -> None:
    """Draw a branch: solid where it is stable, dashed where it is not."""
    branch = points.chosen(here)
    for solid, style, told in ((True, "-", "stable"), (False, "--", "unstable")):
        line = _joined(x[here], y[here], _segments(branch, solid))
        # A branch drawn twice, from both of its ends, would fill its own gaps.
        gaps = None if solid else paper()
        if len(line[0]):
            axes.plot(*line, style, color=colour, gapcolor=gaps, linewidth=1.4, label=f"{name}, {told}")


def _curve(axes: Axes, x: Array, y: Array, points: Table) -> None:
    """Draw curves of bifurcations, with a rim that sets them off from a map."""
    style, colour, name = LINES[points.made_of]
    line = _joined(x, y, points.line[1:] == points.line[:-1])
    axes.plot(*line, color=paper(), linewidth=2.6, alpha=0.7)
    axes.plot(*line, style, color=colour, linewidth=1.4, label=name)


def draw_plane(axes: Axes, points: Table, x: str, y: str) -> None:
    """Draw the bifurcations of a table in the plane of two parameters."""
    across, up = points.columns[x], points.columns[y]
    if points.kind == "curve":
        _curve(axes, across, up, points)
    _marks(axes, across, up, points, OF_CYCLES if points.of_cycles else MARKS)


def check_plane(points: Table, where: str) -> None:
    """Raise `ScanError` where a dataset has nothing to draw in a plane of two parameters."""
    if points.kind in ("branch", *ON_GRID):
        kinds = one_of(("curve", "special_points", "cycle_branches"))
        raise ScanError([Fault(where, f"a dataset of {points.kind}", f"over a plane {kinds}")])
    if points.of_cycles and not np.isin(points.type, OF_CYCLES).any():
        found = f"no bifurcation of cycles on branches cut off by: {', '.join(points.cuts)}"
        raise ScanError([Fault(where, found, "at least one", "give more points, or a wider range")])


def _segments(points: Table, stable: bool) -> Array:
    """Return which pairs of neighbours on a line are stable, or which are not.

    Next to a special point, at which an eigenvalue or multiplier is on the border, the other one tells.
    """
    marginal, now = np.isin(points.type, list(MARGINAL)), points.stable
    told = np.where(marginal[1:] | marginal[:-1], now[1:] | now[:-1], now[1:] & now[:-1])
    return np.asarray((points.line[1:] == points.line[:-1]) & (told == stable))


def _joined(x: Array, y: Array, segments: Array) -> tuple[Array, Array]:
    """Return the lines of the segments, with NaN between what is not connected."""
    edges = np.diff(np.concatenate([[0], segments.astype(np.int8), [0]]))
    parts = [
        slice(a, b + 1) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    ]

    def line(values: Array) -> Array:
        pieces = [piece for part in parts for piece in (values[part], [np.nan])]
        return np.concatenate(pieces[:-1]) if pieces else np.empty(0)

    return line(x), line(y)


def _dots(axes: Axes, x: Array, y: Array, points: Table, colour: str, name: str) -> None:
    """Draw cycles or equilibria that are on no branch."""
    rows = (
        (points.sure & points.stable, "o", colour, f"{name}, stable"),
        (points.sure & ~points.stable, "x", colour, f"{name}, unstable"),
        (~points.sure, "o", "none", f"{name}, not resolved"),
    )
    for here, shape, face, told in rows:
        if here.any():
            axes.plot(x[here], y[here], shape, color=colour, markerfacecolor=face, markersize=3.5, label=told)


def _marks(axes: Axes, x: Array, y: Array, points: Table, types: Sequence[str] | Mapping[str, Mark]) -> None:
    """Mark special points of these types, hollow where they are not sure."""
    for name in types:
        for sure in (True, False):
            here = (points.type == name) & (points.sure == sure)
            if here.any():
                mark_points(axes, x[here], y[here], name, sure=sure)


def mark_points(axes: Axes, x: Array, y: Array, name: str, *, sure: bool = True) -> None:
    """Mark points of a type."""
    mark = MARKS[name]
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=mark.shape,
        color=mark.colour,
        markerfacecolor=mark.colour if sure else "none",
        markeredgecolor=ink() if sure else mark.colour,
        markeredgewidth=0.6 if sure else 1.2,
        markersize=9 if mark.shape == "*" else 6,
        zorder=4,
        label=mark.meaning if sure or name == "unresolved" else f"{mark.meaning}, not converged",
    )


def legend(
    figure: Figure,
    panels: Sequence[Axes],
    loc: Literal["outside right upper", "outside lower center"],
    style: Style,
) -> None:
    """Put a legend beside the panels of a figure, with every name once that is seen in one of them.

    In a figure of the caller's it is below the panel.
    """
    seen: dict[str, Any] = {}
    for axes in panels:
        # Matplotlib updates the limits only when it is asked for them.
        _ = axes.viewLim
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            if name not in seen and _is_in(axes, handle):
                seen[name] = handle
    columns = 3 if loc == "outside lower center" else 1
    if seen and style.ax is not None:
        _legend_below(style.ax, seen)
    elif seen:
        figure.legend([*seen.values()], [*seen], fontsize="small", framealpha=0.8, loc=loc, ncols=columns)


def _legend_below(axes: Axes, seen: Mapping[str, Any]) -> None:
    """Put a legend below a panel and the label of its axis: one over a map hides what is there."""
    from matplotlib.transforms import ScaledTranslation

    inches: Any = axes.figure.dpi_scale_trans
    below = axes.transAxes + ScaledTranslation(0.0, -_BELOW / 72.0, inches)
    where: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": below}
    axes.legend([*seen.values()], [*seen], fontsize="small", ncols=2, borderaxespad=0.0, **where)


def _is_in(axes: Axes, drawn: Any) -> bool:
    """Whether a line or marker is seen within the limits of its panel."""
    from matplotlib.path import Path as Curve

    if not hasattr(drawn, "get_xydata"):
        return True
    # In the coordinates of the panel, in which a logarithmic axis is straight.
    points = axes.transData.transform(np.asarray(drawn.get_xydata(), dtype=np.float64))
    points = points[np.isfinite(points).all(axis=1)]
    inside = axes.bbox.padded(1.0)
    if not len(points):
        return False
    if drawn.get_linestyle() == "None" or len(points) == 1:
        return bool(np.any([inside.contains(x, y) for x, y in points]))
    return bool(Curve(points).intersects_bbox(inside, filled=False))


# A figure of theory alone


def show_theory(
    datasets: Sequence[xr.Dataset],
    variables: Sequence[str] | None,
    x: str | None,
    y: str | None,
    select: Mapping[str, Any],
    style: Style,
) -> Figure:
    """Return the figure of datasets of theory, drawn over one parameter or in the plane of two."""
    style.check_no_colours("branches and points")
    tables = [
        _selected(read(dataset, where), select, where)
        for where, dataset in zip(_places(len(datasets)), datasets, strict=True)
    ]
    for where, points in zip(_places(len(tables)), tables, strict=True):
        _check_model(points, where, tables[0].model.name)
    across, up = _plane(tables, variables, x, y)
    rows = [up] if up else list(variables or [tables[0].model.variable_names[0]])
    _check_drawable(tables, across, rows)
    for where, points in zip(_places(len(tables)) if up else (), tables, strict=False):
        check_plane(points, where)
    figure, panels = style.canvas(len(rows), 1, (8.0, 1.0 + 3.2 * len(rows)), sharex=True)
    grid = panels[:, 0].tolist()
    for axes, name in zip(grid, rows, strict=True):
        for points in tables:
            (draw_plane if up else draw)(axes, points, across, name)
        axes.set_ylabel(label(name, unit_of(datasets, name)))
    if not up:
        _frame(grid, tables, across, rows)
    if style.has_range:
        style.limit(grid)
    legend(figure, grid, "outside right upper", style)
    grid[-1].set_xlabel(label(across, unit_of(datasets, across)))
    style.head(figure, _title(tables))
    return cast("Figure", figure)


def _check_model(points: Table, where: str, name: str) -> None:
    if points.model.name != name:
        raise ScanError([Fault(where, f"a dataset of the model {points.model.name}", f"one of {name}")])


def _places(count: int) -> Iterator[str]:
    yield "data"
    yield from (f"over[{i}]" for i in range(count - 1))


def _selected(points: Table, select: Mapping[str, Any], where: str) -> Table:
    """Return the points of the slices nearest to the wanted values."""
    able = [p.name for p in points.model.parameters if p.name in points.columns]
    for name, value in select.items():
        wanted = number(value)
        if name not in able:
            raise ScanError([unknown("select", name, able)])
        if wanted is None:
            raise ScanError([Fault(f"select.{name}", show_value(value), "a number")])
        if name in points.varied and points.kind not in ON_GRID:
            hint = f"it varies along the points of {where}; draw over it"
            raise ScanError([Fault("select", name, "a parameter of the slices", hint)])
        apart = np.abs(points.columns[name] - wanted)
        points = points.chosen(apart == apart.min())
    return points


def _plane(
    tables: Sequence[Table], variables: Sequence[str] | None, x: str | None, y: str | None
) -> tuple[str, str | None]:
    """Return the parameter across, and the one up; None where states are drawn."""
    first = tables[0]
    varied = list(first.varied)
    slices = [p.name for p in first.model.parameters if p.name not in varied]
    slices = [n for n in slices if n in first.columns and len(np.unique(first.columns[n])) > 1]
    across = x or next(iter(varied), None)
    if across is None:
        raise ScanError([Fault("x", "no parameter with several values", "one to draw over")])
    if y or y == "" or variables:
        return across, y or None
    if first.kind == "curve" or (first.kind == "special_points" and len(varied) == 2):
        return across, next(n for n in varied if n != across)
    if first.kind == "special_points" and slices:
        return across, slices[0]
    return across, None


def _check_drawable(tables: Sequence[Table], across: str, rows: Sequence[str]) -> None:
    faults = []
    for where, points in zip(_places(len(tables)), tables, strict=True):
        able = [name.removesuffix("_min").partition(" ")[0] for name in points.columns]
        able = list(dict.fromkeys(able))
        faults += [
            unknown(where, name, able, "variable or parameter")
            for name in (across, *rows)
            if not (name in points.columns if name == across else points.has(name))
        ]
    if faults:
        raise ScanError(faults)


def _frame(grid: Sequence[Axes], tables: Sequence[Table], across: str, rows: Sequence[str]) -> None:
    """Show the surroundings of the special points and cycles, where equilibria go far beyond them."""
    marked = [
        points.columns[across][np.isin(points.type, list(MARKS)) | points.of_cycles] for points in tables
    ]
    near = np.concatenate(marked)
    branches = [points for points in tables if points.kind == "branch"]
    if not len(near) or not branches or any("within" in points.cuts for points in branches):
        return
    aside = _ASIDE * (np.ptp(near) or max(1.0, abs(near[0])))
    every = np.concatenate([points.columns[across] for points in tables])
    low, high = max(near.min() - aside, every.min()), min(near.max() + aside, every.max())
    for axes, name in zip(grid, rows, strict=True):
        seen = [
            up[(points.columns[across] >= low) & (points.columns[across] <= high)]
            for points in tables
            for up in points.heights(name)
        ]
        heights = np.concatenate(seen)
        margin = 0.05 * (np.ptp(heights) or 1.0)
        axes.set_xlim(low, high)
        axes.set_ylim(heights.min() - margin, heights.max() + margin)


def _title(tables: Sequence[Table]) -> str:
    """Return the model, and the parameters that are the same at every point."""
    first = tables[0]
    fixed = [p.name for p in first.model.parameters if p.name in first.columns]
    fixed = [n for n in fixed if all(n in t.columns and len(np.unique(t.columns[n])) == 1 for t in tables)]
    told = [value_of(n, first.columns[n][0]) for n in fixed]
    lines = [", ".join(told[k : k + _ON_A_LINE]) for k in range(0, len(told), _ON_A_LINE)]
    return "\n".join([first.model.name, *lines])


# Over a panel of a scan


def over_panel(
    axes: Axes,
    datasets: Sequence[xr.Dataset],
    model: str,
    x: str,
    y: str,
    at: Mapping[str, float],
    *,
    plane: bool,
) -> None:
    """Draw datasets of theory over a panel of a scan, clipped to it.

    `at` are the parameters of the panel; a dataset must have points with just these. Raises `ScanError` for
    one that has nothing to draw there.
    """
    limits, heights = axes.get_xlim(), axes.get_ylim()
    for i, dataset in enumerate(datasets):
        where = f"over[{i}]"
        points = read(dataset, where)
        _check_model(points, where, model)
        _check_over(points, where, x, y, plane=plane)
        points = _at_panel(points, where, at)
        (draw_plane if plane else draw)(axes, points, x, y)
        if plane and not _is_seen(points, x, y, limits, heights):
            span = (
                f"{x} in [{limits[0]:.4g}, {limits[1]:.4g}] and {y} in [{heights[0]:.4g}, {heights[1]:.4g}]"
            )
            raise ScanError([Fault(where, "nothing within the map", f"points with {span}")])
    axes.set_xlim(limits)
    if plane:
        axes.set_ylim(heights)


def _check_over(points: Table, where: str, x: str, y: str, *, plane: bool) -> None:
    able = [p.name for p in points.model.parameters if p.name in points.columns]
    missing = [name for name in ((x, y) if plane else (x,)) if name not in able]
    if missing:
        expected = f"one with {' and '.join(missing)}, which the panel is drawn over"
        raise ScanError([Fault(where, f"a dataset of {points.kind} in {', '.join(able)}", expected)])
    if not plane and not points.has(y):
        raise ScanError([Fault(where, f"no {y}", "the variable of the observable", "draw another one")])
    if plane:
        check_plane(points, where)


def _at_panel(points: Table, where: str, at: Mapping[str, float]) -> Table:
    """Return the points whose parameters are those of the panel."""
    for name, value in at.items():
        if name in points.columns:
            here = np.isclose(points.columns[name], value, rtol=1e-6, atol=1e-12)
            if not here.any():
                found = f"{name} = {show_value(float(points.columns[name][0]))}"
                raise ScanError([Fault(where, found, f"{value:g}, as the panel has it")])
            points = points.chosen(here)
    return points


def _is_seen(points: Table, x: str, y: str, across: Range, up: Range) -> bool:
    """Whether anything that is drawn of a table lies within a map."""
    drawn = np.isin(points.type, OF_CYCLES if points.of_cycles else list(MARKS)) | (points.kind == "curve")
    inside = [
        (points.columns[n] >= min(ends)) & (points.columns[n] <= max(ends))
        for n, ends in ((x, across), (y, up))
    ]
    return bool((drawn & inside[0] & inside[1]).any())
