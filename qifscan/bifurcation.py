"""Special points, branches and curves in two parameters, for any model of the family.

Everything is read off the graph of the equilibria over the rate (see `graph`): nothing is followed step by
step, so nothing can be stepped over. The points are roots of polynomials, whose number is proven (`certain`).
Types have AUTO's codes; a neutral saddle, which is no bifurcation, has none there and 30 here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import delay_curves, hopf, hopf_plane
from qifscan.certain import Found, zeros_along
from qifscan.crossings import delays
from qifscan.digits import along_folds
from qifscan.errors import Fault, ScanError, check_count, counted, is_number, one_of, show, unknown
from qifscan.family import model_of
from qifscan.graph import (
    Array,
    Function,
    Index,
    Nodes,
    Path,
    coefficients,
    degree_in,
    graph_value,
    part,
    paths,
    rate_unit,
    walled,
)
from qifscan.labels import Values, complete, labelled
from qifscan.lazy import LazyModule
from qifscan.models import Model
from qifscan.normal_forms import (
    fold_coefficient,
    lyapunov_coefficient,
    residual,
    states,
)
from qifscan.pieces import nodes_of, pieces, roots
from qifscan.resting import growth
from qifscan.spectrum import kinds, spectrum_of
from qifscan.tables import Attributes, Words, flags

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

TYPES = {"none": 0, "LP": 2, "HB": 3, "NSA": 30, "CP": -22, "BT": -21, "GH": -32}
"""Fold, Hopf point, neutral saddle, cusp, Bogdanov-Takens and generalised Hopf (Bautin) point."""

CRITICALITY = ("none", "supercritical", "subcritical")
STATUS = ("scanned", "no_equilibrium")
CUTS = ("rates", "within", "no_equilibrium", "bogdanov_takens", "closed", "not_resolved")

ACCURATE = 1e-9
"""Relative rate of change at a point up to which it counts as converged."""

_ON_CURVES = f"every point proven at {hopf_plane.CELLS + 1} values of the second parameter lies on a curve"

_SPECIAL = 1e-6
"""Distance of a special point from the zero of its condition, as a share of the rate, up to which it
counts as converged."""

_BESIDE = 1e-11
"""How far from its walls a branch begins and ends, as a share of the rate."""

_STEPS, _FAR = 3, 1e-3
"""Newton's steps that settle the last digits of a curve of folds, and the largest that is a correction."""

PER_DECADE = 100
"""Points of a branch or a curve while the rate grows tenfold, unless asked for otherwise."""

MOST_PER_DECADE = 100_000
"""More of them would fill the memory, and are below what a figure shows."""

_CERTIFIED = "the number of points is proven: of LP, HB and NSA along one parameter, of CP and BT along two"

_PROOF = "roots of polynomials in the rate, isolated by Descartes' rule of signs with bounds on all rounding"

_NO_PROOF = (
    "none: with a delay eigenvalues are infinitely many; Hopf points are changes of sign, and where a size "
    "is least, on cells of a grid of rates, each a fifth of its rate wide"
)

_EPS = float(np.finfo(np.float64).eps)

