"""Quality by seconds of training: train a profile, score its averaged generator through the judge.

    python benchmarks/quality.py params/default.yaml --seeds 0 1 2 -p epochs=5

Prints one JSON line a seed; the same figures as 03_evaluate, without notebooks or tracking. To choose between recipes say
--role dev: the dev network and the validation split, so that neither the judge nor the test split takes part in a choice.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
from profiles import read_profile

from fashion_gan import data, evaluation, latent, training
from fashion_gan.files import write_json
from fashion_gan.state import TrainingState


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, help="keep checkpoints here, a folder a seed")
    parser.add_argument("--role", default="judge", choices=["judge", "dev"])
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the figures of all seeds to a JSON file")
    parser.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    all_found = []
    for seed in args.seeds:
        params = read_profile(args.profile, [*args.overrides, f"seed={seed}"]).params
        train = data.load_split(Path(params.data_dir), "train", params.subset)
        validation = data.load_split(Path(params.data_dir), "validation")
        state = TrainingState(params)
        started = time.monotonic()
        for record in training.train(state, train, validation, params, args.folder and args.folder / str(seed)):
            kept = {k: round(v, 3) for k, v in record.metrics.items()}
            print(f"  seed {seed} epoch {record.epoch}: {kept}", flush=True)
        labels = latent.balanced_labels(params.samples)
        images = latent.sample(training.averaged_generator(state, params), params.samples, params.sample_seed, labels)
        against = "test" if args.role == "judge" else "validation"
        evaluator = evaluation.Evaluator(Path(params.data_dir), params.subset, args.role, against)
        found = evaluator.scores([(images, labels if params.conditional else None)])[0]
        found |= {"profile": args.profile.stem, "overrides": args.overrides, "seed": seed}
        found |= {"distance_train": record.metrics["validation_distance_train"], "distance_dev": record.metrics["validation_distance"]}
        found |= {"train_s": state.position.seconds, "wall_s": time.monotonic() - started, "images": state.position.images}
        print(json.dumps(found), flush=True)
        all_found.append(found)
    if args.keep:
        figures = {key: [found.get(key) for found in all_found] for key in ("distance", "precision", "recall", "label_accuracy", "images")}
        write_json(args.keep, {"command": f"python benchmarks/quality.py {' '.join(sys.argv[1:])}"} | figures)


if __name__ == "__main__":
    main()
