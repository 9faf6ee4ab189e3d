"""`QIF`, the population of the reference class, stepped by hand.

Names and the saved form are in its users' programs and stay. Begin with `population`; `stepping` is the
pure step.
"""
