"""Curves of folds, period doublings and torus bifurcations of cycles, and of cycles of one period."""

import importlib.util
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import qifscan as qs
from qifscan.cycle_curves import curves
from qifscan.cycle_curves.curve_bifurcations import CUTS
from qifscan.limit_cycles.steps import at_value
from qifscan.theory import codes

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "cycle_curves.py"
specification = importlib.util.spec_from_file_location("cycle_curves", BENCHMARK)
check = importlib.util.module_from_spec(specification)
specification.loader.exec_module(check)

GAST = {"delta": 2.0, "J": 15.0 * math.sqrt(2.0)}


@cache
def folds():
    return qs.curve("qif_pair", "LPC", through="J_ie", at=15.0, between=(-1.0, 2.6), points=40)


@cache
def doublings():
    return qs.curve(
        "qif_pair_synapse", "PD", along="eta_e", through="eps", at=12.0, between=(-6.0, 40.0), points=150
    )


def monodromy(model, point, names, **fixed):
    """The matrix of the variational equations over a period, of an orbit that is closed."""
    matrix, gap, _ = check.monodromy(model, point, names, **fixed)
    assert gap < 1e-8
    return matrix


def some(found, count):
    """Points drawn at random of those that are ordinary."""
    ordinary = np.flatnonzero(found["type"].values == 0)
    drawn = np.random.default_rng(7).choice(ordinary, count, replace=False)
    return [found.isel(point=int(k)) for k in drawn]


def test_on_a_curve_of_folds_the_variational_equations_have_the_multiplier_1_twice():
    for point in some(folds(), 2):
        mu = np.linalg.eigvals(monodromy("qif_pair", point, ("eta_i", "J_ie")))
        one, two = sorted(mu, key=lambda m: abs(m - 1.0))[:2]
        # A double multiplier is off by the square root of an error, the mean of both and the product are not.
        assert abs(0.5 * (one + two) - 1.0) < 1e-6
        assert abs((one - 1.0) * (two - 1.0)) < 1e-6


@pytest.mark.thorough
def test_on_a_curve_of_period_doublings_the_variational_equations_have_the_multiplier_minus_1():
    for point in some(doublings(), 2):
        mu = np.linalg.eigvals(monodromy("qif_pair_synapse", point, ("eta_e", "eps")))
        assert np.abs(mu + 1.0).min() < 1e-6
        assert np.abs(mu - 1.0).min() < 1e-6


def test_a_curve_passes_through_the_bifurcation_that_it_begins_with():
    branch = qs.cycle_branches("qif_pair", within=(-1.0, 2.6), points=80)
    there = branch["eta_i"].values[branch["type"].values == 5]
    on_curve = folds().isel(point=np.abs(folds()["J_ie"].values - 15.0) < 1e-12)
    assert sorted(set(np.round(on_curve["eta_i"].values, 9))) == pytest.approx(
        sorted(set(np.round(there, 9)))
    )

    """Folds of cycles begin at generalised Hopf points."""
    found = folds()
    assert CUTS[int(found["start"].values[0])] == "no_amplitude"
    end = found.isel(point=0)
    assert (end["r_e_max"] - end["r_e_min"]).item() < 0.05
    hopf = qs.curve("qif_pair", "HB", through="J_ie", within=(3.0, 20.0))
    bautin = hopf.isel(point=hopf["type"].values == -32)
    apart = np.hypot(bautin["eta_i"] - end["eta_i"], bautin["J_ie"] - end["J_ie"])
    assert apart.min().item() < 1e-2


