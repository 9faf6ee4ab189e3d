"""Parameter scans and bifurcation exploration of the mean field of quadratic integrate-and-fire neurons."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any

from qifscan.lazy import after_import

__version__ = "0.1.0"

# What is public stands in `__init__.pyi` alone. It is loaded on first use: importing the package must cost
# neither jax nor distributed nor matplotlib.
with open(os.path.join(__path__[0], "__init__.pyi"), encoding="utf-8") as _file:
    _MODULE_OF = {name: place for place, name in re.findall(r"(?m)^from (\S+) import (\w+)", _file.read())}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'qifscan' has no attribute {name!r}")
    module = importlib.import_module(_MODULE_OF[name])
    # A module that can be called stands for the function of its name.
    value = module if module.__name__ == f"qifscan.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _register() -> None:
    """Give every dataset of xarray the accessor `qs`."""
    from qifscan.accessor import register

    register()


# Not at once: xarray takes a third of a second to load, and without it there is no dataset.
after_import("xarray", _register)
