"""Branches of limit cycles of every model of the family, by continuation from Hopf points or stable cycles.

Every cycle is a solution of the boundary value problem (see `collocation`), in float64, with its Floquet
multipliers. The dataset says where a branch could not be continued, and what could not be checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index, Range
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_of
from qifscan.errors import (
    Fault,
    ScanError,
    check_count,
    check_time,
    is_number,
    is_range,
    one_of,
    show,
    unknown,
)
from qifscan.lazy import LazyModule
from qifscan.limit_cycles import collocation, continuation, homoclinic_columns, steps
from qifscan.limit_cycles.branch_bifurcations import Met, OnBranches
from qifscan.limit_cycles.collocation import INTERVALS
from qifscan.limit_cycles.cycle_columns import STATUS, columns_of, meanings, multiplier_axis
from qifscan.limit_cycles.delayed_multipliers import problem_of
from qifscan.limit_cycles.doubled import twice
from qifscan.limit_cycles.duplicates import duplicates
from qifscan.limit_cycles.found import found_cycles, no_rows
from qifscan.limit_cycles.homoclinic import divergence
from qifscan.limit_cycles.hopf_points import hopf_modes, hopf_points
from qifscan.limit_cycles.meeting import Fronts, completed
from qifscan.limit_cycles.orbits import Orbits, from_function
from qifscan.limit_cycles.problem import Problem
from qifscan.limit_cycles.steps import CUTS, Extent
from qifscan.phases import phased
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import off_graph
from qifscan.theory.codes import HB, OF_CYCLES, PD, UNRESOLVED
from qifscan.theory.rate_curve import degree_in
from qifscan.theory.tables import Words, flags
from qifscan.theory.zeros import part

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


_BLOCK = 128


BEGINNINGS = ("hopf_point", "simulation", "period_doubling")

_PERIODS = 20.0


# Branches


@dataclass(frozen=True)
class Starts:
    """Where branches begin: slice of each, orbits, directions, the row of the Hopf point if it is one, and
    of how many of the laps there first were a cycle is one by now: 1, 2, 4."""

    who: Index
    problem: Problem
    orbits: Orbits
    tangent: Orbits
    hopf: dict[str, Any] | None
    laps: int = 1

    def chosen(self, which: Any) -> Starts:
        """Return some of them."""
        hopf = None if self.hopf is None else {name: values[which] for name, values in self.hopf.items()}
        orbits, tangent = self.orbits.chosen(which), self.tangent.chosen(which)
        return Starts(self.who[which], self.problem.chosen(which), orbits, tangent, hopf, self.laps)


@phased("cycle_branches")
def cycle_branches(
    model: str = "qif_adaptation_alpha",
    along: str | None = None,
    *,
    at: float | None = None,
    within: Range | None = None,
    points: int = 200,
    longest: float | None = None,
    starts: int = 4,
    doublings: int = 0,
    **slices: Values,
) -> xr.Dataset:
    """Return branches of limit cycles in one parameter, stable and unstable ones, with their bifurcations.

    u' = T f(u; p), u(0) = u(1), followed by pseudo-arclength with the period T as an unknown, from every Hopf
    point of every slice; with `at`, from the cycles that simulation finds there, in both directions. A branch
    that joins two Hopf points is there twice, with the same cycles: see `duplicate_of`. What lies beyond an
    end is not known: no bifurcation on a branch that was cut off means none so far.

    Parameters
    ----------
    model
        Name of the model.
    along
        The parameter, by default the model's graph parameter (eta; eta_i of qif_pair); with `at`, and of a
        model without `rest`, any. Of a model with a delay also that, by default within [0, 10] ms.
    at
        Value of the parameter at which `cycles` looks for beginnings.
    within
        Range of the parameter, by default where it is defined; of a model without `rest`, whose Hopf points
        are those on the curves that `branch` follows, as wide as for `branch`.
    points
        The most of a branch.
    longest
        The longest period (ms), by default 20 times that at the start.
    starts
        With `at`: trajectories of each slice, as for `cycles`.
    doublings
        How often the branches of doubled cycles that begin at period doublings are followed as well.
    **slices
        The other parameters, each a number, a sequence or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        Along the dimensions of the slices: `branch_count`, and `status`, which tells what a slice without
        branches lacks. Along `point`, in order along each branch: `branch`, the parameter, what `cycles`
        tells of a cycle, and `type`: AUTO's codes (HB, LPC, BP, PD, TR, EP), or "unresolved" where a test
        function changes its sign but the finer mesh can't make the multipliers sure, as in a canard
        explosion.

        Along `branches`:

        - `row_size`, and `slice`, its index in C order;
        - `start` ("hopf_point", "simulation", "period_doubling") and `end`, what cut it off: the number of
          points, the range, the longest period, a Hopf point, its own start, failure, a parameter that stands
          still to rounding, for doubled cycles a period doubling;
        - `duplicate_of`, the branch that has all of its cycles, -1 if none: the first of two counts;
        - `period_diverges`: the parameter all but stands still while the period doubles. Then `saddle_count`
          and `saddle_distance`, how near the last cycle comes to a saddle (relative): without a saddle there
          is nothing that could be homoclinic;
        - `homoclinic`, the parameter of the homoclinic orbit, with `homoclinic_error`. `homoclinic_by` says
          what tells it: "projection", the orbit as a boundary value problem with projections onto the
          saddle's subspaces at its ends; "period", p = p_hom + c exp(-rate T) through the last cycles, by
          which it differs by `homoclinic_difference`, `homoclinic_rate` being the saddle's leading eigenvalue
          (1/ms); "no_saddle" where there is no hyperbolic saddle, as at a saddle-node on the cycle;
          "unresolved"; "none". And `<variable>_saddle`, `saddle_eigenvalue_real` and `_imag`, `saddle_rate`
          (the leading one's size) and `saddle_quantity` as for `curve`.

    Raises
    ------
    ScanError
        For a wrong definition.

    Notes
    -----
    Ascher, Mattheij, Russell, Numerical Solution of Boundary Value Problems for ODEs (1995); Kuznetsov,
    Elements of Applied Bifurcation Theory (2004), ch. 5, 10.

    Examples
    --------
    >>> import qifscan as qs
    >>> adapting = {"delta": 2.0, "J": 21.2132, "alpha": 1.0}
    >>> found = qs.cycle_branches("qif_adaptation_alpha", **adapting, within=(-1.0, 1.0), points=3)
    >>> int(found["branch_count"])
    1
    """
    chosen = model_of(model, delayed=True, restless=True, along=(along,))
    name = chosen.graph if along is None else along
    _check(chosen, name, at, within, points, doublings, slices)
    if chosen.rest is None and at is None:
        within = off_graph.range_of(chosen, name, within)
    check_count("starts", starts)
    check_time("longest", longest)
    given = complete(slices, [p for p in chosen.parameters if p.name != name])
    flat = {key: array.values.ravel() for key, array in labelled(given).items()}
    shape = next(iter(labelled(given).values())).shape
    row = next(p for p in chosen.parameters if p.name == name)
    whole = (-math.inf if row.domain.holds(-1.0) else 0.0), (math.inf if row.domain.holds(2.0) else 1.0)
    limits = Extent(*(within or whole), points, abs(row.default or 1.0))
    with np.errstate(all="ignore"):
        begin = branch_starts(chosen, name, flat, limits) if at is None else []
        begin = begin if at is None else _simulated_starts(chosen, name, flat, at, starts, limits)
        table, branches = _followed(chosen, begin, limits, longest, doublings)
        branches |= divergence(chosen, name, flat, table, branches, limits)
        branches["duplicate_of"] = duplicates(table, branches["slice"])
    return _ragged(chosen, name, given, shape, at is None, table, branches)


def _check(
    model: Model,
    name: str,
    at: float | None,
    within: Range | None,
    points: int,
    doublings: int,
    slices: Mapping[str, Values],
) -> None:
    """Raise `ScanError` with a line for every mistake in what is asked for."""
    rows = {p.name: p for p in model.parameters}
    if not isinstance(name, str) or name not in rows:
        raise ScanError([unknown("along", name, rows)])
    faults = []
    if at is None and model.delay and model.rest is None:
        hint = "give `at`, to begin with cycles found by simulation"
        found = f'"{model.name}", which has no `rest`, but a delay'
        faults.append(Fault("model", found, "a graph over the rate, or a model without a delay", hint))
    if name in slices:
        faults.append(Fault(name, "a value", "none", "it is followed, and so can't be fixed"))
    if at is None and model.rest is not None and not _has_hopf_points(model, name):
        able = [n for n in rows if _has_hopf_points(model, n)]
        hint = "give `at`, to begin with cycles found by simulation"
        faults.append(Fault("along", f'"{name}"', one_of(able), hint))
    if at is not None and not (is_number(at) and rows[name].domain.holds(at)):
        faults.append(Fault("at", show(at), rows[name].domain.words))
    if within is not None:
        if not is_range(within, finite=False):
            faults.append(Fault("within", show(within), "two ascending numbers"))
        elif at is not None and is_number(at) and not within[0] <= at <= within[1]:
            faults.append(
                Fault("at", show(at), f"a number in [{within[0]:g}, {within[1]:g}]", "widen `within`")
            )
    if faults:
        raise ScanError(faults)
    check_count("points", points)
    check_count("doublings", doublings, least=0)


def _has_hopf_points(model: Model, name: str) -> bool:
    """Tell whether Hopf points can be looked for along a parameter, of a graph over the rate."""
    return name in (model.graph, model.delay) or degree_in(model, name) in (1, 2)


def branch_starts(model: Model, along: str, flat: Mapping[str, Array], limits: Extent) -> list[Starts]:
    """Return the Hopf points in the range, with the directions in which their cycles grow."""
    who, state, given, omega = hopf_points(model, along, flat, (limits.low, limits.high))
    inside = (given[along] >= limits.low) & (given[along] <= limits.high)
    who, state, given, omega = who[inside], state[inside], part(given, inside), omega[inside]
    found = []
    for first in range(0, len(who), _BLOCK):
        some = slice(first, first + _BLOCK)
        found.append(_of_hopf(model, along, who[some], state[some], part(given, some), omega[some]))
    return found


def _of_hopf(
    model: Model, along: str, who: Index, state: Array, given: dict[str, Array], omega: Array
) -> Starts:
    q, real, imag = hopf_modes(model, state, given, omega)
    mesh = np.tile(np.linspace(0.0, 1.0, INTERVALS + 1), (len(state), 1))
    period = 2.0 * math.pi / omega
    scalars = np.stack((period, given[along]), axis=1)
    rest = from_function(mesh, lambda s: state[:, None] + 0.0 * s[..., None], scalars)
    turning = from_function(
        mesh, lambda s: (q[:, None] * np.exp(2j * math.pi * s)[..., None]).real, 0.0 * scalars
    )
    mu = np.exp((real + 1j * imag) * period[:, None])
    nearest = np.argsort(np.abs(np.abs(imag) - omega[:, None]) + np.abs(real), axis=1)
    row = np.arange(len(state))
    # The pair on the axis gives the multiplier 1 twice: that of the flow, and that of the cycle's size.
    for k in range(2):
        mu[row, nearest[:, k]] = 1.0
    rest_mu = np.sort(np.abs(mu), axis=1)
    mu = np.take_along_axis(mu, np.argsort(-np.abs(mu), axis=1, kind="stable"), axis=1)
    zero = np.zeros(len(state))
    hopf = {"value": given[along], "period": period, "low": state, "high": state, "mean": state}
    hopf["first"] = state
    exponents = np.take_along_axis(real, np.argsort(-real, axis=1, kind="stable"), axis=1)
    hopf |= {"multipliers": mu, "exponents": exponents}
    hopf |= {"trivial_error": zero, "quality": zero, "residual": zero, "mesh_error": zero}
    hopf |= {"intervals": zero.astype(np.intp), "unstable": (rest_mu > 1.0).sum(axis=1)}
    return Starts(who, problem_of(model, given, (along,)), rest, turning, hopf)


def _simulated_starts(
    model: Model, along: str, flat: Mapping[str, Array], at: float, starts: int, limits: Extent
) -> list[Starts]:
    """Return the cycles that simulation finds at a value of the parameter, in both directions of it."""
    count = len(next(iter(flat.values())))
    found = []
    for first in range(0, count, _BLOCK):
        some = np.arange(first, min(count, first + _BLOCK))
        given = {name: values[some] for name, values in flat.items()} | {along: np.full(len(some), at)}
        _, groups = found_cycles(problem_of(model, given), starts, None, None)
        for group, cycles in groups:
            problem = problem_of(model, part(given, group), (along,))
            scalars = np.stack((cycles.period, np.full(len(group), at)), axis=1)
            orbits = cycles.with_scalars(scalars)
            border = steps.conditions(problem, orbits, None, np.empty(0))
            _, tangent = collocation.linear_of(problem, orbits).solved(border, orbits)
            for sign in (1.0, -1.0):
                way = tangent.times(np.full(len(group), sign))
                found.append(Starts(some[group], problem, orbits, way, None))
    return found


def _followed(
    model: Model, begin: list[Starts], limits: Extent, longest: float | None, doublings: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of all branches in order, and of each branch its slice, what it begins with, its cut
    and its last orbit."""
    tables, who, cuts = [], [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    kinds, queue = [np.empty(0, dtype=np.intp)], list(begin)
    seen: list[Array] = []
    ends: dict[int, Orbits] = {}
    first = 0
    for start in queue:
        number = first + np.arange(len(start.who))
        most = _PERIODS * start.orbits.period if longest is None else np.full(len(number), float(longest))
        rules = OnBranches(limits, most, doubled=start.laps > 1)
        group = continuation.begun(start.problem, start.orbits, start.tangent, limits.units, rules.columns)
        if start.hopf is not None:
            group.fronts = Fronts.of(start.who, most, group.first.shape[1])
        rows = continuation.followed(group, rules)
        if group.fronts is not None and rows:
            rows = completed(rows, group.fronts, limits.most, group.cut, group.ends)
        rows = [row | {"number": first + row["number"]} for row in rows]
        head = start.hopf or steps.measured(start.problem, start.orbits)
        code = np.full(len(number), HB if start.hopf is not None else 0)
        rows.append(head | {"number": number, "order": np.zeros(len(number)), "type": code})
        tables += rows
        who.append(start.who)
        cuts.append(group.cut)
        kinds.append(np.full(len(number), 2 if start.laps > 1 else int(start.hopf is None)))
        if start.laps < 2**doublings:
            queue += doubled_starts(start, rules.kept, seen)
        ends |= {first + k: end for k, end in group.ends.items()}
        first += len(number)
    if not tables:
        return no_rows(model), {"slice": who[0], "cut": cuts[0], "start": kinds[0], "ends": ends}
    table = {name: np.concatenate([rows[name] for rows in tables]) for name in tables[0]}
    heads = [rows for rows in tables if (rows["type"] == HB).any()]
    table = _with_ends(table, heads, np.concatenate(who), np.concatenate(cuts))
    order = np.lexsort((table["order"], table["number"]))
    table = _once({name: values[order] for name, values in table.items()}, limits)
    of = {"slice": np.concatenate(who), "cut": np.concatenate(cuts), "start": np.concatenate(kinds)}
    return table, of | {"ends": ends}


def doubled_starts(start: Starts, kept: list[Met], seen: list[Array]) -> list[Starts]:
    """Return the beginnings of doubled cycles at the period doublings on branches, each once: `seen` are
    those so far."""
    found = []
    for met in [one for one in kept if one.code == PD]:
        slices = start.who[met.number]
        numbers = np.column_stack((slices, met.orbits.scalars))
        new = []
        for k in range(len(slices)):
            if all((np.abs(numbers[k] - other) > 1e-6 * (1.0 + np.abs(other))).any() for other in seen):
                seen.append(numbers[k])
                new.append(k)
        if new:
            which = np.array(new)
            orbits, along = (both.chosen(which) for both in twice(met))
            problem = met.problem.chosen(which)
            found.append(Starts(slices[which], problem, orbits, along, None, 2 * start.laps))
    return found


def _with_ends(table: dict[str, Any], heads: list[dict[str, Any]], who: Index, cuts: Index) -> dict[str, Any]:
    """Return the rows with the Hopf points in which branches end: those that others begin with."""
    added = []
    for k in np.flatnonzero(cuts == steps.BY_HOPF).tolist():
        own = np.flatnonzero((table["number"] == k) & (table["type"] == 0))
        # Points are in the order in which they were measured.
        last = own[np.argsort(table["order"][own])[-1:]]
        for rows in heads:
            near = np.abs(rows["period"] / table["period"][last] - 1.0) < 0.1
            near &= (who[rows["number"]] == who[k]) & (rows["number"] != k)
            swing = np.ptp([table["low"][last], table["high"][last]], axis=0)
            near &= (np.abs(rows["mean"] - table["mean"][last]) < swing + 1e-12).all(axis=1)
            row = {name: values[near][:1] for name, values in rows.items()}
            added.append(row | {"number": 0 * row["number"] + k, "order": row["order"] + np.inf})
    return {name: np.concatenate([values, *(row[name] for row in added)]) for name, values in table.items()}


def _once(table: dict[str, Any], limits: Extent) -> dict[str, Any]:
    """Return the rows with one for all the unresolved ones at a place."""
    unresolved = table["type"] == UNRESOLVED
    again = np.zeros(len(unresolved), dtype=bool)
    near = np.abs(np.diff(table["value"])) < 1e-6 * limits.unit
    again[1:] = unresolved[1:] & unresolved[:-1] & (np.diff(table["number"]) == 0) & near
    return {name: values[~again] for name, values in table.items()}


def _ragged(
    model: Model,
    along: str,
    given: Mapping[str, xr.DataArray],
    shape: tuple[int, ...],
    from_hopf: bool,
    table: Mapping[str, Any],
    branches: Mapping[str, Any],
) -> xr.Dataset:
    """Return the dataset of branches, a contiguous ragged array."""
    words = Words(model, model.reference)
    meant = meanings(model, words)
    point, own = ("point",), ("branches",)
    code = words.meaning("type of the point, codes of AUTO") | flags(OF_CYCLES)
    apart: dict[str, Any] = {
        "branch": (point, table["number"], words.meaning("branch that the point is on")),
        "type": (point, table["type"].astype(np.int8), code),
        along: (point, table["value"], words.of_parameter(along, "of the cycle")),
    }
    for name, values in columns_of(model, table).items():
        apart[name] = ((*point, "multiplier") if values.ndim > 1 else point, values, meant[name])
    count = len(branches["cut"])
    size = words.meaning("number of points of the branch", "1") | {"sample_dimension": "point"}
    index = words.meaning("index of the slice, in C order") | {"instance_dimension": "slices"}
    start = words.meaning("what the branch begins with") | flags(BEGINNINGS)
    apart |= {
        "row_size": (own, np.bincount(table["number"], minlength=count), size),
        "slice": (own, branches["slice"], index),
        "start": (own, branches["start"].astype(np.int8), start),
        "end": (own, branches["cut"].astype(np.int8), words.meaning("what cut the branch off") | flags(CUTS)),
    }
    apart |= {name: (own, branches[name], said) for name, said in _at_ends(words).items()}
    apart |= homoclinic_columns.columns_of(words, along, *own, branches)
    size_of = np.bincount(branches["slice"], minlength=int(np.prod(shape))).reshape(shape)
    missing = np.where(size_of > 0, 0, 1 if from_hopf else 2).astype(np.int8)
    status = words.meaning("whether the slice has a branch, or what it lacks within the range") | flags(
        STATUS
    )
    axes = multiplier_axis(words, model) | homoclinic_columns.eigenvalue_axis(words)
    variables = {
        "branch_count": ((), size_of, words.meaning("number of branches of the slice", "1")),
        "status": ((), missing, status),
    }
    return words.dataset(given, variables, axes, apart)


def _at_ends(words: Words) -> dict[str, Any]:
    """Return what the numbers of whole branches mean."""
    told = {
        "period_diverges": ("the parameter all but stands still while the period doubles",),
        "saddle_count": ("saddles and saddle-foci where the period diverges, -1: it does not", "1"),
        "duplicate_of": ("branch that has all of its cycles, -1: none; of two the first counts", "1"),
        "saddle_distance": ("least distance of the last cycle to a saddle, relative to its size", "1"),
        "homoclinic_rate": (
            "rate over the period at which the parameter approaches the homoclinic one",
            "1/ms",
        ),
    }
    return {name: words.meaning(*meaning) for name, meaning in told.items()}
