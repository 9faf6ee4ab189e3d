"""A scan is data: the same however it is written, through TOML and JSON, and named by its fingerprint."""

import dataclasses
import hashlib
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.dynamics.models import MODELS

FEW = settings(derandomize=True, deadline=None, max_examples=50)

TOML = """
title = "switching"
model = "qif"
replicates = 3
seed = 7
noise = "common"
precision = "float64"
observables = ["r_mean", "up_fraction"]

[axes]
eta = { linspace = [-6, -4, 5] }
delta = { geomspace = [0.1, 10, 3] }
initial = ["down", "up"]
pair = { J = [10, 15.5], v_ou_sigma = { linspace = [0.0, 0.5, 2] } }

[fixed]
v_ou_tau = 3

[drive]
kind = "pulse"
amplitude = 3
length = 30

[protocol]
transient = 10
window = 20
dt = 0.005
integrator = "heun"

[traces]
points = [{ eta = -5, initial = "up" }, { replicate = 2, pair = 0 }]
every = 10
"""


def test_a_file_is_the_scan_that_python_would_write(tmp_path):
    path = tmp_path / "scan.toml"
    path.write_text(TOML)
    written = qs.Scan(
        title="switching",
        replicates=3,
        seed=7,
        noise="common",
        precision="float64",
        observables=("r_mean", "up_fraction"),
        axes={
            "eta": np.array([-6.0, -5.5, -5.0, -4.5, -4.0]),
            "delta": [0.1, 1.0, 10.0],
            "initial": np.array(["down", "up"]),
            "pair": {"J": (10, 15.5), "v_ou_sigma": [0.0, 0.5]},
        },
        fixed={"v_ou_tau": np.float32(3)},
        drive=qs.Pulse(amplitude=3, start=0, length=np.int64(30)),
        protocol=qs.Protocol(transient=10, window=20, dt=0.005, integrator="heun"),
        traces=qs.Traces(points=[{"initial": "up", "eta": -5.0}, {"pair": 0, "replicate": 2.0}], every=10),
    )
    read = qs.Scan.from_toml(path)
    assert read == written
    assert read.fingerprint == written.fingerprint
    assert list(read.sizes.items()) == [
        ("eta", 5),
        ("delta", 3),
        ("initial", 2),
        ("pair", 2),
        ("replicate", 3),
    ]
    assert read.size == 180
    assert len(read.trace_indices) == 3 * 2 * 3 + 5 * 3 * 2 - 3


def base(**changes):
    definition = {
        "axes": {"eta": [-5.0, -4.0], "p": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}},
        "fixed": {"delta": 0.5},
        "drive": qs.Sine(amplitude=1.0, period=7.0),
        "protocol": qs.Protocol(transient=10.0, window=20.0),
        "traces": qs.Traces(points=[{"eta": -5.0}]),
    }
    return qs.Scan(**{**definition, **changes})


SAME = {
    "title": base(title="another title"),
    "defaults written out": base(
        model="qif",
        fixed={"delta": 0.5, "v_ou_sigma": 0.0, "r_ou_tau": 5.0},
        replicates=1,
        seed=0,
        noise="independent",
        observables=["r_mean", "r_std", "r_min", "r_max"],
        precision="float32",
        drive=qs.Sine(amplitude=1.0, period=7.0, phase=0.0),
        protocol=qs.Protocol(transient=10.0, window=20.0, dt="auto", initial="rest", integrator="riccati"),
        traces=qs.Traces(points=[{"eta": -5.0}], every=1),
    ),
    "parts as tables": base(
        drive={"kind": "sine", "amplitude": 1, "period": 7},
        protocol={"transient": 10, "window": 20},
        traces={"points": [{"eta": -5}]},
    ),
    "linspace": base(
        axes={
            "eta": {"linspace": [-5, -4, 2]},
            "p": {"J": {"linspace": [10, 15, 2]}, "tau": {"geomspace": [1, 2, 2]}},
        }
    ),
    "arrays": base(
        axes={
            "eta": np.linspace(-5, -4, 2, dtype=np.float32),
            "p": {"tau": np.array([1, 2], dtype=np.int8), "J": (x for x in (10, 15))},
        }
    ),
    "minus zero": base(
        fixed={"delta": 0.5, "v_ou_mean": -0.0},
        drive=qs.Sine(amplitude=1.0, period=7.0, phase=-0.0),
    ),
    "order of what is fixed": base(fixed={"r_ou_sigma": 0.0, "delta": 0.5}),
    "the value within rounding": base(traces=qs.Traces(points=[{"eta": -5.0 - 1e-15}])),
}


