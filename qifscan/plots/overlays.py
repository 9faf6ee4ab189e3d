"""The exact theory over a panel of a scan: its folds, Hopf points and branches, at the panel's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, one_of
from qifscan.lazy import LazyModule
from qifscan.plots.diagrams import draw_plane, mark_points, over_panel
from qifscan.plots.table import FOLD_COLOUR, read
from qifscan.scan.effective import effective
from qifscan.scan.scan import Scan
from qifscan.theory import branches, curves, plain

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from qifscan.arrays import Range
else:
    xr = LazyModule("xarray")

MOVES_FOLDS = ("J", "delta", "tau", "r_ou_mean", "v_ou_mean", "drive_amplitude")
"""Parameters on which eta of a fold depends; a mean of the noise on r widens delta by pi tau r_ou_mean."""

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

    def panel(self, column: Any) -> Layout:
        """Return the layout of the panel of a value of the facet."""
        return replace(self, selected={**self.selected, str(self.facet): column})


def draw_branch(axes: Axes, name: str, scan: Scan, layout: Layout) -> None:
    """Draw the exact equilibria behind the lines of a sweep over eta or J: dashed where they are saddles."""
    (variable, _, what), across = name.partition("_"), layout.x
    swept = {column for axis in scan.axes.values() if axis.zipped for column in axis.columns}
    named = {n for n in ("eta", *MOVES_FOLDS) if n != across}
    if not _is_plain(scan) or across not in ("eta", "J"):
        return
    if variable not in ("r", "v") or what not in AT_REST or scan.drive is not None:
        return
    if layout.facet in named or swept & {across, *named}:
        return
    at = {n: fixed(scan, layout, n) for n in sorted(named)}
    tau, width = at["tau"], at["delta"] + np.pi * at["tau"] * at["r_ou_mean"]
    limits, heights = axes.get_xlim(), axes.get_ylim()
    if width <= 0:
        return
    # Rates that the panel can show: pi R is below sqrt(eta) + |v| + J/pi, and small only where |v| is large.
    eta, J = (np.abs(limits if across == n else [at[n]]).max() for n in ("eta", "J"))
    highest = 1.0 + (np.sqrt(eta + abs(at["v_ou_mean"]) + width) + J) / np.pi
    R = np.geomspace(1e-5 * min(width, 1.0), highest, 20001)
    v = plain.potential(R / tau, np.asarray(width), np.asarray(tau))
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


def panel_parameters(scan: Scan, layout: Layout) -> dict[str, float]:
    """Return the model's parameters that are the same all over a panel."""
    zipped = {column for axis in scan.axes.values() if axis.zipped for column in axis.columns}
    names = [parameter.name for parameter in scan.mean_field.parameters]
    return {n: fixed(scan, layout, n) for n in names if n not in (layout.x, layout.y) and n not in zipped}


def draw_given(axes: Axes, observable: str, given: Sequence[xr.Dataset], scan: Scan, layout: Layout) -> None:
    """Draw datasets of theory over a panel: over lines the variable that the observable measures."""
    if not given:
        return
    variable, _, what = observable.rpartition("_")
    if layout.y is None and what not in AT_REST:
        able = [f"{name}_{kind}" for name in scan.mean_field.variable_names for kind in AT_REST]
        hint = "draw an observable that is a state"
        raise ScanError([Fault("over", f"lines of {observable}", one_of(able), hint)])
    at = panel_parameters(scan, layout)
    name, plane = scan.mean_field.name, layout.y is not None
    over_panel(axes, given, name, layout.x, layout.y or variable, at, plane=plane)


def draw_exact(axes: Axes, scan: Scan, layout: Layout) -> None:
    """Draw the exact bifurcations over a panel, up to its edges."""
    across_limits, up_limits = axes.get_xlim(), axes.get_ylim()
    if _is_plain(scan):
        along = up_limits if layout.x == "eta" else across_limits
        _draw_folds(axes, scan, layout, along)
        if {layout.x, layout.y} == {"eta", "J"}:
            _draw_cusp(axes, scan, layout, along)
    elif layout.y is not None:
        for dataset in _curves(scan, layout, {layout.x: across_limits, layout.y: up_limits}):
            draw_plane(axes, read(dataset), layout.x, layout.y)
    axes.set_xlim(across_limits)
    axes.set_ylim(up_limits)


def _draw_folds(axes: Axes, scan: Scan, layout: Layout, along: Range) -> None:
    label: str | None = "folds (exact)"
    for eta, other in _fold_curves(scan, layout, along):
        curve = (eta, other) if layout.x == "eta" else (other, eta)
        if layout.y is not None:
            axes.plot(*curve, color="white", linewidth=2.4, alpha=0.7)
        style = "-" if layout.y is not None else "--"
        axes.plot(*curve, style, color=FOLD_COLOUR, linewidth=1.3, label=label)
        label = None


def _draw_cusp(axes: Axes, scan: Scan, layout: Layout, limits: Range) -> None:
    """Mark the cusp, and draw where the upper equilibrium turns from node into focus."""
    if _is_moved(scan, layout, ("eta", "J", "delta", "tau")):
        return
    width, shift = _width_and_shift(scan, {name: fixed(scan, layout, name) for name in MOVES_FOLDS})
    if width <= 0:
        return
    J = np.linspace(*limits, 801)
    line = plain.focus_line(J=J, delta=float(width), tau=fixed(scan, layout, "tau"))["eta"].values - shift
    cusp = plain.cusp(delta=float(width))
    point = (np.array([float(cusp["eta"]) - shift]), np.array([float(cusp["J"])]))
    if layout.x == "J":
        line, J, point = J, line, point[::-1]
    # Below the folds, to one of which it comes near.
    axes.plot(line, J, "-", color="white", linewidth=2.4, alpha=0.7, zorder=1.8)
    axes.plot(line, J, ":", color="black", linewidth=1.6, zorder=1.8, label="node/focus line (exact)")
    mark_points(axes, point[0], point[1], "CP")


