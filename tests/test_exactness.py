"""Special points, equilibria next to cusps, and distances, beside exact arithmetic and brute force."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.dynamics.models import FAMILY
from qifscan.theory.rate_curve import jacobian

from .test_bifurcation import densely, slices_of

CODES = {"LP": 2, "HB": 3, "CP": -22, "BT": -21, "GH": -32}

# Numbers that were computed with 50 digits by another program, from the equations written out anew: mpmath's
# findroot on the rates of change together with, for LP, det A = 0; for HB, the characteristic polynomial at
# i omega; for BT, its last two coefficients; for CP, det A = <p, B(q, q)> = 0; for GH, that of HB and l1 = 0.
# A and its characteristic polynomial by exact differences and Faddeev and LeVerrier, B and C by polarisation.
POINTS = (
    (
        "qif_adaptation_exponential",
        "eta",
        {"tau": 1.5, "delta": 0.8, "J": 18.0, "alpha": 0.7, "tau_a": 12.0},
        (
            (
                "HB",
                {
                    "r": 0.08883859788488836,
                    "eta": -2.390060148424084,
                    "omega": 0.1214522070643962,
                    "l1": 27.97472857103716,
                },
            ),
            ("LP", {"r": 0.1006577789125022, "eta": -2.358357801319599}),
            ("LP", {"r": 0.414229307657448, "eta": -3.936314533352237}),
            (
                "HB",
                {
                    "r": 0.6506555944501477,
                    "eta": -2.717984791905072,
                    "omega": 1.075549663356335,
                    "l1": -1.897764184476396,
                },
            ),
        ),
    ),
    (
        "qif_adaptation_exponential",
        ("eta", "alpha"),
        {"tau": 1.5, "delta": 0.8, "J": 18.0, "tau_a": 12.0},
        (
            (
                "GH",
                {
                    "r": 0.0874721713937543,
                    "eta": 0.3388566321048765,
                    "alpha": 3.308063748980595,
                    "omega": 0.3040602290320435,
                },
            ),
            ("BT", {"r": 0.08910326384248538, "eta": -2.898831173345439, "alpha": 0.2227359903090446}),
            ("CP", {"r": 0.1766319150482384, "eta": -1.385640646055102, "alpha": 1.378356436933532}),
            ("BT", {"r": 0.6051583840266004, "eta": -8.191453668681532, "alpha": 0.004828803281256148}),
            (
                "GH",
                {"r": 0.6078500966571768, "eta": -7.870611429238911, "alpha": 0.04879283708352018},
            ),
        ),
    ),
    (
        "qif_depression_exponential",
        "eta",
        {"tau": 1.0, "delta": 0.5, "J": 24.0, "alpha": 0.06, "tau_a": 8.0},
        (
            ("LP", {"r": 0.08538212741156392, "eta": -2.761891548126552}),
            ("LP", {"r": 0.5593282838158961, "eta": -6.752422780240462}),
            (
                "HB",
                {
                    "r": 0.877499414902771,
                    "eta": -4.598102913877259,
                    "omega": 2.469367483244064,
                    "l1": -0.01515563911811267,
                },
            ),
            (
                "HB",
                {
                    "r": 6.030089841419917,
                    "eta": 633.0461118619537,
                    "omega": 44.54050574131802,
                    "l1": -1.429328068704008e-6,
                },
            ),
        ),
    ),
    (
        "qif_depression_exponential",
        ("eta", "alpha"),
        {"tau": 1.0, "delta": 0.5, "J": 24.0, "tau_a": 8.0},
        (
            ("BT", {"r": 0.0900929829350874, "eta": -2.641488464242537, "alpha": 0.141695486492092}),
            (
                "GH",
                {
                    "r": 0.1089749601337841,
                    "eta": -1.857056764917828,
                    "alpha": 0.5150556302323805,
                    "omega": 0.2913567120385212,
                },
            ),
            ("CP", {"r": 0.1282782438530422, "eta": -2.309008389354759, "alpha": 0.3140124125723136}),
            (
                "GH",
                {
                    "r": 0.9436101232569682,
                    "eta": -5.87829983373832,
                    "alpha": 0.04672267029563263,
                    "omega": 2.429821383380499,
                },
            ),
            ("BT", {"r": 1.214128287815376, "eta": -14.57813119350603, "alpha": 5.789421672414717e-5}),
        ),
    ),
    (
        "qif_depression_alpha",
        "eta",
        {"tau": 1.25, "delta": 0.5, "J": 24.0, "alpha": 0.06, "tau_a": 8.0},
        (
            ("LP", {"r": 0.06784718998717984, "eta": -2.778574673488591}),
            ("LP", {"r": 0.501922113751553, "eta": -7.561006634070326}),
            (
                "HB",
                {
                    "r": 0.6797844969422745,
                    "eta": -6.621694847848686,
                    "omega": 0.5635400338257336,
                    "l1": -404.8156779012524,
                },
            ),
        ),
    ),
    (
        "qif_depression_alpha",
        ("eta", "alpha"),
        {"tau": 1.25, "delta": 0.5, "J": 24.0, "tau_a": 8.0},
        (
            ("BT", {"r": 0.06986464903543267, "eta": -2.708608907898759, "alpha": 0.1215392248293203}),
            ("CP", {"r": 0.1026225950824338, "eta": -2.309008389354759, "alpha": 0.392515515715392}),
            (
                "GH",
                {
                    "r": 0.1057593764808042,
                    "eta": -0.918107416830758,
                    "alpha": 0.9106398444806295,
                    "omega": 0.2530466366849911,
                },
            ),
            (
                "GH",
                {"r": 0.9699785396118153, "eta": -14.479733408629372, "alpha": 0.0005080104822270807},
            ),
            ("BT", {"r": 0.9717137979992455, "eta": -14.58429144028812, "alpha": 4.517246587293679e-5}),
        ),
    ),
    (
        "qif_plasticity",
        "eta",
        {"tau": 1.0, "delta": 0.5, "J": 50.0, "U": 0.2, "tau_f": 25.0, "tau_d": 10.0},
        (
            ("LP", {"r": 0.09883803996882994, "eta": -2.125270671386946}),
            ("LP", {"r": 0.2597135261897845, "eta": -2.571654955762937}),
            (
                "HB",
                {
                    "r": 0.6222087246517146,
                    "eta": -0.3636328149608967,
                    "omega": 2.705201307322022,
                    "l1": -0.04676708515248124,
                },
            ),
        ),
    ),
    (
        "qif_plasticity",
        ("eta", "J"),
        {"tau": 1.0, "delta": 0.5, "U": 0.2, "tau_f": 25.0, "tau_d": 10.0},
        (
            (
                "GH",
                {"r": 0.13968368765517916, "eta": -1.4571195810893312, "J": 31.185492512240383},
            ),
            ("BT", {"r": 0.1583667392797422, "eta": -1.388512050801966, "J": 29.61844690527411}),
            ("CP", {"r": 0.1598227434164531, "eta": -1.38822078296197, "J": 29.61222527415101}),
            (
                "GH",
                {
                    "r": 0.1663679176352047,
                    "eta": -1.141282968188316,
                    "J": 24.50888776240454,
                    "omega": 0.2044828686088212,
                },
            ),
        ),
    ),
    (
        "qif_synapse",
        "eta",
        {"tau": 1.5, "delta": 0.3, "J": -25.0, "tau_d": 0.75},
        (
            (
                "HB",
                {
                    "r": 0.08365614054762491,
                    "eta": 3.1477362181071,
                    "omega": 1.373517249831247,
                    "l1": -0.09983236748165404,
                },
            ),
        ),
    ),
    (
        "qif_synapse",
        ("eta", "J"),
        {"tau": 1.5, "delta": 0.3, "tau_d": 0.75},
        (("CP", {"r": 0.1081645160397024, "eta": -0.5196152422706632, "J": 4.27016393418859}),),
    ),
    (
        "qif_synapse",
        "eta",
        {"tau": 1.5, "delta": 0.3, "J": 9.0, "tau_d": 0.75},
        (
            ("LP", {"r": 0.05695075887677015, "eta": -1.009203521498815}),
            ("LP", {"r": 0.302312155175321, "eta": -2.062779770437394}),
        ),
    ),
    (
        "qif_gap",
        "eta",
        {"tau": 1.0, "delta": 0.5, "J": 4.0, "g": 1.5},
        (
            ("LP", {"r": 0.0918921723260531, "eta": -0.2976811562749952}),
            ("LP", {"r": 0.2565273668181722, "eta": -0.5700422612317772}),
        ),
    ),
    (
        "qif_gap",
        ("eta", "J"),
        {"tau": 1.0, "delta": 0.5, "g": 1.5},
        (
            ("CP", {"r": 0.1331591723277228, "eta": -0.01608565739527583, "J": 1.260634189903002}),
            ("BT", {"r": 0.2122065907891938, "eta": -0.3038194444444444, "J": 2.863430804053197}),
        ),
    ),
    (
        "qif_pair",
        "eta_i",
        {
            "tau_e": 1.0,
            "eta_e": 2.0,
            "delta_e": 0.5,
            "tau_i": 1.5,
            "delta_i": 1.25,
            "J_ee": 12.0,
            "J_ei": -8.0,
            "J_ie": 11.0,
            "J_ii": -3.0,
        },
        (
            ("LP", {"r_e": 0.1460474237212043, "eta_i": 4.786809436354457}),
            ("LP", {"r_e": 0.4002734397433704, "eta_i": 5.919987312553843}),
            (
                "HB",
                {
                    "r_e": 0.6684538277565733,
                    "eta_i": 3.080190736806846,
                    "omega": 3.426691464088127,
                    "l1": 0.01470179175504594,
                },
            ),
            (
                "HB",
                {
                    "r_e": 1.187727464323272,
                    "eta_i": -16.60062810276735,
                    "omega": 4.813026832955013,
                    "l1": 0.004157907612842887,
                },
            ),
        ),
    ),
    (
        "qif_pair",
        ("eta_i", "J_ie"),
        {
            "tau_e": 1.0,
            "eta_e": 2.0,
            "delta_e": 0.5,
            "tau_i": 1.5,
            "delta_i": 1.25,
            "J_ee": 12.0,
            "J_ei": -8.0,
            "J_ii": -3.0,
        },
        (
            ("CP", {"r_e": 0.2362719001854194, "eta_i": 3.641373244969729, "J_ie": 15.47575446424406}),
            (
                "GH",
                {
                    "r_e": 0.4822881540982065,
                    "eta_i": -1.070459948804467,
                    "J_ie": 20.32899350702119,
                    "omega": 3.341641427840643,
                },
            ),
            (
                "GH",
                {
                    "r_e": 0.6754274703039188,
                    "eta_i": 3.304947812717115,
                    "J_ie": 10.62437027073177,
                    "omega": 3.428049426783839,
                },
            ),
            (
                "GH",
                {
                    "r_e": 0.9732974618701413,
                    "eta_i": 8.516567612598485,
                    "J_ie": 0.2661560919459067,
                    "omega": 3.741976622109329,
                },
            ),
            ("CP", {"r_e": 1.090190562235728, "eta_i": 36.3665238056427, "J_ie": -18.75302948006308}),
            ("CP", {"r_e": 1.212074529515445, "eta_i": 34.83100060334393, "J_ie": -17.8694463805914}),
        ),
    ),
)


@pytest.mark.parametrize(("model", "along", "fixed", "expected"), POINTS)
def test_special_points_are_those_computed_with_fifty_digits(model, along, fixed, expected):
    found = qs.special_points(model, along=along, **fixed)
    kept = found.isel(point=np.flatnonzero(found["type"].values != 30))
    assert kept["type"].values.tolist() == [CODES[code] for code, _ in expected]
    for k, (code, numbers) in enumerate(expected):
        for name, value in numbers.items():
            accuracy = {"rel": 1e-9} if name == "l1" else {"rel": 1e-12, "abs": 1e-12}
            assert kept[name].values[k] == pytest.approx(value, **accuracy), (code, name)
    assert kept["converged"].all()


# Next to a cusp


PI = Fraction(math.pi)
"""What the package takes for it: an exact search must ask the same question."""


def polynomials(model, p):
    """Return eta(r) as numerator and denominator, coefficients from r^0 on, without rounding."""
    tau, delta, J = (Fraction(p[name]) for name in ("tau", "delta", "J"))
    square, source = (PI * tau) ** 2, (delta / (2 * PI * tau)) ** 2
    # r^2 eta(r) = (pi tau)^2 r^4 - K r^2 - (v r)^2
    top, bottom = (
        [-source, Fraction(0), Fraction(0), -J * tau, square],
        [Fraction(0), Fraction(0), Fraction(1)],
    )
    if "adaptation" in model:
        top[3] += Fraction(p["alpha"]) * Fraction(p["tau_a"])
    if "depression" in model:
        top[4] += J * tau * Fraction(p["alpha"]) * Fraction(p["tau_a"])
    if model == "qif_gap":
        g = Fraction(p["g"])
        top[1] += g * delta / (2 * PI * tau)
        top[2] -= g * g / 4
    if model == "qif_plasticity":
        U, tau_f, tau_d = (Fraction(p[name]) for name in ("U", "tau_f", "tau_d"))
        # K = J tau U r (1 + tau_f r)/(1 + U tau_f r + tau_d U r (1 + tau_f r))
        below = [Fraction(1), U * (tau_f + tau_d), U * tau_d * tau_f]
        top[3] = Fraction(0)
        coupling = [0, 0, 0, J * tau * U, J * tau * U * tau_f]
        top = [a - b for a, b in zip(times(top, below), [*coupling, 0, 0], strict=True)]
        bottom = times(bottom, below)
    return top, bottom


def times(a, b):
    found = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[i + j] += x * y
    return found


def positive_roots(coefficients):
    """The number of roots above 0, each counted once: Sturm's theorem, without rounding."""
    chain = [list(coefficients)]
    while chain[0][-1] == 0:
        chain[0].pop()
    chain.append([k * c for k, c in enumerate(chain[0])][1:])
    while len(chain[-1]) > 1 or chain[-1][0] != 0:
        rest, divisor = list(chain[-2]), chain[-1]
        while len(rest) >= len(divisor):
            factor, shift = rest[-1] / divisor[-1], len(rest) - len(divisor)
            for k, c in enumerate(divisor):
                rest[shift + k] -= factor * c
            rest.pop()
        while rest and rest[-1] == 0:
            rest.pop()
        if not rest:
            break
        chain.append([-c for c in rest])

    def changes(signs):
        kept = [s for s in signs if s != 0]
        return sum(a * b < 0 for a, b in pairwise(kept))

    at_zero = [next((c for c in poly if c != 0), 0) for poly in chain]
    return changes([(c > 0) - (c < 0) for c in at_zero]) - changes([(p[-1] > 0) - (p[-1] < 0) for p in chain])


