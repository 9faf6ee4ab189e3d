"""Regions that bifurcations bound, at random slices, beside what long simulations come to.

Planes of two parameters, of models that have cycles: all other parameters at random in a box, one seed; some
random values of the second parameter are slices. In each plane curves of folds, period doublings and torus
bifurcations of cycles (`qifscan.curve`) begin at one of the slices. Of a slice folds and Hopf points of
equilibria (`qifscan.special_points`), branches of cycles with their bifurcations and homoclinic orbits bound
intervals (`qifscan.cycle_branches`, from Hopf points, with cycles of two periods, and from what
simulation finds at three values). At a random place in each interval runs of
benchmarks/theory_and_simulation.py start, spread over the states and beside what there is at rest or goes
round, stable or not. Theory there: the equilibria, and the stable cycles of the branches, between two of
whose points numbers are interpolated.

A disagreement is a run that ends where theory has nothing stable, a stable equilibrium or cycle at which no
run ends, and a bifurcation of a branch at which no curve begins. Each is printed with the Python that shows
it. What theory does not claim is counted by itself: cycles beyond where a branch was cut off, or on no
branch that was begun; and of bifurcations on no curve that began at the one slice why, told by the curve that
begins at their own: whether it comes to that slice, and what ends both. `--curves` leaves the runs out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from theory_and_simulation import (
    AT,
    BOXES,
    CYCLE,
    LENGTHS,
    LONGER,
    REST,
    UNDECIDED,
    Array,
    Columns,
    Theory,
    by_kind,
    closer,
    ends,
    joined,
    spread,
)

import qifscan as qs
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import FAMILY
from qifscan.errors import ScanError
from qifscan.limit_cycles.duplicates import places_on
from qifscan.theory.codes import HB, LP, LPC, PD, TR

MODELS = {name: BOXES[name] for name in BOXES if name != "qif"}
MODELS["qif_pair_synapse"] = {
    "eta_e": (-6.0, 10.0),
    "eta_i": (-15.0, 5.0),
    "tau_e": (4.0, 12.0),
    "tau_i": (4.0, 12.0),
    "J_ee": (0.0, 15.0),
    "J_ei": (-20.0, -5.0),
    "J_ie": (5.0, 20.0),
    "J_ii": (-10.0, 0.0),
    "tau_se": (0.5, 3.0),
    "tau_si": (1.0, 10.0),
}

STARTED = (0.2, 0.5, 0.8)
"""Where in the range of the first parameter branches from simulation begin."""

LONGEST = 1000.0
"""Longest period, ms."""

KINDS = {"LPC": LPC, "PD": PD, "NS": TR}

MOST = 6
"""Intervals of a slice in which runs start; of more, as many by chance."""

BETWEEN = 2e-3
"""Relative difference between a run and a cycle that is interpolated between two of a branch, besides a
quarter of the difference between these."""

ENOUGH = 10.0
"""By how many factors of e what is left of a distance must shrink in a run, to be told at rest."""

WHOLE = ("hopf_point", "closed", "within", "period_doubling")
"""Ends of branches beyond which there is nothing in the range."""


def process_time() -> float:
    """Return seconds of this process."""
    return sum(os.times()[:2])


@dataclass
class Count:
    """What a table says of a model."""

    model: str
    slices: int = 0
    intervals: int = 0
    rests: int = 0
    rests_found: int = 0
    cycles: int = 0
    cycles_found: int = 0
    runs: int = 0
    undecided: int = 0
    on_curves: int = 0
    on_no_curve: int = 0
    why: Counter[str] = field(default_factory=Counter)
    apart: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    disagreements: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Plane:
    """A model, its second parameter, the slices, and what else is fixed."""

    model: Model
    second: str
    values: Array
    fixed: dict[str, float]

    @property
    def box(self) -> dict[str, tuple[float, float]]:
        """The ranges of the parameters."""
        return MODELS[self.model.name]

    @property
    def slices(self) -> dict[str, Any]:
        """What is given of slices."""
        return self.fixed | {self.second: xr.DataArray(self.values, dims="own")}


def planes(name: str, count: int, slices: int, seed: int) -> Iterator[Plane]:
    """Return random planes with random slices."""
    rng = np.random.default_rng([seed, list(MODELS).index(name)])
    model, box = FAMILY[name], MODELS[name]
    for _ in range(count):
        given = {p.name: float(p.default) for p in model.parameters}
        given |= {key: float(rng.uniform(*limits)) for key, limits in box.items()}
        second = str(rng.choice([key for key in box if key != model.graph]))
        del given[second], given[model.graph]
        low, high = box[second]
        yield Plane(model, second, rng.uniform(low, high, slices), given)


# Theory


def curves(plane: Plane, cycles: xr.Dataset) -> dict[str, tuple[float, xr.Dataset]]:
    """Return a slice that has bifurcations of cycles and the curves through them, by kind."""
    found = {}
    slices = cycles["slice"].values[cycles["branch"].values]
    for kind, code in KINDS.items():
        some = np.unique(slices[cycles["type"].values == code])
        if some.size:
            value = float(plane.values[some[len(some) // 2]])
            line = curve(plane, kind, value)
            if line is not None:
                found[kind] = value, line
    return found


def curve(plane: Plane, kind: str, value: float) -> xr.Dataset | None:
    """Return the curves that begin at a slice, None if there are none."""
    options = {"along": plane.model.graph, "through": plane.second, "points": 100, "doublings": 1}
    options |= {"between": plane.box[plane.model.graph], "within": plane.box[plane.second]}
    try:
        return qs.curve(plane.model.name, kind, **options, at=value, **plane.fixed)
    except ScanError:
        return None


def branches(plane: Plane, simulated_too: bool) -> list[xr.Dataset]:
    """Return the branches of cycles of the slices: from Hopf points, then from what simulation finds."""
    low, high = plane.box[plane.model.graph]
    options = {"within": (low, high), "points": 300, "longest": LONGEST} | plane.slices
    found = [qs.cycle_branches(plane.model.name, doublings=1, **options)]
    for part in STARTED if simulated_too else ():
        at = low + (high - low) * part
        found.append(qs.cycle_branches(plane.model.name, at=at, starts=2, **options))
    return found


def of_slice(found: xr.Dataset, k: int) -> xr.Dataset:
    """Return what a dataset of branches or special points has of one slice."""
    if "branches" not in found.dims:
        return found.isel(point=found["slice"].values == k)
    own = np.flatnonzero(found["slice"].values == k)
    return found.isel(point=np.isin(found["branch"].values, own), branches=own)


def places(plane: Plane, rest: xr.Dataset, cycles: list[xr.Dataset], rng: np.random.Generator) -> Array:
    """Return a random place in each interval of a slice that bifurcations bound."""
    graph = plane.model.graph
    low, high = plane.box[graph]
    at = [rest[graph].values[np.isin(rest["type"].values, (LP, HB))]]
    for one in cycles:
        at += [one["homoclinic"].values, one[graph].values[np.isin(one["type"].values, (LPC, PD, TR))]]
    bounds = np.concatenate(([low, high], *at))
    bounds = np.unique(bounds[(bounds >= low) & (bounds <= high)])
    wide = np.flatnonzero(np.diff(bounds) > 1e-5 * (high - low))
    some = np.sort(rng.permutation(wide)[:MOST])
    return bounds[some] + rng.uniform(0.1, 0.9, len(some)) * (bounds[some + 1] - bounds[some])


def cycles_at(plane: Plane, several: list[xr.Dataset], value: float) -> list[dict[str, Any]]:
    """Return the stable cycles of a slice at a value of the graph parameter, each once."""
    rows: list[dict[str, Any]] = []
    for found in several:
        for row in between_points(plane, found, value):
            if all(abs(row["period"] / one["period"] - 1.0) > row["slack"] for one in rows):
                rows.append(row)
    return rows


def between_points(plane: Plane, found: xr.Dataset, value: float) -> list[dict[str, Any]]:
    """Return the stable cycles of branches at a value of the graph parameter, by interpolation."""
    offset = found[plane.model.graph].values - value
    known = found["stable"].values
    rows = []
    same = np.diff(found["branch"].values) == 0
    for k in np.flatnonzero(same & (offset[1:] * offset[:-1] <= 0.0)).tolist():
        # A bifurcation itself is not called stable: there what lies beyond it tells.
        sides = [k if known[k] else k - 1, k + 1 if known[k + 1] else k + 2]
        ordinary = found["type"].values[[k, k + 1]] == 0
        inside = sides[0] >= 0 and sides[1] < len(known)
        if not (inside and known[sides].all() and ((known[[k, k + 1]]) | ~ordinary).all()):
            continue
        part = offset[k] / (offset[k] - offset[k + 1])
        names = plane.model.variable_names
        columns = {"period": found["period"].values[:, None]}
        columns |= {kind: np.stack([found[f"{v}_{kind}"].values for v in names], 1) for kind in EXTREMES}
        row = {key: (1.0 - part) * x[k] + part * x[k + 1] for key, x in columns.items()}
        size = row["max"] - row["min"]
        change = [np.abs(columns[key][k + 1] - columns[key][k]) / size for key in ("min", "max")]
        change.append(np.abs(columns["period"][k + 1] / columns["period"][k] - 1.0))
        row["slack"] = BETWEEN + 0.25 * max(float(c.max()) for c in change)
        rows.append(row | {"period": float(row["period"][0])})
    return rows


EXTREMES = ("min", "max", "start")


def theory(plane: Plane, whose: list[list[xr.Dataset]], columns: Columns) -> Theory:
    """Return what is at rest and what goes round at places: `whose` are the branches of the slice of each."""
    given = {name: xr.DataArray(values, dims="n") for name, values in columns.items()}
    rest = qs.equilibria(plane.model.name, **given)
    rows, point = [], []
    for k, found in enumerate(whose):
        own = cycles_at(plane, found, float(columns[plane.model.graph][k]))
        rows += own
        point += [k] * len(own)
    n = len(plane.model.variables)
    on, low, high = (np.array([row[key] for row in rows]).reshape(-1, n) for key in ("start", "min", "max"))
    return Theory(
        np.stack([rest[v].values for v in plane.model.variable_names], axis=-1),
        rest["stable"].values,
        np.array(point, dtype=np.intp),
        np.array([row["period"] for row in rows]),
        on,
        low,
        high,
        np.array([row["slack"] for row in rows]),
        np.zeros(len(whose), dtype=bool),
    )


# Comparison


def compared(name: str, count: int, slices: int, seed: int, runs: bool) -> Count:
    """Return how theory and simulation of a model agree at the slices of some planes."""
    begin = process_time()
    told = Count(name)
    for number, plane in enumerate(planes(name, count, slices, seed)):
        rng = np.random.default_rng([seed, number])
        rest = qs.special_points(name, plane.model.graph, **plane.slices)
        cycles = branches(plane, runs)
        lines = curves(plane, cycles[0])
        own = [[of_slice(one, k) for one in cycles] for k in range(slices)]
        for k, one in enumerate(own):
            on_curves(plane, lines, one[0], float(plane.values[k]), told)
        told.slices += slices
        told.seconds = process_time() - begin
        print(f"{name}: {told.slices} slices, {told.seconds:.0f} s", end="\r", file=sys.stderr)
        if not runs:
            continue
        at = [places(plane, of_slice(rest, k), own[k], rng) for k in range(slices)]
        whose = np.repeat(np.arange(slices), [len(x) for x in at])
        columns = {key: np.full(len(whose), value) for key, value in plane.fixed.items()}
        columns |= {plane.second: plane.values[whose], plane.model.graph: np.concatenate(at)}
        columns = {p.name: columns[p.name] for p in plane.model.parameters}
        simulated(plane, [own[k] for k in whose], columns, seed + number, told)
        told.intervals += len(whose)
    told.seconds = process_time() - begin
    return told


def simulated(plane: Plane, whose: list[list[xr.Dataset]], columns: Columns, seed: int, told: Count) -> None:
    """Run from many starts at places, and count how theory and runs agree."""
    model, known = plane.model, theory(plane, whose, columns)
    runs = ends(model, columns, known, *spread(model, columns, known, seed + 1), AT)
    runs = joined(runs, closer(model, columns, known, runs, seed + 2))
    told.runs += len(runs.point)
    told.undecided += int((runs.kind == UNDECIDED).sum())

    def note(what: str, point: int, **more: Any) -> None:
        given = {key: float(values[point]) for key, values in columns.items()}
        shows = f'qs.cycle_branches("{model.name}", {call(given, without=model.graph)})'
        told.disagreements.append({"what": what, "parameters": given, "shown by": shows} | more)

    reached = {(int(p), int(k)) for p, k in zip(*by_kind(runs, REST), strict=True)}
    for p, k in np.argwhere(known.stable).tolist():
        told.rests += 1
        told.rests_found += (p, k) in reached
        if (p, k) not in reached:
            slow = settles(model, columns, p, k) < ENOUGH
            told.apart["settles in longer than runs are"] += slow
            what = "no run ends at a stable equilibrium" + slow * ": it settles in longer than runs are"
            note(what, p, state=known.rest[p, k].tolist(), claimed=not slow)
    round_ = set(by_kind(runs, CYCLE)[1].tolist())
    for k, p in enumerate(known.point.tolist()):
        told.cycles += 1
        told.cycles_found += k in round_
        if k not in round_:
            note("no run goes round a stable cycle", p, period=float(known.period[k]))
    astray = (runs.which < 0) & (runs.kind != UNDECIDED)
    for p in np.unique(runs.point[astray]).tolist():
        rows = astray & (runs.point == p)
        period = runs.period[rows & (runs.kind == CYCLE)]
        why = unclaimed(plane, whose[p], columns, p, period) if len(period) else ""
        if why:
            told.apart[why] += 1
        start = runs.start[np.flatnonzero(rows)[0]].tolist()
        what = f"a run comes to a cycle: {why}" if why else "a run ends where nothing is stable"
        note(what, p, start=start, periods=sorted({round(float(x), 4) for x in period}), claimed=not why)


def settles(model: Model, columns: Columns, point: int, which: int) -> float:
    """Return by how many factors of e the slowest direction of an equilibrium shrinks in the longest run."""
    given = {key: float(values[point]) for key, values in columns.items()}
    slowest = qs.equilibria(model.name, **given)["eigenvalue_real"].values[which].max()
    settle, _ = LENGTHS[any(p.name in ("tau_a", "tau_f") for p in model.parameters)]
    return float(-slowest * settle * sum(LONGER))


def between_bifurcations(plane: Plane, several: list[xr.Dataset], value: float) -> list[float]:
    """Return the periods of cycles between a bifurcation and the next point of a branch."""
    found = []
    for one in several:
        offset, period = one[plane.model.graph].values - value, one["period"].values
        crossed = (np.diff(one["branch"].values) == 0) & (offset[1:] * offset[:-1] <= 0.0)
        beside = (one["type"].values[1:] != 0) | (one["type"].values[:-1] != 0)
        for k in np.flatnonzero(crossed & beside).tolist():
            part = offset[k] / (offset[k] - offset[k + 1])
            found.append(float((1.0 - part) * period[k] + part * period[k + 1]))
    return found


def unclaimed(plane: Plane, several: list[xr.Dataset], columns: Columns, point: int, period: Array) -> str:
    """Return why theory does not claim to have the cycles of some runs, "" if it does."""
    names = several[0]["end"].attrs["flag_meanings"].split()
    cut = {names[k] for found in several for k in found["end"].values if names[k] not in WHOLE}
    graph = plane.model.graph
    beside = np.array(between_bifurcations(plane, several, float(columns[graph][point])))
    if len(beside) and all(np.abs(beside / x - 1.0).min() < 5e-2 for x in period):
        return "between two bifurcations of a branch, with no point between them"
    fixed = {key: float(values[point]) for key, values in columns.items() if key != graph}
    isolated = qs.cycle_branches(
        plane.model.name, at=float(columns[graph][point]), within=plane.box[graph], points=400, **fixed
    )
    there = isolated["period"].values[isolated[graph].values == columns[graph][point]]
    is_there = bool(len(there)) and all(np.abs(there / x - 1.0).min() < 1e-2 for x in period)
    if cut:
        return f"a branch was cut off ({', '.join(sorted(cut))})"
    return "on no branch from a Hopf point or the values tried" if is_there else ""


def on_curves(
    plane: Plane, lines: dict[str, tuple[float, xr.Dataset]], found: xr.Dataset, value: float, told: Count
) -> None:
    """Count the bifurcations of a slice that lie on a curve, each once, and say why the others don't."""
    graph = plane.model.graph
    for kind, code in KINDS.items():
        rows = found.isel(point=found["type"].values == code)
        points = np.stack([rows[graph], np.full(rows.sizes["point"], value), np.log(rows["period"])], axis=1)
        # A branch that is followed from both of its ends has them twice.
        first = [k for k, x in enumerate(points) if not (np.abs(points[:k] - x).max(axis=1) < 1e-6).any()]
        left = [
            x for x in points[first] if kind not in lines or pieces_through(plane, lines[kind][1], x) == []
        ]
        told.on_curves += len(first) - len(left)
        told.on_no_curve += len(left)
        own = curve(plane, kind, value) if left else None
        for x in left:
            why = missed(plane, lines.get(kind), own, x)
            told.why[why] += 1
            if why in WRONG:
                given = plane.fixed | {plane.second: value, graph: float(x[0])}
                shows = f'qs.curve("{plane.model.name}", "{kind}", through="{plane.second}", at={value!r}, '
                shows += f"doublings=1, {call(plane.fixed, without=graph)})"
                what = f"{kind} of period {np.exp(x[2]):.6g}: {why}"
                told.disagreements.append({"what": what, "parameters": given, "shown by": shows})


