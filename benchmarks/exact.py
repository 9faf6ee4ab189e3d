"""Nothing is missed and nothing is false: the theory beside exact algebra that shares no code with it.

The models are written down again here, as a scalar equation for the rate and the transfer function of what
feeds back on it. At given parameters, which are binary fractions, and pi to 60 digits everything that is
asked is then a polynomial in the rate and at most one parameter with rational coefficients. A parameter that
varies is eliminated exactly; the real roots of what is left are isolated by FLINT in ball arithmetic, each
with a proof. So the list of folds, Hopf points, neutral saddles, cusps and Bogdanov-Takens points is complete.

Slices are random over wide ranges; a third of them is moved next to where two Hopf points meet. Writes a JSON
record, and each failure as one line of Python that shows it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# One thread, also in the linear algebra; before NumPy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import flint
import numpy as np
import xarray as xr

import qifscan as qs
from qifscan.errors import ScanError

Array = Any
Poly = flint.fmpq_poly

BITS = 260
"""Precision of the balls: 78 digits."""

PI = flint.fmpq(3141592653589793238462643383279502884197169399375105820974945, 10**60)

CODES = {"LP": 2, "HB": 3, "NSA": 30, "CP": -22, "BT": -21, "GH": -32}

SPAN = (1e-6, 1e6)
"""Rates that `special_points` looks at by default, in units of sqrt(delta)/(pi tau)."""

SAME = 1e-4
"""Relative distance in the rate up to which two points of one type are taken for the same."""

PLACE = 1e-8
"""Relative error of a place from which on it is wrong."""

L, P, X = range(3)
RING = flint.fmpq_mpoly_ctx.get(("l", "p", "x"), "lex")
LAMBDA, PARAMETER, RATE = RING.gens()
ONE = RING.constant(1)


# The models once more: (given, r) -> (eta = numerator/denominator, characteristic polynomial in lambda)


def cell(given: Mapping[str, Any], r: Any) -> tuple[Any, Any, Any]:
    """Return q = 2 pi tau r, with v = -delta/q at rest; tau; delta."""
    return 2 * PI * given["tau"] * r, given["tau"], given["delta"]


def relative(given: Mapping[str, Any], r: Any, coupling: Any, transfer: Any) -> tuple[Any, Any, Any]:
    """Return the equations of tau v' = v^2 + eta + K - (pi tau r)^2 from K(r) and its transfer function.

    Each of the two is a pair (numerator, denominator).
    """
    q, tau, delta = cell(given, r)
    above, below = coupling
    numerator = q**4 * below - 4 * delta**2 * below - 4 * above * q**2
    on, under = transfer
    direct = (tau * LAMBDA * q + 2 * delta) ** 2 + 4 * (PI * tau * r * q) ** 2
    return numerator, 4 * q**2 * below, direct * under - 2 * r * q**2 * on


def qif(given: Mapping[str, Any], r: Any) -> Any:
    J = given["J"] * given["tau"]
    return relative(given, r, (J * r, ONE), (J * ONE, ONE))


def adaptation(order: int) -> Callable[..., Any]:
    def equations(given: Mapping[str, Any], r: Any) -> Any:
        J, strength = given["J"] * given["tau"], given["alpha"] * given["tau_a"]
        lag = (1 + given["tau_a"] * LAMBDA) ** order
        return relative(given, r, ((J - strength) * r, ONE), (J * lag - strength, lag))

    return equations


def depression(order: int) -> Callable[..., Any]:
    def equations(given: Mapping[str, Any], r: Any) -> Any:
        J, strength = given["J"] * given["tau"], given["alpha"] * given["tau_a"]
        lag = (1 + given["tau_a"] * LAMBDA) ** order
        left = 1 - strength * r
        return relative(given, r, (J * r * left, ONE), (J * left * lag - J * r * strength, lag))

    return equations


def plasticity(given: Mapping[str, Any], r: Any) -> Any:
    J, U = given["J"] * given["tau"], given["U"]
    tau_f, tau_d = given["tau_f"], given["tau_d"]
    a, b = 1 + tau_f * r, 1 + U * tau_f * r
    d = b + tau_d * U * a * r
    facilitated = a * (b + tau_f * LAMBDA) + r * tau_f * (1 - U)
    on = J * U * b * (tau_d * LAMBDA + 1) * facilitated
    return relative(
        given, r, (J * U * a * r, d), (on, d * (b + tau_f * LAMBDA) * (tau_d * b * LAMBDA + d))
    )


def synapse(given: Mapping[str, Any], r: Any) -> Any:
    J = given["J"] * given["tau"]
    return relative(given, r, (J * r, ONE), (J * ONE, 1 + given["tau_d"] * LAMBDA))


def gap(given: Mapping[str, Any], r: Any) -> Any:
    q, tau, delta = cell(given, r)
    J, g = given["J"] * tau, given["g"]
    numerator = q**4 - (g * q - 2 * delta) ** 2 - 4 * J * r * q**2
    direct = (tau * LAMBDA * q + 2 * delta) * (tau * LAMBDA * q + 2 * delta - g * q)
    return numerator, 4 * q**2, direct - 2 * r * q**2 * (J - 2 * (PI * tau) ** 2 * r)


def inhibitory_rate(given: Mapping[str, Any], r: Any) -> tuple[Any, Any]:
    """Return r_i of the pair as a fraction."""
    q = 2 * PI * given["tau_e"] * r
    missing = q**4 - 4 * given["delta_e"] ** 2 - 4 * (given["eta_e"] + given["J_ee"] * given["tau_e"] * r) * q**2
    return missing, 4 * q**2 * given["J_ei"] * given["tau_e"]


def pair(given: Mapping[str, Any], r: Any) -> Any:
    t_e, t_i = given["tau_e"], given["tau_i"]
    q = 2 * PI * t_e * r
    m, s = inhibitory_rate(given, r)
    w = 2 * PI * t_i * m
    delta_i = given["delta_i"]
    numerator = w**4 - 4 * delta_i**2 * s**4 - 4 * t_i * w**2 * s * (given["J_ie"] * r * s + given["J_ii"] * m)
    excitatory = (t_e * LAMBDA * q + 2 * given["delta_e"]) ** 2
    excitatory = excitatory - 2 * r * q**2 * (given["J_ee"] * t_e - 2 * (PI * t_e) ** 2 * r)
    inhibitory = (t_i * LAMBDA * w + 2 * delta_i * s) ** 2 * s**2
    inhibitory = inhibitory - 2 * m * w**2 * (given["J_ii"] * t_i * s - 2 * (PI * t_i) ** 2 * m)
    loop = 4 * r * m * s * q**2 * w**2 * given["J_ei"] * t_e * given["J_ie"] * t_i
    return numerator, 4 * w**2 * s**2, excitatory * inhibitory - loop


POSITIVE, NOT_NEGATIVE, REAL = "positive", "not negative", "real"


@dataclass(frozen=True)
class Row:
    """A model: its equations, the order of its characteristic polynomial, random ranges of its parameters.

    A range (low, high, "log") is log-uniform, (low, high) uniform; `domain` of those that must be positive.
    """

    equations: Callable[..., Any]
    order: int
    ranges: Mapping[str, tuple[Any, ...]]
    graph: str = "eta"
    of: str = ""

    @property
    def names(self) -> list[str]:
        return [*self.ranges]


NEURONS = {"tau": (0.3, 5.0, "log"), "delta": (1e-2, 1e1, "log")}
COUPLED = NEURONS | {"J": (1.0, 60.0, "log")}
ADAPTING = COUPLED | {"alpha": (1e-4, 1e1, "log"), "tau_a": (1e-1, 1e3, "log")}

MODELS = {
    "qif": Row(qif, 2, COUPLED),
    "qif_adaptation_alpha": Row(adaptation(2), 4, ADAPTING),
    "qif_adaptation_exponential": Row(adaptation(1), 3, ADAPTING),
    "qif_depression_alpha": Row(depression(2), 4, ADAPTING),
    "qif_depression_exponential": Row(depression(1), 3, ADAPTING),
    "qif_plasticity": Row(
        plasticity,
        4,
        COUPLED | {"J": (5.0, 500.0, "log"), "U": (0.02, 1.0), "tau_f": (1.0, 2e3, "log"), "tau_d": (1.0, 1e3, "log")},
    ),
    "qif_synapse": Row(synapse, 3, COUPLED | {"tau_d": (1e-1, 1e2, "log")}),
    "qif_gap": Row(gap, 2, COUPLED | {"g": (1e-2, 1e1, "log")}),
    "qif_pair": Row(
        pair,
        4,
        {
            "tau_e": (0.5, 5.0, "log"),
            "eta_e": (-10.0, 10.0),
            "delta_e": (1e-1, 3.0, "log"),
            "tau_i": (0.5, 5.0, "log"),
            "delta_i": (1e-1, 3.0, "log"),
            "J_ee": (5.0, 60.0, "log"),
            "J_ei": (-60.0, -5.0),
            "J_ie": (-30.0, 60.0),
            "J_ii": (-30.0, 30.0),
        },
        graph="eta_i",
        of="_e",
    ),
}

ABOVE_ZERO = {"delta", "tau", "tau_a", "tau_f", "tau_d", "delta_e", "delta_i", "tau_e", "tau_i"}
AT_LEAST_ZERO = {"alpha", "g"}


# Polynomials in p and x


def rational(value: float) -> Any:
    return flint.fmpq(*float(value).as_integer_ratio())


def by_powers(number: Any, which: int) -> list[Any]:
    """Return the coefficients of the powers of a generator, as polynomials in the others."""
    parts: dict[int, dict[tuple[int, ...], Any]] = {}
    for powers, coefficient in number.to_dict().items():
        rest = list(powers)
        rest[which] = 0
        parts.setdefault(int(powers[which]), {})[tuple(rest)] = coefficient
    return [RING.from_dict(parts.get(k, {})) for k in range(max(parts, default=0) + 1)]


def in_p(number: Any) -> list[Poly]:
    """Return a polynomial in p and x as its coefficients of the powers of p, polynomials in x."""
    rows: dict[int, dict[int, Any]] = {}
    for powers, coefficient in number.to_dict().items():
        rows.setdefault(int(powers[P]), {})[int(powers[X])] = coefficient
    found = []
    for k in range(max(rows, default=0) + 1):
        row = rows.get(k, {})
        found.append(Poly([row.get(i, flint.fmpq(0)) for i in range(max(row, default=0) + 1)]))
    return found


def primitive(terms: Sequence[Poly]) -> list[Poly]:
    """Return a polynomial in p without the factors that its coefficients share."""
    common = Poly()
    for term in terms:
        common = common.gcd(term)
    return [divmod(term, common)[0] for term in terms] if common.degree() > 0 else list(terms)


def without_x(one: Poly) -> Poly:
    low = next((k for k, c in enumerate(one.coeffs()) if c != 0), 0)
    return Poly(one.coeffs()[low:])


def positive_roots(one: Poly) -> list[Any]:
    """Return the real roots above 0, each once, as balls with a proof, ascending."""
    one = without_x(one)
    if one.degree() < 1:
        return []
    found = [root for root, _ in one.numer().complex_roots() if root.imag == 0 and root.real > 0]
    return sorted((root.real for root in found), key=float)


def at(one: Poly, x: Any) -> Any:
    """Return the value at a ball."""
    found = flint.arb(0)
    for coefficient in reversed(one.coeffs()):
        found = found * x + flint.arb(coefficient)
    return found


def in_both(terms: Sequence[Poly], p: Any, x: Any) -> Any:
    found = flint.arb(0)
    for term in reversed(terms):
        found = found * p + at(term, x)
    return found


def common_zeros(condition: Sequence[Poly], other: Sequence[Poly]) -> list[tuple[Any, Any]]:
    """Return all real (x, p), x > 0, at which two polynomials are 0; the first is of degree 1 or 2 in p."""
    condition = primitive(condition)
    degree = len(condition) - 1
    if degree == 1:
        below, above = condition[1], -condition[0]
        left, power = Poly(), Poly([1])
        # Horner's rule with fractions: sum of F_j above^j below^(d - j).
        for k in range(len(other) - 1, -1, -1):
            left = left * above + other[k] * power
            power = power * below
        found = []
        for x in positive_roots(left):
            under = at(below, x)
            if not under.contains(0):
                found.append((x, at(above, x) / under))
        return found
    c0, c1, c2 = condition
    # The remainder a + b p of the other one, times powers of c2.
    a, b, power = Poly(), Poly(), Poly([1])
    for k in range(len(other) - 1, -1, -1):
        a, b = -b * c0, a * c2 - b * c1
        power = power * c2
        a = a + other[k] * power
    shared = a.gcd(b)
    a, b = divmod(a, shared)[0], divmod(b, shared)[0]
    # Where both coefficients of the remainder are 0 both values of p count.
    found = []
    for part, whole in ((a * a * c2 - a * b * c1 + b * b * c0, False), (shared, True)):
        for x in positive_roots(part):
            found += [(x, p) for p in quadratic(c0, c1, c2, x) if whole or (at(a, x) + at(b, x) * p).contains(0)]
    return found


def quadratic(c0: Poly, c1: Poly, c2: Poly, x: Any) -> list[Any]:
    z0, z1, z2 = at(c0, x), at(c1, x), at(c2, x)
    inside = z1 * z1 - 4 * z0 * z2
    if z2.contains(0) or not inside >= 0:
        return []
    root = inside.sqrt()
    return [(-z1 + root) / (2 * z2), (-z1 - root) / (2 * z2)]


def hurwitz(a: Sequence[Any]) -> Any:
    """Return what is 0 where two eigenvalues add up to 0, from a_0 l^n + ... + a_n."""
    if len(a) == 3:
        return a[1]
    if len(a) == 4:
        return a[1] * a[2] - a[0] * a[3]
    return (a[1] * a[2] - a[0] * a[3]) * a[3] - a[1] ** 2 * a[4]


@dataclass(frozen=True)
class Point:
    """A special point: type, rate, value of the varied parameter, and eta where that varies too."""

    type: str
    r: float
    value: float
    other: float = math.nan


@dataclass(frozen=True)
class Algebra:
    """One slice of a model: eta = numerator/denominator and the characteristic polynomial, in p and x.

    x is the rate in `unit`; p the parameter `along`, or nothing where that is the graph's.
    """

    row: Row
    along: str
    given: Mapping[str, float]
    unit: float
    numerator: Any
    denominator: Any
    spectrum: list[Any]

    @classmethod
    def of(cls, model: str, along: str, given: Mapping[str, float]) -> Algebra:
        row = MODELS[model]
        delta, tau = (given.get(n + row.of, 1.0) for n in ("delta", "tau"))
        unit = math.sqrt(delta) / (math.pi * tau)
        exact = {name: rational(value) for name, value in given.items() if name != row.graph}
        if along != row.graph:
            exact[along] = PARAMETER
        above, below, spectrum = row.equations(exact, rational(unit) * RATE)
        a = by_powers(spectrum, L)[::-1]
        assert len(a) == row.order + 1
        return cls(row, along, given, unit, above, below, a)

    def condition(self) -> list[Poly]:
        """Return what is 0 on the equilibria at the given eta."""
        return in_p(self.numerator - rational(self.given[self.row.graph]) * self.denominator)

    def allowed(self, x: Any, p: Any) -> bool:
        """Tell whether a rate and a parameter are ones that there can be."""
        if not SPAN[0] <= float(x) <= SPAN[1]:
            return False
        if p is not None and self.along in ABOVE_ZERO and not p > 0:
            return False
        if p is not None and self.along in AT_LEAST_ZERO and not p >= 0:
            return False
        return self.row.of == "" or self.inhibitory(x, p) > 0

    def inhibitory(self, x: Any, p: Any) -> Any:
        exact = {name: flint.arb(rational(value)) for name, value in self.given.items()}
        if p is not None:
            exact[self.along] = p
        above, below = inhibitory_rate(exact, flint.arb(rational(self.unit)) * x)
        return above / below

    def type_at(self, x: Any, p: Any) -> str:
        """Return HB or NSA by the sign of the square of the frequency."""
        a = self.spectrum
        n = len(a) - 1
        above, below = (a[3], a[1]) if n == 4 else (a[2], a[0])
        square = self.value(above, x, p) / self.value(below, x, p)
        return "HB" if square > 0 else "NSA" if square < 0 else "?"

    def value(self, number: Any, x: Any, p: Any) -> Any:
        return in_both(in_p(number), flint.arb(0) if p is None else p, x)

    def special(self) -> list[Point]:
        """Return every LP, HB and NSA."""
        fold, turning = in_p(self.spectrum[-1]), in_p(hurwitz(self.spectrum))
        found = []
        if self.along == self.row.graph:
            zeros = [[(x, None) for x in positive_roots(without_common(f[0], self))] for f in (fold, turning)]
        else:
            condition = self.condition()
            zeros = [common_zeros(condition, f) for f in (fold, turning)]
        for name, some in zip(("LP", "HB"), zeros, strict=True):
            for x, p in some:
                if self.allowed(x, p):
                    kind = name if name == "LP" else self.type_at(x, p)
                    value = self.value(self.numerator, x, None) / self.value(self.denominator, x, None) if p is None else p
                    found.append(Point(kind, float(x) * self.unit, float(value)))
        return sorted(found, key=lambda point: point.r)

    def second_order(self) -> list[Point]:
        """Return every CP and BT in the plane of eta and p."""
        n, d = self.numerator, self.denominator
        n1, d1 = n.derivative(X), d.derivative(X)
        fold = in_p(n1 * d - n * d1)
        cusp = in_p(n1.derivative(X) * d - n * d1.derivative(X))
        found = []
        for name, other in (("CP", cusp), ("BT", in_p(self.spectrum[-2]))):
            for x, p in common_zeros(fold, other):
                if self.allowed(x, p):
                    eta = self.value(n, x, p) / self.value(d, x, p)
                    found.append(Point(name, float(x) * self.unit, float(p), float(eta)))
        return sorted(found, key=lambda point: point.r)

    def equilibria(self) -> list[Any]:
        """Return the rates of all equilibria, as balls."""
        (condition,) = in_p(self.numerator - rational(self.given[self.row.graph]) * self.denominator)
        return [x for x in positive_roots(without_common(condition, self)) if self.allowed(x, None)]

    def stable(self, x: Any) -> bool | None:
        """Tell by Hurwitz's criterion whether an equilibrium is stable; None where balls leave it open."""
        a = [self.value(c, x, None) for c in self.spectrum]
        a = [c / a[0] for c in a]
        tests = [*a[1:]]
        if len(a) == 4:
            tests.append(a[1] * a[2] - a[3])
        if len(a) == 5:
            tests += [a[1] * a[2] - a[3], hurwitz(a)]
        if all(test > 0 for test in tests):
            return True
        return False if any(test < 0 for test in tests) else None


