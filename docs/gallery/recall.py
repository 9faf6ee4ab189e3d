"""Oscillations recall a memory and clear it: a sine on the two states of a bistable population."""

import tempfile
from pathlib import Path

import numpy as np
from drawing import BLUE, GREY, INK, RED, canvas, legend_once, letters
from matplotlib.colors import BoundaryNorm, ListedColormap

import qifscan as qs

GIVEN = {"tau": 20.0, "eta": -10.0, "delta": 2.0, "J": 15.0 * np.sqrt(2.0)}


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(1, 2, (8.6, 3.3), width_ratios=(1.0, 1.45))
    rows = resonance(panels[0])
    outcome_map(figure, panels[1], full)
    letters(panels)
    return figure, rows


def resonance(axes):
    """Draw how the upper and the lower state follow a weak sine, and return their numbers."""
    frequency = np.linspace(1.0, 100.0, 397)
    found = qs.linear_response("qif", frequency * 1e-3, **GIVEN)
    gain = found["r_gain"].values
    gain = gain if gain.shape[0] != len(frequency) else gain.T
    rest = qs.equilibria(**GIVEN)
    for k, colour, name in ((2, RED, "upper state"), (0, BLUE, "lower state")):
        axes.plot(frequency, gain[k] * 1e3, color=colour, label=name)
    peak = frequency[int(np.argmax(gain[2]))]
    axes.axvline(peak, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="frequency (Hz)",
        ylabel="rate per unit of input (Hz)",
        xlim=(0, 100),
        ylim=(0, None),
    )
    axes.set_title("resonance", loc="left")
    legend_once(axes, loc="upper right")
    rates = 1e3 * rest["r"].values
    real, imag = (
        1e3 * rest["eigenvalue_real"].values[2, 1],
        1e3 * abs(rest["eigenvalue_imag"].values[2, 1]),
    )
    return [
        ("lower state, Hz (the paper: 6)", 5.737, rates[0]),
        ("saddle, Hz", 33.445, rates[1]),
        ("upper state, Hz (the paper: 73)", 72.874, rates[2]),
        ("decay of the upper state, 1/s", -21.84, real),
        ("angular frequency there, 1/s", 234.66, imag),
        ("resonance, Hz (the paper: about 40)", 37.19, float(peak)),
    ]


def outcome_map(figure, axes, full):
    """Draw where the population is in the second second of a sine, from each of its two states."""
    size = (72, 48) if full else (20, 12)
    frequency, amplitude = (
        np.linspace(1.0, 80.0, size[0]),
        np.linspace(0.25, 12.0, size[1]),
    )
    scan = qs.Scan(
        axes={
            "drive_period": 1e3 / frequency[::-1],
            "drive_amplitude": amplitude,
            "initial": ["down", "up"],
        },
        fixed=GIVEN,
        drive=qs.Sine(amplitude=1.0, period=25.0),
        protocol=qs.Protocol(transient=1000.0, window=1000.0),
        observables=["r_mean"],
    )
    with tempfile.TemporaryDirectory() as folder:
        found = qs.run(
            scan, Path(folder) / "recall.zarr", client="serial", progress=None
        ).load()
    mean = (
        found["r_mean"]
        .transpose("initial", "drive_amplitude", "drive_period")
        .values[..., ::-1]
    )
    up = mean > 1e-3 * 33.445
    kind = np.select([~up[0] & up[1], up[0] & up[1], ~up[0] & ~up[1]], [0, 1, 2], 3)
    colours = ListedColormap(["#e9e9e9", "#9fd3a8", "#a9c4e6", "#f2b6a8"])
    axes.pcolormesh(
        frequency,
        amplitude,
        kind,
        cmap=colours,
        norm=BoundaryNorm([-0.5, 0.5, 1.5, 2.5, 3.5], 4),
    )
    for text, colour in zip(
        ("both stay", "recall: both end up", "clearance: both end down"),
        colours.colors,
        strict=False,
    ):
        axes.plot([], [], "s", color=colour, label=text)
    for kind, colour, name in (
        ("LPC", INK, "fold of the forced cycle"),
        ("PD", RED, "its period doubling"),
    ):
        for x, y in bounds(kind, full):
            axes.plot(x, y, color=colour, label=name)
    axes.axvline(37.19, color=INK, linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="frequency (Hz)",
        ylabel="amplitude of the sine",
        xlim=(1, 80),
        ylim=(0.25, 12),
    )
    axes.set_title("under a sine, after a second", loc="left")
    legend_once(axes, loc="upper right", frameon=True, framealpha=0.9)


def bounds(kind, full):
    """Return frequencies and amplitudes along the curves of a bifurcation of responses of one period."""
    found = qs.curve(
        "qif",
        kind,
        drive=qs.Sine(amplitude=1.0, period=25.0),
        through="drive_period",
        at=[15.0, 30.0, 100.0] if full else 50.0,
        between=(0.0, 12.0),
        within=(12.5, 1000.0),
        points=300 if full else 15,
        **GIVEN,
    )
    return [
        (1e3 / part["drive_period"].values, part["drive_amplitude"].values)
        for number in np.flatnonzero(found["duplicate_of"].values < 0)
        for part in [found.isel(point=found["piece"].values == number)]
    ]
