"""What a point is made of: models, drives, noise, integrators and observables, each a table of rows.

A new one is a row: of a model in a file such as `relatives`, and in the list in `models`; of a drive in
`drive`, of an integrator in `integrators`, of an observable in `observables`, with what it adds up over the
steps in `accumulators`. Nothing else learns its name; what the compiled loop calls here must keep its order
of operations, on which the last bits depend. Begin with `models`.
"""
