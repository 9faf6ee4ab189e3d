"""Gap junctions make a population oscillate: Bogdanov-Takens points and Hopf curves over g."""

import numpy as np
from drawing import GOLD, GREEN, GREY, INK, RED, canvas, legend_once, letters, marks

import qifscan as qs

DELTA = 1.0


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    points = 200 if full else 96
    figure, panels = canvas(1, 3, (9.6, 3.1))
    for axes, coupling in zip(panels[:2], (0.0, 8.0), strict=True):
        common = {
            "through": "g",
            "J": coupling,
            "delta": DELTA,
            "points": points,
            "within": (0.05, 6.0),
        }
        for kind, colour in (("LP", INK), ("HB", RED)):
            try:
                curve = qs.curve("qif_gap", kind, **common)
            except qs.ScanError:
                continue  # there is no such curve within the range
            for number in np.unique(curve["piece"].values):
                piece = curve.isel(point=curve["piece"].values == number)
                axes.plot(piece["eta"], piece["g"], color=colour, label=kind)
            marks(
                axes,
                curve.isel(point=np.isin(curve["type"].values, [-22, -21, -32])),
                "eta",
                "g",
            )
        axes.set(xlim=(-4, 6), ylim=(0, 6), xlabel=r"$\eta$", ylabel=r"$g$")
        axes.set_title(rf"$J = {coupling:g}$", loc="left")
        legend_once(axes, loc="upper right")
    panels[0].plot(
        0.0,
        2.0 * np.sqrt(2.0 * DELTA),
        "o",
        color=GREY,
        markersize=11,
        fillstyle="none",
        zorder=7,
    )
    panels[0].plot(0.75, 2.0, "o", color=GREEN, markersize=8, fillstyle="none", zorder=7)
    rhythm(panels[2])
    letters(panels)
    return figure, numbers()


def rhythm(axes):
    """Draw the rate beyond the Hopf point at J = 0, g = 2."""
    found = qs.simulate(
        "qif_gap",
        J=0.0,
        g=2.0,
        eta=3.0,
        t_end=20.0,
        dt=0.01,
        initial={"r": 0.2, "v": 0.0},
        every=2,
    )
    axes.plot(found["time"], found["r"], color=GOLD)
    axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
    axes.set_title(r"$J = 0$, $g = 2$, $\eta = 3$", loc="left")


def numbers():
    """Return the points that are known in closed form at J = 0."""
    plane = qs.special_points("qif_gap", along=("eta", "g"), J=0.0, delta=DELTA)
    turn = plane.isel(point=plane["type"].values == -21)
    hopf = qs.special_points("qif_gap", along="eta", J=0.0, g=2.0, delta=DELTA)
    hopf = hopf.isel(point=hopf["type"].values == 3)
    return [
        (
            r"Bogdanov-Takens point at $J = 0$, $g = 2\sqrt{2\Delta}$",
            2.0 * np.sqrt(2.0 * DELTA),
            float(turn["g"][0]),
        ),
        (r"Bogdanov-Takens point at $J = 0$, $\eta$", 0.0, float(turn["eta"][0])),
        (r"Hopf point at $J = 0$, $g = 2$: $\eta$", 0.75, float(hopf["eta"][0])),
        (
            r"Hopf point at $J = 0$, $g = 2$: $\omega = \sqrt 3$",
            np.sqrt(3.0),
            float(hopf["omega"][0]),
        ),
    ]
