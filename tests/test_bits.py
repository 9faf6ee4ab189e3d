"""A change that is meant to change no number changes no bit.

Every case of `tests/bits.py` is run and compared with the record. On a machine like that of the record every
array is the same to the last bit; on any other its form is, and its values but for rounding.
"""

import json

import numpy as np
import pytest

from . import bits

RECORD = json.loads(bits.RECORD.read_text())
CASES = bits.cases()
LIKE_OTHERS = {
    "model qif_adaptation_exponential",
    "model qif_depression_alpha",
    "model qif_depression_exponential",
    "model qif_synapse",
    "model qif_gap",
    "model qif_plasticity",
    "model qif_pair_synapse",
    "model qif_pair_alpha",
    "model qif_pair_couplings",
    "model qif_bimodal",
    "model qif_cauchy",
    "model qif_conductance",
    "model qif_izhikevich",
    "model qif_adaptation_alpha",
    "model qif_cumulants",
    "drive constant",
    "drive ramp",
    "drive sine",
    "integrator euler",
    "integrator heun",
    "integrator riccati",
    "noise on both variables",
    "QIF heun",
    "QIF rk4",
}
"""Cases that are parts of others, or differ from them in their equations alone, which other tests compare
with a solver."""

NAMES = [pytest.param(n, marks=pytest.mark.thorough) if n in LIKE_OTHERS else n for n in CASES]
ANEW = "if that was meant, `python -m tests.bits` makes a new record"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run a case once, for both tests."""
    known = {}

    def run(name):
        if name not in known:
            known[name] = bits.entry(CASES[name](tmp_path_factory.mktemp("case")))
        return known[name]

    return run


def other_form(found, expected):
    """Return the arrays that are not there, are new, or have another shape or type."""
    form = ("dims", "shape", "dtype")
    names = sorted(found["arrays"].keys() | expected["arrays"].keys())
    pairs = [(n, found["arrays"].get(n), expected["arrays"].get(n)) for n in names]
    return [n for n, a, b in pairs if a is None or b is None or any(a[k] != b[k] for k in form)]


def other_bits(found, expected):
    """Return the arrays of which a bit differs."""
    return [n for n, array in expected["arrays"].items() if found["arrays"][n]["sha256"] != array["sha256"]]


def is_near(a, b):
    """Whether two kept values are one but for rounding."""
    if isinstance(a, list):
        return all(is_near(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-4, atol=1e-7))
    return a == b


def other_values(found, expected):
    """Return the arrays of which a kept value differs by more than rounding on another machine.

    The bytes of a checkpoint are numbers in pieces, and an error that is estimated may be rounding alone.
    """
    rounding = ("error_estimate", "disagreement", "checkpoint", "residual", "error")
    return [
        name
        for name, array in expected["arrays"].items()
        if not name.endswith(rounding) and not is_near(found["arrays"][name]["values"], array["values"])
    ]


def test_the_record_has_every_case():
    assert list(RECORD["cases"]) == list(CASES), ANEW


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_the_fingerprint_the_form_and_the_values_of_the_record(runs, name):
    found, expected = runs(name), RECORD["cases"][name]
    assert found["fingerprint"] == expected["fingerprint"], ANEW
    assert other_form(found, expected) == [], ANEW
    assert other_values(found, expected) == [], ANEW


@pytest.mark.skipif(
    bits.machine() != RECORD["machine"], reason=f"last bits are of {sorted(RECORD['machine'].values())}"
)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_every_bit_of_the_record(runs, name):
    assert other_bits(runs(name), RECORD["cases"][name]) == [], ANEW


def test_a_bit_a_name_or_a_type_that_differs_is_seen():
    values = np.linspace(0.0, 1.0, 100, dtype=np.float32)
    expected = bits.entry(("a", {"x": (["point"], values)}))
    moved = values.copy()
    moved[50] = np.nextafter(moved[50], 2.0)
    assert other_bits(bits.entry(("a", {"x": (["point"], moved)})), expected) == ["x"]
    assert other_form(bits.entry(("a", {"y": (["point"], values)})), expected) == ["x", "y"]
    assert other_form(bits.entry(("a", {"x": (["point"], values.astype(float))})), expected) == ["x"]
    assert other_values(bits.entry(("a", {"x": (["point"], values * 1.001)})), expected) == ["x"]
    assert other_values(bits.entry(("a", {"x": (["point"], values)})), expected) == []
