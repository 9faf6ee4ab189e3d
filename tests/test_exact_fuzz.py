"""The theory beside exact algebra on random slices: a short form of `make exact`, and cases once missed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import qifscan as qs

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "exact.py"


def loaded():
    spec = importlib.util.spec_from_file_location("exact_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.flint.ctx.prec = module.BITS
    return module


exact = loaded()
MODELS = list(exact.MODELS)

# Places from a search with its own characteristic polynomials in extended precision, by another author.
KNOWN = [
    (
        "qif_depression_alpha",
        "eta",
        {"tau": 1.0, "delta": 1.0, "J": 10.13, "alpha": 0.006, "tau_a": 102.0},
        "HB",
        0.225205857649,
        -1.96578184005,
    ),
    (
        "qif_adaptation_alpha",
        "eta",
        {"tau": 1.0, "delta": 1.0, "J": 8.4757, "alpha": 0.003034, "tau_a": 42.2},
        "HB",
        0.384641857,
        -1.92186903922,
    ),
    (
        "qif_adaptation_alpha",
        "eta",
        {"tau": 1.0, "delta": 1.0, "J": 15 * 2**0.5, "alpha": 1.0, "tau_a": 1.0},
        "HB",
        1.118878,
        -10.28070,
    ),
    ("qif_gap", "eta", {"tau": 1.0, "delta": 1.0, "J": 20.0, "g": 1.0}, "LP", 0.121226, -2.94025),
]


@pytest.mark.parametrize(("model", "along", "given", "kind", "r", "value"), KNOWN)
def test_the_algebra_and_the_theory_find_known_points(model, along, given, kind, r, value):
    """Places as given, to their digits, in both."""
    for points in (
        exact.Algebra.of(model, along, given).special(),
        exact.points_of(qs.special_points(model, along=along, **given), 1, along)[0],
    ):
        assert any(
            p.type == kind and p.r == pytest.approx(r, rel=1e-5) and p.value == pytest.approx(value, rel=1e-6)
            for p in points
        )


def test_the_algebra_and_the_theory_find_every_known_hopf_point_along_tau_a():
    given = {"tau": 1.2, "eta": -2.0, "delta": 0.27, "J": 33.0, "alpha": 4.6}
    ours = qs.special_points("qif_adaptation_alpha", along="tau_a", **given)
    assert bool(ours["certified"])
    for found in (
        exact.Algebra.of("qif_adaptation_alpha", "tau_a", given).special(),
        exact.points_of(ours, 1, "tau_a")[0],
    ):
        small, middle, large = sorted(p.value for p in found if p.type == "HB")
        assert 0.0403 < small < 0.0533
        assert 0.123 < middle < 0.163
        assert large == pytest.approx(3.766, abs=1e-3)


PAIR = {
    **{"tau_e": 3.0, "eta_e": -1.2, "delta_e": 0.55, "tau_i": 4.0, "delta_i": 0.66},
    **{"J_ee": 48.0, "J_ei": -26.0, "J_ie": -28.0, "J_ii": -8.0},
}


def test_the_algebra_and_the_theory_find_the_known_equilibria_of_the_pair():
    given = PAIR | {"eta_i": 179.116}
    algebra = exact.Algebra.of("qif_pair", "eta_i", given)
    found = algebra.equilibria()
    assert len(found) == 5
    assert [float(x) * algebra.unit for x in found[3:]] == pytest.approx([1.574558, 1.596009], abs=1e-5)
    assert [algebra.stable(x) for x in found] == [True, False, True, False, True]
    ours = qs.equilibria("qif_pair", distances=True, **given)
    assert ours["r_e"].values == pytest.approx([float(x) * algebra.unit for x in found], rel=1e-12)
    assert ours["stable"].values.tolist() == [True, False, True, False, True]
    assert bool(ours["certified"])
    folds = qs.special_points("qif_pair", along="eta_i", **PAIR)
    near = sorted(float(x) for x, kind in zip(folds["eta_i"], folds["type"], strict=True) if kind == 2)[:4]
    assert {178.983, 179.249} <= {round(x, 3) for x in near}


@pytest.mark.parametrize(
    ("delta_i", "eta_i"), [(1e-6, -100.0), (1e-9, -1e4), (1e-12, -1e4), (1e-13, 179.116), (1e-14, -10.0)]
)
def test_an_equilibrium_beside_the_wall_of_the_pair_keeps_all_its_digits(delta_i, eta_i):
    """There r_e is where r_i is 0, and v_i^2 = -(eta_i + J_ie tau_i r_e) but for terms with r_i."""
    given = PAIR | {"delta_i": delta_i, "eta_i": eta_i}
    algebra = exact.Algebra.of("qif_pair", "eta_i", given)
    found = qs.equilibria("qif_pair", **given)
    assert int(found["count"]) == len(algebra.equilibria())
    wall = max(float(x) for x in exact.wall_rates(algebra)) * algebra.unit
    last = int(found["count"]) - 1
    r_e, r_i, v_i = (float(found[name][last]) for name in ("r_e", "r_i", "v_i"))
    assert r_e == pytest.approx(wall, rel=1e-8)
    v = -((-eta_i - PAIR["J_ie"] * PAIR["tau_i"] * wall) ** 0.5)
    assert v_i == pytest.approx(v, rel=1e-6)
    assert r_i == pytest.approx(-delta_i / (2.0 * np.pi * PAIR["tau_i"] * v_i), rel=1e-13)
    push = PAIR["tau_i"] * (PAIR["J_ie"] * r_e + PAIR["J_ii"] * r_i)
    assert v_i**2 + eta_i + push - (np.pi * PAIR["tau_i"] * r_i) ** 2 == pytest.approx(0, abs=1e-12 * v_i**2)
    assert bool(found["stable"][last]) == algebra.stable(algebra.equilibria()[last])


@pytest.mark.parametrize("delta_i", [1e-2, 1e-5, 1e-8, 1e-12])
def test_a_fold_beside_the_wall_of_the_pair_is_right_or_flagged(delta_i):
    given = PAIR | {"delta_i": delta_i}
    algebra = exact.Algebra.of("qif_pair", "eta_i", given)
    wanted = [point for point in algebra.special() if point.type == "LP"]
    found = qs.special_points("qif_pair", along="eta_i", **given)
    folds = found.isel(point=found["type"].values == exact.CODES["LP"])
    assert folds["r_e"].values == pytest.approx([point.r for point in wanted], rel=1e-14)
    assert folds["eta_i"].values == pytest.approx([point.value for point in wanted], rel=1e-12)
    fold = exact.without_common(exact.in_p(algebra.spectrum[-1])[0], algebra)
    rates = [x for x in exact.positive_roots(fold) if algebra.allowed(x, None)]
    exactly = np.array([float(algebra.inhibitory(x, None)) for x in rates])
    right = np.abs(folds["r_i"].values / exactly - 1.0) < 1e-8
    assert (right | ~folds["converged"].values).all()
    assert right[:3].all()


def test_the_gap_junctions_have_their_points_in_the_plane_of_their_strength():
    given = {"J": 20.0, "delta": 1.0, "tau": 1.0}
    found = qs.special_points("qif_gap", along=("eta", "g"), **given)
    assert (int(found["status"]), bool(found["certified"])) == (0, True)
    assert found["type"].values.tolist() == [exact.CODES["BT"]]
    assert found["g"].item() == pytest.approx(0.626803140258, rel=1e-12)
    assert found["eta"].item() == pytest.approx(-10.1566142777, rel=1e-11)
    folds = qs.special_points("qif_gap", g=1.0, **given)
    values = sorted(folds["eta"].values[folds["type"].values == exact.CODES["LP"]])
    assert values == pytest.approx([-10.24999, -2.94025], abs=1e-5)
    qs.curve("qif_gap", kind="LP", through="g", **given)


@pytest.mark.parametrize(
    ("given", "r", "alpha"),
    [
        (
            (0.4286403004659396, 0.13319276445478445, 9.886852346737712, 46.45074852065139),
            1.16760757,
            1.8893202e-4,
        ),
        (
            (4.579812033657316, 0.5752675504192784, 30.343825970882726, 229.07317053243247),
            0.33560008,
            3.2032150e-4,
        ),
    ],
)
def test_a_generalised_hopf_point_on_the_chord_next_to_a_bogdanov_takens_point_is_found(given, r, alpha):
    """There l1 has a pole, and falls by ten powers of ten along one chord; values from exact algebra."""
    named = dict(zip(("tau", "delta", "J", "tau_a"), given, strict=True))
    found = qs.special_points("qif_adaptation_exponential", along=("eta", "alpha"), **named)
    points = found.isel(point=found["type"].values == exact.CODES["GH"]).sortby("alpha")
    assert points.sizes["point"] == 2
    assert [float(points[name][0]) for name in ("r", "alpha")] == pytest.approx([r, alpha], rel=1e-7)


def test_the_plain_model_has_no_bogdanov_takens_points():
    """Its c_1 is delta/(pi tau r) times a number, above 0 wherever it rests."""
    J = np.geomspace(1e-4, 1e4, 33)
    found = qs.special_points("qif", along=("eta", "delta"), J=J)
    assert set(found["type"].values.tolist()) <= {exact.CODES["CP"]}
    assert found["converged"].all()
    assert found["certified"].all()


@pytest.mark.parametrize("kernel", ["alpha", "exponential"])
def test_without_adaptation_a_double_neutral_saddle_is_one(kernel):
    """At alpha = 0 the adaptation's own eigenvalue -1/tau_a meets the saddle's 1/tau_a at two rates."""
    given = {"alpha": 0.0, "tau_a": 2.0, "J": 15.0, "delta": 1.0, "tau": 1.0}
    found = qs.special_points(f"qif_adaptation_{kernel}", **given)
    assert found["type"].values.tolist() == [2, 30, 30, 2]
    for r in found["r"].values[1:3]:
        v = -1.0 / (2.0 * np.pi * r)
        assert 2.0 * v + (2.0 * r * (15.0 - 2.0 * np.pi**2 * r)) ** 0.5 == pytest.approx(0.5, abs=1e-12)
    assert bool(found["certified"])


EXTREME = [
    (
        "qif_adaptation_alpha",
        "delta",
        (0.8264347495847618, None, 1.534510451231131, 0.28231575329963854, 32.00283907674029),
        5975.348785783414,
    ),
    (
        "qif_adaptation_alpha",
        "delta",
        (0.5559920679549506, None, 1.2846494209342654, 0.0002669643293652982, 690.4736431783579),
        3453.5612674716135,
    ),
    (
        "qif_adaptation_alpha",
        "J",
        (2.8358583002322533, 0.012295581528157159, None, 7.150236585006073, 0.30237251389934494),
        2002.3394289528892,
    ),
    (
        "qif_depression_alpha",
        "J",
        (4.535196350777954, 0.315057900343522, None, 0.005161468191277631, 18.815209070911806),
        -5.070996115118499,
    ),
    (
        "qif_depression_exponential",
        "J",
        (0.5754463970543793, 0.20089249442629337, None, 6.37850294413084, 161.64763319026196),
        -114.51611986341305,
    ),
    (
        "qif_depression_exponential",
        "delta",
        (4.110664407074343, None, 1.4865016815437375, 0.0002887437408084574, 821.1287924112448),
        569532327297.6436,
    ),
    (
        "qif_depression_exponential",
        "tau_a",
        (1.3236533570167879, 0.9449791146663706, 2.638996215103692, 0.00045356963368398963, None),
        971616912.0630136,
    ),
]
"""Slices with places at delta 1e-15, eta 1e11, J 1e12, which one of the two equations loses in rounding."""


@pytest.mark.parametrize(("model", "along", "values", "eta"), EXTREME)
def test_extreme_places_are_those_of_exact_algebra(model, along, values, eta):
    names = ("tau", "delta", "J", "alpha", "tau_a")
    given = {n: x for n, x in zip(names, values, strict=True) if x is not None} | {"eta": eta}
    found = qs.special_points(model, along=along, **given)
    assert bool(found["certified"])
    tally = exact.Tally("special", model, along)
    (have,) = exact.points_of(found, 1, along)
    exact.compare(tally, lambda one: exact.Algebra.of(model, along, one).special(), given, have, "")
    assert tally.failures == []
    assert tally.found > 0


# Of pairs with synapses a slice takes seconds: `make exact` has them.
SOON = [name for name in MODELS if exact.MODELS[name].order <= 4]
LONGER = ("qif_conductance", "qif_depression_alpha", "qif_izhikevich")


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.thorough) if name in LONGER else name
        for name in SOON
        if name not in ("qif_pair", "qif_bimodal")
    ],
)
def test_special_points_of_random_slices_are_those_of_exact_algebra(model):
    """Four slices along every parameter, some next to where two points appear: count, type and place."""
    alongs = exact.alongs(model)
    # Of many parameters, three: make exact has the others.
    for along in alongs if len(alongs) <= 6 else alongs[:3]:
        assert exact.special_claim(model, along, 4, 0).failures == []


OF_THE_PAIR = ("eta_i", "delta_i", "J_ie", "J_ii")


def test_all_parameters_of_the_pair_are_tried_that_have_a_graph():
    # It takes too long for every process that lists the tests.
    assert set(exact.alongs("qif_pair")) == set(OF_THE_PAIR)


@pytest.mark.parametrize("along", OF_THE_PAIR)
def test_special_points_of_the_pair_are_those_of_exact_algebra(along):
    assert exact.special_claim("qif_pair", along, 2, 0).failures == []


@pytest.mark.parametrize("model", SOON)
def test_equilibria_beside_special_points_are_those_of_exact_algebra(model):
    """Number, place, stability and the distances to the next fold and Hopf point."""
    graph = exact.MODELS[model].graph
    assert exact.equilibria_claim(model, graph, 4 if model == "qif_pair" else 8, 0).failures == []


PLANES = [
    *(("qif_gap", name) for name in ("delta", "J", "g")),
    *(("qif", "delta"), ("qif_synapse", "J"), ("qif_plasticity", "delta")),
    *(("qif_adaptation_exponential", "tau_a"), ("qif_depression_alpha", "alpha")),
]


@pytest.mark.parametrize(("model", "along"), PLANES)
def test_cusps_and_bogdanov_takens_points_are_those_of_exact_algebra(model, along):
    assert exact.plane_claim(model, along, 1, 0).failures == []


BRANCHED = [
    ("qif_adaptation_alpha", "tau_a", {"tau": 1.2, "eta": -2.0, "delta": 0.27, "J": 33.0, "alpha": 4.6}),
    ("qif_depression_alpha", "eta", {"J": 10.13, "alpha": 0.006, "tau_a": 102.0}),
    ("qif_adaptation_alpha", "eta", {"J": 8.4757, "alpha": 0.003034, "tau_a": 42.2}),
    ("qif_plasticity", "eta", {"J": 60.0}),
    ("qif_pair", "eta_i", PAIR),
    ("qif_pair", "J_ie", {n: x for n, x in PAIR.items() if n != "J_ie"} | {"eta_i": 10.0}),
]


@pytest.mark.parametrize(("model", "along", "given"), BRANCHED)
def test_stability_along_a_branch_changes_at_its_special_points_alone(model, along, given):
    branch = qs.branch(model, along=along, **given)
    assert bool(branch["certified"])
    between = np.diff(branch["piece"].values) == 0
    special = branch["type"].values != 0
    between &= ~special[1:] & ~special[:-1]
    assert (np.diff(branch["unstable_dimensions"].values)[between] == 0).all()
    points = qs.special_points(model, along=along, **given)
    assert np.bincount(branch["type"].values[special]).tolist() == np.bincount(points["type"]).tolist()
