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
from fashion_gan.report import clock, rendered
from fashion_gan.run import Run, find

ROOT = Path(__file__).resolve().parents[1]
SHOWCASE = ROOT / "reports" / "showcase"
PICTURES = (
    "samples_by_class",
    "interpolations",
    "truncation",
    "nearest",
    "nearest_distances",
    "alike",
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
    others = {file: (SHOWCASE / file).read_bytes() for file in ("seeds.json", "benchmarks.json", "speed.png") if (SHOWCASE / file).exists()}
    shutil.rmtree(SHOWCASE, ignore_errors=True)
    (SHOWCASE / "images").mkdir(parents=True)
    found = model.load_generator(run.folder / model.FILE)
    model.save_network(SHOWCASE / model.FILE, found.generator, found.params, half=True)
    model.save_network(SHOWCASE / model.DISCRIMINATOR, model.load_discriminator(run.folder), found.params, half=True)
    for file in ("scores.json", "training.json", "run.json", "metrics.jsonl"):
        shutil.copy(run.folder / file, SHOWCASE)
    epochs = [p.stem for p in sorted((run.folder / "images").glob("epoch_*.png"))]
    kept = [*PICTURES, *{epochs[i] for i in (0, len(epochs) // 4, len(epochs) // 2, -1)}]
    for picture in kept:
        shutil.copy(run.folder / "images" / f"{picture}.png", SHOWCASE / "images")
    described = read_json(run.folder / "images" / "descriptions.json")
    write_json(SHOWCASE / "images" / "descriptions.json", {k: v for k, v in described.items() if k in kept})
    for file, content in others.items():
        (SHOWCASE / file).write_bytes(content)
    write_text(SHOWCASE / "MODEL_CARD.md", rendered("model_card.md", Run(SHOWCASE)))


def spread(results: list[dict], key: str, digits: int) -> str:
    values = [r[key] for r in results if r[key] is not None]
    if not values:
        return "–"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


FIGURES = {  # name, and what it is called
    "distance": "Fréchet distance (lower is better)", "kernel_distance": "kernel distance (lower is better)", "precision": "precision",
    "recall": "recall", "density": "density", "coverage": "coverage", "label_accuracy": "label accuracy",
}  # fmt: skip
SIGNS = {"close_train": "close to a training image", "memorised": "memorised (estimate)", "repeated": "close to another sample"}


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
    return "\n".join([*lines, *seeds_told(), *benchmarks_told()]) + "\n"


def seconds(profile: str, images: int, speed: dict) -> float:
    """Of training on 2 idle cores: the default's Fréchet loss, which costs speed, begins at 100,000 images."""
    before = 100_000 if profile == "default" else 0
    return before / speed["default_before"] + (images - before) / speed[profile]


def seeds_told() -> list[str]:
    seeds, benchmarks = read_json(SHOWCASE / "seeds.json"), read_json(SHOWCASE / "benchmarks.json")
    lines = [
        "",
        f"Three seeds of each profile, mean ± standard deviation; fresh real images have a distance of {seeds[0]['floor']:.4f}, a precision of "
        f"{seeds[0]['real_precision']:.3f}, a recall of {seeds[0]['real_recall']:.3f} and a label accuracy of {seeds[0]['real_label_accuracy']:.3f}:",
        "",
        "| profile | images seen | seconds | Fréchet distance | precision | recall | label accuracy | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ("default", "baseline_dcgan"):
        some = [r for r in seeds if r["profile"] == name]
        figures = [spread(some, key, 3) for key in ("distance", "precision", "recall", "label_accuracy")]
        time = seconds(name, some[0]["images"], benchmarks["speed"])
        command = f"`python benchmarks/quality.py params/{name}.yaml --seeds 0 1 2`"
        lines.append(f"| {name} | {some[0]['images']:,} | {time:.0f} | {' | '.join(figures)} | {command} |")
    return [*lines, "", "Length counts images, so the seconds are those of the speeds below, on 2 idle cores."]


def benchmarks_told() -> list[str]:
    found = read_json(SHOWCASE / "benchmarks.json")
    speed, run, evaluate = found["speed"], found["fashion-gan run params/default.yaml"], found["fashion-gan evaluate samples.npz"]
    return [
        "",
        f"Speed on 2 CPU cores (`{speed['command']}`, medians of interleaved turns): a whole training step, without the Fréchet loss, costs "
        f"{speed['step']:.2f} times its bare arithmetic; a batch of the loader takes 1/{speed['loader']:.0f} of the time of torchvision's FashionMNIST behind a "
        f"DataLoader; default {speed['default_before']:,.0f} images a second, {speed['default']:,.0f} with the Fréchet loss, baseline_dcgan {speed['baseline_dcgan']:,.0f}.",
        "",
        f"Time and peak memory of all processes: the whole default run {clock(run['seconds'])} and {run['gigabytes']:.2f} GB (`{run['command']}`); "
        f"measuring 10,000 images {clock(evaluate['seconds'])} and {evaluate['gigabytes']:.2f} GB (`{evaluate['command']}`).",
    ]


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
