"""What `QIF` may be given: each argument checked, with one line for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qifscan.arrays import Column as Array
from qifscan.dynamics.domain import REAL, Domain
from qifscan.errors import Fault, ScanError, check_count, counted, show, unknown
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax

    from qifscan.reference.population import QIF
else:
    jax = LazyModule("jax")


Shape = tuple[int, ...]
Given = ArrayLike | Callable[[Shape], ArrayLike]
"""What a user gives for an array: a number, an array of numbers, or a function of the shape."""


# What a user gives


@contextmanager
def collected(faults: list[Fault]) -> Iterator[None]:
    """Collect the faults that are raised inside."""
    try:
        yield
    except ScanError as error:
        faults += error.faults


def checked_array(name: str, given: object, domain: Domain, shape: Shape | None, hint: str = "") -> Array:
    """Return a value as a float64 array of a shape (None: whatever it has)."""
    if callable(given):
        return np.zeros(()) if shape is None else checked_array(name, given(shape), domain, shape, hint)
    if isinstance(given, jax.core.Tracer):
        hint = "trace qifscan.reference.stepping.prepare and step instead"
        raise ScanError([Fault(name, "a value that JAX traces", "numbers", hint)])
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        words = "a number, an array of numbers, or a function of the shape"
        raise ScanError([Fault(name, show(given), words)])
    array = array.astype(np.float64)
    wrong = np.argwhere(~(np.isfinite(array) & domain.holds(array)))
    if len(wrong):
        place = f" at {tuple(wrong[0].tolist())}" if array.ndim else ""
        raise ScanError([Fault(name, f"{array[tuple(wrong[0])]}{place}", domain.words)])
    try:
        whole: Array = np.array(array if shape is None else np.broadcast_to(array, shape))
        return whole
    except ValueError:
        fault = Fault(name, f"an array of shape {array.shape}", f"one that broadcasts to {shape}", hint)
        raise ScanError([fault]) from None


def checked_size(size: object) -> Shape:
    """Return the shape of a population of this size."""
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if not sizes:
        raise ScanError([Fault("size", show(size), "a number of populations, or a tuple of them")])
    for count in sizes:
        check_count("size", count)
    return tuple(index(count) for count in sizes)


def check_choice(where: str, given: object, known: Sequence[str]) -> None:
    """Raise `ScanError` unless this is one of the known names."""
    if not (isinstance(given, str) and given in known):
        raise ScanError([unknown(where, given, known)])


def shared_arguments(first: object) -> dict[str, Any]:
    """Return what the reference shares with every update, t, dt and i; empty for anything else."""
    names = ("t", "dt", "i")
    if isinstance(first, Mapping):
        return {name: first[name] for name in names if name in first}
    return {name: getattr(first, name) for name in names if hasattr(first, name)}


def check_step(shared: Mapping[str, Any], dt: float) -> None:
    """Raise `ScanError` unless a step that the reference shares is that of the object."""
    given = shared.get("dt")
    if given is not None and not np.isclose(float(given), dt, rtol=1e-9, atol=0.0):
        hint = "the step is an argument of QIF"
        raise ScanError([Fault("tdi.dt", show(given), f"{dt:g}, the step of the population", hint)])


def checked_drive(population: QIF, name: str, values: object, steps: int) -> Array:
    """Return inputs with time first, `(steps or 1, ...)`, which broadcast to the variables."""
    shape = population.x.shape
    expected = f"a number, or time first: ({steps},) or {(steps, *shape)}"
    if callable(values):
        raise ScanError([Fault(name, show(values), expected)])
    value = checked_array(name, 0.0 if values is None else values, REAL, None)
    if value.ndim == 0:
        return np.full((1, *shape), value, dtype=population.precision)
    if value.ndim == 1:
        value = value.reshape(-1, *(1,) * len(shape))
    if len(value) not in (1, steps):
        raise ScanError([Fault(name, counted(len(value), "row"), f"{steps}, one for every step")])
    fits = value.ndim == len(shape) + 1
    if not fits or any(n not in (1, m) for n, m in zip(value.shape[1:], shape, strict=True)):
        raise ScanError([Fault(name, f"an array of shape {value.shape}", expected)])
    return value.astype(population.precision)
