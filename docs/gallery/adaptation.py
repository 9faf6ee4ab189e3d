"""A population that adapts: bistable, then bursting. Equilibria, cycles, and curves in two parameters."""

import numpy as np
from drawing import (
    BLUE,
    GOLD,
    GREY,
    INK,
    RED,
    canvas,
    draw_branch,
    draw_cycles,
    legend_once,
    letters,
    marks,
)

import qifscan as qs

MODEL = "qif_adaptation_alpha"
GIVEN = {"delta": 2.0, "J": 15.0 * np.sqrt(2.0), "tau_a": 10.0}


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(1, 3, (9.6, 3.1))
    branch = qs.branch(MODEL, alpha=1.0, **GIVEN, within=(-8.0, 4.0))
    cycles = qs.cycle_branches(
        MODEL, alpha=1.0, **GIVEN, within=(-4.2, 2.0), points=300 if full else 10
    )
    draw_branch(panels[0], branch, "eta", "r")
    draw_cycles(panels[0], cycles, "eta", "r_min", "r_max", colour=BLUE)
    panels[0].set(xlim=(-7, 3), ylim=(0, 4), xlabel=r"$\eta$", ylabel=r"rate $r\tau$")
    panels[0].set_title(r"$\alpha = 1$", loc="left")
    legend_once(panels[0], loc="upper left")
    plane(panels[1], full)
    burst(panels[2])
    letters(panels)
    rows = numbers()
    if full:
        fold = cycles.isel(
            point=(cycles["type"].values == 5) & (cycles["eta"].values > 1.0)
        )
        rows.append((r"fold of cycles, $\eta$", 1.5016663823, float(fold["eta"][0])))
        rows.append(
            ("fold of cycles, period, ms", 51.506818941, float(fold["period"][0]))
        )
    return figure, rows


def plane(axes, full):
    """Draw folds and Hopf points over the strength of the adaptation."""
    for kind, colour in (("LP", INK), ("HB", RED)):
        curve = qs.curve(
            MODEL,
            kind,
            through="alpha",
            within=(0.01, 1.6),
            points=96 if full else 48,
            **GIVEN,
        )
        for number in np.unique(curve["piece"].values):
            piece = curve.isel(point=curve["piece"].values == number)
            axes.plot(piece["eta"], piece["alpha"], color=colour, label=kind)
        marks(
            axes,
            curve.isel(point=np.isin(curve["type"].values, [-22, -21, -32])),
            "eta",
            "alpha",
        )
    axes.axhline(1.0, color=GREY, linewidth=0.7)
    axes.set(xlim=(-12, 2), ylim=(0, 1.6), xlabel=r"$\eta$", ylabel=r"$\alpha$")
    axes.set_title("folds and Hopf points", loc="left")
    legend_once(axes, loc="upper left")


def burst(axes):
    """Draw bursts between the Hopf points."""
    found = qs.simulate(
        MODEL,
        eta=-2.0,
        alpha=1.0,
        **GIVEN,
        t_end=160.0,
        dt=0.01,
        every=5,
        initial={"r": 1.0, "v": 0.0, "a": 8.0, "b": 0.0},
    )
    axes.plot(found["time"], found["r"], color=BLUE, linewidth=0.9)
    axes.plot(found["time"], found["a"] / 5.0, color=GOLD, label="a/5")
    axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
    axes.set_title(r"$\eta = -2$, $\alpha = 1$", loc="left")
    legend_once(axes, loc="upper right")


def numbers():
    """Return special points beside those of AUTO through PyRates, of adaptation and of depression."""
    found = qs.special_points(MODEL, along="eta", alpha=1.0, **GIVEN).sortby("eta")
    hopf = found.isel(point=found["type"].values == 3)
    fold = found.isel(point=found["type"].values == 2)
    slow = qs.special_points(
        "qif_depression_alpha", along="eta", alpha=0.05, **GIVEN
    ).sortby("eta")
    other = slow.isel(point=slow["type"].values == 3)
    return [
        (r"HB, lower: $\eta$", -4.0398183778, float(hopf["eta"][0])),
        ("HB, lower: period, ms", 36.495199871, float(hopf["period"][0])),
        (r"HB, upper: $\eta$", -0.53408102799, float(hopf["eta"][1])),
        ("HB, upper: period, ms", 14.647771066, float(hopf["period"][1])),
        (r"LP: $\eta$", -3.5487021359, float(fold["eta"][0])),
        (r"LP: $\eta$", -3.5374971941, float(fold["eta"][1])),
        (
            r"depression, $\alpha = 0.05$, HB: $\eta$",
            -5.658628643277,
            float(other["eta"][0]),
        ),
        (
            r"depression, $\alpha = 0.05$, HB: $\eta$",
            -5.018598071843,
            float(other["eta"][1]),
        ),
    ]
