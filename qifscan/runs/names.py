"""Every name that a scan takes, in lines: what an error that leaves names out refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qifscan.dynamics.drive import DRIVES
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.integrators import integrators_of
from qifscan.dynamics.models import MODELS, model_named
from qifscan.dynamics.observables import observables
from qifscan.engine.measured import CHECKPOINT, diagnostics
from qifscan.scan.checks import scan_parameters
from qifscan.scan.protocol import Protocol
from qifscan.scan.scan import Scan

Row = tuple[str, str, str]
"""A name, its unit and what it means."""


def listed(name: str) -> Iterator[str]:
    """Return the names that a scan of a model takes, by kind; raise `ScanError` if there is no such model."""
    model = model_named(name)
    yield from _table("models", [(each, "", known.meaning) for each, known in MODELS.items()])
    parameters = [(p.name, p.unit, p.meaning) for p in scan_parameters(model, None).values()]
    yield from _table(f"parameters of {name}", parameters)
    for kind, drive in DRIVES.items():
        numbers = [(f"drive_{p.name}", p.unit, p.meaning) for p in drive.numbers]
        yield from _table(f"parameters of the drive {kind}", numbers)
    known = observables(model)
    yield from _table(f"observables of {name}", [(n, row.unit, row.meaning) for n, row in known.items()])
    of_points = diagnostics(Scan(model=name))
    told = [
        (n, str(row.attributes.get("units", "")), str(row.attributes["long_name"]))
        for n, row in of_points.items()
    ]
    yield from _table("beside them in a dataset", [row for row in told if row[0] != CHECKPOINT])
    yield f"integrators of {name}: {', '.join(('auto', *integrators_of(model)))}"
    yield f"initial states: {', '.join(NAMED_STATES)}"
    yield f"keys of a scan: {', '.join(Scan.model_fields)}"
    yield f"keys of its protocol: {', '.join(Protocol.model_fields)}"


def _table(head: str, rows: Iterable[Row]) -> Iterator[str]:
    rows = list(rows)
    width = max((len(name) for name, *_ in rows), default=0)
    yield f"{head}:"
    for name, unit, meaning in rows:
        yield f"  {name:<{width}}  {meaning}{f' ({unit})' if unit not in ('', '1') else ''}"
