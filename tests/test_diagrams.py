"""Theory is drawn as the field does: what is solid is stable, markers stand where the data has them."""

import numpy as np
import pytest

import qifscan as qs

ADAPTING = {"model": "qif_adaptation_alpha", "delta": 2.0, "tau_a": 10.0, "J": 15.0 * np.sqrt(2.0)}
CLOSE = {"rel": 1e-9}


@pytest.fixture(scope="module")
def branch():
    """The equilibria of the adaptation model at alpha = 1."""
    return qs.branch(**ADAPTING, alpha=1.0)


@pytest.fixture(scope="module")
def cycles():
    """Its cycles next to their fold at the highest eta, from the stable side and back."""
    return qs.cycle_branches(**ADAPTING, alpha=1.0, at=1.45, within=(1.4, 2.0), points=12)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """A small scan of it over eta and alpha, with a mean of the noise and a drive that add up to 0.75."""
    path = tmp_path_factory.mktemp("diagrams") / "plane.zarr"
    scan = qs.Scan(
        model="qif_adaptation_alpha",
        axes={"eta": np.linspace(-9.0, 0.0, 7), "alpha": np.linspace(0.5, 1.5, 5)},
        fixed={"delta": 2.0, "tau_a": 10.0, "J": ADAPTING["J"], "v_ou_mean": 0.25},
        drive=qs.Constant(amplitude=0.5),
        protocol=qs.Protocol(transient=0.1, window=0.1),
        observables=["r_mean", "r_std"],
    )
    qs.run(scan, path)
    return path


def lines(axes, style):
    """Return x and y of everything that is drawn in a line style."""
    found = [line for line in axes.get_lines() if line.get_linestyle() == style]
    x, y = (np.concatenate([line.get_data()[i] for line in found]) for i in (0, 1))
    return x[np.isfinite(x)], y[np.isfinite(y)]


def marks(axes, text):
    """Return the markers that the legend calls so, ascending in y, as (points, 2)."""
    found = [np.column_stack(line.get_data()) for line in axes.get_lines() if line.get_label() == text]
    points = np.concatenate(found or [np.empty((0, 2))])
    return points[np.argsort(points[:, 1])]


def texts(figure):
    """Return what the legend says."""
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_a_branch_is_solid_below_the_lower_and_above_the_upper_hopf_point_and_dashed_between(branch):
    axes = qs.show(branch).axes[0]
    low, high = 0.223648611346, 1.094524004428  # published Hopf points
    _, solid = lines(axes, "-")
    _, dashed = lines(axes, "--")
    assert len(solid) > 100
    assert len(dashed) > 50
    assert np.all((solid <= low * (1 + 1e-9)) | (solid >= high * (1 - 1e-9)))
    assert (dashed.min(), dashed.max()) == (pytest.approx(low, **CLOSE), pytest.approx(high, **CLOSE))
    # Nothing is left out between the two.
    assert solid[solid < 0.5].max() == pytest.approx(low, **CLOSE)
    assert solid[solid > 0.5].min() == pytest.approx(high, **CLOSE)


def test_a_branch_of_the_plain_model_is_dashed_between_its_folds():
    figure = qs.show(qs.branch(J=15.0), ["r", "v"])
    for axes, ends in zip(figure.axes, ([0.16256979681321443, 0.75391972723878985], None), strict=True):
        _, dashed = lines(axes, "--")
        ends = ends or sorted(-1.0 / (2.0 * np.pi * r) for r in (0.16256979681321443, 0.75391972723878985))
        assert (dashed.min(), dashed.max()) == (
            pytest.approx(ends[0], **CLOSE),
            pytest.approx(ends[1], **CLOSE),
        )
    assert [axes.get_ylabel() for axes in figure.axes] == ["r (1/ms)", "v"]


def test_markers_stand_at_the_published_points_and_the_legend_names_them(branch):
    figure = qs.show(branch)
    axes = figure.axes[0]
    hopf = [[-4.039818600838, 0.223648611346], [-0.534080541355, 1.094524004428]]
    folds = [[-3.537497314192, 0.378014803146], [-3.548702284447, 0.467761447974]]
    assert np.allclose(marks(axes, "Hopf (HB)"), hopf, rtol=1e-9, atol=0)
    assert np.allclose(marks(axes, "fold (LP)"), folds, rtol=1e-9, atol=0)
    assert texts(figure) == ["equilibrium, stable", "equilibrium, unstable", "fold (LP)", "Hopf (HB)"]
    assert "qif_adaptation_alpha" in figure.get_suptitle()
    assert r"$\alpha$ = 1" in figure.get_suptitle()


