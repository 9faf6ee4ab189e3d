"""The reference class: its numbers, its methods, and what was wrong with it (BrainPy 2.3.0, `rates.QIF`).

The random tests have a fixed seed, and bounds that the law tested exceeds with probability 1e-6.
"""

import doctest
import gc
import inspect
import logging
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.reference import npz, stepping
from qifscan.reference.stepping import PARAMETERS, State

METHODS = list(INTEGRATORS)
NOISE = {"x_ou_sigma": 0.5, "x_ou_tau": 2.0, "y_ou_sigma": 0.01, "y_ou_tau": 1.0}
SIGMAS = stats.norm.isf(5e-7)
REST = {"x_initializer": -1.9616199885831653, "y_initializer": 0.081134441950119719}
ZERO = {"x_initializer": 0.0, "y_initializer": 0.0}


def stepped(pop, steps, x=None, y=None):
    """Return (r, v) before and after every step, `(steps + 1, 2, *shape)`, by `update`."""
    path = [np.stack([pop.y, pop.x])]
    for _ in range(steps):
        pop.update(x, y)
        path.append(np.stack([pop.y, pop.x]))
    return np.array(path)


def path(run):
    """Return (r, v) of a run, `(time, 2, *shape)`."""
    return np.stack([np.moveaxis(run[name].values, -1, 0) for name in "rv"], axis=1)


def everything(pop):
    """Return all that a population continues from."""
    settings = (pop.method, pop.dt, pop.seed, pop.precision, pop.steps)
    return settings, jax.tree.leaves((pop.vars("relative"), pop.state, pop.parameters, pop.error_estimate))


def assert_same(a, b):
    """Two populations agree in every bit."""
    (settings_a, leaves_a), (settings_b, leaves_b) = everything(a), everything(b)
    assert settings_a == settings_b
    assert len(leaves_a) == len(leaves_b)
    for x, y in zip(leaves_a, leaves_b, strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


# The reference


def test_the_constructor_is_that_of_the_reference_class():
    reference = {
        "size": None,
        "keep_size": False,
        **{"tau": 1.0, "eta": -5.0, "delta": 1.0, "J": 15.0},
        **{"x_ou_mean": 0.0, "x_ou_sigma": 0.0, "x_ou_tau": 5.0},
        **{"y_ou_mean": 0.0, "y_ou_sigma": 0.0, "y_ou_tau": 5.0},
        **{"x_initializer": None, "y_initializer": None},
        **{"method": "exp_auto", "name": None, "mode": "single"},
    }
    parameters = list(inspect.signature(qs.QIF).parameters.values())
    ours, later = parameters[: len(reference)], parameters[len(reference) :]
    assert [p.name for p in ours] == list(reference)
    assert [p.default for p in ours[1:]] == list(reference.values())[1:]
    assert {p.kind for p in later} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(("precision", "error"), [("float64", 1e-10), ("float32", 2e-6)])
def test_exp_auto_gives_the_numbers_of_the_reference_class_step_for_step(precision, error):
    """dt = 0.1, defaults, from x = y = 0, no input; printed to ten digits."""
    known = {
        1: (0.0318309886, -0.5),
        2: (0.0590930602, -0.9075371042),
        5: (0.0952027818, -1.5739800074),
        10: (0.0910254054, -1.8612127601),
        50: (0.0811357447, -1.9616081509),
    }
    pop = qs.QIF(3, **ZERO, precision=precision)
    run = stepped(pop, 50)
    assert run.dtype == precision
    for step, expected in known.items():
        np.testing.assert_allclose(run[step, :, 0], expected, rtol=0, atol=error)


def test_dx_and_dy_are_the_equations_of_the_reference_class():
    tau, eta, delta, J = 2.0, np.array([-5.0, -3.0]), 0.7, 12.0
    pop = qs.QIF(2, tau=tau, eta=eta, delta=delta, J=J)
    x, y, x_ext, y_ext = -0.4, np.array([0.3, 0.6]), 1.5, 0.2
    dy = (delta / (np.pi * tau) + 2.0 * x * y + y_ext) / tau
    dx = (x**2 + eta + x_ext + J * y * tau - (np.pi * y * tau) ** 2) / tau
    np.testing.assert_allclose(pop.dx(x, 0.0, y, x_ext), dx, rtol=1e-14)
    np.testing.assert_allclose(pop.dy(y, 0.0, x, y_ext), dy, rtol=1e-14)


def test_a_population_moves_as_in_simulate():
    eta = np.array([-7.0, -5.0, -4.0])
    pop = qs.QIF(3, eta=eta, J=14.0, tau=1.3, **ZERO, x_ou_mean=0.3, method="riccati", dt=0.01)
    run = pop.run(100, every=20)
    same = {"J": 14.0, "tau": 1.3, "v_ou_mean": 0.3, "initial": {"r": 0.0, "v": 0.0}}
    other = qs.simulate(t_end=1.0, dt=0.01, every=20, eta=eta, integrator="riccati", **same)
    for name in "rv":
        np.testing.assert_allclose(run[name].values, other[name].values, rtol=1e-11, atol=1e-13)


def test_the_default_step_of_the_reference_is_flagged_where_it_invents_a_cycle_and_a_short_one_is_not():
    """At eta = -3, J = 15 the upper state is stable; exp_auto at 0.1 ms cycles over r in [0.040, 4.746]."""
    start = {"x_initializer": -0.154, "y_initializer": 1.031}
    coarse = qs.QIF(3, eta=-3.0, **start)
    fine = qs.QIF(3, eta=-3.0, **start, method="riccati", dt=0.01)
    late = coarse.run(4000)["r"].values[0, 3000:]
    np.testing.assert_allclose([late.min(), late.max()], [0.040, 4.746], rtol=0.015)
    assert np.ptp(fine.run(15_000, every=2000)["r"].values[0, 5:]) < 1e-9
    assert (coarse.status & qs.Status.under_resolved).all()
    assert (fine.status == qs.Status.computed).all()
    assert fine.error_estimate.max() < 1e-3 < coarse.error_estimate.min()


def test_a_population_that_diverged_says_so():
    """eta = 5, J = 15 at the default step: NaN in the reference class, without a word."""
    pop = qs.QIF(3, eta=[5.0, 5.0, -5.0], x_initializer=0.0, y_initializer=[2.0, 1.9, 0.0])
    assert (pop.status == 0).all()
    status = pop.run(100, every=20)["status"].values
    assert not np.isfinite(pop.y[:2]).any()
    assert (status[:2] & qs.Status.diverged).all()
    assert not status[2] & qs.Status.diverged


def test_a_rate_below_0_is_flagged_even_when_it_has_returned():
    pop = qs.QIF(3, **ZERO)
    pop.update(y=-2.0)
    assert (pop.y < 0).all()
    for _ in range(60):
        pop.update()
    assert (pop.y > 0).all()
    assert (pop.status & qs.Status.rate_negative).all()


# Input


def test_a_constant_input_of_every_step_is_a_shift_of_eta():
    """The input of a step is that step's: nothing accumulates from one to the next."""
    driven = stepped(qs.QIF(3, **ZERO), 40, x=1.5)
    shifted = stepped(qs.QIF(3, eta=-3.5, **ZERO), 40)
    np.testing.assert_allclose(driven, shifted, rtol=1e-12, atol=1e-14)


def test_a_constant_input_to_y_is_a_shift_of_delta():
    driven = stepped(qs.QIF(3, **ZERO), 40, y=0.1)
    shifted = stepped(qs.QIF(3, delta=1.0 + 0.1 * np.pi, **ZERO), 40)
    np.testing.assert_allclose(driven, shifted, rtol=1e-12, atol=1e-14)


def test_the_input_is_0_after_a_step_and_never_holds_the_noise():
    pop = qs.QIF(3, **NOISE)
    pop.input += 2.0
    pop.update(1.0)
    pop.update()
    assert not pop.input.any()
    assert not pop.input_y.any()


def test_what_was_added_to_the_input_counts_in_the_next_step_alone():
    one, two = qs.QIF(3, **ZERO), qs.QIF(3, **ZERO)
    one.input += [1.0, 2.0, 3.0]
    one.input_y = 0.2
    one.update(0.5)
    two.update([1.5, 2.5, 3.5], 0.2)
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.y, two.y)
    two.input += 7.0
    two.clear_input()
    one.update()
    two.update()
    assert np.array_equal(one.x, two.x)


