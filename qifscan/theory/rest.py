"""The states at which points rest under constant input, as arrays: every equilibrium, and what names mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.zeros import part
from qifscan.theory import delayed, newton, plain
from qifscan.theory.certain import nodes_of
from qifscan.theory.normal_forms import eigenvalues, matrices
from qifscan.theory.rate_curve import paths
from qifscan.theory.resting import pieces, resting

if TYPE_CHECKING:
    from qifscan.dynamics.model import Model

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool]]

ASIDE = 1.01
"""A point that is to start at an equilibrium that is not stable starts at this multiple of its rate: from the
equilibrium itself only rounding would take it away."""

_POINTS = 1 << 13


@dataclass(frozen=True)
class Rest:
    """The equilibria of points at a constant input: parameters with that input, `(points,)` each, and every
    state at rest, of each variable `(points, equilibria)`, by ascending rate, NaN where there are fewer."""

    model: Model
    parameters: dict[str, Array]
    states: tuple[Array, ...]

    @classmethod
    def of(cls, model: Model, columns: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Rest:
        """Return it for these parameters with the mean of the noise, and with `more` input to variables."""
        held = model.with_inputs(columns, more)
        parameters = dict(zip(held, np.broadcast_arrays(*held.values()), strict=True))
        return cls(model, parameters, _solver(model).states(model, parameters))

    def __len__(self) -> int:
        return len(self.rates)

    def take(self, rows: Any) -> Rest:
        """Return it for some of the points."""
        return Rest(self.model, part(self.parameters, rows), tuple(y[rows] for y in self.states))

    @property
    def rates(self) -> Array:
        """The rate of the first population at each equilibrium, `(points, equilibria)`."""
        return self.states[0]

    @property
    def unit(self) -> Array:
        """The time constant of the first population, ms."""
        return self.parameters[f"tau{self.model.rates[0].population}"]

    @property
    def highest(self) -> Array:
        """The highest rate at rest, NaN where there is none."""
        # Column by column: NumPy is slow along an axis of three.
        highest: Array = reduce(np.fmax, np.moveaxis(self.rates, -1, 0))
        return highest

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Real and imaginary parts of the eigenvalues times `unit`, `(points, equilibria, variables)`."""
        with np.errstate(all="ignore"):
            return _solver(self.model).modes(self)

    @cached_property
    def stable(self) -> Mask:
        """Whether each equilibrium is stable."""
        return _solver(self.model).stable(self)

    def fold_rates(self, columns: Mapping[str, Any]) -> tuple[Array, Array]:
        """Return the lowest and the highest rate of a fold at other parameters, NaN without a fold."""
        return _solver(self.model).folds(self.model, columns)

    def named(self, name: str) -> tuple[Array, ...]:
        """Return the state that a name means at each point, `(points,)` each, NaN where there is none.

        "rest" is the stable equilibrium of lowest rate, if none is stable that of lowest rate; "down" that of
        lowest and "up" that of highest rate. One that is not stable gives a state beside it (`ASIDE`).
        """
        there = np.isfinite(self.rates)
        wanted = self.stable if name == "rest" else there
        wanted = np.where(wanted.any(axis=1, keepdims=True), wanted, there)
        last = wanted.shape[1] - 1 - np.argmax(wanted[:, ::-1], axis=1)
        chosen = (last if name == "up" else np.argmax(wanted, axis=1))[:, None]
        stable = np.take_along_axis(self.stable, chosen, axis=1)[:, 0]
        first, *others = (np.take_along_axis(y, chosen, axis=1)[:, 0] for y in self.states)
        return first * np.where(stable, 1.0, ASIDE), *others

    def distance(self, state: tuple[Array, ...]) -> Array:
        """Return the distance of states from each equilibrium, relative to it; inf where it is not there."""
        with np.errstate(all="ignore"):
            apart = self.sizes(tuple(y[:, None] - at for y, at in zip(state, self.states, strict=True)))
            sizes = self.sizes(self.states)
            ratios = [np.where(d == 0.0, 0.0, d / s) for d, s in zip(apart, sizes, strict=True)]
            relative: Array = np.sqrt(sum(ratios))
        return np.where(np.isfinite(relative), relative, np.inf)

    def sizes(self, state: tuple[Array, ...]) -> list[Array]:
        """Return the squared size of each group of variables, of states or differences `(points, any)`."""
        units = self.model.units(_columns(self.parameters))
        scaled = [unit * y for unit, y in zip(units, state, strict=True)]
        of_groups: list[Any] = [sum(scaled[i] * scaled[i] for i in group) for group in self.model.groups]
        return of_groups

    def sizes_of_variables(self, state: tuple[Array, ...]) -> list[Array]:
        """Return the size of each variable's group in that variable's own unit, of states `(points,)`."""
        units, found = self.model.units(self.parameters), [*state]
        for group, size in zip(self.model.groups, self.sizes(tuple(y[:, None] for y in state)), strict=True):
            for i in group:
                found[i] = np.sqrt(size[:, 0]) / units[i]
        return found


