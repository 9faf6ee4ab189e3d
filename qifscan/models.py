"""What a file with a model of your own imports: the parts of a model, and the models there are.

The module can be called: `qifscan.models()` gives the rows by name, and prints as a list of them.
"""

import sys
from types import ModuleType

from qifscan.dynamics.domain import (
    FRACTION as FRACTION,
)
from qifscan.dynamics.domain import (
    NON_NEGATIVE as NON_NEGATIVE,
)
from qifscan.dynamics.domain import (
    NONZERO as NONZERO,
)
from qifscan.dynamics.domain import (
    POSITIVE as POSITIVE,
)
from qifscan.dynamics.domain import (
    REAL as REAL,
)
from qifscan.dynamics.domain import (
    Domain as Domain,
)
from qifscan.dynamics.model import (
    Constants as Constants,
)
from qifscan.dynamics.model import (
    Model as Model,
)
from qifscan.dynamics.model import (
    Parameter as Parameter,
)
from qifscan.dynamics.model import (
    State as State,
)
from qifscan.dynamics.model import (
    Variable as Variable,
)
from qifscan.dynamics.model import (
    absorbing as absorbing,
)
from qifscan.dynamics.models import (
    ADAPTATION as ADAPTATION,
)
from qifscan.dynamics.models import (
    ADAPTATION_CURRENT as ADAPTATION_CURRENT,
)
from qifscan.dynamics.models import (
    ADAPTING as ADAPTING,
)
from qifscan.dynamics.models import (
    DELAY as DELAY,
)
from qifscan.dynamics.models import (
    FAMILY as FAMILY,
)
from qifscan.dynamics.models import (
    GAST as GAST,
)
from qifscan.dynamics.models import (
    MODELS as MODELS,
)
from qifscan.dynamics.models import (
    NEURONS as NEURONS,
)
from qifscan.dynamics.models import (
    POPULATION as POPULATION,
)
from qifscan.dynamics.models import (
    QIF as QIF,
)
from qifscan.dynamics.models import (
    Models as Models,
)
from qifscan.dynamics.models import (
    R as R,
)
from qifscan.dynamics.models import (
    Recurrent as Recurrent,
)
from qifscan.dynamics.models import (
    V as V,
)
from qifscan.dynamics.models import (
    models as models,
)
from qifscan.dynamics.models import (
    neuron_constants as neuron_constants,
)
from qifscan.dynamics.models import (
    population as population,
)
from qifscan.dynamics.models import (
    relative as relative,
)
from qifscan.dynamics.models import (
    squares_of_population as squares_of_population,
)


class _Called(ModuleType):
    """This module: users' files import from it, and `qifscan.models()` calls it."""

    def __call__(self) -> Models:
        """Do what `models` does."""
        return models()


sys.modules[__name__].__class__ = _Called
