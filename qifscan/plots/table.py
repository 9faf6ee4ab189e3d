"""A dataset of theory as one table of points, whatever it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.model import Model
from qifscan.dynamics.models import stored_model
from qifscan.errors import Fault, ScanError, counted, without
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")


Array = np.ndarray[Any, Any]
SYMBOLS = {
    "eta": r"$\eta$",
    "eta_e": r"$\eta_e$",
    "eta_i": r"$\eta_i$",
    "delta": r"$\Delta$",
    "delta_e": r"$\Delta_e$",
    "delta_i": r"$\Delta_i$",
    "tau": r"$\tau$",
    "tau_e": r"$\tau_e$",
    "tau_i": r"$\tau_i$",
    "J": r"$J$",
    "alpha": r"$\alpha$",
    "tau_a": r"$\tau_a$",
    "tau_d": r"$\tau_d$",
    "v_ou_sigma": r"$\sigma_v$",
    "r_ou_sigma": r"$\sigma_r$",
}

FOLD_COLOUR, HOPF_COLOUR, CYCLE_COLOUR = "#d1495b", "#00798c", "#3066be"


@dataclass(frozen=True)
class Mark:
    """How points of a type are marked, and what the legend calls them."""

    shape: str
    colour: str
    meaning: str


MARKS = {
    "LP": Mark("s", FOLD_COLOUR, "fold (LP)"),
    "HB": Mark("o", HOPF_COLOUR, "Hopf (HB)"),
    "BP": Mark("p", "#5b6770", "branch point (BP)"),
    "CP": Mark("^", "#7b2d26", "cusp (CP)"),
    "BT": Mark("D", "#8d5a97", "Bogdanov-Takens (BT)"),
    "GH": Mark("*", HOPF_COLOUR, "generalised Hopf (GH)"),
    "LPC": Mark("v", "#edae49", "fold of cycles (LPC)"),
    "PD": Mark("P", "#66a182", "period doubling (PD)"),
    "TR": Mark("X", "#a44a3f", "torus (TR)"),
    "CPC": Mark("^", "#b07d12", "cusp of cycles (CPC)"),
    "GPD": Mark("*", "#66a182", "generalised period doubling (GPD)"),
    "CH": Mark("*", "#a44a3f", "Chenciner (CH)"),
    "R1": Mark("D", "#2e4057", "resonance 1:1 (R1)"),
    "R2": Mark("s", "#2e4057", "resonance 1:2 (R2)"),
    "R3": Mark("^", "#2e4057", "resonance 1:3 (R3)"),
    "R4": Mark("p", "#2e4057", "resonance 1:4 (R4)"),
    "LPPD": Mark("d", "#8d5a97", "fold and period doubling (LPPD)"),
    "LPNS": Mark("h", "#8d5a97", "fold and torus (LPNS)"),
    "PDNS": Mark("H", "#8d5a97", "period doubling and torus (PDNS)"),
    "NSNS": Mark("8", "#8d5a97", "two tori (NSNS)"),
    "unresolved": Mark("o", "0.4", "unresolved"),
}
"""The special points that are drawn. A neutral saddle is no bifurcation, and is not."""

OF_CYCLES = ("LPC", "BP", "PD", "TR", "unresolved")

EIGENVALUES = ("eigenvalue_real", "eigenvalue_imag")
"""Names under which all eigenvalues of an equilibrium are drawn; each has a column, with its number."""

OF_DRIVE = ("drive_amplitude", "drive_period")
"""What varies along curves of responses to a sine, beside parameters of the model."""

ON_GRID = ("cycles", "equilibria")
"""Kinds of datasets whose points lie on a grid of parameters, and on no line."""


@dataclass(frozen=True)
class Table:
    """The points of a dataset of theory, `(points,)` each, in order along their lines.

    `kind` is what the dataset is of; `columns` are parameters, states, extremes and periods; `line` is the
    number of the branch, piece or curve; `sure` tells which are converged and resolved; `cuts` are what the
    lines are cut off by; `made_of` is what the points of a curve are, by the kinds of `qifscan.curve`.
    """

    kind: str
    model: Model
    varied: tuple[str, ...]
    columns: dict[str, Array]
    line: Array
    stable: Array
    sure: Array
    type: Array
    cuts: tuple[str, ...] = ()
    made_of: str = "LP"

    def chosen(self, which: Array) -> Table:
        """Return some of the points."""
        columns = {name: values[which] for name, values in self.columns.items()}
        parts = {name: getattr(self, name)[which] for name in ("line", "stable", "sure", "type")}
        return replace(self, columns=columns, **parts)

    def heights(self, name: str) -> list[Array]:
        """Return what is drawn of a variable: of a cycle its least and its greatest value.

        Some programs tell but the greatest. Of eigenvalues each is drawn.
        """
        if name in EIGENVALUES:
            return [values for n, values in self.columns.items() if n.startswith(f"{name} ")]
        names = [name] if name in self.columns else [f"{name}_min", f"{name}_max"]
        return [self.columns[n] for n in names if n in self.columns]

    def has(self, name: str) -> bool:
        """Whether a variable can be drawn."""
        return bool(self.heights(name))

    @property
    def of_cycles(self) -> bool:
        """Whether the points are cycles."""
        return self.kind in ("cycles", "cycle_branches")


# Reading datasets


def is_theory(dataset: Any) -> bool:
    """Whether a dataset is one of theory that can be drawn."""
    return "model" in getattr(dataset, "attrs", {}) and _kind(dataset) is not None


def _kind(dataset: xr.Dataset) -> str | None:
    """Return what a dataset is of, by the dimensions and variables that it alone has."""
    dims, names = set(dataset.dims), set(dataset.variables)
    if "branches" in dims:
        return "cycle_branches"
    if "pieces" in dims:
        # Bifurcations of cycles have a stability too; `kind` is what their curve is made of.
        return "branch" if "stable" in names and "kind" not in dataset.attrs else "curve"
    if "cycle" in dims:
        return "cycles"
    if "equilibrium" in dims and {"stable", "kind"} <= names:
        return "equilibria"
    return "special_points" if {"row_size", "slice", "type"} <= names else None


def read(dataset: xr.Dataset, where: str = "data") -> Table:
    """Return the points of a dataset of theory; raise `ScanError` for others, or if nothing can be drawn."""
    if not is_theory(dataset):
        found = without(dataset, "of something else")
        makers = "branch, special_points, curve, cycles, cycle_branches or equilibria"
        raise ScanError([Fault(where, found, f"a dataset of qifscan.{makers}")])
    kind, model = str(_kind(dataset)), stored_model(dataset.attrs["model"])
    dataset = dataset.compute()
    points = _of_grid(dataset, kind, model) if kind in ON_GRID else _of_points(dataset, kind, model, where)
    drawn = np.isin(points.type, list(MARKS)) if kind == "special_points" else np.ones(len(points.line))
    if not drawn.any():
        raise ScanError([Fault(where, *_why_nothing(dataset, kind, points))])
    return points


def _of_points(dataset: xr.Dataset, kind: str, model: Model, where: str) -> Table:
    """Return the table of a ragged array, along `point`."""
    values = {str(n): a.values for n, a in dataset.data_vars.items() if a.dims == ("point",)}
    for name in EIGENVALUES:
        if name in dataset and dataset[name].dims == ("point", "eigenvalue"):
            values |= {f"{name} {i}": column for i, column in enumerate(dataset[name].values.T)}
    size = len(values["type"])
    like, of_slice = xr.DataArray(0.0), np.zeros(size, dtype=int)
    if kind == "special_points":
        like, of_slice = dataset["row_size"], dataset["slice"].values
        _check_whole(like, of_slice, where)
    if kind == "cycle_branches":
        like, numbers = dataset["branch_count"], dataset["slice"].values
        _check_whole(like, numbers, where)
        _check_whole(dataset["row_size"], values["branch"], where)
        of_slice = numbers[values["branch"]]
    fixed = {name: array.ravel()[of_slice] for name, array in _parameters(dataset, model, like).items()}
    line = values.get("branch", values.get("piece", np.arange(size)))
    stable = values.get("stable", np.zeros(size)).astype(bool)
    types = _meanings(dataset["type"])
    sure = (values["converged"] != 0) & (values.get("resolved", np.ones(size)) != 0) & (types != "unresolved")
    varied = tuple(name for name in (*OF_DRIVE, *(p.name for p in model.parameters)) if name in values)
    made_of = _made_of(dataset, values)
    return Table(kind, model, varied, fixed | values, line, stable, sure, types, _cuts(dataset), made_of)


def _check_whole(counts: xr.DataArray, numbers: Array, where: str) -> None:
    """Raise `ScanError` where slices or branches were selected, but not what is on them.

    `counts` has how many are on each, and `numbers` says which each is on: a part of them may be left out.
    """
    there = np.bincount(numbers) if numbers.ndim else np.empty(0)
    if numbers.ndim and len(there) <= counts.size and (there <= counts.values.ravel()[: len(there)]).all():
        return
    found = "slices or branches that were selected without their points"
    hint = "draw the dataset as it was made, with select={...}, or with points left out"
    raise ScanError([Fault(where, found, "both", hint)])


def _made_of(dataset: xr.Dataset, values: Mapping[str, Array]) -> str:
    """Return what the points of a curve are, by the kinds of `qifscan.curve`."""
    # A curve of another program may lack its frequencies, but says what it is a curve of.
    told = dataset.attrs.get("kind", dataset.attrs.get("curve"))
    return str(told or ("HB" if np.isfinite(values.get("omega", np.nan)).any() else "LP"))


def _of_grid(dataset: xr.Dataset, kind: str, model: Model) -> Table:
    """Return the table of cycles, or of equilibria, at points of a grid."""
    like = dataset["period" if kind == "cycles" else model.variable_names[0]]
    grid = [str(n) for n, a in dataset.data_vars.items() if a.dims == like.dims]
    there = np.isfinite(like.values.ravel())
    values = {name: dataset[name].values.ravel()[there] for name in grid}
    given = {name: array.ravel()[there] for name, array in _parameters(dataset, model, like).items()}
    varied = tuple(name for name in given if name in dataset.dims)
    size = int(there.sum())
    always = np.ones(size)
    sure = (values.get("converged", always) != 0) & (values.get("resolved", always) != 0)
    stable = values["stable"].astype(bool)
    return Table(kind, model, varied, given | values, np.arange(size), stable, sure, np.full(size, "none"))


def _parameters(dataset: xr.Dataset, model: Model, like: xr.DataArray) -> dict[str, Array]:
    """Return the parameters that a dataset has as coordinates, with the dimensions of a variable."""
    names = [p.name for p in model.parameters if p.name in dataset.coords]
    return {name: dataset.coords[name].broadcast_like(like).transpose(*like.dims).values for name in names}


def _meanings(codes: xr.DataArray) -> Array:
    """Return the meanings of a CF flag variable, `(values,)`."""
    told = dict(
        zip(
            np.asarray(codes.attrs["flag_values"]).tolist(), codes.attrs["flag_meanings"].split(), strict=True
        )
    )
    return np.array([told[code] for code in codes.values.ravel().tolist()], dtype=str)


def _cuts(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return what the lines of a dataset are cut off by."""
    ends = [
        _meanings(dataset[name]) for name in ("start", "end") if "flag_meanings" in _attributes(dataset, name)
    ]
    return tuple(np.unique(np.concatenate([*ends, []])).tolist())


