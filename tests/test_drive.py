"""Every drive against its formula, and driven trajectories against those of other programs."""

import jax
import numpy as np
import pytest
from scipy import interpolate, linalg, special
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.drive import DRIVES, DriveBase, with_integral
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape

DOWN = {"r": 0.081134441950119719, "v": -1.9616199885831653}
SADDLE_RATE = 0.47298034068468413
DT = 0.005


def current(kind, time, step=1e-9, fraction=0.0, samples=(0.0, 0.0), **numbers):
    """Return I of a drive at times `(n,)`, as the kernel asks for it."""
    with jax.enable_x64(True):
        constants = {f"drive_{name}": np.float64(x) for name, x in numbers.items()}
        constants |= DRIVES[kind].step_constants(constants, step)
        constants["drive_samples"], constants["drive_integrals"] = with_integral(samples)
        moment = np.asarray(time, dtype=float)
        by_numpy = DRIVES[kind].current(moment, step, fraction, constants)
        traced = {name: jax.numpy.array(value) for name, value in constants.items()}
        value = DRIVES[kind].current(jax.numpy.array(moment), step, fraction, traced)
        assert value.dtype == np.float64
        np.testing.assert_allclose(by_numpy, value, rtol=1e-12, atol=1e-12)
        return np.broadcast_to(np.asarray(value), np.shape(time))


def simulate(t_end, drive=None, dt=DT, initial=DOWN, **numbers):
    return qs.simulate(t_end=t_end, dt=dt, initial=initial, drive=drive, **numbers)


def rate_curve(run, begin, end):
    """Return the rate of a driven run between two times as a cubic Hermite curve: r' = 1/pi + 2 r v.

    Between steps of 0.005 ms it is right to 3e-7 at the sharpest spike.
    """
    part = run.sel(time=slice(begin - DT / 2, end + DT / 2))
    r, v = part["r"].values, part["v"].values
    return interpolate.CubicHermiteSpline(part["time"].values, r, 1 / np.pi + 2 * r * v)


def extrema(run, begin, end):
    """Return the times and values of the local maxima and of the local minima of r."""
    curve = rate_curve(run, begin, end)
    at = curve.derivative().roots(extrapolate=False)
    bend = curve.derivative(2)(at)
    return (at[bend < 0], curve(at[bend < 0])), (at[bend > 0], curve(at[bend > 0]))


# Formulas


def test_every_kind_of_drive_has_its_formula():
    assert DRIVES.keys() == {"constant", "pulse", "sine", "ramp", "sampled"}
    for kind, drive in DRIVES.items():
        assert drive.model_fields["kind"].default == kind
        for asked in ("current", "duration", "seen", "final_input"):
            assert getattr(drive, asked) is not getattr(DriveBase, asked)


MOMENTS = np.linspace(-7.0, 60.0, 1341)


def test_a_constant_has_its_amplitude_at_all_times():
    assert np.array_equal(current("constant", MOMENTS, amplitude=-2.5), np.full(MOMENTS.shape, -2.5))


