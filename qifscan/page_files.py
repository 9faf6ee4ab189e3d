"""The files of a page that a folder of the package holds, and their types on HTTP."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePath

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def page_files(package: str) -> dict[str, bytes]:
    """Return the files in the folder `page` of a package, by name."""
    entries = files(package).joinpath("page").iterdir()
    return {entry.name: entry.read_bytes() for entry in entries if PurePath(entry.name).suffix in TYPES}
