"""One peer of benchmarks/bifurcation.py, in a process and an interpreter of its own.

python bifurcation_peers.py NAME slices.npz result.npz: follows the equilibria of every slice (J, alpha) of
the adaptation model in eta, from the lower branch up to the end of the window, and writes slice, type (2
fold, 3 Hopf point), eta and r of every special point, and the seconds of each slice, without the first run.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

Problem = dict[str, Any]
Found = tuple[list[tuple[int, int, float, float]], list[float]]


def start(p: Problem, k: int) -> tuple[float, list[float]]:
    """Return the input below the window at which an equilibrium begins, and this equilibrium."""
    low, high = 1e-4, 1.0
    for _ in range(200):
        r = math.sqrt(low * high)
        v = -p["delta"] / (2 * math.pi * r)
        eta = (math.pi * r) ** 2 - v * v - p["J"][k] * r + p["alpha"][k] * p["tau_a"] * r
        # On the lower branch eta rises with r; further up it can fall again, but is above the window's start.
        low, high = (r, high) if eta < p["window"][0] else (low, r)
    return eta, [r, v, p["alpha"][k] * p["tau_a"] * r, 0.0]


def jaxcont(p: Problem) -> Found:
    """Pseudo-arclength continuation with its default steps and events; double precision."""
    import jax
    import jax.numpy as jnp
    import jaxcont as jc

    jax.config.update("jax_enable_x64", True)

    def field(u: Any, eta: Any, args: Any) -> Any:
        r, v, a, b = u
        J, alpha = args
        return jnp.array(
            [
                p["delta"] / jnp.pi + 2 * r * v,
                v * v + eta + J * r - a - (jnp.pi * r) ** 2,
                b / p["tau_a"],
                alpha * r - (2 * b + a) / p["tau_a"],
            ]
        )

    settings = jc.ContinuationPar(max_steps=5000, newton_tol=1e-10)
    rows, seconds = [], []
    for k in [0, *range(len(p["J"]))]:
        eta, u = start(p, k)
        problem = jc.bif_problem(field, jnp.array(u), eta, args=(p["J"][k], p["alpha"][k]))
        begin = time.perf_counter()
        found = jc.continuation(
            problem, p_span=(eta, p["window"][1]), settings=settings, events=[jc.Fold(), jc.Hopf()]
        )
        seconds.append(time.perf_counter() - begin)
        if len(seconds) > 1:
            kinds = {"fold": 2, "hopf": 3}
            rows += [(k, kinds[e.kind.lower()], float(e.p), float(e.u[0])) for e in found.events]
    return rows, seconds[1:]


EQUATIONS = """
      SUBROUTINE FUNC(NDIM, U, ICP, PAR, IJAC, F, DFDU, DFDP)
      IMPLICIT NONE
      INTEGER, INTENT(IN) :: NDIM, ICP(*), IJAC
      DOUBLE PRECISION, INTENT(IN) :: U(NDIM), PAR(*)
      DOUBLE PRECISION, INTENT(OUT) :: F(NDIM)
      DOUBLE PRECISION, INTENT(INOUT) :: DFDU(NDIM, NDIM), DFDP(NDIM, *)
      DOUBLE PRECISION, PARAMETER :: PI = 3.14159265358979324D0
      F(1) = PAR(5)/PI + 2*U(1)*U(2)
      F(2) = U(2)**2 + PAR(1) + PAR(2)*U(1) - U(3) - (PI*U(1))**2
      F(3) = U(4)/PAR(4)
      F(4) = PAR(3)*U(1) - (2*U(4) + U(3))/PAR(4)
      END SUBROUTINE FUNC
      SUBROUTINE STPNT(NDIM, U, PAR, T)
      INTEGER, INTENT(IN) :: NDIM
      DOUBLE PRECISION, INTENT(INOUT) :: U(NDIM), PAR(*)
      DOUBLE PRECISION, INTENT(IN) :: T
      U(1:NDIM) = 0
      END SUBROUTINE STPNT
      SUBROUTINE BCND
      END SUBROUTINE BCND
      SUBROUTINE ICND
      END SUBROUTINE ICND
      SUBROUTINE FOPT
      END SUBROUTINE FOPT
      SUBROUTINE PVLS
      END SUBROUTINE PVLS
"""

CONSTANTS = """
parnames = {1: 'eta', 2: 'J', 3: 'alpha', 4: 'tau_a', 5: 'delta'}
unames = {1: 'r', 2: 'v', 3: 'a', 4: 'b'}
NDIM = 4, IPS = 1, IRS = 0, ILP = 1, ICP = ['eta']
NTST = 20, NCOL = 4, IAD = 3, ISP = 2, ISW = 1, IPLT = 0, NBC = 0, NINT = 0
NMX = 20000, NPR = 20000, MXBF = 10, IID = 2, ITMX = 8, ITNW = 5, NWTN = 3, JAC = 0
EPSL = 1e-9, EPSU = 1e-9, EPSS = 1e-7
DS = 0.01, DSMIN = 1e-6, DSMAX = 0.1, IADS = 1, NPAR = 12, THL = {}, THU = {}
"""


def pycobi(p: Problem) -> Found:
    """AUTO-07p through PyCoBi: its equations are compiled once, then one run a slice."""
    from pycobi import ODESystem

    Path("adapting.f90").write_text(EQUATIONS)
    Path("c.adapting").write_text(CONSTANTS)
    codes = {"LP": 2, "HB": 3}
    rows, seconds = [], []
    for k in [0, *range(len(p["J"]))]:
        eta, u = start(p, k)
        PAR = {"eta": eta, "J": p["J"][k], "alpha": p["alpha"][k], "tau_a": p["tau_a"], "delta": p["delta"]}
        system = ODESystem("adapting", auto_dir=None)
        begin = time.perf_counter()
        table, _ = system.run(
            c="adapting",
            PAR={name: float(value) for name, value in PAR.items()},
            U=dict(zip("rvab", map(float, u), strict=True)),
            UZSTOP={"eta": [float(p["window"][0]) - 100.0, float(p["window"][1])]},
        )
        seconds.append(time.perf_counter() - begin)
        if len(seconds) > 1:
            for kind, value, r in zip(
                table["bifurcation"].squeeze(), table["eta"].squeeze(), table["r"].squeeze(), strict=True
            ):
                if kind in codes:
                    rows.append((k, codes[kind], float(value), float(r)))
    return rows, seconds[1:]


PEERS = {"jaxcont": jaxcont, "pycobi": pycobi}


def main() -> None:
    name, source, target = sys.argv[1:]
    with np.load(source) as data:
        problem = {key: data[key] if data[key].ndim else data[key].item() for key in data}
    rows, seconds = PEERS[name](problem)
    columns = dict(zip(("slice", "type", "eta", "r"), zip(*rows, strict=True), strict=True)) if rows else {}
    empty: dict[str, Any] = {key: np.empty(0) for key in ("slice", "type", "eta", "r")}
    np.savez(target, seconds=seconds, **(empty | columns))


if __name__ == "__main__":
    main()
