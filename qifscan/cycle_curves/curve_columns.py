"""Curves of bifurcations of cycles as a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Index
from qifscan.cycle_curves.asked import Wanted
from qifscan.cycle_curves.curve_bifurcations import CUTS
from qifscan.lazy import LazyModule
from qifscan.limit_cycles import homoclinic_columns
from qifscan.limit_cycles.cycle_columns import columns_of, meanings, multiplier_axis
from qifscan.limit_cycles.steps import RESOLVED
from qifscan.theory.codes import OF_CURVES_OF_CYCLES
from qifscan.theory.tables import Words, flags

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


@dataclass(frozen=True)
class Lines:
    """Curves: the rows of their points in order, what ends each on both sides, and which have all points of
    another."""

    table: dict[str, Any]
    cuts: Index
    duplicate_of: Index


def dataset(asked: Wanted, given: Mapping[str, xr.DataArray], lines: Lines) -> xr.Dataset:
    """Return the dataset of curves, a contiguous ragged array."""
    model, table = asked.model, lines.table
    words = Words(model, model.reference)
    meant = meanings(model, words)
    point, own = ("point",), ("pieces",)
    code = words.meaning("type of the point") | flags(OF_CURVES_OF_CYCLES)
    form = words.meaning("normal form coefficient, below 0 what branches off is stable", "1/ms")
    apart: dict[str, Any] = {
        "piece": (point, table["number"], words.meaning("curve that the point is on")),
        "type": (point, table["type"].astype(np.int8), code),
        "angle": (point, table["angle"], words.meaning("angle of the pair of multipliers", "rad")),
        "coefficient": (point, table["coefficient"], form),
    }
    for name, key in zip(asked.names, ("value", "second"), strict=True):
        apart[name] = (point, table[key], words.of_parameter(name, "of the cycle"))
    apart |= {x: (point, table[f"record {x}"], words.meaning(f"{x}, recorded")) for x in asked.record}
    for name, values in columns_of(model, table).items():
        apart[name] = ((*point, "multiplier") if values.ndim > 1 else point, values, meant[name])
    # On a curve of bifurcations no cycle is stable.
    free = asked.kind in ("period", "homoclinic")
    apart["stable"] = (point, apart["stable"][1] & free, apart["stable"][2])
    if not free:
        apart |= _of_the_bifurcation(words, apart)
    axes = multiplier_axis(words, model)
    if asked.kind == "homoclinic":
        apart |= homoclinic_columns.columns_of(words, asked.names[0], "point", table)
        axes |= homoclinic_columns.eigenvalue_axis(words)
    size = words.meaning("number of points of the curve", "1") | {"sample_dimension": "point"}
    again = words.meaning("curve that has all of its points, -1: none; of two the first counts", "1")
    apart |= {
        "row_size": (own, np.bincount(table["number"], minlength=len(lines.cuts)), size),
        "duplicate_of": (own, lines.duplicate_of, again),
    }
    for k, name in enumerate(("start", "end")):
        text = words.meaning(f"what ends the curve at its {'first' if k == 0 else 'last'} point") | flags(
            CUTS
        )
        apart[name] = (own, lines.cuts[:, k].astype(np.int8), text)
    found = words.dataset(given, {}, axes, apart)
    found.attrs["kind"] = asked.kind
    return found


def _of_the_bifurcation(words: Words, apart: dict[str, Any]) -> dict[str, Any]:
    """Return columns with what they mean on curves of bifurcations."""
    error = words.meaning("estimated error of the multipliers that make the bifurcation", "1")
    told = words.meaning(f"that error is below {RESOLVED:g}")
    return {
        name: (*apart[name][:2], said) for name, said in (("multiplier_error", error), ("resolved", told))
    }
