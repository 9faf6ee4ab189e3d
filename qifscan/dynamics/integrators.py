"""Fixed steps for `y' = field(y, inputs, constants)`, as rows of a table, each with its error estimate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.arrays import Array
    from qifscan.dynamics.accumulators import State
    from qifscan.dynamics.model import Constants, Model

    Inputs = Callable[[float], State]
    Step = tuple[State, jax.Array]
    """The next state, and the estimate of the error of the step."""
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")

STRIDE = 1.76e-3**2
"""What a step adds to the squared estimate, times the fourth power of how far it goes relative to the state.

Accumulators see a trajectory at its steps, and a parabola through three of them is off by a power of that:
with this a step of 0.5 has a relative error of 1e-3.
"""


def least_size(group: int) -> str:
    """Return the name among the constants of the least squared size of a group of variables."""
    return f"least size of group {group}"


@dataclass(frozen=True)
class Flow:
    """What a step is taken of: the model at the constants of its points, and the variables with noise."""

    model: Model
    constants: Mapping[str, jax.Array]
    noisy: tuple[str, ...] = ()

    def slope(self, state: State, inputs: State) -> State:
        """Return the vector field."""
        return cast("State", self.model.field(state, inputs, cast("Constants", self.constants)))

    def square(self, state: State) -> jax.Array:
        """Return the squared size of a state or of a difference of two, of a model of one group."""
        (square,) = self.squares(state)
        return square

    def squares(self, state: State) -> list[jax.Array]:
        """Return the squared size of each group of variables, of a state or of a difference of two."""
        # In a sum of two products the compiler fuses one of them, and which one would show in the last bit.
        # Neither is below 0, which the compiler does not know: `abs` keeps them apart.
        found = cast("State", self.model.squares(state, cast("Constants", self.constants)))
        squares = [jnp.abs(x) for x in found]
        return [cast("jax.Array", sum(squares[i] for i in group)) for group in self.model.groups]

    def least(self, group: int) -> jax.Array | None:
        """Return the squared size of a group below which its errors are not relative to it, if it has one."""
        return self.constants.get(least_size(group))


def _nothing(parameters: Mapping[str, Array], highest: Array, dt: Array) -> dict[str, Array]:
    return {}


@dataclass(frozen=True, eq=False)
class Integrator:
    """A one-step method.

    `step(system, state, inputs, dt)` returns the next state, and the estimate of the error of this step as
    a squared relative size; `inputs(fraction)` gives the additive inputs at that fraction of the step.
    `order` is the order of convergence for smooth inputs without noise.

    The largest estimate e of a run is O(dt^`estimate_order`), the error of the run O(dt^`order`):
    `error_factor` e^(order / estimate_order) estimates it (`relative_error`).

    `caution` is the angle that the state may turn in a step: dt <= `caution` tau / (2 |W|).
    `amplification(x, y, own)` is |R|^2 of a step for an eigenvalue (x + i y)/dt, where `own` is dt times the
    derivative of a variable's equation by itself; None where the step damps whatever the field damps.
    `prepare(parameters, highest, dt)` gives further constants that the step reads, in float64 per point,
    from the parameters and the highest rate at rest. `plain`: it is made for the equations of the plain model
    without a delay, and steps no other.
    """

    name: str
    step: Callable[[Flow, State, Inputs, jax.Array], Step]
    order: int
    estimate_order: int
    error_factor: float
    caution: float
    amplification: Callable[[Array, Array, Array], Array] | None
    meaning: str
    reference: str
    prepare: Callable[[Mapping[str, Array], Array, Array], dict[str, Array]] = _nothing
    plain: bool = False

    def __repr__(self) -> str:
        of = ", for the plain model" if self.plain else ""
        return f"{self.name} (order {self.order}{of}): {self.meaning}; {self.reference}"

    def steps(self, model: Model) -> bool:
        """Whether it can step a model."""
        return not self.plain or (model.plain and not model.delay)

    def relative_error(self, largest: Array) -> Array:
        """Return the estimated relative error of a run from the largest estimate of one step."""
        return self.error_factor * largest ** (self.order / self.estimate_order)


def _ahead(state: State, dt: jax.Array, slope: State) -> State:
    return tuple(y + dt * k for y, k in zip(state, slope, strict=True))


def _relative(system: Flow, difference: State, start: State, end: State) -> jax.Array:
    """Return the squared size of a difference, relative to the larger of two states, over all groups.

    A group that begins at 0 grows as a power of time, and relative to it the error of the first steps is the
    same at any dt: so there it is relative to the least size of the group.
    """
    first, *others = zip(*(system.squares(y) for y in (difference, start, end)), strict=True)
    total: jax.Array = first[0] / _larger(first[1], first[2])
    for group, (apart, before, after) in enumerate(others, 1):
        size, least = _larger(before, after), system.least(group)
        size = size if least is None else _larger(least, size)
        # A variable that nothing drives stays 0.
        total = total + jnp.where(apart == 0.0, 0.0, apart / size)
    return total


def _larger(start: jax.Array, end: jax.Array) -> jax.Array:
    """Return the larger of two, NaN where the end is NaN: one operation instead of XLA's five."""
    return jnp.where(start > end, start, end)


