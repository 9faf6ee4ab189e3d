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
from pathlib import Path
from typing import ClassVar

import click
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from docutils.utils.math import latex2mathml
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
        names, folder = _page(self.env.docname)
        printed, shown = _executed(code, names, folder)
        made = [nodes.literal_block(code, code, language="python")]
        if printed:
            made.append(nodes.literal_block(printed, printed, language="text", classes=["output"]))
        if shown:
            made.append(nodes.raw("", f'<div class="cell-html">{shown(self.options)}</div>', format="html"))
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
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None
    finally:
        os.chdir(here)
    return printed.getvalue().rstrip(), _shown(value)


def _shown(value):
    """Return a function of the options that gives the HTML of a value; None if there is nothing to show."""
    if value is None:
        return None
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, dpi=110, bbox_inches="tight")
        data = base64.b64encode(picture.getvalue()).decode()
        return lambda options: f'<img alt="{options.get("alt", "")}" src="data:image/png;base64,{data}">'
    if hasattr(value, "_repr_html_"):
        text = value._repr_html_()
        return lambda options: text
    return lambda options: f"<pre>{value!r}</pre>"


# ----------------------------------------------------------------------------------------------- tables


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
            context = click.Context(command, info_name=f"qifscan {name}", max_content_width=100)
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
    heading = re.compile(r"^\s*-{3,}$")
    for i, line in enumerate(lines):
        if heading.match(line) or line.lstrip().startswith((">>>", "...", ".. ", ":")):
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
    """Add everything to Sphinx."""
    app.add_directive("cell", Cell)
    app.add_directive("rows", Rows)
    app.add_directive("commands", Commands)
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("autodoc-process-docstring", _as_written, priority=900)
    return {"parallel_read_safe": False, "version": qifscan.__version__}
