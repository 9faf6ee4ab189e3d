"""The step of a point, as a function of that point alone: a base step, halved as often as it needs.

The rates that a step has to resolve are known before anything runs: a population turns at 2 |W| / tau,
W = pi tau r + i v at its equilibria (exact, at the extremes of its input) and at its start; what slow
variables add to that, and the weakest damping, is in the eigenvalues; noise and drive have their times. What
a transient does beyond that is found by the error estimate while it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.integrators import Integrator
from qifscan.scan.protocol import MAX_STEPS

if TYPE_CHECKING:
    from qifscan.arrays import Array, Columns, Counts, Mask
    from qifscan.dynamics.model import Model
    from qifscan.scan.scan import Scan
    from qifscan.theory.rest import Rest


MOST_REDOS = 4
"""Times that a point is run again at half the step before it is flagged."""

MOST_REDOS_OF_BURSTS = 7
"""The same of models with more variables than r and v: no equilibrium tells how high their bursts are."""

NOISE_STEPS = 8.0
"""Steps in a time constant of the noise: its path is linear between them, which takes dt^2/(12 ou_tau^2) off
the power at low frequencies, 0.13 per cent."""

DRIVE_STEPS = 25.0
"""Steps in the time of a drive: Simpson's rule integrates a sine to 1e-6 with so many."""

MOST_TELLING = 5
"""Times that a step is halved at most to tell what it misses of a drive: what is faster still is an average
to both."""

MOST_REMEMBERED = 2**18
"""Steps within a delay beyond which no step is halved: of 64 points in float64 they are 256 MiB."""

SPREAD = 3.0
"""Standard deviations of the noise that count as its extremes."""


def most_redos(model: Model) -> int:
    """Return how often a point of a model is run again at half the step before it is flagged."""
    return MOST_REDOS if len(model.variables) == 2 else MOST_REDOS_OF_BURSTS


def _turning(rest: Rest) -> Array:
    """Return the fastest rate at rest in units of the first population's 1/tau; 0 where there is no rest.

    A population turns at 2 |W| / tau. What its slow variables add is in the eigenvalues.
    """
    largest = _of_size(rest, rest.states)
    if len(rest.model.groups) > 1:
        real, imag = rest.modes
        largest = np.fmax(largest, np.fmax.reduce(np.hypot(real, imag), axis=2))
    fastest: Array = np.fmax.reduce(np.nan_to_num(largest, nan=0.0), axis=1)
    return fastest


def _of_size(rest: Rest, state: tuple[Array, ...]) -> Array:
    """Return the largest 2 |W| of the populations in states `(points, any)`, each in the first one's time."""
    model, unit = rest.model, rest.unit[:, None]
    names = model.variable_names
    of_group = dict(zip(model.groups, rest.sizes(state), strict=True))
    turning = [
        2.0 * np.sqrt(size) * (unit / rest.parameters[f"tau{rate.population}"][:, None])
        for rate in model.rates
        for group, size in of_group.items()
        if names.index(rate.name) in group
    ]
    fastest: Array = np.fmax.reduce(np.stack(turning), axis=0)
    return fastest


def _noise_spread(columns: Columns, name: str) -> Array:
    return SPREAD * columns[f"{name}_ou_sigma"] * np.sqrt(columns[f"{name}_ou_tau"] / 2.0)


def _fastest(scan: Scan, columns: Columns, rest: Rest) -> Array:
    """Return the fastest rate to be expected, in units of 1/tau: at rest, at the extremes of the input, and
    at the start."""
    model = rest.model
    lowest, highest = (0.0, 0.0) if scan.drive is None else scan.drive.extremes(columns)
    spreads = {name: _noise_spread(columns, name) for name in model.input_names}
    wider = {rate.name: spreads[rate.name] for rate in model.rates if rate.name in spreads}
    largest = _turning(rest)
    if any(map(np.any, (*spreads.values(), lowest, highest))):
        for sign, end in ((1.0, highest), (-1.0, lowest)):
            more = {name: sign * spread for name, spread in spreads.items()} | wider
            more[model.stimulated] = end + more[model.stimulated]
            largest = np.maximum(largest, _turning(rest.of(model, columns, more)))
    start = [columns.get(f"{name}_initial") for name in model.variable_names]
    if all(y is not None for y in start):
        at_start = _of_size(rest, tuple(y[:, None] for y in start if y is not None))
        largest = np.maximum(largest, at_start[:, 0])
    return largest


def _longest_step(scan: Scan, integrator: Integrator, columns: Columns, rest: Rest) -> Array:
    """Return the longest step that resolves what is known of each point, ms."""
    with np.errstate(divide="ignore"):
        longest = integrator.caution * rest.unit / _fastest(scan, columns, rest)
    for name in scan.noisy:
        noisy = columns[f"{name}_ou_sigma"] > 0.0
        longest = np.where(noisy, np.minimum(longest, columns[f"{name}_ou_tau"] / NOISE_STEPS), longest)
    if scan.drive is not None:
        longest = np.minimum(longest, scan.drive.duration(columns) / DRIVE_STEPS)
    if rest.model.delay:
        # A rate delayed by less than a step would be needed before it is known.
        delay = columns[rest.model.delay]
        longest = np.where(delay > 0.0, np.minimum(longest, delay), longest)
    return np.asarray(longest, dtype=np.float64)


