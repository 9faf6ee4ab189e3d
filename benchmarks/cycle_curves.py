"""Points of curves of folds and of period doublings of cycles against the variational equations.

For the pair with synapses of the public AUTO project RosaDelic/LargeScaleBrainModelAnalysis, self-coupled:
and for the adaptation and the depression of Gast et al.: `points` drawn at random from each curve, a period
of the variational equations by DOP853 at 1e-13. `python benchmarks/cycle_curves.py POINTS NAME ...` takes
some of the curves. Where a change of the start in its last digits, to (1 + 1e-15) of it, moves the
multipliers by more than STEEP, or a direction grows by more than GROWN on the way, as it does beside a
canard, no shooting can check a point; such points are counted. "Beyond what is told": all points, these
too, whose multipliers are further off than `multiplier_error` and than FLOOR.
"""

import os
import sys
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import FAMILY

PAIR: dict[str, Any] = {"model": "qif_pair_synapse", "names": ("eta_e", "eps"), "between": (-6.0, 40.0)}
PAIR |= {"title": "pair with synapses", "points": 400, "fixed": {}}
GAST: dict[str, Any] = {"names": ("eta", "alpha"), "kind": "LPC", "points": 400}
GAST |= {"fixed": {"delta": 2.0, "J": 15.0 * np.sqrt(2.0), "tau_a": 10.0}}
SINE: dict[str, Any] = {"names": ("drive_amplitude", "drive_period"), "points": 200}
SINE |= {"drive": qs.Sine(amplitude=1.0, period=25.0)}
MEMORY = {"tau": 20.0, "eta": -10.0, "delta": 2.0, "J": 15.0 * np.sqrt(2.0)}
RECALL = SINE | {"title": "plain model under a sine", "model": "qif", "fixed": MEMORY, "at": 30.0}
RECALL |= {"between": (0.0, 14.0), "within": (10.0, 1000.0)}
GAP: dict[str, Any] = SINE | {"title": "gap junctions under a sine", "model": "qif_gap", "at": 2.24}
GAP |= {"between": (0.0, 4.0), "within": (1.0, 6.0), "fixed": {"eta": 1.0, "J": 0.0, "g": 2.0}}
CANARD: dict[str, Any] = {"title": "adaptation, exponential", "model": "qif_adaptation_exponential"}
CANARD |= {"names": ("eta", "delta"), "at": 0.696, "between": (-2.0, 3.0), "within": (0.6, 0.9), "points": 60}
CANARD |= {"fixed": {"tau": 2.0, "J": 12.5, "alpha": 1.9, "tau_a": 7.0}}
CASES = {
    "pair-pd": PAIR | {"kind": "PD", "at": 12.0},
    "pair-lpc-15": PAIR | {"kind": "LPC", "at": 15.0},
    "pair-lpc-18": PAIR | {"kind": "LPC", "at": 18.0},
    "adaptation": GAST
    | {"title": "adaptation", "model": "qif_adaptation_alpha", "at": 1.0, "within": (0.0, 2.0)},
    "depression": GAST
    | {"title": "depression", "model": "qif_depression_alpha", "at": 0.05, "within": (0.0, 0.2)},
    "sine-lpc": RECALL | {"kind": "LPC"},
    "sine-pd": RECALL | {"kind": "PD"},
    "sine-ns": GAP | {"kind": "NS"},
    "canard-lpc": CANARD | {"kind": "LPC"},
    "canard-pd": CANARD | {"kind": "PD"},
}

STEEP, GROWN = 2e-7, 3e7
"""Change of a multiplier by a change of the start in its last digits, and growth of a direction on the way,
above which no shooting can tell six digits."""

FLOOR = 3e-8
"""What a multiplier by DOP853 is off itself, at most."""


def process_time():
    """Seconds of this process."""
    return sum(os.times()[:2])


