"""What is measured of a trajectory: numbers made of what accumulators have at the end of the window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics import rhythm
from qifscan.dynamics.accumulators import (
    Growth,
    Measuring,
    Moments,
    Periodograms,
    Residences,
    Stays,
    Window,
    accumulators,
    held_apart,
)
from qifscan.dynamics.domain import POSITIVE
from qifscan.dynamics.imported import imported
from qifscan.dynamics.model import Model, Parameter, Variable
from qifscan.errors import Fault, ScanError
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from qifscan.arrays import Array
else:
    jnp = LazyModule("jax.numpy")


SMALL = 0.1
"""Errors of a variable are relative to the value, or to this part of its largest one in the window; those of
an exponent to the value, or to this part of 1 over the time constant."""


def _relative(values: Array, unit: Array, window: float) -> Array:
    """Return what errors of most numbers are relative to: the number, or 1."""
    return np.maximum(np.abs(values), 1.0)


@dataclass(frozen=True, eq=False)
class Observable:
    """One number per point: `finalize(total, window)` of an accumulator.

    Parameters
    ----------
    name, unit, meaning
        Of its variable in the dataset.
    accumulator
        The name of one of the model's, or one of your own.
    finalize
        `finalize(total, window)` makes the numbers, `(points,)`, of the total at the end of the window.
    thresholds
        It needs the rates of up and down.
    tangents
        It needs what small differences of the state become.
    spectral
        It is read off a spectrum.
    scale
        `scale(values, unit, window)` is what a difference between two runs is relative to, `(points,)`, given
        the numbers, the time constants and the length of the window, both in ms.
    place
        Where one of your own is defined, "package.module:variable"; empty of the others.

    Examples
    --------
    >>> from qifscan.dynamics.observables import observables
    >>> from qifscan.models import MODELS
    >>> observables(MODELS["qif"])["r_mean"]
    r_mean (1/ms): population firing rate, mean over the window
    """

    name: str
    unit: str
    meaning: str
    accumulator: str | Measuring
    finalize: Callable[[Any, Window], jax.Array]
    thresholds: bool = False
    tangents: bool = False
    spectral: bool = False
    scale: Callable[[Array, Array, float], Array] = _relative
    place: str = ""

    def __repr__(self) -> str:
        return f"{self.name} ({self.unit}): {self.meaning}"


def _mean_deviation(total: Moments, power: int, window: Window) -> jax.Array:
    """Return the mean of a power of the deviation, by the formula of Euler and Maclaurin.

    The trapezoidal rule less dt^2/12 of what the derivative differs at the two ends: with the plain sum the
    mean of what still moves would be off by half a step, with the trapezoidal rule alone by a twelfth of
    the square of the angle that the state turns in a step.
    """
    first, end, last = total.first, total.moved, total.last
    added = total.sum if power == 1 else total.squares
    assert added is not None
    slopes = (last - first) if power == 1 else 2.0 * end * last
    # Held apart, so that the mean is rounded alike whatever else is made of the same numbers.
    total_, half, bend = held_apart((added, 0.5 * end**power, slopes * window.dt / 12.0))
    return held_apart((total_ - half - bend) / window.steps)


def _mean(total: Moments, window: Window) -> jax.Array:
    return total.start + _mean_deviation(total, 1, window)


def _std(total: Moments, window: Window) -> jax.Array:
    deviation = _mean_deviation(total, 1, window)
    return jnp.sqrt(jnp.maximum(_mean_deviation(total, 2, window) - deviation * deviation, 0.0))


def _exits(total: Stays, window: Window, up: bool) -> jax.Array:
    """Return the exits from a level: they alternate, and the first one is from the level at the start."""
    defined = _level_defined(total)
    return jnp.where(defined, _alternate(total.level, total.switches, up).astype(jnp.float64), jnp.nan)


def _alternate(level: jax.Array, switches: jax.Array, up: bool) -> jax.Array:
    first = level ^ (switches & 1)
    return (switches + (first if up else 1 - first)) // 2


def _completed_stays(total: Residences, up: bool) -> jax.Array:
    """Return the stays that began and ended in the window: every exit but the first."""
    level, switches = total.level, total.switches
    first = level ^ (switches & 1)
    began_here = (first if up else 1 - first) * (switches > 0)
    return _alternate(level, switches, up) - began_here


def _stays(levels: str, name: str, state: str) -> tuple[Observable, ...]:
    """Return what is measured of the stays at a level."""
    up = state == "up"

    def total_of(power: int) -> Callable[[Residences, Window], jax.Array]:
        place = power - 1 + (0 if up else 2)

        def finalize(total: Residences, window: Window) -> jax.Array:
            return jnp.where(_level_defined(total), total.sums[place] * window.dt**power, jnp.nan)

        return finalize

    def count(total: Residences, window: Window) -> jax.Array:
        stays = _completed_stays(total, up).astype(jnp.float64)
        return jnp.where(_level_defined(total), stays, jnp.nan)

    told = f"stays {state} that began and ended in the window"
    row = partial(Observable, thresholds=True)
    return (
        row(f"{state}_exits", "1", f"exits from {state} in the window", levels, partial(_exits, up=up)),
        row(f"{state}_residence_count", "1", told, name, count),
        row(f"{state}_residence_sum", "ms", f"time in {told}", name, total_of(1), scale=_of_window(1)),
        row(
            f"{state}_residence_squares",
            "ms^2",
            f"squared times of {told}",
            name,
            total_of(2),
            scale=_of_window(2),
        ),
    )


def _of_window(power: int) -> Callable[[Array, Array, float], Array]:
    def scale(values: Array, unit: Array, window: float) -> Array:
        return np.full(len(values), window**power)

    return scale


def _of_exponents(values: Array, unit: Array, window: float) -> Array:
    return np.maximum(np.abs(values), SMALL / unit)


def _of_frequency(values: Array, unit: Array, window: float) -> Array:
    return 10.0 * np.abs(values)


def _exponent(rank: int) -> Callable[[Growth, Window], jax.Array]:
    def finalize(total: Growth, window: Window) -> jax.Array:
        # The frame falls into place by itself, unless a direction of the start never turns.
        return jnp.sort(jnp.stack(total), axis=0)[-rank] / (window.steps * window.dt)

    return finalize


def _level_defined(total: Stays | Residences) -> jax.Array:
    down, up = total.thresholds
    return jnp.isfinite(down) & jnp.isfinite(up)


def _up_fraction(total: Stays, window: Window) -> jax.Array:
    # Two integers would be divided in float32.
    return jnp.where(_level_defined(total), total.steps_up.astype(jnp.float64) / window.steps, jnp.nan)


def _switch_count(total: Stays, window: Window) -> jax.Array:
    return jnp.where(_level_defined(total), total.switches.astype(jnp.float64), jnp.nan)


def _frequency(total: Periodograms, window: Window) -> jax.Array:
    lowest, highest = total.sampled.lowest, total.sampled.highest
    found = rhythm.frequency(total.sampled.whole, total.powers, window.steps, window.dt, window.sample_steps)
    # Float32 rounding moves the rate of a point at rest by 1e-5 of it at most (measured).
    return jnp.where(highest - lowest > 1e-4 * highest, found, jnp.nan)


def _of_variable(variable: Variable) -> tuple[Observable, ...]:
    name, unit, meaning = variable.name, variable.unit, variable.meaning
    return (
        Observable(f"{name}_mean", unit, f"{meaning}, mean over the window", f"{name} sum", _mean),
        Observable(
            f"{name}_std", unit, f"{meaning}, standard deviation over the window", f"{name} squares", _std
        ),
        Observable(
            f"{name}_min",
            unit,
            f"{meaning}, lowest in the window",
            f"{name} minimum",
            lambda total, w: -total.highest,
        ),
        Observable(
            f"{name}_max",
            unit,
            f"{meaning}, highest in the window",
            f"{name} maximum",
            lambda total, w: total.highest,
        ),
        Observable(
            f"{name}_final",
            unit,
            f"{meaning}, at the end of the window",
            f"{name} final",
            lambda total, w: total,
        ),
        Observable(
            f"{name}_frequency",
            "1/ms",
            f"{meaning}, frequency of the highest peak of its power spectrum in the window; NaN without a "
            "peak of three cycles or more in the window, or where the rate stays within 1e-4 of itself",
            f"{name} spectrum",
            _frequency,
            spectral=True,
            scale=_of_frequency,
        ),
    )


RESERVED = frozenset(
    {
        *(
            "status",
            "dt",
            "precision",
            "error_estimate",
            "redo_count",
            "equilibrium_count",
            "settled_on",
            "disagreement",
        ),
        *("negative_steps", "checkpoint", "byte", "trace", "trace_status", "time"),
        *("initial", "direction", "replicate", "theory"),
    }
)
"""Names in every dataset of a scan, or its store, beside those of observables, states and parameters: neither
an axis nor a part of a model can have them."""


@lru_cache(maxsize=64)
def observables(model: Model) -> Mapping[str, Observable]:
    """Return every observable of a model by name: the same rows whenever asked."""
    rows = [row for variable in model.variables for row in _of_variable(variable)]
    levels, residences = (f"{model.rates[0].name} {kind}" for kind in ("levels", "residences"))
    rows += [
        Observable(
            "up_fraction", "1", "fraction of the window spent up", levels, _up_fraction, thresholds=True
        ),
        Observable(
            "switch_count",
            "1",
            "switches between up and down in the window",
            levels,
            _switch_count,
            thresholds=True,
        ),
        *_stays(levels, residences, "up"),
        *_stays(levels, residences, "down"),
    ]
    # With a delay the state is a function, and has infinitely many.
    rows += [
        Observable(
            f"lyapunov_{rank}",
            "1/ms",
            f"Lyapunov exponent number {rank} of {len(model.variables)}, from the largest, over the window",
            "exponents",
            _exponent(rank),
            tangents=True,
            scale=_of_exponents,
        )
        for rank in range(1, len(model.variables) + 1)
        if not model.delay
    ]
    return MappingProxyType({row.name: row for row in rows})


def named(model: Model, names: Iterable[str]) -> tuple[Observable, ...]:
    """Return observables by the names that a scan gives them; raise `ScanError` if there is one of no row.

    A name with a colon, "package.module:variable", is an `Observable` that this process can import.
    """
    known = observables(model)
    return tuple(_own(name) if ":" in name else known[name] for name in names)


def variable_name(name: str) -> str:
    """Return what an observable is called in a dataset: one of your own by its variable alone."""
    return name.rpartition(":")[2]


def observable_source(name: str) -> str:
    """Return the sha256 of the file that defines a user's observable."""
    return imported("observables", name)[1]


