"""Where theory says that a model comes to rest or goes round, long simulations must end, and nowhere else.

Every model of the family at random points of a box (`BOXES`; uniform, one seed). Theory: the equilibria with
their stability (`qifscan.equilibria`) and the stable cycles (`qifscan.cycles`). Simulation: this package's
kernel, in float64, without noise, from several kinds of starts at each point: spread over the states; 1 % off
each equilibrium, stable or not, in two directions; 1 % off each cycle. A run ends at an equilibrium (within
1e-4 of it for a whole window: where it started is not near enough), on a cycle (its period and extremes are
measured in the trace, and compared with theory's), or it is undecided. These, and those on no known cycle, go
on, four times as long each time; what is undecided then is counted as such, and as wild where the
trajectories of `qifscan.cycles` don't repeat either. A cycle that no start of `qifscan.cycles` comes to may
be on a branch of `qifscan.cycle_branches` (`+`). A stable equilibrium that no run ends at is tried again from
ten and a hundred times nearer.

It is a disagreement if a run ends where theory has nothing stable, or if nothing ends at what theory calls
stable. Prints a table and writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import qifscan as qs
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import FAMILY
from qifscan.engine.measured import Measured
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import Schedule, batch_shape

Array = np.ndarray[Any, Any]
Columns = dict[str, Array]

NEURONS = {"eta": (-8.0, 4.0), "delta": (0.3, 2.0), "tau": (0.5, 2.0), "J": (5.0, 30.0)}
SLOW = {"alpha": (0.1, 2.0), "tau_a": (2.0, 20.0)}

BOXES: dict[str, dict[str, tuple[float, float]]] = {
    "qif": NEURONS | {"J": (-10.0, 30.0)},
    "qif_adaptation_alpha": NEURONS | SLOW,
    "qif_adaptation_exponential": NEURONS | SLOW,
    "qif_depression_alpha": NEURONS | SLOW | {"alpha": (0.01, 0.1)},
    "qif_depression_exponential": NEURONS | SLOW | {"alpha": (0.01, 0.1)},
    "qif_plasticity": NEURONS
    | {"eta": (-4.0, 2.0), "J": (10.0, 60.0), "U": (0.1, 0.6), "tau_f": (5.0, 60.0), "tau_d": (5.0, 60.0)},
    "qif_synapse": NEURONS | {"eta": (-8.0, 15.0), "J": (-30.0, 30.0), "tau_d": (0.2, 5.0)},
    "qif_gap": NEURONS | {"J": (-10.0, 20.0), "g": (0.0, 4.0)},
    "qif_pair": {
        "eta_e": (-5.0, 15.0),
        "eta_i": (-15.0, 5.0),
        "delta_e": (0.3, 2.0),
        "tau_i": (0.5, 2.0),
        "J_ee": (0.0, 20.0),
        "J_ei": (-20.0, -1.0),
        "J_ie": (1.0, 20.0),
        "J_ii": (-10.0, 0.0),
    },
}

SPREAD = 6
"""Starts spread over the states of a point."""

LAND = 20.0
"""Length of the start of a run, ms."""

LENGTHS = {True: (400.0, 150.0), False: (100.0, 40.0)}
"""Length of the rest of the first run, and of the time that is looked at then, ms: of models that adapt or
depress, and of others."""

LANDED, FINE = 1e-3, 1e-4
"""Estimated relative error of the steps at the start of a run, and after it."""

BASE, TRACED = 0.05, 32
"""Longest step, ms; and how many traces are in memory at a time."""

LONGER = (1, 4, 16, 64)
"""Times the first run that undecided ones are gone on with."""

OFF, AT = 1e-2, 1e-4
"""How far from an equilibrium or a cycle runs start, and how near they must end, relative."""

SAME = 1e-3
"""Relative difference in period, and in extremes over the range, up to which two cycles are the same."""

BETWEEN = 1e-2
"""The same between points of a branch."""

REST, CYCLE, UNDECIDED = range(3)


@dataclass(frozen=True)
class Runs:
    """Simulations: point of each, where it started, how it ended (`REST` ... and which one, -1: of none that
    theory knows), and on a cycle the period and the highest value of the first variable."""

    point: Array
    start: Array
    kind: Array
    which: Array
    period: Array
    high: Array

    def chosen(self, which: Any) -> Runs:
        """Return some of them."""
        return Runs(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def joined(one: Runs, other: Runs) -> Runs:
    """Return both."""
    pairs = ((getattr(one, n), getattr(other, n)) for n in one.__dataclass_fields__)
    return Runs(*(np.concatenate(pair) for pair in pairs))


@dataclass
class Count:
    """What a table says of a model."""

    model: str
    points: int
    equilibria: int = 0
    equilibria_found: int = 0
    cycles: int = 0
    cycles_found: int = 0
    on_branches: int = 0
    runs: int = 0
    undecided: int = 0
    not_periodic: int = 0
    seconds: float = 0.0
    disagreements: list[dict[str, Any]] = field(default_factory=list)


def drawn(model: Model, count: int, seed: int) -> Columns:
    """Return all parameters of random points of the model's box, `(points,)` each."""
    rng = np.random.default_rng(seed)
    box = BOXES[model.name]
    return {
        p.name: rng.uniform(*box[p.name], count) if p.name in box else np.full(count, float(p.default or 0.0))
        for p in model.parameters
    }


