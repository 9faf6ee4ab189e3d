"""The bytes of chunks are those that zarr gives them, whole or not there, and written in few calls."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import zarr

import qifscan as qs
from qifscan import files, record
from qifscan.engine.chunks import Chunks
from qifscan.engine.measured import CHECKPOINT, Measured, diagnostics
from qifscan.runs.plan import checkpoint_bytes
from qifscan.store import chunk_files, integrity, layout, store, writer
from qifscan.store.packing import Packing

SHORT = qs.Protocol(transient=0.5, window=0.5)

SCANS = {
    "no axis": ({}, None),
    "one axis": ({"eta": np.linspace(-6.0, -3.0, 7)}, 3),
    "a point a chunk": ({"eta": np.linspace(-6.0, -3.0, 3)}, 1),
    "two axes": ({"eta": np.linspace(-6.0, -3.0, 5), "J": [10.0, 12.0, 15.0]}, 6),
    "three axes": ({"eta": [-6.0, -5.0, -4.0], "J": [10.0, 12.0, 15.0], "delta": [1.0, 2.0]}, 2),
}


def made(name, path, precision="float32"):
    """Create the store of a scan; return it with what its chunks may hold: any bits."""
    axes, points = SCANS[name]
    scan = qs.Scan(axes=axes, protocol=SHORT, observables=["r_mean", "v_final"], precision=precision)
    chunks = Chunks(scan, Chunks.of(scan, points).shape, checkpoint_bytes(scan))
    return store.create(path, chunks, "cpu: any")


def results(opened, chunk, seed=0):
    rng, count = np.random.default_rng([seed, chunk]), opened.chunks.points(chunk)
    rows = dict.fromkeys(opened.scan.measures, opened.scan.precision)
    rows |= {name: row.dtype for name, row in diagnostics(opened.scan).items()}
    values = {name: rng.normal(size=count).astype(dtype) for name, dtype in rows.items()}
    values["r_mean"][0] = np.nan
    values[CHECKPOINT] = rng.integers(0, 256, (count, opened.chunks.checkpoint)).astype(np.uint8)
    return Measured(values, np.ones(count, np.uint8), None)


def contents(path):
    found = {f: f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file() and f.name != "zarr.json"}
    return {str(file.relative_to(path)): data for file, data in found.items()}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", SCANS)
def test_the_bytes_of_chunks_are_those_of_zarr(name, precision, tmp_path, monkeypatch):
    """Also at the end of a dimension, where a chunk sticks out of the array."""
    own = made(name, tmp_path / "own.zarr", precision)
    for chunk in range(len(own.chunks)):
        writer.write(own, chunk, results(own, chunk))
    monkeypatch.setattr(Packing, "of", classmethod(lambda cls, array: None))
    theirs = made(name, tmp_path / "zarr.zarr", precision)
    for chunk in range(len(theirs.chunks)):
        writer.write(theirs, chunk, results(theirs, chunk))
    assert contents(own.path) == contents(theirs.path)
    assert len(contents(own.path)) > 8 * len(own.chunks)
    assert chunk_files.finished(own) == chunk_files.finished(theirs) == set(range(len(own.chunks)))


@pytest.mark.parametrize("name", SCANS)
def test_what_is_packed_is_read_back_as_zarr_reads_it(name, tmp_path):
    opened = made(name, tmp_path / "scan.zarr")
    for chunk in range(len(opened.chunks)):
        writer.write(opened, chunk, results(opened, chunk))
    for array_name, array in chunk_files.arrays_of(opened).items():
        packing = Packing.of(array)
        for chunk in range(len(opened.chunks)):
            data = chunk_files.files_of(opened, chunk)[array_name].read_bytes()
            part = tuple(slice(s.stop - s.start) for s in opened.chunks.region(chunk))
            values = array[opened.chunks.region(chunk)]
            assert np.array_equal(packing.unpacked(data)[part], values, equal_nan=values.dtype.kind == "f")
            for at in (0, len(data) // 2, -1):
                flipped = bytearray(data)
                flipped[at] ^= 4
                assert packing.unpacked(bytes(flipped)) is None
            assert packing.unpacked(data[:-5]) is None
            assert packing.unpacked(b"") is None


@pytest.mark.parametrize(
    "codecs",
    [
        {"compressors": None},
        {"compressors": [zarr.codecs.ZstdCodec()]},
        {"compressors": None, "filters": [zarr.codecs.TransposeCodec(order=(0,))]},
        {"compressors": [zarr.codecs.Crc32cCodec()], "serializer": zarr.codecs.BytesCodec(endian="big")},
        {"compressors": [zarr.codecs.Crc32cCodec()], "shards": (4,)},
    ],
)
def test_another_packing_is_left_to_zarr(codecs):
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=(4,), chunks=(2,), dtype="float32", **codecs)
    assert Packing.of(array) is None


def test_a_store_of_another_packing_is_written_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "codecs", lambda name: [zarr.codecs.ZstdCodec()])
    opened = made("two axes", tmp_path / "scan.zarr")
    for chunk in range(len(opened.chunks)):
        writer.write(opened, chunk, results(opened, chunk))
    assert chunk_files.finished(opened) == set(range(len(opened.chunks)))
    assert chunk_files.endings(opened, chunk_files.finished(opened)) == {1: 15}
    assert chunk_files.damaged(opened, chunk_files.finished(opened)) == {}


def calls_of(monkeypatch, *names):
    """Count calls of functions of `os`, and keep what they were called with."""
    made_calls = []
    for name in names:
        real = getattr(os, name)

        def counted(*given, _name=name, _real=real, **more):
            made_calls.append((_name, *map(str, given)))
            return _real(*given, **more)

        monkeypatch.setattr(os, name, counted)
    return made_calls


def test_a_chunk_opens_each_of_its_files_once_its_status_after_the_others_and_its_row_last(
    tmp_path, monkeypatch
):
    opened = made("one axis", tmp_path / "scan.zarr")
    writer.write(opened, 0, results(opened, 0))
    calls = calls_of(monkeypatch, "open", "replace", "stat", "listdir", "scandir")
    writer.write(opened, 1, results(opened, 1))
    there = [chunk_files.names_of(opened, 1)[name] for name in opened.chunks.grid_names]
    wanted = [*there, chunk_files.row_name(opened, 1)]
    replaced = [call for call in calls if call[0] == "replace"]
    # Twice where the folder of a chunk has to be made.
    assert list(dict.fromkeys(call[2] for call in replaced)) == [str(opened.path / name) for name in wanted]
    assert len(replaced) <= len(wanted) + 2
    assert sum(call[0] == "open" for call in calls) <= len(wanted)
    assert sum(call[0] in ("stat", "listdir", "scandir") for call in calls) <= 4


def test_thousands_of_chunks_are_looked_at_without_a_folder_or_a_file_too_many(tmp_path, monkeypatch):
    opened = made("three axes", tmp_path / "scan.zarr")
    for chunk in range(len(opened.chunks)):
        writer.write(opened, chunk, results(opened, chunk))
    arrays, chunks = len(opened.chunks.grid_names), len(opened.chunks)
    calls = calls_of(monkeypatch, "lstat", "open", "stat", "listdir", "scandir")
    assert chunk_files.look(opened) == (set(range(chunks)), set())
    count = {name: sum(call[0] == name for call in calls) for name in ("lstat", "open", "stat")}
    assert count["lstat"] == arrays * chunks
    assert count["open"] == chunks
    assert count["stat"] <= 4
    within = [call for call in calls if call[0] in ("listdir", "scandir")]
    assert len(within) == len(set(within))
    leaves = {str(chunk_files.row_path(opened, chunk).parent) for chunk in range(chunks)}
    leaves |= {str(chunk_files.files_of(opened, c)[CHECKPOINT].parent) for c in range(chunks)}
    assert not leaves & {call[1] for call in within}


def test_sizes_of_rows_are_those_of_whole_rows_and_none_of_damaged():
    row = record.Row(3, 2, 77, [5, 6, 7], [10, 11, 12])
    data = record.bytes_of(row)
    assert record.row_of(data, 3) == row
    assert record.sizes_of(data, 3) == (10, 11, 12)
    for wrong in (None, b"", data[:-1], data[:-8], bytes([data[0] ^ 1]) + data[1:]):
        assert record.sizes_of(wrong, 3) is record.row_of(wrong, 3) is None
    assert record.sizes_of(data, 2) is None


@pytest.mark.parametrize("name", ["one axis", "three axes"])
def test_what_is_half_written_lies_where_it_is_looked_for(name, tmp_path, monkeypatch):
    """A killed writer leaves it; the next run takes it away, without looking into a folder of each chunk."""
    opened = made(name, tmp_path / "scan.zarr")

    def killed(source, target):
        raise SystemExit

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(os, "unlink", lambda path: None)
    for file in [*chunk_files.names_of(opened, 1).values(), chunk_files.row_name(opened, 1)]:
        with pytest.raises(SystemExit):
            files.write_below(opened.path, {file: b"half"})
    monkeypatch.undo()
    left = sorted(opened.path.rglob("*.partial"))
    assert len(left) == len(opened.chunks.grid_names) + 1
    assert {file.parent.name for file in left} == {"c"}
    assert integrity.faults(opened, theory=False) == []
    for file in left:
        os.utime(file, (1e9, 1e9))
    store.begin_run(opened, "a run", None)
    assert not list(opened.path.rglob("*.partial"))


def test_of_a_disk_that_gets_full_on_the_way_nothing_half_written_stays(tmp_path, monkeypatch):
    target, wrote = tmp_path / "a" / "b", os.write
    monkeypatch.setattr(os, "write", lambda handle, data: wrote(handle, data[:3]))
    files.write(target, b"in many parts")
    assert target.read_bytes() == b"in many parts"

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        files.write(target, b"no more")
    assert target.read_bytes() == b"in many parts"
    assert [p.name for p in target.parent.iterdir()] == ["b"]


@pytest.fixture
def interruptible():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(times, error=None):
    """Be interrupted so often in the middle of a write; return whether that came to its end."""
    done = []

    def write():
        with writer.uninterrupted():
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
            if error is not None:
                raise error
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        write()
    return bool(done)


def test_an_interrupt_waits_for_the_end_of_a_write_and_a_second_one_does_not(interruptible):
    assert interrupted(1)
    assert not interrupted(2)
    assert not interrupted(1, OSError(28, "No space left on device"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with writer.uninterrupted():
        signal.raise_signal(signal.SIGINT)


def test_places_are_those_with_the_numbers_within(tmp_path):
    for name in ("3/0", "4/1", "5/0", "6/0/0", "x/0", "8/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"data")
    (tmp_path / "7").write_bytes(b"a file")
    (tmp_path / "5" / "0").write_bytes(b"")
    assert files.places(tmp_path, 1, (0,)) == {(3,): 4}
    assert files.places(tmp_path, 1) == {(7,): 6}
    assert files.places(tmp_path / "3", 0, (0,)) == {(): 4}
    assert files.places(Path(tmp_path / "nothing"), 1, (0,)) == {}
