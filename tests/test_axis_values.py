"""Values of axes and parameters: what is no number, what looks like something else, names that are taken."""

import datetime
import logging

import numpy as np
import pytest
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import model_named
from qifscan.dynamics.observables import RESERVED, observables

MS = np.timedelta64(1_000_000, "ns")
"""One millisecond, which as an integer is a million."""

DURATIONS = {
    "numpy, ns": MS,
    "numpy, ms": np.timedelta64(1, "ms"),
    "date": np.datetime64("2026-01-01", "ns"),
    "Python": datetime.timedelta(milliseconds=1),
    "xarray": xr.DataArray(MS),
}

PLACES = {
    "axis": lambda x: qs.Scan(axes={"tau": [x]}),
    "array": lambda x: qs.Scan(axes={"tau": np.array([x])}),
    "labelled axis": lambda x: qs.Scan(axes={"tau": xr.DataArray(np.array([x]), dims="tau")}),
    "linspace": lambda x: qs.Scan(axes={"tau": {"linspace": [x, 2.0, 3]}}),
    "zipped axis": lambda x: qs.Scan(axes={"p": {"tau": [x], "eta": [1.0]}}),
    "points": lambda x: qs.Scan(points=[{"tau": x}]),
    "fixed": lambda x: qs.Scan(fixed={"tau": x}),
    "window": lambda x: qs.Protocol(window=x),
    "transient": lambda x: qs.Protocol(transient=x),
    "dt": lambda x: qs.Protocol(dt=x),
    "initial": lambda x: qs.Protocol(initial={"r": x, "v": 0.0}),
    "pulse": lambda x: qs.Pulse(amplitude=1.0, length=x),
    "sine": lambda x: qs.Sine(amplitude=1.0, period=x),
    "samples": lambda x: qs.Sampled(values=[0.0, 1.0], interval=x),
    "sampled values": lambda x: qs.Sampled(values=np.asarray(x).reshape(1).repeat(2), interval=1.0),
    "seed": lambda x: qs.Scan(seed=x),
    "t_end": lambda x: qs.simulate(t_end=x),
    "every": lambda x: qs.simulate(t_end=1.0, every=x),
    "tau of a simulation": lambda x: qs.simulate(t_end=1.0, tau=x),
    "theory": lambda x: qs.equilibria(tau=x),
    "range of theory": lambda x: qs.branch(along="eta", within=(x, x + x)),
    "range of cycles": lambda x: qs.cycle_branches("qif_sfa", along="eta", within=(x, x)),
}


@pytest.mark.parametrize("duration", DURATIONS)
@pytest.mark.parametrize("place", PLACES)
def test_a_duration_is_refused_everywhere_alike(place, duration):
    if (duration, place) in {("date", "range of theory"), ("xarray", "array"), ("xarray", "labelled axis")}:
        pytest.skip("two dates have no sum, and NumPy takes an array of arrays apart")
    with pytest.raises(qs.ScanError) as caught:
        PLACES[place](DURATIONS[duration])
    assert len(str(caught.value).splitlines()) == (2 if place == "sampled values" else 1)


def test_a_duration_comes_with_what_to_do():
    with pytest.raises(qs.ScanError) as caught:
        qs.Scan(axes={"tau": np.array([MS, 2 * MS])})
    text = str(caught.value)
    assert text.startswith("axes.tau: found 1000000 nanoseconds and 1 more, expected a finite number")
    assert text.endswith('divide by np.timedelta64(1, "ms")')
    assert qs.Scan(axes={"tau": np.array([MS, 2 * MS]) / np.timedelta64(1, "ms")}) == qs.Scan(
        axes={"tau": [1.0, 2.0]}
    )