def monodromy(model, point, names, stretched=1.0, **fixed):
    """The matrix of the variational equations over a period of a cycle with the parameters `names` at a point
    of a curve, by DOP853, how far the orbit is from closed, relative to its size, and the largest entry that
    the matrix has on the way."""
    row = FAMILY[model]
    given = {p.name: p.default for p in row.parameters} | fixed
    given |= {name: point[name].item() for name in names}
    constants = row.constants(given)
    n = len(row.variables)
    period, driven = point["period"].item(), row.variable_names.index(row.stimulated)
    amplitude = point["drive_amplitude"].item() if "drive_amplitude" in names else 0.0

    def both(t, z):
        # One call of the field: the state, and beside it the state moved along each imaginary axis.
        states = z[:n, None] + 1e-30j * np.eye(n, n + 1, 1)
        inputs = [0.0] * n
        inputs[driven] = amplitude * np.sin(2.0 * np.pi * t / period)
        slopes = np.array([s + 0.0 * states[0] for s in row.field(tuple(states), tuple(inputs), constants)])
        jacobian = slopes[:, 1:].imag / 1e-30
        return np.concatenate((slopes[:, 0].real, (jacobian @ z[n:].reshape(n, n)).ravel()))

    start = stretched * np.array([point[f"{name}_start"].item() for name in row.variable_names])
    begin = np.concatenate((start, np.eye(n).ravel()))
    end = solve_ivp(both, (0.0, period), begin, method="DOP853", rtol=1e-13, atol=1e-15).y
    gap = np.abs(end[:n, -1] - start).max() / np.abs(start).max()
    return end[n:, -1].reshape(n, n), gap, np.abs(end[n:]).max()


def off(kind, matrix, angle, forced=False):
    """How far the multipliers are from those of a bifurcation of a kind.

    At a fold 1 is a double root of the characteristic polynomial, and each root is off by the square root of
    an error: the mean of both and the product of their distances are not.
    """
    mu = np.linalg.eigvals(matrix)
    if kind == "PD":
        return np.abs(mu + 1.0).min()
    if kind == "NS":
        return np.abs(mu - np.exp(1j * angle)).min()
    if forced:
        return np.abs(mu - 1.0).min()
    one, two = sorted(mu, key=lambda m: abs(m - 1.0))[:2]
    return max(abs(one + two - 2.0) / 2.0, abs((one - 1.0) * (two - 1.0)))


def checked(name, count, kind, at, names, fixed, **options):
    """Print a row of the table: a curve, its ends, how many points, and by how much they are off."""
    begin = process_time()
    model = options.pop("model")
    d = qs.curve(model, kind, along=names[0], through=names[1], at=at, **options, **fixed)
    took = process_time() - begin
    ends = [d[side].attrs["flag_meanings"].split()[k] for side in ("start", "end") for k in d[side].values]
    own = np.flatnonzero((d["duplicate_of"].values < 0)[d["piece"].values] & (d["type"].values == 0))
    draw = np.random.default_rng(0)
    errors, gaps, steep, beyond = [], [], 0, 0
    for k in draw.permutation(own):
        point = d.isel(point=int(k))
        angle, forced = point["angle"].item(), "drive" in options
        (matrix, gap, growth), (beside, _, _) = (
            monodromy(model, point, names, stretched, **fixed) for stretched in (1.0, 1.0 + 1e-15)
        )
        error = off(kind, matrix, angle, forced)
        beyond += error > max(FLOOR, point["multiplier_error"].item())
        if growth > GROWN or not abs(error - off(kind, beside, angle, forced)) < STEEP:
            steep += 1
            continue
        errors.append(error)
        gaps.append(gap)
        if len(errors) == count:
            break
    each = 1e3 * took / d.sizes["point"]
    print(
        f"| {name}, {kind} from {names[1]} = {at} | {', '.join(sorted(set(ends)))} | {len(own)} "
        f"| {len(errors)} ({steep}) | {beyond} | {max(errors):.0e} | {max(gaps):.0e} | {each:.0f} |",
        flush=True,
    )


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    only = sys.argv[2:]
    print("| curve | ends | points | checked (too steep) | beyond what is told | multipliers off by ", end="")
    print("| orbit off by | ms a point |")
    print("|---|---|---|---|---|---|---|---|")
    for name, case in CASES.items():
        if not only or name in only:
            checked(case.pop("title"), count, **case)


if __name__ == "__main__":
    main()
