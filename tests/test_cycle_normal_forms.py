"""Where on curves of period doublings and torus bifurcations the coefficient of the normal form is 0.

The right values are those of the stroboscopic map of responses to a sine, by DOP853: its derivatives are
those of polynomials through its values, its normal form that of maps [Kuznetsov 2004, 5.4, 8.7, 9.5].
"""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import qifscan as qs
from qifscan.dynamics.models import FAMILY
from qifscan.theory import codes

MEMORY = {"tau": 20.0, "eta": -10.0, "delta": 2.0, "J": 15.0 * math.sqrt(2.0)}
GAP = {"eta": 1.0, "J": 0.0, "g": 2.0}


class Map:
    """The map over a period of the sine at a response, and its derivatives there.

    By polynomials over a relative `width`: where the map bends little a wide one, as rounding is some 1e-13
    over its third power.
    """

    def __init__(self, model, point, width, **fixed):
        self.width = width
        row = FAMILY[model]
        constants = row.constants({p.name: p.default for p in row.parameters} | fixed)
        period, amplitude = point["period"].item(), point["drive_amplitude"].item()

        def field(t, x):
            wave = amplitude * math.sin(2.0 * math.pi * t / period)
            return np.array(row.field(tuple(x), (0.0, wave), constants))

        self.once = lambda x: solve_ivp(field, (0.0, period), x, method="DOP853", rtol=1e-13, atol=1e-15).y[
            :, -1
        ]
        self.fixed = np.array([point["r_start"].item(), point["v_start"].item()])
        self.matrix = np.stack([self.powers(one)[1] for one in np.eye(2)], axis=1)

    def powers(self, way):
        """The coefficients of the map along a direction, by a polynomial of degree 12."""
        far = self.width * np.abs(self.fixed).max() / np.abs(way).max()
        nodes = np.cos(np.pi * (np.arange(17) + 0.5) / 17)
        values = np.stack([self.once(self.fixed + far * x * way) for x in nodes])
        return np.polynomial.polynomial.polyfit(nodes, values, 12) / far ** np.arange(13)[:, None]

    def square(self, a, b):
        """The second derivative."""
        if np.allclose(a, b):
            return 2.0 * self.powers(a)[2]
        return 0.5 * (self.powers(a + b)[2] - self.powers(a - b)[2])

    def cube(self, a, b):
        """The third derivative in a, b, b."""
        if np.allclose(a, b):
            return 6.0 * self.powers(a)[3]
        return self.powers(a + b)[3] - self.powers(b - a)[3] - 2.0 * self.powers(a)[3]


def of_doubling(point, **fixed):
    m = Map("qif", point, 4e-3, **fixed)
    mu, right = np.linalg.eig(m.matrix)
    at = np.abs(mu + 1.0).argmin()
    assert abs(mu[at] + 1.0) < 1e-8
    q, p = right[:, at].real, np.linalg.inv(right)[at].real
    h = np.linalg.solve(np.eye(2) - m.matrix, m.square(q, q))
    # A map xi -> -xi + c xi^3 is stable where c > 0.
    return -float(p @ (m.cube(q, q) + 3.0 * m.square(q, h))) / 6.0


def of_torus(point, **fixed):
    m = Map("qif_gap", point, 1.6e-2, **fixed)
    mu, right = np.linalg.eig(m.matrix)
    at = mu.imag.argmax()
    assert abs(abs(mu[at]) - 1.0) < 1e-8
    p = np.linalg.inv(right)[at]
    a, b = right[:, at].real, right[:, at].imag
    both, same = m.square(a, b), (m.square(a, a), m.square(b, b))
    h = np.linalg.solve(np.eye(2) - m.matrix, same[0] + same[1])
    g = np.linalg.solve(mu[at] ** 2 * np.eye(2) - m.matrix, same[0] - same[1] + 2j * both)
    third = m.cube(a, a) + m.cube(a, b) + 1j * (m.cube(b, a) + m.cube(b, b))
    third = third + 2.0 * (m.square(a, h) + 1j * m.square(b, h))
    gs = [m.square(x, y) for x in (a, b) for y in (g.real, g.imag)]
    third = third + (gs[0] + 1j * gs[1]) - 1j * (gs[2] + 1j * gs[3])
    return float((np.conj(mu[at]) * (p @ third)).real) / 2.0


@pytest.mark.parametrize(
    ("kind", "code", "model", "at", "within", "fixed", "of"),
    [
        ("PD", codes.GPD, "qif", 18.7, (18.6, 19.2), MEMORY, of_doubling),
        pytest.param(
            *("NS", codes.CH, "qif_gap", 3.02, (2.98, 3.1), GAP, of_torus), marks=pytest.mark.thorough
        ),
    ],
)
def test_a_coefficient_is_0_where_that_of_the_stroboscopic_map_is(kind, code, model, at, within, fixed, of):
    options = {"drive": qs.Sine(amplitude=1.0, period=at), "through": "drive_period", "at": at}
    found = qs.curve(model, kind, **options, between=(0.0, 14.0), within=within, points=6, **fixed)
    marked = np.flatnonzero(found["type"].values == code)
    assert len(marked) == 1
    here = of(found.isel(point=marked[0]), **fixed)
    sides = [found.isel(point=int(marked[0]) + k) for k in (-1, 1)]
    beside = [of(side, **fixed) for side in sides]
    assert beside[0] * beside[1] < 0.0
    for side, value in zip(sides, beside, strict=True):
        assert side["coefficient"].item() * value > 0.0
    assert abs(here) < 2e-5 * max(map(abs, beside))


