"""In which order chunks are computed: first those of a region that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qifscan.engine.chunks import Chunks
from qifscan.errors import Fault, ScanError, is_number, show, unknown
from qifscan.scan.scan import Scan

Region = dict[str, tuple[float, float]]
"""The lowest and the highest value of some dimensions."""


def region_of(scan: Scan, first: Any) -> Region:
    """Return the region that is asked for; raise `ScanError` if the scan has no such axis or value."""
    if first is None:
        return {}
    if not isinstance(first, Mapping):
        raise ScanError([Fault("first", show(first), 'a region, as {"eta": (-6.0, -4.0)}')])
    faults, region = [], {}
    for name, given in first.items():
        if name not in scan.axes:
            faults.append(unknown("first", name, scan.axes))
            continue
        values = scan.axes[name].labels
        ends = given if isinstance(given, (tuple, list)) else (given, given)
        if values.dtype.kind in "US":
            faults.append(Fault(f"first.{name}", show(given), "a dimension of numbers"))
        elif len(ends) != 2 or not all(map(is_number, ends)):
            faults.append(Fault(f"first.{name}", show(given), "the lowest and the highest value"))
        elif not np.any((values >= min(ends)) & (values <= max(ends))):
            there = f"a range with some of its values, {values.min():g} to {values.max():g}"
            faults.append(Fault(f"first.{name}", show(given), there))
        else:
            region[name] = (float(min(ends)), float(max(ends)))
    if faults:
        raise ScanError(faults)
    return region


def given_region(pairs: Iterable[str]) -> Region | None:
    """Return the region of `--first NAME=LOW:HIGH`, None if there is none."""
    region = {}
    for pair in pairs:
        name, _, ends = pair.partition("=")
        try:
            low, high = map(float, ends.split(":"))
        except ValueError:
            raise ScanError([Fault("--first", show(pair), "NAME=LOW:HIGH, such as eta=-6:-4")]) from None
        region[name.strip()] = (low, high)
    return region or None


def in_order(chunks: Chunks, pending: list[int], region: Region) -> list[int]:
    """Return chunks with those first that have points of the region."""
    if not region:
        return pending
    inside = []
    for name, count, length in zip(chunks.scan.sizes, chunks.counts, chunks.shape, strict=True):
        low, high = region.get(name, (-np.inf, np.inf))
        if name not in region:
            inside.append(np.ones(count, dtype=bool))
            continue
        values = chunks.scan.axes[name].labels
        has = np.flatnonzero((values >= low) & (values <= high)) // length
        inside.append(np.isin(np.arange(count), has))

    def later(chunk: int) -> bool:
        if chunks.is_trace(chunk):
            return True
        return not all(has[i] for has, i in zip(inside, chunks.position(chunk), strict=True))

    return sorted(pending, key=later)
