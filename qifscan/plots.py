"""A stored scan as maps or lines, with the exact folds over them. Draws; computes no observable."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import theory
from qifscan.axes import number
from qifscan.errors import Fault, ScanError, StoreError, unknown
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.scan import Scan
from qifscan.store import read

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    xr = LazyModule("xarray")

MOST_PANELS = 6
"""Columns of panels; a facet with more values asks for a selection."""

SYMBOLS = {
    "eta": r"$\eta$",
    "delta": r"$\Delta$",
    "tau": r"$\tau$",
    "J": r"$J$",
    "v_ou_sigma": r"$\sigma_v$",
    "r_ou_sigma": r"$\sigma_r$",
}

MOVES_FOLDS = ("J", "delta", "tau", "r_ou_mean", "v_ou_mean", "drive_amplitude")
"""Parameters on which eta of a fold depends; a mean of the noise on r widens delta by pi tau r_ou_mean."""

NOT_DEFINED = "0.88"
FOLD_COLOUR = "#d1495b"
BRANCH_COLOUR = "0.6"

AT_REST = ("mean", "min", "max", "final")
"""What is measured of a variable that at rest is the variable itself."""


@dataclass(frozen=True)
class Layout:
    """What a figure shows: the dimensions across and up (None: lines), the columns, and what is selected."""

    x: str
    y: str | None
    facet: str | None
    selected: Mapping[str, Any]
    averaged: bool


def show(
    data: xr.Dataset | str | os.PathLike[str],
    observables: Sequence[str] | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    facet: str | None = None,
    select: Mapping[str, Any] | None = None,
    folds: bool = True,
) -> Figure:
    """Draw observables of a scan: maps over two dimensions, or lines over one.

    Parameters
    ----------
    data
        A dataset of `run` or `open_scan`, or the path of a store. It may be unfinished.
    observables
        One row of panels each; by default the first of the scan.
    x, y
        Dimensions across and up; by default the first two numeric ones. With `y=""`, lines over `x`.
    facet
        The dimension that makes the columns (lines: the colours); by default the shortest one left.
    select
        Values of further dimensions, the nearest on the axis; a dimension that is neither shown nor
        selected is taken at its middle, which the title says. Replicates are averaged unless selected.
    folds
        Draw the exact folds (saddle-node bifurcations) of the plain model over the simulation.

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
    dataset = read(Path(data)) if isinstance(data, (str, os.PathLike)) else data
    scan = Scan.from_json(dataset.attrs["qifscan_scan"])
    chosen = list(observables or scan.observables[:1])
    _check_observables(chosen, dataset)
    layout = _layout(scan, x, y, facet, dict(select or {}))
    shown = _selected(dataset[[*chosen, "status"]], layout)
    return _draw(shown, chosen, scan, layout, folds)


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
    numeric = [n for n in free if n not in given.values() and not _is_text(scan, n)]
    across = x or next(iter(numeric), None)
    if across is None:
        hint = "select less" if select else "qifscan.replay gives the trajectory of a point"
        raise ScanError([Fault("x", "no dimension with several values", "one to draw over", hint)])
    up = None if y == "" else y or next((n for n in numeric if n != across), None)
    left = [name for name in free if name not in (across, up)]
    columns = facet or min(left, key=lambda name: sizes[name], default=None)
    if columns is not None and facet is None and sizes[columns] > MOST_PANELS:
        columns = None
    if columns is not None and sizes[columns] > (MOST_PANELS if up else 12):
        found = f"{sizes[columns]} values of {columns}"
        raise ScanError(
            [Fault("facet", found, f"at most {MOST_PANELS if up else 12}", "select some, or another facet")]
        )
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
    ran = dataset["status"] > 0
    dataset = dataset.where(ran) if not ran.all() else dataset
    return dataset.mean("replicate", keep_attrs=True) if layout.averaged else dataset


def _draw(shown: xr.Dataset, chosen: list[str], scan: Scan, layout: Layout, folds: bool) -> Figure:
    from matplotlib.figure import Figure

    columns = shown[layout.facet].values.tolist() if layout.facet and layout.y else [None]
    figure = Figure(
        figsize=(1.2 + 3.8 * len(columns), 0.8 + 3.2 * len(chosen)), layout="constrained", dpi=150
    )
    grid = figure.subplots(len(chosen), len(columns), squeeze=False, sharex=True, sharey="row")
    for row, name in enumerate(chosen):
        if layout.y is None:
            _lines(grid[row, 0], shown[name], layout)
            if folds and scan.protocol.sweep == layout.x:
                _draw_branch(grid[row, 0], name, scan, layout)
        else:
            _maps(figure, grid[row], shown[name], columns, layout)
    drawn = False
    for axes, column in zip(grid.ravel(), columns * len(chosen), strict=True):
        _finish_axes(axes, shown, layout)
        panel = (
            layout
            if column is None
            else replace(layout, selected={**layout.selected, str(layout.facet): column})
        )
        drawn |= folds and _draw_folds(axes, scan, panel)
    if (layout.facet is not None and layout.y is None) or drawn:
        grid[0, -1].legend(
            fontsize="small", loc="best" if layout.y is None else "upper right", framealpha=0.8
        )
    for axes in grid[:, 0] if layout.y else []:
        axes.set_ylabel(_label(shown[layout.y]))
    for axes in grid[-1]:
        axes.set_xlabel(_label(shown[layout.x]))
    figure.suptitle(_title(shown, scan, layout), fontsize="medium")
    return figure


