"""What a file with a model of your own imports: the parts of a model, and the models there are.

The module can be called: `qifscan.models()` gives the rows by name, and prints as a list of them.
"""

import sys
from types import ModuleType

from qifscan.dynamics.domain import FRACTION, NON_NEGATIVE, NONZERO, POSITIVE, REAL, Domain
from qifscan.dynamics.model import Constants, Model, Parameter, State, Variable, absorbing
from qifscan.dynamics.models import FAMILY, MODELS, Models, models
from qifscan.dynamics.population import (
    NEURONS,
    POPULATION,
    QIF,
    R,
    Recurrent,
    V,
    neuron_constants,
    population,
    relative,
    squares_of_population,
)
from qifscan.dynamics.relatives import ADAPTATION, ADAPTATION_CURRENT, ADAPTING, DELAY, GAST

__all__ = [
    "ADAPTATION",
    "ADAPTATION_CURRENT",
    "ADAPTING",
    "DELAY",
    "FAMILY",
    "FRACTION",
    "GAST",
    "MODELS",
    "NEURONS",
    "NONZERO",
    "NON_NEGATIVE",
    "POPULATION",
    "POSITIVE",
    "QIF",
    "REAL",
    "Constants",
    "Domain",
    "Model",
    "Models",
    "Parameter",
    "R",
    "Recurrent",
    "State",
    "V",
    "Variable",
    "absorbing",
    "models",
    "neuron_constants",
    "population",
    "relative",
    "squares_of_population",
]


class _Called(ModuleType):
    """This module: users' files import from it, and `qifscan.models()` calls it."""

    def __call__(self) -> Models:
        """Do what `models` does."""
        return models()


# What Python says of a wrong call has this name in it.
_Called.__call__.__qualname__ = "models"
sys.modules[__name__].__class__ = _Called
