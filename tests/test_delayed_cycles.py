"""Cycles with a delay, beside DOP853 on one delay after another, and a discretisation by Chebyshev's points.

Nothing here is shared with the package but the cycles that it is asked for.
"""

import math
from functools import cache

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator, CubicSpline
from scipy.optimize import brentq

import qifscan as qs
from qifscan.limit_cycles import branch_bifurcations
from qifscan.periodic_orbits.orbits import evaluated

LPC, PD, TR, HB = 5, 7, 8, 3

INHIBITED = {"J": -12.0, "delta": 0.3, "delay": 1.2}
"""Its first branch goes through a torus bifurcation and two period doublings; the delay is half a period."""

LATE = {"J": -4.6, "delta": 0.71, "delay": 2.02}
"""Its branch joins two Hopf points; the delay is longer than the period."""


def rates(y, past, given, drive=0.0):
    """Return the derivatives of r and v at tau = 1, of several states at once `(2, ...)`."""
    r, v = y
    dv = v * v + given["eta"] + given["J"] * past - (math.pi * r) ** 2 + drive
    return np.array([given["delta"] / math.pi + 2.0 * r * v, dv])


def settled(given, laps, start=(0.2, 0.0), drive=lambda t: 0.0):
    """Return the times of the steps and the solution after so many delays, from a constant past."""
    delay, past, y = given["delay"], lambda t: start[0], np.array(start)
    pieces = []
    for lap in range(laps):
        ends = lap * delay, (lap + 1) * delay

        def slope(t, y, past=past):
            return rates(y, past(t - delay), given, drive(t))

        found = solve_ivp(slope, ends, y, "DOP853", rtol=1e-11, atol=1e-13, dense_output=True)
        pieces.append((found.t, found.sol))
        past, y = (lambda t, sol=found.sol: sol(t)[0]), found.y[:, -1]
    return pieces


def last_period(given, laps, **options):
    """Return the period of what a solution settles on, and the least and the largest rate on it."""
    pieces = settled(given, laps, **options)[-8:]
    t = np.linspace(pieces[0][0][0], pieces[-1][0][-1], 8001)

    def at(x):
        sol = next(sol for times, sol in pieces if x <= times[-1] or times is pieces[-1][0])
        return sol(x)

    y = np.array([at(x) for x in t])
    level = y[:, 0].mean()
    up = np.flatnonzero((y[:-1, 0] < level) & (y[1:, 0] >= level))[-2:]
    first, second = (brentq(lambda x: at(x)[0] - level, t[k], t[k + 1], xtol=1e-13) for k in up)
    assert np.abs(at(second) - at(first)).max() < 1e-6
    # r' = 0 where 2 r v = -delta/pi.
    turn = y[:, 0] * y[:, 1] + given["delta"] / (2.0 * math.pi)
    k = np.flatnonzero(turn[:-1] * turn[1:] < 0.0)

    def turning(x):
        r, v = at(x)
        return r * v + given["delta"] / (2.0 * math.pi)

    peaks = [at(brentq(turning, t[i], t[i + 1], xtol=1e-12))[0] for i in k]
    return second - first, min(peaks), max(peaks)


@pytest.mark.parametrize(
    ("given", "laps"),
    [
        (INHIBITED | {"eta": 3.0}, 20),
        pytest.param(LATE | {"eta": 6.0}, 32, marks=pytest.mark.thorough),
    ],
)
def test_a_long_simulation_settles_on_the_stable_cycle(given, laps):
    found = qs.cycles("qif_delay", starts=1, transient=20.0, window=20.0, **given)
    assert found["count"].item() == 1
    assert all(found[name].item() for name in ("stable", "resolved", "converged"))
    period, low, high = last_period(given, laps)
    assert found["period"].item() == pytest.approx(period, abs=1e-7)
    assert found["r_min"].item() == pytest.approx(low, abs=1e-6)
    assert found["r_max"].item() == pytest.approx(high, abs=1e-6)


