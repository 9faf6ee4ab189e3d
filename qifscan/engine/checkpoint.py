"""What a longer window goes on from: its form, its type in the store, and its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.accumulators import Instant
from qifscan.engine import backend
from qifscan.engine.carries import Checkpoint, Kept, Noise, Pace
from qifscan.engine.measure import empty_totals
from qifscan.engine.tangents import frame_at_start
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.arrays import Column
    from qifscan.engine.program import Program
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")


def _checkpoint_form(program: Program) -> Checkpoint:
    """Return a checkpoint with the shape and type of each leaf for one point."""

    def checkpoint() -> Checkpoint:
        lane, number = jnp.zeros(1, program.precision), jnp.int32(0)
        state = (lane,) * len(program.model.variables)
        frame, growth = frame_at_start(program, state)
        noise = dict.fromkeys(program.noisy, Noise(lane, lane, lane))
        kept = Kept(lane, frame, growth, jnp.zeros(1, jnp.int32), noise, state)
        pace = Pace(None, number, jnp.float64(0.0), number, number, number, number)
        at = Instant(state + (growth or ()), state)
        thresholds = {"down_threshold": lane, "up_threshold": lane}
        return Checkpoint(kept, empty_totals(program, thresholds, pace, at))

    with backend.settings():
        form: Checkpoint = jax.eval_shape(checkpoint)
    return form


def _named(checkpoint: Checkpoint) -> dict[str, jax.Array]:
    """Return the leaves of a checkpoint by their names in its structured type."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(checkpoint)
    named = {jax.tree_util.keystr(path, simple=True, separator="_"): leaf for path, leaf in leaves}
    return {name.replace(" ", "_"): leaf for name, leaf in named.items()}


def checkpoint_type(program: Program) -> np.dtype[np.void]:
    """Return the structured type of the checkpoint of a point."""
    if len(program.parts) > 1:
        return np.dtype([(f"part_{k}", checkpoint_type(part)) for k, part in enumerate(program.parts)])
    return np.dtype([(name, leaf.dtype) for name, leaf in _named(_checkpoint_form(program)).items()])


def checkpoints_of(program: Program, packed: Column) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of these bytes, `(points, bytes)`, of each part of a program, as `run_batch`
    takes them."""
    ends = np.cumsum([checkpoint_type(part).itemsize for part in program.parts])[:-1]
    pieces = np.split(packed, ends, axis=1)
    return tuple(_checkpoint_of(part, piece) for part, piece in zip(program.parts, pieces, strict=True))


def _checkpoint_of(program: Program, packed: Column) -> Checkpoint:
    form = _checkpoint_form(program)
    records = np.ascontiguousarray(packed).view(checkpoint_type(program))[:, 0]
    tree: Checkpoint = jax.tree.unflatten(jax.tree.structure(form), [records[name] for name in _named(form)])
    return tree


def as_bytes(checkpoint: Checkpoint) -> Column:
    """Return a checkpoint as bytes, `(points, bytes)`."""
    named = _named(checkpoint)
    count = len(next(iter(named.values())))
    records = np.empty(count, [(name, values.dtype) for name, values in named.items()])
    for name, values in named.items():
        records[name] = values
    return records.view(np.uint8).reshape(count, -1)
