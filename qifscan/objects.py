"""Places in an object store (S3 and what speaks it, Google, Azure): a URL that is used like a `Path`.

There a file is an object that is whole or not there, a folder is nothing but the beginning of names, and
nothing is renamed. What the server answers holds keys and signed requests, so none of it gets into a message.
"""

from __future__ import annotations

import configparser
import errno
import importlib.util
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qifscan.lazy import LazyModule

if TYPE_CHECKING:
    import obstore
    import obstore.exceptions
    import obstore.store
else:
    obstore = LazyModule("obstore")

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "memory")
"""Beginnings of a URL of an object store. What is at `memory://` is gone with the process."""

RETRIES = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2.0},
}
"""How often a request is repeated that the server was too busy for, or that was cut."""

AT_ONCE = 32
"""Requests that wait for their answers at one time where many objects are read."""


@dataclass(frozen=True)
class ObjectPath:
    """An object, or all objects whose names begin so: `s3://bucket` and the parts of the name after it."""

    root: str
    parts: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> ObjectPath:
        """Return the place of a URL that has been checked."""
        scheme, _, rest = text.partition("://")
        bucket, *parts = rest.split("/")
        return cls(f"{scheme.lower()}://{bucket}", tuple(part for part in parts if part))

    def __str__(self) -> str:
        return "/".join((self.root, *self.parts))

    def __truediv__(self, name: str) -> ObjectPath:
        return self.joinpath(name)

    @property
    def key(self) -> str:
        """The name of the object in its bucket."""
        return "/".join(self.parts)

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.parts[-1] if self.parts else self.root.partition("://")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return Path(self.name).suffix

    @property
    def parent(self) -> ObjectPath:
        """What this is in."""
        return ObjectPath(self.root, self.parts[:-1])

    def joinpath(self, *names: str) -> ObjectPath:
        """Return a place below this one."""
        more = (part for name in names for part in name.split("/") if part)
        return ObjectPath(self.root, (*self.parts, *more))

    def with_name(self, name: str) -> ObjectPath:
        """Return the place of another name beside this one."""
        return ObjectPath(self.root, (*self.parts[:-1], name))

    def absolute(self) -> ObjectPath:
        """Return the place itself: a URL is absolute."""
        return self

    def resolve(self) -> ObjectPath:
        """Return the place itself: it has no links."""
        return self

    def exists(self) -> bool:
        """Whether there is an object of this name, or below it."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        return self.size() is not None

    def is_dir(self) -> bool:
        """Whether there is an object below this name."""
        return next(self._listed(1), None) is not None

    def size(self) -> int | None:
        """Return the bytes of the object, None where there is none."""
        with in_words(self):
            try:
                return int(obstore.head(self.bucket, self.key)["size"])
            except FileNotFoundError:
                return None

    def identity(self) -> tuple[int, int]:
        """Return what tells this object from any other that has been here, or will be."""
        with in_words(self):
            told = obstore.head(self.bucket, self.key)
        tag = zlib.crc32(str(told.get("e_tag")).encode())
        return tag, int(told["last_modified"].timestamp() * 1e9)

    def age(self) -> float:
        """Return the seconds since the object was written, by the clocks of the server and this machine."""
        from datetime import UTC, datetime

        with in_words(self):
            then = obstore.head(self.bucket, self.key)["last_modified"]
        return (datetime.now(UTC) - then).total_seconds()

    def read_bytes(self) -> bytes:
        """Return what the object holds."""
        with in_words(self):
            return bytes(obstore.get(self.bucket, self.key).bytes())

    async def fetched(self, begin: int = 0, end: int | None = None) -> bytes:
        """Return what the object holds, or the part of it that a slice is of."""
        with in_words(self):
            if begin < 0 and self.root.startswith(("az", "abfs")):
                # Azure has no ranges counted from the end.
                begin = max(0, begin + int((await obstore.head_async(self.bucket, self.key))["size"]))
            part: Any = (
                {"suffix": -begin} if begin < 0 else {"offset": begin} if end is None else (begin, end)
            )
            options: Any = None if (begin, end) == (0, None) else {"range": part}
            answer = await obstore.get_async(self.bucket, self.key, options=options)
            return bytes(await answer.bytes_async())

    async def stored(self, data: bytes) -> None:
        """Write the object, as `write_bytes`."""
        with in_words(self):
            await obstore.put_async(self.bucket, self.key, data, use_multipart=False)

    def write_bytes(self, data: bytes) -> None:
        """Write the object: it is there with all of the data, or as it was."""
        with in_words(self):
            obstore.put(self.bucket, self.key, data, use_multipart=False)

    def create(self, data: bytes) -> bool:
        """Write the object if there is none of its name; return whether this call has written it."""
        while True:
            with in_words(self):
                try:
                    obstore.put(self.bucket, self.key, data, use_multipart=False, mode="create")
                    return True
                except (FileExistsError, obstore.exceptions.AlreadyExistsError):
                    # If the answer to the first request was lost, its repetition finds the object written.
                    pass
            # The object may be removed before it is read: then it was not ours.
            with suppress(FileNotFoundError):
                return self.read_bytes() == data

    def replace(self, known: bytes, data: bytes) -> bool:
        """Write the object if it still holds what is known; return whether this call has written it."""
        try:
            with in_words(self):
                found = obstore.get(self.bucket, self.key)
                if bytes(found.bytes()) != known:
                    return False
                mark: Any = {name: found.meta[name] for name in ("e_tag", "version") if found.meta.get(name)}
                try:
                    obstore.put(self.bucket, self.key, data, use_multipart=False, mode=mark)
                    return True
                except obstore.exceptions.PreconditionError:
                    pass
            return self.read_bytes() == data
        except FileNotFoundError:
            return False

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        with in_words(self):
            try:
                obstore.delete(self.bucket, self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def sizes(self) -> dict[str, int]:
        """Return every object below this name, by the rest of its name, with its bytes."""
        return dict(self._listed())

    def _listed(self, most: int | None = None) -> Iterator[tuple[str, int]]:
        start = f"{self.key}/" if self.parts else ""
        with in_words(self):
            pages = obstore.list(self.bucket, start or None, chunk_size=most or 1000)
        while True:
            with in_words(self):
                page = next(pages, None)
            if page is None:
                return
            for each in page:
                # `a/b` also begins the names of `a/b.zarr`, where a server takes it as text.
                if each["path"].startswith(start):
                    yield each["path"][len(start) :], int(each["size"])

    def folders(self) -> list[str]:
        """Return the parts of names that come next below this one, and have something below them."""
        start = f"{self.key}/" if self.parts else ""
        with in_words(self):
            found = obstore.list_with_delimiter(self.bucket, start or None)["common_prefixes"]
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def remove(self) -> None:
        """Remove the object, and every object below this name."""
        keys = [self.joinpath(rest).key for rest in self.sizes()]
        with in_words(self):
            if keys:
                obstore.delete(self.bucket, keys)
        self.unlink(missing_ok=True)

    @property
    def bucket(self) -> Any:
        """The bucket, connected."""
        # In a notebook keys may be set after the first try.
        settings = tuple(sorted((n, os.environ[n]) for n in os.environ if n.startswith(_SETTINGS)))
        return _bucket(self.root, settings)


@contextmanager
def in_words(place: ObjectPath) -> Iterator[None]:
    """Turn an error of the server into one of the file system, with nothing of what the server has said."""
    failure: BaseException
    try:
        yield
        return
    except OSError as error:
        failure = error
    except Exception as error:
        if not isinstance(error, obstore.exceptions.BaseError):
            raise
        failure = error
    told = _told(failure, place)
    del failure
    # Outside of the handler: an error keeps the one that it was raised in.
    raise told


def _told(error: BaseException, place: ObjectPath) -> OSError:
    if isinstance(error, OSError) and error.errno == errno.EINVAL:
        return error
    known, text = obstore.exceptions, str(error)
    if "NoSuchBucket" in text:
        return FileNotFoundError(errno.ENOENT, f"{place.root}: there is no such bucket", str(place))
    if isinstance(error, (FileNotFoundError, known.NotFoundError)):
        return FileNotFoundError(errno.ENOENT, "not found", str(place))
    code = re.search(r"status code: (\d{3})", text)
    denied = isinstance(error, (PermissionError, known.PermissionDeniedError, known.UnauthenticatedError))
    if denied or (code is not None and code[1] in ("401", "403")):
        return PermissionError(errno.EACCES, "access denied: look at the credentials", str(place))
    if "CredentialProvider" in text or "InstanceCredentials" in text or "169.254.169.254" in text:
        return PermissionError(errno.EACCES, f"no credentials were found; {HOW_TO_SIGN}", str(place))
    if code is not None:
        return OSError(errno.EIO, f"the server answers {code[1]}", str(place))
    if "timed out" in text.lower():
        return OSError(errno.ETIMEDOUT, "the server does not answer in time", str(place))
    return OSError(errno.EIO, "the server can't be reached, or ends the connection", str(place))


HOW_TO_SIGN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"

_of_memory: dict[str, Any] = {}
_making = threading.Lock()


_SETTINGS = ("AWS_", "GOOGLE_", "AZURE_", "HOME")
"""Beginnings of the variables that obstore and AWS's files look at."""


