"""Branches of limit cycles of every model of the family, by continuation from Hopf points or stable cycles.

Every cycle is a solution of the boundary value problem (see `collocation`), in float64, with its Floquet
multipliers. The dataset says where a branch could not be continued, and what could not be checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from qifscan.limit_cycles import continuation, homoclinic_columns, steps
from qifscan.limit_cycles.branch_bifurcations import OnBranches
from qifscan.limit_cycles.cycle_columns import STATUS, columns_of, meanings, multiplier_axis
from qifscan.limit_cycles.duplicates import duplicates, numbers
from qifscan.limit_cycles.found import SAME, no_rows
from qifscan.limit_cycles.homoclinic import divergence
from qifscan.limit_cycles.hopf_points import has_hopf_points
from qifscan.limit_cycles.meeting import Fronts, completed
from qifscan.limit_cycles.starts import (
    AT_BRANCH_POINT,
    AT_DOUBLING,
    AT_HOPF,
    BEGINNINGS,
    Starts,
    branch_starts,
    doubled_starts,
    simulated_starts,
    switched_starts,
)
from qifscan.limit_cycles.steps import CUTS, Extent
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.phases import phased
from qifscan.roots.zeros import part
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import off_graph
from qifscan.theory.codes import BPC, HB, OF_CYCLES, POINT, UNRESOLVED
from qifscan.theory.tables import Words, flags

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


_BESIDE = 3.0
"""Distance of a point from the last cycle of a branch, in lengths of the last step, up to which the branch
may end there: a step grows by half at most."""


_PERIODS = 20.0


# Branches


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
    switches: int = 0,
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
    switches
        How often the branches that begin at branch points are followed as well: those of cycles without the
        symmetry that the model has. The two halves of a pitchfork are each other's images by that, with the
        same parameters, periods and multipliers; one of them is followed, of others both.
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
        - `start` ("hopf_point", "simulation", "period_doubling", "branch_point") and `end`, what cut it off:
          the number of points, the range, the longest period, a Hopf point, its own start, failure, a
          parameter that stands still to rounding, for doubled cycles a period doubling, and a branch point
          where it would go on as its own image;
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
    _check(chosen, name, at, within, points, slices)
    check_count("doublings", doublings, least=0)
    check_count("switches", switches, least=0)
    if switches and chosen.delay:
        hint = "with a delay models have r and v alone, and no symmetry"
        raise ScanError([Fault("switches", show(switches), f'0 for "{model}"', hint)])
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
        begin = begin if at is None else simulated_starts(chosen, name, flat, at, starts, limits)
        table, branches = _followed(chosen, begin, limits, longest, (doublings, switches))
        branches |= divergence(chosen, name, flat, table, branches, limits)
        branches["duplicate_of"] = duplicates(table, branches["slice"])
    return _ragged(chosen, name, given, shape, at is None, table, branches)


def _check(
    model: Model,
    name: str,
    at: float | None,
    within: Range | None,
    points: int,
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
    if at is None and model.rest is not None and not has_hopf_points(model, name):
        able = [n for n in rows if has_hopf_points(model, n)]
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


def _followed(
    model: Model, begin: list[Starts], limits: Extent, longest: float | None, turns: tuple[int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of all branches in order, and of each branch its slice, what it begins with, its cut
    and its last orbit; `turns`: how often to go on with doubled cycles, and with other branches."""
    tables, who, cuts = [], [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    kinds, queue = [np.empty(0, dtype=np.intp)], list(begin)
    seen: tuple[list[Array], list[Array]] = [], []
    ends: dict[int, Orbits] = {}
    first = 0
    for start in queue:
        number = first + np.arange(len(start.who))
        most = _PERIODS * start.orbits.period if longest is None else np.full(len(number), float(longest))
        at_branch_point = start.beginning == AT_BRANCH_POINT
        rules = OnBranches(limits, most, doubled=start.laps > 1, switched=at_branch_point)
        group = continuation.begun(start.problem, start.orbits, start.tangent, limits.units, rules.columns)
        if start.hopf is not None:
            group.fronts = Fronts.of(start.who, most, group.first.shape[1])
        rows = continuation.followed(group, rules)
        if group.fronts is not None and rows:
            rows = completed(rows, group.fronts, limits.most, group.cut, group.ends)
        rows = [row | {"number": first + row["number"]} for row in rows]
        head = start.hopf or steps.measured(start.problem, start.orbits)
        code = np.full(len(number), {AT_HOPF: HB, AT_BRANCH_POINT: BPC}.get(start.beginning, POINT))
        rows.append(head | {"number": number, "order": np.zeros(len(number)), "type": code})
        tables += rows
        who.append(start.who)
        cuts.append(group.cut)
        kinds.append(np.full(len(number), start.beginning))
        if start.laps < 2 ** turns[0]:
            queue += doubled_starts(start, rules.kept, seen[0])
        if start.switches < turns[1]:
            queue += switched_starts(start, rules.kept, seen[1], limits.units)
        ends |= {first + k: end for k, end in group.ends.items()}
        first += len(number)
    if not tables:
        return no_rows(model), {"slice": who[0], "cut": cuts[0], "start": kinds[0], "ends": ends}
    table = {name: np.concatenate([rows[name] for rows in tables]) for name in tables[0]}
    heads = [rows for rows in tables if (rows["type"] == HB).any()]
    of_all = {"slice": np.concatenate(who), "cut": np.concatenate(cuts), "start": np.concatenate(kinds)}
    table = _with_ends(table, heads, of_all)
    order = np.lexsort((table["order"], table["number"]))
    table = _once({name: values[order] for name, values in table.items()}, limits)
    return table, of_all | {"ends": ends}


def _with_ends(
    table: dict[str, Any], heads: list[dict[str, Any]], branches: Mapping[str, Index]
) -> dict[str, Any]:
    """Return the rows with the points in which branches end: Hopf points and period doublings that others
    begin with, and branch points on others."""
    who, cuts, added = branches["slice"], branches["cut"], []
    # Doubled cycles begin closer to their period doubling than others step past it.
    doubled = (table["order"] == 0.0) & (branches["start"][table["number"]] == AT_DOUBLING)
    ending = steps.BY_HOPF, steps.BY_BRANCH_POINT, steps.BY_DOUBLING
    for k in np.flatnonzero(np.isin(cuts, ending)).tolist():
        own = np.flatnonzero((table["number"] == k) & (table["type"] == 0))
        # Points are in the order in which they were measured.
        last = own[np.argsort(table["order"][own])[-1:]]
        if cuts[k] == steps.BY_BRANCH_POINT:
            found = [_beside(table, own, table["type"] == BPC, who)]
        elif cuts[k] == steps.BY_DOUBLING:
            found = [_beside(table, own, doubled & (table["number"] != k), who)]
        else:
            found = [part(rows, _same_hopf_point(table, last, rows, who, k)) for rows in heads]
        added += [row | {"number": 0 * row["number"] + k, "order": row["order"] + np.inf} for row in found]
    return {name: np.concatenate([values, *(row[name] for row in added)]) for name, values in table.items()}


def _same_hopf_point(
    table: dict[str, Any], last: Index, rows: dict[str, Any], who: Index, number: int
) -> Index:
    """Return which of the Hopf points is that beside the last cycle of a branch, if one is."""
    near = np.abs(rows["period"] / table["period"][last] - 1.0) < 0.1
    near &= (who[rows["number"]] == who[number]) & (rows["number"] != number)
    swing = np.ptp([table["low"][last], table["high"][last]], axis=0)
    near &= (np.abs(rows["mean"] - table["mean"][last]) < swing + 1e-12).all(axis=1)
    return np.flatnonzero(near)[:1]


def _beside(table: dict[str, Any], own: Index, able: Any, who: Index) -> dict[str, Any]:
    """Return the row beside the last cycle of a branch, of those of its slice that are able to be its end,
    if there is one."""
    own = own[np.argsort(table["order"][own])]
    cycles = numbers(table)
    # What does not change but for rounding tells nothing.
    unit = np.ptp(cycles[own], axis=0) + SAME * (1.0 + np.abs(cycles[own]).max(axis=0))
    apart = np.linalg.norm((cycles - cycles[own[-1]]) / unit, axis=1)
    there = able & (who[table["number"]] == who[table["number"][own[-1]]])
    nearest = np.argsort(np.where(there, apart, np.inf), kind="stable")[:1]
    return part(table, nearest[there[nearest] & (apart[nearest] < _BESIDE * apart[own[-2:]].max())])


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
