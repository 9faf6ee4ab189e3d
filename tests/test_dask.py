"""A Dask cluster reached by its address: processes on loopback, of which some leave or fail."""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import distributed
import numpy as np
import pytest

import qifscan as qs
from qifscan.runs import tasks as dask_tasks
from qifscan.runs import workers
from qifscan.runs.cluster import DaskClient

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


def test_a_pool_of_forked_processes_is_refused_in_one_line_and_does_not_hang(tmp_path):
    code = """
import multiprocessing
import warnings
import qifscan as qs
warnings.simplefilter("ignore")

SCAN = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=0.5, window=0.5))

def again(path):
    try:
        qs.run(SCAN, path)
    except qs.RunError as error:
        return str(error)

if __name__ == "__main__":
    qs.run(SCAN, "here.zarr", client="serial")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply_async(again, ["there.zarr"]).get(timeout=60))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("this process was forked from one in which JAX was running")
    assert "spawn" in line
    assert not (tmp_path / "there.zarr").exists()


def test_a_scheduler_without_workers_is_said_to_be_waited_for(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as alone,
        distributed.Client(alone) as client,
        ThreadPoolExecutor(1) as aside,
        caplog.at_level("WARNING", logger="qifscan"),
    ):
        running = aside.submit(qs.run, small_scan(), tmp_path / "scan.zarr", client=client)
        deadline = time.monotonic() + 30.0
        while "no workers" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.1)
        told = caplog.text
        alone.scale(1)
        running.result(timeout=60)
    assert "no workers" in told
    assert (qs.open_scan(tmp_path / "scan.zarr")["status"] > 0).all()


GOES_ON = Event()


def busy():
    GOES_ON.wait()


def number(argument, chunk):
    return argument + chunk


def test_a_chunk_that_waits_at_a_worker_that_is_paused_is_given_to_another(monkeypatch, caplog):
    """Dask leaves it there: it takes no short tasks, and none of a worker that has one a thread."""
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with (
        # Without a limit of its memory nothing lets the worker go on.
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster) as client,
        caplog.at_level("WARNING", logger="qifscan"),
    ):
        tasks = dask_tasks.Tasks(client, number, 40)
        for chunk in range(20):
            tasks.submit(chunk)
            found, outcome = tasks.next_outcome()
            assert (found, outcome.result) == (chunk, 40 + chunk)
        before = client.submit(busy, pure=False)
        tasks.submit(2)
        (worker,) = cluster.workers.values()

        async def pause():
            worker.status = distributed.Status.paused

        while len(client.processing()[worker.address]) < 2:
            time.sleep(0.01)
        cluster.sync(pause)
        GOES_ON.set()
        distributed.wait(before)
        cluster.scale(2)
        found, outcome = tasks.next_outcome()
        assert (found, outcome.result) == (2, 42)
    assert f"{worker.address} is paused" in caplog.text


def test_a_chunk_that_was_handed_to_workers_which_all_left_is_handed_to_those_that_come(monkeypatch):
    """Dask keeps it for the workers it was for, where none was there for a moment, though any may have it."""
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        tasks = dask_tasks.Tasks(client, number, 40)
        tasks.workers.threads = {"tcp://127.0.0.1:9": 1}
        tasks.submit(2, avoided=["tcp://127.0.0.1:10"])
        cluster.scale(1)
        found, outcome = tasks.next_outcome()
        assert (found, outcome.result) == (2, 42)


TOGETHER = Barrier(8)


def meeting(argument, chunk):
    TOGETHER.wait(timeout=60)
    return chunk


def test_every_thread_of_a_cluster_has_work_however_many_there_are(monkeypatch):
    monkeypatch.setattr(dask_tasks, "WINDOW", 2)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=4, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        outcomes = DaskClient(client).outcomes(meeting, None, range(24))
        assert sorted(outcomes) == [(chunk, chunk) for chunk in range(24)]


def test_chunks_are_handed_out_many_at_a_time_while_the_window_stays_nearly_full(monkeypatch):
    """In their order; each hand-out costs the scheduler about as much as a chunk, and a line in its log."""
    monkeypatch.setattr(dask_tasks, "WINDOW", 64)
    portions, submit = [], dask_tasks.Tasks.submit

    def counted(self, *chunks, **options):
        portions.append((len(self.pending), chunks))
        submit(self, *chunks, **options)

    monkeypatch.setattr(dask_tasks.Tasks, "submit", counted)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        outcomes = DaskClient(client).outcomes(number, 40, range(300))
        assert sorted(outcomes) == [(chunk, 40 + chunk) for chunk in range(300)]
    assert [chunk for _, chunks in portions for chunk in chunks] == list(range(300))
    assert [len(chunks) for _, chunks in portions[:2]] == [64, 8]
    assert all(before == 64 - 8 for before, _ in portions[1:])
    assert len(portions) == 1 + -(-(300 - 64) // 8)


def test_a_result_whose_worker_has_left_is_said_to_be_waited_for(monkeypatch, caplog):
    """Between the end of a chunk and the fetch of its result a worker can be lost, with the result."""
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as aside,
        caplog.at_level("WARNING", logger="qifscan"),
    ):
        future = client.submit(pow, 7, 2, pure=False)
        distributed.wait(future)
        (worker,) = cluster.workers.values()
        cluster.scale(0)
        cluster.sync(worker.close, reason="lost", nanny=False)
        fetched = aside.submit(dask_tasks.Tasks(client, None, None).result, future)
        deadline = time.monotonic() + 30.0
        while "no workers" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.1)
        told = caplog.text
        cluster.scale(1)
        assert fetched.result(timeout=60) == 49
    assert "no workers" in told
