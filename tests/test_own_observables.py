"""An observable of one's own: a fold over the steps in a file of one's own, asked for as "file:variable"."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs

FILE = """
import jax.numpy as jnp
from qifscan.observables import Accumulator, Observable, highest_of, mean_of

drift = mean_of(lambda state: state[0] * state[1], "1/ms", "rate times mean potential, mean over the window")
peak = highest_of(lambda state: state[0] * state[1], "1/ms", "rate times mean potential, highest at a step")

above_zero = Observable(
    "above_zero",
    "1",
    "steps of the window with a positive mean potential",
    Accumulator(
        lambda at, constants, window: jnp.zeros(at.state[1].shape, jnp.int32),
        lambda total, state: total,
        lambda segment, was, state, step, window: segment + (state[1] > 0),
        lambda total, segment, at, stop, window: segment,
        ("int32",),
    ),
    lambda total, window: total,
)
r_mean = drift
no_row = 3
"""

PARAMETERS = {"J": 15.0, "delta": 1.0, "tau": 1.0, "r_initial": 0.2, "v_initial": -1.0}
ETAS = np.array([-4.0, -1.0, 2.0])
ALL = ["r_mean", "own_measures:drift", "own_measures:peak", "own_measures:above_zero"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with the file, imported once as a user's process does."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_measures.py").write_text(FILE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def scan(observables, **changes):
    given = {
        "axes": {"eta": ETAS},
        "fixed": PARAMETERS,
        "protocol": qs.Protocol(transient=0.0, window=4.0),
        "observables": observables,
        "precision": "float64",
    }
    return qs.Scan(**(given | changes))


def truth(eta):
    """Return r and v, and the integral of r v over 4 ms, by an adaptive solver."""

    def slope(t, y):
        r, v, _ = y
        return [1 / np.pi + 2 * r * v, v**2 + eta + 15 * r - (np.pi * r) ** 2, r * v]

    return solve_ivp(
        slope, (0, 4), [0.2, -1.0, 0.0], method="DOP853", rtol=1e-11, atol=1e-12, dense_output=True
    )


def test_a_mean_of_a_product_is_the_integral_of_an_adaptive_solver(own, tmp_path):
    found = qs.run(scan(ALL), tmp_path / "a.zarr", client="serial")
    exact = [truth(eta) for eta in ETAS]
    assert found["drift"].values == pytest.approx([s.y[2, -1] / 4.0 for s in exact], rel=1e-4)
    dense = [np.prod(s.sol(np.linspace(0, 4, 40_001))[:2], axis=0).max() for s in exact]
    assert found["peak"].values == pytest.approx(dense, rel=2e-3)
    above = [np.mean(s.sol(np.linspace(0, 4, 40_001))[1] > 0) for s in exact]
    steps = 4.0 / found["dt"].values
    assert np.abs(found["above_zero"].values - steps * above).max() < 2.0
    assert found["drift"].attrs == {
        "units": "1/ms",
        "long_name": "rate times mean potential, mean over the window",
    }


def test_it_changes_no_bit_of_the_others_and_is_itself_the_same_in_any_chunks(own, tmp_path):
    alone = qs.run(scan(["r_mean", "lyapunov_1"]), tmp_path / "a.zarr", client="serial")
    beside = qs.run(scan([*ALL, "lyapunov_1"]), tmp_path / "b.zarr", client="serial", chunk_points=1)
    whole = qs.run(scan(ALL[::-1]), tmp_path / "c.zarr", client="serial")
    for name in ("r_mean", "lyapunov_1"):
        assert np.array_equal(alone[name].values, beside[name].values)
    for name in ("drift", "peak", "above_zero"):
        assert np.array_equal(whole[name].values, beside[name].values)


def test_a_longer_window_goes_on_with_it(own, tmp_path):
    long = scan(ALL, protocol=qs.Protocol(transient=0.0, window=20.0))
    qs.run(scan(ALL), tmp_path / "short.zarr", client="serial")
    extended = qs.run(long, tmp_path / "a.zarr", client="serial", extend=tmp_path / "short.zarr")
    assert "extended" in extended.attrs
    fresh = qs.run(long, tmp_path / "b.zarr", client="serial")
    for name in ("r_mean", "drift", "peak", "above_zero"):
        assert np.array_equal(extended[name].values, fresh[name].values)


@pytest.mark.cluster
def test_a_worker_imports_the_file_that_the_scan_names(own, tmp_path):
    here = qs.run(scan(ALL), tmp_path / "a.zarr", client="serial")
    with qs.local_cluster(1, env={"PYTHONPATH": str(own)}) as client:
        there = qs.run(scan(ALL), tmp_path / "b.zarr", client=client)
    for name in ("r_mean", "drift", "peak", "above_zero"):
        assert np.array_equal(here[name].values, there[name].values)


def test_its_file_is_part_of_the_fingerprint_and_the_scan_comes_back_from_toml_and_store(own, tmp_path):
    whole = scan(ALL)
    sources = whole.definition()["observable_sources"]
    assert set(sources) == set(ALL[1:])
    assert "observable_sources" not in scan(ALL[:1]).definition()
    (tmp_path / "scan.toml").write_text(whole.to_toml())
    assert qs.Scan.from_toml(tmp_path / "scan.toml").fingerprint == whole.fingerprint
    qs.run(whole, tmp_path / "a.zarr", client="serial")
    assert qs.Scan.from_store(tmp_path / "a.zarr").fingerprint == whole.fingerprint
    assert qs.open_scan(tmp_path / "a.zarr")["peak"].notnull().all()
    assert qs.verify(tmp_path / "a.zarr", points=3).sound


def test_the_code_that_a_store_names_is_not_run(own, tmp_path):
    path = tmp_path / "a.zarr"
    qs.run(scan(ALL), path, client="serial")
    (tmp_path / "own_measures.py").write_text("raise SystemExit('was run')")
    code = f"import qifscan as qs\ntry:\n    qs.Scan.from_store({str(path)!r})\n"
    code += "except qs.QifscanError as error:\n    print(error)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "own_measures:drift" in ended.stdout
    assert "nobody has imported" in ended.stdout
    assert "was run" not in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_measures:no_row", "which is of type int, expected an Observable"),
        ("own_measures:none", "which is nothing, expected an Observable"),
        ("own_measures:r_mean", "r_mean is taken in the dataset"),
        ("no_such_file:drift", "No module named"),
        ("own measures:drift", 'a name that is known, or "package.module:variable"'),
    ],
)
def test_a_wrong_one_is_refused_in_one_line(own, name, told):
    with pytest.raises(qs.ScanError) as caught:
        scan([name])
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
