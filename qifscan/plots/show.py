"""A stored scan as maps or lines, with theory over them; and theory alone. Draws; computes no observable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.definition import number
from qifscan.dynamics.models import stored_model
from qifscan.errors import Fault, ModelNotImported, ScanError, StoreError, check_flag, unknown, without
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.place import located
from qifscan.plots.colours import rounding
from qifscan.plots.described import described
from qifscan.plots.diagrams import legend, show_theory
from qifscan.plots.overlays import Layout, draw_branch, draw_exact, draw_given, exact_branch
from qifscan.plots.panels import (
    CONFIDENCE,
    DIFFERENCE,
    HIGH,
    LOW,
    averaged,
    difference_along,
    draw_lines,
    draw_maps,
    finish_axes,
    has_width,
    labelled,
    told_of,
    where_run,
)
from qifscan.plots.results import (
    BANDS,
    NAMES,
    STABLE,
    ResultKind,
    counted_equilibria,
    result_of,
    title_of,
    unasked,
)
from qifscan.plots.spectra import is_over_frequency, show_spectra
from qifscan.plots.style import Style
from qifscan.plots.table import is_theory, value_of
from qifscan.scan.effective import known_axes
from qifscan.scan.scan import Scan
from qifscan.store.reader import read
from qifscan.store.theory_group import is_theory_alone, open_theory
from qifscan.theory.of_scan import EQUILIBRIA

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
else:
    xr = LazyModule("xarray")

MOST_PANELS = 6
"""Columns of panels; a facet with more values asks for a selection."""

MOST_LINES = 12
"""Lines of one panel, by their colours."""


def show(
    data: xr.Dataset | xr.DataTree | str | os.PathLike[str],
    observables: Sequence[str] | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    facet: str | None = None,
    select: Mapping[str, Any] | None = None,
    folds: bool = True,
    over: Sequence[xr.Dataset] = (),
    difference: str | None = None,
    ax: Axes | None = None,
    cmap: str | Colormap | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    log: bool = False,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw observables of a scan, as maps over two dimensions or lines over one; or draw datasets of theory.

    Theory is drawn as the field does: equilibria and cycles solid where they are stable and dashed where not,
    cycles by their least and greatest value, special points as markers, hollow where they are not converged
    or not resolved. Over a parameter stand all of them, in a plane of two parameters the bifurcations alone.

    Parameters
    ----------
    data
        A dataset of `run` or `open_scan`, or the path of a store. It may be unfinished. Or a dataset of
        `branch`, `special_points`, `curve`, `cycles` or `cycle_branches`; or what `open_theory` gives, or
        the path of a store with theory alone: the number of stable equilibria with the curves, or a branch.
        Or of `linear_response` or `power_spectrum`, over frequency.
    observables
        One row of panels each; by default the first of the scan, of theory the first variable of the model,
        of trajectories all variables. Cycles have a `period` too, and a branch `eigenvalue_real`.
    x, y
        Dimensions across and up; by default the first two numeric ones. With `y=""`, lines over `x`. Of
        theory: parameters, by default those that vary.
    facet
        The dimension that makes the columns (lines: the colours); by default the shortest one left.
    select
        Values of further dimensions, the nearest on the axis; a dimension that is neither shown nor
        selected is taken at its middle, which the title says. Replicates are averaged unless selected; of
        lines over them a band is the 95 % confidence interval of the mean (Student's t).
    folds
        Draw the exact bifurcations over a scan: of the plain model folds, cusp and node/focus line, of the
        others the curves of folds and Hopf points where the plane has eta (eta_i of qif_pair).
    over
        Datasets of theory to draw over `data`, each with points at the parameters of every panel: over maps
        `curve`, `special_points` and `cycle_branches`, clipped; over lines the others too. Over a spectrum
        those of `linear_response` or `power_spectrum`.
    difference
        A dimension with two values, such as "initial" or "direction": what is drawn is the last minus the
        first, in colours that are white at 0. Where it is not 0 the two runs ended in different states.
    ax
        Axes of matplotlib to draw one panel into, in place of a new figure.
    cmap
        The colours of maps: a name, or a map of colours of matplotlib.
    vmin, vmax, log
        The range of what is drawn, in its unit, and whether it is in its logarithm: the colours of a map, the
        height of lines. Values beyond it have the colour of its end, and the bar an arrow.
    figsize
        Width and height in inches.
    title
        The heading, in place of the one that tells what is held.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; points that diverged or have not been run are grey.

    Raises
    ------
    ScanError
        If there is no such dimension, value or observable, or nothing to draw.
    StoreError
        If the store can't be read.

    Examples
    --------
    >>> import qifscan as qs
    >>> figure = qs.show(qs.branch(J=15.0, points=20))
    >>> figure.savefig("branch.png")
    """
    style = Style(ax, cmap, vmin, vmax, log, figsize, title)
    _check_options(over, folds, select)
    if isinstance(observables, str):
        observables = [observables]
    asked = Drawing(observables, (x, y, facet), dict(select or {}), folds, over, difference, style)
    dataset: Any = _opened(data) if isinstance(data, (str, os.PathLike)) else data
    if hasattr(dataset, "children") and "qifscan_scan" not in dataset.attrs:
        dataset = dataset.to_dataset()
    if hasattr(dataset, "children"):
        return _show_atlas(dataset, asked)
    if is_over_frequency(dataset):
        _check_no_scan("difference", difference)
        return show_spectra([dataset, *over], observables, select or {}, style)
    if is_grid_of_equilibria(dataset, y):
        dataset = counted_equilibria(dataset)
    if is_theory(dataset):
        _check_no_scan("facet", facet)
        _check_no_scan("difference", difference)
        return show_theory([dataset, *over], observables, x, y, select or {}, style)
    if isinstance(dataset, xr.DataArray):
        dataset = dataset.to_dataset(name="values" if dataset.name is None else str(dataset.name))
    if not isinstance(dataset, xr.Dataset):
        expected = "a dataset of a scan, or one of qifscan's theory"
        raise ScanError([Fault("data", without(dataset, "of something else"), expected)])
    return _show_scan(dataset, asked)


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn of a scan, as `show` is asked for it; `dims` are x, y and facet."""

    observables: Sequence[str] | None
    dims: tuple[str | None, str | None, str | None]
    select: dict[str, Any]
    folds: bool
    over: Sequence[xr.Dataset]
    difference: str | None
    style: Style


def _check_options(over: Any, folds: Any, select: Any) -> None:
    if hasattr(over, "data_vars"):
        raise ScanError([Fault("over", "a dataset", "a list of datasets", "give over=[dataset]")])
    check_flag("folds", folds)
    if select is not None and not isinstance(select, Mapping):
        expected = "a mapping of dimensions to values"
        raise ScanError([Fault("select", show_value(select), expected, 'e.g. select={"eta": -5.0}')])


def _check_no_scan(where: str, value: Any) -> None:
    if value is not None:
        raise ScanError([Fault(where, show_value(value), "nothing", "select a slice of the theory")])


def _show_scan(dataset: xr.Dataset, asked: Drawing) -> Figure:
    """Draw a dataset over the dimensions that it has now; theory only where its parameters are known."""
    whole, is_known, result = *_scan_of(dataset), result_of(dataset)
    _check_of_a_scan(dataset, is_known or result is not None)
    chosen = _chosen(dataset, asked.observables, whole, result)
    _check_observables(chosen, dataset)
    kept = _kept(dataset, chosen)
    starts: set[str] = set()
    if asked.difference is not None:
        kept = difference_along(kept.compute(), asked.difference, chosen)
        starts = _no_parameters(whole, asked.difference)
    chosen_dims = {str(dim) for name in chosen for dim in kept[name].dims}
    scan, lost = described(kept.drop_dims([d for d in kept.dims if d not in chosen_dims]), whole)
    is_known = is_known and not set(lost) - starts
    x, y, facet = asked.dims
    if "time" in chosen_dims and x is None and y is None:
        longest = max((scan.sizes[d] for d in chosen_dims - {"time"}), default=1)
        x, y = "time", "" if longest <= MOST_LINES else None
        # No population follows the mean of several trajectories.
        facet = "replicate" if facet is None and chosen_dims == {"time", "replicate"} else facet
    layout = _layout(scan, x, y, facet, asked.select)
    shown = _selected(kept, layout)
    swept = [name for axis in whole.axes.values() for name in axis.columns if name not in layout.selected]
    there = {n: shown.coords[n].item() for n in swept if n in shown.coords and not shown.coords[n].dims}
    layout = replace(layout, selected={**there, **layout.selected})
    figure = _draw(shown, chosen, scan, layout, replace(asked, folds=asked.folds and is_known))
    if result is not None:
        head = title_of(dataset, result, _named_parameters(dataset))
        more = [value_of(n, v) for n, v in layout.selected.items() if n in dataset.dims]
        asked.style.head(figure, head + (f"\n{', '.join(more)}" if more else ""))
    return figure


def _chosen(
    dataset: xr.Dataset, observables: Sequence[str] | None, scan: Scan, result: ResultKind | None
) -> list[str]:
    """Return the variables to draw: those that were asked for, else the first that suits."""
    return list(
        observables
        or (unasked(dataset, result) if result else [])
        or ([n for n in _drawable(dataset) if "time" in dataset[n].dims] if result else [])
        or [n for n in scan.measures if n in dataset and dataset[n].ndim][:1]
        or [n for n in _drawable(dataset) if dataset[n].ndim][:1]
        or _drawable(dataset)[:1]
    )


def _kept(dataset: xr.Dataset, chosen: Sequence[str]) -> xr.Dataset:
    """Return the variables to draw, and what is drawn beside them."""
    if any("trace" in dataset[name].dims for name in chosen) and "trace_status" in dataset:
        dataset = dataset.drop_vars("status", errors="ignore").rename(trace_status="status")
    beside = ["status", *(end for name in chosen for end in BANDS.get(name, ()))]
    kept = dataset[list(dict.fromkeys([*chosen, *(name for name in beside if name in dataset)]))]
    dims = {str(dim) for name in chosen for dim in dataset[name].dims}
    stacked = [d for d in dims if d in kept.indexes and kept.indexes[d].nlevels > 1]
    if stacked:
        hint = f'unstack it first: dataset.unstack("{stacked[0]}")'
        raise ScanError([Fault("data", f"the stacked dimension {stacked[0]}", "plain dimensions", hint)])
    return kept


def _no_parameters(scan: Scan, dim: str) -> set[str]:
    """Return the columns of an axis that are no parameters: exact theory is the same at all of them."""
    columns = scan.axes[dim].columns if dim in scan.axes else [dim]
    return {dim, *columns} - {row.name for row in scan.mean_field.parameters}


def _scan_of(dataset: xr.Dataset) -> tuple[Scan, bool]:
    """Return the scan of a dataset and whether it is known: not where nobody has imported its model."""
    if "qifscan_scan" in dataset.attrs:
        with suppress(ModelNotImported):
            return Scan.from_json(dataset.attrs["qifscan_scan"]), True
    title = dataset.attrs.get("title", "")
    return Scan(title=title if isinstance(title, str) else ""), False


def _named_parameters(dataset: xr.Dataset) -> set[str]:
    """Return the parameters of the model of a result, that its heading gives."""
    name = dataset.attrs.get("model", "qif")
    with suppress(ModelNotImported):
        return {p.name for p in stored_model(name).parameters}
    return set()


def is_grid_of_equilibria(dataset: Any, y: str | None) -> bool:
    """Whether a dataset has equilibria along several parameters, which are counted in a map."""
    return (
        is_theory(dataset)
        and "equilibrium" in dataset.dims
        and y != ""
        and "stable" in dataset
        and (len([d for d in dataset["stable"].dims if d != "equilibrium" and dataset.sizes[d] > 1]) > 1)
    )


def _check_of_a_scan(dataset: xr.Dataset, is_known: bool) -> None:
    """Raise `ScanError` for a dataset that has neither a scan nor the coordinates of one."""
    is_known = is_known or "qifscan_scan" in dataset.attrs
    if (not is_known and not {"eta", "delta"} & set(map(str, dataset.coords))) or not _drawable(dataset):
        expected = "a dataset of a scan, or one of branch, special_points, curve, cycles, cycle_branches"
        hint = "of other results draw a variable with xarray's own plot"
        raise ScanError([Fault("data", without(dataset, "of something else"), expected, hint)])


def _drawable(dataset: xr.Dataset) -> list[str]:
    """Return the variables that can be drawn over dimensions of the dataset."""
    return [str(n) for n, a in dataset.data_vars.items() if a.dtype.kind in "biuf"]


def _opened(path: str | os.PathLike[str]) -> Any:
    """Return the dataset of a scan, or the tree of a store that has nothing but theory."""
    place = located("data", path)
    return open_theory(path) if is_theory_alone(place) else read(place)


def _show_atlas(tree: xr.DataTree, asked: Drawing) -> Figure:
    """Draw the theory of a scan: how many equilibria are stable, over two axes; the branch, along one."""
    _check_no_scan("difference", asked.difference)
    whole = Scan.from_json(tree.attrs["qifscan_scan"])
    scan = whole.model_copy(update={"axes": known_axes(whole), "replicates": 1})
    layout = _layout(scan, *asked.dims, asked.select)
    if layout.y is None:
        branch = exact_branch(scan, layout)
        return show_theory([branch, *asked.over], asked.observables, layout.x, "", {}, asked.style)
    if EQUILIBRIA not in tree.children:
        raise ScanError(
            [Fault("data", f"no equilibria ({tree.attrs['left_out']})", "them, to draw their number")]
        )
    stable = tree[EQUILIBRIA]["stable"].sum("equilibrium").assign_attrs(units="1")
    shown = xr.Dataset({STABLE: stable, "status": xr.ones_like(stable)})
    return _draw(_selected(shown, layout), [STABLE], scan, layout, asked)


def _check_observables(chosen: Sequence[str], dataset: xr.Dataset) -> None:
    known = [str(name) for name in dataset.data_vars]
    faults = [unknown("observable", name, known) for name in chosen if name not in known]
    if faults:
        raise ScanError(faults)


def _layout(scan: Scan, x: str | None, y: str | None, facet: str | None, select: dict[str, Any]) -> Layout:
    sizes = scan.sizes
    given = {"x": x, "y": y, "facet": facet}
    faults = [
        unknown(where, name, sizes)
        for where, name in [*given.items(), *(("select", name) for name in select)]
        if name and name not in sizes
    ]
    named = [name for name in given.values() if name]
    faults += [Fault(k, str(n), "one that is not selected") for k, n in given.items() if n and n in select]
    twice = dict.fromkeys(name for name in named if named.count(name) > 1)
    faults += [Fault("x, y, facet", f"{name} twice", "each once") for name in twice]
    if faults:
        raise ScanError(faults)
    free = [name for name in sizes if name not in select and name != "replicate" and sizes[name] > 1]
    named = [n for n in free if n not in given.values() and not _is_text(scan, n)]
    numeric = [n for n in named if n not in NAMES] or named
    across = x or next(iter(numeric or [n for n in free if n not in given.values()]), None)
    if across is None:
        hint = "select less" if select else "qifscan.replay gives the trajectory of a point"
        raise ScanError([Fault("x", "no dimension with several values", "one to draw over", hint)])
    up = None if y == "" else y or next((n for n in numeric if n != across), None)
    left = [name for name in free if name not in (across, up)]
    columns = facet or min(left, key=lambda name: sizes[name], default=None)
    if columns is not None and facet is None and sizes[columns] > MOST_PANELS:
        columns = None
    most = MOST_PANELS if up else MOST_LINES
    if columns is not None and sizes[columns] > most:
        found = f"{sizes[columns]} values of {columns}"
        raise ScanError([Fault("facet", found, f"at most {most}", "select some, or another facet")])
    shown = {across, up, columns, "replicate"}
    chosen = {n: _on_axis(scan, n, select.get(n)) for n in sizes if n in select or n not in shown}
    averaged = "replicate" in sizes and "replicate" not in select and "replicate" not in (across, up, columns)
    return Layout(across, up, columns, chosen, averaged)


def _is_text(scan: Scan, name: str) -> bool:
    return name in scan.axes and scan.axes[name].labels.dtype.kind in "US"


def _on_axis(scan: Scan, name: str, value: Any) -> Any:
    """Return the value of an axis that is nearest to the wanted one; without one, the middle of the axis."""
    labels = scan.axes[name].labels if name in scan.axes else np.arange(scan.replicates)
    if value is None:
        return labels[len(labels) // 2].item()
    if _is_text(scan, name):
        if value in labels:
            return value
        raise ScanError([unknown(f"select.{name}", value, map(str, labels))])
    wanted, least, most = number(value), labels.min().item(), labels.max().item()
    if wanted is None or not least <= wanted <= most:
        expected = f"a value of that axis, from {least:g} to {most:g}"
        raise ScanError([Fault(f"select.{name}", show_value(value), expected)])
    return labels[np.argmin(np.abs(labels - wanted))].item()


def _selected(dataset: xr.Dataset, layout: Layout) -> xr.Dataset:
    """Return the part of the dataset that is drawn, in memory."""
    dataset = dataset.sel(layout.selected)
    try:
        dataset = dataset.compute()
    except (OSError, ValueError, RuntimeError) as error:
        source, reason = dataset.encoding.get("source", "dataset"), " ".join(str(error).split())
        hint = "qifscan verify finds what is damaged and repairs it"
        raise StoreError(f"{source}: a chunk can't be read ({reason}); {hint}") from None
    for name in (layout.x, layout.y):
        dataset = dataset if name is None else dataset.sortby(name)
    return averaged(dataset) if layout.averaged else where_run(dataset)


def _draw(shown: xr.Dataset, chosen: list[str], scan: Scan, layout: Layout, asked: Drawing) -> Figure:
    """Draw a row of panels for every variable, with the theory over them."""
    folds, style = asked.folds, asked.style
    columns = shown[layout.facet].values.tolist() if layout.facet and layout.y else [None]
    aside = 2.4 if layout.y is None and (layout.facet or folds) and style.ax is None else 0.0
    size = (1.2 + 3.8 * len(columns) + aside, 0.8 + 3.2 * len(chosen))
    if layout.x == "time" and layout.y is None:
        size = (8.0 + aside, 0.9 + 1.9 * len(chosen))
    figure, grid = style.canvas(len(chosen), len(columns), size, sharex=True, sharey="row")
    for row, name in zip(grid, chosen, strict=True):
        if layout.y is None:
            draw_lines(row[0], shown, name, layout, style)
            if folds and scan.protocol.sweep == layout.x and DIFFERENCE not in shown[name].attrs:
                draw_branch(row[0], name, scan, layout)
        else:
            draw_maps(figure, row, shown[name], columns, layout, rounding(scan, shown, name), style)
        for axes, column in zip(row, columns, strict=True):
            finish_axes(axes, shown, layout)
            panel = layout if column is None else layout.panel(column)
            if folds:
                draw_exact(axes, scan, panel)
            draw_given(axes, name, asked.over, scan, panel)
    for axes in grid[:, 0] if layout.y else []:
        axes.set_ylabel(labelled(shown[layout.y]))
    for axes in grid[-1]:
        axes.set_xlabel(labelled(shown[layout.x]))
    figure.align_ylabels(grid[:, 0])
    style.head(figure, _title(shown, scan, layout, chosen, style.log))
    # Beside the panels: a fold that a legend hides is not seen.
    loc: Any = "outside right upper" if layout.y is None else "outside lower center"
    legend(figure, grid.ravel().tolist(), loc, style)
    return cast("Figure", figure)


def _is_end(name: str) -> bool:
    return name.startswith((LOW, HIGH))


def _title(shown: xr.Dataset, scan: Scan, layout: Layout, chosen: Sequence[str], log: bool) -> str:
    parts = [told_of(shown, name, value) for name, value in layout.selected.items()]
    if layout.averaged:
        banded = any(has_width(shown, (f"{LOW}{name}", f"{HIGH}{name}")) for name in shown.data_vars)
        band = f", band: its {CONFIDENCE:.0%} interval" if layout.y is None and banded else ""
        parts.append(f"mean of {scan.replicates} replicates{band}")
    status = shown["status"] if "status" in shown else xr.DataArray(1)
    missing = float((status.isnull() | (status == 0)).mean())
    if missing:
        parts.append(f"{missing:.0%} not run yet")
    if not all(np.isfinite(a.values).all() for n, a in shown.data_vars.items() if not _is_end(str(n))):
        parts.append("grey: not defined")
    if log and layout.y and any((shown[name].values <= 0).any() for name in chosen):
        parts.append("grey: not above 0")
    title = scan.title or f"scan of {scan.model}"
    return title + (f"\n{', '.join(parts)}" if parts else "")
