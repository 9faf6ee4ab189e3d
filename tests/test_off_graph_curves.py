"""Curves of folds and Hopf points of models without a graph, beside exact ones, closed forms and NumPy."""

import numpy as np
import pytest

import qifscan as qs
from qifscan.theory.branches import CUTS

from .test_arclength import jacobian, memory
from .test_no_graph import own  # noqa: F401

CODES = {"LP": 2, "HB": 3}

RING = """
from dataclasses import replace
from qifscan.models import Parameter, QIF, neuron_constants, population

def constants(p):
    shifted = p["eta"] - p["x"] * p["x"] - p["y"] * p["y"]
    return neuron_constants(p) | {"coupling": p["J"] * p["tau"], "eta": shifted}

r, v = population()
ring = replace(
    QIF,
    name="ring",
    variables=(r, replace(v, absorbed=None)),
    parameters=(*QIF.parameters, Parameter("x", 0.0, "1", "first"), Parameter("y", 0.0, "1", "second")),
    constants=constants,
    rest=None,
    plain=False,
    meaning="tau v' = v^2 + eta - x^2 - y^2 + J tau r - (pi tau r)^2 + I",
)
"""


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.thorough)


GAST = {"delta": 2.0, "J": 15.0 * np.sqrt(2.0)}


@pytest.mark.parametrize(
    ("name", "kind", "through", "within", "given"),
    [
        ("qif", "LP", "J", (2.0, 30.0), {}),
        ("qif_gap", "LP", "g", (0.5, 3.0), {}),
        ("qif_gap", "HB", "g", (0.5, 3.0), {}),
        slow("qif_adaptation_alpha", "LP", "alpha", (0.01, 1.75), GAST),
        slow("qif_adaptation_alpha", "HB", "alpha", (0.01, 1.75), GAST),
        slow("qif_depression_alpha", "LP", "alpha", (0.01, 0.2), GAST),
        slow("qif_depression_alpha", "HB", "alpha", (0.01, 0.2), GAST),
        slow("qif_synapse", "LP", "J", (5.0, 30.0), {"delta": 0.3}),
        slow("qif_synapse", "HB", "J", (-30.0, -5.0), {"delta": 0.3, "between": (-12.0, 60.0)}),
        slow("qif_conductance", "LP", "g", (0.5, 20.0), {"between": (-30.0, 5.0)}),
        ("qif_pair", "HB", "J_ie", (3.0, 20.0), {}),
        slow("qif_pair", "LP", "J_ie", (3.0, 20.0), {}),
        slow("qif_pair_synapse", "HB", "eps", (0.5, 20.0), {"between": (-80.0, -10.0)}),
    ],
)
def test_with_the_graph_hidden_curves_are_those_of_the_graph(name, kind, through, within, given):
    """Every point is a fold or Hopf point of the graph, at any value there are as many, and the points of
    codimension two are the same."""
    given = {"between": (-12.0, 12.0)} | given
    along, between = "eta_i" if "pair" in name else "eta", given.pop("between")
    found = qs.curve(
        f"own_models:{name}", kind, along, through, between=between, within=within, points=30, **given
    )
    assert found["converged"].all()
    assert not found["certified"]
    p, q = found[along].values, found[through].values
    rng = np.random.default_rng(5)
    some = rng.choice(np.flatnonzero(found["type"].values == 0), 12, replace=False)
    exact = qs.special_points(name, along, **{through: q[some]}, **given)
    for k, number in enumerate(some):
        here = (exact["slice"].values == k) & (exact["type"].values == CODES[kind])
        np.testing.assert_allclose(np.abs(exact[along].values[here] - p[number]).min(), 0.0, atol=1e-8)
    # At any value of the second parameter there are as many as the graph has.
    at = rng.uniform(*within, 25)
    exact = qs.special_points(name, along, within=between, **{through: at}, **given)
    together = np.diff(found["piece"].values) == 0
    for k, value in enumerate(at):
        crossed = together & ((q[1:] - value) * (q[:-1] - value) < 0.0)
        assert crossed.sum() == ((exact["slice"] == k) & (exact["type"] == CODES[kind])).sum()
    two = qs.curve(name, kind, along, through, within=within, **given)
    inside = (two["type"] != 0) & (two[along] > between[0]) & (two[along] < between[1])
    expected = two.isel(point=np.flatnonzero(inside)).sortby(through)
    special = found.isel(point=np.flatnonzero(found["type"].values != 0)).sortby(through)
    np.testing.assert_array_equal(special["type"], expected["type"])
    for column in (along, through):
        np.testing.assert_allclose(special[column], expected[column], rtol=1e-7, atol=1e-9)


