"""Curves whose directions meet before either is back at the beginning."""

import numpy as np
import pytest

import qifscan as qs
from qifscan.cycle_curves import closing
from qifscan.cycle_curves.curve_bifurcations import BY_FAILURE, BY_POINTS, BY_RETURN, CUTS
from qifscan.theory import codes


def followed(at, forth, back, ends=(BY_POINTS, BY_POINTS)):
    """A curve, where it is at a number, as both directions from the beginning leave it."""
    order = np.arange(-back, forth + 1)
    place = np.array([at(0.1 * k) for k in order])
    row = {"order": order.astype(float), "value": place[:, 0], "second": place[:, 1]}
    row["period"] = np.exp(place[:, 2])
    rows, found = closing.joined([row], np.array([ends]))
    return np.sort(np.concatenate([r["order"] for r in rows])), found


def circle(s):
    return np.sin(s), np.cos(s), 0.2 * np.sin(s + 0.5)


@pytest.mark.parametrize(("forth", "back"), [(40, 30), (62, 40), (33, 61), (60, 60)])
def test_a_curve_is_closed_whose_directions_meet(forth, back):
    order, ends = followed(circle, forth, back)
    assert (ends == BY_RETURN).all()
    assert order[-1] == forth
    # Once around, each point once: 63 steps are a turn.
    assert 61 <= order[-1] - order[0] <= 63


@pytest.mark.parametrize(
    ("at", "ends"),
    [
        # Both directions have not come to each other.
        (lambda s: circle(0.5 * s), (BY_POINTS, BY_POINTS)),
        # One was ended by something else.
        (circle, (BY_FAILURE, BY_POINTS)),
        # Both come to one place the same way, as to a cusp.
        (lambda s: (s**2, s**3, 0.0) if abs(s) < 2.0 else (4.0 + 1e-9 * abs(s), 0.0, 0.0), None),
        # They cross with another period.
        (lambda s: (np.sin(s), np.cos(s), 0.3 * s), None),
        # They cross at a right angle.
        (lambda s: (np.sin(0.5 * s), np.sin(s), 0.0), None),
    ],
)
def test_a_curve_is_not_closed_where_directions_are_not_each_other(at, ends):
    order, found = followed(at, 40, 40, ends or (BY_POINTS, BY_POINTS))
    assert not (found == BY_RETURN).any()
    assert len(order) == 81


@pytest.mark.thorough
def test_folds_of_the_pair_with_synapses_are_closed_from_few_points_on_each_side():
    """51 points, from eps = 18; the published AUTO project has the same curve, closed."""
    options = {"along": "eta_e", "through": "eps", "at": 18.0, "between": (-6.0, 40.0)}
    found = qs.curve("qif_pair_synapse", "LPC", points=40, **options)
    assert {CUTS[k] for k in [*found["start"].values, *found["end"].values]} == {"closed"}
    assert (found["type"].values == codes.CPC).sum() == 2
