"""What a batch carries through time has the shapes and types that its named tuples tell.

Every case is traced, and nothing is compiled: a run goes on with zeros. Every function of the compiled loop
is watched, what it takes and what it returns.
"""

import functools
import inspect
import types
from typing import Annotated, Union, get_args, get_origin, get_type_hints

import jax
import numpy as np
import pytest

from qifscan.dynamics import accumulators
from qifscan.engine import batch, block, carries, history, noise_path, tangents
from qifscan.reference import stepping

from . import bits

MODULES = (accumulators, carries, block, stepping)
CARRIES = {
    each
    for module in MODULES
    for _, each in inspect.getmembers(module, inspect.isclass)
    if hasattr(each, "_fields") and each.__module__ == module.__name__
}
CASES = (
    "noise on both variables",
    "every observable",
    "exponents",
    "traces",
    "model qif_delay",
    "drive sampled",
    "extension",
)


@functools.cache
def hints_of(carry):
    return get_type_hints(carry, localns={"jax": jax}, include_extras=True)


def wrong(value, hint, sizes, where):
    """Return where a value is not what its hint tells; `sizes` holds the dimensions by name, and fills up."""
    if hint in (object, jax.Array):
        return _wrong_at_all(value, sizes, where)
    if hint is types.NoneType:
        return [] if value is None else [f"{where}: not None"]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        lines = []
        for part in parts:
            tried = dict(sizes)
            lines = wrong(value, part, tried, where)
            if not lines:
                sizes.update(tried)
                return []
        return lines
    if origin is Annotated:
        return _wrong_array(value, parts[1], parts[2] if len(parts) > 2 else None, sizes, where)
    if origin is dict:
        return [line for key, x in value.items() for line in wrong(x, parts[1], sizes, f"{where}.{key}")]
    if origin is tuple:
        if not isinstance(value, tuple):
            return [f"{where}: no tuple"]
        each = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        if len(each) != len(value):
            return [f"{where}: {len(value)} in place of {len(each)}"]
        return [
            line
            for i, (x, one) in enumerate(zip(value, each, strict=True))
            for line in wrong(x, one, sizes, f"{where}[{i}]")
        ]
    if hint in CARRIES:
        return of_carry(value, sizes, where) if isinstance(value, hint) else [f"{where}: no {hint.__name__}"]
    return [f"{where}: nothing tells {hint}"]


def _wrong_at_all(value, sizes, where):
    """What is said of no total by its type: each of its arrays has a last dimension for the lanes."""
    if type(value) in CARRIES:
        return of_carry(value, sizes, where)
    leaves = jax.tree.leaves(value)
    return [
        f"{where}: {x.shape}" for x in leaves if x.ndim and x.shape[-1] != sizes.get("lanes", x.shape[-1])
    ]


def _wrong_array(value, dims, dtype, sizes, where):
    names = dims.split()
    if value is None or len(names) != value.ndim:
        return [f"{where}: {None if value is None else value.shape}, not ({dims})"]
    expected = [
        int(n) if n.isdigit() else sizes.setdefault(n, k) for n, k in zip(names, value.shape, strict=True)
    ]
    lines = [] if list(value.shape) == expected else [f"{where}: {value.shape}, not {expected} ({dims})"]
    precision = dtype or (
        sizes.setdefault("precision", value.dtype.name) if value.dtype.kind == "f" else "float"
    )
    return lines if value.dtype.name == precision else [*lines, f"{where}: {value.dtype}, not {precision}"]


SHARED = ("lanes", "precision")


def of_carry(value, sizes, where):
    """Return where the fields of a carry are not what their hints tell."""
    hints, own = hints_of(type(value)), {name: sizes[name] for name in SHARED if name in sizes}
    found = [
        line
        for name, each in value._asdict().items()
        for line in wrong(each, hints[name], own, f"{where}.{name}")
    ]
    sizes.update({name: own[name] for name in SHARED if name in own})
    return found


def within(value):
    """Yield every carry in a value."""
    if type(value) in CARRIES:
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        yield from within(part)


def watched(function, seen):
    """Return a function that checks every carry it takes and returns."""

    @functools.wraps(function)
    def checked(*arguments):
        result = function(*arguments)
        several = result if type(result) is tuple else (result,)
        for value in (*arguments, *several):
            if type(value) in CARRIES:
                assert of_carry(value, {}, type(value).__name__) == [], function.__name__
            for each in within(value):
                known = seen.setdefault(type(each).__name__, set())
                known.update(name for name, x in each._asdict().items() if x is not None)
        return result

    return checked


class Traced:
    """A program that is traced alone: it gives zeros in place of what would come of points that ran."""

    def __init__(self, blocks, program, arguments, compiling=None):
        shapes = jax.eval_shape(functools.partial(blocks, program), *arguments)
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        # A checkpoint of zeros is one that is not gone on from.
        ran = {name: jax.tree.map(np.ones_like, getattr(empty, name)) for name in ("status", "checkpoint")}
        self.output = empty._replace(**ran)

    def __call__(self, *arguments):
        return self.output

    def memory_analysis(self):
        return types.SimpleNamespace(argument_size_in_bytes=1, output_size_in_bytes=1, temp_size_in_bytes=1)


@pytest.fixture
def seen(monkeypatch):
    found = {}
    monkeypatch.setattr(batch, "compiled", Traced)
    for module in (block, history, noise_path, tangents):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and name != "all_blocks":
                for user in (block, module):
                    if hasattr(user, name):
                        monkeypatch.setattr(user, name, watched(function, found))
    moments = accumulators.Accumulator

    def accumulator(init, opened, update, close, *others):
        return moments(watched(init, found), opened, watched(update, found), watched(close, found), *others)

    monkeypatch.setattr(accumulators, "Accumulator", accumulator)
    return found


def test_every_carry_of_every_case_has_the_shapes_that_are_told(seen, tmp_path):
    for case in CASES:
        (tmp_path / case).mkdir()
        bits.cases()[case](tmp_path / case)
    # What is private is made and taken inside one function; its parts are seen there. The cases run no `QIF`,
    # whose carries are those of another loop.
    engine = {each for each in CARRIES if each.__module__ != stepping.__name__}
    for carry in (each for each in engine if not each.__name__.startswith("_")):
        missing = set(carry._fields) - seen.get(carry.__name__, set())
        assert not missing, (carry.__name__, missing)


def test_a_carry_of_another_shape_or_type_is_found():
    lane, other = np.zeros(64, np.float32), np.zeros(63, np.float32)
    good = carries.Moving(lane, lane, None, None, {}, None, None, (lane, lane))
    assert of_carry(good, {}, "Moving") == []
    for bad in (
        good._replace(estimate=other),
        good._replace(state=(lane, other)),
        good._replace(state=lane),
        good._replace(estimate=None),
        good._replace(estimate=lane.astype(np.float64)),
        good._replace(noise={"v": lane}),
        good._replace(past=carries.Past(lane, lane, lane)),
    ):
        assert of_carry(bad, {}, "Moving")
