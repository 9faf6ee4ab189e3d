"""Objects of another kind than asked for, and sizes beyond all bounds: one line each, at once."""

import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main

SCAN = qs.Scan(axes={"eta": [-5.0, -4.0]})

LONG = np.linspace(1.0, 2.0, 10**6)
HUGE = qs.Scan(axes={"eta": LONG, "J": LONG, "delta": LONG, "tau": LONG[:100]})

WRONG = {
    "a path for a scan": (lambda p: qs.run("scan.toml", p / "s.zarr"), 'qifscan.Scan.from_toml("scan.toml")'),
    "a dict for a scan": (
        lambda p: qs.run({"axes": {"eta": [1.0]}}, p / "s.zarr"),
        "qifscan.Scan(**definition)",
    ),
    "a store for a scan": (lambda p: qs.plan("s.zarr"), "expected a qifscan.Scan"),
    "swapped": (lambda p: qs.run(p / "s.zarr", SCAN), "the scan comes first"),
    "no path": (lambda p: qs.run(SCAN, 3), "path: found 3"),
    "progress": (
        lambda p: qs.run(SCAN, p / "s.zarr", progress=True),
        'progress: found true, expected "auto"',
    ),
    "progress by name": (lambda p: qs.run(SCAN, p / "s.zarr", progress="tqdm"), 'progress: found "tqdm"'),
    "an array as a drive": (lambda p: qs.Scan(drive=np.ones(10)), "qifscan.Sampled(values="),
    "a name as a drive": (lambda p: qs.Scan(drive="sine"), "give qifscan.Sine(...)"),
    "an assignment": (lambda p: setattr(SCAN, "seed", 3), "qifscan.Scan(..., seed=3)"),
    "an assignment to a protocol": (
        lambda p: setattr(SCAN.protocol, "dt", 0.1),
        "qifscan.Protocol(..., dt=0.1)",
    ),
    "an assignment to no field": (lambda p: setattr(SCAN, "sead", 3), 'unknown key "sead"'),
    "a field deleted": (lambda p: delattr(SCAN, "seed"), "seed: found deleted"),
    "a file by place": (lambda p: qs.Scan("scan.toml"), 'qifscan.Scan.from_toml("scan.toml")'),
    "a dict by place": (lambda p: qs.Scan({"axes": {}}), "qifscan.Scan(**definition)"),
    "a number by place": (lambda p: qs.Sine(1.0), "qifscan.Sine(amplitude=...)"),
    "a word for a flag": (lambda p: qs.run(SCAN, p / "s.zarr", checkpoint="no"), 'checkpoint: found "no"'),
    "a flag of a plan": (lambda p: qs.plan(SCAN, probe="no"), 'probe: found "no"'),
    "a flag of verify": (lambda p: qs.verify(p, repair="yes"), 'repair: found "yes"'),
    "a flag of show": (lambda p: qs.show(p, folds="no"), 'folds: found "no"'),
    "a list as a selection": (lambda p: qs.show(p, select=["eta"]), 'e.g. select={"eta": -5.0}'),
    "a text as a selection": (lambda p: qs.show(p, select="eta=-5"), 'e.g. select={"eta": -5.0}'),
    "a number for what is drawn": (lambda p: qs.show(3), "data: found 3, expected"),
    "a number over what is drawn": (lambda p: qs.show(qs.branch(points=4), over=[3]), "over[0]: found 3,"),
    "nothing for a scan's results": (lambda p: qs.hysteresis(None), "data: found nothing, expected"),
    "a list for time series": (lambda p: qs.power_spectrum([1, 2]), "data: found [1, 2], expected"),
    "a number to explore": (lambda p: qs.explore(3), "data: found 3, expected a store"),
    "a number as a table": (lambda p: qs.read_pycobi(3), "table: found 3, expected a pandas DataFrame"),
    "a list of axes": (lambda p: qs.Scan(axes=["eta"]), "names with values: a dict, or in a file a table"),
    "a flag of equilibria": (lambda p: qs.equilibria(distances=3), "distances: found 3"),
    "a number as a model to check": (lambda p: qs.check_model(3), "model: found 3"),
    "a word for a number of processes": (lambda p: qs.local_cluster("two"), 'workers: found "two"'),
    "no process": (lambda p: qs.local_cluster(0), "workers: found 0"),
    "an option that Dask has not": (lambda p: qs.local_cluster(1, memory="1GB"), 'an option "memory"'),
    "a trace too long for the memory": (
        lambda p: qs.run(
            qs.Scan(protocol=qs.Protocol(window=1e7), traces=qs.Traces(points=[{}])),
            p / "s.zarr",
            client="serial",
        ),
        "fewer times of a trace",
    ),
    "a billion replicates": (
        lambda p: qs.run(qs.Scan(replicates=10**9), p / "s.zarr", client="serial"),
        "to write, expected at most",
    ),
    "too many points": (
        lambda p: qs.run(HUGE, p / "s.zarr", client="serial"),
        "to write, expected at most",
    ),
    "too many traces": (
        lambda p: qs.Scan(replicates=10**9, traces=qs.Traces(points=[{}])),
        "traces.points: found 1,000,000,000 points",
    ),
    "deep JSON": (lambda p: qs.Scan.from_json("[" * 100_000), "expected the JSON of a scan"),
    "a long name": (
        lambda p: qs.Scan(axes={"a" * 300: {"eta": [1.0, 2.0], "J": [1.0, 2.0]}}),
        "a name of 300 characters",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_object_is_one_line(tmp_path, case):
    attempt, words = WRONG[case]
    with pytest.raises(qs.ScanError) as caught:
        attempt(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert words in line
    assert len(line.replace(str(tmp_path), "")) <= 200
    assert not list(tmp_path.iterdir())


def test_more_points_than_an_integer_of_64_bits_counts_are_planned():
    """10^6 x 10^6 x 10^6 x 100; the mean step is that of points spread evenly over all of them."""
    made = qs.plan(HUGE)
    assert made.points == 10**20
    assert made.mean_steps is not None
    sample = made.chunks.sample(5)
    assert [column.tolist() for column in sample[:1]] == [[0, 249_999, 499_999, 749_999, 999_999]]
    assert [int(column[-1]) for column in sample] == [10**6 - 1, 10**6 - 1, 10**6 - 1, 99]
    with pytest.raises(qs.ScanError, match="TiB to write"):
        made.check(".")


def test_the_command_says_in_one_line_what_is_too_large(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text("replicates = 1_000_000_000\n[traces]\npoints = [{}]\n")
    for command in ("plan", "run"):
        told = CliRunner().invoke(main, [command, "s.toml"])
        assert told.exit_code == 2
        assert told.output.startswith("error: s.toml: traces.points: found 1,000,000,000 points")
        assert len(told.output.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]


def test_names_that_a_line_leaves_out_are_in_the_error_and_below_it(tmp_path):
    with pytest.raises(qs.ScanError, match=r"\(24 in all: qifscan names\)") as caught:
        qs.Scan(fixed={"tauu": 1.0}, observables=["spikes"])
    known = caught.value.faults[1].known
    assert len(known) == 24
    assert {"r_mean", "lyapunov_2", "down_residence_squares"} <= set(known)
    (tmp_path / "s.toml").write_text('model = "lif"\n')
    told = CliRunner().invoke(main, ["plan", str(tmp_path / "s.toml")]).output
    assert f"({len(qs.models())} in all: qifscan names)" in told
    printed = CliRunner().invoke(main, ["names"]).output.split()
    assert {*known, "qif_plasticity", "qif_pair", "qif_delay", "tau", "v_ou_sigma", "drive_period"} <= {
        *printed
    }
    assert "tau_a" in CliRunner().invoke(main, ["names", "qif_adaptation_alpha"]).output.split()
    assert CliRunner().invoke(main, ["names", "lif"]).exit_code == 2


def test_errors_travel_between_processes_as_they_are():
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan(model="lif", replicates=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert len(str(again).splitlines()) == 2
    assert again.faults == caught.value.faults
    assert again.faults[0].known == caught.value.faults[0].known


def test_a_cluster_without_a_main_guard_is_refused_in_one_line_before_a_process_starts(tmp_path):
    script = tmp_path / "script.py"
    bare = """
import qifscan as qs
def go():
    qs.local_cluster(1).close()
try:
    go()
except qs.ScanError as error:
    print(error)
"""
    guarded = bare.replace("try:", 'if __name__ == "__main__":\n  try:').replace(
        "    go()", "    go(); print(1)"
    )
    guarded = guarded.replace("except", "  except")
    for text, words in ((bare, "line 6 of script.py, which every process runs"), (guarded, "1\n")):
        script.write_text(text)
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False
        )
        assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
        assert words in done.stdout
        assert not done.stderr


def test_a_billion_replicates_have_a_size_without_being_listed():
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, replicates=10**9)
    assert scan.sizes == {"eta": 2, "replicate": 10**9}


def test_a_number_of_thousands_of_digits_in_an_auto_file_is_refused_at_once(tmp_path):
    header = "   0    IPS = 1  ISW = 1\n   0    PT  TY  LAB    PAR(1)        L2-NORM         U(1)\n"
    row = f"   1     1  9    1   {'1' * 5000}  1.0E+00  1.0E+00\n"
    (tmp_path / "b.x").write_text(header + row)
    begin = time.perf_counter()
    with pytest.raises(qs.ScanError):
        qs.read_auto(tmp_path / "b.x")
    assert time.perf_counter() - begin < 5.0
