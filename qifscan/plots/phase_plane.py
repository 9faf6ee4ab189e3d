"""The phase plane of rate and mean potential, as one draws it: nullclines, equilibria, flow, trajectories."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.dynamics.models import model_named
from qifscan.dynamics.noise import ou_parameters
from qifscan.errors import Fault, ScanError, check_time, is_number, is_range, unknown
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.place import local
from qifscan.plots.diagrams import ink, legend, paper
from qifscan.plots.style import Style
from qifscan.plots.table import label, value_of
from qifscan.results.of_dataset import drive_left_out, model_of_dataset, point_of
from qifscan.runs.trajectory import simulate
from qifscan.store.reader import read
from qifscan.theory.plane import PhasePlane
from qifscan.theory.spectrum import KINDS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qifscan.arrays import Array
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")

NULLCLINES = ("#0072b2", "#d55e00")
"""Of r and of v. They and those of trajectories are of the set of Okabe and Ito, for colour-blind people."""

TRAJECTORIES = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")

FLOW = "0.78"

FINE, COARSE = 401, 31
"""Points of each axis at which nullclines and flow are computed."""

LONG = 30.0
"""Of the longest time constant of the model, how long a trajectory runs unless asked otherwise."""

FINE_STEP = 0.005
"""A step of trajectories, of the shortest membrane time constant: curves are to look round."""

WIDEST = 45
"""Letters of a line of the heading."""


def phase_plane(
    model: str | xr.Dataset | os.PathLike[str] = "qif",
    *,
    start: Any = (),
    t_end: float | None = None,
    within: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    **parameters: float,
) -> Figure:
    """Draw the plane of rate and mean potential: nullclines, equilibria, separatrix, flow and trajectories.

    r' = 0 and v' = 0 cross at the equilibria, which are all there are, with their stability: filled where
    stable, open where not, half of a saddle. The stable manifold of a saddle parts the starts that end in one
    state from those that end in another.

    Of a model with more variables the plane is a section, and trajectories are seen in projection: slow
    variables that r alone drives are taken as at rest at each r, so that nullclines cross at equilibria
    alone; of two populations the first is drawn, and the other is held at the lowest stable equilibrium. With
    a delay the past rate is taken as the rate. The heading says so.

    Parameters
    ----------
    model
        Name of the model; or a dataset of this package, or the path of a store: then parameters that have one
        value in it are taken from it, and a constant drive of the scan as a mean of the noise.
    start
        Where trajectories begin: a state such as `{"r": 0.5, "v": -1.0}`, or several in a list. Variables
        that are left out are as in the plane. With `v_ou_sigma=...` they have noise.
    t_end
        How long trajectories run, ms; by default 30 of the model's longest time constant.
    within
        The window, e.g. `{"r": (0.0, 2.0), "v": (-3.0, 3.0)}`; by default around equilibria and trajectories.
    ax, figsize, title
        As in `show`.
    **parameters
        Parameters of the model, and those of the noise, numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; r in 1/ms, v without unit.

    Raises
    ------
    ScanError
        If anything in the request is wrong.

    Notes
    -----
    Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), figure 3, has such planes of the plain model.

    Examples
    --------
    >>> import qifscan as qs
    >>> figure = qs.phase_plane(eta=-5.0, J=15.0, start={"r": 0.1, "v": 0.5}, t_end=20.0)
    >>> figure.axes[0].get_xlabel()
    'r (1/ms)'
    """
    style = Style(ax=ax, figsize=figsize, title=title)
    check_time("t_end", t_end)
    plane, given, left_out = _plane(model, parameters)
    starts = _starts(start, plane.model)
    runs = _trajectories(plane, given, starts, t_end)
    low, high = _window(plane, runs, within or {})
    figure, grid = style.canvas(1, 1, (7.4, 4.6))
    axes = grid[0, 0]
    _draw_flow(axes, plane, low, high)
    _draw_nullclines(axes, plane, low, high)
    for half in plane.separatrices(low, high):
        axes.plot(*half.T, "-.", color=ink(), linewidth=1.2, label="stable manifold of the saddle")
    _draw_trajectories(axes, runs)
    _draw_equilibria(axes, plane)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    for axis, row in zip((axes.set_xlabel, axes.set_ylabel), plane.model.variables[:2], strict=True):
        axis(label(row.name, row.unit))
    style.head(figure, "\n".join([_heading(plane, given), *([left_out] if left_out else [])]))
    legend(figure, [axes], "outside right upper", style)
    return cast("Figure", figure)


# What is asked for


def _plane(model: Any, parameters: Mapping[str, Any]) -> tuple[PhasePlane, dict[str, float], str]:
    """Return the plane that is asked for, the parameters that are given for it, or by a dataset, and what it
    leaves out."""
    left_out = ""
    if isinstance(model, os.PathLike) or (isinstance(model, str) and model.endswith(".zarr")):
        model = read(local("model", model))
    if isinstance(model, str):
        row, given = model_named(model), dict(parameters)
    elif hasattr(model, "data_vars"):
        row, given, kind = model_of_dataset(model), point_of(model, parameters), drive_left_out(model)
        left_out = f"without the {kind} of the scan" if kind else ""
    else:
        expected = "the name of a model, a dataset, or the path of a store"
        raise ScanError([Fault("model", show_value(model), expected)])
    known = {p.name: p for p in row.parameters}
    known |= {p.name: p for v in row.variables for p in ou_parameters(v)}
    faults = [unknown("parameters", name, known, "parameter") for name in given if name not in known]
    for name in given.keys() & known.keys():
        value = getattr(given[name], "item", lambda x=given[name]: x)() if np.ndim(given[name]) == 0 else None
        if not is_number(value):
            faults.append(Fault(name, show_value(given[name]), "a number"))
        elif not known[name].domain.holds(value):
            faults.append(Fault(name, f"{value:g}", known[name].domain.words))
    if faults:
        raise ScanError(faults)
    own = {name: p.default for name, p in known.items() if p.default is not None}
    return PhasePlane(row, own | {name: float(value) for name, value in given.items()}), given, left_out


def _starts(start: Any, model: Model) -> list[Mapping[str, float]]:
    """Return the states that trajectories begin with."""
    given = [start] if isinstance(start, Mapping) else start
    if not isinstance(given, Sequence) or isinstance(given, str):
        hint = 'e.g. start=[{"r": 0.5, "v": -1.0}]'
        raise ScanError([Fault("start", show_value(start), "a state, or a list of states", hint)])
    faults = []
    for i, state in enumerate(given):
        where = "start" if isinstance(start, Mapping) else f"start[{i}]"
        if not isinstance(state, Mapping):
            faults.append(Fault(where, show_value(state), 'a state, such as {"r": 0.5, "v": -1.0}'))
            continue
        names = model.variable_names
        faults += [unknown(where, name, names, "variable") for name in state if name not in names]
        faults += [Fault(where, f"no {name}", "a number for it") for name in names[:2] if name not in state]
        wrong = {n: x for n, x in state.items() if not is_number(x)}
        faults += [Fault(f"{where}.{n}", show_value(x), "a number") for n, x in wrong.items()]
        if is_number(state.get(names[0])) and state[names[0]] < 0:
            faults.append(Fault(f"{where}.{names[0]}", f"{state[names[0]]:g}", "a rate of at least 0"))
    if faults:
        raise ScanError(faults)
    return list(given)


def _trajectories(
    plane: PhasePlane, given: Mapping[str, float], starts: Sequence[Mapping[str, float]], t_end: float | None
) -> xr.Dataset | None:
    """Return the trajectories from these starts, along `start`."""
    if not starts:
        return None
    names = plane.model.variable_names
    rows = []
    for start in starts:
        whole = plane.state_at(np.float64(start[names[0]]), np.float64(start[names[1]]))
        rows.append([start.get(name, float(x)) for name, x in zip(names, whole, strict=True)])
    begin = {
        f"{name}_initial": xr.DataArray(list(column), dims="start")
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    times = [p.name for p in plane.model.parameters if p.unit == "ms" and p.name != plane.model.delay]
    longest = max(plane.parameters[name] for name in times)
    step = FINE_STEP * min(plane.parameters[f"tau{rate.population}"] for rate in plane.model.rates)
    asked: dict[str, Any] = {**given, **begin}
    return simulate(plane.model.name, t_end=t_end or LONG * longest, dt=step, **asked)


def _window(
    plane: PhasePlane, runs: xr.Dataset | None, within: Mapping[str, Any]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the lower left and the upper right corner of what is drawn."""
    names = plane.model.variable_names[:2]
    faults = [unknown("within", name, names, "variable") for name in within if name not in names]
    for name, ends in within.items():
        if not is_range(ends):
            faults.append(Fault(f"within.{name}", show_value(ends), "two ascending numbers"))
    if faults:
        raise ScanError(faults)
    ranges = []
    for i, name in enumerate(names):
        values = [plane.states[:, i]] + ([] if runs is None else [runs[name].values.ravel()])
        every = np.concatenate(values)
        every = every[np.isfinite(every)]
        ranges.append(tuple(map(float, within.get(name, _around(plane, every, is_rate=i == 0)))))
    (left, right), (bottom, top) = ranges
    return (left, bottom), (right, top)


