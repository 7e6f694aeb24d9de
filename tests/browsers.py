"""A real browser and a real JupyterLab, one each for all tests of a worker."""

import os
import shutil
import subprocess
import sys
import urllib.request

import pytest
from conftest import make_project, wait_until
from ports import free_port

BROWSER = next(
    filter(
        None,
        map(
            shutil.which,
            ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"),
        ),
    ),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine (Debian: chromium-headless-shell)"
)
# With their defaults these take minutes; in the browser they run at a small size, the others as
# they are.
SMALLER = {
    "02_train": {
        "epochs: int = 10": "epochs: int = 1",
        "subset: int = 50000": "subset: int = 1000",
        "channels: int = 32": "channels: int = 8",
    },
    "03_evaluate": {
        "draws: int = 5": "draws: int = 2",
        "samples: int = 10000": "samples: int = 2000",
    },
}


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory, data_dir, empty_store):
    """The project folder that it serves, and its address."""
    with pytest.MonkeyPatch.context() as patch:
        root = make_project(
            tmp_path_factory.mktemp("lab") / "project", data_dir, patch, empty_store
        )
    for name, changes in SMALLER.items():
        path = root / "notebooks" / f"{name}.ipynb"
        text = path.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
    address = f"http://127.0.0.1:{(port := free_port())}"
    options = [
        "--no-browser",
        "--expose-app-in-browser",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
        "--allow-root",
    ]
    options.append(f"--notebook-dir={root}")
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(root / "jupyter"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "jupyter"),
    }
    env.pop("MLFLOW_TRACKING_URI", None)
    with (root / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=root,
            stdout=log,
            stderr=log,
            env=env,
        )
        try:
            wait_until(lambda: answers(f"{address}/api"), 60, root / "lab.log", server)
            yield root, address
        finally:
            server.terminate()
            server.wait(timeout=60)


IDLE = '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
BEGUN = (
    "() => [...document.querySelectorAll('.jp-Notebook .jp-InputPrompt')].some((p) =>"
    " /\\[[*0-9]+\\]/.test(p.textContent))"
)
CONNECTED = """() => {
  const notebook = window.jupyterapp?.shell.currentWidget?.context?.sessionContext;
  const kernel = notebook?.session?.kernel;
  return notebook?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""


def run_all_cells(page) -> None:
    """JupyterLab's Run All Cells, once the notebook that has the focus is connected to its kernel.
    The indicator says idle before that: a click then is lost, or JupyterLab asks which kernel it
    shall be and drops some of the cells."""
    page.wait_for_function(CONNECTED, timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(BEGUN, timeout=120_000)


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=2).status == 200
    except OSError:
        return False
