"""Models of The Virtual Brain and of PyRates as ours: the same start ends in the same state.

The numbers are those that these programs printed: `python benchmarks/programs.py`, with tvb-library 2.10.0
(Heun's method, a step of 0.001 ms) and PyRates 1.2.3 (DOP853, relative tolerance 1e-10). PyRates' circuit
"qif_gap" can't be built by 1.2.3 (its edge names another operator): for it the equations of its operator
stand here.
"""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from benchmarks.programs import PYRATES, TVB

ENDS = {
    "MontbrioPazoRoxin": (0.03094487165, -1.800111848),
    "GastSchmidtKnosche_SF": (1.078381836, -0.09313627798, 5.264319419, 1.133323453),
    "GastSchmidtKnosche_SD": (0.1721118776, -1.854655697, 0.3579552454, -0.02353557472),
    "CoombesByrne": (1.195949448, 2.502824461, 1.484503014, -0.01380149472),
    "DumontGutkin": (
        *(0.06363121908, -0.5015238204, 0.1983854677, 0.1925034986),
        *(0.02170773173, -0.2075420766, 0.7935418707, 0.2887552479),
    ),
    "qif": (0.03111664468, -1.790174702),
    "qif_sfa": (0.7328435647, -0.2229748761, 3.575234669, 0.5684992437),
    "qif_conduct": (0.1073358467, -0.3883034793, 0.2683397931),
}
VARIABLES = {
    "MontbrioPazoRoxin": "rV",
    "GastSchmidtKnosche_SF": "rVAB",
    "GastSchmidtKnosche_SD": "rVAB",
    "CoombesByrne": "rVgq",
    "DumontGutkin": ("r_e", "V_e", "s_ee", "s_ei", "r_i", "V_i", "s_ie", "s_ii"),
}


def end_of(scan, t_end):
    """Return the state of the point of a scan at a time, by DOP853 from its start."""
    model = qs.models()[scan.model]
    constants = model.constants({p.name: p.default for p in model.parameters} | dict(scan.fixed))
    begin = [scan.protocol.initial[v] for v in model.variable_names]
    still = (0.0,) * len(begin)
    solved = solve_ivp(
        lambda t, y: model.field(tuple(y), still, constants),
        (0.0, t_end),
        begin,
        "DOP853",
        rtol=1e-10,
        atol=1e-12,
    )
    return dict(zip(model.variable_names, solved.y[:, -1], strict=True))


@pytest.mark.parametrize(("name", "given", "start", "t_end"), TVB)
def test_a_node_of_tvb_ends_where_ours_does(name, given, start, t_end):
    scan = qs.from_tvb(name, initial=dict(zip(VARIABLES[name], start, strict=True)), **given)
    expected = qs.from_tvb(name, initial=dict(zip(VARIABLES[name], ENDS[name], strict=True)), **given)
    found = end_of(scan, t_end)
    for variable, value in expected.protocol.initial.items():
        # Heun's method at that step is off by 3e-4 of A where the adaptation bursts, by 1e-6 elsewhere.
        assert found[variable] == pytest.approx(value, rel=5e-4, abs=1e-6), variable


@pytest.mark.parametrize(("name", "given", "start", "t_end"), PYRATES)
def test_a_circuit_of_pyrates_ends_where_ours_does(name, given, start, t_end):
    scan = qs.from_pyrates(name, initial=start, **given)
    expected = qs.from_pyrates(name, initial=dict(zip(start, ENDS[name], strict=True)), **given)
    found = end_of(scan, t_end)
    for variable, value in expected.protocol.initial.items():
        # PyRates interpolates linearly between samples of 0.01 ms.
        assert found[variable] == pytest.approx(value, rel=2e-5, abs=1e-7), variable


