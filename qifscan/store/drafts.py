"""A store that is being made: either whole at its path, or not there, however many make it and are killed.

On a local disk it is built beside its path and renamed. In an object store nothing is renamed: it is built on
this machine, claimed by an object beside its path of which the server makes one and no second, and copied
there, its `zarr.json` last.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from qifscan import files, record
from qifscan.errors import StoreError
from qifscan.files import METADATA, Where
from qifscan.objects import ObjectPath

STALE_SECONDS = 600
"""Age at which what a writer has left is swept away, where nobody can see whether it lives."""


@dataclass(frozen=True)
class Draft:
    """A new store that is not yet at its path: where it lies, and what folders were made to hold it."""

    path: Where
    partial: Path
    folders: tuple[Path, ...] = ()

    def place(self) -> None:
        """Move the store to its path."""
        try:
            if isinstance(self.path, ObjectPath):
                _copied(self.partial, self.path)
            else:
                files.put(self.partial, self.path)
        except OSError as error:
            self.remove()
            raise unwritten(self.path, error) from error
        except BaseException:
            self.remove()
            raise
        if not isinstance(self.path, Path):
            self.remove()

    def remove(self) -> None:
        """Take back everything that was written for the store."""
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


def built(path: Where, build: Callable[[Path], None]) -> Draft:
    """Build a store beside `path`, to be renamed, or among this machine's temporary files; `build` writes it
    into a folder."""
    made = _begun(path)
    try:
        made.partial.parent.mkdir(parents=True, exist_ok=True)
        build(made.partial)
    except BaseException as error:
        made.remove()
        if isinstance(error, OSError):
            raise unwritten(path, error) from error
        raise
    return made


def _begun(path: Where) -> Draft:
    if isinstance(path, ObjectPath):
        folder = files.temporary()
        return Draft(path, folder / "made", (folder,))
    if not isinstance(path, Path):
        raise unwritten(path, files.read_only(path))
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise StoreError(f"{path}: can't be written ({blocked} is a file); nothing was written")
    missing = tuple(folder for folder in path.parents if not folder.exists())
    if path.parent.exists():
        clear_beside(path)
    return Draft(path, beside_folder(path), missing)


def unwritten(path: Where, error: OSError) -> StoreError:
    """Return the error of a store that could not be made."""
    return StoreError(f"{path}: can't be written ({error.strerror or error}); nothing was written")


def exists(path: Where) -> bool:
    """Whether anything is at `path` but the beginning of a store whose writer was killed."""
    if not isinstance(path, ObjectPath):
        return path.exists()
    with record.reading(path):
        return (path / METADATA).is_file() or (path.is_dir() and not _claim(path).is_file())


def _claim(path: ObjectPath) -> ObjectPath:
    return path.with_name(f"{path.name}.draft")


def _copied(made: Path, path: ObjectPath) -> None:
    """Copy a store that was built on this machine to where nothing is."""
    claim = _claim(path)
    mine = json.dumps({"machine": _machine(), "process": os.getpid(), "draft": uuid.uuid4().hex}).encode()
    if not (claim.create(mine) or _taken_over(claim, mine, path)):
        raise _busy(path)
    try:
        if path.is_dir():
            raise _busy(path)
        files.put(made, path)
    finally:
        claim.unlink(missing_ok=True)


def _taken_over(claim: ObjectPath, mine: bytes, path: ObjectPath) -> bool:
    """Tell whether a claim is this writer's now, as that of the writer before is dead, or was silent for
    long; remove what that one has begun."""
    try:
        held = claim.read_bytes()
        dead = _is_dead(held, claim)
    except FileNotFoundError:
        # It disappeared meanwhile: its writer is done.
        return claim.create(mine)
    # If two find it abandoned, one takes it; the other must not remove what the first has made since.
    if not dead or not claim.replace(held, mine):
        return False
    if not (path / METADATA).is_file():
        path.remove()
    return True


def _is_dead(held: bytes, claim: ObjectPath) -> bool:
    try:
        found = dict(json.loads(held))
        here, process = found.get("machine") == _machine(), int(found["process"])
    except (ValueError, KeyError, TypeError):
        here, process = False, 0
    return not psutil.pid_exists(process) if here else claim.age() > STALE_SECONDS


def _busy(path: ObjectPath) -> StoreError:
    return StoreError(
        f"{path}: another run makes this store; let it end, then run the same command (if it was killed: "
        f"{STALE_SECONDS // 60} minutes later at most)"
    )


def beside(path: Where) -> Path | None:
    """Return a new name beside a store for what is to be moved there, with the machine and process in it;
    None where nothing can be moved."""
    return beside_folder(path) if isinstance(path, Path) else None


def beside_folder(path: Path) -> Path:
    """Return a new name beside a local store."""
    return path.with_name(f"{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def clear_beside(path: Where) -> None:
    """Remove what killed processes have left beside a store: those of this machine, or old ones."""
    if not isinstance(path, Path):
        return
    pattern = re.compile(re.escape(path.name) + r"\.(?:([0-9a-f]{8})-(\d+)-)?[0-9a-f]{8}\.partial")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found is None or entry.is_symlink() or not entry.is_dir():
            continue
        known = found[1] == _machine()
        old = entry.stat().st_mtime < datetime.now(UTC).timestamp() - STALE_SECONDS
        if (known and not psutil.pid_exists(int(found[2]))) or (old and not known):
            shutil.rmtree(entry.path, ignore_errors=True)


def clear_inside(path: Where, without: Collection[str] = ()) -> None:
    """Remove files that killed writers have left half-written in a store; folders in the folders of these
    names are not looked into."""
    if not isinstance(path, Path):
        return
    oldest, skipped = datetime.now(UTC).timestamp() - STALE_SECONDS, {str(path / name) for name in without}
    for leftover in _half_written(str(path), skipped):
        with suppress(OSError):
            if os.stat(leftover).st_mtime < oldest:
                os.unlink(leftover)


def _half_written(folder: str, skipped: Collection[str]) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.name.endswith(".partial"):
            yield entry.path
        elif folder not in skipped and entry.is_dir(follow_symlinks=False):
            yield from _half_written(entry.path, skipped)
