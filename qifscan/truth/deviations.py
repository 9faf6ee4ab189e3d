"""How far numbers are from the truth, in units of what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.truth.adaptive import RTOL, Truth, solved
from qifscan.truth.equations import MODELS, Point

Array = np.ndarray[Any, Any]


# --- what is wrong --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Questions:
    """What was asked of points: the model, its parameters `(points,)` each, the observables, and begin and
    end of the window in ms."""

    model: str
    columns: Mapping[str, Array]
    observables: tuple[str, ...]
    begin: float
    end: float


def sizes(model: str, columns: Mapping[str, Array], truth: Truth) -> dict[str, Array]:
    """Return what the error of each observable is relative to, of points with these parameters."""
    v, names = truth.values, MODELS[model].variables
    found: dict[str, Array] = {}
    whole = {}
    for place, tau in MODELS[model].rates:
        unit = math.pi * columns[tau]
        both = np.hypot(unit * v[f"{names[place]} size"], v[f"{names[place + 1]} size"])
        whole[names[place]], whole[names[place + 1]] = np.zeros_like(both), both
    for pair in MODELS[model].pairs:
        both = np.hypot(*(v[f"{names[k]} size"] for k in pair))
        whole |= dict.fromkeys((names[k] for k in pair), both)
    for name in names:
        size = whole.get(name, v[f"{name} size"])
        for kind in ("mean", "min", "max", "final"):
            found[f"{name}_{kind}"] = np.maximum(np.abs(v[f"{name}_{kind}"]), size)
        found[f"{name}_std"] = v[f"{name}_std"] + 0.01 * np.maximum(v[f"{name} size"], size)
    return found


def deviations(
    asked: Questions, truth: Truth, data: Mapping[str, Array], tolerance: float = 1e-3, steps: float = 1.0
) -> dict[str, Array]:
    """Return how far each observable is from the truth in units of what is allowed; NaN: not compared.

    `data` holds the observables and `dt`, `(points,)` each. What is counted in steps may be off by so many
    `steps` for every switch, beside the tolerance.
    """
    found, first = {}, f"{MODELS[asked.model].variables[0]}_final"
    solved = ~np.isnan(truth.values[first])
    relative = sizes(asked.model, asked.columns, truth)
    for name in asked.observables:
        if name.endswith("_frequency"):
            continue
        right, ours = truth.values[name], data[name].astype(float)
        allowed = _allowed(name, asked, truth, relative, steps * data["dt"].astype(float), tolerance)
        apart = np.abs(ours - right)
        with np.errstate(all="ignore"):
            off = np.where(apart == 0.0, 0.0 * allowed, apart / allowed)
        off = np.where(np.isnan(ours) & ~np.isnan(allowed), np.inf, off)
        off = np.where(np.isnan(right) & solved, np.where(np.isnan(ours), 0.0, np.inf), off)
        if name not in relative and not name.startswith("lyapunov"):
            off = np.where(truth.ambiguous, np.nan, off)
        found[name] = np.where(solved, off, np.nan)
    return found


def _allowed(
    name: str, asked: Questions, truth: Truth, relative: Mapping[str, Array], dt: Array, tolerance: float
) -> Array:
    """Return what an observable may be off; NaN where it is not compared."""
    values, window = truth.values, asked.end - asked.begin
    switches = values["switch_count"]
    if name in relative:
        allowed: Array = tolerance * relative[name] + 1e-12
        return allowed
    if name.startswith("lyapunov"):
        equations = MODELS[asked.model]
        smallest = values[f"lyapunov_{len(equations.variables)}"]
        slowest = asked.columns[equations.rates[0][1]]
        exponents: Array = tolerance * np.maximum(np.abs(smallest), 1.0 / slowest)
        return exponents
    if name == "up_fraction":
        return tolerance + (switches + 1.0) * dt / window
    if name.endswith("_sum"):
        return tolerance * values[name] + 2.0 * dt * (switches + 1.0)
    if name.endswith("_squares"):
        total = values[name.replace("squares", "sum")]
        squared: Array = 2.0 * tolerance * values[name] + 4.0 * dt * (total + dt * switches)
        return squared
    return np.where(_shortest_stay(truth, asked) < dt, np.nan, 0.5)


def _shortest_stay(truth: Truth, asked: Questions) -> Array:
    """Return the shortest time between two changes of the level, or between one and an end of the window."""
    found = [
        float(np.diff([asked.begin, *times, asked.end]).min()) if times else np.inf for times in truth.changes
    ]
    return np.array(found)


def periods(model: str, points: list[Point], truth: Truth) -> Array:
    """Return the period of the rate where it repeats itself to 1e-3 in the whole window, else NaN."""
    mean = truth.values[f"{MODELS[model].variables[0]}_mean"]
    solvable = np.isfinite(mean)
    again = [
        Point(q.parameters, q.start, q.drive, q.begin, q.end, (0.999 * m, 1.001 * m) if ok else None)
        for q, m, ok in zip(points, mean, solvable, strict=True)
    ]
    rises = solved(model, again).rises
    found = np.full(len(points), np.nan)
    for i, times in enumerate(rises):
        for k in range(1, (len(times) - 1) // 3 + 1):
            lengths = np.array(times[k:]) - np.array(times[:-k])
            if np.ptp(lengths) < 1e-3 * lengths.mean():
                found[i] = lengths.mean()
                break
    return found


def frequency_deviations(
    asked: Questions, period: Array, truth: Truth, data: Mapping[str, Array]
) -> dict[str, Array]:
    """Return how far each frequency is from a multiple of 1/period, in units of what is allowed."""
    cycles = (asked.end - asked.begin) / period
    allowed = np.where(cycles >= 20.0, 1e-3, 1e-2)
    names = MODELS[asked.model].variables
    fast = {names[k] for place, _ in MODELS[asked.model].rates for k in (place, place + 1)}
    first = names[0]
    swing = truth.values[f"{first}_std"] / truth.values[f"{first}_mean"]
    compared = (cycles >= 3.0) & (swing > 1e-3)
    found = {}
    for name in (n for n in names if f"{n}_frequency" in asked.observables):
        # Of what has no period nothing is compared.
        multiple = data[f"{name}_frequency"].astype(float) * period
        near = np.maximum(np.round(multiple), 1.0)
        off = np.where(np.isnan(multiple), np.inf, np.abs(multiple / near - 1.0) / allowed)
        moving = truth.values[f"{name}_std"] > 1e-3 * truth.values[f"{name} size"]
        if name not in fast:
            # Its approach to the rhythm may move it more than that does: then it has no peak.
            moving &= np.isfinite(multiple)
        found[f"{name}_frequency"] = np.where(compared & moving, off, np.nan)
    return found


def confirmed(asked: Questions, points: list[Point], truth: Truth, rows: Array) -> set[int]:
    """Return those whose truth is the same at a hundred times the tolerance: chaos has none at the end."""
    if not len(rows):
        return set()
    other, relative = (
        solved(asked.model, [points[i] for i in rows], 100.0 * RTOL),
        sizes(asked.model, asked.columns, truth),
    )
    same = np.ones(len(rows), dtype=bool)
    for name, size in relative.items():
        same &= np.abs(other.values[name] - truth.values[name][rows]) < 1e-4 * size[rows] + 1e-12
    return {int(row) for row in rows[same]}
