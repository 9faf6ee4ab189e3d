"""Models whose numbers are known from elsewhere: noise in each neuron, halves, conductances, memory."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.truth.equations import MODELS as EQUATIONS

NEW = ("qif_pair_couplings", "qif_bimodal", "qif_cauchy", "qif_conductance", "qif_izhikevich")
SEARCHED = ("qif_cumulants", "qif_memory")


def defaults(name, **changed):
    return {p.name: p.default for p in qs.models()[name].parameters} | changed


@pytest.mark.parametrize("name", [name for name in EQUATIONS if not qs.models()[name].delay])
def test_the_field_is_that_of_the_equations_of_the_truth(name):
    """Those are written from the papers, without a line in common; at 20 random states, under an input."""
    rng, model, equations = np.random.default_rng(4), qs.models()[name], EQUATIONS[name]
    assert equations.variables == model.variable_names
    for _ in range(20):
        y = rng.uniform(0.1, 1.0, len(equations.variables))
        p = {k: x * rng.uniform(0.7, 1.3) + (0.0 if x else 0.1) for k, x in defaults(name).items()}
        pushes = dict.fromkeys(model.variable_names, 0.0) | {model.stimulated: 0.7}
        found = model.field(tuple(y), tuple(pushes.values()), model.constants(p))
        means = {f"{v}_ou_mean": 0.0 for v in equations.variables}
        wanted = np.array(equations.slopes(y, p | means, 0.7, y[0]))
        np.testing.assert_allclose(found, wanted, atol=1e-13 * np.abs(wanted).max())


SLOW = [name for name, model in qs.models().items() if len(model.groups) > len(model.rates)]


@pytest.mark.parametrize(
    "name", [n if n == "qif_cumulants" else pytest.param(n, marks=pytest.mark.thorough) for n in SLOW]
)
def test_slow_variables_that_begin_at_0_are_right_at_no_step_that_shrinks_without_end(name, tmp_path):
    """The estimate of a step alone judges points with noise, here of no size; the right values are DOP853's.

    A third pseudo-cumulant grows as t^3, the current of an alpha synapse as t^2: relative to themselves the
    errors of their first steps are the same at any dt.
    """
    names, equations = qs.models()[name].variable_names, EQUATIONS[name]
    begin = {v: {"r": 0.2, "v": -0.5}.get(v[0], 0.0) for v in names}
    points = {f"{v}_initial": [x, x or 0.1] for v, x in begin.items()}
    scan = qs.Scan(
        model=name,
        points=points,
        fixed={f"{v}_ou_sigma": 1e-9 for v in qs.models()[name].input_names},
        protocol=qs.Protocol(transient=0.0, window=5.0),
        observables=[f"{v}_final" for v in names],
    )
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial").load()
    assert (found["status"] == 1).all()
    from_zero, beside = found["dt"].values
    assert from_zero >= beside / 16
    p = defaults(name) | {f"{v}_ou_mean": 0.0 for v in names}
    slope, times = (lambda t, y: equations.slopes(y, p, 0.0, y[0])), (0.0, 5.0)
    exact = solve_ivp(slope, times, [*begin.values()], "DOP853", rtol=1e-12, atol=1e-14)
    ends = np.array([found[f"{v}_final"].values[0] for v in names])
    np.testing.assert_allclose(ends, exact.y[:, -1], rtol=1e-4)


@pytest.mark.parametrize("name", SEARCHED)
def test_a_model_without_a_graph_belongs_together(name):
    qs.check_model(name)


def test_cauchy_noise_is_a_wider_lorentzian():
    found = qs.special_points("qif_cauchy", along="eta", delta=0.4, gamma=0.6, J=15.0)
    wanted = qs.special_points("qif", along="eta", delta=1.0, J=15.0)
    for name in ("eta", "r", "v"):
        np.testing.assert_allclose(found[name].values, wanted[name].values, rtol=1e-14)
    # NUMBERS: the folds of the plain model at J = 15, delta = 1.
    np.testing.assert_allclose(
        np.sort(found["eta"].values), [-5.7435271616578158, -3.1361340861956852], rtol=1e-13
    )


def test_as_much_noise_as_makes_the_cusp():
    """Along gamma the wedge ends where delta + gamma is that of the cusp: J = (8 pi/3)(3/4)^(1/4) sqrt."""
    scale = (15.0 / (8.0 * math.pi / 3.0 * 0.75**0.25)) ** 2
    found = qs.special_points("qif_cauchy", along=("eta", "gamma"), delta=1.0, J=15.0)
    cusp = found.isel(point=found["type"].values == -22)
    assert float(cusp["gamma"].item()) == pytest.approx(scale - 1.0, rel=1e-10)
    assert float(cusp["eta"].item()) == pytest.approx(-math.sqrt(3.0) * scale, rel=1e-10)


def test_two_equal_halves_are_the_plain_model():
    given = {"delta_1": 1.0, "delta_2": 1.0, "eta_1": -5.0, "eta_2": -5.0, "J": 15.0, "share": 0.3}
    found, plain = qs.equilibria("qif_bimodal", **given), qs.equilibria("qif", eta=-5.0, J=15.0)
    for r in plain["r"].values:
        apart = np.abs(found["r_1"].values - r) + np.abs(found["r_2"].values - r)
        assert np.nanmin(apart) < 1e-12


def test_halves_have_the_equilibria_that_counting_signs_finds():
    """A scan of r_1 from the equations as they stand, for far and near centres."""
    j, share, width = 20.0, 0.5, 0.2
    most = 0
    for eta_1, eta_2 in ((-8.0, -5.0), (-6.0, -10.0), (-4.0, 1.0), (-4.0, -2.0)):
        wide = {"delta_1": width, "delta_2": width}
        found = qs.equilibria("qif_bimodal", eta_1=eta_1, eta_2=eta_2, J=j, share=share, **wide)
        r = np.geomspace(1e-4, 3.0, 400_001)
        first = (math.pi * r) ** 2 - (width / (2.0 * math.pi * r)) ** 2 - eta_1 - j * share * r
        r_2 = first / (j * (1.0 - share))
        good = r_2 > 0.0
        second = (math.pi * r_2) ** 2 - (width / (2.0 * math.pi * r_2)) ** 2 - eta_2
        second -= j * (share * r + (1.0 - share) * r_2)
        signs = np.sign(second)
        changes = np.count_nonzero((signs[1:] != signs[:-1]) & good[1:] & good[:-1])
        assert int(found["count"]) == changes
        assert bool(found["certified"])
        most = max(most, changes)
    assert most >= 3


def test_the_inputs_of_halves_are_common():
    """A constant current is a change of both centres, noise of mean m on r a change of both widths."""
    begin = {"r_1": 0.1, "v_1": -1.0, "r_2": 0.2, "v_2": -0.5}
    common = {"t_end": 5.0, "initial": begin, "dt": 0.01, "integrator": "rk4"}
    pushed = qs.simulate("qif_bimodal", drive=qs.Constant(amplitude=0.5), **common)
    moved = qs.simulate("qif_bimodal", eta_1=-4.5, eta_2=1.5, **common)
    for v in begin:
        np.testing.assert_allclose(pushed[v].values, moved[v].values, rtol=1e-4)


def test_conductances_without_strength_are_the_plain_model_without_coupling():
    found = qs.equilibria("qif_conductance", g=0.0, eta=[-2.0, 3.0]).isel(equilibrium=0)
    plain = qs.equilibria("qif", J=0.0, eta=[-2.0, 3.0]).isel(equilibrium=0)
    for name in ("r", "v"):
        np.testing.assert_allclose(found[name].values, plain[name].values, rtol=1e-14)


def test_gap_junctions_of_the_conductance_model_are_those_of_qif_gap():
    found = qs.equilibria("qif_conductance", g=0.0, g_gap=1.3, eta=0.5).isel(equilibrium=0)
    gap = qs.equilibria("qif_gap", g=1.3, J=0.0, eta=0.5).isel(equilibrium=0)
    for name in ("r", "v"):
        assert float(found[name]) == pytest.approx(float(gap[name]), rel=1e-14)


def test_couplings_of_one_time_constant_are_synapses_of_their_source():
    """With tau_see = tau_sie and tau_sei = tau_sii the pair is `qif_pair_synapse`: the same trajectory."""
    shared = {
        "tau_e": 8.0,
        "tau_i": 8.0,
        "J_ee": 5.0,
        "J_ei": -13.0,
        "J_ie": 13.0,
        "J_ii": -5.0,
        "eta_e": 5.0,
    }
    one = qs.special_points(
        "qif_pair_synapse", along="eta_e", **{k: shared[k] for k in shared if k != "eta_e"}
    )
    lags = {"tau_see": 1.0, "tau_sie": 1.0, "tau_sei": 5.0, "tau_sii": 5.0}
    four = qs.special_points(
        "qif_pair_couplings", along="eta_e", **lags, **{k: shared[k] for k in shared if k != "eta_e"}
    )
    np.testing.assert_allclose(four["eta_e"].values, one["eta_e"].values, rtol=1e-10)
    np.testing.assert_allclose(four["period"].values, one["period"].values, rtol=1e-9)


def test_almost_without_noise_the_third_order_rests_where_the_plain_model_does():
    found = qs.equilibria("qif_cumulants", sigma=1e-4, eta=-5.0, J=15.0)
    plain = qs.equilibria("qif", eta=-5.0, J=15.0)
    rates = found["r"].where(np.abs(found["a"]) + np.abs(found["b"]) < 1e-6).values
    for r in plain["r"].values:
        assert np.nanmin(np.abs(rates - r)) < 1e-7


def rate_of_neurons(eta, delta, sigma):
    """The rate of uncoupled neurons V' = V^2 + eta_j + sqrt(2) sigma xi with eta_j from a Lorentzian.

    One neuron passes from minus to plus infinity in sqrt(pi) times the integral of exp(-eta z^2 - sigma^4
    z^6/12) over z (Brunel, Latham, Neural Comput. 15, 2281 (2003)); quantiles stand for the Lorentzian.
    """
    share = (np.arange(4000) + 0.5) / 4000.0
    centres = eta + delta * np.tan(math.pi * (share - 0.5))
    if not sigma:
        return float(np.mean(np.sqrt(np.maximum(centres, 0.0)))) / math.pi
    found = 0.0
    for centre in centres:
        # Beyond these the integrand is below exp(-60) of what it is at most.
        by_noise = (720.0 / sigma**4) ** (1.0 / 6.0) + 1.5 * (12.0 * max(-centre, 0.0) / sigma**4) ** 0.25
        by_current = 8.0 / math.sqrt(centre) if centre > 0.0 else math.inf
        z = np.linspace(0.0, min(by_noise, by_current), 1001)
        exponent = -centre * z**2 - sigma**4 * z**6 / 12.0
        top = exponent.max()
        found += math.exp(-top) / np.trapezoid(np.exp(exponent - top), z) / (2.0 * math.sqrt(math.pi))
    return found / len(centres)


def test_gaussian_noise_moves_the_rate_as_independent_neurons_have_it():
    """Uncoupled, at eta = 1, delta = 0.5: by how much, to a few per cent, which the third order leaves."""
    plain = float(qs.equilibria("qif", eta=1.0, delta=0.5, J=0.0)["r"][0])
    still = rate_of_neurons(1.0, 0.5, 0.0)
    for sigma in (0.3, 0.6):
        found = qs.equilibria("qif_cumulants", eta=1.0, delta=0.5, J=0.0, sigma=sigma)
        moved = float(found["r"].where(found["stable"]).max()) - plain
        assert moved == pytest.approx(rate_of_neurons(1.0, 0.5, sigma) - still, rel=0.05)


def test_what_one_item_does_the_other_can_do_in_its_place():
    """Every equilibrium with the two items exchanged is one too, and in one of them they are alike."""
    model = qs.models()["qif_memory"]
    found, constants = qs.equilibria("qif_memory").squeeze(), model.constants(defaults("qif_memory"))
    states = np.array([found[v].values for v in model.variable_names]).T
    states = states[np.isfinite(states[:, 0])]
    for state in states:
        exchanged = np.concatenate([state[4:8], state[:4], state[8:]])
        slopes = model.field(tuple(exchanged), (0.0,) * 10, constants)
        assert np.abs(slopes).max() < 1e-12
    assert np.isclose(states[:, 0], states[:, 4], rtol=1e-9).any()


def test_an_array_of_values_is_each_by_itself():
    eta = xr.DataArray([-6.0, -5.0], dims="n")
    both = qs.equilibria("qif_izhikevich", eta=eta)
    alone = qs.equilibria("qif_izhikevich", eta=-5.0)
    assert float(both["r"].isel(n=1, equilibrium=0)) == float(alone["r"][0])


def test_where_a_model_divides_by_a_parameter_no_point_is_made_up():
    """A factor of the condition is 0 where one of two values of tau_s is 0; exact algebra has two folds."""
    given = {"tau": 0.8482718903155573, "delta": 0.7048589492796387, "a": 1.4674261267255746}
    given |= {"g": 3.4692051493114002, "e_s": 18.449794377159378, "b": -0.3802586926588085}
    given |= {"jump": 0.29746122503664196, "tau_w": 3.2954159040585846, "eta": -320.37005568544697}
    found = qs.special_points("qif_izhikevich", along="tau_s", **given)
    assert found["type"].values.tolist() == [2, 2]
    assert found["converged"].all()
    assert found["certified"].all()


def test_along_a_parameter_that_is_added_to_another_no_point_is_lost():
    """Folds along gamma are those along delta, less delta; both enter as the square of their sum."""
    along = qs.special_points("qif_cauchy", along="gamma", delta=0.7, J=15.0, eta=-5.0)
    wide = qs.special_points("qif", along="delta", J=15.0, eta=-5.0)
    np.testing.assert_allclose(along["gamma"].values, wide["delta"].values - 0.7, rtol=1e-12)
    assert along.sizes["point"] == 1


def test_a_model_names_every_equation_that_the_drive_is_in():
    """Both halves of a population have it in common; of a pair one population has it."""
    told = {
        name: dict(qs.models()[name].rows())["input"] for name in ("qif_bimodal", "qif_pair", "qif_delay")
    }
    assert told["qif_bimodal"] == "the drive is added to the equations of v_1 and v_2"
    assert told["qif_pair"] == "the drive is added to the equation of v_e"
    assert told["qif_delay"] == "the drive is added to the equation of v"
