"""A statistical battery on the noise's generator: is what the kernel draws normal, and independent?

Draws float32 normals as the kernel does (Threefry-2x32, Box and Muller) for points that differ in one
parameter by the least, for replicates, for consecutive steps and for both variables. Tests, each with its
p-value:

- moments up to the sixth, against those of the normal law;
- the distribution, by Kolmogorov and Smirnov's distance on a grid of 65,536 quantiles;
- the tails: how many lie beyond 3, 4, 5 and 6 standard deviations, against the binomial law;
- correlations, of the normals and of their squares, between the two variables, from step to step (1, 2 and 64
  apart), from point to point, and from replicate to replicate.

With m tests the run fails if a p-value is below 1e-4 / m: one sound generator in 10,000 does. There is no
normal beyond 6.76 standard deviations, where the tails of 32 bits end; at 1e8 that is not seen.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from qifscan.dynamics.noise import of_step, point_keys, split_key, step_pair

POINTS, REPLICATES, STEPS = 256, 16, 256
BINS = 2**16
LAGS = (1, 2, 64)
TAILS = (3.0, 4.0, 5.0, 6.0)
MOMENTS = {1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0, 5: 0.0, 6: 15.0}

Array = np.ndarray[Any, Any]


def keys(chunk: int) -> Any:
    """Return the keys of neighbouring points and replicates, `(points * replicates,)` each word."""
    eta = -5.0 + np.spacing(-5.0) * (np.arange(POINTS) + chunk * POINTS)
    columns = {"eta": np.repeat(eta, REPLICATES), "J": np.full(POINTS * REPLICATES, 15.0)}
    return split_key(point_keys(0, columns, np.tile(np.arange(REPLICATES), POINTS)))


@jax.jit
def drawn(key: Any) -> Any:
    """Return normals `(variables, steps, points, replicates)`."""

    def at(step: Any) -> Any:
        pairs = [step_pair(key, step, variable, jnp.dtype("float32")) for variable in (0, 1)]
        return jnp.stack([of_step(pair, step) for pair in pairs])

    normals = jax.vmap(at, out_axes=1)(jnp.arange(STEPS, dtype=jnp.uint32))
    return normals.reshape(2, STEPS, POINTS, REPLICATES)


def products(x: Array) -> dict[str, float]:
    """Return sums of products of neighbours by the root of their number: N(0, 1) if they are independent."""
    near = {
        "variables": (x[0], x[1]),
        **{f"steps {lag} apart": (x[:, lag:], x[:, :-lag]) for lag in LAGS},
        "points": (x[:, :, 1:], x[:, :, :-1]),
        "replicates": (x[..., 1:], x[..., :-1]),
    }
    return {name: float(np.vdot(a, b)) / math.sqrt(a.size) for name, (a, b) in near.items()}


def collected(chunks: int) -> tuple[int, dict[str, Array], Array, Array]:
    """Return the number of normals; sums of powers and of products by name; counts in bins and in tails."""
    bins, tails, sums = np.zeros(BINS, np.int64), np.zeros(len(TAILS), np.int64), Counter()
    for chunk in range(chunks):
        x = np.asarray(drawn(keys(chunk)), dtype=np.float64)
        for power in MOMENTS:
            sums[f"moment {power}"] += float(np.sum(x**power))
        sums.update({f"correlation of {name}": value for name, value in products(x).items()})
        square = (x * x - 1.0) / math.sqrt(2.0)
        sums.update({f"correlation of squares of {name}": v for name, v in products(square).items()})
        place = np.minimum((stats.norm.cdf(x.ravel()) * BINS).astype(np.int64), BINS - 1)
        bins += np.bincount(place, minlength=BINS)
        tails += [np.count_nonzero(np.abs(x) > limit) for limit in TAILS]
    return int(bins.sum()), dict(sums), bins, tails


def battery(chunks: int) -> tuple[int, dict[str, float]]:
    """Return the number of normals and the p-value of every test."""
    count, sums, bins, tails = collected(chunks)
    found = {}
    for power, expected in MOMENTS.items():
        variance = math.prod(range(2 * power - 1, 0, -2)) - expected**2
        z = (sums[f"moment {power}"] / count - expected) / math.sqrt(variance / count)
        found[f"moment {power}"] = 2 * stats.norm.sf(abs(z))
    distance = np.abs(np.cumsum(bins) / count - np.arange(1, BINS + 1) / BINS).max()
    found["distribution"] = float(stats.kstwobign.sf(distance * math.sqrt(count)))
    for limit, seen in zip(TAILS, tails.tolist(), strict=True):
        found[f"beyond {limit:g} sigma"] = stats.binomtest(seen, count, 2 * stats.norm.sf(limit)).pvalue
    for name, value in sums.items():
        if name.startswith("correlation"):
            found[name] = 2 * stats.norm.sf(abs(value) / math.sqrt(chunks))
    return count, {name: float(p) for name, p in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=48, help="2,097,152 normals each")
    parser.add_argument("--output", type=Path, default=Path("noise_battery.json"))
    options = parser.parse_args()
    with jax.enable_x64(True):
        count, found = battery(options.chunks)
    for name, p in found.items():
        print(f"{name:<44} p = {p:.3g}")
    least = min(found.values())
    passed = least > 1e-4 / len(found)
    print(
        f"\n{count:,} normals, {len(found)} tests, least p = {least:.2g}: {'passed' if passed else 'FAILED'}"
    )
    options.output.write_text(json.dumps({"normals": count, "p": found}, indent=2))
    sys.exit(not passed)


if __name__ == "__main__":
    main()
