"""The colours of a map: a range, whole numbers or flags as their words, one colour where nothing varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError
from qifscan.plots.style import Style, log_ticks
from qifscan.scan.scan import Scan

if TYPE_CHECKING:
    import xarray as xr

Array = np.ndarray[Any, Any]

MOST_COLOURS = 12
"""Whole numbers that have a colour each; of more there is a range."""

NOT_DEFINED = "0.88"
"""The colour of points without a value."""

USUAL, CENTRED = "viridis", "PuOr_r"
"""Colours of values, and of differences, white at 0; in both, people who see red and green alike can tell
high from low."""

ROUNDING = {"float32": 1e-5, "float64": 1e-12}
"""Spread, relative to the size of the state, that rounding may have over a long run."""


@dataclass(frozen=True)
class Scale:
    """Which colour stands for which value, and where the colour bar has which words."""

    colours: Any
    norm: Any
    ticks: Any = None
    words: list[str] | None = None
    extend: str = "neither"


def is_flag(values: xr.DataArray) -> bool:
    """Whether values are CF flags."""
    return "flag_meanings" in values.attrs


def scale_of(
    values: xr.DataArray, least: float, style: Style | None = None, *, centred: bool = False
) -> Scale:
    """Return the colours of a map: `least` is the spread below which its values are one but for rounding;
    `centred` tells that 0 is in the middle."""
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.ticker import MaxNLocator

    style = style or Style()
    flat = values.values.astype(np.float64)
    flat = flat[np.isfinite(flat)]
    colours = style.colours(CENTRED if centred else USUAL)
    if style.has_range:
        return _ranged(values, flat, colours, style)
    if not flat.size:
        return Scale(colours, Normalize(0.0, 1.0), [])
    low, high = float(flat.min()), float(flat.max())
    whole = bool((flat == np.round(flat)).all()) and (values.dtype.kind in "iub" or is_flag(values))
    found = np.unique(flat) if whole else np.array([])
    if whole and len(found) <= MOST_COLOURS:
        return _stepped(values, found, colours)
    if high - low <= max(least, 0.0) or low == high:
        text = f"{low:.3g}" if low == high else f"{low:.2g} to {high:.2g}\n(rounding)"
        middle, half = 0.5 * (low + high), max(high - low, 1e-6 * abs(high), 1e-300)
        one = ListedColormap([colours(0.5)])
        return Scale(one, Normalize(middle - half, middle + half), [middle], [text])
    ticks = MaxNLocator(integer=True) if whole else None
    if centred:
        low, high = -max(-low, high), max(-low, high)
    return Scale(colours, Normalize(low, high), ticks)


def _ranged(values: xr.DataArray, flat: Array, colours: Any, style: Style) -> Scale:
    """Return the colours of a range that the caller chose."""
    from matplotlib.colors import LogNorm, Normalize

    if is_flag(values):
        chosen = "log" if style.log else "vmin, vmax"
        hint = "each of its words has a colour"
        raise ScanError([Fault(chosen, f"a range for {values.name}", "none for flags", hint)])
    held = flat[flat > 0.0] if style.log else flat
    if not held.size:
        found = f"no value of {values.name}{' above 0' if style.log else ''}"
        raise ScanError([Fault("log" if style.log else "vmin, vmax", found, "some")])
    low = float(held.min()) if style.vmin is None else style.vmin
    high = float(held.max()) if style.vmax is None else style.vmax
    if not low < high:
        found, expected = f"{low:g} and {high:g}", "ascending numbers"
        hint = f"{values.name} goes from {flat.min():.4g} to {flat.max():.4g}"
        raise ScanError([Fault("vmin, vmax", found, expected, hint)])
    below, above = bool((held < low).any()), bool((held > high).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    return Scale(colours, (LogNorm if style.log else Normalize)(low, high), extend=extend)


def _stepped(values: xr.DataArray, found: Array, colours: Any) -> Scale:
    """Return one colour for each of these numbers, in steps of one size."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(found)
    shades = [colours(0.5 if count == 1 else i / (count - 1)) for i in range(count)]
    middles = 0.5 * (found[1:] + found[:-1])
    bounds = np.concatenate([[found[0] - 0.5], middles, [found[-1] + 0.5]])
    ticks = 0.5 * (bounds[1:] + bounds[:-1])
    return Scale(
        ListedColormap(shades), BoundaryNorm(bounds, count), ticks, [_word(values, x) for x in found]
    )


def _word(values: xr.DataArray, value: float) -> str:
    """Return a whole number, or what a flag of this value means."""
    number, told = int(value), values.attrs
    names = str(told.get("flag_meanings", "")).split()
    if "flag_masks" in told and number:
        masks = np.asarray(told["flag_masks"]).tolist()
        said = [name for mask, name in zip(masks, names, strict=True) if number & mask]
        return f"{number}: " + "\n".join(said)
    if "flag_values" in told:
        known = dict(zip(np.asarray(told["flag_values"]).tolist(), names, strict=True))
        return str(known.get(number, number))
    return str(bool(number)) if values.dtype.kind == "b" else str(number)


def rounding(scan: Scan, shown: xr.Dataset, name: str) -> float:
    """Return the spread that rounding may give an observable: of a deviation relative to its variable."""
    own = shown[name]
    if own.dtype.kind != "f":
        return 0.0
    variable = name.split("_")[0]
    rates = {rate.name for rate in scan.mean_field.rates}
    scale = 1.0 / (np.pi * scan.fixed.get("tau", 1.0)) if variable in rates else 1.0
    others = [n for n in shown.data_vars if n != name and str(n).startswith(f"{variable}_")]
    if not name.endswith("_std"):
        others = [name]
    sizes = [float(np.nanmax(abs(shown[n].values), initial=0.0)) for n in others]
    return ROUNDING[scan.precision] * (max(sizes) if sizes else scale)


def edges(centres: Array) -> Array:
    """Return the borders of cells around ascending values, halfway; of a geometric axis in its logarithm."""
    if len(centres) < 2:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    values = np.log(centres) if is_geometric(centres) else np.asarray(centres, dtype=np.float64)
    half = 0.5 * np.diff(values)
    found = np.concatenate([[values[0] - half[0]], values[:-1] + half, [values[-1] + half[-1]]])
    return np.exp(found) if is_geometric(centres) else found


def is_geometric(values: Array) -> bool:
    """Whether the values of an axis are evenly spaced in their logarithm and not in themselves."""
    values = np.asarray(values)
    if len(values) < 3 or values.dtype.kind not in "iuf" or not np.all(values > 0):
        return False
    steps, ratios = np.diff(values), np.diff(np.log(values))
    # Relative, as steps of 1e-9 are all alike beside an absolute tolerance.
    return bool(
        np.allclose(ratios, ratios[0], rtol=1e-6, atol=0.0)
        and not np.allclose(steps, steps[0], rtol=1e-6, atol=0.0)
    )


def set_ticks(axis: Any, values: Array) -> None:
    """Put the ticks of an axis of these values at whole numbers where they are such, and of a logarithmic one
    at few numbers written out."""
    from matplotlib.ticker import MaxNLocator

    values = np.asarray(values)
    if values.dtype.kind in "iu":
        axis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    if is_geometric(values):
        log_ticks(axis, float(values.min()), float(values.max()))
