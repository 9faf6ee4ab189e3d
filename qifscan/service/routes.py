"""What is answered at each address."""

from __future__ import annotations

import asyncio
import io
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import qifscan
from qifscan.errors import Fault, ScanError, check_count, show
from qifscan.scan.scan import Scan
from qifscan.service import answers, api, events, front, listing
from qifscan.service.encoding import encoded
from qifscan.service.jobs import ENDING, FAILED, SUCCESSFUL
from qifscan.service.problems import OGC, ProblemError
from qifscan.service.processes import CONFORMANCE, PROCESSES
from qifscan.service.requests import check_size, scan_of

if TYPE_CHECKING:
    from qifscan.service.bounds import Bounds
    from qifscan.service.files import Files
    from qifscan.service.jobs import Job, Jobs
    from qifscan.service.stores import NamedStore, Stores

MOST_LISTED = 1000
"""Jobs in one answer."""

FIGURES = 16
"""Pictures that are kept: drawing one takes a second."""

AT_ONCE = 2
"""Answers that are computed at once; others wait."""

MOST_VERIFIED = 4096
"""Points that a job of `verify` computes again at most."""

ZARR = "application/vnd.zarr"


class Routes:
    """The addresses of a server and their answers."""

    def __init__(
        self,
        stores: Stores,
        files: Files,
        jobs: Jobs,
        bounds: Bounds,
        guarded: bool,
    ) -> None:
        self.stores, self.jobs, self.bounds = stores, jobs, bounds
        self.guarded = guarded
        self.files = files
        self.streams = 0
        self._figures: OrderedDict[tuple[Path, tuple[int, int], int], bytes] = OrderedDict()
        self._computing = asyncio.Semaphore(AT_ONCE)
        self._drawing = asyncio.Lock()

    def table(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self.landing),
            Route("/conformance", self.conformance),
            Route("/api", self.api),
            Route("/processes", self.processes),
            Route("/processes/{process}", self.process),
            Route("/processes/{process}/execution", self.execute, methods=["POST"]),
            Route("/jobs", self.list_jobs),
            Route("/jobs/{job}", self.job),
            Route("/jobs/{job}", self.dismiss, methods=["DELETE"]),
            Route("/jobs/{job}/results", self.results),
            Route("/jobs/{job}/events", self.events),
            Route("/jobs/{job}/finished", self.finished),
            Route("/jobs/{job}/scan.toml", self.toml),
            Route("/jobs/{job}/figure.png", self.figure),
            Route("/events", self.all_events),
            Route("/stores", self.list_stores),
            Route("/stores/{store}/{file:path}", self.file),
        ]

    async def landing(self, request: Request) -> Response:
        """Answer a browser with the page, and others with links."""
        if front.wants_page(request):
            return front.page("index.html")
        links = [
            _link(request, "/", "self", "application/json"),
            _link(request, "/api", "service-desc", "application/vnd.oai.openapi+json;version=3.0"),
            _link(request, "/conformance", "http://www.opengis.net/def/rel/ogc/1.0/conformance"),
            _link(request, "/processes", "http://www.opengis.net/def/rel/ogc/1.0/processes"),
            _link(request, "/jobs", "http://www.opengis.net/def/rel/ogc/1.0/job-list"),
        ]
        told = "Parameter scans of the mean field of quadratic integrate-and-fire neurons."
        return JSONResponse(
            {"title": "qifscan", "description": told, "links": links}, headers={"vary": "accept"}
        )

    async def conformance(self, request: Request) -> Response:
        """Answer with the classes of the standard."""
        return JSONResponse({"conformsTo": CONFORMANCE})

    async def api(self, request: Request) -> Response:
        """Answer with the OpenAPI document."""
        made = api.document(_base(request), self.guarded)
        return JSONResponse(made, media_type="application/vnd.oai.openapi+json;version=3.0")

    async def processes(self, request: Request) -> Response:
        """Answer with what can be asked for."""
        listed = [
            each.summary(name) | {"links": [_link(request, f"/processes/{name}", "self")]}
            for name, each in PROCESSES.items()
        ]
        return JSONResponse({"processes": listed, "links": [_link(request, "/processes", "self")]})

    async def process(self, request: Request) -> Response:
        """Answer with the description of a process."""
        name = _process(request)
        rel = "http://www.opengis.net/def/rel/ogc/1.0/execute"
        links = [
            _link(request, f"/processes/{name}", "self"),
            _link(request, f"/processes/{name}/execution", rel),
        ]
        return JSONResponse(PROCESSES[name].described(name) | {"links": links})

    async def execute(self, request: Request) -> Response:
        """Answer at once, or make a job."""
        name = _process(request)
        inputs = await _inputs(request)
        if PROCESSES[name].waits:
            function = answers.trajectory if name == "simulate" else answers.theory
            async with self._computing:
                return await run_in_threadpool(_answer, function, inputs, self.bounds)
        _check_names(inputs, PROCESSES[name].inputs)
        points = inputs.get("points", 256)
        check_count("points", points, 0)
        if points > MOST_VERIFIED:
            raise ScanError([Fault("points", show(points), f"at most {MOST_VERIFIED:,}")])
        scan = await run_in_threadpool(self._checked, name, inputs)
        job = self.jobs.submit(name, scan, points)
        headers = {"location": f"{_base(request)}/jobs/{job.id}"}
        if "respond-async" in request.headers.get("prefer", ""):
            headers["preference-applied"] = "respond-async"
        return JSONResponse(self._status(request, job), 201, headers)

    def _checked(self, process: str, inputs: Mapping[str, Any]) -> Scan:
        if "scan" not in inputs:
            raise ScanError([Fault("inputs.scan", "nothing", "a scan, as JSON or the text of a TOML file")])
        scan = scan_of(inputs["scan"], self.bounds)
        if process == "scan":
            check_size(scan, self.stores.folder, self.bounds)
        return scan

    async def list_jobs(self, request: Request) -> Response:
        """Answer with the jobs that the query asks for, the latest first, page by page."""
        asked = request.query_params
        limit = max(1, listing.whole(asked, "limit", 100, MOST_LISTED))
        offset = listing.whole(asked, "offset", 0, 10**9)
        chosen = listing.chosen(await run_in_threadpool(self.jobs.all), asked)
        links = [_link(request, "/jobs", "self")]
        if offset + limit < len(chosen):
            more = urlencode({**asked, "limit": limit, "offset": offset + limit})
            links.append(_link(request, f"/jobs?{more}", "next"))
        listed = [self._status(request, job) for job in chosen[offset : offset + limit]]
        return JSONResponse({"jobs": listed, "links": links, "numberMatched": len(chosen)}, headers=_FRESH)

    async def job(self, request: Request) -> Response:
        """Answer with the status of a job."""
        return JSONResponse(self._status(request, self._job(request)), headers=_FRESH)

    async def dismiss(self, request: Request) -> Response:
        """Stop a job."""
        job = self._job(request)
        self.jobs.dismiss(job)
        return JSONResponse(self._status(request, job), headers=_FRESH)

    async def results(self, request: Request) -> Response:
        """Answer with links to what a job has made."""
        job = self._job(request)
        if job.status == FAILED:
            raise ProblemError(job.code, job.message, errors=job.report or [job.message])
        if job.status != SUCCESSFUL:
            raise ProblemError(404, f"the job is {job.status}: {job.message}", f"{OGC}result-not-ready")
        base, found = _base(request), {}
        if job.process != "verify":
            name = _store_name(job)
            found = {
                "store": {"href": f"{base}/stores/{name}", "type": ZARR, "title": name},
                "scan": {"href": f"{base}/jobs/{job.id}/scan.toml", "type": "application/toml"},
                "figure": {"href": f"{base}/jobs/{job.id}/figure.png", "type": "image/png"},
            }
        return JSONResponse(found | ({} if job.process == "scan" else {"report": job.report}))

    async def events(self, request: Request) -> Response:
        """Answer with the stream of events of a job."""
        job = self._job(request)
        last = request.headers.get("last-event-id", "")
        return self._counted(events.of_job(self.jobs, job, lambda each: self._status(request, each), last))

    async def all_events(self, request: Request) -> Response:
        """Answer with the stream of events of all jobs."""
        return self._counted(events.of_all(self.jobs, lambda each: self._status(request, each)))

    def _counted(self, stream: Response) -> Response:
        """Return a stream that counts as open for as long as it is sent."""
        iterator = getattr(stream, "body_iterator", None)
        if iterator is None:
            return stream
        if self.streams >= self.bounds.streams:
            told = f"{self.streams} streams of events are open, which is all that this server keeps"
            raise ProblemError(503, told, headers={"retry-after": "10"}, limit=self.bounds.streams)

        async def counted() -> Any:
            self.streams += 1
            try:
                async for piece in iterator:
                    yield piece
            finally:
                self.streams -= 1

        stream.body_iterator = counted()  # type: ignore[attr-defined]
        return stream

    async def toml(self, request: Request) -> Response:
        """Answer with the scan of a job as a TOML file."""
        job = self._job(request)
        text = await run_in_threadpool(lambda: Scan.from_json(json.dumps(job.scan)).to_toml())
        return Response(text, media_type="application/toml")

    async def finished(self, request: Request) -> Response:
        """Answer with the places of the chunks that are finished at this moment."""
        found = self._store_of(self._job(request))
        return JSONResponse(await run_in_threadpool(self.stores.finished_places, found), headers=_FRESH)

    async def figure(self, request: Request) -> Response:
        """Answer with the picture of a store."""
        job = self._job(request)
        found = self._store_of(job)
        key = (found.path, found.identity, job.progress.chunks if job.progress else 0)
        async with self._drawing:
            if key not in self._figures:
                self._figures[key] = await run_in_threadpool(_picture, found.path)
                while len(self._figures) > FIGURES:
                    self._figures.popitem(last=False)
        return Response(self._figures[key], media_type="image/png", headers=_FRESH)

    async def list_stores(self, request: Request) -> Response:
        """Answer with the stores by name."""
        base = _base(request)
        listed = [
            {
                "name": name,
                "title": str(found.attributes.get("title", "")),
                "fingerprint": found.fingerprint,
                "href": f"{base}/stores/{name}",
            }
            for name, found in (await run_in_threadpool(self.stores.all)).items()
        ]
        return JSONResponse({"stores": listed}, headers=_FRESH)

    async def file(self, request: Request) -> Response:
        """Answer with a file of a store."""
        return await run_in_threadpool(self._file, request)

    def _file(self, request: Request) -> Response:
        name = request.path_params["store"]
        found = self.stores.get(name)
        by_fingerprint = name == found.fingerprint
        return self.files.answer(found, request.path_params["file"], request.headers, by_fingerprint)

    def _job(self, request: Request) -> Job:
        return self.jobs.get(request.path_params["job"])

    def _store_of(self, job: Job) -> NamedStore:
        try:
            return self.stores.get(_store_name(job))
        except KeyError:
            raise ProblemError(404, f"the job is {job.status}, and has no store yet") from None

    def _status(self, request: Request, job: Job) -> dict[str, Any]:
        """Return the status of a job as OGC API - Processes has it, with the chunks and points beside."""
        state, base = job.progress, f"/jobs/{job.id}"
        links = [
            _link(request, base, "self"),
            _link(request, f"{base}/events", "monitor", "text/event-stream"),
        ]
        if job.status == SUCCESSFUL:
            rel = "http://www.opengis.net/def/rel/ogc/1.0/results"
            links.append(_link(request, f"{base}/results", rel))
        if job.process != "verify":
            links.append(_link(request, f"/stores/{_store_name(job)}", "item", ZARR))
        told = {
            "jobID": job.id,
            "processID": job.process,
            "type": "process",
            "status": job.status,
            "message": job.message,
            "title": job.title,
            "progress": job.percent,
            "created": job.created,
            "started": job.started,
            "finished": job.finished,
            "links": links,
        }
        if state is not None:
            told |= {
                "chunks": [state.chunks, state.all_chunks],
                "points": [state.points, state.all_points],
                "computed": state.computed,
                "seconds": state.seconds,
                "flags": state.flags,
                "remaining": state.remaining,
            }
        return {name: value for name, value in told.items() if value not in ("", None)}


