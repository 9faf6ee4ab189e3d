"""Branches of equilibria in order, with stability and special points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, check_count, show
from qifscan.lazy import LazyModule
from qifscan.roots.zeros import Nodes, walled
from qifscan.theory import codes
from qifscan.theory.certain import nodes_of
from qifscan.theory.normal_forms import states
from qifscan.theory.on_branch import OnBranch, Request, check_range, joined, on_path, request_of
from qifscan.theory.rate_curve import Path, coefficients, default_range, rate_unit
from qifscan.theory.special_points import (
    described,
    followed,
    measures,
    measures_at,
    proof_of,
    special_on,
)
from qifscan.theory.spectrum import kinds, spectrum_of
from qifscan.theory.tables import Words, flags

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array, Index, Range
    from qifscan.scan.labels import Values
else:
    xr = LazyModule("xarray")


CUTS = ("rates", "within", "no_equilibrium", "bogdanov_takens", "closed", "not_resolved")

_BESIDE = 1e-11
"""How far from its walls a branch begins and ends, as a share of the rate."""

PER_DECADE = 100
"""OnBranch of a branch or a curve while the rate grows tenfold, unless asked for otherwise."""

MOST_PER_DECADE = 100_000
"""More of them would fill the memory, and are below what a figure shows."""


# Branches


def branch(
    model: str = "qif",
    along: str = "eta",
    *,
    rates: Range | None = None,
    within: Range | None = None,
    points: int = PER_DECADE,
    **slices: Values,
) -> xr.Dataset:
    """Return the equilibria of one slice in order along their curve, with stability and special points.

    Of a model without `rest` curves are followed by pseudo-arclength from the equilibria that Newton's method
    finds at values of the parameter and at the ends of `within`.

    Parameters
    ----------
    model
        Name of the model.
    along
        The varied parameter, as for `special_points`.
    rates
        Range of rates (1/ms), by default a factor of 10 beyond the special points and the unit
        sqrt(delta)/(pi tau). A model without `rest` does not take it.
    within
        Range of the varied parameter; of a model without `rest` by default [-10, 10], or as wide as the
        parameter's default asks for.
    points
        Points while the rate grows tenfold.
    **slices
        The other parameters, numbers.

    Returns
    -------
    xarray.Dataset
        Along `point`, the rate ascending (of a model without `rest` in order along each piece):

        - `piece`, and `type`: 0, or AUTO's code of a special point, which is then a point of its own; 1 is a
          branch point, where pieces cross (of a model without `rest`);
        - the varied parameter and the state;
        - `eigenvalue_real` and `eigenvalue_imag` (1/ms, along `eigenvalue`), `kind`, `unstable_dimensions`,
          `stable`. At special points the eigenvalues on the axis are 0 only up to rounding, and `stable` is
          false;
        - the columns of `special_points`.

        Along `pieces`, the connected parts: `row_size`, and `start` and `end`, which tell what cut it off:
        the range of rates, that of the parameter, or that there is no equilibrium beyond. `certified` is
        false of a model without `rest`.

    Raises
    ------
    ScanError
        For a wrong definition, for more than one slice, and if nothing lies within the ranges.

    Notes
    -----
    Pseudo-arclength: Keller, in: Applications of Bifurcation Theory, Academic Press (1977).

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.branch(J=15.0, within=(-6.0, -3.0), points=20)
    >>> sorted(set(found["type"].values.tolist()))
    [0, 2]
    """
    request = request_of(model, along, slices, restless=True)
    if len(request.along) > 1:
        hint = "through two parameters there are curves: qs.curve"
        raise ScanError([Fault("along", show(along), "the name of one parameter", hint)])
    along = request.along[0]
    check_branch(request, rates, within, points)
    if request.model.rest is None:
        return _off_graph(request, rates, within, points)
    with np.errstate(all="ignore"):
        special, _, certain = special_on(request, rates)
        rates = rates or _around(request, special)
        lines = [
            line
            for path in request.paths
            for line in lines_along(request, path, along, rates, within, points)
        ]
    if not lines:
        raise ScanError([_nothing(request, rates, within)])
    with np.errstate(all="ignore"):
        merged, number = with_special(lines, special.inside(along, within))
        columns = measures(merged) | _stabilities(merged, states(merged.model, merged.r, merged.parameters))
    return _dataset(request, merged, columns, lines, number, certified=bool(certain.all()))


def _dataset(
    request: Request,
    points: OnBranch,
    columns: Mapping[str, Any],
    lines: list[Stretch],
    number: Index,
    *,
    certified: bool,
) -> xr.Dataset:
    words = Words(request.model, request.model.reference)
    table = described(words, request.along, points, columns) | _stability_columns(words, columns)
    proven = {"certified": ((), certified, proof_of(words))}
    return words.dataset(request.given, proven, apart=table | piece_columns(words, lines, number))


def _off_graph(request: Request, rates: Range | None, within: Range | None, points: int) -> xr.Dataset:
    """Return the branch of a model without `rest`: of its curves that were found, in order along each."""
    with np.errstate(all="ignore"):
        found = followed(request, rates, within, points)
        if not len(found.points.r):
            within = within or default_range(request.model, request.along[0])
            raise ScanError([_nothing(request, None, within)])
        columns = measures_at(found.points, found.state) | _stabilities(found.points, found.state)
    lines = [
        Stretch(found.points.chosen(found.number == k), (CUTS.index(arc.cuts[0]), CUTS.index(arc.cuts[1])))
        for k, arc in enumerate(found.arcs)
    ]
    return _dataset(request, found.points, columns, lines, found.number, certified=False)


@dataclass(frozen=True)
class Stretch:
    """A connected part of a curve, and what cuts it off at its start and its end."""

    points: OnBranch
    cuts: tuple[int, int]
    values: tuple[str, Callable[[Array], Array]] | None = None
    """The parameter along a path, and what it is there at rates."""


def check_branch(request: Request, rates: Range | None, within: Range | None, points: int) -> None:
    """Raise `ScanError` for what can't be drawn as one branch."""
    check_range("rates", rates, positive=True)
    check_range("within", within, positive=False)
    check_count("points", points, 2)
    if points > MOST_PER_DECADE:
        raise ScanError([Fault("points", show(points), f"at most {MOST_PER_DECADE:,} for a tenfold rate")])
    several = [name for name, array in request.given.items() if array.ndim]
    if several:
        raise ScanError([Fault(name, "several values", "a number", "ask slice by slice") for name in several])


