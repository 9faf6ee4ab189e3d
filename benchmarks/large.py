"""A scan of very many points to its end: time, peak memory, files, bytes, rate.

python benchmarks/large.py [--points 1e6] [--client threads|dask] [--keep PATH]
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import qifscan as qs
from qifscan.runs.plan import format_bytes, format_seconds


def square(points):
    """Return a scan of about so many points: the bistable wedge, short."""
    side = math.isqrt(int(points))
    return qs.Scan(
        axes={"eta": {"linspace": [-8.0, -2.0, side]}, "J": {"linspace": [5.0, 20.0, side]}},
        protocol=qs.Protocol(transient=20.0, window=20.0),
        observables=["r_mean", "v_mean"],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=float, default=1e6)
    parser.add_argument("--client", default="threads")
    parser.add_argument("--keep")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qifscan-large-"))
    path = Path(asked.keep) if asked.keep else folder / "scan.zarr"
    scan = square(asked.points)
    planned = qs.plan(scan)
    print(planned, flush=True)
    client = qs.local_cluster() if asked.client == "dask" else asked.client
    begin = time.perf_counter()
    found = qs.run(scan, path, client=client, progress=None)
    wall = time.perf_counter() - begin
    cpu = sum(os.times()[:4])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    files = [entry for folder, _, names in os.walk(path) for entry in (Path(folder) / n for n in names)]
    size = sum(file.stat().st_size for file in files)
    taken = sum(file.stat().st_blocks for file in files) * 512
    print(f"{scan.size:,} points in {format_seconds(wall)}, {format_seconds(cpu)} of CPU with the start")
    print(f"{scan.size / wall:,.0f} points a second; peak memory of this process {format_bytes(peak)}")
    print(f"{len(files):,} files, {format_bytes(size)}, {format_bytes(taken)} on the disk")
    print(f"flagged: {float((found['status'] != 1).mean()):.2%}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