def _own(name: str) -> Observable:
    """Return a user's observable, by the name that it has in datasets."""
    found, _ = imported("observables", name)
    if not isinstance(found, Observable):
        kind = "nothing" if found is None else f"of type {type(found).__name__}"
        raise ScanError([Fault("observables", f'"{name}", which is {kind}', "an Observable")])
    return _placed(found, name)


@lru_cache(maxsize=64)
def _placed(found: Observable, place: str) -> Observable:
    """Return a user's observable with its place: the same row whenever asked."""
    return replace(found, name=variable_name(place), place=place)


def needed_accumulators(model: Model, rows: Iterable[Observable]) -> dict[str, Measuring]:
    """Return the accumulators that these observables need, by name."""
    table = accumulators(model)
    needed: dict[str, Measuring] = {}
    for row in rows:
        given = row.accumulator
        needed[_key(row)] = table[given] if isinstance(given, str) else given
    held = {accumulator.holds for accumulator in needed.values()}
    return {key: accumulator for key, accumulator in needed.items() if key not in held}


def _key(row: Observable) -> str:
    return row.accumulator if isinstance(row.accumulator, str) else f"own {row.name}"


def total_of(row: Observable, totals: Mapping[str, object], needed: Mapping[str, Measuring]) -> object:
    """Return the total that an observable is made of: of its accumulator, or of one that holds it."""
    key = _key(row)
    return totals[key if key in totals else next(k for k, a in needed.items() if a.holds == key)]


THRESHOLDS = (
    Parameter("down_threshold", None, "1/ms", "rate at which an up population counts as down", POSITIVE),
    Parameter("up_threshold", None, "1/ms", "rate at which a down population counts as up", POSITIVE),
)
"""They are about the first population. By default the rates of the point's first and last fold: at any eta
the lowest branch lies below the one and the highest branch above the other. Without a fold the levels are not
defined, and the observables are NaN."""


def usual_observables(model: Model) -> list[str]:
    """Return what is measured where no observables are named: mean, std, min and max of the rates."""
    return [f"{rate.name}_{kind}" for rate in model.rates for kind in ("mean", "std", "min", "max")]
