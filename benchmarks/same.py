"""Does a point keep its bits, whatever else a scan holds and whoever runs it? Random scans, run in many ways.

A scan: any model, random parameters and starts, a drive or none, noise or none, both precisions, automatic
and given steps, random observables, two replicates. It is run once, in one thread and as it is cut by itself,
and then in three of the ways of `WAYS`. Every number of every point has to be the same to the last bit. What
is looked at is only what a reader of the dataset sees; the comparison knows nothing of how chunks are cut.

    python benchmarks/same.py [--scans 100] [--seed 1] [--model NAME] [--way NAME]

Prints every difference as a line of Python that looks at it again, then a table; ends with 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import truth

import qifscan as qs
from qifscan.errors import RunError, ScanError, StoreError

Array = np.ndarray[Any, Any]
Values = dict[str, Any]

LONGEST = 1500
"""Most base steps in a window: what differs is seen in a few."""

MOST = 24
"""Points of a scan, before its replicates."""

OTHERS = 150
"""Points that stand beside those of the scan, so that blocks are wide: with two replicates more than 256."""


@dataclass(frozen=True)
class Scan:
    """The arguments of a scan of points, and the columns of its points, `(points,)` each."""

    arguments: Values
    columns: dict[str, Array]

    def made(self, rows: Any = slice(None), **changes: Any) -> qs.Scan:
        """Return the scan of some of the points, with other arguments if given."""
        points = {name: values[rows].tolist() for name, values in self.columns.items()}
        return qs.Scan(**{**self.arguments, "points": points, **changes})


def drawn(model: str, number: int, seed: int, longest: int = LONGEST) -> tuple[Scan, Scan]:
    """Return a random scan, and others of its kind to stand beside it."""
    rng = np.random.default_rng([seed, number, 5])
    count = int(rng.integers(3, MOST + 1))
    case = truth.drawn_case(model, number, seed, count + OTHERS, longest)
    columns = dict(case.columns)
    arguments = case.arguments(slice(0, 1), None)
    if number % 2:
        for name in qs.models()[model].input_names:
            some = rng.random(count + OTHERS) < 0.8
            size = 0.02 if name[0] == "r" else 0.5
            columns[f"{name}_ou_sigma"] = np.where(some, rng.uniform(0.1, 1.0, len(some)) * size, 0.0)
            columns[f"{name}_ou_tau"] = np.exp(rng.uniform(np.log(0.02), np.log(20.0), len(some)))
        arguments["noise"] = ("independent", "common")[(number // 2) % 2]
    kept = rng.random(len(case.observables)) < 0.6
    observables = [name for name, keep in zip(case.observables, kept, strict=True) if keep]
    arguments |= {"observables": observables or case.observables[:2], "replicates": 2, "seed": number}
    of_scan, others = (
        {k: x[rows] for k, x in columns.items()} for rows in (slice(0, count), slice(count, None))
    )
    return Scan(arguments, of_scan), Scan(arguments, others)


# --- the ways ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Around:
    """What a way to run a scan may use: the scan, others beside it, chance, and an empty folder."""

    scan: Scan
    others: Scan
    rng: np.random.Generator
    folder: Path

    def run(self, scan: qs.Scan, name: str = "a", **options: Any) -> Any:
        """Run a scan in one thread; return its dataset in memory."""
        given = {"client": "serial", "progress": None, **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return qs.run(scan, self.folder / f"{name}.zarr", **given).load()

    @property
    def count(self) -> int:
        """Number of points of the scan."""
        return len(next(iter(self.scan.columns.values())))


Found = tuple[Any, Array]
"""A dataset, and which points of the scan its first ones are."""


def in_chunks(around: Around) -> Found:
    """In chunks of a few points."""
    size = int(around.rng.integers(1, around.count + 1))
    return around.run(around.scan.made(), chunk_points=2 * size), np.arange(around.count)


def in_another_order(around: Around) -> Found:
    """The points in another order."""
    order = around.rng.permutation(around.count)
    return around.run(around.scan.made(order)), order


def alone(around: Around) -> Found:
    """Some of the points without the others."""
    rows = np.sort(around.rng.choice(around.count, 2, replace=False))
    return around.run(around.scan.made(rows)), rows


def among_others(around: Around) -> Found:
    """The points among so many others that their blocks are wide."""
    own, other = around.scan.columns, around.others.columns
    joined = Scan(around.scan.arguments, {k: np.concatenate((own[k], other[k])) for k in own})
    return around.run(joined.made()), np.arange(around.count)


def by_threads(around: Around) -> Found:
    """By two threads."""
    found = around.run(around.scan.made(), client="threads", workers=2, chunk_points=around.count)
    return found, np.arange(around.count)


def less_observed(around: Around) -> Found:
    """With some of the observables alone. The status is of those that are asked for."""
    asked = around.scan.arguments["observables"]
    some = [asked[i] for i in np.sort(around.rng.choice(len(asked), (len(asked) + 1) // 2, replace=False))]
    return around.run(around.scan.made(observables=some)).drop_vars("status"), np.arange(around.count)


def extended(around: Around) -> Found:
    """From the store of half the window, and of half the points."""
    scan = around.scan.made()
    half = scan.protocol.model_copy(
        update={"window": scan.protocol.base * max(scan.protocol.window_steps // 2, 1)}
    )
    around.run(around.scan.made(slice(0, (around.count + 1) // 2), protocol=half), "short")
    return around.run(scan, "long", extend=around.folder / "short.zarr"), np.arange(around.count)


def replayed(around: Around) -> Found:
    """Some points, one by one, from the store. What `replay` says of the store itself is not asked."""
    stored = around.run(around.scan.made(), "stored")
    rows = np.sort(around.rng.choice(around.count, 2, replace=False))
    each = [
        qs.replay(around.folder / "stored.zarr", point=int(i), replicate=int(k), method="nearest")
        for i in rows
        for k in stored["replicate"].values
    ]
    names = [name for name in stored.data_vars if name in each[0] and each[0][name].ndim == 0]
    found = stored[names].isel(point=rows).copy(deep=True)
    for name in names:
        values = np.array([d[name].values for d in each])
        found[name] = (found[name].dims, values.reshape(found[name].shape))
    return found, rows


WAYS: dict[str, Callable[[Around], Found]] = {
    "chunks": in_chunks,
    "order": in_another_order,
    "alone": alone,
    "others": among_others,
    "threads": by_threads,
    "observables": less_observed,
    "extended": extended,
    "replayed": replayed,
}


# --- what differs -----------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """Of each way how many scans ran, how many were refused, and how many numbers were compared; and which
    differ."""

    runs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    different: list[Values] = field(default_factory=list)


def differences(reference: Any, found: Any, rows: Array) -> tuple[dict[str, int], int]:
    """Return of how many points each variable has other bits, of those with any; and how many numbers were
    compared. NaN is NaN, whatever its bits."""
    off, numbers = {}, 0
    for name in reference.data_vars:
        if name not in found or "point" not in reference[name].dims:
            continue
        a = reference[name].transpose("point", ...).values[rows]
        b = found[name].transpose("point", ...).values[: len(rows)]
        same = (a == b) & (np.signbit(a) == np.signbit(b)) if a.dtype.kind == "f" else a == b
        same |= (a != a) & (b != b)
        numbers += a.size
        if a.dtype != b.dtype or not same.all():
            off[str(name)] = int((~same).sum())
    return off, numbers


def ways_of(number: int, seed: int) -> list[str]:
    """Return three of the ways, at random."""
    rng = np.random.default_rng([seed, number, 7])
    return [list(WAYS)[i] for i in np.sort(rng.choice(len(WAYS), 3, replace=False))]


def look(
    model: str, number: int, seed: int, ways: list[str], verdict: Verdict, longest: int = LONGEST
) -> None:
    """Run a random scan as it is and in these ways; add what came of it to the verdict."""
    scan, others = drawn(model, number, seed, longest)
    with tempfile.TemporaryDirectory() as folder:
        around = Around(scan, others, np.random.default_rng([seed, number, 6]), Path(folder))
        reference = around.run(scan.made(), "reference")
    for way in ways:
        with tempfile.TemporaryDirectory() as folder:
            around = Around(scan, others, np.random.default_rng([seed, number, 6]), Path(folder))
            try:
                found, rows = WAYS[way](around)
            except (RunError, ScanError) as error:
                verdict.refused[way] += 1
                print(f"  {model} {number} {way}: {str(error)[:150]}", file=sys.stderr, flush=True)
                continue
            except StoreError as error:
                # A store without a checkpoint can't be extended; of one that is replayed it is a difference.
                verdict.refused[way] += way == "extended"
                if way != "extended":
                    verdict.runs[way] += 1
                    verdict.different.append(
                        {"model": model, "number": number, "way": way, "off": str(error)}
                    )
                print(f"  {model} {number} {way}: {str(error)[:150]}", file=sys.stderr, flush=True)
                continue
        off, numbers = differences(reference, found, rows)
        verdict.runs[way] += 1
        verdict.numbers[way] += numbers
        if off:
            verdict.different.append({"model": model, "number": number, "way": way, "off": off})
            print(f"  look({model!r}, {number}, {seed}, [{way!r}], Verdict())  # {off}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--model", action="append", choices=list(qs.models()), help="this model alone; can be repeated"
    )
    parser.add_argument(
        "--way", action="append", choices=list(WAYS), help="in this way alone; can be repeated"
    )
    asked = parser.parse_args()
    models, verdict, begin = asked.model or list(qs.models()), Verdict(), time.perf_counter()
    for k in range(asked.scans):
        model = models[k % len(models)]
        look(model, k, asked.seed, asked.way or ways_of(k, asked.seed), verdict)
        done = f"{k + 1} of {asked.scans} scans, {len(verdict.different)} differ"
        print(f"{done}, {time.perf_counter() - begin:.0f} s ({model})", file=sys.stderr, flush=True)
    print(f"{'way':<14}{'scans':>8}{'refused':>9}{'numbers':>12}{'differ':>8}")
    of_ways = Counter(row["way"] for row in verdict.different)
    for way in asked.way or WAYS:
        counts = (verdict.runs[way], verdict.refused[way], verdict.numbers[way], of_ways[way])
        print(f"{way:<14}" + "".join(f"{n:>{w},}" for n, w in zip(counts, (8, 9, 12, 8), strict=True)))
    sys.exit(bool(verdict.different))


if __name__ == "__main__":
    main()
