"""Equilibria, special points, branches and curves: published values, closed forms, brute force."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.dynamics.models import FAMILY
from qifscan.errors import ScanError
from qifscan.theory.rate_curve import graph_value

repeatable = settings(deadline=None, derandomize=True, max_examples=25)

LP, HB, NSA, CP, BT, GH = 2, 3, 30, -22, -21, -32
SQRT2 = math.sqrt(2.0)
GAST = {"J": 15.0 * SQRT2, "delta": 2.0, "tau_a": 10.0}


def points_of(found, kind):
    """Return the points of a type as a Dataset, the rate ascending."""
    rate = "r" if "r" in found else "r_e"
    return found.isel(point=np.flatnonzero(found["type"].values == kind)).sortby(rate)


# Published values (AUTO through PyRates, and recomputed with 40 digits)


def test_the_hopf_points_and_folds_of_the_adaptation_model_are_the_published_ones():
    found = qs.special_points("qif_adaptation_alpha", alpha=1.0, **GAST)
    hopf, folds = points_of(found, HB), points_of(found, LP)
    np.testing.assert_allclose(hopf["eta"], [-4.039818600838, -0.534080541355], rtol=1e-11)
    np.testing.assert_allclose(hopf["r"], [0.223648611346, 1.094524004428], rtol=1e-11)
    np.testing.assert_allclose(hopf["period"], [36.4952006630, 14.6477779971], rtol=1e-10)
    assert (hopf["criticality"] == 2).all()
    np.testing.assert_allclose(folds["eta"], [-3.537497314192, -3.548702284447], rtol=1e-11)
    np.testing.assert_allclose(folds["r"], [0.378014803146, 0.467761447974], rtol=1e-9)
    assert found["converged"].all()


def test_the_hopf_points_and_folds_of_the_depression_model_are_the_published_ones():
    found = qs.special_points("qif_depression_alpha", alpha=0.05, **GAST)
    hopf, folds = points_of(found, HB), points_of(found, LP)
    np.testing.assert_allclose(hopf["eta"], [-5.658628643277, -5.018598071843], rtol=1e-11)
    np.testing.assert_allclose(hopf["period"], [57.33430157, 20.17158762], rtol=1e-9)
    assert (hopf["criticality"] == 2).all()
    np.testing.assert_allclose(folds["eta"], [-5.624580862855, -5.905689444508], rtol=1e-11)
    np.testing.assert_allclose(folds["r"], [0.271938929167, 0.470482599732], rtol=1e-9)


def test_the_gap_junction_model_without_coupling_has_its_hopf_point_at_three_quarters():
    """J = 0, delta = 1, g = 2: 4 v = g, r = delta/(pi (g - 2 v)) = 1/pi, so eta = 3/4, omega^2 = 3."""
    hopf = points_of(qs.special_points("qif_gap", J=0.0, delta=1.0, g=2.0), HB)
    assert hopf["eta"].item() == pytest.approx(0.75, abs=1e-12)
    assert hopf["omega"].item() == pytest.approx(math.sqrt(3.0), abs=1e-12)


def test_the_synapse_model_of_devalle_has_its_unstable_focus():
    found = qs.equilibria("qif_synapse", eta=4.0, J=-21.0, delta=0.3, tau_d=0.5)
    assert found["count"] == 1
    assert found["r"].values[0] == pytest.approx(0.178838844976, abs=1e-12)
    pair = found["eigenvalue_imag"].values[0] > 0
    assert found["eigenvalue_real"].values[0][pair] == pytest.approx(0.21425377, abs=1e-8)
    assert found["eigenvalue_imag"].values[0][pair] == pytest.approx(2.26626374, abs=1e-8)
    assert (found["kind"].values[0], found["unstable_dimensions"].values[0]) == (2, 2)


def test_the_cusp_of_the_adaptation_model_is_the_one_computed_with_forty_digits():
    for model in ("qif_adaptation_alpha", "qif_adaptation_exponential"):
        found = qs.special_points(model, along=("eta", "alpha"), **GAST)
        cusp = points_of(found, CP)
        assert cusp["alpha"].item() == pytest.approx(1.018768756714, abs=1e-12)
        assert cusp["eta"].item() == pytest.approx(-3.464101615138, abs=1e-11)


def test_the_folds_and_the_cusp_of_the_plain_model_are_the_closed_forms():
    J = np.array([8.0, 10.0, 15.0, 20.0, 30.0])
    found = qs.special_points("qif", J=J)
    exact = qs.folds(J=J)
    assert (found["row_size"] == 2).all()
    np.testing.assert_allclose(
        np.sort(found["eta"].values.reshape(5, 2)), np.sort(exact["eta"].values), rtol=1e-12
    )
    assert found["row_size"].dims == ("J",)
    cusp = points_of(qs.special_points("qif", along=("eta", "J"), delta=[1.0, 4.0]), CP).sortby("slice")
    np.testing.assert_allclose(cusp["eta"], [-math.sqrt(3), -4 * math.sqrt(3)], rtol=1e-12)
    np.testing.assert_allclose(cusp["J"], [7.7962170366669886, 2 * 7.7962170366669886], rtol=1e-12)


# Never a missed or doubled root


PARAMETERS = {
    "qif": {"J": (-20, 40)},
    "qif_adaptation_alpha": {"J": (0, 40), "alpha": (0, 3), "tau_a": (1, 30)},
    "qif_adaptation_exponential": {"J": (0, 40), "alpha": (0, 3), "tau_a": (1, 30)},
    "qif_depression_alpha": {"J": (0, 40), "alpha": (0, 0.2), "tau_a": (1, 30)},
    "qif_depression_exponential": {"J": (0, 40), "alpha": (0, 0.2), "tau_a": (1, 30)},
    "qif_plasticity": {"J": (0, 60)},
    "qif_synapse": {"J": (-30, 40), "tau_d": (0.1, 10)},
    "qif_gap": {"J": (-10, 40), "g": (0, 5)},
    "qif_pair": {"eta_e": (-5, 5)},
    "qif_cauchy": {"J": (0, 40), "gamma": (0, 3)},
    "qif_conductance": {"g": (0, 20), "e_s": (0, 10), "g_gap": (0, 3)},
    "qif_izhikevich": {"g": (0, 6), "b": (-0.5, 0.5), "jump": (0, 0.5)},
    "qif_bimodal": {"J": (5, 30), "eta_1": (-8, 2)},
    "qif_pair_synapse": {"eta_e": (-5, 5)},
    "qif_pair_alpha": {"eta_e": (-5, 5)},
    "qif_pair_couplings": {"eta_e": (-5, 5)},
}


def test_every_model_of_the_family_is_among_those_that_are_tried():
    assert set(PARAMETERS) == set(FAMILY)


def slices_of(model, count, seed):
    """Return random values of the parameters of a model along a dimension `slices`."""
    rng = np.random.default_rng(seed)
    return {
        name: xr.DataArray(rng.uniform(low, high, count), dims="slices")
        for name, (low, high) in PARAMETERS[model].items()
    }


def densely(model, slices, r):
    """Return the value of the graph parameter at many rates of one slice, NaN where nothing can rest."""
    row = FAMILY[model]
    given = {p.name: p.default for p in row.parameters} | slices
    with np.errstate(all="ignore"):
        value = np.asarray(graph_value(row, r, given)) + 0.0 * r
        state = row.rest(r, given | {row.graph: value})
    for variable, column in zip(row.variables, state, strict=True):
        value = np.where(variable.domain.holds(np.asarray(column) + 0.0 * r), value, np.nan)
    return value


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(n, marks=pytest.mark.thorough) if n in ("qif_pair_alpha", "qif_pair_couplings") else n
        for n in FAMILY
    ],
)
def test_a_dense_search_finds_the_same_number_of_equilibria_and_folds(model):
    """Sign changes of eta(r) - eta and turns of eta(r) on 100,000 rates, 12 random slices of a model."""
    count = 12
    slices = slices_of(model, count, seed=5)
    unit = (
        math.sqrt(next(p.default for p in FAMILY[model].parameters if p.name.startswith("delta"))) / math.pi
    )
    rates = np.geomspace(1e-4 * unit, 1e4 * unit, 100_000)
    special = qs.special_points(model, along=FAMILY[model].graph, rates=(rates[0], rates[-1]), **slices)
    rng = np.random.default_rng(6)
    for k in range(count):
        one = {name: float(values[k]) for name, values in slices.items()}
        graph = FAMILY[model].graph
        value = densely(model, one, rates)
        steps = np.diff(value)
        turns = np.count_nonzero(steps[1:] * steps[:-1] < 0)
        assert turns == np.count_nonzero((special["slice"] == k) & (special["type"] == LP)), one
        middle = np.nanmedian(value)
        near = np.abs(value - middle) < 50
        targets = rng.choice(value[near & np.isfinite(value)], 3) if near.any() else [middle]
        targets = np.asarray(targets) + 1e-9
        found = qs.equilibria(model, **one, **{graph: targets})
        for i, target in enumerate(targets):
            above = value > target
            crossings = np.count_nonzero((above[1:] != above[:-1]) & np.isfinite(steps))
            assert crossings == int(found["count"][i]), (one, target)


@pytest.mark.parametrize("model", FAMILY)
@repeatable
@given(data=st.data())
def test_every_rate_is_among_the_equilibria_at_its_own_eta(model, data):
    row = FAMILY[model]
    one = {name: data.draw(st.floats(low, high)) for name, (low, high) in PARAMETERS[model].items()}
    r = data.draw(st.floats(1e-2, 3.0))
    value = densely(model, one, np.array([r]))
    if np.isnan(value[0]):
        return
    found = qs.equilibria(model, **one, **{row.graph: value})
    assert np.nanmin(np.abs(found[row.variable_names[0]].values / r - 1.0)) < 1e-6


def test_near_a_cusp_no_root_is_lost_and_none_is_doubled():
    """J = (1 + e) of the cusp's: three equilibria between folds as near as 1e-7 of eta, one outside."""
    for excess in (1e-1, 1e-2, 1e-3, 1e-4):
        alpha = 1.018768756714 * (1.0 - excess)
        folds = points_of(qs.special_points("qif_adaptation_alpha", alpha=alpha, **GAST), LP)["eta"].values
        assert len(folds) == 2
        low, high = np.sort(folds)
        width = high - low
        eta = [low - width, low + 0.1 * width, 0.5 * (low + high), high - 0.1 * width, high + width]
        found = qs.equilibria("qif_adaptation_alpha", alpha=alpha, eta=eta, **GAST)
        assert found["count"].values.tolist() == [1, 3, 3, 3, 1]


