"""How a scan is read: from a file, from its JSON, from a store."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qifscan import record
from qifscan.definition import Definition
from qifscan.dynamics.imported import check_trusted
from qifscan.dynamics.models import stored_model
from qifscan.errors import Fault, ModelNotImported, ScanError, StoreError, UnknownModel, short, show
from qifscan.files import Where
from qifscan.place import AnyPath, local, located
from qifscan.printed import Printed


class Readable(Printed, Definition):
    """A scan as it is read: from a file, from its JSON, from a store."""

    if TYPE_CHECKING:
        model: str

        @property
        def fingerprint(self) -> str:
            """See `Scan`."""

        def definition(self) -> dict[str, Any]:
            """See `Scan`."""

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a scan from a TOML file; mistakes name the file, and the line where it does not parse."""
        path = local("path", path)
        try:
            # Some editors put a byte order mark before the text.
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            found = (error.strerror or str(error)).lower()
            raise ScanError([Fault(str(path), found, "a TOML file of a scan")]) from None
        except UnicodeDecodeError as error:
            found = f"a byte that is not UTF-8 at position {error.start}"
            raise ScanError([Fault(str(path), found, "a TOML file of a scan")]) from None
        except (ValueError, RecursionError) as error:
            raise ScanError([Fault(str(path), _uncapitalised(error), "a TOML file of a scan")]) from None
        try:
            return cls(**data)
        except ScanError as error:
            raise ScanError(
                Fault(f"{path}: {f.where}", f.found, f.expected, f.hint) for f in error.faults
            ) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a scan from the JSON that `to_json` wrote.

        A model of your own that it names must have been imported, or be installed: no code is run for it.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError, TypeError) as error:
            raise ScanError([Fault("scan", _uncapitalised(error), "the JSON of a scan")]) from None
        if not isinstance(data, dict):
            raise ScanError([Fault("scan", show(data), "the JSON of a scan")])
        if isinstance(data.get("model"), str) and ":" in data["model"]:
            stored_model(data["model"], data.get("model_source"))
        named, sources = data.get("observables"), data.get("observable_sources")
        for name in named if isinstance(named, list) else ():
            if isinstance(name, str) and ":" in name:
                check_trusted("observables", name, (sources or {}).get(name))
        for derived in ("dimensions", "numbers_version", "model_source", "observable_sources"):
            data.pop(derived, None)
        return cls(**data)

    @classmethod
    def from_store(cls, path: AnyPath) -> Self:
        """Return the scan that a store was made for.

        Raises `StoreError` if there is no store of qifscan at `path`, or it is damaged.
        """
        place = located("path", path)
        try:
            return cls.from_attributes(place, record.attributes(place))
        except UnknownModel:
            raise
        except StoreError:
            kept = record.read(place)
            if kept is None:
                raise
        return cls.from_attributes(place, kept["attributes"])

    @classmethod
    def from_attributes(cls, path: Where, attributes: Mapping[str, Any]) -> Self:
        """Return the scan in a store's attributes; raise `StoreError`, naming `path`, if it can't be read."""
        try:
            text = attributes["qifscan_scan"]
            scan = cls.from_json(text)
        except ModelNotImported as error:
            raise UnknownModel(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{path}: the scan in its attributes can't be read ({short(error)}); the store is damaged"
            ) from None
        data, now = json.loads(text), scan.definition()
        sources = {scan.model: data.get("model_source"), **data.get("observable_sources", {})}
        here = {scan.model: now.get("model_source"), **now.get("observable_sources", {})}
        for name, made_with in sources.items():
            if made_with != here.get(name):
                raise StoreError(
                    f"{path}: was made with another version of the file that defines {name} (sha256 "
                    f"{str(made_with)[:12]}); put that back, or read the store with xarray.open_zarr"
                )
        if scan.fingerprint != attributes.get("qifscan_fingerprint"):
            raise StoreError(
                f"{path}: its scan gives fingerprint {scan.fingerprint[:12]}, its attributes say "
                f"{str(attributes.get('qifscan_fingerprint'))[:12]}; it is damaged, or of another qifscan"
            )
        return scan


def _uncapitalised(error: BaseException) -> str:
    return str(error)[:1].lower() + str(error)[1:]
