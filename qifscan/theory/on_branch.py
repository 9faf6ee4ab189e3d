"""Equilibria along branches, many of one model at once; and what a call for them asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, counted, is_range, one_of, show, unknown
from qifscan.lazy import LazyModule
from qifscan.roots.zeros import part
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory.codes import OF_EQUILIBRIA
from qifscan.theory.rate_curve import Path, coefficients, completed, degree_in, paths, rate_unit

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array, Index, Range
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")


_WIDEST = 1e30
"""Largest ratio of the ends of a range of rates: beyond, powers of these overflow."""


@dataclass(frozen=True)
class OnBranch:
    """Equilibria of one model, `(points,)` each: slice, rate, all parameters, code of the type."""

    model: Model
    who: Index
    r: Array
    parameters: dict[str, Array]
    type: Any

    def chosen(self, which: Any) -> OnBranch:
        """Return some of the points, in this order."""
        return replace(
            self,
            who=self.who[which],
            r=self.r[which],
            parameters=part(self.parameters, which),
            type=self.type[which],
        )

    def inside(self, name: str, within: Range | None) -> OnBranch:
        """Return those at which a parameter is within a range."""
        value = self.parameters[name]
        return self if within is None else self.chosen((value >= within[0]) & (value <= within[1]))

    def typed(self, name: str) -> OnBranch:
        """Return the points as ones of a type."""
        return replace(self, type=np.full(len(self.r), OF_EQUILIBRIA[name]))

    def sorted(self) -> OnBranch:
        """Return the points by slice and rate."""
        return self.chosen(np.lexsort((self.r, self.who)))


def joined(several: Sequence[OnBranch]) -> OnBranch:
    """Return the points of all."""
    first = several[0]
    return OnBranch(
        first.model,
        np.concatenate([points.who for points in several]),
        np.concatenate([points.r for points in several]),
        {n: np.concatenate([points.parameters[n] for points in several]) for n in first.parameters},
        np.concatenate([points.type for points in several]),
    )


def on_path(path: Path, who: Index, r: Array, slices: Mapping[str, Array]) -> OnBranch:
    """Return the equilibria at rates along a path."""
    here = part(slices, who)
    _, found = path.place(r, here, 0)
    parameters = {name: coefficients(found[name], 0, r)[0] for name in column_names(path.model)}
    return OnBranch(path.model, who, r, parameters, np.zeros(len(r), dtype=np.intp))


def column_names(model: Model) -> list[str]:
    """Return the names of a model's parameters."""
    return [parameter.name for parameter in model.parameters]


# What is asked for


@dataclass(frozen=True)
class Request:
    """A model, the one or two parameters that vary, and the slices: sets of values of the others."""

    model: Model
    along: tuple[str, ...]
    given: dict[str, xr.DataArray]
    slices: dict[str, Array]

    @property
    def paths(self) -> list[Path]:
        """The paths along which the parameters vary; with two of them along the folds."""
        second = [name for name in self.along if name != self.model.graph]
        return paths(self.model, (second or [self.model.graph])[0], folded=len(self.along) == 2)

    @property
    def count(self) -> int:
        """Number of slices."""
        return len(next(iter(self.slices.values())))


def request_of(
    model: str,
    along: str | Sequence[str],
    slices: Mapping[str, Values],
    *,
    at_rest: bool = True,
    restless: bool = False,
) -> Request:
    """Return what is asked for; with `at_rest` equilibria must move along the parameters.

    With `restless` a model without `rest` may be asked for, along one parameter.
    """
    asked = (along,) if isinstance(along, str) else along
    asked = asked if isinstance(asked, (tuple, list)) else ()
    chosen = model_of(model, delayed=True, restless=restless, along=asked)
    if not isinstance(along, (str, tuple, list)):
        raise ScanError([Fault("along", show(along), one_of(column_names(chosen)), "or two of them")])
    names = (along,) if isinstance(along, str) else tuple(along)
    faults = [
        unknown("along", name, column_names(chosen)) for name in names if name not in column_names(chosen)
    ]
    if faults:
        raise ScanError(faults)
    if chosen.rest is None:
        faults = _not_followed(model, chosen, names)
    elif at_rest or names != (chosen.delay,):
        faults = _not_solvable(chosen, names)
    faults += [solved_for(name) for name in names if name in slices]
    if faults:
        raise ScanError(faults)
    given = complete(slices, [p for p in chosen.parameters if p.name not in names])
    return Request(chosen, names, given, {name: a.values.ravel() for name, a in labelled(given).items()})


def solved_for(name: str) -> Fault:
    """Return the fault of a value for a parameter that varies."""
    return Fault(name, "a value", "none", "it is solved for, and so can't be fixed")


def _not_followed(name: str, model: Model, along: tuple[str, ...]) -> list[Fault]:
    found = f'"{name}", which has no `rest`'
    if model.delay:
        return [Fault("model", f"{found}, but a delay", "a graph over the rate, or a model without a delay")]
    if len(along) != 1:
        hint = "two need a graph over the rate; CP, BT and GH are on the curves of qs.curve"
        return [Fault("along", counted(len(along), "parameter"), f"one, of {found}", hint)]
    return []


def _not_solvable(model: Model, names: tuple[str, ...]) -> list[Fault]:
    able = [
        model.graph,
        *(graph.graph for graph in model.others),
        *(name for name in column_names(model) if degree_in(model, name) in (1, 2)),
    ]
    able = list(dict.fromkeys(able))
    if len(names) not in (1, 2) or len(set(names)) < len(names):
        return [Fault("along", counted(len(names), "parameter"), "one, or two different ones")]
    if len(names) == 2 and model.graph not in names:
        return [Fault("along", show(list(names)), f"{model.graph} and another parameter")]
    return [
        Fault("along", f'"{name}"', one_of(able), _why_not(model, name)) for name in names if name not in able
    ]


def _why_not(model: Model, name: str) -> str:
    if name == model.delay:
        return f"{name} moves no equilibrium; its Hopf points are those of qs.special_points"
    if degree_in(model, name) == 0:
        return f"{name} moves no equilibrium; make it a slice and compare"
    return f"equilibria can't be solved for {name}; make it a slice"


def check_range(name: str, given: Range | None, *, positive: bool) -> None:
    """Raise `ScanError` for a range that is not two ascending numbers."""
    if given is None:
        return
    kind = "two ascending numbers above 0" if positive else "two ascending numbers"
    if not is_range(given) or (positive and given[0] <= 0):
        raise ScanError([Fault(name, show(given), kind)])
    if positive and not given[1] / given[0] <= _WIDEST:
        raise ScanError([Fault(name, show(given), f"{kind}, by a factor of {_WIDEST:g} apart at most")])


def taken_at(model: Model, name: str, one: Mapping[str, Array], r: Array, value: Array, k: int) -> OnBranch:
    """Return equilibria of given rate and value of a second parameter."""
    parameters = completed(model, one, name, r, value)
    return OnBranch(model, np.full(len(r), k), r, parameters, np.zeros(len(r), dtype=np.intp))


def rates_of(model: Model, one: Mapping[str, Array]) -> Range:
    """Return the range of rates that is looked at by default, 1/ms."""
    unit = float(rate_unit(model, one)[0])
    return 1e-3 * unit, 1e3 * unit
