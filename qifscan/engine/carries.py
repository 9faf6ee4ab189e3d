"""What a batch reads and what it carries through time, with the shape of each part.

`lanes` is the number of points in a block, `(points,)` of several blocks while they are packed. Numbers have
the precision of the scan unless it says otherwise; what a program does not need is None. JAX takes the fields
in the order in which they stand, and what is kept in a store is in that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

from qifscan.arrays import Exact, Flags, Lanes, Rows

if TYPE_CHECKING:
    import jax


Totals = dict[str, object]
"""By the name of an accumulator its total at the end of a segment: see `dynamics.accumulators`."""

Scalar = Annotated["jax.Array", "", "int32"]
Word = Annotated["jax.Array", "lanes", "uint32"]
Truths = Annotated["jax.Array", "lanes", "bool"]
Depths = Annotated["jax.Array", "depths lanes"]
Samples = Annotated["jax.Array", "samples", "float64"]
Frame: TypeAlias = "tuple[tuple[jax.Array, ...], ...]"


class Pace(NamedTuple):
    """The steps of a block, one number each, an int32 but for `dt`.

    `behind`: steps that are behind it, where it goes on from a checkpoint; `depth`: how often a step of the
    grid of the noise is halved; `dt`: the step, ms; `end`, `transient`: steps of the run, and before the
    window; `every`: steps from one record to the next; `sample_steps`: steps in a sample of a spectrum.
    """

    behind: Scalar | None
    depth: Scalar
    dt: Annotated[jax.Array, "", "float64"]
    end: Scalar
    every: Scalar
    sample_steps: Scalar
    transient: Scalar


class Noise(NamedTuple):
    """The noise on a variable, `(lanes,)` each in the unit of its input: on the grid on which its path is
    drawn the value before and after this step, where steps are finer than the grid; and the value now."""

    begin: Lanes | None
    end: Lanes | None
    now: Lanes


class Ends(NamedTuple):
    """The values of the noise between which a path is filled in, `(lanes,)` each."""

    begin: Lanes
    end: Lanes


class Past(NamedTuple):
    """What is remembered for a delay: the first variable and its derivative at the last steps, `(rows,
    lanes)` each, a row for each step modulo their number; and its value at the start, `(lanes,)`."""

    rate: Rows
    slope: Rows
    start: Lanes


class Moving(NamedTuple):
    """What moves with every step.

    `below`: the steps with a rate below 0, or the lowest rate, or 0, where they are not counted, `(lanes,)`;
    `estimate`: the largest estimate of a step, a squared relative size, `(lanes,)`; `frame`: directions along
    the trajectory, orthonormal, `(lanes,)` of each variable; `growth`: the logarithms of their growth in the
    last step, `(lanes,)` each; `noise`: by variable; `pairs`: the normals of this step and its neighbour,
    uint64 `(variables, lanes)` or two arrays of that shape; `past`: for a delay; `state`: `(lanes,)` of each
    variable.
    """

    below: Lanes | Flags
    estimate: Lanes
    frame: tuple[tuple[Lanes, ...], ...] | None
    growth: tuple[Lanes, ...] | None
    noise: dict[str, Noise]
    pairs: tuple[jax.Array, jax.Array] | jax.Array | None
    past: Past | None
    state: tuple[Lanes, ...]


class Kept(NamedTuple):
    """What moves, as a checkpoint has it: `noise` with both ends of its step, whether its path is filled in
    or not, and the number of steps with a rate below 0, int32 `(lanes,)`; the rest as in `Moving`."""

    estimate: Lanes
    frame: tuple[tuple[Lanes, ...], ...] | None
    growth: tuple[Lanes, ...] | None
    negative_steps: Flags
    noise: dict[str, Noise]
    state: tuple[Lanes, ...]


class Checkpoint(NamedTuple):
    """What a longer window goes on from, after a whole number of segments."""

    moving: Kept
    totals: Totals


class Inputs(NamedTuple):
    """What the compiled program reads of points, computed once: NumPy's arrays `(points,)` as they are made,
    then a block's, `(lanes,)`.

    `bridge`: what halves a step of a path of noise, `(points, depths)`, of a block `(depths, lanes)`;
    `checkpoint`: where the points go on from, or one for each part of a program; `constants`: what equations,
    noise and drive read, those of the drive in float64 or bool; `delay`: ms, float64; `key`: two words uint32
    that name the noise; `state`: where the points start.
    """

    bridge: dict[str, Depths]
    checkpoint: Checkpoint | None
    constants: dict[str, Lanes | Exact | Truths]
    delay: Exact | None
    key: tuple[Word, Word]
    state: tuple[Lanes, ...]


class Block(NamedTuple):
    """`Inputs` of one block as its steps read them: among the constants the samples of the drive and their
    integral, float64 `(samples,)`, and `lag`, the delay in steps, float64 `(lanes,)`."""

    bridge: dict[str, Depths]
    constants: dict[str, Lanes | Exact | Truths | Samples]
    key: tuple[Word, Word]
    lag: Exact | None
    state: tuple[Lanes, ...]


class Outcomes(NamedTuple):
    """What comes of a block: the checkpoint; largest estimate of a step, `(lanes,)`; final state,
    `(variables, lanes)`; steps with a rate below 0; observables by name, `(lanes,)`; the lowest and the
    highest rate of the last delay, `(2, lanes)`; the record, `(rows, variables, lanes)`; status, uint8."""

    checkpoint: Checkpoint | None
    estimate: Lanes
    final: Annotated[jax.Array, "variables lanes"]
    negative_steps: Flags
    observables: dict[str, Lanes]
    past: Annotated[jax.Array, "2 lanes"] | None
    record: Annotated[jax.Array, "rows variables lanes"] | None
    status: Annotated[jax.Array, "lanes", "uint8"]
