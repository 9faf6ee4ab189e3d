"""The few things that are done to files of a store, the same in a local folder, an object store and a zip.

All else that a store needs is made of these: a file is written whole or not at all, and a folder is put in
its place with the file by which others know it last.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from qifscan.objects import AT_ONCE, ObjectPath
from qifscan.zipped import Zipped

Result = TypeVar("Result")

Where = Path | ObjectPath | Zipped
"""Where a store lies, or a file of one."""

Place = tuple[int, ...]

METADATA = "zarr.json"
"""The file by which an array or a group is known."""

DEEPEST = 24
"""Folders in folders of a store, which an array of theory with as many dimensions as there are has not."""

MOST_TEXT = 1 << 28
"""Bytes of a file of metadata: that of a scan with ten million values on its axes has less."""


def read(path: Where, most: int | None = None) -> bytes:
    """Return what a file holds; raise `OSError` where there is none, or it has more bytes than `most`."""
    if isinstance(path, Path):
        known = os.stat(path)
        if not stat.S_ISREG(known.st_mode):
            # A device or a pipe would be read without end.
            folder = stat.S_ISDIR(known.st_mode)
            kind = errno.EISDIR if folder else errno.EINVAL
            raise OSError(kind, os.strerror(kind) if folder else "it is no file", str(path))
        size: int | None = known.st_size
    else:
        size = None if most is None else path.size()
    if most is not None and size is not None and size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected {most:,} at most", str(path))
    return path.read_bytes()


def read_all(paths: Sequence[Where]) -> list[bytes | None]:
    """Return what each of these files holds, None for those that can't be read."""

    def one(path: Where) -> bytes | None:
        try:
            return _read_plain(str(path)) if isinstance(path, Path) else path.read_bytes()
        except OSError:
            return None

    return each(one, paths)


def read_below(folder: Where, names: Sequence[str]) -> list[bytes | None]:
    """Return what files of these names below a folder hold, None for those that can't be read: thousands of
    them in the time that their paths would take."""
    if not isinstance(folder, Path):
        return read_all([folder.joinpath(name) for name in names])
    found: list[bytes | None] = []
    for name in names:
        try:
            found.append(_read_plain(f"{folder}/{name}"))
        except OSError:
            found.append(None)
    return found


_PLAIN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""A pipe in the place of a file is not waited for."""

_AT_ONCE = 1 << 16


def _read_plain(path: str) -> bytes:
    handle = os.open(path, _PLAIN)
    try:
        data = os.read(handle, _AT_ONCE)
        if len(data) < _AT_ONCE:
            return data
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no file", path)
        parts = [data]
        while data := os.read(handle, 1 << 22):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(handle)


def sizes(paths: Sequence[Where]) -> list[int]:
    """Return the bytes of each of these files; raise `FileNotFoundError` if one is not there."""

    def one(path: Where) -> int:
        found = os.stat(path).st_size if isinstance(path, Path) else path.size()
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "not found", str(path))
        return found

    return each(one, paths)


def each(work: Callable[[Where], Result], paths: Sequence[Where]) -> list[Result]:
    """Return the results for all paths; of objects many are asked for at one time."""
    if len(paths) < 2 or not isinstance(paths[0], ObjectPath):
        return [work(path) for path in paths]
    with ThreadPoolExecutor(min(AT_ONCE, len(paths))) as pool:
        return list(pool.map(work, paths))


def write(path: Where, data: bytes) -> None:
    """Write a file that is either whole or not there, or as it was."""
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    if isinstance(path, Zipped):
        raise read_only(path)
    _write_plain(str(path), f"{path}.", data)


def write_below(folder: Where, data: Mapping[str, bytes]) -> None:
    """Write files of these names below a folder, in this order and each as `write` does; those of an object
    store at one time. What is half-written of a chunk lies in the folder `c` of its array: there may be a
    folder for each chunk, into which nobody wants to look for it."""
    if not isinstance(folder, Path):
        each(lambda path: write(path, data[str(path)[len(str(folder)) + 1 :]]), [folder / n for n in data])
        return
    for name, content in data.items():
        array, inside, _ = name.partition("/c/")
        _write_plain(f"{folder}/{name}", f"{folder}/{array}/c/" if inside else f"{folder}/{name}.", content)


def _write_plain(path: str, begin: str, data: bytes) -> None:
    partial = f"{begin}{uuid.uuid4().hex}.partial"
    try:
        _write_new(partial, data)
        try:
            os.replace(partial, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def _write_new(path: str, data: bytes) -> None:
    """Write a file that is not there yet, and the folders that it lies in."""
    try:
        handle = os.open(path, _NEW, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, _NEW, 0o666)
    try:
        left = memoryview(data)
        while left:
            # A disk that gets full takes a part, and says so the next time.
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path`, which takes its place when it is written: whole or not at all,
    however many do so at once."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_only(path: Where) -> OSError:
    """Return the error of writing into a zip."""
    told = "a packed store is only read: qifscan unpack makes one that is written to"
    return OSError(errno.EROFS, told, str(path))


def has_content(path: Where) -> bool:
    """Whether there is a file that is not empty, and no link."""
    if isinstance(path, Path):
        return path.is_file() and not path.is_symlink() and path.stat().st_size > 0
    return bool(path.size())


def folders(path: Where) -> list[str]:
    """Return the folders in a folder, without links."""
    if not isinstance(path, Path):
        return path.folders()
    return sorted(e.name for e in os.scandir(path) if not e.is_symlink() and e.is_dir())


def places(folder: Where, depth: int, within: Place = ()) -> dict[Place, int]:
    """Return the files below a folder whose path there is so many numbers, then those of `within`, and that
    are not empty: by the first numbers, with their bytes. Of the folder `c` of an array they are its chunks.
    """
    if depth == 0:
        only = folder.joinpath(*map(str, within))
        return {(): sizes([only])[0]} if has_content(only) else {}
    found: dict[Place, int] = {}
    if isinstance(folder, Path):
        _walk(str(folder), (), depth, "".join(f"/{number}" for number in within), found)
        return found
    for name, size in folder.sizes().items():
        parts = name.split("/")
        if len(parts) == depth + len(within) and size > 0 and all(part.isdecimal() for part in parts):
            place = tuple(map(int, parts))
            if place[depth:] == within:
                found[place[:depth]] = size
    return found


def all_places(wanted: Sequence[tuple[Where, int, Place]]) -> list[dict[Place, int]]:
    """Return the places in each of these folders, with so many numbers, and others within; those of an object
    store at one time."""
    known = {str(folder): (depth, within) for folder, depth, within in wanted}
    return each(lambda folder: places(folder, *known[str(folder)]), [folder for folder, *_ in wanted])


def _walk(folder: str, place: Place, depth: int, tail: str, found: dict[Place, int]) -> None:
    try:
        if depth == 1:
            _add_numbered(folder, place, tail, found)
            return
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        # Anything but a number is a killed writer's `.partial` file, and a link is no part of a store.
        if entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            _walk(entry.path, (*place, int(entry.name)), depth - 1, tail, found)


def _add_numbered(folder: str, place: Place, tail: str, found: dict[Place, int]) -> None:
    """Add the files in a folder that are numbers, or at the same place in folders that are, and not empty:
    links are no files."""
    known_at, is_file = os.lstat, stat.S_ISREG
    for name in os.listdir(folder):
        if name.isdecimal():
            try:
                known = known_at(f"{folder}/{name}{tail}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            if known.st_size and is_file(known.st_mode):
                found[(*place, int(name))] = known.st_size


def numbered_folders(folder: str, depth: int, place: Place = ()) -> Iterator[Place]:
    """Yield the folders of this machine whose path below one is so many numbers."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.isdecimal() and entry.is_dir(follow_symlinks=False):
            here = (*place, int(entry.name))
            if depth > 1:
                yield from numbered_folders(entry.path, depth - 1, here)
            else:
                yield here


