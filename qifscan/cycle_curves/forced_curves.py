"""Responses to a sine from amplitude 0 on: what curves of their bifurcations begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qifscan.arrays import Array, Index
from qifscan.dynamics.drive import Sine
from qifscan.dynamics.model import Model
from qifscan.errors import Fault, ScanError, show
from qifscan.lazy import LazyModule
from qifscan.limit_cycles.steps import tangents
from qifscan.periodic_orbits.collocation import INTERVALS
from qifscan.periodic_orbits.delayed_multipliers import problem_of
from qifscan.periodic_orbits.orbits import Orbits, from_function
from qifscan.periodic_orbits.problem import AMPLITUDE, Problem
from qifscan.theory import equilibria

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

PERIOD, PHASE = "drive_period", "drive_phase"


def with_sine(model: Model, drive: object, kind: str, along: str | None, through: str) -> Model:
    """Return a model with the numbers of a sine among its parameters, or raise `ScanError` for what responses
    have no curves of."""
    if not isinstance(drive, Sine):
        hint = "e.g. drive=qs.Sine(amplitude=1.0, period=50.0)"
        raise ScanError([Fault("drive", show(drive), "a Sine", hint)])
    faults = []
    if kind in ("period", "homoclinic"):
        faults.append(Fault("kind", f'"{kind}"', "LPC, PD or NS with a drive", "it has its own period"))
    if along not in (None, AMPLITUDE):
        faults.append(Fault("along", show(along), f'"{AMPLITUDE}" with a drive'))
    if through in (AMPLITUDE, PHASE):
        faults.append(Fault("through", show(through), f'"{PERIOD}" or a parameter of the model'))
    if faults:
        raise ScanError(faults)
    return replace(model, parameters=(*model.parameters, *drive.parameters()))


def response_starts(model: Model, flat: Mapping[str, Array]) -> tuple[Index, Problem, Orbits, Orbits]:
    """Return the equilibria at sets of parameters, among them those of a sine: of which set each is, their
    problem, the responses of amplitude 0 that they are, and in which direction these go as it grows, that of
    linear response."""
    own = {name: values for name, values in flat.items() if not name.startswith("drive_")}
    places = {name: xr.DataArray(values, dims="place") for name, values in own.items()}
    rest = equilibria.on_graph(model, places, distances=False)
    states = np.stack([rest[name].values for name in model.variable_names], axis=-1)
    who, rank = np.nonzero(np.isfinite(states[..., 0]))
    state = states[who, rank]
    given = {name: values[who] for name, values in own.items()}
    drive = (0.0 * given[next(iter(given))], flat[PHASE][who], np.ones(len(who)))
    problem = replace(problem_of(model, given, (AMPLITUDE,)), drive=drive, fixed=True)
    mesh = np.tile(np.linspace(0.0, 1.0, INTERVALS + 1), (len(who), 1))
    scalars = np.stack((flat[PERIOD][who], drive[0]), axis=1)
    orbits = from_function(mesh, lambda s: state[:, None] + 0.0 * s[..., None], scalars)
    grows = orbits.times(np.zeros(len(who)))
    grows.scalars[:, 1] = 1.0
    return who, problem, orbits, tangents(problem, orbits, grows, np.ones(1))
