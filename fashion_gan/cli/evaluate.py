"""fashion-gan evaluate"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from fashion_gan.catalog.generators import find_generator
from fashion_gan.cli import Between
from fashion_gan.cli import command as make_command
from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data import readers
from fashion_gan.data.datasets import dataset_dir, dataset_info
from fashion_gan.errors import UserError
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.metrics.inception import inception
from fashion_gan.models.feature_network import dataset_record
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.models.serialization import GENERATOR, Model

SHOWN = {
    "distance": "Fréchet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "label_accuracy": "label accuracy",
    "unevenness": "unevenness of classes",
    "close_train": "close to training",
    "close_train_features": "close in features",
    "memorised": "memorised",
    "repeated": "repeated",
}


@dataclass(frozen=True)
class Subject:
    """What is measured: `what` as it was given, the file with its labels, and the run or model
    whose data set it is held against ("" for Fashion-MNIST)."""

    what: str
    labels: str
    like: str
    draws: int

    def params(self) -> Params:
        """Parameters that name the data folder of the real images."""
        if not self.like:
            return Params()
        return Params(data_dir=str(dataset_dir(Params(), find_generator(self.like).params)))

    def images(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The images that a file or a folder holds, at most 10,000; None for a run or a model,
        which draws its own."""
        path = Path(self.what)
        info = dataset_info(dataset_dir(self.params()))
        if path.suffix == ".npz" or (path.is_file() and path.suffix != ".safetensors"):
            images, labels = readers.from_npz(path, info)
        elif path.is_dir() and not any((path / name).exists() for name in ("run.json", GENERATOR)):
            images, labels = readers.from_folder(path, info)
        else:
            if option := "--labels" if self.labels else "--like" if self.like else "":
                raise UserError(
                    f"{option} belongs to an .npz or a folder of PNGs; a run or a model asks for"
                    " its own classes, and has its own data"
                )
            return None
        if self.labels:
            labels = readers.labels_from(Path(self.labels), len(images), info)
        most = readers.MOST
        if info.is_packed:
            most = min(most, info.counts["validation"], info.counts["test"])
        if len(images) > most:
            say(f"{len(images):,} images: the first {most:,} are measured")
        has_labels = labels is not None and len(info.classes) > 1
        return images[:most], labels[:most] if has_labels else None

    def samples(
        self, model: Model, count: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        labels = balanced_labels(count, range(len(model.classes)))
        for seed in range(self.draws):
            images = sample_images(model.generator, count, seed, labels)
            yield images, labels if model.is_conditional else None


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # stdout is for the figures


def measure(subject: Subject, split: str, with_inception: bool) -> dict[str, Any]:
    given = subject.images()
    model = None if given else find_generator(subject.what)
    subset = model.params["subset"] if model else 50_000
    if given and len(given[0]) < readers.MOST:
        say(
            f"{len(given[0]):,} images; real images are measured at the same count, since figures"
            " depend on it"
        )
    folder = dataset_dir(subject.params(), model and model.params)
    evaluator = Evaluator(folder, subset, against=split, say=say)
    if given:
        scores, _ = evaluator.scores([given])
    else:
        scores, _ = evaluator.scores(subject.samples(model, min(readers.MOST, evaluator.most)))
    if with_inception:
        images = given[0] if given else next(subject.samples(model, readers.MOST))[0]
        real = evaluator.splits[split].images[: len(images)]
        scores["inception"] = inception(images, real)
    scores["model"] = model.source if model else subject.what
    scores["model_digest"] = model.digest if model else ""
    return scores


def show(scores: dict[str, Any]) -> None:
    """The figures as a table for people."""
    print(
        f"{scores['model']}: {scores['draws']} × {scores['samples']:,} images, {scores['measure']}"
    )
    print(f"{'':24}{'measured':>10}{'±':>9}{'real':>10}{'copies':>10}")
    for key, name in SHOWN.items():
        if key not in scores:
            continue
        real = scores["real"][key]
        if isinstance(scores[key], list):
            share, low, high = (100 * value for value in scores[key])
            interval = f"({low:.1f} to {high:.1f})"
            print(f"{name:24}{share:9.1f}%{'':9}{100 * real[0]:9.1f}%{'':10}  {interval}")
            continue
        spread = f"{scores['spread'][key]:.4f}" if key in scores["spread"] else ""
        copies = scores["copies"][key]
        print(f"{name:24}{scores[key]:10.4f}{spread:>9}{real:10.4f}{copies:10.4f}")
    print(f"as far from real images as {scores['like']}")
    for words in scores["warnings"] or ["no sign of memorising, repeating or uneven classes"]:
        print(words)
    if "inception" in scores:
        fid = scores["inception"]["fid"]
        if fid is None:
            print(f"no FID by Inception: {scores['inception']['why']}")
        else:
            print(f"FID by Inception: {fid:.2f}")


def report(subject: Subject, html: str) -> dict[str, Any]:
    """Run 03_evaluate on it into the folder `html`, with the report that a run has. Returns its
    scores."""
    folder = Path(html).resolve()
    if folder.exists():
        raise UserError(f"--html {html} is there already; name a new folder")
    given = subject.images()
    model = None if given else find_generator(subject.what)
    data_dir = dataset_dir(subject.params(), model and model.params)
    folder.mkdir(parents=True)
    try:
        return _report_into(folder, subject, given, data_dir, html)
    except BaseException:
        if not (folder / "notebooks").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _report_into(
    folder: Path,
    subject: Subject,
    given: tuple[torch.Tensor, torch.Tensor | None] | None,
    data_dir: Path,
    html: str,
) -> dict[str, Any]:
    from fashion_gan.pipeline.runner import run_one_notebook
    from fashion_gan.report.pages import write_report
    from fashion_gan.runs.provenance import provenance
    from fashion_gan.runs.record import RunInfo
    from fashion_gan.runs.run import Run

    root, what = project_root(), subject.what
    if given:
        what = str(folder / "images.npz")
        arrays = {"images": given[0].numpy()}
        if given[1] is not None:
            arrays["labels"] = given[1].numpy()
        np.savez_compressed(what, **arrays)
    params = Params(model=what, draws=subject.draws, data_dir=subject.params().data_dir)
    command = f"fashion-gan evaluate {subject.what} --html {html}"
    run = Run(folder)
    run.write(
        RunInfo(
            name=folder.name,
            status="FINISHED",
            tags=provenance(root, "evaluate", ("03_evaluate",), command),
            notebooks=["03_evaluate"],
            created=0,
            params=params.model_dump(),
            data=dataset_record(data_dir),
        )
    )
    if failure := run_one_notebook(run, "03_evaluate"):
        raise UserError(f"03_evaluate: {failure}; see {folder}/03_evaluate.html")
    say(f"report: {write_report(run)}")
    return run.read_json("scores")


@make_command("evaluate")
@click.argument("what", metavar="WHAT")
@click.option(
    "--labels",
    default="",
    metavar="FILE",
    help="the classes that were asked for: a label a line, or .npy",
)
@click.option(
    "--like",
    default="",
    metavar="RUN",
    help="hold files against the images that this run or model was trained on",
)
@click.option(
    "--split",
    default="test",
    type=click.Choice(["test", "validation"]),
    help="the real images to measure against",
)
@click.option(
    "--draws",
    type=Between(int, 1, 100),
    default=5,
    help="draws of 10,000 of a run or a model, for the spread (1 to 100)",
)
@click.option("--json", "as_json", is_flag=True, help="all scores, for programs")
@click.option(
    "--html",
    default="",
    metavar="FOLDER",
    help="also make the report that a run has, in a new folder",
)
@click.option(
    "--inception",
    "with_inception",
    is_flag=True,
    help="also the literature's FID, where its weights can be had",
)
def command(
    what: str,
    labels: str,
    like: str,
    split: str,
    draws: int,
    as_json: bool,
    html: str,
    with_inception: bool,
) -> None:
    """WHAT: x.npz (images uint8 N×28×28, labels), a folder of PNGs, a run, or models:/…"""
    if html and (split != "test" or with_inception):
        raise UserError(
            "--html is the report on the test split, without Inception; leave --split and"
            " --inception out"
        )
    subject = Subject(what, labels, like, draws)
    scores = report(subject, html) if html else measure(subject, split, with_inception)
    if as_json:
        print(json.dumps(scores, indent=1))
    else:
        show(scores)
