"""What curves of bifurcations of cycles are asked for, and what is wrong with that."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qifscan.arrays import Array, Range
from qifscan.cycle_curves.forced_curves import PERIOD
from qifscan.cycle_curves.recorded import Record
from qifscan.dynamics.model import Model, Parameter
from qifscan.errors import Fault, ScanError, check_count, check_time, is_range, one_of, show, unknown
from qifscan.limit_cycles.hopf_points import has_hopf_points
from qifscan.periodic_orbits.problem import AMPLITUDE
from qifscan.theory import off_graph
from qifscan.theory.codes import EP, LPC, PD, TR, UZ

KINDS = {"LPC": LPC, "PD": PD, "NS": TR, "period": UZ, "homoclinic": EP}
"""Folds, period doublings and torus bifurcations of cycles, cycles of one period, and homoclinic orbits: the
points of branches that curves begin with, by AUTO's codes."""


OTHER_NAMES = {
    "tr": "NS",
    "torus": "NS",
    "sn": "LP",
    "fold": "LP",
    "h": "HB",
    "hopf": "HB",
    "snlc": "LPC",
    "flip": "PD",
    "hom": "homoclinic",
}
"""What other programs and papers call these kinds; TR is AUTO's name, and that of the points on branches."""


@dataclass(frozen=True)
class Wanted:
    """What curves are asked for: of which kind, in which plane, within which ranges, how far."""

    model: Model
    kind: str
    names: tuple[str, str]
    ranges: tuple[Range, Range]
    points: int
    longest: float | None
    period: float | None
    forced: bool = False
    doublings: int = 0
    record: Mapping[str, Record] = field(default_factory=dict)

    @property
    def plane(self) -> tuple[int, int]:
        """Which scalars of the cycles both parameters are: a response has the period of its drive."""
        return 1, 0 if self.names[1] == PERIOD else 2

    @property
    def looked(self) -> dict[str, Any]:
        """The ranges in which curves of equilibria are asked for: on a graph all of the first parameter."""
        domain = next(p.domain for p in self.model.parameters if p.name == self.names[1])
        known = all(map(math.isfinite, self.ranges[1]))
        if self.model.rest is not None:
            return {"within": self.ranges[1] if known else None}
        # Steps along curves need ends at which the parameter has a meaning.
        known = known and all(map(domain.holds, self.ranges[1]))
        return {"between": self.ranges[0], "within": self.ranges[1] if known else None}

    @property
    def units(self) -> Array:
        """The sizes of both parameters."""
        rows = {p.name: p for p in self.model.parameters}
        return np.array([abs(rows[name].default or 1.0) for name in self.names])


def refuse(kind: str, only: Mapping[str, Any]) -> None:
    """Raise `ScanError` for an unknown kind, and for what kinds of equilibria don't take."""
    if kind not in ("LP", "HB"):
        same = OTHER_NAMES.get(kind.casefold()) if isinstance(kind, str) else None
        known = ("LP", "HB", *KINDS)
        fault = unknown("kind", kind, known)
        hint = f'that kind is "{same}" here' if same else fault.hint
        raise ScanError([replace(fault, hint=hint)])
    faults = [
        Fault(name, show(value), f"None for {kind}") for name, value in only.items() if value is not None
    ]
    if faults:
        raise ScanError(faults)


def wanted(
    model: Model,
    kind: str,
    pair: tuple[str, str],
    ranges: tuple[Range | None, Range | None],
    points: int | None,
    longest: float | None,
    period: float | None,
) -> Wanted:
    """Return what is asked for, or raise `ScanError` with a line for every mistake in it."""
    rows = {p.name: p for p in model.parameters}
    faults = [unknown(n, x, rows) for n, x in zip(("along", "through"), pair, strict=True) if x not in rows]
    if faults:
        raise ScanError(faults)
    if pair[0] == pair[1]:
        faults.append(Fault("through", f'"{pair[1]}"', f"another parameter than {pair[0]}"))
    for name, limits in zip(("between", "within"), ranges, strict=True):
        if limits is not None and not is_range(limits, finite=False):
            faults.append(Fault(name, show(limits), "two ascending numbers"))
    if (kind == "period") != (period is not None):
        found = "none" if period is None else show(period)
        faults.append(Fault("period", found, 'a period in ms with kind="period", and with no other'))
    faults += _not_there(model, kind, pair[0], rows)
    if faults:
        raise ScanError(faults)
    count = 200 if points is None else points
    check_count("points", count)
    check_time("longest", longest)
    check_time("period", period)
    whole = [_domain(rows[name]) if r is None else r for name, r in zip(pair, ranges, strict=True)]
    if model.rest is None and pair[0] != AMPLITUDE:
        # Hopf points are looked for within it.
        whole[0] = off_graph.range_of(model, pair[0], ranges[0], "between")
    if pair[0] == AMPLITUDE:
        # The other sign is a shift in time.
        whole[0] = (max(0.0, whole[0][0]), whole[0][1])
    return Wanted(model, kind, pair, (whole[0], whole[1]), count, longest, period)


def _not_there(model: Model, kind: str, along: str, names: Iterable[str]) -> list[Fault]:
    """Return what keeps curves from beginning with Hopf points along a parameter, or with what is there."""
    found, expected = f'"{model.name}", which has a delay', "a model without one"
    if model.delay and kind == "homoclinic":
        return [Fault("model", found, f"{expected} for {kind}", "a saddle's unstable subspace has a past")]
    if model.delay and model.rest is None:
        return [Fault("model", f"{found}, but no `rest`", f"{expected}, or a graph over the rate")]
    if along == AMPLITUDE or model.rest is None or has_hopf_points(model, along):
        return []
    able = [name for name in names if has_hopf_points(model, name)]
    return [Fault("along", f'"{along}"', one_of(able), "branches have to begin with Hopf points along it")]


def _domain(row: Parameter) -> Range:
    low = -math.inf if row.domain.holds(-1.0) else 0.0
    return low, math.inf if row.domain.holds(2.0) else 1.0


def values_at(asked: Wanted, model: Model, at: Any) -> Array:
    """Return the values of the second parameter at which branches are followed."""
    through, (low, high) = asked.names[1], asked.ranges[1]
    row = next(p for p in model.parameters if p.name == through)
    try:
        given = np.atleast_1d(np.asarray(row.default if at is None else at)).ravel()
    except ValueError:
        given = np.empty(0)
    # A text, a truth value or a duration would be taken for the number that it can be turned into.
    found = given.astype(float) if given.dtype.kind in "iuf" else np.empty(0)
    if not found.size or not all(row.domain.holds(x) for x in found.tolist()):
        raise ScanError([Fault("at", show(at), f"values of {through}, {row.domain.words}")])
    if at is not None and not ((found >= low) & (found <= high)).all():
        expected = f"values of {through} in [{low:g}, {high:g}]"
        raise ScanError([Fault("at", show(at), expected, "widen `within`")])
    return found