def test_without_a_start_curves_of_folds_begin_beside_generalised_hopf_points():
    """Those of depression, where within this range no other fold is; a fold's amplitude grows as the square
    root of the distance."""
    given = GAST | {"tau_a": 10.0}
    options = {"through": "alpha", "between": (-4.0, -3.0), "within": (0.01, 0.2), "points": 25}
    found = qs.curve("qif_depression_alpha", "LPC", **options, **given)
    hopf = qs.curve("qif_depression_alpha", "HB", through="alpha", within=(0.01, 0.2), **given)
    bautin = hopf.isel(point=hopf["type"].values == codes.GH)
    assert bautin.sizes["point"] == found.sizes["pieces"] == 2
    for number in range(2):
        piece = found.isel(point=found["piece"].values == number)
        side, order = ("start", 1) if CUTS[found["start"].values[number]] == "no_amplitude" else ("end", -1)
        assert CUTS[found[side].values[number]] == "no_amplitude"
        rows = piece.isel(point=slice(None, None, order))
        apart = np.abs(bautin["alpha"].values[:, None] - rows["alpha"].values)
        near = apart[apart[:, 0].argmin()]
        assert near[0] < 1e-4
        swing = (rows["r_max"] - rows["r_min"]).values
        # Both parameters turn back there with the amplitude, and it is no cusp.
        assert (rows["type"].values[swing < 0.05] == 0).all()
        # Of the last one the distance is 1e-9, and off by as much.
        swing, near = swing[swing > 2e-3], near[swing > 2e-3]
        assert swing[:3] ** 2 / near[:3] == pytest.approx(np.full(3, swing[1] ** 2 / near[1]), rel=0.2)


def test_folds_begin_beside_a_generalised_hopf_point_also_in_a_narrow_range():
    """Where alpha is 2 % less than there the fold is at eta of -3.94."""
    given = GAST | {"tau_a": 10.0, "through": "alpha", "within": (0.1, 0.2)}
    found = qs.curve("qif_depression_alpha", "LPC", between=(-3.6, -3.3), points=10, **given)
    nearest = np.abs(found["alpha"].values - 0.1469066).min()
    assert found.sizes["pieces"] == 1
    assert nearest < 1e-4


def test_folds_meet_in_a_cusp_of_cycles():
    found = folds()
    cusps = found.isel(point=found["type"].values == codes.CPC)
    assert cusps.sizes["point"] >= 1
    # Both parameters are extreme there along the curve.
    at = int(np.flatnonzero(found["type"].values == codes.CPC)[0])
    for name in ("eta_i", "J_ie"):
        before, here, after = found[name].values[at - 1 : at + 2]
        assert (here - before) * (after - here) < 0.0


@pytest.mark.thorough
def test_the_curve_of_period_doublings_of_the_pair_with_synapses_is_closed():
    """As the published AUTO project has it, from eps = 12."""
    found = doublings()
    # Both period doublings of the branch are on it; it is followed once.
    assert [CUTS[k] for k in found["end"].values] == ["closed"]
    assert (found["residual"] < 1e-9).all()
    assert 9.0 < found["eps"].min() < 9.5
    assert 14.5 < found["eps"].max() < 15.5


@pytest.mark.thorough
def test_curves_of_folds_of_the_pair_with_synapses_are_closed_and_have_two_cusps():
    """As the published AUTO project has them, from eps = 15 and 18. Beside the folds at eps = 15 AUTO has:
    I_e = 8.03526, 8.03767, 9.80448, 10.0985, all of them on one curve."""
    options = {"along": "eta_e", "through": "eps", "at": [15.0, 18.0], "between": (-6.0, 40.0)}
    found = qs.curve("qif_pair_synapse", "LPC", points=150, **options)
    assert {CUTS[k] for k in [*found["start"].values, *found["end"].values]} == {"closed"}
    assert found.sizes["pieces"] == 2
    for number in range(2):
        rows = found.isel(point=found["piece"].values == number)
        assert (rows["type"].values == codes.CPC).sum() == 2
    here = np.abs(found["eps"].values - 15.0) < 1e-9
    beside = [8.03526, 8.03767, 9.80448, 10.0985]
    for wanted in beside:
        assert np.abs(found["eta_e"].values[here] + 5.0 - wanted).min() < 1e-4


