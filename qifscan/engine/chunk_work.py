"""Run a chunk: its points at once; or line by line, where an axis is swept.

In a sweep each point starts where the one before it ended, up and down. A line is all points of one sweep in
one direction: it is run point by point, many lines side by side. What a point gives depends on its own line
alone, so that lines are never cut and are run again as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.engine.measured import Measured, merged
from qifscan.engine.points import Begun, Points, Start, run_points
from qifscan.engine.schedule import Schedule, batch_shape

if TYPE_CHECKING:
    from qifscan.arrays import Column, Indices
    from qifscan.engine.chunks import Chunks
    from qifscan.scan.scan import Scan

SEARCHED = 64
"""Points that stand for those of a batch where equilibria are searched for: each takes milliseconds."""


def run_lines(scan: Scan, indices: Indices, schedule: Schedule, shape: tuple[int, int]) -> Measured:
    """Run the points of whole lines; `shape` = (blocks, lanes) holds one point of each line."""
    lines, line, turn = _lines(scan, indices)
    parts = []
    for now, (measured, _) in enumerate(_runs(scan, lines, range(scan.line), schedule, shape)):
        rows = np.flatnonzero(turn == now)
        parts.append((rows[np.argsort(line[rows])], measured))
    return merged(len(turn), parts)


def started(scan: Scan, indices: Indices) -> Points:
    """Return the points at these indices; those of a sweep with their starts, for which lines are run."""
    points = Points.of(scan, indices)
    if scan.protocol.sweep is None:
        return points
    lines, line, turn = _lines(scan, indices)
    start, shape = _first(scan, len(turn)), batch_shape(len(lines[0]))
    turns = range(int(turn.max()))
    for before, (_, end) in enumerate(_runs(scan, lines, turns, Schedule.of(scan.protocol), shape)):
        rows = np.flatnonzero(turn == before + 1)
        start.state[rows], start.doubtful[rows] = end.state[line[rows]], end.doubtful[line[rows]]
    return replace(points, start=start)


def _first(scan: Scan, count: int) -> Start:
    """Return the start of points that are the first of their lines."""
    variables = len(scan.mean_field.variables)
    return Start(np.full((count, variables), np.nan, scan.precision), np.zeros(count, dtype=bool))


def _runs(
    scan: Scan, lines: Indices, turns: Iterable[int], schedule: Schedule, shape: tuple[int, int]
) -> Iterator[tuple[Measured, Start]]:
    """Run one point of each line after the other; yield what came of them and where the next ones start."""
    start = _first(scan, len(lines[0]))
    for turn in turns:
        points = Points.of(scan, _at_turn(scan, lines, turn))
        measured = run_points(replace(points, start=start), schedule, shape)
        assert measured.final is not None
        # NaN marks the first point of a line: a state that has diverged goes on as infinite.
        state = np.where(np.isfinite(measured.final), measured.final, np.inf).astype(scan.precision)
        start = Start(state, (measured.status & int(Status.under_resolved)) > 0)
        yield measured, start


def _places(scan: Scan) -> tuple[int, Column, Column]:
    """Return which dimension is swept, the order of its values, and which indices of `direction` go down."""
    axis = scan.axes[scan.protocol.sweep or ""]
    return list(scan.sizes).index(axis.name), np.argsort(axis.labels), scan.axes["direction"].labels == "down"


def _downward(scan: Scan, indices: Indices) -> Column:
    _, _, down = _places(scan)
    downward: Column = down[indices[list(scan.sizes).index("direction")]]
    return downward


def _lines(scan: Scan, indices: Indices) -> tuple[Indices, Column, Column]:
    """Return the lines of points, as indices that are 0 along the sweep; and the line of each point, and its
    turn in the line, 0 for the first."""
    place, order, _ = _places(scan)
    rank = np.argsort(order)[indices[place]]
    turn = np.where(_downward(scan, indices), scan.line - 1 - rank, rank)
    heads = np.stack([np.zeros_like(turn) if i == place else index for i, index in enumerate(indices)])
    lines, line = np.unique(heads, axis=1, return_inverse=True)
    return tuple(lines), line.ravel(), turn


def _at_turn(scan: Scan, lines: Indices, turn: int) -> Indices:
    """Return the indices of the points of lines whose turn it is."""
    place, order, _ = _places(scan)
    here = order[np.where(_downward(scan, lines), scan.line - 1 - turn, turn)]
    return tuple(here if i == place else index for i, index in enumerate(lines))


def sample_of_turns(chunks: Chunks, turns: Iterable[int]) -> Iterator[None]:
    """Run these turns alone, of as many lines as a chunk has, spread over the scan; yield after each."""
    scan, sizes = chunks.scan, list(chunks.scan.sizes.values())
    sizes[_places(scan)[0]] = 1
    all_lines = math.prod(sizes)
    chosen = np.linspace(0, all_lines - 1, min(chunks.batch, all_lines)).astype(np.int64)
    lines = tuple(np.unravel_index(chosen, sizes))
    for _ in _runs(scan, lines, turns, chunks.schedule, batch_shape(chunks.batch)):
        yield


def first_points(chunks: Chunks, trace: bool = False) -> Points:
    """Return the points of the first chunk that are run together, or of the first batch of traces; a few of
    them where equilibria are searched for, which takes milliseconds for each."""
    indices = chunks.indices(chunks.grid if trace else 0)
    if chunks.scan.protocol.sweep is not None and not trace:
        # One of each line: a line may have millions.
        first = np.flatnonzero(indices[_places(chunks.scan)[0]] == 0)
        indices = tuple(index[first] for index in indices)
    if chunks.scan.mean_field.rest is None:
        indices = tuple(index[:SEARCHED] for index in indices)
    return Points.of(chunks.scan, indices)


def run_chunk(chunks: Chunks, chunk: int, rows: Column | None = None, begun: Begun | None = None) -> Measured:
    """Run a chunk, or only these of its points, from the start or from where they are.

    Every chunk of a kind is padded to one shape, so that it compiles once.
    """
    trace = chunks.is_trace(chunk)
    shape = batch_shape(chunks.trace_batch if trace else chunks.batch)
    schedule = chunks.trace_schedule if trace else chunks.schedule
    indices = chunks.indices(chunk)
    chosen = indices if rows is None else tuple(index[rows] for index in indices)
    if trace:
        return run_points(replace(started(chunks.scan, chosen), told=True), schedule, shape, begun)
    if chunks.scan.protocol.sweep is None:
        return run_points(Points.of(chunks.scan, chosen), schedule, shape, begun)
    return run_lines(chunks.scan, chosen, schedule, shape)
