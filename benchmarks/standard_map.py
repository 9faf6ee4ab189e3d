"""How many points of a map are right: this package with default settings beside the reference class.

Two sets of points, each started 1 % above its highest equilibrium in r and run to t = 200 ms: the standard
map (eta in [-10, 10], J in [0, 30], 81 x 61, delta = tau = 1 ms), and 20,000 random points (eta in [-50, 50],
J in [-30, 60], delta in [0.01, 10] and tau in [0.1, 20] ms, both logarithmic). The truth is this package's
step in float64 at an eighth of the automatic step, and is itself held against SciPy's DOP853 at a sample of
points.

A point is right if its rate at t = 200 ms is within 1e-3 of the truth; wrong and not flagged is silent. With
BrainPy installed (the `bench` extra, or an interpreter named by --brainpy) its rates.QIF runs the standard
map too.
Prints tables and writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.engine.measured import Measured
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape
from qifscan.theory import plain

END = 200.0
RIGHT = 1e-3
FLAGS = int(qs.Status.diverged | qs.Status.under_resolved | qs.Status.not_settled)

Columns = dict[str, np.ndarray[Any, Any]]


def started(columns: Columns) -> Columns:
    """Return the points with a start 1 % above the highest equilibrium in r."""
    rates = plain.roots(columns["eta"], columns["J"], columns["delta"], columns["tau"])
    highest = np.nanmax(rates, axis=-1)
    v = plain.potential(highest, columns["delta"], columns["tau"])
    return columns | {"r_initial": 1.01 * highest, "v_initial": v}


def standard_map() -> Columns:
    eta, J = (grid.ravel() for grid in np.meshgrid(np.linspace(-10, 10, 81), np.linspace(0, 30, 61)))
    return started({"eta": eta, "J": J, "delta": np.ones_like(eta), "tau": np.ones_like(eta)})


def random_points(count: int) -> Columns:
    rng = np.random.default_rng(2015)
    return started(
        {
            "eta": rng.uniform(-50, 50, count),
            "J": rng.uniform(-30, 60, count),
            "delta": 10 ** rng.uniform(-2, 1, count),
            "tau": 10 ** rng.uniform(-1, np.log10(20), count),
        }
    )


def points_of(columns: Columns, **protocol: Any) -> Points:
    scan = qs.Scan(
        points=columns,
        protocol=qs.Protocol(transient=END / 2, window=END / 2, **protocol),
        observables=["r_final", "r_mean"],
    )
    return Points.of(scan, (np.arange(len(columns["eta"])),))


def run(columns: Columns, **protocol: Any) -> tuple[Measured, float]:
    """Run points and return the result and the seconds it took, compilation apart."""
    points = points_of(columns, **protocol)
    schedule, shape = Schedule.of(points.scan.protocol), batch_shape(len(columns["eta"]))
    points.run(points.steps(), schedule.limited(1), shape)
    begin = time.perf_counter()
    result = run_points(points, schedule, shape)
    return result, time.perf_counter() - begin


def truth(columns: Columns) -> Columns:
    points = points_of(columns)
    points = replace(points, scan=points.scan.in_double())
    steps = points.steps()
    steps = replace(steps, halvings=steps.halvings + 3, noise_halvings=steps.noise_halvings + 3)
    schedule = Schedule.of(points.scan.protocol)
    return points.run(steps, schedule, batch_shape(len(columns["eta"]))).observables


def dop853(columns: Columns, row: int) -> float:
    eta, J, delta, tau, r, v = (
        float(columns[n][row]) for n in ("eta", "J", "delta", "tau", "r_initial", "v_initial")
    )

    def slope(t: float, y: Any) -> tuple[float, float]:
        r, v = y
        return (
            (delta / (np.pi * tau) + 2 * r * v) / tau,
            (v * v + eta + J * tau * r - (np.pi * tau * r) ** 2) / tau,
        )

    solution = solve_ivp(slope, (0.0, END), (r, v), method="DOP853", rtol=1e-11, atol=1e-13)
    return float(solution.y[0, -1])


def check_truth(columns: Columns, exact: Columns, count: int) -> float:
    """Return the largest relative difference of the truth from DOP853 over a sample of points."""
    rng = np.random.default_rng(1)
    rows = rng.choice(len(columns["eta"]), count, replace=False)
    return max(abs(dop853(columns, row) / exact["r_final"][row] - 1.0) for row in rows)


def judged(rate: Any, exact: Any, flagged: Any) -> dict[str, float]:
    with np.errstate(invalid="ignore"):
        apart = np.abs(rate / exact - 1.0)
    right = apart <= RIGHT
    return {
        "right": float(np.mean(right)),
        "flagged": float(np.mean(flagged)),
        "silently wrong": float(np.mean(~right & ~flagged)),
        "non-finite": float(np.mean(~np.isfinite(rate))),
        "worst unflagged": float(np.max(apart, where=np.isfinite(apart) & ~flagged, initial=0.0)),
    }


def row(name: str, found: dict[str, float], seconds: float | None) -> dict[str, Any]:
    took = "" if seconds is None else f"{seconds:8.2f} s"
    print(
        f"{name:<52} {found['right']:>9.3%} {found['flagged']:>9.3%} {found['silently wrong']:>9.3%} "
        f"{found['non-finite']:>9.3%} {found['worst unflagged']:>9.1e} {took}"
    )
    return {"name": name, **found, "seconds": seconds}


def ours(name: str, columns: Columns, exact: Columns, **protocol: Any) -> dict[str, Any]:
    result, seconds = run(columns, **protocol)
    rate = result.variables["r_final"].astype(np.float64)
    return row(name, judged(rate, exact["r_final"], result.status & FLAGS != 0), seconds)


BRAINPY = """
import json, sys, time
import numpy as np
import brainpy as bp
import brainpy.math as bm
data = np.load(sys.argv[1])
dt = float(sys.argv[2])
bm.set_dt(dt)
bm.set_platform("cpu")
QIF = bp.rates.QIF
n = len(data["eta"])
as_array = lambda name: bm.asarray(data[name], dtype=bm.float_)
population = QIF(n, eta=as_array("eta"), J=as_array("J"), delta=as_array("delta"), tau=as_array("tau"))
population.y.value = as_array("r_initial")
population.x.value = as_array("v_initial")
steps = round(200.0 / dt)
def step(i):
    bp.share.save(i=i, t=i * dt, dt=dt)
    population.update()
    population.clear_input()
