"""`Scan`: what is asked for - axes, parameters, protocol, noise, drive, observables - as frozen data."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from qifscan.axes import Axis, Column, find, labels_of, read_axis, read_numbers, repeated, unknown_parameter
from qifscan.definition import Definition, Finite, raise_if_any, show
from qifscan.drive import Drive, DriveBase
from qifscan.errors import Fault, ScanError, near, one_of
from qifscan.integrate import INTEGRATORS
from qifscan.models import MODELS, Model, Parameter
from qifscan.noise import ou_parameters
from qifscan.observables import SAMPLE_STEPS, SEGMENT, THRESHOLDS, observables
from qifscan.theory import NAMED_STATES

NUMBERS_VERSION = 1
"""Raised whenever the same scan would give other numbers; part of the fingerprint."""

MAX_STEPS = 2**31 - 2
"""The step is a 32-bit counter."""


class Protocol(Definition):
    """How a point is run: `transient` ms unmeasured, then `window` ms measured, in steps of `dt` ms.

    `initial` is a named state (`"rest"`: the stable equilibrium of lowest rate; `"down"`, `"up"`: the
    equilibrium of lowest, highest rate, at the point's own parameters, without the drive, with the mean of
    the noise) or numbers, e.g. `{"r": 0.1, "v": -2.0}`. `integrator` is one of "rk4", "heun", "euler",
    "exp_auto". Times in ms; t = 0 is the start of the transient. Steps are rounded up, so that neither
    part is shorter than asked for.
    """

    transient: Annotated[Finite, Field(ge=0)] = 100.0
    window: Annotated[Finite, Field(gt=0)] = 100.0
    # At dt = 0.01 tau classical Runge-Kutta keeps every stable state of eta in [-10, 10], J in [0, 30]
    # stable (NaN-free and within 1e-3), and its price is twice Heun's.
    dt: Annotated[Finite, Field(gt=0)] = 0.01
    initial: str | dict[str, Finite] = "rest"
    integrator: str = "rk4"

    @field_validator("integrator")
    @classmethod
    def _known_integrator(cls, value: str) -> str:
        if value not in INTEGRATORS:
            raise_if_any(
                [Fault("integrator", f'"{value}"', one_of(INTEGRATORS), near(value, list(INTEGRATORS)))]
            )
        return value

    @field_validator("dt")
    @classmethod
    def _step_fits(cls, value: float, info: ValidationInfo) -> float:
        window, transient = info.data.get("window", math.inf), info.data.get("transient", 0.0)
        if value > window:
            hint = "make dt smaller or the window longer"
            raise_if_any([Fault("window", f"{window:g} ms", f"at least one step, dt = {value:g} ms", hint)])
        if math.isfinite(window) and (window + transient) / value > MAX_STEPS:
            found = f"{(window + transient) / value:.3g} steps of {value:g} ms"
            raise_if_any(
                [Fault("dt", found, f"at most {MAX_STEPS:.3g} steps", "make dt larger or the run shorter")]
            )
        return value

    @property
    def transient_steps(self) -> int:
        """Steps before the window."""
        return _steps(self.transient, self.dt)

    @property
    def window_steps(self) -> int:
        """Steps in the window."""
        return _steps(self.window, self.dt)


def _steps(duration: float, dt: float) -> int:
    ratio = duration / dt
    nearest = round(ratio)
    # 100 / 0.01 is not a whole number in binary; a remainder of rounding is no further step.
    return nearest if abs(ratio - nearest) <= 1e-9 * max(nearest, 1) else math.ceil(ratio)


class Traces(Definition):
    """Which points keep their trajectory: `points` by axis values, every `every`-th step.

    Each entry of `points` names values that are on the axes, e.g. `{"eta": -5.0, "J": 15.0}`; an axis that
    it leaves out means all of its values. A zipped axis is named by its index, `replicate` likewise.
    """

    points: tuple[dict[str, Any], ...] = Field(min_length=1)
    every: Annotated[int, Field(ge=1)] = 1


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


class Scan(Definition):
    """A scan: a grid of parameter values, what happens at each point, and what is measured.

    `axes` maps a parameter to its values, in the order of the dimensions of the dataset: a list or array,
    `{"linspace": [first, last, count]}`, `{"geomspace": [...]}`; or a new name to several parameters that
    change together (a zipped axis). `points` is a list of parameter sets, or a mapping of equal columns: a
    zipped axis named `point`, before the others. The parameter `initial` can be an axis of named states.
    `fixed` holds other parameters; what is named nowhere has its default. `replicates` > 1 adds the last
    dimension `replicate`. `noise` is "independent" (a path of its own for every point and replicate) or
    "common" (one path per replicate, the same at every point). `precision` is "float32" or "float64".

    Parameters: those of the model (`tau, eta, delta, J`), `<variable>_ou_mean`, `_ou_sigma`, `_ou_tau` for r
    and v, `drive_<number>` of the drive, `r_initial`, `v_initial`, `down_threshold`, `up_threshold`.

    Raises `ScanError` with one line for every mistake.
    """

    title: str = ""
    model: str = "qif"
    drive: Drive | None = None
    protocol: Protocol = Field(default_factory=Protocol)
    points: Any = None
    axes: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    fixed: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    replicates: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    noise: Literal["independent", "common"] = "independent"
    observables: tuple[str, ...] = Field(default=("r_mean", "r_std", "r_min", "r_max"), validate_default=True)
    traces: Traces | None = None
    precision: Literal["float32", "float64"] = "float32"

    # pydantic validates in the order of the fields; each validator sees what came before and was right.

    @field_validator("drive", "protocol", "traces", mode="wrap")
    @classmethod
    def _part(cls, value: Any, handler: Any, info: ValidationInfo) -> Any:
        """Put the name of the part before its mistakes."""
        try:
            return handler(value)
        except ScanError as error:
            raise_if_any(
                [Fault(f"{info.field_name}.{f.where}", f.found, f.expected, f.hint) for f in error.faults]
            )
        raise AssertionError("unreachable")

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value not in MODELS:
            raise_if_any([Fault("model", f'"{value}"', one_of(MODELS), near(value, list(MODELS)))])
        return value

    @field_validator("points")
    @classmethod
    def _points_as_columns(cls, value: Any) -> Any:
        if value is None or isinstance(value, Mapping):
            return value
        if hasattr(value, "to_dict"):
            return {str(name): column for name, column in value.to_dict("list").items()}
        rows = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
        if not rows or not all(isinstance(row, Mapping) for row in rows):
            raise_if_any([Fault("points", show(value), "a list of parameter sets, or a mapping of columns")])
        keys = list(rows[0])
        for i, row in enumerate(rows):
            if set(row) != set(keys):
                raise_if_any(
                    [
                        Fault(
                            f"points[{i}]",
                            f"parameters {sorted(row)}",
                            f"the same as points[0], {sorted(keys)}",
                        )
                    ]
                )
        return {key: [row[key] for row in rows] for key in keys}

    @field_validator("axes")
    @classmethod
    def _resolved_axes(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Axis]:
        given = dict(value)
        if info.data.get("points") is not None:
            given = {"point": info.data["points"], **given}
        known = _known(info)
        if known is None:
            return {}
        faults: list[Fault] = []
        axes = {name: read_axis(name, entry, known, faults) for name, entry in given.items()}
        owners: dict[str, str] = {}
        for axis in axes.values():
            for column in axis.columns:
                if column in owners:
                    faults.append(
                        Fault(f"axes.{axis.name}", f'"{column}" again', f"once, in axes.{owners[column]}")
                    )
                owners[column] = axis.name
        raise_if_any(faults)
        return axes

    @field_validator("fixed")
    @classmethod
    def _resolved_fixed(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, float]:
        known = _known(info)
        if known is None:
            return {}
        faults: list[Fault] = []
        swept = {column: axis.name for axis in info.data.get("axes", {}).values() for column in axis.columns}
        for name, number in value.items():
            where = f"fixed.{name}"
            if name == "initial":
                faults.append(Fault(where, show(number), "a number", "the initial state is protocol.initial"))
            elif name not in known:
                faults.append(unknown_parameter(where, name, list(known)))
            elif name in swept:
                hint = f"take it out of fixed or out of axes.{swept[name]}"
                faults.append(Fault(where, f"{show(number)} and an axis", "one of them", hint))
            else:
                read_numbers(where, [number], known[name], faults)
        raise_if_any(faults)
        return {name: float(number) + 0.0 for name, number in value.items()}

    @field_validator("observables")
    @classmethod
    def _known_observables(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "model" not in info.data:
            return value
        known = list(observables(MODELS[info.data["model"]]))
        faults = [
            Fault("observables", f'"{name}"', one_of(known), near(name, known))
            for name in value
            if name not in known
        ]
        if not value:
            faults.append(Fault("observables", "none", "at least one", one_of(known)))
        again = repeated(value)
        if again is not None:
            faults.append(Fault("observables", f'"{again}" twice', "each once"))
        protocol = info.data.get("protocol")
        least = 4 * SEGMENT
        if protocol is not None and protocol.window_steps < least and any("frequency" in n for n in value):
            samples = least // SAMPLE_STEPS
            hint = f"a spectrum averages {SAMPLE_STEPS} steps into a sample and needs {samples} samples"
            found = f"{protocol.window_steps} steps"
            faults.append(Fault("protocol.window", found, f"at least {least} steps for a frequency", hint))
        raise_if_any(faults)
        return value

    @field_validator("traces")
    @classmethod
    def _traced_points_exist(cls, value: Traces | None, info: ValidationInfo) -> Traces | None:
        if value is None or "axes" not in info.data or "replicates" not in info.data:
            return value
        faults: list[Fault] = []
        labels = labels_of(info.data["axes"], info.data["replicates"])
        for i, point in enumerate(value.points):
            find(f"traces.points[{i}]", point, labels, faults)
        raise_if_any(faults)
        return value

    @field_validator("precision", mode="after")
    @classmethod
    def _initial_state_is_whole(cls, value: str, info: ValidationInfo) -> str:
        # Registered on the last field, so that axes, fixed and protocol are all there.
        if all(part in info.data for part in ("model", "protocol", "axes", "fixed")):
            raise_if_any(_initial_faults(info.data))
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scan) and self.definition() == other.definition()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def from_toml(cls, path: str | Path) -> Scan:
        """Read a scan from a TOML file; mistakes name the file, and the line where it does not parse."""
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScanError(
                [Fault(str(path), error.strerror or str(error), "a readable TOML file")]
            ) from None
        except UnicodeDecodeError as error:
            raise ScanError(
                [Fault(str(path), f"a byte that is not UTF-8 at {error.start}", "TOML text")]
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise ScanError([Fault(str(path), str(error), "TOML")]) from None
        try:
            return cls(**data)
        except ScanError as error:
            raise ScanError(
                Fault(f"{path}: {f.where}", f.found, f.expected, f.hint) for f in error.faults
            ) from None

    @classmethod
    def from_json(cls, text: str) -> Scan:
        """Read a scan from the JSON that `to_json` wrote."""
        data = json.loads(text)
        data.pop("numbers_version", None)
        return cls(**data)

    def definition(self) -> dict[str, Any]:
        """Return the resolved scan as JSON data: every default filled in, every axis as values."""
        data = self.model_dump(mode="json", exclude={"axes", "points"})
        data["axes"] = {axis.name: axis.definition() for axis in self.axes.values()}
        data["numbers_version"] = NUMBERS_VERSION
        return data

    def to_json(self) -> str:
        """Return the resolved scan as JSON."""
        return json.dumps(self.definition(), sort_keys=False)

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that determines the numbers: all of the resolved scan but its title."""
        data = {key: value for key, value in self.definition().items() if key != "title"}
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every numeric parameter of this scan, by name."""
        return scan_parameters(MODELS[self.model], self.drive)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension of the dataset, in order; `replicate` is last, if there are several."""
        return {name: len(labels) for name, labels in labels_of(self.axes, self.replicates).items()}

    @property
    def size(self) -> int:
        """Number of points, replicates included."""
        return math.prod(self.sizes.values())

    @property
    def noisy(self) -> tuple[str, ...]:
        """Variables that get noise anywhere in the scan: their sigma is an axis, or fixed above 0."""
        swept = {column for axis in self.axes.values() for column in axis.columns}
        names = MODELS[self.model].variable_names
        return tuple(n for n in names if f"{n}_ou_sigma" in swept or self.fixed.get(f"{n}_ou_sigma", 0.0) > 0)

    @property
    def trace_indices(self) -> list[tuple[int, ...]]:
        """Index along every dimension of each point that keeps its trajectory, without repetition."""
        if self.traces is None:
            return []
        labels = labels_of(self.axes, self.replicates)
        chosen = [
            index
            for i, point in enumerate(self.traces.points)
            for index in find(f"traces.points[{i}]", point, labels, [])
        ]
        return list(dict.fromkeys(chosen))

    def select(self, **labels: Any) -> list[tuple[int, ...]]:
        """Return the index of every point at these axis values; an axis left out means all its values.

        Raises `ScanError` for a dimension that is not there or a value that is not on its axis.
        """
        faults: list[Fault] = []
        found = find("point", labels, labels_of(self.axes, self.replicates), faults)
        if faults:
            raise ScanError(faults)
        return found

    def columns(self, indices: Sequence[np.ndarray[Any, Any]]) -> dict[str, Column]:
        """Return every parameter at the given points, `(points,)` each: float64, and `initial` as names.

        `indices` has one integer array `(points,)` for each dimension of `sizes`, in that order.
        """
        count = len(indices[0]) if indices else 1
        columns: dict[str, Column] = {
            name: np.full(count, self.fixed.get(name, p.default))
            for name, p in self.parameters.items()
            if self.fixed.get(name, p.default) is not None
        }
        for axis, index in zip(self.axes.values(), indices, strict=False):
            columns |= {name: np.ascontiguousarray(column[index]) for name, column in axis.columns.items()}
        initial = self.protocol.initial
        numbers = [f"{name}_initial" for name in MODELS[self.model].variable_names]
        if isinstance(initial, dict):
            columns = {f"{k}_initial": np.full(count, x) for k, x in initial.items()} | columns
        elif "initial" not in columns and not all(name in columns for name in numbers):
            columns["initial"] = np.full(count, initial)
        return columns


