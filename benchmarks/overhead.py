"""What a chunk costs beside its work: 20,000 chunks of no work, through the driver, the store and Dask.

Seconds and CPU seconds a chunk, memory of driver, scheduler and workers on the way, files; then how long it
takes to resume such a store, and to tell its status.

    python benchmarks/overhead.py [--chunks 20000] [--client serial|threads|dask] [--keep PATH]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import idle
import numpy as np
import psutil

import qifscan as qs
from qifscan.runs import driver, watch
from qifscan.theory.of_scan import Atlas


def memory():
    """Return resident MB of this process and of those that it has started."""
    own = psutil.Process()
    return [
        round(p.memory_info().rss / 2**20) for p in (own, *own.children(recursive=True)) if p.is_running()
    ]


def timed(what):
    begin, cpu = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - begin, time.process_time() - cpu


def told_in(name, what):
    wall, cpu = timed(what)
    print(f"{name} in {wall:.1f} s, {cpu:.1f} s of CPU")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--client", default="serial")
    parser.add_argument("--keep")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qifscan-overhead-"))
    path = Path(asked.keep) if asked.keep else folder / "scan.zarr"
    scan = qs.Scan(
        axes={"eta": np.linspace(-6.0, -3.0, asked.chunks)},
        protocol=qs.Protocol(transient=0.5, window=0.5),
        observables=["r_mean", "r_std"],
    )
    driver.compute_chunk = idle.compute
    # The theory of 20,000 points is no overhead of a chunk.
    driver.after_a_run = lambda scan: Atlas(scan, {}, ())
    client = qs.local_cluster(2) if asked.client == "dask" else None
    told = []

    def report(state):
        if state.chunks and state.chunks % (asked.chunks // 4) == 0:
            told.append((state.chunks, memory()))

    run = partial(driver.execute, scan, path, extend=None, checkpoint=True, workers=2)
    wall, cpu = timed(lambda: run(client=client or asked.client, chunk_points=1, progress=report))
    print(f"{asked.chunks:,} chunks, {asked.client}: {1e3 * wall / asked.chunks:.2f} ms a chunk,", end=" ")
    print(f"{1e3 * cpu / asked.chunks:.2f} ms of CPU in the driver's process")
    for chunks, sizes in told:
        print(f"memory after {chunks:,} chunks: {sizes} MB")
    if client is not None:
        client.close()
    files = sum(len(names) for _, _, names in os.walk(path))
    print(f"{files:,} files, {files / asked.chunks:.1f} a chunk")
    alone = partial(run, client="serial", chunk_points=None, progress=None)
    told_in("run again", alone)
    # One chunk is missing, which a run has to find.
    (path / "status" / "c" / "7").unlink()
    told_in("resumed", alone)
    told_in("status", lambda: [*watch.lines(path)])
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