def without_common(one: Poly, algebra: Algebra) -> Poly:
    """Return a polynomial without the factors of the denominator of eta: those are no zeros."""
    below = in_p(algebra.denominator)[0]
    while True:
        common = one.gcd(below)
        if common.degree() < 1:
            return one
        one = divmod(one, common)[0]


# Slices: random, and next to where points meet


def draw(ranges: Mapping[str, tuple[Any, ...]], rng: Any) -> dict[str, float]:
    found = {}
    for name, (low, high, *logarithmic) in ranges.items():
        value = np.exp(rng.uniform(np.log(low), np.log(high))) if logarithmic else rng.uniform(low, high)
        found[name] = float(value)
    return found


def centred(model: str, along: str, rng: Any) -> dict[str, float]:
    """Return a random slice; one along another parameter than the graph's passes near a special point."""
    row = MODELS[model]
    given = draw(row.ranges, rng)
    if along == row.graph:
        return given
    algebra = Algebra.of(model, row.graph, given)
    places = algebra.special()
    if places and rng.random() < 0.8:
        eta = places[rng.integers(len(places))].value
    else:
        x = flint.arb(float(np.exp(rng.uniform(np.log(1e-2), np.log(1e2)))))
        eta = float(algebra.value(algebra.numerator, x, None) / algebra.value(algebra.denominator, x, None))
    eta *= 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-5, -0.3)
    return {name: value for name, value in given.items() if name != along} | {row.graph: float(eta)}


