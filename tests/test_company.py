"""What is told of a slice does not depend on its company: to the last bit, as in a scan."""

import numpy as np
import pytest
import xarray as xr

import qifscan as qs
from qifscan.dynamics.models import MODELS

COUNT = 4

OSCILLATING = {"delta": (1.0, 2.5), "J": (12.0, 24.0)}
"""Ranges in which adapting populations have Hopf points."""

THOROUGH = pytest.mark.thorough
SHORT = ("qif_adaptation_alpha", "qif_pair", "qif_delay")
DELAYED = [pytest.param(name, marks=[] if name == "qif_delay" else THOROUGH) for name in MODELS]
BRANCHED = [pytest.param(name, marks=[] if name in SHORT else THOROUGH) for name in MODELS]


def slices(model, along, seed):
    """Random parameters of a few slices, about those that are there by default."""
    rng = np.random.default_rng(seed)
    ranges = OSCILLATING if model.startswith("qif_adaptation") else {}
    found = {}
    for parameter in MODELS[model].parameters:
        if parameter.name != along:
            low, high = ranges.get(parameter.name, (0.5 * parameter.default, 1.8 * parameter.default))
            found[parameter.name] = low + (high - low) * rng.random(COUNT)
    return found


def as_rows(given):
    return {name: xr.DataArray(values, dims="row") for name, values in given.items()}


def row_of(given, k):
    return {name: float(values[k]) for name, values in given.items()}


def different(alone, among):
    """Names of what is not the same, bit for bit; what others have more of is to be empty here."""
    names = []
    for name, values in alone.variables.items():
        other = among[name].values
        own = other[tuple(slice(size) for size in values.shape)]
        kind = values.dtype.kind
        same = np.array_equal(own, values.values, equal_nan=kind in "fc")
        rest = np.ones(other.shape, dtype=bool)
        rest[tuple(slice(size) for size in values.shape)] = False
        empty = not rest.any() or kind not in "f" or np.isnan(other[rest]).all()
        if not (same and empty):
            names.append(name)
    return names


def along_of(model):
    return MODELS[model].graph or MODELS[model].driven


@pytest.mark.parametrize("model", BRANCHED)
def test_branches_of_cycles_of_a_slice_have_the_same_bits_alone_as_among_others(model):
    """Branches that meet, bifurcations that are located together, multipliers of meshes that are cut."""
    along = along_of(model)
    given = slices(model, along, 3)
    asked = {"within": (-30.0, 30.0), "points": 20, "doublings": 1, "switches": 1}
    if MODELS[model].delay:
        asked = {"within": (-5.0, 0.0), "points": 6}
    among = qs.cycle_branches(model, along, **asked, **as_rows(given))
    if model in SHORT:
        assert among.sizes["point"] > 30
    for k in range(COUNT):
        alone = qs.cycle_branches(model, along, **asked, **row_of(given, k))
        assert different(alone, among.qs.select(row=k)) == []


@pytest.mark.parametrize("model", DELAYED)
def test_equilibria_of_a_slice_have_the_same_bits_alone_as_among_others(model):
    given = slices(model, None, 4)
    among = qs.equilibria(model, **as_rows(given))
    for k in range(COUNT):
        alone = qs.equilibria(model, **row_of(given, k))
        assert different(alone, among.isel(row=k)) == []


@pytest.mark.parametrize("model", DELAYED)
def test_special_points_of_a_slice_have_the_same_bits_alone_as_among_others(model):
    along = along_of(model)
    given = slices(model, along, 5)
    among = qs.special_points(model, along, **as_rows(given))
    for k in range(COUNT):
        alone = qs.special_points(model, along, **row_of(given, k))
        assert different(alone, among.qs.select(row=k)) == []
