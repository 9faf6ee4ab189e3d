"""A point's numbers depend on the point alone: not on chunks, order, workers, restarts or neighbours."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import zarr

import qifscan as qs
from qifscan.dynamics.models import MODELS
from qifscan.engine import batch, chunk_work, compiler
from qifscan.engine.chunks import Chunks
from qifscan.runs.task import compute_chunk
from qifscan.store import chunk_files, store

# One of every kind of each variable but a spectrum, which would take half of the time to compile; see WIDE.
ALL = [
    *(f"{v}_{o}" for v in "rv" for o in ("mean", "std", "min", "max", "final")),
    "up_fraction",
    "switch_count",
]


def noisy_scan(**changes):
    """A scan of 5 x 3 x 2 x 2 points with noise on both variables, a drive, and every observable.

    Its points fit into one batch of the least width: chunks of any size run the same programs."""
    definition = {
        "axes": {
            "eta": [-6.0, -4.8, -4.2, -3.6, -3.0],
            "J": [10.0, 15.0, 20.0],
            "initial": ["down", "up"],
        },
        "fixed": {"v_ou_sigma": 0.4, "r_ou_sigma": 0.002},
        "replicates": 2,
        "seed": 7,
        "drive": qs.Sine(amplitude=0.3, period=7.0),
        "protocol": qs.Protocol(transient=3.3, window=26.0, tolerance=1e-5),
        "observables": ALL,
        "traces": qs.Traces(points=[{"J": 15.0, "initial": "up", "replicate": 1}], every=7),
    }
    return qs.Scan(**{**definition, **changes})


def contents(path):
    """Return every array of a store in memory."""
    dataset = qs.open_scan(path).load()
    found = {str(name): values.values for name, values in dataset.variables.items()}
    if (path / "checkpoint").exists():
        found["checkpoint"] = zarr.open_array(path / "checkpoint" / "points", mode="r")[...]
    return found


def assert_identical(path, expected):
    found = contents(path)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes() or np.array_equal(found[name], values), name


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The arrays of the noisy scan, run in one thread with chunks of the default shape."""
    path = tmp_path_factory.mktemp("reference") / "scan.zarr"
    dataset = qs.run(noisy_scan(), path, client="serial")
    assert (dataset["status"].values == 1).all()
    assert np.ptp(dataset["r_mean"].values) > 0.5
    return contents(path)


@pytest.mark.parametrize("points", [pytest.param(3, marks=pytest.mark.thorough), 20])
def test_chunks_of_any_size_give_the_same_bits(reference, tmp_path, points):
    qs.run(noisy_scan(), tmp_path / "scan.zarr", client="serial", chunk_points=points)
    assert_identical(tmp_path / "scan.zarr", reference)


@pytest.mark.thorough
def test_a_wide_batch_gives_the_bits_of_a_narrow_one(reference, tmp_path):
    """Of 210 points, which fill four times the lanes, those that the reference has too."""
    dataset = qs.run(noisy_scan(replicates=7, traces=None), tmp_path / "scan.zarr", client="serial")
    for name in [*ALL, "dt", "redo_count", "error_estimate"]:
        assert dataset[name].values[..., :2].tobytes() == reference[name].tobytes(), name


WIDE = [
    ("qif_pair", "float64", "noise"),
    *(
        pytest.param(model, precision, kind, marks=pytest.mark.thorough)
        for model in MODELS
        for precision in ("float32", "float64")
        for kind in ("noise", "exponents", "spectra")
        if not (kind == "exponents" and MODELS[model].delay)
        and (model, precision, kind) != ("qif_pair", "float64", "noise")
    ),
]


