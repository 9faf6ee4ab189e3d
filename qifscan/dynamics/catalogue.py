"""Models by name: those of this package, and a user's own as "module:name", with the hash of their source."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import site
import sys
import sysconfig
from dataclasses import replace
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from qifscan.dynamics.model import Model
from qifscan.dynamics.models import MODELS
from qifscan.errors import Fault, ModelNotImported, ScanError, unknown

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def model_named(name: str) -> Model:
    """Return the model of a name; raise `ScanError` if there is none.

    A name with a colon, "package.module:variable", is a `Model` that this process can import.
    """
    if isinstance(name, str) and name in MODELS:
        return MODELS[name]
    if not isinstance(name, str) or ":" not in name:
        raise ScanError([unknown("model", name, MODELS)])
    return _imported(name)[0]


def source_hash(name: str) -> str | None:
    """Return the sha256 of the file that defines a user's model, None of a model of this package."""
    return None if name in MODELS else _imported(name)[1]


def stored_model(name: str, source: str | None = None) -> Model:
    """Return the model that a store names; `source` is the hash of its file there.

    Code that only a store names is not run. A model of a user's own must have been imported in this process,
    as a scan of it does, or be installed, with the source that the store was made with; else
    `ModelNotImported`.
    """
    if isinstance(name, str) and ":" in name and name not in MODELS:
        place = name.partition(":")[0]
        if place not in sys.modules and not (source and _installed_source(place) == source):
            found = f'"{name}", a model of your own that a store names and nobody has imported'
            hint = f"import {place} first, or give the scan's file in place of the store, if you trust it"
            raise ModelNotImported([Fault("model", found, "one that is imported or installed", hint)])
    return model_named(name)


def _installed_source(place: str) -> str | None:
    """Return the hash of the file that importing a module would run, if that is installed; nothing is run."""
    path: list[str] | None = None
    parts = place.split(".")
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


@lru_cache
def _imported(name: str) -> tuple[Model, str]:
    """Return a user's model and the hash of its file as it is when it is first asked for."""
    if not _PLACE.fullmatch(name):
        raise ScanError([Fault("model", f'"{name}"', 'a model\'s name, or "package.module:variable"')])
    place, variable = name.split(":")
    try:
        module = importlib.import_module(place)
        found = getattr(module, variable, None)
        source = Path(inspect.getsourcefile(module) or "").read_bytes()
    # What a user's file raises is told as a fault of the scan, whatever it is; also where it calls sys.exit.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        told = " ".join(str(error).split()) or type(error).__name__
        missing = isinstance(error, ImportError)
        hint = "put its directory on PYTHONPATH, also for the workers" if missing else ""
        raise ScanError([Fault("model", f'"{name}", {told}', "a module to import", hint)]) from None
    if not isinstance(found, Model):
        kind = "nothing" if found is None else type(found).__name__
        raise ScanError([Fault("model", f'"{name}", which is {kind}', "a Model")])
    if found.delay and found.variable_names[1:] != (found.driven,):
        known = f'"{name}", which has a delay and the variables {", ".join(found.variable_names)}'
        raise ScanError([Fault("model", known, "with a delay r and v alone, the past of r driving v")])
    # By the name that it has in results, it must be found again.
    return replace(found, name=name), hashlib.sha256(source).hexdigest()


def model_of(name: str, *, delayed: bool = False, restless: bool = False) -> Model:
    """Return a model by its name; raise `ScanError` if there is none, if it has a delay and is not to have
    one, or if it has no `rest` and is to have one.
    """
    model = model_named(name)
    if model.rest is None and not restless:
        hint = "its equilibria are given by qs.equilibria"
        raise ScanError([Fault("model", f'"{name}", which has no `rest`', "a graph over the rate", hint)])
    if model.delay and not delayed:
        hint = "its cycles can be simulated: qs.simulate, qs.run"
        raise ScanError([Fault("model", f'"{name}", which has a delay', "a model without one", hint)])
    return model
