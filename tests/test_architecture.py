"""The way through: imports point one way, effects have their places, importing is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "qifscan"

LEVELS = [
    {"lazy", "errors", "jets", "whole"},
    {"printed", "toml"},
    {"adaptive", "rhythm", "models", "definition", "backend", "algebra", "place", "record", "snapshot"},
    {"child"},
    {"catalogue", "drive", "noise", "observables", "integrate", "labels", "graph"},
    {"normal_forms", "tables", "collocation", "delayed", "newton", "isolation"},
    {"conditions"},
    {"digits"},
    {"certain", "tracing"},
    {"pieces"},
    {"resting"},
    {"crossings", "floquet", "hopf_plane"},
    {"spectrum"},
    {"checking", "family", "following", "settling"},
    {"theory", "hopf", "periodic"},
    {"delay_curves"},
    {"bifurcation"},
    {"axes", "foreign", "forced", "rest"},
    {"scan", "diagrams", "auto", "pycobi"},
    {"pace", "atlas", "matching", "colours", "described", "convergence", "results"},
    {"kernel", "overlays"},
    {"points"},
    {"names", "sweep", "population"},
    {"chunks"},
    {"store", "cluster"},
    {"extension", "theory_store"},
    {"integrity"},
    {"truth"},
    {"driver", "plots", "trajectory", "verification", "attractors"},
    {"switching"},
    {"cli"},
]


def imported(path):
    """Return the modules of the package that a file imports, and the packages from outside."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"qifscan.{alias.name}" for alias in node.names]
                if node.module == "qifscan"
                else [node.module]
            )
        for name in names:
            parts = name.split(".")
            if parts[0] == "qifscan":
                inside |= {parts[1]} if len(parts) > 1 else set()
            else:
                outside.add(parts[0])
    return inside, outside


def test_every_module_has_its_level():
    assert {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"} == set.union(*LEVELS)


def test_a_module_imports_only_from_levels_below_its_own():
    level = {name: i for i, names in enumerate(LEVELS) for name in names}
    wrong = [
        (path.stem, other)
        for path in PACKAGE.glob("*.py")
        if path.stem != "__init__"
        for other in imported(path)[0] & set(level)
        if level[other] >= level[path.stem]
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("zarr", {"integrity", "snapshot", "store", "theory_store"}),
        ("distributed", {"cluster"}),
        ("click", {"cli"}),
        ("matplotlib", {"colours", "diagrams", "overlays", "plots"}),
        ("rich", {"driver"}),
    ],
)
def test_a_library_has_one_module_that_knows_it(library, owners):
    assert {p.stem for p in PACKAGE.glob("*.py") if library in imported(p)[1]} == owners


def test_only_the_kernel_compiles():
    def names(path):
        return {
            node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
        }

    assert {p.stem for p in PACKAGE.glob("*.py") if names(p) & {"jit", "vmap", "pmap"}} == {"kernel"}


HEAVY = ("jax", "distributed", "matplotlib", "xarray", "dask", "zarr")


@pytest.mark.parametrize(
    "code",
    [
        "import qifscan",
        "import qifscan.cli; qifscan.cli.main(['--help'], standalone_mode=False)",
        "import qifscan; qifscan.Scan(axes={'eta': [1.0]}).fingerprint",
        "import qifscan; qifscan.plan(qifscan.Scan(axes={'eta': [1.0]}), probe=False)",
    ],
)
def test_what_does_not_simulate_loads_nothing_heavy(code):
    check = f"import sys; {code}; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_every_public_name_exists_and_has_a_docstring():
    import qifscan

    for name in qifscan.__all__:
        value = getattr(qifscan, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name


def test_functions_are_short():
    """A function body, without its docstring, has at most 40 lines."""
    long = []
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                long += [(path.name, node.name, lines)] if lines > 40 else []
    assert not long
