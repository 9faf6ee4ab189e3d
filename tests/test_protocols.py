"""Sweeps jump at the exact folds; basins, residence times and pulse responses are those of brute force."""

import shutil

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, optimize, stats

import qifscan as qs
from qifscan.results.residence import gamma_quantile, rate_interval
from qifscan.store import store

from .test_same_everywhere import assert_identical, contents


def field(t, y, eta, J, delta=1.0):
    """Return the plain model's derivatives, tau = 1 ms."""
    r, v = y
    return [delta / np.pi + 2.0 * r * v, v * v + eta + J * r - (np.pi * r) ** 2]


def end(y, duration, eta, J):
    """Return the state after so many ms, by SciPy's DOP853."""
    return integrate.solve_ivp(field, (0.0, duration), y, "DOP853", args=(eta, J), rtol=1e-7, atol=1e-9).y[
        :, -1
    ]


def rates(eta, J, delta=1.0):
    """Return the equilibrium rates, ascending, from the companion matrix of their polynomial."""
    found = np.roots([np.pi**2, -J, -eta, 0.0, -(delta**2) / (4.0 * np.pi**2)])
    return np.sort(found.real[(abs(found.imag) < 1e-9) & (found.real > 0.0)])


def fold(J, side):
    """Return eta at which the lower (side 0) or the upper branch ends, tau = delta = 1."""
    cusp = 0.75**0.25 / np.pi
    ends = (1e-3, cusp) if side == 0 else (cusp, 10.0)
    r = optimize.brentq(lambda r: 2 * np.pi**2 * r + 1 / (2 * np.pi**2 * r**3) - J, *ends, xtol=1e-15)
    return -(np.pi**2) * r**2 - 3 / (4 * np.pi**2 * r**2)


# Sweeps

ETA, J = np.linspace(-8.0, -1.0, 71), [5.0, 10.0, 15.0, 17.5]
SWEEP = qs.Protocol(transient=40.0, window=10.0, sweep="eta")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The store of a sweep over eta at four couplings, without noise."""
    path = tmp_path_factory.mktemp("swept") / "swept.zarr"
    qs.run(qs.Scan(axes={"eta": ETA, "J": J}, protocol=SWEEP, observables=["r_final"]), path)
    return path


def test_both_directions_jump_in_the_interval_that_holds_the_exact_fold(swept):
    found = qs.hysteresis(swept)
    step = ETA[1] - ETA[0]
    assert found["loop"].values.tolist() == [0, 1, 1, 1]
    assert found["jump"].sel(J=5.0).isnull().all()  # below the cusp there is no fold
    for coupling in J[1:]:
        for direction, side in (("up", 0), ("down", 1)):
            lower, upper = found["jump"].sel(J=coupling, direction=direction).values
            assert lower < fold(coupling, side) < upper
            assert upper - lower == pytest.approx(step)
    width = [fold(coupling, 0) - fold(coupling, 1) for coupling in J[1:]]
    assert np.all(abs(found["width"].values[1:] - width) < step)
    assert (found["doubtful_count"] == 0).all()


def test_a_run_that_is_still_on_its_way_beyond_a_fold_widens_the_interval_and_is_no_loop(tmp_path):
    """At J = 14.5 the run up needs more than 50 ms at -3.05, just beyond its fold at -3.0542; at J = 8 both
    folds lie between -1.8 and -1.75, and the run down needs as long at -1.8."""
    eta = np.round(np.linspace(-3.3, -1.5, 37), 10)
    scan = qs.Scan(axes={"eta": eta, "J": [8.0, 14.5]}, protocol=SWEEP, observables=["r_final"])
    dataset = qs.run(scan, tmp_path / "slow.zarr", client="serial").load()
    slow = (dataset["status"] & int(qs.Status.not_settled)) > 0
    assert bool(slow.sel(J=14.5, eta=-3.05, direction="up"))
    assert bool(slow.sel(J=8.0, eta=-1.8, direction="down"))
    found = qs.hysteresis(dataset)
    assert found["loop"].values.tolist() == [-1, 2]
    assert found["jump"].sel(J=14.5, direction="up").values.tolist() == [-3.1, -3.0]
    assert -3.1 < fold(14.5, 0) < -3.05
    assert -1.8 < fold(8.0, 1) < fold(8.0, 0) < -1.75
    assert found["jump"].sel(J=8.0).isnull().all()
    assert not found["bistable"].sel(J=8.0).any()


def test_outside_the_folds_both_directions_are_at_the_one_equilibrium_and_between_them_at_two(swept):
    dataset = qs.open_scan(swept).load()
    for coupling in J:
        for eta in ETA:
            up, down = (
                float(dataset["r_final"].sel(J=coupling, eta=eta, direction=d)) for d in ("up", "down")
            )
            exact = rates(eta, coupling)
            assert (up, down) == pytest.approx((exact[0], exact[-1]), rel=1e-3)


def test_the_area_of_the_loop_is_that_between_the_exact_branches(swept):
    area = float(qs.hysteresis(swept)["area"].sel(J=15.0))
    low, high = fold(15.0, 1), fold(15.0, 0)
    exact, _ = integrate.quad(lambda eta: np.ptp(rates(eta, 15.0)), low + 1e-9, high - 1e-9)
    heights = [np.ptp(rates(low + 1e-9, 15.0)), np.ptp(rates(high - 1e-9, 15.0))]
    # Of the cell that holds a jump the trapezoidal rule takes half, whatever part of it is in the loop.
    assert abs(area - exact) < 0.5 * (ETA[1] - ETA[0]) * sum(heights) + 2e-3


def test_each_point_starts_where_its_neighbour_ended(tmp_path):
    """Over so short runs nothing settles: the whole history of a line shows, as in SciPy's chain of runs."""
    eta = np.array([-5.0, -3.0, -4.0, -2.0])  # in any order on the axis
    protocol = qs.Protocol(transient=0.4, window=0.6, sweep="eta", initial={"r": 0.2, "v": -1.0})
    scan = qs.Scan(axes={"eta": eta, "J": [15.0]}, protocol=protocol, observables=["r_final"])
    found = qs.run(scan, tmp_path / "chain.zarr", client="serial").load().isel(J=0)
    for direction, order in (("up", np.sort(eta)), ("down", np.sort(eta)[::-1])):
        state = [0.2, -1.0]
        for value in order:
            state = end(state, 1.0, value, 15.0)
            here = found.sel(eta=value, direction=direction)
            assert float(here["r_final"]) == pytest.approx(state[0], abs=1e-4)


