"""Curves of folds and of Hopf points of models that are no graph over the rate, in order along each.

They begin at the points that are found along one parameter at some values of the other, and the other way
round. A curve that goes through none of these is missed, and so are two special points of a kind on it within
a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.theory import codes, off_graph
from qifscan.theory.arclength import Arc, filled, follow
from qifscan.theory.critical import LEAST, Critical, fold_tests, hopf_tests, of_folds, of_hopf_points

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Mask, Range
    from qifscan.dynamics.model import Model

METHOD = (
    "curves followed from the points that are found along one parameter at values of the other: a curve that "
    "none of them is on is missed, and two special points of one kind within a step"
)

_SYSTEMS = {"LP": of_folds, "HB": of_hopf_points}
"""Of curves of each kind what makes their system."""

_CLOSE = 1e-13
"""Share of a step up to which the zero of a test is known."""

_IS_ZERO = 1e-6
"""Share of what a test is at both ends of a step up to which it counts as 0 between: else it has a pole."""


@dataclass(frozen=True, eq=False)
class SearchPlane:
    """Where curves are looked for: both parameters with their ranges, and the others, `(1,)` each."""

    model: Model
    names: tuple[str, str]
    ranges: tuple[Range, Range]
    one: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Traced:
    """A curve: states `(points, n)`, both parameters `(points, 2)`, codes, and what cuts it off."""

    state: Array
    both: Array
    type: Index
    cuts: tuple[str, str]


def curves(plane: SearchPlane, kind: str, per_decade: int) -> list[Traced]:
    """Return the curves of a kind; `per_decade`: points while a variable grows tenfold."""
    with np.errstate(all="ignore"):
        x, held = _starts(plane, codes.OF_EQUILIBRIA[kind])
        if not len(x):
            return []
        of, begin = _system(plane, kind, x)
        border = np.zeros_like(begin)
        border[np.arange(len(begin)), held] = 1.0
        begin, there = of.corrected(np.arange(len(begin)), begin, border, begin[np.arange(len(begin)), held])
        found = []
        for arc in _followed(of, begin, there & of.inside(begin), math.log(10.0) / per_decade):
            parts = [_with_folds(of, arc)] if kind == "LP" else _hopf_parts(of, arc)
            found += [_traced(of, one) for one in parts]
    return found


def _starts(plane: SearchPlane, code: int) -> tuple[Array, Index]:
    """Return points (y, p, q) of the curves, and the column of the parameter that is held at each."""
    (p, q), (first, second) = plane.names, plane.ranges
    found, held = [], []
    for along, within, other, values in ((p, first, q, second), (q, second, p, first)):
        at = off_graph.levels(values)
        slices = {name: np.repeat(value, len(at)) for name, value in plane.one.items()} | {other: at}
        line = off_graph.along_arcs(plane.model, along, slices, within, off_graph.PER_DECADE)
        which = np.flatnonzero(line.points.type == code)
        # Those within come first: from an end of a range there is but one way.
        which = which[np.argsort(np.isin(line.points.parameters[other][which], values), kind="stable")]
        both = np.stack([line.points.parameters[name][which] for name in plane.names], axis=1)
        found.append(np.concatenate([line.state[which], both], axis=1))
        held.append(np.full(len(which), -1 if other == q else -2))
    return np.concatenate(found), np.concatenate(held)


def _system(plane: SearchPlane, kind: str, x: Array) -> tuple[Critical, Array]:
    """Return the system of curves from points (y, p, q), and where they begin."""
    size = np.abs(x[:, :-2])
    most = size.max(axis=0)
    most = np.maximum(most, LEAST * most.max())
    most = np.where(most > 0.0, most, 1.0)
    plain = Critical(
        plane.model,
        plane.names[1],
        plane.ranges[1],
        {name: np.repeat(value, len(x)) for name, value in plane.one.items()},
        np.tile(most, (len(x), 1)),
        plane.names[0],
        plane.ranges[0],
        np.maximum(size, 1e-3 * most),
    )
    return _SYSTEMS[kind](plain, x)


def _followed(of: Critical, begin: Array, left: Mask, longest: float) -> list[Arc]:
    """Return the curves through starts, those at one value of a held parameter at a time.

    One that is not resolved to both of its ends is told only if no other goes through its start.
    """
    found: list[Arc] = []
    partial: list[Arc] = []
    left = left.copy()
    while left.any():
        some = _next(begin, left)
        left[some] = False
        for arc in follow(of, some, begin[some]):
            if "not_resolved" in arc.cuts:
                partial.append(arc)
            elif not _on(of, found, begin[[arc.who]]).any():
                found += filled(of, [arc], longest)
        rest = np.flatnonzero(left)
        left[rest[_on(of, found, begin[rest])]] = False
    for arc in sorted(partial, key=lambda one: -len(one.x)):
        if not _on(of, found, begin[[arc.who]]).any():
            found += filled(of, [arc], longest)
    return found


def _next(begin: Array, left: Mask) -> Index:
    """Return the starts that have one parameter alike, of most of them."""
    rest = np.flatnonzero(left)
    alike = begin[rest, None, -2:] == begin[None, rest, -2:]
    count = alike.sum(axis=1)
    row, column = np.unravel_index(np.argmax(count), count.shape)
    return np.asarray(rest[alike[row, :, column]])


def _on(of: Critical, arcs: list[Arc], points: Array) -> Mask:
    """Tell which points are on one of some curves."""
    found = np.zeros(len(points), dtype=bool)
    for arc in arcs:
        for column in (-1, -2):
            p, at = arc.x[:, column], points[:, None, column]
            cell, which = np.nonzero(((p[:-1] - at) * (p[1:] - at) <= 0.0).T)
            apart = p[cell + 1] - p[cell]
            share = np.where(apart == 0.0, 0.0, (at[which, 0] - p[cell]) / np.where(apart == 0.0, 1.0, apart))
            guess = arc.x[cell] + share[:, None] * (arc.x[cell + 1] - arc.x[cell])
            border = np.zeros_like(guess)
            border[:, column] = 1.0
            who = np.full(len(guess), arc.who)
            x, there = of.corrected(who, guess, border, at[which, 0])
            found[which[there & of.matched(who, x, points[which])]] = True
    return found


# Special points


def _located(of: Critical, arc: Arc, node: Index, test: Any) -> tuple[Array, Array, Array]:
    """Return where a test is 0 in the steps from some points on, as shares of these, the points and their
    tangents. `test(which, x)` is that of the steps named.
    """
    a, b = arc.x[node], arc.x[node + 1]
    who = np.full(len(node), arc.who)
    border = of.weights(who, 0.5 * (a + b)) ** 2 * (b - a)

    def on(share: Array, rows: Any) -> Array:
        start = a[rows] + share[:, None] * (b[rows] - a[rows])
        return of.corrected(who[rows], start, border[rows], (border[rows] * start).sum(axis=1))[0]

    def at(share: Array, rows: Any) -> tuple[Array]:
        return (test(rows, on(share, rows)),)

    every = np.arange(len(node))
    before, after = (at(np.full(len(node), end), every)[0] for end in (0.0, 1.0))
    share = off_graph.root(at, before, after, np.full(len(node), _CLOSE))
    x = on(share, every)
    return share, x, of.tangents(who, x, border)[0]


def _with_folds(of: Critical, arc: Arc) -> Arc:
    """Return a curve of folds with its cusps and Bogdanov-Takens points in their places."""
    who = np.full(len(arc.x), arc.who)
    tests, left = fold_tests(of, who, arc.x)
    turned = np.sign((left[1:] * left[:-1]).sum(axis=1))[:, None]
    places, points = [], []
    for column, code in enumerate((codes.CP, codes.BT)):
        node = np.flatnonzero((tests[1:] * tests[:-1] * turned)[:, column] < 0.0)

        def test(rows: Any, x: Array, column: int = column, before: Array = left[node]) -> Array:
            return fold_tests(of, np.full(len(x), arc.who), x, before[rows])[0][:, column]

        share, x, tangent = _located(of, arc, node, test)
        places.append(node + share)
        points.append((x, tangent, np.full(len(x), code)))
    return arc.with_points(np.concatenate(places), *map(np.concatenate, zip(*points, strict=True)))


def _hopf_parts(of: Critical, arc: Arc) -> list[Arc]:
    """Return the parts of a curve on which eigenvalues are imaginary, with the generalised Hopf points in
    their places: they end at Bogdanov-Takens points.
    """
    column = 3 * of.count
    real = arc.x[:, column] <= 0.0
    if arc.cuts[0] == "closed" and real.any() and not real.all():
        # A closed curve is cut open where the eigenvalues are real.
        first = int(np.flatnonzero(real)[0])
        x, tangent = (np.roll(a[:-1], -first, axis=0) for a in (arc.x, arc.tangent))
        arc = replace(arc, x=np.append(x, x[:1], axis=0), tangent=np.append(tangent, tangent[:1], axis=0))
        real = arc.x[:, column] <= 0.0
    node = np.flatnonzero(real[1:] != real[:-1])
    share, x, tangent = _located(of, arc, node, lambda _, at: at[:, column])
    arc = arc.with_points(node + share, x, tangent, codes.BT)
    ends = np.flatnonzero(arc.type == codes.BT).tolist()
    found = []
    for a, b in zip([0, *ends], [*ends, len(arc.x) - 1], strict=True):
        inner = slice(a + 1 if a in ends else a, b if b in ends else b + 1)
        if b > a and len(arc.x[inner]) and (arc.x[inner, column] > 0.0).all():
            cuts = tuple(
                "bogdanov_takens" if end in ends else cut for end, cut in zip((a, b), arc.cuts, strict=True)
            )
            rows = slice(a, b + 1)
            one = Arc(arc.who, arc.x[rows], arc.tangent[rows], arc.type[rows], (cuts[0], cuts[1]))
            found.append(_with_bautin(of, one))
    return found


def _with_bautin(of: Critical, arc: Arc) -> Arc:
    """Return a curve of Hopf points with those at which the first Lyapunov coefficient is 0."""

    def test(_: Any, x: Array) -> Array:
        return hopf_tests(of, np.full(len(x), arc.who), x)[:, 1]

    values = np.where(arc.type == codes.BT, np.nan, test(None, arc.x))
    node = np.flatnonzero(values[1:] * values[:-1] < 0.0)
    share, x, tangent = _located(of, arc, node, test)
    zero = np.abs(test(None, x)) < _IS_ZERO * (np.abs(values[node]) + np.abs(values[node + 1]))
    return arc.with_points((node + share)[zero], x[zero], tangent[zero], codes.GH)


def _traced(of: Critical, arc: Arc) -> Traced:
    """Return a curve from its lower rate on."""
    arc = arc.turned() if arc.x[0, 0] > arc.x[-1, 0] else arc
    return Traced(arc.x[:, : of.count], arc.x[:, -2:], arc.type, arc.cuts)
