"""What a point is made of: models, drives, noise, integrators and observables, each a table of rows.

A new one is a row: of a model in the tuple at the end of a file such as `relatives` (`model` has the class,
and a new file is joined in `models`); of a drive in `drive`, of an integrator in `integrators`, of an
observable in `observables`, with what it adds up over the steps in `accumulators`. The engine learns no name;
only `truth`, which shares nothing with it, is told once more by hand. What the compiled loop calls here must
keep its order of operations, on which the last bits depend. Begin with `models`.
"""
