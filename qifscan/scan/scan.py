"""`Scan`: what is asked for - axes, parameters, protocol, noise, drive, observables - as frozen data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from qifscan.definition import Integer, ordered, raise_if_any
from qifscan.dynamics.drive import Drive
from qifscan.dynamics.integrators import INTEGRATORS, Integrator, integrators_of
from qifscan.dynamics.model import Model, Parameter
from qifscan.dynamics.models import model_named, source_hash
from qifscan.dynamics.observables import Observable, named, observable_source, usual_observables
from qifscan.errors import Fault, ScanError, counted, one_of, show
from qifscan.printed import span
from qifscan.scan.axes import (
    DIRECTIONS,
    Axis,
    Column,
    find,
    labels_of,
    locate,
    read_axis,
    read_number,
    read_zipped,
    unknown_parameter,
)
from qifscan.scan.checks import (
    initial_faults,
    known_parameters,
    name_faults,
    observable_faults,
    scan_parameters,
    sweep_faults,
    threshold_faults,
    trace_faults,
)
from qifscan.scan.protocol import Protocol, Traces
from qifscan.scan.readable import Readable
from qifscan.scan.toml_text import as_tables, as_toml

NUMBERS_VERSION = 17
"""Raised whenever the same scan would give other numbers; part of the fingerprint."""


DEFAULT_OBSERVABLES = ("mean, std, min and max of the rates",)
"""What stands for the default until the model is known."""


class Scan(Readable):
    """A scan: a grid of parameter values, what happens at each point, and what is measured.

    It is frozen data; `run` runs it. What can be an axis, or fixed: the parameters of the model (of the plain
    one `tau`, `eta`, `delta`, `J`), of the noise on its variables (`<variable>_ou_mean`, `_ou_sigma`,
    `_ou_tau`), of the drive (`drive_<number>`), initial values (`<variable>_initial`), and the thresholds
    `down_threshold` and `up_threshold`. Times are in ms, rates in 1/ms; `qifscan names` lists all with units.

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

    Examples
    --------
    >>> import qifscan as qs
    >>> axes = {"eta": {"linspace": [-6.0, -4.0, 21]}}
    >>> scan = qs.Scan(axes=axes, fixed={"J": 15.0}, replicates=2)
    >>> scan.sizes
    {'eta': 21, 'replicate': 2}
    >>> scan.replace(seed=1) == scan
    False
    >>> print(scan.to_toml())
    replicates = 2
    <BLANKLINE>
    [fixed]
    J = 15.0
    <BLANKLINE>
    [axes]
    eta = { linspace = [-6.0, -4.0, 21] }
    <BLANKLINE>
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
        known, points = known_parameters(info), info.data.get("points")
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
        faults += [fault for axis in axes if axis.zipped for fault in name_faults(axis.name, model)]
        faults += [] if sweep is None or None in read else sweep_faults(sweep, axes, model)
        raise_if_any(faults)
        return {axis.name: axis for axis in axes}

    @field_validator("fixed")
    @classmethod
    def _resolved_fixed(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, float]:
        if "model" not in info.data:
            return {}
        known, axes = known_parameters(info), info.data.get("axes", {})
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
            faults += initial_faults(
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
        raise_if_any(observable_faults(value, info) or threshold_faults(value, info))
        return value

    @field_validator("traces")
    @classmethod
    def _traced_points_exist(cls, value: Traces | None, info: ValidationInfo) -> Traces | None:
        """Check that the points are on the grid, and name each by the exact values of the axes."""
        if value is None or not {"model", "axes", "replicates"} <= info.data.keys():
            return value
        faults: list[Fault] = trace_faults(value, info.data["axes"], info.data["replicates"])
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
        is_first = protocol.integrator == integrators_of(self.mean_field)[0]
        return protocol.model_copy(update={"integrator": "auto"}) if is_first else protocol

    def _given(self) -> dict[str, Any]:
        """Return the fields as one would give them: what the model decides by itself is left to it again."""
        given, model = super()._given(), self.mean_field
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

    def to_toml(self) -> str:
        """Return the scan as the text of a TOML file that `from_toml` reads as an equal scan.

        What has its default is left out; an axis is a `linspace` or `geomspace` where that gives every bit.
        """
        given = self._given()
        axes = {name: axis.given for name, axis in given.pop("axes").items()}
        points = {} if self.points is None else {"points": self.axes["point"].given}
        return as_toml(as_tables(given | points | {"axes": axes}))

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
        # The order as a list: JSON objects are equal in any order, datasets are not.
        data["dimensions"] = list(self.sizes)
        swept = {column for axis in self.axes.values() for column in axis.columns}
        values = {name: self.fixed.get(name, p.default) for name, p in self.parameters.items()}
        data["fixed"] = {n: x for n, x in values.items() if x is not None and n not in swept}
        data["numbers_version"] = NUMBERS_VERSION
        source = source_hash(self.model)
        data |= {} if source is None else {"model_source": source}
        own = {name: observable_source(name) for name in self.observables if ":" in name}
        return data | ({"observable_sources": own} if own else {})

    # Names are looked up here; what goes on from a scan takes the rows.

    @property
    def mean_field(self) -> Model:
        """The row of the model: its equations, variables and parameters."""
        return model_named(self.model)

    @property
    def integrator(self) -> Integrator:
        """The row of the integrator."""
        return INTEGRATORS[self.protocol.integrator]

    @property
    def measures(self) -> dict[str, Observable]:
        """What is measured, by the names of the variables of the dataset, in order."""
        return {row.name: row for row in named(self.mean_field, self.observables)}

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
        return scan_parameters(self.mean_field, self.drive)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension of the dataset, in order; `replicate` is last, if there are several."""
        # Not from the labels: a billion replicates have 8 GB of them.
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
        names = self.mean_field.input_names
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
        rests = self.drive is None or self.drive.rests
        sigmas = [f"{name}_ou_sigma" for name in self.mean_field.input_names]
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

    def select(self, *, method: str | None = None, **labels: Any) -> list[tuple[int, ...]]:
        """Return the index of every point at these axis values; an axis left out means all its values.

        With `method="nearest"` a number between the ends of an axis stands for the nearest value there.
        Raises `ScanError` for a dimension that is not there or a value that is not on its axis.
        """
        faults: list[Fault] = []
        if method not in (None, "nearest"):
            faults.append(Fault("method", show(method), 'None or "nearest"'))
        labelled = labels_of(self.axes, self.replicates)
        found = find("point", labels, labelled, faults, nearest=method == "nearest")
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
        numbers = [f"{name}_initial" for name in self.mean_field.variable_names]
        if isinstance(initial, dict):
            columns = {f"{k}_initial": np.full(count, x) for k, x in initial.items()} | columns
        elif "initial" not in columns and not all(name in columns for name in numbers):
            columns["initial"] = np.full(count, initial)
        return columns


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
