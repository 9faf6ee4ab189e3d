"""Places in a zip file: a store in one file, which is only read.

Members are stored, not compressed: what they hold is compressed already, and none can become larger than the
file that it is in.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MOST_MEMBERS = 1_000_000
"""Files in a zip: a packed store has a few dozen, and one for every thousand chunks of an array."""


@dataclass(frozen=True)
class _Member:
    """Where what a member holds begins in the file, its bytes, and its checksum."""

    begin: int
    size: int
    checksum: int


@dataclass(frozen=True)
class Zipped:
    """A member of a zip file, or all whose names begin so."""

    archive: Path
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((str(self.archive), *self.parts))

    def __truediv__(self, name: str) -> Zipped:
        return self.joinpath(name)

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.parts[-1] if self.parts else self.archive.name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> Path | Zipped:
        """What this is in."""
        return Zipped(self.archive, self.parts[:-1]) if self.parts else self.archive.parent

    def joinpath(self, *names: str) -> Zipped:
        """Return a place below this one."""
        more = (part for name in names for part in name.split("/") if part)
        return Zipped(self.archive, (*self.parts, *more))

    def with_name(self, name: str) -> Path | Zipped:
        """Return the place of another name beside this one."""
        if not self.parts:
            return self.archive.with_name(name)
        return Zipped(self.archive, (*self.parts[:-1], name))

    def absolute(self) -> Zipped:
        """Return the place with the whole path of its file."""
        return Zipped(self.archive.absolute(), self.parts)

    def resolve(self) -> Zipped:
        """Return the place with the path of its file without links."""
        return Zipped(self.archive.resolve(), self.parts)

    def exists(self) -> bool:
        """Whether there is a member of this name, or below it."""
        return self.archive.is_file() and (not self.parts or self.is_file() or self.is_dir())

    def is_file(self) -> bool:
        """Whether there is a member of this name."""
        return self.size() is not None

    def is_dir(self) -> bool:
        """Whether there are members below this name."""
        return bool(self.sizes())

    def size(self) -> int | None:
        """Return the bytes of the member, None where there is none."""
        found = self._members.get("/".join(self.parts))
        return None if found is None else found.size

    def identity(self) -> tuple[int, int]:
        """Return what tells this file from any other that has been here, or will be."""
        known = os.stat(self.archive)
        return known.st_ino, known.st_mtime_ns

    def read_bytes(self, begin: int = 0, end: int | None = None) -> bytes:
        """Return what the member holds, or a part of it."""
        found = self._members.get("/".join(self.parts))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "not found", str(self))
        begin, end, _ = slice(begin, end).indices(found.size)
        with open(self.archive, "rb") as file:
            file.seek(found.begin + begin)
            data = file.read(max(0, end - begin))
        if len(data) != max(0, end - begin):
            raise OSError(errno.EIO, "it is cut short", str(self))
        if len(data) == found.size and zlib.crc32(data) != found.checksum:
            raise OSError(errno.EIO, "its checksum is wrong", str(self))
        return data

    def sizes(self) -> dict[str, int]:
        """Return every member below this name, by the rest of its name, with its bytes."""
        start = "".join(f"{part}/" for part in self.parts)
        return {name[len(start) :]: m.size for name, m in self._members.items() if name.startswith(start)}

    def folders(self) -> list[str]:
        """Return the parts of names that come next below this one, and have something below them."""
        return sorted({name.partition("/")[0] for name in self.sizes() if "/" in name})

    @property
    def _members(self) -> dict[str, _Member]:
        return _checked(str(self.archive), self.identity())


@lru_cache(maxsize=8)
def _checked(archive: str, identity: tuple[int, int]) -> dict[str, _Member]:
    """Return the members of a zip file; raise `OSError` if `pack` can't have made it."""
    try:
        if not stat.S_ISREG(os.stat(archive).st_mode):
            raise _refused(archive, "it is no file")
        with zipfile.ZipFile(archive) as opened:
            members = [each for each in opened.infolist() if not each.is_dir()]
            last = opened.start_dir
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise _refused(archive, "it is no zip file, or damaged") from None
    if len(members) > MOST_MEMBERS:
        raise _refused(archive, f"it has {len(members):,} members")
    found: dict[str, _Member] = {}
    with open(archive, "rb") as file:
        end = 0
        for each in sorted(members, key=lambda member: member.header_offset):
            file.seek(each.header_offset)
            head = file.read(30)
            lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            begin = each.header_offset + 30 + lengths
            reason = _amiss(each) or ("there twice" if each.filename in found else "")
            inside = end <= each.header_offset and begin + each.file_size <= last
            reason = reason or ("" if inside else "part of another")
            if reason:
                raise _refused(archive, f"{each.filename[:80]!r} is {reason}")
            end = begin + each.file_size
            found[each.filename] = _Member(begin, each.file_size, each.CRC)
    return found


def _refused(archive: str, reason: str) -> OSError:
    return OSError(errno.EIO, f"{reason}; expected a zip that qifscan pack has made", archive)


def _amiss(member: zipfile.ZipInfo) -> str:
    """Return what is wrong with a member of a zip file, nothing if all is well."""
    parts = member.filename.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(c in member.filename for c in "\\:\0"):
        return "not a name of a file in a store"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "a link"
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        return "compressed"
    return "encrypted" if member.flag_bits & 1 else ""
