"""Diagrams that other programs made, as datasets in the form of ours, and their parameters as scans.

A new program is a reader that fills the rows of `foreign`; parameters of models of TVB and PyRates are rows
of `parameters`. Begin with `foreign`.
"""
