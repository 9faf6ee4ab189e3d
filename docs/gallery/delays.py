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

MEETINGS = {
    "tori": (-56, (3.99906782, 5.45131172, 7.33917224, 9.84621653)),
    "folds": (-61, (3.82061839, 11.99863142)),
}
"""Where curves of tori end in a resonance, and where those of folds meet period doublings: eta on them, in
full."""


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
    figure, panels = canvas(3, 2, (9.6, 9.0))
    axes = panels[0, 0]
    for number in np.unique(curve["piece"].values):
        piece = curve.isel(point=curve["piece"].values == number)
        axes.plot(piece["delay"], piece["eta"], color=RED, linewidth=1.1)
        panels[0, 1].plot(
            piece["delay"], piece["eta"], color=RED, linewidth=1.1, label="HB"
        )
    axes.axvline(SHORT, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 6), ylim=(0, 30), xlabel=r"$D/\tau$", ylabel=r"$\eta$")
    axes.set_title(rf"Hopf curves, $J = {COUPLING:g}$", loc="left")
    plane = draw_plane(panels[0, 1], full)
    cycles = draw_branches(panels[1, 0], full)
    places = (8.0, SHORT), (9.8, SHORT), (8.0, 2.8)
    for axes, (eta, delay) in zip(panels.flat[3:], places, strict=True):
        for other in panels[0]:
            other.plot(delay, eta, "^", color=BLUE, markersize=6)
        late = run(eta, delay, 60.0)
        axes.plot(late["time"], late["r"], color=BLUE, linewidth=1.0)
        axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
        axes.set_title(rf"$D = {delay:g}$, $\eta = {eta:g}$", loc="left")
    letters(panels)
    return figure, numbers(curve, cycles) + of_plane(plane)


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


def draw_plane(axes, full):
    """Draw the curves of bifurcations of cycles over delay and eta, and return them; at small size but a
    piece of one, of period doublings."""
    kinds = ("LPC", BLUE), ("PD", GOLD), ("NS", INK)
    curves = {kind: along_delay(kind, full) for kind, _ in kinds if full or kind == "PD"}
    for kind, colour in kinds:
        for _, piece in curves[kind].groupby("piece") if kind in curves else ():
            name = "TR" if kind == "NS" else kind
            axes.plot(piece["delay"], piece["eta"], color=colour, label=name)
    for code, marker, name in ((-55, "s", "R1"), (-56, "o", "R2"), (-61, "D", "LPPD")):
        for found in curves.values():
            here = found.isel(point=found["type"].values == code)
            axes.plot(
                here["delay"],
                here["eta"],
                marker,
                color=INK,
                markerfacecolor="white",
                markersize=5,
                label=name,
                zorder=4,
            )
    axes.axvline(SHORT, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0.9, 2.4), ylim=(2.5, 13.5), xlabel=r"$D/\tau$", ylabel=r"$\eta$")
    axes.set_title("bifurcations of cycles", loc="left")
    legend_once(axes, loc="lower left")
    return curves


def along_delay(kind, full):
    """Return curves of bifurcations of cycles."""
    return qs.curve(
        "qif_delay",
        kind,
        through="delay",
        J=COUPLING,
        delta=DELTA,
        at=(SHORT, 1.5, 1.9, 2.2) if full else SHORT,
        between=(0.0, 14.0) if full else (1.0, 9.0),
        within=(0.5, 3.0),
        points=70 if full else 4,
    )


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


def of_plane(curves):
    """Return where period doublings meet other bifurcations, beside where the curves of those meet them."""
    rows, doublings = [], curves["PD"]
    for name, (code, others) in MEETINGS.items():
        marked = doublings["eta"].values[doublings["type"].values == code]
        for other in others:
            near = marked[np.abs(marked - other) < 1e-3]
            text = f"period doublings meet {name} at $\\eta = {other:.4f}$, as both curves have it"
            rows += [(text, other, near[0])] if len(near) else []
    return rows
