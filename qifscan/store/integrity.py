"""What is wrong with a store that can be seen without reading its chunks, and mending it.

Everything but the chunks follows from the scan: metadata, coordinates, attributes, theory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.errors import counted, short
from qifscan.lazy import LazyModule
from qifscan.store import chunk_files, drafts, store
from qifscan.store.shards import packed_node
from qifscan.store.theory_group import THEORY, add_theory, carries_theory, theory_faults

if TYPE_CHECKING:
    import zarr

    from qifscan.scan.scan import Scan
    from qifscan.store import places
    from qifscan.store.store import Store
    from qifscan.theory.of_scan import Atlas
else:
    places = LazyModule("qifscan.store.places")
    zarr = LazyModule("zarr")

STRUCTURE = ("shape", "data_type", "chunk_grid", "fill_value", "dimension_names")
"""What the metadata of an array must say in a store of any version of zarr."""

EXACT = (*STRUCTURE, "codecs", "chunk_key_encoding")

SHOWN = 3
"""Chunks that are named where files of several are missing."""


def faults(
    opened: Store, *, theory: bool = True, deep: bool = False, seen: chunk_files.Seen | None = None
) -> list[str]:
    """Return one line for everything that is wrong beside the chunks; with `deep` theory is read through.
    `seen` are the chunks, where they have been looked at."""
    with record.reading(opened.path):
        # Pipes could be read without end, and links lead elsewhere: look no further.
        return list(_of_links(opened)) or _faults(opened, theory, deep, seen)


def _faults(opened: Store, theory: bool, deep: bool, seen: chunk_files.Seen | None) -> list[str]:
    found = [*_of_attributes(opened), *_of_metadata(opened), *_of_coordinates(opened)]
    if not found and opened.recorded:
        # The copy of damaged metadata differs anyway.
        found += _of_copy(opened)
    done, incomplete = seen or chunk_files.look(opened)
    found += _of_files(incomplete)
    if theory and len(done) == len(opened.chunks):
        found += [f"{THEORY}: {reason}" for reason in theory_faults(opened.path, deep)]
    return found


def mend(
    opened: Store,
    theory_of: Callable[[Scan], Atlas],
    *,
    deep: bool = False,
    seen: chunk_files.Seen | None = None,
) -> list[str]:
    """Put right what follows from the scan; return what was wrong. Chunks are left to the next run.

    `theory_of` gives the theory of a scan, where the store's own has to be written anew.
    Raises `StoreError` for a store with links, and for one that is packed and has faults.
    """
    if not opened.packed:
        store.check_writable(opened)
        drafts.clear_beside(opened.path)
    of_theory, seen = False, seen or chunk_files.look(opened)
    with record.reading(opened.path):
        # What is written to has no links: that is known by now.
        found = (list(_of_links(opened)) if opened.packed else []) or _faults(opened, True, deep, seen)
    if found:
        if opened.packed:
            store.check_writable(opened)
        of_theory = any(line.startswith(f"{THEORY}: ") for line in found)
        _mend_arrays(opened)
        for chunk in seen[1]:
            chunk_files.discard(opened, chunk)
        store.change_attributes(opened, {}, anew=True)
    if of_theory:
        add_theory(opened, theory_of(opened.scan))
    return found


def _of_links(opened: Store) -> Iterator[str]:
    found = list(store.odd_in(opened))
    if found:
        (name, kind), more = found[0], counted(len(found), "such thing")
        yield f"{name} is {kind} ({more} in all): remove it, a store has none"


def _of_attributes(opened: Store) -> Iterator[str]:
    kept = store.kept(opened)
    if kept is None:
        if opened.recorded:
            yield "attributes: their second copy is missing or damaged"
        return
    try:
        own = dict(record.read_json(opened.path / files.METADATA)["attributes"])
    except (ValueError, KeyError, TypeError):
        yield "attributes: zarr.json can't be read"
        return
    changed = [
        n for n, value in kept["attributes"].items() if n.startswith("qifscan_") and own.get(n) != value
    ]
    lost = [n for n in kept["attributes"] if n not in own]
    if changed or lost:
        yield f"attributes: {', '.join([*changed, *lost][:SHOWN])} lost or replaced; there is a second copy"


def _expected(opened: Store) -> Mapping[str, Any]:
    """Return the metadata that the arrays of a store must have."""
    kept = store.kept(opened)
    if kept is not None:
        return {n: packed_node(node) if opened.packed else node for n, node in kept["nodes"].items()}
    with store.template(opened) as made:
        own = dict(record.nodes(made))
    return {n: node for n, node in own.items() if opened.recorded or not n.startswith(record.RECORD)}


def _of_metadata(opened: Store) -> Iterator[str]:
    exact = store.kept(opened) is not None
    for name, node in _expected(opened).items():
        reason = _differs(opened, name, node, EXACT if exact else STRUCTURE)
        if reason:
            yield f"{name}: {reason}"


def _differs(opened: Store, name: str, node: Any, keys: tuple[str, ...]) -> str:
    try:
        found = record.read_json(opened.path / name / files.METADATA)
    except ValueError as error:
        return str(error)
    if not isinstance(found, dict) or found.get("node_type") != node["node_type"]:
        return f"its metadata is not that of {node['node_type']}"
    wrong = [key for key in keys if found.get(key) != node.get(key)]
    units = [(each.get("attributes") or {}).get("units") for each in (found, node)]
    wrong += ["units"] if units[0] != units[1] else []
    return f"its metadata has another {', '.join(wrong)}" if wrong else ""


def _of_coordinates(opened: Store) -> Iterator[str]:
    for name, values in store.coordinates(opened).items():
        try:
            found = np.asarray(zarr.open_array(places.readable(opened.path), path=name, mode="r")[...])
            same = found.shape == values.shape and found.tolist() == values.tolist()
            # Zarr writes no file for zeros alone, the fill value.
            is_fill = values.dtype.kind not in "OUS" and not values.any()
            there = values.size == 0 or is_fill or (opened.path / name / "c" / "0").is_file()
        except Exception as error:  # noqa: BLE001 - a codec may raise anything on damaged bytes
            yield f"{name}: the coordinate can't be read ({short(error)})"
            continue
        if not there:
            yield f"{name}: the values of the coordinate are missing"
        elif not same:
            yield f"{name}: the coordinate has other values than the scan"


def _of_copy(opened: Store) -> Iterator[str]:
    """The copy of all metadata in the root, by which a web server's visitors find the arrays."""
    copy = record.read_json(opened.path / files.METADATA).get("consolidated_metadata") or {}
    known = copy.get("metadata") or {}
    there = {n: node for n, node in record.nodes(opened.path) if node.get("node_type") == "array"}
    listed = {n: node for n, node in known.items() if node.get("node_type") == "array"}
    if not carries_theory(opened.path):
        # Its absence is a fault of its own.
        listed = {name: node for name, node in listed.items() if not name.startswith(f"{THEORY}/")}
    wrong = set(there) ^ set(listed)
    wrong |= {n for n in set(there) & set(listed) if any(there[n].get(k) != listed[n].get(k) for k in EXACT)}
    if wrong:
        yield f"zarr.json: its copy of the metadata is not that of {', '.join(sorted(wrong)[:SHOWN])}"


def _of_files(incomplete: set[int]) -> Iterator[str]:
    wrong = sorted(incomplete)
    if wrong:
        which = f"chunk{'' if len(wrong) == 1 else 's'} {', '.join(map(str, wrong[:SHOWN]))}"
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        yield f"{which}{more}: finished once, and files are missing or have another size"


def _mend_arrays(opened: Store) -> None:
    """Write the metadata and coordinates that are wrong anew."""
    exact, expected = store.kept(opened) is not None, _expected(opened)
    coordinates = {line.split(":")[0] for line in _of_coordinates(opened)}
    with store.template(opened) as made:
        for name, node in expected.items():
            if name in coordinates or not _differs(opened, name, node, EXACT if exact else STRUCTURE):
                continue
            place = opened.path / name
            if isinstance(place, Path) and place.is_file():
                files.remove(place)
            if isinstance(place, Path) and (place / files.METADATA).is_dir():
                files.remove(place / files.METADATA)
            files.write(place / files.METADATA, json.dumps(node).encode())
        for name in coordinates:
            files.remove(opened.path / name)
            files.put(made / name, opened.path / name)
