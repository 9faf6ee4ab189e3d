"""Branches, and curves, all of whose cycles lie on another one: that was followed from two of its ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.found import SAME

_ON_BRANCH = 0.2
"""Distance to a branch up to which a cycle is one of it, in lengths of the nearest step. Where the tangent
turns by as much as a step is allowed (`continuation.COSINE`), an arc rises over its chord by 0.04 of it; the
extremes, which tell cycles apart, bend more than that: by 0.17 was seen."""
_ROUNDING = 1e-9
"""Means that differ by less, of the range of their variable, tell no two cycles apart."""


def numbers(table: Mapping[str, Any]) -> Array:
    """Return the numbers that tell a cycle, one row each: the parameter, its period, the extremes and means
    of its variables."""
    # The mean of another variable's rate of change is 0 but for rounding, which would be stretched to 1.
    extent = table["high"].max(axis=0) - table["low"].min(axis=0)
    telling = np.ptp(table["mean"], axis=0) > _ROUNDING * extent
    means = table["mean"][:, telling]
    return np.column_stack((table["value"], np.log(table["period"]), table["low"], table["high"], means))


def duplicates(table: Mapping[str, Any], slices: Index) -> Index:
    """Return of each branch the one of its slice that has all of its cycles, -1: none."""
    if not len(slices):
        return np.empty(0, dtype=np.intp)
    cycles = numbers(table)
    of = [cycles[table["number"] == k] for k in range(len(slices))]
    found = np.full(len(slices), -1)
    for k in range(len(slices)):
        for other in np.flatnonzero(slices == slices[k]).tolist():
            if other == k or not _lie_on(of[k], of[other]):
                continue
            if other < k or not _lie_on(of[other], of[k]):
                found[k] = other
                break
    return found


def _lie_on(points: Array, line: Array) -> bool:
    """Tell whether points, `(points, n)`, lie on the line through others, each variable in its own range."""
    return bool(np.isfinite(places_on(points, line)).all())


def places_on(points: Array, line: Array) -> Array:
    """Return where on the line through others points lie, in steps of the line; NaN: they don't."""
    if len(line) < 2:
        return np.full(len(points), np.nan)
    size = np.ptp(line, axis=0)
    size[size == 0.0] = 1.0
    points, line = points / size, line / size
    step = np.diff(line, axis=0)
    length = np.sqrt((step**2).sum(axis=1))
    apart = points[:, None] - line[None, :-1]
    share = (apart * step).sum(axis=2) / np.where(length > 0.0, length, 1.0) ** 2
    share = np.clip(share, 0.0, 1.0)
    distance = np.sqrt(((apart - share[..., None] * step) ** 2).sum(axis=2))
    beside = np.where(distance <= _ON_BRANCH * length + SAME, distance, np.inf)
    nearest, row = beside.argmin(axis=1), np.arange(len(points))
    return np.where(np.isfinite(beside[row, nearest]), nearest + share[row, nearest], np.nan)
