"""A scan planned, executed, extended, verified, replayed: what is done, in which order, by how many.

`task` is the work of one chunk; `cluster`, `tasks` and `workers` are what Dask does with it, and `admission`
decides what a worker may compute; `plan` comes before a run, `extension`, `verification` and `trajectory` (a
point replayed) after it. An executor is the only difference between a notebook and a cluster.
Begin with `driver`, which reads as the course of a run.
"""
