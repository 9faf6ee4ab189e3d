"""Branches of periodic orbits in one parameter, many at once, with their bifurcations.

Pseudo-arclength continuation: the next orbit is sought a step along the tangent, at a right angle to it. A
step is taken back and halved where Newton's method fails or the tangent turns by more than `COSINE` allows,
as it does in canard explosions. What changes its sign between two orbits is located afterwards, for all
branches together, on a mesh twice as fine; what that mesh does not confirm is called unresolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.collocation import (
    Linear,
    Orbits,
    Problem,
    adapted,
    inner,
    linearised,
    mesh_error,
    remeshed,
)
from qifscan.limit_cycles.floquet import Floquet, multipliers
from qifscan.limit_cycles.located import located
from qifscan.limit_cycles.steps import (
    ACCURATE,
    BY_FAILURE,
    BY_HOPF,
    BY_PERIOD,
    BY_POINTS,
    BY_RANGE,
    BY_RETURN,
    BY_STANDSTILL,
    EP,
    FINE,
    LPC,
    PD,
    POINT,
    TR,
    UNRESOLVED,
    Branches,
    Crossing,
    Extent,
    doubling,
    measured,
    others,
    quality,
    renewed,
    stepped,
    tangents,
    torus,
)
from qifscan.phases import tell

FIRST, LARGEST, SMALLEST = 0.02, 0.2, 1e-7
"""Steps, in sizes of the states: at the start, at most, and the one below which a branch is given up."""

COSINE = 0.95
"""Cosine of the angle between two tangents below which a step is taken back."""

FINEST = 512
"""Most intervals of an orbit while a branch is followed."""

STILL, PATIENCE = 1e-12, 25
"""Change of the parameter in a step, in its unit, that is rounding; and how many such steps end a branch."""

_TOO_COARSE = 100
_QUICK = 4
_EVERY = 3


# On the way


def followed(branches: Branches, limits: Extent) -> list[dict[str, Any]]:
    """Follow branches to their ends, told in `branches.cut`; return rows of points and bifurcations."""
    rows: list[dict[str, Any]] = []
    who, group = np.arange(len(branches.cut)), branches
    while True:
        while (group.cut < 0).any():
            tell("following branches,", int(group.count.sum()), None)
            _one_step(group, np.flatnonzero(group.cut < 0), limits)
        rows += group.rows + [row for c in group.crossings for row in located(group, c, limits)]
        branches.cut[who] = group.cut
        coarse = group.cut == _TOO_COARSE
        if not coarse.any():
            return rows
        who, group = who[coarse], _finer(group, coarse, limits.unit)


def _finer(b: Branches, which: Any, unit: float) -> Branches:
    """Return some of the branches on meshes twice as fine, to go on with."""
    problem, now = b.problem.chosen(which), b.now.chosen(which)
    mesh = adapted(now, problem.scales(now.u), 2 * now.stages.shape[1])
    return Branches(
        problem,
        remeshed(now, mesh),
        renewed(problem, remeshed(now, mesh), remeshed(b.tangent.chosen(which), mesh), unit).copy(),
        b.step[which],
        b.longest[which],
        np.full(int(which.sum()), -1),
        b.count[which],
        b.number[which],
        b.tests[which],
        b.still[which],
        b.first[which],
        b.ends,
    )


def _one_step(b: Branches, left: Index, limits: Extent) -> None:
    """Try one step of the branches that are left."""
    problem, now, tangent = b.problem.chosen(left), b.now.chosen(left), b.tangent.chosen(left)
    new, good, taken = stepped(problem, now, tangent, b.step[left], limits.unit)
    linear = linearised(problem, new)
    after = tangents(problem, new, linear, tangent, limits.unit)
    step = _Step(problem, now, tangent, new, after, linear, multipliers(linear.states), left)
    cosine = step.cosine(limits.unit)
    good = good & (cosine > COSINE) & (new.u[..., 0] > 0.0).all(axis=1) & (new.period > 0.0)
    coarse = good & (new.stages.shape[1] < FINEST) & is_coarse(problem, new, linear, step.floquet.mu)
    b.cut[left[coarse]] = _TOO_COARSE
    b.step[left[~good]] *= 0.5
    b.cut[left[~good & (b.step[left] < SMALLEST)]] = BY_FAILURE
    done = good & ~coarse
    if done.any():
        _accept(b, step.chosen(done), limits)
    quick = done & (taken <= _QUICK) & (cosine > 1.0 - 0.4 * (1.0 - COSINE))
    b.step[left[quick]] = np.minimum(1.4 * b.step[left[quick]], LARGEST)


@dataclass(frozen=True)
class _Step:
    """A step: from which orbit along which tangent, to which with what there, and whose it is."""

    problem: Problem
    before: Orbits
    tangent: Orbits
    new: Orbits
    after: Orbits
    linear: Linear
    floquet: Floquet
    who: Index

    def chosen(self, which: Any) -> _Step:
        """Return some of the steps."""
        return _Step(
            self.problem.chosen(which),
            self.before.chosen(which),
            self.tangent.chosen(which),
            self.new.chosen(which),
            self.after.chosen(which),
            self.linear.chosen(which),
            self.floquet.chosen(which),
            self.who[which],
        )

    def cosine(self, unit: float) -> Array:
        """Return the cosine of the angle between the tangents; the later one has length 1."""
        scales, period = self.problem.scales(self.new.u), self.new.period
        units = np.full(len(period), unit)
        length = inner(self.tangent, self.tangent, scales, period, units)
        found: Array = inner(self.after, self.tangent, scales, period, units) / np.sqrt(length)
        return found


def is_coarse(problem: Problem, orbits: Orbits, linear: Linear, mu: Any) -> Any:
    """Tell which orbits need a finer mesh."""
    error = mesh_error(orbits, problem.scales(orbits.u))
    return (quality(problem, orbits, linear, mu) > ACCURATE) | (error > FINE)


def _accept(b: Branches, step: _Step, limits: Extent) -> None:
    """Record the points that were reached, what was crossed, and what ends there."""
    who = step.who
    rest, _ = others(step.floquet.mu)
    tests = np.stack((step.after.value, doubling(rest), torus(rest)), axis=1)
    still = np.abs(step.new.value - step.before.value) < STILL * limits.unit
    b.still[who] = np.where(still, b.still[who] + 1, 0)
    ended = _ended(b, step, limits)
    inside = (ended != BY_RANGE) & (ended != BY_HOPF)
    b.count[who] += 1
    for code, k in ((LPC, 0), (PD, 1), (TR, 2)):
        _note(b, step, code, (ended != BY_HOPF) & ~still & (tests[:, k] * b.tests[who, k] < 0.0))
    _note(b, step, EP, ended == BY_RANGE)
    kept = step.chosen(inside)
    row = measured(kept.problem, kept.new, kept.linear, kept.floquet)
    # Where the parameter stands still to rounding, in a canard or near a homoclinic, signs mean nothing.
    codes = np.where(b.still[kept.who] == 2, UNRESOLVED, POINT)
    b.rows.append(row | _place(b.number[kept.who], b.count[kept.who], codes))
    b.tests[who] = tests
    b.cut[who] = np.where((ended < 0) & (b.count[who] >= limits.most), BY_POINTS, ended)
    b.now.put(kept.who, kept.new)
    b.tangent.put(kept.who, kept.after)
    b.ends |= {int(b.number[k]): b.now.u[k].copy() for k in kept.who[b.cut[kept.who] >= 0]}
    turn = kept.who[(b.cut[kept.who] < 0) & (b.count[kept.who] % _EVERY == 0) & (b.step[kept.who] > 1e-4)]
    if len(turn):
        _remesh(b, turn, limits.unit)


def _place(number: Index, order: Any, code: Index) -> dict[str, Any]:
    return {"number": number, "order": order + 0.0, "type": code}


def _note(b: Branches, step: _Step, code: int, which: Any) -> None:
    if which.any():
        who = step.who[which]
        b.crossings.append(
            Crossing(
                code,
                who,
                b.count[who],
                step.before.chosen(which),
                step.tangent.chosen(which),
                b.step[who].copy(),
            )
        )


def _ended(b: Branches, step: _Step, limits: Extent) -> Index:
    """Return what ends the branches at the new orbits, -1 where nothing does."""
    new, before, who = step.new, step.before, step.who
    found = np.full(len(who), -1)
    summary = _summary(new)
    scale = np.concatenate(
        (step.problem.scales(new.u), new.period[:, None], np.full((len(who), 1), limits.unit)), axis=1
    )
    back = np.sqrt((((summary - b.first[who]) / scale) ** 2).sum(axis=1)) < 0.5 * b.step[who]
    found[back & (b.count[who] > 10)] = BY_RETURN
    # Beyond a Hopf point the branch goes on as its own mirror image, half a period later.
    swing, past = new.u - new.u.mean(axis=1, keepdims=True), before.u - before.u.mean(axis=1, keepdims=True)
    mirrored = np.einsum("bin,bin,bn->b", swing, past, 1.0 / step.problem.scales(new.u) ** 2) < 0.0
    found[mirrored & (b.count[who] > 1)] = BY_HOPF
    found[b.still[who] >= PATIENCE] = BY_STANDSTILL
    found[new.period > b.longest[who]] = BY_PERIOD
    found[(new.value < limits.low) | (new.value > limits.high)] = BY_RANGE
    return found


def begun(
    problem: Problem, orbits: Orbits, tangent: Orbits, longest: Array, number: Index, unit: float
) -> Branches:
    """Return branches that begin at orbits, or at equilibria, in a direction of any length."""
    count = len(longest)
    scales = problem.scales(orbits.u)
    size = np.sqrt(inner(tangent, tangent, scales, orbits.period, np.full(count, unit)))
    zero = Orbits(orbits.s, *(np.zeros_like(a) for a in (orbits.u, orbits.stages, size, size)))
    return Branches(
        problem,
        orbits.copy(),
        # Meshes are changed in place: nothing may share them.
        zero.moved(1.0 / size, tangent).copy(),
        np.full(count, FIRST),
        longest,
        np.full(count, -1),
        np.zeros(count, dtype=np.intp),
        number,
        np.zeros((count, 3)),
        np.zeros(count, dtype=np.intp),
        _summary(orbits),
        {},
    )


def _summary(orbits: Orbits) -> Array:
    """Return numbers that don't depend on where an orbit begins: highest states, period, parameter."""
    return np.concatenate((orbits.u.max(axis=1), orbits.period[:, None], orbits.value[:, None]), axis=1)


def _remesh(b: Branches, who: Index, unit: float) -> None:
    now = b.now.chosen(who)
    problem = b.problem.chosen(who)
    mesh = adapted(now, problem.scales(now.u), now.stages.shape[1])
    b.now.put(who, remeshed(now, mesh))
    b.tangent.put(who, renewed(problem, remeshed(now, mesh), remeshed(b.tangent.chosen(who), mesh), unit))
