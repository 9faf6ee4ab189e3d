"""A scan that takes over what an older store has equals the scan at once, and computes only what is new."""

import itertools
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.cli import main
from qifscan.engine import backend, batch, chunk_work, chunks
from qifscan.runs import driver, extension, state, task
from qifscan.scan import matching
from qifscan.store import store, writer

from .test_same_everywhere import assert_identical, contents

ETA, J = [-6.0, -5.2, -4.4, -3.0], [10.0, 15.0]
OBSERVABLES = ["r_std", "v_min", "up_fraction"]

# What compiles soon, where it does not matter what is run.
LIGHT = {
    "fixed": {},
    "observables": ["r_mean"],
    "protocol": qs.Protocol(transient=1.0, window=6.0, integrator="euler", dt=0.02),
}


def scan_of(**changes):
    """A scan of 4 x 2 x 2 points with noise on both variables; some points are run again at a finer step."""
    definition = {
        "axes": {"eta": ETA, "J": J},
        "fixed": {"v_ou_sigma": 0.4, "r_ou_sigma": 0.002},
        "replicates": 2,
        "seed": 7,
        "protocol": qs.Protocol(transient=2.0, window=13.0, tolerance=1e-5),
        "observables": OBSERVABLES,
    }
    return qs.Scan(**{**definition, **changes})


def run(scan, path, points=16, **options):
    """Run in this thread, in chunks that one compiled program serves."""
    return qs.run(scan, path, client="serial", chunk_points=points, **options)


