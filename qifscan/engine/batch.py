"""A batch of points -> observables and status, by as many calls of one compiled program as it takes.

Points lie in blocks of up to `BLOCK` lanes. A block runs from its initial state to the end of its window
while its state stays in the cache; blocks follow each other inside one compiled program. The points of a
block have one step; other blocks may have another. The arithmetic of a lane does not depend on what stands in
the other lanes, nor on how many blocks there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.accumulators import SEGMENT
from qifscan.dynamics.drive import DriveBase, with_integral
from qifscan.dynamics.rhythm import SAMPLE_STEPS
from qifscan.engine import backend, child
from qifscan.engine.block import all_blocks
from qifscan.engine.carries import Checkpoint, Inputs, Outcomes, Pace
from qifscan.engine.checkpoint import as_bytes
from qifscan.engine.compiler import compiled, nothing
from qifscan.engine.program import Program, Result
from qifscan.engine.schedule import LANES, Schedule, Steps, narrowed
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    from typing import Any

    import jax

    from qifscan.arrays import Column, Counts, Index

    Packed = tuple[int, int, Index]
    """A block: halvings, halvings of the grid of the noise, and the rows of its points."""
    Arguments = tuple[Inputs, Pace, Column, tuple[Column, Column]]
else:
    jax = LazyModule("jax")

ROOM = 4096
"""Rows that the records of all blocks of a batch have room for at least, together: 4 MB of 64 lanes of two
variables in float64."""

WORTH_COMPILING = 2.0**28
"""Steps of lanes that a narrow batch has to save: 3 s of a pair in float64, with its exponents 40."""


def run_batch(
    program: Program,
    inputs: Inputs,
    steps: Steps,
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
    begun: tuple[Checkpoint, ...] = (),
    *,
    states_alone: bool = False,
) -> Result:
    """Run points, in as many calls of one program for `shape` = (blocks, lanes) as their steps need.

    `begun` are the checkpoints that they go on from, one for each part of the program. With `states_alone` no
    observable is told.
    """
    if len(program.parts) > 1:
        of_parts = [(each,) for each in begun] if begun else [()] * len(program.parts)
        runs = [
            run_batch(part, inputs, steps, schedule, drive, shape, own, states_alone=states_alone)
            for part, own in zip(program.parts, of_parts, strict=True)
        ]
        return reduce(_beside, runs)
    if begun:
        (checkpoint,) = begun
        inputs = inputs._replace(checkpoint=checkpoint)
    shape = shape_for(steps, schedule, of_program(program, shape))
    # States are the same in any number of blocks, and an empty block has room for a record too.
    shape = shape if states_alone else _of_several(shape)
    blocks = _packed(steps, shape[1])
    order = np.concatenate([rows for _, _, rows in blocks])
    parts = []
    for first in range(0, len(blocks), shape[0]):
        output = _run_blocks(program, inputs, blocks[first : first + shape[0]], schedule, drive, shape)
        parts.append(output)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    merged: Any = jax.tree.map(lambda *values: np.concatenate(values)[place], *parts)
    return Result(
        merged.observables,
        merged.status,
        merged.final,
        np.sqrt(merged.estimate.astype(np.float64)),
        merged.negative_steps,
        merged.record,
        None if merged.checkpoint is None else as_bytes(merged.checkpoint),
        merged.past,
    )


def shape_for(steps: Steps, schedule: Schedule, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the (blocks, lanes) in which points are run: of a batch's shape, or one narrow block after the
    other where few points take so many steps that this is worth another compilation."""
    counts = np.bincount(steps.halvings)
    each = schedule.steps * schedule.stands_for * 2.0 ** np.arange(len(counts))
    wide, narrow = (np.sum(each * lanes * np.ceil(counts / lanes)) for lanes in (shape[1], LANES))
    if narrow > 0.5 * wide or wide - narrow < WORTH_COMPILING:
        return shape
    # JAX may not be asked for its device before it has its options.
    backend.prepare()
    return shape if backend.blocks_at_once() > 1 else (1, LANES)


def _of_several(shape: tuple[int, int]) -> tuple[int, int]:
    """Return a batch's shape with two blocks at least on a processor, where one can be empty and takes no
    steps: of a single one XLA takes the loop over blocks away, and compiles what is in it in another way,
    with other last bits."""
    # JAX may not be asked for its device before it has its options.
    backend.prepare()
    return (2, shape[1]) if shape[0] == 1 and backend.blocks_at_once() == 1 else shape


def of_program(program: Program, shape: tuple[int, int]) -> tuple[int, int]:
    """Return a batch's shape in blocks as wide as those of a program may be."""
    size = len(program.model.variables)
    return narrowed(shape, size * (1 + size * bool(program.tangents)), program.precision)


def _beside(first: Result, second: Result) -> Result:
    """Return the first result with the observables of the second, and both checkpoints."""
    checkpoint = None
    if first.checkpoint is not None and second.checkpoint is not None:
        checkpoint = np.concatenate([first.checkpoint, second.checkpoint], axis=1)
    observables = first.observables | second.observables
    return replace(first, observables=observables, checkpoint=checkpoint)


def _packed(steps: Steps, lanes: int) -> list[Packed]:
    """Return the blocks: halvings, halvings of the noise's grid, and the rows of up to `lanes` points."""
    kinds = steps.halvings << 8 | steps.noise_halvings
    blocks = []
    for kind in sorted(set(kinds.tolist())):
        halvings, noise_halvings = divmod(kind, 1 << 8)
        rows = np.flatnonzero(kinds == kind)
        blocks += [(halvings, noise_halvings, rows[i : i + lanes]) for i in range(0, len(rows), lanes)]
    return blocks


