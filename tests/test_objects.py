"""Stores in an object store: as on a disk, whatever the network does, and no key in anything that is kept."""

import json
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import traceback
import urllib.request
import zlib
from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
import obstore.store
import pytest
import xarray as xr
import zarr.storage
from click.testing import CliRunner

import qifscan as qs
from qifscan import files, objects
from qifscan.cli import main
from qifscan.explorer.source import open_source
from qifscan.objects import ObjectPath
from qifscan.runs.state import state_of
from qifscan.store import drafts
from tests import buckets

SCAN = qs.Scan(
    axes={"eta": [-6.0, -5.0, -4.0, -3.0], "J": [10.0, 15.0]},
    protocol=qs.Protocol(transient=0.2, window=0.4, dt=0.05, integrator="euler"),
    observables=["r_mean"],
    traces=qs.Traces(points=[{"eta": -5.0}]),
)
"""Four chunks and a batch of traces."""


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    qs.run(SCAN, path, client="serial", chunk_points=2)
    return path


@pytest.fixture(scope="module")
def server():
    with buckets.server() as url:
        yield url


@pytest.fixture
def network(server, monkeypatch, request):
    """A proxy before a bucket of its own, and the URL of a store there."""
    for name, value in buckets.SETTINGS.items():
        monkeypatch.setenv(name, value)
    backoff = {"init_backoff": timedelta(seconds=0.01), "max_backoff": timedelta(seconds=0.05), "base": 2.0}
    monkeypatch.setattr(objects, "RETRIES", objects.RETRIES | {"max_retries": 6, "backoff": backoff})
    proxy = buckets.Proxy(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    bucket = "bucket-" + str(zlib.crc32(request.node.name.encode()))
    urllib.request.urlopen(urllib.request.Request(f"{server}/{bucket}", method="PUT")).close()
    proxy.store = f"s3://{bucket}/folder/scan.zarr"
    yield proxy
    proxy.close()


@pytest.fixture
def in_memory(on_disk, request):
    """The store in memory, under a name of this test."""
    place = ObjectPath.of(f"memory://tests/{zlib.crc32(request.node.name.encode())}/scan.zarr")
    files.put(on_disk, place)
    return place


def same(url, on_disk):
    found, expected = qs.open_scan(url).load(), qs.open_scan(on_disk).load()
    assert found.equals(expected)
    assert qs.open_theory(url).equals(qs.open_theory(on_disk))


def held(url):
    """Every object of a store, with what it holds."""
    place = ObjectPath.of(url)
    return {name: place.joinpath(name).read_bytes() for name in place.sizes()}


@pytest.mark.thorough
def test_the_same_scan_by_threads_and_by_workers_in_s3_is_that_on_disk(network, on_disk):
    qs.run(SCAN, network.store, client="threads", chunk_points=2)
    same(network.store, on_disk)
    other = network.store.replace("scan.zarr", "workers.zarr")
    with qs.local_cluster(2) as client:
        qs.run(SCAN, other, client=client, chunk_points=2)
    same(other, on_disk)
    # By a reader that is not ours.
    made = obstore.store.from_url(other, endpoint=network.url, client_options={"allow_http": True})
    plain = xr.open_zarr(zarr.storage.ObjectStore(made, read_only=True), consolidated=True)
    assert np.array_equal(plain["r_mean"], qs.open_scan(on_disk)["r_mean"])
    # Every chunk by the same bytes as on a disk.
    chunk = Path("r_mean", "c", "1", "0")
    assert (ObjectPath.of(other) / chunk.as_posix()).read_bytes() == (on_disk / chunk).read_bytes()


def test_no_busy_server_cut_line_or_lost_answer_changes_a_bit(network, on_disk):
    network.seldom(0.08, [503, 500, "cut", "lost"])
    qs.run(SCAN, network.store, client="threads", chunk_points=2)
    assert network.hit > 20
    same(network.store, on_disk)
    assert qs.verify(network.store, points=2).sound


@pytest.mark.thorough
def test_an_upload_that_never_arrives_whole_leaves_nothing_and_a_rerun_does_the_rest(network, on_disk):
    network.fate = lambda method, path: "cut" if method == "PUT" and "/r_mean/c/1" in path else None
    with pytest.raises(qs.RunError, match=r"chunk 1 failed .*; 1 of 5 chunks are missing") as caught:
        qs.run(SCAN, network.store, client="serial", chunk_points=2)
    assert len(str(caught.value).splitlines()) == 1
    assert not (ObjectPath.of(network.store) / "r_mean/c/1/0").exists()
    network.fate = lambda *_: None
    found = qs.open_scan(network.store).load()
    assert np.array_equal(np.isnan(found["r_mean"]), found["status"] == 0)
    qs.run(SCAN, network.store, client="serial")
    same(network.store, on_disk)


@pytest.mark.thorough
def test_a_listing_that_lags_behind_costs_time_and_no_number(network, on_disk):
    network.fate = lambda method, path: "stale" if "list-type" in path else None
    run = qs.run(SCAN, network.store, client="threads", chunk_points=2).load()
    assert run.equals(qs.open_scan(on_disk).load())
    network.fate = lambda *_: None
    qs.run(SCAN, network.store)
    same(network.store, on_disk)


@pytest.mark.thorough
def test_of_drivers_that_make_one_store_one_does_and_the_others_go_on_or_say_so(network, on_disk):
    told, begin = [], threading.Barrier(3)

    def drive():
        begin.wait()
        try:
            qs.run(SCAN, network.store, client="serial", chunk_points=2)
        except qs.StoreError as error:
            told.append(str(error))

    drivers = [threading.Thread(target=drive) for _ in range(3)]
    for each in drivers:
        each.start()
    for each in drivers:
        each.join()
    assert len(told) < 3
    assert [line for line in told if "another run" not in line or "\n" in line] == []
    same(network.store, on_disk)
    assert qs.verify(network.store, points=0).sound
    assert not ObjectPath.of(f"{network.store}.draft").exists()


class Turns:
    """What threads do, one request of one of them after the other, in an order that chance chooses."""

    def __init__(self, seed, names):
        self.chance, self.there, self.waiting = random.Random(seed), {*names}, set()
        self.next, self.changed, self.who = None, threading.Condition(), threading.local()

    def __getattr__(self, name):
        real = getattr(obstore, name)
        if name not in {"put", "get", "head", "list", "delete"}:
            return real

        def called(*arguments, **options):
            if getattr(self.who, "name", None):
                self.wait(self.who.name)
            return real(*arguments, **options)

        return called

    def wait(self, name):
        with self.changed:
            self.waiting.add(name)
            self.choose()
            self.changed.wait_for(lambda: self.next == name)
            self.next = None
            self.waiting.discard(name)

    def choose(self):
        if self.next is None and self.waiting == self.there:
            self.next = self.chance.choice(sorted(self.waiting)) if self.waiting else None
            self.changed.notify_all()

    def all_do(self, act):
        def run(name):
            self.who.name = name
            try:
                act(name)
            finally:
                with self.changed:
                    self.there.discard(name)
                    self.choose()

        threads = [threading.Thread(target=run, args=(name,)) for name in sorted(self.there)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)


@pytest.fixture(scope="module")
def gone():
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("before", ["nothing", "a dead writer", "another dead writer's whole store"])
def test_of_drivers_that_make_one_store_one_does_in_whatever_order_their_requests_come(
    before, gone, monkeypatch, tmp_path
):
    """Also where all three find the claim of a writer that was killed: no two take it over."""
    # Each request in the thread that the turns know.
    monkeypatch.setattr(files, "each", lambda work, paths: [work(path) for path in paths])
    drafted = {}
    for name in "abc":
        drafted[name] = {
            file: f"{file} of {name}".encode() for file in ("zarr.json", f"{name}/zarr.json", "x")
        }
        for file, data in drafted[name].items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(data)
    for seed in range(60):
        path = ObjectPath.of(f"memory://turns/{zlib.crc32(before.encode())}-{seed}/scan.zarr")
        claim = path.with_name("scan.zarr.draft")
        if before != "nothing":
            dead = {"machine": drafts._machine(), "process": gone, "draft": "x"}
            claim.write_bytes(json.dumps(dead).encode())
            (path / "left" / "zarr.json").write_bytes(b"left")
        if "whole" in before:
            (path / "zarr.json").write_bytes(b"whole")
        told, made = [], []

        def act(name, path=path, told=told, made=made):
            try:
                drafts._copied(tmp_path / name, path)
                made.append(name)
            except Exception as error:  # noqa: BLE001 - each is looked at
                told.append(error)

        with monkeypatch.context() as patched:
            turns = Turns(seed, "abc")
            patched.setattr(objects, "obstore", turns)
            turns.all_do(act)
        assert [type(e) for e in told if "another run makes this store" not in str(e)] == []
        assert not claim.exists()
        there = {name: (path / name).read_bytes() for name in path.sizes()}
        if "whole" in before:
            assert there == {"zarr.json": b"whole", "left/zarr.json": b"left"}
        else:
            (one,) = made
            assert there == drafted[one]


def test_a_store_whose_maker_was_killed_is_made_again(network, on_disk, gone):
    place = ObjectPath.of(network.store)
    claim = {"machine": drafts._machine(), "process": gone, "draft": "x"}
    place.with_name("scan.zarr.draft").write_bytes(json.dumps(claim).encode())
    (place / "r_mean" / "zarr.json").write_bytes(b"{}")
    (place / "left" / "zarr.json").write_bytes(b"{}")
    qs.run(SCAN, network.store, client="serial", chunk_points=2)
    same(network.store, on_disk)
    assert not (place / "left").exists()
    # Of one that may live nothing is taken.
    other = place.with_name("other.zarr")
    claim |= {"machine": "elsewhere"}
    other.with_name("other.zarr.draft").write_bytes(json.dumps(claim).encode())
    with pytest.raises(qs.StoreError, match="another run makes this store"):
        qs.run(SCAN, str(other), client="serial", chunk_points=2)


def test_what_is_no_store_is_never_written_to_nor_removed(in_memory):
    other = in_memory.with_name("data")
    (other / "mine.txt").write_bytes(b"mine")
    with pytest.raises(qs.StoreError, match=r"found no zarr\.json"):
        qs.run(SCAN, str(other))
    assert other.sizes() == {"mine.txt": 4}


def test_no_key_is_in_a_store_a_message_or_a_log(network, caplog, monkeypatch, tmp_path):
    caplog.set_level(logging.DEBUG)
    texts = []
    qs.run(SCAN, network.store, client="threads", chunk_points=2)
    network.fate = lambda method, path: 403 if method == "PUT" else None
    bigger = SCAN.replace(axes=SCAN.axes | {"J": [10.0, 12.0, 15.0]})
    for call in (
        lambda: qs.run(bigger, network.store.replace("scan.", "new."), extend=network.store),
        lambda: qs.run(SCAN, f"s3://{buckets.KEY}:{buckets.SECRET}@bucket/x.zarr"),
        lambda: qs.run(SCAN, f"s3://bucket/x.zarr?X-Amz-Signature={buckets.SECRET}"),
        lambda: qs.open_scan(f"https://{buckets.KEY}:{buckets.SECRET}@host/x.zarr?s={buckets.SECRET}"),
        lambda: qs.Scan.from_toml(f"s3://{buckets.KEY}:{buckets.SECRET}@bucket/x.toml"),
        lambda: qs.open_scan("s3://no-such-bucket/x.zarr"),
    ):
        with pytest.raises(qs.QifscanError) as caught:
            call()
        texts += [str(caught.value), *traceback.format_exception(caught.value)]
        assert len(str(caught.value).splitlines()) == 1
    shown = CliRunner().invoke(main, ["status", network.store])
    assert shown.exit_code == 0
    texts += [shown.output, caplog.text, repr(qs.open_scan(network.store).attrs)]
    texts += [pickle.dumps(qs.open_scan(network.store)).decode("latin1")]
    texts += [data.decode("latin1") for data in held(network.store).values()]
    for key in (buckets.KEY, buckets.SECRET):
        assert not any(key in text for text in texts)


def test_keys_and_address_may_stand_in_the_files_of_aws(network, on_disk, tmp_path, monkeypatch):
    files.put(on_disk, ObjectPath.of(network.store))
    keys = f"aws_access_key_id = {buckets.KEY}\naws_secret_access_key = {buckets.SECRET}\n"
    (tmp_path / "credentials").write_text(f"[work]\n{keys}")
    (tmp_path / "config").write_text(f"[profile work]\nregion = eu-west-1\nendpoint_url = {network.url}\n")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert state_of(network.store)[0].chunks == 5
    (tmp_path / "config").write_text("[profile work]\nsso_session = x\n")
    (tmp_path / "credentials").write_text("")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with pytest.raises(qs.StoreError, match="have to be fetched"):
        qs.open_scan(network.store)


def test_a_server_that_does_not_answer_is_told_in_one_line(monkeypatch):
    for name, value in buckets.SETTINGS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "RETRIES", {"max_retries": 1, "retry_timeout": timedelta(seconds=1)})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(qs.StoreError, match="can't be reached") as caught:
        qs.run(SCAN, "s3://silent/x.zarr")
    assert len(str(caught.value).splitlines()) == 1