@pytest.mark.thorough
def test_a_fold_beside_a_canard_is_right_to_six_digits():
    """On the meshes that a curve is followed on its multipliers would be off by 1e-5."""
    given = GAST | {"tau_a": 10.0}
    options = {"through": "alpha", "at": 0.55, "between": (-6.0, 2.0), "points": 6}
    found = qs.curve("qif_adaptation_alpha", "LPC", **options, **given)
    for point in some(found, 3):
        matrix, _, _ = check.monodromy("qif_adaptation_alpha", point, ("eta", "alpha"), **given)
        assert check.off("LPC", matrix, 0.0) < 1e-6


# Of responses to a sine

MEMORY = {"tau": 20.0, "eta": -10.0, "delta": 2.0, "J": 15.0 * math.sqrt(2.0)}
SINE = ("drive_amplitude", "drive_period")


@cache
def clearance():
    """Folds and period doublings of the responses of a memory to a sine of 25 to 50 Hz."""
    options = {"drive": qs.Sine(amplitude=1.0, period=30.0), "through": "drive_period", "at": 30.0}
    options |= {"between": (0.0, 14.0), "within": (20.0, 40.0), "points": 12}
    return {kind: qs.curve("qif", kind, **options, **MEMORY) for kind in ("LPC", "PD")}


def test_curves_of_responses_have_the_multipliers_of_the_variational_equations():
    for kind, found in clearance().items():
        for point in some(found, 2):
            matrix = monodromy("qif", point, SINE, **MEMORY)
            assert check.off(kind, matrix, 0.0, forced=True) < 1e-9


def test_on_the_curves_of_torus_bifurcations_of_a_driven_oscillation_a_pair_is_on_the_circle():
    """That of gap junctions; at the period 2.24 it locks at the amplitude at which a branch of cycles of the
    model with an oscillator for the sine has its torus bifurcation."""
    gap = {"eta": 1.0, "J": 0.0, "g": 2.0}
    options = {"drive": qs.Sine(amplitude=1.0, period=2.0), "through": "drive_period", "at": 2.24}
    found = qs.curve("qif_gap", "NS", **options, between=(0.0, 4.0), within=(1.5, 6.0), points=30, **gap)
    here = found["drive_amplitude"].values[np.abs(found["drive_period"].values - 2.24) < 1e-12]
    assert here == pytest.approx(1.00010794, abs=1e-7)
    for point in some(found, 3):
        mu = np.linalg.eigvals(monodromy("qif_gap", point, SINE, **gap))
        assert np.abs(mu) == pytest.approx(1.0, abs=1e-9)
        assert np.abs(np.angle(mu)) == pytest.approx(point["angle"].item(), abs=1e-9)
    # It ends where the angle of the pair is 0.
    ends = {CUTS[found[side].values[0]]: row for side, row in (("start", 0), ("end", -1))}
    last = found.isel(point=ends["resonance_1_1"])
    assert (last["type"].item(), last["angle"].item()) == (codes.R1, pytest.approx(0.0, abs=1e-6))


GAP = {"eta": 1.0, "J": 0.0, "g": 2.0}


@cache
def locking(kind, period, **options):
    """Curves of responses of gap junctions to a sine from one of a period."""
    options = {
        "drive": qs.Sine(amplitude=1.0, period=period),
        "through": "drive_period",
        "points": 30,
    } | options
    return qs.curve("qif_gap", kind, **options, between=(0.0, 4.0), within=(1.5, 6.0), **GAP)


def marked(found, code):
    """The places in the plane at which points of a type are, by the amplitude."""
    here = found.isel(point=found["type"].values == code)
    return np.array(sorted(zip(here["drive_amplitude"].values, here["drive_period"].values, strict=True)))


