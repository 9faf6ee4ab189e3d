"""Nothing is missed, and normal forms are right, beside computations that share no code with the package.

The search is that of benchmarks/bifurcation.py: a characteristic polynomial from the transfer function of the
adaptation, sign changes on a dense grid, bisection in extended precision.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.roots.taylor import RATE, Taylor
from qifscan.roots.zeros import Nodes, resolved, zeros
from qifscan.theory.rate_curve import coefficients, series

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "bifurcation.py"


@pytest.fixture(scope="module")
def search():
    spec = importlib.util.spec_from_file_location("bifurcation_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_dense_search_finds_the_known_points(search):
    """The search itself: folds and Hopf points of J = 15 sqrt 2, alpha = 1 as computed with 40 digits."""
    found = search.searched(15.0 * np.sqrt(2.0), 1.0, np.geomspace(1e-3, 1e2, 20_000))
    folds, hopf = (np.asarray(found[kind][:, 1], dtype=float) for kind in (2, 3))
    np.testing.assert_allclose(folds, [-3.537497314192, -3.548702284447], atol=1e-12)
    np.testing.assert_allclose(hopf, [-4.039818600838, -0.534080541355], atol=1e-12)


def test_the_characteristic_polynomial_of_the_search_is_that_of_the_jacobian(search):
    rng = np.random.default_rng(4)
    for r, J, alpha in rng.uniform((0.01, 0.0, 0.0), (2.0, 40.0, 3.0), (50, 3)):
        v = -1.0 / (np.pi * r)
        jacobian = [
            [2 * v, 2 * r, 0, 0],
            [J - 2 * np.pi**2 * r, 2 * v, -1, 0],
            [0, 0, 0, 0.1],
            [alpha, 0, -0.1, -0.2],
        ]
        found = [float(c[0]) for c in search.polynomial(np.array([r]), J, alpha)]
        np.testing.assert_allclose(found, np.poly(jacobian)[1:], rtol=1e-8, atol=1e-8)


def test_a_dense_search_of_random_slices_finds_the_same_folds_and_hopf_points(search):
    """60 slices of (J, alpha), 50,000 rates each: as many points, eta to rounding."""
    found = search.none_missed(60, 50_000)
    assert found["wrong"] == []
    assert min(found["found"].values()) > 20
    assert max(found["apart"].values()) < 1e-13


# The first Lyapunov coefficient, by the growth of small oscillations


def plasticity(y, eta, J, U, tau_f, tau_d, delta):
    """Cubic: the coupling is J u x r."""
    r, v, u, x = y
    return np.array(
        [
            delta / np.pi + 2 * r * v,
            v * v + eta + J * u * x * r - (np.pi * r) ** 2,
            (U - u) / tau_f + U * (1 - u) * r,
            (1 - x) / tau_d - u * x * r,
        ]
    )


def adaptation(y, eta, J, alpha, tau_a, delta):
    r, v, a = y
    return np.array(
        [
            delta / np.pi + 2 * r * v,
            v * v + eta + J * r - a - (np.pi * r) ** 2,
            alpha * r - a / tau_a,
        ]
    )


def depression(y, eta, J, alpha, tau_a, delta):
    r, v, a, b = y
    return np.array(
        [
            delta / np.pi + 2 * r * v,
            v * v + eta + J * r * (1 - a) - (np.pi * r) ** 2,
            b / tau_a,
            alpha * r - (2 * b + a) / tau_a,
        ]
    )


GROWING = {
    "qif_plasticity": (
        plasticity,
        {"J": (10, 80), "U": (0.1, 0.9), "tau_f": (1, 60), "tau_d": (1, 60), "delta": (0.3, 3)},
    ),
    "qif_adaptation_exponential": (
        adaptation,
        {"J": (0, 40), "alpha": (0.1, 3), "tau_a": (1, 30), "delta": (0.3, 3)},
    ),
    "qif_depression_alpha": (
        depression,
        {"J": (10, 40), "alpha": (0.02, 0.2), "tau_a": (1, 30), "delta": (0.3, 3)},
    ),
}

SETTLING, TURNS, SAMPLES = 20, 20, 32


def growth(field, rest, given, amplitude):
    """Return -d(1/|w|^2)/dt / (2 omega) of a small oscillation w about a Hopf point.

    On the centre manifold w' = i omega w + c_1 w |w|^2 with w = <p, y - rest>, and l1 = Re c_1/omega
    (Kuznetsov 2004, sec. 3.5, 5.4). |w|^2 is averaged over a turn: errors are of the order amplitude^2.
    """
    step = 1e-25
    size = len(rest)
    jacobian = np.column_stack(
        [field(rest + 1j * step * np.eye(size)[k], **given).imag / step for k in range(size)]
    )
    values, right = np.linalg.eig(jacobian)
    k = int(np.argmin(np.abs(values.real) - 1e-6 * (values.imag > 0)))
    omega, q = values[k].imag, right[:, k] / np.linalg.norm(right[:, k])
    others, left = np.linalg.eig(jacobian.T)
    p = left[:, np.argmin(np.abs(others - np.conj(values[k])))]
    p = p / np.conj(np.vdot(p, q))
    turn = 2 * np.pi / omega
    times = (np.array([SETTLING, SETTLING + TURNS])[:, None] + np.arange(SAMPLES) / SAMPLES).ravel() * turn
    found = solve_ivp(
        lambda t, y: field(y, **given),
        (0.0, times[-1]),
        rest + 2 * amplitude * q.real,
        method="DOP853",
        t_eval=times,
        rtol=1e-12,
        atol=1e-15,
    )
    w = np.conj(p) @ (found.y - rest[:, None])
    first, second = (np.abs(w) ** 2).reshape(2, SAMPLES).mean(axis=1)
    return -(1 / second - 1 / first) / (2 * omega * TURNS * turn)


@pytest.mark.parametrize(
    "model",
    [
        "qif_plasticity",
        "qif_adaptation_exponential",
        pytest.param("qif_depression_alpha", marks=pytest.mark.thorough),
    ],
)
def test_the_first_lyapunov_coefficient_is_the_rate_at_which_small_oscillations_grow(model):
    """Random Hopf points, the other eigenvalues well to the left: two amplitudes, extrapolated to 0."""
    field, ranges = GROWING[model]
    rng = np.random.default_rng(8)
    slices = {name: xr.DataArray(rng.uniform(*limits, 60), dims="slices") for name, limits in ranges.items()}
    special = qs.special_points(model, **slices)
    tried = 0
    for one in (special.isel(point=k) for k in np.flatnonzero(special["type"].values == 3)):
        given = {name: float(values[int(one["slice"])]) for name, values in slices.items()}
        given["eta"] = one["eta"].item()
        names = [name for name in ("r", "v", "u", "x", "a", "b") if name in one]
        rest = np.array([one[name].item() for name in names])
        at = qs.equilibria(model, **given)
        i = int(np.nanargmin(np.abs(at["r"].values - rest[0])))
        real = np.sort(at["eigenvalue_real"].values[i])
        if real[-3] > -0.1 * one["omega"].item():
            continue
        amplitude = 0.01 * min(rest[0], abs(one["l1"].item()) ** -0.5)
        full, half = (growth(field, rest, given, share * amplitude) for share in (1.0, 0.5))
        assert (4 * half - full) / 3 == pytest.approx(one["l1"].item(), rel=2e-4)
        tried += 1
        if tried == 3:
            break
    assert tried == 3


def test_neutral_saddles_that_lie_close_together_beside_a_wall_are_found():
    """Computed with FLINT's balls from the model's own polynomials, by benchmarks/exact.py.

    Over 2 % of the rate of one population that of the other falls to a fifth."""
    found = qs.special_points(
        "qif_pair_synapse",
        along="eta_i",
        tau_e=0.5821710033367758,
        eta_e=-9.36687193979644,
        delta_e=0.4540192043326941,
        tau_i=1.1220682896156455,
        delta_i=0.39023942566082653,
        J_ee=29.67439768668045,
        J_ei=-5.051704176046712,
        J_ie=23.70420494558701,
        J_ii=27.109041416583146,
        tau_se=2.61031705138541,
        tau_si=9.994975536698059,
        eps=1.232216500453548,
    )
    neutral = found.isel(point=found["type"].values == 30)
    for r, eta in ((4.69726437553464, -142.76153271151668), (4.775046984561951, -136.73241847421107)):
        nearest = int(np.abs(neutral["r_e"].values - r).argmin())
        assert neutral["r_e"].values[nearest] == pytest.approx(r, rel=1e-12)
        assert neutral["eta_i"].values[nearest] == pytest.approx(eta, rel=1e-12)


@given(
    at=st.floats(-2.0, 2.0),
    apart=st.floats(-9.0, -1.0),
    power=st.integers(-12, 12),
    wall=st.floats(0.001, 0.5),
)
@example(at=0.0, apart=-7.0, power=7, wall=0.12109375)
@settings(max_examples=30, deadline=None)
def test_two_zeros_in_one_cell_are_found_however_steep_the_function_is(at, apart, power, wall):
    """f = r^power (x - a) (x - b) / (x - c)^2 in x = log r: a and b down to 1e-4 apart, c a wall."""
    a, b, c = at, at + math.exp(apart), at + math.exp(apart) + wall

    def function(r, parameters, order):
        x = Taylor(RATE, (np.log(r), 1.0, *(0,) * (order - 1))[: order + 1])
        steep = math.prod([series(r, order)] * abs(power), start=1.0)
        value = (x - a) * (x - b) / ((x - c) * (x - c))
        return coefficients(value / steep if power < 0 else value * steep, order, r)

    rates = np.append(np.exp(c) * np.geomspace(1e-3, 1.0, 37)[:-1], np.exp(c - 1e-12))[None]
    nodes = Nodes(rates, np.ones((1, 36), dtype=bool))
    fine = resolved(function, lambda r, parameters: 0.0 * r, {}, nodes)
    _, found = zeros(function, {}, fine)
    assert np.log(found) == pytest.approx([a, b], abs=1e-9)
