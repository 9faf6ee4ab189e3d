"""How long each gesture of the explorer takes, in headless chromium: median and 95 % of many.

Two stores of maps without noise, 512 x 512 and 4096 x 4096 points. A gesture begins with the event of the
pointer and ends when the last panel that it changes has been painted: its questions to the server, the
answers and the drawing are in it. Frames are those of the map while the pointer moves over it, drags it, or
turns the wheel. The share of the server is what the answers to a click take in this process, one after the
other. Writes a JSON record.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import qifscan as qs
from qifscan import machine
from qifscan.explorer.answers import answer
from qifscan.explorer.source import open_source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

GESTURES = Path(__file__).with_suffix(".js").read_text()
"""Run in the page, at the speed of the page: playwright's own way to the browser takes 5 to 20 ms."""


def store_of(folder: Path, size: int) -> Path:
    """Make a store of a map of size x size points."""
    scan = qs.Scan(
        title=f"{size} x {size}",
        axes={"eta": np.linspace(-10, 5, size), "J": np.linspace(0, 30, size)},
        protocol=qs.Protocol(transient=0.0, window=1.0, initial="up"),
        observables=["r_mean", "r_final"],
    )
    path = folder / f"map{size}.zarr"
    qs.run(scan, path, checkpoint=False)
    return path


def measured(path: Path, size: int, repeats: int) -> dict[str, Any]:
    """Measure the gestures on a store, and the first look at it."""
    from playwright.sync_api import sync_playwright

    with qs.explore(path) as explorer, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        # The programs are compiled in the first seconds; what is measured is a page that is used.
        page.goto(explorer.url)
        page.wait_for_function(
            "() => window.explorer?.points.A.runs.length && explorer.map.plane", timeout=120_000
        )
        time.sleep(10.0)
        begin = time.perf_counter()
        page.reload()
        page.wait_for_function(
            "() => window.explorer?.points.A.runs.length && explorer.map.plane", timeout=60_000
        )
        first = time.perf_counter() - begin
        found = page.evaluate(GESTURES, {"size": size, "repeats": repeats})
        browser.close()
    told = {
        name: {"median": float(np.median(x)), "95 %": float(np.percentile(x, 95))}
        for name, x in found.items()
    }
    return {"first look": {"median": 1e3 * first, "95 %": 1e3 * first}, **told}


def server_time(path: Path, repeats: int) -> dict[str, float]:
    """Return what the answers to a click take, each alone, in ms."""
    source = open_source(path)
    random = np.random.default_rng(1)
    times: dict[str, list[float]] = {}
    for _ in range(repeats + 2):
        index = {name: int(random.integers(n)) for name, n in source.scan.sizes.items()}
        for name, more in (
            ("point", {}),
            ("phase", {}),
            ("trajectory", {"t_end": 50.0}),
            ("replay", {}),
            ("diagram", {"along": "eta"}),
        ):
            begin = time.perf_counter()
            answer(source, name, {"index": index, **more})
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))
    return {name: float(np.median(values[2:])) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--record", type=Path, default=Path("explorer.json"))
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("no chromium on this machine (Debian: apt-get install chromium)")
    record: dict[str, Any] = {"cores": machine.usable_cores(), "sizes": {}}
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            path = store_of(Path(folder), size)
            record["sizes"][size] = measured(path, size, options.repeats)
            record["sizes"][size]["server"] = server_time(path, options.repeats)
    names = [name for name in record["sizes"][options.sizes[0]] if name != "server"]
    print("ms, median (95 %)".ljust(32), *(f"{size} x {size}".rjust(18) for size in options.sizes))
    for name in names:
        cells = [record["sizes"][size][name] for size in options.sizes]
        print(name.ljust(32), *(f"{c['median']:.0f} ({c['95 %']:.0f})".rjust(18) for c in cells))
    for name in record["sizes"][options.sizes[0]]["server"]:
        cells = [record["sizes"][size]["server"][name] for size in options.sizes]
        print(f"server: {name}".ljust(32), *(f"{c:>18.1f}" for c in cells))
    options.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
