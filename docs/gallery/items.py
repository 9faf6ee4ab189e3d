"""Working memory: an item that is loaded is silent, comes back by itself, or stays active."""

import numpy as np
from drawing import BLUE, GOLD, RED, canvas, legend_once, letters

import qifscan as qs

BACKGROUND = {1.2: "silent", 1.532: "spontaneous reactivation", 2.0: "persistent"}


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(2, 3, (9.6, 4.0), sharex=True, height_ratios=(1.5, 1.0))
    length = 3000.0 if full else 1800.0
    rest = qs.equilibria("qif_memory", eta_1=1.2, eta_2=1.2, eta_i=1.2).squeeze()
    alike = np.isclose(rest["r_1"].values, rest["r_2"].values, rtol=1e-6)
    start = {
        v: float(rest[v].values[alike][0])
        for v in qs.models()["qif_memory"].variable_names
    }
    common = {"t_end": length, "dt": 0.05, "every": 10, "initial": start}
    rows = []
    for k, (eta, name) in enumerate(BACKGROUND.items()):
        found = qs.simulate(
            "qif_memory",
            eta_1=eta,
            eta_2=eta,
            eta_i=eta,
            drive=qs.Pulse(amplitude=0.2, start=200.0, length=350.0),
            **common,
        )
        time = found["time"].values
        upper, lower = panels[:, k]
        upper.axvspan(200.0, 550.0, color=GOLD, alpha=0.25, linewidth=0)
        upper.plot(time, 1e3 * found["r_1"], color=BLUE, linewidth=0.8)
        upper.plot(time, 1e3 * found["r_2"], color=RED, linewidth=0.8)
        upper.set(ylim=(0, None))
        upper.set_title(f"$I_B = {eta:g}$: {name}", loc="left")
        lower.plot(time, found["u_1"], color=BLUE, label="$u_1$")
        lower.plot(time, found["x_1"], "--", color=BLUE, label="$x_1$")
        lower.set(ylim=(0, 1), xlabel="t (ms)")
        late = found.sel(time=slice(length - 800.0, None))
        rows.append(
            (
                f"mean rate of the loaded item at $I_B = {eta:g}$, Hz",
                None,
                float(1e3 * late["r_1"].mean()),
            )
        )
        rows.append(("of the other one, Hz", None, float(1e3 * late["r_2"].mean())))
    panels[0, 0].set_ylabel("rates (Hz)")
    panels[1, 0].set_ylabel("facilitation,\nresources")
    legend_once(panels[1, 0], loc="lower left", ncols=2)
    letters(panels[0])
    return figure, rows
