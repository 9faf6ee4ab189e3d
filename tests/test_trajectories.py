"""Trajectories: replicates and common noise of simulate, the same paths as in a scan, figures over time."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import MODELS
from qifscan.engine import batch, compiler, points

mpl.use("agg")

NOISY = {"v_ou_sigma": 0.5, "J": 15.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("trajectories") / "scan.zarr"
    scan = qs.Scan(
        axes={"eta": [-6.0, -5.0]},
        fixed=NOISY,
        replicates=3,
        seed=7,
        protocol=qs.Protocol(transient=2.0, window=6.0),
        traces=qs.Traces(points=[{"eta": -5.0, "replicate": i} for i in (0, 2)], every=2),
    )
    qs.run(scan, path, progress=None)
    return path


def test_replicates_have_the_paths_of_those_of_a_scan(store):
    made = qs.simulate(t_end=8.0, eta=[-6.0, -5.0], replicates=3, seed=7, precision="float32", **NOISY)
    assert made["r"].dims == ("eta", "replicate", "time")
    assert made["status"].dims == ("eta", "replicate")
    for eta in (-6.0, -5.0):
        for replicate in range(3):
            again = qs.replay(store, eta=eta, replicate=replicate)
            own = made.sel(eta=eta, replicate=replicate)
            assert np.array_equal(own["r"].values, again["r"].values), (eta, replicate)


def test_the_first_replicate_is_what_there_is_without_others():
    several = qs.simulate(t_end=4.0, eta=-5.0, replicates=2, **NOISY)
    one = qs.simulate(t_end=4.0, eta=-5.0, **NOISY)
    assert np.array_equal(several["r"].sel(replicate=0), one["r"])
    assert not np.array_equal(several["r"].sel(replicate=1), one["r"])
    assert "replicate" not in one.dims


def test_common_noise_is_the_same_at_every_point_and_another_in_every_replicate():
    # Far below threshold the noise adds up: v - v0 is the same at the same eta but for what eta does.
    sigma = {"v_ou_sigma": 1e-4, "J": 0.0}
    eta = xr.DataArray([-5.0, -5.0 + 1e-12], dims="point")
    common = qs.simulate(t_end=4.0, eta=eta, replicates=2, noise="common", **sigma)["v"]
    apart = qs.simulate(t_end=4.0, eta=eta, replicates=2, **sigma)["v"]
    assert np.abs(common[0, 0] - common[1, 0]).max() < 1e-9
    assert np.abs(common[0, 0] - common[0, 1]).max() > 1e-6
    assert np.abs(apart[0, 0] - apart[1, 0]).max() > 1e-6


def test_a_trajectory_and_the_finer_run_that_it_is_compared_with_are_one_program(monkeypatch):
    monkeypatch.setattr(compiler, "_executables", {})
    compared, converged = [], points._converged
    monkeypatch.setattr(
        points, "_converged", lambda *of: compared.append(points._suspects(*of[:3])) or converged(*of)
    )
    qs.simulate(t_end=20.0, eta=2.0, initial={"r": 0.5, "v": 1.0})
    assert len(compared[0][0]) == 1
    assert compiler.compile_count() == 1


def test_a_trajectory_is_flagged_where_it_is_wrong_though_it_ends_right():
    """By a given step that is long beside tau the way to rest is missed, and rest is not. SciPy's DOP853."""
    start, tau = np.linspace(0.1, 2.0, 8), 0.2
    starts = xr.DataArray(start / tau, dims="point")
    found = qs.simulate(
        t_end=2.0, dt=0.01, integrator="heun", tau=tau, eta=-5.0, J=5.0, r_initial=starts, v_initial=-2.0
    )

    def slope(t, y):
        square = y[1] ** 2 - 5.0 + 5.0 * tau * y[0] - (np.pi * tau * y[0]) ** 2
        return [(1.0 / (np.pi * tau) + 2.0 * y[0] * y[1]) / tau, square / tau]

    off = []
    for r, own in zip(starts.values, found["r"].values, strict=True):
        times = np.minimum(found["time"].values, 2.0)
        exact = solve_ivp(slope, (0.0, 2.0), [r, -2.0], "DOP853", t_eval=times, rtol=1e-12, atol=1e-14).y[0]
        off.append(np.abs(own / exact - 1.0))
    wrong = np.max(off, axis=1) > 1e-3
    ends_right = np.array(off)[:, -1] < 1e-5
    assert (wrong & ends_right).any()
    assert (found["status"].values[wrong] & int(qs.Status.under_resolved) > 0).all()


def test_a_trace_of_a_store_is_flagged_where_it_is_wrong_though_its_observables_are_right(tmp_path):
    """What is told of the window is right, the way to it is not, as before."""
    scan = qs.Scan(
        points={"r_initial": [5.0, 10.0], "v_initial": [-2.0, -2.0]},
        fixed={"tau": 0.2, "eta": -5.0, "J": 5.0},
        protocol=qs.Protocol(transient=2.0, window=0.5, dt=0.01, integrator="heun"),
        traces=qs.Traces(points=[{"point": k} for k in range(2)]),
    )
    stored = qs.run(scan, tmp_path / "scan.zarr", client="serial", progress=None)
    flagged = int(qs.Status.under_resolved)
    assert (stored["status"].values & flagged == 0).all()
    assert (stored["trace_status"].values & flagged > 0).all()


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[] if m == "qif_bimodal" else pytest.mark.thorough) for m in MODELS]
)
def test_a_trajectory_alone_has_the_bits_of_one_among_several_blocks(model):
    """Alone it is one block, for the sake of memory, which XLA compiles in another way than several."""
    rows = MODELS[model].variables
    first = {f"{row.name}_initial": 0.1 + 0.01 * k for k, row in enumerate(rows)}
    name = f"{rows[0].name}_initial"
    many = first | {name: xr.DataArray(np.linspace(0.05, 0.4, 300), dims="point")}
    among = qs.simulate(model, t_end=20.0, dt=0.02, **many)
    alone = qs.simulate(model, t_end=20.0, dt=0.02, **first | {name: float(many[name][7])})
    for row in rows:
        assert alone[row.name].values.tobytes() == among[row.name].values[7].tobytes()


