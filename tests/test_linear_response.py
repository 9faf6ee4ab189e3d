"""Linear response and spectra: by closed forms, differences, Lyapunov's equation and long simulations."""

import doctest

import matplotlib as mpl
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import model_named

mpl.use("agg")

UP = {"eta": -5.0, "J": 15.0}
STABLE = {
    "qif": UP,
    "qif_adaptation_alpha": {"eta": -5.0, "delta": 2.0, "J": 21.0, "alpha": 0.5},
    "qif_plasticity": {"eta": -3.0},
    "qif_gap": {"eta": -2.0},
    "qif_pair": {"eta_e": -5.0, "eta_i": -5.0},
    "qif_delay": {"eta": -1.0, "J": -5.0, "delay": 1.0},
}


def stable_one(dataset):
    """The stable equilibrium of highest rate."""
    return dataset.isel(equilibrium=int(np.flatnonzero(dataset["stable"].values)[-1]))


def by_differences(name, state, given, f):
    """The response of every variable to the drive, from differences of the field."""
    model = model_named(name)
    p = {row.name: row.default for row in model.parameters} | given
    constants, size = model.constants(p), len(model.variables)

    def field(y, u):
        return np.array(model.field(tuple(y), tuple(u), constants), dtype=float)

    zero, late = np.zeros(size), constants.get("past", 0.0)
    rest_input = zero.copy()
    if model.delay:
        rest_input[1] = late * state[0]
    h = 1e-6
    matrix, gain = np.empty((size, size)), None
    for j in range(size):
        step = h * np.eye(size)[j]
        matrix[:, j] = (field(state + step, rest_input) - field(state - step, rest_input)) / (2 * h)
    unit = np.eye(size)[model.variable_names.index(model.stimulated)]
    gain = (field(state, rest_input + h * unit) - field(state, rest_input - h * unit)) / (2 * h)
    found = []
    for w in 2 * np.pi * np.asarray(f):
        turned = 1j * w * np.eye(size) - matrix
        if model.delay:
            turned[:, 0] -= gain * late * np.exp(-1j * w * p["delay"])
        found.append(np.linalg.solve(turned, gain.astype(complex)))
    return np.array(found)


@pytest.mark.parametrize("name", STABLE)
def test_it_is_that_of_the_jacobian_from_differences(name):
    f = np.geomspace(1e-3, 3.0, 25)
    found = stable_one(qs.linear_response(name, f, **STABLE[name]))
    names = model_named(name).variable_names
    state = np.array([float(found[n]) for n in names])
    expected = by_differences(name, state, STABLE[name], f)
    for i, variable in enumerate(names):
        own = found[f"{variable}_gain"].values * np.exp(1j * found[f"{variable}_phase"].values)
        assert np.abs(own - expected[:, i]).max() < 2e-6 * np.abs(expected[:, i]).max(), variable


def test_the_plain_model_has_the_closed_form():
    f = np.geomspace(1e-3, 10.0, 50)
    tau, J = 2.0, 12.0
    found = stable_one(qs.linear_response("qif", f, eta=-3.0, J=J, tau=tau))
    r, v = float(found["r"]), float(found["v"])
    a, b, c = 2.0 * v / tau, 2.0 * r / tau, J - 2.0 * np.pi**2 * tau * r
    _, response = scipy.signal.freqresp(
        scipy.signal.TransferFunction([b / tau], [1.0, -2.0 * a, a * a - b * c]), 2.0 * np.pi * f
    )
    own = found["r_gain"].values * np.exp(1j * found["r_phase"].values)
    assert own == pytest.approx(response, rel=1e-9)


