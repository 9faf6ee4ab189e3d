"""Gauss points of an interval: where they are, their weights, and the error of their polynomial."""

from __future__ import annotations

import math

import numpy as np

from qifscan.arrays import Array

STAGES = 4


def lagrange(nodes: Array, at: Array) -> Array:
    """Return the Lagrange polynomials of nodes at some places: `(places, nodes)`."""
    found = np.ones((len(at), len(nodes)))
    for k, own in enumerate(nodes):
        for other in np.delete(nodes, k):
            found[:, k] *= (at - other) / (own - other)
    return found


def _gauss() -> tuple[Array, Array, Array, Array]:
    """Return the Gauss points on [0, 1], their weights, the matrix of the method, and what makes u at 1."""
    x, w = np.polynomial.legendre.leggauss(STAGES)
    points, weights = 0.5 * (x + 1.0), 0.5 * w
    # a_jk is the integral of the k-th Lagrange polynomial from 0 to c_j: exact by the same quadrature.
    matrix = np.stack([c * (weights @ lagrange(points, c * points)) for c in points])
    return points, weights, matrix, lagrange(np.append(0.0, points), np.array([1.0]))[0]


POINTS, WEIGHTS, MATRIX, END = _gauss()
NODES = np.append(0.0, POINTS)

# The coefficient of the highest power of a polynomial from its values at the nodes, times 4!.
TOP = math.factorial(STAGES) / np.array([np.prod(x - np.delete(NODES, k)) for k, x in enumerate(NODES)])


def _error_constant() -> float:
    """Return c in the error c h^5 u^(5): the largest |integral from 0 to x of (s - c_1) ... (s - c_4)|/4!."""
    integral = np.polynomial.Polynomial.fromroots(POINTS).integ()
    return float(np.abs(integral(np.linspace(0.0, 1.0, 201))).max() / math.factorial(STAGES))


ERROR = _error_constant()