def test_a_branch_that_goes_far_is_shown_around_its_special_points_and_one_of_a_range_as_a_whole(branch):
    low, high = qs.show(branch).axes[0].get_xlim()
    assert -8.0 < low < -4.1
    assert -0.5 < high < 4.0
    assert branch["eta"].max() > 100.0
    whole = qs.show(qs.branch(**ADAPTING, alpha=1.0, within=(-50.0, 50.0))).axes[0].get_xlim()
    assert whole[0] < -49.0
    assert whole[1] > 49.0


def test_what_is_not_converged_has_a_hollow_marker(branch):
    first = np.flatnonzero(branch["type"].values == 3)[0]
    doubtful = branch.assign(converged=branch["converged"].copy())
    doubtful["converged"][first] = False
    axes = qs.show(doubtful).axes[0]
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "none"]
    assert [line.get_label() for line in hollow] == ["Hopf (HB), not converged"]
    assert hollow[0].get_ydata() == pytest.approx([0.223648611346], **CLOSE)
    assert marks(axes, "Hopf (HB)")[:, 1] == pytest.approx([1.094524004428], **CLOSE)


def test_cycles_are_their_least_and_greatest_rate_on_the_axes_of_the_branch(branch, cycles):
    figure = qs.show(branch, over=[cycles])
    axes = figure.axes[0]
    # AUTO's fold of cycles; its r_max is the greatest value on its mesh.
    fold = marks(axes, "fold of cycles (LPC)")
    assert fold[:, 0] == pytest.approx([1.5016666, 1.5016666], abs=5e-7)
    assert fold[:, 1] == pytest.approx([0.109206, 3.644363], abs=2e-4)
    solid = [line for line in axes.get_lines() if line.get_label() == "cycle, stable"]
    dashed = [line for line in axes.get_lines() if line.get_label() == "cycle, unstable"]
    # At one eta the stable cycle is the larger one, on both sides of the fold's extremes.
    assert np.nanmax([np.nanmax(line.get_ydata()) for line in solid]) > 3.644
    assert np.nanmin([np.nanmin(line.get_ydata()) for line in solid]) < 0.1092
    drawn = np.concatenate([line.get_xdata() for line in dashed])
    unstable = cycles["eta"].values[~cycles["stable"].values]
    assert set(drawn[np.isfinite(drawn)]) == set(unstable)
    assert {"equilibrium, stable", "cycle, stable", "cycle, unstable"} <= set(texts(figure))


def test_cycles_of_simulation_are_dots_at_both_extremes_and_have_a_period():
    found = qs.cycles(**ADAPTING, alpha=1.0, eta=[-2.0000141569, -30.0], starts=1)
    dots = marks(qs.show(found).axes[0], "cycle, stable")
    # AUTO's cycle: r in [.0996100205, 3.4660747772], T = 47.4627105571; no cycle at eta = -30.
    assert np.allclose(dots[:, 1], [0.0996100205, 3.4660747772], rtol=1e-5)
    assert marks(qs.show(found, ["period"]).axes[0], "cycle, stable")[0, 1] == pytest.approx(
        47.46271, rel=1e-6
    )
    found["resolved"][0] = False
    hollow = [line for line in qs.show(found).axes[0].get_lines() if line.get_markerfacecolor() == "none"]
    assert {line.get_label() for line in hollow} == {"cycle, not resolved"}


def test_curves_and_points_of_codimension_two_are_drawn_in_the_plane():
    folds = qs.curve(**ADAPTING, through="alpha")
    hopf = qs.curve(**ADAPTING, kind="HB", through="alpha", within=(0.0, 1.0))
    axes = qs.show(folds, over=[hopf]).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"$\eta$", r"$\alpha$")
    # 40-digit arithmetic: the cusp of any kernel.
    assert np.allclose(marks(axes, "cusp (CP)"), [[-3.464101615138, 1.018768756714]], rtol=1e-10)
    assert len(marks(axes, "Bogdanov-Takens (BT)")) == 4  # on both curves
    ends = [
        line.get_xdata()[np.isclose(line.get_ydata(), 1.0)]
        for line in axes.get_lines()
        if line.get_label() == "Hopf points (exact)"
    ]
    assert sorted(np.concatenate(ends)) == pytest.approx([-4.039818600838, -0.534080541355], rel=1e-9)


@pytest.fixture(scope="module")
def folds_of_cycles():
    """Folds of cycles of the pair between a generalised Hopf point and a cusp."""
    pair = {"along": "eta_i", "through": "J_ie", "at": 15.0, "between": (-1.0, 2.6)}
    return qs.curve("qif_pair", "LPC", points=10, **pair)


def labelled(axes, text):
    """Return x and y of the lines that the legend calls so."""
    found = [line.get_data() for line in axes.get_lines() if line.get_label() == text]
    x, y = (np.concatenate([line[i] for line in found]) for i in (0, 1))
    return x[np.isfinite(x)], y[np.isfinite(y)]