@pytest.mark.parametrize("name", [n for n in STABLE if n != "qif_pair"])
def test_slow_inputs_move_it_along_its_branch(name):
    given = STABLE[name]
    ends = []
    for sign in (1.0, -1.0):
        rest = qs.equilibria(name, **(given | {"eta": given["eta"] + sign * 1e-5}))
        ends.append(float(rest["r"].where(rest["stable"]).max()))
    found = stable_one(qs.linear_response(name, [0.0, 1e-7], **given))
    assert found["r_gain"].values == pytest.approx(abs(ends[0] - ends[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("name", ["qif", "qif_adaptation_alpha", "qif_delay"])
def test_a_weak_sine_is_followed_like_that(name):
    f, weak = 0.05, 1e-4
    given = STABLE[name]
    found = stable_one(qs.linear_response(name, f, **given))
    drive = qs.Sine(amplitude=weak, period=1.0 / f)
    made = qs.simulate(name, t_end=400.0, dt=0.01, initial="up", drive=drive, integrator="rk4", **given)
    late = made.sel(time=slice(200.0, 399.995))
    carrier = np.exp(-2j * np.pi * f * late["time"].values)
    for variable in ("r", "v"):
        own = 2.0 * np.mean((late[variable].values - late[variable].values.mean()) * carrier) / weak
        # The drive is a sine, the imaginary part of what the response is defined by.
        own *= 1j
        exact = float(found[f"{variable}_gain"].item()) * np.exp(
            1j * float(found[f"{variable}_phase"].item())
        )
        assert abs(own - exact) < 2e-3 * abs(exact), variable


def test_the_power_adds_up_to_the_variance_of_lyapunovs_equation():
    noise = {"v_ou_sigma": 0.3, "v_ou_tau": 3.0, "r_ou_sigma": 0.1, "r_ou_tau": 8.0}
    f = np.concatenate([[0.0], np.geomspace(1e-5, 1e3, 20001)])
    found = stable_one(qs.linear_response("qif", f, **UP, **noise))
    r, v = float(found["r"]), float(found["v"])
    matrix = np.zeros((4, 4))
    matrix[:2, :2] = [[2.0 * v, 2.0 * r], [15.0 - 2.0 * np.pi**2 * r, 2.0 * v]]
    matrix[0, 2], matrix[1, 3], matrix[2, 2], matrix[3, 3] = 1.0, 1.0, -1.0 / 8.0, -1.0 / 3.0
    strength = np.diag([0.0, 0.0, 0.1**2, 0.3**2])
    variance = scipy.linalg.solve_continuous_lyapunov(matrix, -strength)
    for i, name in enumerate(("r", "v")):
        assert np.trapezoid(found[f"{name}_power"].values, f) == pytest.approx(variance[i, i], rel=1e-4)


def test_what_is_simulated_has_the_exact_spectrum():
    noise = {"v_ou_sigma": 0.01, "r_ou_sigma": 0.002}
    made = qs.simulate(t_end=650.0, replicates=8, initial="up", seed=3, **UP, **noise)
    found = qs.power_spectrum(made, transient=50.0, segment=50.0)
    found = found.sel(frequency=slice(None, 1.0))
    exact = stable_one(qs.linear_response("qif", found["frequency"].values, **UP, **noise))
    for name in ("r_power", "v_power"):
        ratio = found[name].values / exact[name].values
        assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
        inside = (found[f"{name}_low"].values < exact[name].values) & (
            exact[name].values < found[f"{name}_high"].values
        )
        assert 0.85 < inside.mean() <= 1.0


def test_it_broadcasts_and_is_not_defined_where_nothing_is_stable():
    found = qs.linear_response("qif", [0.1, 0.2], eta=[-6.0, -5.0], J=xr.DataArray([10.0, 15.0], dims="J"))
    assert found["r_gain"].dims == ("eta", "J", "equilibrium", "frequency")
    assert "r_power" not in found
    there = np.isfinite(found["r_gain"]).all("frequency")
    assert bool((there == found["stable"]).all())
    one = qs.linear_response("qif", [0.1, 0.2], eta=-5.0, J=15.0)
    own = found.sel(eta=-5.0, J=15.0)
    assert own["r_gain"].values == pytest.approx(one["r_gain"].values, nan_ok=True)
    assert own["r"].values == pytest.approx(qs.equilibria(eta=-5.0, J=15.0)["r"].values, nan_ok=True)


def test_the_mean_of_the_noise_moves_the_equilibria():
    moved = qs.linear_response("qif", 0.1, eta=-5.5, J=15.0, v_ou_mean=0.5)
    same = qs.linear_response("qif", 0.1, **UP)
    assert moved["r_gain"].values == pytest.approx(same["r_gain"].values, nan_ok=True)


def test_the_spectrum_of_a_sine_has_its_variance_at_its_frequency():
    time = np.arange(0.0, 200.0, 0.05)
    data = xr.Dataset(
        {"r": ("time", 1.0 + 0.2 * np.sin(2 * np.pi * 0.4 * time)), "v": ("time", 0.0 * time)},
        coords={"time": time},
        attrs={"model": "qif"},
    )
    found = qs.power_spectrum(data, segment=50.0)
    step = float(found["frequency"][1] - found["frequency"][0])
    assert float(found["r_power"].sum()) * step == pytest.approx(0.2**2 / 2.0, rel=1e-6)
    assert float(found["frequency"][int(np.argmax(found["r_power"].values))]) == pytest.approx(0.4)
    f, power = scipy.signal.welch(data["r"].values, fs=20.0, nperseg=1000, detrend="constant")
    assert found["r_power"].values == pytest.approx(power[2:])
    assert found["frequency"].values == pytest.approx(f[2:])


def test_a_scan_gives_the_spectra_of_its_traces(tmp_path):
    scan = qs.Scan(
        axes={"eta": [-6.0, -5.0]},
        fixed={"v_ou_sigma": 0.1},
        protocol=qs.Protocol(transient=5.0, window=20.0),
        traces=qs.Traces(points=[{"eta": -5.0}], every=1),
    )
    dataset = qs.run(scan, tmp_path / "scan.zarr", progress=None)
    found = dataset.qs.power_spectrum(transient=5.0)
    assert found["r_power"].dims == ("trace", "frequency")
    assert float(found["trace_eta"].squeeze()) == -5.0
    names = [line.get_label() for line in found.qs.show().axes[0].lines]
    assert names == ["simulated, 95 % interval"]
    response = dataset.sel(eta=-5.0).qs.linear_response(0.1)
    assert float(response["v_ou_sigma"]) == 0.1
    assert "r_power" in response


@pytest.mark.parametrize("function", [qs.linear_response, qs.power_spectrum, qs.phase_plane])
def test_the_example_of_a_docstring_prints_what_stands_there(function):
    tests = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={})
    assert sum(len(test.examples) for test in tests) > 2
    runner = doctest.DocTestRunner()
    assert [runner.run(test).failed for test in tests] == [0]


@pytest.fixture(scope="module")
def both():
    noise = {"v_ou_sigma": 0.05}
    made = qs.simulate(t_end=250.0, replicates=4, initial="up", **UP, **noise)
    return qs.power_spectrum(made, transient=50.0), qs.linear_response("qif", **UP, **noise)


def test_exact_spectra_are_drawn_beside_simulated_ones(both):
    simulated, exact = both
    figure = qs.show(simulated, over=[exact])
    (axes,) = figure.axes
    names = [line.get_label() for line in axes.lines]
    assert names == ["simulated, 95 % interval", "exact, at r = 0.0811", "exact, at r = 1.03"]
    assert axes.lines[2].get_ydata() == pytest.approx(exact["r_power"].values[2])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    low, high = axes.get_xlim()
    assert low >= simulated["frequency"].values.min()
    assert high <= exact["frequency"].values.max()
    assert len(qs.show(exact, over=[simulated]).axes[0].lines) == 3


def test_gain_and_phase_are_drawn_over_frequency(both):
    figure = qs.show(both[1], ["r_gain", "r_phase"], select={"equilibrium": 2})
    above, below = figure.axes
    assert above.lines[0].get_ydata() == pytest.approx(both[1]["r_gain"].values[2])
    assert below.lines[0].get_ydata() == pytest.approx(both[1]["r_phase"].values[2])
    assert below.get_yscale() == "linear"
    assert both[1].qs.show(vmin=1e-6, vmax=1.0).axes[0].get_ylim() == (1e-6, 1.0)


def test_eigenvalues_are_drawn_along_a_branch():
    figure = qs.show(qs.branch(J=15.0), ["eigenvalue_real", "eigenvalue_imag"])
    rows = qs.branch(J=15.0)
    r, v = rows["r"].values, rows["v"].values
    root = np.sqrt(2.0 * r * (15.0 - 2.0 * np.pi**2 * r) + 0j)
    exact = np.stack([2.0 * v - root, 2.0 * v + root])
    for axes, part in zip(figure.axes, (exact.real, exact.imag), strict=True):
        drawn = np.concatenate(
            [line.get_xydata() for line in axes.lines if "equilibrium" in line.get_label()]
        )
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        apart = np.abs(drawn[:, None, 0] - rows["eta"].values) + np.abs(
            drawn[:, None, 1] - part[:, None]
        ).min(0)
        assert apart.min(axis=1).max() < 1e-6
    folds = next(line for line in figure.axes[0].lines if "fold" in line.get_label())
    assert folds.get_ydata() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_period_is_drawn_along_branches_of_cycles():
    given = {"model": "qif_adaptation_alpha", "delta": 2.0, "J": 15.0 * np.sqrt(2.0), "tau_a": 10.0}
    found = qs.cycle_branches(**given, alpha=1.0, within=(-1.0, 2.0), points=20)
    (axes,) = qs.show(found, ["period"]).axes
    assert axes.get_ylabel() == "period (ms)"
    line = next(line for line in axes.lines if "cycle" in line.get_label())
    drawn = line.get_ydata()[np.isfinite(line.get_ydata())]
    assert np.isin(drawn, found["period"].values).all()


WRONG = {
    "frequency": (lambda both: qs.linear_response("qif", -1.0), "frequency: found -1"),
    "text": (lambda both: qs.linear_response("qif", "a"), "frequency: found"),
    "none": (lambda both: qs.linear_response("qif", []), "frequency"),
    "twice": (lambda both: qs.linear_response("qif", [1.0, 1.0]), "frequency: found a value twice"),
    "size": (
        lambda both: qs.linear_response("qif", eta=np.linspace(-9, -1, 300), J=np.linspace(9, 20, 100)),
        "frequency: found 72,180,000 responses in all, expected at most 20,000,000",
    ),
    "name": (lambda both: qs.linear_response("qif", etta=1.0), 'did you mean "eta"'),
    "series": (lambda both: qs.power_spectrum(both[1]), "found a Dataset without time series"),
    "transient": (
        lambda both: qs.power_spectrum(qs.simulate(t_end=1.0), transient=2.0),
        "transient: found 2.0, expected a number of ms from 0 to 1",
    ),
    "segment": (lambda both: qs.power_spectrum(qs.simulate(t_end=1.0), segment=5.0), "segment: found 5.0"),
    "short": (lambda both: qs.power_spectrum(qs.simulate(t_end=1.0)), "segment: found .* ms of data"),
    "variable": (lambda both: qs.show(both[1], ["r_gian"]), 'did you mean "r_gain"'),
    "over": (lambda both: qs.show(both[1], over=[qs.equilibria()]), r"over\[0\]: found a Dataset"),
    "no line": (lambda both: qs.show(both[1], select={"equilibrium": 1}), "no equilibrium is stable there"),
    "select": (lambda both: qs.show(both[1], select={"equilibrium": 7}), "select.equilibrium: found 7"),
    "facet": (lambda both: qs.show(both[1], cmap="viridis"), "cmap"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_gets_one_line(both, case):
    make, words = WRONG[case]
    with pytest.raises(qs.ScanError, match=words) as caught:
        make(both)
    assert len(str(caught.value).splitlines()) == 1
