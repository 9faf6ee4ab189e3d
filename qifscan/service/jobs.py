"""The jobs of a server: a queue, the processes that run them, and what is known of each.

The table is the folder: a scan's job is its store, with a small file of JSON beside it that says what was
asked for and how it ended. A server that is started again goes on with what was waiting or running.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan import files, record
from qifscan.errors import QifscanError
from qifscan.runs.progress import Progress
from qifscan.service.problems import OGC, ProblemError

if TYPE_CHECKING:
    from qifscan.scan.scan import Scan
    from qifscan.service.bounds import Bounds
    from qifscan.service.stores import NamedStore, Stores

logger = logging.getLogger(__name__)

ACCEPTED, RUNNING, SUCCESSFUL, FAILED, DISMISSED = (
    "accepted",
    "running",
    "successful",
    "failed",
    "dismissed",
)
"""The states of a job, as OGC API - Processes spells them."""

ENDING = ".zarr"
"""The ending of a store."""

NOTE = ".job.json"
"""The ending of the file beside a store that says what was asked for."""

SUFFIX = {"scan": "", "bifurcate": "-theory", "verify": "-verify"}
"""After the fingerprint of the scan in the name of a job: by process."""

GRACE = 30.0
"""Seconds that a process has for the chunks that are running when it is stopped; then it is killed, and these
chunks are computed again the next time."""

LONGEST_LINE = 1 << 20
"""Bytes of a line from the process of a job."""


@dataclass
class Job:
    """A job: what was asked for, its state, and how far it is."""

    id: str
    process: str
    path: Path
    scan: dict[str, Any] = field(repr=False)
    title: str = ""
    points: int = 256
    """Points that `verify` computes again."""

    status: str = ACCEPTED
    message: str = ""
    report: list[str] = field(default_factory=list)
    """What the process had to say when it ended."""

    created: str = ""
    started: str = ""
    finished: str = ""
    progress: Progress | None = None
    code: int = 500
    """Status of HTTP for the results of a job that has failed."""

    worker: asyncio.subprocess.Process | None = field(default=None, repr=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more is going to happen to it by itself."""
        return self.status not in (ACCEPTED, RUNNING)

    @property
    def percent(self) -> int:
        """How much of it is done: 100 only when everything is."""
        if self.status == SUCCESSFUL:
            return 100
        state = self.progress
        return 0 if state is None or not state.all_points else min(99, 100 * state.points // state.all_points)

    def note(self) -> dict[str, Any]:
        """Return what is kept of it beside the store."""
        names = ("id", "process", "scan", "title", "points", "status", "message", "report")
        times = ("created", "started", "finished", "code")
        return {name: getattr(self, name) for name in (*names, *times)} | {"path": self.path.name}


def now() -> str:
    """Return the time as OGC API - Processes writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Jobs:
    """The jobs of a folder. All its methods are called in the thread of the event loop.

    Parameters
    ----------
    stores
        The stores in the folder.
    bounds
        How many jobs may run and wait.
    scheduler
        The address of a Dask scheduler whose workers compute; None for this machine's cores.
    """

    def __init__(self, stores: Stores, bounds: Bounds, scheduler: str | None = None) -> None:
        self.stores, self.bounds = stores, bounds
        self.client = scheduler or "threads"
        self.known: dict[str, Job] = {}
        self.closing = False
        self.version = 0
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def read(self) -> None:
        """Read what is kept in the folder; what was waiting or running waits again."""
        notes = [job for path in sorted(self.stores.folder.glob(f"*{NOTE}")) if (job := self._read(path))]
        for job in sorted(notes, key=lambda job: job.created):
            if not job.ended:
                job.status, job.message = ACCEPTED, "goes on after the server was started again"
            if job.process == "scan" and (found := self._store_of(job)):
                with suppress(QifscanError):
                    job.progress = self.stores.progress(found)
            self.known[job.id] = job

    def _read(self, path: Path) -> Job | None:
        try:
            kept = dict(record.read_json(path))
            name = Path(kept.pop("path")).name
            job = Job(**kept, path=self.stores.folder / name)
        except (ValueError, TypeError, KeyError) as error:
            logger.warning("%s can't be read (%s); submit the scan again", path, error)
            return None
        return job if path.name == f"{job.id}{NOTE}" and job.process in SUFFIX else None

    def all(self) -> list[Job]:
        """Return every job, the latest first: those that were asked for here, and every other store."""
        others = [job for found in self.stores.all().values() if (job := self._of_store(found))]
        every = {job.id: job for job in others if job.id not in self.known} | self.known
        return sorted(every.values(), key=lambda job: job.created, reverse=True)

    def get(self, name: str) -> Job:
        """Return a job by its id; raise `ProblemError` if there is none."""
        if name in self.known:
            job = self.known[name]
            if job.status == SUCCESSFUL and not job.path.exists():
                job.status, job.message = DISMISSED, "its store was removed; send the scan again"
            return job
        with suppress(KeyError):
            of_store = self._of_store(self.stores.get(name))
            if of_store is not None and of_store.id == name:
                return of_store
        raise ProblemError(404, f'there is no job "{name[:80]}"', f"{OGC}no-such-job")

    def _of_store(self, found: NamedStore) -> Job | None:
        """Return the job that a store stands for that was made elsewhere, such as by the command."""
        told = found.attributes
        if not found.fingerprint:
            return None
        scan = json.loads(told.get("qifscan_scan", "{}"))
        job = Job(found.fingerprint, "scan", found.path, scan, str(told.get("title", "")))
        job.created = job.started = str(told.get("created", ""))
        try:
            job.progress = self.stores.progress(found)
        except QifscanError as error:
            job.status, job.message = FAILED, str(error).splitlines()[0]
            return job
        complete = job.progress.chunks == job.progress.all_chunks
        job.status = SUCCESSFUL if complete else DISMISSED
        job.message = str(job.progress) if complete else f"{job.progress}; submit the scan to go on"
        return job

    def submit(self, process: str, scan: Scan, points: int = 256) -> Job:
        """Return the job of a scan: the one there is, if it waits, runs or is done, else a new one.

        Raises `ProblemError` if too many are waiting, or there is no store that could be verified.
        """
        name = f"{scan.fingerprint}{SUFFIX[process]}"
        known = self.known.get(name)
        # One that was stopped or failed after its last chunk lacks the theory: it is run again, too.
        whole = known is not None and known.status == SUCCESSFUL and process != "verify"
        if known is not None and (not known.ended or (whole and self._is_done(known))):
            return known
        path = self._path_for(process, name, scan.fingerprint)
        job = Job(
            name,
            process,
            path,
            scan.definition(),
            scan.title or f"scan of {scan.model}",
            points,
            created=now(),
        )
        if known is None and process == "scan" and path.exists() and self._is_done(job):
            return self.get(name)
        waiting = sum(job.status == ACCEPTED for job in self.known.values())
        if waiting >= self.bounds.queue:
            raise ProblemError(
                503,
                f"{waiting} jobs are waiting, which is all that this server keeps; send it again later",
                headers={"retry-after": "60"},
                limit=self.bounds.queue,
            )
        # The process of the one before may not have ended yet; the new one begins after it.
        job.progress = known.progress if known is not None else None
        self.known[name] = job
        self._keep(job)
        self._fill()
        return job

    def _path_for(self, process: str, name: str, fingerprint: str) -> Path:
        """Return the store of a job: that of the scan where there is one already."""
        if process != "bifurcate":
            with suppress(KeyError):
                return self.stores.get(fingerprint).path
        if process == "verify":
            raise ProblemError(404, "there is no store of this scan to verify; submit the scan first")
        return self.stores.folder / f"{name}{ENDING}"

    def _is_done(self, job: Job) -> bool:
        """Whether what a job makes is there, complete."""
        found = self._store_of(job)
        if found is None:
            return False
        return self.stores.finished(found) if job.process == "scan" else job.status == SUCCESSFUL

    def _store_of(self, job: Job) -> NamedStore | None:
        """Return the store of a job, None where it is not there, yet or any more."""
        with suppress(KeyError):
            return self.stores.get(job.path.name.removesuffix(ENDING))
        return None

    def dismiss(self, job: Job) -> None:
        """Stop a job between chunks: what is finished stays, and sending the scan again goes on from there.

        Raises `ProblemError` for one that has ended: what it has made is not taken away over HTTP.
        """
        if job.ended:
            raise ProblemError(409, f"the job is {job.status}; what it made stays where it is")
        job.status, job.finished = DISMISSED, now()
        job.message = _stopped(job)
        self._keep(job)
        if job.worker is not None:
            self._tasks[f"stop {job.id} {id(job)}"] = asyncio.ensure_future(self._stop(job.worker))
        self._fill()

    def _keep(self, job: Job) -> None:
        """Write what is kept of a job, and wake everybody who waits for a change."""
        files.write(self.stores.folder / f"{job.id}{NOTE}", json.dumps(job.note()).encode())
        self._wake()

    def _wake(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, timeout: float) -> bool:
        """Wait for a change of any job; return False if there was none for so many seconds."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def start(self) -> None:
        """Begin with what is waiting."""
        self._fill()

    def _fill(self) -> None:
        """Start as many jobs as may run at once."""
        self._tasks = {name: task for name, task in self._tasks.items() if not task.done()}
        busy = {name for name in self._tasks if not name.startswith("stop ")}
        for job in self._waiting():
            if self.closing or len(busy) >= self.bounds.jobs:
                return
            if job.id in busy:
                continue
            busy.add(job.id)
            self._tasks[job.id] = asyncio.ensure_future(self._run(job))

    def _waiting(self) -> Iterator[Job]:
        yield from sorted((j for j in self.known.values() if j.status == ACCEPTED), key=lambda j: j.created)

    async def _run(self, job: Job) -> None:
        """Run a job in a process of its own, to its end."""
        job.status, job.started, job.message = RUNNING, now(), "compiling"
        self._keep(job)
        try:
            lines = await self._work(job)
        except Exception as error:
            # Whatever it is, the queue goes on.
            logger.exception("job %s", job.id)
            lines = [f"{type(error).__name__}: {error}"]
        finally:
            job.worker = None
        if job.status == RUNNING and not self.closing:
            job.status, job.message = FAILED, (lines or ["its process ended without a word"])[0]
            job.report, job.finished = lines, now()
        if job.status == DISMISSED:
            job.message = _stopped(job)
        is_current = self.known.get(job.id) is job
        if is_current and not (self.closing and job.status == RUNNING):
            self._keep(job)
        asyncio.get_running_loop().call_soon(self._fill)

    async def _work(self, job: Job) -> list[str]:
        """Start the process of a job and follow it; return the last lines of its log."""
        worker = await asyncio.create_subprocess_exec(
            # Not with modules of the folder in which the server was started.
            *(sys.executable, "-P", "-m", "qifscan.service.work"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            # Ctrl-C in a terminal is for the server, which stops its jobs by itself.
            start_new_session=os.name != "nt",
        )
        job.worker = worker
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        asked = {"process": job.process, "path": str(job.path), "scan": job.scan, "points": job.points}
        asked |= {"client": self.client, "own": self.bounds.own}
        log: deque[str] = deque(maxlen=20)
        following = asyncio.ensure_future(_follow(worker.stderr, log))
        try:
            with suppress(ConnectionError):
                worker.stdin.write(json.dumps(asked).encode() + b"\n")
                await worker.stdin.drain()
            if job.status != RUNNING or self.closing:
                worker.stdin.close()
            while line := await worker.stdout.readline():
                self._hear(job, json.loads(line))
            await worker.wait()
            await following
        finally:
            if worker.returncode is None:
                worker.kill()
        return list(log)[-1:]

    def _hear(self, job: Job, message: Mapping[str, Any]) -> None:
        """Take in a line from the process of a job."""
        if "progress" in message:
            job.progress = Progress(**message["progress"])
            if job.status == RUNNING:
                job.message = str(job.progress)
            self._wake()
        elif job.status == RUNNING:
            job.report, job.finished = message.get("error", message.get("result", [])), now()
            job.status = FAILED if "error" in message else SUCCESSFUL
            job.code = message.get("status", 500)
            last = str(job.progress or "done") if job.process == "scan" else "done"
            job.message = job.report[0] if job.report else last
            self._keep(job)

    async def _stop(self, worker: asyncio.subprocess.Process) -> None:
        """Let a process end between chunks; kill it if that takes too long."""
        if worker.stdin is not None:
            worker.stdin.close()
        try:
            await asyncio.wait_for(worker.wait(), GRACE)
        except TimeoutError:
            with suppress(ProcessLookupError):
                worker.kill()

    def end_streams(self) -> None:
        """Let everybody who waits for a change know that the server ends; also from a handler of signals."""
        self.closing = True
        with suppress(RuntimeError):
            asyncio.get_running_loop().call_soon_threadsafe(self._wake)

    async def close(self) -> None:
        """Stop what is running, which goes on when a server of this folder is started again."""
        self.closing = True
        self._wake()
        await asyncio.gather(*(self._stop(job.worker) for job in self.known.values() if job.worker))
        running = [task for task in self._tasks.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=GRACE)


def _stopped(job: Job) -> str:
    """Return what is to be said of a job that was stopped."""
    return f"stopped with {job.progress or 'nothing'} finished; send the scan again to go on"


async def _follow(stream: asyncio.StreamReader, log: deque[str]) -> None:
    """Keep the last lines of what a process logs, and log them here."""
    with suppress(ValueError):
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            log.append(text)
            logger.debug("%s", text)
