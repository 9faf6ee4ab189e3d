"""The phase plane of a point: equilibria with eigenvalues, nullclines, flow, and the saddle's manifold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import qifscan
from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.explorer.place import Place
from qifscan.lazy import LazyModule
from qifscan.theory.plane import PhasePlane

if TYPE_CHECKING:
    import contourpy

    from qifscan.explorer.source import Source
else:
    contourpy = LazyModule("contourpy")

Array = np.ndarray[Any, Any]
Field = Callable[[Sequence[Array]], Sequence[Array]]
Planar = Callable[[Array], Array]

_GRID = 161
"""Points along a side on which the field is known for its nullclines."""

_SEEDS = (21, 15)
_STREAM = 7
_STREAM_LENGTH = 0.045
"""Pieces of the flow: how many, with how many points, and how long, as a share of the window."""

_MANIFOLD_STEPS, _MANIFOLD_STEP = 200, 0.03
_NEAR = 1e-4

KINDS = {1: "node", 2: "focus", 3: "saddle"}


@dataclass(frozen=True)
class PhaseWindow:
    """A window of the plane of two variables, by their positions in the state."""

    across: int
    up: int
    low: Array
    high: Array

    @property
    def size(self) -> Array:
        """Width and height."""
        return self.high - self.low


def phase(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a phase plane shows at a place.

    `variables`: the two that span it, by default the first two; `window`: [low, high] of each, by default
    around the equilibria; `at`: the state in which the other variables are held. By default the plane of the
    first two is that of `qifscan.phase_plane`, another one holds the others at the lowest equilibrium; `note`
    says so. Equilibria are exact; nullclines are the contours at 0 of the exact field.
    """
    place = Place.of(source, asked)
    names = source.model.variable_names
    pair = asked.get("variables") or list(names[:2])
    if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
        raise ScanError([Fault("variables", show(pair), f"two of {', '.join(names)}")])
    if wrong := [unknown("variables", name, names) for name in pair if name not in names]:
        raise ScanError(wrong)
    parameters = place.theory(source)
    found = states_at(source, parameters)
    window, field = _window(source, pair, found, asked.get("window")), field_of(source, parameters)
    if found and asked.get("at") is None and pair == list(names[:2]):
        planar, note = _first_plane(source, parameters, field)
    else:
        planar = _in_plane(field, window, _held(source, asked.get("at"), found))
        note = "" if len(names) == 2 else "the other variables held at one state"
    answer: dict[str, Any] = {"equilibria": found, "variables": pair, "window": _corners(window)}
    answer["note"] = note
    # Far beyond the window a trajectory back in time may overflow.
    with np.errstate(all="ignore"):
        answer |= _nullclines(planar, window)
        answer["flow"] = _flow(planar, window)
        if len(names) == 2 and not source.model.delay:
            answer["manifold"] = _manifold(planar, window, found)
    return answer