_FRESH = {"cache-control": "no-store"}


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _link(request: Request, path: str, rel: str, kind: str = "application/json") -> dict[str, str]:
    return {"href": f"{_base(request)}{path}", "rel": rel, "type": kind}


def _store_name(job: Job) -> str:
    return job.path.name.removesuffix(ENDING)


def _process(request: Request) -> str:
    name: str = request.path_params["process"]
    if name not in PROCESSES:
        known = ", ".join(PROCESSES)
        raise ProblemError(404, f'found "{name[:80]}", expected one of {known}', f"{OGC}no-such-process")
    return name


async def _inputs(request: Request) -> Mapping[str, Any]:
    """Return the inputs in the body of a request."""
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        told = str(error) or "lists inside each other without end"
        raise ProblemError(400, f"the body is not JSON: {told}") from None
    inputs = given.get("inputs", {}) if isinstance(given, dict) else None
    if not isinstance(inputs, dict):
        raise ProblemError(400, 'found another body, expected {"inputs": {...}}')
    return inputs


def _check_names(inputs: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    faults = [
        Fault(f"inputs.{name}", "an input", f"one of {', '.join(known)}")
        for name in inputs
        if name not in known
    ]
    if faults:
        raise ScanError(faults)


def _answer(function: Callable[..., Any], inputs: Mapping[str, Any], bounds: Bounds) -> Response:
    return JSONResponse(encoded(function(inputs, bounds)), headers=_FRESH)


def _picture(path: Path) -> bytes:
    file = io.BytesIO()
    qifscan.show(path).savefig(file, format="png")
    return file.getvalue()
