"""fashion-gan evaluate"""

import contextlib
import io
import json
import shutil
import socket
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import images as anybodys
import numpy as np
import torch
from command import guarded, parser_of

from fashion_gan import data, evaluation, features, latent, model
from fashion_gan.errors import UserError, project_root
from fashion_gan.files import write_json
from fashion_gan.params import Params

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


def real_of(args: Namespace) -> Params:
    """Where real images lie: those that --like was trained on, else Fashion-MNIST."""
    return (
        Params(data_dir=str(data.place(Params(), model.find(args.like).params)))
        if args.like
        else Params()
    )


def given_images(args: Namespace, real: Params) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """The images that WHAT holds, at most 10,000; None where it is a run or a model, which draws
    its own. `real`: what to hold them against."""
    path, of = Path(args.what), data.about(data.place(real))
    if path.suffix == ".npz" or (path.is_file() and path.suffix != ".safetensors"):
        images, labels = anybodys.from_npz(path, of)
    elif path.is_dir() and not (path / "run.json").exists() and not (path / model.FILE).exists():
        images, labels = anybodys.from_folder(path, of)
    else:
        if which := "--labels" if args.labels else "--like" if args.like else "":
            raise UserError(
                f"{which} belongs to an .npz or a folder of PNGs; a run or a model asks for its own"
                " classes, and has its own data"
            )
        return None
    labels = anybodys.labels_from(Path(args.labels), len(images), of) if args.labels else labels
    most = (
        min(anybodys.MOST, *(of.own["counts"][split] for split in ("validation", "test")))
        if of.own
        else anybodys.MOST
    )
    if len(images) > most:
        print(f"{len(images):,} images: the first {most:,} are measured", file=sys.stderr)
    return images[:most], labels[:most] if labels is not None and len(of.classes) > 1 else None


