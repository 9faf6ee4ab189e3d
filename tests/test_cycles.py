"""Limit cycles: their branches, multipliers and bifurcations; and responses to a sine."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import FAMILY, MODELS
from qifscan.limit_cycles.duplicates import duplicates
from qifscan.limit_cycles.homoclinic import fitted
from qifscan.limit_cycles.located import Search
from qifscan.limit_cycles.steps import at_value
from qifscan.periodic_orbits.orbits import from_function
from qifscan.periodic_orbits.problem import Problem
from qifscan.theory.normal_forms import lyapunov_coefficient

GAST = {"delta": 2.0, "J": 15.0 * math.sqrt(2.0)}
NONE, HB, LPC, PD, TR, EP, UNRESOLVED = 0, 3, 5, 7, 8, 9, 31


def field_of(model, drive=None, **given):
    """The field of a model, by name or row, for SciPy, with a sine added where a drive is added."""
    row = FAMILY[model] if isinstance(model, str) else model
    constants = row.constants({p.name: given.get(p.name, p.default) for p in row.parameters})
    driven = row.variable_names.index(row.stimulated)

    def field(t, y):
        inputs = [0.0] * len(y)
        if drive is not None:
            inputs[driven] = drive.amplitude * math.sin(2.0 * math.pi * t / drive.period + drive.phase)
        return np.array(row.field(tuple(y), tuple(inputs), constants))

    return field


def simulated(field, start, begin, end, rtol=1e-11):
    return solve_ivp(
        field, (begin, end), start, method="DOP853", rtol=rtol, atol=0.1 * rtol, dense_output=True
    )


def variational(field, start, period):
    """The monodromy matrix by complex steps through the flow."""
    size = len(start)
    columns = [
        simulated(field, start + 1e-20j * np.eye(size)[k], 0.0, period, rtol=1e-13).y[:, -1].imag
        for k in range(size)
    ]
    return np.array(columns).T / 1e-20


def returns(solution, begin, end, level):
    """Times at which r rises through a level, by bisection of the dense output."""
    t = np.linspace(begin, end, 2_001)
    r = solution.sol(t)[0]
    found = []
    for k in np.flatnonzero((r[:-1] < level) & (r[1:] >= level)):
        low, high = t[k], t[k + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if solution.sol(middle)[0] < level else (low, middle)
        found.append(low)
    return np.array(found)


@cache
def burster():
    return qs.cycles("qif_adaptation_alpha", eta=-2.0000141569, starts=2, **GAST)


@cache
def spiking():
    given = {"eta": 10.0, "J": -21.0, "delta": 0.3, "tau_d": 0.5}
    return qs.cycles("qif_synapse", starts=1, transient=40.0, window=15.0, **given)


@cache
def depressed():
    """The branch from the lower Hopf point of synaptic depression, to where its period diverges."""
    given = {"alpha": 0.05, **GAST}
    return qs.cycle_branches("qif_depression_alpha", within=(-5.75, -5.6), points=60, **given)


@cache
def pair():
    return qs.cycle_branches("qif_pair", within=(-60.0, 30.0), points=80)


@cache
def gap():
    """Cycles near the Hopf points of gap junctions at J = 0, g = 2, for several widths delta."""
    return qs.cycle_branches("qif_gap", J=0.0, g=2.0, points=6, delta=[1.0, 2.0])


# Numbers that others found


def test_the_bursting_cycle_has_the_period_and_the_extremes_found_in_40_digits():
    cycle = burster().isel(cycle=0)
    assert cycle["period"].item() == pytest.approx(47.4627105571, abs=1e-8)
    assert cycle["r_min"].item() == pytest.approx(0.0996100205, abs=1e-7)
    assert cycle["r_max"].item() == pytest.approx(3.4660747772, abs=1e-6)
    assert cycle["stable"].item()
    assert cycle["multiplier_error"].item() < 1e-6


def test_the_branch_of_the_upper_hopf_point_turns_at_the_known_fold_of_cycles():
    branch = qs.cycle_branches(
        "qif_adaptation_alpha", at=1.45, within=(1.4, 2.0), points=12, starts=2, **GAST
    )
    fold = branch.isel(point=branch["type"].values == LPC)
    assert fold.sizes["point"] == 1
    assert fold["eta"].item() == pytest.approx(1.5016666, abs=5e-7)
    assert fold["period"].item() == pytest.approx(51.5068, abs=2e-4)
    assert fold["r_min"].item() == pytest.approx(0.109206, abs=1e-5)
    assert fold["r_max"].item() == pytest.approx(3.644363, abs=2e-4)


def test_branches_begin_at_the_known_hopf_points():
    d = depressed()
    assert d["type"].values[0] == HB
    assert d["eta"].values[0] == pytest.approx(-5.658628643277, abs=1e-11)
    assert d["period"].values[0] == pytest.approx(57.33430157, abs=1e-7)
    assert gap()["eta"].values[0] == pytest.approx(0.75, abs=1e-12)
    assert 2.0 * np.pi / gap()["period"].values[0] == pytest.approx(math.sqrt(3.0), abs=1e-12)


def test_the_plain_model_has_no_cycle_as_dulac_says():
    d = qs.cycles("qif", eta=[-5.0, 0.0, 10.0], J=15.0, starts=3)
    assert (d["count"] == 0).all()
    assert (d["outcome"] == 1).all()
    assert qs.cycle_branches("qif", J=15.0).sizes["branches"] == 0


# Against other methods


@pytest.mark.parametrize(
    ("model", "settle", "given"),
    [
        ("qif_pair", 15.0, {"eta_i": -10.0}),
        ("qif_synapse", 40.0, {"eta": 10.0, "J": -21.0, "delta": 0.3, "tau_d": 0.5}),
        ("qif_gap", 120.0, {"eta": 1.0, "J": 0.0, "g": 2.0}),
    ],
)
def test_a_stable_cycle_is_where_a_long_simulation_goes(model, settle, given):
    cycle = qs.cycles(model, starts=1, transient=settle, window=15.0, **given).isel(cycle=0)
    assert cycle["stable"].item()
    period = cycle["period"].item()
    names = FAMILY[model].variable_names
    field = field_of(model, **given)
    start = [float(cycle[f"{name}_mean"]) for name in names]
    settled = simulated(field, start, 0.0, settle, rtol=1e-9).y[:, -1]
    lap = simulated(field, settled, 0.0, 3.0 * period)
    times = returns(lap, 0.0, 3.0 * period, float(cycle[f"{names[0]}_mean"]))
    assert np.diff(times).mean() == pytest.approx(period, rel=1e-8)
    fine = lap.sol(np.linspace(times[0], times[0] + period, 40_001))
    for k, name in enumerate(names):
        scale = np.abs(fine[k]).max()
        assert fine[k].min() == pytest.approx(cycle[f"{name}_min"].item(), abs=3e-6 * scale)
        assert fine[k].max() == pytest.approx(cycle[f"{name}_max"].item(), abs=3e-6 * scale)
        assert fine[k, :-1].mean() == pytest.approx(cycle[f"{name}_mean"].item(), abs=1e-8 * scale)


def test_multipliers_are_those_of_the_variational_equations():
    given = {"eta": 10.0, "J": -21.0, "delta": 0.3, "tau_d": 0.5}
    cycle = spiking().isel(cycle=0)
    field, period = field_of("qif_synapse", **given), cycle["period"].item()
    on_it = np.array([cycle[f"{name}_start"].item() for name in "rvs"])
    expected = np.sort(np.abs(np.linalg.eigvals(variational(field, on_it, period))))[::-1]
    assert np.abs(cycle["multiplier_real"].values[:2]) == pytest.approx(expected[:2], abs=1e-8)


def orthonormal_exponents(model, start, period, parts, rounds, **given):
    """Logarithms of the moduli of the multipliers: the variational equations by DOP853, orthonormalised
    between parts of the period, so that nothing is multiplied with what is of another size."""
    field, size = field_of(model, **given), len(start)

    def both(t, y):
        state, moved = y[:size], y[size:].reshape(size, size)
        matrix = np.array([field(t, state + 1e-30j * one).imag * 1e30 for one in np.eye(size)]).T
        return np.concatenate((field(t, state), (matrix @ moved).ravel()))

    state, matrices = start, []
    for begin, end in pairwise(np.linspace(0.0, period, parts + 1)):
        y = simulated(both, np.concatenate((state, np.eye(size).ravel())), begin, end, rtol=1e-12).y[:, -1]
        state = y[:size]
        matrices.append(y[size:].reshape(size, size))
    q = np.eye(size)
    for _ in range(rounds):
        total = np.zeros(size)
        for matrix in matrices:
            q, r = np.linalg.qr(matrix @ q)
            total += np.log(np.abs(np.diag(r)))
    return total


def test_multipliers_far_from_the_unit_circle_are_those_of_orthonormalised_variational_equations():
    """Of the bursts they are 1, 8e-4, 5e-35 and 2e-95: logarithms 0, -7.1, -79.0 and -218.0."""
    given = {"eta": -2.0000141569, **GAST}
    cycle = burster().isel(cycle=0)
    start = np.array([cycle[f"{name}_start"].item() for name in "rvab"])
    period = cycle["period"].item()
    expected = orthonormal_exponents("qif_adaptation_alpha", start, period, 100, 3, **given)
    assert cycle["exponent"].values * period == pytest.approx(expected, abs=1e-4)
    assert np.log(np.abs(cycle["multiplier_real"])).values[1:] == pytest.approx(expected[1:], abs=1e-4)


def test_exponents_add_up_to_the_mean_divergence_where_multipliers_are_no_numbers():
    """The divergence of depression with an alpha kernel is 4 v - 2/tau_a, to a millionth; by the end of
    the branch, near a homoclinic, the smallest multiplier is exp(-6490)."""
    d = depressed()
    rows = d.isel(point=np.flatnonzero((d["type"] == NONE).values))
    divergence = 4.0 * rows["v_mean"] - 0.2
    np.testing.assert_allclose(rows["exponent"].sum("multiplier"), divergence, rtol=1e-5)
    last = rows.isel(point=-1)
    assert last["multiplier_real"].values[-1] == 0.0
    assert last["exponent"].values[-1] * last["period"].item() < -5000.0


def test_at_a_period_doubling_the_variational_equations_have_the_multiplier_minus_1():
    given = {"delta": 0.3, "J": 20.0, "alpha": 0.3, "tau_a": 30.0}
    d = qs.cycle_branches("qif_adaptation_exponential", within=(-0.9, 0.0), **given)
    doubling = d.isel(point=d["type"].values == PD)
    assert doubling.sizes["point"] == 1
    point = doubling.isel(point=0)
    start = np.array([point[f"{name}_start"].item() for name in "rva"])
    field = field_of("qif_adaptation_exponential", eta=point["eta"].item(), **given)
    assert simulated(field, start, 0.0, point["period"].item()).y[:, -1] == pytest.approx(start, abs=1e-7)
    monodromy = variational(field, start, point["period"].item())
    mu = np.linalg.eigvals(monodromy)
    # The flow is so bent here that a start 1e-7 off moves the multiplier by 0.03, and 5e-11 by 1e-5.
    assert np.abs(mu + 1.0).min() < 2e-5
    assert np.abs(mu - 1.0).min() < 2e-5
    assert d["stable"].values[1:4].all()
    assert not d["stable"].values[-1]


def test_the_multipliers_multiply_to_exp_of_the_integral_of_the_trace():
    """Liouville. The trace is 4 v - g with gap junctions, 4 v - 1/tau_d with a synapse."""
    d = gap()
    rows = d["type"].values == NONE
    mu = np.hypot(d["multiplier_real"], d["multiplier_imag"]).prod("multiplier").values[rows]
    trace = (4.0 * d["v_mean"] - 2.0).values[rows] * d["period"].values[rows]
    assert np.log(mu) == pytest.approx(trace, abs=1e-7)
    cycle = spiking().isel(cycle=0)
    mu = np.log(np.hypot(cycle["multiplier_real"], cycle["multiplier_imag"])).sum().item()
    assert mu == pytest.approx((4.0 * cycle["v_mean"].item() - 2.0) * cycle["period"].item(), rel=1e-6)


def test_periods_converge_with_the_eighth_order_of_the_mesh():
    """On uniform meshes, against the period on a mesh far finer."""
    model = FAMILY["qif_gap"]
    given = {p.name: np.array([p.default]) for p in model.parameters}
    given |= {"eta": np.array([1.0]), "J": np.zeros(1), "g": np.array([2.0])}
    problem = Problem(model, given)
    field = field_of("qif_gap", eta=1.0, J=0.0, g=2.0)
    found = qs.cycles("qif_gap", eta=1.0, J=0.0, g=2.0, starts=1, transient=80.0, window=40.0)
    period = found["period"].item()
    lap = simulated(field, simulated(field, [0.3, 0.0], 0.0, 60.0).y[:, -1], 0.0, period)
    periods = []
    for count in (8, 16, 128):
        orbit = from_function(
            np.linspace(0.0, 1.0, count + 1)[None],
            lambda s: lap.sol(s[0] * period).T[None],
            np.array([[period]]),
        )
        solved = at_value(problem, orbit)
        assert solved.good.all()
        periods.append(solved.orbits.period[0])
    errors = np.abs(np.array(periods[:2]) - periods[2])
    assert 7.0 < math.log2(errors[0] / errors[1]) < 9.5


DRIVEN = """
import math
from dataclasses import replace
from qifscan.models import FAMILY, POSITIVE, Parameter, Variable

