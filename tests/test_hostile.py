"""Stores that somebody has made to do harm: refused in one line, at once, with little memory."""

import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.runs.state import state_of
from tests.test_objects import on_disk

__all__ = ["on_disk"]

DEEP = "[" * 200_000 + "]" * 200_000


def changed(file, **entries):
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def attributes(path, **entries):
    found = json.loads((path / "zarr.json").read_text())["attributes"]
    changed(path / "zarr.json", attributes=found | entries)
    shutil.rmtree(path / "qifscan-record")


def axis_of(path, name, size):
    shutil.copytree(path / "eta", path / name)
    grid = {"name": "regular", "configuration": {"chunk_shape": [1000]}}
    changed(path / name / "zarr.json", shape=[size], chunk_grid=grid, dimension_names=[name])


def in_place_of(file, make):
    shutil.rmtree(file) if file.is_dir() else file.unlink()
    make(file)


def scan_of(path, **entries):
    text = json.loads((path / "zarr.json").read_text())["attributes"]["qifscan_scan"]
    attributes(path, qifscan_scan=json.dumps(json.loads(text) | entries))


def folders(path):
    here = os.getcwd()
    os.chdir(path)
    for _ in range(2000):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)


REFUSED = {
    "an axis of 10^12 values": lambda p: axis_of(p, "zz", 10**12),
    "all arrays of another shape": lambda p: [
        changed(p / name / "zarr.json", shape=[10**12, *shape])
        for name, shape in {"eta": [], "r_mean": [2], "status": [2]}.items()
    ],
    "chunks of 10^18 points": lambda p: attributes(p, qifscan_chunk_shape=[10**9, 10**9]),
    "chunks that are no numbers": lambda p: attributes(p, qifscan_chunk_shape=["a", None]),
    "10^15 replicates": lambda p: scan_of(p, replicates=10**15),
    "a scan that is no scan": lambda p: scan_of(p, axes={"eta": {"values": "x"}}),
    "metadata nested deeply": lambda p: (p / "zarr.json").write_text(DEEP),
    "an array nested deeply": lambda p: (p / "r_mean" / "zarr.json").write_text(DEEP),
    "a pipe in place of metadata": lambda p: in_place_of(p / "zarr.json", os.mkfifo),
    "a pipe in place of an axis": lambda p: in_place_of(p / "eta" / "c" / "0", os.mkfifo),
    "a device": lambda p: in_place_of(p / "zarr.json", lambda f: f.symlink_to("/dev/zero")),
    "a link out of the store": lambda p: in_place_of(p / "eta", lambda f: f.symlink_to("/etc")),
    "chunks elsewhere": lambda p: in_place_of(p / "time" / "c", lambda f: f.symlink_to("/etc")),
    "folders without end": folders,
    "a codec that is none": lambda p: changed(p / "r_mean" / "zarr.json", codecs=[{"name": "os.system"}]),
    "attributes that are a list": lambda p: changed(p / "zarr.json", attributes=[1, 2]),
    "metadata that is a number": lambda p: (p / "zarr.json").write_text("3"),
}


@pytest.fixture
def bounded():
    """Half a minute, and 4 GiB more than there are now, for all that happens."""

    def too_long(*_):
        raise AssertionError("it goes on without end")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + (4 << 30), before[1]))
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_store_is_refused_in_one_line_or_is_found_out(on_disk, tmp_path, bounded, kind):
    path = Path(shutil.copytree(on_disk, tmp_path / "scan.zarr"))
    REFUSED[kind](path)
    with pytest.raises(qs.QifscanError) as caught:
        qs.open_scan(path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
    for call in (state_of, lambda p: qs.verify(p, points=0), qs.open_theory, qs.pack):
        told = ""
        try:
            found = call(path)
        except qs.QifscanError as error:
            told = str(error)
        else:
            assert not hasattr(found, "faults") or found.faults
        assert len(told.splitlines()) < 2
    # Python's own way down is no longer than its stack.
    subprocess.run(["rm", "-rf", path], check=True)


def test_names_that_would_move_the_cursor_are_printed_as_text(on_disk, tmp_path):
    path = Path(shutil.copytree(on_disk, tmp_path / "scan.zarr"))
    shutil.copytree(path / "r_mean", path / "evil\x1b[2J\nname")
    printed = CliRunner().invoke(main, ["status", str(path)]).output
    assert "\x1b" not in printed
    assert "evil" in printed
