"""Work against precision of every integrator: wall time per millisecond of a point, and the error it buys.

400 random points (eta in [-10, 10], J in [0, 30], delta = tau = 1 ms) from random starts to t = 5 ms, in
float64 on one core; the error is that of (r, v) at the end relative to |W|. Four cases: no input, a sine
drive, noise on v, and noise on r and v. With noise a run at step h is compared with one at a 32nd of it along
the same path, filled in between the steps on which the coarse run drew it: the error has in it what that run
could not see of the noise. SciPy's DOP853 stands beside, point by point with a range of tolerances, in the
cases without noise. Prints a table, writes a JSON record and a figure.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.engine.points import Points
from qifscan.engine.schedule import Schedule, Steps, batch_shape

COUNT = 400
END = 5.0
BASE = 0.1
HALVINGS = range(7)
FINER = 5

CASES: dict[str, dict[str, Any]] = {
    "no input": {},
    "sine drive": {"drive": qs.Sine(amplitude=3.0, period=2.0)},
    "noise on v": {"fixed": {"v_ou_sigma": 1.0}},
    "noise on r and v": {"fixed": {"v_ou_sigma": 1.0, "r_ou_sigma": 0.05}},
}

COLOURS = {"riccati": "C3", "rk4": "C0", "heun": "C2", "euler": "C1", "exp_auto": "C4", "DOP853": "k"}


def points_of(case: dict[str, Any], integrator: str) -> Points:
    rng = np.random.default_rng(3)
    columns = {
        "eta": rng.uniform(-10, 10, COUNT),
        "J": rng.uniform(0, 30, COUNT),
        "r_initial": rng.uniform(0.01, 2, COUNT),
        "v_initial": rng.uniform(-3, 3, COUNT),
    }
    protocol = qs.Protocol(transient=0.0, window=END, dt=BASE, integrator=integrator)
    scan = qs.Scan(points=columns, protocol=protocol, observables=["r_final"], precision="float64", **case)
    return Points.of(scan, (np.arange(COUNT),))


def steps(halvings: int, noise_halvings: int) -> Steps:
    return Steps(np.full(COUNT, halvings), np.full(COUNT, noise_halvings))


def distance(state: Any, exact: Any) -> Any:
    scale = np.array([np.pi, 1.0])
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.linalg.norm((state - exact) * scale, axis=1) / np.linalg.norm(exact * scale, axis=1)
    return np.where(np.isfinite(apart), apart, np.inf)


def measured(points: Points, chosen: Steps) -> tuple[Any, float]:
    """Return the final states, and the shortest of three times."""
    schedule, shape = Schedule.of(points.scan.protocol), batch_shape(COUNT)
    points.run(chosen, schedule.limited(1), shape)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        result = points.run(chosen, schedule, shape)
        seconds.append(time.perf_counter() - begin)
    return result.final, min(seconds)


def exact_of(case: dict[str, Any], halvings: int, noisy: bool) -> Any:
    points = points_of(case, "riccati")
    finest = steps(halvings + FINER, halvings) if noisy else steps(max(HALVINGS) + 4, max(HALVINGS) + 4)
    schedule = Schedule.of(points.scan.protocol)
    return points.run(finest, schedule, batch_shape(COUNT)).final


def adaptive(case: dict[str, Any], exact: Any, tolerance: float) -> tuple[Any, float]:
    points, drive = points_of(case, "rk4"), case.get("drive")
    c = points.columns
    final = np.empty((COUNT, 2))
    begin = time.perf_counter()
    for i in range(COUNT):
        eta, J = float(c["eta"][i]), float(c["J"][i])

        def slope(t: float, y: Any, eta: float = eta, J: float = J) -> tuple[float, float]:
            r, v = y
            current = 3.0 * np.sin(np.pi * t) if drive else 0.0
            return 1 / np.pi + 2 * r * v, v * v + eta + current + J * r - (np.pi * r) ** 2

        start = (float(c["r_initial"][i]), float(c["v_initial"][i]))
        solved = solve_ivp(slope, (0.0, END), start, method="DOP853", rtol=tolerance, atol=1e-3 * tolerance)
        final[i] = solved.y[:, -1]
    return final, time.perf_counter() - begin


def record(case: str, name: str, setting: float, apart: Any, seconds: float) -> dict[str, Any]:
    work = seconds / (COUNT * END)
    row = {
        "case": case,
        "integrator": name,
        "setting": setting,
        "seconds per point and ms": work,
        "median": float(np.median(apart)),
        "95 %": float(np.quantile(apart, 0.95, method="higher")),
        "worst": float(np.max(apart)),
    }
    print(f"{case:<17} {name:<9} {setting:>9.2g} {work * 1e6:>10.3f} us", end="")
    print("".join(f" {row[k]:>9.1e}" for k in ("median", "95 %", "worst")))
    return row


def run() -> list[dict[str, Any]]:
    rows = []
    print(f"{'case':<17} {'':<9} {'dt, rtol':>9} {'per ms':>13} {'median':>9} {'95 %':>9} {'worst':>9}")
    for name, case in CASES.items():
        noisy = "fixed" in case
        exact = {k: exact_of(case, k, noisy) for k in (HALVINGS if noisy else [0])}
        for integrator in INTEGRATORS:
            points = points_of(case, integrator)
            for k in HALVINGS:
                final, seconds = measured(points, steps(k, k))
                apart = distance(final, exact[k if noisy else 0])
                rows.append(record(name, integrator, BASE / 2**k, apart, seconds))
        for tolerance in [] if noisy else [1e-3, 1e-5, 1e-7, 1e-9]:
            final, seconds = adaptive(case, exact[0], tolerance)
            rows.append(record(name, "DOP853", tolerance, distance(final, exact[0]), seconds))
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    figure, panels = plt.subplots(1, len(CASES), figsize=(14, 4.2), sharey=True, layout="constrained")
    for axes, case in zip(panels, CASES, strict=True):
        for name in COLOURS:
            mine = [r for r in rows if (r["case"], r["integrator"]) == (case, name)]
            if not mine:
                continue
            work = [r["seconds per point and ms"] * 1e6 for r in mine]
            for key, style in (("95 %", "o-"), ("worst", ":")):
                axes.plot(
                    work,
                    [r[key] for r in mine],
                    style,
                    color=COLOURS[name],
                    ms=3.5,
                    lw=1.3,
                    label=name if key == "95 %" else None,
                )
        axes.set(xscale="log", yscale="log", xlim=(0.15, 4e3), ylim=(1e-9, 3.0), title=case)
        axes.set_xlabel("time per point and ms of the run (µs)")
        axes.grid(alpha=0.25)
        axes.axhline(1e-3, color="0.6", lw=0.8)
    panels[0].set_ylabel("relative error at t = 5 ms")
    title = "solid: 95 % of the points\ndotted: the worst"
    entries = panels[0].get_legend_handles_labels()
    panels[2].legend(*entries, loc="lower right", title=title, fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("work_precision.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/work_precision.png"))
    options = parser.parse_args()
    rows = run()
    options.output.write_text(json.dumps(rows, indent=2))
    draw(rows, options.figure)


if __name__ == "__main__":
    main()
