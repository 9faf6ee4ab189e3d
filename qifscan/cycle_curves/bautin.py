"""Points of codimension two beside which curves begin, and the Hopf points there.

On one side of a generalised Hopf point cycles turn back in a fold soon after they are born, at an amplitude
that grows as the square root of the distance.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, section 8.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.cycle_curves.asked import Wanted
from qifscan.dynamics.model import Model
from qifscan.errors import ScanError
from qifscan.limit_cycles.steps import Met
from qifscan.scan.labels import Values
from qifscan.theory import curves as of_equilibria
from qifscan.theory.codes import BT, GH, LPC
from qifscan.theory.special_points import special_points

BESIDE = (0.02, 0.002, 0.0002)
"""Distances in the second parameter, relative to it: nearer where there is nothing within the ranges."""

Place = tuple[float, float]


def bautin_points(asked: Wanted, slices: Mapping[str, Values]) -> list[Place]:
    """Return the generalised Hopf points in a plane, none where there are no Hopf curves to find them on."""
    return _places_on("HB", GH, asked, slices)


def _places_on(kind: str, code: int, asked: Wanted, slices: Mapping[str, Values]) -> list[Place]:
    """Return the points of a type on the curves of equilibria of a kind in a plane."""
    names = asked.names
    try:
        found = of_equilibria.curve(asked.model.name, kind, *names, **{**asked.looked, **slices})
    except ScanError:
        return []
    here = found.isel(point=found["type"].values == code)
    return list(zip(*(here[name].values.tolist() for name in names), strict=True))


def takens_points(asked: Wanted, slices: Mapping[str, Values]) -> list[Place]:
    """Return the Bogdanov-Takens points in a plane, none where they can't be computed."""
    names, (low, high) = asked.names, asked.ranges[1]
    if asked.model.rest is None:
        return _places_on("LP", BT, asked, slices)
    try:
        found = special_points(asked.model.name, names, rates=None, within=None, **slices)
    except ScanError:
        return []
    here = found.isel(point=found["type"].values == BT)
    pairs = zip(*(here[name].values.tolist() for name in names), strict=True)
    return [(x, y) for x, y in pairs if low <= y <= high]


def beside(
    model: Model,
    names: tuple[str, str],
    flat: Mapping[str, Array],
    places: list[Place],
    distance: float = BESIDE[0],
) -> tuple[dict[str, Array], Array]:
    """Return parameters on both sides of each place, and the first one of the place for each."""
    domain = next(p.domain for p in model.parameters if p.name == names[1])
    sides = [(x, y + sign * distance * (abs(y) or 1.0)) for x, y in places for sign in (-1.0, 1.0)]
    first, second = np.array([(x, y) for x, y in sides if domain.holds(y)]).reshape(-1, 2).T
    return {name: np.repeat(values, len(first)) for name, values in flat.items()} | {names[1]: second}, first


def nearest(who: Index, value: Array, first: Array) -> Index:
    """Return of each slice the Hopf point that is nearest to the value that it belongs to."""
    return _least(who, np.abs(value - first[who]))


def _least(who: Index, size: Array) -> Index:
    """Return of each owner the row with the least size."""
    own = [np.flatnonzero(who == k) for k in np.unique(who)]
    return np.array([rows[size[rows].argmin()] for rows in own], dtype=np.intp)


def smallest(found: list[Met]) -> list[Met]:
    """Return, of the folds on each branch, the one whose cycle has the least amplitude."""
    kept = []
    for met in [one for one in found if one.code == LPC]:
        which = _least(met.number, np.ptp(met.orbits.u, axis=1).max(axis=1))
        orbits, tangent = met.orbits.chosen(which), met.tangent.chosen(which)
        kept.append(Met(met.code, met.number[which], met.problem.chosen(which), orbits, tangent))
    return kept
