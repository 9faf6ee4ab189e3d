"""Branches of periodic orbits, many at once, with their bifurcations.

Pseudo-arclength continuation: the next orbit is sought a step along the tangent, bent as that has turned
before, at a right angle to it. A step is taken back and shortened where Newton's method fails or the tangent
turns by more than `COSINE` allows, as it does in canard explosions. What changes its sign between two orbits
is located afterwards, for all branches together, on a mesh twice as fine; what that mesh does not confirm is
called unresolved. What is told of an orbit, its multipliers too, is measured when many are there, and only
then is it seen what has changed its sign. `Rules` say what that may be, and what ends a branch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.meeting import Fronts
from qifscan.limit_cycles.steps import (
    BY_FAILURE,
    BY_HOPF,
    FINE,
    Crossing,
    Step,
    own_error,
    stepped,
    summary,
    unit_length,
    units_of,
)
from qifscan.periodic_orbits.collocation import INTERVALS
from qifscan.periodic_orbits.orbits import Orbits, adapted, all_remeshed, inner, joined
from qifscan.periodic_orbits.problem import OrbitProblem, WithMemory
from qifscan.phases import tell
from qifscan.theory.codes import EP, POINT

FIRST, LARGEST, SMALLEST = 0.02, 0.2, 1e-7
"""Steps, in sizes of the states: at the start, at most, and the one below which a branch is given up."""

_LARGEST_WITH_PAST = 0.1
"""Largest step where the past counts: multipliers can meet, and come back, within a larger one."""

COSINE = 0.95
"""Cosine of the angle between two tangents below which a step is taken back."""

FINEST = 512
"""Most intervals of an orbit while a branch is followed."""

LOOSE, STEEP = 2e-5, 1e5
"""Error of an orbit on the way, and growth of a direction in a group of intervals, above which the mesh is
made finer: states at mesh points and multipliers are right to far more digits than states between them."""

_COARSER = 0.5
"""Share of these up to which fewer intervals would do: errors are of order 5, and growth a power."""

_ANGLE, _NEWTON = 0.2, 0.03
"""Angle between tangents, and size of the first Newton step, that a step is to have."""

_EVERY = 3
_MANY = 64
"""Orbits that are measured together."""


@dataclass
class Pool:
    """Orbits on meshes of one size that are on their way, their tangents, how these turn along the branches,
    and whose branches they are."""

    who: Index
    now: Orbits
    tangent: Orbits
    bend: Orbits

    @property
    def intervals(self) -> int:
        """Intervals of the meshes."""
        return int(self.now.stages.shape[1])

    def chosen(self, which: Any) -> Pool:
        """Return some of them."""
        parts = (self.now, self.tangent, self.bend)
        return Pool(self.who[which], *(part.chosen(which) for part in parts))


@dataclass(frozen=True)
class Waiting:
    """Orbits that are to be measured: the steps that have led to them, how long these were, their places and
    types, whether they are points of their branches, and whether something may be seen to change its sign."""

    step: Step
    length: Array
    order: Index
    code: Index
    kept: Any
    sighted: Any


@dataclass
class Branches:
    """Branches on their way, `(branches,)` each.

    The next step, how they ended (-1: not yet), their points so far, their test functions at the last orbit,
    since how many points a `still` one has not moved, their beginnings, as numbers that tell an orbit, and
    how far they have been from them. `pools` by the size of the meshes; `waiting` orbits are to be measured;
    `ends` are the last orbits of those that have ended.
    """

    system: OrbitProblem
    units: Array
    pools: dict[int, Pool]
    step: Array
    cut: Index
    count: Index
    tests: Array
    still: Index
    first: Array
    farthest: Array
    ends: dict[int, Orbits] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    fronts: Fronts | None = None


class Rules(Protocol):
    """What to look for on branches, what ends them, and which numbers of their orbits to keep."""

    @property
    def codes(self) -> tuple[int, ...]:
        """Of each test function, what is there where it is 0."""

    @property
    def leaving(self) -> tuple[int, ...]:
        """The ends at which an orbit lies beyond a bound that is located."""

    @property
    def unmoved(self) -> int:
        """What is there where parameters stand still to rounding: in a canard, or near a homoclinic."""

    def tests(self, b: Branches, step: Step, row: dict[str, Any]) -> Array:
        """Return the test functions `(orbits, codes)`, `row` the numbers of the new orbits; further columns
        are for `changed`."""

    @property
    def columns(self) -> int:
        """How many columns `tests` have."""

    def changed(self, before: Array, after: Array) -> Any:
        """Tell from `tests` at both ends of steps which test functions have changed their sign on the way."""

    def ended(self, b: Branches, step: Step) -> tuple[Index, Any]:
        """Return what ends the branches at new orbits, -1: nothing, and whether these are no longer of the
        branch."""

    def goes_on(self, step: Step) -> Any:
        """Tell which orbits are such as there can be."""

    def moved(self, b: Branches, step: Step) -> Any:
        """Tell where the parameters have changed by more than rounding."""

    def measured(self, system: Any, orbits: Orbits, tangent: Orbits) -> dict[str, Any]:
        """Return the numbers of orbits, one row each; `tangent` are those of their branches."""

    def located(self, b: Branches, crossing: Crossing) -> dict[str, Any]:
        """Return rows of the points at which a test function is 0."""


def begun(system: OrbitProblem, orbits: Orbits, tangent: Orbits, units: Array, tests: int) -> Branches:
    """Return branches that begin at orbits, or at equilibria, in a direction of any length."""
    count = len(orbits.period)
    everyone, none = np.arange(count), np.zeros(count, dtype=np.intp)
    along = unit_length(system, tangent, orbits, units)
    return Branches(
        system,
        units,
        # Orbits are changed in place: nothing may share them.
        {orbits.stages.shape[1]: Pool(everyone, orbits.copy(), along.copy(), along.times(np.zeros(count)))},
        np.full(count, FIRST),
        none - 1,
        none.copy(),
        np.zeros((count, tests)),
        none.copy(),
        summary(system, orbits),
        np.zeros(count),
    )


def followed(b: Branches, rules: Rules) -> list[dict[str, Any]]:
    """Follow branches to their ends, told in `cut`; return rows of points and bifurcations."""
    _test_beginnings(b, rules)
    while b.pools:
        # All go on in step, whatever other branches there are: where two meet depends on it.
        pools, b.pools = b.pools, {}
        for intervals in sorted(pools):
            tell("following branches, cycles", int(b.count.sum()), None)
            pool = pools[intervals]
            # One that another branch has met is not followed further.
            going = b.cut[pool.who] < 0
            if going.any():
                _one_step(b, pool if going.all() else pool.chosen(going), rules)
        if sum(len(entry.order) for entry in b.waiting) >= _MANY:
            _measure(b, rules)
    _measure(b, rules)
    for number, crossing in enumerate(_together(b.crossings)):
        tell("locating bifurcations, kinds", number, None)
        b.rows.append(rules.located(b, crossing))
    return b.rows


def _test_beginnings(b: Branches, rules: Rules) -> None:
    """Note the test functions where branches begin, so that it is seen what changes its sign on a first step.

    A cycle that is but an equilibrium has no multipliers of its own.
    """
    for pool in b.pools.values() if rules.codes else ():
        some = pool.chosen(np.flatnonzero(np.ptp(pool.now.u, axis=1).max(axis=1) > 0.0))
        if len(some.who):
            way = some.now, some.tangent
            step = Step(b.system.chosen(some.who), *way, some.bend, *way, some.who)
            b.tests[some.who] = rules.tests(b, step, rules.measured(step.system, *way))


def _together(crossings: list[Crossing]) -> list[Crossing]:
    """Return the crossings of each kind on meshes of each size as one, in an order of their own: the first
    one of two at one place is told."""
    kinds: dict[tuple[int, int], list[Crossing]] = {}
    for crossing in crossings:
        kinds.setdefault((crossing.code, crossing.before.stages.shape[1]), []).append(crossing)
    return [
        Crossing(
            code,
            np.concatenate([c.number for c in several]),
            np.concatenate([c.order for c in several]),
            joined([c.before for c in several]),
            joined([c.tangent for c in several]),
            joined([c.bend for c in several]),
            np.concatenate([c.step for c in several]),
        )
        for (code, _), several in sorted(kinds.items())
    ]


def _measure(b: Branches, rules: Rules) -> None:
    """Measure the orbits that wait for it, those on meshes of one size together, and note what has changed
    its sign on the way to them."""
    sizes: dict[int, list[int]] = {}
    for place, entry in enumerate(b.waiting):
        sizes.setdefault(entry.step.new.stages.shape[1], []).append(place)
    own: dict[int, dict[str, Any]] = {}
    for places in sizes.values():
        entries = [b.waiting[place] for place in places]
        rows = _rows(b, entries, rules)
        ends = np.cumsum([len(entry.order) for entry in entries])
        for place, end in zip(places, ends.tolist(), strict=True):
            begin = end - len(b.waiting[place].order)
            own[place] = {name: values[begin:end] for name, values in rows.items()}
        kept = np.concatenate([entry.kept for entry in entries])
        b.rows.append({name: values[kept] for name, values in rows.items()})
    for place, entry in enumerate(b.waiting):
        _look(b, entry, rules, own[place])
    b.waiting.clear()


def _rows(b: Branches, entries: list[Waiting], rules: Rules) -> dict[str, Any]:
    """Return the numbers of orbits on meshes of one size."""
    who = np.concatenate([entry.step.who for entry in entries])
    order, code = (np.concatenate([getattr(entry, name) for entry in entries]) for name in ("order", "code"))
    orbits, tangent = (
        joined([entry.step.new for entry in entries]),
        joined([entry.step.after for entry in entries]),
    )
    parts = []
    for begin in range(0, len(who), _MANY):
        some = slice(begin, begin + _MANY)
        parts.append(rules.measured(b.system.chosen(who[some]), orbits.chosen(some), tangent.chosen(some)))
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return rows | {"number": who, "order": order + 0.0, "type": code}


def _look(b: Branches, entry: Waiting, rules: Rules, row: dict[str, Any]) -> None:
    """Note which test functions have changed their sign on steps."""
    who = entry.step.who
    tests = rules.tests(b, entry.step, row)
    changed = rules.changed(b.tests[who], tests)
    for k, code in enumerate(rules.codes):
        _note(b, entry, code, changed[:, k] & entry.sighted)
    if b.fronts is not None:
        b.fronts.look(who, b.tests[who, -1], tests[:, -1])
    b.tests[who] = tests


def _one_step(b: Branches, pool: Pool, rules: Rules) -> None:
    """Try one step of the branches of a pool."""
    who, intervals = pool.who, pool.intervals
    system = b.system.chosen(who)
    length = b.step[who].copy()
    found = stepped(system, pool.now, pool.tangent, length, b.units, bend=pool.bend)
    step = Step(system, pool.now, pool.tangent, pool.bend, found.orbits, found.direction, who)
    cosine = _cosine(step, b.units)
    good = found.good & (cosine > COSINE) & (found.orbits.period > 0.0) & rules.goes_on(step)
    coarse, fewer = needs(system, found.orbits, found.groups)
    coarse &= good & (intervals < FINEST)
    done = np.flatnonzero(good & ~coarse)
    b.step[who[~good]] *= 0.5
    b.cut[who[~good & (b.step[who] < SMALLEST)]] = BY_FAILURE
    if b.fronts is not None and b.fronts.pairs.size and len(done):
        done = _without_met(b, b.fronts, step, done, rules)
    if len(done):
        _accept(b, step.chosen(done), rules)
        angle = np.arccos(np.clip(cosine[done], -1.0, 1.0))
        after = step.after.chosen(done)
        turned = after.moved(-np.ones(len(done)), pool.tangent.chosen(done))
        pool.now.put(done, step.new.chosen(done))
        pool.bend.put(done, turned.times(1.0 / length[done]))
        pool.tangent.put(done, after)
        wanted = np.minimum(_ANGLE / (angle + 1e-9), np.sqrt(_NEWTON / (found.first[done] + 1e-9)))
        largest = _LARGEST_WITH_PAST if isinstance(system, WithMemory) else LARGEST
        b.step[who[done]] = np.minimum(b.step[who[done]] * np.clip(wanted, 0.5, 1.5), largest)
    _back(b, pool, done, coarse, fewer & (intervals > INTERVALS))


def _without_met(b: Branches, fronts: Fronts, step: Step, done: Index, rules: Rules) -> Index:
    """Return the steps that are to be taken, where other branches may have been met."""
    some = step.chosen(done)
    taken, length = fronts.met(some, b.step[some.who], b.count, b.units, lambda: _measure(b, rules))
    step.new.put(done, some.new)
    step.after.put(done, some.after)
    b.step[some.who] = length
    fronts.going = b.cut < 0
    b.cut[(fronts.partner >= 0) & fronts.going] = BY_HOPF
    return np.asarray(done[taken])


def _back(b: Branches, pool: Pool, done: Index, coarse: Any, fewer: Any) -> None:
    """Put those that go on into pools, on new meshes where it is time for one."""
    who, intervals = pool.who, pool.intervals
    going = b.cut[who] < 0
    turn = np.zeros(len(who), dtype=bool)
    turn[done] = (b.count[who[done]] % _EVERY == 0) & (b.step[who[done]] > 1e-4)
    turn &= going
    sizes = _finer(intervals), _coarser(intervals), intervals
    kinds = zip((coarse & going, turn & fewer, turn & ~fewer), sizes, strict=True)
    for which, size in kinds:
        if which.any():
            _into(b, _remeshed(b, pool, which, size))
    rest = going & ~coarse & ~turn
    if rest.any():
        _into(b, pool.chosen(rest))


def _finer(intervals: int) -> int:
    """Return the next size of a mesh: 64, 96, 128, 192, 256, ..."""
    return intervals * 3 // 2 if intervals & (intervals - 1) == 0 else intervals * 4 // 3


def _coarser(intervals: int) -> int:
    """Return the size of a mesh before."""
    return intervals * 3 // 4 if intervals & (intervals - 1) == 0 else intervals * 2 // 3


def _into(b: Branches, pool: Pool) -> None:
    other = b.pools.get(pool.intervals)
    if other is not None:
        both = ((getattr(other, name), getattr(pool, name)) for name in ("now", "tangent", "bend"))
        pool = Pool(np.concatenate((other.who, pool.who)), *(joined(pair) for pair in both))
    b.pools[pool.intervals] = pool


def _remeshed(b: Branches, pool: Pool, which: Any, intervals: int) -> Pool:
    """Return some orbits of a pool on new meshes, and their tangents."""
    some = pool.chosen(which)
    system = b.system.chosen(some.who)
    mesh = adapted(some.now, system.scales(some.now.u), intervals)
    orbits, along, bend = all_remeshed((some.now, some.tangent, some.bend), mesh)
    return Pool(some.who, orbits, unit_length(system, along, orbits, b.units), bend)


def _cosine(step: Step, units: Array) -> Array:
    """Return the cosine of the angle between the tangents; the later one has length 1."""
    scales, sizes = step.system.scales(step.new.u), units_of(step.new, units)
    length = inner(step.tangent, step.tangent, scales, sizes)
    found: Array = inner(step.after, step.tangent, scales, sizes) / np.sqrt(length)
    return found


def needs(system: OrbitProblem, orbits: Orbits, groups: Array) -> tuple[Any, Any]:
    """Tell which orbits need a finer mesh, for themselves or for what grows; and which need but a coarser."""
    scales = system.scales(orbits.u)
    ratio = scales[:, None] / (scales[..., None] + 1e-300)
    growth = (np.abs(groups) * ratio[:, None]).max(axis=(1, 2, 3))
    error = own_error(system, orbits)
    intervals = orbits.stages.shape[1]
    longer = intervals / _coarser(intervals)
    loose = FINE if isinstance(system, WithMemory) else LOOSE
    fewer = (error * longer**5 < _COARSER * loose) & (growth**longer < _COARSER * STEEP)
    return (error > loose) | ~(growth < STEEP), fewer


def _accept(b: Branches, step: Step, rules: Rules) -> None:
    """Record the points that were reached, and what ends there."""
    who = step.who
    moved = rules.moved(b, step)
    b.still[who] = np.where(moved, 0, b.still[who] + 1)
    ended, beyond = rules.ended(b, step)
    b.count[who] += 1
    b.cut[who] = ended
    leaves = np.isin(ended, rules.leaving)
    codes: Index = np.where(b.still[who] == 2, rules.unmoved, POINT)
    joins = np.zeros(len(who), dtype=bool) if b.fronts is None else b.fronts.partner[who] >= 0
    seen = moved & (~beyond | leaves | joins)
    entry = Waiting(step, b.step[who].copy(), b.count[who].copy(), codes, ~beyond, seen)
    _note(b, entry, EP, leaves)
    b.waiting.append(entry)
    if b.fronts is not None and b.fronts.pairs.size and not beyond.all():
        b.fronts.moved(step.chosen(~beyond))
    last = np.flatnonzero(~beyond & (ended >= 0))
    b.ends |= {int(who[k]): step.new.chosen([k]) for k in last.tolist()}


def _note(b: Branches, entry: Waiting, code: int, which: Any) -> None:
    if which.any():
        some = entry.step.chosen(which)
        way = some.before, some.tangent, some.bend
        b.crossings.append(Crossing(code, some.who, entry.order[which], *way, entry.length[which]))