@pytest.mark.thorough
def test_curves_of_torus_bifurcations_and_of_folds_meet_at_resonances_and_begin_there():
    """At the period 2.24 responses meet a torus bifurcation, at 3.5 folds alone."""
    ending, folds = locking("NS", 2.24, at=2.24), locking("LPC", 3.5, at=3.5)
    place = marked(ending, codes.R1)
    meetings = marked(folds, codes.R1)
    assert len(place) == 1
    assert len(meetings) == 2
    assert np.abs(meetings - place).max(axis=1).min() < 1e-8
    assert marked(locking("LPC", 2.24), codes.R1) == pytest.approx(meetings, abs=1e-8)
    # From the folds at 3.5 the curve of before, and another one, which ends at a resonance 1:2.
    begun = locking("NS", 3.5)
    assert marked(begun, codes.R1) == pytest.approx(meetings, abs=1e-8)
    assert begun.sizes["pieces"] == 2
    for code in (codes.R3, codes.R4, codes.CH):
        known = marked(ending, code)
        assert np.abs(marked(begun, code)[:, None] - known).max(axis=2).min(axis=0) == pytest.approx(
            0.0, abs=1e-7
        )
    end = marked(begun, codes.R2)
    assert len(end) == 1
    assert np.abs(marked(locking("PD", 3.5), codes.R2) - end).max(axis=1).min() < 1e-7
    for point in some(begun, 6):
        mu = np.linalg.eigvals(monodromy("qif_gap", point, SINE, **GAP))
        assert np.abs(mu) == pytest.approx(1.0, abs=1e-9)
        assert np.abs(np.angle(mu)) == pytest.approx(point["angle"].item(), abs=1e-9)


def test_a_point_tells_how_far_its_multipliers_may_be_from_those_of_the_variational_equations():
    """Beside a canard: there the error of the flow's own multiplier, 1e-5 at most, told nothing of it."""
    fixed = {"tau": 2.0, "J": 12.5, "alpha": 1.9, "tau_a": 7.0}
    limits = {"between": (-2.0, 3.0), "within": (0.6, 0.9), "points": 60}
    model = "qif_adaptation_exponential"
    found = qs.curve(model, "LPC", through="delta", at=0.696, **limits, **fixed)
    told, off = found["multiplier_error"].values, np.full(found.sizes["point"], np.nan)
    for k in np.flatnonzero(found["period"].values < 95.0):
        matrix, _, _ = check.monodromy(model, found.isel(point=int(k)), ("eta", "delta"), **fixed)
        off[k] = check.off("LPC", matrix, None)
    resolved = found["resolved"].values
    assert (resolved == (told < 1e-3)).all()
    assert resolved.sum() >= 10
    assert (off[resolved] <= 2.0 * told[resolved]).all()
    assert np.nanmax(off[~resolved]) > 0.01
    assert (off[found["period"].values < 65.0] < 2e-7).all()


