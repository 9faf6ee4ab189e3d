"""Time and peak memory of whole runs against their size: points, steps, dimensions, replicates.

Each case is a run with noise on v at steps of 0.01 ms, from the definition to the store on disk, in a process
of its own on all cores. Its time begins when the packages are loaded, so it has the compilation in it. The
exponent is that of the time less the least of the series, between the two largest. Peak memory is the
process's. Then a million points of 10,000 steps: `qifscan run` in a new process, start, compilation and
writing included, beside its kernel alone on all cores. Draws a figure and writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import qifscan as qs
from qifscan import machine
from qifscan.engine import chunks
from qifscan.engine.points import Points
from qifscan.engine.schedule import Schedule, batch_shape

DT = 0.01
NAMES = ("eta", "J", "delta", "v_ou_sigma", "tau")
RANGES = {"eta": (-10, 5), "J": (0, 30), "delta": (0.5, 2.0), "v_ou_sigma": (0.1, 0.5), "tau": (1.0, 2.0)}

Case = dict[str, Any]

SERIES: dict[str, list[Case]] = {
    "points": [
        {"shape": shape, "steps": 100, "size": shape[0] * shape[1]}
        for shape in ([25, 40], [100, 100], [250, 400], [1000, 1000], [2500, 4000])
    ],
    "steps": [{"shape": [100, 100], "steps": 10**k, "size": 10**k} for k in range(3, 7)],
    "dimensions": [
        {"shape": shape, "steps": 1000, "size": len(shape)}
        for shape in ([2**17], [2**9, 2**8], [64, 64, 32], [32, 16, 16, 16], [16, 16, 8, 8, 8])
    ],
    "replicates": [
        {"shape": [100], "steps": 10_000, "replicates": 10**k, "size": 10**k} for k in range(0, 5)
    ],
}

CHILD = """
import json, resource, sys, time
import qifscan as qs
sys.path.insert(0, sys.argv[1])
from cost import scan_of
scan = scan_of(json.loads(sys.argv[2]))
begin = time.perf_counter()
qs.run(scan, sys.argv[3], progress=None)
seconds = time.perf_counter() - begin
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def scan_of(case: Case) -> qs.Scan:
    """Return a scan of this shape, in the order of `NAMES`."""
    axes = {
        name: np.linspace(*RANGES[name], length) for name, length in zip(NAMES, case["shape"], strict=False)
    }
    fixed = {} if "v_ou_sigma" in axes else {"v_ou_sigma": 0.5}
    protocol = qs.Protocol(transient=0.0, window=case["steps"] * DT, dt=DT)
    replicates = {"replicates": case["replicates"]} if "replicates" in case else {}
    return qs.Scan(
        axes=axes, fixed=fixed, protocol=protocol, observables=["r_mean", "r_std", "r_max"], **replicates
    )


def measured(case: Case) -> Case:
    """Run one case in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), json.dumps(case)]
        done = subprocess.run(
            [*command, str(Path(folder) / "scan.zarr")], check=True, capture_output=True, text=True
        )
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return case | {"seconds": seconds, "memory": memory}


def exponent(rows: list[Case]) -> float:
    """Return the slope of the logarithm of the time less the least one between the largest two."""
    least = min(row["seconds"] for row in rows)
    works = [(row["seconds"] - least) / rows[-1]["size"] for row in rows[-2:]]
    return float(np.log(works[1] / works[0]) / np.log(rows[-1]["size"] / rows[-2]["size"]))


def series(name: str) -> dict[str, Any]:
    rows: list[Case] = []
    for case in SERIES[name]:
        rows.append(measured(case))
        memory = f"{rows[-1]['memory'] / 2**20:.0f} MiB"
        print(f"{name:<12} {case['size']:>12,} {rows[-1]['seconds']:>8.2f} s {memory:>10}", flush=True)
    fitted = None if name == "dimensions" else exponent(rows)
    if fitted is not None:
        print(f"{name:<12} {'exponent':>12} {fitted:>8.2f}")
    return {"rows": rows, "exponent": fitted}


MILLION = """
observables = ["r_mean", "r_std", "r_max"]
[axes]
eta = { linspace = [-10, 5, 1000] }
J = { linspace = [0, 30, 1000] }
[fixed]
v_ou_sigma = 0.5
[protocol]
transient = 0.0
window = 100.0
dt = 0.01
"""


def kernel_alone(scan: qs.Scan) -> float:
    """Return the seconds of the kernel for all points of a scan on all cores: no writing, no theory."""
    cut, cores = chunks.Chunks.of(scan), machine.usable_cores()
    work = [Points.of(scan, cut.indices(chunk)) for chunk in range(cut.grid)]
    schedule = Schedule.of(scan.protocol)

    def run(points: Points) -> None:
        points.run(points.steps(), schedule, batch_shape(len(points.replicate)))

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(run, work[:cores]))
        begin = time.perf_counter()
        list(pool.map(run, work))
        return time.perf_counter() - begin


def whole_run(path: Path) -> float:
    """Return the seconds of `qifscan run` from the start of its process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(Path(sys.executable).parent / "qifscan"),
            "run",
            str(path),
            str(Path(folder) / "million.zarr"),
        ]
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begin


def beside_the_kernel(repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.toml"
        path.write_text(MILLION)
        scan = qs.Scan.from_toml(path)
        times = [(kernel_alone(scan), whole_run(path)) for _ in range(repeats)]
    # A pair is measured within a minute; the speed of a machine drifts over longer times.
    ratios = [whole / kernel for kernel, whole in times]
    kernel, whole = (float(np.median(column)) for column in zip(*times, strict=True))
    print(
        f"{scan.size:,} points, {scan.protocol.window_steps:,} steps: kernel alone {kernel:.1f} s, "
        f"whole run {whole:.1f} s; of {repeats} pairs {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return {"times": times, "kernel": kernel, "whole": whole, "ratio": float(np.median(ratios))}


def draw(record: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 4, figsize=(14, 3.8), sharey=True, layout="constrained")
    for axes, (name, found) in zip(panels, record.items(), strict=True):
        rows = found["rows"]
        size, seconds = np.array([row["size"] for row in rows]), np.array([row["seconds"] for row in rows])
        axes.plot(size, seconds, "o-", color="C0", ms=4)
        scale = "linear" if name == "dimensions" else "log"
        axes.set(xscale=scale, yscale="log", xlabel=name, ylim=(0.5, 200))
        if found["exponent"] is not None:
            axes.set_title(f"exponent {found['exponent']:.2f}", fontsize=10)
            axes.plot(size, seconds[-1] * size / size[-1], "--", color="0.6", lw=1, label="linear")
        else:
            axes.set_title(f"{np.prod(rows[0]['shape']):,} points x {rows[0]['steps']:,} steps", fontsize=10)
            axes.set_xticks(size)
        memory = axes.twinx()
        memory.plot(size, [row["memory"] / 2**20 for row in rows], "s-", color="C3", ms=3, lw=1)
        memory.set_ylim(0, 1000)
        memory.tick_params(axis="y", colors="C3", labelright=axes is panels[-1])
        if axes is panels[-1]:
            memory.set_ylabel("peak memory (MiB)", color="C3")
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("time of the run (s)", color="C0")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="of the million points")
    parser.add_argument("--output", type=Path, default=Path("cost.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/cost.png"))
    options = parser.parse_args()
    record = {name: series(name) for name in SERIES}
    draw(record, options.figure)
    record["million points"] = beside_the_kernel(options.repeats)
    options.output.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
