"""Power spectra of time series: simulated, replayed, or kept as traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, check_time, is_number, without
from qifscan.errors import show as show_value
from qifscan.lazy import LazyModule
from qifscan.results.of_dataset import model_of_dataset
from qifscan.theory.linear_response import frequency_words, power_words

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

SEGMENTS = 8
"""Of the series, how often a segment fits into it, unless its length is given."""

HANN = 1.0 / 36.0
"""The squared correlation of two neighbouring segments that overlap by half, under Hann's window."""

CONFIDENCE = 0.95

FIRST = 2
"""Frequencies that are left out at the start: with the mean of each segment goes power of its neighbours."""


def power_spectrum(data: xr.Dataset, *, transient: float = 0.0, segment: float | None = None) -> xr.Dataset:
    """Return the power spectrum of every variable of time series, with confidence intervals.

    Welch's method: Hann's window over segments that overlap by half, the mean of each taken off. Replicates
    are averaged. Densities are one-sided: their integral over frequency is the variance, as that of
    `linear_response`.

    Parameters
    ----------
    data
        A dataset of `simulate` or `replay`, or a scan's with traces.
    transient
        What is left out at the start, ms.
    segment
        Length of a segment, ms: it makes the resolution 1/segment. By default an eighth of the series.

    Returns
    -------
    xarray.Dataset
        `<variable>_power` (the variable's unit squared times ms) along `frequency` (1/ms = kHz, from
        2/segment on: below power is lost with the mean), with
        `<variable>_power_low` and `<variable>_power_high`, the ends of a 95 % interval by chi-square; NaN
        where a series has a NaN.

    Raises
    ------
    ScanError
        If there is no time series, or it is shorter than two segments.

    Notes
    -----
    Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967): K segments that overlap are worth
    K/(1 + (K - 1)/(18 K)) that do not.

    Examples
    --------
    >>> import qifscan as qs
    >>> weak = {"eta": -5.0, "J": 15.0, "v_ou_sigma": 0.02}
    >>> made = qs.simulate(**weak, initial="up", t_end=450.0, replicates=8)
    >>> found = qs.power_spectrum(made, transient=50.0)
    >>> exact = qs.linear_response(**weak, frequency=found["frequency"].values)
    >>> ratio = found["r_power"] / exact["r_power"].isel(equilibrium=2)
    >>> float(ratio.sel(frequency=slice(0.1, 1.0)).mean().round(1))
    1.0
    """
    series, dt = _series(data, transient)
    count = next(iter(series.values())).sizes["time"]
    length = _points(segment, count, dt)
    averaged = ["replicate"] if any("replicate" in a.dims for a in series.values()) else []
    model = model_of_dataset(data)
    rows = {row.name: row for row in model.variables}
    found: dict[str, Any] = {}
    for name, values in series.items():
        power = _welch(values, dt, length)
        repeats = int(np.prod([values.sizes[d] for d in averaged if d in values.dims], dtype=int))
        power = power.mean([d for d in averaged if d in power.dims])
        low, high = _interval(count, length, repeats)
        words = power_words(name, rows[name].meaning, rows[name].unit)
        for ending, factor in (("", 1.0), ("_low", low), ("_high", high)):
            found[f"{name}_power{ending}"] = (power * factor).assign_attrs(words)
    attributes = {"model": model.name, "reference": model.reference, "method": "Welch, Hann's window"}
    made = xr.Dataset(found, attrs=attributes | {"segment": length * dt})
    made["frequency"].attrs = frequency_words()
    return made


def _series(data: Any, transient: float) -> tuple[dict[str, xr.DataArray], float]:
    """Return the time series of each variable after a transient, and the time between their values."""
    if not isinstance(data, xr.Dataset) or "time" not in data.dims:
        hint = "give what simulate or replay returns, or a scan with traces"
        raise ScanError(
            [Fault("data", without(data, "without time series"), "a dataset with time series", hint)]
        )
    time = np.asarray(data["time"].values, dtype=np.float64)
    if not (is_number(transient) and 0.0 <= transient < time[-1]):
        expected = f"a number of ms from 0 to {time[-1]:g}"
        raise ScanError([Fault("transient", show_value(transient), expected)])
    steps = np.diff(time)
    if not len(steps) or not np.allclose(steps, steps[0], rtol=1e-6):
        raise ScanError([Fault("data", "times that are not evenly spaced", "even steps")])
    kept = data.isel(time=np.flatnonzero(time >= transient - 1e-9))
    names = model_of_dataset(data).variable_names
    found = {n: kept[k] for n in names for k in (n, f"{n}_trace") if k in kept and "time" in kept[k].dims}
    if not found:
        raise ScanError([Fault("data", "no variable along time", f"one of {', '.join(names)}")])
    return found, float(steps.mean())


def _points(segment: float | None, count: int, dt: float) -> int:
    """Return how many values a segment has."""
    check_time("segment", segment)
    length = count // SEGMENTS if segment is None else round(segment / dt)
    if not 8 <= length <= count // 2:
        expected = f"from {8 * dt:g} to {count // 2 * dt:g} ms, half of what there is"
        found = f"{count * dt:g} ms of data" if segment is None else show_value(segment)
        raise ScanError([Fault("segment", found, expected, "simulate for longer")])
    return length


def _welch(values: xr.DataArray, dt: float, length: int) -> xr.DataArray:
    from scipy.signal import welch

    series = values.transpose(..., "time")
    numbers = np.asarray(series.values, dtype=np.float64)
    f, power = welch(numbers, fs=1.0 / dt, nperseg=length, detrend="constant", axis=-1)
    coords = {n: c for n, c in series.coords.items() if "time" not in c.dims}
    dims = (*series.dims[:-1], "frequency")
    return xr.DataArray(power, dims=dims, coords={**coords, "frequency": f}).isel(
        frequency=slice(FIRST, None)
    )


def _interval(count: int, length: int, repeats: int) -> tuple[float, float]:
    """Return the factors that take an estimate to the ends of its confidence interval."""
    from scipy.special import chdtri

    segments = (count - length // 2) // (length - length // 2)
    freedom = 2.0 * repeats * segments / (1.0 + 2.0 * HANN * (segments - 1) / segments)
    tail = 0.5 * (1.0 - CONFIDENCE)
    return freedom / float(chdtri(freedom, tail)), freedom / float(chdtri(freedom, 1.0 - tail))
