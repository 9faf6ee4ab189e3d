"""Mean-field models by name: those of this package, and a user's own as "module:name".

A model is a row, not a subclass. Its functions are written with operators alone, so the same ones serve
NumPy, JAX and automatic differentiation. What they are made of is in `population`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NoReturn

from qifscan.dynamics.conductances import CONDUCTANCE, IZHIKEVICH
from qifscan.dynamics.imported import check_trusted, imported
from qifscan.dynamics.memory import MEMORY
from qifscan.dynamics.model import Model
from qifscan.dynamics.noisy import CAUCHY, CUMULANTS
from qifscan.dynamics.pairs import PAIRS
from qifscan.dynamics.population import QIF
from qifscan.dynamics.relatives import DELAY, RELATIVES
from qifscan.errors import Fault, ScanError, UnknownName, unknown
from qifscan.printed import Printed

FAMILY: dict[str, Model] = {
    model.name: model for model in (QIF, *RELATIVES, CAUCHY, CONDUCTANCE, IZHIKEVICH, *PAIRS)
}
"""The models whose equilibria are known exactly, by name."""

MODELS: dict[str, Model] = FAMILY | {model.name: model for model in (DELAY, CUMULANTS, MEMORY)}
"""The models that can be simulated, by name."""


class Models(Printed, dict[str, Model]):
    """Models by name. It prints as a list of them with their equations."""

    def __missing__(self, name: str) -> NoReturn:
        raise UnknownName([unknown("model", name, self)])

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines that it prints as."""
        yield from ((name, model.meaning) for name, model in self.items())
        frames = dict.fromkeys(model.frame for model in self.values() if model.frame)
        yield from (("with K", frame) for frame in frames)


def models() -> Models:
    """Return the models of the package by name.

    It prints as a list of them; each, such as `qifscan.models()["qif_pair"]`, as its equations, variables and
    parameters with units, defaults and domains.

    Examples
    --------
    >>> import qifscan as qs
    >>> list(qs.models())[:3]
    ['qif', 'qif_adaptation_alpha', 'qif_adaptation_exponential']
    >>> qs.models()["qif"].variable_names
    ('r', 'v')
    """
    return Models(MODELS)


def model_named(name: str) -> Model:
    """Return the model of a name; raise `ScanError` if there is none.

    A name with a colon, "package.module:variable", is a `Model` that this process can import.
    """
    if isinstance(name, str) and name in MODELS:
        return MODELS[name]
    if not isinstance(name, str) or ":" not in name:
        raise ScanError([unknown("model", name, MODELS)])
    return _own(name)


def source_hash(name: str) -> str | None:
    """Return the sha256 of the file that defines a user's model, None of a model of this package."""
    return None if name in MODELS else imported("model", name)[1]


def stored_model(name: str, source: str | None = None) -> Model:
    """Return the model that a store names; `source` is the hash of its file there.

    Code that only a store names is not run. A model of a user's own must have been imported in this process,
    as a scan of it does, or be installed, with the source that the store was made with; else
    `ModelNotImported`.
    """
    if isinstance(name, str) and ":" in name and name not in MODELS:
        check_trusted("model", name, source)
    return model_named(name)


def _own(name: str) -> Model:
    """Return a user's model."""
    found, _ = imported("model", name)
    if not isinstance(found, Model):
        kind = "nothing" if found is None else f"of type {type(found).__name__}"
        raise ScanError([Fault("model", f'"{name}", which is {kind}', "a Model")])
    if found.delay and found.variable_names[1:] != (found.driven,):
        known = f'"{name}", which has a delay and the variables {", ".join(found.variable_names)}'
        raise ScanError([Fault("model", known, "with a delay r and v alone, the past of r driving v")])
    return _renamed(found, name)


@lru_cache(maxsize=64)
def _renamed(found: Model, name: str) -> Model:
    """Return a user's model by the name by which it can be found again: one object whenever asked.

    Only rows of this package are known to be the plain model: what was made of that by `replace` may have
    other equations.
    """
    return replace(found, name=name, plain=False)


def model_of(
    name: str, *, delayed: bool = False, restless: bool = False, along: Container[str | None] = ()
) -> Model:
    """Return a model by its name; raise `ScanError` if there is none, if it has a delay and is not to have
    one, or if it has no `rest` and is to have one.

    A model that is a graph over several rates is returned as the one whose graph parameter is in `along`.
    """
    model = model_named(name)
    if model.rest is None and not restless:
        hint = "its equilibria are given by qs.equilibria and qs.branch"
        raise ScanError([Fault("model", f'"{name}", which has no `rest`', "a graph over the rate", hint)])
    if model.delay and not delayed:
        hint = "its cycles are those of qs.cycles and qs.cycle_branches"
        raise ScanError([Fault("model", f'"{name}", which has a delay', "a model without one", hint)])
    return next((graph for graph in (model, *model.others) if graph.graph in along), model)
