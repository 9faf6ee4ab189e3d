"""Exact theory of the plain model: every equilibrium with its stability, folds, cusp, node/focus line.

With u = pi tau r / sqrt(delta), e = eta / delta and c = J / (pi sqrt(delta)) the equilibria are the
positive roots of one function of one variable, E(u) = u^2 - c u - 1 / (4 u^2) = e. Its slope is
h(u) - c with h(u) = 2 u + 1 / (2 u^3), which is convex with its minimum at the cusp, u_c = (3/4)^(1/4).
So E has no fold (c <= h(u_c)) or two, one on each side of u_c; it is concave below u_c and convex above.
On every piece between these points there is at most one root, and a side from which Newton's method
goes to it monotonically: nothing is searched for, so nothing can be missed.

Everything is made of + - * / and the square root alone, which IEEE 754 rounds in one way, and every
element stops by its own criterion: its bits do not depend on what else is in the array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from qifscan.arrays import Array
from qifscan.dynamics.initial import NAMED_STATES
from qifscan.dynamics.population import QIF
from qifscan.errors import Fault, ScanError, near, one_of
from qifscan.lazy import LazyModule
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory import certain
from qifscan.theory.rate_curve import paths
from qifscan.theory.tables import Words

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool]]
Curve: TypeAlias = Callable[..., tuple[Array, Array]]

REFERENCE = "Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015)"
WORDS = Words(QIF, REFERENCE)

_U_CUSP = math.sqrt(math.sqrt(0.75))
_C_CUSP = 8.0 / 3.0 * _U_CUSP
_EPS = float(np.finfo(np.float64).eps)

_MOST_C = 1e100
"""Beyond, squares and cubes overflow, and a root could be lost without notice."""

_ROUNDINGS = 32
"""Rounding errors that add up in E(u), about twice as many as there are."""

_BLOCK = 1 << 14
"""Points at a time: a dozen work arrays of a block stay in the cache."""

_MOST_STEPS = 500
"""Monotone Newton ends by itself; far from a root it gains at least a quarter per step, which crosses
the range of the exponents within this many."""


def roots(eta: ArrayLike, J: ArrayLike, delta: ArrayLike, tau: ArrayLike) -> Array:
    """Return the rates of all equilibria, ascending, NaN where there is none: `broadcast + (3,)`, in 1/ms.

    pi^2 R^4 - J R^3 - eta R^2 - delta^2 / (4 pi^2) = 0 with R = tau r > 0. One or three: the pair that
    merges on a fold is counted in whole numbers where rounding can't tell.
    NaN also where delta or tau is not above 0, and out of all proportion: |eta| / delta beyond 1e200,
    |J| / sqrt(delta) beyond 1e100, a rate that overflows. To the last digits; near a fold to fewer,
    down to half of them, because there the rounding of the parameters alone moves the roots as far.
    Source: Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12 at rest.
    """
    given = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (eta, J, delta, tau)))
    flat = [value.ravel() for value in given]
    found = np.empty((flat[0].size, 3))
    for block in _blocks(flat[0].size):
        found[block] = _roots(*(value[block] for value in flat))[0]
    return found.reshape(*given[0].shape, 3)


def _roots(eta: Array, J: Array, delta: Array, tau: Array) -> tuple[Array, Mask]:
    """Return the rates at points, and of which points their number is proven: not out of all proportion."""
    with np.errstate(all="ignore"):
        scale, rate = _scales(delta, tau)
        e, c = eta / delta, J / scale
        fine = (np.abs(e) < _MOST_C * _MOST_C) & (np.abs(c) < _MOST_C)
        scaled, open_ = _scaled_roots(np.where(fine, e, np.nan), c)
        rates = rate[:, None] * scaled
        found = np.sort(np.where((rates > 0.0) & (rates < np.inf), rates, np.nan), axis=-1)
    for k in np.flatnonzero(fine & open_):
        found[k] = _counted(eta[k], J[k], delta[k], tau[k], rate[k])
    return found, fine


def fold_rates(J: ArrayLike, delta: ArrayLike, tau: ArrayLike) -> Array:
    """Return the rates at the two folds in eta, ascending, NaN below the cusp: `broadcast + (2,)`, in 1/ms.

    J = 2 pi^2 R + delta^2 / (2 pi^2 R^3) with R = tau r > 0. At every eta the lower branch lies at or
    below the first rate, the upper branch at or above the second. NaN also where `roots` is.
    Source: Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015), eq. 12 at rest.
    """
    given = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in (J, delta, tau)))
    flat = [value.ravel() for value in given]
    found = np.empty((flat[0].size, 2))
    for block in _blocks(flat[0].size):
        J_, delta_, tau_ = (value[block] for value in flat)
        with np.errstate(all="ignore"):
            scale, rate = _scales(delta_, tau_)
            found[block] = rate[:, None] * np.stack(_scaled_folds(J_ / scale), axis=-1)
    return found.reshape(*given[0].shape, 2)


def at_points(given: Mapping[str, Array]) -> dict[str, Any]:
    """Return the equilibria of the plain model at points, `(points,)` each; block by block, in the cache."""
    count = given["eta"].size
    found: dict[str, Any] = {name: np.empty((count, 3)) for name in ("r", "v")}
    found |= {f"eigenvalue_{name}": np.empty((count, 3, 2)) for name in ("real", "imag")}
    found |= {name: np.empty((count, 3), dtype=np.int8) for name in ("kind", "unstable_dimensions")}
    found["stable"] = np.empty((count, 3), dtype=bool)
    found["certified"] = np.empty(count, dtype=bool)
    for block in _blocks(count):
        tau, eta, delta, J = (given[name][block] for name in ("tau", "eta", "delta", "J"))
        r, found["certified"][block] = _roots(eta, J, delta, tau)
        v = potential(r, delta[:, None], tau[:, None])
        real, imag, kind = _stability(r * tau[:, None], v, J[:, None])
        per_ms = 1.0 / tau[:, None, None]
        found["r"][block], found["v"][block], found["kind"][block] = r, v, kind
        found["eigenvalue_real"][block], found["eigenvalue_imag"][block] = real * per_ms, imag * per_ms
        found["stable"][block] = (real[..., 0] < 0.0) & (real[..., 1] < 0.0)
        found["unstable_dimensions"][block] = np.where(kind == 0, -1, kind == 3)
    return found


def _counted(eta: float, J: float, delta: float, tau: float, unit: float) -> Array:
    """Return the rates of a point, counted in whole numbers."""
    one = {n: np.array([x]) for n, x in (("eta", eta), ("J", J), ("delta", delta), ("tau", tau))}
    rates = certain.counted_rates(paths(QIF, QIF.graph)[0], one, unit / _MOST_C, unit * _MOST_C)
    return np.pad(rates, (0, 3 - len(rates)), constant_values=np.nan)


def folds(J: Values, delta: Values = 1.0, tau: Values = 1.0) -> xr.Dataset:
    """Return the two folds (saddle-node bifurcations) in eta for given coupling; NaN below the cusp.

    J = 2 pi^2 R + delta^2 / (2 pi^2 R^3), eta = -pi^2 R^2 - 3 delta^2 / (4 pi^2 R^2), R = tau r > 0. Between
    the two values of eta the population is bistable.

    Parameters
    ----------
    J, delta, tau
        Coupling, half-width of the excitabilities, and membrane time constant (ms): each a number, a sequence
        or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        `eta`, `r` (1/ms) and `v` along `fold`: "lower" is where the lower branch ends, at the higher eta and
        the lower rate; "upper" is where the upper branch ends.

    Raises
    ------
    ScanError
        For values that are not allowed.

    Notes
    -----
    Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015).

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.folds(J=15.0)["eta"].values.round(4)
    array([-3.1361, -5.7435])
    """
    given = _checked(J=J, delta=delta, tau=tau)
    J_, delta_, tau_ = _values(given, "J", "delta", "tau")
    r = fold_rates(J_, delta_, tau_)
    delta_, tau_ = delta_[..., None], tau_[..., None]
    square = _squared(math.pi * tau_ * r)
    eta = -square - 0.75 * delta_ * delta_ / square
    along = ("fold",)
    return WORDS.dataset(
        given,
        {
            "eta": (along, eta, WORDS.of_parameter("eta", "at the fold")),
            "r": (along, r, WORDS.of_state("r")),
            "v": (along, potential(r, delta_, tau_), WORDS.of_state("v")),
        },
        {"fold": (np.array(["lower", "upper"]), WORDS.meaning("branch that ends at the fold"))},
    )


def cusp(delta: Values = 1.0, tau: Values = 1.0) -> xr.Dataset:
    """Return the cusp, where the two folds meet: below its coupling no input makes the population bistable.

    eta = -sqrt(3) delta, J = (8 pi / 3) (3/4)^(1/4) sqrt(delta), R = tau r = (3/4)^(1/4) sqrt(delta) / pi.

    Parameters
    ----------
    delta, tau
        Half-width of the excitabilities and membrane time constant (ms): each a number, a sequence or a
        DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        `eta`, `J`, `r` (1/ms) and `v`.

    Raises
    ------
    ScanError
        For values that are not allowed.

    Notes
    -----
    Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015).

    Examples
    --------
    >>> import qifscan as qs
    >>> round(float(qs.cusp(delta=1.0)["J"]), 4)
    7.7962
    """
    given = _checked(delta=delta, tau=tau)
    delta_, tau_ = _values(given, "delta", "tau")
    scale = np.sqrt(delta_)
    r = _U_CUSP / math.pi * scale / tau_
    return WORDS.dataset(
        given,
        {
            "eta": ((), -math.sqrt(3.0) * delta_, WORDS.of_parameter("eta", "at the cusp")),
            "J": ((), math.pi * _C_CUSP * scale, WORDS.of_parameter("J", "at the cusp")),
            "r": ((), r, WORDS.of_state("r")),
            "v": ((), potential(r, delta_, tau_), WORDS.of_state("v")),
        },
    )


def focus_line(J: Values, delta: Values = 1.0, tau: Values = 1.0) -> xr.Dataset:
    """Return where the upper equilibrium turns from node into focus: above this eta it rings.

    J = 2 pi^2 R with R = tau r, so eta = -pi^2 R^2 - delta^2 / (4 pi^2 R^2). Below the coupling of the cusp
    it is the only equilibrium that turns; for J <= 0 it is a focus at every eta, and the line is NaN. An
    equilibrium on the lower branch is always a node.

    Parameters
    ----------
    J, delta, tau
        Coupling, half-width of the excitabilities, and membrane time constant (ms): each a number, a sequence
        or a DataArray; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        `eta`, `r` (1/ms) and `v`.

    Raises
    ------
    ScanError
        For values that are not allowed.

    Notes
    -----
    Montbrio, Pazo, Roxin, Phys. Rev. X 5, 021028 (2015).

    Examples
    --------
    >>> import qifscan as qs
    >>> sorted(qs.focus_line(J=15.0).data_vars)
    ['eta', 'r', 'v']
    """
    given = _checked(J=J, delta=delta, tau=tau)
    J_, delta_, tau_ = _values(given, "J", "delta", "tau")
    R = np.where(J_ > 0.0, J_, np.nan) / (2.0 * math.pi * math.pi)
    square = _squared(math.pi * R)
    eta = -square - 0.25 * delta_ * delta_ / square
    return WORDS.dataset(
        given,
        {
            "eta": ((), eta, WORDS.of_parameter("eta", "at the node/focus line")),
            "r": ((), R / tau_, WORDS.of_state("r")),
            "v": ((), potential(R / tau_, delta_, tau_), WORDS.of_state("v")),
        },
    )


def named_state(name: str, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the state (`r` in 1/ms, `v`) that a name of `NAMED_STATES` means at each set of parameters.

    `parameters` holds float64 arrays of one shape for tau (ms), eta, delta and J, to which the mean of
    the noise has been added. NaN where delta is not above 0: there the model has no stable equilibrium.
    "rest" and "down" are the same state in the plain model. Raises `ScanError` for an unknown name.
    """
    if name not in NAMED_STATES:
        raise ScanError([_unknown("initial", name, list(NAMED_STATES))])
    tau, eta, delta, J = (np.asarray(parameters[key]) for key in ("tau", "eta", "delta", "J"))
    r = NAMED_STATES[name](roots(eta, J, delta, tau))
    return {"r": r, "v": potential(r, delta, tau)}


