"""Every zero of functions along the rate: on cells of a grid, cut where two of them could hide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Index

_EPS = float(np.finfo(np.float64).eps)


EDGE = 1e-12
"""Relative distance that is kept from where a state ceases to be valid: there eta can be infinite."""

_BLOCK = 1 << 15
_MOST_STEPS = 200


# Zeros of functions of log r


@dataclass(frozen=True)
class Nodes:
    """A grid of rates for every slice, ascending, `(slices, nodes)`; `valid[:, i]`: the cell from node i
    is. `range`: the rates that were asked for; `certified`: of which slices the walls are proven.
    """

    rates: Array
    valid: np.ndarray[Any, np.dtype[np.bool]]
    range: tuple[float, float] | None = None
    certified: Any = True


def blocks(slices: int, width: int) -> Iterator[slice]:
    """Return parts of the slices whose work arrays stay in the cache."""
    step = max(1, _BLOCK // width)
    return (slice(start, start + step) for start in range(0, slices, step))


def part(parameters: Mapping[str, Array], chosen: Any) -> dict[str, Array]:
    """Return the parameters, `(slices,)` each, of some slices."""
    return {name: values[chosen] for name, values in parameters.items()}


def walled(
    nodes: Nodes,
    wall: Function,
    parameters: Mapping[str, Array],
    *,
    positive: bool,
    at: tuple[Index, Array] | None = None,
) -> Nodes:
    """Return the grid with cells that end where a function is 0; with `positive` only those where it is
    above. `at`: slices and rates of these zeros, where they are known.
    """
    who, at_ = zeros(wall, parameters, nodes) if at is None else at
    rates = np.concatenate((nodes.rates, _ragged(who, at_, len(nodes.rates))), axis=1)
    if rates.shape[1] > nodes.rates.shape[1]:
        kept = _validity_at(nodes, rates)
        order = np.argsort(rates, axis=1)  # NaN comes last
        rates = np.take_along_axis(rates, order, axis=1)
        valid = np.take_along_axis(kept, order, axis=1)[:, :-1]
        gap = rates[:, 1:] / rates[:, :-1] - 1.0
        valid &= (gap > 3.0 * EDGE) | ~(gap > 0.5 * EDGE)
        valid &= np.isfinite(rates[:, 1:])
        nodes = Nodes(rates, valid, nodes.range)
    if not positive:
        return nodes
    # In the middle of cells: at a wall the function is but rounding.
    middle = np.sqrt(nodes.rates[:, 1:] * nodes.rates[:, :-1])
    inside = np.concatenate(
        [wall(middle[block], _columns(parameters, block), 0)[0] > 0.0 for block in blocks(*middle.shape)]
    )
    return Nodes(nodes.rates, nodes.valid & inside, nodes.range)


def _validity_at(nodes: Nodes, rates: Array) -> np.ndarray[Any, np.dtype[np.bool]]:
    """Tell of rates, the first of which are the nodes, whether the cell that begins there is valid."""
    found = np.zeros(rates.shape, dtype=bool)
    size = nodes.rates.shape[1]
    found[:, : size - 1] = nodes.valid
    for row, column in np.argwhere(np.isfinite(rates[:, size:])):
        at = np.searchsorted(nodes.rates[row], rates[row, size + column], side="right") - 1
        found[row, size + column] = nodes.valid[row, min(max(at, 0), size - 2)]
    return found


def _ragged(who: Index, at: Array, slices: int) -> Array:
    """Return both sides of the walls of every slice, NaN where there are fewer."""
    counts = np.bincount(who, minlength=slices)
    found = np.full((slices, 2 * int(counts.max(initial=0))), np.nan)
    rank = ranks(who)
    found[who, 2 * rank], found[who, 2 * rank + 1] = at * (1.0 - EDGE), at * (1.0 + EDGE)
    return found


_HALVINGS = 12
"""Times that a cell is halved at most: to a 25,000th of its rate."""

_BENT = 0.1
"""By how much a function may be off its course in the middle of a cell: of its logarithm, or of its size."""


def resolved(
    function: Function, error: Callable[..., Array], parameters: Mapping[str, Array], nodes: Nodes
) -> Nodes:
    """Return the grid with its cells halved until the function takes a plain course within each, so that no
    two of its zeros hide in one: beside walls it may change over a hundredth of the rate.

    `error(r, parameters)`: that of rounding; a cell where it rules is left as it is.
    """
    who, cell = np.nonzero(nodes.valid)
    low, high = nodes.rates[who, cell], nodes.rates[who, cell + 1]
    found = [(who[:0], low[:0])]
    for _ in range(_HALVINGS):
        middle, here = geometric_mean(low, high), part(parameters, who)
        rough = ~_is_plain(function, error, here, low, middle, high)
        who, low, middle, high = who[rough], low[rough], middle[rough], high[rough]
        if not len(who):
            break
        found.append((who, middle))
        who, low, high = (np.concatenate(x) for x in ((who, who), (low, middle), (middle, high)))
    return _with(nodes, *(np.concatenate(several) for several in zip(*found, strict=True)))


def _is_plain(
    function: Function,
    error: Callable[..., Array],
    here: Mapping[str, Array],
    low: Array,
    middle: Array,
    high: Array,
) -> Any:
    """Tell the cells in whose middle a function and its slope are as values and slopes at both ends say.

    Of one sign, its logarithm; where it crosses 0, itself. Cells where it is unknown count as such. Two zeros
    a quarter of a cell from an end leave the value in the middle as it would be without them, not the slope.
    """
    (a, da), (m, dm), (b, db) = (function(x, here, 1)[:2] for x in (low, middle, high))
    known = np.isfinite(a + da + m + dm + b + db)
    for x, value in ((low, a), (middle, m), (high, b)):
        known &= np.abs(value) > error(x, here)
    lever = np.log(high / low) / 8.0
    with np.errstate(all="ignore"):
        first, last = np.log(np.abs(a)), np.log(np.abs(b))
        expected = 0.5 * (first + last) + lever * (da / a - db / b)
        turned = lever * (dm / m + 0.25 * (da / a + db / b)) - 0.1875 * (last - first)
        apart = ((m > 0.0) == (a > 0.0)) & (np.abs(np.log(np.abs(m)) - expected) < _BENT)
        apart &= np.abs(turned) < _BENT
        most = _BENT * np.maximum(np.abs(a), np.abs(b))
        through = np.abs(m - mean(a, b) - lever * (da - db)) < most
        through &= np.abs(lever * (dm + 0.25 * (da + db)) - 0.1875 * (b - a)) < most
        through &= ((da > 0.0) == (b > 0.0)) & ((db > 0.0) == (b > 0.0))
    return ~known | np.where((a > 0.0) == (b > 0.0), apart, through)


def _with(nodes: Nodes, who: Index, at: Array) -> Nodes:
    """Return the grid with nodes added inside valid cells."""
    order = np.lexsort((at, who))
    who, at = who[order], at[order]
    rank = ranks(who)
    more = np.full((len(nodes.rates), int(rank.max(initial=-1)) + 1), np.nan)
    more[who, rank] = at
    rates = np.concatenate((nodes.rates, more), axis=1)
    valid = np.concatenate((nodes.valid, np.zeros((len(rates), 1), dtype=bool), np.isfinite(more)), axis=1)
    order = np.argsort(rates, axis=1)  # NaN comes last
    rates, valid = (np.take_along_axis(x, order, axis=1) for x in (rates, valid))
    return replace(nodes, rates=rates, valid=valid[:, :-1])


def ranks(who: Index) -> Index:
    """Return the position of each element among those of its slice; the slices ascend."""
    first = np.searchsorted(who, who)
    return np.arange(len(who)) - first


def _columns(parameters: Mapping[str, Array], chosen: slice) -> dict[str, Array]:
    return {name: values[chosen, None] for name, values in parameters.items()}


def zeros(function: Function, parameters: Mapping[str, Array], nodes: Nodes) -> tuple[Index, Array]:
    """Return the slice and the rate of every zero of a function on the valid cells, ascending in both."""
    found = []
    for block in blocks(*nodes.rates.shape):
        values = function(nodes.rates[block], _columns(parameters, block), 0)[0]
        who, cell = np.nonzero(_suspicious(values, nodes.valid[block]))
        who += block.start
        found.append(_Cells(who, nodes.rates[who, cell], nodes.rates[who, cell + 1]))
    cells = _Cells(
        np.concatenate([part.who for part in found]),
        np.concatenate([part.low for part in found]),
        np.concatenate([part.high for part in found]),
    )
    who, at = _zeros_in(function, parameters, cells, 0)
    order = np.lexsort((at, who))
    return who[order], at[order]


@dataclass(frozen=True)
class _Cells:
    who: Index
    low: Array
    high: Array

    def chosen(self, which: Any) -> _Cells:
        return _Cells(self.who[which], self.low[which], self.high[which])


def _suspicious(values: Array, valid: np.ndarray[Any, np.dtype[np.bool]]) -> Any:
    """Tell the cells with a change of sign, and those towards which the size falls from both sides."""
    above, size = values > 0.0, np.abs(values)
    outside = np.full((len(size), 1), np.inf)
    # Invalid values, and those beyond the end, count as large.
    before = np.concatenate((outside, np.where(valid, size[:, :-1], np.inf)[:, :-1]), axis=1)
    after = np.concatenate((np.where(valid, size[:, 1:], np.inf)[:, 1:], outside), axis=1)
    near = (size[:, :-1] <= before) & (size[:, 1:] <= after)
    finite = np.isfinite(size[:, :-1]) & np.isfinite(size[:, 1:])
    return valid & finite & ((above[:, 1:] != above[:, :-1]) | near)


_DEPTH = 2
"""Derivatives whose zeros cut a cell before the function's own are looked for in it."""


