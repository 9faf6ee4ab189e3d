"""What is compiled in, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.drive import DRIVES
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.models import model_named
from qifscan.dynamics.observables import named, needed_accumulators
from qifscan.dynamics.rhythm import SAMPLE_STEPS, segment_lengths
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax

    from qifscan.arrays import Column, Index
    from qifscan.dynamics.accumulators import Measuring
    from qifscan.dynamics.drive import DriveBase
    from qifscan.dynamics.integrators import Integrator
    from qifscan.dynamics.model import Model
    from qifscan.dynamics.observables import Observable
    from qifscan.engine.schedule import Schedule
    from qifscan.scan.scan import Scan
else:
    jax = LazyModule("jax")


@dataclass(frozen=True)
class Program:
    """Everything that is compiled in; two batches of one program and shape share one compilation.

    `lengths` is how many lengths of segments a spectrum has, 0 if there is none; `bridged` tells whether the
    path of the noise is filled in between the steps on which it is drawn; `averaged` whether a step is driven
    by the mean of the noise over it, for noise that it does not resolve; `transient` whether there are steps
    before the window; `recorded` whether states are kept; `kept` whether a checkpoint is saved, and `resumed`
    whether the points start from one; `history` is the number of steps that are remembered for a delay, a
    power of 2; `alone` marks a program of tangents or of a user's observables
    alone (`parts`). Model, integrator, drive and observables are rows; to another process they go by name.
    """

    model: Model
    integrator: Integrator
    drive: type[DriveBase] | None
    noisy: tuple[str, ...]
    observables: tuple[Observable, ...]
    precision: str
    lengths: int
    reflect: bool
    bridged: bool = False
    averaged: bool = False
    transient: bool = True
    recorded: bool = False
    kept: bool = False
    resumed: bool = False
    history: int = 0
    alone: str = ""

    def __reduce__(self) -> tuple[Callable[..., Program], tuple[dict[str, object]]]:
        return _found_again, (_by_name(self),)

    @cached_property
    def accumulators(self) -> Mapping[str, Measuring]:
        """What is accumulated over the window, by name."""
        return needed_accumulators(self.model, self.observables)

    @property
    def tangents(self) -> bool:
        """Whether directions along the trajectory are carried, for its exponents."""
        return any(row.tangents for row in self.observables)

    @property
    def spectral(self) -> bool:
        """Whether anything is read off a spectrum."""
        return any(row.spectral for row in self.observables)

    @property
    def levels(self) -> bool:
        """Whether anything is measured between thresholds."""
        return any(row.thresholds for row in self.observables)

    @property
    def still(self) -> tuple[str, ...]:
        """Variables whose input is a mean alone: parameters absorb it, and a step adds nothing."""
        variables = self.model.variables
        return tuple(v.name for v in variables if v.absorbed is not None and v.name not in self.noisy)

    @property
    def counting(self) -> bool:
        """Whether steps with a rate below 0 are counted. Without noise on a rate it is enough to know whether
        there is one, which the lowest rate tells in one operation instead of five."""
        return any(v.name in self.noisy for v in self.model.rates)

    @classmethod
    def of(cls, scan: Scan, *, bridged: bool = False, averaged: bool = False) -> Program:
        """Return the program of a scan."""
        protocol, rows = scan.protocol, tuple(scan.measures.values())
        spectra = any(row.spectral for row in rows)
        return cls(
            model=scan.mean_field,
            integrator=scan.integrator,
            drive=None if scan.drive is None else type(scan.drive),
            noisy=scan.noisy,
            observables=rows,
            precision=scan.precision,
            lengths=segment_lengths(protocol.window_steps // protocol.sample_steps) if spectra else 0,
            reflect=protocol.negative_rate == "reflect",
            bridged=bridged and bool(scan.noisy),
            averaged=averaged and bool(scan.noisy),
        )

    @property
    def parts(self) -> tuple[Program, ...]:
        """The programs that run one after the other: what needs tangents has one of its own, and what a
        user's file measures, too.

        In one program XLA shares terms between a step and its derivative, or whatever a user computes, and
        rounds the step in another way than without: the other observables would depend on what else is asked.
        """
        if self.alone:
            return (self,)
        of_kind: dict[str, tuple[Observable, ...]] = {"": ()}
        for row in self.observables:
            kind = "tangents" if row.tangents else "own" if row.place else ""
            of_kind[kind] = (*of_kind.get(kind, ()), row)
        first = replace(self, observables=of_kind.pop(""))
        others = [
            replace(self, observables=rows, alone=kind, recorded=False) for kind, rows in of_kind.items()
        ]
        return (first, *others) if others else (self,)

    def sampled(self, schedule: Schedule, halvings: int) -> Program:
        """Return the program with the lengths of segments that points of so many halvings fill."""
        if not self.spectral:
            return self
        per_base = 1 << halvings
        samples = schedule.window * per_base // min(schedule.sample_steps * per_base, SAMPLE_STEPS)
        return replace(self, lengths=segment_lengths(samples))

    def on(self, schedule: Schedule) -> Program:
        """Return the program that does what a schedule asks for."""
        return replace(
            self,
            transient=schedule.transient > 0,
            recorded=schedule.every is not None,
            kept=schedule.keep,
            resumed=schedule.behind is not None,
        )


def _by_name(program: Program) -> dict[str, object]:
    """Return the fields of a program, rows as the names by which they are found again."""
    drive = None if program.drive is None else program.drive.model_fields["kind"].default
    return {
        **{each.name: getattr(program, each.name) for each in fields(program)},
        "model": program.model.name,
        "integrator": program.integrator.name,
        "drive": drive,
        "observables": tuple(row.place or row.name for row in program.observables),
    }


def _found_again(given: Mapping[str, Any]) -> Program:
    """Return the program of such fields."""
    model, drive = model_named(given["model"]), given["drive"]
    rows = {
        "model": model,
        "integrator": INTEGRATORS[given["integrator"]],
        "drive": None if drive is None else DRIVES[drive],
        "observables": named(model, given["observables"]),
    }
    return Program(**{**given, **rows})


@dataclass(frozen=True)
class Result:
    """What came of a batch, `(points,)` each: observables; status; final state `(points, variables)`; largest
    error estimate of a step; steps with a rate below 0; record `(points, rows, variables)`; the checkpoint,
    what a longer window goes on from, `(points, bytes)`; the lowest and the highest rate of the last delay
    `(points, 2)`."""

    observables: dict[str, Column]
    status: Column
    final: Column
    estimate: Column
    negative_steps: Column
    record: Column | None
    checkpoint: Column | None
    past: Column | None

    def take(self, rows: Index) -> Result:
        """Return those of some points."""
        return Result(**jax.tree.map(lambda values: values[rows], vars(self)))

    def replaced(self, rows: Index, other: Result) -> Result:
        """Return this result with the given rows taken from another."""
        return Result(**jax.tree.map(lambda a, b: _with_rows(a, rows, b), vars(self), vars(other)))


def joined(rows: list[Index], parts: list[Result]) -> Result:
    """Return one result of parts that hold these rows of it."""
    place = np.argsort(np.concatenate(rows))
    fields = [vars(part) for part in parts]
    return Result(**jax.tree.map(lambda *values: np.concatenate(values)[place], *fields))


def _with_rows(values: Column, rows: Index, others: Column) -> Column:
    changed = values.copy()
    changed[rows] = others
    return changed
