"""A batch of points -> observables and status: the only place that compiles a sweep.

Points lie in blocks of `BLOCK` lanes. A block runs from its initial state to the end of its window while
its state stays in the cache; blocks follow each other inside one compiled program. The points of a block
have one step; other blocks may have another. The arithmetic of a lane does not depend on what stands in
the other lanes, nor on how many blocks there are.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import backend, child
from qifscan.catalogue import model_named
from qifscan.drive import VALUES, DriveBase, samples_of, step_constants
from qifscan.integrate import INTEGRATORS, System
from qifscan.lazy import LazyModule
from qifscan.models import absorbing
from qifscan.noise import (
    average_constants,
    bridge_constants,
    distinct,
    of_step,
    ou_constants,
    point_keys,
    split_key,
    step_pair,
)
from qifscan.observables import (
    SEGMENT,
    Fold,
    Instant,
    Status,
    Window,
    needed_folds,
    needs_tangents,
    observables,
)
from qifscan.pace import Counts
from qifscan.rest import Rest
from qifscan.rhythm import SAMPLE_STEPS, segment_lengths
from qifscan.scan import Protocol, Scan

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    from jax import lax
else:
    jax = LazyModule("jax")
    jnp = LazyModule("jax.numpy")
    lax = LazyModule("jax.lax")

Tree = Any
Indices = tuple[np.ndarray[Any, Any], ...]

BLOCK = 256
"""Lanes of a block: its state, parameters and folds stay in the first-level cache, and XLA's dispatch of a
step is paid for 256 points at once. Measured: 128 to 2048 differ by a third, 8192 is half as fast."""

LANES = 64
"""A narrow batch has a multiple of this many lanes: four whole vectors of the widest kind, so that every lane
takes the same path through the vectorised, interleaved loop as in a full block, and none that of the rest."""

INITIAL_STEP = 2**32 - 1
"""Counter of the draw that puts the noise into its stationary law; no step reaches it."""

AVERAGE_NODE = 2**24 - 1
"""Stream of the draws that the mean of the noise over a step takes; no draw within a step reaches it."""

DEPTHS = 16
"""Times that the step of a path of the noise can be halved."""


@dataclass(frozen=True)
class Program:
    """Everything that is compiled in; two batches of one program and shape share one compilation.

    `lengths` is how many lengths of segments a spectrum has, 0 if there is none; `bridged` tells whether the
    path of the noise is filled in between the steps on which it is drawn; `averaged` whether a step is driven
    by the mean of the noise over it, for noise that it does not resolve; `transient` whether there are steps
    before the window; `recorded` whether states are kept; `kept` whether what a longer window goes on from
    is, and `resumed` whether the points go on from that; `history` is the number of steps that are
    remembered for a delay, a power of 2; `of_tangents` marks the program of tangents alone (`parts`).
    """

    model: str
    integrator: str
    drive: str | None
    noisy: tuple[str, ...]
    observables: tuple[str, ...]
    precision: str
    lengths: int
    reflect: bool
    bridged: bool = False
    averaged: bool = False
    transient: bool = True
    recorded: bool = False
    kept: bool = False
    resumed: bool = False
    history: int = 0
    of_tangents: bool = False

    @property
    def still(self) -> tuple[str, ...]:
        """Variables whose input is a mean alone: parameters absorb it, and a step adds nothing."""
        variables = model_named(self.model).variables
        return tuple(v.name for v in variables if v.absorbed is not None and v.name not in self.noisy)

    @property
    def counting(self) -> bool:
        """Whether steps with a rate below 0 are counted. Without noise on a rate it is enough to know whether
        there is one, which the lowest rate tells in one operation instead of five."""
        return any(v.name in self.noisy for v in model_named(self.model).rates)

    @classmethod
    def of(cls, scan: Scan, *, bridged: bool = False, averaged: bool = False) -> Program:
        """Return the program of a scan."""
        protocol = scan.protocol
        spectra = any(name.endswith("_frequency") for name in scan.observables)
        return cls(
            model=scan.model,
            integrator=protocol.integrator,
            drive=None if scan.drive is None else scan.drive.kind,
            noisy=scan.noisy,
            observables=scan.observables,
            precision=scan.precision,
            lengths=segment_lengths(protocol.window_steps // protocol.sample_steps) if spectra else 0,
            reflect=protocol.negative_rate == "reflect",
            bridged=bridged and bool(scan.noisy),
            averaged=averaged and bool(scan.noisy),
        )

    @property
    def parts(self) -> tuple[Program, ...]:
        """The programs that run one after the other: what tangents are needed for has one of its own.

        In one program XLA shares terms between a step and its derivative, and rounds the step in another way
        than without: the other observables would depend on whether an exponent is asked for.
        """
        exponents = tuple(name for name in self.observables if needs_tangents([name]))
        others = tuple(name for name in self.observables if name not in exponents)
        if not exponents or (not others and self.of_tangents):
            return (self,)
        return replace(self, observables=others), replace(
            self, observables=exponents, of_tangents=True, recorded=False
        )

    def sampled(self, schedule: Schedule, halvings: int) -> Program:
        """Return the program with the lengths of segments that points of so many halvings fill."""
        if not any(name.endswith("_frequency") for name in self.observables):
            return self
        per_base = 1 << halvings
        samples = schedule.window * per_base // min(schedule.sample_steps * per_base, SAMPLE_STEPS)
        return replace(self, lengths=segment_lengths(samples))

    def on(self, schedule: Schedule) -> Program:
        """Return the program that does what a schedule asks for."""
        return replace(
            self,
            transient=schedule.transient > 0,
            recorded=schedule.every is not None,
            kept=schedule.keep,
            resumed=schedule.behind is not None,
        )


@dataclass(frozen=True)
class Schedule:
    """Base steps before the window and in it, the base step in ms, base steps in a sample of a spectrum;
    and with `every` the state after each `every`-th base step is recorded. With `keep` the runs can be gone
    on from; with `behind` they go on from runs of so many base steps in the window."""

    transient: int
    window: int
    base: float
    sample_steps: int
    every: int | None = None
    keep: bool = False
    behind: int | None = None

    @classmethod
    def of(cls, protocol: Protocol, every: int | None = None) -> Schedule:
        """Return the schedule of a protocol."""
        return cls(
            protocol.transient_steps, protocol.window_steps, protocol.base, protocol.sample_steps, every
        )

    @property
    def steps(self) -> int:
        """Base steps of the whole run."""
        return self.transient + self.window

    @property
    def rows(self) -> int:
        """States in a record: the initial one and every kept one."""
        return 1 + (self.steps // self.every if self.every else 0)

    def limited(self, steps: int) -> Schedule:
        """Return the schedule cut off after so many base steps, to measure the program's speed."""
        transient = min(self.transient, steps)
        return replace(self, transient=transient, window=min(self.window, steps - transient))


