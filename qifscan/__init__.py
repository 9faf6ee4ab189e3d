"""Parameter scans and bifurcation exploration of the mean field of quadratic integrate-and-fire neurons."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qifscan.attractors import basins as basins
    from qifscan.attractors import hysteresis as hysteresis
    from qifscan.attractors import pulse_response as pulse_response
    from qifscan.attractors import tipping as tipping
    from qifscan.auto import read_auto as read_auto
    from qifscan.bifurcation import branch as branch
    from qifscan.bifurcation import curve as curve
    from qifscan.bifurcation import special_points as special_points
    from qifscan.checking import check_model as check_model
    from qifscan.chunks import Plan as Plan
    from qifscan.chunks import plan as plan
    from qifscan.cluster import local_cluster as local_cluster
    from qifscan.drive import Constant as Constant
    from qifscan.drive import Pulse as Pulse
    from qifscan.drive import Ramp as Ramp
    from qifscan.drive import Sampled as Sampled
    from qifscan.drive import Sine as Sine
    from qifscan.driver import run as run
    from qifscan.errors import QifscanError as QifscanError
    from qifscan.errors import RunError as RunError
    from qifscan.errors import RunInterrupted as RunInterrupted
    from qifscan.errors import ScanError as ScanError
    from qifscan.errors import StoreError as StoreError
    from qifscan.forced import forced_cycles as forced_cycles
    from qifscan.models import models as models
    from qifscan.observables import Status as Status
    from qifscan.periodic import cycle_branches as cycle_branches
    from qifscan.periodic import cycles as cycles
    from qifscan.plots import show as show
    from qifscan.population import QIF as QIF
    from qifscan.pycobi import read_pycobi as read_pycobi
    from qifscan.scan import Protocol as Protocol
    from qifscan.scan import Scan as Scan
    from qifscan.scan import Traces as Traces
    from qifscan.store import open_scan as open_scan
    from qifscan.switching import residence as residence
    from qifscan.theory import cusp as cusp
    from qifscan.theory import equilibria as equilibria
    from qifscan.theory import focus_line as focus_line
    from qifscan.theory import folds as folds
    from qifscan.theory_store import open_theory as open_theory
    from qifscan.trajectory import replay as replay
    from qifscan.trajectory import simulate as simulate
    from qifscan.verification import verify as verify

# Loaded on first use: importing the package must cost neither jax nor distributed nor matplotlib.
_PUBLIC = {
    "attractors": ("basins", "hysteresis", "pulse_response", "tipping"),
    "auto": ("read_auto",),
    "bifurcation": ("branch", "curve", "special_points"),
    "checking": ("check_model",),
    "chunks": ("Plan", "plan"),
    "cluster": ("local_cluster",),
    "periodic": ("cycle_branches", "cycles"),
    "drive": ("Constant", "Pulse", "Ramp", "Sampled", "Sine"),
    "driver": ("run",),
    "errors": ("QifscanError", "RunError", "RunInterrupted", "ScanError", "StoreError"),
    "forced": ("forced_cycles",),
    "observables": ("Status",),
    "plots": ("show",),
    "population": ("QIF",),
    "pycobi": ("read_pycobi",),
    "scan": ("Protocol", "Scan", "Traces"),
    "store": ("open_scan",),
    "switching": ("residence",),
    "theory_store": ("open_theory",),
    "theory": ("cusp", "equilibria", "focus_line", "folds"),
    "trajectory": ("replay", "simulate"),
    "verification": ("verify",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = ["__version__", *sorted([*_MODULE_OF, "models"])]


def __getattr__(name: str) -> Any:
    if name == "models":
        # The module itself: it can be called.
        return importlib.import_module("qifscan.models")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'qifscan' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"qifscan.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
