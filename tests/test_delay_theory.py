"""Equilibria, Hopf points and Hopf curves with a delay: argument principle, other discretisations, theory."""

import importlib.util
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import qifscan as qs

LP, HB, GH = 2, 3, -32


def characteristic(x, r, v, J, delay):
    """Return (x - 2 v)^2 + 4 pi^2 r^2 - 2 r J exp(-x delay), at tau = 1."""
    return (x - 2.0 * v) ** 2 + 4.0 * math.pi**2 * r * r - 2.0 * r * J * np.exp(-x * delay)


def roots_to_the_right(r, v, J, delay, line=0.0):
    """Return the number of roots to the right of a line: how often values go round 0 along a half disc."""
    radius = 4.0 * (
        abs(v) + math.pi * r + math.sqrt(2.0 * r * abs(J) * math.exp(max(0.0, -line * delay))) + 1.0
    )
    edge = -1j * np.sinh(np.linspace(-1.0, 1.0, 40_001) * 3.0) / math.sinh(3.0) * radius
    arc = radius * np.exp(1j * np.linspace(-math.pi / 2.0, math.pi / 2.0, 20_001))
    values = characteristic(line + np.concatenate((edge, arc)), r, v, J, delay)
    return round(np.sum(np.angle(values[1:] / values[:-1])) / (2.0 * math.pi))


def chebyshev(r, v, J, delay, size=48):
    """Return the eigenvalues of the equation on Chebyshev's points of [-delay, 0]: those near 0 converge.

    Breda, Maset, Vermiglio, SIAM J. Sci. Comput. 27, 482 (2005).
    """
    k = np.arange(size + 1)
    x = np.cos(math.pi * k / size)
    weight = np.where((k == 0) | (k == size), 2.0, 1.0) * (-1.0) ** k
    apart = x[:, None] - x[None, :] + np.eye(size + 1)
    slope = (weight[:, None] / weight[None, :]) / apart
    slope -= np.diag(slope.sum(axis=1))
    whole = np.kron(slope * 2.0 / delay, np.eye(2))
    whole[:2] = 0.0
    whole[:2, :2] = [[2.0 * v, 2.0 * r], [-2.0 * math.pi**2 * r, 2.0 * v]]
    whole[1, -2] += J
    return np.linalg.eigvals(whole)


def at_random(count, seed):
    """Return random parameters along a dimension `n`, and the equilibria there."""
    rng = np.random.default_rng(seed)
    given = {
        "eta": rng.uniform(-10.0, 10.0, count),
        "J": rng.uniform(-30.0, 30.0, count),
        "delay": rng.exponential(1.5, count),
    }
    return given, qs.equilibria("qif_delay", **{k: xr.DataArray(x, dims="n") for k, x in given.items()})


def each(given, found):
    """Yield every equilibrium of such: r, v, J and the delay, and all that is known of it."""
    for n in range(len(given["eta"])):
        for k in range(int(found["count"][n])):
            here = found.isel(n=n, equilibrium=k)
            yield (float(here["r"]), float(here["v"]), given["J"][n], given["delay"][n]), here


def eigenvalues(here):
    return here["eigenvalue_real"].values + 1j * here["eigenvalue_imag"].values


def test_eigenvalues_are_roots_and_none_to_their_right_is_left_out():
    """To 1e-12 of the terms; and the argument principle counts one, or a pair, beyond a line below each."""
    given, found = at_random(30, seed=1)
    seen = set()
    for place, here in each(given, found):
        x = eigenvalues(here)
        terms = abs(x - 2.0 * place[1]) ** 2 + 4.0 * (math.pi * place[0]) ** 2
        assert (np.abs(characteristic(x, *place)) < 1e-12 * terms).all()
        unstable = roots_to_the_right(*place)
        assert int(here["unstable_dimensions"]) == unstable
        assert bool(here["stable"]) == (unstable == 0)
        seen.add(unstable)
        for i in (0, 2, 4):
            if x.real[i] - (x.real[i - 1] if i else -np.inf) > 1e-3:
                line = float(x.real[i]) - 5e-4
                # The last one may be half of a pair.
                assert roots_to_the_right(*place, line) == 6 - i + (i == 0 and x.imag[0] > 0.0)
    assert {0, 1, 2, 3, 4} <= seen


