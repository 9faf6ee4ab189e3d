"""Draw where the plain model with a delay is stable, and its Hopf curves, into docs/figures/delay.png.

Grey: the number of eigenvalues to the right of the axis, by its exact count at 252,000 points. Lines: Hopf
curves in closed form. The two are computed apart from each other.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import qifscan as qs

OUTPUT = Path(__file__).parents[1] / "docs" / "figures" / "delay.png"
LONGEST, HIGHEST = 6.0, 40.0
COLOURS = {1: ("supercritical", "tab:blue"), 2: ("subcritical", "tab:red")}


def panel(axes, J):
    """Draw the plane of delay and eta at one coupling; return the mesh."""
    delay, eta = np.linspace(0.005, LONGEST, 600), np.linspace(-2.0, HIGHEST, 420)
    rest = qs.equilibria("qif_delay", eta=eta, delay=delay, J=J)
    unstable = rest["unstable_dimensions"].isel(equilibrium=0)
    mesh = axes.pcolormesh(delay, eta, unstable, cmap="Greys", vmin=0, vmax=10, rasterized=True)
    curve = qs.curve("qif_delay", "HB", through="delay", J=J, within=(0.001, LONGEST))
    for number in range(curve.sizes["pieces"]):
        one = curve.isel(point=curve["piece"] == number)
        for code, (name, colour) in COLOURS.items():
            along = one["eta"].where(one["criticality"] == code)
            axes.plot(one["delay"], along, color=colour, lw=1, label=name if number == 0 else None)
    turns = curve.isel(point=curve["type"] == -32)
    axes.plot(turns["delay"], turns["eta"], "ko", ms=3, label="l1 = 0")
    axes.set(xlim=(0, LONGEST), ylim=(-2, HIGHEST), xlabel="delay (ms)", title=f"J = {J:g}")
    return mesh


def main():
    """Draw both panels."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axes, J in zip(panels, (-12.0, -5.0), strict=True):
        mesh = panel(axes, J)
    panels[0].set_ylabel("eta")
    panels[0].legend(loc="upper right", fontsize=8)
    figure.colorbar(mesh, ax=panels, label="eigenvalues to the right of the axis")
    figure.savefig(OUTPUT, dpi=120)


if __name__ == "__main__":
    main()
