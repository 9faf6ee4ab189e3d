"""Curves that begin where others have a resonance: a pair of multipliers meets at 1 (R1) or at -1 (R2).

At R1 a curve of torus bifurcations ends on one of folds, at R2 on one of period doublings. From there

fold and period doubling    v of that curve is q of the pair's directions;
torus                       q is v, and w the solution of w' = T f_u w, w(1) = c w(0) + q(0), c = 1 or -1.

Without a drive 1 is a triple multiplier at R1, that of the flow is one of them. There v' = T (f_u v + b f),
and the pair's eigenvector becomes q = f, with w = s f - v/(b T). With c = 1 every fold solves the problem of
the torus then: curves of that begin a little beside.

Yu. A. Kuznetsov, Elements of Applied Bifurcation Theory, 3rd ed., Springer 2004, ch. 9.
"""

from __future__ import annotations

import math

import numpy as np

from qifscan.arrays import Array
from qifscan.limit_cycles.steps import Met, conditions, forward
from qifscan.periodic_orbits.collocation import corrected, linearised
from qifscan.periodic_orbits.floquet import multiplied
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.theory.codes import R1, R2

OTHERS = {"NS": {"LPC": R1, "PD": R2}, "LPC": {"NS": R1}, "PD": {"NS": R2}}
"""On which curves those of a kind have beginnings, and at which points of them."""

_BESIDE = (0.02, 0.1, 0.3)
"""Angles of the pair from 0 or from a half turn, rad, tried in turn."""


def on_torus(met: Met) -> tuple[Marginal, Orbits]:
    """Return torus bifurcations beside resonances of curves of folds or period doublings, those found."""
    old: Marginal = met.problem
    cycles = old.cycles(met.orbits)
    if old.has_extra:
        guess = _of_flow(old, met.orbits)
    else:
        v = slice(old.size, 2 * old.size)
        guess = (
            *(both[..., v] for both in (met.orbits.u, met.orbits.stages)),
            *_generalised(old, met.orbits),
        )
    system, sign = Marginal(old.problem, "NS"), 1.0 if met.code == R1 else -1.0
    at_it = _with_directions(system, cycles, guess, np.full(len(cycles.period), sign))
    found, good = at_it.copy(), np.zeros(len(cycles.period), dtype=bool)
    for angle in _BESIDE:
        left = np.flatnonzero(~good)
        if not len(left):
            break
        begin = at_it.chosen(left)
        begin.scalars[:, -1] = sign * math.cos(angle)
        # The pair's angle is held; both parameters are free.
        held = conditions(system.chosen(left), begin, forward(begin, -1), _ones(begin))
        done = corrected(system.chosen(left), begin, held)
        found.put(left[done.good], done.orbits.chosen(done.good))
        good[left[done.good]] = True
    which = np.flatnonzero(good)
    return system.chosen(which), found.chosen(which)


def beside_torus(met: Met, kind: str) -> tuple[Marginal, Orbits]:
    """Return guesses of folds or period doublings at resonances in which torus bifurcations end."""
    old: Marginal = met.problem
    cycles = old.cycles(met.orbits)
    system = Marginal(old.problem, kind)
    q, w = slice(old.size, 2 * old.size), slice(2 * old.size, None)
    u, stages = met.orbits.u, met.orbits.stages
    if not system.has_extra:
        return system, _with_directions(system, cycles, (u[..., q], stages[..., q]), None)
    f, inside = _flow(old, cycles)
    share = (f * u[..., q]).sum(axis=(1, 2)) / (f * f).sum(axis=(1, 2))
    v = f * cycles.s[..., None] - u[..., w] / share[:, None, None]
    v_inside = inside * cycles.gauss_times[..., None] - stages[..., w] / share[:, None, None, None]
    return system, _with_directions(system, cycles, (v, v_inside), 1.0 / cycles.period)


def _with_directions(
    system: Marginal, cycles: Orbits, parts: tuple[Array, ...], extra: Array | None
) -> Orbits:
    """Return cycles with directions, at the mesh points and at the stages in turn, of size 1."""
    u, stages = np.concatenate(parts[0::2], axis=-1), np.concatenate(parts[1::2], axis=-1)
    scales = np.concatenate([system.problem.scales(cycles.u)] * system.copies, axis=1)
    size = np.sqrt((cycles.weights[..., None] * (u / scales[:, None]) ** 2).sum(axis=(1, 2)))
    scalars = cycles.scalars
    if extra is not None:
        own = extra if system.kind == "NS" else extra / size
        scalars = np.concatenate((scalars, own[:, None]), axis=1)
    return Orbits(
        cycles.s,
        np.concatenate((cycles.u, u / size[:, None, None]), axis=-1),
        np.concatenate((cycles.stages, stages / size[:, None, None, None]), axis=-1),
        scalars,
    )


def _flow(old: Marginal, cycles: Orbits) -> tuple[Array, Array]:
    """Return f at the mesh points and at the stages."""
    slopes = old.problem.slopes
    return (
        slopes(cycles.s, cycles.u, cycles.scalars),
        slopes(cycles.gauss_times, cycles.stages, cycles.scalars),
    )


def _of_flow(old: Marginal, orbits: Orbits) -> tuple[Array, ...]:
    """Return q = f and w = s f - v/(b T), at the mesh points and at the stages."""
    cycles, n = old.cycles(orbits), old.size
    f, inside = _flow(old, cycles)
    scale = orbits.scalars[:, -1] * orbits.period
    w = f * cycles.s[..., None] - orbits.u[..., n:] / scale[:, None, None]
    w_inside = inside * cycles.gauss_times[..., None] - orbits.stages[..., n:] / scale[:, None, None, None]
    return f, inside, w, w_inside


def _generalised(old: Marginal, orbits: Orbits) -> tuple[Array, Array]:
    """Return w with w(1) = c w(0) + v(0), c = 1 or -1, at the mesh points and at the stages."""
    cycles, n = old.cycles(orbits), old.size
    linear = linearised(old.problem, cycles)
    sign = -1.0 if old.kind == "PD" else 1.0
    matrix = multiplied(linear.groups) - sign * np.eye(n)
    left, sizes, right = np.linalg.svd(matrix)
    # At the resonance the least singular value is 0 but for the error of the point.
    inverse = np.where(np.arange(n) < n - 1, 1.0 / sizes, 0.0)
    along = left.swapaxes(1, 2) @ orbits.u[:, 0, n:, None]
    points = [(right.swapaxes(1, 2) @ (inverse[..., None] * along))[..., 0]]
    states = linear.states
    for k in range(states.shape[1]):
        points.append((states[:, k] @ points[-1][..., None])[..., 0])
    whole = np.stack(points, axis=1)
    return whole, (linear.stages[..., :n] @ whole[:, :-1, None, :, None])[..., 0]


def _ones(orbits: Orbits) -> Array:
    return np.ones(orbits.scalars.shape[1] - 1)
