"""Equilibria of models that are no graph over the rate, in order along their curves, with what happens there.

Curves are followed from the equilibria that Newton's method finds at some values of the parameter. Along them
what changes its sign is looked for: the parameter's part of the tangent, at folds; the product of all sums of
two eigenvalues, at Hopf points and neutral saddles; and a determinant where curves cross, at branch points,
which only models with a symmetry have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError, show
from qifscan.theory import codes, newton
from qifscan.theory.arclength import DIFFERENCE, SAME, Arc, Continuation, filled, follow
from qifscan.theory.newton import eliminated
from qifscan.theory.normal_forms import matrices, squared_frequency
from qifscan.theory.on_branch import OnBranch, column_names
from qifscan.theory.rate_curve import default_range

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Mask, Range
    from qifscan.dynamics.model import Model

METHOD = (
    "curves followed from the equilibria that Newton's method found at some values of the parameter: a curve "
    "that none of them is on is missed, and two points of one kind within a step"
)

LEAST = 1e-6
"""Size of a variable beside the largest one below which it counts as 0."""

_VALUES = 7
"""Values of the parameter within its range at which equilibria are looked for; and at its two ends, through
which every curve goes that does not turn or close within."""

_ASIDE = 0.4142135623730951
"""Where a value is between its neighbours: not in the middle of the range, which can be special."""

_WIDE = 10.0
"""Ratio of the ends of a range from which on its values are even in their logarithm."""

PER_DECADE = 100
"""Points of a curve while a variable grows tenfold, where only special points are asked for."""

_FOLD, _HOPF, _CROSSING = 0, 1, 2
"""Columns of the tests: of the parameter's part of the tangent, and of curves that cross."""

_SETTLED = 1e-10
"""Relative step to a branch point after which one more would change nothing."""

_BESIDE = 0.02
"""Length from a branch point at which the curve that crosses there is begun."""

_WAVES = 40
"""How often curves are followed from starts that are on none yet, in each slice one at a time."""

_LOOKS, _NEARLY = 2, 0.25
"""How often curves are looked at for changes of sign and back within a step, and to which share of its size a
test must fall there."""

_CROSSING_STEPS, _ABOUT = 8, 1e-2
"""Steps to a branch point, and how far it may be from where a sign showed it."""

_NEAR = 1e-4
"""Length up to which a turn is that of a branch point: beside one the followed equations are singular."""

_TRIES = 40
_CLOSE, _ROUGH = 1e-13, 1e-3
"""Shares of a cell up to which the zero of a test is known; of branch points, which are located again."""

_BLOCK = 64
"""Slices that are followed at once."""


@dataclass(frozen=True, eq=False)
class AlongArcs:
    """Points of all slices, curve after curve, with their states `(points, n)`, the number of the curve of
    each, and the curves.
    """

    points: OnBranch
    state: Array
    number: Index
    arcs: list[Arc]


def along_arcs(
    model: Model, along: str, slices: Mapping[str, Array], within: Range | None, per_decade: int
) -> AlongArcs:
    """Return the equilibria of slices along the curves that were found, and the special points on them.

    `slices`: the other parameters, `(slices,)` each. `per_decade`: points while a variable grows tenfold.
    """
    within = within or default_range(model, along)
    count = len(next(iter(slices.values())))
    arcs: list[Arc] = []
    with np.errstate(all="ignore"):
        for first in range(0, count, _BLOCK):
            who = np.arange(first, min(first + _BLOCK, count))
            arcs += _arcs(model, along, within, slices, who, math.log(10.0) / per_decade)
    arcs = [arc.turned() if arc.x[0, 0] > arc.x[-1, 0] else arc for arc in arcs]
    arcs.sort(key=lambda arc: (arc.who, arc.x[0, 0]))
    size = len(model.variables) + 1
    x = np.concatenate([np.empty((0, size)), *(arc.x for arc in arcs)])
    number = np.repeat(np.arange(len(arcs)), [len(arc.x) for arc in arcs])
    who = np.array([arc.who for arc in arcs], dtype=np.intp)[number]
    types = np.concatenate([np.empty(0, dtype=np.intp), *(arc.type for arc in arcs)])
    parameters = {
        name: x[:, -1] if name == along else slices[name][who] + 0.0 * x[:, -1]
        for name in column_names(model)
    }
    return AlongArcs(OnBranch(model, who, x[:, 0], parameters, types), x[:, :-1], number, arcs)