gap = FAMILY["qif_gap"]

def constants(p):
    return gap.constants(p) | {"A": p["A"], "turn": 2.0 * math.pi / p["T"]}

def field(state, inputs, c):
    r, v, x, y = state
    slopes = gap.field((r, v), (inputs[0], inputs[1] + c["A"] * x), c)
    grow = 1.0 - x * x - y * y
    return (*slopes, grow * x - c["turn"] * y + inputs[2], grow * y + c["turn"] * x + inputs[3])

driven = replace(
    gap,
    name="driven",
    variables=(*gap.variables, Variable("x", "1", "cosine", domain=POSITIVE), Variable("y", "1", "sine")),
    parameters=(
        *gap.parameters,
        Parameter("A", 1.0, "1", "amplitude of the drive"),
        Parameter("T", 2.0, "ms", "period of the drive"),
    ),
    constants=constants,
    field=field,
    squares=lambda state, c: (*gap.squares(state[:2], c), state[2] ** 2, state[3] ** 2),
    rest=lambda r, p: (*gap.rest(r, p), 0.0 * r, 0.0 * r),
)
"""
"""Gap junctions driven by A x of the oscillator x' = (1 - x^2 - y^2) x - 2 pi y/T, y' = ..., whose cycle is
x = cos(2 pi t/T) with the exponent -2: a sine, but of a model without one."""


def test_where_an_oscillation_locks_to_a_drive_on_a_torus_the_variational_equations_are_marginal(
    tmp_path, monkeypatch
):
    """The torus bifurcation of the response to a sine, found on a branch of cycles of the driven model. There
    the multipliers of the response of gap junctions alone, by DOP853, have the modulus 1."""
    (tmp_path / "driven_model.py").write_text(DRIVEN)
    monkeypatch.syspath_prepend(tmp_path)
    gap, period = {"eta": 1.0, "J": 0.0, "g": 2.0}, 2.24
    d = qs.cycle_branches(
        "driven_model:driven", along="A", at=1.1, within=(0.9, 1.2), points=12, starts=1, T=period, **gap
    )
    torus = d.isel(point=d["type"].values == TR)
    assert torus.sizes["point"] == 1
    point = torus.isel(point=0)
    amplitude = point["A"].item()
    assert point["exponent"].values == pytest.approx([0.0, 0.0, 0.0, -2.0], abs=1e-9)
    phase = math.atan2(point["y_start"].item(), point["x_start"].item())
    drive = qs.Sine(amplitude=amplitude, period=period, phase=phase + 0.5 * math.pi)
    field, start = field_of("qif_gap", drive, **gap), np.array([point[f"{n}_start"].item() for n in "rv"])
    assert simulated(field, start, 0.0, period).y[:, -1] == pytest.approx(start, abs=1e-8)
    mu = np.linalg.eigvals(variational(field, start, period))
    assert np.abs(mu) == pytest.approx(1.0, abs=1e-7)
    pair = point["multiplier_imag"].values != 0.0
    assert np.abs(mu.imag) == pytest.approx(np.abs(point["multiplier_imag"].values[pair]), abs=1e-7)
    assert (d["stable"].values == (d["A"].values > amplitude))[d["type"].values != TR].all()
    beside = qs.forced_cycles(
        "qif_gap",
        drive,
        drive_amplitude=[0.9 * amplitude, 1.1 * amplitude],
        starts=1,
        most_periods=6,
        **gap,
    )
    # Before it the trajectory goes round the torus and does not repeat; after it it does, period by period.
    assert beside["outcome"].values[:, 0].tolist() == [1, 0]
    assert beside["stable"].values[:, 0].tolist() == [False, True]


# What theory says of branches


def test_amplitude_grows_as_the_square_root_of_the_distance_and_the_period_begins_at_that_of_the_pair():
    d = gap()
    for k in range(2):
        rows = np.flatnonzero(d["branch"].values == k)
        eta, amplitude = d["eta"].values[rows], (d["r_max"] - d["r_min"]).values[rows]
        # A tenfold distance is a size sqrt(10) times as large, up to terms of the next order.
        power = np.diff(np.log(amplitude[1:4])) / np.diff(np.log(eta[1:4] - eta[0]))
        assert power == pytest.approx(0.5, abs=0.01)
        slope = np.diff(d["period"].values[rows][:3]) / np.diff(amplitude[:3] ** 2)
        assert slope[0] == pytest.approx(slope[1], rel=0.1)


def test_cycles_are_born_as_the_first_lyapunov_coefficient_says():
    """Negative: a stable cycle if the other eigenvalues are stable, as they are here; positive: unstable."""
    for model, d in (("qif_pair", pair()), ("qif_gap", gap()), ("qif_depression_alpha", depressed())):
        row = FAMILY[model]
        for k in range(d.sizes["branches"]):
            rows = np.flatnonzero(d["branch"].values == k)
            start = d.isel(point=rows[0])
            given = {
                p.name: np.atleast_1d(float(d[p.name].values.ravel()[d["slice"].values[k] % d[p.name].size]))
                for p in row.parameters
                if p.name != row.graph
            } | {row.graph: np.atleast_1d(start[row.graph].item())}
            state = np.array([[start[f"{name}_mean"].item() for name in row.variable_names]])
            omega = np.atleast_1d(2.0 * np.pi / start["period"].item())
            l1 = lyapunov_coefficient(row, state, given, omega)[0]
            assert d["stable"].values[rows[1]] == (l1 < 0.0)


def test_a_branch_between_two_hopf_points_is_the_same_from_both_ends():
    d = pair()
    assert (d["end"] == 3).all()
    folds = [d.isel(point=(d["type"] == LPC).values & (d["branch"] == k).values) for k in range(2)]
    assert folds[0].sizes["point"] == 3
    assert folds[0]["eta_i"].values == pytest.approx(folds[1]["eta_i"].values[::-1], abs=1e-8)
    assert folds[0]["period"].values == pytest.approx(folds[1]["period"].values[::-1], abs=1e-6)
    for k in range(2):
        rows = np.flatnonzero(d["branch"].values == k)
        assert d["type"].values[rows[[0, -1]]].tolist() == [HB, HB]


def test_a_branch_from_both_of_its_hopf_points_is_told_as_a_duplicate_and_others_are_not():
    """The default pair has one from Hopf point to Hopf point; of the adaptation model two begin apart."""
    assert pair()["duplicate_of"].values.tolist() == [-1, 0]
    assert depressed()["duplicate_of"].values.tolist() == [-1]
    two = qs.cycle_branches("qif_adaptation_alpha", alpha=1.0, points=8, **GAST)
    assert two["slice"].values.tolist() == [0, 0]
    assert two["duplicate_of"].values.tolist() == [-1, -1]


def test_a_branch_between_two_hopf_points_is_told_from_both_with_the_same_cycles():
    d = pair()
    there, back = (d.isel(point=np.flatnonzero(d["branch"].values == k)) for k in range(2))
    for name in ("eta_i", "period", "type", "multiplier_real", "r_e_max", "residual"):
        np.testing.assert_array_equal(there[name].values, back[name].values[::-1], err_msg=name)
    assert there["type"].values[[0, -1]].tolist() == [HB, HB]
    # Neighbours along the branch are so everywhere, also where both of them meet.
    own = np.stack([there[name].values for name in ("eta_i", "period", "r_e_max", "r_i_max")], axis=1)
    way = np.diff(own / np.ptp(own, axis=0), axis=0)
    length = np.linalg.norm(way, axis=1)
    # Not at the Hopf points, where amplitudes begin as a square root, and bifurcations are between cycles.
    inner = np.flatnonzero((length[1:] > 1e-6) & (length[:-1] > 1e-6))[2:-2]
    cosine = (way[1:] * way[:-1]).sum(axis=1) / (length[1:] * length[:-1])
    assert cosine[inner].min() > 0.8


def invented(number, s, shift=0.0):
    """Rows of a branch of invented cycles: circles of radius sqrt(s), at the parameter s (2 - s)."""
    radius = np.sqrt(s)[:, None] * np.ones(2)
    return {
        "number": np.full(len(s), number),
        "value": s * (2.0 - s),
        "period": 3.0 + s,
        "low": shift - radius,
        "high": shift + radius,
        "mean": 0.0 * radius + shift,
    }


def test_a_branch_that_has_a_part_of_anothers_cycles_is_a_duplicate_of_it_in_its_own_slice_alone():
    there, back, piece = np.linspace(0.0, 1.5, 90), np.linspace(1.5, 0.0, 71), np.linspace(0.3, 0.9, 25)
    rows = [
        invented(0, there),
        invented(1, back),
        invented(2, piece),
        invented(3, piece),
        invented(4, there, shift=0.05),
        invented(5, there),
    ]
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    found = duplicates(table, np.array([0, 0, 0, 1, 0, 1]))
    assert found.tolist() == [-1, 0, 0, 5, -1, -1]


def test_a_variable_whose_mean_is_0_but_for_rounding_tells_no_two_branches_apart():
    """b of the alpha kernels is tau_a a', so its mean over a cycle is 0."""
    rows = [invented(0, np.linspace(0.0, 1.5, 90)), invented(1, np.linspace(1.5, 0.0, 71))]
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    table["mean"][:, 1] = 1e-16 * np.random.default_rng(1).standard_normal(len(table["mean"]))
    assert duplicates(table, np.zeros(2, dtype=np.intp)).tolist() == [-1, 0]