def _unknown(where: str, name: object, known: Sequence[str]) -> Fault:
    return Fault(where, f'"{name}"', one_of(known), near(str(name), known))


def potential(r: Array, delta: Array, tau: Array) -> Array:
    """Return v at an equilibrium of rate r (1/ms): v = -delta/(2 pi tau r)."""
    return -delta / (2.0 * math.pi * tau * r)


def _squared(x: Array) -> Array:
    return x * x


def _stability(R: Array, v: Array, J: Array) -> tuple[Array, Array, Array]:
    """Return the eigenvalues times tau, `(..., 3, 2)` real and imaginary, and the kind, `(..., 3)`."""
    spread = 2.0 * R * (J - 2.0 * math.pi * math.pi * R)
    half = np.sqrt(np.maximum(spread, 0.0))
    real = np.stack((2.0 * v - half, 2.0 * v + half), axis=-1)
    turn = np.sqrt(np.maximum(-spread, 0.0))
    imag = np.stack((0.0 - turn, turn), axis=-1)
    saddle = np.zeros(R.shape, dtype=bool)
    saddle[..., 1] = np.isfinite(R[..., 2])
    # Which piece of the branch an equilibrium is on is known; next to a fold rounding could contradict it.
    real[..., 1] = np.where(saddle, np.maximum(real[..., 1], 0.0), np.minimum(real[..., 1], 0.0))
    kind = np.where(saddle, 3, np.where(spread < 0.0, 2, 1))
    return real, imag, np.where(np.isfinite(R), kind, 0).astype(np.int8)


