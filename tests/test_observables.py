"""Every observable against NumPy and SciPy on the kept trajectory, and how points end."""

import numpy as np
import pytest
from scipy import signal

import qifscan as qs
from qifscan.dynamics.models import QIF
from qifscan.dynamics.rhythm import rows_of, segment_lengths
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape

ENDED = int(qs.Status.computed | qs.Status.diverged | qs.Status.rate_negative)
"""Flags of what happened to the state; those of the step and of rest are beside the point here."""

MOMENTS = [f"{v}_{o}" for v in "rv" for o in ("mean", "std", "min", "max", "final")]
FREQUENCIES = ["r_frequency", "v_frequency"]
LEVELS = ["up_fraction", "switch_count"]
ALL = [*MOMENTS, *FREQUENCIES, *LEVELS]

FOLD_RATES = (0.16256979681321443, 0.75391972723878985)
"""Of J = 15, delta = 1, tau = 1."""


def window_scan(transient_steps, window_steps, dt=0.01, initial="rest", integrator="rk4", **definition):
    protocol = qs.Protocol(
        transient=transient_steps * dt,
        window=window_steps * dt,
        dt=dt,
        initial=initial,
        integrator=integrator,
    )
    assert (protocol.transient_steps, protocol.window_steps) == (transient_steps, window_steps)
    return qs.Scan(protocol=protocol, **definition)


def run_all(scan, keep=True):
    """Run all points in one batch: the observables, the flags of the state, and r and v from the start of the
    window on, `(points, 1 + steps)`."""
    indices = tuple(np.array(scan.select()).T) or (np.zeros(1, dtype=int),)
    protocol = scan.protocol
    schedule = Schedule.of(protocol, 1 if keep else None)
    result = run_points(Points.of(scan, indices), schedule, batch_shape(scan.size))
    found = {name: result.variables[name] for name in scan.observables}
    if not keep:
        return found, result.status & ENDED, None
    kept = np.moveaxis(result.record[:, protocol.transient_steps :], -1, 0)
    assert kept.shape == (2, scan.size, 1 + protocol.window_steps)
    return found, result.status & ENDED, dict(zip("rv", kept, strict=True))


def vertex(values, k):
    """Return the vertex of the parabola through three values, its place and its height."""
    a, b, c = np.polyfit([-1, 0, 1], values[k - 1 : k + 2], 2)
    return k - b / (2 * a), c - b * b / (4 * a)


