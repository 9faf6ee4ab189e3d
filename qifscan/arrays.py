"""Types of arrays, as every module of theory names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Counts = np.ndarray[Any, np.dtype[np.int64]]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Index: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool]]
Values: TypeAlias = Mapping[str, Any]

Column: TypeAlias = np.ndarray[Any, Any]
"""Values of points, `(points,)`, in whatever type they have."""

Columns: TypeAlias = Mapping[str, Array]
"""Numbers of points by name, `(points,)` each, as parameters are."""


Function: TypeAlias = Callable[[Array, Values, int], list[Any]]
"""f(rates, parameters, order): the Taylor coefficients in log r up to that order, arrays of the rates'
shape.
"""
