"""A stored scan as maps or lines, with theory over them; and theory alone. Draws; computes no observable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.definition import number
from qifscan.dynamics.catalogue import stored_model
from qifscan.errors import Fault, ModelNotImported, ScanError, StoreError, check_flag, unknown
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.place import local
from qifscan.plots.colours import edges, is_flag, is_geometric, rounding, scale_of, set_ticks
from qifscan.plots.described import described
from qifscan.plots.diagrams import legend, show_theory
from qifscan.plots.overlays import Layout, draw_branch, draw_exact, draw_given, exact_branch
from qifscan.plots.results import BANDS, NAMES, STABLE, counted_equilibria, result_of, title_of, unasked
from qifscan.plots.table import is_theory, label, value_of
from qifscan.scan.scan import Scan
from qifscan.store.reader import read
from qifscan.store.theory_group import is_theory_alone, open_theory
from qifscan.theory.of_scan import EQUILIBRIA, known_axes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    xr = LazyModule("xarray")

MOST_PANELS = 6
"""Columns of panels; a facet with more values asks for a selection."""

FLAT = 1e-5
"""Range of lines, relative to their values, that is drawn as none."""

MOST_LINES = 12
"""Lines of one panel, by their colours."""

NOT_DEFINED = "0.88"


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
    observables
        One row of panels each; by default the first of the scan, of theory the first variable of the model.
        Cycles have a `period` too.
    x, y
        Dimensions across and up; by default the first two numeric ones. With `y=""`, lines over `x`. Of
        theory: parameters, by default those that vary.
    facet
        The dimension that makes the columns (lines: the colours); by default the shortest one left.
    select
        Values of further dimensions, the nearest on the axis; a dimension that is neither shown nor
        selected is taken at its middle, which the title says. Replicates are averaged unless selected.
    folds
        Draw the exact bifurcations over a scan: of the plain model folds, cusp and node/focus line, of the
        others the curves of folds and Hopf points where the plane has eta (eta_i of qif_pair).
    over
        Datasets of theory to draw over `data`, each with points at the parameters of every panel: over maps
        `curve`, `special_points` and `cycle_branches`, clipped; over lines the others too.

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
    """
    if isinstance(observables, str):
        observables = [observables]
    if hasattr(over, "data_vars"):
        raise ScanError([Fault("over", "a dataset", "a list of datasets", "give over=[dataset]")])
    check_flag("folds", folds)
    if select is not None and not isinstance(select, Mapping):
        expected = "a mapping of dimensions to values"
        raise ScanError([Fault("select", show_value(select), expected, 'e.g. select={"eta": -5.0}')])
    dataset: Any = _opened(data) if isinstance(data, (str, os.PathLike)) else data
    if hasattr(dataset, "children") and "qifscan_scan" not in dataset.attrs:
        dataset = dataset.to_dataset()
    if hasattr(dataset, "children"):
        return _show_atlas(dataset, observables, (x, y, facet), dict(select or {}), folds, over)
    if is_grid_of_equilibria(dataset, y):
        dataset = counted_equilibria(dataset)
    if is_theory(dataset):
        if facet is not None:
            raise ScanError([Fault("facet", show_value(facet), "nothing", "select a slice of the theory")])
        return show_theory([dataset, *over], observables, x, y, select or {})
    if isinstance(dataset, xr.DataArray):
        dataset = dataset.to_dataset(name="values" if dataset.name is None else str(dataset.name))
    if not isinstance(dataset, xr.Dataset):
        expected = "a dataset of a scan, or one of qifscan's theory"
        raise ScanError([Fault("data", f"a {type(dataset).__name__} of something else", expected)])
    return _show_scan(dataset, observables, (x, y, facet), dict(select or {}), folds, over)


