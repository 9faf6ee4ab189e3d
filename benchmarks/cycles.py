"""Time per limit cycle: branches over slices, beside AUTO-07p on one slice, and stable cycles by simulation.

AUTO is used where the environment variable AUTO_DIR names a folder of its source that has been built
(`./configure && make` there; it needs gfortran). Times are those of the process: a busy machine counts less.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import qifscan as qs

ADAPTING = {"delta": 2.0, "J": 15.0 * np.sqrt(2.0), "tau_a": 10.0, "alpha": 0.6 * np.sqrt(2.0)}
FOLDS = (-0.6194616461986, -4.5226318396183)
"""Folds of cycles of the adapting population, from meshes of 1024 intervals."""

EQUATIONS = """
subroutine func(ndim, u, icp, par, ijac, f, dfdu, dfdp)
  implicit none
  integer, intent(in) :: ndim, ijac, icp(*)
  double precision, intent(in) :: u(ndim), par(*)
  double precision, intent(out) :: f(ndim)
  double precision, intent(inout) :: dfdu(ndim, ndim), dfdp(ndim, *)
  double precision pi
  pi = 4d0*atan(1d0)
  f(1) = 2d0/pi + 2*u(1)*u(2)
  f(2) = u(2)**2 + par(1) + 15d0*sqrt(2d0)*u(1) - (pi*u(1))**2 - u(3)
  f(3) = u(4)/10d0
  f(4) = 0.6d0*sqrt(2d0)*u(1) - (2*u(4) + u(3))/10d0
end subroutine
subroutine stpnt(ndim, u, par, t)
  implicit none
  integer, intent(in) :: ndim
  double precision, intent(inout) :: u(ndim), par(*)
  double precision, intent(in) :: t
  double precision pi
  pi = 4d0*atan(1d0)
  u(1) = 0.1d0
  u(2) = -1d0/(pi*u(1))
  u(3) = 6d0*sqrt(2d0)*u(1)
  u(4) = 0d0
  par(1) = (pi*u(1))**2 - u(2)**2 - 15d0*sqrt(2d0)*u(1) + u(3)
end subroutine
subroutine bcnd
end subroutine
subroutine icnd
end subroutine
subroutine fopt
end subroutine
subroutine pvls
end subroutine
"""

CONSTANTS = """NDIM=4, IPS={ips}, IRS={irs}, ILP=1, ICP=[1, 11], NTST={ntst}, NCOL=4, IAD=3, ISP=2, ISW=1
NMX={nmx}, NPR=0, IID=0, ITMX=8, ITNW=5, NWTN=3, JAC=0, EPSL={eps}, EPSU={eps}, EPSS=1e-5
DS=0.02, DSMIN=1e-7, DSMAX={most}, IADS=1, THL={{11: 0.0}}, RL0=-12, RL1=6, UZSTOP={{11: [500.0]}}
"""


def process_time():
    """Seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def auto(folder, home):
    """Return cycles, seconds and folds of both branches of the adapting population by AUTO."""
    (folder / "sfa.f90").write_text(EQUATIONS)
    objects = sorted(str(path) for path in (home / "lib").glob("*.o"))
    command = ["gfortran", "-O3", "-fopenmp", "sfa.f90", *objects, "-o", "sfa.exe"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    environment = {**os.environ, "AUTO_DIR": str(home), "OMP_NUM_THREADS": "1"}

    def run(**constants):
        (folder / "fort.2").write_text(CONSTANTS.format(**constants))
        begin = process_time()
        subprocess.run(["./sfa.exe"], cwd=folder, env=environment, check=True, capture_output=True)
        rows = [line.split() for line in (folder / "fort.7").read_text().splitlines()]
        return [row for row in rows if row[0] != "0" and len(row) > 4], process_time() - begin

    found, _ = run(ips=1, irs=0, ntst=200, nmx=2000, eps="1e-8", most=0.1)
    hopf = [row[3] for row in found if row[2] == "3"]
    shutil.copy(folder / "fort.8", folder / "equilibria")
    cycles, took, folds = 0, 0.0, []
    for label in hopf:
        shutil.copy(folder / "equilibria", folder / "fort.3")
        rows, seconds = run(ips=2, irs=label, ntst=200, nmx=400, eps="1e-7", most=0.5)
        cycles, took = cycles + len(rows), took + seconds
        folds += [float(row[4]) for row in rows if row[2] == "5"]
    return cycles, took, np.array(folds)


def off(folds):
    """How far the folds found are from the known ones, at most."""
    return max(np.abs(np.array(folds) - fold).min() for fold in FOLDS)


def told(name, count, took, folds):
    each, error = 1e3 * took / count, off(folds)
    print(f"{name}: {count} cycles in {took:.1f} s, {each:.1f} ms each; folds off by {error:.0e}")


def beside_auto():
    begin = process_time()
    d = qs.cycle_branches("qif_adaptation_alpha", points=400, **ADAPTING)
    took, count = process_time() - begin, d.sizes["point"]
    folds = d["eta"].values[d["type"].values == 5]
    told("canard, 1 slice", count, took, folds)
    home = os.environ.get("AUTO_DIR")
    if not home or not (Path(home) / "lib").is_dir() or shutil.which("gfortran") is None:
        print("without AUTO: set AUTO_DIR to a folder where it has been built")
        return
    with tempfile.TemporaryDirectory() as folder:
        cycles, took, folds = auto(Path(folder), Path(home))
    told("AUTO, NTST 200", cycles, took, folds)


def main():
    qs.cycle_branches("qif_gap", J=0.0, g=2.0, points=2)
    beside_auto()
    for slices in (1, 16, 64):
        begin = process_time()
        J_ie = np.linspace(12.0, 18.0, slices)
        d = qs.cycle_branches("qif_pair", within=(-60.0, 30.0), points=100, J_ie=J_ie)
        took = process_time() - begin
        print(
            f"{slices:5} slices: {d.sizes['branches']} branches, {d.sizes['point']} cycles in {took:.1f} s, "
            f"{1e3 * took / d.sizes['point']:.1f} ms each, residual at most {float(d['residual'].max()):.0e}"
        )
    for points in (16, 256):
        begin = time.perf_counter()
        eta = np.linspace(4.0, 20.0, points)
        d = qs.cycles(
            "qif_synapse", J=-21.0, delta=0.3, tau_d=0.5, eta=eta, starts=2, transient=60.0, window=20.0
        )
        took = time.perf_counter() - begin
        print(f"{points:5} points: {int(d['count'].sum())} stable cycles by simulation in {took:.1f} s")


if __name__ == "__main__":
    main()
