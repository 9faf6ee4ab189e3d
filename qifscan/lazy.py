"""Modules that load on first use, so that `import qifscan` stays under a tenth of a second."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
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


class _After(importlib.abc.MetaPathFinder):
    """Call a function as soon as a module has been imported, whoever imports it."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name, self._action = name, action

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Return the module as everybody finds it, with the function after the run of its code."""
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_act(module: Any) -> None:
                run(module)
                self._action()

            spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec


def after_import(name: str, action: Callable[[], None]) -> None:
    """Call `action` now if the module of that name is loaded, else as soon as it is."""
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _After(name, action))