def nearly_double(model: str, along: str, given: dict[str, float], rng: Any) -> dict[str, float]:
    """Return the slice moved along a random parameter next to where two points appear, if there is such."""
    names = [name for name in given if given[name] != 0.0]
    name = names[rng.integers(len(names))]

    def count(value: float) -> int:
        return len(Algebra.of(model, along, given | {name: value}).special())

    top = 1.0 if name == "U" else math.inf
    values = [min(given[name] * factor, top) for factor in np.geomspace(0.2, 5.0, 7)]
    counts = [count(value) for value in values]
    turns = [k for k in range(6) if abs(counts[k + 1] - counts[k]) >= 2]
    if not turns:
        return given
    k = turns[rng.integers(len(turns))]
    low, high, fewer, more = values[k], values[k + 1], counts[k], counts[k + 1]
    for _ in range(rng.integers(3, 22)):
        middle = 0.5 * (low + high)
        here = count(middle)
        if (here > min(fewer, more)) == (more > fewer):
            high, more = middle, here
        else:
            low, fewer = middle, here
    return given | {name: float(high if more > fewer else low)}


def slices_of(model: str, along: str, count: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng([seed, *map(ord, model + along)])
    found = []
    for k in range(count):
        given = centred(model, along, rng)
        found.append(nearly_double(model, along, given, rng) if k % 3 == 2 else given)
    return found


# Comparing


@dataclass
class Tally:
    """What came of a comparison; `tied`: points as near to each other as float64 can't tell apart."""

    claim: str
    model: str
    along: str
    slices: int = 0
    found: int = 0
    missed: int = 0
    false: int = 0
    misplaced: int = 0
    tied: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    by_type: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def row(self) -> str:
        return (
            f"{self.claim:12} {self.model:28} {self.along:10} {self.slices:7,} {self.found:8,} {self.missed:7,} "
            f"{self.false:6,} {self.misplaced:9,} {self.tied:5,} {self.worst:9.1e} {self.seconds:7.0f} s"
        )


HEAD = (
    f"{'claim':12} {'model':28} {'along':10} {'slices':>7} {'points':>8} {'missed':>7} "
    f"{'false':>6} {'misplaced':>9} {'tied':>5} {'worst':>9} {'time':>9}"
)

CLOSE = 1e-6
"""Relative distance of two rates below which float64 need not tell two points from none."""


def matched(wanted: Sequence[Point], got: Sequence[Point]) -> tuple[list[tuple[Point, Point]], list[Point], list[Point]]:
    """Return the pairs of one type and place, and what is left of each; nearest first."""
    distances = sorted(
        (abs(math.log(b.r / a.r)) + gap_of(a, b), i, j)
        for i, a in enumerate(wanted)
        for j, b in enumerate(got)
        if a.type == b.type
    )
    pairs, left, right = [], set(range(len(wanted))), set(range(len(got)))
    for distance, i, j in distances:
        if distance > SAME:
            break
        if i in left and j in right:
            left.discard(i)
            right.discard(j)
            pairs.append((wanted[i], got[j]))
    return pairs, [wanted[i] for i in sorted(left)], [got[j] for j in sorted(right)]


def gap_of(a: Point, b: Point) -> float:
    return abs(a.value - b.value) / max(abs(a.value), abs(b.value), 1e-300) if math.isfinite(a.value) else 0.0


def error_of(a: Point, b: Point) -> float:
    return max(abs(b.r / a.r - 1.0), abs(a.value - b.value) / max(abs(a.value), 1.0))


def moved(point: Point, others: Sequence[Point]) -> float:
    """Return how far the nearest point of the same type is."""
    return min((error_of(point, other) for other in others if other.type == point.type), default=math.inf)


def without_twins(points: list[Point]) -> tuple[list[Point], int]:
    """Return the points without pairs that are as good as one double point, and how many those are."""
    kept = [
        a
        for a in points
        if not any(a is not b and abs(math.log(a.r / b.r)) < CLOSE and gap_of(a, b) < CLOSE for b in points)
    ]
    return kept, len(points) - len(kept)


SHAKEN = 2.0**-50
"""Relative change of a parameter, 4 units in the last place, that a right answer in float64 may have seen."""


def shaken(
    find: Callable[[Mapping[str, float]], list[Point]], given: Mapping[str, float]
) -> Iterable[list[Point]]:
    """Return the exact points of slices that differ from one by a few roundings of a parameter."""
    for name, value in given.items():
        for sign in (-1, 1):
            yield find({**given, name: value * (1.0 + sign * SHAKEN)})


def compare(
    tally: Tally,
    find: Callable[[Mapping[str, float]], list[Point]],
    given: Mapping[str, float],
    got: list[Point],
    call: str,
) -> None:
    """Compare the points of a slice; what a few roundings of a parameter change is tied, not wrong."""
    wanted = find(given)
    pairs, missed, false = matched(wanted, got)
    off = [(x, y) for x, y in pairs if not error_of(x, y) < PLACE]
    if missed or false or off:
        others = [*shaken(find, given)]
        if any(sorted(p.type for p in other) != sorted(p.type for p in wanted) for other in others):
            tally.tied += len(missed) + len(false) + len(off)
            missed, false, off = [], [], []
        moves = [(x, max(moved(x, other) for other in others)) for x, _ in off]
        off = [(x, y) for (x, y), (_, move) in zip(off, moves, strict=True) if error_of(x, y) > PLACE + 32 * move]
        pairs = [(x, y) for x, y in pairs if error_of(x, y) < PLACE or (x, y) in off]
    tally.found += len(wanted)
    for point in wanted:
        tally.by_type[point.type] = tally.by_type.get(point.type, 0) + 1
    tally.missed += len(missed)
    tally.false += len(false)
    tally.worst = max([tally.worst, *(error_of(x, y) for x, y in pairs)])
    tally.misplaced += len(off)
    for word, some in (("missed", missed), ("false", false), ("misplaced", [x for x, _ in off])):
        tally.failures += [f"{call}  # {word}: {p.type} at r {p.r!r}, {tally.along} {p.value!r}" for p in some]


def written(function: str, model: str, given: Mapping[str, float], **more: Any) -> str:
    asked = ", ".join(f"{name}={value!r}" for name, value in {**more, **given}.items())
    return f'qs.{function}("{model}", {asked})'


def columns(slices: Sequence[Mapping[str, float]]) -> dict[str, xr.DataArray]:
    return {name: xr.DataArray([one[name] for one in slices], dims="slices") for name in slices[0]}


NAMES = {code: name for name, code in CODES.items()}


def points_of(special: xr.Dataset, count: int, along: str, other: str = "") -> list[list[Point]]:
    found: list[list[Point]] = [[] for _ in range(count)]
    more = special[other].values if other else np.full(special.sizes["point"], np.nan)
    rate = "r" if "r" in special else "r_e"
    for who, kind, r, value, eta in zip(
        special["slice"].values, special["type"].values, special[rate].values, special[along].values, more, strict=True
    ):
        found[int(who)].append(Point(NAMES[int(kind)], float(r), float(value), float(eta)))
    return found


def accepted(model: str, along: str | tuple[str, ...]) -> bool:
    names = (along,) if isinstance(along, str) else along
    try:
        qs.special_points(model, along=along, **{n: v for n, v in middle(model).items() if n not in names})
    except ScanError:
        return False
    return True


def middle(model: str) -> dict[str, float]:
    row = MODELS[model]
    return {n: math.sqrt(a * b) if log else 0.5 * (a + b) for n, (a, b, *log) in row.ranges.items()} | {row.graph: -3.0}


def alongs(model: str) -> list[str]:
    row = MODELS[model]
    return [name for name in (row.graph, *row.ranges) if accepted(model, name)]


def special_claim(model: str, along: str, count: int, seed: int) -> Tally:
    tally = Tally("special", model, along, count)
    begin = time.perf_counter()
    slices = slices_of(model, along, count, seed)
    got = points_of(qs.special_points(model, along=along, **columns(slices)), count, along)
    for given, have in zip(slices, got, strict=True):
        call = written("special_points", model, given, along=along)
        compare(tally, lambda one: Algebra.of(model, along, one).special(), given, have, call)
    tally.seconds = time.perf_counter() - begin
    return tally


def plane_claim(model: str, along: str, count: int, seed: int) -> Tally:
    """Cusps and Bogdanov-Takens points in the plane of the graph parameter and another one."""
    tally = Tally("CP, BT", model, along, count)
    begin = time.perf_counter()
    row, rng = MODELS[model], np.random.default_rng([seed, *map(ord, model + along)])
    slices = [{n: v for n, v in draw(row.ranges, rng).items() if n != along} for _ in range(count)]
    both = (row.graph, along)
    for given in slices:
        found = qs.special_points(model, along=both, **given)
        (have,) = points_of(found, 1, along, row.graph)
        have = [point for point in have if point.type != "GH"]
        call = written("special_points", model, given, along=both)
        compare(tally, lambda one: Algebra.of(model, along, one).second_order(), given, have, call)
    tally.seconds = time.perf_counter() - begin
    return tally


def equilibria_claim(model: str, along: str, count: int, seed: int) -> Tally:
    """Count, place, stability of equilibria next to special points, and distances to their bifurcations."""
    tally = Tally("equilibria", model, along, count)
    begin = time.perf_counter()
    row, rng = MODELS[model], np.random.default_rng([seed, *map(ord, model)])
    slices, specials = [], []
    for k in range(count):
        given = centred(model, along, rng)
        given = nearly_double(model, along, given, rng) if k % 3 == 2 else given
        algebra = Algebra.of(model, along, given)
        special = algebra.special()
        if special and rng.random() < 0.9:
            eta = special[rng.integers(len(special))].value
        else:
            x = flint.arb(float(np.exp(rng.uniform(np.log(1e-2), np.log(1e2)))))
            eta = float(algebra.value(algebra.numerator, x, None) / algebra.value(algebra.denominator, x, None))
        eta *= 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-7, -0.3)
        slices.append(given | {row.graph: float(eta)})
        specials.append(special)
    found = qs.equilibria(model, distances=True, **columns(slices))
    for k, (given, special) in enumerate(zip(slices, specials, strict=True)):
        here = found.isel(slices=k)
        there = np.isfinite(here["r" + row.of].values)
        call = written("equilibria", model, given, distances=True)
        algebra = Algebra.of(model, along, given)
        rates = algebra.equilibria()
        wanted = [Point("EP", float(x) * algebra.unit, math.nan) for x in rates]
        have = [Point("EP", float(r), math.nan) for r in here["r" + row.of].values[there]]
        before = tally.missed + tally.false + tally.tied
        compare_equilibria(tally, wanted, have, call)
        if tally.missed + tally.false + tally.tied == before:
            compare_measures(tally, algebra, special, rates, here, call)
    tally.seconds = time.perf_counter() - begin
    return tally


