"""Excitabilities from two Lorentzians: more folds, and up to three stable states side by side."""

import numpy as np
from drawing import BLUE, INK, RED, canvas, draw_branch, legend_once, letters

import qifscan as qs

GIVEN = {"delta_1": 0.3, "delta_2": 0.3, "share": 0.5}


def made(full):
    """Return the figure, and rows of numbers: what, published or independent, found."""
    figure, panels = canvas(1, 3, (9.6, 3.1))
    plane(panels[0], full)
    branch = qs.branch(
        "qif_bimodal",
        along="eta_2",
        eta_1=-9.0,
        J=20.0,
        **GIVEN,
        within=(-25.0, 5.0),
        points=200,
    )
    draw_branch(
        panels[1], branch.assign(r=0.5 * (branch["r_1"] + branch["r_2"])), "eta_2", "r"
    )
    panels[1].set(
        xlabel=r"$\eta_2$", ylabel=r"rate $r\tau$ of all", xlim=(-25, 5), ylim=(0, None)
    )
    panels[1].set_title(r"$J = 20$, $\eta_1 = -9$", loc="left")
    legend_once(panels[1], loc="upper left")
    rows = states(panels[2])
    letters(panels)
    return figure, rows


def plane(axes, full):
    """Draw folds in the plane of the two centres: along each of them, slices of the other."""
    across = np.linspace(-25.0, 5.0, 301 if full else 61)
    for along, slices in (("eta_2", "eta_1"), ("eta_1", "eta_2")):
        found = qs.special_points(
            "qif_bimodal", along=along, J=20.0, **{slices: across}, **GIVEN
        )
        folds = found["type"].values == 2
        at = {along: found[along].values, slices: across[found["slice"].values]}
        axes.plot(
            at["eta_1"][folds],
            at["eta_2"][folds],
            ".",
            color=INK,
            markersize=2.6,
            label="LP",
        )
    axes.plot(across, across, color="#cccccc", linewidth=0.8, zorder=0)
    axes.set(xlim=(-20, 4), ylim=(-25, 5), xlabel=r"$\eta_1$", ylabel=r"$\eta_2$")
    axes.set_title("folds of $J = 20$", loc="left")
    legend_once(axes, loc="lower right", markerscale=3)


def states(axes):
    """Draw runs from two starts at one set of parameters; return what is known of equal halves."""
    for start, colour in (((0.05, -1.0), BLUE), ((2.0, 0.0), RED)):
        begin = {"r_1": start[0], "v_1": start[1], "r_2": start[0], "v_2": start[1]}
        found = qs.simulate(
            "qif_bimodal",
            eta_1=-9.0,
            eta_2=-7.0,
            J=20.0,
            **GIVEN,
            t_end=25.0,
            dt=0.01,
            every=2,
            initial=begin,
        )
        axes.plot(found["time"], found["r_1"], color=colour, linewidth=1.0)
        axes.plot(found["time"], found["r_2"], "--", color=colour, linewidth=1.0)
    axes.set(xlabel=r"$t/\tau$", ylabel=r"rates $r_1\tau$, $r_2\tau$", ylim=(0, None))
    axes.set_title(r"$\eta_1 = -9$, $\eta_2 = -7$", loc="left")
    # Of two equal halves the folds are those of the plain model, in closed form.
    plain = np.sort(qs.folds(J=20.0, delta=1.0)["eta"].values.ravel())
    equal = {"delta_1": 1.0, "delta_2": 1.0, "share": 0.5, "J": 20.0}
    rows = []
    for name, wanted in zip(
        ("lower", "upper"), (-10.156852905728538, -3.8968506270330206), strict=True
    ):
        found = qs.special_points("qif_bimodal", along="eta_2", eta_1=wanted, **equal)
        folds = found["eta_2"].values[found["type"].values == 2]
        rows.append(
            (
                f"{name} fold of equal halves, $\\eta$",
                wanted,
                float(folds[np.argmin(np.abs(folds - wanted))]),
            )
        )
    return [
        *rows,
        ("folds of the plain model, $\\eta$", -10.156852905728538, float(plain[0])),
    ]
