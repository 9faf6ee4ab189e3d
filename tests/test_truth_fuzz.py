"""The short form of benchmarks/truth.py: its solver against SciPy's, and random points against its solver."""

import importlib.util
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.truth import adaptive
from qifscan.truth.equations import Point, edges_of, input_at

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "truth.py"
specification = importlib.util.spec_from_file_location("truth", BENCHMARK)
truth = importlib.util.module_from_spec(specification)
sys.modules[specification.name] = truth
specification.loader.exec_module(truth)

PLAIN = {"tau": 1.0, "eta": -4.6, "delta": 1.0, "J": 15.0, "r_ou_mean": 0.0, "v_ou_mean": 0.0}
SAMPLED = {"kind": "sampled", "values": [0.0, 1.0, -1.0, 2.0, 0.0]}
NUMBERS = {"drive_amplitude": 6.0, "drive_start": 1.0, "drive_interval": 1.25}


def pieces(point, start, slope):
    """Yield times and states of SciPy's DOP853 between the edges of the drive, `(variables, times)`."""
    edges = [0.0, point.begin, point.end, *edges_of(point.drive, point.parameters)]
    edges = sorted({t for t in edges if 0.0 <= t <= point.end})
    y = np.array(start)
    for a, b in pairwise(edges):
        # No stage may look beyond an edge.
        inner = 1e-12 * (b - a)

        def bounded(t, y, a=a + inner, b=b - inner):
            return slope(min(max(t, a), b), y)

        found = solve_ivp(bounded, (a, b), y, method="DOP853", rtol=1e-11, atol=1e-13, dense_output=True)
        y = found.y[:, -1]
        times = np.linspace(a, b, 4001)
        yield times, found.sol(times)


@pytest.mark.parametrize("model", ["qif", "qif_adaptation_alpha", "qif_plasticity"])
def test_the_solver_agrees_with_scipys(model):
    """Means and ends to 1e-7; extremes to what 4,000 samples between two edges see of them."""
    equations = truth.MODELS[model]
    further = {name: 0.7 * low + 0.3 * high for name, (low, high) in equations.further.items()}
    start = (0.2, -1.0, 0.3, 0.4)[: len(equations.variables)]
    point = truth.Point(PLAIN | further | NUMBERS, start, SAMPLED, 0.5, 20.0, (0.2, 0.5))
    found = truth.solved(model, [point]).values

    def slope(t, y):
        drive = input_at(point.drive, point.parameters, t)
        return np.array(equations.slopes(y, point.parameters, drive, None))

    t, y = (np.concatenate(parts, axis=-1) for parts in zip(*pieces(point, start, slope), strict=True))
    t, y = t[t >= 0.5], y[:, t >= 0.5]
    for k, name in enumerate(equations.variables):
        size = np.abs(y[k]).max()
        mean = np.trapezoid(y[k], t) / 19.5
        assert found[f"{name}_final"][0] == pytest.approx(y[k, -1], rel=1e-7, abs=1e-9 * size)
        assert found[f"{name}_mean"][0] == pytest.approx(mean, rel=1e-5, abs=1e-6 * size)
        assert found[f"{name}_max"][0] == pytest.approx(y[k].max(), rel=1e-5, abs=1e-6 * size)
        assert found[f"{name}_min"][0] == pytest.approx(y[k].min(), rel=1e-5, abs=1e-6 * size)
        std = np.sqrt(np.trapezoid((y[k] - mean) ** 2, t) / 19.5)
        assert found[f"{name}_std"][0] == pytest.approx(std, rel=1e-4)
    up, down = y[0] >= 0.5, y[0] <= 0.2
    level, levels = y[0, 0] > np.sqrt(0.1), []
    for above, below in zip(up, down, strict=True):
        level = above or (level and not below)
        levels.append(float(level))
    assert found["up_fraction"][0] == pytest.approx(np.trapezoid(levels, t) / 19.5, abs=1e-3)
    assert found["switch_count"][0] == np.count_nonzero(np.diff(levels))


def test_the_solver_remembers_a_delay():
    """By the method of steps: on each delay the past is a known function, SciPy's of the delay before."""
    parameters = PLAIN | {"J": -12.0, "eta": 10.0, "delay": 1.5}
    point = truth.Point(parameters, (0.3, 0.5), None, 0.0, 9.0)
    found = truth.solved("qif_delay", [point]).values
    y, past = np.array([0.3, 0.5]), lambda t: (0.3, 0.5)
    for k in range(6):

        def slope(t, y, past=past):
            return np.array(truth.MODELS["qif_delay"].slopes(y, parameters, 0.0, past(t - 1.5)[0]))

        run = solve_ivp(
            slope, (1.5 * k, 1.5 * k + 1.5), y, method="DOP853", rtol=1e-11, atol=1e-13, dense_output=True
        )
        y, past = run.y[:, -1], run.sol
    assert found["r_final"][0] == pytest.approx(y[0], rel=1e-6)
    assert found["v_final"][0] == pytest.approx(y[1], rel=1e-6)


@pytest.mark.parametrize("model", [name for name in truth.MODELS if name != "qif_delay"])
def test_equations_of_the_solver_let_an_imaginary_part_through_which_is_how_it_has_tangents(model):
    equations, rng = truth.MODELS[model], np.random.default_rng(3)
    known = qs.models()[model]
    names = {p.name for p in known.parameters} | {f"{name}_ou_mean" for name in known.input_names}
    p = {name: rng.uniform(0.2, 1.0, 20) for name in sorted(names)}
    y = rng.uniform(0.2, 1.0, (len(equations.variables), 20))
    for k in range(len(y)):
        along = np.eye(len(y))[:, k, None]
        after, before = (np.array(equations.slopes(y + h * along, p, 0.7, None)) for h in (1e-6, -1e-6))
        found = np.array(equations.slopes(y + 1e-30j * along, p, 0.7, None)).imag * 1e30
        np.testing.assert_allclose(found, (after - before) / 2e-6, rtol=1e-6, atol=1e-6)


