"""The public names: `__init__.py` reads them here, and so do type checkers."""

from qifscan.cycle_curves.curves import curve as curve
from qifscan.dynamics.drive import Constant as Constant
from qifscan.dynamics.drive import Pulse as Pulse
from qifscan.dynamics.drive import Ramp as Ramp
from qifscan.dynamics.drive import Sampled as Sampled
from qifscan.dynamics.drive import Sine as Sine
from qifscan.dynamics.status import Status as Status
from qifscan.engine.checking import check_model as check_model
from qifscan.errors import QifscanError as QifscanError
from qifscan.errors import RunError as RunError
from qifscan.errors import RunInterrupted as RunInterrupted
from qifscan.errors import ScanError as ScanError
from qifscan.errors import StoreError as StoreError
from qifscan.explorer.serve import explore as explore
from qifscan.interop.auto import read_auto as read_auto
from qifscan.interop.parameters import from_pyrates as from_pyrates
from qifscan.interop.parameters import from_tvb as from_tvb
from qifscan.interop.pycobi import read_pycobi as read_pycobi
from qifscan.limit_cycles.branches import cycle_branches as cycle_branches
from qifscan.limit_cycles.cycles import cycles as cycles
from qifscan.limit_cycles.forced import forced_cycles as forced_cycles
from qifscan.models import models as models
from qifscan.plots.phase_plane import phase_plane as phase_plane
from qifscan.plots.show import show as show
from qifscan.reference.population import QIF as QIF
from qifscan.results.basins import basins as basins
from qifscan.results.basins import tipping as tipping
from qifscan.results.hysteresis import hysteresis as hysteresis
from qifscan.results.power import power_spectrum as power_spectrum
from qifscan.results.pulses import pulse_response as pulse_response
from qifscan.results.residence import residence as residence
from qifscan.runs.driver import run as run
from qifscan.runs.local_cluster import local_cluster as local_cluster
from qifscan.runs.plan import Plan as Plan
from qifscan.runs.plan import plan as plan
from qifscan.runs.trajectory import replay as replay
from qifscan.runs.trajectory import simulate as simulate
from qifscan.runs.verification import verify as verify
from qifscan.scan.protocol import Protocol as Protocol
from qifscan.scan.protocol import Traces as Traces
from qifscan.scan.scan import Scan as Scan
from qifscan.service.client import Client as Client
from qifscan.store.pack import pack as pack
from qifscan.store.pack import unpack as unpack
from qifscan.store.reader import open_scan as open_scan
from qifscan.store.theory_group import open_theory as open_theory
from qifscan.theory.branches import branch as branch
from qifscan.theory.equilibria import equilibria as equilibria
from qifscan.theory.linear_response import linear_response as linear_response
from qifscan.theory.plain import cusp as cusp
from qifscan.theory.plain import focus_line as focus_line
from qifscan.theory.plain import folds as folds
from qifscan.theory.special_points import special_points as special_points

__version__: str
__all__: list[str]
