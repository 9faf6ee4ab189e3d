"""Branches of cycles of models with a symmetry, which cross in pitchforks: beside the closed form."""

import numpy as np
import pytest

import qifscan as qs
from qifscan.theory.codes import BPC

PITCHFORK = """
from qifscan.models import POSITIVE, Model, Parameter, Variable

def field(y, inputs, c):
    r, v, z = y
    x = r - 2.0
    grow = c["eta"] - x * x - v * v
    return x * grow - v, v * grow + x, z * (c["eta"] - 1.0 + 0.5 * x - z * z) + c["tilt"]

pitchfork = Model(
    name="pitchfork",
    variables=tuple(
        Variable(name, "1", name, "1", bounds=bounds)
        for name, bounds in (("r", (0.5, 3.5)), ("v", (-2.0, 2.0)), ("z", (-2.0, 2.0)))
    ),
    parameters=(
        Parameter("eta", 0.5, "1", "squared radius of the cycle"),
        Parameter("tilt", 0.0, "1", "what breaks the symmetry of z and -z"),
        Parameter("tau", 1.0, "ms", "unit of time", POSITIVE),
        Parameter("delta", 1.0, "1", "unit of where simulation begins", POSITIVE),
    ),
    constants=lambda p: {"eta": p["eta"], "tilt": p["tilt"]},
    field=field,
    squares=lambda y, c: tuple(u * u for u in y),
    rest=None,
    driven="v",
    meaning="a cycle of radius sqrt(eta) around r = 2, beside which z grows as exp((eta - 1) t)",
    reference="Kuznetsov, Elements of Applied Bifurcation Theory, Springer 2004, section 7.4",
)
"""


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    (tmp_path / "symmetric.py").write_text(PITCHFORK)
    monkeypatch.syspath_prepend(tmp_path)


def branch(**given):
    return qs.cycle_branches("symmetric:pitchfork", "eta", within=(-0.5, 2.0), points=40, **given)


def test_at_a_pitchfork_of_cycles_a_branch_point_is_told_and_no_fold():
    """The multipliers are 1, exp(-4 pi eta) and exp(2 pi (eta - 1)) all along."""
    d = branch()
    assert sorted(set(d["type"].values.tolist())) == [0, 3, BPC, 9]
    at = d.isel(point=d["type"].values == BPC)
    assert at["eta"].values == pytest.approx([1.0], abs=1e-8)
    assert not at["stable"].item()
    inner = d.isel(point=(d["type"].values == 0))
    eta = inner["eta"].values
    expected = np.stack([np.ones_like(eta), np.exp(-4.0 * np.pi * eta), np.exp(2.0 * np.pi * (eta - 1.0))])
    found = np.sort(inner["multiplier_real"].values, axis=1)
    np.testing.assert_allclose(found, np.sort(expected.T, axis=1), rtol=1e-5, atol=1e-9)
    assert (inner["stable"].values == (eta < 1.0)).all()
    names = dict(zip(d["type"].attrs["flag_values"], d["type"].attrs["flag_meanings"].split(), strict=True))
    assert names[BPC] == "BP"


def test_where_the_symmetry_is_broken_there_is_none():
    assert BPC not in branch(tilt=1e-3)["type"].values
