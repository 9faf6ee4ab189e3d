"""Turn what a user gives for a file or folder into a path, for every call and command."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from qifscan.errors import Fault, ScanError, show
from qifscan.files import Where
from qifscan.objects import SCHEMES, ObjectPath
from qifscan.zipped import Zipped

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
        hint = f"copy it to this machine first; a folder of this name is ./{_told(text)}"
        raise _fault(where, show(_told(text)), "a path on this machine, URLs are not read", hint)
    path = Path(os.path.expanduser(text))
    if text.startswith("~") and str(path).startswith("~"):
        hint = f"there is no user of that name; a file of this name is ./{text}"
        raise _fault(where, show(text), "a path on this machine", hint)
    try:
        path.exists()
    except OSError as error:
        raise _fault(where, show(text), "a path on this machine", str(error.strerror).lower()) from None
    return path


def located(where: str, given: Any) -> Where:
    """Return the place of a store that is meant: a path, as `local` gives it, or a URL of an object store, or
    a zip file.

    Raises `ScanError`, about `where`, as `local` does; for a URL with keys in it without repeating them.
    """
    if isinstance(given, (ObjectPath, Zipped)):
        return given
    is_text = isinstance(given, (str, os.PathLike)) and isinstance(os.fspath(given), str)
    scheme = _URL.match(os.fspath(given)) if is_text else None
    if scheme is None or scheme[1].lower() == "file":
        path = local(where, given)
        return Zipped(path) if path.suffix.lower() == ".zip" and not path.is_dir() else path
    return _of_url(where, os.fspath(given), scheme[1].lower())


def _of_url(where: str, text: str, scheme: str) -> ObjectPath:
    if scheme not in SCHEMES:
        hint = "a store at http is read by xarray.open_zarr, or by qifscan.Client of a server"
        expected = f"a path, or a URL of {', '.join(f'{each}://' for each in SCHEMES)}"
        raise _fault(where, show(_told(text)), expected, hint if scheme.startswith("http") else "")
    rest = text[len(scheme) :]
    if not rest.startswith("://"):
        hint = "give it as text: a pathlib.Path keeps one slash of two"
        raise _fault(where, show(_told(text)), f"{scheme}://BUCKET/NAME", hint)
    bucket, *parts = rest[3:].rstrip("/").split("/")
    if "@" in bucket or "?" in text or "#" in text:
        # The parts before an @ or after a ? may be a key.
        hint = "keys are read from the environment and from ~/.aws, never from a URL"
        raise _fault(where, show(f"{scheme}://..."), f"{scheme}://BUCKET/NAME and nothing else", hint)
    if not bucket or not parts or any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise _fault(where, show(_told(text)), f"{scheme}://BUCKET/NAME")
    return ObjectPath.of(text)


def _told(text: str) -> str:
    """Return a URL as it may be printed: without what may be a key."""
    return re.sub(r"(//)[^/@]*@|[?#].*", r"\1", text)


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
