"""How long a population stays up and down under noise: residence times, switching rates, their intervals."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.errors import Fault, ScanError, unknown
from qifscan.lazy import LazyModule
from qifscan.results.finished import check_share, flags, names_of, opened

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

Array = np.ndarray[Any, np.dtype[np.float64]]

STATES = ("down", "up")
NEEDED = ("up_fraction", "up_exits", "down_exits")
NOT_TRUSTED = int(Status.diverged | Status.under_resolved)
ESTIMATES = {0: "two_sided", 1: "no_exit_seen", 2: "never_there", 3: "not_defined"}


def residence(
    data: xr.Dataset | str | os.PathLike[str],
    *,
    over: Sequence[str] = ("replicate",),
    confidence: float = 0.95,
) -> xr.Dataset:
    """Return the mean residence time and the switching rate of each state, with confidence intervals.

    For residence times of exponential law the estimate of most likelihood of the rate of leaving a state is
    n / T: n exits in all the time T spent there, the stays that the window cuts off included (they are
    censored, not left out). Its interval is [q(a/2; n), q(1 - a/2; n + 1)] / T with a = 1 - confidence and
    q(p; k) the quantiles of the gamma law of shape k, half of those of chi-square with 2 k degrees of
    freedom. It holds the rate at least so often, whether a state is watched for a fixed time or until its
    n-th exit.

    Parameters
    ----------
    data
        A dataset of a scan with the observables `up_fraction`, `up_exits` and `down_exits`, or the path of
        its store. With `up_residence_count`, `_sum` and `_squares`, and those of `down`, their law is
        measured too.
    over
        Dimensions that are pooled; points that have not been run, diverged or are under-resolved are left
        out.
    confidence
        Probability with which the interval holds the true rate.

    Returns
    -------
    xarray.Dataset
        Along `state` ("down", "up"): `switching_rate` and `rate_low`, `rate_high` (1/ms); `residence_time`
        and `residence_low`, `residence_high` (ms), their inverses; `exits`, `time` (ms); `estimate`, a CF
        flag. Where no exit was seen (flag 1) rate and time are NaN, and `rate_high` and `residence_low` are
        one-sided bounds; where the state was never there (flag 2), or the levels are not defined or no point
        is left (flag 3), all are NaN. `cv` is the coefficient of variation of the `completed` stays, from
        their beginning to their end: of exponential ones 1 +- 1/sqrt(completed), but less where the window is
        not much longer than a stay, as the longest stays are not completed then. `points` and `left_out`
        count the points of each estimate.
        Source: Epstein, Sobel, J. Am. Stat. Assoc. 48, 486 (1953); Garwood, Biometrika 28, 437 (1936).

    Raises
    ------
    ScanError
        If the scan has not these observables, or there is no such dimension.

    Examples
    --------
    >>> import qifscan as qs
    >>> names = ["up_fraction", "up_exits", "down_exits"]
    >>> scan = qs.Scan(
    ...     fixed={"eta": -5.0, "J": 15.0, "v_ou_sigma": 2.0},
    ...     observables=names,
    ...     replicates=8,
    ...     protocol=qs.Protocol(transient=5.0, window=100.0),
    ... )
    >>> found = qs.residence(qs.run(scan, "stays.zarr", client="serial"))
    >>> found["exits"].values
    array([20., 19.])
    """
    dataset, scan = opened(data)
    check_share("confidence", confidence)
    dims = _pooled(dataset, over)
    faults = []
    missing = [name for name in NEEDED if name not in dataset]
    if missing:
        hint = f"add {', '.join(missing)} to the observables of the scan"
        faults.append(Fault("data", f"no {missing[0]}", f"the observables {', '.join(NEEDED)}", hint))
    if faults:
        raise ScanError(faults)
    counts = [name for state in STATES for name in _completed(state)]
    kept = [*NEEDED, *(name for name in counts if name in dataset), "status"]
    chosen = dataset[kept].compute()
    window = scan.protocol.base * scan.protocol.window_steps
    used = (
        (chosen["status"] > 0) & ((chosen["status"] & NOT_TRUSTED) == 0) & np.isfinite(chosen["up_fraction"])
    )
    states = [_of_state(state, chosen.where(used), used, dims, window, confidence) for state in STATES]
    result = xr.concat(states, xr.Variable("state", list(STATES))).transpose(..., "state")
    result["points"] = _variable(used.sum(dims), "points of the estimate", "1")
    result["left_out"] = _variable((~used).sum(dims), "points that are not used", "1")
    return result.assign_attrs(
        {k: v for k, v in dataset.attrs.items() if k in ("title", "references", "qifscan_fingerprint")},
        confidence=confidence,
        over=", ".join(dims),
    )


def _completed(state: str) -> tuple[str, str, str]:
    return f"{state}_residence_count", f"{state}_residence_sum", f"{state}_residence_squares"


def _pooled(dataset: xr.Dataset, over: Sequence[str]) -> list[str]:
    names = names_of("over", over)
    known = [str(dim) for dim in dataset.dims]
    wrong = [name for name in names if name not in known and name != "replicate"]
    if wrong:
        raise ScanError([unknown("over", name, known, "dimension") for name in wrong])
    return [name for name in names if name in known]


def _of_state(
    state: str, values: xr.Dataset, used: xr.DataArray, dims: list[str], window: float, confidence: float
) -> xr.Dataset:
    """Return the estimates of one state."""
    up = values["up_fraction"].astype(np.float64)
    share = up if state == "up" else 1.0 - up
    time = share.sum(dims) * window
    exits = values[f"{state}_exits"].astype(np.float64).sum(dims)
    some = used.any(dims)
    flag = (exits == 0).astype(np.int8).where(time > 0.0, 2).where(some, 3)
    low, high = rate_interval(exits.values, time.values, confidence)
    seen, there = flag == 0, flag <= 1
    rates = {
        "switching_rate": ((exits / time).where(seen), "rate of leaving the state"),
        "rate_low": (time.copy(data=low).where(there), "lower end of the interval of the rate"),
        "rate_high": (time.copy(data=high).where(there), "upper end of the interval of the rate"),
    }
    times = {
        "residence_time": ((time / exits).where(seen), "mean residence time"),
        "residence_low": (1.0 / rates["rate_high"][0], "lower end of the interval of the residence time"),
        "residence_high": (1.0 / rates["rate_low"][0], "upper end of the interval of the residence time"),
    }
    result = {name: _variable(value, told, "1/ms") for name, (value, told) in rates.items()}
    result |= {name: _variable(value, told, "ms") for name, (value, told) in times.items()}
    result["exits"] = _variable(exits, "exits from the state", "1")
    result["time"] = _variable(time, "time spent in the state", "ms")
    result["estimate"] = flag.astype(np.int8).assign_attrs(
        long_name="kind of the estimate", **flags(ESTIMATES)
    )
    return xr.Dataset(result | _law(values, dims, state))


def _law(values: xr.Dataset, dims: list[str], state: str) -> dict[str, xr.DataArray]:
    """Return the number of completed stays and their coefficient of variation, if they were measured."""
    if any(name not in values for name in _completed(state)):
        return {}
    count, total, squares = (values[name].astype(np.float64).sum(dims) for name in _completed(state))
    mean = total / count.where(count > 0)
    variance = (squares - total * mean) / (count - 1).where(count > 1)
    spread = variance.clip(min=0.0) ** 0.5 / mean
    told = "coefficient of variation of the completed stays; 1 for an exponential law"
    return {
        "cv": _variable(spread, told, "1"),
        "completed": _variable(count, "stays seen from beginning to end", "1"),
    }


def _variable(values: xr.DataArray, long_name: str, units: str) -> xr.DataArray:
    return values.drop_attrs().assign_attrs(long_name=long_name, units=units)


def rate_interval(exits: Any, time: Any, confidence: float) -> tuple[Array, Array]:
    """Return the interval of the rate of n exits in a time T, of the shape of `exits`.

    [q(a/2; n), q(1 - a/2; n + 1)] / T, a = 1 - confidence, q(p; k) the quantiles of the gamma law of shape k;
    from 0 where n = 0. NaN or infinite where T = 0.
    Source: Garwood, Biometrika 28, 437 (1936).
    """
    n = np.asarray(exits, dtype=np.float64)
    tail = 0.5 * (1.0 - confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(n > 0, gamma_quantile(tail, np.maximum(n, 1.0)), 0.0) / time
        return low, gamma_quantile(1.0 - tail, n + 1.0) / time


def gamma_quantile(probability: float, shape: Any) -> Array:
    """Return the x below which a gamma law of integer shape k has this probability, for each k from 1 on.

    1 - p = sum over j < k of e^-x x^j / j!, by Newton's method from the approximation of Wilson and Hilferty
    (Proc. Natl. Acad. Sci. 17, 684, 1931).
    """
    k, place = np.unique(np.asarray(shape, dtype=np.float64), return_inverse=True)
    log_factorial = np.array([math.lgamma(value) for value in k])
    ninth = 1.0 / (9.0 * k)
    x = k * np.maximum(1.0 - ninth + NormalDist().inv_cdf(probability) * np.sqrt(ninth), 0.1) ** 3
    last = np.zeros(len(x), dtype=bool)
    for _ in range(100):
        density = np.exp(-x + (k - 1.0) * np.log(x) - log_factorial)
        step = (density * _ratio(k, x) - (1.0 - probability)) / density
        # The density is no longer concave far below the mode: there a step is not to pass 0.
        later = np.where(last, x, np.maximum(x + step, 0.5 * x))
        # Each step doubles the digits, as far as rounding lets it; then x stays, however long others take.
        last |= np.abs(later - x) <= 1e-8 * x
        x = later
        if last.all():
            break
    return np.asarray(x[place].reshape(np.shape(shape)))


def _ratio(k: Array, x: Array) -> Array:
    """Return the sum over j < k of e^-x x^j / j!, relative to its last term."""
    total, term, j = np.ones_like(x), np.ones_like(x), k - 1.0
    # The terms rise while j > x, and from there on fall faster than those of any geometric series.
    while np.any((j > x) | (term > 1e-17 * total)) and np.any(j > 0.0):
        term = term * np.maximum(j, 0.0) / x
        total = total + term
        j = j - 1.0
    return total
