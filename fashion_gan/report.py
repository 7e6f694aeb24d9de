"""HTML of executed notebooks, the run's index page, the page of pictures over the epochs, the model card."""

import base64
import hashlib
import html
import math
import re
from pathlib import Path
from string import Template
from typing import Any

from fashion_gan.files import read_json, write_text
from fashion_gan.run import Run

FRAMES = 40  # pictures in the epoch slider at most; of longer runs every k-th, and the last
STATIC = Path(__file__).parent / "static"


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def page(title: str, body: str, script: str = "") -> str:
    """A whole HTML page that loads nothing: its Content-Security-Policy allows inlined pictures, styles, this script."""
    allowed = f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if script else ""
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'{allowed}; base-uri 'none'; form-action 'none'"
    parts = {"policy": policy, "title": html.escape(title), "style": _static("report.css"), "body": body}
    parts["script"] = f"<script>{script}</script>" if script else ""
    return Template(_static("page.html")).substitute(parts)


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def notebook_body(path: Path) -> str:
    """An executed notebook's prose and outputs as HTML, without its code."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(path, as_version=4)
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_input_prompt=True)
    return exporter.from_notebook_node(notebook)[0]


def write_notebook_html(run: Run, notebook: Path) -> Path | None:
    """<run>/<notebook>.html beside the folder of notebooks; None where papermill left no notebook."""
    if not notebook.exists():
        return None
    target = run.folder / f"{notebook.stem}.html"
    back = '<p class="back"><a href="index.html">← the whole report</a></p>'
    write_text(target, page(f"{notebook.stem} · {run.name}", back + notebook_body(notebook)))
    return target


def embedded(path: Path, alt: str, **attributes: str) -> str:
    """An image file as an <img> with its content inside."""
    extra = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f'<img src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" alt="{html.escape(alt)}"{extra}>'


def slider(run: Run) -> str:
    """The pictures of the epochs, all inside, with a slider; without scripts the last one shows. "" where there are none."""
    paths = sorted((run.folder / "images").glob("epoch_*.png"))
    if not paths:
        return ""
    every = math.ceil(len(paths) / FRAMES)
    paths = sorted({*paths[::every], paths[-1]})
    epochs, last = [str(int(p.stem[6:])) for p in paths], len(paths) - 1
    marked = [{"alt": f"100 generated garments after epoch {e}", "class": "frame", "data-epoch": e} for e in epochs]
    frames = "".join(embedded(path, **about) for path, about in zip(paths, marked, strict=True))
    return (
        f'<figure class="slider"><div>{frames}</div><label>epoch <output>{epochs[-1]}</output>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="epoch of the picture"></label>'
        "<figcaption>The same 100 latents after each epoch, a row a class where the model is conditional. Drag to see them take shape.</figcaption></figure>"
    )


def verdict(run: Run) -> str:
    """The first sentence of the report: how good it is, or what went wrong."""
    info, scores = run.info, run.read_json("scores")
    if info["status"] in ("FAILED", "KILLED"):
        return f"{info['status']}: {info.get('reason', '')}. Go on with: fashion-gan resume {run.name}"
    if info["status"] == "RUNNING":
        return "Still running."
    if not scores:
        return "Finished; nothing was measured (03_evaluate is not among its notebooks)."
    times = scores["distance"] / max(scores["floor"], 1e-12)
    words = f"Fréchet distance {scores['distance']:.3f}, {times:.0f} times that of fresh real images ({scores['floor']:.4f})."
    if scores.get("label_accuracy") is not None:
        words += f" A classifier sees the class that was asked for in {100 * scores['label_accuracy']:.0f} of 100 garments (real images: {100 * scores['real_label_accuracy']:.0f})."
    return words


def figures_table(run: Run) -> list[tuple[str, str, str]]:
    """Key figures: name, value, how to read it."""
    scores, train = run.read_json("scores"), {p["name"]: p["value"] for p in run.metrics()}
    rows = []
    if scores:
        d = scores["discriminator"]
        rows += [
            ("Fréchet distance", f"{scores['distance']:.3f}", f"lower is better; fresh real images give {scores['floor']:.4f} (judge network, {scores['samples']:,} images, test split)"),
            ("Precision", f"{scores['precision']:.2f}", f"share of garments that look real; real images give {scores['real_precision']:.2f}"),
            ("Recall", f"{scores['recall']:.2f}", f"share of real variety that is reached; real images give {scores['real_recall']:.2f}"),
            ("Discriminator accuracy", f"{100 * d['accuracy']:.1f} %", "on the test split against fresh fakes; 50 % is a coin"),
        ]  # fmt: skip
        if scores.get("label_accuracy") is not None:
            rows.insert(3, ("Label accuracy", f"{scores['label_accuracy']:.3f}", f"real images give {scores['real_label_accuracy']:.3f}"))
    if "images" in train:
        rows += [("Training", clock(train["seconds"]), f"{train['images']:,.0f} images seen, {train['images_per_s']:,.0f} a second")]
    return rows


METHOD = (
    "Distances are taken in the features of the <i>judge</i>, a small classifier of Fashion-MNIST that took no part in "
    "training; the best checkpoint was chosen by another one, <i>dev</i>, on the validation split. The test split is only reported."
)


def method(run: Run) -> str:
    words = METHOD
    if run.info["params"].get("feature_loss"):
        words += " The generator's objective looks through a third one, <i>train</i>, beside the discriminator: its figures are not those of a plain GAN."
    return words


def write_report(run: Run) -> Path:
    """index.html, epochs.html and, where something was measured, MODEL_CARD.md. Returns the index."""
    write_card(run)
    frames, script = slider(run), _static("slider.js")
    if frames:
        write_text(run.folder / "epochs.html", page(f"pictures over the epochs · {run.name}", f"<h1>{run.name}</h1>{frames}", script))
    info, described = run.info, run.folder / "images" / "descriptions.json"
    pictures = read_json(described) if described.exists() else {}
    status = info["status"].lower()
    rows = "".join(f"<tr><th>{n}</th><td>{v}</td><td>{html.escape(how)}</td></tr>" for n, v, how in figures_table(run))
    body = [f'<h1>{html.escape(run.name)} <span class="status {status}">{status}</span></h1>']
    body += [f'<p class="verdict">{html.escape(verdict(run))}</p>']
    body += [f'<div class="wide"><table class="figures">{rows}</table></div>' if rows else "", f"<p>{method(run)}</p>", frames]
    for name in ("samples_by_class", "losses", "confusion_test", "distance", "nearest"):
        path = run.folder / "images" / f"{name}.png"
        if path.exists():
            about_it = pictures.get(name, {"alt": name, "width": 560})  # a kill may fall between a picture and its words
            image = embedded(path, about_it["alt"], width=str(about_it["width"]))
            body.append(f"<figure>{image}<figcaption>{html.escape(about_it['alt'])}</figcaption></figure>")
    for path in sorted((run.folder / "notebooks").glob("*.ipynb")):
        is_open = " open" if status in ("failed", "killed") and path.stem in info.get("reason", "") else ""
        shown = unique_ids(notebook_body(path), path.stem)
        body.append(f'<details{is_open}><summary>{path.stem}</summary><div class="notebook">{shown}</div></details>')
    body.append(about(info))
    write_text(run.folder / "index.html", page(f"{run.name} · fashion-gan", "\n".join(body), script))
    return run.folder / "index.html"


def unique_ids(body: str, prefix: str) -> str:
    """Several notebooks on one page: their headings' ids must not meet."""
    return re.sub(r'(id="|href="#)', rf"\g<1>{prefix}-", body)