def test_through_a_parameter_of_the_model_a_curve_of_responses_has_the_period_of_the_sine():
    options = {"drive": qs.Sine(amplitude=1.0, period=30.0), "through": "eta", "between": (0.0, 14.0)}
    given = {name: value for name, value in MEMORY.items() if name != "eta"}
    found = qs.curve("qif", "PD", **options, at=-10.0, within=(-11.0, -9.0), points=5, **given)
    assert found["period"].values == pytest.approx(np.full(found.sizes["point"], 30.0), abs=1e-12)
    there = found["drive_amplitude"].values[np.abs(found["eta"].values + 10.0) < 1e-12]
    beside = clearance()["PD"]
    here = np.abs(beside["drive_period"].values - 30.0) < 1e-12
    assert there == pytest.approx(beside["drive_amplitude"].values[here], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drive": 1.0}, "a Sine"),
        ({"kind": "period", "period": 3.0}, "LPC, PD or NS"),
        ({"along": "eta"}, '"drive_amplitude" with a drive'),
        ({"through": "drive_phase"}, "drive_period"),
        ({"kind": "LP"}, "None for LP"),
        ({"drive_amplitude": 1.0}, "drive_amplitude"),
    ],
)
def test_what_is_wrong_with_curves_of_responses_is_one_line(options, words):
    given = {"kind": "PD", "through": "drive_period", "drive": qs.Sine(amplitude=1.0, period=30.0)}
    with pytest.raises(qs.ScanError) as error:
        qs.curve("qif", **(given | options))
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_cycles_of_one_period_have_it():
    found = qs.curve(
        "qif_gap", "period", through="g", at=2.0, period=3.0, J=0.0, points=6, between=(0.5, 3.0)
    )
    assert found["period"].values == pytest.approx(np.full(found.sizes["point"], 3.0), abs=1e-10)
    point = found.isel(point=-1)
    cycle = qs.cycles(
        "qif_gap", eta=point["eta"].item(), g=point["g"].item(), J=0.0, starts=1, transient=100.0, window=40.0
    )
    assert cycle["period"].item() == pytest.approx(3.0, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "LPX"}, "LPC"),
        ({"kind": "LPC", "through": "eta"}, "another parameter than eta"),
        ({"kind": "period"}, "a period in ms"),
        ({"kind": "LPC", "period": 3.0}, "a period in ms"),
        ({"kind": "LPC", "at": "x"}, "values of alpha"),
        (
            {"kind": "LPC", "at": [0.5, 2.0], "within": (0.0, 1.0)},
            "at: found [0.5, 2.0], expected values of alpha in [0, 1]",
        ),
        ({"kind": "LP", "at": 1.0}, "None for LP"),
        ({"kind": "PD", "between": (3.0, 2.0)}, "two ascending numbers"),
    ],
)
def test_what_is_wrong_is_one_line(options, words):
    with pytest.raises(qs.ScanError) as error:
        qs.curve("qif_adaptation_alpha", **({"through": "alpha"} | options), **GAST)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_where_no_bifurcation_can_be_solved_for_that_is_one_line(monkeypatch):
    def none(system, guess):
        return replace(at_value(system, guess), good=np.zeros(len(guess.period), dtype=bool))

    monkeypatch.setattr(curves, "at_value", none)
    with pytest.raises(qs.ScanError) as error:
        qs.curve("qif_pair", "LPC", through="J_ie", at=15.0, between=(-1.0, 2.6), points=3)
    assert "no LPC that a curve can begin with" in str(error.value)


def test_at_a_period_doubling_a_branch_of_doubled_cycles_begins_and_ends_at_the_other():
    """Cycles of twice the period, from one period doubling at eps = 12 to the other."""
    found = qs.cycle_branches(
        "qif_pair_synapse", "eta_e", eps=12.0, within=(-3.0, 10.0), points=60, doublings=1
    )
    names = found["start"].attrs["flag_meanings"].split()
    doubled = np.flatnonzero(found["start"].values == names.index("period_doubling"))
    assert doubled.size
    at = found["eta_e"].values[found["type"].values == 7]
    rows = found.isel(point=found["branch"].values == doubled[0])
    assert np.abs(at - rows["eta_e"].values[0]).min() < 1e-9
    half = found["period"].values[found["type"].values == 7]
    assert np.abs(2.0 * half - rows["period"].values[0]).min() < 1e-6
    # From the other one it is the same branch.
    assert doubled.size == 2
    assert found["duplicate_of"].values[doubled[1]] == doubled[0]
    point = rows.isel(point=5)
    mu = np.linalg.eigvals(monodromy("qif_pair_synapse", point, ("eta_e",), eps=12.0))
    assert np.abs(mu - 1.0).min() < 1e-6


@pytest.mark.thorough
def test_on_a_curve_of_doublings_of_doubled_cycles_the_variational_equations_have_the_multiplier_minus_1():
    given = {"delta": 0.31, "J": 25.0, "alpha": 0.09, "tau_a": 17.0}
    limits = {"between": (-8.0, 4.0), "within": (0.5, 2.0), "points": 4}
    model, names = "qif_depression_exponential", ("eta", "tau")
    found = qs.curve(model, "PD", through="tau", at=1.5, doublings=1, **limits, **given)
    assert found.sizes["pieces"] == 2
    for number in range(2):
        for point in some(found.isel(point=found["piece"].values == number), 2):
            matrix = monodromy(model, point, names, **given)
            assert np.abs(np.linalg.eigvals(matrix) + 1.0).min() < 1e-6
            # Half a period later a doubled cycle is elsewhere.
            half = point.assign(period=0.5 * point["period"])
            assert number == 0 or check.monodromy(model, half, names, **given)[1] > 0.05