def means(series, steps):
    return series[: len(series) // steps * steps].reshape(-1, steps).mean(axis=1)


def welch(samples, length, padded):
    """Return SciPy's power under Hann's taper, in units of a sine's squared amplitude."""
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    _, power = signal.welch(
        samples, 1.0, taper, nfft=padded, noverlap=0, detrend="constant", scaling="spectrum"
    )
    return power


def alike(rows, low, high):
    """Return the lag between two at which rows differ least, by a loop, and that difference; 1 if unlike."""
    lags = np.arange(max(int(np.ceil(low)), 1), min(int(high), int(0.67 * len(rows))) + 1)
    if not len(lags):
        return np.nan, np.inf

    def apart(lag):
        return np.mean((rows[lag:] - rows[:-lag]) ** 2) / (2 * rows.var()) if lag else 0.0

    least = min(lags, key=apart)
    three = np.array([apart(least - 1), apart(least), apart(least + 1)])
    if three[1] > min(three[0], three[2]):
        return np.nan, np.inf
    return least - 1 + vertex(three, 1)[0], three[1]


def peak(series, dt):
    """Return the frequency of the highest peak of a window of steps of a given dt.

    Segments of 1024 samples of 4 steps, and of 8 times as many, have what they hold 30 cycles of; the whole
    window in at most 2048 rows the rest, its period by the lag at which it is most like itself.
    """
    best, height = np.nan, 0.0
    for length, top in ((1, 512), (8, 256)):
        samples = means(series, 4 * length)
        if len(samples) < 1024:
            continue
        power = welch(samples[: len(samples) // 1024 * 1024], 1024, 1024)
        top = min(top, 511)
        peaks = [k for k in range(30, top + 1) if power[k - 1] < power[k] > power[k + 1]]
        if not peaks:
            continue
        place, found = vertex(np.log(power), max(peaks, key=lambda k: power[k]))
        found = np.exp(found) / np.sinc(place / 1024) ** 2
        if found >= 0.8 * height:
            best, height = place / (1024 * 4 * length * dt), max(height, found)
    steps = -(-len(series) // 2048)
    rows = means(series, steps)
    power = welch(rows, len(rows), 2048)
    least = int(np.ceil(1.5 * 2048 / len(rows)))
    k = least + np.argmax(power[least:513])
    if power[k] >= power[k - 1 : k + 2].max():
        place, found = vertex(np.log(power), k)
        if np.exp(found) / np.sinc(place / 2048) ** 2 >= 0.8 * height:
            best = whole_cycles(rows, place * len(rows) / 2048) / (len(rows) * steps * dt)
    elif power[k] >= 0.8 * height:
        best = np.nan
    return best if best * len(series) * dt >= 2.9 else np.nan


def whole_cycles(rows, cycles):
    period, found = len(rows) / cycles, (0.0, np.inf, 1)
    for k in range(1, 5):
        lag, least = alike(rows, (k - 0.3) * period, (k + 0.3) * period)
        if least < 0.5 * found[1]:
            found = (lag, least, k)
    lag, least, multiple = found
    if not least < 0.1 or cycles >= 64:
        return cycles
    turns = max(int(0.5 * len(rows) / lag), 1)
    far, value = alike(rows, turns * lag - turns - 2, turns * lag + turns + 2)
    far = far / turns if value < max(4 * least, 0.025) else lag
    return multiple * len(rows) / far


def levels(rates, down, up):
    """Return the fraction of steps spent up and the number of switches, step by step.

    `rates` begins with the rate at the start of the window, which is no step of it.
    """
    is_up = rates[0] > np.sqrt(down * up)
    steps_up = switches = 0
    for rate in rates[1:]:
        before = is_up
        if is_up and rate <= down:
            is_up = False
        elif not is_up and rate >= up:
            is_up = True
        steps_up += is_up
        switches += is_up != before
    return steps_up / (len(rates) - 1), switches


def end_slopes(scan, kept):
    """Return dt times the derivative of r and of v at both ends of the window, `(points, 2)` each.

    By the model's equations. Their inputs, noise and drive, are solved for in Euler's
    `y += dt (field + z) / tau` along a run of the same points in float64 that is one step longer.
    """
    protocol = scan.protocol
    longer = {"integrator": "euler", "window": protocol.window + protocol.dt}
    changes = {"protocol": protocol.model_copy(update=longer), "precision": "float64"}
    # Its path alone is asked for, and what is observed takes long to compile.
    changes["observables"] = ("r_mean",)
    _, _, path = run_all(scan.model_copy(update=changes))
    columns = scan.columns(tuple(np.array(scan.select()).T))
    constants = {name: x[:, None] for name, x in QIF.constants(columns).items()}
    before, after = ([path[name][:, ends] for name in "rv"] for ends in ([0, -2], [1, -1]))
    slopes = QIF.field(tuple(before), (0.0, 0.0), constants)
    tau = columns["tau"][:, None]
    inputs = [tau * ((b - a) / protocol.dt - s) for a, b, s in zip(before, after, slopes, strict=True)]
    ends = tuple(kept[name][:, [0, -1]].astype(np.float64) for name in "rv")
    found = QIF.field(ends, tuple(inputs), constants)
    return {name: protocol.dt * slope for name, slope in zip("rv", found, strict=True)}


def mean(series, turned):
    """Return the mean over the window that begins with the first value: Euler and Maclaurin, worked by hand.

    The trapezoidal sum, less a twelfth of what dt times the derivative differs from the start to the end.
    """
    trapezoid = series.sum() - 0.5 * (series[0] + series[-1])
    return (trapezoid - turned / 12.0) / (len(series) - 1)


def highest(series, kinks):
    """Return the highest value, or vertex of a parabola through three values that turn down."""
    best, bent = series.max(), 0.0
    for a, b, c in zip(series, series[1:], series[2:], strict=False):
        bend = 2 * b - a - c
        smooth = bend <= 4 * abs(bent if kinks else b)
        bent = bend
        if a < b >= c and smooth:
            # The vertex of the parabola through (-1, a), (0, b), (1, c).
            best = max(best, b + (c - a) ** 2 / (8 * bend))
    return best


def moments(series, is_rate, slopes):
    """Return what a series that begins with the state at the start of the window is measured to be."""
    series = series.astype(np.float64)
    deviation = series - series[0]
    deviates = mean(deviation, slopes[1] - slopes[0])
    square = mean(deviation**2, 2.0 * deviation[-1] * slopes[1]) - deviates**2
    upper = (
        -1 / highest(-1 / np.maximum(series, 1e-30), kinks=False) if is_rate else highest(series, kinks=True)
    )
    return {
        "mean": series[0] + deviates,
        "std": np.sqrt(max(square, 0.0)),
        "min": -highest(-series, kinks=not is_rate),
        "max": upper,
        "final": series[-1],
    }


# Every observable is what NumPy makes of the trajectory


def lively_scan(transient_steps, window_steps, precision):
    """Driven and noisy points that switch between the levels, spike, and rest; one with tau = 3."""
    points = {
        "eta": [-5.0, -5.0, -4.0, 3.0, -5.0],
        "tau": [1.0, 1.0, 1.0, 1.0, 3.0],
        "drive_amplitude": [4.0, 2.0, 3.0, 1.0, 4.0],
        "drive_period": [6.0, 3.7, 5.0, 0.9, 9.0],
        # Points without noise would be compared with finer runs, three programs more.
        "v_ou_sigma": [1.0, 3.0, 1e-6, 0.5, 1.0],
        "r_ou_sigma": [0.0, 0.01, 0.0, 0.02, 0.0],
    }
    return window_scan(
        transient_steps,
        window_steps,
        points=points,
        fixed={"v_ou_tau": 2.0, "r_initial": 0.1, "v_initial": -1.5},
        drive=qs.Sine(amplitude=1.0, period=1.0),
        precision=precision,
        observables=ALL,
        seed=8,
    )


def measured_by_numpy(r, v, tau, dt, slopes):
    """Return every observable of a window, whose r and v begin with the state at its start."""
    expected = {}
    for name, series in (("r", r), ("v", v)):
        found = moments(series, name == "r", slopes[name])
        expected |= {f"{name}_{key}": value for key, value in found.items()}
        expected[f"{name}_frequency"] = peak(series[1:].astype(np.float64), dt)
    up_fraction, switches = levels(r, *(rate / tau for rate in FOLD_RATES))
    return expected | {"up_fraction": up_fraction, "switch_count": switches}


@pytest.mark.parametrize(
    ("precision", "transient_steps", "window_steps", "rtol", "atol"),
    [
        # The window of 2577 steps ends 17 steps after a closed segment, and within a sample of the spectrum.
        ("float64", 213, 2577, 1e-12, 1e-12),
        pytest.param("float32", 0, 4096, 2e-6, 0.0, marks=pytest.mark.thorough),
    ],
)
def test_every_observable_is_what_numpy_makes_of_the_trajectory_in_float64(
    precision, transient_steps, window_steps, rtol, atol
):
    scan = lively_scan(transient_steps, window_steps, precision)
    found, status, kept = run_all(scan)
    assert (status == 1).all()
    columns, slopes = scan.columns(tuple(np.array(scan.select()).T)), end_slopes(scan, kept)
    for point, tau in enumerate(columns["tau"]):
        r, v = kept["r"][point], kept["v"][point]
        of_point = {name: slopes[name][point] for name in "rv"}
        expected = measured_by_numpy(r, v, tau, scan.protocol.dt, of_point)
        for name in ALL:
            np.testing.assert_allclose(found[name][point], expected[name], rtol=rtol, atol=atol, err_msg=name)
    assert found["switch_count"].sum() >= 10


@pytest.mark.parametrize(
    ("transient_steps", "window_steps"),
    [(0, 1), *(pytest.param(*n, marks=pytest.mark.thorough) for n in ((5, 1), (0, 128))), (3, 1001)],
)
def test_a_window_of_any_length_after_a_transient_of_any_length_is_measured_whole(
    transient_steps, window_steps
):
    """The std is the root of a difference of squares: from the start of the window it keeps 8 digits."""
    scan = window_scan(
        transient_steps,
        window_steps,
        initial={"r": 0.01, "v": -2.0},
        axes={"eta": [-5.0, 3.0]},
        precision="float64",
        observables=MOMENTS,
    )
    found, status, kept = run_all(scan)
    assert status.tolist() == [1, 1]
    slopes = end_slopes(scan, kept)
    for name, series in kept.items():
        for point in range(2):
            for key, expected in moments(series[point], name == "r", slopes[name][point]).items():
                tolerance = 1e-8 if key == "std" else 1e-15
                np.testing.assert_allclose(
                    found[f"{name}_{key}"][point], expected, rtol=1e-13, atol=tolerance
                )


@pytest.mark.thorough
def test_a_million_float32_steps_keep_their_mean_and_their_std():
    """Against float64 sums; first a motion of 1e-5 about a rate of 1, where a sum of squares loses all."""
    scan = window_scan(
        0,
        2**20 + 77,
        dt=0.05,
        initial="up",
        axes={"drive_amplitude": [1e-4, 3.0]},
        drive=qs.Sine(amplitude=0.0, period=100.0),
        integrator="heun",
        observables=["r_mean", "r_std", "v_mean", "v_std"],
    )
    found, status, kept = run_all(scan)
    assert status.tolist() == [1, 1]
    for name, series in kept.items():
        for point in range(2):
            exact = series[point].astype(np.float64)
            # The ends weigh 10^-6: there the last step stands for dt times the derivative.
            average = mean(exact, np.diff(exact)[-1] - np.diff(exact)[0])
            squares = (exact - average) ** 2
            truth = {
                "mean": average,
                "std": np.sqrt(mean(squares, np.diff(squares)[-1] - np.diff(squares)[0])),
            }
            for key in ("mean", "std"):
                np.testing.assert_allclose(found[f"{name}_{key}"][point], truth[key], rtol=1e-6)
    naive = np.mean(kept["r"][0] ** 2) - np.mean(kept["r"][0]) ** 2
    assert abs(naive / kept["r"][0].astype(np.float64).var() - 1) > 0.5


@pytest.mark.parametrize(
    ("precision", "rounding"), [("float32", 1e-6), pytest.param("float64", 1e-14, marks=pytest.mark.thorough)]
)
def test_a_state_at_rest_has_no_std_and_no_frequency(precision, rounding):
    """v is near 0 on the upper branch at large J, where rounding moves it by 1e-4 of itself: no frequency."""
    scan = window_scan(
        100,
        4096,
        axes={
            "eta": np.linspace(-10.0, 10.0, 11),
            "J": np.linspace(-10.0, 30.0, 11),
            "initial": ["down", "up"],
        },
        precision=precision,
        observables=["r_mean", "r_std", "v_std", *FREQUENCIES],
    )
    found, status, _ = run_all(scan, keep=False)
    assert (status == 1).all()
    assert (found["r_std"] <= rounding * found["r_mean"]).all()
    assert (found["v_std"] <= rounding * 5).all()
    assert np.isnan([found[name] for name in FREQUENCIES]).all()


# Frequency


@pytest.mark.parametrize(
    ("samples", "lengths"), [(1023, 0), (1024, 1), (8191, 1), (8192, 2), (65_536, 3), (2**28, 7)]
)
def test_a_window_holds_segments_of_1024_samples_and_of_every_eightfold(samples, lengths):
    assert segment_lengths(samples) == lengths


@pytest.mark.parametrize(
    ("steps", "rows"), [(512, (1, 512)), (2048, (1, 2048)), (2049, (2, 1024)), (40_001, (20, 2000))]
)
def test_the_whole_window_is_at_most_2048_rows(steps, rows):
    assert tuple(int(x) for x in rows_of(steps)) == rows


def driven_frequencies(periods, window, amplitude=0.05, **protocol):
    scan = qs.Scan(
        points={"drive_period": periods, "drive_amplitude": [amplitude] * len(periods)},
        drive=qs.Sine(amplitude=1.0, period=1.0),
        protocol=qs.Protocol(initial="down", window=window, **{"transient": 20.0} | protocol),
        # With moments it is the program that runs are compared by, and none else is compiled.
        observables=[*MOMENTS, *FREQUENCIES],
        precision="float64",
    )
    found, status, _ = run_all(scan, keep=False)
    assert (status == 1).all()
    return found


@pytest.mark.parametrize(
    ("window", "protocol"),
    [
        (205.0, {}),
        pytest.param(300.0, {}, marks=pytest.mark.thorough),
        pytest.param(4000.0, {"dt": 0.05}, marks=pytest.mark.thorough),
    ],
)
def test_the_window_decides_which_rhythms_have_a_frequency(window, protocol):
    """Within 1 % from three cycles up, 0.1 % from twenty; below, and of what is slower, there is none."""
    cycles = np.array([0.4, 1.3, 2.0, 2.5, 3.0, 3.7, 5.5, 10.4, 20.0, 33.3, 71.0])
    fast = np.array([1.37, 2.9, 7.77]) if window < 1000.0 else np.array([7.77, 2.2727, 25.0])
    periods = np.concatenate([window / cycles, fast])
    found = driven_frequencies(periods.tolist(), window, **protocol)
    several, many = window / periods >= 3.0, window / periods >= 20.0
    for name in FREQUENCIES:
        assert np.isnan(found[name][~several]).all()
        error = np.abs(found[name] * periods - 1.0)
        assert error[several].max() < 1e-2
        assert error[many].max() < 1e-3


@pytest.mark.thorough
def test_a_slow_rhythm_of_strong_bursts_has_the_frequency_of_its_period():
    """Bursts every period of a strong drive: harmonics as high as the ground do not shift it. tau = 10 ms."""
    scan = qs.Scan(
        points={"drive_period": [130.0, 333.0, 600.0]},
        fixed={"tau": 10.0, "J": 15.0, "eta": -5.0},
        drive=qs.Sine(amplitude=8.0, period=1.0),
        protocol=qs.Protocol(initial="down", transient=600.0, window=2000.0),
        observables=FREQUENCIES,
        precision="float64",
    )
    found, _, _ = run_all(scan, keep=False)
    periods = scan.axes["point"].columns["drive_period"]
    for name in FREQUENCIES:
        np.testing.assert_allclose(found[name] * periods, 1.0, atol=3e-3)


@pytest.mark.thorough
def test_the_noisy_upper_focus_has_the_frequency_of_its_linear_response():
    """The peak of |transfer|^2 times the noise's spectrum; eigenvalues -0.30886 +- 3.31863i.

    Of r under noise on v it is 1/((w0^2 - w^2)^2 + (2 g w)^2)/(1 + (ou_tau w)^2), here with ou_tau = 0.05.
    A replicate's peak scatters by 0.023 per ms (the line is 0.1 wide) and the median of 512 by 0.0013:
    the bound is 5 times that.
    """
    g, w = 0.30885976605285215, 3.3186289820064804
    frequency = np.linspace(0.3, 0.8, 5001)
    omega = 2 * np.pi * frequency
    response = 1 / ((g * g + w * w - omega**2) ** 2 + (2 * g * omega) ** 2) / (1 + (0.05 * omega) ** 2)
    highest = frequency[np.argmax(response)]
    assert abs(highest - w / (2 * np.pi)) < 0.005
    scan = window_scan(
        1000,
        40_000,
        initial="up",
        fixed={"v_ou_sigma": 1.0, "v_ou_tau": 0.05},
        replicates=512,
        observables=["r_frequency"],
        seed=4,
    )
    found, status, _ = run_all(scan, keep=False)
    assert (status == 1).all()
    assert abs(np.median(found["r_frequency"]) - highest) < 0.0065


# Levels


def test_levels_change_at_two_thresholds_as_a_loop_over_the_steps_says():
    """Thresholds in and outside the range of the rate; starts below, between and above them."""
    thresholds = {
        "down_threshold": [0.1, 0.2, 0.2, 0.09, 0.3, 0.001],
        "up_threshold": [0.3, 1.0, 0.5, 0.1, 50.0, 0.002],
    }
    scan = window_scan(
        0,
        3001,
        axes={"threshold": thresholds, "r_initial": [0.09, 0.21, 0.5, 1.0]},
        fixed={"v_initial": -1.0, "v_ou_sigma": 3.0},
        drive=qs.Sine(amplitude=4.0, period=6.0),
        precision="float64",
        observables=LEVELS,
        seed=1,
    )
    found, status, kept = run_all(scan)
    assert (status == 1).all()
    columns = scan.columns(tuple(np.array(scan.select()).T))
    total = 0
    for point in range(scan.size):
        expected = levels(kept["r"][point], columns["down_threshold"][point], columns["up_threshold"][point])
        np.testing.assert_allclose(found["up_fraction"][point], expected[0], rtol=1e-14)
        assert found["switch_count"][point] == expected[1]
        total += expected[1]
    assert total > 50


def test_the_default_thresholds_are_the_rates_of_the_folds():
    """The same numbers as with the known rates given: J = 15, delta = 1, at tau = 1 and 2."""
    definition = {
        "fixed": {"v_ou_sigma": 3.0, "eta": -4.5},
        "replicates": 8,
        "noise": "common",
        "drive": qs.Sine(amplitude=4.0, period=6.0),
        "observables": LEVELS,
        "precision": "float64",
    }
    taus = np.array([1.0, 2.0])
    given = {"tau": taus, "down_threshold": FOLD_RATES[0] / taus, "up_threshold": FOLD_RATES[1] / taus}
    default, _, _ = run_all(window_scan(0, 5000, axes={"tau": taus}, **definition), keep=False)
    explicit, _, _ = run_all(window_scan(0, 5000, points=given, **definition), keep=False)
    for name in LEVELS:
        assert np.array_equal(default[name], explicit[name])
    assert default["switch_count"].sum() > 20


def test_without_a_fold_there_are_no_levels_unless_thresholds_are_given():
    """The cusp lies at J = 7.7962 for delta = 1."""
    axes = {"J": [0.0, 7.79, 7.80, 15.0]}
    found, status, _ = run_all(window_scan(0, 10, axes=axes, observables=LEVELS), keep=False)
    given = {"down_threshold": 0.2, "up_threshold": 0.4}
    other, _, _ = run_all(window_scan(0, 10, axes=axes, fixed=given, observables=LEVELS), keep=False)
    assert (status == 1).all()
    for name in LEVELS:
        assert np.isnan(found[name]).tolist() == [True, True, False, False]
        assert np.array_equal(other[name], np.zeros(4))


def test_the_basin_of_the_upper_state_holds_2175_of_10201_starts():
    """Another program's count (DOP853): r in [0, 2], v in [-3, 3], 101 x 101 inclusive, after 25 ms."""
    scan = window_scan(
        2499,
        1,
        axes={"r_initial": np.linspace(0.0, 2.0, 101), "v_initial": np.linspace(-3.0, 3.0, 101)},
        observables=["r_final", "up_fraction"],
    )
    found, status, _ = run_all(scan, keep=False)
    assert (status == 1).all()
    assert np.count_nonzero(found["r_final"] > 0.47298034068468413) == 2175
    assert found["up_fraction"].sum() == 2175


# How points end


def test_a_point_that_diverges_is_flagged_is_nan_and_disturbs_no_neighbour():
    definition = {"observables": ALL, "fixed": {"r_initial": 0.1, "v_ou_sigma": 0.3}}
    starts = [-2.0, 1e30, 0.0, -1e30, 3e38, -1.0]
    scan = window_scan(7, 600, axes={"v_initial": starts}, **definition)
    found, status, _ = run_all(scan, keep=False)
    diverged = np.array([False, True, False, True, True, False])
    assert np.array_equal((status & qs.Status.diverged) > 0, diverged)
    assert np.array_equal(status[~diverged], [1, 1, 1])
    sound, _, _ = run_all(
        window_scan(7, 600, axes={"v_initial": np.array(starts)[~diverged]}, **definition), keep=False
    )
    for name in ALL:
        assert np.isnan(found[name][diverged]).all(), name
        assert found[name][~diverged].tobytes() == sound[name].tobytes(), name


def test_a_step_too_long_for_a_spiking_point_diverges_and_leaves_the_quiet_ones_alone():
    scan = window_scan(
        0, 200, dt=0.3, integrator="euler", axes={"eta": [-5.0, 20.0]}, initial={"r": 0.08, "v": -1.9}
    )
    found, status, _ = run_all(scan, keep=False)
    assert status[0] == 1
    assert status[1] & qs.Status.diverged
    assert np.isfinite([found[name][0] for name in found]).all()
    assert np.isnan([found[name][1] for name in found]).all()


def test_a_negative_rate_is_flagged_wherever_it_occurs_and_nowhere_else():
    """Strong noise on r; then a start below 0, which the flow leaves before the window (r' > 0 at r = 0)."""
    scan = window_scan(
        100, 500, axes={"r_ou_sigma": [0.0, 0.001, 3.0]}, observables=["r_min"], replicates=4, seed=10
    )
    found, status, _ = run_all(scan, keep=False)
    lowest = found["r_min"].reshape(3, 4)
    assert np.array_equal(status.reshape(3, 4), [[1] * 4, [1] * 4, [5] * 4])
    assert lowest[:2].min() > 0 > lowest[2].min()
    start = window_scan(200, 10, axes={"r_initial": [-0.01, 0.01]}, fixed={"v_initial": -2.0})
    found, status, _ = run_all(start, keep=False)
    assert status.tolist() == [1 | qs.Status.rate_negative, 1]
    assert (found["r_min"] > 0).all()


def test_observables_that_are_not_defined_leave_the_status_of_a_point_as_it_is():
    scan = window_scan(0, 600, axes={"J": [0.0]}, observables=[*FREQUENCIES, *LEVELS])
    found, status, _ = run_all(scan, keep=False)
    assert np.isnan([found[name][0] for name in found]).all()
    assert status.tolist() == [1]
