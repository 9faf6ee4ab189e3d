"""Homoclinic orbits by projection onto the saddle's subspaces: exact ones, and manifolds by DOP853."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import qifscan as qs
from qifscan.dynamics.models import FAMILY
from qifscan.limit_cycles.homoclinic_columns import BY, told
from qifscan.models import Model, Parameter, Variable
from qifscan.periodic_orbits.orbits import adapted, from_function, remeshed
from qifscan.periodic_orbits.problem import Problem
from qifscan.periodic_orbits.projection import _corrected, homoclinic
from qifscan.periodic_orbits.saddles import saddles


def field(y, inputs, c):
    r, v, z, w = y
    push = r - r * r + c["eta"] * v + c["back"] * r * z
    return v, push, r - c["a"] * z - c["b"] * w, c["b"] * z - c["a"] * w


SECH = Model(
    name="sech",
    variables=tuple(Variable(name, "1", name, "1") for name in "rvzw"),
    parameters=tuple(Parameter(name, 0.0, "1", name) for name in ("eta", "a", "b", "back")),
    constants=lambda p: {name: p[name] for name in ("eta", "a", "b", "back")},
    field=field,
    squares=lambda y, c: tuple(u * u for u in y),
    rest=None,
    driven="v",
    meaning="r'' = r - r^2 + eta r' + back r z, and z + i w, which follows r",
    reference="r = 3/2 sech^2(t/2) at eta = back = 0",
)


def near(a, b, back=0.0, eta=0.0, begin=-18.0, intervals=128):
    """What Newton's method begins with: the exact orbit of r and v, with what z and w make of it."""
    given, end = {"a": a, "b": b, "back": back}, -begin / min(a, 1.0)

    def rest(t, y):
        r = 1.5 / np.cosh(t / 2.0) ** 2
        v = -r * np.tanh(t / 2.0)
        return field((r, v, *y), None, given | {"eta": eta})[2:]

    follow = solve_ivp(rest, (begin, end), [0.0, 0.0], rtol=1e-10, atol=1e-12, dense_output=True).sol

    def states(s):
        t = begin + s * (end - begin)
        r = 1.5 / np.cosh(t / 2.0) ** 2
        return np.stack([r, -r * np.tanh(t / 2.0), *follow(t.ravel()).reshape(2, *t.shape)], axis=-1)

    mesh = np.linspace(0.0, 1.0, intervals + 1)[None]
    orbit = from_function(mesh, states, np.array([[end - begin, eta]]))
    problem = Problem(SECH, {name: np.array([x]) for name, x in given.items()}, ("eta",))
    return problem, orbit, saddles(problem, orbit)


@pytest.mark.parametrize(("a", "b"), [(2.5, 0.0), (0.6, 0.0), (0.6, 2.0), (0.3, 5.0)])
def test_at_an_exact_homoclinic_orbit_of_a_saddle_or_a_saddle_focus_the_parameter_is_0(a, b):
    problem, orbit, own = near(a, b)
    found = homoclinic(problem, orbit, own)
    assert abs(found.value) < found.error < 1e-11
    assert np.abs(found.rest.state).max() < 1e-12
    expected = np.sort_complex([1.0, -1.0, complex(-a, b), complex(-a, -b)])
    np.testing.assert_allclose(np.sort_complex(found.rest.mu), expected, atol=1e-10)
    # The highest state of r between mesh points, where the polynomial is of order 5.
    assert found.orbit.u[0, :, 0].max() == pytest.approx(1.5, rel=1e-3)
    r, v = found.orbit.u[0, :, 0], found.orbit.u[0, :, 1]
    assert np.abs(v * v - r * r + 2.0 / 3.0 * r**3).max() < 1e-9


