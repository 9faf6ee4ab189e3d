"""Orbits as piecewise polynomials on meshes, many at once, and numbers that describe them.

C. de Boor, A Practical Guide to Splines, Springer 2001, ch. XII (the mesh).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.periodic_orbits.gauss import ERROR, NODES, POINTS, STAGES, TOP, WEIGHTS, lagrange


def spread(values: Array, ndim: int) -> Array:
    """Return one number per orbit so that it broadcasts with `ndim` dimensions."""
    return values.reshape(-1, *(1,) * (ndim - 1))


@dataclass(frozen=True)
class Orbits:
    """Orbits, or directions in their space.

    `s` mesh `(orbits, N + 1)`, `u` states there `(orbits, N + 1, n)`, `stages` those at the Gauss points
    `(orbits, N, 4, n)`, `scalars` the period in ms and the values of the parameters that vary `(orbits, k)`.
    """

    s: Array
    u: Array
    stages: Array
    scalars: Array

    @property
    def period(self) -> Array:
        """The periods, in ms."""
        return self.scalars[:, 0]

    @property
    def value(self) -> Array:
        """The values of the first parameter that varies, 0 if none does."""
        return self.scalars[:, 1] if self.scalars.shape[1] > 1 else np.zeros(len(self.scalars))

    def chosen(self, which: Any) -> Orbits:
        """Return some of them."""
        return Orbits(self.s[which], self.u[which], self.stages[which], self.scalars[which])

    def moved(self, step: Array, along: Orbits) -> Orbits:
        """Return the orbits a step further in a direction."""
        return Orbits(
            self.s,
            self.u + spread(step, 3) * along.u,
            self.stages + spread(step, 4) * along.stages,
            self.scalars + step[:, None] * along.scalars,
        )

    def times(self, factor: Array) -> Orbits:
        """Return directions of other lengths."""
        return Orbits(
            self.s,
            spread(factor, 3) * self.u,
            spread(factor, 4) * self.stages,
            factor[:, None] * self.scalars,
        )

    def put(self, which: Any, others: Orbits) -> None:
        """Replace some of them."""
        for name in ("s", "u", "stages", "scalars"):
            getattr(self, name)[which] = getattr(others, name)

    def copy(self) -> Orbits:
        """Return a copy."""
        return Orbits(self.s.copy(), self.u.copy(), self.stages.copy(), self.scalars.copy())

    def with_scalars(self, scalars: Array) -> Orbits:
        """Return them with other numbers besides the states."""
        return Orbits(self.s, self.u, self.stages, scalars)

    @property
    def steps(self) -> Array:
        """Lengths of the intervals."""
        return np.diff(self.s, axis=1)

    @property
    def gauss_times(self) -> Array:
        """The scaled times of the stages, `(orbits, N, 4)`."""
        found: Array = self.s[:, :-1, None] + self.steps[:, :, None] * POINTS
        return found

    @property
    def nodes(self) -> Array:
        """The states that the polynomial of each interval goes through, `(orbits, N, 5, n)`."""
        return np.concatenate((self.u[:, :-1, None], self.stages), axis=2)

    @property
    def weights(self) -> Array:
        """Weights of the mesh points in a mean over the period; they sum to 1."""
        found = np.zeros_like(self.s)
        half = 0.5 * self.steps
        found[:, :-1] = half
        found[:, 1:] += half
        return found


def joined(several: Sequence[Orbits]) -> Orbits:
    """Return the orbits of all."""
    return Orbits(
        *(
            np.concatenate([getattr(orbits, name) for orbits in several])
            for name in ("s", "u", "stages", "scalars")
        )
    )


def from_function(mesh: Array, states: Any, scalars: Array) -> Orbits:
    """Return orbits; a function of scaled times `(orbits, places)` gives their states, `(..., n)`."""
    count, points = mesh.shape
    empty = Orbits(mesh, np.empty((count, points, 0)), np.empty(0), scalars)
    times = empty.gauss_times
    stages = states(times.reshape(count, -1))
    return Orbits(mesh, states(mesh), stages.reshape(*times.shape, -1), scalars.copy())


def evaluated(orbits: Orbits, s: Array) -> Array:
    """Return the states at scaled times in [0, 1], `(orbits, places, n)`."""
    count, places = s.shape
    last = orbits.s.shape[1] - 2
    # One search for all orbits: the k-th lies in [2 k, 2 k + 1].
    shift = 2.0 * np.arange(count)[:, None]
    found = np.searchsorted((orbits.s + shift).ravel(), (s + shift).ravel(), side="right").reshape(s.shape)
    interval = np.clip(found - 1 - np.arange(count)[:, None] * (last + 2), 0, last)
    row = np.arange(count)[:, None]
    # The shift has rounded: a place within that of a mesh point may be on its other side.
    interval -= (s < orbits.s[row, interval]) & (interval > 0)
    interval += (s >= orbits.s[row, interval + 1]) & (interval < last)
    inside = (s - orbits.s[row, interval]) / orbits.steps[row, interval]
    basis = lagrange(NODES, inside.ravel()).reshape(count, places, 1, STAGES + 1)
    nodes = np.concatenate((orbits.u[row, interval][:, :, None], orbits.stages[row, interval]), axis=2)
    result: Array = (basis @ nodes)[:, :, 0]
    return result


def monitor(orbits: Orbits, scales: Array) -> Array:
    """Return the fifth derivative's size to the power 1/5 on each interval, `(orbits, N)`.

    It is estimated from the jumps of the fourth, which is constant on an interval.
    """
    h = orbits.steps
    fourth = (TOP @ orbits.nodes) / (h[:, :, None] ** STAGES * scales[:, None])
    middle = 0.5 * (h + np.roll(h, -1, axis=1))
    jump = np.abs(np.roll(fourth, -1, axis=1) - fourth).max(axis=2) / middle
    size = 0.5 * (jump + np.roll(jump, 1, axis=1))
    found: Array = size ** (1.0 / (STAGES + 1))
    return found


def mesh_error(orbits: Orbits, scales: Array) -> Array:
    """Return an estimate of the largest error of the polynomials, relative to the sizes of the variables."""
    found: Array = ERROR * ((orbits.steps * monitor(orbits, scales)) ** (STAGES + 1)).max(axis=1)
    return found


def adapted(orbits: Orbits, scales: Array, intervals: int) -> Array:
    """Return meshes of so many intervals on which the error is the same everywhere."""
    density = monitor(orbits, scales)
    mean = (density * orbits.steps).sum(axis=1, keepdims=True)
    # A floor under the density: no interval is longer than two of a uniform mesh. Where a state rests near a
    # saddle it is the multipliers that need the mesh.
    density = density + mean + 1e-300
    total = np.cumsum(density * orbits.steps, axis=1)
    total = np.pad(total / total[:, -1:], ((0, 0), (1, 0)))
    return inverted(orbits.s, total, intervals)


def inverted(s: Array, total: Array, intervals: int) -> Array:
    """Return where increasing functions, given on meshes and from 0 to 1, are k/N."""
    wanted = np.linspace(0.0, 1.0, intervals + 1)
    found = np.stack([np.interp(wanted, t, x) for t, x in zip(total, s, strict=True)])
    found[:, 0], found[:, -1] = 0.0, 1.0
    return found


def remeshed(orbits: Orbits, mesh: Array) -> Orbits:
    """Return the same orbits on other meshes."""
    return from_function(mesh, lambda s: evaluated(orbits, s), orbits.scalars)


def all_remeshed(several: Sequence[Orbits], mesh: Array) -> list[Orbits]:
    """Return orbits and directions of the same meshes on other ones: each place is looked up once."""
    first, size = several[0], several[0].u.shape[2]
    u, stages = (np.concatenate([getattr(x, name) for x in several], axis=-1) for name in ("u", "stages"))
    found = remeshed(Orbits(first.s, u, stages, first.scalars), mesh)
    parts = [slice(k * size, (k + 1) * size) for k in range(len(several))]
    return [
        # Copies: orbits are changed in place.
        Orbits(mesh.copy(), found.u[..., own].copy(), found.stages[..., own].copy(), x.scalars.copy())
        for own, x in zip(parts, several, strict=True)
    ]


def inner(a: Orbits, b: Orbits, scales: Array, units: Array) -> Array:
    """Return the scalar product of directions, of relative changes: mean over the states, and the scalars."""
    weight = a.weights[..., None] / scales[:, None] ** 2
    found: Array = (a.u * b.u * weight).sum(axis=(1, 2)) + (a.scalars * b.scalars / units**2).sum(axis=1)
    return found


def extremes(orbits: Orbits) -> tuple[Array, Array]:
    """Return the lowest and the highest value of every variable on the orbits, `(orbits, n)` each."""
    fine = np.linspace(0.0, 1.0, 9)[:-1]
    values = lagrange(NODES, fine) @ orbits.nodes
    count, intervals, per, size = values.shape
    flat = values.reshape(count, intervals * per, size)
    times = (orbits.s[:, :-1, None] + orbits.steps[:, :, None] * fine).reshape(count, intervals * per)
    # Both extremes of all variables at once: highest ones of u and of -u.
    at = np.concatenate((flat.argmin(axis=1), flat.argmax(axis=1)), axis=1)
    sign = np.repeat((-1.0, 1.0), size)[:, None]
    row, column = np.arange(count)[:, None], np.tile(np.arange(size), 2)
    width, centre = orbits.steps[row, at // per] / per, times[row, at]
    for _ in range(3):
        places = centre[..., None] + width[..., None] * np.linspace(-1.0, 1.0, 9)
        near = evaluated(orbits, places.reshape(count, -1) % 1.0).reshape(*places.shape, size)
        own = sign * near[:, np.arange(2 * size), :, column].swapaxes(0, 1)
        centre = np.take_along_axis(places, own.argmax(axis=2)[..., None], axis=2)[..., 0]
        width = width / 4.0
    best = sign[:, 0] * own.max(axis=2)
    return best[:, :size], best[:, size:]


def means(orbits: Orbits) -> Array:
    """Return the mean of every variable over the period, `(orbits, n)`."""
    found: Array = (orbits.steps[..., None] * (WEIGHTS @ orbits.stages)).sum(axis=1)
    return found


def quadratic_means(orbits: Orbits) -> Array:
    """Return the quadratic mean of every variable over the period, `(orbits, n)`."""
    found: Array = np.sqrt((orbits.steps[..., None] * (WEIGHTS @ orbits.stages**2)).sum(axis=1))
    return found


def halves_apart(orbits: Orbits) -> Array:
    """Return by how much the second lap differs from the first at the mesh points `(orbits, N + 1, n)`."""
    return orbits.u - evaluated(orbits, (orbits.s + 0.5) % 1.0)
