"""Curves of homoclinic orbits in the plane of two parameters: of cycles that rest beside a saddle for long.

A cycle near a homoclinic orbit has p = p_hom + c exp(-lambda T), lambda the size of the saddle's leading
eigenvalue. With lambda T between `SHORT` and `LONG` all along a curve its cycles are homoclinic orbits but
for some 1e-8, and p_hom = p + p'(T)/lambda is right to the square of that. Where lambda T leaves the range
the time that the cycle rests beside the saddle is made longer or shorter, and the curve goes on. Such cycles
are where the period of a branch diverges, and beside every Bogdanov-Takens point: there the branch from the
Hopf point to the homoclinic orbit is as short as one likes.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, sections 6.2, 8.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.model import Model
from qifscan.limit_cycles import continuation
from qifscan.limit_cycles.branch_bifurcations import OnBranches
from qifscan.limit_cycles.collocation import Border, linearised
from qifscan.limit_cycles.continuation import Branches
from qifscan.limit_cycles.curve_bifurcations import BY_HOPF, BY_POINTS, BY_SADDLE, CUTS, FLAT, OnCurves
from qifscan.limit_cycles.orbits import Orbits, evaluated, from_function, inverted, joined
from qifscan.limit_cycles.problem import Problem
from qifscan.limit_cycles.steps import BY_PERIOD, Extent, Step, at_value, conditions, tangents
from qifscan.theory.tables import Words

if TYPE_CHECKING:
    from qifscan.limit_cycles.branches import Starts

SHORT, USUAL, LONG = 18.0, 22.0, 30.0
"""lambda T below and above which the period is changed, and what it is changed to."""

BY_LENGTH = len(CUTS)
"""An end that is none: the curve goes on with another period."""

_ALIKE = 0.02
"""Least share of the saddle's leading eigenvalue in the one on the other side: with less it is about to meet
a node, and directions grow by more than collocation follows in the time that the orbit takes."""

_NEWTON, _BESIDE = 12, 0.05
"""Most steps to the saddle from the slowest point of a cycle, and how far it may be from that, relative."""

_TIMES, _LAPS = 6.0, 20.0
"""The longest period of a branch, in those at the Hopf point: beside a Bogdanov-Takens point, and not."""


# The saddle


@dataclass(frozen=True)
class Saddles:
    """The equilibria beside cycles: states, whether there are such, the leading eigenvalue's size, and the
    sum and the difference of the real parts of the leading unstable and the leading stable eigenvalue."""

    state: Array
    there: Any
    rate: Array
    quantity: Array
    spread: Array

    def chosen(self, which: Any) -> Saddles:
        """Return some of them."""
        return Saddles(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def swing(problem: Any, orbits: Orbits) -> Array:
    """Return the largest range of a variable, relative."""
    found: Array = (np.ptp(orbits.u, axis=1) / problem.scales(orbits.u)).max(axis=1)
    return found


def slowest(problem: Problem, orbits: Orbits) -> Index:
    """Return the mesh point of each orbit at which it moves least."""
    speed = problem.slopes(orbits.s, orbits.u, orbits.scalars) / problem.scales(orbits.u)[:, None]
    found: Index = np.abs(speed).max(axis=2)[:, :-1].argmin(axis=1)
    return found


def saddles(problem: Problem, orbits: Orbits) -> Saddles:
    """Return the saddle beside each orbit, by Newton's method from its slowest point."""
    row = np.arange(len(orbits.s))
    begin = orbits.u[row, slowest(problem, orbits)]
    state, zero = begin[:, None].copy(), np.zeros((len(row), 1))
    change, jacobian = np.zeros_like(state), np.zeros((*state.shape, state.shape[-1]))
    for _ in range(_NEWTON):
        f, jacobian, _ = problem.derivatives(zero, state, orbits.scalars)
        change = _solved(jacobian, f)
        state = state - change
    mu = np.linalg.eigvals(np.where(np.isfinite(jacobian), jacobian, 0.0))[:, 0].real
    scales = problem.scales(orbits.u)
    far = (np.abs(state[:, 0] - begin) / scales).max(axis=1)
    step = (np.abs(change[:, 0]) / scales).max(axis=1)
    up = np.where(mu > 0.0, mu, np.inf).min(axis=1)
    down = np.where(mu < 0.0, mu, -np.inf).max(axis=1)
    rate = np.minimum(up, -down)
    there: Any = (far < _BESIDE) & (step < 1e-9) & np.isfinite(up + down)
    there &= rate > _ALIKE * np.maximum(up, -down)
    rate = np.where(there, rate, np.nan)
    return Saddles(state[:, 0], there, rate, np.where(there, up + down, np.nan), up - down)