def test_a_curve_of_folds_that_closes_is_the_circle_that_it_is_in_closed_form(tmp_path, monkeypatch):
    """eta - x^2 - y^2 is at a fold of the plain model: two circles."""
    (tmp_path / "ring_model.py").write_text(RING)
    monkeypatch.syspath_prepend(tmp_path)
    ranges = {"between": (-2.5, 2.5), "within": (-2.5, 2.5)}
    found = qs.curve("ring_model:ring", "LP", "x", "y", eta=-2.0, J=15.0, points=30, **ranges)
    assert [CUTS[k] for k in (*found["start"].values, *found["end"].values)] == ["closed"] * 4
    radius = np.sqrt(-2.0 - np.sort(qs.folds(J=15.0)["eta"].values))
    sizes = np.hypot(found["x"].values, found["y"].values)
    circles = sorted((sizes[found["piece"].values == k] for k in range(2)), key=np.mean, reverse=True)
    for circle, size in zip(circles, radius, strict=True):
        np.testing.assert_allclose(circle, size, rtol=1e-9)
    assert not found["type"].any()
    # Cut off by a range, a circle is an arc between points on the end of the range.
    part = qs.curve(
        "ring_model:ring", "LP", "x", "y", eta=-3.5, J=15.0, between=(-1.0, 5.0), within=(-5.0, 5.0)
    )
    assert [CUTS[part[side].values[0]] for side in ("start", "end")] == ["within", "within"]
    np.testing.assert_array_equal(part["x"].values[[0, -1]], -1.0)
    np.testing.assert_allclose(np.hypot(part["x"], part["y"]), np.sqrt(-3.5 - qs.folds(J=15.0)["eta"].min()))


def test_folds_in_parameters_of_which_none_is_additive_are_those_of_the_plain_model():
    """eta (1 + k tau r) + J tau r with k = 0.5: the coupling at the folds of eta is J + 0.5 eta."""
    found = qs.curve(
        "own_models:gained", "LP", "eta", "J", between=(-10.0, 0.0), within=(6.0, 30.0), points=30
    )
    eta, coupling = found["eta"].values, found["J"].values + 0.5 * found["eta"].values
    there = coupling > 7.9
    folds = qs.folds(J=coupling[there])["eta"].values
    np.testing.assert_allclose(np.abs(folds - eta[there, None]).min(axis=1), 0.0, atol=1e-8)
    cusp = qs.cusp()
    mark = found.isel(point=np.flatnonzero(found["type"].values == -22))
    np.testing.assert_allclose(mark["eta"], cusp["eta"], rtol=1e-9)
    np.testing.assert_allclose(mark["J"] + 0.5 * mark["eta"], cusp["J"], rtol=1e-9)


@pytest.mark.thorough
def test_on_curves_of_pseudo_cumulants_numpys_eigenvalues_are_critical():
    """Of the equations in complex numbers, and at a Bogdanov-Takens point both of two."""

    def field(y, eta, sigma):
        r, v, a, b, e, f = y
        first, second, third = np.pi * r - 1j * v, a + 1j * b, e + 1j * f
        slopes = (
            0.02 - 1j * (eta + 15.0 * r) + 1j * (first**2 - second),
            2.0 * sigma**2 + 4j * (first * second - third),
            3j * (2.0 * first * third + second**2),
        )
        scale = (np.pi, -1.0, 1.0, 1.0, 1.0, 1.0)
        parts = [part for slope in slopes for part in (slope.real, slope.imag)]
        return np.array([part / size for part, size in zip(parts, scale, strict=True)])

    def matrix(y, *parameters):
        h = 1e-6
        return np.stack(
            [(field(y + h * e, *parameters) - field(y - h * e, *parameters)) / (2 * h) for e in np.eye(6)]
        ).T

    names = [v.name for v in qs.models()["qif_cumulants"].variables]
    options = {"between": (-8.0, 2.0), "within": (0.2, 1.0), "J": 15.0, "delta": 0.02, "points": 20}
    for kind in ("LP", "HB"):
        found = qs.curve("qif_cumulants", kind, "eta", "sigma", **options)
        assert found["converged"].all()
        assert found["certified"].attrs["comment"].startswith("curves followed")
        for point in (found.isel(point=k) for k in range(0, found.sizes["point"], 9)):
            y, given = (
                np.array([point[n].item() for n in names]),
                (point["eta"].item(), point["sigma"].item()),
            )
            assert np.abs(field(y, *given)).max() < 1e-9
            values = np.linalg.eigvals(matrix(y, *given))
            if point["type"].item() == -21:
                assert np.sort(np.abs(values))[1] < 1e-3
            else:
                at = 1j * point["omega"].item() if kind == "HB" else 0.0
                assert np.abs(values - at).min() < 1e-6


