"""Pages and texts of a run from the templates in static/, and the explorer's static twin for them."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fashion_gan.files import read_json, write_text
from fashion_gan.run import Run

STATIC = Path(__file__).parent / "static"


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def rendered(template: str, run: Run, **values: Any) -> str:
    """A template of static/ for a run. Pages load nothing: their Content-Security-Policy allows inlined pictures, styles
    and, by its digest, one script: the slider's and, where there is a `twin`, the explorer's."""
    loader = jinja2.FileSystemLoader(STATIC)
    templates = jinja2.Environment(
        loader=loader, autoescape=jinja2.select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    parts = ["slider", *(["explorer", "host"] if values.get("twin") else [])]
    script = Markup(
        "".join(
            "{" + _static(f"{name}.js").replace("export default", "var page =") + "}"
            for name in parts
        )
    )
    style = Markup(_static("report.css") + (_static("explorer.css") if values.get("twin") else ""))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    scores, last = run.read_json("scores"), run.last()
    data = run.info.get(
        "data", {"name": "Fashion-MNIST", "shape": [1, 28, 28], "classes": [""] * 10}
    )
    paths = (
        Path(data.get("networks", STATIC.parent / "weights")) / f"{name}.json"
        for name in ("features", "agreement", "plain")
    )
    lenses = {path.stem: read_json(path) for path in paths if path.exists()}
    known = {
        "lenses": lenses,
        "data": data,
        "run": run,
        "info": run.info,
        "scores": scores,
        "swept": run.read_json("swept"),
        "last": last,
    }
    known |= {"frames": [], "twin": "", "clock": clock, "markdown": markdown}
    return templates.get_template(template).render(
        known | {"style": style, "script": script, "script_digest": digest} | values
    )


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def markdown(text: str) -> Markup:
    from nbconvert.filters import markdown2html

    return Markup(markdown2html(text))


def write_twin(run: Run, info: dict[str, Any], numbers: bytes, code: str = "") -> Path:
    """Keep in the run folder what the explorer's static twin is made of (see export.payload; it begins at `code`). Returns where it
    is seen: in the report that write_report makes, or, outside of a run, in explorer.html."""
    run.log_json(
        {
            "info": info,
            "numbers": base64.b64encode(numbers).decode(),
            "code": code,
            "page": True,
            "kernel": False,
        },
        "twin",
    )
    if run.info["status"] != "SCRATCH":
        return run.folder / "index.html"
    write_text(run.folder / "explorer.html", rendered("explorer.html", run, twin=twin_of(run)))
    return run.folder / "explorer.html"


def twin_of(run: Run) -> Markup:
    """The explorer's data as JSON that may stand in a page; "" where a run has none."""
    found = run.read_json("twin")
    return Markup(json.dumps(found, separators=(",", ":")).replace("<", "\\u003c") if found else "")