def noisy_sweep(**changes):
    definition = {
        "axes": {"J": [12.0, 15.0, 18.0], "eta": [-6.0, -5.0, -4.0, -3.0]},
        "fixed": {"v_ou_sigma": 0.4},
        "replicates": 2,
        "seed": 7,
        "protocol": qs.Protocol(transient=1.0, window=6.0, tolerance=2.2e-2, integrator="euler", sweep="eta"),
        "observables": ["r_mean"],
        "traces": qs.Traces(points=[{"J": 15.0, "direction": "down", "eta": -5.0, "replicate": 1}], every=7),
    }
    return qs.Scan(**{**definition, **changes})


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """The store of a sweep with noise; some points are run again at a finer step."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.zarr"
    dataset = qs.run(noisy_sweep(), path, client="serial")
    assert 0 < np.count_nonzero(dataset["redo_count"]) < dataset["redo_count"].size
    assert dict(dataset["r_mean"].sizes) == {"J": 3, "eta": 4, "direction": 2, "replicate": 2}
    return path


@pytest.mark.thorough
def test_chunks_and_threads_give_a_sweep_the_same_bits(noisy, tmp_path):
    path = tmp_path / "threads.zarr"
    qs.run(noisy_sweep(), path, client="threads", workers=2, chunk_points=1)
    assert store.load(path).chunks.shape == (1, 4, 1, 1)  # lines stay whole
    assert_identical(path, contents(noisy))


def test_a_sweep_that_lost_a_chunk_is_made_whole_with_the_same_bits(noisy, tmp_path):
    path = tmp_path / "resumed.zarr"
    shutil.copytree(noisy, path)
    (path / "status" / "c" / "0" / "0" / "0" / "0").unlink()
    qs.run(noisy_sweep(), path, client="serial")
    assert_identical(path, contents(noisy))


def test_the_order_of_the_axis_and_of_the_directions_changes_no_bit_of_a_line(noisy, tmp_path):
    axes = {"direction": ["down"], "eta": [-3.0, -6.0, -4.0, -5.0], "J": [15.0]}
    found = qs.run(noisy_sweep(axes=axes, traces=None), tmp_path / "line.zarr", client="serial").load()
    whole = qs.open_scan(noisy).load().sel(J=[15.0], direction=["down"]).sel(eta=found["eta"])
    for name in found.data_vars:
        np.testing.assert_array_equal(found[name].transpose(*whole[name].dims), whole[name])


def test_replay_and_verify_run_the_line_of_a_point_again(noisy):
    replayed = qs.replay(noisy, J=15.0, eta=-5.0, direction="down", replicate=1, every=7)
    assert replayed.attrs["checked"] == "equal bit for bit"
    np.testing.assert_array_equal(replayed["r"], qs.open_scan(noisy)["r_trace"][0])
    verdict = qs.verify(noisy, points=8)
    assert verdict.sound, verdict


def test_whole_lines_of_a_sweep_are_taken_over_from_an_older_store(noisy, tmp_path):
    larger = noisy_sweep(axes={"J": [12.0, 13.0, 15.0], "eta": [-5.0, -6.0, -4.0, -3.0]}, replicates=3)
    extended = qs.run(larger, tmp_path / "extended.zarr", extend=noisy, checkpoint=False, client="serial")
    assert (extended["status"] > 0).all()
    qs.run(larger, tmp_path / "at_once.zarr", client="serial")
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at_once.zarr"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"axes": {"J": [12.0], "eta": [-6.0, -5.0, -4.0, -3.0, -2.0]}, "traces": None},
            "eta, which is swept",
        ),
        (
            {
                "protocol": qs.Protocol(
                    transient=1.0, window=7.0, tolerance=2.2e-2, integrator="euler", sweep="eta"
                )
            },
            "no checkpoint",
        ),
        (
            {
                "protocol": qs.Protocol(
                    transient=1.0, window=6.0, tolerance=2.2e-2, integrator="euler", sweep="J"
                )
            },
            "protocol.sweep",
        ),
    ],
)
def test_a_sweep_can_not_be_extended_along_itself_or_in_time(noisy, tmp_path, changes, words):
    with pytest.raises(qs.StoreError, match=words) as caught:
        qs.run(noisy_sweep(**changes), tmp_path / "new.zarr", extend=noisy)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "new.zarr").exists()


def test_what_comes_after_an_under_resolved_point_of_a_line_is_flagged_too(tmp_path):
    """In the window Heun's coarse step errs on the way from -9 to -6 and back, not from -6 to -5.9999."""
    protocol = qs.Protocol(
        transient=0.0, window=10.0, dt=0.1, tolerance=5e-3, sweep="path", integrator="heun"
    )
    axes = {"path": {"eta": [-9.0, -6.0, -5.9999], "J": [15.0, 15.0, 15.0]}}
    scan = qs.Scan(axes=axes, protocol=protocol, observables=["r_mean", "r_std", "v_mean", "v_std", "v_max"])
    found = qs.run(scan, tmp_path / "coarse.zarr", client="serial").load()
    failed = found["error_estimate"] > 5e-3
    flagged = (found["status"] & int(qs.Status.under_resolved)) > 0
    assert failed.transpose("direction", "path").values.tolist() == [
        [False, True, False],
        [True, False, False],
    ]
    assert flagged.transpose("direction", "path").values.tolist() == [
        [False, True, True],
        [True, False, False],
    ]


