"""Regions that bifurcations bound beside long simulations, of benchmarks/slices.py; what is wrong is seen."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def check():
    """The program benchmarks/slices.py, which imports its neighbour by name."""
    sys.path.insert(0, str(BENCHMARKS))
    specification = importlib.util.spec_from_file_location("slices", BENCHMARKS / "slices.py")
    found = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = found
    specification.loader.exec_module(found)
    sys.path.remove(str(BENCHMARKS))
    return found


@pytest.fixture
def plane(check):
    return next(check.planes("qif_gap", 1, 2, seed=22))


def branch(stable, types):
    """A branch over eta = 0, 1, 2, ... whose period is 10 + eta."""
    eta = np.arange(float(len(stable)))
    columns = {"eta": eta, "period": 10.0 + eta, "stable": np.array(stable), "type": np.array(types)}
    columns |= {"branch": np.zeros(len(eta), dtype=int)}
    columns |= {f"{v}_min": eta for v in "rv"} | {f"{v}_max": eta + 5.0 for v in "rv"}
    columns |= {f"{v}_start": eta + 1.0 for v in "rv"}
    return xr.Dataset({name: ("point", values) for name, values in columns.items()})


def test_a_stable_cycle_is_interpolated_and_an_unstable_one_is_none(check, plane):
    found = branch([True, True, False, False, True, True], [0, 0, 5, 0, 0, 0])
    (row,) = check.cycles_at(plane, [found], 0.25)
    assert row["period"] == pytest.approx(10.25)
    assert row["max"] == pytest.approx([5.25, 5.25])
    assert check.cycles_at(plane, [found, found], 4.5)[0]["period"] == pytest.approx(14.5)
    assert len(check.cycles_at(plane, [found, found], 4.5)) == 1
    # Beside a fold beyond which nothing is stable it is not told, but what the period would be.
    assert not check.cycles_at(plane, [found], 1.5)
    assert check.between_bifurcations(plane, [found], 1.5) == pytest.approx([11.5])
    assert not check.cycles_at(plane, [found], 3.5)
    assert not check.between_bifurcations(plane, [found], 3.5)


def test_a_bifurcation_that_a_curve_passes_by_is_counted(check, plane, monkeypatch):
    rows = xr.Dataset(
        {"type": ("point", [5, 0, 5]), "eta": ("point", [1.0, 2.0, 4.0]), "period": ("point", [9.0] * 3)}
    )
    curve = xr.Dataset(
        {
            "piece": ("point", [0, 0, 0]),
            "eta": ("point", [0.0, 1.001, 2.0]),
            plane.second: ("point", [0.0, 0.5, 1.0]),
            "period": ("point", [9.0] * 3),
        },
        {"pieces": [0]},
    )
    told = check.Count("qif_gap")
    monkeypatch.setattr(check, "curve", lambda *given: None)
    check.on_curves(plane, {"LPC": (0.0, curve)}, rows, 0.5, told)
    assert (told.on_curves, told.on_no_curve) == (1, 1)
    assert told.why == {"no curve begins there": 1}
    assert len(told.disagreements) == 1


@pytest.mark.thorough
def test_at_random_slices_long_simulations_come_to_what_the_bifurcations_say(check):
    told = check.compared("qif_gap", 1, 3, seed=22, runs=True)
    assert told.slices == 3
    assert told.cycles_found == told.cycles >= 2
    assert told.rests_found == told.rests >= 5
    assert not told.disagreements


@pytest.mark.thorough
def test_a_stable_cycle_that_theory_does_not_have_is_seen(check, monkeypatch):
    """Without what simulation begins with, gap junctions have cycles that no branch is told of."""
    whole = check.branches
    monkeypatch.setattr(check, "branches", lambda plane, simulated_too: whole(plane, False))
    told = check.compared("qif_gap", 1, 3, seed=22, runs=True)
    assert told.disagreements
    assert {one["what"].partition(":")[0] for one in told.disagreements} == {"a run comes to a cycle"}
