"""Curves of folds and of Hopf points in the plane of two parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, show, unknown
from qifscan.lazy import LazyModule
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import codes, delay_curves, hopf_curves, hopf_plane, off_graph_curves
from qifscan.theory.branches import (
    CUTS,
    PER_DECADE,
    Stretch,
    check_branch,
    lines_along,
    piece_columns,
    with_special,
)
from qifscan.theory.certain import along_folds
from qifscan.theory.off_graph import range_of
from qifscan.theory.off_graph_curves import SearchPlane, Traced
from qifscan.theory.on_branch import (
    OnBranch,
    Request,
    check_range,
    column_names,
    joined,
    rates_of,
    request_of,
    solved_for,
    taken_at,
)
from qifscan.theory.rate_curve import Path, graph_value
from qifscan.theory.special_points import described, measures, measures_at, on_folds
from qifscan.theory.tables import Words

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array, Index, Range
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")


_ON_CURVES = f"every point proven at {hopf_plane.CELLS + 1} values of the second parameter lies on a curve"

_STEPS, _FAR = 3, 1e-3
"""Newton's steps that settle the last digits of a curve of folds, and the largest that is a correction."""


# Curves in two parameters


def curve(
    model: str = "qif",
    kind: str = "LP",
    along: str | None = None,
    through: str = "J",
    *,
    rates: Range | None = None,
    between: Range | None = None,
    within: Range | None = None,
    points: int = PER_DECADE,
    **slices: Values,
) -> xr.Dataset:
    """Return the curves of folds or of Hopf points in the plane of two parameters, in order along each.

    The public `curve` has the meaning of each argument and column; this one has `kind` "LP" and "HB" alone.
    `points` is how many while the rate grows tenfold. `between` is for models without `rest` alone.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.curve(kind="LP", points=20)
    >>> bool(found["certified"])
    True
    """
    if kind not in ("LP", "HB"):
        raise ScanError([unknown("kind", kind, ("LP", "HB"))])
    chosen = model_of(model, delayed=True, restless=True, along=(along,))
    pair = (along if along is not None else chosen.graph, through)
    _check_pair(chosen, pair)
    if chosen.rest is None:
        return _off_graph(_followed_request(chosen, pair, slices), kind, rates, (between, within), points)
    if between is not None:
        hint = "the range of rates, or within"
        raise ScanError([Fault("between", show(between), f"None for {kind} of {model}", f"give {hint}")])
    request = request_of(model, pair, slices) if kind == "LP" else _hopf_request(chosen, pair, slices)
    check_branch(request, rates, within, points)
    _check_allowed(chosen, through, within)
    with np.errstate(all="ignore"):
        if kind == "LP":
            whole = rates or rates_of(chosen, request.slices)
            lines, special = _fold_curves(request, through, whole, within, points)
            places = [(line.points.r, line.points.parameters[through]) for line in lines]
            certified = hopf_curves.has_every_fold(chosen, through, request.slices, whole, within, places)
        else:
            lines, certified = _hopf_curves(request, through, rates, within, points)
    if not lines:
        raise ScanError([_no_curve(kind, pair, rates, within)])
    with np.errstate(all="ignore"):
        merged, number = with_special(lines, special) if kind == "LP" else _in_order(lines)
        columns = _curve_measures(merged, kind)
    words = Words(chosen, chosen.reference)
    table = described(words, pair, merged, columns) | piece_columns(words, lines, number)
    proven = {"certified": ((), certified, words.meaning(_ON_CURVES))}
    return words.dataset(request.given, proven, apart=table)


def _check_pair(model: Model, pair: tuple[str, str]) -> None:
    """Raise `ScanError` unless these are two parameters of the model, each said by its argument."""
    names = column_names(model)
    faults = [unknown(n, x, names) for n, x in zip(("along", "through"), pair, strict=True) if x not in names]
    if not faults and pair[0] == pair[1]:
        faults.append(Fault("through", f'"{pair[1]}"', f"another parameter than {pair[0]}"))
    if faults:
        raise ScanError(faults)