def range_of(model: Model, along: str, within: Range | None, where: str = "within") -> Range:
    """Return the range of a parameter in which curves are followed; raise `ScanError` if it can't be one."""
    if within is None:
        return default_range(model, along)
    domain = next(p.domain for p in model.parameters if p.name == along)
    if not all(map(domain.holds, within)):
        raise ScanError([Fault(where, show(within), f"ends that are {domain.words}, as {along} is")])
    if not all(map(math.isfinite, within)):
        raise ScanError([Fault(where, show(within), f"finite ends, of {model.name}, which has no `rest`")])
    return within


def hopf_points(
    model: Model, along: str, slices: Mapping[str, Array], within: Range
) -> tuple[Index, Array, dict[str, Array], Array]:
    """Return slice, state, all parameters and angular frequency of the Hopf points on the curves that are
    found in slices.
    """
    found = along_arcs(model, along, slices, within, PER_DECADE)
    which = np.flatnonzero(found.points.type == codes.HB)
    which = which[np.lexsort((found.points.r[which], found.points.who[which]))]
    here, state = found.points.chosen(which), found.state[which]
    return here.who, state, here.parameters, np.sqrt(squared_frequency(model, state, here.parameters))


def first_ones(of: AlongArcs, which: Index) -> Mask:
    """Tell some points from those that are branch points of another curve, and there before them."""
    here, x = of.points.chosen(which), of.state[which]
    size = np.abs(x) + LEAST * np.abs(x).max(axis=1, initial=0.0)[:, None]
    k = np.flatnonzero(here.type == codes.BP)
    apart = (np.abs(x[k, None] - x[k]) / size[k]).max(axis=2, initial=0.0)
    same = (here.who[k, None] == here.who[k]) & (apart < SAME)
    found = np.ones(len(which), dtype=bool)
    found[k] = ~np.tril(same, -1).any(axis=1)
    return found


def _arcs(
    model: Model, along: str, within: Range, slices: Mapping[str, Array], chosen: Index, longest: float
) -> list[Arc]:
    """Return the curves of some slices: of each slice one at a time, until every start is on one of them."""
    who, starts = _starts(model, along, within, slices, chosen)
    size = np.zeros((len(next(iter(slices.values()))), len(model.variables)))
    np.maximum.at(size, who, np.abs(starts[:, :-1]))
    size = np.maximum(size, LEAST * size.max(axis=1, keepdims=True))
    of = Continuation(model, along, within, slices, np.where(size > 0.0, size, 1.0))
    left, owned = np.ones(len(who), dtype=bool), np.zeros(len(who), dtype=bool)
    found: list[Arc] = []
    for _ in range(_WAVES):
        if not left.any():
            break
        rest = np.flatnonzero(left)
        first = rest[np.unique(who[rest], return_index=True)[1]]
        several = filled(of, follow(of, who[first], starts[first]), longest)
        several = _with_special(of, several)
        left[first] = False
        new = []
        for arc, start, mine in zip(several, first, _on(of, several, who, starts), strict=True):
            # One that comes to the start of another one is that one again.
            mine = mine[mine != start]
            if not owned[mine].any():
                new.append(arc)
            owned[mine], owned[start] = True, True
            left[mine] = False
        found += new
        more, beside = _beside_crossings(of, new)
        who, starts = np.append(who, more), np.concatenate([starts, beside])
        left, owned = (np.append(old, np.zeros(len(more), dtype=bool)) for old in (left, owned))
        left[len(left) - len(more) :] = True
        for mine in _on(of, found, who, starts):
            owned[mine], left[mine] = True, False
    return found


def _beside_crossings(of: Continuation, arcs: list[Arc]) -> tuple[Index, Array]:
    """Return the slice and the point of starts on the curves that cross these, at their branch points.

    There two directions go along curves; the other one is about that which is at right angles to the first.
    """
    at = [(arc, k) for arc in arcs for k in np.flatnonzero(arc.type == codes.BP)]
    if not at:
        return np.empty(0, dtype=np.intp), np.empty((0, of.size.shape[1] + 1))
    who = np.array([arc.who for arc, _ in at])
    x, tangent = (np.stack(rows) for rows in zip(*((a.x[k], a.tangent[k]) for a, k in at), strict=True))
    w = of.weights(who, x)
    slope = of.at(who, x)[1] / w[:, None, :]
    along = (w * tangent)[:, None, :]
    across = np.linalg.svd(
        np.concatenate([slope / np.linalg.norm(slope, axis=2, keepdims=True), along], axis=1)
    )
    border = np.tile(across[2][:, -1] * w, (2, 1))
    who, sign = np.tile(who, 2), np.repeat([1.0, -1.0], len(at))
    start = np.tile(x, (2, 1)) + sign[:, None] * _BESIDE * border / np.tile(w, (2, 1)) ** 2
    found, there = of.corrected(who, start, border, (border * start).sum(axis=1))
    there &= of.inside(found) & (found[:, -1] >= of.within[0]) & (found[:, -1] <= of.within[1])
    return who[there], found[there]


