"""The theory beside exact algebra on random slices: a short form of `make exact`, and cases once missed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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


def test_the_algebra_finds_every_known_hopf_point_along_tau_a():
    given = {"tau": 1.2, "eta": -2.0, "delta": 0.27, "J": 33.0, "alpha": 4.6}
    found = exact.Algebra.of("qif_adaptation_alpha", "tau_a", given).special()
    small, middle, large = sorted(p.value for p in found if p.type == "HB")
    assert 0.0403 < small < 0.0533
    assert 0.123 < middle < 0.163
    assert large == pytest.approx(3.766, abs=1e-3)


def test_the_algebra_finds_the_known_equilibria_of_the_pair():
    given = {"tau_e": 3, "eta_e": -1.2, "delta_e": 0.55, "tau_i": 4, "delta_i": 0.66, "eta_i": 179.116}
    algebra = exact.Algebra.of(
        "qif_pair", "eta_i", given | {"J_ee": 48, "J_ei": -26, "J_ie": -28, "J_ii": -8}
    )
    found = algebra.equilibria()
    assert len(found) == 5
    assert [float(x) * algebra.unit for x in found[3:]] == pytest.approx([1.574558, 1.596009], abs=1e-5)
    assert [algebra.stable(x) for x in found] == [True, False, True, False, True]


@pytest.mark.parametrize("model", [name for name in MODELS if name != "qif_pair"])
def test_special_points_of_random_slices_are_those_of_exact_algebra(model):
    """Six slices along every parameter, some next to where two points appear: count, type and place."""
    for along in exact.alongs(model):
        assert exact.special_claim(model, along, 6, 0).failures == []


def test_special_points_of_the_pair_along_its_graph_are_those_of_exact_algebra():
    assert exact.special_claim("qif_pair", "eta_i", 4, 0).failures == []
