"""HTML of executed notebooks, the run's index page, the page of pictures over the epochs, the model card: figures and files
from here, words and layout from static/."""

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fashion_gan.files import read_json, write_text
from fashion_gan.run import Run

FRAMES = 40  # pictures in the epoch slider at most; of longer runs every k-th, and the last
PICTURES = ("samples_by_class", "ladder", "losses", "confusion_test", "distance", "nearest", "worst")  # on the index page, in this order
STATIC = Path(__file__).parent / "static"


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def rendered(template: str, run: Run, **values: Any) -> str:
    """A template of static/ for a run. Pages load nothing: their Content-Security-Policy allows inlined pictures, styles
    and, by its digest, one `script`: the slider's where there are `frames`."""
    loader = jinja2.FileSystemLoader(STATIC)
    templates = jinja2.Environment(loader=loader, autoescape=jinja2.select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    style, script = (Markup((STATIC / name).read_text(encoding="utf-8")) for name in ("report.css", "slider.js"))
    script = values.pop("script", script)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scores, last = run.read_json("scores"), {point["name"]: point["value"] for point in run.metrics()}
    lenses = {name: read_json(STATIC.parent / "weights" / f"{name}.json") for name in ("features", "agreement")}
    known = {
        "lenses": lenses,
        "run": run,
        "info": run.info,
        "scores": scores,
        "last": last,
        "frames": [],
        "explorer": "",
        "clock": clock,
        "markdown": markdown,
    }
    return templates.get_template(template).render(known | {"style": style, "script": script, "script_digest": digest} | values)


def markdown(text: str) -> Markup:
    from nbconvert.filters import markdown2html

    return Markup(markdown2html(text))


def notebook_body(path: Path) -> Markup:
    """An executed notebook's prose and outputs as HTML, without its code."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # a widget needs a kernel and a script
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})]
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_input_prompt=True)
    return Markup(exporter.from_notebook_node(notebook)[0])


def write_notebook_html(run: Run, notebook: Path) -> Path | None:
    """<run>/<notebook>.html beside the folder of notebooks; None where papermill left no notebook."""
    if not notebook.exists():
        return None
    target = run.folder / f"{notebook.stem}.html"
    write_text(target, rendered("notebook.html", run, title=notebook.stem, notebook=notebook_body(notebook)))
    return target


def write_explorer(run: Run, info: dict[str, Any], numbers: bytes, code: str = "") -> Path:
    """<run>/explorer.html: the explorer's static twin, of what export.payload gave; it begins at `code`. Returns its path."""
    data = {"info": info, "numbers": base64.b64encode(numbers).decode(), "code": code, "page": True}
    script, host = ((STATIC / name).read_text(encoding="utf-8") for name in ("explorer.js", "host.js"))
    script = Markup("{" + script.replace("export default", "const page =") + host + "}")
    told = Markup(json.dumps(data).replace("<", "\\u003c"))
    write_text(run.folder / "explorer.html", rendered("explorer.html", run, explorer=told, script=script))
    return run.folder / "explorer.html"


def embedded(path: Path) -> str:
    """An image file's content as the source of an <img>."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def frames_of(run: Run) -> list[tuple[int, str]]:
    """The pictures of the epochs for the slider: the epoch, the embedded image."""
    paths = sorted((run.folder / "images").glob("epoch_*.png"))
    every = max(1, math.ceil(len(paths) / FRAMES))
    return [(int(p.stem[6:]), embedded(p)) for p in sorted({*paths[::every], *paths[-1:]})]


def pictures_of(run: Run) -> list[dict[str, Any]]:
    """The pictures of the index page: source, alternative text, width in page pixels."""
    described = run.folder / "images" / "descriptions.json"
    known = read_json(described) if described.exists() else {}  # a kill may fall between a picture and its words
    paths = [path for name in PICTURES if (path := run.folder / "images" / f"{name}.png").exists()]
    return [{"alt": p.stem, "width": 560} | known.get(p.stem, {}) | {"source": embedded(p)} for p in paths]


def write_report(run: Run) -> Path:
    """index.html, epochs.html and, where something was measured, MODEL_CARD.md (after Mitchell et al. 2019). Returns the index."""
    if run.read_json("scores"):
        write_text(run.folder / "MODEL_CARD.md", rendered("model_card.md", run))
    frames, notebooks = frames_of(run), sorted((run.folder / "notebooks").glob("*.ipynb"))
    if frames:
        write_text(run.folder / "epochs.html", rendered("epochs.html", run, frames=frames))
    bodies = {p.stem: unique_ids(notebook_body(p), p.stem) for p in notebooks}
    write_text(
        run.folder / "index.html",
        rendered(
            "index.html", run, frames=frames, playable=(run.folder / "explorer.html").exists(), pictures=pictures_of(run), notebooks=bodies
        ),
    )
    return run.folder / "index.html"


def unique_ids(body: str, prefix: str) -> Markup:
    """Several notebooks on one page: their headings' ids must not meet."""
    return Markup(re.sub(r'(id="|href="#)', rf"\g<1>{prefix}-", body))


def note(run: Run) -> str:
    """The run's description in MLflow, in Markdown: verdict, key figures, the command that runs it again."""
    return rendered("note.md", run)
