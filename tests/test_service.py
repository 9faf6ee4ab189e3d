"""Scans over HTTP: sent, watched, stopped, killed, gone on with, read by other programs."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr

import qifscan as qs
from qifscan.service import client as client_module
from qifscan.service import events
from qifscan.service.api import ADDRESSES
from qifscan.service.app import create_app
from qifscan.service.encoding import decoded, encoded
from qifscan.service.safety import Quotas
from tests.serving import served

ROOT = Path(__file__).parents[1]
BENCHMARK = ROOT / "benchmarks" / "service_load.py"

NOISY = qs.Scan(
    title="small and noisy",
    axes={"eta": np.linspace(-6.0, 0.0, 12), "J": [5.0, 15.0]},
    fixed={"v_ou_sigma": 0.5},
    replicates=2,
    protocol=qs.Protocol(transient=5.0, window=20.0, dt=0.05),
    traces=qs.Traces(points=[{"eta": -6.0, "J": 5.0, "replicate": 0}], every=10),
)


def long_scan(**changes):
    """A scan of some seconds in tens of chunks."""
    scan = qs.Scan(
        axes={"eta": np.linspace(-8.0, 2.0, 64), "J": np.linspace(5.0, 25.0, 48)},
        protocol=qs.Protocol(transient=200.0, window=500.0, dt=0.01),
        observables=["r_mean", "r_std"],
    )
    return scan.replace(**changes)


def arrays(path):
    """Return the bytes of every chunk of a store's own arrays."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.glob("*/c/**/*"))
        if file.is_file() and file.parts[-3] != "theory"
    }


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The scan run in this process, without a server."""
    path = tmp_path_factory.mktemp("here") / "noisy.zarr"
    qs.run(NOISY, path, chunk_points=12, progress=None)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory, here):
    """A server with one finished store, one that is half finished, and theory alone."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(here, folder / "noisy.zarr")
    half = NOISY.replace(seed=1)
    qs.run(half, folder / "half.zarr", chunk_points=12, progress=None)
    (folder / "half.zarr/status/c/0/0/0").unlink()
    with served(folder) as running:
        yield running