@pytest.mark.parametrize(
    ("given", "is_told"),
    [
        ((-10, 5, 100), True),
        ([0.0, 30.0, 256], True),
        ((-10, 5), False),
        ((0, 10, 20), False),  # even steps
        ((1, 10, 100), False),  # even ratios
        ((-10, 5, 100.0), False),
        (np.array([-10.0, 5.0, 100.0]), False),
        ((-8, -5, 3), False),
    ],
)
def test_three_values_like_a_linspace_are_told(caplog, given, is_told):
    with caplog.at_level(logging.WARNING):
        scan = qs.Scan(axes={"eta": given})
    assert scan.axes["eta"].labels.tolist() == [float(x) for x in given]
    assert bool(caplog.records) == is_told
    if is_told:
        first, last, count = given
        asked = f'{{"linspace": [{first:g}, {last:g}, {count}]}}'
        assert f"three values, {first:g}, {last:g} and {count}" in caplog.text
        assert asked in caplog.text


SHORT = qs.Protocol(transient=0.1, window=0.1)

KINDS = {
    "plain": qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=SHORT),
    "noise on the rate": qs.Scan(
        axes={"eta": [-5.0, -4.0], "r_ou_sigma": [0.0, 0.1]}, replicates=2, protocol=SHORT
    ),
    "sweep": qs.Scan(
        axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=0.1, window=0.1, sweep="eta")
    ),
    "traces": qs.Scan(
        axes={"eta": [-5.0, -4.0], "initial": ["up", "down"]}, protocol=SHORT, traces=qs.Traces(points=[{}])
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_in_a_store_is_refused_as_that_of_an_axis(tmp_path, kind):
    scan = KINDS[kind]
    qs.run(scan, tmp_path / "scan.zarr")
    dataset = xr.open_zarr(tmp_path / "scan.zarr", consolidated=False)
    model = model_named(scan.model)
    own = {*scan.parameters, *model.variable_names}
    names = {str(name).rsplit("/", 1)[-1] for name in [*dataset.variables, *dataset.dims]}
    assert names <= own | RESERVED | {*observables(model), "r_trace", "v_trace"} | {
        name for name in names if name.startswith("trace_")
    }
    for name in sorted(names - set(scan.parameters)):
        with pytest.raises(qs.ScanError):
            qs.Scan(axes={name: {"eta": [1.0, 2.0], "J": [1.0, 2.0]}})


@pytest.mark.parametrize("name", ["error_estimate", "dt", "disagreement", "checkpoint", "settled_on", "byte"])
def test_a_zipped_axis_with_the_name_of_a_variable_is_refused(name):
    with pytest.raises(qs.ScanError, match=f"axes.{name}: found the name"):
        qs.Scan(axes={name: {"eta": [1.0, 2.0], "J": [1.0, 2.0]}})


@pytest.mark.parametrize(
    ("definition", "where"),
    [
        ({"fixed": {"eta": -1e26}}, "fixed.eta"),
        ({"axes": {"eta": [-1e27, 1.0]}}, "axes.eta"),
        ({"axes": {"p": {"eta": [-1e27, 1.0], "J": [1.0, 2.0]}}}, "axes.p.eta"),
        ({"fixed": {"delta": 1e-40}}, "fixed.delta"),
        ({"fixed": {"J": 1e30}}, "fixed.J"),
        ({"drive": qs.Pulse(amplitude=1e30, length=1.0)}, "drive.amplitude"),
        ({"protocol": {"initial": {"r": 0.1, "v": 1e30}}}, "protocol.initial.v"),
        ({"fixed": {"eta": -1e160}, "precision": "float64"}, "fixed.eta"),
    ],
)
def test_what_a_precision_can_not_hold_is_refused(tmp_path, definition, where):
    with pytest.raises(qs.ScanError) as caught:
        qs.run(qs.Scan(**definition), tmp_path / "scan.zarr")
    assert not list(tmp_path.iterdir())
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{where}: found ")
    assert definition.get("precision", "float32") in line


@pytest.mark.parametrize(("eta", "precision"), [(-1e18, "float32"), (-1e100, "float64"), (-1e150, "float64")])
def test_what_a_precision_holds_is_right_up_to_the_limit(eta, precision):
    # Far below all folds r = delta / (2 pi sqrt(-eta)), to a part in |eta|.
    ends = qs.simulate(t_end=1.0, eta=eta, precision=precision)["r"].values[[0, -1]]
    assert ends == pytest.approx(1.0 / (2.0 * np.pi * np.sqrt(-eta)), rel=1e-6, abs=0.0)
