"""A definition as the text of a TOML file that reads back as it, written as one would write it by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from qifscan.definition import KIND, Definition

Array = np.ndarray[Any, Any]

SPACED = 4
"""Values from which on an evenly spaced axis is written as its ends and its count."""


def as_toml(data: Mapping[str, Any]) -> str:
    """Return nested data as TOML: what is single first, then a table for each mapping."""
    single = [f"{name} = {_value(x)}" for name, x in data.items() if not isinstance(x, Mapping)]
    tables = [
        "\n".join([f"[{name}]", *(f"{key} = {_value(x)}" for key, x in table.items())])
        for name, table in data.items()
        if isinstance(table, Mapping) and table
    ]
    return "\n\n".join(["\n".join(single), *tables] if single else tables) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _axis(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_value(x)}' for name, x in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # A string of JSON is valid TOML, but for one character that only TOML takes for a control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    # The shortest digits that give the same number again.
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _axis(values: Array) -> str:
    """Return the values of an axis, as a spacing if that gives every bit of them."""
    count = len(values)
    if values.dtype.kind == "f" and count >= SPACED:
        first, last = values[0].item(), values[-1].item()
        ends = f"[{first!r}, {last!r}, {count}]"
        if np.array_equal(np.linspace(first, last, count), values):
            return f"{{ linspace = {ends} }}"
        if first * last > 0.0 and np.array_equal(np.geomspace(first, last, count), values):
            return f"{{ geomspace = {ends} }}"
    return _value(values.tolist())


def as_tables(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as plain data, definitions as the tables of a file."""
    tables: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Definition):
            kind = type(value).model_fields.get(KIND)
            tables[name] = ({KIND: kind.default} if kind else {}) | as_tables(value._given())
        else:
            tables[name] = value
    return tables