def test_what_the_ends_leave_out_falls_with_the_distance_as_it_must_and_is_told():
    """By d^(2 + l_s/l_u) at the left end, exp(-(2 l_u + l_s) t) with the time t to it; both ends are about as
    near to the saddle, and what the right one leaves out, d^(2 + l_u/l_s), is less."""
    problem, orbit, own = near(0.3, 0.0, back=0.1, intervals=256)
    exact = homoclinic(problem, orbit, own, 30.0)
    assert abs(exact.value) > 1e-3
    several = [homoclinic(problem, orbit, own, length) for length in np.arange(10.0, 16.0)]
    off = np.array([one.value - exact.value for one in several])
    np.testing.assert_allclose([-one.by_ends for one in several], off, rtol=0.01, atol=1e-15)
    distance = np.array([np.abs(one.orbit.u[0, 0] - one.rest.state).max() for one in several])
    order = np.diff(np.log(np.abs(off))) / np.diff(np.log(distance))
    expected = 2.0 + 0.3 / exact.rest.mu.real.max()
    assert order[-1] == pytest.approx(expected, rel=0.02)
    assert (np.diff(np.abs(order - expected)) < 0.0).all()


def test_the_parameter_converges_with_the_eighth_order_of_the_mesh_and_its_error_is_told():
    problem, orbit, own = near(0.6, 2.0, back=0.1)
    exact = homoclinic(problem, orbit, own)

    def solved(intervals):
        mesh = adapted(exact.orbit, problem.scales(exact.orbit.u), intervals)
        return _corrected(problem, remeshed(exact.orbit, mesh), exact.rest.state).value

    off = {n: abs(solved(n) - exact.value) for n in (24, 32, 48, 64)}
    assert off[24] / off[48] > 2.0**7
    assert off[32] / off[64] > 2.0**7
    coarse = homoclinic(problem, near(0.6, 2.0, back=0.1, intervals=32)[1], own)
    assert abs(coarse.value - exact.value) < coarse.error + exact.error


def split(**given):
    """How far the saddle's unstable manifold of gap junctions is from its stable one, in v, where both cross
    the rate of the focus on their way back to it: by DOP853."""
    row = FAMILY["qif_gap"]
    constants = row.constants({p.name: p.default for p in row.parameters} | given)

    def slopes(t, x):
        return np.array(row.field(tuple(x), (0.0, 0.0), constants))

    rest = qs.equilibria("qif_gap", **given)
    saddle = np.array([rest[name].values[rest["kind"].values == 3][0] for name in ("r", "v")])
    for _ in range(3):
        matrix = np.array([slopes(0.0, saddle + 1e-30j * one).imag * 1e30 for one in np.eye(2)]).T
        saddle = saddle - np.linalg.solve(matrix, slopes(0.0, saddle))
    values, vectors = np.linalg.eig(matrix)

    def across(t, x):
        return x[0] - rest["r"].values[-1]

    across.terminal = True
    found = []
    for which, way in ((values.argmax(), 1.0), (values.argmin(), -1.0)):
        vector = vectors[:, which] * np.sign(vectors[0, which])
        across.direction = -way
        end = solve_ivp(
            lambda t, x, way=way: way * slopes(t, x),
            *((0.0, 3e3), saddle + 1e-8 * vector),
            **{"method": "DOP853", "rtol": 1e-13, "atol": 1e-15, "events": across},
        )
        found.append(end.y_events[0][0, 1])
    return found[0] - found[1]


def meeting(at, **given):
    """The value of eta next to one at which both manifolds meet."""
    return brentq(lambda eta: split(eta=eta, **given), at - 1e-7, at + 1e-7, xtol=1e-15, rtol=1e-14)


def on_the_circle(y, inputs, c):
    r, v = y
    grow, turn = 1.0 - r * r - v * v, c["eta"] + 1.0 - r
    return r * grow - v * turn, v * grow + r * turn