@pytest.mark.parametrize(("model", "precision", "kind"), WIDE)
def test_a_batch_of_any_width_gives_the_same_bits(tmp_path, monkeypatch, model, precision, kind):
    """What XLA does to a loop depends on the bytes that it moves, and these on how many points are together.

    With noise on all that takes it and every observable, or with exponents, or with spectra besides.
    """
    mean_field = qs.models()[model]
    names = [variable.name for variable in mean_field.variables]
    parameters = {parameter.name for parameter in mean_field.parameters}
    axis = next(name for name in ("eta", "eta_e", "eta_1") if name in parameters)
    fixed = {"delay": 10.0, "J": -12.0} if mean_field.delay else {}
    observables = [f"{n}_{what}" for n in names for what in ("mean", "std", "min", "max", "final")]
    if kind == "exponents":
        observables += [f"lyapunov_{k + 1}" for k in range(len(names))]
    else:
        # Working memory has rates of a hundredth.
        rates = 0.001 if model == "qif_memory" else 0.02
        fixed |= {f"{name}_ou_sigma": rates if name[0] == "r" else 0.4 for name in mean_field.input_names}
        fixed |= {"up_threshold": 0.5, "down_threshold": 0.2}
        observables += ["up_fraction", "switch_count", "up_residence_squares", "down_residence_squares"]
    if kind == "spectra":
        observables += [f"{name}_frequency" for name in names]
    scan = qs.Scan(
        model=model,
        points={axis: np.linspace(-3.0, 0.0, 20).tolist()},
        fixed=fixed,
        precision=precision,
        protocol=qs.Protocol(transient=5.0, window=230.0 if kind == "spectra" else 20.0, dt=0.05),
        observables=observables,
        seed=1,
    )
    found = {}
    for shape in [(1, 64), (3, 256)]:
        monkeypatch.setattr(chunk_work, "batch_shape", lambda _, shape=shape: shape)
        path = tmp_path / f"{shape[1]}.zarr"
        found[shape] = qs.run(scan, path, client="serial", checkpoint=False).load()
    narrow, wide = found.values()
    assert np.isfinite(narrow[observables[0]].values).mean() > 0.5
    for name in narrow.data_vars:
        assert narrow[name].values.tobytes() == wide[name].values.tobytes(), name


def test_a_few_points_run_again_in_a_narrow_block_have_the_bits_of_a_wide_one(tmp_path, monkeypatch):
    """Of 100 points two burst from their starts, and are run again at finer steps."""
    scan = qs.Scan(
        points={
            "r_initial": [*np.linspace(0.1, 0.2, 98), 3.0, 9.0],
            "v_initial": [*np.full(98, -1.0), 40.0, 90.0],
        },
        fixed={"eta": 1.0},
        protocol=qs.Protocol(transient=0.0, window=20.0),
        observables=["r_mean", "r_max", "v_min"],
    )
    found, shapes = [], set()
    original = batch._packed
    monkeypatch.setattr(batch, "_packed", lambda steps, lanes: shapes.add(lanes) or original(steps, lanes))
    for worth in (1e300, 1.0):
        monkeypatch.setattr(batch, "WORTH_COMPILING", worth)
        found.append(qs.run(scan, tmp_path / f"{worth:g}.zarr", client="serial").load())
    assert shapes == {64, 128}
    wide, narrow = found
    assert (wide["redo_count"].values[-2:] > 0).all()
    for name in wide.data_vars:
        assert narrow[name].values.tobytes() == wide[name].values.tobytes(), name


def test_threads_give_the_same_bits_as_one_thread(reference, tmp_path):
    qs.run(noisy_scan(), tmp_path / "scan.zarr", client="threads", workers=2, chunk_points=16)
    assert_identical(tmp_path / "scan.zarr", reference)


def test_chunks_in_any_order_give_the_same_bits(reference, tmp_path):
    path = tmp_path / "scan.zarr"
    chunks = replace(Chunks.of(noisy_scan(), 16), checkpoint=reference["checkpoint"].shape[-1])
    store.create(path, chunks, "cpu: any")
    for chunk in np.random.default_rng(3).permutation(len(chunks)):
        compute_chunk(str(path), int(chunk))
    assert_identical(path, reference)


@pytest.mark.cluster
def test_two_dask_workers_give_the_same_bits_as_this_process(reference, tmp_path):
    with qs.local_cluster(2) as client:
        dataset = qs.run(noisy_scan(), tmp_path / "scan.zarr", client=client, chunk_points=16)
        assert len(client.scheduler_info()["workers"]) == 2
    assert "Dask cluster" in dataset.attrs["history"]
    assert_identical(tmp_path / "scan.zarr", reference)


@pytest.mark.cluster
def test_an_active_dask_client_is_used_without_being_named(tmp_path):
    with qs.local_cluster(1):
        dataset = qs.run(noisy_scan(traces=None), tmp_path / "scan.zarr")
    assert "Dask cluster" in dataset.attrs["history"]


def test_a_part_of_the_grid_gives_the_bits_of_the_whole(reference, tmp_path):
    part = noisy_scan(axes={"J": [15.0], "initial": ["up"], "eta": [-6.0, -3.6]}, traces=None)
    dataset = qs.run(part, tmp_path / "part.zarr")
    for name in ALL:
        whole = reference[name][np.ix_([0, 3], [1], [1], [0, 1])]
        assert dataset[name].transpose("eta", "J", "initial", "replicate").values.tobytes() == whole.tobytes()


