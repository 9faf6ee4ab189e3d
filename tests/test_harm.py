"""Scans and stores that somebody made to do harm: refused, in a bounded time, and nothing is run."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main

SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 4)},
    protocol=qs.Protocol(transient=0.5, window=0.5),
    observables=["r_mean"],
)
ONE = "[axes]\neta = [1.0]\n"
TOML = {
    "an axis of a million million values": "[axes]\neta = { linspace = [0, 1, 1000000000000] }\n",
    "an integer of 5000 digits": f"[axes]\neta = {{ linspace = [0, 1, 1{'0' * 5000}] }}\n",
    "lists in lists": f"[axes]\neta = {'[' * 20_000}{']' * 20_000}\n",
    "tables in tables": f"[{'.'.join('a' * 20_000)}]\nx = 1\n",
    "three thousand axes": "[axes]\n" + "".join(f"p{i} = [1.0]\n" for i in range(3000)),
    "a name of 100,000 letters": f"[axes]\n{'a' * 100_000} = [1.0]\n",
    "replicates without end": f"replicates = 1000000000000000000000\n{ONE}",
    "a window without end": f"{ONE}[protocol]\nwindow = 1e300\n",
    "a model that is a function of Python's": f'model = "os:system"\n{ONE}',
    "bytes that are no text": b"\xff\xfe[axes]",
}


@pytest.mark.parametrize("name", TOML)
def test_a_hostile_scan_is_refused_or_planned_and_never_takes_long(name, tmp_path):
    path, text = tmp_path / "scan.toml", TOML[name]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    begin = time.process_time()
    done = CliRunner().invoke(main, ["plan", str(path), "--no-probe"])
    assert time.process_time() - begin < 20.0
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 2)
    if done.exit_code:
        assert all(line.startswith("error: ") for line in done.stderr.splitlines())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    qs.run(SCAN, path, client="serial", chunk_points=2)
    return path


def attributes(**changes):
    def change(path):
        for name in ("zarr.json", "qifscan-record/zarr.json"):
            data = json.loads((path / name).read_text())
            own = data["attributes"] if name == "zarr.json" else data["attributes"]["attributes"]
            own.update(changes)
            (path / name).write_text(json.dumps(data))

    return change


def metadata(name, **changes):
    def change(path):
        file = path / name / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def link(path):
    (path / "status" / "c" / "0").unlink()
    (path / "status" / "c" / "0").symlink_to("/etc/hostname")


GRID = {"name": "regular", "configuration": {"chunk_shape": [10**12]}}
DEEP = "[" * 50_000 + "]" * 50_000
HUGE = json.loads(SCAN.to_json()) | {"axes": {"eta": {"linspace": [0, 1, 10**12]}}}
STORES = {
    "an array as large as a disk": metadata("r_mean", shape=[10**18]),
    "a chunk as large as a disk": metadata("status", shape=[10**12], chunk_grid=GRID),
    "a scan of a million million points": attributes(qifscan_scan=json.dumps(HUGE)),
    "a scan of lists in lists": attributes(qifscan_scan=DEEP),
    "a scan that is a number": attributes(qifscan_scan=7),
    "a model that is a function of Python's": attributes(
        qifscan_scan=json.dumps(json.loads(SCAN.to_json()) | {"model": "os:system"})
    ),
    "chunks larger than the scan": attributes(qifscan_chunk_shape=[10**30]),
    "chunks of no size": attributes(qifscan_chunk_shape=[-1]),
    "a checkpoint as large as a disk": attributes(qifscan_checkpoint=10**18),
    "a variable outside of the store": attributes(qifscan_variables=["../../etc/passwd"]),
    "an origin of another kind": attributes(qifscan_origin={"device": ["x"], "versions": {"a": [1]}}),
    "a codec that unpickles": metadata("status", codecs=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "metadata of lists in lists": lambda path: (path / "zarr.json").write_text(f'{{"attributes": {DEEP}}}'),
    "a link out of the store": link,
    "a log that is a link": lambda path: Path(f"{path}.jsonl").symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("name", STORES)
def test_a_hostile_store_is_looked_at_and_gone_on_with_or_refused(name, whole, tmp_path):
    path = Path(shutil.copytree(whole, tmp_path / "scan.zarr"))
    (tmp_path / "scan.toml").write_text(SCAN.to_toml())
    STORES[name](path)
    begin = time.process_time()
    for command in (["status", str(path)], ["run", str(tmp_path / "scan.toml"), str(path)]):
        done = CliRunner().invoke(main, command)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code in (0, 2), done.output
        assert all(len(line) < 400 for line in done.output.splitlines())
        assert "root:" not in done.output
    assert time.process_time() - begin < 30.0


@pytest.mark.cluster
def test_a_cluster_of_this_machine_listens_on_loopback_alone():
    with qs.local_cluster(1) as client:
        client.wait_for_workers(1)
        mine = [psutil.Process(), *psutil.Process().children(recursive=True)]
        heard = [c.laddr.ip for p in mine for c in p.net_connections("inet") if c.status == "LISTEN"]
    assert heard
    assert set(heard) <= {"127.0.0.1", "::1"}
