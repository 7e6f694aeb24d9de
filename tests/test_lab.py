"""Every notebook in a real JupyterLab, in a real browser: Run All, no error, pictures shown."""

import nbformat
import pytest
from browsers import needs_browser, run_all_cells
from conftest import wait_until

from fashion_gan.config.profiles import NOTEBOOKS

pytestmark = needs_browser
# papermill runs each, and tests/test_explorer.py plays in the last
DEAR = ("02_train", "03_evaluate", "04_sample", "05_explorer")


def finished(path):
    """Whether the saved notebook's last code cell has run, or one has failed."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return cells[-1].execution_count is not None or any(
        o.output_type == "error" for c in cells for o in c.outputs
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEAR)) for name in NOTEBOOKS]
)
def test_run_all_in_jupyterlab(lab, browser, name):
    root, address = lab
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{address}/lab/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    run_all_cells(page)
    path = root / "notebooks" / f"{name}.ipynb"

    def saved_and_done():
        page.keyboard.press("Control+s")
        page.wait_for_timeout(300)
        return finished(path)

    wait_until(saved_and_done, 300)
    outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", [])]
    assert [o.evalue for o in outputs if o.output_type == "error"] == []
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
    page.locator(".jp-OutputArea-output img").last.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-OutputArea-output img')].some(i => i.complete &&"
        " i.naturalWidth > 100)"
    )
    page.screenshot(path=str(root / f"{name}.png"))
    assert page.locator(".jp-RenderedImage img").count() >= 1
    page.close()


def test_the_report_opens_from_disk_without_asking_anyone(whole_run, browser, tmp_path):
    """In light, dark and on a phone."""
    made, asked = whole_run.run, []
    for scheme, width in (("light", 1200), ("dark", 1200), ("light", 390)):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        problems = []
        page.on(
            "console",
            lambda message, p=problems: p.append(message.text) if message.type == "error" else None,
        )
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
        page.screenshot(path=str(tmp_path / f"report-{scheme}-{width}.png"), full_page=True)
        page.close()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)
