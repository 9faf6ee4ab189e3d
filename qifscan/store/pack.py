"""Pack a finished store into few files, and unpack it: the same bytes of every chunk, in shards.

A store has nine files a chunk, which is what lets every chunk be written by itself. When it is whole it needs
them no longer: packed it has a file for a thousand chunks of an array, or is one zip, and is only read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qifscan import files, record
from qifscan.errors import StoreError, counted
from qifscan.files import METADATA, Place, Where
from qifscan.lazy import LazyModule
from qifscan.place import AnyPath, located, with_ending
from qifscan.store import chunk_files, drafts, integrity, shards, store
from qifscan.store.shards import is_packed, packed_node, unpacked_node
from qifscan.zipped import Zipped

if TYPE_CHECKING:
    import google_crc32c
else:
    google_crc32c = LazyModule("google_crc32c")

Written = Iterator[tuple[str, bytes]]
"""Files of a store: name and content; its `zarr.json` last."""


def pack(path: AnyPath, packed: AnyPath | None = None) -> str:
    """Pack a finished store: a copy in few files, or in one, which is only read.

    The bytes of every chunk are those of the store, so no bit changes; `qifscan.unpack` makes a store of
    them again. `open_scan`, `show`, `verify`, `replay`, `explore` and `run(extend=...)` read it like any
    other, and so does every reader of zarr.

    Parameters
    ----------
    path
        The store, finished.
    packed
        Where the copy is to lie: with the ending `.zip` it is one file. By default beside the store,
        `scan.packed.zarr` of `scan.zarr`.

    Returns
    -------
    str
        Where it lies.

    Raises
    ------
    StoreError
        If the store is not finished, damaged, or packed already, or something is at `packed`.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> found = qs.run(scan, "small.zarr", client="serial")
    >>> qs.open_scan(qs.pack("small.zarr", "small.zip"))["r_mean"].values.round(4)
    array([0.0713, 0.0983], dtype=float32)
    """
    source = located("path", path)
    target = _default(source, ".packed.zarr") if packed is None else located("packed", packed)
    opened = store.load(source)
    if opened.packed:
        raise StoreError(f"{source}: is packed already")
    _check_whole(opened)
    return _made(source, target, _packed(source))


def unpack(packed: AnyPath, path: AnyPath | None = None) -> str:
    """Make a store again of a packed one: the same bytes of every chunk, each in its own file.

    Parameters
    ----------
    packed
        The packed store, a folder or a zip.
    path
        Where the store is to lie; by default beside it, `scan.zarr` of `scan.packed.zarr` or `scan.zip`.

    Returns
    -------
    str
        Where it lies.

    Raises
    ------
    StoreError
        If `packed` is not a packed store, or damaged, or something is at `path`.

    Examples
    --------
    >>> import qifscan as qs
    >>> short = qs.Protocol(transient=2.0, window=10.0)
    >>> scan = qs.Scan(axes={"eta": [-6.0, -4.0]}, protocol=short)
    >>> found = qs.run(scan, "whole.zarr", client="serial")
    >>> again = qs.unpack(qs.pack("whole.zarr", "whole.zip"), "again.zarr")
    >>> qs.open_scan("again.zarr").identical(found)
    True
    """
    source = located("packed", packed)
    target = _default(source, ".zarr") if path is None else located("path", path)
    if isinstance(target, Zipped):
        raise StoreError(f"{target}: a zip is only read; give the path of a folder")
    opened = store.load(source)
    if not opened.packed:
        raise StoreError(f"{source}: is not packed; it can be run and read as it is")
    _check_whole(opened)
    return _made(source, target, _unpacked(source))


def _default(source: Where, ending: str) -> Where:
    """Return the name beside a store with another ending."""
    name = source.name
    for known in (".zip", ".zarr", ".packed"):
        name = name.removesuffix(known)
    return source.with_name(with_ending(Path(name), ending).name)


def _check_whole(opened: store.Store) -> None:
    done, total = len(chunk_files.finished(opened)), len(opened.chunks)
    if done < total:
        cure = "take a whole copy of it" if opened.packed else "run the scan to its end first"
        raise StoreError(f"{opened.path}: has {done} of {counted(total, 'chunk')}; {cure}")
    found = integrity.faults(opened)
    if found:
        cure = "" if opened.packed else "; qifscan verify --repair mends it"
        raise StoreError(f"{opened.path}: {found[0]}{cure}")


def _made(source: Where, target: Where, written: Written) -> str:
    there = target.archive.exists() if isinstance(target, Zipped) else target.exists()
    if there:
        raise StoreError(f"{target}: is there already; give another path, or remove it")
    try:
        if isinstance(target, Zipped):
            _into_zip(target.archive, written)
        else:
            made = drafts.built(target, lambda folder: _into_folder(folder, written))
            made.place()
    except OSError as error:
        raise StoreError(f"{target}: can't be written ({error.strerror or error})") from error
    return str(target)


def _into_folder(folder: Path, written: Written) -> None:
    for name, data in written:
        file = folder.joinpath(*name.split("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _into_zip(archive: Path, written: Written) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(archive) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as opened:
        for name, data in written:
            # No time stamp: the same store gives the same bytes, whenever it is packed.
            opened.writestr(zipfile.ZipInfo(name), data)


def _packed(source: Where) -> Written:
    """Yield the files of a packed store: those of the scan's chunks and rows in shards, all others as they
    are."""
    nodes = dict(record.nodes(source))
    kept = record.read(source)
    own = {} if kept is None else kept["nodes"]
    for name, node in nodes.items():
        if node.get("node_type") != "array":
            yield f"{name}/{METADATA}", files.read(source / name / METADATA)
        elif name in own and packed_node(node) is not node:
            yield from _sharded(source, name, node)
        else:
            yield from _copied(source, name, node)
    yield METADATA, _root(source, nodes, {n: packed_node(node) for n, node in nodes.items() if n in own}, 1)


def _root(source: Where, nodes: dict[str, Any], changed: dict[str, Any], packed: int | None) -> bytes:
    attributes = dict(record.attributes(source))
    attributes.pop(store.PACKED, None)
    told = attributes | ({} if packed is None else {store.PACKED: packed})
    return json.dumps(record.root_of(nodes | changed, told)).encode()


def _copied(source: Where, name: str, node: dict[str, Any]) -> Written:
    places = sorted(files.places(source / name / "c", len(node["shape"])))
    wanted = [source.joinpath(name, "c", *map(str, place)) for place in places]
    for place, file in zip(places, wanted, strict=True):
        yield _file(name, place), files.read(file)
    yield f"{name}/{METADATA}", files.read(source / name / METADATA)


def _file(name: str, place: Place) -> str:
    return "/".join((name, "c", *map(str, place)))


def _sharded(source: Where, name: str, node: dict[str, Any]) -> Written:
    fold, counts = shards.fold_of(node), shards.counts_of(node)
    grid = [-(-n // k) for n, k in zip(counts, fold, strict=True)]
    checked = node["codecs"][-1].get("name") == "crc32c"
    for shard in np.ndindex(*grid):
        places = list(shards.within(shard, fold))
        inside = [all(i < n for i, n in zip(place, counts, strict=True)) for place in places]
        there = [source.joinpath(name, "c", *map(str, p)) for p, i in zip(places, inside, strict=True) if i]
        read = iter(files.read_all(there))
        chunks = [next(read) if each else None for each in inside]
        for place, chunk, each in zip(places, chunks, inside, strict=True):
            if each and (chunk is None or (checked and not _is_sound(chunk))):
                reason = "is missing" if chunk is None else "is damaged"
                raise StoreError(f"{source}: {_file(name, place)} {reason}; qifscan verify --repair mends it")
        yield _file(name, shard), shards.joined(chunks)
    yield f"{name}/{METADATA}", json.dumps(packed_node(node)).encode()


def _is_sound(chunk: bytes) -> bool:
    return bool(google_crc32c.value(chunk[:-4]) == int.from_bytes(chunk[-4:], "little"))


def _unpacked(source: Where) -> Written:
    nodes = dict(record.nodes(source))
    for name, node in nodes.items():
        if node.get("node_type") != "array":
            yield f"{name}/{METADATA}", files.read(source / name / METADATA)
        elif is_packed(node):
            yield from _parted(source, name, node)
        else:
            yield from _copied(source, name, node)
    yield METADATA, _root(source, nodes, {n: unpacked_node(node) for n, node in nodes.items()}, None)


def _parted(source: Where, name: str, node: dict[str, Any]) -> Written:
    plain = unpacked_node(node)
    outer = node["chunk_grid"]["configuration"]["chunk_shape"]
    inner = plain["chunk_grid"]["configuration"]["chunk_shape"]
    fold = tuple(n // c for n, c in zip(outer, inner, strict=True))
    for shard in sorted(files.places(source / name / "c", len(outer))):
        places = list(shards.within(shard, fold))
        try:
            chunks = shards.parted(files.read(source.joinpath(name, "c", *map(str, shard))), len(places))
        except ValueError as error:
            raise StoreError(f"{source}: {_file(name, shard)} can't be unpacked: {error}") from None
        for place, chunk in zip(places, chunks, strict=True):
            if chunk is not None:
                yield _file(name, place), chunk
    yield f"{name}/{METADATA}", json.dumps(plain).encode()
