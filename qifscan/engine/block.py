"""One block of points: its steps, the transient, the window, and what comes of it. In the compiled loop."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from qifscan.dynamics.accumulators import SEGMENT, Instant
from qifscan.dynamics.integrators import System
from qifscan.dynamics.observables import total_of
from qifscan.dynamics.status import Status
from qifscan.engine import backend
from qifscan.engine.history import past_at_start, past_rate, range_of_past, remembered
from qifscan.engine.measure import empty_totals, window_of, with_corners
from qifscan.engine.noise_path import averages_of, drawn_pairs, initial_noise, next_noise
from qifscan.engine.tangents import frame_at_start, orthonormal, with_growth
from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax

    from qifscan.engine.program import Program
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")


Tree = Any


def all_blocks(program: Program, blocks: Tree, pace: Tree, rows: Any, samples: Any) -> Tree:
    """Run all blocks, on a processor one after the other: what is compiled."""
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

    def together(self, tree: Tree) -> Tree:
        """Return one array for each shape and type, with a first axis for its leaves."""
        leaves, self._tree = jax.tree.flatten(tree)
        kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]
        self._kinds = sorted(set(kinds), key=kinds.index)
        self._places = [self._kinds.index(kind) for kind in kinds]
        return [
            jnp.stack([leaf for leaf, place in zip(leaves, self._places, strict=True) if place == k])
            for k in range(len(self._kinds))
        ]

    def apart(self, arrays: Tree) -> Tree:
        """Return the tree, its leaves with a first axis for the blocks."""
        seen = [iter(range(array.shape[1])) for array in arrays]
        return jax.tree.unflatten(self._tree, [arrays[k][:, next(seen[k])] for k in self._places])


def _block(program: Program, block: Tree, pace: Tree, rows: Any, samples: Any) -> Tree:
    """Run one block: the transient, then the window, then the observables."""
    of_drive = dict(zip(("drive_samples", "drive_integrals"), samples, strict=True))
    block = block | {"constants": block["constants"] | of_drive}
    if program.history:
        block = block | {"lag": block["delay"] / pace["dt"]}
    record = _empty_record(program, block["state"], rows)
    if program.resumed:
        moving, totals = _resumed(program, block, pace)
    else:
        moving, record = _transient(program, block, pace, _at_start(program, block), record)
        at = _instant(program, block, pace, pace["transient"], moving)
        totals = empty_totals(program, block["constants"], pace, at)
    moving, record, totals, checkpoint = _window(program, block, pace, (moving, record, totals))
    finished = _finish(program, pace, moving, totals, record) | {"checkpoint": checkpoint}
    return finished | ({"past": range_of_past(block, pace, moving)} if program.history else {})


def _at_start(program: Program, block: Tree) -> Tree:
    """Return what moves, at the start of the run."""
    state = block["state"]
    return {
        "state": state,
        **initial_noise(program, block),
        "estimate": jnp.zeros_like(state[0]),
        "below": _below(program, jnp.zeros(state[0].shape, jnp.int32)),
        **frame_at_start(program, state),
        **past_at_start(program, state),
    }


def _step(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Tree:
    """Advance state and noise from step n to n + 1."""
    model, noise = program.model, moving["noise"]
    drawn = next_noise(program, block, pace, n, moving)
    later = drawn["noise"]
    system = System(model, block["constants"], program.noisy)
    averages = averages_of(program, block, n, noise, later)
    inputs = _inputs(program, block, pace, n, (noise, later), averages)
    further: Tree = {}
    if program.history:
        # The slope of the rate does not know of the delay.
        slope = system.slope(moving["state"], inputs(0.0))[0]
        further = {"past": remembered(moving["past"], n, moving["state"][0], slope)}
        inputs = _inputs(program, block, pace, n, (noise, later), averages, further["past"])
    dt = pace["dt"].astype(program.precision)
    rates = [i for i, variable in enumerate(model.variables) if variable.rate]

    def advance(state: Any) -> tuple[Any, tuple[Any, Any]]:
        state, estimate = program.integrator.step(system, state, inputs, dt)
        lowest = functools.reduce(jnp.minimum, [state[i] for i in rates])
        if program.reflect:
            state = tuple(jnp.abs(y) if i in rates else y for i, y in enumerate(state))
        return state, (estimate, lowest)

    if "frame" in moving:
        state, along, (estimate, lowest) = jax.linearize(advance, moving["state"], has_aux=True)
        frame, growth = orthonormal([along(direction) for direction in moving["frame"]])
        further |= {"frame": frame, "growth": growth}
    else:
        state, (estimate, lowest) = advance(moving["state"])
    if program.history:
        # What is delayed by less than a step is not known yet.
        known = (block["lag"] >= 1.0) | (block["lag"] == 0.0)
        estimate = jnp.where(known, estimate, jnp.inf)
    return further | {
        "state": state,
        **drawn,
        # A NaN state stays NaN, and so does its estimate. The old value is not the one by default, since it
        # would be kept by a masked store, which costs an AMD core 20 cycles.
        "estimate": jnp.where(moving["estimate"] > estimate, moving["estimate"], estimate),
        "below": _lowered(program, moving["below"], lowest),
    }


def _lowered(program: Program, below: Any, lowest: Any) -> Any:
    """Return what is known of rates below 0 after a step to a state with this lowest rate."""
    return below + (lowest < 0) if program.counting else jnp.where(lowest < below, lowest, below)


def _below(program: Program, steps: Any) -> Any:
    """Return what is known of rates below 0 after so many steps with one: their number, or a rate that is the
    lowest, or 0."""
    return steps if program.counting else -steps.astype(program.precision)


def _negative_steps(program: Program, moving: Tree) -> Any:
    """Return the steps with a rate below 0, or 1 if they are not counted."""
    below = moving["below"]
    return below if program.counting else (below < 0).astype(jnp.int32)


def _inputs(
    program: Program,
    block: Tree,
    pace: Tree,
    n: Any,
    noise: tuple[Tree, Tree],
    averages: Tree,
    past: Tree | None = None,
) -> Any:
    """Return what gives the additive inputs at a fraction of step n: noise, drive, and what is delayed.

    Noise is linear between the ends of a step, or what `averages` has of it all along the step.
    """
    model, constants = program.model, block["constants"]
    now, later = noise

    def inputs(fraction: float) -> Any:
        values = []
        for name in model.variable_names:
            value = 0.0 if name in program.still else constants.get(f"{name}_mean", 0.0)
            if name in averages:
                value = averages[name]
            elif name in now:
                value = _at_fraction(now[name]["now"], later[name]["now"], fraction)
            if name == model.stimulated and program.drive is not None:
                time = n.astype(jnp.float64) * pace["dt"]
                drive = program.drive.current(time, pace["dt"], fraction, constants)
                value = value + drive.astype(program.precision)
            if name == model.driven and past is not None:
                value = value + constants["past"] * past_rate(block, past, n, pace["dt"], fraction)
            values.append(value)
        return tuple(values)

    return inputs


def _at_fraction(now: Any, later: Any, fraction: float) -> Any:
    if fraction == 0.0:
        return now
    return later if fraction == 1.0 else (1.0 - fraction) * now + fraction * later


def _transient(program: Program, block: Tree, pace: Tree, moving: Tree, record: Any) -> tuple[Tree, Any]:
    """Run to the start of the window; a recorded run stops where a state is kept."""
    if not program.transient:
        return moving, record

    def step(n: Any, moving: Tree) -> Tree:
        return _step(program, block, pace, n, moving)

    if not program.recorded:
        return lax.fori_loop(0, pace["transient"], step, moving), record

    def piece(carry: Tree) -> Tree:
        n, moving, record = carry
        stop = jnp.minimum(_next_multiple(n, pace["every"]), pace["transient"])
        moving = lax.fori_loop(n, stop, step, moving)
        return stop, moving, _write(record, pace, stop, moving["state"])

    start = (jnp.int32(0), moving, record)
    _, moving, record = lax.while_loop(lambda carry: carry[0] < pace["transient"], piece, start)
    return moving, record


def _next_multiple(n: Any, of: Any) -> Any:
    return (n // of + 1) * of


def _instant(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Instant:
    """Return what the accumulators see between two steps, before step n."""
    noise, c = moving["noise"], block["constants"]
    # A path that the steps do not resolve has no slope there.
    averages = {name: c[f"{name}_mean"] for name in noise} if program.averaged else {}
    system = System(program.model, c, program.noisy)
    inputs = _inputs(program, block, pace, n, (noise, noise), averages, moving.get("past"))
    return Instant(with_growth(moving), system.slope(moving["state"], inputs(0.0)))


def _checkpoint(program: Program, moving: Tree, totals: Tree) -> Tree:
    """Return what a longer window goes on from, in one form whether the noise is bridged or not."""
    if not program.kept:
        return ()
    noise = {name: {"begin": n["now"], "end": n["now"]} | n for name, n in moving["noise"].items()}
    kept = {name: value for name, value in moving.items() if name not in {"pairs", "below"}}
    count = _negative_steps(program, moving)
    return {"moving": kept | {"noise": noise, "negative_steps": count}, "totals": totals}


def _resumed(program: Program, block: Tree, pace: Tree) -> tuple[Tree, Tree]:
    """Return what moves and the totals, as they were when the checkpoint was taken."""
    moving, totals = block["checkpoint"]["moving"], block["checkpoint"]["totals"]
    noise = moving["noise"] if program.bridged else {k: {"now": n["now"]} for k, n in moving["noise"].items()}
    kept = {name: value for name, value in moving.items() if name != "negative_steps"}
    drawing = bool(program.noisy) and not program.bridged
    pairs = {"pairs": drawn_pairs(program, block["key"], pace["behind"])} if drawing else {}
    return kept | pairs | {"noise": noise, "below": _below(program, moving["negative_steps"])}, totals


def _opened(program: Program, totals: Tree, moving: Tree) -> Tree:
    return {name: f.open(totals[name], with_growth(moving)) for name, f in program.accumulators.items()}


def _closed(program: Program, block: Tree, pace: Tree, ended: tuple[Any, Tree, Tree, Tree]) -> Tree:
    """Return the totals with the segments that end at a step in them, and new segments."""
    stop, moving, totals, segments = ended
    at, window = _instant(program, block, pace, stop, moving), window_of(program, pace)
    after = stop - pace["transient"]
    needed = program.accumulators.items()
    totals = {k: f.close(totals[k], segments[k], at, after, window) for k, f in needed}
    return totals, _opened(program, totals, moving)


def _window(
    program: Program, block: Tree, pace: Tree, started: tuple[Tree, Any, Tree]
) -> tuple[Tree, Any, Tree, Tree]:
    """Run the window: accumulate every step, close a segment every `SEGMENT` steps and at the end.

    The checkpoint is taken where the last whole segment ends: a longer window would not end one at the end.
    A select would take twenty passes over the block with every segment for it, 2 % of the steps.
    """
    needed, begin = program.accumulators, pace["transient"]
    window = with_corners(window_of(program, pace), program, block["constants"], pace)
    whole = pace["end"] - (pace["end"] - begin) % SEGMENT

    def accumulated_step(n: Any, carry: Tree) -> Tree:
        moving, segments = carry
        was, moving = with_growth(moving), _step(program, block, pace, n, moving)
        now, after = with_growth(moving), n - begin
        return moving, {k: f.update(segments[k], was, now, after, window) for k, f in needed.items()}

    def piece(carry: Tree) -> Tree:
        n, moving, segments, totals, record, checkpoint = carry
        boundary = jnp.minimum(begin + _next_multiple(n - begin, SEGMENT), pace["end"])
        stop = jnp.minimum(boundary, _next_multiple(n, pace["every"])) if program.recorded else boundary
        if not program.recorded:
            # Carried as well, what is in the totals too would be copied for every segment.
            segments = _opened(program, totals, moving)
        moving, segments = lax.fori_loop(n, stop, accumulated_step, (moving, segments))
        if program.recorded:
            record = _write(record, pace, stop, moving["state"])
            totals, segments = lax.cond(
                stop == boundary,
                lambda t, s: _closed(program, block, pace, (stop, moving, t, s)),
                lambda t, s: (t, s),
                totals,
                segments,
            )
        else:
            totals, _ = _closed(program, block, pace, (stop, moving, totals, segments))
            segments = ()
        here = _checkpoint(program, moving, totals)
        checkpoint = lax.cond(stop == whole, lambda a, b: a, lambda a, b: b, here, checkpoint)
        return stop, moving, segments, totals, record, checkpoint

    moving, record, totals = started
    first = pace["behind"] if program.resumed else begin
    segments = _opened(program, totals, moving) if program.recorded else ()
    start = (first, moving, segments, totals, record, _checkpoint(program, moving, totals))
    _, moving, _, totals, record, kept = lax.while_loop(lambda carry: carry[0] < pace["end"], piece, start)
    return moving, record, totals, kept


def _empty_record(program: Program, state: Any, rows: Any) -> Any:
    """Return room for the record, its first row holding the initial state, its last what is not kept."""
    if not program.recorded:
        return ()
    record = jnp.zeros((rows.shape[0], len(state), *state[0].shape), state[0].dtype)
    return record.at[0].set(jnp.stack(state))


def _write(record: Any, pace: Tree, stop: Any, state: Any) -> Any:
    kept = stop % pace["every"] == 0
    row = jnp.where(kept, stop // pace["every"], record.shape[0] - 1)
    return record.at[row].set(jnp.stack(state))


def _finish(program: Program, pace: Tree, moving: Tree, totals: Tree, record: Any) -> Tree:
    state, dtype, negative = moving["state"], jnp.dtype(program.precision), _negative_steps(program, moving)
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
    return {
        "observables": measured,
        "status": status.astype(jnp.uint8),
        "final": jnp.stack(state),
        "estimate": moving["estimate"],
        "negative_steps": negative,
        "record": record,
    }