def _scales(delta: Array, tau: Array) -> tuple[Array, Array]:
    """Return the units of J (that of c) and of the rate (that of u); NaN where the model is not defined."""
    root = np.sqrt(np.where((delta > 0.0) & (tau > 0.0), delta, np.nan))
    return math.pi * root, root / (math.pi * tau)


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))


def _input(u: Array, c: Array, e: Array) -> tuple[Array, Array]:
    """E(u) - e and its slope."""
    q = 1.0 / (u * u)
    w = u - c
    return u * w - 0.25 * q - e, w + u + 0.5 * q / u


def _fold_condition(u: Array, c: Array) -> tuple[Array, Array]:
    """h(u) - c and its slope."""
    q = 0.5 / (u * u * u)
    return 2.0 * u + q - c, 2.0 - 3.0 * q / u


def _newton(curve: Curve, start: Array, end: Array, *constants: Array) -> Array:
    """Go from `start` towards `end` by Newton's method, each element until it no longer gets nearer.

    The curve must have one zero between them and be convex or concave there, with the signs that make
    the method monotone; then it can't overshoot but by rounding, and a step backwards is the end.
    """
    found = start.copy()
    going = np.arange(start.size)
    u, rest = start, constants
    for _ in range(_MOST_STEPS):
        if not going.size:
            break
        value, slope = curve(u, *rest)
        new = u - value / slope
        # A slope of rounding size, next to a fold, must not throw an element off its piece.
        upward = end > u
        new = np.where(upward, np.minimum(new, end), np.maximum(new, end))
        nearer = np.where(upward, new > u, new < u)
        found[going] = np.where(nearer, new, u)
        further = nearer & (np.abs(new - u) > 2.0 * _EPS * u)
        going, u, end = going[further], new[further], end[further]
        rest = tuple(constant[further] for constant in rest)
    return found


