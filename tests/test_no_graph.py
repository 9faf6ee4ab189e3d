"""Models that are no graph over the rate: Newton's method beside the exact equilibria, and simulation."""

import math

import numpy as np
import pytest
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import FAMILY, model_named
from qifscan.theory.rest import Rest

from .test_bifurcation import PARAMETERS

OWN = """
from dataclasses import replace
from qifscan.dynamics.models import model_named
from qifscan.models import FAMILY, Parameter, QIF, Variable, neuron_constants, population

hidden = {name: replace(row, name=name, rest=None) for name, row in FAMILY.items()}
globals().update(hidden)

def constants(p):
    return neuron_constants(p) | {"coupling": p["J"] * p["tau"], "gain": p["k"] * p["tau"]}

def field(state, inputs, c):
    r, v = state
    dr = (c["source"] + 2.0 * r * v + inputs[0]) * c["rate"]
    push = v * v + c["eta"] * (1.0 + c["gain"] * r) + c["coupling"] * r - c["pull"] * r * r
    return dr, (push + inputs[1]) * c["rate"]

r, v = population()
gained = replace(
    QIF,
    name="gained",
    variables=(r, replace(v, absorbed=None)),
    parameters=(*QIF.parameters, Parameter("k", 0.5, "1", "gain of the excitability")),
    constants=constants,
    field=field,
    rest=None,
    meaning="tau v' = v^2 + eta (1 + k tau r) + J tau r - (pi tau r)^2 + I",
)

def squared(p):
    return neuron_constants(p) | {"coupling": p["J"] * p["tau"], "eta": p["eta"] - p["shift"] * p["shift"]}

isola = replace(
    QIF,
    name="isola",
    variables=(r, replace(v, absorbed=None)),
    parameters=(*QIF.parameters, Parameter("shift", 0.0, "1", "root of what is taken off eta")),
    constants=squared,
    rest=None,
    plain=False,
    meaning="tau v' = v^2 + eta - shift^2 + J tau r - (pi tau r)^2 + I",
)
delayed = replace(model_named("qif_delay"), name="delayed", rest=None, plain=False)
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The models, where they can be imported from."""
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def at_random(name, count, seed):
    rng = np.random.default_rng(seed)
    given = {key: rng.uniform(low, high, count) for key, (low, high) in PARAMETERS[name].items()}
    given[FAMILY[name].graph] = rng.uniform(-10.0, 6.0, count)
    return {key: xr.DataArray(values, dims="n") for key, values in given.items()}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.thorough) if n in ("qif_pair_alpha", "qif_pair_couplings") else n
        for n in FAMILY
    ],
)
def test_newton_finds_the_equilibria_of_the_family_and_no_false_ones(name):
    """100 random points of each model with its graph hidden: at least 99 % of all, each to 1e-6."""
    given = at_random(name, 100, seed=8)
    exact, found = qs.equilibria(name, **given), qs.equilibria(f"own_models:{name}", **given)
    first, there, false = FAMILY[name].variable_names[0], 0, 0
    for n in range(100):
        for known, others, missed in ((exact, found, False), (found, exact, True)):
            rates = known[first].values[n][np.isfinite(known[first].values[n])]
            for rate in rates:
                near = np.nanmin(np.abs(others[first].values[n] / rate - 1.0), initial=np.inf) < 1e-6
                there += near and not missed
                false += missed and not near
    total = int(exact["count"].sum())
    assert false == 0
    assert there >= 0.99 * total
    if there == total:
        for variable in FAMILY[name].variable_names:
            a, b = (d[variable].values[:, : exact.sizes["equilibrium"]] for d in (found, exact))
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found["stable"], exact["stable"])
        np.testing.assert_array_equal(found["kind"], exact["kind"])


def test_a_model_with_a_multiplicative_eta_has_the_equilibria_of_another_coupling():
    """eta (1 + k tau r) + J tau r is eta + (J + k eta) tau r: the plain model's, in closed form."""
    eta, k, tau = np.linspace(-8.0, 4.0, 13), 0.5, 2.0
    found = qs.equilibria("own_models:gained", eta=eta, J=18.0, k=k, tau=tau)
    assert "missed" in found.attrs["method"]
    plain = {"eta": xr.DataArray(eta, dims="eta"), "J": xr.DataArray(18.0 + k * eta, dims="eta")}
    exact = qs.equilibria(tau=tau, **plain)
    np.testing.assert_array_equal(found["count"], exact["count"])
    np.testing.assert_allclose(found["r"], exact["r"], rtol=1e-9)
    np.testing.assert_array_equal(found["stable"], exact["stable"])
    reached, share = found["start_count"].values, found["converged_share"].values
    np.testing.assert_array_equal(reached > 0, np.isfinite(found["r"].values))
    np.testing.assert_allclose(reached.sum(axis=1) / found.attrs["starts"], share)


def test_fewer_starts_and_narrower_ones_find_fewer_equilibria():
    given = {"eta": -5.0, "J": 15.0, "k": 0.0}
    assert int(qs.equilibria("own_models:gained", **given)["count"]) == 3
    near = {"r": (1.0, 1.2), "v": (-0.3, 0.0)}
    few = qs.equilibria("own_models:gained", starts=4, within=near, **given)
    assert int(few["count"]) == 1
    assert float(few["r"][0]) == pytest.approx(float(qs.equilibria(eta=-5.0, J=15.0)["r"][2]), rel=1e-9)


