"""Every notebook in a real JupyterLab, in a real browser: Run All, no error, pictures shown."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from conftest import wait_until
from profiles import NOTEBOOKS

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: chromium-headless-shell)")
# With their defaults these take minutes; in the browser they run at a small size, the others as they are.
SMALLER = {
    "02_train": {"epochs: int = 10": "epochs: int = 1", "subset: int = 50000": "subset: int = 1000", "channels: int = 32": "channels: int = 8"},
    "03_evaluate": {"draws: int = 5": "draws: int = 2", "samples: int = 10000": "samples: int = 2000"},
}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data_dir):
    from conftest import make_project

    with pytest.MonkeyPatch.context() as patch:
        root = make_project(tmp_path_factory.mktemp("lab") / "project", data_dir, patch)
        for name, changes in SMALLER.items():
            path = root / "notebooks" / f"{name}.ipynb"
            text = path.read_text()
            for old, new in changes.items():
                assert old in text
                text = text.replace(old, new)
            path.write_text(text)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = [
            "--no-browser",
            f"--port={port}",
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            "--allow-root",
            f"--notebook-dir={root}",
        ]
        env = os.environ | {"JUPYTER_CONFIG_DIR": str(root / "jupyter"), "JUPYTERLAB_SETTINGS_DIR": str(root / "jupyter")}
        with (root / "lab.log").open("w") as log:
            server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], cwd=root, stdout=log, stderr=log, env=env)
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(f"{address}/api"), 60)
            yield root, address
            server.terminate()
            server.wait(timeout=60)


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=2).status == 200
    except OSError:
        return False


def finished(path):
    """Whether the saved notebook's last code cell has run, or one has failed."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return cells[-1].execution_count is not None or any(o.output_type == "error" for c in cells for o in c.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_in_jupyterlab(lab, browser, name):
    root, address = lab
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)
    time.sleep(1)  # the indicator says idle a moment before the kernel takes work
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    path = root / "notebooks" / f"{name}.ipynb"

    def saved_and_done():
        page.keyboard.press("Control+s")
        time.sleep(1.5)
        return finished(path)

    wait_until(saved_and_done, 300)
    outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    page.locator(".jp-OutputArea-output img").last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.jp-OutputArea-output img')].some(i => i.complete && i.naturalWidth > 100)")
    page.screenshot(path=str(root / f"{name}.png"))
    assert page.locator(".jp-RenderedImage img").count() >= 1
    page.close()


def test_the_report_opens_from_disk_without_asking_anyone(lab, browser):
    """The notebook run above made a run; its pages are written and looked at, in light, dark and on a phone."""
    import pages

    from fashion_gan import run

    root, _ = lab
    made = run.find("latest")
    for path in (root / "notebooks").glob("0*.ipynb"):
        (made.folder / "notebooks").mkdir(exist_ok=True)
        shutil.copy(path, made.folder / "notebooks")
        pages.write_notebook_html(made, path)
    pages.write_report(made)
    asked = []
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        problems = []
        page.on("console", lambda message, p=problems: p.append(message.text) if message.type == "error" else None)
        page.goto(f"file://{made.folder}/index.html")
        assert problems == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(23, 25, 28)") == (scheme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        page.locator("figure.slider input").fill("0")
        assert page.locator("figure.slider img.shown").count() == 1
        for details in page.locator("details").all():
            details.evaluate("d => d.open = true")
        assert page.evaluate("[...document.images].every(i => i.complete && (i.naturalWidth > 0))")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        page.screenshot(path=str(root / f"report-{scheme}-{width}.png"), full_page=True)
        page.close()
    assert all(url.startswith(("file:", "data:")) for url in asked)
