"""The exact theory of bifurcations: how fast it is, that it misses nothing, and what continuation finds.

Times are of one thread, after a first run: every fold and Hopf point of random slices of the adaptation model
(J, alpha; delta = 2, tau_a = 10), and a map of all equilibria of the plain model with their stability. Then
the special points of some slices are searched for in another way, which shares no code with the package: sign
changes on a dense grid of rates of the determinant of the Jacobian and of the Hurwitz determinant, both
written down from the transfer function of the adaptation, refined by bisection in extended precision.
Last, continuation in eta by JaxCont and by PyCoBi (AUTO-07p; it needs AUTO_DIR in the environment, and AUTO's
Python folder in PYTHONPATH): time, points found, error. Each is left out where it is not installed. Writes a
JSON record.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One thread, also in the linear algebra; before NumPy is loaded.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np
import xarray as xr

import qifscan as qs

HERE = Path(__file__).parent
MODEL = "qif_adaptation_alpha"
DELTA, TAU_A = 2.0, 10.0
RANGES = {"J": (0.0, 40.0), "alpha": (0.0, 3.0)}
WINDOW = (-45.0, 30.0)
"""Inputs eta through which the branches are continued; no special point of 20,000 slices lies outside."""

LP, HB = 2, 3

Array = Any


def slices_of(count: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(*limits, count) for name, limits in RANGES.items()}


def special_points(slices: dict[str, Array]) -> xr.Dataset:
    given = {name: xr.DataArray(values, dims="slices") for name, values in slices.items()}
    return qs.special_points(MODEL, delta=DELTA, tau_a=TAU_A, **given)


def timed(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Return the fastest of some runs after a first one: seconds by the clock, and of the processor."""
    run()
    clock, processor = [], []
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        run()
        clock.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    return {"seconds": min(clock), "processor": min(processor)}


def speed(count: int, side: int, repeats: int) -> dict[str, Any]:
    slices = slices_of(count, seed=0)
    points = timed(lambda: special_points(slices), repeats)
    found = special_points(slices)["type"].values
    folds, hopf = (int(np.count_nonzero(found == kind)) for kind in (LP, HB))
    print(f"{count:,} slices: {folds:,} folds, {hopf:,} Hopf points in {points['seconds']:.2f} s ", end="")
    print(
        f"({points['processor']:.2f} s of the processor), {1e6 * points['processor'] / count:.0f} us a slice"
    )
    eta, J = np.linspace(-10.0, 5.0, side), np.linspace(0.0, 30.0, side)
    plane = timed(lambda: qs.equilibria(eta=eta, J=J), repeats)
    print(f"{side:,} x {side:,} equilibria with stability in {plane['seconds']:.2f} s ", end="")
    print(f"({plane['processor']:.2f} s of the processor)", flush=True)
    return {"slices": count, "folds": folds, "hopf": hopf, "points": points, "side": side, "map": plane}


# The same points in another way


def determinants(r: Array, J: float, alpha: float) -> dict[int, Array]:
    """Return det A, of which folds are zeros, and the Hurwitz determinant of order 3, at rates.

    The adaptation answers the rate by a = alpha/tau_a (s + 1/tau_a)^-2 r, so the characteristic polynomial is
    ((s - 2 v)^2 - 2 r (J - 2 pi^2 r)) (s + 1/tau_a)^2 + 2 r alpha/tau_a with v = -delta/(2 pi r).
    """
    c = polynomial(r, J, alpha)
    return {LP: c[3], HB: (c[0] * c[1] - c[2]) * c[2] - c[0] * c[0] * c[3]}


def polynomial(r: Array, J: float, alpha: float) -> tuple[Array, ...]:
    """Return c_1 ... c_4 of that polynomial."""
    one = np.ones_like(r)
    pi, k = np.arctan(one[0]) * 4, one / TAU_A
    v = -DELTA / (2 * pi * r)
    p, q = -4 * v, 4 * v * v - 2 * r * (J - 2 * pi * pi * r)
    return p + 2 * k, q + 2 * k * p + k * k, 2 * k * q + k * k * p, k * k * q + 2 * r * alpha * k


def eta_of(r: Array, J: float, alpha: float) -> Array:
    """Return the input at which r is a rate at rest: eta = (pi r)^2 - v^2 - J r + alpha tau_a r."""
    pi = np.arctan(np.ones_like(r)) * 4
    v = -DELTA / (2 * pi * r)
    return (pi * r) ** 2 - v * v - J * r + alpha * TAU_A * r


def searched(J: float, alpha: float, rates: Array) -> dict[int, Array]:
    """Return the folds and Hopf points of a slice as `(points, 2)`: rate and eta."""
    found = {}
    for kind, values in determinants(rates, J, alpha).items():
        cells = np.flatnonzero((values[1:] > 0) != (values[:-1] > 0))
        r = bisected(kind, J, alpha, rates[cells], rates[cells + 1])
        if kind == HB and len(r):
            c = polynomial(r, J, alpha)
            r = r[c[2] / c[0] > 0]
        found[kind] = np.stack((r, eta_of(r, J, alpha)), axis=1) if len(r) else np.empty((0, 2))
    return found


def bisected(kind: int, J: float, alpha: float, low: Array, high: Array) -> Array:
    """Return the zeros between rates by bisection in the extended precision of the processor."""
    low, high = np.asarray(low, dtype=np.longdouble), np.asarray(high, dtype=np.longdouble)
    if not len(low):
        return low
    above = determinants(low, J, alpha)[kind] > 0
    for _ in range(70):
        middle = (low + high) / 2
        same = (determinants(middle, J, alpha)[kind] > 0) == above
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return (low + high) / 2