def _check_allowed(model: Model, name: str, within: Range | None) -> None:
    """Raise `ScanError` for a range of a parameter that goes beyond what it can be; it may end at 0."""
    domain = next(p.domain for p in model.parameters if p.name == name)
    if within is not None and not all(x == 0.0 or domain.holds(x) for x in within):
        raise ScanError([Fault("within", show(list(within)), f"a range of {name}, {domain.words}")])


def _hopf_request(model: Model, pair: tuple[str, str], slices: Mapping[str, Values]) -> Request:
    """Return what is asked for of Hopf curves: these need no parameter to be solved for but the graph's."""
    faults = []
    if pair[0] != model.graph:
        faults.append(Fault("along, through", show(list(pair)), f"{model.graph} and another parameter"))
    elif model.delay and pair[1] != model.delay:
        hint = f"make {pair[1]} slices of qs.special_points"
        faults.append(Fault("through", f'"{pair[1]}"', f"{model.delay}, of a model with a delay", hint))
    faults += [solved_for(name) for name in pair if name in slices]
    if faults:
        raise ScanError(faults)
    given = complete(slices, [p for p in model.parameters if p.name not in pair])
    return Request(model, pair, given, {name: a.values.ravel() for name, a in labelled(given).items()})


def _followed_request(model: Model, pair: tuple[str, str], slices: Mapping[str, Values]) -> Request:
    """Return what is asked for of curves of a model without `rest`: any two parameters."""
    faults = []
    if model.delay:
        found = f'"{model.name}", which has no `rest`, but a delay'
        faults = [Fault("model", found, "a graph over the rate, or a model without a delay")]
    faults += [solved_for(name) for name in pair if name in slices]
    if faults:
        raise ScanError(faults)
    given = complete(slices, [p for p in model.parameters if p.name not in pair])
    return Request(model, pair, given, {name: a.values.ravel() for name, a in labelled(given).items()})


def _off_graph(
    request: Request, kind: str, rates: Range | None, ranges: tuple[Range | None, Range | None], points: int
) -> xr.Dataset:
    """Return the curves of a model without `rest` that are found within the ranges of both parameters."""
    model, (p, q) = request.model, request.along
    if rates is not None:
        found = f"none, of {model.name}, which has no `rest`"
        raise ScanError([Fault("rates", "a value", found, "give between and within")])
    for name, given in zip(("between", "within"), ranges, strict=True):
        check_range(name, given, positive=False)
    check_branch(request, None, None, points)
    looked = range_of(model, p, ranges[0], "between"), range_of(model, q, ranges[1])
    lines = off_graph_curves.curves(SearchPlane(model, (p, q), looked, request.slices), kind, points)
    if not lines:
        where = f"no {kind} with {p} in [{looked[0][0]:g}, {looked[0][1]:g}]"
        where += f" and {q} in [{looked[1][0]:g}, {looked[1][1]:g}]"
        hint = "widen the ranges, or change the slice"
        raise ScanError([Fault(f"{p}, {q}", where, "at least one", hint)])
    stretches = [_stretch(request, line) for line in lines]
    merged, number = _in_order(stretches)
    with np.errstate(all="ignore"):
        columns = measures_at(_of_kind(merged, kind), np.concatenate([line.state for line in lines]))
    words = Words(model, model.reference)
    table = described(words, (p, q), merged, columns) | piece_columns(words, stretches, number)
    how = words.meaning(_ON_CURVES) | {"comment": off_graph_curves.METHOD}
    return words.dataset(request.given, {"certified": ((), False, how)}, apart=table)


def _stretch(request: Request, line: Traced) -> Stretch:
    """Return a curve that was followed."""
    r = line.state[:, 0]
    parameters = {name: value[0] + 0.0 * r for name, value in request.slices.items()}
    parameters |= dict(zip(request.along, line.both.T, strict=True))
    on = OnBranch(request.model, np.zeros(len(r), dtype=np.intp), r, parameters, line.type)
    return Stretch(on, (CUTS.index(line.cuts[0]), CUTS.index(line.cuts[1])))