def _maps(figure: Figure, row: Any, values: xr.DataArray, columns: list[Any], layout: Layout) -> None:
    import matplotlib as mpl

    colours = mpl.colormaps["viridis"].with_extremes(bad=NOT_DEFINED)
    flat = values.values[np.isfinite(values.values)]
    low, high = (flat.min(), flat.max()) if flat.size else (0.0, 1.0)
    for axes, column in zip(row, columns, strict=True):
        panel = values if column is None else values.sel({layout.facet: column})
        panel = panel.transpose(layout.y, layout.x)
        mesh = axes.pcolormesh(
            panel[layout.x].values,
            panel[layout.y].values,
            np.ma.masked_invalid(panel.values),
            shading="nearest",
            cmap=colours,
            vmin=low,
            vmax=high,
            rasterized=True,
        )
        axes.set_facecolor(NOT_DEFINED)
        if column is not None:
            axes.set_title(_value(str(layout.facet), column), fontsize="medium")
    figure.colorbar(mesh, ax=list(row), label=_label(values), pad=0.02)


def _lines(axes: Axes, values: xr.DataArray, layout: Layout) -> None:
    columns = values[layout.facet].values.tolist() if layout.facet else [None]
    for column in columns:
        line = values if column is None else values.sel({layout.facet: column})
        label = None if column is None else _value(str(layout.facet), column)
        axes.plot(line[layout.x].values, line.values, ".-", markersize=3, linewidth=1, label=label)
    axes.set_ylabel(_label(values))


def _draw_branch(axes: Axes, name: str, scan: Scan, layout: Layout) -> None:
    """Draw the exact equilibria behind the lines of a sweep over eta or J: dashed where they are saddles."""
    (variable, _, what), across = name.partition("_"), layout.x
    swept = {column for axis in scan.axes.values() if axis.zipped for column in axis.columns}
    named = {n for n in ("eta", *MOVES_FOLDS) if n != across}
    if scan.model not in theory.MODELS_WITH_THEORY or across not in ("eta", "J"):
        return
    if variable not in ("r", "v") or what not in AT_REST or scan.drive is not None:
        return
    if layout.facet in named or swept & {across, *named}:
        return
    at = {n: _fixed(scan, layout, n) for n in sorted(named)}
    tau, width = at["tau"], at["delta"] + np.pi * at["tau"] * at["r_ou_mean"]
    limits, heights = axes.get_xlim(), axes.get_ylim()
    if width <= 0:
        return
    # As far as the panel reaches: pi R is below sqrt(eta) + |v| + J/pi, and small only where |v| is large.
    eta, J = (np.abs(limits if across == n else [at[n]]).max() for n in ("eta", "J"))
    highest = 1.0 + (np.sqrt(eta + abs(at["v_ou_mean"]) + width) + J) / np.pi
    R = np.geomspace(1e-5 * min(width, 1.0), highest, 20001)
    v = theory.potential(R / tau, np.asarray(width), np.asarray(tau))
    balance = (np.pi * R) ** 2 - v * v - at["v_ou_mean"]
    eta = balance - at["J"] * R if across == "eta" else at["eta"]
    J = at["J"] if across == "eta" else (balance - at["eta"]) / R
    x, y = (eta if across == "eta" else J), (R / tau if variable == "r" else v)
    saddle = 4.0 * v * v < 2.0 * R * (J - 2.0 * np.pi**2 * R)
    seen = (x >= limits[0]) & (x <= limits[1])
    for style, kind, label in (("-", ~saddle, "equilibrium (exact)"), ("--", saddle, "saddle (exact)")):
        there = seen & kind
        if there.any():
            shown = np.where(there, y, np.nan)
            axes.plot(x, shown, style, color=BRANCH_COLOUR, linewidth=3.0, zorder=0.5, label=label)
    axes.set_xlim(limits)
    axes.set_ylim(heights)


def _finish_axes(axes: Axes, shown: xr.Dataset, layout: Layout) -> None:
    for name, scale in ((layout.x, axes.set_xscale), (layout.y, axes.set_yscale)):
        if name is not None and _is_geometric(shown[name].values):
            scale("log")


