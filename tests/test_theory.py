"""The theory of the plain model against published values, exact arithmetic, symmetries and brute force."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.models import QIF
from qifscan.errors import ScanError
from qifscan.theory.equilibria import equilibria
from qifscan.theory.plain import cusp, focus_line, fold_rates, folds, named_state, roots

repeatable = settings(deadline=None, derandomize=True)
repeatable_slow = settings(deadline=None, derandomize=True, max_examples=40)

PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494")

J_CUSP = 7.7962170366669886

etas = st.floats(-30.0, 15.0)
couplings = st.floats(-30.0, 40.0)
widths = st.floats(1e-2, 1e2)
times = st.floats(1e-1, 1e2)


def quartic(eta, J, delta) -> list[Fraction]:
    """Coefficients in R, highest first, without rounding."""
    eta, J, delta = Fraction(eta), Fraction(J), Fraction(delta)
    return [PI**2, -J, -eta, Fraction(0), -(delta**2) / (4 * PI**2)]


def count_positive_roots(polynomial: list[Fraction]) -> int:
    """Sturm's theorem on (0, inf), in rational arithmetic."""
    degree = len(polynomial) - 1
    chain = [polynomial, [(degree - i) * a for i, a in enumerate(polynomial[:-1])]]
    while len(chain[-1]) > 1:
        rest = list(chain[-2])
        while len(rest) >= len(chain[-1]):
            factor = rest[0] / chain[-1][0]
            rest = [a - factor * (chain[-1][i] if i < len(chain[-1]) else 0) for i, a in enumerate(rest)][1:]
        while rest and rest[0] == 0:
            rest = rest[1:]
        if not rest:
            break
        chain.append([-a for a in rest])

    def changes(values):
        signs = [value > 0 for value in values if value != 0]
        return sum(a != b for a, b in pairwise(signs))

    return changes([p[-1] for p in chain]) - changes([p[0] for p in chain])


def true_count(eta, J, delta, within=1e-12) -> int | None:
    """Number of equilibria; None if another eta within a relative distance has another number."""
    counts = {
        count_positive_roots(quartic(Fraction(eta) * (1 + Fraction(k) * Fraction(within)), J, delta))
        for k in (-1, 0, 1)
    }
    return counts.pop() if len(counts) == 1 else None


def residual(r, eta, J, delta, tau):
    """The quartic over the sum of its terms' sizes."""
    R = r * tau
    terms = np.stack(
        np.broadcast_arrays(np.pi**2 * R**4, -J * R**3, -eta * R**2, -(delta**2) / (4.0 * np.pi**2) + 0.0 * R)
    )
    return np.abs(terms.sum(axis=0)) / np.abs(terms).sum(axis=0)


def log_uniform(rng, low, high, size):
    return 10.0 ** rng.uniform(low, high, size)


def scattered(size, seed=0):
    """Parameters over many orders of magnitude, of every sign that is allowed."""
    rng = np.random.default_rng(seed)
    eta = rng.choice([-1.0, 1.0], size) * log_uniform(rng, -3, 6, size)
    J = rng.choice([-1.0, 1.0], size) * log_uniform(rng, -3, 3, size)
    return eta, J, log_uniform(rng, -6, 6, size), log_uniform(rng, -3, 3, size)


def around_the_bistable_region(size, seed=0):
    rng = np.random.default_rng(seed)
    delta = log_uniform(rng, -6, 6, size)
    J = rng.uniform(5.0, 40.0, size) * np.sqrt(delta)
    return rng.uniform(-40.0, 2.0, size) * delta, J, delta, log_uniform(rng, -3, 3, size)


def jacobian(r, v, parameters):
    """Of the model's own field, by complex steps: exact to rounding."""
    constants = QIF.constants(parameters)
    columns = []
    for step in ((1e-30j, 0.0), (0.0, 1e-30j)):
        moved = QIF.field((r + step[0], v + step[1]), (0.0, 0.0), constants)
        columns.append([np.imag(component) / 1e-30 for component in moved])
    return np.array(columns).T


# Values that others found


