"""Branches of models without a graph, beside the exact ones of the same models, and other code."""

import numpy as np
import pytest
import scipy.optimize
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import FAMILY
from qifscan.theory.rate_curve import graph_value

from .test_bifurcation import PARAMETERS
from .test_no_graph import own  # noqa: F401

WITHIN = (-10.0, 6.0)


def slow(name):
    return pytest.param(name, marks=pytest.mark.thorough)


def at_random(name, count, seed):
    rng = np.random.default_rng(seed)
    drawn = {key: rng.uniform(low, high, count) for key, (low, high) in PARAMETERS[name].items()}
    return {key: xr.DataArray(values, dims="n") for key, values in drawn.items()}


def assert_same_points(found, exact, along):
    np.testing.assert_array_equal(found["row_size"], exact["row_size"])
    np.testing.assert_array_equal(found["type"], exact["type"])
    np.testing.assert_array_equal(found["status"], exact["status"])
    np.testing.assert_array_equal(found["criticality"], exact["criticality"])
    for name in (along, *(v.name for v in FAMILY[exact.attrs["model"]].variables), "omega", "period"):
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-9, atol=1e-9, err_msg=name)
    for name in ("l1", "fold_coefficient"):
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-6, err_msg=name)
    assert found["converged"].all()
    assert not found["certified"].any()


@pytest.mark.parametrize("name", [n if len(m.variables) < 5 else slow(n) for n, m in FAMILY.items()])
def test_the_special_points_are_those_of_the_graph(name):
    """At 3 random slices of each model with its graph hidden: all, and no others, to 1e-9."""
    along, slices = FAMILY[name].graph, at_random(name, 3, seed=31)
    exact = qs.special_points(name, along=along, within=WITHIN, **slices)
    found = qs.special_points(f"own_models:{name}", along=along, within=WITHIN, **slices)
    assert_same_points(found, exact, along)
    assert set(found.data_vars) == set(exact.data_vars)


@pytest.mark.thorough
@pytest.mark.parametrize("name", FAMILY)
def test_the_special_points_are_those_of_the_graph_at_many_slices(name):
    along, slices = FAMILY[name].graph, at_random(name, 40, seed=3)
    exact = qs.special_points(name, along=along, within=WITHIN, **slices)
    assert_same_points(
        qs.special_points(f"own_models:{name}", along=along, within=WITHIN, **slices), exact, along
    )


@pytest.mark.parametrize(
    ("name", "along", "within", "given"),
    [
        ("qif", "J", (-50.0, 50.0), {"eta": -5.0}),
        ("qif", "delta", (0.01, 100.0), {"eta": -5.0, "J": 15.0}),
        ("qif_adaptation_alpha", "alpha", (0.0, 3.0), {"eta": -4.0, "J": 20.0, "tau_a": 10.0}),
        ("qif_gap", "g", (0.0, 6.0), {"eta": -3.0, "J": 20.0}),
    ],
)
def test_along_other_parameters_too(name, along, within, given):
    exact = qs.special_points(name, along=along, within=within, **given)
    assert exact.sizes["point"] > 0
    found = qs.special_points(f"own_models:{name}", along=along, within=within, **given)
    assert_same_points(found, exact, along)


@pytest.mark.parametrize("name", ["qif", "qif_adaptation_exponential", "qif_gap", "qif_pair"])
def test_a_branch_is_on_the_graph_and_all_of_it_is_there(name):
    """Every point is one of the graph to 1e-9; as many equilibria at 40 values as there are."""
    along = FAMILY[name].graph
    given = {key: float(values[1]) for key, values in at_random(name, 2, seed=8).items()}
    found = qs.branch(f"own_models:{name}", along, within=WITHIN, points=30, **given)
    first = found[FAMILY[name].variable_names[0]].values
    parameters = {p.name: p.default for p in FAMILY[name].parameters} | given
    value = found[along].values
    np.testing.assert_allclose(graph_value(FAMILY[name], first, parameters), value, rtol=1e-9, atol=1e-9)
    assert found["converged"].all()
    at = np.random.default_rng(2).uniform(*WITHIN, 40)
    together = np.diff(found["piece"].values) == 0
    there = [int((together & ((value[1:] - x) * (value[:-1] - x) < 0.0)).sum()) for x in at]
    exact = qs.equilibria(name, **{along: at}, **given)
    np.testing.assert_array_equal(there, exact["count"])
    # Stability, kind and eigenvalues are those of the equilibria at the points' own parameters.
    some = slice(5, None, 25)
    alone = qs.equilibria(name, **{along: xr.DataArray(value[some], dims="n")}, **given)
    nearest = np.nanargmin(np.abs(alone[FAMILY[name].variable_names[0]].values - first[some, None]), axis=1)
    for column in ("stable", "kind", "unstable_dimensions"):
        expected = alone[column].values[np.arange(len(nearest)), nearest]
        np.testing.assert_array_equal(found[column].values[some], expected)
    assert {*found["start"].values, *found["end"].values} == {1}
    assert found["start"].attrs["flag_meanings"].split()[1] == "within"


