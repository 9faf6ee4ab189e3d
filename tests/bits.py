"""Small runs of everything that there is, and a record of their numbers to the last bit.

`python -m tests.bits` writes the record anew: after a change that is meant to change numbers, and only then.
`tests/test_bits.py` compares. Last bits depend on the processor, on the libraries and on XLA's options: the
record names those that it was made with, and keeps some values of every array for all others.
"""

import hashlib
import json
import os
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zarr

import qifscan as qs
from qifscan.dynamics.drive import DRIVES
from qifscan.dynamics.integrators import INTEGRATORS
from qifscan.dynamics.models import MODELS, model_named
from qifscan.dynamics.observables import observables
from qifscan.engine import backend

RECORD = Path(__file__).with_name("bits.json")

KEPT = 4
"""Values of an array that the record keeps, evenly spaced."""

SHORT = {"transient": 2.0, "window": 12.0}
STATISTICS = ("mean", "std", "min", "max", "final")
NOISE = {"v_ou_sigma": 0.4, "r_ou_sigma": 0.002}
THRESHOLDS = {"down_threshold": 0.2, "up_threshold": 0.6}

# Where the models show what they have: between their folds, or on a cycle.
PARAMETERS = {
    "qif_adaptation_alpha": {"delta": 2.0, "J": 21.2132, "alpha": 1.0},
    "qif_pair": {"J_ee": 12.0, "J_ei": 6.0},
    "qif_delay": {"J": -12.0, "delay": 1.3},
    "qif_cumulants": {"sigma": 0.3},
    "qif_cauchy": {"gamma": 0.4},
}
VARIANTS = {"qif_pair": "eta_e", "qif_pair_synapse": "eta_e", "qif_pair_alpha": "eta_e"}
VARIANTS |= {"qif_pair_couplings": "eta_e", "qif_bimodal": "eta_1", "qif_memory": "eta_1"}
"""What plays the part of eta."""


def arrays_of(dataset):
    """Return every array of a dataset by name, with its dimensions."""
    return {str(name): (list(v.dims), np.asarray(v.values)) for name, v in dataset.variables.items()}


def stored(path):
    """Return every array of a store, with its dimensions: of the scan, its theory and its checkpoint."""
    dataset = qs.open_scan(path)
    found = arrays_of(dataset.load())
    if (path / "checkpoint").exists():
        points = zarr.open_array(path / "checkpoint" / "points", mode="r")
        found["checkpoint"] = (["point", "byte"][: points.ndim], points[...])
    if (path / "theory").exists():
        tree = qs.open_theory(path)
        found |= {f"theory/{name}": value for name, value in arrays_of(tree).items()}
    return dataset.attrs["qifscan_fingerprint"], found


def of_scan(scan, folder, **options):
    """Run a scan in this thread; return its fingerprint and arrays."""
    path = Path(folder) / "scan.zarr"
    qs.run(scan, path, client="serial", chunk_points=16, **options)
    return stored(path)


def scan_of(**changes):
    """A scan of the plain model without noise: 3 x 2 points in and beside the bistable wedge."""
    definition = {
        "axes": {"eta": [-6.5, -5.0, 2.0], "J": [10.0, 15.0]},
        "protocol": qs.Protocol(**SHORT, initial="up"),
        "observables": [f"r_{name}" for name in STATISTICS],
        "seed": 5,
    }
    return qs.Scan(**{**definition, **changes})


def model_scan(name):
    """A scan of a model with noise on its first variable, and every statistic of its last."""
    model = model_named(name)
    return qs.Scan(
        model=name,
        axes={VARIANTS.get(name, "eta"): [-4.0, 1.0, 4.0]},
        fixed=PARAMETERS.get(name, {}) | {f"{model.input_names[0]}_ou_sigma": 0.002},
        observables=[f"{model.variable_names[-1]}_{statistic}" for statistic in STATISTICS],
        protocol=qs.Protocol(**SHORT, tolerance=1e-2),
        replicates=2,
    )


def integrator_scan(name):
    """A scan at a fixed step: nothing is run again."""
    return scan_of(protocol=qs.Protocol(**SHORT, integrator=name, dt=0.02), fixed={"v_ou_sigma": 0.4})


