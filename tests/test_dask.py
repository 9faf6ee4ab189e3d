"""A Dask cluster reached by its address: processes on loopback, of which some leave or fail."""

import socket
import subprocess
import sys
import time

import distributed
import numpy as np
import pytest

import qifscan as qs
from qifscan import backend

pytestmark = pytest.mark.cluster


def small_scan():
    return qs.Scan(
        axes={"eta": np.linspace(-6.0, -3.0, 40)},
        protocol=qs.Protocol(transient=0.5, window=0.5),
        observables=["r_mean"],
    )


@pytest.fixture
def address():
    """A scheduler and a worker, processes of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    at, python = f"tcp://127.0.0.1:{port}", [sys.executable, "-m"]
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["distributed.cli.dask_worker", at, "--host", "127.0.0.1", "--no-nanny", "--nthreads", "1"]
    begun = [
        subprocess.Popen([*python, *one, "--no-dashboard"], stderr=subprocess.DEVNULL)
        for one in (scheduler, worker)
    ]
    time.sleep(1.0)
    yield at
    for process in reversed(begun):
        process.terminate()
        process.wait()


def test_a_run_reaches_a_scheduler_by_its_address_and_a_task_runs_a_scan(address, tmp_path):
    expected = qs.run(small_scan(), tmp_path / "here.zarr", client="serial").load()
    found = qs.run(small_scan(), tmp_path / "there.zarr", client=address, chunk_points=4).load()
    assert found.equals(expected)
    with distributed.Client(address, set_as_default=False) as client:
        path = str(tmp_path / "task.zarr")
        done = client.submit(lambda: qs.run(small_scan(), path)["r_mean"].values, pure=False)
        assert np.array_equal(done.result(timeout=60), expected["r_mean"].values)


def test_a_forked_process_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "_forked", [True])
    with pytest.raises(qs.RunError, match="forked from one in which JAX was running"):
        qs.run(small_scan(), tmp_path / "scan.zarr")
    assert list(tmp_path.iterdir()) == []
