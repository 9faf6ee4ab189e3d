"""Exact equilibria and bifurcations, in float64 NumPy: nothing is simulated.

Every result stands beside a proof or a bound: try `benchmarks/exact.py` after a change. Begin with `plain`
(the plain model in closed form), then `rate_curve` (all others), `special_points` (folds, Hopf points, cusps
of a slice) and `curves` (folds and Hopf points of equilibria in two parameters; those of cycles are in
`cycle_curves`). `off_graph` has the models that are no graph over the rate.
"""
