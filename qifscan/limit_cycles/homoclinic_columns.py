"""Homoclinic orbits in datasets: where they are, what tells that, and the saddle there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.periodic_orbits.projection import homoclinic
from qifscan.periodic_orbits.saddles import Saddles
from qifscan.theory.tables import Words, flags

if TYPE_CHECKING:
    from qifscan.arrays import Array
    from qifscan.dynamics.model import Model
    from qifscan.periodic_orbits.orbits import Orbits
    from qifscan.periodic_orbits.problem import Problem

BY = ("none", "no_saddle", "unresolved", "period", "projection")
"""What tells where a homoclinic orbit is. No period that diverges; a period that diverges beside no saddle,
as where a saddle-node is on the cycle; nothing that has converged; cycles of a long period; the boundary
value problem of the orbit itself."""

BY_NONE, BY_NO_SADDLE, BY_UNRESOLVED, BY_LONG, BY_PROJECTION = range(len(BY))


def nothing(model: Model, count: int) -> dict[str, Any]:
    """Return the columns where there is no homoclinic orbit."""
    size, gap = len(model.variables), np.full(count, np.nan)
    found: dict[str, Any] = {name: gap.copy() for name in ("homoclinic", "homoclinic_error")}
    found |= {name: gap.copy() for name in ("homoclinic_difference", "saddle_rate", "saddle_quantity")}
    found["homoclinic_by"] = np.full(count, BY_NONE)
    found["saddle"] = np.full((count, size), np.nan)
    return found | {"saddle_mu": np.full((count, size), complex(np.nan, np.nan))}


def told(problem: Problem, cycles: Orbits, own: Saddles, value: Array, error: Array) -> dict[str, Any]:
    """Return the columns for cycles that rest beside saddles for long: of the orbit that is solved for, and
    where none is, the values and errors that the cycles have told."""
    found = nothing(problem.model, len(value))
    known = np.isfinite(value)
    found["homoclinic"], found["homoclinic_error"] = value.copy(), error.copy()
    found["homoclinic_by"] = np.select([known, own.there], [BY_LONG, BY_UNRESOLVED], BY_NO_SADDLE)
    found["saddle"] = np.where(own.there[:, None], own.state, np.nan)
    found["saddle_rate"], found["saddle_quantity"] = own.rate.copy(), own.quantity.copy()
    for k in np.flatnonzero(own.there).tolist():
        one = homoclinic(problem.chosen([k]), cycles.chosen([k]), own.chosen([k]))
        if one is None:
            continue
        mu = np.sort_complex(one.rest.mu)
        up, down = mu.real[mu.real > 0.0].min(), mu.real[mu.real < 0.0].max()
        of_orbit = {
            "homoclinic": one.value,
            "homoclinic_error": one.error,
            "homoclinic_difference": value[k] - one.value,
            "homoclinic_by": BY_PROJECTION,
            "saddle": one.rest.state,
            "saddle_mu": mu,
            "saddle_rate": min(up, -down),
            "saddle_quantity": up + down,
        }
        for name, values in of_orbit.items():
            found[name][k] = values
    return found


def columns_of(words: Words, along: str, dim: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of homoclinic orbits and saddles, for a dataset."""
    own, model, mu = (dim,), words.model, table["saddle_mu"]
    found: dict[str, Any] = {}
    for name, text in (
        ("homoclinic", "of the homoclinic orbit"),
        ("homoclinic_error", "there, its error"),
        ("homoclinic_difference", "there, from cycles of a long period less that of the orbit itself"),
    ):
        found[name] = (own, table[name], words.of_parameter(along, text))
    by = words.meaning("what tells where the homoclinic orbit is") | flags(BY)
    found["homoclinic_by"] = (own, table["homoclinic_by"].astype(np.int8), by)
    for i, name in enumerate(model.variable_names):
        said = words.of_state(name)
        meant = said | {"long_name": f"{said['long_name']}, at the saddle"}
        found[f"{name}_saddle"] = (own, table["saddle"][:, i], meant)
    for name, values, text in (
        ("rate", table["saddle_rate"], "size of the saddle's leading eigenvalue"),
        (
            "quantity",
            table["saddle_quantity"],
            "sum of the leading eigenvalues on both sides, the saddle quantity",
        ),
    ):
        found[f"saddle_{name}"] = (own, values, words.meaning(text, "1/ms"))
    for name, values in (("real", mu.real), ("imag", mu.imag)):
        meant = words.meaning(
            f"{name} part of the saddle's eigenvalue".replace("imag ", "imaginary "), "1/ms"
        )
        found[f"saddle_eigenvalue_{name}"] = ((*own, "eigenvalue"), values, meant)
    return found


def eigenvalue_axis(words: Words) -> dict[str, Any]:
    """Return the coordinate of the dimension `eigenvalue`."""
    meant = words.meaning("position among the eigenvalues, ascending")
    return {"eigenvalue": (np.arange(len(words.model.variables)), meant)}
