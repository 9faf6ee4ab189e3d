"""Limit cycles: found by simulation, refined by collocation, continued in a parameter.

`cycles` finds them, `branches` follows them in one parameter from where `starts` says that they begin;
`branch_bifurcations` finds folds, doublings and tori on the way, `located` puts each in its place, `meeting`
sees while they are followed where two branches are the same, and `duplicates` afterwards. `doubled` and
`switched` are the cycles on branches that begin at bifurcations.
`curves` follows such a bifurcation of cycles in two parameters, with what it meets in `curve_bifurcations`.
`homoclinic` tells where the homoclinic orbit is that a branch comes to, `homoclinic_curves` follows it in two
parameters, and `projection` solves for it. `forced` has the responses to a sine. What is different with a
delay has files of its own: `delayed_problem`, `delayed_collocation`, `delayed_multipliers`,
`delayed_marginal` and `delayed_settling`. `collocation`, `elimination` and `floquet` know no model by name
and can be used alone. Begin with `cycles`.
"""
