"""Every equilibrium of every model of the family, with its stability and how far its bifurcations are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.models import model_of
from qifscan.dynamics.population import QIF
from qifscan.errors import Fault, ScanError, check_count, check_flag, is_range, show, unknown
from qifscan.lazy import LazyModule
from qifscan.roots.zeros import part
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import newton
from qifscan.theory.certain import nodes_of
from qifscan.theory.normal_forms import states
from qifscan.theory.plain import WORDS, at_points
from qifscan.theory.rate_curve import Path, paths
from qifscan.theory.resting import Pieces, pieces, resting
from qifscan.theory.spectrum import KINDS, Modes, kinds, spectrum_of
from qifscan.theory.tables import Words, flags

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array, Index
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")


LEAST = 3
"""Length of the dimension `equilibrium`, unless there are more somewhere."""

PROOF = (
    "between folds, whose number is proven, the graph over the rate is monotone; by whole numbers beside them"
)

_POINTS = 1 << 14


@dataclass(frozen=True)
class Slices:
    """Points of the parameters' grid, and the slices they lie on: sets of all parameters but one, the
    graph's.

    `parameters` are `(slices,)` each, `eta` and `of_point`, the slice of a point, `(points,)`.
    """

    model: Model
    given: dict[str, xr.DataArray]
    parameters: dict[str, Array]
    of_point: Index
    eta: Array
    shape: tuple[int, ...]

    @classmethod
    def of(cls, model: Model, given: dict[str, xr.DataArray]) -> Slices:
        """Return the slices of labelled parameters."""
        whole = labelled(given)
        others = labelled({name: array for name, array in given.items() if name != model.graph})
        first = next(iter(others.values()))
        number = xr.DataArray(np.arange(first.size).reshape(first.shape), dims=first.dims)
        like = whole[model.graph]
        return cls(
            model,
            given,
            {name: array.values.ravel() for name, array in others.items()},
            number.broadcast_like(like).transpose(*like.dims).values.ravel(),
            like.values.ravel(),
            like.shape,
        )


def on_graph(
    model: Model,
    parameters: Mapping[str, Values],
    *,
    distances: bool,
    starts: int | None = None,
    within: Mapping[str, tuple[float, float]] | None = None,
) -> xr.Dataset:
    """Return every equilibrium of a model at each set of parameters; see `equilibria`."""
    if model.rest is None:
        return _by_newton(model, parameters, starts, within, distances=distances)
    _check_no_starts(model, starts, within)
    with np.errstate(all="ignore"):
        slices = Slices.of(model, complete(parameters, model.parameters))
        rest = resting(model, slices.parameters, slices.of_point, slices.eta)
        state = rest.states[:, : max(LEAST, int(np.isfinite(rest.states[..., 0]).sum(axis=1).max(initial=0)))]
        state = np.pad(state, ((0, 0), (0, max(0, LEAST - state.shape[1])), (0, 0)), constant_values=np.nan)
        given = part(slices.parameters, slices.of_point) | {model.graph: slices.eta}
        found = _of_states(model, state, given) | {"certified": rest.certified}
        found |= to_bifurcations(slices, state[..., 0]) if distances else {}
    shaped = {name: values.reshape((*slices.shape, *values.shape[1:])) for name, values in found.items()}
    return described(Words(model, model.reference), slices.given, shaped)


def _check_no_starts(model: Model, starts: Any, within: Any) -> None:
    asked = [name for name, value in (("starts", starts), ("within", within)) if value is not None]
    hint = f"every equilibrium of {model.name} is found without"
    if asked:
        raise ScanError([Fault(name, "a value", "none", hint) for name in asked])


def _by_newton(
    model: Model,
    parameters: Mapping[str, Values],
    starts: int | None,
    within: Mapping[str, tuple[float, float]] | None,
    *,
    distances: bool,
) -> xr.Dataset:
    """Return the equilibria that starts lead to, with how many of these."""
    if distances:
        hint = "what they are to is read off a graph over the rate"
        raise ScanError([Fault("distances", "True", f"False, of {model.name}, which has no `rest`", hint)])
    count = newton.STARTS if starts is None else starts
    check_count("starts", count)
    _check_within(model, within or {})
    given = complete(parameters, model.parameters)
    whole = labelled(given)
    shape = next(iter(whole.values())).shape
    flat = {name: array.values.ravel() for name, array in whole.items()}
    ends = newton.equilibria(model, flat, count, within)
    most = max(LEAST, ends.states.shape[1])
    state = np.pad(ends.states, ((0, 0), (0, most - ends.states.shape[1]), (0, 0)), constant_values=np.nan)
    reached = np.pad(ends.reached, ((0, 0), (0, most - ends.reached.shape[1])))
    found = _of_states(model, state, flat) | {"start_count": reached, "converged_share": ends.share}
    found["certified"] = np.zeros(len(ends.share), dtype=bool)
    shaped = {name: values.reshape((*shape, *values.shape[1:])) for name, values in found.items()}
    dataset = described(Words(model, model.reference), given, shaped)
    return dataset.assign_attrs(method=newton.METHOD, starts=count, same=newton.SAME)


def _check_within(model: Model, within: Mapping[str, Any]) -> None:
    if not isinstance(within, Mapping):
        raise ScanError([Fault("within", show(within), "a range for each variable named, as a dict")])
    faults = [
        unknown("within", name, model.variable_names) for name in within if name not in model.variable_names
    ]
    for name, bounds in within.items():
        if not is_range(bounds):
            faults.append(Fault(f"within.{name}", show(bounds), "two ascending numbers"))
    if faults:
        raise ScanError(faults)


def _of_states(model: Model, state: Array, given: Mapping[str, Array]) -> dict[str, Any]:
    """Return the states `(points, equilibria, n)` and their eigenvalues as columns; block by block."""
    count, most, _ = state.shape
    spectrum = spectrum_of(model)
    size = spectrum.size(model)
    found = {name: state[..., i] for i, name in enumerate(model.variable_names)}
    real, imag, unstable = (np.empty((count, most, *more)) for more in ((size,), (size,), ()))
    for start in range(0, count, _POINTS):
        block = slice(start, start + _POINTS)
        here = {name: np.repeat(values[block], most) for name, values in given.items()}
        modes = spectrum.modes(model, state[block].reshape(-1, state.shape[2]), here)
        real[block], imag[block] = (values.reshape(-1, most, size) for values in (modes.real, modes.imag))
        unstable[block] = modes.unstable.reshape(-1, most)
    kind, directions, stable = kinds(Modes(real, imag, unstable))
    found |= {"kind": kind, "unstable_dimensions": directions, "stable": stable}
    return found | {"eigenvalue_real": real, "eigenvalue_imag": imag}


def described(words: Words, given: Mapping[str, xr.DataArray], found: dict[str, Any]) -> xr.Dataset:
    """Return the dataset of equilibria: states and eigenvalues with what follows from them."""
    along, model = ("equilibrium",), words.model
    real = found["eigenvalue_real"]
    r = found[model.variable_names[0]]
    meant = {
        "eigenvalue_real": words.meaning("real part of the eigenvalue", "1/ms"),
        "eigenvalue_imag": words.meaning("imaginary part of the eigenvalue, angular frequency", "1/ms"),
        "kind": words.meaning("kind of the equilibrium") | flags(KINDS),
        "unstable_dimensions": words.meaning(
            "eigenvalues with a positive real part, -1: no equilibrium", "1"
        ),
        "stable": words.meaning("the equilibrium is stable"),
        "start_count": words.meaning("starts that led to the equilibrium", "1"),
    } | {
        f"{kind}_distance": words.meaning(
            f"change of {model.graph} up to the nearest {name} of this equilibrium", "1"
        )
        for kind, name in (("fold", "fold"), ("hopf", "Hopf point"))
    }
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {
        name: (along, found[name], words.of_state(name)) for name in model.variable_names
    }
    for name, attributes in meant.items():
        if name in found:
            own = (*along, "eigenvalue") if name.startswith("eigenvalue") else along
            variables[name] = (own, found[name], attributes)
    count = np.isfinite(r).sum(axis=-1, dtype=np.int8)
    variables["count"] = ((), count, words.meaning("number of equilibria", "1"))
    known = model.rest is not None
    certified = words.meaning("the number of equilibria is proven") | {
        "comment": PROOF if known else newton.METHOD
    }
    variables["certified"] = ((), found["certified"], certified)
    if "converged_share" in found:
        share = words.meaning("share of the starts that led to an equilibrium", "1")
        variables["converged_share"] = ((), found["converged_share"], share)
    return words.dataset(given, variables, _positions(words, r.shape[-1], real.shape[-1]))


def _positions(words: Words, equilibria: int, size: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    return {
        "equilibrium": (
            np.arange(equilibria),
            words.meaning("position among the equilibria, from the lowest rate"),
        ),
        "eigenvalue": (np.arange(size), words.meaning("position among the eigenvalues, ascending")),
    }


def to_bifurcations(slices: Slices, r: Array) -> dict[str, Array]:
    """Return how far the graph parameter can change until each equilibrium meets a fold, or a Hopf point.

    Signed, NaN where it meets none: an equilibrium meets what lies on its own monotone piece of eta(r) or
    ends it.
    """
    path = paths(slices.model, slices.model.graph)[0]
    nodes = nodes_of(path, slices.parameters, None)
    of = pieces(path, slices.parameters, nodes)
    whose, eta = slices.of_point, slices.eta
    found = {name: np.full(r.shape, np.nan) for name in ("fold_distance", "hopf_distance")}
    hopf = _hopf_on(path, slices.parameters, of)
    for column in range(r.shape[1]):
        rate = r[:, column]
        k = np.clip((of.low[whose] <= rate[:, None]).sum(axis=1) - 1, 0, None)
        there = np.isfinite(rate)
        ends = [np.where(there, fold[whose, k], np.nan) for fold in (of.fold_low, of.fold_high)]
        found["fold_distance"][:, column] = _nearest(ends, eta)
        points = [np.where(there & (piece[whose] == k), at[whose], np.nan) for at, piece in hopf]
        found["hopf_distance"][:, column] = _nearest(points, eta)
    return found


def _hopf_on(path: Path, parameters: dict[str, Array], of: Pieces) -> list[tuple[Array, Array]]:
    """Return eta and the piece of the first, second, ... Hopf point of every slice, NaN where there are
    fewer.
    """
    spectrum = spectrum_of(path.model)
    who, at = spectrum.turning(path, parameters, None)
    here = part(parameters, who) | {path.model.graph: 0.0}
    imaginary = spectrum.squared_frequency(path.model, states(path.model, at, here), here) > 0.0
    who, at = who[imaginary], at[imaginary]
    value = path.partial(at, part(parameters, who), 0, 0)[0]
    piece = (of.low[who] <= at[:, None]).sum(axis=1) - 1.0
    rank = np.arange(len(who)) - np.searchsorted(who, who)
    found = []
    for k in range(int(rank.max(initial=-1)) + 1):
        columns = np.full((2, len(of.low)), np.nan)
        columns[:, who[rank == k]] = value[rank == k], piece[rank == k]
        found.append((columns[0], columns[1]))
    return found


def _nearest(values: list[Array], eta: Array) -> Array:
    found = np.full(eta.shape, np.nan)
    for value in values:
        change = value - eta
        found = np.where(np.abs(change) < np.where(np.isnan(found), np.inf, np.abs(found)), change, found)
    return found


def equilibria(
    model: str = "qif",
    *,
    distances: bool = False,
    starts: int | None = None,
    within: Mapping[str, tuple[float, float]] | None = None,
    **parameters: Values,
) -> xr.Dataset:
    """Return every equilibrium of a model with its stability, at each set of parameters.

    Of the plain model, with R = tau r > 0: pi^2 R^4 - J R^3 - eta R^2 - delta^2 / (4 pi^2) = 0 and v = -delta
    / (2 pi R); the eigenvalues are (2 v +- sqrt(2 R (J - 2 pi^2 R))) / tau.

    Of the others: the roots of eta(r) = eta with rates in [1e-6, 1e6] sqrt(delta)/(pi tau), and the
    eigenvalues of the Jacobian there.

    With a delay D: the same equilibria, and of the infinitely many eigenvalues, the roots of (l - a)^2 + c =
    b exp(-l D), the six rightmost, NaN where there are fewer.

    Of a model without `rest`: the equilibria that Newton's method finds from many starts. Others may be
    missed; ends nearer than 1e-6 of their size count as one.

    Parameters
    ----------
    model
        Name of the model.
    distances
        Also return how far each equilibrium is from the nearest fold and Hopf point.
    starts
        Of a model without `rest`: the number of starts, by default 128.
    within
        Of a model without `rest`: where each variable starts, such as `{"v": (-5.0, 5.0)}`.
    **parameters
        Parameters of the model (of the plain one `tau` in ms, `eta`, `delta`, `J`), each a number, a sequence
        (which becomes a dimension of its name) or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        Along the dimensions of the parameters and `equilibrium`, the rates ascending. There are 3 places,
        more if some point has more equilibria; those beyond `count` are NaN.

        - the state: `r` (1/ms), `v`, ...;
        - `eigenvalue_real`, `eigenvalue_imag` (1/ms, along `eigenvalue`, ascending);
        - `unstable_dimensions`: the number of all eigenvalues to the right of the axis;
        - `stable`: of the plain model an eigenvalue is 0 within rounding of a fold, and such an equilibrium
          is not called stable;
        - `kind`: 0 none, 1 node or 2 focus by the eigenvalue of largest real part, 3 saddle (an odd number of
          unstable directions: it lies between two folds);
        - `count`, without the dimension `equilibrium`;
        - `certified`, whether `count` is proven. Between folds, whose number is proven, eta(r) is monotone;
          where rounding can't tell on which side of a fold a point is, its equilibria are counted in whole
          numbers. Not proven are models without `rest` and values out of all proportion;
        - with `distances`: `fold_distance`, `hopf_distance`, the change of eta (eta_i of qif_pair), with its
          sign, at which this equilibrium meets the nearest fold or Hopf point, NaN if none;
        - of a model without `rest`: `start_count`, the starts that led to each, and `converged_share`.

    Raises
    ------
    ScanError
        For an unknown model or parameter and for values that are not allowed.

    Notes
    -----
    Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015); of other models see their `reference`.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.equilibria(eta=[-5.0, 0.0], J=15.0)
    >>> found["count"].values
    array([3, 1], dtype=int8)
    >>> found["r"].sel(eta=-5.0).values.round(4)
    array([0.0811, 0.473 , 1.0306])
    """
    check_flag("distances", distances)
    if model != QIF.name or starts is not None or within is not None:
        chosen = model_of(model, delayed=True, restless=True)
        return on_graph(chosen, parameters, distances=distances, starts=starts, within=within)
    given = complete(parameters, QIF.parameters, may_be_none=True)
    slices = labelled(given)
    shape = next(iter(slices.values())).shape
    found = at_points({name: array.values.ravel() for name, array in slices.items()})
    if distances:
        with np.errstate(all="ignore"):
            found |= to_bifurcations(Slices.of(QIF, given), found["r"])
    shaped = {name: values.reshape((*shape, *values.shape[1:])) for name, values in found.items()}
    return described(WORDS, given, shaped)