def test_a_line_that_diverged_stays_diverged(tmp_path):
    protocol = qs.Protocol(transient=5.0, window=5.0, dt=0.5, sweep="eta", integrator="euler", initial="up")
    scan = qs.Scan(axes={"eta": [-5.0, 50.0, 60.0]}, protocol=protocol, observables=["r_final"])
    found = qs.run(scan, tmp_path / "far.zarr", client="serial").load()
    diverged = ((found["status"] & int(qs.Status.diverged)) > 0).sel(direction="down").values
    assert diverged.tolist() == [True, True, True]
    assert found["r_final"].sel(direction="down").isnull().all()


@pytest.mark.parametrize(
    ("definition", "where", "words"),
    [
        ({"protocol": {"sweep": "et"}}, "protocol.sweep", 'did you mean "eta"?'),
        ({"protocol": {"sweep": "replicate"}, "replicates": 3}, "protocol.sweep", "one of eta"),
        ({"protocol": {"sweep": "direction"}}, "protocol.sweep", "one of eta"),
        ({"protocol": {"sweep": "eta"}, "axes": {}}, "protocol.sweep", "an axis"),
        ({"axes": {"eta": [1.0], "direction": ["up"]}}, "axes.direction", "protocol.sweep"),
        (
            {"protocol": {"sweep": "eta"}, "axes": {"eta": [1.0], "direction": ["left"]}},
            "axes.direction",
            "one of up, down",
        ),
        (
            {"protocol": {"sweep": "eta"}, "axes": {"path": {"eta": [1.0, 2.0], "J": [3.0, 4.0]}}},
            "protocol.sweep",
            'on the axis "path"',
        ),
        (
            {"protocol": {"sweep": "initial"}, "axes": {"initial": ["down", "up"]}},
            "protocol.sweep",
            "first point of a line",
        ),
        ({"protocol": {"sweep": 3}}, "protocol.sweep", "a text"),
    ],
)
def test_a_wrong_sweep_is_one_line_with_its_place_and_what_to_do(definition, where, words):
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan(**{"axes": {"eta": [1.0, 2.0]}, **definition})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{where}: found ")
    assert words in line


def test_a_sweep_survives_json_and_another_sweep_is_another_scan():
    scan = noisy_sweep()
    assert qs.Scan.from_json(scan.to_json()) == scan
    given = noisy_sweep(
        axes={**{name: a.labels for name, a in scan.axes.items()}, "direction": ["up", "down"]}
    )
    assert given == scan
    assert (
        noisy_sweep(traces=None).fingerprint != noisy_sweep(traces=None, protocol=qs.Protocol()).fingerprint
    )


def loops(up, down, unsettled=()):
    """Return the hysteresis of made-up lines; the run up is not settled at some of its points."""
    eta = np.arange(float(len(up)))
    scan = qs.Scan(axes={"eta": eta}, protocol=qs.Protocol(sweep="eta"), observables=["r_mean"])
    dims = ("eta", "direction")
    status = np.ones((len(up), 2), dtype=np.uint8)
    status[list(unsettled), 0] |= int(qs.Status.not_settled)
    dataset = xr.Dataset(
        {"r_mean": (dims, np.stack([up, down], axis=1).astype(float)), "status": (dims, status)},
        {"eta": eta, "direction": ["up", "down"]},
        {"qifscan_scan": scan.to_json()},
    )
    return qs.hysteresis(dataset)


