"""The generator against published vectors, its normals and the Ornstein-Uhlenbeck process against their laws.

Statistical tests have a fixed seed; each of their bounds is wrong with probability 1e-6 under the law that it
tests (two-sided), so that a new seed would fail one of the few hundred here once in some thousand times.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import linalg, stats

import qifscan as qs
from qifscan.dynamics.models import QIF
from qifscan.dynamics.noise import normal_pair, of_step, point_keys, split_key, step_pair, threefry2x32
from qifscan.dynamics.noise import normals as noise_normals
from qifscan.engine import batch, noise_path
from qifscan.engine.carries import Moving, Pace
from qifscan.engine.points import Points, run_points
from qifscan.engine.program import Program
from qifscan.engine.schedule import Schedule, Steps, batch_shape

ERROR = 1e-6
SIGMAS = stats.norm.isf(ERROR / 2)
ONES = 0xFFFFFFFF


def assert_standard_mean(values, variance=1.0):
    """Values have mean 0, given the variance of each: z-test of the mean of many."""
    assert abs(np.mean(values)) * np.sqrt(np.size(values) / variance) < SIGMAS


def assert_uncorrelated(a, b):
    """Neither standard normals nor their squares are correlated: the mean products are N(0, 1/n)."""
    assert_standard_mean(a * b)
    assert_standard_mean((a * a - 1) * (b * b - 1), 4.0)


def assert_normal(values):
    assert stats.kstest(np.ravel(values), "norm").pvalue > ERROR


def normals(words, step=0, pair=0, dtype="float64"):
    """Return the pair of normals of every key."""
    with jax.enable_x64(True):
        found = jax.jit(normal_pair, static_argnums=(2, 3))(split_key(words), step, pair, jnp.dtype(dtype))
        return tuple(np.asarray(x, dtype=np.float64) for x in found)


def keys(size, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, size, dtype=np.uint64)


# The generator


@pytest.mark.parametrize(
    ("counter", "key", "after_13", "after_20"),
    [
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES), (ONES, ONES), (0xFD36D048, 0x2D17272C), (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xBA3E4725, 0xF27D669E),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
    ids=["zero", "ones", "pi"],
)
def test_threefry_gives_the_known_answers_of_random123(counter, key, after_13, after_20):
    words = [np.array([word], dtype=np.uint32) for word in (*key, *counter)]
    assert [int(x[0]) for x in threefry2x32(tuple(words[:2]), tuple(words[2:]))] == list(after_13)
    assert [int(x[0]) for x in threefry2x32(tuple(words[:2]), tuple(words[2:]), 20)] == list(after_20)


def test_threefry_of_20_rounds_is_that_of_jax():
    rng = np.random.default_rng(1)
    for _ in range(20):
        k0, k1 = rng.integers(0, 2**32, 2, dtype=np.uint32)
        counters = rng.integers(0, 2**32, (2, 501), dtype=np.uint32)
        ours = threefry2x32((np.full(501, k0), np.full(501, k1)), (counters[0], counters[1]), 20)
        theirs = np.asarray(threefry_2x32((k0, k1), counters))
        assert np.array_equal(np.stack(ours), theirs)


def box_and_muller(first, second):
    """Return the two normals of two words of 32 bits and the radius, by the textbook in 64-bit mantissas."""
    exact = np.longdouble
    u, rest = ((first.astype(exact) + 0.5) / exact(2) ** 32, (~first).astype(exact) + 0.5)
    radius = np.sqrt(-2 * np.where(first >= 2**31, np.log1p(-rest / exact(2) ** 32), np.log(u)))
    quarter, within = second >> 30, ((second.astype(np.int64) << 34 >> 32) | 2).astype(exact)
    turn = within / exact(2) ** 32 * (2 * np.arctan(exact(1)))
    along, across = np.where(quarter >= 2, -np.cos(turn), np.cos(turn)), np.sin(turn)
    swapped = quarter % 2 == 1
    return radius * np.where(swapped, across, along), radius * np.where(swapped, along, across), radius


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 3e-7), pytest.param("float64", 1e-15, marks=pytest.mark.thorough)]
)
def test_the_normals_are_box_and_mullers_over_the_whole_range(dtype, bound):
    """Of 2^21 random words, the 2^18 outermost and the 2^18 innermost, and all pairs of special ones; their
    mirror images exactly."""
    rng = np.random.default_rng(7)
    ends = np.concatenate([np.arange(2**18), ONES - np.arange(2**18)])
    edges = [0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, ONES - 1, ONES]
    pairs = np.array(np.meshgrid(edges, edges)).reshape(2, -1)
    words = np.concatenate(
        [rng.integers(0, 2**32, (2, 2**21)), [ends, rng.permutation(ends)], pairs], axis=1
    ).astype(np.uint32)
    *exact, radius = box_and_muller(*words)
    with jax.enable_x64(True):
        to_normals = jax.jit(lambda *words: noise_normals(*words, jnp.dtype(dtype)))
        found = np.array(to_normals(*words))
        # The highest bit mirrors one of the two, the bits of the turn the other.
        mirrored = np.array([to_normals(words[0], words[1] ^ np.uint32(bits)) for bits in (2**31, 2**30 - 1)])
    assert found.dtype == dtype
    assert np.max(np.abs(found - exact) / radius) < bound
    swapped = words[1] >> 30 & 1 == 1
    for image, which in zip(mirrored, (swapped, ~swapped), strict=True):
        assert np.array_equal(image, np.where([which, ~which], found, -found))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_2k_and_2k_plus_1_have_the_two_normals_of_pair_k(dtype):
    words = keys(64)
    drawn = jax.jit(step_pair, static_argnums=(2, 3))
    with jax.enable_x64(True):
        for step in (0, 1, 2, 7, 2**31 - 2, 2**31 - 1):
            expected = normals(words, step=step // 2, pair=3, dtype=dtype)[step % 2]
            pair = drawn(split_key(words), step, 3, jnp.dtype(dtype))
            error = 1e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(of_step(pair, step), expected, rtol=error, atol=error)


@pytest.fixture(scope="module", params=["float32", "float64"])
def many(request):
    """2^22 normals: pairs of 2^21 keys."""
    return normals(keys(2**21), dtype=request.param)


def test_the_moments_of_the_normals_are_those_of_the_normal_law_up_to_the_sixth(many):
    values = np.concatenate(many)
    moment = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15, 8: 105, 10: 945, 12: 10395}
    power = np.ones_like(values)
    for k in range(1, 7):
        power *= values
        assert_standard_mean(power - moment[k], moment[2 * k] - moment[k] ** 2)


def test_the_normals_have_the_distribution_of_the_normal_law_out_to_its_tails(many):
    for values in many:
        assert_normal(values[: 2**20])
    values = np.concatenate(many)
    for bound in (2.0, 3.0, 4.0, 5.0):
        for tail in (values > bound, values < -bound):
            assert stats.binomtest(int(tail.sum()), values.size, stats.norm.sf(bound)).pvalue > ERROR
    assert 4.5 < np.abs(values).max() <= np.sqrt(66 * np.log(2.0)) * (1 + 3e-7)


def test_the_two_normals_of_a_pair_are_independent(many):
    assert_uncorrelated(*many)


def test_steps_and_pairs_of_variables_give_independent_normals():
    words = keys(2**19, seed=2)
    now = normals(words, step=7)
    for step, pair in ((8, 0), (9, 0), (7, 1), (8, 1), (2**31 - 2, 0), (2**32 - 1, 0)):
        other = normals(words, step=step, pair=pair)
        for i in range(2):
            for k in range(2):
                assert_uncorrelated(now[i], other[k])


NEIGHBOURS = {
    "eta one rounding apart": {"eta": np.arange(-(2**18) // 2, 2**18 // 2) * 2.0**-50 - 5.0},
    "eta on a grid": {"eta": np.linspace(-10.0, 10.0, 2**18)},
    "eta and J on a grid": {
        "eta": np.repeat(np.linspace(-10.0, 0.0, 2**9), 2**9),
        "J": np.tile(np.linspace(0.0, 20.0, 2**9), 2**9),
    },
    "the states of a point": {
        "eta": np.repeat(np.linspace(-10.0, 0.0, 2**17), 2),
        "initial": np.tile(["down", "up"], 2**17),
    },
}


@pytest.mark.parametrize("name", list(NEIGHBOURS))
def test_points_with_neighbouring_parameters_have_independent_normals(name):
    words = point_keys(0, NEIGHBOURS[name], np.zeros(2**18, dtype=int))
    assert len(np.unique(words)) == 2**18
    for normal in normals(words):
        assert_standard_mean(normal)
        for distance in (1, 2, 2**9):
            assert_uncorrelated(normal[:-distance], normal[distance:])


def test_replicates_and_seeds_have_independent_normals():
    columns = {"eta": np.full(2**18, -5.0)}
    first, second = (normals(point_keys(seed, columns, np.arange(2**18))) for seed in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert_normal(a)
        assert_uncorrelated(a[1:], a[:-1])
        assert_uncorrelated(a, b)


# What names a point


def test_no_two_points_of_a_grid_of_a_million_have_the_same_key():
    """Of random 64-bit keys two would agree with probability 3e-8."""
    eta, J, replicate = (
        grid.ravel()
        for grid in np.meshgrid(
            np.linspace(-10, 0, 500), np.linspace(0, 30, 500), np.arange(4), indexing="ij"
        )
    )
    assert len(np.unique(point_keys(0, {"eta": eta, "J": J}, replicate))) == eta.size == 10**6


def test_equal_parameters_give_equal_keys_whatever_their_order_and_their_neighbours():
    columns = {
        "eta": np.array([-5.0, -4.0]),
        "J": np.array([15.0, 16.0]),
        "initial": np.array(["up", "down"]),
    }
    replicate = np.array([3, 4])
    words = point_keys(9, columns, replicate)
    assert np.array_equal(point_keys(9, dict(reversed(columns.items())), replicate), words)
    for i in range(2):
        alone = point_keys(9, {name: column[i : i + 1] for name, column in columns.items()}, replicate[[i]])
        assert alone[0] == words[i]


def test_negative_zero_and_integers_name_the_point_of_the_equal_float():
    def key(eta):
        return point_keys(0, {"eta": np.array([eta])}, np.array([0]))[0]

    assert key(-0.0) == key(0.0) == key(0)
    assert key(-5) == key(-5.0)


def test_every_part_of_what_a_point_is_changes_its_key():
    base = {"eta": -5.0, "J": 15.0, "initial": "up"}

    def key(seed=0, replicate=0, **columns):
        return point_keys(seed, {k: np.array([x]) for k, x in columns.items()}, np.array([replicate]))[0]

    others = [
        key(seed=1, **base),
        key(seed=2**63 - 1, **base),
        key(replicate=1, **base),
        key(**base | {"eta": np.nextafter(-5.0, 0.0)}),
        key(**base | {"eta": 15.0, "J": -5.0}),
        key(**base | {"J": -15.0}),
        key(**base | {"initial": "down"}),
        key(**base | {"delta": 1.0}),
        key(**base | {"tau": 1.0}),
        key(eta=-5.0, J=15.0),
        key(),
        key(replicate=1),
    ]
    assert len({key(**base), *others}) == 1 + len(others)


# The Ornstein-Uhlenbeck process, read off trajectories of the kernel

DT = 0.01
STEPS = 128
LANES = 4096
OU_TAUS = np.array([50 * DT, DT, DT / 10])
MEANS = {"r": 0.02, "v": 0.3}
STDS = {"r": 0.03, "v": 0.4}
LAGS = np.array([1, 5, 25, 50, 100])


def all_points(scan):
    return Points.of(scan, tuple(np.array(scan.select()).T) or (np.zeros(1, dtype=int),))


def noise_paths(scan):
    """Return what a step takes as z of r and of v, `(points, steps)` each, solved for in Euler's
    `y += dt (field + z) / tau`: z at its start, or for noise that it does not resolve the mean over it.

    float64 keeps z to about 1e-13, float32 to 1e-5.
    """
    assert scan.protocol.integrator == "euler"
    points = all_points(scan)
    columns = points.columns
    result = run_points(points, Schedule.of(scan.protocol, 1), batch_shape(scan.size))
    r, v = np.moveaxis(result.record, -1, 0).astype(np.float64)
    # The constants as the kernel rounds them, so that in float32 no offset is taken for noise.
    exact = QIF.constants({name: x[:, None] for name, x in columns.items() if name != "initial"})
    constants = {name: x.astype(scan.precision).astype(np.float64) for name, x in exact.items()}
    slopes = QIF.field((r[:, :-1], v[:, :-1]), (0.0, 0.0), constants)
    return {
        name: columns["tau"][:, None] * (np.diff(y) / scan.protocol.dt - slope)
        for name, y, slope in zip("rv", (r, v), slopes, strict=True)
    }


advance = jax.jit(noise_path.next_noise, static_argnums=0)
begin = jax.jit(noise_path.initial_noise, static_argnums=0)


def step_by_step(scan, steps, depth=0, rows=slice(None), bridged=False):
    """Return z of every noisy variable at the start and after so many steps of DT/2^depth,
    `(steps + 1, points)`, as the kernel takes it, step by step."""
    points = all_points(scan).take(np.arange(scan.size)[rows])
    count = len(points.replicate)
    program = Program.of(scan, bridged=bridged)
    inputs = points.inputs(program, Steps(np.full(count, depth), np.zeros(count, dtype=int)))
    block = jax.tree.map(lambda leaf: leaf[0], batch._gathered(inputs, np.arange(count)[None]))
    with jax.enable_x64(True):
        noise, pairs = begin(program, block)
        # Of the steps and of what moves it reads these alone.
        pace = Pace(*(None,) * len(Pace._fields))._replace(depth=jnp.int32(depth))
        moving = Moving(*(None,) * len(Moving._fields))
        path = [noise]
        for n in range(steps):
            moving = moving._replace(noise=noise, pairs=pairs)
            noise, pairs = advance(program, block, pace, jnp.int32(n), moving)
            path.append(noise)
        path = [{name: z.now for name, z in noise.items()} for noise in path]
        return {name: np.stack([z[name] for z in path]) for name in path[0]}


def euler_scan(**definition):
    protocol = qs.Protocol(transient=0.0, window=STEPS * DT, dt=DT, integrator="euler", initial="rest")
    base = {"protocol": protocol, "observables": ["r_final"], "precision": "float64"}
    definition["fixed"] = {"J": 0.0} | definition.get("fixed", {})
    return qs.Scan(**base | definition)


def ou_scan(precision="float64", replicates=LANES, **definition):
    """Both variables with the time constants 50 DT, DT and DT/10 and the means and stds from above."""
    columns = {"r_ou_tau": OU_TAUS, "v_ou_tau": OU_TAUS}
    columns |= {f"{name}_ou_sigma": STDS[name] / np.sqrt(OU_TAUS / 2) for name in "rv"}
    fixed = {f"{name}_ou_mean": MEANS[name] for name in "rv"}
    return euler_scan(
        points=columns, fixed=fixed, replicates=replicates, seed=3, precision=precision, **definition
    )


@pytest.fixture(scope="module", params=["float32", "float64"])
def ou(request):
    """z of both variables, `(time constants, replicates, steps)`: dt << ou_tau, dt = ou_tau, dt >> ou_tau."""
    paths = step_by_step(ou_scan(request.param), STEPS - 1)
    return {name: np.moveaxis(z, 0, -1).reshape(3, LANES, STEPS) for name, z in paths.items()}


def whitened(z, name):
    """Return the start and the steps of z as the standard normals that an exact step must have drawn."""
    decay = np.exp(-DT / OU_TAUS)[:, None, None]
    deviation = (z - MEANS[name]) / STDS[name]
    steps = (deviation[..., 1:] - decay * deviation[..., :-1]) / np.sqrt(1 - decay**2)
    return np.concatenate([deviation[..., :1], steps], axis=-1)


@pytest.mark.parametrize("name", ["r", "v"])
def test_the_noise_has_its_mean_and_its_stationary_std_from_the_first_step_on_at_any_dt(ou, name):
    """Over replicates at one time: the mean is normal, the sum of squares is chi-squared."""
    low, high = stats.chi2.ppf([ERROR / 2, 1 - ERROR / 2], LANES)
    for z in ou[name]:
        for step in (0, 1, 2, 50, STEPS - 1):
            deviation = (z[:, step] - MEANS[name]) / STDS[name]
            assert_standard_mean(deviation)
            assert low < np.sum(deviation**2) < high


@pytest.mark.parametrize("name", ["r", "v"])
def test_the_noise_decorrelates_with_its_time_constant_at_any_dt(ou, name):
    """Fisher's transform of a correlation over replicates is normal, with variance 1/(n - 3)."""
    for z, ou_tau in zip(ou[name], OU_TAUS, strict=True):
        for start in (0, 20):
            for lag in LAGS:
                found = np.corrcoef(z[:, start], z[:, start + lag])[0, 1]
                expected = np.exp(-lag * DT / ou_tau)
                assert abs(np.arctanh(found) - np.arctanh(expected)) * np.sqrt(LANES - 3) < SIGMAS