def alpha_kernel_jacobian(r, J, alpha, tau_a, delta):
    """Return the Jacobian of r' = delta/pi + 2 r v, v' = v^2 + eta + J r - a - (pi r)^2, a' = x/tau_a, ..."""
    v = -delta / (2 * math.pi * r)
    return np.array(
        [
            [2 * v, 2 * r, 0, 0],
            [J - 2 * math.pi**2 * r, 2 * v, -1, 0],
            [0, 0, 0, 1 / tau_a],
            [alpha, 0, -1 / tau_a, -2 / tau_a],
        ]
    )


def test_no_hopf_point_of_random_slices_is_missed_by_a_dense_search_of_eigenvalues():
    """30 slices, 4,000 rates each: where the number of eigenvalues to the right changes by two."""
    slices = slices_of("qif_adaptation_alpha", 30, seed=11)
    slices["tau_a"] = 10.0
    found = qs.special_points("qif_adaptation_alpha", delta=2.0, rates=(1e-3, 30.0), **slices)
    rates = np.geomspace(1e-3, 30.0, 4_000)
    for k in range(30):
        J, alpha = float(slices["J"][k]), float(slices["alpha"][k])
        matrices = np.stack([alpha_kernel_jacobian(r, J, alpha, 10.0, 2.0) for r in rates])
        values = np.linalg.eigvals(matrices)
        right = (values.real > 0).sum(axis=1)
        crossed = np.flatnonzero(np.abs(np.diff(right)) == 2)
        here = points_of(found.isel(point=np.flatnonzero(found["slice"].values == k)), HB)
        assert len(here["r"]) == len(crossed), (J, alpha)
        for r, omega, i in zip(here["r"].values, here["omega"].values, crossed, strict=True):
            assert rates[i] <= r <= rates[i + 1]
            exact = np.linalg.eigvals(alpha_kernel_jacobian(r, J, alpha, 10.0, 2.0))
            pair = exact[np.argsort(np.abs(exact.real))[:2]]
            assert np.abs(pair.real).max() < 1e-10 * np.abs(exact).max()
            assert np.abs(pair.imag).max() == pytest.approx(omega, rel=1e-8)


