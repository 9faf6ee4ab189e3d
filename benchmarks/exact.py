"""Nothing is missed and nothing is false: the theory beside exact algebra that shares no code with it.

The models are written down again here, as a scalar equation for the rate and the transfer function of what
feeds back on it. At given parameters, which are binary fractions, and pi to 60 digits everything that is
asked is then a polynomial in the rate and at most one parameter with rational coefficients. A parameter that
varies is eliminated exactly; the real roots of what is left are isolated by FLINT in ball arithmetic, each
with a proof. So the list of folds, Hopf points, neutral saddles, cusps and Bogdanov-Takens points is
complete. Generalised Hopf points are searched by Newton's method from all Hopf points on a net of lines, and
from next to Bogdanov-Takens points: of these the list is dense, not proved.

Slices are random over wide ranges; a third of them, of the pair a twelfth, is moved next to where two points
appear. Writes a JSON record, and each failure as one line of Python that shows it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

ON_CURVE = 1e-6
"""How far a point of a curve is off its condition at most, relative, as `converged` promises."""

NEAR = 1e-5
"""How far a point of a curve may be off its condition that says so itself."""

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
    return relative(given, r, (J * U * a * r, d), (on, d * (b + tau_f * LAMBDA) * (tau_d * b * LAMBDA + d)))


def synapse(given: Mapping[str, Any], r: Any) -> Any:
    J = given["J"] * given["tau"]
    return relative(given, r, (J * r, ONE), (J * ONE, 1 + given["tau_d"] * LAMBDA))


def cauchy(given: Mapping[str, Any], r: Any) -> Any:
    return qif({**given, "delta": given["delta"] + given["gamma"]}, r)


def conductance(given: Mapping[str, Any], r: Any) -> Any:
    """v at rest is (G + gap - delta/(pi tau r))/2, G = g tau r; the Jacobian of r, v and G, written out."""
    q, tau, delta = cell(given, r)
    g, e, gap = given["g"] * tau, given["e_s"], given["g_gap"]
    # v = w / (2 q), with q = 2 pi tau r.
    w = (g * r + gap) * q - 2 * delta
    numerator = q**4 - w**2 - 2 * g * r * (2 * e * q - w) * q
    lag = (1 + given["tau_d"] * LAMBDA) ** 2
    # tau l - (2 v - gap - G) = tau l + 2 delta / q; tau l - (2 v - G) = tau l - (w - g r q) / q.
    first, second = tau * LAMBDA * q + 2 * delta, tau * LAMBDA * q - w + g * r * q
    # dr' = 2 r dv - r dG, dv' = -2 (pi tau)^2 r dr + (e - v) dG, dG = g/lag dr.
    on = g * r * q * second * 2 - 2 * r * q * g * (2 * e * q - w)
    whole = 2 * first * second * lag + 2 * 4 * r**2 * (PI * tau) ** 2 * q**2 * lag
    return numerator, 4 * q**2, whole + on


def izhikevich(given: Mapping[str, Any], r: Any) -> Any:
    """As `conductance` with G = g s of first order, and the recovery w."""
    q, tau, delta = cell(given, r)
    a, e, b, jump = (given[n] for n in ("a", "e_s", "b", "jump"))
    g = given["g"] * given["tau_s"]
    v = (g * r + a) * q - 2 * delta  # times 2 q
    numerator = q**4 - v**2 + 2 * a * q * v - 2 * g * r * (2 * e * q - v) * q
    numerator = numerator + 2 * b * v * q + 4 * jump * given["tau_w"] * r * q**2
    lag, slow = 1 + given["tau_s"] * LAMBDA, 1 + given["tau_w"] * LAMBDA
    first = tau * LAMBDA * q + 2 * delta
    second = (tau * LAMBDA * q - v + a * q + g * r * q) * slow + b * q
    on_r = (
        lag * slow * 4 * (PI * tau) ** 2 * r * q
        - g * slow * (2 * e * q - v)
        + 2 * q * lag * jump * given["tau_w"]
    )
    whole = 2 * first * second * lag + 2 * r * q * on_r + 2 * g * r * q * second
    return numerator, 4 * q**2, whole


def gap(given: Mapping[str, Any], r: Any) -> Any:
    q, tau, delta = cell(given, r)
    J, g = given["J"] * tau, given["g"]
    numerator = q**4 - (g * q - 2 * delta) ** 2 - 4 * J * r * q**2
    direct = (tau * LAMBDA * q + 2 * delta) * (tau * LAMBDA * q + 2 * delta - g * q)
    return numerator, 4 * q**2, direct - 2 * r * q**2 * (J - 2 * (PI * tau) ** 2 * r)


def inhibitory_rate(given: Mapping[str, Any], r: Any, pi: Any = PI) -> tuple[Any, Any]:
    """Return r_i of the pair as a fraction."""
    q = 2 * pi * given["tau_e"] * r
    missing = (
        q**4 - 4 * given["delta_e"] ** 2 - 4 * (given["eta_e"] + given["J_ee"] * given["tau_e"] * r) * q**2
    )
    return missing, 4 * q**2 * given["J_ei"] * given["tau_e"]


def pair(given: Mapping[str, Any], r: Any) -> Any:
    return joined(given, r, 0)


def joined(given: Mapping[str, Any], r: Any, stages: int) -> Any:
    """Return the equations of a pair whose synapses are lags of first or second order, or none."""
    given = as_pair(given)
    t_e, t_i = given["tau_e"], given["tau_i"]
    q = 2 * PI * t_e * r
    m, s = inhibitory_rate(given, r)
    w = 2 * PI * t_i * m
    delta_i = given["delta_i"]
    numerator = (
        w**4 - 4 * delta_i**2 * s**4 - 4 * t_i * w**2 * s * (given["J_ie"] * r * s + given["J_ii"] * m)
    )
    lag_e, lag_i = ((1 + given.get(f"tau_s{a}", 0) * LAMBDA) ** stages for a in "ei")
    excitatory = ((t_e * LAMBDA * q + 2 * given["delta_e"]) ** 2 + (2 * PI * t_e * r * q) ** 2) * lag_e
    excitatory = excitatory - 2 * r * q**2 * given["J_ee"] * t_e
    inhibitory = ((t_i * LAMBDA * w + 2 * delta_i * s) ** 2 * s**2 + (2 * PI * t_i * m * w) ** 2) * lag_i
    inhibitory = inhibitory - 2 * m * w**2 * given["J_ii"] * t_i * s
    loop = 4 * r * m * s * q**2 * w**2 * given["J_ei"] * t_e * given["J_ie"] * t_i
    return numerator, 4 * w**2 * s**2, excitatory * inhibitory - loop


def pair_with(stages: int) -> Callable[..., Any]:
    """Return the equations of a pair with synapses; eps adds to J_ee and to J_ie."""

    def equations(given: Mapping[str, Any], r: Any) -> Any:
        return joined(given, r, stages)

    return equations


def as_pair(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a model of two populations by the names of those of the pair."""
    if "share" in given:
        halves = ("e", given["share"]), ("i", 1 - given["share"])
        found = {f"J_{a}{b}": given["J"] * share for a in "ei" for b, share in halves}
        names = [(f"{n}_{a}", f"{n}_{k}") for n in ("tau", "eta", "delta") for a, k in (("e", 1), ("i", 2))]
        return found | {new: given[old] for new, old in names if old in given}
    more = given.get("eps", 0)
    return {**given, "J_ee": given["J_ee"] + more, "J_ie": given["J_ie"] + more}


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
        """Return the parameters that are drawn."""
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
        COUPLED
        | {
            "J": (5.0, 500.0, "log"),
            "U": (0.02, 1.0),
            "tau_f": (1.0, 2e3, "log"),
            "tau_d": (1.0, 1e3, "log"),
        },
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
MODELS |= {
    "qif_cauchy": Row(cauchy, 2, COUPLED | {"gamma": (1e-3, 1e1, "log")}),
    "qif_conductance": Row(
        conductance,
        4,
        NEURONS
        | {
            "g": (0.1, 60.0, "log"),
            "e_s": (-10.0, 20.0),
            "g_gap": (1e-2, 1e1, "log"),
            "tau_d": (0.1, 1e2, "log"),
        },
    ),
    "qif_izhikevich": Row(
        izhikevich,
        4,
        NEURONS
        | {"a": (-1.0, 2.0), "g": (0.1, 20.0, "log"), "e_s": (-10.0, 20.0), "b": (-1.0, 1.0)}
        | {"jump": (0.0, 1.0), "tau_w": (1.0, 1e3, "log"), "tau_s": (0.1, 1e2, "log")},
    ),
    "qif_bimodal": Row(
        pair_with(0),
        4,
        {f"{n}_{k}": r for k in (1, 2) for n, r in NEURONS.items()}
        | {"eta_1": (-10.0, 10.0), "share": (0.05, 0.95), "J": (5.0, 60.0, "log")},
        graph="eta_2",
        of="_1",
    ),
}
MODELS |= {
    name: replace(
        MODELS["qif_pair"],
        equations=pair_with(stages),
        order=4 + 2 * stages,
        ranges=MODELS["qif_pair"].ranges
        | {"tau_se": (0.1, 10.0, "log"), "tau_si": (0.1, 10.0, "log"), "eps": (0.0, 10.0)},
    )
    for name, stages in (("qif_pair_synapse", 1), ("qif_pair_alpha", 2))
}

