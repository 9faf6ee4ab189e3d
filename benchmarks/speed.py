"""Million point-steps per second: this package, the same arithmetic in C, and what else one would use.

Every point has delta = tau = 1, eta in [-10, 5], J in [0, 30], and starts at rest on its highest equilibrium,
at steps of 0.01 ms. The package runs its kernel with the observables r_mean, r_std and r_max, float32. The C
program, benchmarks/limit.c, does the same on the same noise, compiled here for this machine; its mean rates
are compared with the kernel's before anything is timed. The peers of benchmarks/peers.py compute the mean,
standard deviation and maximum of the rate too, on all cores, in an interpreter named by --peers; one that is
not installed there is left out, and the error of their mean rates is told. Repeats are interleaved, and their
medians told; of a peer, the fastest, and of the kernel right after it too. Writes a JSON record.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import peers

import qifscan as qs
from qifscan.engine import backend
from qifscan.engine.batch import run_batch
from qifscan.engine.carries import Inputs
from qifscan.engine.points import Points
from qifscan.engine.program import Program
from qifscan.engine.schedule import Schedule, Steps, batch_shape
from qifscan.machine import usable_cores

HERE = Path(__file__).parent
DT = 0.01
OBSERVABLES = ["r_mean", "r_std", "r_max"]
NOISE = {
    "none": {},
    "on v": {"v_ou_sigma": 0.5},
    "on r and v": {"v_ou_sigma": 0.5, "r_ou_sigma": 0.001},
}
CODES = {"none": 0, "on v": 1, "on r and v": 3}
METHODS = {"heun": 0, "riccati": 1}
CONSTANTS = [
    "rate",
    "source",
    "eta",
    "coupling",
    "pull",
    "held",
    "held_r",
    "circle",
    "flow_b_real",
    "flow_b_imag",
    "flow_c_real",
    "flow_c_imag",
    "r_mean",
    "r_decay",
    "r_gain",
    "r_std",
    "v_mean",
    "v_decay",
    "v_gain",
    "v_std",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Work:
    """Points to be run by the kernel, one batch."""

    points: Points
    schedule: Schedule

    @classmethod
    def of(cls, method: str, noise: str, count: int, steps: int, **changes: Any) -> Work:
        """Return so many points, and steps of this method under this noise."""
        eta, J = np.linspace(-10.0, 5.0, count), np.linspace(0.0, 30.0, count)
        settings = {"observables": OBSERVABLES, **changes}
        protocol = qs.Protocol(transient=0.0, window=steps * DT, dt=DT, integrator=method, initial="up")
        # Without a third equilibrium "up" is the only one.
        scan = qs.Scan(points={"eta": eta, "J": J}, fixed=NOISE[noise], protocol=protocol, **settings)
        return cls(Points.of(scan, (np.arange(count),)), Schedule.of(protocol))

    @cached_property
    def prepared(self) -> tuple[Program, Inputs, Steps]:
        """What is computed of the points before their steps, for the kernel as for the C program."""
        steps = self.points.steps()
        program = self.points.program(steps, self.schedule)
        return program, self.points.inputs(program, steps), steps

    def run(self) -> dict[str, Array]:
        """Run the kernel in this thread."""
        shape = batch_shape(len(self.points.replicate))
        result = run_batch(*self.prepared, self.schedule, None, shape)
        return result.observables | {"estimate": result.estimate}

    @property
    def size(self) -> float:
        """Return the number of point-steps."""
        return len(self.points.replicate) * self.schedule.steps


def compiled(folder: Path) -> Any:
    """Return the C program, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    target = folder / "limit.so"
    options = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, str(HERE / "limit.c"), "-o", str(target), "-lm"], check=True)
    return ctypes.CDLL(str(target)).run


def limit(program: Any, work: Work, method: str, noise: str) -> Callable[[], dict[str, Array]]:
    """Return a function that runs the C program on the points of the kernel."""
    _, inputs, _ = work.prepared
    count = len(work.points.replicate)
    found = [inputs.constants.get(name, np.zeros(count)) for name in CONSTANTS] + list(inputs.state)
    columns = [np.ascontiguousarray(column, dtype=np.float32) for column in found]
    keys = [np.ascontiguousarray(word) for word in inputs.key]
    out = [np.empty(count, dtype=np.float32) for _ in range(4)]

    def pointers(arrays: list[Array]) -> Any:
        return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))

    def run() -> dict[str, Array]:
        program(
            METHODS[method],
            CODES[noise],
            count,
            work.schedule.steps,
            ctypes.c_float(DT),
            pointers(columns),
            *(ctypes.c_void_p(word.ctypes.data) for word in keys),
            pointers(out),
        )
        return dict(zip((*OBSERVABLES, "estimate"), (*out[:3], np.sqrt(out[3])), strict=True))

    return run