def _where(curve: Curve, chosen: Mask, start: Array, end: Array, *constants: Array) -> Array:
    """Solve where `chosen`; NaN elsewhere."""
    found = np.full(chosen.shape, np.nan)
    found[chosen] = _newton(curve, start[chosen], end[chosen], *(constant[chosen] for constant in constants))
    return found


def _scaled_folds(c: Array) -> tuple[Array, Array]:
    """Return the two u at which h(u) = c, NaN below the cusp."""
    # Safe starts have h > c: u <= (2 c)^(-1/3), here rounded down to a power of 2 because a cube root
    # is not rounded in one way everywhere; and u = c / 2.
    exponent = np.frexp(2.0 * c)[1]
    left = np.ldexp(1.0, -((exponent + 2) // 3))
    end = np.full(c.shape, _U_CUSP)
    above = (c > _C_CUSP) & (c < _MOST_C)
    return _where(_fold_condition, above, left, end, c), _where(_fold_condition, above, 0.5 * c, end, c)


def _scaled_roots(e: Array, c: Array) -> tuple[Array, Mask]:
    """Return the positive roots of E(u) = e on the three pieces, `(points, 3)`, NaN on those without one; and
    where rounding leaves their number open.
    """
    low_fold, high_fold = _scaled_folds(c)
    nothing = np.zeros_like(c)
    folded = _input(high_fold, c, nothing)[0] < _input(low_fold, c, nothing)[0]
    # Without folds both ends of the middle piece are the inflection point.
    low_fold, high_fold = np.where(folded, low_fold, _U_CUSP), np.where(folded, high_fold, _U_CUSP)
    highest, lowest = _input(low_fold, c, nothing)[0], _input(high_fold, c, nothing)[0]
    on_lower = (e < highest) | ((e == highest) & ~folded)
    on_middle = (e < highest) & (e > lowest)
    on_upper = e > lowest
    # Between the inflection and the root: there u^2 - 1 / (4 u^2) = c u + e is replaced by its value at u_c.
    inner = (_U_CUSP * _U_CUSP - 0.25 / (_U_CUSP * _U_CUSP) - e) / c
    # Roots on two pieces never share a number, however near the fold.
    outer = np.where(inner > _U_CUSP, high_fold * (1.0 - 8.0 * _EPS), low_fold * (1.0 + 8.0 * _EPS))
    lower = _where(_input, on_lower, _below(e, c), low_fold, c, e)
    middle = _where(_input, on_middle, inner, outer, c, e)
    upper = _where(_input, on_upper, _above(e, c, high_fold), high_fold, c, e)
    open_ = _at_end(low_fold, highest, e, c) | _at_end(high_fold, lowest, e, c)
    return np.stack((lower, middle, upper), axis=-1), open_


def _at_end(u: Array, value: Array, e: Array, c: Array) -> Mask:
    """Tell where e is as near to E at a fold as rounding."""
    size = u * (u + np.abs(c)) + 0.25 / (u * u) + np.abs(e)
    near: Mask = np.abs(value - e) <= _ROUNDINGS * _EPS * size
    return near


def _below(e: Array, c: Array) -> Array:
    """Return a lower bound of the root below u_c: 1 / (4 u^2) = u^2 - c u - e, the most it is at u_c."""
    most = _U_CUSP * _U_CUSP + np.maximum(-c, 0.0) * _U_CUSP - e
    return 0.5 / np.sqrt(most) * (1.0 - 8.0 * _EPS)


def _above(e: Array, c: Array, least: Array) -> Array:
    """Return an upper bound of the root above `least`: u^2 - c u <= e + 1 / (4 least^2)."""
    most = e + 0.25 / (least * least)
    # Not negative where there is a root, but for rounding next to a fold.
    root = np.sqrt(np.maximum(0.25 * c * c + most, 0.0))
    bound = np.where(c > 0.0, 0.5 * c + root, most / (root - 0.5 * c))
    return np.maximum(bound, least) * (1.0 + 8.0 * _EPS)


def _checked(**given: Values) -> dict[str, xr.DataArray]:
    known = [parameter for parameter in QIF.parameters if parameter.name in given]
    return complete(given, known, may_be_none=True)


def _values(given: Mapping[str, xr.DataArray], *names: str) -> tuple[Array, ...]:
    points = labelled(given)
    return tuple(points[name].values for name in names)
