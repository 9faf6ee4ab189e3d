"""Packed stores: few files or one, the same bits, only read; what `pack` has not made is refused."""

import json
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.explorer.source import open_source
from qifscan.place import located
from qifscan.runs.state import state_of
from qifscan.store import shards
from tests.test_objects import SCAN, in_memory, on_disk, same

__all__ = ["in_memory", "on_disk"]


@pytest.fixture(scope="module")
def packed(on_disk):
    """The store packed, as a folder and as a file."""
    return qs.pack(on_disk), qs.pack(on_disk, on_disk.with_name("scan.zip"))


def held(path):
    """Every file of a folder; metadata as what it says."""
    return {
        file.relative_to(path).as_posix(): json.loads(file.read_bytes())
        if file.name == "zarr.json"
        else file.read_bytes()
        for file in Path(path).rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("kind", [0, 1])
def test_every_byte_of_a_chunk_is_the_same_after_the_round_trip(packed, on_disk, tmp_path, kind):
    assert held(qs.unpack(packed[kind], tmp_path / "again.zarr")) == held(on_disk)
    assert qs.verify(tmp_path / "again.zarr", points=1).sound


@pytest.mark.parametrize("kind", [0, 1])
def test_a_packed_store_is_read_as_any_other(packed, on_disk, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path = packed[kind]
    same(path, on_disk)
    assert qs.run(SCAN, path).equals(qs.open_scan(on_disk))
    assert state_of(path) == state_of(on_disk)
    assert qs.verify(path, points=2).sound
    assert qs.replay(path, eta=-5.0, J=15.0).attrs["checked"] == "equal bit for bit"
    bigger = SCAN.replace(axes=SCAN.axes | {"J": [10.0, 12.0, 15.0]}, traces=None)
    more = qs.run(bigger, "more.zarr", extend=path, client="serial")
    assert more.attrs["extended"].startswith("8 points taken over, 0 continued, 4 new")
    assert open_source(located("data", path)).values("r_mean", {"eta": 0, "J": 0}).item() > 0
    for command in (["status", path], ["show", path, "-o", "a.png"], ["verify", path, "--points", "0"]):
        assert CliRunner().invoke(main, command).exit_code == 0


def test_every_reader_of_zarr_reads_it(packed, on_disk):
    expected = qs.open_scan(on_disk)
    for through in (packed[0], zarr.storage.ZipStore(packed[1], mode="r")):
        found = xr.open_zarr(through, consolidated=True)
        assert np.array_equal(found["r_mean"], expected["r_mean"])
        assert np.array_equal(found["status"], expected["status"])
    assert zarr.open_array(packed[0], path="r_mean", mode="r").shards == (4, 2)
    assert [p.name for p in Path(packed[0], "r_mean", "c").rglob("*") if p.is_file()] == ["0"]


def test_a_plain_web_server_serves_a_store_that_is_not_packed(on_disk):
    serve = "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)"
    code = f"{serve}; print(s.server_port, flush=True); s.serve_forever()"
    silent = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    server = subprocess.Popen([sys.executable, "-c", code], cwd=on_disk.parent, **silent)
    try:
        port = int(server.stdout.readline())
        found = xr.open_zarr(f"http://127.0.0.1:{port}/{on_disk.name}")
        assert np.array_equal(found["r_mean"], qs.open_scan(on_disk)["r_mean"])
        assert found.attrs["qifscan_fingerprint"] == SCAN.fingerprint
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def test_a_store_packs_into_a_bucket_and_out_of_one(in_memory, on_disk, tmp_path):
    there = qs.pack(on_disk, str(in_memory.with_name("packed.zarr")))
    same(there, on_disk)
    assert held(qs.unpack(there, tmp_path / "again.zarr")) == held(on_disk)
    assert zipfile.ZipFile(qs.pack(str(in_memory), tmp_path / "b.zip")).testzip() is None
    same(tmp_path / "b.zip", on_disk)


def test_what_can_not_be_packed_or_unpacked_is_refused_in_one_line(packed, on_disk, tmp_path):
    half = shutil.copytree(on_disk, tmp_path / "half.zarr")
    (half / "r_mean" / "c" / "1" / "0").unlink()
    broken = shutil.copytree(on_disk, tmp_path / "broken.zarr")
    file = broken / "r_mean" / "c" / "1" / "0"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(bytes(data))
    for call, told in (
        (lambda: qs.pack(half), "has 4 of 5 chunks; run the scan to its end first"),
        (lambda: qs.pack(broken), "r_mean/c/1/0 is damaged; qifscan verify --repair"),
        (lambda: qs.pack(on_disk), "is there already"),
        (lambda: qs.pack(packed[1]), "is packed already"),
        (lambda: qs.unpack(on_disk, tmp_path / "x.zarr"), "is not packed"),
        (lambda: qs.unpack(packed[0], tmp_path / "x.zip"), "a zip is only read"),
        (lambda: qs.run(SCAN, tmp_path / "new.zip"), "not found|only read|can't be"),
    ):
        with pytest.raises(qs.StoreError, match=told) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"half.zarr", "broken.zarr"}


def test_a_packed_store_that_is_damaged_is_seen_and_never_written_to(packed, tmp_path):
    path = shutil.copytree(packed[0], tmp_path / "scan.packed.zarr")
    shard = next(p for p in (path / "r_mean" / "c").rglob("*") if p.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
    before = held(path)
    verdict = qs.verify(path, points=0)
    assert any("can't be read" in line for line in verdict.faults)
    with pytest.raises(qs.StoreError, match="is packed, and only read"):
        qs.verify(path, points=0, repair=True)
    shard.unlink()
    assert state_of(path)[0].points == 0
    with pytest.raises(qs.StoreError, match="is packed, and only read"):
        qs.run(SCAN, path)
    del before[shard.relative_to(path).as_posix()]
    assert held(path) == before
    data = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps(data | {"attributes": {}}))
    with pytest.raises(qs.StoreError, match="is packed, and only read"):
        qs.run(SCAN, path)


def member(name, **options):
    info = zipfile.ZipInfo(name)
    for key, value in options.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "a bomb": (
        lambda z: z.writestr(member("a", compress_type=zipfile.ZIP_DEFLATED), b"0" * 10**6),
        "compressed",
    ),
    "a way out": (lambda z: z.writestr(member("../out"), b"x"), "not a name"),
    "an absolute name": (lambda z: z.writestr(member("/etc/passwd"), b"x"), "not a name"),
    "a drive": (lambda z: z.writestr(member("C:x"), b"x"), "not a name"),
    "a link": (
        lambda z: z.writestr(member("zarr.json", external_attr=(stat.S_IFLNK | 0o777) << 16), b"/etc/passwd"),
        "a link",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_zip_is_refused_in_one_line(tmp_path, kind):
    write, told = HOSTILE[kind]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        write(archive)
    for call in (qs.open_scan, qs.unpack, qs.open_theory, qs.verify):
        with pytest.raises(qs.StoreError, match=told) as caught:
            call(tmp_path / "x.zip")
        assert len(str(caught.value).splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_a_zip_whose_directory_lies_is_refused(tmp_path, packed):
    whole = Path(packed[1]).read_bytes()
    for name, data in {"cut.zip": whole[:-30], "no.zip": b"PK" * 100, "empty.zip": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(qs.StoreError, match="zip"):
            qs.open_scan(tmp_path / name)
    # A size in the directory that reaches into the next member.
    place = whole.rindex(b"zarr.json") - 46
    data = bytearray(whole)
    data[place + 20 : place + 28] = (10**6).to_bytes(4, "little") * 2
    (tmp_path / "lies.zip").write_bytes(bytes(data))
    with pytest.raises(qs.StoreError):
        qs.open_scan(tmp_path / "lies.zip")


def test_a_shard_is_what_zarr_writes():
    """Chunks that are packed by zarr itself, and by us, come back the same by either."""
    values = np.arange(24, dtype="f4").reshape(4, 6)
    plain = zarr.create_array({}, shape=(4, 6), chunks=(2, 2), dtype="f4", compressors=None)
    plain[...] = values
    chunks = [values[i : i + 2, j : j + 2].tobytes() for i in (0, 2) for j in (0, 2, 4)]
    shard = shards.joined([*chunks[:4], None, chunks[5]])
    assert shards.parted(shard, 6) == [*chunks[:4], None, chunks[5]]
    files = {}
    store = zarr.storage.MemoryStore(files)
    made = zarr.create_array(store, shape=(4, 6), shards=(4, 6), chunks=(2, 2), dtype="f4", compressors=None)
    made[...] = values
    assert sorted(shards.parted(files["c/0/0"].to_bytes(), 6)) == sorted(chunks)
    files["c/0/0"] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(shard)
    values[2:, 2:4] = 0
    assert np.array_equal(made[...], values)


def test_odd_counts_leave_places_of_a_shard_empty():
    node = {"shape": [2000, 3], "data_type": "float32", "node_type": "array", "codecs": [{"name": "bytes"}]}
    node["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": [1, 2]}}
    assert shards.counts_of(node) == (2000, 2)
    assert shards.fold_of(node) == (512, 2)
    assert shards.counts_of(shards.packed_node(node)) == (4, 1)
    assert shards.unpacked_node(shards.packed_node(node)) == node
