"""What goes wrong while a scan runs: nothing that was finished is lost, and a rerun does the rest."""

import asyncio
import errno
import itertools
import logging
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import qifscan as qs
from qifscan.engine import backend, chunk_work, chunks
from qifscan.runs import cluster, driver, plan, state
from qifscan.store import chunk_files, store, writer


def small_scan():
    return qs.Scan(
        axes={"eta": np.linspace(-6.0, -3.0, 40)},
        protocol=qs.Protocol(transient=0.5, window=0.5),
        observables=["r_mean", "v_final"],
    )


@pytest.fixture
def fails_after(monkeypatch):
    """Make the writing of chunks fail with an error after so many."""
    write = writer.write

    def install(count, error):
        written = []

        def failing(opened, chunk, result):
            if len(written) >= count:
                raise error
            written.append(chunk)
            write(opened, chunk, result)

        monkeypatch.setattr(writer, "write", failing)

    yield install
    monkeypatch.undo()


def test_a_full_disk_ends_the_run_with_one_clear_line_and_a_rerun_completes_it(
    tmp_path, monkeypatch, fails_after
):
    path = tmp_path / "scan.zarr"
    expected = qs.run(small_scan(), tmp_path / "whole.zarr").load()
    fails_after(3, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(qs.RunError) as caught:
        qs.run(small_scan(), path, client="serial", chunk_points=4)
    assert str(caught.value) == (
        f"{path}: chunk 3 failed (No space left on device); 7 of 10 chunks are missing; "
        "make room, then run the same command: it does the rest"
    )
    progress, ended = state.state_of(path)
    assert (progress.chunks, progress.points) == (3, 12)
    assert ended["ok"] == 12
    assert ended["not run"] == 28
    monkeypatch.undo()
    assert qs.run(small_scan(), path).load().equals(expected)


def test_a_chunk_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    path = tmp_path / "scan.zarr"
    write = writer.write

    def failing(opened, chunk, result):
        if chunk == 4:
            raise RuntimeError("a bad worker")
        write(opened, chunk, result)

    monkeypatch.setattr(writer, "write", failing)
    with pytest.raises(qs.RunError, match=r"chunk 4 failed \(RuntimeError: a bad worker\); 1 of 10 chunks"):
        qs.run(small_scan(), path, client="threads", chunk_points=4)
    assert state.state_of(path)[0].chunks == 9


def test_a_scan_of_which_every_chunk_fails_ends_early(tmp_path, fails_after):
    fails_after(0, RuntimeError("never"))
    begun = []
    with pytest.raises(qs.RunError, match="10 of 10 chunks are missing"):
        qs.run(small_scan(), tmp_path / "scan.zarr", client="serial", chunk_points=4, progress=begun.append)
    assert len(begun) == 1


def test_a_killed_writers_leftovers_are_not_counted_and_the_store_opens(tmp_path):
    path = tmp_path / "scan.zarr"
    qs.run(small_scan(), path, chunk_points=4)
    for folder in (path, path / "status" / "c", path / "r_mean" / "c"):
        (folder / "3.0123456789abcdef0123456789abcdef.partial").write_bytes(b"half")
    (path / "status" / "c" / "3").unlink()
    assert state.state_of(path)[0].chunks == 9
    assert int((qs.open_scan(path)["status"] > 0).sum()) == 36
    qs.run(small_scan(), path)
    assert state.state_of(path)[0].chunks == 10


def test_every_run_is_in_the_history_with_versions_and_device(tmp_path):
    path = tmp_path / "scan.zarr"
    attributes = qs.run(small_scan(), path).attrs
    assert "created by qifscan" in attributes["history"]
    assert "run of" in attributes["history"].splitlines()[1]
    for key in ("jax_version", "zarr_version", "xarray_version", "device", "dtype", "created"):
        assert attributes[key]
    assert qs.Scan.from_json(attributes["qifscan_scan"]) == small_scan()
    assert attributes["qifscan_fingerprint"] == small_scan().fingerprint


def test_a_chunk_is_written_by_the_thread_that_has_computed_it(tmp_path, monkeypatch):
    """zarr would hand it to others, for which the chunks that are running would wait."""
    cut = chunks.Chunks.of(small_scan(), 20)
    opened = store.create(tmp_path / "scan.zarr", cut, "cpu: any")
    result = chunk_work.run_chunk(cut, 1)
    arrays = chunk_files.arrays_of(opened)

    def start(thread):
        raise AssertionError(f"{thread.name} was started")

    def written():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            patch.setattr(asyncio, "run_coroutine_threadsafe", None)
            writer.write(opened, 1, result)

    with ThreadPoolExecutor(1) as worker:
        worker.submit(written).result()
    assert chunk_files.finished(opened) == {1}
    for name, values in result.variables.items():
        assert np.array_equal(arrays[name][20:].reshape(values.shape), values, equal_nan=True)


def test_a_run_wants_no_more_threads_once_its_chunks_are_being_computed(tmp_path, monkeypatch):
    """zarr wants one for each file that it reads or writes at one time. Where there is no memory for it,
    Python 3.11 waits for it without end, and so would the run: for its theory, or the finished dataset."""
    to_thread, at_once = asyncio.to_thread, []
    running = set()

    async def counted(function, *given, **more):
        mine = object()
        running.add(mine)
        at_once.append(len(running))
        try:
            return await to_thread(function, *given, **more)
        finally:
            running.discard(mine)

    def report(progress):
        if progress.chunks == 2:
            monkeypatch.setattr(asyncio, "to_thread", counted)

    qs.run(small_scan(), tmp_path / "scan.zarr", client="threads", chunk_points=4, progress=report)
    monkeypatch.undo()
    assert set(at_once) == {1}
    assert qs.verify(tmp_path / "scan.zarr", points=2).sound


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: what is started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_a_write_leaves_no_file_half_written(tmp_path, monkeypatch, capfd, interruptible):
    """The write of a chunk ends, and the run with it."""
    path, replace = tmp_path / "scan.zarr", os.replace
    interrupted = []

    def slow(source, target):
        if Path(source).parts[-3:-1] == ("v_final", "c") and not interrupted:
            interrupted.append(source)
            time.sleep(0.2)  # the main thread waits by then
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        replace(source, target)

    monkeypatch.setattr(os, "replace", slow)
    with pytest.raises(qs.RunInterrupted, match="9 of 10 chunks left"):
        qs.run(small_scan(), path, client="serial", chunk_points=4)
    assert len(interrupted) == 1
    assert not list(path.rglob("*.partial"))
    assert "Task" not in capfd.readouterr().err
    monkeypatch.undo()
    assert qs.run(small_scan(), path)["status"].values.all()


@pytest.mark.parametrize("client", ["serial", "threads"])
def test_a_scan_runs_where_an_event_loop_is_running_as_in_a_notebook(tmp_path, client):
    async def cell():
        return qs.run(small_scan(), tmp_path / "in a loop.zarr", client=client, chunk_points=20).load()

    expected = qs.run(small_scan(), tmp_path / "scan.zarr", client=client, chunk_points=20).load()
    assert asyncio.run(cell()).equals(expected)
    shutil.rmtree(tmp_path / "in a loop.zarr")
    with ThreadPoolExecutor(1) as another:
        assert another.submit(asyncio.run, cell()).result().equals(expected)


@pytest.mark.parametrize("client", ["serial", "threads"])
def test_of_a_run_that_is_refused_nothing_is_left(tmp_path, monkeypatch, client):
    """Memory is known when the kernel is compiled, and the store is made meanwhile."""
    drafted = []
    draft = store.draft
    monkeypatch.setattr(store, "draft", lambda *given: drafted.append(draft(*given)) or drafted[-1])
    monkeypatch.setattr(plan, "available_memory", lambda: 0)
    with pytest.raises(qs.ScanError, match="of memory"):
        qs.run(small_scan(), tmp_path / "new" / "folder" / "scan.zarr", client=client)
    assert len(drafted) == 1
    assert list(tmp_path.iterdir()) == []


def test_of_a_run_that_is_stopped_before_it_begins_nothing_is_left(tmp_path, monkeypatch):
    def stopped(chunks, workers, compiling):
        compiling()
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "memory", stopped)
    with pytest.raises(KeyboardInterrupt):
        qs.run(small_scan(), tmp_path / "new" / "scan.zarr")
    assert list(tmp_path.iterdir()) == []


