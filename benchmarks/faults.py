"""Faults of every kind, from seeds: what becomes of a run.

After each of them the store is that of an undisturbed run, bit for bit, at once or when the same command is
given again; or the run ends in a bounded time with exactly the chunks that can't be computed. Runs are small.
Some faults need root and Linux (a small disk, a network of its own): without, the table says that they are
left out.

    python benchmarks/faults.py [--seeds 7] [--first 0] [--kind PATTERN]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import faulty

import qifscan as qs

MOST_SECONDS = 150.0
"""Seconds after which a disturbed run counts as one without an end. The machine may be busy."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["faulty", "jax", "xarray", "zarr", "distributed", "qifscan.runs.driver"])


class Case:
    """One disturbed run: its folder, its processes, and chance."""

    def __init__(self, folder, seed):
        self.folder, self.rng = folder, random.Random(seed)
        self.path = folder / "scan.zarr"
        self.processes, self.cleanup, self.drivers = [], [], []

    def start(self, what, *arguments, **options):
        given = (what, str(self.folder), *arguments)
        context = multiprocessing.get_context("spawn") if "clock" in options else CONTEXT
        process = context.Process(target=faulty.quietly, args=given, kwargs=options)
        process.start()
        self.processes.append(process)
        return process

    def driver(self, **options):
        path = options.pop("path", self.path)
        outcome = self.folder / f"{len(self.drivers)}.outcome"
        process = self.start(faulty.drive, str(path), str(outcome), **options)
        self.drivers.append((process, outcome))
        return process

    def scheduler(self, port=None, host="127.0.0.1"):
        port = port or free_port(host)
        process = self.start(faulty.scheduler, port, host)
        wait_for(lambda: answers(host, port), 60)
        return process, f"tcp://{host}:{port}"

    def cluster(self, workers=2, **options):
        process, address = self.scheduler()
        return process, address, [self.worker(address, **options) for _ in range(workers)]

    def worker(self, address, **options):
        options.setdefault("local_directory", str(self.folder / "dask"))
        return self.start(faulty.worker, address, **options)

    def done(self):
        return sum(1 for p in self.path.glob("status/c/*") if p.name.isdigit())

    def reach(self, least=2, most=8):
        """Wait until some chunks are there, and a little more."""
        wanted = self.rng.randint(least, most)
        wait_for(lambda: self.done() >= wanted or not any(p.is_alive() for p, _ in self.drivers), 100)
        time.sleep(self.rng.random() * faulty.NAP)

    def pause(self, most=3.0):
        time.sleep(self.rng.uniform(0.2, most))

    def end(self):
        for undo in reversed(self.cleanup):
            undo()
        for process in self.processes:
            if process.is_alive():
                send(process, signal.SIGCONT)
                process.kill()
        for process in self.processes:
            process.join()

    def outcome(self):
        """Return what the first driver said in the end."""
        file = self.drivers[0][1]
        return json.loads(file.read_text()) if file.exists() else {"how": "killed"}


