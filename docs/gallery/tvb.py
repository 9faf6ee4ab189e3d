"""Dumont and Gutkin's pair as The Virtual Brain has it, beside that program's own run."""

import numpy as np
from drawing import BLUE, RED, canvas, draw_branch, legend_once, letters
from scipy.integrate import solve_ivp

import qifscan as qs

THERE = {
    **{
        "I_e": 8.0,
        "Delta_e": 1.0,
        "eta_e": -5.0,
        "tau_e": 10.0,
        "I_i": 1.0,
        "Delta_i": 0.8,
        "eta_i": -5.0,
    },
    **{"tau_i": 9.0, "tau_s": 1.3, "J_ee": 3.0, "J_ei": 10.0, "J_ie": 12.0, "J_ii": 15.0},
}
NAMES = ("r_e", "V_e", "s_ee", "s_ei", "r_i", "V_i", "s_ie", "s_ii")
START = (0.05, -0.5, 0.1, 0.2, 0.02, -1.0, 0.3, 0.1)
END = (
    0.06363121908,
    -0.5015238204,
    0.1983854677,
    0.1925034986,
    0.02170773173,
    -0.2075420766,
    0.7935418707,
    0.2887552479,
)
"""After 40 ms, as tvb-library 2.10.0 prints it: `python benchmarks/programs.py`."""


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    scan = qs.from_tvb(
        "DumontGutkin", initial=dict(zip(NAMES, START, strict=True)), **THERE
    )
    wanted = qs.from_tvb(
        "DumontGutkin", initial=dict(zip(NAMES, END, strict=True)), **THERE
    ).protocol.initial
    model = qs.models()[scan.model]
    constants = model.constants(dict(scan.fixed))
    still = (0.0,) * len(model.variables)
    begin = [scan.protocol.initial[v] for v in model.variable_names]
    times = np.linspace(0.0, 120.0, 1201)
    solved = solve_ivp(
        lambda t, y: model.field(tuple(y), still, constants),
        (0.0, 120.0),
        begin,
        "DOP853",
        times,
        rtol=1e-10,
        atol=1e-12,
    )
    figure, panels = canvas(1, 2, (8.4, 3.1))
    at_40 = int(np.argmin(np.abs(times - 40.0)))
    rows = []
    for k, v in enumerate(model.variable_names):
        if v in ("r_e", "r_i"):
            panels[0].plot(
                times,
                1e3 * solved.y[k],
                color=RED if v == "r_e" else BLUE,
                label=f"${v}$",
            )
            panels[0].plot(
                40.0,
                1e3 * wanted[v],
                "o",
                color="k",
                markerfacecolor="white",
                markersize=6,
            )
        rows.append((f"`{v}` after 40 ms", wanted[v], float(solved.y[k, at_40])))
    panels[0].set(xlabel="t (ms)", ylabel="rate (Hz)", xlim=(0, 120), ylim=(0, 105))
    panels[0].set_title("one node; circles: TVB's run", loc="left")
    legend_once(panels[0], loc="upper right", ncols=2)
    diagram(panels[1], dict(scan.fixed), full)
    letters(panels)
    return figure, rows


def diagram(axes, given, full):
    """Draw the equilibria along the input to the excitatory population."""
    given = {name: value for name, value in given.items() if name != "eta_e"}
    branch = qs.branch(
        "qif_pair_couplings",
        along="eta_e",
        **given,
        within=(-10.0, 60.0),
        points=160 if full else 64,
    )
    draw_branch(axes, branch.assign(I_e=branch["eta_e"] + 5.0), "I_e", "r_e", 1e3)
    axes.set(xlabel=r"$I_e$", ylabel=r"$r_e$ (Hz)", xlim=(-5, 65), ylim=(0, None))
    axes.set_title("equilibria of these parameters", loc="left")
    legend_once(axes, loc="upper left")
