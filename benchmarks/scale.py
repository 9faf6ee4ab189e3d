"""How a run's chunks are handed out to many workers: chunks that sleep, so that few cores do for thousands.

What is measured is the way of a chunk to its worker and back. Driver, scheduler and workers are real, but
a worker is a thread among many of a few processes here, as nothing is computed.

    python benchmarks/scale.py [--workers 1000] [--seconds 20] [--rounds 4]   # are all of them busy?
    python benchmarks/scale.py --twice                                       # two workers, chunks of a second
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import dask
import psutil

TOGETHER = 250
"""Workers in a process."""

dask.config.set(
    {
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
        "logging": {"distributed": "critical"},
    }
)


def nap(seconds, chunk):
    """Be a chunk that takes so long: return the worker, and when it began and ended."""
    from distributed import get_worker

    begin = time.time()
    time.sleep(seconds)
    return get_worker().address, begin, time.time()


def scheduler(port):
    """Be a scheduler."""
    from distributed import Scheduler

    async def be():
        async with Scheduler(host="127.0.0.1", port=port, dashboard=False) as made:
            await made.finished()

    asyncio.run(be())


def workers(address, count):
    """Be so many workers."""
    from distributed import Worker

    async def be():
        options = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": 0, "dashboard": False}
        made = [Worker(address, **options) for _ in range(count)]
        for first in range(0, count, 25):
            await asyncio.gather(*made[first : first + 25])
        await asyncio.gather(*[one.finished() for one in made])

    asyncio.run(be())


def cluster(count):
    """Start a scheduler and workers; return its address and the processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context, address = multiprocessing.get_context("spawn"), f"tcp://127.0.0.1:{port}"
    each = [min(TOGETHER, count - first) for first in range(0, count, TOGETHER)]
    processes = [context.Process(target=scheduler, args=(port,), daemon=True)]
    processes += [context.Process(target=workers, args=(address, n), daemon=True) for n in each]
    for process in processes:
        process.start()
    return address, processes


def handed_out(client, chunks, seconds):
    """Run chunks that sleep as a run does; return what each says, and the seconds until the last is back."""
    from qifscan.runs.cluster import DaskClient

    begin = time.time()
    found = [outcome for _, outcome in DaskClient(client).outcomes(nap, seconds, range(chunks))]
    return found, time.time() - begin


def busy(found, count):
    """Return how many workers had chunks; which part of their time they were busy, from when each has begun
    until the last chunk begins; and the seconds from the first of them to the last."""
    first = {}
    for worker, begin, _ in found:
        first[worker] = min(begin, first.get(worker, begin))
    since, until = max(first.values()), max(begin for _, begin, _ in found)
    inside = sum(max(0.0, min(end, until) - max(begin, since)) for _, begin, end in found)
    return len(first), inside / (count * (until - since)), since - min(first.values())


def many(asked):
    from distributed import Client

    address, processes = cluster(asked.workers)
    with Client(address, set_as_default=False, timeout=120) as client:
        client.wait_for_workers(asked.workers, timeout=600)
        before = sum(os.times()[:2])
        found, wall = handed_out(client, asked.workers * asked.rounds, asked.seconds)
        own = sum(os.times()[:2]) - before
        cpu = [round(sum(psutil.Process(p.pid).cpu_times()[:2])) for p in processes]
    there, part, ramp = busy(found, asked.workers)
    print(f"{asked.workers:,} workers, {len(found):,} chunks of {asked.seconds:g} s: {wall:.0f} s in all")
    print(f"{there:,} workers had chunks, the last of them {ramp:.1f} s after the first")
    print(f"from then on {100 * part:.1f} % of their time was busy")
    print(f"CPU: driver {own:.0f} s, scheduler {cpu[0]} s, workers {sum(cpu[1:])} s (their start in it)")
    for process in reversed(processes):
        process.kill()


def twice():
    from distributed import Client

    took = []
    for count in (1, 2):
        address, processes = cluster(count)
        with Client(address, set_as_default=False, timeout=120) as client:
            client.wait_for_workers(count, timeout=120)
            handed_out(client, 2, 0.1)
            took.append(handed_out(client, 40, 1.0)[1])
        for process in reversed(processes):
            process.kill()
    one, two = took
    print(f"40 chunks of a second: one worker {one:.1f} s, two {two:.1f} s: {one / two:.3f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--twice", action="store_true")
    asked = parser.parse_args()
    if asked.twice:
        twice()
    else:
        many(asked)


if __name__ == "__main__":
    main()