@pytest.mark.parametrize("method", METHODS)
def test_run_is_so_many_updates_bit_for_bit_with_noise_and_inputs(method):
    x, y = np.sin(np.arange(8 * 3)).reshape(8, 3), 0.01 * np.cos(np.arange(8 * 3)).reshape(8, 3)
    pops = [qs.QIF(3, **NOISE, method=method, dt=0.02, seed=3) for _ in range(3)]
    for pop in pops:
        pop.input += 0.4
    rows = [np.stack([pops[0].y, pops[0].x])]
    for n in range(8):
        pops[0].update(x[n], y[n])
        rows.append(np.stack([pops[0].y, pops[0].x]))
    assert np.array_equal(path(pops[1].run(8, x, inputs_y=y)), rows)
    assert_same(pops[0], pops[1])
    run = pops[2].run(8, x, inputs_y=y, every=3)
    assert np.array_equal(path(run), rows[::3])
    np.testing.assert_allclose(run["time"], 0.06 * np.arange(3), rtol=1e-12)
    assert_same(pops[0], pops[2])


def test_a_run_goes_on_where_the_last_one_ended_and_less_than_a_row_still_moves():
    one, two = qs.QIF(3, **NOISE), qs.QIF(3, **NOISE)
    whole = one.run(8)
    first, second = two.run(3), two.run(5)
    assert np.array_equal(path(whole), np.concatenate([path(first), path(second)[1:]]))
    assert np.array_equal(second["time"], whole["time"][3:])
    assert two.time == pytest.approx(0.8)
    two.run(5, every=100)
    assert two.steps == 13
    assert two.y[0] != one.y[0]


# Noise


def test_a_negative_mean_of_the_noise_is_a_shift_of_eta_and_of_delta():
    """x_ou_mean = m is eta + m, y_ou_mean = m is delta + pi tau m; the reference ignores m < 0."""
    moved = stepped(qs.QIF(3, tau=1.7, x_ou_mean=-2.0, y_ou_mean=-0.1, **ZERO), 40)
    shifted = stepped(qs.QIF(3, tau=1.7, eta=-7.0, delta=1.0 - 0.17 * np.pi, **ZERO), 40)
    np.testing.assert_allclose(moved, shifted, rtol=1e-12, atol=1e-14)


