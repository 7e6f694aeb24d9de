"""HTML of executed notebooks, the run's index page, the page of pictures over the epochs, the model
card: figures and files from here, words and layout from templates/."""

import base64
import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fashion_gan.files import read_json, write_text
from fashion_gan.report.render import render, static_explorer
from fashion_gan.runs.run import Run

# pictures in the epoch slider at most, and in the index page's; of longer runs every k-th, and the
# last
FRAMES, FILM = 40, 6
# on the index page
PICTURES = (
    "uncurated",
    "samples_by_class",
    "worst",
    "nearest",
    "ladder",
    "distance",
    "losses",
    "confusion_test",
)
# bytes of the index page: where the explorer does not fit in, it is a page of its own
LARGEST = 3_000_000


def notebook_body(path: Path) -> Markup:
    """An executed notebook's prose and outputs as HTML, without its code."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # a widget needs a kernel and a script
        if cell.cell_type == "code":
            # a place that nothing was drawn in
            shown = [o for o in cell.outputs if o.get("data") != {}]
            cell.outputs = [
                o
                for o in shown
                if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_input_prompt=True,
    )
    return Markup(exporter.from_notebook_node(notebook)[0])


def write_notebook_html(run: Run, notebook: Path) -> Path | None:
    """<run>/<notebook>.html beside the folder of notebooks; None where papermill left no
    notebook."""
    if not notebook.exists():
        return None
    target = run.folder / f"{notebook.stem}.html"
    write_text(
        target, render("notebook.html", run, title=notebook.stem, notebook=notebook_body(notebook))
    )
    return target


def embedded(path: Path) -> str:
    """An image file's content as the source of an <img>."""
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def frames_of(run: Run, most: int = FRAMES) -> list[tuple[int, str]]:
    """The pictures of the epochs for the slider, some `most` of them: the epoch, the embedded
    image."""
    paths = sorted((run.folder / "images").glob("epoch_*.png"))
    every = max(1, math.ceil(len(paths) / most))
    return [(int(p.stem[6:]), embedded(p)) for p in sorted({*paths[::every], *paths[-1:]})]


def pictures_of(run: Run) -> dict[str, dict[str, Any]]:
    """The pictures of the index page by name: source, alternative text, width in page pixels. A
    chart as SVG where that is smaller."""
    described = run.folder / "images" / "descriptions.json"
    # a kill may fall between a picture and its words
    known = read_json(described) if described.exists() else {}
    both = {
        name: [run.folder / "images" / f"{name}{kind}" for kind in (".png", ".svg")]
        for name in PICTURES
    }
    paths = {
        name: min(there, key=lambda p: p.stat().st_size)
        for name, two in both.items()
        if (there := [p for p in two if p.exists()])
    }
    return {
        name: {"alt": name, "width": 560} | known.get(name, {}) | {"source": embedded(path)}
        for name, path in paths.items()
    }


def write_report(run: Run) -> Path:
    """index.html, epochs.html and, where something was measured, MODEL_CARD.md (after Mitchell et
    al. 2019). Returns the index."""
    if run.read_json("scores"):
        write_text(run.folder / "MODEL_CARD.md", render("model_card.md", run))
    frames, notebooks = frames_of(run), sorted((run.folder / "notebooks").glob("*.ipynb"))
    if frames:
        write_text(run.folder / "epochs.html", render("epochs.html", run, frames=frames))
    told = {
        "frames": frames_of(run, FILM),
        "pictures": pictures_of(run),
        "notebooks": [p.stem for p in notebooks],
        "separate": False,
    }
    page = render("index.html", run, twin=static_explorer(run), **told)
    if len(page.encode()) > LARGEST:
        write_text(
            run.folder / "explorer.html", render("explorer.html", run, twin=static_explorer(run))
        )
        page = render("index.html", run, **told | {"separate": True})
    write_text(run.folder / "index.html", page)
    return run.folder / "index.html"


def note(run: Run) -> str:
    """The run's description in MLflow, in Markdown: verdict, key figures, the command that runs it
    again."""
    return render("note.md", run)