def test_the_three_equilibria_of_the_default_parameters_are_the_known_ones():
    found = equilibria()
    np.testing.assert_allclose(
        found.r, [0.081134441950119719, 0.47298034068468413, 1.0305967988375715], rtol=1e-13
    )
    np.testing.assert_allclose(
        found.v, [-1.9616199885831653, -0.33649378082290563, -0.15442988302642608], rtol=1e-13
    )
    np.testing.assert_allclose(
        found.eigenvalue_real,
        [
            [-5.3977415278811264, -2.4487384264515350],
            [-2.9876533088606227, 1.6416781855690002],
            [-0.30885976605285215, -0.30885976605285215],
        ],
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        found.eigenvalue_imag, [[0, 0], [0, 0], [-3.3186289820064804, 3.3186289820064804]], rtol=1e-13
    )
    assert found.kind.values.tolist() == [1, 3, 2]
    assert found.stable.values.tolist() == [True, False, True]
    assert int(found["count"]) == 3


@pytest.mark.parametrize(
    ("J", "delta", "upper", "lower"),
    [
        (15.0, 1.0, -5.7435271616578158, -3.1361340861956852),
        (15.0 * np.sqrt(2.0), 2.0, -11.487054323315632, -6.2722681723913705),
        (20.0, 1.0, -10.156852905728538, -3.8968506270330206),
        (10.0, 1.0, -2.6361167928246385, -2.2379335308710074),
    ],
)
def test_the_folds_lie_at_the_known_inputs(J, delta, upper, lower):
    found = folds(J=J, delta=delta).eta
    np.testing.assert_allclose(found.sel(fold="upper"), upper, rtol=1e-13)
    np.testing.assert_allclose(found.sel(fold="lower"), lower, rtol=1e-13)


def test_the_folds_have_the_known_rates():
    found = folds(J=15.0).r
    np.testing.assert_allclose(
        found.sel(fold=["lower", "upper"]), [0.16256979681321443, 0.75391972723878985], rtol=1e-13
    )
    np.testing.assert_array_equal(fold_rates(15.0, 1.0, 1.0), found)


def test_the_cusp_lies_at_the_known_parameters():
    found = cusp()
    np.testing.assert_allclose(
        [found.eta, found.J, found.r], [-1.7320508075688773, J_CUSP, 0.29622072678287188], rtol=1e-14
    )
    np.testing.assert_allclose(found.v, -1.0 / (2.0 * np.pi * 0.29622072678287188), rtol=1e-14)


@pytest.mark.parametrize(
    ("J", "r", "v"),
    [
        (20.0250, 8.72410e-2, -1.82431),
        (9.97436, 7.68229e-2, -2.07171),
        (0.475853, 7.10625e-2, -2.23965),
        (-10.0231, 6.65968e-2, -2.38983),
    ],
)
def test_the_lower_branch_is_the_one_that_auto_continued(J, r, v):
    found = equilibria(J=J).isel(equilibrium=0)
    # AUTO's table has six digits, also of J.
    np.testing.assert_allclose([found.r, found.v], [r, v], rtol=1e-5)


# Complete and exact


@repeatable
@given(etas, couplings, widths)
def test_there_are_as_many_equilibria_as_sturm_counts(eta, J, delta):
    expected = true_count(eta, J, delta)
    if expected is not None:
        assert np.isfinite(roots(eta, J, delta, 1.0)).sum() == expected


@repeatable
@given(st.floats(0.0, 1.0), st.floats(1.0, 5.0), widths, st.floats(-15.0, -3.0), st.sampled_from([-1, 1]))
def test_no_equilibrium_is_lost_or_doubled_next_to_a_fold(which, excess, delta, distance, side):
    J = J_CUSP * excess * np.sqrt(delta)
    at = folds(J=J, delta=delta).eta.values[round(which)]
    if np.isnan(at):
        return
    eta = at * (1.0 + side * 10.0**distance)
    found = roots(eta, J, delta, 1.0)
    found = found[np.isfinite(found)]
    assert found.size in (1, 3)
    assert (np.diff(found) > 0.0).all()
    expected = true_count(eta, J, delta, within=1e-14)
    if expected is not None:
        assert found.size == expected