@pytest.mark.thorough
def test_what_lies_within_the_first_step_of_a_curve_is_marked_where_another_curve_marks_it():
    given = {"tau": 2.0, "J": 12.5, "alpha": 1.9, "tau_a": 7.0, "through": "delta", "between": (-2.0, 3.0)}
    near, far = (
        qs.curve("qif_adaptation_exponential", "PD", at=at, within=(0.685, 0.7), points=9, **given)
        for at in (0.696, 0.686)
    )
    marks = [one["delta"].values[one["type"].values == codes.GPD] for one in (near, far)]
    assert [len(mark) for mark in marks] == [1, 1]
    assert marks[0] == pytest.approx(marks[1], abs=1e-7)
    # From 0.696 the first step leads beyond.
    beside = near["delta"].values[
        near["piece"].values == near["piece"].values[near["type"].values == codes.GPD]
    ]
    assert not ((beside > 0.696) & (beside < marks[0])).any()


@pytest.mark.thorough
def test_a_curve_of_folds_of_doubled_cycles_ends_at_the_generalised_period_doubling():
    """Folds of doubled cycles and the period doubling meet where the normal form's coefficient is 0."""
    given = {"tau": 2.0, "J": 12.5, "alpha": 1.9, "tau_a": 7.0, "through": "delta", "between": (-2.0, 3.0)}
    model = "qif_adaptation_exponential"
    doublings = qs.curve(model, "PD", at=0.696, within=(0.695, 0.7), points=8, **given)
    there = doublings.isel(point=np.flatnonzero(doublings["type"].values == codes.GPD)[0])
    found = qs.curve(model, "LPC", at=0.696, within=(0.695, 0.7), points=12, doublings=1, **given)
    ends = [CUTS[k] for k in found["end"].values]
    assert ends == ["within", "period_doubling"]
    folds = found.isel(point=found["piece"].values == 1)
    last = folds.isel(point=-1)
    assert last["delta"].item() == pytest.approx(there["delta"].item(), abs=5e-5)
    assert last["eta"].item() == pytest.approx(there["eta"].item(), abs=5e-5)
    assert last["period"].item() == pytest.approx(2.0 * there["period"].item(), abs=1e-2)
    fixed = {name: given[name] for name in ("tau", "J", "alpha", "tau_a")}
    for point in some(folds, 2):
        assert check.off("LPC", monodromy(model, point, ("eta", "delta"), **fixed), None) < 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "PD", "doublings": -1}, "an integer of at least 0"),
        ({"kind": "LP", "doublings": 1}, "None for LP"),
        ({"kind": "homoclinic", "doublings": 1}, "0 for homoclinic"),
        (
            {"kind": "PD", "doublings": 1, "drive": qs.Sine(amplitude=1.0, period=30.0)},
            "0 for responses to a drive",
        ),
    ],
)
def test_doublings_that_are_not_followed_are_refused_in_one_line(options, words):
    through = "drive_period" if "drive" in options else "J"
    with pytest.raises(qs.ScanError) as error:
        qs.curve("qif", through=through, **options)
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("at", ["2", True, [None], np.timedelta64(2, "s"), [[1.0], [2.0, 3.0]], 2.0 + 0.0j])
def test_what_is_no_number_is_none_at_which_curves_begin(at):
    with pytest.raises(qs.ScanError, match=r"^at: found") as error:
        qs.curve("qif_gap", "period", through="tau", at=at, period=3.0)
    assert len(str(error.value).splitlines()) == 1