def _is_geometric(values: Any) -> bool:
    """Whether the values of an axis are evenly spaced in their logarithm and not in themselves."""
    if len(values) < 3 or not np.all(values > 0):
        return False
    steps, ratios = np.diff(values), np.diff(np.log(values))
    return bool(np.allclose(ratios, ratios[0], rtol=1e-6) and not np.allclose(steps, steps[0], rtol=1e-6))


def _draw_folds(axes: Axes, scan: Scan, layout: Layout) -> bool:
    """Draw the fold curves up to the edges of a panel; return whether there are any in it."""
    across_limits, up_limits = axes.get_xlim(), axes.get_ylim()
    along = up_limits if layout.x == "eta" else across_limits
    label: str | None = "folds (exact)"
    for eta, other in _fold_curves(scan, layout, along):
        curve = (eta, other) if layout.x == "eta" else (other, eta)
        if layout.y is not None:
            axes.plot(*curve, color="white", linewidth=2.4, alpha=0.7)
        style = "-" if layout.y is not None else "--"
        axes.plot(*curve, style, color=FOLD_COLOUR, linewidth=1.3, label=label)
        label = None
    axes.set_xlim(across_limits)
    axes.set_ylim(up_limits)
    return label is None


def _fold_curves(scan: Scan, layout: Layout, limits: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    """Return eta of each fold over the other dimension of the figure, where eta is one of the two."""
    if scan.model not in theory.MODELS_WITH_THEORY or "eta" not in (layout.x, layout.y):
        return
    if any(axis.zipped and {"eta", *MOVES_FOLDS} & set(axis.columns) for axis in scan.axes.values()):
        return
    if layout.y is None and layout.facet in MOVES_FOLDS:
        return  # every colour has folds of its own
    other = layout.y if layout.x == "eta" else layout.x
    along = _fine(limits, scan, layout, other)
    at = {name: along if name == other else _fixed(scan, layout, name) for name in MOVES_FOLDS}
    width, shift = at["delta"] + np.pi * at["tau"] * at["r_ou_mean"], at["v_ou_mean"]
    if scan.drive is not None and scan.drive.kind == "constant":
        shift = shift + at["drive_amplitude"]
    J, width, shift = (np.broadcast_to(value, along.shape) for value in (at["J"], width, shift))
    there = width > 0
    parameters = {"J": J[there], "delta": width[there]}
    eta = theory.folds(**{n: xr.DataArray(values, dims="along") for n, values in parameters.items()})["eta"]
    for branch in eta["fold"].values:
        curve = np.full(along.shape, np.nan)
        curve[there] = eta.sel(fold=branch).values - shift[there]
        if np.isfinite(curve).any():
            yield curve, along


def _fine(limits: tuple[float, float], scan: Scan, layout: Layout, other: str | None) -> Any:
    """Return many values between the limits, with the cusp among them."""
    low, high = limits
    fine = np.geomspace(low, high, 801) if other == "delta" and low > 0 else np.linspace(low, high, 801)
    if other != "J":
        return fine
    delta, tau, mean = (_fixed(scan, layout, name) for name in ("delta", "tau", "r_ou_mean"))
    cusps = [float(theory.cusp(delta=width)["J"]) for width in (delta + np.pi * tau * mean,) if width > 0]
    return np.sort([*fine, *(cusp * (1 + 1e-12) for cusp in cusps)])


def _fixed(scan: Scan, layout: Layout, name: str) -> float:
    if name in layout.selected:
        return float(layout.selected[name])
    if name not in scan.parameters:
        return 0.0
    default = scan.parameters[name].default
    return float(scan.fixed.get(name, 0.0 if default is None else default))


def _title(shown: xr.Dataset, scan: Scan, layout: Layout) -> str:
    parts = [_value(name, value) for name, value in layout.selected.items()]
    if layout.averaged:
        parts.append(f"mean of {scan.replicates} replicates")
    missing = float((shown["status"].isnull() | (shown["status"] == 0)).mean())
    if missing:
        parts.append(f"{missing:.0%} not run yet")
    if not np.isfinite(shown.to_array().values).all():
        parts.append("grey: not defined")
    title = scan.title or f"scan of {scan.model}"
    return title + (f"\n{', '.join(parts)}" if parts else "")


def _value(name: str, value: Any) -> str:
    text = value if isinstance(value, str) else f"{value:.4g}"
    return f"{SYMBOLS.get(name, name)} = {text}"


def _label(values: xr.DataArray) -> str:
    name = str(values.name)
    unit = values.attrs.get("units", "1")
    unit = re.sub(r"\^([-\d.]+)", r"$^{\1}$", unit)
    return SYMBOLS.get(name, name) + (f" ({unit})" if unit != "1" else "")