def _curves(scan: Scan, layout: Layout, limits: Mapping[str, Range]) -> Iterator[xr.Dataset]:
    """Return the curves of folds and of Hopf points in the plane of a panel, where there are any in it.

    They are those under the mean of the noise and a constant drive, and stand at the parameters of the scan.
    """
    model = scan.mean_field
    other = layout.y if layout.x == model.graph else layout.x
    names = [parameter.name for parameter in model.parameters]
    if model.delay or model.graph not in limits or other not in names or _is_moved(scan, layout, names):
        return
    inputs = {
        n: fixed(scan, layout, n) for n in scan.parameters if n.endswith("_ou_mean") or n.startswith("drive_")
    }
    given = panel_parameters(scan, layout) | inputs | {model.graph: 0.0, str(other): 0.0}
    slices = effective(scan, given)
    shift = {name: slices[name] - given[name] for name in (model.graph, str(other))}
    within = tuple(x + shift[str(other)] for x in _within(scan, str(other), limits[str(other)]))
    slices = {name: value for name, value in slices.items() if name not in shift}
    for kind in ("LP", "HB"):
        try:
            found = curves.curve(scan.model, kind, through=str(other), within=within, **slices)
        except ScanError:
            continue  # no such point within the range of the panel
        yield found.assign({name: found[name] - shift[name] for name in shift})


def _within(scan: Scan, name: str, limits: Range) -> list[float]:
    """Return the range of a parameter in a panel, without what it can't be half a cell beyond its axis."""
    domain, labels = scan.parameters[name].domain, scan.axes[name].labels
    ends = sorted(limits)
    return [
        x if domain.holds(x) else float(y) for x, y in zip(ends, (labels.min(), labels.max()), strict=True)
    ]


def exact_branch(scan: Scan, layout: Layout) -> xr.Dataset:
    """Return the branch of equilibria along the axis of a panel, from its first to its last value."""
    name, labels = layout.x, scan.axes[layout.x].labels
    slices = effective(scan, panel_parameters(scan, layout) | {name: 0.0})
    added = slices.pop(name)
    within = (float(labels.min()) + added, float(labels.max()) + added)
    found = branches.branch(scan.model, name, within=within, **slices)
    return found.assign({name: (found[name] - added).assign_attrs(found[name].attrs)})


def _is_moved(scan: Scan, layout: Layout, names: Sequence[str]) -> bool:
    """Whether an axis that the panel does not fix at one value moves the bifurcations."""
    free = {column for axis in scan.axes.values() if axis.zipped for column in axis.columns}
    inputs = {"drive_amplitude", *(f"{name}_ou_mean" for name in scan.mean_field.input_names)}
    return bool(free & {*names, *inputs} or inputs & {layout.x, layout.y})


def _fold_curves(scan: Scan, layout: Layout, limits: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    """Return eta of each fold over the other dimension of the figure, where eta is one of the two."""
    if not _is_plain(scan) or "eta" not in (layout.x, layout.y):
        return
    if any(axis.zipped and {"eta", *MOVES_FOLDS} & set(axis.columns) for axis in scan.axes.values()):
        return
    if layout.y is None and layout.facet in MOVES_FOLDS:
        return  # every colour has folds of its own
    other = layout.y if layout.x == "eta" else layout.x
    along = _fine(limits, scan, layout, other)
    at = {name: along if name == other else fixed(scan, layout, name) for name in MOVES_FOLDS}
    width, shift = _width_and_shift(scan, at)
    J, width, shift = (np.broadcast_to(value, along.shape) for value in (at["J"], width, shift))
    there = width > 0
    parameters = {"J": J[there], "delta": width[there]}
    eta = plain.folds(**{n: xr.DataArray(values, dims="along") for n, values in parameters.items()})["eta"]
    for branch in eta["fold"].values:
        curve = np.full(along.shape, np.nan)
        curve[there] = eta.sel(fold=branch).values - shift[there]
        if np.isfinite(curve).any():
            yield curve, along


def _is_plain(scan: Scan) -> bool:
    """Whether the folds and the cusp of the plain model are those of the scan's."""
    return scan.mean_field.plain and not scan.mean_field.delay


def _width_and_shift(scan: Scan, at: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the delta of the plain model under the mean of its noise, and what is added to its eta."""
    width, shift = at["delta"] + np.pi * at["tau"] * at["r_ou_mean"], at["v_ou_mean"]
    if scan.drive is not None and scan.drive.steady:
        shift = shift + at["drive_amplitude"]
    return width, shift


def _fine(limits: tuple[float, float], scan: Scan, layout: Layout, other: str | None) -> Any:
    """Return many values between the limits, with the cusp among them."""
    low, high = limits
    fine = np.geomspace(low, high, 801) if other == "delta" and low > 0 else np.linspace(low, high, 801)
    if other != "J":
        return fine
    delta, tau, mean = (fixed(scan, layout, name) for name in ("delta", "tau", "r_ou_mean"))
    cusps = [float(plain.cusp(delta=width)["J"]) for width in (delta + np.pi * tau * mean,) if width > 0]
    return np.sort([*fine, *(cusp * (1 + 1e-12) for cusp in cusps)])


def fixed(scan: Scan, layout: Layout, name: str) -> float:
    """Return the value of a parameter that a panel has no dimension for; 0 if the scan has none."""
    if name in layout.selected:
        return float(layout.selected[name])
    if name not in scan.parameters:
        return 0.0
    default = scan.parameters[name].default
    return float(scan.fixed.get(name, 0.0 if default is None else default))
