"""What the manual adds to Sphinx: cells that run, tables made from the rows of the package, formulas.

A formula is MathML, which browsers draw by themselves: no script is fetched when a page is read.
"""

import ast
import base64
import contextlib
import io
import os
import re
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import click
import matplotlib.pyplot as plt
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from docutils.utils.math import latex2mathml
from gallery.run import HERE as GALLERY
from gallery.run import known as gallery_record
from gallery.run import script as gallery_script
from gallery.run import table as gallery_table
from PIL import Image
from sphinx.util.docutils import SphinxDirective
from tables import TABLES

import qifscan
import qifscan.cli

# ------------------------------------------------------------------------------------------------ cells


class Cell(SphinxDirective):
    """Python that runs when the manual is built, in the names of the cells before it on the page.

    Below it stands what it prints, and its last expression as a notebook shows it. An error ends the build.
    """

    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged}

    def run(self):
        """Return the code, and what came of it."""
        code = "\n".join(self.content)
        if not self.config.run_examples:
            return [nodes.literal_block(code, code, language="python")]
        names, folder = _page(self.env.docname)
        printed, shown = _executed(code, names, folder)
        made = [nodes.literal_block(code, code, language="python")]
        if printed:
            made.append(
                nodes.literal_block(printed, printed, language="text", classes=["output"])
            )
        if shown:
            made.append(
                nodes.raw(
                    "",
                    f'<div class="cell-html">{shown(self.options)}</div>',
                    format="html",
                )
            )
        return made


_PAGES = {}


def _page(name):
    """Return the names and the folder that the cells of a page share."""
    if name not in _PAGES:
        _PAGES[name] = {"__name__": "__main__"}, tempfile.TemporaryDirectory()
    names, folder = _PAGES[name]
    return names, folder.name


def _executed(code, names, folder):
    """Run code in a folder; return what it printed, and how its last expression is shown, if at all."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, here = io.StringIO(), Path.cwd()
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, "<cell>", "exec"), names)
            value = (
                eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
                if last
                else None
            )
    finally:
        os.chdir(here)
    shown = _shown(value)
    # As a notebook does: the next cell begins with no figure.
    plt.close("all")
    return printed.getvalue().rstrip(), shown


def _shown(value):
    """Return a function of the options that gives the HTML of a value; None if there is nothing to show."""
    if value is None:
        return None
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, dpi=110, bbox_inches="tight")
        data = base64.b64encode(picture.getvalue()).decode()
        return lambda options: (
            f'<img alt="{options.get("alt", "")}" src="data:image/png;base64,{data}">'
        )
    if hasattr(value, "_repr_html_"):
        text = value._repr_html_()
        return lambda options: text
    return lambda options: f"<pre>{value!r}</pre>"


# ----------------------------------------------------------------------------------------------- tables


class Gallery(SphinxDirective):
    """A page of the gallery: its figure in full, the numbers of a run at small size, and the script.

    The script runs when the manual is built; `make gallery` made the figure, and knows how long it took.
    """

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged}

    def run(self):
        """Return the figure, the table and the script."""
        name = self.arguments[0]
        code = (GALLERY / f"{name}.py").read_text(encoding="utf-8")
        self.env.note_dependency(str(GALLERY / f"{name}.py"))
        script = nodes.literal_block(code, code, language="python")
        if not self.config.run_examples:
            return [script]
        began = time.perf_counter()
        figure, rows = gallery_script(name).made(full=False)
        seconds = time.perf_counter() - began
        full = gallery_record().get(name)
        picture = GALLERY / "figures" / f"{name}.png"
        data = picture.read_bytes() if picture.exists() else _png(figure)
        text = base64.b64encode(data).decode()
        alt = self.options.get("alt", "")
        made = [
            nodes.raw(
                "", f'<img alt="{alt}" src="data:image/png;base64,{text}">', format="html"
            )
        ]
        container = nodes.Element()
        lines = StringList(
            gallery_table(rows, full, seconds).splitlines(), source=f"gallery {name}"
        )
        self.state.nested_parse(lines, self.content_offset, container)
        return [*made, *container.children, script]


def _png(figure):
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    return picture.getvalue()


class Thumbnails(SphinxDirective):
    """Small pictures of all pages of the gallery, each a link to its page; the content names them."""

    has_content = True

    def run(self):
        """Return the pictures in a grid."""
        cells = []
        for line in self.content:
            name, _, title = line.partition(" ")
            picture = GALLERY / "figures" / f"{name}.png"
            text = base64.b64encode(_smaller(picture)).decode()
            image = f'<img alt="" src="data:image/png;base64,{text}">'
            cells.append(
                f'<a class="thumbnail" href="{name}.html">{image}<span>{title}</span></a>'
            )
        return [
            nodes.raw(
                "", f'<div class="thumbnails">{"".join(cells)}</div>', format="html"
            )
        ]


def _smaller(picture):
    """Return a picture 480 points wide."""
    with Image.open(picture) as image:
        small = image.convert("RGB").resize(
            (480, round(480 * image.height / image.width)), Image.LANCZOS
        )
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    return data.getvalue()


class Rows(SphinxDirective):
    """A table of Markdown, made from the rows of the package: `tables.py` has the name of each."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self):
        """Return the table."""
        made, *arguments = self.arguments[0].split()
        container = nodes.Element()
        lines = StringList(TABLES[made](*arguments).splitlines(), source=f"rows {made}")
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