def test_a_pulse_is_its_amplitude_from_start_for_its_length_and_else_zero():
    times = MOMENTS + 1e-3
    found = current("pulse", times, 1e-3, amplitude=2.5, start=3.0, length=11.0)
    expected = np.where((times >= 3.0) & (times < 14.0), 2.5, 0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_a_pulse_in_steps_has_its_whole_area_wherever_its_edges_fall():
    """The mean over each step, whatever the fraction: the sum over the steps is amplitude times length."""
    rng = np.random.default_rng(0)
    for length in (0.0, 1e-3, 0.03, 0.1, 7.77):
        start = rng.uniform(0.0, 5.0)
        for fraction in (0.0, 0.5, 1.0):
            values = current(
                "pulse",
                0.1 * np.arange(MOMENTS.size),
                0.1,
                fraction,
                amplitude=3.0,
                start=start,
                length=length,
            )
            np.testing.assert_allclose(0.1 * values.sum(), 3.0 * length, rtol=0, atol=1e-13)
            assert (values <= 3.0 + 1e-12).all()


def test_a_sine_is_its_formula_and_keeps_its_phase_after_a_million_periods():
    found = current("sine", MOMENTS, amplitude=1.5, period=7.3, phase=0.4)
    np.testing.assert_allclose(found, 1.5 * np.sin(2 * np.pi * MOMENTS / 7.3 + 0.4), rtol=0, atol=1e-13)
    within = np.arange(MOMENTS.size) % 128 / 16
    again = current("sine", 2.0**23 + within, amplitude=1.5, period=8.0, phase=0.4)
    np.testing.assert_allclose(again, 1.5 * np.sin(np.pi * within / 4 + 0.4), rtol=0, atol=1e-15)


def test_a_ramp_rises_linearly_and_stays():
    found = current("ramp", MOMENTS, amplitude=-4.0, start=10.0, length=20.0)
    np.testing.assert_allclose(found, np.interp(MOMENTS, [10.0, 30.0], [0.0, -4.0]), rtol=0, atol=1e-14)


def test_samples_are_interpolated_linearly_and_their_ends_held():
    samples = np.random.default_rng(1).normal(size=9)
    found = current("sampled", MOMENTS, samples=samples, amplitude=2.0, start=4.0, interval=3.7)
    expected = 2.0 * np.interp(MOMENTS, 4.0 + 3.7 * np.arange(9), samples)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("sine", {"amplitude": 1.5, "period": 7.3, "phase": 0.4}),
        ("ramp", {"amplitude": -4.0, "start": 10.0, "length": 20.0}),
        ("sampled", {"samples": (1.0, -2.0, 0.5), "amplitude": 2.0, "start": 4.0, "interval": 3.7}),
    ],
)
def test_a_fraction_of_the_step_is_that_much_later(kind, numbers):
    for fraction in (0.5, 1.0):
        found = current(kind, MOMENTS, 0.3, fraction, **numbers)
        np.testing.assert_allclose(
            found, current(kind, MOMENTS + 0.3 * fraction, **numbers), rtol=0, atol=1e-12
        )


EVERY_KIND = [
    (qs.Constant(amplitude=-2.5), {}),
    (qs.Pulse(amplitude=2.5, start=3.0, length=11.0), {}),
    (qs.Pulse(amplitude=-2.5, start=3.0, length=0.0), {}),
    (qs.Sine(amplitude=-1.5, period=7.3, phase=0.4), {}),
    (qs.Sine(amplitude=0.0, period=7.3), {}),
    (qs.Ramp(amplitude=-4.0, start=10.0, length=20.0), {}),
    (
        qs.Sampled(values=[1.0, -2.0, 0.5], amplitude=-2.0, start=4.0, interval=3.7),
        {"samples": (1.0, -2.0, 0.5)},
    ),
]


def numbers_of(drive):
    return {p.name.removeprefix("drive_"): p.default for p in drive.parameters()}


def at_points(drive):
    return {f"drive_{name}": np.array([value]) for name, value in numbers_of(drive).items()}


@pytest.mark.parametrize(("drive", "samples"), EVERY_KIND)
def test_the_extremes_of_a_drive_are_the_bounds_of_its_values(drive, samples):
    """Every 0.05 ms, which comes within 2e-2 of the peaks of the sine; a pulse of no length has no peak."""
    values = current(drive.kind, MOMENTS, 1e-3, **numbers_of(drive), **samples)
    lowest, highest = (np.broadcast_to(x, 1)[0] for x in drive.extremes(at_points(drive)))
    rounding = 1e-9
    assert lowest - rounding <= values.min()
    assert values.max() <= highest + rounding
    if not isinstance(drive, qs.Pulse) or drive.length:
        np.testing.assert_allclose([values.min(), values.max()], [lowest, highest], rtol=0, atol=2e-2)


