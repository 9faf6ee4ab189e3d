"""What a user defines in a file of their own, by its place "package.module:variable"; and the file's hash."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from qifscan.errors import Fault, ModelNotImported, ScanError

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


_ONLY: ContextVar[frozenset[str] | None] = ContextVar("only", default=None)


@contextmanager
def only(places: Iterable[str]) -> Iterator[None]:
    """Import nothing but what is at these places, whatever is named: for scans that others send."""
    token = _ONLY.set(frozenset(places))
    try:
        yield
    finally:
        _ONLY.reset(token)


def imported(what: str, place: str) -> tuple[object, str]:
    """Return what is at a place, and the hash of its file as it is when it is first asked for.

    `what` is the field of a scan that names it, for the errors.
    """
    allowed = _ONLY.get()
    if allowed is not None and place not in allowed:
        hint = "no other code of a user's own is run here"
        raise ScanError([Fault(what, f'"{place}"', "a name that is known", hint)])
    return _imported(what, place)


@lru_cache
def _imported(what: str, place: str) -> tuple[object, str]:
    if not _PLACE.fullmatch(place):
        raise ScanError([Fault(what, f'"{place}"', 'a name that is known, or "package.module:variable"')])
    name, variable = place.split(":")
    try:
        module = importlib.import_module(name)
        found = getattr(module, variable, None)
        source = Path(inspect.getsourcefile(module) or "").read_bytes()
    # Whatever a user's file raises becomes a fault of the scan, also sys.exit.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        told = " ".join(str(error).split()) or type(error).__name__
        missing = isinstance(error, ImportError)
        hint = "put its directory on PYTHONPATH, also for the workers" if missing else ""
        raise ScanError([Fault(what, f'"{place}", {told}', "a module to import", hint)]) from None
    return found, hashlib.sha256(source).hexdigest()


def check_trusted(what: str, place: str, source: str | None) -> None:
    """Raise `ModelNotImported` for code that only a store names: it is not run.

    It must have been imported in this process, as a scan of it does, or be installed, with the source that
    the store was made with, whose hash is `source`.
    """
    name = place.partition(":")[0]
    if name not in sys.modules and not (source and _installed_source(name) == source):
        found = f'"{place}", {_ARTICLES[what]} of your own that a store names and nobody has imported'
        hint = f"import {name} first, or give the scan's file in place of the store, if you trust it"
        raise ModelNotImported([Fault(what, found, "one that is imported or installed", hint)])


_ARTICLES = {"model": "a model", "observables": "an observable"}


def _installed_source(name: str) -> str | None:
    """Return the hash of the file that importing a module would run, if that is installed; nothing is run."""
    path: list[str] | None = None
    parts = name.split(".")
    for i in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: i + 1]), path)
        if spec is None or not (spec.origin or spec.submodule_search_locations):
            return None
        if spec.origin and not any(Path(spec.origin).is_relative_to(folder) for folder in _site()):
            return None
        path = list(spec.submodule_search_locations or ())
    if spec is None or not spec.origin or spec.origin in {"built-in", "frozen"}:
        return None
    try:
        return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    except OSError:
        return None


def _site() -> list[str]:
    """Return the folders of installed packages."""
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [*users, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
