"""Curves of bifurcations of cycles with a delay, beside the equation linearised along the cycles on them, the
bifurcations of branches, and curves without a delay."""

import math
from functools import cache, partial

import numpy as np
import pytest

import qifscan as qs
from qifscan.cycle_curves import curve_bifurcations
from qifscan.cycle_curves.curve_bifurcations import CUTS
from qifscan.periodic_orbits.orbits import evaluated
from qifscan.theory.codes import GH, LPC, LPPD, PD, R1, R2, TR
from tests.test_delayed_cycles import BRUSSELATOR, after_a_period

ASKED = {
    "doublings": ("PD", {"J": -12.0, "delta": 0.3, "at": 1.2, "between": (1.0, 9.0)}),
    # The delay is one and a half of the period, on the other curve two of it and more.
    "tori": ("NS", {"J": -6.0, "delta": 0.77, "at": 2.93, "between": (5.0, 12.0)}),
    "folds": ("LPC", {"J": 3.7, "delta": 0.7, "at": 1.4, "between": (0.0, 6.0)}),
}
"""Curves in the plane of eta and the delay."""


def with_cycles(*asked, **options):
    """Return curves, and the problems and cycles on them as polynomials."""
    seen, measured = [], curve_bifurcations.measured
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curve_bifurcations, "measured", lambda p, o: seen.append((p, o)) or measured(p, o))
        found = qs.curve("qif_delay", *asked, **options)
    return found, seen


@cache
def curve(which):
    kind, options = ASKED[which]
    return with_cycles(kind, "eta", "delay", points=4, **options)


def cycle_of(row, seen, along="eta"):
    """Return the parameters of the problem of a point, and its cycle as a function of time in periods."""
    for problem, orbits in seen:
        k = np.flatnonzero((orbits.period == row["period"].item()) & (orbits.value == row[along].item()))
        if len(k):
            one, rest = orbits.chosen(k[:1]), problem.chosen(k[:1])
            given = {name: float(values[0]) for name, values in rest.parameters.items()}
            given |= {name: float(x) for name, x in zip(problem.along, one.scalars[0, 1:], strict=True)}
            return given, partial(at_times, one)
    raise AssertionError("no such cycle")


def at_times(one, s):
    return evaluated(one, np.atleast_1d(s)[None] % 1.0)[0].T


def drawn(found, count, seed=3, periods=(0.0, 1.6)):
    """Points drawn at random of those that are ordinary, and whose delay is so many periods: at most what
    Chebyshev's polynomials of one piece can follow."""
    laps = (found["delay"] / found["period"]).values
    ordinary = (found["type"].values == 0) & (laps > periods[0]) & (laps < periods[1])
    which = np.random.default_rng(seed).choice(np.flatnonzero(ordinary), count, replace=False)
    return [found.isel(point=int(k)) for k in which]


def is_told(kind, row, mu, tolerance):
    """Say whether multipliers are those of a bifurcation: of two that may meet their mean and product."""
    if kind == "PD":
        return np.abs(mu + 1.0).min() < tolerance
    angle = row["angle"].item() if kind == "NS" else 0.0
    wanted = np.exp(1j * angle * np.array([1.0, -1.0]))
    first = np.argmin(np.abs(mu - wanted[0]))
    rest = np.delete(mu, first)
    pair = np.array([mu[first], rest[np.argmin(np.abs(rest - wanted[1]))]])
    product = np.prod(pair - 1.0) if kind == "LPC" else np.prod(pair) - 1.0
    return abs(pair.mean() - math.cos(angle)) < tolerance and abs(product) < tolerance


@pytest.mark.parametrize(("which", "size"), [("doublings", 40), ("tori", 64), ("folds", 40)])
def test_the_equation_linearised_along_a_cycle_of_a_curve_has_the_multipliers_of_its_bifurcation(which, size):
    kind = ASKED[which][0]
    found, seen = curve(which)
    assert found["converged"].values.all()
    assert found["resolved"].values.all()
    for row in drawn(found, 2):
        given, cycle = cycle_of(row, seen)
        end, matrix = after_a_period(given, row["period"].item(), cycle, size)
        np.testing.assert_allclose(end, cycle(0.0)[:, 0], atol=1e-6)
        assert is_told(kind, row, np.linalg.eigvals(matrix), 2e-6)


@pytest.mark.parametrize(
    ("which", "code", "periods"),
    [
        ("doublings", PD, (0.0, 1.0)),
        ("tori", TR, (1.0, 2.0)),
        ("tori", TR, (2.0, 3.0)),
        ("folds", LPC, (0.0, 1.0)),
    ],
)
def test_at_the_delay_of_a_point_of_a_curve_a_branch_has_the_bifurcation_there(which, code, periods):
    _, options = ASKED[which]
    found, _ = curve(which)
    rest = {name: options[name] for name in ("J", "delta")}
    for row in drawn(found, 1, 5, periods):
        delay = row["delay"].item()
        assert abs(delay - options["at"]) > 1e-3
        branch = qs.cycle_branches("qif_delay", within=options["between"], points=100, delay=delay, **rest)
        here = branch.isel(point=np.flatnonzero(branch["type"].values == code))
        near = np.abs(here["eta"].values - row["eta"].item()).argmin()
        assert here["eta"].values[near] == pytest.approx(row["eta"].item(), abs=1e-7)
        assert here["period"].values[near] == pytest.approx(row["period"].item(), abs=1e-6)


