"""The click of the explorer, made with Panel and HoloViews: how long until its plots have changed?

The same map of 512 x 512 points, the same answers from the same functions (values, phase plane with
nullclines and equilibria, trajectory, exact diagram of the slice), drawn as HoloViews draws them: a `Tap`
stream on the map, one `DynamicMap` for each plot, in headless chromium. From the event of the pointer until
the plots' titles, which have the number of the tap, have changed and the next frame is painted. Prints median
and 95 %. Needs panel and holoviews.
"""

from __future__ import annotations

import argparse
import math
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import qifscan as qs
from qifscan.explorer.answers import answer
from qifscan.explorer.source import Source, open_source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

TAP = Path(__file__).with_suffix(".js").read_text()


def page_of(source: Source, table: Any) -> Any:
    """Return the page: the map, and beside it what a tap shows."""
    import holoviews as hv
    import panel as pn

    hv.extension("bokeh")
    rates = table["r_mean"].transpose("J", "eta")
    image = hv.Image((rates["eta"].values, rates["J"].values, rates.values), ["eta", "J"], "r").opts(
        width=600, height=500, title="map", cmap="viridis"
    )
    tap = hv.streams.Tap(source=image, x=-5.0, y=15.0)
    count = {"tap": 0}

    def index(x: float, y: float) -> dict[str, Any]:
        places = {name: int(np.abs(rates[name].values - at).argmin()) for name, at in (("eta", x), ("J", y))}
        return {"index": places}

    def phase(x: float, y: float) -> Any:
        count["tap"] += 1
        found = answer(source, "phase", index(x, y))
        path = answer(source, "trajectory", {**index(x, y), "t_end": 50.0})
        at = answer(source, "point", index(x, y))
        places = [state["state"][:2] for state in at["equilibria"]]
        lines = [hv.Curve(tuple(np.asarray(found[name]))) for name in ("nullcline_x", "nullcline_y")]
        return hv.Overlay([*lines, hv.Curve(tuple(np.asarray(path["state"])[:2])), hv.Points(places)]).opts(
            width=400, height=300, title=f"phase plane {count['tap']}"
        )

    def series(x: float, y: float) -> Any:
        path = answer(source, "trajectory", {**index(x, y), "t_end": 50.0})
        return hv.Curve((path["time"], path["state"][0])).opts(
            width=400, height=300, title=f"rate {x:.6f} {y:.6f}"
        )

    def diagram(x: float, y: float) -> Any:
        found = answer(source, "diagram", {**index(x, y), "along": "eta"})
        return hv.Scatter((found["across"], found["states"][0])).opts(
            width=400, height=300, title=f"diagram {x:.6f} {y:.6f}"
        )

    maps = [hv.DynamicMap(function, streams=[tap]) for function in (phase, series, diagram)]
    return pn.Row(image, pn.Column(*maps))


def tapped(page: Any, number: int) -> float:
    """Return the ms from a tap somewhere on the map until every plot has changed."""
    box = page.locator(".bk-Figure").first.bounding_box()
    page.evaluate(f"() => {{ window.tapped = ({TAP})(); }}")
    x, y = (0.2 + 0.6 * abs(math.sin(7 * number + k)) for k in (1, 2))
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    found = page.evaluate("() => window.tapped")
    if found is None:
        sys.exit("no answer to a tap in 20 s")
    time.sleep(0.3)
    return float(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("no chromium on this machine (Debian: apt-get install chromium)")
    import panel as pn
    from playwright.sync_api import sync_playwright

    scan = qs.Scan(
        axes={"eta": np.linspace(-10, 5, options.size), "J": np.linspace(0, 30, options.size)},
        protocol=qs.Protocol(transient=0.0, window=1.0, initial="up"),
        observables=["r_mean", "r_final"],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.zarr"
        table = qs.run(scan, path, checkpoint=False).load()
        source = open_source(path)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = pn.serve(
            lambda: page_of(source, table), port=port, address="127.0.0.1", show=False, threaded=True
        )
        time.sleep(3.0)
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}/", wait_until="networkidle", timeout=120_000)
            page.wait_for_function(
                "() => window.Bokeh?.documents?.length && document.querySelector('.bk-Row')"
            )
            time.sleep(5.0)
            found = [tapped(page, k) for k in range(options.repeats + 1)][1:]
            browser.close()
        server.stop()
    print(f"click with Panel: {np.median(found):.0f} ms, 95 % {np.percentile(found, 95):.0f} ms")


if __name__ == "__main__":
    main()
