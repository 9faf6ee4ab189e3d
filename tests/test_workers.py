"""Workers that stop, die, or go over their memory: a run on a cluster ends, or says what it waits for."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest

import qifscan as qs
from qifscan.runs import workers

pytestmark = pytest.mark.cluster

SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 240)},
    protocol=qs.Protocol(transient=0.5, window=0.5),
    observables=["r_mean"],
)


@contextmanager
def started(*arguments, **environment):
    """A process of Dask's on loopback, which ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--no-dashboard"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        with_signal(process, signal.SIGCONT)
        process.kill()
        process.wait()


def with_signal(process, number):
    if process.poll() is None:
        process.send_signal(number)


def worker(address, *options, **environment):
    options = ("--no-nanny", "--nthreads", "1", *options)
    return started("distributed.cli.dask_worker", address, *options, **environment)


@pytest.fixture
def address(monkeypatch):
    """A scheduler alone."""
    monkeypatch.setattr(workers, "PATIENCE", 1.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started("distributed.cli.dask_scheduler", "--port", str(port)):
        yield f"tcp://127.0.0.1:{port}"


@pytest.fixture
def running(address, tmp_path):
    """A run in a thread that ends with the process, whatever becomes of it; `seen` counts its chunks."""
    seen = []

    def run():
        future = Future()

        def work():
            options = {"client": address, "chunk_points": 1, "progress": lambda p: seen.append(p.chunks)}
            try:
                future.set_result(qs.run(SCAN, tmp_path / "scan.zarr", **options))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future

    return seen, run


def wait_for(condition, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


@pytest.mark.thorough
def test_a_worker_that_is_stopped_is_named_and_the_run_goes_on_when_it_does(address, running, caplog):
    seen, run = running
    with worker(address) as only:
        future = run()
        wait_for(lambda: seen and seen[-1] >= 2)
        with_signal(only, signal.SIGSTOP)
        wait_for(lambda: "does not answer" in caplog.text)
        with_signal(only, signal.SIGCONT)
        assert future.result(timeout=240)["status"].values.all()
    assert "nothing came for" in caplog.text
    assert "Ctrl-C ends the run" in caplog.text


@pytest.mark.thorough
def test_a_worker_that_is_killed_is_done_without(address, running):
    seen, run = running
    with worker(address) as first, worker(address):
        future = run()
        wait_for(lambda: seen and seen[-1] >= 2)
        with_signal(first, signal.SIGKILL)
        assert future.result(timeout=240)["status"].values.all()


@pytest.mark.thorough
def test_of_a_run_whose_only_worker_is_killed_it_is_said_that_there_are_none(address, running, caplog):
    seen, run = running
    with worker(address) as only:
        future = run()
        wait_for(lambda: seen and seen[-1] >= 2)
        with_signal(only, signal.SIGKILL)
        wait_for(lambda: "has no workers" in caplog.text)
    with worker(address):
        assert future.result(timeout=240)["status"].values.all()


@pytest.mark.thorough
def test_a_worker_over_its_memory_is_said_to_be_paused(address, running, caplog):
    _, run = running
    with worker(address, "--memory-limit", "60MB"):
        future = run()
        wait_for(lambda: "is paused, over its limit of memory" in caplog.text)
        with worker(address):
            assert future.result(timeout=240)["status"].values.all()


@pytest.mark.thorough
def test_a_worker_with_other_options_is_refused_with_the_reason(address, running, tmp_path):
    """The store takes those of the first worker; of the second no chunk is in it."""
    seen, run = running
    path = tmp_path / "scan.zarr"
    with worker(address) as first:
        future = run()
        wait_for(lambda: seen and seen[-1] >= 2)
        with worker(address, QIFSCAN_XLA_OPTIONS="0", XLA_FLAGS=""):
            assert future.result(timeout=240)["status"].values.all()
            first.kill()
            first.wait()
            (path / "status" / "c" / "3").unlink()
            with pytest.raises(qs.QifscanError, match="other options of XLA"):
                run().result(timeout=240)
    assert qs.run(SCAN, path, client="serial")["status"].values.all()
    assert qs.verify(path, points=64).sound
