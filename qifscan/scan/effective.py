"""The parameters of a scan's model: the axes that hold them, and what its inputs add to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qifscan.scan.axes import Axis
    from qifscan.scan.scan import Scan


def known_axes(scan: Scan) -> dict[str, Axis]:
    """Return the axes of a scan that hold parameters of its model."""
    names = {parameter.name for parameter in scan.mean_field.parameters}
    return {axis.name: axis for axis in scan.axes.values() if names & set(axis.columns)}


def effective(scan: Scan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's parameters that do what the given ones, mean noise and a constant drive do together.

    Of an input that is not given the scan's own fixed value is taken, 0 if it has none.
    """
    model = scan.mean_field
    means = {name: f"{name}_ou_mean" for name in model.input_names}
    own = {key: given.get(key, scan.fixed.get(key, 0.0)) for key in means.values()}
    amplitude = 0.0
    if scan.drive is not None and scan.drive.steady:
        row = scan.parameters["drive_amplitude"]
        amplitude = given.get(row.name, scan.fixed.get(row.name, row.default))
    return model.with_inputs({**given, **own}, {model.stimulated: amplitude})