@pytest.mark.parametrize("way", SAME)
def test_the_same_scan_has_the_same_fingerprint_however_it_is_written(way):
    assert SAME[way].fingerprint == base().fingerprint
    if way != "title":
        assert SAME[way] == base()
        assert hash(SAME[way]) == hash(base())


PROTOCOL = {"transient": 10.0, "window": 20.0}
DIFFERENT = {
    "seed": base(seed=1),
    "an axis by the last bit": base(
        axes={"eta": [np.nextafter(-5.0, 0.0), -4.0], "p": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}},
        traces=None,
    ),
    "no traces": base(traces=None),
    "a value more": base(axes={"eta": [-5.0, -4.0, -3.0], "p": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}}),
    "order of the axes": base(axes={"p": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}, "eta": [-5.0, -4.0]}),
    "order of the values": base(axes={"eta": [-4.0, -5.0], "p": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}}),
    "name of the zipped axis": base(axes={"eta": [-5.0, -4.0], "q": {"J": [10.0, 15.0], "tau": [1.0, 2.0]}}),
    "fixed by the last bit": base(fixed={"delta": np.nextafter(0.5, 1.0)}),
    "fixed away from a default": base(fixed={"delta": 0.5, "v_ou_sigma": 1e-300}),
    "replicates": base(replicates=2),
    "noise": base(noise="common"),
    "precision": base(precision="float64"),
    "observables": base(observables=["r_mean", "r_std", "r_min"]),
    "no drive": base(drive=None),
    "kind of drive": base(drive=qs.Ramp(amplitude=1.0, length=7.0)),
    "number of the drive": base(drive=qs.Sine(amplitude=1.0, period=7.5)),
    "transient": base(protocol=qs.Protocol(**{**PROTOCOL, "transient": 10.1})),
    "window": base(protocol=qs.Protocol(**{**PROTOCOL, "window": 20.1})),
    "dt": base(protocol=qs.Protocol(**PROTOCOL, dt=0.02)),
    "integrator": base(protocol=qs.Protocol(**PROTOCOL, integrator="heun")),
    "initial": base(protocol=qs.Protocol(**PROTOCOL, initial="up")),
    "initial numbers": base(protocol=qs.Protocol(**PROTOCOL, initial={"r": 0.1, "v": 0.0})),
    "kept steps": base(traces=qs.Traces(points=[{"eta": -5.0}], every=2)),
    "kept points": base(traces=qs.Traces(points=[{"eta": -4.0}])),
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_any_change_of_what_determines_the_numbers_changes_the_fingerprint(change):
    assert DIFFERENT[change] != base()
    assert DIFFERENT[change].fingerprint != base().fingerprint


def test_the_fingerprint_is_the_sha256_of_the_resolved_scan_without_its_title():
    """A store must be known again by a later version: if this changes, so must its `SCHEMA`."""
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=1.0, window=2.0))
    expected = {
        "title": "",
        "model": "qif",
        "drive": None,
        "protocol": {
            "transient": 1.0,
            "window": 2.0,
            "dt": "auto",
            "tolerance": 0.001,
            "initial": "rest",
            "integrator": "riccati",
            "negative_rate": "leave",
            "sweep": None,
        },
        "replicates": 1,
        "seed": 0,
        "noise": "independent",
        "observables": ["r_mean", "r_std", "r_min", "r_max"],
        "traces": None,
        "precision": "float32",
        "axes": {"eta": [-5.0, -4.0]},
        "dimensions": ["eta"],
        "fixed": {
            **{"tau": 1.0, "delta": 1.0, "J": 15.0},
            **{f"{v}_ou_{p}": x for v in "rv" for p, x in (("mean", 0.0), ("sigma", 0.0), ("tau", 5.0))},
        },
        "numbers_version": 17,
    }
    assert json.loads(scan.to_json()) == expected
    del expected["title"]
    text = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert scan.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_points_as_rows_and_as_columns_are_the_same_scan():
    rows = [{"eta": -5, "J": 15.0}, {"J": 10, "eta": -4.0}, {"eta": -5.0, "J": 10.0}]
    by_rows = qs.Scan(points=rows, axes={"delta": [1.0, 2.0]})
    by_columns = qs.Scan(
        points={"eta": [-5.0, -4.0, -5.0], "J": np.array([15, 10, 10])}, axes={"delta": [1, 2]}
    )
    by_axis = qs.Scan(
        axes={"point": {"eta": [-5, -4, -5], "J": [15, 10, 10]}, "delta": {"linspace": [1, 2, 2]}}
    )
    assert by_rows == by_columns == by_axis
    assert by_rows.fingerprint == by_columns.fingerprint == by_axis.fingerprint
    assert list(by_rows.sizes.items()) == [("point", 3), ("delta", 2)]
    assert by_rows.axes["point"].zipped
    assert by_rows.axes["point"].labels.tolist() == [0, 1, 2]


