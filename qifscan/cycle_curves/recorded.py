"""Numbers of the user's own along curves of cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from qifscan.arrays import Array
from qifscan.errors import Fault, ScanError, show
from qifscan.periodic_orbits.gauss import NODES, lagrange
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import Problem

Record = Callable[[Array, Mapping[str, Array], Mapping[str, float]], float]
"""A number of a cycle: of times in ms from 0 to the period, the variables at these, and the parameters."""

_WITHIN = 8
"""Places in an interval of the mesh."""


def checked(record: Any, taken: Iterable[str]) -> dict[str, Record]:
    """Return what is to be recorded, or raise `ScanError`; `taken` are the names of other columns."""
    if record is None:
        return {}
    if not isinstance(record, Mapping):
        raise ScanError([Fault("record", show(record), "names with functions of t, state, parameters")])
    faults = []
    known = set(taken)
    for name, function in record.items():
        if not isinstance(name, str) or not name.isidentifier():
            faults.append(Fault("record", show(name), "names as Python has them"))
        elif name in known:
            faults.append(Fault("record", f'"{name}"', "another name: there is a column of this one"))
        elif not callable(function):
            faults.append(Fault(f"record {name}", show(function), "a function of t, state, parameters"))
    if faults:
        raise ScanError(faults)
    return dict(record)


def recorded(problem: Problem, cycles: Orbits, record: Mapping[str, Record]) -> dict[str, Array]:
    """Return the user's numbers of cycles, `(orbits,)` each."""
    found = {name: np.full(len(cycles.period), np.nan) for name in record}
    if not record:
        return found
    inside = np.linspace(0.0, 1.0, _WITHIN + 1)[:-1]
    values = (lagrange(NODES, inside) @ cycles.nodes).reshape(len(cycles.s), -1, problem.size)
    states = np.concatenate((values, cycles.u[:, -1:]), axis=1)
    places = (cycles.s[:, :-1, None] + cycles.steps[:, :, None] * inside).reshape(len(states), -1)
    times = np.concatenate((places, np.ones((len(states), 1))), axis=1) * cycles.period[:, None]
    varied = dict(zip(problem.along, cycles.scalars[:, 1:].T, strict=False))
    for k in range(len(states)):
        given = {name: float(column[k]) for name, column in {**problem.parameters, **varied}.items()}
        for name, function in record.items():
            # Copies: what one function sorts in place the next one does not see.
            state = dict(zip(problem.model.variable_names, states[k].T.copy(), strict=True))
            found[name][k] = _number(name, function, times[k].copy(), state, dict(given))
    return found


def _number(
    name: str, function: Record, t: Array, state: Mapping[str, Array], given: Mapping[str, float]
) -> float:
    try:
        return float(function(t, state, given))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ScanError([Fault(f"record {name}", what, "a number of t, state and parameters")]) from error
