"""What is compiled in, how far it runs, the steps of its points, and what comes of them."""

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

    from qifscan.arrays import Column, Counts, Index
    from qifscan.dynamics.accumulators import Measuring
    from qifscan.dynamics.drive import DriveBase
    from qifscan.dynamics.integrators import Integrator
    from qifscan.dynamics.model import Model
    from qifscan.dynamics.observables import Observable
    from qifscan.scan.protocol import Protocol
    from qifscan.scan.scan import Scan
else:
    jax = LazyModule("jax")


BLOCK = 256
"""Lanes of a block: its state, parameters and accumulators stay in the first-level cache, and XLA's dispatch
of a step is paid for 256 points at once. Measured: 128 to 2048 differ by a third, 8192 is half as fast."""

LANES = 64
"""A narrow batch has a multiple of this many lanes: four whole vectors of the widest kind, so that every lane
takes the same path through the vectorised, interleaved loop as in a full block, and none that of the rest."""


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
class Schedule:
    """Base steps before the window and in it, the base step in ms, base steps in a sample of a spectrum;
    and with `every` the state after each `every`-th base step is recorded. With `keep` the runs can be gone
    on from; with `behind` they go on from runs of so many base steps in the window."""

    transient: int
    window: int
    base: float
    sample_steps: int
    every: int | None = None
    keep: bool = False
    behind: int | None = None

    @classmethod
    def of(cls, protocol: Protocol, every: int | None = None) -> Schedule:
        """Return the schedule of a protocol."""
        return cls(
            protocol.transient_steps, protocol.window_steps, protocol.base, protocol.sample_steps, every
        )

    @property
    def steps(self) -> int:
        """Base steps of the whole run."""
        return self.transient + self.window

    @property
    def rows(self) -> int:
        """States in a record: the initial one and every kept one."""
        return 1 + (self.steps // self.every if self.every else 0)

    def limited(self, steps: int) -> Schedule:
        """Return the schedule cut off after so many base steps, to measure the program's speed."""
        transient = min(self.transient, steps)
        return replace(self, transient=transient, window=min(self.window, steps - transient))


@dataclass(frozen=True)
class Steps:
    """The steps of each point, `(points,)` each: how often the base step is halved for the state, and how
    often for the grid on which the path of the noise is drawn."""

    halvings: Counts
    noise_halvings: Counts

    def take(self, rows: Index) -> Steps:
        """Return those of some points."""
        return Steps(self.halvings[rows], self.noise_halvings[rows])

    def halved(self, rows: Index) -> Steps:
        """Return them with the step of some points halved, and the grid of the noise as it was."""
        halvings = self.halvings.copy()
        halvings[rows] += 1
        return Steps(halvings, self.noise_halvings)


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


def batch_shape(points: int) -> tuple[int, int]:
    """Return (blocks, lanes) that hold so many points of one step."""
    if points <= BLOCK:
        return 1, max(-(-points // LANES), 1) * LANES
    return -(-points // BLOCK), BLOCK