ABOVE_ZERO = {"delta", "tau", "tau_a", "tau_f", "tau_d", "delta_e", "delta_i", "tau_e", "tau_i"}
ABOVE_ZERO |= {"tau_1", "tau_2", "delta_1", "delta_2", "tau_s", "tau_w"}
AT_LEAST_ZERO = {"alpha", "g", "gamma", "g_gap"}


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


def at(one: Any, x: Any) -> Any:
    """Return the value at a ball."""
    if isinstance(one, flint.arb_poly):
        return one(x)
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
            found += [
                (x, p) for p in quadratic(c0, c1, c2, x) if whole or (at(a, x) + at(b, x) * p).contains(0)
            ]
    return found


def quadratic(c0: Poly, c1: Poly, c2: Poly, x: Any) -> list[Any]:
    z0, z1, z2 = at(c0, x), at(c1, x), at(c2, x)
    inside = z1 * z1 - 4 * z0 * z2
    if z2.contains(0) or inside < 0:
        return []
    if inside.contains(0):  # as at every BT of the gap junctions along delta
        return [-z1 / (2 * z2)]
    root = inside.sqrt()
    return [(-z1 + root) / (2 * z2), (-z1 - root) / (2 * z2)]


def hurwitz(a: Sequence[Any]) -> Any:
    """Return what is 0 where two eigenvalues add up to 0, from a_0 l^n + ... + a_n."""
    if len(a) == 3:
        return a[1]
    if len(a) == 4:
        return a[1] * a[2] - a[0] * a[3]
    if len(a) == 5:
        return (a[1] * a[2] - a[0] * a[3]) * a[3] - a[1] ** 2 * a[4]
    return hurwitz_minor(a, len(a) - 2)


def hurwitz_minor(a: Sequence[Any], order: int) -> Any:
    """Return the leading minor of Hurwitz's matrix: 0 with an eigenvalue pair that adds up to 0 at n - 1."""
    rows = [
        [a[2 * j - i] if 0 <= 2 * j - i < len(a) else None for j in range(1, order + 1)]
        for i in range(1, order + 1)
    ]
    return minor(rows)


def minor(rows: list[list[Any]]) -> Any:
    """Return a determinant with entries that are None for 0."""
    if len(rows) == 1:
        return rows[0][0]
    found = None
    for i, row in enumerate(rows):
        if row[0] is None:
            continue
        inner = minor([line[1:] for k, line in enumerate(rows) if k != i])
        if inner is not None:
            term = row[0] * inner if i % 2 == 0 else -row[0] * inner
            found = term if found is None else found + term
    return found


