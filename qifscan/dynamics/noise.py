"""Ornstein-Uhlenbeck noise by its exact step, from a counter-based generator.

z' = (mean - z)/ou_tau + sigma xi is added to the equation of a variable (outside its derivative, inside
the division by tau). Its stationary standard deviation is sigma sqrt(ou_tau / 2).

The stream of a point is named by what the point is: a 64-bit hash of the seed, the names and values of
all its parameters, and its replicate is the key of the generator; the counter is half the number of the
step, and the variable: two steps take the two normals of one counter. So no chunking, order or extension can
change it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from qifscan.dynamics.domain import NON_NEGATIVE, POSITIVE
from qifscan.dynamics.model import Model, Parameter, Variable
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.typing import ArrayLike, DTypeLike

    from qifscan.arrays import Array, Column, Columns, Index, Words

    Pair = tuple[jax.Array, jax.Array]
else:
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")

INITIAL_STEP = 2**32 - 1
"""Counter of the draw that puts the noise into its stationary law; no step reaches it."""


ROUNDS = 13
"""Rounds of Threefry: from 13 on its authors knew of no statistical flaw of the 2x32 form (the header
`threefry.h` of Random123, 2011), and they default to 20 for margin. The results of TestU01's BigCrush in
Salmon, Moraes, Dror, Shaw, SC11, table 2, are of its other widths; what was tested here is in
benchmarks/noise_battery.py. The seven rounds less are a twentieth to a tenth of a run with noise."""


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


def ou_constants(model: Model, parameters: Columns, dt: Array | float) -> dict[str, Array]:
    """Return what the exact step reads, per variable: mean, decay, gain, and the stationary std.

    z(t + dt) = mean + (z(t) - mean) decay + gain N(0, 1), with decay = exp(-dt/ou_tau) and
    gain = sigma sqrt(ou_tau/2 (1 - exp(-2 dt/ou_tau))): exact in law for any dt (Gillespie,
    Phys. Rev. E 54, 2084 (1996), eqs 1.9 and 2.47). All in float64, one value per point; `dt` is a number
    or one per point.
    """
    constants: dict[str, Array] = {}
    for name in model.input_names:
        sigma, ou_tau = parameters[f"{name}_ou_sigma"], parameters[f"{name}_ou_tau"]
        constants[f"{name}_mean"] = parameters[f"{name}_ou_mean"]
        constants[f"{name}_decay"] = np.exp(-dt / ou_tau)
        constants[f"{name}_gain"] = sigma * np.sqrt(-np.expm1(-2.0 * dt / ou_tau) * ou_tau / 2.0)
        constants[f"{name}_std"] = sigma * np.sqrt(ou_tau / 2.0)
    return constants


def bridge_constants(model: Model, parameters: Columns, dt: Array, depths: int) -> dict[str, Array]:
    """Return what halves a step of a path that is there already, per variable: `(points, depths)` each.

    Half-way between z(t) and z(t + 2h), given both, z is normal with mean
    `mean + weight (z(t) + z(t + 2h) - 2 mean)` and standard deviation `spread`, where
    weight = 1/(2 cosh(h/ou_tau)) and spread = sigma sqrt(ou_tau/2 tanh(h/ou_tau)): the path of a point is
    the same at every step, only known at more times. h = dt/2, dt/4, ...
    """
    half = np.asarray(dt)[:, None] * 0.5 ** np.arange(1, depths + 1)
    constants: dict[str, Array] = {}
    for name in model.input_names:
        sigma, ou_tau = parameters[f"{name}_ou_sigma"][:, None], parameters[f"{name}_ou_tau"][:, None]
        # cosh overflows far beyond any time constant; there the two ends tell nothing.
        constants[f"{name}_weight"] = 0.5 / np.cosh(np.minimum(half / ou_tau, 700.0))
        constants[f"{name}_spread"] = sigma * np.sqrt(ou_tau / 2.0 * np.tanh(half / ou_tau))
    return constants


def average_constants(model: Model, parameters: Columns, dt: Array) -> dict[str, Array]:
    """Return what the mean of the noise over a step is made of, per variable, in float64.

    Given z at both ends of a step, its mean over the step is normal, with mean
    `mean + weight (z(t) + z(t + dt) - 2 mean)` and standard deviation `spread`, where with x = dt/ou_tau
    weight = tanh(x/2)/x and spread = sigma ou_tau sqrt(dt - 2 ou_tau tanh(x/2))/dt. Both ends and the mean
    then have the joint law of an Ornstein-Uhlenbeck process and its integral (Gillespie, Phys. Rev. E 54,
    2084 (1996), section III), for a step however long.
    """
    constants: dict[str, Array] = {}
    for name in model.input_names:
        sigma, ou_tau = parameters[f"{name}_ou_sigma"], parameters[f"{name}_ou_tau"]
        tanh = np.tanh(0.5 * dt / ou_tau)
        left = np.maximum(dt - 2.0 * ou_tau * tanh, 0.0)
        constants[f"{name}_average_weight"] = tanh * ou_tau / dt
        constants[f"{name}_average_spread"] = sigma * ou_tau * np.sqrt(left) / dt
    return constants


def _name_word(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def _mix(words: Words) -> Words:
    """Return the words with every bit depending on every other (the finaliser of SplitMix64)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def distinct(texts: Column) -> tuple[Column, Index]:
    """Return the texts there are, and of each element which it is."""
    if texts.size and (texts == texts.flat[0]).all():
        return texts.ravel()[:1], np.zeros(texts.shape, dtype=np.intp)  # most scans have one; sorting is slow
    return np.unique(texts, return_inverse=True)


