"""Limit cycles: found by simulation, refined by collocation, continued in a parameter.

`collocation` and `floquet` know no model by name and can be used alone. Begin with `cycles`.
"""