def test_period_doublings_and_tori_meet_at_a_resonance():
    found, _ = curve("doublings")
    meeting = found.isel(point=np.flatnonzero(found["type"].values == R2))
    tori = qs.curve("qif_delay", "NS", "eta", "delay", points=4, **ASKED["doublings"][1])
    end = tori.isel(point=np.flatnonzero(tori["type"].values == R2))
    assert CUTS.index("resonance_1_2") in (tori["start"].item(), tori["end"].item())
    for name in ("eta", "delay", "period"):
        apart = np.abs(meeting[name].values - end[name].values)
        assert apart.min() < 1e-6


def test_a_curve_of_folds_ends_at_the_generalised_hopf_point():
    """There the amplitude vanishes, and all else changes with its square."""
    options = {"J": 3.7, "delta": 0.7, "within": (1.64, 1.66)}
    found = qs.curve("qif_delay", "LPC", "eta", "delay", at=1.642, between=(0.0, 0.2), points=8, **options)
    there = qs.curve("qif_delay", "HB", through="delay", points=60, **options)
    there = there.isel(point=int(np.flatnonzero(there["type"].values == GH)[0]))
    ends = {CUTS[k] for k in (found["start"].item(), found["end"].item())}
    assert "no_amplitude" in ends
    square = (found["r_max"].values - found["r_min"].values) ** 2
    last = np.argsort(square)[:3]
    for name, wanted in (
        ("eta", there["eta"].item()),
        ("delay", there["delay"].item()),
        ("period", 2.0 * math.pi / there["omega"].item()),
    ):
        limit = np.polynomial.Polynomial.fit(square[last], found[name].values[last], 2)(0.0)
        assert limit == pytest.approx(wanted, abs=1e-6)


@pytest.fixture
def brusselator(tmp_path, monkeypatch):
    (tmp_path / "brusselator.py").write_text(BRUSSELATOR)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("brusselator")
@pytest.mark.parametrize(("kind", "period", "at"), [("PD", 2.6, 2.5), ("NS", 4.2, 2.2), ("LPC", 5.5, 3.0)])
def test_without_a_delay_curves_of_responses_are_those_of_the_ordinary_equation(kind, period, at):
    asked = {
        "drive": qs.Sine(amplitude=1.0, period=period),
        "through": "b",
        "between": (0.0, 4.0),
        "delay": 0.0,
    }
    found = qs.curve("brusselator:late", kind, at=at, points=3, **asked)
    ordinary = found.isel(point=np.flatnonzero(found["type"].values == 0))
    last = ordinary["b"].values[[0, -1]]
    exact = qs.curve("brusselator:at_once", kind, at=last, points=1, **asked)
    for b, amplitude in zip(last, ordinary["drive_amplitude"].values[[0, -1]], strict=True):
        here = exact["drive_amplitude"].values[exact["b"].values == b]
        assert np.abs(here - amplitude).min() < 1e-6


def test_on_a_curve_of_responses_the_equation_linearised_along_them_has_the_multiplier_minus_1():
    asked = {"J": -12.0, "delta": 0.3, "eta": 0.8, "at": 1.2, "through": "delay", "points": 3}
    sine = qs.Sine(amplitude=1.0, period=2.55)
    found, seen = with_cycles("PD", drive=sine, between=(0.0, 3.0), **asked)
    (row,) = drawn(found, 1)
    given, cycle = cycle_of(row, seen, "drive_amplitude")
    assert given["drive_amplitude"] > 0.1

    def drive(t):
        return given["drive_amplitude"] * math.sin(2.0 * math.pi * t / 2.55)

    end, matrix = after_a_period(given, 2.55, cycle, 40, drive)
    np.testing.assert_allclose(end, cycle(0.0)[:, 0], atol=1e-6)
    assert is_told("PD", row, np.linalg.eigvals(matrix), 2e-6)


