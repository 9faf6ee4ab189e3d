"""Delayed coupling, J tau r(t - delay) in the equation of v: its history and its stability."""

import cmath
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import model_named
from qifscan.engine import batch, step_size
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape
from qifscan.theory.rest import Rest

START = {"r": 0.2, "v": -0.5}
ETA, J = 2.0, -8.0


def by_the_method_of_steps(delay, t_end, push=lambda t: 0.0):
    """Return the trajectory as a function of time: DOP853 on each interval of the length of the delay."""
    pieces = [(0.0, lambda t: np.array([START["r"], START["v"]]))]

    def state(t):
        return next(piece for end, piece in pieces if t <= end or end == pieces[-1][0])(t)

    while pieces[-1][0] < t_end:
        begin = pieces[-1][0]

        def slope(t, y, begin=begin):
            r, v = y
            past = state(min(t - delay, begin))[0]
            return 1.0 / math.pi + 2.0 * r * v, v * v + ETA + push(t) + J * past - (math.pi * r) ** 2

        span = (begin, begin + delay)
        found = solve_ivp(slope, span, state(begin), "DOP853", rtol=1e-12, atol=1e-14, dense_output=True)
        pieces.append((span[1], found.sol))
    return state


def test_a_delayed_run_agrees_with_the_method_of_steps():
    """To 1e-5 at any time with dt = "auto", at two delays of which neither is a whole number of steps."""
    drive = qs.Sine(amplitude=1.0, period=7.0)
    delays = [1.3037, 0.2511]
    found = qs.simulate(
        "qif_delay", t_end=5.0, eta=ETA, J=J, delay=delays, initial=START, drive=drive, every=20
    )
    for i, delay in enumerate(delays):
        exact = by_the_method_of_steps(delay, 5.0, lambda t: math.sin(2.0 * math.pi * t / 7.0))
        expected = np.array([exact(t) for t in found["time"].values]).T
        for values, variable in zip(expected, "rv", strict=True):
            np.testing.assert_allclose(found[variable].values[i], values, atol=1e-5)


def test_at_a_whole_number_of_steps_the_order_is_that_of_the_integrator():
    exact = by_the_method_of_steps(1.3, 5.2)(5.2)
    errors = []
    for dt in (0.02, 0.01, 0.005):
        found = qs.simulate(
            "qif_delay", t_end=5.2, dt=dt, every=round(5.2 / dt), eta=ETA, J=J, delay=1.3, initial=START
        )
        errors.append(abs(float(found["r"][-1]) - exact[0]))
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 4.0, atol=0.2)


def test_without_a_delay_it_is_the_plain_model():
    """To the last bit, with the same integrator."""
    given = {"t_end": 4.0, "dt": 0.01, "eta": [-5.0, -2.0], "every": 20, "drive": qs.Constant(amplitude=1.0)}
    delayed = qs.simulate("qif_delay", delay=0.0, integrator="rk4", **given)
    plain = qs.simulate("qif", integrator="rk4", **given)
    for variable in "rv":
        assert delayed[variable].values.tobytes() == plain[variable].values.tobytes()


def characteristic(x, r, v, J, delay):
    return (x - 2.0 * v) ** 2 + 4.0 * math.pi**2 * r * r - 2.0 * r * J * cmath.exp(-x * delay)


def roots_to_the_right(r, v, J, delay):
    """Return the number of roots with a positive real part: how often the curve of values goes round 0."""
    radius = 4.0 * (abs(v) + math.pi * r + math.sqrt(2.0 * r * abs(J)) + 1.0)
    edge = [-1j * y for y in np.linspace(-radius, radius, 20001)]
    arc = [radius * cmath.exp(1j * a) for a in np.linspace(-math.pi / 2.0, math.pi / 2.0, 8001)]
    values = np.array([characteristic(x, r, v, J, delay) for x in [*edge, *arc]])
    return round(np.sum(np.angle(values[1:] / values[:-1])) / (2.0 * math.pi))


def test_stability_is_what_the_argument_principle_counts():
    rng = np.random.default_rng(2)
    count = 40
    columns = {
        "tau": np.ones(count),
        "delta": np.ones(count),
        "eta": rng.uniform(-8.0, 6.0, count),
        "J": rng.uniform(-25.0, 25.0, count),
        "delay": rng.uniform(0.0, 4.0, count),
        "r_ou_mean": np.zeros(count),
        "v_ou_mean": np.zeros(count),
    }
    rest = Rest.of(model_named("qif_delay"), columns)
    seen = set()
    for i, k in np.argwhere(np.isfinite(rest.rates)):
        r, v = (float(y[i, k]) for y in rest.states)
        right = roots_to_the_right(r, v, float(columns["J"][i]), float(columns["delay"][i]))
        assert bool(rest.stable[i, k]) == (right == 0)
        seen.add(right)
    assert {0, 1, 2} <= seen