@pytest.mark.parametrize(("drive", "samples"), EVERY_KIND)
def test_the_final_input_is_the_input_of_the_last_microsecond_if_that_is_constant(drive, samples):
    for end in (1.0, 3.5, 9.0, 11.3, 14.5, 29.9, 30.1, 200.0):
        times = end - 1e-3 + np.linspace(0.0, 9e-4, 7)
        last = current(drive.kind, times, 1e-4, **numbers_of(drive), **samples)
        found = np.broadcast_to(drive.final_input(at_points(drive), end), 1)[0]
        if np.ptp(last) < 1e-9:
            np.testing.assert_allclose(found, last[0], rtol=1e-9)
        else:
            assert np.isnan(found)


def test_the_final_input_at_an_edge_is_that_of_the_last_step():
    """A pulse that ends with the run is still there; one that begins there is not; a ramp has risen."""
    pulse, ramp = (kind(amplitude=2.5, start=3.0, length=11.0) for kind in (qs.Pulse, qs.Ramp))
    found = [
        [float(drive.final_input(at_points(drive), end)[0]) for end in (3.0, 14.0)] for drive in (pulse, ramp)
    ]
    assert found == [[0.0, 2.5], [0.0, 2.5]]


# Trajectories


def test_a_constant_is_a_shift_of_eta():
    """To rounding with rk4; the Riccati step holds the coupling without the drive, at another rate."""
    same, amplitudes = {"integrator": "rk4"}, np.array([-3.0, 0.7, 8.0])
    driven = simulate(20.0, qs.Constant(amplitude=0.0), drive_amplitude=amplitudes, eta=-5.0, **same)
    shifted = simulate(20.0, eta=-5.0 + amplitudes, **same)
    for name in "rv":
        np.testing.assert_allclose(driven[name], shifted[name].values, rtol=1e-10, atol=1e-12)


def test_a_pulse_at_the_lower_node_excites_the_known_peaks_and_leaves_the_state_up():
    """I = 3 for t in [0, 30] from the lower node; DOP853 with a tolerance of 1e-12."""
    run = simulate(60.0, qs.Pulse(amplitude=3.0, start=0.0, length=30.0))
    (times, peaks), _ = extrema(run, 0.1, 7.0)
    expected = [2.882735623, 2.370051316, 2.082974580, 1.895536249]
    np.testing.assert_allclose(times, [2.788434, 4.099423, 5.293319, 6.438748], rtol=0, atol=1e-6)
    np.testing.assert_allclose(peaks, expected, rtol=0, atol=5e-7)
    at_the_end = run.sel(time=30.0, method="nearest")
    np.testing.assert_allclose(
        [float(at_the_end["r"]), float(at_the_end["v"])], [1.37135684, -0.11463303], rtol=0, atol=1e-8
    )
    assert abs(run["r"].values[-1] - 1.0305967988375715) < 1e-3


def test_the_demonstration_of_pyrates_is_reproduced():
    """From r = 0.01, v = -2; I = 3 in [20, 80] of [0, 100]."""
    drive = qs.Pulse(amplitude=3.0, start=20.0, length=60.0)
    run = simulate(100.0, drive, initial={"r": 0.01, "v": -2.0})
    found = [float(run["r"].sel(time=t, method="nearest")) for t in (20.0, 80.0, 100.0)]
    np.testing.assert_allclose(found, [0.08113444, 1.37324575, 1.02993151], rtol=0, atol=1e-8)
    (times, peaks), _ = extrema(run, 20.0, 80.0)
    highest = np.argmax(peaks)
    np.testing.assert_allclose(times[highest], 22.788434, rtol=0, atol=1e-6)
    np.testing.assert_allclose(peaks[highest], 2.88273562, rtol=0, atol=5e-7)