@pytest.fixture
def computed(monkeypatch):
    """Collect how many points each call of the simulation gets."""
    counts = []

    def counting(points, *arguments):
        counts.append(len(points.replicate))
        return run_points(points, *arguments)

    run_points = chunk_work.run_points
    monkeypatch.setattr(chunk_work, "run_points", counting)
    return counts


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The store that most tests extend."""
    path = tmp_path_factory.mktemp("old") / "old.zarr"
    dataset = run(scan_of(), path, points=6)
    assert 0 < np.count_nonzero(dataset["redo_count"]) < dataset["redo_count"].size
    return path


PAIRS = [{"eta": -5.2, "J": 10.0}, {"eta": -5.0, "J": 15.0}, {"eta": -3.0, "J": 15.0}]

EXTENSIONS = {
    "at the end and in between": (
        {"axes": {"eta": [-7.0, *ETA[:2], -5.0, *ETA[2:]], "J": [10.0, 12.5, 15.0]}},
        20,
    ),
    "new and reordered": ({"axes": {"J": [20.0, 15.0, 10.0], "eta": [-3.0, -4.0, -6.0]}}, 10),
    "replicates": ({"replicates": 5}, 4 * 2 * 3),
    "fewer replicates": ({"replicates": 1, "axes": {"eta": [-7.0, *ETA], "J": J}}, 2),
    "an axis fixed": ({"axes": {"eta": [*ETA, -2.0]}, "fixed": {**scan_of().fixed, "J": 15.0}}, 2),
    "a fixed one an axis": (
        {"axes": {"delta": [0.5, 1.0], "eta": ETA, "J": J}},
        16,
    ),
    "sigma an axis": (
        {"axes": {"eta": ETA, "J": J, "v_ou_sigma": [0.4, 0.1]}, "fixed": {"r_ou_sigma": 0.002}},
        16,
    ),
    "a list of points": ({"points": PAIRS, "axes": {}}, 2),
    "the default state an axis": ({"axes": {"eta": ETA, "J": J, "initial": ["rest", "up"]}}, 16),
}


RELATIVES = ("fewer replicates", "an axis fixed", "sigma an axis", "the default state an axis")
"""Extensions that are others once more."""


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.thorough] if name in RELATIVES else [])
        for name, case in EXTENSIONS.items()
    ],
)
def test_an_extension_equals_the_scan_at_once_and_computes_only_what_is_new(
    old, tmp_path, computed, changes, new
):
    scan = scan_of(**changes)
    run(scan, tmp_path / "at once.zarr")
    assert sum(computed) == scan.size
    computed.clear()
    run(scan, tmp_path / "extended.zarr", points=13, extend=old)
    assert sum(computed) == new
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ({"axes": {"pair": {"eta": [-6.0, -3.0], "J": [10.0, 15.0]}}}, {}, 12),
        pytest.param(
            {"points": PAIRS, "axes": {}},
            {"points": [*PAIRS[::-1], {"eta": -4.0, "J": 10.0}], "axes": {}},
            2,
            marks=pytest.mark.thorough,
        ),
        ({"points": PAIRS, "axes": {}}, {"axes": {"both": {"J": [10.0, 20.0], "eta": [-5.2, 0.0]}}}, 2),
        pytest.param({"replicates": 1}, {}, 8, marks=pytest.mark.thorough),
        pytest.param(
            {"axes": {}, "fixed": {"r_ou_sigma": 0.002, "v_ou_sigma": 0.4, "eta": -3.0}},
            {},
            14,
            marks=pytest.mark.thorough,
        ),
        ({"axes": {}, "replicates": 1, "fixed": {**scan_of().fixed, "eta": -3.0, "J": 10.0}}, {}, 15),
        (
            {"noise": "common"},
            {"noise": "common", "replicates": 3, "axes": {"J": J, "eta": [-1.0, *ETA]}},
            14,
        ),
    ],
    ids=["zipped", "points", "points zipped otherwise", "replicates", "an axis", "a point", "common noise"],
)
def test_what_the_older_scan_was_does_not_matter(tmp_path, computed, before, after, new):
    run(scan_of(**before), tmp_path / "old.zarr")
    run(scan_of(**after), tmp_path / "at once.zarr")
    computed.clear()
    run(scan_of(**after), tmp_path / "extended.zarr", extend=tmp_path / "old.zarr")
    assert sum(computed) == new
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


subsets = st.lists(st.sampled_from([-6.0, -5.0, -4.0, -3.0]), min_size=1, max_size=3, unique=True)
couplings = st.lists(st.sampled_from([0.0, 10.0, 15.0]), min_size=1, max_size=2, unique=True)
grids = st.fixed_dictionaries(
    {
        "axes": st.builds(
            lambda eta, coupling, turned: dict(
                list({"eta": eta, "J": coupling}.items())[:: -1 if turned else 1]
            ),
            subsets,
            couplings,
            st.booleans(),
        ),
        "replicates": st.integers(1, 3),
    }
)


def named_points(scan):
    """Every point of a scan by its parameters and replicate."""
    values = [axis.columns[name].tolist() for name, axis in sorted(scan.axes.items())]
    return set(itertools.product(*values, range(scan.replicates)))


@given(before=grids, after=grids, sizes=st.tuples(st.integers(1, 16), st.integers(1, 16)))
@settings(max_examples=4, deadline=None)
def test_any_grid_extends_to_any_other_that_has_a_point_of_it(before, after, sizes):
    older, newer = scan_of(**before), scan_of(**after)
    common = named_points(older) & named_points(newer)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path, counts, run_points = Path(folder), [], chunk_work.run_points
        run(older, path / "old.zarr", points=sizes[0])
        run(newer, path / "at once.zarr")

        def counting(points, *arguments):
            counts.append(len(points.replicate))
            return run_points(points, *arguments)

        patch.setattr(chunk_work, "run_points", counting)
        if not common:
            with pytest.raises(qs.StoreError, match="has no point of this scan"):
                run(newer, path / "new.zarr", extend=path / "old.zarr")
            return
        run(newer, path / "new.zarr", points=sizes[1], extend=path / "old.zarr")
        assert sum(counts) == newer.size - len(common)
        assert_identical(path / "new.zarr", contents(path / "at once.zarr"))


def test_a_variable_that_only_the_larger_scan_has_is_filled_in(tmp_path, computed):
    noisy = scan_of(axes={"v_ou_sigma": [0.3, 0.6], "eta": ETA}, **LIGHT)
    whole = scan_of(axes={"v_ou_sigma": [0.0, 0.3, 0.6], "eta": ETA}, **LIGHT)
    assert "settled_on" not in run(noisy, tmp_path / "old.zarr")
    assert "settled_on" in run(whole, tmp_path / "at once.zarr")
    computed.clear()
    run(whole, tmp_path / "extended.zarr", extend=tmp_path / "old.zarr")
    assert sum(computed) == 8
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


def test_traces_that_are_there_are_taken_over(tmp_path, computed):
    def traced(every=7, **point):
        return qs.Traces(points=[point], every=every)

    run(scan_of(traces=traced(J=15.0), **LIGHT), tmp_path / "old.zarr")
    axes = {"J": [20.0, 15.0], "eta": [-3.0, -2.0, -6.0]}
    for traces, new in ((traced(replicate=0), 4), (traced(J=15.0, eta=-3.0), 0), (traced(9, J=15.0), 6)):
        scan = scan_of(axes=axes, traces=traces, **LIGHT)
        for name in ("at once", "extended"):
            computed.clear()
            extend = tmp_path / "old.zarr" if name == "extended" else None
            run(scan, tmp_path / f"{name} {new}.zarr", extend=extend)
        assert sum(computed) == 12 - 4 + new
        assert_identical(tmp_path / f"extended {new}.zarr", contents(tmp_path / f"at once {new}.zarr"))


def test_a_killed_extension_goes_on_where_it_was(old, tmp_path, computed, monkeypatch):
    scan = scan_of(replicates=4)
    run(scan, tmp_path / "at once.zarr")
    computed.clear()
    write, path = writer.write, tmp_path / "extended.zarr"

    def failing(opened, chunk, result):
        if chunk == 3:
            raise KeyboardInterrupt
        write(opened, chunk, result)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write", failing)
        with pytest.raises(qs.RunInterrupted):
            run(scan, path, points=4, extend=old)
    assert state.state_of(path)[0].chunks == 3
    assert sum(computed) == 4 * 2
    run(scan, path, extend=old)
    assert sum(computed) == 4 * 2 + 5 * 2
    assert_identical(path, contents(tmp_path / "at once.zarr"))
    assert f"extending {old} ({scan_of().fingerprint[:12]})" in qs.open_scan(path).attrs["history"]


def test_of_an_unfinished_store_what_is_there_is_taken(tmp_path, computed):
    scan, path = scan_of(), tmp_path / "old.zarr"
    store.create(path, chunks.Chunks.of(scan, 4), "cpu: any")
    for chunk in (0, 2):
        task.compute_chunk(str(path), chunk)
    (path / "r_std" / "c" / "2" / "0" / "0").unlink()
    computed.clear()
    run(scan, tmp_path / "extended.zarr", extend=path)
    assert sum(computed) == 12
    run(scan, tmp_path / "at once.zarr", checkpoint=False)
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


def test_the_older_store_is_only_read(old, tmp_path):
    def files():
        return {path: path.stat().st_mtime_ns for path in old.rglob("*")}

    before = files()
    run(scan_of(replicates=3), tmp_path / "extended.zarr", extend=old)
    assert files() == before


def test_a_damaged_chunk_of_the_older_store_is_named(tmp_path):
    path = tmp_path / "old.zarr"
    run(scan_of(), path)
    file = next(p for p in (path / "r_std" / "c").rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes()[:-5] + b"wrong")
    with pytest.raises(
        qs.RunError, match=r"old\.zarr: a chunk can't be read .* qifscan verify finds and repairs it"
    ):
        run(scan_of(replicates=3), tmp_path / "extended.zarr", extend=path)
    qs.verify(path, repair=True, points=0)
    run(scan_of(replicates=3), tmp_path / "extended.zarr", extend=path)
    run(scan_of(replicates=3), tmp_path / "at once.zarr")
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 8}, "seed (7 there, 8 here)"),
        ({"noise": "common"}, 'noise ("independent" there, "common" here)'),
        ({"precision": "float64"}, 'precision ("float32" there, "float64" here)'),
        ({"observables": ["r_mean"]}, "observables ("),
        ({"drive": qs.Constant(amplitude=1.0)}, 'drive.kind (nothing there, "constant" here)'),
        (
            {"protocol": qs.Protocol(transient=1.0, window=13.0, tolerance=1e-5)},
            "protocol.transient (2.0 there, 1.0",
        ),
        ({"fixed": {"v_ou_sigma": 0.4}}, 'the variables with noise (["r", "v"] there, ["v"] here)'),
        ({"fixed": {**scan_of().fixed, "tau": 2.0}}, "tau (1.0 there, 2.0 here)"),
        ({"axes": {"eta": [1.0, 2.0]}}, "eta ([-6.0, -5.2, -4.4, -3.0] there, [1.0, 2.0] here)"),
        ({"axes": {"eta": ETA, "initial": ["up"]}}, 'initial ("rest" there, "up" here)'),
    ],
)
def test_a_store_of_another_kind_is_refused_in_one_line_that_says_why(old, tmp_path, changes, told):
    with pytest.raises(qs.StoreError) as caught:
        run(scan_of(**changes), tmp_path / "new.zarr", extend=old)
    assert str(caught.value).startswith(f"{old}: has no point of this scan; they differ in ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_store_does_not_extend_itself_nor_one_that_is_not_there(old, tmp_path):
    with pytest.raises(qs.StoreError, match="give another path"):
        run(scan_of(replicates=3), old, extend=old)
    with pytest.raises(qs.StoreError, match="not found"):
        run(scan_of(), tmp_path / "new.zarr", extend=tmp_path / "none.zarr")


def test_numbers_of_another_processor_are_told(old, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(backend, "device", lambda: "cpu: another")
    with caplog.at_level(logging.WARNING):
        run(scan_of(replicates=3), tmp_path / "new.zarr", extend=old)
    assert f"{old} was begun elsewhere (device {backend.processor()} -> cpu: another)" in caplog.text


def longer(window, **changes):
    """The scan with another window."""
    protocol = qs.Protocol(transient=2.0, window=window, tolerance=1e-5)
    return scan_of(**{"protocol": protocol, **changes})


@pytest.fixture(scope="module")
def bare(old, tmp_path_factory):
    """The store of the same scan without a checkpoint."""
    path = tmp_path_factory.mktemp("bare") / "bare.zarr"
    run(scan_of(), path, points=6, checkpoint=False)
    assert_identical(path, {n: values for n, values in contents(old).items() if n != "checkpoint"})
    return path


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_a_longer_window_over_points_that_move_equals_the_scan_at_once(tmp_path, precision):
    """Those that were run again at a finer step, until two runs agreed, have no state to go on from."""

    def scan(window):
        return qs.Scan(
            axes={"eta": [-4.0, -1.0, 2.0], "v_initial": [-3.0, 4.0]},
            fixed={"J": 15.0, "r_initial": 0.2},
            protocol=qs.Protocol(transient=0.0, window=window),
            observables=["r_mean", "v_min"],
            precision=precision,
        )

    run(scan(4.0), tmp_path / "short.zarr")
    run(scan(20.0), tmp_path / "long.zarr", extend=tmp_path / "short.zarr")
    run(scan(20.0), tmp_path / "at once.zarr")
    assert (qs.open_scan(tmp_path / "short.zarr")["redo_count"] > 0).any()
    assert "0 continued" not in qs.open_scan(tmp_path / "long.zarr").attrs["extended"]
    assert_identical(tmp_path / "long.zarr", contents(tmp_path / "at once.zarr"))


def test_a_longer_window_goes_on_from_the_checkpoint(old, tmp_path, computed, monkeypatch):
    changes = {"axes": {"J": J, "eta": [*ETA, -5.0]}, "replicates": 3, "traces": None}
    run(longer(41.3, **changes), tmp_path / "at once.zarr")
    behind = []
    run_batch = batch.run_batch

    def counting(program, inputs, steps, schedule, *arguments, **options):
        behind.append((schedule.behind, len(steps.halvings)))
        return run_batch(program, inputs, steps, schedule, *arguments, **options)

    monkeypatch.setattr(batch, "run_batch", counting)
    computed.clear()
    run(longer(41.3, **changes), tmp_path / "extended.zarr", extend=old)
    assert sum(computed) == 30
    assert sum(count for steps, count in behind if steps == 260) == 16
    # Besides, a sample of the numbers is taken at all 30 points.
    again = sum(count for steps, count in behind if steps is None) - 14 - 30
    dataset, before = qs.open_scan(tmp_path / "extended.zarr"), qs.open_scan(old)
    redone = dataset["redo_count"] - before["redo_count"].reindex_like(dataset, fill_value=0)
    assert again == int(redone.sum()) > 0
    assert_identical(tmp_path / "extended.zarr", contents(tmp_path / "at once.zarr"))


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "common", "fixed": {"v_ou_sigma": 0.4}},
        pytest.param({"fixed": {"v_ou_sigma": 0.4, "r_ou_sigma": 0.002}}, marks=pytest.mark.thorough),
        pytest.param(
            {
                "precision": "float64",
                "drive": qs.Sine(amplitude=0.5, period=9.0),
                "fixed": {},
                "replicates": 1,
            },
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["common noise", "noise of its own", "a drive in float64"],
)
def test_a_window_grows_again_and_again(tmp_path, changes):
    def scan(window):
        # An odd number of steps: the first of the window is the second of a pair of normals.
        protocol = qs.Protocol(transient=0.51, window=window, integrator="euler", dt=0.01)
        return scan_of(**{"observables": ["r_mean", "v_max"], "protocol": protocol, **changes})

    extend = None
    # Less than a segment, just one, some and a part.
    for window in (0.5, 1.28, 7.77):
        path = tmp_path / f"{window}.zarr"
        run(scan(window), path, extend=extend)
        extend = path
    run(scan(7.77), tmp_path / "at once.zarr")
    assert "checkpoint" in contents(extend)
    assert_identical(extend, contents(tmp_path / "at once.zarr"))


def test_a_checkpoint_is_no_part_of_the_dataset_and_goes_with_its_chunk(old, bare, tmp_path):
    assert qs.open_scan(old).identical(qs.open_scan(bare).assign_attrs(qs.open_scan(old).attrs))
    path = tmp_path / "copy.zarr"
    run(scan_of(), path, extend=old)
    assert_identical(path, contents(old))
    next(p for p in (path / "checkpoint" / "points" / "c").rglob("*") if p.is_file()).unlink()
    progress, _ = state.state_of(path)
    assert progress.chunks == progress.all_chunks - 1


def test_what_can_not_be_gone_on_with_is_refused(bare, tmp_path):
    for scan, told in (
        (longer(20.0), "has no checkpoint, and so nothing that a longer window can go on from"),
        (longer(5.0), "they differ in protocol.window (13.0 there, 5.0 here)"),
    ):
        with pytest.raises(qs.StoreError) as caught:
            run(scan, tmp_path / "new.zarr", extend=bare)
        assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    driver.run(scan_of(replicates=3), tmp_path / "new.zarr", client="serial", chunk_points=8)
    next(p for p in (tmp_path / "new.zarr" / "status" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(qs.StoreError, match="nothing that a run with a checkpoint can take over"):
        run(scan_of(replicates=3), tmp_path / "new.zarr", extend=bare)


def without_a_checkpoint(path):
    return not (path / "checkpoint").exists() and state.state_of(path)[0].chunks > 0


def test_a_store_keeps_to_what_it_was_begun_with(bare, tmp_path):
    """With or without a checkpoint; what extends one without has none."""
    run(scan_of(), bare)
    run(scan_of(replicates=3), tmp_path / "extended.zarr", extend=bare)
    assert without_a_checkpoint(bare)
    assert without_a_checkpoint(tmp_path / "extended.zarr")


@pytest.mark.thorough
def test_a_frequency_has_no_checkpoint(tmp_path):
    run(longer(30.0, observables=["r_frequency"]), tmp_path / "frequency.zarr")
    assert without_a_checkpoint(tmp_path / "frequency.zarr")


def test_points_are_found_by_value_wherever_they_stand():
    scan = scan_of(points=PAIRS, axes={"tau": [2.0, 1.0]}, replicates=2)
    columns = {**scan.columns((np.zeros(5, int), np.zeros(5, int)))}
    columns |= {
        "eta": np.array([-3.0, -5.2, -5.2, -5.0, -3.0]),
        "J": np.array([15.0, 10.0, 15.0, 15.0, 15.0]),
    }
    columns["tau"] = np.array([1.0, 2.0, 2.0, 3.0, 2.0])
    indices, has = extension.located(scan, columns, np.array([1, 0, 0, 0, 2]))
    assert has.tolist() == [True, True, False, False, False]
    assert [index[:2].tolist() for index in indices] == [[2, 0], [1, 0], [1, 0]]


def test_the_command_extends(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("more.toml").write_text(
        f"seed = 7\nreplicates = 3\nobservables = {OBSERVABLES}\n"
        f"[axes]\neta = {ETA}\nJ = {J}\n[fixed]\nv_ou_sigma = 0.4\nr_ou_sigma = 0.002\n"
        "[protocol]\ntransient = 2.0\nwindow = 13.0\ntolerance = 1e-5\n"
    )
    result = CliRunner().invoke(main, ["run", "more.toml", "--extend", str(old), "--chunk-points", "16"])
    assert result.exit_code == 0, result.output
    run(scan_of(replicates=3), tmp_path / "at once.zarr")
    assert_identical(tmp_path / "more.zarr", contents(tmp_path / "at once.zarr"))
    result = CliRunner().invoke(main, ["run", "more.toml", "more.zarr", "--extend", "more.zarr"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def noisy_grid(eta):
    return qs.Scan(
        axes={"eta": eta}, fixed={"v_ou_sigma": 0.5}, protocol=LIGHT["protocol"], observables=["r_mean"]
    )


@pytest.mark.parametrize(
    ("eta", "common"),
    [
        ({"linspace": [-10.0, 0.0, 301]}, 101),
        ({"linspace": [-12.0, 0.0, 121]}, 101),
        ([round(-10.0 + 0.1 * k, 1) for k in range(101)], 101),
        ([k / 10 for k in range(-200, 1)], 101),
    ],
    ids=["finer", "longer", "decimals", "tenths"],
)
def test_values_that_are_equal_but_for_rounding_are_one_value(tmp_path, computed, eta, common):
    """Rounding keeps 62 to 84 of the 101 values apart from those of the older grid."""
    older = noisy_grid(np.linspace(-10.0, 0.0, 101))
    run(older, tmp_path / "old.zarr", points=101)
    scan = noisy_grid(eta)
    assert 50 < np.isin(scan.axes["eta"].labels, older.axes["eta"].labels).sum() < common
    computed.clear()
    found = run(scan, tmp_path / "new.zarr", points=200, extend=tmp_path / "old.zarr").load()
    assert sum(computed) == scan.size - common
    np.testing.assert_allclose(found["eta"], scan.axes["eta"].labels, rtol=0, atol=1e-14)
    before = qs.open_scan(tmp_path / "old.zarr").load()
    same = found.sel(eta=before["eta"])
    assert np.array_equal(same["r_mean"].values, before["r_mean"].values)
    new = f"{common} points taken over, 0 continued, {scan.size - common} new"
    assert found.attrs["extended"] == f"{new}; from {tmp_path / 'old.zarr'} ({older.fingerprint[:12]})"
    # The same command goes on, with and without the older store, and the values stay.
    run(scan, tmp_path / "new.zarr", extend=tmp_path / "old.zarr")
    assert run(scan, tmp_path / "new.zarr")["eta"].equals(found["eta"])
    assert sum(computed) == scan.size - common


def test_fixed_values_drives_and_starts_are_matched_too(tmp_path, computed):
    third, other = 0.1 + 0.2, 0.3

    def scan(value, eta):
        return qs.Scan(
            axes={"eta": eta},
            fixed={"v_ou_sigma": value},
            drive=qs.Constant(amplitude=value),
            protocol=LIGHT["protocol"].model_copy(update={"initial": {"r": value, "v": -value}}),
        )

    run(scan(third, [-5.0]), tmp_path / "old.zarr")
    computed.clear()
    found = run(scan(other, [-5.0, -4.0]), tmp_path / "new.zarr", extend=tmp_path / "old.zarr")
    assert sum(computed) == 1
    assert found["r_mean"].sel(eta=-5.0) == qs.open_scan(tmp_path / "old.zarr")["r_mean"].sel(eta=-5.0)


def test_values_that_are_meant_to_differ_stay_apart():
    older = np.array([0.0, 1.0, 10.0])
    close = np.array([1.0, 1.0 + 4e-16, 2.0, 1e-9, 10.0 + 1e-11])
    assert np.array_equal(matching.snapped(close, older), close)
    assert matching.snapped(np.array([1e-17, 1.0 - 2e-16]), older).tolist() == [0.0, 1.0]
    spaced = np.geomspace(1e-3, 1e3, 61)
    assert np.array_equal(matching.snapped(np.geomspace(1e-3, 1e3, 121), spaced)[::2], spaced)


def test_what_was_continued_is_counted_over_interruptions(tmp_path, monkeypatch):
    older = qs.Scan(axes={"eta": [-5.0, -4.0, -3.0]}, **LIGHT)
    longer = LIGHT["protocol"].model_copy(update={"window": 9.0})
    scan = qs.Scan(axes={"eta": [-5.0, -4.0, -3.0, -2.0, -1.0]}, **{**LIGHT, "protocol": longer})
    run(older, tmp_path / "old.zarr")
    write, written = writer.write, []

    def stopped(*given):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(given)
        write(*given)

    monkeypatch.setattr(writer, "write", stopped)
    with pytest.raises(qs.RunError):
        run(scan, tmp_path / "new.zarr", points=1, extend=tmp_path / "old.zarr")
    monkeypatch.undo()
    found = run(scan, tmp_path / "new.zarr", extend=tmp_path / "old.zarr")
    assert found.attrs["extended"].startswith("0 points taken over, 3 continued, 2 new; from")
