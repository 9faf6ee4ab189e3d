"""In a notebook, run by Jupyter's own kernel: figures are images, and a run says how far it is."""

import base64
import io

import matplotlib.image
import nbformat
import pytest
from nbclient import NotebookClient

CELLS = (
    """
import qifscan as qs
scan = qs.Scan(
    axes={"eta": [-7.0, -6.0, -5.0, -4.0], "J": [10.0, 15.0]},
    protocol=qs.Protocol(transient=5.0, window=5.0),
    observables=["r_mean"],
)
dataset = qs.run(scan, "scan.zarr", chunk_points=2)
""",
    "qs.show(dataset)",
    "qs.show(qs.folds(J=[10.0, 15.0, 20.0]))",
    "figure = qs.show(dataset)",
    "%matplotlib inline\nqs.show(dataset)",
    """
from qifscan import phases
phases.QUIET = phases.OFTEN = 0.0
found = qs.cycles(eta=5.0, delta=2.0, J=21.0, starts=1, transient=1.0, window=1.0)
""",
    """
import signal
phases.Phases.tell = lambda self, *words: signal.raise_signal(signal.SIGINT)
qs.cycles(eta=5.0, starts=1)
""",
    "dataset.sel(J=15.0).qs.phase_plane(eta=-5.0)",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of every cell, from an empty folder."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    options = {"timeout": 300, "kernel_name": "python3", "allow_errors": True}
    NotebookClient(notebook, resources=where, **options).execute()
    return [cell["outputs"] for cell in notebook.cells]


def images(outputs):
    return [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]


def test_a_run_says_how_far_it_is_and_in_the_end_how_long_it_took(outputs):
    told = [o["data"]["text/plain"] for o in outputs[0] if "data" in o]
    assert len(told) == 1
    assert told[0].startswith("4 of 4 chunks, 8 of 8 points, ")
    assert told[0].endswith(" s")


@pytest.mark.parametrize("cell", [1, 2, 4, 7])
def test_a_figure_at_the_end_of_a_cell_is_one_image(outputs, cell):
    (image,) = images(outputs[cell])
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image)))
    assert min(pixels.shape[:2]) > 200
    assert pixels[..., :3].std() > 0.05


def test_a_call_that_takes_long_leaves_the_time_that_it_took(outputs):
    (told,) = [o["data"]["text/plain"] for o in outputs[5]]
    assert told.startswith("cycles: ")
    assert told.endswith(" s")


def test_ctrl_c_leaves_one_line_and_no_page_of_code(outputs):
    (error,) = [o for o in outputs[6] if o["output_type"] == "error"]
    assert error["traceback"] == ["cycles: stopped while starting"]


def test_nothing_else_went_wrong(outputs):
    assert [i for i, cell in enumerate(outputs) if any(o["output_type"] == "error" for o in cell)] == [6]


def test_a_figure_with_a_name_is_not_shown(outputs):
    assert not images(outputs[3])