def check_same(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Return how far the mean rates are apart, relative to the largest; raise if that is more than rounding.

    The 99th percentile: under noise a point near the threshold between its states may go either way.
    """
    apart = np.abs(found["r_mean"] - expected["r_mean"]) / np.abs(expected["r_mean"]).max()
    same = float(np.quantile(apart, 0.99))
    if not same < 1e-4:
        raise SystemExit(f"the C program and the kernel differ by {same:.1e} in the mean rate")
    return same


def interleaved(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each of these, run in turn."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def on_all_cores(runs: list[Callable[[], Any]]) -> Callable[[], Any]:
    pool = ThreadPoolExecutor(len(runs))
    return lambda: list(pool.map(lambda run: run(), runs))


def beside_c(program: Any, count: int, steps: int, repeats: int, cores: int) -> list[dict[str, Any]]:
    """Measure every method with every noise: one core and all of them, beside the C program on as many."""
    rows = []
    print(f"{'million point-steps/s':<28}", end="")
    for who in ("", "C, ") if program is not None else ("",):
        print(f" {who + 'one core':>11} {f'{who}{cores} cores':>11} {'times':>6}", end="")
    print(f" {'of C':>6}" if program is not None else "")
    for method in METHODS:
        for noise in NOISE:
            work = Work.of(method, noise, count, steps)
            runs: dict[str, Callable[[], Any]] = {"one": work.run, "all": on_all_cores([work.run] * cores)}
            if program is not None:
                # Each core has points of its own and shares nothing: so much is in the machine.
                each = [limit(program, work, method, noise) for _ in range(cores)]
                check_same(each[0](), work.run())
                runs |= {"C": each[0], "C all": on_all_cores(each)}
            seconds = interleaved(runs, repeats)
            speed = {k: work.size / s / 1e6 * (cores if "all" in k else 1) for k, s in seconds.items()}
            rows.append({"method": method, "noise": noise, **speed})
            print(f"{method + ', noise ' + noise:<28}", end="")
            for one in ("one", "C") if program is not None else ("one",):
                every = speed["C all" if one == "C" else "all"]
                print(f" {speed[one]:>11.0f} {every:>11.0f} {every / speed[one]:>6.2f}", end="")
            print(f" {speed['one'] / speed['C']:>6.2f}" if program is not None else "", flush=True)
    return rows


VARIANTS: dict[str, dict[str, Any]] = {
    "float64": {"precision": "float64"},
    "r_mean alone": {"observables": ["r_mean"]},
    "all but the frequencies": {
        "observables": [
            *(f"{v}_{o}" for v in "rv" for o in ("mean", "std", "min", "max", "final")),
            "up_fraction",
            "switch_count",
        ]
    },
}


def variants(count: int, steps: int, repeats: int) -> list[dict[str, Any]]:
    """Measure the default step without noise on one core, in float64 and with other observables."""
    rows = []
    works = {name: Work.of("riccati", "none", count, steps, **changes) for name, changes in VARIANTS.items()}
    for name, seconds in interleaved({name: work.run for name, work in works.items()}, repeats).items():
        rows.append({"variant": name, "speed": works[name].size / seconds / 1e6})
        print(f"{'riccati, ' + name:<34} {rows[-1]['speed']:>4.0f}", flush=True)
    return rows


def peer(
    name: str, python: str, noise: str, count: int, steps: int, cores: int, folder: Path
) -> dict[str, Any] | None:
    """Run one peer, and then the kernel on all cores; None if it is not installed there."""
    work = Work.of("heun", noise, count, steps)
    _, inputs, _ = work.prepared
    r, v = (np.asarray(column, dtype=float) for column in inputs.state)
    sigmas = {"sigma": NOISE[noise].get("v_ou_sigma", 0.0), "sigma_r": NOISE[noise].get("r_ou_sigma", 0.0)}
    columns = {key: work.points.columns[key] for key in ("eta", "J")}
    problem = {**columns, "r": r, "v": v, "dt": DT, "steps": steps, **sigmas}
    found = peers.measure(name, python, problem, folder)
    if found is None:
        return None
    expected, mean = work.run()["r_mean"], found["mean"]
    apart = np.abs(mean - expected)[np.isfinite(mean)] / expected.max()
    # With noise each has paths of its own, so that the points are compared on average.
    error = float(np.median(apart)) if noise == "none" else abs(float(np.nanmean(mean) / expected.mean() - 1))
    _, seconds = peers.timed(on_all_cores([work.run] * cores))
    ours, speed = (work.size / each / 1e6 for each in (seconds / cores, float(found["seconds"])))
    row = {"peer": name, "noise": noise, "speed": speed, "kernel": ours, "times": ours / speed}
    return row | {"error of the mean rate": error}


def beside_peers(python: str, count: int, steps: int, cores: int, folder: Path) -> list[dict[str, Any]]:
    found = []
    print(
        f"\n{'all cores':<32} {'speed':>9} {'qifscan, heun':>14} {'times':>7} {'error of the mean rate':>23}"
    )
    for name in peers.PEERS:
        for noise in NOISE if name != "scipy" else ("none",):
            row = peer(name, python, noise, count, steps, cores, folder)
            if row is None:
                print(f"{name}: not installed for {python}")
                break
            found.append(row)
            speeds = f"{row['speed']:>9.1f} {row['kernel']:>14.0f} {row['times']:>7.1f}"
            print(
                f"{name + ', noise ' + noise:<32} {speeds} {row['error of the mean rate']:>23.1e}", flush=True
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--output", type=Path, default=Path("speed.json"))
    options = parser.parse_args()
    print(f"XLA's option: {backend.prepare()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure = partial(beside_c, compiled(folder), options.points, options.steps, options.repeats)
        rows = measure(options.cores)
        others = variants(options.points, options.steps, options.repeats)
        beside = beside_peers(options.peers, options.points, options.steps, options.cores, folder)
    record = {"dt": DT, "points": options.points, "rows": rows, "variants": others, "peers": beside}
    options.output.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