@contextmanager
def process(folder, *options):
    """Run the command in a process of its own; give the process and the client."""
    arguments = [sys.executable, "-c", "from qifscan.cli import script; script()", "serve", str(folder)]
    running = subprocess.Popen(
        [*arguments, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = running.stdout.readline()
        assert line.startswith("serving "), running.stderr.read()
        yield running, qs.Client(line.split()[3])
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
            running.wait(60)
        running.stdout.close()
        running.stderr.close()


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A server to which the scan was sent, its job, and what was heard of it."""
    heard = []
    with served(tmp_path_factory.mktemp("ran")) as running:
        job = qs.Client(running.url).submit(NOISY).wait(heard.append)
        yield running, job, heard


def test_a_scan_that_is_sent_is_the_one_that_is_run_here_bit_for_bit(ran, here):
    running, job, heard = ran
    assert (job.id, job.status) == (NOISY.fingerprint, "successful")
    assert heard[-1].chunks == heard[-1].all_chunks
    assert heard[-1].points == NOISY.size
    local, remote = qs.open_scan(here), job.open()
    assert list(remote.data_vars) == list(local.data_vars)
    assert set(remote.coords) == set(local.coords)
    for name in local.variables:
        assert remote[name].dtype == local[name].dtype
        assert remote[name].values.tobytes() == local[name].values.tobytes()
        assert remote[name].attrs == local[name].attrs
    xr.testing.assert_identical(job.open_theory().load(), qs.open_theory(here).load())
    client = qs.Client(running.url)
    assert client.submit(NOISY).id == job.id
    assert client.job(NOISY).status == "successful"
    assert "small and noisy" in [each.title for each in client.jobs()]


def test_a_store_is_fetched_whole(ran, tmp_path):
    running, job, _ = ran
    fetched = job.fetch(tmp_path / "fetched.zarr")
    with pytest.raises(qs.StoreError, match="is there already"):
        job.fetch(fetched)
    assert [path.name for path in tmp_path.iterdir()] == ["fetched.zarr"]
    assert qs.verify(fetched, points=0).sound
    assert arrays(fetched) == arrays(running.folder / f"{NOISY.fingerprint}.zarr")
    qs.run(NOISY, fetched, progress=None)


def test_theory_verification_picture_and_file_of_a_scan(ran, tmp_path):
    running, job, _ = ran
    client = qs.Client(running.url)
    verdict = running.execute("verify", {"scan": json.loads(NOISY.to_json()), "points": 0}).json
    theory = running.execute("bifurcate", {"scan": NOISY.to_toml()}).json
    done = client.job(verdict["jobID"]).wait(None)
    assert done.message == "sound"
    report = running.get(f"/jobs/{done.id}/results").json["report"]
    assert report[-1].startswith("verdict       sound")
    client.job(theory["jobID"]).wait(None)
    made = running.get(f"/jobs/{theory['jobID']}/results").json
    assert xr.open_datatree(made["store"]["href"], engine="zarr")["theory"].children
    assert made["report"][0].startswith("model ")
    assert running.get(f"/jobs/{job.id}/figure.png").data.startswith(b"\x89PNG")
    (tmp_path / "again.toml").write_bytes(running.get(f"/jobs/{job.id}/scan.toml").data)
    assert qs.Scan.from_toml(tmp_path / "again.toml") == NOISY
    missing = running.execute("verify", {"scan": json.loads(NOISY.replace(seed=5).to_json())})
    assert missing.status == 404


def _median_on_a_kept_connection(client):
    """Return the seconds of an answer: one that waits until the one before is acknowledged takes 40 ms."""
    seconds = []
    for _ in range(30):
        begin = time.perf_counter()
        assert client._transport.ask("GET", "/conformance").status == 200
        seconds.append(time.perf_counter() - begin)
    return np.median(seconds)


def test_a_server_that_is_killed_goes_on_and_nothing_is_computed_twice(tmp_path):
    scan, folder = long_scan(), tmp_path / "stores"
    folder.mkdir()
    with process(folder) as (running, client):
        job = client.submit(scan)
        while (state := job.refresh().progress) is None or state.chunks < 2:
            time.sleep(0.02)
        workers = [child.pid for child in psutil.Process(running.pid).children(recursive=True)]
        running.kill()
        running.wait()
    assert state.chunks < state.all_chunks
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in workers), "the process of a job outlived its server"
    store = folder / f"{scan.fingerprint}.zarr"
    before = {file: file.stat().st_mtime_ns for file in store.glob("status/c/*/*")}
    assert 2 <= len(before) < state.all_chunks
    with process(folder) as (running, client):
        assert client.job(scan).status in ("accepted", "running")
        client.job(scan).wait(None)
        assert _median_on_a_kept_connection(client) < 0.02
        assert not {file for file, time in before.items() if file.stat().st_mtime_ns != time}
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert out.splitlines() == ["stopped; what was running goes on when the folder is served again"]
        assert (err, running.returncode) == ("", 0)
    qs.run(scan, tmp_path / "here.zarr", progress=None)
    assert arrays(store) == arrays(tmp_path / "here.zarr")


def test_a_packed_store_is_read_over_http_as_it_was(here, tmp_path):
    """Many chunks are in one file there, of which a reader asks for a part."""
    qs.pack(here, tmp_path / "packed.zarr")
    plain = xr.open_zarr(here).load().drop_attrs()
    with served(tmp_path) as running:
        remote = xr.open_zarr(f"{running.url}/stores/packed").load()
        xr.testing.assert_identical(remote.drop_attrs(), plain)


def test_a_job_that_is_stopped_ends_between_chunks_and_goes_on_when_it_is_sent_again(tmp_path):
    scan = long_scan(seed=3)
    with served(tmp_path) as running:
        client = qs.Client(running.url)
        job = client.submit(scan)
        waiting = client.submit(NOISY)
        assert waiting.status == "accepted"
        assert waiting.cancel().status == "dismissed"
        while (state := job.refresh().progress) is None or state.chunks < 1:
            time.sleep(0.02)
        assert job.cancel().status == "dismissed"
        with pytest.raises(qs.RunError, match=r"dismissed: stopped with \d+ of \d+ chunks"):
            job.wait(None)
        with pytest.raises(qs.QifscanError, match="the job is dismissed; what it made stays"):
            job.cancel()
        refused = running.get(f"/jobs/{job.id}/results")
        assert (refused.status, refused.json["type"].rpartition("/")[2]) == (404, "result-not-ready")
        again = client.submit(scan)
        assert again.status in ("accepted", "running")
        # Half finished, it is read over HTTP: a point that is not run is NaN and says so.
        part = again.open()[["status", "r_mean"]].load()
        assert ((part.status == 0) == np.isnan(part.r_mean)).all()
        again.wait(None)
        assert (again.open().status.values > 0).all()


def test_a_job_that_was_stopped_after_its_last_chunk_is_run_again_for_its_theory(tmp_path):
    scan = qs.Scan(axes={"eta": [-5.0]}, protocol=qs.Protocol(transient=1.0, window=2.0))
    store = tmp_path / f"{scan.fingerprint}.zarr"
    qs.run(scan, store, progress=None)
    shutil.rmtree(store / "theory")
    note = {"id": scan.fingerprint, "process": "scan", "path": store.name, "scan": scan.definition()}
    (tmp_path / f"{scan.fingerprint}.job.json").write_text(json.dumps(note | {"status": "dismissed"}))
    with served(tmp_path) as running:
        client = qs.Client(running.url)
        assert client.job(scan).status == "dismissed"
        assert client.submit(scan).wait(None).status == "successful"
    assert qs.open_theory(store).children


def test_a_job_whose_process_dies_has_failed_and_the_next_one_runs(tmp_path):
    with served(tmp_path) as running:
        client = qs.Client(running.url)
        job = client.submit(long_scan(seed=4))
        other = client.submit(qs.Scan(axes={"eta": [-5.0]}, protocol=qs.Protocol(transient=1.0, window=2.0)))
        until = time.monotonic() + 30
        while not (workers := psutil.Process().children()) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        for worker in workers:
            if "qifscan.service.work" in worker.cmdline():
                worker.kill()
        with pytest.raises(qs.RunError, match="failed: "):
            job.wait(None)
        assert running.get(f"/jobs/{job.id}/results").status == 500
        other.wait(None)
        client.submit(long_scan(seed=4)).cancel()


@pytest.mark.thorough
@pytest.mark.cluster
def test_jobs_are_computed_by_the_workers_of_a_scheduler(tmp_path):
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=1.0, window=2.0))
    with qs.local_cluster(1) as client, served(tmp_path, scheduler=client.scheduler.address) as running:
        dataset = qs.Client(running.url).submit(scan).wait(None).open()
        assert client.scheduler.address in dataset.attrs["history"]


def test_what_is_wrong_with_a_store_is_told_by_its_job(tmp_path):
    scan = NOISY.replace(seed=9)
    (tmp_path / f"{scan.fingerprint}.zarr").mkdir()
    with served(tmp_path) as running:
        client = qs.Client(running.url)
        with pytest.raises(qs.RunError, match=r"found no zarr\.json"):
            client.submit(scan).wait(None)


def test_stores_that_are_there_are_jobs_and_a_note_that_is_damaged_is_left_out(server):
    jobs = {
        job["title"]: job
        for job in server.get("/jobs").json["jobs"]
        if job["links"][-1]["href"][-4:] == "oisy"
    }
    job = jobs["small and noisy"]
    assert (job["jobID"], job["status"], job["progress"]) == (NOISY.fingerprint, "successful", 100)
    half = server.get(f"/jobs/{NOISY.replace(seed=1).fingerprint}").json
    assert (half["status"], half["chunks"]) == ("dismissed", [4, 5])
    assert half["message"].endswith("submit the scan to go on")
    (server.folder / "broken.job.json").write_text("{")
    created = create_app(server.folder)
    created.jobs.read()
    assert created.jobs.known == {}


def test_a_store_whose_model_the_server_does_not_know_is_served_all_the_same(tmp_path):
    code = (
        "import sys; sys.path.insert(0, '.'); import qifscan as qs\n"
        "qs.run(qs.Scan(model='mine:model', axes={'eta': [-5.0, -4.0]}, "
        "protocol=qs.Protocol(transient=1.0, window=2.0)), 'own.zarr', progress=None)\n"
    )
    (tmp_path / "mine.py").write_text("from qifscan.models import QIF\nmodel = QIF\n")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with served(tmp_path) as running:
        (job,) = running.get("/jobs").json["jobs"]
        assert (job["status"], job["chunks"]) == ("successful", [1, 1])
        assert np.isfinite(xr.open_zarr(f"{running.url}/stores/own").r_mean.values).all()
        dataset = qs.Client(running.url).job(job["jobID"]).open()
        assert np.isfinite(dataset.r_mean.values).all()


def test_sending_a_scan_that_is_there_already_is_that_job(server):
    answer = server.execute("scan", {"scan": NOISY.to_toml()}, headers={"Prefer": "respond-async"})
    assert answer.status == 201
    assert answer.headers["location"] == f"{server.url}/jobs/{NOISY.fingerprint}"
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.json["status"] == "successful"


def test_xarray_reads_a_store_over_http_with_no_word_of_qifscan(server, here):
    plain = xr.open_zarr(here).load()
    for name in ("noisy", NOISY.fingerprint):
        remote = xr.open_zarr(f"{server.url}/stores/{name}")
        assert len(remote.variables) > 10
        xr.testing.assert_identical(remote.load(), plain)
    tree = xr.open_datatree(f"{server.url}/stores/noisy", engine="zarr")
    xr.testing.assert_identical(tree["theory/equilibria"].to_dataset().load(), _theory(here))


def _theory(path):
    return xr.open_datatree(path, engine="zarr")["theory/equilibria"].to_dataset().load()


def test_obstore_reads_a_store_over_http(server, here):
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    # Not with retries of half a minute where a chunk is not there.
    store = HTTPStore.from_url(f"{server.url}/stores/half/", client_options={"allow_http": True})
    remote = xr.open_zarr(ObjectStore(store, read_only=True), consolidated=True).load()
    assert np.isnan(remote.r_mean[0:6, 0, 0]).any()
    assert len(remote.variables) > 10


@pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "node_modules" / "zarrita").exists(),
    reason="needs node, and zarrita: npm install --no-save zarrita",
)
def test_a_reader_in_javascript_reads_a_store_over_http(server):
    script = ["node", str(ROOT / "tests" / "read_zarr.mjs"), f"{server.url}/stores/half"]
    run = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    # A value that is not defined, in a chunk that is not run, is null in JSON.
    found, local = json.loads(run.stdout), qs.open_scan(server.folder / "half.zarr")
    np.testing.assert_array_equal(np.array(found["r_mean"], dtype="float32"), local.r_mean.values.ravel())
    assert found["status"] == local.status.values.ravel().tolist()
    assert found["members"] > 20


def test_a_chunk_that_is_not_finished_is_not_there_whatever_is_on_disk(server):
    path = server.folder / "half.zarr"
    position = "0/0/0"
    assert (path / "r_mean/c" / position).is_file()
    assert server.get(f"/stores/half/r_mean/c/{position}").status == 404
    local = qs.open_scan(path).load()
    client = qs.Client(server.url).job(NOISY.replace(seed=1))
    for remote in (client.open().load(), xr.open_zarr(f"{server.url}/stores/half").load()):
        for name in ("r_mean", "status", "dt", "r_trace", "trace_status"):
            np.testing.assert_array_equal(remote[name], local[name])
    assert np.isnan(remote.r_mean).any()
    assert np.isfinite(remote.r_mean).any()


def test_a_dataset_is_that_of_one_moment_while_its_scan_runs(server, tmp_path):
    """Values are read before `status`: what was finished in between has neither."""
    half, scan = tmp_path / "half.zarr", NOISY.replace(seed=1)
    shutil.copytree(server.folder / "half.zarr", half)
    with served(tmp_path) as running:
        job = qs.Client(running.url).job(scan)
        dataset = job.open()
        values = dataset.r_mean.load()
        shutil.copy(server.folder / "noisy.zarr/status/c/0/0/0", half / "status/c/0/0/0")
        np.testing.assert_array_equal(dataset.status.values == 0, np.isnan(values))
        assert (dataset.status.values == 0).any()
        time.sleep(1.1)
        assert (job.open().status.values > 0).all()


def test_metadata_are_consolidated_from_the_draft_on_and_after_theory(server, here, tmp_path):
    """A plain web server serves a store: every variable is in the metadata of the root, at every time."""
    from qifscan.engine.chunks import Chunks
    from qifscan.store import store

    made = store.create(tmp_path / "new.zarr", Chunks.of(NOISY, 12), "cpu")
    for path in (made.path, here, server.folder / "half.zarr"):
        kept = json.loads((path / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        there = {str(f.parent.relative_to(path)) for f in path.rglob("zarr.json") if f.parent != path}
        assert set(kept) == there
        assert all(kept[name] == json.loads((path / name / "zarr.json").read_text()) for name in there)


def test_a_store_of_old_without_that_is_served_with_it(server, here):
    old = server.folder / "old.zarr"
    shutil.copytree(here, old)
    root = json.loads((old / "zarr.json").read_text())
    del root["consolidated_metadata"]
    (old / "zarr.json").write_text(json.dumps(root))
    xr.testing.assert_identical(qs.open_scan(old).load(), qs.open_scan(here).load())
    xr.testing.assert_identical(
        xr.open_zarr(f"{server.url}/stores/old").load().drop_attrs(), xr.open_zarr(here).load().drop_attrs()
    )
    shutil.rmtree(old)


def test_a_file_has_a_tag_and_parts_and_a_finished_chunk_is_kept_for_ever(server, here):
    path = "/stores/noisy/r_mean/c/0/0/0"
    data = (here / "r_mean/c/0/0/0").read_bytes()
    whole = server.get(path)
    assert (whole.data, whole.headers["accept-ranges"]) == (data, "bytes")
    tag = whole.headers["etag"]
    same = server.get(path, headers={"If-None-Match": f'"x", {tag}'})
    assert (same.status, same.data, same.headers["etag"]) == (304, b"", tag)
    head = server.ask("HEAD", path)
    assert (head.status, head.data, head.headers["content-length"]) == (200, b"", str(len(data)))
    for asked, part in [
        ("2-9", slice(2, 10)),
        ("5-", slice(5, None)),
        ("-7", slice(-7, None)),
        ("0-9999", slice(None)),
    ]:
        answer = server.get(path, headers={"Range": f"bytes={asked}"})
        assert (answer.status, answer.data) == (206, data[part])
        assert answer.headers["content-range"].endswith(f"/{len(data)}")
    for asked in ("bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=x-y"):
        assert server.get(path, headers={"Range": asked}).data == data
    for asked in ("bytes=99999-", "bytes=-0", "bytes=9-2"):
        refused = server.get(path, headers={"Range": asked})
        assert (refused.status, refused.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert server.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).data == data
    assert whole.headers["cache-control"] == "private, no-cache"
    by_fingerprint = server.get(path.replace("noisy", NOISY.fingerprint))
    assert by_fingerprint.headers["cache-control"] == "private, max-age=31536000, immutable"
    root = server.get(f"/stores/{NOISY.fingerprint}/zarr.json")
    assert root.headers["cache-control"] == "private, no-cache"


def test_a_large_file_comes_in_pieces_and_in_parts(server, monkeypatch):
    monkeypatch.setattr("qifscan.service.files.PIECE", 16)
    path = "/stores/noisy/r_mean/c/0/0/0"
    data = (server.folder / "noisy.zarr/r_mean/c/0/0/0").read_bytes()
    assert server.get(path).data == data
    part = server.get(path, headers={"Range": "bytes=3-40"})
    assert (part.status, part.data) == (206, data[3:41])
    assert server.get(path, headers={"If-None-Match": server.get(path).headers["etag"]}).status == 304
    assert server.get(path, headers={"Range": "bytes=9999-"}).status == 416


def heard(server, path, last=""):
    """Return the status, and the id and data of every event of a stream that ends."""
    answer = server.get(path, headers={"Last-Event-ID": last} if last else {})
    found = []
    for block in answer.data.decode().split("\n\n"):
        told = dict(line.partition(": ")[::2] for line in block.splitlines())
        if "data" in told:
            found.append((told.get("id"), json.loads(told["data"])))
    return answer.status, found


def test_events_go_on_from_the_last_that_was_seen(ran):
    running, job, _ = ran
    path, count = f"/jobs/{job.id}/events", job.progress.chunks
    status, seen = heard(running, path)
    assert status == 200
    (end, told) = seen[-1]
    assert end == f"{count} successful"
    assert told["status"] == "successful"
    # Who has seen the number but not the end gets the end; who has seen it asks no more.
    for last in ("", "0", str(count), f"{count} running"):
        assert [name for name, _ in heard(running, path, last)[1]] == [end]
    assert heard(running, path, end) == (204, [])


def test_a_silent_stream_has_a_heartbeat_and_ends_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    found = []
    with served(tmp_path) as running:
        thread = threading.Thread(target=lambda: found.append(running.get("/events").data.decode()))
        thread.start()
        time.sleep(0.5)
    thread.join(10)
    assert found[0].startswith("retry: ")
    assert found[0].count(": still there\n\n") > 3


def test_a_client_of_the_standard_that_is_not_ours_runs_a_scan(ran):
    running, *_ = ran
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from owslib.ogcapi.processes import Processes
    service = Processes(running.url)
    assert [each["id"] for each in service.processes()] == [
        "scan",
        "bifurcate",
        "verify",
        "simulate",
        "theory",
    ]
    assert service.conformance()["conformsTo"][0].endswith("/conf/core")
    assert service.api()["openapi"].startswith("3.0")
    described = service.process("scan")
    assert described["inputs"]["scan"]["minOccurs"] == 1
    job = service.execute("scan", inputs={"scan": json.loads(NOISY.to_json())}, response="document")
    assert job["status"] == "successful"
    qs.Client(running.url).job(NOISY).wait(None)
    made = xr.open_zarr(running.get(f"/jobs/{job['jobID']}/results").json["store"]["href"])
    assert (made.status.values > 0).all()
    found = service.execute("theory", inputs={"parameters": {"eta": -5.0, "J": 15.0}})
    assert found["data_vars"]["count"]["data"] == 3


def test_the_document_of_the_interface_has_every_address_and_no_other(server):
    routes = {
        (method.lower(), route.path.replace("{file:path}", "{file}"))
        for route in create_app(server.folder).app.routes
        for method in route.methods - {"HEAD"}
        if not route.path.startswith(("/page/", "/favicon"))
    }
    assert routes == {(method, path) for method, path, *_ in ADDRESSES}
    document = server.get("/api").json
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    for path, methods in document["paths"].items():
        for each in methods.values():
            given = {one["name"] for one in each.get("parameters", [])}
            assert given == {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_a_browser_gets_the_list_of_scans_and_what_it_is_made_of(server):
    page = server.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    text = page.data.decode()
    # Its policy allows nothing inline.
    assert "style=" not in text
    assert "<style" not in text
    assert "onclick" not in text
    for name, kind in re.findall(r'(?:src|href)="(page/[a-z]+\.([a-z]+))"', text):
        made = server.get(f"/{name}")
        assert made.status == 200
        assert {"js": "javascript", "css": "css", "svg": "svg"}[kind] in made.headers["content-type"]
    assert server.get("/page/none.js").status == 404
    assert server.get("/favicon.ico").status == 200
    assert server.get("/").json["title"] == "qifscan"


def test_every_description_follows_the_schema_of_the_standard(server):
    """What OGC API - Processes, Part 1 (18-062r2) requires in clauses 7.9 to 7.12, by hand."""
    for summary in server.get("/processes").json["processes"]:
        described = server.get(f"/processes/{summary['id']}").json
        assert {"id", "version"} <= summary.keys()
        assert set(described["jobControlOptions"]) <= {"sync-execute", "async-execute", "dismiss"}
        assert set(described["outputTransmission"]) <= {"value", "reference"}
        assert {"inputs", "outputs"} <= described.keys()
        for each in (*described["inputs"].values(), *described["outputs"].values()):
            # The standard's schema of a schema is that of OpenAPI 3.0: one type, and no `examples`.
            assert isinstance(each["schema"].get("type", ""), str)
            assert "examples" not in each["schema"]
    for job in server.get("/jobs").json["jobs"]:
        assert {"jobID", "status", "type"} <= job.keys()
        assert job["type"] == "process"
        assert job["status"] in {"accepted", "running", "successful", "failed", "dismissed"}
        assert 0 <= job["progress"] <= 100
    missing = server.get("/jobs/nothing")
    assert (missing.status, missing.json["type"].rpartition("/")[2]) == (404, "no-such-job")
    missing = server.get("/processes/nothing")
    assert (missing.status, missing.json["type"].rpartition("/")[2]) == (404, "no-such-process")


def test_jobs_are_listed_page_by_page(server):
    every = server.get("/jobs").json
    assert every["numberMatched"] == len(every["jobs"]) == 2
    first = server.get("/jobs?limit=1").json
    assert [link["rel"] for link in first["links"]] == ["self", "next"]
    second = server.get(
        next(link["href"] for link in first["links"] if link["rel"] == "next")[len(server.url) :]
    )
    assert [first["jobs"][0]["jobID"], second.json["jobs"][0]["jobID"]] == [j["jobID"] for j in every["jobs"]]
    assert len(server.get("/jobs?status=dismissed").json["jobs"]) == 1
    assert server.get("/jobs?processID=verify").json["jobs"] == []

    def count(query):
        return server.get(f"/jobs?{query}").json["numberMatched"]

    assert count("type=process&status=dismissed,successful") == 2
    assert count("type=other") == 0
    assert count("datetime=2020-01-01T00:00:00Z/..") == 2
    assert count("datetime=../2020-01-01T00:00:00Z") == 0
    assert count("datetime=2020-01-01/2999-01-01T00:00:00%2B01:00") == 2
    assert count("minDuration=100000") == 0
    assert count("maxDuration=100000") == 2
    for wrong in (
        "datetime=now",
        "datetime=../..",
        "datetime=a/b/c",
        "minDuration=-1",
        "offset=x",
        "limit=1e3",
    ):
        assert server.get(f"/jobs?{wrong}").status == 400
    assert len(server.get("/jobs?limit=0").json["jobs"]) == 1
    assert server.get("/jobs?limit=-1").status == 400


def test_what_is_answered_at_once_is_what_the_functions_give_bit_for_bit(server):
    given = {"t_end": 5.0, "seed": 3, "every": 7, "parameters": {"eta": [-5.0, 1.0], "v_ou_sigma": 0.4}}
    drive = {"kind": "pulse", "amplitude": 3.0, "start": 1.0, "length": 2.0}
    found = decoded(server.execute("simulate", given | {"drive": drive}).json)
    expected = qs.simulate(
        t_end=5.0,
        seed=3,
        every=7,
        eta=[-5.0, 1.0],
        v_ou_sigma=0.4,
        drive=qs.Pulse(amplitude=3.0, start=1.0, length=2.0),
    )
    xr.testing.assert_identical(found, decoded(encoded(expected)))
    for name in expected.variables:
        assert found[name].values.tobytes() == expected[name].values.tobytes()
    for of, function, more in [
        ("equilibria", qs.equilibria, {"distances": True}),
        ("special_points", qs.special_points, {"along": "J"}),
        ("branch", qs.branch, {"within": [-10.0, 10.0], "points": 8}),
        ("curve", qs.curve, {"kind": "LP", "points": 8}),
    ]:
        slices = {"eta": -5.0} if of == "special_points" else {} if of == "curve" else {"J": 15.0}
        slices |= {"eta": -5.0} if of == "equilibria" else {}
        found = decoded(server.execute("theory", {"of": of, "parameters": slices} | more).json)
        options = {name: tuple(x) if isinstance(x, list) else x for name, x in more.items()}
        expected = function(**options, **slices)
        for name in expected.variables:
            assert found[name].dtype == expected[name].dtype
            assert found[name].values.tobytes() == expected[name].values.tobytes(), (of, name)


def test_a_client_tells_what_is_wrong_in_one_line(server, tmp_path, monkeypatch):
    for url in (
        "localhost:8000",
        "ftp://x",
        "http://",
        "http://u:p@x",
        "http://x/?a=1",
        "http://x#token=1",
        3,
    ):
        with pytest.raises(qs.ScanError, match="url: found "):
            qs.Client(url)
    with pytest.raises(qs.ScanError, match="token: found another value"):
        qs.Client(server.url, token="a\nb")
    with pytest.raises(qs.QifscanError, match=r"http://127.0.0.1:9: can't be reached \(Connection refused\)"):
        qs.Client("http://127.0.0.1:9").jobs()
    client = qs.Client(server.url)
    with pytest.raises(qs.QifscanError, match='there is no job "nothing"'):
        client.job("nothing")
    with pytest.raises(qs.ScanError, match="scan: found"):
        client.submit("scan.toml")
    job = client.job(NOISY.replace(seed=1))
    job._told["jobID"] = "gone"
    with pytest.raises(qs.StoreError, match="has no store yet"):
        job.open()
    with pytest.raises(qs.StoreError, match="has no store yet"):
        job.fetch(tmp_path / "x.zarr")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(client_module, "PATIENCE", 0.2)
    lost = qs.Client("http://127.0.0.1:9")
    with pytest.raises(qs.QifscanError, match="can't be reached"):
        client_module.RemoteJob(lost._transport, {"jobID": "x", "status": "running"}).wait(None)


def test_a_broken_connection_is_not_taken_for_a_chunk_that_is_not_run(server, monkeypatch):
    dataset = qs.Client(server.url).job(NOISY).open()
    real = client_module.Transport.ask

    def broken(self, method, path, *more, **options):
        answer = real(self, method, path, *more, **options)
        return answer if "/c/" not in path else type(answer)(502, {}, b"<html>")

    monkeypatch.setattr(client_module.Transport, "ask", broken)
    with pytest.raises(qs.QifscanError, match="answered with 502"):
        dataset.r_mean.load()


def test_a_client_comes_again_when_there_were_too_many_requests(here, tmp_path):
    with served(tmp_path, quotas=Quotas(reads=4.0, burst=0.25)) as running:
        client = qs.Client(running.url)
        assert [client.jobs() for _ in range(2)] == [[], []]


def test_a_client_reads_through_a_token_and_is_pickled(here, tmp_path):
    import pickle

    shutil.copytree(here, tmp_path / "noisy.zarr")
    with served(tmp_path, token="a-token-of-some-length") as running:
        with pytest.raises(qs.QifscanError, match="found no token"):
            qs.Client(running.url).jobs()
        client = qs.Client(running.url, token="a-token-of-some-length")
        dataset = pickle.loads(pickle.dumps(client.job(NOISY).open()))
        assert dataset.r_mean.values.tobytes() == qs.open_scan(here).r_mean.values.tobytes()


def test_a_client_needs_nothing_of_the_extra(tmp_path):
    code = (
        "import sys\n"
        "for name in ('starlette', 'uvicorn', 'bokeh', 'anyio', 'h11'): sys.modules[name] = None\n"
        "import qifscan as qs\n"
        "print(qs.Client('http://127.0.0.1:9'))\n"
        "from qifscan.cli import script\n"
        "sys.argv = ['qifscan', 'serve', '.']\n"
        "script()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "Client(http://127.0.0.1:9)"
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        'error: the server needs uvicorn, which is not installed; pip install "qifscan[serve]"'
    ]


@pytest.mark.parametrize(
    "begun", ["signal.signal(signal.SIGINT, signal.SIG_IGN)", pytest.param("", marks=pytest.mark.thorough)]
)
def test_a_job_is_stopped_by_its_own_process_when_its_server_is_gone(tmp_path, begun):
    """The line of input that a job reads is its tie to the server, also where no signal comes, and where a
    shell has started the server in the background, with interrupts ignored."""
    asked = {
        "process": "scan",
        "path": str(tmp_path / "x.zarr"),
        "scan": json.loads(long_scan(seed=8).to_json()),
    }
    asked |= {"client": "threads", "own": [], "points": 1}
    program = f"import os, signal; from qifscan.service import work; {begun}\nos._exit(work.main())"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        worker.stdin.write(json.dumps(asked).encode() + b"\n")
        worker.stdin.flush()
        lines = [json.loads(worker.stdout.readline()) for _ in range(2)]
        assert lines[1]["progress"]["chunks"] == 1
        worker.stdin.close()
        assert worker.wait(30) == 130
    assert not list(Path(tmp_path).rglob("*.partial"))
    assert os.path.isdir(tmp_path / "x.zarr")


@pytest.mark.thorough
def test_nothing_is_lost_under_load():
    """The short form of benchmarks/service_load.py."""
    specification = importlib.util.spec_from_file_location("service_load", BENCHMARK)
    benchmark = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(benchmark)
    found = benchmark.measured(seconds=4.0, clients=8, streams=3, scans=2)
    load = found["load"]
    assert (found["lost"], load.faults, found["ended"]) == ([], [], 0)
    assert load.sent
    assert load.statuses[200] > 0
    assert load.events > 3
    assert len(list(benchmark.lines(found, 8, 3))) > 8
