"""Million point-steps per second on the device that JAX takes by default, beside this machine's processor.

The same kernel and the same points as benchmarks/speed.py, in batches of 2^16 to 2^22 points; on a GPU many
blocks run side by side (`backend.GPU_BLOCKS`). Its observables are compared with those of the processor, in a
process of its own, over 2^13 points: they differ by how either adds products, and under noise a point near
the threshold between its states may go either way. Writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from speed import METHODS, NOISE, Work

from qifscan.engine import backend

SIZES = (2**16, 2**18, 2**20, 2**22)
COMPARED = 2**13
CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import device; device.keep(*sys.argv[2:])"


def keep(method: str, noise: str, steps: str, path: str) -> None:
    """Run the points that are compared in this process; keep what came of them."""
    np.savez(path, **Work.of(method, noise, COMPARED, int(steps)).run())


def on_the_processor(method: str, noise: str, steps: int, folder: Path) -> dict[str, Any]:
    path = folder / "cpu.npz"
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), method, noise, str(steps), str(path)]
    subprocess.run(command, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    with np.load(path) as found:
        return dict(found)


def apart(method: str, noise: str, steps: int, folder: Path) -> float:
    """Return the 99th percentile of how far the observables of the two devices are apart, relative."""
    expected = on_the_processor(method, noise, steps, folder)
    found = Work.of(method, noise, COMPARED, steps).run()
    # At rest the standard deviation is nothing but rounding: differences are relative to the rate.
    size = np.abs(expected["r_mean"]).max()
    differences = [np.abs(found[name] - expected[name]) / size for name in ("r_mean", "r_std", "r_max")]
    return float(np.quantile(np.max(differences, axis=0), 0.99))


def seconds(work: Work, repeats: int) -> float:
    """Return the seconds of the fastest of some runs after the first."""
    work.run()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work.run()
        found.append(time.perf_counter() - begin)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("device.json"))
    options = parser.parse_args()
    backend.prepare()
    device = str(jax.devices()[0])
    record: dict[str, Any] = {"device": device, "rows": []}
    sizes = SIZES if jax.default_backend() != "cpu" else SIZES[:1]
    print(f"{device}: {'apart':>22} " + " ".join(f"{f'2^{size.bit_length() - 1}':>8}" for size in sizes))
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            for noise in NOISE:
                row = {"method": method, "noise": noise}
                row["apart"] = apart(method, noise, options.steps, Path(folder))
                works = {size: Work.of(method, noise, size, options.steps) for size in sizes}
                row["speed"] = {n: w.size / seconds(w, options.repeats) / 1e6 for n, w in works.items()}
                record["rows"].append(row)
                speeds = " ".join(f"{speed:>8.0f}" for speed in row["speed"].values())
                print(f"{method + ', noise ' + noise:<26} {row['apart']:>8.1e} {speeds}", flush=True)
    options.output.write_text(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
