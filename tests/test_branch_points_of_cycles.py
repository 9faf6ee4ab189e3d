"""Branches that begin at branch points of cycles, beside closed forms and long simulations."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.limit_cycles.branches import BEGINNINGS
from qifscan.limit_cycles.steps import CUTS
from qifscan.theory.codes import BPC, HB, LPC

HEAD = "import math\nfrom qifscan.models import POSITIVE, Model, Parameter, Variable\n"

CLOSED = (
    HEAD
    + """
def field(y, inputs, c):
    r, v, z = y
    x, w = r - 2.0, z * z
    grow, turn = c["eta"] - x * x - v * v, 1.0 + 0.2 * w
    along = (c["eta"] - 1.0) * (2.0 - c["eta"]) + c["skew"] * z + c["bend"] * w - w * w
    return x * grow - turn * v, v * grow + turn * x, z * along

closed = Model(
    name="closed",
    variables=tuple(
        Variable(name, "1", name, "1", bounds=bounds)
        for name, bounds in (("r", (0.2, 3.8)), ("v", (-2.0, 2.0)), ("z", (-2.0, 2.0)))
    ),
    parameters=(
        Parameter("eta", 0.5, "1", "squared radius of the cycle"),
        Parameter("skew", 0.0, "1", "what breaks the symmetry of z and -z"),
        Parameter("bend", -1.0, "1", "what bends the other branch"),
        Parameter("tau", 1.0, "ms", "unit of time", POSITIVE),
        Parameter("delta", 1.0, "1", "unit of where simulation begins", POSITIVE),
    ),
    constants=lambda p: {name: p[name] for name in ("eta", "skew", "bend")},
    field=field,
    squares=lambda y, c: tuple(u * u for u in y),
    rest=None,
    driven="v",
    meaning="a cycle of radius sqrt(eta) around r = 2, at z = 0 and where z has a fixed point",
    reference="Kuznetsov, Elements of Applied Bifurcation Theory, Springer 2004, section 7.4",
)
"""
)

PAIR = (
    HEAD
    + """
def field(y, inputs, c):
    slopes = []
    for k in (0, 3):
        r, v, s = y[k : k + 3]
        push = v * v + c["eta"] + inputs[k + 1] + c["J_same"] * s + c["J_other"] * y[5 - k]
        slopes += (c["source"] + 2.0 * r * v, push - (math.pi * r) ** 2, (r - s) * c["rate"])
    return tuple(slopes)