@pytest.mark.parametrize(
    ("down", "loop", "of_up", "of_down"),
    [
        ([1, 1, 1, 1, 1, 1], 0, [np.nan, np.nan], [np.nan, np.nan]),
        ([1, 1, 2, 2, 1, 1], 1, [3, 4], [1, 2]),
        ([2, 2, 2, 1, 1, 1], 2, [2, 3], [np.nan, np.nan]),
        ([1, 1, 1, 1, 2, 2], 2, [np.nan, np.nan], [3, 4]),
        ([2, 2, 2, 2, 2, 2], 2, [np.nan, np.nan], [np.nan, np.nan]),
        ([1, 2, 1, 1, 2, 1], 3, [4, 5], [0, 1]),
        ([1, 2, np.nan, 1, 1, 1], -1, [np.nan, np.nan], [np.nan, np.nan]),
    ],
)
def test_a_loop_is_told_by_where_the_directions_differ(down, loop, of_up, of_down):
    found = loops([1, 1, 1, 1, 1, 1], down)
    assert int(found["loop"]) == loop
    np.testing.assert_array_equal(found["jump"].sel(direction="up"), of_up)
    np.testing.assert_array_equal(found["jump"].sel(direction="down"), of_down)


@pytest.mark.parametrize(
    ("down", "unsettled", "loop", "of_up", "of_down"),
    [
        ([1, 2, 2, 2, 1, 1], [3], 1, [2, 4], [0, 1]),  # beyond its fold, but not there yet
        ([1, 2, 2, 1, 1, 1], [3], 1, [2, 4], [0, 1]),
        ([1, 2, 2, 2, 1, 1], [2], 1, [3, 4], [0, 1]),  # in the middle it splits no loop
        ([1, 1, 2, 1, 1, 1], [2], -1, [np.nan] * 2, [np.nan] * 2),
        ([1, 1, 2, 2, 2, 2], [5], 2, [np.nan] * 2, [1, 2]),
        ([1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5], 0, [np.nan] * 2, [np.nan] * 2),
        ([2, 2, 2, 2, 1, 1], [0], 2, [3, 4], [np.nan] * 2),
    ],
)
def test_a_point_that_is_not_settled_bounds_no_jump(down, unsettled, loop, of_up, of_down):
    found = loops([1, 1, 1, 1, 1, 1], down, unsettled)
    assert int(found["loop"]) == loop
    np.testing.assert_array_equal(found["jump"].sel(direction="up"), of_up)
    np.testing.assert_array_equal(found["jump"].sel(direction="down"), of_down)


def test_a_figure_of_a_sweep_has_the_exact_branches_behind_it_where_they_are_what_is_drawn(swept):
    figure = qs.show(swept, y="", select={"J": 15.0})
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for label, branches in (("equilibrium (exact)", [0, 2]), ("saddle (exact)", [1])):
        x, y = lines[label].get_data()
        for place in np.flatnonzero(np.isfinite(y) & (abs(x + 4.5) < 1.0))[::50]:
            exact = rates(x[place], 15.0)
            assert min(abs(exact[branch] - y[place]) for branch in branches) < 1e-9
    figure = qs.show(swept, ["settled_on"], y="", select={"J": 15.0})
    assert "saddle (exact)" not in [line.get_label() for line in figure.axes[0].lines]


# Basins

