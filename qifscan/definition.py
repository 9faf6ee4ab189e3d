"""Frozen definitions whose construction reports every mistake at once, in the user's words."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from inspect import Parameter, Signature
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from qifscan import printed
from qifscan.errors import AS_MS, Fault, ScanError, is_time, nearest, show, unknown


def plain(value: Any) -> Any:
    """Return a scalar of numpy, jax or xarray as a number of Python; a duration is not one."""
    if is_time(value):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def ordered(value: Any) -> Any:
    """Return a list, array or other sequence as a list; a set has no order, and a text is not a list."""
    value = value.tolist() if hasattr(value, "tolist") and not is_time(value) else value
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise PydanticCustomError("list_type", "a list")
    return list(value)


def _no_time(value: Any) -> Any:
    """Return a plain number; NumPy's durations are integers to pydantic, of whatever unit they have."""
    if is_time(value):
        raise PydanticCustomError("float_type", "a finite number")
    return plain(value)


# Strict: pydantic would take a text or a truth value for a number. -0.0 is 0.0, the same scan.
Finite = Annotated[
    float,
    BeforeValidator(_no_time),
    Field(strict=True, allow_inf_nan=False),
    AfterValidator(lambda x: x + 0.0),
]
Integer = Annotated[int, BeforeValidator(plain), Field(strict=True)]


class Faults(ValueError):
    """Several mistakes in one field, raised inside a validator."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in faults))


def raise_if_any(faults: Sequence[Fault]) -> None:
    """Raise the mistakes, if there are any, from inside a validator."""
    if faults:
        raise Faults(faults)


KIND = "kind"
"""The field that tells drives apart in a file; in Python the class does."""


def _short(value: Any) -> str:
    """Return a field's value as Python would write it, a long list as its count and range."""
    is_long = isinstance(value, (list, tuple)) and len(value) > printed.FEW
    is_plain = is_long and all(isinstance(x, (int, float)) for x in value)
    return f"[{printed.span(value)}]" if is_plain else repr(value)


class Definition(BaseModel):
    """Frozen data; a `ScanError` with one line for every mistake if it can't be made."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    # Positional only: a file may well hold a key "self".
    def __init__(self, /, *given: Any, **data: Any) -> None:
        if given:
            raise ScanError([self._by_name(given[0])])
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScanError(_faults_of(error, type(self))) from None

    @classmethod
    def _by_name(cls, given: Any) -> Fault:
        """Return the fault of a value without a name."""
        kind, names = cls.__name__, [name for name in cls.model_fields if name != "kind"]
        hint = f"qifscan.{kind}({names[0]}=...)"
        if hasattr(cls, "from_toml") and isinstance(given, (str, os.PathLike)):
            hint = f"to read a file: qifscan.{kind}.from_toml({show(str(given))})"
        elif isinstance(given, Mapping):
            hint = f"qifscan.{kind}(**definition)"
        return Fault(kind, f"{show(given)} without a name", "name=value", hint)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Show names and defaults in the signature; types are in the docstring, in words."""
        fields = [(n, f) for n, f in cls.model_fields.items() if n != KIND]
        cls.__signature__ = Signature(
            [
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=Parameter.empty
                    if field.is_required()
                    else field.get_default(call_default_factory=True),
                )
                for name, field in fields
            ]
        )

    def replace(self, /, **changes: Any) -> Self:
        """Return the same definition with some of its fields changed, checked like a new one.

        Raises `ScanError` with one line for every mistake.
        """
        return type(self)(**self._given() | changes)

    def _given(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as one would give them."""
        fields = {n: f for n, f in type(self).model_fields.items() if n != KIND}
        values = {name: getattr(self, name) for name in fields}
        return {n: x for n, x in values.items() if x != fields[n].get_default(call_default_factory=True)}

    def __repr__(self) -> str:
        told = (f"{name}={_short(value)}" for name, value in self._given().items())
        return f"{type(self).__name__}({', '.join(told)})"

    def __str__(self) -> str:
        return repr(self)

    def __dir__(self) -> list[str]:
        # What is completed at a prompt: our own names, not the thirty of pydantic.
        return [name for name in super().__dir__() if name.startswith("_") or not hasattr(BaseModel, name)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        kind = type(self).__name__
        if name not in type(self).model_fields:
            raise ScanError([unknown(kind, name, type(self).model_fields, "key")])
        hint = f"make another one: qifscan.{kind}(..., {name}={show(value)})"
        raise ScanError([Fault(name, f"{show(value)} assigned", f"a {kind} that stays as it is", hint)])

    def __delattr__(self, name: str) -> None:
        kind = type(self).__name__
        raise ScanError(
            [Fault(name, "deleted", f"a {kind} that stays as it is", "make another one without it")]
        )


def _faults_of(error: ValidationError, owner: type[BaseModel]) -> Iterator[Fault]:
    items = error.errors()
    unknown_keys = [str(item["loc"][-1]) for item in items if item["type"] == "extra_forbidden"]
    misspelt = {nearest(key, owner.model_fields) for key in unknown_keys}
    for item in items:
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Faults):
            yield from cause.faults
        elif isinstance(cause, ScanError):
            part = item["loc"][0]
            yield from (Fault(f"{part}.{f.where}", f.found, f.expected, f.hint) for f in cause.faults)
        elif not _is_told_already(item, items, misspelt):
            yield _fault_of(item, owner)


def _is_told_already(item: Any, items: Sequence[Any], misspelt: set[str | None]) -> bool:
    """Whether a key is missing because it is misspelt, or a list too short because an entry is wrong."""
    if item["type"] == "too_short":
        return any(other["loc"][:-1] == item["loc"] for other in items)
    return item["type"] == "missing" and item["loc"][-1] in misspelt


_TABLE = "names with values: a dict, or in a file a table"

_EXPECTED = {
    "finite_number": "a finite number",
    "float_type": "a finite number",
    "int_type": "an integer",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "string_type": "a text",
    "too_short": "a list of at least {min_length}",
    "list_type": "a list",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
}
"""What pydantic would call "Input should be ...", in our words."""


def _fault_of(item: Any, owner: type[BaseModel]) -> Fault:
    """Return pydantic's description of one mistake in our words."""
    path = [part for part in item["loc"] if part != "[key]"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown(where, path[-1], [name for name in owner.model_fields if name != "kind"], "key")
    if kind == "missing":
        return Fault(where, "nothing", "a value", "add it")
    if kind == "literal_error":
        return unknown(where, item["input"], re.findall("'([^']*)'", context["expected"]))
    if kind == "union_tag_invalid":
        return unknown(f"{where}.kind", context["tag"], re.findall("'([^']*)'", context["expected_tags"]))
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else item["msg"]
    hint = AS_MS if is_time(item["input"]) else ""
    return Fault(where, show(item["input"]), expected.removeprefix("Input should be "), hint)


def number(value: Any) -> float | None:
    """Return a finite number as a float, and None for anything else, also for a text or a truth value."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None
