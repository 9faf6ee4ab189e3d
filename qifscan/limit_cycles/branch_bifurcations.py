"""What is looked for on branches of cycles in one parameter, and what ends them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.continuation import Branches
from qifscan.limit_cycles.located import Bracket, Test, search
from qifscan.limit_cycles.steps import (
    BY_BRANCH_POINT,
    BY_DOUBLING,
    BY_HOPF,
    BY_PERIOD,
    BY_POINTS,
    BY_RANGE,
    BY_RETURN,
    BY_STANDSTILL,
    RESOLVED,
    Crossing,
    Extent,
    Met,
    Step,
    doubling,
    measured,
    others,
    stability,
    summary,
    summary_sizes,
    tangents,
    torus,
    units_of,
)
from qifscan.periodic_orbits.collocation import linear_of
from qifscan.periodic_orbits.orbits import Orbits, halves_apart
from qifscan.periodic_orbits.problem import Problem
from qifscan.theory.codes import BPC, EP, LPC, PD, TR, UNRESOLVED, UZ

STILL, PATIENCE = 1e-12, 25
"""Change of the parameter in a step, in its unit, that is rounding; and how many such steps end a branch."""

_ALIKE = 1e6
"""Factor between the moduli of two multipliers over a step from or to a torus bifurcation, where they are a
pair. Of two real ones with the product 1, which are no bifurcation, it may be 1e50 beside a canard."""

_NEAR = 0.1
"""Distance from 1 of a multiplier within which its side of 1 is left open: at a fold there are two of 1, and
each is off by the square root of an error."""

_OF_FOLD = 0.3
"""Distance from 1 up to which a fold has another multiplier than that of the flow: the square root of an
error, 0.09 in canards where the fold is right."""

_STEEP = 1e-3
"""Change of the parameter along a branch, in its unit, below which a multiplier of 1 is that of a fold."""

_FLAT, _TOGETHER, _CONSTANT, _BESIDE_ONE = 0.02, 0.05, 1e-9, 1e-6
"""Changes of the period and the parameter along a branch below which both may be about to turn; share of a
step within which they do so together; change of a period that is but rounding; and distance from 1 of a
multiplier whose side of 1 is sure."""

_ASIDE = 0.15
"""Distance of an orbit from a step, in lengths of that, up to which the step passes by it. Where the tangent
turns by as much as a step is allowed, an arc rises over its chord by 0.04 of it."""


@dataclass(frozen=True)
class OnBranches:
    """Rules of branches of cycles in one parameter; `longest` periods `(branches,)`."""

    limits: Extent
    longest: Array
    forced: bool = False
    at_period: float | None = None
    doubled: bool = False
    switched: bool = False
    kept: list[Met] = field(default_factory=list)
    leaving: tuple[int, ...] = (BY_RANGE,)
    unmoved: int = UNRESOLVED

    @property
    def codes(self) -> tuple[int, ...]:
        """What is where test functions are 0."""
        found = (LPC, PD, TR, BPC)
        return found if self.at_period is None else (*found, UZ)

    def others(self, mu: Any) -> Any:
        """Return the multipliers but that of the flow; a drive leaves none."""
        return mu if self.forced else others(mu)[0]

    def tests(self, b: Branches, step: Step, row: dict[str, Any]) -> Array:
        """Return what is 0 at a fold, a period doubling, a torus bifurcation, what changes its sign at a
        branch point, and what is 0 at a period asked for."""
        rest = self.others(row["multipliers"])
        sure: Any = self.forced | (row["quality"] < RESOLVED)
        # By Cramer's rule both have the same sign everywhere, or on one side of a branch point.
        crossed = np.where(sure, np.sign(crossing_one(rest)) * step.after.value, np.nan)
        found = [step.after.value, doubling(rest), torus(rest), crossed]
        if self.switched:
            # Beginnings at branch points have a multiplier of 1, and no tangent that is known.
            begins = b.count[step.who] == 0
            found[0], found[3] = (np.where(begins, 0.0, values) for values in (found[0], found[3]))
        if self.at_period is not None:
            found.append(step.new.period - self.at_period)
        outside = np.where(sure, row["unstable"], np.nan)
        largest = np.take_along_axis(rest, np.abs(rest).argmax(axis=1)[:, None], axis=1)[:, 0]
        return np.stack([*found, outside, np.where(largest.imag == 0.0, largest.real, np.nan)], axis=1)

    @property
    def columns(self) -> int:
        """How many columns `tests` have: the last are how many multipliers are outside of the unit circle,
        and the largest one if that is real."""
        return len(self.codes) + 2

    def changed(self, before: Array, after: Array) -> Any:
        """Tell which test functions have changed their sign on steps.

        That of a torus bifurcation does also where two real multipliers have the product 1. There none of
        them crosses the unit circle, and if nothing else does it is sure that it is no bifurcation.
        """
        found: Any = before[:, :-2] * after[:, :-2] < 0.0
        alone = found.sum(axis=1) - found[:, self.codes.index(BPC)] == 1
        found[:, self.codes.index(TR)] &= ~(alone & (before[:, -2] == after[:, -2]))
        return found

    def goes_on(self, step: Step) -> Any:
        """Tell where the rate is positive."""
        return (step.new.u[..., 0] > 0.0).all(axis=1)

    def moved(self, b: Branches, step: Step) -> Any:
        """Tell where the parameter has changed by more than rounding."""
        return np.abs(step.new.value - step.before.value) >= STILL * self.limits.unit

    def ended(self, b: Branches, step: Step) -> tuple[Index, Any]:
        """Return what ends the branches at the new orbits, and which of these lie beyond."""
        new, who, limits = step.new, step.who, self.limits
        found = np.full(len(who), -1)
        found[b.count[who] + 1 >= limits.most] = BY_POINTS
        found[returned(b, step)] = BY_RETURN
        late = b.count[who] > 1
        if not self.forced:
            hopf = mirrored(step) & late
            undoubled = _undoubled(step) & late if self.doubled else np.zeros(len(who), dtype=bool)
            past = _past_branch_points(b, step, late & ~hopf & ~undoubled)
            if b.fronts is not None:
                b.fronts.part(who[past], b.cut)
            found[past] = BY_BRANCH_POINT
            found[hopf] = BY_HOPF
            found[undoubled] = BY_DOUBLING
        found[b.still[who] >= PATIENCE] = BY_STANDSTILL
        found[new.period > self.longest[who]] = BY_PERIOD
        found[(new.value < limits.low) | (new.value > limits.high)] = BY_RANGE
        if b.fronts is not None:
            found[b.fronts.partner[who] >= 0] = BY_HOPF
        return found, np.isin(found, (BY_RANGE, BY_HOPF, BY_DOUBLING, BY_BRANCH_POINT))

    def measured(self, system: Problem, orbits: Orbits, tangent: Orbits) -> dict[str, Any]:
        """Return the numbers of cycles."""
        return measured(system, orbits)

    def located(self, b: Branches, crossing: Crossing) -> dict[str, Any]:
        """Return rows of the points at which test functions are 0, found on meshes twice as fine."""
        limits = self.limits
        finer = 1 if crossing.code == EP else 2
        system: Any = b.system.chosen(crossing.number)
        looked = search(system, crossing, self._test(crossing), limits.units, finer)
        ends = looked.ends(crossing.step)
        root = looked.root_between if crossing.code == BPC else looked.root
        step, orbits, good, denied = root(crossing.step, ends)
        there = ~denied
        if crossing.code == LPC:
            there &= ~self._goes_straight_on(system, ends)
        if crossing.code != EP:
            # A step that leaves the range may cross something before it does.
            there &= (orbits.value >= limits.low) & (orbits.value <= limits.high)
        # What is not there is not measured; but a row has columns also where none is left.
        left = np.flatnonzero(there) if there.any() else np.arange(1)
        problem, orbits, good = system.chosen(left), orbits.chosen(left), good[left]
        row = measured(problem, orbits)
        moved = orbits.value - crossing.before.value[left]
        steep = np.abs(looked.tangent.value[left]) / limits.unit
        sure, keep = self._known(crossing.code, row, good, moved, steep)
        keep &= there[left]
        order = (crossing.order - 1.0 + np.clip(step / crossing.step, 0.0, 1.0))[left]
        code = np.where(sure, crossing.code, UNRESOLVED)
        row |= {"number": crossing.number[left], "order": order, "type": code}
        certain = np.flatnonzero(keep & sure)
        which = problem.chosen(certain), orbits.chosen(certain), looked.tangent.chosen(left[certain])
        self.kept.append(Met(crossing.code, row["number"][certain], *which))
        return {name: values[keep] for name, values in row.items()}

    def _goes_straight_on(self, problem: Problem, ends: Bracket) -> Any:
        """Tell between which ends multipliers deny a fold.

        By Cramer's rule the parameter's change along a branch is the product of 1 - mu over the other
        multipliers but for a factor of one sign: it can't change its sign alone. Beside a homoclinic orbit
        that change is but rounding, while the multipliers are far from 1.
        """
        sides = []
        for orbits in (ends.below, ends.above):
            found = stability(problem, orbits, linear_of(problem, orbits))
            sure = ends.good & (self.forced | (found.error < _NEAR))
            sides.append(np.where(sure, _side(self.others(found.mu)), 0.0))
        return sides[0] * sides[1] > 0.0

    def _known(
        self, code: int, row: dict[str, Any], good: Any, moved: Array, steep: Array
    ) -> tuple[Any, Any]:
        """Tell of which points the kind is sure, and which are points at all; `moved`: by how much the
        parameter has changed on the way, `steep`: how fast it changes along the branch, in its unit."""
        sure = good & (self.forced | (row["quality"] < RESOLVED)) & (row["residual"] < 1e-6)
        keep = np.ones(len(good), dtype=bool)
        rest = self.others(row["multipliers"])
        real = np.abs(rest.imag) < 1e-9
        if code == LPC:
            # Reject folds whose change of the parameter is within rounding.
            sure &= np.abs(moved) > 1e-10 * self.limits.unit
            # A fold whose own multiplier is elsewhere has a place in the parameter alone: within rounding of
            # it, in a canard, cycles are of all periods.
            sure &= (np.abs(rest - 1.0) < _OF_FOLD).any(axis=1)
        if code in (EP, UZ):
            sure = good
        if code == BPC:
            sure &= (real & (np.abs(rest.real - 1.0) < 1e-3)).any(axis=1) & (steep > _STEEP)
            keep = sure
        if code == PD:
            sure &= (real & (np.abs(rest.real + 1.0) < 1e-3)).any(axis=1)
        if code == TR:
            # Two real multipliers with the product 1 are no bifurcation.
            keep = (~real & (np.abs(np.abs(rest) - 1.0) < 1e-3)).any(axis=1) | ~good
        return sure, keep

    def _test(self, crossing: Crossing) -> Test:
        """Return the test function of a kind of points, as the finer mesh has it."""
        code, limits, begin = crossing.code, self.limits, crossing.before.value
        bound = np.where(begin - limits.low > limits.high - begin, limits.high, limits.low)

        def test(which: Index, problem: Problem, orbits: Orbits, tangent: Orbits) -> Array:
            if code == EP:
                return orbits.value - bound[which]
            if code == LPC:
                return tangent.value
            if code == UZ:
                return orbits.period - float(self.at_period or 0.0)
            of = stability(problem, orbits, linear_of(problem, orbits), quickly=True)
            rest = self.others(of.mu)
            kinds = {PD: doubling, BPC: crossing_one}
            found = kinds[code](rest) if code in kinds else torus(rest, _ALIKE)
            sure: Any = self.forced | (of.error < RESOLVED)
            return np.where(sure, found, np.nan)

        return test


def crossing_one(rest: Any) -> Array:
    """Return the product of 1 - mu over multipliers, 0 where one of them is 1."""
    found: Array = np.prod(1.0 - rest, axis=1).real
    return found


def _side(rest: Any) -> Array:
    """Return the sign of the product of 1 - mu over multipliers, 0 where one of them is about 1 or none."""
    apart = 1.0 - rest
    sign = np.where(np.abs(apart.imag) > 0.0, 1.0, np.sign(apart.real)).prod(axis=1)
    sure: Any = (np.abs(apart) > _NEAR).all(axis=1)
    return np.where(sure, sign, 0.0)


def returned(b: Branches, step: Step) -> Any:
    """Tell which steps pass by the orbit that their branch began with, after it has been far from that."""
    new, who, system = step.new, step.who, step.system
    scale = summary_sizes(step, b.units)
    here, before = summary(system, new) / scale, summary(system, step.before) / scale
    to_first, way = b.first[who] / scale - before, here - before
    length = np.sqrt((way**2).sum(axis=1))
    share = np.clip((to_first * way).sum(axis=1) / length**2, 0.0, 1.0)
    aside = np.sqrt(((to_first - share[:, None] * way) ** 2).sum(axis=1))
    apart = np.sqrt(((to_first - way) ** 2).sum(axis=1))
    b.farthest[who] = np.maximum(b.farthest[who], apart)
    return (aside < _ASIDE * length) & (b.farthest[who] > 2.0 * length) & (b.count[who] > 10)


def mirrored(step: Step, size: int | None = None) -> Any:
    """Tell which orbits lie beyond a Hopf point: there a branch goes on as its own mirror image, half a
    period later."""
    new, before = step.new.u[..., :size], step.before.u[..., :size]
    swing, past = new - new.mean(axis=1, keepdims=True), before - before.mean(axis=1, keepdims=True)
    scales = step.system.scales(step.new.u)[:, :size]
    return (swing * past / scales[:, None] ** 2).sum(axis=(1, 2)) < 0.0


def _undoubled(step: Step) -> Any:
    """Tell which doubled cycles lie beyond a period doubling: there their laps change places."""
    new, before = halves_apart(step.new), halves_apart(step.before)
    scales = step.system.scales(step.new.u)
    return (new * before / scales[:, None] ** 2).sum(axis=(1, 2)) < 0.0


def _past_branch_points(b: Branches, step: Step, which: Any) -> Any:
    """Tell which steps lead past a branch point at which the branch goes on as its own image.

    So do branches that end in a pitchfork, by the symmetry that they break. There the period and the
    parameter both turn; at a fold the parameter does alone, and a multiplier goes through 1.
    """
    found = np.zeros(len(step.who), dtype=bool)
    ends = (step.tangent, step.before), (step.after, step.new)
    first, last = (along.scalars / units_of(orbits, b.units) for along, orbits in ends)
    # Tangents are those one step of Newton's before, and beside a branch point may have any sign.
    flat = np.minimum(np.abs(first).max(axis=1), np.abs(last).max(axis=1)) < _FLAT
    leaving = (first * last > 0.0).all(axis=1) & (np.abs(last) > np.abs(first)).all(axis=1)
    some = np.flatnonzero(which & ((first[:, 1] * last[:, 1] < 0.0) | (flat & ~leaving)))
    if not len(some):
        return found
    part = step.chosen(some)
    first, last = (
        tangents(part.system, orbits, part.tangent, b.units).scalars / units_of(orbits, b.units)
        for orbits in (part.before, part.new)
    )
    turned, share = first * last < 0.0, first / (first - last)
    constant = np.maximum(np.abs(first[:, 0]), np.abs(last[:, 0])) < _CONSTANT
    together = turned[:, 0] & (np.abs(share[:, 0] - share[:, 1]) < _TOGETHER)
    both = np.flatnonzero(turned[:, 1] & (constant | together))
    if len(both):
        crosses, stays = _through_one(part.chosen(both))
        found[some[both]] = np.where(constant[both], stays, ~crosses)
    return found


def _through_one(step: Step) -> tuple[Any, Any]:
    """Tell on which steps a multiplier surely goes through 1, and on which none surely does."""
    signs, sure = [], np.ones(len(step.who), dtype=bool)
    for orbits in (step.before, step.new):
        of = stability(step.system, orbits, linear_of(step.system, orbits))
        rest = others(of.mu)[0]
        signs.append(crossing_one(rest))
        sure &= (of.error < RESOLVED) & (np.abs(rest - 1.0) > _BESIDE_ONE).all(axis=1)
    return sure & (signs[0] * signs[1] < 0.0), sure & (signs[0] * signs[1] > 0.0)
