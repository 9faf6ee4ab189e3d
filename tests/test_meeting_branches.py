"""Branches of cycles that meet others of their slice, and what else is not computed twice."""

import numpy as np
import pytest

from qifscan.limit_cycles.branch_bifurcations import OnBranches
from qifscan.limit_cycles.meeting import Fronts, completed
from qifscan.limit_cycles.steps import BY_HOPF, BY_PERIOD, BY_POINTS, Extent
from qifscan.periodic_orbits.elimination import eliminated
from qifscan.periodic_orbits.gauss import MATRIX
from qifscan.theory.codes import LPC, POINT


def rows_of(number, periods):
    """Rows of a branch: cycles in order."""
    count = len(periods)
    return {
        "number": np.full(count, number),
        "order": np.arange(1.0, count + 1.0),
        "type": np.full(count, POINT),
        "period": np.array(periods, dtype=float),
    }


@pytest.mark.parametrize(
    ("longest", "most", "end", "periods"),
    [
        (100.0, 50, BY_HOPF, [1.0, 2.0, 3.0, 5.5, 6.0, 9.0, 5.0, 4.0]),
        (100.0, 5, BY_POINTS, [1.0, 2.0, 3.0, 5.5, 6.0, 9.0]),
        (8.0, 50, BY_PERIOD, [1.0, 2.0, 3.0, 5.5, 6.0, 9.0]),
        (8.0, 5, BY_PERIOD, [1.0, 2.0, 3.0, 5.5, 6.0, 9.0]),
        (8.0, 4, BY_POINTS, [1.0, 2.0, 3.0, 5.5, 6.0]),
    ],
)
def test_a_branch_that_has_met_another_one_ends_where_it_would_alone(longest, most, end, periods):
    """With three cycles of its own, a fold on the step to where they meet, and four of the other one."""
    fold = {"number": [0], "order": [3.5], "type": [LPC], "period": [5.5]}
    rows = [rows_of(0, [1, 2, 3]), {n: np.array(v) for n, v in fold.items()}, rows_of(1, [4, 5, 9, 6])]
    too_long = {(0, 1): np.array([[9.0]])} if longest < 9.0 else {}
    limits = np.array([longest, 100.0])
    none = np.empty((2, 1))
    fronts = Fronts(
        np.array([[0, 1], [1, 0]]),
        limits,
        none,
        none,
        np.array([1, 0]),
        np.array([3, 4]),
        np.zeros(2, dtype=bool),
        too_long,
    )
    cut, ends = np.array([BY_HOPF, BY_HOPF]), {}
    found = completed(rows, fronts, most, cut, ends)
    whole = {name: np.concatenate([row[name] for row in found]) for name in rows[0]}
    own = np.flatnonzero(whole["number"] == 0)
    own = own[np.argsort(whole["order"][own])]
    assert whole["period"][own].tolist() == periods
    assert cut[0] == end
    assert (0 in ends) == (end == BY_PERIOD)
    # Seen from the other one the fold comes after its own four.
    other = whole["type"] == LPC
    assert whole["order"][other & (whole["number"] == 1)].tolist() in ([4.5], [])


def test_two_real_multipliers_with_the_product_1_are_not_looked_at_and_a_pair_on_the_circle_is():
    """Rows: slope, doubling, torus, branch point, how many multipliers are outside of the circle, NaN: not
    sure; and the largest, which tells no bifurcation."""
    rules = OnBranches(Extent(-1.0, 1.0, 10, 1.0), np.array([10.0]))
    before = np.array([1.0, 1.0, -1.0, 1.0, 2.0, 3.0])
    cases = {
        (1.0, 1.0, 1.0, 1.0, 2.0): [False, False, False, False],
        (1.0, 1.0, 1.0, 1.0, 0.0): [False, False, True, False],
        (1.0, 1.0, 1.0, 1.0, np.nan): [False, False, True, False],
        # With a fold on the same step the number may have changed back.
        (-1.0, 1.0, 1.0, 1.0, 2.0): [True, False, True, False],
        (1.0, -1.0, -1.0, 1.0, 1.0): [False, True, False, False],
        (1.0, 1.0, -1.0, -1.0, 1.0): [False, False, False, True],
    }
    for after, expected in cases.items():
        assert rules.changed(before[None], np.array([[*after, 3.0]]))[0].tolist() == expected


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_stages_of_orbits_with_directions_are_eliminated_as_by_one_dense_system(copies):
    draw = np.random.default_rng(copies)
    count, n, wide = 5, 3, 4
    size = n * (1 + copies)
    own = draw.normal(size=(count, 4, n, n))
    jacobian = np.zeros((count, 4, size, size))
    for k in range(1 + copies):
        part = slice(k * n, (k + 1) * n)
        jacobian[:, :, part, part] = own
        if k:
            jacobian[:, :, part, :n] = draw.normal(size=(count, 4, n, n))
    time, rest = draw.uniform(0.1, 1.0, count), draw.normal(size=(count, 4, size, wide))
    found = eliminated(jacobian, time, rest, n)
    for k in range(count):
        whole = np.eye(4 * size)
        for i in range(4):
            for j in range(4):
                block = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
                whole[block] -= time[k] * MATRIX[i, j] * jacobian[k, j]
        right = np.concatenate((np.tile(np.eye(size), (4, 1)), rest[k].reshape(4 * size, wide)), axis=1)
        expected = np.linalg.solve(whole, right).reshape(4, size, size + wide)
        np.testing.assert_allclose(found[k], expected, rtol=0.0, atol=1e-11)
