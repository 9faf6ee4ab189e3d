"""What takes seconds says what it does, in a terminal and nowhere else, and Ctrl-C ends it with one line."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

import qifscan as qs
from qifscan import phases
from qifscan.cli import main
from qifscan.runs import progress

SCAN = """
import numpy as np, qifscan as qs
from qifscan import phases
phases.QUIET = phases.OFTEN = 0.0
scan = qs.Scan(
    axes={"eta": [-7.0, -6.0, -5.0], "J": [10.0, 15.0]},
    protocol=qs.Protocol(transient=5.0, window=5.0),
    observables=["r_mean"],
)
adapting = {"delta": 2.0, "J": 21.213203435596427, "tau_a": 10.0, "alpha": 1.0}
"""

CALLS = {
    "run": ('qs.run(scan, "scan.zarr", chunk_points=2)', ["compiling", "6 of 6 points", "adding the theory"]),
    "plan": ("qs.plan(scan)", ["plan: compiling", "plan: timing a part of the scan"]),
    "verify": (
        'qs.run(scan, "scan.zarr", progress=None); qs.verify("scan.zarr")',
        [
            "verify: computing a sample again",
            "verify: computing it with half the step",
            "verify: solving it adaptively",
            "verify: comparing with the exact theory",
        ],
    ),
    "cycles": (
        "qs.cycles(**adapting, eta=-2.0, starts=1)",
        ["cycles: simulating, trajectories 0 of 1", "cycles: refining cycles"],
    ),
    "cycle_branches": (
        "qs.cycle_branches(**adapting, within=(-0.6, 0.0), points=10)",
        ["cycle_branches: following branches"],
    ),
    "forced_cycles": (
        "qs.forced_cycles(drive=qs.Sine(amplitude=0.2, period=10.0), eta=-5.0, J=15.0, starts=1)",
        ["forced_cycles: simulating, trajectories 0 of 1", "forced_cycles: refining cycles"],
    ),
}


def in_a_terminal(code, folder):
    """Run code with a terminal as its standard error; return the code of its end and what stood there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SCAN + code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=folder)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    process.stdout.read()
    process.stdout.close()
    return process.wait(), seen.decode(errors="replace")


ALL = "\n".join(code for code, _ in CALLS.values())


@pytest.mark.thorough
def test_a_terminal_shows_what_is_done(tmp_path):
    ended, seen = in_a_terminal(ALL, tmp_path)
    assert ended == 0, seen
    assert [words for _, expected in CALLS.values() for words in expected if words not in seen] == []
    assert seen.endswith("\r\x1b[K"), "the line is taken away"


def test_a_pipe_gets_nothing(tmp_path):
    code = SCAN + CALLS["cycles"][0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


STOPPED = {
    "run, compiling": ("run", "compiling", "scan.zarr: stopped while compiling; the same command goes on"),
    "run, theory": ("run", "adding", "scan.zarr: stopped while adding the theory; the same command"),
    "plan": ("plan", "timing", "plan: stopped while timing a part of the scan"),
    "verify": ("verify", "solving", "verify: stopped while solving it adaptively"),
    "cycles": ("cycles", "refining", "cycles: stopped while refining cycles on"),
    "cycle_branches": ("cycle_branches", "following", "cycle_branches: stopped while following branches"),
    "forced_cycles": ("forced_cycles", "refining", "forced_cycles: stopped while refining cycles on"),
}


@pytest.mark.parametrize("case", STOPPED)
def test_ctrl_c_ends_it_with_one_line(case, tmp_path, monkeypatch):
    name, phase, words = STOPPED[case]
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(SCAN.replace("phases.QUIET = phases.OFTEN = 0.0", ""), known)
    code = CALLS[name][0]
    owner = progress.Report if name == "run" else phases.Phases
    method = "phase" if name == "run" else "tell"
    before = getattr(owner, method)

    def pressed(self, text, *count):
        before(self, text, *count)
        if text.startswith(phase):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(owner, method, pressed)
    with pytest.raises(qs.RunInterrupted) as caught:
        exec(code, known)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, KeyboardInterrupt)
    monkeypatch.setattr(owner, method, before)
    if name == "run":
        again = qs.run(known["scan"], "scan.zarr", progress=None)
        assert int((again["status"] > 0).sum()) == 6


@pytest.mark.parametrize(("command", "phase"), [("plan", "compiling"), ("verify", "reading")])
def test_ctrl_c_ends_a_command_with_one_line(command, phase, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = qs.Scan(axes={"eta": [-6.0, -5.0]}, protocol=qs.Protocol(transient=1.0, window=1.0))
    (tmp_path / "scan.toml").write_text(scan.to_toml())
    qs.run(scan, "scan.zarr", progress=None)
    before = phases.Phases.tell

    def pressed(self, text, *count):
        before(self, text, *count)
        if text.startswith(phase):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(phases.Phases, "tell", pressed)
    done = CliRunner().invoke(main, [command, "scan.toml"])
    assert done.exit_code == 130
    assert done.output == f"error: {command}: stopped while {phase}\n"


def test_what_is_called_in_a_thread_says_nothing_and_is_computed(monkeypatch):
    told, found = [], []
    monkeypatch.setattr(phases.Phases, "tell", lambda self, *words: told.append(words))
    options = {"eta": 5.0, "starts": 1, "transient": 1.0, "window": 1.0}
    thread = threading.Thread(target=lambda: found.append(qs.cycles(**options)))
    thread.start()
    thread.join()
    assert not told
    assert len(found) == 1
