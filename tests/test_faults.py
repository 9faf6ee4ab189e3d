"""A few runs of `make faults`, of which the whole takes an hour."""

import sys
from pathlib import Path

import pytest

import qifscan as qs

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import faults  # noqa: E402
import faulty  # noqa: E402

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "scan.zarr"
    qs.run(faulty.SCAN, path, client="serial", chunk_points=faulty.CHUNK_POINTS)
    return faults.bits(path)


@pytest.mark.parametrize(
    ("kind", "came"),
    [
        pytest.param("driver killed", {"went on", "by itself"}, marks=pytest.mark.thorough),
        ("a bit of a chunk flipped", {"went on", "by itself"}),
        ("a chunk raises, in threads", {"the chunk alone"}),
        pytest.param("worker killed", {"by itself"}, marks=pytest.mark.thorough),
    ],
)
def test_after_a_fault_no_bit_is_lost(kind, came, whole):
    how, wrong = faults.tried(kind, 3, whole)
    assert not wrong
    assert how in came


def test_every_kind_of_fault_is_there():
    words = " ".join(faults.KINDS)
    assert len(faults.KINDS) > 40
    for word in ("driver", "worker", "nanny", "scheduler", "network", "disk", "metadata", "clock", "memory"):
        assert word in words