def about(info: dict[str, Any]) -> str:
    parts = []
    for title, values in (("Parameters", info["params"]), ("Where it came from", info["tags"])):
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in sorted(values.items()))
        parts.append(f'<details><summary>{title}</summary><div class="wide"><table>{rows}</table></div></details>')
    return "".join(parts) + f"<p>Run it again: <code>{html.escape(info['tags']['command'])}</code></p>"


def markdown_rows(run: Run) -> str:
    return "\n".join(f"| {name} | {value} | {how} |" for name, value, how in figures_table(run))


def note(run: Run) -> str:
    """The run's description in MLflow, in Markdown: verdict, key figures, the command that runs it again."""
    info, rows = run.info, markdown_rows(run)
    table = f"\n\n| figure | value | how to read it |\n|---|---|---|\n{rows}" if rows else ""
    where = f"Run folder: `reports/{run.name}`. Under Artifacts `index.html` is the report, `epochs.html` the pictures over the epochs."
    return f"{verdict(run)}{table}\n\nRun it again: `{info['tags']['command']}` at commit `{info['tags']['git_commit'][:12]}`.\n\n{where}"


def write_card(run: Run) -> None:
    """MODEL_CARD.md, after Mitchell et al. 2019: what it is, how it was made, how good, where its limits are."""
    if not run.read_json("scores"):
        return
    info, rows = run.info, markdown_rows(run)
    kind = "conditional (ask for one of ten classes)" if info["params"]["conditional"] else "unconditional"
    parts = {"name": run.name, "kind": kind, "verdict": verdict(run), "rows": rows, "method": re.sub(r"</?i>", "*", method(run))}
    parts |= {"command": info["tags"]["command"], "commit": info["tags"]["git_commit"][:12], "seed": info["params"]["seed"]}
    write_text(run.folder / "MODEL_CARD.md", Template(_static("model_card.md")).substitute(parts))