def _against_trapezoid(
    system: Flow, state: State, end: State, inputs: Inputs, first: State, dt: jax.Array
) -> jax.Array:
    """Return the estimate of a first-order step: its difference from the trapezoidal rule."""
    last = system.slope(end, inputs(1.0))
    difference = tuple(0.5 * dt * (b - a) for a, b in zip(first, last, strict=True))
    return _relative(system, difference, state, end)


def _euler(system: Flow, state: State, inputs: Inputs, dt: jax.Array) -> Step:
    first = system.slope(state, inputs(0.0))
    end = _ahead(state, dt, first)
    return end, _against_trapezoid(system, state, end, inputs, first, dt)


def _heun(system: Flow, state: State, inputs: Inputs, dt: jax.Array) -> Step:
    # As the mean of the state and of two steps of Euler's, so that the first slope is used once: what is used
    # twice, XLA writes and reads once more.
    ahead = _ahead(state, dt, system.slope(state, inputs(0.0)))
    twice = _ahead(ahead, dt, system.slope(ahead, inputs(1.0)))
    end = tuple(0.5 * (a + b) for a, b in zip(state, twice, strict=True))
    difference = tuple(b - a for a, b in zip(ahead, end, strict=True))
    return end, _relative(system, difference, state, end)


def _rk4(system: Flow, state: State, inputs: Inputs, dt: jax.Array) -> Step:
    middle = inputs(0.5)
    k1 = system.slope(state, inputs(0.0))
    k2 = system.slope(_ahead(state, 0.5 * dt, k1), middle)
    k3 = system.slope(_ahead(state, 0.5 * dt, k2), middle)
    k4 = system.slope(_ahead(state, dt, k3), inputs(1.0))
    mean = tuple(a + 2.0 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    end = _ahead(state, dt / 6.0, mean)
    # Simpson's weights against those of the midpoint; what the inputs add linearly in time cancels.
    difference = tuple(dt / 6.0 * ((a + d) - (b + c)) for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return end, _relative(system, difference, state, end)


def _phi(z: jax.Array) -> jax.Array:
    """Return (exp(z) - 1)/z, exact to rounding near 0 too, with a finite derivative there."""
    safe = jnp.where(z == 0, 1.0, z)
    return jnp.where(z == 0, 1.0, jnp.expm1(safe) / safe)


def _exp_auto(system: Flow, state: State, inputs: Inputs, dt: jax.Array) -> Step:
    start = inputs(0.0)
    slopes = system.slope(state, start)
    updated = []
    for i, (y, k) in enumerate(zip(state, slopes, strict=True)):
        tangent = tuple(jnp.ones_like(y) if i == j else jnp.zeros_like(y) for j in range(len(state)))
        _, derivative = jax.jvp(lambda s: system.slope(s, start), (state,), (tangent,))
        updated.append(y + dt * _phi(dt * derivative[i]) * k)
    end = tuple(updated)
    return end, _against_trapezoid(system, state, end, inputs, slopes, dt)


def _riccati_constants(p: Mapping[str, Array], highest: Array, dt: Array) -> dict[str, Array]:
    """Return the flow of W over half a step at the coupling held at its value at the highest rate at rest.

    W' = kappa^2 i - i W^2 (time in tau) has the flow W -> (W + b)/(1 + c W) over s, with
    b = i s kappa^2 T, c = i s T, T = tan(s kappa)/(s kappa).
    """
    at_rest = p["J"] * p["tau"] * highest
    held = p["v_ou_mean"] + np.where(np.isfinite(at_rest), at_rest, 0.0)
    width = p["delta"] + math.pi * p["tau"] * p["r_ou_mean"]
    half = 0.5 * dt / p["tau"]
    square = p["eta"] + held - 1j * width
    angle = half * np.sqrt(square)
    turned = 1j * half * np.where(angle == 0.0, 1.0, np.tan(angle) / np.where(angle == 0.0, 1.0, angle))
    found: dict[str, Any] = {
        "held": held,
        "held_r": p["r_ou_mean"],
        "circle": math.pi * p["tau"],
        "flow_b_real": (turned * square).real,
        "flow_b_imag": (turned * square).imag,
        "flow_c_real": turned.real,
        "flow_c_imag": turned.imag,
    }
    return found


def _riccati_flow(state: State, c: Mapping[str, jax.Array]) -> State:
    """Return W -> (W + b)/(1 + c W) as W + (b - c W^2)/(1 + c W): what is small is rounded as such."""
    r, v = state
    x = c["circle"] * r
    square_real, square_imag = x * x - v * v, 2.0 * x * v
    top_real = c["flow_b_real"] - (c["flow_c_real"] * square_real - c["flow_c_imag"] * square_imag)
    top_imag = c["flow_b_imag"] - (c["flow_c_real"] * square_imag + c["flow_c_imag"] * square_real)
    low_real = 1.0 + (c["flow_c_real"] * x - c["flow_c_imag"] * v)
    low_imag = c["flow_c_real"] * v + c["flow_c_imag"] * x
    scale = 1.0 / (low_real * low_real + low_imag * low_imag)
    step_real = (top_real * low_real + top_imag * low_imag) * scale
    step_imag = (top_imag * low_real - top_real * low_imag) * scale
    return r + step_real / c["circle"], v + step_imag


def _riccati(system: Flow, state: State, inputs: Inputs, dt: jax.Array) -> Step:
    c = system.constants
    time = dt * c["rate"]

    def kick(state: State, fraction: float, weight: float, gradient: float = 0.0) -> Step:
        (r, v), (input_r, input_v) = state, inputs(fraction)
        outer = input_v - c["held"]
        push = c["coupling"] * r + outer
        bend = 2.0 * push * (c["coupling"] * r - outer)
        shift = weight * time * push + (gradient * time**3) * bend
        if "r" in system.noisy:
            shift_r = weight * time * (input_r - c["held_r"])
            shift = shift + 0.5 * weight * time * c["coupling"] * shift_r
            r = r + shift_r
        return (r, v + shift), bend

    begun, _ = kick(state, 0.0, 1.0 / 6.0)
    middle = _riccati_flow(begun, c)
    kicked, bend = kick(middle, 0.5, 2.0 / 3.0, 1.0 / 72.0)
    late = _riccati_flow(kicked, c)
    end, _ = kick(late, 1.0, 1.0 / 6.0)
    # Simpson's weights against the midpoint's, and what the gradient adds to Strang's splitting.
    bow = (time / 6.0) * c["coupling"] * (begun[0] - (middle[0] + kicked[0]) + late[0])
    difference = jnp.abs(bow) + jnp.abs((time**3 / 72.0) * bend)
    shifted_v = end[1] - state[1]
    moved = shifted_v * shifted_v
    inverse = 1.0 / _larger(system.square(state), system.square(end))
    estimate = (difference * difference + (STRIDE * moved) * (moved * inverse)) * inverse
    return end, estimate


def _of_polynomial(coefficients: tuple[float, ...]) -> Callable[[Array, Array, Array], Array]:
    """Return |R|^2 of a polynomial R(z) with these coefficients, in real arithmetic, which rounds one way."""

    def amplification(x: Array, y: Array, own: Array) -> Array:
        real, imag = np.full_like(x, coefficients[-1]), np.zeros_like(x)
        for coefficient in reversed(coefficients[:-1]):
            real, imag = real * x - imag * y + coefficient, real * y + imag * x
        squared: Array = real * real + imag * imag
        return squared

    return amplification


def _exp_auto_amplification(x: Array, y: Array, own: Array) -> Array:
    phi = np.where(own == 0.0, 1.0, np.expm1(own) / np.where(own == 0.0, 1.0, own))
    squared: Array = (1.0 + phi * x) ** 2 + (phi * y) ** 2
    return squared


INTEGRATORS: dict[str, Integrator] = {
    row.name: row
    for row in (
        Integrator(
            "riccati",
            _riccati,
            order=4,
            estimate_order=3,
            error_factor=30.0,
            caution=0.25,
            amplification=None,
            meaning="exact flow of the Riccati equation at held coupling, and kicks by what was held, "
            "composed to fourth order with a gradient",
            reference="the composition is 4A of Chin, Phys. Lett. A 226, 344 (1997)",
            prepare=_riccati_constants,
            plain=True,
        ),
        Integrator(
            "rk4",
            _rk4,
            order=4,
            estimate_order=3,
            error_factor=40.0,
            caution=0.12,
            amplification=_of_polynomial((1.0, 1.0, 1 / 2, 1 / 6, 1 / 24)),
            meaning="classical Runge-Kutta",
            reference="Kutta, Z. Math. Phys. 46, 435 (1901)",
        ),
        Integrator(
            "heun",
            _heun,
            order=2,
            estimate_order=2,
            error_factor=10.0,
            caution=0.02,
            amplification=_of_polynomial((1.0, 1.0, 1 / 2)),
            meaning="Heun's method",
            reference="Heun, Z. Math. Phys. 45, 23 (1900)",
        ),
        Integrator(
            "euler",
            _euler,
            order=1,
            estimate_order=2,
            error_factor=10.0,
            caution=0.005,
            amplification=_of_polynomial((1.0, 1.0)),
            meaning="explicit Euler",
            reference="Euler, Institutiones calculi integralis (1768)",
        ),
        Integrator(
            "exp_auto",
            _exp_auto,
            order=1,
            estimate_order=2,
            error_factor=10.0,
            caution=0.005,
            amplification=_exp_auto_amplification,
            meaning="exponential Euler, each variable by its own derivative, as in the reference class",
            reference="BrainPy 2.3.0, rates.QIF, method='exp_auto'",
            plain=True,
        ),
    )
}


def integrators_of(model: Model) -> list[str]:
    """Return the names of the integrators that can step a model, the one to take by default first."""
    return [row.name for row in INTEGRATORS.values() if row.steps(model)]