def drawn(
    found: model.Model, args: Namespace, count: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    labels = latent.balanced_labels(count, range(len(found.classes)))
    for seed in range(args.draws):
        yield latent.sample(found.generator, count, seed, labels), labels if found.asked else None


def measure(args: Namespace) -> dict[str, Any]:
    say = lambda words: print(words, file=sys.stderr, flush=True)  # noqa: E731 - stdout is for the figures
    real = real_of(args)
    given = given_images(args, real)
    found = None if given else model.find(args.what)
    subset = found.params["subset"] if found else 50_000
    if given and len(given[0]) < anybodys.MOST:
        print(
            f"{len(given[0]):,} images; real images are measured at the same count, since figures"
            " depend on it",
            file=sys.stderr,
        )
    where = data.place(real, found and found.params)
    evaluator = evaluation.Evaluator(where, subset, against=args.split, say=say)
    scores, _ = evaluator.scores(
        [given] if given else drawn(found, args, min(anybodys.MOST, evaluator.most))
    )
    if args.inception:
        images = given[0] if given else next(drawn(found, args, anybodys.MOST))[0]
        scores["inception"] = inception(images, evaluator.splits[args.split].images[: len(images)])
    return scores | {
        "model": found.source if found else args.what,
        "model_digest": found.digest if found else "",
    }


def inception(images: torch.Tensor, real: torch.Tensor) -> dict[str, Any]:
    """The literature's FID, through Inception by torch-fidelity: made for photographs, so only to
    compare with papers."""
    try:
        import torch_fidelity
    except ImportError:
        return {
            "fid": None,
            "why": "torch-fidelity is not installed: .venv/bin/pip install -e .[inception]",
        }

    class Grey(torch.utils.data.Dataset):
        def __init__(self, images: torch.Tensor):
            self.images = images

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> torch.Tensor:
            return self.images[i].expand(3, -1, -1)

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            found = torch_fidelity.calculate_metrics(
                input1=Grey(images),
                input2=Grey(real),
                fid=True,
                cuda=torch.cuda.is_available(),
                verbose=False,
            )
        return {"fid": found["frechet_inception_distance"], "why": ""}
    except Exception as error:  # whatever a download answers
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        return {
            "fid": None,
            "why": f"Inception's weights are not on this machine and cannot be fetched ({reason})",
        }
    finally:
        socket.setdefaulttimeout(before)


def show(scores: dict[str, Any]) -> None:
    """The figures as a table for people."""
    print(
        f"{scores['model']}: {scores['draws']} × {scores['samples']:,} images, {scores['measure']}"
    )
    print(f"{'':24}{'measured':>10}{'±':>9}{'real':>10}{'copies':>10}")
    for key, name in SHOWN.items():
        if key not in scores:
            continue
        if isinstance(scores[key], list):
            share, low, high = (100 * value for value in scores[key])
            print(
                f"{name:24}{share:9.1f}%{'':9}{100 * scores['real'][key][0]:9.1f}%{'':10} "
                f" ({low:.1f} to {high:.1f})"
            )
            continue
        spread = f"{scores['spread'][key]:.4f}" if key in scores["spread"] else ""
        print(
            f"{name:24}{scores[key]:10.4f}{spread:>9}{scores['real'][key]:10.4f}{scores['copies'][key]:10.4f}"
        )
    print(f"as far from real images as {scores['like']}")
    for words in scores["warnings"] or ["no sign of memorising, repeating or uneven classes"]:
        print(words)
    if "inception" in scores:
        fid = scores["inception"]["fid"]
        print(
            f"FID by Inception: {fid:.2f}"
            if fid is not None
            else f"no FID by Inception: {scores['inception']['why']}"
        )


def report(args: Namespace) -> dict[str, Any]:
    """Run 03_evaluate on it into the folder --html, with the report that a run has. Returns its
    scores."""
    import pipeline
    from pages import write_report
    from progress import Progress

    from fashion_gan.provenance import provenance
    from fashion_gan.run import RUN_VARIABLE, Run

    folder = Path(args.html).resolve()
    if folder.exists():
        raise UserError(f"--html {args.html} is there already; name a new folder")
    real, what = real_of(args), args.what
    given = given_images(args, real)
    where = data.place(real, None if given else model.find(what).params)
    folder.mkdir(parents=True)
    try:
        if given:
            what = str(folder / "images.npz")
            named = {} if given[1] is None else {"labels": given[1].numpy()}
            np.savez_compressed(what, images=given[0].numpy(), **named)
        tags = provenance(
            project_root(),
            "evaluate",
            ("03_evaluate",),
            f"fashion-gan evaluate {args.what} --html {args.html}",
        )
        told = {
            "name": folder.name,
            "status": "FINISHED",
            "tags": tags,
            "notebooks": ["03_evaluate"],
            "created": 0,
        }
        told |= {
            "params": Params(model=what, draws=args.draws, data_dir=real.data_dir).model_dump(),
            "data": features.told(where),
        }
        write_json(folder / "run.json", told)
        run = Run(folder)
        pipeline.register_engine()
        with run_variable(RUN_VARIABLE, str(folder)), Progress(run, sys.stderr) as progress:
            failure = pipeline.run_notebook(
                run, project_root() / "notebooks" / "03_evaluate.ipynb", progress
            )
        if failure:
            raise UserError(f"03_evaluate: {failure}; see {folder}/03_evaluate.html")
        print(f"report: {write_report(run)}", file=sys.stderr)
        return run.read_json("scores")
    except BaseException:
        if not (folder / "notebooks").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def run_variable(name: str, value: str) -> Iterator[None]:
    import os

    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def main() -> None:
    parser = parser_of("evaluate")
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="x.npz (images uint8 N×28×28, labels), a folder of PNGs, a run, or models:/…",
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="FILE",
        help="the classes that were asked for: a label a line, or .npy",
    )
    parser.add_argument(
        "--like",
        default="",
        metavar="RUN",
        help="hold files against the images that this run or model was trained on",
    )
    parser.add_argument(
        "--split",
        default="test",
        choices=["test", "validation"],
        help="the real images to measure against",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=5,
        help="draws of 10,000 of a run or a model, for the spread (1 to 100)",
    )
    parser.add_argument("--json", action="store_true", help="all scores, for programs")
    parser.add_argument(
        "--html",
        default="",
        metavar="FOLDER",
        help="also make the report that a run has, in a new folder",
    )
    parser.add_argument(
        "--inception",
        action="store_true",
        help="also the literature's FID, where its weights can be had",
    )
    args = parser.parse_args()
    if not 1 <= args.draws <= 100:
        raise UserError(f"--draws is {args.draws}; allowed: 1 to 100")
    if args.html and (args.split != "test" or args.inception):
        raise UserError(
            "--html is the report on the test split, without Inception; leave --split and"
            " --inception out"
        )
    scores = report(args) if args.html else measure(args)
    print(json.dumps(scores, indent=1)) if args.json else show(scores)


if __name__ == "__main__":
    sys.exit(guarded(main))
