"""Run any points of a scan: each at its own step, again at half of it where the error is too large, and
then beside the exact theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.engine import batch, convergence, step_size
from qifscan.engine.checkpoint import checkpoints_of
from qifscan.engine.inputs import initial_state, prepare
from qifscan.engine.measured import CHECKPOINT, Measured, diagnostics, noisy_rate
from qifscan.engine.program import Program, Result, joined
from qifscan.engine.schedule import Schedule, Steps
from qifscan.theory.rest import Rest

if TYPE_CHECKING:
    from qifscan.arrays import Column, Indices
    from qifscan.dynamics.observables import Observable
    from qifscan.engine.carries import Inputs
    from qifscan.scan.scan import Scan


@dataclass(frozen=True)
class Start:
    """Where points of a sweep start: the state `(points, variables)`, NaN for the first point of a line,
    which has its own; and whether a point before it in the line is under-resolved, `(points,)`."""

    state: Column
    doubtful: Column

    def take(self, rows: Column) -> Start:
        """Return those of some points."""
        return Start(self.state[rows], self.doubtful[rows])


@dataclass(frozen=True)
class Points:
    """Points of a scan with what is computed once of them: parameters, rest, replicate, `(points,)` each.

    `told` whether their whole trajectories are told, and so judged, beside the observables.
    """

    scan: Scan
    columns: Mapping[str, Column]
    rest: Rest
    replicate: Column
    start: Start | None = None
    told: bool = False

    @classmethod
    def of(cls, scan: Scan, indices: Indices) -> Points:
        """Return the points at these indices, `(points,)` along every dimension of the scan."""
        replicate = indices[-1] if scan.replicates > 1 else np.zeros(len(indices[0]), dtype=int)
        columns = scan.columns(indices[: len(scan.axes)] or (replicate,))
        return cls.at(scan, columns, replicate)

    @classmethod
    def at(cls, scan: Scan, columns: Mapping[str, Column], replicate: Column) -> Points:
        """Return points at these parameters, which need not be on the axes of the scan."""
        return cls(scan, columns, Rest.of(scan.mean_field, columns), replicate)

    def take(self, rows: Column) -> Points:
        """Return some of the points."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        start = None if self.start is None else self.start.take(rows)
        return Points(self.scan, columns, self.rest.take(rows), self.replicate[rows], start, self.told)

    def steps(self) -> Steps:
        """Return the steps that the points are first run at."""
        columns = dict(self.columns)
        if self.start is not None:
            names = self.scan.mean_field.variable_names
            for name, state in zip(names, self.start.state.T, strict=True):
                own = columns.get(f"{name}_initial", 0.0)
                # What diverged stays so at any step.
                columns[f"{name}_initial"] = np.nan_to_num(np.where(np.isnan(state), own, state), posinf=0.0)
        halvings = step_size.halvings(self.scan, columns, self.rest)
        return Steps(halvings, step_size.noise_halvings(self.scan, halvings))

    def inputs(self, program: Program, steps: Steps) -> Inputs:
        """Return what the kernel reads of the points."""
        scan = self.scan
        common = scan.noise == "common"
        inputs = prepare(
            program,
            scan.drive,
            self.columns,
            self.rest,
            self.replicate,
            scan.seed,
            common,
            scan.protocol.base,
            steps,
        )
        if self.start is not None:
            states: Any = zip(inputs.state, self.start.state.T, strict=True)
            # By name, as the parameters of a point name its noise, and not where it starts.
            state = tuple(np.where(np.isnan(later), own, later).astype(own.dtype) for own, later in states)
            inputs = inputs._replace(state=state)
        return inputs

    def noisy(self) -> Column:
        """Whether each point has noise."""
        names = self.scan.mean_field.input_names
        noisy: Column = np.any([self.columns[f"{name}_ou_sigma"] > 0.0 for name in names], axis=0)
        return noisy

    def final_input(self) -> Column | float:
        """Return the drive at the end of the run where it is constant by then, else NaN."""
        drive = self.scan.drive
        return 0.0 if drive is None else drive.final_input(self.columns, _end(self.scan))

    def final_rest(self) -> Rest:
        """Return the points at rest at the input of the end; without the drive where that still changes."""
        if self.scan.drive is None:
            return self.rest
        model = self.rest.model
        return Rest.of(model, self.columns, {model.stimulated: np.nan_to_num(self.final_input(), nan=0.0)})

    def program(self, steps: Steps, schedule: Schedule) -> Program:
        """Return the program that runs the points at these steps."""
        bridged = bool(np.any(steps.halvings != steps.noise_halvings)) or self.scan.noise == "common"
        averaged = bool(self.averaged(steps).any())
        # No mean is told with a trajectory, whose last bit may depend on what else is measured: the runs that
        # it is compared with can be the same program, which is compiled once.
        shared = self.told and self.scan.precision == "float64" and not self.scan.noisy
        scan = convergence.comparable(self.scan) if shared else self.scan
        program = Program.of(scan, bridged=bridged, averaged=averaged).on(schedule)
        program = program.sampled(schedule, int(np.max(steps.halvings, initial=0)))
        return replace(program, history=self._history(steps)) if self.rest.model.delay else program

    def _history(self, steps: Steps) -> int:
        """Return how many steps must be remembered, a power of 2, for the delays of the points."""
        lags = self.columns[self.rest.model.delay] / (self.scan.protocol.base * 0.5**steps.halvings)
        return 1 << int(np.ceil(np.max(lags)) + 3).bit_length()

    def averaged(self, steps: Steps) -> Column:
        """Whether the noise of each point is too fast for its step, which then takes the mean of it."""
        fast: Column = step_size.unresolved_noise(self.scan, self.columns, steps.halvings)
        return fast

    def run(
        self,
        steps: Steps,
        schedule: Schedule,
        shape: tuple[int, int],
        checkpoint: Column | None = None,
    ) -> Result:
        """Run the points once, from the start or from a checkpoint."""
        averaged = self.averaged(steps)
        kinds = [np.flatnonzero(averaged == kind) for kind in (False, True)]
        if all(map(len, kinds)):
            # Which program runs a point depends on that point alone.
            parts = [
                self.take(rows).run(
                    steps.take(rows), schedule, shape, None if checkpoint is None else checkpoint[rows]
                )
                for rows in kinds
            ]
            return joined(kinds, parts)
        program = self.program(steps, schedule)
        begun = () if checkpoint is None else checkpoints_of(program, checkpoint)
        return batch.run_batch(
            program,
            self.inputs(program, steps),
            steps,
            schedule,
            self.scan.drive,
            shape,
            begun,
            states_alone=self.told,
        )


