"""What is wrong with a request is said in one line a mistake, before anything runs; nothing is touched."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main

AXES = {"eta": [-5.0, -4.0]}
PULSE = {"kind": "pulse", "amplitude": 1.0, "length": 2.0}
LONGEST_LINE = 200


def toml(value):
    """Return data as a TOML value."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, (float, bool)) else json.dumps(value)


def write(path, definition):
    path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in definition.items()))
    return path


def contents(folder):
    """Return every file below a folder with its bytes, and every folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def qifscan(*arguments):
    """Run the command in this process; return its exit code and the lines on standard error."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.stderr.splitlines()


def refusal(definition):
    """Return the lines of the error that a definition gives."""
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan(**definition)
    lines = str(caught.value).splitlines()
    assert lines == [str(fault) for fault in caught.value.faults]
    return lines


# What is given, where the line says it is, what it says was found, and what it says must hold or be done.
MISTAKES = {
    # names
    "parameter of an axis": ({"axes": {"etaa": [1, 2]}}, "axes.etaa", '"etaa"', 'did you mean "eta"?'),
    "case of a parameter": ({"axes": {"j": [1, 2]}}, "axes.j", '"j"', 'did you mean "J"?'),
    "parameter like no other": ({"axes": {"gamma": [1]}}, "axes.gamma", '"gamma"', "one of tau, eta, delta"),
    "parameter of BrainPy": ({"fixed": {"y_ou_tau": 1}}, "fixed.y_ou_tau", '"y_ou_tau"', '"r_ou_tau"?'),
    "fixed parameter": ({"fixed": {"dleta": 1}}, "fixed.dleta", '"dleta"', 'did you mean "delta"?'),
    "zipped parameter": (
        {"axes": {"pair": {"eta": [1, 2], "JJ": [1, 2]}}},
        "axes.pair.JJ",
        '"JJ"',
        'did you mean "J"?',
    ),
    "parameter of a point": ({"points": [{"etaa": 1}]}, "points.etaa", '"etaa"', 'did you mean "eta"?'),
    "model": ({"model": "qiff"}, "model", '"qiff"', 'did you mean "qif"?'),
    "observable": ({"observables": ["r_maen"]}, "observables", '"r_maen"', 'did you mean "r_mean"?'),
    "integrator": ({"protocol": {"integrator": "rk5"}}, "protocol.integrator", '"rk5"', '"rk4"?'),
    "precision": ({"precision": "float46"}, "precision", '"float46"', 'did you mean "float64"?'),
    "noise": ({"noise": "comon"}, "noise", '"comon"', 'did you mean "common"?'),
    "key": ({"observable": ["r_mean"]}, "observable", '"observable"', 'did you mean "observables"?'),
    "key named self": ({"self": 1}, "self", '"self"', "one of title, model"),
    "key of the protocol": (
        {"protocol": {"transcient": 1}},
        "protocol.transcient",
        '"transcient"',
        "transient",
    ),
    "key of the traces": ({"traces": {"point": [{}]}}, "traces.point", '"point"', 'did you mean "points"?'),
    "kind of drive": ({"drive": {**PULSE, "kind": "puls"}}, "drive.kind", '"puls"', 'did you mean "pulse"?'),
    "no kind of drive": ({"drive": {"amplitude": 1}}, "drive.kind", "nothing", "one of constant, pulse"),
    "key of a drive": (
        {"drive": {"kind": "sine", "amplitud": 1, "period": 2}},
        "drive.amplitud",
        '"amplitud"',
        'did you mean "amplitude"?',
    ),
    "no value in a drive": ({"drive": {"kind": "sine", "period": 2}}, "drive.amplitude", "nothing", "add it"),
    "number of another drive": (
        {"drive": PULSE, "axes": {"drive_period": [1, 2]}},
        "axes.drive_period",
        '"drive_period"',
        "one of drive_amplitude, drive_start, drive_length",
    ),
    "number of no drive": ({"fixed": {"drive_start": 1}}, "fixed.drive_start", '"drive_start"', "a drive"),
    "initial state": ({"protocol": {"initial": "dwn"}}, "protocol.initial", '"dwn"', 'did you mean "down"?'),
    "axis of states": ({"axes": {"initial": ["up", "uo"]}}, "axes.initial", '"uo"', "one of rest, down, up"),
    "variable of a state": (
        {"protocol": {"initial": {"r": 1, "w": 1}}},
        "protocol.initial.w",
        '"w"',
        "one of r, v",
    ),
    # values of an axis
    "no values": ({"axes": {"eta": []}}, "axes.eta", "no values", "at least one"),
    "no points": ({"points": []}, "points", "[]", "a list of parameter sets"),
    "repeated value": ({"axes": {"eta": [1, 2, 1]}}, "axes.eta", "1.0 twice", "give replicates = N"),
    "0 and -0": ({"axes": {"eta": [0.0, -0.0]}}, "axes.eta", "0.0 twice", "each value once"),
    "repeated state": ({"axes": {"initial": ["up", "up"]}}, "axes.initial", '"up" twice', "each value once"),
    "repeated point": ({"points": [{"J": 1}, {"J": 1}]}, "points", '{"J": 1.0} twice', "each value once"),
    "nan": ({"axes": {"eta": [1, math.nan, math.nan]}}, "axes.eta", "nan and 1 more", "a finite number"),
    "inf": ({"axes": {"tau": [1, math.inf]}}, "axes.tau", "inf", "a finite number"),
    "text for a number": ({"axes": {"eta": ["1", 2]}}, "axes.eta", '"1"', "a finite number"),
    "truth values": ({"axes": {"eta": [True]}}, "axes.eta", "true", "a finite number"),
    "text for an axis": ({"axes": {"eta": "-5"}}, "axes.eta", '"-5"', "a list of values"),
    "number for an axis": ({"axes": {"eta": -5}}, "axes.eta", "-5", "a single value belongs in fixed"),
    "state for an axis": ({"axes": {"initial": "up"}}, "axes.initial", '"up"', "belongs in protocol"),
    "lists in an axis": ({"axes": {"eta": [[1, 2], [3, 4]]}}, "axes.eta", "[[1, 2], [3, 4]]", "a list of"),
    "table in an axis": ({"axes": {"eta": {"a": {"b": 1}}}}, "axes.eta", '{"a": {"b": 1}}', "linspace"),
    "list for the axes": ({"axes": ["eta"]}, "axes", '["eta"]', "a table"),
    "huge number": ({"axes": {"J": [10**400]}}, "axes.J", "1000", "a finite number"),
    "text for points": ({"points": "here"}, "points", '"here"', "a list of parameter sets"),
    "points that differ": (
        {"points": [{"J": 1}, {"eta": 1}]},
        "points[1]",
        'the parameters ["eta"]',
        '["J"]',
    ),
    "text in a point": ({"points": [{"J": 1}, {"J": "x"}]}, "points.J", '"x"', "a finite number"),
    "misspelt linspace": ({"axes": {"eta": {"linspce": [0, 1, 3]}}}, "axes.eta", '{"linspce"', '"linspace"?'),
    "linspace of two": (
        {"axes": {"eta": {"linspace": [0, 1]}}},
        "axes.eta.linspace",
        "[0, 1]",
        "[first, last",
    ),
    "linspace of text": (
        {"axes": {"eta": {"linspace": ["0", 1, 3]}}},
        "axes.eta.linspace",
        '["0"',
        "numbers",
    ),
    "linspace of nan": (
        {"axes": {"eta": {"linspace": [math.nan, 1, 3]}}},
        "axes.eta.linspace",
        "[NaN, 1, 3]",
        "two finite numbers and an integer",
    ),
    "broken count": (
        {"axes": {"tau": {"linspace": [1, 2, 2.5]}}},
        "axes.tau.linspace",
        "[1, 2, 2.5]",
        "integer",
    ),
    "count of 0": ({"axes": {"tau": {"linspace": [1, 2, 0]}}}, "axes.tau.linspace", "a count of 0", "1 to"),
    "count below 0": (
        {"axes": {"eta": {"linspace": [1, 2, -3]}}},
        "axes.eta.linspace",
        "a count of -3",
        "1 to",
    ),
    "count of 10^13": (
        {"axes": {"eta": {"linspace": [0, 1, 10**13]}}},
        "axes.eta.linspace",
        "a count of",
        "1 to",
    ),
    "overflow": (
        {"axes": {"eta": {"linspace": [-1.7e308, 1.7e308, 3]}}},
        "axes.eta",
        "nan",
        "a finite number",
    ),
    "geomspace from 0": (
        {"axes": {"eta": {"geomspace": [0, 1, 3]}}},
        "axes.eta.geomspace",
        "[0, 1, 3]",
        "of 0",
    ),
    "geomspace over 0": (
        {"axes": {"eta": {"geomspace": [-1, 1, 3]}}},
        "axes.eta.geomspace",
        "[-1, 1, 3]",
        "on one side of 0",
    ),
    # axes together
    "unequal lengths": (
        {"axes": {"p": {"eta": [1, 2], "J": [1, 2, 3]}}},
        "axes.p",
        "2 values of eta, 3 values of J",
        "one length for all",
    ),
    "zipped axis of nothing": ({"axes": {"p": {}}}, "axes.p", "no parameters", "that change along it"),
    "zipped axis named as a parameter": (
        {"axes": {"J": {"eta": [1, 2], "tau": [1, 2]}}},
        "axes.J",
        '{"eta"',
        "an axis of another name",
    ),
    "zipped axis named as an array": (
        {"axes": {"status": {"eta": [1]}}},
        "axes.status",
        "the name",
        "another",
    ),
    "zipped axis named as a path": ({"axes": {"a/b": {"eta": [1]}}}, "axes.a/b", 'the name "a/b"', "letters"),
    "fixed and an axis": (
        {"fixed": {"eta": 1}},
        "fixed.eta",
        "1 and an axis",
        "out of fixed or out of axes.eta",
    ),
    "in two axes": (
        {"axes": {"eta": [1, 2], "p": {"eta": [1, 2], "J": [3, 4]}}},
        "axes.p",
        '"eta" in two axes',
        'take it out of "eta" or of "p"',
    ),
    "axis of replicates": (
        {"axes": {"replicate": [1, 2]}},
        "axes.replicate",
        "an axis",
        "give replicates = N",
    ),
    "two axes of points": (
        {"points": [{"J": 1}], "axes": {"point": {"eta": [1, 2]}}},
        "axes.point",
        "an axis",
        "another name",
    ),
    # domains
    "tau of 0": ({"fixed": {"tau": 0}}, "fixed.tau", "0", "a number above 0"),
    "delta below 0": ({"axes": {"delta": [-1, 0, 1]}}, "axes.delta", "-1 and 1 more", "a number above 0"),
    "sigma below 0": ({"fixed": {"v_ou_sigma": -0.1}}, "fixed.v_ou_sigma", "-0.1", "a number not below 0"),
    "time of noise 0": ({"fixed": {"r_ou_tau": 0}}, "fixed.r_ou_tau", "0", "a number above 0"),
    "fixed text": ({"fixed": {"J": "15"}}, "fixed.J", '"15"', "a finite number"),
    "fixed list": ({"fixed": {"J": [15]}}, "fixed.J", "[15]", "a finite number"),
    "fixed truth value": ({"fixed": {"J": True}}, "fixed.J", "true", "a finite number"),
    "fixed state": ({"fixed": {"initial": "up"}}, "fixed.initial", '"up"', "give protocol.initial"),
    "fixed number of a drive": (
        {"drive": PULSE, "fixed": {"drive_length": -2}},
        "fixed.drive_length",
        "-2",
        "a number not below 0",
    ),
    "period of 0": ({"drive": {"kind": "sine", "amplitude": 1, "period": 0}}, "drive.period", "0", "above 0"),
    "truth value in a drive": (
        {"drive": {**PULSE, "length": True}},
        "drive.length",
        "true",
        "a finite number",
    ),
    "text in samples": (
        {"drive": {"kind": "sampled", "values": [0, "1"], "interval": 1}},
        "drive.values[1]",
        '"1"',
        "a finite number",
    ),
    "one sample": (
        {"drive": {"kind": "sampled", "values": [1], "interval": 1}},
        "drive.values",
        "[1]",
        "at least 2",
    ),
    "drive in a word": ({"drive": "pulse"}, "drive", '"pulse"', "a table"),
    "no observables": ({"observables": []}, "observables", "none", "one of r_mean"),
    "observable twice": ({"observables": ["r_mean", "r_mean"]}, "observables", '"r_mean" twice', "each once"),
    "observable in a word": ({"observables": "r_mean"}, "observables", '"r_mean"', "a list"),
    "window too short for a frequency": (
        {"observables": ["r_frequency"], "protocol": {"window": 1}},
        "protocol.window",
        "20 steps",
        "at least 512 steps",
    ),
    "seed below 0": ({"seed": -1}, "seed", "-1", "a number not below 0"),
    "seed in halves": ({"seed": 1.5}, "seed", "1.5", "an integer"),
    "seed in text": ({"seed": "1"}, "seed", '"1"', "an integer"),
    "seed too large": ({"seed": 2**63}, "seed", "9223372036854775808", "below 9.22"),
    "no replicates": ({"replicates": 0}, "replicates", "0", "a number not below 1"),
    "truth value of replicates": ({"replicates": True}, "replicates", "true", "an integer"),
    "number for a title": ({"title": 3}, "title", "3", "a text"),
    # protocol
    "window of 0": ({"protocol": {"window": 0}}, "protocol.window", "0", "a number above 0"),
    "window below a step": ({"protocol": {"window": 0.001}}, "protocol.window", "0.001 ms", "dt = 0.05 ms"),
    "dt of 0": ({"protocol": {"dt": 0}}, "protocol.dt", "0", '"auto", or a number above 0'),
    "dt below 0": ({"protocol": {"dt": -0.01}}, "protocol.dt", "-0.01", '"auto", or a number above 0'),
    "dt in text": ({"protocol": {"dt": "0.01"}}, "protocol.dt", '"0.01"', '"auto", or a number above 0'),
    "dt of nan": ({"protocol": {"dt": math.nan}}, "protocol.dt", "nan", '"auto", or a number above 0'),
    "transient below 0": (
        {"protocol": {"transient": -1}},
        "protocol.transient",
        "-1",
        "a number not below 0",
    ),
    "too many steps": ({"protocol": {"window": 1e9}}, "protocol.dt", "2e+10 steps", "make dt larger"),
    "number for a state": (
        {"protocol": {"initial": 1.0}},
        "protocol.initial",
        "1.0",
        "one of rest, down, up",
    ),
    "text for a rate": (
        {"protocol": {"initial": {"r": "a", "v": 0}}},
        "protocol.initial.r",
        '"a"',
        "a finite",
    ),
    "half a state": ({"protocol": {"initial": {"r": 1}}}, "protocol.initial", "a number for r only", "v too"),
    "half a state in fixed": (
        {"fixed": {"v_initial": 1}},
        "protocol.initial",
        "a number for v only",
        "r too",
    ),
    "state by name and numbers": (
        {"protocol": {"initial": "up"}, "fixed": {"r_initial": 1, "v_initial": 1}},
        "protocol.initial",
        '"up" and numbers',
        "one of them",
    ),
    "state by name and axis": (
        {"protocol": {"initial": "up"}, "axes": {"initial": ["up", "down"]}},
        "protocol.initial",
        '"up" and an axis of states',
        "one of them",
    ),
    "state by axis and numbers": (
        {"protocol": {"initial": {"r": 1, "v": 1}}, "axes": {"initial": ["up", "down"]}},
        "protocol.initial",
        "an axis of states and numbers",
        "one of them",
    ),
    "rate given twice": (
        {"protocol": {"initial": {"r": 1, "v": 1}}, "fixed": {"r_initial": 1}},
        "protocol.initial.r",
        "a number, and r_initial",
        "one of them",
    ),
    "no rest": ({"fixed": {"r_ou_mean": -1}}, "r_ou_mean", "-1", "above -delta/(pi tau) = -0.3183"),
    # traces
    "traced nowhere": ({"traces": {"points": []}}, "traces.points", "[]", "at least 1"),
    "traced never": ({"traces": {"points": [{}], "every": 0}}, "traces.every", "0", "not below 1"),
    "traced off the axis": (
        {"traces": {"points": [{"eta": -4.9}]}},
        "traces.points[0].eta",
        "-4.9",
        "the nearest is -5.0",
    ),
    "traced along no axis": (
        {"traces": {"points": [{}, {"etaa": -5.0}]}},
        "traces.points[1].etaa",
        '"etaa"',
        'did you mean "eta"?',
    ),
    "traced at a text": ({"traces": {"points": [{"eta": "x"}]}}, "traces.points[0].eta", '"x"', "a number"),
    "traced at a truth value": (
        {"axes": {"eta": [0, 1]}, "traces": {"points": [{"eta": True}]}},
        "traces.points[0].eta",
        "true",
        "a number",
    ),
    "traced from no state": (
        {"axes": {"initial": ["up", "down"]}, "traces": {"points": [{"initial": "dwn"}]}},
        "traces.points[0].initial",
        '"dwn"',
        'did you mean "down"?',
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_what_was_found_and_what_to_do(name):
    definition, where, found, words = MISTAKES[name]
    (line,) = refusal({"axes": AXES, **definition})
    assert line.startswith(f"{where}: found ")
    assert found in line.split(", expected ")[0]
    assert words in line.split(", expected ", 1)[1]
    assert len(line) <= LONGEST_LINE


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_file_ends_the_command_with_2_and_writes_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    definition = {"axes": AXES, **MISTAKES[name][0]}
    path = write(tmp_path / "scan.toml", definition)
    before = contents(tmp_path)
    expected = [f"error: scan.toml: {line}" for line in refusal(definition)]
    for command in ("plan", "run"):
        assert qifscan(command, path.name) == (2, expected)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("axis", "found"),
    [
        (np.zeros((2, 2)), "[[0.0, 0.0], [0.0, 0.0]]"),
        (np.array(3.0), "3.0"),
        (np.array([1.0, np.inf]), "inf"),
        (np.array([True, False]), "true"),
        (np.array([1j, 2.0]), "1j"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime.date(2020, 1, 1)"),
        ({1.0, 2.0}, "{1.0, 2.0}"),
        (None, "nothing"),
        (b"12", "b'12'"),
        (object, "<class 'object'>"),
    ],
)
def test_an_axis_of_a_strange_type_is_refused_in_one_line(axis, found):
    (line,) = refusal({"axes": {"eta": axis}})
    assert line.startswith(f"axes.eta: found {found}")


@pytest.mark.parametrize(
    ("definition", "start"),
    [
        ({"axes": {3: [1.0]}}, "axes[3]: found 3, expected a text"),
        ({"axes": None}, "axes: found nothing, expected names with values: a dict"),
        ({"axes": AXES, "fixed": {"J": None}}, "fixed.J: found nothing, expected a finite number"),
        ({"points": [{3: 1}]}, "points.3: found 3, expected the name of a parameter"),
        ({"points": {"eta", "J"}}, "points: found {"),
        ({"axes": AXES, "observables": {"r_mean", "r_std"}}, "observables: found {"),
        ({"axes": AXES, "protocol": 3}, "protocol: found 3, expected names with values: a dict"),
        (
            {"axes": AXES, "fixed": {"J": 10**5000}},
            "fixed.J: found an integer of too many digits, expected a finite number",
        ),
        ({"axes": {"a\nb": [1.0]}}, 'axes.a b: found unknown parameter "a\\nb", expected one of tau'),
    ],
)
def test_what_only_python_can_get_wrong_is_one_line_too(definition, start):
    (line,) = refusal(definition)
    assert line.startswith(start)


def test_every_mistake_of_a_file_is_reported_at_once(tmp_path):
    path = tmp_path / "scan.toml"
    path.write_text(
        'observable = ["r_mean"]\nobservables = ["r_men"]\nseed = -1\nnoise = "none"\n'
        "[axes]\netaa = [1, 2]\nJ = []\n[fixed]\ntau = -1\n"
        '[protocol]\nintegrator = "rk5"\ndt = 0\n[drive]\nkind = "puls"\n'
    )
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan.from_toml(path)
    places = [fault.where.removeprefix(f"{path}: ") for fault in caught.value.faults]
    assert sorted(places) == [
        "axes.J",
        "axes.etaa",
        "drive.kind",
        "fixed.tau",
        "noise",
        "observable",
        "observables",
        "protocol.dt",
        "protocol.integrator",
        "seed",
    ]
    code, lines = qifscan("plan", path)
    assert code == 2
    assert lines == [f"error: {fault}" for fault in caught.value.faults]


def test_a_mean_of_the_noise_without_rest_is_refused_where_a_point_has_none_and_only_there():
    # delta + pi tau r_ou_mean is 10 - pi and 0.1 here: each point has its rest.
    together = {"delta": [10.0, 0.1], "r_ou_mean": [-1.0, 0.0]}
    assert qs.Scan(axes={"p": together}).size == 2
    (line,) = refusal({"axes": together})
    assert line.startswith("r_ou_mean: found -1, expected above -delta/(pi tau) = -0.03183")
    (line,) = refusal({"axes": {"p": together, "tau": [1.0, 4.0]}})
    assert "-delta/(pi tau) = -0.7958" in line
    start = qs.Protocol(initial={"r": 0.1, "v": 0.0})
    assert qs.Scan(axes=together, protocol=start).size == 4


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: qs.Protocol(dt=-1), 'dt: found -1, expected "auto", or a number above 0'),
        (lambda: qs.Protocol(initial="uo"), 'initial: found "uo", expected one of rest, down, up'),
        (lambda: qs.Sine(amplitude=1, period=-1), "period: found -1, expected a number above 0"),
        (lambda: qs.Pulse(amplitude=1), "length: found nothing, expected a value; add it"),
        (lambda: qs.Traces(points={"eta": 1}), 'points: found {"eta": 1}, expected a list'),
        (lambda: qs.Scan.from_json("{"), "scan: found expecting property name"),
        (lambda: qs.Scan.from_json("[1]"), "scan: found [1], expected the JSON of a scan"),
        (
            lambda: qs.plan(qs.Scan(axes=AXES), workers=0),
            "workers: found 0, expected an integer of at least 1",
        ),
        (lambda: qs.plan(qs.Scan(axes=AXES), chunk_points=0), "chunk_points: found 0, expected an integer"),
        (
            lambda: qs.plan(qs.Scan(axes=AXES), chunk_points="a"),
            'chunk_points: found "a", expected an integer',
        ),
        (lambda: qs.run(qs.Scan(axes=AXES), "s.zarr", workers=0), "workers: found 0, expected an integer"),
        (lambda: qs.verify("s.zarr", points="a"), 'points: found "a", expected an integer of at least 0'),
        (lambda: qs.replay("s.zarr", every=0), "every: found 0, expected an integer of at least 1"),
        (lambda: qs.simulate(t_end=1, every="x"), 'every: found "x", expected an integer of at least 1'),
        (lambda: qs.simulate(t_end=-1), "t_end: found -1, expected a number above 0"),
        (lambda: qs.simulate(t_end=1, dt=0), 'dt: found 0, expected "auto", or a number above 0'),
        (lambda: qs.simulate(t_end=1, tau=-1), "tau: found -1.0, expected a number above 0"),
        (lambda: qs.simulate(t_end=1, tau=[1, -1]), "tau: found -1.0, expected a number above 0"),
        (lambda: qs.simulate(t_end=1, etta=1), 'etta: found unknown parameter "etta"'),
        (lambda: qs.Scan(axes=AXES).select(eta=3), "point.eta: found 3, expected a value of that axis"),
        (lambda: qs.Scan(axes=AXES).select(J=3), 'point.J: found unknown dimension "J", expected one of eta'),
        (lambda: qs.Scan().select(J=3), 'point.J: found unknown dimension "J", expected no dimension'),
    ],
)
def test_every_definition_and_verb_of_python_says_its_mistake_in_one_line(make, start):
    with pytest.raises(qs.ScanError) as caught:
        make()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(start)


