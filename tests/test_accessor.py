"""The accessor `ds.qs`: there however the packages were imported; what it gives, what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import qifscan as qs


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small scan with a pulse."""
    path = tmp_path_factory.mktemp("accessor") / "scan.zarr"
    scan = qs.Scan(
        axes={"eta": [-6.0, -5.0, -4.0], "J": [10.0, 15.0], "initial": ["down", "up"]},
        protocol=qs.Protocol(transient=5.0, window=5.0),
        drive=qs.Pulse(amplitude=3.0, start=1.0, length=2.0),
    )
    qs.run(scan, path, progress=None)
    return path


@pytest.mark.parametrize(
    "code",
    [
        "import qifscan, xarray",
        "import xarray, qifscan",
        pytest.param("import qifscan; import xarray.core.dataset, xarray", marks=pytest.mark.thorough),
        pytest.param("import qifscan; qifscan.equilibria(); import xarray", marks=pytest.mark.thorough),
        "import qifscan, importlib, xarray; importlib.reload(xarray)",
    ],
)
def test_it_is_there_in_whichever_order_the_packages_are_imported(code):
    check = (
        f"import sys; {code}; print(xarray.Dataset().qs, xarray.DataTree().qs, 'matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", check], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("<qifscan accessor of a Dataset: ")
    assert run.stdout.endswith("False\n")


def test_importing_the_package_leaves_xarray_alone():
    check = "import sys, qifscan; print('xarray' in sys.modules, len(sys.meta_path)); import xarray"
    run = subprocess.run(
        [sys.executable, "-c", f"{check}; print(len(sys.meta_path))"],
        capture_output=True,
        text=True,
        check=True,
    )
    told, before, after = run.stdout.split()
    assert told == "False"
    assert int(after) == int(before) - 1


@pytest.mark.parametrize("whole", [True, False])
def test_a_point_is_replayed_from_any_part_of_the_dataset(store, whole):
    dataset = qs.open_scan(store)
    again = (
        dataset.qs.replay(eta=-5.0, J=15.0, initial="up")
        if whole
        else dataset.sel(initial="up")[["r_mean"]].isel(eta=1).qs.replay(J=14.0, method="nearest")
    )
    assert again.attrs["checked"] == "equal bit for bit"
    assert (float(again["eta"]), float(again["J"])) == (-5.0, 15.0)


def test_a_store_that_is_not_finished_is_known_too(store, tmp_path):
    scan = qs.Scan.from_store(store)

    def stop(state):
        if state.chunks:
            raise KeyboardInterrupt

    with pytest.raises(qs.RunInterrupted):
        qs.run(scan, tmp_path / "part.zarr", chunk_points=2, client="serial", progress=stop)
    dataset = qs.open_scan(tmp_path / "part.zarr")
    assert int((dataset["status"] == 0).sum())
    found = {dataset.sel(eta=eta).qs.replay(J=10.0, initial="up").attrs["checked"] for eta in (-6.0, -4.0)}
    assert found <= {"equal bit for bit", "not run yet"}


def test_the_nearest_value_is_that_of_xarray_but_not_beyond_the_ends(store):
    dataset = qs.open_scan(store)
    asked = {"eta": -4.6, "J": 11.0}
    xr.testing.assert_identical(
        dataset.qs.select(**asked, method="nearest"), dataset.sel(asked, method="nearest")
    )
    assert dataset.qs.select(eta=-5.0 * (1 + 1e-15), initial="up").sizes["J"] == 2
    with pytest.raises(qs.ScanError, match=r"eta: found -3.9, expected a number from -6.0 to -4.0"):
        dataset.qs.select(eta=-3.9, method="nearest")
    with pytest.raises(qs.ScanError, match=r"the nearest is -5.0"):
        dataset.qs.select(eta=-5.1)
    with pytest.raises(qs.ScanError, match='method: found "pad", expected None or "nearest"'):
        dataset.qs.select(eta=-5.1, method="pad")
    assert qs.Scan.from_store(store).select(eta=-5.4, J=15.0, initial="up", method="nearest") == [(1, 1, 1)]
    with pytest.raises(qs.ScanError, match="expected a number from"):
        qs.replay(store, eta=-7.0, J=15.0, initial="up", method="nearest")


