"""Run points of a store once more at half of their steps, which is what verify judges their error by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qifscan.engine import convergence
from qifscan.engine.schedule import Steps

if TYPE_CHECKING:
    from qifscan.arrays import Column
    from qifscan.engine.points import Points
    from qifscan.engine.schedule import Schedule


@dataclass(frozen=True)
class Finer:
    """Observables of points at half their step in float64, and the size that errors of each variable are
    relative to, in its own unit: of the final state or, if that is more, the quadratic mean of the window."""

    observables: dict[str, Column]
    sizes: dict[str, Column]


def run_finer(points: Points, dt: Column, schedule: Schedule, shape: tuple[int, int]) -> Finer:
    """Run points at half of the steps `dt` (ms) that they had, in float64, along the same path of noise."""
    scan = points.scan
    first = points.steps()
    halvings = np.rint(np.log2(scan.protocol.base / dt.astype(np.float64))).astype(np.int64)
    steps = Steps(halvings + 1, first.noise_halvings)
    rest, names = points.rest, points.rest.model.variable_names
    # With mean and standard deviation of every variable, whatever the store has.
    result = replace(points, scan=convergence.comparable(scan)).run(steps, schedule, shape)
    found = result.observables
    quadratic = tuple(np.hypot(found[f"{name}_mean"], found[f"{name}_std"]) for name in names)
    each = zip(
        rest.sizes_of_variables(tuple(result.final.T)), rest.sizes_of_variables(quadratic), strict=True
    )
    sizes = [np.fmax(final, whole) for final, whole in each]
    return Finer(found, dict(zip(names, sizes, strict=True)))
