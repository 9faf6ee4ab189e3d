"""Diagrams that other programs made, as datasets in the form of ours.

A new program is a reader that fills the rows of `foreign`. Begin with `foreign`.
"""
