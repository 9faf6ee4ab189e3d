"""Is what came of a point right? Points that move are run again in float64, at their step and at half.

The estimate of a step knows that step alone: not what a weakly damped run adds up, what accumulators miss
between two steps, or rounding. Two runs that agree in mean, standard deviation, extremes and final value of
every variable cover all of these. A point is taken as right without them where its estimate, times the steps
over which its weakest mode remembers, is far below the tolerance; where that leaves rounding alone in doubt
the run in float64 at the same step is taken. Which points are compared, and at which step a point ends, never
depends on the observables that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qifscan.arrays import Column
    from qifscan.dynamics.observables import Observable
    from qifscan.scan.scan import Scan
    from qifscan.theory.rest import Rest

MOST_CHECKS = 4
"""Times that the step of a point is halved until two runs agree."""

SHRINKS, MOST_STUCK = 0.8, 2
"""A point is given up where so many comparisons, one after the other, found no less than this part of what
the one before it had found: of a chaotic run no step makes two agree."""

MOST_TOLD, MOST_TIMES = 2**26, 2**8
"""Steps of a run up to which a point is compared with finer ones; where it had more steps to begin with, so
many times as many. With exponents of four variables 2^26 steps take ten minutes."""

ALLOWED = 0.5
"""Two runs agree within this part of the tolerance."""

ASKED = 0.75
"""Two runs agree in what was asked for within this part of the tolerance: at order two the coarser is off by
4/3 of what they are apart."""

FEW_STEPS = 8
"""A window of fewer steps is compared, whatever the estimate: the deviations there are not of the state but
of the means of few values. That of the standard deviation falls with the square of the number of steps."""

ESTIMATE, ADDED = 3e-2, 3e1
"""Estimates, relative to the tolerance, that need no comparison: by themselves, and times the steps that are
remembered."""

ROUNDING = 6e-8
"""Relative rounding of a float32 step. Over the steps that a point remembers it may be half the tolerance."""

MOVING = 0.03
"""Part of that which it may be of a point that is not at rest: its standard deviation may be a hundredth of
the value, and has the error of the value."""

SMALL_STD = 0.01
"""Errors of a standard deviation, which may be far below the value, are relative to it and to this part
of the quadratic mean."""


def _of_values(value: Column, mean: Column, rate: bool) -> Column:
    return value if rate else np.maximum(value, mean)


def _of_deviations(value: Column, mean: Column, rate: bool) -> Column:
    return value + SMALL_STD * mean


STATISTICS: dict[str, Callable[[Column, Column, bool], Column]] = {
    "mean": _of_values,
    "std": _of_deviations,
    "min": _of_values,
    "max": _of_values,
    "final": _of_values,
}
"""What two runs are compared by, of every variable; and what a difference is relative to, from the size of
the number, the quadratic mean of the variable, and whether that is a rate."""


def compared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the observables that two runs of a model with these variables are compared by."""
    return tuple(f"{name}_{kind}" for name in names for kind in STATISTICS)


def comparable(scan: Scan) -> Scan:
    """Return a scan in float64 with all observables that runs are compared by, and its own."""
    always = compared(scan.mean_field.variable_names)
    wanted = (*always, *(name for name in scan.observables if name not in always))
    return scan.in_double().model_copy(update={"observables": wanted})


def remembered(modes: Column, unit: Column, dt: Column, steps: Column) -> Column:
    """Return over how many steps each point remembers an error: the time constant of its weakest mode."""
    weakest = np.fmin.reduce(np.abs(modes).reshape(len(unit), -1), axis=1)
    with np.errstate(all="ignore"):
        count = unit / (dt * weakest)
    return np.where(count < steps, count, steps)


@dataclass(frozen=True)
class Apart:
    """How far apart two runs are, relative, `(points,)`: in what all have, and in what was asked for."""

    state: Column
    asked: Column

    def with_rounding(self, rounding: Apart, without: Column) -> Apart:
        """Return the larger of these and of what rounding does, but for points that are in float64 by now."""
        return Apart(
            np.where(without, self.state, np.fmax(self.state, rounding.state)),
            np.where(without, self.asked, np.fmax(self.asked, rounding.asked)),
        )


def quadratic_means(rest: Rest, found: Mapping[str, Column]) -> dict[str, Column]:
    """Return the quadratic mean over the window of each variable: of v that of |pi tau r + i v|, and
    of others that are one group that of both.

    Errors are relative to the value or, if that is more, to this: a potential passes through 0. The rate does
    not, and its errors are relative to the rate alone.
    """
    model = rest.model
    own = [np.hypot(found[f"{name}_mean"], found[f"{name}_std"]) for name in model.variable_names]
    of_groups = rest.sizes_of_variables(tuple(own))
    each = zip(model.variables, own, of_groups, strict=True)
    return {v.name: alone if v.rate else whole for v, alone, whole in each}


def most_halvings(counted: Column, halvings: Column, redos: Column, steps: int) -> Column:
    """Return how often the base step is halved at most to compare points: no more than `counted`, from what
    they were halved by, some of it as they were run again."""
    begun_with = steps * 2.0 ** (halvings - redos.astype(np.int64))
    told = np.floor(np.log2(np.maximum(MOST_TOLD, MOST_TIMES * begun_with) / steps))
    most: Column = np.minimum(counted, told.astype(np.int64))
    return most


def stuck(found: Column, before: Column, times: Column) -> Column:
    """Return how many comparisons of each point in a row found no less than the one before."""
    more: Column = np.where(found > SHRINKS * before, times + 1, 0)
    return more


def apart(
    coarse: Mapping[str, Column],
    fine: Mapping[str, Column],
    asked: Mapping[str, Observable],
    rest: Rest,
    window: float,
) -> Apart:
    """Return how far two runs of points are apart; `window` is its length in ms."""
    state = np.zeros(len(rest))
    rates = {rate.name for rate in rest.model.rates}
    of: dict[str, Column] = {}
    for name, size in quadratic_means(rest, fine).items():
        for kind, scale in STATISTICS.items():
            key = f"{name}_{kind}"
            of[key] = _ratio(coarse[key], fine[key], scale(np.abs(fine[key]), size, name in rates))
            state = np.fmax(state, of[key])
    worst = np.zeros(len(rest))
    for key, row in asked.items():
        found = of.get(key)
        if found is None:
            found = _ratio(coarse[key], fine[key], row.scale(fine[key], rest.unit, window))
        worst = np.fmax(worst, found)
    return Apart(state, worst)


def states_apart(coarse: Column, fine: Column, rest: Rest, found: Mapping[str, Column]) -> Column:
    """Return how far states `(points, times, variables)` of two runs are apart at most, relative to what the
    run `found`."""
    worst = np.zeros(len(fine))
    rates = {rate.name for rate in rest.model.rates}
    for i, (name, size) in enumerate(quadratic_means(rest, found).items()):
        scale = _of_values(np.abs(fine[..., i]), size[:, None], name in rates)
        worst = np.fmax(worst, _ratio(coarse[..., i], fine[..., i], scale).max(axis=1))
    return worst


def _ratio(a: Column, b: Column, scale: Column) -> Column:
    with np.errstate(all="ignore"):
        ratio = np.abs(a.astype(np.float64) - b.astype(np.float64)) / scale
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
