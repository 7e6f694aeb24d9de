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
from fashion_gan.cli import make_command, number_option, text_option
from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data import listing, readers
from fashion_gan.data.datasets import dataset_dir, dataset_info
from fashion_gan.errors import UserError
from fashion_gan.metrics.distances import FIGURES
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.metrics.inception import inception
from fashion_gan.models.feature_network import dataset_record
from fashion_gan.models.latents import sample_images
from fashion_gan.models.serialization import GENERATOR, Model

SHOWN = {name: words for name, (words, _) in FIGURES.items()} | {
    "close_train": "close to training",
    "close_train_features": "close in features",
    "memorised": "memorised",
    "repeated": "repeated",
}


Images = tuple[torch.Tensor, torch.Tensor | None]  # and their labels


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

    def images(self) -> Images | None:
        """The images that a file or a folder holds, at most 10,000; None for a run or a model,
        which draws its own."""
        path = Path(self.what)
        info = dataset_info(dataset_dir(self.params()))
        is_run = any((path / name).exists() for name in ("run.json", GENERATOR))
        is_file = path.suffix == ".npz" or path.exists()
        if is_run or path.suffix == ".safetensors" or not is_file:
            if option := "--labels" if self.labels else "--like" if self.like else "":
                raise UserError(
                    f"{option} belongs to an .npz, or to a folder or an archive of images; a run or"
                    " a model asks for its own classes, and has its own data"
                )
            return None
        most = readers.MOST
        if info.is_packed:
            most = min(most, info.counts["validation"], info.counts["test"])
        holds_files = path.is_dir() or (path.suffix != ".npz" and listing.is_archive(path))
        read = readers.from_images if holds_files else readers.from_npz
        held = read(path, info, self.labels, most)
        choice = f"; a random {most:,} are measured, of each class in proportion"
        if held.count > most or "left out" in held.summary:
            log(f"{held.summary}{choice if held.count > most else ''}")
        has_labels = held.labels is not None and len(info.classes) > 1
        return held.images, held.labels if has_labels else None

    def samples(self, model: Model, labels: torch.Tensor) -> Iterator[Images]:
        """A draw of images of these classes for each of the seeds."""
        for seed in range(self.draws):
            images = sample_images(model.generator, len(labels), seed, labels)
            yield images, labels if model.is_conditional else None


def log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # stdout is for the figures


def measure(subject: Subject, split: str, with_inception: bool) -> dict[str, Any]:
    held = subject.images()
    model = None if held else find_generator(subject.what)
    subset = model.params["subset"] if model else 50_000
    if held and len(held[0]) < readers.MOST:
        log(
            f"{len(held[0]):,} images; real images are measured at the same count, since figures"
            " depend on it"
        )
    folder = dataset_dir(subject.params(), model and model.params)
    evaluator = Evaluator(folder, subset, against=split, log=log)
    if held:
        scores, _ = evaluator.scores([held])
    else:
        model.generator.to(evaluator.device)
        labels = evaluator.labels(min(readers.MOST, evaluator.most))
        scores, _ = evaluator.scores(subject.samples(model, labels))
    if with_inception:
        images, _ = held or next(subject.samples(model, evaluator.labels(readers.MOST)))
        real = evaluator.splits[split].images[: len(images)]
        scores["inception"] = inception(images, real)
    scores["model"] = model.source if model else subject.what
    scores["model_digest"] = model.digest if model else ""
    return scores


def show(scores: dict[str, Any]) -> None:
    """The figures as a table for people."""
    count = f"{scores['draws']} × {scores['samples']:,} images"
    print(f"{scores['model']}: {count}, {scores['measure']}")
    print(f"{'':24}{'measured':>10}{'±':>9}{'real':>10}{'copies':>10}")
    for key, name in SHOWN.items():
        if key in scores:
            print(f"{name:24}" + _row(scores, key))
    print(f"as far from real images as {scores['like']}")
    for words in scores["warnings"] or ["no sign of memorising, repeating or uneven classes"]:
        print(words)
    if fid := scores.get("inception"):
        inception_words = f"no FID by Inception: {fid['why']}"
        print(inception_words if fid["fid"] is None else f"FID by Inception: {fid['fid']:.2f}")


