"""The way through: imports point one way, effects have their places, importing is light."""

import ast
import collections
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import qifscan

PACKAGE = Path(__file__).parents[1] / "qifscan"

SHARED = {
    "errors",
    "printed",
    "files",
    "objects",
    "zipped",
    "record",
    "lazy",
    "arrays",
    "machine",
    "notebook",
    "page_files",
    "definition",
    "place",
    "phases",
}
"""Small files that every folder may use."""

ORDER = (
    "dynamics",
    "models",
    "observables",
    "scan",
    "roots",
    "theory",
    "periodic_orbits",
    "limit_cycles",
    "cycle_curves",
    "engine",
    "store",
    "truth",
    "runs",
    "results",
    "plots",
    "interop",
    "reference",
    "service",
    "explorer",
    "accessor",
    "cli",
)
"""Folders, and three files beside them: each imports from itself and from those above it in this list."""

DEEPEST = 12
"""Files in the longest chain of those that load each other; imports of types alone load nothing."""

LONGEST = 500
"""Lines of a file."""

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


@functools.cache
def trees():
    """Return every file, parsed: once, and not by processes that only list the tests."""
    return {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def walked(tree, types=True):
    """Yield every statement; without those that are there for type checkers alone, if types are left out."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            only_types = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            if name != "body" or types or not only_types:
                # Of an expression, as that of a lambda, `body` is no list of statements.
                below = getattr(node, name, [])
                left += below if isinstance(below, list) else []


def imported(tree, types=True):
    """Return the files of the package that a file imports, and the packages from outside."""
    inside, outside = set(), set()
    for node in walked(tree, types):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first != "qifscan":
                outside.add(first)
            elif rest in FILES:
                inside.add(rest)
            elif rest.rpartition(".")[0] in FILES:
                inside.add(rest.rpartition(".")[0])
    return inside, outside


@functools.cache
def imports():
    """Return what every file imports, from inside and outside of the package."""
    return {name: imported(tree) for name, tree in trees().items()}


@functools.cache
def loaded():
    """Return what every file of the package loads of the others."""
    return {name: imported(tree, types=False)[0] for name, tree in trees().items()}


def folder(name):
    return name.partition(".")[0]


def knowing(library):
    return {name for name, (_, outside) in imports().items() if library in outside}


def test_every_file_has_its_place_in_the_order():
    assert {folder(name) for name in FILES} == SHARED | set(ORDER)


def test_a_file_imports_only_from_its_folder_and_those_before_it():
    def may(name, other):
        if folder(other) in SHARED:
            return True
        return folder(name) in ORDER and ORDER.index(folder(other)) <= ORDER.index(folder(name))

    wrong = [(name, other) for name in FILES for other in imports()[name][0] if not may(name, other)]
    assert not wrong


def test_the_longest_chain_of_imports_is_short():
    depth = {}
    # A cycle raises here.
    for name in graphlib.TopologicalSorter(loaded()).static_order():
        depth[name] = 1 + max((depth[other] for other in loaded()[name]), default=0)
    assert max(depth.values()) <= DEEPEST, sorted(depth, key=depth.get)[-5:]


def test_every_folder_says_what_is_in_it():
    for path in PACKAGE.glob("*/__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text()))
        assert "egin with `" in doc, path
        named = doc.rpartition("egin with `")[2].partition("`")[0]
        assert f"{path.parent.name}.{named}" in FILES, path


def test_no_folder_or_file_has_the_name_of_something_public():
    # Importing it would put it in the place of what is public; `models` is both.
    assert not {folder(name) for name in FILES} & set(qifscan.__all__) - {"models"}


def test_no_two_classes_have_one_name():
    names = [n.name for tree in trees().values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []


def test_files_are_short():
    assert [n for n, path in FILES.items() if len(path.read_text().splitlines()) > LONGEST] == []


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        (
            "zarr",
            {
                "service.remote",
                "store.chunk_files",
                "store.integrity",
                "store.layout",
                "store.places",
                "store.reader",
                "store.snapshot",
                "store.store",
                "store.theory_group",
                "store.unknown_model",
            },
        ),
        ("distributed", {"runs.cluster", "runs.local_cluster", "runs.tasks", "runs.workers"}),
        ("click", {"cli"}),
        (
            "matplotlib",
            {
                "accessor",  # what figures are of type
                "plots.colours",
                "plots.diagrams",
                "plots.overlays",
                "plots.phase_plane",
                "plots.picture",
                "plots.panels",
                "plots.show",
                "plots.spectra",
                "plots.style",
            },
        ),
        ("IPython", {"notebook"}),
        ("obstore", {"objects"}),
        ("rich", {"runs.progress"}),
        ("uvicorn", {"explorer.serve", "service.serve"}),
        ("contourpy", {"explorer.phase", "plots.phase_plane"}),
    ],
)
def test_a_library_has_few_files_that_know_it(library, owners):
    assert knowing(library) <= owners


LOOKING_UP = {
    # where a scan, a model or a drive enters by name
    "cli",
    "dynamics.models",
    "engine.checking",
    "explorer.points",
    "plots.phase_plane",
    "reference.npz",
    "reference.population",
    "reference.stepping",
    "runs.names",
    "runs.trajectory",
    "scan.checks",
    "scan.protocol",
    "scan.scan",
    "store.theory_group",
    # what has gone to another process
    "engine.program",
    "runs.admission",
}


def test_names_are_looked_up_where_they_enter():
    """What goes on from there takes the row: of a model, an integrator, a drive."""

    def names(tree):
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    tables = {"model_named", "INTEGRATORS", "DRIVES"}
    knowing = {name for name, tree in trees().items() if names(tree) & tables}
    assert knowing - {"dynamics.integrators", "dynamics.drive"} == LOOKING_UP


def test_one_file_compiles():
    def attributes(tree):
        return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    compiling = {name for name, tree in trees().items() if attributes(tree) & {"jit", "vmap", "pmap"}}
    assert compiling == {"engine.compiler"}


HEAVY = ("jax", "distributed", "matplotlib", "xarray", "dask", "zarr")


@pytest.mark.parametrize(
    "code",
    [
        "import qifscan",
        "import qifscan.models",
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
    for name in qifscan.__all__:
        value = getattr(qifscan, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name


def test_functions_are_short():
    """A function body, without its docstring, has at most 40 lines."""
    long = []
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                long += [(name, node.name, lines)] if lines > 40 else []
    assert not long
