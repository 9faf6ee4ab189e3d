"""Run points of a store once more at half of their steps, which is what verify judges their error by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qifscan.engine.schedule import Steps

if TYPE_CHECKING:
    from qifscan.arrays import Column
    from qifscan.engine.points import Points
    from qifscan.engine.schedule import Schedule


@dataclass(frozen=True)
class Finer:
    """Observables of points at half their step in float64, and the size that errors of each variable are
    relative to, in its own unit: of the final state."""

    observables: dict[str, Column]
    sizes: dict[str, Column]


def run_finer(points: Points, dt: Column, schedule: Schedule, shape: tuple[int, int]) -> Finer:
    """Run points at half of the steps `dt` (ms) that they had, in float64, along the same path of noise."""
    scan = points.scan
    first = points.steps()
    halvings = np.rint(np.log2(scan.protocol.base / dt.astype(np.float64))).astype(np.int64)
    steps = Steps(halvings + 1, first.noise_halvings)
    doubled = replace(points, scan=scan.in_double())
    result = doubled.run(steps, schedule, shape)
    sizes = points.rest.sizes_of_variables(tuple(result.final.T))
    return Finer(result.observables, dict(zip(points.rest.model.variable_names, sizes, strict=True)))