def planar_l1(J, g, r):
    """Return 16 a of Guckenheimer and Holmes, eq. 3.4.11, of the gap junction model at its Hopf point.

    r' = delta/pi + 2 r v - g r, v' = v^2 + eta + J r - (pi r)^2: quadratic, so third derivatives are 0.
    """
    v = g / 4.0
    a, b, c = 2 * v - g, 2 * r, J - 2 * math.pi**2 * r
    omega = math.sqrt(-(b * c) - a * a)
    # (r, v) = P (x, y) puts the Jacobian [[a, b], [c, -a]] into rotation form.
    P = np.array([[b, 0.0], [-a, omega]])
    inverse = np.linalg.inv(P)

    def second(u, w):
        return inverse @ np.array(
            [2 * (u[0] * w[1] + u[1] * w[0]), 2 * u[1] * w[1] - 2 * math.pi**2 * u[0] * w[0]]
        )

    (fxx, gxx), (fxy, gxy), (fyy, gyy) = (second(P[:, i], P[:, j]) for i, j in ((0, 0), (0, 1), (1, 1)))
    # x' = -omega y + ..., y' = omega x + ...: P^-1 A P has +omega above the diagonal, so y is turned over.
    fxy, gxx, gyy = -fxy, -gxx, -gyy
    return (fxy * (fxx + fyy) - gxy * (gxx + gyy) - fxx * gxx + fyy * gyy) / omega


