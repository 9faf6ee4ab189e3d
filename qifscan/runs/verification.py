"""Verify a store: its bytes; its numbers beside the same program, a finer step, an adaptive solver of other
code, and the exact equilibria."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from qifscan.dynamics.status import Status
from qifscan.engine import backend, chunk_work
from qifscan.engine.finer import run_finer
from qifscan.engine.measured import Measured
from qifscan.engine.points import Points, run_points
from qifscan.engine.schedule import batch_shape
from qifscan.errors import StoreError, check_count, check_flag, counted
from qifscan.files import Where
from qifscan.phases import phased, tell
from qifscan.place import located
from qifscan.printed import Printed
from qifscan.scan.scan import Scan
from qifscan.store import chunk_files, integrity, store
from qifscan.store.store import Store
from qifscan.store.values import read_chunks, read_points
from qifscan.theory.of_scan import after_a_run
from qifscan.theory.rate_curve import graph_value, rate_unit
from qifscan.theory.rest import Rest
from qifscan.truth import sample as truth
from qifscan.truth.sample import Comparison

Array = np.ndarray[Any, Any]

SHOWN = 3
"""Points that are named for each variable that differs."""

NOT_TRUSTED = int(Status.diverged | Status.under_resolved)


@dataclass(frozen=True)
class HalfStep:
    """How a sample compares with half its steps in float64, relative to the size of the state in the window.

    `apart` is the largest difference of an observable of a point without noise that is not flagged; `noisy`
    counts the points with noise, `parted` those of them whose path has gone another way.
    """

    points: int = 0
    apart: float = 0.0
    noisy: int = 0
    parted: int = 0
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        without = f"{counted(self.points - self.noisy, 'point')} without noise {self.apart:.1e} apart at most"
        paths = f"{self.parted} of {self.noisy} paths of noise parted" if self.noisy else ""
        return "; ".join(part for part in (without if self.points > self.noisy else "", paths) if part)


@dataclass(frozen=True, repr=False)
class Verdict(Printed):
    """What `verify` found. It prints as a table. `faults` has one line for each thing that is wrong.

    `half` is the comparison with half the step, `truth` that with an adaptive solver, `tolerance` what the
    scan allows there; `settled` counts the points of the store that have come to rest, and `disagreement` is
    their largest distance from the exact equilibrium.
    """

    path: Where
    chunks: int
    finished: int
    recomputed: int
    half: HalfStep
    truth: Comparison
    tolerance: float
    settled: int
    disagreement: float
    faults: tuple[str, ...]
    repaired: tuple[int, int] = (0, 0)
    """Damaged chunks that were taken back, and other faults that were mended."""
    others: int = 0
    """Points of the sample that were computed with other options of XLA than those here: their last bits are
    not compared."""
    options: str = ""
    """The options that the store says."""

    @property
    def sound(self) -> bool:
        """Whether something is there, and nothing was wrong in it."""
        return not self.faults and self.finished > 0

    def rows(self) -> Iterator[tuple[str, str]]:
        """Return the lines that it prints as."""
        yield "chunks", f"{self.finished} of {self.chunks} finished, each read and its checksum tested"
        yield "recomputed", f"{counted(self.recomputed, 'point')}, compared bit for bit with the store"
        if self.others:
            yield "other options", self._of_others
        yield "half step", f"in float64: {str(self.half) or 'nothing compared'}"
        yield "truth", f"by an adaptive solver: {self.truth}"
        apart = f"{self.disagreement:.1e} from the exact equilibrium at most"
        yield "theory", f"{counted(self.settled, 'point')} at rest, {apart}"
        yield from (("fault", fault) for fault in self.faults)
        taken, mended = self.repaired
        if taken or mended:
            more = f", {counted(mended, 'other fault')} mended" if mended else ""
            yield "repair", f"{counted(taken, 'damaged chunk')} taken back{more}; run the scan again"
        elif self.faults:
            yield (
                "cure",
                "qifscan verify --repair, then qifscan run, mends what is damaged; where only points differ, "
                "they come from another processor or jax",
            )
        yield "verdict", self._verdict

    @property
    def _of_others(self) -> str:
        how = backend.how_to_have(self.options)
        return f"{counted(self.others, 'point')} computed with others of XLA, not compared bit for bit; {how}"

    @property
    def _verdict(self) -> str:
        if self.faults:
            return counted(len(self.faults), "fault")
        if not self.finished:
            return "nothing was checked: no chunk is finished; run the scan"
        part = f" as far as it is there, {self.finished} of {self.chunks} chunks"
        there = "" if self.finished == self.chunks else part
        return f"sound{there}{', but for last bits: other options' if self.others else ''}"


@phased("verify")
def verify(path: str | os.PathLike[str], *, points: int = 256, repair: bool = False) -> Verdict:
    """Check a store: read it through, compute a random sample of it again, and hold it against the theory.

    Every finished chunk is read, with its checksums, and theory; metadata, coordinates and attributes are
    compared with what follows from the scan. The points of the sample are run again in the same way,
    which must give every bit; and at half of their step in float64 along the same path of noise. There the
    mean, std, lowest, highest and final values of a point that is not flagged must agree to the tolerance of
    the scan, relative to the size of its state in the window (|W|, W = pi tau r + i v, of a population; of a
    slow variable its own): of each point without noise, and of those with noise on average. Points without
    noise, 32 at most, are also run by an adaptive solver that shares nothing with the kernel, with equations
    of its own: every observable of a point that is not flagged must be true to the tolerance. The number of
    equilibria of each is counted again from the eigenvalues of the companion matrix of its polynomial, in
    other models than the plain one from the changes of sign along the rate. In the whole store, points that
    settled must be at the exact equilibrium to the tolerance.

    Parameters
    ----------
    path
        The store.
    points
        Points to compute again, spread at random (by a fixed seed) over the finished chunks.
    repair
        Take back the chunks that are damaged, so that the next run computes them again; and write anew what
        follows from the scan: metadata, coordinates, attributes, theory.

    Returns
    -------
    Verdict
        The counts and one line for every fault; `print` shows them.

    Raises
    ------
    ScanError
        If `points` is not a count.
    StoreError
        If there is no store of qifscan at `path`.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> made = qs.run(scan, "verified.zarr", client="serial")
    >>> qs.verify("verified.zarr").faults
    ()
    """
    check_count("points", points, least=0)
    check_flag("repair", repair)
    opened = store.load(located("path", path))
    tell("reading")
    structure = _structure(opened, repair)
    done = chunk_files.finished(opened)
    damaged = _damaged(opened, done, structure, repair)
    faults = [*structure, *(f"chunk {chunk}: {reason}" for chunk, reason in damaged.items())]
    grid = sorted(chunk for chunk in done - set(damaged) if not opened.chunks.is_trace(chunk))
    sample = _sample(opened, grid, points)
    half, true, others = HalfStep(), Comparison(), np.zeros(0, dtype=bool)
    if sample:
        others = _of_other_options(opened, sample)
        chosen = chunk_work.started(opened.scan, sample)
        stored = read_points(opened, dict(zip(opened.scan.sizes, sample, strict=False)))
        tell("computing a sample again")
        again = run_points(chosen, opened.chunks.schedule, batch_shape(len(sample[0])))
        faults += _differing(opened.scan, sample, stored, again, ~others)
        tell("computing it with half the step")
        half = _against_half_step(opened, chosen, sample, stored)
        tell("solving it adaptively")
        true = truth.compare(chosen, stored, lambda row: _place(opened.scan, sample, row))
        faults += [*half.faults, *true.faults, *_against_count(opened.scan, chosen, sample, stored)]
    settled, disagreement, further = _against_rest(opened, grid)
    faults += further
    return Verdict(
        opened.path,
        len(opened.chunks),
        len(done),
        len(sample[0]) - int(others.sum()) if sample else 0,
        half,
        true,
        opened.scan.protocol.tolerance,
        settled,
        disagreement,
        tuple(faults),
        (len(damaged) if repair else 0, len(structure) if repair else 0),
        int(others.sum()),
        store.options_of(opened) or "",
    )


def _of_other_options(opened: Store, sample: tuple[Array, ...]) -> Array:
    """Return which points of a sample lie in chunks that were computed with other options of XLA."""
    chunks = opened.chunks
    place = [index // length for index, length in zip(sample, chunks.shape, strict=False)]
    chunk = np.ravel_multi_index(place, chunks.counts) if chunks.counts else np.zeros(len(sample[0]), int)
    here = backend.options()
    return np.isin(chunk, [c for c in np.unique(chunk).tolist() if store.with_other_options(opened, c, here)])


def _structure(opened: Store, repair: bool) -> list[str]:
    """Return what is wrong beside the chunks; it is mended on request."""
    if not repair:
        return integrity.faults(opened, deep=True)
    store.check_writable(opened)
    return integrity.mend(opened, after_a_run, deep=True)


def _damaged(opened: Store, done: set[int], structure: list[str], repair: bool) -> dict[int, str]:
    """Return the finished chunks that are damaged, with the reason; take them back on request."""
    try:
        damaged = chunk_files.damaged(opened, done)
    except StoreError:
        if not structure:
            raise
        # If the metadata of an array is damaged, no chunk can be read until it is mended.
        damaged = dict.fromkeys(done, "can't be read until the metadata is mended")
    if repair:
        for chunk in damaged:
            chunk_files.discard(opened, chunk)
    return damaged


def _sample(opened: Store, grid: list[int], points: int) -> tuple[Array, ...]:
    """Return the indices along every dimension of a random sample of the points of these chunks."""
    if not grid or not points:
        return ()
    rng = np.random.default_rng(0)
    chunks = opened.chunks
    drawn = [(int(chunk), int(rng.integers(chunks.points(chunk)))) for chunk in rng.choice(grid, points)]
    sample = sorted({tuple(int(column[i]) for column in chunks.indices(c)) for c, i in drawn})
    return tuple(np.array(column) for column in zip(*sample, strict=True))


def _place(scan: Scan, sample: tuple[Array, ...], row: int) -> str:
    """Return the labels of a point of a sample in words."""
    labels = {
        dim: scan.axes[dim].labels[index[row]] if dim in scan.axes else index[row]
        for dim, index in zip(scan.sizes, sample, strict=False)
    }
    return ", ".join(f"{dim}={label}" for dim, label in labels.items()) or "the point"


def _differing(
    scan: Scan, sample: tuple[Array, ...], stored: dict[str, Array], again: Measured, compared: Array
) -> list[str]:
    faults = []
    for name, values in {**again.variables, "status": again.status}.items():
        ours, theirs = (x.view(np.uint8).reshape(len(x), -1) for x in (values, stored[name]))
        for row in np.flatnonzero(~(ours == theirs).all(axis=1) & compared)[:SHOWN]:
            found = f"stored {stored[name][row]!r}, computed {values[row]!r}"
            faults.append(f"{name} at {_place(scan, sample, row)}: {found}")
    return faults


def _against_half_step(
    opened: Store, chosen: Points, sample: tuple[Array, ...], stored: dict[str, Array]
) -> HalfStep:
    """Compare with half the step in float64, every trusted point without noise and the mean of those with."""
    scan, tolerance = opened.scan, opened.scan.protocol.tolerance
    finer = run_finer(chosen, stored["dt"], opened.chunks.schedule, batch_shape(len(sample[0])))
    trusted = stored["status"] & NOT_TRUSTED == 0
    noisy = chosen.noisy()
    apart, parted, faults = 0.0, np.zeros(len(noisy), dtype=bool), []
    for name, variable in _of_state(scan):
        # A burst in the window is larger than the state is in the end.
        size = np.fmax(finer.sizes[variable], np.abs(finer.observables[name]))
        shift = np.where(trusted, (stored[name] - finer.observables[name]) / size, 0.0)
        beyond = ~(np.abs(shift) <= tolerance)
        apart = max(apart, float(np.max(np.abs(shift), where=~noisy, initial=0.0)))
        parted |= beyond & noisy
        for row in np.flatnonzero(beyond & ~noisy)[:SHOWN]:
            found = f"{abs(shift[row]):.1e} from its value at half the step, and not flagged"
            faults.append(f"{name} at {_place(scan, sample, row)}: {found}")
        faults += _shifted(name, shift[noisy & trusted], tolerance)
    return HalfStep(len(noisy), apart, int(noisy.sum()), int(parted.sum()), tuple(faults))


def _shifted(name: str, shift: Array, tolerance: float) -> list[str]:
    """Return a fault if points with noise are shifted on average.

    A path that passes close to the saddle may fall to either side of it at another step, so that points with
    noise agree in law, not one by one. With 5 standard errors a right store fails in under 1 of 10^6 cases.
    """
    if len(shift) < 2:
        return []
    mean, error = float(np.mean(shift)), float(np.std(shift, ddof=1) / np.sqrt(len(shift)))
    if abs(mean) <= tolerance + 5.0 * error:
        return []
    return [f"{name}: {mean:.1e} on average from its value at half the step, standard error {error:.1e}"]


def _of_state(scan: Scan) -> Iterator[tuple[str, str]]:
    """Return the observables that are values of a variable, and the variable: those of levels and frequencies
    change by whole steps and bins."""
    for variable in scan.mean_field.variable_names:
        for kind in ("mean", "std", "min", "max", "final"):
            if f"{variable}_{kind}" in scan.observables:
                yield f"{variable}_{kind}", variable


def _against_count(
    scan: Scan, chosen: Points, sample: tuple[Array, ...], stored: dict[str, Array]
) -> list[str]:
    """Return a fault for each point whose number of equilibria is not that of another method."""
    if scan.mean_field.rest is None:
        # Nothing else knows how many there are.
        return []
    rest, faults = chosen.final_rest(), []
    count = _of_companion if scan.mean_field.plain else _of_signs
    for row, stored_count in enumerate(stored["equilibrium_count"].tolist()):
        found = count(rest, row)
        if found is not None and found != stored_count:
            place = _place(scan, sample, row)
            faults.append(f"equilibrium_count at {place}: stored {stored_count}, found {found}")
    return faults[:SHOWN]


def _of_companion(rest: Rest, row: int) -> int | None:
    """Return the number of equilibria of the plain model by a companion matrix; None on a fold."""
    eta, J, delta = (rest.parameters[name][row] for name in ("eta", "J", "delta"))
    powers = [np.pi**2, -J, -eta, 0.0, -(delta**2) / (4.0 * np.pi**2)]
    roots = np.roots(powers)
    real = np.abs(roots.imag) <= 1e-9 * np.abs(roots)
    found = np.count_nonzero(real & (roots.real > 0.0)) if delta > 0.0 else 0
    # On a fold the pair of roots is a matter of the last digits.
    return None if _near_fold(roots) else int(found)


def _near_fold(roots: Any) -> bool:
    apart = np.abs(roots[:, None] - roots[None, :])
    np.fill_diagonal(apart, np.inf)
    return bool(np.min(apart / np.abs(roots)[:, None]) < 1e-4)


def _of_signs(rest: Rest, row: int) -> int | None:
    """Return the number of equilibria by the changes of sign on a fine grid of rates; None near a fold."""
    model = rest.model
    here = {name: values[row] for name, values in rest.parameters.items()}
    if not all(p.domain.holds(here[p.name]) for p in model.parameters):
        return 0
    unit = rate_unit(model, {name: values[row : row + 1] for name, values in rest.parameters.items()})
    rates = unit * np.geomspace(1e-6, 1e6, 48001)
    with np.errstate(all="ignore"):
        apart = graph_value(model, rates, here) - here[model.graph]
        there = [v.domain.holds(y) for v, y in zip(model.variables, model.at_rest(rates, here), strict=True)]
    valid = np.all(np.broadcast_arrays(np.isfinite(apart), *there), axis=0)
    above = apart > 0.0
    found = int(np.count_nonzero((above[1:] != above[:-1]) & valid[1:] & valid[:-1]))
    at = rest.rates[row][np.isfinite(rest.rates[row])]
    # Two roots in one cell, or one at the end of what is valid, do not change the sign between two nodes.
    closest = np.min(np.diff(np.log(at)), initial=np.inf)
    return found if closest > 1e-3 else None


def _against_rest(opened: Store, grid: list[int]) -> tuple[int, float, list[str]]:
    """Return how many points settled, their largest distance from rest, and a fault if it is too large."""
    tell("comparing with the exact theory")
    if not grid or not opened.scan.can_rest:
        return 0, 0.0, []
    settled, largest = 0, 0.0
    for values in read_chunks(opened, grid, ("settled_on", "disagreement", "status")):
        rests = (values["settled_on"] >= 0) & (values["status"] & int(Status.not_settled) == 0)
        settled += int(np.count_nonzero(rests))
        largest = max(largest, float(np.max(values["disagreement"], where=rests, initial=0.0)))
    tolerance = opened.scan.protocol.tolerance
    faults = [f"disagreement: {largest:.1e} at a point that is not flagged"] if largest > tolerance else []
    return settled, largest, faults
