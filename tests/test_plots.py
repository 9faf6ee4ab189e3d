"""Figures show the numbers of the dataset, and the folds where theory has them."""

import numpy as np
import pytest

import qifscan as qs


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A small scan over eta, J, delta (geometric), initial state and replicates."""
    path = tmp_path_factory.mktemp("plots") / "cube.zarr"
    scan = qs.Scan(
        axes={
            "eta": np.linspace(-8.0, 0.0, 9),
            "J": np.linspace(5.0, 25.0, 5),
            "delta": np.geomspace(0.25, 4.0, 9),
            "initial": ["down", "up"],
        },
        fixed={"v_ou_sigma": 0.1},
        replicates=2,
        protocol=qs.Protocol(transient=0.1, window=0.1),
        observables=["r_mean", "r_std"],
    )
    qs.run(scan, path)
    return path


def curves(axes):
    return [line for line in axes.get_lines() if line.get_color() == "#d1495b"]


def test_a_map_has_one_panel_for_every_value_of_the_facet_and_row_for_every_observable(cube):
    figure = qs.show(cube, ["r_mean", "r_std"])
    panels = [axes for axes in figure.axes if axes.collections and axes.get_xlabel() != ""]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["initial = down", "initial = up"]
    assert len(panels) == 2
    assert "mean of 2 replicates" in figure.get_suptitle()


def test_the_colours_of_a_map_are_the_means_of_the_replicates(cube):
    figure = qs.show(cube, ["r_mean"], select={"delta": 1.0, "initial": "up"})
    drawn = figure.axes[0].collections[0].get_array()
    stored = qs.open_scan(cube)["r_mean"].sel(delta=1.0, initial="up", method=None)
    assert np.allclose(drawn, stored.mean("replicate").transpose("J", "eta").values)


def test_the_folds_of_a_map_are_the_exact_ones_of_the_selected_value_on_the_axis(cube):
    # Asked for 1.9, the nearest on the axis is 2: the exact folds of J = 15 sqrt 2, delta = 2 (NUMBERS).
    figure = qs.show(cube, select={"delta": 1.9, "initial": "up"})
    assert r"$\Delta$ = 2" in figure.get_suptitle()
    found = [
        np.interp(15.0 * np.sqrt(2.0), line.get_ydata(), line.get_xdata()) for line in curves(figure.axes[0])
    ]
    assert sorted(found) == pytest.approx([-11.487054323315632, -6.2722681723913705], abs=2e-3)


def test_the_folds_of_lines_over_eta_stand_where_theory_has_them(cube):
    figure = qs.show(cube, y="", select={"J": 15.0, "delta": 1.0, "replicate": 0})
    found = sorted({float(line.get_xdata()[0]) for line in curves(figure.axes[0])})
    assert found == pytest.approx([-5.7435271616578158, -3.1361340861956852], abs=1e-9)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "initial = down",
        "initial = up",
        "folds (exact)",
    ]


def test_a_mean_of_the_noise_moves_the_folds(tmp_path):
    scan = qs.Scan(
        axes={"eta": np.linspace(-8.0, 0.0, 5)},
        fixed={"v_ou_mean": 0.5},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    qs.run(scan, tmp_path / "scan.zarr")
    lines = curves(qs.show(tmp_path / "scan.zarr").axes[0])
    found = sorted({float(line.get_xdata()[0]) for line in lines})
    assert found == pytest.approx([-6.2435271616578158, -3.6361340861956852], abs=1e-9)


def folds_at(axes, up):
    return sorted(np.interp(up, line.get_ydata(), line.get_xdata()) for line in curves(axes))


def test_every_panel_has_the_folds_of_its_own_value(tmp_path):
    scan = qs.Scan(
        axes={"eta": np.linspace(-14.0, 0.0, 5), "J": np.linspace(5.0, 25.0, 4), "delta": [1.0, 2.0]},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    qs.run(scan, tmp_path / "scan.zarr")
    first, second = qs.show(tmp_path / "scan.zarr", facet="delta").axes[:2]
    assert folds_at(first, 15.0) == pytest.approx([-5.7435271616578158, -3.1361340861956852], abs=2e-3)
    # Twice the delta and sqrt(2) times the J: twice the eta.
    scaled = folds_at(second, 15.0 * np.sqrt(2.0))
    assert scaled == pytest.approx([-11.487054323315632, -6.2722681723913705], abs=2e-3)


def test_lines_whose_colours_have_folds_of_their_own_have_none(cube):
    assert curves(qs.show(cube, y="", facet="initial").axes[0])
    assert not curves(qs.show(cube, y="", facet="J").axes[0])


def test_folds_move_with_a_mean_of_the_noise_and_a_constant_drive_along_an_axis(tmp_path):
    scan = qs.Scan(
        axes={"eta": np.linspace(-8.0, 0.0, 5), "drive_amplitude": [0.0, 1.0, 2.0]},
        # delta + pi tau r_ou_mean = 0.5 + 0.5
        fixed={"delta": 0.5, "tau": 2.0, "r_ou_mean": 0.25 / np.pi, "v_ou_mean": 0.5},
        drive=qs.Constant(amplitude=0.0),
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    qs.run(scan, tmp_path / "scan.zarr")
    axes = qs.show(tmp_path / "scan.zarr").axes[0]
    for amplitude in (0.0, 1.5):
        shift = 0.5 + amplitude
        exact = [-5.7435271616578158 - shift, -3.1361340861956852 - shift]
        assert folds_at(axes, amplitude) == pytest.approx(exact, abs=2e-3)


def test_a_geometric_axis_is_drawn_in_its_logarithm(cube):
    figure = qs.show(cube, x="eta", y="delta", select={"J": 15.0})
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_xscale() == "linear"


def test_points_without_a_value_are_grey_and_the_title_says_so(tmp_path):
    scan = qs.Scan(
        axes={"eta": [-5.0, -4.0, -3.0], "J": [0.0, 10.0, 20.0]},
        protocol=qs.Protocol(transient=0.1, window=0.1),
        observables=["up_fraction"],
    )
    qs.run(scan, tmp_path / "scan.zarr")
    figure = qs.show(tmp_path / "scan.zarr")
    assert "grey: not defined" in figure.get_suptitle()
    assert figure.axes[0].collections[0].get_array().mask[0].all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"observables": ["r_meen"]}, 'found "r_meen", expected one of'),
        ({"x": "etta"}, 'did you mean "eta"'),
        ({"select": {"gamma": 1.0}}, 'select: found "gamma"'),
        ({"select": {"initial": "middle"}}, 'found "middle", expected one of down, up'),
        ({"x": "eta", "select": {"eta": 0.0}}, "found eta, expected one that is not selected"),
        ({"facet": "eta", "x": "eta"}, "found eta twice"),
    ],
)
def test_what_can_not_be_drawn_is_refused(cube, options, words):
    observables = options.pop("observables", None)
    with pytest.raises(qs.ScanError) as caught:
        qs.show(cube, observables, **options)
    assert words in str(caught.value)