def test_eigenvalues_are_those_of_a_discretisation_of_the_equation():
    """The six rightmost, to 1e-7, where 49 points of Chebyshev resolve them."""
    given, found = at_random(25, seed=2)
    compared = 0
    for place, here in each(given, found):
        x = eigenvalues(here)
        if np.abs(x * place[3]).max() < 20.0:
            others = chebyshev(*place)
            # Those that it does not resolve are at the other end of its frequencies.
            others = others[np.abs(others * place[3]) < 40.0]
            assert max(np.abs(others - root).min() for root in x) < 1e-7 * np.abs(x).max()
            assert np.sort(others.real)[-6:] == pytest.approx(x.real, abs=1e-6 * np.abs(x).max())
            compared += 1
    assert compared > 20


def test_without_a_delay_and_towards_it_eigenvalues_are_those_of_the_plain_model():
    given = {"eta": [-8.0, -5.0, 0.0, 5.0], "J": [-20.0, 0.0, 15.0], "delta": [0.3, 2.0], "tau": [1.0, 10.0]}
    plain = qs.equilibria(**given)
    for delay, error in ((0.0, 1e-12), (1e-9, 1e-6)):
        found = qs.equilibria("qif_delay", delay=delay, **given)
        np.testing.assert_array_equal(found["count"], plain["count"])
        for name in ("stable", "kind", "unstable_dimensions"):
            np.testing.assert_array_equal(found[name], plain[name], name)
        np.testing.assert_allclose(found["r"], plain["r"], rtol=1e-7)
        for part in ("real", "imag"):
            last = found[f"eigenvalue_{part}"].values[..., -2:]
            exact = plain[f"eigenvalue_{part}"].values
            scale = np.abs(plain["v"].values)[..., None] + 1.0
            np.testing.assert_allclose(last / scale, exact / scale, atol=1e2 * error)


# Hopf points


def test_special_points_are_where_the_number_of_roots_to_the_right_changes_and_nowhere_else():
    """12 slices: between neighbours the argument principle finds one number, which a fold changes by 1, a
    Hopf point by 2."""
    rng = np.random.default_rng(4)
    J, delay = rng.uniform(-30.0, 30.0, 12), rng.exponential(1.0, 12)
    slices = {"J": xr.DataArray(J, dims="n"), "delay": xr.DataArray(delay, dims="n")}
    found = qs.special_points("qif_delay", rates=(0.03, 1.5), **slices)
    assert found["converged"].all()
    kinds = []
    for n in range(12):
        here = found.isel(point=np.flatnonzero(found["slice"].values == n))
        edges = np.concatenate(([0.03], here["r"].values, [1.5]))
        counts = []
        for low, high in pairwise(edges):
            places = low * (high / low) ** np.array([0.02, 0.35, 0.65, 0.98])
            numbers = {roots_to_the_right(r, -1.0 / (2.0 * math.pi * r), J[n], delay[n]) for r in places}
            assert len(numbers) == 1, (J[n], delay[n], low, high)
            counts.append(numbers.pop())
        expected = np.where(here["type"].values == LP, 1, 2)
        np.testing.assert_array_equal(np.abs(np.diff(counts)), expected)
        kinds += here["type"].values.tolist()
    assert kinds.count(LP) >= 6
    assert kinds.count(HB) >= 30