def _nothing(request: Request, rates: Range | None, within: Range | None) -> Fault:
    looked = [] if rates is None else [f"a rate in [{rates[0]:.4g}, {rates[1]:.4g}]"]
    looked += [] if within is None else [f"{request.along[0]} in [{within[0]:g}, {within[1]:g}]"]
    found = f"no equilibrium with {' and '.join(looked)}"
    return Fault(", ".join(request.along), found, "at least one", "widen the ranges, or change the slice")


def _around(request: Request, special: OnBranch) -> Range:
    unit = float(rate_unit(request.model, request.slices)[0])
    marks = np.append(special.r, unit)
    return 0.1 * float(marks.min()), 10.0 * float(marks.max())


def lines_along(
    request: Request, path: Path, name: str, rates: Range, within: Range | None, points: int
) -> list[Stretch]:
    """Return the connected parts of a path, in order of the rate."""
    nodes = nodes_of(path, request.slices, rates)
    for bound, sign in ((within[0], 1.0), (within[1], -1.0)) if within else ():
        nodes = walled(nodes, _beyond(path, name, bound, sign), request.slices, positive=True)
    found = []
    for low, high in _runs(nodes):
        count = max(8, math.ceil(points * math.log10(high / low)))
        r = np.geomspace(low * (1.0 + _BESIDE), high * (1.0 - _BESIDE), count + 1)
        line = on_path(path, np.zeros(len(r), dtype=np.intp), r, request.slices)
        # The ends are next to walls, where rounding can take a parameter or a rate out of its domain.
        line = line.chosen(np.isfinite(line.parameters[name]) & path.domain.holds(line.parameters[name]))
        r, value = line.r, line.parameters[name]
        if not len(r):
            continue
        cuts = (_cut(r[0], value[0], rates, within), _cut(r[-1], value[-1], rates, within))
        found.append(Stretch(line, cuts, (name, partial(_along, request, path, name))))
    return found


def _along(request: Request, path: Path, name: str, r: Array) -> Array:
    """Return a parameter at rates on the path of a single slice."""
    return on_path(path, np.zeros(len(r), dtype=np.intp), r, request.slices).parameters[name]