def test_slices_through_the_cusp_change_only_between_one_and_three_equilibria():
    J = J_CUSP * (1.0 + np.concatenate([-np.logspace(-16, -2, 29), [0.0], np.logspace(-16, -2, 29)]))
    eta = -np.sqrt(3.0) * (1.0 + np.linspace(-1.0, 1.0, 401) ** 3 * 1e-2)
    found = roots(eta[:, None], J, 1.0, 1.0)
    count = np.isfinite(found).sum(axis=-1)
    assert set(np.unique(count)) == {1, 3}
    assert (count[:, J < J_CUSP * (1.0 - 1e-15)] == 1).all()
    assert (
        residual(
            found[np.isfinite(found)],
            *(
                np.broadcast_to(p[..., None], found.shape)[np.isfinite(found)]
                for p in np.broadcast_arrays(eta[:, None], J)
            ),
            1.0,
            1.0,
        ).max()
        < 1e-15
    )
    # Three within one interval of eta, one outside.
    assert (np.abs(np.diff(count == 3, axis=0, prepend=0, append=0).astype(int)).sum(axis=0) <= 2).all()


def test_the_wedge_above_the_cusp_opens_with_the_power_three_halves():
    excess = np.array([1e-4, 1e-6])
    found = folds(J=J_CUSP * (1.0 + excess)).eta
    width = (found.sel(fold="lower") - found.sel(fold="upper")).values
    np.testing.assert_allclose(width[0] / width[1], 1e3, rtol=1e-2)


@pytest.mark.parametrize(
    "parameters", [scattered(20_000), around_the_bistable_region(20_000)], ids=["scattered", "bistable"]
)
def test_every_rate_solves_the_quartic_to_rounding(parameters):
    found = roots(*parameters)
    assert np.isfinite(found[:, 0]).all()
    size = residual(found, *(p[:, None] for p in parameters))
    assert np.nanmax(size) < 4e-15


@repeatable
@given(etas, couplings, widths, times)
def test_the_rates_are_those_of_the_companion_matrix(eta, J, delta, tau):
    brute = np.roots([float(a) for a in quartic(eta, J, delta)])
    brute = np.sort(brute.real[(np.abs(brute.imag) < 1e-5 * np.abs(brute)) & (brute.real > 0.0)]) / tau
    found = roots(eta, J, delta, tau)
    found = found[np.isfinite(found)]
    # Next to a fold the companion matrix has half of its digits: there Sturm decides, above.
    if true_count(eta, J, delta, within=1e-6) is not None:
        # Its small roots are absolutely, not relatively, accurate.
        np.testing.assert_allclose(found, brute, rtol=1e-6, atol=1e-10 * brute.max())


@repeatable
@given(etas, couplings, widths, times)
def test_the_rates_ascend(eta, J, delta, tau):
    found = roots(eta, J, delta, tau)
    count = np.isfinite(found).sum()
    assert count >= 1
    assert (np.diff(found[:count]) > 0.0).all()
    assert np.isnan(found[count:]).all()


@pytest.mark.parametrize(
    "parameters", [scattered(3000, 1), around_the_bistable_region(3000, 1)], ids=["scattered", "bistable"]
)
def test_rates_away_from_folds_are_exact_to_twelve_digits(parameters):
    """Two Newton steps in exact arithmetic, from each rate, must not move it."""
    for eta, J, delta, tau, rates in zip(
        *(p.tolist() for p in parameters), roots(*parameters).tolist(), strict=True
    ):
        a = quartic(eta, J, delta)
        for rate in rates:
            if np.isnan(rate):
                continue
            R = Fraction(rate) * Fraction(tau)
            value = a[0] * R**4 + a[1] * R**3 + a[2] * R**2 + a[4]
            slope = 4 * a[0] * R**3 + 3 * a[1] * R**2 + 2 * a[2] * R
            sizes = abs(a[0]) * R**4 + abs(a[1]) * R**3 + abs(a[2]) * R**2 + abs(a[4])
            # The condition number of the root is large next to a fold alone.
            if sizes / abs(slope * R) < 100:
                assert abs(value / slope / R) < 1e-12


