"""Cycles on branches that cross others at branch points: a multiplier is 1, and the parameter goes on.

At such a cycle the equations that the tangents of branches fulfil have two solutions: the tangent of the
branch that has met it, and one at a right angle to that. The first step of the other branch goes along the
latter: at a pitchfork it is the multiplier's direction, which breaks the symmetry.

E. Doedel, H. Keller, J. Kernevez, Int. J. Bifurcation Chaos 1, 493 (1991).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.limit_cycles.steps import Met, conditions, stepped, unit_length, units_of
from qifscan.periodic_orbits.collocation import linear_of
from qifscan.periodic_orbits.orbits import Orbits

_TRIAL = 0.02
"""Length of a step to each side, in sizes of the states."""

_ALIKE = 1e-7
"""Difference of periods and parameters after these steps, relative, below which the sides are each other's
images: of others it is a share of the step."""

_NO_MEAN = 1e-6
"""Mean of a direction of length 1 that is but rounding."""


def switched(met: Met, units: Array) -> tuple[Index, Orbits, Orbits]:
    """Return the cycles at branch points, with the directions of the other branches there, and which of the
    branch points each is: one for both sides that are each other's images, else one for each side."""
    orbits = met.orbits
    linear = linear_of(met.problem, orbits)
    across = linear.critical(conditions(met.problem, orbits, met.tangent, units), orbits)
    across = unit_length(met.problem, across, orbits, units)
    across = across.times(_sign(across, met.problem.scales(orbits.u)))
    images, through = _sides(met, across, units)
    across.put(~images, through.chosen(~images))
    which = np.concatenate((np.arange(len(images)), np.flatnonzero(~images)))
    sign = np.where(np.arange(len(which)) < len(images), 1.0, -1.0)
    return which, orbits.chosen(which), across.chosen(which).times(sign)


def _sign(across: Orbits, scales: Array) -> Array:
    """Return the signs that make the first mean of a direction positive, or its largest state without one: so
    the same half of a branch is followed from both of its ends."""
    relative = across.u / scales[:, None]
    mean = (across.weights[..., None] * relative).sum(axis=1)
    flat = relative.reshape(len(relative), -1)
    row = np.arange(len(flat))
    first = mean[row, (np.abs(mean) > _NO_MEAN).argmax(axis=1)]
    largest = flat[row, np.abs(flat).argmax(axis=1)]
    found: Array = np.where(np.where(np.abs(first) > _NO_MEAN, first, largest) < 0.0, -1.0, 1.0)
    return found


def _sides(met: Met, across: Orbits, units: Array) -> tuple[Any, Orbits]:
    """Tell on which branches both sides have the same periods and parameters, and return directions through
    both sides."""
    one, other = (
        stepped(met.problem, met.orbits, across, np.full(len(met.number), way * _TRIAL), units)
        for way in (1.0, -1.0)
    )
    good = one.good & other.good
    apart = np.abs(one.orbits.scalars - other.orbits.scalars) / units_of(met.orbits, units)
    chord = one.orbits.moved(np.full(len(good), -1.0), other.orbits)
    chord.put(~good, across.chosen(~good))
    return good & (apart < _ALIKE).all(axis=1), unit_length(met.problem, chord, met.orbits, units)
