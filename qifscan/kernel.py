"""A batch of points -> observables and status: the only place that compiles a sweep.

Points lie in blocks of `BLOCK` lanes. A block runs from its initial state to the end of its window while
its state stays in the cache; blocks follow each other inside one compiled program. The arithmetic of a
lane does not depend on what stands in the other lanes, nor on how many blocks there are.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import theory
from qifscan.drive import VALUES, DriveBase, Sampled
from qifscan.integrate import INTEGRATORS
from qifscan.lazy import LazyModule
from qifscan.models import MODELS
from qifscan.noise import normal_pair, ou_constants, point_keys, split_key
from qifscan.observables import SEGMENT, Status, Window, folds, observables
from qifscan.scan import Scan

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

LANES = 16
"""A narrow batch has a multiple of this many lanes: whole vectors, so that every lane takes the same path
through the vectorised loop as in a full block."""

INITIAL_STEP = 2**32 - 1
"""Counter of the draw that puts the noise into its stationary law; no step reaches it."""


@dataclass(frozen=True)
class Program:
    """Everything that is compiled in; two batches of one program and shape share one compilation."""

    model: str
    integrator: str
    drive: str | None
    noisy: tuple[str, ...]
    observables: tuple[str, ...]
    precision: str
    window: Window
    recorded: bool = False

    @classmethod
    def of(cls, scan: Scan, recorded: bool = False) -> Program:
        """Return the program of a scan."""
        return cls(
            model=scan.model,
            integrator=scan.protocol.integrator,
            drive=None if scan.drive is None else scan.drive.kind,
            noisy=scan.noisy,
            observables=scan.observables,
            precision=scan.precision,
            window=Window(scan.protocol.window_steps, scan.protocol.dt),
            recorded=recorded,
        )


@dataclass(frozen=True)
class Schedule:
    """Where the time loop stops: to close a segment of the folds, or to record the state.

    `transient` and `window` are step counts from the start of the run, each array beginning with where its
    part begins; `closes` tells which stops of the window close a segment; `*_rows` the row of the record
    at each stop, the last row being a place for what is not kept.
    """

    transient: np.ndarray[Any, Any]
    window: np.ndarray[Any, Any]
    closes: np.ndarray[Any, Any]
    transient_rows: np.ndarray[Any, Any]
    window_rows: np.ndarray[Any, Any]
    rows: int

    @classmethod
    def of(cls, transient_steps: int, window_steps: int, every: int | None = None) -> Schedule:
        """Return the stops of a run; with `every`, also those that record each `every`-th step."""
        end = transient_steps + window_steps
        kept = np.arange(every, end + 1, every) if every else np.empty(0, dtype=np.int64)
        segments = transient_steps + np.append(np.arange(SEGMENT, window_steps, SEGMENT), window_steps)
        transient = np.unique(np.append(kept[kept <= transient_steps], transient_steps))
        window = np.unique(np.append(kept[kept > transient_steps], segments))
        rows = 1 + len(kept)

        def row(stops: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            if not every:
                return np.zeros(len(stops), dtype=np.int32)
            return np.where(stops % every == 0, stops // every, rows).astype(np.int32)

        return cls(
            transient=np.append(0, transient).astype(np.int32),
            window=np.append(transient_steps, window).astype(np.int32),
            closes=np.isin(window, segments),
            transient_rows=row(transient),
            window_rows=row(window),
            rows=rows,
        )

    def limited(self, steps: int) -> Schedule:
        """Return the same program's schedule cut off after so many steps, to measure its speed."""
        return replace(
            self, transient=np.minimum(self.transient, steps), window=np.minimum(self.window, steps)
        )


@dataclass(frozen=True)
class Result:
    """What came of a batch: observables, status `(points,)`, and the record `(points, rows, variables)`."""

    observables: dict[str, np.ndarray[Any, Any]]
    status: np.ndarray[Any, Any]
    record: np.ndarray[Any, Any] | None


