"""Turn what a user gives for a file or folder into a path, for every call and command."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from qifscan.errors import Fault, ScanError, show

AnyPath = str | os.PathLike[str]

# Two letters at least: "C:/" is a drive. One slash is enough, as a `Path` keeps no more of them.
_URL = re.compile(r"([A-Za-z][\w+.-]+):(:|/)")

PICTURES = (
    *(".avif", ".eps", ".gif", ".jpeg", ".jpg", ".pdf", ".pgf", ".png", ".ps", ".raw", ".rgba", ".svg"),
    *(".svgz", ".tif", ".tiff", ".webp"),
)
"""Endings of pictures; any other is a part of the name."""


def local(where: str, given: Any) -> Path:
    """Return the path that is meant: `~` is the home folder, and `file://` is read.

    Raises `ScanError`, about `where`, for a URL of anything else, for what is no path, and for a name that
    the file system doesn't take.
    """
    if not isinstance(given, (str, os.PathLike)) or not isinstance(text := os.fspath(given), str):
        raise _fault(where, show(given), "a path, as text or pathlib.Path")
    if not text or "\0" in text:
        raise _fault(where, show(text), "the path of a file or folder")
    scheme = _URL.match(text)
    if scheme is not None and scheme[1].lower() == "file":
        return _of_file_url(where, text)
    if scheme is not None:
        hint = f"copy it to this machine first; a folder of this name is ./{text}"
        raise _fault(where, show(text), "a path on this machine, URLs are not read", hint)
    path = Path(os.path.expanduser(text))
    if text.startswith("~") and str(path).startswith("~"):
        hint = f"there is no user of that name; a file of this name is ./{text}"
        raise _fault(where, show(text), "a path on this machine", hint)
    try:
        path.exists()
    except OSError as error:
        raise _fault(where, show(text), "a path on this machine", str(error.strerror).lower()) from None
    return path


def _of_file_url(where: str, text: str) -> Path:
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment or not parts.path:
        hint = "write % in place of # and ? as %25, %23, %3F" if parts.query or parts.fragment else ""
        raise _fault(where, show(text), "file:///PATH, of this machine", hint)
    return Path(url2pathname(parts.path))


def _fault(where: str, found: str, expected: str, hint: str = "") -> ScanError:
    return ScanError([Fault(where, found, expected, hint)])


def with_ending(path: Path, ending: str, instead_of: tuple[str, ...] = ()) -> Path:
    """Return a path with this ending: in place of one of those given, else after the whole name.

    `Path.with_suffix` takes `.5` of `sweep_tau0.5` for an ending.
    """
    has = path.suffix.lower() in instead_of
    return path.with_name((path.stem if has else path.name) + ending)


def picture(path: Path) -> Path:
    """Return the path of a picture: a PNG unless it has the ending of another kind."""
    # A word after the dot is meant as an ending, and matplotlib says which ones there are.
    is_ending = path.suffix.lower() in PICTURES or path.suffix[1:].isalpha()
    return path if is_ending else with_ending(path, ".png")