def _column_words(values: Column) -> Words:
    """Return one word per value: the bits of a float64 (-0.0 counts as 0.0), a hash of a text."""
    values = np.asarray(values)
    if values.dtype.kind in "US":
        texts, inverse = distinct(values)
        words: Words = np.array([_name_word(str(text)) for text in texts], dtype=np.uint64)[inverse]
        return words
    return (np.ascontiguousarray(values, dtype=np.float64) + 0.0).view(np.uint64)


def point_keys(seed: int, columns: Mapping[str, Column], replicate: Column) -> Words:
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


Word = TypeVar("Word", "jax.Array", "Column")


def threefry2x32(
    key: tuple[Word, Word], counter: tuple[Word, Word], rounds: int = ROUNDS
) -> tuple[Word, Word]:
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


def _polynomial(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


@dataclass(frozen=True)
class _Form:
    """A precision: bits of the mantissa, the exponent field of 1/2, and polynomials: -2 ln(1 + f)/f in f on
    [-1/2, 0]; of a turn y of up to half a right angle, sin(pi/2 y)/y and cos(pi/2 y) in y^2.

    Fitted at Chebyshev's points. The error before rounding, relative for the first: 4e-8, 5e-9 and 3e-8, and
    in float64 1e-16 at most.
    """

    bits: str
    mantissa: int
    half: int
    log: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]


_FORMS = {
    "float32": _Form(
        "int32",
        23,
        126,
        (
            -2.00000003871,
            0.999987493546,
            -0.667323983513,
            0.486874880197,
            -0.529095167677,
            -0.363143295527,
            -2.41002779289,
            -3.2604233808,
            -2.81591340573,
        ),
        (1.570796322, -0.6459634777, 0.07968021765, -0.004602149213),
        (0.9999999723, -1.233697007, 0.2535985713, -0.02040815839),
    ),
    "float64": _Form(
        "int64",
        52,
        1022,
        (
            -1.9999999999999999,
            1.0000000000001084,
            -0.66666666663791408,
            0.50000000301955846,
            -0.3999998327015164,
            0.3333389817439639,
            -0.28558769602569363,
            0.25199045468891495,
            -0.19942587190958786,
            0.39512025898585068,
            1.0879822095848296,
            6.5156299207790072,
            24.345242976075622,
            72.993775881403467,
            165.43065102595427,
            282.79769731842255,
            351.51087330215646,
            301.89744621312372,
            160.51833200839551,
            40.5140616236823,
        ),
        (
            1.5707963267948966,
            -0.64596409750624432,
            0.079692626246043003,
            -0.004681754132340976,
            0.00016044115074219091,
            -3.5986433529823097e-6,
            5.633933781537854e-8,
        ),
        (
            1.0,
            -1.2337005501361513,
            0.25366950789986473,
            -0.020863480734946569,
            0.00091925995004166092,
            -2.5200135264284791e-5,
            4.6552961874867622e-7,
        ),
    ),
}


