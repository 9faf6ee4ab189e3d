"""The results' functions on datasets as people have them: selected, masked, averaged, renamed."""

import numpy as np
import pytest
import xarray as xr

import qifscan as qs

SHORT = {"transient": 1.0, "window": 4.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    scans = {
        "sweep": qs.Scan(
            axes={"eta": np.linspace(-7.0, -3.0, 5), "J": [10.0, 15.0]},
            protocol=qs.Protocol(**SHORT, sweep="eta"),
        ),
        "noisy": qs.Scan(
            axes={"eta": [-6.0, -5.0, -4.0]},
            fixed={"v_ou_sigma": 1.5},
            replicates=3,
            protocol=qs.Protocol(**SHORT, initial="down"),
            observables=["up_fraction", "up_exits", "down_exits"],
        ),
        "starts": qs.Scan(
            axes={"eta": [-5.0, -4.0], "r_initial": [0.1, 1.0, 2.0], "v_initial": [-2.0, 0.0]},
            protocol=qs.Protocol(transient=20.0, window=5.0),
        ),
        "pulse": qs.Scan(
            axes={"eta": [-6.0, -5.0, -4.0]},
            drive=qs.Pulse(amplitude=3.0, start=1.0, length=2.0),
            protocol=qs.Protocol(transient=0.0, window=30.0, initial="down"),
        ),
    }
    return {
        name: qs.run(scan, folder / f"{name}.zarr", client="serial").load() for name, scan in scans.items()
    }


OF = {
    "sweep": qs.hysteresis,
    "noisy": qs.residence,
    "starts": qs.basins,
    "pulse": qs.pulse_response,
}

SAME = {
    "float": lambda ds: ds.astype(float),
    "where everything is kept": lambda ds: ds.where(ds["eta"] < 0.0),
    "fillna": lambda ds: ds.fillna(0.0),
    "transposed": lambda ds: ds.transpose(*reversed(list(ds.dims))),
    "sorted the other way": lambda ds: ds.sortby("eta", ascending=False),
}


@pytest.mark.parametrize("name", OF)
@pytest.mark.parametrize("step", SAME)
def test_what_changes_no_point_changes_no_result(made, name, step):
    expected = OF[name](made[name])
    found = OF[name](SAME[step](made[name])).reindex_like(expected).transpose(*expected.dims)
    # A sum in another order has other last digits.
    xr.testing.assert_allclose(found, expected.transpose(*found.dims), rtol=1e-12)


def test_points_that_are_masked_are_not_run(made):
    masked = made["starts"].where(made["starts"]["r_initial"] < 1.5)
    found = qs.basins(masked)
    assert found["starts"].values.tolist() == [4, 4]
    assert found["not_run"].values.tolist() == [2, 2]
    chosen = made["starts"].sel(r_initial=[0.1, 1.0])
    xr.testing.assert_allclose(found["fraction"], qs.basins(chosen)["fraction"])


REFUSED = {
    "a mean over eta": (lambda ds: ds.mean("eta"), "a mean over eta"),
    "means of neighbours": (lambda ds: ds.isel(eta=slice(2)).coarsen(eta=2).mean(), "values of eta that"),
    "interpolated": (lambda ds: ds.interp(eta=[-4.5]), "values of eta that were not run"),
    "without its status": (lambda ds: ds.drop_vars("status"), "no status"),
    "one variable": (lambda ds: ds[[next(iter(ds.data_vars))]], "no status"),
    "an array": (lambda ds: ds["status"], "a DataArray without a scan"),
    "a tree": (xr.DataTree, "a DataTree without a scan"),
    "an array of NumPy": (lambda ds: np.ones(3), "data: found [1.0, 1.0, 1.0], expected a dataset"),
}


@pytest.mark.parametrize("name", OF)
@pytest.mark.parametrize("step", REFUSED)
def test_what_has_no_points_of_the_scan_is_refused_in_one_line(made, name, step):
    given, words = REFUSED[step]
    with pytest.raises(qs.ScanError) as caught:
        OF[name](given(made[name]))
    (line,) = str(caught.value).splitlines()
    assert words in line
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("noisy", lambda ds: ds.mean("replicate"), "a mean over replicate"),
        ("noisy", lambda ds: ds.median("replicate"), "a mean over replicate"),
        ("sweep", lambda ds: ds.mean("J"), "a mean over J"),
        ("sweep", lambda ds: ds.sel(direction="up"), "direction with up and down"),
        ("sweep", lambda ds: ds.rename(eta="x"), "direction with up and down"),
        ("sweep", lambda ds: ds.isel(eta=slice(0)), "no values of eta"),
        ("pulse", lambda ds: ds.rename(eta="x"), "no coordinate eta"),
        ("starts", lambda ds: ds.isel(r_initial=0, v_initial=0), "no dimension of initial states"),
    ],
)
def test_what_a_result_can_not_be_made_of_is_said(made, name, step, words):
    with pytest.raises(qs.ScanError) as caught:
        OF[name](step(made[name]))
    (line,) = str(caught.value).splitlines()
    assert words in line


def test_an_observable_of_another_name_is_named(made):
    renamed = made["sweep"][["r_mean", "status"]].rename(r_mean="rate")
    with pytest.raises(qs.ScanError, match='found "r_mean", expected one of rate, status'):
        qs.hysteresis(renamed)
    assert qs.hysteresis(renamed, "rate").equals(qs.hysteresis(made["sweep"], "r_mean"))


ARGUMENTS = {
    "apart": (lambda d: qs.hysteresis(d["sweep"], apart="much"), "apart: found"),
    "confidence of basins": (lambda d: qs.basins(d["starts"], confidence="high"), "confidence: found"),
    "confidence of residence": (lambda d: qs.residence(d["noisy"], confidence=[0.9]), "confidence: found"),
    "over of basins": (lambda d: qs.basins(d["starts"], 3), "over: found 3"),
    "over of residence": (lambda d: qs.residence(d["noisy"], over=3), "over: found 3"),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_an_argument_of_another_kind_is_one_line(made, case):
    attempt, words = ARGUMENTS[case]
    with pytest.raises(qs.ScanError) as caught:
        attempt(made)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(words)


def test_trajectories_carry_what_is_fixed_and_stay_right_when_put_together(made, tmp_path):
    one, other = (qs.simulate(t_end=0.5, eta=[-5.0, -4.0], delta=delta) for delta in (1.0, 3.0))
    both = xr.concat([one, other], "delta")
    assert both["delta"].values.tolist() == [1.0, 3.0]
    assert (float(one["J"]), float(one["v_ou_sigma"]), one["J"].attrs["units"]) == (15.0, 0.0, "1")
    assert both.sel(delta=3.0)["r"].equals(other["r"])
    alone = qs.simulate(t_end=0.5, drive=qs.Sine(amplitude=2.0, period=30.0))
    assert (float(alone["eta"]), float(alone["drive_period"])) == (-5.0, 30.0)
    for delta in (1.0, 2.0):
        scan = qs.Scan(axes={"eta": [-5.0]}, fixed={"delta": delta}, protocol=qs.Protocol(window=0.5))
        qs.run(scan, tmp_path / f"{delta}.zarr", client="serial")
    again = [qs.replay(tmp_path / f"{delta}.zarr", eta=-5.0) for delta in (1.0, 2.0)]
    assert xr.concat(again, "delta")["delta"].values.tolist() == [1.0, 2.0]
    assert {"eta", "J", "tau", "v_ou_sigma"} <= set(again[0].coords)