def _columns(parameters: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[:, None] for name, values in parameters.items()}


@dataclass(frozen=True)
class _Solver:
    """How the equilibria of a model are found: states, eigenvalues, stability, and the rates of folds."""

    states: Callable[[Model, Mapping[str, Array]], tuple[Array, ...]]
    modes: Callable[[Rest], tuple[Array, Array]]
    stable: Callable[[Rest], Mask]
    folds: Callable[[Model, Mapping[str, Any]], tuple[Array, Array]]


def _at(model: Model, p: Mapping[str, Array], rates: Array) -> tuple[Array, ...]:
    """Return the states at rest of these rates, `(points, equilibria)` each."""
    with np.errstate(all="ignore"):
        return tuple(np.broadcast_to(y, rates.shape) for y in model.at_rest(rates, _columns(p)))


def _plain_states(model: Model, p: Mapping[str, Array]) -> tuple[Array, ...]:
    return _at(model, p, plain.roots(p["eta"], p["J"], p["delta"], p["tau"]))


def _plain_modes(rest: Rest) -> tuple[Array, Array]:
    r, v = rest.states
    tau, J = (rest.parameters[name][:, None] for name in ("tau", "J"))
    spread = 2.0 * r * tau * (J - 2.0 * np.pi * np.pi * r * tau)
    root, turn = np.sqrt(np.maximum(spread, 0.0)), np.sqrt(np.maximum(-spread, 0.0))
    real = np.stack((2.0 * v - root, 2.0 * v + root), axis=-1)
    return real, np.stack((-turn, turn), axis=-1)


def _plain_stable(rest: Rest) -> Mask:
    stable = np.isfinite(rest.rates)
    stable[:, 1] = False
    return stable


def _plain_folds(model: Model, columns: Mapping[str, Any]) -> tuple[Array, Array]:
    found = plain.fold_rates(columns["J"], columns["delta"], columns["tau"])
    return found[..., 0], found[..., 1]


def _slices(p: Mapping[str, Array], without: str = "") -> tuple[dict[str, Array], Any]:
    """Return the distinct sets of all parameters but one, and which of them each point has."""
    others = [name for name in p if name != without]
    # The others are the same at every point: comparing them would cost more than all of the rest.
    vary = [name for name in others if np.any(p[name] != p[name][0])]
    if not vary:
        return {name: p[name][:1] for name in others}, np.zeros(len(p[others[0]]), dtype=np.intp)
    _, first, whose = np.unique(
        np.stack([p[name] for name in vary], axis=1), axis=0, return_index=True, return_inverse=True
    )
    return {name: p[name][first] for name in others}, whose.ravel()


def _allowed(model: Model, p: Mapping[str, Array]) -> Mask:
    """Whether the parameters are in their domains: noise of a negative mean can take delta out of it."""
    holds = [np.isfinite(p[row.name]) & row.domain.holds(p[row.name]) for row in model.parameters]
    allowed: Mask = np.all(holds, axis=0)
    return allowed


def _graph_states(model: Model, p: Mapping[str, Array]) -> tuple[Array, ...]:
    rows = np.flatnonzero(_allowed(model, p))
    count = len(p[model.graph])
    if not len(rows):
        return tuple(np.full((count, 1), np.nan) for _ in model.variables)
    with np.errstate(all="ignore"):
        slices, whose = _slices(part(p, rows), model.graph)
        state = resting(model, slices, whose, p[model.graph][rows]).states
    most = max(1, int(np.isfinite(state[..., 0]).sum(axis=1).max()))
    found = np.full((count, most, len(model.variables)), np.nan)
    found[rows] = state[:, :most]
    return tuple(np.ascontiguousarray(y) for y in np.moveaxis(found, -1, 0))


