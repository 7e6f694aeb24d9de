"""What a person sees in MLflow's own page: the run's HTML artifacts, with no request to another host."""

import os
import socket
import subprocess
import sys

import pytest
from test_lab import BROWSER, answers, browser, pytestmark, wait_until  # noqa: F401 - a fixture and a mark

from fashion_gan import pipeline, sync
from fashion_gan.params import Params
from fashion_gan.run import Run


@pytest.fixture
def page_of_a_run(project):
    from conftest import TINY

    run = Run.create(Params.checked(TINY), name="r", profile="tiny", notebooks=("01_explore",))
    assert pipeline.run_all(run, lambda _: None) == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", sync.tracking_uri(), "--port", str(port), "--workers", "1"]
    with (project / "ui.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=project, stdout=log, stderr=log, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        )
        try:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), 90)
            yield run, f"http://127.0.0.1:{port}", project
        finally:
            server.terminate()
            server.wait(timeout=30)


def test_a_notebooks_html_shows_in_mlflows_page(page_of_a_run, browser):  # noqa: F811
    from fashion_gan.files import read_json

    run, address, project = page_of_a_run
    run_id = read_json(run.folder / "mlflow.json")["run_id"]
    experiment = sync.make_client().get_run(run_id).info.experiment_id
    page, asked = browser.new_page(viewport={"width": 1500, "height": 1100}), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/#/experiments/{experiment}/runs/{run_id}/artifacts/01_explore.html")
    frame = page.frame_locator("iframe").first
    frame.locator("h1", has_text="The clothes").wait_for(timeout=60_000)
    assert frame.locator("img").count() >= 5
    assert frame.locator("img").evaluate_all("images => images.every(i => i.complete && i.naturalWidth > 0)")
    page.screenshot(path=str(project / "mlflow.png"))
    from_pages = [url for url in asked if not url.startswith(("data:", "blob:", address))]
    assert from_pages == []
    page.close()