def test_a_branch_has_the_columns_of_one_on_the_graph_and_is_drawn():
    exact = qs.branch(J=15.0, within=(-8.0, 0.0), points=30)
    found = qs.branch("own_models:qif", J=15.0, within=(-8.0, 0.0), points=30)
    assert set(found.variables) == set(exact.variables)
    for name, values in found.data_vars.items():
        assert values.dims == exact[name].dims
        assert values.attrs.get("units") == exact[name].attrs.get("units")
        assert values.attrs["long_name"] == exact[name].attrs["long_name"]
    assert "curves followed" in found["certified"].attrs["comment"]
    assert not found["certified"]
    # In order of the rate, as there.
    assert (np.diff(found["r"]) > 0.0).all()
    axes = qs.show(found).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert {"equilibrium, stable", "equilibrium, unstable", "fold (LP)"} <= set(labels)


def test_a_closed_branch_is_closed_and_its_folds_are_those_of_the_plain_model():
    """eta - shift^2 is below the upper fold: the two upper equilibria meet at both ends."""
    found = qs.branch("own_models:isola", along="shift", within=(-3.0, 3.0), eta=-4.0, J=15.0)
    assert found["end"].values.tolist() == found["start"].values.tolist() == [1, 4]
    closed = found["piece"].values == 1
    for name in ("r", "v", "shift"):
        assert found[name].values[closed][0] == found[name].values[closed][-1]
    fold = float(qs.folds(J=15.0)["eta"].min())
    ends = np.sort(found["shift"].values[found["type"].values == 2])
    np.testing.assert_allclose(ends, np.sqrt(-4.0 - fold) * np.array([-1.0, 1.0]), rtol=1e-9)


def test_along_a_time_constant_the_rates_scale_with_it():
    """r tau is what rests: no graph gives tau, and every equilibrium is at every tau."""
    found = qs.branch("own_models:qif", along="tau", within=(0.1, 10.0), eta=-5.0, J=15.0)
    at_rest = qs.equilibria(eta=-5.0, J=15.0)["r"].values
    scaled = found["r"].values * found["tau"].values
    for piece, rate in enumerate(at_rest):
        np.testing.assert_allclose(scaled[found["piece"].values == piece], rate, rtol=1e-9)
    assert not found["type"].any()


def test_a_slice_of_many_has_the_points_that_it_has_alone():
    slices = at_random("qif_adaptation_alpha", 4, seed=5)
    whole = qs.special_points("own_models:qif_adaptation_alpha", within=WITHIN, **slices)
    one = {name: float(values[2]) for name, values in slices.items()}
    alone = qs.special_points("own_models:qif_adaptation_alpha", within=WITHIN, **one)
    assert alone.sizes["point"] > 0
    for name in ("eta", "r", "v", "l1", "fold_coefficient"):
        assert whole[name].values[whole["slice"].values == 2].tobytes() == alone[name].values.tobytes()


# Two models of the package that have no graph


def memory(y, strength):
    """Return the derivatives of the variables of two items (Taher, Torcini, Olmi 2020), with the defaults."""
    r_1, v_1, u_1, x_1, r_2, v_2, u_2, x_2, r_i, v_i = y
    found = []
    for r, v, u, x, other in (
        (r_1, v_1, u_1, x_1, u_2 * x_2 * r_2),
        (r_2, v_2, u_2, x_2, u_1 * x_1 * r_1),
    ):
        current = strength * u * x * r + 3.0 * other - 4.1 * r_i
        found += [
            (0.1 / (np.pi * 15.0) + 2.0 * r * v) / 15.0,
            (v**2 + 1.2 + 15.0 * current - (np.pi * 15.0 * r) ** 2) / 15.0,
            (0.2 - u) / 1500.0 + 0.2 * (1.0 - u) * r,
            (1.0 - x) / 200.0 - u * x * r,
        ]
    found += [
        (0.1 / (np.pi * 10.0) + 2.0 * r_i * v_i) / 10.0,
        (v_i**2 + 1.2 + 10.0 * (18.4 * (r_1 + r_2) - 3.7 * r_i) - (np.pi * 10.0 * r_i) ** 2) / 10.0,
    ]
    return np.array(found)


def jacobian(y, strength):
    """By complex steps."""
    step = 1e-30
    return np.stack([memory(y + 1j * step * e, strength).imag / step for e in np.eye(10)], axis=1)


def at_rest(strength, start):
    found = scipy.optimize.root(
        lambda y: memory(y, strength) * 100.0, start, jac=lambda y: jacobian(y, strength) * 100.0, tol=1e-14
    )
    assert np.abs(memory(found.x, strength)).max() < 1e-13
    return found.x


def rightmost_pair(a):
    """Return the real part of the complex eigenvalues nearest to the axis."""
    values = np.linalg.eigvals(a)
    values = values[np.abs(values.imag) > 1e-4]
    return values[np.argmin(np.abs(values.real))].real


