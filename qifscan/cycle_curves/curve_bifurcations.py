"""What is marked on curves of bifurcations of cycles, and what ends them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.cycle_curves.recorded import Record, recorded
from qifscan.limit_cycles.branch_bifurcations import mirrored, returned
from qifscan.limit_cycles.continuation import Branches
from qifscan.limit_cycles.located import search
from qifscan.limit_cycles.steps import (
    RESOLVED,
    Crossing,
    Met,
    Step,
    doubling,
    measured,
    others,
    stability,
    stepped,
    torus,
)
from qifscan.periodic_orbits import conditioning
from qifscan.periodic_orbits.collocation import linear_of
from qifscan.periodic_orbits.cycle_normal_forms import angle, coefficient
from qifscan.periodic_orbits.delayed_marginal import DelayedMarginal, on_finer_mesh
from qifscan.periodic_orbits.floquet import multipliers
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits, adapted, halves_apart, mesh_error, remeshed
from qifscan.periodic_orbits.problem import WithMemory
from qifscan.theory.codes import EP, OF_CURVES_OF_CYCLES, R1, R2, UNRESOLVED

CUTS = (
    "points",
    "within",
    "longest_period",
    "no_amplitude",
    "closed",
    "not_resolved",
    "standstill",
    "resonance_1_1",
    "resonance_1_2",
    "saddle_node",
    "period_doubling",
)
"""What ends a curve. Without amplitude a cycle is an equilibrium: a curve of folds ends in a generalised Hopf
point there, one of homoclinic orbits in a Bogdanov-Takens point. Beyond a resonance of a torus bifurcation
the pair of multipliers is real. Orbits homoclinic to a saddle end where that is about to meet a node. At a
period doubling a doubled cycle is another one run through twice: there a curve of folds of doubled cycles
ends in a generalised period doubling."""

BY_POINTS, BY_RANGE, BY_PERIOD, BY_HOPF, BY_RETURN, BY_FAILURE, BY_STANDSTILL = range(7)
BY_R1, BY_R2, BY_SADDLE, BY_DOUBLING = range(7, len(CUTS))

_TESTS = {
    "LPC": {"CPC": "cusp", "R1": "fold", "LPPD": "flip", "LPNS": "pair"},
    "PD": {"LPPD": "fold", "R2": "flip", "PDNS": "pair", "GPD": "form"},
    "NS": {"R3": "third", "R4": "quarter", "LPNS": "fold", "PDNS": "flip", "NSNS": "pair", "CH": "form"},
    "period": {},
    "homoclinic": {},
}
"""On curves of each kind the points that are looked for, and what is 0 there."""

_OF_ITSELF = ("CPC", "R3", "R4", "GPD", "CH")
"""Those that are told without the multipliers."""

_COSINES = {"third": -0.5, "quarter": 0.0}
"""Of the angle of the pair at resonances that a curve passes."""

_SURE, _LITTLE = 3e-7, 0.01
"""Error of the multipliers of a bifurcation above which a point is solved on a finer mesh, unless the mesh's
part in it is as little a share of that of rounding."""

_MORE = 10.0
"""How much more multipliers are off than they are on the mesh on which a bifurcation was solved, at most, but
for rounding: measured as the numbers of `conditioning` were."""

_FINEST = 1024
"""Intervals beyond which no mesh is made finer."""

_STEEP = 1e3
"""Growth of a direction on the way around above which a point is solved on a finer mesh once."""

_SAME = 1e-6
"""Distance of the cosine of a pair from 1 or -1 up to which it is that."""

FLAT, _TINY = 1e-3, 1e-2
"""Relative range of the variables below which a cycle is about to be an equilibrium, and below which errors
may turn a curve back: they grow as a power of it, and the parameters change with its square."""

_SMALL, _HALF = 0.2, 0.5
"""Relative range of the variables, and the share of it that a step with a past leaves at most, from which the
next step reaches an equilibrium. There the curve meets that of Hopf points, and its direction is lost: the
small steps with a past would come too near to that."""

ALIKE = 0.05
"""Distance of the laps of a doubled cycle, in ranges of its variables, below which they are about to be the
same. Nearer, the difference of their meshes bends a curve of folds away: by an error over the third power of
that distance."""


@dataclass(frozen=True)
class OnCurves:
    """Rules of curves in the plane of two parameters, each with its range; `longest` periods `(curves,)`.

    `plane`: which scalars of the orbits are the parameters, with their `sizes`; `units` are those of all
    scalars but the period.
    """

    kind: str
    ranges: tuple[tuple[float, float], tuple[float, float]]
    plane: tuple[int, int]
    sizes: Array
    units: Array
    most: int
    longest: Array
    leaving: tuple[int, ...] = (BY_RANGE, BY_R1, BY_R2)
    unmoved: int = UNRESOLVED
    record: Mapping[str, Record] = field(default_factory=dict)
    kept: list[Met] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The points that are looked for."""
        return tuple(_TESTS[self.kind])

    @property
    def codes(self) -> tuple[int, ...]:
        """Their codes."""
        return tuple(OF_CURVES_OF_CYCLES[name] for name in self.names)

    @property
    def columns(self) -> int:
        """How many test functions there are."""
        return len(self.names)

    def changed(self, before: Array, after: Array) -> Any:
        """Tell which test functions have changed their sign on steps."""
        return before * after < 0.0

    def tests(self, b: Branches, step: Step, row: dict[str, Any]) -> Array:
        """Return the test functions `(orbits, tests)`; that of a cusp changes its sign where it is passed.

        Through a generalised Hopf point a curve goes on as its own mirror image: both parameters turn back
        there, or already beside it, by errors. That is no cusp.
        """
        mu = row["multipliers"]
        found = np.empty((len(mu), len(self.names)))
        for k, name in enumerate(self.names):
            found[:, k] = self._test(name, step.system, mu, step.new, step.after, step.tangent)
            if name == "CPC":
                found[:, k] *= np.where(b.tests[step.who, k] < 0.0, -1.0, 1.0)
                found[self._without_amplitude(step, _TINY), k] = np.nan
        return found

    def _rest(self, mu: Any, forced: bool) -> Any:
        """Return the multipliers without that of the flow and those that make the bifurcation."""
        rest = mu if forced else others(mu)[0]
        if self.kind == "LPC":
            return _without(rest, np.abs(rest - 1.0))
        if self.kind == "PD":
            return _without(rest, np.abs(rest + 1.0))
        if self.kind == "NS":
            apart = np.abs(np.abs(rest) - 1.0) - 1e-3 * np.abs(rest.imag)
            return _without(_without(rest, apart), _sorted_again(rest, apart))
        return rest

    def _test(self, name: str, system: Any, mu: Any, new: Orbits, after: Orbits, before: Orbits) -> Array:
        """Return one test function: at a cusp both parameters turn back along the curve."""
        what = _TESTS[self.kind][name]
        if what == "cusp":
            found: Array = (self._placed(after) * self._placed(before)).sum(axis=1)
            return found
        if what == "form":
            return coefficient(system, new)
        if what in _COSINES:
            return new.scalars[:, -1] - _COSINES[what]
        forced = _problem(system).drive is not None
        if isinstance(system, DelayedMarginal) and what != "pair":
            value = 1.0 if what == "fold" else -1.0
            known = {"LPC": 1.0, "PD": -1.0}.get(self.kind) == value
            mu = _without_pair(mu, new.scalars[:, -1]) if self.kind == "NS" else mu
            return _another(mu, value, int(known) + int(value == 1.0 and not forced))
        rest = self._rest(mu, forced)
        if what == "fold":
            return np.asarray(np.prod(1.0 - rest, axis=1).real)
        return doubling(rest) if what == "flip" else torus(rest)

    def goes_on(self, step: Step) -> Any:
        """Tell where the rate is positive."""
        return (step.new.u[..., 0] > 0.0).all(axis=1)

    def moved(self, b: Branches, step: Step) -> Any:
        """Tell where a parameter has changed by more than rounding."""
        return np.abs(self._placed(step.new) - self._placed(step.before)).max(axis=1) >= 1e-12

    def _placed(self, orbits: Orbits) -> Array:
        """Return both parameters, in their sizes `(orbits, 2)`."""
        return orbits.scalars[:, list(self.plane)] / self.sizes

    def ended(self, b: Branches, step: Step) -> tuple[Index, Any]:
        """Return what ends the curves at the new cycles, and which of these lie beyond."""
        new, who = step.new, step.who
        found = np.full(len(who), -1)
        found[b.count[who] + 1 >= self.most] = BY_POINTS
        found[returned(b, step)] = BY_RETURN
        if _problem(step.system).drive is None:
            # Beyond a Hopf point laps are apart the other way as well.
            size = len(_problem(step.system).model.variables)
            found[_alike(step, size) & (b.count[who] > 1)] = BY_DOUBLING
            found[self._without_amplitude(step) & (b.count[who] > 1)] = BY_HOPF
        found[b.still[who] >= 25] = BY_STANDSTILL
        found[new.period > self.longest[who]] = BY_PERIOD
        if self.kind == "NS":
            cosine = new.scalars[:, -1]
            found[cosine >= 1.0], found[cosine <= -1.0] = BY_R1, BY_R2
        found[self._outside(new)] = BY_RANGE
        return found, np.isin(found, (BY_RANGE, BY_HOPF, BY_R1, BY_R2))

    def _without_amplitude(self, step: Step, least: float = FLAT) -> Any:
        """Tell which cycles, without a drive, have a relative range below `least`, so are about to be an
        equilibrium, or lie beyond one."""
        problem, new = _problem(step.system), step.new
        if problem.drive is not None:
            return np.zeros(len(step.who), dtype=bool)
        size = len(problem.model.variables)
        swing = np.ptp(new.u[..., :size], axis=1) / step.system.scales(new.u)[:, :size]
        flat: Any = swing.max(axis=1) < least
        if isinstance(step.system, WithMemory):
            flat |= _vanishing(step, swing.max(axis=1))
        return flat | mirrored(step, size)

    def _outside(self, orbits: Orbits) -> Any:
        found = np.zeros(len(orbits.scalars), dtype=bool)
        for k, (low, high) in zip(self.plane, self.ranges, strict=True):
            found |= (orbits.scalars[:, k] < low) | (orbits.scalars[:, k] > high)
        return found

    def measured(self, system: Any, orbits: Orbits, tangent: Orbits) -> dict[str, Any]:
        """Return the numbers of the cycles, on finer meshes where their multipliers are off."""
        row = self._measured(system, orbits)
        left = np.arange(len(row["period"]))
        first = orbits.stages.shape[1]
        while True:
            off = np.flatnonzero(self._is_coarse(row, orbits.stages.shape[1] == first)[left])
            if not len(off) or 2 * orbits.stages.shape[1] > max(_FINEST, 2 * first):
                break
            left, system = left[off], system.chosen(off)
            orbits, tangent = _finer(system, orbits.chosen(off), tangent.chosen(off))
            found = stepped(system, orbits, tangent, np.zeros(len(off)), self.units)
            orbits.put(found.good, found.orbits.chosen(found.good))
            better = self._measured(system, orbits)
            for name, values in row.items():
                values[left[found.good]] = better[name][found.good]
        return row

    def _is_coarse(self, row: Mapping[str, Any], first: bool) -> Any:
        """Tell whose multipliers a finer mesh may make better."""
        steep = first & (row["growth"] > _STEEP)
        if self.kind in ("period", "homoclinic"):
            return steep
        mesh, rounding = row["by_mesh"], row["by_rounding"]
        helps = (mesh > _LITTLE * rounding) | ~(row["off"] < mesh + rounding)
        return steep | (~(row["quality"] < _SURE) & helps)

    def _off(self, row: Mapping[str, Any], forced: bool) -> Array:
        """Return how far the multipliers are from those of the bifurcation: of a pair their mean and their
        product, at a fold that of both distances."""
        mu = row["multipliers"]
        if self.kind == "PD" or (self.kind == "LPC" and forced):
            return np.asarray(np.abs(mu - (1.0 if self.kind == "LPC" else -1.0)).min(axis=1))
        # Where two multipliers are about to be the same each is off by the square root of an error.
        cosine = np.cos(row["angle"]) if self.kind == "NS" else np.ones(len(mu))
        sine = np.sqrt(1.0 - cosine**2)
        distance = np.abs(mu - (cosine[:, None] + 1j * np.where(mu.imag < 0.0, -1.0, 1.0) * sine[:, None]))
        pair = np.take_along_axis(mu, np.argsort(distance, axis=1)[:, :2], axis=1)
        middle = pair.mean(axis=1) - cosine
        product = pair.prod(axis=1) - 1.0 if self.kind == "NS" else (pair - 1.0).prod(axis=1)
        return np.asarray(np.maximum(np.abs(middle), np.abs(product)))

    def _measured(self, system: Any, orbits: Orbits) -> dict[str, Any]:
        """Return the numbers of the cycles, and how well their direction is one."""
        cycles = system.cycles(orbits) if isinstance(system, Marginal) else orbits
        row = measured(_problem(system), cycles)
        linear = linear_of(system, orbits)
        extra = angle(orbits) if self.kind == "NS" else np.full(len(orbits.period), np.nan)
        size = cycles.u.shape[2]
        error = mesh_error(orbits, system.scales(orbits.u))
        groups = linear.groups[..., :size, :size]
        own = recorded(_problem(system), cycles, self.record)
        row |= {f"record {name}": values for name, values in own.items()}
        row |= {
            "second": orbits.scalars[:, self.plane[1]],
            "angle": extra,
            "residual": linear.residual,
            "mesh_error": error,
            "coefficient": coefficient(system, orbits),
            "growth": _growth(groups),
        }
        if not isinstance(system, Marginal):
            return row
        off, by_mesh, by_rounding = self._errors(system, orbits, row, groups, error)
        mesh = np.maximum(by_mesh, _MORE * np.nan_to_num(off, nan=np.inf))
        quality = np.maximum(row["quality"], mesh + by_rounding)
        return row | {"off": off, "by_mesh": by_mesh, "by_rounding": by_rounding, "quality": quality}

    def _errors(
        self, system: Marginal, orbits: Orbits, row: Mapping[str, Any], groups: Array, error: Array
    ) -> tuple[Array, Array, Array]:
        """Return how far multipliers are from those of the bifurcation, with a delay on a finer mesh, and by
        how much they may be off by the mesh and by rounding, which are not told apart with a delay."""
        forced = system.problem.drive is not None
        off = self._off(row, forced)
        if not isinstance(system, DelayedMarginal):
            return off, *conditioning.errors(system, orbits, groups, error)
        finer = {"multipliers": on_finer_mesh(system, orbits), "angle": row["angle"]}
        return np.maximum(off, self._off(finer, forced)), 0.0 * off, 0.0 * off

    def located(self, b: Branches, crossing: Crossing) -> dict[str, Any]:
        """Return rows of the points at which test functions are 0."""
        system: Any = b.system.chosen(crossing.number)
        name = next((name for name, code in OF_CURVES_OF_CYCLES.items() if code == crossing.code), "")
        low = np.array([r[0] for r in self.ranges])
        high = np.array([r[1] for r in self.ranges])

        def test(which: Index, part: Any, orbits: Orbits, tangent: Orbits) -> Array:
            if crossing.code == EP:
                both = self._placed(orbits)
                apart: Array = np.maximum(low / self.sizes - both, both - high / self.sizes).max(axis=1)
                if self.kind == "NS":
                    apart = np.maximum(apart, np.abs(orbits.scalars[:, -1]) - 1.0)
                return apart
            mu = self._multipliers(part, orbits) if name not in _OF_ITSELF else None
            return self._test(name, part, mu, orbits, tangent, looked.tangent.chosen(which))

        looked = search(system, crossing, test, self.units, 1)
        step, orbits, good, denied = looked.root(crossing.step, looked.ends(crossing.step))
        row = self._measured(system, orbits)
        keep = ~denied & (good | (crossing.code != EP))
        order = crossing.order - 1.0 + np.clip(step / crossing.step, 0.0, 1.0)
        told = np.ones(len(good), dtype=bool)
        if crossing.code != EP and name not in _OF_ITSELF:
            # At a resonance two multipliers are the same, and each is off by the square root of rounding.
            twice = np.sqrt(np.finfo(float).eps * row["growth"])
            told = (twice if crossing.code in (R1, R2) else row["quality"]) < RESOLVED
        code = np.where(good & told, crossing.code, UNRESOLVED)
        if name == "LPNS" or name in ("PDNS", "NSNS"):
            keep &= (np.abs(row["multipliers"].imag) > 1e-6).any(axis=1)
        if self.kind == "NS" and crossing.code == EP:
            cosine = orbits.scalars[:, -1]
            code = np.select([cosine > 1.0 - _SAME, cosine < _SAME - 1.0], [R1, R2], code)
            # There the pair has one direction alone, and another normal form.
            row["coefficient"][code != EP] = np.nan
        row |= {"number": crossing.number, "order": order, "type": code}
        self._keep(crossing, system, orbits, looked.tangent, code, keep)
        return {key: values[keep] for key, values in row.items()}

    def _keep(
        self, crossing: Crossing, system: Any, orbits: Orbits, tangent: Orbits, code: Index, there: Any
    ) -> None:
        """Note resonances, at which other curves begin."""
        for kind in (R1, R2):
            which = np.flatnonzero(there & (code == kind))
            if len(which):
                chosen = orbits.chosen(which), tangent.chosen(which)
                self.kept.append(Met(kind, crossing.number[which], system.chosen(which), *chosen))

    def _multipliers(self, system: Any, orbits: Orbits) -> Any:
        cycles = system.cycles(orbits) if isinstance(system, Marginal) else orbits
        problem = _problem(system)
        linear = linear_of(problem, cycles)
        if problem.model.delay:
            return stability(problem, cycles, linear).mu
        return multipliers(linear.states).mu