def test_a_curve_of_bifurcations_of_cycles_is_drawn_in_its_plane_and_called_what_it_is(folds_of_cycles):
    figure = qs.show(folds_of_cycles)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"$\eta_i$", "J_ie")
    assert texts(figure) == ["folds of cycles"]
    for drawn, name in zip(labelled(axes, "folds of cycles"), ("eta_i", "J_ie"), strict=True):
        assert np.sort(drawn) == pytest.approx(np.sort(folds_of_cycles[name].values))
    hopf = qs.curve("qif_pair", "HB", through="J_ie", within=(10.0, 20.0))
    both = qs.show(hopf, over=[folds_of_cycles])
    assert {"Hopf points (exact)", "folds of cycles"} <= set(texts(both))


def test_a_column_of_a_curve_is_drawn_over_one_of_its_parameters(folds_of_cycles):
    axes = qs.show(folds_of_cycles, ["period"]).axes[0]
    assert axes.get_ylabel() == "period (ms)"
    assert np.sort(labelled(axes, "folds of cycles")[1]) == pytest.approx(
        np.sort(folds_of_cycles["period"].values)
    )


def test_period_doublings_of_responses_are_drawn_over_the_amplitude_of_their_sine():
    memory = {"tau": 20.0, "eta": -10.0, "delta": 2.0, "J": 21.2132}
    sine = qs.Sine(amplitude=1.0, period=30.0)
    found = qs.curve("qif", "PD", drive=sine, through="drive_period", at=30.0, points=3, **memory)
    figure = qs.show(found)
    assert figure.axes[0].get_xlabel() == "drive_amplitude"
    assert figure.axes[0].get_ylabel() == "drive_period (ms)"
    assert texts(figure) == ["period doublings"]


def test_slices_that_were_selected_without_their_points_are_refused():
    found = qs.cycle_branches(**ADAPTING, alpha=[0.0, 0.9, 1.0], within=(-3.0, 2.0), points=2)
    assert found["branch_count"].values.tolist() == [0, 1, 1]
    parts = [found.sel(alpha=1.0), found.isel(branches=0), found.isel(branches=[1])]
    points = qs.special_points(**ADAPTING, alpha=[0.5, 1.0])
    for part in (*parts, points.sel(alpha=1.0)):
        with pytest.raises(qs.ScanError, match="data: found slices or branches that were selected without"):
            qs.show(part)
    left = found.isel(point=found["branch"].values == 1)
    x, _ = lines(qs.show(left).axes[0], "--")
    assert set(x) <= set(left["eta"].values)


def test_special_points_of_slices_are_drawn_over_the_slices_parameter():
    found = qs.special_points(**ADAPTING, alpha=[0.5, 1.0])
    axes = qs.show(found).axes[0]
    hopf = marks(axes, "Hopf (HB)")
    assert sorted(hopf[hopf[:, 1] == 1.0, 0]) == pytest.approx([-4.039818600838, -0.534080541355], rel=1e-11)
    one = qs.show(found, y="", select={"alpha": 0.9}).axes[0]
    assert marks(one, "Hopf (HB)")[:, 1] == pytest.approx([0.223648611346, 1.094524004428], rel=1e-11)


def test_a_map_of_any_model_has_its_exact_curves_moved_by_what_the_inputs_add_to_eta(plane):
    figure = qs.show(plane)
    axes = figure.axes[0]
    assert np.allclose(marks(axes, "cusp (CP)"), [[-3.464101615138 - 0.75, 1.018768756714]], rtol=1e-10)
    hopf = next(x for x in axes.get_lines() if x.get_label() == "Hopf points (exact)")
    eta, alpha = hopf.get_data()
    crossing = np.flatnonzero((alpha[1:] > 1.0) != (alpha[:-1] > 1.0))
    crossing = crossing[np.isfinite(eta[crossing] + eta[crossing + 1])]
    share = (1.0 - alpha[crossing]) / (alpha[crossing + 1] - alpha[crossing])
    at_1 = eta[crossing] + share * (eta[crossing + 1] - eta[crossing])
    assert sorted(at_1) == pytest.approx([-4.039818600838 - 0.75, -0.534080541355 - 0.75], abs=2e-3)
    # Clipped to the map: half a cell beyond its first and last points.
    assert axes.get_xlim() == pytest.approx((-9.75, 0.75))
    assert axes.get_ylim() == pytest.approx((0.375, 1.625))
    assert len(qs.show(plane, folds=False).axes[0].get_lines()) == 0


