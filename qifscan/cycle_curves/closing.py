"""Curves that have points of their own twice, as both directions meet, or that have those of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.cycle_curves.curve_bifurcations import BY_POINTS, BY_RETURN
from qifscan.limit_cycles.duplicates import duplicates, places_on

_OPPOSITE = -0.7
"""Cosine of the angle between two directions below which they are opposite."""


def line_of(rows: list[dict[str, Any]], *, closed: bool) -> tuple[Array, Array]:
    """Return where the points of a curve are, by both parameters and the period, and their order; a closed
    one goes on to its first point."""
    names = ("order", "value", "second", "period")
    columns = {name: np.concatenate([row[name] for row in rows]) for name in names}
    line = np.column_stack((columns["value"], columns["second"], np.log(columns["period"])))
    rank = np.argsort(columns["order"])
    line, order = line[rank], columns["order"][rank]
    if closed:
        line, order = np.concatenate((line, line[:1])), np.append(order, order[-1] + 1.0)
    return line, order


def again(table: Mapping[str, Any], ends: Index) -> Index:
    """Return of each curve the one that has all of its points, -1: none."""
    rows = np.arange(len(table["number"]))
    begin = np.searchsorted(table["number"], np.arange(len(ends)))
    # A closed curve goes on from its last point to its first.
    closing = begin[(ends == BY_RETURN).all(axis=1)]
    rows = np.concatenate((rows, closing))
    rows = rows[np.argsort(table["number"][rows], kind="stable")]
    columns = {name: table[name][rows] for name in ("number", "value", "period")}
    # Two parameters and the period identify a curve; extremes have kinks, which a chord cuts off.
    columns |= dict.fromkeys(("low", "high", "mean"), table["second"][rows, None])
    return duplicates(columns, np.zeros(len(ends), dtype=np.intp))


def joined(rows: list[dict[str, Any]], ends: Index) -> tuple[list[dict[str, Any]], Index]:
    """Return the rows of a curve, and its ends, `(1, 2)`: where both directions have ended by their number of
    points, and go over the same points the other way at last, the curve is closed, and has these once."""
    if not (ends == BY_POINTS).all():
        return rows, ends
    line, order = line_of(rows, closed=False)
    forth, back = line[order >= 0.0], line[order <= 0.0][::-1]
    reached = _meeting(forth, back)
    if reached is None:
        return rows, ends
    places = -order[order <= 0.0][::-1]
    last = -float(np.interp(reached, np.arange(len(places)), places))
    kept = [{name: values[row["order"] > last] for name, values in row.items()} for row in rows]
    return kept, np.full_like(ends, BY_RETURN)


def _meeting(forth: Array, back: Array) -> float | None:
    """Return where on the line `back` the last point of the line `forth` lies, if from there on each is the
    other one, run through the other way; None if it is not."""
    if len(forth) < 3 or len(back) < 3:
        return None
    on_back, on_forth = places_on(forth[-1:], back)[0], places_on(back[-1:], forth)[0]
    if not (np.isfinite(on_back) and np.isfinite(on_forth)):
        return None
    ahead, behind = (
        places_on(one[int(np.ceil(at)) :], other)
        for one, at, other in ((forth, on_forth, back), (back, on_back, forth))
    )
    falls = all(np.isfinite(places).all() and (np.diff(places) <= 0.0).all() for places in (ahead, behind))
    size = np.ptp(np.concatenate((forth, back)), axis=0)
    size[size == 0.0] = 1.0
    at = min(int(on_back), len(back) - 2)
    way, other = (forth[-1] - forth[-2]) / size, (back[at + 1] - back[at]) / size
    opposite = way @ other < _OPPOSITE * np.linalg.norm(way) * np.linalg.norm(other)
    return float(on_back) if falls and opposite else None
