"""What a longer window goes on from: its form, its type in the store, and its bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.accumulators import Instant
from qifscan.engine import backend
from qifscan.engine.measure import empty_totals
from qifscan.engine.tangents import frame_at_start, with_growth
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.engine.program import Program
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")


Tree = Any


NOISE_SIDES = ("now", "begin", "end")
"""What a checkpoint keeps of each noise: its value, and those between which its path is filled in."""


def _checkpoint_form(program: Program) -> Tree:
    """Return the tree of a checkpoint, with the shape and type of each leaf for one point."""

    def checkpoint() -> Tree:
        lane = jnp.zeros(1, program.precision)
        block = {
            "state": (lane,) * len(program.model.variables),
            "constants": {"down_threshold": lane, "up_threshold": lane},
        }
        sides = NOISE_SIDES
        moving = {
            "state": block["state"],
            "noise": {name: dict.fromkeys(sides, lane) for name in program.noisy},
            "estimate": lane,
            "negative_steps": jnp.zeros(1, jnp.int32),
        } | frame_at_start(program, block["state"])
        pace = dict.fromkeys(("end", "transient", "dt", "sample_steps"), 0)
        at = Instant(with_growth(moving), block["state"])
        return {"moving": moving, "totals": empty_totals(program, block["constants"], pace, at)}

    with backend.settings():
        return jax.eval_shape(checkpoint)


def _named(checkpoint: Tree) -> dict[str, Any]:
    """Return the leaves of a checkpoint by their names in the store."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(checkpoint)
    named = {jax.tree_util.keystr(path, simple=True, separator="_"): leaf for path, leaf in leaves}
    return {name.replace(" ", "_"): leaf for name, leaf in named.items()}


def checkpoint_type(program: Program) -> np.dtype[Any]:
    """Return the structured type of the checkpoint of a point."""
    if len(program.parts) > 1:
        return np.dtype([(f"part_{k}", checkpoint_type(part)) for k, part in enumerate(program.parts)])
    return np.dtype([(name, leaf.dtype) for name, leaf in _named(_checkpoint_form(program)).items()])


def checkpoint_tree(program: Program, packed: np.ndarray[Any, Any]) -> Tree:
    """Return the checkpoint of these bytes, `(points, bytes)`, as `run_batch` wants it among its inputs."""
    if len(program.parts) > 1:
        ends = np.cumsum([checkpoint_type(part).itemsize for part in program.parts])[:-1]
        pieces = np.split(packed, ends, axis=1)
        return tuple(checkpoint_tree(part, piece) for part, piece in zip(program.parts, pieces, strict=True))
    form = _checkpoint_form(program)
    records = np.ascontiguousarray(packed).view(checkpoint_type(program))[:, 0]
    return jax.tree.unflatten(jax.tree.structure(form), [records[name] for name in _named(form)])


def as_bytes(checkpoint: Tree) -> np.ndarray[Any, Any]:
    """Return a checkpoint as bytes, `(points, bytes)`."""
    named = _named(checkpoint)
    count = len(next(iter(named.values())))
    records = np.empty(count, [(name, values.dtype) for name, values in named.items()])
    for name, values in named.items():
        records[name] = values
    return records.view(np.uint8).reshape(count, -1)
