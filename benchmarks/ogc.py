"""Does the service answer as the schemas of OGC API - Processes say? All of its JSON documents against them.

The schemas of version 1.0 are in the standard's own repository, opengeospatial/ogcapi-processes, in the
folder `core/openapi/schemas` of a commit of 2022: give a copy of it. A scan is sent and done, another
cancelled, a third refused; then every answer that has a schema is held against it. Prints a line for each,
and ends with 1 if one does not fit.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import uvicorn
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from qifscan.service.app import create_app
from qifscan.service.serve import Address, configuration

SCAN = {"axes": {"eta": [-6.0, -5.0]}, "protocol": {"transient": 1.0, "window": 2.0}}
LONG = {
    "axes": {"eta": [-6.0 + 0.001 * k for k in range(2000)]},
    "protocol": {"transient": 1.0, "window": 4e3},
}


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve a folder on loopback; the port."""
    config = configuration(create_app(folder), Address())
    config.port = 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """Return the JSON that comes as an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(
        method, path, None if body is None else json.dumps(body), {"Accept": "application/json"}
    )
    return json.loads(connection.getresponse().read())


def answers(port: int) -> Iterator[tuple[str, str, Any]]:
    """Yield the answers that have a schema: what it is, the schema, the JSON."""
    yield "landing page", "landingPage.yaml", ask(port, "GET", "/")
    yield "conformance", "confClasses.yaml", ask(port, "GET", "/conformance")
    processes = ask(port, "GET", "/processes")
    yield "processes", "processList.yaml", processes
    for row in processes["processes"]:
        path = f"/processes/{row['id']}"
        yield f"process {row['id']}", "process.yaml", ask(port, "GET", path)
    sent = [
        ask(port, "POST", "/processes/scan/execution", {"inputs": {"scan": scan}}) for scan in (SCAN, LONG)
    ]
    for status in sent:
        yield "a job that was sent", "statusInfo.yaml", status
    first, second = (f"/jobs/{status['jobID']}" for status in sent)
    while ask(port, "GET", first)["status"] in ("accepted", "running"):
        time.sleep(0.2)
    yield "a job that is done", "statusInfo.yaml", ask(port, "GET", first)
    yield "results", "results.yaml", ask(port, "GET", f"{first}/results")
    yield "no results yet", "exception.yaml", ask(port, "GET", f"{second}/results")
    yield "a job that is dismissed", "statusInfo.yaml", ask(port, "DELETE", second)
    yield "jobs", "jobList.yaml", ask(port, "GET", "/jobs")
    wrong = {"inputs": {"scan": {"axes": {"eta": "?"}}}}
    yield (
        "a scan that is refused",
        "exception.yaml",
        ask(port, "POST", "/processes/scan/execution", wrong),
    )
    yield "no such process", "exception.yaml", ask(port, "GET", "/processes/none")
    yield "no such job", "exception.yaml", ask(port, "GET", "/jobs/none")


def registry_of(folder: Path) -> Registry:
    """Return the schemas of a folder by their paths in it."""
    registry: Registry = Registry()
    for path in sorted(folder.glob("*.yaml")):
        resource = Resource.from_contents(yaml.safe_load(path.read_text()), DRAFT202012)
        registry = registry.with_resource(f"file:///{path.name}", resource)
    return registry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("schemas", type=Path, help="the folder core/openapi/schemas of the standard")
    folder = parser.parse_args().schemas
    if not (folder / "process.yaml").exists():
        sys.exit(f"{folder} has no process.yaml; give openapi/schemas of the repository")
    registry, bad = registry_of(folder), 0
    with tempfile.TemporaryDirectory() as jobs, served(Path(jobs)) as port:
        for name, schema, given in answers(port):
            validator = jsonschema.Draft202012Validator({"$ref": f"file:///{schema}"}, registry=registry)
            faults = sorted(validator.iter_errors(given), key=lambda e: list(e.absolute_path))
            bad += bool(faults)
            print(f"{name:<28}{schema:<40}{'fits' if not faults else 'does not fit'}")
            for fault in faults[:5]:
                place = "/".join(map(str, fault.absolute_path))
                print(f"    {place}: {fault.message[:300]}")
    print(f"{bad} answers do not fit")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