_WIDEST = 1e30
"""Largest ratio of the ends of a range of rates: beyond, powers of these overflow."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Points:
    """Equilibria of one model, `(points,)` each: slice, rate, all parameters, code of the type."""

    model: Model
    who: Index
    r: Array
    parameters: dict[str, Array]
    type: Any

    def chosen(self, which: Any) -> Points:
        """Return some of the points, in this order."""
        return replace(
            self,
            who=self.who[which],
            r=self.r[which],
            parameters=part(self.parameters, which),
            type=self.type[which],
        )

    def typed(self, name: str) -> Points:
        """Return the points as ones of a type."""
        return replace(self, type=np.full(len(self.r), TYPES[name]))

    def sorted(self) -> Points:
        """Return the points by slice and rate."""
        return self.chosen(np.lexsort((self.r, self.who)))


def joined(several: Sequence[Points]) -> Points:
    """Return the points of all."""
    first = several[0]
    return Points(
        first.model,
        np.concatenate([points.who for points in several]),
        np.concatenate([points.r for points in several]),
        {n: np.concatenate([points.parameters[n] for points in several]) for n in first.parameters},
        np.concatenate([points.type for points in several]),
    )


def on_path(path: Path, who: Index, r: Array, slices: Mapping[str, Array]) -> Points:
    """Return the equilibria at rates along a path."""
    here = part(slices, who)
    _, found = path.place(r, here, 0)
    parameters = {name: coefficients(found[name], 0, r)[0] for name in _names(path.model)}
    return Points(path.model, who, r, parameters, np.zeros(len(r), dtype=np.intp))


def _names(model: Model) -> list[str]:
    return [parameter.name for parameter in model.parameters]


# What is asked for


@dataclass(frozen=True)
class _Request:
    """A model, the one or two parameters that vary, and the slices: sets of values of the others."""

    model: Model
    along: tuple[str, ...]
    given: dict[str, xr.DataArray]
    slices: dict[str, Array]

    @property
    def paths(self) -> list[Path]:
        """The paths along which the parameters vary; with two of them along the folds."""
        second = [name for name in self.along if name != self.model.graph]
        return paths(self.model, (second or [self.model.graph])[0], folded=len(self.along) == 2)

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(next(iter(self.slices.values())))


def _request(
    model: str, along: str | Sequence[str], slices: Mapping[str, Values], *, at_rest: bool = True
) -> _Request:
    """Return what is asked for; with `at_rest` equilibria must move along the parameters."""
    chosen = model_of(model, delayed=True)
    if not isinstance(along, (str, tuple, list)):
        raise ScanError([Fault("along", show(along), one_of(_names(chosen)), "or two of them")])
    names = (along,) if isinstance(along, str) else tuple(along)
    faults = [unknown("along", name, _names(chosen)) for name in names if name not in _names(chosen)]
    if faults:
        raise ScanError(faults)
    if at_rest or names != (chosen.delay,):
        faults = _not_solvable(chosen, names)
    faults += [_solved_for(name) for name in names if name in slices]
    if faults:
        raise ScanError(faults)
    given = complete(slices, [p for p in chosen.parameters if p.name not in names])
    return _Request(chosen, names, given, {name: a.values.ravel() for name, a in labelled(given).items()})


def _solved_for(name: str) -> Fault:
    return Fault(name, "a value", "none", "it is solved for, and so can't be fixed")


def _not_solvable(model: Model, names: tuple[str, ...]) -> list[Fault]:
    able = [model.graph, *(name for name in _names(model) if degree_in(model, name) in (1, 2))]
    able = list(dict.fromkeys(able))
    if len(names) not in (1, 2) or len(set(names)) < len(names):
        return [Fault("along", counted(len(names), "parameter"), "one, or two different ones")]
    if len(names) == 2 and model.graph not in names:
        return [Fault("along", show(list(names)), f"{model.graph} and another parameter")]
    return [
        Fault("along", f'"{name}"', one_of(able), _why_not(model, name)) for name in names if name not in able
    ]


def _why_not(model: Model, name: str) -> str:
    if name == model.delay:
        return f"{name} moves no equilibrium; its Hopf points are those of qs.special_points"
    if degree_in(model, name) == 0:
        return f"{name} moves no equilibrium; make it a slice and compare"
    return f"equilibria can't be solved for {name}; make it a slice"


def _check_range(name: str, given: Range | None, *, positive: bool) -> None:
    if given is None:
        return
    numbers = given if isinstance(given, (tuple, list, np.ndarray)) else ()
    fine = len(numbers) == 2 and all(map(is_number, numbers))
    kind = "two ascending numbers above 0" if positive else "two ascending numbers"
    if not fine or not numbers[0] < numbers[1] or (positive and numbers[0] <= 0):
        raise ScanError([Fault(name, show(given), kind)])
    if positive and not numbers[1] / numbers[0] <= _WIDEST:
        raise ScanError([Fault(name, show(given), f"{kind}, by a factor of {_WIDEST:g} apart at most")])


# Special points


def special_points(
    model: str = "qif",
    along: str | Sequence[str] = "eta",
    *,
    rates: Range | None = None,
    within: Range | None = None,
    **slices: Values,
) -> xr.Dataset:
    """Return every special point on the equilibria of every slice, as a contiguous ragged array.

    Along one parameter: folds LP (d eta/dr = 0), Hopf points HB (the Hurwitz determinant of order n - 1 is
    0 and the two eigenvalues that add up to 0 are imaginary) and neutral saddles NSA (these are real: no
    bifurcation); where that determinant is but rounding, as it can be at extreme rates, it has none. Along
    two, one of which is the model's graph parameter (eta; eta_i of qif_pair): cusps CP, Bogdanov-Takens
    points BT and generalised Hopf points GH (l1 = 0 on a Hopf curve, within the default range of `curve`).

    `along`: the graph parameter, or one in which it is a polynomial of degree 1 or 2 at rest, such as J,
    alpha or delta. `slices` are the other parameters, each a number, a sequence or a DataArray; they
    broadcast by dimension. `rates`: the range of rates (1/ms), by default [1e-6, 1e6] sqrt(delta)/(pi tau).
    `within`: the range of the first parameter of `along`. With a delay Hopf points come again and again:
    rates are by default up to 10/delay, or 10 of that unit if that is more, and along the delay itself, which
    moves no equilibrium, it is in [0, 10] ms. GH points with a delay are those of `curve`. Along the
    dimensions of the slices: `row_size`, the number of points of each, `status`, which tells a slice without
    equilibria from one without special points, and `certified`, whether that number is proven: roots of
    polynomials, isolated by Descartes' rule of signs (not the number of GH points, and with a delay none: the
    attribute `comment` tells how it was got). Along `point`, slice by slice, the rate ascending: `slice`
    (index of the slice in C order), `type` (AUTO's codes), the varied parameters, the state, `omega`
    (rad/ms), `frequency` (1/ms), `period` (ms), `l1` (first Lyapunov coefficient, Kuznetsov's normalisation
    <q, q> = <p, q> = 1), `criticality`, `fold_coefficient` (<p, B(q, q)>/2, q_1 > 0), `residual` (relative
    rate of change), `converged`. NaN where a type has no such number. Raises `ScanError` for a wrong
    definition. Source: Kuznetsov, Elements of Applied Bifurcation Theory (2004), ch. 3, 5, 8.
    """
    request = _request(model, along, slices, at_rest=False)
    _check_range("rates", rates, positive=True)
    _check_range("within", within, positive=False)
    with np.errstate(all="ignore"):
        points, valid, certain = _special(request, rates, within)
        columns = measures(points)
    words = Words(request.model, request.model.reference)
    shape = next(iter(labelled(request.given).values())).shape
    size = np.bincount(points.who, minlength=request.count).reshape(shape)
    count = words.meaning("number of special points of the slice", "1") | {"sample_dimension": "point"}
    status = words.meaning("whether the slice has equilibria among the rates looked at") | flags(STATUS)
    variables = {
        "row_size": ((), size, count),
        "status": ((), (~valid).astype(np.int8).reshape(shape), status),
        "certified": ((), certain.reshape(shape), _proof(words)),
    }
    slice_words = words.meaning("index of the slice, in C order") | {"instance_dimension": "slices"}
    apart = {"slice": (("point",), points.who, slice_words)} | _described(
        words, request.along, points, columns
    )
    return words.dataset(request.given, variables, apart=apart)


def _special(request: _Request, rates: Range | None, within: Range | None = None) -> tuple[Points, Any, Any]:
    """Return the special points of all slices, which of them have equilibria at all, and which a proven
    count.
    """
    if request.along == (request.model.delay,):
        looked = within or hopf_plane.default_range(request.model, request.model.delay)
        points, valid = _at_delays(request, rates, looked)
        return points, valid, np.zeros(request.count, dtype=bool)
    points, valid, certain = _on_folds(request, rates)
    if len(request.along) == 2 and not request.model.delay:
        points = joined([points, _bautin(request, rates, points)])
    if within is not None:
        value = points.parameters[request.along[0]]
        points = points.chosen((value >= within[0]) & (value <= within[1]))
    return points.sorted(), valid, certain


def _at_delays(request: _Request, rates: Range | None, within: Range) -> tuple[Points, Any]:
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
    points = Points(model, who[which], r[which], parameters, nothing).typed("HB")
    # Of one equilibrium they ascend with the delay.
    order = np.lexsort((delay, points.r, points.who))
    return points.chosen(order), np.isin(every, who)


def _on_folds(request: _Request, rates: Range | None) -> tuple[Points, Any, Any]:
    """Return the special points on the paths, which are those of folds where two parameters vary.

    And which slices have equilibria at all, and of which the count is proven.
    """
    found: list[Points] = []
    valid = np.zeros(request.count, dtype=bool)
    certain = np.ones(request.count, dtype=bool)
    names = ("CP", "BT") if len(request.along) == 2 else ("LP", "HB")
    for path in request.paths:
        valid |= nodes_of(path, request.slices, rates).valid.any(axis=1)
    for kind, name in zip(("fold", "hopf"), names, strict=True):
        points, proven = _zeros_on(request, kind, rates)
        found += [part_.typed(name) for part_ in points]
        certain &= proven
    return _told_apart(joined(found)).sorted(), valid, certain


def _zeros_on(request: _Request, kind: str, rates: Range | None) -> tuple[list[Points], Any]:
    """Return the zeros of a condition on the paths, and the slices of which their count is proven."""
    first = request.paths[0]
    # The eigenvalues with a delay are infinitely many: no polynomial has them.
    if kind == "hopf" and request.model.delay:
        return _on_grid(request, rates), np.zeros(request.count, dtype=bool)
    certain = zeros_along(first, kind, request.slices, rates)
    points = _certain_points(first, certain, request.slices)
    return [points], certain.certified


def _on_grid(request: _Request, rates: Range | None) -> list[Points]:
    """Return the Hopf points of a model with a delay on each path that the grid of rates shows."""
    turning = spectrum_of(request.model).turning
    return [on_path(path, *turning(path, request.slices, rates), request.slices) for path in request.paths]


def _certain_points(path: Path, found: Found, slices: Mapping[str, Array]) -> Points:
    """Return the equilibria at zeros of a condition; what the path solves for comes with each."""
    given = part(slices, found.who)
    if path.degree:
        given[path.along] = found.value
    if path.model.graph not in given:
        given[path.model.graph] = found.graph
    parameters = {name: given[name] + 0.0 * found.r for name in _names(path.model)}
    return Points(path.model, found.who, found.r, parameters, np.zeros(len(found.r), dtype=np.intp))


def _told_apart(points: Points) -> Points:
    """Return the points, with those of type HB that have no imaginary pair as neutral saddles."""
    hopf_like = points.type == TYPES["HB"]
    neutral = hopf_like & ~(squared_frequency(points) > 0.0)
    return replace(points, type=np.where(neutral, TYPES["NSA"], points.type))


def squared_frequency(points: Points) -> Array:
    """Return omega^2 of the two eigenvalues that add up to 0, at points where there are such two."""
    state = states(points.model, points.r, points.parameters)
    return spectrum_of(points.model).squared_frequency(points.model, state, points.parameters)


def _bautin(request: _Request, rates: Range | None, known: Points) -> Points:
    """Return the points at which the first Lyapunov coefficient changes its sign on Hopf curves.

    `known`: the other points of codimension two.
    """
    is_turn = known.type == TYPES["BT"]
    second = next(name for name in request.along if name != request.model.graph)
    found = []
    for k in range(request.count):
        one, turns = part(request.slices, slice(k, k + 1)), known.chosen((known.who == k) & is_turn)
        looked = rates or _rates(request.model, one)
        for line in hopf.curves(
            request.model, second, one, looked, None, turns=(turns.r, turns.parameters[second])
        ):
            here = line.mark == hopf.GH
            found.append(_at(request.model, second, one, line.r[here], line.value[here], k))
    empty = np.empty(0)
    found.append(_at(request.model, second, part(request.slices, slice(0, 1)), empty, empty, 0))
    return joined(found).typed("GH")


def _at(model: Model, name: str, one: Mapping[str, Array], r: Array, value: Array, k: int) -> Points:
    """Return equilibria of given rate and value of a second parameter."""
    parameters = hopf_plane.completed(model, one, name, r, value)
    return Points(model, np.full(len(r), k), r, parameters, np.zeros(len(r), dtype=np.intp))


def _rates(model: Model, one: Mapping[str, Array]) -> Range:
    unit = float(rate_unit(model, one)[0])
    return 1e-3 * unit, 1e3 * unit


def measures(points: Points) -> dict[str, Array]:
    """Return the state at each point, and what its type has numbers for."""
    state = states(points.model, points.r, points.parameters)
    found = {name: state[:, i] for i, name in enumerate(points.model.variable_names)}
    nothing = np.full(len(points.r), np.nan)
    omega, l1, fold = nothing.copy(), nothing.copy(), nothing.copy()
    turning = np.isin(points.type, [TYPES["HB"], TYPES["GH"]])
    some = points.chosen(turning)
    omega[turning] = np.sqrt(squared_frequency(some))
    l1[turning] = lyapunov_coefficient(points.model, state[turning], some.parameters, omega[turning])
    folded = np.isin(points.type, [TYPES["LP"], TYPES["CP"]])
    fold[folded] = fold_coefficient(points.model, state[folded], points.chosen(folded).parameters)
    size = residual(points.model, state, points.parameters)
    return found | {
        "omega": omega,
        "frequency": omega / (2.0 * math.pi),
        "period": 2.0 * math.pi / omega,
        "l1": l1,
        "criticality": np.where(l1 < 0.0, 1, np.where(l1 > 0.0, 2, 0)).astype(np.int8),
        "fold_coefficient": fold,
        "residual": size,
        "converged": (size < ACCURATE) & _is_special(points) & _has_digits(points),
    }


def _has_digits(points: Points) -> Any:
    """Tell the points at which rounding of the rate moves no other variable by more than `ACCURATE`."""
    return _EPS * growth(points.model, points.r, points.parameters) < ACCURATE


def _is_special(points: Points) -> Any:
    """Tell the points at which what makes their type is 0, to `_SPECIAL` of the rate; True for ordinary ones.

    How far a zero is away follows from the condition's Taylor series f, f', f''/2 in log r: |f/f'|, or where
    two are close to each other |2 f/f''|^(1/2). With a delay Hopf points are checked where they are found.
    """
    path = paths(points.model, points.model.graph)[0]
    found = np.ones(len(points.r), dtype=bool)

    def check(names: tuple[str, ...], condition: Function, derivative: int = 0) -> None:
        which = np.flatnonzero(np.isin(points.type, [TYPES[name] for name in names]))
        some = points.chosen(which)
        f, first, second = condition(some.r, some.parameters, 2 + derivative)[derivative:]
        away = np.fmin(np.abs(f / first), np.sqrt(np.abs(f / second)))
        found[which] &= (away < _SPECIAL) | (f == 0.0)

    check(("LP", "CP", "BT"), path.fold)
    check(("CP",), path.fold, 1)
    if not points.model.delay:
        check(("HB", "NSA", "BT", "GH"), path.hopf)
    return found


def _described(
    words: Words, along: Sequence[str], points: Points, columns: Mapping[str, Any]
) -> dict[str, tuple[tuple[str, ...], Any, Attributes]]:
    """Return the columns of a table of points as variables."""
    type_words = words.meaning("type of the point, codes of AUTO") | flags(list(TYPES), list(TYPES.values()))
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


def _proof(words: Words) -> Attributes:
    return words.meaning(_CERTIFIED) | {"comment": _NO_PROOF if words.model.delay else _PROOF}


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

    `along`: as for `special_points`. `rates`: the range of rates (1/ms), by default a factor of 10 beyond
    the special points and the unit sqrt(delta)/(pi tau). `within`: the range of the varied parameter.
    `points`: how many while the rate grows tenfold. `slices`: numbers.
    Along `point`, the rate ascending: `piece`, `type` (0, or that of a special point, which is then a point
    of its own), the varied parameter, the state, `eigenvalue_real` and `eigenvalue_imag` (along
    `eigenvalue`), `kind`, `unstable_dimensions`, `stable` and the columns of `special_points`. Along
    `pieces`, the connected parts: `row_size`, and `start` and `end`, which tell what cut it off: the range
    of rates, that of the parameter, or that there is no equilibrium beyond. At special points the
    eigenvalues on the axis are 0 only up to rounding, and `stable` is false.
    Raises `ScanError` for a wrong definition, for more than one slice, and if nothing lies within the ranges.
    """
    request = _request(model, along, slices)
    if len(request.along) > 1:
        hint = "through two parameters there are curves: qs.curve"
        raise ScanError([Fault("along", show(along), "the name of one parameter", hint)])
    along = request.along[0]
    _check_branch(request, rates, within, points)
    with np.errstate(all="ignore"):
        special, _, certain = _special(request, rates)
        rates = rates or _around(request, special)
        lines = [
            line for path in request.paths for line in _lines(request, path, along, rates, within, points)
        ]
    if not lines:
        raise ScanError([_nothing(request, rates, within)])
    with np.errstate(all="ignore"):
        merged, number = _with_special(lines, special)
        columns = measures(merged) | _stabilities(merged)
    words = Words(request.model, request.model.reference)
    table = _described(words, request.along, merged, columns) | _stability_columns(words, columns)
    proven = {"certified": ((), bool(certain.all()), _proof(words))}
    return words.dataset(request.given, proven, apart=table | _piece_columns(words, lines, number))


@dataclass(frozen=True)
class _Line:
    """A connected part of a curve, and what cuts it off at its start and its end."""

    points: Points
    cuts: tuple[int, int]
    values: tuple[str, Callable[[Array], Array]] | None = None
    """The parameter along a path, and what it is there at rates."""


def _check_branch(request: _Request, rates: Range | None, within: Range | None, points: int) -> None:
    _check_range("rates", rates, positive=True)
    _check_range("within", within, positive=False)
    check_count("points", points, 2)
    if points > MOST_PER_DECADE:
        raise ScanError([Fault("points", show(points), f"at most {MOST_PER_DECADE:,} for a tenfold rate")])
    several = [name for name, array in request.given.items() if array.ndim]
    if several:
        raise ScanError([Fault(name, "several values", "a number", "ask slice by slice") for name in several])


def _nothing(request: _Request, rates: Range, within: Range | None) -> Fault:
    found = f"no equilibrium with a rate in [{rates[0]:.4g}, {rates[1]:.4g}]"
    found = found if within is None else f"{found} and {request.along[0]} in [{within[0]:g}, {within[1]:g}]"
    return Fault(", ".join(request.along), found, "at least one", "widen the ranges, or change the slice")


def _around(request: _Request, special: Points) -> Range:
    unit = float(rate_unit(request.model, request.slices)[0])
    marks = np.append(special.r, unit)
    return 0.1 * float(marks.min()), 10.0 * float(marks.max())


def _lines(
    request: _Request, path: Path, name: str, rates: Range, within: Range | None, points: int
) -> list[_Line]:
    """Return the connected parts of a path, in order of the rate."""
    nodes = nodes_of(path, request.slices, rates)
    for bound, sign in ((within[0], 1.0), (within[1], -1.0)) if within else ():
        nodes = walled(nodes, _beyond(path, name, bound, sign), request.slices, positive=True)
    found = []
    for low, high in _runs(nodes):
        count = max(8, math.ceil(points * math.log10(high / low)))
        r = np.geomspace(low * (1.0 + _BESIDE), high * (1.0 - _BESIDE), count + 1)
        line = on_path(path, np.zeros(len(r), dtype=np.intp), r, request.slices)
        # The ends are next to walls, where a parameter or a rate can be rounded to what has no meaning.
        line = line.chosen(np.isfinite(line.parameters[name]) & path.domain.holds(line.parameters[name]))
        r, value = line.r, line.parameters[name]
        if not len(r):
            continue
        cuts = (_cut(r[0], value[0], rates, within), _cut(r[-1], value[-1], rates, within))
        found.append(_Line(line, cuts, (name, partial(_along, request, path, name))))
    return found


def _along(request: _Request, path: Path, name: str, r: Array) -> Array:
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


def _with_special(lines: list[_Line], special: Points) -> tuple[Points, Index]:
    """Return the points of all lines with the special points in their places, and the number of the line."""
    merged, numbers = [], []
    owner = _owners(lines, special)
    for number, line in enumerate(lines):
        whole = joined([line.points, special.chosen(owner == number)]).sorted()
        merged.append(whole)
        numbers.append(np.full(len(whole.r), number))
    return joined(merged), np.concatenate(numbers)


def _owners(lines: list[_Line], special: Points) -> Index:
    """Return the line that each point lies on, -1 if on none: of two over the same rates the nearer one."""
    away = np.full((len(lines) + 1, len(special.r)), np.inf)
    for number, line in enumerate(lines, 1):
        inside = (special.r >= line.points.r[0]) & (special.r <= line.points.r[-1])
        if line.values is not None:
            name, values = line.values
            away[number, inside] = np.abs(values(special.r[inside]) - special.parameters[name][inside])
    # A distance that is no number is one between two infinities.
    away[1:] = np.where(np.isnan(away[1:]), 0.0, away[1:])
    return np.where(np.isfinite(away).any(axis=0), np.argmin(away, axis=0) - 1, -1)


def _stabilities(points: Points) -> dict[str, Any]:
    state = states(points.model, points.r, points.parameters)
    modes = spectrum_of(points.model).modes(points.model, state, points.parameters)
    kind, unstable, stable = kinds(modes)
    marginal = np.isin(points.type, [TYPES[name] for name in ("LP", "HB", "CP", "BT", "GH")])
    return {
        "eigenvalue_real": modes.real,
        "eigenvalue_imag": modes.imag,
        "kind": kind,
        "unstable_dimensions": unstable,
        "stable": stable & ~marginal,
    }


def _stability_columns(words: Words, columns: Mapping[str, Any]) -> dict[str, Any]:
    from qifscan.family import KINDS

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


def _piece_columns(words: Words, lines: list[_Line], number: Index) -> dict[str, Any]:
    size = words.meaning("number of points of the piece", "1") | {"sample_dimension": "point"}
    cut = flags(CUTS)
    ends = np.array([line.cuts for line in lines], dtype=np.int8)
    return {
        "piece": (("point",), number, words.meaning("connected part that the point is on")),
        "row_size": (("pieces",), np.bincount(number, minlength=len(lines)), size),
        "start": (("pieces",), ends[:, 0], words.meaning("what cuts the piece off at its first point") | cut),
        "end": (("pieces",), ends[:, 1], words.meaning("what cuts the piece off at its last point") | cut),
    }


# Curves in two parameters


def curve(
    model: str = "qif",
    kind: str = "LP",
    along: str | None = None,
    through: str = "J",
    *,
    rates: Range | None = None,
    within: Range | None = None,
    points: int = PER_DECADE,
    **slices: Values,
) -> xr.Dataset:
    """Return the curves of folds or of Hopf points in the plane of two parameters, in order along each.

    `kind`: "LP" or "HB". `along`: the model's graph parameter, which is the default. `through`: the second
    parameter; for LP one in which the first is a polynomial of degree 1 or 2 at rest, for HB any; of a model
    with a delay for HB the delay, with rates up to 10/delay or 10 units and delays in [0, 10] ms. `rates`:
    the range of rates (1/ms), by default [1e-3, 1e3] sqrt(delta)/(pi tau). `within`: the range of the second
    parameter; for HB by default that of `hopf_plane.default_range`. `points`: how many while the rate grows
    tenfold. `slices`: numbers. Along `point`: `piece`, `type` (0, or that of a point of codimension two: CP
    and BT on fold curves, BT and GH on Hopf curves), both parameters, the state and the columns of
    `special_points`; along `pieces` as for `branch`. Hopf curves end at their BT points; neutral saddles are
    left out. `certified`: whether every fold or Hopf point that is proven at 97 values of the second
    parameter lies on a curve; False with a delay. `converged` is of the equilibrium and of the curve's own
    condition. Raises `ScanError` for a wrong definition, and if there is no such curve within the ranges.
    Source: Kuznetsov, Elements of Applied Bifurcation Theory (2004), ch. 8, 10.
    """
    if kind not in ("LP", "HB"):
        raise ScanError([unknown("kind", kind, ("LP", "HB"))])
    chosen = model_of(model, delayed=True)
    pair = (along if along is not None else chosen.graph, through)
    request = _request(model, pair, slices) if kind == "LP" else _hopf_request(chosen, pair, slices)
    _check_branch(request, rates, within, points)
    _check_allowed(chosen, through, within)
    with np.errstate(all="ignore"):
        if kind == "LP":
            whole = rates or _rates(chosen, request.slices)
            lines, special = _fold_curves(request, through, whole, within, points)
            places = [(line.points.r, line.points.parameters[through]) for line in lines]
            certified = hopf.has_every_fold(chosen, through, request.slices, whole, within, places)
        else:
            lines, certified = _hopf_curves(request, through, rates, within, points)
    if not lines:
        raise ScanError([_no_curve(kind, pair, rates, within)])
    with np.errstate(all="ignore"):
        merged, number = _with_special(lines, special) if kind == "LP" else _in_order(lines)
        columns = _curve_measures(merged, kind)
    words = Words(chosen, chosen.reference)
    table = _described(words, pair, merged, columns) | _piece_columns(words, lines, number)
    proven = {"certified": ((), certified, words.meaning(_ON_CURVES))}
    return words.dataset(request.given, proven, apart=table)


def _check_allowed(model: Model, name: str, within: Range | None) -> None:
    """Raise `ScanError` for a range of a parameter that goes beyond what it can be; it may end at 0."""
    domain = next(p.domain for p in model.parameters if p.name == name)
    if within is not None and not all(x == 0.0 or domain.holds(x) for x in within):
        raise ScanError([Fault("within", show(list(within)), f"a range of {name}, {domain.words}")])


def _hopf_request(model: Model, pair: tuple[str, str], slices: Mapping[str, Values]) -> _Request:
    """Return what is asked for of Hopf curves: these need no parameter to be solved for but the graph's."""
    names = _names(model)
    faults = [unknown(n, x, names) for n, x in zip(("along", "through"), pair, strict=True) if x not in names]
    if faults:
        raise ScanError(faults)
    if pair[0] != model.graph or pair[1] == model.graph:
        faults.append(Fault("along, through", show(list(pair)), f"{model.graph} and another parameter"))
    elif model.delay and pair[1] != model.delay:
        hint = f"make {pair[1]} slices of qs.special_points"
        faults.append(Fault("through", f'"{pair[1]}"', f"{model.delay}, of a model with a delay", hint))
    faults += [_solved_for(name) for name in pair if name in slices]
    if faults:
        raise ScanError(faults)
    given = complete(slices, [p for p in model.parameters if p.name not in pair])
    return _Request(model, pair, given, {name: a.values.ravel() for name, a in labelled(given).items()})


def _fold_curves(
    request: _Request, through: str, rates: Range, within: Range | None, points: int
) -> tuple[list[_Line], Points]:
    """Return the curves of folds, and the cusps and Bogdanov-Takens points on them."""
    lines = [
        replace(line, points=_settled(path, line.points))
        for path in request.paths
        for line in _lines(request, path, through, rates, within, points)
    ]
    return lines, _on_folds(request, rates)[0]


def _settled(path: Path, points: Points) -> Points:
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
    request: _Request, through: str, rates: Range | None, within: Range | None, points: int
) -> tuple[list[_Line], bool]:
    """Return the curves of Hopf points, with their Bogdanov-Takens and generalised Hopf points.

    And whether every Hopf point that is proven to be there lies on one of them.
    """
    model, one = request.model, request.slices
    if model.delay:
        lines = delay_curves.curves(model, one, rates, within, points)
        return [_line_of(request, through, line) for line in lines], False
    turns = _turns(request, through, rates)
    lines = hopf.curves(model, through, one, rates or _rates(model, one), within, points, turns)
    return [_line_of(request, through, line) for line in lines], all(line.certified for line in lines)


