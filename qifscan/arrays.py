"""Types of arrays, as every module of theory names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Index: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Values: TypeAlias = Mapping[str, Any]
