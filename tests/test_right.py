"""No number is silently wrong: the step of a point, its second run, its flags, and the theory beside it."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.engine import convergence, step_size
from qifscan.engine import points as engine
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape
from qifscan.scan.protocol import BASE_STEP
from qifscan.theory import plain


def points_of(
    columns, drive=None, precision="float32", observables=("r_mean", "r_final", "v_final"), **protocol
):
    scan = qs.Scan(
        points={name: np.asarray(column, dtype=float) for name, column in columns.items()},
        protocol=qs.Protocol(**protocol),
        drive=drive,
        precision=precision,
        observables=list(observables),
    )
    return Points.of(scan, (np.arange(scan.size),))


def ran(points):
    count = len(points.replicate)
    return run_points(points, Schedule.of(points.scan.protocol), batch_shape(count))


def started(eta, J, delta, tau):
    """Return points that start 1 % above their highest equilibrium in r."""
    highest = np.nanmax(plain.roots(eta, J, delta, tau), axis=-1)
    v = -delta / (2 * np.pi * tau * highest)
    return {"eta": eta, "J": J, "delta": delta, "tau": tau, "r_initial": 1.01 * highest, "v_initial": v}


def has(status, flag):
    return status & int(flag) > 0


def test_every_point_of_the_standard_map_comes_to_its_exact_rest_to_1e_3():
    """The highest equilibrium is stable, and 1 % off it lies in its basin but next to the fold."""
    eta, J = (grid.ravel() for grid in np.meshgrid(np.linspace(-10, 10, 81), np.linspace(0, 30, 61)))
    one = np.ones_like(eta)
    columns = started(eta, J, one, one)
    result = ran(points_of(columns, transient=100.0, window=100.0))
    rates = plain.roots(eta, J, one, one)
    nearest = np.nanmin(np.abs(result.variables["r_final"][:, None] / rates - 1.0), axis=1)
    assert nearest.max() < 1e-3
    highest = np.nanmax(rates, axis=1)
    assert np.mean(np.abs(result.variables["r_final"] / highest - 1.0) < 1e-3) > 0.999
    assert (result.status == 1).all()
    assert (result.variables["disagreement"] < 1e-3).all()


def test_a_random_point_is_right_to_1e_3_or_flagged():
    """400 points over the whole range, against an eighth of the step in float64."""
    rng = np.random.default_rng(4)
    eta, J = rng.uniform(-50, 50, 400), rng.uniform(-30, 60, 400)
    delta, tau = 10 ** rng.uniform(-2, 1, 400), 10 ** rng.uniform(-1, np.log10(20), 400)
    points = points_of(started(eta, J, delta, tau), transient=25.0, window=25.0)
    result = ran(points)
    fine = points_of(started(eta, J, delta, tau), precision="float64", transient=25.0, window=25.0)
    steps = fine.steps()
    steps = type(steps)(steps.halvings + 3, steps.noise_halvings + 3)
    exact = fine.run(steps, Schedule.of(fine.scan.protocol), batch_shape(400))
    wrong = np.abs(result.variables["r_final"] / exact.observables["r_final"] - 1.0) > 1e-3
    assert not (wrong & ~has(result.status, qs.Status.under_resolved)).any()
    assert wrong.mean() <= 0.001


def test_the_step_of_a_point_is_a_function_of_that_point_alone():
    rng = np.random.default_rng(5)
    columns = started(
        rng.uniform(-20, 20, 300), rng.uniform(-10, 30, 300), *10 ** rng.uniform(-1, 1, (2, 300))
    )
    together = points_of(columns).steps().halvings
    for row in (0, 17, 299):
        alone = points_of({name: column[row : row + 1] for name, column in columns.items()})
        assert alone.steps().halvings[0] == together[row]


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 10.0), st.integers(0, 10))
def test_a_step_is_the_longest_halving_that_is_not_longer_than_asked(longest, most):
    (found,) = step_size._halvings_to(BASE_STEP, np.array([longest]), most)
    needed = next((k for k in range(most) if BASE_STEP / 2**k <= longest), most)
    assert found == needed


@pytest.mark.parametrize("integrator", ["rk4", "heun"])
def test_the_step_of_every_integrator_keeps_the_weakly_damped_focus_at_rest(integrator):
    """At delta = 0.05 Heun's step, as the rate at rest alone would have it, grows away from the focus."""
    columns = started(*(np.array([x]) for x in (5.0, 15.0, 0.05, 1.0)))
    points = points_of(columns, transient=0.0, window=400.0, integrator=integrator, precision="float64")
    result = ran(points)
    highest = points.rest.highest[0]
    assert abs(result.variables["r_final"][0] / highest - 1.0) < 1e-2
    if integrator == "heun":
        coarse = points_of(columns, window=400.0, integrator="heun", dt=0.04, precision="float64")
        assert not abs(ran(coarse).variables["r_final"][0] / highest - 1.0) < 0.1