def test_a_mean_of_some_populations_is_theirs_alone():
    run = qs.QIF(3, x_ou_mean=[0.0, -2.0, 2.0], **ZERO).run(40, every=5)
    other = qs.QIF(3, eta=[-5.0, -7.0, -3.0], **ZERO).run(40, every=5)
    np.testing.assert_allclose(path(run), path(other), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_noise_and_converges_on_one_path(method):
    """Populations of one seed have one path of noise at one dt; methods differ by their errors alone.

    The noise at 0.001 ms is a path of slope sigma/sqrt(dt), which a first-order method follows to 1e-3.
    """
    ends = [
        qs.QIF(3, **NOISE, **ZERO, method=name, dt=0.001, seed=1).run(500, every=500)["r"].values[:, -1]
        for name in (method, "rk4")
    ]
    assert np.ptp(ends[1]) > 1e-3
    np.testing.assert_allclose(ends[0], ends[1], rtol=2e-3)


def test_a_step_is_that_of_the_equations_written_out():
    """Euler's, in NumPy: the noise of the start of the step is added inside the division by tau."""
    pop = qs.QIF(3, **NOISE, tau=2.0, method="euler", dt=0.05)
    for _ in range(5):
        x, y, x_ou, y_ou = pop.x, pop.y, pop.x_ou, pop.y_ou
        pop.update(0.7, 0.03)
        dy = (1 / (2 * np.pi) + 2 * x * y + y_ou + 0.03) / 2
        dx = (x**2 - 5 + 15 * 2 * y - (2 * np.pi * y) ** 2 + x_ou + 0.7) / 2
        np.testing.assert_allclose(pop.y, y + 0.05 * dy, rtol=1e-13)
        np.testing.assert_allclose(pop.x, x + 0.05 * dx, rtol=1e-13)
        assert (pop.x_ou != x_ou).all()


MANY = 4096


def assert_standard(values):
    """Independent standard normals: mean and variance, each a z-test."""
    assert abs(np.mean(values)) * np.sqrt(values.size) < SIGMAS
    assert abs(np.mean(values**2) - 1) * np.sqrt(values.size / 2) < SIGMAS


def assert_uncorrelated(a, b):
    assert abs(np.mean(a * b)) * np.sqrt(a.size) < SIGMAS


@pytest.fixture(scope="module")
def ou():
    """Standardised noise on x and on y at four steps of a batch of 2: `(2, step, batch, population)`."""
    noise = {"x_ou_mean": -0.3, "x_ou_sigma": 0.4, "x_ou_tau": 0.5, "y_ou_sigma": 0.02, "y_ou_tau": 0.05}
    pop = qs.QIF(MANY, **noise, mode="batch")
    pop.reset_state(2)
    values = []
    for _ in range(4):
        x = (pop.x_ou + 0.3) / (0.4 * np.sqrt(0.5 / 2))
        values.append([x, pop.y_ou / (0.02 * np.sqrt(0.05 / 2))])
        pop.update()
    return np.array(values).swapaxes(0, 1)


@pytest.mark.thorough
def test_the_noise_has_its_stationary_std_from_the_first_step_on_at_a_long_step(ou):
    """sigma sqrt(ou_tau/2) at dt = ou_tau/5 and 2 ou_tau; the reference starts at 0, and has 10 % more."""
    for variable in ou:
        for at_step in variable:
            assert_standard(at_step)


def test_the_noise_decorrelates_with_its_time_constant_at_a_long_step(ou):
    for variable, decay in zip(ou, np.exp([-0.1 / 0.5, -0.1 / 0.05]), strict=True):
        for lag in (1, 2, 3):
            rest = variable[lag] - decay**lag * variable[0]
            assert_standard(rest / np.sqrt(1 - decay ** (2 * lag)))
            assert_uncorrelated(rest / np.sqrt(1 - decay ** (2 * lag)), variable[0])


def test_populations_batch_elements_and_variables_have_independent_noise(ou):
    x, y = ou
    assert_uncorrelated(x, y)
    for variable in ou:
        for at_step in variable:
            assert_uncorrelated(at_step[0], at_step[1])
            assert_uncorrelated(at_step[:, 1:], at_step[:, :-1])


def test_weak_noise_moves_the_state_as_linear_response_says():
    """var r, var v, their covariance per sigma^2 at the lower node, ou_tau = 5: z-tests over populations."""
    sigma = 0.04
    pop = qs.QIF((2, MANY), True, **REST, x_ou_sigma=sigma, method="rk4", dt=0.1, seed=5)
    run = pop.run(400, every=400)
    r, v = (
        (run[name].values[..., -1] - REST[f"{k}_initializer"]) / sigma for name, k in (("r", "y"), ("v", "x"))
    )
    for product, known in ((r * r, 3.444571288e-4), (v * v, 0.2056490652), (r * v, 8.32807834e-3)):
        error = product.std() / np.sqrt(2 * MANY)
        assert error < 0.03 * known
        assert abs(product.mean() - known) < SIGMAS * error


def test_noise_and_initial_states_of_a_population_do_not_depend_on_how_many_there_are():
    alone, among = qs.QIF(3, **NOISE, seed=4), qs.QIF(6, **NOISE, seed=4)
    assert np.array_equal(alone.x, among.x[:3])
    assert np.array_equal(alone.x_ou, among.x_ou[:3])
    batch = qs.QIF(3, **NOISE, seed=4, mode="batch")
    batch.reset_state(2)
    np.testing.assert_allclose(stepped(alone, 5), stepped(among, 5)[:, :, :3], rtol=1e-12)
    np.testing.assert_allclose(alone.x, stepped(batch, 5)[-1, 1, 0], rtol=1e-12)


def test_the_noise_does_not_depend_on_the_parameters_so_that_gradients_see_one_path():
    one, two = qs.QIF(3, **NOISE), qs.QIF(3, **NOISE, eta=-3.0, J=[1.0, 2.0, 3.0])
    one.update()
    two.update()
    assert np.array_equal(one.x_ou, two.x_ou)


def test_keep_size_takes_noise_and_is_the_flat_population_in_another_shape():
    eta = np.linspace(-6, -4, 6).reshape(2, 3)
    grid, flat = qs.QIF((2, 3), True, eta=eta, **NOISE), qs.QIF((2, 3), eta=eta.ravel(), **NOISE)
    assert grid.varshape == (2, 3)
    assert flat.varshape == (6,)
    run = grid.run(7)
    assert run["r"].dims == ("population_0", "population_1", "time")
    np.testing.assert_allclose(path(run).reshape(8, 2, 6), path(flat.run(7)), rtol=1e-12)


# Initial states


def test_initial_states_are_the_same_for_a_seed_whatever_was_made_or_reset_before():
    one = qs.QIF(5, seed=7)
    qs.QIF(4).reset()
    np.random.default_rng().random()
    two = qs.QIF(5, seed=7)
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.y, two.y)
    assert not np.isin(one.x, qs.QIF(5, seed=8).x).any()


def test_initial_states_are_uniform_up_to_a_twentieth_and_independent():
    pop = qs.QIF(MANY, mode="batch")
    pop.reset_state(2)
    drawn = np.stack([*pop.x, *pop.y])
    for values in drawn:
        assert stats.kstest(values, stats.uniform(0, 0.05).cdf).pvalue > 1e-6
    standard = (drawn - 0.025) / (0.05 / np.sqrt(12))
    for i, a in enumerate(standard):
        assert_uncorrelated(a[1:], a[:-1])
        for b in standard[:i]:
            assert_uncorrelated(a, b)