@pytest.mark.thorough
def test_doubled_cycles_are_stable_where_the_coefficient_is_below_0():
    """Of the pair with synapses, whose doubled cycles begin where period doublings are."""
    given = {"model": "qif_pair_synapse", "along": "eta_e"}
    lost = qs.curve(**given, kind="PD", through="eps", at=12.0, between=(-3.0, 10.0), points=2)
    assert (lost["coefficient"].values < 0.0).all()
    found = qs.cycle_branches(**given, eps=12.0, within=(-3.0, 10.0), points=60, doublings=1)
    doubled = np.flatnonzero(found["start"].values == 2)
    rows = found.isel(point=found["branch"].values == doubled[0])
    assert rows["stable"].values[1:4].all()


# Without a drive


def cumulants(x, eta, delta, sigma, J):
    """The rates of change of three pseudo-cumulants, with tau = 1, in real numbers."""
    r, v, a, b, e, f = x
    w = math.pi * r
    return np.array(
        [
            (delta + 2.0 * w * v + b) / math.pi,
            eta + J * r - w * w + v * v + a,
            2.0 * sigma**2 - 4.0 * (w * b - v * a - f),
            4.0 * (w * a + v * b - e),
            -6.0 * (w * f - v * e + a * b),
            3.0 * (2.0 * (w * e + v * f) + a * a - b * b),
        ]
    )


def bend_of_doubled_cycles(point, share, **given):
    """By how much eta of doubled cycles is off, over the square of their amplitude, by shooting."""
    fixed, own = given | {"delta": point["delta"].item()}, point["eta"].item()
    begin = np.array([point[f"{name}_start"].item() for name in "rvabef"])
    n, size = len(begin), np.linalg.norm(begin)

    def flow(x, eta, period):
        """The end, its derivatives by the start, and by eta, along the imaginary axis."""

        def both(t, z):
            columns = np.concatenate((np.zeros((n, 1)), z[n:].reshape(n, n + 1)), axis=1)
            # The last column moves with eta.
            values = eta + 1e-30j * (np.arange(n + 2) == n + 1)
            found = cumulants(z[:n, None] + 1e-30j * columns, values, **fixed)
            return np.concatenate((found[:, 0].real, (found[:, 1:].imag / 1e-30).ravel()))

        z = np.concatenate((x, np.eye(n, n + 1).ravel()))
        end = solve_ivp(both, (0.0, period), z, method="DOP853", rtol=1e-13, atol=1e-15).y[:, -1]
        return end[:n], end[n:].reshape(n, n + 1)

    mu, right = np.linalg.eig(flow(begin, own, point["period"].item())[1][:, :n])
    at = np.abs(mu + 1.0).argmin()
    assert abs(mu[at] + 1.0) < 1e-7
    way, left = right[:, at].real, np.linalg.inv(right)[at].real
    left, phase = left / (left @ way), cumulants(begin, own, **fixed)
    x, period, eta = begin + share * size * way, 2.0 * point["period"].item(), own
    for _ in range(12):
        end, by = flow(x, eta, period)
        rest = np.concatenate((end - x, [phase @ (x - begin), left @ (x - begin) - share * size]))
        matrix = np.zeros((n + 2, n + 2))
        matrix[:n, :n], matrix[:n, n] = by[:, :n] - np.eye(n), cumulants(end, eta, **fixed)
        matrix[:n, n + 1], matrix[n, :n], matrix[n + 1, :n] = by[:, n], phase, left
        change = np.linalg.solve(matrix, -rest)
        x, period, eta = x + change[:n], period + change[n], eta + change[n + 1]
        if np.abs(change).max() < 1e-9:
            break
    assert np.abs(change).max() < 1e-8
    return (eta - own) / share**2


@pytest.mark.thorough
def test_doubled_cycles_bend_the_other_way_beyond_a_generalised_period_doubling():
    given = {"J": -8.0, "sigma": 0.2}
    options = {"along": "eta", "through": "delta", "at": 0.05, "between": (-1.0, 30.0), "points": 20}
    found = qs.curve("qif_cumulants", "PD", within=(0.0475, 0.0505), **options, **given)
    at = np.flatnonzero(found["type"].values == codes.GPD)
    assert len(at) == 1
    assert len(set(found["piece"].values[at[0] - 1 : at[0] + 3])) == 1
    rows = [found.isel(point=int(at[0]) + k) for k in (-1, 0, 2)]
    before, here, after = (bend_of_doubled_cycles(q, 0.01, **given) for q in rows)
    assert before * after < 0.0
    assert abs(here) < 1e-3 * min(abs(before), abs(after))
