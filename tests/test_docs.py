"""The manual and the README: their Python runs and prints what stands there, and what they name is there.

A block of `text` after a block of Python is what it prints. Numbers may differ by a thousandth: last bits are
those of a kind of processor. Cells run when the manual is built. Pages are read here without Sphinx.
"""

import ast
import contextlib
import importlib.util
import io
import itertools
import math
import re
import shlex
import tomllib
from pathlib import Path

import click
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import qifscan as qs
from qifscan.accessor import Accessor
from qifscan.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)])

BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run[^>]*-->\n```python\n.*?^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:\.(?=\D|$))?(?:e[+-]?\d+)?")

OWN_TEST = {"model.md"}
"""tests/test_family.py runs it, and breaks it."""


def blocks(page):
    """Return the blocks of a page that are meant to be read by a machine, each with its language."""
    return BLOCK.findall(NOT_RUN.sub("", page.read_text(encoding="utf-8")))


def named(page):
    return page.relative_to(ROOT).as_posix()


def python(page):
    """Return the code of a page in order, each with what it must print, if that is written down."""
    found = blocks(page)
    for (language, text), (then, output) in itertools.pairwise([*found, ("", "")]):
        if language == "python":
            yield text, output if then == "text" else None


def words(text):
    """Return a text without numbers and spaces, and its numbers."""
    numbers = [float(x.replace(",", "")) for x in NUMBER.findall(text)]
    return "".join(NUMBER.sub("#", text).split()), numbers


def same(printed, output):
    """Whether a text is what was said, numbers to a thousandth."""
    (found, numbers), (told, others) = words(printed), words(output)
    return found == told and all(
        math.isclose(a, b, rel_tol=1e-3, abs_tol=2e-3) for a, b in zip(numbers, others, strict=True)
    )


LONG = {"cycles", "experiments", "others"}
RUN = [p for p in PAGES if p.name not in OWN_TEST and any(python(p))]


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.thorough if p.stem in LONG else (), id=p.stem) for p in RUN],
)
def test_the_python_of_a_page_runs_and_prints_what_stands_there(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for needed in (ROOT / "tests", *page.parent.glob("*.py")):
        (tmp_path / needed.name).symlink_to(needed)
    names = {"__name__": "__main__"}
    with matplotlib.rc_context({"figure.max_open_warning": 0, "backend": "agg"}):
        for code, output in python(page):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, named(page), "exec"), names)
            assert output is None or same(printed.getvalue(), output), printed.getvalue()


@pytest.mark.thorough
@pytest.mark.parametrize("page", [p for p in PAGES if "```{cell}" in p.read_text()], ids=lambda p: p.stem)
def test_the_cells_of_a_page_run(page, tmp_path, monkeypatch):
    """As they do when the manual is built with its examples."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    with matplotlib.rc_context({"figure.max_open_warning": 0, "backend": "agg"}):
        for language, text in blocks(page):
            if language == "{cell}":
                code = re.sub(r"\A(:\w+:.*\n)+", "", text)
                exec(compile(code, named(page), "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if "```toml" in p.read_text()], ids=lambda p: p.stem)
def test_every_scan_file_of_a_page_is_valid(page, tmp_path):
    for language, text in blocks(page):
        if language == "toml":
            (tmp_path / "scan.toml").write_text(text, encoding="utf-8")
            scan = qs.Scan.from_toml(tmp_path / "scan.toml")
            # Whatever the file says, the scan says, too.
            assert tomllib.loads(text).keys() <= {*tomllib.loads(scan.to_toml()), "seed"}


def commands(page):
    """Return the commands of a page: in blocks of the shell, and in code that begins with its name."""
    text = page.read_text(encoding="utf-8")
    lines = [line for language, block in blocks(page) if language == "sh" for line in block.splitlines()]
    lines += itertools.chain(*(code.split(";") for code in re.findall(r"`(qifscan [^`]+)`", text)))
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:1] == ["qifscan"] and not {"NAME", "MODEL"} & {*words}:
            yield words[1:]


@pytest.mark.parametrize("page", [p for p in PAGES if any(commands(p))], ids=lambda p: p.stem)
def test_every_command_of_a_page_is_one_with_those_options(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for name, *arguments in commands(page):
        if name.startswith("--"):
            assert name in {"--help", "--version"}
            continue
        command = main.commands[name]
        if arguments:
            command.make_context(name, list(arguments), resilient_parsing=False)
        assert isinstance(command, click.Command)


def test_every_public_name_has_its_place_in_the_api_and_what_pages_name_is_public():
    api = (DOCS / "reference" / "api.md").read_text()
    told = set(re.findall(r"^\.\. auto\w+:: (\w+)|^\.\. py:function:: (\w+)", api, re.MULTILINE))
    told = {name for pair in told for name in pair if name}
    # The accessor is public as `ds.qs`, the others are for files of one's own.
    own = {"Model", "Variable", "Parameter", "Observable", "mean_of", "highest_of"}
    own |= {"Accumulator", "Instant", "Window"}
    assert told == set(qs.__all__) - {"__version__"} | {"Accessor"} | own
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?<![.\w])qs\.(\w+)", text)) <= set(qs.__all__), page
        assert set(re.findall(r"\w\.qs\.(\w+)", text)) <= set(dir(Accessor)), page


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text()
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES if DOCS in p.parents}
    assert set(re.findall(r"^\w+/\w+$", index, re.MULTILINE)) == pages - {"index"}


def test_links_and_pictures_lead_to_files():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).is_file(), (page, target)


def test_every_picture_is_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [p.name for p in (DOCS / "figures").iterdir() if p.name not in shown] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_version_is_one():
    assert f"version: {qs.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {qs.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_has_the_commands_that_are_named():
    text = "".join(p.read_text() for p in [*PAGES, ROOT / "CONTRIBUTING.md"])
    rules = {"", *re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)}
    assert set(itertools.chain(*re.findall(r"`make ([a-z]+)|^make ([a-z]+)", text, re.MULTILINE))) <= rules


def test_a_difference_in_what_is_printed_is_seen():
    assert same("[0.1  2.0004] a", "[0.1 2.]\na")
    for other in ("[0.1 2.1] a", "[0.1 2.0] b", "[0.1] a"):
        with contextlib.suppress(ValueError):
            assert not same("[0.1 2.0] a", other)
    assert ast.parse(next(python(ROOT / "README.md"))[0])


def test_a_legend_of_the_gallery_names_what_is_seen_and_nothing_else():
    specification = importlib.util.spec_from_file_location("drawing", DOCS / "gallery" / "drawing.py")
    drawing = importlib.util.module_from_spec(specification)
    with matplotlib.rc_context():
        specification.loader.exec_module(drawing)
    axes = Figure().subplots()
    axes.plot([], [], "v", label="none")
    axes.plot([np.nan], [1.0], "o", label="no number")
    axes.plot([0.5], [3.0], "s", label="outside")
    axes.plot([-1.0, 2.0], [0.5, 0.6], label="passes through")
    axes.plot([0.5], [0.5], "^", label="inside")
    axes.axhline(0.2, label="across")
    axes.axhline(2.0, label="above")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    drawing.legend_once(axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "passes through",
        "inside",
        "across",
    ]
