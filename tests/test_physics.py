"""The simulator against the theory of the model: linear response, exact identities, rounding."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov

import qifscan as qs
from qifscan.dynamics.integrators import INTEGRATORS, Flow
from qifscan.dynamics.models import QIF
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, Steps, batch_shape
from qifscan.theory import plain

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


@pytest.mark.parametrize(
    ("delta", "bound"), [pytest.param(1.0, 3e-5, marks=pytest.mark.thorough), (0.01, 1e-3)]
)
def test_float32_is_float64_over_the_standard_map(delta, bound):
    """Worst relative difference of r at t = 200 ms: 9e-6 at delta = 1; the weaker the damping, the more
    rounding a point collects."""
    eta, J = (grid.ravel() for grid in np.meshgrid(np.linspace(-10, 10, 41), np.linspace(0, 30, 31)))
    width = np.full_like(eta, delta)
    highest = np.nanmax(plain.roots(eta, J, width, np.ones_like(eta)), axis=1)
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


# Orders with noise


def linear_covariance(name, state, h, ou_tau=1.0):
    """Return the stationary covariance of (r, v) in steps of h, linear in OU noise on v of sigma = 1.

    The Jacobian of the step at rest, with the noise linear between its ends as in the kernel, and the exact
    step of the noise give a linear map of (r, v, z); its covariance solves a discrete Lyapunov equation.
    """
    values = {"eta": -5.0, "J": 15.0, "delta": 1.0, "tau": 1.0, "r_ou_mean": 0.0, "v_ou_mean": 0.0}
    parameters = {name: np.array(value) for name, value in values.items()}
    constants = QIF.constants(parameters)
    prepared = INTEGRATORS[name].prepare(parameters, np.array(REST["up"][0]), np.array(h))
    system = Flow(QIF, constants | prepared, ("v",))

    def step(start, now, later):
        def inputs(fraction):
            return 0.0, (1.0 - fraction) * now + fraction * later

        return jnp.stack(INTEGRATORS[name].step(system, tuple(start), inputs, h)[0])

    with jax.enable_x64(True):
        at = jnp.array(REST[state]), jnp.array(0.0), jnp.array(0.0)
        by_state, by_now, by_later = map(np.asarray, jax.jacfwd(step, (0, 1, 2))(*at))
    decay = np.exp(-h / ou_tau)
    step_map = np.zeros((3, 3))
    step_map[:2, :2], step_map[:2, 2], step_map[2, 2] = by_state, by_now + decay * by_later, decay
    kick = np.array([*by_later, 1.0])
    drawn = ou_tau / 2 * (1 - decay**2) * np.outer(kick, kick)
    return solve_discrete_lyapunov(step_map, drawn)[:2, :2]


@pytest.mark.parametrize("state", ["down", "up"])
@pytest.mark.parametrize("name", list(INTEGRATORS))
def test_the_weak_order_with_noise_is_two_or_that_of_the_method_if_it_is_lower(name, state):
    """The law of linear response, without a sample: steps see the chords of the noise, whose difference from
    the path has mean 0, so that laws converge with order 2 where paths do with 1."""
    r, v = REST[state]
    drift = np.array([[2 * v, 2 * r, 0.0], [15.0 - 2 * np.pi**2 * r, 2 * v, 1.0], [0.0, 0.0, -1.0]])
    exact = solve_continuous_lyapunov(drift, -np.diag([0.0, 0.0, 1.0]))[:2, :2]
    steps = 0.004 / 2.0 ** np.arange(4)
    errors = [np.abs(linear_covariance(name, state, h) - exact).max() for h in steps]
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(min(INTEGRATORS[name].order, 2), abs=0.15)


def test_the_mean_of_v_squared_converges_with_order_two_under_strong_noise():
    """At steps of 0.2, 0.1 and 0.05 against 0.0125, 16,384 replicates on the same paths, sigma = 2.

    The fitted order has a standard error of 0.12; a method of second order fails one time in 30,000.
    """
    count, T = 16_384, 2.0
    scan = qs.Scan(
        axes={"eta": [1.0]},
        fixed={"v_ou_sigma": 2.0, "v_ou_tau": 1.0},
        replicates=count,
        seed=5,
        protocol=qs.Protocol(transient=0.0, window=T, dt=0.2, initial="up"),
        observables=["v_final"],
        precision="float64",
    )
    points = Points.of(scan, tuple(np.array(scan.select()).T))
    means = []
    for halvings in (0, 1, 2, 4):
        steps = Steps(np.full(count, halvings), np.zeros(count, dtype=int))
        run = points.run(steps, Schedule.of(scan.protocol), batch_shape(count))
        means.append(np.mean(run.final[:, 1] ** 2))
    errors = np.abs(np.array(means[:3]) - means[3])
    assert errors[0] > 5e-3
    assert -np.polyfit(np.arange(3.0), np.log2(errors), 1)[0] == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("state", ["down", "up"])
def test_the_power_spectrum_of_r_under_weak_noise_is_that_of_linear_response(state):
    """|(i w - A)^-1|^2_rv sigma^2 / (w^2 + 1/tau_v^2), at w up to 12 per ms, in bands of 5 per cent and more.

    Welch's estimate of 128 replicates of 400 ms: in every band it has a relative standard error below 4 per
    cent; the bound is 4 of that of the band and 1 per cent for the nonlinear response and the leakage of the
    window. Of 60 bands of a right simulator one fails with a probability below 1 per cent.
    """
    sigma, ou_tau, replicates = 0.03, 2.0, 128
    run = qs.simulate(
        t_end=450.0,
        every=2,
        initial=state,
        seed=4,
        v_ou_tau=ou_tau,
        # Points that are equal would have equal noise.
        v_ou_sigma=sigma * (1.0 + 1e-9 * np.arange(replicates)),
    )
    rate = run["r"].values[:, 500:] - REST[state][0]
    frequency, density = signal.welch(rate, fs=10.0, nperseg=1000, detrend=False)
    w, found = 2 * np.pi * frequency, density.mean(axis=0)
    r, v = REST[state]
    other = 15.0 - 2 * np.pi**2 * r
    gain = 2 * r / ((1j * w - 2 * v) ** 2 - 2 * r * other)
    # One-sided, per Hz.
    exact = 2 * np.abs(gain) ** 2 * sigma**2 / (w**2 + ou_tau**-2)
    edges = [0.3, *np.geomspace(0.5, 12.0, 30)]
    for low, high in itertools.pairwise(edges):
        band = (w >= low) & (w < high)
        assert band.any()
        averages = replicates * 6 * np.count_nonzero(band)
        assert found[band].sum() == pytest.approx(exact[band].sum(), rel=0.01 + 4 / np.sqrt(averages))


# The scaling of the model


def scaled(s, precision):
    """Return the record of eight replicates of the model scaled by s, divided by the scale; noise on both.

    (eta, I, delta, J, r, v, t) -> (s eta, s I, s delta, sqrt(s) J, sqrt(s) r, sqrt(s) v, t / sqrt(s)); noise
    on v is added to eta, that on r to delta, and sigma is per square root of time.
    """
    root = np.sqrt(s)
    sigma = s * np.sqrt(root)
    scan = qs.Scan(
        axes={"eta": [-4.0 * s]},
        fixed={
            "delta": 0.75 * s,
            "J": 14.0 * root,
            "v_ou_sigma": 0.5 * sigma,
            "r_ou_sigma": 0.0625 * sigma,
            "v_ou_tau": 2.0 / root,
            "r_ou_tau": 1.0 / root,
            "r_initial": 0.5 * root,
            "v_initial": 0.5 * root,
        },
        drive=qs.Pulse(amplitude=1.5 * s, start=2.0 / root, length=3.0 / root),
        noise="common",
        replicates=8,
        seed=4,
        protocol=qs.Protocol(transient=0.0, window=16.0 / root, dt=1.0 / 64 / root),
        observables=["r_final"],
        precision=precision,
    )
    points = Points.of(scan, tuple(np.array(scan.select()).T))
    steps = Steps(np.zeros(8, dtype=int), np.zeros(8, dtype=int))
    record = points.run(steps, Schedule.of(scan.protocol, 1), batch_shape(8)).record
    return record / root


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_model_scaled_by_16_has_the_same_trajectory_bit_for_bit_noise_included(precision):
    """By 16 every factor is a power of 2, that of sigma too, 16 x 16^(1/4)."""
    one = scaled(1.0, precision)
    assert np.ptp(one[..., 0]) > 0.5
    assert np.array_equal(scaled(16.0, precision), one)


def test_the_model_scaled_by_4_has_the_same_trajectory_to_the_rounding_of_sigma():
    """By 4 the factor of sigma is 4 sqrt(2): its rounding is all that differs."""
    one, four = scaled(1.0, "float64"), scaled(4.0, "float64")
    assert np.abs(four - one).max() < 1e-11
