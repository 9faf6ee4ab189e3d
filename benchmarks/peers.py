"""One peer of benchmarks/speed.py, in a process and an interpreter of its own.

python peers.py NAME points.npz result.npz: runs eta and J of the points (delta = tau = 1) from r, v, in so
many steps of dt, with Ornstein-Uhlenbeck noise of sigma on v and of sigma_r on r or without; writes the mean,
standard deviation and maximum of the rate of every point (those of "observables", where it is dear to have
more) and the seconds of the fastest run, compilation left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OU_TAU = 5.0
OBSERVABLES = ("mean", "std", "max")

# Before qifscan adds XLA's options to it: a peer runs as its users have it.
ENVIRONMENT = dict(os.environ)

Problem = dict[str, Any]
Found = dict[str, Any]


def measure(name: str, python: str, problem: Problem, folder: Path) -> Found | None:
    """Run a peer on a problem; return what it writes, None if it is not installed for that interpreter."""
    module = PACKAGES[name]
    if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode:
        return None
    source, target = folder / "points.npz", folder / "result.npz"
    np.savez(source, **problem)
    command = [python, __file__, name, str(source), str(target)]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    with np.load(target) as found:
        return {key: found[key] for key in found}


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the seconds of the fastest call after the first: of those that a
    second holds, three at least; of one where that takes long."""
    found = run()
    seconds: list[float] = []
    while (len(seconds) < 3 or sum(seconds) < 1.0) and sum(seconds) < 10.0:
        begin = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - begin)
    return found, min(seconds)


def _population(p: Problem) -> Any:
    """rates.QIF with its default method; its noise is exact in neither law nor time."""
    import brainpy as bp
    import brainpy.math as bm

    bm.set_platform("cpu")
    if p["float64"]:
        bm.enable_x64()
        bm.set_float(bm.float64)
    bm.set_dt(p["dt"])
    noise = {"y_ou_sigma": p["sigma_r"], "x_ou_sigma": p["sigma"]}
    noise |= {f"{x}_ou_tau": OU_TAU for x in "xy" if noise[f"{x}_ou_sigma"]}
    parameters = {name: bm.asarray(p[name]) for name in ("eta", "J")}
    return bp.rates.QIF(len(p["eta"]), delta=1.0, **parameters, **noise)


def _restart(population: Any, p: Problem) -> None:
    import brainpy.math as bm

    population.y.value = bm.asarray(p["r"])
    population.x.value = bm.asarray(p["v"])


def brainpy(p: Problem) -> tuple[Found, float]:
    """As its documentation runs a model: DSRunner with a monitor, observables from the trajectory."""
    import brainpy as bp
    import brainpy.math as bm

    population = _population(p)
    runner = bp.DSRunner(population, monitors=["y"], progress_bar=False, numpy_mon_after_run=False)

    def run() -> Found:
        _restart(population, p)
        runner.run(p["steps"] * p["dt"])
        path = bm.as_jax(runner.mon["y"])
        return {name: np.asarray(getattr(path, name)(0)) for name in p["observables"]}

    return timed(run)


