"""A finite network of QIF neurons beside the mean field, through the step of current of the 2015 paper.

The network is the simulator of benchmarks/network.py, itself tested here against brute force and SciPy.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "network.py"
specification = importlib.util.spec_from_file_location("network", BENCHMARK)
network = importlib.util.module_from_spec(specification)
sys.modules[specification.name] = network
specification.loader.exec_module(network)


@pytest.fixture(scope="module")
def exact():
    return network.mean_field(network.EXPERIMENTS["step"])


def errors(exact, sampling, count, seed=0):
    course = network.run_network(*network.population(sampling, count, seed), network.EXPERIMENTS["step"])
    return network.errors(course, exact)


def test_ten_thousand_neurons_follow_the_mean_field_through_the_step_of_current(exact):
    """The rate of the mean field goes up to 2.88; the errors are r.m.s. over 40 time units."""
    found = errors(exact, "balanced", 10_000)
    assert found["r, Z"] < 0.005
    assert found["v, Z"] < 0.015
    assert found["r, spikes"] < 0.04


def test_the_error_falls_as_the_root_of_the_size_with_the_quantiles_of_the_paper(exact):
    sizes = [1000, 3162, 10_000]
    found = [errors(exact, "paper", size)["r, Z"] for size in sizes]
    assert network.fitted(sizes, found)["exponent"] == pytest.approx(-0.5, abs=0.1)


def test_random_excitabilities_err_by_more_than_quantiles(exact):
    """Their centre alone is off by pi / (2 sqrt(N)) delta; the seeds are fixed."""
    random = [errors(exact, "random", 3162, seed)["r, Z"] for seed in range(4)]
    assert min(random) > 2 * errors(exact, "balanced", 3162)["r, Z"]


@pytest.mark.parametrize(("eta", "V"), [(3.0, -2.0), (-3.0, -5.0), (-3.0, 1.2), (0.0, 2.0)])
def test_a_neuron_between_spikes_moves_as_its_equation_says(eta, V):
    """V' = V^2 + eta over 25 steps of 0.01, against DOP853; none of them spikes."""
    b = network.flow(np.array([eta]), 0.01)
    moved = np.array([V])
    for _ in range(25):
        moved = (b * moved + eta) / (b - moved)
    run = solve_ivp(lambda t, y: y * y + eta, (0, 0.25), [V], method="DOP853", rtol=1e-12, atol=1e-12)
    assert moved[0] == pytest.approx(run.y[0, -1], rel=1e-9)


def test_a_neuron_alone_fires_at_the_rate_of_its_excitability():
    """sqrt(eta)/pi: V passes through infinity and returns from minus infinity."""
    eta, step, steps = np.array([0.5, 2.0, 7.0]), 0.01, 40_000
    b, V, spikes = network.flow(eta, step), np.zeros(3), np.zeros(3)
    for _ in range(steps):
        spikes += b < V
        V = (b * V + eta) / (b - V)
    np.testing.assert_allclose(spikes / (steps * step), np.sqrt(eta) / np.pi, rtol=0, atol=2 / (steps * step))


@given(st.lists(st.floats(-1.0, 5.0), min_size=1, max_size=40), st.floats(-1.0, 1.0), st.floats(0.0, 0.2))
@settings(derandomize=True, deadline=None)
def test_the_spikes_of_a_step_are_the_fewest_that_raise_just_so_many_neurons(gaps, base, kick):
    gap = np.array(gaps)
    fewest = next(n for n in range(len(gap) + 1) if np.count_nonzero(gap < base + n * kick) == n)
    assert network.settled(gap, base, kick) == fewest


def test_the_order_parameter_of_lorentzian_potentials_is_that_of_their_centre_and_width():
    quantiles = (np.arange(100_000) + 0.5) / 100_000
    found = network.order_parameter(-1.5 + 0.4 * np.tan(np.pi * (quantiles - 0.5)))
    assert found == pytest.approx(0.4 - 1.5j, abs=1e-4)