@dataclass(frozen=True)
class Theory:
    """Equilibria `(points, most, n)` with their stability, and stable cycles: point, period, a state on it,
    lowest and highest states, and how far from these a run may be, relative; and at how many points
    trajectories of `qifscan.cycles` do not repeat."""

    rest: Array
    stable: Array
    point: Array
    period: Array
    on: Array
    low: Array
    high: Array
    slack: Array
    wild: Array


def theory(model: Model, columns: Columns, starts: int) -> Theory:
    """Return what `qifscan.equilibria` and `qifscan.cycles` tell of points."""
    import xarray as xr

    given = {name: xr.DataArray(values, dims="n") for name, values in columns.items()}
    rest = qs.equilibria(model.name, **given)
    found = qs.cycles(model.name, starts=starts, **given)
    point, k = np.nonzero(found["stable"].values)

    def of_cycles(kind: str) -> Array:
        return np.stack([found[f"{v}_{kind}"].values[point, k] for v in model.variable_names], axis=1)

    return Theory(
        np.stack([rest[v].values for v in model.variable_names], axis=-1),
        rest["stable"].values,
        point,
        found["period"].values[point, k],
        of_cycles("start"),
        of_cycles("min"),
        of_cycles("max"),
        np.full(len(point), SAME),
        (found["outcome"].values == 2).any(axis=1),
    )


def spread(model: Model, columns: Columns, known: Theory, seed: int) -> tuple[Array, Array]:
    """Return the points and the states that runs start from."""
    rng = np.random.default_rng(seed)
    count = len(known.rest)
    point = np.repeat(np.arange(count), SPREAD)
    unit = np.stack([sizes(model, columns, v) for v in model.variable_names], axis=1)
    some = np.where(np.isfinite(known.rest), known.rest, known.rest[:, :1])
    begin = np.empty((len(point), len(model.variables)))
    for i, variable in enumerate(model.variables):
        if variable.rate:
            begin[:, i] = unit[point, i] * 10.0 ** rng.uniform(-1.5, 1.0, len(point))
        elif variable.name.startswith("v"):
            begin[:, i] = rng.uniform(-3.0, 3.0, len(point))
        else:
            # Slow variables between half and twice of what they are at an equilibrium of the point.
            factor = 2.0 ** rng.uniform(-1.0, 1.0, len(point))
            one = some[point, rng.integers(0, some.shape[1], len(point)), i]
            begin[:, i] = np.clip(one * factor, None, 1.0 if variable.name in "ux" else None)
    points, states = [point], [begin]
    whose, k = np.nonzero(np.isfinite(known.rest[..., 0]))
    for _ in range(2):
        points.append(whose)
        states.append(off(known.rest[whose, k], unit[whose], OFF, rng))
    points.append(known.point)
    states.append(off(known.on, known.high - known.low, OFF, rng))
    return np.concatenate(points), np.concatenate(states)


