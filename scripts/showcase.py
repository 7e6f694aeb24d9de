"""Make reports/showcase from a finished run, and README's results from reports/showcase.

python scripts/showcase.py --all           train three seeds of each profile of README's table
                                           (hours; what is there is not made again), compare them,
                                           and make the showcase from the best by the dev network
python scripts/showcase.py RUN             the showcase from this run, and README
python scripts/showcase.py --beside RUN    keep this run's figures in others.json, one run a
                                           profile, and write README
python scripts/showcase.py --readme        only README, from what the showcase holds
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
from itertools import groupby
from pathlib import Path

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.files import read_json, write_json, write_text
from fashion_gan.models.serialization import (
    DISCRIMINATOR,
    GENERATOR,
    load_discriminator,
    load_generator,
    save_network,
)
from fashion_gan.report.render import render
from fashion_gan.runs.run import Run
from fashion_gan.text import duration

ROOT = Path(__file__).resolve().parents[1]
SHOWCASE = ROOT / "reports" / "showcase"
COMPARED, SEEDS = ("default", "baseline_dcgan"), (0, 1, 2)
KEPT = (
    "seeds.json",
    "others.json",
    "benchmarks.json",
    "speed.png",
    "by_images.png",
    "by_seconds.png",
)
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
MARKS = re.compile(
    r"(<!-- results: made by scripts/showcase.py -->\n).*?(<!-- end of results -->)", re.DOTALL
)


def begun(profile: str, seed: int) -> subprocess.Popen[bytes] | None:
    """A run of README's table, with one core to itself, begun or gone on with; None where it is
    finished."""
    name, words = f"{profile}-{seed}", ["-p", f"seed={seed}"] if seed else []
    if not (ROOT / "reports" / name).exists():
        words = ["run", f"params/{profile}.yaml", *words, "--name", name]
    elif find_run(name).info.status != "FINISHED":
        words = ["resume", name]
    else:
        return None
    return subprocess.Popen(
        [FASHION_GAN, *words], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def train() -> list[Run]:
    """The runs of README's table, the profiles of a seed beside each other."""
    for seed in SEEDS:
        beside = [started for profile in COMPARED if (started := begun(profile, seed))]
        codes = [process.wait() for process in beside]
        if any(codes):
            raise SystemExit("a run failed; its own words are above; run this again to go on")
    return [find_run(f"{profile}-{seed}") for profile in COMPARED for seed in SEEDS]


def told(run: Run) -> dict:
    """What README tells of a run beside the one that it shows."""
    tags, last = run.info.tags, run.last()
    about = {
        "profile": run.info.profile,
        "seed": run.info.params["seed"],
        "command": tags["command"],
        "hardware": tags["hardware"],
    }
    found = about | {"images": last["images"], "seconds": last["seconds"]} | run.read_json("scores")
    return {key: value for key, value in found.items() if key in TOLD}


def keep_beside(run: Run) -> None:
    """others.json: a run of each further profile, the last that was given."""
    path = SHOWCASE / "others.json"
    others = [
        each
        for each in (read_json(path) if path.exists() else [])
        if each["profile"] != run.info.profile
    ]
    write_json(path, sorted([*others, told(run)], key=lambda each: each["profile"]))


def compare(runs: list[Run]) -> None:
    """seeds.json, and the pictures of 06_compare."""
    write_json(SHOWCASE / "seeds.json", [told(run) for run in runs])
    folder = ROOT / "reports" / "comparison"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [FASHION_GAN, "compare", *(run.name for run in runs), "--html", str(folder)],
        cwd=ROOT,
        check=True,
    )
    for name in ("by_images.png", "by_seconds.png"):
        shutil.copy(folder / "images" / name, SHOWCASE)


