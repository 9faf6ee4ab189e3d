"""What a request may ask for: a scan read from JSON or TOML, and held against the server's bounds."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qifscan
from qifscan.dynamics.imported import only
from qifscan.errors import Fault, ScanError, show
from qifscan.scan.scan import NUMBERS_VERSION, Scan
from qifscan.service.problems import ProblemError

if TYPE_CHECKING:
    from qifscan.runs.plan import Plan
    from qifscan.service.bounds import Bounds


def scan_of(given: Any, bounds: Bounds) -> Scan:
    """Return the scan in a request: a definition as JSON, or the text of a TOML file.

    Raises `ScanError` with one line for every mistake.
    """
    if isinstance(given, str):
        given = _of_toml(given)
    if not isinstance(given, Mapping):
        raise ScanError([Fault("scan", show(given), "a definition as JSON, or the text of a TOML file")])
    bounds.check_model(given.get("model", "qif"))
    bounds.check_observables(given.get("observables"))
    told = given.get("numbers_version", NUMBERS_VERSION)
    if told != NUMBERS_VERSION:
        hint = "client and server need the same version of qifscan"
        raise ScanError([Fault("numbers_version", show(told), str(NUMBERS_VERSION), hint)])
    sources = given.get("observable_sources", {})
    if not isinstance(sources, Mapping):
        raise ScanError([Fault("observable_sources", show(sources), "an object of hashes by name")])
    try:
        with only(bounds.own):
            scan = Scan.from_json(json.dumps(given))
            here = scan.definition()
    except (ValueError, RecursionError, TypeError) as error:
        if isinstance(error, ScanError):
            raise
        # A date of TOML, or lists nested too deeply.
        raise ScanError([Fault("scan", f'"{error}"', "numbers, texts, lists and tables")]) from None
    _check_sources(given, here)
    return scan


def _check_sources(given: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `ScanError` if a file of a user's own is another one there than here."""
    hint = "the file that defines it must be the same there and here"
    faults = [
        Fault(name, "another version of the file", "the server's", hint)
        for name in ("model_source", "observable_sources")
        if name in given and given[name] != here.get(name)
    ]
    if faults:
        raise ScanError(faults)


def _of_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScanError([Fault("scan", f'"{error}"', "the text of a TOML file of a scan")]) from None


def check_size(scan: Scan, folder: Path, bounds: Bounds) -> Plan:
    """Return the plan of a scan; raise `ProblemError` with its numbers if it is too large for the server."""
    if scan.size > bounds.points:
        found = f"found {scan.size:,} points, expected at most {bounds.points:,}"
        raise ProblemError(413, f"{found} on this server", plan={"points": scan.size}, limit=bounds.points)
    traced = _traced(scan)
    if traced > bounds.traces:
        found = f"found {traced:,} points that keep their trajectory, expected at most {bounds.traces:,}"
        raise ProblemError(413, f"{found} on this server", plan={"traces": traced}, limit=bounds.traces)
    made = qifscan.plan(scan, probe=False)
    try:
        # An estimate without compiling anything; the run checks again.
        replace(made, memory=made.least_memory).check(folder)
    except ScanError as error:
        raise ProblemError(413, str(error).splitlines()[0], plan=numbers(made)) from None
    return made


def _traced(scan: Scan) -> int:
    """Return how many points keep their trajectory, without a list of them."""
    points = () if scan.traces is None else scan.traces.points
    return sum(math.prod(n for name, n in scan.sizes.items() if name not in point) for point in points)


def numbers(made: Plan) -> dict[str, int]:
    """Return the numbers of a plan that nothing has to run for."""
    return {
        "points": made.points,
        "chunks": len(made.chunks),
        "traces": made.chunks.traces,
        "steps": made.steps,
        "bytes_on_disk": made.bytes_on_disk,
        "memory_at_least": made.least_memory,
    }
