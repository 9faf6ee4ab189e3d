"""The scans that are shipped: right where theory knows the answer; the notebooks run, with every figure."""

import base64
import io
import re
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import qifscan as qs

SCANS = Path(__file__).parents[1] / "scans"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The stored dataset of scans/quickstart.toml."""
    path = tmp_path_factory.mktemp("scans") / "quickstart.zarr"
    qs.run(qs.Scan.from_toml(SCANS / "quickstart.toml"), path)
    return path


def two_states(dataset):
    """Return where the runs from below and from above have ended apart."""
    down, up = (dataset["r_final"].sel(initial=i) for i in ("down", "up"))
    return abs(up - down) > 0.05 * up


@pytest.mark.parametrize("folder", sorted(SCANS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_scan_is_valid_and_titled(folder):
    scan = qs.Scan.from_toml(folder)
    assert scan.title
    assert scan.size > 10_000


def test_the_simulated_wedge_ends_within_one_grid_step_of_the_folds(quickstart):
    dataset = qs.open_scan(quickstart).sel(J=15.0, method="nearest")
    apart = two_states(dataset).values
    eta = dataset["eta"].values
    step = eta[1] - eta[0]
    # The folds of J = 15, delta = 1 (NUMBERS: roots of the fold condition in 40 digits), moved to the
    # nearest J of the grid by d eta / d J = -r at a fold.
    moved = float(dataset["J"]) - 15.0
    left = -5.7435271616578158 - 0.75391972723878985 * moved
    right = -3.1361340861956852 - 0.16256979681321443 * moved
    assert apart.sum() > 15
    assert np.all(np.diff(np.flatnonzero(apart)) == 1)
    assert abs(eta[apart].min() - left) <= step
    assert abs(eta[apart].max() - right) <= step


def test_every_point_of_the_map_rests_at_an_equilibrium(quickstart):
    dataset = qs.open_scan(quickstart).load()
    exact = qs.equilibria(eta=dataset["eta"], J=dataset["J"])
    distance = abs(exact["r"] / dataset["r_final"] - 1.0).min("equilibrium")
    assert (dataset["status"] == 1).all()
    assert float(distance.max()) < 1e-4
    assert float(dataset["r_std"].max()) < 1e-4


def test_the_map_is_bistable_exactly_where_theory_has_three_equilibria(quickstart):
    dataset = qs.open_scan(quickstart).load()
    exact = qs.equilibria(eta=dataset["eta"], J=dataset["J"])
    # Nearer than 2 % in rate to the saddle, 5 % can't tell the states apart.
    near_cusp = (exact["r"].max("equilibrium") < 1.06 * exact["r"].min("equilibrium")) & (exact["count"] == 3)
    same = two_states(dataset) == (exact["count"] == 3)
    assert bool((same | near_cusp).all())


def run_as_notebook(name, folder, monkeypatch, check):
    """Run a percent script as a notebook, small, then `check` in its names; return its cells."""
    monkeypatch.setenv("QIFSCAN_NOTEBOOK_SIZE", "12")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    parts = re.split(r"^# %%(.*)$", (SCANS / name).read_text(), flags=re.MULTILINE)[1:]
    cells = []
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        text = text.strip("\n")
        if "markdown" in kind:
            cells.append(nbformat.v4.new_markdown_cell(re.sub(r"^# ?", "", text, flags=re.MULTILINE)))
        else:
            cells.append(nbformat.v4.new_code_cell(text))
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(check)])
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    return notebook.cells


def check_figures(cells, folder, names):
    """Every cell that draws shows one image, large enough and not of one colour; and has saved it."""
    drawn = [cell for cell in cells if "savefig" in cell.source]
    assert len(drawn) == len(names)
    for cell in drawn:
        (image,) = [o["data"]["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image)))
        assert min(pixels.shape[:2]) > 200
        assert pixels[..., :3].std() > 0.05
    assert {path.name for path in folder.glob("*.png")} == names


def test_the_notebook_runs_and_every_figure_is_an_image(tmp_path, monkeypatch):
    check = 'assert trajectory.attrs["checked"] == "equal bit for bit"'
    cells = run_as_notebook("explore.py", tmp_path, monkeypatch, check)
    names = ("map", "difference", "slice", "plane", "pulse", "spectrum")
    check_figures(cells, tmp_path, {f"explore-{name}.png" for name in names})


BURSTS = """
# AUTO: at eta = -2.0000141569 the period is 47.4627105612; d T / d eta is about -3.
assert abs(period - 47.46266) < 1e-4, period
r, time = trace["r"].values, trace["time"].values
begins = time[1:][(r[1:] > 0.3) & (r[:-1] <= 0.3)]
assert np.abs(np.diff(begins) - 47.46266).max() < 0.06, begins  # one step
assert len(begins) == 3
"""


@pytest.mark.thorough
def test_the_notebook_on_bursting_runs_and_every_figure_is_an_image(tmp_path, monkeypatch):
    cells = run_as_notebook("bursting.py", tmp_path, monkeypatch, BURSTS)
    check_figures(cells, tmp_path, {f"bursting-{name}.png" for name in ("branch", "trace", "plane", "map")})


def test_a_wider_map_of_the_plain_model_is_bistable_above_its_cusp_alone(tmp_path):
    """scans/phase_diagram.toml, every eighth point: below J = 7.796 and right of eta = -1.732 nowhere."""
    whole = qs.Scan.from_toml(SCANS / "phase_diagram.toml")
    axes = {name: axis.labels[::8] for name, axis in whole.axes.items() if name != "initial"}
    scan = qs.Scan(
        axes={**axes, "initial": ["down", "up"]}, protocol=whole.protocol, observables=whole.observables
    )
    dataset = qs.run(scan, tmp_path / "map.zarr")
    apart = abs(dataset["r_mean"].sel(initial="up") - dataset["r_mean"].sel(initial="down")) > 0.02
    there = apart["eta"].broadcast_like(apart).values[apart], apart["J"].broadcast_like(apart).values[apart]
    assert apart.sum() > 20
    assert there[0].max() < -1.7320508075688773
    assert there[1].min() > 7.7962170366669886
    assert np.array_equal(
        apart, (qs.open_theory(tmp_path / "map.zarr")["equilibria"]["stable"].sum("equilibrium") == 2)
    )


@pytest.mark.thorough
def test_bursts_of_the_sweep_end_at_the_folds_of_cycles(tmp_path):
    """scans/bursting.toml at alpha = 1: going up at eta = 1.5017 (AUTO), going down below the Hopf point."""
    whole = qs.Scan.from_toml(SCANS / "bursting.toml")
    scan = qs.Scan(
        model=whole.model,
        axes={"eta": np.linspace(-6.0, 4.0, 41), "alpha": [1.0]},
        fixed=whole.fixed,
        protocol=whole.protocol,
        observables=whole.observables,
    )
    bursts = (qs.run(scan, tmp_path / "line.zarr")["r_std"] > 0.1).squeeze("alpha").load()
    step = 0.25
    eta = {d: bursts["eta"].values[bursts.sel(direction=d).values] for d in ("up", "down")}
    # Up: from the lower Hopf point, -4.0398, to the fold of cycles; down: to the lower one, at -4.2346.
    assert -4.0398 <= eta["up"].min() <= -4.0398 + 2 * step
    assert 1.5017 - step <= eta["up"].max() <= 1.5017
    assert -4.2346 <= eta["down"].min() <= -4.2346 + step
    assert -0.5341 - step <= eta["down"].max() < 1.5017


@pytest.mark.thorough
def test_the_wedge_also_appears_from_starts_that_know_no_theory(tmp_path):
    """Every point from a silent start and from an active one; brute force finds the exact wedge."""
    eta, J = np.linspace(-10.0, 5.0, 61), np.linspace(0.0, 30.0, 31)
    starts = {"r_initial": [0.02, 0.8], "v_initial": [-2.0, 0.0]}
    scan = qs.Scan(
        axes={"eta": eta, "J": J, "start": starts},
        protocol=qs.Protocol(transient=60.0, window=10.0),
        observables=["r_final"],
    )
    ends = qs.run(scan, tmp_path / "starts.zarr")["r_final"].load()
    silent, active = (ends.isel(start=i, drop=True) for i in (0, 1))
    apart = abs(active - silent) > 0.05 * active
    folds = qs.folds(J=J)["eta"]
    step = eta[1] - eta[0]
    inside = (apart["eta"] > folds.sel(fold="upper") + step) & (apart["eta"] < folds.sel(fold="lower") - step)
    outside = ~(
        (apart["eta"] > folds.sel(fold="upper") - step) & (apart["eta"] < folds.sel(fold="lower") + step)
    )
    assert int(inside.sum()) > 200
    assert bool(apart.where(inside, True).all())
    assert not bool(apart.where(outside, False).any())