@dataclass(frozen=True)
class Begun:
    """Runs of points over a shorter window, to go on from: its base steps, how often all of the points, or
    none, were run again, `(points,)`, and their checkpoints, `(points, bytes)`."""

    window: int
    redos: Column
    checkpoint: Column


def run_points(
    points: Points, schedule: Schedule, shape: tuple[int, int], begun: Begun | None = None
) -> Measured:
    """Run points at the steps that they need; then put the theory beside them.

    Points that are begun go on at the step that they ended with: over the longer window the error of those
    before it can't have become less.
    """
    scan = points.scan
    integrator, tolerance = scan.integrator, scan.protocol.tolerance
    steps = points.steps()
    redos = np.zeros(len(steps.halvings), dtype=np.uint8)
    most = step_size.most_halvings(scan, points.columns, schedule.steps)
    most = np.minimum(most, scan.protocol.most_halvings)
    if begun is None:
        result = points.run(steps, schedule, shape)
    else:
        redos += begun.redos
        steps = Steps(steps.halvings + redos, steps.noise_halvings)
        result = points.run(steps, replace(schedule, behind=begun.window), shape, begun.checkpoint)
    while True:
        # A run that left the finite numbers has no estimate, and is not below the tolerance either.
        failed = ~(integrator.relative_error(result.estimate) <= tolerance)
        finer = (steps.halvings < most) & (redos < step_size.most_redos(points.rest.model))
        again = np.flatnonzero(failed & finer)
        if not len(again):
            break
        steps = steps.halved(again)
        redos[again] += 1
        result = result.replaced(again, points.take(again).run(steps.take(again), schedule, shape))
    error = integrator.relative_error(result.estimate)
    begun_at = np.full(len(error), np.dtype(scan.precision).itemsize * 8, dtype=np.uint8)
    ran = _Ran(steps, result, redos, error, ~(error <= tolerance), begun_at)
    return _beside_theory(points, _converged(points, ran, replace(schedule, behind=None, keep=False), shape))


@dataclass(frozen=True)
class _Ran:
    """Points as they were run last, `(points,)` each.

    Their steps, what came of them, how often they were run again at half the step, the relative error,
    whether it is too large, and the bits of the numbers.
    """

    steps: Steps
    result: Result
    redos: Column
    error: Column
    doubtful: Column
    bits: Column


