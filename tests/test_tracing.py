"""Curves F(x, y) = 0 whose shape is known in closed form: none torn, none missed, none joined wrongly."""

import numpy as np
import pytest

from qifscan.roots import tracing
from qifscan.roots.tracing import AT_LEVEL, AT_SIDE, CLOSED, Plane, traced

LEVELS = np.linspace(0.0, 4.0, 9)


def plane(gradient, sides=(-3.0, 3.0), valid=lambda x, y: np.ones(np.shape(x), dtype=bool)):
    return Plane(gradient, valid, sides)


def curves(of, zeros, apart=((), ()), longest=0.05, **kwargs):
    """Trace the curves through the zeros that a function returns for each level."""
    level, x = [], []
    for k, y in enumerate(LEVELS):
        found = zeros(y)
        level += [k] * len(found)
        x += found
    apart = tuple(np.asarray(a, dtype=float) for a in apart)
    return traced(plane(of, **kwargs), LEVELS, np.array(x), np.array(level, dtype=int), apart, longest)


def circle(x0, y0, radius):
    def gradient(x, y):
        return (x - x0) ** 2 + (y - y0) ** 2 - radius**2, 2.0 * (x - x0), 2.0 * (y - y0)

    def zeros(y):
        square = radius**2 - (y - y0) ** 2
        return [x0 - square**0.5, x0 + square**0.5] if square > 0 else []

    return gradient, zeros


def product(*functions):
    """Return the union of curves: the product of their functions."""

    def gradient(x, y):
        value, by_x, by_y = functions[0](x, y)
        for function in functions[1:]:
            f, f_x, f_y = function(x, y)
            value, by_x, by_y = value * f, by_x * f + value * f_x, by_y * f + value * f_y
        return value, by_x, by_y

    return gradient


def length(curve):
    closed = np.column_stack((np.append(curve.x, curve.x[0]), np.append(curve.y, curve.y[0])))
    return np.hypot(*np.diff(closed if curve.closed else closed[:-1], axis=0).T).sum()


@pytest.mark.parametrize("radius", [0.3, 0.7, 1.49])
def test_a_circle_is_one_closed_curve_of_its_length(radius):
    gradient, zeros = circle(0.2, 2.03, radius)
    (found,) = curves(gradient, zeros)
    assert found.closed
    assert found.agreed
    assert length(found) == pytest.approx(2.0 * np.pi * radius, rel=1e-2)
    assert np.abs(np.hypot(found.x - 0.2, found.y - 2.03) - radius).max() < 1e-9


def test_a_circle_between_two_levels_is_found_from_a_point_of_it():
    gradient, zeros = circle(0.2, 1.75, 0.1)
    (found,) = curves(gradient, zeros, apart=([0.3, 0.1], [1.75, 1.75]))
    assert found.closed
    assert length(found) == pytest.approx(0.2 * np.pi, rel=1e-2)


def test_lines_that_cross_are_not_exchanged():
    """Where two curves cross the gradient is 0; each goes straight on."""
    rising = lambda x, y: (x - 0.5 * (y - 2.1), np.ones_like(x), -0.5 * np.ones_like(y))  # noqa: E731
    falling = lambda x, y: (x + 0.5 * (y - 2.1), np.ones_like(x), 0.5 * np.ones_like(y))  # noqa: E731
    found = curves(product(rising, falling), lambda y: sorted([0.5 * (y - 2.1), -0.5 * (y - 2.1)]))
    assert len(found) == 2
    assert all(curve.agreed and curve.ends == (AT_LEVEL, AT_LEVEL) for curve in found)
    for curve in found:
        assert np.ptp(curve.x / (curve.y - 2.1 + 1e-300)) < 1e-6


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_curves_that_nearly_touch_stay_apart(gap):
    """x^2 - (y - 2.1)^2 = gap: two branches, at their closest 2 gap^(1/2) from each other."""
    gradient = lambda x, y: (x**2 - (y - 2.1) ** 2 - gap, 2.0 * x, -2.0 * (y - 2.1))  # noqa: E731

    def zeros(y):
        root = ((y - 2.1) ** 2 + gap) ** 0.5
        return [-root, root]

    found = curves(gradient, zeros)
    assert len(found) == 2
    assert all(curve.agreed and len(set(np.sign(curve.x))) == 1 for curve in found)


@pytest.mark.parametrize("over", [-1e-6, -1e-9, 1e-3, 1e-6, 1e-9])
def test_a_curve_that_turns_next_to_a_level_is_whole(over):
    """y = 2.5 + over - x^2 reaches just beyond the level 2.5."""
    gradient = lambda x, y: (y - 2.5 - over + x**2, 2.0 * x, np.ones_like(y))  # noqa: E731

    def zeros(y):
        square = 2.5 + over - y
        return [-(square**0.5), square**0.5] if square > 0 else []

    (found,) = curves(gradient, zeros)
    assert found.agreed
    assert found.ends == (AT_LEVEL, AT_LEVEL)
    assert found.y.max() == pytest.approx(2.5 + over, abs=1e-3)


def test_curves_end_at_the_sides_and_where_nothing_is_valid():
    """The line y = 2.2 + 0.08 x goes from side to side; with x < 1 alone it ends there."""
    gradient = lambda x, y: (y - 2.2 - 0.08 * x, -0.08 * np.ones_like(x), np.ones_like(y))  # noqa: E731
    zeros = lambda y: [12.5 * (y - 2.2)] if abs(12.5 * (y - 2.2)) < 3.0 else []  # noqa: E731
    (found,) = curves(gradient, zeros, apart=([0.0], [2.2]))
    assert set(found.ends) == {AT_SIDE}
    assert sorted(found.x[[0, -1]]) == pytest.approx([-3.0, 3.0])
    (cut,) = curves(gradient, zeros, apart=([0.0], [2.2]), valid=lambda x, y: x < 1.0)
    assert set(cut.ends) == {AT_SIDE, tracing.AT_WALL}
    assert cut.x.max() == pytest.approx(1.0, abs=1e-6)


def test_many_circles_are_each_found_once():
    rng = np.random.default_rng(5)
    circles = [
        circle(*place)
        for place in zip(
            np.arange(-2.5, 3.0), rng.uniform(1.0, 3.0, 6), rng.uniform(0.2, 0.45, 6), strict=True
        )
    ]
    zeros = lambda y: sorted(x for _, of in circles for x in of(y))  # noqa: E731
    places = [(x, y) for gradient, of in circles for y in np.linspace(0.51, 3.49, 60) for x in of(y)]
    found = curves(
        product(*(gradient for gradient, _ in circles)), zeros, apart=tuple(zip(*places, strict=True))
    )
    assert len(found) == 6
    assert all(curve.closed and curve.ends == (CLOSED, CLOSED) for curve in found)