WRONG = ("no curve begins there", "a curve comes by where it is on no curve")
"""Why a bifurcation lies on no curve: those that no end of a curve explains."""


def place(plane: Plane, piece: xr.Dataset) -> Array:
    """Return both parameters and the logarithm of the period along a curve."""
    return np.stack([piece[plane.model.graph], piece[plane.second], np.log(piece["period"])], axis=1)


def pieces_through(plane: Plane, line: xr.Dataset, point: Array) -> list[int]:
    """Return the curves that pass through a point."""
    found = []
    for number in range(line.sizes["pieces"]):
        through = place(plane, line.isel(point=line["piece"].values == number))
        if np.isfinite(places_on(point[None], through)).all():
            found.append(number)
    return found


def missed(plane: Plane, begun: tuple[float, xr.Dataset] | None, own: xr.Dataset | None, point: Array) -> str:
    """Return why a bifurcation lies on no curve from another slice."""
    through = [] if own is None else pieces_through(plane, own, point)
    if own is None or not through:
        return WRONG[0]
    if begun is None:
        return "no curve began elsewhere"
    value, line = begun
    names = line["end"].attrs["flag_meanings"].split()
    there = place(plane, own.isel(point=own["piece"].values == through[0]))
    crossing = np.flatnonzero((there[1:, 1] - value) * (there[:-1, 1] - value) <= 0.0)
    if not len(crossing):
        ends = sorted({names[int(own[side][through[0]])] for side in ("start", "end")})
        return f"its curve does not come to where the others began ({', '.join(ends)})"
    for k in crossing.tolist():
        part = (value - there[k, 1]) / (there[k + 1, 1] - there[k, 1])
        same = pieces_through(plane, line, (1.0 - part) * there[k] + part * there[k + 1])
        ends = sorted({names[int(line[side][n])] for n in same for side in ("start", "end")})
        if {"points", "not_resolved"} & set(ends):
            return f"the curve from the other slice is cut off ({', '.join(ends)})"
        if same:
            return WRONG[1]
    return "its curve crosses the slice where the others began, on no branch from a Hopf point there"