def off(states: Array, unit: Array, far: float, rng: np.random.Generator) -> Array:
    """Return states moved by so much, relative, in random directions; rates stay above 0."""
    way = rng.normal(size=states.shape)
    way /= np.abs(way).max(axis=1, keepdims=True)
    size = np.minimum(np.abs(states), unit) + 1e-3 * unit
    return states + far * size * way


def sizes(model: Model, columns: Columns, name: str) -> Array:
    """Return the natural size of a variable: of a rate sqrt(delta)/(pi tau), else 1."""
    variable = next(v for v in model.variables if v.name == name)
    of = name[1:] if variable.rate else model.rates[0].population
    unit = np.sqrt(columns[f"delta{of}"]) / (np.pi * columns[f"tau{of}"])
    return unit if variable.unit == "1/ms" else np.ones_like(unit)


def simulated(
    model: Model, columns: Columns, start: Array, tolerance: float, trace: bool = False, **protocol: Any
) -> Measured:
    """Return runs of the kernel from states: the extremes in their windows, or their traces."""
    initial = dict(zip(model.variable_names, start[0].tolist(), strict=True))
    scan = qs.Scan(
        model=model.name,
        protocol=qs.Protocol(tolerance=tolerance, initial=initial, **protocol),
        observables=[f"{v}_{kind}" for v in model.variable_names for kind in ("min", "max")],
        precision="float64",
    )
    count = len(start)
    # A scan refuses a point that is there twice, and runs can come to the same state to the last bit.
    every = {name: np.repeat(column, count) for name, column in scan.columns((np.zeros(1, int),)).items()}
    every |= {name: columns[name] for name in columns}
    every |= {f"{v}_initial": start[:, i].copy() for i, v in enumerate(model.variable_names)}
    points = Points.at(scan, every, np.zeros(count, dtype=int))
    return run_points(points, Schedule.of(scan.protocol, 1 if trace else None), batch_shape(count))


def ends(model: Model, columns: Columns, known: Theory, point: Array, start: Array, near: float) -> Runs:
    """Return where runs end, at rest if within `near` of it; each as long as it takes, up to the longest."""
    kind, which = np.full(len(point), UNDECIDED), np.full(len(point), -1)
    period, high = np.full(len(point), np.nan), np.full(len(point), np.nan)
    every = {name: values[point] for name, values in columns.items()}
    # The first of a run can be so violent that it alone would set the step of all of it.
    state = simulated(model, every, start, LANDED, transient=0.0, window=LAND).final
    assert state is not None
    left = np.arange(len(point))
    settle, window = LENGTHS[any(p.name in ("tau_a", "tau_f") for p in model.parameters)]
    for times in LONGER:
        here = {name: values[left] for name, values in every.items()}
        done = simulated(model, here, state[left], FINE, transient=settle * times, window=window)
        assert done.final is not None
        state[left] = done.final
        kind[left], which[left] = at_rest(model, columns, known, point[left], done, near)
        on = kind[left] == UNDECIDED
        left, steps = left[on], done.variables["dt"][on].astype(np.float64)
        for row, found in laps(model, every, state, left, steps, window * min(times, 4)):
            kind[row], which[row] = going_round(model, known, columns, int(point[row]), found)
            if found is not None:
                period[row], high[row] = found[0], found[2][0]
        # What all but repeats may be on its slow way to a cycle that is known.
        left = left[(kind[left] == UNDECIDED) | ((kind[left] == CYCLE) & (which[left] < 0))]
        if not len(left):
            break
    return Runs(point, start, kind, which, period, high)


