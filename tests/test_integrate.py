"""The integrators against their orders, SciPy's DOP853, the reference class, the symmetries of the model;
their error estimates against their errors; what the Riccati step keeps exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.integrators import INTEGRATORS, Flow
from qifscan.dynamics.models import QIF
from qifscan.dynamics.status import Status
from qifscan.engine.points import Points
from qifscan.engine.schedule import Schedule, Steps, batch_shape
from qifscan.theory import plain

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


@pytest.mark.parametrize("driven", [pytest.param(False, marks=pytest.mark.thorough), True])
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
    fine = simulate(400.0, dt=0.01, initial=start, eta=etas, integrator="rk4")["r"].values[:, 30_000:]
    np.testing.assert_allclose(coarse[0], 0.0811344, rtol=0, atol=1e-6)
    np.testing.assert_allclose([coarse[1].min(), coarse[1].max()], [0.040, 4.746], rtol=0.015)
    assert np.ptp(fine, axis=1).max() < 1e-9
    assert fine.min() > 1.0


# Trajectories


@pytest.mark.parametrize("name", ["riccati", "rk4"])
def test_the_trajectory_from_zero_is_that_of_dop853(name):
    known = {
        0.1: (0.03083617, -0.46921466),
        0.5: (0.09163796, -1.54036024),
        1.0: (0.08957495, -1.86350968),
        2.0: (0.08200572, -1.95365658),
        5.0: (0.08113501, -1.96161484),
    }
    np.testing.assert_allclose(
        at(simulate(5.0, integrator=name), *known), list(known.values()), rtol=0, atol=2e-8
    )
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


@pytest.mark.parametrize("name", ["riccati", "rk4", "exp_auto"])
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


# Error estimates


def random_runs(name, halvings):
    """Return the estimated relative error of 512 runs from random states, half of them driven, and
    W = pi tau r + i v at every 0.1 ms of 10, in steps of 0.1 ms halved so often."""
    rng = np.random.default_rng(0)
    ranges = {"eta": (-10, 10), "J": (-10, 30), "delta": (0.2, 3), "r_initial": (0.02, 2)}
    ranges["v_initial"] = (-2, 2)
    columns = {key: rng.uniform(low, high, 512) for key, (low, high) in ranges.items()}
    columns["drive_amplitude"] = np.repeat([0.0, 2.0], 256)
    protocol = qs.Protocol(transient=0.0, window=10.0, dt=0.1, integrator=name)
    scan = qs.Scan(
        protocol=protocol,
        points=columns,
        drive=qs.Sine(amplitude=1.0, period=5.0),
        observables=["r_final"],
        precision="float64",
    )
    steps = Steps(*(np.full(512, halvings),) * 2)
    result = Points.of(scan, (np.arange(512),)).run(steps, Schedule.of(protocol, 1), batch_shape(512))
    W = np.pi * result.record[..., 0] + 1j * result.record[..., 1]
    return INTEGRATORS[name].relative_error(result.estimate), W


@pytest.fixture(scope="module")
def exact_runs():
    """The random runs by the Riccati step at 1/256 of 0.1 ms: 2^24 times less error than at 1/4."""
    return random_runs("riccati", 8)[1]


@pytest.mark.parametrize(
    ("name", "halvings", "trusted", "fraction"),
    [
        ("riccati", 2, 1e-3, 0.99),
        ("rk4", 2, 1e-3, 0.99),
        ("heun", 6, 1e-3, 0.97),
        ("euler", 9, 1e-2, 0.94),
        ("exp_auto", 9, 1e-2, 0.94),
    ],
)
def test_an_error_estimate_is_too_high_rather_than_too_low(name, halvings, trusted, fraction, exact_runs):
    """Of the runs that the estimate lets pass, at most a few per cent have a larger error than estimated.

    The error is the largest |W - W'|/|W'| of the run. The estimate judges a run by its worst step: where the
    errors of steps add up for long, or a separatrix is near, no such estimate can be a bound. Methods of
    first order have none of these runs right to 1e-3, so they are judged at 1e-2.
    """
    estimated, found = random_runs(name, halvings)
    with np.errstate(all="ignore"):
        true = np.max(np.abs(found - exact_runs) / np.abs(exact_runs), axis=1)
    passed = estimated <= trusted
    assert np.count_nonzero(passed) > 100
    assert np.mean(true[passed] <= estimated[passed]) >= fraction
    assert np.quantile(true[passed], fraction) < trusted


def random_columns(count, **given):
    rng = np.random.default_rng(5)
    columns = {
        "tau": 10.0 ** rng.uniform(-0.5, 1.3, count),
        "eta": rng.uniform(-20.0, 20.0, count),
        "delta": 10.0 ** rng.uniform(-1.0, 0.7, count),
        "J": rng.uniform(-20.0, 40.0, count),
        "r_ou_mean": np.zeros(count),
        "v_ou_mean": np.zeros(count),
    }
    return columns | given


def highest_equilibrium(columns):
    rates = plain.roots(columns["eta"], columns["J"], columns["delta"], columns["tau"])
    r = NAMED_STATES["up"](rates)
    return r, plain.potential(r, columns["delta"], columns["tau"])


def size(columns, r, v):
    return np.hypot(np.pi * columns["tau"] * r, v)


def step_of(name, columns, dt, dtype="float64"):
    """Return `step(state, inputs)` of an integrator, its constants prepared as the kernel prepares them."""
    row = INTEGRATORS[name]
    count = len(columns["tau"])
    steps = np.broadcast_to(np.asarray(dt, dtype=np.float64), (count,))
    constants = QIF.constants(columns) | row.prepare(columns, highest_equilibrium(columns)[0], steps)
    constants = {key: np.asarray(value).astype(dtype) for key, value in constants.items()}
    taken = jax.jit(lambda c, state, inputs, dt: row.step(Flow(QIF, c), state, lambda fraction: inputs, dt))

    def step(state, inputs=None):
        inputs = (np.zeros(count), np.zeros(count)) if inputs is None else inputs
        with jax.enable_x64(True):
            given = jax.tree.map(lambda y: jnp.asarray(y, dtype), (constants, state, inputs, steps))
            state, estimate = taken(*given)
            return tuple(np.asarray(y) for y in state), np.sqrt(np.asarray(estimate))

    return step


@pytest.mark.parametrize("name", list(INTEGRATORS))
def test_the_estimate_is_zero_at_rest(name):
    """To rounding: at 0.05 ms a step adds about dt/tau times 10^3 (J tau r, W^2) roundings to the state."""
    columns = random_columns(2000, tau=np.full(2000, 1.0))
    _, estimate = step_of(name, columns, 0.05)(highest_equilibrium(columns))
    assert estimate.max() < 50 * np.finfo(np.float64).eps


# What the Riccati step keeps exactly


def riccati(t, eta, delta, tau, r, v):
    """Return (r, v) after t without coupling: tau W' = i kappa^2 - i W^2, kappa^2 = eta - i delta."""
    kappa = np.sqrt(eta - 1j * delta)
    turn = np.tan(kappa * t / tau)
    start = np.pi * tau * r + 1j * v
    end = (start + 1j * kappa * turn) / (1 + 1j * start * turn / kappa)
    return end.real / (np.pi * tau), end.imag