def test_hopf_points_are_roots_on_the_axis_along_any_parameter():
    """To 1e-10 of the terms, and a point that one direction gives is given by the others."""
    fixed = {"eta": 4.0, "J": -12.0, "delay": 1.3}
    for delta in (0.3, 1.0):
        first = qs.special_points(
            "qif_delay", along="delay", eta=4.0, J=-12.0, delta=delta, within=(1.0, 6.0)
        )
        assert first.sizes["point"] >= 2
        for k in range(first.sizes["point"]):
            delay = float(first["delay"][k])
            for along in ("eta", "J", "delta"):
                others = {**fixed, "delay": delay, "delta": delta}
                value = others.pop(along)
                found = qs.special_points("qif_delay", along=along, **others)
                assert np.abs(found[along].values - value).min() < 1e-9 * abs(value), along
            r, v, x = (float(first[name][k]) for name in ("r", "v", "omega"))
            assert abs(characteristic(1j * x, r, v, -12.0, delay)) < 1e-10 * x * x


@pytest.mark.parametrize("delay", [0.7, 2.0, 2.5])
def test_without_heterogeneity_hopf_points_are_at_the_published_couplings(delay):
    """J_n = pi (O^2 - 4)/sqrt(6 O^2 + 12) for odd, /sqrt(2 O^2 - 4) for even n, O = n pi/D, at eta = 1.

    Pazo, Montbrio, Phys. Rev. Lett. 116, 238101 (2016), and by hand: at delta = 0 rest has v = 0 and
    (pi r)^2 = 1 + J r, so a = 0 and sin(w D) = 0, w = O, and 4 (1 + J r) - O^2 = 2 (-1)^n r J.
    """
    n = np.arange(1, 40)
    square = (n * math.pi / delay) ** 2
    below = np.where(n % 2, 6.0 * square + 12.0, 2.0 * square - 4.0)
    exact = math.pi * (square - 4.0) / np.sqrt(np.where(below > 0.0, below, np.nan))
    found = qs.special_points("qif_delay", along="J", eta=1.0, delta=1e-8, delay=delay, within=(-30.0, 30.0))
    J = found["J"].values[found["type"].values == HB]
    # At J = 0 neurons that are all alike neither attract nor repel each other.
    J = np.sort(J[np.abs(J) > 1e-5])
    np.testing.assert_allclose(J, np.sort(exact[np.abs(exact) < 30.0]), rtol=1e-6)
    assert len(J) >= 4


@pytest.mark.thorough
def test_the_cycle_beyond_a_hopf_point_has_the_size_that_l1_says_and_below_it_there_is_none():
    """r - r0 = 2 |q_1| sqrt(-Re l/(l1 w)) cos(w t): of the amplitude the error is that of an excess of 1 %.

    q = (2 r, i w - 2 v) up to its size, from r' = delta/pi + 2 r v.
    """
    given = {"eta": 4.0, "J": -12.0}
    hopf = qs.special_points("qif_delay", along="delay", **given).isel(point=0)
    assert int(hopf["criticality"]) == 1
    delays = float(hopf["delay"]) * np.array([0.98, 1.01])
    r, v, omega = (float(hopf[name]) for name in ("r", "v", "omega"))
    q = 2.0 * r / math.sqrt(4.0 * r * r + omega**2 + 4.0 * v * v)
    rate = qs.equilibria("qif_delay", delay=delays, **given)["eigenvalue_real"].values[:, 0, -1]
    assert rate[0] < 0.0 < rate[1]
    size = 2.0 * q * math.sqrt(-rate[1] / (float(hopf["l1"]) * omega))
    start = {"r": r + size, "v": v}
    found = qs.simulate("qif_delay", t_end=250.0, every=4, delay=delays, initial=start, **given)
    late = found["r"].values[:, found["time"].values > 200.0] - r
    assert 0.5 * np.ptp(late[1]) == pytest.approx(size, rel=0.02)
    assert np.abs(late[0]).max() < 2.0 * size * math.exp(200.0 * rate[0])
    times = found["time"].values[found["time"].values > 200.0]
    up = np.flatnonzero((late[1][1:] > 0.0) & (late[1][:-1] <= 0.0))
    share = late[1][up] / (late[1][up] - late[1][up + 1])
    period = np.diff(times[up] + share * (times[up + 1] - times[up])).mean()
    assert period == pytest.approx(float(hopf["period"]), rel=5e-3)


