"""What can be wrong with a scan beyond a field alone: one fault for each mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationInfo

from qifscan.dynamics.accumulators import SEGMENT, accumulators
from qifscan.dynamics.drive import DRIVES, DriveBase
from qifscan.dynamics.model import Model, Parameter
from qifscan.dynamics.models import model_named
from qifscan.dynamics.noise import ou_parameters
from qifscan.dynamics.observables import (
    RESERVED,
    THRESHOLDS,
    Observable,
    named,
    observables,
    variable_name,
)
from qifscan.errors import Fault, ScanError, one_of, show, unknown
from qifscan.scan.axes import repeated
from qifscan.scan.protocol import Protocol, Traces

if TYPE_CHECKING:
    from qifscan.scan.axes import Axis
    from qifscan.scan.scan import Scan


def scan_parameters(model: Model, drive: DriveBase | None) -> dict[str, Parameter]:
    """Return everything numeric that a scan of this model and drive can fix or make an axis."""
    rows = list(model.parameters)
    for variable in model.variables:
        rows += ou_parameters(variable)
    rows += drive.parameters() if drive is not None else ()
    rows += [
        Parameter(f"{v.name}_initial", None, v.unit, f"{v.meaning}, at the start of the run")
        for v in model.variables
    ]
    rows += THRESHOLDS
    return {row.name: row for row in rows}


MOST_TRACES = 1_000_000
"""Points that keep their trajectory: beyond any disk."""


def trace_faults(traces: Traces, axes: Mapping[str, Axis], replicates: int) -> list[Fault]:
    """Return the fault of more traces than can be listed."""
    sizes = {axis.name: len(axis) for axis in axes.values()} | {"replicate": replicates}
    counts = [math.prod(n for name, n in sizes.items() if name not in point) for point in traces.points]
    if sum(counts) <= MOST_TRACES:
        return []
    found = f"{sum(counts):,} points"
    return [Fault("traces.points", found, f"at most {MOST_TRACES:,}", "name values of more axes")]


def known_parameters(info: ValidationInfo) -> dict[str, Parameter]:
    """Return the parameters of the scan; if its drive is wrong those of any drive, to find what else is."""
    known = scan_parameters(model_named(info.data["model"]), info.data.get("drive"))
    if "drive" not in info.data:
        numbers = {f"drive_{p.name}" for kind in DRIVES.values() for p in kind.numbers}
        known |= {name: Parameter(name, None, "", "a number of the drive") for name in sorted(numbers)}
    return known


def observable_faults(names: Sequence[str], info: ValidationInfo) -> list[Fault]:
    """Return what is wrong with the observables of a scan of a known model."""
    model = model_named(info.data["model"])
    known = list(observables(model))
    faults = [unknown("observables", name, known) for name in names if name not in known and ":" not in name]
    if not names:
        faults.append(Fault("observables", "none", one_of(known), "name at least one"))
    again = repeated([variable_name(name) for name in names])
    if again is not None:
        faults.append(Fault("observables", f"{show(again)} twice", "each once"))
    if faults:
        return faults
    rows = named(model, names)
    taken = {*known, *scan_parameters(model, info.data.get("drive")), *info.data.get("axes", {})} | RESERVED
    for row in rows:
        if row.place:
            faults += _own_faults(row, model, taken)
    protocol, least = info.data.get("protocol"), 4 * SEGMENT
    spectral = any(row.spectral for row in rows)
    if protocol is not None and protocol.window_steps < least and spectral:
        hint = "three cycles or more of tens of steps each; make the window longer"
        found = f"{protocol.window_steps} steps"
        faults.append(Fault("protocol.window", found, f"at least {least} steps for a frequency", hint))
    return faults


def _own_faults(row: Observable, model: Model, taken: set[str]) -> list[Fault]:
    """Return what is wrong with an observable of a user's own."""
    if row.name in taken or row.name in model.variable_names:
        return [Fault("observables", f'"{row.place}"', "another name", f"{row.name} is taken in the dataset")]
    table = accumulators(model)
    if isinstance(row.accumulator, str) and row.accumulator not in table:
        where = f'observables: the accumulator of "{row.place}"'
        return [unknown(where, row.accumulator, table)]
    return []