@dataclass(frozen=True)
class Point:
    """A special point: type, rate, value of the varied parameter, and eta where that varies too."""

    type: str
    r: float
    value: float
    other: float = math.nan
    relative: bool = False


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
        """Return the equations at a set of parameters, binary fractions, taken as exact."""
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

    @property
    def signed(self) -> bool:
        """Whether the varied parameter has one sign, so that its error is relative."""
        return self.along in ABOVE_ZERO | AT_LEAST_ZERO

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
        """Return r_i of the pair, a ball."""
        exact = {name: flint.arb(rational(value)) for name, value in self.given.items()}
        if p is not None:
            exact[self.along] = p
        above, below = inhibitory_rate(as_pair(exact), flint.arb(rational(self.unit)) * x)
        return above / below

    def type_at(self, x: Any, p: Any) -> str:
        """Return HB or NSA by the sign of the square of the frequency."""
        a = self.spectrum
        n = len(a) - 1
        if n > 4:
            roots = np.roots([float(self.value(c, x, p)) for c in a])
            first, second = np.triu_indices(n, 1)
            k = np.argmin(np.abs(roots[first] + roots[second]) / np.abs(roots[first]))
            return "HB" if (roots[first[k]] * roots[second[k]]).real > 0 else "NSA"
        above, below = (a[3], a[1]) if n == 4 else (a[2], a[0])
        square = self.value(above, x, p) / self.value(below, x, p)
        return "HB" if square > 0 else "NSA" if square < 0 else "?"

    def value(self, number: Any, x: Any, p: Any) -> Any:
        """Return the value of a polynomial in p and x, a ball."""
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
                    value = (
                        self.value(self.numerator, x, None) / self.value(self.denominator, x, None)
                        if p is None
                        else p
                    )
                    found.append(Point(kind, float(x) * self.unit, float(value), relative=self.signed))
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
                    found.append(Point(name, float(x) * self.unit, float(p), float(eta), self.signed))
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
        if len(a) > 5:
            tests += [hurwitz_minor(a, order) for order in range(2, len(a) - 1)]
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

    top = {"U": 1.0, "share": 0.99}.get(name, math.inf)
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


def nearness(model: str) -> int:
    """Return which share of slices is moved: fewer of the pair, whose polynomials have degrees up to 100."""
    return 12 if model == "qif_pair" else 50 if MODELS[model].order > 4 else 3


