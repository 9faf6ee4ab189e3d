"""Opening, showing and checking a store never run code that the store names."""

import hashlib
import subprocess
import sys

import pytest

import qifscan as qs
from qifscan.dynamics import imported, models

MODEL = """
from dataclasses import replace
from pathlib import Path
from qifscan.models import MODELS
Path(__file__).with_name("ran").write_text("")
MINE = replace(MODELS["qif"], name="mine")
"""
SCAN = (
    '[axes]\neta = [-5.0, -4.0]\n[protocol]\ntransient = 0.1\nwindow = 0.1\nintegrator = "euler"\ndt = 0.05\n'
)


def python(code, folder):
    """Run code in a folder, which is on the path as with `python script.py` there."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr.splitlines()[-1] if done.stderr else done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of a model of one's own, with the module beside it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "results_m.py").write_text(MODEL)
    (folder / "scan.toml").write_text('model = "results_m:MINE"\n' + SCAN)
    told = python("import qifscan as qs; qs.run(qs.Scan.from_toml('scan.toml'), 'scan.zarr')", folder)
    assert told == ""
    (folder / "ran").unlink()
    return folder


def test_a_store_opens_without_the_code_that_it_names(folder):
    code = """
import qifscan as qs
from qifscan.dynamics import models
from qifscan.store import store
found = qs.open_scan("scan.zarr")
assert found["status"].values.all() and list(found.coords) == ["eta"], found
assert "r_mean" in found.data_vars and found["eta"].dims == ("eta",)
assert set(qs.open_theory("scan.zarr")) >= {"equilibria"}
for drawn in (qs.show(found), qs.show("scan.zarr")):
    assert drawn.axes[0].get_ylabel() == "r_mean (1/ms)"
    assert drawn.get_suptitle() == "scan of results_m:MINE"
for call in (lambda: qs.verify("scan.zarr"),
             lambda: qs.basins("scan.zarr"), lambda: qs.replay("scan.zarr", eta=-5.0),
             lambda: qs.show(qs.open_theory("scan.zarr")["equilibria"].to_dataset())):
    try:
        call()
    except qs.QifscanError as error:
        assert len(str(error).splitlines()) == 1, error
from click.testing import CliRunner
from qifscan.cli import main
told = CliRunner().invoke(main, ["verify", "scan.zarr"])
assert told.exit_code == 2 and "import results_m first" in told.output, told.output
told = CliRunner().invoke(main, ["status", "scan.zarr"])
assert told.exit_code == 0 and "1 of 1 chunks, 2 of 2 points" in told.output, told.output
assert "2 ok" in told.output and "import results_m first" in told.output, told.output
assert CliRunner().invoke(main, ["show", "scan.zarr", "-o", "scan.png"]).exit_code == 0
"""
    assert python(code, folder) == ""
    assert not (folder / "ran").exists()


@pytest.mark.thorough
def test_the_status_of_a_store_in_parts_needs_no_model(folder, tmp_path):
    """Three chunks of which one was lost, and a trace; what status says is what is there."""
    (tmp_path / "results_m.py").write_text(MODEL)
    text = 'model = "results_m:MINE"\n[traces]\npoints = [{ eta = -5.0 }]\n' + SCAN.replace(
        "[-5.0, -4.0]", "[-5.0, -4.0, -3.0]"
    )
    (tmp_path / "scan.toml").write_text(text)
    made = "import qifscan as qs; qs.run(qs.Scan.from_toml('scan.toml'), 'scan.zarr', chunk_points=1)"
    assert python(made, tmp_path) == ""
    (tmp_path / "scan.zarr" / "r_mean" / "c" / "1").unlink()
    asked = "from qifscan.runs.state import state_of; parts, ends = state_of('scan.zarr')"
    state = f"{asked}; print(parts, ends['ok'], ends['not run'])"
    named = "import results_m; "
    assert python(state, tmp_path) == "3 of 4 chunks, 2 of 3 points 2 1\n"
    assert python(named + state, tmp_path) == "3 of 4 chunks, 2 of 3 points 2 1\n"


@pytest.mark.thorough
def test_who_names_the_model_imports_it(folder):
    code = """
import qifscan as qs
from qifscan.dynamics import models
from click.testing import CliRunner
from qifscan.cli import main
for name in ("status", "show", "verify"):
    told = CliRunner().invoke(main, [name, "scan.toml"])
    assert told.exit_code == 0, told.output
assert qs.verify("scan.zarr", points=1).sound
"""
    assert python(code, folder) == ""
    (folder / "ran").unlink()


def test_sys_exit_in_a_model_ends_nothing(tmp_path, monkeypatch):
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(qs.ScanError, match=r'found "leaves:MINE", 3, expected a module to import'):
        qs.Scan(model="leaves:MINE")


def test_an_installed_model_with_the_stores_source_is_imported_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "_site", lambda: [str(tmp_path / "site-packages")])
    for place in ("site-packages", "elsewhere"):
        (tmp_path / place / f"of_{place[:4]}").mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / place)
        for name in ("__init__", "m"):
            (tmp_path / place / f"of_{place[:4]}" / f"{name}.py").write_text(MODEL)
    source = hashlib.sha256(MODEL.encode()).hexdigest()
    for name, known in (("of_site.m:MINE", "0" * 64), ("of_site.m:MINE", None), ("of_else.m:MINE", source)):
        with pytest.raises(qs.ScanError, match=r"import of_.* first"):
            models.stored_model(name, known)
    assert not list(tmp_path.rglob("ran"))
    assert models.stored_model("of_site.m:MINE", source).name == "of_site.m:MINE"