def odd(
    path: Where, without: Collection[str] = (), levels: Mapping[str, int] | None = None
) -> Iterator[tuple[str, str]]:
    """Return what is in a local store that no store has, and what it is: a link (what is written through one
    is written elsewhere), a pipe or device (which is read without end), folders that go too deep. Folders of
    the names in `without` are not looked into, and of those in `levels` not further down than so much."""
    if isinstance(path, Path):
        yield from _odd(str(path), "", 1, without, levels or {}, DEEPEST)


def _odd(
    folder: str, under: str, depth: int, without: Collection[str], levels: Mapping[str, int], left: int
) -> Iterator[tuple[str, str]]:
    for entry in os.scandir(folder):
        if entry.is_file(follow_symlinks=False):
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and left <= 0 and depth < DEEPEST:
            continue
        name = os.path.join(under, entry.name)
        if entry.is_symlink():
            yield name, "a link"
        elif not is_folder:
            yield name, "a pipe or a device"
        elif depth >= DEEPEST:
            yield name, f"the {DEEPEST}th folder in a folder"
        elif name not in without:
            yield from _odd(entry.path, name, depth + 1, without, levels, levels.get(name, left - 1))


def remove(path: Where) -> None:
    """Remove a file, or a folder with everything in it, if it is there."""
    if isinstance(path, ObjectPath):
        path.remove()
    elif isinstance(path, Zipped):
        raise read_only(path)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def put(made: Path, target: Where) -> None:
    """Move a folder that was built on this machine to where nothing is. It is whole there or not there at
    all: it is known by its `zarr.json`, which comes last where files come one by one."""
    if isinstance(target, Path):
        made.rename(target)
        return
    if isinstance(target, Zipped):
        raise read_only(target)
    names = [file.relative_to(made).as_posix() for file in made.rglob("*") if file.is_file()]
    rest = [target.joinpath(name) for name in names if name != METADATA]

    def upload(each: Where) -> None:
        assert isinstance(each, ObjectPath)
        each.write_bytes(made.joinpath(*each.parts[len(target.parts) :]).read_bytes())

    each(upload, rest)
    if METADATA in names and not target.joinpath(METADATA).create((made / METADATA).read_bytes()):
        raise FileExistsError(errno.EEXIST, "another run has written it meanwhile", str(target))


@contextmanager
def building(beside: Path | None) -> Iterator[Path]:
    """Give the name of a folder to build in, for as long as that takes: `beside` where a store is local, so
    that it can be renamed, else one among this machine's temporary files."""
    if beside is not None:
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return
    folder = temporary()
    try:
        yield folder / "made"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary() -> Path:
    """Make a folder among this machine's temporary files."""
    return Path(tempfile.mkdtemp(prefix="qifscan-"))


def identity(path: Where) -> tuple[int, int]:
    """Return what tells this store from any other that has been, or will be, at the same path.

    The inode alone does not: a file system gives it again to the next folder that is made there.
    """
    if isinstance(path, Zipped):
        return path.identity()
    if isinstance(path, ObjectPath):
        return (path / METADATA).identity()
    try:
        metadata = os.stat(os.path.join(path, METADATA))
    except (FileNotFoundError, NotADirectoryError):
        metadata = os.stat(path)
    return metadata.st_ino, metadata.st_mtime_ns