def _graph_modes(rest: Rest) -> tuple[Array, Array]:
    points, most = rest.rates.shape
    shape = (points, most, len(rest.model.variables))
    real, imag = np.full(shape, np.nan), np.full(shape, np.nan)
    for start in range(0, points, _POINTS):
        block = slice(start, start + _POINTS)
        here = {name: np.repeat(values[block], most) for name, values in rest.parameters.items()}
        state = np.stack([y[block].ravel() for y in rest.states], axis=1)
        found = eigenvalues(matrices(rest.model, state, here))
        unit = rest.unit[block, None, None]
        real[block], imag[block] = (x.reshape(-1, most, shape[2]) * unit for x in found)
    return real, imag


def _graph_stable(rest: Rest) -> Mask:
    stable: Mask = np.asarray((rest.modes[0] < 0.0).all(axis=2))
    return stable


def _graph_folds(model: Model, columns: Mapping[str, Any]) -> tuple[Array, Array]:
    with np.errstate(all="ignore"):
        slices, whose = _slices({row.name: columns[row.name] for row in model.parameters}, model.graph)
        path = paths(model, model.graph)[0]
        of = pieces(path, slices, nodes_of(path, slices, None))
        low = np.where(np.isfinite(of.fold_low), of.low, np.nan)
        high = np.where(np.isfinite(of.fold_high), of.high, np.nan)
        return np.fmin.reduce(high, axis=1)[whose], np.fmax.reduce(low, axis=1)[whose]


def _newton_states(model: Model, p: Mapping[str, Array]) -> tuple[Array, ...]:
    rows = np.flatnonzero(_allowed(model, p))
    count = len(next(iter(p.values())))
    if not len(rows):
        return tuple(np.full((count, 1), np.nan) for _ in model.variables)
    sets, whose = _slices(part(p, rows))
    states = newton.equilibria(model, sets).states
    found = np.full((count, *states.shape[1:]), np.nan)
    found[rows] = states[whose]
    return tuple(np.ascontiguousarray(y) for y in np.moveaxis(found, -1, 0))


def _no_folds(model: Model, columns: Mapping[str, Any]) -> tuple[Array, Array]:
    unknown = np.full(np.shape(columns[model.parameters[0].name]), np.nan)
    return unknown, unknown


def _delay_modes(rest: Rest) -> tuple[Array, Array]:
    """Return the eigenvalues of what is not delayed: by itself every population is a focus."""
    of = _terms(rest)
    spread = np.sqrt((-of.c).astype(complex)) * rest.unit[:, None]
    middle = of.a * rest.unit[:, None]
    real = np.stack((middle - spread.real, middle + spread.real), axis=-1)
    return real, np.stack((-spread.imag, spread.imag), axis=-1)


def _delay_stable(rest: Rest) -> Mask:
    """Whether no eigenvalue is to the right of the axis."""
    stable: Mask = np.asarray(delayed.unstable(_terms(rest)) == 0.0)
    return stable


def _plain_delay_stable(rest: Rest) -> Mask:
    """The same of the plain model, where the one in the middle of three is not stable at any delay."""
    stable: Mask = _plain_stable(rest) & (delayed.crossed(_terms(rest)) == 0.0)
    return stable


def _terms(rest: Rest) -> delayed.Terms:
    """Return the terms of the equation for the eigenvalues, `(points, equilibria)` each."""
    of = delayed.terms(rest.model, rest.states, _columns(rest.parameters))
    return delayed.Terms(*(np.asarray(x) + 0.0 * rest.rates for x in (of.a, of.c, of.b, of.delay)))


_BY_POLYNOMIAL = (
    _Solver(_plain_states, _plain_modes, _plain_stable, _plain_folds),
    _Solver(_plain_states, _delay_modes, _plain_delay_stable, _plain_folds),
)
_ON_GRAPH = (
    _Solver(_graph_states, _graph_modes, _graph_stable, _graph_folds),
    _Solver(_graph_states, _delay_modes, _delay_stable, _graph_folds),
)
_BY_NEWTON = (
    _Solver(_newton_states, _graph_modes, _graph_stable, _no_folds),
    _Solver(_newton_states, _delay_modes, _delay_stable, _no_folds),
)
"""Each for models without a delay, and with one."""


def _solver(model: Model) -> _Solver:
    ways = _BY_NEWTON if model.rest is None else _BY_POLYNOMIAL if model.plain else _ON_GRAPH
    return ways[bool(model.delay)]
