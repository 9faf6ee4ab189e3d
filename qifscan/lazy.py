"""Modules that load on first use, so that `import qifscan` stays under half a second."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """Stand in for a module until one of its names is asked for.

    Level-0 definitions (which observables, steps and drives exist) are read by commands that never
    simulate; jax costs them 0.6 s and 150 MB unless its import waits for the first array.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