def _zeros_in(
    function: Function, parameters: Mapping[str, Array], cells: _Cells, level: int
) -> tuple[Index, Array]:
    """Return the zeros of a derivative in cells: the function's own at level 0."""
    if level < _DEPTH and len(cells.who):
        cells = _cut_at(cells, *_zeros_in(function, parameters, cells, level + 1))
    if not len(cells.who):
        return cells.who, cells.low
    here = part(parameters, cells.who)
    low = function(cells.low, here, level)[level] > 0.0
    high = function(cells.high, here, level)[level] > 0.0
    cells, rising = cells.chosen(low != high), high[low != high]
    return cells.who, solve(function, part(parameters, cells.who), cells.low, cells.high, rising, level)


def _cut_at(cells: _Cells, who: Index, at: Array) -> _Cells:
    """Return the cells cut at rates inside them."""
    starts = np.concatenate((cells.low, at))
    whose = np.concatenate((cells.who, who))
    order = np.lexsort((starts, whose))
    starts, whose = starts[order], whose[order]
    ends = np.concatenate((starts[1:], [np.inf]))
    # The cell that a start lies in is the last one that begins at or before it.
    cell_order = np.lexsort((cells.low, cells.who))
    is_cell = (order < len(cells.low)).astype(np.intp)
    owner = cell_order[np.cumsum(is_cell) - 1]
    return _Cells(
        whose,
        starts,
        np.minimum(np.where(np.append(whose[1:], -1) == whose, ends, np.inf), cells.high[owner]),
    )