def call(given: dict[str, float], without: str) -> str:
    """Return parameters as they are given."""
    return ", ".join(f"{key}={value!r}" for key, value in given.items() if key != without)


HEAD = f"{'model':<28}{'slices':>7}{'places':>8}{'rest':>7}{'found':>7}{'cycles':>8}{'found':>7}{'runs':>8}"
HEAD += f"{'undecided':>11}{'on curves':>11}{'on none':>9}{'apart':>7}{'disagree':>10}{'CPU':>8}"


def line(told: Count) -> str:
    """Return the row of a model in the table."""
    wrong = sum(one.get("claimed", True) for one in told.disagreements)
    return (
        f"{told.model:<28}{told.slices:>7}{told.intervals:>8}{told.rests:>7}{told.rests_found:>7}"
        f"{told.cycles:>8}{told.cycles_found:>7}{told.runs:>8}{told.undecided:>11}{told.on_curves:>11}"
        f"{told.on_no_curve:>9}{sum(told.apart.values()):>7}{wrong:>10}{told.seconds:>6.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, default=5, help="random planes of each model")
    parser.add_argument("--slices", type=int, default=6, help="random slices of each plane")
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--curves", action="store_true", help="bifurcations and curves alone, without runs")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--output", type=Path, default=Path("slices.json"))
    options = parser.parse_args()
    print(HEAD)
    record = []
    for name in options.models:
        told = compared(name, options.planes, options.slices, options.seed, runs=not options.curves)
        print(line(told))
        for why, count in told.why.most_common():
            print(f"    {count} bifurcations on no curve: {why}")
        for one in told.disagreements:
            print(f"    {one['what']}: {one['parameters']} {one['shown by']}", flush=True)
        record.append(vars(told))
        options.output.write_text(json.dumps({"seed": options.seed, "models": record}, indent=2))


if __name__ == "__main__":
    main()