def threshold_faults(names: Sequence[str], info: ValidationInfo) -> list[Fault]:
    """Return what is missing for observables of levels where no folds tell where these are."""
    rows = named(model_named(info.data["model"]), names)
    levels = [row.place or row.name for row in rows if row.thresholds]
    given = {
        *info.data.get("fixed", {}),
        *(n for axis in info.data.get("axes", {}).values() for n in axis.columns),
    }
    missing = [p.name for p in THRESHOLDS if p.name not in given]
    if model_named(info.data["model"]).rest is not None or not levels or not missing:
        return []
    hint = "the folds of a model without `rest` are not known; fix thresholds"
    return [Fault("observables", f"{show(levels[0])} without {', '.join(missing)}", "both thresholds", hint)]


LONGEST_NAME = 100
"""Characters of the name of an axis: it is that of a folder of the store, too."""


def name_faults(name: str, model: Model) -> list[Fault]:
    """Return what is wrong with the name of a zipped axis: it becomes a variable of the dataset."""
    where, variables = f"axes.{name[:40]}", model.variable_names
    if len(name) > LONGEST_NAME:
        found = f"a name of {len(name)} characters"
        return [Fault(where, found, f"at most {LONGEST_NAME}", "it becomes the name of a folder")]
    if not name.isidentifier():
        return [Fault(where, f"the name {show(name)}", "letters, digits and _, as of a variable")]
    taken = {*variables, *observables(model), *(f"{v}_trace" for v in variables)} | RESERVED
    if name in taken or name.startswith("trace_"):
        return [Fault(where, f"the name {show(name)}", "another one", "the dataset has a variable of it")]
    return []


def sweep_faults(sweep: str, axes: Sequence[Axis], model: Model) -> list[Fault]:
    """Return what is wrong with the name of the axis that is swept, or with sweeping this model."""
    if model.delay:
        hint = f"{model.name} remembers its past, which is no part of the state that a point hands on"
        return [Fault("protocol.sweep", show(sweep), "a model without a delay", hint)]
    where, known = "protocol.sweep", {axis.name: axis for axis in axes if axis.name != "direction"}
    if sweep not in known:
        owner = next((axis.name for axis in known.values() if sweep in axis.columns), None)
        if owner is not None:
            return [Fault(where, show(sweep), "the name of an axis", f'it is on the axis "{owner}"')]
        return [unknown(where, sweep, known, "axis") if known else Fault(where, show(sweep), "an axis")]
    start = [name for name in known[sweep].columns if name == "initial" or name.endswith("_initial")]
    if start:
        hint = "only the first point of a line starts from an initial state"
        return [Fault(where, f"an axis of {start[0]}", "an axis of parameters", hint)]
    return []


def initial_faults(
    model: Model,
    protocol: Protocol,
    axes: Mapping[str, Axis],
    fixed: Mapping[str, float],
    known: Mapping[str, Parameter],
) -> list[Fault]:
    """Return what is wrong with the initial state: given twice, or in part, or where there is no rest."""
    where, initial = "protocol.initial", protocol.initial
    columns = {name: column for axis in axes.values() for name, column in axis.columns.items()}
    given = list(initial) if isinstance(initial, dict) else []
    faults = [
        unknown(f"{where}.{name}", name, model.variable_names, "variable")
        for name in given
        if name not in model.variable_names
    ]
    named = [v for v in model.variable_names if f"{v}_initial" in columns.keys() | fixed.keys()]
    faults += [
        Fault(f"{where}.{v}", f"a number, and {v}_initial", "one of them", "take one of them out")
        for v in named
        if v in given
    ]
    is_named = initial != Protocol.model_fields["initial"].default and not given
    ways = {
        show(initial): is_named,
        "an axis of states": "initial" in columns,
        "numbers": bool(given or named),
    }
    chosen = [way for way, is_given in ways.items() if is_given]
    if len(chosen) > 1:
        faults.append(Fault(where, " and ".join(chosen), "one of them", "take the others out"))
    missing = [v for v in model.variable_names if v not in given and v not in named]
    if missing and (given or named) and not faults:
        has = ", ".join(v for v in model.variable_names if v not in missing)
        faults.append(Fault(where, f"a number for {has} only", f"one for {', '.join(missing)} too"))
    if faults or given or named:
        return faults
    with_input = [rate for rate in model.rates if rate.input_unit is not None]
    return [fault for rate in with_input for fault in _rest_faults(rate.population, axes, fixed, known)]


