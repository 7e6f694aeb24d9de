"""Pages and texts of a run from the templates, and the explorer's static twin for them."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fashion_gan.files import read_json, write_text
from fashion_gan.models.feature_network import WEIGHTS
from fashion_gan.runs.run import Run
from fashion_gan.text import duration

TEMPLATES = Path(__file__).parent / "templates"
EXPLORER = Path(__file__).parents[1] / "explorer" / "static"
FASHION_MNIST = {"name": "Fashion-MNIST", "shape": [1, 28, 28], "classes": [""] * 10}


def render(template: str, run: Run, **values: Any) -> str:
    """A template for a run. Pages load nothing: their Content-Security-Policy allows inlined
    pictures, styles and, by its digest, one script: the slider's and, where there is a `twin`, the
    explorer's."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    escape = jinja2.select_autoescape()
    environment = jinja2.Environment(
        loader=loader, autoescape=escape, trim_blocks=True, lstrip_blocks=True
    )
    styles = [TEMPLATES / "report.css"]
    scripts = [TEMPLATES / "slider.js"]
    if values.get("twin"):
        styles.append(EXPLORER / "explorer.css")
        scripts += [EXPLORER / "explorer.js", EXPLORER / "host.js"]
    script = "".join(_in_block(path) for path in scripts)
    data = run.info.data or FASHION_MNIST
    networks = Path(data.get("networks", WEIGHTS))
    if data["name"] == FASHION_MNIST["name"] and not networks.is_dir():
        networks = WEIGHTS  # the run comes from another machine
    paths = [networks / f"{name}.json" for name in ("features", "agreement", "plain")]
    context = {
        "lenses": {path.stem: read_json(path) for path in paths if path.exists()},
        "data": data,
        "run": run,
        "info": run.info,
        "scores": run.read_json("scores"),
        "swept": run.read_json("swept"),
        "last": run.last(),
        "duration": duration,
        "markdown": markdown,
        "style": Markup("".join(path.read_text(encoding="utf-8") for path in styles)),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return environment.get_template(template).render(context | values)


def _in_block(path: Path) -> str:
    """A module's code in a block of its own, for a page that loads no modules."""
    code = path.read_text(encoding="utf-8").replace("export default", "var page =")
    return "{" + code + "}"


def markdown(text: str) -> Markup:
    from nbconvert.filters import markdown2html

    return Markup(markdown2html(text))


def export_static_explorer(run: Run, info: dict[str, Any], numbers: bytes, code: str = "") -> Path:
    """Keep in the run folder what the explorer's static twin is made of (see export.payload; it
    begins at `code`). Returns where it is seen: in the report that write_report makes, or, outside
    of a run, in explorer.html."""
    encoded = base64.b64encode(numbers).decode()
    payload = {"info": info, "numbers": encoded, "code": code, "page": True, "kernel": False}
    run.log_json(payload, "twin")
    return write_explorer(run) if run.info.status == "SCRATCH" else run.folder / "index.html"


def write_explorer(run: Run) -> Path:
    """explorer.html: the static twin as a page of its own."""
    page = run.folder / "explorer.html"
    write_text(page, render("explorer.html", run, twin=static_explorer(run)))
    return page


def static_explorer(run: Run) -> Markup:
    """The explorer's data as JSON that may stand in a page; "" where a run has none."""
    payload = run.read_json("twin")
    if not payload:
        return Markup("")
    return Markup(json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c"))