def test_a_point_of_a_batch_has_the_equilibria_that_it_has_alone():
    """To the last bit, of 300 points, which are more than one block."""
    rng = np.random.default_rng(1)
    columns = {"eta": rng.uniform(-8.0, 4.0, 300), "J": rng.uniform(0.0, 20.0, 300)}
    columns |= {name: np.ones(300) for name in ("tau", "delta", "k")}
    columns |= {f"{v}_ou_mean": np.zeros(300) for v in "rv"}
    model = model_named("own_models:gained")
    whole = Rest.of(model, columns)
    for n in range(0, 300, 37):
        alone = Rest.of(model, {name: values[n : n + 1] for name, values in columns.items()})
        for one, several in zip(alone.states, whole.states, strict=True):
            assert one[0].tobytes() == several[n, : one.shape[1]].copy().tobytes()


def test_named_states_input_and_settling_are_those_of_the_equilibria_that_were_found(tmp_path):
    """With k = 0 and a mean of the noise of 1 it is the plain model at eta + 1."""
    own = qs.Scan(
        model="own_models:gained",
        axes={"eta": [-7.0, -6.0, -4.0], "initial": ["down", "up"]},
        fixed={"v_ou_mean": 1.0, "k": 0.0},
        protocol=qs.Protocol(transient=30.0, window=10.0),
        observables=["r_mean"],
    )
    found = qs.run(own, tmp_path / "own.zarr", client="serial").load()
    exact = qs.equilibria(eta=[-6.0, -5.0, -3.0])
    assert (found["status"] == qs.Status.computed).all()
    assert found["equilibrium_count"].values[:, 0].tolist() == exact["count"].values.tolist() == [1, 3, 1]
    assert found["settled_on"].values.tolist() == [[0, 0], [0, 2], [0, 0]]
    ends = np.stack([exact["r"].values[:, 0], np.nanmax(exact["r"].values, axis=1)], axis=1)
    np.testing.assert_allclose(found["r_mean"], ends, rtol=1e-5)
    assert qs.verify(tmp_path / "own.zarr").faults == ()
    rest = Rest.of(model_named(own.model), own.columns((np.arange(3), np.ones(3, dtype=int))))
    np.testing.assert_allclose(rest.named("up")[0], ends[:, 1], rtol=1e-9)


def test_a_check_finds_a_model_right_and_one_without_an_equilibrium_wrong():
    model = model_named("own_models:gained")
    qs.check_model(model)
    qs.check_model("own_models:qif_plasticity")
    # r' > 0 everywhere.
    wrong = type(model)(**{**model.__dict__, "field": _rising})
    with pytest.raises(qs.ScanError, match="no equilibrium at the defaults by Newton's method"):
        qs.check_model(wrong)


def _rising(state, inputs, c):
    r, v = state
    dr = (c["source"] + 2.0 * r * v * v + inputs[0]) * c["rate"]
    return dr, (v * v + c["eta"] + c["coupling"] * r + inputs[1]) * c["rate"]


GAINED = "own_models:gained"


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: qs.special_points(GAINED, along=("eta", "J")),
            'along: found 2 parameters, expected one, of "own_models:gained", which has no `rest`',
        ),
        (lambda: qs.branch(GAINED, J=[1.0, 2.0]), "J: found several values, expected a number"),
        (
            lambda: qs.branch(GAINED, rates=(0.1, 1.0)),
            "rates: found a value, expected none, of own_models:gained",
        ),
        (
            lambda: qs.branch(GAINED, "delta", within=(0.0, 1.0)),
            "within: found [0.0, 1.0], expected ends that",
        ),
        (lambda: qs.branch("own_models:delayed"), "but a delay, expected a graph over the rate, or a model"),
        (lambda: qs.equilibria(GAINED, distances=True), "distances: found True, expected False"),
        (lambda: qs.equilibria(GAINED, starts=0), "starts: found 0, expected an integer of at least 1"),
        (lambda: qs.equilibria(GAINED, within={"x": (0, 1)}), 'within: found "x", expected one of r, v'),
        (
            lambda: qs.equilibria(GAINED, within={"v": (1, 0)}),
            "within.v: found [1, 0], expected two ascending",
        ),
        (lambda: qs.equilibria(GAINED, within=(0, 1)), "within: found [0, 1], expected a range for each"),
        (
            lambda: qs.equilibria(starts=9),
            "starts: found a value, expected none; every equilibrium of qif is",
        ),
        (
            lambda: qs.Scan(model=GAINED, observables=["r_mean", "up_fraction"]),
            'observables: found "up_fraction" without down_threshold, up_threshold, expected both thresholds',
        ),
    ],
)
def test_what_needs_the_graph_is_refused_in_a_line(call, line):
    with pytest.raises(qs.ScanError) as error:
        call()
    assert line in str(error.value)
    assert len(error.value.faults) == 1


def test_a_branch_found_point_by_point_closes_at_the_folds():
    """The number of equilibria over eta changes at the plain model's folds, k = 0, and there alone."""
    folds = np.sort(qs.folds(J=15.0)["eta"].values)
    eta = np.concatenate([folds + sign * 10.0**-power for power in (1, 2, 3, 4) for sign in (-1.0, 1.0)])
    count = qs.equilibria(GAINED, eta=np.sort(eta), J=15.0, k=0.0)["count"].values
    inside = (np.sort(eta) > folds[0]) & (np.sort(eta) < folds[1])
    np.testing.assert_array_equal(count, np.where(inside, 3, 1))
    assert math.isclose(folds[1] - folds[0], 2.607393, rel_tol=1e-5)
