"""Where eigenvalues cross the imaginary axis in models with a delay: Hopf points, along a path and in D.

At a Hopf point w D agrees with a phase, where w is the larger or the smaller frequency at which both sides of
the equation for the eigenvalues are of one size (see `delayed`). At a given equilibrium that gives the delays
in closed form; along a path it is the zero of the sine of what they differ by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.errors import Fault, ScanError
from qifscan.roots.taylor import sine_and_cosine
from qifscan.roots.zeros import Nodes, part, walled, zeros
from qifscan.theory.certain import nodes_of
from qifscan.theory.delayed import Terms, at_states, terms
from qifscan.theory.rate_curve import Path, coefficients, hurwitz, rate_unit

if TYPE_CHECKING:
    from qifscan.arrays import Array, Function, Index, Range, Values
    from qifscan.dynamics.model import Model

SPIKES, UNITS = 10.0, 10.0
"""Hopf points are looked for up to the rate of so many spikes within the delay, or of so many units
sqrt(delta)/(pi tau) if that is more: beyond, they come again and again without end."""

_TURN = 0.5
"""Largest change of the phase w D within a cell of the grid, rad: a phase that agrees is not stepped over."""

_PASSES = 4
"""Times that the cells are divided: each sees what the one before it could not."""

_MOST_CELLS = 1 << 24
"""Cells of the grid of all slices; a range with more is refused."""


def _on(path: Path, r: Array, parameters: Values, order: int) -> Terms:
    return terms(path.model, *path.equilibrium(r, parameters, order))


def _square(path: Path, which: int) -> Function:
    return lambda r, p, k: coefficients(_on(path, r, p, k).squares()[which], k, r)


def _discriminant(path: Path) -> Function:
    def function(r: Array, parameters: Values, order: int) -> list[Any]:
        of = _on(path, r, parameters, order)
        return coefficients(of.b * of.b - 4.0 * (of.a * of.a * of.c), order, r)

    return function


def _phases(path: Path, which: int, r: Array, parameters: Values, order: int) -> tuple[Any, Any]:
    """Return the sine and the cosine of what w D differs by from the phase at which i w is a root."""
    of = _on(path, r, parameters, order)
    w, sine, cosine = of.phase(of.squares()[which])
    s, c = sine_and_cosine(w * of.delay)
    return s * cosine - c * sine, c * cosine + s * sine


def _apart(path: Path, which: int) -> Function:
    return lambda r, p, k: coefficients(_phases(path, which, r, p, k)[0], k, r)


def _without_delay(path: Path) -> Function:
    """Return the Hurwitz determinant where the delay is 0, elsewhere nothing."""

    def function(r: Array, parameters: Values, order: int) -> list[Any]:
        found = coefficients(hurwitz(path.polynomial_at(r, parameters, order)), order, r)
        return [np.where(parameters[path.model.delay] == 0.0, term, np.nan) for term in found]

    return function


def _double_zero(path: Path) -> Function:
    """Return the derivative of the equation at l = 0: on folds it is 0 at Bogdanov-Takens points."""

    def function(r: Array, parameters: Values, order: int) -> list[Any]:
        of = _on(path, r, parameters, order)
        return coefficients(of.b * of.delay - 2.0 * of.a, order, r)

    return function


def turning(path: Path, parameters: Mapping[str, Array], rates: Range | None) -> tuple[Index, Array]:
    """Return the slice and the rate of the Hopf points along a path; of BT points on the path of folds."""
    nodes = nodes_of(path, parameters, rates)
    if path.folded:
        return zeros(_double_zero(path), parameters, nodes)
    found = [zeros(_without_delay(path), parameters, nodes)]
    for which, valid in enumerate(crossing_cells(path, parameters, rates)):
        valid = _finer(path, parameters, valid, which, rates)
        who, r = zeros(_apart(path, which), parameters, valid)
        agree = coefficients(_phases(path, which, r, part(parameters, who), 0)[1], 0, r)[0] > 0.0
        found.append((who[agree], r[agree]))
    who, r = (np.concatenate(several) for several in zip(*found, strict=True))
    order = np.lexsort((r, who))
    return who[order], r[order]


def crossing_cells(path: Path, parameters: Mapping[str, Array], rates: Range | None) -> list[Nodes]:
    """Return the rates at which there is the larger w, and those with the smaller one."""
    nodes = walled(nodes_of(path, parameters, rates), _discriminant(path), parameters, positive=True)
    return [walled(nodes, _square(path, which), parameters, positive=True) for which in (0, 1)]


def _finer(
    path: Path, parameters: Mapping[str, Array], nodes: Nodes, which: int, rates: Range | None
) -> Nodes:
    """Return the grid with its cells divided until the phases change little within each."""
    if rates is None:
        unit, delay = rate_unit(path.model, parameters), parameters[path.model.delay]
        limit = np.maximum(UNITS * unit, SPIKES / np.where(delay > 0.0, delay, np.inf))
        nodes = Nodes(nodes.rates, nodes.valid & (nodes.rates[:, :-1] < limit[:, None]))
    for _ in range(_PASSES):
        parts = np.maximum(1.0, np.ceil(_changes(path, parameters, nodes, which) / _TURN))
        most = parts.sum(axis=1).max(initial=0.0)
        if most * len(nodes.rates) > _MOST_CELLS:
            found = f"rates and delays with {most:.3g} Hopf points or so in a slice"
            hint = "give lower `rates`, or fewer slices at once"
            raise ScanError([Fault("rates", found, "fewer", hint)])
        if not np.any(parts > 1.0):
            break
        nodes = _divided(nodes, parts.astype(np.intp))
    return nodes


def _changes(path: Path, parameters: Mapping[str, Array], nodes: Nodes, which: int) -> Array:
    """Return by how much w D, or the phase it is to agree with, changes in each cell, rad."""
    of = _on(path, nodes.rates, {name: values[:, None] for name, values in parameters.items()}, 0)
    w, sine, cosine = of.phase(of.squares()[which])
    turned, ahead = (
        np.diff(coefficients(x, 0, nodes.rates)[0], axis=1)
        for x in (w * of.delay, np.arctan2(*(coefficients(x, 0, nodes.rates)[0] for x in (sine, cosine))))
    )
    change = np.maximum(np.abs(turned), np.abs(np.mod(ahead + math.pi, 2.0 * math.pi) - math.pi))
    found: Array = np.nan_to_num(np.where(nodes.valid, change, 0.0))
    return found


def _divided(nodes: Nodes, parts: Index) -> Nodes:
    """Return the grid with each cell of each slice in so many parts, alike on the logarithm."""
    slices, cells = parts.shape
    total = parts.sum(axis=1)
    row = np.repeat(np.arange(slices), total)
    place = np.arange(len(row)) - np.repeat(np.cumsum(total) - total, total)
    cell = np.repeat(np.tile(np.arange(cells), slices), parts.ravel())
    share = (place - (np.cumsum(parts, axis=1) - parts)[row, cell]) / parts[row, cell]
    low, high = nodes.rates[row, cell], nodes.rates[row, cell + 1]
    # What a slice has less than others is NaN, at its end, and not valid.
    rates = np.full((slices, int(total.max(initial=0)) + 1), np.nan)
    valid = np.zeros((slices, rates.shape[1] - 1), dtype=bool)
    rates[row, place] = np.where(share == 0.0, low, low * (high / low) ** share)
    rates[np.arange(slices), total] = nodes.rates[:, -1]
    valid[row, place] = nodes.valid[row, cell]
    return Nodes(rates, valid)


def squared_frequency(model: Model, state: Array, parameters: Values) -> Array:
    """Return w^2 at Hopf points, `(points,)`: that of the two w at which the phases agree better."""
    of = at_states(model, state, parameters)
    with np.errstate(all="ignore"):
        squares = np.stack(of.squares())
        apart = []
        for square in squares:
            w, sine, cosine = of.phase(square)
            apart.append(np.abs(np.exp(1j * w * of.delay) - (cosine + 1j * sine)))
        nearer = np.argmin(np.nan_to_num(apart, nan=np.inf), axis=0)
        delayed = np.take_along_axis(squares, nearer[None], axis=0)[0]
        found: Array = np.where(of.delay > 0.0, delayed, of.c + of.a * of.a)
    return found


def delays(model: Model, state: Array, parameters: Values, most: float) -> tuple[Index, Array]:
    """Return which states at rest have a Hopf point at which delay (ms), up to `most`, in closed form.

    `parameters` hold a delay above 0, whatever it is.
    """
    of = at_states(model, state, parameters)
    found = []
    with np.errstate(all="ignore"):
        for square in of.squares():
            w, sine, cosine = of.phase(square)
            first = np.mod(np.arctan2(sine, cosine), 2.0 * math.pi) / w
            again = np.floor((most - first) * w / (2.0 * math.pi)) + 1.0
            who = np.repeat(
                np.arange(len(w)), np.where((w > 0.0) & (first <= most), again, 0.0).astype(np.intp)
            )
            turn = np.arange(len(who)) - np.searchsorted(who, who)
            found.append((who, first[who] + 2.0 * math.pi * turn / w[who]))
    who, delay = (np.concatenate(several) for several in zip(*found, strict=True))
    order = np.lexsort((delay, who))
    return who[order], delay[order]