def _another(mu: Any, value: float, known: int) -> Array:
    """Return what is 0 where another multiplier is 1 or -1, besides so many that are known to be.

    Where they meet each is off by the square root of an error; their mean is not.
    """
    apart = 1.0 - value * mu
    apart = np.take_along_axis(apart, np.argsort(np.abs(apart), axis=1), axis=1)
    found: Array = (apart[:, : known + 1].sum(axis=1) * apart[:, known + 1 :].prod(axis=1)).real
    return found


def _growth(groups: Array) -> Array:
    """Return how much a direction grows at most on the way around."""
    product = groups[:, 0]
    found = np.abs(product).max(axis=(1, 2))
    for k in range(1, groups.shape[1]):
        product = groups[:, k] @ product
        found = np.maximum(found, np.abs(product).max(axis=(1, 2)))
    return np.asarray(found)


def _finer(system: Any, orbits: Orbits, tangent: Orbits) -> tuple[Orbits, Orbits]:
    """Return orbits and directions on meshes twice as fine."""
    mesh = adapted(orbits, system.scales(orbits.u), 2 * orbits.stages.shape[1])
    return remeshed(orbits, mesh), remeshed(tangent, mesh)


def _vanishing(step: Step, swing: Array) -> Any:
    """Tell which cycles, of some relative range, have lost so much of it that the next step has none."""
    before = np.ptp(step.before.u, axis=1) / step.system.scales(step.before.u)
    size = len(_problem(step.system).model.variables)
    return (swing < _SMALL) & (swing < _HALF * before[:, :size].max(axis=1))


def _alike(step: Step, size: int) -> Any:
    """Tell which doubled cycles are about to be one run through twice."""
    now, before = (
        (np.abs(halves_apart(orbits)).max(axis=1) / np.ptp(orbits.u, axis=1))[:, :size].max(axis=1)
        for orbits in (step.new, step.before)
    )
    return (now < ALIKE) & (now < before)


def _problem(system: Any) -> Any:
    return system.problem if isinstance(system, Marginal) else system


def _without(rest: Any, distance: Array) -> Any:
    """Return numbers without the one of each row whose distance is the least."""
    own = np.where(np.isnan(distance), np.inf, distance).argmin(axis=1)
    return rest[np.arange(rest.shape[1]) != own[:, None]].reshape(len(rest), rest.shape[1] - 1)


def _without_pair(mu: Any, cosine: Array) -> Any:
    """Return multipliers without the two whose mean is this and whose product is 1."""
    root = np.sqrt(cosine.astype(complex) ** 2 - 1.0)
    for one in (cosine + root, cosine - root):
        mu = _without(mu, np.abs(mu - one[:, None]))
    return mu


def _sorted_again(rest: Any, distance: Array) -> Array:
    """Return the distances without the least of each row."""
    found: Array = _without(distance, distance)
    return found