def _around(plane: PhasePlane, values: Array, *, is_rate: bool) -> tuple[float, float]:
    """Return a range around equilibria and trajectories, at least of the size that the population has."""
    of = plane.model.rates[0].population
    delta, tau = (plane.effective[f"{name}{of}"] for name in ("delta", "tau"))
    unit = np.sqrt(delta) / (np.pi * tau)
    if is_rate:
        return 0.0, 1.25 * float(values.max(initial=2.0 * unit))
    size = 1.25 * float(np.abs(values).max(initial=1.5 * np.sqrt(delta)))
    return -size, size


# Drawing


def _grid(low: Sequence[float], high: Sequence[float], count: int) -> tuple[Array, Array]:
    """Return points of a window; at a rate of 0 some variables are not defined at rest."""
    r = np.linspace(low[0], high[0], count)
    r[0] = max(r[0], 1e-6 * (high[0] - low[0]))
    across, up = np.meshgrid(r, np.linspace(low[1], high[1], count))
    return across, up


def _draw_flow(axes: Axes, plane: PhasePlane, low: Sequence[float], high: Sequence[float]) -> None:
    r = np.linspace(low[0], high[0], COARSE)
    v = np.linspace(low[1], high[1], COARSE)
    slopes = plane.slopes(*np.meshgrid(np.maximum(r, 1e-6 * (high[0] - low[0])), v))
    dr, dv = (np.where(np.isfinite(x), x, 0.0) for x in slopes)
    axes.streamplot(r, v, dr, dv, color=FLOW, linewidth=0.6, arrowsize=0.7, density=1.1, zorder=0.5)


