"""The panels of a scan: values as a map of colours or as lines, with bands, and the difference of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, counted
from qifscan.lazy import LazyModule
from qifscan.plots.colours import NOT_DEFINED, edges, is_flag, is_geometric, scale_of, set_ticks
from qifscan.plots.results import BANDS
from qifscan.plots.table import label, value_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from qifscan.plots.overlays import Layout
    from qifscan.plots.style import Style
else:
    xr = LazyModule("xarray")

FLAT = 1e-5
"""Range of lines, relative to their values, that is drawn as none."""

DIFFERENCE = "difference"
"""The attribute of values that are a difference: of what."""

CONFIDENCE = 0.95
"""Of the band around the mean of replicates."""

LOW, HIGH = "low end of ", "high end of "
"""Before the name of a mean over replicates: the ends of its interval."""


def labelled(values: xr.DataArray) -> str:
    """Return the label of values: name, what they are the difference of, and unit."""
    name, told = str(values.name), values.attrs.get(DIFFERENCE)
    text = label(name, values.attrs.get("units", "1"))
    return text if told is None else text.replace(label(name), f"{label(name)}: {told}", 1)


# What is drawn


def where_run(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with NaN at the points that have not been run."""
    ran = dataset["status"] > 0 if "status" in dataset else xr.DataArray(True)
    return dataset if bool(ran.all()) else dataset.where(ran)


def averaged(dataset: xr.Dataset) -> xr.Dataset:
    """Return the mean over the replicates: of flags all that any has, of meanings the one that all have.

    Beside each mean stand the ends of its 95 % confidence interval, by Student's t over the replicates that
    have a value; NaN with fewer than two.
    """
    run = where_run(dataset)
    result = run.mean("replicate", keep_attrs=True)
    for name, values in dataset.data_vars.items():
        if values.dtype.kind == "f" and "replicate" in values.dims:
            half = _half_width(run[name])
            result[f"{LOW}{name}"], result[f"{HIGH}{name}"] = result[name] - half, result[name] + half
        if values.dtype.kind not in "iu":
            continue
        if "flag_masks" in values.attrs:
            joined = values.reduce(np.bitwise_or.reduce, "replicate", keep_attrs=True)
            result[name] = joined if name == "status" else joined.where(joined > 0)
        elif "flag_values" in values.attrs:
            first = run[name].max("replicate", keep_attrs=True)
            result[name] = first.where(first == run[name].min("replicate"))
    return result


def _half_width(values: xr.DataArray) -> xr.DataArray:
    """Return half the length of the confidence interval of a mean over replicates."""
    from scipy.special import stdtrit

    count = values.count("replicate")
    spread = values.astype(np.float64).std("replicate", ddof=1)
    t = stdtrit(np.maximum(count - 1, 1), 0.5 + 0.5 * CONFIDENCE)
    half: xr.DataArray = (t * spread / np.sqrt(count)).where(count > 1)
    return half


def difference_along(dataset: xr.Dataset, dim: str, chosen: list[str]) -> xr.Dataset:
    """Return the last minus the first of two values of a dimension, where both have been run."""
    dims = [str(d) for d in dataset.dims]
    if dim not in dims:
        raise ScanError([Fault("difference", f'"{dim}"', f"one of {', '.join(dims)}")])
    labels = dataset[dim].values.tolist()
    if len(labels) != 2:
        hint = f"choose two, e.g. dataset.sel({dim}={labels[:: max(len(labels) - 1, 1)]})"
        raise ScanError([Fault("difference", f"{counted(len(labels), 'value')} of {dim}", "two", hint)])
    for name in chosen:
        if is_flag(dataset[name]) or dim not in dataset[name].dims:
            found = f"{name}, which has {'flags' if is_flag(dataset[name]) else f'no {dim}'}"
            raise ScanError([Fault("difference", found, f"numbers along {dim}", "draw another observable")])
    first, last = (where_run(dataset.isel({dim: i})).drop_vars(dim, errors="ignore") for i in (0, -1))
    told = " − ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in labels[::-1])
    apart = {
        name: (last[name].astype(np.float64) - first[name]).assign_attrs(
            dataset[name].attrs | {DIFFERENCE: told}
        )
        for name in chosen
    }
    if "status" in dataset and dim in dataset["status"].dims:
        status = dataset["status"]
        apart["status"] = status.max(dim).where((status > 0).all(dim), 0).assign_attrs(status.attrs)
    return xr.Dataset(apart, attrs=dataset.attrs)


