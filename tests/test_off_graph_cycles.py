"""Cycles of models without a graph, beside those of the same models with it, and DOP853."""

from functools import cache

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.cycle_curves.curve_bifurcations import CUTS

from .test_arclength import jacobian, memory
from .test_no_graph import own  # noqa: F401

GAST = {"delta": 2.0, "J": 15.0 * np.sqrt(2.0)}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.thorough)


def assert_the_same(found, exact, tolerance=1e-6):
    """Every column of both, to rounding of the method; multipliers but for the smallest."""
    assert found.sizes == exact.sizes
    assert set(found.variables) == set(exact.variables)
    left_out = ("intervals", "residual", "mesh_error", "saddle_distance", "exponent", "unstable_multipliers")
    for name, values in exact.data_vars.items():
        if name in left_out or name.startswith("multiplier") or name.endswith("_error"):
            continue
        if values.dtype.kind == "f":
            # What is 0 but for rounding has no digits.
            size = max(1e-3, np.nanmax(np.abs(values.values), initial=0.0))
            np.testing.assert_allclose(
                found[name], values, rtol=tolerance, atol=tolerance * size, err_msg=name
            )
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    ordinary = np.flatnonzero(exact["type"].values == 0)
    if not exact.attrs.get("kind"):
        one, other = (d["unstable_multipliers"].values[ordinary] for d in (found, exact))
        np.testing.assert_array_equal(one, other)
    # Beside a homoclinic orbit the flow's own one is off by some hundredths.
    sizes = [np.abs(d["multiplier_real"].values + 1j * d["multiplier_imag"].values) for d in (found, exact)]
    np.testing.assert_allclose(*sizes, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("qif_gap", {"within": (0.5, 3.0), "points": 25, "J": 0.0, "g": 2.0}),
        slow("qif_depression_alpha", {"within": (-5.75, -5.6), "points": 60, "alpha": 0.05, **GAST}),
        slow("qif_pair", {"within": (-1.0, 2.6), "points": 80}),
        slow("qif_adaptation_alpha", {"within": (-5.0, 0.0), "points": 40, "alpha": 0.6, **GAST}),
    ],
)
def test_with_the_graph_hidden_branches_of_cycles_are_the_same(name, given):
    """From every Hopf point, with folds, ends and homoclinic orbits."""
    exact, found = qs.cycle_branches(name, **given), qs.cycle_branches(f"own_models:{name}", **given)
    assert exact.sizes["branches"] > 0
    assert_the_same(found, exact)


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("qif_gap", "period", {"through": "g", "at": 2.0, "period": 3.0, "J": 0.0, "points": 6}),
        ("qif_gap", "homoclinic", {"through": "g", "within": (0.8, 1.0), "points": 6}),
        slow(
            "qif_depression_alpha",
            "LPC",
            {"through": "alpha", "between": (-4.0, -3.0), "within": (0.01, 0.2), "points": 10, **GAST},
        ),
        slow("qif_pair", "LPC", {"along": "eta_i", "through": "J_ie", "at": 15.0, "points": 20}),
    ],
)
def test_with_the_graph_hidden_curves_of_cycles_are_the_same(name, kind, options):
    """From branches; those of homoclinic orbits and of folds also from points of codimension two."""
    options = {"between": (-7.0, 3.0)} | options
    exact, found = (qs.curve(model, kind, **options) for model in (name, f"own_models:{name}"))
    # How long a cycle rests beside the saddle decides on nothing but the last digits of the orbit.
    assert_the_same(found, exact, 1e-3 if kind == "homoclinic" else 1e-5)
    for d in (found, exact) if kind == "homoclinic" else ():
        at = d.isel(point=np.flatnonzero(d["g"].values == 0.8))
        np.testing.assert_allclose(at["homoclinic"], -5.71506, rtol=1e-5)


def test_with_the_graph_hidden_responses_to_a_sine_are_the_same():
    given = {"drive": qs.Sine(amplitude=0.2, period=10.0), "eta": -5.0, "J": 15.0, "starts": 2}
    exact, found = qs.forced_cycles("qif", **given), qs.forced_cycles("own_models:qif", **given)
    assert int(found["count"]) == int(exact["count"]) == 3
    for name in ("r_mean", "v_mean", "r_max", "multiplier_real"):
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(found["stable"], exact["stable"])