@pytest.mark.parametrize(("fold", "inside"), [("lower", 1.0), ("upper", -1.0)])
def test_two_equilibria_meet_at_a_fold_with_half_of_the_digits(fold, inside):
    at = folds(J=np.linspace(8.0, 40.0, 50)).sel(fold=fold)
    # Both folds lie at negative eta.
    found = equilibria(eta=at.eta * (1.0 + inside * 1e-14), J=at.J)
    assert (found["count"] == 3).all()
    pair = found.r.isel(equilibrium=[0, 1] if fold == "lower" else [1, 2])
    np.testing.assert_allclose(pair, at.r.broadcast_like(pair), rtol=1e-6)


@repeatable
@given(etas, couplings, widths, times, st.integers(-20, 20))
def test_scaling_by_a_power_of_four_changes_no_bit(eta, J, delta, tau, power):
    s, root_s = 4.0**power, 2.0**power
    assert (root_s * roots(eta, J, delta, tau)).tobytes() == roots(
        s * eta, root_s * J, s * delta, tau
    ).tobytes()


@repeatable_slow
@given(etas, couplings, widths, times, st.floats(1e-6, 1e6))
def test_equilibria_obey_the_scaling_law(eta, J, delta, tau, s):
    if true_count(eta, J, delta, within=1e-3) is None:
        return
    one = equilibria(eta=eta, J=J, delta=delta, tau=tau)
    other = equilibria(eta=s * eta, J=np.sqrt(s) * J, delta=s * delta, tau=tau)
    for name in ("r", "v", "eigenvalue_real"):
        np.testing.assert_allclose(other[name], np.sqrt(s) * one[name], rtol=1e-9)


def test_extreme_but_lawful_numbers_give_finite_rates_or_none_without_a_warning(recwarn):
    sizes = np.array([0.0, 1e-300, 1e-100, 1.0, 1e100, 1e300])
    grid = np.meshgrid(np.r_[-sizes, sizes], np.r_[-sizes, sizes], sizes, sizes[1:])
    found = roots(*grid)
    assert not np.isinf(found).any()
    assert not recwarn.list
    assert np.isnan(roots(-5.0, 15.0, [0.0, -1.0, 1.0, 1.0], [1.0, 1.0, 0.0, -1.0])).all()


# Bits


def test_the_bits_of_a_point_do_not_depend_on_its_company():
    parts = (scattered(300, 2), around_the_bistable_region(300, 3))
    parameters = [np.concatenate(p) for p in zip(*parts, strict=True)]
    whole = roots(*parameters)
    alone = np.stack([roots(*point) for point in zip(*parameters, strict=True)])
    order = np.random.default_rng(4).permutation(len(whole))
    many = roots(*(np.tile(p, 60) for p in parameters))
    assert alone.tobytes() == whole.tobytes()
    assert roots(*(p[order] for p in parameters)).tobytes() == whole[order].tobytes()
    assert roots(*(p[::-3] for p in parameters)).tobytes() == whole[::-3].tobytes()
    assert all(part.tobytes() == whole.tobytes() for part in np.split(many, 60))
    for size in (1, 2, 3, 5, 8, 13):
        assert roots(*(p[7 : 7 + size] for p in parameters)).tobytes() == whole[7 : 7 + size].tobytes()


def test_the_bits_of_a_fold_do_not_depend_on_its_company():
    _, J, delta, tau = around_the_bistable_region(400, 5)
    whole = fold_rates(J, delta, tau)
    assert np.isfinite(whole).any()
    alone = np.stack([fold_rates(*point) for point in zip(J, delta, tau, strict=True)])
    assert alone.tobytes() == whole.tobytes()