def test_bifurcations_of_working_memory_are_those_of_scipys_roots_and_numpys_eigenvalues():
    found = qs.branch("qif_memory", along="J_same", within=(5.0, 60.0), points=40)
    names = [v.name for v in qs.models()["qif_memory"].variables]
    state = np.stack([found[name].values for name in names], axis=1)
    strength, types = found["J_same"].values, found["type"].values
    hopf, fold, branching = (np.flatnonzero(types == code) for code in (3, 2, 1))
    assert len(hopf) == 3
    assert len(fold) == 2
    # The curve of unequal items turns where it crosses that of equal ones, twice.
    assert len(branching) == 4
    for k in hopf:
        near = strength[k] * np.array([1.0 - 1e-4, 1.0 + 1e-4])
        place = scipy.optimize.brentq(lambda p, k=k: rightmost_pair(jacobian(at_rest(p, state[k]), p)), *near)
        assert place == pytest.approx(strength[k], rel=1e-8)
        values = np.linalg.eigvals(jacobian(state[k], strength[k]))
        assert np.abs(values.imag).max() >= found["omega"].values[k] - 1e-12
        assert np.abs(values - 1j * found["omega"].values[k]).min() < 1e-10
    for k in fold:
        values = np.linalg.eigvals(jacobian(state[k], strength[k]))
        assert np.abs(values).min() < 1e-12
        assert len(found["r_1"].values) > k > 0
        # It is the least strength of unequal items: with less there is nothing near.
        beyond = scipy.optimize.root(lambda y: memory(y, 0.999 * strength[k]) * 100.0, state[k], tol=1e-14)  # noqa: B023
        assert not beyond.success or abs(beyond.x[0] - state[k, 0]) > 0.05 * state[k, 0]
    for k in branching:
        near = strength[k] + np.array([-0.5, 0.5])
        start = state[k].copy()
        start[4:8] = start[:4]
        place = scipy.optimize.brentq(
            lambda p, s=start: np.linalg.det(1e2 * jacobian(at_rest(p, s), p)), *near, xtol=1e-13
        )
        assert place == pytest.approx(strength[k], rel=1e-9)


def test_a_curve_between_two_branch_points_is_followed_though_no_start_is_on_it():
    """Unequal items rest only between two inhibitory strengths: closed, one item the other's mirror."""
    found = qs.branch("qif_memory", along="J_ei", points=20)
    assert found["end"].values.tolist() == [1, 4]
    closed, branching = found["piece"].values == 1, found["type"].values == 1
    ends = [np.sort(found["J_ei"].values[branching & (closed == which)]) for which in (True, False)]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-8)
    assert len(ends[0]) == 2
    assert found["J_ei"].values[closed].min() < ends[0][0]
    once = qs.special_points("qif_memory", along="J_ei")
    np.testing.assert_allclose(np.sort(once["J_ei"].values[once["type"].values == 1]), ends[0], rtol=1e-8)
    folds = np.sort(found["J_ei"].values[found["type"].values == 2])
    np.testing.assert_allclose(folds[::2], folds[1::2], rtol=1e-9)


def test_folds_of_pseudo_cumulants_are_those_of_their_equations_in_complex_numbers():
    """W1' = ... = 0 eliminated by hand for the fold: a double root of one equation in r, by SciPy."""
    found = qs.special_points("qif_cumulants", within=(-8.0, 2.0), J=15.0, sigma=0.1)
    names = [v.name for v in qs.models()["qif_cumulants"].variables]

    def field(y, eta):
        r, v, a, b, e, f = y
        first, second, third = np.pi * r - 1j * v, a + 1j * b, e + 1j * f
        slopes = (
            1.0 - 1j * (eta + 15.0 * r) + 1j * (first**2 - second),
            2.0 * 0.1**2 + 4j * (first * second - third),
            3j * (2.0 * first * third + second**2),
        )
        return np.array([part for slope in slopes for part in (slope.real, slope.imag)])

    def slope(y, eta):
        return np.stack(
            [(field(y + 1e-6 * e, eta) - field(y - 1e-6 * e, eta)) / 2e-6 for e in np.eye(6)], axis=1
        )

    assert found["type"].values.tolist() == [2, 2, 2, 2]
    for k in range(4):
        y, eta = np.array([float(found[name][k]) for name in names]), float(found["eta"][k])
        assert np.abs(field(y, eta)).max() < 1e-12

        def extended(z):
            y, q, eta = z[:6], z[6:12], z[12]
            return np.concatenate([field(y, eta), slope(y, eta) @ q, [q @ q - 1.0]])

        q = np.linalg.svd(slope(y, eta))[2][-1]
        again = scipy.optimize.root(extended, np.concatenate([y * 1.001, q, [eta * 1.001]]), tol=1e-14).x
        np.testing.assert_allclose(again[12], eta, rtol=1e-9)
        np.testing.assert_allclose(again[:6], y, rtol=1e-6, atol=1e-9)