def make(name: str) -> None:
    """Copy what the showcase keeps; weights as float16, so that both networks take less than 2
    MB."""
    run = find_run(name)
    if run.info.status != "FINISHED":
        raise SystemExit(f"run {run.name} is {run.info.status}, not FINISHED")
    others = {file: (SHOWCASE / file).read_bytes() for file in KEPT if (SHOWCASE / file).exists()}
    shutil.rmtree(SHOWCASE, ignore_errors=True)
    (SHOWCASE / "images").mkdir(parents=True)
    found = load_generator(run.folder / GENERATOR)
    save_network(SHOWCASE / GENERATOR, found.generator, found.params, half=True)
    save_network(SHOWCASE / DISCRIMINATOR, load_discriminator(run.folder), found.params, half=True)
    for file in ("scores.json", "training.json", "run.json", "metrics.jsonl"):
        shutil.copy(run.folder / file, SHOWCASE)
    epochs = [p.stem for p in sorted((run.folder / "images").glob("epoch_*.png"))]
    kept = [*PICTURES, *{epochs[i] for i in (0, len(epochs) // 4, len(epochs) // 2, -1)}]
    for picture in kept:
        shutil.copy(run.folder / "images" / f"{picture}.png", SHOWCASE / "images")
    described = read_json(run.folder / "images" / "descriptions.json")
    write_json(
        SHOWCASE / "images" / "descriptions.json", {k: v for k, v in described.items() if k in kept}
    )
    for file, content in others.items():
        (SHOWCASE / file).write_bytes(content)
    write_text(SHOWCASE / "MODEL_CARD.md", render("model_card.md", Run(SHOWCASE)))


def spread(results: list[dict], key: str, digits: int) -> str:
    values = [r[key] for r in results if r.get(key) is not None]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


FIGURES = {  # name, and what it is called
    "distance": "Fréchet distance (lower is better)",
    "kernel_distance": "kernel distance (lower is better)",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "label_accuracy": "label accuracy",
}
# of a run, in seeds.json
TOLD = {
    "profile",
    "seed",
    "command",
    "hardware",
    "images",
    "seconds",
    "memorised",
    "warnings",
    *FIGURES,
}
FASHION_GAN = str(Path(sys.executable).parent / "fashion-gan")
SIGNS = {
    "close_train": "close to a training image",
    "memorised": "memorised (estimate)",
    "repeated": "close to another sample",
}


def rows(scores: dict) -> list[str]:
    """Rows of a table: a figure with its spread over the draws, and real images'."""
    real, spread = scores["real"], scores["spread"]
    found = [
        f"| {name} | {scores[key]:.4f} ± {spread[key]:.4f} | {real[key]:.4f} |"
        for key, name in FIGURES.items()
    ]
    shares = {key: [100 * value for value in scores[key]] for key in SIGNS}
    return found + [
        f"| {SIGNS[k]} | {p:.1f} % ({low:.1f} to {high:.1f}) | {100 * real[k][0]:.1f} % |"
        for k, (p, low, high) in shares.items()
    ]


def results() -> str:
    """README's results, in Markdown, from the showcase's JSON alone."""
    scores, run = read_json(SHOWCASE / "scores.json"), read_json(SHOWCASE / "run.json")
    last = Run(SHOWCASE).last()
    judged = scores["discriminator"]
    (rr, rf), (fr, ff) = judged["confusion_percent"]
    lines = [
        (
            f"One run, `{run['tags']['command']}` (seed {run['params']['seed']}):"
            f" {last['images']:,.0f} images seen in {duration(last['seconds'])} of training."
            f" {scores['draws']} draws of {scores['samples']:,} samples against the test split,"
            " through the *judge*; the same of fresh real images:"
        ),
        "",
        "| figure | generated | real |",
        "|---|---|---|",
        *rows(scores),
        "",
        (
            f"The distance is that of {scores['like']}."
            f" {' '.join(scores['warnings']) or 'No sign of memorising or repeating.'}"
        ),
        "",
        (
            f"The discriminator on the test split: accuracy {100 * judged['accuracy']:.1f} %,"
            " confusion matrix in per cent:"
        ),
        "",
        "| | judged real | judged fake |",
        "|---|---|---|",
        f"| real | {rr:.1f} | {rf:.1f} |",
        f"| fake | {fr:.1f} | {ff:.1f} |",
    ]
    return "\n".join([*lines, *seeds_told(), *others_told(), *benchmarks_told()]) + "\n"


def on_two_cores(profile: str, images: float, speed: dict) -> float:
    """Seconds of training by speeds measured on 2 idle cores: before the Fréchet loss sets in, and
    with it where there is one."""
    before = Params().frechet_start
    return (
        before / speed.get(f"{profile}_before", speed[profile]) + (images - before) / speed[profile]
    )


def seeds_told() -> list[str]:
    speed = read_json(SHOWCASE / "benchmarks.json")["speed"]
    lines = [
        "",
        (
            "Three seeds of each profile, mean ± standard deviation, measured as above. Each run"
            " had one core to itself (`OMP_NUM_THREADS=1`), a default beside a baseline; the"
            " seconds on two cores are those of the speeds below:"
        ),
        "",
        (
            "| profile | images seen | seconds on one core | on two | Fréchet distance | precision"
            " | recall | label accuracy | command |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, group in groupby(
        read_json(SHOWCASE / "seeds.json"), key=lambda each: each["profile"]
    ):
        some = list(group)
        figures = [
            spread(some, key, 3) for key in ("distance", "precision", "recall", "label_accuracy")
        ]
        times = (
            statistics.mean(each["seconds"] for each in some),
            on_two_cores(name, some[0]["images"], speed),
        )
        lines.append(
            f"| {name} | {some[0]['images']:,.0f} | {times[0]:.0f} | {times[1]:.0f} |"
            f" {' | '.join(figures)} | `{some[0]['command']}` |"
        )
    return [
        *lines,
        "",
        (
            "![Validation distance by seconds of training, a line a"
            " run](reports/showcase/by_seconds.png)"
        ),
    ]


def others_told() -> list[str]:
    lines = [
        "",
        (
            "One seed of each further profile, measured in the same way; seconds are those of"
            " training steps, without the looks after each epoch:"
        ),
        "",
        (
            "| profile | hardware | images seen | seconds | Fréchet distance | precision | recall |"
            " label accuracy | command |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in read_json(SHOWCASE / "others.json"):
        figures = [
            spread([each], key, 3) for key in ("distance", "precision", "recall", "label_accuracy")
        ]
        lines.append(
            f"| {each['profile']} | {each['hardware']} | {each['images']:,.0f} |"
            f" {each['seconds']:.0f} | {' | '.join(figures)} | `{each['command']}` |"
        )
    return lines


def benchmarks_told() -> list[str]:
    found = read_json(SHOWCASE / "benchmarks.json")
    speed, evaluate = found["speed"], found["fashion-gan evaluate samples.npz"]
    run = next(
        figures
        for command, figures in found.items()
        if command.startswith("fashion-gan run params/default.yaml")
    )
    return [
        "",
        (
            f"Speed on 2 CPU cores (`{speed['command']}`, medians of interleaved turns): a whole"
            f" training step, without the Fréchet loss, costs {speed['step']:.2f} times its bare"
            f" arithmetic; a batch of the loader takes 1/{speed['loader']:.0f} of the time of"
            " torchvision's FashionMNIST behind a DataLoader; default"
            f" {speed['default_before']:,.0f} images a second, {speed['default']:,.0f} with the"
            f" Fréchet loss, baseline_dcgan {speed['baseline_dcgan']:,.0f}."
        ),
        "",
        (
            "Time and peak memory of all processes: the whole default run"
            f" {duration(run['seconds'])} and {run['gigabytes']:.2f} GB"
            f" (`{run['command']}`); measuring 10,000 images"
            f" {duration(evaluate['seconds'])} and {evaluate['gigabytes']:.2f} GB"
            f" (`{evaluate['command']}`)."
        ),
    ]


def write_readme() -> None:
    path = ROOT / "README.md"
    write_text(path, MARKS.sub(lambda m: m[1] + results() + m[2], path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="?")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--beside", metavar="RUN")
    parser.add_argument("--readme", action="store_true")
    args = parser.parse_args()
    if args.all:
        runs = train()
        compare(runs)
        args.run = min(runs, key=lambda run: min(run.series("validation_distance")[1])).name
    if args.run:
        make(args.run)
    if args.beside:
        keep_beside(find_run(args.beside))
    write_readme()


if __name__ == "__main__":
    main()
