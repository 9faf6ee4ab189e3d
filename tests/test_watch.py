"""What `qifscan status` tells of a run: of one that goes on, has failed, or is gone without a word."""

import json
import os
import platform
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.runs import driver, events, watch
from qifscan.runs.progress import Progress
from qifscan.runs.running import MOMENTS, Running
from tests.test_admission import SCAN, half

__all__ = ["half"]


def told(path):
    done = CliRunner().invoke(main, ["status", str(path)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    return {line.split()[0]: line[14:] for line in lines}


def write(path, *lines):
    log = path.with_name("scan.zarr.jsonl")
    log.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def event(name, seconds=0.0, run="b", **facts):
    return {"time": time.time() - seconds, "run": run, "event": name, **facts}


def begun(**facts):
    return event("begun", 60.0, **{"host": platform.node(), "process": os.getpid(), **facts})


def test_a_run_that_goes_on_is_told_with_its_speed_workers_and_failures(half):
    write(
        half,
        event("ended", 500.0, run="a", how="finished"),
        begun(),
        event("worker", 50.0, worker="tcp://a:1", threads=1),
        event("worker", 50.0, worker="tcp://b:1", threads=1),
        event("worker left", 9.0, worker="tcp://a:1"),
        event("left out", 9.0, worker="tcp://b:1", reason="it computes other last bits"),
        event("failed", 8.0, chunk=3, worker="tcp://b:1", error="no"),
        event("progress", 5.0, chunks=2, points=4, pace=0.5),
        event("waiting", 2.0, reason="the scheduler has no workers"),
    )
    lines = told(half)
    assert lines["finished"] == "2 of 4 chunks, 4 of 8 points"
    assert lines["running"].startswith(f"process {os.getpid()} on {platform.node()}, last heard of 2.")
    assert lines["rate"] == "0.5 points a second, 8.0 s left"
    assert lines["workers"] == "1 now, 2 seen"
    assert lines["left"] == "tcp://b:1: it computes other last bits"
    assert lines["tried"] == "1 time: chunk 3: no"
    assert lines["waiting"] == "the scheduler has no workers"
    assert "fault" not in lines
    assert "to" not in lines
    assert watch.goes_on(half)


def test_a_run_that_is_gone_without_a_word_is_known_by_its_process(half):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    write(half, begun(process=gone.pid), event("progress", 5.0, chunks=2, points=4, pace=0.5))
    lines = told(half)
    assert lines["ended"].startswith(f"without a word: process {gone.pid}")
    assert lines["to"] == "qifscan run again: it does the rest"
    assert not watch.goes_on(half)


def test_of_a_run_on_another_machine_it_is_said_that_it_may_go_on(half):
    write(half, begun(host="another"), event("progress", 5.0, chunks=2, points=4, pace=0.5))
    assert told(half)["running"].startswith("perhaps: process")


def test_a_run_that_has_failed_says_with_what(half, monkeypatch):
    def failing(path, chunk, **options):
        raise ValueError("a bad chunk")

    monkeypatch.setattr(driver, "compute_chunk", failing)
    with pytest.raises(qs.RunError):
        qs.run(SCAN, half, client="serial")
    lines = told(half)
    assert "RunError" in lines["ended"]
    assert lines["failed"].startswith("2 times: chunk 1: a bad chunk; chunk 2: a bad chunk")


@pytest.mark.parametrize(
    "line",
    [
        *["", "{", "[]", "7", '{"time": "now"}', '{"time": 1}', '{"time": 1, "event": 3, "run": []}'],
        "[" * 10_000,
        json.dumps({"time": 1, "run": "b", "event": "progress", "pace": {}}),
        json.dumps({"time": 1, "run": "b", "event": "worker", "worker": []}),
    ],
)
def test_a_log_may_hold_anything(half, line):
    write(half, line, begun(), line)
    assert told(half)["finished"] == "2 of 4 chunks, 4 of 8 points"
    write(half, line)
    assert told(half)["finished"] == "2 of 4 chunks, 4 of 8 points"


def test_of_a_long_log_the_end_is_read(half, monkeypatch):
    monkeypatch.setattr(events, "MOST_READ", 400)
    write(half, begun(), *(event("progress", 5.0, chunks=2, points=4, pace=0.5) for _ in range(50)))
    assert len(events.read(half)) < 10


def remaining(moments, points):
    """Count a chunk of ten points at each moment; return the seconds left after each, and the run."""
    clock = iter([0.0, *moments])
    outcome = SimpleNamespace(points=10, flags={}, seconds=1.0, device="cpu", other=None)
    opened = SimpleNamespace(chunks=SimpleNamespace(is_trace=lambda chunk: False), path="")
    run = Running(opened, "cpu", Progress(0, points // 10, 0, points), begin=next(clock))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qifscan.runs.running.time", SimpleNamespace(perf_counter=lambda: next(clock)))
        return [run.counted(chunk, outcome).remaining for chunk in range(len(moments))], run


def test_the_time_left_forgets_a_slow_begin():
    left, _ = remaining([10.0, *(10.0 + k for k in range(1, 31))], 1000)
    # Ten seconds of compiling, then ten points a second: 690 are left.
    assert left[-1] == pytest.approx(69.0, rel=0.05)
    assert left[0] == pytest.approx(990.0)


def test_of_very_many_chunks_few_moments_are_kept_for_the_time_left():
    left, run = remaining([10.0 + 0.01 * k for k in range(5000)], 100_000)
    assert left[-1] == pytest.approx(50.0, rel=0.01)
    assert len(run.recent) <= MOMENTS
