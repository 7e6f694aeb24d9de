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
from pathlib import Path

import jinja2

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.files import read_json, write_json, write_text
from fashion_gan.metrics.distances import FIGURES
from fashion_gan.models.serialization import (
    DISCRIMINATOR,
    GENERATOR,
    load_discriminator,
    load_generator,
    save_network,
)
from fashion_gan.report.pages import model_card
from fashion_gan.runs.run import Run
from fashion_gan.text import duration

ROOT = Path(__file__).resolve().parents[1]
SHOWCASE = ROOT / "reports" / "showcase"
FASHION_GAN = str(Path(sys.executable).parent / "fashion-gan")
PROFILES = ("default", "baseline_dcgan")
SEEDS = (0, 1, 2)
# what is not of the run that is shown
KEPT = (
    "seeds.json",
    "others.json",
    "benchmarks.json",
    "gpu.json",
    "own_sets.json",
    "speed.png",
    "sweep.html",
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
SHOWN = {name: figure for name, figure in FIGURES.items() if name != "unevenness"}
SIGNS = {
    "close_train": "close to a training image",
    "memorised": "memorised (estimate)",
    "repeated": "close to another sample",
}
MARKS = re.compile(
    r"(<!-- results: made by scripts/showcase.py -->\n).*?(<!-- end of results -->)", re.DOTALL
)


def start_run(profile: str, seed: int) -> subprocess.Popen[bytes] | None:
    """A run of README's table, with one core to itself, begun or resumed; None where it is
    finished."""
    name = f"{profile}-{seed}"
    words = ["resume", name]
    if not (ROOT / "reports" / name).exists():
        overrides = ["-p", f"seed={seed}"] if seed else []
        words = ["run", f"params/{profile}.yaml", *overrides, "--name", name]
    elif find_run(name).info.status == "FINISHED":
        return None
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([FASHION_GAN, *words], cwd=ROOT, env=environment)


def train() -> list[Run]:
    """The runs of README's table, the profiles of a seed beside each other."""
    for seed in SEEDS:
        processes = [start_run(profile, seed) for profile in PROFILES]
        codes = [process.wait() for process in processes if process]
        if any(codes):
            raise SystemExit("a run failed; its own words are above; run this again to go on")
    return [find_run(f"{profile}-{seed}") for profile in PROFILES for seed in SEEDS]


def summarize_run(run: Run) -> dict:
    """What README says of a run beside the one that it shows."""
    tags = run.info.tags
    last = run.last()
    scores = run.read_json("scores")
    summary = {
        "profile": run.info.profile,
        "seed": run.info.params["seed"],
        "command": tags["command"],
        "hardware": tags["hardware"],
        "images": last["images"],
        "seconds": last["seconds"],
    }
    names = ("memorised", "warnings", *SHOWN)
    return summary | {name: scores[name] for name in names if name in scores}


def keep_beside(run: Run) -> None:
    """others.json: a run of each further profile, the last that was given."""
    path = SHOWCASE / "others.json"
    summaries = read_json(path) if path.exists() else []
    by_profile = {summary["profile"]: summary for summary in [*summaries, summarize_run(run)]}
    write_json(path, [by_profile[profile] for profile in sorted(by_profile)])


def compare(runs: list[Run]) -> None:
    """seeds.json, and the pictures of 06_compare."""
    write_json(SHOWCASE / "seeds.json", [summarize_run(run) for run in runs])
    folder = ROOT / "reports" / "comparison"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(
        [FASHION_GAN, "compare", *(run.name for run in runs), "--html", str(folder)],
        cwd=ROOT,
        check=True,
    )
    for name in ("by_images.png", "by_seconds.png"):
        shutil.copy(folder / "images" / name, SHOWCASE)


def make_showcase(name: str) -> None:
    """Copy what the showcase keeps; weights as float16, so that both networks take less than 2
    MB."""
    run = find_run(name)
    if run.info.status != "FINISHED":
        raise SystemExit(f"run {run.name} is {run.info.status}, not FINISHED")
    paths = [SHOWCASE / file for file in KEPT]
    kept = {path: path.read_bytes() for path in paths if path.exists()}
    shutil.rmtree(SHOWCASE, ignore_errors=True)
    (SHOWCASE / "images").mkdir(parents=True)
    model = load_generator(run.folder / GENERATOR)
    discriminator = load_discriminator(run.folder)
    save_network(SHOWCASE / GENERATOR, model.generator, model.params, half=True)
    save_network(SHOWCASE / DISCRIMINATOR, discriminator, model.params, half=True)
    for file in ("scores.json", "training.json", "run.json", "metrics.jsonl"):
        shutil.copy(run.folder / file, SHOWCASE)
    copy_pictures(run.folder / "images", SHOWCASE / "images")
    for path, content in kept.items():
        path.write_bytes(content)
    write_text(SHOWCASE / "MODEL_CARD.md", model_card(Run(SHOWCASE)))


def copy_pictures(source: Path, target: Path) -> None:
    epochs = [path.stem for path in sorted(source.glob("epoch_*.png"))]
    shown = {epochs[i] for i in (0, len(epochs) // 4, len(epochs) // 2, -1)} | {*PICTURES}
    for picture in shown:
        shutil.copy(source / f"{picture}.png", target)
    descriptions = read_json(source / "descriptions.json")
    write_json(
        target / "descriptions.json",
        {name: words for name, words in descriptions.items() if name in shown},
    )


def spread(results: list[dict], key: str) -> str:
    """Mean and standard deviation of a figure over runs, as far as they have it."""
    values = [result[key] for result in results if result.get(key) is not None]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def on_two_cores(profile: str, images: float) -> float:
    """Seconds of training by speeds measured on 2 idle cores: before the Fréchet loss sets in, and
    with it where there is one."""
    speed = read_json(SHOWCASE / "benchmarks.json")["speed"]
    before = Params().frechet_start
    with_frechet = images - before
    return before / speed.get(f"{profile}_before", speed[profile]) + with_frechet / speed[profile]


def results() -> str:
    """README's results, in Markdown, from the showcase's JSON alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "scripts"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    benchmarks = read_json(SHOWCASE / "benchmarks.json")
    default = "fashion-gan run params/default.yaml"
    profiles: dict[str, list[dict]] = {}
    for summary in read_json(SHOWCASE / "seeds.json"):
        profiles.setdefault(summary["profile"], []).append(summary)
    return environment.get_template("results.md").render(
        run=Run(SHOWCASE),
        last=Run(SHOWCASE).last(),
        scores=read_json(SHOWCASE / "scores.json"),
        figures=SHOWN,
        signs=SIGNS,
        profiles=profiles,
        others=read_json(SHOWCASE / "others.json"),
        own_sets=read_json(SHOWCASE / "own_sets.json"),
        gpu=read_json(SHOWCASE / "gpu.json"),
        speed=benchmarks["speed"],
        whole=next(benchmarks[name] for name in benchmarks if name.startswith(default)),
        evaluate=benchmarks["fashion-gan evaluate samples.npz"],
        duration=duration,
        spread=spread,
        on_two_cores=on_two_cores,
    )


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
        make_showcase(args.run)
    if args.beside:
        keep_beside(find_run(args.beside))
    write_readme()


if __name__ == "__main__":
    main()
