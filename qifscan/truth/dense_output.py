"""The polynomial within a step: its value, its coefficients, where it crosses a value."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import DOP853

Array = np.ndarray[Any, Any]


# --- the solver -------------------------------------------------------------------------------------------

STAGES = DOP853.n_stages
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
NODES, WEIGHTS = np.append(0.5 * (NODES + 1.0), 1.0), np.append(0.5 * WEIGHTS, 0.0)


def _basis(x: Array) -> Array:
    """Return the weights of the seven terms of the dense output at places x of a step, `(places, 7)`."""
    columns, product = [], np.ones_like(x)
    for i in range(7):
        product = product * (x if i % 2 == 0 else 1.0 - x)
        columns.append(product)
    return np.stack(columns, axis=-1)


AT_NODES = _basis(NODES)
_CHEBYSHEV = 0.5 - 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) / 8)
TO_POWERS = np.linalg.solve(np.vander(_CHEBYSHEV, 8, increasing=True), _basis(_CHEBYSHEV))
"""Turns the terms of the dense output into coefficients of the powers of x."""


def horner(powers: Array, x: Any) -> Any:
    """Return a polynomial at x, from its coefficients."""
    total = powers[-1] + 0.0 * x
    for c in powers[-2::-1]:
        total = total * x + c
    return total


def bisected(powers: Array, low: float, high: float, value: float, rising: bool) -> float:
    """Return where in a step a polynomial crosses a value, by bisection."""
    for _ in range(45):
        middle = 0.5 * (low + high)
        beyond = (float(horner(powers, middle)) >= value) == rising
        low, high = (low, middle) if beyond else (middle, high)
    return high
