"""Quality by seconds of training: train a profile, score its averaged generator through the judge.

    python benchmarks/quality.py params/default.yaml --seeds 0 1 2 -p epochs=5

Prints one JSON line a seed; the same figures as 03_evaluate, without notebooks or tracking. To
choose between recipes say --role dev: the dev network and the validation split, so that neither the
judge nor the test split takes part in a choice.
"""

import argparse
import copy
import functools
import json
import sys
import time
from pathlib import Path
from unittest import mock

import torch

from fashion_gan.config.profiles import read_profile
from fashion_gan.data.datasets import load_split
from fashion_gan.files import write_json
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.training import loop, step
from fashion_gan.training.inputs import average_weight
from fashion_gan.training.state import TrainingState
from fashion_gan.training.validation import ema_for_eval

KEPT = ("distance", "precision", "recall", "label_accuracy", "images")


def average_all(average, others, params, state, weight):
    """The average that is trained with, and `others`: networks by half-life."""
    average(state, weight)
    trained_with = state.ema_generator
    images = state.position.images + params.batch_size
    for half_life, state.ema_generator in others.items():
        changed = params.model_copy(update={"ema_half_life": half_life})
        average(state, torch.tensor(average_weight(images, changed), device=state.device))
    state.ema_generator = trained_with


def stages_of(args, seed):
    """The parameters to train with, one after the other."""
    changed = {text.partition("=")[0] for text in args.then}
    kept = [text for text in args.overrides if text.partition("=")[0] not in changed]
    stages = [args.overrides, [*kept, *args.then]] if args.then else [args.overrides]
    return [read_profile(args.profile, [*stage, f"seed={seed}"]).params for stage in stages]


def trained(args, stages, seed):
    """The state after all stages, the last record, and the generators of the other averages by
    half-life."""
    data_dir = Path(stages[0].data_dir)
    splits = load_split(data_dir, "train", stages[0].subset), load_split(data_dir, "validation")
    state = TrainingState(stages[0])
    others = {half_life: copy.deepcopy(state.ema_generator) for half_life in args.averages}
    if others:  # they are no part of a graph
        stages = [stage.model_copy(update={"cuda_graph": "off"}) for stage in stages]
    all_of_them = functools.partial(average_all, step.update_ema, others, stages[0])
    with mock.patch.object(step, "update_ema", all_of_them):
        for stage in stages:
            folder = args.folder and args.folder / str(seed)
            if folder:
                folder.mkdir(parents=True, exist_ok=True)
            for record in loop.train(state, *splits, stage, folder):
                rounded = {name: round(value, 3) for name, value in record.metrics.items()}
                print(f"  seed {seed} epoch {record.epoch}: {rounded}", flush=True)
    return state, record, others


def scored(args, state, others, params):
    """The scores of the averaged generator, those of the others under `averages`."""
    labels = balanced_labels(params.samples)
    against = "test" if args.role == "judge" else "validation"
    evaluator = Evaluator(Path(params.data_dir), params.subset, args.role, against)

    def scores():
        generator = ema_for_eval(state, params)
        images = sample_images(generator, params.samples, params.sample_seed, labels)
        return evaluator.scores([(images, labels if params.conditional else None)])[0]

    figures = scores()
    figures["averages"] = {}
    for half_life, state.ema_generator in others.items():
        figures["averages"][half_life] = scores()
    return figures


def result_of(args, seed, stages):
    """The figures of one seed."""
    started = time.monotonic()
    state, record, others = trained(args, stages, seed)
    return scored(args, state, others, stages[0]) | {
        "profile": args.profile.stem,
        "overrides": args.overrides,
        "seed": seed,
        "distance_train": record.metrics["validation_distance_train"],
        "distance_dev": record.metrics["validation_distance"],
        "train_s": state.position.seconds,
        "wall_s": time.monotonic() - started,
        "images": state.position.images,
    }


def make_parser():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, help="keep checkpoints here, a folder a seed")
    parser.add_argument("--role", default="judge", choices=["judge", "dev"])
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="write the figures of all seeds to a JSON file"
    )
    parser.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--then",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="train on with these, another batch_size for one",
    )
    averages = {"help": "score averages of other half-lives too; 0: none", "metavar": "IMAGES"}
    parser.add_argument("--averages", type=int, nargs="+", default=[], **averages)
    return parser


def main():
    parser = make_parser()
    args = parser.parse_args()
    results = []
    for seed in args.seeds:
        stages = stages_of(args, seed)
        if stages[-1].processes > 1 and not args.folder:
            parser.error("several workers meet in a folder; say --folder")
        results.append(result_of(args, seed, stages))
        print(json.dumps(results[-1]), flush=True)
    if args.keep:
        kept = {"command": f"python benchmarks/quality.py {' '.join(sys.argv[1:])}"}
        for name in KEPT:
            kept[name] = [result.get(name) for result in results]
        write_json(args.keep, kept)


if __name__ == "__main__":
    main()
