"""Cycles of twice the period, which begin where a multiplier is -1."""

from __future__ import annotations

import numpy as np

from qifscan.arrays import Array
from qifscan.limit_cycles.directions import with_direction
from qifscan.limit_cycles.steps import Met
from qifscan.periodic_orbits.orbits import Orbits


def twice(met: Met) -> tuple[Orbits, Orbits]:
    """Return cycles at period doublings run through twice, and the directions in which doubled cycles grow:
    that of the multiplier -1 on the first lap, the opposite on the second."""
    size = met.problem.size
    both = with_direction(met.problem, met.orbits, "PD", met.tangent)
    s = np.concatenate((0.5 * both.s, 0.5 + 0.5 * both.s[:, 1:]), axis=1)

    def laps(part: slice, sign: float) -> tuple[Array, Array]:
        u, stages = both.u[..., part], both.stages[..., part]
        whole = np.concatenate((u, sign * u[:, 1:]), axis=1)
        return whole, np.concatenate((stages, sign * stages), axis=1)

    scalars = met.orbits.scalars.copy()
    scalars[:, 0] *= 2.0
    return (
        Orbits(s, *laps(slice(0, size), 1.0), scalars),
        Orbits(s, *laps(slice(size, None), -1.0), 0.0 * scalars),
    )
