"""Figures of datasets as people have them: unsorted, selected, averaged, combined; constants and flags."""

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import xarray as xr

import qifscan as qs

ETA = [-8.0, -6.0, -4.0, -2.0, -7.0, -5.0, -3.0]


def scan(delta):
    return qs.Scan(
        axes={"eta": ETA, "J": [5.0, 10.0, 15.0, 20.0], "initial": ["up", "down"]},
        fixed={"delta": delta},
        replicates=2,
        protocol=qs.Protocol(transient=5.0, window=5.0),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return [qs.run(scan(delta), folder / f"{delta}.zarr", progress=None).load() for delta in (1.0, 3.0)]


def cells(figure):
    mesh = figure.axes[0].collections[0]
    corners = np.asarray(mesh.get_coordinates())
    return corners[0, :, 0], corners[:, 0, 1], mesh.get_array()


def test_unsorted_values_are_drawn_in_order(made):
    across, _, values = cells(qs.show(made[0], facet="initial", folds=False))
    assert across == pytest.approx(np.arange(-8.5, -1.0))
    expected = made[0]["r_mean"].sel(initial="up").mean("replicate").sortby("eta").transpose("J", "eta")
    assert values.filled() == pytest.approx(expected.values)


def test_lines_over_unsorted_values_go_to_the_right(made):
    line = qs.show(made[0].sel(J=15.0, initial="up"), folds=False).axes[0].lines[0]
    assert line.get_xdata().tolist() == sorted(ETA)


def test_what_is_fixed_is_a_coordinate_and_stays_right_when_put_together(made):
    assert [float(one["delta"]) for one in made] == [1.0, 3.0]
    both = xr.concat(made, dim="delta")
    assert both["delta"].values.tolist() == [1.0, 3.0]
    # Folds go as delta f(J / sqrt(delta)): at three times the delta and sqrt(3) J, three times the eta.
    figure = qs.show(both.sel(initial="up"), x="eta", y="J", facet="delta")
    at = [(axes, J) for axes, J in zip(figure.axes[:2], (10.0, 10.0 * np.sqrt(3.0)), strict=True)]
    found = []
    for axes, J in at:
        curves = [
            one
            for one in axes.get_lines()
            if one.get_label() == "folds (exact)" or one.get_color() == "#d1495b"
        ]
        found.append(sorted(np.interp(J, one.get_ydata(), one.get_xdata()) for one in curves))
    exact = qs.folds(J=10.0)["eta"].values
    assert found[0] == pytest.approx(sorted(exact), abs=5e-3)
    assert found[1] == pytest.approx(sorted(3.0 * exact), abs=2e-2)


STEPS = {
    "whole": lambda ds: ds,
    "one J": lambda ds: ds.sel(J=15),
    "one state": lambda ds: ds.sel(initial="up"),
    "some": lambda ds: ds.isel(J=slice(0, 2)),
    "mean": lambda ds: ds.mean("replicate"),
    "squeezed": lambda ds: ds.isel(J=[1]).squeeze(),
    "one variable": lambda ds: ds[["r_mean"]],
    "assigned": lambda ds: ds.assign(bist=ds["r_mean"] > 0.5)[["bist"]],
    "array": lambda ds: ds["r_mean"],
    "dropped": lambda ds: ds.sel(J=15, drop=True),
    "mean over J": lambda ds: ds.mean("J"),
}


@pytest.mark.parametrize("step", STEPS)
def test_ordinary_steps_of_xarray_are_drawn(made, tmp_path, step):
    figure = qs.show(STEPS[step](made[0]))
    figure.savefig(tmp_path / "figure.png")
    has_J = step not in ("one J", "squeezed", "dropped", "mean over J")
    lines = not has_J
    assert bool(figure.axes[0].collections) != lines
    if step == "one J":
        assert "15" in figure.get_suptitle()


def test_theory_is_not_drawn_where_its_parameters_are_not_known(made):
    def has_folds(data):
        return any(line.get_color() == "#d1495b" for line in qs.show(data).axes[0].lines)

    assert has_folds(made[0].sel(J=15))
    assert not has_folds(made[0].sel(J=15, drop=True))
    assert not has_folds(made[0].mean("J"))


def test_a_stacked_dimension_is_refused_in_one_line(made):
    with pytest.raises(qs.ScanError, match="unstack it first"):
        qs.show(made[0].stack(p=("eta", "J")))


def test_trajectories_are_drawn_over_time():
    figure = qs.show(qs.simulate(t_end=2.0, eta=[-5.0, -4.0]))
    assert figure.axes[0].get_xlabel() == "time (ms)"
    assert len(figure.axes[0].lines) == 2


def colours_of(figure):
    return [
        axes.collections[0].cmap(axes.collections[0].norm(axes.collections[0].get_array()))
        for axes in figure.axes[:2]
    ]


def test_a_constant_has_one_colour_in_every_panel(made):
    one = made[0].assign(status=xr.ones_like(made[0]["status"]).assign_attrs(made[0]["status"].attrs))
    figure = qs.show(one, ["status"])
    first, second = (np.unique(c.reshape(-1, 4), axis=0) for c in colours_of(figure))
    assert len(first) == 1
    assert np.array_equal(first, second)
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == ["1: computed"]


def test_status_is_decoded(made):
    status = made[0]["status"].copy(
        data=np.where(made[0]["eta"].values[:, None, None, None] < -5.0, 1, 17)
        + np.zeros(made[0]["status"].shape, int)
    )
    figure = qs.show(made[0].assign(status=status), ["status"])
    words = [text.get_text() for text in figure.axes[-1].get_yticklabels()]
    assert words == ["1: computed", "17: computed\nnot_settled"]


def test_rounding_has_one_colour(made):
    noise = 4e-7 * np.random.default_rng(1).random(made[0]["r_std"].shape, dtype=np.float32)
    figure = qs.show(
        made[0].assign(r_std=made[0]["r_std"].copy(data=noise))[["r_std", "r_mean", "status"]], ["r_std"]
    )
    assert len(np.unique(np.concatenate(colours_of(figure)).reshape(-1, 4), axis=0)) == 1


def test_the_stable_branch_is_seen_on_a_dark_background():
    with matplotlib.style.context("dark_background"):
        figure = qs.show(qs.branch(along="eta", J=15.0))
        solid = next(line for line in figure.axes[0].lines if line.get_linestyle() == "-")
        face = mpl.colors.to_rgb(figure.axes[0].get_facecolor())
    assert abs(np.mean(mpl.colors.to_rgb(solid.get_color())) - np.mean(face)) > 0.5


def test_small_geometric_steps_are_drawn_in_their_logarithm(tmp_path):
    asked = qs.Scan(
        axes={"v_ou_sigma": np.geomspace(1e-10, 1e-7, 4), "J": [1.0, 2.0]},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    figure = qs.show(qs.run(asked, tmp_path / "s.zarr", progress=None))
    assert figure.axes[0].get_xscale() == "log"
    across, _, _ = cells(figure)
    assert across == pytest.approx(np.geomspace(10**-10.5, 10**-6.5, 5))