@pytest.mark.thorough
def test_on_curves_of_working_memory_numpys_eigenvalues_are_critical():
    """At U = 0.2 they go through the points along one parameter."""
    names = [v.name for v in qs.models()["qif_memory"].variables]
    one = qs.special_points("qif_memory", along="J_same", within=(27.0, 31.0))
    for kind in ("LP", "HB"):
        ranges = {"between": (27.0, 31.0), "within": (0.199, 0.201)}
        found = qs.curve("qif_memory", kind, "J_same", "U", points=10, **ranges)
        assert found["converged"].all()
        for place in (one.isel(point=k) for k in np.flatnonzero(one["type"].values == CODES[kind])):
            y, strength = np.array([place[n].item() for n in names]), place["J_same"].item()
            assert np.abs(memory(y, strength)).max() < 1e-12
            at = 0.0 if kind == "LP" else 1j * place["omega"].item()
            assert np.abs(np.linalg.eigvals(jacobian(y, strength)) - at).min() < 1e-9
            off = found["U"].values - 0.2
            near = []
            for k in np.flatnonzero((off[1:] * off[:-1] <= 0.0) & (np.diff(found["piece"].values) == 0)):
                share = off[k] / (off[k] - off[k + 1])
                between = [found[n].values[k : k + 2] @ [1.0 - share, share] for n in ("J_same", "r_1")]
                near.append(abs(between[0] / strength - 1.0) + abs(between[1] / y[0] - 1.0))
            assert min(near) < 1e-3


def test_what_curves_of_such_models_are_not_asked_for_is_refused_in_a_line():
    model = "own_models:gained"
    for call, line in (
        (
            lambda: qs.curve(model, rates=(0.1, 1.0)),
            "rates: found a value, expected none, of own_models:gained",
        ),
        (
            lambda: qs.curve(model, "LP", "eta", "eta"),
            'through: found "eta", expected another parameter than eta',
        ),
        (lambda: qs.curve("qif_memory", "HB", "eta", "U"), 'along: found "eta", expected one of'),
        (
            lambda: qs.curve(model, between=(1.0, 0.0)),
            "between: found [1.0, 0.0], expected two ascending numbers",
        ),
        (
            lambda: qs.curve(model, through="delta", within=(0.0, 1.0)),
            "within: found [0.0, 1.0], expected ends that are",
        ),
        (lambda: qs.curve(model, J=[1.0, 2.0], through="k"), "J: found several values, expected a number"),
        (lambda: qs.curve(model, between=(50.0, 60.0)), "no LP with eta in [50, 60] and J in"),
        (lambda: qs.curve("own_models:delayed"), "but a delay, expected a graph over the rate, or a model"),
        (lambda: qs.curve(between=(-5.0, 0.0)), "between: found [-5.0, 0.0], expected None for LP of qif"),
    ):
        with pytest.raises(qs.ScanError) as error:
            call()
        assert line in str(error.value)
        assert len(error.value.faults) == 1


@pytest.mark.thorough
def test_a_curve_that_is_not_resolved_from_one_start_is_told_once_if_it_is_from_another():
    """Of depression, where the plane of the imaginary pair turns quickly: two crossings of any value."""
    given = {"J": 34.889392771093334, "tau_a": 29.615421772393777, "delta": 0.8742063151288979}
    ranges = {"between": (-15.0, 15.0), "within": (0.01, 0.2)}
    name = "own_models:qif_depression_exponential"
    found = qs.curve(name, "HB", "eta", "alpha", points=20, **ranges, **given)
    assert found.sizes["pieces"] == 1
    assert [CUTS[found[side].values[0]] for side in ("start", "end")] == ["within", "within"]