def free_port(host="127.0.0.1"):
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def answers(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def send(process, number):
    if process.is_alive():
        os.kill(process.pid, number)


class Proxy:
    """A TCP proxy that can be cut or frozen."""

    def __init__(self, target):
        host, port = target.removeprefix("tcp://").split(":")
        self.target, self.frozen, self.sockets = (host, int(port)), threading.Event(), []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.server.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.sockets += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    def _copy(self, a, b):
        with suppress(OSError):
            while data := a.recv(65536):
                while self.frozen.is_set():
                    time.sleep(0.02)
                b.sendall(data)
        for one in (a, b):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.server.close()
        for one in self.sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


KINDS = {}


def kind(name, expected="resumed", root=False):
    """Add a fault. `expected`: "whole" (the run itself does all), "resumed" (it may end, and the same command
    does the rest), "repaired" (after verify --repair), "failed" (the function returns what can't be done)."""

    def add(function):
        KINDS[name] = (function, expected, root)
        return function

    return add


def _signalled(name, number, again, expected):
    @kind(name, expected)
    def fault(case):
        driver = case.driver()
        case.reach()
        send(driver, number)
        if again:
            case.pause()
            send(driver, again)


_signalled("driver killed", signal.SIGKILL, None, "resumed")
_signalled("driver stopped for a while", signal.SIGSTOP, signal.SIGCONT, "whole")
_signalled("driver interrupted (Ctrl-C)", signal.SIGINT, None, "resumed")
_signalled("driver terminated", signal.SIGTERM, None, "resumed")


@kind("driver of a cluster killed; its workers still write")
def _(case):
    _, address, _ = case.cluster()
    driver = case.driver(client=address)
    case.reach()
    driver.kill()


@kind("driver stopped, another does the rest, the first wakes up", "whole")
def _(case):
    first = case.driver()
    case.reach()
    send(first, signal.SIGSTOP)
    second = case.driver(path=case.path)
    second.join(100)
    send(first, signal.SIGCONT)


def _worker(name, expected="whole", **of_worker):
    def add(act):
        @kind(name, expected)
        def fault(case):
            _, address, workers = case.cluster(**of_worker)
            case.driver(client=address)
            case.reach()
            act(case, address, workers)

        return act

    return add


@_worker("worker killed")
def _(case, address, workers):
    case.rng.choice(workers).kill()


@_worker("worker stopped for good")
def _(case, address, workers):
    send(case.rng.choice(workers), signal.SIGSTOP)


@_worker("worker stopped for a while")
def _(case, address, workers):
    one = case.rng.choice(workers)
    send(one, signal.SIGSTOP)
    case.pause(10.0)
    send(one, signal.SIGCONT)


@_worker("every worker killed, others come")
def _(case, address, workers):
    for one in workers:
        one.kill()
    case.pause()
    case.worker(address)


@_worker("worker asked to leave (preempted)")
def _(case, address, workers):
    send(case.rng.choice(workers), signal.SIGTERM)


@kind("workers with a lifetime, others come", "whole")
def _(case):
    _, address, _ = case.cluster(lifetime="4s", lifetime_stagger="2s")
    case.driver(client=address)
    time.sleep(4.0 * case.rng.random())
    case.worker(address)


@_worker("worker killed, its nanny starts another", nanny=True)
def _(case, address, workers):
    for child in children_of(case.rng.choice(workers).pid):
        os.kill(child, signal.SIGKILL)


@_worker("nanny killed", nanny=True)
def _(case, address, workers):
    case.rng.choice(workers).kill()


def children_of(process):
    import psutil

    return [p.pid for p in psutil.Process(process).children() if "spawn_main" in " ".join(p.cmdline())]


@kind("scheduler killed")
def _(case):
    scheduler, address, _ = case.cluster()
    case.driver(client=address)
    case.reach()
    scheduler.kill()


@kind("scheduler killed, and another at its address", "whole")
def _(case):
    scheduler, address, workers = case.cluster()
    case.driver(client=address)
    case.reach()
    scheduler.kill()
    scheduler.join()
    for one in workers:
        one.kill()
    case.scheduler(int(address.rpartition(":")[2]))
    case.worker(address)


@kind("scheduler stopped for good")
def _(case):
    scheduler, address, _ = case.cluster()
    case.driver(client=address)
    case.reach()
    send(scheduler, signal.SIGSTOP)


@kind("scheduler stopped for a while", "whole")
def _(case):
    scheduler, address, _ = case.cluster()
    case.driver(client=address)
    case.reach()
    send(scheduler, signal.SIGSTOP)
    case.pause(4.0)
    send(scheduler, signal.SIGCONT)


def _network(name, expected, act, driver_behind=False):
    @kind(name, expected)
    def fault(case):
        _, address = case.scheduler()
        proxy = Proxy(address)
        case.cleanup.append(proxy.cut)
        case.worker(address)
        case.worker(address if driver_behind else proxy.address)
        case.driver(client=proxy.address if driver_behind else address)
        case.reach()
        act(case, proxy)


def _frozen(case, proxy):
    proxy.frozen.set()
    case.pause(8.0)
    proxy.frozen.clear()


_network("network cut between a worker and the scheduler", "whole", lambda case, proxy: proxy.cut())
_network("network silent for a while between them", "whole", _frozen)
_network("network silent for good between them", "whole", lambda case, proxy: proxy.frozen.set())
_network("network cut between the driver and the scheduler", "resumed", lambda case, proxy: proxy.cut(), True)
_network("network silent for a while between those", "whole", _frozen, True)


@kind("a worker in a network of its own, its link cut", "whole", root=True)
def _(case):
    name, number = f"qs{os.getpid() % 10000}", case.rng.randrange(1, 250)
    here, there = f"10.213.{number}.1", f"10.213.{number}.2"
    for line in (
        f"netns add {name}",
        f"link add {name}a type veth peer name {name}b netns {name}",
        f"addr add {here}/30 dev {name}a",
        f"link set {name}a up",
        f"-n {name} addr add {there}/30 dev {name}b",
        f"-n {name} link set {name}b up",
        f"-n {name} link set lo up",
    ):
        subprocess.run(["ip", *line.split()], check=True)
    case.cleanup.append(lambda: subprocess.run(["ip", "netns", "del", name], check=False))
    case.cleanup.append(lambda: subprocess.run(["ip", "link", "del", f"{name}a"], check=False))
    _, address = case.scheduler(host=here)
    case.worker(address, host=here)
    case.worker(address, host=there, namespace=name)
    case.driver(client=address)
    case.reach()
    subprocess.run(["ip", "link", "set", f"{name}a", "down"], check=True)


def _disk(case):
    """Put the store onto a small disk of its own."""
    disk = case.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=True)
    case.cleanup.append(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
    case.path = disk / "scan.zarr"
    return disk


def _full(name, clustered):
    @kind(name, root=True)
    def fault(case):
        disk = _disk(case)
        options = {"client": case.cluster()[1]} if clustered else {}
        case.driver(**options)
        case.reach(most=5)
        with suppress(OSError), open(disk / "filler", "wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        case.drivers[0][0].join(60)
        (disk / "filler").unlink()


_full("disk full for a while", False)
_full("disk full for a while, on a cluster", True)


@kind("disk read-only for a while", root=True)
def _(case):
    disk = _disk(case)
    case.driver()
    case.reach(most=5)
    while subprocess.run(
        ["mount", "-o", "remount,ro", str(disk)], check=False, capture_output=True
    ).returncode:
        time.sleep(0.02)
    case.drivers[0][0].join(60)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


@kind("files may not grow any more (quota)")
def _(case):
    case.driver(limits={"RLIMIT_FSIZE": 40})


@kind("no more memory for the driver")
def _(case):
    case.driver(limits={"RLIMIT_AS": 2**27})


def _files(case, metadata=False):
    found = [p for p in sorted(case.path.rglob("*")) if p.is_file() and not p.name.endswith(".partial")]
    return [p for p in found if (p.name == "zarr.json") == metadata]


def _truncated(case, file):
    file.write_bytes(file.read_bytes()[: case.rng.randrange(max(file.stat().st_size, 1))])


def _flipped(case, file):
    data = bytearray(file.read_bytes())
    data[case.rng.randrange(len(data))] ^= 1 << case.rng.randrange(8)
    file.write_bytes(bytes(data))


def _foldered(case, file):
    file.unlink()
    file.mkdir()


def _damage(name, act, metadata=False):
    @kind(name, "repaired")
    def fault(case):
        driver = case.driver()
        if case.rng.random() < 0.5:
            driver.join(100)
        else:
            case.reach()
        for _ in range(case.rng.randint(1, 3)):
            file = case.rng.choice(_files(case, metadata))
            with suppress(OSError):
                act(case, file)


_damage("a file of a chunk truncated", _truncated)
_damage("a bit of a chunk flipped", _flipped)
_damage("a file of a chunk deleted", lambda case, file: file.unlink())
_damage("a folder in place of a chunk", _foldered)
_damage("metadata truncated", _truncated, True)


@kind("store moved away for a while")
def _(case):
    case.driver()
    case.reach()
    away = case.folder / "away.zarr"
    case.path.rename(away)
    case.drivers[0][0].join(60)
    # What was written meanwhile is no store.
    shutil.rmtree(case.path, ignore_errors=True)
    away.rename(case.path)


@kind("store deleted")
def _(case):
    case.driver()
    case.reach()
    shutil.rmtree(case.path, ignore_errors=True)
    case.drivers[0][0].join(60)
    shutil.rmtree(case.path, ignore_errors=True)


@kind("two drivers at once")
def _(case):
    case.driver()
    time.sleep(case.rng.random())
    case.driver(path=case.path)


@kind("two drivers, one of them of a cluster")
def _(case):
    _, address, _ = case.cluster()
    first, second = case.rng.sample([{}, {"client": address}], 2)
    case.driver(**first)
    case.reach(1, 4)
    case.driver(path=case.path, **second)


@kind("the driver's clock jumps", "whole")
def _(case):
    case.driver(clock=case.rng.choice([-1, 1]) * 10 ** case.rng.uniform(2, 7.5))


@kind("a worker's clock is wrong", "whole")
def _(case):
    _, address, _ = case.cluster(1)
    case.worker(address, clock=case.rng.choice([-1, 1]) * 10 ** case.rng.uniform(2, 7.5))
    case.driver(client=address)


def _kept_alive(case, address, **options):
    """Start a worker again whenever one is gone, as a queue of a cluster does."""
    over = threading.Event()
    workers = [case.worker(address, **options) for _ in range(2)]

    def watch():
        while not over.wait(0.2):
            for i, one in enumerate(workers):
                if not one.is_alive() and not over.is_set():
                    workers[i] = case.worker(address, **options)

    thread = threading.Thread(target=watch)
    thread.start()
    case.cleanup.append(lambda: (over.set(), thread.join()))


def _trap(name, trap, expected="failed", **of_worker):
    @kind(name, expected)
    def fault(case):
        _, address = case.scheduler()
        chunk = case.rng.randrange(faulty.CHUNKS)
        _kept_alive(case, address, **of_worker)
        case.driver(client=address, traps={trap: [chunk]})
        return {chunk}


_trap("a chunk kills its worker, always", "kills")
_trap("a chunk kills its worker, once", "kills once", "whole")
_trap("a chunk hangs", "hangs")
_trap("a chunk hangs, a nanny starts another worker", "hangs", nanny=True)
_trap("a chunk stops its worker, which does not answer", "stops", nanny=True)
_trap("a chunk raises", "raises")
_trap("a chunk ends the process (sys.exit)", "leaves")
_trap("a chunk poisons its worker", "poisons", "whole")
_trap("a chunk eats the memory of its worker", "eats", nanny=True, memory_limit="700MB")


@kind("a chunk raises, in threads", "failed")
def _(case):
    chunk = case.rng.randrange(faulty.CHUNKS)
    case.driver(traps={"raises": [chunk]})
    return {chunk}


def bits(path):
    """Return every value of a store as bytes."""
    dataset = qs.open_scan(path)
    return {name: dataset[name].values.tobytes() for name in sorted(map(str, dataset.variables))}


def unfinished(path):
    from qifscan.store import chunk_files, store

    opened = store.load(path)
    return set(range(len(opened.chunks))) - chunk_files.finished(opened)


def tried(name, seed, whole):
    """Do one run; return in a word what came of it, and what is wrong, if anything."""
    function, expected, _ = KINDS[name]
    folder = Path(tempfile.mkdtemp(prefix="qifscan-faults-"))
    case = Case(folder, f"{name} {seed}")
    begin = time.monotonic()
    try:
        chunks = function(case)
        for process, _ in case.drivers:
            process.join(max(1.0, MOST_SECONDS - (time.monotonic() - begin)))
        if any(process.is_alive() for process, _ in case.drivers):
            return "no end", f"no end after {MOST_SECONDS:.0f} s\n{printed(case)}"
        told = case.outcome()
        return judged(case, told, expected, chunks, whole)
    finally:
        case.end()
        shutil.rmtree(folder, ignore_errors=True)


def printed(case):
    """Return the last lines of what its processes printed."""
    return "\n".join((case.folder / "printed.txt").read_text().splitlines()[-60:])


def judged(case, told, expected, chunks, whole):
    if "\n" in told.get("text", "") or told["how"] not in {
        "finished",
        "killed",
        "RunError",
        "StoreError",
        "RunInterrupted",
    }:
        return "unclear", f"it said {told}\n{printed(case)}"
    if expected == "whole" and told["how"] != "finished":
        return "ended", f"it said {told}"
    if expected == "failed":
        if told["how"] != "RunError" or unfinished(case.path) != chunks:
            return (
                "blamed",
                f"{chunks} can't be computed, {unfinished(case.path)} are missing; it said {told}",
            )
        if f"chunk {min(chunks)} failed" not in told["text"]:
            return "blamed", f"{chunks} can't be computed; it said {told}"
    how = "by itself" if told["how"] == "finished" else "went on"
    try:
        if expected == "repaired" and case.path.exists():
            qs.verify(case.path, points=0, repair=True)
        qs.run(faulty.SCAN, case.path, client="serial", chunk_points=faulty.CHUNK_POINTS, progress=None)
        same = bits(case.path) == whole
        sound = same and qs.verify(case.path, points=4).sound
    except qs.QifscanError as error:
        return "not resumed", f"going on: {error}; the run said {told}"
    if not (same and sound):
        return "other bits", f"same {same}, sound {sound}; the run said {told}"
    return ("the chunk alone" if expected == "failed" else how), ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", default="")
    asked = parser.parse_args()
    able = os.name == "posix" and os.geteuid() == 0 and sys.platform == "linux"
    folder = Path(tempfile.mkdtemp(prefix="qifscan-faults-"))
    whole_path = folder / "whole.zarr"
    qs.run(faulty.SCAN, whole_path, client="serial", chunk_points=faulty.CHUNK_POINTS, progress=None)
    whole = bits(whole_path)
    count, wrong = 0, []
    print("| fault | runs | what came of it | longest (s) |\n|---|---|---|---|")
    for name, (_, _, root) in KINDS.items():
        if not re.search(asked.kind, name):
            continue
        if root and not able:
            print(f"| {name} | 0 | left out: needs root and Linux | |", flush=True)
            continue
        found, longest = Counter(), 0.0
        for seed in range(asked.first, asked.first + asked.seeds):
            begin = time.monotonic()
            how, reason = tried(name, seed, whole)
            longest = max(longest, time.monotonic() - begin)
            found[how] += 1
            count += 1
            if reason:
                wrong.append(f"{name}, seed {seed}: {how}: {reason}")
                print(f"WRONG {wrong[-1]}", file=sys.stderr, flush=True)
        told = ", ".join(f"{how} {n}" for how, n in found.most_common())
        print(f"| {name} | {asked.seeds} | {told} | {longest:.0f} |", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{count} runs, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