def test_common_noise_on_one_variable_is_the_same_whether_the_other_has_any():
    """To what is lost where z is solved for."""
    sigmas = {"r_ou_sigma": 0.01, "v_ou_sigma": 0.3}

    def paths(**fixed):
        return noise_paths(euler_scan(fixed=fixed, noise="common", replicates=8))

    both = paths(**sigmas)
    for name in "rv":
        alone = paths(**{f"{name}_ou_sigma": sigmas[f"{name}_ou_sigma"]})
        assert np.std(both[name]) > 1e-3
        assert np.max(np.abs(alone[name] - both[name])) < 1e-10


@pytest.mark.parametrize("name", ["r", "v"])
def test_the_noise_is_drawn_from_independent_normals_by_the_exact_step(ou, name):
    """The start and all steps, whitened by the closed form: so all joint laws in time are right at once."""
    for normal in whitened(ou[name], name):
        assert_standard_mean(normal)
        assert_standard_mean(normal**2 - 1, 2.0)
        assert_standard_mean(normal**3, 15.0)
        assert_standard_mean(normal**4 - 3, 96.0)
        assert_normal(normal)
        assert_normal(normal[:, 0])
        for lag in (1, 2, 10):
            assert_uncorrelated(normal[:, lag:], normal[:, :-lag])


