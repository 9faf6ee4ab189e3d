"""Results as datasets: variables with units, meaning and reference, parameters as coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qifscan.dynamics.model import Model
from qifscan.errors import Fault, ScanError
from qifscan.lazy import LazyModule
from qifscan.scan.labels import labelled

if TYPE_CHECKING:
    import xarray as xr
else:
    xr = LazyModule("xarray")

Attributes: TypeAlias = dict[str, Any]
Variables: TypeAlias = Mapping[str, tuple[tuple[str, ...], Any, Attributes]]
"""Of each variable its own dimensions, after those of the parameters; its values; its attributes."""


@dataclass(frozen=True)
class Words:
    """What the variables of a dataset about a model say of themselves."""

    model: Model
    reference: str

    def meaning(self, long_name: str, units: str | None = None) -> Attributes:
        """Return the attributes of a quantity."""
        attributes = {"long_name": long_name, "reference": self.reference}
        return attributes if units is None else attributes | {"units": units}

    def of_state(self, name: str) -> Attributes:
        """Return the attributes of a state variable."""
        row = next(variable for variable in self.model.variables if variable.name == name)
        return self.meaning(row.meaning, row.unit)

    def of_parameter(self, name: str, at: str = "") -> Attributes:
        """Return the attributes of a parameter, or of its value somewhere."""
        row = next(parameter for parameter in self.model.parameters if parameter.name == name)
        return self.meaning(f"{row.meaning}, {at}" if at else row.meaning, row.unit)

    def dataset(
        self,
        given: Mapping[str, xr.DataArray],
        variables: Variables,
        along: Mapping[str, tuple[Any, Attributes]] | None = None,
        apart: Variables | None = None,
    ) -> xr.Dataset:
        """Return variables along the parameters' dimensions and their own; the parameters are coordinates.

        `along` are coordinates of the variables' own dimensions. `apart` are variables, with their own
        dimensions alone, without those of the parameters.
        """
        along, apart = along or {}, apart or {}
        own = {dim for dims, _, _ in (*variables.values(), *apart.values()) for dim in dims}
        _check_names(given, {*variables, *along, *apart, *own})
        taken = {*variables, *along, *apart}
        dims = next(iter(labelled(given).values())).dims if given else ()
        coords: dict[Any, Any] = {}
        for array in given.values():
            coords |= {name: value for name, value in array.coords.items() if name not in taken}
        coords |= {name: (a.dims, a.values, self.of_parameter(name)) for name, a in given.items()}
        coords |= {name: (name, *value) for name, value in along.items()}
        data = {name: ((*dims, *extra), values, words) for name, (extra, values, words) in variables.items()}
        return xr.Dataset(data | dict(apart), coords, {"model": self.model.name, "reference": self.reference})


def _check_names(given: Mapping[str, xr.DataArray], taken: set[str]) -> None:
    others = f"another name than {', '.join(sorted(taken))}"
    faults = [
        Fault(name, f'a dimension named "{dim}"', others, "rename it")
        for name, array in given.items()
        for dim in array.dims
        if dim in taken
    ]
    if faults:
        raise ScanError(faults)


def flags(names: Sequence[str] | Mapping[str, int]) -> Attributes:
    """Return the CF attributes of numbers that stand for names: from 0 on, or those of a mapping."""
    numbers = list(names.values()) if isinstance(names, Mapping) else range(len(names))
    return {"flag_values": np.array(numbers, dtype=np.int8), "flag_meanings": " ".join(names)}
