"""Figures of scans and of theory; the only users of matplotlib.

Nothing is computed here that is not drawn. Begin with `show`.
"""
