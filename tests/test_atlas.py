"""A scan's store carries its theory: the numbers that theory gives by itself, and nothing else is touched."""

import json

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import qifscan as qs
from qifscan.cli import main
from qifscan.theory import of_scan

SHORT = qs.Protocol(transient=0.1, window=0.1)
GAST = {"delta": 2.0, "tau_a": 10.0, "J": 15.0 * np.sqrt(2.0)}
ETA, ALPHA = np.linspace(-8.0, 0.0, 5), np.array([0.5, 1.0, 1.5])


def scan_of(**changes):
    """A small scan of the adaptation model with noise, replicates and two starts."""
    given = {
        "model": "qif_adaptation_alpha",
        "axes": {"initial": ["down", "up"], "eta": ETA, "alpha": ALPHA, "v_ou_sigma": [0.0, 0.1]},
        "fixed": GAST,
        "replicates": 2,
        "protocol": SHORT,
        "observables": ["r_mean"],
    }
    return qs.Scan(**(given | changes))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The store of that scan."""
    path = tmp_path_factory.mktemp("atlas") / "scan.zarr"
    qs.run(scan_of(), path)
    return path


def test_a_finished_run_carries_the_equilibria_and_the_special_points_on_its_axes(path):
    tree = qs.open_theory(path)
    assert set(tree.children) == {"equilibria", "along_eta", "along_alpha", "along_eta_alpha"}
    model = "qif_adaptation_alpha"
    expected = {
        "equilibria": qs.equilibria(model, eta=ETA, alpha=ALPHA, **GAST),
        "along_eta": qs.special_points(model, "eta", alpha=ALPHA, **GAST),
        "along_alpha": qs.special_points(model, "alpha", eta=ETA, **GAST),
        "along_eta_alpha": qs.special_points(model, ("eta", "alpha"), **GAST),
    }
    for name, exact in expected.items():
        found = tree[name].to_dataset().load()
        xr.testing.assert_equal(found, exact)
        assert {n: v.attrs["long_name"] for n, v in found.data_vars.items()} == {
            n: v.attrs["long_name"] for n, v in exact.data_vars.items()
        }
    assert tree["equilibria"]["r"].dims == ("eta", "alpha", "equilibrium")
    told = tree.attrs["left_out"]
    assert "v_ou_sigma: no parameter of the model" in told
    assert "replicate: theory is the same for all" in told
    assert qs.Scan.from_json(tree.attrs["qifscan_scan"]) == scan_of()


def test_the_published_points_are_in_the_store(path):
    found = qs.open_theory(path)["along_eta"].to_dataset().load()
    here = found["slice"].values == 1
    hopf = found["eta"].values[here & (found["type"].values == 3)]
    assert np.sort(hopf) == pytest.approx([-4.039818600838, -0.534080541355], rel=1e-11)


def test_xarray_reads_all_groups_of_the_store_and_hides_no_variable(path):
    tree = xr.open_datatree(path, engine="zarr", consolidated=False, zarr_format=3)
    # Under the scan's own coordinate eta, that of the special points still can be told.
    points = tree["theory/along_eta"].to_dataset()
    assert np.array_equal(points["eta_of_point"], qs.open_theory(path)["along_eta"]["eta"])
    assert np.array_equal(points["eta"], ETA)
    assert tree.attrs["qifscan_fingerprint"] == scan_of().fingerprint
    assert tree["r_mean"].dims == ("initial", "eta", "alpha", "v_ou_sigma", "replicate")


@pytest.mark.thorough
def test_the_scan_itself_is_not_touched_by_its_theory(path, tmp_path):
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and "theory" not in p.parts}
    dataset = qs.open_scan(path)
    assert set(dataset.data_vars) >= {"r_mean", "status"}
    assert "kind" not in dataset
    # A run again, an extension of it, a check of it; and theory again, in its place.
    qs.run(scan_of(), path)
    qs.run(scan_of(replicates=3), tmp_path / "larger.zarr", extend=path)
    assert qs.verify(path, points=4).sound
    result = CliRunner().invoke(main, ["bifurcate", _toml(tmp_path, scan_of()), str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and "theory" not in p.parts}
    assert before == after
    larger = qs.open_theory(tmp_path / "larger.zarr")["equilibria"].to_dataset()
    xr.testing.assert_equal(larger, qs.open_theory(path)["equilibria"].to_dataset())


def test_a_run_that_is_resumed_carries_theory_when_it_ends_and_not_before(tmp_path):
    scan = qs.Scan(axes={"eta": ETA, "J": [10.0, 15.0]}, protocol=SHORT)

    def stop(progress):
        if progress.chunks == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qs.run(scan, tmp_path / "scan.zarr", client="serial", chunk_points=2, progress=stop)
    with pytest.raises(qs.StoreError, match="carries no theory; a run writes it when it ends"):
        qs.open_theory(tmp_path / "scan.zarr")
    qs.run(scan, tmp_path / "scan.zarr")
    assert qs.open_theory(tmp_path / "scan.zarr")["equilibria"]["count"].dims == ("eta", "J")


def test_theory_stands_at_the_mean_of_the_noise_and_under_a_constant_drive():
    scan = scan_of(fixed=GAST | {"v_ou_mean": 0.25, "r_ou_mean": 0.1}, drive=qs.Constant(amplitude=0.5))
    found = of_scan.atlas(scan).datasets
    # delta + pi tau r_ou_mean, eta + v_ou_mean + I.
    moved = GAST | {"delta": 2.0 + np.pi * 0.1}
    exact = qs.equilibria("qif_adaptation_alpha", eta=ETA + 0.75, alpha=ALPHA, **moved)
    assert np.array_equal(found["equilibria"]["r"], exact["r"], equal_nan=True)
    assert np.array_equal(found["equilibria"]["eta"], ETA)
    assert found["equilibria"]["delta"] == 2.0
    points = qs.special_points("qif_adaptation_alpha", alpha=ALPHA, **moved)
    assert found["along_eta"]["eta"].values == pytest.approx(points["eta"].values - 0.75, rel=1e-13)


def test_parameters_that_change_together_are_one_dimension():
    scan = qs.Scan(axes={"path": {"eta": [-6.0, -5.0, -4.0], "J": [20.0, 15.0, 10.0]}, "delta": [1.0, 2.0]})
    found = of_scan.atlas(scan).datasets
    exact = [
        qs.equilibria(eta=e, J=J, delta=[1.0, 2.0])["r"].values for e, J in [(-6, 20), (-5, 15), (-4, 10)]
    ]
    assert found["equilibria"]["r"].dims == ("path", "delta", "equilibrium")
    assert np.array_equal(found["equilibria"]["r"], np.stack(exact), equal_nan=True)
    assert found["equilibria"]["J"].dims == ("path",)
    assert found["along_delta"]["row_size"].dims == ("path",)
    assert "along_eta" not in found


def test_what_is_too_much_is_not_built_and_is_said():
    scan = qs.Scan(axes={"eta": np.linspace(-9, 0, 4000), "J": np.linspace(0, 30, 2500)}, protocol=SHORT)
    assert scan.size == 10_000_000
    found = of_scan.atlas(scan, of_scan.AFTER_A_RUN)
    assert set(found.datasets) == {"along_eta_J"}
    assert found.left_out == (
        "equilibria: 10,000,000 points, more than 65,536",
        "along_eta: 2,500 slices, more than 512",
        "along_J: 4,000 slices, more than 512",
    )
    assert "\n" not in found.attributes["left_out"]


def test_a_model_with_a_delay_carries_the_theory_of_its_characteristic_equation(tmp_path):
    scan = qs.Scan(model="qif_delay", axes={"eta": [-5.0, -4.0]}, fixed={"delay": 0.5}, protocol=SHORT)
    qs.run(scan, tmp_path / "scan.zarr")
    tree = qs.open_theory(tmp_path / "scan.zarr")
    exact = qs.equilibria("qif_delay", eta=[-5.0, -4.0], delay=0.5)
    for name in ("r", "unstable_dimensions", "eigenvalue_imag"):
        assert np.array_equal(tree["equilibria"][name], exact[name], equal_nan=True)


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """The name of a model that is no graph over the rate."""
    text = (
        "from dataclasses import replace\n\nfrom qifscan.models import QIF\n\nqif = replace(QIF, rest=None)\n"
    )
    (tmp_path / "no_graph.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return "no_graph:qif"


def test_a_model_that_is_no_graph_runs_and_says_that_there_is_no_theory(tmp_path, searched):
    qs.run(qs.Scan(model=searched, axes={"eta": [-5.0, -4.0]}, protocol=SHORT), tmp_path / "scan.zarr")
    tree = qs.open_theory(tmp_path / "scan.zarr")
    assert not tree.children
    assert tree.attrs["left_out"] == "all: no_graph:qif is no graph over the rate"


def test_a_model_of_ones_own_carries_its_theory_and_is_drawn(tmp_path, monkeypatch):
    text = """
