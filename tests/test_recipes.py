"""The recipes in scans/clusters, with stand-ins for a queue and for ssh that run what they get; and TLS."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main

pytestmark = pytest.mark.cluster

RECIPES = Path(__file__).parents[1] / "scans" / "clusters"

TOML = """
observables = ["r_mean"]
[axes]
eta = { linspace = [-6, -3, 24] }
[protocol]
transient = 0.5
window = 0.5
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a scan, and commands of its own before all others."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "scan.toml").write_text(TOML)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SCHEDULER_HOST", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stand_in(folder, name, script):
    command = folder / "bin" / name
    command.write_text(f"#!/bin/bash\n{script}\n")
    command.chmod(0o755)


def ran(*command, **environment):
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **environment},
    )


def history():
    return qs.open_scan("scan.zarr").attrs["history"].splitlines()[1:]


@pytest.mark.thorough
def test_a_job_of_slurm_starts_scheduler_and_workers_and_runs_a_scan(folder):
    stand_in(folder, "sbatch", 'exec bash "$@"')
    stand_in(folder, "srun", 'exec "$@" --host 127.0.0.1')
    done = ran("sbatch", RECIPES / "slurm.sh", "scan.toml", folder / "scan.zarr", SLURM_CPUS_ON_NODE="1")
    assert done.returncode == 0, done.stderr
    assert "24 of 24 points" in done.stdout
    assert "of the Dask cluster tcp://127.0.0.1:" in history()[0]
    assert sorted(p.name for p in folder.glob("*.json")) == []


@pytest.mark.thorough
@pytest.mark.parametrize("queue", ["sbatch", "qsub"])
def test_a_job_whose_time_is_over_hands_itself_in_again_and_ends_when_the_scan_is_finished(folder, queue):
    """The queue gives the first job too little, and says so by the signal that is asked for."""
    first = f'job=$!; while [ ! -e "{folder}/scan.zarr" ]; do sleep 0.05; done; kill -TERM $job; wait $job'
    given = 'echo "$@" >> handed_in'
    if queue == "sbatch":
        script = f'{given}; if [ -e second ]; then bash "$@"; else touch second; bash "$@" & {first}; fi'
        stand_in(folder, queue, script)
        done = ran("sbatch", RECIPES / "one_node.sh", "scan.toml", "scan.zarr")
    else:
        script = (
            f'{given}; export PBS_JOBID=1 PBS_O_WORKDIR="$PWD"; '
            'IFS=, read -ra pairs <<< "$2"; export "${pairs[@]}"; '
            f'if [ -e second ]; then bash "$3"; else touch second; bash "$3" & {first}; fi'
        )
        stand_in(folder, queue, script)
        done = ran("qsub", "-v", "SCAN=scan.toml,STORE=scan.zarr", RECIPES / "one_node.sh")
    assert done.returncode == 0, done.stderr
    assert len((folder / "handed_in").read_text().splitlines()) == 2
    assert qs.open_scan("scan.zarr")["status"].values.all()


@pytest.fixture
def keys(folder):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    done = ran("sh", RECIPES / "certificates.sh", folder / "keys")
    assert done.returncode == 0, done.stderr
    return folder / "keys"


def test_machines_reached_by_ssh_run_a_scan_and_nobody_else_can_use_them(folder, keys, monkeypatch):
    # The scheduler is still there when its address is tried without certificates, and with half of them.
    stand_in(folder, "ssh", 'shift; exec bash -c "$* --host tls://127.0.0.1"')
    stand_in(folder, "qifscan", f'for i in "$@"; do echo "$i" >> "{folder}/told"; done; sleep 30')
    script = subprocess.Popen(
        ["bash", str(RECIPES / "ssh.sh"), "scan.toml", "scan.zarr", str(keys)],
        env={**os.environ, "HOSTS": "node1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = folder / "told"
        for _ in range(600):
            if told.exists() and len(told.read_text().split()) >= 11:
                break
            time.sleep(0.1)
        asked = told.read_text().split()
        address = asked[asked.index("--scheduler") + 1]
        assert address.startswith("tls://127.0.0.1:")
        monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "3s")
        for options, why in (
            (["--scheduler", address], "expected the address of a running scheduler"),
            (["--scheduler", address, "--tls-ca", keys / "ca.pem"], "found 1 of three"),
            (["--scheduler", address, *asked[5:9], "--tls-key", "no.key"], 'found no file "no.key"'),
        ):
            refused = CliRunner().invoke(main, ["run", "scan.toml", "no.zarr", *map(str, options)])
            assert refused.exit_code == 2, refused.output
            assert why in refused.output
            assert len(refused.output.splitlines()) == 1
        assert not Path("no.zarr").exists()
        done = CliRunner().invoke(main, [*asked, "--workers", "1"])
        assert done.exit_code == 0, done.output
        assert f"of the Dask cluster {address}" in history()[0]
    finally:
        os.killpg(script.pid, 15)
        script.wait()
