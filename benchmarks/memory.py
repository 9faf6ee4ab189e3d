"""Peak memory of a run against the length of its window and the number of its points.

Each case runs in a process of its own. Memory must not grow: a point is folded as it runs, and a chunk is
forgotten when it is written. Prints a table; the ratio is to the first case.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = {
    "first": {"points": 100, "window": 20.0},
    "10 x the window": {"points": 100, "window": 200.0},
    "10 x the points": {"points": 1000, "window": 20.0},
    "100 x the points": {"points": 10000, "window": 20.0},
}

CHILD = """
import json, resource, sys, time
import numpy as np
import qifscan as qs
case = json.loads(sys.argv[1])
scan = qs.Scan(
    axes={"eta": np.linspace(-10, 5, case["points"]), "J": np.linspace(0, 30, 200)},
    fixed={"v_ou_sigma": 0.3},
    protocol=qs.Protocol(transient=0.0, window=case["window"], dt=0.02),
    observables=["r_mean", "r_std", "v_mean", "r_max"],
)
begin = time.perf_counter()
qs.run(scan, sys.argv[2])
seconds = time.perf_counter() - begin
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rss": rss, "seconds": seconds, "points": scan.size, "steps": scan.protocol.window_steps}))
"""


def measure(case: dict[str, float]) -> dict[str, float]:
    """Run one case in a process of its own and return what it measured of itself."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CHILD, json.dumps(case), str(Path(folder) / "scan.zarr")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    first = None
    print(f"{'case':<18} {'points':>10} {'steps':>8} {'peak RSS':>10} {'ratio':>6} {'time':>8}")
    for name, case in CASES.items():
        found = measure(case)
        first = first or found
        print(
            f"{name:<18} {found['points']:>10,} {found['steps']:>8,} {found['rss'] / 2**20:>6.0f} MiB "
            f"{found['rss'] / first['rss']:>6.3f} {found['seconds']:>6.1f} s"
        )


if __name__ == "__main__":
    main()