def _draw_nullclines(axes: Axes, plane: PhasePlane, low: Sequence[float], high: Sequence[float]) -> None:
    from contourpy import contour_generator

    across, up = _grid(low, high, FINE)
    names = plane.model.variable_names[:2]
    for slope, colour, name in zip(plane.slopes(across, up), NULLCLINES, names, strict=True):
        generator: Any = contour_generator(across, up, np.ma.masked_invalid(slope))
        for line in generator.lines(0.0):
            axes.plot(*np.asarray(line).T, color=colour, linewidth=1.6, zorder=2, label=f"{name}' = 0")


def _draw_trajectories(axes: Axes, runs: xr.Dataset | None) -> None:
    if runs is None:
        return
    names = [str(name) for name in runs.data_vars][:2]
    r, v = (runs[name].values for name in names)
    for i in range(runs.sizes["start"]):
        colour = TRAJECTORIES[i % len(TRAJECTORIES)]
        told = f"from {names[0]} = {r[i, 0]:.3g}, {names[1]} = {v[i, 0]:.3g}"
        axes.plot(r[i], v[i], color=colour, linewidth=1.6, zorder=3, label=told)
        axes.plot(r[i, 0], v[i, 0], marker="D", color=colour, markersize=5, zorder=3.5)


def _draw_equilibria(axes: Axes, plane: PhasePlane) -> None:
    found = plane.equilibria
    looks = {
        "stable": {"markerfacecolor": ink()},
        "unstable": {"markerfacecolor": paper()},
        "saddle": {"fillstyle": "left", "markerfacecoloralt": paper(), "markerfacecolor": ink()},
    }
    for i, state in enumerate(plane.states):
        kind, stable = KINDS[int(found["kind"][i])], bool(found["stable"][i])
        look: dict[str, Any] = looks["saddle" if kind == "saddle" else "stable" if stable else "unstable"]
        told = kind if kind == "saddle" else f"{'stable' if stable else 'unstable'} {kind}"
        where: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8, "zorder": 5}
        axes.plot(*state[:2, None], color=ink(), label=told, **where, **look)


def _heading(plane: PhasePlane, given: Mapping[str, float]) -> str:
    """Return the model, its parameters, and what the plane takes the rest of the state to be."""
    own = [p.name for p in plane.model.parameters]
    noise = [name for name in given if name not in own and given[name] and not name.endswith("_ou_tau")]
    told = [value_of(name, plane.parameters[name]) for name in [*own, *noise]]
    lines = [plane.model.name, ""]
    for text in told:
        if len(_read(lines[-1])) + len(_read(text)) > WIDEST:
            lines.append("")
        lines[-1] += f", {text}" if lines[-1] else text
    return "\n".join(line for line in (*lines, plane.note) if line)


def _read(text: str) -> str:
    """Return a text as one reads it: of a letter of mathematics one sign."""
    return re.sub(r"[${}_]", "", re.sub(r"\\[A-Za-z]+", "x", text))