def test_cycles_of_one_period_have_it_where_simulation_ends_on_them():
    asked = {"J": -12.0, "delta": 0.3, "at": 1.2, "between": (1.0, 9.0), "period": 3.5}
    found = qs.curve("qif_delay", "period", "eta", "delay", points=3, **asked)
    np.testing.assert_allclose(found["period"], 3.5, rtol=1e-10)
    row = found.isel(point=int(np.flatnonzero(found["stable"].values)[-1]))
    search = {"starts": 1, "transient": 30.0, "window": 20.0, "J": -12.0, "delta": 0.3}
    one = qs.cycles("qif_delay", eta=row["eta"].item(), delay=row["delay"].item(), **search)
    assert one["period"].item() == pytest.approx(3.5, abs=1e-7)
    assert one["r_max"].item() == pytest.approx(row["r_max"].item(), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"kind": "homoclinic", "through": "delay"},
            'model: found "qif_delay", which has a delay, expected a model without one for homoclinic;',
        ),
        ({"kind": "PD", "along": "tau"}, 'along: found "tau", expected one of eta, delta, J, delay;'),
        ({"kind": "PD", "through": "eta"}, 'through: found "eta", expected another parameter than eta'),
    ],
)
def test_what_is_wrong_is_one_line(options, line):
    with pytest.raises(qs.ScanError) as raised:
        qs.curve("qif_delay", **options)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value).strip()


@pytest.mark.thorough
def test_folds_and_period_doublings_mark_each_other_at_the_same_places():
    asked = {"J": -12.0, "delta": 0.3, "at": 1.2, "between": (0.0, 13.0), "within": (0.5, 3.0), "points": 70}
    places = []
    for kind in ("LPC", "PD"):
        found = qs.curve("qif_delay", kind, through="delay", **asked)
        here = found.isel(point=np.flatnonzero(found["type"].values == LPPD))
        rows = np.unique(
            np.column_stack([here[n].values.round(5) for n in ("eta", "delay", "period")]), axis=0
        )
        places.append(rows[(rows[:, 1] > 1.0) & (rows[:, 1] < 2.5)])
    np.testing.assert_allclose(
        places[0], [[3.82062, 2.13206, 1.96732], [11.99863, 1.02189, 0.97843]], atol=2e-5
    )
    np.testing.assert_allclose(*places, atol=2e-5)


@pytest.mark.thorough
def test_towards_a_resonance_on_a_curve_of_folds_the_angle_of_tori_falls_to_0():
    """The only R1 of cycles without a drive that a model of the family has shown."""
    asked = {"J": -12.0, "delta": 0.3, "between": (0.0, 6.0), "through": "delay"}
    folds = qs.curve("qif_delay", "LPC", at=2.2, within=(2.05, 2.25), points=20, **asked)
    there = folds.isel(point=np.flatnonzero(folds["type"].values == R1))
    assert there.sizes["point"] == 1
    tori = qs.curve("qif_delay", "NS", at=2.1, within=(1.98, 2.3), points=30, **asked)
    assert CUTS.index("resonance_1_1") in {*tori["start"].values, *tori["end"].values}
    near = tori.isel(point=np.flatnonzero((tori["eta"].values < 3.6) & (tori["period"].values > 5.0)))
    last = np.argsort(near["angle"].values)[:5]
    for name in ("eta", "delay", "period"):
        fit = np.polynomial.Polynomial.fit(near["angle"].values[last] ** 2, near[name].values[last], 4)
        assert fit(0.0) == pytest.approx(there[name].item(), rel=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_curves_of_random_slices_are_those_of_the_linearised_equation_and_of_branches(seed):
    """All kinds that a random slice has, in a random plane; two of the first six slices have none.

    A branch at a random point of each curve has the bifurcation there.
    """
    rng = np.random.default_rng(200 + seed)
    given = {
        "J": rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 14.0),
        "delta": rng.uniform(0.3, 1.2),
        "delay": rng.uniform(0.5, 2.0),
    }
    through = rng.choice(["delay", "J", "delta"]).item()
    at = given[through]
    rest = {name: value for name, value in given.items() if name != through}
    bounds = {"between": (-6.0, 10.0), "within": tuple(sorted((0.8 * at, 1.2 * at)))}
    checked = 0
    for kind, code in (("LPC", LPC), ("PD", PD), ("NS", TR)):
        try:
            found, seen = with_cycles(kind, "eta", through, at=at, points=6, **bounds, **rest)
        except qs.ScanError:
            continue
        for row in drawn(found, 2):
            own, cycle = cycle_of(row, seen)
            end, matrix = after_a_period(own, row["period"].item(), cycle, 72)
            scale = np.abs(cycle(np.linspace(0.0, 1.0, 400))).max(axis=1)
            mu = np.linalg.eigvals(matrix)
            flow = np.abs(mu - 1.0).min()
            assert (np.abs(end - cycle(0.0)[:, 0]) / scale).max() < 1e-5 * max(1.0, np.abs(mu).max())
            # Chebyshev's polynomials follow sharp spikes to some digits: those to which 1 is there.
            if kind != "LPC" and flow < 1e-2:
                assert is_told(kind, row, mu, 1e-5 + 10.0 * flow)
            if kind == "LPC":
                assert is_told(kind, row, mu, 2e-3)
            checked += 1
        row = drawn(found, 1, seed)[0]
        here = {**rest, through: row[through].item()}
        branch = qs.cycle_branches("qif_delay", within=bounds["between"], points=200, **here)
        same = branch["eta"].values[branch["type"].values == code]
        assert np.abs(same - row["eta"].item()).min() < 1e-6
    assert checked
