"""What the eigenvalues of an equilibrium are: those of a matrix, or with a delay the roots of an equation.

Each is a row of functions; what reads a row does not ask which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.roots.zeros import part, resolved, zeros
from qifscan.theory import crossings, delayed, normal_forms
from qifscan.theory.certain import nodes_of, zeros_along
from qifscan.theory.conditions import HOPF
from qifscan.theory.normal_forms import eigenvalues, matrices
from qifscan.theory.rate_curve import UNSURE

if TYPE_CHECKING:
    from qifscan.arrays import Array, Index, Range, Values
    from qifscan.dynamics.model import Model
    from qifscan.theory.rate_curve import Path

KINDS = ("none", "node", "focus", "saddle")
"""What an equilibrium is, by the number that stands for it in `kind`."""


@dataclass(frozen=True)
class Modes:
    """Eigenvalues of equilibria, real and imaginary parts `(points, n)`, ascending, in 1/ms; and how many
    are to the right of the axis, `(points,)`. NaN where there is no equilibrium, or no such eigenvalue.
    """

    real: Array
    imag: Array
    unstable: Array


@dataclass(frozen=True)
class Spectrum:
    """`modes` are those of states `(points, variables)`. `turning` gives the slice and the rate of each point
    of a path with two eigenvalues that add up to 0, and on the path of folds of each Bogdanov-Takens point;
    with such two `squared_frequency` is -l^2. `size` is how many eigenvalues there are of a model. `unproven`
    says how the number of such points was got, if it has no proof.
    """

    modes: Callable[[Model, Array, Values], Modes]
    turning: Callable[[Path, Mapping[str, Array], Range | None], tuple[Index, Array]]
    squared_frequency: Callable[[Model, Array, Values], Array]
    size: Callable[[Model], int]
    unproven: str = ""


def counted_modes(real: Array, imag: Array) -> Modes:
    """Return all of the eigenvalues of equilibria, with how many are to the right of the axis."""
    return Modes(real, imag, np.where(np.isfinite(real[:, 0]), (real > 0.0).sum(axis=1), np.nan))


def _of_matrices(model: Model, state: Array, parameters: Values) -> Modes:
    return counted_modes(*eigenvalues(matrices(model, state, parameters)))


def _zeros_of_determinants(
    path: Path, parameters: Mapping[str, Array], rates: Range | None
) -> tuple[Index, Array]:
    found = zeros_along(path, HOPF, parameters, rates)
    return found.who, found.r


def _changes_of_sign(path: Path, parameters: Mapping[str, Array], rates: Range | None) -> tuple[Index, Array]:
    """Return the zeros of determinants on cells of the grid, without those that are rounding."""
    nodes = resolved(path.hopf, path.hopf_error, parameters, nodes_of(path, parameters, rates))
    who, r = zeros(path.hopf, parameters, nodes)
    here = part(parameters, who)
    sure = path.hopf_error(r, here) < UNSURE * np.abs(path.hopf(r, here, 1)[1])
    return who[sure], r[sure]


def _with_delay(model: Model, state: Array, parameters: Values) -> Modes:
    return Modes(*delayed.modes(model, state, parameters))


ORDINARY = Spectrum(
    _of_matrices,
    _zeros_of_determinants,
    normal_forms.squared_frequency,
    lambda model: len(model.variables),
)
_ON_CELLS = (
    "Hopf points are changes of sign, and where a size is least, on cells of a grid of rates, each a fifth "
    "of its rate wide"
)
DELAYED = Spectrum(
    _with_delay,
    crossings.turning,
    crossings.squared_frequency,
    lambda _: delayed.MODES,
    f"none: with a delay eigenvalues are infinitely many; {_ON_CELLS}",
)
LARGE = replace(
    ORDINARY,
    turning=_changes_of_sign,
    unproven=f"of LP alone: with more than 4 variables {_ON_CELLS}, and narrower where the function bends",
)

_MOST_VARIABLES = 4
"""Of more, a determinant is a polynomial in the rate of a degree that whole numbers take too long for."""


def spectrum_of(model: Model) -> Spectrum:
    """Return the row of a model."""
    if model.delay:
        return DELAYED
    return LARGE if len(model.variables) > _MOST_VARIABLES else ORDINARY


def kinds(of: Modes) -> tuple[Any, Any, Any]:
    """Return kind, number of unstable directions, and stability; 0, -1 and false where there is none.

    3, a saddle, has an odd number of unstable directions; else the eigenvalue of largest real part tells 1, a
    node, from 2, a focus.
    """
    there = np.isfinite(of.unstable)
    unstable = np.where(there, of.unstable, -1.0).astype(np.int32)
    leading = np.where(of.imag[..., -1] != 0.0, 2, 1)
    kind = np.where(unstable % 2 == 1, 3, leading)
    # An eigenvalue that is 0 up to rounding is not one of a stable equilibrium.
    stable = there & (unstable == 0) & (of.real[..., -1] < 0.0)
    return np.where(there, kind, 0).astype(np.int8), unstable, stable
