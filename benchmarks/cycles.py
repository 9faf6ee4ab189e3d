"""Time per limit cycle: branches of the pair of populations over slices, and stable cycles by simulation."""

import time

import numpy as np

import qifscan as qs


def main():
    qs.cycle_branches("qif_gap", J=0.0, g=2.0, points=2)
    for slices in (1, 16, 64):
        begin = time.perf_counter()
        J_ie = np.linspace(12.0, 18.0, slices)
        d = qs.cycle_branches("qif_pair", within=(-60.0, 30.0), points=40, J_ie=J_ie)
        took = time.perf_counter() - begin
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
