# %% [markdown]
# # From equilibria to bursting
#
# A population that adapts can burst. This notebook follows the mean field with spike-frequency adaptation
# (Gast, Schmidt, Knosche, Neural Comput. 32, 1615 (2020)) from its equilibria over their Hopf points and
# the limit cycles that are born there to the region of bursting in the plane of input and adaptation: exact
# theory first, then simulation over it.
#
# It is a percent script: run it as it is, or open it as a notebook with jupytext.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import qifscan as qs

size = int(os.environ.get("QIFSCAN_NOTEBOOK_SIZE", "96"))
population = {"delta": 2.0, "J": 15.0 * np.sqrt(2.0), "tau_a": 10.0}
adapting = {"model": "qif_adaptation_alpha", **population}

# %% [markdown]
# ## Where can it rest?
#
# eta enters one equation alone, additively, so every equilibrium is known. At alpha = 1 there is a range of
# eta in which none is stable: the population has to do something else.

# %%
rest = qs.equilibria(**adapting, alpha=1.0, eta=[-5.0, -4.0, -2.0, 0.0])
for eta, count, stable in zip(rest["eta"], rest["count"], rest["stable"].sum("equilibrium"), strict=True):
    print(f"eta = {float(eta):4.1f}: {int(count)} equilibrium, {int(stable)} stable")

# %% [markdown]
# ## Where does that change?
#
# Every fold (LP) and Hopf point (HB) along eta. Both Hopf points are subcritical: the cycles that are born
# there are unstable, and what is stable is far away.

# %%
points = qs.special_points(**adapting, alpha=1.0, along="eta")
hopf = points.isel(point=points["type"] == 3)
names = points["criticality"].attrs["flag_meanings"].split()
for eta, period, kind in zip(hopf["eta"], hopf["period"], hopf["criticality"], strict=True):
    print(f"HB at eta = {float(eta):.4f}, period {float(period):.2f} ms, {names[int(kind)]}")

# %% [markdown]
# ## The branch, and its cycles
#
# Solid is stable, dashed is not; of a cycle the least and the greatest rate are drawn. The branch of cycles
# from the upper Hopf point turns at a fold of cycles (LPC) and is stable from there on, down to a second fold
# near the lower Hopf point. Between the upper fold and the upper Hopf point bursts and a stable equilibrium
# exist side by side. At the lower fold small cycles grow to large ones within a hair's breadth of eta, a
# canard explosion; grey circles are what the finer mesh does not confirm there.

# %%
branch = qs.branch(**adapting, alpha=1.0)
cycles = qs.cycle_branches(**adapting, alpha=1.0, within=(-4.3, 2.0), points=200 if size > 48 else 2 * size)
figure = qs.show(branch, over=[cycles])
figure.savefig("bursting-branch.png")
folds = cycles.isel(point=cycles["type"] == 5)
print("LPC at eta =", folds["eta"].values.round(4), "with a period of", folds["period"].values.round(2), "ms")
figure

# %% [markdown]
# ## A burst
#
# Simulation finds the stable cycle, and collocation gives its period. The population fires a volley that
# rings down onto its active state, until the adaptation has built up and silences it, and has to decay.

# %%
burst = qs.cycles(**adapting, alpha=1.0, eta=-2.0, starts=1)
period = float(burst["period"].squeeze())
trace = qs.simulate(**adapting, alpha=1.0, eta=-2.0, t_end=300.0 + 3.0 * period)
trace = trace.sel(time=slice(300.0, None))
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6.4, 3.8), layout="constrained")
above.plot(trace["time"], trace["r"], "C3", linewidth=1)
below.plot(trace["time"], trace["a"], "C0", linewidth=1)
above.set(ylabel="rate (1/ms)", title=f"eta = -2, alpha = 1: one burst every {period:.2f} ms")
below.set(ylabel="adaptation", xlabel="time (ms)")
figure.savefig("bursting-trace.png")

# %% [markdown]
# In the plane of rate and potential a burst winds around the state that adaptation would allow if it were at
# rest at each rate, until the adaptation itself has moved it away.

# %%
figure = qs.phase_plane(**adapting, alpha=1.0, eta=-2.0, start={"r": 0.1, "v": -1.0}, t_end=2.0 * period)
figure.savefig("bursting-plane.png")
figure

# %% [markdown]
# ## The fold of cycles in two parameters
#
# At each of a few values of eta, the stable cycle beside the upper Hopf point is followed to lower alpha,
# until it turns.

# %%
values, most = (np.linspace(-4.0, 6.0, 6), 100) if size > 48 else (np.array([6.0]), 48)
upper = qs.special_points(**adapting, along="alpha", eta=values)
upper = upper.isel(point=(upper["type"] == 3) & (upper["r"] > 1.0))
turning = [
    qs.cycle_branches(
        **adapting,
        along="alpha",
        eta=float(eta),
        at=float(at),
        within=(0.5, float(at) + 0.01),
        points=most,
        starts=1,
    )
    for eta, at in zip(values, upper["alpha"], strict=True)
]

# %% [markdown]
# ## The region of bursting
#
# The scan of `scans/bursting.toml`: eta is swept up and down at every alpha. Over it stand the exact curves
# of folds and Hopf points, with cusp and Bogdanov-Takens points, and the folds of cycles from above. Going
# up, the population bursts from the left Hopf curve to the folds of cycles. Going down, it begins where it
# leaves its equilibrium, at the right Hopf curve at the latest: beside it small steps of eta are enough.

# %%
scan = qs.Scan(
    title="Bursting by spike-frequency adaptation",
    model=adapting["model"],
    axes={"eta": np.linspace(-8, 8, 4 * size // 3 + 1), "alpha": np.linspace(0, 1.75, size)},
    fixed=population,
    protocol=qs.Protocol(transient=200.0, window=100.0, sweep="eta"),
    observables=["r_std"],
)
dataset = qs.run(scan, "bursting-map.zarr")
figure = qs.show(dataset, over=turning)
figure.savefig("bursting-map.png")
figure

# %% [markdown]
# The store carries its theory, on the same axes: how many equilibria are stable at every point, for
# instance.

# %%
theory = qs.open_theory("bursting-map.zarr")
stable = theory["equilibria"]["stable"].sum("equilibrium")
bursting = dataset["r_std"] > 0.1
print(f"no stable equilibrium at {float((stable == 0).mean()):.0%} of the points")
for direction in ("up", "down"):
    print(f"bursts at {float(bursting.sel(direction=direction).mean()):.0%} of them, going {direction}")