@pytest.mark.thorough
def test_with_the_graph_hidden_simulation_finds_the_same_stable_cycle():
    given = {"eta": -2.0, "alpha": 1.0, "starts": 2, **GAST}
    exact, found = (qs.cycles(f"{of}qif_adaptation_alpha", **given) for of in ("", "own_models:"))
    assert int(found["count"]) == int(exact["count"]) == 1
    for name in ("period", "r_max", "v_min"):
        np.testing.assert_allclose(found[name], exact[name], rtol=1e-8)


# Two models of the package that have no graph


@cache
def items():
    """Branches of cycles of the working memory, from its Hopf points of unequal items."""
    return qs.cycle_branches("qif_memory", "J_same", within=(28.0, 30.0), points=22)


def start_of(point, names):
    return np.array([point[f"{name}_start"].item() for name in names])


def variational(field, slope, start, period):
    """The state after a period, and the multipliers, by DOP853."""
    n = len(start)

    def both(t, z):
        return np.concatenate([field(z[:n]), (slope(z[:n]) @ z[n:].reshape(n, n)).ravel()])

    begin = np.concatenate([start, np.eye(n).ravel()])
    end = solve_ivp(both, (0.0, period), begin, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return end[:n], np.linalg.eigvals(end[n:].reshape(n, n))


def rows(found, number):
    return found.isel(point=np.flatnonzero(found["branch"].values == number))


NAMES = [v.name for v in qs.models()["qif_memory"].variables]


@pytest.mark.thorough
def test_cycles_of_working_memory_begin_with_the_period_of_numpys_eigenvalues():
    found = items()
    assert found.sizes["branches"] == 2
    for number in range(2):
        first = rows(found, number).isel(point=0)
        values = np.linalg.eigvals(jacobian(start_of(first, NAMES), first["J_same"].item()))
        pair = values[np.argmin(np.abs(values.real) + 1e3 * (values.imag <= 1e-6))]
        assert abs(pair.real) < 1e-9
        assert first["period"].item() == pytest.approx(2.0 * np.pi / pair.imag, rel=1e-8)


def test_both_items_have_the_same_cycles_with_their_parts_exchanged():
    one, other = (rows(items(), number) for number in range(2))
    fold = [d.isel(point=np.flatnonzero(d["type"].values == 5)) for d in (one, other)]
    assert fold[0].sizes["point"] == fold[1].sizes["point"] == 1
    for a, b in (("J_same", "J_same"), ("period", "period"), ("r_1_max", "r_2_max"), ("x_1_min", "x_2_min")):
        np.testing.assert_allclose(fold[0][a], fold[1][b], rtol=1e-6)
        np.testing.assert_allclose(fold[1][a], fold[0][b], rtol=1e-6)
    assert items()["duplicate_of"].values.tolist() == [-1, -1]


def test_multipliers_of_cycles_of_working_memory_are_those_of_the_variational_equations():
    """At an unstable cycle, at a stable one, and at the fold between, where 1 is double."""
    branch = rows(items(), 0)
    fold = int(np.flatnonzero(branch["type"].values == 5)[0])
    for k in (2, fold, branch.sizes["point"] - 2):
        point = branch.isel(point=k)
        strength, start = point["J_same"].item(), start_of(point, NAMES)
        end, mu = variational(
            lambda y, s=strength: memory(y, s),
            lambda y, s=strength: jacobian(y, s),
            start,
            point["period"].item(),
        )
        np.testing.assert_allclose(end, start, rtol=1e-7, atol=1e-9)
        ours = point["multiplier_real"].values + 1j * point["multiplier_imag"].values
        if k == fold:
            near = [np.sort_complex(m[np.argsort(np.abs(m - 1.0))[:2]]) for m in (mu, ours)]
            assert abs(near[0].mean() - 1.0) < 1e-6
            assert abs((near[0] - 1.0).prod()) < 1e-6
            assert abs(near[1].mean() - 1.0) < 1e-6
        else:
            np.testing.assert_allclose(np.sort(np.abs(mu))[-3:], np.sort(np.abs(ours))[-3:], rtol=1e-5)
            assert point["stable"].item() == (k > fold)


@pytest.mark.thorough
def test_a_stable_cycle_of_working_memory_is_where_a_long_simulation_goes():
    point = rows(items(), 0).isel(point=-2)
    assert point["stable"].item()
    strength, period = point["J_same"].item(), point["period"].item()
    begin = 1.002 * start_of(point, NAMES)
    settled = solve_ivp(
        lambda t, y: memory(y, strength), (0.0, 60.0 * period), begin, method="DOP853", rtol=1e-10, atol=1e-12
    ).y[:, -1]
    last = solve_ivp(
        lambda t, y: memory(y, strength),
        (0.0, period),
        settled,
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        dense_output=True,
    )
    np.testing.assert_allclose(last.y[:, -1], settled, rtol=1e-4, atol=1e-6)
    lap = last.sol(np.linspace(0.0, period, 100_000))
    for i, name in enumerate(NAMES):
        assert lap[i].max() == pytest.approx(point[f"{name}_max"].item(), rel=1e-4)
        assert lap[i].min() == pytest.approx(point[f"{name}_min"].item(), rel=1e-4, abs=1e-6)


@pytest.mark.thorough
def test_on_a_curve_of_folds_of_cycles_of_working_memory_the_multiplier_1_is_double():
    """In the strength within an item and that of inhibition; DOP853 at three points."""
    found = qs.curve(
        "qif_memory",
        "LPC",
        along="J_same",
        through="tau_d",
        at=200.0,
        between=(27.0, 29.5),
        within=(190.0, 210.0),
        points=8,
    )
    assert {CUTS[k] for k in (*found["start"].values, *found["end"].values)} <= {"within", "points"}
    on = found.isel(point=int(np.abs(found["tau_d"].values - 200.0).argmin()))
    strength = on["J_same"].item()
    end, mu = variational(
        lambda y: memory(y, strength),
        lambda y: jacobian(y, strength),
        start_of(on, NAMES),
        on["period"].item(),
    )
    np.testing.assert_allclose(end, start_of(on, NAMES), rtol=1e-7, atol=1e-9)
    near = mu[np.argsort(np.abs(mu - 1.0))[:2]]
    assert abs(near.mean() - 1.0) < 1e-6
    assert abs((near - 1.0).prod()) < 1e-6


INHIBITED = {"J": -10.0, "sigma": 0.3, "delta": 0.04}
CUMULANTS = [v.name for v in qs.models()["qif_cumulants"].variables]


def cumulants(y, eta):
    """Return the derivatives of the model with three pseudo-cumulants, in complex numbers."""
    r, v, a, b, e, f = y
    first, second, third = np.pi * r - 1j * v, a + 1j * b, e + 1j * f
    slopes = (
        INHIBITED["delta"] - 1j * (eta + INHIBITED["J"] * r) + 1j * (first**2 - second),
        2.0 * INHIBITED["sigma"] ** 2 + 4j * (first * second - third),
        3j * (2.0 * first * third + second**2),
    )
    parts = [part for slope in slopes for part in (slope.real, slope.imag)]
    return np.array([parts[0] / np.pi, -parts[1], *parts[2:]])


def slope_of_cumulants(y, eta):
    """By central differences; the field is a polynomial of degree two, of which they are exact."""
    return np.stack([(cumulants(y + e, eta) - cumulants(y - e, eta)) / 2.0 for e in np.eye(6)], axis=1)


@cache
def noisy():
    return qs.cycle_branches("qif_cumulants", "eta", within=(-1.0, 1.2), points=28, **INHIBITED)


def multipliers_of_cumulants(point):
    """By DOP853, from a cycle that is closed."""
    eta, start = point["eta"].item(), start_of(point, CUMULANTS)
    end, mu = variational(
        lambda y: cumulants(y, eta), lambda y: slope_of_cumulants(y, eta), start, point["period"].item()
    )
    np.testing.assert_allclose(end, start, rtol=1e-7, atol=1e-8)
    ours = point["multiplier_real"].values + 1j * point["multiplier_imag"].values
    np.testing.assert_allclose(np.sort(np.abs(mu))[-3:], np.sort(np.abs(ours))[-3:], rtol=1e-5)
    return mu


def test_cycles_of_pseudo_cumulants_begin_with_the_period_of_numpys_eigenvalues():
    assert noisy().sizes["branches"] == 2
    for number in range(2):
        begin = rows(noisy(), number).isel(point=0)
        values = np.linalg.eigvals(slope_of_cumulants(start_of(begin, CUMULANTS), begin["eta"].item()))
        assert np.abs(values - 2j * np.pi / begin["period"].item()).min() < 1e-8


def test_at_a_period_doubling_and_a_torus_bifurcation_variational_equations_are_marginal():
    branch = rows(noisy(), 1)
    for code in (7, 8):
        mu = multipliers_of_cumulants(
            branch.isel(point=int(np.flatnonzero(branch["type"].values == code)[0]))
        )
        if code == 7:
            assert np.abs(mu + 1.0).min() < 1e-6
        else:
            pair = mu[np.abs(mu.imag) > 1e-3]
            assert np.abs(np.abs(pair) - 1.0).min() < 1e-6


def test_a_stable_cycle_of_pseudo_cumulants_is_where_a_long_simulation_goes():
    stable = rows(noisy(), 0).isel(point=12)
    assert stable["stable"].item()
    multipliers_of_cumulants(stable)
    eta = stable["eta"].item()
    long = solve_ivp(
        lambda t, y: cumulants(y, eta),
        (0.0, 400.0),
        1.05 * start_of(stable, CUMULANTS),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
        dense_output=True,
    )
    lap = long.sol(np.linspace(400.0 - stable["period"].item(), 400.0, 2000))
    np.testing.assert_allclose(lap[:, 0], lap[:, -1], atol=1e-7)
    assert lap[0].max() == pytest.approx(stable["r_max"].item(), rel=1e-5)


@pytest.mark.thorough
def test_on_a_curve_of_torus_bifurcations_a_pair_of_multipliers_is_on_the_circle_at_its_angle():
    given = {name: INHIBITED[name] for name in ("J", "delta")}
    ranges = {"between": (0.0, 1.2), "within": (0.2995, 0.3005)}
    found = qs.curve("qif_cumulants", "NS", through="sigma", at=0.3, points=6, **ranges, **given)
    at = found.isel(point=int(np.abs(found["sigma"].values - 0.3).argmin()))
    assert at["sigma"].item() == pytest.approx(0.3, abs=1e-12)
    mu = multipliers_of_cumulants(at)
    assert np.abs(mu - np.exp(1j * at["angle"].item())).min() < 1e-6


@pytest.mark.thorough
def test_simulation_finds_the_stable_cycle_of_pseudo_cumulants_that_is_on_the_branch():
    found = qs.cycles("qif_cumulants", eta=0.3, starts=3, **INHIBITED)
    assert int(found["count"]) == 1
    first = rows(noisy(), 0)
    eta, period = first["eta"].values, first["period"].values
    up = int(np.flatnonzero(np.diff(np.sign(eta - 0.3)) > 0)[0])
    assert period[up + 1] < found["period"].item() < period[up]


def test_what_cycles_of_such_models_are_not_asked_for_is_refused_in_a_line():
    model = "own_models:gained"
    for call, line in (
        (lambda: qs.cycle_branches("qif_memory", "eta"), 'along: found "eta", expected one of'),
        (
            lambda: qs.cycle_branches(model, within=(-float("inf"), 1.0)),
            "within: found [-Infinity, 1.0], expected finite ends, of own_models:gained, which has no `rest`",
        ),
        (
            lambda: qs.cycle_branches(model, "delta", within=(0.0, 1.0)),
            "within: found [0.0, 1.0], expected ends that are a number above 0, as delta is",
        ),
        (
            lambda: qs.curve(model, "LPC", between=(0.0, float("inf"))),
            "between: found [0.0, Infinity], expected finite ends",
        ),
        (
            lambda: qs.cycle_branches("own_models:delayed"),
            'model: found "own_models:delayed", which has no `rest`, but a delay, expected a graph',
        ),
    ):
        with pytest.raises(qs.ScanError) as error:
            call()
        assert line in str(error.value)
        assert len(error.value.faults) == 1