def levels(within: Range) -> Array:
    """Return the values of a parameter at which is looked for starts, the ends of its range among them."""
    low, high = within
    place = (np.arange(_VALUES) + _ASIDE) / _VALUES
    wide = low > 0.0 and high / low > _WIDE
    values = low * (high / low) ** place if wide else low + (high - low) * place
    return np.array([low, *values, high])


def _starts(
    model: Model, along: str, within: Range, slices: Mapping[str, Array], chosen: Index
) -> tuple[Index, Array]:
    """Return the slice and the point of every equilibrium that was found, slice by slice."""
    values = levels(within)
    who = np.repeat(chosen, len(values))
    given = {name: array[who] for name, array in slices.items()} | {along: np.tile(values, len(chosen))}
    # Those within come first: a curve through them is then followed once.
    order = np.argsort(np.isin(given[along], within), kind="stable")
    who, given = who[order], {name: array[order] for name, array in given.items()}
    state = newton.equilibria(model, given).states
    row, column = np.nonzero(np.isfinite(state[..., 0]))
    return who[row], np.concatenate([state[row, column], given[along][row, None]], axis=1)


def _on(of: Continuation, arcs: list[Arc], who: Index, starts: Array) -> list[Index]:
    """Return the starts that are on each curve."""
    which, guesses = [np.empty(0, dtype=np.intp)], [np.empty((0, starts.shape[1]))]
    for k, arc in enumerate(arcs):
        p = arc.x[:, -1]
        for value in np.unique(starts[who == arc.who, -1]):
            cell = np.flatnonzero((p[:-1] - value) * (p[1:] - value) <= 0.0)
            apart = p[cell + 1] - p[cell]
            share = np.where(apart == 0.0, 0.0, (value - p[cell]) / np.where(apart == 0.0, 1.0, apart))
            guess = arc.x[cell] + share[:, None] * (arc.x[cell + 1] - arc.x[cell])
            guess[:, -1] = value
            guesses.append(guess)
            which.append(np.full(len(cell), k))
    of_arc, guess = np.concatenate(which), np.concatenate(guesses)
    own = np.array([arc.who for arc in arcs], dtype=np.intp)
    border = np.zeros_like(guess)
    border[:, -1] = 1.0
    x, there = of.corrected(own[of_arc], guess, border, guess[:, -1])
    a, b = np.nonzero(there[:, None] & (own[of_arc][:, None] == who) & (guess[:, -1:] == starts[:, -1]))
    same = of.matched(who[b], starts[b], x[a])
    return [np.unique(b[same & (of_arc[a] == k)]) for k in range(len(arcs))]


# Special points


def _with_special(of: Continuation, arcs: list[Arc]) -> list[Arc]:
    """Return the curves with folds, Hopf points, neutral saddles and branch points in their places."""
    for _ in range(_LOOKS):
        arcs = _looked_at(of, arcs)
    number, who, x, (sign, size) = _tested(of, arcs)
    changes = (sign[1:] * sign[:-1] < 0.0) & (number[1:] == number[:-1])[:, None]
    node, kind = np.nonzero(changes)
    share, at, towards = _located(of, who[node], kind, x[node], x[node + 1], size[node, kind])
    cross = np.flatnonzero(kind == _CROSSING)
    at[cross] = _crossing(of, who[node[cross]], at[cross])
    place = node - np.searchsorted(number, number[node]) + share
    real = _real(of, who[node], number[node], kind, at)
    squared = squared_frequency(of.model, at[:, :-1], of.given(who[node], at))
    of_type = np.select(
        [kind == _FOLD, kind == _CROSSING, squared > 0.0], [codes.LP, codes.BP, codes.HB], codes.NSA
    )
    found = []
    for k, arc in enumerate(arcs):
        here = (number[node] == k) & real
        found.append(arc.with_points(place[here], at[here], towards[here], of_type[here]))
    return found


def _tested(of: Continuation, arcs: list[Arc]) -> tuple[Index, Index, Array, tuple[Array, Array]]:
    """Return of the points of curves, one after the other, the curve, the slice, the place and the tests."""
    x, tangent = (np.concatenate(parts) for parts in zip(*((a.x, a.tangent) for a in arcs), strict=True))
    number = np.repeat(np.arange(len(arcs)), [len(arc.x) for arc in arcs])
    who = np.array([arc.who for arc in arcs])[number]
    w = of.weights(who, x)
    return number, who, x, _tests(of, who, x, w * w * tangent)[0]


