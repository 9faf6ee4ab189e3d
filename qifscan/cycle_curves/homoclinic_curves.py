"""Curves of homoclinic orbits in the plane of two parameters: of cycles that rest beside a saddle for long.

A cycle near a homoclinic orbit has p = p_hom + c exp(-lambda T), lambda the size of the saddle's leading
eigenvalue. With lambda T between `SHORT` and `LONG` all along a curve its cycles are homoclinic orbits but
for some 1e-8, and p_hom = p + p'(T)/lambda is right to the square of that; `projection` solves for the orbit
itself. Where lambda T leaves the range the time that the cycle rests beside the saddle is made longer or
shorter, and the curve goes on. Such cycles are where the period of a branch diverges, and beside every
Bogdanov-Takens point: there the branch from the Hopf point to the homoclinic orbit is as short as one likes.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, sections 6.2, 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.cycle_curves.curve_bifurcations import BY_HOPF, BY_POINTS, BY_SADDLE, CUTS, FLAT, OnCurves
from qifscan.limit_cycles import continuation
from qifscan.limit_cycles.branch_bifurcations import OnBranches
from qifscan.limit_cycles.continuation import Branches
from qifscan.limit_cycles.homoclinic_columns import told
from qifscan.limit_cycles.steps import BY_PERIOD, Extent, Step, at_value, conditions, tangents
from qifscan.periodic_orbits.collocation import Border, linearised
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import Problem
from qifscan.periodic_orbits.saddles import lengthened, saddles, swing

if TYPE_CHECKING:
    from qifscan.limit_cycles.starts import Starts

SHORT, USUAL, LONG = 18.0, 22.0, 30.0
"""lambda T below and above which the period is changed, and what it is changed to."""

BY_LENGTH = len(CUTS)
"""An end that is none: the curve goes on with another period."""

_TIMES, _LAPS = 6.0, 20.0
"""The longest period of a branch, in those at the Hopf point: beside a Bogdanov-Takens point, and not."""


# Where curves begin


@dataclass(frozen=True)
class Lengthening(OnBranches):
    """Rules of branches that are followed to a long period alone; `last` are the steps there."""

    last: list[Step] = field(default_factory=list)

    @property
    def codes(self) -> tuple[int, ...]:
        """Nothing is looked for."""
        return ()

    @property
    def columns(self) -> int:
        """No test functions."""
        return 0

    def changed(self, before: Array, after: Array) -> Any:
        """Tell that none has changed its sign."""
        return before * after < 0.0

    def tests(self, b: Branches, step: Step, row: dict[str, Any]) -> Array:
        """Return no test functions."""
        return np.empty((len(step.who), 0))

    def ended(self, b: Branches, step: Step) -> tuple[Index, Any]:
        """Return what ends the branches; those that end by their period are kept."""
        found, beyond = super().ended(b, step)
        long = np.flatnonzero(found == BY_PERIOD)
        if len(long):
            self.last.append(step.chosen(long))
        return found, beyond


def beginnings(
    start: Starts, names: tuple[str, str], limits: Extent, longest: float | None, *, beside: bool
) -> list[tuple[Problem, Orbits]]:
    """Return the homoclinic orbits that branches come to, with both parameters free."""
    most = (_TIMES if beside else _LAPS) * start.orbits.period
    rules = Lengthening(limits, most if longest is None else np.full(len(most), longest))
    continuation.followed(
        continuation.begun(start.problem, start.orbits, start.tangent, limits.units, 0), rules
    )
    found = []
    for step in rules.last:
        problem: Any = step.system
        second = problem.parameters[names[1]]
        scalars = np.concatenate((step.new.scalars, second[:, None]), axis=1)
        problem = replace(problem, along=names, fixed=True)
        found.append(settled(problem, step.new.with_scalars(scalars)))
    return [one for one in found if len(one[1].period)]


def settled(problem: Problem, orbits: Orbits) -> tuple[Problem, Orbits]:
    """Return those near which there are cycles of the usual length beside a saddle, at the second parameter
    they have."""
    own = saddles(problem, orbits)
    some = np.flatnonzero(own.there)
    problem, orbits, own = problem.chosen(some), orbits.chosen(some), own.chosen(some)
    if not len(some):
        return problem, orbits
    done = at_value(problem, lengthened(problem, orbits, own, USUAL / own.rate))
    # At rest at the saddle an orbit has any period.
    moves = swing(problem, done.orbits) > 0.5 * swing(problem, orbits)
    good = np.flatnonzero(done.good & moves & saddles(problem, done.orbits).there)
    return problem.chosen(good), done.orbits.chosen(good)


# Along curves


@dataclass(frozen=True)
class AlongHomoclinic(OnCurves):
    """Rules of curves of homoclinic orbits; `last` are the steps that end for the length of the period."""

    last: list[Step] = field(default_factory=list)

    def ended(self, b: Branches, step: Step) -> tuple[Index, Any]:
        """Return what ends the curves at the new cycles, and which of these lie beyond."""
        found, beyond = super().ended(b, step)
        own = saddles(step.system, step.new)  # type: ignore[arg-type]
        length = own.rate * step.new.period
        found[(found < 0) & (swing(step.system, step.new) < FLAT)] = BY_HOPF
        found[(found < 0) & ~own.there] = BY_SADDLE
        off = (found < 0) & ((length < SHORT) | (length > LONG))
        found[off] = BY_LENGTH
        if off.any():
            self.last.append(step.chosen(np.flatnonzero(off)))
        return found, beyond | (found == BY_SADDLE)

    def _measured(self, system: Any, orbits: Orbits) -> dict[str, Any]:
        """Return the numbers of the cycles, of the homoclinic orbit beside each, and of the saddle."""
        row, own = super()._measured(system, orbits), saddles(system, orbits)
        # p - p_hom = c exp(-lambda T) is -1/lambda of its derivative by T.
        apart = by_period(system, orbits) / own.rate
        return row | told(system, orbits, own, row["value"] + apart, np.abs(apart))


def by_period(problem: Problem, orbits: Orbits) -> Array:
    """Return the derivative of the first parameter by the period, the second one fixed."""
    border = conditions(problem, orbits, None, np.empty(0))
    # The last condition but one is on the period.
    order = [*range(border.scalars.shape[1] - 2), -1, -2]
    border = Border(border.states[:, order], border.scalars[:, order], border.right)
    _, way = linearised(problem, orbits).solved(border, orbits)
    return way.scalars[:, 1]


def half(
    rules: AlongHomoclinic, problem: Problem, orbits: Orbits, along: Orbits
) -> tuple[list[dict[str, Any]], Index]:
    """Return the rows of one curve in one direction, and what ends it."""
    rows: list[dict[str, Any]] = []
    count = 0
    while True:
        part = replace(rules, most=rules.most - count, last=[])
        b = continuation.begun(problem, orbits, along, rules.units, 0)
        rows += [row | {"order": row["order"] + count} for row in continuation.followed(b, part)]
        count += int(b.count[0])
        if b.cut[0] != BY_LENGTH:
            return rows, b.cut
        (step,) = part.last
        problem, orbits = settled(problem, step.new)
        if not len(orbits.period) or count + 1 >= rules.most:
            return rows, np.array([BY_SADDLE if not len(orbits.period) else BY_POINTS])
        along = tangents(problem, orbits, _of_scalars(orbits, step.after), rules.units)


def _of_scalars(orbits: Orbits, along: Orbits) -> Orbits:
    """Return a direction on the meshes of orbits, with the scalars of another alone."""
    return replace(orbits.times(np.zeros(len(orbits.period))), scalars=along.scalars.copy())