# How


def draw_maps(
    figure: Any,
    row: Any,
    values: xr.DataArray,
    columns: list[Any],
    layout: Layout,
    least: float,
    style: Style,
) -> None:
    """Draw values over two dimensions, a map for each column, with one bar of colours."""
    scale = scale_of(values, least, style, centred=DIFFERENCE in values.attrs)
    colours = scale.colours.with_extremes(bad=NOT_DEFINED)
    for axes, column in zip(row, columns, strict=True):
        panel = values if column is None else values.sel({layout.facet: column})
        panel = panel.transpose(layout.y, layout.x)
        mesh = axes.pcolormesh(
            edges(panel[layout.x].values),
            edges(panel[layout.y].values),
            np.ma.masked_invalid(panel.values.astype(np.float64)),
            shading="flat",
            cmap=colours,
            norm=scale.norm,
            rasterized=True,
        )
        axes.set_facecolor(NOT_DEFINED)
        if column is not None:
            axes.set_title(value_of(str(layout.facet), column), fontsize="medium")
    bar = figure.colorbar(
        mesh, ax=list(row), label=labelled(values), pad=0.02, ticks=scale.ticks, extend=scale.extend
    )
    if scale.words is not None:
        bar.set_ticklabels(scale.words)
        bar.ax.minorticks_off()


def draw_lines(axes: Axes, shown: xr.Dataset, name: str, layout: Layout, style: Style) -> None:
    """Draw values over one dimension, a line for each value of the facet, with its interval as a band."""
    style.check_no_colours("lines")
    values, ends = shown[name], BANDS.get(name, (f"{LOW}{name}", f"{HIGH}{name}"))
    columns = values[layout.facet].values.tolist() if layout.facet in values.dims else [None]
    across = shown[layout.x].values
    style_of = "-" if layout.x == "time" else ".-"
    for column in columns:
        part = shown if column is None else shown.sel({layout.facet: column})
        told = None if column is None else told_of(part, str(layout.facet), column)
        (line,) = axes.plot(across, part[name].values, style_of, markersize=3, linewidth=1, label=told)
        if has_width(part, ends):
            lower, upper = (part[end].values for end in ends)
            axes.fill_between(across, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_ylabel(labelled(values))
    low, high = axes.get_ylim()
    if high - low < FLAT * max(abs(low), abs(high)):
        # Rounding errors of a constant must not look like a curve.
        axes.set_ylim(*(0.5 * (low + high) + sign * 0.1 * max(abs(low), abs(high)) for sign in (-1, 1)))
    if is_flag(values):
        scale = scale_of(values, 0.0)
        axes.set_yticks(scale.ticks, scale.words)
    if style.has_range:
        style.limit([axes])


def told_of(part: xr.Dataset, dim: str, value: Any) -> str:
    """Return a value of a dimension as a text: of a trace the labels of its point, of a flag its word."""
    flags = part.coords[dim].attrs if dim in part.coords else {}
    if "flag_values" in flags:
        words = dict(
            zip(np.asarray(flags["flag_values"]).tolist(), flags["flag_meanings"].split(), strict=True)
        )
        return f"{dim}: {words.get(value, value)}"
    own = {str(n).removeprefix("trace_"): c for n, c in part.coords.items() if str(n).startswith("trace_")}
    if dim != "trace" or not own:
        return value_of(dim, value)
    names = sorted(own, key="replicate".__eq__)
    return ", ".join(value_of(name, own[name].values.item()) for name in names)


def has_width(shown: xr.Dataset, ends: tuple[str, str]) -> bool:
    """Whether these two variables are there and apart anywhere: replicates without noise are all the same."""
    low, high = ends
    return low in shown and high in shown and bool((shown[high] > shown[low]).any())


def finish_axes(axes: Axes, shown: xr.Dataset, layout: Layout) -> None:
    """Draw the axes of a panel in their logarithm where their values are geometric, with ticks to suit."""
    for name, axis, scale in (
        (layout.x, axes.xaxis, axes.set_xscale),
        (layout.y, axes.yaxis, axes.set_yscale),
    ):
        values = None if name is None else shown[name].values
        if values is not None and is_geometric(values):
            scale("log")
        if values is not None:
            set_ticks(axis, values)
