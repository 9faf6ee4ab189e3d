"""Limit cycles: found by simulation, refined by collocation, continued in a parameter.

`branches` follows them; `branch_bifurcations` finds folds, doublings and tori on the way, `located` puts each
in its place, and `curves` follows one in two parameters, with what it meets in `curve_bifurcations`.
`collocation` and `floquet` know no model by name and can be used alone. Begin with `cycles`.
"""
