"""The short form of benchmarks/same.py: random scans, run in many ways, have the same bits."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "same.py"
specification = importlib.util.spec_from_file_location("same", BENCHMARK)
same = importlib.util.module_from_spec(specification)
sys.modules["same"] = same
specification.loader.exec_module(same)


@pytest.mark.parametrize(
    ("model", "number", "ways"),
    [
        pytest.param("qif", 8, ["chunks", "order"], marks=pytest.mark.thorough),
        ("qif", 0, ["alone", "observables"]),
        pytest.param("qif", 1, ["chunks", "others", "extended"], marks=pytest.mark.thorough),
        pytest.param("qif_plasticity", 2, ["order", "others", "replayed"], marks=pytest.mark.thorough),
        pytest.param("qif_pair", 3, list(same.WAYS), marks=pytest.mark.thorough),
    ],
)
def test_points_of_a_random_scan_keep_their_bits_in_any_scan(model, number, ways):
    verdict = same.Verdict()
    same.look(model, number, 1, ways, verdict, longest=300)
    assert sum(verdict.runs.values()) == len(ways)
    assert min(verdict.numbers[way] for way in ways) >= 40
    assert verdict.different == []


def test_a_replay_in_float64_without_noise_is_the_program_of_its_store():
    """With more observables, for which simulate asks, the mean of s has another last bit here."""
    verdict = same.Verdict()
    same.look("qif_synapse", 6, 1, ["replayed"], verdict)
    assert verdict.runs["replayed"] == 1
    assert verdict.different == []


def test_one_bit_of_one_point_is_seen_and_the_sign_of_zero_and_not_the_bits_of_nan():
    values = np.array([[1.0, np.nan], [0.0, -3.0], [7.0, 8.0]], dtype=np.float32)
    reference = xr.Dataset({"r_mean": (("point", "replicate"), values)})
    rows = np.array([2, 0])
    other = reference.isel(point=rows).copy(deep=True)
    assert same.differences(reference, other, rows) == ({}, 4)
    other["r_mean"].values[0, 1] = np.nextafter(np.float32(8.0), np.float32(9.0))
    assert same.differences(reference, other, rows) == ({"r_mean": 1}, 4)
    negative = reference.copy(deep=True)
    negative["r_mean"].values[1, 0] = -0.0
    assert same.differences(reference, negative, np.arange(3)) == ({"r_mean": 1}, 6)


def test_every_way_is_drawn():
    assert {way for number in range(40) for way in same.ways_of(number, 1)} == set(same.WAYS)