def _run_blocks(
    program: Program,
    inputs: Inputs,
    blocks: list[Packed],
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
) -> Outcomes:
    """Run up to shape[0] blocks; return what came of their points, one after the other."""
    count, lanes = shape
    rows = np.stack([_filled_up(rows, lanes) for _, _, rows in blocks])
    # A call has its full number of blocks; those beyond take no steps.
    rows = np.concatenate([rows, np.repeat(rows[-1:], count - len(blocks), axis=0)])
    arguments = (_gathered(inputs, rows), _pace(blocks, schedule, count), *_extras(schedule, drive, shape[0]))
    late = backend.prepare() == "late"
    request = (program, arguments)
    output: Outcomes = child.ask(request, backend.environment()) if late else _executed(request)
    filled = np.zeros(shape, dtype=bool)
    for index, (_, _, taken) in enumerate(blocks):
        filled[index, : len(taken)] = True
    if output.record is not None:
        output = output._replace(record=output.record[:, : schedule.rows])
    points: Outcomes = jax.tree.map(lambda value: value[filled], _lanes_first(output))
    return points


def _filled_up(rows: Index, lanes: int) -> Index:
    """Return rows with the last one repeated up to the number of lanes."""
    return rows if len(rows) == lanes else np.pad(rows, (0, lanes - len(rows)), mode="edge")


def _lanes_first(output: Outcomes) -> Outcomes:
    """Return the output with the lanes after the blocks, then what each point has several of."""
    several = {"final": output.final, "past": output.past, "record": output.record}
    return output._replace(**jax.tree.map(lambda values: np.moveaxis(values, -1, 1), several))


def _gathered(inputs: Inputs, rows: Index) -> Inputs:
    """Return what is read of these points, `(blocks, lanes)`."""
    found: Inputs = jax.tree.map(lambda values: values[rows], inputs)
    return found._replace(bridge=jax.tree.map(lambda values: np.moveaxis(values, -1, 1), found.bridge))


def _pace(blocks: list[Packed], schedule: Schedule, count: int) -> Pace:
    halvings = np.zeros(count, dtype=np.int64)
    noise_halvings = np.zeros(count, dtype=np.int64)
    active = np.arange(count) < len(blocks)
    halvings[: len(blocks)] = [block[0] for block in blocks]
    noise_halvings[: len(blocks)] = [block[1] for block in blocks]
    per_base = 2**halvings
    behind = schedule.transient * per_base + (schedule.behind or 0) * per_base // SEGMENT * SEGMENT
    found: dict[str, Counts] = {
        "transient": active * schedule.transient * per_base,
        "end": active * schedule.steps * per_base,
        "every": np.minimum((schedule.every or 1) * per_base, 2**30),
        "sample_steps": np.minimum(schedule.sample_steps * per_base, SAMPLE_STEPS),
        "depth": halvings - noise_halvings,
    }
    whole: dict[str, Any] = {name: values.astype(np.int32) for name, values in found.items()}
    whole["behind"] = None if schedule.behind is None else (active * behind).astype(np.int32)
    return Pace(**whole | {"dt": schedule.base * 0.5**halvings})


def _extras(schedule: Schedule, drive: DriveBase | None, blocks: int) -> tuple[Column, tuple[Column, Column]]:
    """Return room for the rows of the record, and for one more of what is not kept; and the samples of the
    drive, of one without samples some that are not read."""
    samples = with_integral((0.0, 0.0)) if drive is None else drive.samples()
    return np.zeros(room(schedule.rows, blocks) + 1, dtype=np.uint8), samples


def room(rows: int, blocks: int) -> int:
    """Return so many rows or some more: each number of them is another program to compile, and whoever looks
    at trajectories asks for one length after another. It is an eighth more at most, or what few blocks have
    anyway: of many points that keep two states each, room for 256 took a hundred times the memory."""
    if rows == 1:
        return rows
    step = max((1 << (rows - 1).bit_length()) // 16, 1)
    return max(ROOM // blocks, -(-rows // step) * step)


def memory_bytes(
    program: Program,
    inputs: Inputs,
    steps: Steps,
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
    compiling: Callable[[], None] = nothing,
) -> int:
    """Return the memory that one running batch takes: arguments, results and working space.

    `compiling` is called when nothing but compilation is left to do, which leaves Python to other threads.
    """
    # The program with tangents, if there is one, is the last and needs most memory.
    program = program.parts[-1]
    shape = _of_several(of_program(program, shape))
    rows = np.zeros(shape, dtype=int)
    pace = _pace(_packed(steps, shape[1])[:1], schedule, shape[0])
    arguments = (_gathered(inputs, rows), pace, *_extras(schedule, drive, shape[0]))
    with backend.settings():
        analysis: Any = compiled(all_blocks, program, arguments, compiling).memory_analysis()
    return int(analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes)


def _executed(request: tuple[Program, Arguments]) -> Outcomes:
    program, arguments = request
    with backend.settings():
        output: Outcomes = jax.tree.map(np.asarray, compiled(all_blocks, program, arguments)(*arguments))
    return output


def serve() -> None:
    """Run batches for another process: see `child`."""
    child.serve(_executed)
