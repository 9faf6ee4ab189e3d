"""Whose cycles, of a model with a delay: u' = T f(u, r(s - D/T)) on scaled time, with the past of the cycle.

A cycle is its own past: r a delay ago is its polynomial at (s - D/T) mod 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.periodic_orbits.gauss import NODES
from qifscan.periodic_orbits.orbits import Orbits, spread
from qifscan.periodic_orbits.problem import Problem
from qifscan.roots.taylor import STATE, Gradient, coefficient

_POWERS = np.linalg.inv(np.vander(NODES, increasing=True))
"""Coefficients of the polynomials of the nodes of an interval: `(powers, nodes)`."""


def node_weights(inside: Array, length: Array, order: int) -> Array:
    """Return the weights of the nodes of intervals in a derivative of their polynomials, at places in [0, 1]
    of intervals of some lengths: `(..., 5)`."""
    power = np.arange(order, len(NODES))
    factor = [float(math.perm(k, order)) for k in power.tolist()]
    powers = inside[..., None] ** (power - order) * np.array(factor) / length[..., None] ** order
    found: Array = powers @ _POWERS[order:]
    return found


@dataclass(frozen=True)
class CyclePast:
    """The first variable one delay before some places of orbits, `(orbits, ...)`: its value and slope by
    scaled time, the interval it is read from, how many periods before, the place in the interval in [0, 1],
    and the weights that the interval's nodes have in the value and in the slope `(orbits, ..., 5)`."""

    value: Array
    slope: Array
    interval: Index
    periods: Index
    inside: Array
    weights: Array
    steep: Array


@dataclass(frozen=True)
class ProblemWithPast(Problem):
    """A model with a delay, its parameters `(orbits,)` each, and which of them vary."""

    @property
    def driven(self) -> int:
        """Position of the variable that the past acts on."""
        return self.model.variable_names.index(self.model.driven)

    def delays(self, scalars: Array) -> Array:
        """Return the delays, in ms `(orbits,)`."""
        name = self.model.delay
        return scalars[:, 1 + self.along.index(name)] if name in self.along else self.parameters[name]

    def past(self, orbits: Orbits, s: Array) -> CyclePast:
        """Return r one delay before scaled times `(orbits, ...)`."""
        ago = s - spread(self.delays(orbits.scalars) / orbits.period, s.ndim)
        periods = -np.floor(ago)
        place = (ago + periods).reshape(len(s), -1)
        inner = [
            np.searchsorted(mesh[1:-1], x, side="right") for mesh, x in zip(orbits.s, place, strict=True)
        ]
        interval = np.stack(inner)
        row = np.arange(len(s))[:, None]
        length = orbits.steps[row, interval]
        inside = (place - orbits.s[row, interval]) / length
        nodes = orbits.nodes[..., 0][row, interval]
        weights, steep = (node_weights(inside, length, order) for order in range(2))
        value, slope = (weights * nodes).sum(axis=-1), (steep * nodes).sum(axis=-1)
        return CyclePast(
            value.reshape(s.shape),
            slope.reshape(s.shape),
            interval.reshape(s.shape),
            periods.astype(np.intp),
            inside.reshape(s.shape),
            weights.reshape(*s.shape, -1),
            steep.reshape(*s.shape, -1),
        )

    def velocity(self, orbits: Orbits) -> Array:
        """Return the rates of change at the mesh points `(orbits, N + 1, n)`."""
        return self.with_past(orbits.s, orbits.u, self.past(orbits, orbits.s).value, orbits.scalars)[0]

    def with_past(self, s: Array, u: Array, past: Array, scalars: Array) -> tuple[Array, Array, Array, Array]:
        """Return f `(orbits, ..., n)`, its Jacobians by the state `(..., n, n)`, and its derivatives by the
        past `(..., n)` and by the parameters `(..., n, k)`, where the past does not change."""
        size, free = u.shape[-1], len(self.along)

        def variable(values: Any, of: int) -> Gradient:
            return Gradient(STATE, (values, *(1.0 if j == of else 0 for j in range(size + 1 + free))))

        given: dict[str, Any] = {name: spread(values, s.ndim) for name, values in self.parameters.items()}
        for k, name in enumerate(self.along):
            given[name] = variable(spread(scalars[:, k + 1], s.ndim), size + 1 + k)
        constants = self.model.constants(given)
        inputs = self.inputs(s, given)
        inputs[self.driven] = inputs[self.driven] + variable(past, size) * constants["past"]
        state = tuple(variable(np.ascontiguousarray(u[..., i]), i) for i in range(size))
        slopes = self.model.field(state, tuple(inputs), constants)
        found = np.empty((*u.shape, 2 + size + free))
        for i, slope in enumerate(slopes):
            for j in range(found.shape[-1]):
                found[..., i, j] = coefficient(slope, j, STATE)
        own = slice(1, 1 + size)
        return found[..., 0], found[..., own], found[..., 1 + size], found[..., 2 + size :]