def test_small_differences_decay_as_the_leading_root_says():
    """The leading roots by Newton's method; once the others have gone x(t) is a recurrence of order 2."""
    delay = 1.0
    r = float(qs.equilibria(eta=ETA, J=J)["r"][0])
    v = -1.0 / (2.0 * math.pi * r)
    found = qs.simulate(
        "qif_delay",
        t_end=40.0,
        dt=0.01,
        every=10,
        eta=ETA,
        J=J,
        delay=delay,
        initial={"r": r * 1.0001, "v": v},
    )
    x = found["r"].values[150:] - r
    (twice, minus), *_ = np.linalg.lstsq(np.stack([x[1:-1], x[:-2]], axis=1), x[2:], rcond=None)
    measured = np.log(np.roots([1.0, -twice, -minus]).astype(complex)) / 0.1
    root = complex(measured[np.argmax(measured.imag)])
    for _ in range(50):
        slope = 2.0 * (root - 2.0 * v) + 2.0 * r * J * delay * cmath.exp(-root * delay)
        root -= characteristic(root, r, v, J, delay) / slope
    np.testing.assert_allclose(measured[np.argmax(measured.imag)], root, atol=2e-3)


def scan(**changes):
    definition = {
        "model": "qif_delay",
        "axes": {"delay": [0.0, 0.4, 0.77, 1.3, 2.6], "eta": [-4.0, 0.0, 4.0]},
        "fixed": {"J": -12.0, "v_ou_sigma": 0.1},
        "protocol": qs.Protocol(transient=5.0, window=20.0, tolerance=0.3),
        "observables": ["r_mean"],
    }
    return qs.Scan(**{**definition, **changes})


@pytest.mark.thorough
def test_points_with_other_delays_do_not_change_a_point(tmp_path):
    """Chunks of any size, and a replay of one point by itself, give the same bits."""
    whole = qs.run(scan(), tmp_path / "whole.zarr", client="serial").load()
    parts = qs.run(scan(), tmp_path / "parts.zarr", client="serial", chunk_points=2).load()
    for name in whole.data_vars:
        assert whole[name].values.tobytes() == parts[name].values.tobytes(), name
    for delay in (0.0, 0.77):
        replayed = qs.replay(tmp_path / "whole.zarr", delay=delay, eta=4.0)
        assert replayed.attrs["checked"] == "equal bit for bit"


def test_a_point_has_settled_where_its_past_has_too(tmp_path):
    """Stable points end at rest, unstable ones on a cycle, whose r and v go round those of rest."""
    quiet = scan(
        fixed={"J": -12.0, "r_initial": 0.3, "v_initial": 0.0},
        axes={"delay": [0.0, 0.2, 1.3, 2.6], "eta": [4.0]},
        protocol=qs.Protocol(transient=100.0, window=20.0),
        observables=["r_min", "r_max"],
    )
    found = qs.run(quiet, tmp_path / "scan.zarr", client="serial").load()
    columns = quiet.columns((np.arange(4), np.zeros(4, dtype=int)))
    stable = Rest.of(model_named("qif_delay"), columns).stable[:, 0]
    moves = (found["r_max"] - found["r_min"]).values[:, 0] > 1e-2 * found["r_max"].values[:, 0]
    assert 0 < stable.sum() < 4
    assert (moves == ~stable).all()
    flagged = (found["status"].values[:, 0] & qs.Status.not_settled) > 0
    assert (flagged == ~stable).all()


def test_a_delay_shorter_than_the_step_is_flagged():
    found = qs.simulate("qif_delay", t_end=2.0, dt=0.02, delay=[0.0, 0.01, 0.02], every=100)
    resolved = (found["status"].values & qs.Status.under_resolved) == 0
    assert resolved.tolist() == [True, False, True]
    auto = qs.simulate("qif_delay", t_end=2.0, delay=[0.003], every=40)
    assert not int(auto["status"][0]) & qs.Status.under_resolved


@pytest.mark.thorough
def test_of_a_delay_no_more_steps_are_remembered_than_memory_has_room_for(monkeypatch):
    """What would have to be compared with finer steps is flagged; others of the scan are as they were."""
    scan = qs.Scan(
        model="qif_delay",
        points={"J": [-5.0, 15.0], "delay": [0.05, 5.0]},
        fixed={"delta": 0.5, "eta": 2.0},
        protocol=qs.Protocol(transient=0.0, window=12.0, initial={"r": 0.1, "v": -2.0}),
        observables=["r_mean", "v_max"],
    )

    def ran():
        rows, run_batch = [], batch.run_batch

        def counting(program, *arguments, **options):
            rows.append(program.history)
            return run_batch(program, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(batch, "run_batch", counting)
            found = run_points(Points.of(scan, (np.arange(2),)), Schedule.of(scan.protocol), batch_shape(2))
        return found, max(rows)

    free, most = ran()
    assert (free.status & qs.Status.under_resolved).tolist() == [0, 0]
    monkeypatch.setattr(step_size, "MOST_REMEMBERED", most // 2)
    limited, fewer = ran()
    assert fewer == most // 2
    assert (limited.status & qs.Status.under_resolved).astype(bool).tolist() == [False, True]
    for name, values in limited.variables.items():
        assert values[0] == free.variables[name][0], name


def test_a_delay_is_not_swept_as_a_point_hands_on_no_history():
    with pytest.raises(qs.ScanError, match=r'protocol\.sweep: found "eta", expected a model without a delay'):
        scan(protocol=qs.Protocol(transient=5.0, window=5.0, sweep="eta"))


def test_a_delay_has_no_checkpoint_and_no_exponents(tmp_path):
    assert qs.plan(scan(), probe=False).chunks.checkpoint == 0
    with pytest.raises(qs.ScanError, match="lyapunov_1"):
        scan(observables=["lyapunov_1"])
