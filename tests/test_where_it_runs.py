"""Where a run is called from: a coroutine, a fork, a daemon, a task; it works, or is refused in one line."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import dask
import distributed
import numpy as np
import pytest

import qifscan as qs
from qifscan.runs import cluster, tasks, workers
from qifscan.runs.cluster import DaskClient

pytestmark = pytest.mark.cluster

SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 8)},
    protocol=qs.Protocol(transient=0.5, window=0.5),
    observables=["r_mean"],
)


@pytest.fixture
def client():
    options = {"processes": False, "threads_per_worker": 2, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=1, **options) as made, distributed.Client(made) as client:
        yield client


def refusal(*arguments, **options):
    with pytest.raises(qs.QifscanError) as refused:
        qs.run(SCAN, *arguments, **options)
    (line,) = str(refused.value).splitlines()
    return line


def test_in_a_coroutine_a_client_of_another_loop_works_and_an_asynchronous_one_is_refused(client, tmp_path):
    async def cell():
        found = qs.run(SCAN, tmp_path / "scan.zarr", client=client, chunk_points=4)
        works = found["status"].values.all()
        async with distributed.Client(client.scheduler.address, asynchronous=True) as mine:
            return works, refusal(tmp_path / "no.zarr", client=mine)

    works, line = asyncio.run(cell())
    assert works
    assert "found an asynchronous client, expected one that is not; make it with asynchronous=False" in line
    assert not (tmp_path / "no.zarr").exists()


def test_in_the_loop_of_a_client_a_run_is_refused(client, tmp_path):
    told, over = [], threading.Event()

    def inside():
        try:
            told.append(refusal(tmp_path / "no.zarr", client=client))
        finally:
            over.set()

    client.loop.add_callback(inside)
    assert over.wait(60)
    assert "found an asynchronous client, expected one that is not" in told[0]


def test_a_client_whose_loop_does_not_run_is_refused(monkeypatch):
    """As in a process that was forked from that of the client, where its thread is not."""
    monkeypatch.setattr(cluster, "ANSWERS_IN", 0.05)
    loop = SimpleNamespace(add_callback=lambda call: None, asyncio_loop=None)
    dead = SimpleNamespace(asynchronous=False, status="running", loop=loop)
    with pytest.raises(qs.ScanError, match="one whose event loop can't run here"):
        cluster.blocking(dead)


FORKED = """
import multiprocessing, sys, warnings
import numpy as np
import qifscan as qs
from qifscan.runs import cluster
warnings.simplefilter("ignore")
cluster.ANSWERS_IN = 2.0
SCAN = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=0.5, window=0.5))

def again(path, queue):
    try:
        qs.run(SCAN, path)
        queue.put("finished")
    except qs.QifscanError as error:
        queue.put(str(error))

if __name__ == "__main__":
    import distributed
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as made:
        with distributed.Client(made):
            child = context.Process(target=again, args=("forked.zarr", queue), daemon=True)
            child.start()
            print(queue.get(timeout=60))
            child.kill()