def test_the_first_lyapunov_coefficient_has_the_sign_of_the_planar_formula():
    """Gap junctions at random couplings: Kuznetsov's projection beside Guckenheimer and Holmes's formula."""
    slices = slices_of("qif_gap", 60, seed=2)
    found = points_of(qs.special_points("qif_gap", **slices), HB)
    assert len(found["r"]) > 15
    for slice_, r, l1 in zip(found["slice"].values, found["r"].values, found["l1"].values, strict=True):
        exact = planar_l1(float(slices["J"][slice_]), float(slices["g"][slice_]), r)
        assert np.sign(exact) == np.sign(l1)


def exact_pair(r):
    """Return Hurwitz's determinant and c_3/c_1 of the default pair at an excitatory rate, None without
    equilibrium, in rational arithmetic.

    delta = tau = 1, eta_e = 5, J_ee = 10, J_ei = -10, J_ie = 15, J_ii = 0.
    """
    r, pi = Fraction(r), Fraction(math.pi)
    v = -1 / (2 * pi * r)
    r_i = ((pi * r) ** 2 - v * v - 5 - 10 * r) / -10
    if r_i <= 0:
        return None
    v_i = -1 / (2 * pi * r_i)
    a = [
        [2 * v, 2 * r, 0, 0],
        [10 - 2 * pi**2 * r, 2 * v, -10, 0],
        [0, 0, 2 * v_i, 2 * r_i],
        [15, 0, -2 * pi**2 * r_i, 2 * v_i],
    ]
    # Faddeev and LeVerrier: M_1 = 1, c_k = -tr(A M_k)/k, M_(k+1) = A M_k + c_k.
    m, c = [[Fraction(i == j) for j in range(4)] for i in range(4)], []
    for k in range(1, 5):
        am = [[sum(a[i][j] * m[j][n] for j in range(4)) for n in range(4)] for i in range(4)]
        c.append(-sum(am[i][i] for i in range(4)) / k)
        m = [[am[i][n] + (c[-1] if i == n else 0) for n in range(4)] for i in range(4)]
    return (c[0] * c[1] - c[2]) * c[2] - c[0] ** 2 * c[3], c[2] / c[0]