def test_zipped_axes_give_the_bits_of_the_grid(reference, tmp_path):
    points = [{"eta": -6.0, "J": 20.0}, {"eta": -3.0, "J": 10.0}]
    scan = noisy_scan(points=points, axes={"initial": ["down", "up"]}, traces=None)
    dataset = qs.run(scan, tmp_path / "points.zarr")
    for name in ALL:
        expected = np.stack([reference[name][0, 2], reference[name][4, 0]])
        assert dataset[name].values.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("integrator", "precision", "noise"),
    [
        ("riccati", "float32", "common"),
        pytest.param("riccati", "float32", "independent", marks=pytest.mark.thorough),
        pytest.param("rk4", "float32", "common", marks=pytest.mark.thorough),
        pytest.param("rk4", "float64", "independent", marks=pytest.mark.thorough),
        pytest.param("heun", "float32", "independent", marks=pytest.mark.thorough),
        pytest.param("euler", "float64", "common", marks=pytest.mark.thorough),
        pytest.param("exp_auto", "float32", "independent", marks=pytest.mark.thorough),
    ],
)
def test_a_replayed_point_has_its_stored_bits(tmp_path, integrator, precision, noise):
    auto = {"window": 26.0, "dt": "auto", "tolerance": 1e-5}
    steps = auto if integrator == "riccati" else {"window": 6.4, "dt": 0.005}
    protocol = qs.Protocol(transient=1.28, integrator=integrator, **steps)
    # Spectra take long to compile; one scan with them is enough.
    names = (
        ALL if noise == "common" and integrator == "riccati" else ["r_mean", "r_std", "v_max", "up_fraction"]
    )
    scan = noisy_scan(protocol=protocol, precision=precision, noise=noise, observables=names, traces=None)
    qs.run(scan, tmp_path / "scan.zarr")
    for eta, every in ((-6.0, 1), (-3.0, 13)):
        point = {"eta": eta, "J": 15.0, "initial": "up", "replicate": 1}
        replayed = qs.replay(tmp_path / "scan.zarr", every=every, **point)
        assert replayed.attrs["checked"] == "equal bit for bit"
        stored = qs.open_scan(tmp_path / "scan.zarr").sel(**point)
        for name in names:
            assert replayed[name].values.tobytes() == stored[name].values.tobytes()


def test_a_trace_kept_by_the_scan_is_the_replayed_trajectory(reference, tmp_path):
    qs.run(noisy_scan(), tmp_path / "scan.zarr")
    point = {"eta": -4.8, "J": 15.0, "initial": "up", "replicate": 1}
    replayed = qs.replay(tmp_path / "scan.zarr", every=7, **point)
    kept = qs.open_scan(tmp_path / "scan.zarr")
    which = int(np.flatnonzero(np.isclose(kept["trace_eta"], -4.8))[0])
    assert kept["trace_status"].values.tolist() == [1] * 5
    for name in ("r", "v"):
        assert kept[f"{name}_trace"][which].values.tobytes() == replayed[name].values.tobytes()
    assert np.array_equal(kept["time"], replayed["time"])