def test_what_lies_on_the_first_step_of_a_doubled_branch_is_found_as_from_its_other_end():
    """A branch of doubled cycles joins two period doublings, and its own are just beside both."""
    plastic = {"tau": 0.8, "delta": 0.6, "J": 70.0, "U": 0.4, "tau_f": 55.0, "tau_d": 20.0}
    d = qs.cycle_branches("qif_plasticity", within=(-2.7, -2.6), points=60, doublings=1, **plastic)
    doubled = np.flatnonzero(d["start"].values == 2)
    found = [d["eta"].values[(d["branch"].values == k) & (d["type"].values == PD)].tolist() for k in doubled]
    assert len(found) == 2
    assert {len(places) for places in found} == {4}
    # DOP853 at 1e-12 from the cycles there: a multiplier of -1.000000.
    assert found[0][0] == pytest.approx(-2.6131829452, abs=1e-9)
    assert found[1][0] == pytest.approx(-2.6099664064, abs=1e-9)
    assert sorted(found[0]) == pytest.approx(sorted(found[1]), abs=1e-9)
    assert not (d["type"].values == UNRESOLVED).any()


def test_stability_changes_at_folds_of_cycles_and_nowhere_else_on_the_branch_of_the_pair():
    d = pair().isel(point=np.flatnonzero(pair()["branch"].values == 0))
    stable, kind = d["stable"].values, d["type"].values
    inner = np.flatnonzero(kind == NONE)
    for left, right in pairwise(inner):
        folds = (kind[left:right] == LPC).sum()
        assert (stable[left] != stable[right]) == (folds % 2 == 1)


