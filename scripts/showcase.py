"""Make reports/showcase from a finished run, and README's results from reports/showcase.

python scripts/showcase.py latest          both
python scripts/showcase.py --readme        only README, from what the showcase holds
"""

import argparse
import json
import re
import shutil
import statistics
from pathlib import Path

from fashion_gan import model
from fashion_gan.files import read_json, write_json, write_text
from fashion_gan.report import clock
from fashion_gan.run import find

ROOT = Path(__file__).resolve().parents[1]
SHOWCASE = ROOT / "reports" / "showcase"
PICTURES = (
    "samples_by_class",
    "interpolations",
    "truncation",
    "nearest",
    "nearest_distances",
    "losses",
    "distance",
    "accuracy",
    "confusion_test",
    "classes",
    "ladder",
    "worst",
)
MARKS = re.compile(r"(<!-- results: made by scripts/showcase.py -->\n).*?(<!-- end of results -->)", re.DOTALL)


def make(name: str) -> None:
    """Copy what the showcase keeps; weights as float16, so that both networks take less than 2 MB."""
    run = find(name)
    if run.info["status"] != "FINISHED":
        raise SystemExit(f"run {run.name} is {run.info['status']}, not FINISHED")
    seeds = read_json(SHOWCASE / "seeds.json") if (SHOWCASE / "seeds.json").exists() else []
    shutil.rmtree(SHOWCASE, ignore_errors=True)
    (SHOWCASE / "images").mkdir(parents=True)
    found = model.load_generator(run.folder / model.FILE)
    model.save_network(SHOWCASE / model.FILE, found.generator, found.params, half=True)
    model.save_network(SHOWCASE / model.DISCRIMINATOR, model.load_discriminator(run.folder), found.params, half=True)
    for file in ("scores.json", "training.json", "run.json", "metrics.jsonl", "MODEL_CARD.md"):
        shutil.copy(run.folder / file, SHOWCASE)
    epochs = [p.stem for p in sorted((run.folder / "images").glob("epoch_*.png"))]
    kept = [*PICTURES, *{epochs[i] for i in (0, len(epochs) // 4, len(epochs) // 2, -1)}]
    for picture in kept:
        shutil.copy(run.folder / "images" / f"{picture}.png", SHOWCASE / "images")
    described = read_json(run.folder / "images" / "descriptions.json")
    write_json(SHOWCASE / "images" / "descriptions.json", {k: v for k, v in described.items() if k in kept})
    write_json(SHOWCASE / "seeds.json", seeds)


def spread(results: list[dict], key: str, digits: int) -> str:
    values = [r[key] for r in results if r[key] is not None]
    if not values:
        return "–"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


FIGURES = {  # name, and what it is called
    "distance": "Fréchet distance (lower is better)", "kernel_distance": "kernel distance (lower is better)", "precision": "precision",
    "recall": "recall", "density": "density", "coverage": "coverage", "label_accuracy": "label accuracy",
}  # fmt: skip
SIGNS = {"close_train": "close to a training image", "memorised": "copies (estimate)", "repeated": "close to another sample"}


def rows(scores: dict) -> list[str]:
    """Rows of a table: a figure with its spread over the draws, and real images'."""
    real, spread = scores["real"], scores["spread"]
    found = [f"| {name} | {scores[key]:.4f} ± {spread[key]:.4f} | {real[key]:.4f} |" for key, name in FIGURES.items()]
    shares = {key: [100 * value for value in scores[key]] for key in SIGNS}
    return found + [
        f"| {SIGNS[k]} | {p:.1f} % ({low:.1f} to {high:.1f}) | {100 * real[k][0]:.1f} % |" for k, (p, low, high) in shares.items()
    ]


def results() -> str:
    """README's results, in Markdown, from the showcase's JSON alone."""
    scores, run = read_json(SHOWCASE / "scores.json"), read_json(SHOWCASE / "run.json")
    last = {p["name"]: p["value"] for p in map(json.loads, (SHOWCASE / "metrics.jsonl").read_text().splitlines())}
    judged = scores["discriminator"]
    (rr, rf), (fr, ff) = judged["confusion_percent"]
    lines = [
        f"One run, `{run['tags']['command']}` (seed {run['params']['seed']}): {last['images']:,.0f} images seen in {clock(last['seconds'])} of training "
        f"on 2 CPU cores. {scores['draws']} draws of {scores['samples']:,} samples against the test split, through the *judge*; the same of fresh real images:",
        "",
        "| figure | generated | real |",
        "|---|---|---|",
        *rows(scores),
        "",
        f"The distance is that of {scores['like']}. {' '.join(scores['warnings']) or 'No sign of memorising or repeating.'}",
        "",
        f"The discriminator on the test split: accuracy {100 * judged['accuracy']:.1f} %, confusion matrix in per cent:",
        "",
        "| | judged real | judged fake |",
        "|---|---|---|",
        f"| real | {rr:.1f} | {rf:.1f} |",
        f"| fake | {fr:.1f} | {ff:.1f} |",
    ]
    seeds = read_json(SHOWCASE / "seeds.json")
    if seeds:
        lines += [
            "",
            "Three seeds of each profile (`python benchmarks/quality.py params/PROFILE.yaml --seeds 0 1 2`), mean ± standard deviation:",
            "",
        ]
        lines += ["| profile | images seen | Fréchet distance | precision | recall | label accuracy |", "|---|---|---|---|---|---|"]
        for name in ("default", "baseline_dcgan"):
            some = [r for r in seeds if r["profile"] == name]
            figures = [spread(some, key, 3) for key in ("distance", "precision", "recall", "label_accuracy")]
            lines.append(f"| {name} | {some[0]['images']:,} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def write_readme() -> None:
    path = ROOT / "README.md"
    write_text(path, MARKS.sub(lambda m: m[1] + results() + m[2], path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--readme", action="store_true")
    args = parser.parse_args()
    if args.run:
        make(args.run)
    write_readme()


if __name__ == "__main__":
    main()