def _known(info: ValidationInfo) -> dict[str, Parameter] | None:
    if "model" not in info.data or "drive" not in info.data:
        return None
    return scan_parameters(MODELS[info.data["model"]], info.data["drive"])


def _initial_faults(data: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the initial state: an unknown name, or numbers for some variables only."""
    variables = MODELS[data["model"]].variable_names
    initial = data["protocol"].initial
    swept = {column for axis in data["axes"].values() for column in axis.columns}
    numbers = {name for name in variables if f"{name}_initial" in swept | set(data["fixed"])}
    if isinstance(initial, dict):
        unknown = [name for name in initial if name not in variables]
        if unknown:
            return [Fault("protocol.initial", f'unknown variable "{n}"', one_of(variables)) for n in unknown]
        numbers |= set(initial)
    elif initial not in NAMED_STATES:
        hint = near(initial, list(NAMED_STATES))
        return [Fault("protocol.initial", f'"{initial}"', f"{one_of(NAMED_STATES)}, or numbers", hint)]
    missing = [name for name in variables if name not in numbers]
    if numbers and "initial" in swept:
        return [Fault("axes.initial", "named states and numbers", "one of them", "take one of them out")]
    if numbers and missing:
        found = f"a number for {', '.join(sorted(numbers))} only"
        return [Fault("protocol.initial", found, f"one for {', '.join(variables)}", f"add {missing[0]}")]
    return [] if numbers else _mean_input_faults(data)


def _mean_input_faults(data: Mapping[str, Any]) -> list[Fault]:
    """A named state needs an equilibrium: delta + pi tau r_ou_mean above 0."""
    columns = {n: c for axis in data["axes"].values() for n, c in axis.columns.items()}
    known = scan_parameters(MODELS[data["model"]], data["drive"])

    def least(name: str, pick: Any = np.min) -> float:
        if name in columns:
            return float(pick(columns[name]))
        return float(data["fixed"].get(name, known[name].default))

    mean = least("r_ou_mean")
    width = least("delta") + math.pi * least("tau", np.max) * mean
    if mean < 0 and width <= 0:
        expected = "above -delta/(pi tau), or there is no equilibrium to start from"
        return [Fault("r_ou_mean", f"{mean:g}", expected, "give protocol.initial as numbers")]
    return []
