"""Observables of any function of the state, for a file of your own: its mean, its highest value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from qifscan.dynamics.accumulators import SEGMENT, Accumulator, Instant, Window
from qifscan.dynamics.observables import Observable
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.arrays import Array
    from qifscan.dynamics.accumulators import Constants, State

    Total = tuple[jax.Array, ...]
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")


def mean_of(term: Callable[[State], jax.Array], unit: str, meaning: str) -> Observable:
    """Return the observable that is the mean of a function of the state over the window.

    Parameters
    ----------
    term
        `term(state)`, with operators and functions of `jax.numpy`; `state` holds one array for each variable
        of the model, in its order: `(r, v)` of the plain model.
    unit, meaning
        What the number is in, as "1/ms" ("1" if nothing), and in words; both go into the dataset.

    Returns
    -------
    Observable
        Assign it to a variable of a file of your own, and ask for it as `"file:variable"`. The integral is
        that of the trapezoidal rule with the end correction of Euler and Maclaurin, of fourth order in dt.

    Examples
    --------
    >>> import qifscan.observables as own
    >>> own.mean_of(lambda state: state[0] * state[1], "1/ms", "rate times mean potential")
    mean (1/ms): rate times mean potential
    """

    def init(at: Instant, constants: Constants, window: Window) -> Total:
        start, slope = _with_slope(term, at)
        return start, slope, jnp.zeros_like(start), slope, jnp.zeros_like(start)

    def open_segment(total: Total, state: State) -> Total:
        opened = term(state)
        return opened, jnp.zeros_like(opened)

    def update(segment: Total, was: State, state: State, step: jax.Array, window: Window) -> Total:
        opened, deviations = segment
        return opened, deviations + (term(state) - opened)

    def close(total: Total, segment: Total, at: Instant, stop: jax.Array, window: Window) -> Total:
        start, first, _, _, deviations = total
        opened, sums = (x.astype(jnp.float64) for x in segment)
        end, last = _with_slope(term, at)
        count = (stop - 1) % SEGMENT + 1
        return start, first, end - start, last, deviations + sums + count * (opened - start)

    def finalize(total: Total, window: Window) -> jax.Array:
        start, first, moved, last, deviations = total
        return start + (deviations - 0.5 * moved - (last - first) * window.dt / 12.0) / window.steps

    accumulator = Accumulator(init, open_segment, update, close, ("float64",) * 5)
    return Observable("mean", unit, meaning, accumulator, finalize, scale=_own_size)


def highest_of(term: Callable[[State], jax.Array], unit: str, meaning: str) -> Observable:
    """Return the observable that is the highest value of a function of the state at the steps of the window.

    Parameters and returns are those of `mean_of`. Between two steps the function may be higher, at a peak by
    an eighth of its second derivative times dt^2.

    Examples
    --------
    >>> import qifscan.observables as own
    >>> own.highest_of(lambda state: state[0] ** 2, "1/ms^2", "highest squared rate")
    highest (1/ms^2): highest squared rate
    """

    def init(at: Instant, constants: Constants, window: Window) -> jax.Array:
        return term(at.state)

    def update(segment: jax.Array, was: State, state: State, step: jax.Array, window: Window) -> jax.Array:
        return jnp.maximum(segment, term(state))

    accumulator = Accumulator(
        init,
        lambda total, state: total,
        update,
        lambda total, segment, at, stop, window: segment,
        ("scan",),
    )
    return Observable("highest", unit, meaning, accumulator, lambda total, window: total, scale=_own_size)


def _with_slope(term: Callable[[State], jax.Array], at: Instant) -> tuple[jax.Array, jax.Array]:
    """Return a function of the state and its derivative in time, in float64."""
    state, slope = (tuple(y.astype(jnp.float64) for y in each) for each in (at.state, at.slope))
    value, change = jax.jvp(term, (state,), (slope,))
    return value, change


def _own_size(values: Array, unit: Array, window: float) -> Array:
    """Errors of a number in any unit are relative to the number itself."""
    return np.abs(values)
