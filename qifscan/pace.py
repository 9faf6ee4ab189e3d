"""The step of a point, as a function of that point alone: a base step, halved as often as it needs.

The rates that a step has to resolve are known before anything runs: the model turns at 2 |W| / tau, where
W = pi tau r + i v at its equilibria (exact, at the extremes of its input) and at its start; its weakest
damping is in the eigenvalues; noise and drive have their times. What a transient does beyond that is found
by the error estimate while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan import theory
from qifscan.drive import TIMES, extremes
from qifscan.integrate import INTEGRATORS, Integrator
from qifscan.scan import Scan

Array = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

MOST_REDOS = 4
"""Times that a point is run again at half the step before it is flagged."""

NOISE_STEPS = 8.0
"""Steps in a time constant of the noise: its path is linear between them, which takes dt^2/(12 ou_tau^2) off
the power at low frequencies, 0.13 per cent."""

DRIVE_STEPS = 25.0
"""Steps in the time of a drive: Simpson's rule integrates a sine to 1e-6 with so many."""

SPREAD = 3.0
"""Standard deviations of the noise that count as its extremes."""


@dataclass(frozen=True)
class Rest:
    """The model of each point with the mean of its noise: parameters, every rate at rest `(points, 3)`."""

    eta: Array
    J: Array
    delta: Array
    tau: Array
    rates: Array

    @classmethod
    def of(cls, columns: Mapping[str, Any], eta: Any = 0.0, width: Any = 0.0) -> Rest:
        """Return it for these parameters, shifted by so much in eta and in pi tau r."""
        tau, J = columns["tau"], columns["J"]
        eta = columns["eta"] + columns["v_ou_mean"] + eta
        delta = columns["delta"] + math.pi * tau * (columns["r_ou_mean"] + width)
        return cls(eta, J, delta, tau, theory.roots(eta, J, delta, tau))

    def take(self, rows: Any) -> Rest:
        """Return it for some of the points."""
        return Rest(self.eta[rows], self.J[rows], self.delta[rows], self.tau[rows], self.rates[rows])

    def distance(self, r: Array, v: Array) -> Array:
        """Return the distance of states from each equilibrium, relative to it; inf where it is not there."""
        tau, rates, potentials = self.tau[:, None], self.rates, self.potentials
        apart = _square(tau, r[:, None] - rates, v[:, None] - potentials)
        relative: Array = np.sqrt(apart / _square(tau, rates, potentials))
        return np.where(np.isfinite(relative), relative, np.inf)

    @property
    def highest(self) -> Array:
        """The highest rate at rest, NaN where there is none."""
        return theory.NAMED_STATES["up"](self.rates)

    @property
    def potentials(self) -> Array:
        """v at each rate at rest, `(points, 3)`."""
        return theory.potential(self.rates, self.delta[:, None], self.tau[:, None])


def _turning(rest: Rest) -> Array:
    """Return the largest |W| at rest; 0 where there is no rest."""
    square = _square(rest.tau[:, None], rest.rates, rest.potentials)
    largest: Array = np.sqrt(np.fmax.reduce(np.nan_to_num(square, nan=0.0), axis=1))
    return largest


def _square(tau: Any, r: Any, v: Any) -> Any:
    x = math.pi * tau * r
    return x * x + v * v


def _noise_spread(columns: Mapping[str, Any], name: str) -> Any:
    return SPREAD * columns[f"{name}_ou_sigma"] * np.sqrt(columns[f"{name}_ou_tau"] / 2.0)


def _fastest(scan: Scan, columns: Mapping[str, Any], rest: Rest) -> Array:
    """Return the largest |W| to be expected: at rest, at the extremes of the input, at the start."""
    lowest, highest = extremes(scan.drive, columns)
    spread_r, spread_v = _noise_spread(columns, "r"), _noise_spread(columns, "v")
    largest = _turning(rest)
    if np.any(spread_r) or np.any(spread_v) or np.any(highest) or np.any(lowest):
        for shift in (highest + spread_v, lowest - spread_v):
            largest = np.maximum(largest, _turning(Rest.of(columns, shift, spread_r)))
    if "r_initial" in columns and "v_initial" in columns:
        start = np.sqrt(_square(columns["tau"], columns["r_initial"], columns["v_initial"]))
        largest = np.maximum(largest, start)
    return largest


def _longest_step(scan: Scan, integrator: Integrator, columns: Mapping[str, Any], rest: Rest) -> Array:
    """Return the longest step that resolves what is known of each point, ms."""
    with np.errstate(divide="ignore"):
        longest = integrator.caution * columns["tau"] / (2.0 * _fastest(scan, columns, rest))
    for name in scan.noisy:
        noisy = columns[f"{name}_ou_sigma"] > 0.0
        longest = np.where(noisy, np.minimum(longest, columns[f"{name}_ou_tau"] / NOISE_STEPS), longest)
    if scan.drive is not None:
        longest = np.minimum(longest, TIMES[scan.drive.kind](columns) / DRIVE_STEPS)
    return np.asarray(longest, dtype=np.float64)


def _halvings_to(base: float, longest: Array, most: int) -> Counts:
    """Return how often `base` is halved until it is no longer than `longest`, at most so often."""
    # frexp is exact, where a logarithm could round to one side or the other.
    mantissa, exponent = np.frexp(base / np.maximum(longest, np.finfo(np.float64).tiny))
    counts = np.where(mantissa > 0.5, exponent, exponent - 1)
    return np.clip(counts, 0, most).astype(np.int64)


def _damped(integrator: Integrator, rest: Rest, dt: Any) -> Any:
    """Whether a step damps every stable equilibrium at least half as much as the model does."""
    assert integrator.amplification is not None
    ends = []
    for k in (0, 2):
        r = rest.rates[:, k]
        v = rest.potentials[:, k]
        spread = 2.0 * r * rest.tau * (rest.J - 2.0 * math.pi * math.pi * r * rest.tau)
        root, turn = np.sqrt(np.maximum(spread, 0.0)), np.sqrt(np.maximum(-spread, 0.0))
        scale = dt / rest.tau
        for sign in (-1.0, 1.0):
            x, y = scale * (2.0 * v + sign * root), scale * turn
            amplified = integrator.amplification(x, y, scale * 2.0 * v)
            # |R|^2 <= e^x <= 1 + x + x^2/2; where there is no such equilibrium there is nothing to damp.
            ends.append(~np.isfinite(r) | (amplified <= 1.0 + x + 0.5 * x * x))
    return np.all(ends, axis=0)


def halvings(scan: Scan, columns: Mapping[str, Any], rest: Rest) -> Counts:
    """Return how often the base step is halved for each point; none if the scan has a dt of its own."""
    protocol, most = scan.protocol, scan.protocol.most_halvings
    if most == 0:
        return np.zeros(len(rest.tau), dtype=np.int64)
    integrator = INTEGRATORS[protocol.integrator]
    with np.errstate(all="ignore"):
        chosen = _halvings_to(protocol.base, _longest_step(scan, integrator, columns, rest), most)
        if integrator.amplification is not None:
            for _ in range(most):
                finer = (chosen < most) & ~_damped(integrator, rest, protocol.base * 0.5**chosen)
                if not np.any(finer):
                    break
                chosen = chosen + finer
    return chosen


def noise_halvings(scan: Scan, chosen: Counts) -> Counts:
    """Return how often the base step is halved for the grid on which the path of the noise is drawn.

    A finer step fills in the same path. Common noise is drawn on the base step, so that it is one path.
    """
    return np.zeros_like(chosen) if scan.noise == "common" else chosen
