"""Who may compute chunks of a store: who sees it and computes its bits; others are refused, or recorded."""

import dataclasses
import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest

import qifscan as qs
from qifscan import record
from qifscan.runs import admission, driver, task
from qifscan.store import chunk_files, store

SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 8)},
    protocol=qs.Protocol(transient=0.5, window=0.5),
    observables=["r_mean"],
)
NAMED = (SCAN.model, SCAN.observables)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    qs.run(SCAN, path, client="serial", chunk_points=2)
    return path


@pytest.fixture
def half(tmp_path):
    """A store of which two of four chunks are there."""
    path = tmp_path / "scan.zarr"
    qs.run(SCAN, path, client="serial", chunk_points=2)
    for chunk in (1, 2):
        chunk_files.discard(store.load(path), chunk)
    return path


@pytest.fixture
def elsewhere(monkeypatch):
    """Make this process one that computes other last bits."""

    def become(**changes):
        here = admission.Origin.here

        def other(chunks):
            return dataclasses.replace(here(chunks), sample="0" * 16, **changes)

        monkeypatch.setattr(admission.Origin, "here", other)
        task._other_origin.cache_clear()

    yield become
    task._other_origin.cache_clear()


def terms(whole, **changes):
    opened = store.load(whole)
    made = admission.Admission.of(opened, admission.Origin.of(opened), False, NAMED)
    return dataclasses.replace(made, **changes)


def test_a_store_says_what_computed_it_and_this_process_may_go_on(whole):
    opened = store.load(whole)
    assert admission.Origin.of(opened) == admission.Origin.here(opened.chunks)
    assert terms(whole)() == ""


def test_a_sample_is_that_of_the_numbers(whole, tmp_path):
    chunks = store.load(whole).chunks
    assert admission.sample(chunks) == admission.sample(chunks)
    other = SCAN.model_copy(
        update={"fixed": {**SCAN.fixed, "J": float(np.nextafter(np.float32(15.0), np.float32(16.0)))}}
    )
    qs.run(other, tmp_path / "other.zarr", client="serial", chunk_points=2)
    assert admission.sample(store.load(tmp_path / "other.zarr").chunks) != admission.sample(chunks)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": "0.0.1"}, "it has qifscan .*, the run 0.0.1"),
        ({"created": "yesterday"}, "it sees another store at"),
        ({"scan": "0" * 64}, "it sees another store at"),
        ({"path": "/nowhere/scan.zarr"}, "/nowhere/scan.zarr: not found"),
    ],
)
def test_a_worker_that_is_or_sees_something_else_is_refused(whole, changes, told):
    (line,) = terms(whole, **changes)().splitlines()
    assert re.match(told, line)


def test_a_worker_that_can_not_write_is_refused(whole, monkeypatch):
    def refused(self, data):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refused)
    assert terms(whole)() == f"it can't write to {whole} (Read-only file system)"


def test_a_worker_that_computes_other_bits_is_refused_with_what_differs(whole, elsewhere):
    elsewhere(device="cpu: another (avx2)")
    told = terms(whole)()
    assert told.startswith(
        "it computes other last bits than those in the store: device cpu: another (avx2), not"
    )
    assert terms(whole, allow_mixed=True)() == ""


def test_a_process_that_computes_other_bits_goes_on_only_if_allowed_and_each_chunk_says_so(
    half, elsewhere, caplog
):
    elsewhere(device="cpu: another (avx2)")
    with pytest.raises(
        qs.StoreError, match="was begun with other last bits than this process computes"
    ) as no:
        qs.run(SCAN, half, client="serial")
    assert len(str(no.value).splitlines()) == 1
    found = qs.run(SCAN, half, client="serial", allow_mixed=True)
    assert "some chunks have other last bits, from cpu: another (avx2)" in caplog.text
    ((number, other),) = found.attrs[admission.OTHERS].items()
    assert other["device"] == "cpu: another (avx2)"
    opened = store.load(half)
    rows = [chunk_files.row(opened, chunk).options for chunk in range(4)]
    own = record.of_options(other["options"])
    assert rows == [own, int(number, 16), int(number, 16), own]
    verdict = qs.verify(half, points=8)
    assert verdict.sound
    assert verdict.others > 0


def test_a_store_of_the_time_before_is_gone_on_with(half, caplog):
    opened = store.load(half)
    attributes = {n: v for n, v in store.attributes_of(opened).items() if n != admission.ORIGIN}
    record.seal(half, attributes | {"device": "cpu: another"}, copied=True)
    assert qs.run(SCAN, half, client="serial")["status"].values.all()
    assert "was begun elsewhere (device" in caplog.text


@pytest.mark.parametrize("origin", [7, {"device": 1}, {"versions": [], "device": "", "options": ""}, None])
def test_an_attribute_of_another_kind_is_none(half, origin):
    store.change_attributes(store.load(half), {admission.ORIGIN: origin})
    assert admission.Origin.of(store.load(half)) is None


def test_a_change_of_attributes_reads_the_metadata_of_each_array_once(half, monkeypatch):
    read, own = [], record._node
    monkeypatch.setattr(record, "_node", lambda file: read.append(str(file)) or own(file))
    store.change_attributes(store.load(half), {"note": "one"})
    assert len(read) == len({*read}) > 20
    assert store.attributes_of(store.load(half))["note"] == "one"


def test_a_region_is_computed_first_and_no_bit_differs(whole, tmp_path, monkeypatch):
    order, compute = [], driver.compute_chunk

    def told(path, chunk, **options):
        order.append(chunk)
        return compute(path, chunk, **options)

    monkeypatch.setattr(driver, "compute_chunk", told)
    path = tmp_path / "scan.zarr"
    found = qs.run(SCAN, path, client="serial", chunk_points=2, first={"eta": (-4.0, -3.5)})
    assert order == [2, 0, 1, 3]
    expected = qs.open_scan(whole)
    assert all(found[n].values.tobytes() == expected[n].values.tobytes() for n in found.variables)


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ({"et": (-4.0, -3.5)}, 'did you mean "eta"'),
        ({"eta": (7.0, 8.0)}, "a range with some of its values, -6 to -3"),
        ({"eta": (1.0, 2.0, 3.0)}, "the lowest and the highest value"),
        ({"eta": ("a", 2.0)}, "the lowest and the highest value"),
        ("eta", 'a region, as {"eta": (-6.0, -4.0)}'),
    ],
)
def test_a_region_that_is_none_is_refused_before_anything_is_written(first, told, tmp_path):
    with pytest.raises(qs.ScanError, match="first") as wrong:
        qs.run(SCAN, tmp_path / "scan.zarr", first=first)
    assert told in str(wrong.value)
    assert not list(tmp_path.iterdir())


def test_the_log_is_lines_of_json_beside_the_store(whole):
    lines = (whole.parent / "scan.zarr.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["event"] for e in events][:1] == ["begun"]
    assert events[-2]["event"] == "progress"
    assert events[-2]["points"] == 8
    assert events[-1]["how"] == "finished"
