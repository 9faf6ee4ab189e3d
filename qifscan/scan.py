"""`Scan`: what is asked for - axes, parameters, protocol, noise, drive, observables - as frozen data."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from qifscan import record
from qifscan.axes import (
    DIRECTIONS,
    Axis,
    Column,
    find,
    labels_of,
    locate,
    number,
    read_axis,
    read_number,
    read_zipped,
    repeated,
    unknown_parameter,
)
from qifscan.catalogue import model_named, source_hash, stored_model
from qifscan.definition import KIND, Definition, Finite, Integer, ordered, raise_if_any
from qifscan.drive import DRIVES, Drive, DriveBase, Sine
from qifscan.errors import (
    AS_MS,
    Fault,
    ModelNotImported,
    ScanError,
    StoreError,
    UnknownModel,
    counted,
    is_time,
    one_of,
    short,
    show,
    unknown,
)
from qifscan.integrate import INTEGRATORS, integrators_of
from qifscan.models import Model, Parameter
from qifscan.noise import ou_parameters
from qifscan.observables import RESERVED, SEGMENT, THRESHOLDS, observables
from qifscan.place import AnyPath, local
from qifscan.printed import Printed, span
from qifscan.rhythm import SAMPLE_STEPS
from qifscan.theory import NAMED_STATES
from qifscan.toml import as_toml

NUMBERS_VERSION = 9
"""Raised whenever the same scan would give other numbers; part of the fingerprint."""

MAX_STEPS = 2**30
"""The step is a 32-bit counter, and is added to."""

BASE_STEP = 0.05
"""Step that dt = "auto" halves, ms: what a population of tau = 1 ms at rest at a low rate needs. Runs of all
points stop together at its multiples, so that times and traces are those of one grid."""

MOST_HALVINGS = 10
"""Down to 5e-5 ms."""


DEFAULT_OBSERVABLES = ("mean, std, min and max of the rates",)
"""What stands for the default until the model is known."""


def _step(value: Any) -> Any:
    """Return a step as it may be given: "auto", or a number above 0."""
    if isinstance(value, str) and value == "auto":
        return value
    step = number(value)
    if step is None or step <= 0:
        hint = AS_MS if is_time(value) else ""
        raise_if_any([Fault("dt", show(value), '"auto", or a number above 0', hint)])
    return step


class Protocol(Definition):
    """How a point is run: `transient` ms unmeasured, then `window` ms measured, in steps of `dt` ms.

    Times are in ms; t = 0 is the start of the transient. Steps are rounded up, so that neither part is
    shorter than asked for.

    Parameters
    ----------
    transient
        Time before the measurement.
    window
        Time that is measured.
    dt
        "auto", or a number, the same at every point. With "auto" each point has a step of its own, 0.05 ms
        halved until it resolves the point's equilibria, start, noise and drive, and is run again at half of
        it, up to four times (seven, if the model has slow variables), while the estimated relative error is
        above `tolerance`.
    tolerance
        Relative error above which a point is run again, and at last flagged `under_resolved`.
    initial
        A named state: "rest", the stable equilibrium of lowest rate; "down", "up", the equilibrium of
        lowest, highest rate, at the point's own parameters, without the drive, with the mean of the noise.
        Where it is not stable, or for "rest" none is, the state beside it with 1.01 times its rate. Or a
        number for every variable, e.g. `{"r": 0.1, "v": -2.0}`.
    integrator
        "riccati", "rk4", "heun", "euler", "exp_auto" (the first and the last are of the plain model alone),
        or "auto", the first of these that the model has.
    negative_rate
        Noise on a rate can take it below 0: "leave" it there, or "reflect" it, which turns its sign. Either
        way the steps are counted and the point is flagged.
    sweep
        The name of an axis along which each point starts where its neighbour ended, for hysteresis: once to
        higher values and once to lower ones, along a further dimension `direction` ("up", "down"). The first
        point of a line starts from `initial`. At each point time starts at 0 and the noise anew.
    """

    transient: Annotated[Finite, Field(ge=0)] = 100.0
    window: Annotated[Finite, Field(gt=0)] = 100.0
    dt: Annotated[Literal["auto"] | float, BeforeValidator(_step)] = Field("auto", validate_default=True)
    tolerance: Annotated[Finite, Field(gt=0, lt=1)] = 1e-3
    initial: str | dict[str, Finite] = "rest"
    integrator: str = "auto"
    negative_rate: Literal["leave", "reflect"] = "leave"
    sweep: str | None = None

    @field_validator("integrator")
    @classmethod
    def _known_integrator(cls, value: str) -> str:
        known = ("auto", *INTEGRATORS)
        raise_if_any([] if value in known else [unknown("integrator", value, known)])
        return value

    @field_validator("initial", mode="before")
    @classmethod
    def _name_or_numbers(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            wrong = {name: given for name, given in value.items() if number(given) is None}
            hints = {name: AS_MS if is_time(given) else "" for name, given in wrong.items()}
            raise_if_any(
                [Fault(f"initial.{n}", show(x), "a finite number", hints[n]) for n, x in wrong.items()]
            )
        elif not isinstance(value, str):
            expected = f"{one_of(NAMED_STATES)}, or a number for every variable"
            raise_if_any([Fault("initial", show(value), expected)])
        elif value not in NAMED_STATES:
            raise_if_any([unknown("initial", value, NAMED_STATES)])
        return value

    @field_validator("dt")
    @classmethod
    def _step_fits(cls, given: Any, info: ValidationInfo) -> Any:
        value = BASE_STEP if given == "auto" else given
        window, transient = info.data.get("window", math.inf), info.data.get("transient", 0.0)
        if value > window:
            hint = "make dt smaller or the window longer"
            raise_if_any([Fault("window", f"{window:g} ms", f"at least one step, dt = {value:g} ms", hint)])
        if math.isfinite(window) and (window + transient) / value > MAX_STEPS:
            found = f"{(window + transient) / value:.3g} steps of {value:g} ms"
            raise_if_any(
                [Fault("dt", found, f"at most {MAX_STEPS:.3g} steps", "make dt larger or the run shorter")]
            )
        return given

    @property
    def in_words(self) -> str:
        """The times, the step, the sweep."""
        step = "dt auto" if self.dt == "auto" else f"dt {self.dt:g} ms"
        swept = f"; {self.sweep} is swept" if self.sweep else ""
        times = f"{self.transient:g} ms, then {self.window:g} ms measured"
        return f"{times}; {step}, {self.integrator}{swept}"

    @property
    def base(self) -> float:
        """The step that is halved where that is needed, ms: `dt`, if it is a number."""
        return BASE_STEP if self.dt == "auto" else float(self.dt)

    @property
    def transient_steps(self) -> int:
        """Base steps before the window."""
        return _steps(self.transient, self.base)

    @property
    def window_steps(self) -> int:
        """Base steps in the window."""
        return _steps(self.window, self.base)

    @property
    def sample_steps(self) -> int:
        """Base steps in one sample of a spectrum."""
        return 1 if self.dt == "auto" else SAMPLE_STEPS

    @property
    def most_halvings(self) -> int:
        """How often the base step may be halved, so that the steps of the run can still be counted."""
        if self.dt != "auto":
            return 0
        return min(MOST_HALVINGS, int(math.log2(MAX_STEPS / (self.transient_steps + self.window_steps))))


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

    points: Annotated[tuple[dict[str, Any], ...], BeforeValidator(ordered), Field(min_length=1)]
    every: Annotated[Integer, Field(ge=1)] = 1


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


class Scan(Printed, Definition):
    """A scan: a grid of parameter values, what happens at each point, and what is measured.

    It is frozen data; `run` runs it. What can be an axis, or fixed: the parameters of the model (`tau, eta,
    delta, J`), of the noise on r and v (`<variable>_ou_mean`, `_ou_sigma`, `_ou_tau`), of the drive
    (`drive_<number>`), `r_initial`, `v_initial`, `down_threshold`, `up_threshold`.

    Parameters
    ----------
    title
        Any text; no part of the fingerprint.
    model
        The name of a model (`models` lists them), or "package.module:variable", a `Model` of your own that
        can be imported.
    axes
        Values by parameter, in the order of the dimensions of the dataset: a list or array,
        `{"linspace": [first, last, count]}`, `{"geomspace": [...]}`; or a new name with several parameters
        that change together, a zipped axis. `initial` can be an axis of named states. With `protocol.sweep`
        there is an axis `direction` more, the last one unless given: ["up", "down"]. Without axes the scan is
        a single point.
    points
        A list of parameter sets, or a mapping of equal columns: a zipped axis `point`, before the others.
    fixed
        Other parameters; what is named nowhere has its default.
    protocol
        How a point is run, a `Protocol`.
    drive
        The input current: a `Constant`, `Pulse`, `Sine`, `Ramp` or `Sampled`, or None.
    traces
        Which points keep their trajectory, a `Traces`.
    replicates
        Repetitions with noise of their own; more than 1 add the last dimension `replicate`.
    seed
        Names the noise.
    noise
        "independent": a path of its own for every point and replicate. "common": one path per replicate, the
        same at every point.
    observables
        Names of what is measured; by default mean, std, min and max of the rates.
    precision
        "float32" or "float64".

    Raises
    ------
    ScanError
        With one line for every mistake.
    """

    title: str = ""
    model: str = "qif"
    drive: Drive | None = None
    protocol: Protocol = Field(default_factory=Protocol, validate_default=True)
    points: Any = None
    axes: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    fixed: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    replicates: Annotated[Integer, Field(ge=1, le=2**31 - 1)] = 1
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = 0
    noise: Literal["independent", "common"] = "independent"
    observables: Annotated[tuple[str, ...], BeforeValidator(ordered)] = Field(
        DEFAULT_OBSERVABLES, validate_default=True
    )
    traces: Traces | None = None
    precision: Literal["float32", "float64"] = "float32"

    # pydantic validates in the order of the fields; each validator sees what came before and was right.

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        try:
            model_named(value)
        except ScanError as error:
            raise_if_any(error.faults)
        return value

    @field_validator("protocol")
    @classmethod
    def _integrator_of_the_model(cls, value: Protocol, info: ValidationInfo) -> Protocol:
        if "model" not in info.data:
            return value
        can = integrators_of(model_named(info.data["model"]))
        if value.integrator == "auto":
            return value.model_copy(update={"integrator": can[0]})
        if value.integrator not in can:
            model = info.data["model"]
            fault = Fault("protocol.integrator", show(value.integrator), one_of(can), f"of the model {model}")
            raise_if_any([fault])
        return value

    @field_validator("drive", mode="before")
    @classmethod
    def _drive_has_a_kind(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kind" not in value:
            raise_if_any([Fault("drive.kind", "nothing", one_of(DRIVES), "add it")])
        if value is not None and not isinstance(value, (Mapping, DriveBase)):
            meant = next((k.__name__ for n, k in DRIVES.items() if isinstance(value, str) and n == value), "")
            hint = f"give qifscan.{meant}(...)" if meant else ""
            if not isinstance(value, str) and hasattr(value, "__len__"):
                hint = "give qifscan.Sampled(values=..., interval=...)"
            kinds = ", ".join(kind.__name__ for kind in DRIVES.values())
            raise_if_any([Fault("drive", show(value), f"one of qifscan.{kinds} (in a file a table)", hint)])
        return value

    @field_validator("points")
    @classmethod
    def _points_as_columns(cls, value: Any) -> Any:
        if value is None or isinstance(value, Mapping):
            return value
        if hasattr(value, "to_dict") and hasattr(value, "columns"):
            return {str(name): column for name, column in value.to_dict("list").items()}
        rows = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Set)) else []
        if not rows or not all(isinstance(row, Mapping) for row in rows):
            raise_if_any([Fault("points", show(value), "a list of parameter sets, or a mapping of columns")])
        first = set(rows[0])
        other = next((i for i, row in enumerate(rows) if set(row) != first), None)
        if other is not None:
            found = f"the parameters {show(list(rows[other]))}"
            expected = f"those of points[0], {show(list(rows[0]))}"
            raise_if_any([Fault(f"points[{other}]", found, expected)])
        return {name: [row[name] for row in rows] for name in rows[0]}

    @field_validator("axes")
    @classmethod
    def _resolved_axes(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Axis]:
        if "model" not in info.data:
            return {}
        value = {name: given.given if isinstance(given, Axis) else given for name, given in value.items()}
        known, points = _known(info), info.data.get("points")
        faults: list[Fault] = []
        read = [] if points is None else [read_zipped("points", "point", points, known, faults)]
        sweep = info.data["protocol"].sweep if "protocol" in info.data else None
        if sweep is not None:
            value = value if "direction" in value else value | {"direction": DIRECTIONS}
        elif "direction" in value and "protocol" in info.data:
            hint = "name the axis there that is swept up and down"
            faults.append(Fault("axes.direction", "an axis", "protocol.sweep beside it", hint))
        read += [read_axis(name, entry, known, faults) for name, entry in value.items()]
        if points is not None and "point" in value:
            faults.append(Fault("axes.point", "an axis", "another name", "points make the axis of that name"))
        axes = [axis for axis in read if axis is not None]
        owners: dict[str, str] = {}
        for axis in axes:
            for column in axis.columns:
                if column in owners:
                    hint = f'take it out of "{owners[column]}" or of "{axis.name}"'
                    faults.append(Fault(f"axes.{axis.name}", f'"{column}" in two axes', "one", hint))
                owners.setdefault(column, axis.name)
        model = model_named(info.data["model"])
        faults += [fault for axis in axes if axis.zipped for fault in _name_faults(axis.name, model)]
        faults += [] if sweep is None or None in read else _sweep_faults(sweep, axes, model)
        raise_if_any(faults)
        return {axis.name: axis for axis in axes}

    @field_validator("fixed")
    @classmethod
    def _resolved_fixed(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, float]:
        if "model" not in info.data:
            return {}
        known, axes = _known(info), info.data.get("axes", {})
        faults: list[Fault] = []
        swept = {column: axis.name for axis in axes.values() for column in axis.columns}
        fixed = {}
        for name, given in value.items():
            where = f"fixed.{name}"
            if name == "initial":
                faults.append(Fault(where, show(given), "no initial state here", "give protocol.initial"))
            elif name not in known:
                faults.append(unknown_parameter(where, name, list(known)))
            else:
                fixed[name] = read_number(where, given, known[name], faults)
            if name in swept:
                hint = f"take it out of fixed or out of axes.{swept[name]}"
                faults.append(Fault(where, f"{show(given)} and an axis", "one of them", hint))
        if "axes" in info.data and "protocol" in info.data:
            faults += _initial_faults(
                model_named(info.data["model"]), info.data["protocol"], axes, fixed, known
            )
        raise_if_any(faults)
        return fixed

    @field_validator("observables", mode="before")
    @classmethod
    def _default_observables(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not DEFAULT_OBSERVABLES or "model" not in info.data:
            return value
        return usual_observables(model_named(info.data["model"]))

    @field_validator("observables")
    @classmethod
    def _known_observables(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "model" not in info.data:
            return value
        known = list(observables(model_named(info.data["model"])))
        faults = [unknown("observables", name, known) for name in value if name not in known]
        if not value:
            faults.append(Fault("observables", "none", one_of(known), "name at least one"))
        again = repeated(value)
        if again is not None:
            faults.append(Fault("observables", f"{show(again)} twice", "each once"))
        protocol = info.data.get("protocol")
        least = 4 * SEGMENT
        if protocol is not None and protocol.window_steps < least and any("frequency" in n for n in value):
            hint = "three cycles or more of tens of steps each; make the window longer"
            found = f"{protocol.window_steps} steps"
            faults.append(Fault("protocol.window", found, f"at least {least} steps for a frequency", hint))
        raise_if_any(faults or _threshold_faults(value, info))
        return value

    @field_validator("traces")
    @classmethod
    def _traced_points_exist(cls, value: Traces | None, info: ValidationInfo) -> Traces | None:
        """Check that the points are on the grid, and name each by the exact values of the axes."""
        if value is None or not {"model", "axes", "replicates"} <= info.data.keys():
            return value
        faults: list[Fault] = _trace_faults(value, info.data["axes"], info.data["replicates"])
        raise_if_any(faults)
        labels = labels_of(info.data["axes"], info.data["replicates"])
        found = [locate(f"traces.points[{i}]", p, labels, faults) for i, p in enumerate(value.points)]
        raise_if_any(faults)
        points = [{name: labels[name][i].item() for name, i in point.items()} for point in found]
        return Traces(points=points, every=value.every)

    def replace(self, /, **changes: Any) -> Self:
        """Return the same scan with some of its fields changed, checked like a new one.

        `scan.replace(seed=1)`, `scan.replace(axes=scan.axes | {"J": [10.0, 15.0]})`,
        `scan.replace(protocol=scan.protocol.replace(window=500.0))`. An integrator that is the first of the
        model, and observables that are the usual ones, are those of the new model.

        Raises `ScanError` with one line for every mistake.
        """
        given = self._given() | changes
        protocol = given.get("protocol")
        if isinstance(protocol, Protocol) and protocol.integrator == self.protocol.integrator:
            given["protocol"] = self._freed(protocol)
        return type(self)(**given)

    def _freed(self, protocol: Protocol) -> Protocol:
        """Return a protocol in which the integrator is left to the model, if it is the first of the model."""
        is_first = protocol.integrator == integrators_of(model_named(self.model))[0]
        return protocol.model_copy(update={"integrator": "auto"}) if is_first else protocol

    def _given(self) -> dict[str, Any]:
        """Return the fields as one would give them: what the model decides by itself is left to it again."""
        given, model = super()._given(), model_named(self.model)
        axes = {n: x for n, x in self.axes.items() if self.points is None or n != "point"}
        if list(axes)[-1:] == ["direction"] and axes["direction"].labels.tolist() == list(DIRECTIONS):
            del axes["direction"]
        given |= {"axes": axes}
        given["protocol"] = self._freed(self.protocol)
        if list(self.observables) == usual_observables(model):
            given.pop("observables", None)
        return given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scan) and self.definition() == other.definition()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def from_toml(cls, path: str | Path) -> Scan:
        """Read a scan from a TOML file; mistakes name the file, and the line where it does not parse."""
        path = local("path", path)
        try:
            # Some editors put a byte order mark before the text.
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            found = (error.strerror or str(error)).lower()
            raise ScanError([Fault(str(path), found, "a TOML file of a scan")]) from None
        except UnicodeDecodeError as error:
            found = f"a byte that is not UTF-8 at position {error.start}"
            raise ScanError([Fault(str(path), found, "a TOML file of a scan")]) from None
        except (ValueError, RecursionError) as error:
            raise ScanError([Fault(str(path), _uncapitalised(error), "a TOML file of a scan")]) from None
        try:
            return cls(**data)
        except ScanError as error:
            raise ScanError(
                Fault(f"{path}: {f.where}", f.found, f.expected, f.hint) for f in error.faults
            ) from None

    @classmethod
    def from_json(cls, text: str) -> Scan:
        """Read a scan from the JSON that `to_json` wrote.

        A model of your own that it names must have been imported, or be installed: no code is run for it.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError, TypeError) as error:
            raise ScanError([Fault("scan", _uncapitalised(error), "the JSON of a scan")]) from None
        if not isinstance(data, dict):
            raise ScanError([Fault("scan", show(data), "the JSON of a scan")])
        if isinstance(data.get("model"), str) and ":" in data["model"]:
            stored_model(data["model"], data.get("model_source"))
        for derived in ("dimensions", "numbers_version", "model_source"):
            data.pop(derived, None)
        return cls(**data)

    @classmethod
    def from_store(cls, path: AnyPath) -> Scan:
        """Return the scan that a store was made for.

        Raises `StoreError` if there is no store of qifscan at `path`, or it is damaged.
        """
        path = local("path", path)
        try:
            return cls.from_attributes(path, record.attributes(path))
        except UnknownModel:
            raise
        except StoreError:
            kept = record.read(path)
            if kept is None:
                raise
        return cls.from_attributes(path, kept["attributes"])

    @classmethod
    def from_attributes(cls, path: Path, attributes: Mapping[str, Any]) -> Scan:
        """Return the scan in a store's attributes; raise `StoreError`, naming `path`, if it can't be read."""
        try:
            text = attributes["qifscan_scan"]
            scan = cls.from_json(text)
        except ModelNotImported as error:
            raise UnknownModel(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path}: the scan in its attributes can't be read ({short(error)}); the store is damaged"
            ) from None
        made_with = json.loads(text).get("model_source") if '"model_source"' in text else None
        if made_with != source_hash(scan.model):
            raise StoreError(
                f"{path}: was made with another version of the file that defines {scan.model} (sha256 "
                f"{str(made_with)[:12]}); put that back, or read the store with xarray.open_zarr"
            )
        if scan.fingerprint != attributes.get("qifscan_fingerprint"):
            raise StoreError(
                f"{path}: its scan gives fingerprint {scan.fingerprint[:12]}, its attributes say "
                f"{str(attributes.get('qifscan_fingerprint'))[:12]}; it is damaged, or of another qifscan"
            )
        return scan

    def to_toml(self) -> str:
        """Return the scan as the text of a TOML file that `from_toml` reads as an equal scan.

        What has its default is left out; an axis is a `linspace` or `geomspace` where that gives every bit.
        """
        given = self._given()
        axes = {name: axis.given for name, axis in given.pop("axes").items()}
        points = {} if self.points is None else {"points": self.axes["point"].given}
        return as_toml(_as_tables(given | points | {"axes": axes}))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines that it prints as."""
        yield "scan", f"{self.title or 'untitled'} ({self.fingerprint[:12]})"
        yield "model", self.model
        sizes = " x ".join(f"{name} {size}" for name, size in self.sizes.items())
        yield "points", f"{self.size:,} ({sizes or 'one point'})"
        for axis in self.axes.values():
            columns = {n: span(column.tolist()) for n, column in axis.columns.items()}
            along = "; ".join(f"{n}: {told}" for n, told in columns.items())
            yield "axis", f"{axis.name}, {len(axis):,} of {along}" if axis.zipped else along
        if self.fixed:
            yield "fixed", ", ".join(f"{name} = {value:.6g}" for name, value in self.fixed.items())
        yield "protocol", self.protocol.in_words
        yield "start", self._start
        if self.drive is not None:
            yield "drive", repr(self.drive)
        noise = f", noise {self.noise} on {', '.join(self.noisy)}" if self.noisy else ", no noise"
        yield "replicates", f"{self.replicates:,}{noise}, seed {self.seed}"
        yield "observables", ", ".join(self.observables)
        if self.traces is not None:
            every = "every step" if self.traces.every == 1 else f"every {self.traces.every} steps"
            yield "traces", f"{counted(len(self.trace_indices), 'point')}, {every}"
        yield "precision", self.precision

    def definition(self) -> dict[str, Any]:
        """Return the resolved scan as JSON data: every default filled in, every axis as values."""
        data = self.model_dump(mode="json", exclude={"axes", "points", "fixed"})
        data["axes"] = {axis.name: axis.definition() for axis in self.axes.values()}
        # Said again as a list: JSON objects and Python's dicts are equal in any order, datasets are not.
        data["dimensions"] = list(self.sizes)
        swept = {column for axis in self.axes.values() for column in axis.columns}
        values = {name: self.fixed.get(name, p.default) for name, p in self.parameters.items()}
        data["fixed"] = {n: x for n, x in values.items() if x is not None and n not in swept}
        data["numbers_version"] = NUMBERS_VERSION
        source = source_hash(self.model)
        return data if source is None else data | {"model_source": source}

    def to_json(self) -> str:
        """Return the resolved scan as JSON."""
        return json.dumps(self.definition(), sort_keys=False)

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that determines the numbers, which is the resolved scan without its title."""
        data = {key: value for key, value in self.definition().items() if key != "title"}
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def in_double(self) -> Scan:
        """Return the same scan in float64."""
        return self.model_copy(update={"precision": "float64"})

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every numeric parameter of this scan, by name."""
        return scan_parameters(model_named(self.model), self.drive)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension of the dataset, in order; `replicate` is last, if there are several."""
        # Without the labels: those of a billion replicates are 8 GB.
        sizes = {axis.name: len(axis) for axis in self.axes.values()}
        return sizes | ({"replicate": self.replicates} if self.replicates > 1 else {})

    @property
    def size(self) -> int:
        """Number of points, replicates included."""
        return math.prod(self.sizes.values())

    @property
    def line(self) -> int:
        """Number of points that are run one after the other, each from the end of the one before it."""
        return 1 if self.protocol.sweep is None else len(self.axes[self.protocol.sweep])

    @property
    def noisy(self) -> tuple[str, ...]:
        """Variables that get noise anywhere in the scan: their sigma is an axis, or fixed above 0."""
        swept = {column for axis in self.axes.values() for column in axis.columns}
        names = model_named(self.model).input_names
        return tuple(n for n in names if f"{n}_ou_sigma" in swept or self.fixed.get(f"{n}_ou_sigma", 0.0) > 0)

    @property
    def _start(self) -> str:
        """Where points start, in words."""
        given = {*self.fixed, *(name for axis in self.axes.values() for name in axis.columns)}
        named = [name for name in given if name == "initial" or name.endswith("_initial")]
        initial = self.protocol.initial
        return ", ".join(sorted(named)) or (initial if isinstance(initial, str) else repr(initial))

    @property
    def can_rest(self) -> bool:
        """Whether a point of the scan may be without noise and under an input that ends constant."""
        rests = not isinstance(self.drive, Sine)
        sigmas = [f"{name}_ou_sigma" for name in model_named(self.model).input_names]
        columns = {name: column for axis in self.axes.values() for name, column in axis.columns.items()}
        return rests and all(np.min(columns.get(n, self.fixed.get(n, 0.0))) == 0.0 for n in sigmas)

    @property
    def trace_indices(self) -> list[tuple[int, ...]]:
        """Index along every dimension of each point that keeps its trajectory, without repetition."""
        if self.traces is None:
            return []
        labels = labels_of(self.axes, self.replicates)
        chosen = [index for point in self.traces.points for index in find("traces", point, labels, [])]
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
        numbers = [f"{name}_initial" for name in model_named(self.model).variable_names]
        if isinstance(initial, dict):
            columns = {f"{k}_initial": np.full(count, x) for k, x in initial.items()} | columns
        elif "initial" not in columns and not all(name in columns for name in numbers):
            columns["initial"] = np.full(count, initial)
        return columns