@dataclass(frozen=True)
class Steps:
    """The steps of each point, `(points,)` each: how often the base step is halved for the state, and how
    often for the grid on which the path of the noise is drawn."""

    halvings: Counts
    noise_halvings: Counts

    def take(self, rows: Any) -> Steps:
        """Return those of some points."""
        return Steps(self.halvings[rows], self.noise_halvings[rows])

    def halved(self, rows: Any) -> Steps:
        """Return them with the step of some points halved, and the grid of the noise as it was."""
        halvings = self.halvings.copy()
        halvings[rows] += 1
        return Steps(halvings, self.noise_halvings)


@dataclass(frozen=True)
class Result:
    """What came of a batch, `(points,)` each: observables; status; final state `(points, variables)`; largest
    error estimate of a step; steps with a rate below 0; record `(points, rows, variables)`; the checkpoint,
    what a longer window goes on from, `(points, bytes)`; the lowest and the highest rate of the last delay
    `(points, 2)`."""

    observables: dict[str, np.ndarray[Any, Any]]
    status: np.ndarray[Any, Any]
    final: np.ndarray[Any, Any]
    estimate: np.ndarray[Any, Any]
    negative_steps: np.ndarray[Any, Any]
    record: np.ndarray[Any, Any] | None
    checkpoint: np.ndarray[Any, Any] | None
    past: np.ndarray[Any, Any] | None

    def replaced(self, rows: Any, other: Result) -> Result:
        """Return this result with the given rows taken from another."""
        return Result(**jax.tree.map(lambda a, b: _with_rows(a, rows, b), vars(self), vars(other)))


def joined(rows: list[Any], parts: list[Result]) -> Result:
    """Return one result of parts that hold these rows of it."""
    place = np.argsort(np.concatenate(rows))
    fields = [vars(part) for part in parts]
    return Result(**jax.tree.map(lambda *values: np.concatenate(values)[place], *fields))


def _with_rows(values: Any, rows: Any, others: Any) -> Any:
    changed = values.copy()
    changed[rows] = others
    return changed


def nothing() -> None:
    """Do nothing while a program is compiled."""


