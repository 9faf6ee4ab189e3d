"""Where between two cycles of a branch a bifurcation lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.collocation import Orbits, Problem, adapted, linearised, remeshed
from qifscan.limit_cycles.floquet import multipliers
from qifscan.limit_cycles.steps import (
    EP,
    LPC,
    PD,
    RESOLVED,
    TR,
    UNRESOLVED,
    Branches,
    Crossing,
    Extent,
    doubling,
    measured,
    others,
    renewed,
    stepped,
    tangents,
    torus,
)

_LOCATED = 1e-9
_MOST_TRIALS = 40


# Afterwards


def located(b: Branches, crossing: Crossing, limits: Extent) -> list[dict[str, Any]]:
    """Return rows of the points at which test functions are 0, found on meshes twice as fine."""
    problem, before = b.problem.chosen(crossing.number), crossing.before
    scales = problem.scales(before.u)
    mesh = adapted(before, scales, before.stages.shape[1] * (1 if crossing.code == EP else 2))
    fine = remeshed(before, mesh)
    along = renewed(problem, fine, remeshed(crossing.tangent, mesh), limits.unit)
    search = _Search(problem, fine, along, crossing.code, limits)
    step, orbits, good, denied = search.root(crossing.step)
    linear = linearised(problem, orbits)
    row = measured(problem, orbits, linear)
    code = np.full(len(step), crossing.code)
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
    code[~sure] = UNRESOLVED
    keep = ~denied
    if crossing.code != EP:
        # A step that leaves the range may cross something before it does.
        keep &= (orbits.value >= limits.low) & (orbits.value <= limits.high)
    if crossing.code == TR:
        # Two real multipliers with the product 1 are no bifurcation.
        keep &= (~real & (np.abs(np.abs(rest) - 1.0) < 1e-3)).any(axis=1) | ~good
    order = crossing.order - 1.0 + np.clip(step / crossing.step, 0.0, 1.0)
    row |= {"number": b.number[crossing.number], "order": order, "type": code}
    return [{name: values[keep] for name, values in row.items()}]


@dataclass(frozen=True)
class _Search:
    """Where a test function is 0 along tangents."""

    problem: Problem
    before: Orbits
    tangent: Orbits
    code: int
    limits: Extent

    def trial(self, which: Index, step: Array) -> tuple[Array, Orbits, Any]:
        """Return the test function a step further, the orbits there, and whether they are ones."""
        problem, before = self.problem.chosen(which), self.before.chosen(which)
        tangent = self.tangent.chosen(which)
        orbits, good, _ = stepped(problem, before, tangent, step, self.limits.unit)
        if self.code == EP:
            low, high = self.limits.low, self.limits.high
            bound = np.where(before.value - low > high - before.value, high, low)
            return orbits.value - bound, orbits, good
        linear = linearised(problem, orbits)
        if self.code == LPC:
            return tangents(problem, orbits, linear, tangent, self.limits.unit).value, orbits, good
        rest, _ = others(multipliers(linear.states).mu)
        return (doubling if self.code == PD else torus)(rest), orbits, good

    def root(self, width: Array) -> tuple[Array, Orbits, Any, Any]:
        """Return the steps at which it is 0 between 0 and a width, the orbits, whether they were found, and
        whether the function has the same sign at both ends instead.

        The Illinois variant of the regula falsi.
        """
        everyone = np.arange(len(width))
        low, high = np.zeros(len(width)), width.copy()
        f_low, _, fine = self.trial(everyone, low)
        f_high, found, good = self.trial(everyone, high)
        denied = good & fine & (f_low * f_high > 0.0)
        good = good & fine & (f_low * f_high <= 0.0)
        at, left = high.copy(), everyone[good]
        for _ in range(_MOST_TRIALS):
            if not len(left):
                break
            change = f_high[left] * (high - low)[left] / (f_high - f_low)[left]
            new = high[left] - np.where(np.isfinite(change), change, 0.5 * (high - low)[left])
            f, orbits, fine = self.trial(left, new)
            found.put(left, orbits)
            close = np.abs(new - at[left]) < _LOCATED * width[left]
            crossed = f * f_high[left] < 0.0
            low[left], f_low[left] = (
                np.where(crossed, high[left], low[left]),
                np.where(crossed, f_high[left], 0.5 * f_low[left]),
            )
            high[left], f_high[left], at[left] = new, f, new
            good[left] &= fine
            left = left[~close & fine & (f != 0.0)]
        good[left] = False
        return at, found, good, denied