def compare_equilibria(tally: Tally, wanted: list[Point], have: list[Point], call: str) -> None:
    pairs, missed, false = matched(wanted, have)
    (missed, a), (false, b) = without_twins(missed), without_twins(false)
    tally.tied += a + b
    tally.found += len(wanted)
    tally.missed += len(missed)
    tally.false += len(false)
    errors = [abs(y.r / x.r - 1.0) for x, y in pairs]
    tally.worst = max([tally.worst, *errors])
    off = [x for (x, _), e in zip(pairs, errors, strict=True) if not e < PLACE]
    tally.misplaced += len(off)
    for word, some in (("missed", missed), ("false", false), ("misplaced", off)):
        tally.failures += [f"{call}  # {word}: equilibrium at r {p.r!r}" for p in some]


def compare_measures(
    tally: Tally, algebra: Algebra, special: Sequence[Point], rates: Sequence[Any], here: xr.Dataset, call: str
) -> None:
    """Compare stability and the signed distances to the nearest fold and Hopf point on the same piece."""
    eta = algebra.given[algebra.row.graph]
    folds = [p for p in special if p.type == "LP"]
    walls = [float(x) * algebra.unit for x in wall_rates(algebra)]
    for k, x in enumerate(rates):
        r = float(x) * algebra.unit
        stable = algebra.stable(x)
        if stable is not None and stable != bool(here["stable"].values[k]):
            tally.false += 1
            tally.failures.append(f"{call}  # stable is not {stable} at r {r!r}")
        ends = sorted([p.r for p in folds] + walls)
        low = max([e for e in ends if e <= r], default=0.0)
        high = min([e for e in ends if e > r], default=math.inf)
        meets = {
            "fold": [p.value - eta for p in folds if p.r in (low, high)],
            "hopf": [p.value - eta for p in special if p.type == "HB" and low <= p.r <= high],
        }
        for name, changes in meets.items():
            wanted = min(changes, key=abs, default=math.nan)
            got = float(here[f"{name}_distance"].values[k])
            # Two that are as near as each other to both sides.
            fine = any(abs(got - c) < 1e-8 * max(1.0, abs(eta)) and abs(abs(c) - abs(wanted)) < 1e-8 * max(1.0, abs(eta)) for c in changes)
            if not (fine or (math.isnan(wanted) and math.isnan(got))):
                tally.false += 1
                tally.failures.append(f"{call}  # {name}_distance at r {r!r}: {got!r} for {wanted!r}")


