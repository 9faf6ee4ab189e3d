"""Damage of every kind to a store: `verify` finds it, a rerun and --repair mend it, nothing is read wrong."""

import errno
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import qifscan as qs
from qifscan import files, record
from qifscan.cli import main
from qifscan.runs import state
from qifscan.store import drafts, integrity, reader, store

SHORT = qs.Protocol(transient=0.2, window=0.4, dt=0.05, integrator="euler")


def scan_of(**changes):
    definition = {
        "axes": {"eta": [-6.0, -5.0, -4.0, -3.0], "pair": {"J": [10.0, 15.0], "delta": [1.0, 0.5]}},
        "protocol": SHORT,
        "observables": ["r_mean"],
        "traces": qs.Traces(points=[{"eta": -5.0}]),
    }
    return qs.Scan(**{**definition, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished store of four chunks and a batch of traces."""
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    qs.run(scan_of(), path, client="serial", chunk_points=2)
    return path


@pytest.fixture
def path(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "scan.zarr"))


def flip(file, place=0.5):
    data = bytearray(file.read_bytes())
    data[int(len(data) * place)] ^= 1
    file.write_bytes(bytes(data))


def truncate(file):
    file.write_bytes(file.read_bytes()[:-3])


def folder_in_place_of(file):
    file.unlink()
    file.mkdir()


def change(file, **entries):
    data = json.loads(file.read_text())
    file.write_text(json.dumps(data | entries))


def chunk_copied(path):
    """Every file of a chunk over those of another, its row too."""
    for file in path.rglob("c/1/**/*"):
        if file.is_file():
            shutil.copyfile(file, Path(str(file).replace("/c/1/", "/c/2/", 1)))


def theory_chunk(path):
    return path / "theory" / "equilibria" / "r" / "c" / "0" / "0" / "0"


SEEN = {
    "a coordinate's values deleted": lambda p: (p / "eta" / "c" / "0").unlink(),
    "a coordinate removed": lambda p: shutil.rmtree(p / "eta"),
    "a bit of a coordinate": lambda p: flip(p / "eta" / "c" / "0"),
    "a coordinate truncated": lambda p: truncate(p / "eta" / "c" / "0"),
    "a column of a zipped axis": lambda p: (p / "J" / "c" / "0").unlink(),
    "the times of the traces": lambda p: flip(p / "time" / "c" / "0"),
    "the shape of status": lambda p: change(p / "status" / "zarr.json", shape=[4, 3]),
    "the shape of a coordinate": lambda p: change(p / "eta" / "zarr.json", shape=[3]),
    "swapped dimensions": lambda p: change(p / "r_mean" / "zarr.json", dimension_names=["pair", "eta"]),
    "the fill value": lambda p: change(p / "status" / "zarr.json", fill_value=1),
    "the metadata of an array": lambda p: (p / "r_mean" / "zarr.json").unlink(),
    "metadata that is no JSON": lambda p: truncate(p / "r_mean" / "zarr.json"),
    "the second copy": lambda p: flip(p / record.RECORD / "zarr.json"),
    "the attributes": lambda p: change(p / "zarr.json", attributes={}),
    "the root's metadata": lambda p: (p / "zarr.json").unlink(),
    "the copy of the metadata": lambda p: change(p / "zarr.json", consolidated_metadata=None),
    "the theory": lambda p: shutil.rmtree(p / "theory"),
    "a chunk of theory": lambda p: theory_chunk(p).unlink(),
    "an array of theory": lambda p: shutil.rmtree(p / "theory" / "equilibria" / "r"),
    "a data chunk": lambda p: (p / "r_mean" / "c" / "1" / "0").unlink(),
    "a data chunk truncated": lambda p: truncate(p / "r_mean" / "c" / "1" / "0"),
    "status truncated": lambda p: truncate(p / "status" / "c" / "1" / "0"),
    "a data chunk a folder": lambda p: folder_in_place_of(p / "r_mean" / "c" / "1" / "0"),
    "a status chunk a folder": lambda p: folder_in_place_of(p / "status" / "c" / "1" / "0"),
    "a checkpoint": lambda p: (p / "checkpoint" / "points" / "c" / "1" / "0" / "0").unlink(),
    "a trace": lambda p: (p / "r_trace" / "c" / "0" / "0").unlink(),
    "a row": lambda p: flip(p / record.RECORD / "points" / "c" / "1" / "0" / "0"),
    "a row removed": lambda p: (p / record.RECORD / "points" / "c" / "1" / "0" / "0").unlink(),
}
READ = {
    "a bit of data": lambda p: flip(p / "r_mean" / "c" / "1" / "0"),
    "a bit of status": lambda p: flip(p / "status" / "c" / "1" / "0"),
    "a bit of a checkpoint": lambda p: flip(p / "checkpoint" / "points" / "c" / "1" / "0" / "0"),
    "a bit of theory": lambda p: flip(theory_chunk(p)),
    "a chunk copied over another": lambda p: shutil.copyfile(
        p / "r_mean" / "c" / "1" / "0", p / "r_mean" / "c" / "2" / "0"
    ),
    "a chunk copied with all of its files": chunk_copied,
}

ONE_OF_A_KIND = {
    "a coordinate's values deleted",
    "a bit of a coordinate",
    "the shape of status",
    "metadata that is no JSON",
    "the root's metadata",
    "a chunk of theory",
    "a data chunk truncated",
    "a status chunk a folder",
    "a checkpoint",
    "a row",
    "a bit of data",
    "a bit of theory",
    "a chunk copied with all of its files",
}


WITHOUT_READING = {"a coordinate's values deleted", "a chunk of theory", "a data chunk truncated", "a row"}


def kinds(damages, always=ONE_OF_A_KIND):
    """Return damages, of which one of each kind is always tried."""
    return [d if d in always else pytest.param(d, marks=pytest.mark.thorough) for d in damages]


def assert_whole(path, whole):
    found, expected = qs.open_scan(path).load(), qs.open_scan(whole).load()
    assert found.equals(expected)
    assert {k: v for k, v in found.attrs.items() if k != "history"}.keys() == {*expected.attrs} - {"history"}
    assert qs.open_theory(path).equals(qs.open_theory(whole))
    verdict = qs.verify(path, points=0)
    assert verdict.sound, verdict


def test_a_whole_store_is_sound(path, whole):
    assert str(qs.verify(path, points=2)).splitlines()[-1] == "verdict       sound"
    assert_whole(path, whole)


@pytest.mark.parametrize("damage", kinds([*SEEN, *READ]))
def test_damage_is_in_the_verdict_with_its_cure_and_repaired(path, whole, damage):
    (SEEN | READ)[damage](path)
    verdict = qs.verify(path, points=0)
    assert not verdict.sound
    assert verdict.faults
    assert "--repair" in str(verdict)
    qs.verify(path, points=0, repair=True)
    qs.run(scan_of(), path, client="serial")
    assert_whole(path, whole)


@pytest.mark.parametrize("damage", kinds(SEEN, WITHOUT_READING))
def test_status_and_a_rerun_notice_what_can_be_noticed_without_reading(path, whole, damage):
    SEEN[damage](path)
    shown = CliRunner().invoke(main, ["status", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "\nfault         " in shown.output or "4 of 5 chunks" in shown.output
    qs.run(scan_of(), path, client="serial")
    assert_whole(path, whole)


@pytest.mark.parametrize(
    "damage", ["a data chunk", "a data chunk truncated", "a data chunk a folder", "a row"]
)
@pytest.mark.parametrize("chunks", [{}, None])
def test_a_reader_never_sees_a_point_that_was_run_without_its_values(path, damage, chunks):
    SEEN[damage](path)
    found = reader.read(path, chunks=chunks).load()
    assert found["status"].values.tolist() == [[1, 1], [0, 0], [1, 1], [1, 1]]
    assert np.array_equal(np.isnan(found["r_mean"]), found["status"] == 0)


def test_a_read_while_the_store_grows_is_of_one_moment(tmp_path, whole):
    path, opened = tmp_path / "scan.zarr", []

    def report(state):
        if state.chunks == 2:
            opened.append(qs.open_scan(path))

    qs.run(scan_of(), path, client="serial", chunk_points=2, progress=report)
    (before,) = opened
    # The values are read when the store has all of them, the status first or last.
    assert np.isnan(before["r_mean"].values).sum() == 4
    assert (before["status"].values == 0).sum() == 4


def test_of_a_store_without_a_finished_chunk_nothing_is_sound(tmp_path):
    def stop(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qs.run(scan_of(), tmp_path / "scan.zarr", client="serial", progress=stop)
    verdict = qs.verify(tmp_path / "scan.zarr")
    assert (verdict.sound, verdict.faults) == (False, ())
    assert str(verdict).endswith("verdict       nothing was checked: no chunk is finished; run the scan")


def test_what_is_added_to_a_store_stays_a_variable_and_the_scan_stays_too(path, whole, caplog):
    ratio = xr.Dataset({"ratio": ("eta", np.arange(4.0))})
    ratio.to_zarr(path, mode="a", zarr_format=3, consolidated=False)
    found = qs.open_scan(path)
    assert "second copy" in caplog.text
    assert found["ratio"].dims == ("eta",)
    assert "ratio" in found.data_vars
    assert found.attrs["qifscan_fingerprint"] == scan_of().fingerprint
    assert not qs.verify(path, points=1).sound
    qs.run(scan_of(), path)
    assert "ratio" in qs.open_scan(path).data_vars
    assert qs.verify(path, points=1).sound


def test_a_web_server_of_files_serves_the_store(path):
    serve = "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    code = f"{serve}; print(s.server_port, flush=True); s.serve_forever()"
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        port = int(server.stdout.readline())
        url = f"http://127.0.0.1:{port}/scan.zarr/zarr.json"
        listed = json.loads(urllib.request.urlopen(url).read())["consolidated_metadata"]["metadata"]
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    assert {"r_mean", "status", "eta", "J", "theory/equilibria/r"} <= set(listed)
    found = xr.open_zarr(path, consolidated=True)
    assert np.array_equal(found["r_mean"], qs.open_scan(path)["r_mean"])


def test_links_in_a_store_are_refused_and_nothing_is_written_through_them(path, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(path / "r_mean" / "c", outside)
    (path / "r_mean" / "c").symlink_to(outside)
    (outside / "1" / "0").unlink()
    before = sorted(p.name for p in outside.rglob("*"))
    with pytest.raises(qs.StoreError, match="is a link"):
        qs.run(scan_of(), path)
    assert sorted(p.name for p in outside.rglob("*")) == before
    assert "is a link" in qs.verify(path, points=0).faults[0]
    assert "is a link" in CliRunner().invoke(main, ["status", str(path)]).output


def test_theory_is_made_up_for_by_a_rerun(path, whole, monkeypatch):
    shutil.rmtree(path / "theory")
    assert qs.verify(path, points=1).faults == ("theory: is not there",)
    qs.run(scan_of(), path)
    assert_whole(path, whole)


def test_what_killed_processes_have_left_beside_a_store_is_swept(path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = path.with_name(f"scan.zarr.{drafts._machine()}-{gone.pid}-0123abcd.partial")
    old = path.with_name("scan.zarr.0123abcd.partial")
    alive = path.with_name(f"scan.zarr.{drafts._machine()}-{os.getpid()}-0123abcd.partial")
    other = path.with_name("another.zarr.0123abcd.partial")
    for folder in (dead, old, alive, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (1e9, 1e9))
    qs.run(scan_of(), path)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([alive.name, other.name, path.name])


def test_stores_of_earlier_versions_open_run_and_verify(path, whole):
    """They have neither a record nor digests of their theory."""
    shutil.rmtree(path / record.RECORD)
    for group in ("", "theory"):
        data = json.loads((path / group / "zarr.json").read_text())
        data.pop("consolidated_metadata", None)
        data["attributes"].pop("qifscan_record", None)
        data["attributes"].pop("digests", None)
        (path / group / "zarr.json").write_text(json.dumps(data))
    opened = store.load(path)
    assert not opened.recorded
    assert integrity.faults(opened, deep=True) == []
    assert qs.verify(path, points=2).sound
    (path / "r_mean" / "c" / "1" / "0").unlink()
    (path / "eta" / "c" / "0").unlink()
    assert len(qs.verify(path, points=2).faults) == 2
    qs.run(scan_of(), path)
    assert state.state_of(path)[0].chunks == 5
    assert qs.open_scan(path).load().equals(qs.open_scan(whole).load())


def test_a_coordinate_of_zeros_alone_is_no_damage(tmp_path):
    """zarr writes no file for a chunk that has the fill value alone, and reads it back as that."""
    traced = qs.Traces(points=[{"eta": 0.0, "J": 1.0, "replicate": 0}], every=10)
    scan = qs.Scan(
        axes={"eta": [0.0], "J": [1.0, 2.0]},
        replicates=2,
        traces=traced,
        protocol=qs.Protocol(transient=1.0, window=2.0),
    )
    qs.run(scan, tmp_path / "zeros.zarr", progress=None)
    assert qs.verify(tmp_path / "zeros.zarr", points=2).faults == ()


def test_metadata_that_a_disk_fails_to_give_is_not_taken_for_missing(whole, path, monkeypatch):
    """It may give it the next time. An array would be gone from both copies, or from a packed store."""
    own = files.read

    def failing(file, most=None):
        if str(file).endswith("r_mean/zarr.json"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return own(file, most)

    opened = store.load(path)
    before = {name: (path / name / "zarr.json").read_bytes() for name in ("", record.RECORD)}
    with monkeypatch.context() as broken:
        broken.setattr(files, "read", failing)
        with pytest.raises(OSError, match="Input/output"):
            record.seal(path, {}, copied=True)
        with pytest.raises(qs.StoreError, match="nothing in it was changed"):
            store.begin_run(opened, "run again", None)
        for ask in (lambda: qs.pack(path, path.with_name("packed.zarr")), lambda: qs.open_scan(path)):
            with pytest.raises(qs.StoreError, match="Input/output error"):
                ask()
    assert {name: (path / name / "zarr.json").read_bytes() for name in before} == before
    assert not path.with_name("packed.zarr").exists()
    xr.testing.assert_identical(qs.open_scan(path).load(), qs.open_scan(whole).load())