def _looked_at(of: Continuation, arcs: list[Arc]) -> list[Arc]:
    """Return the curves with points where a test comes so near to 0 that it may change its sign twice.

    A parabola through three neighbours, the middle one nearest to 0, tells where, and how near it comes.
    """
    number, who, x, (sign, size) = _tested(of, arcs)
    w = of.weights(who, x)
    length = np.linalg.norm(w[1:] * np.diff(x, axis=0), axis=1)
    least = (size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]) & (number[2:] == number[:-2])[:, None]
    least &= (sign[1:-1] * sign[:-2] > 0.0) & (sign[1:-1] * sign[2:] > 0.0)
    node, kind = np.nonzero(least)
    before, after, node = length[node], length[node + 1], node + 1
    down = np.expm1(size[node - 1, kind] - size[node, kind]) / before
    up = np.expm1(size[node + 1, kind] - size[node, kind]) / after
    bend = (down + up) / (before + after)
    slope = (up * before - down * after) / (before + after)
    at = -0.5 * slope / bend
    near = (bend > 0.0) & (bend * at * at > 1.0 - _NEARLY) & (np.abs(at) > 1e-6 * (before + after))
    node, at = node[near], at[near]
    other = node + np.where(at > 0.0, 1, -1)
    share = at / np.where(at > 0.0, after[near], before[near])
    border = w[node] ** 2 * (x[other] - x[node])
    start = x[node] + np.abs(share)[:, None] * (x[other] - x[node])
    found, there = of.corrected(who[node], start, border, (border * start).sum(axis=1))
    tangent = of.tangents(who[node], found, border * np.sign(at)[:, None])[0]
    place = node - np.searchsorted(number, number[node]) + share
    return [
        arc.with_points(place[here], found[here], tangent[here], codes.POINT)
        for k, arc in enumerate(arcs)
        for here in (there & (number[node] == k),)
    ]


def _real(of: Continuation, who: Index, number: Index, kind: Index, x: Array) -> Mask:
    """Tell which points are not those of folds that are branch points: there too a curve can turn."""
    change = (x[:, None] - x) * of.weights(who, x)[:, None]
    near = (number[:, None] == number) & (np.linalg.norm(change, axis=2) < _NEAR)
    return np.asarray((kind != _FOLD) | ~(near & (kind == _CROSSING)).any(axis=1))


def _tests(of: Continuation, who: Index, x: Array, towards: Array) -> tuple[tuple[Array, Array], Array]:
    """Return what is 0 at folds, at Hopf points, and at branch points: signs and logarithms of sizes,
    `(points, 3)`; and the tangents.
    """
    tangent, sense = of.tangents(who, x, towards)
    sign, size = (np.empty((len(x), 3)) for _ in range(2))
    for k, test in ((_FOLD, tangent[:, -1]), (_CROSSING, sense)):
        sign[:, k], size[:, k] = np.sign(test), np.log(np.abs(test))
    sign[:, _HOPF], size[:, _HOPF] = _pairs(of, who, x)
    return (sign, size), tangent


def _pairs(of: Continuation, who: Index, x: Array) -> tuple[Array, Array]:
    """Return the product of the sums of every two eigenvalues: its sign, and the logarithm of its size."""
    a = matrices(of.model, x[:, :-1], of.given(who, x))
    fine = np.isfinite(a).all(axis=(1, 2))
    sign, size = (np.full(len(x), np.nan) for _ in range(2))
    roots = np.linalg.eigvals(a[fine]).astype(complex)
    i, j = np.triu_indices(a.shape[-1], 1)
    # What is picked by a list lies column by column in memory, and is then summed in another order where
    # there is one point alone.
    sums = np.take(roots, i, axis=1) + np.take(roots, j, axis=1)
    sign[fine] = np.sign(np.prod(np.sign(sums), axis=1).real)
    size[fine] = np.log(np.abs(sums)).sum(axis=1)
    return sign, size