KILLED = """
import signal, sys
import qifscan as qs
# A shell may have started the tests with Ctrl-C ignored, which processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.test_same_everywhere import noisy_scan
qs.run(noisy_scan(), sys.argv[1], client="{client}", chunk_points=4,
       progress=lambda state: print(state.chunks, flush=True))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("client", ["serial", "threads"])
def test_a_run_killed_half_way_and_resumed_gives_the_same_bits(reference, tmp_path, client):
    path = tmp_path / "scan.zarr"
    code = KILLED.format(client=client)
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stdout is not None
    for line in run.stdout:
        if int(line) >= 6:
            break
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    opened = store.load(path)
    done = chunk_files.finished(opened)
    assert 6 <= len(done) < len(opened.chunks)
    states = []
    qs.run(noisy_scan(), path, progress=states.append)
    assert states[0].chunks == len(done)
    assert len(states) == 1 + len(opened.chunks) - len(done)
    assert_identical(path, reference)


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(reference, tmp_path):
    path = tmp_path / "scan.zarr"
    code = KILLED.format(client="threads")
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    for line in run.stdout:
        if int(line) >= 5:
            break
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert "RunInterrupted" in errors
    assert "the same command goes on from there" in errors
    assert not list(path.rglob("*.partial"))
    qs.run(noisy_scan(), path)
    assert_identical(path, reference)


def test_a_finished_store_is_not_computed_again(reference, tmp_path):
    path = tmp_path / "scan.zarr"
    qs.run(noisy_scan(), path)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()}
    time.sleep(0.01)
    qs.run(noisy_scan(), path, progress=lambda state: pytest.fail("something was run"))
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()} == before


@pytest.mark.thorough
def test_a_lost_or_damaged_chunk_is_found_and_computed_again(reference, tmp_path):
    path = tmp_path / "scan.zarr"
    qs.run(noisy_scan(), path, chunk_points=12)
    chunks = sorted((path / "r_mean" / "c").rglob("0"))
    files = [p for p in chunks if p.is_file()]
    flipped = bytearray(files[0].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    files[0].write_bytes(bytes(flipped))
    verdict = qs.verify(path, points=10)
    assert not verdict.sound
    assert "r_mean can't be read" in verdict.faults[0]
    qs.verify(path, points=10, repair=True)
    files[1].unlink()
    files[2].write_bytes(b"")
    qs.run(noisy_scan(), path)
    assert_identical(path, reference)
    assert qs.verify(path, points=50).sound


@pytest.mark.thorough
def test_verify_finds_a_number_that_was_changed(tmp_path):
    path = tmp_path / "scan.zarr"
    qs.run(noisy_scan(), path)
    chunk_files.arrays_of(store.load(path))["r_mean"][3] = 0.123
    verdict = qs.verify(path, points=2000)
    assert not verdict.sound
    # The chunk's own record says so, whether or not the point is in the sample.
    assert verdict.faults[0].startswith("chunk 0: ")
    with pytest.raises(qs.StoreError, match="r_mean of this point is stored as"):
        qs.replay(path, eta=-3.6, J=15.0, initial="up", replicate=0)


def test_points_of_several_steps_some_of_them_run_again_are_among_those_that_are_compared(reference):
    assert len(np.unique(reference["dt"])) >= 2
    assert 0 < np.count_nonzero(reference["redo_count"]) < reference["redo_count"].size


def test_a_point_that_diverges_is_a_result_and_not_run_again(tmp_path):
    protocol = qs.Protocol(
        transient=0.0, window=50.0, dt=0.5, integrator="euler", initial={"r": 1.0, "v": 50.0}
    )
    scan = qs.Scan(axes={"eta": [5.0, 6.0]}, protocol=protocol)
    dataset = qs.run(scan, tmp_path / "scan.zarr")
    assert (dataset["status"].values & qs.Status.diverged).all()
    assert np.isnan(dataset["r_mean"].values).all()
    qs.run(scan, tmp_path / "scan.zarr", progress=lambda state: pytest.fail("something was run"))


def test_an_unfinished_store_opens_and_shows_what_is_there(tmp_path, reference):
    path = tmp_path / "scan.zarr"
    chunks = Chunks.of(noisy_scan(), 12)
    store.create(path, chunks, "cpu: any")
    compute_chunk(str(path), 2)
    dataset = qs.open_scan(path)
    ran = dataset["status"].values > 0
    assert ran.sum() == 12
    assert np.isnan(dataset["r_mean"].values[~ran]).all()
    assert np.array_equal(dataset["r_mean"].values[ran], reference["r_mean"][ran])
    assert qs.replay(path, eta=-6.0, J=10.0, initial="up", replicate=0).attrs["checked"] == "not run yet"
    assert "% not run yet" in qs.show(path).get_suptitle()


def test_a_scan_compiles_once_for_its_grid_and_once_for_its_traces(tmp_path, monkeypatch):
    # A test before this one may have compiled the same program.
    monkeypatch.setattr(compiler, "_executables", {})
    scan = noisy_scan(protocol=qs.Protocol(transient=0.5, window=6.0, dt=0.004))
    qs.run(scan, tmp_path / "scan.zarr", chunk_points=20)
    assert compiler.compile_count() == 2


def test_another_scan_at_the_path_of_a_removed_one_has_its_own_numbers(tmp_path):
    path = tmp_path / "scan.zarr"
    ends = []
    for rate in (0.02, 1.5, 0.02):
        protocol = qs.Protocol(transient=1.0, window=1.0, initial={"r": rate, "v": 0.0})
        scan = qs.Scan(axes={"eta": [-5.0, -4.0]}, protocol=protocol, observables=["r_max"])
        ends.append(qs.run(scan, path)["r_max"].values.tolist())
        shutil.rmtree(path)
    assert ends[0] == ends[2]
    assert ends[1][0] > 1.0 > ends[0][0]


def test_one_block_has_the_bits_of_several(tmp_path, monkeypatch):
    """XLA takes a loop over one block away; deviations of some 6e-7, at rest, were then rounded otherwise."""
    scan = qs.Scan(
        model="qif_bimodal",
        points={"eta_1": np.linspace(-3.0, 0.0, 20).tolist()},
        protocol=qs.Protocol(transient=5.0, window=20.0, dt=0.05),
        observables=["v_1_std", "v_2_std", "v_1_mean"],
    )
    found = []
    for blocks in (1, 3):
        monkeypatch.setattr(chunk_work, "batch_shape", lambda _, blocks=blocks: (blocks, 64))
        found.append(qs.run(scan, tmp_path / f"{blocks}.zarr", client="serial", checkpoint=False).load())
    one, several = found
    for name in one.data_vars:
        assert one[name].values.tobytes() == several[name].values.tobytes(), name
