"""What the explorer answers is what the public functions give; wrong requests are one clear line."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.dynamics.drive import DRIVES
from qifscan.errors import ScanError, StoreError
from qifscan.explorer import routes
from qifscan.explorer.answers import ANSWERS, answer, warm
from qifscan.explorer.place import TIMES, Place
from qifscan.explorer.planes import MapPlane
from qifscan.explorer.points import input_of
from qifscan.explorer.source import Source, open_source
from qifscan.explorer.wire import packed, unpacked
from qifscan.theory import codes

SCAN = qs.Scan(
    title="for the explorer",
    axes={"eta": np.linspace(-8, -2, 13), "J": np.linspace(10, 20, 11), "initial": ["down", "up"]},
    protocol=qs.Protocol(transient=10.0, window=20.0),
    observables=["r_mean", "r_min", "r_max", "v_mean"],
)
NOISY = qs.Scan(
    axes={
        "eta": np.linspace(-6, -3, 4),
        "v_ou_sigma": [0.5, 1.0],
        "tau": [1.0, 2.0],
        "delta": np.geomspace(0.5, 2, 5),
    },
    fixed={"J": 15.0, "v_ou_mean": 0.3},
    protocol=qs.Protocol(transient=5.0, window=15.0),
    replicates=3,
    observables=["r_mean"],
)
INDEX = {"eta": 6, "J": 5, "initial": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def store(folder):
    qs.run(SCAN, folder / "scan.zarr", progress=None)
    return folder / "scan.zarr"


@pytest.fixture(scope="module")
def noisy(folder):
    qs.run(NOISY, folder / "noisy.zarr", progress=None)
    return folder / "noisy.zarr"


@pytest.fixture(scope="module")
def source(store):
    return open_source(store)


@pytest.fixture(scope="module")
def noisy_source(noisy):
    return open_source(noisy)


def ask(source, name, **asked):
    return unpacked(packed(answer(source, name, asked)))


# The numbers


@pytest.mark.parametrize(("x", "y"), [("eta", "J"), ("J", "eta")])
@pytest.mark.parametrize("start", [0, 1])
def test_a_map_is_the_dataset(source, store, x, y, start):
    asked = {"variable": "r_mean", "x": x, "y": y, "index": {"initial": start}}
    found = ask(source, "tile", **asked)
    stored = qs.open_scan(store).isel(initial=start).transpose(y, x)
    assert found["values"].tobytes() == stored["r_mean"].values.astype("f4").tobytes()
    assert found["flags"].tobytes() == stored["status"].values.tobytes()
    told = ask(source, "plane", **asked)
    assert told["shape"] == list(stored["r_mean"].shape)
    assert told["low"] == pytest.approx(float(stored["r_mean"].min()), rel=1e-6)
    assert told["high"] == pytest.approx(float(stored["r_mean"].max()), rel=1e-6)


def test_a_mean_over_replicates_has_the_flags_of_all(noisy_source, noisy):
    found = ask(noisy_source, "tile", variable="r_mean", x="eta", y="delta", index={"tau": 1}, mean=True)
    stored = qs.open_scan(noisy).isel(tau=1, v_ou_sigma=0).transpose("replicate", "delta", "eta")
    assert found["values"] == pytest.approx(stored["r_mean"].mean("replicate").values, rel=1e-6)
    assert (found["flags"] == np.bitwise_or.reduce(stored["status"].values, axis=0)).all()


EXACT = {
    "exact:count": lambda e: e["count"],
    "exact:stable": lambda e: e["stable"].sum("equilibrium"),
    "exact:lowest": lambda e: e["r"].where(e["stable"]).min("equilibrium"),
    "exact:highest": lambda e: e["r"].where(e["stable"]).max("equilibrium"),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_map_is_what_equilibria_gives(source, name):
    found = ask(source, "tile", variable=name, x="eta", y="J", changed={"delta": 0.8})
    exact = qs.equilibria(eta=SCAN.axes["eta"].labels, J=SCAN.axes["J"].labels, delta=0.8)
    assert found["values"] == pytest.approx(EXACT[name](exact).transpose("J", "eta").values, rel=1e-6)


def test_ringing_and_leading_are_of_the_highest_stable_equilibrium(source):
    exact = qs.equilibria(eta=-5.0, J=15.0)
    top = exact.isel(equilibrium=int(np.nanargmax(exact["r"].where(exact["stable"]).values)))
    asked = {"x": "eta", "y": "J"}
    ringing = ask(source, "tile", variable="exact:ringing", **asked)["values"][5, 6]
    leading = ask(source, "tile", variable="exact:leading", **asked)["values"][5, 6]
    assert ringing == pytest.approx(float(np.abs(top["eigenvalue_imag"]).max()) / (2 * np.pi), rel=1e-6)
    assert leading == pytest.approx(float(top["eigenvalue_real"].max()), rel=1e-6)


def test_a_mean_input_moves_the_exact_map(noisy_source):
    found = ask(noisy_source, "tile", variable="exact:highest", x="eta", y="delta")["values"]
    exact = qs.equilibria(
        eta=NOISY.axes["eta"].labels + 0.3, delta=NOISY.axes["delta"].labels, J=15.0, tau=1.0
    )
    highest = exact["r"].where(exact["stable"]).max("equilibrium").transpose("delta", "eta")
    assert found == pytest.approx(highest.values, rel=1e-6)


def test_a_point_has_its_equilibria_and_what_was_stored(source, store):
    found = ask(source, "point", index=INDEX)
    exact = qs.equilibria(eta=-5.0, J=15.0)
    assert [row["state"][0] for row in found["equilibria"]] == pytest.approx(exact["r"].values)
    assert [row["kind"] for row in found["equilibria"]] == ["node", "saddle", "focus"]
    assert [row["stable"] for row in found["equilibria"]] == [True, False, True]
    stored = qs.open_scan(store).isel(INDEX)
    assert found["stored"]["r_mean"] == pytest.approx(float(stored["r_mean"]))
    assert found["labels"] == {"eta": -5.0, "J": 15.0, "initial": "up"}


def test_a_trajectory_is_that_of_simulate(source):
    found = ask(source, "trajectory", index=INDEX, t_end=50.0, start=[0.2, 0.4])
    own = qs.simulate(eta=-5.0, J=15.0, t_end=50.0, r_initial=0.2, v_initial=0.4)
    assert found["state"][0].tobytes() == own["r"].values.astype("f4").tobytes()
    assert found["state"][1].tobytes() == own["v"].values.astype("f4").tobytes()
    assert found["time"].tobytes() == own["time"].values.astype("f4").tobytes()


def test_a_trajectory_with_a_pulse_is_that_of_simulate(source):
    pulse = {"kind": "pulse", "amplitude": 4.0, "start": 10.0, "length": 5.0}
    found = ask(source, "trajectory", index=INDEX, t_end=50.0, start="down", drive=pulse)
    drive = qs.Pulse(amplitude=4.0, start=10.0, length=5.0)
    own = qs.simulate(eta=-5.0, J=15.0, t_end=50.0, initial="down", drive=drive)
    assert found["state"][0].tobytes() == own["r"].values.astype("f4").tobytes()
    on = (found["time"] >= 10.0) & (found["time"] < 15.0)
    assert (found["input"] == np.where(on, 4.0, 0.0)).all()


SHAPES = {
    "sine": ({"amplitude": 2.0, "period": 8.0, "phase": 0.5}, lambda t: 2 * np.sin(2 * np.pi * t / 8 + 0.5)),
    "ramp": ({"amplitude": 2.0, "start": 5.0, "length": 10.0}, lambda t: 2 * np.clip((t - 5) / 10, 0, 1)),
    "constant": ({"amplitude": 2.0}, lambda t: 2 + 0 * t),
    "sampled": (
        {"values": [0.0, 1.0, -1.0], "interval": 5.0, "amplitude": 3.0, "start": 2.0},
        lambda t: 3 * np.interp((t - 2) / 5, [0, 1, 2], [0, 1, -1]),
    ),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_the_input_that_is_drawn_is_that_of_the_run(kind):
    numbers, shape = SHAPES[kind]
    times = np.arange(0.0, 20.0, 0.05)
    assert input_of(DRIVES[kind](**numbers), {}, times) == pytest.approx(shape(times), abs=1e-5)


def test_noise_of_a_trajectory_is_that_of_simulate(noisy_source):
    index = {"eta": 2, "v_ou_sigma": 1, "tau": 0, "delta": 2}
    found = ask(noisy_source, "trajectory", index=index, t_end=20.0, noise=True, seed=5)
    own = qs.simulate(
        eta=NOISY.axes["eta"].labels[2], J=15.0, delta=float(NOISY.axes["delta"].labels[2]), v_ou_sigma=1.0,
        v_ou_mean=0.3, t_end=20.0, seed=5,
    )  # fmt: skip
    assert found["state"][0].tobytes() == own["r"].values.astype("f4").tobytes()
    still = ask(noisy_source, "trajectory", index=index, t_end=20.0)
    assert np.ptp(still["state"][0]) < 1e-5, "at rest, with the mean of the noise, and without its changes"


def test_a_replay_is_bit_for_bit_the_scan_s(source, noisy_source):
    assert ask(source, "replay", index=INDEX)["checked"] == "equal bit for bit"
    found = ask(
        noisy_source, "replay", index={"eta": 1, "v_ou_sigma": 1, "tau": 1, "delta": 3, "replicate": 2}
    )
    assert found["checked"] == "equal bit for bit"


def test_equilibria_lie_where_both_nullclines_cross(source):
    check_crossings(ask(source, "phase", index=INDEX), 3)


def check_crossings(found, count):
    assert len(found["equilibria"]) == count
    for row in found["equilibria"]:
        for line in (found["nullcline_x"], found["nullcline_y"]):
            sizes = np.ptp(np.array(found["window"]), axis=1)
            away = np.hypot(*((line.T - row["state"][:2]) / sizes).T)
            assert np.nanmin(away) < 0.01


def test_with_adaptation_every_equilibrium_lies_where_both_nullclines_cross(folder):
    """The slow variable is as at rest at each rate, and the plane says so; so is that of `qs.phase_plane`."""
    scan = qs.Scan(
        model="qif_adaptation_exponential",
        axes={"eta": [-5.0, -4.5]},
        fixed={"J": 15.0, "alpha": 0.01, "tau_a": 20.0},
        protocol=qs.Protocol(transient=1.0, window=1.0),
    )
    (folder / "adapting.toml").write_text(scan.to_toml())
    found = ask(open_source(folder / "adapting.toml"), "phase", index={"eta": 0})
    check_crossings(found, 3)
    assert found["note"] == "a as at rest at each r"
    assert not found.get("manifold", np.zeros(0)).size


def test_nullclines_are_the_closed_form(source):
    found = ask(source, "phase", index=INDEX)
    r, v = found["nullcline_x"].astype(float)
    assert np.nanmax(np.abs(v + 1.0 / (2 * np.pi * r))[r > 0.1]) < 0.02
    r, v = found["nullcline_y"].astype(float)
    assert np.nanmax(np.abs(v**2 - 5.0 + 15.0 * r - (np.pi * r) ** 2)) < 0.02


def test_the_border_of_the_basins_parts_them(source):
    found = ask(source, "phase", index=INDEX)
    line = found["manifold"].T
    line = line[np.isfinite(line).all(axis=1)]
    low, high = np.array(found["window"]).T
    inside = line[((line > low) & (line < high)).all(axis=1) & (line[:, 0] > 0.05)]
    inside = inside[np.hypot(*((inside - found["equilibria"][1]["state"]) / (high - low)).T) > 0.05][::7]
    ends = []
    for sign in (1.0, -1.0):
        beside = inside + sign * 0.02 * (high - low)
        own = [
            qs.simulate(eta=-5.0, J=15.0, t_end=50.0, r_initial=max(r, 1e-3), v_initial=v)
            for r, v in beside[:4]
        ]
        ends.append([float(run["r"][-1]) > 0.5 for run in own])
    assert (np.array(ends[0]) != np.array(ends[1])).mean() > 0.7


def test_the_diagram_is_branch_with_its_special_points(source):
    found = ask(source, "diagram", index=INDEX, along="eta")
    assert found["method"] == "branch"
    folds = sorted(row["at"]["eta"] for row in found["special"] if row["type"] == "LP")
    assert folds == pytest.approx(sorted(qs.folds(J=15.0)["eta"].values))
    # At a fold itself rounding decides whether there are one or three.
    ordinary = found["marginal"] == 0
    exact = qs.equilibria(eta=found["across"][ordinary], J=15.0)["r"].values
    assert np.nanmin(np.abs(exact - found["states"][0][ordinary, None]), axis=1).max() < 1e-9


def test_simulated_values_of_a_slice_are_the_dataset(source, store):
    found = ask(source, "diagram", index=INDEX, along="eta", variable="r_mean")
    stored = qs.open_scan(store).isel(J=5).transpose("initial", "eta")
    assert found["series"] == ["down", "up"]
    for name in ("mean", "min", "max"):
        assert found[f"simulated_{name}"].tobytes() == stored[f"r_{name}"].values.tobytes()
    assert found["labels"].tolist() == stored["eta"].values.tolist()


def test_a_diagram_with_mean_input_is_moved_by_it(noisy_source):
    found = ask(noisy_source, "diagram", along="eta", index={"delta": 2}, range=[-8.0, 0.0])
    delta = float(NOISY.axes["delta"].labels[2])
    folds = sorted(row["at"]["eta"] for row in found["special"] if row["type"] == "LP")
    assert folds == pytest.approx(sorted(qs.folds(J=15.0, delta=delta)["eta"].values - 0.3))


def test_along_what_is_no_parameter_equilibria_stay(noisy_source):
    found = ask(noisy_source, "diagram", along="v_ou_sigma", index={"eta": 2, "delta": 2})
    assert found["method"] == "points"
    assert len(set(np.round(found["states"][0], 12))) * 2 == len(found["states"][0])


def test_along_a_fixed_parameter_there_is_a_diagram(source):
    found = ask(source, "diagram", along="delta", index=INDEX, range=[0.2, 3.0])
    ordinary = found["marginal"] == 0
    exact = qs.equilibria(eta=-5.0, J=15.0, delta=found["across"][ordinary])["r"].values
    assert np.nanmin(np.abs(exact - found["states"][0][ordinary, None]), axis=1).max() < 1e-9


def test_curves_over_the_map_are_curve(source):
    found = ask(source, "curves", x="eta", y="J", kind="LP")
    own = qs.curve(kind="LP", through="J", within=(10.0, 20.0))
    assert found["across"].tobytes() == own["eta"].values.tobytes()
    assert found["up"].tobytes() == own["J"].values.tobytes()
    turned = ask(source, "curves", x="J", y="eta", kind="LP")
    assert turned["up"].tobytes() == own["eta"].values.tobytes()


def test_a_plane_without_the_graph_has_its_folds_as_points(tmp_path):
    scan = qs.Scan(axes={"J": np.linspace(8, 20, 3), "delta": np.linspace(0.5, 1.5, 3)}, fixed={"eta": -4.0})
    (tmp_path / "s.toml").write_text(scan.to_toml())
    found = ask(open_source(tmp_path / "s.toml"), "curves", x="J", y="delta", kind="LP")
    assert found["method"] == "points"
    for J, delta in zip(found["across"][::9], found["up"][::9], strict=True):
        assert np.abs(qs.folds(J=J, delta=delta)["eta"].values + 4.0).min() < 1e-6


def test_of_a_model_without_a_graph_curves_are_followed_within_the_map(tmp_path):
    axes = {"eta": np.linspace(-6.0, -3.0, 3), "J": np.linspace(13.0, 14.0, 3)}
    fixed = {"sigma": 0.3, "v_ou_mean": 0.25, "v_ou_sigma": 0.1}
    (tmp_path / "s.toml").write_text(qs.Scan(model="qif_cumulants", axes=axes, fixed=fixed).to_toml())
    source = open_source(tmp_path / "s.toml")
    found = ask(source, "curves", x="J", y="eta", kind="LP")
    assert found["method"] == "followed"
    assert found["up"].min() >= -6.0
    assert found["up"].max() <= -3.0
    middle = len(found["up"]) // 2
    J, eta = found["across"][middle], found["up"][middle]
    own = qs.special_points("qif_cumulants", "eta", within=(-6.0, -2.0), J=J, sigma=0.3)
    folds = own["eta"].values[own["type"].values == codes.OF_EQUILIBRIA["LP"]]
    assert np.abs(folds - (eta + 0.25)).min() < 1e-6, "the mean of the input is in the parameter of theory"


# Pyramids


@pytest.mark.parametrize("shape", [(700, 1100), (1, 1500), (513, 512), (64, 64), (1, 1)])
def test_a_flagged_point_is_in_every_resolution(shape):
    random = np.random.default_rng(3)
    values = random.normal(size=shape).astype("f4")
    flags = np.where(random.random(shape) < 3 / values.size, 3, 1).astype("u1")
    flags[0, -1] = 9
    plane = MapPlane(shape, lambda rows, columns: values[np.ix_(rows, columns)], [flags], {})
    flagged = [(int(j), int(i)) for j, i in np.argwhere(flags != 1)]
    for level in range(plane.levels):
        for j, i in flagged:
            row, column = j >> level, i >> level
            tile = plane.tile(level, row // 512, column // 512)
            assert tile["flags"][row % 512, column % 512] & flags[j, i] == flags[j, i]
        tile = plane.tile(level, 0, 0)
        rows, columns = (
            np.minimum((np.arange(n) << level) + (1 << level) // 2, size - 1)
            for n, size in zip(tile["values"].shape, shape, strict=True)
        )
        assert (tile["values"] == values[np.ix_(rows, columns)]).all(), "values are those of points"
    assert max(plane.tile(plane.levels - 1, 0, 0)["values"].shape) <= 512


# While a run goes on, and before it


def test_a_scan_that_was_not_run_has_its_exact_theory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(SCAN.to_toml())
    source = open_source(tmp_path / "mine.toml")
    told = ask(source, "about")
    assert not told["stored"]
    assert told["variable"] == "exact:count"
    assert ask(source, "tile", variable="exact:count", x="eta", y="J")["values"].max() == 3
    assert ask(source, "trajectory", t_end=20.0)["time"][-1] == 20.0
    with pytest.raises(
        ScanError, match='variable: found unknown variable "r_mean", expected one of exact:count'
    ):
        ask(source, "tile", variable="r_mean", x="eta", y="J")
    qs.run(SCAN, tmp_path / "mine.zarr", progress=None)
    assert ask(open_source(tmp_path / "mine.toml"), "about")["stored"], "found when it has been run"


def test_what_is_not_run_yet_is_told(tmp_path):
    def stop(progress):
        if progress.chunks >= 2:
            raise KeyboardInterrupt

    path = tmp_path / "half.zarr"
    with pytest.raises(qs.RunInterrupted):
        qs.run(SCAN, path, chunk_points=22, client="serial", progress=stop)
    source = open_source(path)
    told = ask(source, "progress")
    assert 2 <= told["done"] < told["chunks"]
    before = ask(source, "plane", variable="r_mean", x="eta", y="J")["counts"]["not_run"]
    assert before > 0
    qs.run(SCAN, path, progress=None)
    source = open_source(path)
    assert ask(source, "progress")["done"] == told["chunks"]
    assert ask(source, "plane", variable="r_mean", x="eta", y="J")["counts"]["not_run"] == 0


# Texts


def test_a_script_runs_and_gives_what_is_shown(source):
    text = ask(source, "script", index=INDEX, variable="r_mean", x="eta", y="J", along="eta")["text"]
    space = {}
    exec(compile(text.replace("qs.show(", "branch = ("), "script", "exec"), space)
    assert space["run"].attrs["checked"] == "equal bit for bit"
    assert space["values"].dims == ("eta", "J")
    assert "pop" in text


def test_a_refined_scan_keeps_every_value_and_extends(source, store, tmp_path):
    found = ask(source, "refine", within={"eta": [-6.6, -3.4], "J": [12.5, 17.5]}, factor=2)
    (tmp_path / "refined.toml").write_text(found["toml"])
    refined = qs.Scan.from_toml(tmp_path / "refined.toml")
    assert refined.axes["eta"].labels.tolist() == np.linspace(-6.5, -3.5, 13).tolist()
    assert found["points"] == refined.size == 13 * 11 * 2 - 13 * 2 * 2
    dataset = qs.run(refined, tmp_path / "refined.zarr", extend=store, progress=None)
    old = qs.open_scan(store).sel(eta=-5.0, J=15.0)
    assert dataset["r_mean"].sel(eta=-5.0, J=15.0).values.tobytes() == old["r_mean"].values.tobytes()
    assert "--extend" in found["command"]


def test_geometric_axes_are_refined_in_their_logarithm(noisy_source):
    found = ask(noisy_source, "refine", within={"delta": [0.4, 2.1]}, factor=2)
    assert found["sizes"]["delta"] == 9
    scan = qs.Scan(**tomllib.loads(found["toml"]))
    assert np.diff(np.log(scan.axes["delta"].labels)) == pytest.approx(np.log(4.0) / 8, rel=1e-9)


# Wrong requests


WRONG = [
    ("plane", {"variable": "r_meen", "x": "eta", "y": "J"}, 'did you mean "r_mean"'),
    ("plane", {"variable": "r_mean", "x": "eta", "y": "eta"}, "two dimensions"),
    ("plane", {"variable": "r_mean", "x": "etta"}, 'did you mean "eta"'),
    ("plane", {"variable": "r_mean", "x": "eta", "y": "J", "index": {"initial": 2}}, "0 to 1"),
    ("tile", {"variable": "r_mean", "x": "eta", "y": "J", "level": -1}, "at least 0"),
    ("tile", {"variable": "r_mean", "x": "eta", "y": "J", "level": 9}, "level"),
    ("tile", {"variable": "r_mean", "x": "eta", "y": "J", "row": 7}, "row, column"),
    ("point", {"index": {"eta": 1.5}}, "0 to 12"),
    ("point", {"index": 3}, "an object each"),
    ("point", {"changed": {"delta": -1}}, "changed.delta: found -1, expected"),
    ("point", {"changed": {"delta": "1"}}, "a finite number"),
    ("point", {"changed": {"eta": -1.0}}, "a fixed parameter"),
    ("point", {"changed": {"dellta": 1.0}}, 'did you mean "delta"'),
    ("trajectory", {"t_end": 17}, "t_end: found 17"),
    ("trajectory", {"start": "sideways"}, "one of scan, rest"),
    ("trajectory", {"start": [1.0]}, "a number for each of r, v"),
    ("trajectory", {"drive": {"kind": "pulse", "amplitude": 1.0}}, "drive.length: found nothing"),
    ("trajectory", {"drive": 5}, "drive"),
    ("trajectory", {"seed": -1}, "seed"),
    ("phase", {"variables": ["r", "w"]}, "variables"),
    ("phase", {"window": [[1, 0], [0, 1]]}, "window"),
    ("phase", {"at": [1.0]}, "a number for each of r, v"),
    ("diagram", {"along": "eta", "range": [1, 0]}, "two ascending numbers"),
    ("curves", {"x": "eta", "y": "J", "kind": "XX"}, "kind"),
    ("refine", {"within": {"eta": [-5.1, -5.0]}}, "draw a larger box"),
    ("refine", {"within": {}}, "a range by dimension"),
    ("refine", {"within": {"eta": [-8, -2]}, "factor": 3}, "factor"),
    ("replay", {"changed": {"delta": 2.0}}, "back to those of the scan"),
    ("nothing", {}, "expected one of about"),
    ("about", [], "a JSON object"),
]


@pytest.mark.parametrize(("name", "asked", "told"), WRONG)
def test_a_wrong_request_is_one_clear_line(source, name, asked, told):
    with pytest.raises(ScanError) as caught:
        answer(source, name, asked)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_store_is_one_clear_line(tmp_path):
    with pytest.raises(StoreError, match="give a store or a scan"):
        open_source(tmp_path / "nowhere.zarr")


def test_every_family_of_models_has_answers():
    for model, along in (("qif_adaptation_exponential", "eta"), ("qif_pair", "eta_i"), ("qif_delay", "eta")):
        fixed = {"delay": 1.0} if model == "qif_delay" else {}
        source = Source(None, qs.Scan(model=model, axes={along: np.linspace(-6, 2, 5)}, fixed=fixed))
        assert ask(source, "phase")["equilibria"]
        assert ask(source, "diagram", along=along)["states"].size
        assert ask(source, "tile", variable="exact:count", x=along)["values"].min() >= 1
    assert ask(source, "trajectory", t_end=20.0, index={along: 0})["state"].shape[0] == 2


def test_a_point_of_a_sweep_starts_where_the_one_before_ended():
    scan = qs.Scan(axes={"eta": np.linspace(-6, -4, 3)}, protocol=qs.Protocol(sweep="eta"))
    source = Source(None, scan)
    assert ask(source, "about")["start"] == "rest"
    with pytest.raises(ScanError, match="replay shows the scan's own run"):
        ask(source, "trajectory", start="scan")


def test_times_are_offered_that_are_taken(source):
    assert ask(source, "about")["times"] == list(TIMES)
    assert set(ANSWERS) >= {"about", "plane", "tile", "point", "phase", "trajectory", "replay", "diagram"}


def test_bytes_come_back_as_they_were():
    given = {
        "a": np.arange(7, dtype="u1"),
        "b": np.array([[1.5, np.nan]]),
        "c": {"x": float("nan"), "y": np.int8(3)},
    }
    found = unpacked(packed(given))
    assert found["a"].tolist() == list(range(7))
    assert found["b"].tobytes() == given["b"].tobytes()
    assert found["c"] == {"x": None, "y": 3}


# Over HTTP


@pytest.fixture(scope="module")
def server(store):
    with pytest.MonkeyPatch.context() as patch:
        # Each test compiles what it needs.
        patch.setattr("qifscan.explorer.serve.warm", lambda *_: None)
        explorer = qs.explore(store)
    yield explorer
    explorer.close()


def test_curves_that_take_long_hold_up_no_other_answer(server, monkeypatch):
    """Four of them wait for one that goes on until the equilibria of a point have come."""
    begun, over, own = threading.Event(), threading.Event(), routes._body

    def slow(path, what, asked):
        if what == "curves":
            begun.set()
            assert over.wait(30.0)
        return own(path, what, asked)

    monkeypatch.setattr(routes, "_body", slow)
    told = urllib.parse.quote(json.dumps({"x": "eta", "y": "J", "kind": "LP"}))
    with ThreadPoolExecutor(4) as pool:
        curves = [pool.submit(fetched, f"{server.url}curves?ask={told}") for _ in range(4)]
        assert begun.wait(30.0)
        try:
            assert fetched(f"{server.url}point")[0] == 200
        finally:
            over.set()
        assert [each.result()[0] for each in curves] == [200] * 4


def test_what_a_first_click_needs_is_compiled_before(source, monkeypatch):
    asked = []
    monkeypatch.setattr("qifscan.explorer.answers.answer", lambda source, name, given: asked.append(name))
    warm(source)
    assert {"point", "phase", "trajectory", "diagram", "replay"} <= set(asked)
    asked.clear()
    warm(source, lambda: len(asked) < 2)
    assert len(asked) == 2, "and is left when the server ends"


def fetched(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_an_answer_over_http_is_the_same(server, source):
    asked = {"index": INDEX}
    status, headers, body = fetched(f"{server.url}phase?ask={urllib.parse.quote(json.dumps(asked))}")
    assert status == 200
    assert body == packed(answer(source, "phase", asked))
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", 200),
        ("page/main.js", 200),
        ("page/style.css", 200),
        ("page/..%2f..%2fserve.py", 404),
        ("page/serve.py", 404),
        ("page/%2e%2e/routes.py", 404),
        ("nothing", 404),
        ("about", 200),
        ("about?ask=5", 422),
        ("about?ask=%7B", 422),
        ("point?ask=%7B%22index%22:%7B%22eta%22:99%7D%7D", 422),
        ("point?ask=" + "x" * 9000, 422),
        ("../other.zarr/about", 404),
        ("../..%2fscan.zarr/about", 404),
        ("../%2fetc%2fpasswd/about", 404),
    ],
)
def test_the_server_gives_what_it_knows_and_nothing_else(server, path, status):
    found, _, body = fetched(server.url + path)
    assert found == status
    if status != 200 and body.startswith(b"{"):
        assert len(json.loads(body)["detail"].splitlines()) == 1


def test_another_host_is_refused(server):
    assert fetched(server.url, Host="evil.example")[0] in (400, 421)


def test_points_that_are_clicked_come_back(server):
    asked = {"index": INDEX, "chosen": True, "changed": {"delta": 0.9}}
    fetched(f"{server.url}point?ask={urllib.parse.quote(json.dumps(asked))}")
    assert server.selected[-1] == {"eta": -5.0, "J": 15.0, "initial": "up", "delta": 0.9}


def test_a_frame_is_shown_in_a_notebook(server):
    assert f'<iframe src="{server.url}"' in server._repr_html_()
    assert server.url in repr(server)


def test_a_dataset_knows_its_store_or_says_that_it_does_not(store):
    with pytest.raises(ScanError, match="give the path of the store"):
        qs.explore(qs.open_scan(store).copy().drop_encoding())


def test_a_closed_server_is_gone(store):
    explorer = qs.explore(store)
    assert fetched(explorer.url)[0] == 200
    explorer.close()
    with pytest.raises(urllib.error.URLError):
        fetched(explorer.url)
    assert not explorer._thread.is_alive()


def test_many_clicks_at_once_are_all_answered(server):
    url = f"{server.url}trajectory?ask="
    found = []

    def click(i):
        asked = {"index": {"eta": i % 13, "J": i % 11}, "t_end": 50.0}
        found.append(fetched(url + urllib.parse.quote(json.dumps(asked)))[0])

    threads = [threading.Thread(target=click, args=(i,)) for i in range(24)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 24
    assert time.monotonic() - begin < 30


def test_a_place_is_a_point_of_the_scan(source):
    assert Place.of(source, {"index": INDEX}).labels(source) == {"eta": -5.0, "J": 15.0, "initial": "up"}


def test_the_command_serves_until_it_is_interrupted(store):
    code = "from qifscan.cli import script; script()"
    command = [sys.executable, "-c", code, "explore", str(store), "--no-browser"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = re.search(r"http://\S+", running.stdout.readline())[0]
    assert fetched(url)[0] == 200
    assert fetched(url + "about")[0] == 200
    running.send_signal(signal.SIGINT)
    printed, errors = running.communicate(timeout=60)
    assert printed.splitlines()[-1] == "explorer      ended"
    assert (errors, running.returncode) == ("", 0)


def test_the_command_says_in_a_line_what_is_wrong(tmp_path):
    done = CliRunner().invoke(main, ["explore", str(tmp_path / "nowhere.zarr")])
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