@pytest.mark.parametrize("dt", [0.01, 1.0])
def test_without_coupling_the_riccati_step_is_the_exact_solution_at_any_dt(dt):
    """The closed form, which DOP853 confirms; the estimate of its error is zero: nothing is flagged."""
    etas, start = np.array([-5.0, 0.0, 3.0, 40.0]), {"r": 0.2, "v": 1.5}
    same = {"delta": 0.7, "tau": 1.3}
    run = simulate(10.0, dt=dt, initial=start, J=0.0, eta=etas, **same)
    assert (run["status"] & qs.Status.under_resolved == 0).all()
    expected = riccati(run["time"].values, etas[:, None], **same, **start)
    for name, values in zip("rv", expected, strict=True):
        np.testing.assert_allclose(run[name].values, values, rtol=1e-11, atol=1e-11)
    for eta in etas:
        closed = riccati(2.0, eta, **same, **start)
        np.testing.assert_allclose(
            reference(2.0, list(start.values()), eta=eta, J=0.0, **same), closed, rtol=1e-9, atol=1e-11
        )


@pytest.mark.parametrize(("dt", "rounding"), [(1e-3, 1), (1e-2, 1), (0.1, 10), (1.0, 1e4)])
def test_an_equilibrium_of_highest_rate_is_a_fixed_point_of_the_riccati_step(dt, rounding):
    """To rounding: the push by what J tau r differs from what is held is 0, and the flow is at its rest.

    A rounding of that push is in the gradient's kick times (dt/tau)^3 J tau r, so that it grows with dt.
    """
    columns = random_columns(20_000, tau=np.full(20_000, 1.0))
    rest = highest_equilibrium(columns)
    (r, v), _ = step_of("riccati", columns, dt)(rest)
    moved = size(columns, r - rest[0], v - rest[1]) / size(columns, *rest)
    assert moved.max() <= rounding * 4 * np.finfo(np.float64).eps


