"""What this machine has: cores and memory."""

from __future__ import annotations

import os

import psutil

GPU_WORKERS = 2
"""Chunks that a GPU is given at once: while it runs one, the other is prepared or written."""


def usual_workers(device: str) -> int:
    """Return how many chunks are run at once on a device: as many as this machine has cores, two on a GPU."""
    return usable_cores() if device.startswith("cpu") else GPU_WORKERS


def usable_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def available_memory() -> int:
    """Return the bytes of memory that this machine could still give."""
    return int(psutil.virtual_memory().available)