def test_where_the_period_diverges_the_multiplier_grows_with_the_saddle_quantity():
    """On a homoclinic approach mu ~ exp((lambda_u + lambda_s) T), the saddle's leading eigenvalues."""
    d = depressed()
    assert d["period_diverges"].values.tolist() == [True]
    # The saddle, and the unstable focus: of its four directions two are stable.
    assert d["saddle_count"].values.tolist() == [2]
    assert d["saddle_distance"].values[0] < 1e-6
    # At longer periods the multiplier is too large for a number.
    rows = d.isel(point=np.flatnonzero((d["period"].values > 500.0) & (d["period"].values < 1060.0)))
    slope = np.diff(np.log(rows["multiplier_real"].values[:, 0])) / np.diff(rows["period"].values)
    eta = rows["eta"].values[-1]
    rest = qs.equilibria("qif_depression_alpha", eta=eta, alpha=0.05, **GAST)
    real = rest["eigenvalue_real"].values[rest["kind"].values == 3][0]
    unstable, stable = real[real > 0.0], real[real < 0.0]
    assert slope == pytest.approx(unstable.max() + stable.max(), rel=2e-3)


def test_beside_an_orbit_homoclinic_to_a_saddle_with_real_eigenvalues_no_cycle_turns():
    """As Shilnikov says: one family of cycles goes off, to one side. The branch follows it to where the
    parameter changes by rounding alone, and the direction of that is no fold."""
    given = {"delta": [0.75, 0.75, 0.33], "J": [14.5, 14.5, 13.0], "alpha": [0.08, 0.08, 0.011]}
    given |= {"tau": [0.85, 0.9, 1.2], "tau_a": [4.0, 4.0, 9.5]}
    slices = {name: xr.DataArray(values, dims="own") for name, values in given.items()}
    d = qs.cycle_branches(
        "qif_depression_exponential", within=(-8.0, 4.0), points=80, longest=400.0, **slices
    )
    assert d["period_diverges"].values.tolist() == [True] * 3
    eta = xr.DataArray(d["homoclinic"].values, dims="own")
    rest = qs.equilibria("qif_depression_exponential", eta=eta, **slices)
    saddle = rest["kind"].values == 3
    real, imag = (rest[name].values[saddle] for name in ("eigenvalue_real", "eigenvalue_imag"))
    assert (imag == 0.0).all()
    assert (real.max(axis=1) + np.where(real < 0.0, real, -np.inf).max(axis=1) > 0.0).all()
    folds = d.isel(point=d["type"].values == LPC)
    assert folds["branch"].values.tolist() == [2]
    # This one is true.
    point = folds.isel(point=0)
    start = np.array([point[f"{name}_start"].item() for name in "rva"])
    own = {name: values[2] for name, values in given.items()} | {"eta": point["eta"].item()}
    mu = np.linalg.eigvals(
        variational(field_of("qif_depression_exponential", **own), start, point["period"].item())
    )
    one, two = sorted(mu, key=lambda m: abs(m - 1.0))[:2]
    assert max(abs(0.5 * (one + two) - 1.0), abs((one - 1.0) * (two - 1.0))) < 1e-6


