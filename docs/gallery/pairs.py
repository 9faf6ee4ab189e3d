"""Excitatory and inhibitory populations with synapses, in a network of pairs that are all alike."""

import numpy as np
from drawing import (
    BLUE,
    GOLD,
    INK,
    RED,
    canvas,
    draw_branch,
    draw_cycles,
    legend_once,
    letters,
    marks,
    runs,
)

import qifscan as qs

AUTO = {
    0.0: ((5.99318545, 37.32589), (65.550570301, 5.85145)),
    15.0: ((2.87582115, 64.4327), (11.637770215, 18.37908)),
    18.0: ((2.532663664, 61.34099), (10.584437938, 20.80363)),
}
FOLDS = (8.03526, 8.03767, 9.80448, 10.0985)
"""Of cycles at eps = 15, by AUTO-07p with NTST = 150, NCOL = 5."""

MODEL = "qif_pair_synapse"


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(1, 3, (9.6, 3.2), width_ratios=(1.0, 1.0, 1.0))
    plane(panels[0], full)
    folds = [
        diagram(axes, value, full)
        for axes, value in zip(panels[1:], (0.0, 15.0), strict=True)
    ][1]
    letters(panels)
    rows = numbers()
    for wanted in FOLDS if full else ():
        nearest = float(folds[np.argmin(np.abs(folds - wanted))])
        rows.append(
            (
                rf"$\varepsilon = 15$, fold of cycles near {wanted:g}: $I_e$",
                wanted,
                nearest,
            )
        )
    return figure, rows


def plane(axes, full):
    """Draw the Hopf points in the plane of the input and of what comes from other pairs."""
    curve = qs.curve(
        MODEL,
        "HB",
        along="eta_e",
        through="eps",
        within=(0.0, 40.0),
        points=96 if full else 48,
    )
    curve = curve.assign(I_e=curve["eta_e"] + 5.0)
    for number in np.unique(curve["piece"].values):
        piece = curve.isel(point=curve["piece"].values == number)
        for part, below in runs(piece["l1"].values < 0.0):
            kind = "supercritical" if below else "subcritical"
            axes.plot(
                piece["I_e"][part],
                piece["eps"][part],
                "-" if below else "--",
                color=RED,
                label=f"HB, {kind}",
            )
    marks(axes, curve, "I_e", "eps")
    known = [(x, e) for e, points in AUTO.items() for x, _ in points]
    axes.plot(
        *np.transpose(known),
        "o",
        color=INK,
        markerfacecolor="white",
        markersize=5,
        label="AUTO-07p",
        zorder=6,
    )
    axes.set(xlim=(-2, 75), ylim=(0, 40), xlabel=r"$I_e$", ylabel=r"$\varepsilon$")
    axes.text(20.0, 3.2, "oscillation", color="#1d6b40")
    axes.set_title("Hopf points", loc="left")
    legend_once(axes, loc="upper right")


def diagram(axes, eps, full):
    """Draw equilibria and cycles along the input at one strength of what comes from other pairs.

    Return the folds of cycles.
    """
    branch = qs.branch(MODEL, along="eta_e", eps=eps, within=(-7.0, 75.0), points=96)
    cycles = qs.cycle_branches(
        MODEL, along="eta_e", eps=eps, within=(-7.0, 75.0), points=70 if full else 8
    )
    branch = branch.assign(I_e=branch["eta_e"] + 5.0)
    cycles = cycles.assign(I_e=cycles["eta_e"] + 5.0)
    draw_branch(axes, branch, "I_e", "r_e", 1e3)
    draw_cycles(axes, cycles, "I_e", "r_e_min", "r_e_max", 1e3, BLUE)
    limit = cycles.isel(point=cycles["type"].values == 5)
    axes.plot(
        limit["I_e"],
        1e3 * limit["r_e_max"],
        "v",
        color=GOLD,
        markersize=5,
        linestyle="",
        label="LPC",
    )
    right = 70.0 if eps == 0.0 else 14.0
    axes.set(xlim=(-1, right), xlabel=r"$I_e$", ylabel=r"$r_e$ (Hz)")
    axes.set_title(rf"$\varepsilon = {eps:g}$", loc="left")
    legend_once(axes, loc="lower right" if eps == 0.0 else "upper left")
    return limit["I_e"].values


def numbers():
    """Return the Hopf points and their periods beside AUTO's."""
    found = qs.special_points(MODEL, along="eta_e", eps=[*AUTO])
    rows = []
    for k, (eps, wanted) in enumerate(AUTO.items()):
        here = found.isel(point=found["slice"].values == k).sortby("eta_e")
        for j, (current, period) in enumerate(wanted):
            rows.append(
                (
                    rf"$\varepsilon = {eps:g}$, HB {j + 1}: $I_e$",
                    current,
                    float(here["eta_e"][j]) + 5.0,
                )
            )
            rows.append(
                (
                    rf"$\varepsilon = {eps:g}$, HB {j + 1}: period, ms",
                    period,
                    float(here["period"][j]),
                )
            )
    return rows