def test_exponents_of_the_solver_are_eigenvalues_at_rest():
    r = np.array([0.5])
    v = -1.0 / (2.0 * np.pi * r)
    eta = float((np.pi * r[0]) ** 2 - 15.0 * r[0] - v[0] ** 2)
    point = truth.Point(PLAIN | {"eta": eta}, (0.5, float(v[0])), None, 30.0, 60.0, tangents=True)
    found = truth.solved("qif", [point]).values
    matrix = [[2.0 * v[0], 2.0 * r[0]], [15.0 - 2.0 * np.pi**2 * r[0], 2.0 * v[0]]]
    real = np.sort(np.linalg.eigvals(matrix).real)[::-1]
    assert found["lyapunov_1"][0] + found["lyapunov_2"][0] == pytest.approx(real.sum(), rel=1e-7)
    assert found["lyapunov_1"][0] == pytest.approx(real[0], abs=0.05)


PASSING = [
    ("qif", 0),
    pytest.param("qif_gap", 0, marks=pytest.mark.thorough),
    pytest.param("qif_gap", 1, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("model", "number"), PASSING)
def test_no_number_of_random_points_is_silently_wrong(model, number):
    """Every observable of these points is within the tolerance, or the point has a flag."""
    case = truth.drawn_case(model, number, 17, 12, longest=600)
    verdict = truth.Verdict()
    points = case.points()
    truth.judge(case, points, truth.solved(model, points), verdict)
    assert verdict.numbers > 50
    assert verdict.unsolved < 3
    assert [row["scan"] for row in verdict.silent] == []
    assert len(verdict.wrongly_flagged) <= 1


def test_a_wrong_number_is_seen(monkeypatch):
    """A mean that is off by two tolerances is silent; with a flag it is not."""
    case = truth.drawn_case("qif", 0, 17, 12, longest=600)
    points = case.points()
    exact = truth.solved("qif", points)
    data = truth.run(case)
    names = [f"{v}_{kind}" for v in "rv" for kind in ("mean", "std", "min", "max", "final")]
    right = data.assign({n: ("point", exact.values[n]) for n in case.observables if n in names})
    right["status"][:] = int(qs.Status.computed)
    wrong = right.assign(r_mean=right["r_mean"] * 1.0021)
    right_values, wrong_values = ({n: x[n].values for n in (*case.observables, "dt")} for x in (right, wrong))
    assert truth.deviations(case.compared, exact, right_values)["r_mean"].max() < 1e-6
    assert truth.deviations(case.compared, exact, wrong_values)["r_mean"].min() > 2.0
    for flag, silent in ((qs.Status.computed, 12), (qs.Status.computed | qs.Status.under_resolved, 0)):
        shown = wrong.copy(deep=True)
        shown["status"][:] = int(flag)
        monkeypatch.setattr(truth, "run", lambda case, shown=shown: shown)
        verdict = truth.Verdict()
        truth.judge(case, points, exact, verdict)
        assert len([row for row in verdict.silent if "r_mean" in row["all"]]) == silent


def test_a_line_of_a_finding_is_a_scan_of_that_point():
    case = truth.drawn_case("qif", 1, 17, 3, longest=600)
    scan = eval(case.line(2, ["v_max"]), {"qs": qs})
    assert scan.size == 1
    assert scan.axes["point"].columns["J"] == case.columns["J"][2]
    assert scan.protocol == case.scan().protocol
    assert replace(case).observables == case.observables


def test_a_delay_that_holds_more_steps_than_are_remembered_has_no_truth_and_harms_no_other(monkeypatch):
    known = PLAIN | {"eta": -2.0, "J": 2.0}
    points = [Point(known | {"delay": delay}, (0.3, -1.0), None, 0.0, 30.0, None) for delay in (25.0, 0.4)]
    whole = adaptive.solved("qif_delay", points).values["r_final"]
    monkeypatch.setattr(adaptive, "HISTORY", 24)
    found = adaptive.solved("qif_delay", points).values["r_final"]
    assert np.isfinite(whole).all()
    assert np.isnan(found[0])
    assert found[1] == whole[1]


@pytest.mark.parametrize("model", truth.MODELS)
def test_cases_of_every_kind_of_every_model_are_scans_and_points(model):
    for number in range(11):
        case = truth.drawn_case(model, number, 53, 3, longest=600)
        assert case.scan().size == len(case.points()) == 3


@pytest.mark.parametrize(
    "model",
    ["qif", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("qif_delay", "qif_pair"))],
)
def test_means_and_deviations_under_noise_are_those_of_a_heun_code(model):
    """Noise on both variables of each population. One of these tests is wrong with probability 1e-4."""
    found = truth._noisy(model, truth.NOISY[3], np.random.default_rng(1))
    assert min(row["p"] for row in found) > 1e-4 / len(found)
    assert not any(row["flagged"] for row in found)


def test_a_heun_code_with_another_noise_is_told_from_it(monkeypatch):
    """The test can fail: noise a quarter stronger is seen."""
    ours = truth.heun

    def stronger(model, p, *others):
        return ours(model, p | {"v_ou_sigma": 1.25 * p["v_ou_sigma"]}, *others)

    monkeypatch.setattr(truth, "heun", stronger)
    found = truth._noisy("qif", truth.NOISY[3], np.random.default_rng(1))
    assert min(row["p"] for row in found) < 1e-6