@lru_cache(maxsize=64)
def _bucket(root: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """Return a bucket, connected with the settings of the environment, and of AWS's files."""
    scheme = root.partition("://")[0]
    if importlib.util.find_spec("obstore") is None:
        raise _unset(root, 'it needs obstore: pip install "qifscan[objects]"')
    # What the package itself does not load.
    importlib.import_module("obstore.exceptions")
    importlib.import_module("obstore.store")
    if scheme == "memory":
        with _making:
            return _of_memory.setdefault(root, obstore.store.MemoryStore())
    make: Callable[..., Any] = obstore.store.from_url
    own = _of_aws(root) if scheme in ("s3", "s3a") else {}
    insecure = own.get("endpoint", "").startswith("http://")
    options = {"client_options": {"allow_http": True}} if insecure else {}
    try:
        return make(root, retry_config=RETRIES, **options, **own)
    except (obstore.exceptions.BaseError, ValueError, TypeError):
        pass
    raise _unset(root, f"it can't be set up; {HOW_TO_SIGN}")


def _unset(root: str, told: str) -> OSError:
    # Not one of an answer: `in_words` leaves it as it is.
    return OSError(errno.EINVAL, told, root)


_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""Entries of a profile of AWS, and what obstore calls them."""

_ELSEWHERE = ("sso_session", "sso_start_url", "role_arn", "credential_process", "login_session")
"""Entries of a profile whose keys another program has to fetch."""


def _of_aws(root: str) -> dict[str, str]:
    """Return what AWS's files say and the environment does not.

    Of the environment obstore knows nearly everything, also the services of a machine in the cloud; of the
    files nothing.
    """
    here = os.environ
    profile = here.get("AWS_PROFILE") or here.get("AWS_DEFAULT_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, file, sections in (
        ("AWS_CONFIG_FILE", "~/.aws/config", (f"profile {profile}", profile)),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", (profile,)),
    ):
        found |= _section(os.path.expanduser(here.get(variable) or file), sections)
    settings = {own: found[name] for name, own in _KEYS.items() if name in found}
    if here.get("AWS_ACCESS_KEY_ID"):
        settings = {name: settings[name] for name in ("region", "endpoint") if name in settings}
    elif "access_key_id" not in settings and any(name in found for name in _ELSEWHERE):
        how = 'eval "$(aws configure export-credentials --format env)"'
        raise _unset(root, f"the keys of the profile {profile} have to be fetched: {how}")
    region = here.get("AWS_REGION") or here.get("AWS_DEFAULT_REGION")
    endpoint = here.get("AWS_ENDPOINT_URL_S3") or here.get("AWS_ENDPOINT_URL") or here.get("AWS_ENDPOINT")
    settings |= {"region": region} if region else {}
    settings |= {"endpoint": endpoint} if endpoint else {}
    return {"region": "us-east-1"} | settings


def _section(file: str, names: tuple[str, ...]) -> dict[str, str]:
    reader = configparser.RawConfigParser()
    try:
        reader.read(file, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        # Its text is not repeated: it has keys in it.
        reader.clear()
    return next((dict(reader[name]) for name in names if reader.has_section(name)), {})
