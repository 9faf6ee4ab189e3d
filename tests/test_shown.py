"""Figures of datasets as people have them: unsorted, selected, averaged, combined; constants and flags."""

import io
import itertools

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
    assert figure.axes[-1].get_xlabel() == "time (ms)"
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


def words_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


SHORT = qs.Protocol(transient=2.0, window=4.0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A result of every function, of small scans."""
    folder = tmp_path_factory.mktemp("results")

    def run(name, **parts):
        return qs.run(
            qs.Scan(**{"protocol": SHORT, **parts}), folder / f"{name}.zarr", client="serial"
        ).load()

    sweep = qs.Protocol(transient=2.0, window=4.0, sweep="eta")
    swept = run("sweep", axes={"eta": np.linspace(-7.0, -3.0, 5), "J": [10.0, 15.0]}, protocol=sweep)
    exits = ["up_fraction", "up_exits", "down_exits"]
    longer = qs.Protocol(transient=2.0, window=200.0)
    noise = {"axes": {"eta": [-5.5, -5.0]}, "fixed": {"v_ou_sigma": 3.0}, "protocol": longer}
    noisy = run("noisy", **noise, replicates=2, observables=exits)
    grid = {"eta": [-5.0, -4.0], "r_initial": [0.1, 1.0, 2.0], "v_initial": [-2.0, 0.0]}
    starts = run("starts", axes=grid, protocol=qs.Protocol(transient=20.0, window=5.0))
    pulse = qs.Pulse(amplitude=3.0, start=1.0, length=2.0)
    pulses = run(
        "pulse", axes={"eta": [-6.0, -4.0]}, drive=pulse, protocol=qs.Protocol(window=9.0, initial="down")
    )
    eta = np.linspace(-7.0, -2.0, 11)
    return {
        "residence times": qs.residence(noisy),
        "basins": qs.basins(starts, confidence=0.9),
        "tipping": qs.tipping(starts, eta=(-5.0, -4.0)),
        "hysteresis": qs.hysteresis(swept),
        "hysteresis of one line": qs.hysteresis(swept.sel(J=15.0)),
        "response to a pulse": qs.pulse_response(pulses),
        "folds": qs.folds(J=[10.0, 15.0, 20.0]),
        "theory of the cusp": qs.cusp(delta=[1.0, 2.0]),
        "theory of the focus": qs.focus_line(J=[5.0, 10.0, 15.0]),
        "trajectories": qs.simulate(t_end=1.0, eta=[-5.0, -4.0]),
        "trajectories: one": qs.simulate(t_end=1.0),
        "trajectories of a point": qs.replay(folder / "noisy.zarr", eta=-5.0, replicate=1),
        "trajectories of an object": qs.QIF(3).run(5),
        "qif": qs.equilibria(eta=eta, J=15.0),
        "equilibria": qs.equilibria(eta=eta, J=[10.0, 15.0]),
        "qif, forced": qs.forced_cycles(drive=qs.Sine(amplitude=0.5, period=20.0), eta=[-7.0, -6.0]),
        "scan of qif": swept,
    }


SHOWN = {
    "residence times": ("eta", "residence_time (ms)", ["state = down", "state = up"]),
    "basins": ("eta", "fraction", [f"equilibrium: {x}" for x in ("lowest", "middle", "highest")]),
    "tipping": ("equilibrium", "equilibrium_after", []),
    "hysteresis": ("J", "width", []),
    "hysteresis of one line": ("eta", "difference (1/ms)", []),
    "response to a pulse": ("eta", "switched", []),
    "folds": ("J", "eta", ["fold = lower", "fold = upper"]),
    "theory of the cusp": ("delta", "eta", []),
    "theory of the focus": ("J", "eta", []),
    "trajectories": ("time (ms)", "r (1/ms)", ["eta = -5", "eta = -4"]),
    "trajectories: one": ("time (ms)", "r (1/ms)", []),
    "trajectories of a point": ("time (ms)", "r (1/ms)", []),
    "trajectories of an object": ("time (ms)", "r (1/ms)", [f"population = {i}" for i in range(3)]),
    "qif": ("eta", "r (1/ms)", ["equilibrium, stable", "equilibrium, unstable"]),
    "equilibria": ("eta", "J", []),
    "qif, forced": ("eta", "r (1/ms)", ["cycle, stable"]),
}
NAME = {r"$\eta$": "eta", r"$J$": "J", r"$\Delta$": "delta"}


def plain(text):
    for symbol, name in NAME.items():
        text = text.replace(symbol, name)
    return text


@pytest.mark.parametrize("kind", SHOWN)
def test_every_result_is_drawn_as_what_it_is(results, tmp_path, kind):
    figure = qs.show(results[kind])
    figure.savefig(tmp_path / "figure.png")
    across, up, legend = SHOWN[kind]
    # Rows of panels have their axis across below the last.
    below = next(axes.get_xlabel() for axes in figure.axes if axes.get_xlabel())
    assert (plain(below), plain(figure.axes[0].get_ylabel())) == (across, up)
    assert [plain(word) for word in words_of(figure)] == legend
    assert figure.get_suptitle().startswith(kind.partition(" of ")[0].partition(",")[0].partition(":")[0])


def test_the_heading_of_a_result_has_the_parameters_that_are_fixed(results):
    assert qs.show(results["qif"]).get_suptitle().endswith("$J$ = 15")
    assert "$J$ = 15" in qs.show(results["basins"]).get_suptitle()


def test_equilibria_over_one_parameter_are_all_there_and_told_apart(results):
    given = results["qif"]
    drawn = {line.get_label(): line.get_xydata() for line in qs.show(given).axes[0].lines}
    stable, unstable = (drawn[f"equilibrium, {word}"] for word in ("stable", "unstable"))
    assert len(stable) + len(unstable) == int(given["count"].sum())
    # Between the folds at -5.744 and -3.136 there are two stable ones and a saddle, elsewhere one.
    inside = [eta for eta in given["eta"].values if -5.744 < eta < -3.136]
    assert sorted(unstable[:, 0]) == inside
    assert len(stable) == len(given["eta"]) + len(inside)


def test_equilibria_over_two_parameters_are_counted(results):
    values = qs.show(results["equilibria"]).axes[0].collections[0].get_array()
    eta = results["equilibria"]["eta"].values
    expected = [[1 + (low < x < high) for x in eta] for low, high in [(-2.63, -2.23), (-5.744, -3.136)]]
    assert values.filled().tolist() == expected


def test_an_interval_is_a_band_around_its_line(results):
    axes = qs.show(results["basins"]).axes[0]
    assert len(axes.collections) == 3
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    one = results["basins"].isel(equilibrium=0)
    assert heights.min() == pytest.approx(float(one["fraction_low"].min()))
    assert heights.max() == pytest.approx(float(one["fraction_high"].max()))


def test_what_has_no_dimension_to_draw_over_is_said_in_one_line():
    for given in (
        qs.equilibria(eta=-5.0),
        qs.forced_cycles(drive=qs.Sine(amplitude=0.5, period=20.0), eta=-7.0),
    ):
        with pytest.raises(qs.ScanError, match=r"^x: found no parameter with several values"):
            qs.show(given)


def test_a_constant_line_is_flat(results):
    axes = qs.show(results["trajectories: one"]).axes[0]
    low, high = axes.get_ylim()
    assert high - low > 0.1 * high


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.geomspace(0.6, 0.9, 5), [0.6, 0.7, 0.8, 0.9]),
        (np.geomspace(5.0, 40.0, 8), [5.0, 10.0, 20.0]),
        (np.geomspace(1e-3, 1e2, 6), [1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0]),
    ],
)
def test_ticks_of_a_geometric_axis_are_few_numbers_written_out(values, expected):
    data = xr.Dataset({"r": ("delta", values, {"units": "1"})}, {"delta": values, "eta": -5.0})
    figure = qs.show(data)
    figure.savefig(io.BytesIO())
    axis = figure.axes[0].xaxis
    low, high = values[0] * (1 - 1e-9), values[-1] * (1 + 1e-9)
    told = [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    assert [float(text) for text in told] == pytest.approx(expected)
    assert not any(label.get_text() for label in axis.get_minorticklabels())


def test_tick_labels_do_not_overlap(tmp_path):
    for values in (np.linspace(5.0, 40.0, 8), np.geomspace(5.0, 40.0, 8), np.geomspace(0.6, 0.9, 5)):
        dims = ("J", "eta", "delta")
        coords = {"J": values, "eta": np.linspace(-8.0, -2.0, 7), "delta": np.arange(1.0, 7.0)}
        array = xr.DataArray(np.random.default_rng(0).random((len(values), 7, 6)), coords, dims, "r")
        figure = qs.show(array, x="J", y="eta", facet="delta")
        figure.savefig(io.BytesIO())
        for axes in figure.axes[:6]:
            for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
                boxes = [
                    label.get_window_extent() for label in labels if label.get_text() and label.get_visible()
                ]
                assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_a_zipped_axis_has_whole_numbers(tmp_path):
    scan = qs.Scan(axes={"path": {"eta": [-8.0, -5.0, -4.0], "J": [10.0, 15.0, 20.0]}}, protocol=SHORT)
    figure = qs.show(qs.run(scan, tmp_path / "path.zarr", client="serial"))
    figure.savefig(io.BytesIO())
    low, high = figure.axes[0].get_xlim()
    assert [x for x in figure.axes[0].get_xticks() if low <= x <= high] == [0, 1, 2]


def test_a_legend_names_what_is_in_a_panel_and_hides_nothing(made):
    """The cusp is at J = 7.9: below J = 10 there are no folds, above it no cusp."""
    words = {}
    for name, chosen in (("above", made[0].sel(J=[15.0, 20.0])), ("all", made[0])):
        figure = qs.show(chosen.sel(initial="up"))
        figure.savefig(io.BytesIO())
        words[name] = words_of(figure)
        box = figure.legends[0].get_window_extent()
        assert not any(axes.bbox.overlaps(box) for axes in figure.axes)
    assert "cusp (CP)" in words["all"]
    assert "cusp (CP)" not in words["above"]
    assert "folds (exact)" in words["above"]
    lines = qs.show(made[0].sel(J=15.0))
    lines.savefig(io.BytesIO())
    assert not any(axes.bbox.overlaps(lines.legends[0].get_window_extent()) for axes in lines.axes)


def test_a_curve_shows_its_special_points():
    figure = qs.show(qs.curve("qif_adaptation_alpha", through="alpha", J=15.0))
    assert {"folds (exact)", "cusp (CP)", "Bogdanov-Takens (BT)"} <= set(words_of(figure))
    low, high = figure.axes[0].get_ylim()
    # Without adaptation the folds are those of the plain model, at the lower edge.
    assert low <= 0.0 < high
    curve = next(line for line in figure.axes[0].lines if line.get_label() == "folds (exact)")
    x, y = np.asarray(curve.get_xydata()).T
    assert sorted(x[np.abs(y) < 1e-9]) == pytest.approx(sorted(qs.folds(J=15.0)["eta"].values), abs=1e-6)