def exact_value(top, bottom, r):
    """Return eta(r) and the sum of the sizes of its terms."""
    powers = [Fraction(r) ** k for k in range(len(top))]
    below = sum(c * x for c, x in zip(bottom, powers, strict=False))
    terms = [c * x / below for c, x in zip(top, powers, strict=True)]
    return sum(terms), sum(map(abs, terms))


# The kernel of an adaptation or a depression does not matter at rest.
CUSPED = {
    "qif": ({"tau": 1.5, "delta": 0.75}, "J"),
    "qif_adaptation_alpha": ({"tau": 1.0, "delta": 2.0, "J": 21.25, "tau_a": 10.0}, "alpha"),
    "qif_depression_exponential": ({"tau": 1.0, "delta": 0.5, "J": 24.0, "tau_a": 8.0}, "alpha"),
    "qif_plasticity": ({"tau": 1.0, "delta": 0.5, "U": 0.25, "tau_f": 25.0, "tau_d": 10.0}, "J"),
    "qif_synapse": ({"tau": 1.5, "delta": 0.25, "tau_d": 0.75}, "J"),
    "qif_gap": ({"tau": 1.0, "delta": 0.5, "g": 1.5}, "J"),
}


def cusp_of(model):
    fixed, second = CUSPED[model]
    found = qs.special_points(model, along=("eta", second), **fixed)
    cusp = found.isel(point=np.flatnonzero(found["type"].values == CODES["CP"]))
    assert cusp.sizes["point"] == 1
    return cusp["r"].item(), cusp[second].item()