def usual_observables(model: Model) -> list[str]:
    """Return what is measured where no observables are named: mean, std, min and max of the rates."""
    return [f"{rate.name}_{kind}" for rate in model.rates for kind in ("mean", "std", "min", "max")]


def _as_tables(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as plain data, definitions as the tables of a file."""
    tables: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Definition):
            kind = type(value).model_fields.get(KIND)
            tables[name] = ({KIND: kind.default} if kind else {}) | _as_tables(value._given())
        else:
            tables[name] = value
    return tables


MOST_TRACES = 1_000_000
"""Points that keep their trajectory: beyond any disk."""


def _trace_faults(traces: Traces, axes: Mapping[str, Axis], replicates: int) -> list[Fault]:
    """Return the fault of more traces than can be listed."""
    sizes = {axis.name: len(axis) for axis in axes.values()} | {"replicate": replicates}
    counts = [math.prod(n for name, n in sizes.items() if name not in point) for point in traces.points]
    if sum(counts) <= MOST_TRACES:
        return []
    found = f"{sum(counts):,} points"
    return [Fault("traces.points", found, f"at most {MOST_TRACES:,}", "name values of more axes")]


def check_is_scan(scan: Any, path: Any = None) -> None:
    """Raise `ScanError` for what is given in place of a `Scan`, with what to give."""
    if isinstance(scan, Scan):
        return
    hint = "make it with qifscan.Scan(...) or qifscan.Scan.from_toml(path)"
    if isinstance(path, Scan):
        hint = "the scan comes first, then the path"
    elif isinstance(scan, Mapping):
        hint = "give qifscan.Scan(**definition)"
    elif str(scan).endswith(".toml"):
        hint = f"give qifscan.Scan.from_toml({show(str(scan))})"
    raise ScanError([Fault("scan", show(scan), "a qifscan.Scan", hint)])


def _uncapitalised(error: BaseException) -> str:
    return str(error)[:1].lower() + str(error)[1:]


def _known(info: ValidationInfo) -> dict[str, Parameter]:
    """Return the parameters of the scan; if its drive is wrong those of any drive, to find what else is."""
    known = scan_parameters(model_named(info.data["model"]), info.data.get("drive"))
    if "drive" not in info.data:
        numbers = {f"drive_{p.name}" for kind in DRIVES.values() for p in kind.numbers}
        known |= {name: Parameter(name, None, "", "a number of the drive") for name in sorted(numbers)}
    return known


def _threshold_faults(names: Sequence[str], info: ValidationInfo) -> list[Fault]:
    """Return what is missing for observables of levels where no folds tell where these are."""
    rows = observables(model_named(info.data["model"]))
    levels = [name for name in names if rows[name].fold.endswith((" levels", " residences"))]
    given = {
        *info.data.get("fixed", {}),
        *(n for axis in info.data.get("axes", {}).values() for n in axis.columns),
    }
    missing = [p.name for p in THRESHOLDS if p.name not in given]
    if model_named(info.data["model"]).rest is not None or not levels or not missing:
        return []
    hint = "the folds of a model without `rest` are not known; fix thresholds"
    return [Fault("observables", f"{show(levels[0])} without {', '.join(missing)}", "both thresholds", hint)]


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


LONGEST_NAME = 100
"""Characters of the name of an axis: it is that of a folder of the store, too."""


def _name_faults(name: str, model: Model) -> list[Fault]:
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


def _sweep_faults(sweep: str, axes: Sequence[Axis], model: Model) -> list[Fault]:
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


def _initial_faults(
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
    return [fault for rate in model.rates for fault in _rest_faults(rate.population, axes, fixed, known)]


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