def test_reset_repeats_a_run_bit_for_bit():
    pop = qs.QIF(3, **NOISE)
    first = stepped(pop, 5)
    pop.input += 3.0
    pop.reset()
    assert pop.steps == 0
    assert np.array_equal(stepped(pop, 5), first)


def test_initializers_are_numbers_arrays_and_functions():
    pop = qs.QIF((2, 3), True, x_initializer=np.arange(3.0), y_initializer=lambda shape: np.ones(shape))
    assert np.array_equal(pop.x, [[0, 1, 2], [0, 1, 2]])
    assert np.array_equal(pop.y, np.ones((2, 3)))
    pop = qs.QIF(2, mode="batch", x_initializer=-1.0, y_initializer=lambda shape: np.full(shape, shape[0]))
    pop.reset_state(4)
    assert np.array_equal(pop.y, np.full((4, 2), 4.0))


# Modes


def test_a_batch_has_a_first_axis_that_a_reset_keeps():
    pop = qs.QIF(3, mode="batch")
    assert pop.x.shape == pop.get_batch_shape(1) == (1, 3)
    pop.reset_state(2)
    pop.reset()
    pop.update(np.array([[1.0], [2.0]]))
    assert pop.x.shape == pop.input.shape == pop.get_batch_shape(2) == (2, 3)
    assert pop.run(1)["v"].dims == ("batch", "population", "time")
    assert qs.QIF(3).get_batch_shape() == (3,)


def test_train_vars_are_the_parameters_declared_and_learn_by_assignment():
    pop = qs.QIF(3, mode="training", trainable=("J", "eta"), name="learner")
    assert list(pop.train_vars()) == ["learner.J", "learner.eta"]
    assert list(pop.train_vars("relative")) == ["J", "eta"]
    pop.J = pop.train_vars("relative")["J"] + [0.0, 1.0, 2.0]
    assert np.array_equal(pop.train_vars()["learner.J"], [15, 16, 17])
    assert qs.QIF(3).train_vars() == {}


def slope_by_scipy(name, at, t_end):
    """Return d(r, v)(t_end)/d(parameter) from (0, 0), by central differences of DOP853."""

    def end(value):
        p = {"tau": 1.2, "eta": -4.0, "delta": 0.9, "J": 14.0} | {name: value}

        def slope(t, s):
            r, v = s
            dr = p["delta"] / (np.pi * p["tau"]) + 2 * r * v
            dv = v * v + p["eta"] + p["J"] * p["tau"] * r - (np.pi * p["tau"] * r) ** 2
            return dr / p["tau"], dv / p["tau"]

        return solve_ivp(slope, (0, t_end), [0.0, 0.0], method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]

    h = 1e-4
    return (end(at + h) - end(at - h)) / (2 * h)


def final(parameters, pop, steps):
    constants = stepping.prepare(pop.parameters | parameters, dt=pop.dt, method=pop.method)

    def one(state, _):
        return stepping.step(constants, state, method=pop.method), None

    state, _ = jax.lax.scan(one, pop.state, length=steps)
    return state.y[0], state.x[0]


def test_gradients_through_a_step_are_those_of_the_equations():
    at = {"tau": 1.2, "eta": -4.0, "delta": 0.9, "J": 14.0}
    pop = qs.QIF(1, **at, **ZERO, mode="training", trainable=tuple(at), method="riccati", dt=0.01)
    with jax.enable_x64(True):
        r, v = jax.jit(jax.jacfwd(lambda p: final(p, pop, 100)))(at)
    for name, value in at.items():
        np.testing.assert_allclose(
            [r[name].item(), v[name].item()], slope_by_scipy(name, value, 1.0), rtol=2e-6, atol=1e-8
        )


def test_gradients_with_respect_to_the_noise_are_finite_differences_of_the_run():
    pop = qs.QIF(1, **NOISE, method="rk4", dt=0.02)
    at = {name: float(pop.parameters[name][0]) for name in PARAMETERS if name.startswith(("x_ou", "y_ou"))}
    with jax.enable_x64(True):
        rate = jax.jit(jax.value_and_grad(lambda p: final(p, pop, 30)[0]))
        slopes = rate(at)[1]
        for name in at:
            h = 1e-6
            ends = [float(rate(at | {name: at[name] + side * h})[0]) for side in (1, -1)]
            assert slopes[name] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-9)


def test_the_gradient_is_finite_where_that_of_the_reference_is_not():
    """At x = 0, phi(z) = (e^z - 1)/z is 0/0 in both of its derivatives."""
    pop = qs.QIF(1, **ZERO)
    with jax.enable_x64(True):
        slope = float(jax.jit(jax.grad(lambda p: final(p, pop, 2)[0]))({"delta": 1.0})["delta"])
    assert np.isfinite(slope)
    assert slope > 0


def test_the_pure_step_under_scan_jit_and_vmap_is_the_object():
    method = "riccati"
    pop = qs.QIF(3, **NOISE, method=method, dt=0.01)
    start, etas = pop.state, np.array([-6.0, -4.0])

    def run(eta):
        constants = stepping.prepare(pop.parameters | {"eta": eta}, dt=pop.dt, method=method)
        return jax.lax.scan(
            lambda s, _: (stepping.step(constants, s, 0.3, method=method), s.y), start, length=8
        )

    with jax.enable_x64(True):
        end, rates = jax.jit(jax.vmap(run))(etas)
    assert isinstance(end, State)
    for i, eta in enumerate(etas):
        pop.eta = eta
        pop.reset()
        np.testing.assert_allclose(pop.run(8, 0.3)["r"].values.T[:8], rates[i], rtol=1e-12)
        np.testing.assert_allclose(pop.x, end.x[i], rtol=1e-12)
    pop.state = State(*(leaf[0] for leaf in end[:4]), end.step[0], tuple(word[0] for word in end.key))
    assert pop.steps == 8


def test_the_examples_in_the_docstrings_print_what_they_say():
    result = doctest.testmod(stepping)
    assert result.attempted >= 5
    assert result.failed == 0