def _row(scores: dict[str, Any], key: str) -> str:
    value, real = scores[key], scores["real"][key]
    if isinstance(value, list):  # a share with its interval
        share, low, high = (100 * bound for bound in value)
        return f"{share:9.1f}%{'':9}{100 * real[0]:9.1f}%{'':10}  ({low:.1f} to {high:.1f})"
    spread = f"{scores['spread'][key]:.4f}" if key in scores["spread"] else ""
    return f"{value:10.4f}{spread:>9}{real:10.4f}{scores['copies'][key]:10.4f}"


def report(subject: Subject, html: str) -> dict[str, Any]:
    """Run 03_evaluate on it into the folder `html`, with the report that a run has. Returns its
    scores."""
    folder = Path(html).resolve()
    if folder.exists():
        raise UserError(f"--html {html} is there already; name a new folder")
    held = subject.images()
    model = None if held else find_generator(subject.what)
    data_dir = dataset_dir(subject.params(), model and model.params)
    folder.mkdir(parents=True)
    try:
        what = _keep_images(folder, held) if held else subject.what
        params = Params(model=what, draws=subject.draws, data_dir=subject.params().data_dir)
        command = f"fashion-gan evaluate {subject.what} --html {html}"
        return _report_into(folder, params, data_dir, command)
    except BaseException:
        if not (folder / "notebooks").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _keep_images(folder: Path, held: Images) -> str:
    """The file that the notebook reads them from."""
    arrays = dict(zip(("images", "labels"), held, strict=True))
    path = str(folder / "images.npz")
    np.savez_compressed(path, **{k: v.numpy() for k, v in arrays.items() if v is not None})
    return path


def _report_into(folder: Path, params: Params, data_dir: Path, command: str) -> dict[str, Any]:
    from fashion_gan.pipeline.runner import run_one_notebook
    from fashion_gan.report.pages import write_report
    from fashion_gan.runs.provenance import provenance
    from fashion_gan.runs.record import RunInfo
    from fashion_gan.runs.run import Run

    run = Run(folder)
    run.write(
        RunInfo(
            name=folder.name,
            status="FINISHED",
            tags=provenance(project_root(), "evaluate", ("03_evaluate",), command),
            notebooks=["03_evaluate"],
            created=0,
            params=params.model_dump(),
            data=dataset_record(data_dir),
        )
    )
    if failure := run_one_notebook(run, "03_evaluate"):
        raise UserError(f"03_evaluate: {failure}; its folder is {folder}")
    log(f"report: {write_report(run)}")
    return run.read_json("scores")


@make_command("evaluate")
@click.argument("what", metavar="WHAT")
@text_option("--labels", "the classes that were asked for: a label a line, or .npy", "FILE")
@text_option("--like", "hold files against the images that this run or model was trained on", "RUN")
@click.option(
    "--split",
    default="test",
    type=click.Choice(["test", "validation"]),
    help="the real images to measure against",
)
@number_option(
    "--draws", 5, 1, 100, "draws of 10,000 of a run or a model, for the spread (1 to 100)"
)
@click.option("--json", "as_json", is_flag=True, help="all scores, for programs")
@text_option("--html", "also make the report that a run has, in a new folder", "FOLDER")
@click.option(
    "--inception",
    "with_inception",
    is_flag=True,
    help="also the literature's FID, where its weights can be had",
)
def command(
    split: str, as_json: bool, html: str, with_inception: bool, **subject_options: Any
) -> None:
    """WHAT: x.npz (images uint8 N×28×28, labels), a folder, zip or tar of images, a run, or
    models:/…"""
    if html and (split != "test" or with_inception):
        raise UserError(
            "--html is the report on the test split, without Inception; leave --split and"
            " --inception out"
        )
    subject = Subject(**subject_options)
    scores = report(subject, html) if html else measure(subject, split, with_inception)
    if as_json:
        print(json.dumps(scores, indent=1))
    else:
        show(scores)
