"""Special points along one parameter or two, for any model of the family.

The points are read off the graph of the equilibria over the rate (see `rate_curve`): nothing is followed step
by step, so nothing can be stepped over. They are roots of polynomials, whose number is proven (`certain`).
Types have AUTO's codes; a neutral saddle, which is no bifurcation, has none there and 30 here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError
from qifscan.lazy import LazyModule
from qifscan.roots.zeros import part
from qifscan.scan.labels import Values, labelled
from qifscan.theory import codes, hopf_curves, off_graph
from qifscan.theory.certain import CountedZeros, nodes_of, zeros_along
from qifscan.theory.conditions import FOLD, HOPF, Kind
from qifscan.theory.crossings import delays
from qifscan.theory.normal_forms import fold_coefficient, lyapunov_coefficient, residual, states
from qifscan.theory.off_graph import AlongArcs
from qifscan.theory.on_branch import (
    OnBranch,
    Request,
    check_range,
    column_names,
    joined,
    on_path,
    rates_of,
    request_of,
    taken_at,
)
from qifscan.theory.rate_curve import Path, default_range, paths
from qifscan.theory.resting import growth, pieces, roots
from qifscan.theory.spectrum import spectrum_of
from qifscan.theory.tables import Attributes, Words, flags

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array, Function, Range
else:
    xr = LazyModule("xarray")


CRITICALITY = ("none", "supercritical", "subcritical")
STATUS = ("scanned", "no_equilibrium")

ACCURATE = 1e-9
"""Relative rate of change at a point up to which it counts as converged."""

_SPECIAL = 1e-6
"""Distance of a special point from the zero of its condition, as a share of the rate, up to which it
counts as converged."""

CERTIFIED = "the number of points is proven: of LP, HB and NSA along one parameter, of CP and BT along two"

_PROOF = "roots of polynomials in the rate, isolated by Descartes' rule of signs with bounds on all rounding"

_EPS = float(np.finfo(np.float64).eps)


# Special points


def special_points(
    model: str = "qif",
    along: str | Sequence[str] = "eta",
    *,
    rates: Range | None = None,
    within: Range | None = None,
    **slices: Values,
) -> xr.Dataset:
    """Return every special point on the equilibria of every slice.

    Along one parameter: folds LP (d eta/dr = 0), Hopf points HB (the Hurwitz determinant of order n - 1 is 0
    and the two eigenvalues that add up to 0 are imaginary) and neutral saddles NSA (these are real: no
    bifurcation). Where that determinant is but rounding, as it can be at extreme rates, it has no zero.

    Along two parameters, one of which is the model's graph parameter (eta; eta_i of qif_pair): cusps CP,
    Bogdanov-Takens points BT and generalised Hopf points GH (l1 = 0 on a Hopf curve, within the default range
    of `curve`).

    With a delay Hopf points come again and again: rates are by default up to 10/delay, or 10 sqrt(delta)/(pi
    tau) if that is more, and along the delay itself, which moves no equilibrium, it is in [0, 10] ms. GH
    points with a delay are those of `curve`.

    Of a model without `rest`: the points on the curves that `branch` follows, along one parameter.

    Parameters
    ----------
    model
        Name of the model.
    along
        The graph parameter, or one in which it is a polynomial of degree 1 or 2 at rest, such as J, alpha or
        delta; or two of them.
    rates
        Range of rates (1/ms), by default [1e-6, 1e6] sqrt(delta)/(pi tau).
    within
        Range of the first parameter of `along`.
    **slices
        The other parameters, each a number, a sequence or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        A contiguous ragged array. Along the dimensions of the slices:

        - `row_size`, the number of points of each;
        - `status`, which tells a slice without equilibria from one without special points;
        - `certified`, whether that number is proven: roots of polynomials, isolated by Descartes' rule of
          signs. Not the number of GH points, and not with a delay, more than 4 variables or without `rest`:
          the attribute `comment` tells how it was got.

        Along `point`, slice by slice, the rate ascending; NaN where a type has no such number:

        - `slice`, the index of the slice in C order, and `type` (AUTO's codes, in its attributes);
        - the varied parameters and the state;
        - `omega` (rad/ms), `frequency` (1/ms), `period` (ms);
        - `l1`, the first Lyapunov coefficient in Kuznetsov's normalisation <q, q> = <p, q> = 1, and
          `criticality`;
        - `fold_coefficient`, <p, B(q, q)>/2 with q_1 > 0;
        - `residual` (relative rate of change) and `converged`.

    Raises
    ------
    ScanError
        For a wrong definition.

    Notes
    -----
    Kuznetsov, Elements of Applied Bifurcation Theory (2004), ch. 3, 5, 8.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.special_points(along="eta", J=15.0)
    >>> found["eta"].values.round(4)
    array([-3.1361, -5.7435])
    """
    request = request_of(model, along, slices, at_rest=False, restless=True)
    check_range("rates", rates, positive=True)
    check_range("within", within, positive=False)
    with np.errstate(all="ignore"):
        if request.model.rest is None:
            points, columns, valid = _followed(request, rates, within)
            certain = np.zeros(request.count, dtype=bool)
        else:
            points, valid, certain = special_on(request, rates, within)
            columns = measures(points)
    words = Words(request.model, request.model.reference)
    shape = next(iter(labelled(request.given).values())).shape
    size = np.bincount(points.who, minlength=request.count).reshape(shape)
    count = words.meaning("number of special points of the slice", "1") | {"sample_dimension": "point"}
    status = words.meaning("whether the slice has equilibria among the rates looked at") | flags(STATUS)
    variables = {
        "row_size": ((), size, count),
        "status": ((), (~valid).astype(np.int8).reshape(shape), status),
        "certified": ((), certain.reshape(shape), proof_of(words)),
    }
    slice_words = words.meaning("index of the slice, in C order") | {"instance_dimension": "slices"}
    apart = {"slice": (("point",), points.who, slice_words)} | described(
        words, request.along, points, columns
    )
    return words.dataset(request.given, variables, apart=apart)


def followed(request: Request, rates: Range | None, within: Range | None, points: int) -> AlongArcs:
    """Return the equilibria of a model without `rest` along the curves that were found."""
    name = request.along[0]
    if rates is not None:
        hint = f"give within, the range of {name}"
        raise ScanError(
            [Fault("rates", "a value", f"none, of {request.model.name}, which has no `rest`", hint)]
        )
    looked = off_graph.range_of(request.model, name, within)
    return off_graph.along_arcs(request.model, name, request.slices, looked, points)


def _followed(
    request: Request, rates: Range | None, within: Range | None
) -> tuple[OnBranch, dict[str, Array], Any]:
    """Return the special points of a model without `rest`, their measures, and which slices have any."""
    found = followed(request, rates, within, off_graph.PER_DECADE)
    which = np.flatnonzero(found.points.type != codes.POINT)
    which = which[np.lexsort((found.points.r[which], found.points.who[which]))]
    which = which[off_graph.first_ones(found, which)]
    points = found.points.chosen(which)
    valid = np.isin(np.arange(request.count), found.points.who)
    return points, measures_at(points, found.state[which]), valid


def special_on(
    request: Request, rates: Range | None, within: Range | None = None
) -> tuple[OnBranch, Any, Any]:
    """Return the special points of all slices, which of them have equilibria at all, and which a proven
    count.
    """
    if request.along == (request.model.delay,):
        looked = within or default_range(request.model, request.model.delay)
        points, valid = _at_delays(request, rates, looked)
        return points, valid, np.zeros(request.count, dtype=bool)
    points, valid, certain = on_folds(request, rates)
    if len(request.along) == 2 and not request.model.delay:
        points = joined([points, _bautin(request, rates, points)])
    return points.inside(request.along[0], within).sorted(), valid, certain


def _at_delays(request: Request, rates: Range | None, within: Range) -> tuple[OnBranch, Any]:
    """Return the Hopf points along the delay, and which slices have equilibria."""
    model, slices = request.model, request.slices
    path = paths(model, model.graph)[0]
    nodes = nodes_of(path, slices, rates)
    every = np.arange(request.count)
    r, _ = roots(path, slices, pieces(path, slices, nodes), every, slices[model.graph])
    who, column = np.nonzero(np.isfinite(r))
    r = r[who, column]
    given = part(slices, who) | {model.delay: np.ones(len(r))}
    which, delay = delays(model, states(model, r, given), given, within[1])
    which, delay = which[delay >= within[0]], delay[delay >= within[0]]
    parameters = part(given, which) | {model.delay: delay}
    nothing = np.zeros(len(which), dtype=np.intp)
    points = OnBranch(model, who[which], r[which], parameters, nothing).typed("HB")
    # At one equilibrium they are in the order of the delay.
    order = np.lexsort((delay, points.r, points.who))
    return points.chosen(order), np.isin(every, who)


def on_folds(request: Request, rates: Range | None) -> tuple[OnBranch, Any, Any]:
    """Return the special points on the paths, which are those of folds where two parameters vary.

    And which slices have equilibria at all, and of which the count is proven.
    """
    found: list[OnBranch] = []
    valid = np.zeros(request.count, dtype=bool)
    certain = np.ones(request.count, dtype=bool)
    names = ("CP", "BT") if len(request.along) == 2 else ("LP", "HB")
    for path in request.paths:
        valid |= nodes_of(path, request.slices, rates).valid.any(axis=1)
    for kind, name in zip((FOLD, HOPF), names, strict=True):
        points, proven = _zeros_on(request, kind, rates)
        found += [part_.typed(name) for part_ in points]
        certain &= proven
    return _told_apart(joined(found)).sorted(), valid, certain


def _zeros_on(request: Request, kind: Kind, rates: Range | None) -> tuple[list[OnBranch], Any]:
    """Return the zeros of a condition on the paths, and the slices of which their count is proven."""
    first = request.paths[0]
    if kind is HOPF and spectrum_of(request.model).unproven:
        return _on_grid(request, rates), np.zeros(request.count, dtype=bool)
    certain = zeros_along(first, kind, request.slices, rates)
    points = _certain_points(first, certain, request.slices)
    return [points], certain.certified


def _on_grid(request: Request, rates: Range | None) -> list[OnBranch]:
    """Return the Hopf points on each path that the grid of rates shows."""
    turning = spectrum_of(request.model).turning
    return [on_path(path, *turning(path, request.slices, rates), request.slices) for path in request.paths]


def _certain_points(path: Path, found: CountedZeros, slices: Mapping[str, Array]) -> OnBranch:
    """Return the equilibria at zeros of a condition; what the path solves for comes with each."""
    given = part(slices, found.who)
    if path.degree:
        given[path.along] = found.value
    if path.model.graph not in given:
        given[path.model.graph] = found.graph
    parameters = {name: given[name] + 0.0 * found.r for name in column_names(path.model)}
    return OnBranch(path.model, found.who, found.r, parameters, np.zeros(len(found.r), dtype=np.intp))


def _told_apart(points: OnBranch) -> OnBranch:
    """Return the points, with those of type HB that have no imaginary pair as neutral saddles."""
    hopf_like = points.type == codes.HB
    neutral = hopf_like & ~(squared_frequency(points) > 0.0)
    return replace(points, type=np.where(neutral, codes.NSA, points.type))


def squared_frequency(points: OnBranch) -> Array:
    """Return omega^2 of the two eigenvalues that add up to 0, at points where there are such two."""
    state = states(points.model, points.r, points.parameters)
    return spectrum_of(points.model).squared_frequency(points.model, state, points.parameters)


def _bautin(request: Request, rates: Range | None, known: OnBranch) -> OnBranch:
    """Return the points at which the first Lyapunov coefficient changes its sign on Hopf curves.

    `known`: the other points of codimension two.
    """
    is_turn = known.type == codes.BT
    second = next(name for name in request.along if name != request.model.graph)
    found = []
    for k in range(request.count):
        one, turns = part(request.slices, slice(k, k + 1)), known.chosen((known.who == k) & is_turn)
        looked = rates or rates_of(request.model, one)
        for line in hopf_curves.curves(
            request.model, second, one, looked, None, turns=(turns.r, turns.parameters[second])
        ):
            here = line.mark == codes.GH
            found.append(taken_at(request.model, second, one, line.r[here], line.value[here], k))
    empty = np.empty(0)
    found.append(taken_at(request.model, second, part(request.slices, slice(0, 1)), empty, empty, 0))
    return joined(found).typed("GH")


def measures(points: OnBranch) -> dict[str, Array]:
    """Return the state at each point, and what its type has numbers for."""
    found = measures_at(points, states(points.model, points.r, points.parameters), 0.0)
    return found | {"converged": found["converged"] & _is_special(points) & _has_digits(points)}


def measures_at(points: OnBranch, state: Array, least: float = off_graph.LEAST) -> dict[str, Array]:
    """Return the same of points whose states `(points, n)` are known; `least` as for `residual`."""
    model = points.model
    found = {name: state[:, i] for i, name in enumerate(model.variable_names)}
    nothing = np.full(len(points.r), np.nan)
    omega, l1, fold = nothing.copy(), nothing.copy(), nothing.copy()
    turning = np.isin(points.type, [codes.HB, codes.GH])
    some, there = points.chosen(turning).parameters, state[turning]
    omega[turning] = np.sqrt(spectrum_of(model).squared_frequency(model, there, some))
    l1[turning] = lyapunov_coefficient(model, there, some, omega[turning])
    folded = np.isin(points.type, [codes.LP, codes.CP])
    fold[folded] = fold_coefficient(model, state[folded], points.chosen(folded).parameters)
    size = residual(model, state, points.parameters, least)
    return found | {
        "omega": omega,
        "frequency": omega / (2.0 * math.pi),
        "period": 2.0 * math.pi / omega,
        "l1": l1,
        "criticality": np.where(l1 < 0.0, 1, np.where(l1 > 0.0, 2, 0)).astype(np.int8),
        "fold_coefficient": fold,
        "residual": size,
        "converged": size < ACCURATE,
    }


def _has_digits(points: OnBranch) -> Any:
    """Tell the points at which rounding of the rate moves no other variable by more than `ACCURATE`."""
    return _EPS * growth(points.model, points.r, points.parameters) < ACCURATE


def _is_special(points: OnBranch) -> Any:
    """Tell the points at which what makes their type is 0, to `_SPECIAL` of the rate; True for ordinary ones.

    How far a zero is away follows from the condition's Taylor series f, f', f''/2 in log r: |f/f'|, or where
    two are close to each other |2 f/f''|^(1/2). With a delay Hopf points are checked where they are found.
    """
    path = paths(points.model, points.model.graph)[0]
    found = np.ones(len(points.r), dtype=bool)

    def check(names: tuple[str, ...], condition: Function, derivative: int = 0) -> None:
        which = np.flatnonzero(np.isin(points.type, [codes.OF_EQUILIBRIA[name] for name in names]))
        some = points.chosen(which)
        f, first, second = condition(some.r, some.parameters, 2 + derivative)[derivative:]
        away = np.fmin(np.abs(f / first), np.sqrt(np.abs(f / second)))
        found[which] &= (away < _SPECIAL) | (f == 0.0)

    check(("LP", "CP", "BT"), path.fold)
    check(("CP",), path.fold, 1)
    if not points.model.delay:
        check(("HB", "NSA", "BT", "GH"), path.hopf)
    return found


def described(
    words: Words, along: Sequence[str], points: OnBranch, columns: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, ...], Any, Attributes]]:
    """Return the columns of a table of points as variables."""
    type_words = words.meaning("type of the point, codes of AUTO") | flags(
        codes.OFF_GRAPH if points.model.rest is None else codes.OF_EQUILIBRIA
    )
    point = ("point",)
    found = {"type": (point, points.type.astype(np.int8), type_words)}
    found |= {n: (point, points.parameters[n], words.of_parameter(n, "at the point")) for n in along}
    meant = {name: words.of_state(name) for name in points.model.variable_names} | {
        "omega": words.meaning("angular frequency at the Hopf point", "rad/ms"),
        "frequency": words.meaning("frequency at the Hopf point", "1/ms"),
        "period": words.meaning("period at the Hopf point", "ms"),
        "l1": words.meaning("first Lyapunov coefficient, with <q, q> = <p, q> = 1", "1"),
        "criticality": words.meaning("criticality of the Hopf point") | flags(CRITICALITY),
        "fold_coefficient": words.meaning("normal form coefficient of the fold, <p, B(q, q)>/2", "1/ms"),
        "residual": words.meaning("largest rate of change, relative to its terms", "1"),
        "converged": words.meaning(
            "the residual is of rounding size, and the rate has digits for all variables"
        ),
    }
    return found | {name: (point, columns[name], meant[name]) for name in columns if name in meant}


def proof_of(words: Words) -> Attributes:
    """Return attributes that say how the number of points is proven."""
    how = off_graph.METHOD if words.model.rest is None else spectrum_of(words.model).unproven or _PROOF
    return words.meaning(CERTIFIED) | {"comment": how}