def test_the_hopf_points_of_the_pair_are_those_of_exact_arithmetic_over_all_rates_looked_at():
    """Sign changes of Hurwitz's determinant in rational numbers on 40 rates a decade; rounding makes more."""
    found = qs.special_points("qif_pair", along="eta_i")
    rates = np.geomspace(1e-6, 1e6, 481) / math.pi
    values = [exact_pair(r) for r in rates]
    there = [
        (low, high)
        for low, high, a, b in zip(rates, rates[1:], values, values[1:], strict=False)
        if a and b and (a[0] > 0) != (b[0] > 0) and a[1] > 0 and b[1] > 0
    ]
    assert len(there) == 2
    hopf = points_of(found, HB)
    assert found["type"].values.tolist() == [HB, HB]
    for r, (low, high) in zip(hopf["r_e"].values, there, strict=True):
        assert low < r < high
        below, above = (exact_pair(r * factor)[0] for factor in (1 - 1e-9, 1 + 1e-9))
        assert (below > 0) != (above > 0)


def test_a_hopf_curve_of_the_pair_is_the_same_over_a_range_of_rates_in_which_rounding_turns_its_sign():
    """From r = 1e-7, where the inhibitory pair lies on the axis up to its 22nd digit."""
    usual = qs.curve("qif_pair", "HB", through="J_ee", within=(5.0, 15.0))
    wide = qs.curve("qif_pair", "HB", through="J_ee", within=(5.0, 15.0), rates=(1e-7, 1e2))
    assert wide.sizes["pieces"] == usual.sizes["pieces"]
    for end in (np.min, np.max):
        assert end(wide["r_e"].values) == pytest.approx(end(usual["r_e"].values), rel=0.05)


def test_distances_lead_to_the_folds_and_the_hopf_points():
    found = qs.equilibria("qif_adaptation_alpha", alpha=1.0, eta=[-4.5, -3.54, -1.0], distances=True, **GAST)
    eta = found["eta"].values[:, None]
    special = qs.special_points("qif_adaptation_alpha", alpha=1.0, **GAST)
    for name, kind in (("fold_distance", LP), ("hopf_distance", HB)):
        ends = (eta + found[name].values)[np.isfinite(found[name].values)]
        known = points_of(special, kind)["eta"].values
        assert np.abs(ends[:, None] - known).min(axis=1).max() < 1e-9
    assert found["hopf_distance"].values[0, 0] == pytest.approx(-4.039818600838 + 4.5, abs=1e-9)


# Branches


def test_a_branch_is_in_order_along_the_curve_and_agrees_with_the_equilibria():
    found = qs.branch("qif_adaptation_alpha", alpha=1.0, **GAST)
    assert (np.diff(found["r"].values) > 0).all()
    assert found["type"].values[found["type"].values > 0].tolist() == [HB, NSA, LP, LP, NSA, HB]
    plain = found.isel(point=np.flatnonzero(found["type"].values == 0)[::17])
    for k in range(plain.sizes["point"]):
        one = plain.isel(point=k)
        there = qs.equilibria("qif_adaptation_alpha", eta=one["eta"].item(), alpha=1.0, **GAST)
        i = int(np.nanargmin(np.abs(there["r"].values - one["r"].item())))
        assert there["r"].values[i] == pytest.approx(one["r"].item(), rel=1e-7)
        assert bool(there["stable"].values[i]) == bool(one["stable"])
        assert there["kind"].values[i] == one["kind"]


