"""How a point is run: its time, step, start and integrator; and which points keep their trajectory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from qifscan.definition import Definition, Finite, Integer, number, ordered, raise_if_any
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.rhythm import SAMPLE_STEPS
from qifscan.errors import AS_MS, Fault, is_time, one_of, show, unknown

MAX_STEPS = 2**30
"""The step is a 32-bit counter, and is added to."""

BASE_STEP = 0.05
"""Step that dt = "auto" halves, ms: what a population of tau = 1 ms at rest at a low rate needs. Runs of all
points stop together at its multiples, so that times and traces are those of one grid."""

MOST_HALVINGS = 10
"""Down to 5e-5 ms."""


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
        Relative error above which a point is run again, and at last flagged `under_resolved`: of a rate
        relative to itself, of another variable to the value or its quadratic mean over the window.
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

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Protocol(transient=200.0, window=500.0, initial="up").in_words
    '200 ms, then 500 ms measured; dt auto, auto'
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

    Examples
    --------
    >>> import qifscan as qs
    >>> traces = qs.Traces(points=[{"eta": -5.0}])
    >>> scan = qs.Scan(axes={"eta": [-6.0, -5.0], "J": [10.0, 15.0]}, traces=traces)
    >>> scan.trace_indices
    [(1, 0), (1, 1)]
    """

    points: Annotated[tuple[dict[str, Any], ...], BeforeValidator(ordered), Field(min_length=1)]
    every: Annotated[Integer, Field(ge=1)] = 1