def drive_scan(kind):
    """A scan of the plain model under a drive, with its numbers as the drive has them."""
    drives = {
        "constant": {"amplitude": 1.0},
        "pulse": {"amplitude": 3.0, "start": 3.0, "length": 5.0},
        "sine": {"amplitude": 0.5, "period": 7.0},
        "ramp": {"amplitude": 3.0, "start": 3.0, "length": 5.0},
        "sampled": {"values": [0.0, 1.0, -1.0, 2.0], "interval": 4.0},
    }
    return scan_of(drive={"kind": kind} | drives[kind], observables=["r_mean", "v_final"])


def every_observable():
    """A scan of every observable of the plain model that a noisy point has."""
    names = [n for n in observables(model_named("qif")) if not n.startswith("lyapunov")]
    return scan_of(
        axes={"eta": [-5.0, -4.0]},
        fixed={"J": 15.0, **NOISE},
        observables=names,
        replicates=2,
        protocol=qs.Protocol(transient=2.0, window=26.0, initial="up"),
    )


def traced():
    """A scan of which some points keep their trajectories, in float64, with noise of one path."""
    return scan_of(
        fixed={"v_ou_sigma": 0.4},
        traces=qs.Traces(points=[{"eta": -5.0}, {"J": 15.0}], every=3),
        precision="float64",
        noise="common",
    )


def swept():
    """A scan up and down an axis, over starts that are zipped with a coupling."""
    return scan_of(
        axes={"path": {"J": [10.0, 15.0], "v_ou_sigma": [0.0, 0.2]}, "eta": [-7.0, -5.0, -3.0]},
        protocol=qs.Protocol(**SHORT, sweep="eta"),
    )


def extended(folder):
    """Run a scan, then a longer one on a finer grid that takes over what the first has."""
    older = scan_of(axes={"eta": [-6.5, 2.0]}, fixed={"J": 15.0, **NOISE}, replicates=2)
    first, second = Path(folder) / "older.zarr", Path(folder) / "scan.zarr"
    qs.run(older, first, client="serial", chunk_points=16)
    larger = scan_of(
        axes={"eta": [-6.5, -5.0, 2.0]},
        fixed={"J": 15.0, **NOISE},
        replicates=2,
        protocol=qs.Protocol(transient=2.0, window=20.0, initial="up"),
    )
    qs.run(larger, second, client="serial", chunk_points=16, extend=first)
    return stored(second)


def population(method, folder):
    """Step the reference class by hand and in a run, with noise, a delay and a drive; save and load it."""
    pop = qs.QIF(
        3, eta=[-5.0, -4.0, 1.0], J=15.0, x_ou_sigma=0.3, y_ou_sigma=0.001, method=method, seed=3, dt=0.01
    )
    shared = {"t": 0.0, "dt": 0.01}
    for step in range(20):
        pop.update({**shared, "t": 0.01 * step}, x=0.1)
    saved = Path(folder) / "saved.npz"
    pop.save_states(saved)
    record = pop.run(100, inputs=np.linspace(0.0, 1.0, 100), every=10)
    pop.load_states(saved)
    found = arrays_of(record) | {name: ([], np.asarray(x)) for name, x in pop.vars().items()}
    return None, {name.rpartition(".")[2]: value for name, value in found.items()}


def simulated(**parameters):
    """Simulate without a scan."""
    return None, arrays_of(qs.simulate(**parameters))


def computed(call, **parameters):
    """Return the arrays of an exact result."""
    return None, arrays_of(call(**parameters))


