"""Branches of periodic orbits in one parameter, many at once, with their bifurcations.

Pseudo-arclength continuation: the next orbit is sought a step along the tangent, at a right angle to it. A
step is taken back and halved where Newton's method fails or the tangent turns by more than `COSINE` allows,
as it does in canard explosions. What changes its sign between two orbits is located afterwards, for all
branches together, on a mesh twice as fine; what that mesh does not confirm is called unresolved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.collocation import (
    Border,
    Linear,
    Orbits,
    Problem,
    adapted,
    corrected,
    extremes,
    inner,
    linearised,
    means,
    mesh_error,
    phase_row,
    remeshed,
    solve,
)
from qifscan.floquet import Floquet, multipliers, resolved

POINT, HB, LPC, PD, TR, EP, UNRESOLVED = 0, 3, 5, 7, 8, 9, 31
"""AUTO's codes: ordinary, Hopf point, fold of cycles, period doubling, torus, end; and one of our own."""

CUTS = ("points", "within", "longest_period", "hopf_point", "closed", "unresolved", "standstill")
BY_POINTS, BY_RANGE, BY_PERIOD, BY_HOPF, BY_RETURN, BY_FAILURE, BY_STANDSTILL = range(len(CUTS))

FIRST, LARGEST, SMALLEST = 0.02, 0.2, 1e-7
"""Steps, in sizes of the states: at the start, at most, and the one below which a branch is given up."""

COSINE = 0.95
"""Cosine of the angle between two tangents below which a step is taken back."""

ACCURATE, RESOLVED = 1e-6, 1e-3
"""Error of the flow's own multiplier above which the mesh is made finer, and stability is not told."""

FINE = 1e-6
"""Estimated error of an orbit, relative to the sizes of its variables, above which the mesh is made finer."""

FINEST = 512
"""Most intervals of an orbit while a branch is followed."""

STILL, PATIENCE = 1e-12, 25
"""Change of the parameter in a step, in its unit, that is rounding; and how many such steps end a branch."""

_TOO_COARSE = 100
_QUICK = 4
_LOCATED = 1e-9
_MOST_TRIALS = 40
_EVERY = 3


@dataclass(frozen=True)
class Limits:
    """What ends a branch: the range of the parameter, the number of its points, the longest period
    `(branches,)`.

    `unit` is the size of the parameter, in which its changes are measured.
    """

    low: float
    high: float
    most: int
    unit: float


@dataclass
class Branches:
    """Branches on their way: the last orbit, its tangent, the next step, and how they ended (-1: not yet).

    `longest` period of each; `number` of the branch; `tests` functions at the last orbit; `still`, for how
    many steps the parameter has not changed; `first`, what tells the orbit it began with; `ends`, the last
    orbits of those that have ended, by number.
    """

    problem: Problem
    now: Orbits
    tangent: Orbits
    step: Array
    longest: Array
    cut: Index
    count: Index
    number: Index
    tests: Array
    still: Index
    first: Array
    ends: dict[int, Array]
    rows: list[dict[str, Any]] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)


@dataclass(frozen=True)
class Crossing:
    """Test functions that change their sign on a step: from which orbits, along which tangents, how far."""

    code: int
    number: Index
    order: Index
    before: Orbits
    tangent: Orbits
    step: Array


def drift(problem: Problem, orbits: Orbits, linear: Linear) -> Array:
    """Return by how much the monodromy matrix fails to map the flow's direction onto itself, relative."""
    f = problem.slopes(orbits.s[:, :1], orbits.u[:, :1], orbits.value)[:, 0]
    size = f.shape[1]
    image = -solve(
        linear.ends[..., size : 2 * size], np.einsum("bij,bj->bi", linear.ends[..., :size], f)[..., None]
    )
    scales = problem.scales(orbits.u)
    apart = np.linalg.norm((image[..., 0] - f) / scales, axis=1)
    found: Array = apart / np.linalg.norm(f / scales, axis=1)
    return np.where(np.isfinite(found), found, np.inf)


def quality(problem: Problem, orbits: Orbits, linear: Linear, mu: Any) -> Array:
    """Return the error of the flow's own multiplier, 1.

    The smaller one of two measures: at a fold of cycles a second multiplier is 1, and both are off by the
    square root of an error; beside a very large multiplier the drift is that many times an error.
    """
    return np.minimum(drift(problem, orbits, linear), others(mu)[1])


def others(mu: Any) -> tuple[Any, Array]:
    """Return the multipliers without the one nearest to 1, and how far from 1 that is."""
    distance = np.abs(mu - 1.0)
    own = np.nanargmin(np.where(np.isnan(distance), np.inf, distance), axis=1)
    rest = mu[np.arange(mu.shape[1]) != own[:, None]].reshape(len(mu), mu.shape[1] - 1)
    return rest, distance[np.arange(len(mu)), own]


def doubling(rest: Any) -> Array:
    """Return the product of 1 + mu over the other multipliers, 0 at a period doubling."""
    found: Array = np.prod(1.0 + rest, axis=1).real
    return found


