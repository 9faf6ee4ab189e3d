"""Linear response of equilibria: how they follow a weak input at each frequency, and their exact spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan.dynamics.models import model_of
from qifscan.dynamics.noise import ou_parameters
from qifscan.errors import Fault, ScanError
from qifscan.lazy import LazyModule
from qifscan.roots.taylor import Taylor, coefficient
from qifscan.scan.labels import Values, complete, labelled
from qifscan.theory.normal_forms import DIRECTIONS, Linearised
from qifscan.theory.rest import Rest

if TYPE_CHECKING:
    import xarray as xr

    from qifscan.arrays import Array
    from qifscan.dynamics.model import Model
else:
    xr = LazyModule("xarray")

POINTS = 401
"""Frequencies, unless they are given."""

BEYOND = 30.0
"""How far they go below the lowest and above the highest eigenvalue, as a factor."""


MOST = 20_000_000
"""Responses in all, of every variable at every equilibrium and frequency: some gigabytes."""


def linear_response(model: str = "qif", frequency: Any = None, **parameters: Values) -> xr.Dataset:
    """Return how every stable equilibrium follows a weak input, and its power spectrum under weak noise.

    With A the Jacobian and B that of what is delayed by D, a small input Re u exp(i w t) to the equation of
    the drive moves the state by Re H(f) u exp(i w t), w = 2 pi f:

        H(f) = (i w - A - B exp(-i w D))^-1 g,

    g the derivative of the field by the input. Noise of the scans, z' = (mean - z)/ou_tau + sigma xi on some
    equations, has the one-sided spectrum S_z(f) = 2 sigma^2/(1/ou_tau^2 + w^2), and a variable has the sum of
    |H(f)|^2 S_z(f) over these inputs: exact as sigma goes to 0, for any f. Its integral over f from 0 is the
    variance.

    Parameters
    ----------
    model
        Name of the model.
    frequency
        Frequencies, 1/ms (1 Hz is 0.001), of at least 0; by default 401 around the eigenvalues.
    **parameters
        Parameters of the model, and of the noise, `v_ou_sigma` and so on; they broadcast by dimension.

    Returns
    -------
    xarray.Dataset
        Along the parameters' dimensions, `equilibrium` (by ascending rate) and `frequency`, of every
        variable: `<variable>_gain`, |H| in its unit for an input of 1; `<variable>_phase`, the angle of H in
        rad, without jumps, negative where the variable lags behind; with noise `<variable>_power`, its unit
        squared times ms. The state at the equilibria, and `stable`. NaN at equilibria that are not stable:
        what is near them leaves.

    Raises
    ------
    ScanError
        If anything in the request is wrong.

    Notes
    -----
    Risken, The Fokker-Planck Equation (1989), section 3.2.

    Examples
    --------
    >>> import qifscan as qs
    >>> found = qs.linear_response(eta=-5.0, J=15.0, frequency=[0.0, 0.5])
    >>> found["r_gain"].values.round(4)
    array([[0.0123, 0.0065],
           [   nan,    nan],
           [0.1855, 0.8952]])
    """
    row = model_of(model, delayed=True, restless=True)
    given = complete(parameters, [*row.parameters, *_noise_rows(row)])
    whole = labelled(given)
    first = next(iter(whole.values()))
    flat = {name: array.values.ravel() for name, array in whole.items()}
    _check_inputs(row, flat)
    with np.errstate(all="ignore"):
        rest = Rest.of(row, flat)
    state = np.stack(rest.states, axis=-1)
    linear, gains = _linearised(row, state, rest.parameters)
    stable = np.asarray(rest.stable).ravel()
    f = _frequencies(frequency, linear, stable)
    _check_size(state.size * len(f))
    several = {name: np.repeat(values, state.shape[1]) for name, values in flat.items()}
    found = _responses(row, linear, gains, stable, f, several)
    variables = {name: state[..., i] for i, name in enumerate(row.variable_names)} | {"stable": rest.stable}
    shaped = {n: x.reshape((*first.shape, *x.shape[1:])) for n, x in variables.items()}
    shaped |= {n: x.reshape((*first.shape, state.shape[1], len(f))) for n, x in found.items()}
    return _described(row, given, first.dims, shaped, f)


def _check_size(count: int) -> None:
    """Raise `ScanError` where the responses would fill the memory."""
    if count > MOST:
        hint = "give fewer points of the parameters, or frequencies"
        raise ScanError([Fault("frequency", f"{count:,} responses in all", f"at most {MOST:,}", hint)])


def _noise_rows(model: Model) -> list[Any]:
    return [row for variable in model.variables for row in ou_parameters(variable)]


def _check_inputs(model: Model, flat: Mapping[str, Array]) -> None:
    """Raise `ScanError` for the mean of a noise that no parameter stands for."""
    for variable in model.variables:
        mean = flat.get(f"{variable.name}_ou_mean", np.zeros(1))
        if variable.input_unit is not None and variable.absorbed is None and mean.any():
            hint = "equilibria are known without it"
            raise ScanError([Fault(f"{variable.name}_ou_mean", f"{mean[mean != 0][0]:g}", "0", hint)])


def _linearised(model: Model, state: Array, parameters: Mapping[str, Array]) -> tuple[Linearised, Array]:
    """Return the linear equations at every state, and derivatives by the inputs `(states, n, inputs)`."""
    count, most, size = state.shape
    rows = state.reshape(-1, size)
    here = {name: np.repeat(values, most) for name, values in parameters.items()}
    with np.errstate(all="ignore"):
        linear = Linearised.of(model, rows, here)
        constants = model.constants(here)
        gains = np.zeros((count * most, size, len(model.input_names)))
        for k, name in enumerate(model.input_names):
            inputs: list[Any] = [0.0] * size
            inputs[model.variable_names.index(name)] = Taylor(DIRECTIONS[0], (0.0, 1.0))
            for i, slope in enumerate(model.field(tuple(rows.T), tuple(inputs), constants)):
                gains[:, i, k] = coefficient(slope, 1, DIRECTIONS[0])
    return linear, gains


def _frequencies(given: Any, linear: Linearised, stable: Any) -> Array:
    """Return the frequencies that are asked for, or those around the eigenvalues."""
    if given is None:
        matrices = linear.now[stable]
        sizes = np.abs(np.linalg.eigvals(matrices)) / (2.0 * np.pi) if len(matrices) else np.ones(1)
        found: Array = np.geomspace(sizes.min() / BEYOND, sizes.max() * BEYOND, POINTS)
        return found
    f = labelled({"frequency": given})["frequency"].values.ravel()
    if not len(f) or (f < 0).any():
        found_text = "none" if not len(f) else f"{f.min():g}"
        raise ScanError([Fault("frequency", found_text, "numbers not below 0, in 1/ms, at least one")])
    if len(np.unique(f)) < len(f):
        raise ScanError([Fault("frequency", "a value twice", "each once")])
    return f


def _responses(
    model: Model, linear: Linearised, gains: Array, stable: Any, f: Array, flat: Mapping[str, Array]
) -> dict[str, Array]:
    """Return gain, phase and power of every variable at every state, `(states, frequencies)` each."""
    size, names = gains.shape[1], model.input_names
    driven = names.index(model.stimulated)
    response = np.full((len(stable), len(f), size), np.nan, dtype=complex)
    power = np.full((len(stable), len(f), size), np.nan)
    some = np.flatnonzero(stable)
    sigma = np.stack([flat[f"{name}_ou_sigma"][some] for name in names], axis=-1)
    rate = np.stack([1.0 / flat[f"{name}_ou_tau"][some] for name in names], axis=-1)
    for k, w in enumerate(2.0 * np.pi * f):
        transfer = np.linalg.solve(linear.at(np.complex128(1j * w))[some], gains[some].astype(complex))
        response[some, k] = transfer[..., driven]
        spectrum = 2.0 * sigma**2 / (rate**2 + w * w)
        power[some, k] = (np.abs(transfer) ** 2 * spectrum[:, None, :]).sum(axis=-1)
    found: dict[str, Array] = {}
    for i, name in enumerate(model.variable_names):
        angle = np.angle(response[..., i])
        order = np.argsort(f)
        angle[:, order] = np.unwrap(angle[:, order], axis=1)
        found |= {f"{name}_gain": np.abs(response[..., i]), f"{name}_phase": angle}
        if sigma.any():
            found[f"{name}_power"] = power[..., i]
    return found


def power_unit(unit: str) -> str:
    """Return the unit of the power density of a variable: its unit squared, over that of a frequency."""
    return {"1/ms": "1/ms", "1": "ms"}.get(unit, f"({unit})^2 ms")


def power_words(name: str, meaning: str, unit: str) -> dict[str, str]:
    """Return the attributes of a power density."""
    return {"units": power_unit(unit), "long_name": f"one-sided power density of {name}, {meaning}"}


def frequency_words() -> dict[str, str]:
    """Return the attributes of frequencies."""
    return {"units": "1/ms", "long_name": "frequency (1/ms = kHz)"}


def _described(
    model: Model, given: Mapping[str, xr.DataArray], dims: Any, found: Mapping[str, Array], f: Array
) -> xr.Dataset:
    data: dict[str, Any] = {}
    for row in model.variables:
        name, along = row.name, (*dims, "equilibrium", "frequency")
        data[name] = (along[:-1], found[name], {"units": row.unit, "long_name": row.meaning})
        words = {"units": row.unit, "long_name": f"{name} for an input of 1 to {model.stimulated}, amplitude"}
        data[f"{name}_gain"] = (along, found[f"{name}_gain"], words)
        words = {"units": "rad", "long_name": f"phase of {name} against an input to {model.stimulated}"}
        data[f"{name}_phase"] = (along, found[f"{name}_phase"], words)
        if f"{name}_power" in found:
            words = power_words(name, row.meaning, row.unit)
            data[f"{name}_power"] = (along, found[f"{name}_power"], words)
    data["stable"] = ((*dims, "equilibrium"), found["stable"], {"long_name": "the equilibrium is stable"})
    rows = {p.name: p for p in (*model.parameters, *_noise_rows(model))}
    coords: dict[Any, Any] = {k: v for array in given.values() for k, v in array.coords.items()}
    coords |= {
        name: (a.dims, a.values, {"units": rows[name].unit, "long_name": rows[name].meaning})
        for name, a in given.items()
    }
    coords["equilibrium"] = np.arange(found["stable"].shape[-1])
    coords["frequency"] = ("frequency", f, frequency_words())
    attributes = {"model": model.name, "reference": model.reference, "method": "linear response, exact"}
    return xr.Dataset(data, coords, attributes)