def test_along_a_branch_stability_changes_at_hopf_points_and_folds_alone():
    found = qs.branch("qif_adaptation_alpha", alpha=1.0, **GAST)
    types, unstable = found["type"].values, found["unstable_dimensions"].values
    marks = np.flatnonzero(np.isin(types, (HB, LP)))
    for start, end in zip([-1, *marks], [*marks, len(types)], strict=True):
        assert len(set(unstable[start + 1 : end].tolist())) == 1
    assert [unstable[k + 1] - unstable[k - 1] for k in marks] == [2, -1, 1, -2]


def test_a_branch_says_what_cut_it_off():
    found = qs.branch("qif", J=15.0, within=(-8.0, 2.0))
    assert found["eta"].values[[0, -1]] == pytest.approx([-8.0, 2.0], abs=1e-6)
    meanings = found["start"].attrs["flag_meanings"].split()
    assert [meanings[int(found[side].values[0])] for side in ("start", "end")] == ["within", "within"]
    short = qs.branch("qif", J=15.0, rates=(0.1, 0.5))
    assert [meanings[int(short[side].values[0])] for side in ("start", "end")] == ["rates", "rates"]


def test_a_branch_along_the_coupling_is_the_quartic_solved_for_it():
    """J = pi^2 r - eta/r - delta^2/(4 pi^2 r^3) at fixed eta."""
    found = qs.branch("qif", along="J", eta=-5.0)
    r = found["r"].values
    np.testing.assert_allclose(found["J"], math.pi**2 * r + 5.0 / r - 1 / (4 * math.pi**2 * r**3), rtol=1e-10)


# Curves in two parameters


def test_the_curve_of_folds_of_the_plain_model_is_the_closed_form_with_its_cusp():
    found = qs.curve("qif", "LP", through="J", delta=4.0)
    r = found["r"].values
    np.testing.assert_allclose(found["J"], 2 * math.pi**2 * r + 16 / (2 * math.pi**2 * r**3), rtol=1e-11)
    np.testing.assert_allclose(found["eta"], -(math.pi**2) * r**2 - 48 / (4 * math.pi**2 * r**2), rtol=1e-10)
    assert points_of(found, CP)["J"].item() == pytest.approx(2 * 7.7962170366669886, rel=1e-11)


def test_on_a_curve_of_hopf_points_a_pair_is_on_the_axis_until_its_bogdanov_takens_point():
    found = qs.curve("qif_adaptation_alpha", "HB", through="alpha", **GAST)
    known = qs.special_points("qif_adaptation_alpha", along=("eta", "alpha"), **GAST)
    ends = points_of(found, BT)
    np.testing.assert_allclose(ends["alpha"], points_of(known, BT)["alpha"], rtol=1e-8)
    for k in np.flatnonzero(found["type"].values == 0):
        one = found.isel(point=k)
        values = np.linalg.eigvals(
            alpha_kernel_jacobian(one["r"].item(), GAST["J"], one["alpha"].item(), 10.0, 2.0)
        )
        pair = values[np.argsort(np.abs(values.real))[:2]]
        assert np.abs(pair.real).max() < 1e-9 * np.abs(values).max()
        assert np.abs(pair.imag).max() == pytest.approx(one["omega"].item(), rel=1e-6)
    published = found.isel(point=np.flatnonzero(found["piece"].values == 0))
    order = np.argsort(published["alpha"].values)
    at_one = np.interp(1.0, published["alpha"].values[order], published["eta"].values[order])
    assert at_one == pytest.approx(-4.039818600838, abs=5e-3)


def test_at_a_generalised_hopf_point_the_first_lyapunov_coefficient_changes_its_sign():
    """Kuznetsov's coefficient at Hopf points a thousandth of alpha to both sides, computed on its own."""
    fixed = {"tau_a": 18.0, "delta": 0.2}
    J = np.array([10.5, 20.0])
    model = "qif_adaptation_exponential"
    bautin = points_of(qs.special_points(model, along=("eta", "alpha"), J=J, **fixed), GH)
    assert len(bautin["r"]) == 4
    for k, r, alpha in zip(*(bautin[n].values for n in ("slice", "r", "alpha")), strict=True):
        sides = []
        for factor in (0.999, 1.001):
            hopf = points_of(qs.special_points(model, J=J[k], alpha=factor * alpha, **fixed), HB)
            sides.append(hopf["l1"].values[np.argmin(np.abs(hopf["r"].values - r))])
        assert np.sign(sides[0]) == -np.sign(sides[1])