def test_a_plane_of_equilibria_holds_the_bits_of_its_points():
    plane = equilibria(eta=[-6.0, -5.0, 1.0], J=[-3.0, 8.0, 15.0])
    for eta in (-6.0, -5.0, 1.0):
        for J in (-3.0, 8.0, 15.0):
            point = equilibria(eta=eta, J=J)
            for name in point.data_vars:
                assert plane[name].sel(eta=eta, J=J).values.tobytes() == point[name].values.tobytes(), name


# Stability


@repeatable_slow
@given(etas, couplings, widths, times)
def test_the_field_vanishes_at_every_equilibrium(eta, J, delta, tau):
    parameters = {"eta": eta, "J": J, "delta": delta, "tau": tau}
    found = equilibria(**parameters)
    for r, v in zip(found.r.values, found.v.values, strict=True):
        if np.isfinite(r):
            dr, dv = QIF.field((r, v), (0.0, 0.0), QIF.constants(parameters))
            R = tau * r
            assert abs(dr * tau) <= 1e-14 * delta / tau
            assert abs(dv * tau) <= 1e-13 * (v * v + abs(eta) + abs(J) * R + (np.pi * R) ** 2)


@repeatable_slow
@given(etas, couplings, widths, times)
def test_the_eigenvalues_are_those_of_the_fields_jacobian(eta, J, delta, tau):
    parameters = {"eta": eta, "J": J, "delta": delta, "tau": tau}
    found = equilibria(**parameters)
    for i in range(int(found["count"])):
        at = found.isel(equilibrium=i)
        matrix = jacobian(float(at.r), float(at.v), parameters)
        expected = np.sort_complex(np.linalg.eigvals(matrix))
        eigenvalues = np.sort_complex(at.eigenvalue_real.values + 1j * at.eigenvalue_imag.values)
        # A matrix with a double eigenvalue has it to half of the digits only; the product is exact.
        size = np.abs(expected).max()
        np.testing.assert_allclose(eigenvalues, expected, atol=1e-6 * size)
        np.testing.assert_allclose(eigenvalues.sum(), np.trace(matrix), rtol=1e-12)
        np.testing.assert_allclose(
            eigenvalues.prod(), np.linalg.det(matrix), atol=1e-12 * size * np.abs(matrix).max()
        )


@repeatable_slow
@given(etas, couplings, widths, times)
def test_kind_and_stability_follow_from_the_eigenvalues(eta, J, delta, tau):
    found = equilibria(eta=eta, J=J, delta=delta, tau=tau)
    for i in range(3):
        at = found.isel(equilibrium=i)
        real, imag = at.eigenvalue_real.values, at.eigenvalue_imag.values
        if i >= int(found["count"]):
            assert (int(at.kind), bool(at.stable)) == (0, False)
            continue
        assert bool(at.stable) == (real < 0.0).all()
        assert (imag != 0.0).any() == (int(at.kind) == 2)
        if (real != 0.0).all():
            assert (real.prod() < 0.0) == (int(at.kind) == 3)


def test_of_three_equilibria_the_middle_one_is_the_saddle_and_there_is_no_hopf_point():
    eta, J, delta, tau = (xr.DataArray(p, dims="point") for p in around_the_bistable_region(5000, 6))
    found = equilibria(eta=eta, J=J, delta=delta, tau=tau)
    three = found.where(found["count"] == 3, drop=True)
    assert three.sizes["point"] > 500
    assert (three.kind.isel(equilibrium=1) == 3).all()
    assert (three.kind.isel(equilibrium=0) == 1).all()
    assert found.stable.where(found.kind != 3, True).where(np.isfinite(found.r), True).all()


def test_the_upper_equilibrium_turns_into_a_focus_at_the_line():
    J = np.array([0.5, 5.0, 15.0, 30.0])
    line = focus_line(J=J, tau=2.0)
    np.testing.assert_allclose(line.r, J / (4.0 * np.pi**2), rtol=1e-14)
    for side, kind in ((-1e-8, 1), (1e-8, 2)):
        found = equilibria(eta=line.eta * (1.0 - side), J=J, tau=2.0)
        assert (found.kind.isel(equilibrium=found["count"] - 1) == kind).all()