def test_curves_of_a_map_end_where_a_parameter_ceases_to_be_defined(tmp_path):
    """Half a cell below tau_a = 2 lie values below 0; at tau_a = 10 stand the published Hopf points."""
    scan = qs.Scan(
        model="qif_adaptation_alpha",
        axes={"eta": [-6.0, -3.0, 0.0], "tau_a": [2.0, 10.0, 18.0]},
        fixed={"delta": 2.0, "J": ADAPTING["J"], "alpha": 1.0},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    qs.run(scan, tmp_path / "scan.zarr")
    hopf = next(
        line
        for line in qs.show(tmp_path / "scan.zarr").axes[0].get_lines()
        if line.get_label() == "Hopf points (exact)"
    )
    eta, tau_a = hopf.get_data()
    assert np.nanmin(tau_a) >= 2.0
    near = eta[np.abs(tau_a - 10.0) < 0.5]
    assert np.min(np.abs(near + 0.534080541355)) < 0.1
    assert np.min(np.abs(near + 4.039818600838)) < 0.1


def test_the_map_of_the_plain_model_has_its_cusp_and_the_line_of_nodes_and_foci(tmp_path):
    scan = qs.Scan(
        axes={"eta": np.linspace(-8.0, 0.0, 5), "J": np.linspace(5.0, 25.0, 5)},
        protocol=qs.Protocol(transient=0.1, window=0.1),
    )
    qs.run(scan, tmp_path / "scan.zarr")
    axes = qs.show(tmp_path / "scan.zarr").axes[0]
    assert np.allclose(marks(axes, "cusp (CP)"), [[-1.7320508075688773, 7.7962170366669886]], rtol=1e-12)
    line = next(x for x in axes.get_lines() if x.get_label() == "node/focus line (exact)")
    # J = 2 pi^2 r on the upper branch.
    r = 15.0 / (2.0 * np.pi**2)
    eta = -((np.pi * r) ** 2) - 1.0 / (2.0 * np.pi * r) ** 2
    assert np.interp(15.0, line.get_ydata(), line.get_xdata()) == pytest.approx(eta, abs=1e-3)


def test_theory_is_drawn_over_a_scan_where_its_parameters_are_those_of_the_panel(plane, cycles, branch):
    line = qs.show(plane, y="", select={"alpha": 1.0}, over=[branch]).axes[0]
    assert len(marks(line, "Hopf (HB)")) == 2
    with pytest.raises(
        qs.ScanError, match=r"over\[0\]: found alpha = 1.0, expected 0.5, as the panel has it"
    ):
        qs.show(plane, y="", select={"alpha": 0.5}, over=[branch])
    with pytest.raises(qs.ScanError, match=r"over\[1\]: found nothing within the map"):
        qs.show(plane, over=[qs.curve(**ADAPTING, through="alpha"), cycles])
    with pytest.raises(
        qs.ScanError, match=r"over\[0\]: found a dataset of branch, expected over a plane one of"
    ):
        qs.show(plane, over=[branch])


def test_branches_without_a_bifurcation_of_cycles_are_refused_with_what_cut_them_off(plane, cycles):
    short = cycles.assign(type=cycles["type"].copy(data=np.zeros_like(cycles["type"])))
    with pytest.raises(qs.ScanError, match=r"no bifurcation of cycles on branches cut off by: .*within"):
        qs.show(plane, over=[short])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: qs.special_points(J=[1.0, 2.0]),
            "found no special point in 2 slices, expected at least one",
        ),
        (
            lambda: qs.special_points("qif_pair", "eta_i", eta_e=-1e6, J_ee=0.0, rates=(1.0, 2.0)),
            "no special point in 1 slice, 1 of which without an equilibrium among the rates",
        ),
        (
            lambda: qs.cycle_branches(model="qif", J=15.0, within=(-5.0, 0.0)),
            "found no branch: no Hopf point in the range in 1 slice",
        ),
        (
            lambda: qs.cycles("qif", eta=-5.0, starts=2),
            "found no cycle: of 2 trajectories 2 equilibrium, expected at least one",
        ),
    ],
    ids=["no special point", "no equilibrium", "no Hopf point", "no cycle"],
)
def test_a_dataset_with_nothing_to_draw_says_why(make, words):
    with pytest.raises(qs.ScanError) as caught:
        qs.show(make())
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"observables": ["q"]}, 'data: found unknown variable or parameter "q"'),
        ({"x": "etta"}, 'did you mean "eta"'),
        ({"facet": "alpha"}, 'facet: found "alpha", expected nothing'),
        ({"select": {"gamma": 1.0}}, 'select: found "gamma"'),
        ({"select": {"eta": 1.0}}, "select: found eta, expected a parameter of the slices"),
        ({"select": {"alpha": "one"}}, 'select.alpha: found "one", expected a number'),
    ],
)
def test_what_can_not_be_drawn_of_theory_is_refused(branch, options, words):
    with pytest.raises(qs.ScanError) as caught:
        qs.show(branch, options.pop("observables", None), **options)
    assert words in str(caught.value)
