"""Inhibition with a delay: the Hopf curves, the cycles that begin there, and what lies between."""

import numpy as np
from drawing import (
    BLUE,
    GOLD,
    GREEN,
    GREY,
    INK,
    RED,
    canvas,
    draw_cycles,
    legend_once,
    letters,
)

import qifscan as qs

COUPLING, DELTA, SHORT = -12.0, 0.3, 1.2

LONG_RUN = 3.3667788254
"""The period at eta = 3 and the shorter delay that SciPy's DOP853 settles on, one delay after another."""


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    curve = qs.curve(
        "qif_delay",
        "HB",
        through="delay",
        J=COUPLING,
        delta=DELTA,
        within=(0.02, 6.0),
        points=96 if full else 48,
    )
    figure, panels = canvas(2, 2, (9.6, 6.2))
    axes = panels[0, 0]
    for number in np.unique(curve["piece"].values):
        piece = curve.isel(point=curve["piece"].values == number)
        axes.plot(piece["delay"], piece["eta"], color=RED, linewidth=1.1)
    axes.axvline(SHORT, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 6), ylim=(0, 30), xlabel=r"$D/\tau$", ylabel=r"$\eta$")
    axes.set_title(rf"Hopf curves, $J = {COUPLING:g}$", loc="left")
    cycles = draw_branches(panels[0, 1], full)
    for axes, delay in zip(panels[1], (SHORT, 2.8), strict=True):
        panels[0, 0].plot(delay, 8.0, "^", color=BLUE, markersize=6)
        late = run(8.0, delay, 60.0)
        axes.plot(late["time"], late["r"], color=BLUE, linewidth=1.0)
        axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
        axes.set_title(rf"$D = {delay:g}$, $\eta = 8$", loc="left")
    letters(panels)
    return figure, numbers(curve, cycles)


def run(eta, delay, t_end, every=10):
    """Return the last 20 ms of a run."""
    found = qs.simulate(
        "qif_delay",
        J=COUPLING,
        delta=DELTA,
        delay=delay,
        eta=eta,
        t_end=t_end,
        dt=0.002,
        every=every,
        initial={"r": 0.2, "v": 0.0},
    )
    return found.sel(time=slice(t_end - 20.0, None))


def draw_branches(axes, full):
    """Draw the cycles at the shorter delay over eta, and the peaks of long runs; return the branches."""
    cycles = qs.cycle_branches(
        "qif_delay", J=COUPLING, delta=DELTA, delay=SHORT, within=(1.0, 12.0), points=200
    )
    if full:
        late = run(np.linspace(1.1, 11.9, 109), SHORT, 200.0, every=2)
        r = late["r"].transpose("time", "eta").values
        when, which = np.nonzero((r[1:-1] > r[:-2]) & (r[1:-1] >= r[2:]))
        axes.plot(
            late["eta"].values[which], r[1 + when, which], ".", color=GREY, markersize=1.5
        )
    draw_cycles(axes, cycles, "eta", "r_min", "r_max")
    for code, marker, colour, name in (
        (3, "s", RED, "HB"),
        (5, "o", BLUE, "LPC"),
        (7, "D", GOLD, "PD"),
        (8, "^", INK, "TR"),
    ):
        here = cycles.isel(point=cycles["type"].values == code)
        axes.plot(
            here["eta"], here["r_max"], marker, color=colour, markersize=5, label=name
        )
    axes.plot([], [], color=GREEN, label="cycles")
    axes.set(xlim=(1, 12), xlabel=r"$\eta$", ylabel=r"rate $r\tau$", yscale="log")
    axes.set_title(rf"cycles at $D = {SHORT:g}$", loc="left")
    legend_once(axes, loc="upper left", ncols=2)
    return cycles


def numbers(curve, cycles):
    """Return how well the curves fulfil the equation of the eigenvalues, and where cycles change."""
    r, v, delay, omega = (curve[name].values for name in ("r", "v", "delay", "omega"))
    root = 1j * omega
    left = (root - 2.0 * v) ** 2
    right = 2.0 * r * (COUPLING * np.exp(-root * delay) - 2.0 * np.pi**2 * r)
    worst = np.max(np.abs(left - right) / (np.abs(left) + np.abs(right)))
    balance = (np.pi * r) ** 2 - v**2 - COUPLING * r - curve["eta"].values
    return [
        (
            r"$(\lambda - 2v)^2 = 2r(Je^{-\lambda D} - 2\pi^2 r)$ on the curves, worst relative residual",
            0.0,
            worst,
        ),
        (
            "equilibrium on the curves, worst residual over $\\eta$",
            0.0,
            np.max(np.abs(balance / curve["eta"].values)),
        ),
        (
            "Hopf curves within $D \\leq 6$, $0 < \\eta$: pieces",
            None,
            float(curve.sizes["pieces"]),
        ),
        *of_cycles(cycles),
    ]


def of_cycles(cycles):
    """Return the period of one stable cycle, beside that of a long run by DOP853, and the bifurcations."""
    one = qs.cycles(
        "qif_delay",
        J=COUPLING,
        delta=DELTA,
        delay=SHORT,
        eta=3.0,
        starts=1,
        transient=60.0,
        window=30.0,
    )
    rows = [
        ("period of the cycle at $\\eta = 3$, by DOP853", LONG_RUN, one["period"].item())
    ]
    for code, name in (
        (8, "torus bifurcation"),
        (7, "period doubling"),
        (5, "fold"),
    ):
        here = np.sort(cycles["eta"].values[cycles["type"].values == code])
        rows += [
            (f"{name} of cycles at $D = {SHORT:g}$: $\\eta$", None, eta) for eta in here
        ]
    return rows