def closer(model: Model, columns: Columns, known: Theory, runs: Runs, seed: int) -> Runs:
    """Return runs from ten and a hundred times nearer to stable equilibria that no run ended at: a basin can
    be small."""
    rng = np.random.default_rng(seed)
    unit = np.stack([sizes(model, columns, v) for v in model.variable_names], axis=1)
    found = runs.chosen(slice(0, 0))
    for times in (0.1, 0.01):
        reached = set(zip(*(a.tolist() for a in by_kind(joined(runs, found), REST)), strict=True))
        missed = [pk for pk in np.argwhere(known.stable).tolist() if tuple(pk) not in reached]
        if not missed:
            break
        whose, k = np.array(missed).T
        start = off(known.rest[whose, k], unit[whose], OFF * times, rng)
        found = joined(found, ends(model, columns, known, whose, start, AT * times))
    return found


def laps(
    model: Model, every: Columns, state: Array, left: Array, steps: Array, window: float
) -> Iterator[tuple[int, tuple[float, Array, Array] | None]]:
    """Return of runs that go on, each traced at the step that it needs, the period and the extremes."""
    for dt in np.unique(steps).tolist():
        of_step = left[steps == dt]
        for first in range(0, len(of_step), TRACED):
            some = of_step[first : first + TRACED]
            here = {name: values[some] for name, values in every.items()}
            dt_ = BASE * 0.5 ** round(np.log2(BASE / dt))
            traced = simulated(model, here, state[some], FINE, True, transient=0.0, window=window, dt=dt_)
            record = traced.record
            assert record is not None
            for row, trace in zip(some.tolist(), record, strict=True):
                found = measured(trace)
                yield row, found and (dt_ * found[0], *found[1:])


def at_rest(
    model: Model, columns: Columns, known: Theory, point: Array, done: Measured, near: float
) -> tuple[Array, Array]:
    """Return of runs whether they stayed near a stable equilibrium, and which; an unstable one they may
    leave yet."""
    low = np.stack([done.variables[f"{v}_min"] for v in model.variable_names], axis=1)
    high = np.stack([done.variables[f"{v}_max"] for v in model.variable_names], axis=1)
    unit = np.stack([sizes(model, columns, v) for v in model.variable_names], axis=1)[point]
    rest = known.rest[point]
    size = np.abs(rest) + 0.1 * unit[:, None]
    apart = np.maximum(np.abs(low[:, None] - rest), np.abs(high[:, None] - rest)) / size
    distance = apart.max(axis=2)
    distance = np.where(np.isnan(distance), np.inf, distance)
    best = distance.argmin(axis=1)
    row = np.arange(len(point))
    here = (distance[row, best] < near) & known.stable[point, best]
    # A run that stands still elsewhere has found an equilibrium that theory does not have.
    still = ((high - low) / (np.abs(low) + unit)).max(axis=1) < 1e-9
    kind = np.where(here | (still & (distance[row, best] > 0.1)), REST, UNDECIDED)
    return kind, np.where(here, best, -1)


def going_round(
    model: Model, known: Theory, columns: Columns, point: int, found: tuple[float, Array, Array] | None
) -> tuple[int, int]:
    """Return of a run whether it repeats, and on which of the point's cycles."""
    if found is None:
        return UNDECIDED, -1
    period, low, high = found
    unit = np.array([sizes(model, columns, v)[point] for v in model.variable_names])
    if ((high - low) / unit).max() < 1e-3:
        # Still winding in to an equilibrium, or out of one.
        return UNDECIDED, -1
    for k in np.flatnonzero(known.point == point).tolist():
        apart = np.maximum(np.abs(low - known.low[k]), np.abs(high - known.high[k]))
        close = (apart / (known.high[k] - known.low[k])).max() < known.slack[k]
        if close and abs(period / known.period[k] - 1.0) < known.slack[k]:
            return CYCLE, k
    return CYCLE, -1


