"""Initial states by name: which of the equilibria of a point each of them is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qifscan.arrays import Array


def _lowest(rates: Array) -> Array:
    return rates[..., 0]


def _highest(rates: Array) -> Array:
    highest: Array = np.fmax.reduce(rates, axis=-1)
    return highest


NAMED_STATES: dict[str, Callable[[Array], Array]] = {"rest": _lowest, "down": _lowest, "up": _highest}
"""Initial states by name: which of the ascending rates of the equilibria, `(..., 3)`, it is.

"rest" is the stable equilibrium of lowest rate, "down" that of lowest and "up" that of highest rate. In the
plain model the equilibrium of lowest rate is always stable, so "rest" and "down" are the same state.
"""
