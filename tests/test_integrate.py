"""The integrators against their orders, SciPy's DOP853, the reference class, the symmetries of the model."""

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.integrate import INTEGRATORS

START = {"r": 0.0, "v": 0.0}


def simulate(t_end, dt=0.01, initial=START, **changes):
    return qs.simulate(t_end=t_end, dt=dt, initial=initial, **changes)


def at(run, *times):
    """Return (r, v) at the given times, `(times, 2)`."""
    chosen = run.sel(time=list(times), method="nearest")
    assert np.allclose(chosen["time"], times, rtol=1e-12)
    return np.stack([chosen["r"].values, chosen["v"].values], axis=-1)


def reference(t_end, initial, tau=1.0, eta=-5.0, delta=1.0, J=15.0, current=lambda t: 0.0):
    """Return (r, v) at the end, by SciPy's DOP853 with a relative tolerance of 1e-12."""

    def slope(t, y):
        r, v = y
        dr = delta / (np.pi * tau) + 2 * r * v
        return dr / tau, (v * v + eta + current(t) + J * tau * r - (np.pi * tau * r) ** 2) / tau

    run = solve_ivp(slope, (0.0, t_end), initial, method="DOP853", rtol=1e-12, atol=1e-14)
    return run.y[:, -1]


# Orders


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("name", list(INTEGRATORS))
def test_an_integrator_converges_with_the_order_that_it_claims(name, driven):
    """Steps of 1/16 to 1/1024 of tau: one dt, and time constants from 1 to 64, each with its own reference.

    The order is the slope between steps that are short enough for it and long enough for rounding.
    """
    taus = 2.0 ** np.arange(7)
    tau = xr.DataArray(taus, dims="tau", coords={"tau": taus})
    initial = {"r_initial": 1.2 / tau, "v_initial": xr.full_like(tau, -0.1)}
    drive = qs.Sine(amplitude=1.3, period=1.0, phase=0.3) if driven else None
    numbers = {"drive_period": 2.3 * tau} if driven else {}
    run = qs.simulate(
        t_end=2.0 * taus[-1],
        dt=1 / 16,
        integrator=name,
        drive=drive,
        initial="rest",
        tau=tau,
        **initial,
        **numbers,
    )
    errors = []
    for i, x in enumerate(taus):
        end = run.isel(tau=i).sel(time=2.0 * x)
        found = np.array([float(end["r"]) * x, float(end["v"])])
        period = 2.3 * x
        expected = reference(
            2.0 * x,
            [1.2 / x, -0.1],
            tau=x,
            current=(lambda t, p=period: 1.3 * np.sin(2 * np.pi * t / p + 0.3)) if driven else lambda t: 0.0,
        ) * [x, 1.0]
        errors.append(np.abs(found - expected).max())
    usable = [i for i, error in enumerate(errors) if error > 1e-11][-4:]
    order = -np.polyfit(np.log(taus[usable]), np.log(np.array(errors)[usable]), 1)[0]
    assert abs(order - INTEGRATORS[name].order) < 0.15


# The reference class


REFERENCE_CLASS = {
    1: (0.0318309886, -0.5),
    2: (0.0590930602, -0.9075371042),
    5: (0.0952027818, -1.5739800074),
    10: (0.0910254054, -1.8612127601),
    50: (0.0811357447, -1.9616081509),
}


def test_exp_auto_is_the_reference_class_step_for_step():
    """BrainPy 2.3.0, rates.QIF: dt = 0.1, defaults, from r = v = 0, no input, printed to ten digits."""
    run = simulate(5.0, dt=0.1, integrator="exp_auto")
    for step, expected in REFERENCE_CLASS.items():
        np.testing.assert_allclose(at(run, 0.1 * step)[0], expected, rtol=0, atol=1e-9)


def exponential_euler(eta, J, delta, steps, dt, r=0.0, v=0.0):
    """Each variable by its own linear part, 2 v for both: y + (e^(2 v dt) - 1)/(2 v) y'."""
    path = [(r, v)]
    for _ in range(steps):
        factor = np.expm1(2 * v * dt) / (2 * v) if v else dt
        dr, dv = delta / np.pi + 2 * r * v, v * v + eta + J * r - (np.pi * r) ** 2
        r, v = r + factor * dr, v + factor * dv
        path.append((r, v))
    return np.array(path)


