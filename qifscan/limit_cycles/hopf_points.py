"""Hopf points of equilibria along a parameter, where branches of cycles begin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index, Range
from qifscan.dynamics.model import Model
from qifscan.periodic_orbits.delayed_multipliers import MULTIPLIERS
from qifscan.roots.zeros import part
from qifscan.theory import crossings, off_graph
from qifscan.theory.certain import zeros_along
from qifscan.theory.codes import HB
from qifscan.theory.conditions import HOPF
from qifscan.theory.normal_forms import (
    Linearised,
    eigenvalues,
    matrices,
    null_vectors,
    squared_frequency,
    states,
)
from qifscan.theory.on_branch import Request
from qifscan.theory.rate_curve import degree_in, paths
from qifscan.theory.special_points import special_on
from qifscan.theory.spectrum import spectrum_of


def has_hopf_points(model: Model, name: str) -> bool:
    """Tell whether Hopf points can be looked for along a parameter, of a graph over the rate."""
    return name in (model.graph, model.delay) or degree_in(model, name) in (1, 2)


def hopf_points(
    model: Model, along: str, flat: Mapping[str, Array], within: Range
) -> tuple[Index, Array, dict[str, Array], Array]:
    """Return slice, state, all parameters and angular frequency of every Hopf point in a parameter.

    On a graph over the rate at any value of it, else of those that are found within the range.
    """
    if model.delay:
        return _with_delay(model, along, flat, within)
    if model.rest is None:
        return off_graph.hopf_points(model, along, flat, within)
    path = paths(model, along)[0]
    found = zeros_along(path, HOPF, flat, None)
    given = {**part(flat, found.who), along: found.graph if along == model.graph else found.value}
    state = states(model, found.r, given)
    square = squared_frequency(model, state, given)
    is_one = np.flatnonzero((square > 0.0) & _is_marginal(model, state, given, square))
    order = is_one[np.lexsort((found.r[is_one], found.who[is_one]))]
    return found.who[order], state[order], part(given, order), np.sqrt(square[order])


def _with_delay(
    model: Model, along: str, flat: Mapping[str, Array], within: Range
) -> tuple[Index, Array, dict[str, Array], Array]:
    """Return the same of a model with a delay: of those that `special_points` finds."""
    asked = Request(model, (along,), {}, {**flat})
    known = within if all(map(math.isfinite, within)) else None
    points, _, _ = special_on(asked, None, known)
    points = points.inside(along, within).chosen(points.inside(along, within).type == HB)
    state = states(model, points.r, points.parameters)
    omega = np.sqrt(crossings.squared_frequency(model, state, points.parameters))
    return points.who, state, points.parameters, omega


def hopf_modes(model: Model, state: Array, given: dict[str, Array], omega: Array) -> tuple[Any, Array, Array]:
    """Return the direction in which cycles grow at Hopf points `(points, n)`, complex, and the real and
    imaginary parts of the eigenvalues there; with a delay of the rightmost ones."""
    if model.delay:
        q, _ = Linearised.of(model, state, given).critical(1j * omega)
        modes = spectrum_of(model).modes(model, state, given)
        missing = ((0, 0), (0, MULTIPLIERS - modes.real.shape[1]))
        real = np.pad(modes.real, missing, constant_values=-np.inf)
        return q, real, np.pad(modes.imag, missing)
    matrix = matrices(model, state, given)
    q, _ = null_vectors(matrix - 1j * omega[:, None, None] * np.eye(state.shape[1]))
    return q, *eigenvalues(matrix)


def _is_marginal(model: Model, state: Array, given: Mapping[str, Array], square: Array) -> Any:
    """Tell where two eigenvalues are on the axis: at rates of extreme size a determinant is but rounding."""
    real, imag = eigenvalues(matrices(model, state, given))
    omega = np.sqrt(square)[:, None]
    return (np.hypot(np.abs(imag) - omega, real) < 1e-6 * omega).sum(axis=1) > 1
