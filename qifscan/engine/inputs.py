"""What the compiled program reads of each point: constants, start, noise, all of it computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qifscan.dynamics.drive import DriveBase
from qifscan.dynamics.integrators import least_size
from qifscan.dynamics.model import absorbing
from qifscan.dynamics.noise import (
    average_constants,
    bridge_constants,
    distinct,
    ou_constants,
    point_keys,
    split_key,
)
from qifscan.engine.carries import Inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qifscan.arrays import Array, Column
    from qifscan.engine.program import Program
    from qifscan.engine.schedule import Steps
    from qifscan.theory.rest import Rest

DEPTHS = 16
"""Times that the step of a path of the noise can be halved."""

SMALL = 1e-3
"""Part of the size of slow variables at rest below which errors of a step are relative to that."""


def prepare(
    program: Program,
    drive: DriveBase | None,
    columns: Mapping[str, Column],
    rest: Rest,
    replicate: Column,
    seed: int,
    common: bool,
    base: float,
    steps: Steps,
) -> Inputs:
    """Return what the compiled program reads of each point, `(points,)` each, from its parameters.

    Everything that does not change in time is computed here, in float64, once per point.
    """
    model = program.model
    dtype = np.dtype(program.precision)
    dt, noise_dt = (
        np.asarray(base * 0.5**halvings, dtype=np.float64)
        for halvings in (steps.halvings, steps.noise_halvings)
    )
    still = absorbing(model, columns, program.still)
    constants = cast("dict[str, Column]", model.constants(still)) | ou_constants(model, still, noise_dt)
    constants |= program.integrator.prepare(still, rest.highest, dt)
    constants |= least_sizes(rest)
    if program.averaged:
        constants |= average_constants(model, still, dt)
    if program.levels:
        constants |= thresholds(columns, rest)
    path = bridge_constants(model, columns, noise_dt, DEPTHS) if program.bridged else {}
    constants, bridge = (
        {name: np.asarray(value).astype(dtype) for name, value in tree.items()} for tree in (constants, path)
    )
    # Times are compared and reduced in float64: float32 can't tell 10^5 ms from 10^5 ms + dt.
    driven = {} if drive is None else {p.name: columns[p.name] for p in drive.parameters()}
    driven |= {} if drive is None else drive.step_constants(columns, dt)
    state = tuple(value.astype(dtype) for value in initial_state(program, columns, rest))
    unnamed = {"down_threshold", "up_threshold"}
    naming = {} if common else {name: c for name, c in columns.items() if name not in unnamed}
    words = (
        point_keys(seed, naming, replicate) if program.noisy else np.zeros(len(replicate), dtype=np.uint64)
    )
    found: dict[str, Any] = {
        "bridge": bridge,
        "checkpoint": None,
        "constants": constants | driven,
        "delay": columns[model.delay] if program.history else None,
        "key": split_key(words),
        "state": state,
    }
    return Inputs(**found)


def thresholds(columns: Mapping[str, Column], rest: Rest) -> dict[str, Array]:
    """Return the lower and the upper threshold of points: their own, or the rates at their folds."""
    names = ("down_threshold", "up_threshold")
    if all(name in columns for name in names):
        return {name: columns[name] for name in names}
    # The mean of the noise on r widens the distribution, and moves the folds as it moves the equilibria.
    folds_at = dict(zip(names, rest.fold_rates(rest.model.with_inputs(columns)), strict=True))
    return {name: columns.get(name, folds_at[name]) for name in names}


def least_sizes(rest: Rest) -> dict[str, Array]:
    """Return the least squared sizes of the groups of variables but the first, whose rate is never 0.

    They are a part of the smallest at an equilibrium; 0 of points without one.
    """
    found = {}
    for group, sizes in enumerate(rest.sizes(rest.states)[1:], 1):
        there = np.where(np.isfinite(sizes), sizes, np.inf).min(axis=1, initial=np.inf)
        found[least_size(group)] = np.where(np.isfinite(there), SMALL**2 * there, 0.0)
    return found


def initial_state(program: Program, columns: Mapping[str, Column], rest: Rest) -> tuple[Array, ...]:
    """Return the state that points start from, `(points,)` of each variable: numbers, or a named state."""
    names = program.model.variable_names
    if "initial" not in columns:
        return tuple(columns[f"{name}_initial"] for name in names)
    labels, which = distinct(columns["initial"])
    if len(labels) == 1:
        return rest.named(str(labels[0]))
    state = tuple(np.empty(len(which)) for _ in names)
    for k, label in enumerate(labels):
        chosen = which == k
        for y, values in zip(state, rest.take(chosen).named(str(label)), strict=True):
            y[chosen] = values
    return state