def _beyond(path: Path, name: str, bound: float, sign: float) -> Callable[[Array, Any, int], list[Any]]:
    def function(r: Array, parameters: Any, order: int) -> list[Any]:
        value, *rest = coefficients(path.place(r, parameters, order)[1][name], order, r)
        return [sign * (value - bound), *(sign * term for term in rest)]

    return function


def _cut(r: float, value: float, rates: Range, within: Range | None) -> int:
    if min(abs(r / rates[0] - 1.0), abs(r / rates[1] - 1.0)) < 1e-9:
        return 0
    near = within and min(abs(value - bound) for bound in within) < 1e-6 * (within[1] - within[0])
    return 1 if near else 2


def _runs(nodes: Nodes) -> list[tuple[float, float]]:
    """Return the first and the last rate of each run of valid cells of a single slice."""
    padded = np.pad(nodes.valid[0], 1)
    starts, ends = np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(~padded[1:] & padded[:-1])
    return list(zip(nodes.rates[0, starts].tolist(), nodes.rates[0, ends].tolist(), strict=True))


def with_special(lines: list[Stretch], special: OnBranch) -> tuple[OnBranch, Index]:
    """Return the points of all lines with the special points in their places, and the number of the line."""
    merged, numbers = [], []
    owner = _owners(lines, special)
    for number, line in enumerate(lines):
        whole = joined([line.points, special.chosen(owner == number)]).sorted()
        merged.append(whole)
        numbers.append(np.full(len(whole.r), number))
    return joined(merged), np.concatenate(numbers)


def _owners(lines: list[Stretch], special: OnBranch) -> Index:
    """Return the line that each point lies on, -1 if on none: of two over the same rates the nearer one."""
    away = np.full((len(lines) + 1, len(special.r)), np.inf)
    for number, line in enumerate(lines, 1):
        inside = (special.r >= line.points.r[0]) & (special.r <= line.points.r[-1])
        if line.values is not None:
            name, values = line.values
            away[number, inside] = np.abs(values(special.r[inside]) - special.parameters[name][inside])
    # A distance is NaN between two infinities.
    away[1:] = np.where(np.isnan(away[1:]), 0.0, away[1:])
    return np.where(np.isfinite(away).any(axis=0), np.argmin(away, axis=0) - 1, -1)


def _stabilities(points: OnBranch, state: Array) -> dict[str, Any]:
    modes = spectrum_of(points.model).modes(points.model, state, points.parameters)
    kind, unstable, stable = kinds(modes)
    marginal = np.isin(points.type, [codes.OFF_GRAPH[name] for name in ("BP", "LP", "HB", "CP", "BT", "GH")])
    return {
        "eigenvalue_real": modes.real,
        "eigenvalue_imag": modes.imag,
        "kind": kind,
        "unstable_dimensions": unstable,
        "stable": stable & ~marginal,
    }


def _stability_columns(words: Words, columns: Mapping[str, Any]) -> dict[str, Any]:
    from qifscan.theory.spectrum import KINDS

    point = ("point",)
    return {
        "eigenvalue_real": (
            (*point, "eigenvalue"),
            columns["eigenvalue_real"],
            words.meaning("real part of the eigenvalue", "1/ms"),
        ),
        "eigenvalue_imag": (
            (*point, "eigenvalue"),
            columns["eigenvalue_imag"],
            words.meaning("imaginary part of the eigenvalue, angular frequency", "1/ms"),
        ),
        "kind": (point, columns["kind"], words.meaning("kind of the equilibrium") | flags(KINDS)),
        "unstable_dimensions": (
            point,
            columns["unstable_dimensions"],
            words.meaning("eigenvalues with a positive real part", "1"),
        ),
        "stable": (point, columns["stable"], words.meaning("the equilibrium is stable")),
    }


def piece_columns(words: Words, lines: list[Stretch], number: Index) -> dict[str, Any]:
    """Return the columns that tell the pieces of a branch apart, and what ends each."""
    size = words.meaning("number of points of the piece", "1") | {"sample_dimension": "point"}
    cut = flags(CUTS)
    ends = np.array([line.cuts for line in lines], dtype=np.int8)
    return {
        "piece": (("point",), number, words.meaning("connected part that the point is on")),
        "row_size": (("pieces",), np.bincount(number, minlength=len(lines)), size),
        "start": (("pieces",), ends[:, 0], words.meaning("what cuts the piece off at its first point") | cut),
        "end": (("pieces",), ends[:, 1], words.meaning("what cuts the piece off at its last point") | cut),
    }
