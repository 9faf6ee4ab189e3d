"""Models by name: those of this package, and a user's own as "module:name", with the hash of their source."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from qifscan.errors import Fault, ScanError, unknown
from qifscan.models import MODELS, Model

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
    # What a user's file raises is told as a fault of the scan, whatever it is.
    except Exception as error:  # noqa: BLE001
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