def test_a_slow_sine_has_the_known_cycle_from_its_first_period_on():
    """I = 3 sin(pi t/50) from the lower node: 22 spikes per period."""
    run = simulate(200.0, qs.Sine(amplitude=3.0, period=100.0))
    for period in range(2):
        (times, peaks), (_, troughs) = extrema(run, 100.0 * period, 100.0 * (period + 1))
        assert len(peaks) == 22
        np.testing.assert_allclose(peaks.max(), 2.5857760828, rtol=0, atol=5e-7)
        np.testing.assert_allclose(times[np.argmax(peaks)] % 100.0, 15.90652269, rtol=0, atol=1e-6)
        np.testing.assert_allclose(troughs.min(), 0.0595574322, rtol=0, atol=1e-8)
    r = run["r"].values
    np.testing.assert_allclose(r[2000 : len(r) // 2], r[len(r) // 2 + 2000 : -1], rtol=0, atol=1e-8)


def test_a_step_pulse_of_10_switches_the_state_from_an_amplitude_of_1_998831482_on():
    """The pulse's end lies on the stable manifold of the saddle; bisection with DOP853 gave all digits."""
    critical = 1.998831482
    amplitudes = critical + 1e-6 * np.array([-1000.0, -10.0, -1.0, -0.01, 0.01, 1.0, 10.0, 1000.0])
    run = simulate(35.0, qs.Pulse(amplitude=0.0, length=10.0), drive_amplitude=amplitudes, every=7000)
    assert (run["r"].values[:, -1] > SADDLE_RATE).tolist() == [False] * 4 + [True] * 4


def test_an_array_that_samples_a_sine_approximates_it_with_second_order():
    """|I - sine| <= amplitude (2 pi/period)^2 interval^2/8, and so the states, by a factor near 1."""
    exact = simulate(40.0, qs.Sine(amplitude=1.5, period=13.0), dt=0.02)
    errors = []
    for count in (1, 2):
        interval = 0.8 / count
        values = np.sin(2 * np.pi * interval * np.arange(2 * 50 + 2) / 13.0)
        run = simulate(40.0, qs.Sampled(values=values.tolist(), interval=interval, amplitude=1.5), dt=0.02)
        errors.append(float(np.abs(run["v"] - exact["v"]).max()))
        assert errors[-1] < 1.5 * (2 * np.pi / 13.0) ** 2 * interval**2 / 8
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 2.0, rtol=0, atol=0.1)


def in_pieces(edges, currents, t_end):
    """Return (r, v) at the end by DOP853, restarted at each edge of a piecewise constant current."""
    state = [DOWN["r"], DOWN["v"]]
    for begin, end, current in zip([0.0, *edges], [*edges, t_end], currents, strict=True):

        def slope(t, y, current=current):
            r, v = y
            return 1 / np.pi + 2 * r * v, v * v - 5 + current + 15 * r - (np.pi * r) ** 2

        state = solve_ivp(slope, (begin, end), state, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return state


@pytest.mark.parametrize("integrator", ["heun", pytest.param("rk4", marks=pytest.mark.thorough), "riccati"])
def test_a_pulse_whose_edges_fall_inside_a_step_keeps_second_order(integrator):
    """Edges half-way in a step at every dt, a third each time."""
    drive = qs.Pulse(amplitude=3.0, start=0.3, length=2.4)
    exact = in_pieces([0.3, 2.7], [0.0, 3.0, 0.0], 4.8)
    errors = []
    for dt in (0.2 / 81, 0.2 / 243, 0.2 / 729):
        assert abs(0.3 / dt % 1.0 - 0.5) < 1e-9
        run = simulate(4.8, drive, dt=dt, integrator=integrator, every=round(4.8 / dt))
        errors.append(np.hypot(*(run[name].values[-1] - x for name, x in zip("rv", exact, strict=True))))
    orders = np.log(np.divide(errors[:-1], errors[1:])) / np.log(3.0)
    assert orders.min() > 1.9


@pytest.mark.parametrize("amplitude", [8.0, -8.0])
def test_the_corner_of_v_at_the_end_of_a_pulse_is_its_extreme_wherever_in_a_step_it_is(amplitude):
    """A thousandth of a step to either side of steps, and between: 2e-4 of v; steps alone miss 4e-3."""
    step = 0.01
    ends = 0.9 + step * np.array([0.001, 0.12, 0.3, 0.5, 0.77, 0.999])
    kind, start = ("max", (0.1, -3.0)) if amplitude > 0 else ("min", (0.3, 1.0))
    scan = qs.Scan(
        drive=qs.Pulse(amplitude=amplitude, start=0.6, length=0.3),
        points={
            "drive_length": ends - 0.6,
            **{"eta": np.full(6, -6.0), "J": np.full(6, 3.0)},
            **{f"{name}_initial": np.full(6, x) for name, x in zip("rv", start, strict=True)},
        },
        protocol=qs.Protocol(transient=0.5, window=0.7, dt=step),
        observables=[f"v_{kind}"],
        precision="float64",
    )
    points = Points.of(scan, (np.arange(6),))
    found = run_points(points, Schedule.of(scan.protocol), batch_shape(6)).variables[f"v_{kind}"]

    def slope(current):
        return lambda t, y: (
            1 / np.pi + 2 * y[0] * y[1],
            y[1] ** 2 - 6.0 + current + 3.0 * y[0] - (np.pi * y[0]) ** 2,
        )

    for end, value in zip(ends, found, strict=True):
        y, v = start, []
        for begin, until, current in ((0.0, 0.6, 0.0), (0.6, end, amplitude), (end, 1.2, 0.0)):
            path = solve_ivp(
                slope(current), (begin, until), y, method="DOP853", rtol=1e-11, atol=1e-13, dense_output=True
            )
            y = path.y[:, -1]
            v.append(path.sol(np.linspace(max(begin, 0.5), until, 2001))[1] if until > 0.5 else [])
        right = getattr(np, kind)(np.concatenate(v))
        assert value == pytest.approx(right, rel=2e-4)


def test_a_slow_ramp_leaves_the_lower_branch_behind_the_fold_by_the_delay_of_its_normal_form():
    """x' = a x^2 + b s, s = speed t, is left at s = -z speed^(2/3) (a b)^(-1/3), z the first zero of Ai.

    a and b are those of the model at its fold, eta = -3.1361340861956852, along the zero eigenvalue; the
    next order, smaller by the cube root of the speed, takes 1.2 % off.
    """
    r = 0.16256979681321443
    v = -1 / (2 * np.pi * r)
    jacobian = np.array([[2 * v, 2 * r], [15 - 2 * np.pi**2 * r, 2 * v]])
    left, right = linalg.null_space(jacobian.T)[:, 0], linalg.null_space(jacobian)[:, 0]
    curvature = np.array([2 * right[0] * right[1], right[1] ** 2 - (np.pi * right[0]) ** 2])
    a, b = left @ curvature / (left @ right), left[1] / (left @ right)
    speed = 3.0 / 2000.0
    expected = -special.ai_zeros(1)[0][0] * speed ** (2 / 3) * (a * b) ** (-1 / 3)
    run = simulate(2000.0, qs.Ramp(amplitude=3.0, length=2000.0), dt=0.05)
    lost = run["time"].values[np.argmax(run["r"].values > SADDLE_RATE)]
    delay = -5.0 + speed * lost - -3.1361340861956852
    assert 0.97 < delay / expected < 1.0


def test_numbers_of_a_drive_are_parameters_of_every_point():
    periods = np.array([3.0, 5.0, 11.0])
    together = simulate(5.0, qs.Sine(amplitude=1.0, period=1.0), drive_period=periods)
    for i, period in enumerate(periods):
        alone = simulate(5.0, qs.Sine(amplitude=1.0, period=period))
        assert np.array_equal(together["r"].values[i], alone["r"].values)
