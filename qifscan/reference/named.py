"""What populations are called, and what is registered as their parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike

from qifscan.arrays import Column as Array
from qifscan.errors import Fault, ScanError, show
from qifscan.reference.arguments import check_choice

Shape = tuple[int, ...]
Part = TypeVar("Part")


LIVING: WeakValueDictionary[str, Named] = WeakValueDictionary()


def checked_name(name: object, kind: str) -> str:
    """Return a name that no other living population has; the first free one of its kind for None."""
    if name is None:
        number = 0
        while f"{kind}{number}" in LIVING:
            number += 1
        return f"{kind}{number}"
    if not (isinstance(name, str) and name.isidentifier()):
        raise ScanError([Fault("name", show(name), "a name of letters, digits and _")])
    if name in LIVING:
        raise ScanError([Fault("name", f"{show(name)}, which another population has", "one of its own")])
    return name


class Named:
    """What a population is called, and what is registered as a part of it."""

    _size: Shape
    _keep_size: bool
    _name: str
    _arrays: dict[str, Array]
    _parameters: dict[str, Array]
    _trainable: tuple[str, ...]
    _registered_vars: dict[str, Array]
    _registered_nodes: dict[str, Named]

    @property
    def num(self) -> int:
        """Number of populations."""
        return math.prod(self._size)

    @property
    def varshape(self) -> Shape:
        """Shape of the variables without a batch."""
        return tuple(self._size) if self._keep_size else (self.num,)

    def unique_name(self, name: str | None = None, type_: str | None = None) -> str:
        """Return a name, if no living population has it; for None the first free one of the type."""
        return checked_name(name, type(self).__name__ if type_ is None else type_)

    def nodes(self, method: str = "absolute", level: int = -1, include_self: bool = True) -> dict[str, Named]:
        """Return this object by its name ("absolute") or by "" ("relative"), and what was registered as its
        parts, by their names or by those they were registered under; with `level=0` this object alone."""
        check_choice("method", method, ("absolute", "relative"))
        absolute = method == "absolute"
        found: dict[str, Named] = {self._name if absolute else "": self} if include_self else {}
        parts = {} if level == 0 else self._registered_nodes
        return found | {node._name if absolute else key: node for key, node in parts.items()}

    def vars(self, method: str = "absolute", level: int = -1, include_self: bool = True) -> dict[str, Array]:
        """Return the arrays of now by name, "QIF0.x" ("absolute") or "x" ("relative")."""
        return self._named(self._arrays | self._registered_vars, method, include_self)

    def train_vars(
        self, method: str = "absolute", level: int = -1, include_self: bool = True
    ) -> dict[str, Array]:
        """Return the `trainable` parameters by name, "QIF0.J" ("absolute") or "J" ("relative").

        Gradients with respect to them come from `jax.grad` through `qifscan.reference.stepping.step`, see
        there; what was learned is assigned: `pop.J = ...`.
        """
        chosen = {name: self._parameters[name] for name in self._trainable}
        return self._named(chosen, method, include_self)

    def _named(self, arrays: Mapping[str, Array], method: str, include_self: bool) -> dict[str, Array]:
        prefixes = self.nodes(method, level=0, include_self=include_self)
        return {
            f"{prefix}.{key}" if prefix else key: value
            for prefix in prefixes
            for key, value in arrays.items()
        }

    def _nodes_of(self, nodes: object) -> list[Named]:
        nodes = self if nodes is None else nodes
        listed: list[Any] = (
            list(nodes.values() if isinstance(nodes, Mapping) else nodes) if np.iterable(nodes) else [nodes]
        )
        if not all(isinstance(node, Named) for node in listed):
            raise ScanError([Fault("nodes", show(nodes), "populations: one, a list, or a dict of them")])
        return listed

    def register_implicit_vars(self, *variables: Mapping[str, ArrayLike], **named: ArrayLike) -> None:
        """Keep further arrays under names, in mappings or by keyword: `vars` returns them.

        No step moves them. Raises `ScanError` for a name of this object or a value that is no array.
        """
        for name, value in by_name(variables, named, "register_implicit_vars").items():
            if name in self._arrays:
                raise ScanError([Fault(name, "a variable of this object", "another name")])
            self._registered_vars[name] = np.asarray(value)

    def register_implicit_nodes(self, *nodes: Mapping[str, Named], **named: Named) -> None:
        """Keep other populations as parts of this one, in mappings or by keyword: `nodes` returns them.

        A step of this object does not step them. Raises `ScanError` for what is no population.
        """
        found = by_name(nodes, named, "register_implicit_nodes")
        self._nodes_of(found)
        self._registered_nodes.update(found)


def by_name(mappings: Sequence[Mapping[str, Part]], named: Mapping[str, Part], where: str) -> dict[str, Part]:
    """Return what was given in mappings and by keyword."""
    for given in mappings:
        if not isinstance(given, Mapping):
            raise ScanError([Fault(where, show(given), "mappings, or name=value")])
    return {str(k): v for given in (*mappings, named) for k, v in given.items()}
