"""A scan planned, executed, extended, verified, replayed: what is done, in which order, by how many.

An executor is the only difference between a notebook and a cluster. Begin with `driver`, which reads as the
course of a run.
"""
