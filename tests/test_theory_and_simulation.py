"""Long simulations end where theory says, of benchmarks/theory_and_simulation.py; and it sees where not."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qifscan.dynamics.models import FAMILY

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "theory_and_simulation.py"
specification = importlib.util.spec_from_file_location("theory_and_simulation", BENCHMARK)
proof = importlib.util.module_from_spec(specification)
sys.modules[specification.name] = proof
specification.loader.exec_module(proof)

MODEL, POINTS, SEED = FAMILY["qif_gap"], 10, 7


@pytest.fixture(scope="module")
def compared():
    """Random points of gap junctions, what theory knows of them, and where runs end."""
    columns = proof.drawn(MODEL, POINTS, SEED)
    known = proof.theory(MODEL, columns, starts=2)
    return (
        columns,
        known,
        proof.ends(MODEL, columns, known, *proof.spread(MODEL, columns, known, 8), proof.AT),
    )


def judged(columns, known, runs):
    count = proof.Count(MODEL.name, POINTS)
    proof.judge(MODEL, columns, known, runs, count)
    return count


@pytest.mark.thorough
def test_long_simulations_end_at_the_equilibria_and_cycles_that_theory_calls_stable_and_nowhere_else(
    compared,
):
    count = judged(*compared)
    assert count.equilibria_found == count.equilibria >= 5
    assert count.cycles_found == count.cycles >= 2
    assert count.undecided == 0
    assert not count.disagreements


@pytest.mark.thorough
def test_a_stable_state_too_many_and_one_too_few_are_both_seen(compared):
    columns, known, runs = compared
    unstable = np.argwhere(~known.stable & np.isfinite(known.rest[..., 0]))[0]
    stable = known.stable.copy()
    stable[tuple(unstable)] = True
    wrong = judged(columns, replace(known, stable=stable), runs).disagreements
    assert [d["what"] for d in wrong] == ["no run ends at a stable equilibrium"]
    assert wrong[0]["point"] == unstable[0]
    first = int(known.point[0])
    here = np.flatnonzero(runs.point == first)
    less = replace(runs, which=np.where((runs.kind == proof.CYCLE) & (runs.point == first), -1, runs.which))
    wrong = judged(columns, known, less).disagreements
    assert {d["point"] for d in wrong} == {first}
    assert len(wrong) == 1 + (runs.kind[here] == proof.CYCLE).sum()


def test_the_period_and_the_extremes_of_a_trace_are_those_of_its_sine():
    """r = 2 + sin with a period of 73 steps, v = cos with one of 146: the state repeats with the latter."""
    turns = np.arange(6_000) / 73.0
    exact = np.stack((2.0 + np.sin(2.0 * np.pi * turns), np.cos(np.pi * turns)), axis=1)
    period, low, high = proof.measured(exact)
    assert period == pytest.approx(146.0, rel=1e-6)
    assert low == pytest.approx([1.0, -1.0], abs=1e-6)
    assert high == pytest.approx([3.0, 1.0], abs=1e-6)
    assert proof.measured(exact * np.exp(-0.001 * turns)[:, None]) is None