from dataclasses import replace
from qifscan.models import MODELS
MINE = replace(MODELS["qif_adaptation_alpha"], name="mine")
"""
    (tmp_path / "own_model.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    scan = scan_of(model="own_model:MINE", axes={"eta": ETA, "alpha": ALPHA}, replicates=1)
    qs.run(scan, tmp_path / "scan.zarr")
    points = qs.open_theory(tmp_path / "scan.zarr")["along_eta"].to_dataset().load()
    exact = qs.special_points("qif_adaptation_alpha", "eta", alpha=ALPHA, **GAST)
    xr.testing.assert_equal(points, exact)
    assert points.attrs["model"] == "own_model:MINE"
    figure = qs.show(tmp_path / "scan.zarr", over=[points])
    assert "Hopf (HB)" in [line.get_label() for line in figure.axes[0].get_lines()]


def test_no_axis_is_named_as_the_group_is():
    with pytest.raises(qs.ScanError, match=r'axes\.theory: found the name "theory", expected another one'):
        qs.Scan(axes={"theory": {"eta": [1.0, 2.0], "J": [1.0, 2.0]}})


# The command


def _toml(folder, scan):
    """Write a scan as TOML, and return the path."""
    data = json.loads(scan.to_json())
    axes = "\n".join(f"{name} = {json.dumps(values)}" for name, values in data["axes"].items())
    fixed = "\n".join(f"{name} = {value}" for name, value in scan.fixed.items())
    protocol = f"transient = {scan.protocol.transient}\nwindow = {scan.protocol.window}"
    (folder / "given.toml").write_text(
        f'model = "{scan.model}"\nreplicates = {scan.replicates}\nobservables = ["r_mean"]\n'
        f"[axes]\n{axes}\n[fixed]\n{fixed}\n[protocol]\n{protocol}\n"
    )
    return str(folder / "given.toml")


def bifurcate(*arguments):
    result = CliRunner().invoke(main, ["bifurcate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def test_the_command_counts_what_there_is_and_draws_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = qs.Scan(axes={"eta": np.linspace(-7.0, -2.0, 26), "J": [5.0, 15.0]}, protocol=SHORT)
    code, lines, errors = bifurcate(_toml(tmp_path, scan), "--figure", "map")
    assert (code, errors) == (0, [])
    # At J = 15 bistable between the folds, -5.7435 and -3.1361: 13 of the values; at J = 5 nowhere. From the
    # cusp at eta = -1.732 to J = 15 one fold moves to -3.1361, over 6 of the values, the other over 19.
    assert lines == [
        "theory        given-theory.zarr",
        "model         qif",
        "equilibria    52 points (eta 26 x J 2)",
        "stable        one at 39: eta -7 to -2, J 5 to 15",
        "stable        two (bistable) at 13: eta -5.6 to -3.2, J 15 to 15",
        "along eta     2 slices: 2 LP in range",
        "along J       26 slices: 25 LP in range",
        "along eta, J  1 slice: no special point in range",
        "figure        map.png",
    ]
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    tree = qs.open_theory("given-theory.zarr")
    exact = qs.equilibria(eta=scan.axes["eta"].labels, J=[5.0, 15.0])
    assert np.array_equal(tree["equilibria"]["r"], exact["r"], equal_nan=True)
    drawn = qs.show("given-theory.zarr").axes[0].collections[0].get_array()
    assert np.array_equal(drawn, exact["stable"].sum("equilibrium").transpose("J", "eta"))
    assert bifurcate(_toml(tmp_path, scan))[0] == 0  # again, in its place


def test_one_axis_is_drawn_as_a_branch_between_its_ends(tmp_path):
    scan = qs.Scan(
        axes={"eta": np.linspace(-7.0, -2.0, 6), "v_ou_sigma": [0.0, 1.0]},
        fixed={"v_ou_mean": 0.5},
        protocol=SHORT,
    )
    target = tmp_path / "theory.zarr"
    assert bifurcate(_toml(tmp_path, scan), target)[0] == 0
    axes = qs.show(target).axes[0]
    folds = next(line for line in axes.get_lines() if line.get_label() == "fold (LP)")
    exact = [-3.1361340861956852 - 0.5, -5.7435271616578158 - 0.5]
    assert folds.get_xdata() == pytest.approx(exact, rel=1e-11)
    solid = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    drawn = np.concatenate([line.get_xdata() for line in solid])
    assert (np.nanmin(drawn), np.nanmax(drawn)) == pytest.approx((-7.0, -2.0), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'model = "no_graph:qif"\n[axes]\neta = [1.0, 2.0]',
            'model: found "no_graph:qif", no graph over the rate, expected one of qif,',
        ),
        (
            "[axes]\nv_ou_sigma = [0.0, 1.0]",
            "axes: found axes of v_ou_sigma, expected at least one of tau, eta",
        ),
        ("", "axes: found no axes, expected at least one of tau, eta, delta, J"),
        ("[axes]\nalpha = [0.0, 1.0]", 'found unknown parameter "alpha"'),
    ],
)
@pytest.mark.usefixtures("searched")
def test_what_has_no_theory_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "scan.toml").write_text(text)
    code, lines, errors = bifurcate(tmp_path / "scan.toml", tmp_path / "out.zarr")
    assert (code, lines, len(errors)) == (2, [], 1)
    assert words in errors[0]
    assert not (tmp_path / "out.zarr").exists()


def test_theory_is_written_into_no_store_of_another_scan_and_over_nothing_else(path, tmp_path):
    other = _toml(tmp_path, scan_of(replicates=1))
    code, _, errors = bifurcate(other, path)
    assert code == 2
    assert "belongs to another scan" in errors[0]
    (tmp_path / "folder").mkdir()
    code, _, errors = bifurcate(other, tmp_path / "folder")
    assert code == 2
    assert "found no zarr.json" in errors[0]
    with pytest.raises(qs.StoreError, match="not found"):
        qs.open_theory(tmp_path / "nothing.zarr")


def test_slices_without_an_equilibrium_are_counted():
    """The inhibitory rate of the pair must be above 0, which a very negative eta_e does not allow."""
    scan = qs.Scan(model="qif_pair", axes={"eta_i": [-5.0, 0.0], "eta_e": [5.0, -1e13]}, protocol=SHORT)
    lines = of_scan.summary(of_scan.atlas(scan))
    assert any(line.endswith("1 slice without an equilibrium") for line in lines), lines