"""


def test_a_fork_of_a_process_with_a_client_is_refused_in_one_line_and_does_not_hang(tmp_path):
    (tmp_path / "script.py").write_text(FORKED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "found one whose event loop can't run here" in line
    assert not (tmp_path / "forked.zarr").exists()


LET_GO = threading.Event()


def hanging(argument, chunk):
    if chunk == argument:
        LET_GO.wait(60)
    return chunk


@pytest.fixture
def impatient(monkeypatch):
    """Chunks that have no end until the test has one, and a run that soon thinks so."""
    monkeypatch.setattr(workers, "PATIENCE", 0.3)
    monkeypatch.setattr(tasks, "HUNG", 1.0)
    monkeypatch.setattr(tasks, "HUNG_FIRST", 2.0)
    LET_GO.clear()
    yield
    LET_GO.set()


def is_reported_alone(outcomes, hanging, chunks):
    found = dict(outcomes)
    for chunk in hanging:
        error = found.pop(chunk)
        assert isinstance(error.error, TimeoutError)
        assert "no end after" in str(error)
    assert found == {chunk: chunk for chunk in range(chunks) if chunk not in hanging}


def test_a_chunk_that_hangs_is_reported_and_no_other(client, impatient):
    is_reported_alone(DaskClient(client).outcomes(hanging, 3, range(8)), {3}, 8)


def hanging_or_slow(argument, chunk):
    time.sleep(0.05)
    return hanging(argument, chunk)


def test_a_worker_that_hangs_is_ended_while_others_go_on_and_the_chunk_waits_till_the_end(impatient, caplog):
    """It held no chunk back: the other worker always had a result."""
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=2, **options) as made, distributed.Client(made) as client:
        outcomes = list(DaskClient(client).outcomes(hanging_or_slow, 2, range(60)))
        LET_GO.set()
    is_reported_alone(outcomes, {2}, 60)
    assert outcomes[-1][0] == 2
    first = next(record.message for record in caplog.records if "hangs in chunk 2" in record.message)
    assert first.endswith("is ended for another to come in its place")
    assert "nothing came" not in caplog.text.partition(first)[0]


@pytest.mark.thorough
def test_the_nanny_of_a_worker_that_hangs_starts_another(impatient, caplog):
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options) as made, distributed.Client(made) as client:
        is_reported_alone(DaskClient(client).outcomes(napping_for_ever, 0, range(4)), {0}, 4)
    assert caplog.text.count("is ended for another") == 2


def napping_for_ever(argument, chunk):
    if chunk == argument:
        time.sleep(3600)
    return chunk


def test_where_no_chunk_has_ended_yet_a_long_one_is_waited_for(client, impatient, monkeypatch):
    monkeypatch.setattr(tasks, "HUNG", 0.1)
    monkeypatch.setattr(tasks, "HUNG_FIRST", 60.0)
    threading.Timer(1.5, LET_GO.set).start()
    assert dict(DaskClient(client).outcomes(hanging, 0, [0])) == {0: 0}


def test_where_all_workers_hung_and_none_comes_the_run_ends_in_one_line(impatient, monkeypatch):
    monkeypatch.setattr(workers, "LOST", 1.0)
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=1, **options) as made, distributed.Client(made) as client:
        with pytest.raises(
            qs.RunError, match=r"every worker hung in a chunk \(inproc:.*\), and none came since"
        ):
            dict(DaskClient(client).outcomes(hanging, 0, range(4)))
        LET_GO.set()


def test_a_scheduler_that_is_gone_ends_the_run_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, "--no-dashboard"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        address = f"tcp://127.0.0.1:{port}"
        with distributed.Client(address, timeout=60, set_as_default=False) as mine:
            mine._timeout = 1.0
            threading.Timer(1.0, process.kill).start()
            line = refusal(tmp_path / "scan.zarr", client=mine)
    finally:
        process.kill()
        process.wait()
    assert f"the scheduler {address} is gone" in line


FAILED = []


def failing_twice(argument, chunk):
    FAILED.append(chunk)
    if len(FAILED) <= 2:
        raise OSError("not yet")
    return chunk


def test_dasks_own_options_are_heeded(client):
    """More tries where a chunk failed, and the priority of all chunks."""
    FAILED.clear()
    assert dict(DaskClient(client).outcomes(failing_twice, None, [0])).get(0) != 0
    FAILED.clear()
    with dask.annotate(retries=2, priority=7):
        assert dict(DaskClient(client).outcomes(failing_twice, None, [0])) == {0: 0}


def test_workers_that_are_not_there_yet_are_waited_for(client, caplog, tmp_path):
    threading.Timer(1.0, client.cluster.scale, [2]).start()
    found = qs.run(SCAN, tmp_path / "scan.zarr", client=client, workers=2, chunk_points=4)
    assert "waiting for 2 workers, 1 are there" in caplog.text
    assert found["status"].values.all()


def test_without_a_main_guard_a_cluster_of_this_machine_is_refused_in_one_line(tmp_path):
    (tmp_path / "script.py").write_text("import qifscan as qs\nqs.local_cluster(1)\n")
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert 'expected a call under if __name__ == "__main__":' in last
    assert done.stderr.count("Traceback") == 1
    assert time.monotonic() - begin < 90
    assert os.listdir(tmp_path) == ["script.py"]


def test_a_cluster_that_does_not_start_leaves_no_client_that_all_of_dask_then_waits_for(monkeypatch):
    async def failing(*_, **__):
        raise TimeoutError("no worker")

    monkeypatch.setattr(distributed.Nanny, "start_unsafe", failing)
    with pytest.raises(TimeoutError):
        qs.local_cluster(1)
    with pytest.raises(ValueError, match="No clients found"):
        distributed.default_client()
    assert dask.config.get("scheduler", None) is None


def test_a_chunk_whose_workers_stop_answering_is_not_handed_on_for_ever(client, monkeypatch):
    made = tasks.Tasks(client, pow, None)
    client.cluster.scale(2)
    client.wait_for_workers(2)
    first, _ = made.workers.others(set(), anew=True)
    monkeypatch.setattr(made.workers, "asked", lambda question, **options: {first: [*made.pending]})
    monkeypatch.setattr(
        made, "submit", lambda chunk, avoided: made.pending.update(key=(SimpleNamespace(cancel=int), chunk))
    )
    for _ in range(tasks.MOST_GIVEN):
        assert made.done.empty()
        made.pending["key"] = (SimpleNamespace(cancel=int), 5)
        made._give_to_others({first: "does not answer"})
    chunk, error = made.next_outcome()
    assert chunk == 5
    assert not made.is_tried_again(chunk, error)
    assert made.is_suspected(chunk, error)
    assert not made.is_suspected(chunk, error)
