"""Executables of programs, each compiled once per process: the only place that compiles a time loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qifscan.engine import backend
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    from jax.stages import Compiled

    from qifscan.engine.carries import Outcomes
    from qifscan.engine.program import Program

    Shapes = tuple[tuple[tuple[int, ...], np.dtype[np.generic]], ...]
else:
    jax = LazyModule("jax")


def nothing() -> None:
    """Do nothing while a program is compiled."""


MOST_KEPT = 256
"""Executables that a process keeps, those used last: a server or a notebook may ask for ever new ones."""

_executables: dict[tuple[Program, Shapes], Compiled] = {}
_taken = [0.0]
_compiling = threading.Lock()


def compiled(
    blocks: Callable[..., Outcomes],
    program: Program,
    arguments: tuple[object, ...],
    compiling: Callable[[], None] = nothing,
) -> Compiled:
    """Return the executable of a program, run by `blocks`, for arguments of these shapes; compiled once."""
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
    # One lock for all: two threads that ask for the same program would both compile it.
    with _compiling:
        found = _executables.pop((program, shapes), None)
        if found is None:
            begin = time.perf_counter()
            backend.prepare()
            whole = jax.jit(lambda *arguments: blocks(program, *arguments))
            lowered = whole.lower(*arguments)
            compiling()
            found = lowered.compile()
            _taken[0] += time.perf_counter() - begin
        # Keep the order of last use.
        _executables[program, shapes] = found
        if len(_executables) > MOST_KEPT:
            del _executables[next(iter(_executables))]
        return found


def compile_count() -> int:
    """Return how many executables this process keeps."""
    return len(_executables)


def seconds_of_compiling() -> float:
    """Return the seconds that this process has spent on compiling."""
    return _taken[0]