HOMOCLINIC = -5.672729947111515
"""Of the depressed population, by the bisection below."""


def test_the_homoclinic_orbit_is_where_the_unstable_manifold_of_the_saddle_comes_back_to_it():
    d = depressed()
    error = d["homoclinic_error"].item()
    assert error < 1e-13
    assert abs(d["homoclinic"].item() - HOMOCLINIC) < error + 1e-14
    assert abs(d["homoclinic_difference"].item()) < 1e-11
    eta = d["homoclinic"].item()
    rest = qs.equilibria("qif_depression_alpha", eta=eta, alpha=0.05, **GAST)
    real = rest["eigenvalue_real"].values[rest["kind"].values == 3][0]
    assert d["homoclinic_rate"].item() == pytest.approx(np.abs(real).min(), rel=1e-3)
    assert np.isnan(pair()["homoclinic"]).all()


@pytest.mark.thorough
def test_on_both_sides_of_the_homoclinic_orbit_the_unstable_manifold_goes_to_other_states():
    """To bursts above, to the lower focus below: by DOP853 from the saddle, along its unstable direction."""

    def bursts(eta):
        given = {"eta": eta, "alpha": 0.05, **GAST}
        field = field_of("qif_depression_alpha", **given)
        rest = qs.equilibria("qif_depression_alpha", **given)
        here = rest.isel(equilibrium=int(np.flatnonzero(rest["kind"].values == 3)[0]))
        saddle = np.array([here[name].item() for name in FAMILY["qif_depression_alpha"].variable_names])
        matrix = np.array([field(0.0, saddle + 1e-30j * one).imag * 1e30 for one in np.eye(4)]).T
        values, vectors = np.linalg.eig(matrix)
        away = vectors[:, values.real.argmax()].real
        away *= -np.sign(away[0]) * 1e-8

        def high(t, y):
            return y[0] - 1.0

        high.terminal = True
        options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-15, "events": high}
        return solve_ivp(field, (0.0, 1000.0), saddle + away, **options).status == 1

    low, high = -5.6729, -5.6726
    for _ in range(42):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if bursts(middle) else (middle, high)
    assert 0.5 * (low + high) == pytest.approx(HOMOCLINIC, abs=1e-12)