def normals(first: jax.Array, second: jax.Array, dtype: DTypeLike) -> Pair:
    """Return two independent standard normals of 32 random bits and 32 more (Box and Muller, Ann. Math. Stat.
    29, 610 (1958)): sqrt(-2 ln u) cos(2 pi w) and sqrt(-2 ln u) sin(2 pi w).

    u = (k + 1/2)/2^32, so they reach 6.76. What lies above 1/2 is taken as 1 - u, which is small: no
    logarithm cancels. Two bits of the second word choose the quarter of the circle, the others the turn
    within 45 degrees of its middle. The law is exactly symmetric. Rounding makes the error of float32 3e-7 of
    the radius.
    """
    form = _FORMS[jnp.dtype(dtype).name]
    radius, turn = _radius(first, dtype, form), second.astype(jnp.int32)
    y = ((turn << 2) | 2).astype(dtype) * 2.0**-32
    along, across = _polynomial(y * y, form.cosine), y * _polynomial(y * y, form.sine)
    along = jnp.where(turn < 0, -along, along)
    swapped = (turn << 1) < 0
    return radius * jnp.where(swapped, across, along), radius * jnp.where(swapped, along, across)


def _radius(word: jax.Array, dtype: DTypeLike, form: _Form) -> jax.Array:
    """Return sqrt(-2 ln u), u = (k + 1/2)/2^32 for a word k, by ln u = e ln 2 + ln(1 + f)."""
    signed = word.astype(jnp.int32)
    above = signed < 0
    small = (jnp.where(above, ~signed, signed).astype(dtype) + 0.5) * 2.0**-32
    bits = lax.bitcast_convert_type(small, form.bits)
    fraction = (bits & ((1 << form.mantissa) - 1)) | (form.half << form.mantissa)
    f = jnp.where(above, -small, lax.bitcast_convert_type(fraction, dtype) - 1.0)
    scale = -2.0 * math.log(2.0) * ((bits >> form.mantissa) - form.half).astype(dtype)
    # Chosen after the product: in a sum of two products the compiler fuses either one.
    return jnp.sqrt(_polynomial(f, form.log) * f + jnp.where(above, 0.0, scale))


def normal_pair(key: Pair, count: ArrayLike, stream: ArrayLike, dtype: DTypeLike) -> Pair:
    """Return two independent standard normals for every key and stream, at the counter (count, stream)."""
    return normals(*threefry2x32(key, (jnp.uint32(count), jnp.uint32(stream))), dtype)


def step_pair(key: Pair, step: ArrayLike, stream: ArrayLike, dtype: DTypeLike) -> Pair | jax.Array:
    """Return the standard normals of a step and of the one that it shares a pair with, 2k and 2k + 1, for
    `of_step` to take one of."""
    first, second = normal_pair(key, jnp.uint32(step) >> 1, stream, dtype)
    if first.dtype != jnp.float32 or jnp.result_type(int) != jnp.int64:
        return first, second
    # As one result the whole of it is one pass over the points; XLA makes one for every operation that two
    # results need, and most of its time is then loads and stores.
    low, high = (lax.bitcast_convert_type(x, jnp.uint32).astype(jnp.uint64) for x in (first, second))
    return low | (high << 32)


def of_step(pair: Pair | jax.Array, step: ArrayLike) -> jax.Array:
    """Return the normal of a step from its pair."""
    odd = jnp.uint32(step) & 1
    if isinstance(pair, tuple):
        return jnp.where(odd == 1, pair[1], pair[0])
    return lax.bitcast_convert_type((pair >> (odd.astype(jnp.uint64) * 32)).astype(jnp.uint32), jnp.float32)


def split_key(words: Words) -> tuple[Column, Column]:
    """Return 64-bit keys as the two 32-bit words that the generator reads."""
    return (words >> np.uint64(32)).astype(np.uint32), (words & np.uint64(0xFFFFFFFF)).astype(np.uint32)