REST = qs.Protocol(transient=40.0, window=5.0)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Initial states on a grid, in and above the bistable region."""
    axes = {
        "r_initial": np.linspace(0.0, 2.0, 101),
        "v_initial": np.linspace(-3.0, 3.0, 101),
        "eta": [-5.0, -4.0, 0.0],
    }
    path = tmp_path_factory.mktemp("grid") / "grid.zarr"
    return qs.run(qs.Scan(axes=axes, protocol=REST, observables=["r_final"]), path).load()


@pytest.mark.thorough
def test_the_share_of_the_upper_state_is_that_of_brute_force(grid):
    found = qs.basins(grid)
    # Of 101 x 101 starts at eta = -5, J = 15, 2175 go up (counted with another program).
    assert float(found["fraction"].sel(eta=-5.0, equilibrium=2)) * 101**2 == pytest.approx(2175, abs=1e-6)
    assert np.allclose(found["fraction"].sum("equilibrium") + found["unsettled_fraction"], 1.0, atol=1e-15)
    # With one equilibrium, at 0, every start goes to it.
    assert float(found["fraction"].sel(eta=0.0, equilibrium=0)) == 1.0
    assert found.attrs["over"] == "r_initial, v_initial"


def test_random_starts_go_where_scipy_takes_them(tmp_path):
    rng = np.random.default_rng(3)
    starts = {"r_initial": rng.uniform(0.0, 2.0, 20), "v_initial": rng.uniform(-3.0, 3.0, 20)}
    scan = qs.Scan(points=starts, fixed={"eta": -4.5}, protocol=REST, observables=["r_final"])
    dataset = qs.run(scan, tmp_path / "starts.zarr", client="serial").load()
    low, _, high = rates(-4.5, 15.0)
    ends = np.array([end([r, v], 40.0, -4.5, 15.0)[0] for r, v in zip(*starts.values(), strict=True)])
    assert np.all((abs(ends - low) < 1e-3) | (abs(ends - high) < 1e-3))
    expected = np.where(abs(ends - high) < 1e-3, 2, 0)
    assert 3 < np.count_nonzero(expected) < 17
    assert np.array_equal(dataset["settled_on"], expected)
    found = qs.basins(dataset, over="point", confidence=0.9)
    up = np.count_nonzero(expected)
    assert float(found["fraction"].sel(equilibrium=2)) == up / 20
    interval = stats.binomtest(up, 20).proportion_ci(0.9, method="wilson")
    assert float(found["fraction_low"].sel(equilibrium=2)) == pytest.approx(interval.low, rel=1e-12)
    assert float(found["fraction_high"].sel(equilibrium=2)) == pytest.approx(interval.high, rel=1e-12)


def test_the_stable_manifold_of_the_saddle_divides_the_basins(tmp_path):
    """Starts on either side of the manifold, which SciPy follows back in time from the saddle."""
    r = rates(-5.0, 15.0)[1]
    saddle = np.array([r, -1.0 / (2.0 * np.pi * r)])
    jacobian = [[2 * saddle[1], 2 * r], [15.0 - 2 * np.pi**2 * r, 2 * saddle[1]]]
    values, vectors = np.linalg.eig(jacobian)
    stable = vectors[:, np.argmin(values)]
    sides = []
    for sign in (-1.0, 1.0):
        back = integrate.solve_ivp(
            lambda t, y: -np.array(field(t, y, -5.0, 15.0)),
            (0.0, 3.0),
            saddle + sign * 1e-6 * stable,
            "DOP853",
            rtol=1e-10,
            atol=1e-12,
            events=lambda t, y: 9.0 - y[1] ** 2,
            dense_output=True,
        )
        times = np.linspace(2.2, 0.99 * back.t[-1], 12) if back.t[-1] > 2.5 else back.t[-5:-1]
        for y in back.sol(times).T:
            along = np.array(field(0.0, y, -5.0, 15.0))
            normal = 0.01 * np.array([-along[1], along[0]]) / np.hypot(*along)
            if min(y[0] + normal[0], y[0] - normal[0]) > 0.0:
                sides.append((y + normal, y - normal))
    starts = np.array(sides)
    assert len(starts) >= 10
    columns = {"r_initial": starts[..., 0].ravel(), "v_initial": starts[..., 1].ravel()}
    scan = qs.Scan(points=columns, protocol=REST, observables=["r_final"])
    settled = qs.run(scan, tmp_path / "sides.zarr", client="serial")["settled_on"].values.reshape(-1, 2)
    assert np.all(settled >= 0)
    assert np.all(settled[:, 0] != settled[:, 1])


def test_starts_that_have_not_come_to_rest_are_unsettled(tmp_path):
    axes = {"r_initial": [0.02, 0.5, 1.5], "v_initial": [-2.0, 0.0]}
    protocol = qs.Protocol(transient=0.1, window=0.1)
    scan = qs.Scan(axes=axes, protocol=protocol, observables=["r_final"])
    found = qs.basins(qs.run(scan, tmp_path / "a.zarr", client="serial"))
    assert float(found["unsettled_fraction"]) == 1.0
    assert (found["fraction"] == 0.0).all()


def test_tipping_counts_the_starts_of_one_basin_that_are_in_another_after_the_change(grid):
    at = grid["settled_on"]
    found = qs.tipping(grid, eta=(-5.0, -4.0))
    for before in (0, 2):
        inside = at.sel(eta=-5.0).values == before
        for after in (0, 2):
            expected = np.count_nonzero(inside & (at.sel(eta=-4.0).values == after)) / np.count_nonzero(
                inside
            )
            assert float(found["probability"].sel(equilibrium=before, equilibrium_after=after)) == expected
    assert found["probability"].sel(equilibrium=1).isnull().all()
    # Nothing tips without a change, and beyond the fold everything goes to the one equilibrium.
    same = qs.tipping(grid, eta=(-5.0, -5.0))["probability"].sel(equilibrium=[0, 2], equilibrium_after=[0, 2])
    assert np.array_equal(same, np.eye(2))
    beyond = qs.tipping(grid, eta=(-5.0, 0.0))["probability"].sel(equilibrium=[0, 2], equilibrium_after=0)
    assert beyond.values.tolist() == [1.0, 1.0]


def test_tipping_finds_values_that_are_on_the_axis_but_for_rounding(grid):
    """`np.linspace(-10, 0, 101)` has no -4.7, but -4.699999999999999."""
    on_linspace = grid.assign_coords(eta=np.nextafter(grid["eta"].values, 0.0))
    found, expected = (qs.tipping(data, eta=(-5.0, -4.0)) for data in (on_linspace, grid))
    assert np.array_equal(found["probability"], expected["probability"], equal_nan=True)
    assert np.nanmax(found["probability"]) > 0.0
    with pytest.raises(qs.ScanError, match=r"found -4.999, expected a value of that axis"):
        qs.tipping(grid, eta=(-4.999, -4.0))


# Residence times


@pytest.mark.parametrize("p", [0.005, 0.025, 0.5, 0.975, 0.995])
def test_the_quantiles_are_half_those_of_chi_square(p):
    k = np.array([[1, 2, 3, 5], [10, 100, 3000, 10**4]])
    np.testing.assert_allclose(gamma_quantile(p, k), 0.5 * stats.chi2.ppf(p, 2 * k), rtol=1e-9)


def telegraph(rng, rate_of, window, count):
    """Return the observables of windows of alternating exponential stays, begun in their stationary law."""
    rows = []
    for up in rng.random(count) < rate_of["down"] / (rate_of["up"] + rate_of["down"]):
        time, now, began, level = dict.fromkeys(rate_of, 0.0), 0.0, None, "up" if up else "down"
        exits, stays = dict.fromkeys(rate_of, 0), {state: [] for state in rate_of}
        while True:
            stay = rng.exponential(1.0 / rate_of[level])
            time[level] += min(stay, window - now)
            now += stay
            if now >= window:
                break
            exits[level] += 1
            if began is not None:
                stays[level].append(stay)
            began, level = now, {"up": "down", "down": "up"}[level]
        row = {"up_fraction": time["up"] / window, **{f"{s}_exits": n for s, n in exits.items()}}
        for state, values in stays.items():
            row[f"{state}_residence_count"] = len(values)
            row[f"{state}_residence_sum"] = sum(values)
            row[f"{state}_residence_squares"] = sum(x * x for x in values)
        rows.append(row)
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def measured(columns, window, shape, dims):
    """Return observables as a dataset of a scan."""
    scan = qs.Scan(protocol=qs.Protocol(window=window), observables=["up_fraction"])
    variables = {name: (dims, values.reshape(shape)) for name, values in columns.items()}
    variables["status"] = (dims, np.ones(shape, dtype=np.uint8))
    return xr.Dataset(variables, attrs={"qifscan_scan": scan.to_json()})


TRUTH = {"up": 1.0 / 30.0, "down": 1.0 / 80.0}


def test_the_interval_holds_the_rate_of_a_telegraph_process_as_often_as_it_says():
    """1500 experiments of four windows with 2 to 3 exits from each state in all; P(false alarm) < 1e-4."""
    trials, window = 1500, 60.0
    columns = telegraph(np.random.default_rng(5), TRUTH, window, 4 * trials)
    found = qs.residence(measured(columns, window, (trials, 4), ("trial", "replicate")), confidence=0.9)
    for state, rate in TRUTH.items():
        one = found.sel(state=state)
        here = one["estimate"].values <= 1
        held = ((one["rate_low"] <= rate) & (rate <= one["rate_high"])).values[here]
        # Conservative, so only too few would be wrong: 3.8 standard deviations of a binomial count.
        assert held.mean() >= 0.9 - 3.8 * np.sqrt(0.9 * 0.1 / len(held))
        assert held.mean() < 0.99
        assert 1.0 < float(one["exits"].mean()) < 4.0


def test_the_estimate_is_not_biased_by_windows_that_cut_stays_off():
    """Windows shorter than a stay, many of them; P(false alarm) = 2 x 6e-5 at 4 standard errors."""
    window = 40.0
    columns = telegraph(np.random.default_rng(6), TRUTH, window, 6000)
    found = qs.residence(measured(columns, window, (6000,), ("replicate",)))
    for state, rate in TRUTH.items():
        one = found.sel(state=state)
        assert abs(float(one["switching_rate"]) / rate - 1.0) < 4.0 / np.sqrt(float(one["exits"]))
        assert float(one["residence_time"]) == pytest.approx(1.0 / float(one["switching_rate"]), rel=1e-12)
    # The completed stays alone would tell less than half of the time up, and their spread is smaller.
    completed = columns["up_residence_sum"].sum() / columns["up_residence_count"].sum()
    assert completed < 0.5 * float(found["residence_time"].sel(state="up"))
    assert float(found["cv"].sel(state="up")) < 0.8


def test_stays_of_exponential_law_have_a_coefficient_of_variation_of_one_and_regular_ones_none():
    """Its standard error is 1/sqrt(n), and 1 % is for stays cut off; P(false alarm) = 2 x 6e-5."""
    columns = telegraph(np.random.default_rng(7), TRUTH, 20000.0, 40)
    found = qs.residence(measured(columns, 20000.0, (40,), ("replicate",)))
    for state in TRUTH:
        one = found.sel(state=state)
        assert float(one["completed"]) > 5000
        assert abs(float(one["cv"]) - 1.0) < 4.0 / np.sqrt(float(one["completed"])) + 0.01
    regular = {name: np.zeros(1) for name in columns} | {"up_fraction": np.array([0.5])}
    for state in TRUTH:
        regular |= {
            f"{state}_exits": np.array([6.0]),
            f"{state}_residence_count": np.array([5.0]),
            f"{state}_residence_sum": np.array([50.0]),
            f"{state}_residence_squares": np.array([500.0]),
        }
    assert qs.residence(measured(regular, 120.0, (1,), ("replicate",)))["cv"].values.tolist() == [0.0, 0.0]


def test_without_an_exit_there_is_a_bound_and_without_a_visit_nothing():
    columns = {
        "up_fraction": np.array([0.25, 0.0, np.nan]),
        "up_exits": np.array([0.0, 0.0, np.nan]),
        "down_exits": np.array([1.0, 0.0, np.nan]),
    }
    found = qs.residence(measured(columns, 100.0, (3,), ("case",)))
    up, down = found.sel(state="up"), found.sel(state="down")
    assert up["estimate"].values.tolist() == [1, 2, 3]
    assert down["estimate"].values.tolist() == [0, 1, 3]
    # e^(-rate T) = (1 - confidence)/2 after T = 25 ms without an exit.
    assert float(up["rate_high"][0]) == pytest.approx(-np.log(0.025) / 25.0, rel=1e-9)
    assert (float(up["rate_low"][0]), float(up["residence_high"][0])) == (0.0, np.inf)
    assert np.isnan(up["switching_rate"]).all()
    assert np.isnan(up["rate_high"][1:]).all()
    assert (found["left_out"].values.tolist(), found["points"].values.tolist()) == ([0, 0, 1], [1, 1, 0])


def test_an_interval_is_the_one_of_scipy_for_a_count():
    low, high = rate_interval(np.array([0, 7]), np.array([2.0, 3.5]), 0.95)
    assert low.tolist() == [0.0, pytest.approx(stats.gamma.ppf(0.025, 7) / 3.5)]
    assert high.tolist() == [
        pytest.approx(stats.gamma.ppf(0.975, 1) / 2.0),
        pytest.approx(stats.gamma.ppf(0.975, 8) / 3.5),
    ]


STAYS = [
    f"{s}_{o}"
    for s in ("up", "down")
    for o in ("exits", *(f"residence_{k}" for k in ("count", "sum", "squares")))
]
SIGMA = [0.8, 1.1, 1.6]


@pytest.fixture(scope="module")
def flipping(tmp_path_factory):
    """The store of a population that noise flips: three strengths, 64 replicates, a fixed step."""
    scan = qs.Scan(
        axes={"v_ou_sigma": SIGMA},
        fixed={"eta": -4.6, "v_ou_tau": 5.0},
        replicates=64,
        protocol=qs.Protocol(transient=50.0, window=450.0, dt=0.05, tolerance=0.1),
        observables=["up_fraction", "switch_count", *STAYS],
    )
    path = tmp_path_factory.mktemp("flipping") / "flipping.zarr"
    qs.run(scan, path, client="serial")
    return path


def test_exits_and_stays_are_those_of_a_loop_over_the_trajectory(flipping):
    stored = qs.open_scan(flipping).load()
    down, up = 0.16256979681321443, 0.75391972723878985  # rates at the folds of J = 15
    compared = 0
    for replicate in range(2):
        point = stored.sel(v_ou_sigma=1.6, replicate=replicate)
        r = qs.replay(flipping, v_ou_sigma=1.6, replicate=replicate)["r"].values[1000:]
        level, entered = ("up" if r[0] > np.sqrt(down * up) else "down"), None
        exits, stays = {"up": 0, "down": 0}, {"up": [], "down": []}
        for step, rate in enumerate(r[1:], start=1):
            now = "up" if rate >= up else "down" if rate <= down else level
            if now != level:
                exits[level] += 1
                stays[level] += [] if entered is None else [0.05 * (step - entered)]
                entered, level = step, now
        for state in exits:
            expected = [exits[state], len(stays[state]), sum(stays[state]), np.square(stays[state]).sum()]
            found = [float(point[name]) for name in STAYS if name.startswith(f"{state}_")]
            assert found == pytest.approx(expected, rel=1e-6)
            compared += exits[state]
    assert compared > 20


def test_exits_of_the_two_states_alternate_and_add_up_to_the_switches(flipping):
    stored = qs.open_scan(flipping).load()
    assert (stored["up_exits"] + stored["down_exits"] == stored["switch_count"]).all()
    assert (abs(stored["up_exits"] - stored["down_exits"]) <= 1).all()
    assert (stored["down_exits"] - stored["down_residence_count"]).isin([0, 1]).all()


def test_a_longer_window_goes_on_with_the_stays_bit_for_bit(flipping, tmp_path):
    older = store.load(flipping).scan
    longer = older.model_copy(update={"protocol": older.protocol.model_copy(update={"window": 480.0})})
    extended = qs.run(longer, tmp_path / "extended.zarr", extend=flipping, client="serial")
    assert float(extended["up_exits"].sum()) > float(qs.open_scan(flipping)["up_exits"].sum())
    qs.run(longer, tmp_path / "at_once.zarr", client="serial")
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at_once.zarr"))


def test_the_weaker_the_noise_the_longer_the_stays_as_by_arrhenius(flipping):
    """ln T rises with 1/sigma^2; the neighbours are apart by 4 standard errors of ln T, 1/sqrt(exits)."""
    found = qs.residence(flipping)
    assert found.sizes == {"v_ou_sigma": 3, "state": 2}
    log_time, error = np.log(found["residence_time"]), 1.0 / np.sqrt(found["exits"])
    for state in ("down", "up"):
        t, e = log_time.sel(state=state).values, error.sel(state=state).values
        assert np.all(np.diff(t) < -4.0 * np.hypot(e[1:], e[:-1])), (t, e)


# Pulses

PULSED = qs.Protocol(transient=60.0, window=5.0, initial="down")


@pytest.fixture(scope="module")
def pulsed(tmp_path_factory):
    """The response to pulses of any length and height, from the lower equilibrium at eta = -5, J = 15."""
    scan = qs.Scan(
        drive=qs.Pulse(amplitude=3.0, length=10.0),
        axes={"drive_length": np.linspace(0.0, 20.0, 41), "drive_amplitude": np.linspace(0.0, 10.0, 41)},
        protocol=PULSED,
        observables=["r_final"],
    )
    # In chunks of the size that the other tests compile for.
    return qs.run(
        scan, tmp_path_factory.mktemp("pulsed") / "pulsed.zarr", chunk_points=41, client="serial"
    ).load()


def test_random_cells_of_the_map_switch_where_scipy_says(pulsed):
    found = qs.pulse_response(pulsed)
    rng = np.random.default_rng(8)
    low, _, high = rates(-5.0, 15.0)
    switched = []
    for i, j in rng.integers(1, 41, (20, 2)):
        cell = found.isel(drive_length=i, drive_amplitude=j)
        during = end(
            [low, -1.0 / (2 * np.pi * low)],
            float(cell["drive_length"]),
            -5.0 + float(cell["drive_amplitude"]),
            15.0,
        )
        after = end(during, 40.0, -5.0, 15.0)[0]
        assert min(abs(after - low), abs(after - high)) < 1e-3
        switched.append(abs(after - high) < 1e-3)
        assert bool(cell["switched"] == 1) == switched[-1]
        assert int(cell["end_on"]) == (2 if switched[-1] else 0)
    assert 3 < sum(switched) < 17


def test_no_pulse_never_switches_and_longer_is_not_always_more(pulsed):
    found = qs.pulse_response(pulsed)["switched"]
    assert (found.sel(drive_amplitude=0.0) == 0).all()
    assert (found.sel(drive_length=0.0) == 0).all()
    # More switches than one along a row: there is no threshold of the length.
    assert int((found.diff("drive_length") != 0).sum("drive_length").max()) > 5


def test_a_pulse_of_10_ms_switches_from_its_critical_amplitude_on(tmp_path):
    critical = 1.998831482  # found by bisection with DOP853 at 1e-12
    scan = qs.Scan(
        drive=qs.Pulse(amplitude=2.0, length=10.0),
        axes={"drive_amplitude": [critical - 1e-3, critical + 1e-3]},
        protocol=PULSED,
        observables=["r_final"],
    )
    found = qs.pulse_response(qs.run(scan, tmp_path / "critical.zarr", client="serial"))
    assert found["switched"].values.tolist() == [0, 1]


def test_after_a_long_pulse_the_end_follows_from_the_basins(tmp_path):
    """A long pulse leaves the population at the pulse's own equilibrium: a start like any other."""
    amplitudes = np.array([-3.0, 0.5, 1.5, 2.5, 6.0, 12.0, 25.0])
    scan = qs.Scan(
        drive=qs.Pulse(amplitude=2.0, length=60.0),
        axes={"drive_amplitude": amplitudes, "initial": ["down", "up"]},
        protocol=qs.Protocol(transient=120.0, window=20.0),
        observables=["r_final"],
    )
    found = qs.pulse_response(qs.run(scan, tmp_path / "long.zarr", client="serial"))
    assert found["start_on"].sel(initial="down").values.tolist() == [0] * len(amplitudes)
    assert found["start_on"].sel(initial="up").values.tolist() == [2] * len(amplitudes)
    for initial, which in (("down", 0), ("up", -1)):
        r = np.array([rates(-5.0 + amplitude, 15.0)[which] for amplitude in amplitudes])
        starts = {"r_initial": r, "v_initial": -1.0 / (2.0 * np.pi * r)}
        free = qs.Scan(points=starts, protocol=REST, observables=["r_final"])
        expected = qs.run(free, tmp_path / f"{initial}.zarr", client="serial")["settled_on"].values
        assert np.array_equal(found["end_on"].sel(initial=initial), expected)
        assert set(expected.tolist()) == {0, 2}