FILES = {
    "does not parse": (b"[axes]\neta = [1, 2\nJ = 3\n", "(at line 3, column 1)"),
    "has a key twice": (b"seed = 1\nseed = 2\n", "(at line 2, column 9)"),
    "is not UTF-8": (b"title = '\xff'\n", "a byte that is not UTF-8 at position 9"),
    "holds a number of 5000 digits": (b"seed = 1" + 5000 * b"0", "limit"),
    "is a binary": (bytes(range(256)), "found"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_toml_is_named_with_its_line(tmp_path, name):
    path = tmp_path / "scan.toml"
    path.write_bytes(FILES[name][0])
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan.from_toml(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: found ")
    assert FILES[name][1] in line
    assert line.endswith("expected a TOML file of a scan")
    assert qifscan("run", path) == (2, [f"error: {line}"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "scan.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert qs.Scan.from_toml(path).seed == 3


def test_a_scan_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, found in (("none.toml", "no such file or directory"), ("folder", "is a directory")):
        with pytest.raises(qs.ScanError, match=f"{name}: found {found}, expected a TOML file of a scan"):
            qs.Scan.from_toml(tmp_path / name)
    for command in ("plan", "run"):
        code, lines = qifscan(command, tmp_path / "none.toml")
        assert (code, len(lines)) == (2, 1)
        code, lines = qifscan(command, tmp_path / "folder")
        assert (code, len(lines)) == (2, 1)
        assert "found a folder, expected a TOML file of a scan" in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


TINY = {
    "title": "tiny",
    "axes": {"eta": [-6.0, -5.0, -4.0], "J": [10.0, 15.0]},
    "replicates": 2,
    "observables": ["r_mean", "r_std"],
    "protocol": {"transient": 0.0, "window": 1.28},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A finished store of the tiny scan."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.zarr"
    qs.run(qs.Scan(**TINY), path, client="serial")
    return path


def truncated(path):
    (path / "zarr.json").write_bytes((path / "zarr.json").read_bytes()[:200])


def without_attribute(name):
    def change(path):
        data = json.loads((path / "zarr.json").read_text())
        del data["attributes"][name]
        (path / "zarr.json").write_text(json.dumps(data))

    return change


def with_attribute(name, value):
    def change(path):
        data = json.loads((path / "zarr.json").read_text())
        data["attributes"][name] = value
        (path / "zarr.json").write_text(json.dumps(data))

    return change


BROKEN = {
    "metadata cut off": (truncated, "zarr.json can't be read"),
    "metadata empty": (lambda path: (path / "zarr.json").write_text(""), "zarr.json can't be read"),
    "metadata of bytes": (
        lambda path: (path / "zarr.json").write_bytes(b"\xff\xfe"),
        "zarr.json can't be read",
    ),
    "metadata a list": (lambda path: (path / "zarr.json").write_text("[1]"), "zarr.json can't be read"),
    "metadata lost": (lambda path: (path / "zarr.json").unlink(), "found no zarr.json"),
    "no schema": (without_attribute("qifscan_schema"), "has no scan in its attributes"),
    "another schema": (
        with_attribute("qifscan_schema", 99),
        "layout version 99, this qifscan reads version 2",
    ),
    "no scan": (without_attribute("qifscan_scan"), "the store is damaged"),
    "scan cut off": (with_attribute("qifscan_scan", '{"model": '), "the store is damaged"),
    "scan a number": (with_attribute("qifscan_scan", 3), "the store is damaged"),
    "scan of unknown things": (with_attribute("qifscan_scan", '{"modell": 3}'), "the store is damaged"),
    "scan of other sizes": (with_attribute("qifscan_scan", "{}"), "it is damaged"),
    "scan of another seed": (
        with_attribute("qifscan_scan", qs.Scan(**TINY, seed=1).to_json()),
        "fingerprint",
    ),
    "no fingerprint": (without_attribute("qifscan_fingerprint"), "fingerprint"),
    "no chunks": (without_attribute("qifscan_chunk_shape"), "the store is damaged"),
    "chunks of two dimensions": (with_attribute("qifscan_chunk_shape", [1, 1]), "the store is damaged"),
    "chunks of no points": (with_attribute("qifscan_chunk_shape", [0, 1, 1]), "the store is damaged"),
    "chunks of text": (with_attribute("qifscan_chunk_shape", "abc"), "the store is damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_store_is_refused_by_every_verb_and_left_as_it_is(tiny, tmp_path, name):
    path, scan = tmp_path / "tiny.zarr", write(tmp_path / "tiny.toml", TINY)
    shutil.copytree(tiny, path)
    # With its record, a second copy of the same, such a store is read and mended: tests/test_damage.py.
    shutil.rmtree(path / "qifscan-record")
    BROKEN[name][0](path)
    before = contents(tmp_path)
    with pytest.raises(qs.StoreError) as caught:
        qs.open_scan(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert BROKEN[name][1] in line
    for verb in (lambda: qs.run(qs.Scan(**TINY), path), lambda: qs.verify(path), lambda: qs.show(path)):
        with pytest.raises(qs.StoreError) as caught:
            verb()
        assert str(caught.value) == line
    for command in (("status", path), ("show", path), ("verify", path), ("run", scan, path)):
        assert qifscan(*command) == (2, [f"error: {line}"])
    assert contents(tmp_path) == before


def make_folder(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")


PLACES = {
    "a folder": make_folder,
    "an empty folder": lambda path: path.mkdir(),
    "a file": lambda path: path.write_text("mine"),
    "a zarr group": lambda path: zarr.create_group(str(path)).create_array("a", shape=(3,), dtype="f4"),
    "a zarr array": lambda path: zarr.create_array(str(path), shape=(3,), dtype="f4"),
    "a zarr group of format 2": lambda path: zarr.create_group(str(path), zarr_format=2),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(tmp_path, name):
    path, scan = tmp_path / "other", write(tmp_path / "tiny.toml", TINY)
    PLACES[name](path)
    before = contents(tmp_path)
    for verb in (lambda: qs.run(qs.Scan(**TINY), path), lambda: qs.open_scan(path), lambda: qs.verify(path)):
        with pytest.raises(qs.StoreError, match=r"expected (a store|one) that qifscan run has made"):
            verb()
    for command in (("status", path), ("show", path), ("verify", path), ("run", scan, path)):
        code, lines = qifscan(*command)
        assert (code, len(lines)) == (2, 1)
        assert lines[0].startswith(f"error: {path}: ")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"seed": 1}, "seed"),
        ({"axes": {"eta": [-6.0, -5.0, -4.0], "J": [10.0, 15.5]}}, "axes"),
        ({"axes": {"J": [10.0, 15.0], "eta": [-6.0, -5.0, -4.0]}}, "dimensions"),
        ({"fixed": {"delta": 2.0}}, "fixed"),
        ({"observables": ["r_mean"]}, "observables"),
        ({"protocol": {"transient": 0.0, "window": 2.0}}, "protocol"),
    ],
)
def test_the_store_of_another_scan_is_refused_and_left_as_it_is(tiny, tmp_path, change, differing):
    other = qs.Scan(**{**TINY, "title": "other", **change})
    before = contents(tiny)
    with pytest.raises(qs.StoreError) as caught:
        qs.run(other, tiny)
    (line,) = str(caught.value).splitlines()
    for word in (str(tiny), '"tiny"', qs.Scan(**TINY).fingerprint[:12], other.fingerprint[:12]):
        assert word in line
    assert f"they differ in {differing};" in line
    scan = write(tmp_path / "other.toml", {**TINY, **change})
    code, lines = qifscan("run", scan, tiny)
    assert (code, lines) == (2, [f"error: {line}"])
    assert contents(tiny) == before
    assert [p.name for p in tmp_path.iterdir()] == ["other.toml"]


def test_a_store_below_a_file_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "file.txt").write_text("mine")
    scan = write(tmp_path / "tiny.toml", TINY)
    before = contents(tmp_path)
    path = tmp_path / "file.txt" / "tiny.zarr"
    with pytest.raises(qs.StoreError, match=r"file\.txt/tiny\.zarr: can't be written"):
        qs.run(qs.Scan(**TINY), path)
    code, lines = qifscan("run", scan, path)
    assert (code, len(lines)) == (2, 1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["status", "show", "verify"])
def test_a_store_that_is_not_there_is_refused(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    line = "error: none.zarr: not found; expected a store that qifscan run has made"
    assert qifscan(command, "none.zarr") == (2, [line])
    assert qifscan(command, "none.toml") == (2, [line])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (["-v", "r_maen"], 'observable: found "r_maen", expected one of r_mean, r_std, dt'),
        (["--x", "etaa"], 'x: found "etaa", expected one of eta, J, replicate; did you mean "eta"?'),
        (["--y", "tau"], 'y: found "tau", expected one of eta, J, replicate'),
        (["--facet", "tau"], 'facet: found "tau", expected one of eta, J, replicate'),
        (["--select", "K=3"], 'select: found "K", expected one of eta, J, replicate'),
        (["--select", "J=ten"], "select.J: found "),
        (["--select", "J=nan"], "select.J: found nan"),
        (["--select", "J=500"], "select.J: found 500.0, expected a value of that axis, from 10 to 15"),
        (["--select", "J"], '--select: found "J", expected NAME=VALUE'),
        (["--x", "eta", "--y", "eta"], "x, y, facet: found eta twice"),
        (["--x", "eta", "--select", "eta=-5"], "x: found eta"),
        (["--select", "eta=-5", "--select", "J=10"], "x: found no dimension with several values"),
        (["-o", "none/figure.png"], "none/figure.png: found no such folder"),
        (["-o", "file.txt/figure.png"], "file.txt/figure.png: found no such folder"),
        (["-o", "figure.foo"], "figure.foo: found \"Format 'foo' is not supported"),
    ],
)
def test_a_figure_that_can_not_be_drawn_is_refused_and_leaves_nothing(
    tiny, tmp_path, monkeypatch, options, start
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("mine")
    before = contents(tiny), contents(tmp_path)
    code, lines = qifscan("show", tiny, *options)
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: {start}")
    assert (contents(tiny), contents(tmp_path)) == before
    assert not tiny.with_suffix(".png").exists()


def test_a_figure_of_a_damaged_chunk_is_refused(tiny, tmp_path):
    path = tmp_path / "tiny.zarr"
    shutil.copytree(tiny, path)
    (chunk,) = (p for p in (path / "r_mean" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(bytes(len(chunk.read_bytes())))
    code, lines = qifscan("show", path)
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: {path}: a chunk can't be read (")
    assert lines[0].endswith("qifscan verify finds what is damaged and repairs it")
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.zarr"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["draw"],
        ["plan"],
        ["run", "scan.toml", "--worker", "2"],
        ["run", "scan.toml", "--workers", "0"],
        ["run", "scan.toml", "--chunk-points", "many"],
        ["verify", "scan.zarr", "--points", "-1"],
    ],
)
def test_a_command_line_that_is_wrong_ends_with_2(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert qifscan(*arguments)[0] == 2
    assert not list(tmp_path.iterdir())


def test_an_unknown_client_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(qs.ScanError, match='client: found "treads", expected'):
        qs.run(qs.Scan(**TINY), tmp_path / "tiny.zarr", client="treads")
    scan = write(tmp_path / "tiny.toml", TINY)
    code, lines = qifscan("run", scan, tmp_path / "tiny.zarr", "--client", "treads")
    assert (code, len(lines)) == (2, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_scan_too_large_for_the_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    steps = {"linspace": [1.0, 2.0, 10_000]}
    large = {"axes": {"eta": steps, "J": steps, "delta": steps}, "protocol": {"window": 1.0}}
    traced = {**TINY, "protocol": {"window": 5e7}, "traces": {"points": [{}]}}
    monkeypatch.chdir(tmp_path)
    for definition, size in ((large, "102.8 TiB"), (traced, "89.4 GiB")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 0, 2**30))
        with pytest.raises(qs.ScanError, match=f"plan: found {size} to write, expected at most the 1.0 GiB"):
            qs.run(qs.Scan(**definition), tmp_path / "large.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["axis", "store", "usage"])
def test_the_installed_command_says_it_without_a_traceback(tmp_path, name):
    write(tmp_path / "bad.toml", {"axes": {"etaa": [1]}})
    write(tmp_path / "good.toml", TINY)
    make_folder(tmp_path / "folder")
    arguments = {"axis": ["run", "bad.toml"], "store": ["run", "good.toml", "folder"], "usage": ["run"]}[name]
    command = Path(sys.executable).with_name("qifscan")
    before = contents(tmp_path)
    done = subprocess.run([command, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if name != "usage":
        assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert contents(tmp_path) == before
