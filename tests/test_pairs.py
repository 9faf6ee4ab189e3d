"""Pairs of populations: with synapses of first and second order, and as a graph over either rate."""

import math

import numpy as np
import pytest

import qifscan as qs

SYNAPSES = {"qif_pair_synapse": 1, "qif_pair_alpha": 2}

# tau_e r_e' = ... with inhibition subtracted: the AUTO project RosaDelic/LargeScaleBrainModelAnalysis
# continues I_e at eta_e = -5. Period in ms.
HOPF = {
    0.0: ((5.99318545, 37.32589), (65.550570301, 5.85145)),
    15.0: ((2.87582115, 64.4327), (11.637770215, 18.37908)),
    18.0: ((2.532663664, 61.34099), (10.584437938, 20.80363)),
}


def slopes(y, p, stages):
    """The equations of a pair, written out: r, v, s (and x) of the excitatory, then of the inhibitory."""
    e, i = y[: 2 + stages], y[2 + stages :]
    found = []
    for (r, v, *own), tau, eta, to_e, to_i, lag in (
        (e, p["tau_e"], p["eta_e"], p["J_ee"] + p["eps"], p["J_ei"], p["tau_se"]),
        (i, p["tau_i"], p["eta_i"], p["J_ie"] + p["eps"], p["J_ii"], p["tau_si"]),
    ):
        found.append(1.0 / (math.pi * tau**2) + 2.0 * r * v / tau)
        found.append((v * v + eta - (math.pi * tau * r) ** 2) / tau + to_e * e[2] + to_i * i[2])
        found.append(((own[1] if stages == 2 else r) - own[0]) / lag)
        if stages == 2:
            found.append((r - own[1]) / lag)
    return np.array(found)


def defaults(name, **changed):
    return {p.name: p.default for p in qs.models()[name].parameters} | changed


def differences(y, p, stages):
    """The Jacobian by central differences."""
    size = len(y)
    steps = 1e-6 * np.maximum(np.abs(y), 1e-2)
    columns = [
        (
            slopes(y + steps[k] * np.eye(size)[k], p, stages)
            - slopes(y - steps[k] * np.eye(size)[k], p, stages)
        )
        / (2.0 * steps[k])
        for k in range(size)
    ]
    return np.array(columns).T


@pytest.fixture(scope="module")
def hopf_points():
    return qs.special_points("qif_pair_synapse", along="eta_e", eps=[*HOPF])


def test_the_hopf_points_are_those_that_auto_finds(hopf_points):
    assert (hopf_points["type"] == 3).all()
    for k, eps in enumerate(HOPF):
        here = hopf_points.isel(point=hopf_points["slice"].values == k)
        order = np.argsort(here["eta_e"].values)
        wanted = np.array(HOPF[eps])
        np.testing.assert_allclose(here["eta_e"].values[order] + 5.0, wanted[:, 0], rtol=2e-9)
        np.testing.assert_allclose(here["period"].values[order], wanted[:, 1], rtol=1e-6)
        assert here["converged"].all()


def test_there_are_no_folds_between_minus_6_and_100(hopf_points):
    """Nor anywhere: the number of equilibria, which is proven, is 1 from end to end."""
    found = qs.equilibria("qif_pair_synapse", eta_e=np.linspace(-11.0, 95.0, 200), eps=[*HOPF])
    assert (found["count"] == 1).all()
    assert found["certified"].all()


@pytest.mark.parametrize(("name", "stages"), SYNAPSES.items())
def test_equilibria_are_those_of_the_pair_with_eigenvalues_of_their_own(name, stages):
    p = defaults(name, eta_e=2.0, eps=3.0, tau_e=6.0)
    found = qs.equilibria(name, **p).isel(equilibrium=0)
    alone = {n: x for n, x in p.items() if n not in ("eps", "tau_se", "tau_si")}
    alone |= {"J_ee": p["J_ee"] + 3.0, "J_ie": p["J_ie"] + 3.0}
    pair = qs.equilibria("qif_pair", **alone).isel(equilibrium=0)
    for v in ("r_e", "v_e", "r_i", "v_i"):
        assert float(found[v]) == pytest.approx(float(pair[v]), rel=1e-12)
    y = np.array([float(found[v]) for v in qs.models()[name].variable_names])
    assert np.abs(slopes(y, p, stages)).max() < 1e-13
    wanted = np.linalg.eigvals(differences(y, p, stages))
    ours = found["eigenvalue_real"].values + 1j * found["eigenvalue_imag"].values
    assert np.abs(np.sort_complex(wanted) - np.sort_complex(ours)).max() < 1e-6
    assert not np.allclose(pair["eigenvalue_real"].values, ours.real[:4])


