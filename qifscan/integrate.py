"""Fixed steps for `y' = field(y, inputs, constants)`, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule
from qifscan.models import State

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")

Slope = Callable[[State, State], State]
Inputs = Callable[[float], State]


@dataclass(frozen=True)
class Integrator:
    """A one-step method.

    `step(slope, state, inputs, dt)` returns the next state; `slope(state, inputs)` is the vector field at
    the point's constants, `inputs(fraction)` the additive inputs at that fraction of the step.
    `order` is the order of convergence for smooth inputs without noise.
    """

    name: str
    step: Callable[[Slope, State, Inputs, Any], State]
    order: int
    meaning: str
    reference: str


def _ahead(state: State, dt: Any, slope: State) -> State:
    return tuple(y + dt * k for y, k in zip(state, slope, strict=True))


def _euler(slope: Slope, state: State, inputs: Inputs, dt: Any) -> State:
    return _ahead(state, dt, slope(state, inputs(0.0)))


def _heun(slope: Slope, state: State, inputs: Inputs, dt: Any) -> State:
    first = slope(state, inputs(0.0))
    second = slope(_ahead(state, dt, first), inputs(1.0))
    return _ahead(state, 0.5 * dt, tuple(a + b for a, b in zip(first, second, strict=True)))


def _rk4(slope: Slope, state: State, inputs: Inputs, dt: Any) -> State:
    middle = inputs(0.5)
    k1 = slope(state, inputs(0.0))
    k2 = slope(_ahead(state, 0.5 * dt, k1), middle)
    k3 = slope(_ahead(state, 0.5 * dt, k2), middle)
    k4 = slope(_ahead(state, dt, k3), inputs(1.0))
    mean = tuple(a + 2.0 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return _ahead(state, dt / 6.0, mean)


def _phi(z: Any) -> Any:
    """Return (exp(z) - 1)/z, exact to rounding near 0 too, with a finite derivative there."""
    safe = jnp.where(z == 0, 1.0, z)
    return jnp.where(z == 0, 1.0, jnp.expm1(safe) / safe)


def _exp_auto(slope: Slope, state: State, inputs: Inputs, dt: Any) -> State:
    start = inputs(0.0)
    slopes = slope(state, start)
    updated = []
    for i, (y, k) in enumerate(zip(state, slopes, strict=True)):
        tangent = tuple(jnp.ones_like(y) if i == j else jnp.zeros_like(y) for j in range(len(state)))
        _, derivative = jax.jvp(lambda s: slope(s, start), (state,), (tangent,))
        updated.append(y + dt * _phi(dt * derivative[i]) * k)
    return tuple(updated)


INTEGRATORS: dict[str, Integrator] = {
    row.name: row
    for row in (
        Integrator("rk4", _rk4, 4, "classical Runge-Kutta", "Kutta, Z. Math. Phys. 46, 435 (1901)"),
        Integrator("heun", _heun, 2, "Heun's method", "Heun, Z. Math. Phys. 45, 23 (1900)"),
        Integrator("euler", _euler, 1, "explicit Euler", "Euler, Institutiones calculi integralis (1768)"),
        Integrator(
            "exp_auto",
            _exp_auto,
            1,
            "exponential Euler, each variable by its own derivative, as in the reference class",
            "BrainPy 2.3.0, rates.QIF, method='exp_auto'",
        ),
    )
}