@pytest.mark.parametrize(
    "model",
    [m if m in ("qif", "qif_gap") else pytest.param(m, marks=pytest.mark.thorough) for m in CUSPED],
)
def test_next_to_a_cusp_or_a_fold_there_are_as_many_equilibria_as_sturm_counts(model):
    """A second parameter within 1e-12 to 1e-2 of the cusp's, and eta such that a rate within 1e-6 to 1e-1 of
    the cusp's, or the rate of a fold, is an equilibrium. None of the numbers may be wrong, however near."""
    fixed, second = CUSPED[model]
    r_cusp, p_cusp = cusp_of(model)
    counted = {1: 0, 2: 0, 3: 0}
    signed = st.tuples(st.sampled_from((-1.0, 1.0)), st.floats(-12.0, -2.0), st.floats(-6.0, -1.0))

    @settings(deadline=None, derandomize=True, max_examples=25)
    @given(away=signed, side=st.sampled_from((-1.0, 1.0)), of_fold=st.booleans(), nudge=st.integers(-2, 2))
    def check(away, side, of_fold, nudge):
        parameters = fixed | {second: p_cusp * (1.0 + away[0] * 10.0 ** away[1])}
        top, bottom = polynomials(model, parameters)
        special = qs.special_points(model, **parameters)
        folds = special["r"].values[special["type"].values == CODES["LP"]]
        r = folds[0] if of_fold and len(folds) else r_cusp * (1.0 + side * 10.0 ** away[2])
        value, _ = exact_value(top, bottom, r)
        eta = float(value) * (1.0 + nudge * 10.0 ** (2.0 * away[1]))
        found = qs.equilibria(model, eta=eta, **parameters)
        rates = found["r"].values[np.isfinite(found["r"].values)]
        assert len(rates) == int(found["count"])
        assert (np.diff(rates) > 0.0).all()
        for rate in rates:
            back, own = exact_value(top, bottom, float(rate))
            assert abs(back - Fraction(eta)) < own * Fraction(1, 10**14)
        exact = positive_roots([t - Fraction(eta) * b for t, b in zip(top, pad(bottom, top), strict=True)])
        assert len(rates) == exact, (parameters, eta)
        assert bool(found["certified"])
        counted[exact] += 1

    check()
    assert counted[1] > 3
    assert counted[3] > 3


