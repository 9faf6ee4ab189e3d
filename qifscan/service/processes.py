"""What can be asked for, described as OGC API - Processes does: from tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qifscan
from qifscan.dynamics.models import MODELS

PART = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"

CONFORMANCE = (
    f"{PART}/core",
    f"{PART}/ogc-process-description",
    f"{PART}/json",
    f"{PART}/oas30",
    f"{PART}/job-list",
    f"{PART}/dismiss",
)
"""The classes of OGC API - Processes, Part 1: Core, 1.0 that the server has. Not: html, callback."""


THEORY: dict[str, tuple[tuple[str, ...], int]] = {
    "equilibria": (("distances",), 1),
    "special_points": (("along", "rates", "within"), 300),
    "branch": (("along", "rates", "within", "points"), 1000),
    "curve": (("kind", "along", "through", "rates", "within", "points"), 1000),
}
"""What theory there is: functions of the package, what each takes beside model and parameters, and how many
equilibria take as long as one set of parameters."""


@dataclass(frozen=True)
class Input:
    """An input of a process: what it is, its schema, and whether it must be given."""

    title: str
    schema: dict[str, Any]
    required: bool = False

    def described(self) -> dict[str, Any]:
        """Return the description of the input."""
        least = {"minOccurs": int(self.required), "maxOccurs": 1}
        return {"title": self.title, "description": self.title, "schema": self.schema, **least}


@dataclass(frozen=True)
class Output:
    """An output of a process: what it is, and its schema."""

    title: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Process:
    """Something that can be asked for; `waits` if the answer comes at once, else it is a job."""

    title: str
    description: str
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    waits: bool = False

    def summary(self, name: str) -> dict[str, Any]:
        """Return what the list of processes says of it."""
        return {
            "id": name,
            "version": qifscan.__version__,
            "title": self.title,
            "description": self.description,
            "jobControlOptions": ["sync-execute" if self.waits else "async-execute"],
            "outputTransmission": ["value"] if self.waits else ["reference", "value"],
        }

    def described(self, name: str) -> dict[str, Any]:
        """Return its whole description."""
        inputs = {key: each.described() for key, each in self.inputs.items()}
        outputs = {
            key: {"title": each.title, "description": each.title, "schema": each.schema}
            for key, each in self.outputs.items()
        }
        return self.summary(name) | {"inputs": inputs, "outputs": outputs}


_SCAN = Input(
    "the scan: its definition as JSON, with the keys of a TOML file of a scan, or the text of such a file",
    {
        "oneOf": [
            {"type": "object", "additionalProperties": True},
            {"type": "string", "contentMediaType": "application/toml"},
        ]
    },
    required=True,
)
_NUMBERS = {
    "type": "object",
    "additionalProperties": {
        "oneOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}, "minItems": 1}]
    },
}


def _either(*types: str, **more: Any) -> dict[str, Any]:
    """Return the schema of a value of one of these types, as the standard tells it: no list."""
    return {"oneOf": [{"type": name} for name in types], **more}


_PARAMETERS = Input("parameters by name: a number, or a list that is a dimension of the answer", _NUMBERS)
_MODEL = Input("name of the model", {"type": "string", "default": "qif", "enum": list(MODELS)})
_STORE = Output(
    "the dataset: a store of zarr, read with xarray.open_zarr",
    {"type": "string", "format": "uri", "contentMediaType": "application/vnd.zarr"},
)
_TOML = Output("the scan as a TOML file", {"type": "string", "contentMediaType": "application/toml"})
_FIGURE = Output("the picture that qifscan show draws", {"type": "string", "contentMediaType": "image/png"})
_REPORT = Output("lines of text", {"type": "array", "items": {"type": "string"}})
_DATASET = Output(
    "a dataset: attrs, coords and data_vars, each with dims, dtype, attrs and data (NaN is null)",
    {"type": "object", "required": ["attrs", "coords", "data_vars"]},
)
_RANGE = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}

PROCESSES = {
    "scan": Process(
        "Run a scan",
        "Simulate the model at every point of a grid of parameters, into a dataset with the exact theory.",
        {"scan": _SCAN},
        {"store": _STORE, "scan": _TOML, "figure": _FIGURE},
    ),
    "bifurcate": Process(
        "Theory of a scan",
        "Every equilibrium on the axes of a scan and every special point along them, without simulating.",
        {"scan": _SCAN},
        {"store": _STORE, "scan": _TOML, "figure": _FIGURE, "report": _REPORT},
    ),
    "verify": Process(
        "Verify a store",
        "Read the store of a scan through, and compute a sample of it again.",
        {
            "scan": _SCAN,
            "points": Input(
                "points to compute again", {"type": "integer", "minimum": 0, "maximum": 4096, "default": 256}
            ),
        },
        {"report": _REPORT},
    ),
    "simulate": Process(
        "Simulate a trajectory",
        "The trajectory at each set of parameters, answered at once.",
        {
            "model": _MODEL,
            "t_end": Input("length of the run, ms", {"type": "number", "exclusiveMinimum": 0}, required=True),
            "dt": Input('length of a step, ms, or "auto"', _either("number", "string", default="auto")),
            "every": Input("keep every so many steps", {"type": "integer", "minimum": 1, "default": 1}),
            "initial": Input(
                '"rest", "down", "up", or a number for every variable', _either("string", "object")
            ),
            "drive": Input("the input current, with its kind and numbers", {"type": "object"}),
            "integrator": Input("name of the integrator", {"type": "string", "default": "auto"}),
            "seed": Input("seed of the noise", {"type": "integer", "minimum": 0, "default": 0}),
            "precision": Input("of the numbers", {"type": "string", "enum": ["float64", "float32"]}),
            "parameters": _PARAMETERS,
        },
        {"dataset": _DATASET},
        waits=True,
    ),
    "theory": Process(
        "Theory of a set of parameters",
        "Equilibria, special points, a branch or a curve of bifurcations, answered at once.",
        {
            "of": Input(
                "what is asked for", {"type": "string", "enum": list(THEORY), "default": "equilibria"}
            ),
            "model": _MODEL,
            "along": Input("the parameter that varies, or two", _either("string", "array", default="eta")),
            "through": Input("of a curve, the other parameter", {"type": "string", "default": "J"}),
            "kind": Input("of a curve, what it is of", {"type": "string", "enum": ["LP", "HB"]}),
            "rates": Input("range of rates, 1/ms", _RANGE),
            "within": Input("range of the parameter that varies", _RANGE),
            "points": Input("of a branch or curve, points while the rate grows tenfold", {"type": "integer"}),
            "distances": Input(
                "of equilibria, also how far the nearest fold and Hopf point are", {"type": "boolean"}
            ),
            "parameters": _PARAMETERS,
        },
        {"dataset": _DATASET},
        waits=True,
    ),
}
