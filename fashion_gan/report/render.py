"""Pages and texts of a run from the templates, and the explorer's static twin for them."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fashion_gan.config.settings import working_root
from fashion_gan.data.datasets import dataset_info
from fashion_gan.errors import UserError
from fashion_gan.files import read_json, write_text
from fashion_gan.models.feature_network import WEIGHTS, networks_dir
from fashion_gan.report import markdown
from fashion_gan.runs.record import FASHION_MNIST, RunInfo
from fashion_gan.runs.run import Run
from fashion_gan.text import duration

TEMPLATES = Path(__file__).parent / "templates"
EXPLORER = Path(__file__).parents[1] / "explorer" / "static"


def render(template: str, run: Run, **values: Any) -> str:
    """A template for a run: an HTML page, or a Markdown text. Values are text: in pages they are
    escaped for HTML, in texts for Markdown. Pages load nothing: their Content-Security-Policy
    allows inlined pictures, styles and, by its digest, one script: the slider's and, where there is
    a `twin`, the explorer's. Raises UserError where the run's record is not what a report needs."""
    context = _record(run) | values
    if template.endswith(".html"):
        context |= _page_parts(context)
    with sound_record(run):
        return _rendered(template, context)


def _rendered(template: str, context: dict[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=None if template.endswith(".html") else markdown.escape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(context)


@contextlib.contextmanager
def sound_record(run: Run) -> Iterator[None]:
    """What a report reads of a run is what it should be. Raises UserError where it is not."""
    try:
        yield
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise UserError(
            f"{run.folder} holds a record that no report can be made from ({error}); measure it"
            f" again: fashion-gan resume {run.name}"
        ) from error


def _record(run: Run) -> dict[str, Any]:
    info = run.info
    return {
        "lenses": _lenses(info),
        "data": info.data,
        "run": run,
        "info": info,
        "scores": run.read_json("scores"),
        "swept": run.read_json("swept"),
        "last": run.last(),
        "duration": duration,
        "code": markdown.code_span,
    }


def _lenses(info: RunInfo) -> dict[str, Any]:
    """What is known of the feature networks for the run's data set, which lies where its
    parameters say."""
    data_dir = working_root() / str(info.params.get("data_dir", "data"))
    if info.data.name == FASHION_MNIST.name:
        folder = WEIGHTS
    elif dataset_info(data_dir).name == info.data.name:
        folder = networks_dir(data_dir)
    else:
        return {}
    paths = [folder / f"{stem}.json" for stem in ("features", "agreement", "plain")]
    return {path.stem: read_json(path) for path in paths if path.exists()}


def _page_parts(context: dict[str, Any]) -> dict[str, Any]:
    """Styles and scripts of a page, and how it shows a Markdown text."""
    styles = [TEMPLATES / "report.css"]
    scripts = [TEMPLATES / "slider.js"]
    if context.get("twin"):
        styles.append(EXPLORER / "explorer.css")
        scripts += [EXPLORER / "explorer.js", EXPLORER / "host.js"]
    script = "".join(_in_block(path) for path in scripts)
    return {
        "text": lambda template: markdown.to_html(_rendered(template, context)),
        "style": Markup("".join(path.read_text(encoding="utf-8") for path in styles)),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _in_block(path: Path) -> str:
    """A module's code in a block of its own, for a page that loads no modules."""
    code = path.read_text(encoding="utf-8").replace("export default", "var page =")
    return "{" + code + "}"


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
