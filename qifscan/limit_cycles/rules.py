"""What is looked for on branches of cycles in one parameter, and what ends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.collocation import linearised
from qifscan.limit_cycles.continuation import Branches, Step, summary
from qifscan.limit_cycles.floquet import multipliers, quick
from qifscan.limit_cycles.located import Test, search
from qifscan.limit_cycles.orbits import Orbits
from qifscan.limit_cycles.problem import Problem
from qifscan.limit_cycles.steps import (
    BY_HOPF,
    BY_PERIOD,
    BY_POINTS,
    BY_RANGE,
    BY_RETURN,
    BY_STANDSTILL,
    EP,
    LPC,
    PD,
    RESOLVED,
    TR,
    UNRESOLVED,
    Crossing,
    Extent,
    doubling,
    measured,
    others,
    tangents,
    torus,
    units_of,
)

STILL, PATIENCE = 1e-12, 25
"""Change of the parameter in a step, in its unit, that is rounding; and how many such steps end a branch."""


@dataclass(frozen=True)
class OnBranches:
    """Rules of branches of cycles in one parameter; `longest` periods `(branches,)`."""

    limits: Extent
    longest: Array
    codes: tuple[int, ...] = (LPC, PD, TR)
    leaving: int = BY_RANGE
    unmoved: int = UNRESOLVED

    def multipliers(self, system: Problem, groups: Array) -> Any:
        """Return the multipliers, those near 1 right to 1e-9 or so."""
        return quick(groups)

    def tests(self, mu: Any, tangent: Orbits) -> Array:
        """Return what is 0 at a fold, a period doubling and a torus bifurcation."""
        rest, _ = others(mu)
        return np.stack((tangent.value, doubling(rest), torus(rest)), axis=1)

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
        found[mirrored(step) & (b.count[who] > 1)] = BY_HOPF
        found[b.still[who] >= PATIENCE] = BY_STANDSTILL
        found[new.period > self.longest[who]] = BY_PERIOD
        found[(new.value < limits.low) | (new.value > limits.high)] = BY_RANGE
        return found, (found == BY_RANGE) | (found == BY_HOPF)

    def measured(self, system: Problem, orbits: Orbits) -> dict[str, Any]:
        """Return the numbers of cycles."""
        return measured(system, orbits)

    def located(self, b: Branches, crossing: Crossing) -> dict[str, Any]:
        """Return rows of the points at which test functions are 0, found on meshes twice as fine."""
        problem: Any = b.system.chosen(crossing.number)
        limits, before = self.limits, crossing.before
        finer = 1 if crossing.code == EP else 2
        looked = search(problem, crossing, self._test(crossing), limits.units, finer)
        step, orbits, good, denied = looked.root(crossing.step)
        row = measured(problem, orbits)
        sure = good & (row["quality"] < RESOLVED) & (row["residual"] < 1e-6)
        if crossing.code == LPC:
            # Reject folds whose change of the parameter is within rounding.
            sure &= np.abs(orbits.value - before.value) > 1e-10 * limits.unit
        if crossing.code == EP:
            sure = good
        rest, _ = others(row["multipliers"])
        real = np.abs(rest.imag) < 1e-9
        if crossing.code == PD:
            sure &= (real & (np.abs(rest.real + 1.0) < 1e-3)).any(axis=1)
        keep = ~denied
        if crossing.code != EP:
            # A step that leaves the range may cross something before it does.
            keep &= (orbits.value >= limits.low) & (orbits.value <= limits.high)
        if crossing.code == TR:
            # Two real multipliers with the product 1 are no bifurcation.
            keep &= (~real & (np.abs(np.abs(rest) - 1.0) < 1e-3)).any(axis=1) | ~good
        order = crossing.order - 1.0 + np.clip(step / crossing.step, 0.0, 1.0)
        code = np.where(sure, crossing.code, UNRESOLVED)
        row |= {"number": crossing.number, "order": order, "type": code}
        return {name: values[keep] for name, values in row.items()}

    def _test(self, crossing: Crossing) -> Test:
        """Return the test function of a kind of points, as the finer mesh has it."""
        code, limits, begin = crossing.code, self.limits, crossing.before.value
        bound = np.where(begin - limits.low > limits.high - begin, limits.high, limits.low)

        def test(which: Index, problem: Problem, orbits: Orbits, before: Orbits) -> Array:
            if code == EP:
                return orbits.value - bound[which]
            if code == LPC:
                return tangents(problem, orbits, before, limits.units).value
            rest, _ = others(multipliers(linearised(problem, orbits).states).mu)
            return (doubling if code == PD else torus)(rest)

        return test


def returned(b: Branches, step: Step) -> Any:
    """Tell which orbits are the ones that their branches began with."""
    new, who = step.new, step.who
    scale = np.concatenate((step.system.scales(new.u), units_of(new, b.units)), axis=1)
    apart = np.sqrt((((summary(new) - b.first[who]) / scale) ** 2).sum(axis=1))
    return (apart < 0.5 * b.step[who]) & (b.count[who] > 10)


def mirrored(step: Step) -> Any:
    """Tell which orbits lie beyond a Hopf point: there a branch goes on as its own mirror image, half a
    period later."""
    new, before = step.new.u, step.before.u
    swing, past = new - new.mean(axis=1, keepdims=True), before - before.mean(axis=1, keepdims=True)
    scales = step.system.scales(new)
    return (swing * past / scales[:, None] ** 2).sum(axis=(1, 2)) < 0.0