def batch_shape(points: int) -> tuple[int, int]:
    """Return (blocks, lanes) that hold so many points of one step."""
    if points <= BLOCK:
        return 1, max(-(-points // LANES), 1) * LANES
    return -(-points // BLOCK), BLOCK


def prepare(
    program: Program,
    drive: DriveBase | None,
    columns: Mapping[str, np.ndarray[Any, Any]],
    rest: Rest,
    replicate: np.ndarray[Any, Any],
    seed: int,
    common: bool,
    base: float,
    steps: Steps,
) -> Tree:
    """Return what the compiled program reads of each point, `(points,)` each, from its parameters.

    Everything that does not change in time is computed here, in float64, once per point.
    """
    model = model_named(program.model)
    dtype = np.dtype(program.precision)
    dt, noise_dt = base * 0.5**steps.halvings, base * 0.5**steps.noise_halvings
    still = absorbing(model, columns, program.still)
    constants = dict(model.constants(still)) | ou_constants(model, still, noise_dt)
    constants |= INTEGRATORS[program.integrator].prepare(
        still, rest.highest, np.asarray(dt, dtype=np.float64)
    )
    if program.averaged:
        constants |= average_constants(model, still, dt)
    if uses_levels(program):
        constants |= thresholds(columns, rest)
    bridge = bridge_constants(model, columns, noise_dt, DEPTHS) if program.bridged else {}
    constants, bridge = (
        {name: np.asarray(value).astype(dtype) for name, value in tree.items()}
        for tree in (constants, bridge)
    )
    # Times are compared and reduced in float64: float32 can't tell 10^5 ms from 10^5 ms + dt.
    driven = {} if drive is None else {p.name: columns[p.name] for p in drive.parameters()}
    driven |= step_constants(program.drive, columns, dt)
    state = tuple(value.astype(dtype) for value in initial_state(program, columns, rest))
    delay = {"delay": columns[model.delay]} if program.history else {}
    unnamed = {"down_threshold", "up_threshold"}
    naming = {} if common else {name: c for name, c in columns.items() if name not in unnamed}
    words = (
        point_keys(seed, naming, replicate) if program.noisy else np.zeros(len(replicate), dtype=np.uint64)
    )
    return {
        "constants": constants | driven,
        "bridge": bridge,
        "state": state,
        **delay,
        "key": split_key(words),
    }


def uses_levels(program: Program) -> bool:
    """Whether anything that is observed is measured between thresholds."""
    rows = observables(model_named(program.model))
    return any(rows[name].fold.endswith((" levels", " residences")) for name in program.observables)


def thresholds(columns: Mapping[str, Any], rest: Rest) -> dict[str, Any]:
    """Return the lower and the upper threshold of points: their own, or the rates at their folds."""
    names = ("down_threshold", "up_threshold")
    if all(name in columns for name in names):
        return {name: columns[name] for name in names}
    # The mean of the noise on r widens the distribution, and moves the folds as it moves the equilibria.
    folds_at = dict(zip(names, rest.fold_rates(rest.model.with_inputs(columns)), strict=True))
    return {name: columns.get(name, folds_at[name]) for name in names}


def initial_state(program: Program, columns: Mapping[str, Any], rest: Rest) -> tuple[Any, ...]:
    """Return the state that points start from, `(points,)` of each variable: numbers, or a named state."""
    names = model_named(program.model).variable_names
    if "initial" not in columns:
        return tuple(columns[f"{name}_initial"] for name in names)
    labels, which = distinct(columns["initial"])
    if len(labels) == 1:
        return rest.named(str(labels[0]))
    state = tuple(np.empty(len(which)) for _ in names)
    for k, label in enumerate(labels):
        chosen = which == k
        for y, values in zip(state, rest.take(chosen).named(str(label)), strict=True):
            y[chosen] = values
    return state


def run_batch(
    program: Program,
    inputs: Tree,
    steps: Steps,
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
) -> Result:
    """Run points, in as many calls of one program for `shape` = (blocks, lanes) as their steps need."""
    if len(program.parts) > 1:
        of_parts = (
            [inputs | {"checkpoint": c} for c in inputs["checkpoint"]] if program.resumed else [inputs] * 2
        )
        runs = [
            run_batch(part, given, steps, schedule, drive, shape)
            for part, given in zip(program.parts, of_parts, strict=True)
        ]
        return _beside(*runs)
    blocks = _packed(steps, shape[1])
    order = np.concatenate([rows for _, _, rows in blocks])
    parts = []
    for first in range(0, len(blocks), shape[0]):
        output = _run_blocks(program, inputs, blocks[first : first + shape[0]], schedule, drive, shape)
        parts.append(output)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    merged = jax.tree.map(lambda *values: np.concatenate(values)[place], *parts)
    record = merged["record"][:, : schedule.rows] if program.recorded else None
    return Result(
        merged["observables"],
        merged["status"],
        merged["final"],
        np.sqrt(merged["estimate"].astype(np.float64)),
        merged["negative_steps"],
        record,
        _as_bytes(merged["checkpoint"]) if program.kept else None,
        merged["past"] if program.history else None,
    )


def _beside(first: Result, second: Result) -> Result:
    """Return the first result with the observables of the second, and both checkpoints."""
    checkpoint = None
    if first.checkpoint is not None and second.checkpoint is not None:
        checkpoint = np.concatenate([first.checkpoint, second.checkpoint], axis=1)
    observables = first.observables | second.observables
    return replace(first, observables=observables, checkpoint=checkpoint)


def _packed(steps: Steps, lanes: int) -> list[tuple[int, int, Any]]:
    """Return the blocks: halvings, halvings of the noise's grid, and the rows of up to `lanes` points."""
    kinds = steps.halvings << 8 | steps.noise_halvings
    blocks = []
    for kind in sorted(set(kinds.tolist())):
        halvings, noise_halvings = divmod(kind, 1 << 8)
        rows = np.flatnonzero(kinds == kind)
        blocks += [(halvings, noise_halvings, rows[i : i + lanes]) for i in range(0, len(rows), lanes)]
    return blocks


def _run_blocks(
    program: Program,
    inputs: Tree,
    blocks: list[tuple[int, int, Any]],
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
) -> Tree:
    """Run up to shape[0] blocks; return what came of their points, one after the other."""
    count, lanes = shape
    rows = np.stack([_filled_up(rows, lanes) for _, _, rows in blocks])
    # A call has its full number of blocks; those beyond take no steps.
    rows = np.concatenate([rows, np.repeat(rows[-1:], count - len(blocks), axis=0)])
    arguments = (_gathered(inputs, rows), _pace_tree(blocks, schedule, count), *_extras(schedule, drive))
    late = backend.prepare() == "late"
    request = (program, arguments)
    output = child.ask(request, backend.environment()) if late else _executed(request)
    filled = np.zeros(shape, dtype=bool)
    for index, (_, _, taken) in enumerate(blocks):
        filled[index, : len(taken)] = True
    return jax.tree.map(lambda value: value[filled], _lanes_first(program, output))


def _filled_up(rows: Any, lanes: int) -> Any:
    """Return rows with the last one repeated up to the number of lanes."""
    return rows if len(rows) == lanes else np.pad(rows, (0, lanes - len(rows)), mode="edge")


def _lanes_first(program: Program, output: Tree) -> Tree:
    """Return the output with the lanes after the blocks, then what each point has several of."""
    moved = {"final": np.moveaxis(output["final"], -1, 1)}
    if program.history:
        moved["past"] = np.moveaxis(output["past"], -1, 1)
    if program.recorded:
        moved["record"] = np.moveaxis(output["record"], -1, 1)
    return output | moved


def _gathered(inputs: Tree, rows: Any) -> Tree:
    bridge = {name: np.moveaxis(value[rows], -1, 1) for name, value in inputs["bridge"].items()}
    others = {name: value for name, value in inputs.items() if name != "bridge"}
    return jax.tree.map(lambda value: value[rows], others) | {"bridge": bridge}


def _pace_tree(blocks: list[tuple[int, int, Any]], schedule: Schedule, count: int) -> Tree:
    halvings = np.zeros(count, dtype=np.int64)
    noise_halvings = np.zeros(count, dtype=np.int64)
    active = np.arange(count) < len(blocks)
    halvings[: len(blocks)] = [block[0] for block in blocks]
    noise_halvings[: len(blocks)] = [block[1] for block in blocks]
    per_base = 2**halvings
    behind = schedule.transient * per_base + (schedule.behind or 0) * per_base // SEGMENT * SEGMENT
    resumed = {} if schedule.behind is None else {"behind": (active * behind).astype(np.int32)}
    return resumed | {
        "dt": schedule.base * 0.5**halvings,
        "transient": (active * schedule.transient * per_base).astype(np.int32),
        "end": (active * schedule.steps * per_base).astype(np.int32),
        "every": np.minimum((schedule.every or 1) * per_base, 2**30).astype(np.int32),
        "sample_steps": np.minimum(schedule.sample_steps * per_base, SAMPLE_STEPS).astype(np.int32),
        "depth": (halvings - noise_halvings).astype(np.int32),
    }


def _extras(schedule: Schedule, drive: DriveBase | None) -> tuple[Any, Any]:
    """Return the rows of the record, and one more for what is not kept; and the samples of the drive."""
    return np.zeros(schedule.rows + 1, dtype=np.uint8), samples_of(drive)


def memory_bytes(
    program: Program,
    inputs: Tree,
    steps: Steps,
    schedule: Schedule,
    drive: DriveBase | None,
    shape: tuple[int, int],
    compiling: Callable[[], None] = nothing,
) -> int:
    """Return the memory that one running batch takes: arguments, results and working space.

    `compiling` is called when nothing but compilation is left to do, which leaves Python to other threads.
    """
    # Of two programs the one with tangents holds more.
    program = program.parts[-1]
    rows = np.zeros(shape, dtype=int)
    pace = _pace_tree(_packed(steps, shape[1])[:1], schedule, shape[0])
    arguments = (_gathered(inputs, rows), pace, *_extras(schedule, drive))
    with backend.settings():
        analysis = _compiled(program, arguments, compiling).memory_analysis()
    return int(analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes)


def _executed(request: tuple[Program, Tree]) -> Tree:
    program, arguments = request
    with backend.settings():
        return jax.tree.map(np.asarray, _compiled(program, arguments)(*arguments))


def serve() -> None:
    """Run batches for another process: see `child`."""
    child.serve(_executed)


_executables: dict[Any, Any] = {}
_compiling = threading.Lock()


def _compiled(program: Program, arguments: Tree, compiling: Callable[[], None] = nothing) -> Any:
    """Return the executable of a program for arguments of these shapes; compile it once per process."""
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
    # One lock for all: two threads that ask for the same program would both compile it.
    with _compiling:
        if (program, shapes) not in _executables:
            backend.prepare()
            swept = jax.jit(lambda *arguments: _sweep(program, *arguments))
            lowered = swept.lower(*arguments)
            compiling()
            _executables[program, shapes] = lowered.compile()
        return _executables[program, shapes]


def compile_count() -> int:
    """Return how many programs this process has compiled."""
    return len(_executables)


def _sweep(program: Program, blocks: Tree, pace: Tree, rows: Any, samples: Any) -> Tree:
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
    """Run one block: the transient, then the window with its folds, then the observables."""
    block = block | {"constants": block["constants"] | {"drive_samples": samples}}
    if program.history:
        block = block | {"lag": block["delay"] / pace["dt"]}
    record = _empty_record(program, block["state"], rows)
    if program.resumed:
        moving, totals = _resumed(program, block, pace)
    else:
        moving, record = _transient(program, block, pace, _at_start(program, block), record)
        at = _instant(program, block, pace, pace["transient"], moving)
        totals = _empty_totals(program, block["constants"], pace, at)
    moving, record, totals, checkpoint = _window(program, block, pace, (moving, record, totals))
    finished = _finish(program, pace, moving, totals, record) | {"checkpoint": checkpoint}
    return finished | ({"past": _range_of_past(block, pace, moving)} if program.history else {})


def _at_start(program: Program, block: Tree) -> Tree:
    """Return what moves, at the start of the run."""
    state = block["state"]
    return {
        "state": state,
        **_initial_noise(program, block),
        "estimate": jnp.zeros_like(state[0]),
        "below": _below(program, jnp.zeros(state[0].shape, jnp.int32)),
        **_frame_at_start(program, state),
        **_past_at_start(program, state),
    }


def _past_at_start(program: Program, state: Any) -> Tree:
    """Return the first variable and its slope at each remembered step: until the start it did not change."""
    if not program.history:
        return {}
    rate = jnp.broadcast_to(state[0], (program.history, *state[0].shape))
    return {"past": {"rate": rate, "slope": jnp.zeros_like(rate), "start": state[0]}}


def _remembered(past: Tree, n: Any, rate: Any, slope: Any) -> Tree:
    row = n & (past["rate"].shape[0] - 1)
    return past | {"rate": past["rate"].at[row].set(rate), "slope": past["slope"].at[row].set(slope)}


def _past_rate(block: Tree, past: Tree, n: Any, dt: Any, fraction: float) -> Any:
    """Return the rate a delay before a fraction of step n: by Hermite's cubic between steps, of order 4.

    A start away from rest leaves a kink in the rate at t = 0, which comes back after a delay: where that is
    no whole number of steps, the one step across it is of order 2, and its estimate tells.
    """
    place = fraction - block["lag"]
    whole = jnp.floor(place)
    w = (place - whole).astype(past["start"].dtype)
    before = n + whole.astype(jnp.int32)
    mask = past["rate"].shape[0] - 1

    def at(name: str, row: Any) -> Any:
        return jnp.take_along_axis(past[name], (row & mask)[None], axis=0)[0]

    first, last = at("rate", before), at("rate", before + 1)
    step = dt.astype(w.dtype)
    slope_first, slope_last = step * at("slope", before), step * at("slope", before + 1)
    rise = last - first
    bend = (1.0 - w) * (slope_first - rise) - w * (slope_last - rise)
    return jnp.where(before < 0, past["start"], first + w * (rise + (1.0 - w) * bend))


def _range_of_past(block: Tree, pace: Tree, moving: Tree) -> Any:
    """Return the lowest and the highest rate at the steps of the last delay."""
    rates = moving["past"]["rate"]
    last = pace["end"] - 1
    rows = jnp.arange(rates.shape[0], dtype=jnp.int32)
    age = (last - rows) & (rates.shape[0] - 1)
    recent = age[:, None] <= jnp.ceil(block["lag"]).astype(jnp.int32)
    low = jnp.min(jnp.where(recent, rates, jnp.inf), axis=0)
    return jnp.stack([low, jnp.max(jnp.where(recent, rates, -jnp.inf), axis=0)])


def _frame_at_start(program: Program, state: Any) -> Tree:
    """Return one direction along each variable, and how they grew in no step, if anything asks for that."""
    if not needs_tangents(program.observables):
        return {}
    zero, one, count = jnp.zeros_like(state[0]), jnp.ones_like(state[0]), len(state)
    frame = tuple(tuple(one if i == k else zero for i in range(count)) for k in range(count))
    return {"frame": frame, "growth": (zero,) * count}


def _orthonormal(frame: Any) -> tuple[Any, Any]:
    """Return a frame made orthonormal by Gram-Schmidt, and the logarithms of its directions' lengths."""
    found: list[Any] = []
    growth = []
    for direction in frame:
        rest = direction
        for unit in found:
            along = sum(a * b for a, b in zip(rest, unit, strict=True))
            rest = tuple(a - along * b for a, b in zip(rest, unit, strict=True))
        length = jnp.sqrt(sum(a * a for a in rest))
        found.append(tuple(a / length for a in rest))
        growth.append(jnp.log(length))
    return tuple(found), tuple(growth)


def _measured(moving: Tree) -> Any:
    """Return what the folds see: the state, and the growth of the frame where there is one."""
    return moving["state"] + moving.get("growth", ())


def _step(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Tree:
    """Advance state and noise from step n to n + 1."""
    model, noise = model_named(program.model), moving["noise"]
    drawn = _next_noise(program, block, pace, n, moving)
    later = drawn["noise"]
    system = System(model, block["constants"], program.noisy)
    averages = _averages(program, block, n, noise, later)
    inputs = _inputs(program, block, pace, n, (noise, later), averages)
    further: Tree = {}
    if program.history:
        # The slope of the rate does not know of the delay.
        slope = system.slope(moving["state"], inputs(0.0))[0]
        further = {"past": _remembered(moving["past"], n, moving["state"][0], slope)}
        inputs = _inputs(program, block, pace, n, (noise, later), averages, further["past"])
    dt = pace["dt"].astype(program.precision)
    rates = [i for i, variable in enumerate(model.variables) if variable.rate]

    def advance(state: Any) -> tuple[Any, tuple[Any, Any]]:
        state, estimate = INTEGRATORS[program.integrator].step(system, state, inputs, dt)
        lowest = functools.reduce(jnp.minimum, [state[i] for i in rates])
        if program.reflect:
            state = tuple(jnp.abs(y) if i in rates else y for i, y in enumerate(state))
        return state, (estimate, lowest)

    if "frame" in moving:
        state, along, (estimate, lowest) = jax.linearize(advance, moving["state"], has_aux=True)
        frame, growth = _orthonormal([along(direction) for direction in moving["frame"]])
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
        # A state that is no number stays so, and its estimates: the last is none. The old value is not the
        # one by default, since it would be kept by a masked store, which costs an AMD core 20 cycles.
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


def _averages(program: Program, block: Tree, n: Any, now: Tree, later: Tree) -> Tree:
    """Return the mean of every noise over step n, given its values at both ends, where steps take it."""
    if not program.averaged:
        return {}
    c, averages = block["constants"], {}
    for name, draw in _draws(program, block["key"], n, AVERAGE_NODE).items():
        mean = c[f"{name}_mean"]
        ends = (now[name]["now"] - mean) + (later[name]["now"] - mean)
        averages[name] = mean + c[f"{name}_average_weight"] * ends + c[f"{name}_average_spread"] * draw
    return averages


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
    model, constants = model_named(program.model), block["constants"]
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
                drive = VALUES[program.drive](time, pace["dt"], fraction, constants)
                value = value + drive.astype(program.precision)
            if name == model.driven and past is not None:
                value = value + constants["past"] * _past_rate(block, past, n, pace["dt"], fraction)
            values.append(value)
        return tuple(values)

    return inputs


def _at_fraction(now: Any, later: Any, fraction: float) -> Any:
    if fraction == 0.0:
        return now
    return later if fraction == 1.0 else (1.0 - fraction) * now + fraction * later


def _pairs(program: Program, key: Any, step: Any, node: Any = 0) -> Any:
    """Return the normals of this step, and of the one that it shares them with, of every noisy variable.

    A variable's stream is its place in the model; `node` counts the draws that fill in the path within a
    step, from 1. All of them at once: one loop, compiled once.
    """
    names = model_named(program.model).variable_names
    streams = np.array([[i] for i, name in enumerate(names) if name in program.noisy], dtype=np.uint32)
    return step_pair(key, step, (jnp.uint32(node) << 8) + streams, jnp.dtype(program.precision))


def _of_step(program: Program, pairs: Any, step: Any) -> dict[str, Any]:
    """Return a standard normal for every noisy variable."""
    names = [name for name in model_named(program.model).variable_names if name in program.noisy]
    return dict(zip(names, of_step(pairs, step), strict=True))


def _draws(program: Program, key: Any, step: Any, node: Any = 0) -> dict[str, Any]:
    return _of_step(program, _pairs(program, key, step, node), step)


def _initial_noise(program: Program, block: Tree) -> Tree:
    """Return the noise at the start, and the pairs that its steps draw, where they draw any."""
    if not program.noisy:
        return {"noise": {}}
    c, pairs = block["constants"], _pairs(program, block["key"], INITIAL_STEP)
    noise = {}
    for name, draw in _of_step(program, pairs, INITIAL_STEP).items():
        start = c[f"{name}_mean"] + c[f"{name}_std"] * draw
        noise[name] = {"now": start} | ({"begin": start, "end": start} if program.bridged else {})
    # Only to have their place: step 0 draws others.
    return {"noise": noise} | ({} if program.bridged else {"pairs": pairs})


def _after(name: str, c: Tree, value: Any, draw: Any) -> Any:
    """Return the noise one step of its grid later."""
    mean = c[f"{name}_mean"]
    return mean + (value - mean) * c[f"{name}_decay"] + c[f"{name}_gain"] * draw


def _next_noise(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Tree:
    """Return the noise after step n, and the pairs that its draw came from, where there are any."""
    c, key, noise = block["constants"], block["key"], moving["noise"]
    if not program.noisy:
        return {"noise": noise}
    if not program.bridged:
        pairs = lax.cond(n & 1 == 0, lambda: _pairs(program, key, n), lambda: moving["pairs"])
        draws = _of_step(program, pairs, n)
        later = {name: {"now": _after(name, c, noise[name]["now"], draw)} for name, draw in draws.items()}
        return {"noise": later, "pairs": pairs}
    cell = n >> pace["depth"]
    within = n - (cell << pace["depth"])

    def entered() -> Tree:
        return {
            name: {"begin": noise[name]["end"], "end": _after(name, c, noise[name]["end"], draw)}
            for name, draw in _draws(program, key, cell).items()
        }

    def inside() -> Tree:
        return {name: {side: noise[name][side] for side in ("begin", "end")} for name in noise}

    ends = lax.cond(within == 0, entered, inside)
    between = _between(program, block, pace, cell, within + 1, ends)
    return {"noise": {name: ends[name] | {"now": between[name]} for name in ends}}


def _between(program: Program, block: Tree, pace: Tree, cell: Any, offset: Any, ends: Tree) -> Tree:
    """Return the noise at an offset into a step of its grid: the interval is halved until it begins there."""
    c, bridge = block["constants"], block["bridge"]

    def halve(depth: Any, carry: Tree) -> Tree:
        low, high, node, left = carry
        half = jnp.int32(1) << (pace["depth"] - 1 - depth)
        upper = left >= half
        draws = _draws(program, block["key"], cell, node)
        lows, highs = {}, {}
        for name, draw in draws.items():
            mean = c[f"{name}_mean"]
            middle = (
                mean
                + bridge[f"{name}_weight"][depth] * (low[name] + high[name] - 2.0 * mean)
                + bridge[f"{name}_spread"][depth] * draw
            )
            lows[name] = jnp.where(upper, middle, low[name])
            highs[name] = jnp.where(upper, high[name], middle)
        return lows, highs, 2 * node + upper, jnp.where(upper, left - half, left)

    last = offset == (jnp.int32(1) << pace["depth"])
    low, high = ({name: ends[name][side] for name in ends} for side in ("begin", "end"))
    found, _, _, _ = lax.fori_loop(0, pace["depth"], halve, (low, high, jnp.int32(1), offset))
    return {name: jnp.where(last, ends[name]["end"], found[name]) for name in ends}


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


def _needed(program: Program) -> Mapping[str, Fold]:
    return needed_folds(model_named(program.model), program.observables)


def _window_of(program: Program, pace: Tree) -> Window:
    return Window(pace["end"] - pace["transient"], pace["dt"], program.lengths, pace["sample_steps"])


def _empty_totals(program: Program, constants: Tree, pace: Tree, at: Instant) -> Tree:
    """Return the totals of the folds at the start of the window."""
    window = _window_of(program, pace)
    return {name: f.init(at, constants, window) for name, f in _needed(program).items()}


def _instant(program: Program, block: Tree, pace: Tree, n: Any, moving: Tree) -> Instant:
    """Return what the folds see between two steps, before step n."""
    noise, c = moving["noise"], block["constants"]
    # A path that the steps do not resolve has no slope there.
    averages = {name: c[f"{name}_mean"] for name in noise} if program.averaged else {}
    system = System(model_named(program.model), c, program.noisy)
    inputs = _inputs(program, block, pace, n, (noise, noise), averages, moving.get("past"))
    return Instant(_measured(moving), system.slope(moving["state"], inputs(0.0)))


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
    pairs = {"pairs": _pairs(program, block["key"], pace["behind"])} if drawing else {}
    return kept | pairs | {"noise": noise, "below": _below(program, moving["negative_steps"])}, totals


NOISE_SIDES = ("now", "begin", "end")
"""What a checkpoint keeps of each noise: its value, and those between which its path is filled in."""


def _checkpoint_form(program: Program) -> Tree:
    """Return the tree of a checkpoint, with the shape and type of each leaf for one point."""

    def checkpoint() -> Tree:
        lane = jnp.zeros(1, program.precision)
        block = {
            "state": (lane,) * len(model_named(program.model).variables),
            "constants": {"down_threshold": lane, "up_threshold": lane},
        }
        sides = NOISE_SIDES
        moving = {
            "state": block["state"],
            "noise": {name: dict.fromkeys(sides, lane) for name in program.noisy},
            "estimate": lane,
            "negative_steps": jnp.zeros(1, jnp.int32),
        } | _frame_at_start(program, block["state"])
        pace = dict.fromkeys(("end", "transient", "dt", "sample_steps"), 0)
        at = Instant(_measured(moving), block["state"])
        return {"moving": moving, "totals": _empty_totals(program, block["constants"], pace, at)}

    with backend.settings():
        return jax.eval_shape(checkpoint)


def _named(checkpoint: Tree) -> dict[str, Any]:
    """Return the leaves of a checkpoint by their names in the store."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(checkpoint)
    named = {jax.tree_util.keystr(path, simple=True, separator="_"): leaf for path, leaf in leaves}
    return {name.replace(" ", "_"): leaf for name, leaf in named.items()}


def checkpoint_type(program: Program) -> np.dtype[Any]:
    """Return the structured type of the checkpoint of a point."""
    if len(program.parts) > 1:
        return np.dtype([(f"part_{k}", checkpoint_type(part)) for k, part in enumerate(program.parts)])
    return np.dtype([(name, leaf.dtype) for name, leaf in _named(_checkpoint_form(program)).items()])


def checkpoint_tree(program: Program, packed: np.ndarray[Any, Any]) -> Tree:
    """Return the checkpoint of these bytes, `(points, bytes)`, as `run_batch` wants it among its inputs."""
    if len(program.parts) > 1:
        ends = np.cumsum([checkpoint_type(part).itemsize for part in program.parts])[:-1]
        pieces = np.split(packed, ends, axis=1)
        return tuple(checkpoint_tree(part, piece) for part, piece in zip(program.parts, pieces, strict=True))
    form = _checkpoint_form(program)
    records = np.ascontiguousarray(packed).view(checkpoint_type(program))[:, 0]
    return jax.tree.unflatten(jax.tree.structure(form), [records[name] for name in _named(form)])


def _as_bytes(checkpoint: Tree) -> np.ndarray[Any, Any]:
    """Return a checkpoint as bytes, `(points, bytes)`."""
    named = _named(checkpoint)
    count = len(next(iter(named.values())))
    records = np.empty(count, [(name, values.dtype) for name, values in named.items()])
    for name, values in named.items():
        records[name] = values
    return records.view(np.uint8).reshape(count, -1)


def _opened(program: Program, totals: Tree, moving: Tree) -> Tree:
    return {name: f.open(totals[name], _measured(moving)) for name, f in _needed(program).items()}


def _closed(program: Program, block: Tree, pace: Tree, ended: tuple[Any, Tree, Tree, Tree]) -> Tree:
    """Return the totals with the segments that end at a step in them, and new segments."""
    stop, moving, totals, segments = ended
    at, window = _instant(program, block, pace, stop, moving), _window_of(program, pace)
    after = stop - pace["transient"]
    needed = _needed(program).items()
    totals = {k: f.close(totals[k], segments[k], at, after, window) for k, f in needed}
    return totals, _opened(program, totals, moving)


def _window(
    program: Program, block: Tree, pace: Tree, started: tuple[Tree, Any, Tree]
) -> tuple[Tree, Any, Tree, Tree]:
    """Run the window: fold every step, close a segment every `SEGMENT` steps and at the end.

    The checkpoint is taken where the last whole segment ends: a longer window would not end one at the end.
    A select would take twenty passes over the block with every segment for it, 2 % of the steps.
    """
    needed, window, begin = _needed(program), _window_of(program, pace), pace["transient"]
    whole = pace["end"] - (pace["end"] - begin) % SEGMENT

    def fold_step(n: Any, carry: Tree) -> Tree:
        moving, segments = carry
        was, moving = _measured(moving), _step(program, block, pace, n, moving)
        now, after = _measured(moving), n - begin
        return moving, {k: f.update(segments[k], was, now, after, window) for k, f in needed.items()}

    def piece(carry: Tree) -> Tree:
        n, moving, segments, totals, record, checkpoint = carry
        boundary = jnp.minimum(begin + _next_multiple(n - begin, SEGMENT), pace["end"])
        stop = jnp.minimum(boundary, _next_multiple(n, pace["every"])) if program.recorded else boundary
        if not program.recorded:
            # Carried as well, what is in the totals too would be copied for every segment.
            segments = _opened(program, totals, moving)
        moving, segments = lax.fori_loop(n, stop, fold_step, (moving, segments))
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
    rows, window = observables(model_named(program.model)), _window_of(program, pace)
    finite = jnp.all(jnp.stack([jnp.isfinite(y) for y in state]), axis=0)
    measured = {}
    for name in program.observables:
        fold = rows[name].fold
        total = totals[fold] if fold in totals else totals[fold.replace(" sum", " squares")]
        value = rows[name].finalize(total, window)
        measured[name] = jnp.where(finite, value, jnp.nan).astype(dtype)
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
