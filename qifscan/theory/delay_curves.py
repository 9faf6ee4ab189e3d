"""Curves of Hopf points in the plane of eta and of the delay.

At every rate the delays of Hopf points are known in closed form, (phase + 2 pi k)/w at each of two
frequencies w; neither depends on eta. So each k gives two curves over the rate, which meet where the two
frequencies do: there the curve turns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.zeros import geometric_mean, halved
from qifscan.theory.codes import BT, GH
from qifscan.theory.crossings import SPIKES, UNITS, crossing_cells, turning
from qifscan.theory.delayed import at_states
from qifscan.theory.hopf_curves import CLOSED, CUT_AT_BT, CUT_BY_RANGE, CUT_BY_RATES, Line
from qifscan.theory.normal_forms import lyapunov_coefficient, states
from qifscan.theory.rate_curve import completed, default_range, paths, rate_unit

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Range
    from qifscan.dynamics.model import Model

_STEPS_AT_ENDS = 16
"""Steps at both ends of a half in which there are four times as many points, denser and denser towards the
end: where two halves meet both are square roots."""

_HALVINGS = 50
_MEETS = -1
"""What cuts off a half of a curve where it meets the other."""


@dataclass(frozen=True)
class _Half:
    """The Hopf points of one of the two frequencies at rates of one run, and the phase there, unwrapped."""

    model: Model
    one: Mapping[str, Array]
    which: int
    r: Array
    w: Array
    phase: Array

    @classmethod
    def at(cls, model: Model, one: Mapping[str, Array], which: int, r: Array) -> _Half:
        """Return it at ascending rates."""
        w, phase = _frequencies(model, one, which, r)
        return cls(model, one, which, r, w, np.unwrap(phase))

    def delays(self, k: int) -> Array:
        """Return the delays of the k-th turn."""
        return (self.phase + 2.0 * math.pi * k) / self.w

    def delay_at(self, k: Index, r: Array) -> Array:
        """Return them at rates between those that are known."""
        w, phase = _frequencies(self.model, self.one, self.which, r)
        turn = np.round((np.interp(r, self.r, self.phase) - phase) / (2.0 * math.pi))
        return (phase + 2.0 * math.pi * (turn + k)) / w

    def l1(self, r: Array, delay: Array) -> Array:
        """Return the first Lyapunov coefficient at Hopf points."""
        model = self.model
        given = completed(model, self.one, model.delay, r, delay)
        w, _ = _frequencies(model, self.one, self.which, r)
        return lyapunov_coefficient(model, states(model, r, given), given, w)

    def bautin(self, k: Index, low: Array, high: Array) -> Array:
        """Return the rates between two others each at which l1 changes its sign on the k-th turn."""
        positive = self.l1(low, self.delay_at(k, low)) > 0.0

        def same(r: Array) -> Any:
            return (self.l1(r, self.delay_at(k, r)) > 0.0) == positive

        return halved(same, low, high, _HALVINGS, geometric_mean)[0]


def _frequencies(model: Model, one: Mapping[str, Array], which: int, r: Array) -> tuple[Array, Array]:
    """Return w (1/ms) at rates, and the phase that w D is to agree with."""
    given = completed(model, one, model.delay, r, np.ones(len(r)))
    of = at_states(model, states(model, r, given), given)
    w, sine, cosine = of.phase(of.squares()[which])
    return w, np.mod(np.arctan2(sine, cosine), 2.0 * math.pi)


def curves(
    model: Model, one: Mapping[str, Array], rates: Range | None, within: Range | None, points: int
) -> list[Line]:
    """Return the Hopf curves of one slice, with their Bogdanov-Takens and generalised Hopf points.

    `within`: the range of the delay (ms), by default `default_range`. `rates`: that of the rate (1/ms), by
    default up to `SPIKES` in the longest delay, or to `UNITS` of the unit if that is more. `points`: how many
    while the rate grows tenfold.
    """
    low, high = within or default_range(model, model.delay)
    unit = float(rate_unit(model, one)[0])
    rates = rates or (1e-3 * unit, max(UNITS * unit, SPIKES / high))
    path = paths(model, model.graph)[0]
    longest = {**one, model.delay: np.array([high])}
    edges = [turning(path, {**one, model.delay: np.array([d])}, rates)[1] for d in (low, high) if d > 0.0]
    found = []
    for which, nodes in enumerate(crossing_cells(path, longest, rates)):
        padded = np.pad(nodes.valid[0], 1)
        starts, ends = (np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(~padded[1:] & padded[:-1]))
        for first, last in zip(nodes.rates[0, starts], nodes.rates[0, ends], strict=True):
            half = _Half.at(model, one, which, _samples(first, last, points, np.concatenate(edges)))
            found += list(_turns(half, (low, high), rates))
    return _together(found)


def _samples(low: float, high: float, points: int, edges: Array) -> Array:
    count = 1 + max(8, math.ceil(points * math.log10(high / low)))
    r = np.geomspace(low, high, count)
    steps = min(_STEPS_AT_ENDS, count // 2)
    shares = np.linspace(0.0, 1.0, 4 * steps + 1)[1:-1] ** 2
    more = [low * (r[steps] / low) ** shares, high * (r[-1 - steps] / high) ** shares]
    found: Array = np.unique(np.concatenate([r, *more, edges[(edges > low) & (edges < high)]]))
    return found


def _turns(half: _Half, within: Range, rates: Range) -> Iterator[Line]:
    """Return the curves of all turns of a half whose delays are in the range."""
    parts = list(_parts(half, within))
    if not parts:
        return
    number = np.repeat(np.arange(len(parts)), [end - start for _, start, end in parts])
    turn = np.array([k for k, _, _ in parts])[number]
    r = np.concatenate([half.r[start:end] for _, start, end in parts])
    delay = np.concatenate([half.delays(k)[start:end] for k, start, end in parts])
    positive = half.l1(r, delay) > 0.0
    at = np.flatnonzero((positive[1:] != positive[:-1]) & (number[1:] == number[:-1]))
    middle = half.bautin(turn[at], r[at], r[at + 1])
    r, delay, mark, number = (
        np.insert(values, at + 1, more)
        for values, more in (
            (r, middle),
            (delay, half.delay_at(turn[at], middle)),
            (np.zeros(len(r), dtype=np.intp), GH),
            (number, number[at]),
        )
    )
    for place, (_, start, end) in enumerate(parts):
        here = number == place
        cuts = _cut(half, start, rates), _cut(half, end - 1, rates)
        marks = mark[here]
        for index, cut in zip((0, -1), cuts, strict=True):
            marks[index] = BT if cut == CUT_AT_BT else marks[index]
        yield Line(r[here], delay[here], marks, cuts)


def _parts(half: _Half, within: Range) -> Iterator[tuple[int, int, int]]:
    """Return each turn k and the runs of rates, first and after the last, whose delays are in the range."""
    whole, near = 2.0 * math.pi, 1e-9 * within[1]
    first = math.floor(np.min((within[0] * half.w - half.phase) / whole))
    last = math.ceil(np.max((within[1] * half.w - half.phase) / whole))
    for k in range(first, last + 1):
        delay = half.delays(k)
        inside = np.pad((delay > max(0.0, within[0] - near)) & (delay < within[1] + near), 1)
        starts, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(~inside[1:] & inside[:-1])
        runs = zip(starts.tolist(), ends.tolist(), strict=True)
        yield from ((k, start, end) for start, end in runs if end - start > 1)


def _cut(half: _Half, index: int, rates: Range) -> int:
    """Return what ends a curve at one of its points."""
    r = half.r[index]
    if min(abs(r / rates[0] - 1.0), abs(r / rates[1] - 1.0)) < 1e-9:
        return CUT_BY_RATES
    if 0 < index < len(half.r) - 1:
        return CUT_BY_RANGE
    other, _ = _frequencies(half.model, half.one, 1 - half.which, np.array([r]))
    return _MEETS if abs(other[0] / half.w[index] - 1.0) < 1e-3 else CUT_AT_BT


def _together(halves: list[Line]) -> list[Line]:
    """Return the curves whole: two halves of one turn are joined where they meet."""
    left, found = list(halves), []
    while left:
        line = left.pop(0)
        for _ in range(2):
            while line.cuts[1] == _MEETS:
                other = next((one for one in left if _meet(line, one)), None)
                if other is None:
                    break
                left = [one for one in left if one is not other]
                line = _joined(line, other if _meets_first(line, other) else _turned(other))
            line = _turned(line)
        closed = line.cuts == (_MEETS, _MEETS)
        cuts = (CLOSED, CLOSED) if closed else line.cuts
        found.append(Line(line.r, line.value, line.mark, cuts))
    return found


def _turned(line: Line) -> Line:
    return Line(line.r[::-1], line.value[::-1], line.mark[::-1], (line.cuts[1], line.cuts[0]))


def _joined(a: Line, b: Line) -> Line:
    r, value = np.concatenate((a.r, b.r)), np.concatenate((a.value, b.value))
    return Line(r, value, np.concatenate((a.mark, b.mark)), (a.cuts[0], b.cuts[1]))


def _meets_first(a: Line, b: Line) -> bool:
    return b.cuts[0] == _MEETS and _near(a.r[-1], b.r[0], 1e-9) and _near(a.value[-1], b.value[0], 1e-3)


def _meet(a: Line, b: Line) -> bool:
    return _meets_first(a, b) or _meets_first(a, _turned(b))


def _near(x: float, y: float, share: float) -> bool:
    return bool(abs(x / y - 1.0) < share)