def brainpy_by_hand(p: Problem) -> tuple[Found, float]:
    """A compiled loop of its own that keeps no trajectory; sums of 1,000 steps are added up, for accuracy."""
    import brainpy as bp
    import brainpy.math as bm

    population = _population(p)
    count = len(p["eta"])
    inner = max(k for k in range(1, 1001) if p["steps"] % k == 0)
    sums, totals, top = (bm.Variable(bm.zeros(shape)) for shape in ((2, count), (2, count), (count,)))

    def step(_: Any) -> None:
        bp.share.save(t=0.0, dt=p["dt"])
        population.update()
        population.clear_input()
        r = population.y.value
        sums.value += bm.stack([r, r * r])
        top.value = bm.maximum(top.value, r)

    def steps(_: Any) -> None:
        sums.value = bm.zeros((2, count))
        bm.for_loop(step, bm.arange(inner), progress_bar=False)
        totals.value += sums.value / p["steps"]

    @bm.jit
    def loop() -> Any:
        totals.value, top.value = bm.zeros((2, count)), bm.zeros(count)
        bm.for_loop(steps, bm.arange(p["steps"] // inner), progress_bar=False)
        return totals.value[0], totals.value[1], top.value

    def run() -> Found:
        _restart(population, p)
        mean, square, largest = (np.asarray(x) for x in loop())
        return {"mean": mean, "std": np.sqrt(np.maximum(square - mean * mean, 0.0)), "max": largest}

    return timed(run)


def vbjax(p: Problem) -> tuple[Found, float]:
    """Heun's method of make_ode and make_sde, under vmap over the points."""
    import jax
    import jax.numpy as jnp
    import vbjax as vb

    sigmas = [p["sigma"], p["sigma_r"]]
    driven = sum(sigma > 0 for sigma in sigmas)

    def field(y: Any, q: Any) -> Any:
        eta, J = q
        r, v = y[0], y[1]
        slope = [1 / np.pi + 2 * r * v, v * v + eta + J * r - (np.pi * r) ** 2]
        for k in range(driven):
            slope[1 - k] += y[2 + k]
            slope.append(-y[2 + k] / OU_TAU)
        return jnp.array(slope)

    start = np.stack([p["r"], p["v"], 0 * p["r"], 0 * p["r"]][: 2 + driven], axis=1)
    if driven:
        spread = jnp.array([0.0, 0.0, *sigmas[:driven]])
        _, loop = vb.make_sde(p["dt"], field, lambda y, q: spread)
    else:
        _, loop = vb.make_ode(p["dt"], field)

    def one(y: Any, key: Any, eta: Any, J: Any) -> Any:
        if driven:
            path = loop(y, jax.random.normal(key, (p["steps"], 2 + driven)), (eta, J))
        else:
            path = loop(y, jnp.arange(p["steps"]), (eta, J))
        return {name: getattr(path[:, 0], name)() for name in p["observables"]}

    keys = jax.random.split(jax.random.key(0), len(p["eta"]))
    run = jax.jit(jax.vmap(one))
    return timed(lambda: jax.tree.map(np.asarray, run(start, keys, p["eta"], p["J"])))


def numba(p: Problem) -> tuple[Found, float]:
    """Heun's method in a loop over points on all cores; noise by its exact step and NumPy's normals."""
    import math

    from numba import njit, prange

    @njit(parallel=True, fastmath=True)
    def run(
        eta: Any, J: Any, r0: Any, v0: Any, steps: Any, dt: Any, decay: Any, gain_r: Any, gain_v: Any
    ) -> Any:
        found = np.empty((3, len(eta)), dtype=np.float32)
        one, half, width = np.float32(1), np.float32(0.5), np.float32(1 / np.pi)
        pull = np.float32(np.pi**2)
        for i in prange(len(eta)):
            r, v, x, z = r0[i], v0[i], np.float32(0), np.float32(0)
            total, square, largest = np.float32(0), np.float32(0), np.float32(0)
            for _ in range(steps):
                after_r, after_v = x, z
                if gain_r > 0:
                    after_r = x * decay + gain_r * np.float32(np.random.normal())  # noqa: NPY002 - what numba compiles
                if gain_v > 0:
                    after_v = z * decay + gain_v * np.float32(np.random.normal())  # noqa: NPY002 - what numba compiles
                k, m = width + x + (one + one) * r * v, v * v + eta[i] + z + (J[i] - pull * r) * r
                a, b = r + dt * k, v + dt * m
                r = r + half * dt * (k + width + after_r + (one + one) * a * b)
                v = v + half * dt * (m + b * b + eta[i] + after_v + (J[i] - pull * a) * a)
                x, z = after_r, after_v
                total += r
                square += r * r
                largest = max(largest, r)
            found[0, i], found[1, i], found[2, i] = total, square, largest
        return found

    decay = math.exp(-p["dt"] / OU_TAU)
    gains = [p[name] * math.sqrt(OU_TAU / 2 * (1 - decay * decay)) for name in ("sigma_r", "sigma")]
    columns = [p[name].astype(np.float32) for name in ("eta", "J", "r", "v")]
    numbers = [np.float32(number) for number in (p["dt"], decay, *gains)]

    compiled: Any = run

    def observed() -> Found:
        total, square, largest = compiled(*columns, p["steps"], *numbers)
        mean = total / p["steps"]
        return {
            "mean": mean,
            "std": np.sqrt(np.maximum(square / p["steps"] - mean * mean, 0.0)),
            "max": largest,
        }

    return timed(observed)


def scipy(p: Problem) -> tuple[Found, float]:
    """solve_ivp, its defaults but rtol = 1e-5, point by point: 16 of them, without noise."""
    from scipy.integrate import solve_ivp

    t = np.arange(1, p["steps"] + 1) * p["dt"]
    chosen = np.linspace(0, len(p["eta"]) - 1, 16).astype(int)

    def run() -> Found:
        observed = {name: np.full(len(p["eta"]), np.nan) for name in OBSERVABLES}
        for i in chosen:
            eta, J = p["eta"][i], p["J"][i]

            def field(_: float, y: Any, eta: float = eta, J: float = J) -> list[float]:
                r, v = y
                return [1 / np.pi + 2 * r * v, v * v + eta + J * r - (np.pi * r) ** 2]

            found = solve_ivp(field, (0.0, t[-1]), [p["r"][i], p["v"][i]], t_eval=t, rtol=1e-5)
            for name in OBSERVABLES:
                observed[name][i] = getattr(found.y[0], name)()
        return observed

    observed, seconds = timed(run)
    return observed, seconds * len(p["eta"]) / 16


PEERS = {
    "brainpy": brainpy,
    "brainpy_by_hand": brainpy_by_hand,
    "vbjax": vbjax,
    "numba": numba,
    "scipy": scipy,
}
PACKAGES = {name: name.partition("_")[0] for name in PEERS}


def main() -> None:
    name, source, target = sys.argv[1:]
    with np.load(source) as data:
        problem = {key: data[key] if data[key].ndim else data[key].item() for key in data}
    default = {"sigma": 0.0, "sigma_r": 0.0, "float64": False, "observables": OBSERVABLES}
    found, seconds = PEERS[name](default | problem)
    np.savez(target, seconds=seconds, **found)


if __name__ == "__main__":
    main()