def cases():
    """Return what is run, by name: each takes a folder, and returns a fingerprint and arrays."""
    adapting = {"model": "qif_adaptation_alpha", "delta": 2.0, "J": 21.2132, "alpha": 1.0}
    delayed = {"model": "qif_delay", "J": -12.0}
    scans = {
        **{f"model {name}": partial(model_scan, name) for name in MODELS},
        **{f"integrator {name}": partial(integrator_scan, name) for name in INTEGRATORS},
        **{f"drive {name}": partial(drive_scan, name) for name in DRIVES},
        "exact theory beside": scan_of,
        "noise on both variables": partial(scan_of, fixed=NOISE),
        "a rate that is reflected": partial(
            scan_of,
            fixed={"r_ou_sigma": 0.5},
            protocol=qs.Protocol(**SHORT, negative_rate="reflect", tolerance=0.5),
        ),
        "every observable": every_observable,
        "exponents": partial(
            scan_of, axes={"eta": [-5.0, 2.0]}, observables=["lyapunov_1", "lyapunov_2"], precision="float64"
        ),
        "traces": traced,
        "sweep": swept,
    }
    found = {name: partial(_of_row, make) for name, make in scans.items()}
    found |= {"extension": extended}
    found |= {f"QIF {method}": partial(population, method) for method in ("exp_auto", "heun", "rk4")}
    exact = {
        "simulate": partial(simulated, eta=[-5.0, 1.0], t_end=5.0),
        **{f"equilibria {n}": partial(computed, qs.equilibria, model=n) for n in MODELS},
        "equilibria of the wedge": partial(computed, qs.equilibria, eta=[-5.0, -4.0], J=[5.0, 15.0]),
        "special points": partial(computed, qs.special_points, **adapting, along="eta"),
        "special points of two": partial(
            computed, qs.special_points, along=("eta", "J"), **{k: adapting[k] for k in ("model", "delta")}
        ),
        "special points of a delay": partial(computed, qs.special_points, **delayed, eta=4.0, along="delay"),
        "branch": partial(computed, qs.branch, **adapting),
        "curve of folds": partial(computed, qs.curve, rates=(0.01, 1.0), points=20),
        "curve of Hopf points": partial(
            computed,
            qs.curve,
            **{k: v for k, v in adapting.items() if k != "alpha"},
            kind="HB",
            through="alpha",
            within=(0.2, 2.0),
            points=20,
        ),
        "folds": partial(computed, qs.folds, J=15.0),
        "cycles": partial(computed, qs.cycles, **adapting, eta=[-2.0]),
        "cycle branches": partial(computed, qs.cycle_branches, **adapting, within=(-1.0, 1.0), points=4),
        "forced cycles": partial(
            computed, qs.forced_cycles, eta=-4.0, J=15.0, drive=qs.Sine(amplitude=0.5, period=7.0)
        ),
    }
    return found | {name: partial(_without_folder, call) for name, call in exact.items()}


def _of_row(make, folder):
    return of_scan(make(), folder)


def _without_folder(call, folder):
    return call()


def entry(found):
    """Return what the record has of a case: of every array its hash, form and some values."""
    fingerprint, arrays = found
    return {
        "fingerprint": fingerprint,
        "arrays": {name: _entry_of_array(*value) for name, value in sorted(arrays.items())},
    }


def _entry_of_array(dims, values):
    text = np.asarray(values).astype(str) if values.dtype.kind in "OU" else values
    digest = hashlib.sha256(np.ascontiguousarray(text).tobytes()).hexdigest()[:24]
    kept = text.ravel()[np.linspace(0, max(text.size - 1, 0), min(text.size, KEPT)).astype(int)]
    return {
        "dims": dims,
        "shape": list(values.shape),
        "dtype": "text" if values.dtype.kind in "OU" else values.dtype.str,
        "sha256": digest,
        "values": [_kept(value) for value in kept.tolist()],
    }


def _kept(value):
    if isinstance(value, complex):
        return [_kept(value.real), _kept(value.imag)]
    if isinstance(value, float):
        return float(f"{value:.9g}") if np.isfinite(value) else str(value)
    return value


def machine():
    """Return what the last bits depend on, beside the code."""
    return {
        "processor": backend.processor(),
        "options": os.environ.get("XLA_FLAGS", ""),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy")},
    }


def main():
    """Run every case, and write the record."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    backend.prepare()
    found = {}
    for name, case in cases().items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = entry(case(folder))
        print(name, len(found[name]["arrays"]), flush=True)
    RECORD.write_text(as_text({"machine": machine(), "cases": found}))


def as_text(record):
    """Return the record as JSON with a line for every array, so that a difference of two can be read."""
    lines = [f'{{"machine": {json.dumps(record["machine"])},', '"cases": {']
    for i, (name, case) in enumerate(record["cases"].items()):
        arrays = [f"  {json.dumps(n)}: {json.dumps(a)}" for n, a in case["arrays"].items()]
        lines.append(f'{json.dumps(name)}: {{"fingerprint": {json.dumps(case["fingerprint"])}, "arrays": {{')
        lines.append(",\n".join(arrays) + ("}}," if i < len(record["cases"]) - 1 else "}}"))
    return "\n".join([*lines, "}}", ""])


if __name__ == "__main__":
    sys.exit(main())
