"""The OpenAPI document of the server: from the table of its addresses."""

from __future__ import annotations

from typing import Any

import qifscan
from qifscan.service.processes import PROCESSES

PROBLEM = {
    "description": "what is wrong, as RFC 9457 has it; `errors` has one line for every mistake",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "string"}},
                    "plan": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "limit": {"type": "number"},
                },
            }
        }
    },
}

_JSON = "application/json"

ADDRESSES: tuple[tuple[str, str, str, str, dict[int, str]], ...] = (
    ("get", "/", "landing page, for browsers the explorer", _JSON, {}),
    ("get", "/conformance", "classes of the standard that the server has", _JSON, {}),
    ("get", "/api", "this document", "application/vnd.oai.openapi+json;version=3.0", {}),
    ("get", "/processes", "what can be asked for", _JSON, {}),
    ("get", "/processes/{process}", "what a process takes and gives", _JSON, {404: ""}),
    (
        "post",
        "/processes/{process}/execution",
        "ask for it: an answer at once (200), or a job (201, with its address in Location)",
        _JSON,
        {201: "the status of the job", 404: "", 413: "", 422: "", 503: ""},
    ),
    ("get", "/jobs", "all jobs, the latest first", _JSON, {}),
    ("get", "/jobs/{job}", "the status of a job", _JSON, {404: ""}),
    ("delete", "/jobs/{job}", "stop a job between chunks; what is finished stays", _JSON, {404: "", 409: ""}),
    ("get", "/jobs/{job}/results", "links to what a job has made", _JSON, {404: ""}),
    (
        "get",
        "/jobs/{job}/events",
        "how far it is: server-sent events, the id is the number of finished chunks",
        "text/event-stream",
        {204: "nothing more is going to happen", 404: ""},
    ),
    ("get", "/jobs/{job}/finished", "places of the chunks that are finished now", _JSON, {404: ""}),
    ("get", "/jobs/{job}/scan.toml", "the scan as a TOML file", "application/toml", {404: ""}),
    ("get", "/jobs/{job}/figure.png", "the picture that qifscan show draws", "image/png", {404: ""}),
    ("get", "/events", "all jobs as they change: server-sent events", "text/event-stream", {}),
    ("get", "/stores", "the stores by name", _JSON, {}),
    (
        "get",
        "/stores/{store}/{file}",
        "a file of a store of zarr; 404 for a chunk that is not run yet",
        "application/octet-stream",
        {206: "a part of it", 304: "the reader has it already", 404: "", 416: ""},
    ),
)
"""Method, address, what it gives, its type, and what else may be answered (empty: a problem)."""

_NAMES = {"process": list(PROCESSES), "job": None, "store": None, "file": None}


def document(server: str, guarded: bool) -> dict[str, Any]:
    """Return the document for the server at an address; `guarded` if it wants a token."""
    paths: dict[str, Any] = {}
    for method, path, meaning, kind, others in ADDRESSES:
        found = {"description": meaning, "content": {kind: {}}}
        responses: dict[str, Any] = {"200": found, "default": {"$ref": "#/components/responses/Problem"}}
        for status, told in others.items():
            known = {"description": told} if told else {"$ref": "#/components/responses/Problem"}
            responses[str(status)] = known
        operation: dict[str, Any] = {
            "summary": meaning,
            "operationId": f"{method} {path}",
            "responses": responses,
        }
        names = [name for name in _NAMES if f"{{{name}}}" in path]
        if names:
            operation["parameters"] = [_parameter(name) for name in names]
        if method == "post":
            operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": _EXECUTE}}}
        paths.setdefault(path, {})[method] = operation
    scheme = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if guarded else {}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "qifscan",
            "version": qifscan.__version__,
            "description": "Parameter scans of the mean field of quadratic integrate-and-fire neurons.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {"responses": {"Problem": PROBLEM}, **scheme},
        **({"security": [{"token": []}]} if guarded else {}),
    }


_EXECUTE = {
    "type": "object",
    "properties": {"inputs": {"type": "object", "description": "as the description of the process says"}},
}


def _parameter(name: str) -> dict[str, Any]:
    known = _NAMES[name]
    schema: dict[str, Any] = {"type": "string"} | ({"enum": known} if known else {})
    return {"name": name, "in": "path", "required": True, "schema": schema}