def _rest_faults(
    of: str, axes: Mapping[str, Axis], fixed: Mapping[str, float], known: Mapping[str, Parameter]
) -> list[Fault]:
    """A named state needs an equilibrium: delta + pi tau r_ou_mean above 0 of a population, everywhere."""
    names = f"r{of}_ou_mean", f"delta{of}", f"tau{of}"
    worst: dict[str, Any] = {names[0]: np.min, names[1]: np.min, names[2]: np.max}
    values: dict[str, Any] = {name: fixed.get(name, known[name].default) for name in names}
    for axis in axes.values():
        swept = [name for name in names if name in axis.columns]
        # Values that change together are taken together: at most one axis holds two of the three.
        values |= {n: axis.columns[n] if len(swept) > 1 else worst[n](axis.columns[n]) for n in swept}
    mean, delta, tau = (values[name] for name in names)
    if np.min(delta) <= 0 or np.min(tau) <= 0:
        return []
    width = delta + math.pi * tau * mean
    if np.min(width) > 0:
        return []
    at = np.argmin(width)
    mean, delta, tau = (np.broadcast_to(value, np.shape(width)).flat[at] for value in (mean, delta, tau))
    least = f"above -delta{of}/(pi tau{of}) = {-delta / (math.pi * tau):.4g}"
    expected = f"{least}: below there is no rest to start from"
    return [Fault(names[0], f"{mean:g}", expected, "give protocol.initial as numbers")]


SAFE = {"float32": 1e18, "float64": 1e150}
"""Size up to which the square of a parameter is a number of the precision, with room to spare: the equations
square v and r. What is above 0 by its domain is divided by, and has an inverse of that size."""


def check_precision(scan: Scan) -> None:
    """Raise `ScanError`, with a line for each, where values are too large or small to compute with."""
    most, initial, drive = SAFE[scan.precision], scan.protocol.initial, scan.drive
    given: dict[str, tuple[str, Any]] = {f"fixed.{name}": (name, value) for name, value in scan.fixed.items()}
    if isinstance(initial, dict):
        given |= {f"protocol.initial.{name}": (f"{name}_initial", x) for name, x in initial.items()}
    if drive is not None:
        given |= {f"drive.{p.name}": (f"drive_{p.name}", getattr(drive, p.name)) for p in drive.numbers}
    for axis in scan.axes.values():
        numbers = {name: column for name, column in axis.columns.items() if column.dtype.kind == "f"}
        given |= {f"axes.{axis.name}" + (f".{n}" if axis.zipped else ""): (n, x) for n, x in numbers.items()}
    hint = 'give precision = "float64"' if scan.precision == "float32" else ""
    known, faults = scan.parameters, []
    for where, (name, values) in given.items():
        values, least = np.atleast_1d(values), 0.0 if known[name].domain.holds(0.0) else 1.0 / most
        wrong = values[(abs(values) > most) | (abs(values) < least)]
        if len(wrong):
            size = f"from {least:g} to {most:g}" if least else f"of at most {most:g}"
            expected = f"a size {size}, which {scan.precision} can square"
            faults.append(Fault(where, f"{wrong[0]:g}", expected, hint))
    if faults:
        raise ScanError(faults)
