"""A sample of stored points beside an adaptive solver, in every observable that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.engine import inputs
from qifscan.engine.points import Points
from qifscan.engine.program import Program
from qifscan.errors import counted
from qifscan.truth import adaptive, deviations, equations
from qifscan.truth.adaptive import Array
from qifscan.truth.deviations import Questions
from qifscan.truth.equations import Point

MOST_POINTS = 32
"""Points of a sample that the adaptive solver runs."""

MOST_STEPS = 20_000
"""Steps of a run up to which it is run again: some seconds for all points together."""

SHOWN = 3
"""Points that are named for each observable that is not true."""

FLAGGED = int(Status.diverged | Status.under_resolved)


@dataclass(frozen=True)
class Comparison:
    """How a sample compares with an adaptive solver (`adaptive`).

    `points` and `numbers` that were compared; `largest` is the largest error of a point that is not flagged,
    in units of what the tolerance allows; `left_out` counts the points that were not compared, by the reason.
    """

    points: int = 0
    numbers: int = 0
    largest: float = 0.0
    left_out: dict[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        compared = (
            f"{counted(self.numbers, 'number')} of {counted(self.points, 'point')}, errors of at most "
            f"{self.largest:.2g} of the tolerance"
        )
        parts = [compared] if self.points else ["nothing compared"]
        parts += [f"{count} left out ({reason})" for reason, count in self.left_out.items() if count]
        return "; ".join(parts)


def compare(points: Points, stored: Mapping[str, Array], place: Callable[[int], str]) -> Comparison:
    """Compare stored values `(points,)` of every observable with the truth; `place` names a row in words."""
    left_out, rows = _chosen(points, stored)
    if not len(rows):
        return Comparison(left_out=left_out)
    chosen = points.take(rows)
    asked, given = _asked(chosen), _given(chosen)
    found = {name: stored[name][rows] for name in (*asked.observables, "dt")}
    right = adaptive.solved(asked.model, given)
    off = deviations.deviations(asked, right, found, points.scan.protocol.tolerance)
    if any(row.spectral for row in points.scan.measures.values()):
        period = deviations.periods(asked.model, given, right)
        off |= deviations.frequency_deviations(asked, period, right, found)
    table = np.stack(list(off.values()))
    highest = np.max(np.where(np.isnan(table), -1.0, table), axis=0)
    beyond = np.flatnonzero(highest > 1.0)
    kept = deviations.confirmed(asked, given, right, beyond)
    lost = np.zeros(len(rows), dtype=bool)
    lost[[row for row in beyond if row not in kept]] = True
    lost |= highest < 0.0
    left_out |= {"no solver can tell": int(lost.sum())}
    faults = []
    for name, errors in off.items():
        wrong = [row for row in np.flatnonzero(errors > 1.0).tolist() if row in kept]
        for row in wrong[:SHOWN]:
            told = f"stored {found[name][row]:.6g}, not true"
            if name in right.values:
                told += f": an adaptive solver finds {right.values[name][row]:.6g}"
            faults.append(f"{name} at {place(int(rows[row]))}: {told}; and not flagged")
    numbers = int(np.isfinite(table[:, ~lost]).sum())
    return Comparison(
        int((~lost).sum()), numbers, float(np.max(highest[~lost], initial=0.0)), left_out, tuple(faults)
    )


def _chosen(points: Points, stored: Mapping[str, Array]) -> tuple[dict[str, int], Array]:
    """Return how many points are left out, by the reason, and the rows of those that are compared."""
    scan, count = points.scan, len(stored["status"])
    own = np.full(count, scan.model not in equations.MODELS)
    steps = (scan.protocol.transient_steps + scan.protocol.window_steps) * scan.protocol.base / stored["dt"]
    reasons = {
        "a model of one's own": own,
        "observables of one's own alone": np.full(count, all(":" in name for name in scan.observables)),
        "noise": points.noisy(),
        "flagged": stored["status"] & FLAGGED > 0,
        f"over {MOST_STEPS:,} steps": ~(steps <= MOST_STEPS),
    }
    left, left_out = np.ones(count, dtype=bool), {}
    for reason, those in reasons.items():
        left_out[reason] = int(np.count_nonzero(left & those))
        left &= ~those
    rows = np.flatnonzero(left)
    # Spread over the sample, which is in order.
    taken = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).round().astype(int))
    left_out[f"at most {MOST_POINTS} points are solved"] = len(rows) - len(taken)
    return left_out, rows[taken]


def _asked(points: Points) -> Questions:
    scan = points.scan
    begin = scan.protocol.transient_steps * scan.protocol.base
    end = begin + scan.protocol.window_steps * scan.protocol.base
    # The solver has its own code for every observable of the package, and none for a user's.
    known = tuple(name for name in scan.observables if ":" not in name)
    return Questions(scan.model, points.columns, known, begin, end)


def _given(points: Points) -> list[Point]:
    """Return points as the adaptive solver takes them."""
    scan, asked = points.scan, _asked(points)
    program = Program.of(scan)
    start = np.stack(inputs.initial_state(program, points.columns, points.rest), axis=1).astype(float)
    if points.start is not None:
        start = np.where(np.isnan(points.start.state), start, points.start.state)
    levels = inputs.thresholds(points.columns, points.rest) if program.levels else None
    numbers = {name: column for name, column in points.columns.items() if column.dtype.kind == "f"}
    drive = None if scan.drive is None else scan.drive.model_dump()
    found = []
    for row in range(len(start)):
        ends = None if levels is None else tuple(float(y[row]) for y in levels.values())
        found.append(
            Point(
                {name: float(column[row]) for name, column in numbers.items()},
                tuple(start[row].tolist()),
                drive,
                asked.begin,
                asked.end,
                (ends[0], ends[1]) if ends is not None and np.isfinite(ends).all() else None,
                any(row.tangents for row in scan.measures.values()),
            )
        )
    return found
