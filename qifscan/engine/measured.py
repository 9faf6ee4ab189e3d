"""What is measured of a point beside its observables, and what comes of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qifscan.arrays import Column
    from qifscan.dynamics.model import Model
    from qifscan.scan.scan import Scan


CHECKPOINT = "checkpoint/points"
"""Name in the store of what a longer window goes on from; it is no part of the dataset."""


@dataclass(frozen=True)
class Diagnostic:
    """A variable of the dataset that tells how far to trust the others."""

    name: str
    dtype: str
    fill: float
    attributes: dict[str, Any]


def diagnostics(scan: Scan) -> dict[str, Diagnostic]:
    """Return the diagnostic variables of a scan's dataset, by name."""
    known = "equilibria" if scan.mean_field.rest is not None else "equilibria that were found"
    rows = [
        Diagnostic("dt", "float32", np.nan, {"units": "ms", "long_name": "step of the point"}),
        Diagnostic(
            "error_estimate",
            "float32",
            np.nan,
            {
                "units": "1",
                "long_name": "relative error, from the size of the step; of a point that was compared with "
                "half its step in float64, from that",
            },
        ),
        Diagnostic("precision", "uint8", 0, {"long_name": "bits of the numbers that the point was run with"}),
        Diagnostic(
            "redo_count", "uint8", 0, {"long_name": "times that the point was run again at half the step"}
        ),
        Diagnostic(
            "equilibrium_count", "uint8", 0, {"long_name": f"number of {known} at the input of the end"}
        ),
    ]
    if scan.can_rest:
        settled = {"long_name": "equilibrium that the point is at in the end", **_positions(scan.mean_field)}
        distance = {
            "units": "1",
            "long_name": "relative distance of the final state from the nearest equilibrium",
        }
        rows += [
            Diagnostic("settled_on", "int8", -1, settled),
            Diagnostic("disagreement", "float32", np.nan, distance),
        ]
    if noisy_rate(scan):
        count = {"long_name": "steps that ended with a rate below 0"}
        rows.append(Diagnostic("negative_steps", "int32", 0, count))
    return {row.name: row for row in rows}


def _positions(model: Model) -> dict[str, object]:
    """Return what the numbers of equilibria mean."""
    if model.plain:
        return {
            "flag_values": [-1, 0, 1, 2],
            "flag_meanings": "none lowest middle highest",
            "comment": "in the order of the rates; with one equilibrium it is the lowest",
        }
    names = ("none", "lowest", *(f"number_{k}" for k in range(2, 10)))
    return {
        "flag_values": list(range(-1, len(names) - 1)),
        "flag_meanings": " ".join(names),
        "comment": "in the order of the rates",
    }


def noisy_rate(scan: Scan) -> bool:
    """Whether noise can take a rate below 0."""
    return any(rate.name in scan.noisy for rate in scan.mean_field.rates)


@dataclass(frozen=True)
class Measured:
    """What came of points, `(points,)` each: the variables of the store, the status, and the record
    `(points, rows, variables)` where one was asked for."""

    variables: dict[str, Column]
    status: Column
    record: Column | None
    final: Column | None = None
    """Final state `(points, variables)`, where the points have just been run."""
    taken: int = 0
    """Points that were taken over from an older store."""
    continued: int = 0
    """Points that went on from their checkpoints in an older store."""


def merged(count: int, parts: Sequence[tuple[Column, Measured]]) -> Measured:
    """Return points from their parts: some of the rows, and what came of their points."""

    def whole(pieces: list[Column]) -> Column:
        values = np.empty((count, *pieces[0].shape[1:]), pieces[0].dtype)
        for (rows, _), piece in zip(parts, pieces, strict=True):
            values[rows] = piece
        return values

    measured = [part for _, part in parts]
    variables = {name: whole([part.variables[name] for part in measured]) for name in measured[0].variables}
    records = [part.record for part in measured if part.record is not None]
    return Measured(variables, whole([part.status for part in measured]), whole(records) if records else None)
