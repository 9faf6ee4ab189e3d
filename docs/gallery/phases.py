"""The phase diagram of the plain model, and what its two equilibria do when they are pushed."""

import numpy as np
from drawing import BLUE, GOLD, GREY, INK, RED, canvas, letters

import qifscan as qs


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    folds = qs.folds(J=15.0)
    curve = qs.curve("qif", "LP", through="J", points=200 if full else 48)
    cusp = qs.cusp()
    figure, panels = canvas(1, 3, (9.6, 3.1), width_ratios=(1.15, 1.0, 1.0))
    axes = panels[0]
    order = curve.sizes["point"]
    eta, coupling = curve["eta"].values, curve["J"].values
    turn = int(np.argmin(coupling))
    for part in (slice(0, turn + 1), slice(turn, order)):
        axes.plot(eta[part], coupling[part], color=INK)
    low, high = (
        np.interp(np.linspace(8.0, 25.0, 200), *sides(coupling, eta, turn, k))
        for k in (0, 1)
    )
    axes.fill_betweenx(
        np.linspace(8.0, 25.0, 200), low, high, color=GOLD, alpha=0.25, linewidth=0
    )
    axes.text(-9.3, 19.5, "bistable", color="#8a6210")
    focus = qs.focus_line(J=np.linspace(0.0, 25.0, 100))
    axes.plot(focus["eta"].values, focus["J"].values, "--", color=GREY)
    axes.text(-8.5, 2.4, "node | focus", color=GREY)
    axes.plot(
        cusp["eta"], cusp["J"], "D", color=GOLD, markeredgecolor="white", markersize=7
    )
    axes.plot(-5.0, 15.0, "^", color=RED, markersize=7)
    axes.set(
        xlim=(-15, 3),
        ylim=(0, 25),
        xlabel=r"$\bar\eta/\Delta$",
        ylabel=r"$J/\sqrt{\Delta}$",
    )
    axes.set_title("equilibria", loc="left")
    rows = [
        (
            "lower fold at $J = 15$, $\\eta$",
            -5.7435271616578158,
            float(np.min(folds["eta"])),
        ),
        (
            "upper fold at $J = 15$, $\\eta$",
            -3.1361340861956852,
            float(np.max(folds["eta"])),
        ),
        ("cusp, $\\eta$", -np.sqrt(3.0), float(cusp["eta"])),
        ("cusp, $J$", 7.7962170366669886, float(cusp["J"])),
    ]
    rows += pushed(panels[1:], full)
    letters(panels)
    return figure, rows


def sides(coupling, eta, turn, side):
    """Return the coupling, ascending, and eta of one of the two curves of folds."""
    part = slice(turn, None, -1) if side == 0 else slice(turn, None)
    order = np.argsort(coupling[part])
    return coupling[part][order], eta[part][order]


def pushed(panels, full):
    """Draw the rate under a step and under a sine, from the lower equilibrium."""
    rest = qs.equilibria(eta=-5.0, J=15.0).isel(equilibrium=0)
    start = {"r": float(rest["r"]), "v": float(rest["v"])}
    common = {
        "eta": -5.0,
        "J": 15.0,
        "initial": start,
        "precision": "float64",
        "every": 1,
        "dt": 0.01,
    }
    step = qs.simulate(drive=qs.Pulse(amplitude=3.0, length=30.0), t_end=40.0, **common)
    sine = qs.simulate(drive=qs.Sine(amplitude=3.0, period=100.0), t_end=100.0, **common)
    for axes, found, current, title in (
        (panels[0], step, lambda t: 3.0 * (t < 30.0), "a step of current"),
        (panels[1], sine, lambda t: 3.0 * np.sin(np.pi * t / 50.0), "a slow sine"),
    ):
        time = found["time"].values
        axes.plot(time, found["r"].values, color=RED, linewidth=1.1)
        axes.plot(time, 0.18 * current(time) - 1.05, color=BLUE, linewidth=1.0)
        axes.text(time[-1], -0.75, "I(t)", color=BLUE, ha="right")
        axes.set(
            xlabel=r"$t/\tau$",
            ylabel=r"rate $r\tau$",
            ylim=(-1.75, 3.1),
            yticks=[0, 1, 2, 3],
        )
        axes.set_title(title, loc="left")
    r, t = step["r"].values, step["time"].values
    peak, height = highest(t, r)
    _, under_sine = highest(sine["time"].values, sine["r"].values)
    return [
        ("first peak after the step, $r$", 2.882735623, height),
        ("its time", 2.788434, peak),
        ("$r$ at the end of the step", 1.37135684, float(np.interp(30.0, t, r))),
        ("highest $r$ under the sine", 2.5857760828, under_sine),
    ]


def highest(t, r):
    """Return where the first highest sample's parabola is highest, and how high."""
    k = int(np.argmax(r))
    a, b, c = np.polyfit(t[k - 1 : k + 2] - t[k], r[k - 1 : k + 2], 2)
    return float(t[k] - b / (2.0 * a)), float(c - b * b / (4.0 * a))
