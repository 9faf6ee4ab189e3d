"""Responses and spectra over frequency: exact ones beside those of simulated time series."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.definition import number
from qifscan.errors import Fault, ScanError, unknown, without
from qifscan.errors import show as show_value
from qifscan.plots.diagrams import legend
from qifscan.plots.panels import told_of
from qifscan.plots.table import label, value_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qifscan.arrays import Array
    from qifscan.plots.style import Style

EXACT = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SIMULATED = "0.6"

DECADES = 1e-8
"""The smallest power that is drawn, of the largest: beyond it a spectrum falls on and on."""

MOST = 12
"""Lines of a panel."""

LOGARITHMIC = ("_gain", "_power")


def is_over_frequency(dataset: Any) -> bool:
    """Whether a dataset is one of `linear_response` or `power_spectrum`."""
    return "frequency" in getattr(dataset, "dims", ()) and "method" in dataset.attrs and bool(_names(dataset))


def _names(dataset: xr.Dataset) -> list[str]:
    return [str(n) for n in dataset.data_vars if str(n).endswith(("_gain", "_phase", "_power"))]


def _is_simulated(dataset: xr.Dataset) -> bool:
    return "segment" in dataset.attrs


def show_spectra(
    datasets: Sequence[xr.Dataset], names: Sequence[str] | None, select: Mapping[str, Any], style: Style
) -> Figure:
    """Return the figure of datasets over frequency: power, or gain and phase, of the first variable.

    Exact ones are lines in colours; simulated ones are grey, with their interval.
    """
    style.check_no_colours("lines")
    chosen = list(names or _usual(datasets))
    _check(datasets, chosen)
    figure, grid = style.canvas(len(chosen), 1, (7.6, 1.0 + 2.8 * len(chosen)), sharex=True)
    panels = grid[:, 0].tolist()
    for axes, name in zip(panels, chosen, strict=True):
        colours = itertools.cycle(EXACT)
        for dataset in sorted(datasets, key=_is_simulated, reverse=True):
            if name in dataset:
                _draw(axes, dataset, name, select, colours)
        _finish(axes, datasets, name, style)
    panels[-1].set_xlabel("frequency (1/ms)")
    panels[-1].set_xlim(*_range(datasets))
    figure.align_ylabels(panels)
    style.head(figure, _title(datasets, select))
    legend(figure, panels, "outside right upper", style)
    return cast("Figure", figure)


def _usual(datasets: Sequence[xr.Dataset]) -> list[str]:
    """Return what is drawn unasked."""
    there = [name for dataset in datasets for name in _names(dataset)]
    power = next((name for name in there if name.endswith("_power")), None)
    variable = there[0].rpartition("_")[0]
    return [f"{variable}_gain", f"{variable}_phase"] if power is None else [power]


def _check(datasets: Sequence[xr.Dataset], chosen: Sequence[str]) -> None:
    for i, dataset in enumerate(datasets[1:]):
        if not is_over_frequency(dataset):
            expected = "one of linear_response or power_spectrum"
            raise ScanError([Fault(f"over[{i}]", without(dataset, "of something else"), expected)])
    known = list(dict.fromkeys(name for dataset in datasets for name in _names(dataset)))
    faults = [unknown("observable", name, known) for name in chosen if name not in known]
    models = {str(dataset.attrs.get("model")) for dataset in datasets}
    if len(models) > 1:
        faults.append(Fault("over", f"datasets of the models {' and '.join(sorted(models))}", "of one"))
    if faults:
        raise ScanError(faults)


def _draw(
    axes: Axes, dataset: xr.Dataset, name: str, select: Mapping[str, Any], colours: Iterator[str]
) -> None:
    """Draw the lines of a dataset."""
    lines = list(_lines(dataset, name, select))
    if not lines:
        hint = "no equilibrium is stable there"
        raise ScanError([Fault("data", f"no value of {name}", "some", hint)])
    if len(lines) > MOST:
        hint = "select values, e.g. select={'equilibrium': 0}"
        raise ScanError([Fault("data", f"{len(lines)} lines of {name}", f"at most {MOST}", hint)])
    f = dataset["frequency"].values
    for place, told in lines:
        values = dataset[name].isel(place).transpose("frequency").values
        if not _is_simulated(dataset):
            axes.plot(f, values, color=next(colours), linewidth=1.3, label=f"exact{told}", zorder=3)
            continue
        colour = SIMULATED if len(lines) == 1 else next(colours)
        (line,) = axes.plot(f, values, color=colour, linewidth=2.0, label=f"simulated{told}, 95 % interval")
        low, high = (dataset[f"{name}_{end}"].isel(place).values for end in ("low", "high"))
        axes.fill_between(f, low, high, color=line.get_color(), alpha=0.25, linewidth=0)


def _lines(dataset: xr.Dataset, name: str, select: Mapping[str, Any]) -> Iterator[tuple[dict[str, int], str]]:
    """Yield the place of every line that has values, and what tells it from the others."""
    array = dataset[name]
    dims = [str(d) for d in array.dims if d != "frequency"]
    chosen = {d: _nearest(dataset, d, select[d]) for d in dims if d in select}
    free = [d for d in dims if d not in chosen]
    for index in np.ndindex(*(array.sizes[d] for d in free)):
        place = chosen | dict(zip(free, index, strict=True))
        if np.isfinite(array.isel(place).values).any():
            told = [_told(dataset, d, place) for d in free if array.sizes[d] > 1]
            yield place, f", {', '.join(told)}" if told else ""


def _told(dataset: xr.Dataset, dim: str, place: Mapping[str, int]) -> str:
    """Return what a place along a dimension is: of an equilibrium its rate."""
    if dim == "equilibrium":
        first = next(str(n) for n in dataset.data_vars)
        return f"at {first} = {float(dataset[first].isel(place)):.3g}"
    return told_of(dataset.isel({dim: place[dim]}), dim, dataset[dim].values[place[dim]].item())


def _nearest(dataset: xr.Dataset, dim: str, value: Any) -> int:
    wanted, labels = number(value), dataset[dim].values
    if wanted is None or not labels.min() <= wanted <= labels.max():
        expected = f"a number from {labels.min():g} to {labels.max():g}"
        raise ScanError([Fault(f"select.{dim}", show_value(value), expected)])
    return int(np.argmin(np.abs(labels - wanted)))


def _finish(axes: Axes, datasets: Sequence[xr.Dataset], name: str, style: Style) -> None:
    units = next(str(d[name].attrs.get("units", "1")) for d in datasets if name in d)
    axes.set_xscale("log")
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    if name.endswith(LOGARITHMIC):
        axes.set_yscale("log")
        heights = np.concatenate([np.ravel(line.get_ydata()) for line in axes.lines]).astype(float)
        heights = heights[np.isfinite(heights) & (heights > 0)]
        axes.set_ylim(max(heights.min() / 2.0, heights.max() * DECADES), heights.max() * 3.0)
    else:
        _pi_ticks(axes)
    axes.set_ylabel(label(name, units))
    if style.has_range:
        axes.set_ylim(style.vmin, style.vmax)


def _pi_ticks(axes: Axes) -> None:
    """Put the ticks of an angle at quarters and halves of a turn."""
    low, high = axes.get_ylim()
    step = 0.25 if high - low < 2.0 * np.pi else 0.5 if high - low < 4.0 * np.pi else 1.0
    ticks = np.arange(np.floor(low / np.pi / step), np.ceil(high / np.pi / step) + 1) * step
    words = {0.0: "0", 1.0: "π", -1.0: "−π"}
    axes.set_yticks(ticks * np.pi, [words.get(x, f"{x:g}π".replace("-", "−")) for x in ticks.tolist()])
    axes.set_ylim(low, high)


def _range(datasets: Sequence[xr.Dataset]) -> tuple[float, float]:
    """Return the frequencies that all datasets have."""
    every: list[Array] = [d["frequency"].values[d["frequency"].values > 0] for d in datasets]
    low, high = max(f.min() for f in every), min(f.max() for f in every)
    if not low < high:
        raise ScanError([Fault("over", "frequencies of no common range", "ranges that overlap")])
    return float(low), float(high)


def _title(datasets: Sequence[xr.Dataset], select: Mapping[str, Any]) -> str:
    """Return the model, and the parameters that are one number."""
    first = datasets[0]
    dims = {str(d) for name in _names(first) for d in first[name].dims}
    fixed = {str(n): c.item() for n, c in first.coords.items() if not c.dims and c.dtype.kind in "iuf"}
    fixed = {n: x for n, x in fixed.items() if not _is_idle(n, x, fixed)}
    for name, value in select.items():
        if name in dims and name != "equilibrium":
            fixed[name] = first[name].values[_nearest(first, name, value)].item()
    told = [value_of(name, value) for name, value in fixed.items()]
    lines = [", ".join(told[i : i + 4]) for i in range(0, len(told), 4)]
    return "\n".join([str(first.attrs.get("model", "")), *lines])


def _is_idle(name: str, value: float, fixed: Mapping[str, float]) -> bool:
    """Whether a number of the noise says nothing: a mean of 0, or anything of a noise of strength 0."""
    if name.endswith("_ou_mean"):
        return value == 0.0
    if name.endswith(("_ou_tau", "_ou_sigma")):
        return fixed.get(f"{name.partition('_ou_')[0]}_ou_sigma", 1.0) == 0.0
    return False
