"""Hopf points of equilibria along a parameter, where branches of cycles begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qifscan.arrays import Array, Index, Range
from qifscan.dynamics.model import Model
from qifscan.theory import off_graph
from qifscan.theory.certain import zeros_along
from qifscan.theory.conditions import HOPF
from qifscan.theory.normal_forms import eigenvalues, matrices, squared_frequency, states
from qifscan.theory.rate_curve import paths
from qifscan.theory.zeros import part


def hopf_points(
    model: Model, along: str, flat: Mapping[str, Array], within: Range
) -> tuple[Index, Array, dict[str, Array], Array]:
    """Return slice, state, all parameters and angular frequency of every Hopf point in a parameter.

    On a graph over the rate at any value of it, else of those that are found within the range.
    """
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


def _is_marginal(model: Model, state: Array, given: Mapping[str, Array], square: Array) -> Any:
    """Tell where two eigenvalues are on the axis: at rates of extreme size a determinant is but rounding."""
    real, imag = eigenvalues(matrices(model, state, given))
    omega = np.sqrt(square)[:, None]
    return (np.hypot(np.abs(imag) - omega, real) < 1e-6 * omega).sum(axis=1) > 1
