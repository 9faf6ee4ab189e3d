"""The simulator against the theory of the model: linear response, exact identities, rounding."""

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

import qifscan as qs
from qifscan import theory
from qifscan.kernel import Schedule, batch_shape
from qifscan.points import Points, run_points

REST = {
    "down": (0.081134441950119719, -1.9616199885831653),
    "up": (1.0305967988375715, -0.15442988302642608),
}
"""r and v at eta = -5, J = 15, delta = tau = 1, to 16 digits."""


def ran(scan):
    indices = tuple(np.array(scan.select()).T)
    return run_points(Points.of(scan, indices), Schedule.of(scan.protocol), batch_shape(scan.size)).variables


def covariance(state, sigma_r, sigma_v, ou_tau=5.0):
    """Return var r and var v of the linear response to noise: the Lyapunov equation of (r, v, z_r, z_v)."""
    r, v = REST[state]
    drift = np.zeros((4, 4))
    drift[0] = (2 * v, 2 * r, 1, 0)
    drift[1] = (15.0 - 2 * np.pi**2 * r, 2 * v, 0, 1)
    drift[2, 2] = drift[3, 3] = -1 / ou_tau
    diffusion = np.diag([0.0, 0.0, sigma_r**2, sigma_v**2])
    return np.diag(solve_continuous_lyapunov(drift, -diffusion))[:2]


def test_the_lyapunov_equation_has_the_tabulated_solutions():
    assert covariance("down", 0.0, 1.0) == pytest.approx([3.444571288e-4, 0.2056490652], rel=1e-8)
    assert covariance("up", 0.0, 1.0) == pytest.approx([0.1122839207, 0.0743284696], rel=1e-8)


@pytest.mark.parametrize("state", ["down", "up"])
@pytest.mark.parametrize("noisy", [(0, 1), (1, 0), (1, 1)], ids=["v", "r", "both"])
def test_the_stationary_variances_under_weak_noise_solve_the_lyapunov_equation(state, noisy):
    """256 replicates of 300 ms at the automatic step; the seed is fixed.

    The standard error comes from the scatter of the replicates. The bound is 5 of them and 1 per cent, for
    the nonlinear response (the std is below 1/20 of the distance to the saddle): of 12 such comparisons of a
    right simulator one fails with a probability below 1e-5.
    """
    sigma_v, sigma_r = 0.04 * noisy[1], (0.005 if state == "up" else 0.001) * noisy[0]
    scan = qs.Scan(
        axes={"v_ou_sigma": [sigma_v]},
        fixed={"r_ou_sigma": sigma_r},
        replicates=256,
        seed=11,
        protocol=qs.Protocol(transient=50.0, window=300.0, initial=state),
        observables=["r_mean", "r_std", "v_mean", "v_std"],
        precision="float64",
    )
    found = ran(scan)
    exact = covariance(state, sigma_r, sigma_v)
    for name, rest, variance in zip("rv", REST[state], exact, strict=True):
        squares = found[f"{name}_std"] ** 2 + (found[f"{name}_mean"] - rest) ** 2
        error = np.std(squares, ddof=1) / np.sqrt(len(squares))
        assert error < 0.05 * variance
        assert abs(np.mean(squares) - variance) < 5 * error + 0.01 * variance


def test_the_mean_of_v_is_that_of_1_over_r_on_a_driven_and_on_a_noisy_orbit():
    """(ln r)' = delta/(pi tau^2 r) + 2 v/tau, so <v> = -delta/(2 pi tau) <1/r> + tau/(2 T) ln(r(T)/r(0))."""
    at = {"tau": 2.0, "delta": 0.7, "eta": -2.0}
    drive = qs.Sine(amplitude=3.0, period=10.0)
    driven = qs.simulate(t_end=40.0, drive=drive, dt=0.002, precision="float64", **at)
    noisy = qs.simulate(t_end=40.0, v_ou_sigma=1.5, dt=0.002, precision="float64", seed=2, **at)
    for orbit in (driven, noisy):
        r, v, t = (orbit[name].values for name in ("r", "v", "time"))
        length = t[-1] - t[0]
        right = -0.7 / (4 * np.pi) * np.trapezoid(1 / r, t) / length + np.log(r[-1] / r[0]) / length
        assert np.ptp(r) > 0.1
        assert np.trapezoid(v, t) / length == pytest.approx(right, abs=2e-5)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_lyapunov_exponents_sum_to_four_times_the_mean_of_v(noise):
    """A small triangle of states under one drive and one path of noise loses area at the rate 4 <v>/tau."""
    edge, tau, length = 1e-6, 2.0, 3.0
    r, v = REST["up"][0] / tau, REST["up"][1]
    scan = qs.Scan(
        points={"r_initial": [r, r + edge, r], "v_initial": [v, v, v + edge]},
        fixed={"tau": tau, "v_ou_sigma": noise},
        drive=qs.Sine(amplitude=4.0, period=5.0),
        noise="common",
        protocol=qs.Protocol(transient=0.0, window=length, tolerance=1e-9),
        observables=["r_final", "v_final", "v_mean"],
        precision="float64",
    )
    found = ran(scan)
    assert np.ptp(found["v_mean"]) < 1e-5
    (ar, av), (br, bv) = (
        (found["r_final"][i] - found["r_final"][0], found["v_final"][i] - found["v_final"][0]) for i in (1, 2)
    )
    area = abs(ar * bv - av * br)
    expected = 4 * found["v_mean"][0] / tau
    assert expected < -0.1
    assert np.log(area / edge**2) / length == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("delta", "bound"), [(1.0, 3e-5), (0.01, 1e-3)])
def test_float32_is_float64_over_the_standard_map(delta, bound):
    """Worst relative difference of r at t = 200 ms: 9e-6 at delta = 1; the weaker the damping, the more
    rounding a point collects."""
    eta, J = (grid.ravel() for grid in np.meshgrid(np.linspace(-10, 10, 41), np.linspace(0, 30, 31)))
    width = np.full_like(eta, delta)
    highest = np.nanmax(theory.roots(eta, J, width, np.ones_like(eta)), axis=1)
    points = {
        "eta": eta,
        "J": J,
        "delta": width,
        "r_initial": 1.01 * highest,
        "v_initial": -delta / (2 * np.pi * highest),
    }
    ends = []
    for precision in ("float32", "float64"):
        protocol = qs.Protocol(transient=100.0, window=100.0)
        scan = qs.Scan(
            points=points, protocol=protocol, observables=["r_final", "r_mean"], precision=precision
        )
        ends.append(ran(scan))
    for name in ("r_final", "r_mean"):
        apart = np.abs(ends[0][name] / ends[1][name] - 1.0)
        assert 0.0 < apart.max() < bound, (name, apart.max())