@cache
def branches(which):
    """Return branches with all cycles on them as polynomials, and their parameters."""
    seen, measured = [], branch_bifurcations.measured

    def noted(problem, orbits):
        seen.append((problem, orbits))
        return measured(problem, orbits)

    given, within = {"inhibited": (INHIBITED, (1.0, 9.0)), "late": (LATE, (4.4, 10.8))}[which]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branch_bifurcations, "measured", noted)
        found = qs.cycle_branches("qif_delay", within=within, **given)
    return given, found, seen


def one_cycle(which, eta):
    """Return the parameters of the cycle of a branch that is next to a value, its row, and itself as a
    function of time in periods."""
    given, found, seen = branches(which)
    rows = found.isel(point=np.flatnonzero(found["type"].values == 0))
    row = rows.isel(point=int(np.abs(rows["eta"].values - eta).argmin()))
    for _, orbits in seen:
        k = np.flatnonzero((orbits.value == row["eta"].item()) & (orbits.period == row["period"].item()))
        if len(k):
            one = orbits.chosen(k[:1])
            break

    def cycle(s):
        return evaluated(one, np.atleast_1d(s)[None] % 1.0)[0].T

    return given | {"eta": row["eta"].item()}, row, cycle


def after_a_period(given, period, cycle, size, drive=lambda t: 0.0):
    """Return the state one period after a cycle's, and the map of small changes of its past over a period.

    These are r at Chebyshev's points of [-delay, 0], the last one now, and v now.
    """
    delay = given["delay"]
    x = 0.5 * delay * (np.cos(math.pi * np.arange(size + 1) / size) - 1.0)
    basis = BarycentricInterpolator(x, np.eye(size + 1))
    count = size + 2

    def earlier(t):
        return np.concatenate((cycle(t / period)[0], basis(t), [0.0]))

    def slope(t, y, past):
        state, changes = y.reshape(2, count + 1)[:, :1], y.reshape(2, count + 1)[:, 1:]
        ago = past(t - delay)
        r, v = state[:, 0]
        dr = 2.0 * (v * changes[0] + r * changes[1])
        dv = 2.0 * v * changes[1] - 2.0 * math.pi**2 * r * changes[0] + given["J"] * ago[1:]
        own = rates(state[:, 0], ago[0], given, drive(t))
        return np.concatenate(([own[0]], dr, [own[1]], dv))

    start = np.zeros((2, count + 1))
    start[:, 0] = cycle(0.0)[:, 0]
    start[0, 1], start[1, -1] = 1.0, 1.0
    past, y, done, pieces = earlier, start.ravel(), 0.0, []
    while done < period:
        end = min(period, done + delay)
        found = solve_ivp(
            lambda t, y, past=past: slope(t, y, past),
            (done, end),
            y,
            "DOP853",
            rtol=1e-8,
            atol=1e-10,
            dense_output=True,
        )
        pieces.append((end, found.sol))
        past, y, done = (lambda t, sol=found.sol: sol(t)[: count + 1]), found.y[:, -1], end

    def at(t):
        return earlier(t) if t <= 0.0 else next(sol(t)[: count + 1] for end, sol in pieces if t <= end)

    rows = [at(t)[1:] for t in period + x] + [y.reshape(2, count + 1)[1, 1:]]
    return y.reshape(2, count + 1)[:, 0], np.array(rows)


@pytest.mark.parametrize(
    ("which", "eta", "unstable", "size"),
    [("inhibited", 3.0, 0, 24), ("inhibited", 7.9, 1, 24), ("late", 5.0, 0, 40)],
)
def test_cycles_come_back_and_multipliers_are_those_of_the_equation_linearised_along_them(
    which, eta, unstable, size
):
    given, row, cycle = one_cycle(which, eta)
    end, matrix = after_a_period(given, row["period"].item(), cycle, size)
    np.testing.assert_allclose(end, cycle(0.0)[:, 0], atol=1e-5)
    mu = np.linalg.eigvals(matrix)
    mu = mu[np.argsort(-np.abs(mu))][:4]
    found = row["multiplier_real"].values + 1j * row["multiplier_imag"].values
    for one in mu[np.abs(mu) > 0.02]:
        assert np.nanmin(np.abs(found - one)) < 2e-5
    assert (np.abs(mu[np.abs(mu - 1.0) > 1e-3]) > 1.0).sum() == unstable == row["unstable_multipliers"].item()
    assert row["stable"].item() == (unstable == 0)