def test_everything_works_on_a_store_that_is_no_folder(in_memory, on_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = str(in_memory)
    same(url, on_disk)
    assert qs.run(SCAN, url).equals(qs.open_scan(on_disk).load())
    assert qs.verify(url, points=2).sound
    assert qs.replay(url, eta=-5.0, J=15.0).attrs["checked"] == "equal bit for bit"
    assert qs.Scan.from_store(url) == SCAN
    bigger = SCAN.replace(axes=SCAN.axes | {"J": [10.0, 12.0, 15.0]}, traces=None)
    more = qs.run(bigger, url.replace("scan.", "more."), extend=url, client="serial")
    assert more.attrs["extended"].startswith("8 points taken over, 0 continued, 4 new")
    for command in (["status", url], ["show", url], ["verify", url, "--points", "0"]):
        assert CliRunner().invoke(main, command).exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["scan.png"]
    source = open_source(in_memory)
    assert source.values("r_mean", {"eta": 0, "J": 0}).item() == qs.open_scan(on_disk)["r_mean"][0, 0]
    with pytest.raises(qs.ScanError, match="URLs are not read"):
        qs.Scan.from_toml(url)
    assert "URLs are not read" in CliRunner().invoke(main, ["serve", url]).stderr


@pytest.mark.parametrize(
    "lost",
    [
        "r_mean/c/1/0",
        pytest.param("status/c/1/0", marks=pytest.mark.thorough),
        "qifscan-record/points/c/1/0/0",
        pytest.param("eta/c/0", marks=pytest.mark.thorough),
    ],
)
def test_what_is_lost_there_is_seen_and_mended(in_memory, on_disk, lost):
    (in_memory / lost).unlink()
    assert not qs.verify(str(in_memory), points=0).sound
    qs.run(SCAN, str(in_memory), client="serial")
    same(str(in_memory), on_disk)
    assert qs.verify(str(in_memory), points=0).sound


@pytest.mark.parametrize(
    "lost",
    [
        "zarr.json",
        pytest.param("r_mean/zarr.json", marks=pytest.mark.thorough),
        pytest.param("theory/equilibria/r/c/0/0/0", marks=pytest.mark.thorough),
    ],
)
def test_what_follows_from_the_scan_is_written_anew(in_memory, on_disk, lost):
    if lost == "zarr.json":
        data = json.loads((in_memory / lost).read_bytes())
        (in_memory / lost).write_bytes(json.dumps(data | {"attributes": {}}).encode())
    else:
        (in_memory / lost).unlink()
    assert not qs.verify(str(in_memory), points=0).sound
    qs.verify(str(in_memory), points=0, repair=True)
    same(str(in_memory), on_disk)
    assert qs.verify(str(in_memory), points=0).sound