def _suspects(points: Points, ran: _Ran, schedule: Schedule) -> tuple[Column, Column]:
    """Return the rows of points without noise whose estimate does not exclude an error; and of those that it
    does exclude it for but for rounding, which need no finer step where the step is not given."""
    scan, rest = points.scan, points.rest
    dt = scan.protocol.base * 0.5**ran.steps.halvings
    steps = schedule.steps * 2.0**ran.steps.halvings
    modes = np.zeros((len(rest), 1)) if rest.model.delay else rest.modes[0]
    count = convergence.remembered(modes, rest.unit, dt, steps)
    tolerance = scan.protocol.tolerance
    limit = tolerance * np.minimum(convergence.ESTIMATE, convergence.ADDED / count)
    stays = starts_stable(points, ran.steps, schedule) & (ran.error <= tolerance)
    coarse = step_size.unresolved_drive(scan, points.columns, ran.steps.halvings)
    coarse |= schedule.window * 2.0**ran.steps.halvings < convergence.FEW_STEPS
    suspect = ~(ran.error <= limit) | coarse
    may_be = ~points.noisy() & ~stays & np.isfinite(ran.result.final).all(axis=1)
    rounded = _rounded(points, ran, count) & ~suspect
    if scan.protocol.dt != "auto":
        suspect, rounded = suspect | rounded, np.zeros_like(rounded)
    return np.flatnonzero(suspect & may_be), np.flatnonzero(rounded & may_be)


def _rounded(points: Points, ran: _Ran, count: Column) -> Column:
    """Whether the rounding of float32 adds up to too much over the steps that points remember.

    Slow variables stop moving where a step is less than half of their last digit.
    """
    allowed = 0.5 * points.scan.protocol.tolerance
    largest = count * convergence.ROUNDING * (points.scan.precision == "float32")
    rounded: Column = largest > allowed
    rows = np.flatnonzero(~rounded & (largest > convergence.MOVING * allowed))
    if len(rows):
        theory, _ = _settled(points.take(rows), ran.result.take(rows))
        # NaN where the input goes on, and nothing comes to rest.
        rounded[rows] = ~(theory["disagreement"] <= convergence.MOVING * allowed)
    return rounded


def starts_stable(points: Points, steps: Steps, schedule: Schedule) -> Column:
    """Tell the points that start at a stable equilibrium and are not driven: they stay, and nothing adds up.

    A named state can be an unstable equilibrium; then the start lies beside it, and the point moves.
    """
    rest = points.rest
    if points.scan.drive is not None or points.start is not None:
        return np.zeros(len(rest), dtype=bool)
    start = initial_state(points.program(steps, schedule), points.columns, rest)
    same = [states == own[:, None] for states, own in zip(rest.states, start, strict=True)]
    found: Column = (rest.stable & np.logical_and.reduce(same)).any(axis=1)
    return found


@dataclass(frozen=True)
class _Against:
    """Points in float64 with all observables that runs are compared by, beside those that are asked for."""

    double: Points
    asked: Mapping[str, Observable]
    schedule: Schedule
    shape: tuple[int, int]

    @classmethod
    def of(cls, points: Points, schedule: Schedule, shape: tuple[int, int]) -> _Against:
        """Return it for the points of a scan."""
        scan = points.scan
        return cls(replace(points, scan=convergence.comparable(scan)), scan.measures, schedule, shape)

    def run(self, rows: Column, halvings: Column) -> Result:
        """Run some of the points at these steps; without noise its grid is that of the steps."""
        return self.double.take(rows).run(Steps(halvings, halvings), self.schedule, self.shape)

    def telling(self, rows: Column, halvings: Column) -> Column:
        """Return how often the steps of some of the points are halved for a run that tells their error."""
        return step_size.halvings_that_tell(self.double.scan, self.double.take(rows).columns, halvings)

    def apart(self, rows: Column, coarse: Result, fine: Result) -> convergence.Apart:
        """Return how far two runs of some of the points are apart."""
        window, rest = self.schedule.window * self.schedule.base, self.double.rest.take(rows)
        found = convergence.apart(coarse.observables, fine.observables, self.asked, rest, window)
        if not self.double.told or coarse.record is None or fine.record is None:
            return found
        along = convergence.states_apart(coarse.record, fine.record, rest, fine.observables)
        return replace(found, asked=np.fmax(found.asked, along))

    def rounding(self, rows: Column, result: Result, coarse: Result) -> convergence.Apart:
        """Return how far runs of some of the points are from the same steps in float64."""
        found, rest, own = coarse.observables, self.double.rest.take(rows), result.take(rows)
        states = (own.final[:, None], coarse.final[:, None])
        own = replace(own, observables=found | {name: own.observables[name] for name in self.asked})
        return convergence.Apart(
            convergence.states_apart(*states, rest, found), self.apart(rows, own, coarse).asked
        )


