"""Coupling with a delay: the Hopf curves of inhibition, and what lies between them."""

import numpy as np
from drawing import BLUE, RED, canvas, letters

import qifscan as qs

COUPLING, DELTA = -12.0, 0.3


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
    figure, panels = canvas(1, 3, (9.6, 3.1), width_ratios=(1.2, 1.0, 1.0))
    axes = panels[0]
    for number in np.unique(curve["piece"].values):
        piece = curve.isel(point=curve["piece"].values == number)
        axes.plot(piece["delay"], piece["eta"], color=RED, linewidth=1.1)
    axes.set(xlim=(0, 6), ylim=(0, 30), xlabel=r"$D/\tau$", ylabel=r"$\eta$")
    axes.set_title(rf"Hopf curves, $J = {COUPLING:g}$", loc="left")
    for axes, (delay, eta) in zip(panels[1:], ((1.2, 8.0), (2.8, 8.0)), strict=True):
        panels[0].plot(delay, eta, "^", color=BLUE, markersize=6)
        found = qs.simulate(
            "qif_delay",
            J=COUPLING,
            delta=DELTA,
            delay=delay,
            eta=eta,
            t_end=60.0,
            dt=0.002,
            every=10,
            initial={"r": 0.2, "v": 0.0},
        )
        late = found.sel(time=slice(40.0, None))
        axes.plot(late["time"], late["r"], color=BLUE, linewidth=1.0)
        axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
        axes.set_title(rf"$D = {delay:g}$, $\eta = {eta:g}$", loc="left")
    letters(panels)
    return figure, numbers(curve)


def numbers(curve):
    """Return how well points of the curves fulfil the equation of the eigenvalues."""
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
    ]