class Commands(SphinxDirective):
    """What each command says with `--help`."""

    def run(self):
        """Return a section for each command."""
        made = []
        for name, command in sorted(qifscan.cli.main.commands.items()):
            context = click.Context(
                command, info_name=f"qifscan {name}", max_content_width=100
            )
            text = command.get_help(context)
            section = nodes.section(ids=[f"qifscan-{name}"], names=[f"qifscan {name}"])
            section += nodes.title("", f"qifscan {name}")
            section += nodes.literal_block(text, text, language="text")
            made.append(section)
        return made


# --------------------------------------------------------------------------------------------- formulas


def _formula(writer, node):
    display = not isinstance(node, nodes.math)
    text = node.astext().strip()
    if display and r"\\" in text and r"\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    made = latex2mathml.tex2mathml(text, as_block=display)
    writer.body.append(made)
    raise nodes.SkipNode


# -------------------------------------------------------------------------------------------- docstrings

_CODE = re.compile(r"``.*?``|`[^`]*`")


def _as_written(app, what, name, thing, options, lines):
    """Keep what reStructuredText would take for markup in a docstring: it is plain text with `code`."""
    plain = re.compile(r"\s*-{3,}|\*{0,2}\w+(, \*{0,2}\w+)*")
    example = False
    for i, line in enumerate(lines):
        # What an example prints ends with an empty line.
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if example or plain.fullmatch(line) or line.lstrip().startswith((".. ", ":")):
            continue
        parts, at = [], 0
        for code in _CODE.finditer(line):
            parts += [_escaped(line[at : code.start()]), code.group()]
            at = code.end()
        lines[i] = "".join([*parts, _escaped(line[at:])])


def _escaped(text):
    text = re.sub(r"([*|\\])", r"\\\1", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)


def setup(app):
    """Add everything to Sphinx; with `run_examples=0` what comes of cells and scripts is left out."""
    app.add_config_value("run_examples", True, "env", types=[bool])
    app.add_directive("cell", Cell)
    app.add_directive("gallery", Gallery)
    app.add_directive("rows", Rows)
    app.add_directive("thumbnails", Thumbnails)
    app.add_directive("commands", Commands)
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    # Before napoleon, which reads the sections and writes markup of its own.
    app.connect("autodoc-process-docstring", _as_written, priority=400)
    return {"parallel_read_safe": False, "version": qifscan.__version__}