def slices_of(model: str, along: str, count: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng([seed, *map(ord, model + along)])
    found = []
    for k in range(count):
        given = centred(model, along, rng)
        found.append(nearly_double(model, along, given, rng) if k % nearness(model) == 2 else given)
    return found


# Comparing


@dataclass
class Tally:
    """What came of a comparison; `tied`: points as near to each other as float64 can't tell apart; `left`:
    points of curves that rounding keeps off their condition by more than `PLACE`: by less than `converged`
    promises, or `converged` is false."""

    claim: str
    model: str
    along: str
    slices: int = 0
    found: int = 0
    missed: int = 0
    false: int = 0
    misplaced: int = 0
    tied: int = 0
    left: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    by_type: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return the row of the table."""
        return (
            f"{self.claim:12} {self.model:28} {self.along:10} {self.slices:7,} {self.found:8,} "
            f"{self.missed:7,} {self.false:6,} {self.misplaced:9,} {self.tied:5,} {self.left:5,} "
            f"{self.worst:9.1e} {self.seconds:7.0f} s"
        )


HEAD = (
    f"{'claim':12} {'model':28} {'along':10} {'slices':>7} {'points':>8} {'missed':>7} "
    f"{'false':>6} {'misplaced':>9} {'tied':>5} {'left':>5} {'worst':>9} {'time':>9}"
)

CLOSE = 1e-6
"""Relative distance of two rates below which float64 need not tell two points from none."""


def matched(
    wanted: Sequence[Point], got: Sequence[Point]
) -> tuple[list[tuple[Point, Point]], list[Point], list[Point]]:
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
    """Return the relative error of a place; of a small parameter that can be negative it is absolute."""
    scale = abs(a.value) if a.relative else max(abs(a.value), 1.0)
    return max(abs(b.r / a.r - 1.0), abs(a.value - b.value) / max(scale, 1e-300))


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
        off = [
            (x, y) for (x, y), (_, move) in zip(off, moves, strict=True) if error_of(x, y) > PLACE + 32 * move
        ]
        pairs = [(x, y) for x, y in pairs if error_of(x, y) < PLACE or (x, y) in off]
    tally.found += len(wanted)
    for point in wanted:
        tally.by_type[point.type] = tally.by_type.get(point.type, 0) + 1
    tally.missed += len(missed)
    tally.false += len(false)
    tally.worst = max([tally.worst, *(error_of(x, y) for x, y in pairs)])
    tally.misplaced += len(off)
    for word, some in (("missed", missed), ("false", false), ("misplaced", [x for x, _ in off])):
        tally.failures += [
            f"{call}  # {word}: {p.type} at r {p.r!r}, {tally.along} {p.value!r}" for p in some
        ]


def written(function: str, model: str, given: Mapping[str, float], **more: Any) -> str:
    asked = ", ".join(f"{name}={value!r}" for name, value in {**more, **given}.items())
    return f'qs.{function}("{model}", {asked})'


def columns(slices: Sequence[Mapping[str, float]]) -> dict[str, xr.DataArray]:
    return {name: xr.DataArray([one[name] for one in slices], dims="slices") for name in slices[0]}


NAMES = {code: name for name, code in CODES.items()}


def points_of(special: xr.Dataset, count: int, along: str, other: str = "") -> list[list[Point]]:
    found: list[list[Point]] = [[] for _ in range(count)]
    more = special[other].values if other else np.full(special.sizes["point"], np.nan)
    rate = next(name for name in ("r", "r_e", "r_1") if name in special)
    for who, kind, r, value, eta in zip(
        special["slice"].values,
        special["type"].values,
        special[rate].values,
        special[along].values,
        more,
        strict=True,
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
    return {n: math.sqrt(a * b) if log else 0.5 * (a + b) for n, (a, b, *log) in row.ranges.items()} | {
        row.graph: -3.0
    }


def alongs(model: str) -> list[str]:
    row = MODELS[model]
    if row.order > 4:  # whose polynomials have degrees of some hundred
        return [row.graph]
    # Along the graph parameter over another rate the polynomials are those of other names.
    others = {other.graph for other in qs.models()[model].others}
    return [name for name in (row.graph, *row.ranges) if name not in others and accepted(model, name)]


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
        given = nearly_double(model, along, given, rng) if k % nearness(model) == 2 else given
        algebra = Algebra.of(model, along, given)
        special = algebra.special()
        if special and rng.random() < 0.9:
            eta = special[rng.integers(len(special))].value
        else:
            x = flint.arb(float(np.exp(rng.uniform(np.log(1e-2), np.log(1e2)))))
            eta = float(
                algebra.value(algebra.numerator, x, None) / algebra.value(algebra.denominator, x, None)
            )
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
    tally: Tally,
    algebra: Algebra,
    special: Sequence[Point],
    rates: Sequence[Any],
    here: xr.Dataset,
    call: str,
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
            within = PLACE * max(1.0, abs(eta), abs(wanted))
            fine = any(abs(got - c) < within and abs(abs(c) - abs(wanted)) < within for c in changes)
            if not (fine or (math.isnan(wanted) and math.isnan(got))):
                tally.false += 1
                tally.failures.append(f"{call}  # {name}_distance at r {r!r}: {got!r} for {wanted!r}")


def wall_rates(algebra: Algebra) -> list[Any]:
    """Return where the other rate of the pair is 0."""
    if not algebra.row.of:
        return []
    exact = {name: rational(value) for name, value in algebra.given.items()}
    above, _ = inhibitory_rate(as_pair(exact), rational(algebra.unit) * RATE)
    return positive_roots(in_p(above)[0])


# The first Lyapunov coefficient, in balls, and where it is 0 on a Hopf curve

Forms = tuple[Any, Any, Any]
"""Matrix of the linear part, bilinear form, trilinear form of a model at an equilibrium."""


def relative_forms(p: Mapping[str, Any], r: Any, recurrent: Any) -> Forms:
    """Return the forms of a model with one population.

    `recurrent` is the gradient of K by the state, its two higher forms, the rows of the slow variables and
    their higher forms, as a tuple (gradient, K2, K3, rows, slow2, slow3).
    """
    tau, v = p["tau"], recurrent[6]
    gradient, k2, k3, rows, slow2, slow3 = recurrent[:6]
    pull = (pi_ball() * tau) ** 2
    n = 2 + len(rows)
    first = [(2 * v - p.get("g", 0)) / tau, 2 * r / tau] + [flint.arb(0)] * (n - 2)
    second = [flint.arb(0)] * n
    second[0], second[1] = -2 * pull * r / tau, 2 * v / tau
    second = [a + b / tau for a, b in zip(second, gradient, strict=True)]

    def bilinear(x: Any, y: Any) -> list[Any]:
        dr = 2 * (x[0] * y[1] + x[1] * y[0]) / tau
        dv = (2 * x[1] * y[1] - 2 * pull * x[0] * y[0] + k2(x, y)) / tau
        return [dr, dv, *slow2(x, y)]

    def trilinear(x: Any, y: Any, z: Any) -> list[Any]:
        return [flint.acb(0), k3(x, y, z) / tau, *slow3(x, y, z)]

    return [first, second, *rows], bilinear, trilinear


def pi_ball() -> Any:
    return flint.arb(PI)


def zero2(x: Any, y: Any) -> Any:
    return flint.acb(0)


def zero3(x: Any, y: Any, z: Any) -> Any:
    return flint.acb(0)


def none2(n: int) -> Callable[..., list[Any]]:
    return lambda x, y: [flint.acb(0)] * n


def none3(n: int) -> Callable[..., list[Any]]:
    return lambda x, y, z: [flint.acb(0)] * n


def potential(p: Mapping[str, Any], r: Any) -> Any:
    return -p["delta"] / (2 * pi_ball() * p["tau"] * r)


def plain_forms(p: Mapping[str, Any], r: Any) -> Forms:
    J = p["J"] * p["tau"]
    v = potential(p, r) + p.get("g", flint.arb(0)) / 2
    return relative_forms(p, r, ([J, flint.arb(0)], zero2, zero3, [], none2(0), none3(0), v))


def adapting_rows(p: Mapping[str, Any], alpha_kernel: bool) -> list[list[Any]]:
    zero, rate = flint.arb(0), 1 / p["tau_a"]
    if alpha_kernel:
        return [[zero, zero, zero, rate], [p["alpha"], zero, -rate, -2 * rate]]
    return [[p["alpha"], zero, -rate]]


def adaptation_forms(alpha_kernel: bool) -> Callable[..., Forms]:
    def forms(p: Mapping[str, Any], r: Any) -> Forms:
        rows = adapting_rows(p, alpha_kernel)
        zero = flint.arb(0)
        gradient = [p["J"] * p["tau"], zero, flint.arb(-1)] + [zero] * (len(rows) - 1)
        more = none2(len(rows)), none3(len(rows)), potential(p, r)
        return relative_forms(p, r, (gradient, zero2, zero3, rows, *more))

    return forms


def depression_forms(alpha_kernel: bool) -> Callable[..., Forms]:
    def forms(p: Mapping[str, Any], r: Any) -> Forms:
        rows = adapting_rows(p, alpha_kernel)
        zero, J = flint.arb(0), p["J"] * p["tau"]
        a = p["alpha"] * p["tau_a"] * r
        gradient = [J * (1 - a), zero, -J * r] + [zero] * (len(rows) - 1)
        more = none2(len(rows)), none3(len(rows)), potential(p, r)
        return relative_forms(
            p, r, (gradient, lambda x, y: -J * (x[0] * y[2] + x[2] * y[0]), zero3, rows, *more)
        )

    return forms


def product2(x: Any, y: Any, at: Sequence[Any]) -> Any:
    """Return the second derivative of r u x, of the state's variables 0, 2, 3, along two directions."""
    r, u, s = at
    mixed = [(0, 2, s), (0, 3, u), (2, 3, r)]
    return sum(((x[i] * y[j] + x[j] * y[i]) * rest for i, j, rest in mixed), flint.acb(0))


def product3(x: Any, y: Any, z: Any) -> Any:
    orders = [(0, 2, 3), (0, 3, 2), (2, 0, 3), (2, 3, 0), (3, 0, 2), (3, 2, 0)]
    return sum((x[i] * y[j] * z[k] for i, j, k in orders), flint.acb(0))


def plasticity_forms(p: Mapping[str, Any], r: Any) -> Forms:
    U, J = p["U"], p["J"] * p["tau"]
    u = U * (1 + p["tau_f"] * r) / (1 + U * p["tau_f"] * r)
    s = 1 / (1 + p["tau_d"] * u * r)
    zero = flint.arb(0)
    rows = [
        [U * (1 - u), zero, -1 / p["tau_f"] - U * r, zero],
        [-u * s, zero, -s * r, -1 / p["tau_d"] - u * r],
    ]
    gradient = [J * u * s, zero, J * s * r, J * u * r]
    at = (r, u, s)
    return relative_forms(
        p,
        r,
        (
            gradient,
            lambda x, y: J * product2(x, y, at),
            lambda x, y, z: J * product3(x, y, z),
            rows,
            lambda x, y: [-U * (x[0] * y[2] + x[2] * y[0]), -product2(x, y, at)],
            lambda x, y, z: [flint.acb(0), -product3(x, y, z)],
            potential(p, r),
        ),
    )


def synapse_forms(p: Mapping[str, Any], r: Any) -> Forms:
    zero, rate = flint.arb(0), 1 / p["tau_d"]
    gradient = [zero, zero, p["J"] * p["tau"]]
    more = none2(1), none3(1), potential(p, r)
    return relative_forms(p, r, (gradient, zero2, zero3, [[rate, zero, -rate]], *more))


def pair_forms(p: Mapping[str, Any], r: Any) -> Forms:
    above, below = inhibitory_rate(p, r, pi_ball())
    rates, zero = (r, above / below), flint.arb(0)
    rows = []
    for k, of in enumerate("ei"):
        tau, rate = p[f"tau_{of}"], rates[k]
        v = -p[f"delta_{of}"] / (2 * pi_ball() * tau * rate)
        first, second = [zero] * 4, [zero] * 4
        first[2 * k], first[2 * k + 1] = 2 * v / tau, 2 * rate / tau
        second[0], second[2] = p[f"J_{of}e"], p[f"J_{of}i"]
        second[2 * k] = second[2 * k] - 2 * pi_ball() ** 2 * tau * rate
        second[2 * k + 1] = 2 * v / tau
        rows += [first, second]

    def bilinear(x: Any, y: Any) -> list[Any]:
        found = []
        for k, of in enumerate("ei"):
            tau, i, j = p[f"tau_{of}"], 2 * k, 2 * k + 1
            found.append(2 * (x[i] * y[j] + x[j] * y[i]) / tau)
            found.append((2 * x[j] * y[j] - 2 * (pi_ball() * tau) ** 2 * x[i] * y[i]) / tau)
        return found

    return rows, bilinear, none3(4)


FORMS = {
    "qif": plain_forms,
    "qif_gap": plain_forms,
    "qif_adaptation_alpha": adaptation_forms(True),
    "qif_adaptation_exponential": adaptation_forms(False),
    "qif_depression_alpha": depression_forms(True),
    "qif_depression_exponential": depression_forms(False),
    "qif_plasticity": plasticity_forms,
    "qif_synapse": synapse_forms,
    "qif_pair": pair_forms,
}


def dot(x: Sequence[Any], y: Sequence[Any]) -> Any:
    """Return <x, y>, the first one conjugated."""
    return sum((a.conjugate() * b for a, b in zip(x, y, strict=True)), flint.acb(0))


def conjugated(x: Sequence[Any]) -> list[Any]:
    return [a.conjugate() for a in x]


def solved(matrix: list[list[Any]], right: Sequence[Any]) -> list[Any]:
    found = flint.acb_mat(matrix).solve(flint.acb_mat([[value] for value in right]))
    return [found[i, 0] for i in range(len(right))]


def null_vector(matrix: list[list[Any]]) -> list[Any]:
    """Return the vector that a singular matrix takes to 0, from a matrix with a border."""
    n = len(matrix)
    border = [flint.acb(1 + k, 2 - k * k) for k in range(n)]
    whole = [[*row, b] for row, b in zip(matrix, border, strict=True)] + [[*conjugated(border), flint.acb(0)]]
    return solved(whole, [flint.acb(0)] * n + [flint.acb(1)])[:n]


def less(matrix: Sequence[Sequence[Any]], value: Any) -> list[list[Any]]:
    return [
        [flint.acb(a) - (value if i == j else 0) for j, a in enumerate(row)] for i, row in enumerate(matrix)
    ]


def lyapunov(forms: Forms, omega: Any) -> Any:
    """Return l1 (Kuznetsov 2004, eq. 5.62, with <q, q> = <p, q> = 1), a ball, at a Hopf point."""
    matrix, two, three = forms
    turn = flint.acb(0, 1) * omega
    q = null_vector(less(matrix, turn))
    size = dot(q, q).real.sqrt()
    q = [a / size for a in q]
    p = null_vector(less([list(column) for column in zip(*matrix, strict=True)], -turn))
    scale = dot(p, q).conjugate()
    p = [a / scale for a in p]
    still = solved(less(matrix, flint.acb(0)), two(q, conjugated(q)))
    twice = solved(less(matrix, 2 * turn), two(q, q))
    whole = [
        c - 2 * b - d
        for c, b, d in zip(three(q, q, conjugated(q)), two(q, still), two(conjugated(q), twice), strict=True)
    ]
    return dot(p, whole).real / (2 * omega)


DEFAULTS = {
    "tau": 1.0, "delta": 1.0, "J": 15.0, "alpha": 1.0, "tau_a": 10.0, "g": 0.0,
    "U": 0.2, "tau_f": 1500.0, "tau_d": 200.0,
    "tau_e": 1.0, "tau_i": 1.0, "delta_e": 1.0, "delta_i": 1.0, "eta_e": 5.0,
    "J_ee": 10.0, "J_ei": -10.0, "J_ie": 15.0, "J_ii": 0.0,
}  # fmt: skip

NEXT_TO_ZERO = 1e-6
"""Share of a range that begins at 0 up to which it is not searched."""

CURVE_SPAN = (1e-3, 1e3)
"""Rates that curves have by default, in units."""


def default_of(model: str, name: str) -> float:
    own = {p.name: p.default for p in qs.models()[model].parameters}
    return DEFAULTS[name] if name in DEFAULTS else float(own[name])


def curve_range(model: str, name: str) -> tuple[float, float]:
    """Return the documented default range of the second parameter of a Hopf curve."""
    default = 5.0 if (model, name) == ("qif_synapse", "tau_d") else default_of(model, name)
    if name in ABOVE_ZERO:
        return default / 100.0, default * 100.0
    if name == "U":
        return 1e-3, 1.0
    most = 10.0 * max(1.0, abs(default))
    return (0.0 if name in AT_LEAST_ZERO else -most), most


@dataclass
class HopfPlane:
    """The plane of rate and second parameter of a slice, in coordinates log x and t of the range."""

    model: str
    algebra: Algebra
    low: float
    high: float

    def __post_init__(self) -> None:
        self.log = self.algebra.signed
        self.low = self.low or NEXT_TO_ZERO * self.high
        self.turning = in_p(hurwitz(self.algebra.spectrum))
        self.by_x = [term.derivative() for term in self.turning]
        self.by_p = [k * term for k, term in enumerate(self.turning)][1:] or [Poly()]
        n = self.algebra.row.order
        a = self.algebra.spectrum
        self.square = [in_p(c) for c in ((a[3], a[1]) if n == 4 else (a[2], a[0]))]
        # Balls of the coefficients once, not with each value.
        self.balls = [
            [flint.arb_poly(term) for term in terms] for terms in (self.turning, self.by_x, self.by_p)
        ]
        self.square = [[flint.arb_poly(term) for term in terms] for terms in self.square]
        self.exact = {k: flint.arb(rational(v)) for k, v in self.algebra.given.items()}
        self.rate = flint.arb(rational(self.algebra.unit))

    def scale(self, p: Any) -> Any:
        """Return dp/dt."""
        width = math.log(self.high / self.low) if self.log else self.high - self.low
        return p * width if self.log else flint.arb(width)

    def inside(self, x: Any, p: Any) -> bool:
        """Tell whether a point is within the ranges looked at."""
        if not (CURVE_SPAN[0] * 1.00001 < float(x) < CURVE_SPAN[1] * 0.99999):
            return False
        if not (self.low < float(p) < self.high):
            return False
        return self.algebra.allowed(x, p)

    def gradient(self, x: Any, p: Any) -> tuple[Any, Any, Any]:
        """Return the Hurwitz determinant and its derivatives in log x and t."""
        return (
            in_both(self.balls[0], p, x),
            in_both(self.balls[1], p, x) * x,
            in_both(self.balls[2], p, x) * self.scale(p),
        )

    def corrected(self, x: Any, p: Any) -> tuple[Any, Any] | None:
        """Return the point of the curve next to a guess; None if Newton's method does not get there."""
        for _ in range(20):
            value, gx, gt = self.gradient(x, p)
            step = value / (gx * gx + gt * gt)
            length = abs(float((value / (gx * gx + gt * gt).sqrt()).mid()))
            if not length < 0.3:
                return None
            x, p = self.moved(x, p, -step * gx, -step * gt)
            if length < 1e-35:
                return x, p
        return None

    def moved(self, x: Any, p: Any, by_x: Any, by_t: Any) -> tuple[Any, Any]:
        """Return a point moved in log x and t."""
        x = x * by_x.exp()
        width = flint.arb(math.log(self.high / self.low)) if self.log else flint.arb(self.high - self.low)
        p = p * (by_t * width).exp() if self.log else p + by_t * width
        return x.mid(), p.mid()

    def frequency(self, x: Any, p: Any) -> Any:
        """Return the square of the frequency."""
        above, below = (in_both(c, p, x) for c in self.square)
        return above / below

    def l1(self, x: Any, p: Any) -> Any:
        """Return the first Lyapunov coefficient at a Hopf point."""
        given = self.exact | {self.algebra.along: p}
        return lyapunov(FORMS[self.model](given, self.rate * x), self.frequency(x, p).sqrt())

    def along_curve(self, x: Any, p: Any, step: float) -> tuple[Any, Any] | None:
        """Return the point of the curve a small step along its tangent."""
        _, gx, gt = self.gradient(x, p)
        size = (gx * gx + gt * gt).sqrt()
        return self.corrected(*self.moved(x, p, -gt / size * step, gx / size * step))

    def next_to_bt(self) -> list[tuple[Any, Any, float]]:
        """Return Hopf points closer and closer to Bogdanov-Takens points, with their distance."""
        a = self.algebra.spectrum
        found = []
        for x, p in common_zeros(in_p(a[-1]), in_p(a[-2])):
            if self.inside(x, p):
                for step in np.geomspace(1e-7, 0.1, 37).tolist():
                    for sign in (-1, 1):
                        there = self.along_curve(x.mid(), p.mid(), sign * step)
                        if there is not None and self.inside(*there) and self.frequency(*there) > 0:
                            found.append((*there, step))
        return found

    def on_lines(self, lines: tuple[int, int]) -> list[tuple[Any, Any]]:
        """Return the Hopf points on lines of constant rate and of constant parameter, all of each line."""
        found = []
        for x in np.geomspace(*CURVE_SPAN, lines[0]).tolist():
            exact = rational(x)
            one = Poly([term(exact) for term in self.turning])
            for root, _ in one.numer().complex_roots() if one.degree() > 0 else []:
                if root.imag == 0:
                    found.append((flint.arb(exact), root.real))
        steps = np.geomspace if self.log else np.linspace
        for value in steps(self.low, self.high, lines[1] + 2)[1:-1].tolist():
            exact, one = rational(value), Poly()
            for term in reversed(self.turning):
                one = one * exact + term
            found += [(x, flint.arb(exact)) for x in positive_roots(one)]
        return [(x, p) for x, p in found if self.inside(x, p) and self.frequency(x, p) > 0]

    def bautin(self, lines: tuple[int, int]) -> list[Point]:
        """Return the points of the Hopf curve at which l1 is 0 next to points of the lines."""
        found: list[Point] = []
        spacing = 3.0 * max(math.log(CURVE_SPAN[1] / CURVE_SPAN[0]) / lines[0], 1.0 / lines[1])
        starts = [(x, p, spacing) for x, p in self.on_lines(lines)] + self.next_to_bt()
        for x, p, reach in starts:
            on = self.corrected(x.mid(), p.mid())
            step = None if on is None else self.newton(*on)
            if step is not None and abs(step) < reach:
                point = self.solved(*on)
                if point is not None and not any(
                    abs(math.log(point.r / q.r)) < 1e-9 and gap_of(point, q) < 1e-9 for q in found
                ):
                    found.append(point)
        return found

    def newton(self, x: Any, p: Any, small: float = 1e-18) -> float | None:
        """Return how far along the curve l1 would be 0, from a point on it."""
        there = self.along_curve(x, p, small)
        if there is None or not (self.frequency(x, p) > 0 and self.frequency(*there) > 0):
            return None
        here = self.l1(x, p)
        slope = (self.l1(*there) - here) / small
        step = float((-here / slope).mid())
        return step if math.isfinite(step) else None

    def solved(self, x: Any, p: Any) -> Point | None:
        """Return the zero of l1 on the curve that Newton's method leads to, if it is one."""
        on = self.corrected(x, p)
        for _ in range(40):
            if on is None or (step := self.newton(*on)) is None:
                return None
            on = self.along_curve(*on, max(-0.03, min(0.03, step)))
            if on is None or not self.inside(*on):
                return None
            if abs(step) < 1e-12:
                return self.point(*on)
        return None

    def point(self, x: Any, p: Any) -> Point | None:
        """Return a point of the curve as a generalised Hopf point."""
        if not self.frequency(x, p) > 0:
            return None
        a = self.algebra
        eta = a.value(a.numerator, x, p) / a.value(a.denominator, x, p)
        return Point("GH", float(x) * a.unit, float(p), float(eta), a.signed)


def bautin_claim(model: str, along: str, count: int, seed: int) -> Tally:
    """Generalised Hopf points on the Hopf curves of the default range of `curve`."""
    tally = Tally("GH", model, along, count)
    begin = time.perf_counter()
    row, rng = MODELS[model], np.random.default_rng([seed, *map(ord, model + along)])
    low, high = curve_range(model, along)
    both = (row.graph, along)
    for _ in range(count):
        given = {n: v for n, v in draw(row.ranges, rng).items() if n != along}
        (have,) = points_of(qs.special_points(model, along=both, **given), 1, along, row.graph)
        plane = HopfPlane(model, Algebra.of(model, along, given), low, high)
        x_unit = plane.algebra.unit
        have = [q for q in have if q.type == "GH" and plane.inside(q.r / x_unit, flint.arb(q.value))]
        wanted = plane.bautin((181, 120) if model != "qif_pair" else (91, 60))
        # What the search of lines leaves out is a point all the same if Newton's method stays there.
        for q in have:
            known = any(abs(math.log(q.r / w.r)) < SAME and gap_of(q, w) < SAME for w in wanted)
            near = None if known else plane.solved(flint.arb(q.r / x_unit), flint.arb(q.value))
            if near is not None and abs(math.log(q.r / near.r)) < SAME:
                wanted.append(near)
        pairs, missed, false = matched(wanted, have)
        settle(tally, wanted, pairs, missed, false, written("special_points", model, given, along=both))
    tally.seconds = time.perf_counter() - begin
    return tally


def settle(
    tally: Tally,
    wanted: list[Point],
    pairs: list[tuple[Point, Point]],
    missed: list[Point],
    false: list[Point],
    call: str,
) -> None:
    tally.found += len(wanted)
    tally.missed += len(missed)
    tally.false += len(false)
    tally.worst = max([tally.worst, *(error_of(x, y) for x, y in pairs)])
    off = [x for x, y in pairs if not error_of(x, y) < PLACE]
    tally.misplaced += len(off)
    for word, some in (("missed", missed), ("false", false), ("misplaced", off)):
        tally.failures += [
            f"{call}  # {word}: {p.type} at r {p.r!r}, {tally.along} {p.value!r}" for p in some
        ]


# Curves: Hopf points and folds of slices lie on them, and their points are such


def curve_claim(kind: str) -> Callable[[str, str, int, int], Tally]:
    """Return the claim of the curves of folds or of Hopf points."""

    def claim(model: str, through: str, count: int, seed: int) -> Tally:
        tally = Tally(f"curve {kind}", model, through)
        begin = time.perf_counter()
        rng = np.random.default_rng([seed, *map(ord, model + through + kind)])
        while tally.slices < 20 * count and tally.found < count:
            tally.slices += 1
            cross_check(tally, kind, rng)
        tally.seconds = time.perf_counter() - begin
        return tally

    return claim


SLICES_OF_A_CURVE = 12


def cross_check(tally: Tally, kind: str, rng: Any) -> None:
    """Compare the curves at one set of the other parameters with slices across them."""
    model, through = tally.model, tally.along
    row = MODELS[model]
    whole = draw(row.ranges, rng)
    given = {n: v for n, v in whole.items() if n != through}
    low, high = curve_range(model, through)
    if kind == "LP":
        low, high = row.ranges[through][:2]
    values = values_between(model, through, low, high, rng)
    wanted = [p for value in values for p in of_slice(model, kind, given, through, value)]
    if not wanted:
        return
    call = written("curve", model, given, kind=kind, through=through)
    try:
        found = qs.curve(model, kind=kind, through=through, **given)
    except ScanError:
        found = None
    tally.found += len(wanted)
    off = [p for p in wanted if found is None or not lies_on(found, row, through, p, high - low)]
    tally.missed += len(off)
    tally.failures += [f"{call}  # on no curve: {kind} at r {p.r!r}, {through} {p.value!r}" for p in off]
    if found is not None:
        check_points(tally, found, kind, given, call, rng)


def values_between(model: str, through: str, low: float, high: float, rng: Any) -> list[float]:
    if through in ABOVE_ZERO:
        return np.exp(rng.uniform(np.log(low), np.log(high), SLICES_OF_A_CURVE)).tolist()
    if through in AT_LEAST_ZERO:
        return np.exp(rng.uniform(np.log(1e-3 * high), np.log(high), SLICES_OF_A_CURVE)).tolist()
    return rng.uniform(low, high, SLICES_OF_A_CURVE).tolist()


def of_slice(model: str, kind: str, given: Mapping[str, float], through: str, value: float) -> list[Point]:
    """Return the points of a kind at one value of the second parameter, as points of the plane."""
    row = MODELS[model]
    if through == "J_ei" and value == 0.0:
        return []
    algebra = Algebra.of(model, row.graph, {**given, through: value})
    # The range of the curve is in the unit of its other parameters.
    unit = algebra.unit
    if through in ("tau" + row.of, "delta" + row.of):
        unit = math.sqrt(given.get("delta" + row.of, 1.0)) / (math.pi * given.get("tau" + row.of, 1.0))
    return [
        Point(kind, p.r, value, p.value)
        for p in algebra.special()
        if p.type == kind and 1.001 * CURVE_SPAN[0] < p.r / unit < 0.999 * CURVE_SPAN[1]
    ]


def lies_on(found: xr.Dataset, row: Row, through: str, point: Point, width: float) -> bool:
    """Tell whether a point lies on a piece: next to a segment, no further off than the segment bends."""
    logarithmic = through in ABOVE_ZERO
    x = np.log(found["r" + row.of].values / point.r)
    t = (
        np.log(found[through].values / point.value)
        if logarithmic
        else (found[through].values - point.value) / width
    )
    piece = found["piece"].values
    starts, ends = found["start"].values, found["end"].values
    for k in np.unique(piece):
        at = np.flatnonzero(piece == k)
        line = np.column_stack((x[at], t[at]))
        if starts[k] == 4 or ends[k] == 4:
            line = np.vstack((line, line[:1]))
        if len(line) > 1 and next_to(line):
            return True
    return False


def next_to(line: Array) -> bool:
    """Tell whether the origin lies next to a segment of a line."""
    a, b = line[:-1], line[1:]
    step = b - a
    size = np.maximum((step**2).sum(axis=1), 1e-300)
    share = -(a * step).sum(axis=1) / size
    off = np.sqrt(((a + np.clip(share, 0.0, 1.0)[:, None] * step) ** 2).sum(axis=1))
    # How far the line bends over three segments.
    longest = np.sqrt(size)
    padded = np.pad(longest, 1, mode="edge")
    around = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return bool(np.any((off < 0.25 * around + 1e-9) & (off < 0.05) & (share > -0.5) & (share < 1.5)))


def check_points(
    tally: Tally, found: xr.Dataset, kind: str, given: Mapping[str, float], call: str, rng: Any
) -> None:
    """Check that points of a curve satisfy its condition."""
    model, through = tally.model, tally.along
    row = MODELS[model]
    algebra = Algebra.of(model, through, given)
    some = rng.choice(found.sizes["point"], min(25, found.sizes["point"]), replace=False)
    if kind == "LP":
        n, d = algebra.numerator, algebra.denominator
        condition = in_p(n.derivative(X) * d - n * d.derivative(X))
    else:
        condition = in_p(hurwitz(algebra.spectrum))
    for k in sorted(some.tolist()):
        one = found.isel(point=k)
        r, value, eta = (float(one[name]) for name in ("r" + row.of, through, row.graph))
        x, p = flint.arb(rational(r / algebra.unit)), flint.arb(rational(value))
        away = distance_to(condition, x, p, through, value)
        # A zero that is nearly double has half the digits: such points are counted apart.
        wrong = not away < (ON_CURVE if bool(one["converged"]) else NEAR)
        special = int(one["type"]) in (CODES["BT"], CODES["CP"])
        if kind == "HB" and not special:
            wrong |= algebra.type_at(x, p) != "HB"
        exact = float(algebra.value(algebra.numerator, x, p) / algebra.value(algebra.denominator, x, p))
        wrong |= not abs(exact - eta) <= PLACE * max(1.0, abs(eta))
        if not wrong and not away < PLACE:
            tally.left += 1
        elif wrong:
            tally.false += 1
            tally.failures.append(f"{call}  # no {kind}: r {r!r}, {through} {value!r}, off by {away:.1e}")
        elif math.isfinite(away):
            tally.worst = max(tally.worst, away)


def distance_to(condition: Sequence[Poly], x: Any, p: Any, through: str, value: float) -> float:
    """Return the length of Newton's step to a curve, relative."""
    size = value if through in ABOVE_ZERO | AT_LEAST_ZERO else max(abs(value), 1.0)
    here = in_both(condition, p, x)
    by_x = in_both([c.derivative() for c in condition], p, x) * x
    by_p = in_both([k * c for k, c in enumerate(condition)][1:] or [Poly()], p, x) * (size or 1e-300)
    return abs(float((here / (by_x * by_x + by_p * by_p).sqrt()).mid()))


CLAIMS = {
    "special": special_claim,
    "equilibria": equilibria_claim,
    "planes": plane_claim,
    "bautin": bautin_claim,
    "LP": curve_claim("LP"),
    "HB": curve_claim("HB"),
}


def tasks(claims: Iterable[str], models: Iterable[str], along: Sequence[str]) -> list[tuple[str, str, str]]:
    found = []
    for claim in claims:
        for model in models:
            graph = MODELS[model].graph
            names = [graph] if claim == "equilibria" else alongs(model)
            if claim == "HB":
                names = [n for n in MODELS[model].ranges if model != "qif"]
            if claim == "LP":
                names = [n for n in names if n != graph]
            if claim in ("planes", "bautin"):
                names = [n for n in names if n != graph and accepted(model, (graph, n))]
            found += [(claim, model, name) for name in names if not along or name in along]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=1500, help="slices of each model and parameter")
    parser.add_argument("--planes", type=int, default=100, help="slices of each plane of two parameters")
    parser.add_argument("--crossings", type=int, default=120, help="points of slices held against each curve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--claim", nargs="*", choices=[*CLAIMS], default=[*CLAIMS])
    parser.add_argument("--model", nargs="*", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--along", nargs="*", default=[])
    parser.add_argument(
        "--show", type=int, default=3, help="failures shown of each row; all are in the record"
    )
    parser.add_argument("--output", type=Path, default=Path("exact.json"))
    options = parser.parse_args()
    flint.ctx.prec = BITS
    tallies = []
    print(HEAD)
    for claim, model, along in tasks(options.claim, options.model, options.along):
        count = {"planes": options.planes, "bautin": options.planes}.get(claim, options.slices)
        count = options.crossings if claim in ("LP", "HB") else count
        tally = CLAIMS[claim](model, along, count, options.seed)
        tallies.append(tally)
        print(tally.row(), flush=True)
        for failure in tally.failures[: options.show]:
            print(f"    {failure}", flush=True)
    record = {
        "slices": options.slices,
        "planes": options.planes,
        "seed": options.seed,
        "rows": [vars(t) for t in tallies],
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    wrong = sum(t.missed + t.false + t.misplaced for t in tallies)
    print(
        f"{sum(t.found for t in tallies):,} points, {wrong:,} missed, false or misplaced; "
        f"written to {options.output}"
    )
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