def _solved(matrix: Array, right: Array) -> Array:
    """Return solutions of small systems, of a singular one what least squares gives."""
    found = np.full(right.shape, np.nan)
    for where in np.ndindex(*right.shape[:-1]):
        if np.isfinite(matrix[where]).all() and np.isfinite(right[where]).all():
            found[where] = np.linalg.lstsq(matrix[where], right[where], rcond=None)[0]
    return found


def lengthened(problem: Problem, orbits: Orbits, own: Saddles, period: Array) -> Orbits:
    """Return orbits of other periods: the time at the slowest point is made longer or shorter, on its way in
    and out in proportion to how long these take, and they begin there."""
    which = slowest(problem, orbits)
    share = 0.5 * (1.0 + own.quantity / own.spread)
    several = zip(range(len(which)), which.tolist(), period.tolist(), share.tolist(), strict=True)
    return joined([_of_period(orbits.chosen([k]), *rest) for k, *rest in several])


def _of_period(orbit: Orbits, at: int, period: float, share: float) -> Orbits:
    own, begin = float(orbit.period[0]), float(orbit.s[0, at])
    out, back = (1.0 - share) * (period - own), share * (period - own)
    # Times since the slowest point, and with what there is of rest after and before it.
    since = np.append(np.sort((orbit.s[0, :-1] - begin) % 1.0), 1.0) * own
    kept = since[(since > -out) & (since < own + back)]
    times = np.unique(np.concatenate(([0.0], kept + out, [period]))) / period
    # Half the mesh points of an even mesh for a rest, as many as before elsewhere.
    rest = np.diff(times) > np.diff(since).max() / period
    total = np.append(0.0, np.cumsum(np.where(rest, 0.5 * len(since) * np.diff(times), 1.0)))
    mesh = inverted(times[None], total[None] / total[-1], orbit.stages.shape[1])

    def states(s: Array) -> Array:
        inside = np.clip(s * period - out, 0.0, own) / own
        return evaluated(orbit, np.where(inside >= 1.0, begin, (begin + inside) % 1.0))

    scalars = orbit.scalars.copy()
    scalars[:, 0] = period
    return from_function(mesh, states, scalars)


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
        """Return the numbers of the cycles, of the saddle, and of the homoclinic orbit."""
        row, own = super()._measured(system, orbits), saddles(system, orbits)
        # p - p_hom = c exp(-lambda T) is -1/lambda of its derivative by T.
        apart = by_period(system, orbits) / own.rate
        return row | {
            "saddle": np.where(own.there[:, None], own.state, np.nan),
            "saddle_rate": own.rate,
            "saddle_quantity": own.quantity,
            "homoclinic": row["value"] + apart,
            "homoclinic_error": np.abs(apart),
        }


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


def columns_of(model: Model, along: str, words: Words, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of saddles and homoclinic orbits, for a dataset."""
    point = ("point",)
    found: dict[str, Any] = {}
    for i, name in enumerate(model.variable_names):
        said = words.of_state(name)
        meant = said | {"long_name": f"{said['long_name']}, at the saddle"}
        found[f"{name}_saddle"] = (point, table["saddle"][:, i], meant)
    rate = words.meaning("size of the saddle's leading eigenvalue", "1/ms")
    both = words.meaning("sum of the leading eigenvalues on both sides: below 0 the cycle is stable", "1/ms")
    found |= {
        "saddle_rate": (point, table["saddle_rate"], rate),
        "saddle_quantity": (point, table["saddle_quantity"], both),
    }
    for name, text in (("homoclinic", "of the homoclinic orbit"), ("homoclinic_error", "there, its error")):
        found[name] = (point, table[name], words.of_parameter(along, text))
    return found


def _of_scalars(orbits: Orbits, along: Orbits) -> Orbits:
    """Return a direction on the meshes of orbits, with the scalars of another alone."""
    return replace(orbits.times(np.zeros(len(orbits.period))), scalars=along.scalars.copy())
