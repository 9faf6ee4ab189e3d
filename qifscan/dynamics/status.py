"""How a point ends: flags that add up."""

from __future__ import annotations

from enum import IntFlag


class Status(IntFlag):
    """How a point ended: flags that add up. 0 means that it has not been run.

    1 `computed`: it was run to the end of its window. 2 `diverged`: the state left the range of finite
    numbers. 4 `rate_negative`: the rate was below 0 at some step. 8 `under_resolved`: the error is above the
    tolerance at the smallest step tried. 16 `not_settled`: without noise and under constant input, but not at
    a stable equilibrium in the end. A point without a warning has 1.

    Examples
    --------
    >>> import qifscan as qs
    >>> qs.Status(9)
    <Status.computed|under_resolved: 9>
    >>> qs.Status.diverged in qs.Status(3)
    True
    """

    computed = 1
    diverged = 2
    rate_negative = 4
    under_resolved = 8
    not_settled = 16


STATUS_MEANINGS = {
    Status.computed: "the point was run to the end of its window",
    Status.diverged: "the state left the range of finite numbers; every observable is NaN",
    Status.rate_negative: "the rate was below 0 at some step, in the transient or the window",
    Status.under_resolved: "the estimated error is above the tolerance at the smallest step tried; "
    "in a sweep also where that is so of a point before it in the line",
    Status.not_settled: "without noise and under constant input, but not at a stable equilibrium in the end",
}
