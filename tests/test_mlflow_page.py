"""What a person sees in MLflow's own page: the run's note, notebooks and the slider, with no
request to another host."""

import os
import subprocess
import sys

import pytest
from browsers import answers, needs_browser
from conftest import wait_until
from ports import free_port

from fashion_gan.config.stores import tracking_uri
from fashion_gan.tracking.client import make_client

pytestmark = needs_browser


@pytest.fixture
def page_of_a_run(whole_run, tmp_path, monkeypatch):
    monkeypatch.chdir(whole_run.root)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        tracking_uri(),
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with (tmp_path / "ui.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), 90)
            yield whole_run.run, f"http://127.0.0.1:{port}", tmp_path
        finally:
            server.terminate()
            server.wait(timeout=30)


def test_a_notebooks_html_shows_in_mlflows_page(page_of_a_run, browser):
    run, address, folder = page_of_a_run
    run_id = run.copy()["run_id"]
    experiment = make_client().get_run(run_id).info.experiment_id
    page, asked = browser.new_page(viewport={"width": 1500, "height": 1100}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run_id}/artifacts/01_explore.html")
    frame = page.frame_locator("iframe").first
    frame.locator("h1", has_text="The data").wait_for(timeout=60_000)
    assert frame.locator("img").count() >= 5
    assert frame.locator("img").evaluate_all(
        "images => images.every(i => i.complete && i.naturalWidth > 0)"
    )
    page.screenshot(path=str(folder / "mlflow.png"))
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run_id}/artifacts/epochs.html")
    page.reload()
    slider = frame.locator("input[type=range]")
    slider.wait_for(timeout=60_000)
    shown = frame.locator("img.frame:visible")
    assert shown.evaluate_all("images => images.map(i => i.dataset.epoch)") == [
        str(run.params.epochs)
    ]
    slider.fill("0")
    assert frame.locator("output").inner_text() == "1"
    assert shown.evaluate_all("images => images.map(i => i.dataset.epoch)") == ["1"]
    page.screenshot(path=str(folder / "slider.png"))
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run_id}")
    page.reload()
    page.get_by_text("Run it again").wait_for(timeout=60_000)
    page.screenshot(path=str(folder / "overview.png"))
    from_pages = [url for url in asked if not url.startswith(("data:", "blob:", address))]
    assert from_pages == []
    page.close()