def _attributes(dataset: xr.Dataset, name: str) -> Mapping[str, Any]:
    return dataset[name].attrs if name in dataset else {}


def _why_nothing(dataset: xr.Dataset, kind: str, found: Table) -> tuple[str, str, str]:
    """Return what is found in place of something to draw, what is expected, and what to do."""
    if kind == "cycles":
        outcomes = _meanings_count(dataset["outcome"])
        hint = "give other parameters or more starts, or draw qifscan.branch"
        return f"no cycle: of {dataset['outcome'].size} trajectories {outcomes}", "at least one", hint
    if kind == "cycle_branches":
        slices = counted(dataset["branch_count"].size, "slice")
        hint = "give `at`, to begin with cycles that simulation finds, or a wider `within`"
        return f"no branch: no Hopf point in the range in {slices}", "at least one", hint
    slices = counted(dataset["row_size"].size, "slice")
    bare = int((_meanings(dataset["status"]) == "no_equilibrium").sum())
    no_equilibrium = f", {bare} of which without an equilibrium among the rates" if bare else ""
    others = f" but {len(found.line)} neutral saddles" if len(found.line) else ""
    hint = "draw qifscan.branch for the equilibria, or change the slices"
    return f"no special point{others} in {slices}{no_equilibrium}", "at least one", hint


def _meanings_count(codes: xr.DataArray) -> str:
    names, counts = np.unique(_meanings(codes), return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))


# Words


def value_of(name: str, value: Any) -> str:
    """Return a parameter and its value as a text."""
    text = value if isinstance(value, str) else f"{value:.4g}"
    return f"{SYMBOLS.get(name, name)} = {text}"


def label(name: str, unit: str = "1") -> str:
    """Return the label of an axis."""
    unit = re.sub(r"\^([-\d.]+)", r"$^{\1}$", unit)
    return SYMBOLS.get(name, name) + (f" ({unit})" if unit != "1" else "")


def unit_of(datasets: Sequence[xr.Dataset], name: str) -> str:
    """Return the unit of a variable, or of its extremes, in the first dataset that has it."""
    found = [d[n] for d in datasets for n in (name, f"{name}_min") if n in d.variables]
    return str(found[0].attrs.get("units", "1")) if found else "1"