def _converged(points: Points, ran: _Ran, schedule: Schedule, shape: tuple[int, int]) -> _Ran:
    """Run suspects in float64 at their step and at a finer one until two runs agree; take the coarser.

    With a dt of the scan's own they are compared once, and flagged. What was asked for has to agree within
    less than the tolerance, by what the coarser run is off when they are so far apart. Where only rounding
    is in doubt the run in float64 is taken as it is.
    """
    suspects, rounded = _suspects(points, ran, schedule)
    if not len(suspects) + len(rounded):
        return ran
    against = _Against.of(points, schedule, shape)
    counted = step_size.most_halvings(points.scan, points.columns, schedule.steps)
    most = convergence.most_halvings(counted, ran.steps.halvings, ran.redos, schedule.steps)
    rows = suspects[ran.steps.halvings[suspects] < most[suspects]]
    doubtful = ran.doubtful.copy()
    doubtful[np.setdiff1d(suspects, rows)] = True
    ran = replace(ran, doubtful=doubtful)
    # Together, as a block that is half empty takes as long as a full one.
    both = np.concatenate([rows, rounded])
    if not len(both):
        return ran
    double = against.run(both, ran.steps.halvings[both])
    ran = _in_double(ran, rounded, double, np.arange(len(rows), len(both)))
    return _compared(against, ran, rows, double.take(np.arange(len(rows))), most)


def _compared(against: _Against, ran: _Ran, rows: Column, coarse: Result, most: Column) -> _Ran:
    """Return points of which some were run at finer and finer steps, from a `coarse` run in float64 on, as
    far as `most` halvings, and as long as that brings them closer."""
    halvings, redos, error, doubtful, bits = (
        x.copy() for x in (ran.steps.halvings, ran.redos, ran.error, ran.doubtful, ran.bits)
    )
    scan, result = against.double.scan, ran.result
    tolerance, auto = scan.protocol.tolerance, scan.protocol.dt == "auto"
    allowed = convergence.ALLOWED * tolerance
    before, stuck = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=np.int64)
    for check in range(convergence.MOST_CHECKS + 1):
        if not len(rows):
            break
        finer = np.minimum(halvings[rows] + against.telling(rows, halvings[rows]), most[rows])
        fine = against.run(rows, finer)
        found = against.apart(rows, coarse, fine)
        good = found.state <= allowed
        stuck, before = convergence.stuck(found.state, before, stuck), found.state
        if check == 0:
            rounding = against.rounding(rows, result, coarse)
            # It may be in what is not asked for, as in a standard deviation.
            taken = np.flatnonzero(good & (rounding.state > convergence.MOVING * allowed) & auto)
            result = _adopted(result, rows[taken], coarse, taken)
            bits[rows[taken]] = 64
            found = found.with_rounding(rounding, np.isin(np.arange(len(rows)), taken))
        # What a delay shorter than a given step does is not seen at half of that step.
        delayed = ran.doubtful[rows] & bool(scan.mean_field.delay) & ~np.bool_(auto)
        doubtful[rows] = delayed | ~(found.asked <= convergence.ASKED * tolerance)
        error[rows] = found.state
        again = auto & (check < convergence.MOST_CHECKS) & (stuck < convergence.MOST_STUCK)
        left = np.flatnonzero(~good & (finer < most[rows]) & again)
        before, stuck = before[left], stuck[left]
        result, rows, coarse = _adopted(result, rows[left], fine, left), rows[left], fine.take(left)
        halvings[rows] = finer[left]
        redos[rows] += 1
        bits[rows] = 64
    steps = Steps(halvings, np.where(halvings == ran.steps.halvings, ran.steps.noise_halvings, halvings))
    return _Ran(steps, result, redos, error, doubtful, bits)


