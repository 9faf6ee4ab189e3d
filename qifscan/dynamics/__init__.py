"""What a point is made of: models, drives, noise, integrators and observables, each a table of rows.

A new one is a row, and nothing else learns its name; what the compiled loop calls here must keep its order
of operations, on which the last bits depend. Begin with `models`.
"""