def _halvings_to(base: float, longest: Array, most: int) -> Counts:
    """Return how often `base` is halved until it is no longer than `longest`, at most so often."""
    # frexp is exact, where a logarithm could round to one side or the other.
    mantissa, exponent = np.frexp(base / np.maximum(longest, np.finfo(np.float64).tiny))
    counts = np.where(mantissa > 0.5, exponent, exponent - 1)
    return np.clip(counts, 0, most).astype(np.int64)


def _damped(integrator: Integrator, rest: Rest, dt: Array) -> Mask:
    """Whether a step damps every stable equilibrium at least half as much as the model does."""
    assert integrator.amplification is not None
    scale = (dt / rest.unit)[:, None, None]
    real, imag = rest.modes
    # The one integrator that reads a variable's own derivative is that of the plain model, where it is 2 v.
    own = scale * 2.0 * rest.states[1][..., None]
    x, y = scale * real, scale * imag
    amplified = integrator.amplification(x, y, own)
    # |R|^2 <= e^x <= 1 + x + x^2/2; where there is no such equilibrium there is nothing to damp.
    damped: Mask = np.all(~rest.stable[..., None] | (amplified <= 1.0 + x + 0.5 * x * x), axis=(1, 2))
    return damped


def halvings(scan: Scan, columns: Columns, rest: Rest) -> Counts:
    """Return how often the base step is halved for each point; none if the scan has a dt of its own."""
    protocol, most = scan.protocol, scan.protocol.most_halvings
    if most == 0:
        return np.zeros(len(rest), dtype=np.int64)
    integrator = scan.integrator
    with np.errstate(all="ignore"):
        chosen = _halvings_to(protocol.base, _longest_step(scan, integrator, columns, rest), most)
        if integrator.amplification is not None:
            for _ in range(most):
                dt = np.asarray(protocol.base * 0.5**chosen, dtype=np.float64)
                finer = (chosen < most) & ~_damped(integrator, rest, dt)
                if not np.any(finer):
                    break
                chosen = chosen + finer
    return chosen


def unresolved_noise(scan: Scan, columns: Columns, halvings: Counts) -> Mask:
    """Whether a point has noise that is too fast for its step: with a dt of the scan's own, or at the
    shortest."""
    dt = scan.protocol.base * 0.5**halvings
    fast = np.zeros(len(halvings), dtype=bool)
    for name in scan.noisy:
        fast |= (columns[f"{name}_ou_sigma"] > 0.0) & (columns[f"{name}_ou_tau"] < NOISE_STEPS * dt)
    return fast


def unresolved_drive(scan: Scan, columns: Columns, halvings: Counts) -> Mask:
    """Whether a step may miss what the drive of a point does within it: no estimate tells that."""
    if scan.drive is None:
        return np.zeros(len(halvings), dtype=bool)
    dt = np.asarray(scan.protocol.base * 0.5**halvings, dtype=np.float64)
    missed: Mask = ~scan.drive.seen(columns, dt) & (columns["drive_amplitude"] != 0.0)
    return missed


def most_halvings(scan: Scan, columns: Columns, steps: int) -> Counts:
    """Return how often the base step of each point may be halved, in a run of so many of them: until it is of
    as many steps as are counted, and a delay of as many as are remembered."""
    counted = np.full(len(next(iter(columns.values()))), int(np.log2(MAX_STEPS / steps)))
    delay = scan.mean_field.delay
    if not delay:
        return counted
    with np.errstate(divide="ignore"):
        remembered = np.floor(np.log2(MOST_REMEMBERED * scan.protocol.base / columns[delay]))
    found: Counts = np.clip(remembered, 0, counted).astype(np.int64)
    return found


def halvings_that_tell(scan: Scan, columns: Columns, halvings: Counts) -> Counts:
    """Return how often the step of each point is halved for a run that tells its error: once, and more often
    where the drive goes on within a step, whose half is as blind as the whole."""
    once: Counts = np.ones(len(halvings), dtype=np.int64)
    if scan.drive is None:
        return once
    dt = np.asarray(scan.protocol.base * 0.5**halvings, dtype=np.float64)
    fast = columns["drive_amplitude"] != 0.0
    with np.errstate(all="ignore"):
        needed = np.ceil(np.log2(dt / scan.drive.telling(columns)))
    return np.where(fast, np.clip(needed, 1, MOST_TELLING), once).astype(np.int64)


def noise_halvings(scan: Scan, chosen: Counts) -> Counts:
    """Return how often the base step is halved for the grid on which the path of the noise is drawn.

    A finer step fills in the same path. Common noise is drawn on the base step, so that it is one path.
    """
    return np.zeros_like(chosen) if scan.noise == "common" else chosen
