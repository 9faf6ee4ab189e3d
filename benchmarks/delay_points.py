"""Hopf points of the delayed model along eta, beside a dense search that shares no code with the package.

At an equilibrium v = -delta/(2 pi tau r), and its eigenvalues l solve (Pazo, Montbrio, Phys. Rev. Lett. 116,
238101 (2016))

    (tau l - 2 v)^2 = 2 r (J tau exp(-l D) - 2 pi^2 tau^2 r)

With l = i w both sides are of one size at up to two w in closed form; a Hopf point is where the phases agree
too. Here their difference is looked at on 400,000 rates of each of many random slices: as many points, at the
same rates.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

import qifscan as qs

RATES = 400_000
HOPF = 3


def searched(tau: float, delta: float, J: float, delay: float, low: float, high: float) -> Any:
    """Return the rates of Hopf points between two rates, ascending."""
    r = np.geomspace(low, high, RATES)
    v = -delta / (2.0 * np.pi * tau * r)
    # |(i y - 2 v)^2 + 4 (pi tau r)^2| = 2 r |J| tau, with y = tau w.
    whole = 4.0 * v * v + (2.0 * np.pi * tau * r) ** 2
    b, c = 16.0 * v * v - 2.0 * whole, whole * whole - (2.0 * r * J * tau) ** 2
    found, sines, cosines = [], [], []
    for sign in (1.0, -1.0):
        with np.errstate(invalid="ignore"):
            square = 0.5 * (-b + sign * np.sqrt(b * b - 4.0 * c))
            y = np.sqrt(square)
        turned = np.angle((whole - square - 4.0j * v * y) / (2.0 * r * J * tau)) + y * delay / tau
        sine, cosine = np.sin(turned), np.cos(turned)
        k = _between(sine[:-1], sine[1:], cosine[:-1], cosine[1:])
        share = np.abs(sine[k]) / (np.abs(sine[k]) + np.abs(sine[k + 1]))
        found.append(r[k] * (r[k + 1] / r[k]) ** share)
        sines.append(sine)
        cosines.append(cosine)
    # Where both w come into being, or end, as one: from the one on to the other.
    some = b * b > 4.0 * c
    edge = some & ~(np.append(some[1:], True) & np.append(True, some[:-1]))
    found.append(r[edge][_between(*(x[edge] for x in (*sines, *cosines)))])
    return np.sort(np.concatenate(found))


def _between(sine: Any, next_sine: Any, cosine: Any, next_cosine: Any) -> Any:
    """Return where a phase goes through a multiple of 2 pi."""
    agree = (cosine > 0.0) & (next_cosine > 0.0) & np.isfinite(sine + next_sine)
    return np.flatnonzero(agree & ((sine > 0.0) != (next_sine > 0.0)))


def drawn(rng: Any) -> dict[str, Any]:
    """Return a slice: time constant, spread, coupling, a delay of 0.01 to 10 tau, and the rates looked at."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    tau, delta = log_uniform(0.1, 20.0), log_uniform(0.01, 10.0)
    delay = tau * log_uniform(0.01, 10.0)
    unit = math.sqrt(delta) / (math.pi * tau)
    # Beyond some spikes within a delay Hopf points come again and again.
    rates = (1e-3 * unit, max(min(30.0 * unit, 3.0 / delay), 0.1 * unit))
    return {"tau": tau, "delta": delta, "J": float(rng.uniform(-30.0, 60.0)), "delay": delay, "rates": rates}


def compared(count: int, seed: int) -> dict[str, Any]:
    """Return how many points the slices have, how far their rates are apart, and the calls that differ."""
    rng, points, apart, wrong = np.random.default_rng(seed), 0, 0.0, []
    for _ in range(count):
        one = drawn(rng)
        special = qs.special_points("qif_delay", along="eta", **one)
        have = np.sort(special["r"].values[special["type"].values == HOPF])
        rates = one["rates"]
        want = searched(one["tau"], one["delta"], one["J"], one["delay"], *rates)
        points += len(want)
        if len(have) != len(want) or np.any(np.abs(have / want - 1.0) > 1e-4):
            wrong.append(
                f"qs.special_points('qif_delay', along='eta', **{one!r})  # has {have}, right {want}"
            )
        elif len(want):
            apart = max(apart, float(np.abs(have / want - 1.0).max()))
    return {"slices": count, "points": points, "apart": apart, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("delay_points.json"))
    options = parser.parse_args()
    found = compared(options.slices, options.seed)
    print(*found["wrong"], sep="\n")
    print(
        f"{found['slices']:,} slices, {found['points']:,} Hopf points, {len(found['wrong'])} slices differ,",
        end=" ",
    )
    print(f"rates at most {found['apart']:.1e} apart")
    options.output.write_text(json.dumps(found, indent=2))
    sys.exit(bool(found["wrong"]))


if __name__ == "__main__":
    main()