def _show_scan(
    dataset: xr.Dataset,
    observables: Sequence[str] | None,
    dims: tuple[str | None, str | None, str | None],
    select: dict[str, Any],
    folds: bool,
    over: Sequence[xr.Dataset],
) -> Figure:
    """Draw a dataset over the dimensions that it has now; theory only where its parameters are known."""
    whole, is_known, result = *_scan_of(dataset), result_of(dataset)
    _check_of_a_scan(dataset, is_known or result is not None)
    chosen = list(
        observables
        or (unasked(dataset, result) if result else [])
        or [n for n in whole.measures if n in dataset and dataset[n].ndim][:1]
        or [n for n in _drawable(dataset) if dataset[n].ndim][:1]
        or _drawable(dataset)[:1]
    )
    _check_observables(chosen, dataset)
    chosen_dims = {str(dim) for name in chosen for dim in dataset[name].dims}
    beside = ["status", *(end for name in chosen for end in BANDS.get(name, ()))]
    kept = dataset[list(dict.fromkeys([*chosen, *(name for name in beside if name in dataset)]))]
    stacked = [str(d) for d in chosen_dims if d in kept.indexes and kept.indexes[d].nlevels > 1]
    if stacked:
        hint = f'unstack it first: dataset.unstack("{stacked[0]}")'
        raise ScanError([Fault("data", f"the stacked dimension {stacked[0]}", "plain dimensions", hint)])
    scan, lost = described(kept.drop_dims([d for d in kept.dims if d not in chosen_dims]), whole)
    x, y, facet = dims
    if "time" in chosen_dims and x is None and y is None:
        longest = max((scan.sizes[d] for d in chosen_dims - {"time"}), default=1)
        x, y = "time", "" if longest <= MOST_LINES else None
    layout = _layout(scan, x, y, facet, select)
    shown = _selected(kept, layout)
    swept = [name for axis in whole.axes.values() for name in axis.columns if name not in layout.selected]
    there = {n: shown.coords[n].item() for n in swept if n in shown.coords and not shown.coords[n].dims}
    layout = replace(layout, selected={**there, **layout.selected})
    figure = _draw(shown, chosen, scan, layout, folds and is_known and not lost, over)
    if result is not None:
        head = title_of(dataset, result, _named_parameters(dataset))
        more = [value_of(n, v) for n, v in layout.selected.items() if n in dataset.dims]
        figure.suptitle(head + (f"\n{', '.join(more)}" if more else ""), fontsize="medium")
    return figure


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
        raise ScanError([Fault("data", f"a {type(dataset).__name__} of something else", expected, hint)])


def _drawable(dataset: xr.Dataset) -> list[str]:
    """Return the variables that can be drawn over dimensions of the dataset."""
    return [str(n) for n, a in dataset.data_vars.items() if a.dtype.kind in "biuf"]


def _opened(path: str | os.PathLike[str]) -> Any:
    """Return the dataset of a scan, or the tree of a store that has nothing but theory."""
    path = local("data", path)
    return open_theory(path) if is_theory_alone(path) else read(path)


def _show_atlas(
    tree: xr.DataTree,
    variables: Sequence[str] | None,
    dims: tuple[str | None, str | None, str | None],
    select: dict[str, Any],
    folds: bool,
    over: Sequence[xr.Dataset],
) -> Figure:
    """Draw the theory of a scan: how many equilibria are stable, over two axes; the branch, along one."""
    whole = Scan.from_json(tree.attrs["qifscan_scan"])
    scan = whole.model_copy(update={"axes": known_axes(whole), "replicates": 1})
    layout = _layout(scan, *dims, select)
    if layout.y is None:
        return show_theory([exact_branch(scan, layout), *over], variables, layout.x, "", {})
    if EQUILIBRIA not in tree.children:
        raise ScanError(
            [Fault("data", f"no equilibria ({tree.attrs['left_out']})", "them, to draw their number")]
        )
    stable = tree[EQUILIBRIA]["stable"].sum("equilibrium").assign_attrs(units="1")
    shown = xr.Dataset({STABLE: stable, "status": xr.ones_like(stable)})
    return _draw(_selected(shown, layout), [STABLE], scan, layout, folds, over)


def _check_observables(chosen: Sequence[str], dataset: xr.Dataset) -> None:
    known = [str(name) for name in dataset.data_vars if not str(name).endswith("_trace")]
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
    return _averaged(dataset) if layout.averaged else _where_run(dataset)


def _where_run(dataset: xr.Dataset) -> xr.Dataset:
    ran = dataset["status"] > 0 if "status" in dataset else xr.DataArray(True)
    return dataset if bool(ran.all()) else dataset.where(ran)


def _averaged(dataset: xr.Dataset) -> xr.Dataset:
    """Return the mean over the replicates: of flags all that any has, of meanings the one that all have."""
    run = _where_run(dataset)
    result = run.mean("replicate", keep_attrs=True)
    for name, values in dataset.data_vars.items():
        if values.dtype.kind not in "iu":
            continue
        if "flag_masks" in values.attrs:
            joined = values.reduce(np.bitwise_or.reduce, "replicate", keep_attrs=True)
            result[name] = joined if name == "status" else joined.where(joined > 0)
        elif "flag_values" in values.attrs:
            first = run[name].max("replicate", keep_attrs=True)
            result[name] = first.where(first == run[name].min("replicate"))
    return result