def pad(shorter, longer):
    return [*shorter, *[Fraction(0)] * (len(longer) - len(shorter))]


# Distances


def brute_force(model, one, rates):
    """Return eta along a dense grid of rates, and where the number of unstable eigenvalues changes by two."""
    row = FAMILY[model]
    value = densely(model, one, rates)
    given = {p.name: p.default for p in row.parameters} | one | {row.graph: value}
    size = len(row.variables)
    matrix = np.zeros((len(rates), size, size))
    for i, entries in enumerate(jacobian(row, row.rest(rates, given), given)):
        for j, entry in enumerate(entries):
            matrix[:, i, j] = entry
    there = np.isfinite(value)
    unstable = np.full(len(rates), -9)
    unstable[there] = (np.linalg.eigvals(matrix[there]).real > 0.0).sum(axis=1)
    hopf = (np.abs(np.diff(unstable)) == 2) & there[1:] & there[:-1]
    return value, hopf


BESIDE = {
    "qif_plasticity": {"delta": 0.5, "U": 0.2, "tau_f": 25.0, "tau_d": 10.0},
    "qif_pair": {"delta_e": 0.5, "tau_i": 1.5, "J_ee": 12.0, "J_ei": -8.0, "J_ie": 11.0, "J_ii": -3.0},
}
"""Parameters beside the random ones, where those alone make no bifurcations."""


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.thorough)
        if name in ("qif_pair_couplings", "qif_pair_synapse")
        else name
        for name in FAMILY
        if name not in ("qif_pair_alpha", "qif_bimodal")
    ],
)
def test_distances_are_those_of_a_walk_along_the_branch(model):
    """From each equilibrium of random points along 8,000 rates, to both sides: as far as eta(r) turns, or is
    not defined, and past every place where two eigenvalues cross the axis."""
    row, count = FAMILY[model], 4
    slices = slices_of(model, count, seed=21)
    delta = next(p.default for p in row.parameters if p.name.startswith("delta"))
    rates = np.geomspace(1e-3, 1e3, 8_000) * math.sqrt(delta) / math.pi
    rng, met = np.random.default_rng(22), 0
    for k in range(count):
        one = {name: float(values[k]) for name, values in slices.items()} | BESIDE.get(model, {})
        value, hopf = brute_force(model, one, rates)
        middle = np.flatnonzero(np.isfinite(value) & (np.abs(value - np.nanmedian(value)) < 30.0))
        # Beside a wall a value can be far from all others, and then their median is.
        middle = middle if len(middle) else np.flatnonzero(np.abs(value) < 30.0)
        eta = value[rng.choice(middle, 4)]
        found = qs.equilibria(model, distances=True, **one, **{row.graph: eta})
        for i, j in np.argwhere(np.isfinite(found[row.variable_names[0]].values)):
            r = found[row.variable_names[0]].values[i, j]
            if not rates[5] < r < rates[-5]:
                continue
            ends, crossed, resolution = walk(value, hopf, int(np.searchsorted(rates, r)))
            for name, known in (("fold_distance", ends), ("hopf_distance", crossed)):
                distance = found[name].values[i, j]
                assert np.isnan(distance) == (len(known) == 0), (one, eta[i], r, name)
                if len(known):
                    nearest = known[np.abs(known - eta[i]).argmin()] - eta[i]
                    assert distance == pytest.approx(nearest, abs=resolution), (one, eta[i], r, name)
                    met += 1
    assert met > 5


def walk(value, hopf, start):
    """Return eta at the folds and the Hopf points that a walk from between two rates meets, and how exactly
    the grid has them."""
    ends, crossed, steps = [], [], [0.0]
    if hopf[start - 1]:
        crossed.append(0.5 * (value[start - 1] + value[start]))
    rising = value[start] > value[start - 1]
    for way in (1, -1):
        at = start if way > 0 else start - 1
        while 0 < at + way < len(value) - 1 and np.isfinite(value[at + way]):
            step = value[at + way] - value[at]
            if (step * way > 0.0) != rising:
                ends.append(value[at])
                break
            if hopf[min(at, at + way)]:
                crossed.append(0.5 * (value[at] + value[at + way]))
                steps.append(abs(step))
            at += way
    return np.array(ends), np.array(crossed), 1e-4 + max(steps)