@pytest.mark.parametrize(("name", "stages"), SYNAPSES.items())
def test_the_field_is_that_of_the_equations_written_out(name, stages):
    """At 20 random states, to rounding; `tests/test_family.py` compares runs of it with DOP853."""
    rng, model = np.random.default_rng(4), qs.models()[name]
    p = defaults(name, tau_e=6.0, tau_i=9.0, eta_e=3.0, eta_i=-4.0, eps=7.0, tau_se=1.5, J_ii=-3.0)
    for _ in range(20):
        y = rng.uniform(-1.0, 1.0, len(model.variables))
        found = model.field(tuple(y), (0.0,) * len(y), model.constants(p))
        np.testing.assert_allclose(found, slopes(y, p, stages), rtol=1e-12, atol=1e-14)


SWAPPED = {f"{n}_{a}": f"{n}_{b}" for n in ("tau", "eta", "delta", "r", "v") for a, b in ("ei", "ie")}
SWAPPED |= {"J_ee": "J_ii", "J_ii": "J_ee", "J_ei": "J_ie", "J_ie": "J_ei"}


def test_along_eta_e_a_pair_is_the_pair_with_other_names_along_eta_i():
    given = {"tau_e": 3.0, "tau_i": 4.0, "delta_e": 0.55, "delta_i": 0.66, "eta_e": -1.2}
    given |= {"J_ee": 48.0, "J_ei": -26.0, "J_ie": 33.0, "J_ii": -8.0}
    usual = qs.special_points("qif_pair", along="eta_i", **given)
    other = qs.special_points("qif_pair", along="eta_e", **{SWAPPED[n]: x for n, x in given.items()})
    assert usual.sizes["point"] >= 2
    for name in ("r_e", "v_i", "eta_i"):
        np.testing.assert_array_equal(usual[name].values, other[SWAPPED[name]].values)
    assert other["certified"].item()


def test_points_along_one_parameter_are_points_along_the_other():
    given = {"tau_e": 3.0, "tau_i": 4.0, "delta_e": 0.55, "delta_i": 0.66, "J_ee": 48.0, "J_ei": -26.0}
    found = qs.special_points("qif_pair", along="eta_e", eta_i=-3.0, J_ie=33.0, J_ii=-8.0, **given)
    assert found.sizes["point"] >= 2
    for k in range(found.sizes["point"]):
        again = qs.special_points(
            "qif_pair", along="eta_i", eta_e=float(found["eta_e"][k]), J_ie=33.0, J_ii=-8.0, **given
        )
        same = (again["type"] == found["type"][k]) & (np.abs(again["eta_i"] + 3.0) < 1e-9)
        assert same.any(), found.isel(point=k)


def test_a_cycle_is_followed_along_the_input_to_the_excitatory_population():
    """From the Hopf points of G-9 at eps = 0, both supercritical: one branch joins them."""
    found = qs.cycle_branches("qif_pair_synapse", along="eta_e", within=(-11.0, 95.0), points=6)
    hopf = found.isel(point=np.flatnonzero(found["type"].values == 3))
    np.testing.assert_allclose(np.sort(hopf["eta_e"].values)[:1], HOPF[0.0][0][0] - 5.0, rtol=1e-8)
    stable = found["stable"].values[found["branch"].values == 0]
    assert stable[1:].all()


def test_a_parameter_that_is_no_graph_is_refused_with_those_that_are():
    with pytest.raises(qs.ScanError, match="eta_i, eta_e"):
        qs.special_points("qif_pair_synapse", along="tau_e")