def test_a_pulse_that_is_not_over_tells_nothing(tmp_path):
    scan = qs.Scan(
        drive=qs.Pulse(amplitude=6.0, length=10.0),
        axes={"drive_length": [10.0, 200.0]},
        protocol=PULSED,
        observables=["r_final"],
    )
    found = qs.pulse_response(qs.run(scan, tmp_path / "unfinished.zarr", client="serial"))
    assert found["switched"].values.tolist()[1] == -1
    assert found["switched"].values.tolist()[0] >= 0


def test_a_part_of_a_map_gives_the_part_of_the_response_and_says_where_it_can_not(pulsed):
    whole = qs.pulse_response(pulsed)
    assert qs.pulse_response(pulsed.isel(drive_length=20)).equals(whole.isel(drive_length=20))
    with pytest.raises(
        qs.ScanError, match="data: found no coordinate drive_length, expected that of the axis"
    ):
        qs.pulse_response(pulsed.isel(drive_length=20, drop=True))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda grid, pulsed: qs.hysteresis(grid), "a scan without a sweep"),
        (lambda grid, pulsed: qs.basins(pulsed), "no dimension of initial states"),
        (lambda grid, pulsed: qs.basins(grid, over=["etaa"]), 'did you mean "eta"?'),
        (lambda grid, pulsed: qs.basins(grid, confidence=2.0), "between 0 and 1"),
        (lambda grid, pulsed: qs.basins(xr.Dataset()), "without a scan"),
        (lambda grid, pulsed: qs.tipping(grid, eta=(-5.0, -4.5)), "the nearest is"),
        (lambda grid, pulsed: qs.tipping(grid), "one, with its values"),
        (lambda grid, pulsed: qs.residence(grid), "add up_fraction, up_exits, down_exits"),
        (lambda grid, pulsed: qs.pulse_response(grid), "one with a pulse"),
    ],
)
def test_a_dataset_that_can_not_answer_is_one_line(grid, pulsed, call, words):
    with pytest.raises(qs.ScanError) as caught:
        call(grid, pulsed)
    assert any(words in line and ": found " in line for line in str(caught.value).splitlines()), caught.value