@pytest.mark.parametrize("angle", [0.25, 1.0])
def test_the_riccati_step_damps_an_equilibrium_of_highest_rate_exactly_as_the_model_does(angle):
    """At dt = angle tau/(2 |W|), up to four times what the automatic step takes.

    The eigenvalues of the step's Jacobian have the product exp(4 v dt/tau), those of a focus the modulus
    exp(2 v dt/tau) each.
    """
    columns = random_columns(20_000)
    r, v = highest_equilibrium(columns)
    dt = angle * columns["tau"] / (2.0 * size(columns, r, v))
    with jax.enable_x64(True):
        row = INTEGRATORS["riccati"]
        constants = QIF.constants(columns) | row.prepare(columns, r, dt)
        system = Flow(QIF, {key: jnp.asarray(value) for key, value in constants.items()})
        nothing = (jnp.zeros(len(r)), jnp.zeros(len(r)))
        tangents = [(jnp.ones(len(r)), nothing[0]), (nothing[0], jnp.ones(len(r)))]
        columns_of = [
            jax.jvp(lambda *y: row.step(system, y, lambda fraction: nothing, dt)[0], (r, v), tangent)[1]
            for tangent in tangents
        ]
    jacobian = np.moveaxis(np.array(columns_of), (0, 1, 2), (2, 1, 0))
    rate = v * dt / columns["tau"]
    np.testing.assert_allclose(np.linalg.det(jacobian), np.exp(4.0 * rate), rtol=1e-12)
    R = columns["tau"] * r
    focus = columns["J"] < 2.0 * np.pi**2 * R
    moduli = np.abs(np.linalg.eigvals(jacobian))
    assert 1000 < np.count_nonzero(focus) < 19_999
    np.testing.assert_allclose(moduli[focus], np.exp(2.0 * rate[focus])[:, None] * [1, 1], rtol=1e-9)
    stable = (R > 0) & (2.0 * v + np.sqrt(np.maximum(2.0 * R * (columns["J"] - 2.0 * np.pi**2 * R), 0.0)) < 0)
    assert (moduli[stable] < 1.0).all()


@pytest.mark.parametrize("dt", [1e-3, 1e-2, 0.1, 1.0, 10.0])
def test_the_riccati_step_keeps_the_rate_above_zero_at_any_dt(dt):
    """The flow maps r > 0 into itself and a kick moves v alone; from wild states, under noise on v."""
    columns = random_columns(4000)
    rng = np.random.default_rng(3)
    state = 10.0 ** rng.uniform(-6, 3, 4000), rng.normal(size=4000) * 10.0 ** rng.uniform(-2, 3, 4000)
    step = step_of("riccati", columns, dt)
    for _ in range(100):
        state, _ = step(state, (np.zeros(4000), 3.0 * rng.normal(size=4000)))
        assert np.isfinite(state).all()
        assert (state[0] > 0).all()


# At the step that a point is given


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_a_trajectory_at_the_automatic_step_is_that_of_dop853_or_is_flagged(precision):
    """60 random points, half of them driven by a sine, from random states; 1e-3 of |W| at the end of 6 tau.

    In float32 too: no status but `computed` may stand beside a number that is wrong.
    """
    rng = np.random.default_rng(8)
    count = 60
    tau = 10 ** rng.uniform(-1, 1.3, count)
    columns = {
        "tau": tau,
        "eta": rng.uniform(-20, 20, count),
        "J": rng.uniform(-15, 30, count),
        "delta": 10 ** rng.uniform(-1.5, 1, count),
        "r_initial": rng.uniform(0.05, 1.5, count) / tau,
        "v_initial": rng.uniform(-3, 1.5, count),
        "drive_amplitude": np.where(np.arange(count) % 2, rng.uniform(1, 5, count), 0.0),
        "drive_period": rng.uniform(1.0, 5.0, count) * tau,
    }
    right = 0
    for i in range(count):
        one = {name: float(column[i]) for name, column in columns.items()}
        t_end = 0.05 * round(6 * one["tau"] / 0.05)
        initial = [one.pop("r_initial"), one.pop("v_initial")]
        run = qs.simulate(
            t_end=t_end,
            every=round(t_end / 0.05),
            drive=qs.Sine(amplitude=1.0, period=1.0),
            initial={"r": initial[0], "v": initial[1]},
            precision=precision,
            **one,
        )
        amplitude, period = one.pop("drive_amplitude"), one.pop("drive_period")
        expected = reference(
            t_end, initial, current=lambda t, a=amplitude, p=period: a * np.sin(2 * np.pi * t / p), **one
        )
        weights = np.array([np.pi * one["tau"], 1.0])
        apart = weights * (np.array([run["r"].values[-1], run["v"].values[-1]]) - expected)
        # After 6 tau a point may still move.
        trusted = (int(run["status"]) & ~int(Status.not_settled)) == Status.computed
        assert np.hypot(*apart) < 1e-3 * np.hypot(*(weights * expected)) or not trusted, i
        right += trusted
    assert right >= 0.9 * count