def first_harmonic(cycle):
    """Return the amplitude of r at the frequency of a cycle."""
    s = np.arange(256) / 256
    return 2.0 * abs(np.mean(cycle(s)[0] * np.exp(-2j * math.pi * s)))


@pytest.mark.parametrize("which", ["inhibited", "late"])
def test_cycles_grow_from_hopf_points_as_the_first_lyapunov_coefficient_says(which):
    """|z|^2 = -a (eta - eta_H)/(omega l1) with a = d Re lambda/d eta, by differences of exact eigenvalues."""
    given, found, _ = branches(which)
    head = found.isel(point=np.flatnonzero(found["type"].values == HB)[0])
    eta, omega = head["eta"].item(), 2.0 * math.pi / head["period"].item()
    points = qs.special_points("qif_delay", **given)
    hopf = points.isel(point=int(np.abs(points["eta"].values - eta).argmin()))
    assert hopf["eta"].item() == pytest.approx(eta, abs=1e-9)
    h = 1e-4
    rest = qs.equilibria("qif_delay", eta=[eta - h, eta + h], **given)
    nearest = np.abs(np.abs(rest["eigenvalue_imag"].values[:, 0]) - omega).argmin(axis=-1)
    real = rest["eigenvalue_real"].values[[0, 1], 0, nearest]
    a = (real[1] - real[0]) / (2.0 * h)
    # Row 1 of the characteristic matrix: (i omega - 2 v) q_r = 2 r q_v, with |q| = 1.
    r, v = hopf["r"].item(), hopf["v"].item()
    q_r = 1.0 / math.sqrt(1.0 + abs((1j * omega - 2.0 * v) / (2.0 * r)) ** 2)
    ratios = []
    for k in (2, 3):
        at = found["eta"].values[k]
        _, _, cycle = one_cycle(which, at)
        square = -a * (at - eta) / (omega * hopf["l1"].item())
        assert square > 0.0
        ratios.append(first_harmonic(cycle) / (2.0 * math.sqrt(square) * q_r))
    np.testing.assert_allclose(ratios, 1.0, atol=0.02)
    # What is left is of the order of the distance, 4 times as far the second time.
    assert abs(ratios[0] - 1.0) < 0.5 * abs(ratios[1] - 1.0) + 1e-4


def test_a_branch_is_found_from_the_hopf_points_at_both_of_its_ends():
    _, found, _ = branches("late")
    ends = found["end"].attrs["flag_meanings"].split()
    assert [ends[k] for k in found["end"].values[:2]] == ["hopf_point", "hopf_point"]
    assert found["duplicate_of"].values[:2].tolist() == [-1, 0]
    one, other = (found.isel(point=np.flatnonzero(found["branch"].values == k)) for k in (0, 1))
    assert one["eta"].values[0] == pytest.approx(other["eta"].values[-1], abs=1e-9)
    for name in ("period", "r_max", "v_mean"):
        # Chords between points, which lie closer together than the branch bends.
        eta, values = other["eta"].values[::-1], other[name].values[::-1]
        np.testing.assert_allclose(np.interp(one["eta"].values, eta, values), one[name].values, rtol=5e-3)


