"""Get Fashion-MNIST and check it; or pack another data set."""

import sys
from pathlib import Path

from command import guarded, parser_of

from fashion_gan.errors import project_root
from fashion_gan.files import read_json

SHOWN = 5  # names of skipped images


def packed(dataset: str, folder: Path, skip_unreadable: bool) -> None:
    from pack import DONE, SPLITS, pack

    where = pack(dataset, folder, lambda line: print(line, flush=True), skip_unreadable)
    told = read_json(where / DONE)
    print(f"{told['name']} is packed in {where}")
    counts = ", ".join(f"{split} {told['counts'][split]:,}" for split in SPLITS)
    print(
        f"{counts} images of {'×'.join(map(str, told['shape']))}; classes:"
        f" {', '.join(told['classes']) or 'none'}"
    )
    from train_features import train_for

    train_for(where)
    if skipped := told["skipped"]:
        print(
            f"skipped {len(skipped)} that cannot be read:"
            f" {', '.join(skipped[:SHOWN])}{', …' if len(skipped) > SHOWN else ''}"
        )


def main() -> None:
    parser = parser_of("data")
    parser.add_argument(
        "--folder", default="", help="where to (default: data in the project folder)"
    )
    parser.add_argument(
        "--dataset",
        metavar="X",
        help="pack this one: fashion-mnist, mnist, kmnist, qmnist, a folder of images, an .npz",
    )
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out images that cannot be read, and list them",
    )
    args = parser.parse_args()
    if args.skip_unreadable and args.dataset is None:
        parser.error("--skip-unreadable belongs to --dataset")
    folder = Path(args.folder) if args.folder else project_root() / "data"
    if args.dataset is not None:
        packed(args.dataset, folder, args.skip_unreadable)
        return
    from fetch import fetch  # brings torch along, which packing a folder does not need

    print(f"Fashion-MNIST is in {fetch(folder)}")


if __name__ == "__main__":
    sys.exit(guarded(main))
