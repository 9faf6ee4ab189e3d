"""The delays of a population: rings of the last values of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from qifscan.arrays import Column as Array
from qifscan.arrays import Index
from qifscan.dynamics.domain import REAL
from qifscan.errors import Fault, ScanError, counted, show, unknown
from qifscan.reference.arguments import Given, checked_array
from qifscan.reference.named import Named

Shape = tuple[int, ...]
Delays = ArrayLike | Callable[[Shape], ArrayLike] | None


MOVING = ("x", "y", "x_ou", "y_ou")
"""The variables that a step moves."""


class Delay:
    """The last values of a variable: a ring of `length` + 1 rows."""

    def __init__(self, target: str, length: int, initial: Given | None) -> None:
        self.target, self.length, self.initial = target, length, initial
        self.rows, self.head = np.zeros((1,)), 0

    def reset(self, identifier: str, value: Array) -> None:
        """Begin again: the value now, and the initial data before it, zeros if there are none."""
        shape = (self.length, *value.shape)
        initial = 0.0 if self.initial is None else self.initial
        before = checked_array(f"the initial data of delay {show(identifier)}", initial, REAL, shape)
        self.rows, self.head = np.concatenate([value[None], before.astype(value.dtype)]), 0

    def push(self, value: Array) -> None:
        """Append the value of now."""
        self.head = (self.head - 1) % len(self.rows)
        self.rows[self.head] = value

    @property
    def ordered(self) -> Array:
        """The rows, the newest first."""
        rows: Array = np.roll(self.rows, -self.head, axis=0)
        return rows

    def at(self, steps: Array, places: tuple[Index, ...]) -> Array:
        """Return the values so many pushes ago, at these places of the variable if any are given."""
        rows = (self.head + steps) % len(self.rows)
        if places or rows.ndim == 0:
            return np.array(self.rows[(rows, *places)])
        full = np.broadcast_to(rows, self.rows.shape[1:])
        return np.array(np.take_along_axis(self.rows, full[None], axis=0)[0])


def checked_delay(steps: object, shape: Shape) -> Array:
    """Return delays in steps as whole numbers."""
    counts = np.asarray(steps(shape) if callable(steps) else steps)
    if counts.dtype.kind not in "iu" or np.any(counts < 0):
        raise ScanError(
            [Fault("delay_step", show(counts), "a number of steps, 0 or more, or an array of them")]
        )
    return counts.astype(np.int64)


class Delayed(Named):
    """The delays of a population: the last values of its variables."""

    _delays: dict[str, Delay]

    @property
    def global_delay_data(self) -> dict[str, tuple[Array, Array]]:
        """The delays of this object by identifier: the last values, newest first, and the value of now."""
        return {key: (delay.ordered, self._arrays[delay.target]) for key, delay in self._delays.items()}

    def register_delay(
        self,
        identifier: str,
        delay_step: Delays,
        delay_target: object,
        initial_delay_data: Given | None = None,
    ) -> Delays:
        """Keep the last values of a variable; return `delay_step`.

        `delay_step` is the longest delay in steps, an array of them, a function of the shape of the
        variables, or None for no delay. `delay_target` is a variable of this object or its name ("x", "y",
        "x_ou", "y_ou"). `initial_delay_data` are the values before the start, a number, an array that
        broadcasts to `(steps, *shape)` with the delay of one step first, or a function of that shape; zeros
        for None. A longer delay of a known identifier begins it anew.

        Raises `ScanError` if a delay is not a whole number of steps, the target not of this object, or the
        identifier already that of another variable.
        """
        if not isinstance(identifier, str):
            raise ScanError([Fault("identifier", show(identifier), "a name")])
        target = self._target_name(delay_target)
        known = self._delays.get(identifier)
        if known is not None and known.target != target:
            found = f"{show(identifier)}, the delay of {known.target}"
            raise ScanError([Fault("identifier", found, f"another for {target}")])
        steps = np.zeros(1, dtype=int)
        if delay_step is not None:
            steps = checked_delay(delay_step, self._arrays["x"].shape)
            delay_step = steps if callable(delay_step) else delay_step
        if known is None or known.length < np.max(steps):
            delay = Delay(target, int(np.max(steps)), initial_delay_data)
            delay.reset(identifier, self._arrays[target])
            self._delays[identifier] = delay
        return delay_step

    def _target_name(self, target: object) -> str:
        for name in MOVING:
            if target is self._arrays[name] or (isinstance(target, str) and target == name):
                return name
        raise ScanError([Fault("delay_target", show(target), f"one of {', '.join(MOVING)} of this object")])

    def get_delay_data(self, identifier: str, delay_step: Delays, *indices: Index) -> Array:
        """Return the value of a delay `delay_step` updates ago: 0 is the last one, None the variable now.

        An array of steps that broadcasts to the shape of the variable gives each population its own delay;
        with `indices` into the variable, its entries belong to those. Raises `ScanError` for an unknown
        identifier, and for more steps than were registered.
        """
        if identifier not in self._delays:
            raise ScanError([unknown("identifier", identifier, self._delays)])
        delay = self._delays[identifier]
        if delay_step is None:
            return np.array(self._arrays[delay.target][indices])
        steps = checked_delay(delay_step, self._arrays["x"].shape)
        if np.any(steps > delay.length):
            expected = f"at most {counted(delay.length, 'step')}, as registered for {show(identifier)}"
            raise ScanError([Fault("delay_step", str(np.max(steps)), expected)])
        return delay.at(steps, indices)

    def update_local_delays(self, nodes: Named | Sequence[Named] | Mapping[str, Named] | None = None) -> None:
        """Append the values of now to every delay of this object, or of others; call it after `update`."""
        for node in self._nodes_of(nodes):
            for delay in cast("Delayed", node)._delays.values():
                delay.push(node._arrays[delay.target])

    def reset_local_delays(self, nodes: Named | Sequence[Named] | Mapping[str, Named] | None = None) -> None:
        """Begin every delay of this object, or of others, again: the value of now and the initial data."""
        for node in self._nodes_of(nodes):
            for identifier, delay in cast("Delayed", node)._delays.items():
                delay.reset(identifier, node._arrays[delay.target])