def test_bifurcations_are_told_with_the_multipliers_that_make_them():
    """At 7.487 the cycle loses its stability to a torus; then its period doubles, and back again."""
    _, found, _ = branches("inhibited")
    special = found.isel(point=np.flatnonzero(np.isin(found["type"].values, (LPC, PD, TR))))
    assert special["type"].values.tolist() == [TR, PD, PD]
    np.testing.assert_allclose(special["eta"].values, [7.4872236, 7.5674974, 8.1375042], atol=2e-7)
    mu = special["multiplier_real"].values + 1j * special["multiplier_imag"].values
    pair = mu[0][np.abs(mu[0].imag) > 0.01][0]
    assert abs(pair) == pytest.approx(1.0, abs=1e-6)
    for row in mu[1:]:
        assert np.nanmin(np.abs(row + 1.0)) < 1e-6
    ordinary = found.isel(point=np.flatnonzero(found["type"].values == 0))
    np.testing.assert_array_equal(ordinary["stable"].values, ordinary["eta"].values < 7.4872236)


BRUSSELATOR = """
from dataclasses import replace
from qifscan.models import NON_NEGATIVE, POSITIVE, Model, Parameter, Variable

def constants(p):
    at_once = p["delay"] == 0.0
    past = {"now": p["b"] * at_once, "past": p["b"] * (1.0 - at_once)}
    return past | {name: p[name] for name in ("a", "b", "eta")}

def field(y, inputs, c):
    r, v = y
    square = r * r * v
    return c["a"] + square - (c["b"] + 1.0) * r + inputs[0], c["eta"] + c["now"] * r - square + inputs[1]

def variable(name):
    return Variable(name, "1", name, "1", POSITIVE)

late = Model(
    name="late",
    variables=(variable("r"), variable("v")),
    parameters=(
        Parameter("a", 1.0, "1", "source", POSITIVE),
        Parameter("b", 3.0, "1", "turnover", POSITIVE),
        Parameter("eta", 0.0, "1", "source of v"),
        Parameter("delay", 0.0, "ms", "delay", NON_NEGATIVE),
        Parameter("tau", 1.0, "ms", "unit of time, and of where simulation begins", POSITIVE),
        Parameter("delta", 1.0, "1", "unit of where simulation begins", POSITIVE),
    ),
    constants=constants,
    field=field,
    squares=lambda y, c: tuple(u * u for u in y),
    rest=lambda r, p: (r, ((p["b"] + 1.0) * r - p["a"]) / (r * r)),
    driven="v",
    delay="delay",
    meaning="the Brusselator, of which a product comes late",
    reference="Prigogine, Lefever, J. Chem. Phys. 48, 1695 (1968)",
)
at_once = replace(late, name="at_once", delay="")
"""


