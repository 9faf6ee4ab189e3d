"""Ornstein-Uhlenbeck noise by its exact step, from a counter-based generator.

z' = (mean - z)/ou_tau + sigma xi is added to the equation of a variable (outside its derivative, inside
the division by tau). Its stationary standard deviation is sigma sqrt(ou_tau / 2).

The stream of a point is named by what the point is: a 64-bit hash of the seed, the names and values of
all its parameters, and its replicate is the key of the generator; the number of the step and of the pair
of variables is the counter. So no chunking, order or extension can change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.lazy import LazyModule
from qifscan.models import NON_NEGATIVE, POSITIVE, Model, Parameter, Variable

if TYPE_CHECKING:
    import jax.numpy as jnp
else:
    jnp = LazyModule("jax.numpy")

Words = np.ndarray[Any, np.dtype[np.uint64]]

ROUNDS = 13
"""Rounds of Threefry: from 13 on its authors knew of no statistical flaw of the 2x32 form (the header
`threefry.h` of Random123, 2011), and they default to 20 for margin. The results of TestU01's BigCrush in
Salmon, Moraes, Dror, Shaw, SC11, table 2, are of its other widths; what was tested here is in
benchmarks/noise_battery.py. The seven rounds less are a tenth to a fifth of a run with noise."""


def ou_parameters(variable: Variable) -> tuple[Parameter, ...]:
    """Return the parameters of the noise on a variable, if it takes any: mean, sigma and time constant."""
    name, unit = variable.name, variable.input_unit
    if unit is None:
        return ()
    strength = "ms^-0.5" if unit == "1" else f"{unit} ms^-0.5"
    return (
        Parameter(f"{name}_ou_mean", 0.0, unit, f"mean of the noise on {name}"),
        Parameter(f"{name}_ou_sigma", 0.0, strength, f"strength of the noise on {name}", NON_NEGATIVE),
        Parameter(f"{name}_ou_tau", 5.0, "ms", f"time constant of the noise on {name}", POSITIVE),
    )


def ou_constants(model: Model, parameters: Mapping[str, Any], dt: Any) -> dict[str, Any]:
    """Return what the exact step reads, per variable: mean, decay, gain, and the stationary std.

    z(t + dt) = mean + (z(t) - mean) decay + gain N(0, 1), with decay = exp(-dt/ou_tau) and
    gain = sigma sqrt(ou_tau/2 (1 - exp(-2 dt/ou_tau))): exact in law for any dt (Gillespie,
    Phys. Rev. E 54, 2084 (1996), eqs 1.9 and 2.47). All in float64, one value per point; `dt` is a number
    or one per point.
    """
    constants: dict[str, Any] = {}
    for name in model.input_names:
        sigma, ou_tau = parameters[f"{name}_ou_sigma"], parameters[f"{name}_ou_tau"]
        constants[f"{name}_mean"] = parameters[f"{name}_ou_mean"]
        constants[f"{name}_decay"] = np.exp(-dt / ou_tau)
        constants[f"{name}_gain"] = sigma * np.sqrt(-np.expm1(-2.0 * dt / ou_tau) * ou_tau / 2.0)
        constants[f"{name}_std"] = sigma * np.sqrt(ou_tau / 2.0)
    return constants


def bridge_constants(model: Model, parameters: Mapping[str, Any], dt: Any, depths: int) -> dict[str, Any]:
    """Return what halves a step of a path that is there already, per variable: `(points, depths)` each.

    Half-way between z(t) and z(t + 2h), given both, z is normal with mean
    `mean + weight (z(t) + z(t + 2h) - 2 mean)` and standard deviation `spread`, where
    weight = 1/(2 cosh(h/ou_tau)) and spread = sigma sqrt(ou_tau/2 tanh(h/ou_tau)): the path of a point is
    the same at every step, only known at more times. h = dt/2, dt/4, ...
    """
    half = np.asarray(dt)[:, None] * 0.5 ** np.arange(1, depths + 1)
    constants: dict[str, Any] = {}
    for name in model.input_names:
        sigma, ou_tau = parameters[f"{name}_ou_sigma"][:, None], parameters[f"{name}_ou_tau"][:, None]
        # cosh overflows far beyond any time constant; there the two ends tell nothing.
        constants[f"{name}_weight"] = 0.5 / np.cosh(np.minimum(half / ou_tau, 700.0))
        constants[f"{name}_spread"] = sigma * np.sqrt(ou_tau / 2.0 * np.tanh(half / ou_tau))
    return constants


def _name_word(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def _mix(words: Words) -> Words:
    """Return the words with every bit depending on every other (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _column_words(values: Any) -> Words:
    """Return one word per value: the bits of a float64 (-0.0 counts as 0.0), a hash of a text."""
    values = np.asarray(values)
    if values.dtype.kind in "US":
        texts, inverse = np.unique(values, return_inverse=True)
        return np.array([_name_word(str(text)) for text in texts], dtype=np.uint64)[inverse]
    return (np.ascontiguousarray(values, dtype=np.float64) + 0.0).view(np.uint64)


def point_keys(seed: int, columns: Mapping[str, Any], replicate: Any) -> Words:
    """Return the 64-bit key of every point's noise, shape `(points,)`.

    `columns` holds the parameters that name the point, one array `(points,)` each, numbers or texts;
    `replicate` is an integer array `(points,)`. Without columns all points share the path of their
    replicate (common noise).
    """
    with np.errstate(over="ignore"):
        words = _mix(np.asarray(replicate).astype(np.uint64) + _name_word(f"seed {seed}"))
        for name in sorted(columns):
            words = _mix(words ^ _mix(_column_words(columns[name]) + _name_word(name)))
    return words


_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def threefry2x32(key: tuple[Any, Any], counter: tuple[Any, Any], rounds: int = ROUNDS) -> tuple[Any, Any]:
    """Return two words of 32 random bits for every key and counter (Threefry-2x32).

    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = counter[0] + schedule[0], counter[1] + schedule[1]
    for round_number in range(rounds):
        distance = _ROTATIONS[round_number % 8]
        x0 = x0 + x1
        x1 = ((x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))) ^ x0
        if round_number % 4 == 3:
            injection = round_number // 4 + 1
            x0 = x0 + schedule[injection % 3]
            x1 = x1 + schedule[(injection + 1) % 3] + np.uint32(injection)
    return x0, x1


def _polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


_INVERSE: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "float32": (
        (-3.20143126, -7.74924596, 3.3564607, 4.11654231, 0.49601984),
        (1.0, 5.39740233, 4.13837411, 0.49572047),
    ),
    "float64": (
        (
            -3.65153095332551,
            -31.3456580293142,
            -33.6542416586589,
            18.3740956670335,
            22.1920762871355,
            5.69555876474124,
            0.607133323939152,
            0.0216210988509967,
        ),
        (
            1.0,
            13.9767825673619,
            34.714286570415,
            24.3839629074218,
            5.80602796058586,
            0.607532393593487,
            0.021618429098484,
        ),
    ),
}
"""Numerator and denominator in t = sqrt(-2 ln u) of the normal that u of the law lies beyond, fitted to the
least largest error over 2^-33 <= u <= 1/2: 4e-8 and 4e-13, before rounding."""


def standard_normal(bits: Any, dtype: Any) -> Any:
    """Return the standard normal of 32 random bits each, by the inverse of the normal law.

    The first bit is the sign, the others say how far out in its tail: u = (k + 1/2)/2^32 for k below 2^31.
    The law is exactly symmetric, and reaches 6.34, where the tail has 2^-33. Rounding makes the error of
    float32 6e-7 of the larger of the normal and 1.
    """
    signed = bits.astype(jnp.int32)
    tail = ((signed & 0x7FFFFFFF).astype(dtype) + 0.5) * 2.0**-32
    t = jnp.sqrt(-2.0 * jnp.log(tail))
    numerator, denominator = _INVERSE[tail.dtype.name]
    # The quotient comes last: XLA computes again what is cheap for every use of it, and that is not.
    return jnp.where(signed < 0, -1.0, 1.0) * _polynomial(t, numerator) / _polynomial(t, denominator)


def normal_pair(key: tuple[Any, Any], step: Any, pair: Any, dtype: Any) -> tuple[Any, Any]:
    """Return two independent standard normals for every key, at counter (step, pair); either costs itself."""
    counter = (jnp.broadcast_to(jnp.uint32(step), key[0].shape), jnp.full_like(key[0], pair))
    first, second = threefry2x32(key, counter)
    return standard_normal(first, dtype), standard_normal(second, dtype)


def split_key(words: Words) -> tuple[Any, Any]:
    """Return 64-bit keys as the two 32-bit words that the generator reads."""
    return (words >> np.uint64(32)).astype(np.uint32), (words & np.uint64(0xFFFFFFFF)).astype(np.uint32)