def test_a_definition_can_not_be_changed_after_it_was_checked():
    values = np.array([-5.0, -4.0])
    scan = qs.Scan(axes={"eta": values})
    values[0] = 7.0
    assert scan.axes["eta"].labels.tolist() == [-5.0, -4.0]
    with pytest.raises(ValueError, match="read-only"):
        scan.axes["eta"].columns["eta"][0] = 7.0
    with pytest.raises(ValueError, match="stays as it is"):
        scan.seed = 3
    with pytest.raises(ValueError, match="stays as it is"):
        scan.protocol.dt = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.axes["eta"].name = "J"


@pytest.mark.parametrize(
    ("transient", "window", "dt", "steps"),
    [
        (100.0, 200.0, 0.01, (10_000, 20_000)),
        (0.0, 0.01, 0.01, (0, 1)),
        (0.3, 0.7, 0.1, (3, 7)),
        (1.0, 2.0, 0.3, (4, 7)),
        (0.1, 0.29, 0.1, (1, 3)),
        (3.3, 9.1, 0.01, (330, 910)),
        (5e5, 5e5, 1e-3, (5 * 10**8, 5 * 10**8)),
    ],
)
def test_steps_cover_the_times_asked_for_and_rounding_adds_none(transient, window, dt, steps):
    protocol = qs.Protocol(transient=transient, window=window, dt=dt)
    assert (protocol.transient_steps, protocol.window_steps) == steps


def test_a_run_may_have_2_to_the_30_steps_but_no_more():
    assert qs.Protocol(transient=0.0, window=float(2**30), dt=1.0).window_steps == 2**30
    with pytest.raises(qs.ScanError, match="at most"):
        qs.Protocol(transient=0.0, window=float(2**30 + 1), dt=1.0)


def test_a_long_run_may_be_halved_less_often_so_that_its_steps_can_be_counted():
    assert qs.Protocol(window=100.0).most_halvings == 10
    long = qs.Protocol(transient=0.0, window=2**28 * 0.05)
    assert long.most_halvings == 2
    assert qs.Protocol(dt=0.01).most_halvings == 0


def test_a_variable_is_noisy_where_its_sigma_is_above_0_or_an_axis():
    assert qs.Scan().noisy == ()
    assert qs.Scan(fixed={"r_ou_sigma": 0.0, "v_ou_mean": 1.0}).noisy == ()
    assert qs.Scan(fixed={"v_ou_sigma": 0.1}).noisy == ("v",)
    assert qs.Scan(axes={"r_ou_sigma": [0.0, 0.1]}, fixed={"v_ou_sigma": 0.1}).noisy == ("r", "v")
    assert qs.Scan(points=[{"v_ou_sigma": 0.0}]).noisy == ("v",)


def test_a_scan_without_axes_is_a_single_point_and_its_replicates_the_only_dimension():
    scan = qs.Scan(traces={"points": [{}]})
    assert (scan.sizes, scan.size, scan.select(), scan.trace_indices) == ({}, 1, [()], [()])
    assert {name: column.tolist() for name, column in scan.columns([]).items()}["eta"] == [-5.0]
    scan = qs.Scan(replicates=3)
    assert (scan.sizes, scan.size, scan.select()) == ({"replicate": 3}, 3, [(0,), (1,), (2,)])