@pytest.fixture
def brusselator(tmp_path, monkeypatch):
    (tmp_path / "brusselator.py").write_text(BRUSSELATOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("brusselator")
def test_without_a_delay_cycles_are_those_of_the_ordinary_equation():
    """And those of a short one are as far from them as it is long."""
    search = {"starts": 1, "transient": 60.0, "window": 40.0, "b": 2.5}
    exact = qs.cycles("brusselator:at_once", **search)
    found = qs.cycles("brusselator:late", delay=[0.0, 1e-4, 2e-4], **search)
    assert found["count"].values.tolist() == [1, 1, 1]
    for name in ("period", "r_min", "r_max", "v_mean"):
        of = found[name].values[:, 0]
        assert of[0] == pytest.approx(exact[name].values[0], rel=1e-6)
        assert of[2] - of[0] == pytest.approx(2.0 * (of[1] - of[0]), rel=2e-2, abs=1e-8)
    np.testing.assert_allclose(
        found["multiplier_real"].values[0, 0, :2], exact["multiplier_real"].values[0], atol=1e-5
    )


@pytest.mark.usefixtures("brusselator")
@pytest.mark.thorough
def test_branches_without_a_delay_are_those_of_the_ordinary_equation():
    within = {"within": (-0.5, 1.0), "points": 60, "b": 2.5}
    exact = qs.cycle_branches("brusselator:at_once", **within)
    found = qs.cycle_branches("brusselator:late", delay=0.0, **within)
    # The trace is 0 where r^3 - 3.5 r + 2 = 0, r = 1 + eta.
    ends = np.sort(np.roots([1.0, 0.0, -3.5, 2.0]).real)[1:] - 1.0
    for of in (exact, found):
        assert of["duplicate_of"].values.tolist() == [-1, 0]
        hopf = of["eta"].values[of["type"].values == HB]
        np.testing.assert_allclose(np.sort(hopf), np.repeat(ends, 2), atol=1e-9)
    for name in ("period", "r_max"):
        eta, lines = np.linspace(-0.2, 0.3, 9), []
        for of in (exact, found):
            one = of.isel(point=np.flatnonzero(of["branch"].values == 0))
            lines.append(CubicSpline(one["eta"].values, one[name].values)(eta))
        np.testing.assert_allclose(*lines, rtol=2e-3)


def test_a_response_to_a_sine_is_what_a_simulation_settles_on():
    given = INHIBITED | {"eta": -1.0}
    sine = qs.Sine(amplitude=1.0, period=2.4)
    found = qs.forced_cycles("qif_delay", sine, starts=1, transient=60.0, most_periods=2, **given)
    assert found["stable"].values.tolist() == [True]
    pieces = settled(given, 40, drive=lambda t: math.sin(2.0 * math.pi * t / 2.4))
    # 40 delays are 20 periods.
    state = pieces[-1][1](pieces[-1][0][-1])
    np.testing.assert_allclose([found["r_start"].item(), found["v_start"].item()], state, atol=1e-6)


@pytest.mark.thorough
def test_a_doubled_cycle_is_what_a_simulation_settles_on_between_two_doublings():
    given = INHIBITED | {"eta": 8.0}
    found = qs.cycles("qif_delay", starts=1, **given)
    doubled = qs.cycle_branches("qif_delay", within=(1.0, 9.0), points=80, doublings=1, **INHIBITED)
    period = found["period"].item()
    start = int(np.flatnonzero(doubled["start"].values == 2)[0])
    rows = doubled.isel(point=np.flatnonzero((doubled["branch"].values == start) & doubled["stable"].values))
    near = np.abs(rows["eta"].values - 8.0).argmin()
    assert rows["period"].values[near] == pytest.approx(period, rel=0.01)
    pieces = settled(given, 250)[-12:]
    parts = [np.linspace(times[0], times[-1], 2001)[1:] for times, _ in pieces]
    times = np.concatenate(parts)
    values = np.concatenate([sol(t)[0] for t, (_, sol) in zip(parts, pieces, strict=True)])
    late = times > times[-1] - period
    peak = times[late][values[late].argmax()] + np.linspace(-1e-3, 1e-3, 2001)
    sol = next(sol for t, (_, sol) in zip(parts, pieces, strict=True) if peak[0] > t[0] and peak[-1] < t[-1])
    assert sol(peak)[0].max() == pytest.approx(found["r_max"].item(), abs=1e-5)
    later = np.interp(times[late] - period, times, values)
    # As far as chords between the values go.
    assert np.abs(later - values[late]).max() < 1e-3
    # Once around is not enough.
    once = np.interp(times[late] - 0.5 * period, times, values)
    assert np.abs(once - values[late]).max() > 0.1


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(6))
def test_random_cycles_come_back_and_have_the_multipliers_of_the_linearised_equation(seed):
    """In random slices, at random places on their branches, stable or not."""
    rng = np.random.default_rng(seed)
    given = {
        "J": rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 16.0),
        "delta": rng.uniform(0.3, 1.5),
        "delay": rng.uniform(0.3, 2.0),
    }
    seen, measured = [], branch_bifurcations.measured
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branch_bifurcations, "measured", lambda p, o: seen.append(o) or measured(p, o))
        found = qs.cycle_branches("qif_delay", within=(-8.0, 12.0), points=80, **given)
    assert found["branch_count"].item() > 0
    rows = found.isel(point=np.flatnonzero((found["type"].values == 0) & found["resolved"].values))
    rows = rows.isel(point=np.flatnonzero(given["delay"] < 1.2 * rows["period"].values))
    for k in rng.choice(rows.sizes["point"], 3, replace=False) if rows.sizes["point"] else ():
        row = rows.isel(point=int(k))
        orbits = next(o for o in seen if (o.value == row["eta"].item()).any())
        one = orbits.chosen(np.flatnonzero(orbits.value == row["eta"].item())[:1])

        def cycle(s, one=one):
            return evaluated(one, np.atleast_1d(s)[None] % 1.0)[0].T

        end, matrix = after_a_period(given | {"eta": row["eta"].item()}, row["period"].item(), cycle, 64)
        scale = np.abs(one.u[0]).max(axis=0)
        mu, exact = (
            np.linalg.eigvals(matrix),
            row["multiplier_real"].values + 1j * row["multiplier_imag"].values,
        )
        assert (np.abs(end - cycle(0.0)[:, 0]) / scale).max() < 1e-5 * max(1.0, np.abs(mu).max())
        # Chebyshev's polynomials follow sharp spikes to some digits.
        for one_mu in mu[np.abs(mu) > 0.3]:
            assert np.nanmin(np.abs(exact - one_mu)) < 2e-2 * max(1.0, np.abs(mu).max())