def _turns(request: _Request, through: str, rates: Range | None) -> tuple[Array, Array] | None:
    """Return the Bogdanov-Takens points where they are found without curves."""
    folded = replace(request, along=(request.model.graph, through))
    if not folded.paths:
        return None
    points, _, _ = _on_folds(folded, rates)
    which = points.type == TYPES["BT"]
    return points.r[which], points.parameters[through][which]


def _line_of(request: _Request, through: str, line: hopf.Line) -> _Line:
    points = _at(request.model, through, request.slices, line.r, line.value, 0)
    return _Line(replace(points, type=line.mark), line.cuts)


def _in_order(lines: list[_Line]) -> tuple[Points, Index]:
    numbers = [np.full(len(line.points.r), number) for number, line in enumerate(lines)]
    return joined([line.points for line in lines]), np.concatenate(numbers)


def _curve_measures(points: Points, kind: str) -> dict[str, Array]:
    """Return the numbers of every point of a curve: those without a type of their own have the curve's."""
    return measures(replace(points, type=np.where(points.type == 0, TYPES[kind], points.type)))


def _no_curve(kind: str, pair: tuple[str, str], rates: Range | None, within: Range | None) -> Fault:
    looked = "any rate" if rates is None else f"a rate in [{rates[0]:.4g}, {rates[1]:.4g}]"
    found = f"no {kind} with {looked}"
    found = found if within is None else f"{found} and {pair[1]} in [{within[0]:g}, {within[1]:g}]"
    return Fault(", ".join(pair), found, "at least one", "widen the ranges, or change the slice")