def test_what_one_simulates_has_the_values_of_the_dataset(store):
    dataset = qs.open_scan(store)
    made = dataset.sel(J=15.0).qs.simulate(t_end=4.0, eta=[-5.0, -4.0], initial="up")
    drive = qs.Pulse(amplitude=3.0, start=1.0, length=2.0)
    own = qs.simulate(t_end=4.0, eta=[-5.0, -4.0], J=15.0, initial="up", drive=drive)
    assert np.array_equal(made["r"], own["r"])
    with pytest.raises(qs.ScanError, match="J: found 2 values in the dataset, expected one value; give it"):
        dataset.qs.simulate(t_end=4.0, eta=-5.0)


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """A scan over the amplitude of a constant drive, and the initial rate."""
    scan = qs.Scan(
        axes={"drive_amplitude": [0.0, 0.5], "r_initial": [0.1, 1.0]},
        fixed={"eta": -5.5, "J": 15.0, "v_initial": 0.0},
        drive=qs.Constant(amplitude=0.0),
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    return qs.run(scan, tmp_path_factory.mktemp("driven") / "scan.zarr", progress=None)


@pytest.mark.thorough
def test_what_one_simulates_has_the_drive_and_the_start_of_the_point(driven):
    made = driven.sel(drive_amplitude=0.5, r_initial=1.0).qs.simulate(t_end=2.0)
    begin = {"r": 1.0, "v": 0.0}
    own = qs.simulate(t_end=2.0, eta=-5.5, J=15.0, drive=qs.Constant(amplitude=0.5), initial=begin)
    assert np.array_equal(made["r"], own["r"])
    again = driven.sel(drive_amplitude=0.5).qs.simulate(t_end=2.0, r_initial=1.0)
    assert np.array_equal(again["r"], own["r"])
    named = driven.sel(drive_amplitude=0.5).qs.simulate(t_end=2.0, initial="up")
    assert not np.array_equal(named["r"], own["r"])
    with pytest.raises(qs.ScanError, match="drive_amplitude: found 2 values"):
        driven.sel(r_initial=1.0).qs.simulate(t_end=2.0)


def test_a_constant_drive_moves_the_equilibria_of_a_point(driven):
    moved = driven.sel(drive_amplitude=0.5).qs.linear_response(0.1)
    assert np.allclose(
        moved["r_gain"], qs.linear_response("qif", 0.1, eta=-5.0, J=15.0)["r_gain"], equal_nan=True
    )
    given = driven.qs.linear_response(0.1, drive_amplitude=0.5)
    assert np.array_equal(given["r_gain"], moved["r_gain"], equal_nan=True)
    figure = driven.sel(drive_amplitude=0.5).qs.phase_plane()
    drawn = [x.get_xdata()[0] for x in figure.axes[0].lines if x.get_marker() == "o"]
    assert drawn == pytest.approx(qs.equilibria(eta=-5.0, J=15.0)["r"].values)
    with pytest.raises(qs.ScanError, match="drive_amplitude: found 2 values"):
        driven.qs.phase_plane()


def test_a_plane_says_which_drive_it_leaves_out(store):
    figure = qs.open_scan(store).qs.phase_plane(eta=-5.0, J=15.0)
    assert figure.get_suptitle().endswith("without the pulse of the scan")


def test_its_theory_is_that_of_the_store(store):
    dataset = qs.open_scan(store)
    xr.testing.assert_identical(dataset.qs.theory(), qs.open_theory(store))


def test_codes_are_decoded():
    codes = xr.DataArray([0, 1, 17, 5], dims="x", attrs={"flag_masks": [1, 4, 16], "flag_meanings": "a b c"})
    values = xr.DataArray([-1.0, 1.0, np.nan, 7.0], dims="x")
    values.attrs = {"flag_values": [-1, 1], "flag_meanings": "none fold", "long_name": "type"}
    found = xr.Dataset({"status": codes, "type": values, "r": ("x", np.arange(4.0))}).qs.decoded()
    assert found["status"].values.tolist() == ["not_run", "a", "a, c", "a, b"]
    assert found["type"].values.tolist() == ["none", "fold", "", "7"]
    assert found["type"].attrs == {"long_name": "type"}
    assert found["r"].values.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_codes_of_results_are_decoded(store):
    dataset = qs.open_scan(store).load()
    assert set(np.unique(dataset.qs.decoded()["status"])) <= {"computed", "computed, not_settled"}
    points = qs.special_points(J=15.0)
    assert points.qs.decoded()["type"].values.tolist() == ["LP", "LP"]
    assert set(qs.equilibria(eta=-5.0, J=15.0).qs.decoded()["kind"].values) == {"focus", "node", "saddle"}
    assert (dataset.qs.decoded() == dataset.qs.decoded()).all()


OTHERS = {
    "nothing": xr.Dataset(),
    "other": xr.Dataset({"a": ("x", [1.0, 2.0])}, coords={"time": ("x", [1.0, 2.0])}),
    "tree": xr.DataTree(xr.Dataset({"a": 1.0})),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize(
    "method",
    ["show", "replay", "theory", "explore", "decoded", "simulate"],
)
def test_a_dataset_that_is_not_ours_gets_one_line(kind, method):
    options = {"simulate": {"t_end": 1.0}}.get(method, {})
    with pytest.raises(qs.ScanError) as caught:
        getattr(OTHERS[kind].qs, method)(**options)
    assert len(str(caught.value).splitlines()) == 1
    assert "expected" in str(caught.value)


def test_the_explorer_gets_the_store(store, monkeypatch):
    asked = []
    monkeypatch.setattr(qs, "explore", lambda path, **options: asked.append((path, options)))
    qs.open_scan(store).sel(J=10.0).qs.explore(port=0)
    assert asked == [(str(store), {"port": 0})]


def test_an_array_is_shown_and_selected_from(store):
    array = qs.open_scan(store)["r_mean"]
    assert array.sel(initial="up").qs.show().axes[0].collections
    xr.testing.assert_identical(array.qs.select(eta=-5.2, method="nearest"), array.sel(eta=-5.0))
    with pytest.raises(
        qs.ScanError, match=r"qs.replay: found a DataArray, expected the dataset that it is of"
    ):
        array.qs.replay(eta=-5.0, J=15.0, initial="up")


def test_a_store_that_has_gone_gets_one_line(store, tmp_path):
    dataset = qs.open_scan(store)
    dataset.encoding["source"] = str(tmp_path / "gone.zarr")
    with pytest.raises(qs.ScanError, match=r"no store at .*gone.zarr any more"):
        dataset.qs.replay(eta=-5.0, J=15.0, initial="up")


def test_what_is_selected_of_slices_has_their_points_alone():
    """As if asked for there alone; the first slice has no Hopf point in the range."""
    adapting = {"delta": 2.0, "J": 21.2132, "within": (-1.0, 1.0), "points": 3}
    several = qs.cycle_branches("qif_adaptation_alpha", **adapting, alpha=[0.85, 1.0, 1.1])
    for alpha in (0.85, 1.1):
        alone = qs.cycle_branches("qif_adaptation_alpha", **adapting, alpha=alpha)
        xr.testing.assert_allclose(several.qs.select(alpha=alpha), alone, rtol=1e-9, atol=1e-9)
    assert (several.qs.select(branches=1)["branch"] == 0).all()
    special = qs.special_points("qif", J=[10.0, 15.0, 20.0])
    xr.testing.assert_allclose(special.qs.select(J=20.0), qs.special_points("qif", J=20.0))


def test_what_is_selected_of_curves_has_the_points_of_the_piece_alone():
    both = qs.curve("qif_gap", "LP", through="g", points=10)
    assert both.sizes["pieces"] == 2
    for number in range(2):
        one = both.qs.select(pieces=number)
        assert (one["piece"] == 0).all()
        assert one.sizes["point"] == one["row_size"] == both["row_size"][number]
        assert one["g"].equals(both["g"][both["piece"].values == number])
        assert one.qs.show().axes[0].lines
    point = both.qs.select(pieces=1, point=both.sizes["point"] - 1)
    assert point["g"].dims == ()
    assert point["g"] == both["g"][-1]
