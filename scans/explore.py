# %% [markdown]
# # Exploring the bistable wedge
#
# A population of quadratic integrate-and-fire neurons with strong recurrent excitation can be quiet or
# active at the same input. This notebook scans the plane of mean excitability (eta) and coupling (J), lays
# the exact folds over what was simulated, and looks at single points.
#
# It is a percent script: run it as it is, or open it as a notebook with jupytext.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import qifscan as qs

size = int(os.environ.get("QIFSCAN_NOTEBOOK_SIZE", "96"))

# %% [markdown]
# ## A scan
#
# Axes are arrays; everything that is not named has the reference's default (tau = 1 ms, delta = 1). Every
# point starts once at its equilibrium of lowest rate and once at that of highest rate.

# %%
scan = qs.Scan(
    title="Bistable wedge",
    axes={
        "eta": np.linspace(-10, 5, size),
        "J": np.linspace(0, 30, size),
        "initial": ["down", "up"],
    },
    protocol=qs.Protocol(transient=20.0, window=20.0),
    observables=["r_mean", "r_std", "v_mean"],
)
print(qs.plan(scan))

# %% [markdown]
# `run` writes each finished chunk to disk. If the store is there, only what is missing is computed: run this
# cell again and it returns at once.

# %%
dataset = qs.run(scan, "explore.zarr")
dataset

# %% [markdown]
# ## Look at it
#
# The red lines are no fit: they are the exact saddle-node bifurcations.

# %%
figure = qs.show(dataset, ["r_mean"])
figure.savefig("explore-map.png")
figure

# %% [markdown]
# The dataset is plain xarray, so anything that xarray can do works. How far apart do the two runs end?

# %%
apart = dataset["r_mean"].sel(initial="up") - dataset["r_mean"].sel(initial="down")
share = float((apart > 0.05).mean())
print(f"bistable in {share:.0%} of this rectangle")
figure = dataset.qs.show(difference="initial")
figure.savefig("explore-difference.png")
figure

# %% [markdown]
# ## One slice, beside the theory
#
# eta enters the equation of v as it stands, so the equilibria are a graph over the rate: at every r there is
# one eta. Between the two folds they are saddles.

# %%
J = float(dataset["J"].sel(J=15.0, method="nearest"))
r = np.geomspace(0.04, 1.6, 500)
eta = np.pi**2 * r**2 - J * r - 1 / (4 * np.pi**2 * r**2)
folds = qs.folds(J=J)
unstable = (r > float(folds["r"].min())) & (r < float(folds["r"].max()))
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for state, colour in (("down", "C0"), ("up", "C1")):
    line = dataset["r_mean"].sel(J=J, initial=state)
    axes.plot(line["eta"], line, "o", color=colour, markersize=4, label=f"simulated from {state}")
axes.plot(eta, np.where(unstable, np.nan, r), "k-", linewidth=1, label="stable (exact)")
axes.plot(eta, np.where(unstable, r, np.nan), "k--", linewidth=1, label="unstable (exact)")
axes.plot(folds["eta"], folds["r"], "s", color="C3", markersize=5, label="folds (exact)")
axes.set(xlabel=r"$\eta$", ylabel="rate (1/ms)", title=f"J = {J:.3g}", xlim=(-10, 0), ylim=(0, 1.6))
axes.legend(frameon=False, fontsize="small")
figure.savefig("explore-slice.png")

# %% [markdown]
# `equilibria` gives all of them at any parameters, with eigenvalues and kind, on labelled axes.

# %%
exact = qs.equilibria(eta=-5.0, J=[10.0, 15.0, 20.0])
print(exact[["r", "eigenvalue_real"]].to_dataframe()[["r", "eigenvalue_real"]].dropna().to_string())

# %% [markdown]
# ## Why there? The phase plane of a point
#
# Both nullclines cross at three equilibria. The stable manifold of the saddle parts the starts that end down
# from those that end up: `dataset.qs` has it for any point of the map.

# %%
point = {"eta": -5.0, "J": 15.0}
starts = [{"r": 0.1, "v": 0.5}, {"r": 0.1, "v": 1.5}]
figure = dataset.qs.select(method="nearest", **point).qs.phase_plane(start=starts)
figure.savefig("explore-plane.png")
figure

# %% [markdown]
# ## Replay a point
#
# `replay` runs one stored point again, keeps the whole trajectory, and makes sure that it ends in the very
# bits that are stored.

# %%
trajectory = dataset.qs.replay(initial="up", method="nearest", **point)
print(trajectory.attrs["checked"], f"r_mean = {float(trajectory['r_mean']):.4f} / ms")

# %% [markdown]
# ## A point without a scan
#
# The step-current experiment of the 2015 paper: at rest, then I = 3 for 30 ms. The population rings, and
# stays up when the current is gone.

# %%
pulse = qs.Pulse(amplitude=3.0, start=10.0, length=30.0)
response = qs.simulate(eta=-5.0, J=15.0, initial="down", drive=pulse, t_end=80.0, every=5)
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 4), layout="constrained")
above.plot(response["time"], response["r"], "C3", linewidth=1)
below.plot(response["time"], response["v"], "C0", linewidth=1)
above.axvspan(10, 40, color="0.92")
below.axvspan(10, 40, color="0.92")
above.set_ylabel("rate (1/ms)")
below.set(ylabel="mean potential", xlabel="time (ms)")
figure.savefig("explore-pulse.png")

# %% [markdown]
# ## How it rings
#
# Weak noise excites the active state at all frequencies, and it answers most at that of its eigenvalue. The
# exact spectrum stands beside that of eight simulations.

# %%
noisy = {"eta": -5.0, "J": 15.0, "v_ou_sigma": 0.02}
simulated = qs.simulate(initial="up", t_end=4.0 * size + 50.0, replicates=8, **noisy)
spectrum = simulated.qs.power_spectrum(transient=50.0)
response = qs.linear_response(**noisy)
figure = qs.show(spectrum, over=[response], select={"equilibrium": 2})
figure.savefig("explore-spectrum.png")
figure
