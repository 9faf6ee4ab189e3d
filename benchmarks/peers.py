"""One peer of benchmarks/speed.py, in a process and an interpreter of its own.

python peers.py NAME points.npz result.npz: runs eta and J of the points (delta = tau = 1) from r, v, in so
many steps of dt, with Ornstein-Uhlenbeck noise of sigma on v or without; writes the mean rate of every point
and the seconds of the fastest of three runs, compilation left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

OU_TAU = 5.0

Problem = dict[str, Any]


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the seconds of the fastest of three calls after the first."""
    found = run()
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - begin)
    return found, min(seconds)


def brainpy(p: Problem) -> tuple[Any, float]:
    """rates.QIF with its default method, in a compiled loop; its noise is exact in neither law nor time."""
    import brainpy as bp
    import brainpy.math as bm

    bm.set_platform("cpu")
    bm.set_dt(p["dt"])
    noise = {"y_ou_sigma": 0.0, "x_ou_sigma": p["sigma"], "x_ou_tau": OU_TAU} if p["sigma"] else {}
    population = bp.rates.QIF(
        len(p["eta"]), eta=bm.asarray(p["eta"]), J=bm.asarray(p["J"]), delta=1.0, **noise
    )
    total = bm.Variable(bm.zeros(len(p["eta"])))

    def step(i: Any) -> None:
        bp.share.save(i=i, t=i * p["dt"], dt=p["dt"])
        population.update()
        population.clear_input()
        total.value += population.y.value

    @bm.jit
    def run() -> Any:
        population.y.value = bm.asarray(p["r"])
        population.x.value = bm.asarray(p["v"])
        total.value = bm.zeros(len(p["eta"]))
        bm.for_loop(step, bm.arange(p["steps"]), progress_bar=False)
        return total.value / p["steps"]

    return timed(lambda: np.asarray(run()))


def vbjax(p: Problem) -> tuple[Any, float]:
    """Heun's method of make_ode and make_sde, under vmap over the points."""
    import jax
    import jax.numpy as jnp
    import vbjax as vb

    def field(y: Any, q: Any) -> Any:
        eta, J = q
        r, v = y[0], y[1]
        slope = [1 / np.pi + 2 * r * v, v * v + eta + J * r - (np.pi * r) ** 2]
        if p["sigma"]:
            slope[1] += y[2]
            slope.append(-y[2] / OU_TAU)
        return jnp.array(slope)

    start = np.stack([p["r"], p["v"], 0 * p["r"]][: 3 if p["sigma"] else 2], axis=1)
    if p["sigma"]:
        _, loop = vb.make_sde(p["dt"], field, lambda y, q: jnp.array([0.0, 0.0, p["sigma"]]))
    else:
        _, loop = vb.make_ode(p["dt"], field)

    def one(y: Any, key: Any, eta: Any, J: Any) -> Any:
        if p["sigma"]:
            path = loop(y, jax.random.normal(key, (p["steps"], 3)), (eta, J))
        else:
            path = loop(y, jnp.arange(p["steps"]), (eta, J))
        return path[:, 0].mean()

    keys = jax.random.split(jax.random.key(0), len(p["eta"]))
    run = jax.jit(jax.vmap(one))
    return timed(lambda: np.asarray(run(start, keys, p["eta"], p["J"])))


def numba(p: Problem) -> tuple[Any, float]:
    """Heun's method in a loop over points on all cores; noise by its exact step and NumPy's normals."""
    import math

    from numba import njit, prange

    decay = math.exp(-p["dt"] / OU_TAU)
    gain = p["sigma"] * math.sqrt(OU_TAU / 2 * (1 - decay * decay))

    @njit(parallel=True, fastmath=True)
    def run(
        eta: Any, J: Any, r0: Any, v0: Any, steps: Any, dt: Any, decay: Any, gain: Any, noisy: Any
    ) -> Any:
        mean = np.empty_like(eta)
        one, half, width = np.float32(1), np.float32(0.5), np.float32(1 / np.pi)
        pull = np.float32(np.pi**2)
        for i in prange(len(eta)):
            r, v, z, total = r0[i], v0[i], np.float32(0), np.float32(0)
            for _ in range(steps):
                after = z
                if noisy:
                    after = z * decay + gain * np.float32(np.random.normal())  # noqa: NPY002 - what numba compiles
                k, m = width + (one + one) * r * v, v * v + eta[i] + z + (J[i] - pull * r) * r
                a, b = r + dt * k, v + dt * m
                r = r + half * dt * (k + width + (one + one) * a * b)
                v = v + half * dt * (m + b * b + eta[i] + after + (J[i] - pull * a) * a)
                z = after
                total += r
            mean[i] = total / np.float32(steps)
        return mean

    columns = [p[name].astype(np.float32) for name in ("eta", "J", "r", "v")]
    numbers = (p["steps"], np.float32(p["dt"]), np.float32(decay), np.float32(gain), bool(p["sigma"]))
    return timed(lambda: run(*columns, *numbers))


def scipy(p: Problem) -> tuple[Any, float]:
    """solve_ivp, its defaults but rtol = 1e-5, point by point: 16 of them, without noise."""
    from scipy.integrate import solve_ivp

    t = np.arange(1, p["steps"] + 1) * p["dt"]
    chosen = np.linspace(0, len(p["eta"]) - 1, 16).astype(int)

    def run() -> Any:
        means = np.full(len(p["eta"]), np.nan)
        for i in chosen:
            eta, J = p["eta"][i], p["J"][i]

            def field(_: float, y: Any, eta: float = eta, J: float = J) -> list[float]:
                r, v = y
                return [1 / np.pi + 2 * r * v, v * v + eta + J * r - (np.pi * r) ** 2]

            found = solve_ivp(field, (0.0, t[-1]), [p["r"][i], p["v"][i]], t_eval=t, rtol=1e-5)
            means[i] = found.y[0].mean()
        return means

    means, seconds = timed(run)
    return means, seconds * len(p["eta"]) / 16


PEERS = {"brainpy": brainpy, "vbjax": vbjax, "numba": numba, "scipy": scipy}


def main() -> None:
    name, source, target = sys.argv[1:]
    with np.load(source) as data:
        problem = {key: data[key] if data[key].ndim else data[key].item() for key in data}
    mean, seconds = PEERS[name](problem)
    np.savez(target, mean=mean, seconds=seconds)


if __name__ == "__main__":
    main()