def test_a_fit_of_what_approaches_a_limit_exponentially_is_exact_and_of_nothing_else_there_is_one():
    period = np.linspace(20.0, 300.0, 60)
    limit, error, rate = fitted(period, -2.0 + 0.3 * np.exp(-0.05 * period), 1e-11)
    assert abs(limit + 2.0) < error < 2e-11
    assert rate == pytest.approx(0.05, rel=1e-6)
    assert np.isnan(fitted(period, -2.0 + np.exp(-0.05 * period) * np.cos(0.3 * period), 1e-11)).all()
    assert np.isnan(fitted(period, 0.1 * period, 1e-11)).all()
    # As beside a saddle-node on the cycle.
    assert np.isnan(fitted(period, -2.0 + period**-2.0, 1e-11)).all()


def test_time_and_rates_scale_with_the_time_constants():
    """With tau, tau_a and 1/r in proportion the equations of adaptation are the same in t/tau."""
    d = qs.cycles("qif_adaptation_alpha", tau=2.5, tau_a=25.0, eta=-2.0000141569, starts=1, **GAST)
    assert d["period"].item() == pytest.approx(2.5 * burster()["period"].values[0], rel=1e-8)
    assert d["r_max"].item() == pytest.approx(burster()["r_max"].values[0] / 2.5, rel=1e-6)


# What is said of what is not known


def test_a_branch_that_is_cut_off_says_by_what():
    d = qs.cycle_branches("qif_synapse", J=-21.0, delta=0.3, tau_d=0.5, points=4)
    assert d["end"].values.tolist() == [0]
    assert d["row_size"].values.tolist() == [5]
    d = qs.cycle_branches("qif_synapse", J=-21.0, delta=0.3, tau_d=0.5, within=(0.0, 5.0))
    assert d["end"].values.tolist() == [1]
    assert d["type"].values[-1] == EP
    assert d["eta"].values[-1] == pytest.approx(5.0, abs=1e-9)
    d = qs.cycle_branches("qif_synapse", J=-21.0, delta=0.3, tau_d=0.5, longest=2.0)
    assert d["end"].values.tolist() == [2]
    assert not d["period_diverges"].values[0]


def test_branches_from_simulation_go_both_ways_and_lead_to_what_simulation_finds_there():
    given = {"eta": 1.0, "J": 0.0}
    d = qs.cycle_branches("qif_gap", along="g", at=2.0, points=6, starts=1, **given)
    assert d["row_size"].values.tolist() == [7, 7]
    assert d["start"].values.tolist() == [1, 1]
    assert d["converged"].all()
    up, down = (d.isel(point=d["branch"].values == k) for k in range(2))
    assert up["g"].values[0] == down["g"].values[0] == 2.0
    assert (np.diff(up["g"]) > 0.0).all()
    assert (np.diff(down["g"]) < 0.0).all()
    last = xr.DataArray([up["g"].values[-1], down["g"].values[-1]], dims="end")
    there = qs.cycles("qif_gap", g=last, starts=1, **given)
    for k, branch in enumerate((up, down)):
        assert branch["period"].values[-1] == pytest.approx(there["period"].values[k, 0], rel=1e-7)
        assert branch["r_max"].values[-1] == pytest.approx(there["r_max"].values[k, 0], rel=1e-5)