def test_float64_without_the_64_bits_of_jax_is_an_error_and_not_float32():
    pop = qs.QIF(1)
    constants = stepping.prepare(pop.parameters)
    with pytest.raises(qs.ScanError, match="enable_x64"):
        stepping.step(constants, pop.state, method="exp_auto")
    with pytest.raises(qs.ScanError, match="enable_x64"):
        jax.grad(lambda J: stepping.prepare({"J": J})["coupling"])(1.0)
    single = stepping.prepare({}, precision="float32")
    start = qs.QIF(1, precision="float32").state
    after = jax.eval_shape(lambda state: stepping.step(single, state, method="exp_auto"), start)
    assert after.x.dtype == after.y_ou.dtype == "float32"


# Parameters


def test_parameters_of_any_shape_broadcast_to_that_of_the_population():
    """A grid of two parameters, which the reference refuses: each of its populations by itself."""
    eta, J = np.array([[-6.0], [-4.0]]), np.array([14.0, 15.0, 16.0])
    grid = qs.QIF((2, 3), keep_size=True, eta=eta, J=J, delta=lambda shape: np.ones(shape), **ZERO)
    run = grid.run(7)
    flat = qs.QIF(6, eta=np.repeat(eta, 3), J=np.tile(J, 2), **ZERO).run(7)
    np.testing.assert_allclose(path(run).reshape(8, 2, 6), path(flat), rtol=1e-12)
    assert np.array_equal(run["eta"], np.broadcast_to(eta, (2, 3)))
    assert run.attrs["delta"] == 1.0


def test_a_parameter_that_is_set_counts_from_the_next_step_on():
    pop, other = qs.QIF(3, **ZERO), qs.QIF(3, eta=-2.0, **ZERO)
    pop.update()
    other.state = pop.state
    pop.eta = -2.0
    pop.update()
    other.update()
    assert np.array_equal(pop.x, other.x)
    with pytest.raises(ValueError, match="read-only"):
        pop.eta[0] = 3.0


BAD = {
    "a tau of 0": ({"tau": 0.0}, "tau: found 0.0, expected a number above 0"),
    "one bad tau": ({"tau": [1.0, -2.0, 1.0]}, "tau: found -2.0 at (1,), expected a number above 0"),
    "a negative delta": ({"delta": -1.0}, "delta: found -1.0, expected a number above 0"),
    "NaN": ({"eta": float("nan")}, "eta: found nan, expected a finite number"),
    "infinity": ({"J": [1.0, np.inf, 2.0]}, "J: found inf at (1,), expected a finite number"),
    "a negative sigma": ({"x_ou_sigma": -0.1}, "x_ou_sigma: found -0.1, expected a number not below 0"),
    "an ou_tau of 0": ({"y_ou_tau": 0}, "y_ou_tau: found 0.0, expected a number above 0"),
    "a text": ({"eta": "low"}, 'eta: found "low", expected a number'),
    "a truth value": ({"eta": True}, "eta: found true, expected a number"),
    "a ragged list": ({"eta": [[1.0], [1.0, 2.0]]}, "eta: found [[1.0], [1.0, 2.0]], expected a number"),
    "another shape": (
        {"eta": [1.0, 2.0]},
        "eta: found an array of shape (2,), expected one that broadcasts to (3,)",
    ),
    "another method": ({"method": "rk45"}, 'method: found "rk45", expected one of'),
    "another mode": ({"mode": "batches"}, 'mode: found "batches", expected one of'),
    "another precision": ({"precision": "float16"}, 'precision: found "float16", expected one of'),
    "a dt of 0": ({"dt": 0.0}, "dt: found 0.0, expected a number above 0"),
    "two dts": ({"dt": [0.1, 0.2]}, "dt: found [0.1, 0.2], expected one number"),
    "a negative seed": ({"seed": -1}, "seed: found -1, expected an integer of at least 0"),
    "no size": ({"size": 0}, "size: found 0, expected an integer of at least 1"),
    "an empty size": ({"size": ()}, "size: found [], expected"),
    "a broken size": ({"size": (2, 1.5)}, "size: found 1.5, expected an integer of at least 1"),
    "a bad name": ({"name": "my pop"}, 'name: found "my pop", expected'),
    "a wrong start": ({"x_initializer": [1.0, 2.0]}, "x_initializer: found an array of shape (2,)"),
    "training untold": (
        {"trainable": ("J",)},
        'trainable: found ["J"], expected nothing; set mode="training"',
    ),
    "training what": (
        {"trainable": ("K",), "mode": "training"},
        'trainable: found "K", expected one of',
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_mistake_is_one_fault_in_one_line(name):
    changes, line = BAD[name]
    with pytest.raises(qs.ScanError) as caught:
        qs.QIF(**{"size": 3} | changes)
    assert len(caught.value.faults) == 1
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_every_mistake_of_a_call_is_told_at_once():
    unnoticed = {"x_initializer", "eta"}
    changes = {name: change[name] for change, _ in BAD.values() for name in change if name not in unnoticed}
    with pytest.raises(qs.ScanError) as caught:
        qs.QIF(**changes | {"mode": "batches"})
    assert {fault.where for fault in caught.value.faults} == set(changes)


def test_a_parameter_of_the_shape_of_size_asks_for_keep_size():
    with pytest.raises(qs.ScanError, match="set keep_size=True"):
        qs.QIF((2, 3), eta=np.zeros((2, 3)))


def test_a_bad_parameter_that_is_set_changes_nothing():
    pop = qs.QIF(3)
    with pytest.raises(qs.ScanError, match=r"tau: found -1\.0"):
        pop.tau = -1.0
    assert np.array_equal(pop.tau, np.ones(3))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda pop: pop.update([1.0, 2.0]), "x: found an array of shape (2,)"),
        (lambda pop: pop.update(y=float("nan")), "y: found nan"),
        (lambda pop: pop.run(-1), "steps: found -1"),
        (lambda pop: pop.run(5, every=0), "every: found 0"),
        (lambda pop: pop.run(5, np.zeros(4)), "inputs: found 4 rows, expected 5"),
        (lambda pop: pop.run(5, np.sin), "inputs: found <ufunc 'sin'>, expected a number, or time first"),
        (lambda pop: pop.run(5, [[1.0, 2.0], [1.0, np.nan]]), "inputs: found nan at (1, 1)"),
        (lambda pop: pop.run(5, inputs_y=np.zeros((5, 2))), "inputs_y: found an array of shape (5, 2)"),
        (lambda pop: pop.reset_state(0), "batch_size: found 0"),
        (lambda pop: setattr(pop, "x", np.zeros(4)), "x: found an array of shape (4,)"),
        (lambda pop: setattr(pop, "state", qs.QIF(4).state), "state.x: found an array of shape (4,)"),
        (lambda pop: pop.vars("absolut"), 'method: found "absolut", expected'),
        (lambda pop: stepping.prepare({"Eta": 1.0}), 'parameters: found "Eta", expected'),
        (
            lambda pop: jax.grad(lambda eta: qs.QIF(3, eta=eta).x[0])(1.0),
            "eta: found a value that JAX traces",
        ),
    ],
)
def test_a_wrong_argument_of_a_method_is_told_and_changes_nothing(call, line):
    pop, before = qs.QIF(3), qs.QIF(3)
    with pytest.raises(qs.ScanError, match="^" + re.escape(line)):
        call(pop)
    assert_same(pop, before)