def _draw(
    shown: xr.Dataset,
    chosen: list[str],
    scan: Scan,
    layout: Layout,
    folds: bool,
    over: Sequence[xr.Dataset],
) -> Figure:
    from qifscan.plots.picture import Picture

    columns = shown[layout.facet].values.tolist() if layout.facet and layout.y else [None]
    aside = 2.4 if layout.y is None and (layout.facet or folds) else 0.0
    size = (1.2 + 3.8 * len(columns) + aside, 0.8 + 3.2 * len(chosen))
    figure = Picture(figsize=size, layout="constrained", dpi=150)
    grid = figure.subplots(len(chosen), len(columns), squeeze=False, sharex=True, sharey="row")
    for row, name in zip(grid, chosen, strict=True):
        if layout.y is None:
            _lines(row[0], shown, name, layout)
            if folds and scan.protocol.sweep == layout.x:
                draw_branch(row[0], name, scan, layout)
        else:
            _maps(figure, row, shown[name], columns, layout, rounding(scan, shown, name))
        for axes, column in zip(row, columns, strict=True):
            _finish_axes(axes, shown, layout)
            panel = layout if column is None else layout.panel(column)
            if folds:
                draw_exact(axes, scan, panel)
            draw_given(axes, name, over, scan, panel)
    for axes in grid[:, 0] if layout.y else []:
        axes.set_ylabel(_labelled(shown[layout.y]))
    for axes in grid[-1]:
        axes.set_xlabel(_labelled(shown[layout.x]))
    figure.suptitle(_title(shown, scan, layout), fontsize="medium")
    # Beside the panels: a fold that a legend hides is not seen.
    legend(
        figure, grid.ravel().tolist(), "outside right upper" if layout.y is None else "outside lower center"
    )
    return figure


def _maps(
    figure: Figure, row: Any, values: xr.DataArray, columns: list[Any], layout: Layout, least: float
) -> None:
    scale = scale_of(values, least)
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
    bar = figure.colorbar(mesh, ax=list(row), label=_labelled(values), pad=0.02, ticks=scale.ticks)
    if scale.words is not None:
        bar.set_ticklabels(scale.words)
        bar.ax.minorticks_off()


def _lines(axes: Axes, shown: xr.Dataset, name: str, layout: Layout) -> None:
    values, ends = shown[name], BANDS.get(name, ())
    columns = values[layout.facet].values.tolist() if layout.facet in values.dims else [None]
    across = shown[layout.x].values
    for column in columns:
        part = shown if column is None else shown.sel({layout.facet: column})
        told = None if column is None else value_of(str(layout.facet), column)
        (line,) = axes.plot(across, part[name].values, ".-", markersize=3, linewidth=1, label=told)
        if ends and all(end in part for end in ends):
            lower, upper = (part[end].values for end in ends)
            axes.fill_between(across, lower, upper, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_ylabel(_labelled(values))
    low, high = axes.get_ylim()
    if high - low < FLAT * max(abs(low), abs(high)):
        # What rounding makes of a constant must not look like a curve.
        axes.set_ylim(*(0.5 * (low + high) + sign * 0.1 * max(abs(low), abs(high)) for sign in (-1, 1)))
    if is_flag(values):
        scale = scale_of(values, 0.0)
        axes.set_yticks(scale.ticks, scale.words)


def _finish_axes(axes: Axes, shown: xr.Dataset, layout: Layout) -> None:
    for name, axis, scale in (
        (layout.x, axes.xaxis, axes.set_xscale),
        (layout.y, axes.yaxis, axes.set_yscale),
    ):
        values = None if name is None else shown[name].values
        if values is not None and is_geometric(values):
            scale("log")
        if values is not None:
            set_ticks(axis, values)


def _title(shown: xr.Dataset, scan: Scan, layout: Layout) -> str:
    parts = [value_of(name, value) for name, value in layout.selected.items()]
    if layout.averaged:
        parts.append(f"mean of {scan.replicates} replicates")
    status = shown["status"] if "status" in shown else xr.DataArray(1)
    missing = float((status.isnull() | (status == 0)).mean())
    if missing:
        parts.append(f"{missing:.0%} not run yet")
    if not np.isfinite(shown.to_array().values).all():
        parts.append("grey: not defined")
    title = scan.title or f"scan of {scan.model}"
    return title + (f"\n{', '.join(parts)}" if parts else "")


def _labelled(values: xr.DataArray) -> str:
    return label(str(values.name), values.attrs.get("units", "1"))