bm.for_loop(step, bm.arange(1), progress_bar=False)
population.y.value = as_array("r_initial")
population.x.value = as_array("v_initial")
begin = time.perf_counter()
bm.for_loop(step, bm.arange(steps), progress_bar=False)
rate = np.asarray(population.y.value, dtype=float)
seconds = time.perf_counter() - begin
np.save(sys.argv[3], rate)
print(json.dumps({"seconds": seconds, "version": bp.__version__}))
"""


def brainpy(python: str, columns: Columns, exact: Columns, dt: float, folder: Path) -> dict[str, Any] | None:
    """Run the reference class in a process of its own; None if it is not installed there."""
    if subprocess.run([python, "-c", "import brainpy"], capture_output=True, check=False).returncode:
        return None
    source, target = folder / "points.npz", folder / "rates.npy"
    np.savez(source, **columns)
    command = [python, "-c", BRAINPY, str(source), str(dt), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    name = f"BrainPy {told['version']} rates.QIF, dt = {dt:g} (default method)"
    none = np.zeros(len(columns["eta"]), dtype=bool)
    return row(name, judged(np.load(target), exact["r_final"], none), told["seconds"])


def table(title: str, columns: Columns, sample: int, others: list[tuple[str, dict[str, Any]]]) -> Any:
    exact = truth(columns)
    checked = check_truth(columns, exact, sample)
    print(f"\n{title}; the truth is {checked:.1e} from DOP853 at most at {sample} points")
    print(f"{'':<52} {'right':>9} {'flagged':>9} {'silent':>9} {'non-fin.':>9} {'worst':>9} {'time':>10}")
    rows = [ours(name, columns, exact, **protocol) for name, protocol in others]
    return exact, {"title": title, "truth from DOP853": checked, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brainpy", default=sys.executable, help="interpreter that has BrainPy")
    parser.add_argument("--random", type=int, default=20_000, help="number of random points")
    parser.add_argument("--sample", type=int, default=60, help="points at which the truth is checked")
    parser.add_argument("--output", type=Path, default=Path("standard_map.json"))
    options = parser.parse_args()
    fixed = [
        ("qifscan, default", {}),
        ("qifscan exp_auto, dt = 0.1", {"integrator": "exp_auto", "dt": 0.1}),
        ("qifscan exp_auto, dt = 0.01", {"integrator": "exp_auto", "dt": 0.01}),
        ("qifscan heun, dt = 0.05", {"integrator": "heun", "dt": 0.05}),
        ("qifscan rk4, dt = 0.05", {"integrator": "rk4", "dt": 0.05}),
    ]
    columns = standard_map()
    exact, record = table("standard map, 4,941 points", columns, options.sample, fixed)
    for dt in (0.1, 0.01):
        found = brainpy(options.brainpy, columns, exact, dt, options.output.absolute().parent)
        record["rows"] += [found] if found else []
    wide = random_points(options.random)
    title = f"{options.random:,} random points"
    _, others = table(title, wide, options.sample, [("qifscan, default", {})])
    options.output.write_text(json.dumps([record, others], indent=2))


if __name__ == "__main__":
    main()