pair = Model(
    name="pair",
    variables=tuple(
        Variable(f"{name}_{a}", unit, name, unit, bounds=bounds)
        for a in "12"
        for name, unit, bounds in (("r", "kHz", (0.0, 1.5)), ("v", "1", (-2.0, 2.0)), ("s", "kHz", (0.0, 1)))
    ),
    parameters=(
        Parameter("eta", 1.0, "1", "centre of the excitabilities of both populations"),
        Parameter("J_same", -3.9, "1", "strength of the coupling within a population"),
        Parameter("J_other", -7.9, "1", "strength of the coupling between populations"),
        Parameter("tau_s", 0.44, "ms", "time constant of the synapses", POSITIVE),
        Parameter("tau", 1.0, "ms", "time constant of the membranes", POSITIVE),
        Parameter("delta", 0.09, "1", "half-width of the excitabilities", POSITIVE),
    ),
    constants=lambda p: {
        "eta": p["eta"],
        "J_same": p["J_same"],
        "J_other": p["J_other"],
        "source": p["delta"] / math.pi,
        "rate": 1.0 / p["tau_s"],
    },
    field=field,
    squares=lambda y, c: tuple(u * u for u in y),
    rest=None,
    driven="v_1",
    meaning="two equal inhibitory populations, each with a synaptic variable",
    reference="Dumont, Gutkin, PLoS Comput. Biol. 15, e1007019 (2019)",
)
"""
)


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    for name, text in (("crossing_closed", CLOSED), ("crossing_pair", PAIR)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)


@cache
def closed(**given):
    return qs.cycle_branches("crossing_closed:closed", "eta", points=40, switches=1, **given)


@cache
def pair():
    return qs.cycle_branches("crossing_pair:pair", "eta", within=(1.0, 1.5), points=60, switches=1)


def of(found, number):
    return found.isel(point=np.flatnonzero(found["branch"].values == number))


def begun_at_branch_points(found):
    return np.flatnonzero(found["start"].values == BEGINNINGS.index("branch_point")).tolist()


def growth(eta, z, skew=0.0, bend=-1.0):
    """What z grows with, and how that changes with z, times z."""
    along = (eta - 1.0) * (2.0 - eta) + skew * z + bend * z**2 - z**4
    return along, skew * z + 2.0 * bend * z**2 - 4.0 * z**4


def check_closed(rows, **given):
    """The cycle of a row is that of the closed form: its period, radius, where z rests, multipliers."""
    eta, z, period = (rows[name].values for name in ("eta", "z_mean", "period"))
    along, slope = growth(eta, z, **given)
    assert np.abs(z * along).max() < 1e-9
    np.testing.assert_allclose(period, 2.0 * np.pi / (1.0 + 0.2 * z**2), rtol=1e-9)
    np.testing.assert_allclose(rows["r_max"], 2.0 + np.sqrt(np.abs(eta)), rtol=1e-6)
    expected = np.stack([np.ones_like(eta), np.exp(-2.0 * eta * period), np.exp(slope * period)], axis=1)
    found = np.sort(rows["multiplier_real"].values, axis=1)
    np.testing.assert_allclose(found, np.sort(expected, axis=1), rtol=1e-5, atol=1e-7)


def test_the_branch_of_a_supercritical_pitchfork_is_stable_and_ends_in_the_other_pitchfork():
    found = closed(within=(-0.1, 2.2))
    primary = of(found, 0)
    at = primary["eta"].values[primary["type"].values == BPC]
    np.testing.assert_allclose(at, [1.0, 2.0], atol=1e-8)
    eta, inner = primary["eta"].values, primary["type"].values == 0
    assert (primary["stable"].values[inner] == ((eta < 1.0) | (eta > 2.0))[inner]).all()
    # From each of the pitchforks to the other: twice the same.
    assert begun_at_branch_points(found) == [1, 2]
    assert found["duplicate_of"].values.tolist() == [-1, -1, 1]
    for number in (1, 2):
        rows = of(found, number)
        assert CUTS[int(found["end"][number])] == "branch_point"
        assert rows["type"].values[[0, -1]].tolist() == [BPC, BPC]
        assert not rows["type"].values[1:-1].any()
        assert sorted(rows["eta"].values[[0, -1]]) == pytest.approx([1.0, 2.0], abs=1e-8)
        inside = rows.isel(point=slice(1, -1))
        check_closed(inside)
        assert inside["stable"].values.all()
        assert inside["z_mean"].values.max() == pytest.approx(np.sqrt(np.sqrt(0.5) - 0.5), rel=1e-2)


def test_the_branch_of_a_subcritical_pitchfork_is_unstable_until_its_fold():
    found = closed(within=(-0.1, 1.2), bend=1.0)
    rows = of(found, 1)
    assert len(begun_at_branch_points(found)) == 1
    assert rows["type"].values[0] == BPC
    check_closed(rows.isel(point=slice(1, None)), bend=1.0)
    fold = np.flatnonzero(rows["type"].values == LPC)
    # Where 2 z^2 = 1, and (eta - 1)(2 - eta) = -1/4.
    assert rows["eta"].values[fold] == pytest.approx([1.5 - np.sqrt(0.5)], abs=1e-8)
    assert rows["z_mean"].values[fold] == pytest.approx([np.sqrt(0.5)], abs=1e-4)
    assert not rows["stable"].values[: fold[0]].any()
    assert rows["stable"].values[fold[0] + 1 :].all()


def test_at_a_branch_point_without_symmetry_both_sides_are_followed_and_exchange_stability():
    found = closed(within=(-0.1, 1.2), skew=1.0)
    assert begun_at_branch_points(found) == [1, 2]
    sides = []
    for number in (1, 2):
        rows = of(found, number)
        check_closed(rows.isel(point=slice(1, None)), skew=1.0)
        beside = rows.isel(point=1)
        sides.append(np.sign(beside["z_mean"].item()))
        assert beside["stable"].item() == (beside["eta"].item() > 1.0)
        assert (beside["eta"].item() > 1.0) == (beside["z_mean"].item() < 0.0)
    assert sorted(sides) == [-1.0, 1.0]


def test_without_switches_no_branch_begins_at_a_branch_point():
    found = qs.cycle_branches("crossing_closed:closed", "eta", within=(-0.1, 1.2), points=20)
    assert begun_at_branch_points(found) == []
    assert (found["type"].values == BPC).sum() == 1


def slope(eta):
    """Both populations of the pair, with its defaults."""

    def field(t, y):
        changes = []
        for k in (0, 3):
            r, v, s = y[k : k + 3]
            push = v * v + eta - 3.9 * s - 7.9 * y[5 - k] - (np.pi * r) ** 2
            changes += (0.09 / np.pi + 2.0 * r * v, push, (r - s) / 0.44)
        return np.array(changes)

    return field


def test_unequal_cycles_of_two_equal_populations_are_where_a_long_simulation_goes():
    found = pair()
    number = begun_at_branch_points(found)[0]
    rows = of(found, number)
    stable = np.flatnonzero(rows["stable"].values & (rows["type"].values == 0))
    point = rows.isel(point=stable[len(stable) // 2])
    names = [f"{name}_{a}" for a in "12" for name in "rvs"]
    period = point["period"].item()
    begin = 1.01 * np.array([point[f"{name}_start"].item() for name in names])
    field = slope(point["eta"].item())
    end = solve_ivp(field, (0.0, 60.0 * period), begin, method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    last = solve_ivp(field, (0.0, period), end, method="DOP853", rtol=1e-12, atol=1e-14, dense_output=True)
    np.testing.assert_allclose(last.y[:, -1], end, rtol=1e-7, atol=1e-8)
    values = last.sol(np.linspace(0.0, period, 20_001))
    for k, name in enumerate(names):
        assert point[f"{name}_max"].item() == pytest.approx(values[k].max(), abs=1e-6)
        assert point[f"{name}_min"].item() == pytest.approx(values[k].min(), abs=1e-6)
    # One population fires more than the other.
    assert abs(values[0].max() - values[3].max()) > 0.05


def test_between_a_pitchfork_and_a_hopf_point_of_unequal_rates_is_one_branch_from_both_ends():
    found = pair()
    number = begun_at_branch_points(found)[0]
    rows = of(found, number)
    apart = np.abs(found["r_1_max"].values - found["r_2_max"].values)
    equal = [k for k in range(number) if (apart[found["branch"].values == k] < 1e-9).all()]
    assert len(equal) == 1
    primary = of(found, equal[0])
    at = primary.isel(point=np.flatnonzero(primary["type"].values == BPC))
    assert at.sizes["point"] == 1
    multipliers = np.sort(np.abs(at["multiplier_real"].values[0] - 1.0))
    assert multipliers[1] < 1e-6
    assert rows["type"].values[[0, -1]].tolist() == [BPC, HB]
    ends = [CUTS[int(found["end"][k])] for k in range(found.sizes["branches"])]
    from_hopf = [k for k, end in enumerate(ends) if end == "branch_point"]
    assert len(from_hopf) == 2
    for k in from_hopf:
        other = of(found, k)
        assert other["type"].values[[0, -1]].tolist() == [HB, BPC]
        assert other["eta"].values[-1] == pytest.approx(at["eta"].item(), abs=1e-12)
        assert other["eta"].values[0] == pytest.approx(rows["eta"].values[-1], abs=1e-8)
    # Two images of each other, and a part that is known to be one of these.
    duplicates = found["duplicate_of"].values
    assert (duplicates[number] in from_hopf) or number in duplicates[from_hopf]


def test_unequal_cycles_that_simulation_finds_end_at_the_pitchfork_that_no_other_branch_has_met():
    """Both populations fire more in one of two stable cycles, and both of their branches end in the fork."""
    found = qs.cycle_branches("crossing_pair:pair", "eta", at=1.15, within=(1.0, 1.5), points=30)
    ends = [CUTS[k] for k in found["end"].values]
    assert sorted(ends) == ["branch_point", "branch_point", "hopf_point", "hopf_point"]
    at = pair()["eta"].values[pair()["type"].values == BPC][0]
    for k, end in enumerate(ends):
        rows = of(found, k)
        if end == "branch_point":
            # The fold on the way, and none at the pitchfork.
            assert (rows["type"].values == LPC).sum() == 1
            assert 0.0 < rows["eta"].values[-1] - at < 0.01


@pytest.mark.thorough
def test_of_random_equal_pairs_no_multiplier_crosses_the_circle_between_points_that_are_told():
    """And every branch that begins at a branch point goes somewhere, with no fold at the pitchfork."""
    draw = np.random.default_rng(11)
    changes, crossings = 0, 0
    for _ in range(20):
        given = {"J_same": draw.uniform(-12.0, 6.0), "J_other": draw.uniform(-16.0, 6.0)}
        given |= {"tau_s": 10.0 ** draw.uniform(-0.5, 0.8), "delta": 10.0 ** draw.uniform(-1.3, 0.0)}
        found = qs.cycle_branches(
            "crossing_pair:pair", "eta", within=(-3.0, 10.0), points=60, switches=1, **given
        )
        at = found["eta"].values[found["type"].values == BPC]
        for number in range(found.sizes["branches"]):
            rows = of(found, number)
            kind, sure = rows["type"].values, rows["resolved"].values.astype(bool)
            mu = rows["multiplier_real"].values + 1j * rows["multiplier_imag"].values
            mu[np.arange(len(mu)), np.abs(mu - 1.0).argmin(axis=1)] = 0.0
            outside, points = (np.abs(mu) > 1.0).sum(axis=1), np.flatnonzero((kind == 0) & sure)
            for one, other in pairwise(points):
                if outside[one] != outside[other]:
                    assert kind[one + 1 : other].any()
                    changes, crossings = changes + 1, crossings + (BPC in kind[one + 1 : other])
            folds = rows["eta"].values[kind == LPC]
            assert not len(at) or (np.abs(folds[:, None] - at) > 1e-4).all()
        for number in begun_at_branch_points(found):
            assert CUTS[int(found["end"][number])] in ("within", "points", "hopf_point", "branch_point")
            assert len(of(found, number)["eta"]) > 5
    assert changes > 10
    assert crossings > 3


def test_with_a_delay_switches_are_refused_in_one_line():
    with pytest.raises(qs.ScanError) as error:
        qs.cycle_branches("qif_delay", switches=1)
    assert str(error.value).count("\n") == 0
    assert 'switches: found 1, expected 0 for "qif_delay"' in str(error.value)
