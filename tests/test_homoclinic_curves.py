"""Curves of homoclinic orbits in two parameters, and where they begin and end."""

import math
from functools import cache

import numpy as np
import pytest

import qifscan as qs
from qifscan.cycle_curves.curve_bifurcations import CUTS
from qifscan.limit_cycles.homoclinic_columns import BY

from .test_homoclinic_orbits import meeting

GAST = {"delta": 2.0, "J": 15.0 * math.sqrt(2.0)}


@cache
def gap():
    """Of gap junctions, from the Bogdanov-Takens point of the plane."""
    return qs.curve("qif_gap", "homoclinic", through="g", points=50)


@pytest.mark.parametrize("g", [1.05, 0.74, 0.8275, 0.83])
def test_on_the_curve_both_manifolds_of_the_saddle_meet(g):
    found = gap()
    point = found.isel(point=np.abs(found["g"].values - g).argmin())
    other, at = point["g"].item(), point["homoclinic"].item()
    exact = meeting(at, g=other)
    assert abs(exact - at) < point["homoclinic_error"].item() + 1e-12
    assert point["homoclinic_error"] < 1e-10
    assert BY[point["homoclinic_by"].item()] == "projection"
    if 0.82 < g < 0.831:
        # Beside a saddle that is about to meet a node cycles of a long period alone are less sure.
        assert abs(point["homoclinic_difference"].item()) > 1e-8


def test_the_curve_begins_at_the_bogdanov_takens_point_and_ends_where_the_saddle_meets_a_node():
    found = gap()
    cuts = {CUTS[found[side].values[0]]: row for side, row in (("start", 0), ("end", -1))}
    assert set(cuts) == {"no_amplitude", "saddle_node"}
    takens = qs.special_points("qif_gap", ("eta", "g"))
    takens = takens.isel(point=takens["type"].values == -21)
    near = found.isel(point=cuts["no_amplitude"])
    assert near["g"].item() == pytest.approx(takens["g"].item(), rel=0.01)
    assert near["eta"].item() == pytest.approx(takens["eta"].item(), rel=0.01)
    folds = qs.special_points("qif_gap", g=found["g"].values[cuts["saddle_node"]])
    assert np.abs(folds["eta"] - found["eta"].values[cuts["saddle_node"]]).min() < 1e-2


def test_beside_the_bogdanov_takens_point_it_is_as_far_from_the_hopf_curve_as_the_normal_form_says():
    """With beta_1 = x'' - ..., beta_2 x' the Hopf curve is beta_1 = 0, the homoclinic one -6/25 beta_2^2, the
    folds 1/4 beta_2^2 [Kuznetsov 2004, 8.4]: along eta the ratio of their distances is 24/25 in the limit."""
    found = gap()
    takens = qs.special_points("qif_gap", ("eta", "g"))["g"].values[0]
    ratio = []
    for k in np.argsort(np.abs(found["g"].values - takens))[[0, 3]].tolist():
        point = found.isel(point=k)
        special = qs.special_points("qif_gap", g=point["g"].item())
        at = point["homoclinic"].item()
        hopf, fold = (special["eta"].values[special["type"].values == code] for code in (3, 2))
        hopf, fold = (values[np.abs(values - at).argmin()] for values in (hopf, fold))
        ratio.append((at - hopf) / (hopf - fold))
    assert ratio[0] == pytest.approx(0.96, abs=0.03)
    assert abs(ratio[0] - 0.96) < abs(ratio[1] - 0.96)


@pytest.mark.thorough
def test_the_curve_goes_through_the_homoclinic_orbit_that_a_branch_comes_to():
    """That of the depressed population, by the bisection with DOP853 of tests/test_cycles.py."""
    options = {"through": "alpha", "at": 0.05, "between": (-5.75, -5.6), "points": 2}
    found = qs.curve("qif_depression_alpha", "homoclinic", **options, **GAST)
    here = found.isel(point=np.abs(found["alpha"].values - 0.05).argmin())
    assert here["homoclinic"].item() == pytest.approx(-5.672729947111515, abs=1e-13)
    assert here["saddle_quantity"] > 0.0
    assert not here["stable"]


def test_a_response_to_a_sine_has_no_curve_of_homoclinic_orbits():
    with pytest.raises(qs.ScanError, match="LPC, PD or NS with a drive"):
        qs.curve("qif", "homoclinic", through="drive_period", drive=qs.Sine(amplitude=1.0, period=30.0))
