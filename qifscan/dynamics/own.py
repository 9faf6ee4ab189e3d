"""Observables of any function of the state, for a file of your own: its mean, its highest value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qifscan.dynamics.accumulators import SEGMENT, Accumulator, Instant, Window
from qifscan.dynamics.observables import Observable
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")

State = tuple[Any, ...]


def mean_of(term: Callable[[State], Any], unit: str, meaning: str) -> Observable:
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

    def init(at: Instant, constants: Mapping[str, Any], window: Window) -> Any:
        start, slope = _with_slope(term, at)
        return start, slope, jnp.zeros_like(start), slope, jnp.zeros_like(start)

    def open_segment(total: Any, state: Any) -> Any:
        opened = term(state)
        return opened, jnp.zeros_like(opened)

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        opened, deviations = segment
        return opened, deviations + (term(state) - opened)

    def close(total: Any, segment: Any, at: Instant, stop: Any, window: Window) -> Any:
        start, first, _, _, deviations = total
        opened, sums = (x.astype(jnp.float64) for x in segment)
        end, last = _with_slope(term, at)
        count = (stop - 1) % SEGMENT + 1
        return start, first, end - start, last, deviations + sums + count * (opened - start)

    def finalize(total: Any, window: Window) -> Any:
        start, first, moved, last, deviations = total
        return start + (deviations - 0.5 * moved - (last - first) * window.dt / 12.0) / window.steps

    accumulator = Accumulator(init, open_segment, update, close, ("float64",) * 5)
    return Observable("mean", unit, meaning, accumulator, finalize, scale=_own_size)


def highest_of(term: Callable[[State], Any], unit: str, meaning: str) -> Observable:
    """Return the observable that is the highest value of a function of the state at the steps of the window.

    Parameters and returns are those of `mean_of`. Between two steps the function may be higher, at a peak by
    an eighth of its second derivative times dt^2.

    Examples
    --------
    >>> import qifscan.observables as own
    >>> own.highest_of(lambda state: state[0] ** 2, "1/ms^2", "highest squared rate")
    highest (1/ms^2): highest squared rate
    """

    def init(at: Instant, constants: Mapping[str, Any], window: Window) -> Any:
        return term(at.state)

    def update(segment: Any, was: Any, state: Any, step: Any, window: Window) -> Any:
        return jnp.maximum(segment, term(state))

    accumulator = Accumulator(
        init,
        lambda total, state: total,
        update,
        lambda total, segment, at, stop, window: segment,
        ("scan",),
    )
    return Observable("highest", unit, meaning, accumulator, lambda total, window: total, scale=_own_size)


def _with_slope(term: Callable[[State], Any], at: Instant) -> tuple[Any, Any]:
    """Return a function of the state and its derivative in time, in float64."""
    state, slope = (tuple(y.astype(jnp.float64) for y in each) for each in (at.state, at.slope))
    value, change = jax.jvp(term, (state,), (slope,))
    return value, change


def _own_size(values: Any, unit: Any, window: float) -> Any:
    """Errors of a number in any unit are relative to the number itself."""
    return abs(values)
