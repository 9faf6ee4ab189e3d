"""Cycles as datasets: their columns, units and meanings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.lazy import LazyModule
from qifscan.limit_cycles.steps import RESOLVED
from qifscan.periodic_orbits.delayed_multipliers import MULTIPLIERS
from qifscan.theory.codes import BPC, HB, LPC, PD, TR
from qifscan.theory.tables import Attributes, Words, flags

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Index
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")


STATUS = ("followed", "no_hopf_point", "no_cycle_found")

OUTCOMES = ("periodic", "equilibrium", "not_periodic", "diverged", "not_converged")

ACCURATE = 1e-9
"""Relative residual up to which a cycle counts as converged."""


# What both have in common


def columns_of(model: Model, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of cycles by the names they have in a dataset."""
    found = {"period": table["period"], "frequency": 1.0 / table["period"]}
    for i, name in enumerate(model.variable_names):
        found |= {f"{name}_{kind}": table[key][..., i] for kind, key in _EXTREMES.items()}
    mu, exponent = table["multipliers"], table["exponents"]
    if model.delay:
        # 0: too small to be told from rounding.
        mu, exponent = (np.where(table["multipliers"] == 0.0, np.nan, values) for values in (mu, exponent))
    found |= {
        "multiplier_real": mu.real,
        "multiplier_imag": mu.imag,
        "exponent": exponent,
        "unstable_multipliers": table["unstable"],
        "stable": table["unstable"] == 0,
    }
    if "quality" in table:
        resolved = table["quality"] < RESOLVED
        told = resolved & ~np.isin(table["type"], (HB, LPC, BPC, PD, TR))
        found |= {
            "multiplier_error": table["quality"],
            "resolved": resolved,
            "stable": found["stable"] & told,
        }
    return found | {
        "residual": table["residual"],
        "mesh_error": table["mesh_error"],
        "intervals": table["intervals"],
        "converged": table["residual"] < ACCURATE,
    }


_EXTREMES = {"min": "low", "max": "high", "mean": "mean", "start": "first"}


def meanings(model: Model, words: Words) -> dict[str, Attributes]:
    """Return what those numbers mean."""
    found = {}
    for name in model.variable_names:
        said = words.of_state(name)
        for kind, text in (("min", "lowest"), ("max", "highest"), ("mean", "mean")):
            found[f"{name}_{kind}"] = said | {"long_name": f"{said['long_name']}, {text} value on the cycle"}
        found[f"{name}_start"] = said | {
            "long_name": f"{said['long_name']}, at one point of the cycle; with a drive, at t = 0"
        }
    return found | {
        "drive_periods": words.meaning("periods of the drive in one of the response", "1"),
        "period": words.meaning("period of the cycle", "ms"),
        "frequency": words.meaning("frequency of the cycle", "1/ms"),
        "multiplier_real": words.meaning("real part of the Floquet multiplier", "1"),
        "multiplier_imag": words.meaning("imaginary part of the Floquet multiplier", "1"),
        "exponent": words.meaning("real part of the Floquet exponent, log |multiplier| / period", "1/ms"),
        "multiplier_error": words.meaning("error of the flow's own multiplier, which is 1", "1"),
        "unstable_multipliers": words.meaning("multipliers outside of the unit circle", "1"),
        "resolved": words.meaning(f"the error of the flow's own multiplier is below {RESOLVED:g}"),
        "stable": words.meaning("the cycle is stable; false at bifurcations and where it is not resolved"),
        "residual": words.meaning("largest error of a collocation equation, relative", "1"),
        "mesh_error": words.meaning("estimated error between mesh points, relative", "1"),
        "intervals": words.meaning("intervals of the mesh, 0 at a Hopf point", "1"),
        "converged": words.meaning("the residual is of rounding size"),
    }


def multiplier_axis(words: Words, model: Model) -> dict[str, Any]:
    """Return the coordinate of the dimension `multiplier`."""
    meant = words.meaning("position among the multipliers, by descending modulus")
    return {"multiplier": (np.arange(multiplier_count(model)), meant)}


def multiplier_count(model: Model) -> int:
    """Return how many multipliers a cycle has, or with a delay how many are computed."""
    return MULTIPLIERS if model.delay else len(model.variables)


def grid(
    model: Model,
    given: Mapping[str, xr.DataArray],
    shape: tuple[int, ...],
    outcome: Index,
    who: Index,
    columns: Mapping[str, Any],
    outcomes: Sequence[str] = OUTCOMES,
) -> xr.Dataset:
    """Return the dataset of the cycles of every point."""
    words = Words(model, model.reference)
    count = np.bincount(who, minlength=len(outcome))
    rank = np.arange(len(who)) - np.searchsorted(who, who)
    most = max(1, int(count.max(initial=0)))
    meant = meanings(model, words)
    variables: dict[str, Any] = {}
    for name, values in columns.items():
        filler = False if values.dtype == bool else -1 if values.dtype.kind == "i" else np.nan
        whole = np.full((len(outcome), most, *values.shape[1:]), filler, dtype=values.dtype)
        whole[who, rank] = values
        own = ("cycle", "multiplier") if values.ndim > 1 else ("cycle",)
        variables[name] = (own, whole.reshape(*shape, *whole.shape[1:]), meant[name])
    ends = words.meaning("how a trajectory ended") | flags(outcomes)
    variables["outcome"] = (("start",), outcome.reshape(*shape, -1).astype(np.int8), ends)
    variables["count"] = ((), count.reshape(shape), words.meaning("number of cycles found", "1"))
    axis = {"cycle": (np.arange(most), words.meaning("position among the cycles, the period ascending"))}
    return words.dataset(given, variables, axis | multiplier_axis(words, model))
