"""Every gesture of the explorer in a real browser: chromium, driven by playwright, without a window."""

import ast
import functools
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree
from contextlib import contextmanager

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import qifscan as qs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"
    ),
    # playwright's own loop leaves a socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ETA, J = np.linspace(-8, -2, 25), np.linspace(10, 20, 21)
SCAN = qs.Scan(
    title="for the browser",
    axes={"eta": ETA, "J": J, "r_initial": [0.1, 1.0]},
    fixed={"v_initial": -0.5},
    # Too short for what rings: those points are flagged.
    protocol=qs.Protocol(transient=4.0, window=6.0),
    observables=["r_mean", "r_min", "r_max", "v_mean"],
)


@pytest.fixture(scope="module", autouse=True)
def cold():
    """Compile what a test needs, and nothing that only might be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qifscan.explorer.serve.warm", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "scan.zarr"
    qs.run(SCAN, path, progress=None)
    return path


@pytest.fixture(scope="module")
def server(store):
    with qs.explore(store) as explorer:
        yield explorer


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Page:
    """A page with the explorer, and what one does there."""

    def __init__(self, browser, url, size=(1440, 900)):
        self.page = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="light", accept_downloads=True
        )
        self.faults = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._heard)
        self.load(url)
        self.first = self.view()

    def _heard(self, message):
        if message.type == "error" and "422" not in message.text:
            self.faults.append(message.text)

    def load(self, url):
        self.page.goto("about:blank")
        self.page.goto(url)
        self.page.wait_for_function("() => window.explorer", timeout=30_000)
        self.settle()

    def settle(self):
        """Wait until nothing is asked and everything is drawn."""
        self.page.wait_for_function(
            """() => new Promise((done) => {
                let calm = 0;
                const look = () => {
                    calm = explorer.traffic.open === 0 ? calm + 1 : 0;
                    if (calm > 4) done(true); else setTimeout(look, 15);
                };
                look();
            })""",
            timeout=30_000,
        )

    def view(self):
        return self.js("structuredClone(explorer.view)")

    def js(self, text):
        return self.page.evaluate(f"() => {{ return {text}; }}")

    def change(self, **changes):
        self.js(f"explorer.change({json.dumps(changes)})")
        self.settle()

    def reset(self):
        self.page.keyboard.press("Escape")
        self.js("document.querySelectorAll('dialog[open]').forEach((d) => d.close())")
        self.js("explorer.map.plot.tool = 'point'")
        self.change(**self.first)
        self.js("(explorer.map.plot.reset(), explorer.points.A.phasePlot.reset())")
        self.settle()

    def place(self, plot, x, y):
        """Return where a place of a plot is on the page."""
        found = self.js(
            f"(() => {{ const p = {plot}; const b = p.canvas.getBoundingClientRect();"
            f" return [b.left + p.px(p.x.scale.at({x})), b.top + p.py({y})]; }})()"
        )
        return tuple(found)

    def click(self, plot, x, y, **more):
        keys = more.pop("modifiers", [])
        for key in keys:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self.place(plot, x, y), **more)
        for key in keys:
            self.page.keyboard.up(key)
        self.settle()

    def drag(self, start, end, steps=6, button="left"):
        self.page.mouse.move(*start)
        self.page.mouse.down(button=button)
        self.page.mouse.move(*end, steps=steps)
        self.page.mouse.up(button=button)
        self.settle()

    def text(self, selector):
        return self.page.inner_text(selector)


@pytest.fixture(scope="module")
def opened(browser, server):
    return Page(browser, server.url)


@pytest.fixture
def page(opened):
    opened.reset()
    opened.faults.clear()
    yield opened
    assert opened.faults == []


MAP, DIAGRAM = "explorer.map.plot", "explorer.diagram.plot"
PHASE, TRACE = "explorer.points.A.phasePlot", "explorer.points.A.series[0]"


def stored(store, variable, **index):
    return float(qs.open_scan(store)[variable].isel(index))


# The map


def test_the_map_has_the_colours_of_its_values(page, store):
    page.change(curves=False)
    dataset = qs.open_scan(store).isel(r_initial=0)
    low, high = page.js("explorer.map.limits()")
    for i, j in ((2, 2), (20, 17), (4, 18), (23, 6)):
        x, y = page.place(MAP, ETA[i], J[j])
        got = page.js(
            f"(() => {{ const c = {MAP}.canvas, b = c.getBoundingClientRect(), r = {MAP}.ratio,"
            f" at = [({x} - b.left) * r, ({y} - b.top) * r];"
            " return Array.from(c.getContext('2d').getImageData(...at, 1, 1).data); })()"
        )
        share = (float(dataset["r_mean"][i, j]) - low) / (high - low)
        if not int(dataset["status"][i, j]) & 30:
            assert got[:3] == pytest.approx([255 * c for c in mpl.colormaps["viridis"](share)[:3]], abs=6)


def test_hover_tells_the_value_and_the_place(page, store):
    page.page.mouse.move(*page.place(MAP, ETA[8], J[11]))
    told = page.text("#map [data-readout]")
    assert "η = −6" in told
    assert "J = 15.5" in told
    assert f"r_mean = {stored(store, 'r_mean', eta=8, J=11, r_initial=0):.5g}" in told


def test_hover_tells_the_flags(page, store):
    status = qs.open_scan(store)["status"].isel(r_initial=1).values
    i, j = np.argwhere(status & 16)[5]
    page.change(index={**page.first["index"], "r_initial": 1})
    page.page.mouse.move(*page.place(MAP, ETA[i], J[j]))
    assert "not settled" in page.text("#map [data-readout]")


def test_flags_are_a_layer_with_counts(page, store):
    page.change(index={**page.first["index"], "r_initial": 1})
    count = int((qs.open_scan(store)["status"].isel(r_initial=1).values & 16 > 0).sum())
    chip = page.page.locator("[data-flag=not_settled]")
    assert f"{count}" in chip.inner_text()
    assert page.js("[...explorer.map.tiles.values()].some((t) => t.flagged)")
    chip.click()
    page.settle()
    assert page.view()["hidden"] == ["not_settled"]
    page.js("explorer.map.plot.paint()")
    assert not page.js("[...explorer.map.tiles.values()].some((t) => t.flagged)")


def test_another_variable(page, store):
    page.page.select_option("#variable", "v_mean")
    page.settle()
    page.page.mouse.move(*page.place(MAP, ETA[8], J[11]))
    value = f"{stored(store, 'v_mean', eta=8, J=11, r_initial=0):.5g}".replace("-", "−").rstrip("0")
    assert f"v_mean = {value}" in page.text("#map [data-readout]")


def test_an_exact_variable(page):
    page.page.select_option("#variable", "exact:count")
    page.settle()
    page.page.mouse.move(*page.place(MAP, ETA[12], J[10]))
    count = int(qs.equilibria(eta=ETA[12], J=J[10])["count"])
    assert f"equilibria = {count}" in page.text("#map [data-readout]")


def test_axes_change_places(page):
    page.page.select_option("#x", "J")
    page.settle()
    assert (page.view()["x"], page.view()["y"]) == ("J", "eta")
    assert page.js("explorer.map.plane.shape") == [len(ETA), len(J)]


@pytest.mark.parametrize("scale", ["cividis", "magma"])
def test_colour_scales(page, scale):
    page.page.select_option("#scale", scale)
    page.settle()
    assert page.view()["scale"] == scale


def test_logarithmic_colours(page):
    page.page.click("#log")
    assert page.js("explorer.map.logarithmic")
    page.page.click("#percent")
    assert page.js("explorer.map.limits()") == page.js("explorer.map.plane.percent")


def test_zoom_by_wheel_and_back(page):
    page.page.mouse.move(*page.place(MAP, -5.0, 15.0))
    page.page.mouse.wheel(0, -400)
    page.page.wait_for_timeout(200)
    page.settle()
    low, high = page.js(f"{MAP}.range.x")
    assert high - low < 5.0
    assert low < -5.0 < high
    assert page.view()["window"] is not None
    page.page.mouse.dblclick(*page.place(MAP, -5.0, 15.0))
    page.settle()
    assert page.view()["window"] is None


def test_the_right_button_moves_the_map(page):
    before = page.js(f"{MAP}.range.x")
    page.drag(page.place(MAP, -5.0, 15.0), page.place(MAP, -4.0, 15.0), button="right")
    after = page.js(f"{MAP}.range.x")
    assert after[0] == pytest.approx(before[0] - 1.0, abs=0.05)
    assert page.view()["index"] == page.first["index"]


# The point


def test_a_click_is_a_point(page):
    page.click(MAP, ETA[6], J[14])
    assert page.view()["index"] == {"eta": 6, "J": 14, "r_initial": 0}
    assert "η = −6.5, J = 17" in page.text("[data-heading]")


def test_dragging_moves_it_all_the_while(page):
    page.js("(explorer.seen = [], void 0)")
    count = "explorer.points.A.phase.equilibria.length"
    page.js(f"(explorer.points.A.onLoaded = () => explorer.seen.push({count}), void 0)")
    page.drag(page.place(MAP, ETA[2], J[10]), page.place(MAP, ETA[22], J[10]), steps=20)
    page.js("(explorer.points.A.onLoaded = null, void 0)")
    assert page.view()["index"]["eta"] == 22
    assert len(page.js("explorer.seen")) >= 2
    assert {1, 3} >= set(page.js("explorer.seen"))


def test_the_equilibria_are_exact(page):
    page.click(MAP, ETA[12], J[10])
    exact = qs.equilibria(eta=ETA[12], J=J[10])
    rows = page.js("explorer.points.A.phase.equilibria")
    assert [row["state"][0] for row in rows] == pytest.approx(exact["r"].values, rel=1e-12)
    told = page.text("[data-table]")
    assert "stable node" in told
    assert "saddle" in told
    assert "stable focus" in told
    assert f"{float(exact['r'][1]):.4g}" in told


def test_the_trajectory_is_that_of_simulate(page):
    page.click(MAP, ETA[12], J[10])
    own = qs.simulate(eta=ETA[12], J=J[10], t_end=50.0, r_initial=0.1, v_initial=-0.5)
    last = page.js("explorer.points.A.rows(explorer.points.A.runs[0])[0].at(-1)")
    assert last == pytest.approx(float(own["r"][-1]), rel=1e-6)


def test_the_replay_is_equal_bit_for_bit(page):
    page.click(MAP, ETA[3], J[4])
    assert page.text("[data-checked]") == "replay: equal bit for bit"
    assert page.js("explorer.points.A.replay.time.at(-1)") == 10.0
    page.page.uncheck("#replay")
    page.settle()
    assert page.js("explorer.points.A.replay") is None


def test_a_click_in_the_phase_plane_is_a_start(page):
    page.click(MAP, ETA[12], J[10])
    page.click(PHASE, 0.9, 0.1)
    page.click(PHASE, 0.2, -1.2)
    starts = page.view()["starts"]
    assert starts == [pytest.approx([0.9, 0.1], abs=0.02), pytest.approx([0.2, -1.2], abs=0.02)]
    ends = page.js("explorer.points.A.runs.map((run) => explorer.points.A.rows(run)[0].at(-1))")
    exact = qs.equilibria(eta=ETA[12], J=J[10])["r"].values
    assert ends == pytest.approx([exact[2], exact[0]], rel=1e-3)
    page.page.click("#clear")
    page.settle()
    assert page.view()["starts"] == []


def test_the_phase_plane_zooms_and_asks_anew(page):
    page.click(MAP, ETA[12], J[10])
    page.page.mouse.move(*page.place(PHASE, 0.5, -0.3))
    page.page.mouse.wheel(0, -300)
    page.page.wait_for_timeout(250)
    page.settle()
    window = page.js("explorer.points.A.phase.window")
    assert window == [pytest.approx(page.js(f"{PHASE}.range.{k}")) for k in "xy"]


def test_hover_over_an_equilibrium_tells_its_eigenvalues(page):
    page.click(MAP, ETA[12], J[10])
    r, v = page.js("explorer.points.A.phase.equilibria[1].state")
    page.page.mouse.move(*page.place(PHASE, r, v))
    assert "saddle: λ = " in page.text(".point [data-readout]")


def test_a_pulse_is_drawn_by_hand(page):
    page.click(MAP, ETA[12], J[10])
    plot = "explorer.points.A.input"
    page.drag(page.place(plot, 10, 0), page.place(plot, 20, 0.9))
    drive = page.view()["drive"]
    assert drive["kind"] == "pulse"
    assert drive["start"] == pytest.approx(10.0, abs=0.3)
    assert drive["length"] == pytest.approx(10.0, abs=0.5)
    assert page.js("Math.max(...explorer.points.A.runs[0].input)") == pytest.approx(drive["amplitude"])
    assert page.page.input_value("#drive") == "pulse"


def test_a_sine_has_numbers(page):
    page.page.select_option("#drive", "sine")
    page.settle()
    page.page.fill("#drive-numbers input[name=period]", "10")
    page.settle()
    assert page.view()["drive"] == {"kind": "sine", "amplitude": 2, "period": 10, "phase": 0}
    assert page.js("explorer.points.A.runs[0].input.length") == 1001


def test_what_the_server_refuses_is_said(page):
    page.page.select_option("#drive", "sine")
    page.settle()
    page.page.fill("#drive-numbers input[name=period]", "-1")
    page.settle()
    assert page.text("#say").startswith("drive.period: found -1, expected")
    page.page.select_option("#drive", "scan")
    page.settle()


def test_noise_for_the_trajectory(page):
    page.page.click("#more")
    page.page.fill(".slider[data-name=v_ou_sigma] input[type=number]", "1")
    page.page.keyboard.press("Enter")
    page.page.check("#noise")
    page.settle()
    assert page.view()["changed"] == {"v_ou_sigma": 1}
    r = page.js("Array.from(explorer.points.A.rows(explorer.points.A.runs[0])[0])")
    assert np.std(r[-200:]) > 1e-3


def test_a_longer_time(page):
    page.page.select_option("#time", "100")
    page.settle()
    assert page.js("explorer.points.A.runs[0].time.at(-1)") == 100.0


# The diagram


def test_the_diagram_has_both_folds(page):
    page.click(MAP, ETA[12], J[10])
    folds = page.js("explorer.diagram.found.special.filter((s) => s.type === 'LP').map((s) => s.at.eta)")
    assert sorted(folds) == pytest.approx(sorted(qs.folds(J=15.0)["eta"].values))


def test_simulated_values_are_on_it(page, store):
    page.click(MAP, ETA[12], J[10])
    own = page.js("Array.from(explorer.diagram.found.simulated_mean)")
    assert own == pytest.approx(qs.open_scan(store)["r_mean"].isel(J=10, r_initial=0).values, rel=1e-6)


def test_a_click_on_the_diagram_moves_the_point(page):
    page.click(DIAGRAM, -6.0, 1.2)
    assert page.view()["index"]["eta"] == 8


def fold_of(page):
    page.click(MAP, ETA[12], J[10])
    special = page.js("explorer.diagram.found.special.find((s) => s.type === 'LP')")
    page.click(DIAGRAM, special["at"]["eta"], special["state"][0])
    return special


def test_a_click_on_a_special_point_tells_what_it_is(page):
    special = fold_of(page)
    card = page.text("[data-card]")
    assert "LP" in card
    assert "two equilibria meet" in card
    assert f"{special['at']['eta']:.8g}".replace("-", "−")[:8] in card


def test_its_curve_is_followed_in_two_parameters(page):
    fold_of(page)
    page.page.click("[data-follow=LP]")
    page.settle()
    assert page.view()["follow"] == "LP"
    assert page.js("explorer.map.curves.LP.across.length") >= 50
    assert page.page.locator("[data-card]").is_hidden()


def test_go_there(page):
    special = fold_of(page)
    page.page.click("[data-card] button:nth-of-type(2)")
    page.settle()
    assert ETA[page.view()["index"]["eta"]] == pytest.approx(special["at"]["eta"], abs=0.13)


@pytest.mark.parametrize(("axis", "along"), [("x", "J"), ("y", "eta")])
def test_dragging_beside_an_axis_moves_the_slice(page, axis, along):
    (left, top), (right, bottom) = page.place(MAP, ETA[4], J[4]), page.place(MAP, ETA[18], J[16])
    edge = page.js(f"{MAP}.canvas.getBoundingClientRect().bottom") - 20
    side = page.js(f"{MAP}.canvas.getBoundingClientRect().left") + 40
    ends = ((left, edge), (right, edge)) if axis == "x" else ((side, top), (side, bottom))
    page.drag(*ends)
    view = page.view()
    assert view["along"] == along
    assert view["index"]["eta" if axis == "x" else "J"] == (18 if axis == "x" else 16)
    assert page.js("explorer.diagram.found.along") == along


def test_a_diagram_along_a_fixed_parameter(page):
    page.page.select_option("#diagram select", "delta")
    page.settle()
    assert page.js("explorer.diagram.found.method") == "branch"
    page.click(DIAGRAM, 1.5, 0.3)
    assert page.view()["changed"]["delta"] == pytest.approx(1.5, abs=0.02)


# Two points, sliders


def test_a_second_point_is_side_by_side(page):
    page.click(MAP, ETA[12], J[10])
    page.click(MAP, ETA[20], J[10], modifiers=["Shift"])
    assert page.view()["second"] == {"eta": 20, "J": 10}
    assert page.page.locator("section.point").count() == 2
    assert page.js("explorer.points.B.phase.equilibria.length") == 1
    assert page.js("explorer.points.A.phase.equilibria.length") == 3
    page.page.click("#single")
    page.settle()
    assert page.page.locator("section.point").count() == 1


def test_a_slider_of_what_is_not_on_the_map(page, store):
    page.page.click(".slider[data-name=r_initial] .segments button:nth-child(2)")
    page.settle()
    assert page.view()["index"]["r_initial"] == 1
    page.page.mouse.move(*page.place(MAP, ETA[8], J[11]))
    assert f"r_mean = {stored(store, 'r_mean', eta=8, J=11, r_initial=1):.5g}".rstrip("0") in page.text(
        "#map [data-readout]"
    )


def test_small_maps_of_a_third_dimension(page, store):
    page.page.click(".slider[data-name=r_initial] .maps")
    page.settle()
    assert page.page.locator("#facets canvas").count() == 2
    for i in range(2):
        own = page.js(f"Array.from(explorer.facets.shown[{i}].tile.values)")
        assert own == pytest.approx(
            qs.open_scan(store)["r_mean"].isel(r_initial=i).values.T.ravel(), rel=1e-6
        )
    page.page.click("#facets button:nth-child(2)")
    page.settle()
    assert page.view()["index"]["r_initial"] == 1
    page.page.keyboard.press("m")
    page.settle()
    assert page.page.locator("#facets").is_hidden()


def test_a_slider_of_a_fixed_parameter_moves_the_theory(page):
    page.change(variable="exact:count")
    before = page.js("Array.from([...explorer.map.tiles.values()][0].values)")
    page.page.fill(".slider[data-name=delta] input[type=range]", "3.0")
    page.settle()
    after = page.js("Array.from([...explorer.map.tiles.values()][0].values)")
    delta = page.view()["changed"]["delta"]
    exact = qs.equilibria(eta=ETA, J=J, delta=delta)["count"].transpose("J", "eta").values
    assert after == exact.ravel().tolist()
    assert after != before
    page.page.click(".slider[data-name=delta] .back")
    page.settle()
    assert page.view()["changed"] == {}


def test_what_was_visited_is_not_asked_again(page):
    page.click(MAP, ETA[5], J[5])
    page.click(MAP, ETA[15], J[15])
    before = page.js("explorer.traffic.asked")
    page.change(index={"eta": 5, "J": 5, "r_initial": 0})
    asked = page.js("explorer.traffic.names.slice()")
    assert len(asked) == page.js("explorer.traffic.asked")
    assert asked[before:] == []


def test_only_what_is_looked_at_is_asked(page):
    before = page.js("explorer.traffic.asked")
    page.js(
        "(() => { for (let eta = 0; eta < 25; eta++)"
        " explorer.change({ index: { eta, J: 3, r_initial: 0 } }); })()"
    )
    page.settle()
    assert page.js("explorer.traffic.asked") - before < 20
    assert page.js("explorer.points.A.phase.equilibria[0].state[0]") == pytest.approx(
        float(qs.equilibria(eta=ETA[24], J=J[3])["r"][0]), rel=1e-12
    )


# Keys


@pytest.mark.parametrize(
    ("key", "index"),
    [
        ("ArrowRight", {"eta": 13, "J": 10}),
        ("ArrowLeft", {"eta": 11, "J": 10}),
        ("ArrowUp", {"eta": 12, "J": 11}),
        ("Shift+ArrowDown", {"eta": 12, "J": 0}),
    ],
)
def test_arrows_move_the_point(page, key, index):
    page.page.keyboard.press(key)
    page.settle()
    assert page.view()["index"] == index | {"r_initial": 0}


def test_keys_choose_slice_variable_and_layers(page):
    for key, name, value in (
        ("y", "along", "J"),
        ("x", "along", "eta"),
        ("c", "curves", False),
        ("l", "log", True),
    ):
        page.page.keyboard.press(key)
        page.settle()
        assert page.view()[name] == value, key
    page.page.keyboard.press("v")
    page.settle()
    assert page.view()["variable"] != page.first["variable"]


def test_keys_zoom(page):
    full = page.js(f"{MAP}.range.x")
    page.page.keyboard.press("+")
    page.page.wait_for_timeout(150)
    page.settle()
    assert np.ptp(page.js(f"{MAP}.range.x")) < np.ptp(full)
    page.page.keyboard.press("0")
    page.settle()
    assert page.js(f"{MAP}.range.x") == full


def test_dark_and_light(page):
    page.page.keyboard.press("d")
    page.settle()
    dark = page.js("getComputedStyle(document.body).backgroundColor")
    page.page.click("#dark")
    assert page.js("getComputedStyle(document.body).backgroundColor") != dark


def test_help(page):
    page.page.keyboard.press("?")
    assert "Shift + click" in page.text("#keys")
    page.page.keyboard.press("Escape")
    assert page.page.locator("#keys").is_hidden()


# What is taken away


def test_copy_as_python(page, tmp_path):
    page.click(MAP, ETA[12], J[10])
    page.page.click("#python")
    page.settle()
    text = page.js("window.explorerCopied")
    space = {}
    exec(compile(text.replace("qs.show(", "("), "copied", "exec"), space)
    assert float(space["run"]["eta"]) == ETA[12]


def test_copy_as_toml(page, tmp_path):
    page.change(changed={"delta": 1.25})
    page.page.click("#toml")
    page.settle()
    (tmp_path / "copied.toml").write_text(page.js("window.explorerCopied"))
    copied = qs.Scan.from_toml(tmp_path / "copied.toml")
    assert copied == SCAN.replace(fixed=SCAN.fixed | {"delta": 1.25})


@pytest.mark.parametrize(("button", "first"), [("#png", b"\x89PNG"), ("#svg", b"<svg")])
def test_pictures_are_saved(page, button, first, tmp_path):
    with page.page.expect_download() as download:
        page.page.click(button)
    download.value.save_as(tmp_path / "picture")
    saved = (tmp_path / "picture").read_bytes()
    assert saved.startswith(first)
    assert len(saved) > 5000
    if first == b"<svg":
        tags = {node.tag.split("}")[1] for node in xml.etree.ElementTree.fromstring(saved).iter()}
        assert {"path", "text", "image"} <= tags


def test_a_box_is_a_refined_scan(page, tmp_path):
    page.page.keyboard.down("Shift")
    page.drag(page.place(MAP, -6.1, 13.9), page.place(MAP, -3.9, 16.1))
    page.page.keyboard.up("Shift")
    assert page.page.locator("#refine").is_visible()
    assert "306 points: eta 17 × J 9 × r_initial 2" in page.text("#refine [data-told]")
    page.page.select_option("#refine [data-factor]", "4")
    page.settle()
    assert "J 17" in page.text("#refine [data-told]")
    assert "--extend" in page.text("#refine [data-command]")
    page.page.click("#refine [data-copy=toml]")
    (tmp_path / "refined.toml").write_text(page.js("window.explorerCopied"))
    assert len(qs.Scan.from_toml(tmp_path / "refined.toml").axes["eta"]) == 33


# The address


def test_the_view_is_in_the_address(page, browser, server):
    page.click(MAP, ETA[6], J[14])
    page.change(variable="v_mean", scale="cividis", along="J", changed={"delta": 1.5})
    page.page.wait_for_timeout(150)
    again = Page(browser, page.page.url)
    view = again.view()
    assert view["index"] == {"eta": 6, "J": 14, "r_initial": 0}
    assert (view["variable"], view["scale"], view["along"]) == ("v_mean", "cividis", "J")
    assert view["changed"] == {"delta": 1.5}
    assert again.faults == []
    again.page.close()


def test_points_come_back_to_python(page, server):
    page.click(MAP, ETA[7], J[9])
    assert server.selected[-1] == {"eta": ETA[7], "J": J[9], "r_initial": 0.1}


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
def test_everything_is_on_the_screen(page, size):
    page.page.set_viewport_size({"width": size[0], "height": size[1]})
    page.page.wait_for_timeout(100)
    boxes = page.js(
        "Array.from(document.querySelectorAll('.panel, .plot, nav button'),"
        " (e) => e.getBoundingClientRect().toJSON())"
    )
    for box in boxes:
        assert box["width"] == 0 or (
            box["left"] >= 0 and box["right"] <= size[0] + 1 and box["bottom"] <= size[1] + 1
        )
        assert box["width"] == 0 or box["height"] > 15
    page.page.set_viewport_size({"width": 1440, "height": 900})


# Other scans


def test_the_map_fills_while_the_scan_runs(browser, tmp_path):
    def stop(progress):
        if progress.chunks >= 3:
            raise KeyboardInterrupt

    path = tmp_path / "half.zarr"
    with pytest.raises(qs.RunInterrupted):
        qs.run(SCAN, path, chunk_points=42, client="serial", progress=stop)
    with qs.explore(path) as explorer:
        page = Page(browser, explorer.url)
        assert page.page.locator("#progress").is_visible()
        before = page.js("explorer.map.plane.counts.not_run")
        assert before > 100
        running = threading.Thread(target=qs.run, args=(SCAN, path), kwargs={"progress": None})
        running.start()
        running.join()
        until = time.monotonic() + 15
        while page.js("explorer.map.plane.counts.not_run") and time.monotonic() < until:
            time.sleep(0.1)
        assert page.js("explorer.map.plane.counts.not_run") == 0
        page.page.locator("#progress").wait_for(state="hidden", timeout=10_000)
        assert page.faults == []
        page.page.close()


OTHERS = {
    "not run": qs.Scan(axes={"eta": np.linspace(-8, -2, 9), "delta": np.geomspace(0.2, 5, 7)}),
    "one axis": qs.Scan(axes={"eta": np.linspace(-8, -2, 9)}),
    "one point": qs.Scan(),
    "zipped": qs.Scan(
        axes={"pair": {"eta": [-5.0, -4.0, -1.0], "J": [10.0, 15.0, 12.0]}, "delta": [0.5, 1.0, 2.0]}
    ),
    "adaptation": qs.Scan(
        model="qif_adaptation_exponential", axes={"eta": np.linspace(-6, 3, 9), "alpha": [0.0, 2.0, 5.0]}
    ),
    "delay": qs.Scan(model="qif_delay", axes={"eta": np.linspace(-6, -4, 5), "delay": [0.5, 1.0, 2.0]}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_scans_open_too(browser, tmp_path, kind):
    path = tmp_path / "scan.toml"
    path.write_text(OTHERS[kind].to_toml())
    with qs.explore(path) as explorer:
        page = Page(browser, explorer.url)
        assert page.js("explorer.points.A.phase.equilibria.length") > 0
        assert page.faults == []
        page.page.close()


# Part of a service


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    code = "from qifscan.cli import script; script()"
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    yield re.search(r"http://[\d.:]+", running.stdout.readline())[0]
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)


def test_a_scan_is_submitted_watched_and_refined(browser, service):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(service)
    page.fill("#toml", SCAN.replace(title="submitted").to_toml())
    page.click("#run")
    page.locator("a.explore").click(timeout=30_000)
    page.wait_for_function("() => window.explorer?.map.plane?.counts.not_run === 0", timeout=60_000)
    assert page.inner_text("h1") == "submitted"
    page.evaluate("() => { explorer.map.onBox({ x: [-6, -4], y: [14, 16] }); }")
    page.click("#refine [data-submit]", timeout=10_000)
    page.wait_for_function(
        "() => document.querySelector('h1').textContent === 'submitted, refined'", timeout=30_000
    )
    assert faults == []
    page.close()


@contextmanager
def serving(folder):
    """Serve the files of a folder on loopback until the end of the block; the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{files.server_port}"
        files.shutdown()