def test_the_eigenvalue_at_a_fold_grows_as_its_normal_form_says():
    """l = 2 a w next to it, with r - r0 = w q_1 and q = (r, -v) up to its size; the delay changes a."""
    for delay in (0.0, 0.1, 0.4):
        folds = qs.special_points("qif_delay", J=15.0, delay=delay)
        folds = folds.isel(point=np.flatnonzero(folds["type"].values == LP))
        for k in range(2):
            r, v, a = (float(folds[name][k]) for name in ("r", "v", "fold_coefficient"))
            roots = []
            for near in (r * 1.0001, r * 0.9999):
                eta = (math.pi * near) ** 2 - 15.0 * near - (1.0 / (2.0 * math.pi * near)) ** 2
                found = qs.equilibria("qif_delay", J=15.0, delay=delay, eta=eta)
                at = int(np.nanargmin(np.abs(found["r"].values - near)))
                root = eigenvalues(found.isel(equilibrium=at))
                roots.append(root[np.nanargmin(np.abs(root))].real)
            expected = 2.0 * a * 2e-4 * r * math.hypot(r, v) / r
            assert roots[0] - roots[1] == pytest.approx(expected, rel=1e-4)


# Curves, branches, datasets


def test_hopf_curves_hold_the_hopf_points_of_slices_and_close_to_lobes():
    """J = -5: lobes between a pair of ends; every point is a root on the axis, l1 = 0 at GH."""
    curve = qs.curve("qif_delay", "HB", through="delay", J=-5.0, points=400)
    r, v, omega, delay = (curve[name].values for name in ("r", "v", "omega", "delay"))
    values = characteristic(1j * omega, r, v, -5.0, delay)
    assert np.abs(values).max() < 1e-9 * (omega**2).max()
    lobes = [k for k in range(curve.sizes["pieces"]) if curve["start"][k] == curve["end"][k] == 0]
    assert len(lobes) == 4
    for k in lobes:
        inside = curve["piece"].values == k
        assert np.abs(np.diff(np.log(r[inside]))).max() < 0.02
        assert np.abs(np.diff(delay[inside])).max() < 0.1
    l1, special = curve["l1"].values, np.flatnonzero(curve["type"].values == GH)
    assert len(special) > 5
    assert (l1[special - 1] * l1[special + 1] < 0.0).all()
    assert np.abs(l1[special]).max() < 1e-8
    for one in (1.3, 4.0):
        points = qs.special_points("qif_delay", J=-5.0, delay=one, within=(-5.0, 90.0))
        crossed = np.flatnonzero(
            ((delay[1:] > one) != (delay[:-1] > one)) & (np.diff(curve["piece"].values) == 0)
        )
        share = (one - delay[crossed]) / (delay[crossed + 1] - delay[crossed])
        at = r[crossed] + share * (r[crossed + 1] - r[crossed])
        eta = (math.pi * at) ** 2 + 5.0 * at - (1.0 / (2.0 * math.pi * at)) ** 2
        at = np.sort(at[eta < 90.0])
        np.testing.assert_allclose(at, np.sort(points["r"].values[points["type"].values == HB]), rtol=1e-3)


def test_a_branch_changes_its_stability_at_its_special_points_alone():
    branch = qs.branch("qif_delay", J=-12.0, delay=1.3, rates=(0.05, 1.4))
    unstable, special = branch["unstable_dimensions"].values, branch["type"].values
    inner = np.flatnonzero(special == 0)
    changed = inner[:-1][np.diff(unstable[inner]) != 0]
    assert (special[changed + 1] == HB).all()
    assert len(changed) == np.count_nonzero(special == HB) >= 3
    assert branch["stable"].values[inner].tolist() == (unstable[inner] == 0).tolist()


