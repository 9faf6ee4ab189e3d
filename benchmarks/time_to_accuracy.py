"""Wall time until 99 of 100 points of the standard map have their mean rate right to 1e-3.

The map: eta in [-10, 10], J in [0, 30], 81 x 61 points, delta = tau = 1, from r = 0.1, v = -2, over 100 ms.
A peer (see peers.py) runs on all cores at steps of 0.1 ms, halved until it gets there; its compilation is not
counted. So does this package's kernel, float32, with its default integrator. Beside it stand its default
settings, which don't ask for a step but find it: the kernel alone, and a whole run in a new process, from the
definition to the store on disk. The truth is this package's rk4 in float64 at 0.001 ms. Prints a table and
writes a JSON record.
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
from qifscan.chunks import usable_cores
from qifscan.kernel import Schedule, batch_shape
from qifscan.points import Points, run_points

HERE = Path(__file__).parent
T_END = 100.0
START = {"r": 0.1, "v": -2.0}
RIGHT, SHARE = 1e-3, 0.99
SHORTEST = 0.1 / 2**10

Array = np.ndarray[Any, Any]


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

    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(4):
            begin = time.perf_counter()
            found = list(pool.map(run, parts))
            seconds.append(time.perf_counter() - begin)
    rates = np.empty(chosen.size)
    for k, values in enumerate(found):
        rates[k::cores] = values
    return rates, min(seconds[1:])


def at_a_step(exact: Array, cores: int) -> list[dict[str, Any]]:
    """Run the kernel at shorter and shorter steps."""
    rows: list[dict[str, Any]] = []
    dt = 0.1
    while not rows or rows[-1]["right"] < SHARE:
        rows.append(row(f"qifscan, dt = {dt:g}, all cores", *kernel_alone(scan(dt=dt), cores), exact))
        dt /= 2
    return rows


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


def peer(name: str, python: str, chosen: qs.Scan, exact: Array, folder: Path) -> list[dict[str, Any]]:
    """Run a peer at shorter and shorter steps; none if it is not installed there."""
    if subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode:
        print(f"{name}: not installed for {python}")
        return []
    columns = chosen.columns(tuple(np.array(chosen.select()).T))
    rows, dt = [], 0.1
    same = {key: np.full(chosen.size, value) for key, value in START.items()}
    while dt >= SHORTEST and (not rows or rows[-1]["right"] < SHARE):
        source, target = folder / "points.npz", folder / "result.npz"
        numbers = {"dt": dt, "steps": round(T_END / dt), "sigma": 0.0}
        np.savez(source, eta=columns["eta"], J=columns["J"], **same, **numbers)
        command = [python, str(HERE / "peers.py"), name, str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        with np.load(target) as found:
            rows.append(row(f"{name}, dt = {dt:g}", found["mean"], float(found["seconds"]), exact))
        dt /= 2
    return rows


def row(name: str, found: Array, seconds: float, exact: Array) -> dict[str, Any]:
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            row("qifscan, default, one core", *kernel_alone(chosen), exact),
            row("qifscan, default, all cores", *kernel_alone(chosen, cores), exact),
            row("qifscan, default, whole run", *whole(chosen, folder), exact),
            *at_a_step(exact, cores),
        ]
        for peer_name in ("brainpy", "vbjax", "numba"):
            rows += peer(peer_name, options.peers, chosen, exact, folder)
    options.output.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
