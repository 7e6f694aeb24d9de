"""The explorer in the report, opened from disk in Chromium: how soon it draws, how soon a slider's
change is on screen.

python benchmarks/page.py [reports/RUN/index.html]

Without a page the shipped model's is made first. Needs Chromium and playwright. A change is timed
from the slider's event to the next frame after the picture was put on the canvas; three times 100
changes."""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from fashion_gan.catalog.generators import SHIPPED, find_generator
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import load_split
from fashion_gan.explorer import export
from fashion_gan.report import pages
from fashion_gan.report.render import export_static_explorer
from fashion_gan.runs.run import Run

TIMES = """async (count) => {
  const stage = document.querySelector("canvas.stage"), times = [];
  const input = document.querySelector("label.slider input");
  for (let k = 0; k < count; k++) {
    const before = stage.dataset.code, began = performance.now();
    input.value = (k % 30) + 1;
    input.dispatchEvent(new Event("input"));
    while (stage.dataset.code === before) await new Promise((go) => setTimeout(go, 0));
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - began);
    await new Promise((go) => setTimeout(go, 20));
  }
  return times.sort((a, b) => a - b);
}"""
DRAWN = (
    "() => { const stage = document.querySelector('canvas.stage'); return stage &&"
    " stage.dataset.code ? performance.now() : 0; }"
)


def write_page(folder: Path) -> Path:
    """The report of the shipped model in `folder`. Returns its index page."""
    shutil.copytree(project_root() / "reports" / "showcase", folder)
    data = project_root() / "data"
    shipped = find_generator(str(SHIPPED))
    train, validation = load_split(data, "train"), load_split(data, "validation", 1000)
    export_static_explorer(Run(folder), *export.payload(shipped, train, validation))
    return pages.write_report(Run(folder))


def playable(index: Path) -> Path:
    """The page with the explorer: that of a very wide generator has no room in the report."""
    separate = index.with_name("explorer.html")
    return separate if separate.exists() else index


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("page", nargs="?", default="")
    args = parser.parse_args()
    browser_path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_path = Path(args.page).resolve()
        if not args.page:
            page_path = playable(write_page(Path(folder) / "showcase"))
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        opened, times = [], []
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1100, "height": 1000})
            page.goto(page_path.as_uri())
            opened.append(page.wait_for_function(DRAWN, polling="raf").json_value() / 1000)
            page.wait_for_timeout(1000)
            times += page.evaluate(TIMES, 100)
            page.close()
        browser.close()
        times.sort()
        print(
            f"{page_path.stat().st_size / 1e6:.2f} MB; drawn {statistics.median(opened):.2f} s"
            f" after it was opened (largest {max(opened):.2f})"
        )
        print(
            f"a slider's change on screen: median {statistics.median(times):.0f} ms, 95 %"
            f" {times[int(0.95 * len(times))]:.0f} ms"
        )


if __name__ == "__main__":
    main()