def test_inhibition_makes_every_equilibrium_a_focus():
    assert np.isnan(focus_line(J=[-3.0, 0.0]).eta).all()
    assert (equilibria(eta=np.linspace(-50, 50, 30), J=[-3.0, 0.0]).kind.isel(equilibrium=0) == 2).all()


@pytest.mark.parametrize(("fold", "inside"), [("lower", -1.0), ("upper", 1.0)])
def test_a_fold_is_named_by_the_branch_that_ends_there(fold, inside):
    at = folds(J=15.0).sel(fold=fold)
    beyond, before = (equilibria(eta=at.eta + side * inside * 1e-3, J=15.0) for side in (-1.0, 1.0))
    assert (int(before["count"]), int(beyond["count"])) == (3, 1)
    other = 2 if fold == "lower" else 0
    np.testing.assert_allclose(beyond.r[0], before.r[other], rtol=1e-2)


def test_folds_exist_above_the_cusp_alone():
    at = cusp(delta=3.0)
    J = float(at.J) * np.array([-1.0, 0.0, 0.999999, 1.000001])
    found = folds(J=J, delta=3.0)
    assert np.isfinite(found.eta).all("fold").values.tolist() == [False, False, False, True]
    np.testing.assert_allclose(found.eta.isel(J=3), at.eta, rtol=1e-5)
    np.testing.assert_allclose(found.r.isel(J=3), at.r, rtol=1e-2)


def test_folds_solve_both_of_their_equations():
    J, delta, tau = xr.DataArray([9.0, 20.0, 1e4], dims="x"), [0.5, 1.0], 7.0
    found = folds(J=J, delta=delta, tau=tau)
    R = tau * found.r
    np.testing.assert_allclose(
        2 * np.pi**2 * R + found.delta**2 / (2 * np.pi**2 * R**3), found.J + 0 * R, rtol=1e-12
    )
    np.testing.assert_allclose(
        found.eta, -((np.pi * R) ** 2) - 3 * found.delta**2 / (4 * np.pi**2 * R**2), rtol=1e-12
    )


# Named states


@pytest.mark.parametrize(
    ("name", "r"),
    [("rest", 0.081134441950119719), ("down", 0.081134441950119719), ("up", 1.0305967988375715)],
)
def test_a_named_state_is_the_known_equilibrium(name, r):
    one = np.ones((2, 3))
    state = named_state(name, {"tau": 2.0 * one, "eta": -5.0 * one, "delta": one, "J": 15.0 * one})
    assert set(state) == {"r", "v"}
    np.testing.assert_allclose(state["r"], r * one / 2.0, rtol=1e-13)
    np.testing.assert_allclose(state["v"], -1.0 / (2.0 * np.pi * r) * one, rtol=1e-13)


def test_named_states_of_a_single_equilibrium_are_one_state():
    alone = {"tau": np.array([1.0]), "eta": np.array([3.0]), "delta": np.array([1.0]), "J": np.array([0.0])}
    states = [named_state(name, alone) for name in NAMED_STATES]
    assert len({(state["r"].tobytes(), state["v"].tobytes()) for state in states}) == 1


def test_without_a_source_of_spikes_there_is_no_named_state():
    at = {"tau": np.ones(2), "eta": np.zeros(2), "delta": np.array([0.0, -1.0]), "J": np.ones(2)}
    assert np.isnan(named_state("rest", at)["r"]).all()
    assert np.isnan(named_state("up", at)["v"]).all()


def test_an_unknown_state_is_answered_with_the_nearest():
    with pytest.raises(ScanError, match='did you mean "rest"'):
        named_state("reset", {})


# Datasets


def test_parameters_become_the_dimensions_and_coordinates():
    found = equilibria(eta=[-5.0, -4.0], J=[10.0, 15.0, 20.0], tau=10.0)
    assert found.r.dims == ("eta", "J", "equilibrium")
    assert found.eigenvalue_real.dims == ("eta", "J", "equilibrium", "eigenvalue")
    assert found["count"].dims == ("eta", "J")
    assert {name: found.coords[name].dims for name in ("eta", "J", "tau", "delta")} == {
        "eta": ("eta",),
        "J": ("J",),
        "tau": (),
        "delta": (),
    }
    assert found["count"].dtype == found.kind.dtype == np.int8
    assert found.stable.dtype == bool


