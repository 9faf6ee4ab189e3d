"""What `plan` tells of a run against what the run takes: the scans of scans/, and one of each model.

In seconds of a core, as other programs may have the rest of the machine, without what `plan` leaves out:
compilation, the start of workers, the theory.

    python benchmarks/plans.py [--only PATTERN]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("PJRT_NPROC", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scans"))

import qifscan as qs  # noqa: E402
from qifscan.dynamics.models import MODELS  # noqa: E402
from qifscan.engine import compiler  # noqa: E402
from qifscan.engine.chunk_work import run_chunk  # noqa: E402
from qifscan.runs import driver, plan  # noqa: E402

BEFORE = 4
"""Chunks that are run before, for all programs to be compiled."""

SIDES = {"qif_pair": 16, "qif_delay": 16, "qif_cumulants": 32, "qif_memory": 32}
"""Values of an axis, where 64 would take long: points of these models are run again often, or their
equilibria are searched for."""

plan.time = vars(compiler)["time"] = SimpleNamespace(perf_counter=time.process_time)
driver.after_a_run, driver._add_theory = (lambda *given: None), (lambda *given: None)


def of_models():
    """Yield a scan of each model: its first two parameters about their defaults."""
    for name, model in MODELS.items():
        axes = {}
        for row in model.parameters:
            middle = row.default
            around = [0.5 * middle, 1.5 * middle] if middle else [0.1, 1.0]
            if isinstance(middle, float) and len(axes) < 2:
                axes[row.name] = {"linspace": [*sorted(around), SIDES.get(name, 64)]}
        yield name, qs.Scan(model=name, axes=axes)


def scans():
    for file in sorted((ROOT / "scans").glob("*.toml")):
        yield f"scans/{file.name}", qs.Scan.from_toml(file)
    yield from of_models()


def measured(scan, folder):
    """Return what plan tells, and what it takes itself; and what the run takes."""
    begin = time.process_time()
    told = qs.plan(scan, workers=1)
    first = time.process_time() - begin
    count = len(told.chunks)
    for chunk in {count * k // BEFORE for k in range(BEFORE)} | {count - 1}:
        run_chunk(told.chunks, chunk)
    begin = time.process_time()
    driver.execute(
        scan, folder / "scan.zarr", extend=None, checkpoint=True, client="serial", workers=None,
        chunk_points=None, progress=None,
    )  # fmt: skip
    return told, first, time.process_time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    print("| scan | points | planned (s) | took (s) | took / planned | plan itself (s) |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, scan in scans():
        if not re.search(asked.only, name):
            continue
        folder = Path(tempfile.mkdtemp(prefix="qifscan-plans-"))
        try:
            told, first, took = measured(scan, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        ratio = took / told.seconds
        line = f"| {name} | {told.points:,} | {told.seconds:.2f} | {took:.2f} | {ratio:.2f} | {first:.1f} |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
