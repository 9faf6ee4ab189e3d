"""Where one has clicked: a point of a scan, the dimensions of a map; and what is there without a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.scan.effective import effective

if TYPE_CHECKING:
    from qifscan.explorer.source import Source

Array = np.ndarray[Any, Any]

TILE = 512
"""Pixels of a tile along a side."""

TIMES = (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
"""Lengths of a trajectory in ms: each is a program of its own, which is compiled once."""

EXACT = {
    "exact:count": ("equilibria", "number of equilibria", "1"),
    "exact:stable": ("stable equilibria", "number of stable equilibria", "1"),
    "exact:lowest": ("lowest stable rate", "rate of the lowest stable equilibrium", "1/ms"),
    "exact:highest": ("highest stable rate", "rate of the highest stable equilibrium", "1/ms"),
    "exact:leading": (
        "largest Re λ",
        "largest real part of an eigenvalue of the highest stable equilibrium",
        "1/ms",
    ),
    "exact:ringing": (
        "ringing frequency",
        "frequency at which the highest stable equilibrium rings",
        "1/ms",
    ),
}
"""Variables that need no run: in short, their meaning, their unit."""


@dataclass(frozen=True)
class Place:
    """A point of a scan: its index along every dimension, and parameters that differ from the scan's."""

    index: Mapping[str, int]
    changed: Mapping[str, float]

    @classmethod
    def of(cls, source: Source, asked: Mapping[str, Any]) -> Place:
        """Read the place from a request; raise `ScanError` for what the scan has not."""
        index, changed = asked.get("index") or {}, asked.get("changed") or {}
        if not isinstance(index, Mapping) or not isinstance(changed, Mapping):
            raise ScanError([Fault("index, changed", show([index, changed]), "an object each")])
        sizes, known = source.scan.sizes, source.scan.parameters
        faults = [unknown("index", name, sizes, "dimension") for name in index if name not in sizes]
        faults += [unknown("changed", name, known, "parameter") for name in changed if name not in known]
        swept = {column for axis in source.scan.axes.values() for column in axis.columns}
        for name, value in changed.items():
            if name in swept:
                faults.append(Fault(f"changed.{name}", "an axis of the scan", "a fixed parameter"))
            elif name in known:
                faults += _number_faults(f"changed.{name}", value, known[name])
        for name, i in index.items():
            whole = isinstance(i, int) and not isinstance(i, bool)
            if name in sizes and not (whole and 0 <= i < sizes[name]):
                faults.append(Fault(f"index.{name}", show(i), f"0 to {sizes[name] - 1}"))
        if faults:
            raise ScanError(faults)
        return cls({name: int(index.get(name, 0)) for name in sizes}, dict(changed))

    def parameters(self, source: Source) -> dict[str, Any]:
        """Return every parameter there as a number, and `initial` as a name."""
        scan = source.scan
        indices = tuple(np.array([i]) for i in self.index.values()) or (np.zeros(1, dtype=int),)
        found = {name: column[0].item() for name, column in scan.columns(indices).items()}
        return found | dict(self.changed)

    def theory(self, source: Source, **arrays: Array) -> dict[str, Any]:
        """Return the parameters of the model that do what all of them and the mean inputs do.

        `arrays` take the place of single parameters.
        """
        return theory_of(source, self.parameters(source) | arrays)

    def labels(self, source: Source) -> dict[str, Any]:
        """Return the value on every axis, as `replay` takes it."""
        axes = source.scan.axes
        return {n: axes[n].labels[i].item() if n in axes else i for n, i in self.index.items()}


def theory_of(source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's parameters that do what the given ones, mean noise and a constant drive do."""
    names = [parameter.name for parameter in source.model.parameters]
    found = effective(source.scan, given)
    left = [name for name in found if name not in names and np.any(np.asarray(found[name]) != 0.0)]
    if left:
        hint = "no parameter of the model does what that input does"
        raise ScanError([Fault(left[0], "a constant input", "0 for exact theory", hint)])
    return {name: found[name] for name in names}


def _number_faults(where: str, value: Any, parameter: Any) -> list[Fault]:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        return [Fault(where, show(value), "a finite number")]
    if not parameter.domain.holds(value):
        return [Fault(where, show(value), parameter.domain.words)]
    return []


def check_dims(source: Source, asked: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the dimensions across and up; raise `ScanError` for what the scan has not."""
    sizes = source.scan.sizes
    x, y = asked.get("x"), asked.get("y")
    faults = [unknown(n, d, sizes, "dimension") for n, d in (("x", x), ("y", y)) if d and d not in sizes]
    if x and x == y:
        faults.append(Fault("x, y", f'"{x}" twice', "two dimensions"))
    if faults:
        raise ScanError(faults)
    return x or None, y or None
