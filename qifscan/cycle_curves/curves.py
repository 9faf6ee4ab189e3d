"""Curves of bifurcations of cycles in the plane of two parameters, and of cycles of one period."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.arrays import Array, Index, Range
from qifscan.cycle_curves import homoclinic_curves, resonances
from qifscan.cycle_curves.asked import KINDS, Wanted, refuse, values_at, wanted
from qifscan.cycle_curves.bautin import (
    BESIDE,
    Place,
    bautin_points,
    beside,
    nearest,
    smallest,
    takens_points,
)
from qifscan.cycle_curves.closing import again, joined, line_of
from qifscan.cycle_curves.curve_bifurcations import BY_RETURN, OnCurves
from qifscan.cycle_curves.curve_columns import Lines, dataset
from qifscan.cycle_curves.forced_curves import response_starts, with_sine
from qifscan.cycle_curves.recorded import Record, checked
from qifscan.dynamics.drive import Sine
from qifscan.dynamics.model import Model
from qifscan.dynamics.models import model_of
from qifscan.errors import Fault, ScanError, check_count, show
from qifscan.lazy import LazyModule
from qifscan.limit_cycles import continuation, homoclinic_columns
from qifscan.limit_cycles.branch_bifurcations import OnBranches
from qifscan.limit_cycles.cycle_columns import meanings
from qifscan.limit_cycles.directions import with_direction
from qifscan.limit_cycles.duplicates import places_on
from qifscan.limit_cycles.meeting import Fronts
from qifscan.limit_cycles.starts import Starts, branch_starts, doubled_starts
from qifscan.limit_cycles.steps import Extent, Met, at_value, forward, tangents
from qifscan.periodic_orbits.delayed_marginal import marginal_of
from qifscan.periodic_orbits.marginal import Marginal
from qifscan.periodic_orbits.orbits import Orbits
from qifscan.periodic_orbits.problem import AMPLITUDE
from qifscan.phases import phased, tell
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import curves as of_equilibria
from qifscan.theory.branches import PER_DECADE
from qifscan.theory.tables import Words

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

_PERIODS, _ON_BRANCH, _BESIDE = 20.0, 400, 40
"""The longest period, in those at the start, and the most cycles of a branch on which curves begin, and of
one beside a generalised Hopf point."""


@phased("curve")
def curve(
    model: str = "qif",
    kind: str = "LP",
    along: str | None = None,
    through: str = "J",
    *,
    at: Any = None,
    period: float | None = None,
    between: Range | None = None,
    longest: float | None = None,
    drive: Sine | None = None,
    rates: Range | None = None,
    within: Range | None = None,
    points: int | None = None,
    doublings: int = 0,
    record: Mapping[str, Record] | None = None,
    **slices: Values,
) -> xr.Dataset:
    """Return the curves of bifurcations in the plane of two parameters, in order along each.

    Folds and Hopf points of equilibria are zeros along the graph over the rate; of a model without `rest`
    they are followed from those that `special_points` finds along either parameter. Bifurcations of cycles
    solve u' = T f(u), v' = T (f_u v + b f), with v(1) = v(0), -v(0) or e^(i theta) v(0) for a direction v of
    size 1, by collocation. Cycles are followed in `along` from every Hopf point at `through` = `at`; from
    each bifurcation found there, or where the period diverges, a curve goes in both directions. A bifurcation
    that no branch at `at` meets begins no curve: none found is no proof that there is none. With a delay v is
    its own past but for its multiplier, and at a fold a change of the period moves the place of the past.

    Parameters
    ----------
    model
        Name of the model.
    kind
        Of equilibria "LP" (folds) or "HB" (Hopf points). Of cycles "LPC" (folds), "PD" (period doublings),
        "NS" (torus bifurcations), "period" (cycles of one period) or "homoclinic" (homoclinic orbits of
        saddles, not with a delay).
    along
        The first parameter: by default the model's graph parameter (eta; eta_i of qif_pair).
    through
        The second parameter. For "LP" one in which the first is a polynomial of degree 1 or 2 at rest; of a
        model with a delay for "HB" the delay; of a model without `rest` any.
    at
        For cycles: value of `through`, or several, at which curves begin. By default that of the model; then
        curves of folds begin beside every generalised Hopf point of the plane as well, homoclinic ones beside
        every Bogdanov-Takens point, and curves of torus bifurcations at the resonances R1 and R2 on curves of
        folds and period doublings, or these where those end. The latter also where nothing else is found, and
        with a delay not at all.
    period
        For "period": the period, ms.
    between
        Range of `along`: for cycles, and of a model without `rest`, then by default as wide as for `branch`.
    longest
        For cycles: the longest period (ms), by default 20 times that at the start.
    drive
        For cycles: a `Sine`, whose responses of one period are followed in place of cycles. Then `along` is
        "drive_amplitude", from 0 to what `between` says, and `through` "drive_period" or a parameter of the
        model. Curves begin where the response of an equilibrium bifurcates as the amplitude grows; others are
        not found.
    rates
        For "LP" and "HB": range of rates (1/ms), by default [1e-3, 1e3] sqrt(delta)/(pi tau); with a delay up
        to 10/delay or 10 of that unit.
    within
        Range of `through`. By default for "HB", and of a model without `rest`, as wide as the parameter's
        default asks for, a delay in [0, 10] ms.
    points
        For "LP" and "HB" the points while the rate grows tenfold, 100 unless given; for cycles the most of
        each direction of a curve, 200 unless given.
    doublings
        For cycles without a drive: how often the branches of doubled cycles that begin at period doublings
        are followed for bifurcations as well.
    record
        For cycles: names of further columns, each with a function of a cycle's times `t` (ms, from 0 to the
        period), its `state` (arrays by the names of the variables) and its `parameters`, which returns a
        number.
    **slices
        The other parameters, numbers.

    Returns
    -------
    xarray.Dataset
        Along `point`, in order along each curve: `piece`, `type` (0, or the code of a point that is marked),
        both parameters, `residual` and `converged`. Along `pieces`: `row_size`, and what ends the curve on
        both sides, `start` and `end`.

        - Of equilibria also the state and the columns of `special_points`. Marked are CP and BT on curves of
          folds, GH and BT on those of Hopf points, which end at BT: neutral saddles are left out. `converged`
          is of the equilibrium and of the curve's own condition, to 1e-6 of the rate. `certified`: whether
          every fold or Hopf point that is proven at 97 values of `through` lies on a curve; false with a
          delay, and of a model without `rest`.
        - Of cycles also what `cycles` tells of a cycle with its multipliers, and `angle` (theta of "NS").
          Marked are cusps of cycles (CPC), generalised period doublings (GPD) and Chenciner points (CH),
          where `coefficient`, that of the normal form, is 0 (with a delay it is NaN, and neither is marked),
          the resonances R1 to R4, and where two bifurcations meet (LPPD, LPNS, PDNS, NSNS).
          `multiplier_error` is an upper estimate of how far the multipliers of the bifurcation are off, from
          the mesh, rounding, and what errors do to them, with a delay from a mesh twice as fine; `resolved`:
          below 1e-3. A curve ends with "no_amplitude" at a generalised Hopf
          point (of homoclinic orbits a Bogdanov-Takens point), with "longest_period" where the period
          diverges, with "saddle_node" where the saddle is about to meet a node, with "period_doubling" where
          a doubled cycle becomes another one run through twice. `duplicate_of`: the curve that has all of its
          points.
        - Of homoclinic orbits also `homoclinic`, the value of `along`, with `homoclinic_error`: that of the
          orbit itself, solved for from each cycle with projections onto the saddle's subspaces at its ends
          (`homoclinic_by` "projection"), else that of the cycle, extrapolated ("period"), which differs by
          `homoclinic_difference`. `<variable>_saddle` is the saddle's state, `saddle_eigenvalue_real` and
          `_imag` (1/ms), `saddle_rate` the leading one's size, `saddle_quantity` the sum of the leading ones
          on both sides, 0 at a neutral saddle.

    Raises
    ------
    ScanError
        For a wrong definition, and if there is nothing to begin with.

    Notes
    -----
    Kuznetsov, Elements of Applied Bifurcation Theory (2004), ch. 8 to 10; Govaerts, Kuznetsov, Dhooge, SIAM
    J. Sci. Comput. 27, 231 (2005); Champneys, Kuznetsov, Sandstede, Int. J. Bifurcation Chaos 6, 867 (1996).

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.curve(kind="LP", points=20)
    >>> bool(found["certified"])
    True
    """
    if not isinstance(kind, str) or kind not in KINDS:
        only = {"at": at, "period": period, "longest": longest, "drive": drive}
        refuse(kind, only | {"record": record, "doublings": doublings or None})
        count = PER_DECADE if points is None else points
        options: dict[str, Any] = {"rates": rates, "between": between, "within": within, "points": count}
        return of_equilibria.curve(model, kind, along, through, **{**options, **slices})
    own = model_of(model, delayed=True, restless=True, along=(along if drive is None else None,))
    chosen = own if drive is None else with_sine(own, drive, kind, along, through)
    first = along if along is not None else chosen.graph if drive is None else AMPLITUDE
    pair = (first, through)
    asked = wanted(chosen, kind, pair, (between, within), points, longest, period)
    own_columns = checked(record, _taken(chosen, pair))
    asked = replace(asked, forced=drive is not None, record=own_columns, doublings=doublings)
    check_count("doublings", doublings, least=0)
    if doublings and (drive is not None or kind == "homoclinic"):
        whose = "responses to a drive" if drive is not None else kind
        raise ScanError([Fault("doublings", show(doublings), f"0 for {whose}")])
    if rates is not None:
        raise ScanError([Fault("rates", show(rates), f"None for {kind}", "give between and within")])
    given = complete(slices, [p for p in chosen.parameters if p.name not in pair])
    flat = {name: array.values.ravel() for name, array in labelled(given).items()}
    if next(iter(flat.values())).size != 1:
        raise ScanError([Fault("slices", "several", "numbers", "call curve for each")])
    values = values_at(asked, chosen, at)
    with np.errstate(all="ignore"):
        places = _places(asked, slices) if at is None and drive is None else []
        lines = _curves(asked, flat, values, places, resonant=at is None)
    return dataset(asked, given, lines)


def _taken(model: Model, pair: tuple[str, str]) -> set[str]:
    """Return the names that columns have."""
    words = Words(model, model.reference)
    found = {*pair, *(p.name for p in model.parameters), *model.variable_names}
    found |= {*meanings(model, words), "piece", "type", "angle", "coefficient", "multiplier", "eigenvalue"}
    found |= {*homoclinic_columns.columns_of(words, pair[0], "point", homoclinic_columns.nothing(model, 0))}
    return found | {"row_size", "duplicate_of", "start", "end"}


def _places(asked: Wanted, slices: Mapping[str, Values]) -> list[Place]:
    """Return the points of the plane beside which curves begin."""
    if asked.kind == "homoclinic":
        return takens_points(asked, slices)
    return bautin_points(asked, slices) if asked.kind in ("LPC", "NS") else []


# From branches to curves


def _curves(
    asked: Wanted, flat: Mapping[str, Array], values: Array, places: list[Place], *, resonant: bool
) -> Lines:
    """Return the curves that begin at what branches meet at some values of the second parameter, and beside
    some places; at resonances of other curves if `resonant`, or if there is nothing else."""
    found, met = _beginnings(asked, flat, values, places)
    if resonant or not found:
        found += _resonant(asked, met)
    if not found:
        hint = "give other values of `at`, or widen the ranges"
        if asked.kind == "homoclinic":
            hint += "; `homoclinic_by` of cycle_branches says where a period diverges beside no saddle"
        what = f"no {asked.kind} that a curve can begin with on "
        what += "responses of equilibria" if asked.forced else "branches from Hopf points"
        where = f"{what} at {asked.names[1]} = {show(values.tolist())}"
        raise ScanError([Fault(", ".join(asked.names), where, "at least one", hint)])
    tables, cuts, _ = _traced(asked, found)
    table = {name: np.concatenate([rows[name] for rows in tables]) for name in tables[0]}
    order = np.lexsort((table["order"], table["number"]))
    table = {name: values[order] for name, values in table.items()}
    ends = np.concatenate(cuts)
    return Lines(table, ends, again(table, ends))


def _traced(
    asked: Wanted, found: list[tuple[Any, Orbits, Orbits]]
) -> tuple[list[dict[str, Any]], list[Index], list[Met]]:
    """Return the rows of curves from some beginnings, what ends each curve, and the resonances on them."""
    tables: list[dict[str, Any]] = []
    cuts: list[Index] = []
    lines: list[tuple[Array, Array]] = []
    kept: list[Met] = []
    for system, orbits, along in found:
        for k in range(len(orbits.period)):
            one = system.chosen([k]), orbits.chosen([k]), along.chosen([k])
            known = _known(asked, *one[:2], lines)
            if known is not None:
                tables.append(known)
                continue
            rows, ends = joined(*_both_ways(asked, *one, kept))
            lines.append(line_of(rows, closed=bool((ends == BY_RETURN).all())))
            tables += [row | {"number": row["number"] + len(cuts)} for row in rows]
            cuts.append(ends)
    return tables, cuts, kept


def _resonant(asked: Wanted, met: list[Met]) -> list[tuple[Any, Orbits, Orbits]]:
    """Return the beginnings of curves at resonances of curves of other kinds, which begin at what branches
    have met."""
    found: list[tuple[Any, Orbits, Orbits]] = []
    if asked.model.delay:
        return found
    for kind, code in resonances.OTHERS.get(asked.kind, {}).items():
        other = replace(asked, kind=kind, record={})
        for one in _traced(other, _begun_once(other, met))[2]:
            if one.code == code:
                torus = asked.kind == "NS"
                begin = resonances.on_torus(one) if torus else resonances.beside_torus(one, asked.kind)
                found.append(_settled(asked, *begin))
    return [one for one in _once(found) if len(one[1].period)]


def _known(
    asked: Wanted, system: Any, orbits: Orbits, lines: list[tuple[Array, Array]]
) -> dict[str, Any] | None:
    """Return the row of a beginning that lies on a curve that is there, None if on none."""
    first, second = (orbits.scalars[:, k] for k in asked.plane)
    for number, (line, order) in enumerate(lines):
        place = places_on(np.column_stack((first, second, np.log(orbits.period))), line)
        if np.isfinite(place).all():
            between = np.interp(place, np.arange(len(order)), order)
            head = {"number": np.array([number]), "order": between, "type": np.zeros(1, dtype=np.intp)}
            held = forward(orbits, asked.plane[1])
            return _rules(asked, system, orbits).measured(system, orbits, held) | head
    return None


def _both_ways(
    asked: Wanted, system: Any, orbits: Orbits, along: Orbits, kept: list[Met]
) -> tuple[list[dict[str, Any]], Index]:
    """Return the rows of curves in both directions, and what ends them: a closed one needs but one. `kept`
    is given the resonances on them."""
    tell("following curves from points", len(orbits.period), None)
    rows, forth = _half(asked, system, orbits, along, kept)
    back = forth.copy()
    left = np.flatnonzero(forth != BY_RETURN)
    if len(left):
        turned = along.chosen(left).times(-np.ones(len(left)))
        others, back[left] = _half(asked, system.chosen(left), orbits.chosen(left), turned, kept)
        rows += [row | {"number": left[row["number"]], "order": -row["order"]} for row in others]
    rules = _rules(asked, system, orbits)
    count = len(forth)
    head = {"number": np.arange(count), "order": np.zeros(count), "type": np.zeros(count, dtype=np.intp)}
    # Where a curve begins the second parameter is what was asked for, also on a finer mesh.
    held = forward(orbits, asked.plane[1])
    return [*rows, rules.measured(system, orbits, held) | head], np.stack((back, forth), axis=1)


def _beginnings(
    asked: Wanted, flat: Mapping[str, Array], values: Array, places: list[Place]
) -> tuple[list[tuple[Any, Orbits, Orbits]], list[Met]]:
    """Return the problems of curves, the cycles they begin with, and their directions; and what branches
    have met."""
    row = next(p for p in asked.model.parameters if p.name == asked.names[0])
    limits = Extent(*asked.ranges[0], _ON_BRANCH, abs(row.default or 1.0))
    every = {name: np.repeat(array, len(values)) for name, array in flat.items()} | {asked.names[1]: values}
    if asked.forced:
        starts = [Starts(*response_starts(asked.model, every), None)]
    else:
        starts = branch_starts(asked.model, asked.names[0], every, limits)
    if asked.kind == "homoclinic":
        return _homoclinic(asked, starts, flat, limits, places), []
    met = [one for start in starts for one in _met(asked, start, limits, asked.doublings)]
    for place in places:
        met += _folds_beside(asked, flat, place, replace(limits, most=_BESIDE))
    return _begun_once(asked, met), met


def _folds_beside(asked: Wanted, flat: Mapping[str, Array], place: Place, limits: Extent) -> list[Met]:
    """Return folds of cycles beside a generalised Hopf point: nearer to it if none is within the range."""
    for distance in BESIDE:
        sides, first = beside(asked.model, asked.names, flat, [place], distance)
        found = []
        for start in branch_starts(asked.model, asked.names[0], sides, limits) if len(first) else []:
            own = start.chosen(nearest(start.who, start.orbits.value, first))
            found += smallest(_met(asked, own, limits))
        if found:
            return found
    return []


def _begun_once(asked: Wanted, met: list[Met]) -> list[tuple[Any, Orbits, Orbits]]:
    """Return the beginnings of curves of one kind among what branches have met, each once."""
    found = [_begun(asked, one) for one in met if one.code == KINDS[asked.kind] and len(one.number)]
    return [one for one in _once(found) if len(one[1].period)]


def _homoclinic(
    asked: Wanted, starts: list[Starts], flat: Mapping[str, Array], limits: Extent, places: list[Place]
) -> list[tuple[Any, Orbits, Orbits]]:
    """Return the homoclinic orbits that branches come to at some values, and beside some places."""
    sides, first = beside(asked.model, asked.names, flat, places)
    short = replace(limits, most=2 * _BESIDE)
    near = branch_starts(asked.model, asked.names[0], sides, limits) if len(first) else []
    near = [one.chosen(nearest(one.who, one.orbits.value, first)) for one in near]
    every = [(one, limits, False) for one in starts] + [(one, short, True) for one in near]
    found = []
    for start, extent, is_near in every:
        longest = None if is_near else asked.longest
        for problem, orbits in homoclinic_curves.beginnings(
            start, asked.names, extent, longest, beside=is_near
        ):
            way = tangents(problem, orbits, forward(orbits, 2), asked.units)
            found.append((problem, orbits, way))
    return [one for one in _once(found) if len(one[1].period)]


def _met(asked: Wanted, start: Starts, limits: Extent, doublings: int = 0) -> list[Met]:
    """Return what branches from some starts meet, and those of the doubled cycles that begin on them."""
    queue, found = [start], []
    seen: list[Array] = []
    for one in queue:
        longest = _PERIODS * one.orbits.period
        if asked.longest is not None:
            longest = np.full(len(longest), asked.longest)
        if asked.period is not None:
            longest = np.full(len(longest), max(1.5 * asked.period, float(longest.max())))
        doubled = one.laps > 1
        rules = OnBranches(limits, longest, forced=asked.forced, at_period=asked.period, doubled=doubled)
        begun = continuation.begun(one.problem, one.orbits, one.tangent, limits.units, rules.columns)
        if one.hopf is not None:
            begun.fronts = Fronts.of(one.who, longest, begun.first.shape[1])
        continuation.followed(begun, rules)
        found += rules.kept
        if one.laps < 2**doublings:
            queue += doubled_starts(one, rules.kept, seen)
    return found


def _once(found: list[tuple[Any, Orbits, Orbits]]) -> list[tuple[Any, Orbits, Orbits]]:
    """Return each beginning once: a branch between two Hopf points is followed from both of them."""
    seen: list[Array] = []
    kept = []
    for system, orbits, along in found:
        new = []
        for k, numbers in enumerate(orbits.scalars[:, :3]):
            if all((np.abs(numbers - other) > 1e-6 * np.abs(other)).any() for other in seen):
                seen.append(numbers)
                new.append(k)
        which = np.array(new, dtype=np.intp)
        kept.append((system.chosen(which), orbits.chosen(which), along.chosen(which)))
    return kept


def _begun(asked: Wanted, found: Met) -> tuple[Any, Orbits, Orbits]:
    """Return the problem of curves from bifurcations of one kind, their first cycles and directions."""
    problem, scalars, along = found.problem, found.orbits.scalars, found.tangent
    if asked.plane[1] == 0:
        problem = replace(problem, fixed=False)
    else:
        second = problem.parameters[asked.names[1]]
        problem = replace(problem, along=asked.names, fixed=asked.forced or asked.kind == "period")
        scalars = np.concatenate((scalars, second[:, None]), axis=1)
    if asked.kind == "period":
        orbits = found.orbits.with_scalars(scalars)
        return problem, orbits, tangents(problem, orbits, forward(orbits, 2), asked.units)
    wide = with_direction(found.problem, found.orbits, asked.kind, along)
    extra = wide.scalars[:, found.orbits.scalars.shape[1] :]
    return _settled(asked, marginal_of(problem, asked.kind), wide.with_scalars(np.hstack((scalars, extra))))


def _settled(asked: Wanted, system: Marginal, guess: Orbits) -> tuple[Any, Orbits, Orbits]:
    """Return the bifurcations near guesses, at the second parameter that these have."""
    settled = at_value(system, guess)
    good = np.flatnonzero(settled.good)
    system, orbits = system.chosen(good), settled.orbits.chosen(good)
    if not len(good):
        return system, orbits, orbits
    units = _all_units(asked, system)
    return system, orbits, tangents(system, orbits, forward(orbits, asked.plane[1]), units)


def _all_units(asked: Wanted, system: Any) -> Array:
    """Return the sizes of the parameters but for the period of a sine, and of b or theta."""
    extra = isinstance(system, Marginal) and system.has_extra
    units = asked.units if asked.plane[1] else asked.units[:1]
    return np.append(units, 1.0) if extra else units


def _rules(asked: Wanted, system: Any, orbits: Orbits) -> OnCurves:
    """Return the rules of curves that begin at some cycles."""
    longest = _PERIODS * orbits.period
    if asked.longest is not None:
        longest = np.full(len(longest), float(asked.longest))
    if asked.period is not None or asked.forced:
        longest = np.full(len(longest), math.inf)
    sizes = asked.plane, asked.units, _all_units(asked, system)
    if asked.kind == "homoclinic":
        unbound = np.full(len(longest), math.inf) if asked.longest is None else longest
        return homoclinic_curves.AlongHomoclinic(
            asked.kind, asked.ranges, *sizes, asked.points, unbound, record=asked.record
        )
    return OnCurves(asked.kind, asked.ranges, *sizes, asked.points, longest, record=asked.record)


def _half(
    asked: Wanted, system: Any, orbits: Orbits, along: Orbits, kept: list[Met]
) -> tuple[list[dict[str, Any]], Index]:
    """Return the rows of curves in one direction, and what ends them; `kept` is given their resonances."""
    rules = _rules(asked, system, orbits)
    if isinstance(rules, homoclinic_curves.AlongHomoclinic):
        return homoclinic_curves.half(rules, system, orbits, along)
    b = continuation.begun(system, orbits, along, rules.units, rules.columns)
    rows = continuation.followed(b, rules)
    kept += rules.kept
    return rows, b.cut