def test_gap_junctions_of_pyrates_have_the_equations_of_its_operator():
    given = {"tau": 1.7, "Delta": 0.8, "eta": 1.5, "g": 1.2, "weight": 9.0}
    scan = qs.from_pyrates("qif_gap", initial={"r": 0.3, "v": -0.5}, **given)

    def slope(t, y):
        r, v = y
        tau = 1.7
        dr = (0.8 / (math.pi * tau) + r * (2.0 * v - 1.2)) / tau
        return dr, (v**2 + 1.5 + tau * 9.0 * r - (math.pi * tau * r) ** 2) / tau

    wanted = solve_ivp(slope, (0.0, 10.0), (0.3, -0.5), "DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    np.testing.assert_allclose([*end_of(scan, 10.0).values()], wanted, rtol=1e-7)


def test_an_instance_of_a_model_is_read_off():
    class DumontGutkin:
        tau_e, J_ei, Gamma, I_e = np.array([12.0]), np.array([3.0]), np.array([5.0]), np.array([0.25])

    scan = qs.from_tvb(DumontGutkin(), J_ii=4.0)
    assert scan.model == "qif_pair_couplings"
    assert scan.fixed["tau_e"] == 12.0
    assert (scan.fixed["J_ei"], scan.fixed["J_ii"], scan.fixed["eta_e"]) == (-3.0, -4.0, -4.75)


def test_adaptation_there_is_as_strong_as_alpha_tau_a_here():
    scan = qs.from_tvb("GastSchmidtKnosche_SF", alpha=10.0, tau_A=8.0)
    assert scan.fixed["alpha"] * scan.fixed["tau_a"] == 10.0
    assert qs.from_pyrates("qif_sfa", alpha=0.7).fixed["alpha"] == 0.7


@pytest.mark.parametrize(
    ("call", "own"),
    [
        (lambda y: qs.from_tvb("DumontGutkin", initial=dict.fromkeys(VARIABLES["DumontGutkin"], y)), "s_ee"),
        (lambda y: qs.from_tvb("CoombesByrne", k=0.0, initial={"r": 0.1, "V": 0.0, "g": y, "q": 0.0}), "s"),
        (lambda y: qs.from_tvb("CoombesByrne", k=0.0, initial={"r": 0.1, "V": 0.0, "g": y, "q": -y}), "s"),
        (lambda y: qs.from_pyrates("qif_conduct", weight=0.0, initial={"r": 0.1, "v": 0.0, "s": y}), "s"),
    ],
)
def test_synapses_of_strength_0_begin_at_0(call, own):
    """Theirs decay from where they begin, and act until then; ours have no such state."""
    assert call(0.0).protocol.initial[own] == 0.0
    with pytest.raises(qs.ScanError, match="strength 0"):
        call(0.3)


def test_what_stands_before_a_name_of_pyrates_does_not_count():
    begin = {"p/qif_sfa_op/r": 0.1, "p/qif_sfa_op/v": np.array([-1.0]), "p/qif_sfa_op/a": 2.0, "x": 0.5}
    scan = qs.from_pyrates("qif_sfa", initial=begin, **{"p/qif_sfa_op/eta": 0.5})
    assert dict(scan.protocol.initial) == {"r": 0.1, "v": -1.0, "a": 2.0, "b": 0.5}
    assert scan.fixed["eta"] == 0.5


def test_noise_has_as_much_power_at_slow_frequencies():
    """White noise of dX = (2 D)^(1/2) dW moves X by 2 D t in the mean square; an input z/tau by S(0)/tau^2 t.

    S(0) of z' = -z/tau_z + sigma xi is sigma^2 tau_z^2.
    """
    for scan, on_r, on_v in (
        (qs.from_tvb("MontbrioPazoRoxin", tau=3.0, noise_amp=0.04, noise_tau=0.2), 0.04, 0.08),
        (qs.from_tvb("MontbrioPazoRoxin", tau=3.0, nsig=(0.01, 0.03)), 0.01, 0.03),
        (qs.from_tvb("MontbrioPazoRoxin", nsig=0.01), 0.01, 0.01),
    ):
        p = {key: row.default for key, row in scan.parameters.items()} | dict(scan.fixed)
        for v, nsig in (("r", on_r), ("v", on_v)):
            power = (p[f"{v}_ou_sigma"] * p[f"{v}_ou_tau"]) ** 2 / p["tau"] ** 2
            assert power == pytest.approx(2.0 * nsig, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: qs.from_tvb("MontbrioPazoRoxinn"), "MontbrioPazoRoxin"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", delta=1.0), "parameter"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", eta=[1.0, 2.0]), "one number"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", initial={"r": 0.1}), "no V"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", nsig=0.1, noise_amp=0.1), "one of them"),
        (lambda: qs.from_tvb(object()), "object"),
        (lambda: qs.from_pyrates("qif_sd"), "qif_sfa"),
        (lambda: qs.from_tvb("CoombesByrne2D"), "GastSchmidtKnosche_SF, GastSchmidtKnosche_SD"),
        (lambda: qs.from_tvb("GastSchmidtKnosche_SF", tau_A=0.0), "parameters.tau_A: .* above 0"),
        (lambda: qs.from_tvb("CoombesByrne", alpha=0.0), "parameters.alpha: .* above 0"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", nsig=(0.1, 0.2, 0.3)), "one number or two"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", noise_amp="0.1"), 'noise_amp: found "0.1"'),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", initial=[0.1, 0.2]), "by name"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", initial={"r": "a", "V": 0.0}), "initial.r"),
        (lambda: qs.from_tvb("MontbrioPazoRoxin", initial={"r": [0.1, 0.2], "V": 0.0}), "one number"),
        (lambda: qs.from_pyrates("qif", **{"p/qif_op/eta": 1.0, "q/qif_op/eta": 2.0}), "eta: found two"),
        (lambda: qs.from_pyrates(None), "qif_sfa"),
    ],
)
def test_a_mistake_is_one_line(call, line):
    with pytest.raises(qs.ScanError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
