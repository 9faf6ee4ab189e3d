"""Options of a figure: axes, colours, range, size, title; bands over replicates; differences of starts."""

import matplotlib as mpl
import matplotlib.colors
import numpy as np
import pytest
import scipy.stats
import xarray as xr

import qifscan as qs

mpl.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A map from two starts, settled but beside the folds."""
    scan = qs.Scan(
        axes={"eta": np.linspace(-8.0, 0.0, 9), "J": [5.0, 10.0, 15.0, 20.0], "initial": ["down", "up"]},
        protocol=qs.Protocol(transient=60.0, window=20.0),
    )
    return qs.run(scan, tmp_path_factory.mktemp("options") / "scan.zarr", progress=None).load()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    scan = qs.Scan(
        axes={"eta": [-7.0, -5.0, -3.0]},
        fixed={"v_ou_sigma": 1.0},
        replicates=5,
        protocol=qs.Protocol(transient=5.0, window=20.0),
    )
    return qs.run(scan, tmp_path_factory.mktemp("options") / "noisy.zarr", progress=None).load()


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def mesh(figure):
    return next(c for axes in figure.axes for c in axes.collections if hasattr(c, "get_coordinates"))


def test_a_map_is_drawn_into_axes_that_are_given(made, axes):
    figure = qs.show(made, select={"initial": "up"}, ax=axes)
    assert figure is axes.figure
    assert axes.get_title() == "scan of qif\ninitial = up"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"$\eta$", r"$J$")
    assert mesh(figure).get_array().shape == (4, 9)
    assert axes.get_legend() is not None
    assert not figure.legends


def test_theory_is_drawn_into_axes_that_are_given(axes):
    assert qs.show(qs.branch(J=15.0), ax=axes, title="mine") is axes.figure
    assert axes.get_title() == "mine"
    assert {"-", "--"} <= {line.get_linestyle() for line in axes.lines}


def test_colours_are_those_that_are_chosen(made):
    figure = qs.show(made, cmap="cividis", vmin=0.1, vmax=1.5)
    drawn = mesh(figure)
    assert drawn.cmap.name == "cividis"
    assert (drawn.norm.vmin, drawn.norm.vmax) == (0.1, 1.5)
    colours = matplotlib.colors.LinearSegmentedColormap.from_list("mine", ["white", "red"])
    assert mesh(qs.show(made, cmap=colours)).cmap.name == "mine"


def test_a_logarithmic_map_has_the_logarithm_of_its_values(made):
    drawn = mesh(qs.show(made, log=True))
    assert isinstance(drawn.norm, matplotlib.colors.LogNorm)
    assert drawn.norm.vmin == pytest.approx(float(made["r_mean"].min()))
    assert drawn.norm.vmax == pytest.approx(float(made["r_mean"].max()))


def test_values_that_have_no_logarithm_are_said_to_be_grey(made):
    values = made["r_mean"].copy()
    values[0] = -1.0
    figure = qs.show(made.assign(r_mean=values), log=True)
    assert "grey: not above 0" in figure.get_suptitle()
    assert "grey" not in qs.show(made, log=True).get_suptitle()


def test_values_beyond_the_range_are_told_by_the_bar(made):
    figure = qs.show(made, vmin=0.1, vmax=1.0)
    assert figure.axes[-1]._colorbar.extend == "both"
    figure = qs.show(made, vmin=0.0)
    assert figure.axes[-1]._colorbar.extend == "neither"


def test_lines_have_the_chosen_heights(made):
    figure = qs.show(made.sel(J=15.0), vmin=0.01, vmax=10.0, log=True)
    assert figure.axes[0].get_ylim() == (0.01, 10.0)
    assert figure.axes[0].get_yscale() == "log"
    figure = qs.show(qs.branch(J=15.0), vmax=2.0)
    assert figure.axes[0].get_ylim()[1] == 2.0


def test_size_and_title_are_those_that_are_chosen(made):
    figure = qs.show(made, figsize=(5.0, 3.0), title="mine")
    assert figure.get_size_inches().tolist() == [5.0, 3.0]
    assert figure.get_suptitle() == "mine"


def test_the_band_over_replicates_is_the_interval_of_the_mean(noisy):
    figure = qs.show(noisy)
    assert "mean of 5 replicates, band: its 95% interval" in figure.get_suptitle()
    (band,) = figure.axes[0].collections
    corners = band.get_paths()[0].vertices
    for i, eta in enumerate(noisy["eta"].values):
        values = noisy["r_mean"].values[i].astype(float)
        low, high = scipy.stats.t.interval(0.95, 4, values.mean(), scipy.stats.sem(values))
        here = corners[corners[:, 0] == eta, 1]
        assert (here.min(), here.max()) == pytest.approx((low, high), rel=1e-5)


def test_a_replicate_that_has_not_been_run_is_not_in_the_band(noisy):
    status = noisy["status"].copy()
    status[0, 2:] = 0
    figure = qs.show(noisy.assign(status=status))
    (band,) = figure.axes[0].collections
    corners = band.get_paths()[0].vertices
    values = noisy["r_mean"].values[0, :2].astype(float)
    low, high = scipy.stats.t.interval(0.95, 1, values.mean(), scipy.stats.sem(values))
    here = corners[corners[:, 0] == -7.0, 1]
    assert (here.min(), here.max()) == pytest.approx((low, high), rel=1e-4)


@pytest.mark.parametrize("which", ["map", "one replicate", "without noise"])
def test_no_band_where_there_is_nothing_to_be_sure_of(noisy, made, which):
    given = {
        "map": made,
        "one replicate": noisy.sel(replicate=0),
        "without noise": made.sel(J=15.0).expand_dims(replicate=2).transpose(..., "replicate"),
    }[which]
    assert "interval" not in qs.show(given).get_suptitle()


def test_the_difference_of_two_starts_is_where_the_model_is_bistable(made):
    figure = qs.show(made, difference="initial")
    assert len(figure.axes) == 2
    drawn = np.asarray(mesh(figure).get_array())
    apart = (made["r_mean"].sel(initial="up") - made["r_mean"].sel(initial="down")).transpose("J", "eta")
    assert drawn == pytest.approx(apart.values, abs=1e-7)
    exact = qs.equilibria(eta=made["eta"], J=made["J"])["count"].transpose("J", "eta")
    assert np.array_equal(drawn > 0.05, exact.values == 3)
    assert mesh(figure).norm.vmin == -mesh(figure).norm.vmax
    assert figure.axes[1].get_ylabel() == "r_mean: up − down (1/ms)"
    folds = [line for line in figure.axes[0].lines if line.get_label() == "folds (exact)"]
    assert folds, "the folds are the same for both starts"


def test_a_difference_along_a_parameter_has_no_theory(made):
    two = made.sel(J=[10.0, 15.0])
    figure = qs.show(two, difference="J")
    assert not [line for axes in figure.axes for line in axes.lines if "exact" in str(line.get_label())]
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 9]
    for line, initial in zip(drawn, ["down", "up"], strict=True):
        one = two["r_mean"].sel(initial=initial)
        assert line.get_ydata() == pytest.approx(one.sel(J=15.0).values - one.sel(J=10.0).values, abs=1e-6)


def test_a_difference_is_grey_where_either_has_not_been_run(made):
    status = made["status"].copy()
    status.loc[{"eta": -8.0, "initial": "up"}] = 0
    figure = qs.show(made.assign(status=status), difference="initial")
    assert mesh(figure).get_array().mask[:, 0].all()
    assert not mesh(figure).get_array().mask[:, 1:].any()
    assert "11% not run yet" in figure.get_suptitle()


WRONG = {
    "panels": ({"ax": "axes"}, "ax: found 2 panels to draw, expected one"),
    "ax": ({"ax": 3}, "ax: found 3, expected axes of matplotlib"),
    "cmap": ({"cmap": "virids"}, 'did you mean "viridis"'),
    "no number": ({"vmin": "low"}, 'vmin: found "low", expected a number'),
    "order": ({"vmin": 2.0, "vmax": 1.0}, "vmin: found 2, expected less than vmax, 1"),
    "beyond": ({"vmin": 100.0}, "expected ascending numbers; r_mean goes from"),
    "log": ({"log": True, "vmin": -1.0}, "more than 0 with log=True"),
    "flag": ({"log": "yes"}, "expected True or False"),
    "negative": ({"observables": ["v"], "log": True}, "found no value of v above 0"),
    "figsize": ({"figsize": 3.0}, "figsize: found 3.0, expected width and height in inches"),
    "infinite": ({"figsize": (np.inf, 1.0)}, "expected width and height in inches"),
    "title": ({"title": 3}, "title: found 3, expected a text"),
    "flags": ({"observables": ["status"], "vmin": 0.0}, "expected none for flags"),
    "of flags": ({"observables": ["status"], "difference": "initial"}, "expected numbers along initial"),
    "not two": ({"difference": "J"}, r"found 4 values of J, expected two; choose two, e.g. dataset.sel\(J="),
    "no such": ({"difference": "Q"}, 'difference: found "Q", expected one of eta, J, initial'),
    "lines": ({"y": "", "cmap": "viridis"}, "expected none for lines"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_gets_one_line(made, axes, case):
    options, words = WRONG[case]
    if options.get("ax") == "axes":
        options = {"ax": axes}
    with pytest.raises(qs.ScanError, match=words) as caught:
        qs.show(made.assign(v=-made["r_mean"]), **options)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("option", [{"cmap": "viridis"}, {"difference": "J"}, {"log": True, "vmin": -1.0}])
def test_a_wrong_option_of_theory_gets_one_line(option):
    with pytest.raises(qs.ScanError, match="expected"):
        qs.show(qs.branch(J=15.0), **option)


def test_an_array_has_the_options_too(made):
    array = made["r_mean"].sel(initial="up")
    assert mesh(qs.show(array, vmax=0.5)).norm.vmax == 0.5
    assert isinstance(array, xr.DataArray)
