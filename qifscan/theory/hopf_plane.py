"""The plane of the rate and of a second parameter, in which Hopf points and neutral saddles lie on curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.arrays import Array, Values
from qifscan.dynamics.domain import POSITIVE
from qifscan.dynamics.model import Model
from qifscan.roots.taylor import PARAMETER, RATE, Taylor, characteristic, coefficient
from qifscan.roots.zeros import Nodes, walled, zeros
from qifscan.theory.normal_forms import lyapunov_coefficient, matrices, squared_frequency, states
from qifscan.theory.rate_curve import (
    UNSURE,
    at_once,
    coefficients,
    completed,
    hurwitz,
    jacobian,
    paths,
    series,
)

CELLS = 96
"""Cells of the second parameter's range."""

HEIGHT = 4.0
"""Height of the second parameter's range on the chart, whose other axis is log r."""

_STEPS = 60
_NEWTON_STEPS = 12
_ROUNDED = 1e-11
"""Relative step of Newton's method that can be rounding."""

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class RatePlane:
    """The plane of the rate and of the second parameter at one set of the others, `(1,)` each."""

    model: Model
    name: str
    one: Mapping[str, Array]
    low: float
    high: float
    logarithmic: bool

    def value(self, t: Any) -> Any:
        """Return the parameter from what is scanned in its place: t in [1, 2], or in [low, high] itself."""
        return t if self.logarithmic else (t - 1.0) * (self.high - self.low) + self.low

    def inverse(self, value: Array) -> Array:
        """Return t."""
        return value if self.logarithmic else 1.0 + (value - self.low) / (self.high - self.low)

    def determinant(self, t: Array, columns: Values, order: int) -> list[Any]:
        """Return the Hurwitz determinant at rates `columns["r"]` as a series in log t."""
        given = {**self.one, self.model.graph: 0.0, self.name: self.value(series(t, order))}
        state = self.model.at_rest(columns["r"] + 0.0 * t, given)
        return coefficients(hurwitz(characteristic(jacobian(self.model, state, given))), order, t)

    def of_state(self, index: int) -> Callable[[Array, Values, int], list[Any]]:
        """Return a state variable at rest as such a function."""

        def function(t: Array, columns: Values, order: int) -> list[Any]:
            given = {**self.one, self.model.graph: 0.0, self.name: self.value(series(t, order))}
            return coefficients(self.model.at_rest(columns["r"] + 0.0 * t, given)[index], order, t)

        return function

    def omega_squared(self, r: Array, value: Array) -> Array:
        """Return omega^2 at Hopf points and neutral saddles."""
        given = completed(self.model, self.one, self.name, r, value)
        return squared_frequency(self.model, states(self.model, r, given), given)

    def l1(self, r: Array, value: Array) -> Array:
        """Return the first Lyapunov coefficient at Hopf points."""
        given = completed(self.model, self.one, self.name, r, value)
        omega = np.sqrt(self.omega_squared(r, value))
        return lyapunov_coefficient(self.model, states(self.model, r, given), given, omega)

    def is_sure(self, r: Array, value: Array) -> Any:
        """Tell the zeros of the determinant that its rounding moves by less than `UNSURE`."""
        _, by_r, by_value = self.gradient(r, value)
        given = {key: values[0] + 0.0 * r for key, values in self.one.items()} | {self.name: value}
        error = paths(self.model, self.model.graph)[0].hopf_error(r, given)
        return error < UNSURE * np.hypot(by_r, by_value * self.scale(value))

    def scale(self, value: Array) -> Array:
        """Return the unit of changes of the second parameter: its own size, or its range."""
        return value if self.logarithmic else np.full(len(value), self.high - self.low)

    def gradient(self, r: Array, value: Array) -> tuple[Array, Array, Array]:
        """Return the Hurwitz determinant, and its derivatives in log r and in the second parameter."""
        moved = Taylor(PARAMETER, (value, np.ones(len(value))))
        given = at_once(self.model, {**self.one, self.model.graph: 0.0, self.name: moved})
        state = self.model.at_rest(series(r, 1), given)
        found = hurwitz(characteristic(jacobian(self.model, state, given)))
        parts = ((0, 0), (1, 0), (0, 1))
        return tuple(coefficient(coefficient(found, j, PARAMETER), k, RATE) + 0.0 * r for k, j in parts)

    def corrected(
        self, r: Array, value: Array, *, relative: bool = False, steps: int = _NEWTON_STEPS
    ) -> tuple[Array, Array]:
        """Return the points of the curve H = 0 next to guesses, by Newton's method along its gradient.

        With `relative` the parameter is measured by its own size, which settles the last digits of small
        ones.
        """
        last = np.inf
        for _ in range(steps):
            size, by_r, by_value = self.gradient(r, value)
            unit = np.abs(value) if relative else self.scale(value)
            step = size / (by_r**2 + (by_value * unit) ** 2)
            in_r, in_value = (np.clip(np.nan_to_num(step * x), -0.1, 0.1) for x in (by_r, by_value * unit))
            r, value = r * np.exp(-in_r), value - in_value * unit
            largest = max(np.abs(in_r).max(initial=0.0), np.abs(in_value).max(initial=0.0))
            # Steps of rounding size do not get smaller.
            if largest < 4.0 * _EPS or (largest < _ROUNDED and largest > 0.25 * last):
                break
            last = largest
        return r, value

    def height(self, value: Array) -> Array:
        """Return the coordinate of the second parameter on the chart: its range is `HEIGHT` high."""
        if self.logarithmic:
            return HEIGHT * np.log(value / self.low) / math.log(self.high / self.low)
        return HEIGHT * (value - self.low) / (self.high - self.low)

    def at_height(self, y: Array) -> Array:
        """Return the second parameter there."""
        if self.logarithmic:
            return self.low * np.exp(y / HEIGHT * math.log(self.high / self.low))
        return self.low + y / HEIGHT * (self.high - self.low)

    def in_chart(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Return the Hurwitz determinant and its derivatives in the coordinates of the chart."""
        value = self.at_height(y)
        found, by_r, by_value = self.gradient(np.exp(x), value)
        by_height = value * math.log(self.high / self.low) if self.logarithmic else self.high - self.low
        return found, by_r, by_value * by_height / HEIGHT

    def is_valid(self, x: Array, y: Array) -> Any:
        """Tell the points of the chart at which the parameter and every variable are in their domains."""
        r, value = np.exp(x), self.at_height(y)
        row = next(p for p in self.model.parameters if p.name == self.name)
        found = np.asarray(row.domain.holds(value)) & np.isfinite(r)
        given: dict[str, Any] = {**self.one, self.model.graph: 0.0, self.name: value}
        state = self.model.at_rest(r, given)
        for variable, size in zip(self.model.variables, state, strict=True):
            found = found & np.isfinite(size) & np.asarray(variable.domain.holds(size))
        return found

    def on_columns(self, rates: Array) -> tuple[Array, Array]:
        """Return points of the curve H = 0 at given rates, as a grid of the second parameter shows them."""
        low = self.low if self.logarithmic else 1.0
        high = self.high if self.logarithmic else 2.0
        grid = (np.geomspace if self.logarithmic else np.linspace)(low, high, CELLS + 1)
        columns = {"r": rates}
        nodes = Nodes(np.tile(grid, (len(rates), 1)), np.ones((len(rates), CELLS), dtype=bool))
        for index, variable in enumerate(self.model.variables[1:], 1):
            if variable.domain is POSITIVE:
                nodes = walled(nodes, self.of_state(index), columns, positive=True)
        column, t = zeros(self.determinant, columns, nodes)
        r, value = rates[column], np.asarray(self.value(t))
        sure = self.is_sure(r, value)
        return r[sure], value[sure]

    def bautin(self, r: Array, value: Array) -> Array:
        """Return a function that is 0 where l1 is, and finite where that is infinite.

        Those are Bogdanov-Takens points, where omega is 0, and points at which the determinant is 0 besides.
        """
        given = completed(self.model, self.one, self.name, r, value)
        state = states(self.model, r, given)
        omega = np.sqrt(self.omega_squared(r, value))
        matrix = matrices(self.model, state, given) / omega[:, None, None]
        whole = np.linalg.det(matrix)
        found: Array = self.l1(r, value) * omega * whole / (1.0 + np.abs(whole))
        return found

    def crossing(self, test: Callable[[Array, Array], Array], ends: Sequence[Array]) -> tuple[Array, Array]:
        """Return where on the curve, between two of its points each (r, q, r, q), a test changes its sign.

        By the method of false position, with the weight of an end that stays halved (Illinois), and
        at times the middle.
        """
        low, high = (ends[0], ends[1]), (ends[2], ends[3])
        # No root finder takes a curve: each trial is put back on it before the test.
        if not len(low[0]):
            return low
        low_test, high_test = test(*low), test(*high)
        found = low
        for k in range(_STEPS):
            share = np.where(k % 4 == 3, 0.5, low_test / (low_test - high_test))
            found = self.corrected(*(a + share * (b - a) for a, b in zip(low, high, strict=True)), steps=4)
            here = test(*found)
            same = (here > 0.0) == (low_test > 0.0)
            low_test, high_test = np.where(same, here, 0.5 * low_test), np.where(same, 0.5 * high_test, here)
            low = np.where(same, found[0], low[0]), np.where(same, found[1], low[1])
            high = np.where(same, high[0], found[0]), np.where(same, high[1], found[1])
            if np.all(np.abs(high[0] - low[0]) <= 64.0 * _EPS * low[0]) or np.all(here == 0.0):
                break
        return found