def test_a_data_array_carries_its_own_dimension_through():
    J = xr.DataArray([10.0, 15.0], dims="cell", coords={"cell": ["a", "b"], "depth": ("cell", [1, 2])})
    found = equilibria(J=J)
    assert found.r.dims == ("cell", "equilibrium")
    assert found.J.dims == found.depth.dims == ("cell",)
    xr.testing.assert_equal(found.r.sel(cell="b"), equilibria(J=J.sel(cell="b")).r)


def test_one_dataset_can_be_asked_about_at_the_points_of_another():
    at = folds(J=[10.0, 15.0])
    found = equilibria(eta=at.eta, J=at.J)
    assert found.r.dims == ("J", "fold", "equilibrium")
    assert focus_line(J=equilibria(J=[1.0, 2.0]).J).eta.dims == ("J",)


@pytest.mark.parametrize(
    "dataset",
    [equilibria(), folds(J=15.0), cusp(), focus_line(J=15.0)],
    ids=["equilibria", "folds", "cusp", "line"],
)
def test_every_variable_says_what_it_is_and_where_it_comes_from(dataset):
    units = {
        "r": "1/ms",
        "v": "1",
        "eta": "1",
        "J": "1",
        "delta": "1",
        "tau": "ms",
        "eigenvalue_real": "1/ms",
    }
    assert "021028" in dataset.attrs["reference"]
    for name, variable in dataset.variables.items():
        assert variable.attrs["long_name"], name
        assert "021028" in variable.attrs["reference"], name
        if name in units:
            assert variable.attrs["units"] == units[name], name


def test_kinds_are_flags_by_the_cf_conventions():
    attributes = equilibria().kind.attrs
    meanings = dict(zip(attributes["flag_values"].tolist(), attributes["flag_meanings"].split(), strict=True))
    assert meanings == {0: "none", 1: "node", 2: "focus", 3: "saddle"}
    assert attributes["flag_values"].dtype == np.int8


def test_nothing_asked_for_gives_nothing():
    assert equilibria(eta=[]).r.shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: equilibria(etta=1.0), 'did you mean "eta"'),
        (lambda: equilibria(model="quif"), 'did you mean "qif"'),
        (lambda: equilibria(model=None), "one of qif"),
        (lambda: equilibria(tau=0.0), "tau: found 0, expected a number above 0"),
        (lambda: equilibria(delta=[1.0, -1.0]), "delta: found -1, expected a number above 0"),
        (lambda: equilibria(eta=np.nan), "eta: found nan, expected finite numbers"),
        (lambda: equilibria(eta=np.zeros((2, 2))), "xarray.DataArray"),
        (lambda: equilibria(eta=xr.DataArray([1.0], dims="equilibrium")), "rename it"),
        (lambda: equilibria(eta=xr.DataArray([1.0], dims="r")), "rename it"),
        (lambda: equilibria(eta=folds(J=[9.0, 10.0]).eta), "give J along it"),
        (lambda: folds(J="strong"), "J: found"),
        (lambda: folds(J=1.0, tau=-1.0), "tau: found -1"),
        (lambda: cusp(delta=0.0), "delta: found 0"),
        (lambda: focus_line(J=np.inf), "J: found inf"),
    ],
)
def test_a_wrong_request_is_refused_in_words(call, words):
    with pytest.raises(ScanError) as caught:
        call()
    assert words in str(caught.value)


def test_all_mistakes_of_a_request_are_told_at_once():
    with pytest.raises(ScanError) as caught:
        equilibria(tau=0.0, delta=-1.0, etta=2.0)
    assert len(caught.value.faults) == 3


def test_importing_the_theory_does_not_load_xarray_or_jax():
    code = "import sys, qifscan.theory.plain; sys.exit(bool({'xarray', 'jax', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