def measured(trace: Array) -> tuple[float, Array, Array] | None:
    """Return the period, in steps, and the extremes of a trace `(steps, n)` that repeats to `SAME`, or None.

    The section is where the first variable rises through the middle of its range; a period is the least
    number of returns after which the trajectory is where it was, all through the window.
    """
    r = trace[:, 0]
    level = 0.5 * (r.min() + r.max())
    at = np.flatnonzero((r[:-1] < level) & (r[1:] >= level))
    at = at[(at > 0) & (at < len(r) - 2)]
    if len(at) < 3:
        return None
    times, states = crossings(trace, at, level)
    width = np.ptp(trace, axis=0)
    for k in range(1, (len(at) - 1) // 2 + 1):
        # Of every lap with every other: one that winds in by little each time is on no cycle yet.
        if max((np.ptp(states[j::k], axis=0) / width).max() for j in range(k)) < SAME:
            low, high = extremes(trace)
            return float((times[k:] - times[:-k]).mean()), low, high
    return None


def cubic(trace: Array, at: Array, x: Array) -> Array:
    """Return states a fraction x after some steps, by the cubic through the four around it."""
    weights = (
        -x * (x - 1.0) * (x - 2.0) / 6.0,
        (x + 1.0) * (x - 1.0) * (x - 2.0) / 2.0,
        -(x + 1.0) * x * (x - 2.0) / 2.0,
        (x + 1.0) * x * (x - 1.0) / 6.0,
    )
    return sum(w[:, None] * trace[at + j - 1] for j, w in enumerate(weights))


def crossings(trace: Array, at: Array, level: float) -> tuple[Array, Array]:
    """Return when the first variable rises through a level, in steps, and the states there."""
    low, high = np.zeros(len(at)), np.ones(len(at))
    for _ in range(40):
        x = 0.5 * (low + high)
        below = cubic(trace, at, x)[:, 0] < level
        low, high = np.where(below, x, low), np.where(below, high, x)
    return at + high, cubic(trace, at, high)


def extremes(trace: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest value of every variable, by the parabola through three."""
    found = []
    for sign in (-1.0, 1.0):
        inner = sign * trace[1:-1]
        at = inner.argmax(axis=0)
        column = np.arange(trace.shape[1])
        a, b, c = (sign * trace[at + j, column] for j in range(3))
        bend = a - 2.0 * b + c
        found.append(sign * (b - np.where(bend < 0.0, (c - a) ** 2 / (8.0 * np.minimum(bend, -1e-300)), 0.0)))
    return found[0], found[1]


def compared(name: str, points: int, seed: int) -> Count:
    """Return how theory and simulation of a model agree at random points."""
    begin = time.perf_counter()
    model = FAMILY[name]
    columns = drawn(model, points, seed)
    known = theory(model, columns, starts=4)
    runs = ends(model, columns, known, *spread(model, columns, known, seed + 1), AT)
    runs = joined(runs, closer(model, columns, known, runs, seed + 2))
    count = Count(name, points, runs=len(runs.point))
    judge(model, columns, known, runs, count)
    count.seconds = time.perf_counter() - begin
    return count


def judge(model: Model, columns: Columns, known: Theory, runs: Runs, count: Count) -> None:
    """Count what was found, and note every disagreement with its parameters."""

    def note(what: str, point: int, **more: Any) -> None:
        given = {name: float(values[point]) for name, values in columns.items()}
        count.disagreements.append({"what": what, "point": point, "parameters": given} | more)

    reached = {(int(p), int(k)) for p, k in zip(*by_kind(runs, REST), strict=True)}
    for p, k in np.argwhere(known.stable).tolist():
        count.equilibria += 1
        count.equilibria_found += (p, k) in reached
        if (p, k) not in reached:
            note("no run ends at a stable equilibrium", p, state=known.rest[p, k].tolist())
    gone_round = set(by_kind(runs, CYCLE)[1].tolist())
    for k in range(len(known.point)):
        count.cycles += 1
        count.cycles_found += k in gone_round
        if k not in gone_round:
            note("no run goes round a stable cycle", int(known.point[k]), period=float(known.period[k]))
    astray = (runs.kind == CYCLE) & (runs.which < 0)
    for point in np.unique(runs.point[astray]).tolist():
        rows = np.flatnonzero(astray & (runs.point == point))
        on_it = on_branches(model, columns, point, runs.period[rows], runs.high[rows])
        count.on_branches += bool(on_it.any())
        astray[rows[on_it]] = False
    nowhere = (runs.kind == REST) & (runs.which < 0)
    for what, which in (("rests where there is no equilibrium", nowhere), ("is on no known cycle", astray)):
        for row in np.flatnonzero(which).tolist():
            note(f"a run {what}", int(runs.point[row]), start=runs.start[row].tolist())
    for row in np.flatnonzero(runs.kind == UNDECIDED).tolist():
        wild = bool(known.wild[runs.point[row]])
        count.not_periodic += wild
        count.undecided += not wild


def on_branches(model: Model, columns: Columns, point: int, period: Array, high: Array) -> Any:
    """Tell which cycles, by period and highest value, are stable ones on a branch from a Hopf point of the
    slice: `qifscan.cycles` finds but what its own starts come to. Between two points of a branch both
    numbers are interpolated, and right to `BETWEEN`."""
    fixed = {name: float(values[point]) for name, values in columns.items() if name != model.graph}
    found = qs.cycle_branches(model.name, points=400, **fixed)
    value, stable = found[model.graph].values - columns[model.graph][point], found["stable"].values
    same = np.diff(found["branch"].values) == 0
    on_it = np.zeros(len(period), dtype=bool)
    for k in np.flatnonzero(same & (value[1:] * value[:-1] <= 0.0) & stable[1:] & stable[:-1]).tolist():
        part = value[k] / (value[k] - value[k + 1])
        near = np.ones(len(period), dtype=bool)
        for name, own in (("period", period), (f"{model.variable_names[0]}_max", high)):
            there = found[name].values[k] + part * (found[name].values[k + 1] - found[name].values[k])
            near &= np.abs(own / there - 1.0) < BETWEEN
        on_it |= near
    return on_it


def by_kind(runs: Runs, kind: int) -> tuple[Array, Array]:
    """Return the points of the runs that end in one way, and at which of its equilibria or cycles."""
    some = (runs.kind == kind) & (runs.which >= 0)
    return runs.point[some], runs.which[some]


HEAD = f"{'model':<28}{'points':>8}{'equilibria':>12}{'found':>8}{'cycles':>8}{'found':>8}{'+':>4}"
HEAD += f"{'runs':>8}{'wild':>6}{'undecided':>11}{'disagree':>10}{'time':>9}"


def line(count: Count) -> str:
    """Return the row of a model in the table."""
    return (
        f"{count.model:<28}{count.points:>8}{count.equilibria:>12}{count.equilibria_found:>8}"
        f"{count.cycles:>8}{count.cycles_found:>8}{count.on_branches:>4}{count.runs:>8}{count.not_periodic:>6}"
        f"{count.undecided:>11}{len(count.disagreements):>10}{count.seconds:>7.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200, help="random points of each model")
    parser.add_argument("--seed", type=int, default=2015)
    parser.add_argument("--models", nargs="+", default=list(BOXES), choices=list(BOXES))
    parser.add_argument("--output", type=Path, default=Path("theory_and_simulation.json"))
    options = parser.parse_args()
    print(HEAD)
    record = []
    for name in options.models:
        count = compared(name, options.points, options.seed)
        print(line(count), flush=True)
        record.append(vars(count))
    record_of_all = {"seed": options.seed, "boxes": BOXES, "models": record}
    options.output.write_text(json.dumps(record_of_all, indent=2))


if __name__ == "__main__":
    main()
