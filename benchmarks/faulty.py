"""What runs in the processes of `faults.py`: a driver, a scheduler, workers, each with its faults."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import resource
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import dask
import numpy as np

import qifscan as qs
from qifscan.runs import driver, task, tasks, workers

SCAN = qs.Scan(
    axes={"eta": np.linspace(-6.0, -3.0, 24)},
    protocol=qs.Protocol(transient=0.5, window=0.5),
    observables=["r_mean", "v_final"],
)
CHUNK_POINTS = 2
CHUNKS = 12

NAP = 0.15
"""Seconds that each chunk takes more, for a fault to fall into it."""

dask.config.set(
    {
        "distributed.scheduler.worker-ttl": "6s",
        "distributed.scheduler.allowed-failures": 1,
        "distributed.comm.timeouts.connect": "5s",
        "distributed.comm.timeouts.tcp": "12s",
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
    }
)

_poisoned: list[bool] = []


def once(mark: str) -> bool:
    """Whether this is the first time in any process."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def compute(path: str, chunk: int, traps: dict[str, list[int]] = {}, **options):  # noqa: B006
    """Compute a chunk, unless it is a trap."""
    time.sleep(NAP)
    if _poisoned:
        raise RuntimeError("this worker is poisoned")
    if chunk in traps.get("kills", ()):
        os.kill(os.getpid(), signal.SIGKILL)
    if chunk in traps.get("kills once", ()) and once(f"{path}.{chunk}.mark"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if chunk in traps.get("hangs", ()):
        time.sleep(3600)
    if chunk in traps.get("stops", ()):
        os.kill(os.getpid(), signal.SIGSTOP)
    if chunk in traps.get("raises", ()):
        raise ValueError("a bad chunk")
    if chunk in traps.get("leaves", ()):
        raise SystemExit(3)
    if chunk in traps.get("poisons", ()) and once(f"{path}.{chunk}.mark"):
        _poisoned.append(True)
    if chunk in traps.get("eats", ()):
        held = []
        while True:
            held.append(np.ones(2**23))
            time.sleep(0.1)
    return task.compute_chunk(path, chunk, **options)


def drive(path, outcome, client="threads", traps=None, limits=None, clock=0.0, **options):
    """Run the scan; leave what came of it in a file."""
    # Where a run has no end, it is to be known where it waits.
    faulthandler.dump_traceback_later(100.0)
    workers.PATIENCE, workers.LOST, tasks.HUNG = 1.0, 15.0, 12.0
    # The first chunk of a worker waits for a compiler, and on a busy machine long.
    tasks.HUNG_TIMES, tasks.HUNG_FIRST = 1.5, 40.0
    driver.compute_chunk = partial(compute, traps=traps or {})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    state = {"chunks": 0}
    real, begin = time.time, time.time()

    def report(progress):
        state["chunks"] = progress.chunks
        if progress.chunks >= 2 and limits:
            for name, most in limits.items():
                resource.setrlimit(getattr(resource, name), (most, most))
        if progress.chunks >= 2 and clock:
            time.time = lambda: real() + clock

    try:
        qs.run(SCAN, path, client=client, chunk_points=CHUNK_POINTS, progress=report, **options)
        told = {"how": "finished"}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
        told = {"how": type(error).__name__, "text": str(error)}
        traceback.print_exc()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    Path(outcome).write_text(json.dumps({**told, "seconds": real() - begin}))
    # What Dask would still wait for is no part of the run.
    os._exit(0)


def quietly(what, folder, *arguments, **options):
    """Do something with what it prints in a file."""
    handle = os.open(f"{folder}/printed.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    what(*arguments, **options)


def scheduler(port, host="127.0.0.1"):
    """Be a scheduler."""
    from distributed import Scheduler

    async def main():
        async with Scheduler(host=host, port=port, dashboard=False) as made:
            await made.finished()

    asyncio.run(main())


def worker(address, clock=0.0, nanny=False, host="127.0.0.1", namespace=None, **options):
    """Be a worker, or the nanny of one."""
    if namespace:
        handle = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
        _setns(handle)
    if clock:
        # Before Dask takes it: a process that has two clocks never sends what it has computed.
        assert "distributed" not in sys.modules
        real = time.time
        time.time = lambda: real() + clock
    from distributed import Nanny, Worker

    async def main():
        kind = Nanny if nanny else Worker
        options.setdefault("memory_limit", 0)
        async with kind(address, nthreads=1, host=host, dashboard=False, **options) as made:
            for number in (signal.SIGTERM,):
                asyncio.get_running_loop().add_signal_handler(
                    number, lambda: asyncio.ensure_future(made.close(reason="asked to leave"))
                )
            await made.finished()

    asyncio.run(main())
    os._exit(0)


def _setns(handle):
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(handle, 0):
        raise OSError(ctypes.get_errno(), "setns")