def test_a_single_point_is_run_opened_verified_and_replayed(tmp_path):
    scan = qs.Scan(
        fixed={"v_ou_sigma": 0.3},
        protocol=qs.Protocol(transient=0.5, window=1.28),
        observables=["r_mean"],
        traces=qs.Traces(points=[{}], every=2),
    )
    path = tmp_path / "point.zarr"
    dataset = qs.run(scan, path)
    assert dataset["r_mean"].shape == ()
    assert int(dataset["status"]) == 1
    assert qs.verify(path).sound
    replayed = qs.replay(path, every=2)
    assert replayed.attrs["checked"] == "equal bit for bit"
    assert replayed["r"].values.tobytes() == dataset["r_trace"].values.tobytes()
    assert np.ptp(replayed["r"].values) > 0


# Random scans

POSITIVE = st.floats(1e-3, 1e3)
VALUES = {
    **dict.fromkeys(("tau", "delta", "v_ou_tau", "r_ou_tau", "down_threshold", "up_threshold"), POSITIVE),
    **{name: st.floats(0.0, 10.0) for name in ("v_ou_sigma", "r_ou_sigma", "r_ou_mean")},
    **{name: st.floats(-1e300, 1e300) for name in ("eta", "J", "v_ou_mean")},
    "initial": st.sampled_from(["rest", "down", "up"]),
}
NUMBER = st.floats(-1e3, 1e3)
DRIVES = st.none() | st.one_of(
    st.builds(qs.Constant, amplitude=NUMBER),
    st.builds(qs.Pulse, amplitude=NUMBER, start=NUMBER, length=POSITIVE),
    st.builds(qs.Sine, amplitude=NUMBER, period=POSITIVE, phase=NUMBER),
    st.builds(qs.Ramp, amplitude=NUMBER, length=POSITIVE),
    st.builds(qs.Sampled, values=st.lists(NUMBER, min_size=2, max_size=5), interval=POSITIVE),
)
PROTOCOLS = st.builds(
    qs.Protocol,
    transient=st.floats(0.0, 1e4),
    window=st.floats(10.0, 1e4),
    dt=st.floats(1e-4, 1.0),
    integrator=st.sampled_from(["riccati", "rk4", "heun", "euler", "exp_auto"]),
)


def distinct(strategy, **size):
    return st.lists(strategy, unique_by=lambda x: x if isinstance(x, str) else x + 0.0, **size)


@st.composite
def definitions(draw):
    """Draw the keywords of a scan: axes and zipped axes of any parameters, the others fixed or left out."""
    names = draw(st.permutations(list(VALUES)))
    cuts = sorted(draw(st.lists(st.integers(0, 5), min_size=3, max_size=3)))
    swept, zipped, pointed = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] : cuts[2]]
    axes = {name: draw(distinct(VALUES[name], min_size=1, max_size=4)) for name in swept}
    definition = {"axes": axes}
    for group, place in ((zipped, "together"), (pointed, "point")):
        if not group:
            continue
        rows = draw(distinct(VALUES[group[0]], min_size=1, max_size=4))
        columns = {group[0]: rows}
        for name in group[1:]:
            columns[name] = draw(st.lists(VALUES[name], min_size=len(rows), max_size=len(rows)))
        if place == "together":
            axes[place] = columns
        elif draw(st.booleans()):
            definition["points"] = columns
        else:
            definition["points"] = [{n: c[i] for n, c in columns.items()} for i in range(len(rows))]
    left = [name for name in names[cuts[2] :] if name != "initial"]
    definition["fixed"] = {name: draw(VALUES[name]) for name in left[: draw(st.integers(0, 4))]}
    definition["replicates"] = draw(st.integers(1, 3))
    definition["seed"] = draw(st.integers(0, 2**63 - 1))
    definition["drive"] = draw(DRIVES)
    definition["protocol"] = draw(PROTOCOLS)
    definition["observables"] = draw(
        st.lists(st.sampled_from(["r_mean", "v_std", "r_max"]), min_size=1, unique=True)
    )
    return definition


@st.composite
def scans(draw):
    """Draw a scan that keeps the trajectories of some of its points."""
    definition = draw(definitions())
    scan = qs.Scan(**definition)
    points = [draw(labels(scan)) for _ in range(draw(st.integers(0, 3)))]
    return qs.Scan(**definition, traces={"points": points} if points else None)


@st.composite
def labels(draw, scan):
    """Draw the labels of some dimensions of a scan, on its axes."""
    values = {name: axis.labels.tolist() for name, axis in scan.axes.items()}
    if scan.replicates > 1:
        values["replicate"] = list(range(scan.replicates))
    chosen = draw(st.lists(st.sampled_from(list(values)), unique=True)) if values else []
    return {name: draw(st.sampled_from(values[name])) for name in chosen}


