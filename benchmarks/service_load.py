"""The service under load: clients that click, streams of events, jobs that are sent and stopped at random.

On loopback, with the command in a process of its own. In the end every scan that was sent is sent once more
and must be there, sound; no answer may have been a fault of the server; its memory must not have grown.

    python benchmarks/service_load.py --seconds 120 --clients 50 --streams 10
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import psutil

import qifscan as qs
from qifscan.service.transport import ServiceError, Transport

SETTLED = 0.4
"""Share of the time after which memory is compared: before, code and caches are loaded."""

THINKING = 1.0
"""Seconds between two clicks of a client, on average."""


def scan(seed):
    """Return a small scan: what takes longest is to start its process."""
    return qs.Scan(
        axes={"eta": np.linspace(-8.0, 2.0, 24), "J": np.linspace(5.0, 25.0, 24)},
        protocol=qs.Protocol(transient=20.0, window=50.0),
        seed=seed,
    )


class Load:
    """What is measured while the load is on."""

    def __init__(self, url, store, scans):
        self.url, self.store, self.scans = url, store, scans
        self.stop = threading.Event()
        self.seconds = defaultdict(list)
        self.statuses = Counter()
        self.events = 0
        self.sent, self.stopped = {}, 0
        self.faults = []

    def asked(self, transport, kind, method, path, body=None):
        """Send a request, and keep how long it took and how it was answered."""
        begin = time.perf_counter()
        answer = transport.ask(method, path, body)
        self.seconds[kind].append(time.perf_counter() - begin)
        self.statuses[answer.status] += 1
        if answer.status >= 500 and answer.status != 503:
            self.faults.append(f"{method} {path}: {answer.status} {answer.data[:200]!r}")

    def click(self, number):
        """Read chunks of the map, ask for trajectories, equilibria and states, as a page does."""
        chance, transport = random.Random(number), Transport(self.url)
        while not self.stop.wait(chance.expovariate(1.0 / THINKING)):
            parameters = {"eta": chance.uniform(-8.0, 2.0), "J": chance.uniform(5.0, 25.0)}
            run = {"inputs": {"t_end": 50.0, "every": 20, "parameters": parameters}}
            kind, *request = chance.choice(
                [
                    ("chunk", "GET", f"/stores/{self.store}/r_mean/c/0/0"),
                    ("chunk", "GET", f"/stores/{self.store}/status/c/0/0"),
                    ("status", "GET", f"/jobs/{self.store}"),
                    ("list", "GET", "/jobs"),
                    ("trajectory", "POST", "/processes/simulate/execution", run),
                    (
                        "equilibria",
                        "POST",
                        "/processes/theory/execution",
                        {"inputs": {"parameters": parameters}},
                    ),
                ]
            )
            self.asked(transport, kind, *request)

    def listen(self):
        """Hear all events, again and again."""
        transport = Transport(self.url)
        while not self.stop.is_set():
            for _ in transport.events("/events", ""):
                self.events += 1
                if self.stop.is_set():
                    break

    def send(self):
        """Send scans and stop some of them."""
        chance, client = random.Random(0), qs.Client(self.url)
        while not self.stop.wait(chance.uniform(0.1, 1.0)):
            try:
                seed = chance.randrange(self.scans)
                self.sent[seed] = client.submit(scan(seed))
                if chance.random() < 0.7:
                    self.sent[chance.choice(list(self.sent))].cancel()
                    self.stopped += 1
            except ServiceError as error:
                # The queue is full, or the job has ended.
                if error.status not in (503, 409):
                    self.faults.append(str(error))


def started(folder):
    """Start the command; return its process and address."""
    code = "from qifscan.cli import script; script()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folder), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    return running, running.stdout.readline().split()[3]


def measured(seconds, clients, streams, scans):
    """Put the load on for so many seconds, with so many different scans; return what was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = scan(10**6)
        qs.run(first, folder / "first.zarr", chunk_points=24 * 24, progress=None)
        running, url = started(folder)
        load = Load(url, first.fingerprint, scans)
        threads = [threading.Thread(target=load.click, args=(i,)) for i in range(clients)]
        threads += [threading.Thread(target=load.listen) for _ in range(streams)]
        threads.append(threading.Thread(target=load.send))
        memory, server, begin = [], psutil.Process(running.pid), time.monotonic()
        try:
            for thread in threads:
                thread.start()
            while (passed := time.monotonic() - begin) < seconds:
                memory.append((passed / seconds, server.memory_info().rss / 2**20, server.num_fds()))
                time.sleep(0.25)
            load.stop.set()
            # Nothing is stopped any more.
            threads[-1].join(60)
            lost = lost_scans(url, load, folder)
        finally:
            load.stop.set()
            running.send_signal(signal.SIGINT)
            ended = running.wait(120)
            for thread in threads:
                thread.join(60)
        return {"load": load, "memory": memory, "lost": lost, "ended": ended}


def lost_scans(url, load, folder):
    """Send every scan that was sent once more, and return those that are not there, sound, in the end."""
    client, lost = qs.Client(url), []
    for seed in sorted(load.sent):
        while True:
            try:
                job = client.submit(scan(seed))
                break
            except ServiceError as error:
                if error.status != 503:
                    raise
                time.sleep(0.2)
        job.wait(None)
        status = job.open().status.values
        faults = qs.verify(folder / f"{job.id}.zarr", points=0).faults
        lost += [f"{seed}: {faults}"] if faults or not (status > 0).all() else []
    return lost


def lines(found, clients, streams):
    """Return the table of what was found."""
    load = found["load"]
    yield f"{clients} clients, {streams} streams, {sum(map(len, load.seconds.values())):,} requests"
    for kind, each in sorted(load.seconds.items()):
        median, most = 1e3 * np.percentile(each, [50, 95])
        yield f"{kind:<12} {len(each):>7,}   median {median:7.1f} ms   95 % {most:7.1f} ms"
    yield f"answers      {dict(sorted(load.statuses.items()))}"
    yield f"events       {load.events:,}"
    yield f"jobs         {len(load.sent)} scans sent, stopped {load.stopped} times, lost {len(found['lost'])}"
    yield f"faults       {len(load.faults)} {load.faults[:3]}"
    settled, ended = growth(found)
    yield f"memory       {settled:.0f} MiB, then {ended:.0f} MiB; files {found['memory'][-1][2]}"


def growth(found):
    """Return the median memory of the server after it has settled, and in the end (MiB)."""
    shares = [(SETTLED, SETTLED + 0.2), (0.8, 1.01)]
    return [np.median([m for share, m, _ in found["memory"] if a <= share < b]) for a, b in shares]


def main():
    """Measure, print, and end with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--scans", type=int, default=12)
    given = parser.parse_args()
    found = measured(given.seconds, given.clients, given.streams, given.scans)
    for line in lines(found, given.clients, given.streams):
        print(line, flush=True)
    settled, ended = growth(found)
    sound = not found["lost"] and not found["load"].faults and found["ended"] == 0 and ended < 1.1 * settled
    print("sound" if sound else "not sound")
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
