"""The options of XLA that the bits of a store belong to: recorded per chunk, compared before writing."""

import os
import subprocess
import sys

import numpy as np
import pytest

import qifscan as qs
from qifscan import record
from qifscan.engine import backend
from qifscan.store import chunk_files, store

SCAN = qs.Scan(
    axes={"eta": np.linspace(-8.0, -2.0, 12)},
    protocol=qs.Protocol(transient=1.0, window=4.0),
    observables=["r_mean", "r_std"],
)
OTHERS = "--xla_cpu_enable_fast_math=true"


@pytest.fixture
def path(tmp_path):
    qs.run(SCAN, tmp_path / "scan.zarr", client="serial", chunk_points=4)
    return tmp_path / "scan.zarr"


def contents(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_each_chunk_and_the_store_say_the_options_that_they_were_computed_with(path):
    opened = store.load(path)
    assert qs.open_scan(path).attrs[store.OPTIONS] == backend.options() != ""
    rows = [chunk_files.row(opened, chunk) for chunk in range(3)]
    assert {row.options for row in rows} == {record.of_options(backend.options())}


def test_with_other_options_verify_says_so_and_a_rerun_is_refused_with_the_reason(path, monkeypatch):
    monkeypatch.setattr(backend, "options", lambda: OTHERS)
    verdict = qs.verify(path)
    assert (verdict.faults, verdict.recomputed, verdict.others > 0) == ((), 0, True)
    assert str(verdict).splitlines()[-1] == "verdict       sound, but for last bits: other options"
    assert any(line.startswith("other options") for line in str(verdict).splitlines())
    # There is nothing to compute.
    assert qs.run(SCAN, path, client="serial")["status"].values.all()
    (path / "status" / "c" / "1").unlink()
    larger = SCAN.model_copy(update={"replicates": 2})
    for attempt in (
        lambda: qs.run(SCAN, path, client="serial"),
        lambda: qs.run(SCAN, path, client="threads"),
        lambda: qs.run(larger, path.with_name("larger.zarr"), extend=path, client="serial"),
    ):
        with pytest.raises(qs.StoreError, match="other options of XLA than this process has") as caught:
            attempt()
        assert len(str(caught.value).splitlines()) == 1
        assert "XLA_FLAGS=" in str(caught.value)
    assert not path.with_name("larger.zarr").exists()
    assert len(chunk_files.finished(store.load(path))) == 2
    monkeypatch.undo()
    assert qs.run(SCAN, path, client="serial")["status"].values.all()
    assert qs.verify(path).sound


def test_damage_is_a_fault_with_any_options(path, monkeypatch):
    monkeypatch.setattr(backend, "options", lambda: OTHERS)
    file = path / "r_mean" / "c" / "0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert [line[:7] for line in qs.verify(path).faults] == ["chunk 0"]


def test_a_store_with_no_chunk_takes_the_options_that_are_there(path, monkeypatch):
    for chunk in range(3):
        chunk_files.discard(store.load(path), chunk)
    monkeypatch.setattr(backend, "options", lambda: OTHERS)
    qs.run(SCAN, path, client="serial")
    assert qs.open_scan(path).attrs[store.OPTIONS] == OTHERS
    assert qs.verify(path).others == 0


def test_a_chunk_that_does_not_say_is_compared_as_before(path, monkeypatch):
    opened = store.load(path)
    for chunk in range(3):
        row = chunk_files.row(opened, chunk)
        silent = record.Row(row.taken, row.continued, 0, row.digests, row.sizes)
        chunk_files.row_path(opened, chunk).write_bytes(record.bytes_of(silent))
    monkeypatch.setattr(backend, "options", lambda: OTHERS)
    assert qs.verify(path).recomputed > 0


def test_the_options_are_those_that_change_numbers(monkeypatch):
    """Where dumps go and how many devices there are change none; of two of one name the last counts."""
    first = "--xla_cpu_enable_fast_math=true --xla_dump_to=/nowhere --xla_cpu_enable_fast_math=false"
    monkeypatch.setenv("XLA_FLAGS", first)
    assert backend._of_numbers("set") == "--xla_cpu_enable_fast_math=false"
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    assert backend._of_numbers("off") == ""
    assert backend._of_numbers("gpu") == backend.UNKNOWN


def test_a_process_without_the_options_says_other_options_of_a_real_store(path, tmp_path):
    code = f"""
import qifscan as qs
verdict = qs.verify({str(path)!r}, points=8)
print(verdict.faults, verdict.others > 0, verdict.sound)
"""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"QIFSCAN_XLA_OPTIONS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "() True True\n"