def test_a_cycle_is_told_with_its_least_period():
    """Some of these trajectories are nearer to themselves after two or three turns than after one."""
    given = {"eta": 10.0, "J": -21.0, "delta": 0.3}
    tau_d = np.linspace(0.2, 0.9, 15)
    d = qs.cycles("qif_synapse", tau_d=tau_d, starts=1, transient=40.0, window=15.0, **given)
    steps = np.diff(d["period"].values[:, 0]) / np.diff(tau_d)
    assert (steps > 0.3).all()
    assert (steps < 1.8).all()


def test_trajectories_of_a_model_with_populations_of_other_names_settle_where_it_rests():
    found = qs.cycles("qif_bimodal", starts=2)
    assert found["count"].item() == 0
    assert found["outcome"].values.tolist() == [1, 1]
    assert qs.equilibria("qif_bimodal")["stable"].any()


def test_a_slice_gives_the_same_branch_alone_as_among_others():
    alone = qs.cycle_branches("qif_gap", J=0.0, g=2.0, points=6, delta=1.0)
    among = gap().isel(point=gap()["branch"].values == 0)
    for name in ("eta", "period", "r_max", "multiplier_real"):
        assert among[name].values == pytest.approx(alone[name].values, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: qs.cycles("qif_gab"), "qif_gap"),
        (lambda: qs.cycles("qif_gap", starts=0), "starts"),
        (lambda: qs.cycle_branches("qif_gap", along="h"), "along"),
        (lambda: qs.cycle_branches("qif_gap", eta=1.0), "it is followed"),
        (lambda: qs.cycle_branches("qif_gap", along="tau"), "give `at`"),
        (lambda: qs.cycle_branches("qif_gap", within=(2.0, 1.0)), "ascending"),
        (lambda: qs.cycle_branches("qif_gap", at=5.0, within=(0.0, 1.0)), "widen"),
        (lambda: qs.forced_cycles("qif"), "a Sine"),
        (lambda: qs.forced_cycles("qif", qs.Sine(amplitude=1.0, period=5.0), drive_period=-1.0), "above 0"),
    ],
)
def test_what_is_wrong_is_one_line(call, words):
    with pytest.raises(qs.ScanError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


# Responses to a sine


def test_the_response_to_a_slow_sine_has_the_known_extremes():
    d = qs.forced_cycles(
        "qif", qs.Sine(amplitude=3.0, period=100.0), starts=1, transient=100.0, most_periods=1
    )
    assert d["count"].item() == 1
    assert d["r_max"].item() == pytest.approx(2.5857760828, abs=1e-7)
    assert d["r_min"].item() == pytest.approx(0.0595574322, abs=1e-8)


@cache
def weakly_forced():
    return qs.forced_cycles(
        "qif", qs.Sine(amplitude=1e-3, period=4.0), drive_period=[2.0, 4.0], transient=20.0, most_periods=1
    )


def test_a_weak_sine_moves_every_equilibrium_by_its_linear_response():
    """u = u* + Re(a (i omega - A)^-1 e_v/tau exp(i omega t)), at three equilibria, one a saddle."""
    d = weakly_forced()
    rest = qs.equilibria(eta=-5.0, J=15.0)
    assert d["count"].values.tolist() == [3, 3]
    assert d["stable"].values.tolist() == [[True, False, True]] * 2
    for i, period in enumerate((2.0, 4.0)):
        for k in range(3):
            r, v = rest["r"].values[k], rest["v"].values[k]
            matrix = np.array([[2.0 * v, 2.0 * r], [15.0 - 2.0 * np.pi**2 * r, 2.0 * v]])
            move = np.linalg.solve(2j * np.pi / period * np.eye(2) - matrix, [0.0, 1e-3])
            for j, name in enumerate("rv"):
                swing = (d[f"{name}_max"] - d[f"{name}_min"]).values[i, k]
                assert swing == pytest.approx(2.0 * abs(move[j]), rel=1e-3)


def test_multipliers_of_a_weak_sine_are_those_of_the_equilibria():
    d = weakly_forced()
    rest = qs.equilibria(eta=-5.0, J=15.0)
    for i, period in enumerate((2.0, 4.0)):
        size = np.hypot(d["multiplier_real"], d["multiplier_imag"]).values[i]
        expected = np.sort(np.exp(rest["eigenvalue_real"].values * period), axis=1)[:, ::-1]
        assert size == pytest.approx(expected, rel=1e-4)


def test_the_multipliers_of_a_strong_sine_multiply_as_liouville_says():
    d = qs.forced_cycles("qif", qs.Sine(amplitude=6.0, period=2.5), transient=30.0, most_periods=2)
    mu = np.log(np.hypot(d["multiplier_real"], d["multiplier_imag"])).sum("multiplier").values
    assert mu == pytest.approx((4.0 * d["v_mean"] * d["period"]).values, abs=1e-6)


def test_a_stable_response_is_where_a_long_simulation_goes():
    drive = qs.Sine(amplitude=2.0, period=30.0, phase=1.0)
    d = qs.forced_cycles("qif_adaptation_alpha", drive, eta=-2.0, J=5.0, starts=1, transient=300.0)
    stable = d.isel(cycle=np.flatnonzero(d["stable"].values))
    assert stable.sizes["cycle"] == 1
    names = FAMILY["qif_adaptation_alpha"].variable_names
    start = [stable[f"{name}_start"].item() for name in names]
    field = field_of("qif_adaptation_alpha", drive, eta=-2.0, J=5.0)
    assert simulated(field, start, 0.0, 30.0).y[:, -1] == pytest.approx(start, abs=1e-7)
    settled = simulated(field, [1.0, 0.0, 0.0, 0.0], 0.0, 20 * 30.0, rtol=1e-9).y[:, -1]
    assert settled == pytest.approx(start, abs=1e-5)


def test_a_cycle_driven_at_twice_its_frequency_answers_every_second_time(monkeypatch):
    """The oscillation of a pair whose inhibitory population is driven, at half its period, is locked to two
    periods of the drive."""
    driven = replace(FAMILY["qif_pair"], name="inhibited", target="v_i")
    monkeypatch.setitem(MODELS, "inhibited", driven)
    alone = qs.cycles("qif_pair", eta_i=-10.0, starts=1, transient=15.0, window=10.0)["period"].item()
    drive = qs.Sine(amplitude=2.0, period=0.5 * alone)
    d = qs.forced_cycles("inhibited", drive, eta_i=-10.0, starts=1, transient=60.0, most_periods=2)
    assert d["drive_periods"].values.tolist() == [1, 2]
    assert d["stable"].values.tolist() == [False, True]
    locked = d.isel(cycle=1)
    assert locked["period"].item() == pytest.approx(alone, rel=1e-12)
    names = FAMILY["qif_pair"].variable_names
    start = [locked[f"{name}_start"].item() for name in names]
    field = field_of(driven, drive, eta_i=-10.0)
    once = simulated(field, start, 0.0, drive.period).y[:, -1]
    twice = simulated(field, once, drive.period, 2.0 * drive.period).y[:, -1]
    assert twice == pytest.approx(start, abs=1e-6)
    assert np.abs(once - start).max() > 0.1


def test_a_cycle_seen_after_many_laps_is_told_once():
    """Spikes as sharp as these return nearer to themselves after three laps than after one, within the
    error of what is interpolated between steps; a mesh of all these laps shows each but coarsely."""
    given = {
        "tau": 1.037834532760272,
        "eta": 1.0074393154942864,
        "delta": 0.3892644688978722,
        "J": 13.837734428893611,
        "g": 3.2801060005942637,
    }
    d = qs.cycles("qif_gap", starts=4, transient=60.0, window=120.0, **given)
    assert d["count"].item() == 1
    field = field_of("qif_gap", **given)
    lap = simulated(field, [d["r_start"].item(), d["v_start"].item()], 0.0, d["period"].item(), rtol=1e-10)
    assert lap.y[:, -1] == pytest.approx(lap.y[:, 0], rel=1e-5)


@pytest.mark.parametrize("model", ["qif_pair", "qif_pair_synapse"])
def test_a_sine_is_added_where_a_simulation_adds_it(model):
    """A small one, whose response is as linear response has it, of the excitatory population first."""
    drive = qs.Sine(amplitude=1e-3, period=40.0)
    given = {"eta_e": -8.0, "eta_i": -8.0}
    d = qs.forced_cycles(model, drive, **given, starts=1, transient=100.0)
    linear = qs.linear_response(model, frequency=[1.0 / 40.0], **given)
    swing = {v: (d[f"{v}_max"] - d[f"{v}_min"]).values.item() / 2e-3 for v in ("r_e", "r_i")}
    gain = {v: linear[f"{v}_gain"].values.ravel()[0] for v in ("r_e", "r_i")}
    assert swing["r_e"] == pytest.approx(gain["r_e"], rel=1e-2)
    assert swing["r_i"] == pytest.approx(gain["r_i"], rel=1e-2)


@pytest.mark.parametrize("place", [-0.002, 0.3, 1.002, 1.2])
def test_what_changes_its_sign_next_to_an_end_of_a_step_on_a_finer_mesh_is_found(place):
    """A test function with a root there, whatever the orbits; further off there is nothing."""
    mesh = np.linspace(0.0, 1.0, 9)[None]
    orbit = from_function(mesh, lambda s: 1.0 + 0.0 * s[..., None], np.ones((1, 2)))

    class Straight(Search):
        def trial(self, which, step, start):
            return (step - 2.0 * place) * (1.0 + step), orbit.copy(), np.ones(1, dtype=bool)

    looked = Straight(None, orbit, orbit, orbit, None, np.ones(1))
    width = np.array([2.0])
    at, _, good, denied = looked.root(width, looked.ends(width))
    assert denied[0] == (place == 1.2)
    assert good[0] == (place != 1.2)
    if good[0]:
        assert at[0] == pytest.approx(2.0 * place, abs=1e-8)


def test_what_is_told_as_a_fold_of_cycles_has_the_multiplier_of_one():
    """In a canard the parameter stands still to rounding while period and multipliers take all values."""
    depressed = {"tau": 5.3498, "delta": 1.3912, "J": 25.699, "alpha": 0.0248, "tau_a": 97.18}
    found = qs.cycle_branches("qif_depression_exponential", within=(-8.0, 0.0), points=120, **depressed)
    folds = found.isel(point=found["type"].values == 5)
    assert folds.sizes["point"]
    apart = np.sort(np.abs(folds["multiplier_real"] + 1j * folds["multiplier_imag"] - 1.0), axis=1)
    assert (apart[:, 1] < 0.3).all()
