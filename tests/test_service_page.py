"""The front page of the service in a real browser: chromium, driven by playwright, without a window."""

import shutil

import pytest

import qifscan as qs
from qifscan.explorer.routes import routes
from tests.serving import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"
    ),
    # playwright's own loop leaves a socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TOKEN = "a-token-of-some-length"
SCAN = qs.Scan(
    title="there already", axes={"eta": [-5.0, -4.0]}, protocol=qs.Protocol(transient=5.0, window=5.0)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    qs.run(SCAN, folder / "there.zarr", progress=None)
    with served(folder, token=TOKEN, pages=routes) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, server):
    """The page, opened with the token; what it says on its console is not to be of its policy."""
    said, opened = [], browser.new_page()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(f"{server.url}/#token={TOKEN}")
    opened.wait_for_selector("li.job")
    yield opened
    opened.close()
    assert not [line for line in said if "Content Security Policy" in line or "Error" in line]


def test_the_token_leaves_the_address_and_the_scans_are_listed(page, server):
    assert page.url == f"{server.url}/"
    job = page.locator("li.job", has_text="there already")
    assert job.locator(".state").inner_text() == "successful"
    assert job.locator(".message").inner_text() == "1 of 1 chunks, 2 of 2 points"
    page.fill("#search", "nothing of this name")
    assert page.locator("li.job").count() == 0
    page.fill("#search", "ALREADY")
    assert page.locator("li.job").count() == 1


def test_without_the_token_the_page_asks_for_it(browser, server):
    page = browser.new_page()
    page.goto(server.url)
    page.wait_for_selector("#token-form:not([hidden])")
    assert page.locator("li.job").count() == 0
    page.fill("#token", TOKEN)
    page.click("#token-form button")
    page.wait_for_selector("li.job")
    assert page.locator("#token-form").is_hidden()
    page.close()


def test_a_wrong_scan_is_told_every_mistake_and_a_right_one_runs_before_ones_eyes(page):
    page.fill("#toml", "[axes]\neta = []\nJay = [1.0]\n")
    page.click("#run")
    page.wait_for_selector("#errors li")
    assert page.locator("#errors li").count() == 2
    page.fill("#toml", SCAN.replace(title="<b>sent</b> from the page", seed=7).to_toml())
    page.click("#run")
    page.wait_for_selector("#errors", state="hidden")
    job = page.locator("li.job", has_text="<b>sent</b> from the page")
    job.locator(".state.successful").wait_for(timeout=60_000)
    assert page.locator("li.job").first.locator(".title").inner_text() == "<b>sent</b> from the page"


def test_a_scan_is_drawn_printed_and_explored_from_its_row(page, server):
    job = page.locator("li.job", has_text="there already")
    job.locator(".picture").click()
    job.locator("img.figure:not([hidden])").wait_for(timeout=60_000)
    job.locator(".scan").click()
    job.locator("pre.text:not([hidden])").wait_for()
    assert 'title = "there already"' in job.locator("pre.text").inner_text()
    target = job.locator("a.explore").get_attribute("href")
    assert target == f"{server.url}/explore/there/#token={TOKEN}"


def test_a_job_is_stopped_and_goes_on_from_its_row(page, server):
    long = qs.Scan(
        title="a long one",
        axes={"eta": {"linspace": [-8.0, 2.0, 64]}, "J": {"linspace": [5.0, 25.0, 64]}},
        protocol=qs.Protocol(transient=200.0, window=600.0, dt=0.01),
    )
    client = qs.Client(server.url, TOKEN)
    client.submit(long)
    job = page.locator("li.job", has_text="a long one")
    job.locator(".state.running").wait_for(timeout=60_000)
    job.locator(".stop").click()
    job.locator(".state.dismissed").wait_for(timeout=60_000)
    job.locator(".again").click()
    job.locator(".state.accepted, .state.running").wait_for(timeout=60_000)
    client.job(long).cancel()
    job.locator(".state.dismissed").wait_for(timeout=60_000)