def test_distances_lead_to_the_hopf_points_with_a_delay():
    found = qs.equilibria("qif_delay", eta=[1.0, 4.0], J=-12.0, delay=1.3, distances=True)
    hopf = qs.special_points("qif_delay", J=-12.0, delay=1.3)["eta"].values
    for eta, distance in zip((1.0, 4.0), found["hopf_distance"].values[:, 0], strict=True):
        assert distance == pytest.approx(hopf[np.argmin(np.abs(hopf - eta))] - eta, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: qs.curve("qif_delay", "homoclinic", through="delay"),
            'model: found "qif_delay", which has a delay, expected a model without one for homoclinic;',
        ),
        (
            lambda: qs.cycle_branches("qif_delay", "tau"),
            'along: found "tau", expected one of eta, delta, J, delay',
        ),
        (
            lambda: qs.branch("qif_delay", along="delay"),
            'along: found "delay", expected one of eta, delta, J;',
        ),
        (lambda: qs.special_points("qif_delay", along=("eta", "delay")), "delay moves no equilibrium"),
        (lambda: qs.curve("qif_delay", "HB", through="J"), 'through: found "J", expected delay'),
        (
            lambda: qs.special_points("qif_delay", delay=50.0, rates=(1.0, 1e6)),
            "rates: found rates and delays",
        ),
        (
            lambda: qs.special_points("qif_delay", delay=-1.0),
            "delay: found -1, expected a number not below 0",
        ),
    ],
)
def test_what_a_delay_does_not_allow_is_told(call, line):
    with pytest.raises(qs.ScanError) as error:
        call()
    assert line in str(error.value)
    assert len(error.value.faults) == 1


OWN = """
from dataclasses import replace
from qifscan.models import FAMILY, NON_NEGATIVE, Parameter, neuron_constants

def constants(p):
    coupling, at_once = p["J"] * p["tau"], p["delay"] == 0.0
    split = {"coupling": coupling * at_once, "past": coupling * (1.0 - at_once)}
    return neuron_constants(p) | split | {"g": p["g"]}

delay = Parameter("delay", 1.0, "ms", "delay of the coupling", NON_NEGATIVE)

def late(name, **changes):
    row = FAMILY[name]
    return replace(row, name="late", parameters=(*row.parameters, delay), delay="delay", **changes)

gap = late("qif_gap", constants=constants)
synapse = late("qif_synapse")
"""


def test_a_model_of_ones_own_with_a_delay_has_its_eigenvalues_and_hopf_points(tmp_path, monkeypatch):
    """Gap junctions and a delay: (x - 2 v + g)(x - 2 v) = 2 r (J exp(-x D) - 2 pi^2 r), at D = 0 too."""
    (tmp_path / "own_delay.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    qs.check_model("own_delay:gap")
    J, g = -6.0, 1.5
    for delay in (0.0, 0.8):
        found = qs.special_points("own_delay:gap", J=J, g=g, delay=delay, rates=(0.02, 1.0))
        hopf = found.isel(point=np.flatnonzero(found["type"].values == HB))
        assert hopf.sizes["point"] > 0
        here = qs.equilibria("own_delay:gap", J=J, g=g, delay=delay, eta=hopf["eta"].values)
        for k in range(hopf.sizes["point"]):
            r, v, omega = (float(hopf[name][k]) for name in ("r", "v", "omega"))
            at = here.isel(eta=k, equilibrium=int(np.nanargmin(np.abs(here["r"].values[k] - r))))
            x = np.append(eigenvalues(at), 1j * omega)
            x = x[np.isfinite(x)]
            far = (x - 2.0 * v + g) * (x - 2.0 * v) - 2.0 * r * (
                J * np.exp(-x * delay) - 2.0 * math.pi**2 * r
            )
            assert (np.abs(far) < 1e-10 * (np.abs(x) ** 2 + 1.0)).all()
            assert np.abs(x[:-1] - 1j * omega).min() < 1e-9 * omega
    with pytest.raises(qs.ScanError, match="with a delay r and v alone"):
        qs.equilibria("own_delay:synapse")


def test_hopf_points_of_random_slices_are_those_of_a_dense_search():
    """The short form of benchmarks/delay_points.py."""
    path = Path(__file__).parents[1] / "benchmarks" / "delay_points.py"
    spec = importlib.util.spec_from_file_location("delay_points", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = program.compared(12, seed=4)
    assert found["wrong"] == []
    assert found["points"] > 20
