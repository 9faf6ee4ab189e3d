"""What a server takes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qifscan.dynamics.models import MODELS
from qifscan.errors import ScanError, unknown


@dataclass(frozen=True)
class Bounds:
    """What a server takes on."""

    points: int = 10_000_000
    """Points of a scan, replicates included: a map of 3,000 x 3,000."""

    traces: int = 100_000
    """Points that keep their trajectory."""

    jobs: int = 1
    """Jobs that run at once; each uses all cores."""

    queue: int = 32
    """Jobs that wait."""

    streams: int = 256
    """Streams of events that are open at once."""

    values: int = 2_000_000
    """Numbers in an answer that is given at once: 40 MB of JSON."""

    steps: int = 50_000_000
    """Steps, of all trajectories, for an answer that is given at once: about a second."""

    equilibria: int = 20_000
    """Sets of parameters for an answer of theory that is given at once."""

    own: tuple[str, ...] = ()
    """Models and observables of a user's own, "package.module:variable", that a request may name. No other is
    imported, whatever a request names."""

    def check_model(self, name: Any) -> None:
        """Raise `ScanError` unless a model is one of the package or of the server's `own`."""
        known = [*MODELS, *self.own]
        if not isinstance(name, str) or name not in known:
            raise ScanError([unknown("model", name, known)])

    def check_observables(self, names: Any) -> None:
        """Raise `ScanError` for an observable of a user's own that is not among the server's `own`."""
        places = [n for n in names if isinstance(n, str) and ":" in n] if isinstance(names, list) else []
        faults = [
            unknown("observables", n, self.own or ["no observable"]) for n in places if n not in self.own
        ]
        if faults:
            raise ScanError(faults)
