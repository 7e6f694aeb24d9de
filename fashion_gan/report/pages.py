"""HTML of executed notebooks, the run's index page, the page of pictures over the epochs, the model
card: figures and files from here, words and layout from templates/."""

import base64
import math
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from fashion_gan.files import write_text
from fashion_gan.report.render import render, sound_record, static_explorer, write_explorer
from fashion_gan.runs.record import FASHION_MNIST
from fashion_gan.runs.run import Run

FRAMES = 40  # pictures in the epoch slider at most; of longer runs every k-th, and the last
INDEX_FRAMES = 6  # the same in the index page
# on the index page
SAMPLES = ("uncurated", "samples_by_class", "worst", "nearest")
CARD_METRICS = (
    "distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "label_accuracy",
)
CHARTS = ("ladder", "distance", "losses", "confusion_test")
# bytes of the index page: where the explorer does not fit in, it is a page of its own
LARGEST = 3_000_000
WIDGET = "application/vnd.jupyter.widget-view+json"


def notebook_body(path: Path) -> Markup:
    """An executed notebook's prose and outputs as HTML, without its code."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_shown(output)]
    hidden = {f"exclude_{part}": True for part in ("input", "input_prompt", "output_prompt")}
    return Markup(HTMLExporter(template_name="basic", **hidden).from_notebook_node(notebook)[0])


def _is_shown(output: dict[str, Any]) -> bool:
    """Whether it stays: not a display that nothing was drawn in, nor a widget, which needs a
    kernel and a script."""
    data = output.get("data")
    return data != {} and WIDGET not in (data or {})


def write_notebook_html(run: Run, notebook: Path) -> Path | None:
    """<run>/<notebook>.html beside the folder of notebooks; None where papermill left no
    notebook."""
    if not notebook.exists():
        return None
    target = run.folder / f"{notebook.stem}.html"
    body = notebook_body(notebook)
    write_text(target, render("notebook.html", run, title=notebook.stem, notebook=body))
    return target


def data_uri(path: Path) -> str:
    """An image file's content as the source of an <img>."""
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def epoch_frames(run: Run, most: int = FRAMES) -> list[tuple[int, str]]:
    """The pictures of the epochs for the slider, some `most` of them: the epoch, the embedded
    image."""
    paths = sorted((run.folder / "images").glob("epoch_*.png"))
    step = max(1, math.ceil(len(paths) / most))
    shown = sorted({*paths[::step], *paths[-1:]})
    return [(int(path.stem[6:]), data_uri(path)) for path in shown]


def index_pictures(run: Run) -> dict[str, dict[str, Any]]:
    """The pictures of the index page by name: source, alternative text, width in page pixels. A
    chart as SVG where that is smaller."""
    # a kill may fall between a picture and its words
    descriptions = run.read_json("images/descriptions") or {}
    pictures = {}
    for name in SAMPLES + CHARTS:
        paths = [run.folder / "images" / f"{name}{suffix}" for suffix in (".png", ".svg")]
        smallest = min(filter(Path.exists, paths), key=lambda p: p.stat().st_size, default=None)
        if smallest:
            pictures[name] = {"alt": name, "width": 560} | descriptions.get(name, {})
            pictures[name]["source"] = data_uri(smallest)
    return pictures


def write_report(run: Run) -> Path:
    """index.html, epochs.html and, where something was measured, MODEL_CARD.md (after Mitchell et
    al. 2019). Returns the index."""
    with sound_record(run):
        return _write_pages(run)


def _write_pages(run: Run) -> Path:
    if run.read_json("scores"):
        write_text(run.folder / "MODEL_CARD.md", model_card(run))
    if frames := epoch_frames(run):
        write_text(run.folder / "epochs.html", render("epochs.html", run, frames=frames))
    content = {
        "frames": epoch_frames(run, INDEX_FRAMES),
        "pictures": index_pictures(run),
        "notebooks": [p.stem for p in sorted((run.folder / "notebooks").glob("*.ipynb"))],
    }
    page = render("index.html", run, twin=static_explorer(run), **content)
    if len(page.encode()) > LARGEST:
        write_explorer(run)
        page = render("index.html", run, separate=True, **content)
    write_text(run.folder / "index.html", page)
    return run.folder / "index.html"


def model_card(run: Run) -> str:
    """What the run's generator is, after Mitchell et al. 2019, in Markdown."""
    return render("model_card.md", run, metadata=_card_metadata(run))


def _card_metadata(run: Run) -> Markup:
    """The model card's metadata as YAML, for the programs that read it."""
    info, scores = run.info, run.read_json("scores")
    is_fashion = info.data.name == FASHION_MNIST.name
    task = "class-conditional" if info.params.get("conditional") else "unconditional"
    metrics = [
        {
            "type": key,
            "value": scores[key],
            "spread": scores["spread"].get(key),
            "real": scores["real"][key],
            "measure": scores["measure"],
        }
        for key in CARD_METRICS
        if key in scores
    ]
    result = {
        "task": {"type": f"{task}-image-generation"},
        "dataset": {
            "type": "fashion_mnist" if is_fashion else "own",
            "name": info.data.name,
            "split": "test",
        },
        "metrics": metrics,
    }
    card = {
        "license": "mit",
        "tags": ["gan"] + ["fashion-mnist"] * is_fashion + ["image-generation"],
        "datasets": ["fashion_mnist"] * is_fashion,
        "model-index": [{"name": run.name, "results": [result]}],
    }
    form = {"default_flow_style": None, "width": 10_000}  # a line a figure
    return Markup(yaml.safe_dump(card, sort_keys=False, allow_unicode=True, **form))


def note(run: Run) -> str:
    """The run's description in MLflow, in Markdown: verdict, key figures, the command that runs it
    again."""
    return render("note.md", run)