@FEW
@given(scans())
def test_a_scan_comes_back_from_json_and_from_pickle_as_it_was(scan):
    for again in (qs.Scan.from_json(scan.to_json()), pickle.loads(pickle.dumps(scan))):
        assert again == scan
        assert again.fingerprint == scan.fingerprint
        assert again.sizes == scan.sizes
        assert again.trace_indices == scan.trace_indices
        assert again.noisy == scan.noisy


@FEW
@given(scans(), st.data())
def test_select_finds_the_points_that_a_search_through_the_grid_finds(scan, data):
    wanted = data.draw(labels(scan))
    values = {name: axis.labels.tolist() for name, axis in scan.axes.items()}
    values |= {"replicate": list(range(scan.replicates))} if scan.replicates > 1 else {}

    def search(point):
        grid = np.ndindex(*scan.sizes.values())
        return [
            index
            for index in grid
            if all(
                name not in point or values[name][i] == point[name]
                for name, i in zip(values, index, strict=True)
            )
        ]

    assert scan.select(**wanted) == search(wanted)
    kept = [index for point in (scan.traces.points if scan.traces else ()) for index in search(point)]
    assert len(scan.trace_indices) == len(set(scan.trace_indices))
    assert set(scan.trace_indices) == set(kept)


@FEW
@given(scans())
def test_columns_are_the_axes_then_what_is_fixed_then_the_drive_then_the_defaults(scan):
    indices = list(np.ndindex(*scan.sizes.values()))
    columns = scan.columns([np.array(column) for column in zip(*indices, strict=True)])
    defaults = {p.name: p.default for p in MODELS["qif"].parameters}
    defaults |= {f"{v}_ou_{p}": x for v in "rv" for p, x in (("mean", 0.0), ("sigma", 0.0), ("tau", 5.0))}
    defaults |= (
        {}
        if scan.drive is None
        else {f"drive_{p.name}": getattr(scan.drive, p.name) for p in scan.drive.numbers}
    )
    defaults |= {"initial": "rest"} | scan.fixed
    for row, index in enumerate(indices):
        expected = dict(defaults)
        for axis, i in zip(scan.axes.values(), index, strict=False):
            expected |= {name: column[i].item() for name, column in axis.columns.items()}
        assert {name: column[row].item() for name, column in columns.items()} == expected


@FEW
@given(definitions(), st.data())
def test_a_scan_with_one_number_changed_is_another_scan(definition, data):
    scan = qs.Scan(**definition)
    choices = [*definition["fixed"], *(name for name, x in definition["axes"].items() if isinstance(x, list))]
    choices = [name for name in choices if name != "initial"]
    if not choices:
        return
    name = data.draw(st.sampled_from(choices))
    place = definition["fixed"] if name in definition["fixed"] else definition["axes"]
    number = place[name] if name in definition["fixed"] else place[name][0]
    moved = float(np.nextafter(number, math.inf))
    if name in definition["axes"] and moved in place[name]:
        return
    changed = moved if name in definition["fixed"] else [moved, *place[name][1:]]
    other = {**definition, ("fixed" if name in definition["fixed"] else "axes"): {**place, name: changed}}
    assert qs.Scan(**other) != scan
    assert qs.Scan(**other).fingerprint != scan.fingerprint


def test_values_that_differ_in_the_last_bits_are_told_apart():
    close = list(itertools.accumulate(range(3), lambda x, _: float(np.nextafter(x, 2.0)), initial=1.0))
    scan = qs.Scan(axes={"eta": close})
    assert [scan.select(eta=value) for value in close] == [[(i,)] for i in range(len(close))]
    tiny = qs.Scan(axes={"v_ou_sigma": [1e-13, 2e-13, 4e-13]})
    assert tiny.select(v_ou_sigma=2e-13) == [(1,)]
    with pytest.raises(qs.ScanError, match="the nearest is 2e-13"):
        tiny.select(v_ou_sigma=2.5e-13)
    crossing = qs.Scan(axes={"eta": np.linspace(-0.3, 0.3, 7)})
    assert crossing.axes["eta"].labels[3] != 0.0 or crossing.select(eta=1e-17) == [(3,)]
    assert crossing.select(eta=0.0) == [(3,)]