def wall_rates(algebra: Algebra) -> list[Any]:
    """Return where the other rate of the pair is 0."""
    if not algebra.row.of:
        return []
    exact = {name: rational(value) for name, value in algebra.given.items()}
    above, _ = inhibitory_rate(exact, rational(algebra.unit) * RATE)
    return positive_roots(in_p(above)[0])


CLAIMS = {"special": special_claim, "equilibria": equilibria_claim, "planes": plane_claim}


def tasks(claims: Iterable[str], models: Iterable[str], along: Sequence[str]) -> list[tuple[str, str, str]]:
    found = []
    for claim in claims:
        for model in models:
            graph = MODELS[model].graph
            names = [graph] if claim == "equilibria" else alongs(model)
            if claim == "planes":
                names = [n for n in names if n != graph and accepted(model, (graph, n))]
            found += [(claim, model, name) for name in names if not along or name in along]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1500, help="slices of each model and parameter")
    parser.add_argument("--planes", type=int, default=100, help="slices of each plane of two parameters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--claim", nargs="*", choices=[*CLAIMS], default=[*CLAIMS])
    parser.add_argument("--model", nargs="*", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--along", nargs="*", default=[])
    parser.add_argument("--show", type=int, default=3, help="failures shown of each row; all are in the record")
    parser.add_argument("--output", type=Path, default=Path("exact.json"))
    options = parser.parse_args()
    flint.ctx.prec = BITS
    tallies = []
    print(HEAD)
    for claim, model, along in tasks(options.claim, options.model, options.along):
        count = options.planes if claim == "planes" else options.slices
        tally = CLAIMS[claim](model, along, count, options.seed)
        tallies.append(tally)
        print(tally.row(), flush=True)
        for failure in tally.failures[: options.show]:
            print(f"    {failure}", flush=True)
    record = {"slices": options.slices, "planes": options.planes, "seed": options.seed, "rows": [vars(t) for t in tallies]}
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    wrong = sum(t.missed + t.false + t.misplaced for t in tallies)
    print(f"{sum(t.found for t in tallies):,} points, {wrong:,} missed, false or misplaced; written to {options.output}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