def on_branches(found, eta):
    """Return period and largest rate of the stable cycles of branches at a value, between their points."""
    cycles = []
    for k in np.flatnonzero(found["duplicate_of"].values < 0):
        rows = found.isel(point=np.flatnonzero(found["branch"].values == k))
        at, stable = rows["eta"].values, rows["stable"].values
        for i in np.flatnonzero((at[:-1] - eta) * (at[1:] - eta) < 0.0):
            x = (eta - at[i]) / (at[i + 1] - at[i])
            pair = [(1.0 - x) * v[i] + x * v[i + 1] for v in (rows["period"].values, rows["r_max"].values)]
            cycles += [pair] if stable[i] and stable[i + 1] else []
    return np.array(cycles).reshape(-1, 2)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(5))
def test_long_runs_in_random_slices_end_on_the_stable_cycles_of_branches(seed):
    """Where there are any, and nothing else is stable; else they do not settle on an equilibrium."""
    rng = np.random.default_rng(100 + seed)
    given = {
        "J": rng.choice([-1.0, 1.0]) * rng.uniform(3.0, 10.0),
        "delta": rng.uniform(0.3, 1.5),
        "delay": rng.uniform(0.3, 2.5),
    }
    found = qs.cycle_branches("qif_delay", within=(-8.0, 12.0), points=150, **given)
    assert found["branch_count"].item() > 0
    eta = rng.uniform(found["eta"].values.min(), found["eta"].values.max())
    rest = qs.equilibria("qif_delay", eta=eta, **given)
    start = rng.uniform(0.05, 2.0), rng.uniform(-1.0, 1.0)
    pieces = settled(given | {"eta": eta}, int(200.0 / given["delay"]) + 1, start=start)
    pieces = pieces[-int(20.0 / given["delay"]) - 8 :]
    parts = [np.linspace(times[0], times[-1], 1001)[1:] for times, _ in pieces]
    t = np.concatenate(parts)
    r = np.concatenate([sol(t)[0] for t, (_, sol) in zip(parts, pieces, strict=True)])
    if np.ptp(r) < 1e-3 * r.mean():
        assert rest["stable"].values.any()
        return
    level = 0.5 * (r.max() + r.min())
    k = np.flatnonzero((r[:-1] < level) & (r[1:] >= level))
    laps = np.diff(t[k] + (level - r[k]) / (r[k + 1] - r[k]) * (t[k + 1] - t[k]))
    if np.ptp(laps) < 5e-3 * laps.mean():
        here = on_branches(found, eta)
        near = np.abs(here / [laps.mean(), r.max()] - 1.0)
        assert (near < [2e-3, 2e-2]).all(axis=1).any()
    else:
        # Doubled cycles, tori and chaos, where no cycle of a branch is the only attractor.
        assert len(on_branches(found, eta)) != 1
