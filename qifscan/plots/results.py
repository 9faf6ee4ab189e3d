"""How results that are neither a scan nor a diagram are drawn: one row of a table for each function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule
from qifscan.plots.table import value_of

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

STABLE = "stable equilibria"


@dataclass(frozen=True)
class ResultKind:
    """A kind of result: what tells it from others, what it is called, and which variables are drawn unasked,
    the first that lies along a dimension."""

    has: frozenset[str]
    name: str
    shown: tuple[str, ...] = ()


RESULTS = (
    ResultKind(frozenset({"switching_rate", "residence_time"}), "residence times", ("residence_time",)),
    ResultKind(frozenset({"fraction", "unsettled_fraction"}), "basins", ("fraction",)),
    ResultKind(frozenset({"probability", "equilibrium_after"}), "tipping", ("probability",)),
    ResultKind(frozenset({"loop", "jump"}), "hysteresis", ("width", "difference")),
    ResultKind(frozenset({"switched", "start_on"}), "response to a pulse", ("switched",)),
    ResultKind(frozenset({"fold"}), "folds", ("eta",)),
    ResultKind(frozenset({STABLE}), "equilibria", (STABLE,)),
    ResultKind(frozenset({"time"}), "trajectories"),
    ResultKind(frozenset({"eta", "r", "v"}), "theory", ("eta",)),
)
"""Read from above: a result of several kinds is of the first."""

BANDS = {
    "residence_time": ("residence_low", "residence_high"),
    "switching_rate": ("rate_low", "rate_high"),
    "fraction": ("fraction_low", "fraction_high"),
}
"""Variables with an interval, which is a band around their line."""

NAMES = frozenset(
    {"equilibrium", "equilibrium_after", "fold", "state", "direction", "bound", "cycle", "start"}
)
"""Dimensions that count or name what is there: they are colours or columns before they are an axis."""


def result_of(dataset: xr.Dataset) -> ResultKind | None:
    """Return the kind of a result; None for a scan, or what no function of this package has made."""
    if "qifscan_scan" in dataset.attrs:
        return None
    there = {*map(str, dataset.variables), *map(str, dataset.dims)}
    made = "model" in dataset.attrs or "references" in dataset.attrs or "reference" in dataset.attrs
    return next((each for each in RESULTS if made and each.has <= there), None)


def unasked(dataset: xr.Dataset, result: ResultKind) -> list[str]:
    """Return the variable that is drawn where nobody named one."""
    there = [n for n in result.shown if n in dataset and dataset[n].ndim]
    return there[:1]


def title_of(dataset: xr.Dataset, result: ResultKind, parameters: set[str]) -> str:
    """Return the heading of a result: what it is of, and the parameters that are one number."""
    model = dataset.attrs.get("model") or dataset.attrs.get("title", "")
    fixed = [(str(n), c) for n, c in dataset.coords.items() if not c.dims and str(n) in parameters]
    told = ", ".join(value_of(name, _item(value)) for name, value in fixed)
    return f"{result.name}{f': {model}' if model else ''}" + (f"\n{told}" if told else "")


def _item(value: xr.DataArray) -> Any:
    return value.values.item()


def counted_equilibria(dataset: xr.Dataset) -> xr.Dataset:
    """Return how many of the equilibria on a grid are stable."""
    stable = (dataset["stable"].fillna(0) > 0).sum("equilibrium").assign_attrs(units="1")
    return xr.Dataset({STABLE: stable}, attrs=dataset.attrs)