def _located(
    of: Continuation, who: Index, kind: Index, a: Array, b: Array, unit: Array
) -> tuple[Array, Array, Array]:
    """Return where between neighbours a test is 0, as a share of the way, the point, and its tangent.

    `unit`: the logarithms of the tests' sizes at the first ones.

    By the secant in its bracket, with an end halved that stays (the Illinois rule), and every third time by
    the middle.
    """
    w = of.weights(who, 0.5 * (a + b))
    border = w * w * (b - a)

    def at(share: Array, rows: Any) -> tuple[Array, Array, Array]:
        start = a[rows] + share[:, None] * (b[rows] - a[rows])
        level = (border[rows] * start).sum(axis=1)
        x, _ = of.corrected(who[rows], start, border[rows], level)
        tests, tangent = _tests(of, who[rows], x, border[rows])
        sign, size = (np.take_along_axis(test, kind[rows, None], axis=1)[:, 0] for test in tests)
        return sign * np.exp(size - unit[rows]), x, tangent

    close = np.where(kind == _CROSSING, _ROUGH, _CLOSE)
    before, after = (at(np.full(len(a), end), slice(None))[0] for end in (0.0, 1.0))
    share = root(at, before, after, close)
    _, x, tangent = at(share, slice(None))
    return share, x, tangent


def _crossing(of: Continuation, who: Index, near: Array) -> Array:
    """Return the branch points near points, at which the equations that are followed are singular.

    There F + b c = 0, c . dF = 0 and c . c = 1, with dF by the state and by the parameter, and b = 0: of
    x, b, c a regular system (R. Seydel, 1979). Where Newton's method does not arrive, the points as they are.
    """
    x = near.copy()
    count, size = near.shape
    w = of.weights(who, near)
    value, slope = of.at(who, x)
    b, c = np.zeros((count, 1)), np.linalg.svd(slope / w[:, None, :])[0][:, :, -1]
    moved = np.full(count, np.inf)
    for _ in range(_CROSSING_STEPS):
        matrix = np.zeros((count, 2 * size, 2 * size))
        matrix[:, : size - 1, :size] = slope
        matrix[:, : size - 1, size] = c
        matrix[:, : size - 1, size + 1 :] = b[:, :, None] * np.eye(size - 1)
        matrix[:, size - 1 : -1, :size] = _bent(of, who, x, w, c)
        matrix[:, size - 1 : -1, size + 1 :] = slope.transpose(0, 2, 1)
        matrix[:, -1, size + 1 :] = 2.0 * c
        turned = (c[:, :, None] * slope).sum(axis=1)
        length = (c * c).sum(axis=1, keepdims=True) - 1.0
        step = eliminated(matrix, -np.concatenate([value + b * c, turned, length], axis=1))
        # One that has arrived stays, however long the others take.
        step = np.where((moved < _SETTLED)[:, None], 0.0, step)
        x, b, c = x + step[:, :size], b + step[:, size : size + 1], c + step[:, size + 1 :]
        moved = np.where(moved < _SETTLED, moved, np.abs(step[:, :size] * w).max(axis=1))
        value, slope = of.at(who, x)
        if (moved < _SETTLED).all():
            break
    there = (moved < SAME) & (np.abs((x - near) * w).max(axis=1) < _ABOUT)
    return np.where(there[:, None], x, near)


def _bent(of: Continuation, who: Index, x: Array, w: Array, c: Array) -> Array:
    """Return the derivatives of c . dF, by differences: `(points, n + 1, n + 1)`."""
    found = np.empty((len(x), x.shape[1], x.shape[1]))
    for k, along in enumerate(np.eye(x.shape[1])):
        change = DIFFERENCE * along / w
        up, down = ((c[:, :, None] * of.at(who, x + sign * change)[1]).sum(axis=1) for sign in (1.0, -1.0))
        found[:, :, k] = (up - down) / (2.0 * change[:, k, None])
    return found


def root(at: Any, before: Array, after: Array, close: Array) -> Array:
    """Return the zeros in (0, 1) of functions with these values at its ends, of other signs, to `close`."""
    low, high = np.zeros(len(before)), np.ones(len(before))
    f, g, found = before.copy(), after.copy(), np.full(len(before), 0.5)
    going = np.arange(len(before))
    for k in range(_TRIES):
        if not len(going):
            break
        a, b, fa, fb = low[going], high[going], f[going], g[going]
        s = 0.5 * (a + b) if k % 3 == 2 else (a * fb - b * fa) / (fb - fa)
        s = np.where((s > a) & (s < b), s, 0.5 * (a + b))
        value = at(s, going)[0]
        left = value * fa > 0.0
        moved = np.abs(s - found[going])
        found[going] = s
        low[going], high[going] = np.where(left, s, a), np.where(left, b, s)
        f[going] = np.where(left, value, 0.5 * fa)
        g[going] = np.where(left, 0.5 * fb, value)
        least = np.minimum(moved, high[going] - low[going])
        going = going[(value != 0.0) & (least > close[going])]
    return found
