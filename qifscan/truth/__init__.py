"""Stored points beside an adaptive solver that shares nothing with the engine.

The equations are written here once more, from the papers; import nothing of `dynamics` into `equations`,
`adaptive` or `deviations`. Begin with `sample`, which `verify` calls.
"""