CELLS = (
    # As above: what only might be needed is not compiled.
    "import qifscan as qs\nfrom qifscan.explorer import serve\nserve.warm = lambda *_: None",
    "explorer = qs.open_scan(STORE).qs.explore()\nexplorer",
    "explorer.selected",
    "explorer.close()",
)


@pytest.mark.thorough
def test_in_a_notebook_s_own_page_and_kernel_a_click_comes_back_to_python(browser, store, tmp_path):
    """The kernel is a process of its own, the page another server's, as in Jupyter."""
    cells = [nbformat.v4.new_code_cell(cell.replace("STORE", repr(str(store)))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with client.setup_kernel():
        for k in (0, 1):
            client.execute_cell(cells[k], k)
        (output,) = [o["data"]["text/html"] for o in cells[1]["outputs"] if "data" in o]
        (tmp_path / "notebook.html").write_text(f"<!doctype html><body><p>a notebook</p>{output}</body>")
        with serving(tmp_path) as address:
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            page.goto(f"{address}/notebook.html")
            frame = page.frame_locator("iframe")
            frame.locator("canvas").first.wait_for(timeout=60_000)
            inside = page.frames[1]
            inside.wait_for_function(
                "() => window.explorer?.points.A.runs.length && explorer.map.plane", timeout=60_000
            )
            area = inside.evaluate("() => explorer.map.plot.area")
            at = {"x": area["left"] + 0.8 * area["width"], "y": area["top"] + 0.3 * area["height"]}
            frame.locator("canvas").first.click(position=at)
            inside.wait_for_function("() => !explorer.traffic.open", timeout=60_000)
            index = inside.evaluate("() => explorer.view.index")
            page.close()
        client.execute_cell(cells[2], 2)
        client.execute_cell(cells[3], 3)
    (chosen,) = [o["data"]["text/plain"] for o in cells[2]["outputs"] if "data" in o]
    found = ast.literal_eval(chosen)[-1]
    assert (found["eta"], found["J"]) == (ETA[index["eta"]], J[index["J"]])
    assert index["eta"] > 15
