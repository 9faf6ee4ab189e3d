"""The plane of rate and mean potential: slopes, equilibria, and the curve that parts what a saddle attracts.

Of a model with more variables this is a section through its state space. Where r alone drives them, the
other variables are as at rest at each r: then both nullclines cross at every equilibrium, and nowhere else.
Otherwise they are held at one equilibrium.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError
from qifscan.theory.equilibria import equilibria
from qifscan.theory.normal_forms import matrices

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array
    from qifscan.dynamics.model import Model

_BESIDE = 1e-6
"""How far from the saddle its manifold begins, relative to the size of the plane: there it is straight."""

_LONGEST = 200.0
"""Membrane time constants that a manifold is followed for at most."""

_DRAWN = 100
"""Points of a manifold in a membrane time constant."""


@dataclass(frozen=True)
class PhasePlane:
    """A plane of the first two variables, r and v, at one set of parameters, the means of noise included."""

    model: Model
    parameters: Mapping[str, float]

    @cached_property
    def effective(self) -> dict[str, float]:
        """Parameters that do what the means of the noise do."""
        means = {f"{name}_ou_mean": 0.0 for name in self.model.input_names}
        found = self.model.with_inputs({**means, **self.parameters})
        names = {row.name for row in self.model.parameters}
        for name in found.keys() - names:
            if found[name]:
                where = f"{name.removesuffix('_input')}_ou_mean"
                raise ScanError([Fault(where, f"{found[name]:g}", "0", "equilibria are known without it")])
        return {name: float(found[name]) for name in names}

    @cached_property
    def equilibria(self) -> xr.Dataset:
        """Every equilibrium, by ascending rate, with its eigenvalues."""
        given: dict[str, Any] = self.effective
        found = equilibria(self.model.name, **given)
        return found.isel(equilibrium=slice(0, int(found["count"])))

    @cached_property
    def states(self) -> Array:
        """The states of the equilibria, `(equilibria, variables)`."""
        return np.stack([self.equilibria[name].values for name in self.model.variable_names], axis=-1)

    @property
    def follows(self) -> bool:
        """Whether the other variables are functions of r where they rest."""
        model = self.model
        return model.rest is not None and len(model.rates) == 1 and model.driven == model.variable_names[1]

    @cached_property
    def held(self) -> Array | None:
        """The equilibrium at which the other variables are held: the lowest stable one, else the lowest."""
        if self.follows or len(self.model.variables) == 2:
            return None
        if not len(self.states):
            hint = f"the plane of {self.model.name} holds the other variables at one"
            raise ScanError([Fault("parameters", "no equilibrium", "at least one", hint)])
        stable = self.equilibria["stable"].values
        found: Array = self.states[int(np.argmax(stable))]
        return found

    @property
    def note(self) -> str:
        """What the plane takes the other variables, and the past, to be; empty where there are none."""
        others = ", ".join(self.model.variable_names[2:])
        if self.model.delay:
            return f"past rate: r(t − {self.model.delay}) = r"
        if not others:
            return ""
        if self.held is None:
            return f"{others} as at rest at each r"
        values = zip(self.model.variable_names[2:], self.held[2:], strict=True)
        return f"held at an equilibrium: {', '.join(f'{name} = {x:.3g}' for name, x in values)}"

    def state_at(self, r: Any, v: Any) -> tuple[Any, ...]:
        """Return the whole state at points of the plane."""
        if len(self.model.variables) == 2:
            return r, v
        if self.held is not None:
            return (r, v, *(x + 0.0 * r for x in self.held[2:]))
        with np.errstate(all="ignore"):
            return (r, v, *self.model.at_rest(r, self.effective)[2:])

    def slopes(self, r: Any, v: Any) -> tuple[Any, Any]:
        """Return r' and v' at points of the plane, in 1/ms^2 and 1/ms."""
        constants = self.model.constants(self.effective)
        inputs = [0.0 * r for _ in self.model.variables]
        if self.model.delay:
            inputs[self.model.variable_names.index(self.model.driven)] = constants["past"] * r
        with np.errstate(all="ignore"):
            found = self.model.field(self.state_at(r, v), tuple(inputs), constants)
        return found[0], found[1]

    def separatrices(self, low: tuple[float, float], high: tuple[float, float]) -> list[Array]:
        """Return both halves of the stable manifold of each saddle, `(points, 2)`, within a window.

        Starts on its two sides end in different states. Of a model with more than two variables, or a delay,
        it is a surface, and none is returned.
        """
        if len(self.model.variables) > 2 or self.model.delay:
            return []
        size = np.array(high) - np.array(low)
        saddles = self.states[self.equilibria["unstable_dimensions"].values == 1]
        found = []
        for saddle in saddles:
            values, vectors = np.linalg.eig(matrices(self.model, saddle[None], self.effective)[0])
            towards = np.real(vectors[:, int(np.argmin(values.real))])
            step = _BESIDE * towards / np.abs(towards / size).max()
            found += [self._backwards(saddle, sign * step, np.array(low), np.array(high)) for sign in (1, -1)]
        return found

    def _backwards(self, saddle: Array, step: Array, low: Array, high: Array) -> Array:
        """Return the curve that leads to a saddle, from it outwards, within a window and a little beyond."""
        from scipy.integrate import solve_ivp

        middle, half = 0.5 * (low + high), 0.55 * (high - low)

        def backwards(_: float, y: Array) -> Array:
            return -np.array(self.slopes(y[0], y[1]), dtype=np.float64)

        def inside(_: float, y: Array) -> float:
            return float(1.0 - np.abs((y - middle) / half).max())

        inside.terminal = True  # type: ignore[attr-defined]
        longest = _LONGEST * self.effective[f"tau{self.model.rates[0].population}"]
        options: dict[str, Any] = {"method": "DOP853", "rtol": 1e-9, "atol": 1e-12, "dense_output": True}
        solved = solve_ivp(backwards, (0.0, longest), saddle + step, events=inside, **options)
        count = 2 + int(_DRAWN * _LONGEST * solved.t[-1] / longest)
        points: Array = solved.sol(np.linspace(0.0, solved.t[-1], count)).T
        return np.concatenate([saddle[None], points])
