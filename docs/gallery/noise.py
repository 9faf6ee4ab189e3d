"""Noise in each neuron: Cauchy noise is exactly a wider Lorentzian, Gaussian noise is not."""

import sys
from pathlib import Path

import numpy as np
from drawing import BLUE, GOLD, GREY, INK, RED, canvas, legend_once, letters

import qifscan as qs

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(1, 3, (9.6, 3.1))
    wedge(panels[0])
    rows = gaussian(panels[1], full)
    beside_network(panels[2], full)
    letters(panels)
    return figure, [*cauchy_numbers(), *rows]


def wedge(axes):
    """Draw the folds over the width of Cauchy noise."""
    curve = qs.curve(
        "qif_cauchy",
        "LP",
        through="gamma",
        delta=0.5,
        J=15.0,
        within=(0.0, 4.0),
        points=400,
    )
    axes.plot(curve["eta"], curve["gamma"], color=INK)
    cusp = curve.isel(point=curve["type"].values == -22)
    axes.plot(
        cusp["eta"], cusp["gamma"], "D", color=GOLD, markeredgecolor="white", markersize=7
    )
    axes.set(
        xlabel=r"$\eta$", ylabel=r"width $\gamma$ of the Cauchy noise", ylim=(0, 3.6)
    )
    axes.set_title(r"folds, $\Delta = 0.5$, $J = 15$", loc="left")


def cauchy_numbers():
    """Return the cusp, which is known in closed form."""
    scale = (15.0 / (8.0 * np.pi / 3.0 * 0.75**0.25)) ** 2
    found = qs.special_points("qif_cauchy", along=("eta", "gamma"), delta=0.5, J=15.0)
    cusp = found.isel(point=found["type"].values == -22)
    return [
        (r"cusp, $\gamma = (J/J_c)^2 - \Delta$", scale - 0.5, float(cusp["gamma"][0])),
        (
            r"cusp, $\eta = -\sqrt{3}\,(J/J_c)^2$",
            -np.sqrt(3.0) * scale,
            float(cusp["eta"][0]),
        ),
    ]


def rate_of_neurons(eta, delta, sigma, count):
    """Return the rate of uncoupled neurons: the Fokker-Planck equation, over the Lorentzian."""
    share = (np.arange(count) + 0.5) / count
    centres = eta + delta * np.tan(np.pi * (share - 0.5))
    if not sigma:
        return float(np.mean(np.sqrt(np.maximum(centres, 0.0)))) / np.pi
    by_noise = (720.0 / sigma**4) ** (1.0 / 6.0) + 1.5 * (
        12.0 * np.maximum(-centres, 0.0) / sigma**4
    ) ** 0.25
    by_current = np.where(
        centres > 0.0, 8.0 / np.sqrt(np.maximum(centres, 1e-300)), np.inf
    )
    z = np.linspace(0.0, 1.0, 601)[:, None] * np.minimum(by_noise, by_current)
    exponent = -centres * z**2 - sigma**4 * z**6 / 12.0
    top = exponent.max(axis=0)
    whole = np.trapezoid(np.exp(exponent - top), z, axis=0)
    return float(np.mean(np.exp(-top) / whole)) / (2.0 * np.sqrt(np.pi))


def gaussian(axes, full):
    """Draw the change of the rate by Gaussian noise: of neurons, with three pseudo-cumulants, with two."""
    sigma = np.linspace(0.0, 0.9, 19 if full else 7)
    plain = float(qs.equilibria("qif", eta=1.0, delta=0.5, J=0.0)["r"][0])
    found = qs.equilibria(
        "qif_cumulants", eta=1.0, delta=0.5, J=0.0, sigma=np.maximum(sigma, 1e-4)
    )
    rate = found["r"].where(found["stable"]).max("equilibrium").values
    count = 4000 if full else 1000
    still = rate_of_neurons(1.0, 0.5, 0.0, count)
    exact = plain + np.array([rate_of_neurons(1.0, 0.5, s, count) - still for s in sigma])
    axes.plot(
        sigma,
        exact,
        "o",
        color=INK,
        markerfacecolor="white",
        markersize=4.5,
        label="Fokker-Planck",
    )
    axes.plot(sigma, rate, color=RED, label="three pseudo-cumulants")
    axes.axhline(plain, color=GREY, linestyle="--", label="without noise")
    axes.set(xlabel=r"$\sigma$ of the Gaussian noise", ylabel=r"rate $r\tau$")
    axes.set_title(r"uncoupled, $\eta = 1$, $\Delta = 0.5$", loc="left")
    legend_once(axes, loc="upper left")
    k = int(np.argmin(np.abs(sigma - 0.6)))
    return [(rf"rate with Gaussian noise, $\sigma = {sigma[k]:g}$", exact[k], rate[k])]


def beside_network(axes, full):
    """Draw a network whose neurons have Gaussian noise under a step of current, and the mean field."""
    import networks

    t_end = 40.0
    wanted = networks.field_rates("qif_cumulants", t_end)
    found = networks.network_rates("qif_cumulants", 20_000 if full else 1000, t_end)
    time = (np.arange(len(wanted)) + 0.5) * networks.BIN
    axes.plot(time, found[: len(wanted)], color=BLUE, linewidth=1.0, label="network")
    axes.plot(time, wanted, "--", color=RED, linewidth=1.2, label="mean field")
    axes.set(xlabel=r"$t/\tau$", ylabel=r"rate $r\tau$", ylim=(0, None))
    axes.set_title(r"coupled, $\sigma = 0.5$", loc="left")
    legend_once(axes, loc="lower right")
