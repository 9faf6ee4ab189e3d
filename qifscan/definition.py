"""Frozen definitions whose construction reports every mistake at once, in the user's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qifscan.errors import Fault, ScanError, near, one_of

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Faults(ValueError):
    """Several mistakes in one field, raised inside a validator."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in faults))


def raise_if_any(faults: Sequence[Fault]) -> None:
    """Raise the mistakes, if there are any, from inside a validator."""
    if faults:
        raise Faults(faults)


def show(value: Any) -> str:
    """Return a value as a short text on one line."""
    text = repr(value) if isinstance(value, float) else " ".join(json.dumps(value, default=str).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


class Definition(BaseModel):
    """Frozen data; a `ScanError` with one line for every mistake if it can't be made."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScanError(_faults_of(error, type(self))) from None


def _faults_of(error: ValidationError, owner: type[BaseModel]) -> Iterator[Fault]:
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, (Faults, ScanError)):
            yield from cause.faults
        else:
            yield _fault_of(item, owner)


def _fault_of(item: Any, owner: type[BaseModel]) -> Fault:
    """Return pydantic's description of one mistake in our words."""
    path = [str(part) for part in item["loc"]]
    where, kind = ".".join(path), item["type"]
    if kind == "extra_forbidden":
        known = [name for name in owner.model_fields if name != "kind"]
        return Fault(where, f'unknown key "{path[-1]}"', one_of(known), near(path[-1], known))
    if kind == "missing":
        return Fault(where, "nothing", "a value", "add it")
    if kind.startswith("union_tag"):
        known = [tag.strip(" '") for tag in item["ctx"].get("expected_tags", "").split(",") if tag]
        tag = str(item["ctx"].get("tag", ""))
        expected = one_of(known) if known else "the name of a kind"
        return Fault(f"{where}.kind", f'"{tag}"' if tag else "nothing", expected, near(tag, known))
    message = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return Fault(where, show(item["input"]), message)
