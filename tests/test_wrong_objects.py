"""Objects of another kind than asked for, and sizes beyond all bounds: one line each, at once."""

import time

import numpy as np
import pytest

import qifscan as qs

SCAN = qs.Scan(axes={"eta": [-5.0, -4.0]})

WRONG = {
    "a path for a scan": (lambda p: qs.run("scan.toml", p / "s.zarr"), 'qifscan.Scan.from_toml("scan.toml")'),
    "a dict for a scan": (
        lambda p: qs.run({"axes": {"eta": [1.0]}}, p / "s.zarr"),
        "qifscan.Scan(**definition)",
    ),
    "a store for a scan": (lambda p: qs.plan("s.zarr"), "expected a qifscan.Scan"),
    "swapped": (lambda p: qs.run(p / "s.zarr", SCAN), "the scan comes first"),
    "no path": (lambda p: qs.run(SCAN, 3), "path: found 3"),
    "progress": (
        lambda p: qs.run(SCAN, p / "s.zarr", progress=True),
        'progress: found true, expected "auto"',
    ),
    "progress by name": (lambda p: qs.run(SCAN, p / "s.zarr", progress="tqdm"), 'progress: found "tqdm"'),
    "an array as a drive": (lambda p: qs.Scan(drive=np.ones(10)), "qifscan.Sampled(values="),
    "a name as a drive": (lambda p: qs.Scan(drive="sine"), "give qifscan.Sine(...)"),
    "an assignment": (lambda p: setattr(SCAN, "seed", 3), "qifscan.Scan(..., seed=3)"),
    "an assignment to a protocol": (
        lambda p: setattr(SCAN.protocol, "dt", 0.1),
        "qifscan.Protocol(..., dt=0.1)",
    ),
    "too many traces": (
        lambda p: qs.Scan(replicates=10**9, traces=qs.Traces(points=[{}])),
        "traces.points: found 1,000,000,000 points",
    ),
    "deep JSON": (lambda p: qs.Scan.from_json("[" * 100_000), "expected the JSON of a scan"),
    "a long name": (
        lambda p: qs.Scan(axes={"a" * 300: {"eta": [1.0, 2.0], "J": [1.0, 2.0]}}),
        "a name of 300 characters",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_object_is_one_line(tmp_path, case):
    attempt, words = WRONG[case]
    with pytest.raises(qs.ScanError) as caught:
        attempt(tmp_path)
    (line,) = str(caught.value).splitlines()
    assert words in line
    assert len(line) <= 200
    assert not list(tmp_path.iterdir())


def test_a_billion_replicates_have_a_size_without_being_listed():
    scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, replicates=10**9)
    assert scan.sizes == {"eta": 2, "replicate": 10**9}


def test_a_number_of_thousands_of_digits_in_an_auto_file_is_refused_at_once(tmp_path):
    header = "   0    IPS = 1  ISW = 1\n   0    PT  TY  LAB    PAR(1)        L2-NORM         U(1)\n"
    row = f"   1     1  9    1   {'1' * 5000}  1.0E+00  1.0E+00\n"
    (tmp_path / "b.x").write_text(header + row)
    begin = time.perf_counter()
    with pytest.raises(qs.ScanError):
        qs.read_auto(tmp_path / "b.x")
    assert time.perf_counter() - begin < 5.0
