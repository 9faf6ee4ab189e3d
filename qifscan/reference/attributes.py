"""Parameters and variables of a population as attributes that check what is assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qifscan.dynamics.domain import REAL
from qifscan.reference.arguments import Given, checked_array
from qifscan.reference.stepping import PARAMETERS

if TYPE_CHECKING:
    from qifscan.reference.population import QIF

# The object


class Setting:
    """A parameter of a population: a read-only array; what is assigned is checked and broadcast."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        parameter = PARAMETERS[name]
        self.__doc__ = f"{parameter.meaning[:1].upper()}{parameter.meaning[1:]}, {parameter.unit}."

    def __get__(self, instance: QIF | None, owner: type) -> Any:
        return self if instance is None else instance._parameters[self.name]

    def __set__(self, instance: QIF, value: Given) -> None:
        instance._set_parameters({**instance._parameters, self.name: value})


class StateVariable:
    """A variable of a population: the array of now, which may be changed; what is assigned is broadcast."""

    def __init__(self, meaning: str) -> None:
        self.__doc__ = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: QIF | None, owner: type) -> Any:
        return self if instance is None else instance._arrays[self.name]

    def __set__(self, instance: QIF, value: Given) -> None:
        now = instance._arrays[self.name]
        if value is not now:
            instance._arrays[self.name] = checked_array(self.name, value, REAL, now.shape).astype(now.dtype)
