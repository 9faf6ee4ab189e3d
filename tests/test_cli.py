"""The command does what the Python API does, says so in a few lines, and loads no more than it needs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.engine.chunks import Chunks
from qifscan.runs.task import compute_chunk
from qifscan.store import store

TOML = """
title = "tiny"
replicates = 2
observables = ["r_mean", "v_std"]

[axes]
eta = { linspace = [-6, -4, 5] }
J = [10.0, 15.0, 20.0]

[fixed]
v_ou_sigma = 0.3

[protocol]
transient = 0.5
window = 1.28
"""

PNG = b"\x89PNG\r\n\x1a\n"


def qifscan(*arguments):
    """Run the command in this process; return its exit code and the lines on standard output."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.stderr == ""
    return result.exit_code, result.stdout.splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder but for the tiny scan."""
    (tmp_path / "tiny.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the tiny scan, after `qifscan run`."""
    path = tmp_path_factory.mktemp("finished")
    (path / "tiny.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert qifscan("run", "tiny.toml") == (0, REPORT)
    return path


REPORT = [
    "dataset       tiny.zarr",
    "finished      1 of 1 chunks, 30 of 30 points",
    "points        30 ok",
]


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_plan_prints_the_plan_and_writes_nothing(folder):
    code, lines = qifscan("plan", "tiny.toml", "--no-probe", "--chunk-points", "6")
    assert code == 0
    made = qs.plan(qs.Scan.from_toml("tiny.toml"), probe=False, chunk_points=6)
    assert lines == str(made).splitlines()
    assert lines[1] == "points        30 (eta 5 x J 3 x replicate 2)"
    code, lines = qifscan("plan", "tiny.toml", "--workers", "1")
    assert code == 0
    assert re.fullmatch(r"memory        \d+\.\d [MG]iB at most, 1 worker in one process", lines[-2])
    assert lines[-1] == "time          under 1 s on 1 worker, without theory"
    assert [p.name for p in folder.iterdir()] == ["tiny.toml"]


def test_plan_prints_the_resolved_scan_as_json_on_request(folder):
    code, lines = qifscan("plan", "tiny.toml", "--json")
    assert (code, len(lines)) == (0, 1)
    data = json.loads(lines[0])
    assert data["axes"] == {"eta": [-6.0, -5.5, -5.0, -4.5, -4.0], "J": [10.0, 15.0, 20.0]}
    assert data["fixed"]["v_ou_sigma"] == 0.3
    assert data["fixed"]["delta"] == 1.0
    assert data["protocol"]["integrator"] == "riccati"
    assert qs.Scan.from_json(lines[0]) == qs.Scan.from_toml("tiny.toml")


def test_run_makes_the_dataset_that_python_makes(finished, tmp_path):
    ours = qs.open_scan(finished / "tiny.zarr")
    theirs = qs.run(qs.Scan.from_toml(finished / "tiny.toml"), tmp_path / "python.zarr", client="serial")
    assert dict(ours.sizes) == {"eta": 5, "J": 3, "replicate": 2}
    assert ours.attrs["title"] == "tiny"
    for name in ("r_mean", "v_std", "status"):
        assert ours[name].values.tobytes() == theirs[name].values.tobytes()


def test_run_again_does_nothing_and_says_the_same(finished, monkeypatch):
    monkeypatch.chdir(finished)
    before = files(finished)
    assert qifscan("run", "tiny.toml") == (0, REPORT)
    assert files(finished) == before


def test_run_takes_a_path_for_the_store_the_workers_the_chunks_and_the_client(folder):
    for client in ("serial", "threads"):
        options = ["--chunk-points", "12", "--workers", "2", "--client", client]
        code, lines = qifscan("run", "tiny.toml", f"results/{client}.zarr", *options)
        assert code == 0
        assert lines[:2] == [
            f"dataset       results/{client}.zarr",
            "finished      3 of 3 chunks, 30 of 30 points",
        ]
    assert "on this thread" in qs.open_scan("results/serial.zarr").attrs["history"]
    assert "on 2 threads of this process" in qs.open_scan("results/threads.zarr").attrs["history"]


def test_run_goes_on_where_a_run_was_stopped(folder):
    scan = qs.Scan.from_toml("tiny.toml")
    store.create(folder / "tiny.zarr", Chunks.of(scan, 12), "cpu: any")
    compute_chunk("tiny.zarr", 1)
    before = files(folder / "tiny.zarr" / "r_mean")
    code, lines = qifscan("status", "tiny.toml")
    assert code == 0
    assert lines == [
        "dataset       tiny.zarr",
        "finished      1 of 3 chunks, 12 of 30 points",
        "points        12 ok, 18 not run",
        "to go on      qifscan run again: it does the rest",
    ]
    code, lines = qifscan("run", "tiny.toml")
    assert (code, lines[1:]) == (0, ["finished      3 of 3 chunks, 30 of 30 points", "points        30 ok"])
    after = files(folder / "tiny.zarr" / "r_mean")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_status_takes_the_scan_or_the_store_and_counts_how_points_ended(finished, folder):
    path = finished / "tiny.zarr"
    assert qifscan("status", str(path)) == (0, [f"dataset       {path}", *REPORT[1:]])
    protocol = qs.Protocol(
        transient=0, window=50.0, dt=0.5, integrator="euler", initial={"r": 1.0, "v": 50.0}
    )
    qs.run(qs.Scan(axes={"eta": [5.0, 6.0]}, protocol=protocol), "wild.zarr")
    code, lines = qifscan("status", "wild.zarr")
    assert code == 0
    assert lines[2].startswith("points        2 diverged")


def test_show_draws_a_png_beside_the_store_or_where_it_is_told(finished, folder):
    source = str(finished / "tiny.zarr")
    assert qifscan("show", source) == (0, [f"figure        {finished / 'tiny.png'}"])
    (finished / "tiny.png").unlink()
    options = [
        "-v",
        "r_mean",
        "-v",
        "v_std",
        "--x",
        "J",
        "--y",
        "eta",
        "--select",
        "replicate=1",
        "--no-folds",
    ]
    assert qifscan("show", source, "-o", "map.png", *options) == (0, ["figure        map.png"])
    assert qifscan("show", source, "-o", "lines", "--y", "", "--facet", "J") == (
        0,
        ["figure        lines.png"],
    )
    for name in ("map.png", "lines.png"):
        assert (folder / name).read_bytes().startswith(PNG)
    assert sorted(p.name for p in folder.iterdir()) == ["lines.png", "map.png", "tiny.toml"]


def test_verify_says_that_a_store_is_sound(finished):
    code, lines = qifscan("verify", str(finished / "tiny.zarr"), "--points", "200")
    assert code == 0
    assert lines[:2] == [
        "chunks        1 of 1 finished, each read and its checksum tested",
        "recomputed    30 points, compared bit for bit with the store",
    ]
    assert re.fullmatch(r"half step     in float64: \d+ of 30 paths of noise parted", lines[2])
    assert lines[3] == "truth         by an adaptive solver: nothing compared; 30 left out (noise)"
    assert lines[4].startswith("theory        0 points at rest")
    assert lines[5:] == ["verdict       sound"]


def test_verify_ends_with_1_for_a_damaged_store_and_repairs_it_on_request(folder):
    assert qifscan("run", "tiny.toml", "--chunk-points", "12")[0] == 0
    whole = qs.open_scan("tiny.zarr").load()
    chunk = next(p for p in sorted((folder / "tiny.zarr" / "r_mean" / "c").rglob("*")) if p.is_file())
    damaged = bytearray(chunk.read_bytes())
    damaged[-1] ^= 1
    chunk.write_bytes(bytes(damaged))
    code, lines = qifscan("verify", "tiny.toml")
    assert code == 1
    assert lines[5].startswith("fault         chunk 0: r_mean can't be read: ")
    assert lines[-1].startswith("verdict       1 fault")
    code, lines = qifscan("verify", "tiny.toml", "--repair")
    assert code == 1
    assert lines[-2].startswith("repair        1 damaged chunk")
    assert qifscan("run", "tiny.toml")[0] == 0
    assert qifscan("verify", "tiny.toml")[0] == 0
    again = qs.open_scan("tiny.zarr").load()
    assert all(np.array_equal(again[name], whole[name]) for name in whole.data_vars)


def test_every_command_explains_itself():
    code, lines = qifscan("--help")
    assert code == 0
    summaries = lines[lines.index("Commands:") + 1 :]
    names = [line.split()[0] for line in summaries]
    assert names == [
        "bifurcate",
        "explore",
        "models",
        "names",
        "pack",
        "plan",
        "run",
        "serve",
        "show",
        "status",
        "unpack",
        "verify",
    ]
    assert not [line for line in summaries if line.endswith("...")]
    for name in names:
        code, lines = qifscan(name, "--help")
        assert code == 0
        assert lines[0].startswith("Usage: ")
        assert "Options:" in lines
    assert qifscan("--version") == (0, [f"qifscan, version {qs.__version__}"])


HEAVY = ("jax", "distributed", "dask", "matplotlib", "xarray", "zarr", "scipy", "pandas")


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        (["--help"], ("numpy", "pydantic")),
        (["--version"], ("numpy", "pydantic")),
        (["plan", "tiny.toml", "--no-probe"], ()),
        (["plan", "tiny.toml", "--json"], ()),
    ],
)
def test_a_command_that_runs_nothing_loads_nothing_heavy(folder, arguments, more):
    code = (
        "import sys\nfrom qifscan.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        f"print([name for name in {HEAVY + more!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("qifscan")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"qifscan, version {qs.__version__}\n"