# Names


def test_two_living_populations_never_have_one_name():
    first, second = qs.QIF(1), qs.QIF(1)
    assert first.name != second.name
    named = qs.QIF(1, name="cortex")
    with pytest.raises(qs.ScanError, match="cortex"):
        qs.QIF(1, name="cortex")
    with pytest.raises(qs.ScanError, match="cortex"):
        first.unique_name("cortex")
    assert first.unique_name() not in {first.name, second.name}
    assert first.unique_name(type_="Other") == "Other0"
    del named
    gc.collect()
    assert qs.QIF(1, name="cortex").name == "cortex"


def test_vars_and_nodes_are_named_as_in_the_reference():
    pop = qs.QIF(2, name="area")
    assert list(pop.nodes()) == ["area"]
    assert list(pop.nodes("relative")) == [""]
    assert pop.nodes(include_self=False) == {}
    assert set(pop.vars()) == {f"area.{name}" for name in ("x", "y", "x_ou", "y_ou", "input", "input_y")}
    assert pop.vars("relative")["x"] is pop.x


def test_an_array_that_was_handed_out_does_not_change_with_the_next_step():
    pop = qs.QIF(3)
    rates = []
    for _ in range(4):
        rates.append(pop.y)
        pop.update()
    assert len(np.unique(np.array(rates))) == 12


@pytest.mark.parametrize("name", ["online_fit", "offline_fit", "online_init", "offline_init"])
def test_fitting_says_that_it_is_not_built_and_what_to_use(name):
    arguments = (None, {}) if name.endswith("fit") else ()
    with pytest.raises(qs.QifscanError, match=rf"QIF\.{name} is not built.*jax\.grad.*Scan"):
        getattr(qs.QIF(1), name)(*arguments)


