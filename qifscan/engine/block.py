"""One block of points: its steps, the transient, the window, and what comes of it. In the compiled loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, cast

from qifscan.dynamics.accumulators import SEGMENT, Instant
from qifscan.dynamics.integrators import Flow
from qifscan.dynamics.observables import total_of
from qifscan.dynamics.status import Status
from qifscan.engine import backend
from qifscan.engine.carries import Block, Checkpoint, Inputs, Kept, Moving, Noise, Outcomes, Pace, Scalar
from qifscan.engine.history import past_at_start, past_rate, range_of_past, remembered
from qifscan.engine.measure import empty_totals, window_of, with_corners
from qifscan.engine.noise_path import averages_of, drawn_pairs, initial_noise, next_noise
from qifscan.engine.tangents import frame_at_start, orthonormal, with_growth
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import jax
    import jax.numpy as jnp
    from jax import lax

    from qifscan.dynamics.accumulators import State
    from qifscan.engine.carries import Past, Totals
    from qifscan.engine.program import Program

    Segments = dict[str, object]
    """By the name of an accumulator its segment, as its total in `Totals`."""
    Samples = tuple[jax.Array, jax.Array]
    Record = jax.Array | None
    """Room for the states that are kept, `(rows, variables, lanes)`."""
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


def all_blocks(program: Program, blocks: Inputs, pace: Pace, rows: jax.Array, samples: Samples) -> Outcomes:
    """Run all blocks, on a processor one after the other: what is compiled. All but `samples`, and `rows`, as
    long as a record, have a first axis for the blocks."""
    at_once, leaves_of = backend.blocks_at_once(), _Leaves()
    gathered = lax.map(
        lambda pair: leaves_of.together(_block(program, pair[0], pair[1], rows, samples)),
        (blocks, pace),
        batch_size=at_once if at_once > 1 else None,
    )
    return leaves_of.apart(gathered)


class _Leaves:
    """The leaves of a tree, those of one shape and type as one array.

    XLA writes what comes of a block into the arrays of all blocks. One array it changes in place; of several
    it makes one operation, which copies them whole for every block.
    """

    def together(self, tree: Outcomes) -> list[jax.Array]:
        """Return one array for each shape and type, with a first axis for its leaves."""
        leaves, self._tree = jax.tree.flatten(tree)
        kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]
        self._kinds = sorted(set(kinds), key=kinds.index)
        self._places = [self._kinds.index(kind) for kind in kinds]
        return [
            jnp.stack([leaf for leaf, place in zip(leaves, self._places, strict=True) if place == k])
            for k in range(len(self._kinds))
        ]

    def apart(self, arrays: list[jax.Array]) -> Outcomes:
        """Return the tree, its leaves with a first axis for the blocks."""
        seen = [iter(range(array.shape[1])) for array in arrays]
        tree: Outcomes = jax.tree.unflatten(self._tree, [arrays[k][:, next(seen[k])] for k in self._places])
        return tree


def _block(program: Program, given: Inputs, pace: Pace, rows: jax.Array, samples: Samples) -> Outcomes:
    """Run one block: the transient, then the window, then the observables."""
    of_drive = dict(zip(("drive_samples", "drive_integrals"), samples, strict=True))
    lag = None if given.delay is None else given.delay / pace.dt
    block = Block(given.bridge, given.constants | of_drive, given.key, lag, given.state)
    record = _empty_record(program, block.state, rows)
    if given.checkpoint is not None:
        moving, totals = _resumed(program, block, pace, given.checkpoint)
    else:
        moving, record = _transient(program, block, pace, _at_start(program, block), record)
        at = _instant(program, block, pace, pace.transient, moving)
        totals = empty_totals(program, block.constants, pace, at)
    moving, record, totals, checkpoint = _window(program, block, pace, (moving, record, totals))
    return _finish(program, block, pace, (moving, record, totals, checkpoint))


def _at_start(program: Program, block: Block) -> Moving:
    """Return what moves, at the start of the run."""
    state = block.state
    noise, pairs = initial_noise(program, block)
    estimate = jnp.zeros_like(state[0])
    below = _below(program, jnp.zeros(state[0].shape, jnp.int32))
    frame, growth = frame_at_start(program, state)
    return Moving(below, estimate, frame, growth, noise, pairs, past_at_start(program, state), state)


def _step(program: Program, block: Block, pace: Pace, n: jax.Array, moving: Moving) -> Moving:
    """Advance state and noise from step n to n + 1."""
    model, noise = program.model, moving.noise
    later, pairs = next_noise(program, block, pace, n, moving)
    system = Flow(model, block.constants, program.noisy)
    averages = averages_of(program, block, n, noise, later)
    inputs = _inputs(program, block, pace, n, (noise, later), averages)
    past = moving.past
    if past is not None:
        # The slope of the rate does not depend on the delay.
        slope = system.slope(moving.state, inputs(0.0))[0]
        past = remembered(past, n, moving.state[0], slope)
        inputs = _inputs(program, block, pace, n, (noise, later), averages, past)
    dt = pace.dt.astype(program.precision)
    rates = [i for i, variable in enumerate(model.variables) if variable.rate]

    def advance(state: State) -> tuple[State, tuple[jax.Array, jax.Array]]:
        state, estimate = program.integrator.step(system, state, inputs, dt)
        lowest = functools.reduce(jnp.minimum, [state[i] for i in rates])
        if program.reflect:
            state = tuple(jnp.abs(y) if i in rates else y for i, y in enumerate(state))
        return state, (estimate, lowest)

    frame, growth = moving.frame, moving.growth
    if frame is not None:
        state, along, (estimate, lowest) = jax.linearize(advance, moving.state, has_aux=True)
        frame, growth = orthonormal([along(direction) for direction in frame])
    else:
        state, (estimate, lowest) = advance(moving.state)
    if block.lag is not None:
        # A rate delayed by less than a step is not known yet.
        known = (block.lag >= 1.0) | (block.lag == 0.0)
        estimate = jnp.where(known, estimate, jnp.inf)
    # A NaN state stays NaN, and so does its estimate. The old value is not the one by default, since it
    # would be kept by a masked store, which costs an AMD core 20 cycles.
    largest = jnp.where(moving.estimate > estimate, moving.estimate, estimate)
    below = _lowered(program, moving.below, lowest)
    return Moving(below, largest, frame, growth, later, pairs, past, state)


def _lowered(program: Program, below: jax.Array, lowest: jax.Array) -> jax.Array:
    """Return what is known of rates below 0 after a step to a state with this lowest rate."""
    return below + (lowest < 0) if program.counting else jnp.where(lowest < below, lowest, below)


def _below(program: Program, steps: jax.Array) -> jax.Array:
    """Return what is known of rates below 0 after so many steps with one: their number, or a rate that is the
    lowest, or 0."""
    return steps if program.counting else -steps.astype(program.precision)


def _negative_steps(program: Program, moving: Moving) -> jax.Array:
    """Return the steps with a rate below 0, or 1 if they are not counted."""
    below = moving.below
    return below if program.counting else (below < 0).astype(jnp.int32)


def _inputs(
    program: Program,
    block: Block,
    pace: Pace,
    n: jax.Array,
    noise: tuple[Mapping[str, Noise], Mapping[str, Noise]],
    averages: Mapping[str, jax.Array],
    past: Past | None = None,
) -> Callable[[float], State]:
    """Return what gives the additive inputs at a fraction of step n: noise, drive, and what is delayed.

    Noise is linear between the ends of a step, or what `averages` has of it all along the step.
    """
    model, constants = program.model, block.constants
    now, later = noise
    # A number of Python, which takes the type of what is added to it.
    zero = cast("jax.Array", 0.0)

    def inputs(fraction: float) -> State:
        values = []
        for name in model.variable_names:
            value = zero if name in program.still else constants.get(f"{name}_mean", zero)
            if name in averages:
                value = averages[name]
            elif name in now:
                value = _at_fraction(now[name].now, later[name].now, fraction)
            if name == model.stimulated and program.drive is not None:
                time = n.astype(jnp.float64) * pace.dt
                drive = program.drive.current(time, pace.dt, fraction, constants)
                value = value + drive.astype(program.precision)
            if name == model.driven and past is not None:
                value = value + constants["past"] * past_rate(block, past, n, pace.dt, fraction)
            values.append(value)
        return tuple(values)

    return inputs


def _at_fraction(now: jax.Array, later: jax.Array, fraction: float) -> jax.Array:
    if fraction == 0.0:
        return now
    return later if fraction == 1.0 else (1.0 - fraction) * now + fraction * later


def _transient(
    program: Program, block: Block, pace: Pace, moving: Moving, record: Record
) -> tuple[Moving, Record]:
    """Run to the start of the window; a recorded run stops where a state is kept."""
    if not program.transient:
        return moving, record

    def step(n: jax.Array, moving: Moving) -> Moving:
        return _step(program, block, pace, n, moving)

    if record is None:
        return lax.fori_loop(0, pace.transient, step, moving), record

    def piece(carry: tuple[jax.Array, Moving, jax.Array]) -> tuple[jax.Array, Moving, jax.Array]:
        n, moving, record = carry
        stop = jnp.minimum(_next_multiple(n, pace.every), pace.transient)
        moving = lax.fori_loop(n, stop, step, moving)
        return stop, moving, _write(record, pace, stop, moving.state)

    start = (jnp.int32(0), moving, record)
    _, moving, record = lax.while_loop(lambda carry: carry[0] < pace.transient, piece, start)
    return moving, record


def _next_multiple(n: jax.Array, of: jax.Array | int) -> jax.Array:
    return (n // of + 1) * of


def _instant(program: Program, block: Block, pace: Pace, n: jax.Array, moving: Moving) -> Instant:
    """Return what the accumulators see between two steps, before step n."""
    noise, c = moving.noise, block.constants
    # A path that the steps do not resolve has no slope there.
    averages = {name: c[f"{name}_mean"] for name in noise} if program.averaged else {}
    system = Flow(program.model, c, program.noisy)
    inputs = _inputs(program, block, pace, n, (noise, noise), averages, moving.past)
    return Instant(with_growth(moving), system.slope(moving.state, inputs(0.0)))


def _checkpoint(program: Program, moving: Moving, totals: Totals) -> Checkpoint | None:
    """Return what a longer window goes on from, in one form whether the noise is bridged or not."""
    if not program.kept:
        return None
    noise = {name: n if program.bridged else Noise(n.now, n.now, n.now) for name, n in moving.noise.items()}
    count = _negative_steps(program, moving)
    kept = Kept(moving.estimate, moving.frame, moving.growth, count, noise, moving.state)
    return Checkpoint(kept, totals)


def _resumed(program: Program, block: Block, pace: Pace, checkpoint: Checkpoint) -> tuple[Moving, Totals]:
    """Return what moves and the totals, as they were when the checkpoint was taken."""
    kept, totals = checkpoint
    noise, pairs = kept.noise, None
    if not program.bridged:
        noise = {name: Noise(None, None, n.now) for name, n in noise.items()}
        assert pace.behind is not None
        pairs = drawn_pairs(program, block.key, pace.behind) if program.noisy else None
    below = _below(program, kept.negative_steps)
    moving = Moving(below, kept.estimate, kept.frame, kept.growth, noise, pairs, None, kept.state)
    return moving, totals


def _opened(program: Program, totals: Totals, moving: Moving) -> Segments:
    return {name: f.open(totals[name], with_growth(moving)) for name, f in program.accumulators.items()}


def _closed(
    program: Program, block: Block, pace: Pace, ended: tuple[jax.Array, Moving, Totals, Segments]
) -> tuple[Totals, Segments]:
    """Return the totals with the segments that end at a step in them, and new segments."""
    stop, moving, totals, segments = ended
    at, window = _instant(program, block, pace, stop, moving), window_of(program, pace)
    after = stop - pace.transient
    needed = program.accumulators.items()
    totals = {k: f.close(totals[k], segments[k], at, after, window) for k, f in needed}
    return totals, _opened(program, totals, moving)


def _window(
    program: Program, block: Block, pace: Pace, started: tuple[Moving, Record, Totals]
) -> tuple[Moving, Record, Totals, Checkpoint | None]:
    """Run the window: accumulate every step, close a segment every `SEGMENT` steps and at the end.

    The checkpoint is taken where the last whole segment ends: a longer window would not end one at the end.
    A select would take twenty passes over the block with every segment for it, 2 % of the steps.
    """
    needed, begin = program.accumulators, pace.transient
    window = with_corners(window_of(program, pace), program, block.constants, pace)
    whole = pace.end - (pace.end - begin) % SEGMENT

    def accumulated_step(n: jax.Array, carry: tuple[Moving, Segments]) -> tuple[Moving, Segments]:
        moving, segments = carry
        was, moving = with_growth(moving), _step(program, block, pace, n, moving)
        now, after = with_growth(moving), n - begin
        return moving, {k: f.update(segments[k], was, now, after, window) for k, f in needed.items()}

    def piece(carry: _Window) -> _Window:
        n, moving, segments, totals, record, checkpoint = carry
        boundary = jnp.minimum(begin + _next_multiple(n - begin, SEGMENT), pace.end)
        stop = boundary if record is None else jnp.minimum(boundary, _next_multiple(n, pace.every))
        # If they were carried besides the totals, they would be copied for every segment.
        opened = _opened(program, totals, moving) if segments is None else segments
        moving, opened = lax.fori_loop(n, stop, accumulated_step, (moving, opened))
        if record is not None:
            record = _write(record, pace, stop, moving.state)
            totals, segments = lax.cond(
                stop == boundary,
                lambda t, s: _closed(program, block, pace, (stop, moving, t, s)),
                lambda t, s: (t, s),
                totals,
                opened,
            )
        else:
            totals, _ = _closed(program, block, pace, (stop, moving, totals, opened))
        here = _checkpoint(program, moving, totals)
        checkpoint = lax.cond(stop == whole, lambda a, b: a, lambda a, b: b, here, checkpoint)
        return _Window(stop, moving, segments, totals, record, checkpoint)

    moving, record, totals = started
    first = begin if pace.behind is None else pace.behind
    segments = None if record is None else _opened(program, totals, moving)
    start = _Window(first, moving, segments, totals, record, _checkpoint(program, moving, totals))
    last = lax.while_loop(lambda carry: carry.n < pace.end, piece, start)
    return last.moving, last.record, last.totals, last.checkpoint


class _Window(NamedTuple):
    """What the loop over the segments of a window carries: the step that is next, what moves, the segments
    that are open, where states are recorded, the totals, the record, and the checkpoint."""

    n: Scalar
    moving: Moving
    segments: Segments | None
    totals: Totals
    record: Record
    checkpoint: Checkpoint | None


def _empty_record(program: Program, state: State, rows: jax.Array) -> Record:
    """Return room for the record, its first row holding the initial state, its last what is not kept."""
    if not program.recorded:
        return None
    record = jnp.zeros((rows.shape[0], len(state), *state[0].shape), state[0].dtype)
    return record.at[0].set(jnp.stack(state))


def _write(record: jax.Array, pace: Pace, stop: jax.Array, state: State) -> jax.Array:
    kept = stop % pace.every == 0
    row = jnp.where(kept, stop // pace.every, record.shape[0] - 1)
    return record.at[row].set(jnp.stack(state))


def _finish(
    program: Program,
    block: Block,
    pace: Pace,
    ended: tuple[Moving, Record, Totals, Checkpoint | None],
) -> Outcomes:
    """Return what comes of a block at the end of its window."""
    moving, record, totals, checkpoint = ended
    state, dtype, negative = moving.state, jnp.dtype(program.precision), _negative_steps(program, moving)
    window, needed = window_of(program, pace), program.accumulators
    finite = jnp.all(jnp.stack([jnp.isfinite(y) for y in state]), axis=0)
    measured = {}
    for row in program.observables:
        value = row.finalize(total_of(row, totals, needed), window)
        measured[row.name] = jnp.where(finite, value, jnp.nan).astype(dtype)
    status = (
        jnp.where(finite, 0, int(Status.diverged))
        | jnp.where(negative > 0, int(Status.rate_negative), 0)
        | int(Status.computed)
    )
    return Outcomes(
        observables=measured,
        status=status.astype(jnp.uint8),
        final=jnp.stack(state),
        estimate=moving.estimate,
        negative_steps=negative,
        record=record,
        checkpoint=checkpoint,
        past=None if moving.past is None else range_of_past(block, pace, moving.past),
    )