def test_a_trajectory_is_not_flagged_for_a_mean_that_nobody_sees(tmp_path):
    """The mean of one step is that of its ends; the flow of the step is right to rounding."""
    points = {"eta": [-5.0, -4.0], "J": [15.0, 10.0], "r_initial": [0.3, 0.5], "v_initial": [-2.5, -2.0]}
    protocol = qs.Protocol(transient=0.0, window=0.05, dt=0.05)
    scan = qs.Scan(points=points, protocol=protocol, precision="float64", observables=["r_mean", "v_std"])
    stored = qs.run(scan, tmp_path / "scan.zarr", client="serial", progress=None)
    made = qs.simulate(t_end=0.05, dt=0.05, **{k: xr.DataArray(x, dims="point") for k, x in points.items()})
    assert (stored["status"].values & int(qs.Status.under_resolved) > 0).all()
    assert (made["status"].values & int(qs.Status.under_resolved) == 0).all()


def test_trajectories_of_many_lengths_are_one_program_and_have_the_states_that_were_asked_for(monkeypatch):
    """Each length was a program of its own, a second of compiling for whoever tries one after another."""
    monkeypatch.setattr(compiler, "_executables", {})
    longest = qs.simulate(t_end=40.0, every=1, eta=2.0, dt=0.05)
    count = compiler.compile_count()
    for t_end, every in ((2.0, 1), (33.0, 3), (40.0, 7)):
        found = qs.simulate(t_end=t_end, every=every, eta=2.0, dt=0.05)
        assert compiler.compile_count() == count
        for name in "rv":
            expected = longest[name].values[: round(t_end / 0.05) + 1 : every]
            assert found[name].values.tobytes() == expected.tobytes()


@pytest.mark.parametrize("blocks", [1, 5, 3000])
def test_a_record_has_room_for_its_rows_and_little_more(blocks):
    """Of 10^5 points with two states each the room of a single block, for each of them, took half a GB."""
    rooms = [batch.room(rows, blocks) for rows in range(2, 100_000)]
    assert all(room >= rows for rows, room in enumerate(rooms, 2))
    assert all(8 * blocks * room <= blocks * (9 * rows + 8) + 8 * 4096 for rows, room in enumerate(rooms, 2))
    assert len(set(rooms)) < 140


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"replicates": 0}, "replicates: found 0"),
        ({"replicates": 1.5}, "replicates: found 1.5, expected an integer"),
        ({"noise": "shared"}, "noise"),
        (
            {"replicates": 2, "eta": xr.DataArray([-5.0, -4.0], dims="replicate")},
            "a parameter has a dimension replicate",
        ),
    ],
)
def test_a_wrong_request_gets_one_line(options, words):
    with pytest.raises(qs.ScanError, match=words) as caught:
        qs.simulate(t_end=1.0, **options)
    assert len(str(caught.value).splitlines()) == 1


def labels(axes):
    return [line.get_label() for line in axes.lines]


def test_all_variables_are_drawn_over_time():
    figure = qs.show(qs.simulate("qif_adaptation_alpha", t_end=2.0))
    assert [axes.get_ylabel() for axes in figure.axes] == ["r (1/ms)", "v", "a", "b"]
    assert figure.axes[-1].get_xlabel() == "time (ms)"


def test_every_replicate_is_a_line(store):
    made = qs.simulate(t_end=2.0, eta=-5.0, replicates=3, **NOISY)
    figure = made.qs.show()
    assert labels(figure.axes[0]) == ["replicate = 0", "replicate = 1", "replicate = 2"]
    assert figure.axes[1].lines[2].get_ydata() == pytest.approx(made["v"].values[2])


def test_traces_are_drawn_with_the_labels_of_their_points(store):
    dataset = qs.open_scan(store)
    figure = qs.show(dataset, ["r_trace", "v_trace"])
    assert labels(figure.axes[0]) == [r"$\eta$ = -5, replicate = 0", r"$\eta$ = -5, replicate = 2"]
    assert figure.axes[0].lines[1].get_ydata() == pytest.approx(dataset["r_trace"].values[1])
    one = qs.show(dataset.isel(trace=1), ["r_trace"])
    assert one.axes[0].lines[0].get_ydata() == pytest.approx(dataset["r_trace"].values[1])
    assert r"$\eta$ = -5" in qs.show(dataset.isel(trace=[1]), ["r_trace"]).get_suptitle()


def test_a_replay_is_drawn(store):
    again = qs.open_scan(store).qs.replay(eta=-5.0, replicate=2)
    assert again.qs.show().axes[0].lines[0].get_ydata() == pytest.approx(again["r"].values)
