"""Whose orbits: the equations u' = T f(u; p) of a model on scaled time, and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from qifscan.arrays import Array
from qifscan.dynamics.model import Model
from qifscan.periodic_orbits.orbits import Orbits, spread
from qifscan.roots.taylor import STATE, Gradient, coefficient

AMPLITUDE = "drive_amplitude"


class OrbitProblem(Protocol):
    """Equations u' = T f(s, u; p) on s in [0, 1] with u(1) = R u(0), for many orbits at once.

    `scalars` of the orbits are T, the parameters p, and what else there is.
    """

    @property
    def size(self) -> int:
        """Number of variables of a cycle, the first of a state."""

    @property
    def free(self) -> int:
        """Number of parameters that vary."""

    def chosen(self, which: Any) -> Self:
        """Return the system of some of the orbits."""

    def scales(self, u: Array) -> Array:
        """Return the size of each variable on orbits `(orbits, n)`."""

    def slopes(self, s: Array, u: Array, scalars: Array) -> Array:
        """Return f at states `(orbits, ..., n)`."""

    def derivatives(self, s: Array, u: Array, scalars: Array) -> tuple[Array, Array, Array]:
        """Return f, its Jacobians `(..., n, n)`, its derivatives by the parameters `(..., n, k)`."""

    def turn(self, scalars: Array) -> tuple[Array, Array] | None:
        """Return R `(orbits, n, n)` and its derivatives by the scalars `(orbits, n, n, k)`; None: R = 1."""

    def pinned(self, guess: Orbits) -> tuple[Array, Array]:
        """Return the conditions that make an orbit one of a branch: rows of mesh points, and of scalars."""


@runtime_checkable
class WithMemory(Protocol):
    """Equations that depend on the past of the orbit as well: so parts of it that are apart are tied."""

    def linear(self, orbits: Orbits) -> Any:
        """Return the equations linearised at orbits, with what `collocation.Linear` is asked for."""

    def stability(self, orbits: Orbits, linear: Any) -> tuple[Any, Array, Array]:
        """Return the multipliers, the logarithms of their moduli, and the error of the flow's own."""


@dataclass(frozen=True)
class Problem:
    """A model, its parameters `(orbits,)` each, and which of them vary.

    With a `drive` (amplitude and phase, `(orbits,)` each) the input is amplitude sin(2 pi turns s + phase),
    added to the equation of the `stimulated` variable; `turns` are the periods of the drive in one of the
    orbit. Then `drive_amplitude` may vary as well, and with the period of the orbits that of the drive.
    `fixed`: whether the period stays, as it does where a drive has its own.
    """

    model: Model
    parameters: Mapping[str, Array]
    along: tuple[str, ...] = ()
    drive: tuple[Array, Array, Array] | None = None
    fixed: bool = False

    @property
    def size(self) -> int:
        """Number of variables."""
        return len(self.model.variables)

    @property
    def free(self) -> int:
        """Number of parameters that vary."""
        return len(self.along)

    def chosen(self, which: Any) -> Self:
        """Return the problem of some of the orbits."""
        parameters = {name: values[which] for name, values in self.parameters.items()}
        drive = None if self.drive is None else tuple(values[which] for values in self.drive)
        return replace(self, parameters=parameters, drive=drive)

    def scales(self, u: Array) -> Array:
        """Return the size of each variable on orbits `(orbits, n)`: largest of all of its unit."""
        units = [variable.unit for variable in self.model.variables]
        alike = np.array([[a == b for b in units] for a in units])
        found: Array = np.where(alike, np.abs(u).max(axis=1)[:, None], 0.0).max(axis=2)
        return found

    def turn(self, scalars: Array) -> None:
        """Return None: an orbit ends where it began."""

    def pinned(self, guess: Orbits) -> tuple[Array, Array]:
        """Return the conditions that orbits are not shifted in time, without a drive, and on the period."""
        (count, points, size), k = guess.u.shape, guess.scalars.shape[1]
        rows, scalars = np.zeros((count, 0, points, size)), np.zeros((count, 0, k))
        if self.drive is None:
            rows = phase_row(self, guess, self.scales(guess.u))[:, None]
            scalars = np.zeros((count, 1, k))
        if self.fixed:
            rows = np.concatenate((rows, np.zeros((count, 1, points, size))), axis=1)
            scalars = np.concatenate((scalars, np.tile(np.eye(k)[:1], (count, 1, 1))), axis=1)
        return rows, scalars

    def inputs(self, s: Array, varied: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the input of every variable at scaled times `(orbits, ...)`."""
        found: list[Any] = [0.0] * len(self.model.variables)
        if self.drive is not None:
            amplitude, phase, turns = (spread(values, s.ndim) for values in self.drive)
            wave = np.sin(2.0 * math.pi * turns * s + phase)
            found[self.model.variable_names.index(self.model.stimulated)] = wave * (varied or {}).get(
                AMPLITUDE, amplitude
            )
        return found

    def slopes(self, s: Array, u: Array, scalars: Array) -> Array:
        """Return the rates of change at states `(orbits, ..., n)`, in the state's units per ms."""
        given: dict[str, Any] = {name: spread(values, s.ndim) for name, values in self.parameters.items()}
        given |= {name: spread(scalars[:, k], s.ndim) for k, name in enumerate(self.along, 1)}
        state = tuple(np.moveaxis(u, -1, 0))
        slopes = self.model.field(state, tuple(self.inputs(s, given)), self.model.constants(given))
        found = np.empty(u.shape)
        for i, slope in enumerate(slopes):
            found[..., i] = np.asarray(slope)
        return found

    def velocity(self, orbits: Orbits) -> Array:
        """Return the rates of change at the mesh points of orbits `(orbits, N + 1, n)`."""
        return self.slopes(orbits.s, orbits.u, orbits.scalars)

    def derivatives(self, s: Array, u: Array, scalars: Array) -> tuple[Array, Array, Array]:
        """Return the rates of change, their Jacobians `(..., n, n)`, and by the parameters `(..., n, k)`."""
        size, free = u.shape[-1], len(self.along)

        def variable(values: Any, of: int) -> Gradient:
            return Gradient(STATE, (values, *(1.0 if j == of else 0 for j in range(size + free))))

        given: dict[str, Any] = {name: spread(values, s.ndim) for name, values in self.parameters.items()}
        for k, name in enumerate(self.along):
            given[name] = variable(spread(scalars[:, k + 1], s.ndim), size + k)
        state = tuple(variable(np.ascontiguousarray(u[..., i]), i) for i in range(size))
        slopes = self.model.field(state, tuple(self.inputs(s, given)), self.model.constants(given))
        f, jacobian = np.empty(u.shape), np.empty((*u.shape, size))
        by_parameters = np.empty((*u.shape, free))
        for i, slope in enumerate(slopes):
            f[..., i] = coefficient(slope, 0, STATE)
            for j in range(size):
                jacobian[..., i, j] = coefficient(slope, 1 + j, STATE)
            for j in range(free):
                by_parameters[..., i, j] = coefficient(slope, 1 + size + j, STATE)
        return f, jacobian, by_parameters


def phase_row(problem: Problem, guess: Orbits, scales: Array) -> Array:
    """Return the row of the condition that the orbit is not shifted in time against a guess."""
    slopes = problem.velocity(guess) / scales[:, None]
    weights = guess.weights[..., None]
    size = np.sqrt((weights * slopes**2).sum(axis=(1, 2)))
    return weights * slopes / (scales[:, None] * spread(size, 3))
