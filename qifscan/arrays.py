"""Types of arrays, as every module of theory names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import jax

Counts = np.ndarray[Any, np.dtype[np.int64]]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Index: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool]]
Values: TypeAlias = Mapping[str, Any]

Range: TypeAlias = tuple[float, float]
"""The lowest and the highest value of a parameter, or rate, that is looked at."""

Words: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

Column: TypeAlias = np.ndarray[Any, Any]
"""Values of points, `(points,)`, in whatever type they have."""

Indices: TypeAlias = tuple[Column, ...]
"""Indices of points along every dimension of a scan, `(points,)` each."""

Columns: TypeAlias = Mapping[str, Array]
"""Numbers of points by name, `(points,)` each, as parameters are."""


class Number(Protocol):
    """A number or an array of them, of NumPy or JAX, or a Taylor series: what equations are written in."""

    def __add__(self, other: Any, /) -> Self: ...
    def __radd__(self, other: Any, /) -> Self: ...
    def __sub__(self, other: Any, /) -> Self: ...
    def __rsub__(self, other: Any, /) -> Self: ...
    def __mul__(self, other: Any, /) -> Self: ...
    def __rmul__(self, other: Any, /) -> Self: ...
    def __truediv__(self, other: Any, /) -> Self: ...
    def __rtruediv__(self, other: Any, /) -> Self: ...
    def __pow__(self, other: Any, /) -> Self: ...
    def __neg__(self) -> Self: ...


Function: TypeAlias = Callable[[Array, Values, int], list[Any]]
"""f(rates, parameters, order): the Taylor coefficients in log r up to that order, arrays of the rates'
shape.
"""


# What the compiled program carries: arrays with the names of their dimensions, and their type where that is
# not the precision of the scan. The tests hold every carry against them.

Lanes = Annotated["jax.Array", "lanes"]
Exact = Annotated["jax.Array", "lanes", "float64"]
Flags = Annotated["jax.Array", "lanes", "int32"]
Rows = Annotated["jax.Array", "rows lanes"]
Segments = Annotated["jax.Array", "segments samples lanes"]
Powers = Annotated["jax.Array", "lengths bins lanes", "float64"]
