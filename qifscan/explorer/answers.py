"""What the page can ask, by name: each answer is a function of what is opened and of the request.

A request is a JSON object; wrong ones raise `ScanError`, one line a mistake. An answer is a mapping whose
arrays travel as they are. Nothing here knows HTTP, and everything comes from the public functions of theory,
simulation and stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qifscan.errors import Fault, ScanError, check_count, show, unknown
from qifscan.explorer.about import about, progress
from qifscan.explorer.diagrams import curves, diagram
from qifscan.explorer.phase import phase, states_at
from qifscan.explorer.place import TILE, Place
from qifscan.explorer.planes import plane_of
from qifscan.explorer.points import repeated, trajectory
from qifscan.explorer.texts import refine, script, toml

if TYPE_CHECKING:
    from qifscan.explorer.source import Source

    Answer = Callable[[Source, Mapping[str, Any]], dict[str, Any]]


def plane(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape, the range and the number of resolutions of a map; see `planes`."""
    made = plane_of(source, asked)
    return {"shape": list(made.shape), "levels": made.levels, "done": source.done, **made.told}


def tile(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tile of a map: `level`, `row`, `column` beside what `plane` takes."""
    made = plane_of(source, asked)
    level, row, column = (asked.get(name, 0) for name in ("level", "row", "column"))
    for name, value in (("level", level), ("row", row), ("column", column)):
        check_count(name, value, 0)
    if level >= made.levels:
        raise ScanError([Fault("level", show(level), f"0 to {made.levels - 1}")])
    counts = [max(1, -(-n // (TILE << level))) for n in made.shape]
    if row >= counts[0] or column >= counts[1]:
        raise ScanError([Fault("row, column", show([row, column]), f"below {counts[0]} and {counts[1]}")])
    return made.tile(int(level), int(row), int(column))


def point(source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a point: its parameters, what was stored, and every equilibrium."""
    place = Place.of(source, asked)
    answer: dict[str, Any] = {"parameters": place.parameters(source), "labels": place.labels(source)}
    answer["equilibria"] = states_at(source, place.theory(source))
    if source.store is not None and not place.changed:
        names = source.variables
        answer["stored"] = {name: source.values(name, place.index).values.item() for name in names}
    return answer


ANSWERS: dict[str, Answer] = {
    "about": about,
    "progress": progress,
    "plane": plane,
    "tile": tile,
    "point": point,
    "phase": phase,
    "trajectory": trajectory,
    "replay": repeated,
    "diagram": diagram,
    "curves": curves,
    "script": script,
    "toml": toml,
    "refine": refine,
}
"""Who answers what."""


def answer(source: Source, name: str, asked: Any) -> dict[str, Any]:
    """Return the answer to a request by its name; raise `ScanError` if it is wrong."""
    if name not in ANSWERS:
        raise ScanError([unknown("answer", name, ANSWERS)])
    if not isinstance(asked, Mapping):
        raise ScanError([Fault("ask", show(asked), "a JSON object")])
    return ANSWERS[name](source, asked)


def warm(source: Source, goes_on: Callable[[], bool] = lambda: True) -> None:
    """Ask once for what a first click needs: the programs of the kernel are compiled, the modules loaded.

    The first answers are those of the first look; `goes_on` is asked before each.
    """
    start = [0.1] * len(source.model.variables)
    pulse = {"kind": "pulse", "amplitude": 1.0, "start": 1.0, "length": 1.0}
    # The page begins with 50 ms, or with 200 ms if the scan has noise.
    first = {"t_end": 200.0, "noise": True} if source.scan.noisy else {"t_end": 50.0}
    for name, asked in (
        ("point", {}),
        ("phase", {}),
        ("trajectory", first | {"drive": "scan"}),
        ("diagram", {"along": source.model.graph}),
        ("replay", {}),
        ("trajectory", first | {"start": start}),
        ("trajectory", first | {"drive": pulse}),
    ):
        if not goes_on():
            return
        try:
            answer(source, name, asked)
        except Exception:  # noqa: BLE001 - what can't be computed says so when somebody asks for it
            continue