def states_at(source: Source, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every equilibrium: its state, kind, stability and eigenvalues."""
    found = qifscan.equilibria(source.scan.model, **parameters)
    rows = []
    names = source.model.variable_names
    for i in range(found.sizes["equilibrium"]):
        one = found.isel(equilibrium=i)
        state = [float(one[name]) for name in names]
        if not np.isfinite(state).all():
            continue
        real, imag = one["eigenvalue_real"].values, one["eigenvalue_imag"].values
        there = np.isfinite(real)
        rows.append(
            {
                "state": state,
                "kind": KINDS.get(int(one["kind"]), "none"),
                "stable": bool(one["stable"]),
                "unstable": int(one["unstable_dimensions"]),
                "eigenvalues": np.stack([real[there], imag[there]], axis=1).tolist()[::-1],
            }
        )
    return rows


def field_of(source: Source, parameters: Mapping[str, Any]) -> Field:
    """Return the field as a function of states `(variables, ...)`; with a delay that of slow changes."""
    model = source.model
    # Numbers of Python: a manifold asks for a thousand states, one after the other.
    constants = {n: np.asarray(x).item() for n, x in model.constants(parameters).items()}
    driven = model.variable_names.index(model.driven)
    still: list[Any] = [0.0] * len(model.variables)

    def field(state: Sequence[Array]) -> Sequence[Array]:
        inputs = list(still)
        if model.delay:
            inputs[driven] = constants["past"] * state[0]
        found: Any = model.field(tuple(state), tuple(inputs), constants)
        return tuple(found)

    return field


def _held(source: Source, at: Any, found: Sequence[Mapping[str, Any]]) -> Array:
    names = source.model.variable_names
    if at is None:
        return np.array(found[0]["state"] if found else [0.0] * len(names))
    if not isinstance(at, list) or len(at) != len(names) or not all(isinstance(x, (int, float)) for x in at):
        raise ScanError([Fault("at", show(at), f"a number for each of {', '.join(names)}")])
    return np.array(at, dtype=np.float64)


def _window(
    source: Source, pair: Sequence[str], found: Sequence[Mapping[str, Any]], asked: Any
) -> PhaseWindow:
    names = source.model.variable_names
    across, up = (names.index(name) for name in pair)
    if asked is not None:
        corners = np.asarray(asked, dtype=object)
        fine = corners.shape == (2, 2) and all(isinstance(x, (int, float)) for x in corners.ravel())
        if (
            not fine
            or not np.isfinite(corners.astype(float)).all()
            or not (corners[:, 0] < corners[:, 1]).all()
        ):
            raise ScanError([Fault("window", show(asked), "[[low, high], [low, high]]")])
        numbers = corners.astype(np.float64)
        return PhaseWindow(across, up, numbers[:, 0], numbers[:, 1])
    states = np.array([row["state"] for row in found]) if found else np.ones((1, len(names)))
    low, high = np.empty(2), np.empty(2)
    for k, i in enumerate((across, up)):
        column = states[:, i]
        if source.model.variables[i].rate:
            low[k], high[k] = 0.0, 1.6 * column.max()
        else:
            half = max(0.8 * np.ptp(column), 0.6 * float(np.abs(column).max()), 0.5)
            middle = 0.5 * (column.min() + column.max())
            low[k], high[k] = middle - half, middle + half
    return PhaseWindow(across, up, low, high)


def _corners(window: PhaseWindow) -> list[list[float]]:
    return [[float(a), float(b)] for a, b in zip(window.low, window.high, strict=True)]


def _first_plane(source: Source, parameters: Mapping[str, Any], field: Field) -> tuple[Planar, str]:
    """Return the field of the first two variables, the others as `PhasePlane` takes them, and its note."""
    plane = PhasePlane(source.model, parameters)

    def planar(xy: Array) -> Array:
        moved = field(plane.state_at(*xy))
        return np.array([moved[0] + 0.0 * xy[0], moved[1] + 0.0 * xy[0]])

    return planar, plane.note


def _in_plane(field: Field, window: PhaseWindow, held: Array) -> Planar:
    """Return the field of two variables alone, `(2, ...)`, the others held."""
    state: list[Any] = held.tolist()

    def planar(xy: Array) -> Array:
        state[window.across], state[window.up] = xy
        moved = field(state)
        return np.array([moved[window.across] + 0.0 * xy[0], moved[window.up] + 0.0 * xy[0]])

    return planar


def _nullclines(planar: Planar, window: PhaseWindow) -> dict[str, Array]:
    """Return where each of the two derivatives is 0, as lines `(2, points)` with NaN between them."""
    x, y = (np.linspace(low, high, _GRID) for low, high in zip(window.low, window.high, strict=True))
    moved = planar(np.stack(np.meshgrid(x, y)))
    lines = {}
    for name, values in zip(("nullcline_x", "nullcline_y"), moved, strict=True):
        found = contourpy.contour_generator(x, y, np.ma.masked_invalid(values)).lines(0.0)
        lines[name] = joined([np.asarray(line).T for line in found])
    return lines


def joined(lines: Sequence[Array]) -> Array:
    """Return lines `(2, points)` as one, with NaN between them."""
    gap = np.full((2, 1), np.nan)
    parts = [part for line in lines for part in (line, gap)][:-1]
    return np.concatenate(parts, axis=1).astype(np.float32) if parts else np.zeros((2, 0), np.float32)


def _flow(planar: Planar, window: PhaseWindow) -> Array:
    """Return short pieces of the flow, `(pieces, points, 2)`, each through the middle of a cell of a grid."""
    axes = [
        low + (np.arange(n) + 0.5) / n * (high - low)
        for n, low, high in zip(_SEEDS, window.low, window.high, strict=True)
    ]
    seeds = np.stack(np.meshgrid(*axes)).reshape(2, -1)
    step = _STREAM_LENGTH / (_STREAM - 1)
    half = _STREAM // 2
    before = _along(planar, window, seeds, -step, half)[:0:-1]
    after = _along(planar, window, seeds, step, half)
    return np.concatenate([before, after]).transpose(2, 0, 1).astype(np.float32)


def _along(planar: Planar, window: PhaseWindow, start: Array, step: float, count: int) -> Array:
    """Return points along the flow, `(count + 1, 2, lines)`, `step` apart as a share of the window."""
    width, height = window.size.tolist()

    def direction(xy: Array) -> Array:
        moved = planar(xy)
        return np.asarray(moved / np.maximum(np.hypot(moved[0] / width, moved[1] / height), 1e-300))

    found = [start]
    for _ in range(count):
        now = found[-1]
        k1 = direction(now)
        k2 = direction(now + 0.5 * step * k1)
        k3 = direction(now + 0.5 * step * k2)
        k4 = direction(now + step * k3)
        found.append(now + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))
    return np.stack(found)


def _manifold(planar: Planar, window: PhaseWindow, found: Sequence[Mapping[str, Any]]) -> Array:
    """Return the stable manifold of the saddle, the border of the basins, as lines `(2, points)`."""
    saddles = [row for row in found if row["kind"] == "saddle"]
    if not saddles:
        return np.zeros((2, 0), np.float32)
    at = np.array(saddles[0]["state"])[[window.across, window.up]][:, None]
    least = 1e-6 * window.size
    columns = [(planar(at + d[:, None]) - planar(at - d[:, None])) / (2 * d.sum()) for d in np.diag(least)]
    values, vectors = np.linalg.eig(np.concatenate(columns, axis=1))
    stable = vectors[:, int(np.argmin(values.real))].real[:, None]
    stable = stable / np.hypot(*(stable / window.size[:, None]))
    starts = np.concatenate([at + _NEAR * stable, at - _NEAR * stable], axis=1)
    lines = _along(planar, window, starts, -_MANIFOLD_STEP, _MANIFOLD_STEPS)
    margin = 0.5 * window.size[:, None]
    kept = []
    for side in range(2):
        line = lines[:, :, side].T
        outside = ~np.isfinite(line).all(axis=0)
        outside |= (line < window.low[:, None] - margin).any(axis=0)
        outside |= (line > window.high[:, None] + margin).any(axis=0)
        last = int(np.argmax(outside)) if outside.any() else line.shape[1]
        kept.append(np.concatenate([at, line[:, :last]], axis=1))
    return joined(kept)