def test_points_replicates_and_variables_have_uncorrelated_noise(ou):
    r, v = (whitened(ou[name], name) for name in "rv")
    assert_uncorrelated(r, v)
    assert_uncorrelated(r[..., 1:], v[..., :-1])
    for normal in (r, v):
        assert_uncorrelated(normal[0], normal[1])
        assert_uncorrelated(normal[1], normal[2])
        assert_uncorrelated(normal[:, 1:], normal[:, :-1])


def test_the_path_of_a_point_is_drawn_from_the_normals_of_its_key():
    """Step by step in NumPy, from the documented counters: step n takes a normal of pair n // 2 of v, and the
    start that of step 2^32 - 1."""
    fixed = {"v_ou_sigma": 0.7, "r_ou_sigma": 0.02, "v_ou_tau": 0.5, "v_ou_mean": 0.2}
    scan = euler_scan(fixed=fixed, seed=11)
    words = point_keys(11, scan.columns((np.zeros(1, dtype=int),)), np.array([0]))
    std, decay = 0.7 * np.sqrt(0.5 / 2), np.exp(-DT / 0.5)
    z = [0.2 + std * normals(words, 2**31 - 1, pair=1)[1][0]]
    for n in range(STEPS - 1):
        z.append(
            0.2
            + (z[-1] - 0.2) * decay
            + std * np.sqrt(1 - decay**2) * normals(words, n // 2, pair=1)[n % 2][0]
        )
    np.testing.assert_allclose(noise_paths(scan)["v"][0], z, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["r", "v"])
def test_noise_that_a_step_does_not_resolve_drives_it_by_its_mean_given_both_ends(name):
    """Law of z at both ends and of its mean over the step, from the integrals of e^(-|s - t|/ou_tau); the
    normals that the mean must have been drawn from are independent of the path and of each other."""
    scan = ou_scan()
    paths = {k: np.moveaxis(z, 0, -1).reshape(3, LANES, -1) for k, z in step_by_step(scan, STEPS).items()}
    steps = {k: z.reshape(3, LANES, STEPS) for k, z in noise_paths(scan).items()}
    path, taken = ((x[name] - MEANS[name]) / STDS[name] for x in (paths, steps))
    # The slowest is resolved, and taken as it is at the start of a step.
    np.testing.assert_allclose(taken[0], path[0][:, :-1], rtol=0, atol=1e-9)
    for k in (1, 2):
        x = DT / OU_TAUS[k]
        ends = np.array([[1.0, np.exp(-x)], [np.exp(-x), 1.0]])
        with_ends = -np.expm1(-x) / x
        weights = np.linalg.solve(ends, [with_ends, with_ends])
        variance = 2.0 * (x + np.expm1(-x)) / x**2 - weights.sum() * with_ends
        guess = weights[0] * path[k][:, :-1] + weights[1] * path[k][:, 1:]
        normal = (taken[k] - guess) / np.sqrt(variance)
        assert_standard_mean(normal)
        assert_standard_mean(normal**2 - 1, 2.0)
        assert_normal(normal)
        assert_uncorrelated(normal[:, 1:], normal[:, :-1])
        for z in (path[k][:, :-1], path[k][:, 1:]):
            assert_standard_mean(normal * z)


@pytest.mark.parametrize(
    "integrator", ["riccati", *(pytest.param(n, marks=pytest.mark.thorough) for n in ("rk4", "heun"))]
)
def test_noise_faster_than_a_given_step_moves_v_as_white_noise_of_its_power_does(integrator):
    """At rest, for weak noise, the variances of r and v under white noise q on v solve Lyapunov's equation.

    Over 256 replicates of 100 ms the variance is known to 0.5 %; at this step a path that is linear between
    its steps, with x = dt/ou_tau = 10, has x/2 coth(x/2) = 5 times the power, and gives 2.2 times the std.
    """
    given = {"eta": -4.6, "J": 15.0, "delta": 1.0, "tau": 1.0}
    at = qs.equilibria(**given).isel(equilibrium=0)
    r, v = float(at["r"]), float(at["v"])
    jacobian = np.array([[2 * v, 2 * r], [15.0 - 2 * np.pi**2 * r, 2 * v]])
    power = (40.0 * 0.001) ** 2
    variance = linalg.solve_continuous_lyapunov(jacobian, -np.diag([0.0, power]))
    scan = qs.Scan(
        fixed=given | {"v_ou_tau": 0.001, "v_ou_sigma": 40.0},
        protocol=qs.Protocol(transient=10.0, window=100.0, dt=0.01, initial="down", integrator=integrator),
        observables=["r_std", "v_std"],
        replicates=256,
    )
    found = run_points(all_points(scan), Schedule.of(scan.protocol), batch_shape(scan.size)).variables
    for k, name in enumerate("rv"):
        square = np.mean(found[f"{name}_std"].astype(np.float64) ** 2)
        assert square == pytest.approx(variance[k, k], rel=0.02)


def test_which_program_runs_a_point_with_fast_noise_does_not_depend_on_its_neighbours():
    fixed = {"v_ou_sigma": 1.0}
    points = {"v_ou_tau": [5.0, 0.02, 0.08, 0.079, 1.0]}
    protocol = qs.Protocol(transient=1.0, window=3.0, dt=DT)
    scan = qs.Scan(points=points, fixed=fixed, protocol=protocol, observables=["r_mean", "v_std", "r_final"])
    together = run_points(all_points(scan), Schedule.of(protocol), batch_shape(5))
    for i in range(5):
        alone = run_points(all_points(scan).take(np.array([i])), Schedule.of(protocol), batch_shape(1))
        for name in scan.observables:
            assert alone.variables[name][0].tobytes() == together.variables[name][i].tobytes()


def test_common_noise_is_one_path_per_replicate_at_every_point_and_independent_noise_is_not():
    definition = {
        "axes": {"eta": [-7.0, -5.0, -2.0]},
        "replicates": 3,
        "fixed": {"v_ou_sigma": 0.5, "r_ou_sigma": 0.01},
    }
    common = noise_paths(euler_scan(noise="common", **definition))
    own = noise_paths(euler_scan(**definition))
    for name in "rv":
        z = common[name].reshape(3, 3, STEPS)
        np.testing.assert_allclose(z, np.broadcast_to(z[:1], z.shape), rtol=0, atol=1e-11)
        paths = [*z[0], *own[name]]
        apart = [np.abs(a - b).max() / np.std(paths[0]) for i, a in enumerate(paths) for b in paths[:i]]
        assert min(apart) > 0.1


def test_noise_on_r_leaves_the_common_noise_on_v_as_it_is():
    alone = euler_scan(noise="common", replicates=3, fixed={"v_ou_sigma": 0.5})
    both = euler_scan(noise="common", replicates=3, fixed={"v_ou_sigma": 0.5, "r_ou_sigma": 0.01})
    np.testing.assert_allclose(noise_paths(alone)["v"], noise_paths(both)["v"], rtol=0, atol=1e-11)
    assert np.abs(noise_paths(alone)["r"]).max() < 1e-11
    assert np.abs(noise_paths(both)["r"]).max() > 0.001


def test_a_point_has_the_same_noise_in_a_scan_and_in_simulate():
    scan = euler_scan(axes={"eta": [-7.0, -5.0]}, fixed={"v_ou_sigma": 0.5}, seed=5)
    points = Points.of(scan, (np.array([1]),))
    kept = run_points(points, Schedule.of(scan.protocol, 1), batch_shape(1)).record[0]
    same = {"dt": DT, "integrator": "euler", "seed": 5, "J": 0.0, "v_ou_sigma": 0.5}
    again = qs.simulate(t_end=STEPS * DT, eta=-5.0, **same)
    assert np.array_equal(kept[:, 1], again["v"].values)


# A path that is filled in: drawn on a coarse grid, here of DT, and known at more times

CELLS = 16
FINEST = 3


def filled_paths(scan, depth, cells=CELLS, rows=slice(None)):
    """Return z of every noisy variable at every step of DT/2^depth of so many ms/DT, `(steps + 1, points)`;
    the paths are drawn on the grid of DT."""
    return step_by_step(scan, cells << depth, depth, rows, bridged=True)


@pytest.fixture(scope="module")
def filled():
    """z/std about its mean at every step of DT/8, `(steps + 1, time constants, replicates)`."""
    return {
        name: (z.reshape(-1, 3, LANES) - MEANS[name]) / STDS[name]
        for name, z in filled_paths(ou_scan(), FINEST).items()
    }


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_path_that_is_filled_in_passes_through_the_same_values_bit_for_bit(precision):
    scan = ou_scan(precision, replicates=16)
    paths = [filled_paths(scan, depth) for depth in range(FINEST + 1)]
    for name in "rv":
        assert paths[0][name].dtype == precision
        for depth in range(1, FINEST + 1):
            coarse, fine = paths[depth - 1][name], paths[depth][name]
            assert fine[::2].tobytes() == coarse.tobytes()
            assert np.abs(np.diff(fine, axis=0)).min() > 0


@pytest.mark.parametrize("name", ["r", "v"])
def test_what_is_filled_in_has_its_law_given_the_ends(filled, name):
    """Mean and variance at the seven places between two ends, from the covariance e^(-|s - t|/ou_tau).

    Over replicates: the mean is normal, the sum of squares is chi-squared.
    """
    low, high = stats.chi2.ppf([ERROR / 2, 1 - ERROR / 2], LANES)
    places = np.arange(9) * DT / 8
    for i, ou_tau in enumerate(OU_TAUS):
        covariance = np.exp(-np.abs(places[:, None] - places) / ou_tau)
        ends, inner = [0, 8], np.arange(1, 8)
        weights = np.linalg.solve(covariance[np.ix_(ends, ends)], covariance[np.ix_(ends, inner)])
        variances = 1.0 - np.sum(weights * covariance[np.ix_(ends, inner)], axis=0)
        for cell in (0, 1, CELLS - 1):
            z = filled[name][8 * cell : 8 * cell + 9, i]
            deviation = (z[inner] - weights.T @ z[ends]) / np.sqrt(variances)[:, None]
            for k in range(7):
                assert_standard_mean(deviation[k])
                assert low < np.sum(deviation[k] ** 2) < high


@pytest.mark.parametrize("name", ["r", "v"])
def test_a_path_that_is_filled_in_decorrelates_as_the_process_does(filled, name):
    """Fisher's transform of a correlation over replicates is normal, with variance 1/(n - 3)."""
    for i, ou_tau in enumerate(OU_TAUS):
        for start in (0, 3, 8, 45):
            for lag in (1, 2, 4, 8, 13, 40):
                found = np.corrcoef(filled[name][start, i], filled[name][start + lag, i])[0, 1]
                expected = np.exp(-lag * DT / 8 / ou_tau)
                assert abs(np.arctanh(found) - np.arctanh(expected)) * np.sqrt(LANES - 3) < SIGMAS


def test_a_path_that_is_filled_in_is_that_of_independent_normals_by_the_exact_step(filled):
    """All steps of DT/8, whitened by the closed form: so all joint laws in time are right at once."""
    decay = np.exp(-DT / 8 / OU_TAUS)[:, None]
    white = {}
    for name, z in filled.items():
        normal = np.concatenate([z[:1], (z[1:] - decay * z[:-1]) / np.sqrt(1 - decay**2)])
        assert_standard_mean(normal)
        assert_standard_mean(normal**2 - 1, 2.0)
        assert_standard_mean(normal**4 - 3, 96.0)
        assert_normal(normal)
        for lag in (1, 2, 3, 4, 7, 8, 16):
            assert_uncorrelated(normal[lag:], normal[:-lag])
        assert_uncorrelated(normal[:, 0], normal[:, 1])
        assert_uncorrelated(normal[..., 1:], normal[..., :-1])
        white[name] = normal
    assert_uncorrelated(white["r"], white["v"])
    assert_uncorrelated(white["r"][1:], white["v"][:-1])


@pytest.mark.thorough
def test_a_path_that_is_filled_in_is_the_same_in_float32_to_rounding():
    """To 1e-5 of its std: rounding adds up along 100 steps."""
    single, double = (filled_paths(ou_scan(p, replicates=64), FINEST) for p in ("float32", "float64"))
    for name in "rv":
        assert np.abs(single[name] - double[name]).max() < 1e-5 * STDS[name]


def test_common_noise_is_one_path_for_points_of_different_steps():
    """Points at eta = -7, -5, -2 at the base step and at a quarter and an eighth of it, bit for bit."""
    fixed = {"v_ou_sigma": 0.5, "r_ou_sigma": 0.01}
    scan = euler_scan(axes={"eta": [-7.0, -5.0, -2.0]}, replicates=3, noise="common", fixed=fixed)
    paths = [filled_paths(scan, depth, rows=slice(3 * i, 3 * i + 3)) for i, depth in enumerate((0, 2, 3))]
    for name in "rv":
        on_the_grid = [path[name][:: 1 << depth] for path, depth in zip(paths, (0, 2, 3), strict=True)]
        assert on_the_grid[0].tobytes() == on_the_grid[1].tobytes() == on_the_grid[2].tobytes()


def test_a_run_at_finer_steps_takes_the_path_that_is_filled_in():
    """Euler's steps of DT/4 written out in NumPy on that path, against the states that the run keeps."""
    fixed = {"v_ou_sigma": 2.0, "r_ou_sigma": 0.05, "v_ou_tau": 0.05, "r_ou_tau": 0.02, "J": 0.0}
    scan = euler_scan(fixed=fixed, replicates=16, seed=2)
    points = all_points(scan)
    steps = Steps(np.full(16, 2), np.zeros(16, dtype=int))
    record = points.run(steps, Schedule.of(scan.protocol, 1), batch_shape(16)).record
    z = filled_paths(scan, 2, cells=STEPS)
    constants = QIF.constants({name: x for name, x in points.columns.items() if name != "initial"})
    state = record[:, 0].T
    for n in range(4 * STEPS):
        slopes = QIF.field(tuple(state), (z["r"][n], z["v"][n]), constants)
        state = state + DT / 4 * np.stack(slopes)
        if (n + 1) % 4 == 0:
            np.testing.assert_allclose(record[:, (n + 1) // 4].T, state, rtol=1e-11, atol=1e-12)


# Through the model


def test_runs_at_finer_and_finer_steps_converge_on_one_path_by_either_method():
    """With the difference of the path from its chords, so with first order; the path itself is the same.

    The two methods see the same chords: their difference is the Riccati step's for noise on r, which it
    splits off with second order; at the longest step their errors of fourth order are larger.
    """
    fixed = {"v_ou_sigma": 0.5, "r_ou_sigma": 0.02, "v_ou_tau": 1.0, "r_ou_tau": 1.0}
    v = {}
    for integrator in ("riccati", "rk4"):
        scan = qs.Scan(
            protocol=qs.Protocol(transient=0.0, window=10.0, dt=0.1, integrator=integrator),
            fixed=fixed,
            replicates=64,
            observables=["r_final"],
            precision="float64",
        )
        for halvings in (0, 2, 4, 6):
            steps = Steps(np.full(64, halvings), np.zeros(64, dtype=int))
            run = all_points(scan).run(steps, Schedule.of(scan.protocol, 1), batch_shape(64))
            v[integrator, halvings] = run.record[..., 1]

    def orders(pairs):
        distances = [np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs]
        return np.log2(np.divide(distances[:-1], distances[1:])) / 2

    of_steps = orders((v["rk4", k], v["rk4", k + 2]) for k in (0, 2, 4))
    of_methods = orders((v["rk4", k], v["riccati", k]) for k in (2, 4, 6))
    np.testing.assert_allclose(of_steps, 1.0, rtol=0, atol=0.15)
    np.testing.assert_allclose(of_methods, 2.0, rtol=0, atol=0.15)
    assert np.std(v["rk4", 4] - v["rk4", 6]) < 0.01 * np.std(v["rk4", 6][:, 50:])


def test_a_point_that_is_run_again_keeps_its_noise():
    """At a tolerance that takes finer steps it has the same state but for the error: the path is the same."""
    found = {}
    for tolerance in (1e-2, 1e-7):
        scan = qs.Scan(
            protocol=qs.Protocol(transient=0.0, window=20.0, tolerance=tolerance),
            fixed={"v_ou_sigma": 0.5, "v_ou_tau": 1.0},
            axes={"eta": [-6.0, -5.0]},
            replicates=64,
            seed=7,
            observables=["v_final"],
            precision="float64",
        )
        points = all_points(scan)
        found[tolerance] = run_points(points, Schedule.of(scan.protocol), batch_shape(scan.size)).variables
    assert (found[1e-2]["redo_count"] < found[1e-7]["redo_count"]).all()
    coarse, fine = (found[tolerance]["v_final"].reshape(2, 64) for tolerance in (1e-2, 1e-7))
    assert np.abs(coarse - fine).max() < 0.05 * fine.std(axis=1).min()
    assert (np.sqrt(np.mean((coarse - fine) ** 2, axis=1)) < 0.02 * fine.std(axis=1)).all()


def test_points_of_common_noise_forget_their_start_and_its_step():
    """From a start far away the step is finer; on one path both end in one state, on two they don't."""
    far = {"r_initial": [0.08, 0.08], "v_initial": [-1.96, -40.0]}
    distance = {}
    for noise in ("common", "independent"):
        scan = qs.Scan(
            protocol=qs.Protocol(transient=0.0, window=20.0),
            points=far,
            fixed={"v_ou_sigma": 0.5, "v_ou_tau": 1.0},
            replicates=64,
            noise=noise,
            observables=["v_final"],
            precision="float64",
        )
        found = run_points(all_points(scan), Schedule.of(scan.protocol), batch_shape(scan.size)).variables
        near, away = found["dt"].reshape(2, 64)
        assert (near > 4 * away).all()
        near, away = found["v_final"].reshape(2, 64)
        distance[noise] = np.abs(near - away).max() / near.std()
    assert distance["common"] < 0.05
    assert distance["independent"] > 1.0


def test_a_step_of_rk4_sees_the_noise_linear_between_its_ends():
    """The path of the point, read off Euler's steps, put into rk4 written out in NumPy."""
    fixed = {"J": 0.0, "v_ou_sigma": 2.0, "r_ou_sigma": 0.05, "v_ou_tau": 0.5, "r_ou_tau": 0.2}
    z = noise_paths(euler_scan(fixed=fixed, seed=2))
    z = np.stack([z["r"][0], z["v"][0]])
    run = qs.simulate(t_end=(STEPS - 1) * DT, dt=DT, integrator="rk4", seed=2, **fixed)
    path = np.stack([run["r"].values, run["v"].values])

    def slope(y, z):
        r, v = y
        return np.stack([1 / np.pi + 2 * r * v, v * v - 5 - (np.pi * r) ** 2]) + z

    y, now, middle, later = path[:, :-1], z[:, :-1], (z[:, :-1] + z[:, 1:]) / 2, z[:, 1:]
    k1 = slope(y, now)
    k2 = slope(y + DT / 2 * k1, middle)
    k3 = slope(y + DT / 2 * k2, middle)
    k4 = slope(y + DT * k3, later)
    np.testing.assert_allclose(path[:, 1:], y + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4), rtol=0, atol=1e-13)


@pytest.mark.parametrize("integrator", ["riccati", "rk4", "exp_auto"])
def test_a_mean_of_the_noise_shifts_eta_and_delta(integrator):
    """r_ou_mean = m is delta + pi tau m, v_ou_mean = m is eta + m: equal but for rounding."""
    same = {"t_end": 20.0, "dt": 0.02, "tau": 1.7, "J": 12.0, "integrator": integrator}
    same["initial"] = {"r": 0.3, "v": -0.5}
    moved = qs.simulate(**same, eta=-3.0, delta=0.8, v_ou_mean=1.3, r_ou_mean=0.05)
    shifted = qs.simulate(**same, eta=-3.0 + 1.3, delta=0.8 + np.pi * 1.7 * 0.05)
    for name in "rv":
        np.testing.assert_allclose(moved[name], shifted[name], rtol=1e-11, atol=1e-12)


RESPONSES = {
    # initial state: fixed point; var r, var v and their covariance per sigma^2, noise on v with ou_tau = 5
    "down": (0.081134441950119719, -1.9616199885831653, 3.444571288e-4, 0.2056490652, 8.32807834e-3),
    "up": (1.0305967988375715, -0.15442988302642608, 0.1122839207, 0.0743284696, 0.0168251956),
}


def lyapunov(r, v, ou_tau):
    """Return the stationary covariance of (r, v, z) of the model linearised at a fixed point, sigma = 1."""
    drift = np.array([[2 * v, 2 * r, 0.0], [15.0 - 2 * np.pi**2 * r, 2 * v, 1.0], [0.0, 0.0, -1 / ou_tau]])
    return linalg.solve_continuous_lyapunov(drift, -np.diag([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("state", ["down", "up"])
def test_the_tabulated_linear_responses_solve_the_lyapunov_equation(state):
    r, v, *expected = RESPONSES[state]
    found = lyapunov(r, v, 5.0)
    np.testing.assert_allclose([found[0, 0], found[1, 1], found[0, 1]], expected, rtol=1e-8)


@pytest.mark.parametrize("state", ["down", "up"])
def test_weak_noise_on_v_moves_the_state_as_linear_response_says(state, tmp_path):
    """Second moments about the fixed point, each a mean over 4096 independent replicates: z-test.

    sigma keeps the std a fortieth of the distance to the saddle or less, so that the next order of the
    response (of relative size std^2 over distance^2, about 1e-3) stays below the statistical error.
    """
    r, v, var_r, var_v, _ = RESPONSES[state]
    sigma, replicates = 0.04, 4096
    scan = qs.Scan(
        fixed={"v_ou_sigma": sigma, "v_ou_tau": 5.0},
        protocol=qs.Protocol(transient=40.0, window=200.0, dt=0.05, initial=state),
        replicates=replicates,
        observables=["r_mean", "r_std", "v_mean", "v_std"],
        precision="float64",
        seed=21,
    )
    dataset = qs.run(scan, tmp_path / "scan.zarr")
    for name, rest, expected in (("r", r, var_r), ("v", v, var_v)):
        squares = (dataset[f"{name}_std"] ** 2 + (dataset[f"{name}_mean"] - rest) ** 2).values / sigma**2
        error = squares.std(ddof=1) / np.sqrt(replicates)
        assert error < 0.01 * expected
        assert abs(squares.mean() - expected) < SIGMAS * error