def mean(a: Array, b: Array) -> Array:
    """Return the middle of two numbers."""
    return 0.5 * (a + b)


def geometric_mean(a: Array, b: Array) -> Array:
    """Return the middle of two positive numbers, in their logarithm."""
    found: Array = np.sqrt(a * b)
    return found


def halved(
    below: Callable[[Array], Any],
    low: Array,
    high: Array,
    times: int,
    middle: Callable[[Array, Array], Array] = mean,
) -> tuple[Array, Array]:
    """Return intervals, halved so often, at whose ends a test still has other answers: true at `low`.

    For tests that only say on which side a place is; where there is a number to be 0, see `solve`.
    """
    for _ in range(times):
        between = middle(low, high)
        right = below(between)
        low, high = np.where(right, between, low), np.where(right, high, between)
    return low, high


def solve(
    function: Function,
    parameters: Mapping[str, Array],
    low: Array,
    high: Array,
    rising: Any,
    level: int = 0,
) -> Array:
    """Return the zero of a derivative between two rates each, by Newton's method in log r, kept in its
    bracket.

    A step that leaves the bracket, or does not halve the one before, is replaced by the middle of the
    bracket: so each element ends. `rising` tells the sign of the function at `high`.
    """
    # SciPy's `elementwise.find_root` asks for no slope, which is known here: with it in this place a map of
    # equilibria takes a tenth longer.
    found = np.sqrt(low) * np.sqrt(high)
    going = np.arange(len(low))
    x, last = found.copy(), np.log(high / low)
    for _ in range(_MOST_STEPS):
        if not len(going):
            break
        terms = function(x, parameters, level + 1)
        value, slope = terms[level], (level + 1) * terms[level + 1]
        up = (value > 0.0) != rising
        low, high = np.where(up, x, low), np.where(up, high, x)
        step = -value / slope
        new = x * np.exp(step)
        good = (new > low) & (new < high) & (np.abs(step) < 0.5 * last)
        middle = np.sqrt(low) * np.sqrt(high)
        new = np.where(good, new, middle)
        # A Newton step of rounding size is the last one, though it leaves a bracket that ends at the zero.
        tiny = np.abs(step) <= 4.0 * _EPS
        new = np.where(tiny | (value == 0.0), x, new)
        found[going] = new
        last = np.abs(np.log(new / x))
        further = ~tiny & (value != 0.0) & (high - low > 2.0 * _EPS * high)
        going, x, last, low, high = (a[further] for a in (going, new, last, low, high))
        rising = rising[further]
        parameters = part(parameters, further)
    return found