def torus(rest: Any) -> Array:
    """Return the product of 1 - mu_i mu_j over pairs of the other multipliers, 0 at a torus bifurcation."""
    found = np.ones(len(rest), dtype=complex)
    for i in range(rest.shape[1]):
        for j in range(i):
            found = found * (1.0 - rest[:, i] * rest[:, j])
    return found.real


def measured(
    problem: Problem, orbits: Orbits, linear: Linear, floquet: Floquet | None = None
) -> dict[str, Any]:
    """Return the numbers of orbits, one row each."""
    low, high = extremes(orbits)
    found = resolved(problem, orbits, floquet or multipliers(linear.states))
    mu = found.mu
    rest, error = others(mu)
    return {
        "value": orbits.value,
        "period": orbits.period,
        "low": low,
        "high": high,
        "mean": means(orbits),
        "first": orbits.u[:, 0],
        "multipliers": mu,
        "exponents": found.log / orbits.period[:, None],
        "trivial_error": error,
        "quality": quality(problem, orbits, linear, mu),
        "residual": linear.residual,
        "mesh_error": mesh_error(orbits, problem.scales(orbits.u)),
        "intervals": np.full(len(mu), orbits.stages.shape[1]),
        "unstable": (np.abs(rest) > 1.0).sum(axis=1),
        "type": np.full(len(mu), POINT),
    }


def tangents(problem: Problem, orbits: Orbits, linear: Linear, before: Orbits, unit: float) -> Orbits:
    """Return the tangents of the branches at orbits, in the direction of those before."""
    scales = problem.scales(orbits.u)
    border = _border(problem, orbits, before, scales, unit)
    found = linear.solved(Border(*border, np.tile([0.0, 1.0], (len(scales), 1))), orbits, homogeneous=True)
    size = np.sqrt(inner(found, found, scales, orbits.period, np.full(len(scales), unit)))
    zero = Orbits(orbits.s, *(np.zeros_like(a) for a in (found.u, found.stages, size, size)))
    return zero.moved(1.0 / size, found)


def _border(
    problem: Problem, guess: Orbits, tangent: Orbits, scales: Array, unit: float
) -> tuple[Array, Array]:
    """Return the rows of the phase condition and of the arclength."""
    across = tangent.weights[..., None] * tangent.u / scales[:, None] ** 2
    states = np.stack((phase_row(problem, guess, scales), across), axis=1)
    scalars = np.zeros((len(scales), 2, 2))
    scalars[:, 1, 0] = tangent.period / guess.period**2
    scalars[:, 1, 1] = tangent.value / unit**2
    return states, scalars


def stepped(
    problem: Problem, now: Orbits, tangent: Orbits, step: Array, unit: float
) -> tuple[Orbits, Any, Index]:
    """Return the orbits a step further, whether Newton's method converged, and in how many of its steps."""
    guess = now.moved(step, tangent)
    scales = problem.scales(guess.u)
    states, scalars = _border(problem, guess, tangent, scales, unit)

    def border(which: Any, here: Orbits) -> Border:
        away = here.u - guess.u[which]
        right = -np.einsum("brin,bin->br", states[which], away)
        numbers = np.stack((here.period - guess.period[which], here.value - guess.value[which]), axis=1)
        right -= np.einsum("brk,bk->br", scalars[which], numbers)
        return Border(states[which], scalars[which], right)

    return corrected(problem, guess, border)


def at_value(problem: Problem, guess: Orbits) -> tuple[Orbits, Any, Index]:
    """Return the orbits near a guess at its parameters, whether Newton's method converged, and its steps."""
    scales = problem.scales(guess.u)
    row = phase_row(problem, guess, scales)

    def border(which: Any, here: Orbits) -> Border:
        found = Border.fixed(here)
        found.states[:, 0] = row[which]
        found.scalars[:, 0] = 0.0
        found.right[:, 0] = -np.einsum("bin,bin->b", row[which], here.u - guess.u[which])
        return found

    return corrected(problem, guess, border)


# On the way


def followed(branches: Branches, limits: Limits) -> list[dict[str, Any]]:
    """Follow branches to their ends, told in `branches.cut`; return rows of points and bifurcations."""
    rows: list[dict[str, Any]] = []
    who, group = np.arange(len(branches.cut)), branches
    while True:
        while (group.cut < 0).any():
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


def _one_step(b: Branches, left: Index, limits: Limits) -> None:
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


def _accept(b: Branches, step: _Step, limits: Limits) -> None:
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


def _ended(b: Branches, step: _Step, limits: Limits) -> Index:
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


def renewed(problem: Problem, orbits: Orbits, tangent: Orbits, unit: float) -> Orbits:
    """Return tangents anew after a change of the mesh, which moves the mean that fixes the phase."""
    return tangents(problem, orbits, linearised(problem, orbits), tangent, unit)


# Afterwards


def located(b: Branches, crossing: Crossing, limits: Limits) -> list[dict[str, Any]]:
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
        # A fold that is no further from its neighbours than rounding is none that was seen.
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
    limits: Limits

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
