"""Chunks of no work, for `overhead.py`: all that a task does of a chunk, and nothing is computed."""

from __future__ import annotations

import numpy as np

from qifscan.engine.measured import CHECKPOINT, Measured, diagnostics
from qifscan.runs import task


def zeros(chunks, chunk):
    """Return what comes of a chunk that nobody computes."""
    scan, count = chunks.scan, chunks.points(chunk)
    values = {name: np.zeros(count, scan.precision) for name in scan.measures}
    values |= {name: np.zeros(count, row.dtype) for name, row in diagnostics(scan).items()}
    values[CHECKPOINT] = np.zeros((count, chunks.checkpoint), np.uint8)
    return Measured(values, np.ones(count, np.uint8), None)


def compute(path, chunk, **options):
    """Write a chunk of zeros, in any process."""
    task.run_chunk = zeros
    return task.compute_chunk(path, chunk, **options)