def test_where_a_saddle_node_is_on_the_cycle_that_is_told():
    """On the unit circle the angle moves by eta + 1 - cos."""
    circle = replace(
        SECH,
        variables=tuple(Variable(name, "1", name, "1") for name in "rv"),
        parameters=(Parameter("eta", 0.0, "1", "least speed"),),
        constants=lambda p: {"eta": p["eta"]},
        field=on_the_circle,
    )
    eta = 1e-3
    period = 2.0 * np.pi / np.sqrt(eta * (eta + 2.0))
    angle = solve_ivp(
        lambda t, a: eta + 1.0 - np.cos(a), (0.0, period), [np.pi], rtol=1e-10, dense_output=True
    ).sol
    mesh = np.linspace(0.0, 1.0, 257)[None]

    def states(s):
        turned = angle((period * s).ravel())[0].reshape(s.shape)
        return np.stack([np.cos(turned), np.sin(turned)], axis=-1)

    problem = Problem(circle, {}, ("eta",))
    cycle = from_function(mesh, states, np.array([[period, eta]]))
    unknown = np.array([np.nan])
    found = told(problem, cycle, saddles(problem, cycle), unknown, unknown)
    assert BY[found["homoclinic_by"][0]] == "no_saddle"
    assert np.isnan(found["homoclinic"][0])


def test_a_branch_that_rests_beside_the_saddle_for_a_hundred_time_constants_has_its_orbit_too():
    """Where the parameter changes by rounding alone, no limit can be fitted, and nothing is slowest."""
    given = {"g": 1.52, "delta": 1.92, "J": 14.68, "tau": 1.28}
    d = qs.cycle_branches("qif_gap", within=(-6.0, -5.5), points=80, **given).isel(branches=0)
    assert BY[d["homoclinic_by"].item()] == "projection"
    assert np.isnan(d["homoclinic_rate"])
    assert d["period"].max() * d["saddle_rate"] > 100.0
    assert abs(meeting(d["homoclinic"].item(), **given) - d["homoclinic"].item()) < 1e-11


def parting(model, state, *etas, **given):
    """Where beside the saddle two paths along its unstable manifold, at two values of eta, part on their way
    back to it: in its unstable direction, by DOP853; NaN if they never do."""
    row = FAMILY[model]
    found = []
    for eta in etas:
        constants = row.constants({p.name: p.default for p in row.parameters} | given | {"eta": eta})
        count = len(row.variables)

        def slopes(t, x, constants=constants, count=count):
            return np.array(row.field(tuple(x), (0.0,) * count, constants))

        saddle = state
        for _ in range(4):
            matrix = np.array([slopes(0.0, saddle + 1e-30j * one).imag * 1e30 for one in np.eye(count)]).T
            saddle = saddle - np.linalg.solve(matrix, slopes(0.0, saddle))
        values, vectors = np.linalg.eig(matrix)
        own = values.real.argmax()
        size = np.sign(vectors[0, own].real)
        away, dual = vectors[:, own].real * size, np.linalg.inv(vectors)[own].real * size
        options = {"method": "DOP853", "rtol": 2.3e-14, "atol": 1e-16, "dense_output": True}
        span = (0.0, 40.0 / values.real.max() + 60.0)
        path = solve_ivp(slopes, span, saddle + 1e-7 * away, **options).sol
        t = np.linspace(*span, 60_000)
        found.append(dual @ (path(t) - saddle[:, None]))
    apart = np.flatnonzero(np.abs(found[0] - found[1]) > 0.2)
    return [one[apart[0]] if len(apart) else np.nan for one in found]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "given",
    [
        # Of a branch that ends at a period of 48 ms, where the fit is off by 1e-7.
        {"tau": 0.56, "delta": 0.32, "alpha": 0.0154, "tau_a": 5.54, "J": 19.41},
        {"tau": 0.86, "delta": 0.33, "alpha": 0.0124, "tau_a": 4.75, "J": 10.15},
    ],
)
def test_of_a_depressed_population_the_unstable_manifold_passes_the_saddle_on_either_side(given):
    d = qs.cycle_branches("qif_depression_exponential", within=(-8.0, 4.0), points=200, **given)
    at = d.isel(branches=np.flatnonzero(d["homoclinic_by"].values == BY.index("projection"))[0])
    state = np.array([at[f"{name}_saddle"].item() for name in "rva"])
    eta, width = at["homoclinic"].item(), max(1e-13, 3.0 * at["homoclinic_error"].item())
    assert width < 1e-10
    low, high = parting("qif_depression_exponential", state, eta - width, eta + width, **given)
    assert low * high < 0.0
