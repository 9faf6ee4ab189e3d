"""A population on disk: an npz file, written beside and renamed."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qifscan import __version__, files
from qifscan.arrays import Column as Array
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.errors import Fault, ScanError, StoreError
from qifscan.place import local
from qifscan.reference.arguments import check_choice, checked_array, collected
from qifscan.reference.delays import Delay, Delayed
from qifscan.reference.stepping import PARAMETERS

Shape = tuple[int, ...]


REGISTERED = "registered "
"""Before the names of registered variables in a file."""

FORMAT = {"format": "qifscan.QIF", "version": 1}


class Saved(Delayed):
    """A population on disk."""

    _method: str
    _dt: float
    _seed: int
    _precision: str
    _steps: int
    _key: tuple[Array, Array]
    _estimate: Array
    _negative: Array

    def _checked_parameters(
        self, given: Mapping[str, object], shape: Shape | None, faults: list[Fault]
    ) -> dict[str, Array]:
        checked = {}
        for name, value in given.items():
            hint = ""
            if not self._keep_size and len(getattr(self, "_size", ())) > 1:
                hint = "set keep_size=True for parameters of the shape of size"
            with collected(faults):
                checked[name] = checked_array(name, value, PARAMETERS[name].domain, shape, hint)
                checked[name].flags.writeable = False
        return checked

    def save_states(self, filename: str | os.PathLike[str]) -> None:
        """Write everything that a run continues from, bit for bit: states, noise, step, inputs, delays,
        parameters, settings and registered variables, to an `.npz` file, which is either whole or not there.

        Raises `StoreError` if it can't be written.
        """
        settings = {"method": self._method, "dt": self._dt, "seed": self._seed, "precision": self._precision}
        delays = [[key, delay.target] for key, delay in self._delays.items()]
        about = FORMAT | {"settings": settings, "delays": delays, "qifscan": __version__}
        arrays = {"about": np.array(json.dumps(about)), "step": np.array(self._steps)}
        arrays |= {f"parameter {name}": value for name, value in self._parameters.items()}
        arrays |= {f"variable {name}": value for name, value in self._arrays.items()}
        arrays |= {f"delay {i}": delay.ordered for i, delay in enumerate(self._delays.values())}
        arrays |= {f"{REGISTERED}{name}": value for name, value in self._registered_vars.items()}
        arrays |= {"key": np.stack(self._key), "estimate": self._estimate, "negative": self._negative}
        write_npz(npz_path(filename), arrays)

    def load_states(self, filename: str | os.PathLike[str]) -> None:
        """Take over everything that `save_states` wrote, from an object of any name and of the same shape.

        That is method, dt, seed, precision, parameters and registered variables too; the initializers, which
        a later reset uses, registered nodes and the mode stay those of this object. Raises `StoreError`, and
        changes nothing, if the file is not there, damaged, or of populations of another shape.
        """
        path = npz_path(filename)
        arrays = read_npz(path)
        try:
            about = json.loads(str(arrays["about"]))
            if {key: about[key] for key in FORMAT} != FORMAT:
                raise ValueError(f"version {about['version']} of {about['format']}")
            fields = self._loaded(about, arrays)
        except (KeyError, TypeError, ValueError) as error:
            what = " ".join(str(error).split())
            raise StoreError(f"{path}: not a saved state of this version of QIF ({what})") from None
        self.__dict__.update(fields)

    def _loaded(self, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
        """Return the fields of an object that continues from a file."""
        shape = arrays["variable x"].shape
        if shape[len(shape) - len(self.varshape) :] != self.varshape or len(shape) > len(self.varshape) + 1:
            raise ValueError(f"its variables have shape {shape}, those of {self._name} {self.varshape}")
        check_choice("method", about["settings"]["method"], list(INTEGRATORS))
        faults: list[Fault] = []
        given = {name: arrays[f"parameter {name}"] for name in PARAMETERS}
        parameters = self._checked_parameters(given, self.varshape, faults)
        if faults:
            raise ScanError(faults)
        delays = {}
        for i, (identifier, target) in enumerate(about["delays"]):
            rows = arrays[f"delay {i}"]
            known = self._delays.get(identifier)
            delays[identifier] = Delay(target, len(rows) - 1, known.initial if known else None)
            delays[identifier].rows = rows
        return {
            **{f"_{name}": about["settings"][name] for name in ("method", "dt", "seed", "precision")},
            "_parameters": parameters,
            "_constants": None,
            "_arrays": {name: arrays[f"variable {name}"] for name in self._arrays},
            "_steps": int(arrays["step"]),
            "_key": tuple(arrays["key"]),
            "_estimate": arrays["estimate"],
            "_negative": arrays["negative"],
            "_delays": delays,
            "_registered_vars": self._registered_vars
            | {n.removeprefix(REGISTERED): x for n, x in arrays.items() if n.startswith(REGISTERED)},
        }


def npz_path(filename: str | os.PathLike[str]) -> Path:
    """Return the path of a file of states, which ends with .npz."""
    path = local("filename", filename)
    if path.suffix != ".npz":
        raise StoreError(f"{path}: states are kept in files that end with .npz; rename it")
    return path


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays to a file, which is whole or as it was."""
    try:
        with files.replacing(path) as partial, partial.open("xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: can't be written ({error.strerror or error})") from error


def read_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of a file, whole: their checksums are verified."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        what = re.sub(r"\s+", " ", str(error.strerror if isinstance(error, OSError) else error))
        raise StoreError(f"{path}: can't be read as saved states ({what})") from None
