"""A new model, observable, integrator or drive is one row: it runs, with all that goes with it."""

import pickle
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics import observables as rows
from qifscan.dynamics.drive import DRIVES, DriveBase
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.model import Parameter
from qifscan.dynamics.models import MODELS, QIF, model_named
from qifscan.dynamics.observables import Observable, observables
from qifscan.engine import compiler
from qifscan.engine.program import Program

GAIN, RISE = 1.7, 0.4


def gained(state, inputs, c):
    """Return the slopes of a model of which eta has a factor."""
    r, v = QIF.field(state, inputs, c)
    return r, v + (GAIN - 1.0) * c["eta"] * c["rate"]


def ralston(system, state, inputs, dt):
    """Take a step of Ralston's method."""
    first = system.slope(state, inputs(0.0))
    ahead = tuple(y + (2 / 3) * dt * k for y, k in zip(state, first, strict=True))
    second = system.slope(ahead, inputs(2 / 3))
    end = tuple(y + dt * (0.25 * a + 0.75 * b) for y, a, b in zip(state, first, second, strict=True))
    apart = tuple(0.75 * dt * (b - a) for a, b in zip(first, second, strict=True))
    return end, system.square(apart) / system.square(end)


class Slope(DriveBase):
    """I(t) = amplitude t."""

    kind: Literal["slope"] = "slope"
    amplitude: float
    numbers: ClassVar = (Parameter("amplitude", None, "1", "rise of the input per ms"),)
    rests: ClassVar = False

    @staticmethod
    def current(time, step, fraction, c):
        """Return the line."""
        return c["drive_amplitude"] * (time + fraction * step)

    @staticmethod
    def duration(c):
        """Return infinity."""
        return np.inf

    @staticmethod
    def seen(c, dt):
        """Return True."""
        return np.ones(np.shape(dt), dtype=bool)

    def extremes(self, c):
        """Return those of 10 ms."""
        return 0.0 * c["drive_amplitude"], 10.0 * c["drive_amplitude"]

    def final_input(self, c, end):
        """Return NaN: it never rests."""
        return np.full_like(c["drive_amplitude"], np.nan)


@pytest.fixture
def scan(monkeypatch):
    """A scan of a new model, observable, integrator and drive, each of which is a row."""
    of_variable = rows._of_variable

    def with_range(variable):
        meaning = f"{variable.meaning}, twice its value at the end"
        twice = Observable(
            f"{variable.name}_twice", variable.unit, meaning, f"{variable.name} final", lambda t, w: t + t
        )
        return (*of_variable(variable), twice)

    heun = INTEGRATORS["heun"]
    monkeypatch.setitem(MODELS, "qif_gained", replace(QIF, name="qif_gained", field=gained, plain=False))
    monkeypatch.setitem(INTEGRATORS, "ralston", replace(heun, name="ralston", step=ralston))
    monkeypatch.setitem(DRIVES, "slope", Slope)
    monkeypatch.setattr(rows, "_of_variable", with_range)
    yield qs.Scan(
        model="qif_gained",
        axes={"eta": [-3.0, 1.0], "drive_amplitude": [0.0, RISE]},
        drive={"kind": "slope", "amplitude": RISE},
        protocol={
            "integrator": "ralston",
            "transient": 1.0,
            "window": 3.0,
            "initial": {"r": 0.1, "v": -1.0},
            "tolerance": 1e-4,
        },
        observables=["v_final", "r_twice"],
        precision="float64",
    )
    # Another test may ask for the observables of a model that this one has asked for.
    rows.observables.cache_clear()


def truth(eta, rise):
    """Return the state of the new model after 4 ms, by an adaptive solver."""

    def slope(t, y):
        r, v = y
        return 1 / np.pi + 2 * r * v, v * v + GAIN * eta + rise * t + 15 * r - (np.pi * r) ** 2

    return solve_ivp(slope, (0.0, 4.0), [0.1, -1.0], rtol=1e-11, atol=1e-12).y[:, -1]


def test_a_new_row_of_each_kind_runs_and_is_right(scan, tmp_path):
    found = qs.run(scan, tmp_path / "a.zarr", client="serial")
    exact = np.array([[truth(eta, rise) for rise in (0.0, RISE)] for eta in (-3.0, 1.0)])
    np.testing.assert_allclose(found["v_final"], exact[..., 1], rtol=1e-3)
    np.testing.assert_allclose(found["r_twice"], 2.0 * exact[..., 0], rtol=1e-3)
    assert (found["status"] == int(qs.Status.computed)).all()
    assert qs.Scan.from_store(tmp_path / "a.zarr") == scan
    assert qs.Scan.from_json(scan.to_json()).drive == Slope(amplitude=RISE)
    assert "Slope(amplitude=0.4)" in str(scan)


def test_a_new_row_has_what_all_have(scan):
    assert qs.Protocol(integrator="ralston").in_words.endswith("ralston")
    assert qs.equilibria("qif_gained", eta=1.0)["count"] == 1
    with pytest.raises(qs.ScanError, match="slope"):
        scan.replace(drive={"kind": "slopes", "amplitude": 1.0})


def test_rows_are_the_same_objects_whenever_asked_and_after_a_way_to_another_process(scan):
    program = Program.of(scan)
    assert program == Program.of(scan.replace(seed=3))
    again = pickle.loads(pickle.dumps(program))
    assert again == program
    assert hash(again) == hash(program)
    for name in ("model", "integrator", "drive"):
        assert getattr(again, name) is getattr(program, name)
    assert all(a is b for a, b in zip(again.observables, program.observables, strict=True))
    assert observables(model_named("qif_gained")) is observables(scan.mean_field)


def test_plain_models_have_the_equations_of_the_plain_model():
    """They are solved by its polynomial: the field at random states, with the delayed rate in place of r."""
    rng = np.random.default_rng(0)
    state = tuple(rng.uniform(0.1, 1.0, 9) for _ in "rv")
    for model in (model for model in MODELS.values() if model.plain):
        p = {row.name: np.full(9, row.default) for row in QIF.parameters}
        c = model.constants(p | ({model.delay: np.full(9, 1.0)} if model.delay else {}))
        past = c["past"] * state[0] if model.delay else 0.0
        found = model.field(state, (0.0, past), c)
        expected = QIF.field(state, (0.0, 0.0), QIF.constants(p))
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_model_of_a_user_is_never_taken_for_the_plain_one(tmp_path, monkeypatch):
    lines = (
        "import dataclasses",
        "from qifscan.models import QIF",
        "mine = dataclasses.replace(QIF)",
    )
    (tmp_path / "nearly_plain.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    model = model_named("nearly_plain:mine")
    assert model is model_named("nearly_plain:mine")
    assert not model.plain
    assert "riccati" not in [row.name for row in INTEGRATORS.values() if row.steps(model)]


def test_a_process_keeps_the_programs_that_it_used_last(monkeypatch):
    """Ever new models, as of a server, don't fill its memory."""
    monkeypatch.setattr(compiler, "MOST_KEPT", 2)
    monkeypatch.setattr(compiler, "_executables", {})
    made = []

    def blocks(program, x):
        made.append(program)
        return x + 1.0

    argument = (np.zeros(3, np.float32),)
    for program in ("a", "b", "a", "c", "a", "b"):
        compiler.compiled(blocks, program, argument)
    assert made == ["a", "b", "c", "b"]
    assert compiler.compile_count() == 2