def batch_shape(points: int) -> tuple[int, int]:
    """Return (blocks, lanes) that hold so many points."""
    if points <= BLOCK:
        return 1, max(-(-points // LANES), 1) * LANES
    return -(-points // BLOCK), BLOCK


def prepare(
    program: Program,
    drive: DriveBase | None,
    columns: Mapping[str, np.ndarray[Any, Any]],
    replicate: np.ndarray[Any, Any],
    seed: int,
    common: bool,
) -> Tree:
    """Return what the compiled program reads of each point, `(points,)` each, from its parameters.

    Everything that does not change in time is computed here, in float64, once per point.
    """
    model = MODELS[program.model]
    dtype = np.dtype(program.precision)
    constants = dict(model.constants(columns)) | ou_constants(model, columns, program.window.dt)
    if _uses_levels(program):
        constants |= _thresholds(columns)
    constants = {name: np.asarray(value).astype(dtype) for name, value in constants.items()}
    # Times are compared and reduced in float64: float32 can't tell 10^5 ms from 10^5 ms + dt.
    driven = {} if drive is None else {p.name: columns[p.name] for p in drive.parameters()}
    state = tuple(value.astype(dtype) for value in _initial_state(program, columns))
    unnamed = {"down_threshold", "up_threshold"}
    naming = {} if common else {name: c for name, c in columns.items() if name not in unnamed}
    return {
        "constants": constants | driven,
        "state": state,
        "key": split_key(point_keys(seed, naming, replicate)),
    }


def _uses_levels(program: Program) -> bool:
    rows = observables(MODELS[program.model])
    return any(rows[name].fold == "r levels" for name in program.observables)


def _thresholds(columns: Mapping[str, Any]) -> dict[str, Any]:
    folds_at = theory.fold_rates(columns["J"], columns["delta"], columns["tau"])
    return {
        "down_threshold": columns.get("down_threshold", folds_at[..., 0]),
        "up_threshold": columns.get("up_threshold", folds_at[..., 1]),
    }


def _initial_state(program: Program, columns: Mapping[str, Any]) -> tuple[Any, ...]:
    names = MODELS[program.model].variable_names
    if "initial" not in columns:
        return tuple(columns[f"{name}_initial"] for name in names)
    at_rest = {
        "tau": columns["tau"],
        "eta": columns["eta"] + columns["v_ou_mean"],
        "delta": columns["delta"] + np.pi * columns["tau"] * columns["r_ou_mean"],
        "J": columns["J"],
    }
    state = {name: np.empty(len(columns["initial"])) for name in names}
    for label in np.unique(columns["initial"]):
        chosen = columns["initial"] == label
        found = theory.named_state(str(label), {name: value[chosen] for name, value in at_rest.items()})
        for name in names:
            state[name][chosen] = found[name]
    return tuple(state[name] for name in names)


def run_batch(
    program: Program, inputs: Tree, schedule: Schedule, drive: DriveBase | None, shape: tuple[int, int]
) -> Result:
    """Run a batch of points, padded to `shape` with copies of the last."""
    points = len(inputs["state"][0])
    padded = _padded(inputs, shape)
    arguments = (padded, _schedule_tree(schedule), _samples(drive))
    with jax.enable_x64(True):
        output = _compiled(program, arguments)(*arguments)
        output = jax.tree.map(np.asarray, output)
    measured = {name: value.reshape(-1)[:points] for name, value in output["observables"].items()}
    record = None
    if program.recorded:
        # (blocks, rows, variables, lanes) -> (points, rows, variables)
        moved = np.moveaxis(output["record"], -1, 1)
        record = moved.reshape(-1, *moved.shape[2:])[:points, : schedule.rows]
    return Result(measured, output["status"].reshape(-1)[:points], record)


def memory_bytes(
    program: Program, inputs: Tree, schedule: Schedule, drive: DriveBase | None, shape: tuple[int, int]
) -> int:
    """Return the memory that one running batch takes: arguments, results and working space."""
    arguments = (_padded(inputs, shape), _schedule_tree(schedule), _samples(drive))
    with jax.enable_x64(True):
        analysis = _compiled(program, arguments).memory_analysis()
    return int(analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes)


def _padded(inputs: Tree, shape: tuple[int, int]) -> Tree:
    def pad(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        missing = shape[0] * shape[1] - len(value)
        return np.pad(value, (0, missing), mode="edge").reshape(shape)

    return jax.tree.map(pad, inputs)


def _schedule_tree(schedule: Schedule) -> Tree:
    return {
        "transient": schedule.transient,
        "window": schedule.window,
        "closes": schedule.closes,
        "transient_rows": schedule.transient_rows,
        "window_rows": schedule.window_rows,
        "record_rows": np.zeros(schedule.rows + 1, dtype=np.uint8),
    }


def _samples(drive: DriveBase | None) -> np.ndarray[Any, Any]:
    return np.array(drive.values if isinstance(drive, Sampled) else (0.0, 0.0))


_executables: dict[Any, Any] = {}
_compiling = threading.Lock()


def _compiled(program: Program, arguments: Tree) -> Any:
    """Return the executable of a program for arguments of these shapes; compile it once per process."""
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments))
    # One lock for all: two threads that ask for the same program would both compile it.
    with _compiling:
        if (program, shapes) not in _executables:
            swept = jax.jit(lambda blocks, schedule, samples: _sweep(program, blocks, schedule, samples))
            _executables[program, shapes] = swept.lower(*arguments).compile()
        return _executables[program, shapes]


def compile_count() -> int:
    """Return how many programs this process has compiled."""
    return len(_executables)


def _sweep(program: Program, blocks: Tree, schedule: Tree, samples: Any) -> Tree:
    return lax.map(lambda block: _block(program, block, schedule, samples), blocks)


def _block(program: Program, block: Tree, schedule: Tree, samples: Any) -> Tree:
    """Run one block: the transient, then the window with its folds, then the observables."""
    constants = block["constants"] | {"drive_values": samples}
    moving = (block["state"], _initial_noise(program, block), block["state"][0])
    record = _empty_record(program, block["state"], schedule)

    def step(n: Any, moving: Tree) -> Tree:
        return _step(program, constants, block["key"], n, moving)

    def transient(i: Any, carry: Tree) -> Tree:
        moving, record = carry
        moving = lax.fori_loop(schedule["transient"][i], schedule["transient"][i + 1], step, moving)
        return moving, _write(program, record, schedule["transient_rows"][i], moving[0])

    moving, record = lax.fori_loop(0, len(schedule["transient"]) - 1, transient, (moving, record))
    moving, record, totals = _window(program, constants, schedule, step, moving, record)
    return _finish(program, moving, totals, record)


def _step(program: Program, constants: Tree, key: Any, n: Any, moving: Tree) -> Tree:
    """Advance state and noise from step n to n + 1."""
    model = MODELS[program.model]
    dt = program.window.dt
    state, noise, lowest = moving
    later = _next_noise(program, constants, key, n, noise)

    def inputs(fraction: float) -> Any:
        values = []
        for name in model.variable_names:
            value = (
                _at_fraction(noise[name], later[name], fraction)
                if name in noise
                else constants[f"{name}_mean"]
            )
            if name == model.driven and program.drive is not None:
                time = n.astype(jnp.float64) * dt
                value = value + VALUES[program.drive](time, dt, fraction, constants).astype(value.dtype)
            values.append(value)
        return tuple(values)

    state = INTEGRATORS[program.integrator].step(lambda y, z: model.field(y, z, constants), state, inputs, dt)
    return state, later, jnp.minimum(lowest, state[model.variable_names.index("r")])


def _at_fraction(now: Any, later: Any, fraction: float) -> Any:
    if fraction == 0.0:
        return now
    return later if fraction == 1.0 else (1.0 - fraction) * now + fraction * later


def _draws(program: Program, key: Any, step: Any) -> dict[str, Any]:
    """Return a standard normal for every noisy variable; variables 2k and 2k + 1 share a pair."""
    dtype = jnp.dtype(program.precision)
    pairs: dict[int, Any] = {}
    draws = {}
    for index, name in enumerate(MODELS[program.model].variable_names):
        if name in program.noisy:
            pair = index // 2
            pairs[pair] = pairs.get(pair) or normal_pair(key, step, pair, dtype)
            draws[name] = pairs[pair][index % 2]
    return draws


def _initial_noise(program: Program, block: Tree) -> dict[str, Any]:
    c = block["constants"]
    draws = _draws(program, block["key"], INITIAL_STEP)
    return {name: c[f"{name}_mean"] + c[f"{name}_std"] * draw for name, draw in draws.items()}


def _next_noise(program: Program, c: Tree, key: Any, n: Any, noise: dict[str, Any]) -> dict[str, Any]:
    draws = _draws(program, key, n)
    return {
        name: c[f"{name}_mean"]
        + (noise[name] - c[f"{name}_mean"]) * c[f"{name}_decay"]
        + c[f"{name}_gain"] * draw
        for name, draw in draws.items()
    }


def _window(
    program: Program, constants: Tree, schedule: Tree, step: Any, moving: Tree, record: Any
) -> tuple[Tree, Any, Tree]:
    """Run the window: fold every step, close a segment where the schedule says so."""
    table, rows = folds(MODELS[program.model]), observables(MODELS[program.model])
    needed = {rows[name].fold: table[rows[name].fold] for name in program.observables}
    for name in [name for name in needed if name.endswith(" sum")]:
        if name.replace(" sum", " squares") in needed:
            del needed[name]
    window, begin = program.window, schedule["window"][0]

    def close(totals: Tree, segments: Tree, stop: Any, state: Any) -> tuple[Tree, Tree]:
        totals = {n: f.close(totals[n], segments[n], stop - begin, window) for n, f in needed.items()}
        return totals, {n: f.open(totals[n], state) for n, f in needed.items()}

    def fold_step(n: Any, carry: Tree) -> Tree:
        moving, segments = carry
        moving = step(n, moving)
        return moving, {name: f.update(segments[name], moving[0], n - begin) for name, f in needed.items()}

    def event(i: Any, carry: Tree) -> Tree:
        moving, segments, totals, record = carry
        stop = schedule["window"][i + 1]
        moving, segments = lax.fori_loop(schedule["window"][i], stop, fold_step, (moving, segments))
        record = _write(program, record, schedule["window_rows"][i], moving[0])
        if program.recorded:
            totals, segments = lax.cond(
                schedule["closes"][i],
                lambda t, s: close(t, s, stop, moving[0]),
                lambda t, s: (t, s),
                totals,
                segments,
            )
        else:
            totals, segments = close(totals, segments, stop, moving[0])
        return moving, segments, totals, record

    totals = {n: f.init(moving[0], constants, window) for n, f in needed.items()}
    segments = {n: f.open(totals[n], moving[0]) for n, f in needed.items()}
    carry = (moving, segments, totals, record)
    moving, _, totals, record = lax.fori_loop(0, len(schedule["window"]) - 1, event, carry)
    return moving, record, totals


def _empty_record(program: Program, state: Any, schedule: Tree) -> Any:
    """Return room for the record, its first row holding the initial state, its last what is not kept."""
    if not program.recorded:
        return ()
    rows = schedule["record_rows"].shape[0]
    record = jnp.zeros((rows, len(state), *state[0].shape), state[0].dtype)
    return record.at[0].set(jnp.stack(state))


def _write(program: Program, record: Any, row: Any, state: Any) -> Any:
    return record.at[row].set(jnp.stack(state)) if program.recorded else record


def _finish(program: Program, moving: Tree, totals: Tree, record: Any) -> Tree:
    state, _, lowest = moving
    dtype = jnp.dtype(program.precision)
    rows = observables(MODELS[program.model])
    finite = jnp.all(jnp.stack([jnp.isfinite(y) for y in state]), axis=0)
    measured = {}
    for name in program.observables:
        fold = rows[name].fold
        total = totals[fold] if fold in totals else totals[fold.replace(" sum", " squares")]
        value = rows[name].finalize(total, program.window)
        measured[name] = jnp.where(finite, value, jnp.nan).astype(dtype)
    status = (
        jnp.where(finite, 0, int(Status.diverged))
        | jnp.where(lowest < 0, int(Status.rate_negative), 0)
        | int(Status.computed)
    )
    return {"observables": measured, "status": status.astype(jnp.uint8), "record": record}
