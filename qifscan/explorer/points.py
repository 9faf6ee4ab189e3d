"""What happens at a point: a trajectory from any start, under any input; and the scan's own run of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import qifscan
from qifscan.dynamics.drive import DRIVES
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.status import Status
from qifscan.errors import Fault, ScanError, one_of, show
from qifscan.explorer.place import TIMES, Place

if TYPE_CHECKING:
    from qifscan.dynamics.drive import DriveBase
    from qifscan.explorer.source import Source

Array = np.ndarray[Any, Any]

SAMPLES = 4000
"""Samples of a trajectory that are sent, at most."""

_BASE = 0.05
"""The base step of `dt="auto"`, ms."""

MOST_STEPS = 4_000_000
"""Steps of a run that is repeated for looking at it: about a second."""

_NOISE = ("_ou_sigma", "_ou_tau")
_OURS = ("down_threshold", "up_threshold", "initial")


def trajectory(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trajectory at a place: `time` (ms) and the state `(variables, times)`, and the drive.

    `t_end` is one of `TIMES`; `start` "scan", "rest", "down", "up" or a number for every variable; `drive`
    "scan", None, or a drive as in a scan's file; `noise` turns the scan's on; `seed` names it.
    """
    place = Place.of(source, asked)
    t_end, seed = _time(asked.get("t_end", 200.0)), _seed(asked.get("seed", 0))
    given: dict[str, Any] = place.parameters(source)
    drive = _drive(source, asked.get("drive"))
    if asked.get("drive") != "scan":
        given = {name: x for name, x in given.items() if not name.startswith("drive_")}
    if not asked.get("noise"):
        given = {name: x for name, x in given.items() if not name.endswith(_NOISE)}
    initial, starts = _start(
        source, given, asked.get("start", "scan" if source.scan.protocol.sweep is None else "rest")
    )
    parameters: dict[str, Any] = {
        name: x for name, x in given.items() if name not in _OURS and not name.endswith("_initial")
    }
    every = max(1, math.ceil(t_end / _BASE / SAMPLES))
    found = qifscan.simulate(
        source.scan.model,
        t_end=t_end,
        every=every,
        initial=initial,
        drive=drive,
        seed=seed,
        **parameters | starts,
    )
    return _answer(source, found) | {"input": input_of(drive, given, found["time"].values)}


def repeated(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run of a point of the store again, with its own noise and start, compared bit for bit."""
    place = Place.of(source, asked)
    if source.store is None:
        raise ScanError([Fault("replay", "no store", "a scan that was run", "run it first")])
    if place.changed:
        hint = "put the parameters back to those of the scan"
        raise ScanError([Fault("replay", f"{', '.join(place.changed)} changed", "a point of the scan", hint)])
    protocol = source.scan.protocol
    steps = math.ceil((protocol.transient + protocol.window) / protocol.base)
    if steps * source.scan.line > MOST_STEPS:
        raise ScanError([Fault("replay", f"{steps:,} steps", f"at most {MOST_STEPS:,}", "use qs.replay")])
    every = max(1, math.ceil(steps / SAMPLES))
    found = qifscan.replay(str(source.store.path), every=every, **place.labels(source))
    measured = {n: found[n].values.item() for n in map(str, found.data_vars) if found[n].ndim == 0}
    return _answer(source, found) | {
        "checked": found.attrs["checked"],
        "transient": protocol.transient,
        "measured": measured,
    }


def _answer(source: Source, found: Any) -> dict[str, Any]:
    state = np.stack([found[name].values for name in source.model.variable_names]).astype(np.float32)
    status = int(found["status"].values)
    return {
        "time": found["time"].values.astype(np.float32),
        "state": state.reshape(len(state), -1),
        "status": status,
        "flags": [str(flag.name) for flag in Status if status & flag and flag != Status.computed],
    }


def _start(source: Source, given: Mapping[str, Any], start: Any) -> tuple[Any, dict[str, float]]:
    """Return the named start, and the numbers that take its place."""
    names = source.model.variable_names
    if start == "scan" and source.scan.protocol.sweep is not None:
        hint = "replay shows the scan's own run"
        raise ScanError([Fault("start", '"scan", of a sweep', one_of(NAMED_STATES), hint)])
    if start == "scan":
        own = {f"{n}_initial": given[f"{n}_initial"] for n in names if f"{n}_initial" in given}
        return given.get("initial", "rest"), own
    if isinstance(start, str):
        if start not in NAMED_STATES:
            raise ScanError([Fault("start", show(start), one_of(["scan", *NAMED_STATES]))])
        return start, {}
    numbers = isinstance(start, list) and all(isinstance(x, (int, float)) for x in start)
    if not numbers or len(start) != len(names) or not np.isfinite(start).all():
        raise ScanError([Fault("start", show(start), f"a number for each of {', '.join(names)}")])
    return "rest", {f"{name}_initial": float(x) for name, x in zip(names, start, strict=True)}


def _time(value: Any) -> float:
    if value not in TIMES:
        raise ScanError([Fault("t_end", show(value), one_of(f"{t:g}" for t in TIMES))])
    return float(value)


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ScanError([Fault("seed", show(value), "an integer of at least 0, below 2^31")])
    return value


def _drive(source: Source, asked: Any) -> DriveBase | None:
    if asked is None:
        return None
    if asked == "scan":
        return source.scan.drive
    if not isinstance(asked, Mapping) or asked.get("kind") not in DRIVES:
        raise ScanError([Fault("drive", show(asked), f"a drive with its kind, {one_of(DRIVES)}")])
    numbers = {name: value for name, value in asked.items() if name != "kind"}
    try:
        return DRIVES[asked["kind"]](**numbers)
    except ScanError as error:
        raise ScanError(replace(fault, where=f"drive.{fault.where}") for fault in error.faults) from None


def input_of(drive: DriveBase | None, given: Mapping[str, Any], times: Array) -> Array:
    """Return the input current over time, for looking at it."""
    if drive is None:
        return np.zeros(0, dtype=np.float32)
    samples, integrals = drive.samples()
    numbers = {p.name: given.get(p.name, p.default) for p in drive.parameters()}
    c: dict[str, Any] = {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}
    # The step is short, so that the edges of a pulse are drawn where they are.
    step: Any = np.asarray(1e-6)
    c |= drive.step_constants(c, step) | {"drive_samples": samples, "drive_integrals": integrals}
    moments: Any = times
    return np.broadcast_to(drive.current(moments, step, 0.0, c), times.shape).astype(np.float32)
