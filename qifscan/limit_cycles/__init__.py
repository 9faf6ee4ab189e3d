"""Limit cycles: found by simulation, or as responses to a drive, and followed in one parameter.

`cycles` finds them, `forced` has the responses to a sine, and `branches` follows them from where they begin,
which is in `starts`; `doubled` has the first cycles beyond a period doubling, `switched` those beyond a
pitchfork or another branch point. `continuation` takes the steps, `branch_bifurcations` finds folds, period
doublings and tori on the way, `located` puts each in its place, and `meeting` sees where two branches are the
same. `homoclinic` tells where the homoclinic orbit is that a branch comes to. Begin with `cycles`.
"""
