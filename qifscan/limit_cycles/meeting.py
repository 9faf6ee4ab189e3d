"""Branches of one slice that meet: each is then the other one, run through backwards.

A branch between two Hopf points is followed from both of them. Where the step of one passes by the last cycle
of another that comes the other way, a step to that very cycle tells whether they are the same branch. Then
neither is followed further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.steps import BY_HOPF, BY_PERIOD, BY_POINTS, Step, stepped, summary, summary_sizes
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.theory.codes import POINT, UNRESOLVED

_ASIDE, _OPPOSITE = 0.15, -0.7
"""Distance of a cycle from a step, in lengths of that, up to which it may be on it; and the cosine of the
angle between two steps below which they go opposite ways."""

_LEAP = 1e-3
"""Size of a multiplier up to which it may have become complex, and real again, on a step."""

_SAME, _TRIALS = 0.01, 4
"""Distance from a cycle, in lengths of a step, up to which the one that is found there is the same, and how
often it is tried to come nearer."""


@dataclass
class Fronts:
    """The last cycles of branches, as numbers that tell a cycle `(branches, ...)`, and their last changes.

    `pairs`, in two rows, are each branch and every other one of its slice. `partner`: the branch that was
    met, -1: none; `at`: how many cycles a branch has then. `leaps`: whether a step was too long to see what
    multipliers do on it, where another branch may see more and is not met. `long`: of two branches the last
    cycle of the second whose period is too long for the first. `going`: which branches had not ended before
    the last meeting.
    """

    pairs: Index
    longest: Array
    place: Array
    way: Array
    partner: Index
    at: Index
    leaps: Any
    long: dict[tuple[int, int], Orbits] = field(default_factory=dict)
    going: Any = None

    @classmethod
    def of(cls, slices: Index, longest: Array, size: int) -> Fronts:
        """Return those of branches that have not begun, of some slices, with their longest periods."""
        count = len(slices)
        alike = (slices[:, None] == slices) & ~np.eye(count, dtype=bool)
        nowhere, none = np.full((count, size), np.nan), np.zeros(count, dtype=np.intp)
        return cls(
            np.array(np.nonzero(alike)), longest, nowhere, nowhere.copy(), none - 1, none.copy(), none > 0
        )

    def moved(self, step: Step) -> None:
        """Note new last cycles."""
        who, place = step.who, summary(step.system, step.new)
        self.way[who], self.place[who] = place - self.place[who], place
        for k, second in enumerate(who.tolist()):
            for first in self.pairs[0][self.pairs[1] == second].tolist():
                if step.new.period[k] > self.longest[first]:
                    self.long[first, second] = step.new.chosen([k])

    def look(self, who: Index, before: Array, after: Array) -> None:
        """Note where a real multiplier, the largest, has another sign after a step: it can't have been 0."""
        far: Any = np.minimum(np.abs(before), np.abs(after)) > _LEAP
        self.leaps[who] |= (before * after < 0.0) & far

    def met(
        self, step: Step, length: Array, count: Index, units: Array, measure: Callable[[], None]
    ) -> tuple[Any, Array]:
        """Tell which steps are to be taken, and how long they are.

        Those to where another branch is met are made shorter, in place. A step of that other branch is not
        taken; nor is one past a branch that comes the other way with its own step. To `measure` is to look
        at all steps so far.
        """
        taken, length, sizes = np.ones(len(step.who), dtype=bool), length.copy(), summary_sizes(step, units)
        row = np.full(len(count), -1)
        row[step.who] = np.arange(len(row[step.who]))
        before, new = (summary(step.system, orbits) for orbits in (step.before, step.new))
        for first, second in self.pairs[:, row[self.pairs[0]] >= 0].T.tolist():
            k, other = row[first], row[second]
            if not taken[k] or max(self.partner[[first, second]]) >= 0 or self.leaps[[first, second]].any():
                continue
            begin, way = before[k] / sizes[k], (new[k] - before[k]) / sizes[k]
            front = self.place[second] / sizes[k]
            if _passes(begin, way, front, self.way[second] / sizes[k]):
                measure()
                if self.leaps[first] or self.leaps[second]:
                    continue
                reached = _reached(step, k, length[k], units, front, way, sizes[k])
                if reached is not None:
                    length[k] = reached
                    self.partner[[first, second]] = second, first
                    self.at[[first, second]] = count[[first, second]]
                    if other >= 0:
                        taken[other] = False
            elif other >= 0 and taken[other]:
                back = (new[other] - before[other]) / sizes[k]
                if _passes(begin, way, new[other] / sizes[k], back):
                    measure()
                    taken[other] = self.leaps[first] or self.leaps[second]
        return taken, length

    def part(self, who: Index, cut: Index) -> None:
        """Forget whom branches have met: beyond a branch point they were their own images, and so are those
        branches that came from there, which go on."""
        for one in who.tolist():
            other = self.partner[one]
            if other >= 0:
                self.partner[[one, other]] = -1
                cut[other] = np.where(self.going[other], -1, cut[other])


def _passes(begin: Array, way: Array, place: Array, back: Array) -> bool:
    """Tell whether a step passes by a cycle that has come the other way."""
    length, opposite = np.linalg.norm(way), np.linalg.norm(back)
    share = (place - begin) @ way / length**2
    aside = np.linalg.norm(place - begin - share * way)
    comes = way @ back < _OPPOSITE * length * opposite
    return bool(0.0 < share <= 1.0 and aside < _ASIDE * length and comes)


def _reached(
    step: Step, k: int, length: float, units: Array, place: Array, way: Array, sizes: Array
) -> float | None:
    """Return how long a step is to another branch's last cycle, and put it in its place; None: there is
    another cycle there."""
    one, size = step.chosen(np.array([k])), np.linalg.norm(way)
    begin = summary(one.system, one.before)[0] / sizes
    at = float((place - begin) @ way / size**2) * length
    for _ in range(_TRIALS):
        found = stepped(one.system, one.before, one.tangent, np.array([at]), units, bend=one.bend)
        apart = place - summary(one.system, found.orbits)[0] / sizes
        if not found.good[0]:
            break
        if np.linalg.norm(apart) < _SAME * size:
            step.new.put(np.array([k]), found.orbits)
            step.after.put(np.array([k]), found.direction)
            return at
        at += float(apart @ way / size**2) * length
    return None


def completed(
    rows: list[dict[str, Any]], fronts: Fronts, most: int, cut: Index, ends: dict[int, Orbits]
) -> list[dict[str, Any]]:
    """Return the rows of all branches, to those that have met another one also its rows; note in `cut` and
    `ends` how these end."""
    whole = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    found = [whole]
    for first in np.flatnonzero(fronts.partner >= 0).tolist():
        second = int(fronts.partner[first])
        own = whole["number"] == second
        total = fronts.at[first] + fronts.at[second] + 1
        added = {name: values[own] for name, values in whole.items()}
        added |= {"number": 0 * added["number"] + first, "order": total - added["order"]}
        cycles = np.isin(added["type"], (POINT, UNRESOLVED)) & (added["order"] % 1.0 == 0.0)
        long = added["order"][cycles & (added["period"] > fronts.longest[first])].min(initial=np.inf)
        last = min(long, most)
        cut[first] = BY_HOPF if total <= last else BY_PERIOD if long <= most else BY_POINTS
        if last == long:
            ends[first] = fronts.long[first, second]
        kept = added["order"] <= last
        found.append({name: values[kept] for name, values in added.items()})
    return found