@pytest.mark.parametrize("eta", [-5.0, -1.0, 3.0])
def test_exp_auto_is_its_formula_written_out(eta):
    run = simulate(10.0, dt=0.05, integrator="exp_auto", eta=eta)
    found = np.stack([run["r"], run["v"]], axis=-1)
    np.testing.assert_allclose(found, exponential_euler(eta, 15.0, 1.0, 200, 0.05), rtol=1e-9, atol=1e-11)


def test_exp_auto_at_the_step_of_the_reference_class_invents_a_fall_and_a_cycle_that_rk4_has_not():
    """Started near the stable upper state at J = 15: at dt = 0.1 it falls at eta = -5, and cycles at -3."""
    start, etas = {"r": 1.031, "v": -0.154}, np.array([-5.0, -3.0])
    coarse = simulate(400.0, dt=0.1, initial=start, eta=etas, integrator="exp_auto")["r"].values[:, 3000:]
    fine = simulate(400.0, dt=0.01, initial=start, eta=etas)["r"].values[:, 30_000:]
    np.testing.assert_allclose(coarse[0], 0.0811344, rtol=0, atol=1e-6)
    np.testing.assert_allclose([coarse[1].min(), coarse[1].max()], [0.040, 4.746], rtol=0.015)
    assert np.ptp(fine, axis=1).max() < 1e-9
    assert fine.min() > 1.0


# Trajectories


def test_the_trajectory_from_zero_is_that_of_dop853():
    known = {
        0.1: (0.03083617, -0.46921466),
        0.5: (0.09163796, -1.54036024),
        1.0: (0.08957495, -1.86350968),
        2.0: (0.08200572, -1.95365658),
        5.0: (0.08113501, -1.96161484),
    }
    np.testing.assert_allclose(at(simulate(5.0), *known), list(known.values()), rtol=0, atol=2e-8)
    for t, expected in known.items():
        np.testing.assert_allclose(reference(t, [0.0, 0.0]), expected, rtol=0, atol=1e-8)


def test_the_time_constant_scales_time_and_rate():
    """R = tau r obeys the equations of tau = 1 in t / tau."""
    fast = simulate(3.0, dt=0.005, initial={"r": 1.2, "v": -0.1})
    slow = simulate(30.0, dt=0.05, initial={"r": 0.12, "v": -0.1}, tau=10.0)
    np.testing.assert_allclose(at(fast, 3.0)[0], [0.96511619, -0.1286953], rtol=0, atol=1e-7)
    np.testing.assert_allclose(at(slow, 30.0)[0], [0.096511619, -0.1286953], rtol=0, atol=1e-7)
    np.testing.assert_allclose(10.0 * slow["r"].values, fast["r"].values, rtol=1e-11)
    np.testing.assert_allclose(slow["v"].values, fast["v"].values, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["rk4", "exp_auto"])
def test_the_model_scales_with_eta_and_delta(name):
    """(eta, I, delta, J, r, v, t) -> (4 eta, 4 I, 4 delta, 2 J, 2 r, 2 v, t / 2), driven."""
    drive = qs.Sine(amplitude=1.0, period=3.0)
    one = simulate(
        8.0,
        dt=0.01,
        initial={"r": 0.5, "v": 0.5},
        drive=drive,
        integrator=name,
        eta=-4.0,
        delta=0.7,
        J=14.0,
        drive_amplitude=1.5,
    )
    four = simulate(
        4.0,
        dt=0.005,
        initial={"r": 1.0, "v": 1.0},
        drive=drive,
        integrator=name,
        eta=-16.0,
        delta=2.8,
        J=28.0,
        drive_amplitude=6.0,
        drive_period=1.5,
    )
    for variable in "rv":
        np.testing.assert_allclose(four[variable].values, 2.0 * one[variable].values, rtol=1e-12, atol=1e-12)
