"""Wall time until 99 of 100 points of the standard map have their mean rate right to 1e-3.

The map: eta in [-10, 10], J in [0, 30], 81 x 61 points, delta = tau = 1, from r = 0.1, v = -2, over 100 ms.
This package's kernel, float32, with its default integrator, and the peers of peers.py, all on all cores,
run at steps of 0.1 ms, halved until they get there, and then at seven steps between the last two; the
fastest that is right counts. BrainPy runs in float64, since at the steps that it needs rounding in float32
costs points. Compilation is not counted. Beside it stand this package's default settings, which don't ask
for a step but find it: the kernel alone, and a whole run in a new process, from the definition to the store
on disk. The truth is this package's rk4 in float64 at 0.001 ms. Prints a table and writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers

import qifscan as qs
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape
from qifscan.machine import usable_cores

T_END = 100.0
START = {"r": 0.1, "v": -2.0}
RIGHT, SHARE = 1e-3, 0.99
LONGEST = {"brainpy_by_hand": 0.1 / 2**9}
"""The first step to try, where longer ones are known not to do."""

Array = np.ndarray[Any, Any]
Row = dict[str, Any]


def scan(precision: str = "float32", **protocol: Any) -> qs.Scan:
    return qs.Scan(
        axes={"eta": np.linspace(-10.0, 10.0, 81), "J": np.linspace(0.0, 30.0, 61)},
        protocol=qs.Protocol(transient=0.0, window=T_END, initial=START, **protocol),
        observables=["r_mean"],
        precision=precision,
    )


def kernel_alone(chosen: qs.Scan, cores: int = 1) -> tuple[Array, float]:
    """Return the mean rates, and the seconds of the fastest of three runs after the first."""
    indices, schedule = np.array(chosen.select()).T, Schedule.of(chosen.protocol)
    parts = [Points.of(chosen, tuple(indices[:, k::cores])) for k in range(cores)]

    def run(points: Points) -> Array:
        return run_points(points, schedule, batch_shape(len(points.replicate))).variables["r_mean"]

    with ThreadPoolExecutor(cores) as pool:
        found, seconds = peers.timed(lambda: list(pool.map(run, parts)))
    rates = np.empty(chosen.size)
    for k, values in enumerate(found):
        rates[k::cores] = values
    return rates, seconds


def searched(name: str, run: Callable[[float], tuple[Array, float] | None], exact: Array) -> list[Row]:
    """Run something at shorter and shorter steps until it is right; return what was tried, none if it isn't
    there."""
    rows: list[Row] = []
    dt = LONGEST.get(name, 0.1)
    while not rows or rows[-1]["right"] < SHARE:
        measured = run(dt)
        if measured is None:
            print(f"{name}: not installed")
            return []
        rows.append(row(f"{name}, dt = {dt:.3g}", *measured, exact))
        dt /= 2
    for k in range(7, 0, -1):
        between = T_END / (100 * round(T_END / (2 * dt) / 2 ** (k / 8) / 100))
        measured = run(between)
        if measured is not None:
            rows.append(row(f"{name}, dt = {between:.3g}", *measured, exact))
    return rows


def at_a_step(cores: int, dt: float) -> tuple[Array, float]:
    return kernel_alone(scan(dt=dt), cores)


def peer(name: str, python: str, chosen: qs.Scan, folder: Path, dt: float) -> tuple[Array, float] | None:
    columns = chosen.columns(tuple(np.array(chosen.select()).T))
    same = {key: np.full(chosen.size, value) for key, value in START.items()}
    problem = {key: columns[key] for key in ("eta", "J")} | same | {"dt": dt, "steps": round(T_END / dt)}
    problem |= {"float64": name.startswith("brainpy"), "observables": ["mean"]}
    found = peers.measure(name, python, problem, folder)
    return None if found is None else (found["mean"], float(found["seconds"]))


def whole(chosen: qs.Scan, folder: Path) -> tuple[Array, float]:
    """Return the mean rates of a run in a process of its own, and its seconds from start to end."""
    path = folder / "scan.json"
    path.write_text(chosen.to_json())
    code = (
        "import sys, qifscan as qs; from pathlib import Path; "
        "qs.run(qs.Scan.from_json(Path(sys.argv[1]).read_text()), sys.argv[2])"
    )
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(path), str(folder / "scan.zarr")], check=True)
    seconds = time.perf_counter() - begin
    return qs.open_scan(folder / "scan.zarr")["r_mean"].values.ravel(), seconds


def share_right(found: Array, exact: Array) -> float:
    return float(np.mean(np.abs(found - exact) <= RIGHT * np.abs(exact)))


def row(name: str, found: Array, seconds: float, exact: Array) -> Row:
    right = share_right(found, exact)
    print(f"{name:<36} {100 * right:>8.2f} % {seconds:>10.3f} s", flush=True)
    return {"name": name, "right": right, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--output", type=Path, default=Path("time_to_accuracy.json"))
    options = parser.parse_args()
    exact, _ = kernel_alone(scan("float64", integrator="rk4", dt=0.001))
    chosen, cores = scan(), usable_cores()
    print(f"{'':<36} {'right':>10} {'time':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [
            row("qifscan, default, one core", *kernel_alone(chosen), exact),
            row("qifscan, default, all cores", *kernel_alone(chosen, cores), exact),
            row("qifscan, default, whole run", *whole(chosen, folder), exact),
        ]
        runs = {"qifscan": partial(at_a_step, cores)}
        for name in ("numba", "vbjax", "brainpy_by_hand"):
            runs[name] = partial(peer, name, options.peers, chosen, folder)
        fastest = {}
        for name, run in runs.items():
            tried = searched(name, run, exact)
            rows += tried
            fastest |= {name: min(r["seconds"] for r in tried if r["right"] >= SHARE)} if tried else {}
    print()
    for name, seconds in fastest.items():
        print(f"{name:<36} {seconds:>23.4f} s {seconds / fastest['qifscan']:>8.1f} times")
    options.output.write_text(json.dumps({"rows": rows, "fastest": fastest}, indent=2))


if __name__ == "__main__":
    main()