def _fold_curves(
    request: Request, through: str, rates: Range, within: Range | None, points: int
) -> tuple[list[Stretch], OnBranch]:
    """Return the curves of folds, and the cusps and Bogdanov-Takens points on them."""
    lines = [
        replace(line, points=_settled(path, line.points))
        for path in request.paths
        for line in lines_along(request, path, through, rates, within, points)
    ]
    return lines, on_folds(request, rates)[0].inside(through, within)


def _settled(path: Path, points: OnBranch) -> OnBranch:
    """Return points of a curve of folds moved by what the solution for the second parameter has lost.

    Next to its wall that is a small difference of large numbers, and the rate is moved instead.
    """
    r, value = points.r, points.parameters[path.along]
    for _ in range(_STEPS):
        fold, by_r, by_value = along_folds(path, r, value, points.parameters)
        step = fold / (by_r**2 + (by_value * value) ** 2)
        fine = np.isfinite(step) & (np.abs(step * by_r) < _FAR)
        r = np.where(fine, r * np.exp(-step * by_r), r)
        value = np.where(fine, value * (1.0 - step * by_value * value), value)
    parameters = {**points.parameters, path.along: value}
    graph = path.model.graph
    parameters[graph] = np.asarray(graph_value(path.model, r, parameters | {graph: 0.0 * r}))
    return replace(points, r=r, parameters=parameters)


def _hopf_curves(
    request: Request, through: str, rates: Range | None, within: Range | None, points: int
) -> tuple[list[Stretch], bool]:
    """Return the curves of Hopf points, with their Bogdanov-Takens and generalised Hopf points.

    And whether every Hopf point that is proven to be there lies on one of them.
    """
    model, one = request.model, request.slices
    if model.delay:
        lines = delay_curves.curves(model, one, rates, within, points)
        return [_line_of(request, through, line) for line in lines], False
    turns = _turns(request, through, rates)
    lines = hopf_curves.curves(model, through, one, rates or rates_of(model, one), within, points, turns)
    return [_line_of(request, through, line) for line in lines], all(line.certified for line in lines)


def _turns(request: Request, through: str, rates: Range | None) -> tuple[Array, Array] | None:
    """Return the Bogdanov-Takens points where they are found without curves."""
    folded = replace(request, along=(request.model.graph, through))
    if not folded.paths:
        return None
    points, _, _ = on_folds(folded, rates)
    which = points.type == codes.BT
    return points.r[which], points.parameters[through][which]


def _line_of(request: Request, through: str, line: hopf_curves.Line) -> Stretch:
    points = taken_at(request.model, through, request.slices, line.r, line.value, 0)
    return Stretch(replace(points, type=line.mark), line.cuts)


def _in_order(lines: list[Stretch]) -> tuple[OnBranch, Index]:
    numbers = [np.full(len(line.points.r), number) for number, line in enumerate(lines)]
    return joined([line.points for line in lines]), np.concatenate(numbers)


def _curve_measures(points: OnBranch, kind: str) -> dict[str, Array]:
    """Return the numbers of every point of a curve: those without a type of their own have the curve's."""
    return measures(_of_kind(points, kind))


def _of_kind(points: OnBranch, kind: str) -> OnBranch:
    return replace(points, type=np.where(points.type == 0, codes.OF_EQUILIBRIA[kind], points.type))


def _no_curve(kind: str, pair: tuple[str, str], rates: Range | None, within: Range | None) -> Fault:
    looked = "any rate" if rates is None else f"a rate in [{rates[0]:.4g}, {rates[1]:.4g}]"
    found = f"no {kind} with {looked}"
    found = found if within is None else f"{found} and {pair[1]} in [{within[0]:g}, {within[1]:g}]"
    return Fault(", ".join(pair), found, "at least one", "widen the ranges, or change the slice")