def test_stepping_compiles_once():
    """A recompilation at every step would cost a second each."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    pop, other = qs.QIF(3, **NOISE), qs.QIF(3, **NOISE, eta=-4.0)
    pop.run(7)
    pop.update()
    logging.getLogger("jax").addHandler(handler)
    with jax.log_compiles():
        for _ in range(3):
            pop.update(1.0)
            other.update()
            other.run(5)
    logging.getLogger("jax").removeHandler(handler)
    assert not [r for r in records if "Finished XLA compilation" in r.getMessage()]


# On disk


@pytest.mark.parametrize("method", ["exp_auto", "riccati"])
def test_a_resumed_run_is_the_same_bit_for_bit_whatever_the_object_is_called(method, tmp_path):
    pop = qs.QIF(3, **NOISE, eta=[-6.0, -5.0, -4.0], method=method, dt=0.02, seed=5, name=f"saved_{method}")
    pop.register_delay("memory", 3, "y", 0.5)
    pop.run(7)
    pop.input += 0.7
    pop.save_states(tmp_path / "state.npz")
    other = qs.QIF(3, name=f"other_{method}")
    other.load_states(tmp_path / "state.npz")
    assert_same(pop, other)
    for each in (pop, other):
        each.run(8, 0.3)
    assert_same(pop, other)
    assert np.array_equal(pop.get_delay_data("memory", 2), other.get_delay_data("memory", 2))
    pop.reset()
    other.reset()
    assert_same(pop, other)


def test_a_run_resumed_in_another_process_is_the_same_bit_for_bit(tmp_path):
    pop = qs.QIF(3, **NOISE, method="euler")
    pop.run(5)
    pop.save_states(tmp_path / "half.npz")
    pop.run(5)
    code = (
        "import qifscan as qs; pop = qs.QIF(3); "
        f"pop.load_states({str(tmp_path / 'half.npz')!r}); pop.run(5); "
        f"pop.save_states({str(tmp_path / 'whole.npz')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    other = qs.QIF(3)
    other.load_states(str(tmp_path / "whole.npz"))
    assert_same(pop, other)


@pytest.mark.parametrize(("changes", "batch"), [({"precision": "float32"}, None), ({"mode": "batch"}, 2)])
def test_an_object_of_one_float64_goes_on_with_float32_and_with_a_batch(changes, batch, tmp_path):
    pop, other = qs.QIF(3, **NOISE, **changes), qs.QIF(3)
    pop.reset_state(batch)
    pop.update()
    pop.save_states(tmp_path / "state.npz")
    other.load_states(tmp_path / "state.npz")
    pop.update()
    other.update()
    assert other.batch_size == batch
    assert_same(pop, other)


@pytest.fixture
def saved(tmp_path):
    pop = qs.QIF(3, **NOISE)
    pop.update()
    pop.save_states(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_a_file_holds_plain_arrays_and_is_alone(saved):
    with np.load(saved, allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "fiubU" for name in archive.files)
    assert [p.name for p in saved.parent.iterdir()] == ["state.npz"]


def test_a_damaged_file_is_refused_or_harmless_and_changes_nothing(saved):
    whole = saved.read_bytes()
    right, before = qs.QIF(3), qs.QIF(3)
    right.load_states(saved)
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in rng.integers(0, len(whole), 20)]
    places = rng.integers(0, len(whole), 60)
    damaged += [whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :] for i in places]
    refused = []
    pop = qs.QIF(3)
    for content in damaged:
        saved.write_bytes(content)
        with suppress(qs.StoreError):
            pop.load_states(saved)
        refused.append(pop.steps == 0)
        assert_same(pop, before if refused[-1] else right)
        pop = pop if refused[-1] else qs.QIF(3)
    assert sum(refused) > 40


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "can't be read"), (b"text", "can't be read"), ("pickle", "can't be read")],
)
def test_what_is_no_saved_state_is_refused(content, words, tmp_path):
    target = tmp_path / "state.npz"
    if content == "pickle":
        np.savez(target, about=np.array([{}], dtype=object), allow_pickle=True)
    elif content is not None:
        target.write_bytes(content)
    with pytest.raises(qs.StoreError, match=words) as caught:
        qs.QIF(3).load_states(target)
    assert "\n" not in str(caught.value)


def test_a_file_of_other_populations_of_others_or_of_another_version_is_refused(saved, monkeypatch):
    with pytest.raises(qs.StoreError, match=r"shape \(3,\).*\(4,\)"):
        qs.QIF(4).load_states(saved)
    monkeypatch.setattr(npz, "FORMAT", {"format": "qifscan.QIF", "version": 2})
    with pytest.raises(qs.StoreError, match="version 1"):
        qs.QIF(3).load_states(saved)
    np.savez(saved, a=np.zeros(3))
    with pytest.raises(qs.StoreError, match="not a saved state"):
        qs.QIF(3).load_states(saved)
    for method in (qs.QIF(3).save_states, qs.QIF(3).load_states):
        with pytest.raises(qs.StoreError, match=r"\.npz"):
            method(saved.with_suffix(".pkl"))


def test_a_write_that_fails_leaves_the_file_as_it_was_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(qs.StoreError, match="No space left"):
        qs.QIF(3).save_states(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    with pytest.raises(qs.StoreError, match="can't be written"):
        qs.QIF(3).save_states(saved.parent / "nowhere" / "state.npz")


# Delays


@pytest.mark.parametrize("target", ["x", "y"])
def test_delayed_values_are_those_of_so_many_updates_ago(target):
    pop = qs.QIF(3, **NOISE)
    assert pop.register_delay("d", 4, getattr(pop, target)) == 4
    history = [getattr(pop, target)]
    for _ in range(10):
        pop.update()
        pop.update_local_delays()
        history.append(getattr(pop, target))
    for ago in range(5):
        assert np.array_equal(pop.get_delay_data("d", ago), history[-1 - ago])
    assert np.array_equal(pop.get_delay_data("d", 2, slice(1)), history[-3][:1])
    assert np.array_equal(pop.get_delay_data("d", None), history[-1])
    steps = np.array([0, 3, 4])
    each = [history[-1 - ago][i] for i, ago in enumerate(steps)]
    assert np.array_equal(pop.get_delay_data("d", steps), each)
    places = np.array([2, 0])
    assert np.array_equal(pop.get_delay_data("d", np.array([1, 4]), places), [history[-2][2], history[-5][0]])
    rows, now = pop.global_delay_data["d"]
    assert np.array_equal(rows, history[:-6:-1])
    assert now is getattr(pop, target)


def test_delays_of_a_batch_are_read_for_every_element():
    pop = qs.QIF(3, mode="batch")
    pop.reset_state(2)
    pop.register_delay("d", np.array([0, 1, 2]), "y")
    history = [pop.y]
    for _ in range(3):
        pop.update()
        pop.update_local_delays()
        history.append(pop.y)
    found = pop.get_delay_data("d", np.array([0, 1, 2]))
    assert np.array_equal(found, np.stack([history[-1 - i][:, i] for i in range(3)], axis=1))


def test_before_the_start_a_delay_has_its_initial_data_also_after_a_reset():
    pop = qs.QIF(3)
    pop.register_delay("zero", 2, "y")
    pop.register_delay("number", 2, "y", 0.3)
    pop.register_delay("rows", 2, "y", np.array([[1.0], [2.0]]))
    pop.register_delay("function", lambda shape: np.full(shape, 2), "y", lambda shape: np.full(shape, 7.0))
    for _ in range(2):
        assert np.array_equal(pop.get_delay_data("zero", 1), [0, 0, 0])
        assert np.array_equal(pop.get_delay_data("zero", 0), pop.y)
        assert np.array_equal(pop.get_delay_data("number", 2), [0.3, 0.3, 0.3])
        assert np.array_equal(pop.get_delay_data("rows", 1), [1, 1, 1])
        assert np.array_equal(pop.get_delay_data("rows", 2), [2, 2, 2])
        assert np.array_equal(pop.get_delay_data("function", np.array([1, 2, 2])), [7, 7, 7])
        pop.update()
        pop.update_local_delays()
        pop.reset()
    pop.update()
    pop.update_local_delays(pop)
    pop.reset_local_delays([pop])
    assert np.array_equal(pop.get_delay_data("zero", 0), pop.y)
    assert np.array_equal(pop.get_delay_data("zero", 1), [0, 0, 0])


def test_two_populations_with_one_identifier_have_each_their_delay():
    one, two = qs.QIF(2, y_initializer=1.0), qs.QIF(2, y_initializer=2.0)
    for pop in (one, two):
        pop.register_delay("shared", 1, "y")
    one.update_local_delays([one, two])
    assert np.array_equal(one.get_delay_data("shared", 1), [1, 1])
    assert np.array_equal(two.get_delay_data("shared", 1), [2, 2])


def test_a_longer_delay_of_a_known_identifier_makes_room_and_a_shorter_one_changes_nothing():
    pop = qs.QIF(2)
    pop.register_delay("d", 1, "y")
    pop.register_delay("d", 3, "y", 0.5)
    pop.register_delay("d", None, "y")
    assert np.array_equal(pop.get_delay_data("d", 3), [0.5, 0.5])


def test_run_updates_the_delays_after_every_step():
    one, two = qs.QIF(3, **NOISE), qs.QIF(3, **NOISE)
    for pop in (one, two):
        pop.register_delay("d", 4, "y")
    drive = np.sin(np.arange(9))
    run = one.run(9, drive, every=2)
    rows = [np.stack([two.y, two.x])]
    for value in drive:
        two.update(value)
        two.update_local_delays()
        rows.append(np.stack([two.y, two.x]))
    assert np.array_equal(path(run), rows[::2])
    assert_same(one, two)
    assert np.array_equal(one.global_delay_data["d"][0], two.global_delay_data["d"][0])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda pop: pop.get_delay_data("D", 1), 'identifier: found "D", expected one of d'),
        (lambda pop: pop.get_delay_data("d", 3), "delay_step: found 3, expected at most 2 steps"),
        (lambda pop: pop.get_delay_data("d", -1), "delay_step: found -1"),
        (lambda pop: pop.register_delay("e", 1.5, "y"), "delay_step: found 1.5"),
        (lambda pop: pop.register_delay("d", 1, "x"), 'identifier: found "d", the delay of y'),
        (lambda pop: pop.register_delay("e", 1, qs.QIF(3).y), "delay_target: found"),
        (lambda pop: pop.register_delay(2, 1, "y"), "identifier: found 2, expected a name"),
        (
            lambda pop: pop.register_delay("e", 1, "y", [1.0, 2.0]),
            'the initial data of delay "e": found an array',
        ),
        (lambda pop: pop.update_local_delays([1]), "nodes: found [1]"),
    ],
)
def test_a_wrong_delay_is_told(call, line):
    pop = qs.QIF(3)
    pop.register_delay("d", 2, "y")
    with pytest.raises(qs.ScanError, match="^" + re.escape(line)):
        call(pop)
    assert list(pop.global_delay_data) == ["d"]


def test_a_population_stops_before_its_counter_of_steps_runs_out():
    pop = qs.QIF(3, **NOISE)
    pop.state = pop.state._replace(step=np.uint32(2**32 - 3))
    pop.update()
    with pytest.raises(qs.QifscanError, match="reset it"):
        pop.update()


def test_update_takes_what_the_reference_shares_first():
    one, other = qs.QIF(2, seed=3), qs.QIF(2, seed=3)
    one.update({"t": 0.0, "dt": 0.1, "i": 0}, 2.0)
    other.update(2.0)
    assert np.array_equal(one.x, other.x)
    with pytest.raises(qs.ScanError, match=r"tdi\.dt: found 0\.2, expected 0\.1"):
        one.update({"t": 0.0, "dt": 0.2}, 2.0)


def test_what_is_registered_is_among_vars_and_nodes():
    one, other = qs.QIF(1), qs.QIF(1)
    one.register_implicit_vars({"a": np.ones(2)}, b=np.zeros(1))
    one.register_implicit_nodes(part=other)
    assert {"a", "b"} <= set(one.vars("relative"))
    assert one.nodes("relative") == {"": one, "part": other}
    assert set(one.nodes()) == {one.name, other.name}


def test_an_input_that_is_given_by_place_and_by_name_is_refused():
    pop = qs.QIF(2)
    with pytest.raises(qs.ScanError, match="x: found it twice, by place and by name, expected one of them"):
        pop.update(1.0, x=2.0)
    pop.update(1.0, y=0.1)


def test_a_call_is_an_update():
    one, other = qs.QIF(2), qs.QIF(2)
    one({"t": 0.0, "dt": 0.1}, 2.0)
    other.update(2.0)
    assert np.array_equal(one.x, other.x)


def test_registered_variables_are_saved_and_loaded(tmp_path):
    one, other = qs.QIF(2), qs.QIF(2)
    one.register_implicit_vars(weights=np.arange(6.0).reshape(2, 3))
    other.register_implicit_vars(kept=np.ones(1))
    one.save_states(tmp_path / "one.npz")
    other.load_states(tmp_path / "one.npz")
    assert other.vars("relative")["weights"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert other.vars("relative")["kept"].tolist() == [1.0]


def test_arguments_of_other_versions_are_refused():
    for name in ("sde", "input_var"):
        with pytest.raises(TypeError, match=name):
            qs.QIF(1, **{name: True})


TABLE = Path(__file__).parents[1] / "docs" / "reference" / "qif.md"


DOCUMENTED = """
x y x_ou y_ou input input_y update dx dy reset reset_state clear_input get_batch_shape get_delay_data
register_delay update_local_delays reset_local_delays global_delay_data register_implicit_vars
register_implicit_nodes vars nodes train_vars unique_name name mode save_states load_states state_dict
load_state_dict online_init online_fit offline_init offline_fit cpu cuda tpu to size num varshape
keep_size integral x_initializer y_initializer method
"""


def rows_of_the_table():
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_row_of_the_table_of_names_has_its_test_and_every_name_is_there():
    for names, _, test in rows_of_the_table():
        assert test.strip("`") in globals(), names
    said = {name for names, *_ in rows_of_the_table() for name in re.findall(r"[a-z_]\w*", names)}
    # The public names of the reference's documentation, and of its base classes.
    assert set(DOCUMENTED.split()) <= said
    public = {name for name in vars(qs.QIF) if not name.startswith("_")}
    beside = {
        "run",
        "status",
        "error_estimate",
        "state",
        "parameters",
        "dt",
        "seed",
        "precision",
        "steps",
        "time",
    }
    settings = {"tau", "eta", "delta", *(f"{v}_ou_{n}" for v in "xy" for n in ("mean", "sigma", "tau"))}
    assert public - said - beside - settings - {"J", "batch_size"} == set()


def test_what_the_table_says_is_not_here_is_not():
    pop = qs.QIF(1)
    absent = [names for names, told, _ in rows_of_the_table() if told.startswith("not here")]
    names = {name for each in absent for name in re.findall(r"`(\w+)`", each)}
    assert {"cpu", "state_dict", "fit_record"} <= names
    assert not [name for name in names if hasattr(pop, name)]
