"""Chunks hold every point once, aligned; a plan tells the numbers, and what can't fit is refused."""

import itertools
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qifscan as qs
from qifscan.dynamics.models import MODELS
from qifscan.dynamics.observables import observables
from qifscan.engine import backend, batch, checkpoint, chunk_work, chunks, program, schedule
from qifscan.engine.chunks import Chunks, chunk_shape
from qifscan.engine.schedule import Schedule
from qifscan.runs import plan
from qifscan.runs.plan import checkpoint_bytes, format_bytes, format_seconds

FEW = settings(derandomize=True, deadline=None, max_examples=50)
NAMES = ("eta", "J", "tau", "delta", "v_ou_sigma")


def scan_of(sizes, replicates=1, **changes):
    """Return a scan of these sizes, whose values on every axis are 1, 2, 3, ..."""
    axes = {name: np.arange(1.0, size + 1.0) for name, size in zip(NAMES, sizes, strict=False)}
    protocol = qs.Protocol(transient=1.0, window=2.0)
    return qs.Scan(**{"axes": axes, "replicates": replicates, "protocol": protocol, **changes})


@st.composite
def grids(draw, most):
    """Draw the sizes of 0 to 5 dimensions of up to 40 values, and of replicates: at most so many points."""
    sizes = []
    for _ in range(draw(st.integers(0, 5))):
        sizes.append(draw(st.integers(1, max(1, min(40, most // math.prod(sizes))))))
    replicates = draw(st.integers(1, max(1, min(40, most // math.prod(sizes)))))
    return draw(st.permutations(sizes)), replicates


WANTED = st.none() | st.integers(1, 5000)


@FEW
@given(grids(most=3000), WANTED)
def test_the_chunks_hold_every_point_of_the_grid_once(grid, wanted):
    cut = Chunks.of(scan_of(*grid), wanted)
    shape = tuple(cut.scan.sizes.values())
    times = np.zeros(shape, dtype=int)
    for chunk in range(len(cut)):
        times[cut.region(chunk)] += 1
    assert (times == 1).all()
    assert sum(cut.points(chunk) for chunk in range(len(cut))) == math.prod(shape)


@FEW
@given(grids(most=3000), WANTED)
def test_a_region_is_a_whole_chunk_of_the_store_and_its_indices_are_in_the_order_of_the_array(grid, wanted):
    cut = Chunks.of(scan_of(*grid), wanted)
    sizes = tuple(cut.scan.sizes.values())
    blocks, lanes = schedule.batch_shape(math.prod(cut.shape))
    for chunk in range(min(len(cut), 100)):
        region = cut.region(chunk)
        for part, length, size in zip(region, cut.shape, sizes, strict=True):
            assert part.start % length == 0
            assert part.stop == min(part.start + length, size)
        inside = list(itertools.product(*(range(part.start, part.stop) for part in region)))
        if sizes:
            assert list(zip(*cut.indices(chunk), strict=True)) == inside
        assert len(cut.indices(chunk)[0]) == len(inside) == cut.points(chunk) <= blocks * lanes


@FEW
@given(grids(most=40**6), st.integers(1, 10**6), st.data())
def test_a_chunk_is_found_at_its_position_in_a_grid_of_any_size(grid, wanted, data):
    cut = Chunks.of(scan_of(*grid), wanted)
    sizes = tuple(cut.scan.sizes.values())
    assert cut.grid == math.prod(-(-size // length) for size, length in zip(sizes, cut.shape, strict=True))
    chunk = data.draw(st.integers(0, cut.grid - 1))
    assert cut.at(cut.position(chunk)) == chunk
    starts = [i * length for i, length in zip(cut.position(chunk), cut.shape, strict=True)]
    assert [part.start for part in cut.region(chunk)] == starts


@FEW
@given(st.lists(st.integers(1, 10**6), max_size=6), st.integers(1, 10**9), st.integers(1, 10**6))
@example([2, 257], 1, 128)
def test_a_chunk_has_at_most_the_points_that_are_wanted_and_whole_inner_rows(sizes, steps, wanted):
    shape = chunk_shape(tuple(sizes), steps, wanted)
    assert math.prod(shape) <= wanted
    assert all(1 <= length <= size for length, size in zip(shape, sizes, strict=True))
    # Dimensions before the one that is cut have length 1, those after it are whole.
    cut = [i for i, (length, size) in enumerate(zip(shape, sizes, strict=True)) if length < size]
    if cut:
        assert all(length == 1 for length in shape[: cut[-1]])
        assert shape[cut[-1] + 1 :] == tuple(sizes[cut[-1] + 1 :])


def test_a_chunk_is_about_a_second_of_work_within_its_bounds():
    points = {
        (sizes, steps): math.prod(chunk_shape(sizes, steps))
        for sizes, steps in [
            ((2048, 2048), 10_000),
            ((64, 64), 10_000),
            ((512, 512), 10**8),
            ((4096, 4096), 100),
        ]
    }
    assert 20_000 <= points[(2048, 2048), 10_000] <= 40_000  # 4e8 point-steps over 10^4 steps
    assert points[(64, 64), 10_000] == 256  # 4096 points in 16 chunks
    assert points[(512, 512), 10**8] == 256  # 4 points of work, but never less than a block
    assert points[(4096, 4096), 100] == 65536  # never more, for the memory


def test_a_scan_of_very_many_chunks_is_cut_into_larger_ones():
    """Each is a dozen files; but four times the usual size is the most, of 10^11 points eight times."""

    def cut(*sizes, steps=800, grain=chunks.GRAINS["cpu"]):
        shape = chunk_shape(sizes, steps, grain=grain)
        return math.prod(shape), math.prod(-(-n // c) for n, c in zip(sizes, shape, strict=True))

    assert cut(4096, 8192) == (2**16, 512)
    points, count = cut(10_000, 10_000)
    assert 150_000 <= points <= 200_000
    assert 512 <= count < 650  # 1526 of the usual size
    points, count = cut(10**5, 10**5)
    assert 2**17 < points <= 2**18 + 4096
    # A thousand workers ask for no more than half of what a scheduler hands out.
    points, count = cut(10**5, 10**6)
    assert 2**18 < points <= 2**19
    assert count <= 200_000
    # Of long runs, too: a chunk is some seconds of work then.
    assert cut(10_000, 10_000, steps=20_000)[0] == 4 * 20_000
    assert cut(10**5, 10**6, grain=chunks.grain_of("gpu: any"))[0] <= 2**20
    # What is wanted is what is given.
    assert math.prod(chunk_shape((10**5, 10**6), 800, 1000)) <= 1000


def test_the_chunks_of_a_gpu_are_larger(monkeypatch):
    """Many blocks run side by side there, and of the chunks that it is given one at a time."""
    gpu = chunks.grain_of("gpu: any")
    points = {
        (sizes, steps): math.prod(chunk_shape(sizes, steps, grain=gpu))
        for sizes, steps in [((2048, 2048), 10_000), ((64, 64), 10_000), ((512, 512), 10**8)]
    }
    assert points[(2048, 2048), 10_000] == 2**18
    assert points[(64, 64), 10_000] == 4096
    assert points[(512, 512), 10**8] == 2**16
    swept = scan_of((20, 10_000), protocol=qs.Protocol(window=1000.0, dt=0.01, sweep=NAMES[0]))
    cut = [Chunks.of(swept, grain=grain) for grain in chunks.GRAINS.values()]
    assert [math.prod(made.shape) // swept.line for made in cut] == [128, 4096]
    monkeypatch.setattr(backend, "device", lambda: "gpu: any")
    made = qs.plan(scan_of((1024, 1024)), probe=False)
    assert (math.prod(made.chunks.shape), made.workers) == (2**18, 2)
    monkeypatch.setattr(plan, "_probe", lambda cut, sample: (10.0, True))
    assert qs.plan(scan_of((4,))).seconds == 10.0
    monkeypatch.setattr(backend, "device", lambda: "cpu: any")
    assert qs.plan(scan_of((600,)), workers=2).seconds == 5.0


def test_the_cut_does_not_depend_on_who_runs_it():
    scan = scan_of((40, 40), 3)
    plans = [qs.plan(scan, workers=workers, probe=False) for workers in (1, 2, 7, 64, None)]
    assert len({(p.chunks.shape, p.chunks.grid, p.bytes_on_disk) for p in plans}) == 1
    assert [p.workers for p in plans[:4]] == [1, 2, 7, min(64, len(plans[0].chunks))]


@FEW
@given(grids(most=300), st.integers(1, 50), st.integers(1, 400), st.data())
def test_the_batches_of_traces_hold_every_trace_once_in_order(grid, every, room, data):
    sizes, replicates = grid
    points = []
    for _ in range(data.draw(st.integers(1, 3))):
        chosen = [name for name in zip(NAMES, sizes, strict=False) if data.draw(st.booleans())]
        points.append({name: float(data.draw(st.integers(1, size))) for name, size in chosen})
    scan = scan_of(sizes, replicates, traces={"points": points, "every": every})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "TRACE_BYTES", room * 1000)
        cut = Chunks.of(scan)
        batches = range(cut.grid, len(cut))
        found = [index for chunk in batches for index in zip(*cut.indices(chunk), strict=True)]
        assert found == scan.trace_indices or not scan.sizes
        assert cut.traces == len(scan.trace_indices)
        bounds = [(part.start, part.stop) for chunk in batches for (part,) in [cut.region(chunk)]]
        assert bounds[0][0] == 0
        assert bounds[-1][1] == cut.traces
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
        assert all(stop - start == cut.trace_batch for start, stop in bounds[:-1])
        assert [cut.position(chunk) for chunk in batches] == [(i,) for i in range(len(batches))]
        assert all(cut.is_trace(chunk) for chunk in batches)
        assert not any(cut.is_trace(chunk) for chunk in range(cut.grid))
        # 60 base steps: the start and every so many, two float32 each; a batch keeps to its room.
        assert cut.trace_rows == cut.trace_schedule.rows == 1 + 60 // every
        assert cut.trace_bytes == (1 + 60 // every) * 2 * 4
        assert cut.trace_batch == 1 or cut.trace_batch * cut.trace_bytes <= room * 1000


def test_a_cut_that_does_not_fit_its_scan_is_refused():
    scan = scan_of((4, 3))
    for shape in ((4,), (4, 3, 1), (0, 3), (4, 4), ("4", 3), (1.5, 1)):
        with pytest.raises(ValueError, match="do not fit"):
            Chunks(scan, shape)


def planned(**changes):
    """Return the plan of 8 x 8 x 2 points, 60 base steps of 3 observables, with 16 traces every 10 steps."""
    scan = scan_of(
        (8, 8),
        replicates=2,
        title="by hand",
        observables=["r_mean", "r_std", "v_mean"],
        traces={"points": [{"J": 1.0}], "every": 10},
    )
    return qs.plan(scan, chunk_points=32, **{"workers": 3, "probe": False, **changes})


def test_a_plan_has_the_numbers_that_a_hand_computes():
    made = planned()
    assert made.points == 128
    assert made.steps == 60
    assert made.chunks.shape == (2, 8, 2)
    assert (made.chunks.grid, made.chunks.traces, len(made.chunks)) == (4, 16, 5)
    assert made.compilations == 2
    # 128 points of 3 float32 and a status, and beside them 3 float32 and 4 bytes of what to trust, and to go
    # on from there 4 numbers of 4 bytes and the sums; 16 traces of 7 times 2 float32 and a status.
    sums = 6 * 8 + 5 * 8
    assert made.bytes_on_disk == 128 * (3 * 4 + 1 + 3 * 4 + 4 + 4 * 4 + sums) + 16 * (7 * 2 * 4 + 1)
    assert made.padding == 0.5  # 32 points in 64 lanes
    assert (made.seconds, made.memory) == (None, None)
    assert str(made).splitlines() == [
        f"scan          by hand ({made.chunks.scan.fingerprint[:12]})",
        "points        128 (eta 8 x J 8 x replicate 2)",
        "steps         60 of 0.05 ms each or finer, as the point needs, riccati, float32",
        "chunks        4 of 2 x 8 x 2 points, 50.0% padding",
        "traces        16 in 1 batch, 7 times each",
        "compilations  2 per process at most",
        "on disk       17.5 KiB before compression",
    ]


def test_padding_is_the_share_of_lanes_that_compute_nothing_new():
    # 5 chunks of 20 points, in 64 lanes each.
    made = qs.plan(scan_of((100,)), chunk_points=20, probe=False)
    lanes = len(made.chunks) * math.prod(schedule.batch_shape(math.prod(made.chunks.shape)))
    assert made.padding == pytest.approx(1.0 - 100 / lanes)
    assert made.points == 100


def test_the_probe_adds_time_and_memory():
    made = planned(probe=True)
    assert made.seconds > 0.0
    assert made.memory > 2**20
    names = [line.split()[0] for line in str(made).splitlines()]
    assert names[-2:] == ["memory", "time"]
    assert "3 workers" in str(made)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "fixed", [{}, {"v_ou_sigma": 0.1}, {"v_ou_sigma": 0.1, "r_ou_sigma": 0.1}], ids=["quiet", "v", "both"]
)
def test_the_bytes_of_a_checkpoint_are_those_that_the_kernel_keeps(precision, fixed):
    kept = [name for name in observables(MODELS["qif"]) if not name.endswith("_frequency")]
    for names in (*([name] for name in kept), kept):
        scan = qs.Scan(axes={"eta": [1.0]}, fixed=fixed, observables=names, precision=precision)
        assert checkpoint_bytes(scan) == checkpoint.checkpoint_type(program.Program.of(scan)).itemsize
    assert checkpoint_bytes(qs.Scan(axes={"eta": [1.0]}, observables=["r_mean", "r_frequency"])) == 0


def test_a_plan_without_the_probe_does_not_load_jax():
    code = (
        "import sys, qifscan as qs\n"
        "scan = qs.Scan(axes={'eta': [-5.0]}, traces={'points': [{}]}, drive=qs.Constant(amplitude=1))\n"
        "print(qs.plan(scan, probe=False)); print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_what_does_not_fit_on_the_disk_or_in_memory_is_refused_with_the_numbers(tmp_path, monkeypatch):
    free = {"disk": 2**30, "memory": 2**30}
    asked = []

    def disk_usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(2**40, 0, free["disk"])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(plan, "available_memory", lambda: free["memory"])
    made = qs.Plan(planned().chunks, workers=2, bytes_on_disk=2**31, compilations=1, memory=3 * 2**30)
    with pytest.raises(qs.ScanError) as caught:
        made.check(tmp_path / "not" / "there" / "yet.zarr")
    disk, memory = str(caught.value).splitlines()
    assert disk.startswith(
        "plan: found 2.0 GiB to write, expected at most the 1.0 GiB that are free on the disk"
    )
    assert str(tmp_path) in disk
    assert memory.startswith("plan: found 3.0 GiB of memory, expected at most the 1.0 GiB that are available")
    assert asked == [tmp_path]
    free["disk"] = 2**31
    with pytest.raises(qs.ScanError, match=r"^plan: found 3\.0 GiB of memory"):
        made.check(tmp_path)
    free["memory"] = 3 * 2**30
    made.check(tmp_path)


def test_a_plan_without_the_probe_does_not_ask_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "available_memory", lambda: 0)
    planned().check(tmp_path)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (2**30, "1.0 GiB"),
        (2**51, "2048.0 TiB"),
    ],
)
def test_bytes_are_written_in_the_unit_that_suits_them(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (119.0, "119.0 s"),
        (120.0, "2.0 min"),
        (7199.0, "120.0 min"),
        (9000.0, "2.5 h"),
        (2e5, "2.3 d"),
    ],
)
def test_durations_are_written_in_the_unit_that_suits_them(seconds, text):
    assert format_seconds(seconds) == text


def test_turns_of_a_sweep_that_are_timed_start_where_the_one_before_ended(monkeypatch):
    """As in a run; and of all that there are, the time of so many turns is told."""
    scan = qs.Scan(
        axes={"J": np.linspace(5.0, 15.0, 40), "eta": np.linspace(-6.0, -4.0, 30)},
        protocol=qs.Protocol(transient=1.0, window=1.0, sweep="eta"),
        observables=["r_mean"],
    )
    seen = []
    real = chunk_work.run_points

    def noted(points, *arguments):
        found = real(points, *arguments)
        seen.append((points.start.state.copy(), found.final))
        return found

    monkeypatch.setattr(chunk_work, "run_points", noted)
    cut = Chunks.of(scan, None)
    assert len(list(chunk_work.sample_of_turns(cut, [0, 13, 29]))) == 3
    assert np.isnan(seen[0][0]).all()
    for (_, before), (start, _) in itertools.pairwise(seen):
        assert np.array_equal(start, before)
    monkeypatch.setattr(plan, "_seconds_of_a_turn", lambda chunks: 0.5)
    share = scan.size / cut.batch
    assert qs.plan(scan, workers=1).seconds == pytest.approx(0.5 * share + plan.WRITTEN * len(cut))


@pytest.mark.parametrize(
    ("fixed", "of_steps"), [(0.0, 28.0), (5.4, 0.4), (1.0, 0.3), (0.0, 0.5), (0.1, 0.2), (0.4, 3.0)]
)
def test_of_a_batch_that_takes_long_parts_are_timed(fixed, of_steps, monkeypatch):
    """A search for equilibria takes its time however few the steps, and what is run again goes with them."""
    ran = []

    def seconds(points, schedule, shape):
        assert schedule.transient == schedule.window
        ran.append(schedule.steps / 4000)
        return fixed + of_steps * ran[-1]

    monkeypatch.setattr(plan, "_seconds_of", seconds)
    found = plan._seconds_of_a_batch(None, Schedule(2000, 2000, 0.05, 1), None)
    assert found == pytest.approx(fixed + of_steps, rel=0.01)
    quarter, part = (fixed + of_steps / parts for parts in (4 * plan.PARTS, plan.PARTS))
    whole = 1.0 if plan.PARTS * part <= plan.LONG else 1.0 / plan.PARTS
    largest = 0.25 / plan.PARTS if 4.0 * quarter > plan.LONG else whole
    assert max(ran) == pytest.approx(largest, rel=0.01)
    taken = sum(fixed + of_steps * share for share in ran)
    assert taken < max(4 * plan.LONG, 2.1 * (fixed + of_steps / 32))


@settings(max_examples=50)
@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=4), part=st.sampled_from([2, 16, 64]),
    steps=st.sampled_from([2**12, 2**18, 2**22]),
)  # fmt: skip
def test_a_part_of_a_run_is_in_blocks_as_wide_as_those_of_the_whole(counts, part, steps):
    """By hand: so many lanes of each step, and what a narrow block saves of them."""
    halvings = np.repeat(np.arange(len(counts)), counts)
    whole = Schedule(transient=0, window=steps, base=0.05, sample_steps=1)
    own = schedule.Steps(halvings, halvings)
    found = batch.shape_for(own, whole, (3, 256))
    assert batch.shape_for(own, whole.shortened(part), (3, 256)) == found
    wide, narrow = (
        sum(-(-n // lanes) * lanes * 2**k * steps for k, n in enumerate(counts)) for lanes in (256, 64)
    )
    saves = narrow <= wide / 2 and wide - narrow >= 2**28
    assert found == ((1, 64) if saves else (3, 256))
    assert batch.shape_for(own, whole, (3, 64)) == (3, 64)