def _in_double(ran: _Ran, rows: Column, found: Result, theirs: Column) -> _Ran:
    """Return the points with some of them as they were run in float64."""
    bits = ran.bits.copy()
    bits[rows] = 64
    return replace(ran, result=_adopted(ran.result, rows, found, theirs), bits=bits)


def _adopted(result: Result, rows: Column, other: Result, theirs: Column) -> Result:
    """Return a result with these rows from another that was run in float64.

    Their checkpoints are emptied: that of the first run is of another step, that of the other run of other
    observables, and a longer window goes on from neither.
    """
    given = other.take(theirs)
    observables = {
        n: y.astype(result.observables[n].dtype)
        for n, y in given.observables.items()
        if n in result.observables
    }
    changed: dict[str, Any] = {
        "observables": observables,
        "final": given.final.astype(result.final.dtype),
        "checkpoint": None if result.checkpoint is None else np.zeros_like(result.checkpoint[rows]),
    }
    if result.record is not None and given.record is not None:
        changed["record"] = given.record.astype(result.record.dtype)
    return result.replaced(rows, replace(given, **changed))


def _beside_theory(points: Points, ran: _Ran) -> Measured:
    scan, result = points.scan, ran.result
    variables = {
        **result.observables,
        "dt": (scan.protocol.base * 0.5**ran.steps.halvings).astype(np.float32),
        "error_estimate": ran.error.astype(np.float32),
        "redo_count": ran.redos,
        "precision": ran.bits,
    }
    doubtful = ran.doubtful.copy()
    if points.start is not None:
        doubtful |= points.start.doubtful
    status = result.status | np.where(doubtful, int(Status.under_resolved), 0)
    theory, unsettled = _settled(points, result)
    variables |= theory
    if noisy_rate(scan):
        variables["negative_steps"] = result.negative_steps
    status |= np.where(unsettled, int(Status.not_settled), 0)
    known = {*scan.measures, *diagnostics(scan)}
    kept = {name: value for name, value in variables.items() if name in known}
    if result.checkpoint is not None:
        kept[CHECKPOINT] = result.checkpoint
    return Measured(kept, status.astype(np.uint8), result.record, result.final)


def _settled(points: Points, result: Result) -> tuple[dict[str, Column], Column]:
    """Return the theory's variables, and whether a point that must come to rest has not.

    By Dulac's criterion with 1/r^2 the plain model has no cycle under constant input, so each of its
    trajectories ends at an equilibrium. Others may go on along a cycle: those too are not at an equilibrium.
    """
    rest = points.final_rest()
    constant = np.broadcast_to(np.isfinite(points.final_input()), (len(rest),))
    still = constant & ~points.noisy()
    settled, nearest = np.full(len(rest), -1, np.int8), np.full(len(rest), np.nan, np.float32)
    unsettled = np.zeros(len(rest), dtype=bool)
    rows = np.flatnonzero(still)
    if len(rows):
        settled[rows], nearest[rows], unsettled[rows] = _at_rest(points, result, rest, rows)
    count = np.isfinite(rest.rates).sum(axis=1).astype(np.uint8)
    return {"equilibrium_count": count, "settled_on": settled, "disagreement": nearest}, unsettled


def _at_rest(points: Points, result: Result, rest: Rest, rows: Column) -> tuple[Column, Column, Column]:
    """Return the equilibrium that points are at, -1 for none; their distance from the nearest one, NaN for
    what diverged; and whether they are at no stable one."""
    rest = rest.take(rows)
    final = tuple(result.final[rows].astype(np.float64).T)
    distance = rest.distance(final)
    if result.past is not None:
        # With a delay a point is where it was, too.
        for rate in result.past[rows].astype(np.float64).T:
            distance = np.maximum(distance, rest.distance((rate, *final[1:])))
    stable, unstable = (np.where(which, distance, np.inf) for which in (rest.stable, ~rest.stable))
    within = points.scan.protocol.tolerance
    # Column by column: NumPy is slow along an axis of three.
    at_stable, at_unstable = (reduce(np.minimum, d.T) <= within for d in (stable, unstable))
    settled = np.where(at_unstable, np.argmin(unstable, axis=1), -1)
    settled = np.where(at_stable, np.argmin(stable, axis=1), settled)
    return settled, np.where(np.isfinite(final[0]), reduce(np.minimum, distance.T), np.nan), ~at_stable


def _end(scan: Scan) -> float:
    return scan.protocol.base * (scan.protocol.transient_steps + scan.protocol.window_steps)
