"""Where between two orbits of a branch a test function is 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.steps import Crossing, stepped, unit_length
from qifscan.periodic_orbits.orbits import Orbits, adapted, all_remeshed
from qifscan.periodic_orbits.problem import OrbitProblem

_LOCATED = 1e-9
_MOST_TRIALS = 40

_BEYOND = 0.01
"""Share of a step beyond its ends up to which chords may have a test function 0: what has changed its sign on
one mesh may do so next to an end on a finer one. Twice as far is looked."""

_BESIDE = 0.01
"""Share of a step from its beginning at which is looked where the beginning itself tells nothing: where a
doubled branch leaves the other one, Newton's method has two orbits to go to."""

_BETWEEN, _MOST_PAIRS = 3e-4, 12
"""Distance, in steps, of two orbits from one that is interpolated between them, and how many pairs are tried:
nearer to a branch point rounding makes more of an error than chords do."""

Test = Callable[[Index, Any, Orbits, Orbits], Array]
"""The test function of some orbits: which, their system, they themselves and the tangents there. NaN where it
can't be told: then nothing is located."""


@dataclass(frozen=True)
class Bracket:
    """Two steps between which a test function is looked for, the function and the orbits there, and whether
    these are ones."""

    low: Array
    f_low: Array
    below: Orbits
    high: Array
    f_high: Array
    above: Orbits
    good: Any


@dataclass(frozen=True)
class Search:
    """Where a test function is 0 along bent tangents."""

    system: OrbitProblem
    before: Orbits
    tangent: Orbits
    bend: Orbits
    test: Test
    units: Array

    def trial(self, which: Index, step: Array, start: Orbits | None) -> tuple[Array, Orbits, Any]:
        """Return the test function a step further, the orbits there, and whether they are ones."""
        system = self.system.chosen(which)
        way = self.before.chosen(which), self.tangent.chosen(which)
        found = stepped(system, *way, step, self.units, start, self.bend.chosen(which))
        return self.test(which, system, found.orbits, found.direction), found.orbits, found.good

    def root(self, width: Array, ends: Bracket) -> tuple[Array, Orbits, Any, Any]:
        """Return the steps at which it is 0 between the ends of a width, the orbits, whether they were found,
        and whether the function has the same sign at both ends instead.

        The Illinois variant of the regula falsi; not SciPy's, as each trial is an orbit, which
        Newton's method finds from the two around it, and a trial can fail.
        """
        low, high, f_low, f_high = (x.copy() for x in (ends.low, ends.high, ends.f_low, ends.f_high))
        below, above, good = ends.below.copy(), ends.above.copy(), ends.good
        found = above.copy()
        denied = good & (f_low * f_high > 0.0)
        good = good & (f_low * f_high <= 0.0)
        at, left = high.copy(), np.flatnonzero(good)
        for _ in range(_MOST_TRIALS):
            if not len(left):
                break
            change = f_high[left] * (high - low)[left] / (f_high - f_low)[left]
            new = high[left] - np.where(np.isfinite(change), change, 0.5 * (high - low)[left])
            share = (new - low[left]) / (high - low)[left]
            start = below.chosen(left).times(1.0 - share).moved(share, above.chosen(left))
            f, orbits, fine = self.trial(left, new, start)
            found.put(left, orbits)
            close = np.abs(new - at[left]) < _LOCATED * width[left]
            crossed = f * f_high[left] < 0.0
            below.put(left[crossed], above.chosen(left[crossed]))
            above.put(left, orbits)
            low[left], f_low[left] = (
                np.where(crossed, high[left], low[left]),
                np.where(crossed, f_high[left], 0.5 * f_low[left]),
            )
            high[left], f_high[left], at[left] = new, f, new
            good[left] &= fine
            left = left[~close & fine & (f != 0.0)]
        good[left] = False
        return at, found, good, denied

    def root_between(self, width: Array, ends: Bracket) -> tuple[Array, Orbits, Any, Any]:
        """Return what `root` does where the equations are singular, as at branch points: orbits interpolated
        between two that lie close to them on both sides."""
        low, high, f_low, f_high = (x.copy() for x in (ends.low, ends.high, ends.f_low, ends.f_high))
        below, above, good = ends.below.copy(), ends.above.copy(), ends.good
        denied = good & (f_low * f_high > 0.0)
        good = good & (f_low * f_high <= 0.0)
        sides = (low, f_low, below), (high, f_high, above)
        for trial in range(2 * _MOST_PAIRS):
            root = low - f_low * (high - low) / (f_high - f_low)
            wide = good & (high - low > 3.0 * _BETWEEN * width)
            if not wide.any():
                break
            # On one side of the root, then on the other one.
            at = root + (-1.0, 1.0)[trial % 2] * _BETWEEN * width
            left = np.flatnonzero(wide & (at > low) & (at < high))
            if not len(left):
                continue
            share = ((at - low) / (high - low))[left]
            start = below.chosen(left).times(1.0 - share).moved(share, above.chosen(left))
            f, orbits, fine = self.trial(left, at[left], start)
            good[left] &= fine
            first: Any = f * f_low[left] > 0.0
            for (place, value, there), mask in zip(sides, (first, ~first), strict=True):
                place[left[mask]], value[left[mask]] = at[left[mask]], f[mask]
                there.put(left[mask], orbits.chosen(mask))
        share = (root - low) / (high - low)
        good &= high - low <= 3.0 * _BETWEEN * width
        return root, below.times(1.0 - share).moved(share, above), good, denied

    def ends(self, width: Array) -> Bracket:
        """Return 0 and a width, or beyond that end next to which the chord says that the function is 0."""
        everyone = np.arange(len(width))
        low, high = np.zeros(len(width)), width.copy()
        f_low, below, fine = self.trial(everyone, low, None)
        f_high, above, good = self.trial(everyone, high, None)
        lost = np.flatnonzero(good & ~(fine & np.isfinite(f_low)))
        if len(lost):
            low[lost] = _BESIDE * width[lost]
            f_low[lost], orbits, fine[lost] = self.trial(lost, low[lost], None)
            below.put(lost, orbits)
            # Where the sign is the same there, it has changed before.
            fine[lost] &= f_low[lost] * f_high[lost] <= 0.0
        good = good & fine
        root = high - f_high * width / (f_high - f_low)
        for end, f, there, way in ((low, f_low, below, -1.0), (high, f_high, above, 1.0)):
            past = way * (root - end) / width
            near = np.flatnonzero(good & (past > 0.0) & (past < _BEYOND))
            if len(near):
                end[near] += 2.0 * way * _BEYOND * width[near]
                f[near], orbits, fine = self.trial(near, end[near], None)
                there.put(near, orbits)
                good[near] &= fine
        return Bracket(low, f_low, below, high, f_high, above, good)


def search(system: OrbitProblem, crossing: Crossing, test: Test, units: Array, finer: int) -> Search:
    """Return the search for the root of a crossing, on meshes so many times as fine."""
    before = crossing.before
    mesh = adapted(before, system.scales(before.u), finer * before.stages.shape[1])
    fine, along, bend = all_remeshed((before, crossing.tangent, crossing.bend), mesh)
    return Search(system, fine, unit_length(system, along, fine, units), bend, test, units)