def hopf_curve(model, through, **fixed):
    return qs.curve(model, "HB", through=through, **fixed)


def test_a_hopf_curve_that_turns_in_both_coordinates_is_whole():
    """At tau_a = 1 a Hopf point is at r 1.118878, eta -10.28070 (from the slice's own polynomial)."""
    found = hopf_curve("qif_adaptation_alpha", "tau_a", delta=1.0, J=15.0 * 2.0**0.5, alpha=1.0)
    assert bool(found["certified"])
    assert bool(found["converged"].all())
    ends = np.concatenate((found["start"].values, found["end"].values))
    codes = [found["start"].attrs["flag_meanings"].split()[k] for k in ends]
    assert sorted(codes) == ["bogdanov_takens", "bogdanov_takens", "within", "within"]
    near = found.isel(point=int(np.argmin(np.abs(np.log(found["tau_a"].values)))))
    assert float(near["tau_a"]) == pytest.approx(1.0, abs=0.05)
    assert float(near["r"]) == pytest.approx(1.118878, abs=0.02)
    # Neighbours on a curve are next to each other, and every slice is crossed: none is torn.
    assert np.abs(np.diff(np.log(found["r"].values)))[np.diff(found["piece"].values) == 0].max() < 0.1
    assert np.abs(np.diff(np.log(found["tau_a"].values)))[np.diff(found["piece"].values) == 0].max() < 0.15


BAUTIN = (
    ("qif_adaptation_exponential", {"delta": 2.41, "J": 29.8, "tau_a": 11.5}, [0.025478137746]),
    ("qif_adaptation_alpha", {"delta": 0.56, "J": 28.0, "tau_a": 19.8}, [0.00345242990858, 0.157112790812]),
    ("qif_depression_alpha", {"delta": 0.86, "J": 9.2, "tau_a": 2.4}, [0.180107701239]),
)
"""Computed with FLINT's balls from the models' own polynomials, by benchmarks/exact.py."""


@pytest.mark.parametrize(("model", "fixed", "alphas"), BAUTIN)
def test_generalised_hopf_points_where_the_curve_turns_quickly_are_found(model, fixed, alphas):
    points = points_of(qs.special_points(model, along=("eta", "alpha"), **fixed), GH)
    on_curve = hopf_curve(model, "alpha", **fixed)
    on_curve = on_curve.isel(point=on_curve["type"].values == GH)
    for found in (points, on_curve):
        for alpha in alphas:
            assert np.abs(found["alpha"].values / alpha - 1.0).min() < 1e-9


def test_every_point_of_a_curve_of_the_pair_is_a_hopf_point():
    """Two eigenvalues on the imaginary axis, from NumPy's solver: pieces of other curves are not joined."""
    fixed = {"tau_e": 3.0, "tau_i": 4.0, "delta_e": 0.55, "delta_i": 0.66, "J_ee": 48.0, "J_ii": -8.0}
    found = hopf_curve("qif_pair", "J_ie", eta_e=-1.2, J_ei=-26.0, within=(10.0, 60.0), **fixed)
    ordinary = found.isel(point=found["type"].values != BT)
    assert len(ordinary["point"]) > 20
    assert bool(ordinary["converged"].all())
    tau_e, tau_i = fixed["tau_e"], fixed["tau_i"]
    r_e, v_e, r_i, v_i = (ordinary[name].values for name in ("r_e", "v_e", "r_i", "v_i"))
    J_ie = ordinary["J_ie"].values
    for k in range(0, len(r_e), 7):
        couplings = {"ee": 48.0, "ei": -26.0, "ie": J_ie[k], "ii": -8.0}
        square_e, square_i = (2.0 * np.pi**2 * tau * r for tau, r in ((tau_e, r_e[k]), (tau_i, r_i[k])))
        matrix = np.array(
            [
                [2.0 * v_e[k] / tau_e, 2.0 * r_e[k] / tau_e, 0.0, 0.0],
                [couplings["ee"] - square_e, 2.0 * v_e[k] / tau_e, couplings["ei"], 0.0],
                [0.0, 0.0, 2.0 * v_i[k] / tau_i, 2.0 * r_i[k] / tau_i],
                [couplings["ie"], 0.0, couplings["ii"] - square_i, 2.0 * v_i[k] / tau_i],
            ]
        )
        pairs = np.linalg.eigvals(matrix)
        pairs = pairs[np.abs(pairs.imag) > 1e-6]
        assert np.abs(pairs.real).min() < 1e-8


# Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: qs.special_points("qif", along="alpha"), 'along: found "alpha"'),
        (lambda: qs.special_points("qif", along="tau"), "can't be solved for tau"),
        (lambda: qs.special_points("qif", along="eta", eta=1.0), "it is solved for"),
        (lambda: qs.special_points("qif", along=("J", "delta")), "eta and another parameter"),
        (lambda: qs.special_points("qif", delta=-1.0), "delta"),
        (lambda: qs.special_points("nothing"), "model"),
        (lambda: qs.special_points("qif", alpha=1.0), "alpha"),
        (lambda: qs.branch("qif", J=[10.0, 15.0]), "ask slice by slice"),
        (lambda: qs.branch("qif", J=15.0, rates=(1.0, 0.1)), "rates"),
        (lambda: qs.branch("qif", J=15.0, within=(1e20, 2e20)), "no equilibrium"),
        (lambda: qs.branch("qif", J=15.0, points=1), "points: found 1"),
        (lambda: qs.curve("qif", "XX"), "kind"),
        (lambda: qs.curve("qif", "HB", through="J"), "no HB"),
        (lambda: qs.curve("qif_gap", "HB", through="nothing"), "through"),
        (lambda: qs.curve("qif", "LP", through="J", within=(0.0, 1.0)), "no LP"),
    ],
)
def test_what_can_not_be_had_is_refused_in_one_line(call, words):
    with pytest.raises(ScanError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_slice_without_equilibria_is_told_from_one_without_special_points():
    found = qs.special_points("qif", along="J", eta=5.0, delta=[1.0, 2.0])
    assert found["row_size"].values.tolist() == [0, 0]
    assert found["status"].attrs["flag_meanings"] == "scanned no_equilibrium"
    assert found["status"].values.tolist() == [0, 0]


def test_hopf_curves_reach_the_borders_of_their_range():
    """Also where the rate hardly changes along them: from alpha = 0.99 to 1 by less than 0.1 %."""
    for low in (0.5, 0.99):
        found = qs.curve("qif_adaptation_alpha", "HB", through="alpha", within=(low, 1.0), **GAST)
        assert found.sizes["pieces"] == 2
        ends = found.isel(point=np.flatnonzero(found["alpha"].values == 1.0)).sortby("r")
        np.testing.assert_allclose(ends["eta"], [-4.039818600838, -0.534080541355], rtol=1e-11)
        assert (found["alpha"] == low).sum() == 2
        assert (found["end"] == 1).all()
        assert (found["start"] == 1).all()


def test_a_curve_and_a_branch_within_a_range_have_no_special_points_beyond_it():
    """Of two folds with one rate, one is within: a cusp of the other is at g = 39.9."""
    given = {"e_s": 3.166584421740133, "g_gap": 0.06439162883157412}
    found = qs.curve("qif_conductance", "LP", through="g", within=(0.5, 20.0), **given)
    whole = qs.special_points("qif_conductance", ("eta", "g"), **given)
    assert np.abs(whole["g"].values - 39.9).min() < 0.1
    assert found["g"].values.max() <= 20.0
    assert (found["type"] == CP).sum() == 1
    # Along a parameter that enters quadratically, too.
    branch = qs.branch("qif_gap", "g", within=(0.1, 3.0), eta=-3.0, J=20.0)
    assert branch["g"].values.max() <= 3.0 + 1e-9
    assert branch["g"].values.min() >= 0.1 - 1e-9
