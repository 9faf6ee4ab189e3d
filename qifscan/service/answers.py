"""What is answered at once: a trajectory, and the theory of a set of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import qifscan
from qifscan.dynamics.imported import only
from qifscan.errors import Fault, ScanError, near, show, unknown
from qifscan.scan.protocol import Protocol
from qifscan.service.problems import ProblemError
from qifscan.service.processes import THEORY

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.service.bounds import Bounds

SIMULATE = ("model", "t_end", "dt", "every", "initial", "drive", "integrator", "seed", "precision")
"""What `simulate` takes beside parameters."""


def trajectory(given: Mapping[str, Any], bounds: Bounds) -> xr.Dataset:
    """Return the trajectories that a request asks for, as `simulate` gives them.

    Raises `ScanError` for what is wrong with it, `ProblemError` if it is too much to be answered at once.
    """
    parameters = _parameters(given, SIMULATE, bounds)
    options = {name: given[name] for name in SIMULATE if name in given}
    if "t_end" not in options:
        raise ScanError([Fault("t_end", "nothing", "the length of the run, ms", "add it")])
    protocol = Protocol(transient=0.0, window=options["t_end"], dt=options.get("dt", "auto"))
    every = options.get("every", 1)
    steps = protocol.window_steps * _count(parameters)
    kept = steps // every if isinstance(every, int) and every > 0 else steps
    _check("steps", steps, bounds.steps)
    _check("values", kept, bounds.values)
    with only(bounds.own):
        return qifscan.simulate(**options, **parameters)


def theory(given: Mapping[str, Any], bounds: Bounds) -> xr.Dataset:
    """Return the theory that a request asks for.

    Raises `ScanError` for what is wrong with it, `ProblemError` if it is too much to be answered at once.
    """
    of = given.get("of", "equilibria")
    if not isinstance(of, str) or of not in THEORY:
        raise ScanError([unknown("of", of, THEORY)])
    options, cost = THEORY[of]
    parameters = _parameters(given, ("model", "of", *options), bounds)
    _check("sets of parameters", _count(parameters), bounds.equilibria // cost)
    chosen = {name: _pair(given[name]) for name in options if name in given}
    function: Callable[..., xr.Dataset] = getattr(qifscan, of)
    with only(bounds.own):
        return function(given.get("model", "qif"), **chosen, **parameters)


def _parameters(given: Mapping[str, Any], known: Iterable[str], bounds: Bounds) -> dict[str, Any]:
    """Return the parameters of a request: numbers, or lists of numbers that are a dimension each."""
    if not isinstance(given, Mapping):
        raise ScanError([Fault("inputs", show(given), "an object")])
    names = [*known, "parameters"]
    faults = [unknown("inputs", name, names) for name in given if name not in names]
    parameters = given.get("parameters", {})
    if not isinstance(parameters, Mapping):
        faults.append(Fault("parameters", show(parameters), "an object of numbers by name"))
    elif clash := [name for name in parameters if name in names]:
        hint = near(clash[0], names)
        faults.append(Fault(f"parameters.{clash[0]}", "no parameter", "a parameter of the model", hint))
    if faults:
        raise ScanError(faults)
    bounds.check_model(given.get("model", "qif"))
    return dict(parameters)


def _count(parameters: Mapping[str, Any]) -> int:
    """Return how many sets of parameters there are, before any array is made of them."""
    return math.prod(len(x) for x in parameters.values() if isinstance(x, list))


def _check(what: str, found: int, most: int) -> None:
    if found > most:
        told = f"found {found:,} {what} for an answer at once, expected at most {most:,}"
        raise ProblemError(413, f"{told}; submit a scan", limit=most)


def _pair(value: Any) -> Any:
    """Return a range as the pair that the functions take."""
    return tuple(value) if isinstance(value, list) else value
