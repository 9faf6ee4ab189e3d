"""The phase plane: nullclines and equilibria by closed forms, the separatrix by where starts end."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import model_named
from qifscan.theory.plane import PhasePlane

mpl.use("agg")

BISTABLE = {"eta": -5.0, "J": 15.0}
ADAPTING = {"eta": -2.0, "delta": 2.0, "J": 15.0 * np.sqrt(2.0), "alpha": 1.0, "tau_a": 10.0}


def lines(figure, name):
    """The points of the lines of a name."""
    return [line.get_xydata() for line in figure.axes[0].lines if line.get_label() == name]


def drawn_equilibria(figure):
    marks = [x for x in figure.axes[0].lines if x.get_marker() == "o" and len(x.get_xdata()) == 1]
    return {(float(x.get_xdata()[0]), float(x.get_ydata()[0])): x for x in marks}


def test_nullclines_are_those_of_the_paper():
    given = {"eta": -4.0, "J": 12.0, "delta": 1.5, "tau": 2.0}
    figure = qs.phase_plane(**given)
    for r, v in np.concatenate(lines(figure, "r' = 0")):
        assert v == pytest.approx(-1.5 / (2.0 * np.pi * 2.0 * r), rel=2e-2, abs=2e-3)
    for r, v in np.concatenate(lines(figure, "v' = 0")):
        assert v * v - 4.0 + 12.0 * 2.0 * r - (np.pi * 2.0 * r) ** 2 == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("qif", BISTABLE),
        ("qif_adaptation_alpha", ADAPTING),
        ("qif_adaptation_alpha", ADAPTING | {"eta": -4.5, "alpha": 0.2}),
        ("qif_plasticity", {"eta": -3.0}),
        ("qif_delay", BISTABLE | {"delay": 0.3}),
    ],
)
def test_nullclines_cross_at_the_equilibria_and_nowhere_else(model, given):
    plane = PhasePlane(model_named(model), {p.name: p.default for p in model_named(model).parameters} | given)
    assert np.abs(plane.slopes(*plane.states[:, :2].T)).max() < 1e-12
    # Along r' = 0, whose v is a function of r, v' changes its sign at each equilibrium once.
    tau, delta = plane.effective["tau"], plane.effective["delta"]
    r = np.geomspace(1e-3, 20.0, 200001)
    slope = plane.slopes(r, -delta / (2.0 * np.pi * tau * r))[1]
    assert np.count_nonzero(slope[1:] * slope[:-1] < 0) == len(plane.states)


def test_every_equilibrium_is_drawn_with_its_stability():
    found = qs.equilibria(**BISTABLE)
    figure = qs.phase_plane(**BISTABLE)
    drawn = drawn_equilibria(figure)
    assert sorted(drawn) == [tuple(x) for x in np.stack([found["r"], found["v"]], -1).tolist()]
    looks = [(drawn[x].get_label(), drawn[x].get_fillstyle()) for x in sorted(drawn)]
    assert looks == [("stable node", "full"), ("saddle", "left"), ("stable focus", "full")]
    unstable = drawn_equilibria(qs.phase_plane("qif_adaptation_alpha", **ADAPTING))
    assert [x.get_label() for x in unstable.values()] == ["unstable node"]
    assert [x.get_markerfacecolor() for x in unstable.values()] == ["white"]


def test_starts_on_the_sides_of_the_stable_manifold_end_in_different_states():
    figure = qs.phase_plane(**BISTABLE)
    halves = lines(figure, "stable manifold of the saddle")
    assert len(halves) == 2
    points = np.concatenate([half[[len(half) // 2, 3 * len(half) // 4, len(half) - 50]] for half in halves])
    for r, v in points[points[:, 0] > 0.02]:
        low, high = (v + sign * 0.02 for sign in (-1, 1))
        begin = {
            "r_initial": xr.DataArray([r, r], dims="side"),
            "v_initial": xr.DataArray([low, high], dims="side"),
        }
        ends = qs.simulate(t_end=100.0, **BISTABLE, **begin)["r"].isel(time=-1).values
        assert (ends[0] > 0.5) != (ends[1] > 0.5), (r, v)


def test_the_manifold_is_a_trajectory_that_ends_at_the_saddle():
    plane = PhasePlane(model_named("qif"), {"tau": 1.0, "delta": 1.0, **BISTABLE})
    for half in plane.separatrices((0.0, -3.0), (2.0, 3.0)):
        assert half[0] == pytest.approx(plane.states[1])
        steps = np.diff(half, axis=0)
        middles = 0.5 * (half[1:] + half[:-1])
        slopes = np.stack(plane.slopes(*middles.T), axis=1)
        long = np.hypot(*steps.T) > 1e-3
        cosine = (steps * slopes).sum(1) / np.hypot(*steps.T) / np.hypot(*slopes.T)
        assert cosine[long].max() < -0.999


def test_trajectories_are_those_of_simulate():
    start = [{"r": 0.1, "v": -1.0}, {"r": 0.7, "v": -0.5}]
    figure = qs.phase_plane(**BISTABLE, start=start, t_end=5.0)
    for begin in start:
        (drawn,) = lines(figure, f"from r = {begin['r']}, v = {begin['v']:g}")
        made = qs.simulate(t_end=5.0, dt=0.005, initial=begin, **BISTABLE)
        assert drawn == pytest.approx(np.stack([made["r"], made["v"]], axis=1), abs=1e-9)


def test_the_mean_of_the_noise_moves_the_plane():
    moved = qs.phase_plane(eta=-5.5, J=15.0, delta=0.5, v_ou_mean=0.5, r_ou_mean=0.5 / np.pi)
    same = qs.phase_plane(eta=-5.0, J=15.0, delta=1.0)
    drawn = [np.array(sorted(drawn_equilibria(figure))) for figure in (moved, same)]
    assert drawn[0] == pytest.approx(drawn[1])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("qif_adaptation_alpha", "a, b as at rest at each r"),
        ("qif_pair", "held at an equilibrium: r_i = 0.729, v_i = -0.218"),
        ("qif_delay", "past rate: r(t − delay) = r"),
    ],
)
def test_the_figure_says_what_the_plane_is_of(model, words):
    figure = qs.phase_plane(model)
    assert words in figure.get_suptitle()
    assert not lines(figure, "stable manifold of the saddle")


def test_a_dataset_gives_the_parameters_that_it_has(tmp_path):
    scan = qs.Scan(
        axes={"eta": [-6.0, -5.0], "J": [10.0, 15.0]},
        fixed={"delta": 1.2},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    dataset = qs.run(scan, tmp_path / "scan.zarr", progress=None)
    own = drawn_equilibria(qs.phase_plane(eta=-5.0, J=15.0, delta=1.2))
    given = (
        dataset.sel(eta=-5.0).qs.phase_plane(J=15.0),
        qs.phase_plane(tmp_path / "scan.zarr", eta=-5.0, J=15.0),
        qs.simulate(t_end=0.1, eta=-5.0, delta=1.2).qs.phase_plane(),
    )
    for figure in given:
        assert sorted(drawn_equilibria(figure)) == sorted(own)
    with pytest.raises(qs.ScanError, match="eta: found 2 values in the dataset"):
        dataset.qs.phase_plane(J=15.0)


def test_a_window_that_is_given_is_drawn():
    figure = qs.phase_plane(**BISTABLE, within={"r": (0.2, 1.0)}, figsize=(4.0, 3.0), title="mine")
    assert figure.axes[0].get_xlim() == (0.2, 1.0)
    assert figure.get_suptitle() == "mine"
    assert figure.get_size_inches().tolist() == [4.0, 3.0]


WRONG = {
    "model": ({"model": "qiff"}, 'did you mean "qif"'),
    "no model": ({"model": 3}, "expected the name of a model, a dataset, or the path of a store"),
    "parameter": ({"etta": 1.0}, 'did you mean "eta"'),
    "several": ({"eta": [-5.0, -4.0]}, "eta: found .*, expected a number"),
    "domain": ({"delta": -1.0}, "delta: found -1"),
    "start": ({"start": "rest"}, "expected a state, or a list of states"),
    "no v": ({"start": {"r": 1.0}}, "start: found no v"),
    "name": ({"start": [{"r": 1.0, "v": 0.0, "w": 1.0}]}, "w"),
    "below 0": ({"start": {"r": -1.0, "v": 0.0}}, "expected a rate of at least 0"),
    "text": ({"start": {"r": "a", "v": 0.0}}, "expected a number"),
    "within": ({"within": {"r": (1.0, 0.0)}}, "within.r: found .*, expected two ascending numbers"),
    "t_end": ({"t_end": -1.0}, "t_end"),
    "ax": ({"ax": 1}, "ax: found 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_can_not_be_drawn_gets_one_line(case):
    options, words = WRONG[case]
    with pytest.raises(qs.ScanError, match=words) as caught:
        qs.phase_plane(**{"model": "qif"} | options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("model", qs.models())
def test_every_model_has_a_plane(model):
    assert drawn_equilibria(qs.phase_plane(model))