def none_missed(count: int, grid: int) -> dict[str, Any]:
    """Compare the special points of random slices with those of the dense search."""
    slices = slices_of(count, seed=1)
    ours = special_points(slices)
    unit = np.sqrt(DELTA) / np.pi
    rates = np.geomspace(1e-6 * unit, 1e6 * unit, grid)
    totals = {"LP": 0, "HB": 0}
    wrong, apart, seconds = [], {"LP": 0.0, "HB": 0.0}, 0.0
    for k in range(count):
        J, alpha = float(slices["J"][k]), float(slices["alpha"][k])
        begin = time.process_time()
        other = searched(J, alpha, rates)
        seconds += time.process_time() - begin
        for name, kind in (("LP", LP), ("HB", HB)):
            here = np.flatnonzero((ours["slice"].values == k) & (ours["type"].values == kind))
            mine = np.stack([ours[n].values[here] for n in ("r", "eta")], axis=1)
            totals[name] += len(other[kind])
            if len(mine) != len(other[kind]):
                wrong.append(
                    {
                        "J": J,
                        "alpha": alpha,
                        "type": name,
                        "ours": mine.tolist(),
                        "search": other[kind].tolist(),
                    }
                )
            elif len(mine):
                size = np.abs(other[kind][:, 1]) + 1.0
                difference = np.abs(mine[:, 1] - other[kind][:, 1]) / size
                apart[name] = max(apart[name], float(difference.max()))
    there = f"{totals['LP']} folds and {totals['HB']} Hopf points"
    print(
        f"\n{count} slices searched at {grid:,} rates each, {1e3 * seconds / count:.0f} ms a slice: {there}"
    )
    print(f"slices that differ in number: {len(wrong)}; largest difference of eta, over 1 + |eta|: ", end="")
    print(f"folds {apart['LP']:.1e}, Hopf points {apart['HB']:.1e}", flush=True)
    for row in wrong:
        print(f"  differs: {row}")
    return {
        "slices": count,
        "grid": grid,
        "found": totals,
        "wrong": wrong,
        "apart": apart,
        "seconds": seconds,
    }


# Continuation


def peer(
    name: str, python: str, slices: dict[str, Array], ours: xr.Dataset, folder: Path
) -> dict[str, Any] | None:
    """Run one peer on slices; None if it is not installed there."""
    source, target = folder / "slices.npz", folder / f"{name}.npz"
    np.savez(source, **slices, delta=DELTA, tau_a=TAU_A, window=WINDOW)
    done = subprocess.run(
        [python, str(HERE / "bifurcation_peers.py"), name, str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"{name}: left out, it does not run with {python}: {reason[:120]}")
        return None
    with np.load(target) as found:
        row = compared({key: found[key] for key in found}, ours) | {"peer": name}
    share = {kind: f"{row[kind]['found']} of {row[kind]['there']}" for kind in ("LP", "HB")}
    error = {kind: f"{row[kind]['median']:.0e} / {row[kind]['largest']:.0e}" for kind in ("LP", "HB")}
    false = row["LP"]["false"] + row["HB"]["false"]
    print(
        f"{name:<10} {1e3 * row['seconds']:>9.0f} ms {share['LP']:>12} {share['HB']:>12} {false:>6} ", end=""
    )
    print(f"{error['LP']:>16} {error['HB']:>16}", flush=True)
    return row


def compared(found: dict[str, Array], ours: xr.Dataset) -> dict[str, Any]:
    """Return how many of our points a peer found, how many others, and how far its inputs eta are off."""
    row: dict[str, Any] = {"seconds": float(statistics.median(found["seconds"].tolist()))}
    for name, kind in (("LP", LP), ("HB", HB)):
        inside = (ours["eta"].values > WINDOW[0]) & (ours["eta"].values < WINDOW[1])
        mine = np.flatnonzero((ours["type"].values == kind) & inside)
        theirs = found["type"] == kind
        errors, false = [], 0
        left = set(mine.tolist())
        for k, eta, r in zip(found["slice"][theirs], found["eta"][theirs], found["r"][theirs], strict=True):
            near = [
                i for i in left if ours["slice"].values[i] == k and abs(ours["r"].values[i] / r - 1) < 0.05
            ]
            if near:
                best = min(near, key=lambda i: abs(ours["eta"].values[i] - eta))
                left.remove(best)
                errors.append(abs(float(ours["eta"].values[best]) - float(eta)))
            else:
                false += 1
        middle = statistics.median(errors) if errors else float("nan")
        row[name] = {"there": len(mine), "found": len(errors), "false": false}
        row[name] |= {"median": middle, "largest": max(errors, default=float("nan"))}
    return row


def beside_peers(python: str, count: int, folder: Path) -> list[dict[str, Any]]:
    slices = slices_of(count, seed=2)
    ours = special_points(slices)
    print(f"\n{count} slices, eta in [{WINDOW[0]:g}, {WINDOW[1]:g}]; error of eta, median / largest")
    print(f"{'':<10} {'a slice':>12} {'folds':>12} {'Hopf points':>12} {'false':>6} ", end="")
    print(f"{'folds':>16} {'Hopf points':>16}")
    rows = [peer(name, python, slices, ours, folder) for name in ("jaxcont", "pycobi")]
    return [row for row in rows if row is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=1000, help="points of the map along eta and J")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--searched", type=int, default=300, help="slices that are searched densely")
    parser.add_argument("--grid", type=int, default=200_000, help="rates of the dense search")
    parser.add_argument("--continued", type=int, default=20, help="slices for the peers")
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--output", type=Path, default=Path("bifurcation.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {"speed": speed(options.slices, options.side, options.repeats)}
    record["search"] = none_missed(options.searched, options.grid)
    with tempfile.TemporaryDirectory() as name:
        record["peers"] = beside_peers(options.peers, options.continued, Path(name))
    options.output.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