def test_a_scan_too_large_for_the_disk_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "draft", None)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(qs.ScanError, match="to write, expected at most the 10 B that are free"):
        qs.run(small_scan(), tmp_path / "new" / "scan.zarr")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_made_for_a_store_go_when_the_next_can_not_be_made(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def full(self, *given, **more):
        if self.name == "c":
            raise OSError(errno.ENOSPC, "No space left on device")
        mkdir(self, *given, **more)

    monkeypatch.setattr(Path, "mkdir", full)
    (tmp_path / "a").mkdir()
    with pytest.raises(qs.StoreError, match=r"No space left on device.*nothing was written"):
        store.create(tmp_path / "a" / "b" / "c" / "scan.zarr", chunks.Chunks.of(small_scan()), "cpu: any")
    assert [p.name for p in tmp_path.rglob("*")] == ["a"]


@pytest.mark.parametrize("stream", [None, SimpleNamespace(write=len, flush=int)])
def test_a_run_needs_no_standard_error(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert qs.run(small_scan(), tmp_path / "scan.zarr")["status"].values.all()


def test_a_store_names_the_device_that_computes_it(tmp_path, monkeypatch):
    assert qs.run(small_scan(), tmp_path / "here.zarr").attrs["device"] == backend.processor()
    monkeypatch.setattr(backend, "device", lambda: "gpu: any")
    there = qs.run(small_scan(), tmp_path / "there.zarr")
    assert there.attrs["device"] == "gpu: any"
    assert there.attrs["history"].endswith("run of 1 chunks on 2 threads of this process")


def test_of_workers_with_another_device_one_line_is_told(tmp_path, monkeypatch, caplog):
    """The store is of the first that was asked."""
    asked = itertools.chain(["cpu: one", "cpu: one"], itertools.repeat("gpu: two"))
    monkeypatch.setattr(backend, "device", lambda: next(asked))
    with caplog.at_level(logging.WARNING):
        found = qs.run(small_scan(), tmp_path / "scan.zarr", client="serial", chunk_points=4)
    assert found.attrs["device"] == "cpu: one"
    told = [record.message for record in caplog.records if "another device" in record.message]
    assert len(told) == 1
    assert "another device (gpu: two, not cpu: one)" in told[0]


BROKEN = """
from qifscan.engine import backend
def device():
    raise RuntimeError("no GPU interface was found")
backend.device = device
"""


@pytest.mark.cluster
def test_a_worker_of_a_cluster_is_asked_for_its_device(tmp_path):
    with qs.local_cluster(1), qs.local_cluster(1) as client:
        assert cluster.DaskClient(client).device() == backend.processor()
        client.run(exec, BROKEN)
        with pytest.raises(
            qs.RunError, match=r"tell its device \(RuntimeError: no GPU interface was found\)"
        ):
            qs.run(small_scan(), tmp_path / "scan.zarr", client=client)
    assert list(tmp_path.iterdir()) == []


def test_a_client_whose_cluster_could_not_start_is_not_waited_for(tmp_path, monkeypatch):
    """distributed leaves it as the active one."""
    monkeypatch.setattr(cluster.distributed, "get_client", lambda: SimpleNamespace(scheduler=None))
    assert "threads of this process" in qs.run(small_scan(), tmp_path / "scan.zarr").attrs["history"]


def test_every_variable_is_labelled_as_cf_asks(tmp_path):
    dataset = qs.run(small_scan(), tmp_path / "scan.zarr")
    for variable in dataset.variables.values():
        assert variable.attrs["long_name"]
    varied = {**dataset.data_vars, "eta": dataset["eta"]}
    assert {str(n) for n, v in varied.items() if "units" in v.attrs} == {
        "eta",
        "r_mean",
        "v_final",
        "dt",
        "error_estimate",
        "disagreement",
    }
    status = dataset["status"].attrs
    assert len(status["flag_masks"]) == len(status["flag_meanings"].split())
    assert status["flag_masks"] == [int(flag) for flag in qs.Status]


def test_progress_counts_chunks_points_and_flags(tmp_path):
    states = []
    qs.run(small_scan(), tmp_path / "scan.zarr", chunk_points=16, progress=states.append)
    assert states[0].points == 0
    assert states[-1].points == states[-1].all_points == 40
    assert states[-1].chunks == states[-1].all_chunks
    assert states[-1].flags["computed"] == 40
    assert states[-1].remaining == 0.0


def test_a_chunk_whose_store_is_damaged_is_said_once(tmp_path, fails_after):
    path = tmp_path / "scan.zarr"
    fails_after(0, qs.StoreError(f"{path}: its arrays can't be read; the store is damaged"))
    with pytest.raises(qs.RunError) as caught:
        qs.run(small_scan(), path, client="serial")
    assert str(caught.value) == f"{path}: its arrays can't be read; the store is damaged"


def test_a_scan_that_does_not_fit_into_memory_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "available_memory", lambda: 2**20)
    with pytest.raises(qs.ScanError, match=r"plan: found .* of memory, expected at most the 1\.0 MiB"):
        qs.run(small_scan(), tmp_path / "scan.zarr")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_client_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(qs.ScanError, match='client: found "proceses"'):
        qs.run(small_scan(), tmp_path / "scan.zarr", client="proceses")
    assert list(tmp_path.iterdir()) == []