def test_noise_and_drive_shorten_the_step_to_their_own_times():
    def halvings(drive=None, **columns):
        return int(
            points_of({"eta": [-5.0], **{k: [v] for k, v in columns.items()}}, drive).steps().halvings[0]
        )

    quiet = halvings()
    assert halvings(v_ou_sigma=1e-9, v_ou_tau=0.01) >= np.log2(BASE_STEP / (0.01 / 8))
    assert halvings(v_ou_sigma=0.0, v_ou_tau=0.01) == quiet
    assert halvings(qs.Sine(amplitude=1e-9, period=0.1)) >= np.log2(BASE_STEP / (0.1 / 25))
    assert halvings(qs.Constant(amplitude=100.0)) > quiet


def test_a_violent_start_is_run_again_at_half_the_step_until_its_error_is_small():
    rng = np.random.default_rng(6)
    columns = {
        "eta": rng.uniform(-10, 10, 300),
        "J": rng.uniform(0, 30, 300),
        "r_initial": rng.uniform(0.01, 2, 300),
        "v_initial": rng.uniform(-3, 3, 300),
    }
    result = ran(points_of(columns, transient=0.0, window=10.0))
    again = result.variables["redo_count"] > 0
    assert 0 < again.sum() < 150
    assert (result.variables["error_estimate"] <= 1e-3).all()
    once = points_of(columns, transient=0.0, window=10.0).steps().halvings
    expected = BASE_STEP * 0.5 ** (once + result.variables["redo_count"])
    assert result.variables["dt"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.thorough
def test_a_chaotic_run_which_no_step_makes_agree_with_a_finer_one_is_given_up_and_flagged(monkeypatch):
    """Its largest exponent is 0.24 per tau; the next slice over the drive's amplitude follows the sine."""
    runs = []
    original = engine._Against.run
    monkeypatch.setattr(
        engine._Against, "run", lambda self, *given: runs.append(given) or original(self, *given)
    )
    result = ran(
        points_of(
            {"drive_amplitude": [6.0, 1.0], "eta": [-1.0, -1.0]},
            drive=qs.Sine(amplitude=6.0, period=3.0),
            observables=["r_mean", "lyapunov_1"],
            transient=200.0,
            window=500.0,
        )
    )
    chaotic, entrained = result.variables["lyapunov_1"]
    assert chaotic > 0.1 > 0.0 > entrained
    assert has(result.status, qs.Status.under_resolved).tolist() == [True, False]
    assert len(runs) <= 2 + convergence.MOST_STUCK


@given(
    window=st.integers(1, 10**6),
    halvings=st.integers(0, 10),
    redos=st.integers(0, 7),
)
def test_points_are_compared_with_no_more_steps_than_told_or_so_many_times_their_own(window, halvings, redos):
    redos = min(redos, halvings)
    counted, own = np.array([60]), window * 2 ** (halvings - redos)
    (most,) = convergence.most_halvings(counted, np.array([halvings]), np.array([redos], np.uint8), window)
    bound = max(2**26, 256 * own)
    assert window * 2 ** int(most) <= bound < window * 2 ** (int(most) + 1)
    assert most >= halvings


def test_a_step_of_ones_own_is_kept_and_flagged_where_it_is_too_long():
    rest = (0.081134441950119719, -1.9616199885831653)
    columns = {"eta": [-5.0, 5.0], "r_initial": [rest[0], 1.5], "v_initial": [rest[1], 3.0]}
    result = ran(points_of(columns, transient=0.0, window=10.0, dt=0.1, integrator="heun"))
    assert result.variables["dt"].tolist() == pytest.approx([0.1, 0.1])
    assert result.variables["redo_count"].tolist() == [0, 0]
    assert has(result.status, qs.Status.under_resolved).tolist() == [False, True]


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_deviation_of_a_few_steps_is_right_or_flagged(steps):
    """Beside SciPy; of one or two steps of fast points some are flagged, of three and more few are."""
    rng = np.random.default_rng(5)
    columns = {
        "eta": rng.uniform(-50.0, 50.0, 16),
        "tau": rng.uniform(1.0, 6.0, 16),
        "J": rng.uniform(-30.0, 60.0, 16),
        "r_initial": rng.uniform(0.01, 0.6, 16),
        "v_initial": rng.uniform(-10.0, 10.0, 16),
    }
    points = points_of(
        columns, observables=("r_std",), precision="float64", transient=0.0, window=0.02 * steps, dt=0.02
    )
    found = ran(points)
    flagged = has(found.status, qs.Status.under_resolved)
    for k in range(16):
        eta, tau, J, *start = (column[k] for column in columns.values())

        def slope(t, y, eta=eta, tau=tau, J=J):
            r, v = y
            rate = 1.0 / (np.pi * tau) + 2.0 * r * v
            return rate / tau, (v * v + eta + J * tau * r - (np.pi * tau * r) ** 2) / tau

        path = solve_ivp(
            slope, (0.0, 0.02 * steps), start, method="DOP853", rtol=1e-11, atol=1e-13, dense_output=True
        )
        r = path.sol(np.linspace(0.0, 0.02 * steps, 20001))[0]
        assert flagged[k] or abs(found.variables["r_std"][k] - r.std()) < 1e-3 * (r.std() + 0.01 * r.max())
    assert flagged.mean() < (0.6 if steps < 3 else 0.3)


@pytest.mark.parametrize("steps", [1, 8])
def test_the_deviation_under_samples_faster_than_a_given_step_is_right_or_flagged(steps):
    """Beside SciPy, which ends at each sample: a step and its half can both miss what goes on within them."""
    rng, values = np.random.default_rng(3), (-0.216, -0.667, 0.592, -0.363, 0.652, 0.732, -0.745, -0.094)
    count, window = 32, 0.002 * steps
    columns = {
        "eta": rng.uniform(-5.0, 30.0, count),
        "J": rng.uniform(-20.0, 40.0, count),
        "r_initial": rng.uniform(0.01, 0.1, count),
        "v_initial": rng.uniform(-7.0, 5.0, count),
        "drive_amplitude": rng.uniform(-30.0, 50.0, count),
        "drive_interval": rng.uniform(0.0002, 0.0008, count),
        "drive_start": rng.uniform(0.0, 0.0012, count),
    }
    drive = qs.Sampled(values=values, interval=1.0, amplitude=1.0)
    points = points_of(columns, drive, "float64", ("v_std",), transient=0.0, window=window, dt=0.002)
    found = ran(points)
    flagged = has(found.status, qs.Status.under_resolved)
    within = np.zeros(count, dtype=bool)
    for k in range(count):
        eta, J, r, v, amplitude, interval, start = (column[k] for column in columns.values())
        knots = start + interval * np.arange(len(values))
        edges = np.unique(np.clip([0.0, *knots, window], 0.0, window))
        t, y = [0.0], np.array([[r], [v]])

        def slope(t, y, eta=eta, J=J, knots=knots, amplitude=amplitude):
            given = amplitude * np.interp(t, knots, values)
            rate = 1.0 / np.pi + 2.0 * y[0] * y[1]
            return rate, y[1] ** 2 + eta + given + J * y[0] - (np.pi * y[0]) ** 2

        for begin, end in pairwise(edges):
            times = np.linspace(begin, end, 201)
            path = solve_ivp(slope, (begin, end), y[:, -1], t_eval=times[1:], rtol=1e-10, atol=1e-12)
            t, y = np.append(t, times[1:]), np.hstack((y, path.y))
        mean = np.trapezoid(y[1], t) / window
        deviation = np.sqrt(np.trapezoid((y[1] - mean) ** 2, t) / window)
        size = np.sqrt(np.trapezoid((np.pi * y[0]) ** 2 + y[1] ** 2, t) / window)
        within[k] = abs(found.variables["v_std"][k] - deviation) < 1e-3 * (deviation + 0.01 * size)
        assert flagged[k] or within[k]
    assert (flagged & within).mean() < 0.1


def test_the_error_of_a_rate_is_relative_to_the_rate_and_not_to_its_burst():
    """A rate of 0.49 that was 45 is 2e-3 off where it is 1e-3 off; a potential near 0 is not."""
    rest = points_of({"eta": [5.0]}).rest
    found = {"r_mean": 0.2, "r_std": 1.5, "v_mean": -0.5, "v_std": 8.0}
    found = {name: np.array([value]) for name, value in found.items()}
    apart = convergence.states_apart(np.array([[[0.490, 0.011]]]), np.array([[[0.489, 0.010]]]), rest, found)
    assert apart == pytest.approx([0.001 / 0.489])
    size = np.hypot(np.pi * np.hypot(0.2, 1.5), np.hypot(0.5, 8.0))
    apart = convergence.states_apart(np.array([[[0.489, 0.11]]]), np.array([[[0.489, 0.010]]]), rest, found)
    assert apart == pytest.approx([0.1 / size])


def test_a_point_is_not_settled_while_it_moves_and_settled_when_it_rests():
    """The real parts at the upper focus are -0.309: e^(-0.309 t) is 0.05 after 10 ms and 1e-13 after 100."""
    columns = started(*(np.array([x]) for x in (-5.0, 15.0, 1.0, 1.0)))
    columns["r_initial"] *= 1.2
    early = ran(points_of(columns, transient=0.0, window=10.0))
    late = ran(points_of(columns, transient=0.0, window=100.0))
    assert has(early.status, qs.Status.not_settled).tolist() == [True]
    assert late.status.tolist() == [1]
    assert (early.variables["settled_on"][0], late.variables["settled_on"][0]) == (-1, 2)
    assert early.variables["disagreement"][0] > 1e-3 > late.variables["disagreement"][0]
    assert late.variables["equilibrium_count"].tolist() == [3]


def test_a_point_on_the_saddle_is_at_an_equilibrium_and_not_settled():
    columns = {"eta": [-5.0], "r_initial": [0.47298034068468413], "v_initial": [-0.33649378082290563]}
    result = ran(points_of(columns, transient=0.0, window=1.0, precision="float64"))
    assert result.variables["settled_on"].tolist() == [1]
    assert has(result.status, qs.Status.not_settled).tolist() == [True]


@pytest.mark.parametrize(
    ("drive", "defined"),
    [
        (None, True),
        (qs.Constant(amplitude=2.0), True),
        pytest.param(qs.Pulse(amplitude=3.0, start=5.0, length=10.0), True, marks=pytest.mark.thorough),
        (qs.Pulse(amplitude=3.0, start=5.0, length=1e6), True),
        pytest.param(qs.Ramp(amplitude=1.0, start=0.0, length=50.0), True, marks=pytest.mark.thorough),
        (qs.Ramp(amplitude=1.0, start=0.0, length=1e6), False),
        (qs.Sampled(values=[0.0, 1.0, 2.0], interval=10.0), True),
        (qs.Sine(amplitude=0.3, period=7.0), False),
    ],
)
def test_rest_is_asked_for_where_the_input_ends_constant_and_is_that_of_the_last_input(drive, defined):
    result = ran(points_of({"eta": [-5.0, -2.0]}, drive, transient=0.0, window=150.0))
    if isinstance(drive, qs.Sine):
        assert "settled_on" not in result.variables
    assert not has(result.status, qs.Status.not_settled).any()
    if "settled_on" in result.variables:
        assert (result.variables["settled_on"] >= 0).all() == defined
        assert np.isfinite(result.variables["disagreement"]).all() == defined


def test_a_point_with_noise_is_not_asked_to_rest_and_its_neighbour_without_is():
    result = ran(points_of({"v_ou_sigma": [0.0, 0.5]}, transient=0.0, window=30.0))
    assert result.variables["settled_on"].tolist() == [0, -1]
    assert np.isnan(result.variables["disagreement"]).tolist() == [False, True]
    assert not has(result.status, qs.Status.not_settled).any()


def test_a_negative_rate_is_counted_and_reflected_on_request():
    columns = {"r_ou_sigma": [0.3] * 7 + [0.0], "eta": np.linspace(-5.5, -4.5, 8)}
    rows = ("r_min", "r_final", "v_final")
    left = ran(points_of(columns, observables=rows, transient=0.0, window=50.0))
    turned = ran(points_of(columns, observables=rows, transient=0.0, window=50.0, negative_rate="reflect"))
    below = left.variables["negative_steps"] > 0
    assert below.sum() > 3
    assert not below[-1]
    assert ((left.variables["r_min"] < 0.0) == below).all()
    assert (has(left.status, qs.Status.rate_negative) == below).all()
    assert (turned.variables["r_min"] >= 0.0).all()
    assert has(turned.status, qs.Status.rate_negative)[below].all()


SMALL = {
    "axes": {"eta": np.linspace(-8.0, -2.0, 9), "J": np.linspace(10.0, 20.0, 8)},
    "protocol": {"transient": 40.0, "window": 10.0, "initial": "up"},
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished store without noise."""
    path = tmp_path_factory.mktemp("small") / "small.zarr"
    qs.run(qs.Scan(**SMALL), path, client="serial")
    return path


def test_a_right_store_is_sound_and_says_by_how_much(small):
    verdict = qs.verify(small)
    assert verdict.sound
    assert verdict.half.points == verdict.recomputed > 60
    assert 0.0 < verdict.half.apart < 1e-4
    assert verdict.settled == 72
    assert 0.0 < verdict.disagreement < 1e-4
    assert str(verdict).splitlines()[-1] == "verdict       sound"


@pytest.mark.thorough
def test_a_store_of_driven_runs_is_compared_with_an_adaptive_solver_in_every_observable(tmp_path):
    """Bursts after a pulse, levels, exponents: every number of 24 points; one that is off by half a per cent
    is named with its right value."""
    path = tmp_path / "driven.zarr"
    names = ["r_mean", "r_std", "v_min", "r_max", "v_final", "up_fraction", "switch_count", "lyapunov_1"]
    scan = qs.Scan(
        axes={"eta": np.linspace(-5.5, -4.0, 8), "drive_amplitude": [0.0, 4.0, 20.0]},
        drive=qs.Pulse(amplitude=1.0, start=3.0, length=2.0),
        protocol=qs.Protocol(transient=0.0, window=20.0, initial="down"),
        observables=names,
    )
    dataset = qs.run(scan, path, client="serial")
    verdict = qs.verify(path, points=200)
    assert verdict.sound, str(verdict)
    assert verdict.truth.points > 18
    assert verdict.truth.numbers > 7 * verdict.truth.points
    assert verdict.truth.largest < 1.0
    without_record(path)
    right = float(dataset["r_max"].isel(eta=4, drive_amplitude=2))
    zarr.open_group(str(path), mode="r+")["r_max"][4, 2] = right * 1.005
    faults = qs.verify(path, points=200).truth.faults
    assert len(faults) == 1
    assert faults[0].startswith("r_max at eta=")
    assert f"stored {right * 1.005:.6g}, not true: an adaptive solver finds {right:.3g}"[:40] in faults[0]


def without_record(path):
    """Remove the digests of a store, as of one made without: they would tell of a changed number first."""
    shutil.rmtree(path / "qifscan-record")
    metadata = json.loads((path / "zarr.json").read_text())
    del metadata["attributes"]["qifscan_record"]
    metadata.pop("consolidated_metadata", None)
    (path / "zarr.json").write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("r_mean", 1.0, "from its value at half the step, and not flagged"),
        ("equilibrium_count", 2, "equilibrium_count at"),
        ("disagreement", 0.5, "disagreement: 5.0e-01"),
    ],
)
def test_a_number_that_is_wrong_against_half_the_step_or_the_theory_is_found(
    small, tmp_path, name, value, words
):
    path = tmp_path / "small.zarr"
    shutil.copytree(small, path)
    without_record(path)
    zarr.open_group(str(path), mode="r+")[name][3, 3] = value
    verdict = qs.verify(path, points=1000)
    assert not verdict.sound
    assert any(words in fault for fault in verdict.faults)


def test_coarse_points_that_are_flagged_are_no_fault_and_without_the_flag_they_are(tmp_path):
    protocol = {
        "transient": 0.0,
        "window": 20.0,
        "dt": 0.05,
        "integrator": "euler",
        "initial": {"r": 0.5, "v": 0.0},
    }
    path = tmp_path / "coarse.zarr"
    dataset = qs.run(qs.Scan(axes={"eta": np.linspace(-8.0, -6.0, 20)}, protocol=protocol), path)
    assert has(dataset["status"].values, qs.Status.under_resolved).all()
    assert qs.verify(path).half.faults == ()
    without_record(path)
    array = zarr.open_group(str(path), mode="r+")["status"]
    array[:] = array[:] & ~np.uint8(qs.Status.under_resolved)
    assert any("not flagged" in fault for fault in qs.verify(path).half.faults)


def test_noise_is_compared_on_average_along_the_same_paths(tmp_path):
    path = tmp_path / "noisy.zarr"
    scan = qs.Scan(
        axes={"eta": [-8.0, -7.0]},
        fixed={"v_ou_sigma": 0.3},
        replicates=40,
        protocol=qs.Protocol(transient=5.0, window=40.0),
    )
    qs.run(scan, path)
    verdict = qs.verify(path)
    assert verdict.sound
    assert verdict.half.noisy == verdict.half.points > 40
    without_record(path)
    array = zarr.open_group(str(path), mode="r+")["r_mean"]
    array[:] = 1.05 * array[:]
    assert any("on average" in fault for fault in qs.verify(path).faults)


def test_verify_takes_no_small_end_of_what_was_large_for_its_size(tmp_path):
    """Third cumulants, 0.7 in a burst, are 10^-6 in the end, as their mean: errors of 10^-9 are none."""
    begin = {"r_initial": [0.276], "v_initial": [-1.5884], "a_initial": [0.1], "b_initial": [1e-4]}
    scan = qs.Scan(
        model="qif_cumulants",
        points=begin | {"e_initial": [1e-4], "f_initial": [0.0], "eta": [-5.484]},
        drive=qs.Pulse(amplitude=10.0, start=3.3, length=2.0),
        protocol=qs.Protocol(transient=1.0, window=6.0),
        observables=["e_mean", "f_mean", "e_final"],
    )
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial", progress=None)
    assert (np.abs(found[["e_mean", "f_mean", "e_final"]].to_array()) < 1e-4).all()
    assert qs.verify(tmp_path / "scan.zarr").faults == ()
