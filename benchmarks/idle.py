"""Chunks of no work, for `overhead.py`: written as any other, and computed by nobody."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from qifscan.engine.measured import CHECKPOINT, Measured, diagnostics
from qifscan.runs.task import Outcome
from qifscan.store import store, writer


@lru_cache
def opened_at(path):
    return store.load(Path(path))


def compute(path, chunk, **options):
    """Write a chunk of zeros."""
    opened = opened_at(path)
    scan, count = opened.scan, opened.chunks.points(chunk)
    values = {name: np.zeros(count, scan.precision) for name in scan.measures}
    values |= {name: np.zeros(count, row.dtype) for name, row in diagnostics(scan).items()}
    values[CHECKPOINT] = np.zeros((count, opened.chunks.checkpoint), np.uint8)
    writer.write(opened, chunk, Measured(values, np.ones(count, np.uint8), None))
    return Outcome(count, {"computed": count}, 0.0, "cpu")
