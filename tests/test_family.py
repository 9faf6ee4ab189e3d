"""Every model of the family simulates: right against SciPy, at rest where it rests, the same everywhere."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import FAMILY, model_named
from qifscan.theory.rest import ASIDE, Rest

# The fields of all models are held against equations of their own in tests/test_more_models.py.
RUN = ("adaptation", "depression", "plasticity", "qif_synapse", "gap", "qif_pair_alpha", "bimodal")
RELATIVES = [name for name in FAMILY if name == "qif_pair" or any(part in name for part in RUN)]
OF_EACH_KIND = ("qif_adaptation_exponential", "qif_gap", "qif_pair")
"""A slow variable, another term in the rate, and two populations; others have the same parts."""
PERIOD = 20.0


def chosen(name, count, seed=0):
    """Return random parameters of a model, arrays along `n`, and a state for it to start from."""
    rng = np.random.default_rng(seed)
    model = FAMILY[name]
    default = {p.name: p.default for p in model.parameters}
    coupling = next(n for n in ("J", "J_ee", "g") if n in default)
    given = {
        coupling: default[coupling] + rng.uniform(0.0, 3.0, count),
        model.graph: default[model.graph] + rng.uniform(-1.0, 4.0, count),
    }
    if "alpha" in default:
        given["alpha"] = rng.uniform(0.02, 0.1, count) * (1.0 if "depression" in name else 15.0)
    if "g" in default:
        given["g"] = rng.uniform(0.0, 1.0, count)
    begin = {"r": 0.2, "v": -0.5, "u": 0.3, "x": 0.6}
    start = {v: begin.get(v[0], 0.1) for v in model.variable_names}
    return {k: xr.DataArray(x, dims="n") for k, x in given.items()}, start


def solved(name, parameters, start, times, drive=None):
    """Return the trajectory by DOP853, `(variables, times)`."""
    model = FAMILY[name]
    constants = model.constants({p.name: p.default for p in model.parameters} | parameters)
    driven = model.stimulated

    def slope(t, y):
        push = 0.0 if drive is None else drive.amplitude * math.sin(2.0 * math.pi * t / drive.period)
        return model.field(
            tuple(y), tuple(push if v == driven else 0.0 for v in model.variable_names), constants
        )

    begin = [start[v] for v in model.variable_names]
    return solve_ivp(slope, times[[0, -1]], begin, "DOP853", times, rtol=1e-10, atol=1e-12).y


@pytest.mark.parametrize(
    "name",
    [n if n in OF_EACH_KIND else pytest.param(n, marks=pytest.mark.thorough) for n in RELATIVES],
)
def test_a_model_agrees_with_dop853_with_and_without_a_drive(name):
    """To 1e-3 of |W| at any time, the tolerance of the runs; typically to 1e-5."""
    given, start = chosen(name, 3)
    drives = (None, qs.Sine(amplitude=1.0, period=PERIOD))
    for drive in drives if name == "qif_adaptation_exponential" else drives[1:]:
        found = qs.simulate(name, t_end=20.0, every=10, initial=start, drive=drive, **given)
        assert not (found["status"].values & ~np.uint8(qs.Status.computed | qs.Status.not_settled)).any()
        for i in range(3):
            here = {k: float(x[i]) for k, x in given.items()}
            exact = solved(name, here, start, found["time"].values, drive)
            for k, v in enumerate(FAMILY[name].variable_names):
                size = _size(FAMILY[name], exact)
                np.testing.assert_array_less(np.abs(found[v].values[i] - exact[k]), 1e-3 * size)


def _size(model, exact):
    """Return |W| of all populations, in the units of each."""
    units = model.units({p.name: p.default for p in model.parameters})
    of_populations = [k for k, v in enumerate(model.variables) if v.input_unit]
    return np.sqrt(sum((units[k] * exact[k]) ** 2 for k in of_populations))


@pytest.mark.parametrize(("integrator", "order"), [("rk4", 4), ("heun", 2)])
def test_the_error_falls_with_the_order_of_the_integrator(integrator, order):
    name, times = "qif_adaptation_exponential", np.array([0.0, 4.0])
    start = {"r": 0.2, "v": -0.5, "a": 0.1}
    exact = solved(name, {}, start, times)[:, -1]
    errors = []
    for dt in (0.02, 0.01, 0.005):
        ends = round(4.0 / dt)
        found = qs.simulate(name, t_end=4.0, dt=dt, every=ends, initial=start, integrator=integrator)
        errors.append(max(abs(float(found[v][-1]) - exact[k]) for k, v in enumerate("rva")))
    measured = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(measured, order, atol=0.25)


def at_equilibria(name):
    """A scan of a model over its graph parameter and all named states."""
    model = FAMILY[name]
    default = {p.name: p.default for p in model.parameters}[model.graph]
    return qs.Scan(
        model=name,
        axes={model.graph: default + np.linspace(-2.0, 4.0, 9), "initial": ["rest", "up"]},
        fixed={"J_ie": 3.0} if name == "qif_pair" else {},
        protocol=qs.Protocol(transient=0.0, window=20.0),
        precision="float64",
        observables=[f"{v}_final" for v in model.variable_names] + [f"{v.name}_max" for v in model.rates],
    )


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(n, marks=pytest.mark.thorough) for n in ("qif_adaptation_alpha", "qif_pair")),
        "qif_plasticity",
        "qif_gap",
    ],
)
def test_a_model_stays_at_its_stable_equilibria(name, tmp_path):
    """Those of `qs.equilibria`, which finds them as roots along the rate; to 1e-9."""
    scan = at_equilibria(name)
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial").load()
    model = FAMILY[name]
    exact = qs.equilibria(name, **scan.fixed, **{model.graph: scan.axes[model.graph].labels})
    np.testing.assert_array_equal(found["equilibrium_count"], np.stack([exact["count"]] * 2, axis=1))
    settled = 0
    for i in range(9):
        for k, label in enumerate(("rest", "up")):
            here = exact.isel({model.graph: i})
            rows = np.flatnonzero(np.isfinite(here["r" if "r" in here else "r_e"]))
            stable = [j for j in rows if here["stable"][j]]
            at = (stable or rows)[0] if label == "rest" else rows[-1]
            point = found.isel({model.graph: i, "initial": k})
            if not here["stable"][at]:
                continue
            settled += 1
            assert int(point["settled_on"]) == at
            assert int(point["status"]) == qs.Status.computed
            for v in model.variable_names:
                scale = 1e-9 * (abs(float(here[v][at])) + 1e-3)
                assert abs(float(point[f"{v}_final"]) - float(here[v][at])) < scale
                if v in [rate.name for rate in model.rates]:
                    assert abs(float(point[f"{v}_max"]) - float(here[v][at])) < scale
    assert settled >= 6


def test_where_no_equilibrium_is_stable_the_run_starts_beside_one_and_is_flagged(tmp_path):
    """Gap junctions with J = 0, g = 2, delta = 1: the only equilibrium is stable below eta = 3/4 alone.

    By hand: v = g/2 - 1/(2 pi r) at rest; the trace 4 v - g is 0 where pi r = 2/g = 1, v = 1/2, and so
    eta = (pi r)^2 - v^2 = 3/4; the determinant there is 3.
    """
    scan = qs.Scan(
        model="qif_gap",
        axes={"eta": [0.70, 0.80, 2.0]},
        fixed={"J": 0.0, "g": 2.0},
        protocol=qs.Protocol(transient=200.0, window=50.0),
        observables=["r_std", "r_mean"],
    )
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial")
    flagged = (found["status"].values & qs.Status.not_settled) > 0
    assert flagged.tolist() == [False, True, True]
    assert found["r_std"].values[2] > 0.05 * found["r_mean"].values[2]
    rest = Rest.of(model_named("qif_gap"), scan.columns((np.arange(3),)))
    r, _ = rest.named("rest")
    np.testing.assert_allclose(r / rest.rates[:, 0], [1.0, ASIDE, ASIDE], rtol=1e-12)


@pytest.mark.thorough
def test_the_bursts_of_adaptation_have_the_period_and_the_range_that_auto_finds(tmp_path):
    """Of the stable cycle at delta = 2, J = 15 sqrt 2, alpha = 1, tau_a = 10 ms, eta = -2.0000141569.

    Collocation to 1e-10: T = 47.4627105571 ms, r in [0.0996100205, 3.4660747772]; AUTO: T = 47.462709984.
    """
    model, tight = "qif_adaptation_alpha", 1e-6
    given = {"eta": -2.0000141569, "delta": 2.0, "J": 15.0 * math.sqrt(2.0), "alpha": 1.0, "tau_a": 10.0}
    start = {"r": 1.0, "v": 0.0, "a": 8.0, "b": 0.0}
    protocol = qs.Protocol(transient=500.0, window=100.0, tolerance=tight, initial=start)
    scan = qs.Scan(
        model=model,
        fixed=given,
        protocol=protocol,
        precision="float64",
        observables=["r_min", "r_max"],
        traces=qs.Traces(points=[{}]),
    )
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial").load()
    assert float(found["r_min"]) == pytest.approx(0.0996100205, rel=1e-5)
    assert float(found["r_max"]) == pytest.approx(3.4660747772, rel=1e-5)
    a, times = found["a_trace"].values[0], found["time"].values
    rises = np.flatnonzero((a[1:] >= 8.0) & (a[:-1] < 8.0))
    crossings = times[rises] + (8.0 - a[rises]) / (a[rises + 1] - a[rises]) * 0.05
    late = crossings[crossings > 400.0]
    cycles = round((late[-1] - late[0]) / 47.46)
    assert cycles >= 3
    assert (late[-1] - late[0]) / cycles == pytest.approx(47.4627105571, rel=1e-5)


def noisy(name, **changes):
    """A scan of a relative with noise, replicates, and steps that differ from point to point."""
    definition = {
        "model": name,
        "axes": {"eta": np.linspace(-4.0, 0.0, 5), "J": [12.0, 18.0], "initial": ["down", "up"]},
        "fixed": {"v_ou_sigma": 0.3},
        "replicates": 2,
        # A run again at half the step would be another program to compile.
        "protocol": qs.Protocol(transient=3.3, window=26.0, tolerance=0.3),
        "observables": ["r_mean", "s_std"],
    }
    return qs.Scan(**{**definition, **changes})


def bits(path):
    dataset = qs.open_scan(path).load()
    return {str(name): values.values for name, values in dataset.variables.items()}


@pytest.mark.thorough
def test_chunks_extension_and_replay_give_the_same_bits(tmp_path):
    name = "qif_synapse"
    whole, parts = tmp_path / "whole.zarr", tmp_path / "parts.zarr"
    steps = qs.run(noisy(name), whole, client="serial")["dt"].values
    assert len(np.unique(steps)) > 1
    qs.run(noisy(name), parts, client="serial", chunk_points=7)
    expected = bits(whole)
    for key, values in bits(parts).items():
        assert values.tobytes() == expected[key].tobytes(), key
    less = noisy(name, axes={"eta": [-4.0, -2.0], "J": [12.0, 18.0], "initial": ["down", "up"]})
    shorter = qs.Protocol(transient=3.3, window=13.0, tolerance=0.3)
    qs.run(noisy(name, protocol=shorter), tmp_path / "short.zarr", client="serial")
    qs.run(less, tmp_path / "less.zarr", client="serial")
    for number, older in enumerate(("short.zarr", "less.zarr")):
        path = tmp_path / f"extended{number}.zarr"
        qs.run(noisy(name), path, client="serial", extend=tmp_path / older)
        for key, values in bits(path).items():
            assert values.tobytes() == expected[key].tobytes(), (older, key)
    again = qs.replay(whole, eta=-2.0, J=18.0, initial="up", replicate=1)
    assert again.attrs["checked"] == "equal bit for bit"
    assert set("rvs") <= set(again.data_vars)


def test_a_point_rests_where_it_rests_alone():
    """The equilibria of 60 random points, and of each by itself, to the last bit."""
    rng = np.random.default_rng(5)
    for name, model in FAMILY.items():
        columns = {p.name: np.full(60, p.default) for p in model.parameters}
        for key in columns:
            columns[key] = columns[key] + (rng.uniform(-4.0, 6.0, 60) if key[0] in "Je" else 0.0)
        columns |= {f"{v}_ou_mean": rng.uniform(0.0, 0.2, 60) for v in model.input_names}
        together = Rest.of(model, columns)
        for i in range(0, 60, 7):
            alone = Rest.of(model, {key: values[i : i + 1] for key, values in columns.items()})
            width = alone.rates.shape[1]
            assert alone.rates.tobytes() == together.rates[i : i + 1, :width].tobytes(), name
            for one, all_of_them in zip(alone.modes, together.modes, strict=True):
                assert one[0].tobytes() == all_of_them[i, :width].copy().tobytes(), name


def test_a_slow_variable_filters_the_noise_as_linear_response_says(tmp_path):
    """qif_synapse at its lower node, OU noise on v: the covariance solves A C + C A^T + B B^T = 0 with z.

    Independent replicates; the mean square over the window is an average of them, whose standard error is
    measured. 5 standard errors: a right program fails in under 1 of 10^6 seeds, for each of three numbers.
    """
    parameters = {"eta": -5.0, "J": 15.0, "tau_d": 5.0}
    sigma, ou_tau, replicates = 0.05, 5.0, 256
    exact = qs.equilibria("qif_synapse", **parameters).isel(equilibrium=0)
    r, v = float(exact["r"]), float(exact["v"])
    a = np.array(
        [
            [2 * v, 2 * r, 0.0, 0.0],
            [-2 * math.pi**2 * r, 2 * v, 15.0, 1.0],
            [1 / 5.0, 0.0, -1 / 5.0, 0.0],
            [0.0, 0.0, 0.0, -1 / ou_tau],
        ]
    )
    noise = np.zeros((4, 4))
    noise[3, 3] = sigma**2
    one = np.eye(4)
    covariance = np.linalg.solve(np.kron(a, one) + np.kron(one, a), -noise.ravel()).reshape(4, 4)
    scan = qs.Scan(
        model="qif_synapse",
        fixed={**parameters, "v_ou_sigma": sigma, "v_ou_tau": ou_tau},
        replicates=replicates,
        protocol=qs.Protocol(transient=50.0, window=50.0, initial="down"),
        observables=[f"{y}_{kind}" for y in "rvs" for kind in ("mean", "std")],
        precision="float64",
    )
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial").load()
    for k, (y, at) in enumerate(zip("rvs", (r, v, r), strict=True)):
        squares = found[f"{y}_std"].values ** 2 + (found[f"{y}_mean"].values - at) ** 2
        error = squares.std(ddof=1) / math.sqrt(replicates)
        # The nonlinear correction is of the order sigma^2 too; here 2 % at most.
        assert abs(squares.mean() - covariance[k, k]) < 5.0 * error + 0.02 * covariance[k, k], y


def exponents(tmp_path, model, **definition):
    """Return the Lyapunov exponents of the points of a scan, `(points, variables)`, and its dataset."""
    names = [f"lyapunov_{k}" for k in range(1, len(FAMILY[model].variables) + 1)]
    scan = qs.Scan(model=model, precision="float64", observables=[*names, "v_mean"], **definition)
    found = qs.run(scan, tmp_path / "scan.zarr", client="serial").load()
    return np.stack([found[name].values for name in names], axis=-1), found


@pytest.mark.thorough
def test_the_exponents_at_an_equilibrium_are_the_real_parts_of_its_eigenvalues(tmp_path):
    """A real one to 1e-5; the two of a focus go round: over T they are off by 1/T, and their mean is not.

    Eigenvalues from `qs.equilibria`; adaptation with an alpha kernel has a slow pair and two real ones there.
    """
    protocol = qs.Protocol(transient=60.0, window=200.0)
    found, _ = exponents(tmp_path, "qif_adaptation_alpha", axes={"eta": [-5.0, -8.0]}, protocol=protocol)
    exact = qs.equilibria("qif_adaptation_alpha", eta=[-5.0, -8.0]).isel(equilibrium=0)
    real = exact["eigenvalue_real"].values[:, ::-1]
    assert (exact["eigenvalue_imag"].values[:, 2:] != 0.0).all()
    np.testing.assert_allclose(found[:, 2:], real[:, 2:], rtol=1e-5)
    np.testing.assert_allclose(found[:, :2].mean(axis=1), real[:, 0], atol=1e-4)
    np.testing.assert_allclose(found[:, :2], real[:, :2], atol=1.0 / 200.0)


def test_the_exponents_of_the_plain_model_add_up_to_four_times_the_mean_potential(tmp_path):
    """4 <v>/tau, the trace of the Jacobian, along any orbit, here a driven one (NUMBERS.md)."""
    found, dataset = exponents(
        tmp_path,
        "qif",
        axes={"tau": [1.0, 10.0]},
        drive=qs.Sine(amplitude=3.0, period=20.0),
        protocol=qs.Protocol(transient=20.0, window=100.0),
    )
    expected = 4.0 * dataset["v_mean"].values / [1.0, 10.0]
    np.testing.assert_allclose(found.sum(axis=1), expected, rtol=2e-5)
    assert (found[:, 0] >= found[:, 1]).all()


def test_only_equations_of_populations_take_noise():
    scan = qs.Scan(model="qif_synapse")
    assert "s_ou_sigma" not in scan.parameters
    assert {"r_ou_sigma", "v_ou_sigma", "s_initial", "tau_d"} <= set(scan.parameters)


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        ({"model": "qif_adaption_alpha"}, "model"),
        ({"model": "qif_synapse", "fixed": {"alpha": 1.0}}, "fixed.alpha"),
        ({"model": "qif_synapse", "fixed": {"s_ou_sigma": 1.0}}, "fixed.s_ou_sigma"),
        ({"model": "qif_synapse", "observables": ["a_mean"]}, "observables"),
        (
            {"model": "qif_synapse", "protocol": qs.Protocol(initial={"r": 0.1, "v": -1.0})},
            "protocol.initial",
        ),
        ({"model": "qif_plasticity", "fixed": {"U": 1.5}}, "fixed.U"),
        ({"model": "qif_synapse", "protocol": qs.Protocol(integrator="riccati")}, "protocol.integrator"),
        ({"model": "qif_pair", "fixed": {"r_i_ou_mean": -1.0}}, "r_i_ou_mean"),
        ({"model": "no_such_module:model"}, "model"),
        ({"model": "qifscan.models:POPULATION"}, "model"),
        ({"model": "os; import sys:x"}, "model"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(definition, line):
    with pytest.raises(qs.ScanError) as raised:
        qs.Scan(**definition)
    assert [fault.where for fault in raised.value.faults] == [line]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", FAMILY)
def test_the_parts_of_a_definition_belong_together(name):
    qs.check_model(name)


def test_the_integrator_is_the_first_that_the_model_has_and_part_of_the_fingerprint():
    assert qs.Scan(model="qif_pair").protocol.integrator == "rk4"
    assert qs.Scan().protocol.integrator == "riccati"
    assert qs.Scan() == qs.Scan(protocol=qs.Protocol(integrator="riccati"))


GUIDE = Path(__file__).parents[1] / "docs" / "extend" / "model.md"


@pytest.fixture
def guide(tmp_path, monkeypatch):
    """The Python blocks of the guide; the first is the user's file, where it can be imported from, and so is
    one that begins with the name of another."""
    first, *others = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "izhikevich.py").write_text(first)
    for name, block in [(re.match(r"# (\w+\.py)\n", block), block) for block in others]:
        if name:
            (tmp_path / name[1]).write_text(block)
    return others


def test_the_guide_to_a_model_of_ones_own_runs(guide, tmp_path):
    found = {}
    for block in guide:
        exec(block, found)
    dataset, scan = found["dataset"].load(), found["scan"]
    assert (dataset["status"].values == qs.Status.computed).all()
    assert qs.Scan.from_json(scan.to_json()) == scan
    with pytest.raises(qs.StoreError, match="another version of the file"):
        _with_another_source(tmp_path / "izhikevich.zarr", scan.definition()["model_source"])


def _with_another_source(path, source):
    metadata = path / "zarr.json"
    metadata.write_text(metadata.read_text().replace(source, "0" * 64))
    shutil.rmtree(path / "qifscan-record")
    qs.verify(path)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("return r, v, p[", "return r, v, 2.0 * p[", "w moves"),
        ('p["jump"] * p["tau_w"] * r, s', 'p["jump"] * p["tau_w"] * r, 2.0 * s', "moves"),
        ('"time constant of the recovery"', '"time constant"', None),
        ('Parameter("tau_s", 2.0, "ms"', 'Parameter("tau_s", 2.0, "1"', "units"),
        ("+ input_v)", "+ 2.0 * input_v)", "absorbed"),
        ("- w\n", "- w + c['eta'] ** 2\n", "eta"),
        ('Variable("w", "1", "recovery")', 'Variable("w", "mV", "recovery")', '"mV"'),
        ('Variable("w", "1"', 'Variable("tau", "1"', "tau"),
    ],
)
def test_a_mistake_in_a_model_is_told(guide, tmp_path, monkeypatch, right, wrong, told):
    text = (tmp_path / "izhikevich.py").read_text()
    assert right in text
    found = {}
    exec(text.replace(right, wrong), found)
    if told is None:
        qs.check_model(found["izhikevich"])
        return
    with pytest.raises(qs.ScanError, match=re.escape(told)):
        qs.check_model(found["izhikevich"])
